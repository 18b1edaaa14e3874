//! Rows of PUBACK packets do what the same packets do one by one.
#![expect(clippy::unwrap_used, reason = "a test may fail this way")]

use nanomq_proto::route::index::ShareStrategy;
use nanomq_proto::route::router::{RetainedLimits, Router};
use nanomq_proto::session::connection::Origin;
use nanomq_proto::session::registry::{Action, ConnectionKey, Registry};
use nanomq_proto::session::settings::Settings;
use std::io::IoSlice;
use std::sync::Arc;

/// A broker with one client, whose messages come back to it.
struct Echo {
    registry: Registry,
    key: ConnectionKey,
}

impl Echo {
    /// `qos` is that of the subscription; at most three messages are open.
    fn new(qos: u8) -> Self {
        let settings = Settings {
            max_inflight: 3,
            ..Settings::default()
        };
        let limits = RetainedLimits::default();
        let router = Arc::new(Router::new(1, ShareStrategy::RoundRobin, limits));
        let mut registry = Registry::new(0, 1, router, Arc::new(settings), 1);
        let key = registry.open(0, Arc::new(Origin::default()));
        let mut echo = Self { registry, key };
        echo.feed(b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01c");
        echo.feed(&[&b"\x82\x06\0\x01\0\x01t"[..], &[qos]].concat());
        echo.sent();
        echo
    }

    fn feed(&mut self, bytes: &[u8]) {
        let received = self.registry.receive(0, self.key, bytes);
        assert_eq!(received.consumed, bytes.len());
    }

    /// Publishes with QoS 2, so that the subscription's QoS decides.
    fn publish(&mut self, count: u8) {
        for id in 1..=count {
            self.feed(&[0x34, 6, 0, 1, b't', 0, id, id]);
            self.feed(&[0x62, 2, 0, id]);
        }
    }

    /// Payloads of the messages sent since the last call.
    fn sent(&mut self) -> Vec<u8> {
        let mut payloads = Vec::new();
        while let Some(slot) = self.registry.next_dirty() {
            loop {
                let output = self.registry.output(slot).unwrap();
                let before = output.len();
                let mut slices = [IoSlice::new(&[]); 8];
                let count = output.chunks(&mut slices);
                let bytes: Vec<u8> = slices[..count].iter().flat_map(|s| s.to_vec()).collect();
                output.clear();
                let mut rest = bytes.as_slice();
                while let [first, len, ..] = *rest {
                    let (packet, next) = rest.split_at(2 + usize::from(len));
                    if first >> 4 == 3 {
                        payloads.push(*packet.last().unwrap());
                    }
                    rest = next;
                }
                if !self.registry.flushed(0, slot, before as u64) {
                    break;
                }
            }
        }
        payloads
    }

    fn is_closed(&mut self) -> bool {
        std::iter::from_fn(|| self.registry.next_action())
            .any(|action| matches!(action, Action::Close(_)))
    }
}

fn acks(ids: &[u8]) -> Vec<u8> {
    ids.iter().flat_map(|&id| [0x40, 2, 0, id]).collect()
}

#[test]
fn a_row_opens_the_window_by_its_length() {
    let mut echo = Echo::new(1);
    echo.publish(8);
    assert_eq!(echo.sent(), [1, 2, 3]);
    echo.feed(&acks(&[2, 1]));
    assert_eq!(echo.sent(), [4, 5]);
    echo.feed(&acks(&[3, 4, 5]));
    assert_eq!(echo.sent(), [6, 7, 8]);
    let ledger = echo.registry.ledger();
    assert_eq!((ledger.delivered.value(), ledger.queued.value()), (5, 3));
    assert!(ledger.adds_up());
}

#[test]
fn unknown_ids_in_a_row_change_nothing() {
    let mut echo = Echo::new(1);
    echo.publish(4);
    assert_eq!(echo.sent(), [1, 2, 3]);
    echo.feed(&acks(&[1, 1, 99, 2]));
    assert_eq!(echo.sent(), [4]);
    assert!(!echo.is_closed());
    assert_eq!(echo.registry.ledger().delivered.value(), 2);
}

#[test]
fn half_a_packet_at_the_end_of_a_row_waits() {
    let mut echo = Echo::new(1);
    echo.publish(3);
    echo.sent();
    let row = acks(&[1, 2, 3]);
    let received = echo.registry.receive(0, echo.key, &row[..10]);
    assert_eq!(received.consumed, 8);
    echo.feed(&row[8..]);
    assert_eq!(echo.registry.ledger().queued.value(), 0);
}

#[test]
fn an_id_of_zero_in_a_row_is_malformed() {
    let mut echo = Echo::new(1);
    echo.publish(2);
    echo.sent();
    echo.registry.receive(0, echo.key, &acks(&[1, 0, 2]));
    assert!(echo.is_closed(), "[MQTT-2.2.1-3]");
    assert_eq!(echo.registry.ledger().delivered.value(), 1);
}

#[test]
fn a_puback_for_qos_2_in_a_row_is_an_error() {
    let mut echo = Echo::new(2);
    echo.publish(1);
    assert_eq!(echo.sent(), [1]);
    echo.registry.receive(0, echo.key, &acks(&[77, 1]));
    assert!(echo.is_closed(), "[MQTT-4.13.1-1]");
}
