"""`nanomq_cli`: the tools pub, sub and conn, and the list of the others.

Options, output lines and exit codes are NanoMQ's, except where `differs:` says so.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import os
import secrets
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import click

from nanomq.cli.options import PrefixCommand, run
from nanomq.client import TLS, Client, ConnAck, Message, Will
from nanomq.errors import ClientError, ConnectError

Function = TypeVar("Function", bound=Callable[..., Any])

LATER: Final = {"bench": ("nanomq.cli.bench", "bench", "Load generator and latency report.")}
"""Tools of other modules, imported when they are called: module, command, help."""

NOT_BUILT_IN: Final = frozenset(
    (
        "ddsproxy",
        "dds",
        "gateway",
        "iceoryx",
        "nftp",
        "nngcat",
        "nngproxy",
        "quic",
        "rule",
        "rules",
        "vsomeip_gateway",
        "zmq_gateway",
    )
)
"""Tools of NanoMQ that this version does not have."""

RETURN_CODES: Final = {0x84: 1, 0x85: 2, 0x88: 3, 0x86: 4, 0x87: 5}
"""Reason codes of 5.0 and what 3.x says instead, section 3.2.2.3 of 3.1.1."""

PLAIN_PORT: Final = 1883
TLS_PORT: Final = 8883
USAGE: Final = 2
FAILURE: Final = 1


def main() -> None:
    """Entry point of `nanomq_cli`."""
    # differs: NanoMQ exits 1 for faults of usage; 2 tells them from failures.
    sys.exit(run(lambda args: nanomq_cli.main(args, standalone_mode=False), usage_code=USAGE))


class _Tools(click.Group):
    """Finds tools of other modules, and says of the missing ones that they are missing."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        later = [name for name, (module, _, _) in LATER.items() if importlib.util.find_spec(module)]
        return sorted([*super().list_commands(ctx), *later])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in LATER or importlib.util.find_spec(LATER[cmd_name][0]) is None:
            return super().get_command(ctx, cmd_name)
        module, attribute, _ = LATER[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            if name in NOT_BUILT_IN or name in LATER:
                raise click.UsageError(f"the tool `{name}` is not built in")
            click.echo(self.get_help(ctx))
            raise click.UsageError(f"there is no tool `{name}`")
        return super().resolve_command(ctx, args)


@click.group(cls=_Tools, invoke_without_command=True)
@click.pass_context
def nanomq_cli(ctx: click.Context) -> None:
    """MQTT tools. `nanomq_cli TOOL --help` tells more."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def _pairs(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> list[tuple[str, str]]:
    """`key=value` each."""
    for value in values:
        if "=" not in value:
            raise click.BadParameter(f"`{value}`: write key=value", ctx, param)
    return [(key, text) for key, _, text in (value.partition("=") for value in values)]


def _boolean(_ctx: click.Context, _param: click.Parameter, value: str) -> bool:
    """`true`; anything else is false, as in NanoMQ."""
    return value.lower() == "true"


class _Port(click.IntRange):
    """A port. Until NanoMQ 0.18 `-p` was the password."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not str(value).isdecimal():
            self.fail(f"`{value}` is no port; the password is -P", param, ctx)
        return super().convert(value, param, ctx)


TWO_BYTES: Final = click.IntRange(0, 0xFFFF)
FOUR_BYTES: Final = click.IntRange(0, 0xFFFF_FFFF)
MANY: Final = click.IntRange(1, 10_240_000)


def _options(*options: Callable[[Function], Function]) -> Callable[[Function], Function]:
    def add(function: Function) -> Function:
        for option in reversed(options):
            function = option(function)
        return function

    return add


connection_options = _options(
    click.option("-h", "--host", help="Host.  [default: 127.0.0.1]"),
    click.option("-p", "--port", type=_Port(1, 0xFFFF), help="Port.  [default: 1883, with --secure 8883]"),
    click.option("--url", help="URL, instead of host and port: mqtt-tcp, tls+mqtt-tcp, ws, wss or unix."),
    click.option("--quic", is_flag=True, help="Not built in."),
    click.option("-s", "--secure", "--ssl", "secure", is_flag=True, help="TLS."),
    click.option("--cafile", "--cacert", "cafile", default="", help="CA certificates, instead of the system's."),
    click.option("-E", "--cert", default="", help="Client certificate."),
    click.option("--key", default="", help="Its private key."),
    click.option("--keypass", default="", help="Password of the private key."),
    click.option("--insecure", is_flag=True, help="Accept any server certificate."),
    click.option(
        "-V",
        "--version",
        type=click.IntRange(3, 5),
        default=4,
        show_default=True,
        help="3 is 3.1, 4 is 3.1.1, 5 is 5.0.",
    ),
    click.option(
        "-n",
        "--parallel",
        type=click.IntRange(1, 1_024_000),
        default=1,
        help="Messages of one client on their way at a time.",
    ),
    click.option("-v", "--verbose", is_flag=True, help="Print more: payloads also in hexadecimal."),
    click.option("-u", "--user", help="User name."),
    click.option("-P", "--password", help="Password."),
    click.option("-i", "--id", "--identifier", "client_id", help="Client id.  [default: random]"),
    click.option("-k", "--keepalive", type=TWO_BYTES, default=60, show_default=True, help="Seconds."),
    click.option(
        "-c",
        "--clean_session",
        metavar="true|false",
        callback=_boolean,
        default="true",
        show_default=True,
        help="Begin without the old session.",
    ),
    click.option(
        "-I", "--interval", type=MANY, help="Milliseconds between messages and between clients.  [default: 10]"
    ),
    click.option("-C", "--count", type=MANY, default=1, show_default=True, help="Number of clients."),
    click.option("--will-topic", help="Topic of the will."),
    click.option("--will-msg", default="", help="Payload of the will."),
    click.option("--will-qos", type=click.IntRange(0, 2), default=0, help="QoS of the will."),
    # differs: NanoMQ sets the retain flag of the published message instead.
    click.option("--will-retain", is_flag=True, help="Retain the will."),
    click.option(
        "--user_property", callback=_pairs, multiple=True, help="Repeatable. These and the following: MQTT 5 only."
    ),
    click.option("--session_expiry_interval", type=FOUR_BYTES, help="Seconds."),
    click.option("--receive_maximum", type=click.IntRange(1, 0xFFFF), help="Unacknowledged messages from the server."),
    click.option("--topic_alias_maximum", type=TWO_BYTES, help="Topic aliases of the server."),
    click.option("--maximum_packet_size", type=click.IntRange(1, 0xFFFF_FFFF), help="Bytes."),
    click.option("--request_problem_information", type=click.IntRange(0, 1), help="1 wants reasons in words."),
    click.option("--request_response_information", type=click.IntRange(0, 1), help="1 wants response information."),
    click.option("--will_delay_interval", type=FOUR_BYTES, help="Seconds before the will is published."),
    click.option("--will_payload_format_indicator", type=click.IntRange(0, 1), help="1 says UTF-8 text."),
    click.option("--will_message_expiry_interval", type=FOUR_BYTES, help="Seconds."),
    click.option("--will_content_type", help="Text."),
    click.option("--will_response_topic", help="Topic."),
    click.option("--will_correlation_data", help="Text."),
    click.option("--will_user_property", callback=_pairs, multiple=True, help="Repeatable."),
)

message_options = _options(
    click.option("--payload_format_indicator", type=click.IntRange(0, 1), help="1 says UTF-8 text."),
    click.option("--message_expiry_interval", type=FOUR_BYTES, help="Seconds."),
    click.option("--content_type", help="Text."),
    click.option("--response_topic", help="Topic."),
    click.option("--correlation_data", help="Text."),
)


@dataclass(frozen=True, slots=True)
class _Setup:
    """What the connection options say."""

    url: str
    options: dict[str, Any]
    client_id: str | None
    count: int
    interval_s: float
    parallel: int

    def client(self) -> Client:
        """One more client. Prints its connections and their ends."""
        client = Client(self.url, client_id=self.client_id or f"nanomq-{secrets.token_hex(6)}", **self.options)
        address = client.address

        def connected(_: ConnAck) -> None:
            print(f"connect_cb: {address} connect result: 0 ", flush=True)

        def disconnected(reason: int) -> None:
            print(f"disconnected reason : {reason}", flush=True)

        client.on_connected, client.on_disconnected = connected, disconnected
        return client

    def result_code(self, reason: int) -> int:
        """The code of a CONNACK as its version writes it."""
        return reason if self.options["version"] == 5 else RETURN_CODES.get(reason, 3)


def _setup(given: dict[str, Any]) -> _Setup:
    """Takes the connection options out of `given`."""
    take = given.pop
    url = _url(take("url"), take("host"), take("port"), take("secure"))
    if take("quic"):
        raise click.UsageError("QUIC is not built in")
    tls = TLS(take("cafile"), take("cert"), take("key"), take("keypass"), take("insecure"))
    correlation, topic = take("will_correlation_data"), take("will_topic")
    will_values = {
        "payload": take("will_msg"),
        "qos": take("will_qos"),
        "retain": take("will_retain"),
        "delay": take("will_delay_interval"),
        "message_expiry": take("will_message_expiry_interval"),
        "content_type": take("will_content_type"),
        "response_topic": take("will_response_topic"),
        "correlation_data": None if correlation is None else correlation.encode(),
        "payload_format": take("will_payload_format_indicator"),
        "user_properties": take("will_user_property"),
    }
    options = {
        "version": take("version"),
        "keepalive": take("keepalive"),
        "clean_start": take("clean_session"),
        "username": take("user"),
        "password": take("password"),
        "will": Will(topic, **will_values) if topic else None,
        "tls": tls,
        "session_expiry": take("session_expiry_interval"),
        "receive_maximum": take("receive_maximum"),
        "maximum_packet_size": take("maximum_packet_size"),
        "topic_alias_maximum": take("topic_alias_maximum"),
        "request_problem_information": take("request_problem_information"),
        "request_response_information": take("request_response_information"),
        "user_properties": given["user_property"],
        "reconnect": True,
    }
    interval_s = (take("interval") or 10) / 1000
    return _Setup(url, options, take("client_id"), take("count"), interval_s, take("parallel"))


def _url(url: str | None, host: str | None, port: int | None, secure: bool) -> str:
    # differs: NanoMQ overwrites --url with host and port.
    if url is None:
        address = host or "127.0.0.1"
        address = f"[{address}]" if ":" in address and not address.startswith("[") else address
        scheme = "tls+mqtt-tcp" if secure else "mqtt-tcp"
        return f"{scheme}://{address}:{port or (TLS_PORT if secure else PLAIN_PORT)}"
    parts = urlsplit(url)
    try:
        url_port = parts.port
    except ValueError:
        raise click.UsageError(f"`{url}` is no URL") from None
    if host is not None and host.strip("[]") != parts.hostname:
        raise click.UsageError(f"--url {url} and --host {host} differ; give one of them")
    if port is not None and port != url_port:
        raise click.UsageError(f"--url {url} and --port {port} differ; give one of them")
    if secure and parts.scheme in ("mqtt", "mqtt-tcp", "tcp", "ws", "unix"):
        raise click.UsageError(f"--url {url} is not secure; write tls+mqtt-tcp:// or wss://")
    return url


def _run(setup: _Setup, work: Callable[[Client], Coroutine[Any, Any, None]], *, interrupted: int = 0) -> int:
    """Runs a tool until it is done or a signal ends it. Returns the exit code, `interrupted` after a signal."""

    async def supervised() -> None:
        task = asyncio.current_task()
        loop = asyncio.get_running_loop()
        if task is not None:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, task.cancel)
        await _each(setup, work)

    try:
        asyncio.run(supervised())
    except asyncio.CancelledError:
        return interrupted
    except BrokenPipeError:
        # Whoever read our output is gone; nothing may be written at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ClientError, TimeoutError, OSError) as error:
        print(str(error) or "no answer in time", file=sys.stderr)
        return FAILURE
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    return 0


async def _each(setup: _Setup, work: Callable[[Client], Coroutine[Any, Any, None]]) -> None:
    """Runs `work` with every client, each begun an interval after the one before."""

    async def one() -> None:
        client = setup.client()
        try:
            await client.connect()
        except ConnectError as error:
            if error.reason:
                print(f"connect_cb: {client.address} connect result: {setup.result_code(error.reason)} ", flush=True)
            raise
        try:
            await work(client)
        finally:
            await client.disconnect()

    async with _Group() as group:
        for number in range(setup.count):
            if number:
                await asyncio.sleep(setup.interval_s)
            group.start(one())


class _Group:
    """Tasks of one tool: the first failure ends them all, and is raised as it is."""

    def __init__(self) -> None:
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> _Group:
        await self._tasks.__aenter__()
        return self

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.create_task(work)

    async def __aexit__(self, *error: Any) -> None:
        try:
            await self._tasks.__aexit__(*error)
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None


@nanomq_cli.command(cls=PrefixCommand)
@connection_options
@click.option("-t", "--topic", multiple=True, required=True, help="Topic; only the first counts.")
@click.option("-q", "--qos", type=click.IntRange(0, 2), default=0, show_default=True, help="QoS.")
@click.option("-r", "--retain", is_flag=True, help="Retain the message.")
@click.option("-m", "--msg", help="The message.")
@click.option("-f", "--file", help="A file is the message; - is the standard input.")
@click.option("-l", "--stdin-line", is_flag=True, help="Every line of the standard input is a message.")
@click.option("-L", "--limit", type=MANY, default=1, show_default=True, help="Number of messages of each client.")
@click.option("--topic_alias", type=click.IntRange(1, 0xFFFF), help="Number.")
@message_options
def pub(**given: Any) -> int:
    """Publish messages, and exit when the server has acknowledged them."""
    spaced = given["interval"] is not None
    setup = _setup(given)
    sources = [source for source in (given["msg"], given["file"]) if source is not None]
    if len(sources) + given["stdin_line"] != 1:
        raise click.UsageError("give the message by one of --msg, --file and --stdin-line")
    correlation = given["correlation_data"]
    values: dict[str, Any] = {
        "qos": given["qos"],
        "retain": given["retain"],
        "payload_format": given["payload_format_indicator"],
        "message_expiry": given["message_expiry_interval"],
        "content_type": given["content_type"],
        "response_topic": given["response_topic"],
        "correlation_data": None if correlation is None else correlation.encode(),
        "topic_alias": given["topic_alias"],
        "user_properties": given["user_property"],
    }
    topic = given["topic"][0]

    async def lines(client: Client) -> None:
        async for line in _stdin_lines():
            await client.publish(topic, line, **values)
            if spaced:
                await asyncio.sleep(setup.interval_s)

    if given["stdin_line"]:
        return _run(setup, lines, interrupted=FAILURE)
    payload = given["msg"].encode() if given["msg"] is not None else _file(given["file"])

    async def repeated(client: Client) -> None:
        numbers = iter(range(given["limit"]))

        async def work() -> None:
            for number in numbers:
                if number >= setup.parallel:
                    await asyncio.sleep(setup.interval_s)
                await client.publish(topic, payload, **values)

        async with _Group() as group:
            for _ in range(min(setup.parallel, given["limit"])):
                group.start(work())

    return _run(setup, repeated, interrupted=FAILURE)


@nanomq_cli.command(cls=PrefixCommand)
@connection_options
@click.option("-t", "--topic", multiple=True, required=True, help="Topic filter, repeatable.")
@click.option("-q", "--qos", type=click.IntRange(0, 2), default=2, show_default=True, help="QoS.")
@click.option("--subscription_identifier", type=click.IntRange(1, 268_435_455), help="Number.")
def sub(**given: Any) -> int:
    """Subscribe and print messages until a signal ends it."""
    verbose = given.pop("verbose")
    setup = _setup(given)

    async def work(client: Client) -> None:
        await client.subscribe(
            given["topic"],
            given["qos"],
            subscription_id=given["subscription_identifier"],
            user_properties=given["user_property"],
        )
        async for message in client:
            _show(message, verbose)

    return _run(setup, work)


@nanomq_cli.command(cls=PrefixCommand)
@connection_options
@message_options
def conn(**given: Any) -> int:
    """Connect and stay connected until a signal ends it."""
    # differs: NanoMQ puts the options of a message into CONNECT, where the standard forbids them.
    setup = _setup(given)

    async def work(client: Client) -> None:
        async for _ in client:
            pass

    return _run(setup, work)


def _show(message: Message, verbose: bool) -> None:
    line = message.topic.encode() + b": " + message.payload + b"\n"
    # differs: NanoMQ prints the second line always since 0.24, which breaks scripts.
    if verbose:
        line += b"HEX : " + message.payload.hex().encode() + b"\n"
    sys.stdout.flush()
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()


def _file(name: str) -> bytes:
    try:
        if name == "-":
            return sys.stdin.buffer.read()
        with open(name, "rb") as file:
            return file.read()
    except OSError as error:
        raise click.ClickException(f"{name}: {error.strerror}") from None


async def _stdin_lines() -> AsyncIterator[bytes]:
    """Lines without their ends. A thread reads, because files and terminals cannot be waited for in one way."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[bytes | None] = asyncio.Queue(1024)

    def read() -> None:
        rest = b""
        # Unbuffered: a buffer's lock, held at exit by this thread, would end the process badly.
        while block := os.read(0, 65536):
            *whole, rest = (rest + block).split(b"\n")
            for line in whole:
                asyncio.run_coroutine_threadsafe(queue.put(line), loop).result()
        for last in (rest, None) if rest else (None,):
            asyncio.run_coroutine_threadsafe(queue.put(last), loop).result()

    threading.Thread(target=read, name="nanomq-stdin", daemon=True).start()
    while (line := await queue.get()) is not None:
        yield line
