"""A client id connects again: the newest connection wins."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from mqtt import V5, V31, V311, P, Publish, R, Will, properties
from peer import Endpoint, Peer, PeerFactory

from nanomq.testing import RunningBroker

Connected = Callable[..., Peer]
KEPT = {P.SESSION_EXPIRY_INTERVAL: 1000}


@pytest.mark.parametrize("clean", [True, False])
def test_first_connection_gets_0x8e(connected: Connected, clean: bool) -> None:
    first = connected(props=KEPT)
    second = connected(clean=clean, props=KEPT)
    first.expect_disconnect(R.SESSION_TAKEN_OVER)
    second.ping()


@pytest.mark.parametrize("old", [V31, V311, V5])
@pytest.mark.parametrize("new", [V31, V311, V5])
def test_take_over_between_versions(connected: Connected, old: int, new: int) -> None:
    first = connected(version=old)
    second = connected(version=new)
    first.expect_disconnect(R.SESSION_TAKEN_OVER)
    second.ping()


def test_take_over_from_another_transport(connected: Connected, endpoints: dict[str, Endpoint]) -> None:
    client = connected(props=KEPT)
    for endpoint in endpoints.values():
        other = Peer(endpoint)
        assert other.connect(client.client_id, clean=False, props=KEPT).session_present
        client.expect_disconnect(R.SESSION_TAKEN_OVER)
        client = other
    client.close()


def test_session_with_subscriptions_and_inflight_messages_moves(connected: Connected, unique: str) -> None:
    first, publisher = connected(props=KEPT), connected("p")
    first.subscribe(unique, qos=1)
    publisher.publish(unique, b"one", qos=1)
    sent = first.expect(Publish)
    second = connected(clean=False, props=KEPT)
    again = second.receive()
    assert (again.payload, again.packet_id, again.dup) == (b"one", sent.packet_id, True)
    publisher.publish(unique, b"two", qos=1)
    assert second.receive().payload == b"two"


def test_clean_start_takes_over_without_the_session(connected: Connected, unique: str) -> None:
    first, publisher = connected(props=KEPT), connected("p")
    first.subscribe(unique, qos=1)
    second = connected(clean=True)
    first.expect_disconnect(R.SESSION_TAKEN_OVER)
    publisher.publish(unique, b"m", qos=1)
    second.expect_nothing()


def test_will_of_the_first_connection_is_published(connected: Connected, unique: str) -> None:
    observer = connected("o")
    observer.subscribe(unique)
    connected(will=Will(unique, b"gone"), props=KEPT)
    connected(clean=False, props=KEPT)
    assert observer.receive().payload == b"gone"


def test_delayed_will_is_not_published_when_the_session_goes_on(connected: Connected, unique: str) -> None:
    observer = connected("o")
    observer.subscribe(unique)
    first = connected(will=Will(unique, b"gone", properties=properties({P.WILL_DELAY_INTERVAL: 5})), props=KEPT)
    connected(clean=False, props=KEPT)
    first.expect_disconnect(R.SESSION_TAKEN_OVER)
    observer.expect_nothing()


def test_delayed_will_is_published_when_clean_start_ends_the_session(connected: Connected, unique: str) -> None:
    observer = connected("o")
    observer.subscribe(unique)
    connected(will=Will(unique, b"gone", properties=properties({P.WILL_DELAY_INTERVAL: 5})), props=KEPT)
    connected(clean=True, props=KEPT)
    assert observer.receive().payload == b"gone"


def test_refused_connection_takes_nothing_over(peer: PeerFactory, connected: Connected) -> None:
    first = connected()
    other = peer()
    other.send(b"\x10\x00")
    other.recv_raw()
    first.ping()


def test_many_take_overs_leave_one_connection(connected: Connected, broker: RunningBroker) -> None:
    clients = [connected(props=KEPT) for _ in range(50)]
    for client in clients[:-1]:
        client.expect_disconnect(R.SESSION_TAKEN_OVER)
    clients[-1].ping()
    assert str(broker.clients()).count(clients[-1].client_id) >= 1


def test_kick_tells_the_reason(connected: Connected, broker: RunningBroker, unique: str) -> None:
    observer = connected("o")
    observer.subscribe(unique)
    client = connected(will=Will(unique, b"gone"))
    assert broker.call("kick", client.client_id)
    client.expect_disconnect(R.ADMINISTRATIVE_ACTION)
    assert observer.receive().payload == b"gone"
