"""MQTT 5.0, 4.13: what breaks the rules ends its own connection and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from mqtt import Connect, Disconnect, P, PubAck, PubComp, Publish, PubRec, PubRel, R, packet, string, u16
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


@statement("MQTT-4.13.1-1")
@pytest.mark.parametrize("first", [0x20, 0x90, 0xB0, 0xD0])
@pytest.mark.parametrize("body", [b"", b"\x00", b"\xff\xff\xff\xff"], ids=["empty", "short", "nonsense"])
def test_packet_of_a_server_is_unexpected_whatever_it_holds(
    connected: Callable[..., Peer], first: int, body: bytes
) -> None:
    client = connected()
    client.send(packet(first, body))
    client.expect_disconnect(R.PROTOCOL_ERROR)


@statement("MQTT-4.13.1-1")
@pytest.mark.parametrize(
    ("qos", "wrong"), [(1, PubRec), (1, PubComp), (2, PubAck), (2, PubComp)], ids=["1-REC", "1-COMP", "2-ACK", "2-COMP"]
)
def test_acknowledgement_of_another_qos_is_an_error(
    connected: Callable[..., Peer], unique: str, qos: int, wrong: type[PubAck | PubRec | PubComp]
) -> None:
    client = connected("s")
    client.subscribe(unique, qos=qos)
    connected("p").publish(unique, qos=qos)
    client.send(wrong(client.expect(Publish).packet_id))
    client.expect_disconnect(R.PROTOCOL_ERROR)


@statement("MQTT-4.13.1-1")
def test_puback_after_pubrel_is_an_error(connected: Callable[..., Peer], unique: str) -> None:
    client = connected("s")
    client.subscribe(unique, qos=2)
    connected("p").publish(unique, qos=2)
    packet_id = client.expect(Publish).packet_id
    client.send(PubRec(packet_id))
    client.expect(PubRel)
    client.send(PubAck(packet_id))
    client.expect_disconnect(R.PROTOCOL_ERROR)


@statement("MQTT-4.13.2-1")
def test_message_that_was_acknowledged_wrongly_is_sent_again(
    connected: Callable[..., Peer], peer: PeerFactory, unique: str
) -> None:
    client = connected("s", props={P.SESSION_EXPIRY_INTERVAL: 100})
    client.subscribe(unique, qos=2)
    connected("p").publish(unique, b"x", qos=2)
    client.send(PubAck(client.expect(Publish).packet_id))
    client.expect_disconnect(R.PROTOCOL_ERROR)
    back = peer()
    assert back.connect(unique + "s", clean=False).session_present
    again = back.expect(Publish)
    assert (again.payload, again.dup) == (b"x", True)
