"""Malformed, oversize, out-of-order and hostile input: the right reason, one closed connection, others undisturbed."""

from __future__ import annotations

import contextlib
import random
import socket
from collections.abc import Callable, Iterator

import pytest
from mqtt import (
    V5,
    V31,
    V311,
    Connect,
    Options,
    P,
    Publish,
    PubRel,
    R,
    Subscribe,
    Will,
    packet,
    properties,
    string,
    u16,
    varint,
)
from peer import Endpoint, Peer, PeerFactory, WebSocket, open_socket

from nanomq.testing import RunningBroker

Connected = Callable[..., Peer]


@pytest.fixture
def bystanders(connected: Connected, unique: str) -> Iterator[None]:
    """Two clients that exchange messages before and after the attack."""
    one, other = connected("one"), connected("other")
    other.subscribe(f"{unique}/by", qos=1)
    one.publish(f"{unique}/by", b"before", qos=1)
    yield
    one.publish(f"{unique}/by", b"after", qos=1)
    assert [other.receive().payload for _ in range(2)] == [b"before", b"after"]
    other.expect_nothing()


MALFORMED = {
    "type 0": (b"\x00\x00", R.MALFORMED_PACKET),
    "five length bytes": (b"\x30\x80\x80\x80\x80\x01", R.MALFORMED_PACKET),
    "empty publish": (packet(0x30), R.MALFORMED_PACKET),
    "cut topic": (packet(0x30, u16(100) + b"abc"), R.MALFORMED_PACKET),
    "qos 3": (packet(0x36, string("t") + u16(1) + b"\x00"), R.MALFORMED_PACKET),
    "dup with qos 0": (packet(0x38, string("t") + b"\x00"), R.MALFORMED_PACKET),
    "properties longer than the packet": (packet(0x30, string("t") + b"\x7f"), R.MALFORMED_PACKET),
    "property length of five bytes": (packet(0x30, string("t") + b"\x80\x80\x80\x80\x01"), R.MALFORMED_PACKET),
    "unknown property": (packet(0x30, string("t") + b"\x02\x7e\x00"), R.MALFORMED_PACKET),
    "subscribe flags": (packet(0x80, u16(1) + b"\x00" + string("t") + b"\x00"), R.MALFORMED_PACKET),
    "pingreq with a body": (packet(0xC0, b"\x00"), R.MALFORMED_PACKET),
}
PROTOCOL_ERRORS = {
    "second connect": (Connect("again").encode(), R.PROTOCOL_ERROR),
    "property twice": (packet(0x30, string("t") + b"\x04\x01\x00\x01\x00"), R.PROTOCOL_ERROR),
    "connack from a client": (b"\x20\x03\x00\x00\x00", R.PROTOCOL_ERROR),
    "suback from a client": (packet(0x90, u16(1) + b"\x00\x00"), R.PROTOCOL_ERROR),
    "pingresp from a client": (b"\xd0\x00", R.PROTOCOL_ERROR),
    "subscribe without filters": (packet(0x82, u16(1) + b"\x00"), R.PROTOCOL_ERROR),
    "auth without a method": (packet(0xF0, b"\x18\x00"), R.PROTOCOL_ERROR),
    "empty topic without alias": (packet(0x30, string("") + b"\x00"), R.PROTOCOL_ERROR),
}
BROKEN = MALFORMED | PROTOCOL_ERRORS


@pytest.mark.usefixtures("bystanders")
@pytest.mark.parametrize(("raw", "reason"), BROKEN.values(), ids=BROKEN)
def test_wrong_packet_gets_its_reason_and_closes_its_connection(connected: Connected, raw: bytes, reason: R) -> None:
    client = connected()
    client.send(raw)
    client.expect_disconnect(reason)


@pytest.mark.usefixtures("bystanders")
@pytest.mark.parametrize("raw", [raw for raw, _ in MALFORMED.values()], ids=MALFORMED)
def test_wrong_packet_closes_a_3_1_1_connection_without_a_word(connected: Connected, raw: bytes) -> None:
    client = connected(version=V311)
    client.send(raw)
    if raw in (
        MALFORMED["properties longer than the packet"][0],
        MALFORMED["property length of five bytes"][0],
        MALFORMED["unknown property"][0],
    ):
        client.ping()  # 3.1.1 has no properties: this is payload
    else:
        client.expect_closed()


@pytest.mark.usefixtures("bystanders")
@pytest.mark.broker(config={"mqtt": {"max_packet_size": 10_000}})
@pytest.mark.parametrize("version", [V31, V311, V5])
def test_packet_over_the_limit_closes_its_connection(connected: Connected, unique: str, version: int) -> None:
    client = connected(version=version)
    client.send(b"\x30" + varint(10_000) + b"the rest never comes")
    client.expect_disconnect(R.PACKET_TOO_LARGE)


@pytest.mark.broker(config={"mqtt": {"max_packet_size": 10_000}})
def test_limit_is_announced_and_counts_the_whole_packet(peer: PeerFactory, unique: str) -> None:
    client = peer()
    assert client.connect(unique).properties.value(P.MAXIMUM_PACKET_SIZE) == 10_000
    client.subscribe(unique)
    overhead = 3 + 2 + len(unique) + 1
    client.send_publish(unique, bytes(10_000 - overhead))
    assert len(client.expect(Publish).raw) == 10_000
    client.send_publish(unique, bytes(10_001 - overhead))
    client.expect_disconnect(R.PACKET_TOO_LARGE)


@pytest.mark.usefixtures("bystanders")
def test_announced_giant_takes_no_memory(connected: Connected) -> None:
    clients = [connected(f"g{number}") for number in range(50)]
    for client in clients:
        client.send(b"\x30\xff\xff\xff\x7f")
    for client in clients:
        client.expect_disconnect(R.PACKET_TOO_LARGE)


@pytest.mark.usefixtures("bystanders")
@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (packet(0x10, string("MQTT") + b"\x05\x03" + u16(0) + b"\x00" + string("c")), R.MALFORMED_PACKET),
        (
            packet(0x10, string("MQTT") + b"\x05\x02" + u16(0) + b"\x05\x11\x00\x00\x00\x01" + string("c") + b"x"),
            R.MALFORMED_PACKET,
        ),
        (packet(0x10, string("MQTT") + b"\x05\x02" + u16(0) + b"\x03\x21\x00\x00" + string("c")), R.PROTOCOL_ERROR),
        (packet(0x10, string("MQTT") + b"\x05\x02" + u16(0) + b"\x02\x19\x02" + string("c")), R.PROTOCOL_ERROR),
        (
            packet(0x10, string("MQTT") + b"\x05\x02" + u16(0) + b"\x05\x27\x00\x00\x00\x00" + string("c")),
            R.PROTOCOL_ERROR,
        ),
        (packet(0x10, string("MQTT") + b"\x06\x02" + u16(0) + b"\x00" + string("c")), R.UNSUPPORTED_PROTOCOL_VERSION),
    ],
    ids=[
        "reserved flag",
        "rest",
        "receive maximum 0",
        "request response information 2",
        "maximum packet size 0",
        "level 6",
    ],
)
def test_wrong_connect_is_refused_or_closed(peer: PeerFactory, raw: bytes, reason: R) -> None:
    client = peer()
    client.send(raw)
    answer = client.recv_raw()
    if raw[8] == 6:
        assert answer in (None, b"\x20\x02\x00\x01", b"\x20\x03\x00\x84\x00")
    elif answer is not None:
        assert (answer[0], answer[3]) == (0x20, reason)
    client.close()


@pytest.mark.usefixtures("bystanders")
def test_subscription_to_everything_at_every_depth_is_served(connected: Connected, unique: str) -> None:
    client = connected()
    assert client.subscribe("/".join(["+"] * 120)).reasons == (0,)
    connected("p").publish(f"{unique}/" + "/".join(["x"] * 119), b"m", qos=1)
    assert client.receive().payload == b"m"


@pytest.mark.parametrize("version", [V311, V5])
def test_topic_with_too_many_levels_is_refused(connected: Connected, version: int) -> None:
    deep = "/".join(["x"] * 200)
    client = connected(version=version)
    client.send(Subscribe(1, ((deep, Options()),)))
    assert client.recv_raw() in (b"\x90\x03\x00\x01\x80", b"\x90\x04\x00\x01\x00\x8f", None)
    other = connected("b", version=version)
    other.send_publish(deep, b"m", qos=0)
    other.expect_disconnect(R.TOPIC_NAME_INVALID)


@pytest.mark.usefixtures("bystanders")
def test_endless_small_packets_are_served(connected: Connected) -> None:
    client = connected()
    client.send(b"\xc0\x00" * 5000)
    for _ in range(5000):
        client.expect_bytes(b"\xd0\x00")


@pytest.mark.usefixtures("bystanders")
def test_client_that_never_reads_its_answers_is_not_a_burden(
    connected: Connected, tcp_peer: PeerFactory, unique: str
) -> None:
    client = tcp_peer()
    client.connect(f"{unique}never")
    client.socket.setblocking(False)
    try:
        for _ in range(2000):
            client.socket.send(b"\xc0\x00" * 5000)
    except (BlockingIOError, ConnectionError):
        pass


@pytest.mark.usefixtures("bystanders")
def test_connections_that_say_nothing_take_nothing_from_others(peer: PeerFactory, connected: Connected) -> None:
    for _ in range(100):
        peer()
    connected("late").ping()


@pytest.mark.usefixtures("bystanders")
def test_connect_and_vanish(endpoint: Endpoint, unique: str) -> None:
    for number in range(50):
        raw = open_socket(endpoint)
        raw.sendall(Connect(f"{unique}{number}").encode()[: number % 20])
        if endpoint.kind != "unix":
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        raw.close()


@pytest.mark.usefixtures("bystanders")
def test_reset_in_the_middle_of_a_delivery(connected: Connected, unique: str) -> None:
    publisher = connected("p")
    for number in range(20):
        client = connected(f"r{number}")
        client.subscribe(unique)
        publisher.send_publish(unique, bytes(200_000))
        client.abort()
    publisher.ping()


@pytest.mark.usefixtures("bystanders")
def test_acknowledgements_nobody_waits_for_are_harmless(connected: Connected) -> None:
    client = connected()
    client.send(*[packet(first, u16(number)) for number in range(1, 500) for first in (0x40, 0x70)])
    client.expect_nothing()


@pytest.mark.usefixtures("bystanders")
def test_pubrel_before_publish_is_answered(connected: Connected) -> None:
    client = connected()
    client.send(PubRel(5))
    assert client.recv().raw == b"\x70\x03\x00\x05\x92"


# --- random ---


def mutated(chance: random.Random, unique: str) -> bytes:
    """A packet, or several, with some bytes changed, cut out or put in."""
    will = Will(unique, b"w", properties=properties({P.WILL_DELAY_INTERVAL: 1, P.USER_PROPERTY: ("a", "b")}))
    raw = bytearray(
        b"".join(
            chance.choice(
                [
                    Connect(
                        f"{unique}{chance.random()}", chance.choice([V31, V311, V5]), will=chance.choice([None, will])
                    ).encode(),
                    Publish(
                        unique,
                        b"payload",
                        chance.choice([0, 1, 2]),
                        packet_id=chance.randrange(1, 65_536),
                        properties=properties({P.USER_PROPERTY: ("k", "v"), P.TOPIC_ALIAS: 3}),
                    ).encode(V5),
                    Subscribe(5, ((f"{unique}/+", Options()),), properties({P.SUBSCRIPTION_IDENTIFIER: 5})).encode(V5),
                    b"\xc0\x00",
                    PubRel(chance.randrange(1, 65_536)).encode(V5),
                ]
            )
            for _ in range(chance.randint(1, 3))
        )
    )
    for _ in range(chance.randint(0, 4)):
        at = chance.randrange(len(raw) + 1)
        match chance.randrange(3):
            case 0:
                raw[at : at + 1] = chance.randbytes(1)
            case 1:
                del raw[at : at + chance.randint(1, 5)]
            case _:
                raw[at:at] = chance.randbytes(chance.randint(1, 5))
    return bytes(raw)


@pytest.mark.usefixtures("bystanders")
@pytest.mark.parametrize("seed", range(3))
def test_random_input_disturbs_nobody(peer: PeerFactory, broker: RunningBroker, unique: str, seed: int) -> None:
    chance = random.Random(seed)
    for number in range(150):
        client = peer(V5)
        try:
            if chance.random() < 0.8:
                client.send(Connect(f"{unique}z{number % 10}", chance.choice([V31, V311, V5])).encode())
            client.send(mutated(chance, unique))
        except ConnectionError:
            pass
        client.close()
    assert broker.metrics()["connects"] > 0


@pytest.mark.usefixtures("bystanders")
def test_random_bytes_below_tls_and_websocket_disturb_nobody(endpoint: Endpoint) -> None:
    chance = random.Random(4)
    for _ in range(100):
        raw = open_socket(endpoint)
        with contextlib.suppress(ConnectionError):
            raw.sendall(chance.randbytes(chance.randint(1, 2000)))
        raw.close()


def test_broken_websocket_frames_disturb_nobody(endpoints: dict[str, Endpoint], unique: str) -> None:
    chance, endpoint = random.Random(5), endpoints["ws"]
    bystander = Peer(endpoint)
    bystander.connect(unique)
    for _ in range(100):
        client = Peer(endpoint)
        assert isinstance(client.stream, WebSocket)
        with contextlib.suppress(ConnectionError):
            client.stream.stream.sendall(chance.randbytes(chance.randint(1, 200)))
        client.close()
    bystander.ping()
    bystander.close()
