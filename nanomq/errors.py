"""All exceptions of the package.

Each carries `code` (a stable word for programs), `hint` (what to do) and `place` (`file:line:column`
where a configuration is at fault). Python's own errors (`TypeError` for a wrong argument,
`asyncio.TimeoutError`) are not wrapped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


class NanomqError(Exception):
    """Base of every error of this package."""

    code: ClassVar[str] = "nanomq"

    def __init__(self, text: str, *, hint: str = "", place: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.hint = hint
        self.place = place

    def __str__(self) -> str:
        text = f"{self.place}: {self.text}" if self.place else self.text
        return f"{text}; {self.hint}" if self.hint else text


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault of a configuration: which key, where, what, and what to do. `code` is a word for programs, or empty."""

    path: str
    place: str
    text: str
    hint: str = ""
    code: str = ""

    def __str__(self) -> str:
        where = f" ({self.place})" if self.path and self.place else self.place
        text = f"{self.path}{where}: {self.text}" if self.path or where else self.text
        return f"{text}; {self.hint}" if self.hint else text


class ConfigError(NanomqError):
    """A configuration cannot be used. `problems` holds every fault found, `warnings` what else deserves a word."""

    code = "config"

    def __init__(self, problems: Sequence[Problem], warnings: Sequence[Problem] = ()) -> None:
        self.problems = list(problems)
        self.warnings = list(warnings)
        first = self.problems[0] if self.problems else Problem("", "", "the configuration cannot be used")
        super().__init__(first.text, hint=first.hint, place=first.place)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems) or self.text


class StartError(NanomqError):
    """The broker cannot start: an address is taken, a certificate cannot be read."""

    code = "start"


class NotRunning(NanomqError):
    """A call needs a running broker, or a connected client, and there is none."""

    code = "not_running"


class ClientError(NanomqError):
    """A client cannot do what was asked: no connection, refused, closed by the server."""

    code = "client"

    def __init__(self, text: str, *, reason: int = 0, hint: str = "", place: str = "") -> None:
        super().__init__(text, hint=hint, place=place)
        self.reason = reason


class ConnectError(ClientError):
    """The connection was not made, or the server answered CONNECT with an error (`reason`)."""

    code = "connect"


class Disconnected(ClientError):
    """The connection ended while an answer was awaited. `reason` is the code of the server's DISCONNECT, 0 if none."""

    code = "disconnected"


class PublishError(ClientError):
    """The server answered a PUBLISH with an error (`reason`)."""

    code = "publish"


class SubscribeError(ClientError):
    """The server refused a topic filter (`reason`)."""

    code = "subscribe"
