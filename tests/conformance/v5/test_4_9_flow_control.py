"""MQTT 5.0, 4.9: the send quota of the broker."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from mqtt import P, PubAck, Publish, PubRec, PubRel, R
from peer import Peer

statement = pytest.mark.statement


@statement("MQTT-4.9.0-1", "MQTT-4.9.0-2")
def test_first_quota_is_receive_maximum(connected: Callable[..., Peer], unique: str) -> None:
    subscriber, publisher = connected("s", props={P.RECEIVE_MAXIMUM: 4}), connected("p")
    subscriber.subscribe(unique, qos=1)
    for _ in range(6):
        publisher.publish(unique)
    for _ in range(4):
        subscriber.expect(Publish)
    subscriber.expect_nothing()


@statement("MQTT-4.9.0-2")
@pytest.mark.broker(config={"mqtt": {"max_inflight_window": 2}})
def test_configured_window_lowers_the_quota(connected: Callable[..., Peer]) -> None:
    subscriber, publisher = connected("s", props={P.RECEIVE_MAXIMUM: 100}), connected("p")
    subscriber.subscribe("a", qos=1)
    for _ in range(4):
        publisher.publish("a")
    subscriber.expect(Publish)
    subscriber.expect(Publish)
    subscriber.expect_nothing()


@statement("MQTT-4.9.0-2")
def test_pubrec_gives_no_quota_back(connected: Callable[..., Peer], unique: str) -> None:
    subscriber, publisher = connected("s", props={P.RECEIVE_MAXIMUM: 1}), connected("p")
    subscriber.subscribe(unique, qos=2)
    publisher.publish(unique, b"1", qos=2)
    publisher.publish(unique, b"2", qos=2)
    first = subscriber.expect(Publish)
    subscriber.send(PubRec(first.packet_id))
    subscriber.expect(PubRel)
    subscriber.expect_nothing()


@statement("MQTT-4.9.0-2")
def test_pubrec_with_an_error_gives_quota_back(connected: Callable[..., Peer], unique: str) -> None:
    subscriber, publisher = connected("s", props={P.RECEIVE_MAXIMUM: 1}), connected("p")
    subscriber.subscribe(unique, qos=2)
    publisher.publish(unique, b"1", qos=2)
    publisher.publish(unique, b"2", qos=2)
    subscriber.send(PubRec(subscriber.expect(Publish).packet_id, R.QUOTA_EXCEEDED))
    assert subscriber.expect(Publish).payload == b"2"


@statement("MQTT-4.9.0-2")
def test_needless_acknowledgements_do_not_raise_the_quota(connected: Callable[..., Peer], unique: str) -> None:
    subscriber, publisher = connected("s", props={P.RECEIVE_MAXIMUM: 1}), connected("p")
    subscriber.subscribe(unique, qos=1)
    publisher.publish(unique, b"1")
    publisher.publish(unique, b"2")
    publisher.publish(unique, b"3")
    packet_id = subscriber.expect(Publish).packet_id
    subscriber.send(PubAck(packet_id), PubAck(packet_id + 100), PubAck(packet_id + 200))
    subscriber.expect(Publish)
    subscriber.expect_nothing()


@statement("MQTT-4.9.0-3")
def test_packets_are_processed_while_the_quota_is_used_up(connected: Callable[..., Peer], unique: str) -> None:
    subscriber, publisher = connected("s", props={P.RECEIVE_MAXIMUM: 1}), connected("p")
    subscriber.subscribe(unique, qos=1)
    publisher.publish(unique)
    subscriber.expect(Publish)
    subscriber.ping()
    assert subscriber.publish(f"{unique}/other", qos=2) == R.SUCCESS
    assert subscriber.unsubscribe(unique).reasons == (R.SUCCESS,)


@statement("MQTT-4.9.0-1")
def test_quota_begins_anew_with_each_connection(
    connected: Callable[..., Peer], unique: str, cut: Callable[[str], bool]
) -> None:
    subscriber, publisher = connected("s", props={P.RECEIVE_MAXIMUM: 1, P.SESSION_EXPIRY_INTERVAL: 100}), connected("p")
    subscriber.subscribe(unique, qos=1)
    for number in range(3):
        publisher.publish(unique, bytes([number]))
    subscriber.expect(Publish)
    assert cut(unique + "s")
    back = connected("s", clean=False, props={P.RECEIVE_MAXIMUM: 3})
    assert [back.expect(Publish).payload for _ in range(3)] == [b"\0", b"\1", b"\2"]
