"""A blocking raw MQTT peer for tests, over TCP, TLS, WebSocket, secure WebSocket and Unix sockets.

It sends what a test says, right or wrong, and answers nothing by itself. No test sleeps: `expect_nothing` makes a
PINGREQ round trip, which proves that the broker, working in order, had nothing to send before.
"""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import ssl
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import mqtt
from mqtt import V5, Options, P, Pairs, R, properties

TIMEOUT_S = 20.0
"""Longest wait for an answer. It decides only how long a failing test takes."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a broker listens. `address` is `host:port`, or a path for `unix`."""

    kind: str
    address: str
    path: str = "/mqtt"
    cafile: str = ""
    certfile: str = ""
    keyfile: str = ""
    server_name: str = "localhost"

    @classmethod
    def of(cls, url: str, cafile: str = "") -> Endpoint:
        """The endpoint that a URL of the broker names."""
        scheme, _, rest = url.partition("://")
        kind = next(kind for kind, schemes in SCHEMES.items() if scheme in schemes)
        if kind == "unix":
            return cls(kind, rest)
        address, _, path = rest.partition("/")
        return cls(kind, address, f"/{path or 'mqtt'}", cafile)


SCHEMES = {
    "tcp": ("mqtt", "mqtt-tcp", "tcp", "nmq-tcp"),
    "tls": ("mqtts", "tls+mqtt-tcp", "tls", "ssl", "tls+nmq-tcp"),
    "ws": ("ws", "nmq-ws"),
    "wss": ("wss", "nmq-wss"),
    "unix": ("unix", "mqtt+unix", "unix+mqtt"),
}


class Stream(Protocol):
    """An ordered stream of bytes."""

    def sendall(self, data: bytes, /) -> None: ...
    def recv(self, count: int, /) -> bytes: ...
    def settimeout(self, seconds: float, /) -> None: ...
    def close(self) -> None: ...


def open_socket(endpoint: Endpoint) -> socket.socket:
    """The plain socket under any transport."""
    if endpoint.kind == "unix":
        plain = socket.socket(socket.AF_UNIX)
        plain.settimeout(TIMEOUT_S)
        plain.connect(endpoint.address)
        return plain
    host, _, port = endpoint.address.rpartition(":")
    plain = socket.create_connection((host.strip("[]"), int(port)), TIMEOUT_S)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return plain


def tls_context(endpoint: Endpoint) -> ssl.SSLContext:
    """A client's TLS settings: the endpoint's authority, and its client certificate if it has one."""
    context = ssl.create_default_context(cafile=endpoint.cafile or None)
    if endpoint.certfile:
        context.load_cert_chain(endpoint.certfile, endpoint.keyfile)
    return context


class WebSocket:
    """The client side of RFC 6455 by hand. `split` cuts what is sent into frames of that many bytes."""

    CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

    def __init__(self, stream: Stream, endpoint: Endpoint, *, subprotocol: str | None = "mqtt", split: int = 0) -> None:
        self.stream = stream
        self.split = split
        self.frames: list[tuple[int, bytes]] = []
        """Control frames that came, in order: (opcode, payload)."""
        self._raw = b""
        self._data = b""
        self._closed = False
        self.status, self.headers = self._upgrade(endpoint, subprotocol)

    def _upgrade(self, endpoint: Endpoint, subprotocol: str | None) -> tuple[int, dict[str, str]]:
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            f"GET {endpoint.path} HTTP/1.1",
            f"Host: {endpoint.address}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
        ]
        if subprotocol is not None:
            lines.append(f"Sec-WebSocket-Protocol: {subprotocol}")
        self.stream.sendall("\r\n".join([*lines, "", ""]).encode())
        while b"\r\n\r\n" not in self._raw:
            more = self.stream.recv(4096)
            if not more:
                return 0, {}
            self._raw += more
        head, self._raw = self._raw.split(b"\r\n\r\n", 1)
        first, *rest = head.decode("latin-1").split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
        status = int(first.split(" ", 2)[1])
        if status == 101:
            accept = base64.b64encode(
                hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
            ).decode()
            assert headers.get("sec-websocket-accept") == accept
            assert "sec-websocket-extensions" not in headers
        return status, headers

    def frame(self, opcode: int, payload: bytes = b"", *, fin: bool = True, masked: bool = True) -> bytes:
        """One frame as bytes."""
        head = bytes([fin << 7 | opcode])
        mask_bit, length = masked << 7, len(payload)
        if length < 126:
            head += bytes([mask_bit | length])
        elif length < 1 << 16:
            head += bytes([mask_bit | 126]) + struct.pack("!H", length)
        else:
            head += bytes([mask_bit | 127]) + struct.pack("!Q", length)
        return head + (_masked(payload, os.urandom(4)) if masked else payload)

    def send_frame(self, opcode: int, payload: bytes = b"", *, fin: bool = True, masked: bool = True) -> None:
        """Sends one frame."""
        self.stream.sendall(self.frame(opcode, payload, fin=fin, masked=masked))

    def sendall(self, data: bytes, /) -> None:
        """Sends bytes in binary frames: one, or as `split` says."""
        step = self.split or max(1, len(data))
        self.stream.sendall(b"".join(self.frame(self.BINARY, data[at : at + step]) for at in range(0, len(data), step)))

    def recv(self, count: int, /) -> bytes:
        """Bytes of binary frames; none after a close frame or the end of the stream."""
        while not self._data and not self._closed:
            frame = self._next_frame()
            if frame is None:
                return b""
            opcode, payload = frame
            if opcode in (self.BINARY, self.CONTINUATION):
                self._data += payload
            else:
                assert opcode != self.TEXT, "MQTT in a text frame"
                self.frames.append(frame)
                self._closed = opcode == self.CLOSE
        data, self._data = self._data[:count], self._data[count:]
        return data

    def next_control(self) -> tuple[int, bytes]:
        """The next control frame; the end of the stream is an error."""
        while not self.frames:
            assert self.recv(0) or self.frames or self._data, "the stream ended"
        return self.frames.pop(0)

    def settimeout(self, seconds: float, /) -> None:
        """Passes the limit on."""
        self.stream.settimeout(seconds)

    def close(self) -> None:
        """Closes the stream under it, without a close frame."""
        self.stream.close()

    def _next_frame(self) -> tuple[int, bytes] | None:
        if not self._want(2):
            return None
        opcode, length, at = self._raw[0] & 0x0F, self._raw[1], 2
        assert self._raw[0] & 0x70 == 0, "reserved bits of a frame"
        assert length < 128, "a server does not mask"
        if length >= 126:
            size = 2 if length == 126 else 8
            if not self._want(2 + size):
                return None
            length, at = int.from_bytes(self._raw[2 : 2 + size], "big"), 2 + size
        if not self._want(at + length):
            return None
        payload, self._raw = self._raw[at : at + length], self._raw[at + length :]
        return opcode, payload

    def _want(self, count: int) -> bool:
        while len(self._raw) < count:
            more = self.stream.recv(65536)
            if not more:
                return False
            self._raw += more
        return True


def _masked(payload: bytes, mask: bytes) -> bytes:
    length = len(payload)
    whole = (mask * (length // 4 + 1))[:length]
    return mask + (int.from_bytes(payload, "big") ^ int.from_bytes(whole, "big")).to_bytes(length, "big")


T = TypeVar("T", bound=mqtt.Packet)
Filter = str | tuple[str, int] | tuple[str, Options]


def _settled() -> None:
    """A broker of one shard has done what it has answered."""


class Peer:
    """One raw connection. `version` is 3 (MQTT 3.1), 4 (3.1.1) or 5."""

    # Waits until the broker has done what it has answered; set by the factory.
    settle: Callable[[], None] = staticmethod(_settled)

    def __init__(
        self,
        endpoint: Endpoint,
        version: int = V5,
        *,
        split: int = 0,
        subprotocol: str | None = "mqtt",
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.version = version
        self.client_id = ""
        self.socket = open_socket(endpoint)
        stream: Any = self.socket
        if endpoint.kind in ("tls", "wss"):
            stream = (context or tls_context(endpoint)).wrap_socket(self.socket, server_hostname=endpoint.server_name)
            self.socket = stream
        self.stream: Stream = stream
        if endpoint.kind in ("ws", "wss"):
            self.stream = WebSocket(stream, endpoint, subprotocol=subprotocol, split=split)
        self._input = b""
        self._last_id = 0

    @classmethod
    def accepted(cls, connection: socket.socket, version: int = V5) -> Peer:
        """The server's side of a connection, for tests of clients; on TCP."""
        peer = cls.__new__(cls)
        peer.endpoint, peer.version, peer.client_id = Endpoint("tcp", ""), version, ""
        peer.socket = peer.stream = connection
        peer._input, peer._last_id = b"", 0
        return peer

    # --- bytes and packets ---

    def send(self, *what: bytes | mqtt.Packet) -> None:
        """Sends bytes or packets, all in one write."""
        self.stream.sendall(b"".join(item if isinstance(item, bytes) else item.encode(self.version) for item in what))

    def recv(self, timeout: float | None = None) -> mqtt.Packet:
        """The next packet. ConnectionError if the broker closed instead, TimeoutError if nothing came."""
        raw = self.recv_raw(timeout)
        if raw is None:
            raise ConnectionError("the broker closed the connection")
        return mqtt.decode(raw, self.version)

    def recv_raw(self, timeout: float | None = None) -> bytes | None:
        """The bytes of the next packet, None if the broker closed."""
        self.stream.settimeout(timeout or TIMEOUT_S)
        while True:
            parts = mqtt.split(self._input)
            if parts is not None:
                raw, self._input = self._input[: parts[2]], self._input[parts[2] :]
                return raw
            try:
                more = self.stream.recv(65536)
            except (ConnectionResetError, BrokenPipeError, ssl.SSLEOFError):
                more = b""
            if not more:
                assert not self._input, f"the broker closed within a packet: {self._input.hex()}"
                return None
            self._input += more

    def expect(self, kind: type[T]) -> T:
        """The next packet, which must be of this kind."""
        found = self.recv()
        assert isinstance(found, kind), f"{kind.__name__} expected, got {found}"
        return found

    def expect_bytes(self, expected: bytes) -> None:
        """The next packet, byte by byte."""
        raw = self.recv_raw()
        assert raw is not None and raw.hex(" ") == expected.hex(" ")

    def expect_nothing(self) -> None:
        """Nothing waits for this client: the answer to a PINGREQ is the next packet."""
        self.settle()
        self.send(mqtt.PingReq())
        found = self.recv()
        assert isinstance(found, mqtt.PingResp), f"nothing expected, got {found}"

    def expect_closed(self) -> None:
        """The broker closes the connection and sends nothing before."""
        raw = self.recv_raw()
        assert raw is None, f"close expected, got {mqtt.decode(raw, self.version)}"
        self.close()

    def expect_disconnect(self, reason: int) -> mqtt.Disconnect:
        """5.0: a DISCONNECT with this reason code, then the connection is closed. 3.x: it is just closed."""
        if self.version != V5:
            self.expect_closed()
            return mqtt.Disconnect(reason)
        found = self.expect(mqtt.Disconnect)
        assert found.reason == reason, f"reason {reason:#04x} expected, got {found}"
        self.expect_closed()
        return found

    def expect_refused(self, reason: int) -> mqtt.ConnAck:
        """A CONNACK with this reason (5.0) or return code (3.x), session present 0, then the connection is closed."""
        found = self.expect(mqtt.ConnAck)
        assert (found.reason, found.session_present) == (reason, False), f"refusal {reason:#04x} expected, got {found}"
        self.expect_closed()
        return found

    def close(self) -> None:
        """Closes the connection without DISCONNECT, in the orderly way of the transport."""
        self.stream.close()

    def abort(self) -> None:
        """Cuts the connection: a reset where the transport has one."""
        if self.endpoint.kind != "unix":
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.stream.close()

    # --- what clients do ---

    def connect(
        self,
        client_id: str = "",
        *,
        clean: bool = True,
        keepalive_s: int = 0,
        will: mqtt.Will | None = None,
        username: str | None = None,
        password: bytes | None = None,
        props: Pairs | None = None,
    ) -> mqtt.ConnAck:
        """Sends CONNECT and returns the CONNACK, whatever it says."""
        found = properties(props)
        self.client_id = client_id
        self.send(mqtt.Connect(client_id, self.version, clean, keepalive_s, will, username, password, found))
        answer = self.expect(mqtt.ConnAck)
        assigned = answer.properties.value(P.ASSIGNED_CLIENT_IDENTIFIER)
        if isinstance(assigned, str):
            self.client_id = assigned
        return answer

    def next_id(self) -> int:
        """A packet id not used by this peer before."""
        self._last_id += 1
        return self._last_id

    def subscribe(self, *filters: Filter, qos: int = 0, packet_id: int = 0, props: Pairs | None = None) -> mqtt.SubAck:
        """Sends SUBSCRIBE and returns the SUBACK, which must be the next packet."""
        wanted = tuple(
            (f, Options(qos)) if isinstance(f, str) else (f[0], f[1] if isinstance(f[1], Options) else Options(f[1]))
            for f in filters
        )
        packet_id = packet_id or self.next_id()
        self.send(mqtt.Subscribe(packet_id, wanted, properties(props)))
        answer = self.expect(mqtt.SubAck)
        assert answer.packet_id == packet_id
        return answer

    def unsubscribe(self, *filters: str, packet_id: int = 0, props: Pairs | None = None) -> mqtt.UnsubAck:
        """Sends UNSUBSCRIBE and returns the UNSUBACK, which must be the next packet."""
        packet_id = packet_id or self.next_id()
        self.send(mqtt.Unsubscribe(packet_id, filters, properties(props)))
        answer = self.expect(mqtt.UnsubAck)
        assert answer.packet_id == packet_id
        return answer

    def send_publish(
        self,
        topic: str,
        payload: bytes = b"",
        qos: int = 0,
        *,
        retain: bool = False,
        dup: bool = False,
        packet_id: int = 0,
        props: Pairs | None = None,
    ) -> int:
        """Sends PUBLISH only; returns its packet id."""
        packet_id = (packet_id or self.next_id()) if qos else 0
        self.send(mqtt.Publish(topic, payload, qos, retain, dup, packet_id, properties(props)))
        return packet_id

    def publish(
        self,
        topic: str,
        payload: bytes = b"",
        qos: int = 1,
        *,
        retain: bool = False,
        packet_id: int = 0,
        props: Pairs | None = None,
    ) -> int:
        """Sends PUBLISH and completes its flow; returns the reason code of PUBACK or PUBREC. QoS 0: a ping proves that it arrived.

        Then all who get the message have it, or it waits for them.
        """
        packet_id = self.send_publish(topic, payload, qos, retain=retain, packet_id=packet_id, props=props)
        reason = self._complete(packet_id, qos)
        self.settle()
        return reason

    def _complete(self, packet_id: int, qos: int) -> int:
        if qos == 0:
            self.expect_nothing()
            return 0
        if qos == 1:
            receipt = self.expect(mqtt.PubAck)
            assert receipt.packet_id == packet_id
            return receipt.reason
        record = self.expect(mqtt.PubRec)
        assert record.packet_id == packet_id
        if record.reason < 0x80:
            self.send(mqtt.PubRel(packet_id))
            assert self.expect(mqtt.PubComp) == mqtt.PubComp(packet_id)
        return record.reason

    def receive(self) -> mqtt.Publish:
        """The next packet, a PUBLISH; its flow is completed."""
        message = self.expect(mqtt.Publish)
        self.acknowledge(message)
        return message

    def acknowledge(self, message: mqtt.Publish) -> None:
        """Completes the flow of a PUBLISH that came. What comes before the PUBREL is kept for the next calls."""
        if message.qos == 1:
            self.send(mqtt.PubAck(message.packet_id))
        elif message.qos == 2:
            self.send(mqtt.PubRec(message.packet_id))
            others = b""
            while (raw := self.recv_raw()) != mqtt.PubRel(message.packet_id).encode():
                assert raw is not None, "the broker closed instead of sending PUBREL"
                others += raw
            self._input = others + self._input
            self.send(mqtt.PubComp(message.packet_id))

    def ping(self) -> None:
        """A PINGREQ round trip."""
        self.expect_nothing()

    def disconnect(self, reason: int = R.SUCCESS, props: Pairs | None = None) -> None:
        """Sends DISCONNECT and waits until the broker closed too, so that its effects can be tested."""
        self.send(mqtt.Disconnect(reason, properties(props)))
        self.expect_closed()


class PeerFactory:
    """Makes peers of one endpoint and keeps them for closing."""

    def __init__(self, endpoint: Endpoint, settle: Callable[[], None] = _settled) -> None:
        self.endpoint = endpoint
        self.settle = settle
        self.made: list[Peer] = []

    def __call__(self, version: int = V5, **options: Any) -> Peer:
        """A peer with an open transport and nothing sent."""
        peer = Peer(self.endpoint, version, **options)
        peer.settle = self.settle
        self.made.append(peer)
        return peer

    def close(self) -> None:
        """Closes every peer made."""
        for peer in self.made:
            peer.close()
