"""MQTT 5.0, 3.4 to 3.7: PUBACK, PUBREC, PUBREL and PUBCOMP."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from mqtt import P, PubAck, PubComp, Publish, PubRec, PubRel, R, packet, properties, u16
from peer import Peer

statement = pytest.mark.statement
SMALL = {P.MAXIMUM_PACKET_SIZE: 20}


@statement("MQTT-3.4.2-1")
@pytest.mark.parametrize("reason", [0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99])
def test_puback_of_a_client_with_any_reason_code_is_accepted(
    connected: Callable[..., Peer], unique: str, reason: int
) -> None:
    client = connected()
    client.subscribe(unique, qos=1)
    connected("p").publish(unique)
    client.send(PubAck(client.expect(Publish).packet_id, reason))
    client.expect_nothing()


@statement("MQTT-3.4.2-1", "MQTT-3.5.2-1", "MQTT-3.6.2-1", "MQTT-3.7.2-1")
@pytest.mark.parametrize(
    ("first", "reason"),
    [(0x40, 0x01), (0x40, 0x92), (0x50, 0x11), (0x50, 0x81), (0x62, 0x10), (0x62, 0x80), (0x70, 0x10), (0x70, 0x87)],
)
def test_reason_code_of_another_packet_closes_the_connection(
    connected: Callable[..., Peer], first: int, reason: int
) -> None:
    client = connected()
    client.send(packet(first, u16(1) + bytes([reason])))
    client.expect_disconnect(R.PROTOCOL_ERROR)


@statement("MQTT-3.4.2-2", "MQTT-3.4.2-3")
def test_puback_fits_the_smallest_packet_size(connected: Callable[..., Peer], unique: str) -> None:
    client = connected(props=SMALL)
    client.send_publish(unique, qos=1, packet_id=3)
    client.expect_bytes(b"\x40\x03\x00\x03\x10")


@statement("MQTT-3.5.2-2", "MQTT-3.5.2-3")
def test_pubrec_fits_the_smallest_packet_size(connected: Callable[..., Peer], unique: str) -> None:
    client = connected(props=SMALL)
    client.send_publish(unique, qos=2, packet_id=3)
    client.expect_bytes(b"\x50\x02\x00\x03")


@statement("MQTT-3.6.2-2", "MQTT-3.6.2-3")
def test_pubrel_fits_the_smallest_packet_size(connected: Callable[..., Peer]) -> None:
    client = connected(props=SMALL)
    client.send(PubRec(77))
    client.expect_bytes(b"\x62\x03\x00\x4d\x92")


@statement("MQTT-3.7.2-2", "MQTT-3.7.2-3")
def test_pubcomp_fits_the_smallest_packet_size(connected: Callable[..., Peer]) -> None:
    client = connected(props=SMALL)
    client.send(PubRel(77))
    client.expect_bytes(b"\x70\x03\x00\x4d\x92")


@statement("MQTT-3.5.2-1")
def test_pubrec_of_the_broker_has_reason_0(connected: Callable[..., Peer], unique: str) -> None:
    client = connected()
    client.send_publish(unique, qos=2, packet_id=1)
    assert client.expect(PubRec).reason == R.SUCCESS
    connected("s").subscribe(unique)
    client.send_publish(unique, qos=2, packet_id=2)
    assert client.expect(PubRec).reason == R.SUCCESS


@statement("MQTT-3.6.1-1")
@pytest.mark.parametrize("flags", [0x0, 0x1, 0x3, 0xA, 0xF])
def test_pubrel_with_other_flags_is_malformed(connected: Callable[..., Peer], flags: int) -> None:
    client = connected()
    client.send(packet(0x60 | flags, u16(1)))
    client.expect_disconnect(R.MALFORMED_PACKET)


@statement("MQTT-3.6.2-1")
def test_pubrec_of_an_unknown_packet_id_is_answered_with_0x92(connected: Callable[..., Peer]) -> None:
    client = connected()
    client.send(PubRec(1234))
    assert client.expect(PubRel) == PubRel(1234, R.PACKET_IDENTIFIER_NOT_FOUND)


@statement("MQTT-3.7.2-1")
def test_pubrel_of_an_unknown_packet_id_is_answered_with_0x92(connected: Callable[..., Peer]) -> None:
    client = connected()
    client.send(PubRel(1234))
    assert client.expect(PubComp) == PubComp(1234, R.PACKET_IDENTIFIER_NOT_FOUND)


@statement("MQTT-3.4.2-1", "MQTT-3.7.2-1")
@pytest.mark.parametrize("raw", [b"\x40\x02\x12\x34", b"\x70\x02\x12\x34"], ids=["PUBACK", "PUBCOMP"])
def test_acknowledgement_of_an_unknown_packet_id_is_ignored(connected: Callable[..., Peer], raw: bytes) -> None:
    client = connected()
    client.send(raw)
    client.expect_nothing()


@statement("MQTT-3.4.2-1")
@pytest.mark.parametrize(
    "body", [b"\x00", b"\x00\x00", b"\x00\x03\x1f\x00\x00"], ids=["reason", "length 0", "reason string"]
)
def test_long_forms_of_puback_are_accepted(connected: Callable[..., Peer], unique: str, body: bytes) -> None:
    client, publisher = connected(props={P.RECEIVE_MAXIMUM: 1}), connected("p")
    client.subscribe(unique, qos=1)
    publisher.publish(unique, b"1")
    publisher.publish(unique, b"2")
    client.send(packet(0x40, u16(client.expect(Publish).packet_id) + body))
    assert client.receive().payload == b"2"


@statement("MQTT-3.4.2-1")
@pytest.mark.parametrize("first", [0x40, 0x50, 0x62, 0x70], ids=["PUBACK", "PUBREC", "PUBREL", "PUBCOMP"])
def test_acknowledgement_with_packet_id_0_closes_the_connection(connected: Callable[..., Peer], first: int) -> None:
    client = connected()
    client.send(packet(first, u16(0)))
    client.expect_disconnect(R.PROTOCOL_ERROR)


@statement("MQTT-3.4.2-1")
@pytest.mark.parametrize("first", [0x40, 0x50, 0x62, 0x70], ids=["PUBACK", "PUBREC", "PUBREL", "PUBCOMP"])
@pytest.mark.parametrize(
    "body", [b"", b"\x00", b"\x00\x01\x00\x05\x1f"], ids=["empty", "half a packet id", "cut properties"]
)
def test_cut_acknowledgement_is_malformed(connected: Callable[..., Peer], first: int, body: bytes) -> None:
    client = connected()
    client.send(packet(first, body))
    client.expect_disconnect(R.MALFORMED_PACKET)


@statement("MQTT-3.4.2-1", "MQTT-3.5.2-1", "MQTT-3.7.2-1")
@pytest.mark.parametrize("kind", [PubAck, PubRec, PubRel, PubComp])
def test_acknowledgement_with_reason_string_and_user_properties_is_accepted(
    connected: Callable[..., Peer], kind: type[PubAck | PubRec | PubRel | PubComp]
) -> None:
    client = connected()
    client.send(
        kind(
            9,
            0,
            properties([(P.REASON_STRING, "because"), (P.USER_PROPERTY, ("a", "b")), (P.USER_PROPERTY, ("a", "b"))]),
        )
    )
    if kind is PubRec:
        assert client.expect(PubRel).reason == R.PACKET_IDENTIFIER_NOT_FOUND
    if kind is PubRel:
        assert client.expect(PubComp).reason == R.PACKET_IDENTIFIER_NOT_FOUND
    client.expect_nothing()
