"""Messages that wait for a session: bounded by count, bytes and age, every drop counted."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from mqtt import P, Publish
from peer import Peer
from timing import after, before, unless_late

from nanomq.testing import Clock, RunningBroker

Connected = Callable[..., Peer]
KEPT = {P.SESSION_EXPIRY_INTERVAL: 0xFFFFFFFF}
LEDGER = ("delivered", "queued", "expired")


def adds_up(broker: RunningBroker) -> bool:
    """accepted = delivered + queued + expired + dropped."""
    metrics = broker.metrics()
    dropped = sum(value for name, value in metrics.items() if name.startswith("dropped."))
    return metrics["accepted"] == sum(metrics[name] for name in LEDGER) + dropped


@pytest.fixture
def dropped(broker: RunningBroker) -> Callable[[str], int]:
    """`dropped(reason)`: how many copies were dropped for this reason since the test began."""
    start = broker.metrics()
    return lambda reason: broker.metrics()[f"dropped.{reason}"] - start[f"dropped.{reason}"]


Dropped = Callable[[str], int]


@pytest.mark.broker(config={"mqtt": {"max_mqueue_len": 10}})
def test_queue_keeps_the_newest_messages(
    connected: Connected, broker: RunningBroker, dropped: Dropped, unique: str
) -> None:
    client, publisher = connected("s", props=KEPT), connected("p")
    client.subscribe(unique, qos=1)
    client.disconnect()
    for number in range(25):
        publisher.publish(unique, b"%d" % number, qos=1)
    assert dropped("queue_full") == 15
    again = connected("s", clean=False, props=KEPT)
    assert [int(again.receive().payload) for _ in range(10)] == list(range(15, 25))
    again.expect_nothing()
    assert adds_up(broker)


@pytest.mark.broker(config={"mqtt": {"max_mqueue_bytes": 10_000}})
def test_queue_is_bounded_by_bytes(connected: Connected, broker: RunningBroker, dropped: Dropped, unique: str) -> None:
    client, publisher = connected("s", props=KEPT), connected("p")
    client.subscribe(unique, qos=1)
    client.disconnect()
    for number in range(20):
        publisher.publish(unique, b"%4d" % number + bytes(996), qos=1)
    lost = dropped("queue_full")
    assert 10 <= lost <= 12
    again = connected("s", clean=False, props=KEPT)
    assert [int(again.receive().payload[:4]) for _ in range(20 - lost)] == list(range(lost, 20))
    again.expect_nothing()
    assert adds_up(broker)


@pytest.mark.broker(config={"mqtt": {"max_mqueue_bytes": 10_000}})
def test_message_larger_than_the_whole_queue_is_dropped(connected: Connected, dropped: Dropped, unique: str) -> None:
    client, publisher = connected("s", props=KEPT), connected("p")
    client.subscribe(unique, qos=1)
    client.disconnect()
    publisher.publish(unique, b"large" + bytes(20_000), qos=1)
    publisher.publish(unique, b"small", qos=1)
    assert dropped("queue_full") == 1
    assert connected("s", clean=False, props=KEPT).receive().payload == b"small"


@pytest.mark.broker(config={"mqtt": {"queue_ttl": "60s"}})
def test_queue_is_bounded_by_age(
    connected: Connected, broker: RunningBroker, clock: Clock, dropped: Dropped, unique: str
) -> None:
    client, publisher = connected("s", props=KEPT), connected("p")
    client.subscribe(unique, qos=1)
    client.disconnect()
    publisher.publish(unique, b"old", qos=1)
    clock.advance(seconds=30)
    publisher.publish(unique, b"young", qos=1)
    clock.advance(seconds=after(30))
    again = connected("s", clean=False, props=KEPT)
    assert again.receive().payload == b"young"
    again.expect_nothing()
    assert dropped("queue_age") == 1
    assert adds_up(broker)


@pytest.mark.broker(config={"mqtt": {"queue_ttl": "60s"}})
def test_message_is_kept_until_its_age(connected: Connected, clock: Clock, unique: str) -> None:
    def attempt() -> None:
        client = connected("s", props=KEPT)
        client.subscribe(unique, qos=1)
        client.disconnect()
        connected("p").publish(unique, b"m", qos=1)
        clock.advance(seconds=before(60))
        assert connected("s", clean=False, props=KEPT).receive().payload == b"m"

    unless_late(attempt)


def test_qos_0_is_not_kept_for_an_offline_session(connected: Connected, dropped: Dropped, unique: str) -> None:
    client, publisher = connected("s", props=KEPT), connected("p")
    client.subscribe(unique, qos=1)
    client.disconnect()
    publisher.publish(unique, b"m", qos=0)
    assert dropped("offline") == 1
    connected("s", clean=False, props=KEPT).expect_nothing()


def test_message_without_subscribers_is_counted(connected: Connected, dropped: Dropped, unique: str) -> None:
    connected("p").publish(unique, b"m", qos=1)
    assert dropped("no_subscribers") == 1


def test_messages_of_a_session_that_ends_are_counted(
    connected: Connected, clock: Clock, broker: RunningBroker, dropped: Dropped, unique: str
) -> None:
    client, publisher = connected("s", props={P.SESSION_EXPIRY_INTERVAL: 10}), connected("p")
    client.subscribe(unique, qos=1)
    client.disconnect()
    for _ in range(3):
        publisher.publish(unique, b"m", qos=1)
    clock.advance(seconds=after(10))
    assert dropped("session_ended") == 3
    assert adds_up(broker)


@pytest.mark.broker(config={"mqtt": {"max_mqueue_len": 10, "max_inflight_window": 5}})
def test_slow_client_that_is_connected_has_a_bounded_queue_too(
    connected: Connected, broker: RunningBroker, dropped: Dropped, unique: str
) -> None:
    client, publisher = connected("s"), connected("p")
    client.subscribe(unique, qos=1)
    for number in range(40):
        publisher.publish(unique, b"%d" % number, qos=1)
    inflight = [client.expect(Publish) for _ in range(5)]
    client.expect_nothing()
    assert dropped("queue_full") == 25
    for message in inflight:
        client.acknowledge(message)
    assert [int(client.receive().payload) for _ in range(10)] == list(range(30, 40))
    client.expect_nothing()
    assert adds_up(broker)


@pytest.mark.broker(config={"mqtt": {"max_mqueue_len": 10}})
def test_one_full_queue_takes_nothing_from_others(connected: Connected, unique: str) -> None:
    away, present, publisher = connected("a", props=KEPT), connected("b"), connected("p")
    for client in (away, present):
        client.subscribe(unique, qos=1)
    away.disconnect()
    for number in range(50):
        publisher.publish(unique, b"%d" % number, qos=1)
        assert int(present.receive().payload) == number


def test_subscriber_that_stops_reading_harms_nobody(
    connected: Connected, tcp_peer: Callable[[], Peer], broker: RunningBroker, unique: str
) -> None:
    stuck, reader, publisher = tcp_peer(), connected("r"), connected("p")
    stuck.connect(f"{unique}stuck")
    for client in (stuck, reader):
        client.subscribe(unique, qos=0)
    for number in range(300):
        publisher.send_publish(unique, b"%5d" % number + bytes(100_000))
        assert int(reader.receive().payload[:5]) == number
    assert broker.metrics()["dropped.queue_full"] > 0
    assert adds_up(broker)


@pytest.mark.broker(config={"mqtt": {"max_total_queue_bytes": 50_000}})
def test_all_queues_together_are_bounded(
    connected: Connected, broker: RunningBroker, dropped: Dropped, unique: str
) -> None:
    publisher = connected("p")
    for number in range(10):
        client = connected(f"s{number}", props=KEPT)
        client.subscribe(unique, qos=1)
        client.disconnect()
    for _ in range(10):
        publisher.publish(unique, bytes(1000), qos=1)
    metrics = broker.metrics()
    assert 45_000 < metrics["queue_bytes"] <= 50_000
    assert 50 <= dropped("total_queue_full") <= 60
    assert dropped("queue_full") == 0
    first = connected("s0", clean=False, props=KEPT)
    assert first.receive().payload == bytes(1000)
    assert broker.metrics()["queue_bytes"] < metrics["queue_bytes"]
    assert adds_up(broker)


@pytest.mark.broker(config={"mqtt": {"max_total_queue_bytes": "0"}})
def test_0_is_no_bound_of_all_queues(connected: Connected, dropped: Dropped, unique: str) -> None:
    client, publisher = connected("s", props=KEPT), connected("p")
    client.subscribe(unique, qos=1)
    client.disconnect()
    publisher.publish(unique, bytes(10_000), qos=1)
    assert dropped("total_queue_full") == 0
    assert len(connected("s", clean=False, props=KEPT).receive().payload) == 10_000
