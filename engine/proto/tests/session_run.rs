//! Whoever subscribes gets every message once and in order, however the publisher's packets are cut into reads:
//! runs of equal topics are passed on as a whole, single messages one by one, and nobody can tell.
#![expect(clippy::unwrap_used, reason = "a test may fail this way")]

use nanomq_proto::route::index::ShareStrategy;
use nanomq_proto::route::router::{RetainedLimits, Router, mix};
use nanomq_proto::route::verdict::Drop;
use nanomq_proto::session::connection::Origin;
use nanomq_proto::session::parcel::Batch;
use nanomq_proto::session::registry::{ConnectionKey, Registry};
use nanomq_proto::session::settings::Settings;
use nanomq_proto::wire::codec::{Frame, decode, encode, frame, push_subscribe_filter};
use nanomq_proto::wire::packet::{
    Connect, Packet, Publish, QoS, Subscribe, SubscribeFilters, SubscribeOptions, Version,
};
use nanomq_proto::wire::tables::{Properties, Property};
use std::collections::HashMap;
use std::io::IoSlice;
use std::sync::Arc;

const TOPICS: [&str; 3] = ["a/1", "a/2", "b/long/topic"];

#[derive(Clone, Debug, PartialEq, Eq)]
struct Message {
    topic: String,
    payload: Vec<u8>,
    qos: QoS,
}

/// A client and what it asked for.
#[derive(Clone, Debug)]
struct Client {
    version: Version,
    filter: &'static str,
    no_local: bool,
    id: u32,
    alias_maximum: u16,
    max_packet_bytes: u32,
    shard: usize,
    key: ConnectionKey,
    aliases: HashMap<u16, String>,
    input: Vec<u8>,
    got: Vec<Message>,
    ids_are_right: bool,
}

struct World {
    registries: Vec<Registry>,
    clients: Vec<Client>,
    published: Vec<Message>,
    random: u64,
}

impl World {
    fn new(seed: u64, shards: u16, publisher: Version) -> Self {
        let settings = Arc::new(Settings {
            max_queue_count: 1_000_000,
            max_queue_bytes: usize::MAX,
            ..Settings::default()
        });
        let limits = RetainedLimits::default();
        let router = Arc::new(Router::new(seed, ShareStrategy::RoundRobin, limits));
        let registries = (0..shards)
            .map(|shard| {
                Registry::new(shard, shards, Arc::clone(&router), Arc::clone(&settings), 1)
            })
            .collect();
        let mut world = Self {
            registries,
            clients: Vec::new(),
            published: Vec::new(),
            random: seed,
        };
        // The first one publishes. Its own messages come back or, with No Local, do not.
        let no_local = publisher == Version::V5 && world.below(2) == 0;
        world.connect(0, publisher, "#", no_local, 0, 0, 0);
        for shard in 0..usize::from(shards) {
            world.connect(shard, Version::V311, "a/1", false, 0, 0, 0);
            world.connect(shard, Version::V5, "a/+", false, 0, 0, 0);
            world.connect(shard, Version::V311, "#", false, 0, 0, 0);
            world.connect(shard, Version::V5, "#", false, 7, 0, 0);
            world.connect(shard, Version::V5, "#", false, 0, 2, 0);
            world.connect(shard, Version::V5, "#", false, 0, 0, 150);
        }
        world
    }

    fn below(&mut self, limit: usize) -> usize {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        (mix(self.random) % limit as u64) as usize
    }

    #[expect(clippy::too_many_arguments, reason = "what a client asks for")]
    fn connect(
        &mut self,
        shard: usize,
        version: Version,
        filter: &'static str,
        no_local: bool,
        id: u32,
        alias_maximum: u16,
        max_packet_bytes: u32,
    ) {
        let number = self.clients.len();
        let client_id = (0..)
            .map(|salt| format!("client{number}-{salt}"))
            .find(|id| self.registries[shard].is_home(id))
            .unwrap();
        let mut properties = Vec::new();
        if alias_maximum > 0 {
            Property::TopicAliasMaximum(alias_maximum).encode(&mut properties);
        }
        if max_packet_bytes > 0 {
            Property::MaximumPacketSize(max_packet_bytes).encode(&mut properties);
        }
        let connect = Connect {
            version,
            is_bridge: false,
            clean_start: true,
            keepalive_s: 0,
            client_id: &client_id,
            username: None,
            password: None,
            will: None,
            properties: Properties::from_validated(&properties),
        };
        let mut filters = Vec::new();
        let mut options = SubscribeOptions::with_qos(QoS::AtMostOnce);
        options.no_local = no_local;
        push_subscribe_filter(&mut filters, filter, options);
        let mut properties = Vec::new();
        if id > 0 {
            Property::SubscriptionIdentifier(id).encode(&mut properties);
        }
        let subscribe = Subscribe {
            packet_id: 1,
            properties: Properties::from_validated(&properties),
            filters: SubscribeFilters::from_validated(&filters),
        };
        let mut bytes = Vec::new();
        encode(&Packet::Connect(connect), version, &mut bytes);
        encode(&Packet::Subscribe(subscribe), version, &mut bytes);
        let key = self.registries[shard].open(0, Arc::new(Origin::default()));
        self.registries[shard].receive(0, key, &bytes);
        self.clients.push(Client {
            version,
            filter,
            no_local,
            id,
            alias_maximum,
            max_packet_bytes,
            shard,
            key,
            aliases: HashMap::new(),
            input: Vec::new(),
            got: Vec::new(),
            ids_are_right: true,
        });
    }

    /// Packets as a publisher would write them: mostly many on one topic.
    fn packets(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for _ in 0..1 + self.below(4) {
            let topic = TOPICS[self.below(TOPICS.len())];
            for _ in 0..1 + self.below(30) {
                let len = [self.below(10), 100 + self.below(60), 20_000][self.below(8).min(2)];
                let qos = [QoS::AtMostOnce, QoS::AtLeastOnce][usize::from(self.below(20) == 0)];
                let mut payload = (self.published.len() as u32).to_be_bytes().to_vec();
                payload.resize(4 + len, b'x');
                let publish = Publish {
                    dup: false,
                    qos,
                    retain: false,
                    topic,
                    packet_id: u16::from(qos != QoS::AtMostOnce),
                    properties: Properties::EMPTY,
                    payload: &payload,
                };
                encode(
                    &Packet::Publish(publish),
                    self.clients[0].version,
                    &mut bytes,
                );
                self.published.push(Message {
                    topic: topic.to_owned(),
                    payload,
                    qos,
                });
            }
        }
        bytes
    }

    /// Hands packets in, cut anywhere, while some sockets take nothing.
    fn publish(&mut self) {
        for at in 0..self.clients.len() {
            if self.below(8) == 0 {
                let (shard, slot) = (self.clients[at].shard, self.clients[at].key.slot);
                self.registries[shard].set_blocked(slot);
            }
            if self.below(4) == 0 {
                self.sip(at);
            }
        }
        let bytes = self.packets();
        let mut begin = 0;
        let mut end = 0;
        while begin < bytes.len() {
            end = (end + 1 + self.below(bytes.len())).min(bytes.len());
            let key = self.clients[0].key;
            let received = self.registries[0].receive(0, key, &bytes[begin..end]);
            begin += received.consumed;
            if !received.goes_on {
                // It left its own messages unread.
                self.drain();
            }
        }
        self.exchange();
        if self.below(4) == 0 {
            self.drain();
        }
    }

    /// What the shards have for each other.
    fn exchange(&mut self) {
        let mut batch = Batch::default();
        for from in 0..self.registries.len() {
            for to in 0..self.registries.len() {
                if self.registries[from].take_outbox(to as u16, &mut batch) {
                    self.registries[to].deliver_batch(0, &batch);
                    batch.clear();
                }
            }
        }
    }

    /// A socket takes some bytes, and then no more.
    fn sip(&mut self, at: usize) {
        let client = &mut self.clients[at];
        let registry = &mut self.registries[client.shard];
        let output = registry.output(client.key.slot).unwrap();
        let mut slices = [IoSlice::new(&[]); 1];
        if output.chunks(&mut slices) == 1 {
            let taken = slices[0].len().div_ceil(2);
            client.input.extend_from_slice(&slices[0][..taken]);
            output.advance(taken);
            registry.set_blocked(client.key.slot);
        }
    }

    /// The sockets take everything.
    fn drain(&mut self) {
        for shard in 0..self.registries.len() {
            let slots: Vec<u32> = self
                .clients
                .iter()
                .filter(|client| client.shard == shard)
                .map(|client| client.key.slot)
                .collect();
            while self.registries[shard].next_dirty().is_some() {}
            for slot in slots {
                let client = self
                    .clients
                    .iter_mut()
                    .find(|client| client.shard == shard && client.key.slot == slot)
                    .unwrap();
                loop {
                    let output = self.registries[shard].output(slot).unwrap();
                    let before = output.len();
                    while !output.is_empty() {
                        let mut slices = [IoSlice::new(&[]); 8];
                        let count = output.chunks(&mut slices);
                        let taken: usize = slices[..count].iter().map(|slice| slice.len()).sum();
                        for slice in &slices[..count] {
                            client.input.extend_from_slice(slice);
                        }
                        output.advance(taken);
                    }
                    if !self.registries[shard].flushed(0, slot, before as u64) {
                        break;
                    }
                }
                client.read();
            }
        }
    }

    fn expected(&self, client: &Client) -> Vec<Message> {
        let is_publisher = client.key == self.clients[0].key && client.shard == 0;
        self.published
            .iter()
            .filter(|message| match client.filter {
                "a/+" => message.topic.starts_with("a/"),
                "#" => true,
                exact => message.topic == exact,
            })
            .filter(|_| !(client.no_local && is_publisher))
            .filter(|message| {
                client.max_packet_bytes == 0 || size(message) <= client.max_packet_bytes as usize
            })
            .map(|message| Message {
                qos: QoS::AtMostOnce,
                ..message.clone()
            })
            .collect()
    }
}

/// Size of a message in 5.0 form with QoS 0.
fn size(message: &Message) -> usize {
    let publish = Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: &message.topic,
        packet_id: 0,
        properties: Properties::EMPTY,
        payload: &message.payload,
    };
    let mut bytes = Vec::new();
    encode(&Packet::Publish(publish), Version::V5, &mut bytes);
    bytes.len()
}

impl Client {
    fn read(&mut self) {
        let input = std::mem::take(&mut self.input);
        let mut rest = input.as_slice();
        while let Frame::Complete {
            first,
            header_len,
            total,
        } = frame(rest, usize::MAX).unwrap()
        {
            if let Packet::Publish(publish) =
                decode(self.version, first, &rest[header_len..total]).unwrap()
            {
                self.take(&publish);
            }
            rest = &rest[total..];
        }
        assert!(rest.is_empty(), "half a packet");
    }

    fn take(&mut self, publish: &Publish<'_>) {
        let mut ids = Vec::new();
        let mut topic = publish.topic.to_owned();
        for property in publish.properties.iter() {
            match property {
                Property::SubscriptionIdentifier(id) => ids.push(id),
                Property::TopicAlias(alias) if topic.is_empty() => {
                    topic.clone_from(&self.aliases[&alias]);
                }
                Property::TopicAlias(alias) => {
                    assert!(alias <= self.alias_maximum);
                    self.aliases.insert(alias, topic.clone());
                }
                other => panic!("nobody sent {other:?}"),
            }
        }
        let wanted: &[u32] = if self.id > 0 { &[self.id] } else { &[] };
        self.ids_are_right &= ids == wanted;
        self.got.push(Message {
            topic,
            payload: publish.payload.to_vec(),
            qos: publish.qos,
        });
    }
}

#[test]
fn everybody_gets_every_message_once_and_in_order() {
    for seed in 0..15 {
        for shards in [1, 2] {
            for version in [Version::V311, Version::V5] {
                let mut world = World::new(seed, shards, version);
                for _ in 0..20 {
                    world.publish();
                }
                world.drain();
                world.drain();
                for client in &world.clients {
                    let expected = world.expected(client);
                    assert!(
                        client.got == expected,
                        "seed {seed}, {shards} shards, from {version:?}, {} of {} for {} {:?} id {} max {}",
                        client.got.len(),
                        expected.len(),
                        client.filter,
                        client.version,
                        client.id,
                        client.max_packet_bytes,
                    );
                    assert!(client.ids_are_right);
                }
                for registry in &world.registries {
                    assert!(registry.ledger().adds_up());
                    assert_eq!(registry.ledger().queued.value(), 0);
                }
                let count = world.published.len() as u64;
                let ledger = world.registries[0].ledger();
                assert_eq!(ledger.messages_received.value(), count);
                assert!(ledger.dropped(Drop::TooLarge) > 0);
            }
        }
    }
}

#[test]
fn a_run_for_nobody_is_counted() {
    let mut world = World::new(1, 1, Version::V311);
    let mut bytes = Vec::new();
    for _ in 0..5 {
        bytes.extend_from_slice(&[0x30, 6, 0, 1, b'n', b'x', b'y', b'z']);
    }
    let key = world.clients[0].key;
    let registry = &mut world.registries[0];
    // Everybody leaves but the publisher, whose own subscription ends too.
    for client in &world.clients[1..] {
        registry.release(0, client.key);
    }
    registry.receive(0, key, &[0xA2, 5, 0, 9, 0, 1, b'#']);
    registry.receive(0, key, &bytes);
    let ledger = registry.ledger();
    assert_eq!(ledger.dropped(Drop::NoSubscribers), 5);
    assert!(ledger.adds_up());
}

#[test]
fn the_output_of_who_takes_nothing_is_bounded() {
    let mut world = World::new(1, 1, Version::V311);
    let (publisher, deaf) = (world.clients[0].key, world.clients[3].key);
    world.registries[0].set_blocked(deaf.slot);
    let packet = [&[0x30, 103, 0, 3][..], b"a/1", &[b'x'; 98]].concat();
    let run = packet.repeat(600);
    for _ in 0..50 {
        world.registries[0].receive(0, publisher, &run);
        world.registries[0].output(publisher.slot).unwrap().clear();
    }
    let waiting = world.registries[0].output(deaf.slot).unwrap().len();
    assert!(
        waiting < 256 * 1024 + run.len(),
        "{waiting} bytes, the rest waits in the queue"
    );
    let ledger = world.registries[0].ledger();
    assert!(ledger.queued.value() > 20_000);
    assert!(ledger.adds_up());
}
