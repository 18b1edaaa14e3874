"""mosquitto.conf → our keys: one `option value` a line, options after `listener` belong to that listener."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from nanomq.config.draft import Draft
from nanomq.config.tree import Place


class Line(NamedTuple):
    """One option with its place."""

    option: str
    value: str
    place: Place


def is_mosquitto(text: str) -> bool:
    """Whether a text is of this kind: every line begins with a word of small letters, most of them known ones."""
    found = list(_lines(text, ""))
    known = sum(line.option in KNOWN for line in found)
    return bool(found) and known * 2 > len(found) and not any(line.value.startswith(("=", "{")) for line in found)


def convert(text: str, draft: Draft) -> None:
    """Take over what has a counterpart."""
    converter = _Converter(draft)
    for line in _lines(text, draft.name):
        converter.take(line)
    converter.finish()


def _lines(text: str, name: str) -> Iterator[Line]:
    for number, line in enumerate(text.split("\n"), 1):
        option, _, value = line.strip().partition(" ")
        if option and not option.startswith("#"):
            yield Line(option, value.strip(), Place(name, number, 1))


class _Converter:
    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.default: dict[str, Line] = {}
        """Options before the first `listener`, which may be those of the default listener."""
        self.listeners: list[dict[str, Line]] = []
        self.anonymous: Line | None = None
        self.targets: list[str] = []
        self.in_bridge = False

    def take(self, line: Line) -> None:
        option, value = line.option, line.value
        if option == "connection":
            self.in_bridge = True
        if option == "listener":
            self.in_bridge = False
            self.listeners.append({"listener": line})
        elif self.in_bridge:
            self.draft.note(line.place, option, "a bridge; takes effect in a later release")
        elif option in LISTENER_OPTIONS:
            (self.listeners[-1] if self.listeners else self.default)[option] = line
        elif option == "allow_anonymous":
            self.anonymous = line
        elif option in ("log_dest", "log_type"):
            self.log(line)
        elif option == "persistent_client_expiration":
            match = _EXPIRATION.fullmatch(value)
            seconds = int(match[1]) * _UNITS[match[2]] if match else value
            self.draft.set("mqtt.max_session_expiry", seconds, line.place, option)
        elif option == "set_tcp_nodelay":
            self.default["set_tcp_nodelay"] = line
        elif path := GLOBAL.get(option):
            if option in ZERO_IS_NO_LIMIT and value == "0":
                self.draft.note(line.place, option, "0 is no limit there; here there always is one")
            else:
                self.draft.set(path, value, line.place, option)
        else:
            self.draft.note(line.place, option, WHY.get(option, "no counterpart" if option in KNOWN else "not known"))

    def log(self, line: Line) -> None:
        kind, _, rest = line.value.partition(" ")
        if line.option == "log_type":
            level = LEVELS.get(kind)
            if level is None:
                self.draft.note(line.place, "log_type", "no counterpart")
            elif "log.level" not in self.draft.values or ORDER.index(level) < ORDER.index(
                self.draft.values["log.level"]
            ):
                self.draft.set("log.level", level, line.place, "log_type")
        elif target := {"stdout": "console", "stderr": "console", "syslog": "syslog", "file": "file"}.get(kind):
            if target not in self.targets:
                self.targets.append(target)
            if target == "file":
                directory, slash, name = rest.strip().rpartition("/")
                self.draft.set("log.dir", directory + slash, line.place, "log_dest")
                self.draft.set("log.file", name, line.place, "log_dest")
        else:
            self.draft.note(line.place, "log_dest", "no counterpart")

    def finish(self) -> None:
        draft, start = self.draft, Place(self.draft.name)
        is_local = not self.listeners and "port" not in self.default  # then Mosquitto listens on loopback alone
        if "port" in self.default or not self.listeners:
            self.listeners.insert(0, self.default)
        else:
            for option, line in self.default.items():
                draft.note(line.place, option, "stands before the first listener, and there is no default listener")
        for options in self.listeners:
            self.listener(options, "127.0.0.1" if is_local else "0.0.0.0")
        if self.targets:
            draft.set("log.to", ",".join(self.targets), start)
        if self.anonymous is not None:
            draft.set("auth.allow_anonymous", self.anonymous.value, self.anonymous.place, "allow_anonymous")
        elif not is_local:
            draft.set("auth.allow_anonymous", "false", start)
            draft.note(start, "allow_anonymous", "not given, which is false where a listener is configured")

    def listener(self, options: dict[str, Line], host: str) -> None:
        draft = self.draft
        first = options.get("listener") or options.get("port")
        place = first.place if first else Place(draft.name)
        port, _, address = first.value.partition(" ") if first else ("1883", "", "")
        given = options.get("bind_address")
        address = address.strip() or (given.value if given else "") or host
        protocol = options["protocol"].value if "protocol" in options else "mqtt"
        is_tls = "certfile" in options
        if port == "0" and address.startswith("/"):
            transport, bind = "unix", address
        else:
            transport = ("wss" if is_tls else "ws") if protocol == "websockets" else ("ssl" if is_tls else "tcp")
            bind = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
            bind += "/mqtt" if protocol == "websockets" else ""
        path = f"listeners.{transport}"
        if f"{path}.bind" in draft.values:
            path += f".p{port}" if port.isdigit() else ".other"
        number = 2
        while f"{path}.bind" in draft.values:
            path = f"{path.partition('_')[0]}_{number}"
            number += 1
        if not draft.set(f"{path}.bind", bind, place, "listener"):
            return
        for option, line in options.items():
            self.listener_option(path, transport, option, line)

    def listener_option(self, path: str, transport: str, option: str, line: Line) -> None:
        draft, value, place = self.draft, line.value, line.place
        is_tls = transport in ("ssl", "wss")
        if option in ("listener", "port", "bind_address", "protocol"):
            return
        if option == "require_certificate" and is_tls:
            draft.set(f"{path}.verify_peer", value, place, option)
            draft.set(f"{path}.fail_if_no_peer_cert", value, place, option)
        elif option == "tls_version" and is_tls and value in ("tlsv1.2", "tlsv1.3"):
            draft.set(f"{path}.versions", "1.3" if value == "tlsv1.3" else "1.2,1.3", place, option)
        elif option == "max_connections":
            draft.set(f"{path}.max_connections", "0" if value == "-1" else value, place, option)
        elif option == "set_tcp_nodelay" and transport != "unix":
            draft.set(f"{path}.nodelay", value, place, option)
        elif option in ("max_qos", "max_topic_alias"):
            draft.set(f"mqtt.{option}", value, place, option)
        elif option in TLS and is_tls:
            draft.set(f"{path}.{TLS[option]}", value, place, option)
        else:
            draft.note(place, option, "no counterpart")


GLOBAL = {
    "max_packet_size": "mqtt.max_packet_size",
    "max_inflight_messages": "mqtt.max_inflight_window",
    "max_queued_messages": "mqtt.max_mqueue_len",
    "max_queued_bytes": "mqtt.max_mqueue_bytes",
    "max_keepalive": "mqtt.server_keepalive",
    "retain_available": "mqtt.retain_available",
}
ZERO_IS_NO_LIMIT = frozenset({"max_packet_size", "max_inflight_messages", "max_queued_messages", "max_queued_bytes"})
TLS = {"certfile": "certfile", "keyfile": "keyfile", "cafile": "cacertfile", "crlfile": "crlfile"}
LISTENER_OPTIONS = frozenset({
    *TLS, "port", "bind_address", "protocol", "require_certificate", "tls_version", "max_connections", "max_qos",
    "max_topic_alias", "capath", "ciphers", "ciphers_tls1.3", "dhparamfile", "use_identity_as_username",
    "use_subject_as_username", "use_username_as_clientid", "socket_domain", "bind_interface", "mount_point", "http_dir",
    "psk_hint", "tls_engine", "tls_keyform", "accept_protocol_versions", "websockets_headers_size", "websockets_origin",
})  # fmt: skip
WHY = {
    "password_file": "its passwords are hashed; set them anew in auth.password",
    "acl_file": "access rules take effect in a later release",
    "persistence": "kept sessions and messages take effect in a later release",
    "persistence_location": "kept sessions and messages take effect in a later release",
    "pid_file": "set the variable NANOMQ_PID_FILE",
    "include_dir": "convert each file of the directory",
    "message_size_limit": "mqtt.max_packet_size is the limit of the whole packet",
}
KNOWN = frozenset({
    *GLOBAL, *LISTENER_OPTIONS, *WHY, "listener", "allow_anonymous", "log_dest", "log_type", "set_tcp_nodelay", "user",
    "persistent_client_expiration", "connection", "address", "topic", "persistence_file", "autosave_interval",
    "autosave_on_changes", "sys_interval", "per_listener_settings", "connection_messages", "log_timestamp",
    "log_timestamp_format", "log_facility", "allow_zero_length_clientid", "auto_id_prefix", "check_retain_source",
    "max_inflight_bytes", "memory_limit", "queue_qos0_messages", "upgrade_outgoing_qos", "retain_expiry_interval",
    "plugin", "auth_plugin", "global_plugin", "psk_file", "websockets_log_level", "bridge_protocol_version",
    "remote_username", "remote_password", "remote_clientid", "bridge_cafile", "cleansession", "start_type",
})  # fmt: skip
LEVELS = {
    "debug": "debug",
    "all": "debug",
    "information": "info",
    "notice": "info",
    "warning": "warn",
    "error": "error",
}
ORDER = ("debug", "info", "warn", "error")
_EXPIRATION = re.compile(r"(\d{1,6})([hdwmy])")
_UNITS = {"h": 3600, "d": 86_400, "w": 604_800, "m": 2_592_000, "y": 31_536_000}
