"""MQTT 5.0, 3.10 and 3.11: UNSUBSCRIBE and UNSUBACK."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from mqtt import Options, P, Publish, R, packet, string, u16
from peer import Peer

statement = pytest.mark.statement


@statement("MQTT-3.10.1-1")
@pytest.mark.parametrize("flags", [0x0, 0x1, 0x3, 0xA, 0xF])
def test_unsubscribe_with_other_flags_is_malformed(connected: Callable[..., Peer], flags: int) -> None:
    client = connected()
    client.send(packet(0xA0 | flags, u16(1) + b"\x00" + string("a")))
    client.expect_disconnect(R.MALFORMED_PACKET)


@statement("MQTT-3.10.3-1")
@pytest.mark.parametrize("text", [b"\xff", b"a\x00", b"\xed\xa0\x80"])
def test_ill_formed_topic_filter_is_malformed(connected: Callable[..., Peer], text: bytes) -> None:
    client = connected()
    client.send(packet(0xA2, u16(1) + b"\x00" + string(text)))
    client.expect_disconnect(R.MALFORMED_PACKET)


@statement("MQTT-3.10.3-2")
def test_unsubscribe_without_topic_filter_is_a_protocol_error(connected: Callable[..., Peer]) -> None:
    client = connected()
    client.send(packet(0xA2, u16(1) + b"\x00"))
    client.expect_disconnect(R.PROTOCOL_ERROR)


@statement("MQTT-3.10.4-1", "MQTT-3.10.4-4", "MQTT-3.11.3-2")
def test_unsubscribe_deletes_the_subscription(connected: Callable[..., Peer], unique: str) -> None:
    client = connected()
    client.subscribe(unique)
    assert client.unsubscribe(unique).reasons == (R.SUCCESS,)
    client.publish(unique)
    client.expect_nothing()


@statement("MQTT-3.10.4-1")
@pytest.mark.parametrize("other", ["{}/+", "{}/#", "{}/A", "{}/a/", "/{}/a"])
def test_filter_that_is_not_equal_deletes_nothing(connected: Callable[..., Peer], unique: str, other: str) -> None:
    client = connected()
    client.subscribe(f"{unique}/a")
    assert client.unsubscribe(other.format(unique)).reasons == (R.NO_SUBSCRIPTION_EXISTED,)
    client.send_publish(f"{unique}/a", b"x")
    assert client.receive().payload == b"x"


@statement("MQTT-3.10.4-1")
def test_wildcard_subscription_is_deleted_by_the_same_filter(connected: Callable[..., Peer], unique: str) -> None:
    client = connected()
    client.subscribe(f"{unique}/+/#", f"{unique}/a")
    assert client.unsubscribe(f"{unique}/+/#").reasons == (R.SUCCESS,)
    client.publish(f"{unique}/b")
    client.send_publish(f"{unique}/a", b"x")
    assert client.receive().topic == f"{unique}/a"


@statement("MQTT-3.10.4-1")
def test_unsubscribe_leaves_other_clients_alone(connected: Callable[..., Peer], unique: str) -> None:
    one, two = connected("1"), connected("2")
    one.subscribe(unique)
    two.subscribe(unique)
    one.unsubscribe(unique)
    connected("p").publish(unique, b"x")
    assert two.receive().payload == b"x"
    one.expect_nothing()


@statement("MQTT-3.10.4-2")
def test_nothing_is_added_for_the_client_after_unsubscribe(connected: Callable[..., Peer], unique: str) -> None:
    client, publisher = connected("a"), connected("p")
    client.subscribe(unique, qos=1)
    client.unsubscribe(unique)
    assert publisher.publish(unique) == R.NO_MATCHING_SUBSCRIBERS
    client.expect_nothing()


@statement("MQTT-3.10.4-3")
@pytest.mark.parametrize("qos", [1, 2])
def test_delivery_that_was_begun_is_completed_after_unsubscribe(
    connected: Callable[..., Peer], unique: str, qos: int
) -> None:
    client = connected(props={P.SESSION_EXPIRY_INTERVAL: 100})
    client.subscribe(unique, qos=qos)
    connected("p").publish(unique, b"x", qos=qos)
    begun = client.expect(Publish)
    client.unsubscribe(unique)
    client.disconnect()
    again = connected(clean=False)
    message = again.receive()
    assert (message.packet_id, message.payload, message.dup) == (begun.packet_id, b"x", True)


@statement("MQTT-3.10.4-4", "MQTT-3.10.4-5")
def test_unsubscribe_that_deletes_nothing_is_answered(connected: Callable[..., Peer], unique: str) -> None:
    client = connected()
    client.send(packet(0xA2, u16(77) + b"\x00" + string(unique)))
    client.expect_bytes(b"\xb0\x04" + u16(77) + b"\x00" + b"\x11")


@statement("MQTT-3.10.4-6", "MQTT-3.11.3-1")
def test_unsuback_has_a_reason_code_for_each_filter_in_order(connected: Callable[..., Peer], unique: str) -> None:
    client = connected()
    client.subscribe(f"{unique}/a", f"{unique}/b")
    filters = [f"{unique}/b", f"{unique}/x", f"{unique}/a", f"{unique}/b"]
    client.send(packet(0xA2, u16(5) + b"\x00" + b"".join(string(text) for text in filters)))
    client.expect_bytes(b"\xb0\x07" + u16(5) + b"\x00" + b"\x00\x11\x00\x11")


@statement("MQTT-3.11.2-1", "MQTT-3.11.2-2")
def test_unsuback_fits_a_small_packet_size(connected: Callable[..., Peer], unique: str) -> None:
    client = connected(props={P.MAXIMUM_PACKET_SIZE: 20})
    client.send(packet(0xA2, u16(1) + b"\x00" + string(unique)))
    client.expect_bytes(b"\xb0\x04\x00\x01\x00\x11")


@statement("MQTT-3.10.4-1")
def test_shared_subscription_is_deleted_by_its_whole_filter(connected: Callable[..., Peer], unique: str) -> None:
    client = connected()
    client.subscribe(f"$share/g/{unique}", unique)
    assert client.unsubscribe(f"$share/other/{unique}", f"$share/g/{unique}").reasons == (
        R.NO_SUBSCRIPTION_EXISTED,
        R.SUCCESS,
    )
    client.send_publish(unique, b"x")
    assert client.receive().payload == b"x"
    client.expect_nothing()


@statement("MQTT-3.10.4-1", "MQTT-4.1.0-1")
def test_unsubscribe_of_a_resumed_session_deletes_the_subscription(connected: Callable[..., Peer], unique: str) -> None:
    first = connected(props={P.SESSION_EXPIRY_INTERVAL: 100})
    first.subscribe((unique, Options(1)))
    first.disconnect()
    second = connected(clean=False)
    assert second.unsubscribe(unique).reasons == (R.SUCCESS,)
    second.publish(unique)
    second.expect_nothing()
