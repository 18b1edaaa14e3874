"""Sections 3.10 and 3.11: UNSUBSCRIBE and UNSUBACK."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from mqtt import PubAck, PubComp, Publish, PubRec, PubRel, packet, string, u16
from peer import Peer

Connected = Callable[..., Peer]


@pytest.mark.statement("MQTT-3.10.1-1", version=4)
@pytest.mark.parametrize("flags", [flags for flags in range(16) if flags != 2])
def test_unsubscribe_with_other_flags_closes_the_connection(connected: Connected, unique: str, flags: int) -> None:
    client = connected()
    client.send(packet(0xA0 | flags, u16(1) + string(unique)))
    client.expect_closed()


@pytest.mark.statement("MQTT-3.10.3-1", version=4)
@pytest.mark.parametrize(
    "body",
    [string(b"\xff"), string(b"a\0"), u16(5) + b"abc", string("a") + b"\x00"],
    ids=["not UTF-8", "U+0000", "cut", "rest"],
)
def test_topic_filter_that_is_no_string_closes_the_connection(connected: Connected, body: bytes) -> None:
    client = connected()
    client.send(packet(0xA2, u16(1) + body))
    client.expect_closed()


@pytest.mark.statement("MQTT-3.10.3-2", version=4)
@pytest.mark.parametrize("body", [b"", u16(1)], ids=["nothing at all", "no topic filter"])
def test_unsubscribe_without_a_topic_filter_closes_the_connection(connected: Connected, body: bytes) -> None:
    client = connected()
    client.send(packet(0xA2, body))
    client.expect_closed()


@pytest.mark.statement("MQTT-3.10.4-1", version=4)
def test_filters_are_compared_character_by_character(connected: Connected, unique: str) -> None:
    client, publisher = connected("s"), connected("p")
    client.subscribe(f"{unique}/a")
    client.unsubscribe(f"{unique}/A", f"{unique}/+", f"{unique}/#", f"{unique}/a/", f"{unique}")
    publisher.publish(f"{unique}/a", b"m", qos=1)
    assert client.receive().payload == b"m"


@pytest.mark.statement("MQTT-3.10.4-1", version=4)
def test_wildcard_filter_is_removed_and_others_stay(connected: Connected, unique: str) -> None:
    client, publisher = connected("s"), connected("p")
    client.subscribe((f"{unique}/+", 0), (f"{unique}/#", 1))
    client.unsubscribe(f"{unique}/#")
    publisher.publish(f"{unique}/a", b"m", qos=1)
    assert client.receive().qos == 0
    publisher.publish(f"{unique}/a/b", b"n", qos=1)
    client.expect_nothing()


@pytest.mark.statement("MQTT-3.10.4-2", version=4)
def test_nothing_new_is_added_after_unsubscribe(connected: Connected, unique: str) -> None:
    client, publisher = connected("s"), connected("p")
    client.subscribe(unique, qos=1)
    client.unsubscribe(unique)
    publisher.publish(unique, b"m", qos=1)
    client.expect_nothing()


@pytest.mark.statement("MQTT-3.10.4-3", version=4)
def test_deliveries_that_were_begun_are_completed(
    connected: Connected, cut: Callable[[str], bool], unique: str
) -> None:
    client, publisher = connected("s", clean=False), connected("p")
    client.subscribe(unique, qos=2)
    publisher.publish(unique, b"one", qos=1)
    publisher.publish(unique, b"two", qos=2)
    one, two = client.expect(Publish), client.expect(Publish)
    client.unsubscribe(unique)
    client.send(PubRec(two.packet_id))
    assert client.expect(PubRel) == PubRel(two.packet_id)
    assert cut(client.client_id)
    again = connected("s", clean=False)
    resent = again.expect(Publish)
    assert (resent.payload, resent.packet_id, resent.dup) == (b"one", one.packet_id, True)
    assert again.expect(PubRel) == PubRel(two.packet_id)
    again.send(PubAck(one.packet_id), PubComp(two.packet_id))
    again.expect_nothing()


@pytest.mark.statement("MQTT-3.10.4-4", version=4)
def test_unsubscribe_is_answered_by_unsuback_with_its_packet_id(connected: Connected, unique: str) -> None:
    client = connected()
    client.subscribe(unique)
    client.send(packet(0xA2, u16(0xABCD) + string(unique)))
    client.expect_bytes(b"\xb0\x02\xab\xcd")


@pytest.mark.statement("MQTT-3.10.4-5", version=4)
def test_unsubscribe_that_matches_nothing_is_answered_too(connected: Connected, unique: str) -> None:
    client = connected()
    client.send(packet(0xA2, u16(3) + string(unique)))
    client.expect_bytes(b"\xb0\x02\x00\x03")


@pytest.mark.statement("MQTT-3.10.4-6", version=4)
def test_several_filters_get_one_unsuback(connected: Connected, unique: str) -> None:
    client, publisher = connected("s"), connected("p")
    filters = [f"{unique}/{name}" for name in "abc"]
    client.subscribe(*filters)
    client.send(packet(0xA2, u16(4) + string(filters[0]) + string("not there") + string(filters[2])))
    client.expect_bytes(b"\xb0\x02\x00\x04")
    for text in filters:
        publisher.publish(text, b"m", qos=1)
    assert client.receive().topic == filters[1]
    client.expect_nothing()
