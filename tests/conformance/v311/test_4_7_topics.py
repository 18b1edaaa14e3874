"""Section 4.7: topic names and topic filters."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from mqtt import Publish, packet, string, u16
from peer import Peer

Connected = Callable[..., Peer]


@pytest.mark.statement("MQTT-4.7.1-1", version=4)
@pytest.mark.parametrize("topic", ["#", "+", "sport/#", "sport/+/x", "sport+", "sport#"])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_publish_to_a_wildcard_closes_the_connection(connected: Connected, topic: str, qos: int) -> None:
    client = connected()
    client.send(packet(0x30 | qos << 1, string(topic) + (u16(1) if qos else b"") + b"m"))
    client.expect_closed()


@pytest.mark.statement("MQTT-4.7.1-2", version=4)
@pytest.mark.parametrize("text", ["sport/tennis#", "sport/tennis/#/ranking", "#/", "##", "a/#b", "#a", "+#"])
def test_hash_elsewhere_than_alone_at_the_end_closes_the_connection(connected: Connected, text: str) -> None:
    client = connected()
    client.send(packet(0x82, u16(1) + string(text) + b"\x00"))
    client.expect_closed()


@pytest.mark.statement("MQTT-4.7.1-3", version=4)
@pytest.mark.parametrize("text", ["sport+", "+sport", "a/b+/c", "a/+b", "++", "a/++"])
def test_plus_that_fills_no_level_closes_the_connection(connected: Connected, text: str) -> None:
    client = connected()
    client.send(packet(0x82, u16(1) + string(text) + b"\x00"))
    client.expect_closed()


MATCHES = [
    # filter, topics that match, topics that do not
    ("T/#", ["T", "T/", "T/a", "T/a/b", "T//"], ["Tx", "Tx/a"]),
    ("T/a/#", ["T/a", "T/a/b", "T/a/b/c", "T/a/"], ["T", "T/b", "T/ab"]),
    ("T/+", ["T/a", "T/"], ["T", "T/a/b", "T//"]),
    ("T/+/+", ["T/a/b", "T//", "T//b"], ["T/a", "T/a/b/c"]),
    ("T/+/x", ["T/a/x", "T//x"], ["T/x", "T/a/b/x", "T/a/x/"]),
    ("T/+/#", ["T/a", "T/", "T/a/b"], ["T"]),
    ("T/a/+/#", ["T/a/b", "T/a/b/c", "T/a/"], ["T/a", "T/b/c"]),
    ("T//x", ["T//x"], ["T/x", "T/a/x"]),
    ("T/", ["T/"], ["T", "T//", "T/a"]),
    ("T", ["T"], ["T/", "t", "T/a"]),
    ("+/T/#", ["x/T", "/T/a"], ["T", "T/T2"]),
    ("/T", ["/T"], ["T", "x/T"]),
    ("+/T", ["/T", "x/T"], ["T", "x/T/"]),
]


@pytest.mark.statement("MQTT-4.7.1-2", "MQTT-4.7.1-3", "MQTT-4.7.3-4", version=4)
@pytest.mark.parametrize(("text", "matching", "others"), MATCHES, ids=[match[0] for match in MATCHES])
def test_filter_matches_what_the_standard_says(
    connected: Connected, unique: str, text: str, matching: list[str], others: list[str]
) -> None:
    subscriber, publisher = connected("s"), connected("p")
    subscriber.subscribe(text.replace("T", unique), qos=0)
    for topic in others + matching:
        publisher.publish(topic.replace("T", unique), b"m", qos=1)
    assert [subscriber.receive().topic for _ in matching] == [topic.replace("T", unique) for topic in matching]
    subscriber.expect_nothing()


@pytest.mark.statement("MQTT-4.7.1-2", "MQTT-4.7.1-3", version=4)
@pytest.mark.parametrize(("text", "matching", "others"), MATCHES, ids=[match[0] for match in MATCHES])
def test_filter_finds_retained_messages_alike(
    connected: Connected, unique: str, text: str, matching: list[str], others: list[str]
) -> None:
    subscriber, publisher = connected("s"), connected("p")
    for topic in others + matching:
        publisher.publish(topic.replace("T", unique), b"m", qos=1, retain=True)
    subscriber.subscribe(text.replace("T", unique), qos=0)
    assert {subscriber.receive().topic for _ in matching} == {topic.replace("T", unique) for topic in matching}
    subscriber.expect_nothing()


@pytest.mark.statement("MQTT-4.7.2-1", version=4)
@pytest.mark.broker(config={})
@pytest.mark.parametrize("text", ["#", "+/T", "+/#", "+/+"])
def test_wildcard_at_the_start_does_not_match_dollar_topics(connected: Connected, unique: str, text: str) -> None:
    subscriber, publisher = connected("s"), connected("p")
    subscriber.subscribe(text.replace("T", unique))
    publisher.publish(f"$app/{unique}", b"hidden", qos=1)
    publisher.publish(f"app/{unique}", b"seen", qos=1)
    assert subscriber.receive().payload == b"seen"
    subscriber.expect_nothing()


@pytest.mark.statement("MQTT-4.7.2-1", version=4)
@pytest.mark.broker(config={})
def test_wildcard_at_the_start_does_not_find_retained_dollar_topics(connected: Connected, unique: str) -> None:
    subscriber, publisher = connected("s"), connected("p")
    publisher.publish(f"$app/{unique}", b"hidden", qos=1, retain=True)
    publisher.publish(f"app/{unique}", b"seen", qos=1, retain=True)
    subscriber.subscribe("#")
    assert subscriber.receive().payload == b"seen"
    subscriber.expect_nothing()


@pytest.mark.statement("MQTT-4.7.2-1", version=4)
@pytest.mark.parametrize("text", ["$app/T", "$app/+", "$app/#"])
def test_filter_that_names_the_dollar_level_matches(connected: Connected, unique: str, text: str) -> None:
    subscriber, publisher = connected("s"), connected("p")
    subscriber.subscribe(text.replace("T", unique).replace("$app", f"$app{unique}"))
    publisher.publish(f"$app{unique}/{unique}", b"seen", qos=1)
    assert subscriber.receive().payload == b"seen"


@pytest.mark.statement("MQTT-4.7.3-1", version=4)
@pytest.mark.parametrize(
    "raw",
    [packet(0x30, string("") + b"m"), packet(0x82, u16(1) + string("") + b"\x00"), packet(0xA2, u16(1) + string(""))],
    ids=["PUBLISH", "SUBSCRIBE", "UNSUBSCRIBE"],
)
def test_empty_topic_closes_the_connection(connected: Connected, raw: bytes) -> None:
    client = connected()
    client.send(raw)
    client.expect_closed()


@pytest.mark.statement("MQTT-4.7.3-2", version=4)
@pytest.mark.parametrize(
    "raw",
    [
        packet(0x30, string(b"\0") + b"m"),
        packet(0x82, u16(1) + string(b"a/\0") + b"\x00"),
        packet(0xA2, u16(1) + string(b"\0a")),
    ],
    ids=["PUBLISH", "SUBSCRIBE", "UNSUBSCRIBE"],
)
def test_null_character_in_a_topic_closes_the_connection(connected: Connected, raw: bytes) -> None:
    client = connected()
    client.send(raw)
    client.expect_closed()


@pytest.mark.statement("MQTT-4.7.3-3", version=4)
def test_topic_of_65535_bytes_is_passed_on(connected: Connected, unique: str) -> None:
    client = connected()
    topic = unique + "x" * (65_535 - len(unique))
    client.subscribe(topic)
    client.send_publish(topic, b"m")
    assert client.expect(Publish).raw == packet(0x30, string(topic) + b"m")


@pytest.mark.statement("MQTT-4.7.3-4", version=4)
def test_matching_normalizes_nothing(connected: Connected, unique: str) -> None:
    subscriber, publisher = connected("s"), connected("p")
    subscriber.subscribe(f"{unique}/\u00e9", f"{unique}/Straße", f"{unique}/ a")
    for topic in ("e\u0301", "STRASSE", "strasse", "a", " a ", " a", "Straße", "\u00e9"):
        publisher.publish(f"{unique}/{topic}", b"m", qos=1)
    assert [subscriber.receive().topic for _ in range(3)] == [f"{unique}/ a", f"{unique}/Straße", f"{unique}/\u00e9"]
    subscriber.expect_nothing()
