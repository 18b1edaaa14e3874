"""JSON, TOML and YAML: the same tree as HOCON, with places."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from nanomq.config import Effective, load
from nanomq.config.formats import read_file
from nanomq.config.tree import Raw
from nanomq.errors import ConfigError

SAME = {
    "json": """{
  "mqtt": {"max_qos": 1, "queue_ttl": "2h"},
  "listeners": {"tcp": {"bind": "127.0.0.1:1884", "a": {"bind": "127.0.0.1:1885"}}},
  "auth": {"password": {"ann.b": "0123"}},
  "log": {"to": ["file", "console"]}
}""",
    "toml": """
auth.password."ann.b" = "0123"
[mqtt]
max_qos = 1
queue_ttl = "2h"
[listeners.tcp]
bind = "127.0.0.1:1884"
a.bind = "127.0.0.1:1885"
[log]
to = [
  "file",
  "console",
]
""",
    "yaml": """
mqtt: {max_qos: 1, queue_ttl: 2h}
listeners:
  tcp:
    bind: 127.0.0.1:1884
    a: {bind: "127.0.0.1:1885"}
auth:
  password:
    "ann.b": 0123
log:
  to: [file, console]
""",
}


def put(place: Path, text: str, suffix: str) -> Path:
    file = place / f"t.{suffix}"
    file.write_text(text, encoding="utf-8")
    return file


def effective(place: Path, text: str, suffix: str) -> Effective:
    return load(put(place, text, suffix))


def fault(place: Path, text: str, suffix: str) -> str:
    with pytest.raises(ConfigError) as caught:
        effective(place, text, suffix)
    return str(caught.value).replace(f"{place}/", "")


@pytest.mark.parametrize("suffix", SAME)
def test_formats_mean_the_same(suffix: str, tmp_path: Path) -> None:
    found = effective(tmp_path, SAME[suffix], suffix)
    assert found.warnings == []
    assert (found["mqtt.max_qos"], found["mqtt.queue_ttl"], found["log.to"]) == (1, 7200, ["file", "console"])
    assert found["auth.password"] == {"ann.b": "0123"}
    assert [str(listener.address) for listener in found.listeners] == ["127.0.0.1:1884", "127.0.0.1:1885"]


@pytest.mark.parametrize(
    ("suffix", "origin"), [("json", "t.json:2:23"), ("toml", "t.toml:4:1"), ("yaml", "t.yaml:2:17")]
)
def test_value_knows_its_place(suffix: str, origin: str, tmp_path: Path) -> None:
    setting = effective(tmp_path, SAME[suffix], suffix).settings["mqtt.max_qos"]
    assert setting.origin == str(tmp_path / origin)


@pytest.mark.parametrize(
    ("suffix", "text", "message"),
    [
        ("json", '{\n "mqtt": {"max_qos": 7}\n}', "mqtt.max_qos (t.json:2:22): value is `7`"),
        ("json", '{"a": 1,}', "t.json:1:9: not JSON: "),
        ("json", "{'a': 1}", "t.json:1:2: not JSON: "),
        ("json", "[1]", "t.json:1:1: not JSON: the text is not a block"),
        ("json", '{"a":' * 5000 + "1" + "}" * 5000, "nested more than 64"),
        ("toml", "[mqtt]\nmax_qos = 7", "mqtt.max_qos (t.toml:2:1): value is `7`"),
        ("toml", "[mqtt]\nmax_qos 7", "t.toml:2:9: not TOML: expected"),
        ("toml", "[mqtt\nmax_qos = 7", "t.toml:1:6: not TOML: "),
        ("toml", ". " * 4000, "t.toml:1:1: not TOML: "),
        ("toml", 'a = """x', "t.toml:1:9: not TOML: "),
        ("toml", "a = " + "[" * 5000, "not TOML: "),
        ("yaml", "mqtt:\n  max_qos: 7", "mqtt.max_qos (t.yaml:2:12): value is `7`"),
        ("yaml", "mqtt:\n  max_qos: 1\n bad", "t.yaml:3:2: not YAML: something else is expected here"),
        ("yaml", "a: *b", "t.yaml:1:4: not YAML: found undefined alias"),
        ("yaml", "a: \x01", "t.yaml:1:4: not YAML: a control character"),
        ("yaml", "? [1]\n: 2", "not YAML: a key is a block or a list"),
        ("yaml", "- a", "value is a list; expected a block of keys"),
        ("yaml", "a: " + "[" * 5000, "not YAML: "),
        ("yaml", "a0: &a0 [1]\n" + "".join(f"a{n + 1}: &a{n + 1} [*a{n}, *a{n}]\n" for n in range(40)), "repeated too often"),
    ],
)  # fmt: skip
def test_fault_has_place_and_words(suffix: str, text: str, message: str, tmp_path: Path) -> None:
    assert message in fault(tmp_path, text, suffix)


def test_yaml_words_are_words(tmp_path: Path) -> None:
    text = "auth: {allow_anonymous: false, password: {a: yes, b: null_, c: 1_000, d: true}}"
    assert effective(tmp_path, text, "yml")["auth.password"] == {"a": "yes", "b": "null_", "c": "1_000", "d": "true"}


def test_yaml_inherits_by_name(tmp_path: Path) -> None:
    text = "x: &x {nodelay: false}\nlisteners: {tcp: {<<: *x, bind: 1884}}"
    (listener,) = effective(tmp_path, text, "yaml").listeners
    assert (listener.items["nodelay"].value, str(listener.address)) == (False, "0.0.0.0:1884")


def test_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    message = fault(tmp_path, "a: 1", "yaml")
    assert message.startswith("t.yaml: YAML files need the extra `nanomq[yaml]`; run `pip install 'nanomq[yaml]'`")


def test_document_can_be_included(tmp_path: Path) -> None:
    put(tmp_path, '"ann" = "secret"', "toml")
    main = put(tmp_path, 'auth.password { include "t.toml" }', "conf")
    raw = read_file(main, [])
    assert isinstance(raw.value, dict)
    auth = raw.value["auth"].value
    assert isinstance(auth, dict)
    password = auth["password"]
    assert isinstance(password, Raw) and isinstance(password.value, dict)
    assert password.value["ann"].place.source == str(tmp_path / "t.toml")
