"""WebSocket framing and upgrade, beyond the statements of chapter 6."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from dataclasses import replace

import pytest
from mqtt import Connect, PingResp, Publish, packet, string
from peer import Endpoint, Peer, PeerFactory, Stream, WebSocket, open_socket, tls_context

from nanomq.testing import RunningBroker


@pytest.fixture(params=["ws", "wss"])
def transport(request: pytest.FixtureRequest) -> str:
    """These tests are about WebSocket only."""
    return str(request.param)


def frames_of(peer: Peer) -> WebSocket:
    """The frames under a peer."""
    assert isinstance(peer.stream, WebSocket)
    return peer.stream


def open_stream(endpoint: Endpoint) -> Stream:
    """TCP or TLS under a WebSocket that is made by hand."""
    plain = open_socket(endpoint)
    return (
        plain
        if endpoint.kind == "ws"
        else tls_context(endpoint).wrap_socket(plain, server_hostname=endpoint.server_name)
    )


def upgrade(endpoint: Endpoint, request: bytes) -> bytes:
    """What the broker answers to raw bytes until it closes or the head is whole."""
    stream = open_stream(endpoint)
    answer = b""
    with contextlib.suppress(ConnectionError, ssl.SSLEOFError):
        stream.sendall(request)
        while b"\r\n\r\n" not in answer and (more := stream.recv(4096)):
            answer += more
    stream.close()
    return answer


# --- upgrade ---


@pytest.mark.parametrize("path", ["/", "/other", "/mqtt/", "/MQTT", "/mqttx"])
def test_wrong_path_is_refused(endpoint: Endpoint, path: str) -> None:
    stream = open_stream(endpoint)
    assert WebSocket(stream, replace(endpoint, path=path)).status == 404
    stream.close()


@pytest.mark.broker(
    config={"listeners": {"ws": {"bind": "127.0.0.1:0/other/place"}, "wss": {"bind": "127.0.0.1:0/other/place"}}}
)
def test_path_can_be_configured(endpoint: Endpoint, unique: str) -> None:
    client = Peer(replace(endpoint, path="/other/place"))
    assert client.connect(unique).reason == 0
    client.close()
    stream = open_stream(endpoint)
    assert WebSocket(stream, replace(endpoint, path="/mqtt")).status == 404
    stream.close()


def test_query_behind_the_path_is_accepted(endpoint: Endpoint) -> None:
    stream = open_stream(endpoint)
    assert WebSocket(stream, replace(endpoint, path="/mqtt?token=1")).status == 101
    stream.close()


HEAD = (
    b"GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
TAIL = b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n"


def test_answer_of_the_upgrade(endpoint: Endpoint) -> None:
    head, _, _ = upgrade(endpoint, HEAD + TAIL + b"\r\n").partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    assert lines[0].startswith(b"http/1.1 101")
    assert b"sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=" in lines
    assert b"sec-websocket-protocol: mqtt" in lines
    assert b"upgrade: websocket" in lines
    assert b"connection: upgrade" in lines


def test_compression_is_not_offered(endpoint: Endpoint) -> None:
    answer = upgrade(
        endpoint, HEAD + TAIL + b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 101")
    assert b"extensions" not in answer.lower()


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /mqtt HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /mqtt HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
        HEAD.replace(b"Upgrade: websocket\r\n", b"") + TAIL + b"\r\n",
        HEAD.replace(b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", b"") + TAIL + b"\r\n",
        HEAD + TAIL.replace(b"13", b"8") + b"\r\n",
        b"GET /mqtt HTTP/1.0\r\n\r\n",
        b"\x10\x0d\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x00\r\n\r\n",
    ],
    ids=["plain GET", "POST", "no Upgrade", "no key", "version 8", "HTTP/1.0", "MQTT"],
)
def test_request_that_is_no_upgrade_is_refused(endpoint: Endpoint, request_bytes: bytes) -> None:
    answer = upgrade(endpoint, request_bytes)
    assert answer == b"" or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4"))


def test_head_without_end_is_refused(endpoint: Endpoint) -> None:
    assert not upgrade(endpoint, HEAD + b"X: " + b"y" * 100_000).startswith(b"HTTP/1.1 101")


def test_head_may_come_in_pieces_with_packets_behind_it(endpoint: Endpoint, unique: str) -> None:
    stream = open_stream(endpoint)
    frames = WebSocket.__new__(WebSocket)
    connect = WebSocket.frame(frames, WebSocket.BINARY, Connect(unique).encode())
    raw = HEAD + TAIL + b"\r\n" + connect
    for at in range(0, len(raw), 7):
        stream.sendall(raw[at : at + 7])
    answer = b""
    while b"\r\n\r\n" not in answer or not answer.partition(b"\r\n\r\n")[2]:
        more = stream.recv(4096)
        assert more
        answer += more
    assert answer.partition(b"\r\n\r\n")[2].startswith(b"\x82")
    stream.close()


# --- frames ---


@pytest.mark.parametrize("payload", [b"", b"hello", bytes(125)])
def test_ping_is_answered_with_its_payload(peer: PeerFactory, unique: str, payload: bytes) -> None:
    client = peer()
    client.connect(unique)
    frames_of(client).send_frame(WebSocket.PING, payload)
    client.ping()
    assert frames_of(client).frames == [(WebSocket.PONG, payload)]


def test_ping_before_connect_is_answered(peer: PeerFactory, unique: str) -> None:
    client = peer()
    frames_of(client).send_frame(WebSocket.PING, b"early")
    client.connect(unique)
    assert frames_of(client).frames == [(WebSocket.PONG, b"early")]


def test_pong_is_ignored(peer: PeerFactory, unique: str) -> None:
    client = peer()
    client.connect(unique)
    frames_of(client).send_frame(WebSocket.PONG, b"unasked")
    client.expect_nothing()
    assert frames_of(client).frames == []


@pytest.mark.parametrize("payload", [b"", struct.pack("!H", 1000), struct.pack("!H", 1001) + b"bye"])
def test_close_is_answered_with_close(peer: PeerFactory, unique: str, payload: bytes) -> None:
    client = peer()
    client.connect(unique)
    frames_of(client).send_frame(WebSocket.CLOSE, payload)
    client.expect_closed()
    ((opcode, answer),) = frames_of(client).frames
    assert opcode == WebSocket.CLOSE
    assert answer[:2] == (payload[:2] or struct.pack("!H", 1000))


def test_close_of_the_broker_is_announced(peer: PeerFactory, unique: str) -> None:
    client = peer()
    client.connect(unique)
    client.disconnect()
    assert [opcode for opcode, _ in frames_of(client).frames] == [WebSocket.CLOSE]


def test_frame_without_a_mask_closes_the_connection(peer: PeerFactory, unique: str) -> None:
    client = peer()
    client.connect(unique)
    frames_of(client).send_frame(WebSocket.BINARY, b"\xc0\x00", masked=False)
    client.expect_closed()


@pytest.mark.parametrize(
    "raw",
    [
        b"\xc2\x82\x00\x00\x00\x00\xc0\x00",
        b"\x09\x80\x00\x00\x00\x00",
        b"\x89\xfe\x00\x7e\x00\x00\x00\x00" + bytes(126),
        b"\x80\x82\x00\x00\x00\x00\xc0\x00",
        b"\x88\x81\x00\x00\x00\x00\x03",
        b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00",
    ],
    ids=[
        "reserved bit",
        "ping in pieces",
        "long ping",
        "continuation of nothing",
        "close with one byte",
        "length with the top bit",
    ],
)
def test_broken_frame_closes_the_connection(peer: PeerFactory, unique: str, raw: bytes) -> None:
    client = peer()
    client.connect(unique)
    frames_of(client).stream.sendall(raw)
    client.expect_closed()


def test_message_before_a_broken_frame_is_published(peer: PeerFactory, unique: str) -> None:
    client, observer = peer(), peer()
    observer.connect(f"{unique}o")
    observer.subscribe(unique)
    client.connect(unique)
    frames = frames_of(client)
    valid = frames.frame(WebSocket.BINARY, Publish(unique, b"m").encode())
    frames.stream.sendall(valid + frames.frame(WebSocket.TEXT, b"text"))
    assert observer.receive().payload == b"m"
    client.expect_closed()


def test_new_message_within_a_fragmented_one_closes_the_connection(peer: PeerFactory, unique: str) -> None:
    client = peer()
    client.connect(unique)
    frames_of(client).send_frame(WebSocket.BINARY, b"\xc0", fin=False)
    frames_of(client).send_frame(WebSocket.BINARY, b"\xc0\x00")
    client.expect_closed()


def test_empty_frames_are_harmless(peer: PeerFactory, unique: str) -> None:
    client = peer()
    client.connect(unique)
    for _ in range(100):
        frames_of(client).send_frame(WebSocket.BINARY, b"")
    client.ping()


def test_every_byte_in_its_own_frame_and_every_frame_in_pieces(peer: PeerFactory, unique: str) -> None:
    client = peer(split=1)
    client.connect(unique)
    client.subscribe(unique, qos=2)
    client.send_publish(unique, b"payload", qos=2)
    found = [client.recv(), client.recv()]
    assert any(isinstance(p, Publish) and p.payload == b"payload" for p in found)
    frames = frames_of(client)
    for byte in frames.frame(WebSocket.BINARY, b"\xc0\x00"):
        frames.stream.sendall(bytes([byte]))
    client.expect(PingResp)


def test_many_packets_of_random_cuts(peer: PeerFactory, unique: str) -> None:
    client = peer()
    client.connect(unique)
    client.subscribe(unique)
    raw = b"".join(packet(0x30, string(unique) + b"\x00" + b"%d" % number * (number % 50)) for number in range(300))
    at, step = 0, 1
    while at < len(raw):
        frames_of(client).send_frame(WebSocket.BINARY, raw[at : at + step])
        at, step = at + step, step * 7 % 251 + 1
    for number in range(300):
        assert client.expect(Publish).payload == b"%d" % number * (number % 50)


def test_large_message_both_ways(peer: PeerFactory, unique: str) -> None:
    client = peer()
    client.connect(unique)
    client.subscribe(unique)
    payload = bytes(range(256)) * 8000
    client.send_publish(unique, payload)
    assert client.expect(Publish).payload == payload


def test_end_without_close_frame_publishes_nothing_wrong(peer: PeerFactory, broker: RunningBroker, unique: str) -> None:
    client = peer()
    client.connect(unique)
    frames_of(client).stream.sendall(b"\x82\xfe\x00")
    client.socket.shutdown(socket.SHUT_RDWR) if client.endpoint.kind == "ws" else client.close()
    other = peer()
    other.connect(f"{unique}b")
    other.ping()
    assert broker.metrics()["connects"] > 0
