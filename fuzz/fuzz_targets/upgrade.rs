//! Any bytes as an HTTP upgrade, both sides: no panic, an answer after 8 KiB, and answers that are HTTP.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nanomq_engine::net::upgrade::{LONGEST_HEADER, Upgrade, client_response, server};

fuzz_target!(|input: &[u8]| {
    match server(input, "/mqtt") {
        Upgrade::Incomplete => assert!(input.len() < LONGEST_HEADER),
        Upgrade::Done { response, consumed } => {
            assert!(consumed <= input.len().min(LONGEST_HEADER));
            check(&response);
            assert!(response.starts_with(b"HTTP/1.1 101 ") && response.ends_with(b"\r\n\r\n"));
            assert_eq!(
                server(&input[..consumed], "/mqtt"),
                Upgrade::Done { response, consumed }
            );
        }
        Upgrade::Refused { response, why } => {
            check(&response);
            assert!(!response.starts_with(b"HTTP/1.1 101 ") && !why.is_empty());
        }
    }
    match client_response(input, "dGhlIHNhbXBsZSBub25jZQ==") {
        Ok(None) => assert!(input.len() < LONGEST_HEADER),
        Ok(Some(consumed)) => assert!(consumed <= input.len().min(LONGEST_HEADER)),
        Err(why) => assert!(!why.is_empty()),
    }
});

/// What a stranger sends must not add lines to the head of our answer.
fn check(response: &[u8]) {
    let end = response
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .expect("a head with an end");
    for line in response[..end].split(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        assert!(line.iter().all(|byte| (b' '..0x7F).contains(byte)));
        let name = line.split(|&byte| byte == b':' || byte == b' ').next();
        assert!(matches!(
            name,
            Some(
                b"HTTP/1.1"
                    | b"Allow"
                    | b"Connection"
                    | b"Content-Length"
                    | b"Content-Type"
                    | b"Sec-WebSocket-Accept"
                    | b"Sec-WebSocket-Protocol"
                    | b"Sec-WebSocket-Version"
                    | b"Upgrade"
            )
        ));
    }
}
