"""Keepalive times its multiplier, to a quarter of a second."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from mqtt import Options, P, Packet, PingReq, Publish, PubRel, R, Subscribe, Unsubscribe, Will
from peer import Peer, PeerFactory
from timing import after, before, unless_late

from nanomq.testing import Clock

Connected = Callable[..., Peer]


@pytest.mark.parametrize("version", [3, 4, 5])
@pytest.mark.parametrize("keepalive_s", [1, 10, 60, 65_535])
def test_silent_client_is_closed_after_one_and_a_half_keepalives(
    connected: Connected, clock: Clock, version: int, keepalive_s: int
) -> None:
    client = connected(version=version, keepalive_s=keepalive_s)
    clock.advance(seconds=after(keepalive_s * 1.5))
    client.expect_disconnect(R.KEEP_ALIVE_TIMEOUT)


@pytest.mark.parametrize("keepalive_s", [1, 10, 60, 65_535])
def test_client_is_there_just_before(connected: Connected, clock: Clock, keepalive_s: int) -> None:
    def attempt() -> None:
        client = connected(keepalive_s=keepalive_s)
        clock.advance(seconds=before(keepalive_s * 1.5))
        client.ping()

    unless_late(attempt)


@pytest.mark.broker(config={"mqtt": {"keepalive_multiplier": 1.25}})
def test_multiplier_1_25_closes_a_60_s_client_after_75_s(connected: Connected, clock: Clock) -> None:
    def attempt() -> None:
        client = connected(keepalive_s=60)
        clock.advance(seconds=before(75))
        client.ping()

    unless_late(attempt)
    client = connected(keepalive_s=60)
    clock.advance(seconds=after(75))
    client.expect_disconnect(R.KEEP_ALIVE_TIMEOUT)


@pytest.mark.broker(config={"mqtt": {"keepalive_backoff": 1250}})
def test_old_name_and_thousandths_mean_the_same(connected: Connected, clock: Clock) -> None:
    client = connected(keepalive_s=60)
    clock.advance(seconds=after(75))
    client.expect_disconnect(R.KEEP_ALIVE_TIMEOUT)


@pytest.mark.parametrize(
    "packet",
    [
        PingReq(),
        Publish("keepalive", qos=1, packet_id=1),
        Publish("keepalive", qos=2, packet_id=1),
        Subscribe(1, (("keepalive", Options()),)),
        Unsubscribe(1, ("keepalive",)),
        PubRel(1),
    ],
    ids=lambda packet: packet.type.name,
)
def test_every_packet_of_the_client_counts(connected: Connected, clock: Clock, packet: Packet) -> None:
    client = connected(keepalive_s=60)
    for _ in range(5):
        clock.advance(seconds=80)
        client.send(packet)
        client.recv()
    clock.advance(seconds=after(90))
    client.expect_disconnect(R.KEEP_ALIVE_TIMEOUT)


def test_qos_0_of_the_client_counts(connected: Connected, clock: Clock, unique: str) -> None:
    client, observer = connected(keepalive_s=60), connected("o")
    observer.subscribe(unique)
    for _ in range(5):
        clock.advance(seconds=80)
        client.send_publish(unique)
        observer.receive()
    client.ping()


def test_packets_of_the_broker_do_not_count(connected: Connected, clock: Clock, unique: str) -> None:
    client, publisher = connected("s", keepalive_s=60), connected("p")
    client.subscribe(unique)
    for number in range(4):
        clock.advance(seconds=20)
        publisher.publish(unique, b"%d" % number, qos=1)
    clock.advance(seconds=after(10))
    assert [client.expect(Publish).payload for _ in range(4)] == [b"0", b"1", b"2", b"3"]
    client.expect_disconnect(R.KEEP_ALIVE_TIMEOUT)


def test_part_of_a_packet_does_not_count(connected: Connected, clock: Clock) -> None:
    client = connected(keepalive_s=60)
    clock.advance(seconds=60)
    client.send(b"\x30\x7f\x00")
    clock.advance(seconds=after(30))
    client.expect_disconnect(R.KEEP_ALIVE_TIMEOUT)


def test_keepalive_0_is_never_checked(connected: Connected, clock: Clock) -> None:
    client = connected(keepalive_s=0)
    clock.advance(hours=24 * 365)
    client.ping()


def test_timeout_publishes_the_will(connected: Connected, clock: Clock, unique: str) -> None:
    observer = connected("o")
    observer.subscribe(unique)
    connected(keepalive_s=10, will=Will(unique, b"gone"))
    clock.advance(seconds=after(15))
    assert observer.receive().payload == b"gone"


def test_timeout_keeps_the_session(connected: Connected, peer: PeerFactory, clock: Clock) -> None:
    client = connected(keepalive_s=10, props={P.SESSION_EXPIRY_INTERVAL: 1000})
    clock.advance(seconds=after(15))
    client.expect_disconnect(R.KEEP_ALIVE_TIMEOUT)
    assert peer().connect(client.client_id, clean=False).session_present


@pytest.mark.broker(config={"mqtt": {"server_keepalive": "30s"}})
@pytest.mark.parametrize("asked", [0, 31, 600])
def test_server_keepalive_replaces_a_longer_one_of_the_client(
    peer: PeerFactory, clock: Clock, unique: str, asked: int
) -> None:
    client = peer()
    answer = client.connect(unique, keepalive_s=asked)
    assert answer.properties.value(P.SERVER_KEEP_ALIVE) == 30
    clock.advance(seconds=after(45))
    client.expect_disconnect(R.KEEP_ALIVE_TIMEOUT)


@pytest.mark.broker(config={"mqtt": {"server_keepalive": "30s"}})
@pytest.mark.parametrize("asked", [10, 30])
def test_server_keepalive_leaves_a_shorter_one_of_the_client(
    peer: PeerFactory, clock: Clock, unique: str, asked: int
) -> None:
    client = peer()
    assert client.connect(unique, keepalive_s=asked).properties.value(P.SERVER_KEEP_ALIVE) is None
    clock.advance(seconds=after(asked * 1.5))
    client.expect_disconnect(R.KEEP_ALIVE_TIMEOUT)


@pytest.mark.broker(config={"mqtt": {"server_keepalive": "30s"}})
def test_server_keepalive_does_not_bind_3_1_1(connected: Connected, clock: Clock) -> None:
    client = connected(version=4, keepalive_s=600)
    clock.advance(seconds=after(45))
    client.ping()
    clock.advance(seconds=after(900))
    client.expect_closed()


def test_no_server_keepalive_is_sent_when_the_clients_holds(peer: PeerFactory, unique: str) -> None:
    assert peer().connect(unique, keepalive_s=60).properties.value(P.SERVER_KEEP_ALIVE) is None
