//! What is encoded decodes to the same packet; what is not a packet never panics.
#![expect(clippy::unwrap_used, reason = "a test may fail this way")]

mod wire_packet;

use nanomq_proto::wire::codec::{Frame, RawPublish, decode, encode, encoded_len, frame};
use nanomq_proto::wire::packet::{Packet, Version};
use nanomq_proto::wire::tables::{Properties, Property, PropertyPlace};
use nanomq_proto::wire::topic;
use proptest::prelude::*;
use wire_packet::{Draft, packet_of};

fn any_packet() -> impl Strategy<Value = Draft> {
    prop::sample::select(vec![Version::V31, Version::V311, Version::V5]).prop_flat_map(packet_of)
}

/// Takes everything apart that a packet holds, as a careless caller would.
fn look_at(version: Version, bytes: &[u8]) {
    let Ok(Frame::Complete {
        first,
        header_len,
        total,
    }) = frame(bytes, 1 << 20)
    else {
        return;
    };
    let body = &bytes[header_len..total];
    if let Ok(raw) = RawPublish::split(version, first, body) {
        let _ = (
            raw.topic_name(version),
            raw.properties(),
            raw.qos(),
            raw.dup(),
            raw.retain(),
        );
        for (id, property) in Properties::from_validated(raw.properties).iter_raw() {
            assert_eq!(property.first(), Some(&id));
        }
    }
    let Ok(packet) = decode(version, first, body) else {
        return;
    };
    let version = match packet {
        Packet::Connect(connect) => connect.version,
        _ => version,
    };
    match packet {
        Packet::Subscribe(subscribe) => {
            assert_ne!(subscribe.filters.len(), 0);
            for (filter, _) in subscribe.filters.iter() {
                let _ = topic::check_topic_filter(filter);
            }
        }
        Packet::Unsubscribe(unsubscribe) => assert_ne!(unsubscribe.filters.len(), 0),
        _ => {}
    }
    // Whatever was accepted can be said again, and then means the same.
    let mut again = Vec::new();
    encode(&packet, version, &mut again);
    let Ok(Frame::Complete {
        first,
        header_len,
        total,
    }) = frame(&again, usize::MAX)
    else {
        panic!("{packet:?} encodes to no packet");
    };
    assert_eq!(
        decode(version, first, &again[header_len..total]),
        Ok(packet)
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn test_encoded_packets_decode_to_themselves(draft in any_packet()) {
        let bytes = draft.bytes();
        prop_assert_eq!(bytes.len(), encoded_len(&draft.packet(), draft.version));
        let framed = frame(&bytes, bytes.len());
        let Ok(Frame::Complete { first, header_len, total }) = framed else {
            return Err(TestCaseError::fail(format!("{framed:?}")));
        };
        prop_assert_eq!(total, bytes.len());
        prop_assert_eq!(decode(draft.version, first, &bytes[header_len..]), Ok(draft.packet()));
    }

    #[test]
    fn test_every_beginning_of_a_packet_is_incomplete(draft in any_packet(), cut in any::<prop::sample::Index>()) {
        let bytes = draft.bytes();
        let part = &bytes[..cut.index(bytes.len())];
        let is_incomplete = matches!(frame(part, usize::MAX), Ok(Frame::Incomplete { .. }));
        prop_assert!(is_incomplete);
    }

    #[test]
    fn test_a_shorter_body_is_never_the_same_packet(draft in any_packet(), cut in any::<prop::sample::Index>()) {
        let bytes = draft.bytes();
        let Ok(Frame::Complete { first, header_len, total }) = frame(&bytes, usize::MAX) else {
            return Err(TestCaseError::fail("incomplete"));
        };
        prop_assume!(total > header_len);
        let body = &bytes[header_len..header_len + cut.index(total - header_len)];
        prop_assert_ne!(decode(draft.version, first, body), Ok(draft.packet()));
    }

    #[test]
    fn test_raw_publish_agrees_with_the_whole_decoder(draft in any_packet()) {
        let Packet::Publish(publish) = draft.packet() else { return Ok(()) };
        let bytes = draft.bytes();
        let Ok(Frame::Complete { first, header_len, .. }) = frame(&bytes, usize::MAX) else {
            return Err(TestCaseError::fail("incomplete"));
        };
        let body = &bytes[header_len..];
        let raw = RawPublish::split(draft.version, first, body).unwrap();
        prop_assert_eq!(raw.topic_name(draft.version), Ok(publish.topic));
        prop_assert_eq!(raw.properties(), Ok(publish.properties));
        prop_assert_eq!((raw.payload, raw.packet_id), (publish.payload, publish.packet_id));
        prop_assert_eq!((raw.dup(), raw.qos(), raw.retain()), (publish.dup, publish.qos, publish.retain));
        match raw.packet_id_at {
            0 => prop_assert_eq!(raw.packet_id, 0),
            at => prop_assert_eq!(&body[at..at + 2], &raw.packet_id.to_be_bytes()),
        }
    }

    #[test]
    fn test_properties_are_copied_unchanged(draft in any_packet()) {
        let Packet::Publish(publish) = draft.packet() else { return Ok(()) };
        let properties = publish.properties;
        let raw: Vec<u8> = properties.iter_raw().flat_map(|(_, bytes)| bytes.to_vec()).collect();
        prop_assert_eq!(&raw, properties.as_bytes());
        let mut written = Vec::new();
        properties.iter().for_each(|property: Property<'_>| property.encode(&mut written));
        prop_assert_eq!(&written, properties.as_bytes());
    }

    #[test]
    fn test_random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for version in [Version::V31, Version::V311, Version::V5] {
            look_at(version, &bytes);
        }
    }

    #[test]
    fn test_random_bodies_never_panic(first: u8, body in prop::collection::vec(any::<u8>(), 0..100)) {
        for version in [Version::V31, Version::V311, Version::V5] {
            look_at(version, &[&[first, body.len() as u8], &body[..]].concat());
        }
    }

    #[test]
    fn test_changed_packets_never_panic(
        draft in any_packet(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = draft.bytes();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        for version in [Version::V31, Version::V311, Version::V5] {
            look_at(version, &bytes);
        }
    }

    #[test]
    fn test_random_properties_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let _ = Properties::parse(&bytes, PropertyPlace::ConnAck);
        let unchecked = Properties::from_validated(&bytes);
        let _ = (unchecked.iter().count(), unchecked.iter_raw().count());
    }
}
