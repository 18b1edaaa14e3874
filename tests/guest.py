"""A server by hand, for tests of the product's client: it says what a test says, and sees every byte of the client."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import TypeVar

from mqtt import V5, ConnAck, Connect
from peer import TIMEOUT_S, Peer

T = TypeVar("T")


class Host:
    """A listening socket on a free port; its guests are raw peers."""

    def __init__(self, version: int = V5) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.settimeout(TIMEOUT_S)
        self._version = version
        self.url = f"mqtt://127.0.0.1:{self._socket.getsockname()[1]}"

    def next_guest(self) -> Peer:
        """Waits for the next connection."""
        connection, _ = self._socket.accept()
        connection.settimeout(TIMEOUT_S)
        return Peer.accepted(connection, self._version)

    def welcome(self, answer: ConnAck | None = None) -> tuple[Peer, Connect]:
        """Waits for the next connection and accepts its CONNECT."""
        guest = self.next_guest()
        connect = guest.expect(Connect)
        guest.send(answer or ConnAck())
        return guest, connect

    def close(self) -> None:
        """Listens no more."""
        self._socket.close()


def converse(client: Callable[[str], Awaitable[None]], server: Callable[[Host], T], version: int = V5) -> T:
    """Runs `client(url)` on an event loop and `server(host)` on a thread; gives the server's result."""
    host = Host(version)

    async def both() -> T:
        said, _ = await asyncio.gather(asyncio.to_thread(server, host), client(host.url))
        return said

    try:
        return asyncio.run(asyncio.wait_for(both(), 2 * TIMEOUT_S))
    finally:
        host.close()
