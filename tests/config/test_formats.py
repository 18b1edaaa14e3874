"""The HOCON dialect: what is accepted, and where faults are seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from nanomq.config.formats import read_file, read_text
from nanomq.config.tree import Place, Raw
from nanomq.errors import ConfigError, Problem


def plain(raw: Raw) -> object:
    """The tree without places."""
    if isinstance(raw.value, dict):
        return {key: plain(value) for key, value in raw.value.items()}
    if isinstance(raw.value, list):
        return [plain(value) for value in raw.value]
    return raw.value


def parse(text: str) -> object:
    return plain(read_text(text, "t", []))


def fault(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read_text(text, "t", [])
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("a = 1 # one\n// two\nb = 2 // three", {"a": 1, "b": 2}),
        ("a = 1\nb: 2, c = 3", {"a": 1, "b": 2, "c": 3}),
        ("{ a = 1 }", {"a": 1}),
        ("a { b = 1 }", {"a": {"b": 1}}),
        ("a.b.c = 1", {"a": {"b": {"c": 1}}}),
        ('"a.b" = 1', {"a.b": 1}),
        ('a."b.c".d = 1', {"a": {"b.c": {"d": 1}}}),
        ("a = [1, 2\n3]", {"a": [1, 2, 3]}),
        ("a = [{b = 1}, {b = 2}]", {"a": [{"b": 1}, {"b": 2}]}),
        ("a { b = 1, c = 1 }\na { b = 2 }", {"a": {"b": 2, "c": 1}}),
        ("a = [1, 2]\na = [3]", {"a": [3]}),
        ("a { b = 1 }\na = 2", {"a": 2}),
        ("a = true, b = false, c = null", {"a": True, "b": False, "c": None}),
        ("a = -1.5, b = 10MB, c = on", {"a": -1.5, "b": "10MB", "c": "on"}),
        ("a = 0.0.0.0:1883", {"a": "0.0.0.0:1883"}),
        ("a = nmq-tcp://0.0.0.0:1883", {"a": "nmq-tcp://0.0.0.0:1883"}),
        ("a = two words", {"a": "two words"}),
        (r'a = "\"x\"\n\u00e9 \d"', {"a": '"x"\n\u00e9 \\d'}),
        ('a = "# not a comment"', {"a": "# not a comment"}),
        ('{"a": {"b": [1, "x", null, true, 1.5]}}', {"a": {"b": [1, "x", None, True, 1.5]}}),
        ("", {}),
        ("\ufeffa = 1", {"a": 1}),
        ("include = 1", {"include": 1}),
    ],
)
def test_text_gives_tree(text: str, tree: object, tmp_path: Path) -> None:
    file = tmp_path / "t"
    file.write_text(text, encoding="utf-8")
    assert plain(read_file(file, [])) == tree


def test_value_knows_its_place() -> None:
    raw = read_text("a {\n  b = 5\n}", "x.conf", [])
    assert isinstance(raw.value, dict)
    assert isinstance(raw.value["a"].value, dict)
    assert raw.value["a"].value["b"].place == Place("x.conf", 2, 7)


def test_bare_word_keeps_what_was_written() -> None:
    raw = read_text("a = 0123", "t", [])
    assert isinstance(raw.value, dict)
    assert (raw.value["a"].value, raw.value["a"].written) == (123, "0123")


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("a = 1\nb = {", "t:2:6", "the text ends"),
        ("a = 1\n}", "t:2:1", "`}` is not expected"),
        ('a = "x\nb = 1', "t:1:5", "a quote is opened"),
        ("a b = 1", "t:1:3", "this word stands where `=` or a block is expected after a key"),
        ("mqtt max_qos = 1", "t:1:6", "`max_qos` stands where `=` or a block is expected after the key `mqtt`"),
        ("a..b = 1", "t:1:1", "has an empty part"),
        ("a = b = c", "t:1:7", "`=` is not expected"),
        ("a =\nb = 1", "t:2:3", "`=` is not expected"),
        ("a = [1}", "t:1:7", "`}` is not expected"),
        ("a = {" * 100 + "}" * 100, "t:1:", "nested more than"),
        ("a = " + "[" * 100 + "]" * 100, "t:1:", "nested more than"),
    ],
)
def test_fault_has_place_and_words(text: str, place: str, words: str) -> None:
    message = fault(text)
    assert message.startswith(place)
    assert words in message


def test_include_is_searched_beside_the_including_file(tmp_path: Path) -> None:
    (tmp_path / "users.conf").write_text('"a.b": "secret"', encoding="utf-8")
    (tmp_path / "main.conf").write_text('auth.password = { include "users.conf" }', encoding="utf-8")
    assert plain(read_file(tmp_path / "main.conf", [])) == {"auth": {"password": {"a.b": "secret"}}}


def test_include_is_searched_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "main").mkdir()
    (tmp_path / "more.conf").write_text("b = 2", encoding="utf-8")
    (tmp_path / "main" / "main.conf").write_text('a = 1\ninclude file("more.conf")', encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert plain(read_file(tmp_path / "main" / "main.conf", [])) == {"a": 1, "b": 2}


def test_value_of_an_included_file_knows_that_file(tmp_path: Path) -> None:
    (tmp_path / "more.conf").write_text("\nb = 2", encoding="utf-8")
    (tmp_path / "main.conf").write_text('include "more.conf"', encoding="utf-8")
    raw = read_file(tmp_path / "main.conf", [])
    assert isinstance(raw.value, dict)
    assert str(raw.value["b"].place) == f"{tmp_path / 'more.conf'}:2:5"


def test_missing_quoted_include_is_a_warning() -> None:
    warnings: list[Problem] = []
    read_text('include "nowhere.conf"', "t", warnings)
    assert [warning.place for warning in warnings] == ["t:1:9"]


def test_missing_file_include_is_an_error() -> None:
    assert "nowhere.conf" in fault('include file("nowhere.conf")')


def test_files_that_include_each_other_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.conf").write_text('include "b.conf"', encoding="utf-8")
    (tmp_path / "b.conf").write_text('include "a.conf"', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"b\.conf:1:9\): the file includes itself: `a.conf` → `b.conf` → `a.conf`"):
        read_file(tmp_path / "a.conf", [])


def test_file_may_be_included_twice(tmp_path: Path) -> None:
    (tmp_path / "b.conf").write_text("x = 1", encoding="utf-8")
    (tmp_path / "a.conf").write_text('a { include "b.conf" }\nb { include "b.conf" }', encoding="utf-8")
    assert plain(read_file(tmp_path / "a.conf", [])) == {"a": {"x": 1}, "b": {"x": 1}}


def test_too_many_files_in_a_row_are_an_error(tmp_path: Path) -> None:
    for number in range(12):
        (tmp_path / f"{number}.conf").write_text(f'include "{number + 1}.conf"', encoding="utf-8")
    with pytest.raises(ConfigError, match="more than 10 deep"):
        read_file(tmp_path / "0.conf", [])


def test_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_file(tmp_path / "nowhere", [])


def test_directory_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_file(tmp_path, [])


def test_file_that_is_not_text_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"a = \xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_file(tmp_path / "x", [])
