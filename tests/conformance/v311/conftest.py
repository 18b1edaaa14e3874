"""Peers of MQTT 3.1.1 and the mark of its statements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from mqtt import V311
from peer import Peer, PeerFactory


@pytest.fixture
def connected(peer: PeerFactory, unique: str) -> Callable[..., Peer]:
    """`connected(name="a", clean=True, ...)` makes a 3.1.1 peer that is connected as `<unique><name>`."""

    def make(name: str = "a", version: int = V311, **options: Any) -> Peer:
        made = peer(version)
        answer = made.connect(unique + name, **options)
        assert answer.reason == 0, answer
        return made

    return make


@pytest.fixture
def stranger(peer: PeerFactory) -> Callable[[], Peer]:
    """`stranger()` makes a 3.1.1 peer that has sent nothing yet."""
    return lambda: peer(V311)
