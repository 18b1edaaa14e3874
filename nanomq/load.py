"""The engine's load generator and the floor relay, for `nanomq_cli bench` and for programs that measure a broker."""

from __future__ import annotations

from nanomq._core import Load, Relay

__all__ = ["Load", "Relay"]
