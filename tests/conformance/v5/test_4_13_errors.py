"""MQTT 5.0, 4.13: what breaks the rules ends its own connection and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from mqtt import Connect, Disconnect, P, Publish, R, packet, string, u16
from peer import Peer, PeerFactory

statement = pytest.mark.statement


@statement("MQTT-4.13.1-1")
def test_error_of_one_client_leaves_the_others_alone(connected: Callable[..., Peer], unique: str) -> None:
    bad, subscriber, publisher = connected("b"), connected("s"), connected("p")
    subscriber.subscribe(unique)
    bad.send(b"\xf0\x00\x00\xff\xff\xff")
    bad.recv_raw()
    publisher.publish(unique, b"x")
    assert subscriber.receive().payload == b"x"


@statement("MQTT-4.13.1-1")
def test_packets_before_the_wrong_one_are_processed(connected: Callable[..., Peer], unique: str) -> None:
    subscriber, client = connected("s"), connected("a")
    subscriber.subscribe(unique)
    client.send(Publish(unique, b"x"), b"\x00\x00")
    client.expect_disconnect(R.MALFORMED_PACKET)
    assert subscriber.receive().payload == b"x"


@statement("MQTT-4.13.1-1")
def test_packets_behind_the_wrong_one_are_not_processed(connected: Callable[..., Peer], unique: str) -> None:
    subscriber, client = connected("s"), connected("a")
    subscriber.subscribe(unique)
    client.send(b"\x00\x00", Publish(unique, b"x"))
    client.expect_disconnect(R.MALFORMED_PACKET)
    subscriber.expect_nothing()


@statement("MQTT-4.13.1-1", "MQTT-4.13.2-1")
def test_broken_subscribe_subscribes_to_nothing(connected: Callable[..., Peer], peer: PeerFactory, unique: str) -> None:
    client = connected(props={P.SESSION_EXPIRY_INTERVAL: 100})
    client.send(packet(0x82, u16(1) + b"\x00" + string(unique) + b"\x00" + string("b") + b"\x80"))
    client.expect_disconnect(R.MALFORMED_PACKET)
    back = peer()
    assert back.connect(unique + "a", clean=False).session_present is True
    assert back.publish(unique) == R.NO_MATCHING_SUBSCRIBERS


@statement("MQTT-4.13.2-1")
def test_session_survives_an_error_of_its_client(
    connected: Callable[..., Peer], peer: PeerFactory, unique: str
) -> None:
    client = connected(props={P.SESSION_EXPIRY_INTERVAL: 100})
    client.send(b"\x00\x00")
    client.expect_disconnect(R.MALFORMED_PACKET)
    assert peer().connect(unique + "a", clean=False).session_present is True


@statement("MQTT-4.13.1-1")
def test_packets_arrive_in_pieces_of_one_byte(peer: PeerFactory, unique: str) -> None:
    client = peer()
    for byte in Connect(unique).encode():
        client.send(bytes([byte]))
    client.recv()
    for byte in packet(0x82, u16(1) + b"\x00" + string(unique) + b"\x00") + Publish(unique, b"x").encode():
        client.send(bytes([byte]))
    client.expect_bytes(b"\x90\x04\x00\x01\x00\x00")
    assert client.receive().payload == b"x"


@statement("MQTT-4.13.1-1")
def test_cut_within_a_packet_leaves_no_trace(connected: Callable[..., Peer], unique: str) -> None:
    subscriber, client = connected("s"), connected("a")
    subscriber.subscribe(unique)
    client.send(Publish(unique, bytes(1000)).encode()[:-1])
    client.abort()
    connected("p").publish(unique, b"whole")
    assert subscriber.receive().payload == b"whole"


@statement("MQTT-4.13.1-1")
@pytest.mark.parametrize(
    "whole",
    [
        pytest.param(packet(0x82, u16(1) + b"\x02\x0b\x01" + string("abc") + b"\x01"), id="SUBSCRIBE"),
        pytest.param(packet(0xA2, u16(1) + b"\x05\x26\x00\x00\x00\x00" + string("abc")), id="UNSUBSCRIBE"),
        pytest.param(packet(0x32, string("abc") + u16(1) + b"\x05\x02\x00\x00\x00\x09"), id="PUBLISH"),
    ],
)
def test_packet_cut_at_any_byte_closes_the_connection(tcp_peer: PeerFactory, unique: str, whole: bytes) -> None:
    for end in range(2, len(whole)):
        client = tcp_peer()
        client.connect(unique)
        client.send(packet(whole[0], whole[2:end]))
        found = client.recv()
        assert isinstance(found, Disconnect) and found.reason in (R.MALFORMED_PACKET, R.PROTOCOL_ERROR)
        client.expect_closed()
