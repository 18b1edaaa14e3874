"""Wills: published or cancelled exactly as the standards say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from mqtt import V5, V31, V311, P, Properties, R, Will, properties
from peer import Peer, PeerFactory
from timing import after, before, unless_late

from nanomq.testing import Clock, RunningBroker, running

Connected = Callable[..., Peer]
Cut = Callable[[str], bool]
KEPT = {P.SESSION_EXPIRY_INTERVAL: 100_000}


def will_properties(delay_s: int | None = None, **others: Any) -> Properties:
    """Properties of a will."""
    found = {} if delay_s is None else {P.WILL_DELAY_INTERVAL: delay_s}
    return properties({**found, **{P[name.upper()]: value for name, value in others.items()}})


@pytest.fixture
def observer(connected: Connected, unique: str) -> Peer:
    """A client that sees the wills of this test."""
    made = connected("observer")
    made.subscribe(unique, qos=2)
    return made


# --- when ---


@pytest.mark.parametrize("version", [V31, V311, V5])
@pytest.mark.parametrize("clean", [True, False])
def test_will_is_published_at_an_abrupt_end(
    connected: Connected, observer: Peer, cut: Cut, unique: str, version: int, clean: bool
) -> None:
    client = connected(version=version, clean=clean, will=Will(unique, b"gone", qos=1))
    observer.expect_nothing()
    assert cut(client.client_id)
    assert observer.receive().payload == b"gone"
    observer.expect_nothing()


@pytest.mark.parametrize("version", [V31, V311, V5])
@pytest.mark.parametrize("clean", [True, False])
def test_disconnect_cancels_the_will(
    connected: Connected, observer: Peer, clock: Clock, unique: str, version: int, clean: bool
) -> None:
    client = connected(version=version, clean=clean, will=Will(unique, b"gone", qos=1))
    client.disconnect()
    clock.advance(hours=100)
    observer.expect_nothing()


def test_disconnect_with_will_publishes_it(connected: Connected, observer: Peer, unique: str) -> None:
    connected(will=Will(unique, b"gone")).disconnect(R.DISCONNECT_WITH_WILL)
    assert observer.receive().payload == b"gone"


@pytest.mark.parametrize("reason", [0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99])
def test_disconnect_with_an_error_publishes_the_will(
    connected: Connected, observer: Peer, unique: str, reason: int
) -> None:
    connected(will=Will(unique, b"gone")).disconnect(reason)
    assert observer.receive().payload == b"gone"


@pytest.mark.parametrize("version", [V31, V311, V5])
def test_take_over_publishes_the_will(connected: Connected, observer: Peer, unique: str, version: int) -> None:
    connected(version=version, will=Will(unique, b"gone"))
    connected(version=version)
    assert observer.receive().payload == b"gone"
    observer.expect_nothing()


@pytest.mark.parametrize("version", [V31, V311, V5])
def test_kick_publishes_the_will(
    connected: Connected, observer: Peer, broker: RunningBroker, unique: str, version: int
) -> None:
    client = connected(version=version, will=Will(unique, b"gone"))
    assert broker.call("kick", client.client_id)
    assert observer.receive().payload == b"gone"


@pytest.mark.parametrize("version", [V31, V311, V5])
def test_protocol_error_publishes_the_will(connected: Connected, observer: Peer, unique: str, version: int) -> None:
    connected(version=version, will=Will(unique, b"gone")).send(b"\x00\x00")
    assert observer.receive().payload == b"gone"


def test_refused_connection_publishes_no_will(peer: PeerFactory, observer: Peer, unique: str) -> None:
    client = peer(V311)
    answer = client.connect("", clean=False, will=Will(unique, b"gone"))
    assert answer.reason == 2
    client.expect_closed()
    observer.expect_nothing()


def test_shutdown_sends_0x8b(configuration: Callable[..., dict[str, Any]], certificates: dict[str, str]) -> None:
    from peer import Endpoint

    with running(configuration()) as broker:
        clients = [Peer(Endpoint.of(url, certificates["cafile"])) for url in broker.urls.values()]
        for number, client in enumerate(clients):
            client.connect(f"c{number}")
    for client in clients:
        client.expect_disconnect(R.SERVER_SHUTTING_DOWN)


def test_will_sees_the_subscriptions_at_the_time_it_is_published(connected: Connected, cut: Cut, unique: str) -> None:
    client = connected(will=Will(unique, b"gone"))
    late = connected("late")
    late.subscribe(unique)
    assert cut(client.client_id)
    assert late.receive().payload == b"gone"


# --- delay ---


def test_delayed_will_is_published_after_its_delay(
    connected: Connected, observer: Peer, cut: Cut, clock: Clock, unique: str
) -> None:
    client = connected(will=Will(unique, b"gone", properties=will_properties(60)), props=KEPT)
    assert cut(client.client_id)
    clock.advance(seconds=after(60))
    assert observer.receive().payload == b"gone"
    clock.advance(hours=100)
    observer.expect_nothing()


def test_delayed_will_is_not_published_before(
    connected: Connected, observer: Peer, cut: Cut, clock: Clock, unique: str
) -> None:
    def attempt() -> None:
        client = connected(will=Will(unique, b"gone", properties=will_properties(60)), props=KEPT)
        assert cut(client.client_id)
        clock.advance(seconds=before(60))
        observer.expect_nothing()

    unless_late(attempt)


def test_delay_0_publishes_at_once(connected: Connected, observer: Peer, cut: Cut, unique: str) -> None:
    client = connected(will=Will(unique, b"gone", properties=will_properties(0)), props=KEPT)
    assert cut(client.client_id)
    assert observer.receive().payload == b"gone"


def test_connection_in_time_cancels_the_delayed_will(
    connected: Connected, observer: Peer, cut: Cut, clock: Clock, unique: str
) -> None:
    client = connected(will=Will(unique, b"gone", properties=will_properties(60)), props=KEPT)
    assert cut(client.client_id)
    clock.advance(seconds=30)
    connected(clean=False, props=KEPT)
    clock.advance(hours=1)
    observer.expect_nothing()


def test_clean_start_in_time_publishes_the_delayed_will(
    connected: Connected, observer: Peer, cut: Cut, unique: str
) -> None:
    client = connected(will=Will(unique, b"gone", properties=will_properties(60)), props=KEPT)
    assert cut(client.client_id)
    connected(clean=True)
    assert observer.receive().payload == b"gone"


def test_end_of_the_session_publishes_the_delayed_will(
    connected: Connected, observer: Peer, cut: Cut, clock: Clock, unique: str
) -> None:
    client = connected(
        will=Will(unique, b"gone", properties=will_properties(1000)), props={P.SESSION_EXPIRY_INTERVAL: 10}
    )
    assert cut(client.client_id)
    clock.advance(seconds=after(10))
    assert observer.receive().payload == b"gone"
    clock.advance(hours=1)
    observer.expect_nothing()


def test_session_that_ends_with_the_connection_ignores_the_delay(
    connected: Connected, observer: Peer, cut: Cut, unique: str
) -> None:
    client = connected(will=Will(unique, b"gone", properties=will_properties(1000)))
    assert cut(client.client_id)
    assert observer.receive().payload == b"gone"


def test_disconnect_with_will_keeps_the_delay(connected: Connected, observer: Peer, clock: Clock, unique: str) -> None:
    connected(will=Will(unique, b"gone", properties=will_properties(60)), props=KEPT).disconnect(R.DISCONNECT_WITH_WILL)
    observer.expect_nothing()
    clock.advance(seconds=after(60))
    assert observer.receive().payload == b"gone"


def test_new_will_replaces_the_cancelled_one(
    connected: Connected, observer: Peer, cut: Cut, clock: Clock, unique: str
) -> None:
    client = connected(will=Will(unique, b"first", properties=will_properties(60)), props=KEPT)
    assert cut(client.client_id)
    second = connected(clean=False, will=Will(unique, b"second", properties=will_properties(60)), props=KEPT)
    assert cut(second.client_id)
    clock.advance(seconds=after(60))
    assert observer.receive().payload == b"second"
    observer.expect_nothing()


# --- what ---


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("retain", [False, True])
def test_will_has_its_qos_and_retain(
    connected: Connected, observer: Peer, cut: Cut, unique: str, qos: int, retain: bool
) -> None:
    client = connected(will=Will(unique, b"gone", qos=qos, retain=retain))
    assert cut(client.client_id)
    assert observer.receive().qos == qos
    late = connected("late")
    late.subscribe(unique, qos=2)
    if retain:
        kept = late.receive()
        assert (kept.payload, kept.qos, kept.retain) == (b"gone", qos, True)
    late.expect_nothing()


def test_will_has_all_its_properties_in_order(connected: Connected, observer: Peer, cut: Cut, unique: str) -> None:
    sent = properties(
        [
            (P.USER_PROPERTY, ("b", "1")),
            (P.CONTENT_TYPE, "text/plain"),
            (P.WILL_DELAY_INTERVAL, 0),
            (P.USER_PROPERTY, ("a", "2")),
            (P.RESPONSE_TOPIC, "answer/here"),
            (P.PAYLOAD_FORMAT_INDICATOR, 1),
            (P.CORRELATION_DATA, b"\x00\xff"),
            (P.USER_PROPERTY, ("b", "1")),
        ]
    )
    client = connected(will=Will(unique, b"gone", properties=sent))
    assert cut(client.client_id)
    assert observer.receive().properties == [item for item in sent if item[0] != P.WILL_DELAY_INTERVAL]


def test_expiry_of_a_will_counts_from_its_publication(
    connected: Connected, cut: Cut, clock: Clock, unique: str
) -> None:
    away = connected("away", props=KEPT)
    away.subscribe(unique, qos=1)
    away.disconnect()
    will = Will(unique, b"gone", qos=1, properties=will_properties(60, message_expiry_interval=100))
    client = connected(will=will, props=KEPT)
    clock.advance(hours=1)
    client.ping()
    assert cut(client.client_id)
    clock.advance(seconds=60)
    clock.advance(seconds=30)
    again = connected("away", clean=False, props=KEPT)
    message = again.receive()
    assert message.payload == b"gone"
    assert message.properties.value(P.MESSAGE_EXPIRY_INTERVAL) in (69, 70)


def test_will_that_expired_is_not_delivered(connected: Connected, cut: Cut, clock: Clock, unique: str) -> None:
    away = connected("away", props=KEPT)
    away.subscribe(unique, qos=1)
    away.disconnect()
    client = connected(will=Will(unique, b"gone", qos=1, properties=will_properties(message_expiry_interval=100)))
    assert cut(client.client_id)
    clock.advance(seconds=after(100))
    connected("away", clean=False, props=KEPT).expect_nothing()


def test_own_will_reaches_the_session_that_left_it(connected: Connected, cut: Cut, unique: str) -> None:
    client = connected(will=Will(unique, b"gone", qos=1), props=KEPT)
    client.subscribe(unique, qos=1)
    assert cut(client.client_id)
    assert connected(clean=False, props=KEPT).receive().payload == b"gone"
