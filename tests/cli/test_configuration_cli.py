"""`nanomq check | config show | plan` as a user sees them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from nanomq.cli.broker import nanomq
from nanomq.cli.options import run


class Said(NamedTuple):
    code: int
    out: str
    err: str


Call = Callable[..., Said]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Runs `nanomq` with these words in a directory and an environment of its own."""
    for name in [name for name in os.environ if name.startswith("NANOMQ_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> Said:
        code = run(lambda args: nanomq.main(args, standalone_mode=False), list(words), usage_code=1)
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return call


def conf(text: str, name: str = "my.conf") -> str:
    Path(name).write_text(text, encoding="utf-8")
    return name


SECRETS = (
    'auth.password { ann = "hunter2", bob = "s3cret" }\nlisteners.ssl { enable = false, key_password = "topsecret" }'
)


# --- check ---


def test_unknown_key_is_a_warning(call: Call) -> None:
    said = call("check", "--conf", conf("mqtt.max_qso = 1"))
    assert (said.code, said.out) == (0, "my.conf: can be used, 1 warning\n")
    assert said.err.endswith("did you mean `mqtt.max_qos`\n")


def test_strict_refuses_all_unknown_keys_at_once(call: Call) -> None:
    said = call("check", "--strict", "--conf", conf("mqtt.max_qso = 1\nlgo.level = x\nhttp_server.port = 1"))
    assert said.code == 1
    assert [line.split(" (")[0] for line in said.err.splitlines()] == [
        "warning: http_server",
        "error: mqtt.max_qso",
        "error: lgo",
        "my.conf: 2 faults, refused by --strict",
    ]


def test_strict_accepts_a_good_file(call: Call) -> None:
    assert call("check", "--strict", "--conf", conf("mqtt.max_qos = 1")).code == 0


def test_strict_refuses_a_mistyped_variable(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NANOMQ_LOG_LEVL", "info")
    assert "did you mean `NANOMQ_LOG_LEVEL`" in call("check", "--strict", "--conf", conf("")).err


def test_check_reads_key_value_lines(call: Call) -> None:
    assert call("check", "--conf", conf("url=nmq-tcp://0.0.0.0:1883\nmsq_len=5")).code == 0
    assert call("check", "--old_conf", conf("log.to=file,console")).code == 0


# --- config show ---


def test_show_tells_what_is_set_and_where(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NANOMQ_LOG_LEVEL", "info")
    said = call("config", "show", "--conf", conf("mqtt.max_qos = 1"), "--msq_len", "5")
    assert said.out.splitlines()[0] == "# my.conf"
    rows = dict(line.split("  # ") for line in said.out.splitlines()[1:])
    assert {row.strip(): origin for row, origin in rows.items()} == {
        "mqtt.max_mqueue_len = 5": "--msq_len",
        "mqtt.max_qos = 1": "my.conf:1:16",
        "log.level = info": "environment variable NANOMQ_LOG_LEVEL",
    }


def test_show_without_anything_set_says_so(call: Call) -> None:
    assert "nothing is set" in call("config", "show", "--conf", conf("")).out


def test_show_effective_has_every_key(call: Call) -> None:
    out = call("config", "show", "--effective", "--conf", conf("")).out
    assert "mqtt.max_packet_size = 10MB" in out and 'listeners.tcp.bind = "0.0.0.0:1883"' in out


def test_shown_text_loads_as_the_same(call: Call) -> None:
    text = 'listeners.ws { bind = "0.0.0.0:8083/a\\"b" }\nmqtt { queue_ttl = 90m, server_reference = "a # \\\\ b" }\nlog.to = [file]'
    first = call("config", "show", "--effective", "--conf", conf(text)).out
    second = call("config", "show", "--effective", "--conf", conf(first)).out
    assert [line.split("  # ")[0].strip() for line in first.splitlines()[1:]] == [
        line.split("  # ")[0].strip() for line in second.splitlines()[1:]
    ]


def test_show_as_json(call: Call) -> None:
    document = json.loads(call("config", "show", "--json", "--conf", conf("listeners.ws.bind = 1.2.3.4:5/x")).out)
    assert document == {
        "file": "my.conf",
        "settings": {"listeners.ws.bind": {"value": "1.2.3.4:5/x", "origin": "my.conf:1:21"}},
        "warnings": [],
    }


@pytest.mark.parametrize("more", [[], ["--json"], ["--effective"]])
def test_secrets_are_not_shown(call: Call, more: list[str]) -> None:
    said = call("config", "show", "--conf", conf(SECRETS), *more)
    assert "ann" in said.out and "***" in said.out
    assert not any(word in said.out + said.err for word in ("hunter2", "s3cret", "topsecret"))


def test_show_of_a_broken_file_tells_its_faults(call: Call) -> None:
    said = call("config", "show", "--conf", conf("mqtt.max_qos = 7"))
    assert (said.code, said.out) == (1, "")
    assert "error: mqtt.max_qos (my.conf:1:16)" in said.err


@pytest.mark.parametrize("command", [["check"], ["config", "show"]])
def test_two_files_are_one_too_many(call: Call, command: list[str]) -> None:
    said = call(*command, "--conf", "a", "--old_conf", "b")
    assert (said.code, "give one of them" in said.err) == (1, True)


# --- plan ---


def test_plan_groups_what_changes_by_what_it_needs(call: Call) -> None:
    old = conf("mqtt.max_qos = 1", "old.conf")
    new = conf("system.num_taskq_thread = 1\nmqtt { max_qos = 0, max_mqueue_len = 5 }", "new.conf")
    said = call("plan", new, "--conf", old)
    assert (said.code, said.out.splitlines()) == (
        0,
        [
            "live: `nanomq reload` applies it at once",
            "  mqtt.max_mqueue_len: 1024 → 5 (new.conf:2:38)",
            "new connections: `nanomq reload` applies it, for clients that connect after it",
            "  mqtt.max_qos: 1 → 0 (new.conf:2:18)",
            "needs restart: takes effect with `nanomq restart`",
            "  system.num_taskq_thread: 0 → 1 (new.conf:1:27)",
        ],
    )


def test_plan_as_json(call: Call) -> None:
    said = call("plan", conf("mqtt.max_qos = 1", "new.conf"), "--conf", conf("", "old.conf"), "--json")
    step = {"path": "mqtt.max_qos", "how": "new connections", "old": "2", "new": "1", "origin": "new.conf:1:16"}
    assert json.loads(said.out) == {"old": "old.conf", "new": "new.conf", "steps": [step]}


def test_plan_without_a_change_says_so(call: Call) -> None:
    assert (
        call("plan", conf("", "new.conf"), "--conf", conf("", "old.conf")).out
        == "new.conf: changes nothing of old.conf\n"
    )


def test_plan_with_a_broken_file_is_1(call: Call) -> None:
    said = call("plan", conf("mqtt.max_qos = 7", "new.conf"), "--conf", conf("", "old.conf"))
    assert (said.code, said.out) == (1, "")


def test_plan_shows_no_secrets(call: Call) -> None:
    said = call("plan", conf(SECRETS, "new.conf"), "--conf", conf("auth.password.ann = first-one", "old.conf"))
    assert "adds `bob`, changes `ann`" in said.out
    assert not any(word in said.out + said.err for word in ("hunter2", "s3cret", "topsecret", "first-one"))


# --- convert ---


def test_convert_writes_a_file_that_check_accepts(call: Call) -> None:
    said = call("convert", conf("listener 1884 127.0.0.1\nallow_anonymous true\n", "mosquitto.conf"), "-o", "out.conf")
    assert (said.code, said.out) == (0, "")
    assert said.err == "mosquitto.conf: 2 values taken over, 0 comments at the end, read as a file of Mosquitto\n"
    assert Path("out.conf").stat().st_mode & 0o777 == 0o600
    assert call("check", "--strict", "--conf", "out.conf").code == 0


def test_convert_to_the_screen(call: Call) -> None:
    said = call("convert", conf("url=nmq-tcp://127.0.0.1:1884\nmsq_len=5"))
    assert "max_mqueue_len = 5" in said.out


def test_convert_overwrites_nothing(call: Call) -> None:
    said = call("convert", conf("url=nmq-tcp://127.0.0.1:1884"), "-o", conf("mine", "out.conf"))
    assert (said.code, Path("out.conf").read_text()) == (1, "mine")
    assert "cannot be written: File exists" in said.err


@pytest.mark.parametrize("words", [["nowhere.conf"], ["broken.conf"]])
def test_convert_of_what_cannot_be_read_is_1(call: Call, words: list[str]) -> None:
    conf("a = {", "broken.conf")
    said = call("convert", *words)
    assert (said.code, said.out, "error: " in said.err) == (1, "", True)
