"""Options as NanoMQ's tools take them: long ones may be cut to a prefix, faults are one line on stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., object])


class PrefixCommand(click.Command):
    """A command whose long options may be shortened to any prefix that names only one of them."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, self._completed(ctx, args))

    def _completed(self, ctx: click.Context, args: Sequence[str]) -> list[str]:
        owners: dict[str, click.Option] = {}
        for param in self.get_params(ctx):
            if isinstance(param, click.Option):
                owners |= dict.fromkeys([*param.opts, *param.secondary_opts], param)
        completed: list[str] = []
        rest = iter(args)
        for arg in rest:
            if arg == "--":
                completed.append(arg)
                break
            name, equals, value = arg.partition("=")
            if name.startswith("--"):
                name = _complete(name, owners, ctx)
                arg = name + equals + value
            completed.append(arg)
            owner = owners.get(name)
            if owner is not None and not equals and not owner.is_flag and not owner.count:
                completed += [value for _, value in zip(range(owner.nargs), rest, strict=False)]
        return [*completed, *rest]


def configuration_options(command: Command) -> Command:
    """The two flags that name the main file."""
    for option in (
        click.option("--old_conf", metavar="FILE", help="Configuration file of key=value lines, as NanoMQ 0.11 has them."),
        click.option("--conf", metavar="FILE", help="Configuration file; without it the one that `start` would use."),
    ):  # fmt: skip
        command = option(command)
    return command


def start_options(command: Command) -> Command:
    """The flags of `start` and `restart`; each overrides the file and the environment."""
    for option in reversed([
        click.option("--url", multiple=True, metavar="URL", help="Listener by scheme: nmq-tcp://, tls+nmq-tcp://, nmq-ws://, nmq-wss://."),
        click.option("-d", "--daemon", is_flag=True, help="Run in the background."),
        click.option("-t", "--tq_thread", metavar="N", help="Engine threads, 0 = one per core."),
        click.option("-T", "--max_tq_thread", metavar="N", help="Upper bound of --tq_thread."),
        click.option("-n", "--parallel", metavar="N", help="No effect, accepted for old scripts."),
        click.option("-s", "--property_size", metavar="N", help="Size expected of a user property."),
        click.option("-S", "--msq_len", metavar="N", help="Messages that wait for one client."),
        click.option("-D", "--qos_duration", metavar="SECONDS", help="Retry interval of QoS 1 and 2."),
        click.option("--http", is_flag=True, help="HTTP server (later release)."),
        click.option("-p", "--port", metavar="N", help="Port of the HTTP server (later release)."),
        click.option("--cacert", metavar="FILE", help="Authorities of client certificates."),
        click.option("-E", "--cert", metavar="FILE", help="Certificate of the TLS listener."),
        click.option("--key", metavar="FILE", help="Key of the certificate."),
        click.option("--keypass", metavar="TEXT", help="Password of the key."),
        click.option("--verify", is_flag=True, help="Ask clients for a certificate."),
        click.option("--fail", is_flag=True, help="Refuse clients without a certificate."),
        click.option("--log_level", metavar="LEVEL", help="trace, debug, info, warn, error or fatal."),
        click.option("--log_file", metavar="FILE", help="Log to this file as well."),
        click.option("--log_stdout", metavar="true|false", help="Log to the console."),
        click.option("--log_syslog", metavar="true|false", help="Log to syslog."),
        *(click.option(f"--{name}", metavar="FILE", help="File of key=value lines of NanoMQ 0.11, read as well.")
          for name in ("bridge", "aws_bridge", "rule", "webhook", "auth", "auth_http")),
    ]):  # fmt: skip
        command = option(command)
    return configuration_options(command)


def run(command: Callable[[list[str]], object], args: list[str] | None = None, *, usage_code: int) -> int:
    """Run a click command; faults of usage are one line on stderr and `usage_code`. Returns the exit code."""
    try:
        code = command(sys.argv[1:] if args is None else args)
    except click.UsageError as error:
        print(error.format_message(), file=sys.stderr)
        return usage_code
    except click.ClickException as error:
        print(error.format_message(), file=sys.stderr)
        return 1
    except (click.Abort, KeyboardInterrupt):
        return 130
    return code if isinstance(code, int) else 0


def _complete(name: str, owners: dict[str, click.Option], ctx: click.Context) -> str:
    if name in owners:
        return name
    found = [option for option in owners if option.startswith(name)]
    if len({id(owners[option]) for option in found}) > 1:
        raise click.UsageError(f"option {name} is ambiguous: {', '.join(sorted(found))}", ctx)
    return found[0] if found else name
