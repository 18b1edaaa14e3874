"""Section 3.2: CONNACK."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from mqtt import ConnAck, Connect
from peer import Peer

Connected = Callable[..., Peer]
Stranger = Callable[[], Peer]


@pytest.mark.statement("MQTT-3.2.0-1", version=4)
def test_first_packet_of_the_broker_is_connack(stranger: Stranger, connected: Connected, unique: str) -> None:
    client = connected(clean=False)
    client.subscribe(unique, qos=1)
    client.disconnect()
    connected("p").publish(unique, b"waiting", qos=1)
    again = stranger()
    again.send(Connect(client.client_id, version=4, clean=False))
    assert again.expect(ConnAck).session_present
    assert again.receive().payload == b"waiting"


@pytest.mark.statement("MQTT-3.2.2-1", version=4)
def test_clean_session_is_answered_with_session_present_0(stranger: Stranger, connected: Connected) -> None:
    stored = connected(clean=False)
    stored.disconnect()
    client = stranger()
    client.send(Connect(stored.client_id, version=4, clean=True))
    client.expect_bytes(b"\x20\x02\x00\x00")


@pytest.mark.statement("MQTT-3.2.2-2", version=4)
def test_stored_session_is_answered_with_session_present_1(stranger: Stranger, connected: Connected) -> None:
    stored = connected(clean=False)
    stored.disconnect()
    client = stranger()
    client.send(Connect(stored.client_id, version=4, clean=False))
    client.expect_bytes(b"\x20\x02\x01\x00")


@pytest.mark.statement("MQTT-3.2.2-2", version=4)
def test_taken_over_session_is_answered_with_session_present_1(stranger: Stranger, connected: Connected) -> None:
    stored = connected(clean=False)
    client = stranger()
    client.send(Connect(stored.client_id, version=4, clean=False))
    client.expect_bytes(b"\x20\x02\x01\x00")
    stored.expect_closed()


@pytest.mark.statement("MQTT-3.2.2-3", version=4)
def test_new_session_is_answered_with_session_present_0(stranger: Stranger, unique: str) -> None:
    client = stranger()
    client.send(Connect(unique, version=4, clean=False))
    client.expect_bytes(b"\x20\x02\x00\x00")


@pytest.mark.statement("MQTT-3.2.2-3", version=4)
def test_session_that_ended_is_answered_with_session_present_0(stranger: Stranger, connected: Connected) -> None:
    ended = connected(clean=True)
    ended.disconnect()
    client = stranger()
    client.send(Connect(ended.client_id, version=4, clean=False))
    client.expect_bytes(b"\x20\x02\x00\x00")


@pytest.mark.statement("MQTT-3.2.2-4", "MQTT-3.2.2-5", version=4)
@pytest.mark.broker(config={"auth": {"allow_anonymous": False, "password": {"ann": "secret"}}})
@pytest.mark.parametrize(
    ("username", "password", "code"),
    [(None, None, 4), ("ann", b"wrong", 5), ("ann", None, 4), ("bob", b"secret", 5), ("ann", b"", 4)],
    ids=["anonymous", "wrong password", "no password", "unknown user", "empty password"],
)
def test_refusal_has_session_present_0_and_closes_the_connection(
    stranger: Stranger, connected: Connected, username: str | None, password: bytes | None, code: int
) -> None:
    stored = connected(clean=False, username="ann", password=b"secret")
    stored.disconnect()
    client = stranger()
    client.send(Connect(stored.client_id, 4, False, username=username, password=password))
    client.expect_bytes(bytes([0x20, 2, 0, code]))
    client.expect_closed()


@pytest.mark.statement("MQTT-3.2.2-5", version=4)
def test_unacceptable_level_closes_the_connection(stranger: Stranger, unique: str) -> None:
    client = stranger()
    client.send(Connect(unique, version=6))
    client.expect_refused(1)


@pytest.mark.statement("MQTT-3.2.2-6", version=4)
@pytest.mark.broker(config={"mqtt": {"max_packet_size": 1024}})
def test_refusal_without_a_return_code_closes_without_connack(stranger: Stranger) -> None:
    client = stranger()
    client.send(Connect("x" * 2000, version=4))
    client.expect_closed()
