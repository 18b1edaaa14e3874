"""Many random malformed inputs over every transport: no crash, no leak, other clients undisturbed.

`NANOMQ_MALFORMED=20000` sends that many inputs on each transport; by default it is a short run.
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mqtt import V5, V31, V311, Connect, Options, P, Publish, PubRel, Subscribe, Unsubscribe, Will, properties
from peer import Endpoint, Peer, Stream, WebSocket, open_socket, tls_context

from nanomq.testing import RunningBroker

COUNT = int(os.environ.get("NANOMQ_MALFORMED", "500"))
Connected = Callable[..., Peer]


@pytest.fixture
def opened(endpoint: Endpoint) -> Callable[[], Stream]:
    """Opens streams to the broker, as fast as the transport allows."""
    context = tls_context(endpoint) if endpoint.kind in ("tls", "wss") else None

    def open_stream() -> Stream:
        plain: Stream = open_socket(endpoint)
        if context is not None:
            plain = context.wrap_socket(plain, server_hostname=endpoint.server_name)  # type: ignore[arg-type]
        return WebSocket(plain, endpoint) if endpoint.kind in ("ws", "wss") else plain

    return open_stream


def inputs(seed: int, unique: str) -> Iterator[bytes]:
    """Packets with some bytes changed, cut out, put in or doubled; half of them behind a CONNECT that is right."""
    chance = random.Random(seed)
    everything = properties(
        [
            (P.USER_PROPERTY, ("key", "value")),
            (P.MESSAGE_EXPIRY_INTERVAL, 5),
            (P.RESPONSE_TOPIC, "r"),
            (P.CORRELATION_DATA, b"\x00\x01"),
            (P.TOPIC_ALIAS, 3),
        ]
    )
    will = Will(f"{unique}/will", b"w", 1, True, properties({P.WILL_DELAY_INTERVAL: 1}))
    while True:
        version = chance.choice([V31, V311, V5])
        connect = Connect(
            f"{unique}-{chance.randrange(20)}",
            version,
            chance.random() < 0.5,
            chance.randrange(100),
            chance.choice([None, will]),
        ).encode()
        packets = [
            connect,
            Publish(f"{unique}/t", b"payload", 0).encode(version),
            Publish(
                f"{unique}/t", b"payload", 2, True, packet_id=chance.randrange(1, 65_536), properties=everything
            ).encode(V5),
            Subscribe(
                chance.randrange(65_536), ((f"{unique}/#", Options(2)), (f"$share/g/{unique}/+", Options(1)))
            ).encode(version),
            Unsubscribe(7, (f"{unique}/#",)).encode(version),
            PubRel(chance.randrange(1, 65_536)).encode(version),
            chance.randbytes(chance.randrange(1, 60)),
            bytes([chance.randrange(256), 0x80 | chance.randrange(128), chance.randrange(128)]),
        ]
        raw = bytearray(b"".join(chance.choices(packets, k=chance.randint(1, 4))))
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(raw) + 1)
            match chance.randrange(4):
                case 0:
                    raw[at : at + 1] = chance.randbytes(1)
                case 1:
                    del raw[at : at + chance.randint(1, 8)]
                case 2:
                    raw[at:at] = chance.randbytes(chance.randint(1, 8))
                case _:
                    raw[at:at] = raw[at : at + 16]
        yield (connect if chance.random() < 0.5 else b"") + bytes(raw)


def open_files() -> int:
    """Open file descriptors of this process, in which the broker runs too."""
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.timeout(30 + COUNT / 50)
def test_malformed_inputs_disturb_nobody_and_leave_nothing(
    connected: Connected, opened: Callable[[], Stream], broker: RunningBroker, unique: str
) -> None:
    one, other = connected("one"), connected("other")
    other.subscribe(f"{unique}quiet", qos=1)
    files, memory_kib = open_files(), 0
    for number, raw in zip(range(COUNT), inputs(7, unique), strict=False):
        with contextlib.suppress(ConnectionError):
            stream = opened()
            stream.sendall(raw)
            stream.close()
        if number % 100 == 99:
            one.publish(f"{unique}quiet", b"%d" % number, qos=1)
            assert other.receive().payload == b"%d" % number
        if number == COUNT // 2:
            memory_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory_kib < 32 * 1024
    for _ in range(1000):
        one.ping()
        if broker.metrics()["connections"] == 2:
            break
    assert broker.metrics()["connections"] == 2
    assert open_files() <= files + 4
