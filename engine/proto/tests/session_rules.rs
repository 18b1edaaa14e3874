//! Sessions of one shard in corners that a client reaches by an unusual order of things.

mod session_world;

use nanomq_proto::SECOND;
use nanomq_proto::route::verdict::Drop;
use nanomq_proto::session::publishing::LocalPublish;
use nanomq_proto::session::registry::{Command, Level};
use nanomq_proto::session::settings::Settings;
use nanomq_proto::wire::packet::{Ack, Disconnect, Packet, QoS};
use nanomq_proto::wire::tables::{Properties, Property, ReasonCode};
use session_world::{Seen, World};
use std::sync::Arc;

fn properties(list: &[Property<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for property in list {
        property.encode(&mut out);
    }
    out
}

#[test]
fn an_alias_holds_though_the_message_that_set_it_is_refused() {
    let settings = Settings {
        payload_format_check: true,
        ..Settings::default()
    };
    let mut world = World::new(1, settings);
    let client = world.connect(0, "a", 0, true);
    world.subscribe(client, &["t"], QoS::AtMostOnce);
    world.receive(client);
    let text = properties(&[Property::PayloadFormatIndicator(1), Property::TopicAlias(1)]);
    world.publish_with(client, "t", b"\xFF", QoS::AtLeastOnce, &text);
    let refused = ReasonCode::PAYLOAD_FORMAT_INVALID.0;
    assert_eq!(world.receive(client), [Seen::Other(4, vec![refused])]);
    let alias = properties(&[Property::TopicAlias(1)]);
    world.publish_with(client, "", b"x", QoS::AtMostOnce, &alias);
    assert_eq!(world.payloads(client), [b"x"]);
}

#[test]
fn a_retained_message_has_no_higher_qos_than_was_granted() {
    let settings = Settings {
        max_qos: QoS::AtMostOnce,
        ..Settings::default()
    };
    let mut world = World::new(1, settings);
    let message = LocalPublish {
        topic: "t",
        payload: b"x",
        qos: QoS::AtLeastOnce,
        retain: true,
        properties: Properties::EMPTY,
    };
    world.shards[0].publish_local(0, &message);
    let client = world.connect(0, "a", 0, true);
    world.subscribe(client, &["t"], QoS::AtLeastOnce);
    let seen = world.receive(client);
    assert!(
        matches!(
            seen[1],
            Seen::Publish {
                qos: QoS::AtMostOnce,
                ..
            }
        ),
        "{seen:?}"
    );
}

#[test]
fn a_session_that_kept_nothing_cannot_be_kept_by_its_disconnect() {
    let mut world = World::new(
        1,
        Settings {
            max_session_expiry_s: 0,
            ..Settings::default()
        },
    );
    let client = world.connect(0, "a", 100, true);
    world.subscribe(client, &["t"], QoS::AtLeastOnce);
    world.receive(client);
    world.publish(client, "t", b"x", QoS::AtLeastOnce);
    // A reload that allows what CONNECT did not get.
    let settings = Arc::new(Settings::default());
    world.shards[0].submit(0, Command::Configure(settings, Level::Info));
    let expiry = properties(&[Property::SessionExpiryInterval(100)]);
    let disconnect = Disconnect {
        reason: ReasonCode::SUCCESS,
        properties: Properties::from_validated(&expiry),
    };
    world.send(client, &Packet::Disconnect(disconnect));
    assert_eq!(world.sum(|ledger| ledger.sessions.value()), 0);
    assert!(world.adds_up());
}

#[test]
fn a_shutdown_publishes_the_wills_that_wait() {
    let mut world = World::new(1, Settings::default());
    let watcher = world.connect(0, "w", 0, true);
    world.subscribe(watcher, &["will"], QoS::AtMostOnce);
    world.receive(watcher);
    let client = world.connect_with_will(0, "a", "will", 600);
    world.lose(client);
    assert_eq!(world.payloads(watcher), Vec::<Vec<u8>>::new());
    world.shards[0].submit(SECOND, Command::Shutdown);
    assert_eq!(world.payloads(watcher), [b"gone"]);
}

#[test]
fn one_message_left_open_does_not_hold_the_place_of_all_that_follow() {
    let mut world = World::new(1, Settings::default());
    let client = world.connect(0, "a", 0, true);
    world.subscribe(client, &["t"], QoS::AtLeastOnce);
    world.receive(client);
    for number in 0..70_000u32 {
        world.publish(client, "t", &number.to_be_bytes(), QoS::AtLeastOnce);
        let id = world.receive(client).iter().find_map(|seen| match seen {
            Seen::Publish { id, .. } => Some(*id),
            Seen::Other(..) => None,
        });
        let packet_id = id.unwrap_or_default();
        assert!(packet_id > u16::from(number > 0), "message {number}");
        if number > 0 {
            let ack = Ack {
                packet_id,
                reason: ReasonCode::SUCCESS,
                properties: Properties::EMPTY,
            };
            world.send(client, &Packet::PubAck(ack));
        }
    }
    assert_eq!(world.sum(|ledger| ledger.queued.value()), 1);
}

#[test]
fn a_client_that_asks_for_everything_again_and_again_costs_itself() {
    let mut world = World::new(1, Settings::default());
    for number in 0..10_000 {
        let message = LocalPublish {
            topic: &format!("a/{number}"),
            payload: b"x",
            qos: QoS::AtMostOnce,
            retain: true,
            properties: Properties::EMPTY,
        };
        world.shards[0].publish_local(0, &message);
    }
    let client = world.connect(0, "a", 0, true);
    world.subscribe(client, &["+/+/nothing"; 1000], QoS::AtMostOnce);
    world.subscribe(client, &["#"; 1000], QoS::AtMostOnce);
    assert_eq!(world.sum(|ledger| ledger.queued.value()), 0);
    // Others have their turns in between, and all it asked for comes in the end.
    let mut turns = 0;
    while world.sum(|ledger| ledger.delivered.value()) < 20_000 {
        world.now += SECOND / 1000;
        world.shards[0].expire(world.now);
        world.receive(client);
        assert!(world.sum(|ledger| ledger.queued.value()) <= 10_000);
        turns += 1;
    }
    assert!((100..10_000).contains(&turns), "{turns}");
    assert!(world.adds_up());
}

#[test]
fn retained_messages_that_wait_count_in_the_total() {
    let settings = Settings {
        max_total_queue_bytes: 1000,
        ..Settings::default()
    };
    let mut world = World::new(1, settings);
    for number in 0..100 {
        let message = LocalPublish {
            topic: &format!("a/{number}"),
            payload: b"x",
            qos: QoS::AtLeastOnce,
            retain: true,
            properties: Properties::EMPTY,
        };
        world.shards[0].publish_local(0, &message);
    }
    let one = properties(&[Property::ReceiveMaximum(1)]);
    let client = world.connect_with(0, "a", true, &one);
    world.subscribe(client, &["#"], QoS::AtLeastOnce);
    let dropped = world.dropped(Drop::TotalQueueFull);
    assert!((60..95).contains(&dropped), "{dropped}");
    world.lose(client);
    assert_eq!(world.shards[0].queue_total.bytes(), 0);
    assert!(world.adds_up());
}
