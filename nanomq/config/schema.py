"""Every configuration key once: path, kind, default, range, what a change needs, old names, text, and who uses it.

The loader, `nanomq check`, the reference in `docs/` and the tests derive from this table. A key without text, or
without somebody who uses it, fails a test. Keys and words are NanoMQ's; our additions follow their manner.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from nanomq.config.values import Address, Kind

Live = Literal["live", "new connections", "listener", "restart"]
"""What a changed value needs: nothing, a new connection, the listener opened again, a new process."""

Use = Literal["engine", "log", "process", "nothing"]
"""Who acts on a key. `nothing`: NanoMQ's files hold it and must load; its text says why it has no effect."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the configuration. `since` is the NanoMQ release that brought it, `ours` for an addition."""

    path: str
    kind: Kind
    default: object
    text: str
    since: str = "ours"
    live: Live = "live"
    low: float | None = None
    high: float | None = None
    above: bool = False
    """`low` itself is not allowed."""
    whole: bool = False
    """A time that the protocol or the system counts in whole seconds."""
    choices: tuple[str, ...] = ()
    """Words of an `enum`; schemes that an `address` may carry."""
    old: tuple[str, ...] = ()
    """Other paths under which the value is accepted."""
    use: Use = "engine"
    engine: str = ""
    """Place in the engine's settings; `listeners[].x` for a key of a listener."""
    env: tuple[str, ...] = ()
    flag: str = ""
    secret: bool = False

    @property
    def unit(self) -> str:
        """What a bare number counts."""
        return {"size": "bytes", "time": "seconds", "time_ms": "milliseconds"}.get(self.kind, "")


@lru_cache(maxsize=1)
def table() -> dict[str, Key]:
    """The whole table by path, with the keys of every listener kind written out."""
    return {key.path: key for key in (*_listener_keys(), *MQTT, *AUTH, *SYSTEM, *LOG)}


@lru_cache(maxsize=1)
def old_names() -> dict[str, Key]:
    """Old path → key."""
    return {old: key for key in table().values() for old in key.old}


def known_listener_items(transport: str) -> frozenset[str]:
    """The words that stand directly in a listener block; any other word there names a further listener."""
    start = f"listeners.{transport}."
    return frozenset(path.removeprefix(start) for path in [*table(), *old_names()] if path.startswith(start))


def _listener_keys() -> Iterator[Key]:
    for transport, (default, schemes, env) in TRANSPORTS.items():
        prefix = f"listeners.{transport}"
        since = "ours" if transport == "unix" else "0.11"
        url_env = (f"NANOMQ_{env}_URL",) if env else ()
        if transport == "tcp":
            url_env = ("NANOMQ_BROKER_URL",)
        if transport == "unix":
            yield Key(
                f"{prefix}.bind", "path", None, "Path of the socket.", since, "listener", engine="listeners[].bind"
            )
        else:
            path = " The path after the port is the one clients ask for." if transport in ("ws", "wss") else ""
            yield Key(
                f"{prefix}.bind", "address", default, f"Address to listen at; port 0 lets the system choose.{path}",
                since, "listener", choices=schemes, engine="listeners[].bind", env=url_env,
            )  # fmt: skip
        yield Key(
            f"{prefix}.enable", "bool", True, "`false` keeps the block and leaves the listener closed.",
            since, "listener", use="process", env=(f"NANOMQ_{env}_ENABLE",) if env else (),
        )  # fmt: skip
        for item in LISTENER_ITEMS if transport != "unix" else [i for i in LISTENER_ITEMS if i.name not in TCP_ONLY]:
            yield item.key(prefix, "")
        if transport in ("ssl", "wss"):
            for item in TLS_ITEMS:
                yield item.key(prefix, "tls.", of_environment=transport == "ssl")


@dataclass(frozen=True, slots=True)
class Item:
    """A key that every listener of a kind has."""

    name: str
    kind: Kind
    default: object
    text: str
    since: str = "ours"
    live: Live = "new connections"
    low: float | None = None
    high: float | None = None
    whole: bool = False
    choices: tuple[str, ...] = ()
    old: tuple[str, ...] = ()
    engine: str = ""
    env: str = ""
    flag: str = ""
    secret: bool = False

    def key(self, prefix: str, group: str, *, of_environment: bool = False) -> Key:
        """This item as a key of one kind of listener; variables and flags belong to the main TLS listener."""
        return Key(
            f"{prefix}.{self.name}", self.kind, self.default, self.text, self.since, self.live, self.low, self.high,
            whole=self.whole,
            choices=self.choices,
            old=tuple(f"{prefix}.{name}" for name in self.old),
            engine=f"listeners[].{group}{self.engine or self.name}",
            env=(self.env,) if self.env and of_environment else (),
            flag=self.flag if of_environment else "",
            secret=self.secret,
        )  # fmt: skip


U16, U32, U40 = 65_535, 4_294_967_295, 1 << 40
MB = 1 << 20

# block → default address, schemes that its address may carry, word in the names of its variables
TRANSPORTS: dict[str, tuple[Address | None, tuple[str, ...], str]] = {
    "tcp": (Address("0.0.0.0", 1883), ("nmq-tcp", "broker+tcp", "tcp", "mqtt", "mqtt-tcp"), "TCP"),
    "ssl": (Address("0.0.0.0", 8883), ("tls+nmq-tcp", "ssl", "tls", "mqtts", "tls+mqtt-tcp"), "TLS"),
    "ws": (Address("0.0.0.0", 8083, "/mqtt"), ("nmq-ws", "nmq+ws", "ws"), "WEBSOCKET"),
    "wss": (Address("0.0.0.0", 8086, "/mqtt"), ("nmq-wss", "nmq+wss", "wss"), "WEBSOCKET_TLS"),
    "unix": (None, (), ""),
}
TCP_ONLY = frozenset({"proxy_protocol", "nodelay", "tcp_keepalive"})

LISTENER_ITEMS = [
    Item("max_connections", "int", 0, "Most connections at a time; 0 = no limit.", low=0, high=U32),
    Item("max_conn_rate", "float", 0.0, "New connections accepted per second; 0 = no limit.", low=0, high=U32),
    Item("messages_rate", "float", 0.0, "Messages one client may publish per second; it is read slower above; 0 = no limit.", low=0, high=U32),
    Item("bytes_rate", "size", 0, "Bytes one client may send per second; it is read slower above; 0 = no limit.", low=0, high=U40),
    Item("max_packet_size", "size", 0, "Biggest packet accepted here; 0 = `mqtt.max_packet_size`.", low=0, high=260 * MB),
    Item("proxy_protocol", "bool", False, "A proxy in front sends the client's address first (PROXY protocol, version 1 or 2).", live="listener"),
    Item("nodelay", "bool", True, "Send small packets at once (TCP_NODELAY)."),
    Item("tcp_keepalive", "time", 0, "Probe silent connections after this time (SO_KEEPALIVE); 0 = off.", low=0, high=32_767, whole=True, engine="tcp_keepalive_s"),
    Item("backlog", "int", 1024, "Connections that may wait to be accepted.", live="listener", low=1, high=U16),
]  # fmt: skip

TLS_ITEMS = [
    Item("certfile", "path", "", "Certificate of the server with its chain, PEM.", "0.11", "live", old=("cert",), env="NANOMQ_TLS_CERT_PATH", flag="cert"),
    Item("keyfile", "path", "", "Private key of the certificate, PEM.", "0.11", "live", old=("key",), env="NANOMQ_TLS_KEY_PATH", flag="key"),
    Item("key_password", "text", "", "Password of the private key.", "0.11", "live", old=("keypass",), env="NANOMQ_TLS_KEY_PASSWORD", flag="keypass", secret=True),
    Item("cacertfile", "path", "", "Authorities whose client certificates are accepted, PEM.", "0.11", "live", old=("cacert",), env="NANOMQ_TLS_CA_CERT_PATH", flag="cacert"),
    Item("crlfile", "path", "", "Revoked client certificates, PEM.", live="live"),
    Item("verify_peer", "bool", False, "Ask the client for a certificate and check it.", "0.11", "live", env="NANOMQ_TLS_VERIFY_PEER", flag="verify"),
    Item("fail_if_no_peer_cert", "bool", False, "With `verify_peer`: refuse a client without a certificate.", "0.11", "live", env="NANOMQ_TLS_FAIL_IF_NO_PEER_CERT", flag="fail"),
    Item("versions", "enums", ["1.2", "1.3"], "TLS versions offered.", live="live", choices=("1.2", "1.3")),
    Item("sni", "certificates", [], "Further certificates, chosen by the name the client asks for: a list of blocks with `certfile`, `keyfile`, `key_password`.", live="live", secret=True),
]  # fmt: skip

MQTT = [
    Key("mqtt.max_packet_size", "size", 10 * MB, "Biggest packet accepted, on every listener; also the limit towards clients that state none.",
        "0.11", "live", 1, 260 * MB, engine="mqtt.max_packet_size", env=("NANOMQ_MAX_PACKET_SIZE",)),
    Key("mqtt.max_mqueue_len", "int", 1024, "Messages that wait for one client; the oldest is dropped and counted above.",
        "0.11", "live", 1, U32, old=("mqtt.session.msq_len",), engine="mqtt.max_mqueue_len", env=("NANOMQ_MSQ_LEN",), flag="msq_len"),
    Key("mqtt.max_mqueue_bytes", "size", 8 * MB, "Bytes that wait for one client; the oldest messages are dropped and counted above.",
        low=1024, high=U40, engine="mqtt.max_mqueue_bytes"),
    Key("mqtt.max_total_queue_bytes", "size", 512 * MB, "Bytes that wait for all clients together, a message as often as clients wait for it; above, "
        "further ones are dropped and counted; 0 = no limit.",
        low=0, high=U40, engine="mqtt.max_total_queue_bytes"),
    Key("mqtt.queue_ttl", "time", 0, "How long a message may wait for a client; 0 = as long as its own expiry allows.",
        low=0, high=U32, engine="mqtt.queue_ttl_s"),
    Key("mqtt.max_inflight_window", "int", 2048, "QoS 1 and 2 messages sent to a client and not yet acknowledged; the client's Receive Maximum may lower it.",
        "0.19", "new connections", 1, U16, engine="mqtt.max_inflight_window"),
    Key("mqtt.receive_maximum", "int", 1024, "QoS 1 and 2 messages a v5 client may have under way to the broker (Receive Maximum of CONNACK).",
        live="new connections", low=1, high=U16, engine="mqtt.receive_maximum"),
    Key("mqtt.retry_interval", "time", 0, "Pause before unacknowledged QoS 1 and 2 messages are sent again to 3.1 and 3.1.1 clients; 0 = only when they connect again, as for v5. NanoMQ's default is 10s.",
        "0.11", "live", 0, U32, old=("mqtt.session.qos_duration",), engine="mqtt.retry_interval_s", env=("NANOMQ_QOS_DURATION",), flag="qos_duration"),
    Key("mqtt.keepalive_multiplier", "float", 1.5, "A client is disconnected after its keepalive × this without a packet. "
        "Under the old name `keepalive_backoff`, values of 100 and more are thousandths.",
        "0.11", "live", 0.5, 99.0, above=True, old=("mqtt.keepalive_backoff", "mqtt.session.keepalive_backoff"), engine="mqtt.keepalive_multiplier"),
    Key("mqtt.server_keepalive", "time", 0, "Longest keepalive of v5 clients; one that asks for a longer one, or for none, is told this (Server Keep Alive); 0 = no limit.",
        live="new connections", low=0, high=U16, whole=True, engine="mqtt.server_keepalive_s"),
    Key("mqtt.max_session_expiry", "time", U32, f"Longest session expiry granted; {U32} = no limit, 0 = sessions end with the connection.",
        live="new connections", low=0, high=U32, whole=True, engine="mqtt.max_session_expiry_s"),
    Key("mqtt.max_topic_alias", "int", 32, "Topic aliases each side may use on a v5 connection (Topic Alias Maximum).",
        "0.24", "new connections", 0, U16, engine="mqtt.max_topic_alias"),
    Key("mqtt.max_qos", "int", 2, "Highest QoS offered to clients (Maximum QoS).",
        live="new connections", low=0, high=2, engine="mqtt.max_qos"),
    Key("mqtt.retain_available", "bool", True, "Retained messages are offered (Retain Available).", live="new connections", engine="mqtt.retain_available"),
    Key("mqtt.wildcard_available", "bool", True, "Subscriptions with wildcards are offered.", live="new connections", engine="mqtt.wildcard_available"),
    Key("mqtt.shared_available", "bool", True, "Shared subscriptions are offered.", live="new connections", engine="mqtt.shared_available"),
    Key("mqtt.subscription_id_available", "bool", True, "Subscription identifiers are offered.", live="new connections", engine="mqtt.subscription_id_available"),
    Key("mqtt.shared_strategy", "enum", "round_robin", "Which member of a share group gets a message.",
        choices=("round_robin", "random", "sticky", "least_inflight", "hash_clientid", "hash_topic"), engine="mqtt.shared_strategy"),
    Key("mqtt.payload_format_check", "bool", False, "Refuse payloads that are marked as text and are not UTF-8.", engine="mqtt.payload_format_check"),
    Key("mqtt.max_topic_levels", "int", 128, "Most levels of a topic name or filter.", low=1, high=U16, engine="mqtt.max_topic_levels"),
    Key("mqtt.max_client_id_bytes", "int", U16, "Longest client id, in bytes.", live="new connections", low=1, high=U16, engine="mqtt.max_client_id_bytes"),
    Key("mqtt.max_subscriptions", "int", 0, "Most subscriptions of one client; 0 = no limit.", low=0, high=U32, engine="mqtt.max_subscriptions"),
    Key("mqtt.max_retained", "int", 0, "Most retained messages of the broker; 0 = no limit.", low=0, high=U32, engine="mqtt.max_retained"),
    Key("mqtt.max_retained_bytes", "size", 0, "Most bytes of retained messages; 0 = no limit.", low=0, high=U40, engine="mqtt.max_retained_bytes"),
    Key("mqtt.connect_timeout", "time", 10, "A connection without CONNECT is closed after this time.", low=1, high=U16, engine="mqtt.connect_timeout_s"),
    Key("mqtt.server_reference", "text", "", "Another server that v5 clients are told to use (Server Reference).", live="new connections", engine="mqtt.server_reference"),
    Key("mqtt.response_information", "text", "", "Base of response topics given to v5 clients that ask (Response Information).", live="new connections", engine="mqtt.response_information"),
    Key("mqtt.property_size", "int", 32, "Size expected of a user property; a hint, properties of any legal size are passed on.",
        "0.11", "live", 1, U32, old=("mqtt.session.property_size",), engine="mqtt.property_size", env=("NANOMQ_PROPERTY_SIZE",), flag="property_size"),
    Key("mqtt.batch_resend", "bool", False, "No effect: waiting messages are always sent as soon as the window has room.", "0.25", use="nothing"),
    Key("mqtt.max_awaiting_rel", "time", 10, "No effect, as in NanoMQ: an unfinished QoS 2 message is kept as long as its session.", "0.19", low=0, high=U32, use="nothing"),
    Key("mqtt.await_rel_timeout", "time", 10, "No effect, as in NanoMQ: an unfinished QoS 2 message is kept as long as its session.", "0.19", low=0, high=U32, use="nothing"),
]  # fmt: skip

AUTH = [
    Key("auth.allow_anonymous", "bool", True, "Clients without username and password are accepted.",
        "0.11", "new connections", old=("mqtt.session.allow_anonymous", "allow_anonymous"), engine="auth.allow_anonymous", env=("NANOMQ_ALLOW_ANONYMOUS",)),
    Key("auth.enable", "bool", True, "`false` ignores `auth.password`.", "0.23", "new connections", use="process"),
    Key("auth.password", "texts", {}, "Users: a block of `name: password` pairs, often `{ include \"nanomq_pwd.conf\" }`. Also used by SCRAM.",
        "0.11", "new connections", engine="auth.users", secret=True),
]  # fmt: skip

SYSTEM = [
    Key("system.daemon", "bool", False, "Run in the background.", "0.11", "restart", use="process", env=("NANOMQ_DAEMON",), flag="daemon"),
    Key("system.num_taskq_thread", "int", 0, "Engine threads (shards); 0 = one per processor core.",
        "0.11", "restart", 0, 255, engine="shards", env=("NANOMQ_NUM_TASKQ_THREAD",), flag="tq_thread"),
    Key("system.max_taskq_thread", "int", 0, "Upper bound of `num_taskq_thread`; 0 = none.",
        "0.11", "restart", 0, 255, engine="shards", env=("NANOMQ_MAX_TASKQ_THREAD",), flag="max_tq_thread"),
    Key("system.parallel", "int", 0, "No effect: a shard works on as many clients at once as it has.",
        "0.11", "restart", 0, U32, use="nothing", env=("NANOMQ_PARALLEL",), flag="parallel"),
    Key("system.node_name", "text", "nanomq", "Name of this broker in metrics and logs.", live="restart", engine="node"),
    Key("system.enable_ipc_internal", "bool", True, "Open the control socket that `nanomq reload` talks to.", "0.15", "restart", use="process"),
    Key("system.hook_ipc_url", "text", "ipc:///tmp/nanomq_hook.ipc", "No effect: webhooks need no channel of their own.", "0.22", "restart", use="nothing"),
    Key("system.cmd_ipc_url", "text", "ipc:///tmp/nanomq_cmd.ipc", "No effect: the control socket lies beside the pid file, closed to other users.", "0.22", "restart", use="nothing"),
]  # fmt: skip

LOG = [
    Key("log.to", "enums", ["console"], "Where lines go, any of `console`, `file`, `syslog`, `uds`. The list is the whole truth.",
        "0.11", choices=("console", "file", "syslog", "uds"), use="log", env=("NANOMQ_LOG_TO",)),
    Key("log.level", "enum", "warn", "Least level that is logged.",
        "0.11", choices=("trace", "debug", "info", "warn", "error", "fatal"), use="log", env=("NANOMQ_LOG_LEVEL",), flag="log_level"),
    Key("log.dir", "path", "", "Directory of the log file; made if it ends in `/`. Empty = working directory.", "0.11", use="log", env=("NANOMQ_LOG_DIR",)),
    Key("log.file", "path", "nanomq.log", "Name of the log file; older ones get the endings `.1`, `.2` and so on.", "0.11", use="log", env=("NANOMQ_LOG_FILE",)),
    Key("log.rotation.size", "size", 10 * MB, "Begin a new log file at this size; 0 = never.", "0.11", low=0, high=U40, use="log", env=("NANOMQ_LOG_ROTATION_SIZE",)),
    Key("log.rotation.count", "int", 5, "Older log files kept.", "0.11", low=1, high=1000, use="log", env=("NANOMQ_LOG_ROTATION_COUNT",)),
    Key("log.uds_addr", "path", "", "Unix datagram socket of the target `uds`.", "0.22", use="log", env=("NANOMQ_LOG_UDS_ADDR",)),
    Key("log.format", "enum", "text", "`text` for people, `json` for one JSON object a line.", choices=("text", "json"), use="log"),
]  # fmt: skip

LATER = (
    "http_server", "bridges", "bridge", "webhook", "rules", "sqlite", "preset", "plugin", "exchange_client", "parquet", "gateway",
    "auth.acl", "auth.http_auth", "auth.no_match", "auth.deny_action", "auth.cache", "listeners.quic",
    "websocket", "tls", "authorization", "auth_http", "rule_option",
)  # fmt: skip
"""Blocks that are known, load, and take effect in a later release."""

KEY_VALUE = {
    "url": "listeners.tcp.bind", "enable": "listeners.tcp.enable",
    "tls.enable": "listeners.ssl.enable", "tls.url": "listeners.ssl.bind",
    "tls.keyfile": "listeners.ssl.keyfile", "tls.key": "listeners.ssl.keyfile",
    "tls.certfile": "listeners.ssl.certfile", "tls.cert": "listeners.ssl.certfile",
    "tls.cacertfile": "listeners.ssl.cacertfile", "tls.cacert": "listeners.ssl.cacertfile",
    "tls.key_password": "listeners.ssl.key_password", "tls.keypass": "listeners.ssl.key_password",
    "tls.verify_peer": "listeners.ssl.verify_peer", "tls.fail_if_no_peer_cert": "listeners.ssl.fail_if_no_peer_cert",
    "websocket.enable": "listeners.ws.enable", "websocket.url": "listeners.ws.bind",
    "websocket.tls_enable": "listeners.wss.enable", "websocket.tls_url": "listeners.wss.bind",
    "daemon": "system.daemon", "num_taskq_thread": "system.num_taskq_thread",
    "max_taskq_thread": "system.max_taskq_thread", "parallel": "system.parallel",
    "enable_ipc_internal": "system.enable_ipc_internal",
    "property_size": "mqtt.property_size", "keepalive_backoff": "mqtt.keepalive_backoff",
    "max_packet_size": "mqtt.max_packet_size", "msq_len": "mqtt.max_mqueue_len", "qos_duration": "mqtt.retry_interval",
    "allow_anonymous": "auth.allow_anonymous", "auth_enable": "auth.enable",
    "log.to": "log.to", "log.level": "log.level", "log.dir": "log.dir", "log.file": "log.file",
    "log.rotation.size": "log.rotation.size", "log.rotation.count": "log.rotation.count", "log.uds_addr": "log.uds_addr",
}  # fmt: skip
"""Names of the key=value files of NanoMQ 0.11 → path. `max_packet_size` counts KB there. Users are `auth.N.login` and
`auth.N.password`."""

KEY_VALUE_LATER = (
    "bridge.", "aws.bridge.", "web.hook.", "rule.", "rule_option", "rule_engine_option", "http_server.", "sqlite.",
    "auth.http.", "acl_", "acl.", "enable_acl_cache", "gateway.", "client_max_packet_size",
)  # fmt: skip
"""Beginnings of names of the key=value files that are known and take effect in a later release."""

OLD_FILES = ("bridge", "aws_bridge", "rule", "webhook", "auth", "auth_http")
"""Flags of NanoMQ 0.11 that name a key=value file of one feature."""

LATER_ENV = (
    "NANOMQ_HTTP_SERVER_",
    "NANOMQ_CLIENT_MAX_PACKET_SIZE",
    "NANOMQ_MSG_PERSISTENCE",
    "NANOMQ_VIN",
    "NANOMQ_EXCHANGER_URL",
)
OTHER_ENV = ("NANOMQ_CONF_PATH", "NANOMQ_PID_FILE")
