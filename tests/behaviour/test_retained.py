"""Retained messages: expiry, handling, as published, limits, wildcard lookup."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from mqtt import Options, P, Publish, R, SubAck, Subscribe
from peer import Peer, PeerFactory
from timing import after, before, unless_late

from nanomq.testing import Clock, RunningBroker

Connected = Callable[..., Peer]


def test_retained_message_is_sent_after_suback(connected: Connected, unique: str) -> None:
    client = connected()
    client.publish(unique, b"kept", qos=1, retain=True)
    client.send(Subscribe(7, ((unique, Options(1)),)))
    assert isinstance(client.recv(), SubAck)
    assert isinstance(client.recv(), Publish)


@pytest.mark.parametrize(("handling", "first", "again"), [(0, True, True), (1, True, False), (2, False, False)])
def test_retain_handling(connected: Connected, unique: str, handling: int, first: bool, again: bool) -> None:
    client = connected()
    client.publish(unique, b"kept", qos=1, retain=True)
    for is_sent in (first, again):
        client.subscribe((unique, Options(1, retain_handling=handling)))
        if is_sent:
            assert client.receive().payload == b"kept"
        client.expect_nothing()


def test_retain_handling_1_sends_again_after_unsubscribe(connected: Connected, unique: str) -> None:
    client = connected()
    client.publish(unique, b"kept", qos=1, retain=True)
    for _ in range(2):
        client.subscribe((unique, Options(1, retain_handling=1)))
        assert client.receive().payload == b"kept"
        client.unsubscribe(unique)


@pytest.mark.parametrize("as_published", [False, True])
@pytest.mark.parametrize("retain", [False, True])
def test_retain_as_published_for_live_messages(
    connected: Connected, unique: str, as_published: bool, retain: bool
) -> None:
    client, publisher = connected("s"), connected("p")
    client.subscribe((unique, Options(1, retain_as_published=as_published)))
    publisher.publish(unique, b"m", qos=1, retain=retain)
    assert client.receive().retain == (as_published and retain)


@pytest.mark.parametrize("as_published", [False, True])
def test_stored_message_is_marked_whatever_the_option(connected: Connected, unique: str, as_published: bool) -> None:
    client = connected()
    client.publish(unique, b"kept", qos=1, retain=True)
    client.subscribe((unique, Options(1, retain_as_published=as_published)))
    assert client.receive().retain


def test_retained_message_expires(connected: Connected, clock: Clock, unique: str) -> None:
    connected("p").publish(unique, b"kept", qos=1, retain=True, props={P.MESSAGE_EXPIRY_INTERVAL: 60})
    clock.advance(seconds=after(60))
    late = connected("s")
    late.subscribe(unique)
    late.expect_nothing()


def test_retained_message_is_there_just_before_it_expires(connected: Connected, clock: Clock, unique: str) -> None:
    def attempt() -> None:
        connected("p").publish(unique, b"kept", qos=1, retain=True, props={P.MESSAGE_EXPIRY_INTERVAL: 60})
        clock.advance(seconds=before(60))
        late = connected("s")
        late.subscribe(unique)
        assert late.receive().payload == b"kept"

    unless_late(attempt)


def test_expired_message_does_not_stop_the_others(connected: Connected, clock: Clock, unique: str) -> None:
    publisher, late = connected("p"), connected("s")
    for number in range(10):
        expiry = {P.MESSAGE_EXPIRY_INTERVAL: 10} if number % 2 else {}
        publisher.publish(f"{unique}/{number}", b"%d" % number, qos=1, retain=True, props=expiry)
    clock.advance(seconds=after(10))
    late.subscribe(f"{unique}/+")
    assert sorted(late.receive().payload for _ in range(5)) == [b"0", b"2", b"4", b"6", b"8"]
    late.expect_nothing()


def test_expired_messages_give_their_memory_back(
    connected: Connected, broker: RunningBroker, clock: Clock, unique: str
) -> None:
    publisher = connected("p")
    clock.advance(hours=1)
    count = broker.metrics()["retained"]
    for number in range(20):
        publisher.publish(f"{unique}/{number}", b"kept", qos=1, retain=True, props={P.MESSAGE_EXPIRY_INTERVAL: 10})
    assert broker.metrics()["retained"] == count + 20
    clock.advance(hours=24)
    late = connected("s")
    late.subscribe(f"{unique}/#")
    late.expect_nothing()
    assert broker.metrics()["retained"] == count


def test_remaining_expiry_of_a_retained_message(connected: Connected, clock: Clock, unique: str) -> None:
    connected("p").publish(unique, b"kept", qos=1, retain=True, props={P.MESSAGE_EXPIRY_INTERVAL: 100})
    clock.advance(seconds=40)
    late = connected("s")
    late.subscribe(unique)
    assert late.receive().properties.value(P.MESSAGE_EXPIRY_INTERVAL) in (59, 60)


def test_empty_payload_removes(connected: Connected, broker: RunningBroker, unique: str) -> None:
    client = connected()
    count = broker.metrics()["retained"]
    client.publish(unique, b"kept", qos=1, retain=True)
    assert broker.metrics()["retained"] == count + 1
    client.publish(unique, b"", qos=1, retain=True)
    assert broker.metrics()["retained"] == count
    client.subscribe(unique)
    client.expect_nothing()


def test_properties_of_a_retained_message_are_kept_in_order(connected: Connected, unique: str) -> None:
    client = connected()
    sent = [
        (P.USER_PROPERTY, ("b", "1")),
        (P.CONTENT_TYPE, "x"),
        (P.USER_PROPERTY, ("a", "2")),
        (P.CORRELATION_DATA, b"\x00"),
        (P.RESPONSE_TOPIC, "r"),
        (P.PAYLOAD_FORMAT_INDICATOR, 1),
    ]
    client.publish(unique, b"kept", qos=1, retain=True, props=sent)
    client.subscribe(unique)
    assert client.receive().properties == sent


def test_shared_subscription_gets_no_retained_messages(connected: Connected, unique: str) -> None:
    client = connected()
    client.publish(unique, b"kept", qos=1, retain=True)
    client.subscribe(f"$share/g/{unique}")
    client.expect_nothing()


def test_wildcards_find_among_many(connected: Connected, unique: str) -> None:
    publisher = connected("p")
    for room in range(20):
        for kind in ("temperature", "humidity"):
            publisher.publish(f"{unique}/{room}/{kind}", b"%d" % room, qos=1, retain=True)
    for text, expected in (
        (f"{unique}/+/humidity", {f"{unique}/{room}/humidity" for room in range(20)}),
        (f"{unique}/7/#", {f"{unique}/7/temperature", f"{unique}/7/humidity"}),
        (f"{unique}/7/+", {f"{unique}/7/temperature", f"{unique}/7/humidity"}),
        (f"{unique}/+", set()),
        (f"{unique}/7/humidity", {f"{unique}/7/humidity"}),
    ):
        late = connected("s")
        late.subscribe(text)
        assert {late.receive().topic for _ in expected} == expected
        late.expect_nothing()


def test_more_retained_messages_than_the_window_all_arrive(connected: Connected, unique: str) -> None:
    publisher = connected("p")
    for number in range(200):
        publisher.publish(f"{unique}/{number}", b"%d" % number, qos=1, retain=True)
    late = connected("s", props={P.RECEIVE_MAXIMUM: 5})
    late.subscribe(f"{unique}/#", qos=1)
    assert {int(late.receive().payload) for _ in range(200)} == set(range(200))
    late.expect_nothing()


@pytest.mark.broker(config={"mqtt": {"max_mqueue_len": 50}})
def test_more_retained_messages_than_the_queue_all_arrive(connected: Connected, unique: str) -> None:
    publisher = connected("p")
    for number in range(200):
        publisher.publish(f"{unique}/{number}", b"%d" % number, qos=1, retain=True)
    late = connected("s", props={P.RECEIVE_MAXIMUM: 5})
    late.subscribe(f"{unique}/#", qos=1)
    assert {int(late.receive().payload) for _ in range(200)} == set(range(200))


@pytest.mark.broker(config={"mqtt": {"retain_available": False}})
def test_retain_that_is_not_available_is_announced_and_refused(peer: PeerFactory, unique: str) -> None:
    client = peer()
    assert client.connect(unique).properties.value(P.RETAIN_AVAILABLE) == 0
    client.send_publish(unique, b"m", qos=1, retain=True)
    client.expect_disconnect(R.RETAIN_NOT_SUPPORTED)


@pytest.mark.broker(config={"mqtt": {"max_retained": 3}})
def test_count_of_retained_messages_is_bounded(connected: Connected, broker: RunningBroker, unique: str) -> None:
    client = connected()
    for number in range(5):
        client.publish(f"{unique}/{number}", b"kept", qos=1, retain=True)
    assert broker.metrics()["retained"] == 3
    client.publish(f"{unique}/0", b"new", qos=1, retain=True)
    client.subscribe(f"{unique}/0")
    assert client.receive().payload == b"new"


@pytest.mark.broker(config={"mqtt": {"max_retained_bytes": 10_000}})
def test_bytes_of_retained_messages_are_bounded(connected: Connected, broker: RunningBroker, unique: str) -> None:
    client = connected()
    for number in range(20):
        client.publish(f"{unique}/{number}", bytes(1000), qos=1, retain=True)
    assert broker.metrics()["retained_bytes"] <= 10_000
    assert broker.metrics()["retained"] >= 8
