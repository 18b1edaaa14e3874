"""MQTT 5.0, 3.3.2.3.4: topic aliases of both directions."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from mqtt import P, Publish, R, packet, string
from peer import Peer

statement = pytest.mark.statement


@statement("MQTT-3.3.2-12", "MQTT-3.3.2-9")
@pytest.mark.parametrize("alias", [1, 2, 32])
def test_alias_up_to_the_maximum_is_accepted(connected: Callable[..., Peer], unique: str, alias: int) -> None:
    client = connected()
    client.subscribe(unique)
    client.send_publish(unique, b"1", props={P.TOPIC_ALIAS: alias})
    client.send_publish("", b"2", props={P.TOPIC_ALIAS: alias})
    assert [client.receive() for _ in range(2)] == [Publish(unique, b"1"), Publish(unique, b"2")]


@statement("MQTT-3.3.2-12")
def test_alias_can_be_given_to_another_topic(connected: Callable[..., Peer], unique: str) -> None:
    client = connected()
    client.subscribe(f"{unique}/+")
    client.send_publish(f"{unique}/a", props={P.TOPIC_ALIAS: 1})
    client.send_publish(f"{unique}/b", props={P.TOPIC_ALIAS: 1})
    client.send_publish("", props={P.TOPIC_ALIAS: 1})
    assert [client.receive().topic for _ in range(3)] == [f"{unique}/a", f"{unique}/b", f"{unique}/b"]


@statement("MQTT-3.3.2-12")
@pytest.mark.parametrize("qos", [1, 2])
def test_alias_works_with_every_qos(connected: Callable[..., Peer], unique: str, qos: int) -> None:
    subscriber, publisher = connected("s"), connected("p")
    subscriber.subscribe(unique, qos=qos)
    publisher.publish(unique, b"1", qos=qos, props={P.TOPIC_ALIAS: 1})
    publisher.publish("", b"2", qos=qos, props={P.TOPIC_ALIAS: 1})
    assert [subscriber.receive().payload for _ in range(2)] == [b"1", b"2"]


@statement("MQTT-3.3.2-12")
def test_alias_of_a_publisher_is_not_sent_to_subscribers(connected: Callable[..., Peer], unique: str) -> None:
    client = connected()
    client.subscribe(unique)
    client.send_publish(unique, b"x", props=[(P.TOPIC_ALIAS, 1), (P.USER_PROPERTY, ("a", "b"))])
    client.expect_bytes(packet(0x30, string(unique) + b"\x07\x26\x00\x01a\x00\x01b" + b"x"))


@statement("MQTT-3.3.2-8")
def test_alias_0_is_refused(connected: Callable[..., Peer]) -> None:
    client = connected()
    client.send_publish("a", props={P.TOPIC_ALIAS: 0})
    found = client.recv()
    assert getattr(found, "reason", None) in (R.TOPIC_ALIAS_INVALID, R.PROTOCOL_ERROR)
    client.expect_closed()


@statement("MQTT-3.3.2-7", "MQTT-4.13.1-1")
def test_unknown_alias_without_topic_name_is_a_protocol_error(connected: Callable[..., Peer]) -> None:
    client = connected()
    client.send_publish("", props={P.TOPIC_ALIAS: 1})
    client.expect_disconnect(R.PROTOCOL_ERROR)


@statement("MQTT-3.3.2-7")
def test_alias_ends_with_its_connection(connected: Callable[..., Peer], unique: str) -> None:
    first = connected("a", props={P.SESSION_EXPIRY_INTERVAL: 100})
    first.send_publish(unique, props={P.TOPIC_ALIAS: 1})
    first.disconnect()
    second = connected("a", clean=False)
    second.send_publish("", props={P.TOPIC_ALIAS: 1})
    second.expect_disconnect(R.PROTOCOL_ERROR)


@statement("MQTT-3.3.2-7")
def test_aliases_belong_to_one_connection(connected: Callable[..., Peer], unique: str) -> None:
    one, two = connected("1"), connected("2")
    one.send_publish(unique, props={P.TOPIC_ALIAS: 1})
    one.ping()
    two.send_publish("", props={P.TOPIC_ALIAS: 1})
    two.expect_disconnect(R.PROTOCOL_ERROR)


@statement("MQTT-4.7.3-1", "MQTT-4.13.1-1")
def test_empty_topic_name_without_alias_is_a_protocol_error(connected: Callable[..., Peer]) -> None:
    client = connected()
    client.send_publish("")
    found = client.recv()
    assert getattr(found, "reason", None) in (R.PROTOCOL_ERROR, R.MALFORMED_PACKET, R.TOPIC_NAME_INVALID)
    client.expect_closed()


@statement("MQTT-3.3.2-7", "MQTT-3.3.2-11")
def test_aliases_of_the_broker_begin_anew_with_each_connection(connected: Callable[..., Peer], unique: str) -> None:
    options = {"props": {P.SESSION_EXPIRY_INTERVAL: 100, P.TOPIC_ALIAS_MAXIMUM: 10}}
    publisher, first = connected("p"), connected("s", **options)
    first.subscribe(f"{unique}/long/topic")
    publisher.publish(f"{unique}/long/topic", b"1")
    first.receive()
    first.disconnect()
    second = connected("s", clean=False, **options)
    publisher.publish(f"{unique}/long/topic", b"2")
    assert second.receive().topic == f"{unique}/long/topic"


@statement("MQTT-3.3.2-8", "MQTT-3.3.2-11")
def test_broker_uses_the_aliases_a_client_offers(connected: Callable[..., Peer], unique: str) -> None:
    topic = f"{unique}/long/topic"
    subscriber, publisher = connected("s", props={P.TOPIC_ALIAS_MAXIMUM: 10}), connected("p")
    subscriber.subscribe(topic)
    publisher.publish(topic, b"1")
    publisher.publish(topic, b"2")
    first, second = subscriber.receive(), subscriber.receive()
    alias = first.properties.value(P.TOPIC_ALIAS)
    assert isinstance(alias, int) and 1 <= alias <= 10
    assert (first.topic, second.topic, second.properties.value(P.TOPIC_ALIAS)) == (topic, "", alias)


@statement("MQTT-3.3.1-1", "MQTT-3.3.2-7")
def test_message_that_is_sent_again_has_its_topic_name(
    connected: Callable[..., Peer], unique: str, cut: Callable[[str], bool]
) -> None:
    topic, options = f"{unique}/long/topic", {"props": {P.SESSION_EXPIRY_INTERVAL: 100, P.TOPIC_ALIAS_MAXIMUM: 10}}
    subscriber, publisher = connected("s", **options), connected("p")
    subscriber.subscribe(topic, qos=1)
    publisher.publish(topic, b"1")
    publisher.publish(topic, b"2")
    subscriber.expect(Publish)
    subscriber.expect(Publish)
    assert cut(unique + "s")
    again = connected("s", clean=False, **options)
    first = again.expect(Publish)
    assert (first.topic, first.payload, first.dup) == (topic, b"1", True)
    assert again.expect(Publish).payload == b"2"
