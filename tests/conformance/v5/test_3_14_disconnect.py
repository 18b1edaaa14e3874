"""MQTT 5.0, 3.14: DISCONNECT of both sides."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from mqtt import Disconnect, P, PubRel, R, packet, properties
from peer import Peer, PeerFactory

from nanomq.testing import Clock, RunningBroker

statement = pytest.mark.statement


@statement("MQTT-3.14.0-1")
def test_error_before_connack_is_not_told_by_disconnect(peer: PeerFactory) -> None:
    client = peer()
    client.send(b"\xc0\x00")
    client.expect_closed()


@statement("MQTT-3.14.1-1")
@pytest.mark.parametrize("flags", [0x1, 0x2, 0x4, 0x8])
def test_disconnect_with_flags_is_malformed(connected: Callable[..., Peer], flags: int) -> None:
    client = connected()
    client.send(bytes([0xE0 | flags, 0]))
    client.expect_disconnect(R.MALFORMED_PACKET)


@statement("MQTT-3.14.2-1")
@pytest.mark.parametrize("reason", [0x01, 0x10, 0x86, 0x91, 0x92, 0xFF])
def test_disconnect_with_the_reason_code_of_another_packet_closes(connected: Callable[..., Peer], reason: int) -> None:
    client = connected()
    client.send(packet(0xE0, bytes([reason])))
    client.expect_disconnect(R.PROTOCOL_ERROR)


@statement("MQTT-3.14.2-1")
@pytest.mark.parametrize(
    "reason",
    [0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99],
    ids=lambda reason: f"{reason:#04x}",
)
def test_disconnect_with_any_reason_code_of_a_client_is_not_answered(
    connected: Callable[..., Peer], reason: int
) -> None:
    client = connected()
    client.send(packet(0xE0, bytes([reason])))
    client.expect_closed()


@statement("MQTT-3.14.2-2", "MQTT-3.14.2-3", "MQTT-3.14.2-4")
def test_disconnect_of_the_broker_fits_a_small_packet_size(connected: Callable[..., Peer]) -> None:
    client = connected(props={P.MAXIMUM_PACKET_SIZE: 20, P.SESSION_EXPIRY_INTERVAL: 10})
    client.send(b"\x00\x00")
    raw = client.recv_raw()
    assert raw is not None and len(raw) <= 20
    client.expect_closed()


@statement("MQTT-3.14.2-1", "MQTT-3.14.2-2")
def test_disconnect_of_the_broker_byte_by_byte(connected: Callable[..., Peer]) -> None:
    client = connected(props={P.SESSION_EXPIRY_INTERVAL: 10, P.REQUEST_PROBLEM_INFORMATION: 0})
    client.send(b"\x00\x00")
    client.expect_bytes(b"\xe0\x01\x81")
    client.expect_closed()


@statement("MQTT-3.14.4-1")
def test_packets_behind_a_disconnect_are_not_processed(connected: Callable[..., Peer], unique: str) -> None:
    subscriber, client = connected("s"), connected("a")
    subscriber.subscribe(unique)
    client.send(b"\xe0\x00", packet(0x30, b"\x00" + bytes([len(unique)]) + unique.encode() + b"\x00x"))
    client.expect_closed()
    subscriber.expect_nothing()


@statement("MQTT-3.14.4-1", "MQTT-3.14.4-2")
def test_nothing_follows_the_disconnect_of_the_broker(connected: Callable[..., Peer]) -> None:
    client = connected()
    client.send(b"\x00\x00", b"\xc0\x00", b"\xc0\x00")
    client.expect_disconnect(R.MALFORMED_PACKET)


@statement("MQTT-3.14.4-2")
def test_broker_closes_after_the_disconnect_of_a_client(connected: Callable[..., Peer]) -> None:
    client = connected()
    client.send(Disconnect())
    client.expect_closed()


@statement("MQTT-3.14.4-2", "MQTT-4.13.2-1")
@pytest.mark.broker(config={"mqtt": {"max_qos": 2}})
def test_shutdown_of_the_broker_is_told_by_disconnect(broker: RunningBroker, connected: Callable[..., Peer]) -> None:
    client = connected()
    broker.stop()
    client.expect_disconnect(R.SERVER_SHUTTING_DOWN)


@statement("MQTT-4.1.0-2", "MQTT-3.1.2-23")
def test_session_expiry_of_disconnect_replaces_that_of_connect(
    connected: Callable[..., Peer], peer: PeerFactory, unique: str, clock: Clock
) -> None:
    connected("a", props={P.SESSION_EXPIRY_INTERVAL: 10}).disconnect(props={P.SESSION_EXPIRY_INTERVAL: 100})
    clock.advance(seconds=99.5)
    assert peer().connect(unique + "a", clean=False).session_present is True


@statement("MQTT-4.1.0-2")
def test_session_expiry_of_disconnect_is_exact(
    connected: Callable[..., Peer], peer: PeerFactory, unique: str, clock: Clock
) -> None:
    connected("a", props={P.SESSION_EXPIRY_INTERVAL: 1000}).disconnect(props={P.SESSION_EXPIRY_INTERVAL: 10})
    clock.advance(seconds=10.3)
    assert peer().connect(unique + "a", clean=False).session_present is False


@statement("MQTT-4.1.0-2")
def test_session_expiry_0_at_disconnect_ends_the_session(
    connected: Callable[..., Peer], peer: PeerFactory, unique: str
) -> None:
    connected("a", props={P.SESSION_EXPIRY_INTERVAL: 1000}).disconnect(props={P.SESSION_EXPIRY_INTERVAL: 0})
    assert peer().connect(unique + "a", clean=False).session_present is False


@statement("MQTT-3.14.4-3", "MQTT-4.13.1-1")
def test_session_expiry_at_disconnect_without_one_at_connect_is_a_protocol_error(
    connected: Callable[..., Peer],
) -> None:
    client = connected()
    client.send(Disconnect(properties=properties({P.SESSION_EXPIRY_INTERVAL: 10})))
    client.expect_disconnect(R.PROTOCOL_ERROR)


@statement("MQTT-3.14.2-1")
def test_disconnect_with_reason_string_and_user_properties_is_accepted(connected: Callable[..., Peer]) -> None:
    client = connected()
    client.disconnect(props=[(P.REASON_STRING, "done"), (P.USER_PROPERTY, ("a", "b")), (P.USER_PROPERTY, ("a", "b"))])


@statement("MQTT-3.14.4-1")
def test_acknowledgement_behind_a_disconnect_is_not_answered(connected: Callable[..., Peer]) -> None:
    client = connected()
    client.send(Disconnect(), PubRel(5))
    client.expect_closed()
