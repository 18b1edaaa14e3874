"""Configuration of another broker, or of an older NanoMQ → our HOCON, with a comment for each line without counterpart.

What comes out always loads: a value that our key does not take becomes a comment, and a listener whose certificates are
not on this machine is written as closed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nanomq.config import emqx, formats, hocon, keyvalue, mosquitto, schema
from nanomq.config.draft import Draft
from nanomq.config.load import Effective, load
from nanomq.config.tree import Place, Raw
from nanomq.errors import ConfigError, Problem

Kind = Literal["mosquitto", "emqx", "nanomq"]


@dataclass(frozen=True, slots=True)
class Converted:
    """The HOCON text; how many values it sets, how many lines became comments; what loading it says."""

    text: str
    kind: Kind
    values: int
    notes: list[str]
    effective: Effective


def convert(path: Path, target: Path | None, env: Mapping[str, str], kind: Kind | None = None) -> Converted:
    """Convert a file; `target` is where the text will lie, for relative paths in it. Raises `ConfigError`."""
    text = formats.read_content(path)
    kind = kind or _kind(text, path)
    draft = Draft(path.name)
    if kind == "mosquitto":
        mosquitto.convert(text, draft)
    elif kind == "nanomq" and keyvalue.is_keyvalue(text):
        _key_values(text, draft)
    else:
        root = formats.read_file(path, [], env)
        assert isinstance(root.value, dict)
        if kind == "emqx":
            emqx.convert(root.value, draft)
        else:
            _names(root.value, draft, "", "")
    effective = _settle(draft, target or path.parent / "stdout")
    return Converted(draft.text(), kind, len(draft.values), draft.notes, effective)


def _kind(text: str, path: Path) -> Kind:
    if mosquitto.is_mosquitto(text):
        return "mosquitto"
    if path.suffix.lower() in formats.SUFFIXES or keyvalue.is_keyvalue(text):
        return "nanomq"
    root = hocon.parse(text, str(path), lambda name, place, must_exist: {})
    return "emqx" if isinstance(root.value, dict) and emqx.is_emqx(root.value) else "nanomq"


def _key_values(text: str, draft: Draft) -> None:
    """The key=value lines of NanoMQ 0.11."""
    warnings: list[Problem] = []
    tree = keyvalue.parse(text, draft.name, warnings).value
    assert isinstance(tree, dict)
    _names(tree, draft, "", "")
    if not any(path.startswith("listeners.tcp.") for path in draft.values):
        draft.set("listeners.tcp.bind", "0.0.0.0:1883", Place(draft.name, 1, 1))
    for line in keyvalue.lines(text, draft.name):
        if not line.key:
            draft.note(line.place, "a line that is no setting", "it has no `=`")
        elif not keyvalue.is_known(line.key):
            draft.note(line.place, line.key, "not a known key")
        elif line.key.startswith(schema.KEY_VALUE_LATER):
            draft.note(line.place, line.key, "takes effect in a later release")
        elif not line.value:
            draft.note(line.place, line.key, "has no value")
    for warning in warnings:
        if "is missing" in warning.text:
            draft.note_at(warning.place, warning.path, warning.text)


def _names(block: Mapping[str, Raw], draft: Draft, prefix: str, named: str) -> None:
    """The HOCON of any NanoMQ: old names become new ones. `named` is the path of a named listener."""
    table, old = schema.table(), schema.old_names()
    for word, raw in block.items():
        path = prefix + word
        key = table.get(path) or old.get(path)
        if key is not None:
            value = raw
            if path.endswith("keepalive_backoff") and isinstance(raw.value, (int, float)) and raw.value >= 100:
                value = Raw(raw.value / 1000, raw.place)
            target = f"{named}.{key.path.rpartition('.')[2]}" if named else key.path
            if path in table or target not in draft.values:
                draft.set(target, value, raw.place, raw.name or path)
        elif isinstance(raw.value, dict) and _LISTENER.fullmatch(path) and not named:
            _names(raw.value, draft, path.rpartition(".")[0] + ".", path)
        elif isinstance(raw.value, dict):
            _names(raw.value, draft, f"{path}.", named)
        else:
            is_later = any(path.startswith(f"{later}.") or path == later for later in schema.LATER)
            draft.note(
                raw.place, raw.name or path, "takes effect in a later release" if is_later else "not a known key"
            )


def _settle(draft: Draft, target: Path) -> Effective:
    """Load the draft as it stands; what hinders becomes a comment."""
    for _ in range(1000):
        try:
            return load(target, text=draft.text())
        except ConfigError as error:
            problem = error.problems[0]
            listener = next((path for path in draft.listeners() if problem.path.startswith(f"{path}.")), "")
            if listener and draft.values.get(f"{listener}.enable") != "false":
                draft.values[f"{listener}.enable"] = "false"
                draft.note_at(
                    "", f"{listener} is closed", f"{problem.path} {problem.text}; then remove its `enable = false`"
                )
            elif problem.path in draft.values:
                del draft.values[problem.path]
                draft.note_at(problem.place, problem.path, problem.text)
            else:
                raise
    raise ConfigError([Problem("", draft.name, "the file cannot be converted", "convert its parts one by one")])


_LISTENER = re.compile(r"listeners\.(?:tcp|ssl|ws|wss|unix)\.[^.]+")
