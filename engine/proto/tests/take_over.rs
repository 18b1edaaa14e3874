//! A client that comes back at once: what it said on its old connection counts, in whichever order the
//! sockets are read.
#![expect(clippy::unwrap_used, reason = "a test may fail this way")]

use nanomq_proto::route::index::ShareStrategy;
use nanomq_proto::route::router::{RetainedLimits, Router};
use nanomq_proto::session::connection::Origin;
use nanomq_proto::session::registry::{Action, ConnectionKey, Registry};
use nanomq_proto::session::settings::Settings;
use std::sync::Arc;

/// 3.1.1, clean session, as `s`.
const CONNECT: &[u8] = b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01s";
/// 3.1.1, kept session, as `c`, with a will: `t`, `gone`.
const CONNECT_WITH_WILL: &[u8] = b"\x10\x16\0\x04MQTT\x04\x04\0\0\0\x01c\0\x01t\0\x04gone";
const SUBSCRIBE: &[u8] = b"\x82\x06\0\x01\0\x01t\0";
const PUBLISH: &[u8] = b"\x30\x08\0\x01talive";
const WILL: &[u8] = b"\x30\x07\0\x01tgone";
const DISCONNECT: &[u8] = b"\xe0\0";

struct World {
    registry: Registry,
    observer: ConnectionKey,
    old: ConnectionKey,
    new: ConnectionKey,
}

/// The client is connected, and its second CONNECT was handed in and waits.
fn waiting() -> World {
    let limits = RetainedLimits::default();
    let router = Arc::new(Router::new(1, ShareStrategy::RoundRobin, limits));
    let mut registry = Registry::new(0, 1, router, Arc::new(Settings::default()), 1);
    let open = |registry: &mut Registry| registry.open(0, Arc::new(Origin::default()));
    let (observer, old) = (open(&mut registry), open(&mut registry));
    let new = open(&mut registry);
    for (key, packet) in [
        (observer, CONNECT),
        (observer, SUBSCRIBE),
        (old, CONNECT_WITH_WILL),
    ] {
        assert_eq!(registry.receive(0, key, packet).consumed, packet.len());
    }
    sent(&mut registry, observer);
    while registry.next_action().is_some() {}
    let received = registry.receive(0, new, CONNECT_WITH_WILL);
    assert_eq!((received.consumed, received.goes_on), (0, false));
    assert!(matches!(registry.next_action(), Some(Action::Yield(key)) if key == new));
    World {
        registry,
        observer,
        old,
        new,
    }
}

/// What a connection would be sent.
fn sent(registry: &mut Registry, key: ConnectionKey) -> Vec<u8> {
    let output = registry.output(key.slot).unwrap();
    let mut slices = [std::io::IoSlice::new(&[]); 8];
    let count = output.chunks(&mut slices);
    let bytes = slices[..count].iter().flat_map(|slice| slice.to_vec());
    let bytes = bytes.collect();
    output.clear();
    bytes
}

#[test]
fn test_disconnect_on_the_old_connection_keeps_the_will_back() {
    let mut world = waiting();
    world.registry.receive(0, world.old, PUBLISH);
    world.registry.receive(0, world.old, DISCONNECT);
    let received = world.registry.receive(0, world.new, CONNECT_WITH_WILL);
    assert_eq!(received.consumed, CONNECT_WITH_WILL.len());
    assert_eq!(sent(&mut world.registry, world.observer), PUBLISH);
    // The session is there: it was not taken over, but left and found again.
    assert_eq!(sent(&mut world.registry, world.new), b"\x20\x02\x01\0");
}

#[test]
fn test_connection_that_stays_is_taken_over() {
    let mut world = waiting();
    let received = world.registry.receive(0, world.new, CONNECT_WITH_WILL);
    assert_eq!(received.consumed, CONNECT_WITH_WILL.len());
    assert_eq!(sent(&mut world.registry, world.observer), WILL);
    assert_eq!(sent(&mut world.registry, world.new), b"\x20\x02\x01\0");
    let closed = std::iter::from_fn(|| world.registry.next_action())
        .any(|action| matches!(action, Action::Close(key) if key == world.old));
    assert!(closed);
}
