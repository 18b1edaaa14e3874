"""The key=value files of NanoMQ 0.11 to 0.13, since 0.14 given with `--old_conf` → the raw tree.

One `key=value` a line; a line that begins with `#` is a comment; quotes are a part of the value; later lines win. The
names are in `schema.KEY_VALUE`. An empty value counts as not given, and a secure WebSocket listener opens only where TLS
is on, for the shipped files name one with TLS off. Differs: WebSocket opens only where it is named; 0.11 had it on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from nanomq.config import discretion, hocon, schema
from nanomq.config.overlay import UNKNOWN, nearest
from nanomq.config.tree import Place, Raw, merge
from nanomq.errors import Problem


class Line(NamedTuple):
    """One setting; `place` is that of its value. Without a `key` the line was not understood."""

    key: str
    value: str
    place: Place


def is_keyvalue(text: str) -> bool:
    """Whether a text is in this format, and not HOCON: it has a name of its own and none of HOCON's blocks."""
    found = False
    for line in lines(text, ""):
        first, _, rest = line.key.partition(".")
        if not line.key or first in _HOCON_BLOCKS or line.value.startswith("[") or line.value.endswith(("{", "[")):
            return False
        if first == "auth" and not _USER.fullmatch(line.key) and not rest.startswith("http."):
            return False
        found = found or (is_known(line.key) and not line.key.startswith(_BOTH))
    return found


def is_known(name: str) -> bool:
    """Whether this format has a key, with effect here or in a later release."""
    return name in schema.KEY_VALUE or bool(_USER.fullmatch(name)) or name.startswith(schema.KEY_VALUE_LATER)


def lines(text: str, name: str) -> Iterator[Line]:
    """The settings of a text in order."""
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        key, equals, value = line.partition("=")
        column = len(key) + 2 + len(value) - len(value.lstrip()) if equals else 1
        place = Place(name, number, column)
        is_key = equals and _KEY.fullmatch(key.strip())
        yield Line(key.strip(), value.strip(), place) if is_key else Line("", "", Place(name, number, 1))


def parse(text: str, name: str, warnings: list[Problem], *, is_main: bool = True) -> Raw:
    """Text → tree. `is_main` is false for a file of one feature (`--auth FILE`), which says nothing about listeners."""
    reader = _Reader(name, warnings)
    for line in lines(text, name):
        reader.take(line)
    reader.users()
    if is_main:
        reader.listeners()
    return Raw(reader.tree, Place(name, 1, 1))


class _Reader:
    def __init__(self, name: str, warnings: list[Problem]) -> None:
        self.name, self.warnings = name, warnings
        self.tree: dict[str, Raw] = {}
        self.given: dict[str, Line] = {}
        self.accounts: dict[int, dict[str, Line]] = {}
        self.later: set[str] = set()

    def take(self, line: Line) -> None:
        if not line.key:
            hint = "write `key=value`, or begin the line with `#`"
            self.warnings.append(
                Problem("", str(line.place), "the line is not a setting and is ignored", hint, UNKNOWN)
            )
        elif match := _USER.fullmatch(line.key):
            self.accounts.setdefault(int(match[1]), {})[match[2]] = line
        elif path := schema.KEY_VALUE.get(line.key):
            if line.value:
                self.given[line.key] = line
                merge(self.tree, path.split("."), self.value(line))
        else:
            self.without_effect(line)

    def value(self, line: Line) -> Raw:
        if line.key == "log.to":
            words = [Raw(word.strip(), line.place) for word in line.value.split(",") if word.strip()]
            return Raw([*words], line.place, name=line.key)
        value = hocon.bare(line.value)
        if line.key == "max_packet_size" and isinstance(value, int) and not isinstance(value, bool):
            return Raw(value * 1024, line.place, f"{line.value}KB", loose=True, name=line.key)
        return Raw(value, line.place, line.value, loose=True, name=line.key)

    def without_effect(self, line: Line) -> None:
        block = next((block for block in schema.KEY_VALUE_LATER if line.key.startswith(block)), "")
        if not block:
            near = nearest(line.key, schema.KEY_VALUE, 0.6)
            hint = f"did you mean `{near}`" if near else "remove it"
            name, text = discretion.path(line.key), "is not a known key and is ignored"
            self.warnings.append(Problem(name, str(line.place), text, hint, UNKNOWN))
        elif block not in self.later:
            self.later.add(block)
            self.warnings.append(
                Problem(block.rstrip("._"), str(line.place), "is known and takes effect in a later release")
            )

    def users(self) -> None:
        for number, words in sorted(self.accounts.items()):
            if len(words) == 2 and words["login"].value:
                password = words["password"]
                raw = Raw(password.value, password.place, name=password.key)
                merge(self.tree, ("auth", "password", words["login"].value), raw)
            else:
                (line, *_) = words.values()
                missing = "login" if words.keys() != {"login"} else "password"
                text = f"is ignored, because `auth.{number}.{missing}` is missing"
                hint = f"write auth.{number}.{missing}=…"
                self.warnings.append(Problem(line.key, str(line.place), text, hint))

    def listeners(self) -> None:
        """TCP opens unless it is switched off, TLS if it is switched on, WebSocket if it is named."""
        start = Place(self.name, 1, 1)
        merge(self.tree, ("listeners", "tcp"), Raw({}, self.place("url", "enable") or start))
        tls = self.is_on("tls.enable", False)
        if place := self.place(*(name for name in schema.KEY_VALUE if name.startswith("tls."))):
            self.switch("ssl", tls, self.place("tls.enable") or place)
        websocket = self.is_on("websocket.enable", "websocket.url" in self.given)
        if place := self.place("websocket.enable", "websocket.url"):
            self.switch("ws", websocket, place)
        if place := self.place("websocket.tls_enable", "websocket.tls_url"):
            self.switch("wss", self.is_on("websocket.tls_enable", tls and websocket), place)

    def is_on(self, key: str, otherwise: bool) -> bool:
        line = self.given.get(key)
        return line.value.lower() in ("true", "yes", "on", "1") if line else otherwise

    def switch(self, transport: str, on: bool, place: Place) -> None:
        block = self.tree["listeners"].value
        assert isinstance(block, dict)
        listener = block.get(transport)
        if listener is None or not isinstance(listener.value, dict) or "enable" not in listener.value:
            merge(self.tree, ("listeners", transport, "enable"), Raw(on, place))

    def place(self, *keys: str) -> Place | None:
        return next((self.given[key].place for key in keys if key in self.given), None)


_KEY = re.compile(r"[A-Za-z_$][\w.${}*/-]*")
_USER = re.compile(r"auth\.(\d{1,6})\.(login|password)")
_HOCON_BLOCKS = frozenset({"listeners", "mqtt", "system", "bridges", "webhook", "rules", "preset", "plugin"})
_BOTH = ("log.", "sqlite.", "http_server.", "allow_anonymous")
"""Names that HOCON has with the same meaning; a file of these alone is read as HOCON."""
