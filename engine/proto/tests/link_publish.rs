//! What a link sends: QoS flows, window, packet ids, resending, limits, aliases.

#![allow(clippy::unwrap_used, reason = "a test may stop")]

mod link_peer;

use link_peer::{Peer, Told, ack, ack_with, properties, publish};
use nanomq_proto::session::link::{Accepted, LinkError, LinkOptions};
use nanomq_proto::wire::packet::{Packet, Publish, QoS, Version};
use nanomq_proto::wire::tables::{Properties, Property, ReasonCode};

fn v5() -> LinkOptions {
    LinkOptions::new(Version::V5, "c")
}

fn resumable() -> LinkOptions {
    LinkOptions {
        clean_start: false,
        properties: properties(&[Property::SessionExpiryInterval(60)]),
        ..v5()
    }
}

fn message(id: u16, text: &str, dup: bool) -> String {
    format!("PUBLISH t {text:?} id={id} qos=1 dup={dup}")
}

#[test]
fn qos_0_is_byte_exact() {
    let mut peer = Peer::connected(LinkOptions::new(Version::V311, "c"));
    let accepted = peer
        .link
        .publish(0, &publish("a/b", "hi", QoS::AtMostOnce), 1)
        .unwrap();
    assert_eq!(accepted, Accepted::Sent);
    assert_eq!(peer.sent_bytes(), b"\x30\x07\x00\x03a/bhi");
}

#[test]
fn qos_1_ends_with_puback() {
    let mut peer = Peer::connected(v5());
    peer.link
        .publish(0, &publish("t", "x", QoS::AtLeastOnce), 7)
        .unwrap();
    assert_eq!(peer.sent(), [message(1, "x", false)]);
    let told = peer
        .answer(Packet::PubAck(ack_with(
            1,
            ReasonCode::NO_MATCHING_SUBSCRIBERS,
        )))
        .unwrap();
    assert_eq!(told, [Told::Published(7, 0x10)]);
    assert_eq!(peer.link.inflight(), 0);
}

#[test]
fn qos_2_takes_four_packets() {
    let mut peer = Peer::connected(v5());
    peer.link
        .publish(0, &publish("t", "x", QoS::ExactlyOnce), 7)
        .unwrap();
    peer.sent();
    assert_eq!(peer.answer(Packet::PubRec(ack(1))).unwrap(), []);
    assert_eq!(peer.sent(), ["PUBREL 1 0x0"]);
    assert_eq!(
        peer.answer(Packet::PubComp(ack(1))).unwrap(),
        [Told::Published(7, 0)]
    );
}

#[test]
fn a_pubrec_with_an_error_ends_the_exchange() {
    let mut peer = Peer::connected(v5());
    peer.link
        .publish(0, &publish("t", "x", QoS::ExactlyOnce), 7)
        .unwrap();
    peer.sent();
    let told = peer
        .answer(Packet::PubRec(ack_with(1, ReasonCode::NOT_AUTHORIZED)))
        .unwrap();
    assert_eq!(told, [Told::Published(7, 0x87)]);
    assert!(peer.sent().is_empty());
}

#[test]
fn a_pubrec_of_an_unknown_id_is_answered_with_its_reason() {
    let mut peer = Peer::connected(v5());
    peer.answer(Packet::PubRec(ack(9))).unwrap();
    assert_eq!(peer.sent(), ["PUBREL 9 0x92"]);
}

#[test]
fn the_window_is_the_smaller_of_the_servers_and_ours() {
    for (ours, theirs) in [(2, 9), (9, 2)] {
        let mut peer = Peer::idle(LinkOptions {
            send_window: ours,
            ..v5()
        });
        peer.connect(false, &[Property::ReceiveMaximum(theirs)]);
        for token in 0..4 {
            peer.link
                .publish(0, &publish("t", "x", QoS::AtLeastOnce), token)
                .unwrap();
        }
        assert_eq!(peer.sent().len(), 2);
        assert_eq!(peer.link.queued(), 2);
        peer.answer(Packet::PubAck(ack(1))).unwrap();
        assert_eq!(peer.sent(), [message(3, "x", false)]);
    }
}

#[test]
fn qos_0_passes_a_full_window() {
    let mut peer = Peer::connected(LinkOptions {
        send_window: 1,
        ..v5()
    });
    peer.link
        .publish(0, &publish("t", "1", QoS::AtLeastOnce), 0)
        .unwrap();
    peer.link
        .publish(0, &publish("t", "2", QoS::AtLeastOnce), 0)
        .unwrap();
    assert_eq!(
        peer.link
            .publish(0, &publish("t", "3", QoS::AtMostOnce), 0)
            .unwrap(),
        Accepted::Sent
    );
    assert_eq!(peer.sent().len(), 2);
}

#[test]
fn messages_wait_for_the_first_connection() {
    let mut peer = Peer::idle(v5());
    let accepted = peer
        .link
        .publish(0, &publish("t", "0", QoS::AtMostOnce), 5)
        .unwrap();
    assert_eq!(accepted, Accepted::Queued);
    peer.link
        .publish(0, &publish("t", "1", QoS::AtLeastOnce), 6)
        .unwrap();
    let (told, sent) = peer.connect(false, &[]);
    assert_eq!(told, [Told::Connected(false), Told::Published(5, 0)]);
    assert_eq!(
        sent,
        [
            "PUBLISH t \"0\" id=0 qos=0 dup=false".to_owned(),
            message(1, "1", false)
        ]
    );
}

#[test]
fn a_kept_session_gets_everything_again_in_order_with_dup() {
    let mut peer = Peer::connected(resumable());
    for (token, text) in ["1", "2", "3"].iter().enumerate() {
        peer.link
            .publish(0, &publish("t", text, QoS::AtLeastOnce), token as u64)
            .unwrap();
    }
    peer.link
        .publish(0, &publish("t", "4", QoS::ExactlyOnce), 3)
        .unwrap();
    peer.sent();
    peer.answer(Packet::PubRec(ack(4))).unwrap();
    peer.answer(Packet::PubAck(ack(2))).unwrap();
    peer.link.lost();
    let (_, sent) = peer.connect(true, &[]);
    assert_eq!(
        sent,
        [
            "PUBREL 4 0x0".to_owned(),
            message(1, "1", true),
            message(3, "3", true)
        ]
    );
    assert_eq!(
        peer.answer(Packet::PubComp(ack(4))).unwrap(),
        [Told::Published(3, 0)]
    );
    assert_eq!(
        peer.answer(Packet::PubAck(ack(1))).unwrap(),
        [Told::Published(0, 0)]
    );
}

#[test]
fn a_server_that_was_done_before_the_connection_broke_has_the_message() {
    let mut peer = Peer::connected(resumable());
    peer.link
        .publish(0, &publish("t", "1", QoS::ExactlyOnce), 7)
        .unwrap();
    peer.sent();
    peer.answer(Packet::PubRec(ack(1))).unwrap();
    peer.link.lost();
    assert_eq!(peer.connect(true, &[]).1, ["PUBREL 1 0x0"]);
    let unknown = ack_with(1, ReasonCode::PACKET_IDENTIFIER_NOT_FOUND);
    assert_eq!(
        peer.answer(Packet::PubComp(unknown)).unwrap(),
        [Told::Published(7, 0)]
    );
}

#[test]
fn a_lost_session_gets_open_messages_as_new_ones() {
    let mut peer = Peer::connected(resumable());
    peer.link
        .publish(0, &publish("t", "1", QoS::AtLeastOnce), 1)
        .unwrap();
    peer.link
        .publish(0, &publish("t", "2", QoS::ExactlyOnce), 2)
        .unwrap();
    peer.sent();
    peer.answer(Packet::PubRec(ack(2))).unwrap();
    peer.link.lost();
    let (told, sent) = peer.connect(false, &[]);
    assert_eq!(
        told,
        [Told::Connected(false), Told::Published(2, 0)],
        "the server had received it"
    );
    assert_eq!(sent, [message(1, "1", false)]);
}

#[test]
fn resending_keeps_to_a_smaller_window() {
    let mut peer = Peer::connected(resumable());
    for text in ["1", "2", "3"] {
        peer.link
            .publish(0, &publish("t", text, QoS::AtLeastOnce), 0)
            .unwrap();
    }
    peer.link.lost();
    let (_, sent) = peer.connect(true, &[Property::ReceiveMaximum(1)]);
    assert_eq!(sent, [message(1, "1", true)]);
    peer.link
        .publish(0, &publish("t", "4", QoS::AtLeastOnce), 0)
        .unwrap();
    peer.answer(Packet::PubAck(ack(1))).unwrap();
    assert_eq!(peer.sent(), [message(2, "2", true)]);
    peer.answer(Packet::PubAck(ack(2))).unwrap();
    peer.answer(Packet::PubAck(ack(3))).unwrap();
    assert_eq!(peer.sent(), [message(3, "3", true), message(4, "4", false)]);
}

#[test]
fn a_message_that_waited_has_its_id_when_sent_again() {
    let mut peer = Peer::idle(resumable());
    peer.link
        .publish(0, &publish("t", "1", QoS::AtLeastOnce), 0)
        .unwrap();
    assert_eq!(peer.connect(false, &[]).1, [message(1, "1", false)]);
    peer.link.lost();
    assert_eq!(peer.connect(true, &[]).1, [message(1, "1", true)]);
}

#[test]
fn packet_ids_in_use_are_skipped() {
    let mut peer = Peer::connected(LinkOptions {
        keeps_packets: false,
        ..v5()
    });
    peer.link
        .publish(0, &publish("t", "stuck", QoS::AtLeastOnce), 0)
        .unwrap();
    let mut last = 0;
    for round in 2..=65_537u32 {
        peer.link
            .publish(0, &publish("t", "", QoS::AtLeastOnce), 0)
            .unwrap();
        last = if round <= 65_535 {
            round as u16
        } else {
            (round - 65_534) as u16
        };
        assert_eq!(
            peer.answer(Packet::PubAck(ack(last))).unwrap().len(),
            1,
            "round {round}"
        );
        peer.link.output.clear();
    }
    assert_eq!(last, 3);
    assert_eq!(
        peer.answer(Packet::PubAck(ack(1))).unwrap(),
        [Told::Published(0, 0)]
    );
}

#[test]
fn the_servers_limits_are_kept_before_sending() {
    let mut peer = Peer::idle(v5());
    peer.link
        .publish(
            0,
            &publish("t", "longer than twenty bytes", QoS::AtMostOnce),
            3,
        )
        .unwrap();
    let (told, sent) = peer.connect(
        false,
        &[
            Property::MaximumPacketSize(20),
            Property::MaximumQoS(1),
            Property::RetainAvailable(0),
        ],
    );
    assert_eq!(told, [Told::Connected(false), Told::Published(3, 0x95)]);
    assert!(sent.is_empty());
    let large = peer.link.publish(
        0,
        &publish("t", "longer than twenty bytes", QoS::AtMostOnce),
        0,
    );
    assert_eq!(
        large,
        Err(LinkError::PacketTooLarge {
            bytes: 30,
            limit: 20
        })
    );
    let qos_2 = peer.link.publish(0, &publish("t", "", QoS::ExactlyOnce), 0);
    assert_eq!(qos_2, Err(LinkError::QoSNotSupported));
    let retained = Publish {
        retain: true,
        ..publish("t", "", QoS::AtMostOnce)
    };
    assert_eq!(
        peer.link.publish(0, &retained, 0),
        Err(LinkError::RetainNotSupported)
    );
    assert!(peer.sent().is_empty());
}

#[test]
fn the_queue_is_bounded_in_bytes() {
    let mut peer = Peer::idle(LinkOptions {
        max_queue_bytes: 20,
        ..v5()
    });
    peer.link
        .publish(0, &publish("t", "0123456789", QoS::AtMostOnce), 0)
        .unwrap();
    let second = peer
        .link
        .publish(0, &publish("t", "0123456789", QoS::AtMostOnce), 0);
    assert_eq!(second, Err(LinkError::QueueFull));
}

#[test]
fn bad_topics_and_properties_are_refused() {
    let mut peer = Peer::connected(v5());
    for topic in ["", "a/+", "#", "a\0b"] {
        let result = peer
            .link
            .publish(0, &publish(topic, "", QoS::AtMostOnce), 0);
        assert!(matches!(result, Err(LinkError::Invalid(_))), "{topic:?}");
    }
    for list in [
        [Property::SubscriptionIdentifier(1)],
        [Property::ReceiveMaximum(1)],
        [Property::TopicAlias(1)],
    ] {
        let bytes = properties(&list);
        let bad = Publish {
            properties: Properties::from_validated(&bytes),
            ..publish("t", "", QoS::AtMostOnce)
        };
        assert!(
            matches!(peer.link.publish(0, &bad, 0), Err(LinkError::Invalid(_))),
            "{list:?}"
        );
    }
}

#[test]
fn automatic_aliases_name_the_topic_once_a_connection() {
    let mut peer = Peer::idle(LinkOptions {
        automatic_aliases: 1,
        ..resumable()
    });
    let maximum = [Property::TopicAliasMaximum(5)];
    peer.connect(false, &maximum);
    for topic in ["t", "t", "u"] {
        peer.link
            .publish(0, &publish(topic, "x", QoS::AtLeastOnce), 0)
            .unwrap();
    }
    let sent = peer.sent();
    assert_eq!(
        sent[0],
        "PUBLISH t \"x\" id=1 qos=1 dup=false TopicAlias(1)"
    );
    assert_eq!(sent[1], "PUBLISH  \"x\" id=2 qos=1 dup=false TopicAlias(1)");
    assert_eq!(sent[2], "PUBLISH u \"x\" id=3 qos=1 dup=false");
    peer.link.lost();
    let (_, again) = peer.connect(true, &maximum);
    assert_eq!(
        again[0], "PUBLISH t \"x\" id=1 qos=1 dup=true TopicAlias(1)",
        "aliases end with the connection"
    );
    assert_eq!(again[1], "PUBLISH  \"x\" id=2 qos=1 dup=true TopicAlias(1)");
}

#[test]
fn a_wished_alias_is_used_and_can_be_given_anew() {
    let mut peer = Peer::idle(v5());
    peer.connect(false, &[Property::TopicAliasMaximum(3)]);
    let bytes = properties(&[Property::TopicAlias(3), Property::ContentType("x")]);
    let with = |topic| Publish {
        properties: Properties::from_validated(&bytes),
        ..publish(topic, "", QoS::AtMostOnce)
    };
    for topic in ["t", "t", "u"] {
        peer.link.publish(0, &with(topic), 0).unwrap();
    }
    let tail = "\"\" id=0 qos=0 dup=false TopicAlias(3) ContentType(\"x\")";
    assert_eq!(
        peer.sent(),
        ["t", "", "u"].map(|topic| format!("PUBLISH {topic} {tail}"))
    );
}
