"""Broker: an engine built from a configuration. Start it, reload it, stop it; embed it anywhere asyncio runs.

The engine has its own threads and never waits for Python. What it reports arrives in batches through a file descriptor
and goes to the logger `nanomq`, one line an event.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias

from nanomq import logs
from nanomq.config import Address, Effective, from_dict, load
from nanomq.errors import NotRunning, StartError

if TYPE_CHECKING:
    from nanomq._core import Engine

Configuration: TypeAlias = Effective | Mapping[str, object] | str | Path | None
"""A loaded configuration, data in the shape of the file, the path of a file, or None for all defaults."""


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What a reload did, as paths of keys or listeners with a word where needed."""

    applied: list[str] = field(default_factory=list)
    needs_restart: list[str] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Clock:
    """The broker's clock, which tests can turn forward."""

    _broker: Broker

    def advance(
        self, *, hours: float = 0.0, minutes: float = 0.0, seconds: float = 0.0, milliseconds: float = 0.0
    ) -> None:
        """Let time pass at once. When it returns, everything due has expired: keepalives, sessions, wills, messages."""
        self._broker.engine.advance(hours * 3600 + minutes * 60 + seconds + milliseconds / 1000)


class Broker:
    """An MQTT broker in this process.

    `config` is a loaded configuration, data in the shape of the configuration file (nested or with dotted keys), or the
    path of a file, to which the environment applies as well. Without listeners in the data, or without `config`, one
    TCP listener opens on a free port of 127.0.0.1; `"127.0.0.1:0"` asks for a free port in any listener.

    Raises `ConfigError` for a configuration that cannot be used; starting raises `StartError`.

        async with Broker() as broker:
            async with Client(broker.url) as client:
                await client.publish("a/b", b"hello")
    """

    def __init__(self, config: Configuration = None) -> None:
        self.config = _load(config)
        self.listeners: list[dict[str, str]] = []
        """The open listeners: `name`, `kind` and `address`, with the port that the system chose."""
        self.clock = Clock(self)
        self._started_with = self.config
        self._engine: Engine | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def start(self) -> None:
        """Open the listeners; when it returns, clients can connect. Raises `StartError`."""
        if self._engine is not None:
            return
        from nanomq._core import Engine  # late: reading a configuration needs no engine

        loop = asyncio.get_running_loop()
        try:
            engine = Engine(self.config.engine_settings())
            opened = await loop.run_in_executor(None, engine.start)
        except (OSError, RuntimeError, ValueError) as error:
            raise StartError(f"the broker cannot start: {error}") from error
        self._engine, self._loop = engine, loop
        self.listeners = json.loads(opened)
        self._started_with = self.config
        loop.add_reader(engine.events_fd(), self._log_events)
        self._log_events()
        for item in self.listeners:
            logs.log("info", "listening", listener=item["name"], kind=item["kind"], address=item["address"])

    async def stop(self, timeout: float = 5.0) -> None:
        """Close all connections (v5 clients get DISCONNECT 0x8B) and listeners, within `timeout` seconds."""
        engine, loop = self._engine, self._loop
        if engine is None or loop is None:
            return
        loop.remove_reader(engine.events_fd())
        await loop.run_in_executor(None, engine.stop, timeout)
        self._log_events()
        self._engine = self._loop = None
        self.listeners = []
        logs.log("info", "stopped")

    async def __aenter__(self) -> Broker:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def reload(self, config: Configuration = None) -> Reloaded:
        """Apply another configuration without a restart; None reads the file again that the broker was made from.

        Raises `ConfigError` and changes nothing when the configuration cannot be used.
        """
        engine = self.engine
        loop = asyncio.get_running_loop()
        source = config if config is not None else self.config.file
        if source is None:
            return Reloaded()
        new = await loop.run_in_executor(None, _load, source)
        answer = json.loads(await loop.run_in_executor(None, engine.reload, new.engine_settings()))
        restart = sorted({*answer.get("needs_restart", []), *self._started_with.needs_restart(new)})
        self.config = new
        self.listeners = json.loads(engine.listeners())
        return Reloaded(answer.get("applied", []), restart, answer.get("rejected", []))

    @property
    def engine(self) -> Engine:
        """The compiled half. Raises `NotRunning` before `start` and after `stop`."""
        if self._engine is None:
            raise NotRunning("the broker is not running", hint="start it, or use `async with Broker(…)`")
        return self._engine

    @property
    def urls(self) -> dict[str, str]:
        """Listener name → url at which a client on this machine reaches it."""
        paths = {item.name: item.address.path for item in self.config.listeners if isinstance(item.address, Address)}
        return {
            item["name"]: _url(item["kind"], item["address"], paths.get(item["name"], "")) for item in self.listeners
        }

    @property
    def url(self) -> str:
        """The url of the first plain TCP listener, else of the first listener."""
        return self._first("url")

    @property
    def port(self) -> int:
        """The port of the first plain TCP listener, else of the first listener."""
        return int(self._first("port"))

    def metrics(self) -> dict[str, int]:
        """All counters and gauges by name."""
        return self.engine.metrics()

    def clients(self) -> list[dict[str, Any]]:
        """The sessions, connected or not."""
        clients: list[dict[str, Any]] = json.loads(self.engine.clients())
        return clients

    def cut(self, client_id: str) -> bool:
        """Drop a client's connection as a broken network would, without DISCONNECT. False if it has none."""
        return self.engine.cut(client_id)

    def kick(self, client_id: str, reason: int = 0x98) -> bool:
        """Disconnect a client with a reason code (0x98: administrative action). False if it has no connection."""
        return self.engine.kick(client_id, reason)

    async def publish(
        self, topic: str, payload: bytes | str = b"", *, qos: int = 0, retain: bool = False, properties: bytes = b""
    ) -> int:
        """Publish as the broker itself, and return to how many sessions the message was addressed.

        `properties` are encoded PUBLISH properties without their length. Raises `ValueError` for a topic name, a QoS or
        properties that the standard does not allow.
        """
        data = payload.encode() if isinstance(payload, str) else payload
        engine = self.engine
        return await asyncio.get_running_loop().run_in_executor(
            None, engine.publish, topic, data, qos, retain, properties
        )

    def _first(self, what: str) -> str:
        if not self.listeners:
            raise NotRunning("the broker has no open listener", hint="start it, or configure a listener")
        item = next((item for item in self.listeners if item["kind"] == "tcp"), self.listeners[0])
        return self.urls[item["name"]] if what == "url" else item["address"].rpartition(":")[2]

    def _log_events(self) -> None:
        if self._engine is not None:
            for level, event, fields in self._engine.drain_events():
                logs.log(level, event, **fields)


def _load(config: Configuration) -> Effective:
    if isinstance(config, Effective):
        return config
    if isinstance(config, (str, Path)):
        return load(config, env=os.environ)
    return from_dict(config or {}, bind=Address("127.0.0.1", 0))


def _url(kind: str, address: str, path: str) -> str:
    if kind == "unix":
        return f"unix://{address}"
    host, _, port = address.rpartition(":")
    host = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)
    scheme = {"tcp": "mqtt", "tls": "mqtts"}.get(kind, kind)
    return f"{scheme}://{host}:{port}" + ((path or "/mqtt") if kind in ("ws", "wss") else "")
