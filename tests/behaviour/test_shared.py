"""Shared subscriptions: each message to one member of each group, by the configured strategy."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from mqtt import V5, V31, V311, P, PubAck, Publish, PubRec, R, string
from peer import Endpoint, Peer

from nanomq.testing import RunningBroker, running

Connected = Callable[..., Peer]
Cut = Callable[[str], bool]
KEPT = {P.SESSION_EXPIRY_INTERVAL: 100_000}


def members(connected: Connected, count: int, text: str, *, qos: int = 1, version: int = V5) -> list[Peer]:
    """Clients that have subscribed to the same filter, one after another."""
    made = [connected(f"m{number}", version=version) for number in range(count)]
    for member in made:
        member.subscribe(text, qos=qos)
    return made


def waiting(client: Peer) -> list[Publish]:
    """The messages that the broker has sent to a client until now, acknowledged."""
    client.settle()
    client.send(b"\xc0\x00")
    found = []
    while isinstance(message := client.recv(), Publish):
        found.append(message)
        if message.qos == 1:
            client.send(PubAck(message.packet_id))
    return found


# --- matching ---


@pytest.mark.parametrize("version", [V31, V311, V5])
def test_each_message_reaches_one_member(connected: Connected, unique: str, version: int) -> None:
    group, publisher = members(connected, 3, f"$share/g/{unique}/+", version=version), connected("p")
    for number in range(12):
        publisher.publish(f"{unique}/a", b"%d" % number, qos=1)
    received = sorted(int(message.payload) for member in group for message in waiting(member))
    assert received == list(range(12))


def test_every_group_gets_each_message(connected: Connected, unique: str) -> None:
    publisher = connected("p")
    groups = {name: [connected(f"{name}{number}") for number in range(2)] for name in ("g", "h", "i")}
    for name, group in groups.items():
        for member in group:
            member.subscribe(f"$share/{name}/{unique}", qos=1)
    for number in range(6):
        publisher.publish(unique, b"%d" % number, qos=1)
    for group in groups.values():
        assert sorted(int(message.payload) for member in group for message in waiting(member)) == list(range(6))


def test_same_group_name_with_another_filter_is_another_group(connected: Connected, unique: str) -> None:
    first, second, publisher = connected("a"), connected("b"), connected("p")
    first.subscribe(f"$share/g/{unique}/+", qos=1)
    second.subscribe(f"$share/g/{unique}/a", qos=1)
    publisher.publish(f"{unique}/a", b"m", qos=1)
    assert first.receive().payload == second.receive().payload == b"m"


def test_member_of_two_groups_and_a_plain_subscription_gets_three_copies(connected: Connected, unique: str) -> None:
    client, publisher = connected("s"), connected("p")
    client.subscribe(f"$share/g/{unique}", f"$share/h/{unique}", unique)
    publisher.publish(unique, b"m", qos=1)
    assert len(waiting(client)) == 3


@pytest.mark.parametrize(
    "text",
    [
        "$share/g/",
        "$share/g",
        "$share//T",
        "$share/+/T",
        "$share/#/T",
        "$share/a+b/T",
        "$share/",
        "$share/g/T/#/x",
        "$share/g/T+",
    ],
)
@pytest.mark.parametrize("version", [V311, V5])
def test_malformed_shared_filter_is_refused(connected: Connected, unique: str, text: str, version: int) -> None:
    client = connected(version=version)
    raw = string(text.replace("T", unique)) + b"\x00"
    client.send(b"\x82" + bytes([len(raw) + 2 + (version == V5)]) + b"\x00\x01" + b"\x00" * (version == V5) + raw)
    if version == V311:
        assert client.recv_raw() in (None, b"\x90\x03\x00\x01\x80")
        return
    found = client.recv()
    assert getattr(found, "reasons", (getattr(found, "reason", 0),))[0] in (
        R.TOPIC_FILTER_INVALID,
        R.PROTOCOL_ERROR,
        R.MALFORMED_PACKET,
    )


@pytest.mark.parametrize(
    "text",
    [
        "$share/g//T",
        "$share/g//",
        "$share/g/T//",
        "$share/$g/T",
        "$share/g g/T",
        "$share/g/$x/T",
        "$share/é/T",
        "$sharex/g/T",
        "$SHARE/g/T",
    ],
)
def test_unusual_filters_match_exactly(connected: Connected, unique: str, text: str) -> None:
    client, publisher = connected("s"), connected("p")
    wanted = text.replace("T", unique)
    assert client.subscribe(wanted).reasons == (0,)
    topic = wanted.split("/", 2)[2] if wanted.startswith("$share/") else wanted
    publisher.publish(topic, b"m", qos=1)
    assert client.receive().topic == topic


def test_wildcards_of_a_group_hide_dollar_topics(connected: Connected, unique: str) -> None:
    client, publisher = connected("s"), connected("p")
    client.subscribe(f"$share/g/+/{unique}", qos=1)
    publisher.publish(f"$x/{unique}", b"hidden", qos=1)
    publisher.publish(f"x/{unique}", b"seen", qos=1)
    assert [message.payload for message in waiting(client)] == [b"seen"]


def test_unsubscribed_member_gets_nothing_more(connected: Connected, unique: str) -> None:
    (first, second), publisher = members(connected, 2, f"$share/g/{unique}"), connected("p")
    assert first.unsubscribe(f"$share/g/{unique}").reasons == (0,)
    for _ in range(4):
        publisher.publish(unique, b"m", qos=1)
    assert (len(waiting(first)), len(waiting(second))) == (0, 4)


def test_delivery_has_the_lower_qos_of_message_and_member(connected: Connected, unique: str) -> None:
    client, publisher = connected("s"), connected("p")
    client.subscribe(f"$share/g/{unique}", qos=1)
    for qos in (0, 1, 2):
        publisher.publish(unique, b"m", qos=qos)
    assert [message.qos for message in waiting(client)] == [0, 1, 1]


# --- strategies ---


def strategy(name: str) -> pytest.MarkDecorator:
    """A broker of its own with this strategy."""
    return pytest.mark.broker(config={"mqtt": {"shared_strategy": name}})


def spread(
    connected: Connected, group: list[Peer], topics: list[str], publisher: str = "p", count: int = 30
) -> list[int]:
    """How many of `count` messages each member got."""
    sender = connected(publisher)
    for number in range(count):
        sender.publish(topics[number % len(topics)], b"%d" % number, qos=1)
    return [len(waiting(member)) for member in group]


def test_round_robin_is_the_default_and_takes_turns(connected: Connected, unique: str) -> None:
    group, publisher = members(connected, 3, f"$share/g/{unique}"), connected("p")
    turns = []
    for number in range(9):
        publisher.publish(unique, b"%d" % number, qos=1)
        turns.append([bool(waiting(member)) for member in group].index(True))
    assert turns[:3] == turns[3:6] == turns[6:]
    assert sorted(turns[:3]) == [0, 1, 2]


def test_round_robin_takes_turns_in_each_group(connected: Connected, unique: str) -> None:
    first, second, both, publisher = connected("a"), connected("b"), connected("c"), connected("p")
    first.subscribe(f"$share/g/{unique}/#", qos=1)
    second.subscribe(f"$share/h/{unique}/#", qos=1)
    both.subscribe(f"$share/g/{unique}/#", f"$share/h/{unique}/#", qos=1)
    for _ in range(10):
        publisher.publish(f"{unique}/x", b"m", qos=1)
    assert [len(waiting(client)) for client in (first, second, both)] == [5, 5, 10]


@strategy("random")
def test_random_reaches_all(connected: Connected, unique: str) -> None:
    counts = spread(connected, members(connected, 3, f"$share/g/{unique}"), [unique], count=150)
    assert sum(counts) == 150
    assert min(counts) >= 15


@strategy("sticky")
def test_sticky_stays_with_one_until_it_leaves(connected: Connected, unique: str) -> None:
    group = members(connected, 3, f"$share/g/{unique}")
    counts = spread(connected, group, [unique])
    assert sorted(counts) == [0, 0, 30]
    group.pop(counts.index(30)).disconnect()
    assert sorted(spread(connected, group, [unique])) == [0, 30]


@strategy("least_inflight")
def test_least_inflight_prefers_who_acknowledges(connected: Connected, unique: str) -> None:
    (slow, fast), publisher = members(connected, 2, f"$share/g/{unique}"), connected("p")
    received = 0
    for _ in range(20):
        publisher.publish(unique, b"m", qos=1)
        received += len(waiting(fast))
    slow.send(b"\xc0\x00")
    held = 0
    while isinstance(slow.recv(), Publish):
        held += 1
    assert held + received == 20
    assert held <= 2


@strategy("hash_clientid")
def test_hash_clientid_keeps_a_publisher_with_one_member(connected: Connected, unique: str) -> None:
    group = members(connected, 3, f"$share/g/{unique}/#")
    chosen = []
    for number in range(30):
        counts = spread(connected, group, [f"{unique}/{topic}" for topic in range(3)], publisher=f"p{number}", count=6)
        assert sorted(counts) == [0, 0, 6]
        chosen.append(counts.index(6))
    assert set(chosen) == {0, 1, 2}


@strategy("hash_topic")
def test_hash_topic_keeps_a_topic_with_one_member(connected: Connected, unique: str) -> None:
    group = members(connected, 3, f"$share/g/{unique}/#")
    chosen = []
    for number in range(30):
        counts = [
            sum(pair)
            for pair in zip(
                *(spread(connected, group, [f"{unique}/{number}"], publisher=name, count=3) for name in "pq"),
                strict=True,
            )
        ]
        assert sorted(counts) == [0, 0, 6]
        chosen.append(counts.index(6))
    assert set(chosen) == {0, 1, 2}


# --- members that are away or leave ---


@pytest.mark.parametrize("name", ["round_robin", "random", "sticky", "least_inflight", "hash_clientid", "hash_topic"])
def test_offline_members_are_skipped(configuration: Callable[..., dict[str, object]], name: str, unique: str) -> None:
    with running(configuration({"mqtt": {"shared_strategy": name}})) as broker:
        clients = [Peer(Endpoint.of(broker.url)) for _ in range(4)]
        for number, client in enumerate(clients):
            client.connect(f"c{number}", props=KEPT)
            client.subscribe(f"$share/g/{unique}/#", qos=1)
        for client in clients[:3]:
            client.disconnect()
        publisher = Peer(Endpoint.of(broker.url))
        publisher.connect("p")
        for number in range(20):
            publisher.publish(f"{unique}/{number}", b"m", qos=1)
        broker.clock.advance()
        assert len(waiting(clients[3])) == 20
        for client in (clients[3], publisher):
            client.close()


def test_message_waits_when_all_members_are_away(connected: Connected, unique: str) -> None:
    group, publisher = [connected(f"m{number}", props=KEPT) for number in range(2)], connected("p")
    for member in group:
        member.subscribe(f"$share/g/{unique}", qos=1)
        member.disconnect()
    for number in range(6):
        publisher.publish(unique, b"%d" % number, qos=1)
    back = [connected(f"m{number}", clean=False, props=KEPT) for number in range(2)]
    assert sorted(int(message.payload) for member in back for message in waiting(member)) == list(range(6))


@pytest.mark.parametrize("end", ["disconnect", "cut"])
def test_unacknowledged_qos_1_goes_to_another_member(connected: Connected, cut: Cut, unique: str, end: str) -> None:
    (first, second), publisher = members(connected, 2, f"$share/g/{unique}"), connected("p")
    for number in range(4):
        publisher.publish(unique, b"%d" % number, qos=1)
    own = {int(message.payload) for message in waiting(second)}
    first.send(b"\xc0\x00")
    held = {int(first.expect(Publish).payload) for _ in range(4 - len(own))}
    assert len(held) == 2
    first.recv()
    if end == "cut":
        assert cut(first.client_id)
    else:
        first.disconnect()
    assert {int(message.payload) for message in waiting(second)} == held


def test_unsubscribed_member_keeps_what_it_has_to_acknowledge(connected: Connected, unique: str) -> None:
    (first, second), publisher = members(connected, 2, f"$share/g/{unique}"), connected("p")
    for number in range(2):
        publisher.publish(unique, b"%d" % number, qos=1)
    held = first.expect(Publish)
    first.unsubscribe(f"$share/g/{unique}")
    assert len(waiting(second)) == 1
    first.send(PubAck(held.packet_id))
    first.expect_nothing()
    second.expect_nothing()


def test_unacknowledged_qos_1_stays_with_a_session_that_lives_on(connected: Connected, cut: Cut, unique: str) -> None:
    first, publisher = connected("m0", props=KEPT), connected("p")
    first.subscribe(f"$share/g/{unique}", qos=1)
    publisher.publish(unique, b"m", qos=1)
    sent = first.expect(Publish)
    second = connected("m1")
    second.subscribe(f"$share/g/{unique}", qos=1)
    assert cut(first.client_id)
    back = connected("m0", clean=False, props=KEPT)
    received = waiting(back) + waiting(second)
    assert [(message.payload, message.packet_id) for message in received] == [(b"m", sent.packet_id)]


def test_unacknowledged_qos_2_is_not_sent_to_another_member(connected: Connected, cut: Cut, unique: str) -> None:
    (first, second), publisher = members(connected, 2, f"$share/g/{unique}", qos=2), connected("p")
    publisher.publish(unique, b"a", qos=2)
    publisher.publish(unique, b"b", qos=2)
    first.expect(Publish)
    second.receive()
    assert cut(first.client_id)
    second.expect_nothing()


def test_unsent_messages_of_a_member_that_ends_go_to_another(connected: Connected, cut: Cut, unique: str) -> None:
    first = connected("m0", props={P.RECEIVE_MAXIMUM: 1})
    first.subscribe(f"$share/g/{unique}", qos=2)
    publisher = connected("p")
    for number in range(5):
        publisher.publish(unique, b"%d" % number, qos=2)
    sent = first.expect(Publish)
    assert sent.payload == b"0"
    second = connected("m1")
    second.subscribe(f"$share/g/{unique}", qos=2)
    assert cut(first.client_id)
    assert [second.expect(Publish).payload for _ in range(4)] == [b"1", b"2", b"3", b"4"]
    second.expect_nothing()


def test_message_that_a_member_refuses_is_not_sent_to_another(connected: Connected, unique: str) -> None:
    (first, second), publisher = members(connected, 2, f"$share/g/{unique}"), connected("p")
    publisher.publish(unique, b"a", qos=1)
    publisher.publish(unique, b"b", qos=1)
    for member in (first, second):
        member.send(PubAck(member.expect(Publish).packet_id, R.UNSPECIFIED_ERROR))
    for member in (first, second):
        member.expect_nothing()


def test_pubrec_counts_as_taken(connected: Connected, cut: Cut, unique: str) -> None:
    (first, second), publisher = members(connected, 2, f"$share/g/{unique}", qos=2), connected("p")
    publisher.publish(unique, b"a", qos=2)
    first.send(PubRec(first.expect(Publish).packet_id))
    first.recv()
    assert cut(first.client_id)
    second.expect_nothing()


# --- against a model ---


class Model:
    """Who may get what: group and filter → members; plain Python, no index."""

    def __init__(self) -> None:
        self.groups: dict[str, set[int]] = {}

    def matching(self, topic: str) -> dict[str, set[int]]:
        """Groups with members that a message to `topic` reaches."""
        return {
            name: members for name, members in self.groups.items() if members and matches(name.split("/", 2)[2], topic)
        }


def matches(text: str, topic: str) -> bool:
    """Section 4.7, level by level."""
    if topic.startswith("$") and text[0] in "+#":
        return False
    levels, wanted = topic.split("/"), text.split("/")
    for at, level in enumerate(wanted):
        if level == "#":
            return True
        if at >= len(levels) or level not in ("+", levels[at]):
            return False
    return len(levels) == len(wanted)


@pytest.fixture(scope="module")
def model_broker(configuration: Callable[..., dict[str, object]]) -> Iterator[RunningBroker]:
    """A broker for the model tests."""
    with running(configuration()) as broker:
        yield broker


@pytest.mark.parametrize("seed", range(8))
def test_thousands_of_random_groups_agree_with_the_model(model_broker: RunningBroker, seed: int) -> None:
    chance, model = random.Random(seed), Model()
    words = ["a", "b", "c", "", "$d"]
    clients = [Peer(Endpoint.of(model_broker.url)) for _ in range(8)]
    for number, client in enumerate(clients):
        client.connect(f"model{seed}x{number}")
    publisher = Peer(Endpoint.of(model_broker.url))
    publisher.connect(f"model{seed}p")
    identifiers: dict[str, int] = {}

    def some_filter() -> str:
        levels = [chance.choice([*words, "+"]) for _ in range(chance.randint(1, 4))]
        if chance.random() < 0.3:
            levels[-1] = "#"
        text = "/".join(levels)
        return text or "a"

    for _ in range(600):
        name = f"$share/g{chance.randrange(40)}/{some_filter()}"
        identifier = identifiers.setdefault(name, len(identifiers) + 1)
        for number in chance.sample(range(8), chance.randint(1, 4)):
            assert clients[number].subscribe(name, props={P.SUBSCRIPTION_IDENTIFIER: identifier}).reasons == (0,)
            model.groups.setdefault(name, set()).add(number)
    for name in chance.sample(sorted(model.groups), 150):
        for number in list(model.groups[name]):
            if chance.random() < 0.6:
                assert clients[number].unsubscribe(name).reasons == (0,)
                model.groups[name].discard(number)

    names = {identifier: name for name, identifier in identifiers.items()}
    for turn in range(60):
        topic = "/".join(chance.choice(words) for _ in range(chance.randint(1, 4))) or "a"
        publisher.publish(topic, b"%d" % turn, qos=0)
        model_broker.clock.advance()
        expected = model.matching(topic)
        got: Counter[str] = Counter()
        for number, client in enumerate(clients):
            for message in waiting(client):
                assert (message.topic, int(message.payload)) == (topic, turn)
                (found,) = message.properties.values(P.SUBSCRIPTION_IDENTIFIER)
                assert isinstance(found, int)
                assert number in expected[names[found]]
                got[names[found]] += 1
        assert got == Counter(expected.keys())
    for client in (*clients, publisher):
        client.disconnect()
