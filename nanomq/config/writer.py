"""Values and blocks → HOCON text that loads as the same values."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

from nanomq.config import discretion
from nanomq.config.schema import Key
from nanomq.config.values import Address, show

MASK = "***"


def masked(key: Key, value: object) -> object:
    """A value as it may be shown to anybody: what is secret in it is replaced by `***`."""
    if not key.secret or not value:
        return value
    if isinstance(value, Mapping):
        return dict.fromkeys((discretion.user(name) for name in value), MASK)
    if isinstance(value, list):
        return [
            {word: MASK if "password" in word and part else part for word, part in item.items()}
            if isinstance(item, Mapping)
            else MASK
            for item in value
        ]
    return MASK


def write(key: Key, value: object) -> str:
    """A value as it stands behind `=`."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{quoted(str(name))}: {quoted(str(part))}" for name, part in value.items()) + " }"
    if isinstance(value, (list, tuple)) and not isinstance(value, Address):
        return "[" + ", ".join(write(key, item) for item in value) + "]"
    if value is None:
        return "null"
    if isinstance(value, str):
        return value if key.kind in ("enum", "enums") else quoted(value)
    if isinstance(value, Address):
        return quoted(show(key, value))
    return show(key, value)


def quoted(text: str) -> str:
    """A text in quotes, in one line."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def blocks(lines: Mapping[str, str]) -> Iterator[str]:
    """Path → written value, as nested blocks in the order in which they first appear."""
    tree: dict[str, object] = {}
    for path, value in lines.items():
        *groups, last = path.split(".")
        block = tree
        for group in groups:
            inner = block.setdefault(group, {})
            assert isinstance(inner, dict)
            block = inner
        block[last] = value
    yield from _nested(tree, "")


def _nested(block: Mapping[str, object], indent: str) -> Iterator[str]:
    for name, value in block.items():
        word = name if _BARE.fullmatch(name) else quoted(name)
        if isinstance(value, dict):
            yield f"{indent}{word} {{"
            yield from _nested(value, indent + "  ")
            yield f"{indent}}}"
        else:
            yield f"{indent}{word} = {value}"


_BARE = re.compile(r"[A-Za-z0-9_-]+")
