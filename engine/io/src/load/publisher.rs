//! One encoded PUBLISH and what changes in it from message to message.

use super::options::{Plan, Role};
use nanomq_proto::Output;
use nanomq_proto::wire::codec::encode;
use nanomq_proto::wire::packet::{Packet, Publish, QoS};
use nanomq_proto::wire::tables::Properties;

/// Bytes of time and number in front of the payload.
pub(super) const STAMP_BYTES: usize = 16;

/// First byte of the number: tells our payloads from those of other publishers.
const MARK: u64 = 0xB5;
const NUMBER_BITS: u32 = 40;
const PUBLISHER_BITS: u32 = 16;

/// A stamp older than this is none.
const OLDEST_NS: u64 = 3_600_000_000_000;

/// What a payload of ours begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// When it was written, monotonic.
    pub(super) at_ns: u64,
    /// Who wrote it.
    pub(super) publisher: usize,
    /// 1 for the first message of the publisher.
    pub(super) number: u64,
}

impl Stamp {
    /// Reads the stamp of a payload, if there is one.
    #[inline]
    pub(super) fn read(payload: &[u8], now_ns: u64) -> Option<Self> {
        let (time, rest) = payload.split_first_chunk()?;
        let word = u64::from_be_bytes(*rest.first_chunk()?);
        let at_ns = u64::from_be_bytes(*time);
        (word >> (NUMBER_BITS + PUBLISHER_BITS) == MARK
            && at_ns <= now_ns
            && now_ns - at_ns < OLDEST_NS)
            .then_some(Self {
                at_ns,
                publisher: (word >> NUMBER_BITS) as usize & ((1 << PUBLISHER_BITS) - 1),
                number: word & ((1 << NUMBER_BITS) - 1),
            })
    }
}

/// Writes the messages of one client.
#[derive(Debug)]
pub(super) struct Publisher {
    packet: Vec<u8>,
    /// Where the packet id stands, 0 without one.
    id_at: usize,
    /// Where the stamp stands, 0 without one.
    stamp_at: usize,
    /// Mark and number of the publisher, ready for the message's number.
    word: u64,
    number: u64,
    last_id: u16,
    /// Most unacknowledged messages.
    window: usize,
    inflight: usize,
    /// When a packet id was used, by its last bits; only where nobody else measures the time.
    sent_at: Vec<u64>,
}

impl Publisher {
    /// The messages of publisher `index`, which is client `number`.
    pub(super) fn new(plan: &Plan, number: u32, index: u32) -> Self {
        let topic = plan.topic(number);
        let payload = vec![b'A'; plan.options.size];
        let publish = Publish {
            dup: false,
            qos: plan.qos,
            retain: plan.options.retain,
            topic: &topic,
            packet_id: u16::from(plan.qos != QoS::AtMostOnce),
            properties: Properties::EMPTY,
            payload: &payload,
        };
        let mut packet = Vec::new();
        encode(&Packet::Publish(publish), plan.version, &mut packet);
        let payload_at = packet.len() - payload.len();
        let properties_len = usize::from(plan.options.version == 5);
        let window = usize::from(plan.options.inflight);
        let measures = !plan.is_closed() && plan.qos != QoS::AtMostOnce;
        debug_assert!(matches!(plan.role(number), Role::Publisher(_)));
        Self {
            id_at: match plan.qos {
                QoS::AtMostOnce => 0,
                _ => payload_at - properties_len - 2,
            },
            stamp_at: if payload.len() < STAMP_BYTES {
                0
            } else {
                payload_at
            },
            packet,
            word: (MARK << PUBLISHER_BITS | u64::from(index) & ((1 << PUBLISHER_BITS) - 1))
                << NUMBER_BITS,
            number: 0,
            last_id: 0,
            window,
            inflight: 0,
            sent_at: vec![
                0;
                if measures {
                    window.next_power_of_two()
                } else {
                    0
                }
            ],
        }
    }

    /// The server allows fewer unacknowledged messages.
    pub(super) fn limit_window(&mut self, most: u16) {
        self.window = self.window.min(usize::from(most));
    }

    /// How many messages fit into this many bytes and the window.
    pub(super) fn room(&self, bytes: usize) -> usize {
        let count = bytes / self.packet.len();
        if self.id_at == 0 {
            count
        } else {
            count.min(self.window.saturating_sub(self.inflight))
        }
    }

    /// Bytes of one packet.
    pub(super) fn packet_len(&self) -> usize {
        self.packet.len()
    }

    /// Messages written so far.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Writes `count` messages.
    pub(super) fn write(&mut self, out: &mut Output, count: usize, now_ns: u64) {
        if self.id_at != 0 {
            self.inflight += count;
        }
        out.append(|buf| {
            buf.reserve(count * self.packet.len());
            for _ in 0..count {
                let start = buf.len();
                buf.extend_from_slice(&self.packet);
                self.number += 1;
                let packet = &mut buf[start..];
                if self.stamp_at != 0 {
                    let number = self.word | self.number & ((1 << NUMBER_BITS) - 1);
                    let stamp = &mut packet[self.stamp_at..self.stamp_at + STAMP_BYTES];
                    stamp[..8].copy_from_slice(&now_ns.to_be_bytes());
                    stamp[8..].copy_from_slice(&number.to_be_bytes());
                }
                if self.id_at != 0 {
                    self.last_id = self.last_id.checked_add(1).unwrap_or(1);
                    packet[self.id_at..self.id_at + 2].copy_from_slice(&self.last_id.to_be_bytes());
                    let mask = self.sent_at.len().wrapping_sub(1);
                    if let Some(slot) = self.sent_at.get_mut(usize::from(self.last_id) & mask) {
                        *slot = now_ns;
                    }
                }
            }
        });
    }

    /// The last acknowledgement of a message came. When the message was sent, if that is noted.
    #[inline]
    pub(super) fn acknowledged(&mut self, packet_id: u16) -> Option<u64> {
        self.inflight = self.inflight.saturating_sub(1);
        let mask = self.sent_at.len().wrapping_sub(1);
        self.sent_at.get(usize::from(packet_id) & mask).copied()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop")]
mod tests {
    use super::*;
    use nanomq_proto::wire::codec::{Frame, RawPublish, frame};
    use std::io::IoSlice;

    fn written(json: &str, count: usize) -> Vec<(u16, Option<Stamp>, usize)> {
        let plan = Plan::new(serde_json::from_str(json).unwrap()).unwrap();
        let mut publisher = Publisher::new(&plan, 0, 0);
        let mut out = Output::new();
        publisher.write(&mut out, count, 5);
        let mut slices = [IoSlice::new(&[])];
        assert_eq!(out.chunks(&mut slices), 1);
        let mut rest: &[u8] = &slices[0];
        let mut found = Vec::new();
        while let Frame::Complete {
            first,
            header_len,
            total,
        } = frame(rest, usize::MAX).unwrap()
        {
            let publish = RawPublish::split(plan.version, first, &rest[header_len..total]).unwrap();
            assert_eq!(publish.topic, b"bench/0");
            found.push((
                publish.packet_id,
                Stamp::read(publish.payload, 6),
                publish.payload.len(),
            ));
            rest = &rest[total..];
        }
        found
    }

    #[test]
    fn packet_ids_and_stamps_count_up() {
        let stamp = |number| {
            Some(Stamp {
                at_ns: 5,
                publisher: 0,
                number,
            })
        };
        let options = r#"{"mode": "pub", "size": 64, "qos": 1, "version": 5}"#;
        assert_eq!(written(options, 2), [(1, stamp(1), 64), (2, stamp(2), 64)]);
        assert_eq!(
            written(r#"{"mode": "pub", "size": 16}"#, 1),
            [(0, stamp(1), 16)]
        );
    }

    #[test]
    fn short_and_foreign_payloads_have_no_stamp() {
        assert_eq!(
            written(r#"{"mode": "pub", "size": 15, "qos": 2}"#, 1),
            [(1, None, 15)]
        );
        assert_eq!(Stamp::read(&[b'A'; 64], u64::MAX), None);
    }
}
