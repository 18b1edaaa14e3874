//! Shards without threads and sockets: clients send packets and see what came back.
#![allow(clippy::unwrap_used, reason = "a test may fail this way")]
#![allow(dead_code, reason = "each test file uses a part of it")]

use nanomq_proto::Time;
use nanomq_proto::route::index::ShareStrategy;
use nanomq_proto::route::router::{RetainedLimits, Router};
use nanomq_proto::route::verdict::{Drop, Ledger};
use nanomq_proto::session::connection::Origin;
use nanomq_proto::session::parcel::Batch;
use nanomq_proto::session::registry::{Action, ConnectionKey, Registry};
use nanomq_proto::session::settings::Settings;
use nanomq_proto::wire::codec::{Frame, decode, encode, frame, push_subscribe_filter};
use nanomq_proto::wire::packet::{
    Connect, Packet, Publish, QoS, Subscribe, SubscribeFilters, SubscribeOptions, Version, Will,
};
use nanomq_proto::wire::tables::{Properties, Property};
use std::sync::Arc;

/// A connected client.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    pub shard: usize,
    pub key: ConnectionKey,
}

/// All shards of a broker, and the time.
pub struct World {
    pub shards: Vec<Registry>,
    pub router: Arc<Router>,
    pub now: Time,
}

/// What a test wants to know of a received packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Publish {
        topic: String,
        payload: Vec<u8>,
        qos: QoS,
        id: u16,
    },
    /// Type and reason codes of everything else.
    Other(u8, Vec<u8>),
}

impl World {
    pub fn new(shards: u16, settings: Settings) -> Self {
        let limits = RetainedLimits::default();
        let router = Arc::new(Router::new(7, ShareStrategy::RoundRobin, limits));
        let settings = Arc::new(settings);
        let shard = |number| {
            Registry::new(
                number,
                shards,
                Arc::clone(&router),
                Arc::clone(&settings),
                u64::from(number),
            )
        };
        Self {
            shards: (0..shards).map(shard).collect(),
            router: Arc::clone(&router),
            now: 0,
        }
    }

    /// A client id that is at home on this shard.
    pub fn id(&self, shard: usize, name: &str) -> String {
        let mut ids = (0..).map(|number| format!("{name}{number}"));
        ids.find(|id| self.shards[shard].is_home(id)).unwrap()
    }

    /// Connects `name` on this shard with a Session Expiry Interval and a Clean Start.
    pub fn connect(&mut self, shard: usize, name: &str, expiry_s: u32, clean: bool) -> Client {
        let mut properties = Vec::new();
        Property::SessionExpiryInterval(expiry_s).encode(&mut properties);
        self.connect_with(shard, name, clean, &properties)
    }

    pub fn connect_with(
        &mut self,
        shard: usize,
        name: &str,
        clean_start: bool,
        properties: &[u8],
    ) -> Client {
        self.open(shard, name, clean_start, properties, None)
    }

    /// Connects with a will that is delayed; its payload is `gone`.
    pub fn connect_with_will(
        &mut self,
        shard: usize,
        name: &str,
        topic: &str,
        delay_s: u32,
    ) -> Client {
        let (mut expiry, mut delay) = (Vec::new(), Vec::new());
        Property::SessionExpiryInterval(u32::MAX).encode(&mut expiry);
        Property::WillDelayInterval(delay_s).encode(&mut delay);
        let will = Will {
            topic,
            payload: b"gone",
            qos: QoS::AtMostOnce,
            retain: false,
            properties: Properties::from_validated(&delay),
        };
        self.open(shard, name, true, &expiry, Some(will))
    }

    fn open(
        &mut self,
        shard: usize,
        name: &str,
        clean_start: bool,
        properties: &[u8],
        will: Option<Will<'_>>,
    ) -> Client {
        let client_id = self.id(shard, name);
        let key = self.shards[shard].open(self.now, Arc::new(Origin::default()));
        let client = Client { shard, key };
        let connect = Connect {
            version: Version::V5,
            is_bridge: false,
            clean_start,
            keepalive_s: u16::MAX,
            client_id: &client_id,
            username: None,
            password: None,
            will,
            properties: Properties::from_validated(properties),
        };
        self.send(client, &Packet::Connect(connect));
        let seen = self.receive(client);
        assert!(matches!(&seen[..], [Seen::Other(2, _), ..]), "{seen:?}");
        client
    }

    pub fn send(&mut self, client: Client, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        encode(packet, Version::V5, &mut bytes);
        let registry = &mut self.shards[client.shard];
        registry.receive(self.now, client.key, &bytes);
        self.close_what_is_over();
    }

    /// The connection breaks.
    pub fn lose(&mut self, client: Client) {
        self.shards[client.shard].release(self.now, client.key);
        self.close_what_is_over();
    }

    fn close_what_is_over(&mut self) {
        for registry in &mut self.shards {
            while let Some(action) = registry.next_action() {
                if let Action::Close(key) = action {
                    registry.release(self.now, key);
                }
            }
        }
    }

    pub fn subscribe(&mut self, client: Client, filters: &[&str], qos: QoS) {
        let mut encoded = Vec::new();
        for filter in filters {
            push_subscribe_filter(&mut encoded, filter, SubscribeOptions::with_qos(qos));
        }
        let subscribe = Subscribe {
            packet_id: 1,
            properties: Properties::EMPTY,
            filters: SubscribeFilters::from_validated(&encoded),
        };
        self.send(client, &Packet::Subscribe(subscribe));
    }

    pub fn publish(&mut self, client: Client, topic: &str, payload: &[u8], qos: QoS) {
        self.publish_with(client, topic, payload, qos, &[]);
    }

    pub fn publish_with(
        &mut self,
        client: Client,
        topic: &str,
        payload: &[u8],
        qos: QoS,
        properties: &[u8],
    ) {
        let publish = Publish {
            dup: false,
            qos,
            retain: false,
            topic,
            packet_id: u16::from(qos != QoS::AtMostOnce),
            properties: Properties::from_validated(properties),
            payload,
        };
        self.send(client, &Packet::Publish(publish));
    }

    /// What the shards have for each other is handed over, until nothing is left.
    pub fn exchange(&mut self) {
        let mut batch = Batch::default();
        while self.shards.iter().any(Registry::has_outbox) {
            for from in 0..self.shards.len() {
                for to in 0..self.shards.len() {
                    if self.shards[from].take_outbox(to as u16, &mut batch) {
                        self.shards[to].deliver_batch(self.now, &batch);
                        batch.clear();
                    }
                }
            }
        }
    }

    /// Everything that waits to be sent to a client.
    pub fn receive(&mut self, client: Client) -> Vec<Seen> {
        let registry = &mut self.shards[client.shard];
        let mut seen = Vec::new();
        loop {
            let output = registry.output(client.key.slot).unwrap();
            let mut slices = [std::io::IoSlice::new(&[]); 64];
            let count = output.chunks(&mut slices);
            let bytes: Vec<u8> = slices[..count]
                .iter()
                .flat_map(|slice| slice.to_vec())
                .collect();
            output.advance(bytes.len());
            cut(&bytes, &mut seen);
            if !registry.flushed(self.now, client.key.slot, bytes.len() as u64) {
                return seen;
            }
        }
    }

    /// Payloads of the messages among what a client receives.
    pub fn payloads(&mut self, client: Client) -> Vec<Vec<u8>> {
        let payload = |seen| match seen {
            Seen::Publish { payload, .. } => Some(payload),
            Seen::Other(..) => None,
        };
        self.receive(client)
            .into_iter()
            .filter_map(payload)
            .collect()
    }

    /// A sum over all shards.
    pub fn sum(&self, count: impl Fn(&Ledger) -> u64) -> u64 {
        self.shards
            .iter()
            .map(|registry| count(&registry.ledger()))
            .sum()
    }

    pub fn dropped(&self, reason: Drop) -> u64 {
        self.sum(|ledger| ledger.dropped(reason))
    }

    /// Whether the equation holds over all shards.
    pub fn adds_up(&self) -> bool {
        let ended = |ledger: &Ledger| {
            let dropped: u64 = Drop::ALL.iter().map(|&reason| ledger.dropped(reason)).sum();
            ledger.delivered.value() + ledger.queued.value() + ledger.expired.value() + dropped
        };
        let difference = |ledger: &Ledger| ledger.accepted.value().wrapping_sub(ended(ledger));
        self.shards.iter().fold(0u64, |sum, registry| {
            sum.wrapping_add(difference(&registry.ledger()))
        }) == 0
    }
}

fn cut(mut rest: &[u8], seen: &mut Vec<Seen>) {
    while let Ok(Frame::Complete {
        first,
        header_len,
        total,
    }) = frame(rest, usize::MAX)
    {
        seen.push(
            match decode(Version::V5, first, &rest[header_len..total]).unwrap() {
                Packet::Publish(publish) => Seen::Publish {
                    topic: publish.topic.to_owned(),
                    payload: publish.payload.to_vec(),
                    qos: publish.qos,
                    id: publish.packet_id,
                },
                Packet::SubAck(ack) => Seen::Other(first >> 4, ack.reasons.to_vec()),
                Packet::PubAck(ack) | Packet::PubRec(ack) => {
                    Seen::Other(first >> 4, vec![ack.reason.0])
                }
                Packet::Disconnect(packet) => Seen::Other(first >> 4, vec![packet.reason.0]),
                _ => Seen::Other(first >> 4, Vec::new()),
            },
        );
        rest = &rest[total..];
    }
}
