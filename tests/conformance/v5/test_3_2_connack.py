"""MQTT 5.0, 3.2: CONNACK and what it promises."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from mqtt import Connect, P, Publish, R, Will, packet, properties, string, u16
from peer import Peer, PeerFactory

from nanomq.testing import Clock

statement = pytest.mark.statement


@statement("MQTT-3.2.0-1", "MQTT-3.2.2-1", "MQTT-3.2.2-8")
def test_connack_of_a_new_session_byte_by_byte(peer: PeerFactory, unique: str) -> None:
    client = peer()
    client.send(Connect(unique))
    raw = client.recv_raw()
    assert raw is not None
    assert raw[0] == 0x20 and raw[2:4] == b"\x00\x00"


@statement("MQTT-3.2.0-1")
def test_connack_comes_before_the_messages_of_a_session(
    connected: Callable[..., Peer], peer: PeerFactory, unique: str
) -> None:
    old = connected("a", props={P.SESSION_EXPIRY_INTERVAL: 100})
    old.subscribe(unique, qos=1)
    old.disconnect()
    connected("p").publish(unique, b"x")
    client = peer()
    assert client.connect(unique + "a", clean=False).session_present is True
    assert client.receive().payload == b"x"


@statement("MQTT-3.2.2-1", "MQTT-3.2.2-3")
def test_connack_of_a_resumed_session_has_flags_1(
    connected: Callable[..., Peer], peer: PeerFactory, unique: str
) -> None:
    connected("a", props={P.SESSION_EXPIRY_INTERVAL: 100}).disconnect()
    client = peer()
    client.send(Connect(unique + "a", clean=False))
    raw = client.recv_raw()
    assert raw is not None and raw[2:4] == b"\x01\x00"


@statement("MQTT-3.2.2-6")
def test_refusal_does_not_tell_of_a_session(connected: Callable[..., Peer], peer: PeerFactory, unique: str) -> None:
    connected("a", props={P.SESSION_EXPIRY_INTERVAL: 100}).disconnect()
    client = peer()
    client.send(Connect(unique + "a", clean=False, properties=properties({P.AUTHENTICATION_METHOD: "unknown"})))
    assert client.expect_refused(R.BAD_AUTHENTICATION_METHOD).session_present is False


@statement("MQTT-3.2.2-7", "MQTT-4.13.2-1")
def test_refusal_closes_the_connection(peer: PeerFactory) -> None:
    client = peer()
    client.send(Connect("a", properties=properties({P.RECEIVE_MAXIMUM: 0})))
    client.expect_refused(R.PROTOCOL_ERROR)


@statement("MQTT-3.2.2-9")
@pytest.mark.parametrize(
    ("maximum", "said"),
    [
        pytest.param(0, 0, marks=pytest.mark.broker(config={"mqtt": {"max_qos": 0}})),
        pytest.param(1, 1, marks=pytest.mark.broker(config={"mqtt": {"max_qos": 1}})),
        pytest.param(2, None, marks=pytest.mark.broker(config={"mqtt": {"max_qos": 2}})),
    ],
)
def test_maximum_qos_is_said_when_it_is_below_2(peer: PeerFactory, maximum: int, said: int | None) -> None:
    assert peer().connect("a").properties.value(P.MAXIMUM_QOS) == said


@statement("MQTT-3.2.2-10")
@pytest.mark.broker(config={"mqtt": {"max_qos": 1}})
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_subscription_with_any_qos_is_accepted_below_maximum_qos(connected: Callable[..., Peer], qos: int) -> None:
    assert connected().subscribe("a", qos=qos).reasons in ((qos,), (min(qos, 1),))


@statement("MQTT-3.2.2-11")
@pytest.mark.broker(config={"mqtt": {"max_qos": 1}})
def test_publish_above_maximum_qos_is_refused(connected: Callable[..., Peer]) -> None:
    client = connected()
    client.send_publish("a", qos=2)
    client.expect_disconnect(R.QOS_NOT_SUPPORTED)


@statement("MQTT-3.2.2-12")
@pytest.mark.broker(config={"mqtt": {"max_qos": 1}})
def test_will_above_maximum_qos_is_refused(peer: PeerFactory) -> None:
    client = peer()
    client.send(Connect("a", will=Will("t", qos=2)))
    client.expect_refused(R.QOS_NOT_SUPPORTED)


@statement("MQTT-3.2.2-13")
@pytest.mark.broker(config={"mqtt": {"retain_available": False}})
def test_retained_will_is_refused_without_retained_messages(peer: PeerFactory) -> None:
    client = peer()
    client.send(Connect("a", will=Will("t", retain=True)))
    client.expect_refused(R.RETAIN_NOT_SUPPORTED)


@statement("MQTT-3.2.2-14")
@pytest.mark.broker(config={"mqtt": {"retain_available": False}})
def test_retained_publish_is_refused_without_retained_messages(peer: PeerFactory) -> None:
    client = peer()
    assert client.connect("a").properties.value(P.RETAIN_AVAILABLE) == 0
    client.send_publish("a", retain=True)
    client.expect_disconnect(R.RETAIN_NOT_SUPPORTED)


@statement("MQTT-3.2.2-15")
@pytest.mark.broker(config={"mqtt": {"max_packet_size": 1000}})
def test_packet_above_maximum_packet_size_is_refused(peer: PeerFactory) -> None:
    client = peer()
    assert client.connect("a").properties.value(P.MAXIMUM_PACKET_SIZE) == 1000
    client.send_publish("a", bytes(1000))
    client.expect_disconnect(R.PACKET_TOO_LARGE)


@statement("MQTT-3.2.2-15")
@pytest.mark.broker(config={"mqtt": {"max_packet_size": 1000}})
def test_packet_of_exactly_maximum_packet_size_is_accepted(connected: Callable[..., Peer]) -> None:
    client = connected()
    raw = packet(0x30, string("a") + b"\x00" + bytes(1000 - 3 - 4))
    assert len(raw) == 1000
    client.send(raw)
    client.ping()


@statement("MQTT-3.2.2-15", "MQTT-3.14.0-1")
@pytest.mark.broker(config={"mqtt": {"max_packet_size": 1000}})
def test_connect_above_maximum_packet_size_is_refused(peer: PeerFactory) -> None:
    client = peer()
    client.send(Connect("x" * 1000))
    raw = client.recv_raw()
    assert raw in (None, b"\x20\x03\x00\x95\x00")


@statement("MQTT-3.2.2-15")
def test_packet_that_is_too_large_is_refused_before_it_is_read(connected: Callable[..., Peer]) -> None:
    client = connected()
    client.send(b"\x30\xff\xff\xff\x7f" + string("a"))
    client.expect_disconnect(R.PACKET_TOO_LARGE)


@statement("MQTT-3.2.2-17", "MQTT-3.3.2-9")
@pytest.mark.parametrize("alias", [33, 65_535])
def test_topic_alias_above_the_maximum_is_refused(connected: Callable[..., Peer], alias: int) -> None:
    client = connected()
    client.send_publish("a", props={P.TOPIC_ALIAS: alias})
    client.expect_disconnect(R.TOPIC_ALIAS_INVALID)


@statement("MQTT-3.2.2-18")
@pytest.mark.broker(config={"mqtt": {"max_topic_alias": 0}})
def test_topic_alias_is_refused_when_none_are_offered(peer: PeerFactory) -> None:
    client = peer()
    assert client.connect("a").properties.value(P.TOPIC_ALIAS_MAXIMUM) in (None, 0)
    client.send_publish("a", props={P.TOPIC_ALIAS: 1})
    client.expect_disconnect(R.TOPIC_ALIAS_INVALID)


@statement("MQTT-3.2.2-19", "MQTT-3.2.2-20")
def test_connack_stays_within_a_small_maximum_packet_size(peer: PeerFactory) -> None:
    client = peer()
    client.send(Connect("a", properties=properties({P.MAXIMUM_PACKET_SIZE: 30, P.AUTHENTICATION_METHOD: "unknown"})))
    raw = client.recv_raw()
    assert raw is not None and len(raw) <= 30


@statement("MQTT-3.2.2-21")
@pytest.mark.broker(config={"mqtt": {"server_keepalive": 20}})
def test_server_keep_alive_replaces_the_clients(peer: PeerFactory, clock: Clock) -> None:
    client = peer()
    assert client.connect("a", keepalive_s=1000).properties.value(P.SERVER_KEEP_ALIVE) == 20
    clock.advance(seconds=29.7)
    client.ping()
    clock.advance(seconds=30.3)
    client.expect_disconnect(R.KEEP_ALIVE_TIMEOUT)


@statement("MQTT-3.2.2-22")
def test_without_server_keep_alive_the_clients_holds(peer: PeerFactory, unique: str, clock: Clock) -> None:
    client = peer()
    assert client.connect(unique, keepalive_s=1000).properties.value(P.SERVER_KEEP_ALIVE) is None
    clock.advance(seconds=1499)
    client.ping()
    clock.advance(seconds=1501)
    client.expect_disconnect(R.KEEP_ALIVE_TIMEOUT)


@statement("MQTT-4.9.0-1")
def test_connack_says_receive_maximum_and_topic_alias_maximum(peer: PeerFactory, unique: str) -> None:
    said = peer().connect(unique).properties
    assert (said.value(P.RECEIVE_MAXIMUM), said.value(P.TOPIC_ALIAS_MAXIMUM), said.value(P.MAXIMUM_PACKET_SIZE)) == (
        1024,
        32,
        10_485_760,
    )


@statement("MQTT-3.1.2-23")
def test_granted_session_expiry_is_not_repeated(peer: PeerFactory, unique: str) -> None:
    answer = peer().connect(unique, props={P.SESSION_EXPIRY_INTERVAL: 100})
    assert answer.properties.value(P.SESSION_EXPIRY_INTERVAL) in (None, 100)


@statement("MQTT-4.13.1-1")
@pytest.mark.broker(config={"mqtt": {"wildcard_available": False}})
@pytest.mark.parametrize("topic_filter", ["a/#", "+/a"])
def test_wildcards_are_refused_when_they_are_not_available(peer: PeerFactory, topic_filter: str) -> None:
    client = peer()
    assert client.connect("a").properties.value(P.WILDCARD_SUBSCRIPTION_AVAILABLE) == 0
    client.send(packet(0x82, u16(1) + b"\x00" + string(topic_filter) + b"\x00"))
    client.expect_disconnect(R.WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED)


@statement("MQTT-4.13.1-1")
@pytest.mark.broker(config={"mqtt": {"shared_available": False}})
def test_shared_subscriptions_are_refused_when_they_are_not_available(peer: PeerFactory) -> None:
    client = peer()
    assert client.connect("a").properties.value(P.SHARED_SUBSCRIPTION_AVAILABLE) == 0
    client.send(packet(0x82, u16(1) + b"\x00" + string("$share/g/a") + b"\x00"))
    client.expect_disconnect(R.SHARED_SUBSCRIPTIONS_NOT_SUPPORTED)


@statement("MQTT-4.13.1-1")
@pytest.mark.broker(config={"mqtt": {"subscription_id_available": False}})
def test_subscription_identifiers_are_refused_when_they_are_not_available(peer: PeerFactory) -> None:
    client = peer()
    assert client.connect("a").properties.value(P.SUBSCRIPTION_IDENTIFIER_AVAILABLE) == 0
    client.send(packet(0x82, u16(1) + b"\x02\x0b\x01" + string("a") + b"\x00"))
    client.expect_disconnect(R.SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED)


@statement("MQTT-3.2.0-1")
def test_nothing_is_sent_unasked_after_connack(connected: Callable[..., Peer], unique: str) -> None:
    client = connected()
    client.expect_nothing()
    client.send_publish(unique)
    client.subscribe(unique)
    client.send_publish(unique, b"x")
    assert client.expect(Publish).payload == b"x"
