"""MQTT 5.0, 3.12 and 3.13: PINGREQ and PINGRESP."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from mqtt import PingResp, R
from peer import Peer

statement = pytest.mark.statement


@statement("MQTT-3.12.4-1")
def test_pingreq_is_answered_byte_by_byte(connected: Callable[..., Peer]) -> None:
    client = connected()
    client.send(b"\xc0\x00")
    client.expect_bytes(b"\xd0\x00")


@statement("MQTT-3.12.4-1")
def test_each_pingreq_is_answered(connected: Callable[..., Peer]) -> None:
    client = connected()
    client.send(b"\xc0\x00" * 100)
    for _ in range(100):
        client.expect(PingResp)
    client.expect_nothing()


@statement("MQTT-3.12.4-1")
def test_pingreq_with_a_body_is_malformed(connected: Callable[..., Peer]) -> None:
    client = connected()
    client.send(b"\xc0\x01\x00")
    client.expect_disconnect(R.MALFORMED_PACKET)
