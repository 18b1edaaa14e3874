"""Chapter 2: format of control packets."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from mqtt import V311, PubAck, PubComp, Publish, PubRec, PubRel, packet, string, u16
from peer import Peer, PeerFactory

Connected = Callable[..., Peer]
Stranger = Callable[[], Peer]

# what a client may send, with its only legal flags
CLIENT_PACKETS = {
    "PUBACK": (0x40, u16(1)),
    "PUBREC": (0x50, u16(1)),
    "PUBREL": (0x62, u16(1)),
    "PUBCOMP": (0x70, u16(1)),
    "SUBSCRIBE": (0x82, u16(1) + string("a") + b"\x00"),
    "UNSUBSCRIBE": (0xA2, u16(1) + string("a")),
    "PINGREQ": (0xC0, b""),
    "DISCONNECT": (0xE0, b""),
}
WRONG_FLAGS = {
    f"{name} {flags:04b}": packet(first & 0xF0 | flags, body)
    for name, (first, body) in CLIENT_PACKETS.items()
    for flags in (0b0000, 0b0001, 0b0010, 0b0100, 0b1000, 0b1111)
    if flags != first & 0x0F
}


@pytest.mark.statement("MQTT-2.2.2-1", version=4)
def test_packets_of_the_broker_have_the_flags_of_the_table(connected: Connected, unique: str) -> None:
    client = connected()
    client.send(packet(0x82, u16(7) + string(unique) + b"\x02"))
    client.expect_bytes(b"\x90\x03\x00\x07\x02")
    client.send_publish(unique, b"m", qos=2, packet_id=9)
    message, record = sorted([client.recv(), client.recv()], key=lambda found: found.raw)
    assert isinstance(message, Publish)
    assert message.raw == packet(0x34, string(unique) + u16(message.packet_id) + b"m")
    assert record.raw == b"\x50\x02\x00\x09"
    client.send(PubRec(message.packet_id))
    client.expect_bytes(b"\x62\x02" + u16(message.packet_id))
    client.send(PubComp(message.packet_id), PubRel(9))
    client.expect_bytes(b"\x70\x02\x00\x09")
    client.send(packet(0xA2, u16(8) + string(unique)), b"\xc0\x00")
    client.expect_bytes(b"\xb0\x02\x00\x08")
    client.expect_bytes(b"\xd0\x00")


@pytest.mark.statement("MQTT-2.2.2-2", version=4)
@pytest.mark.parametrize("raw", WRONG_FLAGS.values(), ids=WRONG_FLAGS)
def test_wrong_flags_close_the_connection(connected: Connected, raw: bytes) -> None:
    client = connected()
    client.send(raw)
    client.expect_closed()


@pytest.mark.statement("MQTT-2.2.2-2", version=4)
@pytest.mark.parametrize("flags", range(1, 16))
def test_connect_with_flags_closes_the_connection(stranger: Stranger, unique: str, flags: int) -> None:
    client = stranger()
    client.send(packet(0x10 | flags, string("MQTT") + b"\x04\x02" + u16(0) + string(unique)))
    client.expect_closed()


@pytest.mark.parametrize("first", [0x00, 0x20, 0x90, 0xB0, 0xD0, 0xF0])
def test_packets_a_client_must_not_send_close_the_connection(connected: Connected, first: int) -> None:
    client = connected()
    client.send(packet(first, b"\x00\x00"))
    client.expect_closed()


def test_remaining_length_of_five_bytes_closes_the_connection(connected: Connected) -> None:
    client = connected()
    client.send(b"\x30\xff\xff\xff\xff\x01")
    client.expect_closed()


@pytest.mark.parametrize("size", [0, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152])
def test_remaining_lengths_on_both_sides_of_each_step(connected: Connected, unique: str, size: int) -> None:
    client = connected()
    client.subscribe(unique)
    payload = bytes(max(0, size - 2 - len(unique)))
    raw = packet(0x30, string(unique) + payload)
    client.send(raw)
    assert client.expect(Publish).raw == raw


@pytest.mark.statement("MQTT-2.3.1-1", version=4)
@pytest.mark.parametrize(
    "raw",
    [
        packet(0x82, u16(0) + string("a") + b"\x00"),
        packet(0xA2, u16(0) + string("a")),
        packet(0x32, string("a") + u16(0) + b"m"),
        packet(0x34, string("a") + u16(0) + b"m"),
    ],
    ids=["SUBSCRIBE", "UNSUBSCRIBE", "PUBLISH QoS 1", "PUBLISH QoS 2"],
)
def test_packet_id_0_closes_the_connection(connected: Connected, raw: bytes) -> None:
    client = connected()
    client.send(raw)
    client.expect_closed()


@pytest.mark.statement("MQTT-2.3.1-4", "MQTT-4.3.2-1", version=4)
def test_broker_gives_each_inflight_message_its_own_packet_id(connected: Connected, unique: str) -> None:
    publisher, subscriber = connected("p"), connected("s")
    subscriber.subscribe(unique, qos=2)
    for number in range(40):
        publisher.publish(unique, b"%d" % number, qos=1 + number % 2)
    received = [subscriber.expect(Publish) for _ in range(40)]
    packet_ids = {message.packet_id for message in received}
    assert len(packet_ids) == 40
    assert 0 not in packet_ids


@pytest.mark.statement("MQTT-2.3.1-4", version=4)
def test_broker_reuses_no_packet_id_that_is_not_acknowledged(tcp_peer: PeerFactory, unique: str) -> None:
    publisher, subscriber = tcp_peer(V311), tcp_peer(V311)
    publisher.connect(unique + "p")
    subscriber.connect(unique + "s")
    subscriber.subscribe(unique, qos=1)
    publisher.publish(unique, b"held")
    held = subscriber.expect(Publish).packet_id
    batch = b"".join(Publish(unique, b"m", 1, packet_id=number).encode(V311) for number in range(1, 501))
    seen: set[int] = set()
    for _ in range(65_536 // 500 + 2):
        publisher.send(batch)
        packet_ids = [int.from_bytes((subscriber.recv_raw() or b"")[-3:-1], "big") for _ in range(500)]
        seen.update(packet_ids)
        subscriber.send(b"".join(PubAck(packet_id).encode(V311) for packet_id in packet_ids))
        for _ in range(500):
            publisher.recv_raw()
    assert 0 not in seen
    assert held not in seen


@pytest.mark.statement("MQTT-2.3.1-5", version=4)
def test_qos_0_has_no_packet_id(connected: Connected, unique: str) -> None:
    client = connected()
    client.subscribe(unique, qos=2)
    client.send(packet(0x30, string(unique) + b"\x00\x01m"))
    client.expect_bytes(packet(0x30, string(unique) + b"\x00\x01m"))


@pytest.mark.statement("MQTT-2.3.1-6", version=4)
@pytest.mark.parametrize("packet_id", [1, 255, 256, 65_535])
def test_acknowledgements_carry_the_packet_id_of_their_publish(
    connected: Connected, unique: str, packet_id: int
) -> None:
    client = connected()
    client.send_publish(unique, b"m", qos=1, packet_id=packet_id)
    client.expect_bytes(b"\x40\x02" + u16(packet_id))
    client.send_publish(unique, b"m", qos=2, packet_id=packet_id)
    client.expect_bytes(b"\x50\x02" + u16(packet_id))
    client.send(PubRel(packet_id))
    client.expect_bytes(b"\x70\x02" + u16(packet_id))


@pytest.mark.statement("MQTT-2.3.1-7", version=4)
@pytest.mark.parametrize("packet_id", [1, 255, 256, 65_535])
def test_suback_and_unsuback_carry_the_packet_id_of_what_they_answer(
    connected: Connected, unique: str, packet_id: int
) -> None:
    client = connected()
    client.send(packet(0x82, u16(packet_id) + string(unique) + b"\x00"))
    client.expect_bytes(b"\x90\x03" + u16(packet_id) + b"\x00")
    client.send(packet(0xA2, u16(packet_id) + string(unique)))
    client.expect_bytes(b"\xb0\x02" + u16(packet_id))
