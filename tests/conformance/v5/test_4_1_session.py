"""MQTT 5.0, 4.1: what a session keeps, and for how long."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from mqtt import P, Publish, PubRec, PubRel, R
from peer import Peer, PeerFactory

from nanomq.testing import Clock, RunningBroker

statement = pytest.mark.statement
KEPT = {P.SESSION_EXPIRY_INTERVAL: 100}


@statement("MQTT-4.1.0-1")
def test_session_outlives_its_expiry_interval_while_connected(
    connected: Callable[..., Peer], unique: str, clock: Clock
) -> None:
    client = connected(props={P.SESSION_EXPIRY_INTERVAL: 1})
    client.subscribe(unique)
    clock.advance(hours=1)
    client.send_publish(unique, b"x")
    assert client.receive().payload == b"x"


@statement("MQTT-4.1.0-1", "MQTT-4.5.0-1")
@pytest.mark.parametrize("qos", [1, 2])
def test_messages_wait_for_a_client_that_is_away(connected: Callable[..., Peer], unique: str, qos: int) -> None:
    client = connected("s", props=KEPT)
    client.subscribe(unique, qos=qos)
    client.disconnect()
    publisher = connected("p")
    for number in range(20):
        assert publisher.publish(unique, bytes([number]), qos=qos) == R.SUCCESS
    back = connected("s", clean=False)
    assert [back.receive().payload for _ in range(20)] == [bytes([number]) for number in range(20)]
    back.expect_nothing()


@statement("MQTT-4.1.0-1")
def test_messages_published_after_a_cut_are_kept(
    connected: Callable[..., Peer], unique: str, cut: Callable[[str], bool]
) -> None:
    client = connected("s", props=KEPT)
    client.subscribe(unique, qos=1)
    assert cut(unique + "s")
    connected("p").publish(unique, b"x")
    assert connected("s", clean=False).receive().payload == b"x"


@statement("MQTT-4.1.0-1")
def test_broker_remembers_a_qos_2_message_it_received(
    connected: Callable[..., Peer], unique: str, cut: Callable[[str], bool]
) -> None:
    subscriber = connected("s")
    subscriber.subscribe(unique, qos=2)
    publisher = connected("p", props=KEPT)
    publisher.send_publish(unique, b"x", 2, packet_id=7)
    publisher.expect(PubRec)
    assert cut(unique + "p")
    again = connected("p", clean=False)
    again.send_publish(unique, b"x", 2, packet_id=7, dup=True)
    assert again.expect(PubRec) == PubRec(7)
    again.send(PubRel(7))
    again.expect_bytes(b"\x70\x02\x00\x07")
    assert subscriber.receive().payload == b"x"
    subscriber.expect_nothing()


@statement("MQTT-4.1.0-2")
def test_ended_session_loses_subscriptions_and_messages(
    connected: Callable[..., Peer], unique: str, clock: Clock
) -> None:
    client = connected("s", props=KEPT)
    client.subscribe(unique, qos=1)
    client.disconnect()
    publisher = connected("p")
    assert publisher.publish(unique, b"x") == R.SUCCESS
    clock.advance(seconds=101)
    assert publisher.publish(unique, b"y") == R.NO_MATCHING_SUBSCRIBERS
    connected("s", clean=False).expect_nothing()


@statement("MQTT-4.1.0-2")
def test_session_expiry_begins_when_the_connection_ends(
    connected: Callable[..., Peer], peer: PeerFactory, unique: str, clock: Clock, cut: Callable[[str], bool]
) -> None:
    connected("a", props=KEPT)
    clock.advance(seconds=1000)
    assert cut(unique + "a")
    clock.advance(seconds=99.5)
    assert peer().connect(unique + "a", clean=False).session_present is True


@statement("MQTT-4.1.0-2")
def test_each_disconnection_begins_the_expiry_anew(
    connected: Callable[..., Peer], peer: PeerFactory, unique: str, clock: Clock
) -> None:
    connected("a", props=KEPT).disconnect()
    for _ in range(3):
        clock.advance(seconds=60)
        connected("a", clean=False, props=KEPT).disconnect()
    clock.advance(seconds=60)
    assert peer().connect(unique + "a", clean=False).session_present is True


@statement("MQTT-4.1.0-1")
@pytest.mark.broker(config={"mqtt": {"max_mqueue_len": 10}})
def test_full_queue_drops_the_oldest_and_counts_them(
    connected: Callable[..., Peer], broker: RunningBroker, unique: str
) -> None:
    client = connected("s", props=KEPT)
    client.subscribe(unique, qos=1)
    client.disconnect()
    publisher = connected("p")
    for number in range(15):
        publisher.publish(unique, bytes([number]))
    back = connected("s", clean=False)
    assert [back.receive().payload for _ in range(10)] == [bytes([number]) for number in range(5, 15)]
    back.expect_nothing()


@statement("MQTT-4.1.0-1")
@pytest.mark.broker(config={"mqtt": {"queue_ttl": 60}})
def test_queue_drops_what_waited_too_long(connected: Callable[..., Peer], unique: str, clock: Clock) -> None:
    client = connected("s", props=KEPT)
    client.subscribe(unique, qos=1)
    client.disconnect()
    publisher = connected("p")
    publisher.publish(unique, b"old")
    clock.advance(seconds=50)
    publisher.publish(unique, b"new")
    clock.advance(seconds=11)
    back = connected("s", clean=False)
    assert back.receive().payload == b"new"
    back.expect_nothing()


@statement("MQTT-4.1.0-1")
def test_session_can_be_resumed_in_another_protocol_version(
    connected: Callable[..., Peer], peer: PeerFactory, unique: str
) -> None:
    client = connected("a", version=4, clean=False)
    client.subscribe(unique, qos=1)
    client.disconnect()
    connected("p").publish(unique, b"x")
    back = peer()
    assert back.connect(unique + "a", clean=False).session_present is True
    assert back.expect(Publish).payload == b"x"
