"""MQTT 5.0, 3.1.2.5 to 3.1.2.7 and 3.1.3.2: the will."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from mqtt import Connect, P, Properties, Publish, R, Will, packet, properties, string
from peer import Peer, PeerFactory

from nanomq.testing import Clock

statement = pytest.mark.statement


def connect_with_flags(flags: int, payload: bytes) -> bytes:
    """A CONNECT with these flags around any payload."""
    return packet(0x10, string("MQTT") + bytes([5, flags]) + b"\x00\x00" + b"\x00" + payload)


@pytest.fixture
def watcher(connected: Callable[..., Peer], unique: str) -> Peer:
    """Subscribed to the topic of the wills, QoS 2, retain as published."""
    client = connected("watcher")
    client.send(packet(0x82, b"\x00\x01\x00" + string(unique) + b"\x0a"))
    client.expect_bytes(b"\x90\x04\x00\x01\x00\x02")
    return client


@statement("MQTT-3.1.2-7", "MQTT-3.1.2-8")
def test_will_is_published_when_the_connection_breaks(
    connected: Callable[..., Peer], watcher: Peer, unique: str
) -> None:
    connected("a", will=Will(unique, b"gone")).abort()
    assert watcher.receive() == Publish(unique, b"gone")


@statement("MQTT-3.1.2-8")
def test_will_is_published_when_the_connection_closes_without_disconnect(
    connected: Callable[..., Peer], watcher: Peer, unique: str
) -> None:
    connected("a", will=Will(unique, b"gone")).close()
    assert watcher.receive() == Publish(unique, b"gone")


@statement("MQTT-3.1.2-8", "MQTT-3.1.2-22")
def test_will_is_published_after_a_keepalive_timeout(
    connected: Callable[..., Peer], watcher: Peer, unique: str, clock: Clock
) -> None:
    connected("a", keepalive_s=10, will=Will(unique, b"gone"))
    clock.advance(seconds=16)
    assert watcher.receive() == Publish(unique, b"gone")


@statement("MQTT-3.1.2-8")
def test_will_is_published_after_a_protocol_error(connected: Callable[..., Peer], watcher: Peer, unique: str) -> None:
    client = connected("a", will=Will(unique, b"gone"))
    client.send(b"\x00\x00")
    client.expect_disconnect(R.MALFORMED_PACKET)
    assert watcher.receive() == Publish(unique, b"gone")


@statement("MQTT-3.1.2-8")
def test_will_is_published_when_the_client_is_taken_over_with_clean_start(
    connected: Callable[..., Peer], watcher: Peer, unique: str
) -> None:
    connected("a", will=Will(unique, b"gone"), props={P.SESSION_EXPIRY_INTERVAL: 100})
    connected("a")
    assert watcher.receive() == Publish(unique, b"gone")


@statement("MQTT-3.1.2-8")
def test_will_without_delay_is_published_when_the_session_is_taken_over(
    connected: Callable[..., Peer], watcher: Peer, unique: str
) -> None:
    connected("a", will=Will(unique, b"gone"), props={P.SESSION_EXPIRY_INTERVAL: 100})
    connected("a", clean=False)
    assert watcher.receive() == Publish(unique, b"gone")


@statement("MQTT-3.1.2-8", "MQTT-3.14.4-3")
@pytest.mark.parametrize("reason", [R.DISCONNECT_WITH_WILL, R.UNSPECIFIED_ERROR, R.ADMINISTRATIVE_ACTION])
def test_disconnect_with_another_reason_publishes_the_will(
    connected: Callable[..., Peer], watcher: Peer, unique: str, reason: R
) -> None:
    connected("a", will=Will(unique, b"gone")).disconnect(reason)
    assert watcher.receive() == Publish(unique, b"gone")


@statement("MQTT-3.1.2-10", "MQTT-3.14.4-3")
@pytest.mark.parametrize("raw", [b"\xe0\x00", b"\xe0\x01\x00", b"\xe0\x02\x00\x00"])
def test_normal_disconnect_discards_the_will(
    connected: Callable[..., Peer], watcher: Peer, unique: str, raw: bytes
) -> None:
    client = connected("a", will=Will(unique, b"gone"))
    client.send(raw)
    client.expect_closed()
    watcher.expect_nothing()


@statement("MQTT-3.1.2-10")
def test_normal_disconnect_discards_the_will_of_a_kept_session(
    connected: Callable[..., Peer], watcher: Peer, unique: str, clock: Clock
) -> None:
    will = Will(unique, b"gone", properties=properties({P.WILL_DELAY_INTERVAL: 5}))
    connected("a", will=will, props={P.SESSION_EXPIRY_INTERVAL: 100}).disconnect()
    clock.advance(seconds=101)
    watcher.expect_nothing()


@statement("MQTT-3.1.2-10")
def test_will_is_published_once(connected: Callable[..., Peer], watcher: Peer, unique: str, clock: Clock) -> None:
    connected("a", will=Will(unique, b"gone"), props={P.SESSION_EXPIRY_INTERVAL: 100}).abort()
    watcher.receive()
    connected("a", clean=False).abort()
    clock.advance(seconds=101)
    watcher.expect_nothing()


@statement("MQTT-3.1.2-7", "MQTT-3.1.3-9")
def test_delayed_will_waits_for_its_delay(
    connected: Callable[..., Peer], watcher: Peer, unique: str, cut: Callable[[str], bool], clock: Clock
) -> None:
    will = Will(unique, b"gone", properties=properties({P.WILL_DELAY_INTERVAL: 10}))
    connected("a", will=will, props={P.SESSION_EXPIRY_INTERVAL: 100})
    assert cut(unique + "a")
    clock.advance(seconds=9.7)
    watcher.expect_nothing()
    clock.advance(seconds=0.6)
    assert watcher.receive().payload == b"gone"


@statement("MQTT-3.1.2-8")
def test_delayed_will_is_published_when_the_session_ends_before(
    connected: Callable[..., Peer], watcher: Peer, unique: str, cut: Callable[[str], bool], clock: Clock
) -> None:
    will = Will(unique, b"gone", properties=properties({P.WILL_DELAY_INTERVAL: 100}))
    connected("a", will=will, props={P.SESSION_EXPIRY_INTERVAL: 10})
    assert cut(unique + "a")
    clock.advance(seconds=9.7)
    watcher.expect_nothing()
    clock.advance(seconds=0.6)
    assert watcher.receive().payload == b"gone"


@statement("MQTT-3.1.2-8")
def test_delayed_will_is_published_at_once_when_the_session_ends_with_the_connection(
    connected: Callable[..., Peer], watcher: Peer, unique: str
) -> None:
    will = Will(unique, b"gone", properties=properties({P.WILL_DELAY_INTERVAL: 100}))
    connected("a", will=will).abort()
    assert watcher.receive().payload == b"gone"


@statement("MQTT-3.1.3-9")
def test_reconnect_within_the_delay_cancels_the_will(
    connected: Callable[..., Peer], watcher: Peer, unique: str, cut: Callable[[str], bool], clock: Clock
) -> None:
    will = Will(unique, b"gone", properties=properties({P.WILL_DELAY_INTERVAL: 10}))
    connected("a", will=will, props={P.SESSION_EXPIRY_INTERVAL: 100})
    assert cut(unique + "a")
    connected("a", clean=False, props={P.SESSION_EXPIRY_INTERVAL: 100})
    clock.advance(seconds=11)
    watcher.expect_nothing()


@statement("MQTT-3.1.3-9")
def test_take_over_within_the_delay_cancels_the_will(
    connected: Callable[..., Peer], watcher: Peer, unique: str, clock: Clock
) -> None:
    will = Will(unique, b"gone", properties=properties({P.WILL_DELAY_INTERVAL: 10}))
    connected("a", will=will, props={P.SESSION_EXPIRY_INTERVAL: 100})
    connected("a", clean=False, props={P.SESSION_EXPIRY_INTERVAL: 100})
    clock.advance(seconds=11)
    watcher.expect_nothing()


@statement("MQTT-3.1.2-8", "MQTT-3.1.2-4")
def test_clean_start_within_the_delay_publishes_the_will(
    connected: Callable[..., Peer], watcher: Peer, unique: str, cut: Callable[[str], bool]
) -> None:
    will = Will(unique, b"gone", properties=properties({P.WILL_DELAY_INTERVAL: 10}))
    connected("a", will=will, props={P.SESSION_EXPIRY_INTERVAL: 100})
    assert cut(unique + "a")
    connected("a", clean=True)
    assert watcher.receive().payload == b"gone"


@statement("MQTT-3.1.2-9", "MQTT-3.1.3-1")
@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(string("a"), id="nothing"),
        pytest.param(string("a") + b"\x00", id="will properties only"),
        pytest.param(string("a") + b"\x00" + string("topic"), id="no will payload"),
    ],
)
def test_will_flag_without_the_fields_of_a_will_is_malformed(peer: PeerFactory, payload: bytes) -> None:
    client = peer()
    client.send(connect_with_flags(0x06, payload))
    client.expect_refused(R.MALFORMED_PACKET)


@statement("MQTT-3.1.2-9")
def test_will_fields_without_will_flag_are_malformed(peer: PeerFactory) -> None:
    client = peer()
    client.send(connect_with_flags(0x02, string("a") + b"\x00" + string("topic") + string("payload")))
    client.expect_refused(R.MALFORMED_PACKET)


@statement("MQTT-3.1.3-1")
def test_fields_of_the_payload_are_read_in_their_order(peer: PeerFactory, watcher: Peer, unique: str) -> None:
    client = peer()
    payload = string(unique) + b"\x02\x01\x00" + string(unique) + string("gone") + string("user") + string("password")
    client.send(connect_with_flags(0xC6, payload))
    assert client.recv_raw()
    client.abort()
    assert watcher.receive() == Publish(unique, b"gone", properties=Properties([(P.PAYLOAD_FORMAT_INDICATOR, 0)]))


@statement("MQTT-3.1.2-11")
@pytest.mark.parametrize("flags", [0x0A, 0x12, 0x1A])
def test_will_qos_without_will_flag_is_malformed(peer: PeerFactory, flags: int) -> None:
    client = peer()
    client.send(connect_with_flags(flags, string("a")))
    client.expect_refused(R.MALFORMED_PACKET)


@statement("MQTT-3.1.2-12")
def test_will_qos_3_is_malformed(peer: PeerFactory) -> None:
    client = peer()
    client.send(connect_with_flags(0x1E, string("a") + b"\x00" + string("topic") + string("payload")))
    client.expect_refused(R.MALFORMED_PACKET)


@statement("MQTT-3.1.2-12")
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_will_is_published_with_its_qos(connected: Callable[..., Peer], watcher: Peer, unique: str, qos: int) -> None:
    connected("a", will=Will(unique, b"gone", qos)).abort()
    assert watcher.receive().qos == qos


@statement("MQTT-3.1.2-13")
def test_will_retain_without_will_flag_is_malformed(peer: PeerFactory) -> None:
    client = peer()
    client.send(connect_with_flags(0x22, string("a")))
    client.expect_refused(R.MALFORMED_PACKET)


@statement("MQTT-3.1.2-14")
def test_will_without_retain_is_not_retained(connected: Callable[..., Peer], watcher: Peer, unique: str) -> None:
    connected("a", will=Will(unique, b"gone")).abort()
    assert watcher.receive().retain is False
    late = connected("late")
    late.subscribe(unique)
    late.expect_nothing()


@statement("MQTT-3.1.2-15")
def test_will_with_retain_is_retained(connected: Callable[..., Peer], watcher: Peer, unique: str) -> None:
    connected("a", will=Will(unique, b"gone", retain=True)).abort()
    assert watcher.receive().retain is True
    late = connected("late")
    late.subscribe(unique)
    assert late.receive() == Publish(unique, b"gone", retain=True)


@statement("MQTT-3.1.2-7", "MQTT-3.1.3-10", "MQTT-3.3.2-4")
def test_properties_of_a_will_pass_unchanged_and_in_order(
    connected: Callable[..., Peer], watcher: Peer, unique: str
) -> None:
    sent = properties(
        [
            (P.PAYLOAD_FORMAT_INDICATOR, 1),
            (P.CONTENT_TYPE, "text/plain"),
            (P.RESPONSE_TOPIC, "answers"),
            (P.CORRELATION_DATA, b"\x00\xff"),
            (P.USER_PROPERTY, ("b", "1")),
            (P.USER_PROPERTY, ("a", "2")),
            (P.USER_PROPERTY, ("b", "1")),
        ]
    )
    connected("a", will=Will(unique, b"gone", properties=sent)).abort()
    assert watcher.receive().properties == sent


@statement("MQTT-3.3.2-6")
def test_expiry_interval_of_a_will_begins_when_it_is_published(
    connected: Callable[..., Peer], watcher: Peer, unique: str, cut: Callable[[str], bool], clock: Clock
) -> None:
    will = Will(unique, b"gone", properties=properties({P.MESSAGE_EXPIRY_INTERVAL: 7, P.WILL_DELAY_INTERVAL: 50}))
    connected("a", will=will, props={P.SESSION_EXPIRY_INTERVAL: 100})
    assert cut(unique + "a")
    clock.advance(seconds=51)
    assert watcher.receive().properties.value(P.MESSAGE_EXPIRY_INTERVAL) in (6, 7)


@statement("MQTT-3.1.3-11")
@pytest.mark.parametrize("topic", [b"\xff", b"a\x00b"])
def test_ill_formed_will_topic_is_malformed(peer: PeerFactory, topic: bytes) -> None:
    client = peer()
    client.send(connect_with_flags(0x06, string("a") + b"\x00" + string(topic) + string("payload")))
    client.expect_refused(R.MALFORMED_PACKET)


@statement("MQTT-4.7.0-1", "MQTT-4.7.3-1")
@pytest.mark.parametrize("topic", ["a/+", "#", ""])
def test_will_topic_that_is_no_topic_name_is_refused(peer: PeerFactory, topic: str) -> None:
    client = peer()
    client.send(Connect("a", will=Will(topic)))
    answer = client.recv()
    assert getattr(answer, "reason", None) in (R.MALFORMED_PACKET, R.PROTOCOL_ERROR, R.TOPIC_NAME_INVALID)
    client.expect_closed()


@statement("MQTT-3.1.4-1")
@pytest.mark.parametrize("name", [P.WILL_DELAY_INTERVAL, P.MESSAGE_EXPIRY_INTERVAL, P.PAYLOAD_FORMAT_INDICATOR])
def test_will_property_twice_is_a_protocol_error(peer: PeerFactory, name: P) -> None:
    client = peer()
    client.send(Connect("a", will=Will("t", properties=properties([(name, 1), (name, 1)]))))
    client.expect_refused(R.PROTOCOL_ERROR)


@statement("MQTT-3.1.2-10")
def test_will_of_a_new_connection_replaces_the_old_one(
    connected: Callable[..., Peer], watcher: Peer, unique: str
) -> None:
    delayed = properties({P.WILL_DELAY_INTERVAL: 100})
    connected("a", will=Will(unique, b"old", properties=delayed), props={P.SESSION_EXPIRY_INTERVAL: 100})
    connected("a", clean=False, will=Will(unique, b"new")).abort()
    assert watcher.receive().payload == b"new"
    watcher.expect_nothing()


@statement("MQTT-3.1.2-8", "MQTT-3.1.3-9")
def test_disconnect_with_will_waits_for_the_delay(
    connected: Callable[..., Peer], watcher: Peer, unique: str, clock: Clock
) -> None:
    will = Will(unique, b"gone", properties=properties({P.WILL_DELAY_INTERVAL: 10}))
    connected("a", will=will, props={P.SESSION_EXPIRY_INTERVAL: 100}).disconnect(R.DISCONNECT_WITH_WILL)
    clock.advance(seconds=9.5)
    watcher.expect_nothing()
    clock.advance(seconds=1)
    assert watcher.receive().payload == b"gone"


@statement("MQTT-3.1.2-8")
def test_disconnect_with_will_that_ends_the_session_publishes_it_at_once(
    connected: Callable[..., Peer], watcher: Peer, unique: str
) -> None:
    will = Will(unique, b"gone", properties=properties({P.WILL_DELAY_INTERVAL: 10}))
    client = connected("a", will=will, props={P.SESSION_EXPIRY_INTERVAL: 100})
    client.disconnect(R.DISCONNECT_WITH_WILL, props={P.SESSION_EXPIRY_INTERVAL: 0})
    assert watcher.receive().payload == b"gone"


@statement("MQTT-3.1.2-15", "MQTT-3.3.1-6")
def test_empty_retained_will_removes_the_retained_message(
    connected: Callable[..., Peer], watcher: Peer, unique: str
) -> None:
    connected("p").publish(unique, b"stored", retain=True)
    assert watcher.receive().payload == b"stored"
    connected("a", will=Will(unique, b"", retain=True)).abort()
    assert watcher.receive().payload == b""
    late = connected("late")
    late.subscribe(unique)
    late.expect_nothing()


@statement("MQTT-3.1.2-8")
def test_will_reaches_a_subscriber_that_is_away(
    connected: Callable[..., Peer], unique: str, cut: Callable[[str], bool]
) -> None:
    away = connected("s", props={P.SESSION_EXPIRY_INTERVAL: 100})
    away.subscribe(unique, qos=1)
    away.disconnect()
    connected("a", will=Will(unique, b"gone", 1))
    assert cut(unique + "a")
    assert connected("s", clean=False).receive().payload == b"gone"
