"""Exact moments in tests that turn the clock of a broker whose time also goes on by itself."""

from __future__ import annotations

import time
from collections.abc import Callable

TOLERANCE_S = 0.25
"""The broker keeps every set time to this."""


def before(moment_s: float) -> float:
    """How far to turn the clock to be just before a moment."""
    return moment_s - TOLERANCE_S


def after(moment_s: float) -> float:
    """How far to turn the clock to be just after a moment."""
    return moment_s + TOLERANCE_S


def unless_late(attempt: Callable[[], None]) -> None:
    """Runs `attempt`, which starts a period, turns the clock to just `before` its end and looks.

    If the machine stood still for so long that the end passed by itself, a failure proves nothing: try again.
    """
    for _ in range(20):
        start = time.monotonic()
        try:
            return attempt()
        except (AssertionError, ConnectionError):
            if time.monotonic() - start < TOLERANCE_S:
                raise
    raise AssertionError("the machine is too slow for this test")
