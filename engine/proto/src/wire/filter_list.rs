//! Payloads of SUBSCRIBE and UNSUBSCRIBE: lists of topic filters.

use super::codec::{DecodeError, put_string};
use super::packet::{QoS, SubscribeFilters, SubscribeOptions, UnsubscribeFilters, Version};
use super::reader::Reader;

impl<'a> SubscribeFilters<'a> {
    /// Takes bytes written by [`push_subscribe_filter`] or validated before; nothing is checked here.
    pub const fn from_validated(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The list as on the wire of MQTT 5.0.
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    /// Filters with their options, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, SubscribeOptions)> + use<'a> {
        let mut reader = Reader::new(self.0);
        std::iter::from_fn(move || {
            let filter = reader.string().ok()?;
            let options = SubscribeOptions::from_byte(reader.u8().ok()?).ok()?;
            Some((filter, options))
        })
    }

    /// How many filters there are.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there is none, which no SUBSCRIBE may have.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Checks the payload of a SUBSCRIBE.
    pub(super) fn parse(version: Version, bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        if reader.is_empty() {
            return Err(DecodeError::protocol(
                "[MQTT-3.8.3-2] SUBSCRIBE without topic filter",
            ));
        }
        while !reader.is_empty() {
            reader.string()?;
            let byte = reader.u8()?;
            if version < Version::V5 && byte & !0x03 != 0 {
                return Err(RESERVED_OPTIONS);
            }
            SubscribeOptions::from_byte(byte)?;
        }
        Ok(Self(bytes))
    }
}

impl SubscribeOptions {
    /// Only a QoS; the rest as in 3.x.
    pub const fn with_qos(qos: QoS) -> Self {
        Self {
            qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: 0,
        }
    }

    /// The options byte of MQTT 5.0; its two low bits are the byte of 3.x.
    pub const fn to_byte(self) -> u8 {
        self.qos as u8
            | (self.no_local as u8) << 2
            | (self.retain_as_published as u8) << 3
            | (self.retain_handling & 0x03) << 4
    }

    /// Reads the options byte of MQTT 5.0.
    ///
    /// # Errors
    /// `MALFORMED_PACKET` for reserved bits, `PROTOCOL_ERROR` for QoS 3 or retain handling 3.
    pub const fn from_byte(byte: u8) -> Result<Self, DecodeError> {
        if byte & 0xC0 != 0 {
            return Err(RESERVED_OPTIONS);
        }
        let Some(qos) = QoS::from_bits(byte & 0x03) else {
            return Err(DecodeError::protocol("maximum QoS of a subscription is 3"));
        };
        let retain_handling = byte >> 4;
        if retain_handling == 3 {
            return Err(DecodeError::protocol(
                "retain handling of a subscription is 3",
            ));
        }
        Ok(Self {
            qos,
            no_local: byte & 0x04 != 0,
            retain_as_published: byte & 0x08 != 0,
            retain_handling,
        })
    }
}

impl<'a> UnsubscribeFilters<'a> {
    /// Takes bytes written by [`push_unsubscribe_filter`] or validated before; nothing is checked here.
    pub const fn from_validated(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The list as on the wire.
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    /// Filters in their order.
    pub fn iter(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let mut reader = Reader::new(self.0);
        std::iter::from_fn(move || reader.string().ok())
    }

    /// How many filters there are.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there is none, which no UNSUBSCRIBE may have.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Checks the payload of an UNSUBSCRIBE.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        if reader.is_empty() {
            return Err(DecodeError::protocol(
                "[MQTT-3.10.3-2] UNSUBSCRIBE without topic filter",
            ));
        }
        while !reader.is_empty() {
            reader.string()?;
        }
        Ok(Self(bytes))
    }
}

/// Appends one filter for [`SubscribeFilters::from_validated`].
pub fn push_subscribe_filter(out: &mut Vec<u8>, filter: &str, options: SubscribeOptions) {
    put_string(out, filter);
    out.push(options.to_byte());
}

/// Appends one filter for [`UnsubscribeFilters::from_validated`].
pub fn push_unsubscribe_filter(out: &mut Vec<u8>, filter: &str) {
    put_string(out, filter);
}

const RESERVED_OPTIONS: DecodeError =
    DecodeError::malformed("[MQTT-3.8.3-5] reserved bits of the subscription options are not 0");
