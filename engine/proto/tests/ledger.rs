//! The ledger adds up whatever clients do: random connects, subscribes, publishes, acknowledgements, lost
//! connections, take-overs and jumps of the clock on one shard, seeded and without sockets.
#![expect(clippy::unwrap_used, reason = "a test may fail this way")]

use nanomq_proto::SECOND;
use nanomq_proto::route::index::ShareStrategy;
use nanomq_proto::route::router::{RetainedLimits, Router, mix};
use nanomq_proto::session::connection::Origin;
use nanomq_proto::session::registry::{Action, ConnectionKey, Registry};
use nanomq_proto::session::settings::Settings;
use nanomq_proto::wire::codec::{Frame, encode, frame};
use nanomq_proto::wire::packet::{
    Ack, Connect, Packet, Publish, QoS, Subscribe, SubscribeFilters, SubscribeOptions, Version,
};
use nanomq_proto::wire::tables::{Properties, Property, ReasonCode};
use std::sync::Arc;

const FILTERS: [&str; 6] = ["a", "a/+", "#", "b/#", "$share/g/a/+", "$share/g/b"];
const TOPICS: [&str; 5] = ["a", "a/b", "b", "b/c", "nobody"];

struct World {
    registry: Registry,
    connections: Vec<ConnectionKey>,
    random: u64,
    now: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let settings = Settings {
            max_queue_count: 5,
            max_inflight: 3,
            queue_ttl: 60 * SECOND,
            ..Settings::default()
        };
        let router = Router::new(
            seed,
            ShareStrategy::RoundRobin,
            RetainedLimits { count: 3, bytes: 0 },
        );
        let registry = Registry::new(0, 1, Arc::new(router), Arc::new(settings), seed);
        Self {
            registry,
            connections: Vec::new(),
            random: seed,
            now: 0,
        }
    }

    fn below(&mut self, limit: usize) -> usize {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        (mix(self.random) % limit as u64) as usize
    }

    fn send(&mut self, key: ConnectionKey, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        encode(packet, Version::V5, &mut bytes);
        let received = self.registry.receive(self.now, key, &bytes);
        // A CONNECT that takes a connection over waits once.
        if received.consumed == 0 {
            self.registry.receive(self.now, key, &bytes);
        }
    }

    fn step(&mut self) {
        match self.below(12) {
            0 | 1 => self.connect(),
            2 => self.with_connection(|world, key| world.subscribe(key)),
            3..=7 => self.with_connection(|world, key| world.publish(key)),
            8 => self.with_connection(|world, key| {
                world.registry.release(world.now, key);
                world.connections.retain(|other| *other != key);
            }),
            9 => self.with_connection(|world, key| world.registry.set_blocked(key.slot)),
            10 => self.now += self.below(40) as u64 * SECOND,
            _ => self.drain(),
        }
        self.registry.expire(self.now);
        while let Some(action) = self.registry.next_action() {
            if let Action::Close(key) = action {
                self.registry.release(self.now, key);
                self.connections.retain(|other| *other != key);
            }
        }
    }

    fn with_connection(&mut self, act: impl FnOnce(&mut Self, ConnectionKey)) {
        if !self.connections.is_empty() {
            let at = self.below(self.connections.len());
            let key = self.connections[at];
            act(self, key);
        }
    }

    fn connect(&mut self) {
        let client_id = format!("client{}", self.below(6));
        let mut properties = Vec::new();
        Property::SessionExpiryInterval([0, 30, 1000][self.below(3)]).encode(&mut properties);
        Property::ReceiveMaximum(1 + self.below(4) as u16).encode(&mut properties);
        let connect = Connect {
            version: Version::V5,
            is_bridge: false,
            clean_start: self.below(4) == 0,
            keepalive_s: [0, 20][self.below(2)],
            client_id: &client_id,
            username: None,
            password: None,
            will: None,
            properties: Properties::from_validated(&properties),
        };
        let key = self.registry.open(self.now, Arc::new(Origin::default()));
        self.send(key, &Packet::Connect(connect));
        self.connections.push(key);
    }

    fn subscribe(&mut self, key: ConnectionKey) {
        let mut filters = Vec::new();
        let qos = QoS::from_bits(self.below(3) as u8).unwrap();
        let filter = FILTERS[self.below(FILTERS.len())];
        nanomq_proto::wire::codec::push_subscribe_filter(
            &mut filters,
            filter,
            SubscribeOptions::with_qos(qos),
        );
        let subscribe = Subscribe {
            packet_id: 1,
            properties: Properties::EMPTY,
            filters: SubscribeFilters::from_validated(&filters),
        };
        self.send(key, &Packet::Subscribe(subscribe));
    }

    fn publish(&mut self, key: ConnectionKey) {
        let mut properties = Vec::new();
        if self.below(3) == 0 {
            Property::MessageExpiryInterval(self.below(30) as u32).encode(&mut properties);
        }
        let qos = QoS::from_bits(self.below(3) as u8).unwrap();
        let packet_id = if qos == QoS::AtMostOnce {
            0
        } else {
            1 + self.below(5) as u16
        };
        let publish = Publish {
            dup: false,
            qos,
            retain: self.below(5) == 0,
            topic: TOPICS[self.below(TOPICS.len())],
            packet_id,
            properties: Properties::from_validated(&properties),
            payload: &[b'x'; 10][..self.below(10)],
        };
        self.send(key, &Packet::Publish(publish));
        if qos == QoS::ExactlyOnce {
            self.acknowledge(key, Packet::PubRel, packet_id);
        }
    }

    fn acknowledge(
        &mut self,
        key: ConnectionKey,
        kind: impl Fn(Ack<'static>) -> Packet<'static>,
        packet_id: u16,
    ) {
        let ack = Ack {
            packet_id,
            reason: ReasonCode::SUCCESS,
            properties: Properties::EMPTY,
        };
        self.send(key, &kind(ack));
    }

    /// Takes what the broker sends and acknowledges most of it.
    fn drain(&mut self) {
        while let Some(slot) = self.registry.next_dirty() {
            let Some(output) = self.registry.output(slot) else {
                continue;
            };
            let mut slices = [std::io::IoSlice::new(&[]); 8];
            let count = output.chunks(&mut slices);
            let bytes: Vec<u8> = slices[..count]
                .iter()
                .flat_map(|slice| slice.to_vec())
                .collect();
            output.clear();
            self.registry.flushed(self.now, slot, bytes.len() as u64);
            let Some(key) = self
                .connections
                .iter()
                .copied()
                .find(|key| key.slot == slot)
            else {
                continue;
            };
            let mut rest = bytes.as_slice();
            while let Ok(Frame::Complete {
                first,
                header_len,
                total,
            }) = frame(rest, usize::MAX)
            {
                let body = &rest[header_len..total];
                if self.below(5) > 0 {
                    self.answer(key, first, body);
                }
                rest = &rest[total..];
            }
        }
    }

    fn answer(&mut self, key: ConnectionKey, first: u8, body: &[u8]) {
        let Ok(packet) = nanomq_proto::wire::codec::decode(Version::V5, first, body) else {
            return;
        };
        match packet {
            Packet::Publish(publish) if publish.qos == QoS::AtLeastOnce => {
                self.acknowledge(key, Packet::PubAck, publish.packet_id);
            }
            Packet::Publish(publish) if publish.qos == QoS::ExactlyOnce => {
                self.acknowledge(key, Packet::PubRec, publish.packet_id);
            }
            Packet::PubRel(ack) => self.acknowledge(key, Packet::PubComp, ack.packet_id),
            _ => {}
        }
    }
}

#[test]
fn every_copy_ends_in_the_ledger() {
    for seed in 0..40 {
        let mut world = World::new(seed);
        let ledger = world.registry.ledger();
        for step in 0..2000 {
            world.step();
            assert!(ledger.adds_up(), "seed {seed}, step {step}: {ledger:?}");
        }
        assert!(ledger.delivered.value() > 0 && ledger.accepted.value() > 0);
    }
}

#[test]
fn nothing_is_left_when_all_sessions_have_ended() {
    let mut world = World::new(7);
    for _ in 0..5000 {
        world.step();
    }
    for key in std::mem::take(&mut world.connections) {
        world.registry.release(world.now, key);
    }
    world.now += 10_000 * SECOND;
    world.registry.expire(world.now);
    let ledger = world.registry.ledger();
    let gauges = [
        &ledger.connections,
        &ledger.sessions,
        &ledger.subscriptions,
        &ledger.queued,
    ];
    assert_eq!(gauges.map(|gauge| gauge.value()), [0; 4]);
    assert!(ledger.adds_up());
}
