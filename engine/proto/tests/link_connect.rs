//! Life of a link: handshake, keepalive, subscriptions, enhanced authentication.

#![allow(clippy::unwrap_used, reason = "a test may stop")]

mod link_peer;

use link_peer::{Peer, Told, ack, properties, publish};
use nanomq_proto::SECOND;
use nanomq_proto::session::link::{Link, LinkError, LinkOptions, OwnedWill, ScramClient};
use nanomq_proto::wire::codec::{Frame, decode, frame};
use nanomq_proto::wire::packet::*;
use nanomq_proto::wire::tables::{Properties, Property, ReasonCode};

fn v5() -> LinkOptions {
    LinkOptions::new(Version::V5, "c")
}

fn connect_of(peer: &mut Peer, check: impl FnOnce(Connect<'_>)) {
    let bytes = peer.sent_bytes();
    let Frame::Complete {
        first,
        header_len,
        total,
    } = frame(&bytes, usize::MAX).unwrap()
    else {
        panic!()
    };
    assert_eq!(total, bytes.len());
    let Packet::Connect(connect) = decode(peer.version, first, &bytes[header_len..]).unwrap()
    else {
        panic!()
    };
    check(connect);
}

#[test]
fn connect_carries_every_option_in_every_version() {
    for version in [Version::V31, Version::V311, Version::V5] {
        let will = OwnedWill {
            topic: "gone".to_owned(),
            payload: b"w".to_vec(),
            qos: QoS::AtLeastOnce,
            retain: true,
            properties: properties(&[Property::WillDelayInterval(3)]),
        };
        let mut peer = Peer::idle(LinkOptions {
            clean_start: false,
            keepalive_s: 7,
            username: Some("u".to_owned()),
            password: Some(b"p".to_vec()),
            will: Some(will),
            properties: properties(&[Property::ReceiveMaximum(9)]),
            ..LinkOptions::new(version, "c")
        });
        peer.link.start(0);
        let is_v5 = version == Version::V5;
        connect_of(&mut peer, |connect| {
            assert_eq!(connect.version, version);
            assert_eq!(
                (connect.client_id, connect.keepalive_s, connect.clean_start),
                ("c", 7, false)
            );
            assert_eq!(
                (connect.username, connect.password),
                (Some("u"), Some(&b"p"[..]))
            );
            assert_eq!(connect.properties.is_empty(), !is_v5);
            let will = connect.will.unwrap();
            assert_eq!(
                (will.topic, will.payload, will.qos, will.retain),
                ("gone", &b"w"[..], QoS::AtLeastOnce, true)
            );
            assert_eq!(will.properties.is_empty(), !is_v5);
        });
    }
}

#[test]
fn options_that_no_server_takes_are_refused() {
    let password = LinkOptions {
        password: Some(vec![1]),
        ..LinkOptions::new(Version::V311, "c")
    };
    let property = LinkOptions {
        properties: properties(&[Property::TopicAlias(1)]),
        ..v5()
    };
    for options in [
        password,
        property,
        LinkOptions::new(Version::V31, ""),
        LinkOptions::new(Version::V5, "a\0"),
    ] {
        assert!(matches!(Link::new(options), Err(LinkError::Invalid(_))));
    }
}

#[test]
fn a_refusal_tells_its_reason_in_the_form_of_5() {
    for version in [Version::V311, Version::V5] {
        let mut peer = Peer::idle(LinkOptions::new(version, "c"));
        peer.link.start(0);
        let connack = ConnAck {
            session_present: false,
            reason: ReasonCode::NOT_AUTHORIZED,
            properties: Properties::EMPTY,
        };
        assert_eq!(
            peer.answer(Packet::ConnAck(connack)).unwrap(),
            [Told::Refused(0x87)]
        );
        assert!(peer.link.is_closed());
    }
}

#[test]
fn only_connack_may_come_first() {
    let mut peer = Peer::idle(v5());
    peer.link.start(0);
    let error = peer
        .answer(Packet::Publish(publish("t", "", QoS::AtMostOnce)))
        .unwrap_err();
    assert_eq!(error.reason(), ReasonCode::PROTOCOL_ERROR);
}

#[test]
fn a_session_after_a_clean_start_is_an_error() {
    let mut peer = Peer::idle(v5());
    peer.link.start(0);
    let connack = ConnAck {
        session_present: true,
        reason: ReasonCode::SUCCESS,
        properties: Properties::EMPTY,
    };
    assert!(matches!(
        peer.answer(Packet::ConnAck(connack)),
        Err(LinkError::Protocol(_))
    ));
}

#[test]
fn a_clean_start_with_an_expiry_resumes_at_the_next_connection() {
    let mut peer = Peer::idle(LinkOptions {
        properties: properties(&[Property::SessionExpiryInterval(9)]),
        ..v5()
    });
    peer.link.start(0);
    connect_of(&mut peer, |connect| assert!(connect.clean_start));
    peer.connect(false, &[]);
    peer.link.lost();
    peer.link.start(0);
    connect_of(&mut peer, |connect| assert!(!connect.clean_start));
}

#[test]
fn an_assigned_client_id_is_kept() {
    let mut peer = Peer::idle(LinkOptions::new(Version::V5, ""));
    peer.connect(false, &[Property::AssignedClientIdentifier("auto-1")]);
    assert_eq!(peer.link.client_id(), "auto-1");
    peer.link.lost();
    peer.link.start(0);
    connect_of(&mut peer, |connect| assert_eq!(connect.client_id, "auto-1"));
}

#[test]
fn a_silent_server_is_given_up() {
    let mut peer = Peer::idle(v5());
    peer.link.start(5);
    assert_eq!(peer.link.deadline(), Some(5 + 10 * SECOND));
    assert_eq!(peer.link.expire(10 * SECOND), Ok(()));
    assert_eq!(
        peer.link.expire(5 + 10 * SECOND),
        Err(LinkError::ConnectTimeout)
    );
    assert!(peer.link.is_closed());
}

#[test]
fn pings_are_sent_within_the_servers_keepalive() {
    let mut peer = Peer::idle(v5());
    peer.connect(false, &[Property::ServerKeepAlive(8)]);
    let due = peer.link.deadline().unwrap();
    assert!((6 * SECOND..=8 * SECOND).contains(&due));
    peer.link.expire(due - 1).unwrap();
    assert!(peer.sent().is_empty());
    peer.link.expire(due).unwrap();
    assert_eq!(peer.sent(), ["PINGREQ"]);
    peer.feed(due + 1, &[0xD0, 0]).unwrap();
    assert_eq!(
        peer.link.deadline(),
        Some(due + due),
        "counted from the last packet that was sent"
    );
}

#[test]
fn an_unanswered_ping_ends_the_connection() {
    let mut peer = Peer::connected(v5());
    let due = peer.link.deadline().unwrap();
    peer.link.expire(due).unwrap();
    peer.feed(due + SECOND, b"\x30\x04\x00\x01t\x00").unwrap();
    let end = peer.link.deadline().unwrap();
    assert_eq!(end, due + 11 * SECOND, "bytes of any packet prove life");
    assert_eq!(peer.link.expire(end), Err(LinkError::PingTimeout));
}

#[test]
fn a_caller_that_does_not_read_misses_no_ping() {
    let mut peer = Peer::connected(v5());
    let due = peer.link.deadline().unwrap();
    peer.link.expire(due).unwrap();
    peer.link.excuse(due + SECOND);
    let next = peer.link.deadline().unwrap();
    assert_eq!(next, due + due);
    peer.link.expire(next).unwrap();
    assert_eq!(peer.sent(), ["PINGREQ", "PINGREQ"]);
}

#[test]
fn no_keepalive_means_no_deadline() {
    let peer = Peer::connected(LinkOptions {
        keepalive_s: 0,
        ..v5()
    });
    assert_eq!(peer.link.deadline(), None);
}

#[test]
fn subscriptions_are_answered_by_token() {
    let mut peer = Peer::connected(v5());
    let options = SubscribeOptions::with_qos(QoS::AtLeastOnce);
    peer.link
        .subscribe(
            0,
            &[("a/#", options), ("b", options)],
            Properties::EMPTY,
            11,
        )
        .unwrap();
    assert_eq!(peer.sent(), ["SUBSCRIBE 1 [\"a/#\", \"b\"]"]);
    let suback = SubAck {
        packet_id: 1,
        properties: Properties::EMPTY,
        reasons: &[1, 0x87],
    };
    assert_eq!(
        peer.answer(Packet::SubAck(suback)).unwrap(),
        [Told::Subscribed(11, vec![1, 0x87])]
    );
    peer.link
        .unsubscribe(0, &["b"], Properties::EMPTY, 12)
        .unwrap();
    assert_eq!(peer.sent(), ["UNSUBSCRIBE 2 [\"b\"]"]);
    let unsuback = SubAck {
        packet_id: 2,
        properties: Properties::EMPTY,
        reasons: &[0x11],
    };
    assert_eq!(
        peer.answer(Packet::UnsubAck(unsuback)).unwrap(),
        [Told::Unsubscribed(12, vec![0x11])]
    );
}

#[test]
fn an_unanswered_subscription_is_asked_for_again() {
    let mut peer = Peer::idle(v5());
    peer.link
        .subscribe(
            0,
            &[("a", SubscribeOptions::with_qos(QoS::AtMostOnce))],
            Properties::EMPTY,
            1,
        )
        .unwrap();
    assert_eq!(peer.connect(false, &[]).1, ["SUBSCRIBE 1 [\"a\"]"]);
    peer.link.lost();
    assert_eq!(peer.connect(false, &[]).1, ["SUBSCRIBE 1 [\"a\"]"]);
    assert_eq!(peer.link.inflight(), 0);
}

#[test]
fn subscriptions_are_asked_for_again_when_the_session_is_lost() {
    let mut peer = Peer::connected(LinkOptions {
        subscribes_again: true,
        ..v5()
    });
    let options = SubscribeOptions::with_qos(QoS::AtLeastOnce);
    let id = properties(&[Property::SubscriptionIdentifier(3)]);
    peer.link
        .subscribe(0, &[("a", options), ("b", options)], Properties::EMPTY, 1)
        .unwrap();
    peer.link
        .subscribe(0, &[("c", options)], Properties::from_validated(&id), 2)
        .unwrap();
    peer.link
        .unsubscribe(0, &["a"], Properties::EMPTY, 3)
        .unwrap();
    peer.sent();
    for packet_id in 1..=2 {
        peer.answer(Packet::SubAck(SubAck {
            packet_id,
            properties: Properties::EMPTY,
            reasons: &[1],
        }))
        .unwrap();
    }
    peer.answer(Packet::UnsubAck(SubAck {
        packet_id: 3,
        properties: Properties::EMPTY,
        reasons: &[0],
    }))
    .unwrap();
    peer.link.lost();
    peer.link
        .publish(0, &publish("b", "x", QoS::AtMostOnce), 4)
        .unwrap();
    let sent = peer.connect(false, &[]).1;
    assert_eq!(sent[..2], ["SUBSCRIBE 4 [\"b\"]", "SUBSCRIBE 5 [\"c\"]"]);
    assert!(
        sent[2].starts_with("PUBLISH b"),
        "nothing of ours is missed"
    );
    let suback = SubAck {
        packet_id: 4,
        properties: Properties::EMPTY,
        reasons: &[1],
    };
    assert_eq!(peer.answer(Packet::SubAck(suback)).unwrap(), []);
}

#[test]
fn bad_filters_are_refused() {
    let mut peer = Peer::connected(v5());
    let options = SubscribeOptions::with_qos(QoS::AtMostOnce);
    for filter in ["", "a#", "#/a", "a+/b", "$share//a", "$share/g"] {
        let result = peer
            .link
            .subscribe(0, &[(filter, options)], Properties::EMPTY, 1);
        assert!(matches!(result, Err(LinkError::Invalid(_))), "{filter:?}");
    }
    assert!(matches!(
        peer.link.subscribe(0, &[], Properties::EMPTY, 1),
        Err(LinkError::Invalid(_))
    ));
    assert!(peer.sent().is_empty());
}

#[test]
fn a_goodbye_is_byte_exact() {
    let mut peer = Peer::connected(v5());
    peer.link.disconnect(ReasonCode::SUCCESS, &[]).unwrap();
    assert_eq!(peer.sent_bytes(), [0xE0, 0]);
    assert!(peer.link.is_closed());
}

#[test]
fn a_goodbye_may_not_prolong_a_session_that_ends() {
    let mut peer = Peer::connected(v5());
    let longer = properties(&[Property::SessionExpiryInterval(5)]);
    assert!(matches!(
        peer.link.disconnect(ReasonCode::SUCCESS, &longer),
        Err(LinkError::Invalid(_))
    ));
    assert!(peer.link.is_connected());
}

#[test]
fn stray_acknowledgements_are_ignored() {
    let mut peer = Peer::connected(v5());
    assert_eq!(peer.answer(Packet::PubAck(ack(3))).unwrap(), []);
    assert_eq!(peer.answer(Packet::PubComp(ack(3))).unwrap(), []);
    assert!(peer.sent().is_empty());
}

/// The server's side of SCRAM with the product's own credentials.
fn scram(user: &str, password: &str, honest: bool) -> Result<Vec<Told>, LinkError> {
    use nanomq_proto::session::{credential::Credentials, scram};
    let users = Credentials::new([("ann", "secret")], || [3; 16]);
    let mut peer = Peer::idle(v5());
    peer.link
        .authenticate_with(ScramClient::new(user, password.as_bytes(), 77));
    peer.link.start(0);
    let mut exchange = None;
    connect_of(&mut peer, |connect| {
        let data = connect
            .properties
            .iter()
            .find_map(|property| match property {
                Property::AuthenticationData(data) => Some(data.to_vec()),
                _ => None,
            });
        exchange = scram::begin(&users, &data.unwrap(), 5, 6);
    });
    let (exchange, answer) = exchange.unwrap();
    let list = [
        Property::AuthenticationMethod(scram::METHOD),
        Property::AuthenticationData(answer.as_bytes()),
    ];
    let bytes = properties(&list);
    let challenge = Auth {
        reason: ReasonCode::CONTINUE_AUTHENTICATION,
        properties: Properties::from_validated(&bytes),
    };
    assert_eq!(peer.answer(Packet::Auth(challenge))?, []);
    let bytes = peer.sent_bytes();
    let Frame::Complete {
        first, header_len, ..
    } = frame(&bytes, usize::MAX).unwrap()
    else {
        panic!()
    };
    let Packet::Auth(auth) = decode(Version::V5, first, &bytes[header_len..]).unwrap() else {
        panic!()
    };
    let Some(Property::AuthenticationData(last)) = auth.properties.iter().nth(1) else {
        panic!()
    };
    let Some((name, mut proof)) = exchange.finish(last) else {
        let connack = ConnAck {
            session_present: false,
            reason: ReasonCode::NOT_AUTHORIZED,
            properties: Properties::EMPTY,
        };
        return peer.answer(Packet::ConnAck(connack));
    };
    assert_eq!(name, user);
    if !honest {
        proof = "v=AAAA".to_owned();
    }
    let list = [
        Property::AuthenticationMethod(scram::METHOD),
        Property::AuthenticationData(proof.as_bytes()),
    ];
    let bytes = properties(&list);
    peer.answer(Packet::ConnAck(ConnAck {
        session_present: false,
        reason: ReasonCode::SUCCESS,
        properties: Properties::from_validated(&bytes),
    }))
}

#[test]
fn scram_proves_both_sides() {
    assert_eq!(
        scram("ann", "secret", true),
        Ok(vec![Told::Connected(false)])
    );
    assert_eq!(scram("ann", "wrong", true), Ok(vec![Told::Refused(0x87)]));
    assert_eq!(
        scram("ann", "secret", false),
        Err(LinkError::ServerNotAuthentic)
    );
}
