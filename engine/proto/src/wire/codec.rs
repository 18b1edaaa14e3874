//! Where a packet begins and ends, and why it is refused.

use std::fmt;

use super::reader::LONGER_THAN_NEEDED;
use super::tables::ReasonCode;

pub use super::decode::{RawPublish, connect_version, decode};
pub use super::encode::{
    encode, encoded_len, put_binary, put_remaining_length, put_string, remaining_length_size,
};
pub use super::filter_list::{push_subscribe_filter, push_unsubscribe_filter};
pub use super::reader::check_name;

/// The longest content of a packet, section 2.1.4.
pub const MAX_REMAINING_LENGTH: usize = 268_435_455;

/// What the first bytes of an input are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// More bytes are needed.
    Incomplete {
        /// Bytes the whole packet needs, if its length is known.
        total: Option<usize>,
    },
    /// A whole packet is there.
    Complete {
        /// First byte: type and flags.
        first: u8,
        /// Where the body begins: 2 to 5.
        header_len: usize,
        /// Where the packet ends.
        total: usize,
    },
}

/// Finds the first packet of `input`.
///
/// The first byte and the length are judged as soon as they are there, so an oversize packet is
/// refused before its body is read. Type and flags are those of any version and direction:
/// [`decode`] refuses what the connection's version does not have.
///
/// # Errors
/// `MALFORMED_PACKET` for a reserved type, wrong flags or a bad length; `PACKET_TOO_LARGE` when the
/// whole packet has more than `max_packet_bytes`.
#[inline]
pub fn frame(input: &[u8], max_packet_bytes: usize) -> Result<Frame, DecodeError> {
    let Some(&first) = input.first() else {
        return Ok(Frame::Incomplete { total: None });
    };
    if LEGAL_FLAGS[usize::from(first >> 4)] >> (first & 0x0F) & 1 == 0 {
        return Err(bad_first_byte(first));
    }
    let (header_len, body_len) = match input.get(1) {
        Some(&len) if len < 0x80 => (2, usize::from(len)),
        None => return Ok(Frame::Incomplete { total: None }),
        Some(_) => match long_length(input)? {
            Some(lengths) => lengths,
            None => return Ok(Frame::Incomplete { total: None }),
        },
    };
    let total = header_len + body_len;
    if total > max_packet_bytes {
        return Err(TOO_LARGE);
    }
    if total > input.len() {
        return Ok(Frame::Incomplete { total: Some(total) });
    }
    Ok(Frame::Complete {
        first,
        header_len,
        total,
    })
}

/// Header length and body length for a remaining length of two to four bytes.
#[inline]
fn long_length(input: &[u8]) -> Result<Option<(usize, usize)>, DecodeError> {
    let mut body_len = 0;
    for (at, &byte) in input.iter().enumerate().skip(1).take(4) {
        body_len |= usize::from(byte & 0x7F) << (7 * (at - 1));
        if byte < 0x80 {
            // 3.1.1 says it by its table 2.4 of sizes.
            return match byte {
                0 => Err(LONGER_THAN_NEEDED),
                _ => Ok(Some((at + 1, body_len))),
            };
        }
    }
    if input.len() >= 5 {
        return Err(DecodeError::malformed(
            "remaining length has more than 4 bytes",
        ));
    }
    Ok(None)
}

#[cold]
fn bad_first_byte(first: u8) -> DecodeError {
    DecodeError::malformed(match first >> 4 {
        0 => "packet type 0 is reserved",
        6 => "[MQTT-3.6.1-1] flags of PUBREL are not 2",
        8 => "[MQTT-3.8.1-1] flags of SUBSCRIBE are not 2",
        10 => "[MQTT-3.10.1-1] flags of UNSUBSCRIBE are not 2",
        14 => "[MQTT-3.14.1-1] flags of DISCONNECT are not 0",
        15 => "[MQTT-3.15.1-1] flags of AUTH are not 0",
        _ => "[MQTT-2.1.3-1] reserved flags are not 0",
    })
}

/// Why bytes are not a packet, and what to tell the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// Reason for the DISCONNECT or CONNACK.
    pub reason: ReasonCode,
    /// Short text, with the statement of MQTT 5.0 where there is one.
    pub what: &'static str,
}

impl DecodeError {
    pub(super) const fn malformed(what: &'static str) -> Self {
        Self {
            reason: ReasonCode::MALFORMED_PACKET,
            what,
        }
    }

    pub(super) const fn protocol(what: &'static str) -> Self {
        Self {
            reason: ReasonCode::PROTOCOL_ERROR,
            what,
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.reason.name(), self.what)
    }
}

impl std::error::Error for DecodeError {}

const TOO_LARGE: DecodeError = DecodeError {
    reason: ReasonCode::PACKET_TOO_LARGE,
    what: "packet is larger than the maximum packet size",
};

/// Legal flags for each packet type, one bit for each value of the four flag bits.
///
/// PUBREL, SUBSCRIBE and UNSUBSCRIBE of 3.1 may be sent again with the DUP flag (value 10), and its
/// CONNECT does not use the flags; `decode` is strict for the later versions. PUBLISH has its own rules.
const LEGAL_FLAGS: [u16; 16] = {
    const NONE: u16 = 1 << 0;
    const QOS_1: u16 = 1 << 2 | 1 << 10;
    let mut legal = [NONE; 16];
    legal[0] = 0;
    legal[1] = u16::MAX;
    legal[3] = u16::MAX;
    legal[6] = QOS_1;
    legal[8] = QOS_1;
    legal[10] = QOS_1;
    legal
};
