"""Sessions end at the set time, within a quarter of a second."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from mqtt import P, Will, properties
from peer import Peer, PeerFactory
from timing import after, before, unless_late

from nanomq.testing import Clock, RunningBroker

Connected = Callable[..., Peer]
Cut = Callable[[str], bool]
Resume = Callable[..., bool]


@pytest.fixture
def resume(peer: PeerFactory, unique: str) -> Resume:
    """`resume(name)` connects again without clean start and tells whether the session was there."""

    def resume(name: str = "a") -> bool:
        answer = peer().connect(unique + name, clean=False)
        assert answer.reason == 0
        return answer.session_present

    return resume


def expiry(seconds: int) -> dict[P, int]:
    """Properties with a session expiry interval."""
    return {P.SESSION_EXPIRY_INTERVAL: seconds}


@pytest.mark.parametrize("seconds", [1, 10, 3600, 86_400 * 30])
def test_session_is_there_just_before_its_expiry(
    connected: Connected, resume: Resume, clock: Clock, seconds: int
) -> None:
    def attempt() -> None:
        connected(props=expiry(seconds)).disconnect()
        clock.advance(seconds=before(seconds))
        assert resume()

    unless_late(attempt)


@pytest.mark.parametrize("seconds", [1, 10, 3600, 86_400 * 30])
def test_session_is_gone_just_after_its_expiry(
    connected: Connected, resume: Resume, clock: Clock, seconds: int
) -> None:
    connected(props=expiry(seconds)).disconnect()
    clock.advance(seconds=after(seconds))
    assert not resume()


def test_session_that_expired_is_no_longer_listed(
    connected: Connected, broker: RunningBroker, clock: Clock, unique: str
) -> None:
    client = connected(props=expiry(10))
    client.disconnect()
    assert unique in str(broker.clients())
    clock.advance(seconds=after(10))
    assert unique not in str(broker.clients())


def test_expiry_counts_from_the_end_of_the_connection(connected: Connected, resume: Resume, clock: Clock) -> None:
    client = connected(props=expiry(10))
    clock.advance(hours=1)
    client.ping()

    def attempt() -> None:
        again = connected(clean=False, props=expiry(10))
        again.disconnect()
        clock.advance(seconds=before(10))
        assert resume()

    unless_late(attempt)


def test_expiry_counts_from_an_abrupt_end_too(connected: Connected, resume: Resume, clock: Clock, cut: Cut) -> None:
    def attempt() -> None:
        client = connected(props=expiry(10))
        assert cut(client.client_id)
        clock.advance(seconds=before(10))
        assert resume()

    unless_late(attempt)
    client = connected("b", props=expiry(10))
    assert cut(client.client_id)
    clock.advance(seconds=after(10))
    assert not resume("b")


def test_expiry_0_ends_the_session_with_the_connection(connected: Connected, resume: Resume) -> None:
    connected(props=expiry(0)).disconnect()
    assert not resume()


def test_absent_expiry_ends_the_session_with_the_connection(connected: Connected, resume: Resume) -> None:
    connected(clean=False).disconnect()
    assert not resume()


def test_largest_expiry_never_ends(connected: Connected, resume: Resume, clock: Clock) -> None:
    connected(props=expiry(0xFFFFFFFF)).disconnect()
    clock.advance(hours=24 * 365 * 200)
    assert resume()


def test_session_of_3_1_1_never_expires(connected: Connected, peer: PeerFactory, clock: Clock) -> None:
    client = connected(version=4, clean=False)
    client.disconnect()
    clock.advance(hours=24 * 365 * 200)
    assert peer(4).connect(client.client_id, clean=False).session_present


def test_disconnect_shortens_the_expiry(connected: Connected, resume: Resume, clock: Clock) -> None:
    connected(props=expiry(1000)).disconnect(props=expiry(5))
    clock.advance(seconds=after(5))
    assert not resume()


def test_disconnect_lengthens_the_expiry(connected: Connected, resume: Resume, clock: Clock) -> None:
    def attempt() -> None:
        connected(props=expiry(5)).disconnect(props=expiry(1000))
        clock.advance(seconds=before(1000))
        assert resume()

    unless_late(attempt)
    connected("b", props=expiry(5)).disconnect(props=expiry(1000))
    clock.advance(seconds=after(1000))
    assert not resume("b")


def test_disconnect_with_expiry_0_ends_the_session(connected: Connected, resume: Resume) -> None:
    connected(props=expiry(1000)).disconnect(props=expiry(0))
    assert not resume()


def test_new_connection_sets_a_new_expiry(connected: Connected, resume: Resume, clock: Clock) -> None:
    connected(props=expiry(1000)).disconnect()
    connected(clean=False, props=expiry(5)).disconnect()
    clock.advance(seconds=after(5))
    assert not resume()


def test_connection_in_time_stops_the_expiry(connected: Connected, resume: Resume, clock: Clock) -> None:
    connected(props=expiry(10)).disconnect()
    clock.advance(seconds=5)
    again = connected(clean=False, props=expiry(10))
    clock.advance(seconds=100)
    again.ping()
    again.disconnect()
    assert resume()


def test_expiry_is_kept_from_the_second_of_two_offline_times(
    connected: Connected, resume: Resume, clock: Clock
) -> None:
    connected(props=expiry(10)).disconnect()
    clock.advance(seconds=8)
    connected(clean=False, props=expiry(10)).disconnect()
    clock.advance(seconds=8)
    assert resume()


def test_clean_start_keeps_the_new_session_for_its_expiry(connected: Connected, resume: Resume) -> None:
    connected(clean=True, props=expiry(100)).disconnect()
    assert resume()


def test_messages_and_subscriptions_end_with_the_session(
    connected: Connected, clock: Clock, broker: RunningBroker, unique: str
) -> None:
    client, publisher = connected("a", props=expiry(10)), connected("p")
    client.subscribe(unique, qos=1)
    client.disconnect()
    publisher.publish(unique, b"waiting", qos=1)
    queued = broker.metrics()["queued"]
    clock.advance(seconds=after(10))
    assert broker.metrics()["queued"] == queued - 1
    again = connected("a", clean=False, props=expiry(10))
    publisher.publish(unique, b"after", qos=1)
    again.expect_nothing()


def test_session_that_expires_publishes_its_delayed_will(
    connected: Connected, cut: Cut, clock: Clock, unique: str
) -> None:
    observer = connected("o")
    observer.subscribe(unique)
    will = Will(unique, b"gone", properties=properties({P.WILL_DELAY_INTERVAL: 1000}))
    client = connected(will=will, props=expiry(10))
    assert cut(client.client_id)
    clock.advance(seconds=after(10))
    assert observer.receive().payload == b"gone"


@pytest.mark.broker(config={"mqtt": {"max_session_expiry": "60s"}})
def test_broker_limits_the_expiry_and_says_so(peer: PeerFactory, resume: Resume, clock: Clock, unique: str) -> None:
    client = peer()
    answer = client.connect(f"{unique}a", props=expiry(3600))
    assert answer.properties.value(P.SESSION_EXPIRY_INTERVAL) == 60
    client.disconnect()
    clock.advance(seconds=after(60))
    assert not resume()


def test_expiry_that_is_granted_is_not_repeated(peer: PeerFactory, unique: str) -> None:
    assert peer().connect(unique, props=expiry(3600)).properties.value(P.SESSION_EXPIRY_INTERVAL) is None


def test_many_sessions_end_each_at_its_own_time(connected: Connected, resume: Resume, clock: Clock) -> None:
    for number in range(1, 21):
        connected(f"c{number}", props=expiry(number * 10)).disconnect()
    clock.advance(seconds=105)
    assert [resume(f"c{number}") for number in range(1, 21)] == [False] * 10 + [True] * 10
