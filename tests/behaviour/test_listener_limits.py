"""Limits of a listener: connections, connect rate, message and byte rate, packet size; and how it listens."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any

import pytest
from mqtt import P, Publish, R
from peer import Endpoint, Peer, PeerFactory, open_socket

from nanomq.errors import StartError
from nanomq.testing import Clock, RunningBroker, running

KINDS = ("tcp", "ssl", "ws", "wss", "unix")


def limited(**keys: object) -> pytest.MarkDecorator:
    """A broker whose listeners all have these keys."""
    return pytest.mark.broker(config={"listeners": {kind: dict(keys) for kind in KINDS}})


def is_turned_away(endpoint: Endpoint) -> bool:
    """Whether the broker closes a new connection instead of serving it."""
    try:
        client = Peer(endpoint)
        client.send(b"\x10\x0d\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x00")
        answer = client.recv_raw()
        client.close()
    except (OSError, AssertionError):
        return True
    return answer is None or answer[3] != 0


@limited(max_connections=3)
def test_connections_above_the_limit_are_turned_away(peer: PeerFactory, endpoint: Endpoint, unique: str) -> None:
    clients = [peer() for _ in range(3)]
    for number, client in enumerate(clients):
        assert client.connect(f"{unique}{number}").reason == 0
    assert is_turned_away(endpoint)
    for client in clients:
        client.ping()


@limited(max_connections=2)
def test_place_of_a_closed_connection_is_free_again(peer: PeerFactory, unique: str) -> None:
    for number in range(10):
        client = peer()
        assert client.connect(f"{unique}{number}").reason == 0
        client.disconnect()


@limited(max_connections=2)
def test_limit_counts_each_listener_alone(endpoints: dict[str, Endpoint], unique: str) -> None:
    clients = [Peer(endpoint) for endpoint in endpoints.values() for _ in range(2)]
    for number, client in enumerate(clients):
        assert client.connect(f"{unique}{number}").reason == 0
    for client in clients:
        client.close()


@limited(max_conn_rate=5)
def test_connections_above_the_rate_are_turned_away_or_wait(endpoint: Endpoint) -> None:
    start = time.monotonic()
    accepted = sum(not is_turned_away(endpoint) for _ in range(20))
    took_s = time.monotonic() - start
    assert accepted <= 5 + 5 * took_s + 1


@limited(messages_rate=100)
def test_messages_above_the_rate_are_read_later_and_none_is_lost(peer: PeerFactory, unique: str) -> None:
    publisher, subscriber = peer(), peer()
    publisher.connect(f"{unique}p")
    subscriber.connect(f"{unique}s")
    subscriber.subscribe(unique)
    start = time.monotonic()
    publisher.send(*[Publish(unique, b"%d" % number) for number in range(200)])
    assert [int(subscriber.receive().payload) for _ in range(200)] == list(range(200))
    assert time.monotonic() - start >= 0.9


@limited(messages_rate=1)
def test_time_lets_the_next_messages_through(peer: PeerFactory, clock: Clock, unique: str) -> None:
    publisher, subscriber = peer(), peer()
    publisher.connect(f"{unique}p")
    subscriber.connect(f"{unique}s")
    subscriber.subscribe(unique)
    publisher.send(*[Publish(unique, b"%d" % number) for number in range(8)])
    for number in range(8):
        clock.advance(seconds=2)
        assert int(subscriber.receive().payload) == number


@limited(bytes_rate=100_000)
def test_bytes_above_the_rate_are_read_later(peer: PeerFactory, unique: str) -> None:
    publisher, subscriber = peer(), peer()
    publisher.connect(f"{unique}p")
    subscriber.connect(f"{unique}s")
    subscriber.subscribe(unique)
    start = time.monotonic()
    publisher.send(*[Publish(unique, b"%4d" % number + bytes(9_996)) for number in range(20)])
    assert [int(subscriber.receive().payload[:4]) for _ in range(20)] == list(range(20))
    assert time.monotonic() - start >= 0.9


@limited(messages_rate=1)
def test_throttled_client_slows_nobody_else(peer: PeerFactory, unique: str) -> None:
    flood, other = peer(), peer()
    flood.connect(f"{unique}f")
    other.connect(f"{unique}o")
    flood.send(*[Publish(unique, b"m") for _ in range(100)])
    for _ in range(20):
        other.ping()


@limited(max_packet_size=5000)
def test_packet_size_of_the_listener_is_announced_and_held(peer: PeerFactory, unique: str) -> None:
    client = peer()
    assert client.connect(unique).properties.value(P.MAXIMUM_PACKET_SIZE) == 5000
    client.send_publish(unique, bytes(4900))
    client.ping()
    client.send_publish(unique, bytes(5000))
    client.expect_disconnect(R.PACKET_TOO_LARGE)


@pytest.mark.broker(config={"mqtt": {"max_packet_size": 3000}, "listeners": {"tcp": {"max_packet_size": 5000}}})
def test_smaller_limit_of_the_broker_holds_too(tcp_peer: PeerFactory, unique: str) -> None:
    assert tcp_peer().connect(unique).properties.value(P.MAXIMUM_PACKET_SIZE) == 3000


@pytest.mark.broker(
    config={
        "listeners": {"tcp": {"six": {"bind": "[::1]:0"}, "other": {"bind": "127.0.0.1:0", "max_packet_size": 4000}}}
    }
)
def test_several_listeners_of_a_kind_and_ipv6(broker: RunningBroker, unique: str) -> None:
    urls = {name: url for name, url in broker.urls.items() if "tcp" in name}
    assert len(urls) == 3
    sizes = set()
    for number, url in enumerate(urls.values()):
        client = Peer(Endpoint.of(url))
        sizes.add(client.connect(f"{unique}{number}").properties.value(P.MAXIMUM_PACKET_SIZE))
        client.close()
    assert 4000 in sizes
    assert len(sizes) == 2


@pytest.mark.broker(
    config={"listeners": {"tcp": {"nodelay": False, "tcp_keepalive": "30s"}, "ssl": {"tcp_keepalive": "30s"}}}
)
def test_socket_options_are_accepted(peer: PeerFactory, unique: str) -> None:
    client = peer()
    client.connect(unique)
    client.ping()


def test_address_in_use_is_an_error_that_names_it(configuration: Callable[..., dict[str, Any]]) -> None:
    taken = socket.create_server(("127.0.0.1", 0))
    port = taken.getsockname()[1]
    with (
        pytest.raises(StartError, match=str(port)),
        running(configuration({"listeners": {"tcp": {"bind": f"127.0.0.1:{port}"}}})),
    ):
        pass
    taken.close()


def test_unix_socket_of_a_dead_broker_is_replaced(configuration: Callable[..., dict[str, Any]], unique: str) -> None:
    config = configuration()
    path = config["listeners"]["unix"]["bind"]
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(path)
    dead.close()
    with running(config) as broker:
        client = Peer(Endpoint.of(next(url for url in broker.urls.values() if url.startswith("unix"))))
        assert client.connect(unique).reason == 0
        client.close()


def test_broker_that_stopped_listens_no_more(configuration: Callable[..., dict[str, Any]]) -> None:
    with running(configuration()) as broker:
        endpoints = [Endpoint.of(url) for url in broker.urls.values()]
    for endpoint in endpoints:
        with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
            open_socket(endpoint)
