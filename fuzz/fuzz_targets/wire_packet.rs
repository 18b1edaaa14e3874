//! Any bytes as a packet of every version: no panic, and what is accepted encodes to itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nanomq_proto::wire::codec::{
    Frame, RawPublish, connect_version, decode, encode, encoded_len, frame,
};
use nanomq_proto::wire::packet::{Packet, Version};

fuzz_target!(|input: &[u8]| {
    let Ok(Frame::Complete {
        first,
        header_len,
        total,
    }) = frame(input, 1 << 20)
    else {
        return;
    };
    let body = &input[header_len..total];
    let _ = connect_version(body);
    for version in [Version::V31, Version::V311, Version::V5] {
        check(version, first, body);
    }
});

fn check(version: Version, first: u8, body: &[u8]) {
    let decoded = decode(version, first, body);
    if first >> 4 == 3 {
        let raw = RawPublish::split(version, first, body);
        assert!(raw.is_ok() || decoded.is_err());
        if let (Ok(raw), Ok(Packet::Publish(publish))) = (raw, decoded) {
            assert_eq!(raw.topic_name(version), Ok(publish.topic));
            assert_eq!(raw.properties(), Ok(publish.properties));
            assert_eq!(
                (raw.packet_id, raw.payload),
                (publish.packet_id, publish.payload)
            );
        }
    }
    let Ok(packet) = decoded else { return };
    let version = match packet {
        Packet::Connect(connect) => connect.version,
        _ => version,
    };
    match packet {
        Packet::Subscribe(subscribe) => assert_ne!(subscribe.filters.len(), 0),
        Packet::Unsubscribe(unsubscribe) => assert_ne!(unsubscribe.filters.len(), 0),
        _ => {}
    }
    let mut again = Vec::new();
    encode(&packet, version, &mut again);
    assert_eq!(again.len(), encoded_len(&packet, version));
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
