"""MQTT 5.0, 3.3.1.3: retained messages."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from mqtt import Options, P, Publish, packet, string, u16
from peer import Peer

statement = pytest.mark.statement


@statement("MQTT-3.3.1-5", "MQTT-3.3.1-9")
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_retained_message_is_sent_to_a_new_subscription(connected: Callable[..., Peer], unique: str, qos: int) -> None:
    publisher, subscriber = connected("p"), connected("s")
    publisher.publish(unique, b"x", qos=qos, retain=True)
    subscriber.subscribe(unique, qos=2)
    assert subscriber.receive() == Publish(unique, b"x", qos, retain=True, packet_id=1 if qos else 0)


@statement("MQTT-3.3.1-9")
def test_retained_message_is_sent_after_suback(connected: Callable[..., Peer], unique: str) -> None:
    client = connected()
    client.publish(unique, b"x", retain=True)
    client.send(packet(0x82, u16(5) + b"\x00" + string(unique) + b"\x00"))
    client.expect_bytes(b"\x90\x04\x00\x05\x00\x00")
    client.expect_bytes(packet(0x31, string(unique) + b"\x00x"))


@statement("MQTT-3.3.1-5")
def test_retained_message_is_replaced(connected: Callable[..., Peer], unique: str) -> None:
    client = connected()
    client.publish(unique, b"old", qos=1, retain=True)
    client.publish(unique, b"new", qos=0, retain=True)
    client.subscribe(unique)
    assert client.receive().payload == b"new"
    client.expect_nothing()


@statement("MQTT-3.3.1-5")
def test_retained_messages_outlive_their_publisher(connected: Callable[..., Peer], unique: str) -> None:
    publisher = connected("p")
    publisher.publish(unique, b"x", retain=True)
    publisher.disconnect()
    subscriber = connected("s")
    subscriber.subscribe(unique)
    assert subscriber.receive().payload == b"x"


@statement("MQTT-3.3.1-6")
def test_empty_retained_message_is_delivered_and_removes_the_stored_one(
    connected: Callable[..., Peer], unique: str
) -> None:
    client, subscriber, late = connected("a"), connected("s"), connected("l")
    client.publish(unique, b"x", retain=True)
    subscriber.subscribe((unique, Options(retain_as_published=True, retain_handling=2)))
    client.publish(unique, b"", retain=True)
    assert subscriber.receive() == Publish(unique, b"", retain=True)
    late.subscribe(unique)
    late.expect_nothing()


@statement("MQTT-3.3.1-7")
def test_empty_retained_message_is_not_stored(connected: Callable[..., Peer], unique: str) -> None:
    client = connected()
    client.publish(unique, b"", retain=True)
    client.subscribe(unique)
    client.expect_nothing()


@statement("MQTT-3.3.1-8")
@pytest.mark.parametrize("payload", [b"other", b""])
def test_message_without_retain_leaves_the_stored_one(
    connected: Callable[..., Peer], unique: str, payload: bytes
) -> None:
    client = connected()
    client.publish(unique, b"stored", retain=True)
    client.publish(unique, payload)
    client.subscribe(unique)
    assert client.receive().payload == b"stored"
    client.expect_nothing()


@statement("MQTT-3.3.1-8")
def test_message_without_retain_is_not_stored(connected: Callable[..., Peer], unique: str) -> None:
    client = connected()
    client.publish(unique, b"x")
    client.subscribe(unique)
    client.expect_nothing()


@statement("MQTT-3.3.1-9")
def test_all_matching_retained_messages_are_sent(connected: Callable[..., Peer], unique: str) -> None:
    client = connected()
    for name in ("a", "b", "b/c", "d/e/f"):
        client.publish(f"{unique}/{name}", name.encode(), retain=True)
    client.publish(f"{unique}x", b"not this", retain=True)
    client.subscribe(f"{unique}/#")
    found = {client.receive().payload for _ in range(4)}
    assert found == {b"a", b"b", b"b/c", b"d/e/f"}
    client.expect_nothing()


@statement("MQTT-3.3.1-9")
def test_single_level_wildcard_finds_retained_messages(connected: Callable[..., Peer], unique: str) -> None:
    client = connected()
    for name in ("a/x", "b/x", "b/y", "x", "a/b/x"):
        client.publish(f"{unique}/{name}", name.encode(), retain=True)
    client.subscribe(f"{unique}/+/x")
    assert {client.receive().payload for _ in range(2)} == {b"a/x", b"b/x"}
    client.expect_nothing()


@statement("MQTT-3.3.1-9")
def test_multi_level_wildcard_finds_the_retained_message_of_its_parent(
    connected: Callable[..., Peer], unique: str
) -> None:
    client = connected()
    client.publish(unique, b"parent", retain=True)
    client.subscribe(f"{unique}/#")
    assert client.receive().payload == b"parent"


@statement("MQTT-3.3.1-9", "MQTT-3.8.4-4")
def test_retain_handling_0_sends_again_to_an_existing_subscription(connected: Callable[..., Peer], unique: str) -> None:
    client = connected()
    client.publish(unique, b"x", retain=True)
    client.subscribe((unique, Options(retain_handling=0)))
    client.receive()
    client.subscribe((unique, Options(retain_handling=0)))
    assert client.receive() == Publish(unique, b"x", retain=True)


@statement("MQTT-3.3.1-10")
def test_retain_handling_1_sends_to_a_new_subscription(connected: Callable[..., Peer], unique: str) -> None:
    client = connected()
    client.publish(unique, b"x", retain=True)
    client.subscribe((unique, Options(retain_handling=1)))
    assert client.receive() == Publish(unique, b"x", retain=True)


@statement("MQTT-3.3.1-10")
def test_retain_handling_1_does_not_send_to_an_existing_subscription(
    connected: Callable[..., Peer], unique: str
) -> None:
    client = connected()
    client.subscribe(unique)
    connected("p").publish(unique, b"x", retain=True)
    assert client.receive().retain is False
    client.subscribe((unique, Options(retain_handling=1)))
    client.expect_nothing()


@statement("MQTT-3.3.1-10")
def test_retain_handling_1_sends_again_after_unsubscribe(connected: Callable[..., Peer], unique: str) -> None:
    client = connected()
    client.publish(unique, b"x", retain=True)
    client.subscribe((unique, Options(retain_handling=1)))
    client.receive()
    client.unsubscribe(unique)
    client.subscribe((unique, Options(retain_handling=1)))
    assert client.receive().payload == b"x"


@statement("MQTT-3.3.1-11")
def test_retain_handling_2_sends_no_retained_messages(connected: Callable[..., Peer], unique: str) -> None:
    client = connected()
    client.publish(unique, b"x", retain=True)
    client.subscribe((unique, Options(retain_handling=2)))
    client.expect_nothing()


@statement("MQTT-3.3.1-12")
def test_without_retain_as_published_the_flag_is_cleared(connected: Callable[..., Peer], unique: str) -> None:
    subscriber, publisher = connected("s"), connected("p")
    subscriber.subscribe(unique)
    publisher.publish(unique, b"x", retain=True)
    assert subscriber.receive().retain is False


@statement("MQTT-3.3.1-13")
@pytest.mark.parametrize("retain", [False, True])
def test_with_retain_as_published_the_flag_is_kept(connected: Callable[..., Peer], unique: str, retain: bool) -> None:
    subscriber, publisher = connected("s"), connected("p")
    subscriber.subscribe((unique, Options(retain_as_published=True)))
    publisher.publish(unique, b"x", retain=retain)
    assert subscriber.receive().retain is retain


@statement("MQTT-3.3.1-13")
def test_retain_as_published_holds_for_a_message_that_waited(connected: Callable[..., Peer], unique: str) -> None:
    away = connected("s", props={P.SESSION_EXPIRY_INTERVAL: 100})
    away.subscribe((unique, Options(1, retain_as_published=True)))
    away.disconnect()
    connected("p").publish(unique, b"x", retain=True)
    assert connected("s", clean=False).receive().retain is True


@statement("MQTT-3.3.1-9", "MQTT-3.8.4-8")
def test_retained_message_is_sent_with_the_lower_qos(connected: Callable[..., Peer], unique: str) -> None:
    client = connected()
    client.publish(unique, b"x", qos=2, retain=True)
    client.subscribe(unique, qos=1)
    assert client.receive().qos == 1


@statement("MQTT-3.3.1-9")
def test_retained_message_comes_with_the_subscription_identifier(connected: Callable[..., Peer], unique: str) -> None:
    client = connected()
    client.publish(unique, b"x", retain=True)
    client.subscribe(unique, props={P.SUBSCRIPTION_IDENTIFIER: 5})
    assert client.receive().properties == [(P.SUBSCRIPTION_IDENTIFIER, 5)]


@statement("MQTT-4.7.2-1")
def test_wildcards_do_not_find_retained_messages_of_dollar_topics(connected: Callable[..., Peer], unique: str) -> None:
    client = connected()
    client.publish(f"$own/{unique}", b"x", retain=True)
    client.subscribe(f"+/{unique}", f"+/{unique}/#")
    client.expect_nothing()
    client.subscribe(f"$own/{unique}/#")
    assert client.receive().payload == b"x"


@statement("MQTT-3.3.1-9")
def test_retained_messages_beyond_the_window_follow_as_it_opens(connected: Callable[..., Peer], unique: str) -> None:
    publisher, subscriber = connected("p"), connected("s", props={P.RECEIVE_MAXIMUM: 5})
    for number in range(30):
        publisher.publish(f"{unique}/{number}", b"x", qos=1, retain=True)
    subscriber.subscribe(f"{unique}/+", qos=1)
    assert len({subscriber.receive().topic for _ in range(30)}) == 30
    subscriber.expect_nothing()
