//! Reads the standard's data types, section 1.5, from the front of a slice; never past its end.

use super::codec::DecodeError;

/// What is left of a packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    pub(super) rest: &'a [u8],
}

impl<'a> Reader<'a> {
    #[inline]
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    #[inline]
    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(TRUNCATED)?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(TRUNCATED)?;
        self.rest = rest;
        Ok(*taken)
    }

    #[inline]
    pub(super) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[byte]| byte)
    }

    #[inline]
    pub(super) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    #[inline]
    pub(super) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    /// A variable byte integer: at most four bytes, and no more than the value needs.
    #[inline]
    pub(super) fn variable(&mut self) -> Result<u32, DecodeError> {
        let first = self.u8()?;
        if first < 0x80 {
            return Ok(u32::from(first));
        }
        self.variable_rest(first)
    }

    fn variable_rest(&mut self, first: u8) -> Result<u32, DecodeError> {
        let mut value = u32::from(first & 0x7F);
        for shift in [7, 14, 21] {
            let byte = self.u8()?;
            value |= u32::from(byte & 0x7F) << shift;
            if byte == 0 {
                return Err(LONGER_THAN_NEEDED);
            }
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(DecodeError::malformed(
            "variable byte integer has more than 4 bytes (section 1.5.5)",
        ))
    }

    /// Bytes after a length of two bytes.
    #[inline]
    pub(super) fn binary(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = self.u16()?;
        self.take(usize::from(len))
    }

    /// Text after a length of two bytes.
    #[inline]
    pub(super) fn string(&mut self) -> Result<&'a str, DecodeError> {
        check_string(self.binary()?)
    }

    /// A packet id, which is never 0.
    pub(super) fn packet_id(&mut self) -> Result<u16, DecodeError> {
        match self.u16()? {
            0 => Err(PACKET_ID_ZERO),
            packet_id => Ok(packet_id),
        }
    }

    /// Nothing may be left.
    pub(super) fn end(&self) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(DecodeError::malformed(
            "bytes after the end of the packet's content",
        ))
    }
}

/// Text as section 1.5.4 wants it.
#[inline]
fn check_string(bytes: &[u8]) -> Result<&str, DecodeError> {
    let text = check_utf_8(bytes)?;
    if bytes.contains(&0) {
        return Err(DecodeError::malformed("[MQTT-1.5.4-2] string holds U+0000"));
    }
    Ok(text)
}

/// Surrogates are not UTF-8; a byte order mark is kept [MQTT-1.5.4-3]; control characters are kept,
/// except in names: see [`check_name`].
#[inline]
pub(super) fn check_utf_8(bytes: &[u8]) -> Result<&str, DecodeError> {
    std::str::from_utf8(bytes)
        .map_err(|_| DecodeError::malformed("[MQTT-1.5.4-1] string is not UTF-8"))
}

/// Refuses control characters, U+0001 to U+001F and U+007F to U+009F, in what names something: client
/// id, username, topic name, topic filter. U+0000 is refused everywhere.
///
/// Section 1.5.4 lets a server end the connection for them. Names stand in log lines and access rules,
/// where a line end or a backspace deceives the reader. For servers only: a remote broker may accept them.
///
/// # Errors
/// `MALFORMED_PACKET`.
pub fn check_name(name: &str) -> Result<(), DecodeError> {
    // No early end, so it becomes wide compares. In UTF-8, U+0080 to U+009F are C2 and 80 to 9F.
    let bytes = name.as_bytes();
    let low = bytes
        .iter()
        .fold(false, |found, &byte| found | (byte < 0x20) | (byte == 0x7F));
    let high = bytes.windows(2).fold(false, |found, pair| {
        found | ((pair[0] == 0xC2) & (pair[1] < 0xA0))
    });
    if low | high {
        return Err(DecodeError::malformed(
            "a name holds a control character (section 1.5.4)",
        ));
    }
    Ok(())
}

pub(super) const TRUNCATED: DecodeError = DecodeError::malformed("packet ends within a field");
pub(super) const PACKET_ID_ZERO: DecodeError =
    DecodeError::protocol("[MQTT-2.2.1-3] packet id is 0");
pub(super) const LONGER_THAN_NEEDED: DecodeError =
    DecodeError::malformed("[MQTT-1.5.5-1] variable byte integer is longer than needed");
