"""Chapter 6: WebSocket as a transport."""

from __future__ import annotations

import pytest
from mqtt import V311, ConnAck, Connect, PingResp, Publish, packet, string, u16
from peer import Endpoint, Peer, PeerFactory, Stream, WebSocket, open_socket, tls_context

CONNACK = b"\x20\x02\x00\x00"


@pytest.fixture(params=["ws", "wss"])
def transport(request: pytest.FixtureRequest) -> str:
    """These tests are about WebSocket only."""
    return str(request.param)


def web_socket(peer: Peer) -> WebSocket:
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


@pytest.mark.statement("MQTT-6.0.0-1", version=4)
def test_broker_sends_binary_frames(peer: PeerFactory, unique: str) -> None:
    client = peer(V311)
    client.connect(unique)
    client.ping()
    assert web_socket(client).frames == []


@pytest.mark.statement("MQTT-6.0.0-1", version=4)
@pytest.mark.parametrize("is_connected", [False, True])
def test_text_frame_closes_the_connection(peer: PeerFactory, unique: str, is_connected: bool) -> None:
    client = peer(V311)
    if is_connected:
        client.connect(unique)
    web_socket(client).send_frame(WebSocket.TEXT, b"\xc0\x00")
    client.expect_closed()
    assert [payload[:2] for opcode, payload in web_socket(client).frames if opcode == WebSocket.CLOSE] == [u16(1003)]


@pytest.mark.statement("MQTT-6.0.0-1", version=4)
@pytest.mark.parametrize("opcode", [3, 7, 11, 15])
def test_reserved_frame_closes_the_connection(peer: PeerFactory, unique: str, opcode: int) -> None:
    client = peer(V311)
    client.connect(unique)
    web_socket(client).send_frame(opcode, b"\xc0\x00")
    client.expect_closed()


@pytest.mark.statement("MQTT-6.0.0-2", version=4)
@pytest.mark.parametrize("split", [1, 2, 3, 7])
def test_packet_may_be_split_over_frames(peer: PeerFactory, unique: str, split: int) -> None:
    client = peer(V311, split=split)
    client.connect(unique)
    client.subscribe(unique, qos=1)
    client.send_publish(unique, b"payload " * 50, qos=0)
    assert client.receive().payload == b"payload " * 50


@pytest.mark.statement("MQTT-6.0.0-2", version=4)
def test_frame_may_hold_several_packets(peer: PeerFactory, unique: str) -> None:
    client = peer(V311)
    client.send(
        Connect(unique, V311),
        packet(0x82, u16(1) + string(unique) + b"\x00"),
        *[Publish(unique, b"%d" % number) for number in range(50)],
        b"\xc0\x00",
    )
    client.expect_bytes(CONNACK)
    client.expect_bytes(b"\x90\x03\x00\x01\x00")
    assert [client.expect(Publish).payload for _ in range(50)] == [b"%d" % number for number in range(50)]
    client.expect(PingResp)


@pytest.mark.statement("MQTT-6.0.0-2", version=4)
@pytest.mark.parametrize("cut", [1, 5, 13, 14, 15, 20])
def test_frame_may_end_anywhere_in_a_packet(peer: PeerFactory, unique: str, cut: int) -> None:
    client = peer(V311)
    raw = Connect(unique, V311).encode() + b"\xc0\x00\xc0\x00"
    web_socket(client).send_frame(WebSocket.BINARY, raw[:cut])
    web_socket(client).send_frame(WebSocket.BINARY, raw[cut:])
    client.expect(ConnAck)
    client.expect(PingResp)
    client.expect(PingResp)


@pytest.mark.statement("MQTT-6.0.0-2", version=4)
def test_packet_may_be_split_over_a_fragmented_message(peer: PeerFactory, unique: str) -> None:
    client = peer(V311)
    raw = Connect(unique, V311).encode()
    frames = web_socket(client)
    frames.send_frame(WebSocket.BINARY, raw[:4], fin=False)
    frames.send_frame(WebSocket.PING, b"between")
    frames.send_frame(WebSocket.CONTINUATION, raw[4:9], fin=False)
    frames.send_frame(WebSocket.CONTINUATION, raw[9:])
    client.expect(ConnAck)
    assert frames.frames == [(WebSocket.PONG, b"between")]


@pytest.mark.statement("MQTT-6.0.0-2", version=4)
@pytest.mark.parametrize("size", [125, 126, 127, 65_535, 65_536, 200_000])
def test_frames_of_every_length_form(peer: PeerFactory, unique: str, size: int) -> None:
    client = peer(V311)
    client.connect(unique)
    client.subscribe(unique)
    raw = packet(0x30, string(unique) + bytes(size))
    web_socket(client).send_frame(WebSocket.BINARY, raw)
    client.expect_bytes(raw)


@pytest.mark.statement("MQTT-6.0.0-3", version=4)
@pytest.mark.parametrize("offered", [None, "chat", "MQTT5, other"])
def test_upgrade_without_the_subprotocol_is_refused(endpoint: Endpoint, offered: str | None) -> None:
    stream = open_stream(endpoint)
    opened = WebSocket(stream, endpoint, subprotocol=offered)
    assert opened.status == 400
    stream.close()


@pytest.mark.statement("MQTT-6.0.0-4", version=4)
@pytest.mark.parametrize("offered", ["mqtt", "chat, mqtt", "mqtt,chat", "mqttv3.1, mqtt"])
def test_broker_selects_the_subprotocol_mqtt(endpoint: Endpoint, offered: str) -> None:
    stream = open_stream(endpoint)
    opened = WebSocket(stream, endpoint, subprotocol=offered)
    assert (opened.status, opened.headers["sec-websocket-protocol"]) == (101, "mqtt")
    stream.close()


def test_old_subprotocol_name_is_accepted_for_old_clients(endpoint: Endpoint) -> None:
    stream = open_stream(endpoint)
    opened = WebSocket(stream, endpoint, subprotocol="mqttv3.1")
    assert (opened.status, opened.headers["sec-websocket-protocol"]) == (101, "mqttv3.1")
    stream.close()
