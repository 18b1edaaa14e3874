"""Flow control, retransmission, packet ids, and QoS 2 exactly once across broken connections."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from mqtt import V5, V311, P, PubAck, PubComp, Publish, PubRec, PubRel, R
from peer import Peer, PeerFactory

from nanomq.testing import Clock

Connected = Callable[..., Peer]
Cut = Callable[[str], bool]
KEPT = {P.SESSION_EXPIRY_INTERVAL: 100_000}


# --- receive maximum of the client ---


@pytest.mark.parametrize("maximum", [1, 2, 10])
@pytest.mark.parametrize("qos", [1, 2])
def test_broker_has_no_more_messages_under_way_than_allowed(
    connected: Connected, unique: str, maximum: int, qos: int
) -> None:
    subscriber, publisher = connected("s", props={P.RECEIVE_MAXIMUM: maximum}), connected("p")
    subscriber.subscribe(unique, qos=qos)
    for number in range(25):
        publisher.publish(unique, b"%d" % number, qos=qos)
    received: list[int] = []
    while len(received) < 25:
        window = [subscriber.expect(Publish) for _ in range(min(maximum, 25 - len(received)))]
        subscriber.expect_nothing()
        for message in window:
            if qos == 1:
                subscriber.send(PubAck(message.packet_id))
                continue
            subscriber.send(PubRec(message.packet_id))
        if qos == 2:
            for message in window:
                assert subscriber.expect(PubRel).packet_id == message.packet_id
            subscriber.expect_nothing()
            subscriber.send(*[PubComp(message.packet_id) for message in window])
        received += [int(message.payload) for message in window]
    assert received == list(range(25))


def test_qos_0_passes_a_full_window(connected: Connected, unique: str) -> None:
    subscriber, publisher = connected("s", props={P.RECEIVE_MAXIMUM: 1}), connected("p")
    subscriber.subscribe(f"{unique}/#", qos=1)
    publisher.publish(f"{unique}/a", b"held", qos=1)
    subscriber.expect(Publish)
    publisher.publish(f"{unique}/b", b"passes", qos=0)
    assert subscriber.expect(Publish).payload == b"passes"


def test_refused_pubrec_frees_the_window(connected: Connected, unique: str) -> None:
    subscriber, publisher = connected("s", props={P.RECEIVE_MAXIMUM: 1}), connected("p")
    subscriber.subscribe(unique, qos=2)
    publisher.publish(unique, b"first", qos=2)
    publisher.publish(unique, b"second", qos=2)
    subscriber.send(PubRec(subscriber.expect(Publish).packet_id, R.UNSPECIFIED_ERROR))
    assert subscriber.receive().payload == b"second"


@pytest.mark.broker(config={"mqtt": {"max_inflight_window": 3}})
@pytest.mark.parametrize("version", [V311, V5])
def test_window_of_the_configuration_holds_too(connected: Connected, unique: str, version: int) -> None:
    subscriber, publisher = connected("s", version=version), connected("p")
    subscriber.subscribe(unique, qos=1)
    for number in range(5):
        publisher.publish(unique, b"%d" % number, qos=1)
    window = [subscriber.expect(Publish) for _ in range(3)]
    subscriber.expect_nothing()
    subscriber.send(PubAck(window[1].packet_id))
    assert subscriber.expect(Publish).payload == b"3"
    subscriber.expect_nothing()


def test_receive_maximum_holds_for_retransmissions(connected: Connected, cut: Cut, unique: str) -> None:
    subscriber, publisher = connected("s", props={P.RECEIVE_MAXIMUM: 10, **KEPT}), connected("p")
    subscriber.subscribe(unique, qos=1)
    for number in range(10):
        publisher.publish(unique, b"%d" % number, qos=1)
    for _ in range(10):
        subscriber.expect(Publish)
    assert cut(subscriber.client_id)
    again = connected("s", clean=False, props={P.RECEIVE_MAXIMUM: 2, **KEPT})
    received: list[int] = []
    while len(received) < 10:
        window = [again.expect(Publish) for _ in range(2)]
        again.expect_nothing()
        again.send(*[PubAck(message.packet_id) for message in window])
        received += [int(message.payload) for message in window]
    assert received == list(range(10))


# --- receive maximum of the broker ---


@pytest.mark.broker(config={"mqtt": {"receive_maximum": 5}})
def test_client_that_exceeds_the_brokers_maximum_is_closed(peer: PeerFactory, unique: str) -> None:
    client = peer()
    assert client.connect(unique).properties.value(P.RECEIVE_MAXIMUM) == 5
    for packet_id in range(1, 6):
        client.send_publish(unique, b"m", qos=2, packet_id=packet_id)
        client.expect(PubRec)
    client.send_publish(unique, b"m", qos=2, packet_id=6)
    client.expect_disconnect(R.RECEIVE_MAXIMUM_EXCEEDED)


@pytest.mark.broker(config={"mqtt": {"receive_maximum": 5}})
def test_completed_flows_free_the_brokers_window(peer: PeerFactory, unique: str) -> None:
    client = peer()
    client.connect(unique)
    for number in range(40):
        client.publish(unique, b"m", qos=1 + number % 2)


@pytest.mark.broker(config={"mqtt": {"receive_maximum": 5}})
def test_receive_maximum_does_not_bind_3_1_1(connected: Connected, unique: str) -> None:
    client = connected(version=V311)
    for packet_id in range(1, 21):
        client.send_publish(unique, b"m", qos=2, packet_id=packet_id)
        client.expect(PubRec)


# --- maximum packet size of the client ---


def test_message_larger_than_the_client_accepts_is_not_sent(connected: Connected, unique: str) -> None:
    subscriber, publisher = connected("s", props={P.MAXIMUM_PACKET_SIZE: 200}), connected("p")
    subscriber.subscribe(unique, qos=1)
    for payload in (bytes(500), b"small", bytes(300)):
        publisher.publish(unique, payload, qos=1)
    assert subscriber.receive().payload == b"small"
    subscriber.expect_nothing()


@pytest.mark.parametrize("spare", [0, -1])
def test_message_of_exactly_the_size_is_sent(connected: Connected, unique: str, spare: int) -> None:
    size = 2 + 2 + len(unique) + 1 + 50
    subscriber, publisher = connected("s", props={P.MAXIMUM_PACKET_SIZE: size + spare}), connected("p")
    subscriber.subscribe(unique)
    publisher.publish(unique, bytes(50), qos=0)
    publisher.publish(unique, b"end", qos=0)
    sizes = [len(subscriber.receive().payload) for _ in range(2 if spare == 0 else 1)]
    assert sizes == ([50, 3] if spare == 0 else [3])


# --- retransmission and packet ids ---


@pytest.mark.parametrize("version", [V311, V5])
def test_everything_unfinished_is_sent_again_in_order(
    connected: Connected, cut: Cut, unique: str, version: int
) -> None:
    props = KEPT if version == V5 else None
    client, publisher = connected("s", version=version, clean=version == V5, props=props), connected("p")
    client.subscribe(unique, qos=2)
    for number in range(12):
        publisher.publish(unique, b"%d" % number, qos=1 + number % 2)
    first = [client.expect(Publish) for _ in range(12)]
    client.send(PubRec(first[3].packet_id), PubRec(first[1].packet_id))
    client.expect(PubRel)
    client.expect(PubRel)
    client.send(PubAck(first[4].packet_id), PubComp(first[3].packet_id))
    client.ping()
    assert cut(client.client_id)
    again = connected("s", version=version, clean=False, props=props)
    found = [again.recv() for _ in range(10)]
    again.expect_nothing()
    assert [p.packet_id for p in found if isinstance(p, PubRel)] == [first[1].packet_id]
    published = [p for p in found if isinstance(p, Publish)]
    assert [(m.packet_id, m.payload, m.qos, m.dup) for m in published] == [
        (m.packet_id, m.payload, m.qos, True) for m in first if m not in (first[1], first[3], first[4])
    ]


def test_messages_that_waited_follow_the_retransmissions(connected: Connected, cut: Cut, unique: str) -> None:
    client, publisher = connected("s", props=KEPT), connected("p")
    client.subscribe(unique, qos=1)
    for number in range(3):
        publisher.publish(unique, b"%d" % number, qos=1)
    for _ in range(3):
        client.expect(Publish)
    assert cut(client.client_id)
    for number in range(3, 6):
        publisher.publish(unique, b"%d" % number, qos=1)
    again = connected("s", clean=False, props=KEPT)
    received = [again.receive() for _ in range(6)]
    assert [(int(m.payload), m.dup) for m in received] == [
        (0, True),
        (1, True),
        (2, True),
        (3, False),
        (4, False),
        (5, False),
    ]


def test_nothing_is_sent_again_on_a_live_connection(connected: Connected, clock: Clock, unique: str) -> None:
    client, publisher = connected("s"), connected("p")
    client.subscribe(unique, qos=2)
    publisher.publish(unique, b"m", qos=2)
    client.expect(Publish)
    clock.advance(hours=24)
    client.expect_nothing()


def test_packet_id_that_is_in_use_is_no_new_message(connected: Connected, unique: str) -> None:
    client, publisher = connected("s"), connected("p")
    client.subscribe(unique, qos=2)
    publisher.send_publish(unique, b"first", qos=2, packet_id=9)
    assert publisher.expect(PubRec).packet_id == 9
    publisher.send_publish(unique, b"other", qos=2, packet_id=9)
    found = publisher.expect(PubRec)
    assert (found.packet_id, found.reason) in ((9, 0), (9, R.PACKET_IDENTIFIER_IN_USE))
    assert client.receive().payload == b"first"
    client.expect_nothing()


def test_pubrel_of_an_unknown_packet_id_is_answered_with_0x92(connected: Connected) -> None:
    client = connected()
    client.send(PubRel(77))
    assert client.expect(PubComp) == PubComp(77, R.PACKET_IDENTIFIER_NOT_FOUND)


def test_pubrec_of_an_unknown_packet_id_is_answered_with_0x92(connected: Connected) -> None:
    client = connected()
    client.send(PubRec(77))
    assert client.expect(PubRel) == PubRel(77, R.PACKET_IDENTIFIER_NOT_FOUND)


def test_both_sides_may_use_the_same_packet_id_at_once(connected: Connected, unique: str) -> None:
    client, publisher = connected("s"), connected("p")
    client.subscribe(unique, qos=2)
    publisher.publish(unique, b"in", qos=2)
    packet_id = client.expect(Publish).packet_id
    client.send_publish(f"{unique}/other", b"out", qos=2, packet_id=packet_id)
    assert client.expect(PubRec).packet_id == packet_id
    client.send(PubRec(packet_id))
    assert client.expect(PubRel) == PubRel(packet_id)
    client.send(PubRel(packet_id))
    assert client.expect(PubComp) == PubComp(packet_id)
    client.send(PubComp(packet_id))
    client.expect_nothing()


def test_subscribe_and_publish_may_use_the_same_packet_id_one_after_the_other(
    connected: Connected, unique: str
) -> None:
    client = connected()
    client.subscribe(unique, packet_id=5)
    client.publish(f"{unique}/x", b"m", qos=1, packet_id=5)
    client.unsubscribe(unique, packet_id=5)


# --- exactly once ---


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("version", [V311, V5])
def test_qos_2_is_exactly_once_across_cuts_anywhere(
    connected: Connected, cut: Cut, unique: str, version: int, seed: int
) -> None:
    """Both clients follow the standard, and each loses its connection at random places."""
    chance = random.Random(seed)
    props = KEPT if version == V5 else None

    def session(name: str, clean: bool) -> Peer:
        return connected(name, version=version, clean=clean, props=props)

    publisher, subscriber = session("p", version == V5), session("s", version == V5)
    subscriber.subscribe(unique, qos=2)
    delivered: list[int] = []
    held: set[int] = set()

    def read_subscriber() -> None:
        """Handles what has come, as a subscriber that stores packet ids does."""
        subscriber.send(b"\xc0\x00")
        while True:
            found = subscriber.recv()
            if isinstance(found, Publish):
                if found.packet_id not in held:
                    held.add(found.packet_id)
                    delivered.append(int(found.payload))
                subscriber.send(PubRec(found.packet_id))
            elif isinstance(found, PubRel):
                held.discard(found.packet_id)
                subscriber.send(PubComp(found.packet_id))
            else:
                return

    for number in range(15):
        is_released = is_done = is_sent = False
        while not is_done:
            if chance.random() < 0.3:
                assert cut(publisher.client_id)
                publisher = session("p", False)
            if chance.random() < 0.3:
                assert cut(subscriber.client_id)
                subscriber = session("s", False)
            if not is_released:
                publisher.send_publish(unique, b"%d" % number, qos=2, dup=is_sent, packet_id=7)
                is_sent = True
                if chance.random() < 0.3:
                    continue
                while not isinstance(publisher.recv(), PubRec):
                    pass
                is_released = True
            else:
                publisher.send(PubRel(7))
                if chance.random() < 0.3:
                    continue
                while not isinstance(publisher.recv(), PubComp):
                    pass
                is_done = True
            if chance.random() < 0.5:
                read_subscriber()
    for _ in range(4):
        read_subscriber()
    assert delivered == list(range(15))
