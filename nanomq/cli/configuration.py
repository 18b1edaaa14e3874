"""`nanomq check | config show | plan | convert`: look at a configuration without a broker."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nanomq.cli.answer import count, executable, fail, tell
from nanomq.cli.options import PrefixCommand, configuration_options, start_options
from nanomq.errors import ConfigError

if TYPE_CHECKING:
    from nanomq.config import Effective, Setting
    from nanomq.config.convert import Kind

TWO_FILES = "--conf and --old_conf both name the configuration file; give one of them"


@click.command(cls=PrefixCommand)
@configuration_options
@click.option("--strict", is_flag=True, help="Unknown keys and variables are faults.")
def check(conf: str | None, old_conf: str | None, strict: bool) -> int:
    """Read a configuration file and tell every fault with its place. Exit code 0: it can be used; 1: it cannot."""
    from nanomq.config import UNKNOWN

    file, effective = _load(conf, old_conf, {})
    if effective is None:
        return 1
    unknown = [warning for warning in effective.warnings if strict and warning.code == UNKNOWN]
    warnings = [warning for warning in effective.warnings if warning not in unknown]
    tell(warnings, unknown)
    if unknown:
        return fail(f"{file}: {count(len(unknown), 'fault')}, refused by --strict")
    click.echo(f"{file or 'built-in defaults'}: can be used, {count(len(warnings), 'warning')}")
    return 0


@click.group()
def config() -> None:
    """Look at the configuration.

    \b
    nanomq config show                 what is set, and where
    nanomq config show --effective     every key
    """


@config.command(cls=PrefixCommand)
@click.option("--effective", is_flag=True, help="Also what nobody has set: every key with its default.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@start_options
def show(effective: bool, as_json: bool, **flags: Any) -> int:
    """Show each value with its origin: file, line and column, variable, flag, or default. Secrets are `***`.

    The flags of `start` may be added, to see what they would do.
    """
    file, found = _load(flags.pop("conf"), flags.pop("old_conf"), flags)
    if found is None:
        return 1
    settings = {path: item for path, item in found.settings.items() if effective or item.place is not None}
    if as_json:
        click.echo(json.dumps(_document(file, settings, found), indent=2, ensure_ascii=False))
        return 0
    tell(found.warnings, [])
    click.echo(f"# {file or 'built-in defaults, no file found'}")
    for line in _lines(settings):
        click.echo(line)
    if not settings:
        click.echo("# nothing is set; --effective shows the defaults")
    return 0


@click.command(cls=PrefixCommand)
@click.argument("new", metavar="NEW")
@configuration_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def plan(new: str, conf: str | None, old_conf: str | None, as_json: bool) -> int:
    """Tell what would change with the file NEW, and what each change needs.

    The other side is the file of --conf, or the one that `start` would use. Nothing is applied.
    """
    from nanomq.config.plan import plan as compare

    old, before = _load(conf, old_conf, {})
    if before is None:
        return 1
    _, after = _load(new, None, {})
    if after is None:
        return 1
    steps = compare(before, after)
    if as_json:
        rows = [{name: getattr(step, name) for name in ("path", "how", "old", "new", "origin")} for step in steps]
        document = {"old": str(old) if old else None, "new": new, "steps": rows}
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
        return 0
    tell(after.warnings, [])
    title = ""
    for step in steps:
        if step.how != title:
            title = step.how
            click.echo(f"{title}: {MEANINGS[title]}")
        click.echo(f"  {step}")
    if not steps:
        click.echo(f"{new}: changes nothing of {old or 'the built-in defaults'}")
    return 0


@click.command(cls=PrefixCommand)
@click.argument("file", metavar="FILE")
@click.option("-o", "--output", metavar="OUT", help="Write to this new file instead of the screen.")
@click.option("--from", "kind", type=click.Choice(["mosquitto", "emqx", "nanomq"]), help="Whose file it is, where it is not recognised.")  # fmt: skip
def convert(file: str, output: str | None, kind: Kind | None) -> int:
    """Write FILE, of Mosquitto, EMQX or an older NanoMQ, as HOCON that `nanomq check` accepts.

    Lines without counterpart become comments at its end.
    """
    from nanomq.config.convert import convert as rewrite

    target = Path(output) if output else None
    try:
        done = rewrite(Path(file), target, os.environ, kind)
    except ConfigError as error:
        tell(error.warnings, error.problems)
        return fail(f"{file}: cannot be converted")
    if target is None:
        click.echo(done.text, nl=False)
    else:
        try:
            # passwords may be in it: for this user alone, and never in place of another file
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            return fail(f"{target}: cannot be written: {error.strerror}; choose another name")
        with open(descriptor, "w", encoding="utf-8") as stream:
            stream.write(done.text)
    tell(done.effective.warnings, [])
    click.echo(
        f"{file}: {count(done.values, 'value')} taken over, {count(len(done.notes), 'comment')} at the end, "
        f"read as a file of {KINDS[done.kind]}",
        err=True,
    )
    return 0


def _lines(settings: dict[str, Setting]) -> list[str]:
    lines = [f"{path} = {item.written}" for path, item in settings.items()]
    width = max((len(line) for line in lines if len(line) <= MAX_WIDTH), default=0)
    return [f"{line:<{width}}  # {item.origin}" for line, item in zip(lines, settings.values(), strict=True)]


def _document(file: Path | None, settings: dict[str, Setting], found: Effective) -> dict[str, object]:
    return {
        "file": str(file) if file else None,
        "settings": {path: {"value": item.shown, "origin": item.origin} for path, item in settings.items()},
        "warnings": [str(warning) for warning in found.warnings],
    }


def _load(conf: str | None, old_conf: str | None, flags: dict[str, Any]) -> tuple[Path | None, Effective | None]:
    """The file and what it means together with environment and flags; its faults are told, then it is None."""
    from nanomq.config import find_file, load

    if conf and old_conf:
        fail(TWO_FILES)
        return None, None
    file = find_file(conf or old_conf, os.environ, executable())
    try:
        return file, load(file, env=os.environ, flags=flags, is_old=bool(old_conf))
    except ConfigError as error:
        tell(error.warnings, error.problems)
        fail(f"{file or 'built-in defaults'}: {count(len(error.problems), 'fault')}, cannot be used")
        return file, None


KINDS = {"mosquitto": "Mosquitto", "emqx": "EMQX", "nanomq": "NanoMQ"}
MAX_WIDTH = 60
MEANINGS = {
    "live": "`nanomq reload` applies it at once",
    "new connections": "`nanomq reload` applies it, for clients that connect after it",
    "listener opens": "`nanomq reload` opens it",
    "listener closes": "`nanomq reload` closes it",
    "listener restarts": "`nanomq reload` closes it and opens it again",
    "needs restart": "takes effect with `nanomq restart`",
    "no effect": "kept for files of NanoMQ",
}
