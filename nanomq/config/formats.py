"""Text of configuration files → one raw tree in which every value knows its file, line and column.

HOCON as NanoMQ writes it, of which JSON is a subset:

* comments with `#` and `//`; `=` or `:` between key and value, nothing needed before a block; commas are optional;
* dotted keys make nested blocks, a quoted key keeps its dots;
* values are quoted texts, bare words (also with `:` and `/`, differs: NanoMQ wants quotes there), blocks and lists;
* `include "file"` and `include file("file")`, searched beside the including file, then in the working directory;
* a block given twice is merged, anything else is replaced by the later one.

TOML, YAML and the key=value dialect of NanoMQ 0.11 give the same tree and find their place in `read_file`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from nanomq.errors import ConfigError, Problem

if TYPE_CHECKING:
    from lark import Lark, Token, Tree


class Place(NamedTuple):
    """Where a value was written. `line` 0 means that `source` is not a file (a variable, a flag)."""

    source: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}" if self.line else self.source


@dataclass(slots=True)
class Raw:
    """One value as written: a block (`dict`), a list, or a scalar.

    `written` is a bare word before it was taken for a number (a password may be `0123`). `loose` marks text that had
    no way to show its type: an environment variable, a flag.
    """

    value: RawValue
    place: Place
    written: str = ""
    loose: bool = False


RawValue = dict[str, Raw] | list[Raw] | str | int | float | bool | None


def read_file(path: Path, warnings: list[Problem]) -> Raw:
    """Read a file with its includes. Raises `ConfigError` when it cannot be read or is not well formed."""
    return _Reader(warnings).file(path, "configuration file", depth=0)


def read_text(text: str, name: str, warnings: list[Problem]) -> Raw:
    """Read configuration text; `name` stands for the file in places."""
    return _Reader(warnings).text(text, name, Path.cwd(), depth=0)


def from_object(value: object, place: Place) -> Raw:
    """Turn plain Python data into the raw tree. Keys may be dotted, as in a file."""
    return _from_object(value, place, 0)


def merge(into: dict[str, Raw], segments: Sequence[str], raw: Raw) -> None:
    """Set a value below `into`: blocks are merged with what is there, anything else replaces it."""
    for segment in segments[:-1]:
        step = into.get(segment)
        if step is None or not isinstance(step.value, dict):
            step = into[segment] = Raw({}, raw.place)
        assert isinstance(step.value, dict)
        into = step.value
    last = segments[-1]
    old = into.get(last)
    if old is not None and isinstance(old.value, dict) and isinstance(raw.value, dict):
        for key, value in raw.value.items():
            merge(old.value, (key,), value)
    else:
        into[last] = raw


def _from_object(value: object, place: Place, depth: int) -> Raw:
    if depth > MAX_DEPTH:
        raise ConfigError([Problem("", str(place), f"blocks are nested more than {MAX_DEPTH} deep")])
    if isinstance(value, Mapping):
        block: dict[str, Raw] = {}
        for key, item in value.items():
            merge(block, str(key).split("."), _from_object(item, place, depth + 1))
        return Raw(block, place)
    if isinstance(value, (list, tuple, set, frozenset)):
        return Raw([_from_object(item, place, depth + 1) for item in value], place)
    if value is None or isinstance(value, (str, int, float, bool)):
        return Raw(value, place)
    return Raw(str(value), place)


class _Reader:
    """Reads one main file and what it includes."""

    def __init__(self, warnings: list[Problem]) -> None:
        self.warnings = warnings

    def file(self, path: Path, what: str, depth: int) -> Raw:
        try:
            if path.stat().st_size > MAX_FILE_BYTES:
                raise ConfigError([Problem("", str(path), f"the {what} is larger than {MAX_FILE_BYTES >> 20} MB")])
            text = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise ConfigError(
                [Problem("", str(path), f"the {what} is not UTF-8 text (byte {error.start})", "save it as UTF-8")]
            ) from None
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise ConfigError(
                [Problem("", str(path), f"the {what} cannot be read: {reason}", "check the path and its permissions")]
            ) from None
        return self.text(text, str(path), path.parent, depth)

    def text(self, text: str, name: str, directory: Path, depth: int) -> Raw:
        return _Builder(self, name, directory, depth).block(_parse(text, name), Place(name, 1, 1), 0)

    def include(self, name: str, place: Place, directory: Path, depth: int, must_exist: bool) -> dict[str, Raw]:
        if depth >= MAX_INCLUDES:
            raise ConfigError(
                [
                    Problem(
                        "include",
                        str(place),
                        f"files include each other more than {MAX_INCLUDES} deep",
                        f"look for a file that includes itself, such as `{name}`",
                    )
                ]
            )
        for base in (directory, Path.cwd()):
            try:
                found = (base / name).is_file()
            except (OSError, ValueError):  # a name that no file can have
                found = False
            if found:
                raw = self.file(base / name, "included file", depth + 1)
                assert isinstance(raw.value, dict)
                return raw.value
        problem = Problem(
            "include",
            str(place),
            f"`{name}` is neither beside the including file nor in the working directory",
            "create it, or remove the line",
        )
        if must_exist:
            raise ConfigError([problem])
        self.warnings.append(problem)  # NanoMQ skips a missing file of the quoted form
        return {}


class _Builder:
    """Parse tree of one file → raw tree."""

    def __init__(self, reader: _Reader, name: str, directory: Path, depth: int) -> None:
        self.reader, self.name, self.directory, self.depth = reader, name, directory, depth

    def block(self, members: Tree[Token], place: Place, nesting: int) -> Raw:
        if nesting > MAX_DEPTH:
            raise ConfigError([Problem("", str(place), f"blocks are nested more than {MAX_DEPTH} deep")])
        block: dict[str, Raw] = {}
        for member in _trees(members):
            if member.data == "include":
                keyword, name = _tokens(member)
                must_exist = keyword.type == "INCLUDE_FILE"
                where = self.place(name)
                for key, raw in self.reader.include(
                    _unquote(name), where, self.directory, self.depth, must_exist
                ).items():
                    merge(block, (key,), raw)
            else:
                path, content = _trees(member)
                first = next(_tokens(path))
                segments = self.segments(list(_tokens(path)))
                if member.data == "block":
                    merge(block, segments, self.block(content, self.place(first), nesting + len(segments)))
                else:
                    merge(block, segments, self.value(content, self.place(first), nesting + len(segments)))
        return Raw(block, place)

    def value(self, tree: Tree[Token], key_place: Place, nesting: int) -> Raw:
        child = tree.children[0]
        if tree.data == "object" and not isinstance(child, str):
            return self.block(child, key_place, nesting)
        if tree.data == "array" and not isinstance(child, str):
            if nesting > MAX_DEPTH:
                raise ConfigError([Problem("", str(key_place), f"lists are nested more than {MAX_DEPTH} deep")])
            return Raw([self.value(item, key_place, nesting + 1) for item in _trees(child)], key_place)
        token = next(_tokens(tree))
        if tree.data == "quoted":
            return Raw(_unquote(token), self.place(token))
        return Raw(_bare(str(token)), self.place(token), written=str(token))

    def segments(self, pieces: list[Token]) -> list[str]:
        """Join the pieces of a key: `auth.password."a.b"` is a bare and a quoted piece."""
        segments = [""]
        for previous, piece in zip([None, *pieces], pieces, strict=False):
            if previous is not None and previous.end_pos != piece.start_pos:
                raise ConfigError(
                    [
                        Problem(
                            "",
                            str(self.place(piece)),
                            f"`{piece}` stands where `=` or a block is expected after the key `{previous}`",
                            f"write `{previous} = …`, or put a value of several words in quotes",
                        )
                    ]
                )
            parts = [_unquote(piece)] if piece.type == "STRING" else str(piece).split(".")
            segments[-1] += parts[0]
            segments += parts[1:]
        if not all(segments):
            name = "".join(pieces)
            raise ConfigError(
                [Problem("", str(self.place(pieces[0])), f"the key `{name}` has an empty part", "remove the extra dot")]
            )
        return segments

    def place(self, token: Token) -> Place:
        return Place(self.name, token.line or 1, token.column or 1)


def _parse(text: str, name: str) -> Tree[Token]:
    from lark.exceptions import UnexpectedInput, UnexpectedToken

    try:
        tree = _grammar().parse(text)
    except UnexpectedInput as error:
        token = error.token if isinstance(error, UnexpectedToken) else None
        if token is not None and token.type == "$END":
            lines = text.split("\n")
            place = Place(name, len(lines), len(lines[-1]) + 1)
            raise ConfigError(
                [Problem("", str(place), "the text ends where a value, `}` or `]` is expected", "add it")]
            ) from None
        place = Place(name, error.line if error.line > 0 else 1, error.column if error.column > 0 else 1)
        raise ConfigError([_syntax_problem(text, place, token)]) from None
    child = tree.children[0]
    assert not isinstance(child, str)
    return child


def _syntax_problem(text: str, place: Place, token: Token | None) -> Problem:
    lines = text.split("\n")
    line = lines[place.line - 1] if place.line <= len(lines) else ""
    found = (str(token) if token is not None else line[place.column - 1 : place.column]).split("\n")[0][:40]
    if not found.isprintable():
        found = found.encode("unicode_escape").decode()
    if found == '"':
        return Problem("", str(place), "a quote is opened and not closed in its line", 'add the closing `"`')
    if found in ("}", "]"):
        hint = f"remove it, or open the block or list before; a key needs a value before `{found}`"
    elif found in ("=", ":"):
        hint = "a value that holds `=` needs quotes, and a key needs a value in its own line"
    else:
        hint = "write `key = value` or `key { … }`; a value with special characters needs quotes"
    return Problem("", str(place), f"`{found}` is not expected here", hint)


def _bare(text: str) -> str | int | float | bool | None:
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _DECIMAL.fullmatch(text):
        return float(text)
    return text


def _unquote(token: Token) -> str:
    text = _ESCAPE.sub(_unescape, token[1:-1])
    # `\ud83d\ude00` is one character; half of such a pair is none
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _unescape(match: re.Match[str]) -> str:
    if match[1]:
        return chr(int(match[1], 16))
    return _ESCAPED.get(match[2], match[0])


def _trees(tree: Tree[Token]) -> Iterator[Tree[Token]]:
    for child in tree.children:
        if not isinstance(child, str):
            yield child


def _tokens(tree: Tree[Token]) -> Iterator[Token]:
    for child in tree.children:
        if isinstance(child, str):
            yield child


@lru_cache(maxsize=1)
def _grammar() -> Lark:
    from lark import Lark  # late: a start without a file does not pay for it

    return Lark(GRAMMAR, parser="lalr", lexer="contextual")


# A value in a block and an item of a list are two rules with the same body: after an item a bare word may follow,
# after a value only a key, and the lexer decides by the parser's state.
GRAMMAR = r"""
start: members | "{" members "}"
members: (member | ",")*
member: path _SEPARATOR value | path "{" members "}" -> block | (INCLUDE STRING | INCLUDE_FILE STRING ")") -> include
path: (KEY | STRING)+
value: STRING -> quoted | BARE -> bare | "{" members "}" -> object | "[" items "]" -> array
items: (item | ",")*
item: STRING -> quoted | BARE -> bare | "{" members "}" -> object | "[" items "]" -> array
_SEPARATOR: /[=:]/
INCLUDE.3: /include(?=\s*")/
INCLUDE_FILE.3: /include\s+file\s*\(/
KEY: /(?!\/\/)[^\s"{}\[\],#=:]+/
BARE: /(?!\/\/)[^\s"{}\[\],#=]+(?:[ \t]+(?!\/\/)[^\s"{}\[\],#=]+)*/
STRING: /"(?:[^"\\\n]|\\.)*"/
COMMENT.2: /(#|\/\/)[^\n]*/
%ignore /\s+/
%ignore COMMENT
"""

MAX_INCLUDES = 10
MAX_DEPTH = 64
MAX_FILE_BYTES = 16 << 20

_WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None}
_INTEGER = re.compile(r"[+-]?\d{1,18}")
_DECIMAL = re.compile(r"[+-]?\d{1,18}\.\d{1,18}(?:[eE][+-]?\d{1,2})?")
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))")
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", '"': '"', "\\": "\\", "/": "/"}
