"""The difference of two configurations as steps, each with what it needs: nothing, a new connection, a restart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from nanomq.config import discretion
from nanomq.config.load import Effective, Listener, Setting

How = Literal["live", "new connections", "listener opens", "listener closes", "listener restarts", "needs restart", "no effect"]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Step:
    """One change. `old` and `new` are written as in a file, without secrets; `origin` is that of the new value."""

    path: str
    how: How
    old: str
    new: str
    origin: str

    def __str__(self) -> str:
        if not self.old or not self.new:
            return f"{self.path}: {self.new or self.old} ({self.origin})"
        return f"{self.path}: {self.old} → {self.new} ({self.origin})"


def plan(old: Effective, new: Effective) -> list[Step]:
    """What a broker that runs with `old` does to run with `new`, in the order of `HOWS`."""
    steps = [*_keys(old, new), *_listeners(old, new)]
    return sorted(steps, key=lambda step: HOWS.index(step.how))


def _keys(old: Effective, new: Effective) -> Iterator[Step]:
    for path, setting in new.settings.items():
        before = old.settings.get(path)
        if before is not None and not path.startswith("listeners.") and before.value != setting.value:
            yield _step(path, before, setting)


def _listeners(old: Effective, new: Effective) -> Iterator[Step]:
    before = {listener.name: listener for listener in old.listeners}
    after = {listener.name: listener for listener in new.listeners}
    for name in dict.fromkeys([*before, *after]):
        path = f"listeners.{name}"
        if name not in after:
            yield Step(path, "listener closes", _where(before[name]), "", before[name].items["bind"].origin)
        elif name not in before:
            yield Step(path, "listener opens", "", _where(after[name]), after[name].items["bind"].origin)
        else:
            for word, setting in after[name].items.items():
                if before[name].items[word].value != setting.value:
                    yield _step(f"{path}.{word}", before[name].items[word], setting)


def _step(path: str, before: Setting, after: Setting) -> Step:
    key = after.key
    how: How = "no effect" if key.use == "nothing" else NEEDS[key.live]
    if key.secret and isinstance(before.value, Mapping) and isinstance(after.value, Mapping):
        return Step(path, how, "", _names(before.value, after.value), after.origin)
    if key.secret and before.written == after.written:
        return Step(path, how, "", "changed", after.origin)
    return Step(path, how, before.written, after.written, after.origin)


def _names(old: Mapping[str, object], new: Mapping[str, object]) -> str:
    """`adds ann, removes bob, changes eve`: what happened to a block whose values are secret."""
    words = {
        "adds": [name for name in new if name not in old],
        "removes": [name for name in old if name not in new],
        "changes": [name for name in new if name in old and old[name] != new[name]],
    }
    return ", ".join(
        f"{word} {', '.join(f'`{discretion.user(name)}`' for name in names)}" for word, names in words.items() if names
    )


def _where(listener: Listener) -> str:
    return listener.items["bind"].written


NEEDS: dict[str, How] = {
    "live": "live",
    "new connections": "new connections",
    "listener": "listener restarts",
    "restart": "needs restart",
}
HOWS: tuple[How, ...] = (
    "live", "new connections", "listener opens", "listener closes", "listener restarts", "needs restart", "no effect",
)  # fmt: skip
