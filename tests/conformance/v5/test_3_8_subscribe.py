"""MQTT 5.0, 3.8 and 3.9: SUBSCRIBE and SUBACK."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from mqtt import Options, P, Publish, R, SubAck, Subscribe, packet, properties, string, u16
from peer import Peer

statement = pytest.mark.statement


@statement("MQTT-3.8.1-1")
@pytest.mark.parametrize("flags", [0x0, 0x1, 0x3, 0xA, 0xF])
def test_subscribe_with_other_flags_is_malformed(connected: Callable[..., Peer], flags: int) -> None:
    client = connected()
    client.send(packet(0x80 | flags, u16(1) + b"\x00" + string("a") + b"\x00"))
    client.expect_disconnect(R.MALFORMED_PACKET)


@statement("MQTT-3.8.3-2")
def test_subscribe_without_topic_filter_is_a_protocol_error(connected: Callable[..., Peer]) -> None:
    client = connected()
    client.send(packet(0x82, u16(1) + b"\x00"))
    client.expect_disconnect(R.PROTOCOL_ERROR)


@statement("MQTT-3.8.3-2")
def test_topic_filter_without_options_is_malformed(connected: Callable[..., Peer]) -> None:
    client = connected()
    client.send(packet(0x82, u16(1) + b"\x00" + string("a")))
    client.expect_disconnect(R.MALFORMED_PACKET)


@statement("MQTT-3.8.3-3")
def test_no_local_hides_own_messages(connected: Callable[..., Peer], unique: str) -> None:
    client, other = connected("a"), connected("b")
    client.subscribe((unique, Options(no_local=True)))
    client.publish(unique, b"own")
    other.publish(unique, b"other")
    assert client.receive().payload == b"other"
    client.expect_nothing()


@statement("MQTT-3.8.3-3")
def test_no_local_of_one_subscription_leaves_the_others(connected: Callable[..., Peer], unique: str) -> None:
    client = connected()
    client.subscribe((f"{unique}/a", Options(no_local=True)), props={P.SUBSCRIPTION_IDENTIFIER: 1})
    client.subscribe((f"{unique}/+", Options()), props={P.SUBSCRIPTION_IDENTIFIER: 2})
    client.send_publish(f"{unique}/a", b"x")
    assert client.receive().properties.values(P.SUBSCRIPTION_IDENTIFIER) == [2]
    client.expect_nothing()


@statement("MQTT-3.8.3-3")
def test_no_local_holds_for_messages_published_before_a_reconnect(connected: Callable[..., Peer], unique: str) -> None:
    client = connected(props={P.SESSION_EXPIRY_INTERVAL: 100})
    client.subscribe((unique, Options(1, no_local=True)))
    client.publish(unique, b"own")
    client.disconnect()
    connected(clean=False).expect_nothing()


@statement("MQTT-3.8.3-4", "MQTT-4.13.1-1")
def test_no_local_on_a_shared_subscription_is_a_protocol_error(connected: Callable[..., Peer], unique: str) -> None:
    client = connected()
    client.send(Subscribe(1, ((f"$share/g/{unique}", Options(no_local=True)),)))
    client.expect_disconnect(R.PROTOCOL_ERROR)


@statement("MQTT-3.8.3-5")
@pytest.mark.parametrize("options", [0x40, 0x80, 0xC0])
def test_reserved_subscription_options_are_malformed(connected: Callable[..., Peer], options: int) -> None:
    client = connected()
    client.send(packet(0x82, u16(1) + b"\x00" + string("a") + bytes([options])))
    client.expect_disconnect(R.MALFORMED_PACKET)


@statement("MQTT-3.8.3-5", "MQTT-4.13.1-1")
@pytest.mark.parametrize("options", [0x03, 0x30], ids=["QoS 3", "retain handling 3"])
def test_qos_3_and_retain_handling_3_close_the_connection(connected: Callable[..., Peer], options: int) -> None:
    client = connected()
    client.send(packet(0x82, u16(1) + b"\x00" + string("a") + bytes([options])))
    found = client.recv()
    assert getattr(found, "reason", None) in (R.PROTOCOL_ERROR, R.MALFORMED_PACKET)
    client.expect_closed()


@statement("MQTT-3.8.4-1", "MQTT-3.8.4-6", "MQTT-3.8.4-7", "MQTT-3.9.3-1", "MQTT-3.9.3-2")
def test_suback_has_the_granted_qos_of_each_filter_in_order(connected: Callable[..., Peer], unique: str) -> None:
    client = connected()
    filters = b"".join(string(f"{unique}/{number}") + bytes([qos]) for number, qos in enumerate((2, 0, 1, 1)))
    client.send(packet(0x82, u16(9) + b"\x00" + filters))
    client.expect_bytes(b"\x90\x07" + u16(9) + b"\x00" + b"\x02\x00\x01\x01")


@statement("MQTT-3.8.4-3")
def test_same_topic_filter_replaces_the_subscription(connected: Callable[..., Peer], unique: str) -> None:
    client = connected()
    client.subscribe(unique, qos=0)
    client.subscribe(unique, qos=2)
    connected("p").publish(unique, b"x", qos=2)
    assert client.receive().qos == 2
    client.expect_nothing()


@statement("MQTT-3.8.4-3")
def test_replacing_options_takes_effect(connected: Callable[..., Peer], unique: str) -> None:
    client = connected()
    client.subscribe((unique, Options(no_local=True)))
    client.subscribe((unique, Options(no_local=False)))
    client.send_publish(unique, b"own")
    assert client.receive().payload == b"own"


@statement("MQTT-3.8.4-4")
def test_nothing_is_lost_while_a_subscription_is_replaced(connected: Callable[..., Peer], unique: str) -> None:
    subscriber, publisher = connected("s"), connected("p")
    subscriber.subscribe(unique, qos=1)
    for number in range(50):
        subscriber.send(Subscribe(1, ((unique, Options(1)),)))
        publisher.publish(unique, bytes([number]))
    found: list[bytes] = []
    while len(found) < 50:
        received = subscriber.recv()
        if isinstance(received, Publish):
            found.append(received.payload)
    assert found == [bytes([number]) for number in range(50)]


@statement("MQTT-3.8.4-5")
def test_several_filters_in_one_subscribe_all_count(connected: Callable[..., Peer], unique: str) -> None:
    client = connected()
    client.subscribe(*[f"{unique}/{number}" for number in range(20)])
    for number in range(20):
        client.send_publish(f"{unique}/{number}")
        assert client.receive().topic == f"{unique}/{number}"


@statement("MQTT-3.8.4-5", "MQTT-3.3.1-9")
def test_same_filter_twice_in_one_subscribe_is_one_subscription(connected: Callable[..., Peer], unique: str) -> None:
    client = connected()
    assert client.subscribe((unique, 0), (unique, 1)).reasons == (0, 1)
    connected("p").publish(unique, b"x", qos=2)
    assert client.receive().qos == 1
    client.expect_nothing()


@statement("MQTT-3.8.4-8")
@pytest.mark.parametrize("published", [0, 1, 2])
@pytest.mark.parametrize("granted", [0, 1, 2])
def test_message_is_sent_with_the_lower_qos(
    connected: Callable[..., Peer], unique: str, published: int, granted: int
) -> None:
    subscriber, publisher = connected("s"), connected("p")
    subscriber.subscribe(unique, qos=granted)
    publisher.publish(unique, b"x", qos=published)
    assert subscriber.receive().qos == min(published, granted)


@statement("MQTT-3.9.2-1", "MQTT-3.9.2-2")
def test_suback_fits_a_small_packet_size(connected: Callable[..., Peer], unique: str) -> None:
    client = connected(props={P.MAXIMUM_PACKET_SIZE: 20})
    client.send(packet(0x82, u16(1) + b"\x00" + string(unique) + b"\x00"))
    client.expect_bytes(b"\x90\x04\x00\x01\x00\x00")


@statement("MQTT-3.8.4-7", "MQTT-3.9.3-2")
@pytest.mark.broker(config={"mqtt": {"max_subscriptions": 2}})
def test_subscription_beyond_the_quota_is_refused_alone(connected: Callable[..., Peer]) -> None:
    client = connected()
    assert client.subscribe("a", "b", "c").reasons == (0, 0, R.QUOTA_EXCEEDED)
    client.send_publish("c")
    client.send_publish("b", b"x")
    assert client.receive().topic == "b"


@statement("MQTT-3.8.4-1")
@pytest.mark.parametrize("value", [0, 268_435_455 + 1], ids=["0", "too large"])
def test_subscription_identifier_is_between_1_and_268435455(connected: Callable[..., Peer], value: int) -> None:
    client = connected()
    raw = b"\x0b" + (b"\x00" if value == 0 else b"\x80\x80\x80\x80\x01")
    client.send(packet(0x82, u16(1) + bytes([len(raw)]) + raw + string("a") + b"\x00"))
    client.expect_disconnect(R.PROTOCOL_ERROR if value == 0 else R.MALFORMED_PACKET)


@statement("MQTT-3.8.4-1")
def test_subscription_identifier_twice_is_a_protocol_error(connected: Callable[..., Peer]) -> None:
    client = connected()
    twice = properties([(P.SUBSCRIPTION_IDENTIFIER, 1), (P.SUBSCRIPTION_IDENTIFIER, 2)])
    client.send(packet(0x82, u16(1) + twice.encode() + string("a") + b"\x00"))
    client.expect_disconnect(R.PROTOCOL_ERROR)


@statement("MQTT-3.8.4-1")
def test_user_properties_of_subscribe_are_accepted(connected: Callable[..., Peer], unique: str) -> None:
    client = connected()
    assert client.subscribe(unique, props=[(P.USER_PROPERTY, ("a", "b")), (P.USER_PROPERTY, ("a", "b"))]).reasons == (
        0,
    )


@statement("MQTT-3.8.4-1", "MQTT-3.8.4-2")
def test_subscribes_are_answered_one_by_one(connected: Callable[..., Peer], unique: str) -> None:
    client = connected()
    client.send(*[Subscribe(packet_id, ((f"{unique}/{packet_id}", Options()),)) for packet_id in range(1, 101)])
    assert [client.expect(SubAck).packet_id for _ in range(100)] == list(range(1, 101))
