//! The HTTP upgrade to WebSocket, both sides, on bytes: nothing is read or written here.
//!
//! Source: RFC 6455, section 4; MQTT 5.0 and 3.1.1, chapter 6.

use tungstenite::Error;
use tungstenite::error::ProtocolError;
use tungstenite::handshake::client::Response;
use tungstenite::handshake::machine::TryParse;
use tungstenite::handshake::server::{Request, create_response};
use tungstenite::handshake::{client, derive_accept_key};
use tungstenite::http::{HeaderMap, HeaderValue};

/// Longest request or response, headers included.
pub const LONGEST_HEADER: usize = 8 * 1024;

/// The names that a server may select, the standard's first. Clients of MQTT 3.1 say the other.
const SUBPROTOCOLS: [&str; 2] = ["mqtt", "mqttv3.1"];

/// What a server makes of the bytes so far.
#[derive(Debug, PartialEq, Eq)]
pub enum Upgrade {
    /// The beginning of a request.
    Incomplete,
    /// The connection is a WebSocket once `response` is sent.
    Done {
        /// Goes to the client.
        response: Vec<u8>,
        /// Length of the request; what follows are frames.
        consumed: usize,
    },
    /// Not an upgrade that we serve: send `response` and close.
    Refused {
        /// Goes to the client.
        response: Vec<u8>,
        /// For the log.
        why: String,
    },
}

/// Answers the request of a client, if `input` holds the whole of it.
pub fn server(input: &[u8], path: &str) -> Upgrade {
    let window = input.get(..LONGEST_HEADER).unwrap_or(input);
    let (consumed, mut request) = match Request::try_parse(window) {
        Ok(Some(parsed)) => parsed,
        Ok(None) if input.len() < LONGEST_HEADER => return Upgrade::Incomplete,
        Ok(None) => {
            return refused(
                "431 Request Header Fields Too Large",
                "the request is longer than 8 KiB",
            );
        }
        Err(error) => {
            return refused(
                status_of(&error),
                &format!("not a WebSocket upgrade: {error}"),
            );
        }
    };
    if request.uri().path() != path {
        return refused(
            "404 Not Found",
            &format!("nothing is at {}; MQTT is at {path}", request.uri().path()),
        );
    }
    combine(request.headers_mut());
    let checked = match create_response(&request) {
        Ok(response) => response,
        Err(error) => {
            return refused(
                status_of(&error),
                &format!("not a WebSocket upgrade: {error}"),
            );
        }
    };
    // Written by hand: small clients compare the names of headers letter by letter.
    let mut response = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {}\r\n",
        header(checked.headers(), "Sec-WebSocket-Accept")
    );
    let offers = |name: &str| {
        words(request.headers(), "Sec-WebSocket-Protocol").any(|offered| offered == name)
    };
    match SUBPROTOCOLS.iter().find(|name| offers(name)) {
        // [MQTT-6.0.0-4]
        Some(name) => response.extend(["Sec-WebSocket-Protocol: ", name, "\r\n"]),
        // [MQTT-6.0.0-3]
        None => {
            return refused(
                "400 Bad Request",
                "the header Sec-WebSocket-Protocol does not offer mqtt",
            );
        }
    }
    response.push_str("\r\n");
    Upgrade::Done {
        response: response.into_bytes(),
        consumed,
    }
}

/// A key for one request, from random bytes.
pub fn new_key(random: [u8; 16]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let number = u128::from_be_bytes(random);
    // 128 bits are 21 digits of 6 bits and 2 bits more, which base64 fills up with zeros.
    let digit = |at: u32| {
        DIGITS[(if at < 21 {
            number >> (122 - 6 * at)
        } else {
            number << 4
        }) as usize
            & 63]
    };
    (0..22)
        .map(|at| char::from(digit(at)))
        .chain(['=', '='])
        .collect()
}

/// The request of a client. What has no place in a URL is sent as `%XX`.
pub fn client_request(host: &str, path: &str, key: &str) -> Vec<u8> {
    let mut request = String::from("GET ");
    push_encoded(&mut request, path);
    request.push_str(" HTTP/1.1\r\nHost: ");
    push_encoded(&mut request, host);
    request.push_str("\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ");
    request.push_str(key);
    // [MQTT-6.0.0-3]
    request.push_str("\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n");
    request.into_bytes()
}

/// Checks the answer of a server; gives its length, or `None` while it is not complete.
///
/// # Errors
/// A sentence: the server refused, or what answers is no WebSocket server.
pub fn client_response(input: &[u8], key: &str) -> Result<Option<usize>, String> {
    let window = input.get(..LONGEST_HEADER).unwrap_or(input);
    let (consumed, response): (usize, client::Response) = match Response::try_parse(window) {
        Ok(Some(parsed)) => parsed,
        Ok(None) if input.len() < LONGEST_HEADER => return Ok(None),
        Ok(None) => return Err("the server's answer is longer than 8 KiB".to_owned()),
        Err(error) => return Err(format!("the server does not speak WebSocket: {error}")),
    };
    if response.status().as_u16() != 101 {
        let body = String::from_utf8_lossy(input.get(consumed..).unwrap_or_default());
        let said = body.lines().next().unwrap_or_default().trim();
        return Err(format!(
            "the server refused the WebSocket: {} {said}",
            response.status()
        )
        .trim_end()
        .to_owned());
    }
    let headers = response.headers();
    let accept = derive_accept_key(key.as_bytes());
    let has = |name, wanted| words(headers, name).any(|word| word.eq_ignore_ascii_case(wanted));
    let is_upgrade = has("Upgrade", "websocket") && has("Connection", "upgrade");
    if !is_upgrade || header(headers, "Sec-WebSocket-Accept") != accept {
        return Err("the server's answer is not that of a WebSocket server".to_owned());
    }
    if headers.contains_key("Sec-WebSocket-Extensions") {
        return Err("the server uses an extension that was not offered".to_owned());
    }
    match header(headers, "Sec-WebSocket-Protocol") {
        // Some servers do not name it; what follows shows whether they speak MQTT.
        "" | "mqtt" => Ok(Some(consumed)),
        other => Err(format!(
            "the server selected the subprotocol `{other}`, not mqtt"
        )),
    }
}

/// The words of a list, which may stand in several lines: RFC 9110, section 5.3.
fn words<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

/// Puts the word that `create_response` looks for into the first line of its list, which is all it reads.
fn combine(headers: &mut HeaderMap) {
    for (name, wanted) in [("Connection", "Upgrade"), ("Upgrade", "websocket")] {
        if words(headers, name).any(|word| word.eq_ignore_ascii_case(wanted)) {
            headers.insert(name, HeaderValue::from_static(wanted));
        }
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

fn status_of(error: &Error) -> &'static str {
    match error {
        Error::Protocol(ProtocolError::WrongHttpMethod) => "405 Method Not Allowed\r\nAllow: GET",
        Error::Protocol(
            ProtocolError::MissingConnectionUpgradeHeader
            | ProtocolError::MissingUpgradeWebSocketHeader,
        ) => "426 Upgrade Required\r\nConnection: Upgrade\r\nUpgrade: websocket",
        // RFC 6455, section 4.4
        Error::Protocol(ProtocolError::MissingSecWebSocketVersionHeader) => {
            "426 Upgrade Required\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13"
        }
        _ => "400 Bad Request",
    }
}

fn refused(status: &str, why: &str) -> Upgrade {
    let body = format!("{why}\n");
    let response = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    Upgrade::Refused {
        response: response.into_bytes(),
        why: why.to_owned(),
    }
}

fn push_encoded(out: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_graphic() {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop")]
mod tests {
    use super::*;

    /// The example of RFC 6455, section 1.3, with the given lines changed or added.
    fn request(first: &str, more: &str) -> Vec<u8> {
        format!(
            "{first}\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
        )
        .into_bytes()
    }

    fn response_to(input: &[u8]) -> String {
        match server(input, "/mqtt") {
            Upgrade::Incomplete => String::new(),
            Upgrade::Done { response, .. } | Upgrade::Refused { response, .. } => {
                String::from_utf8(response).unwrap()
            }
        }
    }

    fn assert_refused(input: &[u8], status: &str, words: &str) {
        let response = response_to(input);
        assert!(
            response.starts_with(&format!("HTTP/1.1 {status}")),
            "{response}"
        );
        let (_, body) = response.split_once("\r\n\r\n").unwrap();
        assert!(body.contains(words), "{response}");
        assert!(response.contains(&format!("Content-Length: {}\r\n", body.len())));
    }

    #[test]
    fn an_upgrade_is_answered_byte_for_byte() {
        let mut input = request(
            "GET /mqtt HTTP/1.1",
            "Sec-WebSocket-Protocol: chat, mqtt\r\n",
        );
        let len = input.len();
        input.extend(b"\x82\x80");
        let response = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
            Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";
        assert_eq!(
            server(&input, "/mqtt"),
            Upgrade::Done {
                response: response.to_vec(),
                consumed: len
            }
        );
        for cut in 0..len {
            assert_eq!(server(&input[..cut], "/mqtt"), Upgrade::Incomplete);
        }
    }

    #[test]
    fn the_subprotocol_must_be_offered_and_mqtt_is_preferred() {
        let both = "Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: mqttv3.1,mqtt\r\n";
        let both = response_to(&request("GET /mqtt?x=1 HTTP/1.1", both));
        assert!(both.contains("Sec-WebSocket-Protocol: mqtt\r\n"));
        let old = "Sec-WebSocket-Protocol: mqttv3.1\r\n";
        assert!(response_to(&request("GET /mqtt HTTP/1.1", old)).contains(old));
        let other = request("GET /mqtt HTTP/1.1", "Sec-WebSocket-Protocol: chat\r\n");
        assert_refused(&other, "400", "does not offer mqtt");
        assert_refused(
            &request("GET /mqtt HTTP/1.1", ""),
            "400",
            "does not offer mqtt",
        );
    }

    #[test]
    fn a_list_may_stand_in_several_lines() {
        let request = b"GET /mqtt HTTP/1.1\r\nHost: h\r\nConnection: keep-alive\r\nConnection: foo,\tUpgrade\r\n\
            Upgrade: h2c\r\nUpgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";
        assert!(response_to(request).starts_with("HTTP/1.1 101"));
        let response =
            b"HTTP/1.1 101 x\r\nConnection: keep-alive\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\
            Upgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        let taken = client_response(response, "dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(taken, Ok(Some(response.len())));
    }

    #[test]
    fn compression_is_never_agreed_to() {
        let input = request(
            "GET /mqtt HTTP/1.1",
            "Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Extensions: permessage-deflate\r\n",
        );
        assert!(response_to(&input).starts_with("HTTP/1.1 101"));
        assert!(!response_to(&input).contains("Extensions"));
    }

    #[test]
    fn what_is_no_upgrade_is_refused_with_a_reason() {
        assert_refused(
            &request("GET /other HTTP/1.1", ""),
            "404",
            "MQTT is at /mqtt",
        );
        assert_refused(&request("POST /mqtt HTTP/1.1", ""), "405", "");
        assert_refused(&request("GET /mqtt HTTP/1.0", ""), "400", "");
        assert_refused(b"GET /mqtt HTTP/1.1\r\nHost: h\r\n\r\n", "426", "");
        assert_refused(
            b"\x10\x0c\0\x04MQTT\x04\x02\0\x3c\0\0",
            "400",
            "not a WebSocket upgrade",
        );
        let endless = [b"GET /mqtt HTTP/1.1\r\nx: ", &[b'x'; LONGEST_HEADER][..]].concat();
        assert_refused(&endless, "431", "8 KiB");
    }

    #[test]
    fn client_and_server_agree() {
        let key = new_key([7; 16]);
        let request = client_request("h:1", "/a b\r\n?c", &key);
        assert!(request.starts_with(b"GET /a%20b%0D%0A?c HTTP/1.1\r\nHost: h:1\r\n"));
        let Upgrade::Done { response, consumed } = server(&request, "/a%20b%0D%0A") else {
            panic!()
        };
        assert_eq!(consumed, request.len());
        for cut in 0..response.len() {
            assert_eq!(client_response(&response[..cut], &key), Ok(None));
        }
        assert_eq!(client_response(&response, &key), Ok(Some(response.len())));
        assert!(client_response(&response, &new_key([8; 16])).is_err());
    }

    #[test]
    fn a_key_is_the_base64_of_its_bytes() {
        assert_eq!(new_key(*b"the sample nonce"), "dGhlIHNhbXBsZSBub25jZQ==");
    }

    #[test]
    fn a_refusal_is_told_with_the_servers_words() {
        let Upgrade::Refused { response, .. } = server(&client_request("h", "/x", "k"), "/mqtt")
        else {
            panic!()
        };
        let told = client_response(&response, "k").unwrap_err();
        assert_eq!(
            told,
            "the server refused the WebSocket: 404 Not Found nothing is at /x; MQTT is at /mqtt"
        );
    }
}
