"""A configuration in the making: what a conversion has found so far."""

from __future__ import annotations

from nanomq.config import discretion, schema, writer
from nanomq.config.schema import Key
from nanomq.config.tree import Place, Raw
from nanomq.config.values import Wrong, read


class Draft:
    """Our keys with their values as written, and comments for what has no place among them."""

    def __init__(self, name: str) -> None:
        self.name = name
        """The file that is converted, in comments."""
        self.values: dict[str, str] = {}
        self.notes: list[str] = []

    def set(self, path: str, value: object, place: Place, source: str = "") -> bool:
        """Take a value over. One that the key does not take becomes a comment that names `source`."""
        raw = value if isinstance(value, Raw) else Raw(value, place, loose=True)  # type: ignore[arg-type]
        key = _key(path)
        if raw.value in ("", None) or raw.value == {}:
            return False
        try:
            taken = read(key, raw)
        except Wrong as wrong:
            self.note(place, source or path, f"{path} expects {wrong.expected}")
            return False
        self.values[path] = writer.write(key, taken)
        return True

    def note(self, place: Place, source: str, why: str) -> None:
        """A comment for one line. `source` names what stands there; values are left out, for they may be secret."""
        where = f"{self.name}:{place.line}" if place.line else self.name
        self.note_at(where, discretion.path(source) if " " not in source else source, why)

    def note_at(self, where: str, source: str, why: str) -> None:
        """The same, where the place is text already."""
        words = f"{where}: {source}: {why}" if where else f"{source}: {why}"
        self.notes.append("".join(letter if letter.isprintable() else "?" for letter in words))

    def listeners(self) -> list[str]:
        """Paths of the listeners, the longest first."""
        paths = {path.rpartition(".")[0] for path in self.values if path.startswith("listeners.")}
        return sorted(paths, key=len, reverse=True)

    def text(self) -> str:
        """The whole as HOCON."""
        values = dict(sorted(self.values.items(), key=lambda item: ORDER.index(item[0].partition(".")[0])))
        lines = [f"# Written by `nanomq convert {self._printable_name()}`.", *writer.blocks(values)]
        if not any(path.startswith("listeners.") for path in values):
            lines.append("listeners {}")
        if self.notes:
            lines += ["", "# Without counterpart:", *(f"# {note}" for note in self.notes)]
        return "\n".join(lines) + "\n"

    def _printable_name(self) -> str:
        return "".join(letter if letter.isprintable() else "?" for letter in self.name)


def _key(path: str) -> Key:
    """The key of a path, which may be that of a named listener."""
    first, *rest = path.split(".")
    return schema.table()[f"listeners.{rest[0]}.{rest[-1]}" if first == "listeners" else path]


ORDER = ("listeners", "mqtt", "auth", "system", "log")
