"""JSON, TOML and YAML → the raw tree. The suffix of a file chooses them; keys and values are those of HOCON.

JSON and YAML know the line and column of each value. TOML knows those of a fault of the text only; a value gets the
line on which its key begins. YAML needs the extra `nanomq[yaml]`.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from typing import Any

from nanomq.config import hocon
from nanomq.config.tree import MAX_DEPTH, Place, Raw, RawValue, merge
from nanomq.errors import ConfigError, Problem


def parse(text: str, name: str, suffix: str) -> Raw:
    """Text → tree, in the format of a suffix such as `.json`. Raises `ConfigError` at the first fault of the text."""
    if suffix == ".json":
        return parse_json(text, name)
    return parse_toml(text, name) if suffix == ".toml" else parse_yaml(text, name)


def parse_json(text: str, name: str) -> Raw:
    """JSON → tree. Raises `ConfigError` at the first fault of the text."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise _fault(Place(name, error.lineno, error.colno), "JSON", error.msg, JSON_HINT) from None
    except (RecursionError, ValueError):  # too deep; a number of thousands of digits
        value = None
    if value is not None and not isinstance(value, dict):
        raise _fault(Place(name, 1, 1), "JSON", "the text is not a block", "write it as { … }")
    # JSON is a part of HOCON, whose parser knows the places
    return hocon.parse(text, name, lambda included, place, must_exist: {})


def parse_toml(text: str, name: str) -> Raw:
    """TOML → tree. Raises `ConfigError` at the first fault of the text."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        where = _TOML_PLACE.search(str(error))
        lines = text.split("\n")
        place = Place(name, int(where[1]), int(where[2])) if where else Place(name, len(lines), len(lines[-1]) + 1)
        words = _TOML_PLACE.sub("", str(error)).removesuffix(" (at end of document)")
        raise _fault(place, "TOML", words, TOML_HINT) from None
    except (RecursionError, ValueError):
        raise _fault(
            Place(name, 1, 1), "TOML", "blocks or lists are nested too deep, or a number is too long"
        ) from None
    return _from_toml(document, Place(name, 1, 1), _toml_lines(text, name), (), 0)


def parse_yaml(text: str, name: str) -> Raw:
    """YAML → tree; only plain data, no tags. Raises `ConfigError` at the first fault, or without the extra."""
    try:
        import yaml
    except ImportError:
        hint = "run `pip install 'nanomq[yaml]'`, or write the file as HOCON, TOML or JSON"
        raise ConfigError([Problem("", name, "YAML files need the extra `nanomq[yaml]`", hint)]) from None
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(name, mark.line + 1, mark.column + 1) if mark else Place(name, 1, 1)
        words = error.problem or "it cannot be read"
        words = "something else is expected here" if words.startswith("expected") else words
        raise _fault(place, "YAML", words, YAML_HINT) from None
    except yaml.YAMLError as error:  # a character that no YAML text may hold
        before = text[: getattr(error, "position", 0)]
        place = Place(name, before.count("\n") + 1, len(before) - before.rfind("\n"))
        raise _fault(place, "YAML", "a control character is not allowed", "remove it") from None
    except (RecursionError, ValueError):
        raise _fault(Place(name, 1, 1), "YAML", "blocks or lists are nested too deep") from None
    if node is None:
        return Raw({}, Place(name, 1, 1))
    return _YamlTree(name).block_or_value(node, 0)


def _from_toml(value: object, place: Place, lines: Mapping[tuple[str, ...], Place], path: tuple[str, ...], depth: int) -> Raw:  # fmt: skip
    if depth > MAX_DEPTH:
        raise _fault(place, "TOML", f"blocks or lists are nested more than {MAX_DEPTH} deep")
    if isinstance(value, dict):
        block: dict[str, Raw] = {}
        for key, item in value.items():
            below = (*path, key)
            block[key] = _from_toml(item, lines.get(below, place), lines, below, depth + 1)
        return Raw(block, place)
    if isinstance(value, list):
        return Raw([_from_toml(item, place, lines, (*path, str(n)), depth + 1) for n, item in enumerate(value)], place)
    return Raw(value if isinstance(value, (str, int, float, bool)) else str(value), place)


def _toml_lines(text: str, name: str) -> dict[tuple[str, ...], Place]:
    """Where each key begins. `tomllib` does not tell; a key is at the start of a line, below the last `[table]`."""
    found: dict[tuple[str, ...], Place] = {}
    table: tuple[str, ...] = ()
    counted: dict[tuple[str, ...], int] = {}
    for number, line in enumerate(text.split("\n"), 1):
        head = _TOML_HEAD.match(line)
        if head is None or len(line) > MAX_LINE:
            continue
        segments = _toml_segments(head["table"] or head["key"])
        if not segments:
            continue
        place = Place(name, number, len(line) - len(line.lstrip()) + 1)
        if head["table"]:
            table = segments
            if head["list"]:
                counted[segments] = counted.get(segments, -1) + 1
                table = (*segments, str(counted[segments]))
            segments = ()
        for length in range(1, len(table) + len(segments) + 1):
            found.setdefault((*table, *segments)[:length], place)
    return found


def _toml_segments(key: str) -> tuple[str, ...]:
    try:
        step: Any = tomllib.loads(f"{key} = 0")
    except (tomllib.TOMLDecodeError, RecursionError):
        return ()
    segments = []
    while isinstance(step, dict):
        (segment, step), *_ = step.items()
        segments.append(segment)
    return tuple(segments)


class _YamlTree:
    """Nodes of PyYAML → tree."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.count = 0

    def block_or_value(self, node: Any, depth: int) -> Raw:
        place = Place(self.name, node.start_mark.line + 1, node.start_mark.column + 1)
        self.count += 1
        if depth > MAX_DEPTH or self.count > MAX_NODES:  # a name may stand for a block that holds it many times
            raise _fault(place, "YAML", "blocks or lists are nested too deep, or repeated too often")
        if node.id == "mapping":
            block: dict[str, Raw] = {}
            for key, item in node.value:
                raw = self.block_or_value(item, depth + 1)
                if key.id != "scalar":
                    raise _fault(place, "YAML", "a key is a block or a list", "write a word as the key")
                if key.tag.endswith(":merge") and isinstance(raw.value, dict):
                    for word, inherited in raw.value.items():
                        block.setdefault(word, inherited)
                    continue
                dotted = key.value.split(".") if key.style is None else [key.value]
                if not all(dotted):
                    raise _fault(place, "YAML", "a key has an empty part", "remove the extra dot")
                merge(block, dotted, raw)
            return Raw(block, place)
        if node.id == "sequence":
            return Raw([self.block_or_value(item, depth + 1) for item in node.value], place)
        return Raw(self.scalar(node), place, written=node.value if node.style is None else "")

    def scalar(self, node: Any) -> RawValue:
        kind = node.tag.rpartition(":")[2]
        if node.style is not None or kind == "str":
            return str(node.value)
        if kind == "bool":
            return _YAML_WORDS.get(node.value.lower(), str(node.value))  # `on` stays a word, as in HOCON
        if kind == "null":
            return None
        return hocon.bare(node.value)


def _fault(place: Place, language: str, words: str, hint: str = "write simpler ones") -> ConfigError:
    words = _QUOTED.sub("", words).strip().rstrip(".,:")  # what stands in the file may be a secret
    text = words[:1].lower() + words[1:] if words[1:2].islower() else words
    return ConfigError([Problem("", str(place), f"not {language}: {text}", hint)])


MAX_NODES = 100_000
MAX_LINE = 10_000
JSON_HINT = "names and texts need double quotes, and a comma stands between two members, but not after the last"
TOML_HINT = "write `key = value` below a line `[block]`; texts need quotes, and a key is written once"
YAML_HINT = "check the indent and the colon; a text with special characters needs quotes"

_QUOTED = re.compile(r"""\s*(?:'[^']*'|"[^"]*"|\([^()]*\)|<[^<>]*>)""")
_TOML_PLACE = re.compile(r"\s*\(at line (\d+), column (\d+)\)")
_TOML_HEAD = re.compile(
    r"""\s*(?:\[(?P<list>\[)?(?P<table>[^\[\]\n]+)\]|(?P<key>(?:[\w. \t-]|"[^"\n]*"|'[^'\n]*')+)=)"""
)
_YAML_WORDS: dict[str, bool | None] = {"true": True, "false": False}
