"""`nanomq_cli bench conn | sub | pub | pair | fan`: a load on a broker, its rates, latencies and losses.

Options, letters and output lines are those of NanoMQ's and EMQX's bench tools, except where `differs:` says so.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final, TypeVar

import click

from nanomq.cli.options import PrefixCommand
from nanomq.load import Load, Relay

Function = TypeVar("Function", bound=Callable[..., Any])

POLL_S: Final = 0.05
END_S: Final = 40.0
FAILURE: Final = 1

COUNTED: Final = {"conn": "connected", "sub": "recv", "pub": "sent", "pair": "recv", "fan": "recv"}
"""What the line of each second counts."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a load has counted: `Snapshot` of the engine. Rates and latencies are those of the measurement."""

    phase: str
    connected: int
    failed: int
    disconnected: int
    subscribed: int
    sent: int
    received: int
    repeated: int
    acked: int
    refused: int
    lost: int
    measured_s: float
    sent_per_s: float
    received_per_s: float
    latency_count: int
    latency_p50_us: float
    latency_p90_us: float
    latency_p99_us: float
    latency_p999_us: float
    latency_max_us: float
    cpu_s: float
    error: str | None

    @classmethod
    def of(cls, load: Load) -> Report:
        """The report of a load until now."""
        return cls(**json.loads(load.snapshot()))


class _Usage(PrefixCommand):
    """Faults of usage end with 1, as in NanoMQ; the other tools use 2."""

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **extra: Any) -> click.Context:
        try:
            return super().make_context(info_name, args, *rest, **extra)
        except click.UsageError as error:
            raise click.ClickException(error.format_message()) from None

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            raise click.ClickException(error.format_message()) from None


class _Modes(click.Group):
    """Says which modes there are, and ends with 1 if none of them is meant."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            raise click.ClickException(f"{error.format_message()} Modes: {', '.join(COUNTED)}") from None


@click.group(cls=_Modes, invoke_without_command=True)
@click.pass_context
def bench(ctx: click.Context) -> None:
    """Load generator and latency report. `nanomq_cli bench MODE --help` tells more."""
    if ctx.invoked_subcommand is None:
        raise click.ClickException(f"bench needs a mode: {', '.join(COUNTED)}")


def _truth(ctx: click.Context, param: click.Parameter, value: str) -> bool:
    if value.lower() not in ("true", "false"):
        raise click.BadParameter(f"`{value}`: write true or false", ctx, param)
    return value.lower() == "true"


def _options(*options: Callable[[Function], Function]) -> Callable[[Function], Function]:
    def add(function: Function) -> Function:
        for option in reversed(options):
            function = option(function)
        return function

    return add


MANY: Final = click.IntRange(1, 1_000_000)

connection_options = _options(
    click.option("-h", "--host", default="localhost", show_default=True, help="Host."),
    click.option("-p", "--port", type=click.IntRange(1, 0xFFFF), default=1883, show_default=True, help="Port."),
    click.option("--url", help="URL, instead of host, port, --ssl and --ws."),
    click.option(
        "-V", "--version", type=click.IntRange(3, 5), default=4, show_default=True, help="3 is 3.1, 5 is 5.0."
    ),
    click.option(
        "-n", "--startnumber", type=click.IntRange(0, 0xFFFF_FFFF), default=0, help="Number of the first client."
    ),
    click.option(
        "-i",
        "--interval",
        type=click.FloatRange(0),
        default=10,
        show_default=True,
        help="Milliseconds between connects.",
    ),
    click.option("-u", "--username", help="User name."),
    click.option("-P", "--password", help="Password."),
    click.option("-k", "--keepalive", type=click.IntRange(0, 0xFFFF), default=300, show_default=True, help="Seconds."),
    click.option(
        "-C", "--clean", metavar="true|false", callback=_truth, default="true", show_default=True, help="Clean start."
    ),
    click.option("-S", "--ssl", is_flag=True, help="TLS."),
    click.option("--cafile", default="", help="CA certificates, instead of the system's."),
    click.option("--certfile", default="", help="Client certificate."),
    click.option("--keyfile", default="", help="Its private key."),
    click.option("--keypass", default="", help="Password of the private key."),
    click.option("--insecure", is_flag=True, help="Accept any server certificate."),
    click.option("--ws", is_flag=True, help="WebSocket."),
    click.option("--ifaddr", default="", help="Local address of the connections."),
    click.option("--prefix", default="", help="Client ids are this and a number.  [default: by process]"),
    click.option("--duration", type=click.FloatRange(0), default=0, help="Seconds after which it ends."),
    click.option("--threads", type=click.IntRange(1, 64), default=1, help="Threads of the generator."),
    click.option("--json", "as_json", is_flag=True, help="The summary as one line of JSON, and nothing else."),
)

count_option = click.option("-c", "--count", type=MANY, default=200, show_default=True, help="Clients.")
qos_option = click.option("-q", "--qos", type=click.IntRange(0, 2), default=0, show_default=True, help="QoS.")
TOPIC_HELP: Final = "%c is the client id, %u the user name, %i the running number."

message_options = _options(
    click.option(
        "-s",
        "--size",
        type=click.IntRange(0, 268_000_000),
        default=256,
        show_default=True,
        help="Bytes of the payload.",
    ),
    qos_option,
    click.option(
        "-r", "--retain", metavar="true|false", callback=_truth, default="false", show_default=True, help="Retain."
    ),
    click.option(
        "-L", "--limit", type=click.IntRange(0), default=0, help="Messages of all clients.  [default: no limit]"
    ),
    click.option(
        "--rate", type=click.FloatRange(0), default=0, help="Messages per second of all publishers, instead of -I."
    ),
    click.option(
        "--inflight",
        type=click.IntRange(1, 0xFFFF),
        default=100,
        show_default=True,
        help="Unacknowledged messages of a publisher.",
    ),
)
flow_options = _options(
    click.option("-t", "--topic", default="", help=f"Topic; {TOPIC_HELP}"),
    message_options,
    click.option(
        "-I",
        "--interval_of_msg",
        type=float,
        default=0,
        show_default=True,
        help="Milliseconds between messages of a publisher; below 1 as fast as possible.",
    ),
    click.option(
        "--outstanding",
        type=click.IntRange(0),
        default=0,
        help="Messages of a publisher on their way to the subscribers at a time.  [default: any]",
    ),
    click.option("--warmup", type=click.FloatRange(0), default=0, help="Seconds before the measurement."),
)


@bench.command(cls=_Usage)
@connection_options
@count_option
def conn(**given: Any) -> int:
    """Connect and stay connected."""
    return _run("conn", given)


@bench.command(cls=_Usage)
@connection_options
@count_option
@click.option("-t", "--topic", required=True, help=f"Topic filter; {TOPIC_HELP}")
@qos_option
@click.option(
    "-L", "--limit", type=click.IntRange(0), default=0, help="Messages after which it ends.  [default: no limit]"
)
@click.option(
    "--filters", type=MANY, default=1, show_default=True, help="Topic filters of each client; %i counts them."
)
def sub(**given: Any) -> int:
    """Subscribe and count what comes."""
    return _run("sub", given)


@bench.command(cls=_Usage)
@connection_options
@count_option
@click.option("-t", "--topic", required=True, help=f"Topic; {TOPIC_HELP}")
@click.option(
    "-I",
    "--interval_of_msg",
    type=float,
    default=1000,
    show_default=True,
    help="Milliseconds between messages of a client; below 1 as fast as possible.",
)
@message_options
def pub(**given: Any) -> int:
    """Publish; latencies are those of the acknowledgements."""
    return _run("pub", given)


@bench.command(cls=_Usage)
@connection_options
@click.option("-c", "--count", type=MANY, default=1, show_default=True, help="Pairs.")
@flow_options
def pair(**given: Any) -> int:
    """Pairs of a publisher and a subscriber, each pair with a topic of its own."""
    return _run("pair", given)


@bench.command(cls=_Usage)
@connection_options
@click.option("--publishers", type=MANY, default=1, show_default=True, help="Publishers.")
@click.option("--subscribers", type=MANY, default=100, show_default=True, help="Subscribers; each gets every message.")
@click.option("--stalled", type=click.IntRange(0), default=0, help="More subscribers, which read nothing.")
@flow_options
def fan(**given: Any) -> int:
    """Publishers and subscribers where every message goes to every subscriber."""
    return _run("fan", given)


@bench.command(hidden=True)
@click.option("-p", "--port", type=click.IntRange(0, 0xFFFF), default=0)
@click.option("--pair", "is_pair", is_flag=True)
def relay(port: int, is_pair: bool) -> None:
    """The floor of the measurements: passes bytes on and reads no message."""
    floor = Relay(f"127.0.0.1:{port}", is_pair)
    print(f"port: {floor.port()}", flush=True)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    floor.run()


def _load_options(mode: str, given: dict[str, Any]) -> dict[str, Any]:
    """What the engine's `LoadOptions` calls them."""
    take = given.pop
    host, port = take("host"), take("port")
    scheme = {(False, False): "mqtt-tcp", (True, False): "tls+mqtt-tcp", (False, True): "ws", (True, True): "wss"}
    address = f"[{host}]" if ":" in host and not host.startswith("[") else host
    url = f"{scheme[take('ssl'), take('ws')]}://{address}:{port}"
    tls = {
        "cafile": take("cafile"),
        "certfile": take("certfile"),
        "keyfile": take("keyfile"),
        "key_password": take("keypass"),
        "insecure": take("insecure"),
    }
    renamed = {
        "interval": "interval_ms",
        "interval_of_msg": "message_interval_ms",
        "keepalive": "keepalive_s",
        "duration": "duration_s",
        "warmup": "warmup_s",
    }
    given["prefix"] = given["prefix"] or f"bench-{os.getpid()}-"
    options = {renamed.get(name, name): value for name, value in given.items()}
    return {**options, "mode": mode, "url": options["url"] or url, "tls": tls}


def _run(mode: str, given: dict[str, Any]) -> int:
    """Runs a load until it has ended or a signal ends it. Returns the exit code."""
    as_json = given.pop("as_json")
    options = _load_options(mode, given)
    try:
        load = Load(json.dumps(options).encode())
        load.start()
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    lines = _Lines(mode, options, silent=as_json)
    try:
        while not load.wait(0) and not stopped.wait(POLL_S):
            lines.show(Report.of(load))
        load.stop()
        load.wait(END_S)
        report = Report.of(load)
        lines.show(report, last=True)
        if as_json:
            print(json.dumps({"mode": mode, **asdict(report)}))
        else:
            _summary(mode, report)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output is gone; nothing may be written at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    if report.error:
        print(report.error, file=sys.stderr)
    is_whole = not (report.failed or report.disconnected or (report.lost and options.get("limit")))
    return 0 if is_whole else FAILURE


class _Lines:
    """What is said while it runs."""

    def __init__(self, mode: str, options: dict[str, Any], *, silent: bool) -> None:
        self._mode = mode
        self._topic = options.get("topic") if mode == "sub" else None
        self._silent = silent
        self._connected = self._disconnected = self._total = 0
        self._since = time.monotonic()

    def show(self, report: Report, *, last: bool = False) -> None:
        """Lines for what is new; the rates once a second if something came."""
        if self._silent:
            return
        for number in range(self._connected + 1, report.connected + 1):
            print(f"connected: {number}.")
            if self._topic:
                print(f"Subscribe topic: {self._topic}")
        for _ in range(self._disconnected, report.disconnected):
            print("disconnected!")
        self._connected, self._disconnected = report.connected, report.disconnected
        now = time.monotonic()
        if now - self._since >= 1 or last:
            total = report.sent if self._mode == "pub" else report.received
            if total != self._total and self._mode != "conn":
                rate = (total - self._total) / (now - self._since)
                print(f"{COUNTED[self._mode]}: total={total}, rate={rate:.0f}(msg/sec)")
            self._total, self._since = total, now
        sys.stdout.flush()


def _summary(mode: str, report: Report) -> None:
    counts = [f"connected={report.connected}", f"failed={report.failed}", f"disconnected={report.disconnected}"]
    if mode in ("pub", "pair", "fan"):
        counts += [f"sent={report.sent}", f"acknowledged={report.acked}", f"refused={report.refused}"]
    if mode in ("sub", "pair", "fan"):
        counts += [f"received={report.received}", f"repeated={report.repeated}"]
    if mode != "conn":
        counts.append(f"lost={report.lost}")
    print("summary: " + ", ".join(counts))
    if mode != "conn":
        rates = f"sent {report.sent_per_s:.0f}/s, received {report.received_per_s:.0f}/s"
        print(f"rates: {rates} in {report.measured_s:.2f} s, generator {report.cpu_s:.2f} s of CPU")
    if report.latency_count:
        shares = {"p50": "p50", "p90": "p90", "p99": "p99", "p99.9": "p999", "max": "max"}
        values = (f"{name}={getattr(report, f'latency_{field}_us'):.0f}" for name, field in shares.items())
        print(f"latency (us): {', '.join(values)}")
