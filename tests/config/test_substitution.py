"""References in HOCON: what they mean, and where they lead nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from nanomq.config import load
from nanomq.config.formats import read_file, read_text
from nanomq.config.tree import Raw
from nanomq.errors import ConfigError

ENV = {"PORT": "1884", "EMPTY": ""}


def plain(raw: Raw) -> object:
    if isinstance(raw.value, dict):
        return {key: plain(value) for key, value in raw.value.items()}
    if isinstance(raw.value, list):
        return [plain(value) for value in raw.value]
    return raw.value


def parse(text: str) -> object:
    return plain(read_text(text, "t", [], ENV))


def faults(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read_text(text, "t", [], ENV)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("a = 5\nb = ${a}", {"a": 5, "b": 5}),
        ("b = ${a}\na = 5", {"b": 5, "a": 5}),
        ("a { x = 1 }\nb = ${a.x}", {"a": {"x": 1}, "b": 1}),
        ("a { x = 1 }\nb = ${a}", {"a": {"x": 1}, "b": {"x": 1}}),
        ("a = [1, 2]\nb = [${a}, 3]", {"a": [1, 2], "b": [[1, 2], 3]}),
        ("a = ${b}\nb = ${c}\nc = 1", {"a": 1, "b": 1, "c": 1}),
        ("a = 5\nb = ${a}\na = 6", {"a": 6, "b": 6}),
        ("a = ${PORT}", {"a": "1884"}),
        ("a = ${EMPTY}", {"a": ""}),
        ("PORT = 1\na = ${PORT}", {"PORT": 1, "a": 1}),
        ("a = 127.0.0.1:${PORT}", {"a": "127.0.0.1:1884"}),
        ('a = "127.0.0.1:"${PORT}"/mqtt"', {"a": "127.0.0.1:1884/mqtt"}),
        ("n = 10\na = ${n}MB, b = 1", {"n": 10, "a": "10MB", "b": 1}),
        ("x = one\na = ${x} and ${x} # ${y}", {"x": "one", "a": "one and one"}),
        ("x = one\na = b // ${x}", {"x": "one", "a": "b"}),
        ("a = ${?nothing}", {}),
        ("a = 5\na = ${?nothing}", {"a": 5}),
        ("a = 5\na = ${?PORT}", {"a": "1884"}),
        ("a = [1, ${?nothing}]", {"a": [1]}),
        ("a = x${?nothing}y", {"a": "xy"}),
        ("p = /bin\np = ${p}:/usr", {"p": "/bin:/usr"}),
        ("a = ${?a}", {}),
        ("base { x = 1, y = 1 }\na = ${base}\na { y = 2 }", {"base": {"x": 1, "y": 1}, "a": {"x": 1, "y": 2}}),
        ("base { x = 1, y = 1 }\na = ${base}\na.y = 2", {"base": {"x": 1, "y": 1}, "a": {"x": 1, "y": 2}}),
        ("base { x = 1 }\na { y = 2 }\na = ${base}", {"base": {"x": 1}, "a": {"x": 1, "y": 2}}),
        ('a = "${clientid}"', {"a": "${clientid}"}),
        ("a = $x", {"a": "$x"}),
    ],
)
def test_reference_means(text: str, tree: object) -> None:
    assert parse(text) == tree


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = 1\nb = ${c}", "t:2:5: `${c}` is neither a key of the file nor an environment variable; define it"),
        ("a = ${a}", "t:1:5: the reference leads back to itself: `a` → `a`"),
        ("a = ${b}\nb = ${c}\nc = ${a}", "t:1:5: the reference leads back to itself: `b` → `c` → `a` → `b`"),
        ("a { x = ${a} }", "leads back to itself"),
        ("a { x = 1 }\nb = p${a}", "t:2:5: `${a}` is a block, which is no part of a text"),
        ("\n".join(f"a{n} = ${{a{n + 1}}}" for n in range(50)), "more than 32 others"),
        ("a0 = [1,2,3,4]\n" + "\n".join(f"a{n + 1} = [${{a{n}}}, ${{a{n}}}]" for n in range(25)), "too large a tree"),
    ],
)
def test_reference_that_leads_nowhere(text: str, message: str) -> None:
    assert message in faults(text)[0]


def test_all_references_that_lead_nowhere_are_told_at_once() -> None:
    assert len(faults("a = ${x}\nb = ${y}")) == 2


def test_reference_reaches_over_an_include(tmp_path: Path) -> None:
    (tmp_path / "more.conf").write_text("b = ${a}", encoding="utf-8")
    (tmp_path / "main.conf").write_text('include "more.conf"\na = 1', encoding="utf-8")
    assert plain(read_file(tmp_path / "main.conf", [])) == {"b": 1, "a": 1}


def test_what_is_laid_over_a_block_leaves_its_source_alone() -> None:
    text = "listeners.tcp { a { bind = 1884, nodelay = false }, b = ${listeners.tcp.a}, b.bind = 1885 }"
    listeners = {item.name: str(item.address) for item in load("t", text=text).listeners}
    assert listeners == {"tcp.a": "0.0.0.0:1884", "tcp.b": "0.0.0.0:1885"}


def test_switch_and_number_from_the_environment() -> None:
    text = "auth.allow_anonymous = ${A}\nmqtt.max_qos = ${?Q}"
    effective = load("t", text=text, env={"A": "yes", "Q": "1"})
    assert (effective["auth.allow_anonymous"], effective["mqtt.max_qos"]) == (True, 1)


def test_key_of_ones_own_is_fine_where_something_refers_to_it() -> None:
    text = "my { host = 127.0.0.1, prot = 1 }\nlisteners.tcp.bind = ${my.host}:1884\nother = 1"
    found = [warning.path for warning in load("t", text=text).warnings]
    assert found == ["other"]


def test_value_of_a_reference_has_the_place_of_the_reference() -> None:
    assert load("t", text="x = 1\nmqtt.max_qos = ${Q}", env={"Q": "1"}).settings["mqtt.max_qos"].origin == "t:2:16"
