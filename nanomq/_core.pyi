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
