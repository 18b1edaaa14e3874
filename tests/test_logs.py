"""Log lines: layout, levels, targets."""

from __future__ import annotations

import json
import logging
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nanomq.config import from_dict
from nanomq.errors import ConfigError
from nanomq.logs import configure, log, logger


@pytest.fixture(autouse=True)
def handlers_as_before() -> Iterator[None]:
    handlers, level, propagate, raises = logger.handlers[:], logger.level, logger.propagate, logging.raiseExceptions
    yield
    for handler in logger.handlers[:]:
        if handler not in handlers:
            logger.removeHandler(handler)
            handler.close()
    for handler in handlers:
        if handler not in logger.handlers:
            logger.addHandler(handler)
    logger.setLevel(level)
    logger.propagate, logging.raiseExceptions = propagate, raises


def to_file(place: Path, **keys: Any) -> Path:
    configure(from_dict({"log": {"to": ["file"], "dir": f"{place}/", "file": "x.log", "level": "trace", **keys}}))
    return place / "x.log"


def line_of(file: Path) -> str:
    (line,) = file.read_text(encoding="utf-8").splitlines()
    return line


def test_line_has_time_pid_level_event_and_fields(tmp_path: Path) -> None:
    file = to_file(tmp_path)
    log("info", "client_connected", client_id="panel", listener="tcp", keepalive=60)
    pattern = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \[\d+\] INFO client_connected client_id=panel listener=tcp keepalive=60"
    assert re.fullmatch(pattern, line_of(file))


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("a b", '"a b"'),
        ("", '""'),
        ('"', r'"\""'),
        ("a=b", '"a=b"'),
        ("a\nb", r'"a\nb"'),
        ("\x1b[31m", r'"\u001b[31m"'),
        ("\u202eabc", r'"\u202eabc"'),
        ("é/+/#", "é/+/#"),
    ],
)
def test_value_stays_one_word_on_one_line(tmp_path: Path, value: str, written: str) -> None:
    file = to_file(tmp_path)
    log("info", "event", topic=value)
    assert line_of(file).endswith(f" INFO event topic={written}")


@pytest.mark.parametrize("level", ["trace", "debug", "info", "warn", "error", "fatal"])
def test_level_has_its_word(tmp_path: Path, level: str) -> None:
    file = to_file(tmp_path)
    log(level, "event")
    assert line_of(file).endswith(f"] {level.upper()} event")


def test_lower_levels_are_left_out(tmp_path: Path) -> None:
    file = to_file(tmp_path, level="warn")
    log("info", "small")
    log("error", "big")
    assert line_of(file).endswith("big")


def test_json_is_one_object_a_line(tmp_path: Path) -> None:
    file = to_file(tmp_path, format="json")
    log("warn", "dropped", topic="a\nb", bytes=3)
    document = json.loads(line_of(file))
    assert document.keys() == {"time", "pid", "level", "event", "topic", "bytes"}
    assert (document["level"], document["event"], document["topic"], document["bytes"]) == (
        "warn",
        "dropped",
        "a\nb",
        3,
    )


def test_field_does_not_replace_the_event_in_json(tmp_path: Path) -> None:
    file = to_file(tmp_path, format="json")
    log("warn", "dropped", **{"event": "other", "level": "none"})
    document = json.loads(line_of(file))
    assert (document["event"], document["level"]) == ("dropped", "warn")


def test_line_of_another_library_keeps_the_layout(tmp_path: Path) -> None:
    file = to_file(tmp_path)
    logger.info("plain %s", "words")
    assert line_of(file).endswith("] INFO plain words")


def test_error_stays_on_one_line(tmp_path: Path) -> None:
    file = to_file(tmp_path)
    try:
        raise ValueError("x")
    except ValueError:
        logger.exception("failed")
    assert "ValueError: x" in line_of(file)


def test_file_is_rotated_by_size_and_count(tmp_path: Path) -> None:
    file = to_file(tmp_path, rotation={"size": "200B", "count": 2})
    for number in range(20):
        log("info", "event", number=number)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.log", "x.log.1", "x.log.2"]
    assert "number=19" in file.read_text(encoding="utf-8")


def test_directory_with_a_slash_at_the_end_is_made(tmp_path: Path) -> None:
    file = to_file(tmp_path / "a" / "b")
    assert file.exists()


def test_directory_that_cannot_be_used_is_told_with_its_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the log target `file` cannot be opened"):
        configure(from_dict({"log": {"to": ["file"], "dir": str(tmp_path / "nowhere")}}))


def test_targets_stay_when_new_ones_cannot_be_opened(tmp_path: Path) -> None:
    file = to_file(tmp_path)
    with pytest.raises(ConfigError):
        configure(from_dict({"log": {"to": ["file"], "dir": str(tmp_path / "nowhere")}}))
    log("info", "event")
    assert line_of(file).endswith("event")


def test_unix_socket_gets_a_datagram_a_line(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as reader:
        reader.bind(str(tmp_path / "log.sock"))
        reader.settimeout(5)
        configure(from_dict({"log": {"to": ["uds"], "uds_addr": str(tmp_path / "log.sock"), "level": "info"}}))
        log("info", "event", a=1)
        assert reader.recv(1000).endswith(b"] INFO event a=1")


def test_unix_socket_without_a_reader_does_no_harm(tmp_path: Path) -> None:
    configure(from_dict({"log": {"to": ["uds"], "uds_addr": str(tmp_path / "nobody"), "level": "info"}}))
    log("info", "event")


def test_console_is_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    configure(from_dict({"log": {"to": ["console"], "level": "info"}}))
    log("info", "event")
    assert capsys.readouterr().err.endswith("] INFO event\n")


def test_no_target_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    configure(from_dict({"log": {"to": []}}))
    log("fatal", "event")
    assert capsys.readouterr().err == ""
