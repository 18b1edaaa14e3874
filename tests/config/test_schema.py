"""The table of keys: complete, documented, and every key acted upon by somebody."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from nanomq.config import from_dict, load, schema
from nanomq.config.__main__ import TARGET, reference
from nanomq.config.schema import Key
from nanomq.config.tree import Place, Raw
from nanomq.config.values import Address, read, show

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "etc" / "nanomq.conf"
KEYS = list(schema.table().values())
every_key = pytest.mark.parametrize("key", KEYS, ids=lambda key: key.path)


@every_key
def test_key_has_a_text_that_is_a_sentence(key: Key) -> None:
    assert key.text.endswith(".")


@every_key
def test_key_without_effect_says_why(key: Key) -> None:
    assert (key.use == "nothing") == key.text.startswith("No effect")


@every_key
def test_key_for_the_engine_has_a_place_in_its_settings(key: Key) -> None:
    assert bool(key.engine) == (key.use == "engine")


@every_key
def test_number_has_a_range(key: Key) -> None:
    if key.kind in ("int", "float", "size", "time", "time_ms"):
        assert key.low is not None
        assert key.high is not None


@every_key
def test_default_reads_back_as_itself(key: Key) -> None:
    if key.default is None or key.kind in ("texts", "certificates"):
        return
    if key.kind == "enums":
        assert isinstance(key.default, list)
        raw = Raw([Raw(word, Place("test")) for word in key.default], Place("test"))
    else:
        address = f"{key.default}{key.default.path}" if isinstance(key.default, Address) else None
        raw = Raw(address or show(key, key.default), Place("test"))
    assert read(key, raw) == key.default


@every_key
def test_value_reaches_the_settings_of_the_engine(key: Key) -> None:
    if key.use != "engine" or key.kind in ("address", "certificates") or ".tls." in key.engine:
        return
    value = _another_value(key)
    config: dict[str, object] = {key.path: value}
    if key.path.startswith("listeners.") and not key.path.endswith(".bind"):
        transport = key.path.split(".")[1]
        config = {f"listeners.{transport}": {"bind": "/tmp/x" if transport == "unix" else "127.0.0.1:0"}} | config
        if transport in ("ssl", "wss"):
            config |= {f"listeners.{transport}.{word}": __file__ for word in ("certfile", "keyfile")}
    document = json.loads(from_dict(config).engine_settings())
    place = key.engine
    if place.startswith("listeners[]."):
        document, place = document["listeners"][0], place.removeprefix("listeners[].")
    for group in place.split("."):
        document = document[group]
    assert document == value


def test_old_names_are_not_names_of_keys() -> None:
    assert not set(schema.old_names()) & set(schema.table())


def test_flags_are_unique() -> None:
    flags = [key.flag for key in KEYS if key.flag]
    assert len(flags) == len(set(flags))


def test_variables_are_unique() -> None:
    variables = [name for key in KEYS for name in key.env]
    assert len(variables) == len(set(variables))


def test_reference_is_current() -> None:
    assert (ROOT / TARGET).read_text(encoding="utf-8") == reference(), "run: python -m nanomq.config"


@every_key
def test_key_is_in_the_reference(key: Key) -> None:
    word = key.path.rpartition(".")[2] if key.path.startswith("listeners.") else key.path
    assert f"| `{word}` |" in (ROOT / TARGET).read_text(encoding="utf-8")


def test_shipped_sample_loads_without_a_word() -> None:
    effective = load(SAMPLE)
    assert effective.warnings == []
    assert [listener.name for listener in effective.listeners] == ["tcp", "ws"]


def test_every_commented_key_of_the_sample_is_known() -> None:
    sample = SAMPLE.read_text(encoding="utf-8")
    sample = re.sub(r"^(\s*)# +(?=[\w.]+ [={]|\})", r"\1", sample, flags=re.MULTILINE)
    sample = re.sub(r'"/etc/nanomq/\w+\.pem"', f'"{__file__}"', sample)
    effective = load("nanomq.conf", text=sample.replace('include "nanomq_pwd.conf"', ""))
    assert [str(warning) for warning in effective.warnings] == []
    assert len(effective.listeners) == 6


def _another_value(key: Key) -> object:
    if key.kind == "bool":
        return not key.default
    if key.kind == "enum":
        return next(choice for choice in key.choices if choice != key.default)
    if key.kind in ("int", "float", "size", "time"):
        assert key.low is not None
        assert key.high is not None
        near = int(key.low) + (2 if key.above else 1)
        return near if near != key.default else near + 1
    if key.kind == "texts":
        return {"name": "word"}
    return "something"
