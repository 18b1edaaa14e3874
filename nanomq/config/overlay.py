"""What overrides the file: variables `NANOMQ_*`, then flags of `nanomq start`, laid over the raw tree.

Also the words for a wrong value and the search for the nearest known name, which the reading of the tree shares.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from nanomq.config import discretion, schema
from nanomq.config.tree import Place, Raw, from_object, merge
from nanomq.config.values import Wrong, read
from nanomq.errors import Problem


class Overlay:
    """Lays values over a tree and keeps what was wrong with them."""

    def __init__(self, tree: dict[str, Raw]) -> None:
        self.tree = tree
        self.warnings: list[Problem] = []
        self.problems: list[Problem] = []

    def environment(self, env: Mapping[str, str]) -> None:
        """Lay the variables over the tree; an empty one counts as not set."""
        by_variable = {name: key for key in schema.table().values() for name in key.env}
        for name in sorted(name for name in env if name.startswith("NANOMQ_")):
            if key := by_variable.get(name):
                if env[name]:
                    self._set(key.path, Raw(env[name], Place(f"environment variable {name}"), loose=True))
            elif name.startswith(schema.LATER_ENV):
                self.warnings.append(Problem(name, "environment", "is known and takes effect in a later release"))
            elif name not in schema.OTHER_ENV and (near := nearest(name, by_variable, 0.85)):
                self.warnings.append(
                    Problem(name, "environment", "is not a known variable", f"did you mean `{near}`", UNKNOWN)
                )

    def flags(self, flags: Mapping[str, object]) -> None:
        """Lay the flags over the tree; None, False and an empty list count as not given."""
        by_flag = {key.flag: key for key in schema.table().values() if key.flag}
        targets: dict[str, bool] = {}
        for name, value in flags.items():
            if value is None or value is False or value in ((), []):
                continue
            place = Place(f"--{name}")
            if key := by_flag.get(name):
                if isinstance(value, (str, bool, int)):
                    self._set(key.path, Raw(value, place, loose=True))
            elif name == "url" and isinstance(value, (list, tuple)):
                for url in value:
                    self._url(str(url), place)
            elif name == "log_file":
                directory, slash, file = str(value).rpartition("/")
                self._set("log.dir", Raw(directory + slash, place))
                self._set("log.file", Raw(file, place))
                targets["file"] = True
            elif name in ("log_stdout", "log_syslog"):
                word = str(value).lower()
                if word not in ("true", "false"):
                    self.problems.append(wrong_value(name, Raw(str(value), place), "`true` or `false`", "true"))
                targets["console" if name == "log_stdout" else "syslog"] = word == "true"
            else:
                self.warnings.append(Problem(f"--{name}", "", "is known and takes effect in a later release"))
        if targets:
            self._log_targets(targets)

    def _url(self, url: str, place: Place) -> None:
        scheme = url.partition("://")[0].lower()
        for transport, (_, schemes, _) in schema.TRANSPORTS.items():
            if scheme in schemes:
                self._set(f"listeners.{transport}.bind", Raw(url, place))
                return
        known = ", ".join(f"`{schemes[0]}://`" for _, schemes, _ in schema.TRANSPORTS.values() if schemes)
        expected = f"an address that begins with one of {known}"
        self.problems.append(wrong_value("url", Raw(url, place), expected, "nmq-tcp://0.0.0.0:1883"))

    def _log_targets(self, switched: Mapping[str, bool]) -> None:
        """Add and remove targets of what `log.to` is up to here."""
        key = schema.table()["log.to"]
        block = self.tree.get("log")
        raw = block.value.get("to") if block is not None and isinstance(block.value, dict) else None
        try:
            targets = read(key, raw) if raw is not None else key.default
        except Wrong:
            return  # told when the tree is read
        assert isinstance(targets, list)
        chosen = [word for word in key.choices if switched.get(word, word in targets)]
        place = Place(" ".join(f"--{flag}" for word, flag in _LOG_FLAGS.items() if word in switched))
        self._set("log.to", from_object(chosen, place))

    def _set(self, path: str, raw: Raw) -> None:
        merge(self.tree, path.split("."), raw)


def wrong_value(path: str, raw: Raw, expected: str, write: str = "", *, secret: bool = False) -> Problem:
    """The words for a value that is not what its key expects; a secret is not repeated."""
    text = "is not shown" if secret else f"is {_shown(raw)}"
    hint = f"write `{write}`" if write else f"see `{path.partition('[')[0]}` in docs/reference/configuration.md"
    return Problem(path, str(raw.place), f"value {text}; expected {expected}", hint)


def nearest(word: str, known: Iterable[str], cutoff: float) -> str:
    """The known name that is most like a word, or an empty text."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(word, list(known), 1, cutoff)), "")


def _shown(raw: Raw) -> str:
    if raw.value in (None, ""):
        return "empty"
    if isinstance(raw.value, dict):
        return "a block"
    if isinstance(raw.value, list):
        return "a list"
    return discretion.value(raw.written or (str(raw.value).lower() if isinstance(raw.value, bool) else str(raw.value)))


UNKNOWN = "unknown_key"
"""`Problem.code` of a name that nobody knows; `nanomq check --strict` refuses it."""

_LOG_FLAGS = {"file": "log_file", "console": "log_stdout", "syslog": "log_syslog"}
