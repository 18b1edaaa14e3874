"""The compiled half: the broker's engine and the client's link."""

from __future__ import annotations

from typing import Literal

PropertyValue = int | str | bytes | tuple[str, str]
Property = tuple[str, PropertyValue]
Event = (
    tuple[Literal["message"], str, bytes, int, bool, bool, int, list[Property]]
    | tuple[Literal["published"], int, int, list[Property]]
    | tuple[Literal["subscribed", "unsubscribed"], int, bytes, list[Property]]
    | tuple[Literal["failed"], int, int, str]
    | tuple[Literal["connected"], bool, str, list[Property]]
    | tuple[Literal["refused"], int, bool, list[Property]]
    | tuple[Literal["lost"], int | None, str, bool, list[Property]]
    | tuple[Literal["auth"], int, list[Property]]
    | tuple[Literal["closed"]]
)
"""Name of the event, then: message (topic, payload, qos, retain, dup, packet id, properties); published (token, reason,
properties); subscribed and unsubscribed (token, reasons, properties); failed (token, reason, text); connected (session
present, client id, properties); refused (reason, retries, properties); lost (reason, text, retries, properties); auth
(reason, properties); closed."""

class RawClient:
    """One MQTT client of the engine. `nanomq.Client` is the one for users.

    Properties are pairs of their name in the standard, in lower case with underscores, and their value.
    """

    def __new__(
        cls,
        url: str,
        *,
        client_id: str,
        version: int,
        clean_start: bool,
        keepalive_s: int,
        username: str | None,
        password: bytes | None,
        will: tuple[str, bytes, int, bool, list[Property]] | None,
        properties: list[Property],
        is_bridge: bool,
        manual_acks: bool,
        automatic_aliases: int,
        send_window: int,
        max_packet_bytes: int,
        max_queue_bytes: int,
        scram: bool,
        reconnect: tuple[float, float] | None,
        retries_first: bool,
        connect_timeout_s: float,
        tls: tuple[str, str, str, str, bool] | None,
    ) -> RawClient:
        """Makes a client; `connect` connects it. `tls` is CA file, certificate, key, key password, insecure.

        **Raises** `ValueError` for options that are not legal, `OSError` for files that cannot be read.
        """

    def fd(self) -> int:
        """A descriptor that is readable while events wait."""

    def drain(self, with_messages: bool) -> list[Event]:
        """Takes the events that wait; messages only if wanted, behind the others. The client stops reading its
        connection while too many messages wait."""

    def dropped(self) -> int:
        """QoS 0 messages dropped because too many waited while an answer was awaited."""

    def connect(self) -> None:
        """Connects; `connected`, `refused` or `lost` follows."""

    def publish(
        self, topic: str, payload: bytes, qos: int, retain: bool, properties: list[Property], token: int
    ) -> None:
        """Publishes; `published` or `failed` with `token` follows."""

    def subscribe(
        self, filters: list[tuple[str, int, bool, bool, int]], properties: list[Property], token: int
    ) -> None:
        """Subscribes: filter, QoS, no local, retain as published, retain handling. `subscribed` or `failed` follows."""

    def unsubscribe(self, filters: list[str], properties: list[Property], token: int) -> None:
        """Gives subscriptions up; `unsubscribed` or `failed` follows."""

    def acknowledge(self, packet_id: int, reason: int) -> None:
        """Acknowledges a message, with `manual_acks`."""

    def auth(self, reason: int, properties: list[Property]) -> None:
        """Sends AUTH."""

    def reauthenticate(self, username: str, password: bytes) -> None:
        """Authenticates again with SCRAM-SHA-256; `auth` or `lost` follows."""

    def disconnect(self, reason: int, properties: list[Property]) -> None:
        """Says goodbye; `closed` follows."""

    def close(self) -> None:
        """Drops the connection without DISCONNECT; nothing follows."""

    @staticmethod
    def reason_name(reason: int) -> str:
        """The name of a reason code in the standard."""

    @staticmethod
    def shown_url(url: str) -> str:
        """The URL as logs show it: with defaults, without user and password. **Raises** `ValueError`."""

class Engine:
    """The broker's engine. `nanomq.Broker` is the one for users. All methods may be called from any thread."""

    def __new__(cls, settings: bytes) -> Engine:
        """`settings`: the effective configuration as JSON. **Raises** `ValueError` if it cannot be read."""

    def start(self) -> bytes:
        """Binds the listeners and serves. Returns JSON: a list of `name`, `kind`, `address`.

        **Raises** `RuntimeError` with what is wrong and what to do; nothing keeps running then.
        """

    def stop(self, timeout_s: float) -> bool:
        """Says good-bye to every client (5.0: DISCONNECT 0x8B). False if that took longer than `timeout_s`."""

    def reload(self, settings: bytes) -> bytes:
        """Takes new settings. Returns JSON: lists `applied`, `needs_restart`, `rejected`."""

    def listeners(self) -> bytes:
        """The open listeners as JSON, as from `start`."""

    def metrics(self) -> dict[str, int]:
        """All counters and gauges."""

    def clients(self) -> bytes:
        """All sessions as JSON, with and without a connection."""

    def certificates(self) -> bytes:
        """The certificates of the TLS listeners as JSON, with dates in seconds since 1970."""

    def advance(self, seconds: float) -> None:
        """Turns the engine's clock forward; returns when everything that is due then has happened."""

    def cut(self, client_id: str) -> bool:
        """Drops a client's connection as a broken network would. False if it has none."""

    def kick(self, client_id: str, reason: int) -> bool:
        """Ends a client's connection with a reason code. False if it has none."""

    def publish(self, topic: str, payload: bytes, qos: int, retain: bool, properties: bytes) -> int:
        """Publishes as the broker itself; returns how many sessions the message was addressed to.

        **Raises** `ValueError` for a topic, QoS or properties that the standard does not allow.
        """

    def events_fd(self) -> int:
        """A descriptor that is readable while events wait."""

    def drain_events(self) -> list[tuple[str, str, dict[str, str]]]:
        """Level, name and fields of the events that wait."""

class Load:
    """A load on a broker: many clients on threads of their own. The options are those of `LoadOptions` in
    engine/io/src/load/options.rs, the report is `Snapshot` in engine/io/src/load/tally.rs, both as JSON."""

    def __new__(cls, options: bytes) -> Load:
        """Reads the options. **Raises** `ValueError` for those that are not known."""

    def start(self) -> None:
        """Starts the clients and returns at once. **Raises** `ValueError` for options that contradict themselves."""

    def snapshot(self) -> bytes:
        """The report until now."""

    def stop(self) -> None:
        """Lets the publishers stop; the load ends when the last messages have come."""

    def wait(self, timeout_s: float) -> bool:
        """Waits for the end. **Returns** whether it has come."""

class Relay:
    """A relay that reads no message: the floor that brokers are compared with."""

    def __new__(cls, address: str, is_pair: bool) -> Relay:
        """Binds `host:port`. With `is_pair` the first publisher's bytes go to the first subscriber and so on,
        otherwise everybody's to every subscriber."""

    def port(self) -> int:
        """The port it listens on."""

    def run(self) -> None:
        """Relays until the process ends."""
