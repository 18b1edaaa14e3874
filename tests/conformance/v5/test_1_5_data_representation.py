"""MQTT 5.0, 1.5: strings, string pairs, variable byte integers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from mqtt import P, Properties, Publish, R, packet, properties, string, u16, varint
from peer import Peer, PeerFactory

statement = pytest.mark.statement

ILL_FORMED = {
    "a byte that is never used": b"\xff",
    "a surrogate": b"\xed\xa0\x80",
    "a pair of surrogates": b"\xed\xa0\xbd\xed\xb8\x80",
    "an overlong slash": b"\xc0\xaf",
    "beyond U+10FFFF": b"\xf4\x90\x80\x80",
    "an end within a character": b"\xe2\x82",
}
ill_formed = pytest.mark.parametrize("text", ILL_FORMED.values(), ids=ILL_FORMED.keys())


@statement("MQTT-1.5.4-1", "MQTT-3.1.3-4")
@ill_formed
def test_ill_formed_client_id_is_malformed(peer: PeerFactory, text: bytes) -> None:
    client = peer()
    client.send(packet(0x10, string("MQTT") + b"\x05\x02\x00\x00" + b"\x00" + string(text)))
    client.expect_refused(R.MALFORMED_PACKET)


@statement("MQTT-1.5.4-1", "MQTT-3.3.2-1")
@ill_formed
def test_ill_formed_topic_name_is_malformed(connected: Callable[..., Peer], text: bytes) -> None:
    client = connected()
    client.send(packet(0x30, string(text) + b"\x00"))
    client.expect_disconnect(R.MALFORMED_PACKET)


@statement("MQTT-1.5.4-1", "MQTT-3.8.3-1")
@ill_formed
def test_ill_formed_topic_filter_is_malformed(connected: Callable[..., Peer], text: bytes) -> None:
    client = connected()
    client.send(packet(0x82, u16(1) + b"\x00" + string(text) + b"\x00"))
    client.expect_disconnect(R.MALFORMED_PACKET)


@statement("MQTT-1.5.4-2")
def test_null_character_in_client_id_is_malformed(peer: PeerFactory) -> None:
    client = peer()
    client.send(packet(0x10, string("MQTT") + b"\x05\x02\x00\x00" + b"\x00" + string(b"a\x00b")))
    client.expect_refused(R.MALFORMED_PACKET)


@statement("MQTT-1.5.4-2", "MQTT-4.7.3-2")
def test_null_character_in_topic_name_is_malformed(connected: Callable[..., Peer]) -> None:
    client = connected()
    client.send(packet(0x30, string(b"a\x00b") + b"\x00"))
    client.expect_disconnect(R.MALFORMED_PACKET)


@statement("MQTT-1.5.4-2", "MQTT-4.7.3-2")
def test_null_character_in_topic_filter_is_malformed(connected: Callable[..., Peer]) -> None:
    client = connected()
    client.send(packet(0x82, u16(1) + b"\x00" + string(b"a\x00b") + b"\x00"))
    client.expect_disconnect(R.MALFORMED_PACKET)


@statement("MQTT-1.5.4-3")
def test_byte_order_mark_is_kept(connected: Callable[..., Peer], unique: str) -> None:
    client = connected()
    topic = f"\ufeff{unique}/\ufeff"
    client.subscribe(topic)
    client.send_publish(topic, b"x")
    client.expect_bytes(packet(0x30, string(topic) + b"\x00" + b"x"))


@statement("MQTT-1.5.4-3", "MQTT-4.7.3-4")
def test_topic_with_byte_order_mark_is_another_topic(connected: Callable[..., Peer], unique: str) -> None:
    client = connected()
    client.subscribe(unique)
    client.publish(f"\ufeff{unique}")
    client.expect_nothing()


@statement("MQTT-1.5.4-3")
@pytest.mark.parametrize("character", [" ", "~", "\xa0", "\uffff", "\U0010ffff", "é", "𝄞", "\u0901"])
def test_unusual_characters_pass_unchanged(connected: Callable[..., Peer], unique: str, character: str) -> None:
    client = connected()
    topic = f"{unique}/{character}"
    client.subscribe(f"{unique}/+")
    client.send_publish(topic)
    assert client.receive().topic == topic


control = pytest.mark.parametrize("character", ["\x01", "\n", "\x1f", "\x7f", "\x80", "\x9f"], ids=ascii)


@control
def test_control_character_in_a_client_id_is_refused(peer: PeerFactory, character: str) -> None:
    client = peer()
    client.send(packet(0x10, string("MQTT") + b"\x05\x02\x00\x00" + b"\x00" + string(f"a{character}")))
    client.expect_refused(R.CLIENT_IDENTIFIER_NOT_VALID)


@control
def test_control_character_in_a_username_is_malformed(peer: PeerFactory, character: str) -> None:
    client = peer()
    client.send(packet(0x10, string("MQTT") + b"\x05\x82\x00\x00" + b"\x00" + string("a") + string(f"a{character}")))
    client.expect_refused(R.MALFORMED_PACKET)


def test_control_character_in_a_will_topic_is_malformed(peer: PeerFactory) -> None:
    client = peer()
    will = b"\x00" + string("a\nb") + string("")
    client.send(packet(0x10, string("MQTT") + b"\x05\x06\x00\x00" + b"\x00" + string("a") + will))
    client.expect_refused(R.MALFORMED_PACKET)


@control
def test_control_character_in_a_topic_name_is_malformed(connected: Callable[..., Peer], character: str) -> None:
    client = connected()
    client.send(packet(0x30, string(f"{character}a") + b"\x00"))
    client.expect_disconnect(R.MALFORMED_PACKET)


def test_control_character_in_the_topic_of_an_alias_is_malformed(connected: Callable[..., Peer]) -> None:
    client = connected()
    client.send(packet(0x30, string("a\nb") + b"\x03\x23\x00\x01"))
    client.expect_disconnect(R.MALFORMED_PACKET)


@control
def test_control_character_in_a_topic_filter_is_malformed(connected: Callable[..., Peer], character: str) -> None:
    client = connected()
    client.send(packet(0x82, u16(1) + b"\x00" + string(f"a{character}b") + b"\x00"))
    client.expect_disconnect(R.MALFORMED_PACKET)


def test_control_character_in_unsubscribe_is_malformed(connected: Callable[..., Peer]) -> None:
    client = connected()
    client.send(packet(0xA2, u16(1) + b"\x00" + string("a\nb")))
    client.expect_disconnect(R.MALFORMED_PACKET)


def test_control_characters_in_properties_pass(connected: Callable[..., Peer], unique: str) -> None:
    client = connected()
    client.subscribe(unique)
    client.send_publish(unique, props=[(P.USER_PROPERTY, ("text", "two\nlines"))])
    assert client.receive().properties == [(P.USER_PROPERTY, ("text", "two\nlines"))]


@statement("MQTT-1.5.5-1")
@pytest.mark.parametrize("size", [127, 128, 16_383, 16_384, 2_097_151, 2_097_152])
def test_remaining_length_has_the_fewest_bytes(connected: Callable[..., Peer], unique: str, size: int) -> None:
    client = connected()
    client.subscribe(unique)
    payload = bytes(size - 2 - len(unique) - 1)
    client.send_publish(unique, payload)
    assert client.recv_raw() == b"\x30" + varint(size) + string(unique) + b"\x00" + payload


@statement("MQTT-1.5.5-1")
def test_remaining_length_of_five_bytes_is_malformed(connected: Callable[..., Peer]) -> None:
    client = connected()
    client.send(b"\x30\xff\xff\xff\xff\x01")
    client.expect_disconnect(R.MALFORMED_PACKET)


@statement("MQTT-1.5.5-1")
def test_property_length_longer_than_needed_is_malformed(connected: Callable[..., Peer]) -> None:
    client = connected()
    client.send(packet(0x30, string("a") + b"\x80\x00" + b"x"))
    client.expect_disconnect(R.MALFORMED_PACKET)


@statement("MQTT-1.5.5-1")
def test_remaining_length_longer_than_needed_is_malformed(connected: Callable[..., Peer]) -> None:
    client = connected()
    client.send(b"\xc0\x80\x00")
    client.expect_disconnect(R.MALFORMED_PACKET)


@statement("MQTT-1.5.5-1")
def test_subscription_identifier_comes_back_in_the_fewest_bytes(connected: Callable[..., Peer], unique: str) -> None:
    client = connected()
    client.subscribe(unique, props={P.SUBSCRIPTION_IDENTIFIER: 128})
    client.send_publish(unique, b"x")
    client.expect_bytes(packet(0x30, string(unique) + b"\x03\x0b\x80\x01" + b"x"))


@statement("MQTT-1.5.7-1")
@pytest.mark.parametrize("pair", [(b"\xff", b"v"), (b"k", b"\xff"), (b"k\x00", b"v"), (b"k", b"\xed\xa0\x80")])
def test_user_property_with_an_ill_formed_part_is_malformed(
    connected: Callable[..., Peer], pair: tuple[bytes, bytes]
) -> None:
    client = connected()
    user_property = b"\x26" + string(pair[0]) + string(pair[1])
    client.send(packet(0x30, string("a") + varint(len(user_property)) + user_property))
    client.expect_disconnect(R.MALFORMED_PACKET)


@statement("MQTT-1.5.7-1")
def test_user_property_with_empty_parts_passes(connected: Callable[..., Peer], unique: str) -> None:
    client = connected()
    client.subscribe(unique)
    client.send_publish(unique, props=[(P.USER_PROPERTY, ("", ""))])
    assert client.receive() == Publish(unique, properties=Properties([(P.USER_PROPERTY, ("", ""))]))


@statement("MQTT-1.5.4-1")
def test_a_string_that_reaches_beyond_the_packet_is_malformed(connected: Callable[..., Peer]) -> None:
    client = connected()
    client.send(packet(0x30, u16(9) + b"short"))
    client.expect_disconnect(R.MALFORMED_PACKET)


@statement("MQTT-1.5.4-1")
@pytest.mark.parametrize("name", [P.CONTENT_TYPE, P.RESPONSE_TOPIC])
def test_ill_formed_string_property_is_malformed(connected: Callable[..., Peer], name: P) -> None:
    client = connected()
    client.send(packet(0x30, string("a") + properties({name: b"\xff"}).encode()))
    client.expect_disconnect(R.MALFORMED_PACKET)
