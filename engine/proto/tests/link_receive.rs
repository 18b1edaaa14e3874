//! What a link receives: exactly once, receive maximum, manual acknowledgements, aliases, errors of the server.

#![allow(clippy::unwrap_used, reason = "a test may stop")]

mod link_peer;

use link_peer::{Peer, Told, ack, properties, publish};
use nanomq_proto::session::link::LinkOptions;
use nanomq_proto::wire::packet::{Disconnect, Packet, Publish, QoS, Version};
use nanomq_proto::wire::tables::{Properties, Property, ReasonCode};

fn with(list: &[Property<'_>]) -> LinkOptions {
    let mut list = list.to_vec();
    list.push(Property::SessionExpiryInterval(60));
    LinkOptions {
        properties: properties(&list),
        clean_start: false,
        ..LinkOptions::new(Version::V5, "c")
    }
}

fn incoming(id: u16, qos: QoS, dup: bool) -> Packet<'static> {
    Packet::Publish(Publish {
        packet_id: id,
        dup,
        ..publish("t", "x", qos)
    })
}

fn told(id: u16, qos: u8, dup: bool) -> Told {
    Told::Message {
        topic: "t".to_owned(),
        payload: b"x".to_vec(),
        qos,
        dup,
        id,
    }
}

#[test]
fn qos_1_is_acknowledged() {
    let mut peer = Peer::connected(with(&[]));
    assert_eq!(
        peer.answer(incoming(5, QoS::AtLeastOnce, false)).unwrap(),
        [told(5, 1, false)]
    );
    assert_eq!(peer.sent_bytes(), [0x40, 2, 0, 5]);
}

#[test]
fn qos_2_is_handed_on_once_also_across_connections() {
    let mut peer = Peer::connected(with(&[]));
    assert_eq!(
        peer.answer(incoming(5, QoS::ExactlyOnce, false)).unwrap(),
        [told(5, 2, false)]
    );
    assert_eq!(peer.sent(), ["PUBREC 5 0x0"]);
    assert_eq!(
        peer.answer(incoming(5, QoS::ExactlyOnce, true)).unwrap(),
        []
    );
    assert_eq!(peer.sent(), ["PUBREC 5 0x0"]);
    peer.link.lost();
    peer.connect(true, &[]);
    assert_eq!(
        peer.answer(incoming(5, QoS::ExactlyOnce, true)).unwrap(),
        []
    );
    assert_eq!(peer.sent(), ["PUBREC 5 0x0"]);
    peer.answer(Packet::PubRel(ack(5))).unwrap();
    assert_eq!(peer.sent(), ["PUBCOMP 5 0x0"]);
    peer.answer(Packet::PubRel(ack(5))).unwrap();
    assert_eq!(peer.sent(), ["PUBCOMP 5 0x92"]);
    assert_eq!(
        peer.answer(incoming(5, QoS::ExactlyOnce, false)).unwrap(),
        [told(5, 2, false)],
        "the id is new again"
    );
}

#[test]
fn a_server_without_the_session_uses_ids_anew() {
    let mut peer = Peer::connected(with(&[]));
    peer.answer(incoming(5, QoS::ExactlyOnce, false)).unwrap();
    peer.link.lost();
    peer.connect(false, &[]);
    assert_eq!(
        peer.answer(incoming(5, QoS::ExactlyOnce, false)).unwrap(),
        [told(5, 2, false)]
    );
}

#[test]
fn manual_acknowledgements_wait_for_the_caller() {
    let mut peer = Peer::connected(LinkOptions {
        manual_acks: true,
        ..with(&[])
    });
    peer.answer(incoming(1, QoS::AtLeastOnce, false)).unwrap();
    peer.answer(incoming(2, QoS::ExactlyOnce, false)).unwrap();
    assert!(peer.sent().is_empty());
    peer.link.acknowledge(0, 2, ReasonCode::SUCCESS);
    peer.link.acknowledge(0, 1, ReasonCode::SUCCESS);
    peer.link.acknowledge(0, 1, ReasonCode::SUCCESS);
    assert_eq!(peer.sent(), ["PUBREC 2 0x0", "PUBACK 1 0x0"]);
}

#[test]
fn an_acknowledgement_given_offline_answers_the_repetition() {
    let mut peer = Peer::connected(LinkOptions {
        manual_acks: true,
        ..with(&[])
    });
    peer.answer(incoming(2, QoS::ExactlyOnce, false)).unwrap();
    peer.link.lost();
    peer.link.acknowledge(0, 2, ReasonCode::SUCCESS);
    peer.connect(true, &[]);
    assert_eq!(
        peer.answer(incoming(2, QoS::ExactlyOnce, true)).unwrap(),
        []
    );
    assert_eq!(peer.sent(), ["PUBREC 2 0x0"]);
}

#[test]
fn more_than_the_receive_maximum_is_an_error() {
    let mut peer = Peer::connected(with(&[Property::ReceiveMaximum(2)]));
    peer.answer(incoming(1, QoS::ExactlyOnce, false)).unwrap();
    peer.answer(incoming(2, QoS::ExactlyOnce, false)).unwrap();
    peer.sent();
    let error = peer
        .answer(incoming(3, QoS::ExactlyOnce, false))
        .unwrap_err();
    assert_eq!(error.reason(), ReasonCode::RECEIVE_MAXIMUM_EXCEEDED);
    assert_eq!(peer.sent(), ["DISCONNECT 0x93"]);
    assert!(peer.link.is_closed());
}

#[test]
fn the_servers_aliases_are_resolved() {
    let mut peer = Peer::connected(with(&[Property::TopicAliasMaximum(2)]));
    let bytes = properties(&[Property::TopicAlias(2)]);
    let alias = |topic| {
        Packet::Publish(Publish {
            properties: Properties::from_validated(&bytes),
            ..publish(topic, "x", QoS::AtMostOnce)
        })
    };
    peer.answer(alias("t")).unwrap();
    assert_eq!(peer.answer(alias("")).unwrap(), [told(0, 0, false)]);
    peer.link.lost();
    peer.connect(false, &[]);
    assert_eq!(
        peer.answer(alias("")).unwrap_err().reason(),
        ReasonCode::PROTOCOL_ERROR
    );
}

#[test]
fn an_alias_above_our_maximum_is_an_error() {
    let mut peer = Peer::connected(with(&[Property::TopicAliasMaximum(2)]));
    let bytes = properties(&[Property::TopicAlias(3)]);
    let message = Publish {
        properties: Properties::from_validated(&bytes),
        ..publish("t", "x", QoS::AtMostOnce)
    };
    assert_eq!(
        peer.answer(Packet::Publish(message)).unwrap_err().reason(),
        ReasonCode::TOPIC_ALIAS_INVALID
    );
}

#[test]
fn a_packet_above_our_maximum_is_an_error() {
    let mut peer = Peer::connected(with(&[Property::MaximumPacketSize(20)]));
    let message = publish("t", "more than twenty bytes in all", QoS::AtMostOnce);
    assert_eq!(
        peer.answer(Packet::Publish(message)).unwrap_err().reason(),
        ReasonCode::PACKET_TOO_LARGE
    );
    assert_eq!(peer.sent(), ["DISCONNECT 0x95"]);
}

#[test]
fn packets_may_arrive_in_any_pieces() {
    let mut peer = Peer::connected(with(&[]));
    let bytes = b"\x30\x05\x00\x01t\x00x\x30\x05\x00\x01t\x00x";
    for cut in 0..bytes.len() {
        let mut count = 0;
        let used = peer
            .link
            .receive(0, &bytes[..cut], &mut |_| count += 1)
            .unwrap();
        assert_eq!(used, cut / 7 * 7);
        peer.link
            .receive(0, &bytes[used..], &mut |_| count += 1)
            .unwrap();
        assert_eq!(count, 2);
    }
}

#[test]
fn a_disconnect_of_the_server_ends_the_link() {
    let mut peer = Peer::connected(with(&[]));
    let disconnect = Disconnect {
        reason: ReasonCode::SESSION_TAKEN_OVER,
        properties: Properties::EMPTY,
    };
    assert_eq!(
        peer.answer(Packet::Disconnect(disconnect)).unwrap(),
        [Told::Disconnected(0x8E)]
    );
    assert!(peer.link.is_closed());
}

#[test]
fn a_packet_of_a_client_is_an_error() {
    let mut peer = Peer::connected(with(&[]));
    assert_eq!(
        peer.answer(Packet::PingReq).unwrap_err().reason(),
        ReasonCode::PROTOCOL_ERROR
    );
}

#[test]
fn messages_held_back_are_acknowledged_in_order_when_there_is_room() {
    let mut peer = Peer::connected(with(&[Property::ReceiveMaximum(2)]));
    peer.link.hold_back(0, true);
    peer.answer(incoming(1, QoS::AtLeastOnce, false)).unwrap();
    peer.answer(incoming(2, QoS::ExactlyOnce, false)).unwrap();
    assert_eq!(peer.sent(), [""; 0]);
    peer.link.hold_back(0, false);
    assert_eq!(peer.sent(), ["PUBACK 1 0x0", "PUBREC 2 0x0"]);
}

#[test]
fn no_more_messages_are_held_back_than_the_receive_maximum() {
    let mut peer = Peer::connected(with(&[Property::ReceiveMaximum(2)]));
    peer.link.hold_back(0, true);
    peer.answer(incoming(1, QoS::AtLeastOnce, false)).unwrap();
    peer.answer(incoming(2, QoS::AtLeastOnce, false)).unwrap();
    let error = peer
        .answer(incoming(3, QoS::AtLeastOnce, false))
        .unwrap_err();
    assert_eq!(error.reason(), ReasonCode::RECEIVE_MAXIMUM_EXCEEDED);
}
