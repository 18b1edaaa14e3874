"""What a message may repeat of what stands in a file: never something that could be a password in the wrong place."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path


def is_plain_name(word: str) -> bool:
    """Whether a word looks like the name of a key: letters, at most a few digits at the end."""
    return bool(_NAME.fullmatch(word))


@lru_cache(maxsize=1)
def known_words() -> frozenset[str]:
    """The words of which known keys are made."""
    from nanomq.config import schema  # late: the table is made of kinds of values, which use this file

    names = (*schema.table(), *schema.old_names(), *schema.LATER, *schema.KEY_VALUE)
    return frozenset(word for name in names for word in name.split("."))


def is_plain_value(text: str) -> bool:
    """Whether a text is a number with a unit, a short word of letters, or an address."""
    return any(form.fullmatch(text) for form in (_QUANTITY, _WORD, _ADDRESS))


def path(text: str) -> str:
    """The path of a key, with `…` for each part that does not look like a name."""
    return ".".join(part if is_plain_name(part) else "…" for part in text.split("."))


def user(name: str) -> str:
    """A user's name, unless a lost quote has made one of it and what follows."""
    return name if _USER.fullmatch(name) else "…"


def value(text: str) -> str:
    """A value in backticks if it is a number, a word or an address, else only how long it is."""
    return f"`{text}`" if is_plain_value(text) else f"a text of {len(text)} characters"


def file(name: str) -> str:
    """The name of a file in backticks, if it looks like one."""
    beside = Path(name).parent in (Path(), Path.cwd())
    if name.isprintable() and ("." in Path(name).name or not beside):
        return f"the file `{name}`"
    return "the file that is named there"


_NAME = re.compile(r"[A-Za-z_][A-Za-z_-]{0,60}\d{0,3}|\d{1,3}")
_USER = re.compile(r"[\w.@+-]{1,64}")
_QUANTITY = re.compile(r"[+-]?\d{1,20}(?:\.\d{1,20})?(?:[eE][+-]?\d{1,3})?\s?[A-Za-z]{0,6}")
_WORD = re.compile(r"[A-Za-z_-]{1,12}")
_ADDRESS = re.compile(
    r"(?:[a-z][a-z+-]{1,15}://)?(?:[A-Za-z.-]{0,60}|[0-9.]{1,20}|\[[0-9a-fA-F:.]{2,40}\]|\*):\d{1,6}(?:/[a-z/]{0,20})?"
)
