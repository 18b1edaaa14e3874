//! PROXY protocol, versions 1 and 2: a load balancer tells whom it speaks for.
//!
//! Source: "The PROXY protocol", HAProxy Technologies, versions 1 and 2, sections 2.1 and 2.2.

use std::net::{IpAddr, SocketAddr};

/// The first bytes of version 2, which no text protocol sends.
const SIGNATURE_V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The first bytes of version 1.
const SIGNATURE_V1: &[u8] = b"PROXY ";

/// Section 2.1: no line of version 1 is longer, its end included.
const LONGEST_V1: usize = 107;

/// Signature, version and command, family and transport, length.
const FIXED_V2: usize = 16;

/// Longest version 2 header taken. The format allows 64 KiB; addresses and the usual extensions need a
/// few hundred bytes, and a header that never ends must not be collected.
const LONGEST_V2: usize = 4096;

/// What the bytes read so far hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// A beginning; more bytes decide.
    Incomplete,
    /// A whole header.
    Done {
        /// Its length; what follows belongs to the next protocol.
        consumed: usize,
        /// Who is connected to the proxy. `None` when the proxy speaks for itself (health checks) or does
        /// not know an internet address: then the proxy is the peer.
        source: Option<SocketAddr>,
    },
    /// Something else, and what is wrong with it.
    Invalid(&'static str),
}

/// Looks at the first bytes of a connection.
pub fn parse(input: &[u8]) -> Header {
    let begins_with = |signature: &[u8]| {
        input
            .iter()
            .zip(signature)
            .all(|(byte, wanted)| byte == wanted)
    };
    if begins_with(SIGNATURE_V2) {
        if input.len() < FIXED_V2 {
            Header::Incomplete
        } else {
            parse_v2(input)
        }
    } else if begins_with(SIGNATURE_V1) {
        parse_v1(input)
    } else {
        Header::Invalid("the connection does not begin with a header")
    }
}

fn parse_v1(input: &[u8]) -> Header {
    let window = input.get(..LONGEST_V1).unwrap_or(input);
    let Some(end) = window.windows(2).position(|pair| pair == b"\r\n") else {
        let is_full = window.len() == LONGEST_V1;
        return if is_full {
            Header::Invalid("the line has no end")
        } else {
            Header::Incomplete
        };
    };
    let consumed = end + 2;
    let Ok(line) = std::str::from_utf8(&window[SIGNATURE_V1.len().min(end)..end]) else {
        return Header::Invalid("the line is not ASCII");
    };
    let mut words = line.split(' ');
    let is_v6 = match words.next() {
        // What follows UNKNOWN must be ignored.
        Some("UNKNOWN") => {
            return Header::Done {
                consumed,
                source: None,
            };
        }
        Some("TCP4") => false,
        Some("TCP6") => true,
        _ => return Header::Invalid("the protocol is not TCP4, TCP6 or UNKNOWN"),
    };
    let mut address = || {
        words
            .next()?
            .parse::<IpAddr>()
            .ok()
            .filter(|address| address.is_ipv6() == is_v6)
    };
    let (source, destination) = (address(), address());
    let mut port = || parse_port(words.next()?);
    let (source_port, destination_port) = (port(), port());
    match (
        source,
        destination,
        source_port,
        destination_port,
        words.next(),
    ) {
        (Some(source), Some(_), Some(port), Some(_), None) => Header::Done {
            consumed,
            source: Some(SocketAddr::new(source, port)),
        },
        _ => Header::Invalid("the line does not hold two addresses and two ports"),
    }
}

/// Decimal, without a sign and without zeros in front.
fn parse_port(text: &str) -> Option<u16> {
    let is_plain =
        text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if is_plain { text.parse().ok() } else { None }
}

fn parse_v2(input: &[u8]) -> Header {
    let [version_command, family, high, low] = [input[12], input[13], input[14], input[15]];
    if version_command >> 4 != 2 {
        return Header::Invalid("the version is not 2");
    }
    let consumed = FIXED_V2 + usize::from(u16::from_be_bytes([high, low]));
    if consumed > LONGEST_V2 {
        return Header::Invalid("the header is longer than 4096 bytes");
    }
    let is_local = match version_command & 0xF {
        0 => true,
        1 => false,
        _ => return Header::Invalid("the command is not LOCAL or PROXY"),
    };
    // Transport: 0 unspecified, 1 stream. Datagrams cannot come over a stream.
    if family & 0xF > 1 || family >> 4 > 3 {
        return Header::Invalid("the address family or transport is not known");
    }
    let Some(body) = input.get(FIXED_V2..consumed) else {
        return Header::Incomplete;
    };
    if is_local {
        return Header::Done {
            consumed,
            source: None,
        };
    }
    // Both addresses, then both ports, then extensions, which say nothing about the peer's address.
    let source = match family >> 4 {
        1 => body.first_chunk::<12>().map(|body| {
            let [a, b, c, d, _, _, _, _, high, low, _, _] = *body;
            Some(SocketAddr::from((
                [a, b, c, d],
                u16::from_be_bytes([high, low]),
            )))
        }),
        2 => body.first_chunk::<36>().map(|body| {
            let mut address = [0; 16];
            address.copy_from_slice(&body[..16]);
            Some(SocketAddr::from((
                address,
                u16::from_be_bytes([body[32], body[33]]),
            )))
        }),
        3 => body.first_chunk::<216>().map(|_| None),
        _ => Some(None),
    };
    match source {
        Some(source) => Header::Done { consumed, source },
        None => Header::Invalid("the header is shorter than its addresses"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(consumed: usize, source: &str) -> Header {
        Header::Done {
            consumed,
            source: source.parse().ok(),
        }
    }

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE_V2.to_vec();
        bytes.extend([command, family]);
        bytes.extend((body.len() as u16).to_be_bytes());
        bytes.extend(body);
        bytes
    }

    /// Every shorter input must ask for more, every longer one must leave the rest.
    fn assert_exact(bytes: &[u8], source: &str) {
        for cut in 0..bytes.len() {
            assert_eq!(parse(&bytes[..cut]), Header::Incomplete, "{cut}");
        }
        let mut longer = bytes.to_vec();
        longer.extend(b"\x10\x0c\r\n");
        assert_eq!(parse(&longer), done(bytes.len(), source));
    }

    #[test]
    fn a_version_1_line_names_the_client() {
        assert_exact(
            b"PROXY TCP4 192.0.2.7 10.0.0.1 56324 1883\r\n",
            "192.0.2.7:56324",
        );
        assert_exact(b"PROXY TCP6 2001:db8::7 ::1 0 65535\r\n", "[2001:db8::7]:0");
        assert_exact(b"PROXY UNKNOWN\r\n", "");
        assert_exact(b"PROXY UNKNOWN whatever it says\r\n", "");
    }

    #[test]
    fn a_version_1_line_must_be_exact() {
        for line in [
            "PROXY  TCP4 1.2.3.4 1.2.3.4 1 1\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1 1 \r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 01 1\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 +1 1\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 65536 1\r\n",
            "PROXY TCP4 ::1 ::1 1 1\r\n",
            "PROXY TCP6 1.2.3.4 1.2.3.4 1 1\r\n",
            "PROXY UDP4 1.2.3.4 1.2.3.4 1 1\r\n",
            "PROXY \r\n",
            "GET / HTTP/1.1\r\n",
        ] {
            assert!(
                matches!(parse(line.as_bytes()), Header::Invalid(_)),
                "{line}"
            );
        }
    }

    #[test]
    fn a_version_1_line_without_end_is_given_up() {
        let mut line = b"PROXY UNKNOWN ".to_vec();
        line.resize(LONGEST_V1 - 1, b'x');
        assert_eq!(parse(&line), Header::Incomplete);
        line.push(b'x');
        assert!(matches!(parse(&line), Header::Invalid(_)));
    }

    #[test]
    fn a_version_2_header_names_the_client_and_its_extensions_are_skipped() {
        let v4 = [192, 0, 2, 7, 10, 0, 0, 1, 0xDC, 0x04, 0x07, 0x5B];
        assert_exact(&v2(0x21, 0x11, &v4), "192.0.2.7:56324");
        let extended = [&v4[..], &[0x04, 0, 3, 1, 2, 3]].concat();
        assert_exact(&v2(0x21, 0x11, &extended), "192.0.2.7:56324");
        let mut v6 = [0; 36];
        (v6[15], v6[31], v6[33]) = (1, 2, 9);
        assert_exact(&v2(0x21, 0x21, &v6), "[::1]:9");
    }

    #[test]
    fn a_proxy_that_speaks_for_itself_is_the_peer() {
        assert_exact(&v2(0x20, 0x00, &[]), "");
        assert_exact(&v2(0x20, 0x11, &[1, 2, 3]), "");
        assert_exact(&v2(0x21, 0x00, &[]), "");
        assert_exact(&v2(0x21, 0x31, &[0; 216]), "");
    }

    #[test]
    fn a_version_2_header_must_be_exact() {
        for bytes in [
            v2(0x11, 0x11, &[0; 12]),
            v2(0x22, 0x11, &[0; 12]),
            v2(0x21, 0x12, &[0; 12]),
            v2(0x21, 0x41, &[0; 12]),
            v2(0x21, 0x11, &[0; 11]),
            v2(0x21, 0x21, &[0; 35]),
            v2(0x21, 0x31, &[0; 215]),
            v2(0x21, 0x11, &[0; LONGEST_V2]),
        ] {
            assert!(matches!(parse(&bytes), Header::Invalid(_)), "{bytes:?}");
        }
    }
}
