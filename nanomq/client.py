"""An asyncio MQTT client on the engine's own link: 3.1, 3.1.1 and 5.0 over TCP, TLS, WebSocket and Unix sockets.

    async with Client("mqtt://127.0.0.1:1883", client_id="panel") as client:
        await client.subscribe("sensors/#", qos=1)
        await client.publish("panel/state", "on", qos=1, retain=True)
        async for message in client:
            print(message.topic, message.payload)

Protocol and socket live on the thread `nanomq-client`; Python is woken once for a batch of events. Arguments that only
MQTT 5.0 knows are not sent by the older versions.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from nanomq._core import RawClient
from nanomq.errors import ClientError, ConnectError, Disconnected, NotRunning, PublishError, SubscribeError

if TYPE_CHECKING:
    from nanomq._core import Event, Property, PropertyValue

Payload = bytes | bytearray | memoryview | str
"""What can be published; text is encoded as UTF-8."""

UserProperties = Sequence[tuple[str, str]] | Mapping[str, str]
"""Pairs of name and value; order and repetitions are kept."""

MAX_WAITING_MESSAGES: Final = 4096
"""Messages taken from the engine before the user takes them; more stay there, then in the server."""

CLOSE_TIMEOUT_S: Final = 3.0

_REPEATABLE: Final = frozenset({"user_property", "subscription_identifier"})


class _HasProperties:
    """Properties by their names in the standard, in lower case with underscores."""

    __slots__ = ()
    property_list: Sequence[Property]

    @property
    def properties(self) -> dict[str, Any]:
        """Name → value. `user_property` is a list of pairs, `subscription_identifier` a list of numbers."""
        answer: dict[str, Any] = {}
        for name, value in self.property_list:
            if name in _REPEATABLE:
                answer.setdefault(name, []).append(value)
            else:
                answer[name] = value
        return answer

    @property
    def user_properties(self) -> list[tuple[str, str]]:
        """The user properties in the order they were sent."""
        return [value for name, value in self.property_list if name == "user_property" and isinstance(value, tuple)]

    def _one(self, wanted: str) -> Any:
        return next((value for name, value in self.property_list if name == wanted), None)

    @property
    def reason_string(self) -> str | None:
        """The server's words, if it sent some."""
        text: str | None = self._one("reason_string")
        return text


@dataclass(slots=True)
class Message(_HasProperties):
    """A received message."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    dup: bool = False
    packet_id: int = 0
    property_list: Sequence[Property] = ()

    @property
    def text(self) -> str:
        """The payload as UTF-8 text; bytes that are none are replaced."""
        return self.payload.decode("utf-8", "replace")

    @property
    def content_type(self) -> str | None:
        """Content type, as the publisher wrote it."""
        value: str | None = self._one("content_type")
        return value

    @property
    def response_topic(self) -> str | None:
        """Where an answer is expected."""
        value: str | None = self._one("response_topic")
        return value

    @property
    def correlation_data(self) -> bytes | None:
        """To be sent back with the answer."""
        value: bytes | None = self._one("correlation_data")
        return value

    @property
    def message_expiry(self) -> int | None:
        """Seconds that the message is still worth sending."""
        value: int | None = self._one("message_expiry_interval")
        return value

    @property
    def payload_format(self) -> int | None:
        """1 if the publisher says that the payload is UTF-8 text."""
        value: int | None = self._one("payload_format_indicator")
        return value

    @property
    def subscription_ids(self) -> list[int]:
        """Identifiers of all subscriptions that this message matched."""
        return [
            value for name, value in self.property_list if name == "subscription_identifier" and isinstance(value, int)
        ]


@dataclass(frozen=True, slots=True)
class ConnAck(_HasProperties):
    """The server's answer to CONNECT."""

    session_present: bool
    client_id: str
    property_list: Sequence[Property] = ()


@dataclass(frozen=True, slots=True)
class PublishResult(_HasProperties):
    """The server's answer to a PUBLISH; for QoS 0 the connection took the message."""

    reason: int
    property_list: Sequence[Property] = ()


@dataclass(frozen=True, slots=True)
class Will:
    """The message that the server publishes when the client is gone. `delay` and `message_expiry` are in seconds."""

    topic: str
    payload: Payload = b""
    qos: int = 0
    retain: bool = False
    delay: int | None = None
    message_expiry: int | None = None
    content_type: str | None = None
    response_topic: str | None = None
    correlation_data: bytes | None = None
    payload_format: int | None = None
    user_properties: UserProperties = ()

    def _properties(self) -> list[Property]:
        return _properties(
            self.user_properties,
            will_delay_interval=self.delay,
            message_expiry_interval=self.message_expiry,
            content_type=self.content_type,
            response_topic=self.response_topic,
            correlation_data=self.correlation_data,
            payload_format_indicator=self.payload_format,
        )


@dataclass(frozen=True, slots=True)
class TLS:
    """How to check the server and what to show it. Without `cafile` the system's authorities count.

    `insecure` accepts any certificate: for tests only.
    """

    cafile: str = ""
    certfile: str = ""
    keyfile: str = ""
    key_password: str = field(default="", repr=False)
    insecure: bool = False


class Client:
    """One MQTT connection, used as `async with Client(...) as client`.

    **Arguments**: `url` one of `mqtt://`, `mqtts://`, `ws://`, `wss://`, `unix://` (also `mqtt-tcp://`, `tls+mqtt-tcp://`,
    `tcp://`, `ssl://`); `version` 3 (3.1), 4 (3.1.1) or 5; `keepalive`, `session_expiry` and the timeouts in seconds;
    `scram` proves user and password with SCRAM-SHA-256 instead of sending them; `reconnect` connects again after a lost
    connection and subscribes again if the session is gone, as a pair the first and the longest wait in seconds;
    `manual_acks` leaves QoS 1 and 2 unacknowledged until `acknowledge`; `automatic_aliases` gives so many topics an
    alias; `send_window` bounds unacknowledged messages, `max_queue_bytes` those that wait; `timeout` bounds the wait
    for every answer of the server.

    Messages that you do not take hold the server up: the connection is not read while 4096 of them, or 16 MiB, wait.
    While you await an answer it is read on; then QoS 1 and 2 are acknowledged only when you have taken some, so that
    no more than `receive_maximum` of them come, and QoS 0 is dropped: `dropped_messages` counts.

    `on_connected(connack)`, `on_disconnected(reason)` and `on_auth(reason, properties)` are called on the event loop,
    if set: at every connection, at every lost one (`reason` 0 if the server gave none), and for AUTH packets.
    """

    def __init__(
        self,
        url: str = "mqtt://127.0.0.1:1883",
        *,
        client_id: str = "",
        version: int = 5,
        clean_start: bool = True,
        keepalive: int = 60,
        username: str | None = None,
        password: str | bytes | None = None,
        scram: bool = False,
        will: Will | None = None,
        tls: TLS | None = None,
        session_expiry: int | None = None,
        receive_maximum: int | None = 1024,
        maximum_packet_size: int | None = None,
        topic_alias_maximum: int | None = None,
        request_response_information: bool | None = None,
        request_problem_information: bool | None = None,
        user_properties: UserProperties = (),
        authentication_method: str | None = None,
        authentication_data: bytes | None = None,
        reconnect: bool | tuple[float, float] = False,
        manual_acks: bool = False,
        automatic_aliases: int = 0,
        send_window: int = 1024,
        max_queue_bytes: int = 64 << 20,
        connect_timeout: float = 10.0,
        timeout: float = 30.0,
        retries_first: bool = False,
    ) -> None:
        self.url = url
        self.timeout = timeout
        self.connack: ConnAck | None = None
        self.on_connected: Callable[[ConnAck], None] | None = None
        self.on_disconnected: Callable[[int], None] | None = None
        self.on_auth: Callable[[int, Sequence[Property]], None] | None = None
        self._version = version
        self._options: dict[str, Any] = {
            "client_id": client_id,
            "version": version,
            "clean_start": clean_start,
            "keepalive_s": keepalive,
            "username": username,
            "password": None if password is None else _bytes(password),
            "will": None
            if will is None
            else (will.topic, _bytes(will.payload), will.qos, will.retain, will._properties()),
            "properties": _properties(
                user_properties,
                session_expiry_interval=session_expiry,
                receive_maximum=receive_maximum,
                maximum_packet_size=maximum_packet_size,
                topic_alias_maximum=topic_alias_maximum,
                request_response_information=_flag(request_response_information),
                request_problem_information=_flag(request_problem_information),
                authentication_method=authentication_method,
                authentication_data=authentication_data,
            ),
            "is_bridge": False,
            "manual_acks": manual_acks,
            "automatic_aliases": automatic_aliases,
            "send_window": send_window,
            "max_packet_bytes": 268_435_460,
            "max_queue_bytes": max_queue_bytes,
            "scram": scram,
            "reconnect": (0.5, 30.0) if reconnect is True else (reconnect or None),
            "retries_first": retries_first,
            "connect_timeout_s": connect_timeout,
            "tls": _tls_tuple(tls or TLS()),
        }
        self._raw: RawClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_connected = False
        self._connecting: asyncio.Future[ConnAck] | None = None
        self._closing: asyncio.Future[None] | None = None
        self._asked: dict[int, asyncio.Future[tuple[Any, Sequence[Property]]]] = {}
        self._last_token = 0
        self._inbox: deque[Message] = deque()
        self._left_messages = False
        self._arrival: asyncio.Event = asyncio.Event()
        # Why there will be no more messages: nothing after `disconnect`, an error after a lost connection.
        self._has_ended = False
        self._error: ClientError | None = None

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.disconnect()

    @property
    def client_id(self) -> str:
        """The client id in use: the given one, or the one that the server assigned."""
        return self.connack.client_id if self.connack else str(self._options["client_id"])

    @property
    def address(self) -> str:
        """The URL with its defaults filled in and without user and password. **Raises** `ValueError` if it is none."""
        return RawClient.shown_url(self.url)

    @property
    def is_connected(self) -> bool:
        """Whether the server has accepted the connection and it is not lost."""
        return self._is_connected

    @property
    def dropped_messages(self) -> int:
        """QoS 0 messages of this connection dropped because too many waited while an answer was awaited."""
        return self._raw.dropped() if self._raw is not None else 0

    @property
    def messages(self) -> AsyncIterator[Message]:
        """The received messages, until `disconnect`. **Raises** `Disconnected` when the connection is lost for good."""
        return self.__aiter__()

    async def connect(self) -> ConnAck:
        """Connects. `async with` does it by itself.

        **Raises** `ConnectError` if the server cannot be reached or refuses; `ValueError` for options not legal.
        """
        if self._raw is not None:
            raise ConnectError("the client is connected already")
        self._loop = asyncio.get_running_loop()
        raw = RawClient(self.url, **self._options)
        self._raw, self._has_ended, self._error = raw, False, None
        self._inbox.clear()
        self._connecting = self._loop.create_future()
        self._loop.add_reader(raw.fd(), self._take_events)
        raw.connect()
        try:
            return await self._connecting
        except BaseException:
            self._release()
            raise
        finally:
            self._connecting = None

    async def disconnect(
        self,
        reason: int = 0,
        *,
        session_expiry: int | None = None,
        reason_string: str | None = None,
        user_properties: UserProperties = (),
    ) -> None:
        """Says goodbye and closes; `reason` 4 asks the server to publish the will. Extra calls are harmless."""
        raw, loop = self._raw, self._loop
        if raw is None or loop is None:
            return
        try:
            if not self._has_ended:
                self._closing = loop.create_future()
                properties = _properties(
                    user_properties, session_expiry_interval=session_expiry, reason_string=reason_string
                )
                raw.disconnect(reason, properties)
                await asyncio.wait_for(self._closing, CLOSE_TIMEOUT_S)
        except TimeoutError:
            pass  # a server that does not read is left alone
        finally:
            self._closing = None
            self._release()

    def close(self) -> None:
        """Drops the connection without DISCONNECT, as a crash would: the server publishes the will."""
        self._end(None)
        self._release()

    async def publish(
        self,
        topic: str,
        payload: Payload = b"",
        qos: int = 0,
        retain: bool = False,
        *,
        message_expiry: int | None = None,
        content_type: str | None = None,
        response_topic: str | None = None,
        correlation_data: bytes | None = None,
        payload_format: int | None = None,
        topic_alias: int | None = None,
        user_properties: UserProperties = (),
    ) -> PublishResult:
        """Publishes a message.

        **Returns** when the server has acknowledged it; QoS 0 when the connection has taken it.
        **Raises** `PublishError` for a code of 0x80 and above, a limit of the server, or a topic that is not legal;
        `Disconnected`; `TimeoutError`, after which the message may still be delivered.
        """
        properties = _properties(
            user_properties,
            payload_format_indicator=payload_format,
            message_expiry_interval=message_expiry,
            content_type=content_type,
            response_topic=response_topic,
            correlation_data=correlation_data,
            topic_alias=topic_alias,
        )
        token = self._token()
        self._live().publish(topic, _bytes(payload), qos, retain, properties, token)
        reason, answer = await self._answer(token, PublishError)
        if reason >= 0x80:
            raise PublishError(_refusal(f"publish to {topic}", reason, answer), reason=reason)
        return PublishResult(reason, answer)

    async def subscribe(
        self,
        topic_filter: str | Sequence[str | tuple[str, int]],
        qos: int = 0,
        *,
        no_local: bool = False,
        retain_as_published: bool = False,
        retain_handling: int = 0,
        subscription_id: int | None = None,
        user_properties: UserProperties = (),
    ) -> list[int]:
        """Subscribes to a topic filter, or to several, each with its own QoS if given as a pair.

        **Returns** the granted QoS of each filter.
        **Raises** `SubscribeError` if the server refuses one, or a filter is not legal; `Disconnected`; `TimeoutError`.
        """
        asked: Sequence[str | tuple[str, int]] = [topic_filter] if isinstance(topic_filter, str) else topic_filter
        pairs = [(one, qos) if isinstance(one, str) else one for one in asked]
        filters = [(text, level, no_local, retain_as_published, retain_handling) for text, level in pairs]
        properties = _properties(user_properties, subscription_identifier=subscription_id)
        token = self._token()
        self._live().subscribe(filters, properties, token)
        reasons, answer = await self._answer(token, SubscribeError)
        for (text, _), reason in zip(pairs, reasons, strict=False):
            if reason >= 0x80:
                raise SubscribeError(_refusal(f"subscribe to {text}", reason, answer), reason=reason)
        return list(reasons)

    async def unsubscribe(self, *topic_filters: str, user_properties: UserProperties = ()) -> list[int]:
        """Gives subscriptions up.

        **Returns** one reason code for each filter: 0, or 0x11 if there was no such subscription (5.0 only).
        **Raises** as `subscribe`.
        """
        token = self._token()
        self._live().unsubscribe(list(topic_filters), _properties(user_properties), token)
        reasons, answer = await self._answer(token, SubscribeError)
        for text, reason in zip(topic_filters, reasons, strict=False):
            if reason >= 0x80:
                raise SubscribeError(_refusal(f"unsubscribe from {text}", reason, answer), reason=reason)
        return list(reasons) or [0] * len(topic_filters)

    def acknowledge(self, message: Message, reason: int = 0) -> None:
        """Acknowledges a QoS 1 or 2 message, with `manual_acks`."""
        if message.packet_id:
            self._live().acknowledge(message.packet_id, reason)

    def auth(self, reason: int, *, method: str, data: bytes = b"", user_properties: UserProperties = ()) -> None:
        """Sends AUTH for a method of your own; the server's AUTH goes to `on_auth(reason, properties)`."""
        properties = _properties(user_properties, authentication_method=method, authentication_data=data)
        self._live().auth(reason, properties)

    async def next_message(self, timeout: float | None = None) -> Message:
        """The next message. **Raises** `TimeoutError`; `Disconnected` when there will be none."""
        message = await asyncio.wait_for(self._next(), timeout) if timeout is not None else await self._next()
        if message is None:
            raise Disconnected("the client is not connected")
        return message

    async def __aiter__(self) -> AsyncIterator[Message]:
        while (message := await self._next()) is not None:
            yield message

    async def _next(self) -> Message | None:
        while not self._inbox:
            if self._left_messages:
                self._take_events()
            elif self._has_ended:
                if self._error is not None:
                    raise self._error
                return None
            else:
                self._arrival.clear()
                await self._arrival.wait()
        return self._inbox.popleft()

    def _live(self) -> RawClient:
        if self._raw is None or self._has_ended:
            raise self._error or NotRunning("the client is not connected", hint="use it inside `async with`")
        return self._raw

    def _token(self) -> int:
        self._last_token += 1
        return self._last_token

    async def _answer(self, token: int, error: type[ClientError]) -> tuple[Any, Sequence[Property]]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._asked[token] = future
        try:
            async with asyncio.timeout(self.timeout):
                answer: tuple[Any, Sequence[Property]] = await future
                return answer
        except _Failed as failed:
            raise error(str(failed), reason=failed.reason) from None
        finally:
            self._asked.pop(token, None)

    def _take_events(self) -> None:
        """Called by the loop when the engine has something to tell."""
        if self._raw is None:
            return
        has_room = len(self._inbox) < MAX_WAITING_MESSAGES
        self._left_messages = not has_room
        for event in self._raw.drain(has_room):
            if event[0] == "message":
                self._inbox.append(Message(*event[1:]))
            else:
                self._take_event(event)
        if self._inbox or self._left_messages or self._has_ended:
            self._arrival.set()

    def _take_event(self, event: Event) -> None:
        match event:
            case ("published", token, reason, properties):
                self._resolve(token, (reason, properties))
            case ("subscribed" | "unsubscribed", token, reasons, properties):
                self._resolve(token, (reasons, properties))
            case ("failed", token, reason, text):
                self._fail(token, reason, text)
            case ("connected", session_present, client_id, properties):
                self._is_connected = True
                self.connack = ConnAck(session_present, client_id, properties)
                if self._connecting is not None and not self._connecting.done():
                    self._connecting.set_result(self.connack)
                if self.on_connected is not None:
                    self.on_connected(self.connack)
            case ("refused", reason, retries, properties):
                self._is_connected = False
                if not retries:
                    text = _refusal(f"connect to {self.address}", reason, properties)
                    self._end(ConnectError(text, reason=reason))
            case ("lost", reason, text, retries, properties):
                if self._is_connected and self.on_disconnected is not None:
                    self.on_disconnected(reason or 0)
                self._is_connected = False
                if not retries:
                    kind = ConnectError if self._connecting is not None else Disconnected
                    self._end(kind(f"{self.address}: {text}", reason=reason or 0))
            case ("auth", reason, properties):
                if self.on_auth is not None:
                    self.on_auth(reason, properties)
            case ("closed",):
                self._end(None)

    def _resolve(self, token: int, answer: tuple[Any, Sequence[Property]]) -> None:
        future = self._asked.get(token)
        if future is not None and not future.done():
            future.set_result(answer)

    def _fail(self, token: int, reason: int, text: str) -> None:
        failed = _Failed(text, reason)
        future: asyncio.Future[Any] | None = self._asked.get(token) if token else self._closing
        if future is not None and not future.done():
            future.set_exception(failed if token else ClientError(text, reason=reason))

    def _end(self, error: ClientError | None) -> None:
        """There will be no more events: tells everybody who waits."""
        if self._has_ended:
            return
        self._has_ended, self._is_connected, self._error = True, False, error
        if self._connecting is not None and not self._connecting.done():
            self._connecting.set_exception(error or ConnectError("the client was closed"))
        if self._closing is not None and not self._closing.done():
            self._closing.set_result(None)
        for future in self._asked.values():
            if not future.done():
                future.set_exception(error or Disconnected("the client was closed"))
        self._arrival.set()

    def _release(self) -> None:
        self._end(None)
        raw, self._raw = self._raw, None
        self._left_messages = False
        if raw is not None:
            if self._loop is not None:
                self._loop.remove_reader(raw.fd())
            raw.close()


class _Failed(Exception):
    """The link could not carry out a request; becomes the error of the call."""

    def __init__(self, text: str, reason: int) -> None:
        super().__init__(text)
        self.reason = reason


def _bytes(payload: Payload) -> bytes:
    return payload.encode() if isinstance(payload, str) else bytes(payload)


def _flag(value: bool | None) -> int | None:
    return None if value is None else int(value)


def _tls_tuple(tls: TLS) -> tuple[str, str, str, str, bool]:
    return (str(tls.cafile), str(tls.certfile), str(tls.keyfile), tls.key_password, tls.insecure)


def _properties(user_properties: UserProperties, **values: PropertyValue | None) -> list[Property]:
    pairs = user_properties.items() if isinstance(user_properties, Mapping) else user_properties
    answer: list[Property] = [(name, value) for name, value in values.items() if value is not None]
    answer.extend(("user_property", (name, value)) for name, value in pairs)
    return answer


def _refusal(what: str, reason: int, properties: Sequence[Property]) -> str:
    words = next((f": {value!s}" for name, value in properties if name == "reason_string"), "")
    return f"{what}: {RawClient.reason_name(reason)} (0x{reason:02X}){words}"
