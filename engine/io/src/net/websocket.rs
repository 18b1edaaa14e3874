//! WebSocket frames, in place: what was read becomes the MQTT bytes that it carries.
//!
//! Packets and frames are cut independently of each other [MQTT-6.0.0-2], so a frame is never collected:
//! its payload is unmasked where it lies and moves to the front of the buffer.
//!
//! Source: RFC 6455, section 5.

use std::fmt;

/// Largest frame taken. Frames are not stored, so this only ends what cannot be meant.
const LARGEST_FRAME: u64 = 1 << 30;

/// RFC 6455, section 5.5: control frames are no longer.
const LARGEST_CONTROL: usize = 125;

/// The longest header: two bytes, eight of length, four of mask.
pub const LONGEST_HEADER: usize = 14;

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;

const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;

/// Why a connection is closed: RFC 6455, section 7.4.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// The purpose is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// The peer does not keep to the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// Text where only binary is understood [MQTT-6.0.0-1].
    pub const UNSUPPORTED_DATA: Self = Self(1003);
    /// A frame beyond the limit.
    pub const TOO_BIG: Self = Self(1009);
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match *self {
            Self::PROTOCOL_ERROR => "protocol error",
            Self::UNSUPPORTED_DATA => "text frame, MQTT needs binary ones",
            Self::TOO_BIG => "frame too large",
            _ => "closed",
        };
        write!(f, "{what} ({})", self.0)
    }
}

/// The frames of one connection, both directions.
#[derive(Debug)]
pub struct Websocket {
    is_client: bool,
    state: State,
    /// Bytes of a header or of a control frame that is not complete.
    partial: [u8; LARGEST_CONTROL],
    partial_len: u8,
    /// Whether a fragmented message goes on.
    in_message: bool,
    /// The peer has closed or broken the protocol: nothing is taken any more.
    is_over: bool,
    /// How the peer broke the protocol.
    violation: Option<CloseCode>,
    sent_close: bool,
    /// The newest ping that is not answered: older ones need no answer (section 5.5.3).
    pong: Option<Box<[u8]>>,
    /// Why we have to close, not yet sent.
    closing: Option<CloseCode>,
    /// Source of the masks of a client.
    random: u64,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Header,
    /// Payload of a data frame, with the mask turned to its next byte.
    Data {
        left: u64,
        key: [u8; 4],
    },
    /// Payload of a control frame.
    Control {
        opcode: u8,
        left: u8,
        key: [u8; 4],
    },
}

impl Websocket {
    /// Our side is the server: it takes masked frames and sends plain ones.
    pub const fn server() -> Self {
        Self::new(false, 0)
    }

    /// Our side is the client. `random` seeds the masks; it must not be known to the peer's neighbours.
    pub const fn client(random: u64) -> Self {
        Self::new(true, random)
    }

    const fn new(is_client: bool, random: u64) -> Self {
        Self {
            is_client,
            state: State::Header,
            partial: [0; LARGEST_CONTROL],
            partial_len: 0,
            in_message: false,
            is_over: false,
            violation: None,
            sent_close: false,
            pong: None,
            closing: None,
            random,
        }
    }

    /// Takes all of `buf`; returns how many bytes of payload are at its beginning now.
    ///
    /// What comes after the peer's close frame is dropped.
    ///
    /// # Errors
    /// The peer does not keep to the protocol; the close frame that tells it so is ready for
    /// [`push_reply`](Self::push_reply). Payload that came before it is handed out first: then the next call fails.
    pub fn unwrap(&mut self, buf: &mut [u8]) -> Result<usize, CloseCode> {
        let (mut at, mut kept) = (0, 0);
        while at < buf.len() && !self.is_over {
            match self.state {
                State::Header => match self.take_header(&buf[at..]) {
                    Ok(taken) => at += taken,
                    Err(code) => self.fail(code),
                },
                State::Data { left, key } => {
                    let count = usize::try_from(left)
                        .unwrap_or(usize::MAX)
                        .min(buf.len() - at);
                    buf.copy_within(at..at + count, kept);
                    mask(&mut buf[kept..kept + count], key);
                    (at, kept) = (at + count, kept + count);
                    let left = left - count as u64;
                    self.state = if left == 0 {
                        State::Header
                    } else {
                        State::Data {
                            left,
                            key: turned(key, count),
                        }
                    };
                }
                State::Control { opcode, left, key } => {
                    let count = usize::from(left).min(buf.len() - at);
                    self.keep(&buf[at..at + count]);
                    at += count;
                    let left = left - count as u8;
                    self.state = State::Control { opcode, left, key };
                    if left == 0 {
                        if let Err(code) = self.take_control(opcode, key) {
                            self.fail(code);
                        }
                    }
                }
            }
        }
        match self.violation {
            Some(code) if kept == 0 => Err(code),
            _ => Ok(kept),
        }
    }

    /// Whether ours is the client's side.
    pub const fn is_client(&self) -> bool {
        self.is_client
    }

    /// Whether the peer has closed, or has broken the protocol.
    pub const fn is_over(&self) -> bool {
        self.is_over
    }

    /// How the peer has broken the protocol.
    pub const fn violation(&self) -> Option<CloseCode> {
        self.violation
    }

    /// Whether our close frame is sent, after which nothing may follow: section 5.5.1.
    pub const fn has_closed(&self) -> bool {
        self.sent_close
    }

    /// Whether a pong or a close frame waits for [`push_reply`](Self::push_reply).
    pub const fn has_reply(&self) -> bool {
        !self.sent_close && (self.pong.is_some() || self.closing.is_some())
    }

    /// Appends the waiting pong or close frame. Call it between two frames, not within one.
    pub fn push_reply(&mut self, out: &mut Vec<u8>) {
        if self.sent_close {
            return;
        }
        if let Some(payload) = self.pong.take() {
            self.push_control(PONG, &payload, out);
        }
        if let Some(code) = self.closing {
            self.sent_close = true;
            self.push_control(CLOSE, &code.0.to_be_bytes(), out);
        }
    }

    /// Appends a close frame, unless one was sent.
    pub fn push_close(&mut self, code: CloseCode, out: &mut Vec<u8>) {
        self.closing.get_or_insert(code);
        self.push_reply(out);
    }

    /// Header of a binary frame of `len` bytes: the header, its length, and the mask that the payload needs.
    pub fn header(&mut self, len: usize) -> ([u8; LONGEST_HEADER], usize, Option<[u8; 4]>) {
        self.any_header(BINARY, len)
    }

    fn any_header(
        &mut self,
        opcode: u8,
        len: usize,
    ) -> ([u8; LONGEST_HEADER], usize, Option<[u8; 4]>) {
        let mut header = [0; LONGEST_HEADER];
        header[0] = FIN | opcode;
        let mut end = if len < 126 {
            header[1] = len as u8;
            2
        } else if let Ok(len) = u16::try_from(len) {
            header[1] = 126;
            header[2..4].copy_from_slice(&len.to_be_bytes());
            4
        } else {
            header[1] = 127;
            header[2..10].copy_from_slice(&(len as u64).to_be_bytes());
            10
        };
        let key = self.is_client.then(|| self.next_key());
        if let Some(key) = key {
            header[1] |= MASKED;
            header[end..end + 4].copy_from_slice(&key);
            end += 4;
        }
        (header, end, key)
    }

    fn push_control(&mut self, opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
        let (header, len, key) = self.any_header(opcode, payload.len());
        out.extend_from_slice(&header[..len]);
        let start = out.len();
        out.extend_from_slice(payload);
        if let Some(key) = key {
            mask(&mut out[start..], key);
        }
    }

    /// Masks keep a browser's page from choosing the bytes on the wire. Here the program that sends is the
    /// program that masks, so a fast generator with a secret seed is enough (SplitMix64, Steele et al. 2014).
    fn next_key(&mut self) -> [u8; 4] {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed >> 32) as u32).to_le_bytes()
    }

    fn fail(&mut self, code: CloseCode) {
        self.is_over = true;
        self.violation = Some(code);
        self.closing.get_or_insert(code);
    }

    /// Keeps bytes of a header or control frame; the callers never have more than fit.
    fn keep(&mut self, bytes: &[u8]) {
        let start = usize::from(self.partial_len);
        if let Some(place) = self.partial.get_mut(start..start + bytes.len()) {
            place.copy_from_slice(bytes);
            self.partial_len += bytes.len() as u8;
        }
    }

    /// Takes bytes of a header, and acts on it when it is whole; returns how many were taken.
    fn take_header(&mut self, input: &[u8]) -> Result<usize, CloseCode> {
        let mut taken = 0;
        loop {
            let have = usize::from(self.partial_len);
            let want = if have < 2 { 2 } else { 2 + self.check_start()? };
            if have >= 2 && have == want {
                self.partial_len = 0;
                self.begin_frame(want)?;
                return Ok(taken);
            }
            let count = (want - have).min(input.len() - taken);
            if count == 0 {
                return Ok(taken);
            }
            self.keep(&input[taken..taken + count]);
            taken += count;
        }
    }

    /// Checks the first two bytes of a header; returns how many belong to it besides.
    fn check_start(&self) -> Result<usize, CloseCode> {
        let [first, second, ..] = self.partial;
        let opcode = first & 0xF;
        let is_final = first & FIN != 0;
        let is_masked = second & MASKED != 0;
        // Section 5.1: a client masks, a server does not. No extension that uses the reserved bits is
        // ever agreed to.
        if first & 0x70 != 0 || is_masked == self.is_client {
            return Err(CloseCode::PROTOCOL_ERROR);
        }
        let len = second & 0x7F;
        match opcode {
            // [MQTT-6.0.0-1]
            TEXT => return Err(CloseCode::UNSUPPORTED_DATA),
            CONTINUATION if !self.in_message => return Err(CloseCode::PROTOCOL_ERROR),
            BINARY if self.in_message => return Err(CloseCode::PROTOCOL_ERROR),
            CLOSE | PING | PONG if !is_final || len > LARGEST_CONTROL as u8 => {
                return Err(CloseCode::PROTOCOL_ERROR);
            }
            CONTINUATION | BINARY | CLOSE | PING | PONG => {}
            _ => return Err(CloseCode::PROTOCOL_ERROR),
        }
        let extended = match len {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        Ok(extended + if is_masked { 4 } else { 0 })
    }

    /// The header is whole and its first two bytes are checked.
    fn begin_frame(&mut self, header_len: usize) -> Result<(), CloseCode> {
        let header = &self.partial;
        let (len, least) = match header[1] & 0x7F {
            126 => (u64::from(u16::from_be_bytes([header[2], header[3]])), 126),
            127 => {
                let mut len = [0; 8];
                len.copy_from_slice(&header[2..10]);
                (u64::from_be_bytes(len), 1 << 16)
            }
            len => (u64::from(len), 0),
        };
        // Section 5.2: the shortest form of a length must be used.
        if len < least || len >> 63 != 0 {
            return Err(CloseCode::PROTOCOL_ERROR);
        }
        if len > LARGEST_FRAME {
            return Err(CloseCode::TOO_BIG);
        }
        let mut key = [0; 4];
        if !self.is_client {
            key.copy_from_slice(&header[header_len - 4..header_len]);
        }
        let (opcode, is_final) = (header[0] & 0xF, header[0] & FIN != 0);
        if opcode >= CLOSE {
            self.state = State::Control {
                opcode,
                left: len as u8,
                key,
            };
            return if len == 0 {
                self.take_control(opcode, key)
            } else {
                Ok(())
            };
        }
        self.in_message = !is_final;
        self.state = if len == 0 {
            State::Header
        } else {
            State::Data { left: len, key }
        };
        Ok(())
    }

    /// A control frame is whole.
    fn take_control(&mut self, opcode: u8, key: [u8; 4]) -> Result<(), CloseCode> {
        let len = usize::from(std::mem::take(&mut self.partial_len));
        self.state = State::Header;
        let payload = &mut self.partial[..len];
        mask(payload, key);
        match opcode {
            PING => self.pong = Some((&*payload).into()),
            CLOSE => {
                let code = match *payload {
                    [] => CloseCode::NORMAL,
                    [high, low, ref reason @ ..] if std::str::from_utf8(reason).is_ok() => {
                        CloseCode(u16::from_be_bytes([high, low]))
                    }
                    _ => return Err(CloseCode::PROTOCOL_ERROR),
                };
                // Sections 7.4.1 and 7.4.2: codes that must not, or not yet, be sent.
                if !matches!(code.0, 1000..=1003 | 1007..=1014 | 3000..=4999) {
                    return Err(CloseCode::PROTOCOL_ERROR);
                }
                self.is_over = true;
                // Section 5.5.1: the answer echoes the code.
                self.closing.get_or_insert(code);
            }
            // A pong that nobody asked for is allowed, and no pings are sent: MQTT has its own.
            _ => {}
        }
        Ok(())
    }
}

/// XORs `bytes` with the repeated `key`: masking and unmasking are the same.
pub fn mask(bytes: &mut [u8], key: [u8; 4]) {
    let [a, b, c, d] = key;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    if wide == 0 {
        return;
    }
    let mut words = bytes.chunks_exact_mut(8);
    for word in &mut words {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(word);
        word.copy_from_slice(&(u64::from_ne_bytes(bytes) ^ wide).to_ne_bytes());
    }
    for (byte, key) in words.into_remainder().iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

/// The key for the bytes after the next `count`.
fn turned(mut key: [u8; 4], count: usize) -> [u8; 4] {
    key.rotate_left(count % 4);
    key
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop")]
mod tests {
    use super::*;

    const KEY: [u8; 4] = [1, 2, 3, 4];

    /// A frame as a client sends it.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![first];
        match payload.len() {
            len @ 0..126 => bytes.push(MASKED | len as u8),
            len => {
                bytes.push(MASKED | 126);
                bytes.extend((len as u16).to_be_bytes());
            }
        }
        bytes.extend(KEY);
        let start = bytes.len();
        bytes.extend(payload);
        mask(&mut bytes[start..], KEY);
        bytes
    }

    fn unwrapped(websocket: &mut Websocket, bytes: &[u8]) -> Result<Vec<u8>, CloseCode> {
        let mut bytes = bytes.to_vec();
        let count = websocket.unwrap(&mut bytes)?;
        bytes.truncate(count);
        Ok(bytes)
    }

    fn reply(websocket: &mut Websocket) -> Vec<u8> {
        let mut out = Vec::new();
        websocket.push_reply(&mut out);
        out
    }

    /// Gives the code, and checks that the peer is told.
    fn violation(bytes: &[u8]) -> u16 {
        let mut websocket = Websocket::server();
        let first = unwrapped(&mut websocket, bytes);
        let Err(code) = first.and_then(|_| unwrapped(&mut websocket, b"")) else {
            return 0;
        };
        assert_eq!(
            reply(&mut websocket),
            [&[0x88, 2][..], &code.0.to_be_bytes()].concat()
        );
        assert!(websocket.is_over() && !websocket.has_reply());
        code.0
    }

    #[test]
    fn payloads_of_all_frames_come_together() {
        let bytes = [
            frame(0x82, b"con"),
            frame(0x02, b"ne"),
            frame(0x00, b""),
            frame(0x80, b"ct"),
        ]
        .concat();
        assert_eq!(
            unwrapped(&mut Websocket::server(), &bytes),
            Ok(b"connect".to_vec())
        );
    }

    #[test]
    fn a_ping_within_a_message_is_answered_once_with_the_newest_payload() {
        let bytes = [
            frame(0x02, b"a"),
            frame(0x89, b"old"),
            frame(0x89, b"new"),
            frame(0x80, b"b"),
        ]
        .concat();
        let mut websocket = Websocket::server();
        assert_eq!(unwrapped(&mut websocket, &bytes), Ok(b"ab".to_vec()));
        assert_eq!(reply(&mut websocket), b"\x8a\x03new");
        assert!(!websocket.has_reply());
    }

    #[test]
    fn a_close_is_echoed_and_ends_the_input() {
        let bytes = [
            frame(0x82, b"x"),
            frame(0x88, &[0x03, 0xE9]),
            frame(0x82, b"y"),
        ]
        .concat();
        let mut websocket = Websocket::server();
        assert_eq!(unwrapped(&mut websocket, &bytes), Ok(b"x".to_vec()));
        assert!(websocket.is_over());
        assert_eq!(reply(&mut websocket), b"\x88\x02\x03\xe9");
        assert_eq!(unwrapped(&mut websocket, &frame(0x82, b"z")), Ok(vec![]));
    }

    #[test]
    fn a_close_frame_is_sent_once() {
        let mut websocket = Websocket::server();
        let mut out = Vec::new();
        websocket.push_close(CloseCode::NORMAL, &mut out);
        websocket.push_close(CloseCode::TOO_BIG, &mut out);
        assert_eq!(out, b"\x88\x02\x03\xe8");
    }

    #[test]
    fn what_came_before_a_violation_is_handed_out_first() {
        let bytes = [
            frame(0x82, b"valid"),
            frame(0x81, b"text"),
            frame(0x82, b"y"),
        ]
        .concat();
        let mut websocket = Websocket::server();
        assert_eq!(unwrapped(&mut websocket, &bytes), Ok(b"valid".to_vec()));
        assert!(websocket.is_over());
        assert_eq!(reply(&mut websocket), b"\x88\x02\x03\xeb");
        assert_eq!(
            unwrapped(&mut websocket, b""),
            Err(CloseCode::UNSUPPORTED_DATA)
        );
    }

    #[test]
    fn text_is_refused() {
        assert_eq!(violation(&frame(0x81, b"hello")), 1003);
    }

    #[test]
    fn frames_against_the_protocol_are_refused() {
        assert_eq!(violation(b"\x82\x01a"), 1002, "not masked");
        assert_eq!(violation(&frame(0xC2, b"a")), 1002, "reserved bit");
        assert_eq!(violation(&frame(0x83, b"a")), 1002, "reserved opcode");
        assert_eq!(
            violation(&frame(0x8B, b"a")),
            1002,
            "reserved control opcode"
        );
        assert_eq!(
            violation(&frame(0x80, b"a")),
            1002,
            "continuation of nothing"
        );
        assert_eq!(
            violation(&[frame(0x02, b"a"), frame(0x82, b"b")].concat()),
            1002,
            "message within message"
        );
        assert_eq!(violation(&frame(0x09, b"a")), 1002, "fragmented ping");
        assert_eq!(violation(&frame(0x89, &[0; 126])), 1002, "long ping");
        assert_eq!(violation(&frame(0x88, b"a")), 1002, "half a close code");
        assert_eq!(
            violation(&frame(0x88, &[0x03, 0xED])),
            1002,
            "close code 1005"
        );
        assert_eq!(
            violation(&frame(0x88, &[0x03, 0xE8, 0xFF])),
            1002,
            "reason is not UTF-8"
        );
        assert_eq!(
            violation(&[0x82, 0xFE, 0, 125, 1, 2, 3, 4]),
            1002,
            "length not in its shortest form"
        );
        assert_eq!(
            violation(&[0x82, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]),
            1002,
            "64-bit length"
        );
    }

    #[test]
    fn a_frame_beyond_the_limit_is_refused() {
        assert_eq!(
            violation(&[0x82, 0xFF, 0, 0, 0, 0, 0x40, 0, 0, 1, 1, 2, 3, 4]),
            1009
        );
    }

    #[test]
    fn a_client_refuses_masked_frames() {
        assert_eq!(
            unwrapped(&mut Websocket::client(1), &frame(0x82, b"a")),
            Err(CloseCode::PROTOCOL_ERROR)
        );
        assert_eq!(
            unwrapped(&mut Websocket::client(1), b"\x82\x01a"),
            Ok(b"a".to_vec())
        );
    }

    #[test]
    fn what_a_client_frames_a_server_reads() {
        for len in [0, 1, 125, 126, 65535, 65536] {
            let mut client = Websocket::client(7);
            let (header, header_len, key) = client.header(len);
            let payload: Vec<u8> = (0..len).map(|at| at as u8).collect();
            let mut bytes = header[..header_len].to_vec();
            bytes.extend(&payload);
            mask(&mut bytes[header_len..], key.unwrap());
            assert_eq!(unwrapped(&mut Websocket::server(), &bytes), Ok(payload));
        }
    }

    #[test]
    fn masks_differ_from_frame_to_frame() {
        let mut client = Websocket::client(7);
        assert_ne!(client.header(1).2, client.header(1).2);
    }
}
