"""Defaults < file < environment `NANOMQ_*` < flags → one effective configuration that knows where each value is from.

All faults are found before anything is refused: `ConfigError.problems` lists them with place and advice. What loads but
deserves a word (unknown keys, keys of a later release) is in `Effective.warnings`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nanomq.config import discretion, formats, schema
from nanomq.config.overlay import UNKNOWN, Overlay, nearest, wrong_value
from nanomq.config.schema import Key
from nanomq.config.tree import Place, Raw, from_object, merge
from nanomq.config.values import Address, Wrong, read, show
from nanomq.config.writer import masked, write
from nanomq.errors import ConfigError, Problem


@dataclass(frozen=True, slots=True)
class Setting:
    """One effective value. `place` is None for a default."""

    key: Key
    value: object
    place: Place | None = None

    @property
    def origin(self) -> str:
        """`default`, `file:line:column`, `environment variable …` or a flag."""
        return str(self.place) if self.place else "default"

    @property
    def shown(self) -> object:
        """The value for a document such as JSON, its secrets masked."""
        value = masked(self.key, self.value)
        return show(self.key, value) if isinstance(value, Address) else value

    @property
    def written(self) -> str:
        """The value as HOCON, its secrets masked."""
        return write(self.key, masked(self.key, self.value))


@dataclass(frozen=True, slots=True)
class Listener:
    """One listener that will be opened. `name` is its path without `listeners.`; `items` are its values by key word."""

    name: str
    transport: str
    items: Mapping[str, Setting]

    @property
    def address(self) -> Address | str:
        """Where it listens: an address, or the path of a Unix socket."""
        value = self.items["bind"].value
        return value if isinstance(value, Address) else str(value)

    @property
    def is_reachable(self) -> bool:
        """Whether other machines may reach it."""
        return isinstance(self.address, Address) and not self.address.is_loopback


@dataclass(slots=True)
class Effective:
    """A configuration that can be used: every key with its value and origin, and the listeners to open."""

    settings: dict[str, Setting]
    listeners: list[Listener]
    file: Path | None = None
    warnings: list[Problem] = field(default_factory=list)

    def __getitem__(self, path: str) -> object:
        return self.settings[path].value

    def engine_settings(self) -> bytes:
        """The settings document of the engine, JSON."""
        document: dict[str, object] = {"listeners": [_engine_listener(item) for item in self.listeners]}
        for setting in self.settings.values():
            place = setting.key.engine
            if place and not place.startswith("listeners[]") and place != "shards":
                _put(document, place, setting.value)
        document["shards"] = self._shards()
        document["event_level"] = "error" if self["log.level"] == "fatal" else self["log.level"]
        if not self["auth.enable"]:
            _put(document, "auth.users", {})
        return json.dumps(document).encode()

    def needs_restart(self, new: Effective) -> list[str]:
        """Keys whose value in `new` differs and only takes effect in a new process."""
        return sorted(
            path
            for path, setting in new.settings.items()
            if setting.key.live == "restart"
            and setting.key.use != "nothing"
            and path in self.settings
            and self.settings[path].value != setting.value
        )

    def _shards(self) -> int:
        count, most = self["system.num_taskq_thread"], self["system.max_taskq_thread"]
        assert isinstance(count, int)
        assert isinstance(most, int)
        return min(count or os.cpu_count() or 1, most) if most else count


def load(
    path: str | Path | None,
    *,
    env: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
    text: str | None = None,
    is_old: bool = False,
) -> Effective:
    """Load a file (or `text`, for which `path` then only lends its name; or neither: defaults) with what overrides it.

    `env` is the process environment, `flags` maps names of `nanomq start` options to their values.
    `is_old` says that the file has the key=value lines of NanoMQ 0.11; without it they are recognised by their names.
    Raises `ConfigError`.
    """
    warnings: list[Problem] = []
    file = Path(path).absolute() if path is not None else None
    if text is not None:
        root = formats.read_text(text, str(path or "text"), warnings, env, is_old=is_old)
    elif path is not None and file is not None:
        root = formats.read_file(Path(path), warnings, env, is_old=is_old)
    else:
        root = Raw({}, Place("default"))
    flags = dict(flags or {})
    for name in schema.OLD_FILES:
        if (old := flags.pop(name, None)) and isinstance(root.value, dict):
            more = formats.read_old_file(Path(str(old)), warnings)
            for word, raw in more.items():
                merge(root.value, (word,), raw)
    return _Loader(root, warnings, file, env or {}, flags).effective()


def from_dict(config: Mapping[str, object], *, bind: Address | None = None) -> Effective:
    """Load plain data in the shape of the file, nested or with dotted keys. Environment and flags play no part.

    `bind` replaces 0.0.0.0:1883 as the listener of a configuration without `listeners`. Raises `ConfigError`.
    """
    return _Loader(from_object(config, Place("given configuration")), [], None, {}, {}, bind).effective()


def find_file(given: str | None, env: Mapping[str, str], executable: str) -> Path | None:
    """The main file: given, else of `NANOMQ_CONF_PATH`, else beside the executable, else in `/etc`, else none."""
    named = given or env.get("NANOMQ_CONF_PATH")
    if named:
        return Path(named)
    for candidate in (Path(executable).parent / "nanomq.conf", Path("/etc/nanomq.conf")):
        if candidate.is_file():
            return candidate
    return None


class _Loader:
    """The state of one load: the tree being overlaid and read, and what was found."""

    def __init__(
        self,
        root: Raw,
        warnings: list[Problem],
        file: Path | None,
        env: Mapping[str, str],
        flags: Mapping[str, object],
        bind: Address | None = None,
    ) -> None:
        self.warnings = warnings
        self.problems: list[Problem] = []
        self.file = file
        self.given: dict[str, Setting] = {}
        self.under_old_name: set[str] = set()
        self.tree = root.value if isinstance(root.value, dict) else {}
        if not isinstance(root.value, dict):
            self.problem("", root, "a block of keys")
        if "listeners" not in self.tree:
            block: dict[str, object] = {"bind": str(bind)} if bind else {"enable": True}
            self.tree["listeners"] = from_object({"tcp": block}, DEFAULT)
        overlay = Overlay(self.tree)
        overlay.environment(env)
        overlay.flags(flags)
        self.warnings += overlay.warnings
        self.problems += overlay.problems

    def effective(self) -> Effective:
        self.walk(self.tree, "", "")
        settings = {
            path: Setting(key, key.default) for path, key in schema.table().items() if not path.startswith("listeners.")
        }
        settings |= {path: setting for path, setting in self.given.items() if not path.endswith(".")}
        effective = Effective(settings, self.listeners(), self.file, self.warnings)
        for listener in effective.listeners:
            for word, setting in listener.items.items():
                settings[f"listeners.{listener.name}.{word}"] = setting
        self.check(effective)
        if self.problems:
            raise ConfigError(self.problems, self.warnings)
        return effective

    # --- reading the tree ---

    def walk(self, block: Mapping[str, Raw], prefix: str, written_prefix: str) -> None:
        """Read a block. `prefix` is its path in the table, `written_prefix` the path with the listener's name."""
        table, old = schema.table(), schema.old_names()
        for word, raw in block.items():
            path, written = prefix + word, raw.name or written_prefix + word
            key = table.get(path) or old.get(path)
            if key is not None:
                self.take(
                    key, raw, written, written_prefix if written_prefix != prefix else "", is_old=path not in table
                )
            elif path in schema.LATER:
                self.warnings.append(Problem(written, str(raw.place), "is known and takes effect in a later release"))
            elif any(known.startswith(f"{path}.") for known in (*table, *old, *schema.LATER)):
                if isinstance(raw.value, dict):
                    self.walk(raw.value, f"{path}.", f"{written}.")
                else:
                    self.problem(written, raw, "a block", f"{word} {{ … }}")
            elif prefix in _LISTENER_PREFIXES and prefix == written_prefix and isinstance(raw.value, dict):
                self.walk(raw.value, prefix, f"{written}.")
                self.given.setdefault(f"{written}.", Setting(table[f"{prefix}bind"], None, raw.place))
            elif not raw.is_referred_to:
                near = nearest(path, (*table, *old, *schema.LATER), 0.6)
                if written_prefix != prefix:
                    near = near.replace(prefix, written_prefix)
                hint = (
                    f"did you mean `{near}`" if near else "remove it, or look it up in docs/reference/configuration.md"
                )
                name, text = discretion.path(written), "is not a known key and is ignored"
                self.warnings.append(Problem(name, str(raw.place), text, hint, UNKNOWN))

    def take(self, key: Key, raw: Raw, written: str, named: str, *, is_old: bool) -> None:
        path = named + key.path.rpartition(".")[2] if named else key.path
        if is_old and path in self.given and path not in self.under_old_name:
            self.warnings.append(Problem(written, str(raw.place), f"is ignored, because `{path}` is set as well"))
            return
        try:
            if written.endswith("keepalive_backoff"):
                raw = self.thousandths(raw, written)
            value = read(key, raw)
        except Wrong as wrong:
            inner = wrong.path if wrong.path.startswith("[") else f".{wrong.path}" if wrong.path else ""
            self.problem(written + inner, wrong.raw or raw, wrong.expected, wrong.write, key.secret)
            return
        if key.kind in ("path", "certificates") and ".tls." in key.engine:
            value = self.located(value)
        self.given[path] = Setting(key, value, None if raw.place == DEFAULT else raw.place)
        (self.under_old_name.add if is_old else self.under_old_name.discard)(path)

    def thousandths(self, raw: Raw, written: str) -> Raw:
        """`keepalive_backoff = 1250` means 1.25 in NanoMQ's files (differs: its reader multiplies by 1250)."""
        if isinstance(raw.value, bool) or not isinstance(raw.value, (int, float)) or raw.value < 100:
            return raw
        factor = raw.value / 1000
        self.warnings.append(
            Problem(
                written,
                str(raw.place),
                f"{raw.value:g} is taken as thousandths",
                f"write mqtt.keepalive_multiplier = {factor:g}",
            )
        )
        return Raw(factor, raw.place)

    def located(self, value: object) -> object:
        """File names of TLS become absolute, so that the engine and a later reload find them from anywhere."""
        if isinstance(value, str) and value:
            return _locate(value, self.file)
        if isinstance(value, list):
            return [
                {word: _locate(part, self.file) if word != "key_password" else part for word, part in item.items()}
                if isinstance(item, dict)
                else item
                for item in value
            ]
        return value

    # --- listeners ---

    def listeners(self) -> list[Listener]:
        found = []
        for transport in schema.TRANSPORTS:
            prefix = f"listeners.{transport}."
            words = schema.known_listener_items(transport)
            names = dict.fromkeys(
                path.removeprefix(prefix).rpartition(".")[0] for path in self.given if path.startswith(prefix)
            )
            block = self.tree["listeners"].value
            raw = block.get(transport) if isinstance(block, dict) else None
            if raw is not None and raw.value == {}:
                names[""] = None  # an empty block opens the default address
            for name in names:
                start = f"{prefix}{name}." if name else prefix
                items = {
                    word: self.given.get(start + word)
                    or Setting(schema.table()[prefix + word], schema.table()[prefix + word].default)
                    for word in sorted(words)
                    if prefix + word in schema.table()
                }
                listener = Listener(f"{transport}.{name}" if name else transport, transport, items)
                if self.is_open(listener, start):
                    found.append(self.with_certificates_of_ssl(listener))
        return found

    def is_open(self, listener: Listener, start: str) -> bool:
        if not listener.items["enable"].value:
            return False
        if f"{start}bind" in self.given:
            return True
        written = start.rstrip(".")
        if listener.name != listener.transport or listener.transport == "unix":
            block = self.given.get(start)
            failed = any(problem.path == f"{start}bind" for problem in self.problems)
            if not failed:
                example = "/run/nanomq.sock" if listener.transport == "unix" else listener.items["bind"].key.default
                where = str(block.place) if block and block.place else ""
                self.problems.append(
                    Problem(
                        f"{start}bind", where, "is missing; a listener needs an address", f'write bind = "{example}"'
                    )
                )
            return False
        if listener.transport == "ssl" and f"{start}enable" not in self.given:
            # as NanoMQ: a block without `bind` opens nothing; it may only hold the certificate of `wss`
            if not any(path.startswith("listeners.wss.") for path in self.given):
                place = next((item.origin for item in listener.items.values() if item.place), "")
                self.warnings.append(
                    Problem(written, place, "has no `bind` and is not opened", 'write bind = "0.0.0.0:8883"')
                )
            return False
        return True

    def with_certificates_of_ssl(self, listener: Listener) -> Listener:
        """A wss listener without a certificate of its own uses what `listeners.ssl` says about TLS."""
        if listener.transport != "wss" or listener.items["certfile"].place or listener.items["keyfile"].place:
            return listener
        items = dict(listener.items)
        for item in schema.TLS_ITEMS:
            other = self.given.get(f"listeners.ssl.{item.name}")
            if other is not None and items[item.name].place is None:
                items[item.name] = other
        return Listener(listener.name, listener.transport, items)

    # --- what only the whole can tell ---

    def check(self, effective: Effective) -> None:
        taken: dict[tuple[str, int] | str, str] = {}
        for listener in effective.listeners:
            path = f"listeners.{listener.name}"
            bind, address = listener.items["bind"], listener.address
            if not isinstance(address, Address) or address.port:
                same = taken.setdefault(address[:2] if isinstance(address, Address) else address, path)
                if same != path:
                    text = f"value is `{address}`, which `{same}.bind` listens at already"
                    self.problems.append(Problem(f"{path}.bind", bind.origin, text, "choose another port"))
            if listener.transport in ("ssl", "wss"):
                self.check_tls(listener, path)
        log = effective.settings["log.to"]
        if isinstance(log.value, list) and "uds" in log.value and not effective["log.uds_addr"]:
            text = "the target `uds` needs `log.uds_addr`"
            self.problems.append(Problem("log.to", log.origin, text, 'write log.uds_addr = "/run/log.sock"'))
        users = effective["auth.password"] if effective["auth.enable"] else {}
        if not effective["auth.allow_anonymous"] and not users:
            place = effective.settings["auth.allow_anonymous"].origin
            text = "is false and `auth.password` has no users, so that no client can connect"
            self.warnings.append(
                Problem("auth.allow_anonymous", place, text, 'write auth.password { "name": "password" }')
            )

    def check_tls(self, listener: Listener, path: str) -> None:
        items = listener.items
        for word in ("certfile", "keyfile"):
            if not items[word].value:
                self.problems.append(
                    Problem(f"{path}.{word}", items["bind"].origin, "is missing; TLS needs a certificate and its key",
                            f'write {word} = "/etc/nanomq/{word.removesuffix("file")}.pem"')
                )  # fmt: skip
        for word in ("certfile", "keyfile", "cacertfile", "crlfile"):
            self.check_file(f"{path}.{word}", str(items[word].value), items[word])
        certificates = items["sni"].value
        for index, certificate in enumerate(certificates if isinstance(certificates, list) else []):
            for word in ("certfile", "keyfile"):
                self.check_file(f"{path}.sni[{index}].{word}", certificate[word], items["sni"])
        if items["fail_if_no_peer_cert"].value and not items["verify_peer"].value:
            place = items["fail_if_no_peer_cert"].origin
            self.warnings.append(
                Problem(
                    f"{path}.fail_if_no_peer_cert",
                    place,
                    "has no effect without `verify_peer`",
                    "write verify_peer = true",
                )
            )
        if items["verify_peer"].value and not items["cacertfile"].value:
            text = "is missing; `verify_peer` needs the authorities to check against"
            self.problems.append(
                Problem(
                    f"{path}.cacertfile", items["verify_peer"].origin, text, 'write cacertfile = "/etc/nanomq/ca.pem"'
                )
            )

    def check_file(self, path: str, name: str, setting: Setting) -> None:
        if not name:
            return
        try:
            with open(name, "rb"):
                return
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            self.problems.append(
                Problem(
                    path,
                    setting.origin,
                    f"{discretion.file(name)} cannot be read: {reason}",
                    "check the path and its permissions",
                )
            )

    def problem(self, path: str, raw: Raw, expected: str, write: str = "", secret: bool = False) -> None:
        self.problems.append(wrong_value(path, raw, expected, write, secret=secret))


def _engine_listener(listener: Listener) -> dict[str, object]:
    kind = "tls" if listener.transport == "ssl" else listener.transport
    document: dict[str, object] = {"name": listener.name, "kind": kind}
    for setting in listener.items.values():
        if setting.key.engine:
            _put(document, setting.key.engine.removeprefix("listeners[]."), setting.value)
    address = listener.address
    document["bind"] = str(address)
    if isinstance(address, Address) and listener.transport in ("ws", "wss"):
        document["path"] = address.path or "/mqtt"
    return document


def _put(document: dict[str, object], place: str, value: object) -> None:
    *groups, last = place.split(".")
    for group in groups:
        inner = document.setdefault(group, {})
        assert isinstance(inner, dict)
        document = inner
    document[last] = value


def _locate(name: str, file: Path | None) -> str:
    """A relative path is looked up in the working directory (as NanoMQ), then beside the main file."""
    for base in (Path.cwd(), *([file.parent] if file else [])):
        if "\0" not in name and (base / name).exists():
            return str(base / name)
    return str(Path.cwd() / name)


DEFAULT = Place("default")
_LISTENER_PREFIXES = frozenset(f"listeners.{transport}." for transport in schema.TRANSPORTS)
