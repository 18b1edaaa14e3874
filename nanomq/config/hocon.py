"""HOCON as NanoMQ writes it, of which JSON is a subset.

* comments with `#` and `//`; `=` or `:` between key and value, nothing needed before a block; commas are optional;
* dotted keys make nested blocks, a quoted key keeps its dots;
* values are quoted texts, bare words (also with `:` and `/`, differs: NanoMQ wants quotes there), blocks and lists;
* `include "file"` and `include file("file")`, searched beside the including file, then in the working directory;
* `${path}` and `${?path}`, alone or joined with texts in the same line (`substitution`);
* a block given twice is merged, anything else is replaced by the later one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

from nanomq.config import discretion
from nanomq.config.tree import FLATTER, MAX_DEPTH, Piece, Place, Raw, merge
from nanomq.errors import ConfigError, Problem

if TYPE_CHECKING:
    from lark import Lark, Token, Tree

Include = Callable[[str, Place, bool], dict[str, Raw]]
"""Gives the content of an included file by its name, the place of the name, and whether it must exist."""


def parse(text: str, name: str, include: Include) -> Raw:
    """Text → tree; `name` is the file in places. Raises `ConfigError` at the first fault of the text."""
    return _Builder(name, include).block(_parse(text, name), Place(name, 1, 1), 0)


def bare(text: str) -> str | int | float | bool | None:
    """A word without quotes: a number, `true`, `false`, `null`, or a text."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _DECIMAL.fullmatch(text):
        return float(text)
    return text


class _Builder:
    """Parse tree of one file → raw tree."""

    def __init__(self, name: str, include: Include) -> None:
        self.name, self.include = name, include

    def block(self, members: Tree[Token], place: Place, nesting: int) -> Raw:
        if nesting > MAX_DEPTH:
            raise ConfigError([Problem("", str(place), f"blocks are nested more than {MAX_DEPTH} deep", FLATTER)])
        block: dict[str, Raw] = {}
        for member in _trees(members):
            if member.data == "include":
                keyword, name = _tokens(member)
                must_exist = keyword.type == "INCLUDE_FILE"
                where = self.place(name)
                for key, raw in self.include(_unquote(name), where, must_exist).items():
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
                raise ConfigError(
                    [Problem("", str(key_place), f"lists are nested more than {MAX_DEPTH} deep", FLATTER)]
                )
            return Raw([self.value(item, key_place, nesting + 1) for item in _trees(child)], key_place)
        token = next(_tokens(tree))
        if tree.data == "joined":
            return Raw(None, self.place(token), pieces=tuple(_pieces(token)))
        if tree.data == "quoted":
            return Raw(_unquote(token), self.place(token))
        return Raw(bare(str(token)), self.place(token), written=str(token))

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
                            f"{_named(piece)} stands where `=` or a block is expected after {_named(previous, 'the key')}",
                            "write `key = value`, or put a value of several words in quotes",
                        )
                    ]
                )
            parts = [_unquote(piece)] if piece.type == "STRING" else str(piece).split(".")
            segments[-1] += parts[0]
            segments += parts[1:]
        if not all(segments):
            name = discretion.path("".join(pieces))
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
    found = (str(token) if token is not None else line[place.column - 1 : place.column]).split("\n")[0]
    if found == '"':
        return Problem("", str(place), "a quote is opened and not closed in its line", 'add the closing `"`')
    if found in ("}", "]"):
        hint = f"remove it, or open the block or list before; a key needs a value before `{found}`"
    elif found in ("=", ":"):
        hint = "a value that holds `=` needs quotes, and a key needs a value in its own line"
    else:
        hint = "write `key = value` or `key { … }`; a value with special characters needs quotes"
    return Problem("", str(place), f"{_named(found)} is not expected here", hint)


def _named(text: str, kind: str = "") -> str:
    """A word that may be repeated; a password may stand anywhere in a text that is not well formed."""
    is_known = all(part in discretion.known_words() for part in text.split("."))
    if is_known or (len(text) == 1 and text.isprintable() and not text.isalnum()):
        return f"{kind} `{text}`".strip()
    if len(text) == 1 and not text.isprintable():
        return f"the control character U+{ord(text):04X}"
    return "a key" if kind else "this word"


def _pieces(token: Token) -> Iterator[Piece]:
    """The parts of `"a"${b}c`; spaces inside count, those around do not."""
    for match in _PIECE.finditer(token.strip()):
        if match[1] is not None:
            yield Piece(match[2], is_reference=True, is_optional=bool(match[1]))
        elif match[3] is not None:
            yield Piece(_unquote(match[3]))
        else:
            yield Piece(match[0])


def _unquote(token: str) -> str:
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
value: JOINED -> joined | STRING -> quoted | BARE -> bare | "{" members "}" -> object | "[" items "]" -> array
items: (item | ",")*
item: JOINED -> joined | STRING -> quoted | BARE -> bare | "{" members "}" -> object | "[" items "]" -> array
_SEPARATOR: /[=:]/
INCLUDE.3: /include(?=\s*")/
INCLUDE_FILE.3: /include\s+file\s*\(/
KEY: /(?!\/\/)[^\s"{}\[\],#=:]+/
BARE: /(?!\/\/)[^\s"{}\[\],#=]+(?:[ \t]+(?!\/\/)[^\s"{}\[\],#=]+)*/
JOINED.2: /(?![ \t]|\/\/)(?:[^\s"{}\[\],#=$]|"(?:[^"\\\n]|\\.)*"|[ \t](?!\/\/)|\$(?!\{))*\$\{[^\s"{}]*\}(?:[^\s"{}\[\],#=$]|"(?:[^"\\\n]|\\.)*"|[ \t](?!\/\/)|\$(?!\{)|\$\{[^\s"{}]*\})*/
STRING: /"(?:[^"\\\n]|\\.)*"/
COMMENT.2: /(#|\/\/)[^\n]*/
%ignore /\s+/
%ignore COMMENT
"""

_WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None}
_INTEGER = re.compile(r"[+-]?\d{1,18}")
_DECIMAL = re.compile(r"[+-]?\d{1,18}\.\d{1,18}(?:[eE][+-]?\d{1,2})?")
_PIECE = re.compile(r'\$\{(\??)([^\s"{}]*)\}|("(?:[^"\\\n]|\\.)*")|[^"$]+|\$')
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))")
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", '"': '"', "\\": "\\", "/": "/"}
