"""Section 3.1: CONNECT."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from mqtt import Connect, Publish, Will, packet, string, u16
from peer import Peer

from nanomq.testing import Clock

Connected = Callable[..., Peer]
Stranger = Callable[[], Peer]


def connect(flags: int, *fields: str | bytes, name: str = "MQTT", level: int = 4, keepalive_s: int = 0) -> bytes:
    """A CONNECT from its parts."""
    body = string(name) + bytes([level, flags]) + u16(keepalive_s) + b"".join(string(field) for field in fields)
    return packet(0x10, body)


ACCEPTED = b"\x20\x02\x00\x00"
CLEAN, WILL, WILL_QOS_1, WILL_QOS_2, WILL_RETAIN, PASSWORD, USERNAME = 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80


@pytest.mark.statement("MQTT-3.1.0-1", version=4)
@pytest.mark.parametrize(
    "raw",
    [
        b"\xc0\x00",
        b"\xe0\x00",
        packet(0x30, string("t") + b"m"),
        packet(0x82, u16(1) + string("t") + b"\x00"),
        b"\x20\x02\x00\x00",
        b"GET / HTTP/1.1\r\n\r\n",
    ],
    ids=["PINGREQ", "DISCONNECT", "PUBLISH", "SUBSCRIBE", "CONNACK", "HTTP"],
)
def test_anything_before_connect_closes_the_connection(stranger: Stranger, raw: bytes) -> None:
    client = stranger()
    client.send(raw)
    client.expect_closed()


@pytest.mark.statement("MQTT-3.1.0-1", version=4)
def test_connection_without_connect_is_closed_in_time(stranger: Stranger, connected: Connected, clock: Clock) -> None:
    client = stranger()
    client.send(b"\x10")
    connected("later").ping()
    clock.advance(seconds=11)
    client.expect_closed()


@pytest.mark.statement("MQTT-3.1.0-2", version=4)
def test_second_connect_closes_the_connection(connected: Connected) -> None:
    client = connected()
    client.send(Connect(client.client_id, version=4))
    client.expect_closed()


@pytest.mark.statement("MQTT-3.1.0-2", version=4)
def test_second_connect_publishes_the_will(connected: Connected, unique: str) -> None:
    observer = connected("o")
    observer.subscribe(unique)
    client = connected(will=Will(unique, b"gone"))
    client.send(Connect(client.client_id, version=4))
    client.expect_closed()
    assert observer.receive().payload == b"gone"


@pytest.mark.statement("MQTT-3.1.2-1", version=4)
@pytest.mark.parametrize("name", ["mqtt", "MQTQ", "MQT", "MQTTX", "", "MQIsdp"])
def test_another_protocol_name_is_not_served(stranger: Stranger, unique: str, name: str) -> None:
    client = stranger()
    client.send(connect(CLEAN, unique, name=name))
    answer = client.recv_raw()
    assert answer in (None, b"\x20\x02\x00\x01")
    if answer is not None:
        client.expect_closed()


@pytest.mark.statement("MQTT-3.1.2-2", version=4)
@pytest.mark.parametrize("level", [0, 1, 2, 6, 7, 127])
def test_unknown_protocol_level_gets_return_code_1(stranger: Stranger, unique: str, level: int) -> None:
    client = stranger()
    client.send(connect(CLEAN, unique, level=level))
    client.expect_bytes(b"\x20\x02\x00\x01")
    client.expect_closed()


@pytest.mark.statement("MQTT-3.1.2-3", version=4)
def test_reserved_connect_flag_closes_the_connection(stranger: Stranger, unique: str) -> None:
    client = stranger()
    client.send(connect(CLEAN | 1, unique))
    client.expect_closed()


@pytest.mark.statement("MQTT-3.1.2-4", version=4)
def test_session_is_resumed_without_clean_session(connected: Connected, unique: str) -> None:
    client = connected(clean=False)
    client.subscribe(unique, qos=1)
    client.disconnect()
    again = connected(clean=False)
    again.send_publish(unique, b"m", qos=1)
    received = {type(again.recv()).__name__ for _ in range(2)}
    assert received == {"Publish", "PubAck"}


@pytest.mark.statement("MQTT-3.1.2-4", version=4)
def test_session_is_made_without_clean_session(stranger: Stranger, unique: str) -> None:
    client = stranger()
    client.send(connect(0, unique))
    client.expect_bytes(ACCEPTED)


@pytest.mark.statement("MQTT-3.1.2-5", version=4)
def test_qos_1_and_2_wait_for_a_client_that_is_away(connected: Connected, unique: str) -> None:
    client, publisher = connected(clean=False), connected("p")
    client.subscribe(unique, qos=2)
    client.disconnect()
    publisher.publish(unique, b"one", qos=1)
    publisher.publish(unique, b"two", qos=2)
    again = connected(clean=False)
    assert [(m.payload, m.qos, m.dup) for m in (again.receive(), again.receive())] == [
        (b"one", 1, False),
        (b"two", 2, False),
    ]


@pytest.mark.statement("MQTT-3.1.2-5", version=4)
def test_messages_wait_after_an_abrupt_end_too(connected: Connected, cut: Callable[[str], bool], unique: str) -> None:
    client, publisher = connected(clean=False), connected("p")
    client.subscribe(unique, qos=1)
    assert cut(client.client_id)
    publisher.publish(unique, b"m", qos=1)
    assert connected(clean=False).receive().payload == b"m"


@pytest.mark.statement("MQTT-3.1.2-6", version=4)
def test_clean_session_discards_the_old_session(connected: Connected, unique: str) -> None:
    client, publisher = connected(clean=False), connected("p")
    client.subscribe(unique, qos=1)
    client.disconnect()
    publisher.publish(unique, b"m", qos=1)
    again = connected(clean=True)
    publisher.publish(unique, b"n", qos=1)
    again.expect_nothing()


@pytest.mark.statement("MQTT-3.1.2-6", version=4)
def test_clean_session_ends_with_its_connection(connected: Connected, unique: str) -> None:
    client, publisher = connected(clean=True), connected("p")
    client.subscribe(unique, qos=1)
    client.disconnect()
    publisher.publish(unique, b"m", qos=1)
    again = connected(clean=False)
    publisher.publish(unique, b"n", qos=1)
    again.expect_nothing()


@pytest.mark.statement("MQTT-3.1.2-7", version=4)
def test_retained_message_outlives_the_session(connected: Connected, unique: str) -> None:
    client = connected(clean=True)
    client.publish(unique, b"kept", qos=1, retain=True)
    client.disconnect()
    observer = connected("o")
    observer.subscribe(unique)
    assert observer.receive().payload == b"kept"


@pytest.mark.statement("MQTT-3.1.2-8", version=4)
def test_will_is_published_when_the_connection_breaks(
    connected: Connected, cut: Callable[[str], bool], unique: str
) -> None:
    observer = connected("o")
    observer.subscribe(unique, qos=2)
    client = connected(will=Will(unique, b"gone", qos=1))
    observer.expect_nothing()
    assert cut(client.client_id)
    will = observer.receive()
    assert (will.topic, will.payload, will.qos, will.retain) == (unique, b"gone", 1, False)


@pytest.mark.statement("MQTT-3.1.2-8", version=4)
def test_will_is_published_when_the_client_closes_without_disconnect(connected: Connected, unique: str) -> None:
    observer = connected("o")
    observer.subscribe(unique)
    connected(will=Will(unique, b"gone")).close()
    assert observer.receive().payload == b"gone"


@pytest.mark.statement("MQTT-3.1.2-8", version=4)
def test_will_is_published_when_the_client_breaks_the_protocol(connected: Connected, unique: str) -> None:
    observer = connected("o")
    observer.subscribe(unique)
    client = connected(will=Will(unique, b"gone"))
    client.send(b"\x00\x00")
    client.expect_closed()
    assert observer.receive().payload == b"gone"


@pytest.mark.statement("MQTT-3.1.2-8", version=4)
def test_will_is_published_when_the_keepalive_passes(connected: Connected, clock: Clock, unique: str) -> None:
    observer = connected("o")
    observer.subscribe(unique)
    client = connected(will=Will(unique, b"gone"), keepalive_s=10)
    clock.advance(seconds=15.25)
    client.expect_closed()
    assert observer.receive().payload == b"gone"


@pytest.mark.statement("MQTT-3.1.2-8", version=4)
def test_will_of_a_stored_session_is_published_when_the_connection_breaks(
    connected: Connected, cut: Callable[[str], bool], unique: str
) -> None:
    observer = connected("o")
    observer.subscribe(unique)
    client = connected(clean=False, will=Will(unique, b"gone"))
    assert cut(client.client_id)
    assert observer.receive().payload == b"gone"


@pytest.mark.statement("MQTT-3.1.2-9", version=4)
@pytest.mark.parametrize(
    ("fields", "missing"), [((), "topic and message"), (("t",), "message")], ids=["topic and message", "message"]
)
def test_will_flag_without_its_fields_closes_the_connection(
    stranger: Stranger, unique: str, fields: tuple[str, ...], missing: str
) -> None:
    client = stranger()
    client.send(connect(CLEAN | WILL, unique, *fields))
    client.expect_closed()


@pytest.mark.statement("MQTT-3.1.2-9", version=4)
def test_empty_will_message_is_legal(connected: Connected, unique: str) -> None:
    observer = connected("o")
    observer.subscribe(unique)
    connected(will=Will(unique, b"")).close()
    assert observer.receive().payload == b""


@pytest.mark.statement("MQTT-3.1.2-10", "MQTT-3.14.4-3", version=4)
def test_disconnect_removes_the_will(connected: Connected, unique: str) -> None:
    observer = connected("o")
    observer.subscribe(unique)
    connected(will=Will(unique, b"gone")).disconnect()
    observer.expect_nothing()


@pytest.mark.statement("MQTT-3.1.2-10", version=4)
def test_will_is_published_once_only(connected: Connected, cut: Callable[[str], bool], unique: str) -> None:
    observer = connected("o")
    observer.subscribe(unique)
    client = connected(clean=False, will=Will(unique, b"gone"))
    assert cut(client.client_id)
    assert observer.receive().payload == b"gone"
    assert cut(connected(clean=False).client_id)
    observer.expect_nothing()


@pytest.mark.statement("MQTT-3.1.2-11", version=4)
def test_will_fields_without_the_will_flag_close_the_connection(stranger: Stranger, unique: str) -> None:
    client = stranger()
    client.send(connect(CLEAN, unique, "topic", "message"))
    client.expect_closed()


@pytest.mark.statement("MQTT-3.1.2-12", version=4)
def test_no_will_is_published_without_the_will_flag(
    connected: Connected, cut: Callable[[str], bool], unique: str
) -> None:
    observer = connected("o")
    observer.subscribe(f"{unique}/#")
    client = connected()
    client.publish(f"{unique}/t", b"m", qos=1)
    assert observer.receive().payload == b"m"
    assert cut(client.client_id)
    observer.expect_nothing()


@pytest.mark.statement("MQTT-3.1.2-11", "MQTT-3.1.2-13", version=4)
@pytest.mark.parametrize("bits", [WILL_QOS_1, WILL_QOS_2, WILL_QOS_1 | WILL_QOS_2])
def test_will_qos_without_the_will_flag_closes_the_connection(stranger: Stranger, unique: str, bits: int) -> None:
    client = stranger()
    client.send(connect(CLEAN | bits, unique))
    client.expect_closed()


@pytest.mark.statement("MQTT-3.1.2-14", version=4)
def test_will_qos_3_closes_the_connection(stranger: Stranger, unique: str) -> None:
    client = stranger()
    client.send(connect(CLEAN | WILL | WILL_QOS_1 | WILL_QOS_2, unique, "topic", "message"))
    client.expect_closed()


@pytest.mark.statement("MQTT-3.1.2-14", version=4)
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_will_has_its_qos(connected: Connected, unique: str, qos: int) -> None:
    observer = connected("o")
    observer.subscribe(unique, qos=2)
    connected(will=Will(unique, b"gone", qos=qos)).close()
    assert observer.receive().qos == qos


@pytest.mark.statement("MQTT-3.1.2-11", "MQTT-3.1.2-15", version=4)
def test_will_retain_without_the_will_flag_closes_the_connection(stranger: Stranger, unique: str) -> None:
    client = stranger()
    client.send(connect(CLEAN | WILL_RETAIN, unique))
    client.expect_closed()


@pytest.mark.statement("MQTT-3.1.2-16", version=4)
def test_will_without_will_retain_is_not_retained(connected: Connected, unique: str) -> None:
    observer = connected("o")
    observer.subscribe(unique)
    connected(will=Will(unique, b"gone")).close()
    assert not observer.receive().retain
    late = connected("late")
    late.subscribe(unique)
    late.expect_nothing()


@pytest.mark.statement("MQTT-3.1.2-17", version=4)
def test_will_with_will_retain_is_retained(connected: Connected, unique: str) -> None:
    observer = connected("o")
    observer.subscribe(unique)
    connected(will=Will(unique, b"gone", retain=True)).close()
    assert not observer.receive().retain
    late = connected("late")
    late.subscribe(unique)
    kept = late.receive()
    assert (kept.payload, kept.retain) == (b"gone", True)


@pytest.mark.statement("MQTT-3.1.2-18", "MQTT-3.1.2-20", version=4)
def test_field_that_no_flag_announces_closes_the_connection(stranger: Stranger, unique: str) -> None:
    client = stranger()
    client.send(connect(CLEAN, unique, "ann"))
    client.expect_closed()


@pytest.mark.statement("MQTT-3.1.2-20", version=4)
def test_password_that_no_flag_announces_closes_the_connection(stranger: Stranger, unique: str) -> None:
    client = stranger()
    client.send(connect(CLEAN | USERNAME, unique, "ann", "secret"))
    client.expect_closed()


@pytest.mark.statement("MQTT-3.1.2-19", version=4)
def test_username_flag_without_username_closes_the_connection(stranger: Stranger, unique: str) -> None:
    client = stranger()
    client.send(connect(CLEAN | USERNAME, unique))
    client.expect_closed()


@pytest.mark.statement("MQTT-3.1.2-21", version=4)
def test_password_flag_without_password_closes_the_connection(stranger: Stranger, unique: str) -> None:
    client = stranger()
    client.send(connect(CLEAN | USERNAME | PASSWORD, unique, "ann"))
    client.expect_closed()


@pytest.mark.statement("MQTT-3.1.2-22", version=4)
def test_password_flag_without_username_flag_closes_the_connection(stranger: Stranger, unique: str) -> None:
    client = stranger()
    client.send(connect(CLEAN | PASSWORD, unique, "secret"))
    client.expect_closed()


@pytest.mark.statement("MQTT-3.1.2-24", version=4)
def test_silent_client_is_disconnected_after_one_and_a_half_keepalives(connected: Connected, clock: Clock) -> None:
    client = connected(keepalive_s=60)
    clock.advance(seconds=89.75)
    client.ping()
    clock.advance(seconds=89.75)
    client.ping()
    clock.advance(seconds=90.25)
    client.expect_closed()


@pytest.mark.statement("MQTT-3.1.2-24", version=4)
def test_keepalive_0_never_disconnects(connected: Connected, clock: Clock) -> None:
    client = connected(keepalive_s=0)
    clock.advance(hours=1000)
    client.ping()


@pytest.mark.statement("MQTT-3.1.3-1", version=4)
def test_payload_fields_are_read_in_their_order(stranger: Stranger, connected: Connected, unique: str) -> None:
    observer = connected("o")
    observer.subscribe(unique, qos=1)
    client = stranger()
    client.send(
        connect(CLEAN | WILL | WILL_QOS_1 | USERNAME | PASSWORD, f"{unique}c", unique, "gone", "ann", b"\x00\xff")
    )
    client.expect_bytes(ACCEPTED)
    client.close()
    will = observer.receive()
    assert (will.topic, will.payload, will.qos) == (unique, b"gone", 1)


@pytest.mark.statement("MQTT-3.1.3-2", version=4)
def test_sessions_are_told_apart_by_client_id(connected: Connected, unique: str) -> None:
    first, publisher = connected("a", clean=False), connected("p")
    first.subscribe(unique, qos=1)
    first.disconnect()
    publisher.publish(unique, b"m", qos=1)
    connected("b", clean=False).expect_nothing()
    assert connected("a", clean=False).receive().payload == b"m"


@pytest.mark.statement("MQTT-3.1.3-3", version=4)
def test_connect_without_client_id_field_closes_the_connection(stranger: Stranger) -> None:
    client = stranger()
    client.send(connect(CLEAN))
    client.expect_closed()


@pytest.mark.statement("MQTT-3.1.3-4", version=4)
def test_client_id_that_is_not_utf8_closes_the_connection(stranger: Stranger) -> None:
    client = stranger()
    client.send(connect(CLEAN, b"\xff\xfe"))
    client.expect_closed()


@pytest.mark.statement("MQTT-3.1.3-5", version=4)
@pytest.mark.parametrize(
    "client_id",
    ["0", "0123456789abcdefghijklm", "nopqrstuvwxyzABCDEFGHIJ", "KLMNOPQRSTUVWXYZ"],
)
def test_client_ids_of_digits_and_letters_are_accepted(stranger: Stranger, client_id: str) -> None:
    client = stranger()
    client.send(connect(CLEAN, client_id))
    client.expect_bytes(ACCEPTED)


@pytest.mark.parametrize("client_id", ["a b/c+#$é😀", "x" * 65_535], ids=["other characters", "65535 bytes"])
def test_other_client_ids_are_accepted_too(stranger: Stranger, client_id: str) -> None:
    client = stranger()
    client.send(connect(CLEAN, client_id))
    client.expect_bytes(ACCEPTED)


@pytest.mark.statement("MQTT-3.1.3-6", version=4)
def test_clients_without_client_id_are_told_apart(stranger: Stranger, unique: str) -> None:
    first, second = stranger(), stranger()
    for client in (first, second):
        client.send(connect(CLEAN, ""))
        client.expect_bytes(ACCEPTED)
        client.subscribe(unique)
    second.send_publish(unique, b"m")
    assert first.receive().payload == second.receive().payload == b"m"


@pytest.mark.statement("MQTT-3.1.3-7", "MQTT-3.1.3-8", "MQTT-3.1.3-9", version=4)
def test_empty_client_id_without_clean_session_gets_return_code_2(stranger: Stranger) -> None:
    client = stranger()
    client.send(connect(0, ""))
    client.expect_bytes(b"\x20\x02\x00\x02")
    client.expect_closed()


@pytest.mark.statement("MQTT-3.1.3-9", version=4)
@pytest.mark.broker(config={"mqtt": {"max_client_id_bytes": 30}})
def test_client_id_that_is_too_long_gets_return_code_2(stranger: Stranger) -> None:
    client = stranger()
    client.send(connect(CLEAN, "x" * 31))
    client.expect_bytes(b"\x20\x02\x00\x02")
    client.expect_closed()


@pytest.mark.statement("MQTT-3.1.3-10", version=4)
@pytest.mark.parametrize(
    "topic", [b"a\xff", b"a\0", b"", b"a/#", b"+/a"], ids=["not UTF-8", "U+0000", "empty", "#", "+"]
)
def test_will_topic_that_is_no_topic_name_closes_the_connection(stranger: Stranger, unique: str, topic: bytes) -> None:
    client = stranger()
    client.send(connect(CLEAN | WILL, unique, topic, "message"))
    client.expect_closed()


@pytest.mark.statement("MQTT-3.1.3-11", version=4)
def test_username_that_is_not_utf8_closes_the_connection(stranger: Stranger, unique: str) -> None:
    client = stranger()
    client.send(connect(CLEAN | USERNAME, unique, b"\xff"))
    client.expect_closed()


@pytest.mark.statement("MQTT-3.1.4-1", version=4)
@pytest.mark.parametrize(
    "raw",
    [
        packet(0x10, b""),
        packet(0x10, string("MQTT")),
        packet(0x10, string("MQTT") + b"\x04\x02\x00"),
        packet(0x10, string("MQTT") + b"\x04\x02" + u16(0) + u16(5) + b"abc"),
        packet(0x10, string("MQTT") + b"\x04\x02" + u16(0) + string("abc") + b"x"),
    ],
    ids=["empty", "no level", "no keepalive", "cut client id", "rest"],
)
def test_malformed_connect_closes_the_connection_without_connack(stranger: Stranger, raw: bytes) -> None:
    client = stranger()
    client.send(raw)
    client.expect_closed()


@pytest.mark.statement("MQTT-3.1.4-2", version=4)
def test_second_connection_with_the_client_id_closes_the_first(connected: Connected) -> None:
    first = connected()
    second = connected()
    first.expect_closed()
    second.ping()


@pytest.mark.statement("MQTT-3.1.4-2", version=4)
def test_take_over_publishes_the_will_of_the_first(connected: Connected, unique: str) -> None:
    observer = connected("o")
    observer.subscribe(unique)
    connected(will=Will(unique, b"gone"))
    connected()
    assert observer.receive().payload == b"gone"


@pytest.mark.statement("MQTT-3.1.4-3", version=4)
@pytest.mark.parametrize(("clean", "present"), [(True, False), (False, True)])
def test_clean_session_decides_about_the_stored_session(
    connected: Connected, stranger: Stranger, unique: str, clean: bool, present: bool
) -> None:
    connected(clean=False).disconnect()
    client = stranger()
    client.send(connect(CLEAN if clean else 0, f"{unique}a"))
    client.expect_bytes(bytes([0x20, 2, present, 0]))


@pytest.mark.statement("MQTT-3.1.4-4", version=4)
def test_connect_is_answered_with_return_code_0(stranger: Stranger, unique: str) -> None:
    client = stranger()
    client.send(connect(CLEAN, unique))
    client.expect_bytes(ACCEPTED)


@pytest.mark.statement("MQTT-3.1.4-5", version=4)
def test_nothing_after_a_refused_connect_is_processed(stranger: Stranger, connected: Connected, unique: str) -> None:
    observer = connected("o")
    observer.subscribe(unique)
    client = stranger()
    client.send(connect(0, ""), Publish(unique, b"m"))
    client.expect_bytes(b"\x20\x02\x00\x02")
    client.expect_closed()
    observer.expect_nothing()


def test_packets_sent_right_behind_connect_are_processed(stranger: Stranger, unique: str) -> None:
    client = stranger()
    client.send(connect(CLEAN, unique), packet(0x82, u16(1) + string(unique) + b"\x00"), Publish(unique, b"m"))
    client.expect_bytes(ACCEPTED)
    client.expect_bytes(b"\x90\x03\x00\x01\x00")
    client.expect_bytes(packet(0x30, string(unique) + b"m"))


def test_connect_one_byte_at_a_time_is_accepted(stranger: Stranger, unique: str) -> None:
    client = stranger()
    for byte in connect(CLEAN, unique):
        client.send(bytes([byte]))
    client.expect_bytes(ACCEPTED)
