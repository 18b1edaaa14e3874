"""Files of other brokers and of older releases as our HOCON: what is taken over, and that it always loads."""

from __future__ import annotations

from pathlib import Path

import pytest

from nanomq.config import load
from nanomq.config.convert import Converted, Kind, convert

MOSQUITTO = """\
# a comment
per_listener_settings false
persistence true
max_inflight_messages 20
max_queued_messages 0
max_queued_bytes 4096
persistent_client_expiration 2w
listener 1883 127.0.0.1
max_connections -1
listener 8883
cafile FILE
certfile FILE
keyfile FILE
require_certificate true
tls_version tlsv1.3
listener 1884 ::1
listener 9001
protocol websockets
listener 0 /run/mosquitto.sock
allow_anonymous false
password_file /etc/mosquitto/passwd
log_dest stderr
log_dest file /var/log/mosquitto/mosquitto.log
log_type error
log_type warning
connection cloud
remote_password hunter2
"""
EMQX = """\
node { name = "emqx@127.0.0.1", cookie = "hunter2" }
listeners.tcp.default { bind = "0.0.0.0:1883", max_connections = infinity, acceptors = 16 }
listeners.tcp.inner { bind = 1884, max_connections = 100, tcp_options { nodelay = false } }
listeners.ssl.default {
  bind = ":8883"
  ssl_options { certfile = "FILE", keyfile = "FILE", cacertfile = "FILE", password = "keyword", verify = verify_peer, versions = [tlsv1.3] }
}
listeners.ws.default { bind = "0.0.0.0:8083", websocket.mqtt_path = "/events" }
listeners.quic.default { bind = "0.0.0.0:14567" }
mqtt { max_packet_size = 2MB, idle_timeout = 15s, session_expiry_interval = 1h30m, max_inflight = 64, retry_interval = 30
  shared_subscription_strategy = round_robin_per_group, server_keepalive = disabled }
authentication = [{ mechanism = password_based, backend = built_in_database }]
log { console { enable = false }, file { enable = true, level = warning, path = "/var/log/emqx/emqx.log", rotation_size = 50MB } }
dashboard { default_password = hunter2 }
"""
OLD = """\
url=nmq-tcp://127.0.0.1:1884
max_packet_size=1024
keepalive_backoff=1250
log.to=file,console
http_server.enable=true
http_server.password=hunter2
msq_leng=5
tls.enable=false
tls.certfile=/nowhere/cert.pem
auth.1.login=ann
auth.1.password=s p "x"
auth.2.login=bob
qos_duration=soon
"""
OLD_HOCON = """\
mqtt.session { msq_len = 300, keepalive_backoff = 1500, property_size = 64 }
listeners.ssl { bind = "0.0.0.0:8883", cert = "FILE", key = "FILE" }
listeners.tcp.a.bind = 1884
bridges.mqtt.x { server = "mqtt-tcp://h:1", password = hunter2 }
mqtt.max_qso = 1
"""


def converted(place: Path, text: str, name: str = "in.conf", kind: Kind | None = None) -> Converted:
    (place / "cert.pem").touch()
    (place / name).write_text(text.replace("FILE", str(place / "cert.pem")), encoding="utf-8")
    return convert(place / name, place / "out.conf", {}, kind)


def values(done: Converted) -> dict[str, object]:
    settings = load("out.conf", text=done.text).settings
    return {path: item.shown for path, item in settings.items() if item.place is not None}


def test_mosquitto(tmp_path: Path) -> None:
    done = converted(tmp_path, MOSQUITTO)
    file = str(tmp_path / "cert.pem")
    assert done.kind == "mosquitto"
    assert values(done) == {
        "listeners.tcp.bind": "127.0.0.1:1883",
        "listeners.tcp.max_connections": 0,
        "listeners.tcp.p1884.bind": "[::1]:1884",
        "listeners.ssl.bind": "0.0.0.0:8883",
        "listeners.ssl.cacertfile": file,
        "listeners.ssl.certfile": file,
        "listeners.ssl.keyfile": file,
        "listeners.ssl.verify_peer": True,
        "listeners.ssl.fail_if_no_peer_cert": True,
        "listeners.ssl.versions": ["1.3"],
        "listeners.ws.bind": "0.0.0.0:9001/mqtt",
        "listeners.unix.bind": "/run/mosquitto.sock",
        "mqtt.max_inflight_window": 20,
        "mqtt.max_mqueue_bytes": 4096,
        "mqtt.max_session_expiry": 1209600,
        "auth.allow_anonymous": False,
        "log.to": ["console", "file"],
        "log.dir": "/var/log/mosquitto/",
        "log.file": "mosquitto.log",
        "log.level": "warn",
    }
    assert [note.split(": ")[:2] for note in done.notes] == [
        ["in.conf:2", "per_listener_settings"],
        ["in.conf:3", "persistence"],
        ["in.conf:5", "max_queued_messages"],
        ["in.conf:21", "password_file"],
        ["in.conf:26", "connection"],
        ["in.conf:27", "remote_password"],
    ]


def test_mosquitto_without_a_listener_listens_on_loopback(tmp_path: Path) -> None:
    done = converted(tmp_path, "max_keepalive 60\n")
    assert values(done) == {"listeners.tcp.bind": "127.0.0.1:1883", "mqtt.server_keepalive": 60}


def test_mosquitto_with_a_listener_lets_nobody_in_unnamed(tmp_path: Path) -> None:
    done = converted(tmp_path, "port 1884\n")
    assert values(done) == {"listeners.tcp.bind": "0.0.0.0:1884", "auth.allow_anonymous": False}


def test_emqx(tmp_path: Path) -> None:
    done = converted(tmp_path, EMQX)
    file = str(tmp_path / "cert.pem")
    assert done.kind == "emqx"
    assert values(done) == {
        "listeners.tcp.bind": "0.0.0.0:1883",
        "listeners.tcp.inner.bind": "0.0.0.0:1884",
        "listeners.tcp.inner.max_connections": 100,
        "listeners.tcp.inner.nodelay": False,
        "listeners.ssl.bind": "0.0.0.0:8883",
        "listeners.ssl.certfile": file,
        "listeners.ssl.keyfile": file,
        "listeners.ssl.cacertfile": file,
        "listeners.ssl.key_password": "***",
        "listeners.ssl.verify_peer": True,
        "listeners.ssl.versions": ["1.3"],
        "listeners.ws.bind": "0.0.0.0:8083/events",
        "mqtt.max_packet_size": 2 << 20,
        "mqtt.connect_timeout": 15,
        "mqtt.max_session_expiry": 5400,
        "mqtt.max_inflight_window": 64,
        "auth.allow_anonymous": False,
        "system.node_name": "emqx@127.0.0.1",
        "log.to": ["file"],
        "log.level": "warn",
        "log.dir": "/var/log/emqx/",
        "log.file": "emqx.log",
        "log.rotation.size": 50 << 20,
    }
    assert 'key_password = "keyword"' in done.text
    for name in ("node.cookie", "acceptors", "listeners.quic.default", "mqtt.retry_interval", "shared_subscription_strategy", "dashboard"):  # fmt: skip
        assert any(name in note for note in done.notes), name


def test_emqx_without_listeners_opens_its_own(tmp_path: Path) -> None:
    found = values(converted(tmp_path, 'node.name = "x"'))
    assert (found["listeners.tcp.bind"], found["listeners.ws.bind"]) == ("0.0.0.0:1883", "0.0.0.0:8083/mqtt")


def test_old_key_value_lines(tmp_path: Path) -> None:
    done = converted(tmp_path, OLD)
    assert done.kind == "nanomq"
    found = values(done)
    assert found.pop("listeners.ssl.certfile") and found.pop("listeners.ssl.enable") is False
    assert found == {
        "listeners.tcp.bind": "127.0.0.1:1884",
        "mqtt.max_packet_size": 1 << 20,
        "mqtt.keepalive_multiplier": 1.25,
        "log.to": ["file", "console"],
        "auth.password": {"ann": "***"},
    }
    assert load("x", text=done.text)["auth.password"] == {"ann": 's p "x"'}
    assert [note.split(": ")[:2] for note in done.notes] == [
        ["in.conf:13", "qos_duration"],
        ["in.conf:5", "http_server.enable"],
        ["in.conf:6", "http_server.password"],
        ["in.conf:7", "msq_leng"],
        ["in.conf:12:14", "auth.2.login"],
    ]


def test_old_hocon(tmp_path: Path) -> None:
    done = converted(tmp_path, OLD_HOCON)
    found = values(done)
    assert found["mqtt.max_mqueue_len"] == 300 and found["mqtt.keepalive_multiplier"] == 1.5
    assert found["listeners.ssl.certfile"] == str(tmp_path / "cert.pem")
    assert found["listeners.tcp.a.bind"] == "0.0.0.0:1884"
    assert [note.split(": ")[1] for note in done.notes] == [
        "mqtt.max_qso", "bridges.mqtt.x.server", "bridges.mqtt.x.password",
    ]  # fmt: skip


@pytest.mark.parametrize("text", [MOSQUITTO, EMQX, OLD, OLD_HOCON])
def test_comments_hold_no_values(text: str, tmp_path: Path) -> None:
    assert "hunter2" not in converted(tmp_path, text).text


def test_listener_without_its_certificate_is_closed(tmp_path: Path) -> None:
    done = converted(tmp_path, "listener 8883\ncertfile /nowhere/a.pem\nkeyfile /nowhere/b.pem\n")
    assert load("x", text=done.text).listeners == []
    assert "listeners.ssl is closed: listeners.ssl.certfile the file `/nowhere/a.pem` cannot be read" in done.text


def test_address_that_is_taken_twice_is_closed_once(tmp_path: Path) -> None:
    done = converted(tmp_path, "listener 1883\nlistener 1883\nlistener 1883\n")
    assert [listener.name for listener in load("x", text=done.text).listeners] == ["tcp"]


def test_converted_text_converts_to_itself(tmp_path: Path) -> None:
    first = converted(tmp_path, MOSQUITTO)
    second = converted(tmp_path, first.text, "again.conf")
    assert values(second) == values(first)


def test_kind_may_be_given(tmp_path: Path) -> None:
    assert converted(tmp_path, "mqtt.max_inflight = 5", kind="emqx").kind == "emqx"
