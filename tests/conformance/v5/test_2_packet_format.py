"""MQTT 5.0, 2: fixed header, packet ids, properties."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from mqtt import P, PubAck, Publish, PubRec, PubRel, R, encode_property, packet, properties, string, u16, varint
from peer import Peer, PeerFactory

statement = pytest.mark.statement


@statement("MQTT-2.1.3-1")
@pytest.mark.parametrize("flags", [0x1, 0x2, 0x8, 0xF])
@pytest.mark.parametrize(
    ("kind", "body"),
    [
        pytest.param(4, u16(1), id="PUBACK"),
        pytest.param(5, u16(1), id="PUBREC"),
        pytest.param(7, u16(1), id="PUBCOMP"),
        pytest.param(12, b"", id="PINGREQ"),
        pytest.param(14, b"", id="DISCONNECT"),
        pytest.param(15, b"\x19\x00", id="AUTH"),
    ],
)
def test_reserved_flags_that_are_set_are_malformed(
    connected: Callable[..., Peer], kind: int, body: bytes, flags: int
) -> None:
    client = connected()
    client.send(packet(kind << 4 | flags, body))
    client.expect_disconnect(R.MALFORMED_PACKET)


@statement("MQTT-2.1.3-1", "MQTT-3.1.4-1")
@pytest.mark.parametrize("flags", [0x1, 0x2, 0x4, 0x8])
def test_connect_with_reserved_flags_is_refused(peer: PeerFactory, flags: int) -> None:
    client = peer()
    client.send(packet(0x10 | flags, string("MQTT") + b"\x05\x02\x00\x00" + b"\x00" + string("a")))
    client.expect_refused(R.MALFORMED_PACKET)


@statement("MQTT-2.1.3-1")
def test_packet_type_0_is_malformed(connected: Callable[..., Peer]) -> None:
    client = connected()
    client.send(b"\x00\x00")
    client.expect_disconnect(R.MALFORMED_PACKET)


@statement("MQTT-2.1.3-1", "MQTT-4.13.1-1")
@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"\x20\x03\x00\x00\x00", id="CONNACK"),
        pytest.param(b"\x90\x04\x00\x01\x00\x00", id="SUBACK"),
        pytest.param(b"\xb0\x04\x00\x01\x00\x00", id="UNSUBACK"),
        pytest.param(b"\xd0\x00", id="PINGRESP"),
    ],
)
def test_packet_that_only_a_server_sends_is_a_protocol_error(connected: Callable[..., Peer], raw: bytes) -> None:
    client = connected()
    client.send(raw)
    client.expect_disconnect(R.PROTOCOL_ERROR)


@statement("MQTT-2.2.1-2")
def test_qos_0_is_delivered_without_packet_id(connected: Callable[..., Peer], unique: str) -> None:
    client = connected()
    client.subscribe(unique, qos=2)
    client.send_publish(unique, b"\x01\x02")
    client.expect_bytes(packet(0x30, string(unique) + b"\x00" + b"\x01\x02"))


@statement("MQTT-2.2.1-3")
@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(packet(0x32, string("a") + u16(0) + b"\x00"), id="PUBLISH QoS 1"),
        pytest.param(packet(0x34, string("a") + u16(0) + b"\x00"), id="PUBLISH QoS 2"),
        pytest.param(packet(0x82, u16(0) + b"\x00" + string("a") + b"\x00"), id="SUBSCRIBE"),
        pytest.param(packet(0xA2, u16(0) + b"\x00" + string("a")), id="UNSUBSCRIBE"),
    ],
)
def test_packet_id_0_is_a_protocol_error(connected: Callable[..., Peer], raw: bytes) -> None:
    client = connected()
    client.send(raw)
    client.expect_disconnect(R.PROTOCOL_ERROR)


@statement("MQTT-2.2.1-4", "MQTT-4.3.2-1", "MQTT-4.3.3-1")
@pytest.mark.parametrize("qos", [1, 2])
def test_packet_ids_of_unacknowledged_messages_differ(connected: Callable[..., Peer], unique: str, qos: int) -> None:
    subscriber, publisher = connected("s"), connected("p")
    subscriber.subscribe(unique, qos=qos)
    for _ in range(50):
        publisher.publish(unique, qos=qos)
    ids = [subscriber.expect(Publish).packet_id for _ in range(50)]
    assert len(set(ids)) == 50 and 0 not in ids


@statement("MQTT-2.2.1-4")
@pytest.mark.parametrize("transport", ["tcp"], indirect=True)
def test_packet_ids_in_use_are_passed_over_when_they_begin_again(connected: Callable[..., Peer], unique: str) -> None:
    subscriber, publisher = connected("s"), connected("p")
    subscriber.subscribe(unique, qos=1)
    publisher.publish(unique, b"kept open", qos=1)
    open_id = subscriber.expect(Publish).packet_id
    message = Publish(unique, b"", 1, packet_id=1)
    for _ in range(66):
        publisher.send(*[message] * 1000)
        found = [subscriber.expect(Publish).packet_id for _ in range(1000)]
        assert open_id not in found and 0 not in found
        subscriber.send(*[PubAck(packet_id) for packet_id in found])
        assert [publisher.expect(PubAck).packet_id for _ in range(1000)] == [1] * 1000


@statement("MQTT-2.2.1-5", "MQTT-4.3.2-4")
@pytest.mark.parametrize("packet_id", [1, 0x1234, 0xFFFF])
def test_puback_has_the_packet_id_of_its_publish(connected: Callable[..., Peer], unique: str, packet_id: int) -> None:
    client = connected()
    client.subscribe(unique)
    client.send_publish(unique, b"", 1, packet_id=packet_id)
    client.expect(Publish)
    client.expect_bytes(b"\x40\x02" + u16(packet_id))


@statement("MQTT-2.2.1-5", "MQTT-4.3.3-8", "MQTT-4.3.3-11")
@pytest.mark.parametrize("packet_id", [1, 0x1234, 0xFFFF])
def test_pubrec_and_pubcomp_have_the_packet_id_of_their_publish(
    connected: Callable[..., Peer], unique: str, packet_id: int
) -> None:
    client, subscriber = connected("a"), connected("s")
    subscriber.subscribe(unique)
    client.send_publish(unique, b"", 2, packet_id=packet_id)
    client.expect_bytes(b"\x50\x02" + u16(packet_id))
    client.send(PubRel(packet_id))
    client.expect_bytes(b"\x70\x02" + u16(packet_id))


@statement("MQTT-2.2.1-5", "MQTT-4.3.3-4")
def test_pubrel_has_the_packet_id_of_its_publish(connected: Callable[..., Peer], unique: str) -> None:
    subscriber, publisher = connected("s"), connected("p")
    subscriber.subscribe(unique, qos=2)
    publisher.publish(unique, qos=2)
    packet_id = subscriber.expect(Publish).packet_id
    subscriber.send(PubRec(packet_id))
    subscriber.expect_bytes(b"\x62\x02" + u16(packet_id))


@statement("MQTT-2.2.1-6", "MQTT-2.2.2-1", "MQTT-3.8.4-2")
@pytest.mark.parametrize("packet_id", [1, 0x1234, 0xFFFF])
def test_suback_has_the_packet_id_of_its_subscribe(connected: Callable[..., Peer], unique: str, packet_id: int) -> None:
    client = connected()
    client.send(packet(0x82, u16(packet_id) + b"\x00" + string(unique) + b"\x01"))
    client.expect_bytes(b"\x90\x04" + u16(packet_id) + b"\x00" + b"\x01")


@statement("MQTT-2.2.1-6", "MQTT-2.2.2-1", "MQTT-3.10.4-5")
@pytest.mark.parametrize("packet_id", [1, 0x1234, 0xFFFF])
def test_unsuback_has_the_packet_id_of_its_unsubscribe(
    connected: Callable[..., Peer], unique: str, packet_id: int
) -> None:
    client = connected()
    client.subscribe(unique)
    client.send(packet(0xA2, u16(packet_id) + b"\x00" + string(unique)))
    client.expect_bytes(b"\xb0\x04" + u16(packet_id) + b"\x00" + b"\x00")


@statement("MQTT-2.2.2-1")
def test_publish_without_properties_has_property_length_0(connected: Callable[..., Peer], unique: str) -> None:
    subscriber, publisher = connected("s"), connected("p", version=4)
    subscriber.subscribe(unique)
    publisher.send_publish(unique, b"payload")
    subscriber.expect_bytes(packet(0x30, string(unique) + b"\x00" + b"payload"))


@statement("MQTT-2.2.2-1", "MQTT-4.13.1-1")
def test_unknown_property_is_malformed(connected: Callable[..., Peer]) -> None:
    client = connected()
    client.send(packet(0x30, string("a") + b"\x02\x7e\x00"))
    client.expect_disconnect(R.MALFORMED_PACKET)


@statement("MQTT-4.13.1-1")
@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(packet(0x30, string("a") + b"\x05\x11\x00\x00\x00\x01"), id="session expiry in PUBLISH"),
        pytest.param(packet(0x82, u16(1) + b"\x02\x01\x01" + string("a") + b"\x00"), id="payload format in SUBSCRIBE"),
        pytest.param(packet(0xA2, u16(1) + b"\x02\x0b\x01" + string("a")), id="subscription id in UNSUBSCRIBE"),
        pytest.param(packet(0xE0, b"\x00\x03\x21\x00\x01"), id="receive maximum in DISCONNECT"),
    ],
)
def test_property_of_another_packet_closes_the_connection(connected: Callable[..., Peer], raw: bytes) -> None:
    client = connected()
    client.send(raw)
    client.expect_disconnect(R.MALFORMED_PACKET)


@statement("MQTT-4.13.1-1")
@pytest.mark.parametrize("name", [P.PAYLOAD_FORMAT_INDICATOR, P.MESSAGE_EXPIRY_INTERVAL, P.TOPIC_ALIAS])
def test_property_twice_is_a_protocol_error(connected: Callable[..., Peer], name: P) -> None:
    client = connected()
    twice = encode_property(name, 1) * 2
    client.send(packet(0x30, string("a") + varint(len(twice)) + twice))
    client.expect_disconnect(R.PROTOCOL_ERROR)


@statement("MQTT-4.13.1-1")
def test_property_that_reaches_beyond_the_property_length_is_malformed(connected: Callable[..., Peer]) -> None:
    client = connected()
    client.send(packet(0x30, string("a") + b"\x03\x02\x00\x00" + b"\x00\x01"))
    client.expect_disconnect(R.MALFORMED_PACKET)


@statement("MQTT-4.13.1-1")
@pytest.mark.parametrize("value", [2, 255])
def test_payload_format_indicator_is_0_or_1(connected: Callable[..., Peer], value: int) -> None:
    client = connected()
    client.send(packet(0x30, string("a") + properties({P.PAYLOAD_FORMAT_INDICATOR: value}).encode()))
    client.expect_disconnect(R.PROTOCOL_ERROR)
