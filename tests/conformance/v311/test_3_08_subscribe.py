"""Sections 3.8 and 3.9: SUBSCRIBE and SUBACK."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from mqtt import Options, PubAck, Publish, PubRec, SubAck, Subscribe, packet, string, u16
from peer import Peer

Connected = Callable[..., Peer]


@pytest.mark.statement("MQTT-3.8.1-1", version=4)
@pytest.mark.parametrize("flags", [flags for flags in range(16) if flags != 2])
def test_subscribe_with_other_flags_closes_the_connection(connected: Connected, unique: str, flags: int) -> None:
    client = connected()
    client.send(packet(0x80 | flags, u16(1) + string(unique) + b"\x00"))
    client.expect_closed()


@pytest.mark.statement("MQTT-3.8.3-1", version=4)
@pytest.mark.parametrize("text", [b"\xff", b"a\xed\xa0\x80", b"a\0"])
def test_topic_filter_that_is_not_utf8_closes_the_connection(connected: Connected, text: bytes) -> None:
    client = connected()
    client.send(packet(0x82, u16(1) + string(text) + b"\x00"))
    client.expect_closed()


@pytest.mark.statement("MQTT-3.8.3-2", "MQTT-3.9.3-2", version=4)
@pytest.mark.broker(config={"mqtt": {"wildcard_available": False}})
@pytest.mark.parametrize("text", ["#", "+", "a/+/b", "a/#"])
def test_broker_without_wildcards_refuses_them(connected: Connected, text: str) -> None:
    client = connected()
    assert client.subscribe(text, "plain").reasons == (0x80, 0)


@pytest.mark.statement("MQTT-3.8.3-3", version=4)
@pytest.mark.parametrize("body", [b"", u16(1)], ids=["nothing at all", "no topic filter"])
def test_subscribe_without_a_topic_filter_closes_the_connection(connected: Connected, body: bytes) -> None:
    client = connected()
    client.send(packet(0x82, body))
    client.expect_closed()


@pytest.mark.statement("MQTT-3.8.3-4", version=4)
@pytest.mark.parametrize("byte", [0x03, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xFF])
def test_requested_qos_byte_with_other_bits_closes_the_connection(connected: Connected, unique: str, byte: int) -> None:
    client = connected()
    client.send(packet(0x82, u16(1) + string(unique) + bytes([byte])))
    client.expect_closed()


@pytest.mark.parametrize(
    "body",
    [string("a"), u16(9) + b"short", string("a") + b"\x00" + string("b")],
    ids=["no QoS", "cut", "no second QoS"],
)
def test_cut_subscribe_closes_the_connection(connected: Connected, body: bytes) -> None:
    client = connected()
    client.send(packet(0x82, u16(1) + body))
    client.expect_closed()


@pytest.mark.statement("MQTT-3.8.4-1", "MQTT-3.8.4-2", version=4)
def test_subscribe_is_answered_by_suback_with_its_packet_id(connected: Connected, unique: str) -> None:
    client = connected()
    client.send(Subscribe(0xABCD, ((unique, Options(1)),)))
    client.expect_bytes(b"\x90\x03\xab\xcd\x01")


@pytest.mark.statement("MQTT-3.8.4-3", version=4)
def test_same_filter_again_replaces_the_subscription(connected: Connected, unique: str) -> None:
    client, publisher = connected("s"), connected("p")
    assert client.subscribe(unique, qos=2).reasons == (2,)
    assert client.subscribe(unique, qos=0).reasons == (0,)
    publisher.publish(unique, b"m", qos=2)
    assert client.receive().qos == 0
    client.expect_nothing()
    client.unsubscribe(unique)
    publisher.publish(unique, b"n", qos=2)
    client.expect_nothing()


@pytest.mark.statement("MQTT-3.8.4-3", version=4)
def test_same_filter_again_sends_retained_messages_again(connected: Connected, unique: str) -> None:
    client = connected()
    client.publish(unique, b"kept", qos=1, retain=True)
    for _ in range(2):
        client.subscribe(unique, qos=1)
        message = client.receive()
        assert (message.payload, message.retain) == (b"kept", True)


@pytest.mark.statement("MQTT-3.8.4-3", version=4)
def test_same_filter_again_loses_no_message(connected: Connected, unique: str) -> None:
    client, publisher = connected("s"), connected("p")
    client.subscribe(unique, qos=1)
    for number in range(20):
        publisher.publish(unique, b"%d" % number, qos=1)
        client.send(Subscribe(100 + number, ((unique, Options(1)),)))
    received = [client.recv() for _ in range(40)]
    assert sorted(int(p.payload) for p in received if isinstance(p, Publish)) == list(range(20))
    assert [p.packet_id for p in received if isinstance(p, SubAck)] == list(range(100, 120))


@pytest.mark.statement("MQTT-3.8.4-4", "MQTT-3.8.4-5", "MQTT-3.9.3-1", version=4)
def test_several_filters_get_one_suback_with_their_codes_in_order(connected: Connected, unique: str) -> None:
    client = connected()
    filters = [(f"{unique}/{qos}/{number}", qos) for number, qos in enumerate((2, 0, 1, 1, 2, 0))]
    client.send(Subscribe(5, tuple((text, Options(qos)) for text, qos in filters)))
    client.expect_bytes(b"\x90\x08\x00\x05\x02\x00\x01\x01\x02\x00")
    for text, qos in filters:
        client.send_publish(text, b"m", qos=2, packet_id=77)
        found = [client.recv(), client.recv()]
        assert PubRec(77) in found
        message = next(p for p in found if isinstance(p, Publish))
        assert message.qos == qos
        client.send(packet(0x62, u16(77)))
        client.expect_bytes(b"\x70\x02" + u16(77))
        client.acknowledge(message)


@pytest.mark.statement("MQTT-3.8.4-4", version=4)
def test_same_filter_twice_in_one_subscribe_counts_the_last(connected: Connected, unique: str) -> None:
    client = connected()
    assert client.subscribe((unique, 0), (unique, 1)).reasons == (0, 1)
    connected("p").publish(unique, b"m", qos=2)
    assert client.receive().qos == 1
    client.expect_nothing()


@pytest.mark.statement("MQTT-3.8.4-6", version=4)
@pytest.mark.parametrize("granted", [0, 1, 2])
@pytest.mark.parametrize("published", [0, 1, 2])
def test_message_has_the_lower_of_its_qos_and_the_granted_qos(
    connected: Connected, unique: str, granted: int, published: int
) -> None:
    subscriber = connected("s")
    assert subscriber.subscribe(unique, qos=granted).reasons == (granted,)
    connected("p").publish(unique, b"m", qos=published)
    assert subscriber.receive().qos == min(granted, published)


@pytest.mark.statement("MQTT-3.9.3-2", version=4)
@pytest.mark.broker(config={"mqtt": {"max_subscriptions": 2, "shared_available": False}})
def test_refused_subscriptions_have_return_code_128(connected: Connected, unique: str) -> None:
    client = connected()
    assert client.subscribe(f"$share/g/{unique}").reasons == (0x80,)
    assert client.subscribe(f"{unique}/a", f"{unique}/b", f"{unique}/c").reasons == (0, 0, 0x80)


def test_retained_message_is_sent_after_suback(connected: Connected, unique: str) -> None:
    client = connected()
    client.publish(unique, b"kept", qos=1, retain=True)
    client.send(Subscribe(9, ((unique, Options(1)),)))
    client.expect_bytes(b"\x90\x03\x00\x09\x01")
    message = client.expect(Publish)
    assert message.payload == b"kept"
    client.send(PubAck(message.packet_id))
    client.expect_nothing()
