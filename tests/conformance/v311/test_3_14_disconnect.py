"""Section 3.14: DISCONNECT."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from mqtt import Publish, Will, packet
from peer import Peer

Connected = Callable[..., Peer]


@pytest.mark.statement("MQTT-3.14.1-1", version=4)
@pytest.mark.parametrize("flags", range(1, 16))
def test_disconnect_with_flags_is_a_violation(connected: Connected, unique: str, flags: int) -> None:
    observer = connected("o")
    observer.subscribe(unique)
    client = connected(will=Will(unique, b"gone"))
    client.send(packet(0xE0 | flags))
    client.expect_closed()
    assert observer.receive().payload == b"gone"


def test_disconnect_with_a_body_is_a_violation(connected: Connected, unique: str) -> None:
    observer = connected("o")
    observer.subscribe(unique)
    client = connected(will=Will(unique, b"gone"))
    client.send(b"\xe0\x01\x00")
    client.expect_closed()
    assert observer.receive().payload == b"gone"


@pytest.mark.statement("MQTT-3.14.4-3", version=4)
@pytest.mark.parametrize("clean", [True, False])
def test_disconnect_discards_the_will(connected: Connected, unique: str, clean: bool) -> None:
    observer = connected("o")
    observer.subscribe(unique)
    client = connected(clean=clean, will=Will(unique, b"gone", qos=2, retain=True))
    client.disconnect()
    observer.expect_nothing()
    late = connected("l")
    late.subscribe(unique)
    late.expect_nothing()


def test_broker_closes_the_connection_after_disconnect(connected: Connected) -> None:
    client = connected()
    client.send(b"\xe0\x00")
    client.expect_closed()


def test_nothing_after_disconnect_is_processed(connected: Connected, unique: str) -> None:
    observer = connected("o")
    observer.subscribe(unique)
    client = connected()
    client.send(b"\xe0\x00", Publish(unique, b"late"))
    client.expect_closed()
    observer.expect_nothing()
