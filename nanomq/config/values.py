"""The kinds of values: text or number of a configuration → the value the program works with.

A kind knows what it accepts and how to say what is expected. Sizes become bytes, times seconds (or milliseconds for
`time_ms`), addresses a checked `host:port` with an optional path. Numbers may be 0 and times may be bare numbers
(differs: NanoMQ ignores both), `500ms` is half a second (differs: NanoMQ takes it for minutes).
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

from nanomq.config import discretion

if TYPE_CHECKING:
    from nanomq.config.schema import Key
    from nanomq.config.tree import Raw

Kind = Literal[
    "int", "float", "bool", "size", "time", "time_ms", "enum", "enums", "address", "text", "path", "texts",
    "certificates",
]  # fmt: skip


Number = TypeVar("Number", int, float)


class Wrong(Exception):
    """A value is not what its key expects. `expected` and `write` are shown to the user."""

    def __init__(self, expected: str, write: str = "", *, raw: Raw | None = None, path: str = "") -> None:
        super().__init__(expected)
        self.expected = expected
        self.write = write
        self.raw = raw
        self.path = path


class Address(NamedTuple):
    """A place to listen at. `port` 0 lets the system choose; `path` is only used by WebSocket listeners."""

    host: str
    port: int
    path: str = ""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def read(key: Key, raw: Raw) -> object:
    """Check and convert one value. Raises `Wrong` with what is expected."""
    return _READERS[key.kind](key, raw)


def show(key: Key, value: object) -> str:
    """A value the way a user would write it in a file."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Address):
        return f"{value}{value.path}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(show(key, item) for item in value) + "]"
    if isinstance(value, (int, float)):
        if key.kind == "size":
            return _with_unit(value, (("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10)), "B")
        if key.kind == "time":
            return _with_unit(value, (("d", 86400), ("h", 3600), ("m", 60)), "s")
        if key.kind == "time_ms":
            return _with_unit(value, (("h", 3_600_000), ("m", 60_000), ("s", 1000)), "ms")
    return str(value)


def _int(key: Key, raw: Raw) -> int:
    value = raw.value
    if isinstance(value, str) and _INT.fullmatch(value.strip()):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise Wrong(f"a whole number{_range(key)}", _example(key))
    return _in_range(key, value)


def _float(key: Key, raw: Raw) -> float:
    value = raw.value
    if isinstance(value, str) and _FLOAT.fullmatch(value.strip()):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Wrong(f"a number{_range(key)}", _example(key))
    return _in_range(key, float(value))


def _bool(key: Key, raw: Raw) -> bool:
    value = raw.value
    if isinstance(value, bool):
        return value
    word = value.strip().lower() if isinstance(value, str) else ""
    if word in ("true", "false"):
        return word == "true"
    if word in _YES or word in _NO or value in (0, 1):
        means = word in _YES or value == 1
        if raw.loose:
            return means
        raise Wrong("`true` or `false`", "true" if means else "false")
    raise Wrong("`true` or `false`", _example(key))


def _size(key: Key, raw: Raw) -> int:
    value = raw.value
    if isinstance(value, str) and (match := _QUANTITY.fullmatch(value.strip())):
        unit = _SIZE_UNITS.get(match[2].lower())
        if unit is None:
            raise Wrong("a number of bytes, or a number with `B`, `KB`, `MB` or `GB`", f"{match[1]}MB")
        value = int(float(match[1]) * unit)
    if isinstance(value, bool) or not isinstance(value, int):
        raise Wrong(f"a size{_range(key)} such as `512`, `64KB` or `10MB`", _example(key))
    return _in_range(key, value)


def _time(key: Key, raw: Raw) -> float | int:
    return _duration(key, raw, _SECONDS, "`ms`, `s`, `m`, `h` or `d`")


def _time_ms(key: Key, raw: Raw) -> float | int:
    return _duration(key, raw, _MILLISECONDS, "`ms`, `s`, `m`, `h` or `d`")


def _duration(key: Key, raw: Raw, units: dict[str, float], names: str) -> float | int:
    value = raw.value
    if isinstance(value, str) and (match := _QUANTITY.fullmatch(value.strip())):
        unit = units.get(match[2].lower())
        if unit is None:
            raise Wrong(f"a time with {names}", f"{match[1]}s")
        value = float(match[1]) * unit
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Wrong(f"a time{_range(key)} such as `500ms`, `10s` or `2h`", _example(key))
    value = _in_range(key, value)
    if key.whole and not float(value).is_integer():
        raise Wrong("whole seconds", f"{math.ceil(value)}s")
    return int(value) if float(value).is_integer() else value


def _enum(key: Key, raw: Raw) -> str:
    word = _word(raw)
    for choice in key.choices:
        if word is not None and word.lower() in (choice, *_SAME_AS.get(choice, ())):
            return choice
    raise Wrong(_one_of(key), _nearest(word, key.choices) or _example(key))


def _enums(key: Key, raw: Raw) -> list[str]:
    items = raw.value if isinstance(raw.value, list) else [raw]
    if raw.loose and isinstance(raw.value, str):  # NANOMQ_LOG_TO: any of the words, any separator
        return [choice for choice in key.choices if choice in raw.value.lower()]
    chosen: list[str] = []
    for item in items:
        word = _enum(key, item)
        if word not in chosen:
            chosen.append(word)
    return chosen


def _address(key: Key, raw: Raw) -> Address:
    example = str(key.default) if key.default is not None else "0.0.0.0:1883"
    value = raw.value
    if isinstance(value, int) and not isinstance(value, bool):
        value = f"0.0.0.0:{value}"
    if not isinstance(value, str):
        raise Wrong("an address `host:port`", example)
    text = value.strip()
    if match := _SCHEME.match(text):
        if match[1].lower() not in key.choices:
            rest = text[match.end() :]
            scheme = f" without `{match[0]}`" if discretion.is_plain_name(match[1]) else " without another scheme"
            raise Wrong(f"an address `host:port`{scheme}", rest if discretion.is_plain_value(rest) else example)
        text = text[match.end() :]
    match = _HOST_PORT.fullmatch(text)
    if match is None:
        if _HOST_ONLY.fullmatch(text) and discretion.is_plain_value(text):
            raise Wrong("an address `host:port`", f"{text}:{example.rsplit(':', 1)[-1]}")
        raise Wrong("an address `host:port`; IPv6 in brackets", example)
    host, port, path = match[1].strip("[]"), int(match[2]), match[3] or ""
    if port > 65535:
        raise Wrong("a port from 0 to 65535", example)
    if "[" in match[1] or _LOOKS_LIKE_IPV4.fullmatch(host):
        try:
            ipaddress.ip_address(host)
        except ValueError:
            raise Wrong("a valid IP address", example) from None
    return Address("0.0.0.0" if host in ("", "*") else host, port, path)


def _text(key: Key, raw: Raw) -> str:
    word = _word(raw)
    if word is None:
        raise Wrong("a text", f'"{_example(key) or "…"}"')
    if "\0" in word:
        raise Wrong("a text without the NUL character")
    return word


def _path(key: Key, raw: Raw) -> str:
    if not isinstance(raw.value, str):
        raise Wrong("a path", '"/etc/…"')
    return _text(key, raw)


def _texts(key: Key, raw: Raw) -> dict[str, str]:
    if not isinstance(raw.value, dict):
        raise Wrong("a block of `name: text` pairs", '{ "name": "text" }')
    texts: dict[str, str] = {}
    for name, item in flatten(raw.value):
        try:
            texts[name] = _text(key, item)
        except Wrong as wrong:
            raise Wrong(wrong.expected, wrong.write, raw=item, path=name) from None
    return texts


def flatten(block: dict[str, Raw], prefix: str = "") -> list[tuple[str, Raw]]:
    """The values of a block of names, where an unquoted dot in a name had made a block (`a.b: "secret"`)."""
    found: list[tuple[str, Raw]] = []
    for name, item in block.items():
        if isinstance(item.value, dict):
            found += flatten(item.value, f"{prefix}{name}.")
        else:
            found.append((prefix + name, item))
    return found


def _certificates(key: Key, raw: Raw) -> list[dict[str, str]]:
    write = '[{ certfile = "/etc/a.pem", keyfile = "/etc/a.key" }]'
    if not isinstance(raw.value, list):
        raise Wrong("a list of certificates", write)
    certificates: list[dict[str, str]] = []
    for index, item in enumerate(raw.value):
        block = item.value
        where = f"[{index}]"
        if not isinstance(block, dict):
            raise Wrong("a block with `certfile` and `keyfile`", write, raw=item, path=where)
        certificate: dict[str, str] = {}
        for name, part in block.items():
            if name not in ("certfile", "keyfile", "key_password"):
                raise Wrong("`certfile`, `keyfile` or `key_password`", write, raw=part, path=f"{where}.{name}")
            try:
                certificate[name] = _text(key, part)
            except Wrong as wrong:
                raise Wrong(wrong.expected, wrong.write, raw=part, path=f"{where}.{name}") from None
        if not certificate.get("certfile") or not certificate.get("keyfile"):
            raise Wrong("both `certfile` and `keyfile`", write, raw=item, path=where)
        certificates.append(certificate)
    return certificates


def _word(raw: Raw) -> str | None:
    """A scalar as text: a bare `1.2` or `0123` is what was written, not the number."""
    if isinstance(raw.value, str):
        return raw.value
    if isinstance(raw.value, (bool, int, float)):
        return raw.written or (str(raw.value).lower() if isinstance(raw.value, bool) else str(raw.value))
    return None


def _in_range(key: Key, value: Number) -> Number:
    too_low = key.low is not None and (value < key.low or (key.above and value == key.low))
    if too_low or (key.high is not None and value > key.high) or not math.isfinite(value):
        raise Wrong(f"a value{_range(key)}", _example(key))
    return value


def _range(key: Key) -> str:
    low = None if key.low is None else show(key, key.low)
    high = None if key.high is None else show(key, key.high)
    if low is None:
        return ""
    if key.above:
        return f" above {low}" if high is None else f" above {low}, at most {high}"
    return f" of {low} or more" if high is None else f" from {low} to {high}"


def _example(key: Key) -> str:
    return "" if key.default in (None, "") else show(key, key.default)


def _one_of(key: Key) -> str:
    return "one of " + ", ".join(f"`{choice}`" for choice in key.choices)


def _nearest(word: str | None, choices: tuple[str, ...]) -> str:
    from difflib import get_close_matches

    return next(iter(get_close_matches(word or "", choices, 1)), "")


def _with_unit(value: float, units: tuple[tuple[str, int], ...], smallest: str) -> str:
    for name, factor in units:
        if value and value % factor == 0:
            return f"{int(value) // factor}{name}"
    return f"{value}{smallest}" if value else "0"


_READERS: dict[Kind, Callable[[Key, Raw], object]] = {
    "int": _int,
    "float": _float,
    "bool": _bool,
    "size": _size,
    "time": _time,
    "time_ms": _time_ms,
    "enum": _enum,
    "enums": _enums,
    "address": _address,
    "text": _text,
    "path": _path,
    "texts": _texts,
    "certificates": _certificates,
}
_INT = re.compile(r"[+-]?\d{1,18}")
_FLOAT = re.compile(r"[+-]?(\d{1,18}(\.\d{0,18})?|\.\d{1,18})")
_QUANTITY = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)\s*([A-Za-z]*)")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_HOST_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]*|\*):(\d{1,5})(/[!-~]*)?")
_HOST_ONLY = re.compile(r"[A-Za-z0-9_.-]+")
_LOOKS_LIKE_IPV4 = re.compile(r"[0-9.]+")
_YES = ("yes", "on", "1")
_NO = ("no", "off", "0", "")
_SAME_AS = {"1.2": ("tlsv1.2", "tls1.2"), "1.3": ("tlsv1.3", "tls1.3"), "warn": ("warning",), "fatal": ("critical",)}
_SIZE_UNITS = {"": 1, "b": 1} | {
    letter + end: 1024**power for power, letter in enumerate("kmg", 1) for end in ("", "b", "ib")
}
_SECONDS = (
    {"": 1, "ms": 0.001}
    | dict.fromkeys(("s", "sec", "second", "seconds"), 1)
    | dict.fromkeys(("m", "min", "minute", "minutes"), 60)
    | dict.fromkeys(("h", "hour", "hours"), 3600)
    | dict.fromkeys(("d", "day", "days"), 86400)
)
_MILLISECONDS = {name: 1 if name in ("", "ms") else factor * 1000 for name, factor in _SECONDS.items()}
