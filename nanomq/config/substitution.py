"""`${path}` and `${?path}`: values that stand for others, of the same file or of the environment.

A reference means what its path holds in the end, after all includes and merges; a path that the file does not have is
looked up among the environment variables. `${?path}` of something that does not exist leaves what stood there before,
or nothing. NanoMQ has no references (differs); its placeholders `${clientid}`, `${username}` and `${VIN}` stand in
quoted texts, which are never touched.
"""

from __future__ import annotations

from collections.abc import Mapping

from nanomq.config import discretion
from nanomq.config.tree import MAX_DEPTH, Piece, Raw, RawValue, merge
from nanomq.errors import ConfigError, Problem


def resolve(root: Raw, env: Mapping[str, str]) -> None:
    """Replace every reference in a tree. Raises `ConfigError` with all that lead nowhere."""
    resolver = _Resolver(root, env)
    resolver.walk(root)
    if resolver.problems:
        raise ConfigError(resolver.problems)


class _Resolver:
    def __init__(self, root: Raw, env: Mapping[str, str]) -> None:
        self.root, self.env = root, env
        self.problems: list[Problem] = []
        self.under_way: list[tuple[Raw, str]] = []
        """The references being followed, each with its path: one that comes again is a circle."""
        self.copied = 0

    def walk(self, raw: Raw) -> None:
        """Resolve a value and all below it."""
        self.settle(raw)
        if isinstance(raw.value, dict):
            for name, item in list(raw.value.items()):
                self.walk(item)
                if item.is_missing:
                    del raw.value[name]
        elif isinstance(raw.value, list):
            for item in raw.value:
                self.walk(item)
            raw.value = [item for item in raw.value if not item.is_missing]

    def settle(self, raw: Raw) -> None:
        """Resolve a value, but not what is below it."""
        pieces, before = raw.pieces, raw.before
        if not pieces and before is None:
            return
        if pieces:
            try:
                found = self.join(raw, pieces)
            finally:
                raw.pieces = ()
            raw.before = None
            if found is None:
                raw.is_missing = True
            else:
                raw.value, raw.written, raw.loose = found.value, found.written, found.loose
        if before is not None:
            raw.before = None
            self.settle(before)
            if raw.is_missing and not before.is_missing:
                raw.value, raw.written, raw.loose, raw.place = before.value, before.written, before.loose, before.place
                raw.is_missing = False
            elif isinstance(raw.value, dict) and isinstance(before.value, dict):
                both = before.value
                for name, item in raw.value.items():
                    merge(both, (name,), item)
                raw.value = both

    def join(self, raw: Raw, pieces: tuple[Piece, ...]) -> Raw | None:
        """The value that the pieces make: a single reference keeps its kind, several pieces make a text."""
        if len(pieces) == 1:
            return self.find(raw, pieces[0])
        words, is_loose = "", False
        for piece in pieces:
            if not piece.is_reference:
                words += piece.text
                continue
            found = self.find(raw, piece)
            if found is None:
                continue
            if isinstance(found.value, (dict, list)):
                kind = "block" if isinstance(found.value, dict) else "list"
                self.tell(
                    raw,
                    f"`${{{discretion.path(piece.text)}}}` is a {kind}, which is no part of a text",
                    "refer to a single value",
                )
                continue
            words += found.written or (str(found.value).lower() if isinstance(found.value, bool) else str(found.value))
            is_loose = is_loose or found.loose
        return Raw(words, raw.place, loose=is_loose)

    def find(self, raw: Raw, piece: Piece) -> Raw | None:
        if any(raw is other for other, _ in self.under_way):
            names = [*(name for _, name in self.under_way), discretion.path(piece.text)]
            ring = " → ".join(f"`{name}`" for name in names)
            self.fail(raw, f"the reference leads back to itself: {ring}", "replace one of them by a value")
        if len(self.under_way) >= MAX_CHAIN:
            self.fail(raw, f"the reference leads through more than {MAX_CHAIN} others", "refer to the value itself")
        self.under_way.append((raw, discretion.path(piece.text)))
        try:
            found = self.look_up(piece, raw)
            if found is not None:
                self.walk(found)
                return None if found.is_missing else self.copy(found, raw, 0)
        finally:
            self.under_way.pop()
        if piece.text in self.env:
            return Raw(self.env[piece.text], raw.place, loose=True)
        if not piece.is_optional:
            name = discretion.path(piece.text)
            self.tell(
                raw,
                f"`${{{name}}}` is neither a key of the file nor an environment variable",
                f"define it, or write `${{?{name}}}` if it may be left out",
            )
        return None

    def look_up(self, piece: Piece, asking: Raw) -> Raw | None:
        """The value that a reference names. A value that refers to its own path means what stood there before."""
        at = self.root
        for segment in piece.text.split("."):
            if at.pieces or at.before:
                self.settle(at)
            step = at.value.get(segment) if isinstance(at.value, dict) else None
            if step is None:
                return None
            at = step
            at.is_referred_to = True
        if at is asking and (asking.before is not None or piece.is_optional or piece.text in self.env):
            return asking.before
        return at

    def copy(self, found: Raw, asking: Raw, depth: int) -> Raw:
        """A copy, because what is laid over the tree later must not change two places at once."""
        self.copied += 1
        if self.copied > MAX_COPIES or depth > MAX_DEPTH:
            self.fail(asking, "the references make too large a tree", "refer to smaller blocks")
        value: RawValue = found.value
        if isinstance(value, dict):
            value = {name: self.copy(item, asking, depth + 1) for name, item in value.items()}
        elif isinstance(value, list):
            value = [self.copy(item, asking, depth + 1) for item in value]
        return Raw(value, found.place if depth else asking.place, found.written, found.loose)

    def tell(self, raw: Raw, text: str, hint: str) -> None:
        self.problems.append(Problem("", str(raw.place), text, hint))

    def fail(self, raw: Raw, text: str, hint: str) -> None:
        self.tell(raw, text, hint)
        raise ConfigError(self.problems)


MAX_CHAIN = 32
MAX_COPIES = 100_000
