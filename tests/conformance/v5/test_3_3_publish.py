"""MQTT 5.0, 3.3: PUBLISH without retained messages (test_3_3_retain.py) and topic aliases (test_3_3_topic_alias.py)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from mqtt import Options, P, PubAck, Publish, PubRec, R, packet, properties, string, u16
from peer import Peer, PeerFactory

from nanomq.testing import Clock

statement = pytest.mark.statement


@statement("MQTT-3.3.1-1", "MQTT-4.4.0-1")
@pytest.mark.parametrize("qos", [1, 2])
def test_message_that_is_sent_again_has_dup(
    connected: Callable[..., Peer], unique: str, cut: Callable[[str], bool], qos: int
) -> None:
    subscriber = connected("s", props={P.SESSION_EXPIRY_INTERVAL: 100})
    subscriber.subscribe(unique, qos=qos)
    connected("p").publish(unique, b"x", qos=qos)
    first = subscriber.expect(Publish)
    assert cut(unique + "s")
    again = connected("s", clean=False, props={P.SESSION_EXPIRY_INTERVAL: 100}).expect(Publish)
    assert (first.dup, again) == (False, Publish(unique, b"x", qos, dup=True, packet_id=first.packet_id))


@statement("MQTT-3.3.1-2", "MQTT-4.3.1-1")
def test_qos_0_is_sent_with_dup_0(connected: Callable[..., Peer], unique: str) -> None:
    subscriber, publisher = connected("s"), connected("p")
    subscriber.subscribe(unique)
    publisher.send_publish(unique, b"x", 1, dup=True)
    subscriber.expect_bytes(packet(0x30, string(unique) + b"\x00x"))


@statement("MQTT-3.3.1-2")
def test_dup_with_qos_0_is_malformed(connected: Callable[..., Peer]) -> None:
    client = connected()
    client.send(packet(0x38, string("a") + b"\x00"))
    client.expect_disconnect(R.MALFORMED_PACKET)


@statement("MQTT-3.3.1-3", "MQTT-4.3.2-2", "MQTT-4.3.3-2")
@pytest.mark.parametrize("qos", [1, 2])
def test_dup_is_not_passed_on(connected: Callable[..., Peer], unique: str, qos: int) -> None:
    subscriber, publisher = connected("s"), connected("p")
    subscriber.subscribe(unique, qos=qos)
    publisher.send_publish(unique, b"x", qos, dup=True)
    assert subscriber.expect(Publish).dup is False


@statement("MQTT-3.3.1-4")
@pytest.mark.parametrize("first", [0x36, 0x3E, 0x37, 0x3F])
def test_qos_3_is_malformed(connected: Callable[..., Peer], first: int) -> None:
    client = connected()
    client.send(packet(first, string("a") + u16(1) + b"\x00"))
    client.expect_disconnect(R.MALFORMED_PACKET)


@statement("MQTT-3.3.2-1")
def test_publish_without_topic_name_is_malformed(connected: Callable[..., Peer]) -> None:
    client = connected()
    client.send(packet(0x30))
    client.expect_disconnect(R.MALFORMED_PACKET)


@statement("MQTT-3.3.2-2", "MQTT-4.7.0-1")
@pytest.mark.parametrize("topic", ["#", "+", "a/#", "+/a", "a+", "a#b"])
def test_wildcard_in_topic_name_closes_the_connection(connected: Callable[..., Peer], topic: str) -> None:
    client = connected()
    client.send_publish(topic)
    found = client.recv()
    assert getattr(found, "reason", None) in (R.MALFORMED_PACKET, R.TOPIC_NAME_INVALID)
    client.expect_closed()


@statement("MQTT-3.3.2-3")
def test_subscriber_gets_the_topic_name_that_was_published(connected: Callable[..., Peer], unique: str) -> None:
    client = connected()
    client.subscribe(f"{unique}/+/b/#")
    client.send_publish(f"{unique}/a/b/c/d", b"x")
    assert client.receive().topic == f"{unique}/a/b/c/d"


@statement("MQTT-3.3.2-4")
@pytest.mark.parametrize("indicator", [0, 1])
def test_payload_format_indicator_passes_unchanged(connected: Callable[..., Peer], unique: str, indicator: int) -> None:
    client = connected()
    client.subscribe(unique)
    client.send_publish(unique, b"text", props={P.PAYLOAD_FORMAT_INDICATOR: indicator})
    client.expect_bytes(packet(0x30, string(unique) + b"\x02\x01" + bytes([indicator]) + b"text"))


@statement("MQTT-3.3.2-4")
@pytest.mark.broker(config={"mqtt": {"payload_format_check": True}})
@pytest.mark.parametrize(("qos", "kind"), [(1, PubAck), (2, PubRec)])
def test_payload_that_is_no_text_is_refused_if_it_is_checked(
    connected: Callable[..., Peer], qos: int, kind: type[PubAck | PubRec]
) -> None:
    client = connected()
    client.subscribe("a")
    client.send_publish("a", b"\xff", qos, props={P.PAYLOAD_FORMAT_INDICATOR: 1})
    assert client.expect(kind).reason == R.PAYLOAD_FORMAT_INVALID
    client.expect_nothing()


@statement("MQTT-3.3.2-5")
@pytest.mark.parametrize("qos", [1, 2])
def test_waiting_message_is_deleted_when_it_expires(
    connected: Callable[..., Peer], unique: str, clock: Clock, qos: int
) -> None:
    away = connected("s", props={P.SESSION_EXPIRY_INTERVAL: 100})
    away.subscribe(unique, qos=qos)
    away.disconnect()
    publisher = connected("p")
    publisher.publish(unique, b"expires", qos=qos, props={P.MESSAGE_EXPIRY_INTERVAL: 10})
    publisher.publish(unique, b"stays", qos=qos, props={P.MESSAGE_EXPIRY_INTERVAL: 20})
    clock.advance(seconds=10.5)
    back = connected("s", clean=False)
    assert back.receive().payload == b"stays"
    back.expect_nothing()


@statement("MQTT-3.3.2-5")
def test_retained_message_is_deleted_when_it_expires(connected: Callable[..., Peer], unique: str, clock: Clock) -> None:
    client = connected()
    client.publish(unique, b"x", retain=True, props={P.MESSAGE_EXPIRY_INTERVAL: 10})
    clock.advance(seconds=10.5)
    client.subscribe(unique)
    client.expect_nothing()


@statement("MQTT-3.3.2-6")
def test_expiry_interval_of_a_waiting_message_is_reduced(
    connected: Callable[..., Peer], unique: str, clock: Clock
) -> None:
    away = connected("s", props={P.SESSION_EXPIRY_INTERVAL: 1000})
    away.subscribe(unique, qos=1)
    away.disconnect()
    connected("p").publish(unique, b"x", props={P.MESSAGE_EXPIRY_INTERVAL: 100})
    clock.advance(seconds=30)
    assert connected("s", clean=False).receive().properties.value(P.MESSAGE_EXPIRY_INTERVAL) in (69, 70)


@statement("MQTT-3.3.2-6")
def test_expiry_interval_of_a_retained_message_is_reduced(
    connected: Callable[..., Peer], unique: str, clock: Clock
) -> None:
    client = connected()
    client.publish(unique, b"x", retain=True, props={P.MESSAGE_EXPIRY_INTERVAL: 100})
    clock.advance(seconds=30)
    client.subscribe(unique)
    assert client.receive().properties.value(P.MESSAGE_EXPIRY_INTERVAL) in (69, 70)


@statement("MQTT-3.3.2-6")
def test_expiry_interval_of_a_message_that_does_not_wait_is_kept(connected: Callable[..., Peer], unique: str) -> None:
    client = connected()
    client.subscribe(unique)
    client.send_publish(unique, b"x", props={P.MESSAGE_EXPIRY_INTERVAL: 100})
    assert client.receive().properties.value(P.MESSAGE_EXPIRY_INTERVAL) in (99, 100)


@statement("MQTT-3.3.2-13")
def test_empty_and_long_response_topics_pass(connected: Callable[..., Peer], unique: str) -> None:
    client = connected()
    client.subscribe(unique)
    long = "é" * 30_000
    client.send_publish(unique, props={P.RESPONSE_TOPIC: long})
    assert client.receive().properties == [(P.RESPONSE_TOPIC, long)]


@statement("MQTT-3.3.2-14")
@pytest.mark.parametrize("topic", ["#", "a/+", "a/#"])
def test_wildcard_in_response_topic_closes_the_connection(connected: Callable[..., Peer], topic: str) -> None:
    client = connected()
    client.send_publish("a", props={P.RESPONSE_TOPIC: topic})
    found = client.recv()
    assert getattr(found, "reason", None) in (R.MALFORMED_PACKET, R.PROTOCOL_ERROR, R.TOPIC_NAME_INVALID)
    client.expect_closed()


@statement("MQTT-3.3.2-15", "MQTT-3.3.2-16", "MQTT-3.3.2-17", "MQTT-3.3.2-18", "MQTT-3.3.2-20")
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_properties_of_a_message_pass_unchanged_and_in_order(
    connected: Callable[..., Peer], unique: str, qos: int
) -> None:
    sent = properties(
        [
            (P.USER_PROPERTY, ("z", "1")),
            (P.CONTENT_TYPE, "application/json"),
            (P.CORRELATION_DATA, bytes(range(256))),
            (P.USER_PROPERTY, ("a", "é")),
            (P.RESPONSE_TOPIC, "answers/1"),
            (P.USER_PROPERTY, ("z", "1")),
            (P.PAYLOAD_FORMAT_INDICATOR, 1),
        ]
    )
    subscriber, publisher = connected("s"), connected("p")
    subscriber.subscribe(unique, qos=qos)
    publisher.publish(unique, b"x", qos=qos, props=sent)
    assert subscriber.receive().properties == sent


@statement("MQTT-3.3.2-15", "MQTT-3.3.2-16", "MQTT-3.3.2-17", "MQTT-3.3.2-18", "MQTT-3.3.2-20")
def test_properties_of_a_retained_message_pass_unchanged(connected: Callable[..., Peer], unique: str) -> None:
    sent = properties(
        [
            (P.USER_PROPERTY, ("b", "1")),
            (P.CONTENT_TYPE, "a/b"),
            (P.CORRELATION_DATA, b"\x00"),
            (P.USER_PROPERTY, ("a", "2")),
            (P.RESPONSE_TOPIC, "answers"),
        ]
    )
    client = connected()
    client.publish(unique, b"x", retain=True, props=sent)
    client.subscribe(unique)
    assert client.receive().properties == sent


@statement("MQTT-3.3.2-19")
def test_content_type_of_any_characters_passes(connected: Callable[..., Peer], unique: str) -> None:
    client = connected()
    client.subscribe(unique)
    client.send_publish(unique, props={P.CONTENT_TYPE: "çontent 𝄞"})
    assert client.receive().properties == [(P.CONTENT_TYPE, "çontent 𝄞")]


@statement("MQTT-3.3.4-1")
def test_qos_0_is_not_answered(connected: Callable[..., Peer], unique: str) -> None:
    client = connected()
    client.send_publish(unique)
    client.expect_nothing()


@statement("MQTT-3.3.4-1")
def test_qos_1_message_without_subscribers_is_acknowledged_with_0x10(
    connected: Callable[..., Peer], unique: str
) -> None:
    client = connected()
    client.send_publish(unique, qos=1, packet_id=5)
    client.expect_bytes(b"\x40\x03\x00\x05\x10")


@statement("MQTT-3.3.4-1")
def test_qos_2_message_without_subscribers_is_acknowledged_in_the_short_form(
    connected: Callable[..., Peer], unique: str
) -> None:
    client = connected()
    client.send_publish(unique, qos=2, packet_id=5)
    client.expect_bytes(b"\x50\x02\x00\x05")


@statement("MQTT-3.3.4-1", "MQTT-4.3.3-8")
def test_pubrec_comes_before_the_publishers_own_copy(connected: Callable[..., Peer], unique: str) -> None:
    client = connected()
    client.subscribe(unique)
    client.send_publish(unique, b"x", qos=2, packet_id=5)
    client.expect_bytes(b"\x50\x02\x00\x05")
    client.expect_bytes(packet(0x30, string(unique) + b"\x00" + b"x"))


@statement("MQTT-3.3.4-1")
@pytest.mark.parametrize(("qos", "first"), [(1, 0x40), (2, 0x50)])
def test_message_with_subscribers_is_acknowledged_in_the_short_form(
    connected: Callable[..., Peer], unique: str, qos: int, first: int
) -> None:
    connected("s").subscribe(unique)
    client = connected()
    client.send_publish(unique, qos=qos, packet_id=5)
    client.expect_bytes(bytes([first, 2, 0, 5]))


@statement("MQTT-3.3.4-2", "MQTT-3.3.4-4")
def test_overlapping_subscriptions_give_one_copy_with_the_highest_qos(
    connected: Callable[..., Peer], unique: str
) -> None:
    subscriber, publisher = connected("s"), connected("p")
    subscriber.subscribe(f"{unique}/a", qos=0, props={P.SUBSCRIPTION_IDENTIFIER: 1})
    subscriber.subscribe(f"{unique}/+", qos=2, props={P.SUBSCRIPTION_IDENTIFIER: 2})
    subscriber.subscribe(f"{unique}/#", qos=1, props={P.SUBSCRIPTION_IDENTIFIER: 268_435_455})
    publisher.publish(f"{unique}/a", b"x", qos=2)
    message = subscriber.receive()
    ids = message.properties.values(P.SUBSCRIPTION_IDENTIFIER)
    assert (message.qos, set(ids), len(ids)) == (2, {1, 2, 268_435_455}, 3)
    subscriber.expect_nothing()


@statement("MQTT-3.3.4-3")
def test_subscription_identifier_comes_with_the_message(connected: Callable[..., Peer], unique: str) -> None:
    client = connected()
    client.subscribe(unique, props={P.SUBSCRIPTION_IDENTIFIER: 42})
    client.send_publish(unique, b"x")
    client.expect_bytes(packet(0x30, string(unique) + b"\x02\x0b\x2a" + b"x"))


@statement("MQTT-3.3.4-3")
def test_subscription_without_identifier_adds_none(connected: Callable[..., Peer], unique: str) -> None:
    client = connected()
    client.subscribe(f"{unique}/#")
    client.subscribe(f"{unique}/a", props={P.SUBSCRIPTION_IDENTIFIER: 7})
    client.send_publish(f"{unique}/a", b"x")
    assert client.receive().properties.values(P.SUBSCRIPTION_IDENTIFIER) == [7]


@statement("MQTT-3.3.4-3", "MQTT-3.8.4-3")
def test_replaced_subscription_brings_its_new_identifier(connected: Callable[..., Peer], unique: str) -> None:
    client = connected()
    client.subscribe(unique, props={P.SUBSCRIPTION_IDENTIFIER: 1})
    client.subscribe(unique, props={P.SUBSCRIPTION_IDENTIFIER: 2})
    client.send_publish(unique, b"x")
    assert client.receive().properties.values(P.SUBSCRIPTION_IDENTIFIER) == [2]


@statement("MQTT-3.3.4-3")
def test_identifiers_belong_to_their_client(connected: Callable[..., Peer], unique: str) -> None:
    one, two = connected("1"), connected("2")
    one.subscribe(unique, props={P.SUBSCRIPTION_IDENTIFIER: 1})
    two.subscribe(unique, props={P.SUBSCRIPTION_IDENTIFIER: 2})
    connected("p").publish(unique, b"x")
    assert one.receive().properties.values(P.SUBSCRIPTION_IDENTIFIER) == [1]
    assert two.receive().properties.values(P.SUBSCRIPTION_IDENTIFIER) == [2]


@statement("MQTT-3.3.4-3")
def test_identifier_comes_with_a_message_that_waited(connected: Callable[..., Peer], unique: str) -> None:
    away = connected("s", props={P.SESSION_EXPIRY_INTERVAL: 100})
    away.subscribe(unique, qos=1, props={P.SUBSCRIPTION_IDENTIFIER: 9})
    away.disconnect()
    connected("p").publish(unique, b"x")
    assert connected("s", clean=False).receive().properties.values(P.SUBSCRIPTION_IDENTIFIER) == [9]


@statement("MQTT-3.3.4-5")
def test_shared_and_normal_subscription_give_copies_with_their_own_identifiers(
    connected: Callable[..., Peer], unique: str
) -> None:
    subscriber, publisher = connected("s"), connected("p")
    subscriber.subscribe(unique, props={P.SUBSCRIPTION_IDENTIFIER: 1})
    subscriber.subscribe(f"$share/g/{unique}", props={P.SUBSCRIPTION_IDENTIFIER: 2})
    publisher.publish(unique, b"x")
    copies = [subscriber.receive().properties.values(P.SUBSCRIPTION_IDENTIFIER) for _ in range(2)]
    assert sorted(copies, key=str) == [[1], [2]]


@statement("MQTT-3.3.4-6")
def test_subscription_identifier_of_a_publisher_is_a_protocol_error(connected: Callable[..., Peer]) -> None:
    client = connected()
    client.send_publish("a", props={P.SUBSCRIPTION_IDENTIFIER: 1})
    client.expect_disconnect(R.PROTOCOL_ERROR)


@statement("MQTT-3.3.4-7")
@pytest.mark.broker(config={"mqtt": {"receive_maximum": 3}})
def test_more_open_messages_than_receive_maximum_close_the_connection(peer: PeerFactory) -> None:
    client = peer()
    assert client.connect("a").properties.value(P.RECEIVE_MAXIMUM) == 3
    for packet_id in (1, 2, 3):
        client.send_publish("a", qos=2, packet_id=packet_id)
        client.expect(PubRec)
    # A PUBREC below 0x80 gives no quota back, PUBCOMP does.
    client.send_publish("a", qos=2, packet_id=4)
    client.expect_disconnect(R.RECEIVE_MAXIMUM_EXCEEDED)


@statement("MQTT-3.3.4-7", "MQTT-4.9.0-1")
@pytest.mark.broker(config={"mqtt": {"receive_maximum": 3}})
def test_pubcomp_gives_quota_back_to_the_publisher(connected: Callable[..., Peer]) -> None:
    client = connected()
    for _ in range(10):
        client.publish("a", qos=2)
    client.ping()


@statement("MQTT-3.3.4-8")
@pytest.mark.broker(config={"mqtt": {"receive_maximum": 1}})
def test_other_packets_are_answered_while_the_quota_is_used_up(connected: Callable[..., Peer]) -> None:
    client = connected()
    client.send_publish("a", qos=2, packet_id=1)
    client.expect(PubRec)
    client.subscribe("b")
    client.send_publish("b", b"qos 0")
    assert client.receive().payload == b"qos 0"


@statement("MQTT-3.3.4-9", "MQTT-4.9.0-2")
@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize("maximum", [1, 3])
def test_no_more_open_messages_than_the_clients_receive_maximum(
    connected: Callable[..., Peer], unique: str, qos: int, maximum: int
) -> None:
    subscriber, publisher = connected("s", props={P.RECEIVE_MAXIMUM: maximum}), connected("p")
    subscriber.subscribe(unique, qos=qos)
    for number in range(maximum + 2):
        publisher.publish(unique, bytes([number]), qos=qos)
    found = [subscriber.expect(Publish) for _ in range(maximum)]
    subscriber.expect_nothing()
    subscriber.acknowledge(found[0])
    assert subscriber.expect(Publish).payload == bytes([maximum])
    subscriber.expect_nothing()


@statement("MQTT-3.3.4-10")
def test_qos_0_and_answers_are_sent_while_the_window_is_full(connected: Callable[..., Peer], unique: str) -> None:
    subscriber, publisher = connected("s", props={P.RECEIVE_MAXIMUM: 1}), connected("p")
    subscriber.subscribe(f"{unique}/1", qos=1)
    subscriber.subscribe(f"{unique}/0", qos=0)
    publisher.publish(f"{unique}/1", b"open")
    subscriber.expect(Publish)
    assert subscriber.subscribe("other").reasons == (0,)
    publisher.publish(f"{unique}/0", b"not held up")
    assert subscriber.expect(Publish).payload == b"not held up"


@statement("MQTT-3.3.4-1")
def test_empty_payload_is_delivered(connected: Callable[..., Peer], unique: str) -> None:
    client = connected()
    client.subscribe(unique)
    client.send_publish(unique)
    client.expect_bytes(packet(0x30, string(unique) + b"\x00"))


@statement("MQTT-3.3.4-1")
@pytest.mark.parametrize("size", [1, 4095, 4096, 65_536, 1_000_000])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_payload_of_any_size_passes_unchanged(connected: Callable[..., Peer], unique: str, size: int, qos: int) -> None:
    subscriber, publisher = connected("s"), connected("p")
    subscriber.subscribe((unique, Options(qos)))
    payload = (bytes(range(256)) * (size // 256 + 1))[:size]
    publisher.publish(unique, payload, qos=qos)
    assert subscriber.receive() == Publish(unique, payload, qos, packet_id=1 if qos else 0)


@statement("MQTT-3.3.2-5", "MQTT-4.9.0-2")
def test_message_that_waits_for_the_window_expires(connected: Callable[..., Peer], unique: str, clock: Clock) -> None:
    subscriber, publisher = connected("s", props={P.RECEIVE_MAXIMUM: 1}), connected("p")
    subscriber.subscribe(unique, qos=1)
    publisher.publish(unique, b"open")
    publisher.publish(unique, b"expires", props={P.MESSAGE_EXPIRY_INTERVAL: 10})
    publisher.publish(unique, b"stays")
    clock.advance(seconds=10.5)
    assert subscriber.receive().payload == b"open"
    assert subscriber.receive().payload == b"stays"


@statement("MQTT-3.3.2-6")
def test_expiry_interval_stands_beside_other_properties(
    connected: Callable[..., Peer], unique: str, clock: Clock
) -> None:
    client = connected()
    sent = [
        (P.USER_PROPERTY, ("a", "1")),
        (P.MESSAGE_EXPIRY_INTERVAL, 100),
        (P.CONTENT_TYPE, "x"),
        (P.USER_PROPERTY, ("b", "2")),
    ]
    client.publish(unique, b"x", retain=True, props=sent)
    clock.advance(seconds=50)
    client.subscribe(unique)
    found = client.receive().properties
    assert found.value(P.MESSAGE_EXPIRY_INTERVAL) in (49, 50)
    assert (found.values(P.USER_PROPERTY), found.value(P.CONTENT_TYPE)) == ([("a", "1"), ("b", "2")], "x")
