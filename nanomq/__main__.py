"""`python -m nanomq` is the command `nanomq`."""

from __future__ import annotations

from nanomq.cli.broker import main

main()
