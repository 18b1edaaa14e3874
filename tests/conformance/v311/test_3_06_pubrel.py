"""Section 3.6: PUBREL, and the answers of sections 3.4, 3.5 and 3.7."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from mqtt import packet, u16
from peer import Peer

Connected = Callable[..., Peer]


@pytest.mark.statement("MQTT-3.6.1-1", version=4)
@pytest.mark.parametrize("flags", [flags for flags in range(16) if flags != 2])
def test_pubrel_with_other_flags_closes_the_connection(connected: Connected, flags: int) -> None:
    client = connected()
    client.send(packet(0x60 | flags, u16(1)))
    client.expect_closed()


@pytest.mark.parametrize("first", [0x40, 0x50, 0x62, 0x70])
@pytest.mark.parametrize("body", [b"", b"\x01", b"\x00\x01\x00"], ids=["empty", "one byte", "three bytes"])
def test_acknowledgement_of_a_wrong_length_closes_the_connection(connected: Connected, first: int, body: bytes) -> None:
    client = connected()
    client.send(packet(first, body))
    client.expect_closed()


def test_pubrel_of_an_unknown_packet_id_is_answered(connected: Connected) -> None:
    client = connected()
    client.send(b"\x62\x02\x00\x07")
    client.expect_bytes(b"\x70\x02\x00\x07")


@pytest.mark.parametrize("first", [0x40, 0x70], ids=["PUBACK", "PUBCOMP"])
def test_acknowledgement_of_an_unknown_packet_id_is_ignored(connected: Connected, first: int) -> None:
    client = connected()
    client.send(packet(first, u16(7)))
    client.expect_nothing()
