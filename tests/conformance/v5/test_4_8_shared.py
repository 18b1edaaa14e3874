"""MQTT 5.0, 4.8.2: shared subscriptions."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from mqtt import Options, P, PubAck, PubComp, Publish, PubRec, PubRel, R, SubAck, Subscribe, packet, string, u16
from peer import Peer, PeerFactory

from nanomq.testing import Clock

statement = pytest.mark.statement
KEPT = {P.SESSION_EXPIRY_INTERVAL: 100}


def gather(publisher: Peer, clients: list[Peer]) -> list[list[bytes]]:
    """Payloads of all QoS 0 messages that `publisher` caused at each client: one more message to all marks the end."""
    end = f"end/{publisher.client_id}"
    found: list[list[bytes]] = []
    for client in clients:
        client.send(Subscribe(60_000, ((end, Options()),)))
        found.append([])
        while isinstance(received := client.recv(), Publish):
            found[-1].append(received.payload)
    publisher.send_publish(end)
    for client, payloads in zip(clients, found, strict=True):
        while (message := client.expect(Publish)).topic != end:
            payloads.append(message.payload)
    return found


@statement("MQTT-4.8.2-1", "MQTT-4.8.2-2")
@pytest.mark.parametrize(
    "topic_filter",
    ["$share/g", "$share/g/", "$share//a", "$share/", "$share/+/a", "$share/#/a", "$share/g+/a", "$share/#"],
)
def test_filter_that_is_no_shared_subscription_is_refused(connected: Callable[..., Peer], topic_filter: str) -> None:
    client = connected()
    client.send(packet(0x82, u16(1) + b"\x00" + string(topic_filter) + b"\x00"))
    found = client.recv()
    if isinstance(found, SubAck):
        assert found.reasons == (R.TOPIC_FILTER_INVALID,)
    else:
        assert getattr(found, "reason", None) in (R.TOPIC_FILTER_INVALID, R.MALFORMED_PACKET, R.PROTOCOL_ERROR)
        client.expect_closed()


@statement("MQTT-4.8.2-1")
@pytest.mark.parametrize("topic_filter", ["$shared/g/a", "$SHARE/g/a", "$share", "x/$share/g/a"])
def test_other_filters_are_not_shared(connected: Callable[..., Peer], topic_filter: str) -> None:
    one, two, publisher = connected("1"), connected("2"), connected("p")
    one.subscribe(topic_filter)
    two.subscribe(topic_filter)
    publisher.publish(topic_filter, b"x")
    assert one.receive().topic == two.receive().topic == topic_filter


@statement("MQTT-4.8.2-1")
@pytest.mark.parametrize("group", ["g", "é", "a b", "$", "a$b"])
def test_group_of_any_characters_is_accepted(connected: Callable[..., Peer], unique: str, group: str) -> None:
    client = connected()
    assert client.subscribe(f"$share/{group}/{unique}").reasons == (0,)
    client.send_publish(unique, b"x")
    assert client.receive() == Publish(unique, b"x")


@statement("MQTT-4.8.2-3")
def test_one_member_gets_each_message(connected: Callable[..., Peer], unique: str) -> None:
    members = [connected(str(number)) for number in range(4)]
    for member in members:
        member.subscribe(f"$share/g/{unique}/#")
    publisher = connected("p")
    for number in range(100):
        publisher.publish(f"{unique}/a", bytes([number]))
    found = gather(publisher, members)
    assert sorted(payload for part in found for payload in part) == [bytes([number]) for number in range(100)]
    assert {len(part) for part in found} == {25}, "round robin"


@statement("MQTT-4.8.2-3")
def test_each_group_gets_a_copy(connected: Callable[..., Peer], unique: str) -> None:
    one, two, alone = connected("1"), connected("2"), connected("3")
    one.subscribe(f"$share/g1/{unique}")
    two.subscribe(f"$share/g2/{unique}")
    alone.subscribe(unique)
    publisher = connected("p")
    publisher.publish(unique, b"x")
    assert gather(publisher, [one, two, alone]) == [[b"x"]] * 3


@statement("MQTT-4.8.2-3")
def test_same_group_with_another_filter_is_another_subscription(connected: Callable[..., Peer], unique: str) -> None:
    one, two = connected("1"), connected("2")
    one.subscribe(f"$share/g/{unique}/a")
    two.subscribe(f"$share/g/{unique}/+")
    publisher = connected("p")
    publisher.publish(f"{unique}/a", b"x")
    assert gather(publisher, [one, two]) == [[b"x"]] * 2


@statement("MQTT-4.8.2-3")
@pytest.mark.parametrize("granted", [0, 1, 2])
def test_member_gets_messages_with_its_own_qos(connected: Callable[..., Peer], unique: str, granted: int) -> None:
    member = connected("m")
    member.subscribe(f"$share/g/{unique}", qos=granted)
    connected("p").publish(unique, b"x", qos=2)
    assert member.receive().qos == granted


@statement("MQTT-4.8.2-3", "MQTT-3.3.1-9")
def test_shared_subscription_gets_no_retained_messages(connected: Callable[..., Peer], unique: str) -> None:
    client = connected()
    client.publish(unique, b"x", retain=True)
    client.subscribe(f"$share/g/{unique}")
    client.expect_nothing()


@statement("MQTT-4.8.2-3")
def test_member_that_is_away_gets_nothing_while_others_are_there(connected: Callable[..., Peer], unique: str) -> None:
    away, present = connected("1", props=KEPT), connected("2")
    for member in (away, present):
        member.subscribe(f"$share/g/{unique}", qos=1)
    away.disconnect()
    publisher = connected("p")
    for number in range(10):
        publisher.publish(unique, bytes([number]))
    assert [present.receive().payload for _ in range(10)] == [bytes([number]) for number in range(10)]
    connected("1", clean=False).expect_nothing()


@statement("MQTT-4.8.2-3", "MQTT-4.5.0-1")
def test_messages_wait_when_all_members_are_away(connected: Callable[..., Peer], unique: str) -> None:
    for name in ("1", "2"):
        member = connected(name, props=KEPT)
        member.subscribe(f"$share/g/{unique}", qos=1)
        member.disconnect()
    publisher = connected("p")
    for number in range(10):
        assert publisher.publish(unique, bytes([number])) == R.SUCCESS
    found = []
    for name in ("1", "2"):
        member = connected(name, clean=False)
        member.send(b"\xc0\x00")
        while isinstance(received := member.recv(), Publish):
            found.append(received.payload)
            member.acknowledge(received)
    assert sorted(found) == [bytes([number]) for number in range(10)]


@statement("MQTT-4.8.2-3")
def test_unacknowledged_qos_1_goes_to_another_member_when_one_ends(connected: Callable[..., Peer], unique: str) -> None:
    one = connected("1")
    one.subscribe(f"$share/g/{unique}", qos=1)
    connected("p").publish(unique, b"x")
    one.expect(Publish)
    two = connected("2")
    two.subscribe(f"$share/g/{unique}", qos=1)
    one.disconnect()
    assert two.receive().payload == b"x"


@statement("MQTT-4.8.2-4")
def test_qos_2_is_completed_with_the_member_that_comes_back(
    connected: Callable[..., Peer], unique: str, cut: Callable[[str], bool]
) -> None:
    one = connected("1", props=KEPT)
    one.subscribe(f"$share/g/{unique}", qos=2)
    connected("p").publish(unique, b"x", qos=2)
    begun = one.expect(Publish)
    two = connected("2")
    two.subscribe(f"$share/g/{unique}", qos=2)
    assert cut(unique + "1")
    back = connected("1", clean=False, props=KEPT)
    again = back.expect(Publish)
    assert (again.packet_id, again.dup) == (begun.packet_id, True)
    back.send(PubRec(again.packet_id))
    assert back.expect(PubRel) == PubRel(again.packet_id)
    back.send(PubComp(again.packet_id))
    two.expect_nothing()


@statement("MQTT-4.8.2-5")
@pytest.mark.parametrize("is_received", [False, True], ids=["before PUBREC", "after PUBREC"])
def test_qos_2_goes_to_no_other_member_when_the_session_ends(
    connected: Callable[..., Peer], unique: str, is_received: bool
) -> None:
    one = connected("1")
    one.subscribe(f"$share/g/{unique}", qos=2)
    connected("p").publish(unique, b"x", qos=2)
    begun = one.expect(Publish)
    if is_received:
        one.send(PubRec(begun.packet_id))
        one.expect(PubRel)
    two = connected("2")
    two.subscribe(f"$share/g/{unique}", qos=2)
    one.disconnect()
    two.expect_nothing()


@statement("MQTT-4.8.2-6")
@pytest.mark.parametrize(("qos", "kind"), [(1, PubAck), (2, PubRec)])
def test_refused_message_goes_to_no_other_member(
    connected: Callable[..., Peer], unique: str, qos: int, kind: type[PubAck | PubRec]
) -> None:
    one = connected("1")
    one.subscribe(f"$share/g/{unique}", qos=qos)
    connected("p").publish(unique, b"x", qos=qos)
    begun = one.expect(Publish)
    two = connected("2")
    two.subscribe(f"$share/g/{unique}", qos=qos)
    one.send(kind(begun.packet_id, R.UNSPECIFIED_ERROR))
    one.ping()
    one.disconnect()
    two.expect_nothing()


@statement("MQTT-4.8.2-1")
def test_shared_subscription_of_3_1_1_clients(connected: Callable[..., Peer], unique: str) -> None:
    members = [connected("4", version=4), connected("5", version=5)]
    for member in members:
        member.subscribe(f"$share/g/{unique}")
    publisher = connected("p")
    for number in range(10):
        publisher.publish(unique, bytes([number]))
    found = gather(publisher, members)
    assert [len(part) for part in found] == [5, 5]
    assert sorted(found[0] + found[1]) == [bytes([number]) for number in range(10)]


@statement("MQTT-4.8.2-1")
@pytest.mark.parametrize("seed", range(4))
def test_groups_agree_with_a_plain_model(
    connected: Callable[..., Peer], tcp_peer: PeerFactory, unique: str, seed: int
) -> None:
    """Random groups, filters and topics: each group with a matching filter gets one copy, each normal subscriber its own."""
    chance = random.Random(seed)
    filters = [f"{unique}/{rest}" for rest in ("a", "b", "+", "#", "a/b", "a/+", "+/b", "a/#")]
    clients = [connected(str(number)) for number in range(6)]
    held: list[set[tuple[str, str]]] = [set() for _ in clients]
    for client, mine in zip(clients, held, strict=True):
        for _ in range(4):
            group, topic_filter = chance.choice(["", "g1", "g2"]), chance.choice(filters)
            mine.add((group, topic_filter))
            client.subscribe(f"$share/{group}/{topic_filter}" if group else topic_filter)
    publisher = connected("p")
    for number in range(30):
        topic = f"{unique}/" + chance.choice(["a", "b", "a/b", "c", "a/b/c"])
        publisher.publish(topic, bytes([number]))
        found = [len(payloads) for payloads in gather(publisher, clients)]
        normal = [any(not group and matches(f, topic) for group, f in mine) for mine in held]
        groups = {(group, f) for mine in held for group, f in mine if group and matches(f, topic)}
        assert sum(found) == sum(normal) + len(groups)
        for count, is_normal, mine in zip(found, normal, held, strict=True):
            assert is_normal <= count <= is_normal + len(mine & groups)


def matches(topic_filter: str, topic: str) -> bool:
    """The plain model of 4.7.1 for topics without `$`."""
    wanted, levels = topic_filter.split("/"), topic.split("/")
    for at, level in enumerate(wanted):
        if level == "#":
            return True
        if at >= len(levels) or level not in ("+", levels[at]):
            return False
    return len(wanted) == len(levels)


@statement("MQTT-4.8.2-3")
def test_unacknowledged_qos_1_goes_to_another_member_when_the_session_expires(
    connected: Callable[..., Peer], unique: str, cut: Callable[[str], bool], clock: Clock
) -> None:
    one = connected("1", props=KEPT)
    one.subscribe(f"$share/g/{unique}", qos=1)
    publisher = connected("p")
    publisher.publish(unique, b"x")
    one.expect(Publish)
    assert cut(unique + "1")
    publisher.publish(unique, b"y")
    two = connected("2")
    two.subscribe(f"$share/g/{unique}", qos=1)
    clock.advance(seconds=101)
    assert {two.receive().payload, two.receive().payload} == {b"x", b"y"}


@statement("MQTT-4.8.2-3")
@pytest.mark.parametrize(
    "strategy",
    [
        pytest.param(name, marks=pytest.mark.broker(config={"mqtt": {"shared_strategy": name}}))
        for name in ("round_robin", "random", "sticky", "least_inflight", "hash_clientid", "hash_topic")
    ],
)
def test_every_strategy_gives_each_message_to_one_member(
    connected: Callable[..., Peer], unique: str, strategy: str
) -> None:
    members = [connected(str(number)) for number in range(3)]
    for member in members:
        member.subscribe(f"$share/g/{unique}/#")
    publisher = connected("p")
    for number in range(60):
        publisher.publish(f"{unique}/{number % 6}", bytes([number]))
    found = gather(publisher, members)
    assert sorted(payload for part in found for payload in part) == [bytes([number]) for number in range(60)]
    if strategy in ("sticky", "hash_clientid"):
        assert sorted(len(part) for part in found) == [0, 0, 60]
    if strategy == "hash_topic":
        assert all(len({payload[0] % 6 for payload in part}) * 10 == len(part) for part in found)
