//! Facts of the standard that several places need: reason codes and properties, one table each.

pub use super::property::{Properties, Property, PropertyPlace, RawProperty};

/// Packets in which a reason code may stand, as bits; see [`REASON_CODES`].
const CONNACK: u16 = 1 << 0;
const PUBACK: u16 = 1 << 1;
const PUBREC: u16 = 1 << 2;
const PUBREL: u16 = 1 << 3;
const PUBCOMP: u16 = 1 << 4;
const SUBACK: u16 = 1 << 5;
const UNSUBACK: u16 = 1 << 6;
const DISCONNECT: u16 = 1 << 7;
const AUTH: u16 = 1 << 8;
/// Marks a DISCONNECT code that a client may send too, section 3.14.2.1.
const BY_CLIENT: u16 = 1 << 9;

/// PUBACK and PUBREC carry the same codes, and so do PUBREL and PUBCOMP.
const RECEIVED: u16 = PUBACK | PUBREC;
const RELEASED: u16 = PUBREL | PUBCOMP;
/// A DISCONNECT of either side.
const BOTH: u16 = DISCONNECT | BY_CLIENT;

/// A reason code of MQTT 5.0, section 2.4; the vocabulary for 3.x as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ReasonCode(pub u8);

/// One row of [`REASON_CODES`].
#[derive(Clone, Copy, Debug)]
pub struct ReasonCodeInfo {
    /// The code.
    pub code: ReasonCode,
    /// Its name in the standard, in lower case.
    pub name: &'static str,
    packets: u16,
}

macro_rules! reason_codes {
    ($($constant:ident = $code:literal, $name:literal, $packets:expr;)*) => {
        impl ReasonCode {
            $(#[doc = concat!("`", stringify!($code), "` ", $name, ".")]
            pub const $constant: Self = Self($code);)*
        }

        /// Every reason code of MQTT 5.0, in order.
        pub const REASON_CODES: &[ReasonCodeInfo] = &[
            $(ReasonCodeInfo { code: ReasonCode::$constant, name: $name, packets: $packets },)*
        ];
    };
}

reason_codes! {
    SUCCESS = 0x00, "success", CONNACK | RECEIVED | RELEASED | SUBACK | UNSUBACK | BOTH | AUTH;
    GRANTED_QOS_1 = 0x01, "granted QoS 1", SUBACK;
    GRANTED_QOS_2 = 0x02, "granted QoS 2", SUBACK;
    DISCONNECT_WITH_WILL = 0x04, "disconnect with will message", BOTH;
    NO_MATCHING_SUBSCRIBERS = 0x10, "no matching subscribers", RECEIVED;
    NO_SUBSCRIPTION_EXISTED = 0x11, "no subscription existed", UNSUBACK;
    CONTINUE_AUTHENTICATION = 0x18, "continue authentication", AUTH;
    RE_AUTHENTICATE = 0x19, "re-authenticate", AUTH;
    UNSPECIFIED_ERROR = 0x80, "unspecified error", CONNACK | RECEIVED | SUBACK | UNSUBACK | BOTH;
    MALFORMED_PACKET = 0x81, "malformed packet", CONNACK | BOTH;
    PROTOCOL_ERROR = 0x82, "protocol error", CONNACK | BOTH;
    IMPLEMENTATION_SPECIFIC_ERROR = 0x83, "implementation specific error",
        CONNACK | RECEIVED | SUBACK | UNSUBACK | BOTH;
    UNSUPPORTED_PROTOCOL_VERSION = 0x84, "unsupported protocol version", CONNACK;
    CLIENT_IDENTIFIER_NOT_VALID = 0x85, "client identifier not valid", CONNACK;
    BAD_USER_NAME_OR_PASSWORD = 0x86, "bad user name or password", CONNACK;
    NOT_AUTHORIZED = 0x87, "not authorized", CONNACK | RECEIVED | SUBACK | UNSUBACK | DISCONNECT;
    SERVER_UNAVAILABLE = 0x88, "server unavailable", CONNACK;
    SERVER_BUSY = 0x89, "server busy", CONNACK | DISCONNECT;
    BANNED = 0x8A, "banned", CONNACK;
    SERVER_SHUTTING_DOWN = 0x8B, "server shutting down", DISCONNECT;
    BAD_AUTHENTICATION_METHOD = 0x8C, "bad authentication method", CONNACK | DISCONNECT;
    KEEP_ALIVE_TIMEOUT = 0x8D, "keep alive timeout", DISCONNECT;
    SESSION_TAKEN_OVER = 0x8E, "session taken over", DISCONNECT;
    TOPIC_FILTER_INVALID = 0x8F, "topic filter invalid", SUBACK | UNSUBACK | DISCONNECT;
    TOPIC_NAME_INVALID = 0x90, "topic name invalid", CONNACK | RECEIVED | BOTH;
    PACKET_IDENTIFIER_IN_USE = 0x91, "packet identifier in use", RECEIVED | SUBACK | UNSUBACK;
    PACKET_IDENTIFIER_NOT_FOUND = 0x92, "packet identifier not found", RELEASED;
    RECEIVE_MAXIMUM_EXCEEDED = 0x93, "receive maximum exceeded", BOTH;
    TOPIC_ALIAS_INVALID = 0x94, "topic alias invalid", BOTH;
    PACKET_TOO_LARGE = 0x95, "packet too large", CONNACK | BOTH;
    MESSAGE_RATE_TOO_HIGH = 0x96, "message rate too high", BOTH;
    QUOTA_EXCEEDED = 0x97, "quota exceeded", CONNACK | RECEIVED | SUBACK | BOTH;
    ADMINISTRATIVE_ACTION = 0x98, "administrative action", BOTH;
    PAYLOAD_FORMAT_INVALID = 0x99, "payload format invalid", CONNACK | RECEIVED | BOTH;
    RETAIN_NOT_SUPPORTED = 0x9A, "retain not supported", CONNACK | DISCONNECT;
    QOS_NOT_SUPPORTED = 0x9B, "QoS not supported", CONNACK | DISCONNECT;
    USE_ANOTHER_SERVER = 0x9C, "use another server", CONNACK | DISCONNECT;
    SERVER_MOVED = 0x9D, "server moved", CONNACK | DISCONNECT;
    SHARED_SUBSCRIPTIONS_NOT_SUPPORTED = 0x9E, "shared subscriptions not supported",
        SUBACK | DISCONNECT;
    CONNECTION_RATE_EXCEEDED = 0x9F, "connection rate exceeded", CONNACK | DISCONNECT;
    MAXIMUM_CONNECT_TIME = 0xA0, "maximum connect time", DISCONNECT;
    SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED = 0xA1, "subscription identifiers not supported",
        SUBACK | DISCONNECT;
    WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED = 0xA2, "wildcard subscriptions not supported",
        SUBACK | DISCONNECT;
}

impl ReasonCode {
    /// Whether the operation failed.
    #[inline]
    pub const fn is_error(self) -> bool {
        self.0 >= 0x80
    }

    /// The name in the standard, in lower case; `reserved` for a number without meaning.
    pub fn name(self) -> &'static str {
        self.info().map_or("reserved", |info| info.name)
    }

    /// The row of the table, if the number has a meaning.
    pub fn info(self) -> Option<&'static ReasonCodeInfo> {
        REASON_CODES.iter().find(|info| info.code == self)
    }

    /// The return code of a 3.x CONNACK that says this best, 0 to 5.
    pub const fn connect_return_code(self) -> u8 {
        match self {
            code if !code.is_error() => 0,
            Self::UNSUPPORTED_PROTOCOL_VERSION => 1,
            Self::CLIENT_IDENTIFIER_NOT_VALID => 2,
            Self::BAD_USER_NAME_OR_PASSWORD | Self::BAD_AUTHENTICATION_METHOD => 4,
            Self::NOT_AUTHORIZED | Self::BANNED => 5,
            _ => 3,
        }
    }

    /// The reason for a return code of a 3.x CONNACK; nothing for the reserved ones, 6 and above.
    pub const fn from_connect_return_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::SUCCESS),
            1 => Some(Self::UNSUPPORTED_PROTOCOL_VERSION),
            2 => Some(Self::CLIENT_IDENTIFIER_NOT_VALID),
            3 => Some(Self::SERVER_UNAVAILABLE),
            4 => Some(Self::BAD_USER_NAME_OR_PASSWORD),
            5 => Some(Self::NOT_AUTHORIZED),
            _ => None,
        }
    }

    /// Whether the standard lists this code for packets of the kind that hold `place`'s properties.
    ///
    /// Places without a reason code (CONNECT, will, PUBLISH, SUBSCRIBE, UNSUBSCRIBE) allow none.
    pub fn is_allowed_in(self, place: PropertyPlace) -> bool {
        let packet = match place {
            PropertyPlace::ConnAck => CONNACK,
            PropertyPlace::PubAck => PUBACK,
            PropertyPlace::PubRec => PUBREC,
            PropertyPlace::PubRel => PUBREL,
            PropertyPlace::PubComp => PUBCOMP,
            PropertyPlace::SubAck => SUBACK,
            PropertyPlace::UnsubAck => UNSUBACK,
            PropertyPlace::Disconnect => DISCONNECT,
            PropertyPlace::Auth => AUTH,
            _ => return false,
        };
        // Success is nearly every code there is: answer it without the search.
        self == Self::SUCCESS || self.info().is_some_and(|info| info.packets & packet != 0)
    }

    /// Whether a client may send this code in its DISCONNECT, section 3.14.2.1.
    pub fn is_disconnect_by_client(self) -> bool {
        self.info()
            .is_some_and(|info| info.packets & BY_CLIENT != 0)
    }
}

/// Type of a property's value, section 1.5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PropertyKind {
    /// One byte.
    Byte,
    /// Two bytes, big endian.
    TwoByteInteger,
    /// Four bytes, big endian.
    FourByteInteger,
    /// One to four bytes, seven bits each.
    VariableByteInteger,
    /// Text with a length of two bytes.
    String,
    /// Bytes with a length of two bytes.
    Binary,
    /// Two texts.
    StringPair,
}

/// One row of [`PROPERTIES`].
#[derive(Clone, Copy, Debug)]
pub struct PropertyInfo {
    /// Identifier on the wire.
    pub id: u8,
    /// Name as users write it.
    pub name: &'static str,
    /// Type of the value.
    pub kind: PropertyKind,
    /// Bits `1 << PropertyPlace`: where it may stand.
    pub places: u16,
}

impl PropertyInfo {
    /// Whether the property may stand in `place`.
    pub const fn is_allowed_in(&self, place: PropertyPlace) -> bool {
        self.places & place.bit() != 0
    }

    /// Whether it may stand in `place` more than once.
    pub const fn is_repeatable_in(&self, place: PropertyPlace) -> bool {
        // [MQTT-3.3.4-4] a delivered PUBLISH carries the identifier of every matching subscription.
        self.id == 0x26 || (self.id == 0x0B && matches!(place, PropertyPlace::Publish))
    }

    /// The row with this identifier, if there is one.
    #[inline]
    pub fn by_id(id: u8) -> Option<&'static PropertyInfo> {
        let row = *ROW_OF_ID.get(usize::from(id))?;
        PROPERTIES.get(usize::from(row))
    }
}

/// Every property of MQTT 5.0, section 2.2.2.2, in the order of its identifier.
pub const PROPERTIES: &[PropertyInfo] = {
    use PropertyKind::{
        Binary, Byte, FourByteInteger, String, StringPair, TwoByteInteger, VariableByteInteger,
    };
    use PropertyPlace as P;
    const MESSAGE: u16 = P::Publish.bit() | P::Will.bit();
    const OPENING: u16 = P::Connect.bit() | P::ConnAck.bit();
    const CONNACK: u16 = P::ConnAck.bit();
    const ANSWER: u16 = P::ConnAck.bit()
        | P::PubAck.bit()
        | P::PubRec.bit()
        | P::PubRel.bit()
        | P::PubComp.bit()
        | P::SubAck.bit()
        | P::UnsubAck.bit()
        | P::Disconnect.bit()
        | P::Auth.bit();
    const EVERYWHERE: u16 = ANSWER | MESSAGE | OPENING | P::Subscribe.bit() | P::Unsubscribe.bit();
    const fn row(id: u8, name: &'static str, kind: PropertyKind, places: u16) -> PropertyInfo {
        PropertyInfo {
            id,
            name,
            kind,
            places,
        }
    }
    &[
        row(0x01, "payload_format_indicator", Byte, MESSAGE),
        row(0x02, "message_expiry_interval", FourByteInteger, MESSAGE),
        row(0x03, "content_type", String, MESSAGE),
        row(0x08, "response_topic", String, MESSAGE),
        row(0x09, "correlation_data", Binary, MESSAGE),
        row(
            0x0B,
            "subscription_identifier",
            VariableByteInteger,
            P::Publish.bit() | P::Subscribe.bit(),
        ),
        row(
            0x11,
            "session_expiry_interval",
            FourByteInteger,
            OPENING | P::Disconnect.bit(),
        ),
        row(0x12, "assigned_client_identifier", String, CONNACK),
        row(0x13, "server_keep_alive", TwoByteInteger, CONNACK),
        row(
            0x15,
            "authentication_method",
            String,
            OPENING | P::Auth.bit(),
        ),
        row(0x16, "authentication_data", Binary, OPENING | P::Auth.bit()),
        row(0x17, "request_problem_information", Byte, P::Connect.bit()),
        row(0x18, "will_delay_interval", FourByteInteger, P::Will.bit()),
        row(0x19, "request_response_information", Byte, P::Connect.bit()),
        row(0x1A, "response_information", String, CONNACK),
        row(
            0x1C,
            "server_reference",
            String,
            CONNACK | P::Disconnect.bit(),
        ),
        row(0x1F, "reason_string", String, ANSWER),
        row(0x21, "receive_maximum", TwoByteInteger, OPENING),
        row(0x22, "topic_alias_maximum", TwoByteInteger, OPENING),
        row(0x23, "topic_alias", TwoByteInteger, P::Publish.bit()),
        row(0x24, "maximum_qos", Byte, CONNACK),
        row(0x25, "retain_available", Byte, CONNACK),
        row(0x26, "user_property", StringPair, EVERYWHERE),
        row(0x27, "maximum_packet_size", FourByteInteger, OPENING),
        row(0x28, "wildcard_subscription_available", Byte, CONNACK),
        row(0x29, "subscription_identifier_available", Byte, CONNACK),
        row(0x2A, "shared_subscription_available", Byte, CONNACK),
    ]
};

/// Row of [`PROPERTIES`] for each identifier; a row past the end where there is none.
const ROW_OF_ID: [u8; 0x2B] = {
    let mut rows = [u8::MAX; 0x2B];
    let mut row = 0;
    while row < PROPERTIES.len() {
        rows[PROPERTIES[row].id as usize] = row as u8;
        row += 1;
    }
    rows
};
