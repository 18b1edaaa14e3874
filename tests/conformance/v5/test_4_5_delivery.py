"""MQTT 5.0, 4.5 and 4.6: who gets a message, and in which order."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from mqtt import P, PubAck, Publish, PubRec, PubRel, R, packet, string, u16
from peer import Endpoint, Peer, PeerFactory

statement = pytest.mark.statement


@statement("MQTT-4.5.0-1")
def test_every_client_with_a_matching_subscription_gets_the_message(
    connected: Callable[..., Peer], unique: str
) -> None:
    subscribers = [connected(f"s{number}") for number in range(10)]
    for subscriber in subscribers:
        subscriber.subscribe(f"{unique}/#")
    connected("p").publish(f"{unique}/a", b"x")
    for subscriber in subscribers:
        assert subscriber.receive() == Publish(f"{unique}/a", b"x")
        subscriber.expect_nothing()


@statement("MQTT-4.5.0-1")
def test_clients_without_a_matching_subscription_get_nothing(connected: Callable[..., Peer], unique: str) -> None:
    subscriber = connected("s")
    subscriber.subscribe(f"{unique}/b", f"{unique}/a/b", f"{unique}")
    assert connected("p").publish(f"{unique}/a") == R.NO_MATCHING_SUBSCRIBERS
    subscriber.expect_nothing()


@statement("MQTT-4.5.0-1")
def test_message_goes_to_clients_of_every_version(connected: Callable[..., Peer], unique: str) -> None:
    old, middle, new = connected("3", version=3), connected("4", version=4), connected("5", version=5)
    for client in (old, middle, new):
        client.subscribe(unique)
    connected("p").publish(unique, b"x", props=[(P.USER_PROPERTY, ("a", "b"))])
    for client in (old, middle):
        client.expect_bytes(packet(0x30, string(unique) + b"x"))
    assert new.receive().properties == [(P.USER_PROPERTY, ("a", "b"))]


@statement("MQTT-4.5.0-1")
@pytest.mark.parametrize("kind", ["tcp", "tls", "ws", "wss", "unix"])
def test_message_goes_to_every_transport(
    endpoints: dict[str, Endpoint], connected: Callable[..., Peer], unique: str, kind: str
) -> None:
    factory = PeerFactory(endpoints[kind])
    other = factory()
    other.connect(unique + "other")
    other.subscribe(unique, qos=1)
    connected("p").publish(unique, b"x")
    assert other.receive().payload == b"x"
    factory.close()


@statement("MQTT-4.6.0-5", "MQTT-4.6.0-6")
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_messages_keep_their_order(connected: Callable[..., Peer], unique: str, qos: int) -> None:
    subscriber, publisher = connected("s"), connected("p")
    subscriber.subscribe(f"{unique}/+", qos=qos)
    publisher.send(
        *[Publish(f"{unique}/{number % 3}", u16(number), qos, packet_id=number + 1) for number in range(500)]
    )
    assert [int.from_bytes(subscriber.expect(Publish).payload, "big") for _ in range(500)] == list(range(500))


@statement("MQTT-4.6.0-5")
def test_messages_that_waited_come_before_new_ones(connected: Callable[..., Peer], unique: str) -> None:
    away = connected("s", props={P.SESSION_EXPIRY_INTERVAL: 100})
    away.subscribe(unique, qos=1)
    away.disconnect()
    publisher = connected("p")
    for number in range(100):
        publisher.publish(unique, bytes([number]))
    back = connected("s", clean=False, props={P.RECEIVE_MAXIMUM: 3})
    for number in range(100, 200):
        publisher.publish(unique, bytes([number]))
    assert [back.receive().payload for _ in range(200)] == [bytes([number]) for number in range(200)]


@statement("MQTT-4.6.0-2", "MQTT-4.6.0-3")
@pytest.mark.parametrize(("qos", "kind"), [(1, PubAck), (2, PubRec)])
def test_broker_acknowledges_in_the_order_of_the_messages(
    connected: Callable[..., Peer], unique: str, qos: int, kind: type[PubAck | PubRec]
) -> None:
    client = connected()
    ids = [7, 3, 500, 1, 65_535, 2]
    client.send(*[Publish(unique, b"", qos, packet_id=packet_id) for packet_id in ids])
    assert [client.expect(kind).packet_id for _ in ids] == ids


@statement("MQTT-4.6.0-4")
def test_broker_sends_pubrel_in_the_order_of_pubrec(connected: Callable[..., Peer], unique: str) -> None:
    subscriber, publisher = connected("s"), connected("p")
    subscriber.subscribe(unique, qos=2)
    for _ in range(5):
        publisher.publish(unique, qos=2)
    ids = [subscriber.expect(Publish).packet_id for _ in range(5)][::-1]
    subscriber.send(*[PubRec(packet_id) for packet_id in ids])
    assert [subscriber.expect(PubRel).packet_id for _ in range(5)] == ids


@statement("MQTT-4.5.0-1")
def test_client_gets_its_own_messages(connected: Callable[..., Peer], unique: str) -> None:
    client = connected()
    client.subscribe(unique)
    client.send_publish(unique, b"own")
    assert client.receive().payload == b"own"
