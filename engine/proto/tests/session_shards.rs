//! Sessions on several shards: what one shard routed and another cannot deliver any more.

mod session_world;

use nanomq_proto::route::verdict::Drop;
use nanomq_proto::session::settings::Settings;
use nanomq_proto::wire::codec::push_unsubscribe_filter;
use nanomq_proto::wire::packet::{Disconnect, Packet, QoS, Unsubscribe, UnsubscribeFilters};
use nanomq_proto::wire::tables::{Properties, ReasonCode};
use session_world::World;

const GOODBYE: Packet<'static> = Packet::Disconnect(Disconnect {
    reason: ReasonCode::SUCCESS,
    properties: Properties::EMPTY,
});

#[test]
fn a_share_group_loses_nothing_to_a_member_that_left_meanwhile() {
    let mut world = World::new(2, Settings::default());
    let publisher = world.connect(0, "p", 0, true);
    let members = [
        world.connect(1, "a", 0, true),
        world.connect(1, "b", 0, true),
    ];
    for member in members {
        world.subscribe(member, &["$share/g/t"], QoS::AtLeastOnce);
        world.receive(member);
    }
    for number in 0..4 {
        world.publish(publisher, "t", &[number], QoS::AtLeastOnce);
    }
    world.send(members[0], &GOODBYE);
    world.exchange();
    let mut got = world.payloads(members[1]);
    got.sort_unstable();
    assert_eq!(got, [[0], [1], [2], [3]]);
    assert!(world.adds_up());
}

#[test]
fn a_message_for_a_session_that_ended_on_its_way_is_a_counted_drop() {
    let mut world = World::new(2, Settings::default());
    let publisher = world.connect(0, "p", 0, true);
    let subscriber = world.connect(1, "s", 0, true);
    world.subscribe(subscriber, &["t"], QoS::AtLeastOnce);
    world.publish(publisher, "t", b"x", QoS::AtLeastOnce);
    world.send(subscriber, &GOODBYE);
    world.exchange();
    assert_eq!(world.dropped(Drop::SessionEnded), 1);
    assert!(world.adds_up());
}

#[test]
fn what_a_share_group_left_open_goes_to_no_group_with_its_old_number() {
    let mut world = World::new(1, Settings::default());
    let publisher = world.connect(0, "p", 0, true);
    let old = world.connect(0, "o", 0, true);
    world.subscribe(old, &["$share/g/secret"], QoS::AtLeastOnce);
    world.publish(publisher, "secret", b"x", QoS::AtLeastOnce);
    let mut filters = Vec::new();
    push_unsubscribe_filter(&mut filters, "$share/g/secret");
    let unsubscribe = Unsubscribe {
        packet_id: 2,
        properties: Properties::EMPTY,
        filters: UnsubscribeFilters::from_validated(&filters),
    };
    world.send(old, &Packet::Unsubscribe(unsubscribe));
    // The freed number is given to the next group.
    let other = world.connect(0, "n", 0, true);
    world.subscribe(other, &["$share/h/public"], QoS::AtLeastOnce);
    world.send(old, &GOODBYE);
    assert_eq!(world.payloads(other), Vec::<Vec<u8>>::new());
    assert_eq!(world.dropped(Drop::SessionEnded), 1);
    assert!(world.adds_up());
}

#[test]
fn a_run_for_a_session_that_ended_on_its_way_is_counted() {
    let mut world = World::new(2, Settings::default());
    let publisher = world.connect(0, "p", 0, true);
    let subscriber = world.connect(1, "s", 0, true);
    world.subscribe(subscriber, &["t"], QoS::AtMostOnce);
    for _ in 0..3 {
        world.publish(publisher, "t", b"x", QoS::AtMostOnce);
    }
    world.send(subscriber, &GOODBYE);
    world.exchange();
    assert_eq!(world.dropped(Drop::SessionEnded), 3);
    assert!(world.adds_up());
}
