//! Frames against tungstenite, an implementation by others, cut in any way.

#![allow(clippy::unwrap_used, reason = "a test may stop")]

use nanomq_engine::net::websocket::{CloseCode, Websocket, mask};
use proptest::collection::vec;
use proptest::prelude::*;
use std::io::{self, Cursor, Read, Write};
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::protocol::{Role, WebSocket};
use tungstenite::{Error, Message};

/// Bytes that tungstenite reads, and those that it writes.
#[derive(Default)]
struct Pipe {
    input: Cursor<Vec<u8>>,
    output: Vec<u8>,
}

impl Read for Pipe {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.input.read(buf)
    }
}

impl Write for Pipe {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.output.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a peer may send.
#[derive(Clone, Debug)]
enum Sent {
    /// One message, in frames of these payloads, with pings between them if there is one.
    Message(Vec<Vec<u8>>, Option<Vec<u8>>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
}

fn sent() -> impl Strategy<Value = Sent> {
    let payload = || vec(any::<u8>(), 0..300);
    let control = || vec(any::<u8>(), 0..=125);
    prop_oneof![
        4 => (vec(payload(), 1..5), proptest::option::of(control())).prop_map(|(frames, ping)| Sent::Message(frames, ping)),
        1 => control().prop_map(Sent::Ping),
        1 => control().prop_map(Sent::Pong),
        1 => vec(any::<u8>(), 65_000..66_000).prop_map(|payload| Sent::Message(vec![payload], None)),
    ]
}

/// What tungstenite writes for it.
fn written_by_tungstenite(role: Role, all: &[Sent]) -> Vec<u8> {
    let mut peer = WebSocket::from_raw_socket(Pipe::default(), role, None);
    for sent in all {
        match sent {
            Sent::Message(frames, ping) => {
                for (at, payload) in frames.iter().enumerate() {
                    let code = if at == 0 {
                        Data::Binary
                    } else {
                        Data::Continue
                    };
                    let frame =
                        Frame::message(payload.clone(), OpCode::Data(code), at + 1 == frames.len());
                    peer.send(Message::Frame(frame)).unwrap();
                    if let Some(payload) = ping {
                        peer.send(Message::Frame(Frame::ping(payload.clone())))
                            .unwrap();
                    }
                }
            }
            Sent::Ping(payload) => peer
                .send(Message::Frame(Frame::ping(payload.clone())))
                .unwrap(),
            Sent::Pong(payload) => peer
                .send(Message::Frame(Frame::pong(payload.clone())))
                .unwrap(),
        }
    }
    peer.flush().unwrap();
    std::mem::take(&mut peer.get_mut().output)
}

/// Hands the bytes over in pieces of these lengths, again and again.
fn unwrapped(
    websocket: &mut Websocket,
    mut bytes: &[u8],
    cuts: &[usize],
) -> Result<Vec<u8>, CloseCode> {
    let mut payload = Vec::new();
    let mut cuts = cuts.iter().cycle();
    while !bytes.is_empty() {
        let count = cuts.next().map_or(1, |&cut| cut).clamp(1, bytes.len());
        let mut piece = bytes[..count].to_vec();
        bytes = &bytes[count..];
        let kept = websocket.unwrap(&mut piece)?;
        payload.extend_from_slice(&piece[..kept]);
    }
    Ok(payload)
}

proptest! {
    #[test]
    fn payloads_arrive_however_they_are_framed_and_cut(
        all in vec(sent(), 0..8),
        cuts in vec(1usize..2000, 1..8),
        is_server in any::<bool>(),
    ) {
        let (role, mut ours) =
            if is_server { (Role::Client, Websocket::server()) } else { (Role::Server, Websocket::client(1)) };
        let bytes = written_by_tungstenite(role, &all);
        let mut payload = Vec::new();
        let mut newest_ping = None;
        for sent in &all {
            match sent {
                Sent::Message(frames, ping) => {
                    payload.extend(frames.concat());
                    newest_ping = ping.clone().or(newest_ping);
                }
                Sent::Ping(ping) => newest_ping = Some(ping.clone()),
                Sent::Pong(_) => {}
            }
        }
        prop_assert_eq!(unwrapped(&mut ours, &bytes, &cuts), Ok(payload));
        prop_assert_eq!(ours.has_reply(), newest_ping.is_some());
        let mut reply = Vec::new();
        ours.push_reply(&mut reply);
        prop_assert_eq!(read_by_tungstenite(role, reply), newest_ping.map(|ping| Message::Pong(ping.into())).into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn tungstenite_reads_our_frames(payloads in vec(vec(any::<u8>(), 0..70_000), 0..4), is_server in any::<bool>()) {
        let (role, mut ours) =
            if is_server { (Role::Client, Websocket::server()) } else { (Role::Server, Websocket::client(1)) };
        let mut bytes = Vec::new();
        for payload in &payloads {
            let (header, len, key) = ours.header(payload.len());
            bytes.extend(&header[..len]);
            let start = bytes.len();
            bytes.extend(payload);
            mask(&mut bytes[start..], key.unwrap_or_default());
        }
        let messages: Vec<_> = payloads.into_iter().map(|payload| Message::Binary(payload.into())).collect();
        prop_assert_eq!(read_by_tungstenite(role, bytes), messages);
    }

    #[test]
    fn any_bytes_give_an_answer_and_never_more_than_came(
        bytes in vec(any::<u8>(), 0..300),
        cuts in vec(1usize..40, 1..8),
        is_server in any::<bool>(),
    ) {
        let mut ours = if is_server { Websocket::server() } else { Websocket::client(1) };
        if let Ok(payload) = unwrapped(&mut ours, &bytes, &cuts) {
            prop_assert!(payload.len() <= bytes.len());
        } else {
            prop_assert!(ours.is_over() && ours.has_reply());
        }
    }

    #[test]
    fn masking_twice_changes_nothing(bytes in vec(any::<u8>(), 0..100), key in any::<[u8; 4]>()) {
        let mut masked = bytes.clone();
        mask(&mut masked, key);
        for (at, (byte, masked)) in bytes.iter().zip(&masked).enumerate() {
            prop_assert_eq!(byte ^ key[at % 4], *masked);
        }
        mask(&mut masked, key);
        prop_assert_eq!(masked, bytes);
    }
}

/// The messages that tungstenite finds.
fn read_by_tungstenite(role: Role, bytes: Vec<u8>) -> Vec<Message> {
    let pipe = Pipe {
        input: Cursor::new(bytes),
        output: Vec::new(),
    };
    let mut peer = WebSocket::from_raw_socket(pipe, role, None);
    let mut all = Vec::new();
    loop {
        match peer.read() {
            Ok(message) => all.push(message),
            // The bytes are used up.
            Err(Error::Io(_) | Error::ConnectionClosed | Error::Protocol(_)) => return all,
            Err(error) => panic!("{error}"),
        }
    }
}
