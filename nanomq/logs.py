"""Log lines: what the engine reports → console, file, syslog or a Unix socket, as text or JSON.

One event is one line: `YYYY-MM-DD HH:MM:SS [pid] LEVEL event key=value …`. A broker that is embedded only writes to
the logger `nanomq` and leaves its handlers to the program around it; `nanomq start` calls `configure`.
This is a file of its own because two rooms need it: `broker` makes events, `cli` decides where they go.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from nanomq.config import Effective
from nanomq.errors import ConfigError, Problem

TRACE = 5
LEVELS = {
    "trace": TRACE,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
}
logger = logging.getLogger("nanomq")


class Event:
    """One event with its fields; as text `event key=value …`. It is the `msg` of the log record."""

    __slots__ = ("fields", "name")

    def __init__(self, name: str, fields: Mapping[str, object]) -> None:
        self.name = name
        self.fields = fields

    def __str__(self) -> str:
        return " ".join((self.name, *(f"{key}={_quoted(str(value))}" for key, value in self.fields.items())))


def log(level: str, event: str, /, **fields: object) -> None:
    """Log one event."""
    number = LEVELS.get(level, logging.INFO)
    if logger.isEnabledFor(number):
        logger.log(number, Event(event, fields))


def configure(effective: Effective) -> None:
    """Send the lines of this process where `log.*` says, replacing what was set before.

    Raises `ConfigError` when a target cannot be opened; the targets before stay then.
    """
    formatter = _Json() if effective["log.format"] == "json" else _Text()
    targets = effective["log.to"]
    handlers: list[logging.Handler] = []
    try:
        for target in targets if isinstance(targets, list) else []:
            handlers.append(_handler(target, effective))
    except OSError as error:
        setting = effective.settings["log.file" if target == "file" else "log.to"]
        reason = f"{error.filename or ''} {error.strerror or error}".strip()
        text = f"the log target `{target}` cannot be opened: {reason}"
        hint = "a directory that ends in `/` is made when missing" if target == "file" else "remove the target"
        raise ConfigError([Problem(setting.key.path, setting.origin, text, hint)]) from None
    old = logger.handlers[:]
    for handler in handlers:
        handler.setFormatter(formatter)
        logger.addHandler(handler)
    for handler in old:
        logger.removeHandler(handler)
        handler.close()
    if not handlers:
        logger.addHandler(logging.NullHandler())
    logger.setLevel(LEVELS[str(effective["log.level"])])
    logger.propagate = False
    logging.raiseExceptions = False  # a full disk must not fill the console as well


def _handler(target: str, effective: Effective) -> logging.Handler:
    if target == "console":
        return logging.StreamHandler(sys.stderr)
    if target == "uds":
        return _UnixDatagrams(str(effective["log.uds_addr"]))
    from logging import handlers  # late: a start without these targets does not pay for them

    if target == "file":
        directory = str(effective["log.dir"])
        if directory.endswith("/"):
            Path(directory).mkdir(parents=True, exist_ok=True)
        size, count = effective["log.rotation.size"], effective["log.rotation.count"]
        return handlers.RotatingFileHandler(
            Path(directory) / str(effective["log.file"]),
            maxBytes=size if isinstance(size, int) else 0,
            backupCount=count if isinstance(count, int) else 0,
            encoding="utf-8",
        )
    syslog = handlers.SysLogHandler("/dev/log", handlers.SysLogHandler.LOG_DAEMON)
    syslog.ident = f"nanomq[{os.getpid()}]: "
    syslog.priority_map.setdefault("TRACE", "debug")
    return syslog


class _Text(logging.Formatter):
    """`2026-01-31 12:00:00 [123] INFO client_connected client_id=a`."""

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        line = f"{moment} [{record.process}] {_level(record)} {record.getMessage()}"
        return f"{line} error={_quoted(self.formatException(record.exc_info))}" if record.exc_info else line


class _Json(logging.Formatter):
    """`{"time": …, "pid": …, "level": …, "event": …, fields …}`; a field never replaces one of the four."""

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"
        event = record.msg if isinstance(record.msg, Event) else Event(record.getMessage(), {})
        document: dict[str, object] = {str(key): value for key, value in event.fields.items()}
        document |= {"time": moment, "pid": record.process, "level": _level(record).lower(), "event": event.name}
        if record.exc_info:
            document["error"] = self.formatException(record.exc_info)
        return json.dumps(document, ensure_ascii=False, default=str)


class _UnixDatagrams(logging.Handler):
    """Sends each line as one datagram; a reader that is away or full misses lines, the broker does not wait."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setblocking(False)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.socket.sendto(self.format(record).encode(), self.path)
        except OSError:
            self.handleError(record)

    def close(self) -> None:
        self.socket.close()
        super().close()


def _level(record: logging.LogRecord) -> str:
    return _NAMES.get(record.levelno, record.levelname)


def _quoted(text: str) -> str:
    """A value that a reader of `key=value` takes as one, and a terminal as text."""
    if text and text.isprintable() and not any(mark in text for mark in ' "=\\'):
        return text
    return json.dumps(text, ensure_ascii=not text.isprintable())


_NAMES = {number: name.upper() for name, number in LEVELS.items()}
logging.addLevelName(TRACE, "TRACE")
