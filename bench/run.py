"""`make bench`: measures nanomq beside other brokers and the floor, and writes docs/performance.md.

Every case runs on all servers in turn (A B A B …), and the median of the rounds counts. Times of the servers are
those of the kernel's own accounting, for all their threads.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "bench"))

import instructions  # noqa: E402
import measure  # noqa: E402
import peers  # noqa: E402
from measure import Result  # noqa: E402
from peers import Peer  # noqa: E402

PAGE = ROOT / "docs" / "performance.md"
REASONS = ROOT / "bench" / "reasons.json"
"""Why a goal is not met, by its name: written by who has profiled it."""
ROUNDS = 3
PACE = 10_000
"""Deliveries per second of the paced cases."""

SHAPES: dict[str, dict[str, Any]] = {
    "1→1": {"mode": "pair", "count": 1, "outstanding": 10_000},
    "10→10": {"mode": "pair", "count": 10, "outstanding": 1_000},
    "1→100": {"mode": "fan", "subscribers": 100, "publishers": 1, "outstanding": 300},
    "100→1": {"mode": "fan", "subscribers": 1, "publishers": 100, "outstanding": 100},
}
COPIES = {"1→100": 100}
MOST_BYTES = 4 * 2**20
"""On their way to one subscriber in the saturated cases: with more, a server that bounds its queues has to drop."""

Makers = dict[str, Callable[[], Peer]]

RATIOS = {
    "1→1 QoS 0 64 B saturated": {"mosquitto": 15.0, "flashmq": 3.0},
    "1→100 QoS 0 64 B saturated": {"mosquitto": 14.0, "flashmq": 1.6},
    "1→100 QoS 1 64 B saturated": {"mosquitto": 10.0, "flashmq": 2.0},
    "100→1 QoS 1 64 B saturated": {"mosquitto": 14.0, "flashmq": 1.8},
    "10→10 QoS 1 64 B saturated": {"mosquitto": 18.0, "flashmq": 2.2},
    "1→1 QoS 0 64 B 10,000/s": {"mosquitto": 1.1, "flashmq": 1.0},
    "one message per wake, 100 pairs, 10,000/s": {"mosquitto": 1.35, "flashmq": 1.2},
}
"""Goals: how many times our processor time another broker needs."""

FLOORS = {"1→1 QoS 0 pipelined": 1.8, "1→100 QoS 0": 1.2, "one message per wake, 100 pairs, 10,000/s": 1.1}
"""Goals: our processor time as a multiple of the floor's."""


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the big table."""

    shape: str
    qos: int
    size: int
    is_paced: bool

    def options(self) -> dict[str, Any]:
        """What the generator gets."""
        pace = PACE / COPIES.get(self.shape, 1) if self.is_paced else 0
        options = {**SHAPES[self.shape], "qos": self.qos, "size": self.size, "rate": pace}
        senders = options.get("publishers", 1)
        return {**options, "outstanding": min(options["outstanding"], MOST_BYTES // (senders * self.size))}

    def __str__(self) -> str:
        return f"{self.shape} QoS {self.qos} {self.size} B {'10,000/s' if self.is_paced else 'saturated'}"


def main() -> int:
    """Runs everything. Returns the exit code: 1 if the instruction counts have grown."""
    parser = argparse.ArgumentParser(description="Measures nanomq beside other brokers; writes docs/performance.md.")
    parser.add_argument("--quick", action="store_true", help="fewer cases and shorter runs")
    parser.add_argument("--only", default="", help="cases and parts whose name has this text; writes no page")
    parser.add_argument("--threads", type=int, default=1, help="threads of nanomq and FlashMQ")
    parser.add_argument("--flashmq", metavar="PATH", help="measure FlashMQ too")
    given = parser.parse_args()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    seconds = 0.4 if given.quick else 1.5
    parts: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        makers = peers.makers(place, threads=given.threads, flashmq=given.flashmq)
        for title, part in {
            "matrix": lambda: matrix(makers, seconds, given.quick, given.only),
            "floor": lambda: against_floor(makers, place, seconds),
            "stalled": lambda: with_stalled(makers, seconds),
            "idle": lambda: idle(makers, 2_000 if given.quick else 9_000 if limit < 20_500 else 10_000),
            "subscriptions": lambda: subscriptions(makers, 100_000 if given.quick else 1_000_000, seconds),
            "retained": lambda: kept(makers, 100_000),
        }.items():
            if title == "matrix" or given.only in title:
                parts.append(part())
    ok, text = instructions.report() if given.only in "instructions" else (True, "")
    parts.append(text)
    if not given.only:
        PAGE.write_text(page(parts, given))
        print(f"written: {PAGE.relative_to(ROOT)}")
    return 0 if ok else 1


@dataclass(slots=True)
class Goals:
    """Goals and what was measured, in the order of the tables."""

    rows: list[tuple[str, str, str, bool]] = field(default_factory=list)

    def at_least(self, name: str, wanted: float, found: float) -> None:
        """A goal that is met from `wanted` on."""
        self.rows.append((name, f"≥ {wanted:,g}", f"{found:,.2f}", found >= wanted))

    def at_most(self, name: str, wanted: float, found: float) -> None:
        """A goal that is met up to `wanted`."""
        self.rows.append((name, f"≤ {wanted:,g}", f"{found:,.2f}", found <= wanted))

    def compare(self, name: str, results: dict[str, Result]) -> None:
        """The goals of one load, as far as it has any."""
        ours = results["nanomq"].cpu_us
        for peer, wanted in RATIOS.get(name, {}).items():
            if peer in results and ours:
                self.at_least(f"{name}: × less CPU than {peer}", wanted, results[peer].cpu_us / ours)
        if name in FLOORS and "floor" in results and results["floor"].cpu_us:
            self.at_most(f"{name}: × CPU of the floor", FLOORS[name], ours / results["floor"].cpu_us)

    def text(self) -> str:
        """Those that are not met first."""
        rows = [[name, wanted, found, "yes" if met else "**no**"] for name, wanted, found, met in self.rows]
        text = "## Goals\n\n" + table(["Goal", "Wanted", "Measured", "Met"], sorted(rows, key=lambda row: row[3]))
        reasons = json.loads(REASONS.read_text())
        unmet = [f"- **{name}**: {reasons.get(name, 'not yet explained.')}" for name, *_, met in self.rows if not met]
        notes = ["Where another is ahead:", *(f"- {note}" for note in reasons["Notes"])]
        why = ["What a profiler says of those that are not met:", *unmet] if unmet else []
        return "\n\n".join([text, *why, *notes])


GOALS = Goals()


def alternately(servers: dict[str, Peer], work: Callable[[Peer], Result]) -> dict[str, Result]:
    """Runs `work` on all servers in turn. Returns the medians."""
    found: dict[str, list[Result]] = {name: [] for name in servers}
    for _ in range(ROUNDS):
        for name, peer in servers.items():
            found[name].append(work(peer))
    return {
        name: Result(**{f.name: statistics.median(getattr(r, f.name) for r in results) for f in fields(Result)})
        for name, results in found.items()
    }


def started(makers: Makers) -> dict[str, Peer]:
    """All servers, running."""
    return {name: make() for name, make in makers.items()}


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table as Markdown, printed too."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    print(text + "\n", flush=True)
    return text


def matrix(makers: Makers, seconds: float, quick: bool, only: str) -> str:
    """Every shape, QoS, size and pace."""
    cases = [
        Case(shape, qos, size, is_paced)
        for is_paced in (False, True)
        for size in ((64,) if quick else (64, 4096))
        for shape in SHAPES
        for qos in (0, 1, 2)
    ]
    cases = [case for case in cases if only in str(case)]
    servers = started(makers) if cases else {}
    rows = []
    try:
        for case in cases:
            print(case, file=sys.stderr)
            results = alternately(servers, lambda peer, case=case: measure.run(peer, seconds, **case.options()))
            for name, result in results.items():
                rows.append([str(case), name, *cells(result), ratio(results["nanomq"], result)])
            GOALS.compare(str(case), results)
    finally:
        for peer in servers.values():
            peer.stop()
    head = [
        "Load",
        "Broker",
        "Deliveries/s",
        "p50 µs",
        "p99 µs",
        "CPU µs each",
        "MiB",
        "Lost",
        "Generator",
        "× CPU of nanomq",
    ]
    return "## Throughput, latency, processor time\n\n" + table(head, rows)


def cells(result: Result) -> list[str]:
    """The numbers of one run."""
    return [
        f"{result.rate:,.0f}",
        f"{result.p50_us:,.0f}",
        f"{result.p99_us:,.0f}",
        f"{result.cpu_us:.2f}",
        f"{result.resident_mib:.0f}",
        f"{result.lost:,.0f}",
        f"{result.generator:.0%}",
    ]


def ratio(ours: Result, other: Result) -> str:
    """How many times our processor time another needs."""
    return f"{other.cpu_us / ours.cpu_us:.1f}" if ours.cpu_us else "–"


def against_floor(makers: Makers, place: Path, seconds: float) -> str:
    """nanomq beside a relay on the same loop that reads no message."""
    rows = []
    for name, is_pair, options in (
        ("1→1 QoS 0 pipelined", True, SHAPES["1→1"]),
        ("1→100 QoS 0", False, SHAPES["1→100"]),
        ("one message per wake, 100 pairs, 10,000/s", True, {"mode": "pair", "count": 100, "rate": PACE}),
    ):
        # The relay wants few packets before the first message: one publisher, or pairs.
        servers = {**started(makers), "floor": peers.floor(place, is_pair=is_pair)}
        try:
            results = alternately(servers, lambda peer, options=options: measure.run(peer, seconds, size=64, **options))
        finally:
            for peer in servers.values():
                peer.stop()
        GOALS.compare(name, results)
        floor = results["floor"]
        for server, result in results.items():
            share = f"{result.cpu_us / floor.cpu_us:.2f}" if floor.cpu_us else "–"
            rows.append([name, server, *cells(result), share])
    head = [
        "Load, 64 B",
        "Server",
        "Deliveries/s",
        "p50 µs",
        "p99 µs",
        "CPU µs each",
        "MiB",
        "Lost",
        "Generator",
        "× CPU of floor",
    ]
    return "## Against the floor\n\nThe floor passes bytes on and reads no message.\n\n" + table(head, rows)


def with_stalled(makers: Makers, seconds: float) -> str:
    """What a subscriber that stops reading does to the others."""
    rows = []
    options = {"mode": "fan", "publishers": 1, "subscribers": 10, "rate": PACE / 10, "size": 4096}
    for name, make in makers.items():
        found: dict[int, list[Result]] = {0: [], 1: []}
        for _ in range(ROUNDS):
            for stalled in found:
                # A server of its own each time: what was queued must not be sent in the next run.
                peer = make()
                try:
                    found[stalled].append(measure.run(peer, max(seconds, 2), stalled=stalled, **options))
                finally:
                    peer.stop()
        without, beside = (statistics.median(r.p99_us for r in found[stalled]) for stalled in (0, 1))
        memory = statistics.median(r.resident_mib for r in found[1])
        if name == "nanomq" and without:
            GOALS.at_most(
                "p99 of the others beside a stalled subscriber, change in %", 10, 100 * (beside / without - 1)
            )
        change = f"{beside / without - 1:+.0%}" if without else "–"
        rows.append([name, f"{without:,.0f}", f"{beside:,.0f}", change, f"{memory:.0f}"])
    head = ["1→10 QoS 0 4 KiB, 10,000/s", "p99 µs without", "p99 µs beside it", "Change", "MiB"]
    return "## One subscriber that stops reading\n\n" + table(head, rows)


def idle(makers: Makers, count: int) -> str:
    """Connections that do nothing."""
    rows = []
    for name, make in makers.items():
        peer = make()
        try:
            before, cpu_s, began = peer.resident_bytes(), peer.cpu_exact_s(), time.monotonic()
            with measure.loaded(peer, mode="conn", count=count) as load:
                measure.until(load, f"connected={count}")
                took_s, cpu_s = time.monotonic() - began, peer.cpu_exact_s() - cpu_s
                time.sleep(1)
                each = (peer.resident_bytes() - before) / count
        finally:
            peer.stop()
        if name == "nanomq":
            GOALS.at_most("MiB at rest without the HTTP API", 20, before / 2**20)
            GOALS.at_most("bytes of an idle connection", 1536, each)
            GOALS.at_least("connects/s", 10_000, count / took_s)
        rows.append(
            [name, f"{before / 2**20:.0f}", f"{each:,.0f}", f"{count / took_s:,.0f}", f"{cpu_s * 1e6 / count:.0f}"]
        )
    head = [f"{count:,} idle connections", "MiB at rest", "Bytes each", "Connects/s", "CPU µs a connect"]
    return "## Idle connections\n\n" + table(head, rows)


def subscriptions(makers: Makers, count: int, seconds: float) -> str:
    """Wildcard filters, one subscriber each, and the way of a message among them."""
    rows = []
    for name, make in makers.items():
        peer = make()
        try:
            flow = {**SHAPES["1→1"], "size": 64, "topic": "bench/%i/x/y"}
            alone = measure.run(peer, seconds, **flow)
            options = {"mode": "sub", "count": 100, "filters": count // 100, "topic": "many/%i/+"}
            before, began = peer.resident_bytes(), time.monotonic()
            with measure.loaded(peer, **options) as load:
                measure.until(load, f"subscribed={count}", 300)
                took_s = time.monotonic() - began
                time.sleep(0.5)
                each = (peer.resident_bytes() - before) / count
                among = measure.run(peer, seconds, **flow)
        finally:
            peer.stop()
        if name == "nanomq":
            GOALS.at_most("bytes of a wildcard subscription", 200, each)
        rows.append([name, f"{each:,.0f}", f"{count / took_s:,.0f}", f"{alone.cpu_us:.2f}", f"{among.cpu_us:.2f}"])
    head = [f"{count:,} wildcard filters", "Bytes each", "Subscriptions/s", "CPU µs a message before", "with them"]
    return "## Subscriptions\n\n" + table(head, rows)


def kept(makers: Makers, count: int) -> str:
    """Retained messages."""
    rows = []
    for name, make in makers.items():
        peer = make()
        try:
            found = measure.retained(peer, count)
        finally:
            peer.stop()
        rows.append(
            [name, *(f"{found[key]:,.1f}" for key in ("stored_per_s", "bytes_each", "sent_per_s", "lookup_cpu_us"))]
        )
    head = [f"{count:,} retained messages of 64 B", "Stored/s", "Bytes each", "Sent/s for a wildcard", "CPU µs each"]
    return "## Retained messages\n\n" + table(head, rows)


def page(parts: list[str], given: argparse.Namespace) -> str:
    """docs/performance.md."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True).stdout.strip()

    cpuinfo = Path("/proc/cpuinfo").read_text()
    model = next(
        (line.partition(":")[2].strip() for line in cpuinfo.splitlines() if line.startswith("model name")), "?"
    )
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    facts = {
        "Machine": f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB",
        "Kernel": f"{platform.system()} {platform.release()}",
        "Commit": git("rev-parse", "--short", "HEAD")
        + (" with changes" if git("status", "--porcelain", "-uno") else ""),
        "Date": time.strftime("%Y-%m-%d", time.gmtime()),
        "Peers": ", ".join(f"{name} {version}" for name, version in peers.versions(given.flashmq).items()) or "none",
        "Threads": f"nanomq {given.threads}, generator 1",
        "Load of the machine": f"{os.getloadavg()[2]:.1f} in 15 minutes",
    }
    intro = (
        "# Performance\n\n"
        "Written by `make bench`. Server and generator share one machine and talk over the loopback. All servers run in "
        f"turn, each number is the median of {ROUNDS} rounds. *CPU µs each* is user and system time of all threads of "
        "the server, for one delivered message. Saturated loads keep a number of messages on their way, large enough "
        "for whole batches and small enough (4 MiB to one subscriber) that no server has to drop. A latency is from the write of a message to the "
        "read that brings it.\n\n"
    )
    head = intro + table(["", ""], [[name, value] for name, value in facts.items()])
    return "\n\n".join([head, GOALS.text(), *parts]).rstrip() + "\n"


if __name__ == "__main__":
    sys.exit(main())
