"""What commands say: one line for each fault, the exit code with it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

import click

from nanomq.errors import Problem


def tell(warnings: Iterable[Problem], problems: Iterable[Problem]) -> None:
    """Each warning and each fault on a line of stderr."""
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)
    for problem in problems:
        click.echo(f"error: {problem}", err=True)


def fail(text: str) -> int:
    """A last line on stderr, and exit code 1."""
    click.echo(text, err=True)
    return 1


def count(number: int, word: str) -> str:
    """`1 fault`, `2 faults`."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def executable() -> str:
    """The path of this command."""
    return os.path.abspath(sys.argv[0])
