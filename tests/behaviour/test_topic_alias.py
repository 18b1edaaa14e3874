"""Topic aliases in both directions; the broker uses them by itself towards clients that allow it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from mqtt import P, Publish, R
from peer import Peer, PeerFactory

Connected = Callable[..., Peer]
KEPT = {P.SESSION_EXPIRY_INTERVAL: 100_000}


def alias(number: int) -> dict[P, int]:
    """Properties with a topic alias."""
    return {P.TOPIC_ALIAS: number}


def resolved(messages: list[Publish]) -> list[str]:
    """The topic of each message, aliases resolved as a client must."""
    known: dict[object, str] = {}
    topics = []
    for message in messages:
        number = message.properties.value(P.TOPIC_ALIAS)
        if message.topic and number is not None:
            known[number] = message.topic
        topics.append(message.topic or known[number])
    return topics


# --- from the client ---


def test_alias_of_a_client_stands_for_its_topic(connected: Connected, unique: str) -> None:
    publisher, subscriber = connected("p"), connected("s")
    subscriber.subscribe(f"{unique}/#")
    publisher.publish(f"{unique}/a", b"1", qos=1, props=alias(1))
    publisher.publish(f"{unique}/b", b"2", qos=1, props=alias(32))
    publisher.publish("", b"3", qos=1, props=alias(1))
    publisher.publish("", b"4", qos=2, props=alias(32))
    publisher.publish("", b"5", qos=0, props=alias(1))
    received = [subscriber.receive() for _ in range(5)]
    assert [message.topic for message in received] == [f"{unique}/{name}" for name in "ababa"]
    assert all(message.properties == [] for message in received)


def test_alias_can_be_given_another_topic(connected: Connected, unique: str) -> None:
    publisher, subscriber = connected("p"), connected("s")
    subscriber.subscribe(f"{unique}/#")
    publisher.publish(f"{unique}/a", b"1", qos=1, props=alias(1))
    publisher.publish(f"{unique}/b", b"2", qos=1, props=alias(1))
    publisher.publish("", b"3", qos=1, props=alias(1))
    assert [subscriber.receive().topic for _ in range(3)] == [f"{unique}/{name}" for name in "abb"]


def test_aliases_belong_to_one_connection(connected: Connected, unique: str) -> None:
    connected("p", props=KEPT).publish(unique, b"m", qos=1, props=alias(1))
    again = connected("p", clean=False, props=KEPT)
    again.send_publish("", b"m", qos=1, props=alias(1))
    again.expect_disconnect(R.PROTOCOL_ERROR)


def test_alias_works_for_retained_messages(connected: Connected, unique: str) -> None:
    publisher, late = connected("p"), connected("s")
    publisher.publish(unique, b"old", qos=1, props=alias(3))
    publisher.publish("", b"kept", qos=1, retain=True, props=alias(3))
    late.subscribe(unique)
    message = late.receive()
    assert (message.topic, message.payload, message.properties) == (unique, b"kept", [])


@pytest.mark.parametrize("number", [33, 65_535])
def test_alias_above_the_maximum_is_refused(connected: Connected, unique: str, number: int) -> None:
    client = connected()
    client.send_publish(unique, b"m", props=alias(number))
    client.expect_disconnect(R.TOPIC_ALIAS_INVALID)


def test_alias_0_is_refused(connected: Connected, unique: str) -> None:
    client = connected()
    client.send_publish(unique, b"m", props=alias(0))
    client.expect_disconnect(R.TOPIC_ALIAS_INVALID)


def test_unknown_alias_is_refused(connected: Connected) -> None:
    client = connected()
    client.send_publish("", b"m", props=alias(5))
    client.expect_disconnect(R.PROTOCOL_ERROR)


@pytest.mark.broker(config={"mqtt": {"max_topic_alias": 7}})
def test_maximum_is_announced(peer: PeerFactory, unique: str) -> None:
    client = peer()
    assert client.connect(unique).properties.value(P.TOPIC_ALIAS_MAXIMUM) == 7
    client.publish(unique, b"m", qos=1, props=alias(7))
    client.send_publish(unique, b"m", props=alias(8))
    client.expect_disconnect(R.TOPIC_ALIAS_INVALID)


@pytest.mark.broker(config={"mqtt": {"max_topic_alias": 0}})
def test_aliases_can_be_switched_off(peer: PeerFactory, unique: str) -> None:
    client = peer()
    assert client.connect(unique).properties.value(P.TOPIC_ALIAS_MAXIMUM) in (None, 0)
    client.send_publish(unique, b"m", props=alias(1))
    client.expect_disconnect(R.TOPIC_ALIAS_INVALID)


# --- from the broker ---


def test_broker_uses_aliases_towards_clients_that_allow_them(connected: Connected, unique: str) -> None:
    subscriber, publisher = connected("s", props={P.TOPIC_ALIAS_MAXIMUM: 10}), connected("p")
    subscriber.subscribe(unique, qos=1)
    for number in range(5):
        publisher.publish(unique, b"%d" % number, qos=number % 2)
    received = [subscriber.receive() for _ in range(5)]
    assert resolved(received) == [unique] * 5
    assert [message.topic for message in received[-2:]] == ["", ""]


def test_broker_uses_no_aliases_without_permission(connected: Connected, unique: str) -> None:
    subscriber, publisher = connected("s"), connected("p")
    subscriber.subscribe(unique, qos=1)
    for number in range(5):
        publisher.publish(unique, b"%d" % number, qos=number % 2)
    received = [subscriber.receive() for _ in range(5)]
    assert [message.topic for message in received] == [unique] * 5
    assert all(message.properties.value(P.TOPIC_ALIAS) is None for message in received)


@pytest.mark.parametrize("maximum", [1, 2, 5, 100])
def test_broker_stays_within_the_clients_maximum(connected: Connected, unique: str, maximum: int) -> None:
    subscriber, publisher = connected("s", props={P.TOPIC_ALIAS_MAXIMUM: maximum}), connected("p")
    subscriber.subscribe(f"{unique}/#")
    sent = []
    for number in range(60):
        sent.append(f"{unique}/{number * 7 % 13}")
        publisher.send_publish(sent[-1], b"%d" % number)
    received = [subscriber.receive() for _ in range(60)]
    assert resolved(received) == sent
    numbers = [message.properties.value(P.TOPIC_ALIAS) for message in received]
    assert all(isinstance(number, int) and 1 <= number <= maximum for number in numbers if number is not None)


def test_aliases_of_the_broker_start_anew_with_each_connection(
    connected: Connected, cut: Callable[[str], bool], unique: str
) -> None:
    props = {P.TOPIC_ALIAS_MAXIMUM: 10, **KEPT}
    subscriber, publisher = connected("s", props=props), connected("p")
    subscriber.subscribe(unique, qos=1)
    for number in range(4):
        publisher.publish(unique, b"%d" % number, qos=1)
    first = [subscriber.expect(Publish) for _ in range(4)]
    assert resolved(first) == [unique] * 4
    assert cut(subscriber.client_id)
    again = connected("s", clean=False, props=props)
    publisher.publish(unique, b"4", qos=1)
    received = [again.expect(Publish) for _ in range(5)]
    assert resolved(received) == [unique] * 5
    assert [message.payload for message in received] == [b"0", b"1", b"2", b"3", b"4"]


def test_alias_of_the_publisher_is_not_the_alias_of_the_subscriber(connected: Connected, unique: str) -> None:
    subscriber, publisher = connected("s", props={P.TOPIC_ALIAS_MAXIMUM: 2}), connected("p")
    subscriber.subscribe(f"{unique}/#")
    for number in range(1, 21):
        publisher.publish(f"{unique}/{number}", b"m", qos=1, props=alias(number))
    received = [subscriber.receive() for _ in range(20)]
    assert resolved(received) == [f"{unique}/{number}" for number in range(1, 21)]
