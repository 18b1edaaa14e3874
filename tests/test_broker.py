"""Broker, embedded in a program: free ports, urls, reload, log lines, errors."""

from __future__ import annotations

import asyncio
import logging
import socket
from pathlib import Path
from typing import Any

import pytest

from nanomq import Broker
from nanomq.config import from_dict
from nanomq.errors import ConfigError, NotRunning, StartError

FREE: dict[str, Any] = {"listeners": {"tcp": {"bind": "127.0.0.1:0"}}}


def test_broker_without_configuration_opens_one_free_port_on_loopback() -> None:
    async def scenario() -> None:
        async with Broker() as broker:
            assert [item["name"] for item in broker.listeners] == ["tcp"]
            assert broker.url == f"mqtt://127.0.0.1:{broker.port}"
            socket.create_connection(("127.0.0.1", broker.port), timeout=5).close()

    asyncio.run(scenario())


def test_data_without_listeners_stays_on_loopback() -> None:
    async def scenario() -> None:
        async with Broker({"mqtt.max_qos": 1}) as broker:
            assert broker.listeners[0]["address"].startswith("127.0.0.1:")

    asyncio.run(scenario())


def test_two_brokers_live_in_one_process() -> None:
    async def scenario() -> None:
        async with Broker() as one, Broker() as two:
            assert one.port != two.port

    asyncio.run(scenario())


def test_urls_by_the_name_of_the_listener(tmp_path: Path) -> None:
    listeners = {
        "tcp": {"a": {"bind": "127.0.0.1:0"}},
        "ws": {"bind": "127.0.0.1:0/events"},
        "unix": {"bind": str(tmp_path / "s")},
    }

    async def scenario() -> None:
        async with Broker({"listeners": listeners}) as broker:
            assert broker.urls.keys() == {"tcp.a", "ws", "unix"}
            assert broker.url == broker.urls["tcp.a"]
            assert broker.urls["ws"].startswith("ws://127.0.0.1:")
            assert broker.urls["ws"].endswith("/events")
            assert broker.urls["unix"] == f"unix://{tmp_path / 's'}"

    asyncio.run(scenario())


def test_configuration_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "my.conf").write_text('listeners.tcp.bind = "127.0.0.1:0"', encoding="utf-8")

    async def scenario() -> None:
        async with Broker(tmp_path / "my.conf") as broker:
            assert broker.port

    asyncio.run(scenario())


def test_wrong_configuration_is_told_before_start() -> None:
    with pytest.raises(ConfigError, match=r"mqtt\.max_qos"):
        Broker({"mqtt.max_qos": 3})


def test_address_in_use_is_a_start_error() -> None:
    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            broker = Broker({"listeners.tcp.bind": f"127.0.0.1:{taken.getsockname()[1]}"})
            with pytest.raises(StartError):
                await broker.start()

    asyncio.run(scenario())


def test_certificate_that_is_none_is_a_start_error(tmp_path: Path) -> None:
    (tmp_path / "x.pem").write_text("nothing", encoding="ascii")
    files = {"certfile": str(tmp_path / "x.pem"), "keyfile": str(tmp_path / "x.pem")}

    async def scenario() -> None:
        with pytest.raises(StartError, match=r"x\.pem"):
            await Broker({"listeners.ssl": {"bind": "127.0.0.1:0", **files}}).start()

    asyncio.run(scenario())


def test_broker_starts_again_after_stop() -> None:
    async def scenario() -> None:
        broker = Broker()
        for _ in range(2):
            await broker.start()
            assert broker.port
            await broker.stop()

    asyncio.run(scenario())


def test_calls_before_start_say_so() -> None:
    broker = Broker()
    for call in (broker.metrics, broker.clients, lambda: broker.url, lambda: broker.cut("x")):
        with pytest.raises(NotRunning):
            call()


def test_stop_is_harmless_when_not_running() -> None:
    asyncio.run(Broker().stop())


def test_reload_tells_what_needs_a_restart() -> None:
    async def scenario() -> None:
        async with Broker(FREE) as broker:
            done = await broker.reload(FREE | {"system.num_taskq_thread": 3, "mqtt.max_qos": 1})
            assert done.needs_restart == ["system.num_taskq_thread"]
            assert done.rejected == []
            assert broker.config["mqtt.max_qos"] == 1

    asyncio.run(scenario())


def test_reload_opens_and_closes_listeners() -> None:
    async def scenario() -> None:
        async with Broker({"listeners.tcp": {"a.bind": "127.0.0.1:0"}}) as broker:
            before = broker.port
            await broker.reload({"listeners.tcp": {"a.bind": "127.0.0.1:0", "b.bind": "127.0.0.1:0"}})
            assert broker.urls.keys() == {"tcp.a", "tcp.b"}
            assert broker.port == before
            await broker.reload({"listeners.tcp": {"b.bind": "127.0.0.1:0"}})
            assert broker.urls.keys() == {"tcp.b"}
            with pytest.raises(OSError, match="refused"):
                socket.create_connection(("127.0.0.1", before), timeout=5)

    asyncio.run(scenario())


def test_what_needs_a_restart_is_told_until_there_is_one() -> None:
    async def scenario() -> None:
        async with Broker(FREE) as broker:
            for _ in range(2):
                done = await broker.reload(FREE | {"system.num_taskq_thread": 3})
                assert done.needs_restart == ["system.num_taskq_thread"]

    asyncio.run(scenario())


def test_wrong_reload_changes_nothing() -> None:
    async def scenario() -> None:
        async with Broker(FREE) as broker:
            with pytest.raises(ConfigError):
                await broker.reload({"mqtt.max_qos": 3})
            socket.create_connection(("127.0.0.1", broker.port), timeout=5).close()

    asyncio.run(scenario())


def test_events_become_log_lines(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        with caplog.at_level(logging.DEBUG, logger="nanomq"):
            async with Broker(from_dict(FREE | {"log.level": "debug"})):
                pass

    propagates = logging.getLogger("nanomq").propagate
    logging.getLogger("nanomq").propagate = True
    try:
        asyncio.run(scenario())
    finally:
        logging.getLogger("nanomq").propagate = propagates
    lines = [record.getMessage() for record in caplog.records]
    assert any(line.startswith("listening listener=tcp kind=tcp address=127.0.0.1:") for line in lines)
    assert "stopped" in lines


def test_metrics_are_numbers_by_name() -> None:
    async def scenario() -> None:
        async with Broker() as broker:
            metrics = broker.metrics()
            assert metrics
            assert all(isinstance(value, int) for value in metrics.values())

    asyncio.run(scenario())


def test_unknown_client_cannot_be_cut_or_kicked() -> None:
    async def scenario() -> None:
        async with Broker() as broker:
            assert broker.cut("nobody") is False
            assert broker.kick("nobody") is False

    asyncio.run(scenario())


@pytest.mark.parametrize(("topic", "qos"), [("a/#", 0), ("", 0), ("a\0", 0), ("a", 3)])
def test_publish_of_what_is_not_legal_is_a_value_error(topic: str, qos: int) -> None:
    async def scenario() -> None:
        async with Broker() as broker:
            with pytest.raises(ValueError):
                await broker.publish(topic, b"x", qos=qos)

    asyncio.run(scenario())
