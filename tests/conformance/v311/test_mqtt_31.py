"""MQTT 3.1 (protocol name `MQIsdp`, level 3): what differs from 3.1.1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from mqtt import V5, V31, V311, Publish, Will, packet, string, u16
from peer import Peer, PeerFactory

from nanomq.testing import Clock


@pytest.fixture
def connected(peer: PeerFactory, unique: str) -> Callable[..., Peer]:
    """A peer that is connected as `<unique><name>`, by default with MQTT 3.1."""

    def make(name: str = "a", version: int = V31, **options: Any) -> Peer:
        made = peer(version)
        assert made.connect(unique + name, **options).reason == 0
        return made

    return make


Connected = Callable[..., Peer]


def connect(name: str, level: int, client_id: str) -> bytes:
    """A CONNECT with clean session."""
    return packet(0x10, string(name) + bytes([level, 2]) + u16(0) + string(client_id))


def test_mqisdp_level_3_is_accepted(peer: PeerFactory, unique: str) -> None:
    client = peer(V31)
    client.send(connect("MQIsdp", 3, unique))
    client.expect_bytes(b"\x20\x02\x00\x00")


def test_bridge_bit_of_the_level_is_accepted(peer: PeerFactory, unique: str) -> None:
    client = peer(V31)
    client.send(connect("MQIsdp", 0x83, unique))
    client.expect_bytes(b"\x20\x02\x00\x00")


@pytest.mark.parametrize("level", [0, 2, 4, 5])
def test_mqisdp_with_another_level_gets_return_code_1(peer: PeerFactory, unique: str, level: int) -> None:
    client = peer(V31)
    client.send(connect("MQIsdp", level, unique))
    client.expect_bytes(b"\x20\x02\x00\x01")
    client.expect_closed()


def test_empty_client_id_gets_return_code_2(peer: PeerFactory) -> None:
    client = peer(V31)
    client.send(connect("MQIsdp", 3, ""))
    client.expect_bytes(b"\x20\x02\x00\x02")
    client.expect_closed()


@pytest.mark.parametrize("length", [1, 23, 24, 100])
def test_client_ids_of_any_length_are_accepted(peer: PeerFactory, length: int) -> None:
    client = peer(V31)
    client.send(connect("MQIsdp", 3, "x" * length))
    client.expect_bytes(b"\x20\x02\x00\x00")


def test_connack_has_no_session_present(connected: Connected, peer: PeerFactory, unique: str) -> None:
    client = connected(clean=False)
    client.subscribe(unique, qos=1)
    client.disconnect()
    connected("p").publish(unique, b"waiting", qos=1)
    again = peer(V31)
    again.send(packet(0x10, string("MQIsdp") + b"\x03\x00" + u16(0) + string(client.client_id)))
    again.expect_bytes(b"\x20\x02\x00\x00")
    assert again.receive().payload == b"waiting"


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_messages_travel_between_3_1_and_other_versions(connected: Connected, unique: str, qos: int) -> None:
    old, new, newest = connected("a"), connected("b", V311), connected("c", V5)
    for client in (old, new, newest):
        client.subscribe(unique, qos=2)
    old.send_publish(unique, b"m", qos=qos)
    for client in (new, newest):
        message = client.receive()
        assert (message.payload, message.qos) == (b"m", qos)


def test_will_is_published(connected: Connected, unique: str) -> None:
    observer = connected("o")
    observer.subscribe(unique)
    connected(will=Will(unique, b"gone", retain=True)).close()
    assert observer.receive().payload == b"gone"


def test_username_and_password(connected: Connected) -> None:
    connected(username="ann", password=b"any").ping()


def test_keepalive_disconnects(connected: Connected, clock: Clock) -> None:
    client = connected(keepalive_s=10)
    clock.advance(seconds=15.25)
    client.expect_closed()


@pytest.mark.broker(config={"mqtt": {"retry_interval": "20s"}})
def test_unacknowledged_message_is_sent_again_after_the_retry_interval(
    connected: Connected, clock: Clock, unique: str
) -> None:
    client = connected("s")
    client.subscribe(unique, qos=1)
    connected("p").publish(unique, b"m", qos=1)
    first = client.expect(Publish)
    clock.advance(seconds=19)
    client.expect_nothing()
    clock.advance(seconds=2)
    again = client.expect(Publish)
    assert (again.payload, again.packet_id, again.dup) == (b"m", first.packet_id, True)


def test_pubrel_and_subscribe_with_dup_are_accepted(connected: Connected, unique: str) -> None:
    client = connected()
    client.send(packet(0x8A, u16(1) + string(unique) + b"\x01"))
    client.expect_bytes(b"\x90\x03\x00\x01\x01")
    client.send(packet(0xAA, u16(2) + string(unique)))
    client.expect_bytes(b"\xb0\x02\x00\x02")
    client.send_publish(unique, b"m", qos=2, packet_id=3)
    client.expect_bytes(b"\x50\x02\x00\x03")
    client.send(packet(0x6A, u16(3)))
    client.expect_bytes(b"\x70\x02\x00\x03")
