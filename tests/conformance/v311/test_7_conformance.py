"""Chapter 7: conformance of servers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from mqtt import V5, V31, V311, Publish
from peer import Endpoint, Peer, PeerFactory

Connected = Callable[..., Peer]


@pytest.mark.statement("MQTT-7.0.0-2", version=4)
def test_client_of_the_standard_alone_exchanges_messages(connected: Connected, unique: str) -> None:
    publisher, subscriber = connected("p"), connected("s")
    subscriber.subscribe(unique, qos=2)
    for qos in (0, 1, 2):
        publisher.publish(unique, b"%d" % qos, qos=qos)
        message = subscriber.receive()
        assert (message.payload, message.qos) == (b"%d" % qos, qos)
    publisher.disconnect()
    subscriber.disconnect()


@pytest.mark.statement("MQTT-7.1.1-1", version=4)
@pytest.mark.parametrize("size", [1, 1000, 100_000, 3_000_000])
def test_stream_is_lossless_both_ways(connected: Connected, unique: str, size: int) -> None:
    publisher, subscriber = connected("p"), connected("s")
    subscriber.subscribe(unique)
    payload = bytes(number * 31 % 251 for number in range(256)) * (size // 256) + b"x" * (size % 256)
    publisher.send_publish(unique, payload)
    assert subscriber.expect(Publish).payload == payload


@pytest.mark.statement("MQTT-7.1.1-1", version=4)
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_clients_of_all_transports_and_versions_reach_each_other(
    peer: PeerFactory, endpoints: dict[str, Endpoint], unique: str, qos: int
) -> None:
    publisher = peer(V311)
    publisher.connect(f"{unique}p")
    subscribers = []
    for kind, endpoint in endpoints.items():
        for version in (V31, V311, V5):
            subscriber = Peer(endpoint, version)
            subscriber.connect(f"{unique}{kind}{version}")
            subscriber.subscribe(unique, qos=qos)
            subscribers.append(subscriber)
    publisher.publish(unique, b"to all", qos=qos)
    for subscriber in subscribers:
        message = subscriber.receive()
        assert (message.payload, message.qos) == (b"to all", qos)
        subscriber.close()
