//! Any bytes as WebSocket frames, both sides: no panic, and the same outcome however they are cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nanomq_engine::net::websocket::{CloseCode, Websocket};

/// The longest answer: a pong and a close frame, each with a header of at most 6 bytes.
const LONGEST_REPLY: usize = 6 + 125 + 6 + 2;

fuzz_target!(|input: (bool, Vec<usize>, Vec<u8>)| {
    let (is_client, cuts, bytes) = input;
    let whole = run(is_client, &bytes, &[bytes.len()]);
    let cut = run(is_client, &bytes, &cuts);
    assert_eq!(whole.end, cut.end);
    assert_eq!(whole.reply, cut.reply);
    assert_eq!(whole.payload, cut.payload);
});

struct Outcome {
    payload: Vec<u8>,
    reply: Vec<u8>,
    /// Whether the peer has closed, or what is wrong.
    end: Result<bool, CloseCode>,
}

fn run(is_client: bool, bytes: &[u8], cuts: &[usize]) -> Outcome {
    let mut websocket = if is_client {
        Websocket::client(1)
    } else {
        Websocket::server()
    };
    let (mut rest, mut payload) = (bytes, Vec::new());
    let mut cuts = cuts.iter();
    while !rest.is_empty() && websocket.violation().is_none() {
        let len = cuts.next().map_or(rest.len(), |cut| cut % rest.len() + 1);
        let (piece, after) = rest.split_at(len.min(rest.len()));
        let mut piece = piece.to_vec();
        rest = after;
        if let Ok(count) = websocket.unwrap(&mut piece) {
            payload.extend_from_slice(&piece[..count]);
        }
    }
    let mut reply = Vec::new();
    websocket.push_reply(&mut reply);
    assert!(reply.len() <= LONGEST_REPLY && !websocket.has_reply());
    Outcome {
        payload,
        reply,
        end: websocket.violation().map_or(Ok(websocket.is_over()), Err),
    }
}
