"""What messages carry: expiry with the remaining time, payload format, request and response, unchanged and in order."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from mqtt import V31, V311, P, Publish, R, Will, properties
from peer import Peer, PeerFactory
from timing import after, before, unless_late

from nanomq.testing import Clock, RunningBroker

Connected = Callable[..., Peer]
KEPT = {P.SESSION_EXPIRY_INTERVAL: 100_000}
EVERYTHING: list[tuple[P, int | str | bytes | tuple[str, str]]] = [
    (P.USER_PROPERTY, ("z", "first")),
    (P.RESPONSE_TOPIC, "answers/here"),
    (P.USER_PROPERTY, ("a", "")),
    (P.PAYLOAD_FORMAT_INDICATOR, 1),
    (P.CORRELATION_DATA, b"\x00\x01\xff"),
    (P.USER_PROPERTY, ("", "é漢😀")),
    (P.CONTENT_TYPE, "application/json"),
    (P.USER_PROPERTY, ("z", "first")),
]


# --- passed through ---


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_properties_arrive_unchanged_and_in_order(connected: Connected, unique: str, qos: int) -> None:
    publisher, subscriber = connected("p"), connected("s")
    subscriber.subscribe(unique, qos=qos)
    publisher.publish(unique, b"text", qos=qos, props=EVERYTHING)
    assert subscriber.receive().properties == EVERYTHING


def test_properties_survive_the_queue(connected: Connected, unique: str) -> None:
    publisher, subscriber = connected("p"), connected("s", props=KEPT)
    subscriber.subscribe(unique, qos=1)
    subscriber.disconnect()
    publisher.publish(unique, b"text", qos=1, props=EVERYTHING)
    assert connected("s", clean=False, props=KEPT).receive().properties == EVERYTHING


def test_properties_survive_a_retransmission(connected: Connected, cut: Callable[[str], bool], unique: str) -> None:
    publisher, subscriber = connected("p"), connected("s", props=KEPT)
    subscriber.subscribe(unique, qos=1)
    publisher.publish(unique, b"text", qos=1, props=EVERYTHING)
    subscriber.expect(Publish)
    assert cut(subscriber.client_id)
    assert connected("s", clean=False, props=KEPT).receive().properties == EVERYTHING


@pytest.mark.parametrize("count", [1, 100, 2000])
def test_many_user_properties_arrive_in_order(connected: Connected, unique: str, count: int) -> None:
    publisher, subscriber = connected("p"), connected("s")
    subscriber.subscribe(unique)
    pairs = [(P.USER_PROPERTY, (f"k{number % 7}", f"v{number}")) for number in range(count)]
    publisher.publish(unique, b"m", qos=1, props=pairs)
    assert subscriber.receive().properties == pairs


@pytest.mark.parametrize("version", [V31, V311])
def test_older_clients_get_the_message_without_properties(connected: Connected, unique: str, version: int) -> None:
    publisher, subscriber = connected("p"), connected("s", version=version)
    subscriber.subscribe(unique, qos=1)
    publisher.publish(unique, b"text", qos=1, props=EVERYTHING)
    assert subscriber.receive().payload == b"text"


@pytest.mark.parametrize("version", [V31, V311])
def test_messages_of_older_clients_have_no_properties(connected: Connected, unique: str, version: int) -> None:
    publisher, subscriber = connected("p", version=version), connected("s")
    subscriber.subscribe(unique, qos=1)
    publisher.publish(unique, b"text", qos=1)
    message = subscriber.receive()
    assert (message.payload, message.properties) == (b"text", [])


def test_request_and_response_between_two_clients(connected: Connected, unique: str) -> None:
    asker, answerer = connected("a"), connected("b")
    asker.subscribe(f"{unique}/answer")
    answerer.subscribe(f"{unique}/ask")
    asker.publish(f"{unique}/ask", b"?", qos=1, props={P.RESPONSE_TOPIC: f"{unique}/answer", P.CORRELATION_DATA: b"42"})
    question = answerer.receive()
    topic, data = question.properties.value(P.RESPONSE_TOPIC), question.properties.value(P.CORRELATION_DATA)
    assert isinstance(topic, str) and isinstance(data, bytes)
    answerer.publish(topic, b"!", qos=1, props={P.CORRELATION_DATA: data})
    assert asker.receive().properties == [(P.CORRELATION_DATA, b"42")]


@pytest.mark.broker(config={"mqtt": {"response_information": "answers/"}})
def test_response_information_is_given_to_those_who_ask(peer: PeerFactory, unique: str) -> None:
    asking = peer().connect(f"{unique}a", props={P.REQUEST_RESPONSE_INFORMATION: 1})
    assert str(asking.properties.value(P.RESPONSE_INFORMATION)).startswith("answers/")
    for props in ({}, {P.REQUEST_RESPONSE_INFORMATION: 0}):
        assert peer().connect(f"{unique}b", props=props).properties.value(P.RESPONSE_INFORMATION) is None


@pytest.mark.parametrize("topic", ["a/#", "+", ""])
def test_response_topic_that_is_no_topic_name_is_refused(connected: Connected, unique: str, topic: str) -> None:
    client = connected()
    client.send_publish(unique, b"m", qos=1, props={P.RESPONSE_TOPIC: topic})
    found = client.recv()
    assert getattr(found, "reason", 0) in (R.PROTOCOL_ERROR, R.TOPIC_NAME_INVALID, R.MALFORMED_PACKET)


# --- expiry ---


def test_waiting_message_expires(connected: Connected, clock: Clock, broker: RunningBroker, unique: str) -> None:
    publisher, subscriber = connected("p"), connected("s", props=KEPT)
    subscriber.subscribe(unique, qos=1)
    subscriber.disconnect()
    expired = broker.metrics()["expired"]
    publisher.publish(unique, b"m", qos=1, props={P.MESSAGE_EXPIRY_INTERVAL: 60})
    publisher.publish(unique, b"n", qos=1)
    clock.advance(seconds=after(60))
    again = connected("s", clean=False, props=KEPT)
    assert again.receive().payload == b"n"
    again.expect_nothing()
    assert broker.metrics()["expired"] == expired + 1


def test_waiting_message_is_there_just_before_it_expires(connected: Connected, clock: Clock, unique: str) -> None:
    def attempt() -> None:
        publisher, subscriber = connected("p"), connected("s", props=KEPT)
        subscriber.subscribe(unique, qos=1)
        subscriber.disconnect()
        publisher.publish(unique, b"m", qos=1, props={P.MESSAGE_EXPIRY_INTERVAL: 60})
        clock.advance(seconds=before(60))
        assert connected("s", clean=False, props=KEPT).receive().payload == b"m"

    unless_late(attempt)


@pytest.mark.parametrize(("waited_s", "left"), [(0, {100}), (1, {98, 99}), (50, {49, 50}), (98, {1, 2})])
def test_remaining_time_is_sent(connected: Connected, clock: Clock, unique: str, waited_s: int, left: set[int]) -> None:
    publisher, subscriber = connected("p"), connected("s", props=KEPT)
    subscriber.subscribe(unique, qos=1)
    subscriber.disconnect()
    publisher.publish(unique, b"m", qos=1, props={P.MESSAGE_EXPIRY_INTERVAL: 100})
    clock.advance(seconds=waited_s)
    received = connected("s", clean=False, props=KEPT).receive()
    assert received.properties.value(P.MESSAGE_EXPIRY_INTERVAL) in left | ({99} if not waited_s else set())


def test_expiry_of_a_live_message_is_sent_unchanged(connected: Connected, unique: str) -> None:
    publisher, subscriber = connected("p"), connected("s")
    subscriber.subscribe(unique, qos=1)
    publisher.publish(unique, b"m", qos=1, props={P.MESSAGE_EXPIRY_INTERVAL: 4_000_000_000})
    assert subscriber.receive().properties.value(P.MESSAGE_EXPIRY_INTERVAL) in (4_000_000_000, 3_999_999_999)


def test_message_waiting_for_the_window_expires(connected: Connected, clock: Clock, unique: str) -> None:
    publisher, subscriber = connected("p"), connected("s", props={P.RECEIVE_MAXIMUM: 1})
    subscriber.subscribe(unique, qos=1)
    publisher.publish(unique, b"first", qos=1)
    first = subscriber.expect(Publish)
    publisher.publish(unique, b"second", qos=1, props={P.MESSAGE_EXPIRY_INTERVAL: 10})
    publisher.publish(unique, b"third", qos=1)
    clock.advance(seconds=after(10))
    subscriber.acknowledge(first)
    assert subscriber.receive().payload == b"third"


def test_expiry_0_is_delivered_to_those_present_only(connected: Connected, clock: Clock, unique: str) -> None:
    publisher, present, away = connected("p"), connected("s"), connected("a", props=KEPT)
    for client in (present, away):
        client.subscribe(unique, qos=1)
    away.disconnect()
    publisher.publish(unique, b"m", qos=1, props={P.MESSAGE_EXPIRY_INTERVAL: 0})
    clock.advance(seconds=1)
    connected("a", clean=False, props=KEPT).expect_nothing()


# --- payload format ---

NOT_TEXT = b"\xff\xfe"


def test_payload_format_is_not_checked_by_default(connected: Connected, unique: str) -> None:
    publisher, subscriber = connected("p"), connected("s")
    subscriber.subscribe(unique, qos=1)
    assert publisher.publish(unique, NOT_TEXT, qos=1, props={P.PAYLOAD_FORMAT_INDICATOR: 1}) == 0
    assert subscriber.receive().payload == NOT_TEXT


@pytest.mark.broker(config={"mqtt": {"payload_format_check": True}})
@pytest.mark.parametrize("qos", [1, 2])
def test_wrong_payload_is_refused_with_0x99_if_asked(connected: Connected, unique: str, qos: int) -> None:
    publisher, subscriber = connected("p"), connected("s")
    subscriber.subscribe(unique, qos=2)
    assert (
        publisher.publish(unique, NOT_TEXT, qos=qos, props={P.PAYLOAD_FORMAT_INDICATOR: 1}) == R.PAYLOAD_FORMAT_INVALID
    )
    for props in ({P.PAYLOAD_FORMAT_INDICATOR: 0}, {}):
        assert publisher.publish(unique, NOT_TEXT, qos=qos, props=props) == 0
        assert subscriber.receive().payload == NOT_TEXT
    assert publisher.publish(unique, "é".encode(), qos=qos, props={P.PAYLOAD_FORMAT_INDICATOR: 1}) == 0
    assert subscriber.receive().payload == "é".encode()


@pytest.mark.broker(config={"mqtt": {"payload_format_check": True}})
def test_wrong_payload_of_qos_0_reaches_nobody(connected: Connected, unique: str) -> None:
    publisher, subscriber = connected("p"), connected("s")
    subscriber.subscribe(unique)
    publisher.send_publish(unique, NOT_TEXT, props={P.PAYLOAD_FORMAT_INDICATOR: 1})
    publisher.send(b"\xc0\x00")
    found = publisher.recv_raw()
    assert found is None or found[0] in (0xD0, 0xE0)
    subscriber.expect_nothing()


@pytest.mark.broker(config={"mqtt": {"payload_format_check": True}})
def test_wrong_payload_of_a_will_is_refused(peer: PeerFactory, unique: str) -> None:
    will = Will(unique, NOT_TEXT, properties=properties({P.PAYLOAD_FORMAT_INDICATOR: 1}))
    assert peer().connect(unique, will=will).reason == R.PAYLOAD_FORMAT_INVALID
