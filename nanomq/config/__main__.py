"""`python -m nanomq.config` writes docs/reference/configuration.md from the table; with `-` it prints it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from nanomq.config import schema
from nanomq.config.schema import Key
from nanomq.config.values import show

TARGET = Path("docs/reference/configuration.md")
"""Relative to the working directory: the command is run at the root of the repository."""


def reference() -> str:
    """The configuration reference as Markdown."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    table = schema.table()
    yield from INTRODUCTION.strip().split("\n")
    yield from ("", "## listeners", "")
    yield from LISTENERS.strip().split("\n")
    yield ""
    yield from _listener_rows(table.values())
    for block, text in BLOCKS.items():
        yield from ("", f"## {block}", "", text, "")
        yield "| Key | Kind | Default | Range | A change needs | Since | Meaning |"
        yield "|---|---|---|---|---|---|---|"
        for key in table.values():
            if key.path.startswith(f"{block}."):
                yield _row(f"`{key.path}`", key)
    yield from ("", "## Environment variables and flags", "")
    yield "A variable overrides the file, a flag of `nanomq start` overrides both. An empty variable counts as not set."
    yield from ("", "| Key | Variable | Flag |", "|---|---|---|")
    for key in table.values():
        if key.env or key.flag:
            yield f"| `{key.path}` | {_code(key.env)} | {_code([f'--{key.flag}'] if key.flag else [])} |"
    yield "| `listeners.*.bind`, by the scheme of the url |  | `--url` |"
    yield "| `log.to`, `log.dir`, `log.file` |  | `--log_file`, `--log_stdout`, `--log_syslog` |"
    yield from (
        "",
        "## Old names",
        "",
        "These load as well; the name in the first column wins when both are given.",
        "",
    )
    yield from ("| Key | Old names |", "|---|---|")
    for key in table.values():
        if key.old:
            yield f"| `{key.path}` | {_code(key.old)} |"
    yield from ("", "## Key=value files", "")
    yield from KEY_VALUE.strip().split("\n")
    yield from ("", "| Line | Key |", "|---|---|")
    for name, path in schema.KEY_VALUE.items():
        yield f"| `{name}` | `{schema.old_names()[path].path if path in schema.old_names() else path}` |"
    yield "| `auth.N.login`, `auth.N.password` | `auth.password` |"
    later = _code(block + "*" if block.endswith((".", "_")) else block for block in schema.KEY_VALUE_LATER)
    yield from ("", f"Known, without effect yet: {later}.")
    yield from ("", "## Known, without effect yet", "")
    yield (
        "These blocks load, give one warning, and take effect in a later release: " + _code(sorted(schema.LATER)) + "."
    )


def _listener_rows(keys: Iterable[Key]) -> Iterator[str]:
    yield "| Key | In | Kind | Default | Range | A change needs | Since | Meaning |"
    yield "|---|---|---|---|---|---|---|---|"
    transports: dict[tuple[str, str], list[str]] = {}
    first: dict[tuple[str, str], Key] = {}
    for key in keys:
        if key.path.startswith("listeners."):
            _, transport, word = key.path.split(".")
            transports.setdefault((word, key.text), []).append(transport)
            first.setdefault((word, key.text), key)
    for (word, text), names in transports.items():
        key = first[word, text]
        cells = _row(f"`{word}`", key, binds=word == "bind").split(" | ", 1)
        yield f"{cells[0]} | {', '.join(names)} | {cells[1]}"


def _row(name: str, key: Key, *, binds: bool = False) -> str:
    default = "see above" if binds else f"`{show(key, key.default)}`" if key.default not in ("", [], {}, None) else ""
    if key.kind in ("enum", "enums"):
        bounds = _code(key.choices)
    else:
        bounds = ("above " if key.above else "") + " to ".join(
            show(key, bound) for bound in (key.low, key.high) if bound is not None
        )
    needs = "nothing" if key.live == "live" else f"a {key.live}" if key.live == "restart" else key.live
    since = f"NanoMQ {key.since}" if key.since != "ours" else "ours"
    return f"| {name} | {KINDS[key.kind]} | {default} | {bounds} | {needs} | {since} | {key.text} |"


def _code(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


INTRODUCTION = """
# Configuration reference

Generated from `nanomq/config/schema.py` by `python -m nanomq.config`; edit there.

The broker reads one file: given with `--conf`, else named by `NANOMQ_CONF_PATH`, else `nanomq.conf` beside the
executable, else `/etc/nanomq.conf`, else built-in defaults. Later wins: defaults, file, environment, flags.
A name that ends in `.json`, `.toml`, `.yaml` or `.yml` says the format; any other file is in NanoMQ's HOCON dialect, or
has the key=value lines of NanoMQ 0.11. What you do with all this: [the guide](../guides/configuration.md).

```
mqtt.max_packet_size = 1MB        # `=` or `:`; dotted keys
listeners.tcp { bind = "0.0.0.0:1883" }
auth.password = { include "nanomq_pwd.conf" }
```

`#` and `//` begin a comment, commas are optional, a block given twice is merged, a list is replaced. An included file
is searched beside the including file, then in the working directory. `${path}` outside of quotes stands for another key
of the file or for an environment variable, `${?path}` for one that may be missing. Unknown keys give a warning, wrong values an error
with file, line and column; `nanomq check --conf FILE` shows all of them.

Sizes are bytes or carry `B`, `KB`, `MB`, `GB` (of 1024). Times are seconds or carry `ms`, `s`, `m`, `h`, `d`.
Switches are `true` or `false`.
"""

KEY_VALUE = """
One `key=value` a line, as in NanoMQ 0.11 to 0.13; the file is recognised by these names, or named by `--old_conf`.
`max_packet_size` counts KB, `qos_duration` seconds. TCP opens unless `enable=false`, TLS if `tls.enable=true`, WebSocket
if it is named, secure WebSocket if it is named and TLS is on. `nanomq convert FILE` writes the same as HOCON.
"""

LISTENERS = """
Kinds: `tcp` (0.0.0.0:1883), `ssl` (0.0.0.0:8883), `ws` (0.0.0.0:8083/mqtt), `wss` (0.0.0.0:8086/mqtt), `unix` (a path).
Without a `listeners` block TCP opens alone; with one, only what it names. `listeners.tcp.NAME { bind = … }` adds further
listeners, with the same keys. An `ssl` block without `bind` opens nothing. A `wss` block without a certificate uses what
`listeners.ssl` says about TLS. The word for a listener in logs and metrics is its path, such as `tcp` or `tcp.NAME`.
"""

BLOCKS = {
    "mqtt": "The protocol: limits, queues, what is offered to clients.",
    "auth": "Who may connect. A client that presents a wrong password is refused even where anonymous clients are let in.",
    "system": "The process.",
    "log": "Log lines: `YYYY-MM-DD HH:MM:SS [pid] LEVEL event key=value …`, or JSON.",
}

KINDS = {
    "int": "number",
    "float": "number",
    "bool": "switch",
    "size": "size",
    "time": "time",
    "time_ms": "time (ms)",
    "enum": "word",
    "enums": "list of words",
    "address": "address",
    "text": "text",
    "path": "path",
    "texts": "block",
    "certificates": "list",
}

if __name__ == "__main__":
    if sys.argv[1:] == ["-"]:
        sys.stdout.write(reference())
    else:
        TARGET.parent.mkdir(parents=True, exist_ok=True)
        TARGET.write_text(reference(), encoding="utf-8")
