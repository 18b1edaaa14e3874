"""Sections 3.12 and 3.13: PINGREQ and PINGRESP."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from peer import Peer

Connected = Callable[..., Peer]


@pytest.mark.statement("MQTT-3.12.4-1", version=4)
def test_pingreq_is_answered_by_pingresp(connected: Connected) -> None:
    client = connected()
    client.send(b"\xc0\x00")
    client.expect_bytes(b"\xd0\x00")


@pytest.mark.statement("MQTT-3.12.4-1", version=4)
def test_each_pingreq_is_answered(connected: Connected) -> None:
    client = connected()
    client.send(b"\xc0\x00" * 100)
    for _ in range(100):
        client.expect_bytes(b"\xd0\x00")


def test_pingreq_with_a_body_closes_the_connection(connected: Connected) -> None:
    client = connected()
    client.send(b"\xc0\x01\x00")
    client.expect_closed()
