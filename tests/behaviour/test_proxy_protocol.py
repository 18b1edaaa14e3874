"""PROXY protocol, versions 1 and 2: the broker sees the client's address, not the proxy's."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable, Iterator

import pytest
from mqtt import V5, Connect
from peer import Endpoint, Peer, WebSocket, open_socket, tls_context

from nanomq.testing import RunningBroker

PROXIED = {kind: {"proxy_protocol": True} for kind in ("tcp", "ssl", "ws", "wss")}
pytestmark = pytest.mark.broker(config={"listeners": PROXIED})
SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


@pytest.fixture(params=["tcp", "tls", "ws", "wss"])
def transport(request: pytest.FixtureRequest) -> str:
    """Unix sockets have no proxies in front."""
    return str(request.param)


class Proxied(Peer):
    """A peer behind a proxy that sends `header` first."""

    def __init__(self, endpoint: Endpoint, header: bytes) -> None:
        self.endpoint, self.version, self.client_id = endpoint, V5, ""
        self.socket = open_socket(endpoint)
        self.socket.sendall(header)
        if endpoint.kind in ("tls", "wss"):
            self.socket = tls_context(endpoint).wrap_socket(self.socket, server_hostname=endpoint.server_name)
        self.stream = WebSocket(self.socket, endpoint) if endpoint.kind in ("ws", "wss") else self.socket
        self._input = b""
        self._last_id = 0


@pytest.fixture
def proxied(endpoint: Endpoint) -> Iterator[Callable[[bytes], Proxied]]:
    """Makes peers behind a proxy."""
    made: list[Proxied] = []

    def make(header: bytes) -> Proxied:
        made.append(Proxied(endpoint, header))
        return made[-1]

    yield make
    for peer in made:
        peer.close()


def version_2(command: int, family: int, addresses: bytes, extra: bytes = b"") -> bytes:
    """A binary header."""
    return SIGNATURE + bytes([0x20 | command, family]) + struct.pack("!H", len(addresses + extra)) + addresses + extra


V4 = socket.inet_aton("192.0.2.7") + socket.inet_aton("198.51.100.1") + struct.pack("!HH", 40_001, 1883)
V6 = (
    socket.inet_pton(socket.AF_INET6, "2001:db8::7")
    + socket.inet_pton(socket.AF_INET6, "2001:db8::1")
    + struct.pack("!HH", 40_001, 1883)
)
HEADERS = {
    "1 TCP4": (b"PROXY TCP4 192.0.2.7 198.51.100.1 40001 1883\r\n", "192.0.2.7"),
    "1 TCP6": (b"PROXY TCP6 2001:db8::7 2001:db8::1 40001 1883\r\n", "2001:db8::7"),
    "2 TCP4": (version_2(1, 0x11, V4), "192.0.2.7"),
    "2 TCP6": (version_2(1, 0x21, V6), "2001:db8::7"),
    "2 TCP4 with a TLV": (version_2(1, 0x11, V4, b"\x02\x00\x04name"), "192.0.2.7"),
}
LOCAL = {
    "1 UNKNOWN": b"PROXY UNKNOWN\r\n",
    "2 LOCAL": version_2(0, 0x00, b""),
    "2 LOCAL with addresses": version_2(0, 0x11, V4),
}
WRONG = {
    "none": b"",
    "no line end": b"PROXY TCP4 " + b"1" * 200,
    "no numbers": b"PROXY TCP4 a b c d\r\n",
    "port too large": b"PROXY TCP4 192.0.2.7 198.51.100.1 70000 1883\r\n",
    "family": b"PROXY TCP5 192.0.2.7 198.51.100.1 1 1883\r\n",
    "version 3": SIGNATURE + b"\x31\x11\x00\x0c" + V4,
    "too short": version_2(1, 0x11, V4[:8]),
    "command 7": version_2(7, 0x11, V4),
}


@pytest.mark.parametrize(("header", "address"), HEADERS.values(), ids=HEADERS)
def test_address_of_the_header_is_the_clients(
    proxied: Callable[[bytes], Proxied], broker: RunningBroker, unique: str, header: bytes, address: str
) -> None:
    client = proxied(header)
    assert client.connect(unique).reason == 0
    (report,) = [found for found in broker.clients() if found["client_id"] == unique]
    assert address in report["peer"]
    assert "40001" in report["peer"]


@pytest.mark.parametrize("header", LOCAL.values(), ids=LOCAL)
def test_proxy_may_connect_for_itself(
    proxied: Callable[[bytes], Proxied], broker: RunningBroker, unique: str, header: bytes
) -> None:
    client = proxied(header)
    assert client.connect(unique).reason == 0
    assert "127.0.0.1" in str(broker.clients())


@pytest.mark.parametrize("header", WRONG.values(), ids=WRONG)
def test_connection_without_a_right_header_is_closed(endpoint: Endpoint, header: bytes) -> None:
    raw = open_socket(endpoint)
    raw.sendall(header + Connect("x").encode() + bytes(300))
    with contextlib.suppress(ConnectionResetError):
        assert raw.recv(100) == b""
    raw.close()


def test_header_may_come_in_pieces(endpoints: dict[str, Endpoint], broker: RunningBroker, unique: str) -> None:
    header, address = HEADERS["2 TCP6"]
    raw = open_socket(endpoints["tcp"])
    for byte in header + Connect(unique).encode():
        raw.sendall(bytes([byte]))
    assert raw.recv(1) == b"\x20"
    assert address in str(broker.clients())
    raw.close()


def test_header_and_packets_may_come_together(endpoints: dict[str, Endpoint], unique: str) -> None:
    raw = open_socket(endpoints["tcp"])
    raw.sendall(HEADERS["1 TCP4"][0] + Connect(unique).encode() + b"\xc0\x00")
    received = b""
    while not received.endswith(b"\xd0\x00"):
        more = raw.recv(100)
        assert more
        received += more
    raw.close()
