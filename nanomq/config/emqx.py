"""emqx.conf (EMQX 5, HOCON) → our keys."""

from __future__ import annotations

import re
from collections.abc import Mapping

from nanomq.config.draft import Draft
from nanomq.config.tree import Place, Raw
from nanomq.config.values import flatten


def is_emqx(tree: Mapping[str, Raw]) -> bool:
    """Whether a HOCON tree is of this kind: by its blocks, or by a listener called `default`."""
    if any(name in tree for name in ("node", "cluster", "dashboard", "authentication", "retainer", "sysmon")):
        return True
    listeners = tree["listeners"].value if "listeners" in tree else None
    kinds = listeners.values() if isinstance(listeners, dict) else ()
    return any(isinstance(kind.value, dict) and "default" in kind.value for kind in kinds)


def convert(tree: Mapping[str, Raw], draft: Draft) -> None:
    """Take over what has a counterpart."""
    leaves = flatten(dict(tree))
    listeners: dict[tuple[str, str], dict[str, Raw]] = {}
    for path, raw in leaves:
        match = _LISTENER.fullmatch(path)
        if match:
            listeners.setdefault((match[1], match[2]), {})[match[3]] = raw
        elif path.startswith("log."):
            _log(path, raw, leaves, draft)
        elif path in DURATIONS:
            _duration(DURATIONS[path], raw, draft, path)
        elif path in SAME:
            if raw.value != "infinity":
                draft.set(SAME[path], raw, raw.place, path)
        elif path not in ("authentication", "authentication.enable"):
            draft.note(raw.place, path, "no counterpart")
    for (transport, name), words in listeners.items():
        _listener(transport, name, words, draft)
    if not listeners:  # EMQX opens these without being asked
        start = Place(draft.name)
        draft.set("listeners.tcp.bind", "0.0.0.0:1883", start)
        draft.set("listeners.ws.bind", "0.0.0.0:8083/mqtt", start)
        draft.note(start, "listeners", "not given; TLS at 8883 and 8084 needs your certificate in listeners.ssl, .wss")
    authentication = tree.get("authentication")
    is_open = authentication is None or authentication.value in ([], {})
    draft.set("auth.allow_anonymous", is_open, authentication.place if authentication else Place(draft.name))
    if authentication is not None and not is_open:
        draft.note(authentication.place, "authentication", "its users are not in the file; set them in auth.password")


def _listener(transport: str, name: str, words: dict[str, Raw], draft: Draft) -> None:
    source = f"listeners.{transport}.{name}"
    place = next(iter(words.values())).place
    if transport not in PORTS or not _NAME.fullmatch(name):
        for word, raw in words.items():
            draft.note(raw.place, f"{source}.{word}", "no counterpart")
        return
    path = f"listeners.{transport}" if name == "default" else source
    bind = words.get("bind")
    address = str(bind.written or bind.value) if bind else str(PORTS[transport])
    address = f"0.0.0.0:{address.removeprefix(':')}" if address.removeprefix(":").isdigit() else address
    if transport in ("ws", "wss"):
        given = words.get("websocket.mqtt_path")
        address += str(given.value) if given else "/mqtt"
    if not draft.set(f"{path}.bind", address, bind.place if bind else place, f"{source}.bind"):
        return
    for word, raw in words.items():
        target = LISTENER.get(word)
        if word in ("bind", "websocket.mqtt_path") or (word == "max_connections" and raw.value == "infinity"):
            continue
        if word == "ssl_options.verify" and transport in ("ssl", "wss"):
            draft.set(f"{path}.verify_peer", raw.value == "verify_peer", raw.place, f"{source}.{word}")
        elif target and (transport in ("ssl", "wss") or not word.startswith("ssl_options.")):
            value: object = raw
            if word == "ssl_options.versions" and isinstance(raw.value, list):
                value = ",".join(str(item.value) for item in raw.value)
            draft.set(f"{path}.{target}", value, raw.place, f"{source}.{word}")
        else:
            draft.note(raw.place, f"{source}.{word}", "no counterpart")


def _log(path: str, raw: Raw, leaves: list[tuple[str, Raw]], draft: Draft) -> None:
    """`log.console` and `log.file`, the latter also with a name between: `log.file.default.level`."""
    match = _LOG.fullmatch(path)
    if match is None:
        draft.note(raw.place, path, "no counterpart")
        return
    target, word = match[1], match[2]
    if word in ("enable", "enabled"):
        both = [_LOG.fullmatch(other) for other, item in leaves if item.value is True]
        on = {found[1] for found in both if found and found[2] in ("enable", "enabled")}
        draft.set("log.to", ",".join(name for name in ("console", "file") if name in on) or "console", raw.place, path)
    elif word == "level":
        level = LEVELS.get(str(raw.value), str(raw.value))
        draft.set("log.level", level, raw.place, path)
    elif word in ("path", "to", "file") and target == "file":
        directory, slash, name = str(raw.value).rpartition("/")
        draft.set("log.dir", directory + slash, raw.place, path)
        draft.set("log.file", name, raw.place, path)
    elif word in ("rotation_size", "rotation_count") and target == "file":
        draft.set(f"log.{word.replace('_', '.')}", raw, raw.place, path)
    elif word == "formatter":
        draft.set("log.format", raw, raw.place, path)
    else:
        draft.note(raw.place, path, "no counterpart")


def _duration(target: str, raw: Raw, draft: Draft, path: str) -> None:
    """`1h30m` → seconds."""
    text = str(raw.value).strip().lower()
    if text in ("infinity", "disabled"):
        return  # as without the key
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text.replace(" ", ""):
        draft.note(raw.place, path, "its unit is not written")
        return
    seconds = sum(int(number) * _UNITS[unit] for number, unit in parts)
    draft.set(target, int(seconds) if seconds == int(seconds) else seconds, raw.place, path)


SAME = {
    "mqtt.max_packet_size": "mqtt.max_packet_size", "mqtt.max_clientid_len": "mqtt.max_client_id_bytes",
    "mqtt.max_topic_levels": "mqtt.max_topic_levels", "mqtt.max_qos_allowed": "mqtt.max_qos",
    "mqtt.max_topic_alias": "mqtt.max_topic_alias", "mqtt.retain_available": "mqtt.retain_available",
    "mqtt.wildcard_subscription": "mqtt.wildcard_available", "mqtt.shared_subscription": "mqtt.shared_available",
    "mqtt.shared_subscription_strategy": "mqtt.shared_strategy", "mqtt.max_inflight": "mqtt.max_inflight_window",
    "mqtt.max_mqueue_len": "mqtt.max_mqueue_len", "mqtt.max_subscriptions": "mqtt.max_subscriptions",
    "mqtt.keepalive_multiplier": "mqtt.keepalive_multiplier", "mqtt.response_information": "mqtt.response_information",
    "mqtt.server_keepalive": "mqtt.server_keepalive", "node.name": "system.node_name",
    "retainer.backend.max_retained_messages": "mqtt.max_retained",
}  # fmt: skip
DURATIONS = {
    "mqtt.idle_timeout": "mqtt.connect_timeout",
    "mqtt.retry_interval": "mqtt.retry_interval",
    "mqtt.session_expiry_interval": "mqtt.max_session_expiry",
}
LISTENER = {
    "enable": "enable", "enabled": "enable", "max_connections": "max_connections", "proxy_protocol": "proxy_protocol",
    "tcp_options.nodelay": "nodelay", "tcp_options.backlog": "backlog", "ssl_options.certfile": "certfile",
    "ssl_options.keyfile": "keyfile", "ssl_options.cacertfile": "cacertfile", "ssl_options.password": "key_password",
    "ssl_options.fail_if_no_peer_cert": "fail_if_no_peer_cert", "ssl_options.versions": "versions",
}  # fmt: skip
PORTS = {"tcp": 1883, "ssl": 8883, "ws": 8083, "wss": 8084}
LEVELS = {
    "notice": "info",
    "warning": "warn",
    "critical": "fatal",
    "alert": "fatal",
    "emergency": "fatal",
    "all": "trace",
}
_LISTENER = re.compile(r"listeners\.([^.]+)\.([^.]+)\.(.+)")
_LOG = re.compile(r"log\.(console|file)\.(?:\w+\.)?(\w+)")
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_PART = re.compile(r"(\d{1,9})\s*(ms|s|m|h|d|w)")
_UNITS: dict[str, float] = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
