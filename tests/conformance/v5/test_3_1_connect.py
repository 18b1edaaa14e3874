"""MQTT 5.0, 3.1: CONNECT without its will (test_3_1_will.py) and its properties (test_3_1_connect_properties.py)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from mqtt import ConnAck, Connect, P, Publish, R, packet, properties, string, u16
from peer import Peer, PeerFactory

from nanomq.testing import RunningBroker

statement = pytest.mark.statement


def connect_packet(flags: int, payload: bytes, *, name: str = "MQTT", level: int = 5, props: bytes = b"\x00") -> bytes:
    """A CONNECT with these flags around any payload."""
    return packet(0x10, string(name) + bytes([level, flags]) + u16(0) + props + payload)


@statement("MQTT-3.1.0-1")
@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(packet(0x30, string("a") + b"\x00"), id="PUBLISH"),
        pytest.param(packet(0x82, u16(1) + b"\x00" + string("a") + b"\x00"), id="SUBSCRIBE"),
        pytest.param(b"\xc0\x00", id="PINGREQ"),
        pytest.param(b"\xe0\x00", id="DISCONNECT"),
        pytest.param(b"\xf0\x00", id="AUTH"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="HTTP"),
    ],
)
def test_another_first_packet_closes_the_connection(peer: PeerFactory, raw: bytes) -> None:
    client = peer()
    client.send(raw)
    client.expect_closed()


@statement("MQTT-3.1.0-2", "MQTT-3.2.0-2")
def test_second_connect_is_a_protocol_error(connected: Callable[..., Peer], unique: str) -> None:
    client = connected()
    client.send(Connect(unique + "a"))
    client.expect_disconnect(R.PROTOCOL_ERROR)


@statement("MQTT-3.1.2-1")
@pytest.mark.parametrize("name", ["MQTTX", "mqtt", "MQT", ""])
def test_unknown_protocol_name_closes_the_connection(peer: PeerFactory, name: str) -> None:
    client = peer()
    client.send(connect_packet(0x02, string("a"), name=name))
    client.expect_closed()


@statement("MQTT-3.1.2-2")
@pytest.mark.parametrize("level", [0, 1, 6, 255])
def test_unknown_protocol_version_is_refused(peer: PeerFactory, level: int) -> None:
    client = peer()
    client.send(connect_packet(0x02, string("a"), level=level))
    refusal = client.recv_raw()
    # A client of an unknown version reads the form of 3.1.1 or that of 5.0.
    assert refusal in (b"\x20\x02\x00\x01", b"\x20\x03\x00\x84\x00")
    client.expect_closed()


@statement("MQTT-3.1.2-3")
def test_reserved_connect_flag_is_malformed(peer: PeerFactory) -> None:
    client = peer()
    client.send(connect_packet(0x03, string("a")))
    client.expect_refused(R.MALFORMED_PACKET)


@statement("MQTT-3.1.2-4", "MQTT-3.1.4-4", "MQTT-3.2.2-2")
def test_clean_start_discards_the_session(connected: Callable[..., Peer], peer: PeerFactory, unique: str) -> None:
    old = connected("a", props={P.SESSION_EXPIRY_INTERVAL: 100})
    old.subscribe(unique)
    old.disconnect()
    client = peer()
    assert client.connect(unique + "a", clean=True, props={P.SESSION_EXPIRY_INTERVAL: 100}).session_present is False
    client.publish(unique)
    client.expect_nothing()


@statement("MQTT-3.1.2-5", "MQTT-3.2.2-3", "MQTT-3.1.3-2")
def test_session_is_resumed_with_its_subscriptions(
    connected: Callable[..., Peer], peer: PeerFactory, unique: str
) -> None:
    old = connected("a", props={P.SESSION_EXPIRY_INTERVAL: 100})
    old.subscribe(unique, qos=1)
    old.disconnect()
    client = peer()
    assert client.connect(unique + "a", clean=False).session_present is True
    client.send_publish(unique, b"x")
    assert client.receive() == Publish(unique, b"x")


@statement("MQTT-3.1.2-6", "MQTT-3.2.2-3")
def test_connect_without_clean_start_makes_a_session(peer: PeerFactory, unique: str) -> None:
    client = peer()
    assert client.connect(unique, clean=False).session_present is False
    client.subscribe(unique)
    client.send_publish(unique)
    client.receive()


@statement("MQTT-3.1.2-6")
def test_session_of_another_client_id_is_not_resumed(
    connected: Callable[..., Peer], peer: PeerFactory, unique: str
) -> None:
    connected("a", props={P.SESSION_EXPIRY_INTERVAL: 100}).disconnect()
    assert peer().connect(unique + "b", clean=False).session_present is False


@statement("MQTT-3.1.3-2")
def test_session_ends_with_the_connection_without_session_expiry(
    connected: Callable[..., Peer], peer: PeerFactory, unique: str
) -> None:
    connected("a").disconnect()
    assert peer().connect(unique + "a", clean=False).session_present is False


@statement("MQTT-3.1.2-16", "MQTT-3.1.4-1")
def test_username_without_its_flag_is_malformed(peer: PeerFactory) -> None:
    client = peer()
    client.send(connect_packet(0x02, string("a") + string("user")))
    client.expect_refused(R.MALFORMED_PACKET)


@statement("MQTT-3.1.2-17", "MQTT-3.1.4-1")
def test_username_flag_without_username_is_malformed(peer: PeerFactory) -> None:
    client = peer()
    client.send(connect_packet(0x82, string("a")))
    client.expect_refused(R.MALFORMED_PACKET)


@statement("MQTT-3.1.2-18")
def test_password_without_its_flag_is_malformed(peer: PeerFactory) -> None:
    client = peer()
    client.send(connect_packet(0x82, string("a") + string("user") + string("secret")))
    client.expect_refused(R.MALFORMED_PACKET)


@statement("MQTT-3.1.2-19")
def test_password_flag_without_password_is_malformed(peer: PeerFactory) -> None:
    client = peer()
    client.send(connect_packet(0xC2, string("a") + string("user")))
    client.expect_refused(R.MALFORMED_PACKET)


@statement("MQTT-3.1.2-17", "MQTT-3.1.2-19")
def test_username_and_password_are_accepted(peer: PeerFactory, unique: str) -> None:
    assert peer().connect(unique, username="user", password=b"\x00\xff").reason == R.SUCCESS


@statement("MQTT-3.1.2-19")
def test_password_alone_is_accepted(peer: PeerFactory, unique: str) -> None:
    assert peer().connect(unique, password=b"token").reason == R.SUCCESS


@statement("MQTT-3.1.3-3", "MQTT-3.1.4-1")
def test_connect_without_client_id_is_malformed(peer: PeerFactory) -> None:
    client = peer()
    client.send(connect_packet(0x02, b""))
    client.expect_refused(R.MALFORMED_PACKET)


@statement("MQTT-3.1.4-1")
def test_bytes_behind_the_last_field_are_malformed(peer: PeerFactory) -> None:
    client = peer()
    client.send(connect_packet(0x02, string("a") + b"\x00"))
    client.expect_refused(R.MALFORMED_PACKET)


@statement("MQTT-3.1.4-1")
def test_connect_that_ends_within_its_header_closes_the_connection(peer: PeerFactory) -> None:
    client = peer()
    client.send(packet(0x10, string("MQTT") + b"\x05\x02"))
    client.expect_refused(R.MALFORMED_PACKET)


@statement("MQTT-3.1.3-5")
@pytest.mark.parametrize("client_id", ["0", "Z", "0123456789abcdefABCDEFG", "hijklmnopqrstuvwxyzHIJK"])
def test_client_ids_of_1_to_23_digits_and_letters_are_accepted(peer: PeerFactory, client_id: str) -> None:
    answer = peer().connect(client_id)
    assert (answer.reason, answer.properties.value(P.ASSIGNED_CLIENT_IDENTIFIER)) == (R.SUCCESS, None)


@statement("MQTT-3.1.3-5")
def test_long_client_id_of_other_characters_is_accepted(peer: PeerFactory, unique: str) -> None:
    assert peer().connect(f"{unique} é/+#$" + "x" * 1000).reason == R.SUCCESS


@statement("MQTT-3.1.3-6", "MQTT-3.2.2-16")
def test_clients_with_empty_client_id_get_different_ones(peer: PeerFactory) -> None:
    ids = {str(peer().connect("").properties.value(P.ASSIGNED_CLIENT_IDENTIFIER)) for _ in range(5)}
    assert len(ids) == 5 and "None" not in ids


@statement("MQTT-3.1.3-6")
def test_empty_client_id_without_clean_start_gets_a_session(peer: PeerFactory) -> None:
    answer = peer().connect("", clean=False)
    assert (answer.reason, answer.session_present) == (R.SUCCESS, False)
    assert answer.properties.value(P.ASSIGNED_CLIENT_IDENTIFIER)


@statement("MQTT-3.1.3-7")
def test_assigned_client_id_names_the_session(peer: PeerFactory) -> None:
    first = peer()
    first.connect("", clean=False, props={P.SESSION_EXPIRY_INTERVAL: 100})
    first.disconnect()
    assert peer().connect(first.client_id, clean=False).session_present is True


@statement("MQTT-3.1.3-7", "MQTT-3.1.4-3")
def test_assigned_client_id_can_be_taken_over(peer: PeerFactory) -> None:
    first = peer()
    first.connect("")
    peer().connect(first.client_id)
    first.expect_disconnect(R.SESSION_TAKEN_OVER)


@statement("MQTT-3.1.3-8")
@pytest.mark.broker(config={"mqtt": {"max_client_id_bytes": 30}})
def test_refused_client_id_closes_the_connection(peer: PeerFactory) -> None:
    client = peer()
    client.send(Connect("x" * 31))
    client.expect_refused(R.CLIENT_IDENTIFIER_NOT_VALID)


@statement("MQTT-3.1.3-12")
def test_ill_formed_username_is_malformed(peer: PeerFactory) -> None:
    client = peer()
    client.send(connect_packet(0x82, string("a") + string(b"\xff")))
    client.expect_refused(R.MALFORMED_PACKET)


@statement("MQTT-3.1.4-2", "MQTT-3.2.2-7")
@pytest.mark.broker(config={"auth": {"allow_anonymous": False, "password": {"user": "secret"}}})
@pytest.mark.parametrize(
    ("username", "password"),
    [("user", b"wrong"), ("nobody", b"secret"), (None, None), ("user", None), (None, b"secret")],
)
def test_wrong_credentials_are_refused(peer: PeerFactory, username: str | None, password: bytes | None) -> None:
    client = peer()
    client.send(Connect("a", username=username, password=password))
    client.expect_refused(R.BAD_USER_NAME_OR_PASSWORD)


@statement("MQTT-3.1.4-2")
@pytest.mark.broker(config={"auth": {"allow_anonymous": False, "password": {"user": "secret"}}})
def test_right_credentials_are_accepted(peer: PeerFactory) -> None:
    assert peer().connect("a", username="user", password=b"secret").reason == R.SUCCESS


@statement("MQTT-3.1.4-3", "MQTT-3.14.4-2")
def test_take_over_closes_the_old_connection(connected: Callable[..., Peer]) -> None:
    old = connected("a")
    new = connected("a")
    old.expect_disconnect(R.SESSION_TAKEN_OVER)
    new.ping()


@statement("MQTT-3.1.4-3", "MQTT-3.1.2-5")
def test_take_over_keeps_the_session(connected: Callable[..., Peer], peer: PeerFactory, unique: str) -> None:
    old = connected("a", props={P.SESSION_EXPIRY_INTERVAL: 100})
    old.subscribe(unique)
    new = peer()
    assert new.connect(unique + "a", clean=False).session_present is True
    old.expect_disconnect(R.SESSION_TAKEN_OVER)
    new.send_publish(unique, b"x")
    assert new.receive().payload == b"x"


@statement("MQTT-3.1.4-3")
def test_refused_connect_does_not_take_over(connected: Callable[..., Peer], peer: PeerFactory, unique: str) -> None:
    old = connected("a")
    intruder = peer()
    intruder.send(Connect(unique + "a", properties=properties({P.AUTHENTICATION_METHOD: "unknown"})))
    intruder.expect_refused(R.BAD_AUTHENTICATION_METHOD)
    old.ping()


@statement("MQTT-3.1.4-5", "MQTT-3.2.0-1")
def test_accepted_connect_is_answered_first(peer: PeerFactory, unique: str) -> None:
    client = peer()
    client.send(Connect(unique), packet(0x82, u16(1) + b"\x00" + string(unique) + b"\x00"), b"\xc0\x00")
    assert client.expect(ConnAck).reason == R.SUCCESS
    client.expect_bytes(b"\x90\x04\x00\x01\x00\x00")
    client.expect_bytes(b"\xd0\x00")


@statement("MQTT-3.1.4-6")
def test_packets_behind_a_refused_connect_are_not_processed(
    connected: Callable[..., Peer], peer: PeerFactory, unique: str
) -> None:
    subscriber = connected("s")
    subscriber.subscribe(unique)
    refused = peer()
    refused.send(Connect("a", properties=properties({P.AUTHENTICATION_METHOD: "unknown"})), Publish(unique, b"x"))
    refused.expect_refused(R.BAD_AUTHENTICATION_METHOD)
    subscriber.expect_nothing()


@statement("MQTT-3.1.4-1")
@pytest.mark.broker(config={"mqtt": {"connect_timeout": 10}})
def test_connection_without_connect_is_closed_after_a_while(broker: RunningBroker, peer: PeerFactory) -> None:
    silent, busy = peer(), peer()
    busy.connect("a")
    broker.clock.advance(seconds=9.5)
    busy.ping()
    broker.clock.advance(seconds=1)
    silent.expect_closed()
    busy.ping()


@statement("MQTT-3.1.4-3")
def test_take_over_works_from_any_transport(connected: Callable[..., Peer], tcp_peer: PeerFactory, unique: str) -> None:
    old = connected("a", props={P.SESSION_EXPIRY_INTERVAL: 100})
    old.subscribe(unique, qos=1)
    new = tcp_peer()
    assert new.connect(unique + "a", clean=False, props={P.SESSION_EXPIRY_INTERVAL: 100}).session_present is True
    old.expect_disconnect(R.SESSION_TAKEN_OVER)
    again = connected("a", clean=False)
    new.expect_disconnect(R.SESSION_TAKEN_OVER)
    again.send_publish(unique, b"x")
    assert again.receive().payload == b"x"


@statement("MQTT-3.1.3-2")
def test_client_ids_differ_by_case(connected: Callable[..., Peer]) -> None:
    lower, upper = connected("a"), connected("A")
    lower.ping()
    upper.ping()


@statement("MQTT-3.1.2-5", "MQTT-3.1.3-2")
def test_session_of_3_1_1_that_is_resumed_in_5_ends_with_the_connection(
    connected: Callable[..., Peer], peer: PeerFactory, unique: str
) -> None:
    connected("a", version=4, clean=False).disconnect()
    resumed = peer()
    assert resumed.connect(unique + "a", clean=False).session_present is True
    resumed.disconnect()
    assert peer().connect(unique + "a", clean=False).session_present is False
