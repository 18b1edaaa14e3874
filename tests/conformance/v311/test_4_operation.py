"""Chapter 4: operational behaviour, without topics (see `test_4_7_topics.py`)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from mqtt import PubAck, PubComp, Publish, PubRec, PubRel, packet, string, u16
from peer import Peer

from nanomq.testing import Clock

Connected = Callable[..., Peer]
Cut = Callable[[str], bool]


@pytest.mark.statement("MQTT-4.1.0-1", version=4)
def test_session_keeps_its_whole_state(connected: Connected, cut: Cut, clock: Clock, unique: str) -> None:
    client, publisher = connected("s", clean=False), connected("p")
    client.subscribe((f"{unique}/a", 1), (f"{unique}/b", 2))
    publisher.publish(f"{unique}/a", b"unacknowledged", qos=1)
    publisher.publish(f"{unique}/b", b"received", qos=2)
    unacknowledged, received = client.expect(Publish), client.expect(Publish)
    client.send(PubRec(received.packet_id))
    client.expect(PubRel)
    client.send_publish(f"{unique}/c", b"not released", qos=2, packet_id=50)
    client.expect(PubRec)
    assert cut(client.client_id)
    publisher.publish(f"{unique}/a", b"waiting", qos=1)
    clock.advance(hours=24 * 365)

    again = connected("s", clean=False)
    found = [again.recv() for _ in range(3)]
    assert found[0] == Publish(f"{unique}/a", b"unacknowledged", 1, dup=True, packet_id=unacknowledged.packet_id)
    assert found[1] == PubRel(received.packet_id)
    assert isinstance(found[2], Publish)
    assert (found[2].payload, found[2].dup) == (b"waiting", False)
    again.send(PubAck(unacknowledged.packet_id), PubComp(received.packet_id), PubAck(found[2].packet_id))
    again.send(PubRel(50))
    assert again.expect(PubComp) == PubComp(50)
    again.expect_nothing()


@pytest.mark.statement("MQTT-4.1.0-2", version=4)
def test_session_lasts_as_long_as_its_connection(connected: Connected, clock: Clock, unique: str) -> None:
    client = connected("s", clean=True)
    client.subscribe(unique, qos=1)
    clock.advance(hours=24 * 365)
    connected("p").publish(unique, b"m", qos=1)
    assert client.receive().payload == b"m"


@pytest.mark.statement("MQTT-4.3.2-1", version=4)
def test_qos_1_message_is_unacknowledged_until_puback(connected: Connected, cut: Cut, unique: str) -> None:
    client = connected("s", clean=False)
    client.subscribe(unique, qos=1)
    connected("p").publish(unique, b"m", qos=1)
    first = client.expect(Publish)
    assert first.raw == packet(0x32, string(unique) + u16(first.packet_id) + b"m")
    assert cut(client.client_id)
    again = connected("s", clean=False)
    assert again.expect(Publish).dup
    again.send(PubAck(first.packet_id))
    again.expect_nothing()
    assert cut(again.client_id)
    connected("s", clean=False).expect_nothing()


@pytest.mark.statement("MQTT-4.3.2-1", version=4)
@pytest.mark.broker(config={"mqtt": {"retry_interval": 0}})
def test_qos_1_message_is_not_sent_again_on_a_live_connection(connected: Connected, clock: Clock, unique: str) -> None:
    client = connected("s")
    client.subscribe(unique, qos=1)
    connected("p").publish(unique, b"m", qos=1)
    client.expect(Publish)
    clock.advance(hours=1)
    client.expect_nothing()


@pytest.mark.statement("MQTT-4.3.2-2", version=4)
def test_same_packet_id_after_puback_is_a_new_message(connected: Connected, unique: str) -> None:
    client, publisher = connected("s"), connected("p")
    client.subscribe(unique, qos=1)
    for number in range(2):
        publisher.send_publish(unique, b"%d" % number, qos=1, dup=number == 1, packet_id=7)
        publisher.expect_bytes(b"\x40\x02\x00\x07")
    assert [client.receive().payload for _ in range(2)] == [b"0", b"1"]


@pytest.mark.statement("MQTT-4.3.3-1", version=4)
def test_qos_2_message_is_unacknowledged_until_pubrec(connected: Connected, cut: Cut, unique: str) -> None:
    client = connected("s", clean=False)
    client.subscribe(unique, qos=2)
    connected("p").publish(unique, b"m", qos=2)
    first = client.expect(Publish)
    assert first.raw == packet(0x34, string(unique) + u16(first.packet_id) + b"m")
    assert cut(client.client_id)
    again = connected("s", clean=False)
    again.expect_bytes(packet(0x3C, string(unique) + u16(first.packet_id) + b"m"))
    again.send(PubRec(first.packet_id))
    again.expect_bytes(b"\x62\x02" + u16(first.packet_id))
    again.send(PubComp(first.packet_id))
    again.expect_nothing()


@pytest.mark.statement("MQTT-4.3.3-1", version=4)
def test_qos_2_message_is_not_sent_again_after_pubrel(connected: Connected, cut: Cut, unique: str) -> None:
    client = connected("s", clean=False)
    client.subscribe(unique, qos=2)
    connected("p").publish(unique, b"m", qos=2)
    packet_id = client.expect(Publish).packet_id
    client.send(PubRec(packet_id))
    client.expect(PubRel)
    for _ in range(2):
        assert cut(client.client_id)
        client = connected("s", clean=False)
        client.expect_bytes(b"\x62\x02" + u16(packet_id))
        client.expect_nothing()
    client.send(PubComp(packet_id))
    client.expect_nothing()
    assert cut(client.client_id)
    connected("s", clean=False).expect_nothing()


@pytest.mark.statement("MQTT-4.3.3-1", version=4)
def test_pubrec_that_comes_again_is_answered_by_pubrel(connected: Connected, unique: str) -> None:
    client = connected("s")
    client.subscribe(unique, qos=2)
    connected("p").publish(unique, b"m", qos=2)
    packet_id = client.expect(Publish).packet_id
    for _ in range(2):
        client.send(PubRec(packet_id))
        client.expect_bytes(b"\x62\x02" + u16(packet_id))


@pytest.mark.statement("MQTT-4.3.3-2", version=4)
def test_qos_2_message_that_comes_again_is_delivered_once(connected: Connected, unique: str) -> None:
    client, publisher = connected("s"), connected("p")
    client.subscribe(unique, qos=2)
    for number in range(3):
        publisher.send_publish(unique, b"m", qos=2, dup=number > 0, packet_id=7)
        publisher.expect_bytes(b"\x50\x02\x00\x07")
    publisher.send(PubRel(7))
    publisher.expect_bytes(b"\x70\x02\x00\x07")
    client.receive()
    client.expect_nothing()


@pytest.mark.statement("MQTT-4.3.3-2", version=4)
def test_same_packet_id_after_pubcomp_is_a_new_message(connected: Connected, unique: str) -> None:
    client, publisher = connected("s"), connected("p")
    client.subscribe(unique, qos=2)
    for number in range(2):
        publisher.publish(unique, b"%d" % number, qos=2, packet_id=7)
    assert [client.expect(Publish).payload for _ in range(2)] == [b"0", b"1"]


@pytest.mark.statement("MQTT-4.3.3-2", version=4)
def test_qos_2_is_delivered_once_when_the_publisher_connects_again(connected: Connected, cut: Cut, unique: str) -> None:
    client, publisher = connected("s"), connected("p", clean=False)
    client.subscribe(unique, qos=2)
    publisher.send_publish(unique, b"m", qos=2, packet_id=7)
    publisher.expect(PubRec)
    assert cut(publisher.client_id)
    again = connected("p", clean=False)
    again.send_publish(unique, b"m", qos=2, dup=True, packet_id=7)
    again.expect_bytes(b"\x50\x02\x00\x07")
    again.send(PubRel(7))
    again.expect_bytes(b"\x70\x02\x00\x07")
    client.receive()
    client.expect_nothing()


@pytest.mark.statement("MQTT-4.4.0-1", version=4)
def test_publish_and_pubrel_are_sent_again_with_their_packet_ids(connected: Connected, cut: Cut, unique: str) -> None:
    client, publisher = connected("s", clean=False), connected("p")
    client.subscribe(unique, qos=2)
    for number in range(3):
        publisher.publish(unique, b"%d" % number, qos=2)
    packet_ids = [client.expect(Publish).packet_id for _ in range(3)]
    client.send(PubRec(packet_ids[1]))
    client.expect(PubRel)
    assert cut(client.client_id)
    again = connected("s", clean=False)
    found = [again.recv() for _ in range(3)]
    assert {type(p).__name__: 0 for p in found} == {"Publish": 0, "PubRel": 0}
    assert [p.packet_id for p in found if isinstance(p, Publish)] == [packet_ids[0], packet_ids[2]]
    assert [p.packet_id for p in found if isinstance(p, PubRel)] == [packet_ids[1]]


@pytest.mark.statement("MQTT-4.4.0-1", version=4)
def test_nothing_is_sent_again_with_clean_session(connected: Connected, cut: Cut, unique: str) -> None:
    client = connected("s", clean=False)
    client.subscribe(unique, qos=1)
    connected("p").publish(unique, b"m", qos=1)
    client.expect(Publish)
    assert cut(client.client_id)
    connected("s", clean=True).expect_nothing()


@pytest.mark.statement("MQTT-4.5.0-1", version=4)
@pytest.mark.broker(config={})
def test_message_reaches_every_client_with_a_matching_subscription(connected: Connected, unique: str) -> None:
    filters = {"a": f"{unique}/x", "b": f"{unique}/+", "c": f"{unique}/#", "d": "+/x", "e": "#"}
    subscribers = {name: connected(name) for name in filters}
    for name, text in filters.items():
        subscribers[name].subscribe(text, qos=1)
    other = connected("other")
    other.subscribe(f"{unique}/y")
    connected("p").publish(f"{unique}/x", b"m", qos=1)
    for subscriber in subscribers.values():
        assert subscriber.receive().payload == b"m"
    other.expect_nothing()


@pytest.mark.statement("MQTT-4.6.0-1", version=4)
def test_messages_are_sent_again_in_their_order(connected: Connected, cut: Cut, unique: str) -> None:
    client, publisher = connected("s", clean=False), connected("p")
    client.subscribe(unique, qos=2)
    for number in range(20):
        publisher.publish(unique, b"%d" % number, qos=1 + number % 2)
    first = [client.expect(Publish) for _ in range(20)]
    client.send(PubAck(first[6].packet_id))
    client.ping()
    for _ in range(2):
        assert cut(client.client_id)
        client = connected("s", clean=False)
        again = [client.expect(Publish) for _ in range(19)]
        assert [m.packet_id for m in again] == [m.packet_id for m in first if m is not first[6]]
        assert [m.payload for m in again] == [m.payload for m in first if m is not first[6]]
        assert all(m.dup for m in again)


@pytest.mark.statement("MQTT-4.6.0-2", version=4)
def test_pubacks_come_in_the_order_of_their_messages(connected: Connected, unique: str) -> None:
    client = connected()
    packet_ids = [5, 3, 65_535, 1, 200]
    client.send(*[Publish(unique, b"m", 1, packet_id=packet_id) for packet_id in packet_ids])
    assert [client.expect(PubAck).packet_id for _ in packet_ids] == packet_ids


@pytest.mark.statement("MQTT-4.6.0-3", version=4)
def test_pubrecs_come_in_the_order_of_their_messages(connected: Connected, unique: str) -> None:
    client = connected()
    packet_ids = [5, 3, 65_535, 1, 200]
    client.send(*[Publish(unique, b"m", 2, packet_id=packet_id) for packet_id in packet_ids])
    assert [client.expect(PubRec).packet_id for _ in packet_ids] == packet_ids


@pytest.mark.statement("MQTT-4.6.0-4", version=4)
def test_pubrels_come_in_the_order_of_the_pubrecs(connected: Connected, unique: str) -> None:
    client, publisher = connected("s"), connected("p")
    client.subscribe(unique, qos=2)
    for number in range(4):
        publisher.publish(unique, b"%d" % number, qos=2)
    packet_ids = [client.expect(Publish).packet_id for _ in range(4)]
    order = [packet_ids[at] for at in (2, 0, 3, 1)]
    client.send(*[PubRec(packet_id) for packet_id in order])
    assert [client.expect(PubRel).packet_id for _ in order] == order


@pytest.mark.statement("MQTT-4.6.0-5", "MQTT-4.6.0-6", version=4)
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_messages_of_a_topic_come_in_their_order(connected: Connected, unique: str, qos: int) -> None:
    client, publisher = connected("s"), connected("p")
    client.subscribe(unique, qos=qos)
    count = 300
    publisher.send(
        *[Publish(unique, b"%d" % number, qos, packet_id=number + 1 if qos else 0) for number in range(count)]
    )
    received = [client.expect(Publish) for _ in range(count)]
    assert [int(message.payload) for message in received] == list(range(count))


@pytest.mark.statement("MQTT-4.6.0-6", version=4)
def test_messages_that_waited_come_in_their_order(connected: Connected, unique: str) -> None:
    client, publisher = connected("s", clean=False), connected("p")
    client.subscribe(unique, qos=1)
    client.disconnect()
    for number in range(50):
        publisher.publish(unique, b"%d" % number, qos=1)
    again = connected("s", clean=False)
    assert [int(again.receive().payload) for _ in range(50)] == list(range(50))


@pytest.mark.statement("MQTT-4.8.0-1", version=4)
@pytest.mark.parametrize(
    "raw",
    [
        b"\x30\x00",
        b"\x32\x03\x00\x01a",
        b"\x82\x02\x00\x01",
        b"\x62\x00",
        b"\xf0\x00",
        b"\x00\x00",
        b"\x10\x00",
        b"\x30\xff\xff\xff\xff",
    ],
    ids=lambda raw: raw.hex(),
)
def test_violation_closes_its_connection_and_no_other(connected: Connected, raw: bytes) -> None:
    bystander = connected("b")
    client = connected("a")
    client.send(raw)
    client.expect_closed()
    bystander.ping()


@pytest.mark.statement("MQTT-4.8.0-2", version=4)
@pytest.mark.broker(config={"mqtt": {"max_packet_size": 4096}})
def test_packet_that_is_too_large_closes_its_connection_and_no_other(connected: Connected, unique: str) -> None:
    bystander = connected("b")
    bystander.subscribe(unique)
    client = connected("a")
    client.send(packet(0x30, string(unique) + bytes(5000)))
    client.expect_closed()
    bystander.expect_nothing()


@pytest.mark.statement("MQTT-4.8.0-1", version=4)
@pytest.mark.parametrize(
    ("qos", "wrong"), [(1, PubRec), (1, PubComp), (2, PubAck), (2, PubComp)], ids=["1-REC", "1-COMP", "2-ACK", "2-COMP"]
)
def test_acknowledgement_of_another_qos_closes_the_connection(
    connected: Callable[..., Peer], unique: str, qos: int, wrong: type[PubAck | PubRec | PubComp]
) -> None:
    client = connected("s", version=4)
    client.subscribe(unique, qos=qos)
    connected("p", version=4).publish(unique, qos=qos)
    client.send(wrong(client.expect(Publish).packet_id))
    client.expect_closed()
