"""Subscriptions: options, identifiers, overlaps, limits."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from mqtt import Options, P, R, Subscribe, properties
from peer import Peer, PeerFactory

Connected = Callable[..., Peer]
KEPT = {P.SESSION_EXPIRY_INTERVAL: 100_000}


def ids(identifier: int) -> dict[P, int]:
    """Properties with a subscription identifier."""
    return {P.SUBSCRIPTION_IDENTIFIER: identifier}


def test_overlapping_subscriptions_deliver_once_with_all_identifiers(connected: Connected, unique: str) -> None:
    client, publisher = connected("s"), connected("p")
    client.subscribe((f"{unique}/a", 0), props=ids(1))
    client.subscribe((f"{unique}/+", 2), props=ids(268_435_455))
    client.subscribe((f"{unique}/#", 1), props=ids(7))
    client.subscribe((f"{unique}/a/#", 0))
    publisher.publish(f"{unique}/a", b"m", qos=2)
    message = client.receive()
    assert message.qos == 2
    assert sorted(message.properties.values(P.SUBSCRIPTION_IDENTIFIER)) == [1, 7, 268_435_455]
    client.expect_nothing()


def test_one_identifier_on_two_matching_filters_is_sent(connected: Connected, unique: str) -> None:
    client, publisher = connected("s"), connected("p")
    client.subscribe(f"{unique}/a", f"{unique}/+", props=ids(5))
    publisher.publish(f"{unique}/a", b"m", qos=1)
    assert set(client.receive().properties.values(P.SUBSCRIPTION_IDENTIFIER)) == {5}
    client.expect_nothing()


def test_message_has_no_identifier_when_the_subscription_has_none(connected: Connected, unique: str) -> None:
    client, publisher = connected("s"), connected("p")
    client.subscribe(unique)
    publisher.publish(unique, b"m", qos=1)
    assert client.receive().properties == []


def test_new_subscribe_replaces_the_identifier(connected: Connected, unique: str) -> None:
    client, publisher = connected("s"), connected("p")
    client.subscribe(unique, props=ids(1))
    client.subscribe(unique, props=ids(2))
    publisher.publish(unique, b"a", qos=1)
    assert client.receive().properties.values(P.SUBSCRIPTION_IDENTIFIER) == [2]
    client.subscribe(unique)
    publisher.publish(unique, b"b", qos=1)
    assert client.receive().properties.values(P.SUBSCRIPTION_IDENTIFIER) == []


def test_identifier_is_part_of_the_session(connected: Connected, unique: str) -> None:
    client, publisher = connected("s", props=KEPT), connected("p")
    client.subscribe((unique, 1), props=ids(9))
    client.disconnect()
    publisher.publish(unique, b"waiting", qos=1)
    again = connected("s", clean=False, props=KEPT)
    assert again.receive().properties.values(P.SUBSCRIPTION_IDENTIFIER) == [9]
    publisher.publish(unique, b"live", qos=1)
    assert again.receive().properties.values(P.SUBSCRIPTION_IDENTIFIER) == [9]


def test_identifier_comes_with_retained_messages(connected: Connected, unique: str) -> None:
    client = connected()
    client.publish(unique, b"kept", qos=1, retain=True)
    client.subscribe(unique, props=ids(4))
    assert client.receive().properties.values(P.SUBSCRIPTION_IDENTIFIER) == [4]


def test_identifier_of_a_shared_subscription(connected: Connected, unique: str) -> None:
    client, publisher = connected("s"), connected("p")
    client.subscribe(f"$share/g/{unique}", props=ids(4))
    client.subscribe(unique, props=ids(5))
    publisher.publish(unique, b"m", qos=1)
    assert sorted(client.receive().properties.values(P.SUBSCRIPTION_IDENTIFIER) for _ in range(2)) == [[4], [5]]
    client.expect_nothing()


def test_identifiers_of_publishers_are_refused(connected: Connected, unique: str) -> None:
    client = connected()
    client.send_publish(unique, b"m", qos=1, props=ids(1))
    client.expect_disconnect(R.PROTOCOL_ERROR)


@pytest.mark.broker(config={"mqtt": {"subscription_id_available": False}})
def test_identifiers_that_are_not_available_are_announced_and_refused(peer: PeerFactory, unique: str) -> None:
    client = peer()
    assert client.connect(unique).properties.value(P.SUBSCRIPTION_IDENTIFIER_AVAILABLE) == 0
    assert client.subscribe("plain").reasons == (0,)
    client.send(Subscribe(9, (("a", Options()),), properties(ids(1))))
    client.expect_disconnect(R.SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED)


def test_no_local_keeps_own_messages_away(connected: Connected, unique: str) -> None:
    client, other = connected("a"), connected("b")
    client.subscribe((unique, Options(1, no_local=True)))
    client.publish(unique, b"own", qos=1)
    other.publish(unique, b"other", qos=1)
    assert client.receive().payload == b"other"
    client.expect_nothing()


def test_no_local_holds_for_the_client_id_after_a_reconnect(connected: Connected, unique: str) -> None:
    client = connected(props=KEPT)
    client.subscribe((unique, Options(1, no_local=True)))
    client.disconnect()
    again = connected(clean=False, props=KEPT)
    again.publish(unique, b"own", qos=1)
    again.expect_nothing()


def test_no_local_of_one_overlapping_subscription_leaves_the_other(connected: Connected, unique: str) -> None:
    client, other = connected("a"), connected("b")
    client.subscribe((f"{unique}/a", Options(2, no_local=True)), props=ids(1))
    client.subscribe((f"{unique}/+", Options(1)), props=ids(2))
    client.send_publish(f"{unique}/a", b"own", qos=0)
    message = client.receive()
    assert message.properties.values(P.SUBSCRIPTION_IDENTIFIER) == [2]
    client.expect_nothing()
    other.publish(f"{unique}/a", b"other", qos=2)
    message = client.receive()
    assert (message.qos, sorted(message.properties.values(P.SUBSCRIPTION_IDENTIFIER))) == (2, [1, 2])


def test_no_local_on_a_shared_subscription_is_refused(connected: Connected, unique: str) -> None:
    client = connected()
    client.send(Subscribe(1, ((f"$share/g/{unique}", Options(no_local=True)),)))
    client.expect_disconnect(R.PROTOCOL_ERROR)


def test_retained_own_message_is_not_sent_with_no_local(connected: Connected, unique: str) -> None:
    client, other = connected("a"), connected("b")
    client.publish(unique, b"kept", qos=1, retain=True)
    other.subscribe((unique, Options(1, no_local=True)))
    assert other.receive().payload == b"kept"


def test_overlapping_retain_as_published_is_the_or(connected: Connected, unique: str) -> None:
    client, publisher = connected("s"), connected("p")
    client.subscribe((f"{unique}/a", Options(1)), (f"{unique}/+", Options(0, retain_as_published=True)))
    publisher.publish(f"{unique}/a", b"m", qos=1, retain=True)
    message = client.receive()
    assert (message.qos, message.retain) == (1, True)
    client.expect_nothing()


def test_unsuback_tells_what_existed(connected: Connected, unique: str) -> None:
    client = connected()
    client.subscribe(f"{unique}/a", f"$share/g/{unique}")
    answer = client.unsubscribe(f"{unique}/a", f"{unique}/b", f"$share/g/{unique}", f"$share/h/{unique}", f"{unique}/a")
    assert answer.reasons == (0, R.NO_SUBSCRIPTION_EXISTED, 0, R.NO_SUBSCRIPTION_EXISTED, R.NO_SUBSCRIPTION_EXISTED)


def test_puback_tells_that_nobody_listens(connected: Connected, unique: str) -> None:
    client = connected()
    assert client.publish(unique, b"m", qos=1) == R.NO_MATCHING_SUBSCRIBERS
    connected("s").subscribe(unique)
    assert client.publish(unique, b"m", qos=1) == 0


def test_dollar_topics_are_hidden_from_wildcards(connected: Connected, unique: str) -> None:
    client, publisher = connected("s"), connected("p")
    client.subscribe(f"+/{unique}", f"$x/+/{unique}")
    publisher.publish(f"$x/{unique}", b"hidden", qos=1)
    publisher.publish(f"$x/a/{unique}", b"named", qos=1)
    publisher.publish(f"x/{unique}", b"seen", qos=1)
    assert [client.receive().payload for _ in range(2)] == [b"named", b"seen"]
    client.expect_nothing()


@pytest.mark.broker(config={"mqtt": {"max_subscriptions": 3}})
def test_subscriptions_of_one_client_are_bounded(connected: Connected, unique: str) -> None:
    client = connected()
    assert client.subscribe(*[f"{unique}/{number}" for number in range(5)]).reasons == (
        0,
        0,
        0,
        R.QUOTA_EXCEEDED,
        R.QUOTA_EXCEEDED,
    )
    assert client.subscribe((f"{unique}/0", 1)).reasons == (1,)
    client.unsubscribe(f"{unique}/1")
    assert client.subscribe(f"{unique}/9").reasons == (0,)


@pytest.mark.broker(config={"mqtt": {"wildcard_available": False, "shared_available": False, "max_qos": 1}})
def test_what_is_not_available_is_announced_and_refused(peer: PeerFactory, unique: str) -> None:
    client = peer()
    announced = client.connect(unique).properties
    assert announced.value(P.WILDCARD_SUBSCRIPTION_AVAILABLE) == 0
    assert announced.value(P.SHARED_SUBSCRIPTION_AVAILABLE) == 0
    assert announced.value(P.MAXIMUM_QOS) == 1
    assert client.subscribe((unique, 2)).reasons == (1,)
    client.send_publish(unique, b"m", qos=2)
    client.expect_disconnect(R.QOS_NOT_SUPPORTED)
    for text, reason in (
        (f"{unique}/+", R.WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED),
        (f"$share/g/{unique}", R.SHARED_SUBSCRIPTIONS_NOT_SUPPORTED),
    ):
        client = peer()
        client.connect(unique)
        client.send(Subscribe(1, ((text, Options()),)))
        client.expect_disconnect(reason)


def test_thousands_of_subscriptions_of_one_client(connected: Connected, unique: str) -> None:
    client, publisher = connected("s"), connected("p")
    for start in range(0, 3000, 500):
        client.subscribe(*[f"{unique}/{number}/+" for number in range(start, start + 500)], qos=1)
    for number in (0, 1499, 2999):
        publisher.publish(f"{unique}/{number}/x", b"m", qos=1)
        assert client.receive().topic == f"{unique}/{number}/x"
    client.unsubscribe(*[f"{unique}/{number}/+" for number in range(3000)])
    publisher.publish(f"{unique}/7/x", b"m", qos=1)
    client.expect_nothing()
