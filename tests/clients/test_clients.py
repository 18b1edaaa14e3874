"""Clients of other makers exchange messages of every QoS through the broker, over every transport that they know.

Each maker subscribes, publishes and hands back what came. A client that is not on this machine is skipped with a
line that names its package; where CI is set, such a skip is a failure.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import queue
import shutil
import ssl
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiomqtt
import gmqtt
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from peer import Endpoint, tls_context

HERE = Path(__file__).parent
TIMEOUT_S = 30.0
ALL = ("tcp", "tls", "ws", "wss", "unix")

Message = tuple[int, bytes]
MESSAGES: list[Message] = [
    (qos, payload) for qos in (0, 1, 2) for payload in (b"", f"QoS {qos}".encode(), bytes(range(256)) * 300)
]


@dataclass(frozen=True)
class Run:
    """What a maker's client is to do; `version` is the protocol level 3, 4 or 5."""

    endpoint: Endpoint
    version: int
    client_id: str
    topic: str
    messages: list[Message] = field(default_factory=lambda: MESSAGES)

    @property
    def host(self) -> str:
        return "localhost"

    @property
    def port(self) -> int:
        return int(self.endpoint.address.rpartition(":")[2])


def missing(package: str) -> None:
    """Skips the test, or fails it in CI."""
    text = f"needs the package {package}"
    if os.environ.get("CI"):
        pytest.fail(text)
    pytest.skip(text)


# --- makers ---


def run_mosquitto(run: Run) -> list[Message]:
    """Debian's mosquitto_sub, and one mosquitto_pub for each message."""
    if not shutil.which("mosquitto_pub"):
        missing("mosquitto-clients")
    where = ["--unix", run.endpoint.address] if run.endpoint.kind == "unix" else ["-h", run.host, "-p", str(run.port)]
    if run.endpoint.kind == "tls":
        where += ["--cafile", run.endpoint.cafile]
    version = ["-V", {3: "mqttv31", 4: "mqttv311", 5: "mqttv5"}[run.version]]
    count = ["-C", str(len(run.messages))]
    subscribe = ["mosquitto_sub", "-d", "-i", run.client_id, "-t", run.topic, "-q", "2", "-F", "got %q %x", *count]
    with subprocess.Popen(
        ["stdbuf", "-oL", *subscribe, *where, *version], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if line.startswith("Subscribed"):
                    break
            for qos, payload in run.messages:
                publish = ["mosquitto_pub", "-t", run.topic, "-q", str(qos), *where, *version]
                content = ["-s"] if payload else ["-n"]
                subprocess.run([*publish, *content], input=payload, check=True, timeout=TIMEOUT_S)
            got = [line.split(" ") for line in process.stdout if line.startswith("got ")]
        finally:
            process.terminate()
    return [(int(qos), bytes.fromhex(payload)) for _, qos, payload in got]


def run_paho(run: Run) -> list[Message]:
    """paho-mqtt with its own network thread."""
    kind = run.endpoint.kind
    client = paho.Client(
        CallbackAPIVersion.VERSION2,
        client_id=run.client_id,
        protocol=paho.MQTTProtocolVersion(run.version),
        transport="websockets" if kind in ("ws", "wss") else "unix" if kind == "unix" else "tcp",
    )
    if kind in ("tls", "wss"):
        client.tls_set(run.endpoint.cafile)
    if kind in ("ws", "wss"):
        client.ws_set_options(path=run.endpoint.path)
    subscribed: queue.Queue[Any] = queue.Queue()
    received: queue.Queue[Message] = queue.Queue()
    client.on_connect = lambda *_: client.subscribe(run.topic, 2)
    client.on_subscribe = lambda *arguments: subscribed.put(arguments)
    client.on_message = lambda _client, _data, message: received.put((message.qos, message.payload))
    client.connect(*((run.endpoint.address, 1) if kind == "unix" else (run.host, run.port)))
    client.loop_start()
    try:
        subscribed.get(timeout=TIMEOUT_S)
        for qos, payload in run.messages:
            client.publish(run.topic, payload, qos).wait_for_publish(TIMEOUT_S)
        return [received.get(timeout=TIMEOUT_S) for _ in run.messages]
    finally:
        client.disconnect()
        client.loop_stop()


def run_aiomqtt(run: Run) -> list[Message]:
    """aiomqtt, paho for asyncio."""
    kind = run.endpoint.kind

    async def exchange() -> list[Message]:
        async with (
            asyncio.timeout(TIMEOUT_S),
            aiomqtt.Client(
                run.endpoint.address if kind == "unix" else run.host,
                1 if kind == "unix" else run.port,
                identifier=run.client_id,
                protocol=aiomqtt.ProtocolVersion(run.version),
                transport="websockets" if kind in ("ws", "wss") else "unix" if kind == "unix" else "tcp",
                websocket_path=run.endpoint.path,
                tls_context=tls_context(run.endpoint) if kind in ("tls", "wss") else None,
            ) as client,
        ):
            await client.subscribe(run.topic, 2)
            for qos, payload in run.messages:
                await client.publish(run.topic, payload, qos)
            received: list[Message] = []
            async for message in client.messages:
                assert isinstance(message.payload, bytes)
                received.append((message.qos, message.payload))
                if len(received) == len(run.messages):
                    break
            return received

    return asyncio.run(exchange())


def run_gmqtt(run: Run) -> list[Message]:
    """gmqtt, which shares no code with paho."""

    async def exchange() -> list[Message]:
        subscribed = asyncio.Event()
        received: asyncio.Queue[Message] = asyncio.Queue()
        client = gmqtt.Client(run.client_id)

        async def on_message(_client: Any, _topic: str, payload: bytes, qos: int, _properties: Any) -> int:
            received.put_nowait((qos, bytes(payload)))
            return 0

        client.on_message = on_message
        client.on_subscribe = lambda *_: subscribed.set()
        context: ssl.SSLContext | bool = tls_context(run.endpoint) if run.endpoint.kind == "tls" else False
        await client.connect(run.host, run.port, ssl=context, version=run.version)
        client.subscribe(run.topic, qos=2)
        await subscribed.wait()
        for qos, payload in run.messages:
            client.publish(run.topic, payload, qos=qos)
        got = [await received.get() for _ in run.messages]
        # asyncio complains when an acknowledgement comes in while it closes TLS.
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await client.disconnect()
        return got

    return asyncio.run(asyncio.wait_for(exchange(), TIMEOUT_S))


def run_mqttjs(run: Run) -> list[Message]:
    """MQTT.js under node."""
    if not shutil.which("node"):
        missing("nodejs")
    if not (HERE / "node_modules/mqtt").is_dir():
        missing("npm")
    is_unix = run.endpoint.kind == "unix"
    told = {
        "kind": run.endpoint.kind,
        "host": run.host,
        "port": 0 if is_unix else run.port,
        "path": run.endpoint.address if is_unix else run.endpoint.path,
        "cafile": run.endpoint.cafile,
        "version": run.version,
        "client_id": run.client_id,
        "topic": run.topic,
        "messages": [(qos, payload.hex()) for qos, payload in run.messages],
    }
    done = subprocess.run(
        ["node", str(HERE / "mqttjs.js")],
        input=json.dumps(told),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [(qos, bytes.fromhex(payload)) for qos, payload in json.loads(done.stdout)]


MAKERS: dict[str, tuple[Callable[[Run], list[Message]], tuple[str, ...], tuple[int, ...]]] = {
    "mosquitto": (run_mosquitto, ("tcp", "tls", "unix"), (3, 4, 5)),
    "paho": (run_paho, ALL, (3, 4, 5)),
    "aiomqtt": (run_aiomqtt, ALL, (4, 5)),
    "gmqtt": (run_gmqtt, ("tcp", "tls"), (4, 5)),
    "mqttjs": (run_mqttjs, ALL, (3, 4, 5)),
}
"""Maker → its client, the transports and the protocol levels that it knows."""

CASES = [
    pytest.param(maker, kind, version, id=f"{maker}-{kind}-{version}")
    for maker, (_, kinds, versions) in MAKERS.items()
    for kind in kinds
    for version in versions
]


# --- tests ---


@pytest.mark.parametrize(("maker", "kind", "version"), CASES)
def test_client_gets_back_what_it_publishes(
    maker: str, kind: str, version: int, endpoints: dict[str, Endpoint], unique: str
) -> None:
    run = Run(endpoints[kind], version, unique, f"{unique}/topic")

    received = MAKERS[maker][0](run)

    assert sorted(received) == sorted(MESSAGES)
