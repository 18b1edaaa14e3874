"""The key=value files of NanoMQ 0.11: recognised, and what they mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from nanomq.config import Effective, load, schema
from nanomq.config.keyvalue import is_keyvalue
from nanomq.errors import ConfigError

SHIPPED = """\
## ------------------ System ------------------ ##
# daemon=true
url=nmq-tcp://127.0.0.1:1884
num_taskq_thread=4
max_taskq_thread=4
parallel=32
property_size=32
keepalive_backoff=1250
max_packet_size=1024
client_max_packet_size=1024
msq_len=256
qos_duration=60
allow_anonymous=true
tls.enable=false
tls.url=tls+nmq-tcp://0.0.0.0:8883
tls.keyfile=/etc/certs/key.pem
tls.certfile=/etc/certs/cert.pem
tls.verify_peer=false
websocket.enable=true
websocket.url=nmq-ws://127.0.0.1:8083/mqtt
websocket.tls_url=nmq-wss://0.0.0.0:8084/mqtt
http_server.enable=false
http_server.port=8081
http_server.username=admin
http_server.password=public
log.to=file,console
log.level=warn
log.dir=/tmp
log.file=nanomq.log
log.rotation.size=10MB
bridge.mqtt.emqx.bridge_mode=false
bridge.mqtt.emqx.address=mqtt-tcp://broker.emqx.io:1883
bridge.mqtt.emqx.keepalive=60
web.hook.enable=false
web.hook.rule.client.connack.1={"action": "on_client_connack"}
rule_option=ON
rule_option.sqlite=disable
auth.1.login=admin
auth.1.password=0123
auth.2.login=b.c
auth.2.password="x"
"""


def configured(text: str, **more: object) -> Effective:
    return load("old.conf", text=text, **more)  # type: ignore[arg-type]


def warnings(text: str) -> list[str]:
    return [str(warning) for warning in configured(text).warnings]


def opened(text: str) -> dict[str, str]:
    return {item.name: str(item.address) for item in configured(text).listeners}


def test_shipped_file_is_read() -> None:
    found = configured(SHIPPED)
    keys = ["system.num_taskq_thread", "mqtt.keepalive_multiplier", "mqtt.max_packet_size", "mqtt.max_mqueue_len"]
    assert [found[key] for key in keys] == [4, 1.25, 1 << 20, 256]
    assert (found["mqtt.retry_interval"], found["log.to"]) == (60, ["file", "console"])
    assert found["auth.password"] == {"admin": "0123", "b.c": '"x"'}
    assert {item.name: str(item.address) for item in found.listeners} == {
        "tcp": "127.0.0.1:1884",
        "ws": "127.0.0.1:8083",
    }


def test_each_block_of_a_later_release_warns_once_with_its_first_line() -> None:
    found = [text for text in warnings(SHIPPED) if "takes effect in a later release" in text]
    assert [text.split(" (")[0] for text in found] == [
        "client_max_packet_size", "http_server", "bridge", "web.hook", "rule_option",
    ]  # fmt: skip
    assert found[1].startswith("http_server (old.conf:22:20): is known")


def test_value_knows_its_place_and_its_old_name() -> None:
    setting = configured(SHIPPED).settings["mqtt.retry_interval"]
    assert setting.origin == "old.conf:12:14"
    with pytest.raises(ConfigError, match=r"qos_duration \(old.conf:2:14\): value is `soon`; expected a time"):
        configured("url=127.0.0.1:1\nqos_duration=soon")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (SHIPPED, True),
        ("url=nmq-tcp://0.0.0.0:1883", True),
        ("# x\n\n  auth.1.login = a\nauth.1.password = b", True),
        ('web.hook.rule.client.connack.1={"action": "x"}', True),
        ("", False),
        ("log.level=warn", False),
        ("mqtt.max_qos = 1\nurl = x", False),
        ("listeners.tcp {\nbind = 1\n}", False),
        ("auth.password.ann = x\nurl = y", False),
        ('include "a.conf"\nurl = x', False),
        ("daemon = {\n}", False),
        ("// a comment\nurl = x", False),
    ],
)
def test_recognised_by_its_names(text: str, expected: bool) -> None:
    assert is_keyvalue(text) == expected


def test_files_of_this_project_are_not_taken_for_it() -> None:
    assert not is_keyvalue((Path(__file__).parents[2] / "etc" / "nanomq.conf").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("text", "listeners"),
    [
        ("daemon=false", {"tcp": "0.0.0.0:1883"}),
        ("enable=false", {}),
        ("url=nmq-tcp://0.0.0.0:1\nenable=no", {}),
        ("websocket.enable=true", {"tcp": "0.0.0.0:1883", "ws": "0.0.0.0:8083"}),
        ("websocket.enable=false\nwebsocket.url=nmq-ws://0.0.0.0:1/mqtt", {"tcp": "0.0.0.0:1883"}),
        ("websocket.url=nmq-ws://0.0.0.0:1/mqtt", {"tcp": "0.0.0.0:1883", "ws": "0.0.0.0:1"}),
        ("tls.url=tls+nmq-tcp://0.0.0.0:1", {"tcp": "0.0.0.0:1883"}),
        (f"tls.enable=true\ntls.cert={__file__}\ntls.key={__file__}", {"tcp": "0.0.0.0:1883", "ssl": "0.0.0.0:8883"}),
        (f"tls.keyfile={__file__}\ntls.certfile={__file__}\nwebsocket.tls_enable=true\nwebsocket.tls_url=nmq-wss://0.0.0.0:1/mqtt",
         {"tcp": "0.0.0.0:1883", "wss": "0.0.0.0:1"}),
        (f"tls.enable=true\ntls.cert={__file__}\ntls.key={__file__}\nwebsocket.url=nmq-ws://0.0.0.0:1/mqtt\nwebsocket.tls_url=nmq-wss://0.0.0.0:2/mqtt",
         {"tcp": "0.0.0.0:1883", "ssl": "0.0.0.0:8883", "ws": "0.0.0.0:1", "wss": "0.0.0.0:2"}),
    ],
)  # fmt: skip
def test_listeners_opened(text: str, listeners: dict[str, str]) -> None:
    assert opened(text) == listeners


@pytest.mark.parametrize("name", schema.KEY_VALUE)
def test_name_leads_to_a_key(name: str) -> None:
    assert schema.KEY_VALUE[name] in {*schema.table(), *schema.old_names()}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("url=0.0.0.0:1\nmsq_leng=5", "msq_leng (old.conf:2:10): is not a known key and is ignored; did you mean `msq_len`"),
        ("url=0.0.0.0:1\nauth.1.login=a", "auth.1.login (old.conf:2:14): is ignored, because `auth.1.password` is missing"),
        ("url=0.0.0.0:1\nauth.1.password=hunter2", "`auth.1.login` is missing; write auth.1.login=…"),
    ],
)  # fmt: skip
def test_line_without_effect_warns(text: str, message: str) -> None:
    assert message in warnings(text)[0]


def test_line_that_is_no_setting_warns(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("url=127.0.0.1:1\nhello world\n", encoding="utf-8")
    (found,) = load(tmp_path / "t", is_old=True).warnings
    assert str(found).endswith(
        "t:2:1: the line is not a setting and is ignored; write `key=value`, or begin the line with `#`"
    )


def test_old_conf_needs_no_names_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("log.to=console,file", encoding="utf-8")
    assert load(tmp_path / "t", is_old=True)["log.to"] == ["console", "file"]


def test_files_of_one_feature_are_merged(tmp_path: Path) -> None:
    (tmp_path / "users").write_text("auth.1.login=ann\nauth.1.password=x", encoding="utf-8")
    (tmp_path / "bridge").write_text("bridge.mqtt.emqx.address=mqtt-tcp://x:1\n", encoding="utf-8")
    flags = {"auth": str(tmp_path / "users"), "bridge": str(tmp_path / "bridge")}
    found = configured("listeners.tcp.bind = 1884", flags=flags)
    assert found["auth.password"] == {"ann": "x"}
    assert [item.name for item in found.listeners] == ["tcp"]
    assert [str(warning).rsplit("/", 1)[-1].split(":")[0] for warning in found.warnings] == ["bridge"]


def test_missing_file_of_one_feature_is_an_error() -> None:
    with pytest.raises(ConfigError, match="the file of an old release cannot be read"):
        configured("", flags={"auth": "/nowhere/users"})
