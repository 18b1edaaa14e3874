"""MQTT 5.0, 6: WebSocket as transport."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from mqtt import ConnAck, Connect, PingResp, Publish
from peer import Endpoint, Peer, PeerFactory, WebSocket

statement = pytest.mark.statement
pytestmark = pytest.mark.parametrize("transport", ["ws", "wss"], indirect=True)


def websocket(client: Peer) -> WebSocket:
    """The frames under a peer."""
    assert isinstance(client.stream, WebSocket)
    return client.stream


@statement("MQTT-6.0.0-1")
def test_text_frame_closes_the_connection(connected: Callable[..., Peer]) -> None:
    client = connected()
    websocket(client).send_frame(WebSocket.TEXT, b"\xc0\x00")
    while client.recv_raw() is not None:
        pass
    assert [payload[:2] for opcode, payload in websocket(client).frames if opcode == WebSocket.CLOSE] == [b"\x03\xeb"]


@statement("MQTT-6.0.0-1")
def test_text_frame_with_connect_closes_the_connection(peer: PeerFactory) -> None:
    client = peer()
    websocket(client).send_frame(WebSocket.TEXT, Connect("a").encode())
    client.expect_closed()


@statement("MQTT-6.0.0-2")
@pytest.mark.parametrize("split", [1, 2, 3, 7, 100])
def test_packets_are_split_over_frames(peer: PeerFactory, unique: str, split: int) -> None:
    client = peer(split=split)
    client.connect(unique)
    client.subscribe(unique, qos=2)
    client.send_publish(unique, bytes(range(200)), 0)
    assert client.receive() == Publish(unique, bytes(range(200)))


@statement("MQTT-6.0.0-2")
def test_frame_holds_several_packets(peer: PeerFactory, unique: str) -> None:
    client = peer()
    client.send(Connect(unique), b"\xc0\x00" * 20)
    client.expect(ConnAck)
    for _ in range(20):
        client.expect(PingResp)


@statement("MQTT-6.0.0-2")
def test_frame_holds_the_end_of_one_packet_and_the_begin_of_the_next(peer: PeerFactory, unique: str) -> None:
    client = peer()
    data = Connect(unique).encode() + b"\xc0\x00" + Publish(unique, bytes(300)).encode() + b"\xc0\x00"
    for start in range(0, len(data), 17):
        websocket(client).send_frame(WebSocket.BINARY, data[start : start + 17])
    client.expect(ConnAck)
    client.expect(PingResp)
    client.expect(PingResp)


@statement("MQTT-6.0.0-2")
def test_fragmented_frames_are_joined(peer: PeerFactory, unique: str) -> None:
    client = peer()
    data = Connect(unique).encode()
    socket = websocket(client)
    socket.send_frame(WebSocket.BINARY, data[:3], fin=False)
    socket.send_frame(WebSocket.CONTINUATION, data[3:9], fin=False)
    socket.send_frame(WebSocket.PING, b"between")
    socket.send_frame(WebSocket.CONTINUATION, data[9:])
    client.expect(ConnAck)
    assert socket.frames == [(WebSocket.PONG, b"between")]


@statement("MQTT-6.0.0-2")
@pytest.mark.parametrize("size", [125, 126, 127, 65_535, 65_536, 1_000_000])
def test_frames_of_every_length_form_pass(connected: Callable[..., Peer], unique: str, size: int) -> None:
    client = connected()
    client.subscribe(unique)
    payload = bytes(size - 2 - 3 - len(unique))
    client.send_publish(unique, payload)
    assert client.receive().payload == payload


@statement("MQTT-6.0.0-2")
def test_empty_frames_are_ignored(connected: Callable[..., Peer]) -> None:
    client = connected()
    for _ in range(10):
        websocket(client).send_frame(WebSocket.BINARY)
    client.ping()


@statement("MQTT-6.0.0-3")
def test_upgrade_without_subprotocol_is_refused(endpoint: Endpoint) -> None:
    client = Peer(endpoint, subprotocol=None)
    assert websocket(client).status == 400
    client.close()


@statement("MQTT-6.0.0-3")
def test_upgrade_with_another_subprotocol_is_refused(endpoint: Endpoint) -> None:
    client = Peer(endpoint, subprotocol="chat")
    assert websocket(client).status == 400
    client.close()


@statement("MQTT-6.0.0-4")
@pytest.mark.parametrize("offered", ["mqtt", "chat, mqtt", "mqtt, chat", "chat,mqtt,other"])
def test_subprotocol_mqtt_is_selected(endpoint: Endpoint, unique: str, offered: str) -> None:
    client = Peer(endpoint, subprotocol=offered)
    assert (websocket(client).status, websocket(client).headers["sec-websocket-protocol"]) == (101, "mqtt")
    assert client.connect(unique).reason == 0
    client.close()


@statement("MQTT-6.0.0-4")
def test_upgrade_on_another_path_is_refused(endpoint: Endpoint) -> None:
    client = Peer(replace(endpoint, path="/elsewhere"))
    assert websocket(client).status == 404
    client.close()


@statement("MQTT-6.0.0-1")
def test_ping_is_answered_with_pong_and_its_data(connected: Callable[..., Peer]) -> None:
    client = connected()
    websocket(client).send_frame(WebSocket.PING, b"data")
    client.ping()
    assert websocket(client).frames == [(WebSocket.PONG, b"data")]


@statement("MQTT-6.0.0-1")
def test_unasked_pong_is_ignored(connected: Callable[..., Peer]) -> None:
    client = connected()
    websocket(client).send_frame(WebSocket.PONG, b"data")
    client.ping()


@statement("MQTT-6.0.0-1")
def test_close_frame_is_answered(connected: Callable[..., Peer]) -> None:
    client = connected()
    websocket(client).send_frame(WebSocket.CLOSE, b"\x03\xe8")
    client.recv_raw()
    assert websocket(client).frames == [(WebSocket.CLOSE, b"\x03\xe8")]


@statement("MQTT-6.0.0-1")
@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"\x82\x02\xc0\x00", id="not masked"),
        pytest.param(b"\xc2\x82\x00\x00\x00\x00\xc0\x00", id="reserved bit"),
        pytest.param(b"\x83\x82\x00\x00\x00\x00\xc0\x00", id="unknown opcode"),
        pytest.param(b"\x80\x82\x00\x00\x00\x00\xc0\x00", id="continuation of nothing"),
        pytest.param(b"\x09\x80\x00\x00\x00\x00", id="fragmented control frame"),
        pytest.param(b"\x89\xfe\x00\x7e" + bytes(4 + 126), id="long control frame"),
        pytest.param(b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00", id="length beyond 2^63"),
    ],
)
def test_frame_that_breaks_the_rules_closes_the_connection(connected: Callable[..., Peer], raw: bytes) -> None:
    client = connected()
    websocket(client).stream.sendall(raw)
    while client.recv_raw() is not None:
        pass
