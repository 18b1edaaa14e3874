//! Packets to bytes.

use super::codec::MAX_REMAINING_LENGTH;
use super::packet::{Ack, Connect, Packet, SubAck, Subscribe, SubscribeFilters, Version};
use super::tables::{Properties, ReasonCode};

/// Appends the packet in the shortest form its version has.
///
/// What a version does not have (properties, reason codes, subscription options) is left out; AUTH
/// in 3.x writes nothing. The caller keeps strings within 65,535 bytes and the whole within
/// [`MAX_REMAINING_LENGTH`], see [`encoded_len`].
pub fn encode(packet: &Packet<'_>, version: Version, out: &mut Vec<u8>) {
    let Some((first, len)) = header(packet, version) else {
        return;
    };
    out.reserve(1 + remaining_length_size(len) + len);
    out.push(first);
    put_remaining_length(out, len);
    match packet {
        Packet::Connect(connect) => put_connect(connect, out),
        Packet::ConnAck(connack) => {
            let session_present = connack.session_present && version > Version::V31;
            out.push(u8::from(session_present));
            if version == Version::V5 {
                out.push(connack.reason.0);
                put_properties(out, connack.properties);
            } else {
                out.push(connack.reason.connect_return_code());
            }
        }
        Packet::Publish(publish) => {
            put_string(out, publish.topic);
            if first & 0x06 != 0 {
                out.extend_from_slice(&publish.packet_id.to_be_bytes());
            }
            if version == Version::V5 {
                put_properties(out, publish.properties);
            }
            out.extend_from_slice(publish.payload);
        }
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
            out.extend_from_slice(&ack.packet_id.to_be_bytes());
            put_reason(out, ack.reason, ack.properties, len - 2);
        }
        Packet::Subscribe(subscribe) => put_subscribe(subscribe, version, out),
        Packet::SubAck(suback) => {
            out.extend_from_slice(&suback.packet_id.to_be_bytes());
            if version == Version::V5 {
                put_properties(out, suback.properties);
            }
            out.extend_from_slice(suback.reasons);
        }
        Packet::Unsubscribe(unsubscribe) => {
            out.extend_from_slice(&unsubscribe.packet_id.to_be_bytes());
            if version == Version::V5 {
                put_properties(out, unsubscribe.properties);
            }
            out.extend_from_slice(unsubscribe.filters.as_bytes());
        }
        Packet::UnsubAck(unsuback) => {
            out.extend_from_slice(&unsuback.packet_id.to_be_bytes());
            if version == Version::V5 {
                put_properties(out, unsuback.properties);
                out.extend_from_slice(unsuback.reasons);
            }
        }
        Packet::PingReq | Packet::PingResp => {}
        Packet::Disconnect(disconnect) => {
            put_reason(out, disconnect.reason, disconnect.properties, len);
        }
        Packet::Auth(auth) => put_reason(out, auth.reason, auth.properties, len),
    }
}

/// Bytes that [`encode`] would append, for the peer's maximum packet size.
pub fn encoded_len(packet: &Packet<'_>, version: Version) -> usize {
    match header(packet, version) {
        Some((_, len)) => 1 + remaining_length_size(len) + len,
        None => 0,
    }
}

/// First byte and remaining length; nothing for a packet that the version does not have.
fn header(packet: &Packet<'_>, version: Version) -> Option<(u8, usize)> {
    let is_v5 = version == Version::V5;
    let properties = |list: Properties<'_>| if is_v5 { properties_len(list) } else { 0 };
    Some(match packet {
        Packet::Connect(connect) => (0x10, connect_len(connect)),
        Packet::ConnAck(connack) => (0x20, 2 + properties(connack.properties)),
        Packet::Publish(publish) => {
            let packet_id_len = if publish.qos as u8 > 0 { 2 } else { 0 };
            let first = 0x30
                | u8::from(publish.dup) << 3
                | (publish.qos as u8) << 1
                | u8::from(publish.retain);
            let len = string_len(publish.topic.as_bytes())
                + packet_id_len
                + properties(publish.properties)
                + publish.payload.len();
            (first, len)
        }
        Packet::PubAck(ack) => (0x40, ack_len(ack, is_v5)),
        Packet::PubRec(ack) => (0x50, ack_len(ack, is_v5)),
        Packet::PubRel(ack) => (0x62, ack_len(ack, is_v5)),
        Packet::PubComp(ack) => (0x70, ack_len(ack, is_v5)),
        Packet::Subscribe(subscribe) => (
            0x82,
            2 + properties(subscribe.properties) + subscribe.filters.as_bytes().len(),
        ),
        Packet::SubAck(SubAck {
            properties: list,
            reasons,
            ..
        }) => (0x90, 2 + properties(*list) + reasons.len()),
        Packet::Unsubscribe(unsubscribe) => (
            0xA2,
            2 + properties(unsubscribe.properties) + unsubscribe.filters.as_bytes().len(),
        ),
        Packet::UnsubAck(SubAck {
            properties: list,
            reasons,
            ..
        }) => (
            0xB0,
            2 + properties(*list) + if is_v5 { reasons.len() } else { 0 },
        ),
        Packet::PingReq => (0xC0, 0),
        Packet::PingResp => (0xD0, 0),
        Packet::Disconnect(disconnect) => (
            0xE0,
            reason_len(disconnect.reason, disconnect.properties, is_v5),
        ),
        Packet::Auth(auth) if is_v5 => (0xF0, reason_len(auth.reason, auth.properties, true)),
        Packet::Auth(_) => return None,
    })
}

fn connect_len(connect: &Connect<'_>) -> usize {
    let is_v5 = connect.version == Version::V5;
    let properties = |list: Properties<'_>| if is_v5 { properties_len(list) } else { 0 };
    let name_len = if connect.version == Version::V31 {
        8
    } else {
        6
    };
    let will_len = connect.will.map_or(0, |will| {
        properties(will.properties) + string_len(will.topic.as_bytes()) + string_len(will.payload)
    });
    name_len
        + 4
        + properties(connect.properties)
        + string_len(connect.client_id.as_bytes())
        + will_len
        + connect
            .username
            .map_or(0, |username| string_len(username.as_bytes()))
        + connect.password.map_or(0, string_len)
}

fn put_connect(connect: &Connect<'_>, out: &mut Vec<u8>) {
    let is_v5 = connect.version == Version::V5;
    put_string(
        out,
        if connect.version == Version::V31 {
            "MQIsdp"
        } else {
            "MQTT"
        },
    );
    out.push(connect.version as u8 | u8::from(connect.is_bridge && !is_v5) << 7);
    let will_flags = connect.will.map_or(0, |will| {
        0x04 | (will.qos as u8) << 3 | u8::from(will.retain) << 5
    });
    out.push(
        u8::from(connect.clean_start) << 1
            | will_flags
            | u8::from(connect.password.is_some()) << 6
            | u8::from(connect.username.is_some()) << 7,
    );
    out.extend_from_slice(&connect.keepalive_s.to_be_bytes());
    if is_v5 {
        put_properties(out, connect.properties);
    }
    put_string(out, connect.client_id);
    if let Some(will) = connect.will {
        if is_v5 {
            put_properties(out, will.properties);
        }
        put_string(out, will.topic);
        put_binary(out, will.payload);
    }
    if let Some(username) = connect.username {
        put_string(out, username);
    }
    if let Some(password) = connect.password {
        put_binary(out, password);
    }
}

fn put_subscribe(subscribe: &Subscribe<'_>, version: Version, out: &mut Vec<u8>) {
    out.extend_from_slice(&subscribe.packet_id.to_be_bytes());
    if version == Version::V5 {
        put_properties(out, subscribe.properties);
        out.extend_from_slice(SubscribeFilters::as_bytes(&subscribe.filters));
        return;
    }
    for (filter, options) in subscribe.filters.iter() {
        put_string(out, filter);
        out.push(options.qos as u8);
    }
}

fn ack_len(ack: &Ack<'_>, is_v5: bool) -> usize {
    2 + reason_len(ack.reason, ack.properties, is_v5)
}

/// Reason code and properties at the end of a packet may be left out when they say nothing.
fn reason_len(reason: ReasonCode, properties: Properties<'_>, is_v5: bool) -> usize {
    match (is_v5, properties.is_empty()) {
        (false, _) => 0,
        (true, true) => usize::from(reason != ReasonCode::SUCCESS),
        (true, false) => 1 + properties_len(properties),
    }
}

/// Writes what [`reason_len`] counted.
fn put_reason(out: &mut Vec<u8>, reason: ReasonCode, properties: Properties<'_>, len: usize) {
    if len > 0 {
        out.push(reason.0);
    }
    if len > 1 {
        put_properties(out, properties);
    }
}

#[inline]
fn properties_len(properties: Properties<'_>) -> usize {
    let len = properties.as_bytes().len();
    remaining_length_size(len) + len
}

#[inline]
fn put_properties(out: &mut Vec<u8>, properties: Properties<'_>) {
    put_remaining_length(out, properties.as_bytes().len());
    out.extend_from_slice(properties.as_bytes());
}

#[inline]
fn string_len(bytes: &[u8]) -> usize {
    2 + bytes.len().min(MAX_STRING)
}

/// Appends a variable byte integer; values above [`MAX_REMAINING_LENGTH`] have no form and lose
/// their high bits.
#[inline]
pub fn put_remaining_length(out: &mut Vec<u8>, n: usize) {
    let mut rest = n & MAX_REMAINING_LENGTH;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Bytes of [`put_remaining_length`], 1 to 4.
#[inline]
pub const fn remaining_length_size(n: usize) -> usize {
    1 + (n >= 0x80) as usize + (n >= 0x4000) as usize + (n >= 0x20_0000) as usize
}

/// Appends text with its length; beyond 65,535 bytes it is cut, so that the packet stays readable.
#[inline]
pub fn put_string(out: &mut Vec<u8>, text: &str) {
    put_binary(out, text.as_bytes());
}

/// Appends bytes with their length; beyond 65,535 they are cut.
#[inline]
pub fn put_binary(out: &mut Vec<u8>, bytes: &[u8]) {
    let len = bytes.len().min(MAX_STRING);
    out.extend_from_slice(&(len as u16).to_be_bytes());
    out.extend_from_slice(bytes.get(..len).unwrap_or_default());
}

const MAX_STRING: usize = u16::MAX as usize;
