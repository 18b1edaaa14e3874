//! What another implementation refuses of a damaged WebSocket stream, ours refuses too; however it is cut.

#![allow(clippy::unwrap_used, reason = "a test may stop")]

use nanomq_engine::net::websocket::{CloseCode, Websocket};
use proptest::prelude::*;
use std::io::{self, Cursor, Read, Write};
use tungstenite::error::ProtocolError;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::protocol::{Role, WebSocket};
use tungstenite::{Error, Message};

/// One frame before it is damaged.
#[derive(Clone, Debug)]
enum Sent {
    /// First, last, payload. The order is not kept to either, so some streams are wrong as they stand.
    Data(bool, bool, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
}

fn sent() -> impl Strategy<Value = Vec<Sent>> {
    let payload = || {
        let len = prop_oneof![8 => 0..40_usize, 4 => 120..135_usize, 1 => 65_530..65_545_usize];
        (len, any::<u8>()).prop_map(|(len, first)| vec![first; len])
    };
    let control = || prop::collection::vec(any::<u8>(), 0..=125);
    prop::collection::vec(
        prop_oneof![
            4 => (any::<bool>(), any::<bool>(), payload()).prop_map(|(a, b, c)| Sent::Data(a, b, c)),
            4 => payload().prop_map(|payload| Sent::Data(true, true, payload)),
            1 => control().prop_map(Sent::Ping),
            1 => control().prop_map(Sent::Pong),
        ],
        1..8,
    )
}

/// The bytes, made by the other implementation; masked if they come from a client.
fn wire(sent: Vec<Sent>, mut key: Option<[u8; 4]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for sent in sent {
        let mut frame = match sent {
            Sent::Data(true, is_last, payload) => {
                Frame::message(payload, OpCode::Data(Data::Binary), is_last)
            }
            Sent::Data(false, is_last, payload) => {
                Frame::message(payload, OpCode::Data(Data::Continue), is_last)
            }
            Sent::Ping(payload) => Frame::ping(payload),
            Sent::Pong(payload) => Frame::pong(payload),
        };
        frame.header_mut().mask = key;
        frame.format(&mut bytes).unwrap();
        key = key.map(|key| {
            u32::from_le_bytes(key)
                .wrapping_mul(747_796_405)
                .to_be_bytes()
        });
    }
    bytes
}

/// What ours makes of the bytes, read in pieces of these sizes: payload, answers, how it ended.
fn ours(
    is_client: bool,
    bytes: &[u8],
    cuts: &[usize],
) -> (Vec<u8>, Vec<u8>, Result<bool, CloseCode>) {
    let mut websocket = if is_client {
        Websocket::client(9)
    } else {
        Websocket::server()
    };
    let (mut rest, mut payload) = (bytes, Vec::new());
    let mut cuts = cuts.iter().cycle();
    while !rest.is_empty() && websocket.violation().is_none() {
        let len = cuts.next().map_or(rest.len(), |&cut| cut.min(rest.len()));
        let mut piece = rest[..len].to_vec();
        rest = &rest[len..];
        if let Ok(count) = websocket.unwrap(&mut piece) {
            payload.extend_from_slice(&piece[..count]);
        }
    }
    let end = websocket.violation().map_or(Ok(websocket.is_over()), Err);
    let mut reply = Vec::new();
    websocket.push_reply(&mut reply);
    (payload, reply, end)
}

/// A socket with all input there and then its end.
struct Pipe(Cursor<Vec<u8>>);

impl Read for Pipe {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the other implementation makes of the bytes: its messages and how it ended.
fn oracle(is_client: bool, bytes: &[u8]) -> (Vec<Message>, Error) {
    let role = if is_client {
        Role::Client
    } else {
        Role::Server
    };
    let mut peer = WebSocket::from_raw_socket(Pipe(Cursor::new(bytes.to_vec())), role, None);
    let mut messages = Vec::new();
    loop {
        match peer.read() {
            Ok(message) => messages.push(message),
            Err(error) => return (messages, error),
        }
    }
}

/// Whether it refused the bytes. It takes less than we do at once, which is no fault of the bytes.
fn is_refusal(error: &Error) -> bool {
    match error {
        Error::Protocol(error) => *error != ProtocolError::ResetWithoutClosingHandshake,
        _ => false,
    }
}

fn joined(messages: &[Message]) -> Vec<u8> {
    let payload_of = |message: &Message| match message {
        Message::Binary(payload) => payload.to_vec(),
        _ => Vec::new(),
    };
    messages.iter().flat_map(payload_of).collect()
}

fn newest_pong(messages: &[Message]) -> Option<Message> {
    messages.iter().rev().find_map(|message| match message {
        Message::Ping(payload) => Some(Message::Pong(payload.clone())),
        _ => None,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_the_other_refuses_is_refused(
        sent in sent(), is_client: bool, key: [u8; 4],
        cuts in prop::collection::vec(prop_oneof![Just(1), 1..8_usize, 1..3000_usize], 1..64),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        let mut bytes = wire(sent, (!is_client).then_some(key));
        for (at, byte) in changes {
            // Most of a long frame is payload; the beginning of the stream is always a header.
            let at = at.index(bytes.len().min(64));
            bytes[at] = byte;
        }
        let (payload, reply, end) = ours(is_client, &bytes, &cuts);
        let (messages, error) = oracle(is_client, &bytes);
        prop_assert!(!is_refusal(&error) || end.is_err(), "{error}");
        if end.is_ok() {
            // The other gives out a message when it is whole.
            prop_assert!(payload.starts_with(&joined(&messages)));
        }
        if end == Ok(false) {
            // RFC 6455, section 5.5.3: only the newest ping needs an answer.
            let (answers, _) = oracle(!is_client, &reply);
            prop_assert_eq!(answers, Vec::from_iter(newest_pong(&messages)));
        }
        prop_assert_eq!(ours(is_client, &bytes, &[bytes.len()]), (payload, reply, end));
    }
}
