"""MQTT 5.0, 4.7: topic names and topic filters."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from mqtt import R, SubAck, packet, string, u16
from peer import Peer

statement = pytest.mark.statement


def is_refused(client: Peer, topic_filter: str) -> bool:
    """Whether a filter is refused, by a reason code of SUBACK or by closing the connection."""
    client.send(packet(0x82, u16(1) + b"\x00" + string(topic_filter) + b"\x00"))
    found = client.recv()
    if isinstance(found, SubAck):
        return found.reasons == (R.TOPIC_FILTER_INVALID,)
    assert getattr(found, "reason", None) in (R.TOPIC_FILTER_INVALID, R.MALFORMED_PACKET, R.PROTOCOL_ERROR)
    client.expect_closed()
    return True


@statement("MQTT-4.7.1-1")
@pytest.mark.parametrize("topic_filter", ["a#", "a/b#", "#/a", "a/#/b", "##", "a/##"])
def test_hash_that_is_not_a_last_level_is_refused(connected: Callable[..., Peer], topic_filter: str) -> None:
    assert is_refused(connected(), topic_filter)


@statement("MQTT-4.7.1-2")
@pytest.mark.parametrize("topic_filter", ["a+", "+a", "a/b+", "a/+b/c", "++"])
def test_plus_that_does_not_fill_its_level_is_refused(connected: Callable[..., Peer], topic_filter: str) -> None:
    assert is_refused(connected(), topic_filter)


@statement("MQTT-4.7.3-1")
@pytest.mark.parametrize("first", [0x82, 0xA2])
def test_empty_topic_filter_is_malformed(connected: Callable[..., Peer], first: int) -> None:
    """0x8F is for a filter that is correctly formed."""
    client = connected()
    client.send(packet(first, u16(1) + b"\x00" + string("") + (b"\x00" if first == 0x82 else b"")))
    client.expect_disconnect(R.MALFORMED_PACKET)


@statement("MQTT-4.7.1-1", "MQTT-4.7.1-2", "MQTT-3.3.2-3")
@pytest.mark.parametrize(
    ("topic_filter", "topic", "is_match"),
    [
        ("{}/#", "{}", True),
        ("{}/#", "{}/a", True),
        ("{}/#", "{}/a/b/c", True),
        ("{}/#", "{}/", True),
        ("{}/#", "{}x", False),
        ("{}/a/#", "{}/a", True),
        ("{}/a/#", "{}", False),
        ("{}/+", "{}/a", True),
        ("{}/+", "{}/", True),
        ("{}/+", "{}", False),
        ("{}/+", "{}/a/b", False),
        ("{}/+/b", "{}/a/b", True),
        ("{}/+/b", "{}//b", True),
        ("{}/+/b", "{}/a/c", False),
        ("{}/+/+", "{}/a/b", True),
        ("{}/+/+", "{}/a", False),
        ("{}/+/#", "{}/a", True),
        ("{}/+/#", "{}/a/b/c", True),
        ("{}/+/#", "{}", False),
        ("+/{}/#", "/{}", True),
        ("+/{}/#", "x/{}/y", True),
        ("/{}", "/{}", True),
        ("/{}", "{}", False),
        ("{}/", "{}/", True),
        ("{}/", "{}", False),
        ("{}", "{}/", False),
        ("{}//a", "{}//a", True),
        ("{}//a", "{}/a", False),
        ("{}/a", "{}/A", False),
        ("{}/é", "{}/é", True),
        ("{}/é", "{}/e\u0301", False),
        ("{}/ a", "{}/a", False),
        ("{}/*", "{}/a", False),
        ("{}/\\", "{}/\\", True),
    ],
)
def test_matching(connected: Callable[..., Peer], unique: str, topic_filter: str, topic: str, is_match: bool) -> None:
    client = connected()
    client.subscribe(topic_filter.format(unique))
    client.send_publish(topic.format(unique), b"x")
    if is_match:
        assert client.receive().topic == topic.format(unique)
    client.expect_nothing()


@statement("MQTT-4.7.2-1")
@pytest.mark.broker(config={})
@pytest.mark.parametrize("topic_filter", ["#", "+/#", "+/{}/a", "+/+/+"])
def test_leading_wildcard_does_not_match_dollar_topics(
    connected: Callable[..., Peer], unique: str, topic_filter: str
) -> None:
    client = connected()
    client.send(packet(0x82, u16(1) + b"\x00" + string(topic_filter.format(unique)) + b"\x20"))
    client.expect(SubAck)
    client.publish(f"$own/{unique}/a", b"x")
    client.expect_nothing()


@statement("MQTT-4.7.2-1")
@pytest.mark.parametrize("topic_filter", ["$own/{}/a", "$own/#", "$own/+/a", "$own/{}/+"])
def test_filter_that_names_the_dollar_matches_dollar_topics(
    connected: Callable[..., Peer], unique: str, topic_filter: str
) -> None:
    client = connected()
    client.subscribe(topic_filter.format(unique))
    client.send_publish(f"$own/{unique}/a", b"x")
    assert client.receive().payload == b"x"


@statement("MQTT-4.7.2-1")
def test_dollar_in_a_later_level_is_not_special(connected: Callable[..., Peer], unique: str) -> None:
    client = connected()
    client.subscribe(f"{unique}/+", f"+/${unique}")
    client.send_publish(f"{unique}/$a", b"x")
    client.receive()
    client.send_publish(f"a/${unique}", b"y")
    assert client.receive().payload == b"y"


@statement("MQTT-4.7.3-3")
def test_longest_topic_name_and_topic_filter(connected: Callable[..., Peer], unique: str) -> None:
    client = connected()
    topic = (unique + "/").ljust(65_535, "x")
    assert client.subscribe(topic).reasons == (0,)
    client.send_publish(topic, b"x")
    assert client.receive().topic == topic


@statement("MQTT-4.7.3-4")
def test_topic_names_are_case_sensitive_and_not_trimmed(connected: Callable[..., Peer], unique: str) -> None:
    client = connected()
    client.subscribe(f"{unique}/Accounts payable")
    for other in ("accounts payable", "Accounts payable ", "Accounts  payable", "/Accounts payable"):
        client.publish(f"{unique}/{other}")
    client.send_publish(f"{unique}/Accounts payable", b"x")
    assert client.receive().payload == b"x"


@statement("MQTT-4.7.3-4")
@pytest.mark.parametrize("levels", [1, 100, 128])
def test_many_levels_match(connected: Callable[..., Peer], unique: str, levels: int) -> None:
    client = connected()
    topic = "/".join([unique] + ["a"] * (levels - 1))
    client.subscribe(topic.replace("/a", "/+"))
    client.send_publish(topic, b"x")
    assert client.receive().topic == topic
