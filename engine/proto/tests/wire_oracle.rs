//! Our packets against another maker's codec: it must read them and write the same bytes.

mod wire_packet;

use std::sync::Arc;

use mqtt_protocol_core::mqtt::packet::{v3_1_1, v5_0};
use nanomq_proto::wire::codec::{Frame, frame};
use nanomq_proto::wire::packet::Version;
use proptest::prelude::*;
use wire_packet::packet_of;

/// Reads a packet and writes it again, both by the oracle.
macro_rules! through_oracle {
    ($version:ident, $first:expr, $body:expr $(, $auth:pat => $auth_type:ident)?) => {
        match $first >> 4 {
            1 => $version::Connect::parse($body).map(|(packet, _)| packet.to_continuous_buffer()),
            2 => $version::Connack::parse($body).map(|(packet, _)| packet.to_continuous_buffer()),
            3 => $version::Publish::parse($first & 0x0F, Arc::from($body))
                .map(|(packet, _)| packet.to_continuous_buffer()),
            4 => $version::Puback::parse($body).map(|(packet, _)| packet.to_continuous_buffer()),
            5 => $version::Pubrec::parse($body).map(|(packet, _)| packet.to_continuous_buffer()),
            6 => $version::Pubrel::parse($body).map(|(packet, _)| packet.to_continuous_buffer()),
            7 => $version::Pubcomp::parse($body).map(|(packet, _)| packet.to_continuous_buffer()),
            8 => $version::Subscribe::parse($body).map(|(packet, _)| packet.to_continuous_buffer()),
            9 => $version::Suback::parse($body).map(|(packet, _)| packet.to_continuous_buffer()),
            10 => $version::Unsubscribe::parse($body).map(|(packet, _)| packet.to_continuous_buffer()),
            11 => $version::Unsuback::parse($body).map(|(packet, _)| packet.to_continuous_buffer()),
            12 => $version::Pingreq::parse($body).map(|(packet, _)| packet.to_continuous_buffer()),
            13 => $version::Pingresp::parse($body).map(|(packet, _)| packet.to_continuous_buffer()),
            14 => $version::Disconnect::parse($body).map(|(packet, _)| packet.to_continuous_buffer()),
            $($auth => $version::$auth_type::parse($body).map(|(packet, _)| packet.to_continuous_buffer()),)?
            other => panic!("type {other} is not for this version"),
        }
    };
}

fn oracle(version: Version, bytes: &[u8]) -> Result<Vec<u8>, String> {
    let Ok(Frame::Complete {
        first,
        header_len,
        total,
    }) = frame(bytes, usize::MAX)
    else {
        return Err("not a whole packet".to_owned());
    };
    let body = &bytes[header_len..total];
    match version {
        Version::V5 => through_oracle!(v5_0, first, body, 15 => Auth),
        _ => through_oracle!(v3_1_1, first, body),
    }
    .map_err(|error| format!("{error:?}"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn test_oracle_reads_and_writes_our_5_0(draft in packet_of(Version::V5)) {
        let bytes = draft.bytes();
        // Section 2.4 lists 0x8C for DISCONNECT, section 3.14.2.1 does not; the oracle keeps to the latter.
        prop_assume!(!(bytes[0] == 0xE0 && draft.reason.0 == 0x8C));
        // 5.0 allows a password without username, section 3.1.2.9; the oracle does not.
        prop_assume!(draft.username.is_some() || draft.password.is_none());
        prop_assert_eq!(oracle(Version::V5, &bytes), Ok(bytes));
    }

    #[test]
    fn test_oracle_reads_and_writes_our_3_1_1(draft in packet_of(Version::V311)) {
        let bytes = draft.bytes();
        // The bridge bit is a convention of brokers that the oracle does not know.
        prop_assume!(!(bytes[0] == 0x10 && bytes.windows(5).any(|part| part == b"MQTT\x84")));
        prop_assert_eq!(oracle(Version::V311, &bytes), Ok(bytes));
    }
}
