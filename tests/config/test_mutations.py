"""A thousand mutated files of each format: never another error than ours, always place and advice, never a secret."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from nanomq.config import Effective, load
from nanomq.config.convert import convert
from nanomq.config.plan import plan
from nanomq.errors import ConfigError, Problem

SECRETS = ("Zx81Kp20vQ7mLw5", "p4$$ W0rd/of-Ann", "k3y!Pass'92_Wort")
ANN, BOB, KEY = SECRETS
SAMPLES = {
    "conf": f"""\
# listeners
listeners {{
  tcp {{ bind = "0.0.0.0:1883", nodelay = true }}
  tcp.inner {{ bind = 127.0.0.1:1884 }}
  ssl {{ enable = false, bind = "0.0.0.0:8883", key_password = "{KEY}" }}
  ws.bind = "0.0.0.0:8083/mqtt"
}}
port = 1885
mqtt {{ max_packet_size = 1MB, queue_ttl = 2h, keepalive_multiplier = 1.25 }}
mqtt.max_mqueue_len = ${{?LENGTH}}
listeners.tcp.other.bind = 127.0.0.1:${{port}}
auth.allow_anonymous = false
auth.password {{
  "ann": "{ANN}"
  "bob": "{BOB}"
}}
log {{ to = [console, file], level = warn }}  // where
bridges.mqtt.cloud {{ server = "mqtt-tcp://h:1", password = "{BOB}" }}
""",
    "json": f"""\
{{
  "listeners": {{"tcp": {{"bind": "0.0.0.0:1883"}}, "ssl": {{"enable": false, "key_password": "{KEY}"}}}},
  "mqtt": {{"max_packet_size": "1MB", "max_qos": 2, "keepalive_multiplier": 1.25}},
  "auth": {{"allow_anonymous": false, "password": {{"ann": "{ANN}", "bob": "{BOB}"}}}},
  "log": {{"to": ["console", "file"]}}
}}
""",
    "toml": f"""\
[listeners.tcp]
bind = "0.0.0.0:1883"
[listeners.ssl]
enable = false
key_password = "{KEY}"
[mqtt]
max_packet_size = "1MB"
max_qos = 2
[auth]
allow_anonymous = false
[auth.password]
ann = "{ANN}"
bob = "{BOB}"
[log]
to = ["console", "file"]
""",
    "yaml": f"""\
listeners:
  tcp: &tcp
    bind: 0.0.0.0:1883
  ssl: {{enable: false, key_password: "{KEY}"}}
mqtt:
  max_packet_size: 1MB
  max_qos: 2
auth:
  allow_anonymous: false
  password:
    ann: {ANN}
    bob: "{BOB}"
log:
  to: [console, file]
""",
    "old": f"""\
# NanoMQ 0.11
url=nmq-tcp://0.0.0.0:1883
num_taskq_thread=4
max_packet_size=1024
keepalive_backoff=1250
qos_duration=60
allow_anonymous=false
tls.enable=false
tls.key_password={KEY}
websocket.enable=true
websocket.url=nmq-ws://0.0.0.0:8083/mqtt
http_server.password={BOB}
log.to=file,console
log.level=warn
auth.1.login=ann
auth.1.password={ANN}
""",
    "mosquitto": f"""\
# Mosquitto
listener 1883 127.0.0.1
max_connections 100
listener 8883
protocol websockets
allow_anonymous false
max_queued_messages 1000
persistent_client_expiration 2w
log_dest file /var/log/mosquitto.log
log_type warning
connection cloud
address cloud.example:8883
remote_username ann
remote_password {ANN}
""",
    "emqx": f"""\
node {{ name = "emqx@127.0.0.1", cookie = "{ANN}" }}
listeners.tcp.default {{ bind = "0.0.0.0:1883", max_connections = infinity }}
listeners.ssl.default {{ enable = false, bind = 8883, ssl_options {{ password = "{KEY}", verify = verify_peer }} }}
mqtt {{ max_packet_size = 2MB, session_expiry_interval = 1h30m, idle_timeout = 15s }}
log.file {{ enable = true, level = warning, path = "/var/log/emqx.log" }}
dashboard {{ default_password = "{BOB}" }}
""",
}
PIECES = [
    *"{}[]\"'=:,#\\.\n\0&*!|>-%$ \t", "//", "include ", "listeners", "mqtt", "auth.", "1e999", "9" * 50, "-1", "true",
    "null", "é", "\ud83d", "${x}", "${?x}", "[[", '"""', "<<: ", "- ", "yes", "${auth.password}", "0x", "\r\n", "\x7f",
]  # fmt: skip


def mutations(sample: str, seed: int) -> Iterator[str]:
    """The sample with a few places overwritten, cut out, doubled or moved."""
    dice = random.Random(seed)
    for _ in range(1000):
        text = sample
        for _ in range(dice.randrange(1, 6)):
            at, length = dice.randrange(len(text) + 1), dice.choice((0, 1, 1, 2, 4, 8, 12, 20))
            part = text[at : at + length]
            other = dice.randrange(len(text) + 1)
            match dice.randrange(8):
                case 0:
                    text = text[:at] + part + part + text[at + length :]
                case 1:
                    text = text[:other] + part + text[other:]
                case 2:
                    text = text[:at]
                case _:
                    text = text[:at] + dice.choice([*PIECES, "", ""]) + text[at + length :]
            text = text or sample
        yield text


def check_words(words: str, text: str) -> None:
    """The words can be printed, and hold no six letters in a row of a secret."""
    words.encode("utf-8", "strict")
    assert words.isprintable(), repr(words)
    leaks = [part for secret in SECRETS for n in range(len(secret) - 5) if (part := secret[n : n + 6]) in words]
    assert not leaks, f"{words}\n--- of\n{text}"


def check_problems(problems: list[Problem], text: str) -> None:
    for problem in problems:
        assert problem.place and problem.text and problem.hint, f"{problem}\n--- of\n{text}"
        check_words(str(problem), text)


def check_use(effective: Effective, base: Effective, text: str) -> None:
    """What commands print of a configuration that loads."""
    effective.engine_settings()
    for warning in effective.warnings:
        check_words(str(warning), text)
    for path, setting in effective.settings.items():
        if setting.key.secret and isinstance(setting.shown, dict):
            assert set(setting.shown.values()) <= {"***"}, path
        elif setting.key.secret:
            assert not any(secret in f"{setting.written} {setting.shown}" for secret in SECRETS), path
    for step in plan(base, effective):
        if "password" in step.path:
            assert not any(secret in str(step) for secret in SECRETS), step


@pytest.mark.parametrize("name", ["conf", "json", "toml", "yaml", "old"])
def test_mutated_file_is_used_or_refused_with_place_and_advice(name: str) -> None:
    is_old = name == "old"
    base = load(f"t.{name}", text=SAMPLES[name], is_old=is_old)
    refused = 0
    for text in mutations(SAMPLES[name], seed=7):
        try:
            check_use(load(f"t.{name}", text=text, is_old=is_old, env={"x": "1"}), base, text)
        except ConfigError as error:
            refused += 1
            check_problems(error.problems, text)
            for warning in error.warnings:
                check_words(str(warning), text)
    assert 50 < refused < 1000


@pytest.mark.parametrize("name", ["mosquitto", "emqx", "old"])
def test_mutated_file_is_converted_or_refused(name: str, tmp_path: Path) -> None:
    file = tmp_path / "t.conf"
    converted = 0
    for text in mutations(SAMPLES[name], seed=11):
        file.write_text(text, encoding="utf-8", errors="replace")
        try:
            done = convert(file, None, {"x": "1"})
        except ConfigError as error:
            check_problems(error.problems, text)
            continue
        converted += 1
        load("t", text=done.text)
        for note in [*done.notes, *map(str, done.effective.warnings)]:
            check_words(note, text)
    assert converted > 50
