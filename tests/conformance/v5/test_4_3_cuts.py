"""MQTT 5.0, 4.3, 4.4 and 4.6 together: random flows, random cuts, and still exactly once and in order."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from mqtt import P, PubAck, PubComp, Publish, PubRec, PubRel
from peer import Peer

statement = pytest.mark.statement
KEPT = {P.SESSION_EXPIRY_INTERVAL: 1000, P.RECEIVE_MAXIMUM: 5}


class Subscriber:
    """A client that remembers what the standard asks of it, over cuts of its connection."""

    def __init__(self, connect: Callable[[], Peer]) -> None:
        self.connect = connect
        self.peer = connect()
        self.received: list[bytes] = []
        self.unreleased: set[int] = set()

    def read_all(self, chance: random.Random, patience: float) -> None:
        """Takes everything that is there; answers each packet with a probability."""
        self.peer.send(b"\xc0\x00")
        while True:
            found = self.peer.recv()
            if isinstance(found, Publish):
                self.take(found, answers=chance.random() < patience)
            elif isinstance(found, PubRel):
                self.unreleased.discard(found.packet_id)
                if chance.random() < patience:
                    self.peer.send(PubComp(found.packet_id))
            else:
                return

    def take(self, message: Publish, *, answers: bool) -> None:
        """Delivers a message once and acknowledges it, or keeps silent."""
        if message.qos == 1:
            self.received.append(message.payload)
            if answers:
                self.peer.send(PubAck(message.packet_id))
        else:
            if message.packet_id not in self.unreleased:
                self.received.append(message.payload)
            self.unreleased.add(message.packet_id)
            if answers:
                self.peer.send(PubRec(message.packet_id))


def in_order_once(payloads: list[bytes]) -> list[bytes]:
    """The payloads without repetitions, by first appearance."""
    return list(dict.fromkeys(payloads))


@statement("MQTT-4.3.3-10", "MQTT-4.3.2-3", "MQTT-4.4.0-1", "MQTT-4.6.0-5")
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("qos", [1, 2])
def test_random_cuts_lose_nothing_and_keep_the_order(
    connected: Callable[..., Peer], unique: str, cut: Callable[[str], bool], qos: int, seed: int
) -> None:
    chance = random.Random(seed)
    subscriber = Subscriber(lambda: connected("s", clean=False, props=KEPT))
    subscriber.peer.subscribe(unique, qos=qos)
    publisher = connected("p", clean=False, props=KEPT)
    sent: list[bytes] = []
    for number in range(40):
        payload = number.to_bytes(2, "big")
        packet_id = number + 1
        publisher.send_publish(unique, payload, qos, packet_id=packet_id)
        sent.append(payload)
        if qos == 1:
            publisher.expect(PubAck)
        else:
            publisher.expect(PubRec)
            if chance.random() < 0.3:
                assert cut(unique + "p")
                publisher = connected("p", clean=False, props=KEPT)
                publisher.send_publish(unique, payload, qos, packet_id=packet_id, dup=True)
                publisher.expect(PubRec)
            publisher.send(PubRel(packet_id))
            publisher.expect(PubComp)
        if chance.random() < 0.5:
            subscriber.read_all(chance, 0.6)
        if chance.random() < 0.3:
            assert cut(unique + "s")
            subscriber.peer = subscriber.connect()
    assert cut(unique + "s")
    subscriber.peer = subscriber.connect()
    for _ in range(40):
        subscriber.read_all(chance, 1.0)
    assert in_order_once(subscriber.received) == sent
    if qos == 2:
        assert subscriber.received == sent
