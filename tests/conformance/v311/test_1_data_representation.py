"""Chapter 1: data representations."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from mqtt import Publish, packet, string, u16
from peer import Peer

Connected = Callable[..., Peer]
Stranger = Callable[[], Peer]

ILL_FORMED = {
    "surrogate": b"a\xed\xa0\x80",
    "low surrogate": b"a\xed\xbf\xbf",
    "overlong": b"a\xc0\xaf",
    "cut short": b"a\xe2\x82",
    "lone continuation": b"a\x80",
    "beyond U+10FFFF": b"a\xf4\x90\x80\x80",
    "byte FF": b"a\xff",
}
ill_formed = pytest.mark.parametrize("text", ILL_FORMED.values(), ids=ILL_FORMED)


@pytest.mark.statement("MQTT-1.5.3-1", version=4)
@ill_formed
def test_ill_formed_utf8_in_a_topic_name_closes_the_connection(connected: Connected, text: bytes) -> None:
    client = connected()
    client.send(packet(0x30, string(text) + b"x"))
    client.expect_closed()


@pytest.mark.statement("MQTT-1.5.3-1", version=4)
@ill_formed
def test_ill_formed_utf8_in_a_topic_filter_closes_the_connection(connected: Connected, text: bytes) -> None:
    client = connected()
    client.send(packet(0x82, u16(1) + string(text) + b"\x00"))
    client.expect_closed()


@pytest.mark.statement("MQTT-1.5.3-1", version=4)
@ill_formed
def test_ill_formed_utf8_in_a_client_id_closes_the_connection(stranger: Stranger, text: bytes) -> None:
    client = stranger()
    client.send(packet(0x10, string("MQTT") + b"\x04\x02" + u16(0) + string(text)))
    client.expect_closed()


@pytest.mark.statement("MQTT-1.5.3-2", version=4)
def test_null_character_in_a_topic_name_closes_the_connection(connected: Connected) -> None:
    client = connected()
    client.send(packet(0x30, string(b"a\0b") + b"x"))
    client.expect_closed()


@pytest.mark.statement("MQTT-1.5.3-2", version=4)
def test_null_character_in_a_client_id_closes_the_connection(stranger: Stranger) -> None:
    client = stranger()
    client.send(packet(0x10, string("MQTT") + b"\x04\x02" + u16(0) + string(b"a\0b")))
    client.expect_closed()


@pytest.mark.statement("MQTT-1.5.3-3", version=4)
def test_byte_order_mark_is_a_character_of_the_topic(connected: Connected, unique: str) -> None:
    client = connected()
    client.subscribe(f"{unique}/\ufeffa", f"{unique}/a", qos=0)
    client.send_publish(f"{unique}/\ufeffa", b"marked")
    assert client.expect(Publish).raw == packet(0x30, string(f"{unique}/".encode() + b"\xef\xbb\xbfa") + b"marked")
    client.expect_nothing()


@pytest.mark.parametrize("text", ["a\n", "\x7f", "\x9fa"], ids=ascii)
def test_control_character_in_a_topic_name_closes_the_connection(connected: Connected, text: str) -> None:
    client = connected()
    client.send(packet(0x30, string(text) + b"x"))
    client.expect_closed()


def test_control_character_in_a_topic_filter_closes_the_connection(connected: Connected) -> None:
    client = connected()
    client.send(packet(0x82, u16(1) + string("a\nb") + b"\x00"))
    client.expect_closed()


def test_control_character_in_a_client_id_closes_the_connection(stranger: Stranger) -> None:
    client = stranger()
    client.send(packet(0x10, string("MQTT") + b"\x04\x02" + u16(0) + string("a\nb")))
    client.expect_closed()
