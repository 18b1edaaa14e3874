//! Properties of MQTT 5.0: one value, and the validated list as it stands on the wire.

use super::codec::{DecodeError, put_binary, put_remaining_length, put_string};
use super::reader::Reader;
use super::tables::{PropertyInfo, PropertyKind, ReasonCode};
use super::topic::check_topic_name;

/// Where a list of properties stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the packets are documented in `packet`")]
#[repr(u8)]
pub enum PropertyPlace {
    Connect,
    Will,
    ConnAck,
    Publish,
    PubAck,
    PubRec,
    PubRel,
    PubComp,
    Subscribe,
    SubAck,
    Unsubscribe,
    UnsubAck,
    Disconnect,
    Auth,
}

impl PropertyPlace {
    /// The place as one bit, for the property table.
    pub const fn bit(self) -> u16 {
        1 << self as u16
    }
}

/// One property with its value; section 2.2.2.2 describes each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "named as in the standard; `tables::PROPERTIES` lists them"
)]
pub enum Property<'a> {
    PayloadFormatIndicator(u8),
    MessageExpiryInterval(u32),
    ContentType(&'a str),
    ResponseTopic(&'a str),
    CorrelationData(&'a [u8]),
    SubscriptionIdentifier(u32),
    SessionExpiryInterval(u32),
    AssignedClientIdentifier(&'a str),
    ServerKeepAlive(u16),
    AuthenticationMethod(&'a str),
    AuthenticationData(&'a [u8]),
    RequestProblemInformation(u8),
    WillDelayInterval(u32),
    RequestResponseInformation(u8),
    ResponseInformation(&'a str),
    ServerReference(&'a str),
    ReasonString(&'a str),
    ReceiveMaximum(u16),
    TopicAliasMaximum(u16),
    TopicAlias(u16),
    MaximumQoS(u8),
    RetainAvailable(u8),
    UserProperty(&'a str, &'a str),
    MaximumPacketSize(u32),
    WildcardSubscriptionAvailable(u8),
    SubscriptionIdentifierAvailable(u8),
    SharedSubscriptionAvailable(u8),
}

impl<'a> Property<'a> {
    /// Identifier on the wire.
    pub const fn id(&self) -> u8 {
        match self {
            Self::PayloadFormatIndicator(_) => 0x01,
            Self::MessageExpiryInterval(_) => 0x02,
            Self::ContentType(_) => 0x03,
            Self::ResponseTopic(_) => 0x08,
            Self::CorrelationData(_) => 0x09,
            Self::SubscriptionIdentifier(_) => 0x0B,
            Self::SessionExpiryInterval(_) => 0x11,
            Self::AssignedClientIdentifier(_) => 0x12,
            Self::ServerKeepAlive(_) => 0x13,
            Self::AuthenticationMethod(_) => 0x15,
            Self::AuthenticationData(_) => 0x16,
            Self::RequestProblemInformation(_) => 0x17,
            Self::WillDelayInterval(_) => 0x18,
            Self::RequestResponseInformation(_) => 0x19,
            Self::ResponseInformation(_) => 0x1A,
            Self::ServerReference(_) => 0x1C,
            Self::ReasonString(_) => 0x1F,
            Self::ReceiveMaximum(_) => 0x21,
            Self::TopicAliasMaximum(_) => 0x22,
            Self::TopicAlias(_) => 0x23,
            Self::MaximumQoS(_) => 0x24,
            Self::RetainAvailable(_) => 0x25,
            Self::UserProperty(..) => 0x26,
            Self::MaximumPacketSize(_) => 0x27,
            Self::WildcardSubscriptionAvailable(_) => 0x28,
            Self::SubscriptionIdentifierAvailable(_) => 0x29,
            Self::SharedSubscriptionAvailable(_) => 0x2A,
        }
    }

    /// Appends identifier and value. The length before the whole list is the packet encoder's task.
    ///
    /// Strings and binary data beyond 65,535 bytes are cut, see [`put_string`].
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.id());
        match *self {
            Self::PayloadFormatIndicator(value)
            | Self::RequestProblemInformation(value)
            | Self::RequestResponseInformation(value)
            | Self::MaximumQoS(value)
            | Self::RetainAvailable(value)
            | Self::WildcardSubscriptionAvailable(value)
            | Self::SubscriptionIdentifierAvailable(value)
            | Self::SharedSubscriptionAvailable(value) => out.push(value),
            Self::ServerKeepAlive(value)
            | Self::ReceiveMaximum(value)
            | Self::TopicAliasMaximum(value)
            | Self::TopicAlias(value) => out.extend_from_slice(&value.to_be_bytes()),
            Self::MessageExpiryInterval(value)
            | Self::SessionExpiryInterval(value)
            | Self::WillDelayInterval(value)
            | Self::MaximumPacketSize(value) => out.extend_from_slice(&value.to_be_bytes()),
            Self::SubscriptionIdentifier(value) => put_remaining_length(out, value as usize),
            Self::ContentType(text)
            | Self::ResponseTopic(text)
            | Self::AssignedClientIdentifier(text)
            | Self::AuthenticationMethod(text)
            | Self::ResponseInformation(text)
            | Self::ServerReference(text)
            | Self::ReasonString(text) => put_string(out, text),
            Self::CorrelationData(bytes) | Self::AuthenticationData(bytes) => {
                put_binary(out, bytes);
            }
            Self::UserProperty(name, value) => {
                put_string(out, name);
                put_string(out, value);
            }
        }
    }

    /// Reads one property: structure only, no rule about its value or place.
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        // The identifier is a variable byte integer, but all are below 0x80.
        Ok(match reader.u8()? {
            0x01 => Self::PayloadFormatIndicator(reader.u8()?),
            0x02 => Self::MessageExpiryInterval(reader.u32()?),
            0x03 => Self::ContentType(reader.string()?),
            0x08 => Self::ResponseTopic(reader.string()?),
            0x09 => Self::CorrelationData(reader.binary()?),
            0x0B => Self::SubscriptionIdentifier(reader.variable()?),
            0x11 => Self::SessionExpiryInterval(reader.u32()?),
            0x12 => Self::AssignedClientIdentifier(reader.string()?),
            0x13 => Self::ServerKeepAlive(reader.u16()?),
            0x15 => Self::AuthenticationMethod(reader.string()?),
            0x16 => Self::AuthenticationData(reader.binary()?),
            0x17 => Self::RequestProblemInformation(reader.u8()?),
            0x18 => Self::WillDelayInterval(reader.u32()?),
            0x19 => Self::RequestResponseInformation(reader.u8()?),
            0x1A => Self::ResponseInformation(reader.string()?),
            0x1C => Self::ServerReference(reader.string()?),
            0x1F => Self::ReasonString(reader.string()?),
            0x21 => Self::ReceiveMaximum(reader.u16()?),
            0x22 => Self::TopicAliasMaximum(reader.u16()?),
            0x23 => Self::TopicAlias(reader.u16()?),
            0x24 => Self::MaximumQoS(reader.u8()?),
            0x25 => Self::RetainAvailable(reader.u8()?),
            0x26 => Self::UserProperty(reader.string()?, reader.string()?),
            0x27 => Self::MaximumPacketSize(reader.u32()?),
            0x28 => Self::WildcardSubscriptionAvailable(reader.u8()?),
            0x29 => Self::SubscriptionIdentifierAvailable(reader.u8()?),
            0x2A => Self::SharedSubscriptionAvailable(reader.u8()?),
            _ => return Err(UNKNOWN),
        })
    }

    /// The rules about single values.
    fn check_value(&self) -> Result<(), DecodeError> {
        let what = match *self {
            Self::PayloadFormatIndicator(2..) => "payload format indicator is not 0 or 1",
            Self::RequestProblemInformation(2..) => "request problem information is not 0 or 1",
            Self::RequestResponseInformation(2..) => "request response information is not 0 or 1",
            Self::MaximumQoS(2..) => "maximum QoS is not 0 or 1",
            Self::RetainAvailable(2..) => "retain available is not 0 or 1",
            Self::WildcardSubscriptionAvailable(2..) => {
                "wildcard subscription available is not 0 or 1"
            }
            Self::SubscriptionIdentifierAvailable(2..) => {
                "subscription identifier available is not 0 or 1"
            }
            Self::SharedSubscriptionAvailable(2..) => "shared subscription available is not 0 or 1",
            Self::ReceiveMaximum(0) => "receive maximum is 0",
            Self::MaximumPacketSize(0) => "maximum packet size is 0",
            Self::SubscriptionIdentifier(0) => "subscription identifier is 0",
            Self::TopicAlias(0) => {
                return Err(DecodeError {
                    reason: ReasonCode::TOPIC_ALIAS_INVALID,
                    what: "[MQTT-3.3.2-8] topic alias is 0",
                });
            }
            Self::ResponseTopic(topic) if check_topic_name(topic).is_err() => {
                "[MQTT-3.3.2-14] response topic is empty or holds a wildcard"
            }
            _ => return Ok(()),
        };
        Err(DecodeError::protocol(what))
    }
}

/// A validated list of properties as it stands on the wire, without the length before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Properties<'a>(&'a [u8]);

impl<'a> Properties<'a> {
    /// No properties.
    pub const EMPTY: Self = Properties(&[]);

    /// Whether there are none.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The list as on the wire, without the length before it.
    #[inline]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    /// Takes bytes written by [`Property::encode`] or validated before; nothing is checked here.
    #[inline]
    pub const fn from_validated(bytes: &'a [u8]) -> Self {
        Properties(bytes)
    }

    /// Checks every rule about the properties of one place.
    ///
    /// # Errors
    /// `MALFORMED_PACKET` for a broken value or a property that has no business in `place`,
    /// `PROTOCOL_ERROR` for a duplicate, a value out of range, or authentication data without method.
    #[inline]
    pub fn parse(bytes: &'a [u8], place: PropertyPlace) -> Result<Self, DecodeError> {
        if !bytes.is_empty() {
            check(bytes, place)?;
        }
        Ok(Properties(bytes))
    }

    /// The properties one by one, in their order on the wire.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = Property<'a>> + use<'a> {
        let mut reader = Reader::new(self.0);
        std::iter::from_fn(move || match reader.is_empty() {
            true => None,
            false => Property::read(&mut reader).ok(),
        })
    }

    /// The properties as bytes, to pass them on unchanged.
    #[inline]
    pub fn iter_raw(&self) -> impl Iterator<Item = RawProperty<'a>> + use<'a> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let id = *rest.first()?;
            let mut reader = Reader::new(rest.get(1..)?);
            skip_value(id, &mut reader).ok()?;
            let (raw, behind) = rest.split_at_checked(rest.len() - reader.rest.len())?;
            rest = behind;
            Some((id, raw))
        })
    }
}

/// Identifier, and the whole property including the identifier.
pub type RawProperty<'a> = (u8, &'a [u8]);

fn check(bytes: &[u8], place: PropertyPlace) -> Result<(), DecodeError> {
    let mut reader = Reader::new(bytes);
    let mut seen = 0u64;
    while let Some(&id) = reader.rest.first() {
        // Section 2.2.2.2: an identifier that is not valid for the packet makes it malformed.
        let info = PropertyInfo::by_id(id).ok_or(UNKNOWN)?;
        if !info.is_allowed_in(place) {
            return Err(DecodeError::malformed(
                "property is not allowed in this packet",
            ));
        }
        let property = Property::read(&mut reader)?;
        let bit = 1u64 << id;
        if seen & bit != 0 && !info.is_repeatable_in(place) {
            return Err(DecodeError::protocol("property is included more than once"));
        }
        seen |= bit;
        property.check_value()?;
    }
    if seen & (METHOD | DATA) == DATA {
        return Err(DecodeError::protocol(
            "authentication data without authentication method",
        ));
    }
    Ok(())
}

#[inline]
fn skip_value(id: u8, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
    match PropertyInfo::by_id(id).ok_or(UNKNOWN)?.kind {
        PropertyKind::Byte => reader.take(1)?,
        PropertyKind::TwoByteInteger => reader.take(2)?,
        PropertyKind::FourByteInteger => reader.take(4)?,
        PropertyKind::VariableByteInteger => return reader.variable().map(drop),
        PropertyKind::String | PropertyKind::Binary => reader.binary()?,
        PropertyKind::StringPair => {
            reader.binary()?;
            reader.binary()?
        }
    };
    Ok(())
}

const METHOD: u64 = 1 << 0x15;
const DATA: u64 = 1 << 0x16;
const UNKNOWN: DecodeError = DecodeError::malformed("property identifier is unknown");
