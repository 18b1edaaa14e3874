//! Memory and time of the index and the retained messages: `cargo bench -p nanomq-proto --bench route`.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a bench measures, and may stop"
)]

use nanomq_proto::route::index::{Index, SessionKey, ShareStrategy, Subscriber};
use nanomq_proto::route::retained::Retained;
use nanomq_proto::wire::packet::QoS;
use nanomq_proto::wire::topic::check_topic_filter;
use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Counts the bytes that are allocated at the moment.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged; only the sizes are added up.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LIVE.fetch_add(size, Ordering::Relaxed);
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A manner of naming filters: the filter of number `i`, and a topic that it matches.
struct Shape {
    name: &'static str,
    filter: fn(usize) -> String,
    topic: fn(usize) -> String,
}

const SHAPES: [Shape; 5] = [
    Shape {
        name: "device/{i}/#",
        filter: |i| format!("device/{i}/#"),
        topic: |i| format!("device/{i}/temperature"),
    },
    Shape {
        name: "device/{i}/+/status",
        filter: |i| format!("device/{i}/+/status"),
        topic: |i| format!("device/{i}/valve/status"),
    },
    Shape {
        name: "site/{i%1000}/dev{i}/+/v/#",
        filter: |i| format!("site/{}/dev{i}/+/v/#", i % 1000),
        topic: |i| format!("site/{}/dev{i}/valve/v/open", i % 1000),
    },
    Shape {
        name: "{uuid}/+/state",
        filter: |i| format!("{}/+/state", uuid(i)),
        topic: |i| format!("{}/door/state", uuid(i)),
    },
    Shape {
        name: "device/{i}/temperature (exact)",
        filter: |i| format!("device/{i}/temperature"),
        topic: |i| format!("device/{i}/temperature"),
    },
];

fn uuid(i: usize) -> String {
    let bits = (i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    format!("{bits:016x}-{i:08x}-4a7c-15ab")
}

fn subscriber(i: usize) -> Subscriber {
    Subscriber {
        session: SessionKey {
            shard: (i % 4) as u16,
            generation: 0,
            slot: (i / 4) as u32,
        },
        qos: QoS::AtLeastOnce,
        no_local: false,
        retain_as_published: false,
        subscription_id: 0,
    }
}

/// Numbers below `count` in an order that no cache foresees.
fn scattered(count: usize) -> impl Iterator<Item = usize> {
    (0..200_000_u64).map(move |i| (i.wrapping_mul(0xD134_2543_DE82_EF95) >> 20) as usize % count)
}

/// Nanoseconds an item.
fn timed<T>(items: &[T], mut work: impl FnMut(&T)) -> f64 {
    let start = Instant::now();
    for item in items {
        work(item);
    }
    start.elapsed().as_nanos() as f64 / items.len() as f64
}

fn index(shape: &Shape, count: usize) {
    let before = LIVE.load(Ordering::Relaxed);
    let mut index = Index::new(0x5EED);
    let mut slowest = 0;
    let start = Instant::now();
    for i in 0..count {
        let text = (shape.filter)(i);
        let at = Instant::now();
        index.subscribe(&check_topic_filter(&text).unwrap(), subscriber(i), None);
        slowest = slowest.max(at.elapsed().as_micros());
    }
    let subscribe = start.elapsed().as_nanos() as f64 / count as f64;
    let bytes = (LIVE.load(Ordering::Relaxed) - before) as f64 / count as f64;
    let topics: Vec<String> = scattered(count).map(shape.topic).collect();
    let hit = timed(&topics, |topic| {
        let route = index.route(topic, ShareStrategy::RoundRobin);
        assert_eq!(black_box(route).targets.len(), 1);
    });
    let misses: Vec<String> = topics.iter().map(|topic| format!("x{topic}")).collect();
    let miss = timed(&misses, |topic| {
        black_box(index.route(topic, ShareStrategy::RoundRobin));
    });
    let start = Instant::now();
    for i in 0..count {
        index.unsubscribe(
            &check_topic_filter(&(shape.filter)(i)).unwrap(),
            subscriber(i).session,
        );
    }
    let unsubscribe = start.elapsed().as_nanos() as f64 / count as f64;
    let left = LIVE.load(Ordering::Relaxed) - before;
    let left = left
        - topics
            .iter()
            .chain(&misses)
            .map(String::capacity)
            .sum::<usize>();
    let left = left - (topics.capacity() + misses.capacity()) * size_of::<String>();
    println!(
        "{:<32}{count:>9}{bytes:>10.1}{hit:>10.0}{miss:>10.0}{subscribe:>12.0}{unsubscribe:>12.0}{slowest:>12}{left:>10}",
        shape.name
    );
}

fn fan(count: usize) {
    let mut index = Index::new(0x5EED);
    for i in 0..count {
        index.subscribe(&check_topic_filter("fan/+").unwrap(), subscriber(i), None);
    }
    let rounds = vec![(); (2_000_000 / count).clamp(10, 10_000)];
    let ns = timed(&rounds, |()| {
        black_box(index.route("fan/out", ShareStrategy::RoundRobin));
    });
    println!(
        "{:<32}{count:>9}{:>20.2} ns a subscriber",
        "fan/+ with many subscribers",
        ns / count as f64
    );
}

fn group(count: usize) {
    let mut index = Index::new(0x5EED);
    for i in 0..count {
        let member = Arc::default();
        index.subscribe(
            &check_topic_filter("$share/g/fan/+").unwrap(),
            subscriber(i),
            Some(member),
        );
    }
    let route = index.route("fan/out", ShareStrategy::RoundRobin);
    for member in route.groups[0].members() {
        member.state.online.store(true, Ordering::Relaxed);
    }
    for strategy in [
        ShareStrategy::RoundRobin,
        ShareStrategy::Random,
        ShareStrategy::Sticky,
        ShareStrategy::LeastInflight,
        ShareStrategy::HashTopic,
    ] {
        let rounds: Vec<u64> = (0..1_000_000).collect();
        let ns = timed(&rounds, |&number| {
            black_box(route.groups[0].choose(strategy, number, number, number));
        });
        println!(
            "{:<32}{count:>9}{ns:>20.1} ns a choice",
            format!("{strategy:?}")
        );
    }
}

fn retained(count: usize) {
    let before = LIVE.load(Ordering::Relaxed);
    let mut retained = Retained::new(0x5EED);
    for i in 0..count {
        retained.set(&format!("device/{i}/temperature"), i as u64);
    }
    let bytes = (LIVE.load(Ordering::Relaxed) - before) as f64 / count as f64;
    let topics: Vec<String> = scattered(count)
        .map(|i| format!("device/{i}/temperature"))
        .collect();
    let exact = timed(&topics, |topic| {
        retained.find(topic, &mut |value| {
            black_box(value);
        });
    });
    let wildcard = |filter: &str| {
        let mut visited = 0;
        let ns = timed(&[filter], |filter| {
            retained.find(filter, &mut |value| {
                black_box(value);
                visited += 1;
            });
        });
        ns / f64::from(visited)
    };
    let (plus, multi) = (wildcard("device/+/temperature"), wildcard("device/#"));
    println!(
        "{:<32}{count:>9}{bytes:>10.1}{exact:>10.0}{plus:>10.0}{multi:>10.0}",
        "device/{i}/temperature"
    );
}

fn main() {
    println!(
        "index: bytes a subscription; ns a route that hits, misses; ns a subscribe, unsubscribe; slowest subscribe in us; bytes left"
    );
    for shape in &SHAPES {
        for count in [1_000, 100_000, 1_000_000] {
            index(shape, count);
        }
    }
    for count in [1, 10, 100, 10_000] {
        fan(count);
    }
    group(10);
    println!("retained: bytes a topic; ns a lookup; ns a message found by + and by #");
    for count in [1_000, 100_000, 1_000_000] {
        retained(count);
    }
}
