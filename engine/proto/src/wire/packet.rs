//! Packets of MQTT 3.1, 3.1.1 and 5.0 as one set of types; the version is a value.
//!
//! Everything borrows from the bytes it was read from. Fields that a version does not have
//! hold their neutral value (no properties, reason `SUCCESS`).

use super::tables::{Properties, ReasonCode};

/// Protocol version of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Version {
    /// MQTT 3.1, protocol name `MQIsdp`, level 3.
    V31 = 3,
    /// MQTT 3.1.1, protocol name `MQTT`, level 4.
    V311 = 4,
    /// MQTT 5.0, protocol name `MQTT`, level 5.
    V5 = 5,
}

/// Quality of service, MQTT 5.0 section 4.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum QoS {
    /// QoS 0.
    AtMostOnce = 0,
    /// QoS 1.
    AtLeastOnce = 1,
    /// QoS 2.
    ExactlyOnce = 2,
}

impl QoS {
    /// The QoS with this number, or nothing for 3 and above.
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }
}

/// One control packet, borrowed from its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// Client asks for a connection.
    Connect(Connect<'a>),
    /// Server answers it.
    ConnAck(ConnAck<'a>),
    /// An application message.
    Publish(Publish<'a>),
    /// QoS 1 acknowledged.
    PubAck(Ack<'a>),
    /// QoS 2, second packet.
    PubRec(Ack<'a>),
    /// QoS 2, third packet.
    PubRel(Ack<'a>),
    /// QoS 2, fourth packet.
    PubComp(Ack<'a>),
    /// Client asks for subscriptions.
    Subscribe(Subscribe<'a>),
    /// Server answers it.
    SubAck(SubAck<'a>),
    /// Client gives subscriptions up.
    Unsubscribe(Unsubscribe<'a>),
    /// Server answers it.
    UnsubAck(SubAck<'a>),
    /// Client asks for a sign of life.
    PingReq,
    /// Server answers it.
    PingResp,
    /// Last packet of a connection.
    Disconnect(Disconnect<'a>),
    /// Enhanced authentication, 5.0 only.
    Auth(Auth<'a>),
}

/// CONNECT, section 3.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connect<'a> {
    /// Version from protocol name and level.
    pub version: Version,
    /// Bridge bit 0x80 of the protocol level (Mosquitto's convention for 3.1 and 3.1.1).
    pub is_bridge: bool,
    /// Clean start (5.0) or clean session (3.x).
    pub clean_start: bool,
    /// Keepalive in seconds, 0 = none.
    pub keepalive_s: u16,
    /// Client id, may be empty.
    pub client_id: &'a str,
    /// Username, if its flag is set.
    pub username: Option<&'a str>,
    /// Password, if its flag is set.
    pub password: Option<&'a [u8]>,
    /// Will, if its flag is set.
    pub will: Option<Will<'a>>,
    /// CONNECT properties.
    pub properties: Properties<'a>,
}

/// The will of a CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Will<'a> {
    /// Topic name.
    pub topic: &'a str,
    /// Payload, may be empty.
    pub payload: &'a [u8],
    /// QoS.
    pub qos: QoS,
    /// Retain flag.
    pub retain: bool,
    /// Will properties.
    pub properties: Properties<'a>,
}

/// CONNACK, section 3.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnAck<'a> {
    /// Whether the server had a session.
    pub session_present: bool,
    /// Reason code in its 5.0 form; encoding for 3.x maps it to the 3.x return code, decoding maps back.
    pub reason: ReasonCode,
    /// Properties.
    pub properties: Properties<'a>,
}

/// PUBLISH, section 3.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    /// Duplicate flag.
    pub dup: bool,
    /// QoS.
    pub qos: QoS,
    /// Retain flag.
    pub retain: bool,
    /// Topic name; empty only in 5.0 together with a topic alias.
    pub topic: &'a str,
    /// Packet id, 0 for QoS 0.
    pub packet_id: u16,
    /// Properties.
    pub properties: Properties<'a>,
    /// Payload.
    pub payload: &'a [u8],
}

/// PUBACK, PUBREC, PUBREL and PUBCOMP, sections 3.4 to 3.7.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack<'a> {
    /// Packet id, never 0.
    pub packet_id: u16,
    /// Reason code, `SUCCESS` in 3.x.
    pub reason: ReasonCode,
    /// Properties.
    pub properties: Properties<'a>,
}

/// SUBSCRIBE, section 3.8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// Packet id, never 0.
    pub packet_id: u16,
    /// Properties.
    pub properties: Properties<'a>,
    /// Topic filters with their options; at least one.
    pub filters: SubscribeFilters<'a>,
}

/// Validated payload of a SUBSCRIBE: filters (UTF-8 checked, *not* yet checked as topic filters) and options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscribeFilters<'a>(pub(crate) &'a [u8]);

/// Options of one subscription, section 3.8.3.1. 3.x clients have only the QoS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscribeOptions {
    /// Highest QoS the subscriber wants.
    pub qos: QoS,
    /// Do not send messages that this client published.
    pub no_local: bool,
    /// Keep the retain flag as published.
    pub retain_as_published: bool,
    /// 0 send retained messages, 1 only for a new subscription, 2 never.
    pub retain_handling: u8,
}

/// SUBACK and UNSUBACK, sections 3.9 and 3.11.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubAck<'a> {
    /// Packet id of the request.
    pub packet_id: u16,
    /// Properties.
    pub properties: Properties<'a>,
    /// One code a filter, as on the wire of the connection's version; empty in a 3.x UNSUBACK.
    pub reasons: &'a [u8],
}

/// UNSUBSCRIBE, section 3.10.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsubscribe<'a> {
    /// Packet id, never 0.
    pub packet_id: u16,
    /// Properties.
    pub properties: Properties<'a>,
    /// Topic filters; at least one.
    pub filters: UnsubscribeFilters<'a>,
}

/// Validated payload of an UNSUBSCRIBE (UTF-8 checked, *not* yet checked as topic filters).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnsubscribeFilters<'a>(pub(crate) &'a [u8]);

/// DISCONNECT, section 3.14.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disconnect<'a> {
    /// Reason code.
    pub reason: ReasonCode,
    /// Properties.
    pub properties: Properties<'a>,
}

/// AUTH, section 3.15.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Auth<'a> {
    /// Reason code: `SUCCESS`, `CONTINUE_AUTHENTICATION` or `RE_AUTHENTICATE`.
    pub reason: ReasonCode,
    /// Properties.
    pub properties: Properties<'a>,
}
