//! The path of every message without sockets: for counting instructions and for profilers.
//!
//! `fast_path CASE MESSAGES` feeds PUBLISH packets to one shard and takes its output away. Cases:
//! `1-1-0`, `1-1-1`, `1-100-0`, `1-100-1` (publishers, subscribers, QoS), `1-1-0-v5`, `1-1-0-miss` (a topic
//! nobody has, another each time) and `1-1-0-shards` (the subscriber on another shard).

use nanomq_proto::route::index::ShareStrategy;
use nanomq_proto::route::router::{RetainedLimits, Router};
use nanomq_proto::session::connection::Origin;
use nanomq_proto::session::parcel::Batch;
use nanomq_proto::session::registry::{Action, ConnectionKey, Registry};
use nanomq_proto::session::settings::Settings;
use std::sync::Arc;

/// Packets handed in at once, as one read of a socket would.
const PACKETS: usize = 512;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let case = arguments.next().unwrap_or_else(|| "1-1-0".to_owned());
    let messages: usize = arguments
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1_000_000);
    let delivered = run(&case, messages);
    println!("{case}: {messages} messages, {delivered} delivered");
}

fn run(case: &str, messages: usize) -> u64 {
    let parts: Vec<&str> = case.split('-').collect();
    let subscribers: usize = parts.get(1).and_then(|text| text.parse().ok()).unwrap_or(1);
    let qos: u8 = parts.get(2).and_then(|text| text.parse().ok()).unwrap_or(0);
    let level = if parts.get(3) == Some(&"v5") { 5 } else { 4 };
    let misses = parts.get(3) == Some(&"miss");
    let shards = if parts.get(3) == Some(&"shards") {
        2
    } else {
        1
    };
    let settings = Arc::new(Settings::default());
    let router = Arc::new(Router::new(
        1,
        ShareStrategy::RoundRobin,
        RetainedLimits::default(),
    ));
    let mut registries: Vec<Registry> = (0..shards)
        .map(|shard| Registry::new(shard, shards, Arc::clone(&router), Arc::clone(&settings), 1))
        .collect();
    let last = registries.len() - 1;
    let subs: Vec<ConnectionKey> = (0..subscribers)
        .map(|number| {
            let key = connect(&mut registries[last], &format!("sub{number}"), level);
            registries[last].receive(0, key, &subscribe(qos, level));
            key
        })
        .collect();
    let publisher = connect(&mut registries[0], "pub", level);
    // Made beforehand: only the broker's instructions count. The topics of all reads together are more than
    // it remembers.
    let inputs: Vec<Vec<u8>> = (0..if misses { 10 } else { 1 })
        .map(|read| {
            (0..PACKETS)
                .flat_map(|number| publish(read * PACKETS + number, qos, level, misses))
                .collect()
        })
        .collect();
    let mut acks: Vec<u16> = vec![1; subscribers];
    let mut batch = Batch::default();
    for round in 0..messages.div_ceil(PACKETS) {
        registries[0].receive(0, publisher, &inputs[round % inputs.len()]);
        drain(&mut registries[0]);
        if shards > 1 && registries[0].take_outbox(1, &mut batch) {
            registries[1].deliver_batch(0, &batch);
            batch.clear();
            drain(&mut registries[1]);
        }
        if qos > 0 {
            for (key, next) in subs.iter().zip(&mut acks) {
                let mut packets = Vec::with_capacity(PACKETS * 4);
                for _ in 0..PACKETS {
                    packets.extend_from_slice(&[0x40, 2]);
                    packets.extend_from_slice(&next.to_be_bytes());
                    *next = next.checked_add(1).unwrap_or(1);
                }
                registries[last].receive(0, *key, &packets);
            }
        }
    }
    registries
        .iter()
        .map(|registry| registry.ledger().delivered.value())
        .sum()
}

/// A connected client whose home is this shard.
fn connect(registry: &mut Registry, name: &str, level: u8) -> ConnectionKey {
    let home = |id: &str| registry.is_home(id);
    let id = (0..)
        .map(|number| format!("{name}{number}"))
        .find(|id| home(id))
        .unwrap_or_default();
    let key = registry.open(0, Arc::new(Origin::default()));
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', level, 2, 0, 0];
    if level == 5 {
        body.push(0);
    }
    body.extend_from_slice(&(id.len() as u16).to_be_bytes());
    body.extend_from_slice(id.as_bytes());
    let mut packet = vec![0x10, body.len() as u8];
    packet.append(&mut body);
    registry.receive(0, key, &packet);
    drain(registry);
    key
}

fn subscribe(qos: u8, level: u8) -> Vec<u8> {
    let mut body = vec![0, 1];
    if level == 5 {
        body.push(0);
    }
    body.extend_from_slice(&[0, 11]);
    body.extend_from_slice(b"bench/topic");
    body.push(qos);
    let mut packet = vec![0x82, body.len() as u8];
    packet.append(&mut body);
    packet
}

fn publish(number: usize, qos: u8, level: u8, misses: bool) -> Vec<u8> {
    let topic = if misses {
        format!("miss/{number:06}")
    } else {
        "bench/topic".to_owned()
    };
    let mut body = (topic.len() as u16).to_be_bytes().to_vec();
    body.extend_from_slice(topic.as_bytes());
    if qos > 0 {
        body.extend_from_slice(&(number as u16 % 60_000 + 1).to_be_bytes());
    }
    if level == 5 {
        body.push(0);
    }
    body.extend_from_slice(&[b'x'; 64]);
    let mut packet = vec![0x30 | qos << 1, body.len() as u8];
    packet.append(&mut body);
    packet
}

/// Does as the shard would: sends everything, carries out nothing.
fn drain(registry: &mut Registry) {
    while let Some(slot) = registry.next_dirty() {
        let bytes = registry.output(slot).map_or(0, |output| {
            let bytes = output.len();
            output.clear();
            bytes
        });
        registry.flushed(0, slot, bytes as u64);
    }
    while registry.next_urgent().is_some() {}
    while let Some(action) = registry.next_action() {
        assert!(matches!(action, Action::Event(_)), "{action:?}");
    }
}
