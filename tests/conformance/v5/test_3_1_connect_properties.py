"""MQTT 5.0, 3.1.2.10 and 3.1.2.11: keepalive and properties of CONNECT."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from mqtt import Connect, P, Publish, R, Will, encode_property, packet, properties, string, u16, varint
from peer import Peer, PeerFactory

from nanomq.testing import Clock

statement = pytest.mark.statement


@statement("MQTT-3.1.2-22")
def test_silent_client_is_closed_after_one_and_a_half_keepalives(peer: PeerFactory, unique: str, clock: Clock) -> None:
    client = peer()
    client.connect(unique, keepalive_s=60)
    clock.advance(seconds=90.3)
    client.expect_disconnect(R.KEEP_ALIVE_TIMEOUT)


@statement("MQTT-3.1.2-22")
def test_client_is_not_closed_before_one_and_a_half_keepalives(peer: PeerFactory, unique: str, clock: Clock) -> None:
    client = peer()
    client.connect(unique, keepalive_s=60)
    clock.advance(seconds=89.5)
    client.ping()


@statement("MQTT-3.1.2-22")
@pytest.mark.parametrize("act", [Peer.ping, lambda client: client.publish("a"), lambda client: client.subscribe("a")])
def test_every_packet_begins_the_keepalive_anew(
    peer: PeerFactory, unique: str, clock: Clock, act: Callable[[Peer], object]
) -> None:
    client = peer()
    client.connect(unique, keepalive_s=60)
    clock.advance(seconds=80)
    act(client)
    clock.advance(seconds=80)
    client.ping()


@statement("MQTT-3.1.2-22")
def test_packets_to_the_client_do_not_count(
    connected: Callable[..., Peer], peer: PeerFactory, unique: str, clock: Clock
) -> None:
    silent, publisher = peer(), connected("p")
    silent.connect(unique, keepalive_s=60)
    silent.subscribe(unique)
    clock.advance(seconds=80)
    publisher.publish(unique, qos=1)
    clock.advance(seconds=11)
    silent.expect(Publish)
    silent.expect_disconnect(R.KEEP_ALIVE_TIMEOUT)


@statement("MQTT-3.1.2-22", "MQTT-3.2.2-22")
def test_keepalive_0_never_closes(peer: PeerFactory, unique: str, clock: Clock) -> None:
    client = peer()
    client.connect(unique, keepalive_s=0)
    clock.advance(hours=1000)
    client.ping()


@statement("MQTT-3.1.2-22")
@pytest.mark.broker(config={"mqtt": {"keepalive_multiplier": 1.25}})
@pytest.mark.parametrize(("seconds", "is_open"), [(74.7, True), (75.3, False)])
def test_keepalive_multiplier_is_exact(peer: PeerFactory, clock: Clock, seconds: float, is_open: bool) -> None:
    client = peer()
    client.connect("a", keepalive_s=60)
    clock.advance(seconds=seconds)
    if is_open:
        client.ping()
    else:
        client.expect_disconnect(R.KEEP_ALIVE_TIMEOUT)


@statement("MQTT-3.1.2-23", "MQTT-4.1.0-2")
def test_session_is_kept_for_its_expiry_interval(
    connected: Callable[..., Peer], peer: PeerFactory, unique: str, clock: Clock
) -> None:
    connected("a", props={P.SESSION_EXPIRY_INTERVAL: 100}).disconnect()
    clock.advance(seconds=99.5)
    assert peer().connect(unique + "a", clean=False).session_present is True


@statement("MQTT-3.1.2-23", "MQTT-4.1.0-2")
def test_session_is_gone_after_its_expiry_interval(
    connected: Callable[..., Peer], peer: PeerFactory, unique: str, clock: Clock
) -> None:
    connected("a", props={P.SESSION_EXPIRY_INTERVAL: 100}).disconnect()
    clock.advance(seconds=100.3)
    assert peer().connect(unique + "a", clean=False).session_present is False


@statement("MQTT-3.1.2-23")
def test_largest_session_expiry_interval_never_ends(
    connected: Callable[..., Peer], peer: PeerFactory, unique: str, clock: Clock
) -> None:
    connected("a", props={P.SESSION_EXPIRY_INTERVAL: 0xFFFF_FFFF}).disconnect()
    clock.advance(hours=24 * 365 * 137)
    assert peer().connect(unique + "a", clean=False).session_present is True


@statement("MQTT-3.1.2-23")
def test_resumed_session_takes_the_new_expiry_interval(
    connected: Callable[..., Peer], peer: PeerFactory, unique: str, clock: Clock
) -> None:
    connected("a", props={P.SESSION_EXPIRY_INTERVAL: 1000}).disconnect()
    resumed = peer()
    resumed.connect(unique + "a", clean=False, props={P.SESSION_EXPIRY_INTERVAL: 10})
    resumed.disconnect()
    clock.advance(seconds=11)
    assert peer().connect(unique + "a", clean=False).session_present is False


@statement("MQTT-3.1.2-23")
@pytest.mark.broker(config={"mqtt": {"max_session_expiry": 50}})
def test_session_expiry_interval_is_cut_and_said(peer: PeerFactory, clock: Clock) -> None:
    client = peer()
    assert client.connect("a", props={P.SESSION_EXPIRY_INTERVAL: 100}).properties.value(P.SESSION_EXPIRY_INTERVAL) == 50
    client.disconnect()
    clock.advance(seconds=51)
    assert peer().connect("a", clean=False).session_present is False


@statement("MQTT-3.1.2-24", "MQTT-3.1.2-25")
def test_message_larger_than_maximum_packet_size_is_not_sent(connected: Callable[..., Peer], unique: str) -> None:
    subscriber, publisher = connected("s", props={P.MAXIMUM_PACKET_SIZE: 100}), connected("p")
    subscriber.subscribe(unique)
    publisher.publish(unique, bytes(101))
    publisher.publish(unique, b"small")
    assert subscriber.receive().payload == b"small"


@statement("MQTT-3.1.2-24")
@pytest.mark.parametrize(("spare", "is_sent"), [(0, True), (-1, False)])
@pytest.mark.parametrize("qos", [0, 1])
def test_maximum_packet_size_is_exact(
    connected: Callable[..., Peer], unique: str, spare: int, is_sent: bool, qos: int
) -> None:
    size = len(packet(0x30, string(unique) + bytes(2 if qos else 0) + b"\x00" + bytes(50)))
    subscriber, publisher = connected("s", props={P.MAXIMUM_PACKET_SIZE: size + spare}), connected("p")
    subscriber.subscribe(unique, qos=qos)
    publisher.publish(unique, bytes(50), qos=1)
    if is_sent:
        assert subscriber.receive().payload == bytes(50)
    subscriber.expect_nothing()


@statement("MQTT-3.1.2-25")
@pytest.mark.parametrize("qos", [1, 2])
def test_message_that_is_too_large_takes_no_place_in_the_window(
    connected: Callable[..., Peer], unique: str, qos: int
) -> None:
    subscriber = connected("s", props={P.MAXIMUM_PACKET_SIZE: 100, P.RECEIVE_MAXIMUM: 1})
    publisher = connected("p")
    subscriber.subscribe(unique, qos=qos)
    publisher.publish(unique, bytes(101), qos=qos)
    publisher.publish(unique, b"small", qos=qos)
    assert subscriber.receive().payload == b"small"


@statement("MQTT-3.1.2-25")
def test_other_subscribers_get_what_is_too_large_for_one(connected: Callable[..., Peer], unique: str) -> None:
    small, large, publisher = connected("s", props={P.MAXIMUM_PACKET_SIZE: 100}), connected("l"), connected("p")
    small.subscribe(unique)
    large.subscribe(unique)
    publisher.publish(unique, bytes(101))
    assert large.receive().payload == bytes(101)
    small.expect_nothing()


@statement("MQTT-3.1.2-24")
def test_retained_message_larger_than_maximum_packet_size_is_not_sent(
    connected: Callable[..., Peer], unique: str
) -> None:
    publisher, subscriber = connected("p"), connected("s", props={P.MAXIMUM_PACKET_SIZE: 100})
    publisher.publish(unique, bytes(101), retain=True)
    subscriber.subscribe(unique)
    subscriber.expect_nothing()


@statement("MQTT-3.1.2-26", "MQTT-3.3.2-11")
def test_topic_aliases_stay_within_the_clients_maximum(connected: Callable[..., Peer], unique: str) -> None:
    subscriber, publisher = connected("s", props={P.TOPIC_ALIAS_MAXIMUM: 3}), connected("p")
    subscriber.subscribe(f"{unique}/#")
    names = {0: ""}
    for number in list(range(10)) * 2:
        topic = f"{unique}/topic/{number}"
        publisher.send_publish(topic)
        message = subscriber.expect(Publish)
        alias = message.properties.value(P.TOPIC_ALIAS, 0)
        assert isinstance(alias, int) and alias <= 3
        if message.topic and alias:
            names[alias] = message.topic
        assert (message.topic or names[alias]) == topic


@statement("MQTT-3.1.2-27")
@pytest.mark.parametrize("props", [{}, {P.TOPIC_ALIAS_MAXIMUM: 0}], ids=["absent", "0"])
def test_without_topic_alias_maximum_no_alias_is_sent(
    connected: Callable[..., Peer], unique: str, props: dict[P, int]
) -> None:
    subscriber, publisher = connected("s", props=props), connected("p")
    subscriber.subscribe(unique)
    for _ in range(3):
        publisher.send_publish(unique, b"x")
        subscriber.expect_bytes(packet(0x30, string(unique) + b"\x00" + b"x"))


@statement("MQTT-3.1.2-28")
@pytest.mark.broker(config={"mqtt": {"response_information": "answers"}})
@pytest.mark.parametrize("props", [{}, {P.REQUEST_RESPONSE_INFORMATION: 0}], ids=["absent", "0"])
def test_response_information_is_not_sent_unasked(peer: PeerFactory, props: dict[P, int]) -> None:
    assert peer().connect("a", props=props).properties.value(P.RESPONSE_INFORMATION) is None


@statement("MQTT-3.1.2-28")
@pytest.mark.broker(config={"mqtt": {"response_information": "answers"}})
def test_response_information_is_sent_when_asked(peer: PeerFactory) -> None:
    answer = peer().connect("a", props={P.REQUEST_RESPONSE_INFORMATION: 1})
    assert answer.properties.value(P.RESPONSE_INFORMATION) == "answers"


@statement("MQTT-3.1.2-29")
def test_without_problem_information_answers_carry_no_reason_string(
    connected: Callable[..., Peer], unique: str
) -> None:
    client = connected(props={P.REQUEST_PROBLEM_INFORMATION: 0})
    client.send_publish(unique, qos=1, packet_id=7)
    client.expect_bytes(b"\x40\x03\x00\x07\x10")
    client.send(packet(0xA2, u16(8) + b"\x00" + string(unique)))
    client.expect_bytes(b"\xb0\x04\x00\x08\x00\x11")
    client.send(b"\x62\x02\x00\x09")
    client.expect_bytes(b"\x70\x03\x00\x09\x92")


@statement("MQTT-3.1.2-29")
def test_without_problem_information_messages_keep_their_user_properties(
    connected: Callable[..., Peer], unique: str
) -> None:
    client = connected(props={P.REQUEST_PROBLEM_INFORMATION: 0})
    client.subscribe(unique)
    client.send_publish(unique, props=[(P.USER_PROPERTY, ("a", "b"))])
    assert client.receive().properties == [(P.USER_PROPERTY, ("a", "b"))]


@statement("MQTT-3.1.4-1", "MQTT-4.13.1-1")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        (P.RECEIVE_MAXIMUM, 0),
        (P.MAXIMUM_PACKET_SIZE, 0),
        (P.REQUEST_RESPONSE_INFORMATION, 2),
        (P.REQUEST_PROBLEM_INFORMATION, 2),
    ],
)
def test_property_with_a_forbidden_value_is_a_protocol_error(peer: PeerFactory, name: P, value: int) -> None:
    client = peer()
    client.send(Connect("a", properties=properties({name: value})))
    client.expect_refused(R.PROTOCOL_ERROR)


@statement("MQTT-3.1.4-1", "MQTT-4.13.1-1")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        (P.SESSION_EXPIRY_INTERVAL, 1),
        (P.RECEIVE_MAXIMUM, 1),
        (P.MAXIMUM_PACKET_SIZE, 1000),
        (P.TOPIC_ALIAS_MAXIMUM, 1),
        (P.REQUEST_RESPONSE_INFORMATION, 1),
        (P.REQUEST_PROBLEM_INFORMATION, 1),
        (P.AUTHENTICATION_METHOD, "a"),
    ],
)
def test_property_twice_is_a_protocol_error(peer: PeerFactory, name: P, value: int | str) -> None:
    client = peer()
    client.send(Connect("a", properties=properties([(name, value), (name, value)])))
    client.expect_refused(R.PROTOCOL_ERROR)


@statement("MQTT-3.1.4-1")
def test_authentication_data_without_method_are_a_protocol_error(peer: PeerFactory) -> None:
    client = peer()
    client.send(Connect("a", properties=properties({P.AUTHENTICATION_DATA: b"x"})))
    client.expect_refused(R.PROTOCOL_ERROR)


@statement("MQTT-3.1.4-1")
@pytest.mark.parametrize("name", [P.SERVER_KEEP_ALIVE, P.TOPIC_ALIAS, P.WILL_DELAY_INTERVAL, P.REASON_STRING])
def test_property_of_another_packet_is_malformed(peer: PeerFactory, name: P) -> None:
    client = peer()
    raw = encode_property(name, "x" if name == P.REASON_STRING else 1)
    client.send(packet(0x10, string("MQTT") + b"\x05\x02\x00\x00" + varint(len(raw)) + raw + string("a")))
    client.expect_refused(R.MALFORMED_PACKET)


@statement("MQTT-3.1.4-5")
def test_user_properties_of_connect_are_accepted_also_repeated(peer: PeerFactory, unique: str) -> None:
    pair = (P.USER_PROPERTY, ("key", "value"))
    assert peer().connect(unique, props=[pair, pair]).reason == R.SUCCESS


@statement("MQTT-3.1.2-24")
@pytest.mark.parametrize("maximum", [1, 4, 10])
def test_connack_above_maximum_packet_size_is_not_sent(peer: PeerFactory, unique: str, maximum: int) -> None:
    client = peer()
    client.send(Connect(unique, properties=properties({P.MAXIMUM_PACKET_SIZE: maximum})))
    raw = client.recv_raw()
    assert raw is None or len(raw) <= maximum


@statement("MQTT-3.1.2-24")
def test_suback_above_maximum_packet_size_is_not_sent(connected: Callable[..., Peer], unique: str) -> None:
    client = connected(props={P.MAXIMUM_PACKET_SIZE: 20})
    client.send(
        packet(0x82, u16(1) + b"\x00" + b"".join(string(f"{unique}/{number}") + b"\x00" for number in range(30)))
    )
    while (raw := client.recv_raw()) is not None:
        assert len(raw) <= 20


@statement("MQTT-3.1.2-24", "MQTT-3.1.2-25")
def test_message_that_became_too_large_is_not_sent_again(
    connected: Callable[..., Peer], unique: str, cut: Callable[[str], bool]
) -> None:
    subscriber, publisher = connected("s", props={P.SESSION_EXPIRY_INTERVAL: 100}), connected("p")
    subscriber.subscribe(unique, qos=1)
    publisher.publish(unique, bytes(100))
    subscriber.expect(Publish)
    assert cut(unique + "s")
    publisher.publish(unique, b"small")
    again = connected("s", clean=False, props={P.MAXIMUM_PACKET_SIZE: 60, P.RECEIVE_MAXIMUM: 1})
    assert again.receive().payload == b"small"
    again.expect_nothing()


@statement("MQTT-3.1.4-1")
def test_connect_cut_at_any_byte_closes_the_connection(tcp_peer: PeerFactory) -> None:
    will = Will("w", b"x", properties=properties({P.WILL_DELAY_INTERVAL: 1}))
    whole = Connect("a", will=will, username="u", password=b"p", properties=properties({P.RECEIVE_MAXIMUM: 1})).encode()
    for end in range(2, len(whole)):
        client = tcp_peer()
        client.send(packet(0x10, whole[2:end]))
        answer = client.recv_raw()
        assert answer is None or answer[3] == R.MALFORMED_PACKET
        if answer is not None:
            client.expect_closed()
