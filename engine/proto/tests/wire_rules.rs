//! Every rule about the format of packets: bytes that must be refused, and why; bytes that must not.
#![expect(clippy::unwrap_used, reason = "a test may fail this way")]

use nanomq_proto::wire::codec::{DecodeError, Frame, connect_version, decode, frame};
use nanomq_proto::wire::packet::Version::{self, V5, V31, V311};
use nanomq_proto::wire::packet::{Packet, QoS};
use nanomq_proto::wire::tables::{
    PROPERTIES, PropertyInfo, PropertyPlace, REASON_CODES, ReasonCode,
};

const MALFORMED: ReasonCode = ReasonCode::MALFORMED_PACKET;
const PROTOCOL: ReasonCode = ReasonCode::PROTOCOL_ERROR;
const VERSION: ReasonCode = ReasonCode::UNSUPPORTED_PROTOCOL_VERSION;

/// Puts the length between first byte and body, then takes the way of every received packet.
fn receive(version: Version, first: u8, body: &[u8]) -> Result<(), DecodeError> {
    let mut bytes = vec![first];
    nanomq_proto::wire::codec::put_remaining_length(&mut bytes, body.len());
    bytes.extend_from_slice(body);
    match frame(&bytes, usize::MAX)? {
        Frame::Complete {
            first,
            header_len,
            total,
        } => {
            assert_eq!(total, bytes.len());
            decode(version, first, &bytes[header_len..total]).map(|_| ())
        }
        Frame::Incomplete { .. } => panic!("a whole packet is incomplete"),
    }
}

macro_rules! refused {
    ($($name:ident: $version:expr, $first:literal, $body:literal => $reason:expr;)*) => {
        $(#[test] fn $name() {
            let refusal = receive($version, $first, $body).map_err(|error| error.reason);
            assert_eq!(refusal, Err($reason));
        })*
    };
}

macro_rules! accepted {
    ($($name:ident: $version:expr, $first:literal, $body:literal;)*) => {
        $(#[test] fn $name() {
            assert_eq!(receive($version, $first, $body), Ok(()));
        })*
    };
}

refused! {
    // Fixed header.
    test_type_0_is_reserved: V5, 0x00, b"" => MALFORMED;
    test_type_15_is_reserved_in_3_1_1: V311, 0xF0, b"" => MALFORMED;
    test_connect_flags_must_be_0: V311, 0x12, b"\0\x04MQTT\x04\x02\0\x0a\0\x01p" => MALFORMED;
    test_connack_flags_must_be_0: V5, 0x21, b"\0\0\0" => MALFORMED;
    test_puback_flags_must_be_0: V311, 0x42, b"\0\x01" => MALFORMED;
    test_pubrel_flags_must_be_2: V311, 0x60, b"\0\x01" => MALFORMED;
    test_pubrel_dup_is_refused_after_3_1: V311, 0x6A, b"\0\x01" => MALFORMED;
    test_subscribe_flags_must_be_2: V5, 0x80, b"\0\x01\0\0\x01p\0" => MALFORMED;
    test_subscribe_dup_is_refused_after_3_1: V5, 0x8A, b"\0\x01\0\0\x01p\0" => MALFORMED;
    test_unsubscribe_flags_must_be_2: V5, 0xA0, b"\0\x01\0\0\x01p" => MALFORMED;
    test_unsubscribe_dup_is_refused_after_3_1: V311, 0xAA, b"\0\x01\0\x01p" => MALFORMED;
    test_pingreq_flags_must_be_0: V311, 0xC1, b"" => MALFORMED;
    test_disconnect_flags_must_be_0: V5, 0xE1, b"" => MALFORMED;
    test_auth_flags_must_be_0: V5, 0xF2, b"" => MALFORMED;

    // CONNECT.
    test_unknown_protocol_name: V5, 0x10, b"\0\x04MQTU\x05\x02\0\x0a\0\0\x01p" => VERSION;
    test_protocol_name_is_case_sensitive: V5, 0x10, b"\0\x04mqtt\x05\x02\0\x0a\0\0\x01p" => VERSION;
    test_unknown_protocol_level: V5, 0x10, b"\0\x04MQTT\x06\x02\0\x0a\0\0\x01p" => VERSION;
    test_level_4_needs_the_new_name: V5, 0x10, b"\0\x06MQIsdp\x04\x02\0\x0a\0\x01p" => VERSION;
    test_version_5_has_no_bridge_bit: V5, 0x10, b"\0\x04MQTT\x85\x02\0\x0a\0\0\x01p" => VERSION;
    test_connect_reserved_flag: V5, 0x10, b"\0\x04MQTT\x04\x03\0\x0a\0\x01p" => MALFORMED;
    test_will_qos_without_will: V5, 0x10, b"\0\x04MQTT\x05\x0a\0\x0a\0\0\x01p" => MALFORMED;
    test_will_retain_without_will: V5, 0x10, b"\0\x04MQTT\x05\x22\0\x0a\0\0\x01p" => MALFORMED;
    test_will_qos_3: V5, 0x10, b"\0\x04MQTT\x04\x1e\0\x0a\0\x01p\0\x01t\0\0" => MALFORMED;
    test_will_topic_with_wildcard: V5, 0x10, b"\0\x04MQTT\x04\x06\0\x0a\0\x01p\0\x01#\0\0" => MALFORMED;
    test_will_topic_empty: V5, 0x10, b"\0\x04MQTT\x04\x06\0\x0a\0\x01p\0\0\0\0" => MALFORMED;
    test_will_payload_missing: V5, 0x10, b"\0\x04MQTT\x04\x06\0\x0a\0\x01p\0\x01t" => MALFORMED;
    test_password_without_username_in_3_1: V5, 0x10, b"\0\x06MQIsdp\x03\x42\0\x0a\0\x01p\0\x01w" => MALFORMED;
    test_password_without_username_in_3_1_1: V5, 0x10, b"\0\x04MQTT\x04\x42\0\x0a\0\x01p\0\x01w" => MALFORMED;
    test_username_missing: V5, 0x10, b"\0\x04MQTT\x04\x82\0\x0a\0\x01p" => MALFORMED;
    test_connect_without_client_id: V5, 0x10, b"\0\x04MQTT\x04\x02\0\x0a" => MALFORMED;
    test_connect_without_properties: V5, 0x10, b"\0\x04MQTT\x05\x02\0\x0a" => MALFORMED;
    test_connect_with_bytes_after_the_end: V5, 0x10, b"\0\x04MQTT\x04\x02\0\x0a\0\x01p\0" => MALFORMED;
    test_client_id_not_utf_8: V5, 0x10, b"\0\x04MQTT\x04\x02\0\x0a\0\x02\xc3\x28" => MALFORMED;
    test_receive_maximum_0: V5, 0x10, b"\0\x04MQTT\x05\x02\0\x0a\x03\x21\0\0\0\x01p" => PROTOCOL;
    test_maximum_packet_size_0: V5, 0x10, b"\0\x04MQTT\x05\x02\0\x0a\x05\x27\0\0\0\0\0\x01p" => PROTOCOL;
    test_request_response_information_2: V5, 0x10, b"\0\x04MQTT\x05\x02\0\x0a\x02\x19\x02\0\x01p" => PROTOCOL;
    test_request_problem_information_2: V5, 0x10, b"\0\x04MQTT\x05\x02\0\x0a\x02\x17\x02\0\x01p" => PROTOCOL;
    test_authentication_data_without_method: V5, 0x10, b"\0\x04MQTT\x05\x02\0\x0a\x04\x16\0\x01d\0\x01p" => PROTOCOL;
    test_will_property_in_connect: V5, 0x10, b"\0\x04MQTT\x05\x02\0\x0a\x05\x18\0\0\0\x01\0\x01p" => MALFORMED;
    test_connect_property_in_will: V5, 0x10, b"\0\x04MQTT\x05\x06\0\x0a\0\0\x01p\x03\x21\0\x01\0\x01t\0\0" => MALFORMED;

    // CONNACK.
    test_connack_reserved_flags: V5, 0x20, b"\x02\0\0" => MALFORMED;
    test_connack_reserved_return_code: V311, 0x20, b"\0\x06" => PROTOCOL;
    test_connack_wrong_reason: V5, 0x20, b"\0\x8d\0" => PROTOCOL;
    test_connack_refused_with_session: V5, 0x20, b"\x01\x87\0" => PROTOCOL;
    test_connack_refused_with_session_in_3_1_1: V311, 0x20, b"\x01\x05" => PROTOCOL;
    test_connack_without_properties: V5, 0x20, b"\0\0" => MALFORMED;
    test_connack_with_bytes_after_the_end: V311, 0x20, b"\0\0\0" => MALFORMED;
    test_maximum_qos_2: V5, 0x20, b"\0\0\x02\x24\x02" => PROTOCOL;
    test_retain_available_2: V5, 0x20, b"\0\0\x02\x25\x02" => PROTOCOL;
    test_wildcard_subscription_available_2: V5, 0x20, b"\0\0\x02\x28\x02" => PROTOCOL;
    test_subscription_identifier_available_2: V5, 0x20, b"\0\0\x02\x29\x02" => PROTOCOL;
    test_shared_subscription_available_2: V5, 0x20, b"\0\0\x02\x2a\x02" => PROTOCOL;

    // PUBLISH.
    test_publish_qos_3: V311, 0x36, b"\0\x01t\0\x01" => MALFORMED;
    test_publish_dup_at_qos_0: V311, 0x38, b"\0\x01t" => MALFORMED;
    test_publish_packet_id_0: V311, 0x32, b"\0\x01t\0\0" => PROTOCOL;
    test_publish_packet_id_missing: V311, 0x32, b"\0\x01t\0" => MALFORMED;
    test_publish_topic_longer_than_packet: V311, 0x30, b"\0\x05t" => MALFORMED;
    test_publish_empty: V311, 0x30, b"" => MALFORMED;
    test_publish_topic_with_plus: V5, 0x30, b"\0\x03a/+\0" => MALFORMED;
    test_publish_topic_with_hash: V311, 0x30, b"\0\x03a/#" => MALFORMED;
    test_publish_topic_with_nul: V311, 0x30, b"\0\x03a\0b" => MALFORMED;
    test_publish_topic_with_surrogate: V311, 0x30, b"\0\x03\xed\xa0\x80" => MALFORMED;
    test_publish_topic_overlong_utf_8: V311, 0x30, b"\0\x02\xc0\x80" => MALFORMED;
    test_publish_empty_topic_in_3_1_1: V311, 0x30, b"\0\0" => MALFORMED;
    test_publish_empty_topic_without_alias: V5, 0x30, b"\0\0\0" => PROTOCOL;
    test_publish_topic_alias_0: V5, 0x30, b"\0\x01t\x03\x23\0\0" => ReasonCode::TOPIC_ALIAS_INVALID;
    test_publish_topic_alias_twice: V5, 0x30, b"\0\x01t\x06\x23\0\x01\x23\0\x01" => PROTOCOL;
    test_publish_payload_format_2: V5, 0x30, b"\0\x01t\x02\x01\x02" => PROTOCOL;
    test_publish_response_topic_with_wildcard: V5, 0x30, b"\0\x01t\x04\x08\0\x01+" => PROTOCOL;
    test_publish_subscription_identifier_0: V5, 0x30, b"\0\x01t\x02\x0b\0" => PROTOCOL;
    test_publish_subscription_identifier_of_5_bytes: V5, 0x30, b"\0\x01t\x06\x0b\xff\xff\xff\xff\x01" => MALFORMED;
    test_publish_subscription_identifier_padded: V5, 0x30, b"\0\x01t\x03\x0b\x81\0" => MALFORMED;
    test_publish_properties_longer_than_packet: V5, 0x30, b"\0\x01t\x02\x01" => MALFORMED;
    test_publish_without_properties: V5, 0x30, b"\0\x01t" => MALFORMED;
    test_property_value_longer_than_properties: V5, 0x30, b"\0\x01t\x04\x03\0\x02ab" => MALFORMED;
    test_unknown_property: V5, 0x30, b"\0\x01t\x02\x04\0" => MALFORMED;
    test_unknown_long_property: V5, 0x30, b"\0\x01t\x03\x80\x01\0" => MALFORMED;
    test_property_of_other_packet: V5, 0x30, b"\0\x01t\x05\x11\0\0\0\x01" => MALFORMED;
    test_user_property_not_utf_8: V5, 0x30, b"\0\x01t\x06\x26\0\0\0\x01\xff" => MALFORMED;

    // PUBACK, PUBREC, PUBREL, PUBCOMP.
    test_puback_packet_id_0: V311, 0x40, b"\0\0" => PROTOCOL;
    test_puback_short: V311, 0x40, b"\0" => MALFORMED;
    test_puback_reason_in_3_1_1: V311, 0x40, b"\0\x01\0" => MALFORMED;
    test_puback_wrong_reason: V5, 0x40, b"\0\x01\x92" => PROTOCOL;
    test_puback_unknown_reason: V5, 0x40, b"\0\x01\x7f" => PROTOCOL;
    test_pubrec_wrong_reason: V5, 0x50, b"\0\x01\x92" => PROTOCOL;
    test_pubrel_wrong_reason: V5, 0x62, b"\0\x01\x10" => PROTOCOL;
    test_pubcomp_wrong_reason: V5, 0x70, b"\0\x01\x10" => PROTOCOL;
    test_puback_with_bytes_after_the_end: V5, 0x40, b"\0\x01\0\0\0" => MALFORMED;
    test_puback_reason_string_twice: V5, 0x40, b"\0\x01\0\x08\x1f\0\x01a\x1f\0\x01b" => PROTOCOL;

    // SUBSCRIBE.
    test_subscribe_packet_id_0: V311, 0x82, b"\0\0\0\x01p\0" => PROTOCOL;
    test_subscribe_without_filter: V311, 0x82, b"\0\x01" => PROTOCOL;
    test_subscribe_without_filter_in_5: V5, 0x82, b"\0\x01\0" => PROTOCOL;
    test_subscribe_without_options: V311, 0x82, b"\0\x01\0\x01p" => MALFORMED;
    test_subscribe_qos_3: V311, 0x82, b"\0\x01\0\x01p\x03" => PROTOCOL;
    test_subscribe_options_of_5_in_3_1_1: V311, 0x82, b"\0\x01\0\x01p\x04" => MALFORMED;
    test_subscribe_reserved_bit_6: V5, 0x82, b"\0\x01\0\0\x01p\x40" => MALFORMED;
    test_subscribe_reserved_bit_7: V5, 0x82, b"\0\x01\0\0\x01p\x80" => MALFORMED;
    test_subscribe_retain_handling_3: V5, 0x82, b"\0\x01\0\0\x01p\x30" => PROTOCOL;
    test_subscribe_second_filter_broken: V5, 0x82, b"\0\x01\0\0\x01p\0\0\x05q" => MALFORMED;
    test_subscribe_filter_with_nul: V5, 0x82, b"\0\x01\0\0\x01\0\0" => MALFORMED;
    test_subscribe_identifier_0: V5, 0x82, b"\0\x01\x02\x0b\0\0\x01p\0" => PROTOCOL;
    test_subscribe_identifier_twice: V5, 0x82, b"\0\x01\x04\x0b\x01\x0b\x02\0\x01p\0" => PROTOCOL;

    // SUBACK, UNSUBSCRIBE, UNSUBACK.
    test_suback_without_code: V311, 0x90, b"\0\x01" => PROTOCOL;
    test_suback_wrong_code_in_3_1_1: V311, 0x90, b"\0\x01\x03" => PROTOCOL;
    test_suback_wrong_code: V5, 0x90, b"\0\x01\0\x11" => PROTOCOL;
    test_suback_packet_id_0: V5, 0x90, b"\0\0\0\0" => PROTOCOL;
    test_unsubscribe_packet_id_0: V311, 0xA2, b"\0\0\0\x01p" => PROTOCOL;
    test_unsubscribe_without_filter: V5, 0xA2, b"\0\x01\0" => PROTOCOL;
    test_unsubscribe_broken_filter: V5, 0xA2, b"\0\x01\0\0\x02p" => MALFORMED;
    test_unsuback_without_code: V5, 0xB0, b"\0\x01\0" => PROTOCOL;
    test_unsuback_wrong_code: V5, 0xB0, b"\0\x01\0\x01" => PROTOCOL;
    test_unsuback_code_in_3_1_1: V311, 0xB0, b"\0\x01\0" => MALFORMED;

    // The rest.
    test_pingreq_with_body: V311, 0xC0, b"\0" => MALFORMED;
    test_pingresp_with_body: V311, 0xD0, b"\0" => MALFORMED;
    test_disconnect_with_body_in_3_1_1: V311, 0xE0, b"\0" => MALFORMED;
    test_disconnect_wrong_reason: V5, 0xE0, b"\x01" => PROTOCOL;
    test_disconnect_session_expiry_twice: V5, 0xE0, b"\0\x0a\x11\0\0\0\0\x11\0\0\0\0" => PROTOCOL;
    test_disconnect_with_bytes_after_the_end: V5, 0xE0, b"\0\0\0" => MALFORMED;
    test_auth_wrong_reason: V5, 0xF0, b"\x80\0" => PROTOCOL;
    test_auth_without_method: V5, 0xF0, b"\x18\0" => PROTOCOL;
}

accepted! {
    test_connect_of_3_1: V5, 0x10, b"\0\x06MQIsdp\x03\x02\0\x0a\0\x01p";
    test_connect_of_3_1_with_unused_flags: V5, 0x14, b"\0\x06MQIsdp\x03\x3b\0\x0a\0\x01p";
    test_connect_of_3_1_with_missing_username: V5, 0x10, b"\0\x06MQIsdp\x03\xc2\0\x0a\0\x01p";
    test_connect_of_a_bridge: V5, 0x10, b"\0\x04MQTT\x84\x02\0\x0a\0\x01p";
    test_connect_with_empty_client_id: V5, 0x10, b"\0\x04MQTT\x05\x02\0\x0a\0\0\0";
    test_connect_of_5_with_password_alone: V5, 0x10, b"\0\x04MQTT\x05\x42\0\x0a\0\0\x01p\0\x01w";
    test_connect_with_empty_will_payload: V5, 0x10, b"\0\x04MQTT\x04\x36\0\x0a\0\x01p\0\x01t\0\0";
    test_pubrel_of_3_1_with_dup: V31, 0x6A, b"\0\x01";
    test_subscribe_of_3_1_with_dup: V31, 0x8A, b"\0\x01\0\x01p\0";
    test_publish_with_byte_order_mark: V311, 0x30, b"\0\x04\xef\xbb\xbfa";
    test_publish_with_control_character: V311, 0x30, b"\0\x02a\x01";
    test_publish_empty_topic_with_alias: V5, 0x30, b"\0\0\x03\x23\0\x01";
    test_publish_several_subscription_identifiers: V5, 0x30, b"\0\x01t\x04\x0b\x01\x0b\x01";
    test_publish_same_user_property_twice: V5, 0x30, b"\0\x01t\x0e\x26\0\x01a\0\x01b\x26\0\x01a\0\x01b";
    test_puback_without_reason: V5, 0x40, b"\0\x01";
    test_puback_without_property_length: V5, 0x40, b"\0\x01\x10";
    test_disconnect_without_reason: V5, 0xE0, b"";
    test_disconnect_without_property_length: V5, 0xE0, b"\x04";
    test_auth_without_body: V5, 0xF0, b"";
}

#[test]
fn test_length_of_five_bytes_is_malformed() {
    let error = frame(b"\x30\xff\xff\xff\xff\x01", usize::MAX).unwrap_err();
    assert_eq!(error.reason, MALFORMED);
}

#[test]
fn test_four_continued_bytes_are_malformed_before_a_fifth() {
    assert_eq!(
        frame(b"\x30\x80\x80\x80\x80", usize::MAX)
            .unwrap_err()
            .reason,
        MALFORMED
    );
}

#[test]
fn test_length_longer_than_needed_is_malformed() {
    assert_eq!(
        frame(b"\xc0\x80\x00", usize::MAX).unwrap_err().reason,
        MALFORMED
    );
}

#[test]
fn test_wrong_first_byte_is_refused_alone() {
    assert_eq!(frame(b"\x00", usize::MAX).unwrap_err().reason, MALFORMED);
}

#[test]
fn test_oversize_packet_is_refused_by_its_header() {
    assert_eq!(
        frame(b"\x30\xff\x01", 256).unwrap_err().reason,
        ReasonCode::PACKET_TOO_LARGE
    );
}

#[test]
fn test_packet_of_exactly_the_maximum_is_accepted() {
    let total = Some(258);
    assert_eq!(frame(b"\x30\xff\x01", 258), Ok(Frame::Incomplete { total }));
}

#[test]
fn test_incomplete_header_has_no_total() {
    for input in [&b""[..], b"\x30", b"\x30\x80", b"\x30\xff\xff\xff"] {
        assert_eq!(
            frame(input, usize::MAX),
            Ok(Frame::Incomplete { total: None })
        );
    }
}

#[test]
fn test_frame_ends_before_the_next_packet() {
    let complete = Frame::Complete {
        first: 0xC0,
        header_len: 2,
        total: 2,
    };
    assert_eq!(frame(b"\xc0\x00\xe0\x00", usize::MAX), Ok(complete));
}

#[test]
fn test_longest_length_is_read() {
    let total = Some(268_435_460);
    assert_eq!(
        frame(b"\x30\xff\xff\xff\x7f", usize::MAX),
        Ok(Frame::Incomplete { total })
    );
}

#[test]
fn test_broken_connect_still_names_its_version() {
    assert_eq!(connect_version(b"\0\x04MQTT\x05\x01"), Some(V5));
    assert_eq!(connect_version(b"\0\x06MQIsdp\x03"), Some(V31));
    assert_eq!(connect_version(b"\0\x04MQTT\x07"), None);
    assert_eq!(connect_version(b"\0\x04MQ"), None);
}

#[test]
fn test_username_flag_without_username_in_3_1_is_no_username() {
    let packet = decode(V31, 0x10, b"\0\x06MQIsdp\x03\xc2\0\x0a\0\x01p").unwrap();
    let Packet::Connect(connect) = packet else {
        panic!("not a CONNECT")
    };
    assert_eq!((connect.username, connect.password), (None, None));
}

#[test]
fn test_will_carries_its_flags() {
    let packet = decode(
        V5,
        0x10,
        b"\0\x04MQTT\x05\x36\0\x0a\0\0\x01p\x05\x18\0\0\0\x07\0\x01t\0\x02hi",
    );
    let Ok(Packet::Connect(connect)) = packet else {
        panic!("not a CONNECT")
    };
    let will = connect.will.unwrap();
    assert_eq!(
        (will.topic, will.payload, will.qos, will.retain),
        ("t", &b"hi"[..], QoS::ExactlyOnce, true)
    );
    assert_eq!(will.properties.as_bytes(), b"\x18\0\0\0\x07");
}

#[test]
fn test_connack_return_codes_map_both_ways() {
    for code in 0..=5 {
        let reason = ReasonCode::from_connect_return_code(code).unwrap();
        assert_eq!(reason.connect_return_code(), code);
    }
    assert_eq!(ReasonCode::from_connect_return_code(6), None);
}

#[test]
fn test_every_connack_reason_has_a_return_code() {
    for info in REASON_CODES {
        let code = info.code.connect_return_code();
        assert_eq!(code == 0, !info.code.is_error(), "{}", info.name);
        assert!(code <= 5);
    }
}

#[test]
fn test_reason_codes_of_each_packet_are_as_many_as_the_standard_lists() {
    let count = |place| {
        (0..=255)
            .filter(|&code| ReasonCode(code).is_allowed_in(place))
            .count()
    };
    assert_eq!(count(PropertyPlace::ConnAck), 22);
    assert_eq!(count(PropertyPlace::PubAck), 9);
    assert_eq!(count(PropertyPlace::PubRec), 9);
    assert_eq!(count(PropertyPlace::PubRel), 2);
    assert_eq!(count(PropertyPlace::PubComp), 2);
    assert_eq!(count(PropertyPlace::SubAck), 12);
    assert_eq!(count(PropertyPlace::UnsubAck), 7);
    // The table of section 3.14.2.1 has 29; section 2.4 adds 0x8C.
    assert_eq!(count(PropertyPlace::Disconnect), 30);
    assert_eq!(count(PropertyPlace::Auth), 3);
    assert_eq!(
        (0..=255)
            .filter(|&code| ReasonCode(code).is_disconnect_by_client())
            .count(),
        14
    );
}

#[test]
fn test_property_table_is_complete() {
    assert_eq!(PROPERTIES.len(), 27);
    for info in PROPERTIES {
        assert_eq!(
            PropertyInfo::by_id(info.id).map(|found| found.name),
            Some(info.name)
        );
    }
    assert!(PropertyInfo::by_id(0).is_none() && PropertyInfo::by_id(0x2B).is_none());
}

#[test]
fn test_every_property_is_refused_twice_unless_repeatable() {
    for info in PROPERTIES {
        // A value that is legal for every type when repeated once: long enough and not zero.
        let value: &[u8] = match info.id {
            0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2A | 0x0B => b"\x01",
            0x13 | 0x21 | 0x22 | 0x23 => b"\0\x01",
            0x02 | 0x11 | 0x18 | 0x27 => b"\0\0\0\x01",
            0x26 => b"\0\x01a\0\x01b",
            0x16 => b"\0\x01d\x15\0\x01m",
            _ => b"\0\x01a",
        };
        let once = [&[info.id], value].concat();
        let twice = once.repeat(2);
        let place = all_places()
            .find(|&place| info.is_allowed_in(place))
            .unwrap();
        let parse = |bytes| nanomq_proto::wire::tables::Properties::parse(bytes, place).is_ok();
        assert!(parse(&once), "{} once", info.name);
        assert_eq!(
            parse(&twice),
            info.is_repeatable_in(place),
            "{} twice",
            info.name
        );
    }
}

fn all_places() -> impl Iterator<Item = PropertyPlace> {
    use PropertyPlace as P;
    [
        P::Connect,
        P::Will,
        P::ConnAck,
        P::Publish,
        P::PubAck,
        P::PubRec,
        P::PubRel,
        P::PubComp,
        P::Subscribe,
        P::SubAck,
        P::Unsubscribe,
        P::UnsubAck,
        P::Disconnect,
        P::Auth,
    ]
    .into_iter()
}
