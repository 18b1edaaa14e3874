"""Section 3.3: PUBLISH."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from mqtt import PubAck, Publish, PubRec, packet, string, u16
from peer import Peer

Connected = Callable[..., Peer]


@pytest.mark.statement("MQTT-3.3.1-1", "MQTT-4.4.0-1", version=4)
@pytest.mark.parametrize("qos", [1, 2])
def test_publish_that_is_sent_again_has_dup_1(
    connected: Connected, cut: Callable[[str], bool], unique: str, qos: int
) -> None:
    subscriber = connected(clean=False)
    subscriber.subscribe(unique, qos=qos)
    connected("p").publish(unique, b"m", qos=qos)
    first = subscriber.expect(Publish)
    assert not first.dup
    assert cut(subscriber.client_id)
    again = connected(clean=False).expect(Publish)
    assert again.raw == bytes([first.raw[0] | 0x08]) + first.raw[1:]


@pytest.mark.statement("MQTT-3.3.1-2", version=4)
def test_qos_0_with_dup_closes_the_connection(connected: Connected, unique: str) -> None:
    client = connected()
    client.send(packet(0x38, string(unique) + b"m"))
    client.expect_closed()


@pytest.mark.statement("MQTT-3.3.1-2", "MQTT-4.3.1-1", version=4)
def test_broker_sends_qos_0_with_dup_0(connected: Connected, unique: str) -> None:
    client = connected()
    client.subscribe(unique)
    client.send_publish(unique, b"m", qos=1, dup=True)
    received = {found.raw for found in (client.recv(), client.recv())}
    assert packet(0x30, string(unique) + b"m") in received


@pytest.mark.statement("MQTT-3.3.1-3", version=4)
@pytest.mark.parametrize("qos", [1, 2])
def test_dup_is_not_passed_on(connected: Connected, unique: str, qos: int) -> None:
    publisher, subscriber = connected("p"), connected("s")
    subscriber.subscribe(unique, qos=qos)
    publisher.send_publish(unique, b"m", qos=qos, dup=True)
    assert not subscriber.receive().dup


@pytest.mark.statement("MQTT-3.3.1-4", version=4)
@pytest.mark.parametrize("first", [0x36, 0x37, 0x3E, 0x3F])
def test_qos_3_closes_the_connection(connected: Connected, unique: str, first: int) -> None:
    client = connected()
    client.send(packet(first, string(unique) + u16(1) + b"m"))
    client.expect_closed()


@pytest.mark.statement("MQTT-3.3.1-5", "MQTT-3.3.1-6", "MQTT-3.3.1-8", version=4)
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_retained_message_is_kept_with_its_qos(connected: Connected, unique: str, qos: int) -> None:
    connected("p").publish(unique, b"kept", qos=qos, retain=True)
    subscriber = connected("s")
    subscriber.subscribe(unique, qos=2)
    message = subscriber.receive()
    assert (message.topic, message.payload, message.qos, message.retain, message.dup) == (
        unique,
        b"kept",
        qos,
        True,
        False,
    )


@pytest.mark.statement("MQTT-3.3.1-6", version=4)
def test_new_subscription_gets_the_last_message_of_each_topic(connected: Connected, unique: str) -> None:
    publisher, subscriber = connected("p"), connected("s")
    for topic, payload in (("a", b"old"), ("b", b"b"), ("a", b"new"), ("c/d", b"deep")):
        publisher.publish(f"{unique}/{topic}", payload, qos=1, retain=True)
    subscriber.subscribe(f"{unique}/#", qos=0)
    received = {(m.topic, m.payload) for m in (subscriber.receive() for _ in range(3))}
    assert received == {(f"{unique}/a", b"new"), (f"{unique}/b", b"b"), (f"{unique}/c/d", b"deep")}
    subscriber.expect_nothing()


@pytest.mark.statement("MQTT-3.3.1-7", version=4)
def test_retained_qos_0_replaces_what_was_stored(connected: Connected, unique: str) -> None:
    publisher, subscriber = connected("p"), connected("s")
    publisher.publish(unique, b"old", qos=1, retain=True)
    publisher.publish(unique, b"new", qos=0, retain=True)
    subscriber.subscribe(unique, qos=1)
    message = subscriber.receive()
    assert (message.payload, message.qos) == (b"new", 0)


@pytest.mark.statement("MQTT-3.3.1-9", version=4)
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_established_subscription_gets_retain_0(connected: Connected, unique: str, qos: int) -> None:
    publisher, subscriber = connected("p"), connected("s")
    subscriber.subscribe(unique, qos=2)
    publisher.publish(unique, b"m", qos=qos, retain=True)
    assert not subscriber.receive().retain


@pytest.mark.statement("MQTT-3.3.1-10", "MQTT-3.3.1-11", version=4)
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_empty_retained_message_removes_the_stored_one(connected: Connected, unique: str, qos: int) -> None:
    publisher, established, late = connected("p"), connected("e"), connected("l")
    publisher.publish(unique, b"kept", qos=1, retain=True)
    established.subscribe(unique, qos=2)
    assert established.receive().retain
    publisher.publish(unique, b"", qos=qos, retain=True)
    message = established.receive()
    assert (message.payload, message.retain) == (b"", False)
    late.subscribe(unique, qos=2)
    late.expect_nothing()


@pytest.mark.statement("MQTT-3.3.1-12", version=4)
@pytest.mark.parametrize("payload", [b"", b"other"])
def test_message_without_retain_leaves_the_stored_one(connected: Connected, unique: str, payload: bytes) -> None:
    publisher, subscriber = connected("p"), connected("s")
    publisher.publish(unique, b"kept", qos=1, retain=True)
    publisher.publish(unique, payload, qos=1)
    subscriber.subscribe(unique)
    assert subscriber.receive().payload == b"kept"


@pytest.mark.statement("MQTT-3.3.1-12", version=4)
def test_message_without_retain_is_not_stored(connected: Connected, unique: str) -> None:
    publisher, subscriber = connected("p"), connected("s")
    publisher.publish(unique, b"m", qos=1)
    subscriber.subscribe(unique)
    subscriber.expect_nothing()


@pytest.mark.statement("MQTT-3.3.2-1", version=4)
@pytest.mark.parametrize("body", [b"", b"\x00", u16(9) + b"short"], ids=["nothing", "half a length", "cut topic"])
def test_publish_without_a_whole_topic_name_closes_the_connection(connected: Connected, body: bytes) -> None:
    client = connected()
    client.send(packet(0x30, body))
    client.expect_closed()


@pytest.mark.statement("MQTT-3.3.2-1", version=4)
@pytest.mark.parametrize("topic", ["é/漢字/😀", " spaces too ", "/", "//"])
def test_topic_name_is_passed_on_unchanged(connected: Connected, unique: str, topic: str) -> None:
    client = connected()
    client.subscribe(f"{unique}/#")
    raw = packet(0x30, string(f"{unique}/{topic}") + b"m")
    client.send(raw)
    client.expect_bytes(raw)


@pytest.mark.statement("MQTT-3.3.2-2", "MQTT-4.7.1-1", version=4)
@pytest.mark.parametrize("topic", ["#", "+", "a/#", "a/+/b", "a+", "b#c"])
def test_wildcard_in_a_topic_name_closes_the_connection(connected: Connected, topic: str) -> None:
    client = connected()
    client.send(packet(0x30, string(topic) + b"m"))
    client.expect_closed()


@pytest.mark.statement("MQTT-3.3.2-3", version=4)
def test_topic_name_sent_matches_the_filter(connected: Connected, unique: str) -> None:
    publisher, subscriber = connected("p"), connected("s")
    subscriber.subscribe(f"{unique}/+/x")
    for topic in ("a/x", "a/y", "b/x", "b/x/x", "x"):
        publisher.publish(f"{unique}/{topic}", b"m", qos=1)
    assert [subscriber.receive().topic for _ in range(2)] == [f"{unique}/a/x", f"{unique}/b/x"]
    subscriber.expect_nothing()


@pytest.mark.statement("MQTT-3.3.4-1", version=4)
def test_qos_0_gets_no_answer(connected: Connected, unique: str) -> None:
    client = connected()
    client.send_publish(unique, b"m", qos=0)
    client.expect_nothing()


@pytest.mark.statement("MQTT-3.3.4-1", version=4)
def test_qos_1_gets_a_puback(connected: Connected, unique: str) -> None:
    client = connected()
    client.send_publish(unique, b"m", qos=1, packet_id=0x1234)
    client.expect_bytes(b"\x40\x02\x12\x34")


@pytest.mark.statement("MQTT-3.3.4-1", version=4)
def test_qos_2_gets_a_pubrec(connected: Connected, unique: str) -> None:
    client = connected()
    client.send_publish(unique, b"m", qos=2, packet_id=0x1234)
    client.expect_bytes(b"\x50\x02\x12\x34")


@pytest.mark.statement("MQTT-3.3.5-1", version=4)
@pytest.mark.parametrize(
    ("granted", "published", "expected"), [((0, 1, 2), 2, 2), ((0, 1), 2, 1), ((2, 0), 1, 1), ((1, 2), 0, 0)]
)
def test_overlapping_subscriptions_deliver_with_the_highest_qos(
    connected: Connected, unique: str, granted: tuple[int, ...], published: int, expected: int
) -> None:
    subscriber = connected("s")
    filters = [f"{unique}/a", f"{unique}/+", f"{unique}/#"]
    subscriber.subscribe(*zip(filters, granted, strict=False))
    connected("p").publish(f"{unique}/a", b"m", qos=published)
    received = subscriber.receive()
    assert received.qos == expected
    subscriber.expect_nothing()


@pytest.mark.statement("MQTT-3.3.5-2", version=4)
@pytest.mark.broker(config={"mqtt": {"retain_available": False}})
@pytest.mark.parametrize("qos", [1, 2])
def test_publish_that_is_not_allowed_is_acknowledged_or_closes_the_connection(
    connected: Connected, unique: str, qos: int
) -> None:
    publisher, subscriber = connected("p"), connected("s")
    subscriber.subscribe(unique, qos=qos)
    publisher.send_publish(unique, b"m", qos=qos, retain=True)
    raw = publisher.recv_raw()
    assert raw in (None, PubAck(1).encode(4), PubRec(1).encode(4))
    late = connected("l")
    late.subscribe(unique)
    late.expect_nothing()
