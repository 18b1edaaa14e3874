"""Long runs, by `make soak`: clients come and go at random, and the broker neither grows nor miscounts.

`NANOMQ_SOAK_S` sets the length in seconds (600).
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest
from mqtt import V5, Options, P, Subscribe
from peer import Endpoint, Peer

from nanomq.testing import RunningBroker

SOAK_S = float(os.environ.get("NANOMQ_SOAK_S", "600"))
CLIENTS = 60
TOPICS = [f"soak/{number}" for number in range(20)]
FILTERS = ["soak/+", "soak/#", *TOPICS, "$share/g/soak/+"]


def resident_bytes() -> int:
    """Memory of this process, which holds the broker."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def reasons(metrics: dict[str, int]) -> int:
    """All drops, whatever the reason."""
    return sum(count for name, count in metrics.items() if name.startswith("dropped."))


def act(dice: random.Random, broker: RunningBroker, endpoint: Endpoint, online: dict[str, Peer]) -> None:
    """One client connects, is cut, subscribes or publishes. Nobody reads: queues fill and overflow."""
    name = f"client{dice.randrange(CLIENTS)}"
    choice = dice.randrange(10)
    if choice < 2:
        peer = Peer(endpoint, V5)
        expiry = {P.SESSION_EXPIRY_INTERVAL: dice.choice([0, 60, 3600])}
        peer.connect(name, clean=dice.random() < 0.3, props=expiry)
        if old := online.pop(name, None):
            old.close()
        online[name] = peer
    elif name not in online:
        return
    elif choice == 2:
        broker.cut(name)
        online.pop(name).close()
    elif choice == 3:
        online[name].send(Subscribe(1, ((dice.choice(FILTERS), Options(dice.randrange(3))),)))
    else:
        online[name].send_publish(dice.choice(TOPICS), dice.randbytes(dice.randrange(2000)), 0)


@pytest.mark.broker(config={"mqtt": {"max_mqueue_len": 50}})
def test_churn_neither_leaks_nor_miscounts(broker: RunningBroker, endpoint: Endpoint) -> None:
    dice = random.Random(1)
    online: dict[str, Peer] = {}
    after_warm_up = 0
    start = time.monotonic()
    while (passed := time.monotonic() - start) < SOAK_S:
        try:
            act(dice, broker, endpoint, online)
        except OSError:
            # A connection that the broker closed, because another one took its session over.
            continue
        if not after_warm_up and passed > SOAK_S / 4:
            after_warm_up = resident_bytes()
    for peer in online.values():
        peer.close()
    metrics = broker.metrics()
    ended = metrics["delivered"] + metrics["queued"] + metrics["expired"] + reasons(metrics)
    assert metrics["accepted"] == ended
    assert resident_bytes() < after_warm_up * 1.2 + (16 << 20)
