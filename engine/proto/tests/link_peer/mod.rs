//! The other endpoint of a link: decodes what it sends and answers by hand.

#![allow(clippy::unwrap_used, reason = "a test may stop")]
#![allow(dead_code)] // each test file uses a part of it

use nanomq_proto::session::link::{Link, LinkError, LinkEvent, LinkOptions};
use nanomq_proto::wire::codec::{self, Frame};
use nanomq_proto::wire::packet::*;
use nanomq_proto::wire::tables::{Properties, Property, ReasonCode};
use std::io::IoSlice;

/// A received message or event, in a form that tests compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Connected(bool),
    Refused(u8),
    Message {
        topic: String,
        payload: Vec<u8>,
        qos: u8,
        dup: bool,
        id: u16,
    },
    Published(u64, u8),
    Subscribed(u64, Vec<u8>),
    Unsubscribed(u64, Vec<u8>),
    Disconnected(u8),
    Auth(u8),
}

pub struct Peer {
    pub link: Link,
    pub version: Version,
}

pub fn properties(list: &[Property<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    list.iter().for_each(|property| property.encode(&mut bytes));
    bytes
}

pub fn ack(packet_id: u16) -> Ack<'static> {
    ack_with(packet_id, ReasonCode::SUCCESS)
}

pub fn ack_with(packet_id: u16, reason: ReasonCode) -> Ack<'static> {
    Ack {
        packet_id,
        reason,
        properties: Properties::EMPTY,
    }
}

pub fn publish<'a>(topic: &'a str, payload: &'a str, qos: QoS) -> Publish<'a> {
    Publish {
        dup: false,
        qos,
        retain: false,
        topic,
        packet_id: 0,
        properties: Properties::EMPTY,
        payload: payload.as_bytes(),
    }
}

impl Peer {
    /// A link that waits for a connection.
    pub fn idle(options: LinkOptions) -> Self {
        let version = options.version;
        Self {
            link: Link::new(options).unwrap(),
            version,
        }
    }

    /// A connected link; its CONNECT is taken.
    pub fn connected(options: LinkOptions) -> Self {
        let mut peer = Self::idle(options);
        peer.connect(false, &[]);
        peer
    }

    /// Starts a connection and accepts it; returns what the link told and sent thereafter.
    pub fn connect(
        &mut self,
        session_present: bool,
        list: &[Property<'_>],
    ) -> (Vec<Told>, Vec<String>) {
        self.link.start(0);
        self.sent();
        let bytes = properties(list);
        let connack = ConnAck {
            session_present,
            reason: ReasonCode::SUCCESS,
            properties: Properties::from_validated(&bytes),
        };
        let told = self.answer(Packet::ConnAck(connack)).unwrap();
        (told, self.sent())
    }

    /// What the link sent, one packet a line in debug form.
    pub fn sent(&mut self) -> Vec<String> {
        let bytes = self.sent_bytes();
        let mut rest = bytes.as_slice();
        let mut packets = Vec::new();
        while let Frame::Complete {
            first,
            header_len,
            total,
        } = codec::frame(rest, usize::MAX).unwrap()
        {
            let packet = codec::decode(self.version, first, &rest[header_len..total]).unwrap();
            packets.push(match packet {
                Packet::Publish(p) => format!(
                    "PUBLISH {} {:?} id={} qos={} dup={}{}",
                    p.topic,
                    String::from_utf8_lossy(p.payload),
                    p.packet_id,
                    p.qos as u8,
                    p.dup,
                    p.properties
                        .iter()
                        .map(|property| format!(" {property:?}"))
                        .collect::<String>()
                ),
                Packet::PubAck(a) => format!("PUBACK {} {:#x}", a.packet_id, a.reason.0),
                Packet::PubRec(a) => format!("PUBREC {} {:#x}", a.packet_id, a.reason.0),
                Packet::PubRel(a) => format!("PUBREL {} {:#x}", a.packet_id, a.reason.0),
                Packet::PubComp(a) => format!("PUBCOMP {} {:#x}", a.packet_id, a.reason.0),
                Packet::Disconnect(d) => format!("DISCONNECT {:#x}", d.reason.0),
                Packet::Subscribe(s) => format!(
                    "SUBSCRIBE {} {:?}",
                    s.packet_id,
                    s.filters.iter().map(|f| f.0).collect::<Vec<_>>()
                ),
                Packet::Unsubscribe(s) => format!(
                    "UNSUBSCRIBE {} {:?}",
                    s.packet_id,
                    s.filters.iter().collect::<Vec<_>>()
                ),
                Packet::PingReq => "PINGREQ".to_owned(),
                other => format!("{other:?}"),
            });
            rest = &rest[total..];
        }
        assert!(rest.is_empty(), "half a packet in the output");
        packets
    }

    pub fn sent_bytes(&mut self) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); 64];
        let count = self.link.output.chunks(&mut slices);
        let bytes = slices[..count]
            .iter()
            .flat_map(|slice| slice.to_vec())
            .collect();
        self.link.output.clear();
        bytes
    }

    pub fn answer(&mut self, packet: Packet<'_>) -> Result<Vec<Told>, LinkError> {
        let mut bytes = Vec::new();
        codec::encode(&packet, self.version, &mut bytes);
        self.feed(0, &bytes)
    }

    pub fn feed(&mut self, now: u64, bytes: &[u8]) -> Result<Vec<Told>, LinkError> {
        let mut told = Vec::new();
        let used = self.link.receive(now, bytes, &mut |event| {
            told.push(match event {
                LinkEvent::Connected {
                    session_present, ..
                } => Told::Connected(session_present),
                LinkEvent::Refused { reason, .. } => Told::Refused(reason.0),
                LinkEvent::Message(p) => Told::Message {
                    topic: p.topic.to_owned(),
                    payload: p.payload.to_vec(),
                    qos: p.qos as u8,
                    dup: p.dup,
                    id: p.packet_id,
                },
                LinkEvent::Published { token, reason, .. } => Told::Published(token, reason.0),
                LinkEvent::Subscribed { token, reasons, .. } => {
                    Told::Subscribed(token, reasons.to_vec())
                }
                LinkEvent::Unsubscribed { token, reasons, .. } => {
                    Told::Unsubscribed(token, reasons.to_vec())
                }
                LinkEvent::Disconnected { reason, .. } => Told::Disconnected(reason.0),
                LinkEvent::Auth { reason, .. } => Told::Auth(reason.0),
            });
        })?;
        assert_eq!(used, bytes.len());
        Ok(told)
    }
}
