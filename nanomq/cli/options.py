"""Options as NanoMQ's tools take them: long ones may be cut to a prefix, faults are one line on stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import click


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
