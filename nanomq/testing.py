"""Fixtures for pytest: a real broker in the test's process, clients, its clock, and cut connections.

The plugin loads by itself where this package and pytest are installed. A test asks for `broker`, `client`, `clock` or
`cut`; `@pytest.mark.broker(config={...})` gives the broker's configuration. The clock belongs to the broker:
`clock.advance(hours=24)` expires keepalives, sessions, wills and messages at once, so no test has to sleep.

    @pytest.mark.broker(config={"mqtt": {"max_qos": 1}})
    def test_alarm_is_retained(broker, client):
        async def scenario():
            async with client(client_id="panel") as panel:
                await panel.publish("alarm", b"on", qos=1, retain=True)
        asyncio.run(scenario())
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from nanomq.errors import NotRunning

if TYPE_CHECKING:
    from nanomq.broker import Broker
    from nanomq.client import Client

T = TypeVar("T")

Config = Mapping[str, Any] | str | Path | None

START_TIMEOUT_S = 30.0


class RunningBroker:
    """A broker on a thread of its own, for tests that are not asynchronous.

    **Arguments**: `config` as for `nanomq.Broker`; None is one TCP listener on a free port of 127.0.0.1.
    """

    def __init__(self, config: Config = None) -> None:
        self._config = config
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="nanomq-testing", daemon=True)
        self._broker: Broker | None = None

    def start(self) -> None:
        """Starts the broker; it listens when this returns. **Raises** what `Broker` raises."""
        from nanomq.broker import Broker

        async def start() -> Broker:
            broker = Broker(dict(self._config) if isinstance(self._config, Mapping) else self._config)
            await broker.__aenter__()
            return broker

        self._thread.start()
        try:
            self._broker = self._run(start())
        except BaseException:
            self._end_loop()
            raise

    def stop(self) -> None:
        """Stops the broker and its thread. Extra calls are harmless."""
        broker, self._broker = self._broker, None
        if broker is None:
            return
        try:
            self._run(broker.__aexit__(None, None, None))
        finally:
            self._end_loop()

    @property
    def broker(self) -> Broker:
        """The `nanomq.Broker` itself. **Raises** `NotRunning` before start and after stop."""
        if self._broker is None:
            raise NotRunning("the broker of this test does not run")
        return self._broker

    @property
    def url(self) -> str:
        """URL of the first TCP listener."""
        return str(self.broker.url)

    @property
    def urls(self) -> dict[str, str]:
        """Listener name → URL."""
        return dict(self.broker.urls)

    @property
    def port(self) -> int:
        """Port of the first TCP listener."""
        return int(self.broker.port)

    @property
    def clock(self) -> Clock:
        """The clock of this broker."""
        return Clock(self)

    def cut(self, client_id: str) -> bool:
        """Drops the network connection of a client as a broken cable would: no DISCONNECT. **Returns** whether it had one."""
        return bool(self.call("cut", client_id))

    def metrics(self) -> dict[str, int]:
        """The counters of the broker."""
        return dict(self.call("metrics"))

    def clients(self) -> list[Any]:
        """The sessions of the broker."""
        return list(self.call("clients"))

    def publish(self, topic: str, payload: bytes = b"", **options: Any) -> Any:
        """Publishes a message from the broker itself; the options are those of `Broker.publish`."""
        return self.call("publish", topic, payload, **options)

    def reload(self, config: Config) -> Any:
        """Replaces the configuration of the running broker."""
        return self.call("reload", config)

    def call(self, name: str, *arguments: Any, **options: Any) -> Any:
        """Calls a method of the broker on its own thread and waits for the answer."""

        async def call() -> Any:
            answer = getattr(self.broker, name)(*arguments, **options)
            return await answer if inspect.isawaitable(answer) else answer

        return self._run(call())

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(START_TIMEOUT_S)

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(START_TIMEOUT_S)
        self._loop.close()


class Clock:
    """The time of a test's broker, which only goes forward."""

    def __init__(self, broker: RunningBroker) -> None:
        self._broker = broker

    def advance(
        self, *, hours: float = 0.0, minutes: float = 0.0, seconds: float = 0.0, milliseconds: float = 0.0
    ) -> None:
        """Turns the clock. What became due has happened when this returns; what it sent may still be on its way."""
        total_s = hours * 3600 + minutes * 60 + seconds + milliseconds / 1000

        async def advance() -> None:
            self._broker.broker.clock.advance(seconds=total_s)

        self._broker._run(advance())


@contextmanager
def running(config: Config = None) -> Iterator[RunningBroker]:
    """A broker for the time of a `with` block."""
    broker = RunningBroker(config)
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


@pytest.fixture
def broker(request: pytest.FixtureRequest) -> Iterator[RunningBroker]:
    """A running broker of this test alone."""
    marker = request.node.get_closest_marker("broker")
    with running(marker.kwargs.get("config") if marker else None) as started:
        yield started


@pytest.fixture
def client(broker: RunningBroker) -> Callable[..., Client]:
    """Makes `nanomq.Client` objects for the broker: `async with client(client_id="a") as a: ...`."""
    from nanomq.client import Client

    def make(**options: Any) -> Client:
        return Client(options.pop("url", broker.url), **options)

    return make


@pytest.fixture
def clock(broker: RunningBroker) -> Clock:
    """The clock of the test's broker."""
    return broker.clock


@pytest.fixture
def cut(broker: RunningBroker) -> Callable[[str], bool]:
    """`cut(client_id)` drops a client's network connection."""
    return broker.cut


def pytest_configure(config: pytest.Config) -> None:
    """Declares the marker."""
    config.addinivalue_line(
        "markers", "broker(config): configuration of the `broker` fixture, a mapping, a path or HOCON text"
    )
