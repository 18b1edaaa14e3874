"""`nanomq start | stop | restart | reload`: texts and exit codes that scripts know from NanoMQ are kept."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING, Any

import click

from nanomq.cli.answer import count, executable, fail, tell
from nanomq.cli.configuration import TWO_FILES, check, config, convert, plan
from nanomq.cli.options import PrefixCommand, run, start_options
from nanomq.errors import ConfigError, NanomqError

if TYPE_CHECKING:
    from nanomq.broker import Broker
    from nanomq.cli.process import PidFile
    from nanomq.config import Effective


def main() -> None:
    """Entry point of `nanomq`."""
    sys.exit(run(lambda args: nanomq.main(args, standalone_mode=False), usage_code=1))


class _Group(click.Group):
    """No command, or an unknown one, shows the usage and exits 1, as NanoMQ does."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            click.echo(self.get_help(ctx))
            click.echo(f"\nThere is no command `{args[0]}`.", err=True)
            ctx.exit(1)
        return super().resolve_command(ctx, args)


@click.group(cls=_Group, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, help="Print the version and exit.")
@click.pass_context
def nanomq(ctx: click.Context, version: bool) -> None:
    """The nanomq MQTT broker.

    \b
    nanomq start                       run with /etc/nanomq.conf, or with defaults
    nanomq start --conf my.conf -d     run in the background
    nanomq check --conf my.conf        look for faults in a file
    nanomq config show                 each value, and where it is from
    nanomq plan new.conf               what another file would change
    nanomq convert mosquitto.conf      write a file of another broker as ours
    nanomq reload                      apply what changed in the file
    """
    if version:
        click.echo(f"nanomq {_version()}")
    elif ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
        click.echo(f"\nnanomq {_version()}")
        ctx.exit(1)


@nanomq.command(cls=PrefixCommand)
@start_options
def start(**flags: Any) -> int:
    """Run the broker until SIGTERM or SIGINT; SIGHUP reloads.

    \b
    nanomq start
    nanomq start --url nmq-tcp://0.0.0.0:1884 --log_level info
    """
    return _start(flags)


@nanomq.command(cls=PrefixCommand)
@start_options
def restart(**flags: Any) -> int:
    """Stop the running broker, if there is one, and start again with the flags given here."""
    from nanomq.cli.process import PidFile, end

    pid = PidFile(os.environ).running()
    try:
        if pid is not None and not end(pid, patience_s=6.0, kill=True):
            return fail(f"The broker with pid {pid} does not end.")
    except PermissionError:
        return fail(f"The broker with pid {pid} belongs to another user.")
    return _start(flags)


@nanomq.command(cls=PrefixCommand)
def stop() -> int:
    """Stop the running broker."""
    from nanomq.cli.process import PidFile, end

    pid = PidFile(os.environ).running()
    if pid is None:
        return fail(NOT_RUNNING)
    try:
        if not end(pid, patience_s=10.0, kill=False):
            return fail(f"The broker with pid {pid} does not end.")
    except PermissionError:
        return fail(f"The broker with pid {pid} belongs to another user.")
    click.echo("NanoMQ stopped.", err=True)
    return 0


@nanomq.command(cls=PrefixCommand)
@click.option("--conf", metavar="FILE", help="Configuration file; without it the one the broker runs with.")
@click.option("--old_conf", metavar="FILE", help="Configuration file of key=value lines, as NanoMQ 0.11 has them.")
def reload(conf: str | None, old_conf: str | None) -> int:
    """Apply a changed configuration to the running broker, and say what was applied."""
    from nanomq.cli.process import PidFile, ask

    pid_file = PidFile(os.environ)
    if pid_file.running() is None:
        return fail(NOT_RUNNING)
    if conf and old_conf:
        return _reload_failed(TWO_FILES)
    if (file := conf or old_conf) and not Path(file).is_file():
        return _reload_failed("conf_file does not exist")
    request = {"cmd": "reload", "conf_file": str(Path(file).absolute()) if file else None, "is_old": bool(old_conf)}
    try:
        answer = ask(pid_file, request)
    except (OSError, ValueError) as error:
        return _reload_failed(f"the broker does not answer at {pid_file.socket}: {error}")
    for title in ("warnings", "applied", "needs_restart", "rejected", "problems"):
        items = answer.get(title)
        for item in items if isinstance(items, list) else []:
            click.echo(f"{RELOAD_TITLES[title]}: {item}")
    if not answer.get("ok"):
        return _reload_failed(str(answer.get("reason", "")))
    click.echo("reload succeed!")
    return 0


nanomq.add_command(check)
nanomq.add_command(config)
nanomq.add_command(plan)
nanomq.add_command(convert)


def _start(flags: dict[str, Any]) -> int:
    from nanomq.cli.process import PidFile, into_background, running_already
    from nanomq.config import find_file, load

    conf, old_conf = flags.pop("conf"), flags.pop("old_conf")
    if conf and old_conf:
        return fail(TWO_FILES)
    command = executable()

    def load_again(file: str | None, is_old: bool) -> Effective:
        if file is None:
            file, is_old = old_conf, bool(old_conf)
        return load(file or find_file(conf, os.environ, command), env=os.environ, flags=flags, is_old=is_old)

    try:
        effective = load_again(None, False)
    except ConfigError as error:
        tell(error.warnings, error.problems)
        return fail(f"NanoMQ cannot start: {count(len(error.problems), 'fault')} in the configuration")
    tell(effective.warnings, [])
    pid_file = PidFile(os.environ)
    if (pid := pid_file.running()) is not None:
        return fail(*running_already(pid))
    ready = into_background() if effective["system.daemon"] else None
    try:
        return _serve(effective, load_again, pid_file, ready)
    except ConfigError as error:
        tell(error.warnings, error.problems)
        return fail("NanoMQ cannot start")
    except NanomqError as error:
        return fail(str(error))


def _serve(
    effective: Effective,
    load: Callable[[str | None, bool], Effective],
    pid_file: PidFile,
    ready: Callable[[], None] | None,
) -> int:
    import asyncio

    from nanomq import logs
    from nanomq.cli.process import Server

    def started(broker: Broker) -> None:
        for line in _banner(broker):
            click.echo(line)
        sys.stdout.flush()
        if ready is not None:
            ready()

    async def serve() -> None:
        await Server(effective, load, pid_file).run(started)

    logs.configure(effective)
    pid_file.claim()
    try:
        asyncio.run(serve())
    finally:
        pid_file.release()
    return 0


def _banner(broker: Broker) -> Iterator[str]:
    """What runs, what listens where, who may connect, how to try it, and the line that scripts wait for."""
    config = broker.config
    yield f"nanomq {_version()}, {executable()}"
    yield f"configuration: {config.file or 'built-in defaults, no file found'}"
    for listener in broker.listeners:
        yield f"listening: {listener['name']} {listener['address']} ({KINDS.get(listener['kind'], listener['kind'])})"
    if not broker.listeners:
        yield "WARNING: no listener is open, no client can connect; add a `listeners` block"
    reachable = [listener.name for listener in config.listeners if listener.is_reachable]
    if config["auth.allow_anonymous"] and reachable:
        yield (
            f"WARNING: ANONYMOUS ACCESS: whoever reaches {', '.join(reachable)} over the network may publish and "
            "subscribe to everything; set auth.allow_anonymous = false and auth.password, or listen at 127.0.0.1"
        )
    if broker.listeners:
        where = _address_options(broker)
        if not config["auth.allow_anonymous"]:
            where += " -u USER -P PASSWORD"
        tool = _tool()
        yield f"try it: {tool} sub{where} -t 'hello/#'"
        yield f"        {tool} pub{where} -t hello/world -m 'Hello'"
    yield "NanoMQ Broker is started successfully!"


def _tool() -> str:
    """`nanomq_cli` as a shell finds it: by its name, or beside this command when it is not on the PATH."""
    beside = Path(executable()).with_name("nanomq_cli")
    return "nanomq_cli" if which("nanomq_cli") or not beside.exists() else os.path.relpath(beside)


def _address_options(broker: Broker) -> str:
    scheme, _, rest = broker.url.partition("://")
    host, _, port = rest.rpartition(":")
    if scheme != "mqtt":
        return f" --url {broker.url}"
    return (f" -h {host}" if host != "127.0.0.1" else "") + (f" -p {port}" if port != "1883" else "")


def _reload_failed(reason: str) -> int:
    click.echo(f"reload failed, {reason}!" if reason else "reload failed!")
    return 1


def _version() -> str:
    import nanomq

    return nanomq.__version__


NOT_RUNNING = "There is no running NanoMQ instance."
RELOAD_TITLES = {
    "warnings": "warning",
    "applied": "applied",
    "needs_restart": "needs restart",
    "rejected": "rejected",
    "problems": "error",
}
KINDS = {
    "tcp": "MQTT over TCP",
    "tls": "MQTT over TLS",
    "ws": "MQTT over WebSocket",
    "wss": "MQTT over secure WebSocket",
    "unix": "MQTT over a Unix socket",
}
