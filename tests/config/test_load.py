"""What a configuration means: listeners, precedence, old names, faults with place and advice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nanomq.config import Address, Effective, find_file, from_dict, load
from nanomq.errors import ConfigError


def configured(text: str, **more: Any) -> Effective:
    return load("t.conf", text=text, **more)


def faults(text: str, **more: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        configured(text, **more)
    return [str(problem) for problem in caught.value.problems]


def warnings(text: str, **more: Any) -> list[str]:
    return [str(warning) for warning in configured(text, **more).warnings]


def opened(text: str, **more: Any) -> dict[str, str]:
    return {listener.name: str(listener.address) for listener in configured(text, **more).listeners}


def engine(text: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(configured(text).engine_settings())
    return document


# --- listeners ---


@pytest.mark.parametrize(
    ("text", "listeners"),
    [
        ("", {"tcp": "0.0.0.0:1883"}),
        ("listeners {}", {}),
        ("listeners.tcp {}", {"tcp": "0.0.0.0:1883"}),
        ('listeners.ws.bind = "0.0.0.0:8083/mqtt"', {"ws": "0.0.0.0:8083"}),
        ('listeners.tcp.a.bind = "0.0.0.0:1884"', {"tcp.a": "0.0.0.0:1884"}),
        ('listeners.tcp { bind = "0.0.0.0:1", a { bind = "0.0.0.0:2" } }', {"tcp": "0.0.0.0:1", "tcp.a": "0.0.0.0:2"}),
        ("listeners.tcp.enable = false", {}),
        ('listeners.tcp { a { bind = "0.0.0.0:1", enable = false } }', {}),
        ('listeners.ssl { certfile = "x" }', {}),
        ('listeners.unix.bind = "/tmp/x"', {"unix": "/tmp/x"}),
        ("listeners.tcp.bind = 1884", {"tcp": "0.0.0.0:1884"}),
        ("listeners.tcp.bind = *:1884", {"tcp": "0.0.0.0:1884"}),
        ('listeners.tcp.bind = "[::1]:1884"', {"tcp": "[::1]:1884"}),
        ('listeners.tcp.bind = "nmq-tcp://localhost:1884"', {"tcp": "localhost:1884"}),
    ],
)
def test_listeners_opened(text: str, listeners: dict[str, str]) -> None:
    assert opened(text) == listeners


def test_ssl_listener_does_not_open_wss(certificate: dict[str, str]) -> None:
    listeners = from_dict({"listeners.ssl": certificate | {"bind": "0.0.0.0:8883"}}).listeners
    assert [listener.name for listener in listeners] == ["ssl"]


def test_wss_uses_the_certificate_of_ssl(certificate: dict[str, str]) -> None:
    config = {"listeners": {"ssl": certificate, "wss": {"bind": "0.0.0.0:8086/mqtt"}}}
    document = json.loads(from_dict(config).engine_settings())
    assert [listener["name"] for listener in document["listeners"]] == ["wss"]
    assert document["listeners"][0]["tls"]["certfile"] == certificate["certfile"]


def test_wss_with_its_own_certificate(certificate: dict[str, str]) -> None:
    config = {"listeners.wss": certificate | {"bind": "0.0.0.0:8086/mqtt"}}
    assert [listener.name for listener in from_dict(config).listeners] == ["wss"]


def test_websocket_path_reaches_the_engine() -> None:
    (listener,) = engine('listeners.ws.bind = "127.0.0.1:0/events"')["listeners"]
    assert (listener["bind"], listener["path"]) == ("127.0.0.1:0", "/events")


def test_certificate_is_searched_beside_the_file(tmp_path: Path, certificate: dict[str, str]) -> None:
    (tmp_path / "main.conf").write_text(
        'listeners.ssl { bind = "0.0.0.0:1", certfile = "cert.pem", keyfile = "key.pem" }', encoding="utf-8"
    )
    document = json.loads(load(tmp_path / "main.conf").engine_settings())
    assert document["listeners"][0]["tls"]["certfile"] == certificate["certfile"]


def test_certificates_by_name_reach_the_engine(certificate: dict[str, str]) -> None:
    config = {"listeners.ssl": certificate | {"bind": "0.0.0.0:1", "sni": [certificate]}}
    document = json.loads(from_dict(config).engine_settings())
    assert document["listeners"][0]["tls"]["sni"] == [certificate]


def test_missing_certificate_is_a_fault() -> None:
    (first, second) = faults('listeners.ssl.bind = "0.0.0.0:8883"')
    assert first.startswith("listeners.ssl.certfile (t.conf:1:22): is missing")
    assert second.startswith("listeners.ssl.keyfile (t.conf:1:22): is missing")


def test_unreadable_certificate_is_a_fault() -> None:
    found = faults('listeners.ssl { bind = "0.0.0.0:1", certfile = "/nowhere/a", keyfile = "/nowhere/b" }')
    assert found[0].startswith("listeners.ssl.certfile (t.conf:1:48): the file `/nowhere/a` cannot be read")
    assert len(found) == 2


def test_verify_peer_needs_authorities(certificate: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="needs the authorities"):
        from_dict({"listeners.ssl": certificate | {"bind": "0.0.0.0:1", "verify_peer": True}})


def test_two_listeners_at_one_address_are_a_fault() -> None:
    (found,) = faults('listeners.tcp { bind = "0.0.0.0:1", a.bind = "0.0.0.0:1" }')
    assert found.startswith("listeners.tcp.a.bind (t.conf:1:46): value is `0.0.0.0:1`, which `listeners.tcp.bind`")


def test_named_listener_needs_an_address() -> None:
    (found,) = faults("listeners.tcp.a { nodelay = true }")
    assert found.startswith("listeners.tcp.a.bind (t.conf:1:1): is missing")


def test_listener_without_bind_is_mentioned() -> None:
    assert warnings('listeners { ssl.certfile = "x", tcp {} }')[0].startswith(
        "listeners.ssl (t.conf:1:28): has no `bind`"
    )


# --- kinds of values ---


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("mqtt.max_packet_size = 1024", "mqtt.max_packet_size", 1024),
        ("mqtt.max_packet_size = 64kb", "mqtt.max_packet_size", 65536),
        ("mqtt.max_packet_size = 1.5M", "mqtt.max_packet_size", 1572864),
        ("mqtt.retry_interval = 30", "mqtt.retry_interval", 30),
        ("mqtt.retry_interval = 500ms", "mqtt.retry_interval", 0.5),
        ("mqtt.retry_interval = 2m", "mqtt.retry_interval", 120),
        ("mqtt.queue_ttl = 1d", "mqtt.queue_ttl", 86400),
        ("mqtt.max_subscriptions = 0", "mqtt.max_subscriptions", 0),
        ('mqtt.max_mqueue_len = "2048"', "mqtt.max_mqueue_len", 2048),
        ("mqtt.keepalive_multiplier = 1.25", "mqtt.keepalive_multiplier", 1.25),
        ("mqtt.keepalive_multiplier = 2", "mqtt.keepalive_multiplier", 2.0),
        ("mqtt.keepalive_backoff = 1250", "mqtt.keepalive_multiplier", 1.25),
        ("mqtt.keepalive_backoff = 1.25", "mqtt.keepalive_multiplier", 1.25),
        ("mqtt.session.keepalive_backoff = 1500", "mqtt.keepalive_multiplier", 1.5),
        ("mqtt.session.msq_len = 5", "mqtt.max_mqueue_len", 5),
        ('auth.allow_anonymous = "false"', "auth.allow_anonymous", False),
        ("log.level = DEBUG", "log.level", "debug"),
        ("log.to = [file, syslog]", "log.to", ["file", "syslog"]),
        ("log.to = file", "log.to", ["file"]),
        ("auth.password { a = 0123, b.c: secret }", "auth.password", {"a": "0123", "b.c": "secret"}),
    ],
)
def test_value_is_read(text: str, key: str, value: object) -> None:
    assert configured(text)[key] == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mqtt.max_packet_size = 300MB", "value is `300MB`; expected a value from 1B to 260MB; write `10MB`"),
        ("mqtt.max_packet_size = 10XB", "value is `10XB`; expected a number of bytes, or a number with `B`, `KB`, `MB` or `GB`; write `10MB`"),
        ("mqtt.queue_ttl = 5weeks", "value is `5weeks`; expected a time with `ms`, `s`, `m`, `h` or `d`; write `5s`"),
        ("mqtt.server_keepalive = 1500ms", "value is `1500ms`; expected whole seconds; write `2s`"),
        ("mqtt.max_qos = 3", "value is `3`; expected a value from 0 to 2; write `2`"),
        ("mqtt.max_qos = 1.5", "value is `1.5`; expected a whole number from 0 to 2; write `2`"),
        ("mqtt.keepalive_multiplier = 0.5", "value is `0.5`; expected a value above 0.5, at most 99.0; write `1.5`"),
        ("auth.allow_anonymous = on", "value is `on`; expected `true` or `false`; write `true`"),
        ("auth.allow_anonymous = no", "value is `no`; expected `true` or `false`; write `false`"),
        ("log.level = wran", "expected one of `trace`, `debug`, `info`, `warn`, `error`, `fatal`; write `warn`"),
        ("log.to = [file, pigeon]", "value is a list; expected one of `console`, `file`, `syslog`, `uds`"),
        ("listeners.tcp.bind = localhost", "value is `localhost`; expected an address `host:port`; write `localhost:1883`"),
        ("listeners.tcp.bind = 1.2.3:1", "value is `1.2.3:1`; expected a valid IP address"),
        ("listeners.tcp.bind = 1.2.3.4:70000", "expected a port from 0 to 65535"),
        ("listeners.tcp.bind = http://0.0.0.0:1", "expected an address `host:port` without `http://`; write `0.0.0.0:1`"),
        ("mqtt = 5", "value is `5`; expected a block; write `mqtt { … }`"),
        ("mqtt.max_qos = { a = 1 }", "value is a block; expected a whole number"),
        ("mqtt.max_qos = null", "value is empty; expected a whole number"),
        ("log.to = [uds]", "the target `uds` needs `log.uds_addr`"),
    ],
)  # fmt: skip
def test_wrong_value_gives_place_and_advice(text: str, message: str) -> None:
    (found,) = faults(text)
    assert "(t.conf:1:" in found
    assert message in found


def test_all_faults_are_told_at_once() -> None:
    found = faults("mqtt.max_qos = 7\nlog.level = loud\nlisteners.tcp.bind = x")
    assert [text.split(":")[1] for text in found] == ["1", "2", "3"]


def test_secret_is_not_in_a_fault() -> None:
    (found,) = faults('auth.password = "hunter2"')
    assert "hunter2" not in found


def test_name_of_a_user_with_a_wrong_password_is_in_the_fault() -> None:
    (found,) = faults("auth.password { a = [1] }")
    assert found.startswith("auth.password.a (t.conf:1:")


# --- names ---


def test_unknown_key_warns_with_the_nearest() -> None:
    (found,) = warnings("mqtt.max_mqeue_len = 5")
    assert (
        found
        == "mqtt.max_mqeue_len (t.conf:1:22): is not a known key and is ignored; did you mean `mqtt.max_mqueue_len`"
    )


def test_unknown_key_of_a_named_listener_warns_with_its_name() -> None:
    (found,) = warnings('listeners.tcp.a { bind = "0.0.0.0:1", nodely = false }')
    assert found.endswith("did you mean `listeners.tcp.a.nodelay`")


def test_unknown_block_warns_once() -> None:
    assert len(warnings("zoo { a = 1, b = 2, c { d = 3 } }")) == 1


@pytest.mark.parametrize(
    "block", ["http_server { port = 1 }", "bridges.mqtt.x { }", "auth.acl { rules = [] }", "rules {}"]
)
def test_block_of_a_later_release_warns(block: str) -> None:
    (found,) = warnings(block)
    assert "takes effect in a later release" in found


def test_new_name_wins_over_old() -> None:
    effective = configured("mqtt { max_mqueue_len = 5, session.msq_len = 6 }")
    assert effective["mqtt.max_mqueue_len"] == 5
    assert "is ignored, because `mqtt.max_mqueue_len` is set" in str(effective.warnings[0])


def test_old_name_of_a_named_listener(certificate: dict[str, str]) -> None:
    names = {"cert": certificate["certfile"], "key": certificate["keyfile"], "bind": "0.0.0.0:1"}
    (listener,) = from_dict({"listeners.ssl.a": names}).listeners
    assert listener.items["certfile"].value == certificate["certfile"]


def test_thousandths_are_mentioned() -> None:
    (found,) = warnings("mqtt.keepalive_backoff = 1250")
    assert "1250 is taken as thousandths; write mqtt.keepalive_multiplier = 1.25" in found


def test_nobody_can_connect_is_mentioned() -> None:
    (found,) = warnings("auth.allow_anonymous = false")
    assert "no client can connect" in found


# --- precedence ---


def test_file_beats_default() -> None:
    setting = configured("mqtt.max_mqueue_len = 5").settings["mqtt.max_mqueue_len"]
    assert (setting.value, setting.origin) == (5, "t.conf:1:23")


def test_environment_beats_file() -> None:
    setting = configured("mqtt.max_mqueue_len = 5", env={"NANOMQ_MSQ_LEN": "6"}).settings["mqtt.max_mqueue_len"]
    assert (setting.value, setting.origin) == (6, "environment variable NANOMQ_MSQ_LEN")


def test_flag_beats_environment() -> None:
    effective = configured("", env={"NANOMQ_MSQ_LEN": "6"}, flags={"msq_len": "7"})
    setting = effective.settings["mqtt.max_mqueue_len"]
    assert (setting.value, setting.origin) == (7, "--msq_len")


def test_default_knows_that_it_is_one() -> None:
    assert configured("").settings["mqtt.max_qos"].origin == "default"


@pytest.mark.parametrize("word", ["true", "YES", "1", "on"])
def test_switch_in_the_environment(word: str) -> None:
    assert (
        configured("auth.allow_anonymous = false", env={"NANOMQ_ALLOW_ANONYMOUS": word})["auth.allow_anonymous"] is True
    )


def test_empty_variable_counts_as_not_set() -> None:
    assert configured("", env={"NANOMQ_MSQ_LEN": ""})["mqtt.max_mqueue_len"] == 1024


def test_wrong_variable_is_a_fault_with_its_name() -> None:
    (found,) = faults("", env={"NANOMQ_MSQ_LEN": "many"})
    assert found.startswith("mqtt.max_mqueue_len (environment variable NANOMQ_MSQ_LEN): value is `many`")


def test_mistyped_variable_warns() -> None:
    assert "NANOMQ_LOG_LEVEL" in warnings("", env={"NANOMQ_LOG_LEVL": "info"})[0]


@pytest.mark.parametrize("variable", ["NANOMQ_NUM_TASKQ_THREAD", "NANOMQ_MAX_TASKQ_THREAD"])
def test_both_thread_variables_work(variable: str) -> None:
    document = json.loads(load(None, env={variable: "1"}).engine_settings())
    assert document["shards"] == 1


def test_url_variable_opens_a_listener_beside_tcp() -> None:
    listeners = opened("", env={"NANOMQ_WEBSOCKET_URL": "nmq-ws://0.0.0.0:8083/mqtt"})
    assert listeners == {"tcp": "0.0.0.0:1883", "ws": "0.0.0.0:8083"}


def test_tcp_can_be_switched_off_by_a_variable() -> None:
    assert opened("", env={"NANOMQ_TCP_ENABLE": "false"}) == {}


def test_url_flags_set_listeners_by_scheme() -> None:
    urls = ["nmq-tcp://127.0.0.1:1", "nmq+ws://127.0.0.1:2/mqtt"]
    assert opened("", flags={"url": urls}) == {"tcp": "127.0.0.1:1", "ws": "127.0.0.1:2"}


def test_url_flag_with_an_unknown_scheme_is_a_fault() -> None:
    (found,) = faults("", flags={"url": ["http://0.0.0.0:1"]})
    assert found.startswith("url (--url): value is `http://0.0.0.0:1`; expected an address that begins with one of")


@pytest.mark.parametrize(
    ("text", "flags", "targets"),
    [
        ("", {"log_file": "/tmp/x.log"}, ["console", "file"]),
        ("", {"log_stdout": "false", "log_file": "/tmp/x.log"}, ["file"]),
        ("log.to = [file]", {"log_stdout": "true"}, ["console", "file"]),
        ("log.to = [file]", {"log_syslog": "true"}, ["file", "syslog"]),
    ],
)
def test_log_flags_add_and_remove_targets(text: str, flags: dict[str, object], targets: list[str]) -> None:
    assert configured(text, flags=flags)["log.to"] == targets


def test_log_file_flag_is_split() -> None:
    effective = configured("", flags={"log_file": "/var/log/x.log"})
    assert (effective["log.dir"], effective["log.file"]) == ("/var/log/", "x.log")


def test_log_to_variable_takes_any_separator() -> None:
    assert configured("", env={"NANOMQ_LOG_TO": "file|syslog"})["log.to"] == ["file", "syslog"]


def test_flag_of_a_later_release_warns() -> None:
    assert "later release" in warnings("", flags={"http": True})[0]


# --- where the file is ---


def test_given_file_beats_the_variable() -> None:
    assert find_file("a.conf", {"NANOMQ_CONF_PATH": "b.conf"}, "/x/nanomq") == Path("a.conf")


def test_variable_names_the_file() -> None:
    assert find_file(None, {"NANOMQ_CONF_PATH": "b.conf"}, "/x/nanomq") == Path("b.conf")


def test_file_beside_the_executable(tmp_path: Path) -> None:
    (tmp_path / "nanomq.conf").touch()
    assert find_file(None, {}, str(tmp_path / "nanomq")) == tmp_path / "nanomq.conf"


# --- plain data ---


def test_data_is_nested_or_dotted() -> None:
    nested, dotted = from_dict({"mqtt": {"max_qos": 1}}), from_dict({"mqtt.max_qos": 1})
    assert nested.engine_settings() == dotted.engine_settings()


def test_data_without_listeners_may_bind_elsewhere() -> None:
    (listener,) = from_dict({}, bind=Address("127.0.0.1", 0)).listeners
    assert str(listener.address) == "127.0.0.1:0"


def test_users_are_not_sent_when_the_check_is_off() -> None:
    assert engine("auth { enable = false, password { a = b } }")["auth"]["users"] == {}


def test_needs_restart_names_the_keys() -> None:
    old, new = configured(""), configured("system.num_taskq_thread = 1\nmqtt.max_qos = 1\nsystem.parallel = 3")
    assert old.needs_restart(new) == ["system.num_taskq_thread"]


@pytest.fixture
def certificate(tmp_path: Path) -> dict[str, str]:
    """Paths of files that can be read; the engine looks inside, the configuration does not."""
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).touch()
    return {"certfile": str(tmp_path / "cert.pem"), "keyfile": str(tmp_path / "key.pem")}
