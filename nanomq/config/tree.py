"""The raw tree: what a configuration file of any format says, each value with its file, line and column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from nanomq.errors import ConfigError, Problem


class Place(NamedTuple):
    """Where a value was written. `line` 0 means that `source` is not a file (a variable, a flag)."""

    source: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}" if self.line else self.source


class Piece(NamedTuple):
    """A part of a value: a text as it is, or a reference to the path `text`."""

    text: str
    is_reference: bool = False
    is_optional: bool = False


@dataclass(slots=True)
class Raw:
    """One value as written: a block (`dict`), a list, or a scalar.

    `written` is a bare word before it was taken for a number (a password may be `0123`). `loose` marks text that had
    no way to show its type: an environment variable, a flag. `name` is the key as written, where it is not the path. Until `substitution.resolve` has run, `pieces` are what a
    value with references is made of, and `before` is what stood there until a reference replaced or joined it; a key
    that others refer to needs no meaning of its own.
    """

    value: RawValue
    place: Place
    written: str = ""
    loose: bool = False
    name: str = ""
    pieces: tuple[Piece, ...] = ()
    before: Raw | None = None
    is_missing: bool = False
    is_referred_to: bool = False


RawValue = dict[str, Raw] | list[Raw] | str | int | float | bool | None


def from_object(value: object, place: Place) -> Raw:
    """Turn plain Python data into the raw tree. Keys may be dotted, as in a file."""
    return _from_object(value, place, 0)


def merge(into: dict[str, Raw], segments: Sequence[str], raw: Raw) -> None:
    """Set a value below `into`: blocks are merged with what is there, anything else replaces it."""
    for segment in segments[:-1]:
        step = into.get(segment)
        if step is None or not isinstance(step.value, dict):
            before = step if step is not None and step.pieces else None
            step = into[segment] = Raw({}, raw.place, before=before)
        assert isinstance(step.value, dict)
        into = step.value
    last = segments[-1]
    old = into.get(last)
    if old is not None and isinstance(old.value, dict) and isinstance(raw.value, dict):
        for key, value in raw.value.items():
            merge(old.value, (key,), value)
    else:
        if old is not None and (raw.pieces or (old.pieces and isinstance(raw.value, dict))):
            raw.before = old
        into[last] = raw


def _from_object(value: object, place: Place, depth: int) -> Raw:
    if depth > MAX_DEPTH:
        raise ConfigError([Problem("", str(place), f"blocks are nested more than {MAX_DEPTH} deep", FLATTER)])
    if isinstance(value, Mapping):
        block: dict[str, Raw] = {}
        for key, item in value.items():
            merge(block, str(key).split("."), _from_object(item, place, depth + 1))
        return Raw(block, place)
    if isinstance(value, (list, tuple, set, frozenset)):
        return Raw([_from_object(item, place, depth + 1) for item in value], place)
    if value is None or isinstance(value, (str, int, float, bool)):
        return Raw(value, place)
    return Raw(str(value), place)


MAX_DEPTH = 64
FLATTER = "look for a `{` or `[` too many"
