"""Single measurements: one load on one server."""

from __future__ import annotations

import json
import os
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from peers import Peer

from nanomq.cli.bench import Report
from nanomq.load import Load

WARMUP_S = 0.4
CONNECT_S = 60.0
DRAIN_S = 45.0


@dataclass(frozen=True, slots=True)
class Result:
    """What one run gave."""

    rate: float
    """Deliveries per second."""
    p50_us: float
    p99_us: float
    cpu_us: float
    """Processor time of the server for one delivery."""
    resident_mib: float
    generator: float
    """Share of one core that the generator took."""
    lost: int


@contextmanager
def loaded(peer: Peer, **options: Any) -> Iterator[Load]:
    """A load that runs, from its first connection on."""
    given = {"url": peer.url, "prefix": f"b{os.getpid()}-{time.monotonic_ns()}-", **options}
    load = Load(json.dumps(given).encode())
    load.start()
    try:
        yield load
    finally:
        load.stop()
        load.wait(DRAIN_S)


def until(load: Load, condition: str, limit_s: float = CONNECT_S) -> Report:
    """Waits until a field of the report has its goal, given as `field=value`."""
    field, _, goal = condition.partition("=")
    end = time.monotonic() + limit_s
    while True:
        report = Report.of(load)
        value = getattr(report, field)
        if str(value) == goal:
            return report
        if report.failed or report.disconnected or report.phase == "ended" or time.monotonic() > end:
            raise SystemExit(f"{condition} is not reached: {report}")
        time.sleep(0.002)


def run(peer: Peer, seconds: float, **options: Any) -> Result:
    """Runs a load of pairs or of a fan for this time, after a warm-up."""
    with loaded(peer, warmup_s=WARMUP_S, **options) as load:
        until(load, "phase=measuring")
        first, cpu_s, began = Report.of(load), peer.cpu_exact_s(), time.monotonic()
        time.sleep(seconds)
        last, cpu_s = Report.of(load), peer.cpu_exact_s() - cpu_s
        took_s = time.monotonic() - began
        resident = peer.resident_bytes()
    count = last.received - first.received
    return Result(
        rate=count / took_s,
        p50_us=last.latency_p50_us,
        p99_us=last.latency_p99_us,
        cpu_us=cpu_s * 1e6 / max(count, 1),
        resident_mib=resident / 2**20,
        generator=(last.cpu_s - first.cpu_s) / took_s,
        lost=Report.of(load).lost,
    )


def retained(peer: Peer, count: int) -> dict[str, float]:
    """Stores retained messages of 64 B, then asks for all of them by a wildcard."""

    def publish(number: int) -> bytes:
        topic = f"kept/{number % 100}/{number}".encode()
        flags, packet_id = (0x31, b"") if number < count - 1 else (0x33, b"\0\1")
        body = struct.pack(">H", len(topic)) + topic + packet_id + b"r" * 64
        return bytes((flags, len(body))) + body

    stored = b"".join(map(publish, range(count)))
    found = {}
    with socket.create_connection(("127.0.0.1", peer.port)) as connection:
        connection.settimeout(60)
        connection.sendall(b"\x10\x0e\0\4MQTT\4\2\0\0\0\2rp")
        connection.recv(4, socket.MSG_WAITALL)
        before, began = peer.resident_bytes(), time.monotonic()
        connection.sendall(stored)
        connection.recv(4, socket.MSG_WAITALL)  # PUBACK of the last
        found["stored_per_s"] = count / (time.monotonic() - began)
        found["bytes_each"] = (peer.resident_bytes() - before) / count
        wanted = len(stored) - 2  # the last comes back with QoS 0
        cpu_s, began = peer.cpu_exact_s(), time.monotonic()
        connection.sendall(b"\x82\x0d\0\1\0\x08kept/+/+\0")
        connection.recv(5, socket.MSG_WAITALL)
        while wanted > 0:
            wanted -= len(connection.recv(1 << 20))
        found["sent_per_s"] = count / (time.monotonic() - began)
        found["lookup_cpu_us"] = (peer.cpu_exact_s() - cpu_s) * 1e6 / count
    return found
