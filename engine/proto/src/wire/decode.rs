//! Bytes to packets.

use super::codec::DecodeError;
use super::packet::{
    Ack, Auth, ConnAck, Connect, Disconnect, Packet, Publish, QoS, SubAck, Subscribe,
    SubscribeFilters, Unsubscribe, UnsubscribeFilters, Version, Will,
};
use super::reader::{Reader, check_utf_8};
use super::tables::{Properties, Property, PropertyPlace, ReasonCode};
use super::topic::check_topic_name;

/// Decodes the body of one packet; `first` has been accepted by [`frame`](super::codec::frame).
///
/// Both directions are decoded: whether the peer may send this packet now, and the few properties
/// and reason codes that only one side may send, are the caller's to judge. CONNECT ignores
/// `version` and names its own. Nothing is allocated.
///
/// # Errors
/// The reason the standard wants the peer told, with the rule that was broken.
pub fn decode<'a>(version: Version, first: u8, body: &'a [u8]) -> Result<Packet<'a>, DecodeError> {
    let reader = Reader::new(body);
    match first >> 4 {
        1 => connect(first, reader).map(Packet::Connect),
        2 => connack(version, reader).map(Packet::ConnAck),
        3 => publish(version, first, body).map(Packet::Publish),
        4 => ack(version, PropertyPlace::PubAck, reader).map(Packet::PubAck),
        5 => ack(version, PropertyPlace::PubRec, reader).map(Packet::PubRec),
        6 => {
            check_qos_1(version, first, "[MQTT-3.6.1-1] flags of PUBREL are not 2")?;
            ack(version, PropertyPlace::PubRel, reader).map(Packet::PubRel)
        }
        7 => ack(version, PropertyPlace::PubComp, reader).map(Packet::PubComp),
        8 => {
            check_qos_1(
                version,
                first,
                "[MQTT-3.8.1-1] flags of SUBSCRIBE are not 2",
            )?;
            subscribe(version, reader).map(Packet::Subscribe)
        }
        9 => suback(version, reader).map(Packet::SubAck),
        10 => {
            check_qos_1(
                version,
                first,
                "[MQTT-3.10.1-1] flags of UNSUBSCRIBE are not 2",
            )?;
            unsubscribe(version, reader).map(Packet::Unsubscribe)
        }
        11 => unsuback(version, reader).map(Packet::UnsubAck),
        12 => reader.end().map(|()| Packet::PingReq),
        13 => reader.end().map(|()| Packet::PingResp),
        14 => disconnect(version, reader).map(Packet::Disconnect),
        15 if version == Version::V5 => auth(reader).map(Packet::Auth),
        _ => Err(DecodeError::malformed("packet type is reserved")),
    }
}

/// The version that a CONNECT names, so that even a broken one can be answered in its own form.
///
/// Nothing if protocol name or level are unknown or not there.
pub fn connect_version(body: &[u8]) -> Option<Version> {
    protocol(&mut Reader::new(body))
        .ok()
        .map(|(version, _)| version)
}

/// A PUBLISH cut into its parts, and no part looked at.
///
/// For the path of every message: topic and properties are mostly those of the message before, and
/// then need no second look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawPublish<'a> {
    /// First byte: type and flags.
    pub first: u8,
    /// Topic name, not yet checked.
    pub topic: &'a [u8],
    /// Packet id, 0 for QoS 0.
    pub packet_id: u16,
    /// Where the packet id stands in the body, 0 if there is none.
    pub packet_id_at: usize,
    /// Properties without their length, not yet checked.
    pub properties: &'a [u8],
    /// Payload.
    pub payload: &'a [u8],
}

impl<'a> RawPublish<'a> {
    /// Cuts the body of a PUBLISH; checks flags, lengths and the packet id, nothing else.
    ///
    /// # Errors
    /// `MALFORMED_PACKET` for QoS 3, DUP with QoS 0 and lengths beyond the body,
    /// `PROTOCOL_ERROR` for packet id 0.
    #[inline]
    pub fn split(version: Version, first: u8, body: &'a [u8]) -> Result<Self, DecodeError> {
        if LEGAL_PUBLISH_FLAGS >> (first & 0x0F) & 1 == 0 {
            return Err(bad_publish_flags(first));
        }
        let mut reader = Reader::new(body);
        let topic = reader.binary()?;
        let (packet_id, packet_id_at) = if first & 0x06 == 0 {
            (0, 0)
        } else {
            (reader.packet_id()?, 2 + topic.len())
        };
        let properties = if version == Version::V5 {
            let len = reader.variable()?;
            reader.take(len as usize)?
        } else {
            &[]
        };
        Ok(Self {
            first,
            topic,
            packet_id,
            packet_id_at,
            properties,
            payload: reader.rest,
        })
    }

    /// The topic name, checked. Empty is legal in 5.0 with a topic alias: the caller looks.
    ///
    /// # Errors
    /// `MALFORMED_PACKET` for text that is none, a wildcard or, in 3.x, an empty name.
    #[inline]
    pub fn topic_name(&self, version: Version) -> Result<&'a str, DecodeError> {
        let topic = check_utf_8(self.topic)?;
        if !topic.is_empty() || version < Version::V5 {
            check_topic_name(topic)?;
        }
        Ok(topic)
    }

    /// The properties, checked.
    ///
    /// # Errors
    /// As [`Properties::parse`].
    #[inline]
    pub fn properties(&self) -> Result<Properties<'a>, DecodeError> {
        Properties::parse(self.properties, PropertyPlace::Publish)
    }

    /// Duplicate flag.
    #[inline]
    pub const fn dup(&self) -> bool {
        self.first & 0x08 != 0
    }

    /// QoS; 3 was refused by [`RawPublish::split`].
    #[inline]
    pub const fn qos(&self) -> QoS {
        match self.first & 0x06 {
            0 => QoS::AtMostOnce,
            2 => QoS::AtLeastOnce,
            _ => QoS::ExactlyOnce,
        }
    }

    /// Retain flag.
    #[inline]
    pub const fn retain(&self) -> bool {
        self.first & 0x01 != 0
    }
}

#[cold]
fn bad_publish_flags(first: u8) -> DecodeError {
    DecodeError::malformed(match first & 0x06 {
        0x06 => "[MQTT-3.3.1-4] QoS of PUBLISH is 3",
        _ => "[MQTT-3.3.1-2] DUP flag with QoS 0",
    })
}

fn publish<'a>(version: Version, first: u8, body: &'a [u8]) -> Result<Publish<'a>, DecodeError> {
    let raw = RawPublish::split(version, first, body)?;
    let topic = raw.topic_name(version)?;
    let properties = raw.properties()?;
    if topic.is_empty()
        && !properties
            .iter()
            .any(|property| matches!(property, Property::TopicAlias(_)))
    {
        return Err(DecodeError::protocol(
            "empty topic name without topic alias",
        ));
    }
    Ok(Publish {
        dup: raw.dup(),
        qos: raw.qos(),
        retain: raw.retain(),
        topic,
        packet_id: raw.packet_id,
        properties,
        payload: raw.payload,
    })
}

/// Protocol name and level: version, and whether it is a bridge.
fn protocol(reader: &mut Reader<'_>) -> Result<(Version, bool), DecodeError> {
    let name = reader.binary()?;
    let level = reader.u8()?;
    match (name, level) {
        (b"MQTT", 5) => Ok((Version::V5, false)),
        (b"MQTT", 4) => Ok((Version::V311, false)),
        (b"MQTT", 0x84) => Ok((Version::V311, true)),
        (b"MQIsdp", 3) => Ok((Version::V31, false)),
        (b"MQIsdp", 0x83) => Ok((Version::V31, true)),
        _ => Err(DecodeError {
            reason: ReasonCode::UNSUPPORTED_PROTOCOL_VERSION,
            what: "[MQTT-3.1.2-2] protocol name or level is unknown",
        }),
    }
}

fn connect<'a>(first: u8, mut reader: Reader<'a>) -> Result<Connect<'a>, DecodeError> {
    let (version, is_bridge) = protocol(&mut reader)?;
    let flags = reader.u8()?;
    if version > Version::V31 && first & 0x0F != 0 {
        return Err(DecodeError::malformed(
            "[MQTT-2.1.3-1] reserved flags are not 0",
        ));
    }
    check_connect_flags(version, flags)?;
    let keepalive_s = reader.u16()?;
    let properties = properties(version, PropertyPlace::Connect, &mut reader)?;
    let client_id = reader.string()?;
    let will = match flags & WILL {
        0 => None,
        _ => Some(will(version, flags, &mut reader)?),
    };
    // 3.1 lets the end of the packet speak louder than the flags of username and password.
    let is_missing = |reader: &Reader<'_>| version == Version::V31 && reader.is_empty();
    let username = match flags & USERNAME {
        0 => None,
        _ if is_missing(&reader) => None,
        _ => Some(reader.string()?),
    };
    let password = match flags & PASSWORD {
        0 => None,
        _ if is_missing(&reader) => None,
        _ => Some(reader.binary()?),
    };
    reader.end()?;
    Ok(Connect {
        version,
        is_bridge,
        clean_start: flags & CLEAN_START != 0,
        keepalive_s,
        client_id,
        username,
        password,
        will,
        properties,
    })
}

fn check_connect_flags(version: Version, flags: u8) -> Result<(), DecodeError> {
    // 3.1 leaves the unused bits to the client.
    if version > Version::V31 {
        if flags & RESERVED != 0 {
            return Err(DecodeError::malformed(
                "[MQTT-3.1.2-3] reserved CONNECT flag is set",
            ));
        }
        if flags & WILL == 0 && flags & WILL_QOS != 0 {
            return Err(DecodeError::malformed(
                "[MQTT-3.1.2-11] will QoS without will",
            ));
        }
        if flags & WILL == 0 && flags & WILL_RETAIN != 0 {
            return Err(DecodeError::malformed(
                "[MQTT-3.1.2-13] will retain without will",
            ));
        }
    }
    // MQTT 5.0 allows a password alone, for tokens.
    if version < Version::V5 && flags & (USERNAME | PASSWORD) == PASSWORD {
        return Err(DecodeError::malformed(
            "[MQTT-3.1.2-22] of 3.1.1: password without username",
        ));
    }
    Ok(())
}

fn will<'a>(version: Version, flags: u8, reader: &mut Reader<'a>) -> Result<Will<'a>, DecodeError> {
    let Some(qos) = QoS::from_bits((flags & WILL_QOS) >> 3) else {
        return Err(DecodeError::malformed("[MQTT-3.1.2-12] will QoS is 3"));
    };
    let properties = properties(version, PropertyPlace::Will, reader)?;
    let topic = reader.string()?;
    check_topic_name(topic)?;
    let payload = reader.binary()?;
    Ok(Will {
        topic,
        payload,
        qos,
        retain: flags & WILL_RETAIN != 0,
        properties,
    })
}

fn connack<'a>(version: Version, mut reader: Reader<'a>) -> Result<ConnAck<'a>, DecodeError> {
    let flags = reader.u8()?;
    let code = reader.u8()?;
    if version > Version::V31 && flags > 1 {
        return Err(DecodeError::malformed(
            "[MQTT-3.2.2-1] reserved CONNACK flags are not 0",
        ));
    }
    let session_present = version > Version::V31 && flags == 1;
    let reason = if version == Version::V5 {
        check_reason(code, PropertyPlace::ConnAck)?
    } else {
        ReasonCode::from_connect_return_code(code)
            .ok_or(DecodeError::protocol("CONNACK return code is reserved"))?
    };
    if session_present && reason.is_error() {
        return Err(DecodeError::protocol(
            "[MQTT-3.2.2-6] refused with session present",
        ));
    }
    let properties = properties(version, PropertyPlace::ConnAck, &mut reader)?;
    reader.end()?;
    Ok(ConnAck {
        session_present,
        reason,
        properties,
    })
}

fn ack<'a>(
    version: Version,
    place: PropertyPlace,
    mut reader: Reader<'a>,
) -> Result<Ack<'a>, DecodeError> {
    let packet_id = reader.packet_id()?;
    let (reason, properties) = reason_and_properties(version, place, reader)?;
    Ok(Ack {
        packet_id,
        reason,
        properties,
    })
}

fn subscribe<'a>(version: Version, mut reader: Reader<'a>) -> Result<Subscribe<'a>, DecodeError> {
    let packet_id = reader.packet_id()?;
    let properties = properties(version, PropertyPlace::Subscribe, &mut reader)?;
    let filters = SubscribeFilters::parse(version, reader.rest)?;
    Ok(Subscribe {
        packet_id,
        properties,
        filters,
    })
}

fn unsubscribe<'a>(
    version: Version,
    mut reader: Reader<'a>,
) -> Result<Unsubscribe<'a>, DecodeError> {
    let packet_id = reader.packet_id()?;
    let properties = properties(version, PropertyPlace::Unsubscribe, &mut reader)?;
    let filters = UnsubscribeFilters::parse(reader.rest)?;
    Ok(Unsubscribe {
        packet_id,
        properties,
        filters,
    })
}

fn suback<'a>(version: Version, mut reader: Reader<'a>) -> Result<SubAck<'a>, DecodeError> {
    let packet_id = reader.packet_id()?;
    let properties = properties(version, PropertyPlace::SubAck, &mut reader)?;
    let reasons = reader.rest;
    let is_legal = |&code: &u8| match version {
        Version::V5 => ReasonCode(code).is_allowed_in(PropertyPlace::SubAck),
        _ => matches!(code, 0..=2 | 0x80),
    };
    check_reasons(
        reasons,
        is_legal,
        "[MQTT-3.9.3-2] SUBACK without or with a wrong reason code",
    )?;
    Ok(SubAck {
        packet_id,
        properties,
        reasons,
    })
}

fn unsuback<'a>(version: Version, mut reader: Reader<'a>) -> Result<SubAck<'a>, DecodeError> {
    let packet_id = reader.packet_id()?;
    let properties = properties(version, PropertyPlace::UnsubAck, &mut reader)?;
    if version < Version::V5 {
        reader.end()?;
        return Ok(SubAck {
            packet_id,
            properties,
            reasons: &[],
        });
    }
    let reasons = reader.rest;
    let is_legal = |&code: &u8| ReasonCode(code).is_allowed_in(PropertyPlace::UnsubAck);
    check_reasons(
        reasons,
        is_legal,
        "[MQTT-3.11.3-2] UNSUBACK without or with a wrong reason code",
    )?;
    Ok(SubAck {
        packet_id,
        properties,
        reasons,
    })
}

fn disconnect<'a>(version: Version, reader: Reader<'a>) -> Result<Disconnect<'a>, DecodeError> {
    let (reason, properties) = reason_and_properties(version, PropertyPlace::Disconnect, reader)?;
    Ok(Disconnect { reason, properties })
}

fn auth<'a>(reader: Reader<'a>) -> Result<Auth<'a>, DecodeError> {
    let is_short = reader.is_empty();
    let (reason, properties) = reason_and_properties(Version::V5, PropertyPlace::Auth, reader)?;
    // Section 3.15.2.1 allows an empty body, which means success.
    if !is_short
        && !properties
            .iter()
            .any(|property| matches!(property, Property::AuthenticationMethod(_)))
    {
        return Err(DecodeError::protocol("AUTH without authentication method"));
    }
    Ok(Auth { reason, properties })
}

/// Reason code and properties at the end of a packet; each may be left out, and 3.x has neither.
fn reason_and_properties<'a>(
    version: Version,
    place: PropertyPlace,
    mut reader: Reader<'a>,
) -> Result<(ReasonCode, Properties<'a>), DecodeError> {
    if version < Version::V5 || reader.is_empty() {
        reader.end()?;
        return Ok((ReasonCode::SUCCESS, Properties::EMPTY));
    }
    let reason = check_reason(reader.u8()?, place)?;
    if reader.is_empty() {
        return Ok((reason, Properties::EMPTY));
    }
    let properties = properties(version, place, &mut reader)?;
    reader.end()?;
    Ok((reason, properties))
}

/// The list of properties with its length; 3.x has none.
fn properties<'a>(
    version: Version,
    place: PropertyPlace,
    reader: &mut Reader<'a>,
) -> Result<Properties<'a>, DecodeError> {
    if version < Version::V5 {
        return Ok(Properties::EMPTY);
    }
    let len = reader.variable()?;
    Properties::parse(reader.take(len as usize)?, place)
}

fn check_reason(code: u8, place: PropertyPlace) -> Result<ReasonCode, DecodeError> {
    let reason = ReasonCode(code);
    if reason.is_allowed_in(place) {
        return Ok(reason);
    }
    Err(DecodeError::protocol(match place {
        PropertyPlace::ConnAck => "[MQTT-3.2.2-8] reason code is not one of CONNACK",
        PropertyPlace::PubAck => "[MQTT-3.4.2-1] reason code is not one of PUBACK",
        PropertyPlace::PubRec => "[MQTT-3.5.2-1] reason code is not one of PUBREC",
        PropertyPlace::PubRel => "[MQTT-3.6.2-1] reason code is not one of PUBREL",
        PropertyPlace::PubComp => "[MQTT-3.7.2-1] reason code is not one of PUBCOMP",
        PropertyPlace::Disconnect => "[MQTT-3.14.2-1] reason code is not one of DISCONNECT",
        PropertyPlace::Auth => "[MQTT-3.15.2-1] reason code is not one of AUTH",
        _ => "reason code is not one of this packet",
    }))
}

fn check_reasons(
    reasons: &[u8],
    is_legal: impl Fn(&u8) -> bool,
    what: &'static str,
) -> Result<(), DecodeError> {
    if reasons.is_empty() || !reasons.iter().all(is_legal) {
        return Err(DecodeError::protocol(what));
    }
    Ok(())
}

/// 3.1 may repeat PUBREL, SUBSCRIBE and UNSUBSCRIBE with the DUP flag; later versions may not.
fn check_qos_1(version: Version, first: u8, what: &'static str) -> Result<(), DecodeError> {
    let flags = first & 0x0F;
    if flags == 0x02 || (flags == 0x0A && version == Version::V31) {
        return Ok(());
    }
    Err(DecodeError::malformed(what))
}

/// Flags of a PUBLISH without QoS 3 and without DUP at QoS 0, one bit for each value.
const LEGAL_PUBLISH_FLAGS: u16 = {
    let mut legal = 0;
    let mut flags = 0;
    while flags < 16 {
        if flags & 0x06 != 0x06 && flags & 0x0E != 0x08 {
            legal |= 1 << flags;
        }
        flags += 1;
    }
    legal
};

const RESERVED: u8 = 0x01;
const CLEAN_START: u8 = 0x02;
const WILL: u8 = 0x04;
const WILL_QOS: u8 = 0x18;
const WILL_RETAIN: u8 = 0x20;
const PASSWORD: u8 = 0x40;
const USERNAME: u8 = 0x80;
