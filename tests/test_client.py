"""The asyncio client against the product's own broker: every version, transport, property and way to fail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from peer import Endpoint

from nanomq.client import TLS, Client, Message, Will
from nanomq.errors import ConnectError, Disconnected, NotRunning, PublishError, SubscribeError
from nanomq.testing import RunningBroker

WAIT_S = 10

MakeClient = Callable[..., Client]


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, 30))


async def until(condition: Callable[[], bool]) -> None:
    """Waits for something that the other side does."""
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("version", [3, 4, 5])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_message_arrives_in_every_version_and_qos(client: MakeClient, unique: str, version: int, qos: int) -> None:
    async def scenario() -> None:
        async with client(client_id=unique, version=version) as c:
            assert await c.subscribe(f"{unique}/#", qos=2) == [2]
            assert (await c.publish(f"{unique}/a", b"\x00\xff", qos=qos)).reason == 0
            message = await c.next_message(timeout=WAIT_S)
            assert (message.topic, message.payload, message.qos) == (f"{unique}/a", b"\x00\xff", qos)
            assert not message.retain

    run(scenario())


def test_a_message_arrives_on_every_transport(
    broker: RunningBroker, endpoint: Endpoint, transport: str, certificates: dict[str, str], unique: str
) -> None:
    url = next(url for url in broker.urls.values() if Endpoint.of(url, certificates["cafile"]).kind == transport)

    async def scenario() -> None:
        async with Client(url, client_id=unique, tls=TLS(cafile=certificates["cafile"])) as c:
            await c.subscribe(unique)
            large = bytes(range(256)) * 1024
            await c.publish(unique, large, qos=1)
            assert (await c.next_message(timeout=WAIT_S)).payload == large

    run(scenario())


def test_a_certificate_of_an_unknown_authority_is_refused(
    broker: RunningBroker, endpoints: dict[str, Endpoint]
) -> None:
    url = next(url for url in broker.urls.values() if url.startswith(("mqtts", "tls")))

    async def scenario() -> None:
        with pytest.raises(ConnectError, match="certificate"):
            await Client(url).connect()
        async with Client(url, tls=TLS(insecure=True)) as c:
            assert c.is_connected

    run(scenario())


def test_all_properties_of_a_message_pass_unchanged(client: MakeClient, unique: str) -> None:
    async def scenario() -> None:
        async with client(client_id=unique) as c:
            await c.subscribe(unique, subscription_id=7)
            await c.publish(
                unique,
                "text",
                message_expiry=60,
                content_type="text/plain",
                response_topic="answers",
                correlation_data=b"\x01\x02",
                payload_format=1,
                user_properties=[("a", "1"), ("b", "2"), ("a", "3")],
            )
            message = await c.next_message(timeout=WAIT_S)
            assert message.text == "text"
            assert message.content_type == "text/plain"
            assert message.response_topic == "answers"
            assert message.correlation_data == b"\x01\x02"
            assert message.payload_format == 1
            assert message.message_expiry in (59, 60)
            assert message.user_properties == [("a", "1"), ("b", "2"), ("a", "3")]
            assert message.subscription_ids == [7]
            assert message.properties["user_property"] == message.user_properties

    run(scenario())


def test_the_connack_tells_what_was_negotiated(client: MakeClient, unique: str) -> None:
    async def scenario() -> None:
        async with client() as c:
            assert c.connack is not None
            assert not c.connack.session_present
            assert c.client_id == c.connack.client_id != ""
            assert c.connack.properties.get("assigned_client_identifier") == c.client_id

    run(scenario())


def test_several_filters_have_their_own_qos(client: MakeClient, unique: str) -> None:
    async def scenario() -> None:
        async with client(client_id=unique) as c:
            assert await c.subscribe([f"{unique}/a", (f"{unique}/b", 2)], qos=1) == [1, 2]
            assert await c.unsubscribe(f"{unique}/a", f"{unique}/none") == [0, 0x11]

    run(scenario())


def test_what_is_not_legal_is_refused_before_it_is_sent(client: MakeClient, unique: str) -> None:
    async def scenario() -> None:
        async with client(client_id=unique) as c:
            with pytest.raises(SubscribeError):
                await c.subscribe("a#")
            with pytest.raises(PublishError):
                await c.publish("a/+")
            with pytest.raises(PublishError, match="alias"):
                await c.publish("a", topic_alias=65535)
            with pytest.raises(ValueError, match="qos"):
                await c.publish("a", qos=3)
            await c.publish(unique, qos=1)

    run(scenario())


@pytest.mark.broker(config={"mqtt": {"max_packet_size": "1KB"}})
def test_a_message_above_the_servers_limit_is_refused_before_it_is_sent(client: MakeClient, unique: str) -> None:
    async def scenario() -> None:
        async with client(client_id=unique) as c:
            with pytest.raises(PublishError, match="at most"):
                await c.publish(unique, bytes(2000), qos=1)
            assert c.is_connected

    run(scenario())


def test_a_stored_session_gets_its_messages(client: MakeClient, unique: str) -> None:
    async def scenario() -> None:
        options = {"client_id": unique, "clean_start": False, "session_expiry": 60}
        async with client(**options) as c:
            await c.subscribe(unique, qos=1)
        async with client() as other:
            await other.publish(unique, "later", qos=1)
        async with client(**options) as c:
            assert c.connack is not None
            assert c.connack.session_present
            assert (await c.next_message(timeout=WAIT_S)).text == "later"

    run(scenario())


def test_the_will_is_published_after_close_and_not_after_disconnect(client: MakeClient, unique: str) -> None:
    async def scenario() -> None:
        async with client(client_id=unique) as c:
            await c.subscribe(f"{unique}/will/#")
            will = Will(f"{unique}/will/polite", "gone", content_type="t")
            async with client(client_id=f"{unique}a", will=will):
                pass
            rude = client(client_id=f"{unique}b", will=Will(f"{unique}/will/rude", "gone", content_type="t"))
            await rude.connect()
            rude.close()
            message = await c.next_message(timeout=WAIT_S)
            assert (message.topic, message.text, message.content_type) == (f"{unique}/will/rude", "gone", "t")

    run(scenario())


def test_a_taken_over_client_ends_with_the_reason(client: MakeClient, unique: str) -> None:
    async def scenario() -> None:
        async with client(client_id=unique, reconnect=True) as first:
            async with client(client_id=unique):
                with pytest.raises(Disconnected) as caught:
                    await first.next_message(timeout=WAIT_S)
                assert caught.value.reason == 0x8E
            with pytest.raises(Disconnected):
                await first.publish(unique)

    run(scenario())


def test_a_cut_client_connects_and_subscribes_again(
    client: MakeClient, cut: Callable[[str], bool], unique: str
) -> None:
    async def scenario() -> None:
        ends: list[int] = []
        begins: list[str] = []
        async with client(client_id=unique, reconnect=(0.01, 0.1)) as c:
            c.on_disconnected = ends.append
            c.on_connected = lambda connack: begins.append(connack.client_id)
            await c.subscribe(unique, qos=1)
            assert await asyncio.to_thread(cut, unique)
            await until(lambda: bool(begins))
            assert ends == [0]
            await c.publish(unique, "again", qos=1)
            assert (await c.next_message(timeout=WAIT_S)).text == "again"

    run(scenario())


def test_a_message_given_while_the_connection_is_down_is_delivered_once(
    client: MakeClient, cut: Callable[[str], bool], unique: str
) -> None:
    async def scenario() -> None:
        async with client(client_id=f"{unique}s") as other:
            await other.subscribe(unique, qos=2)
            options = {"client_id": unique, "session_expiry": 60, "reconnect": (0.01, 0.1)}
            async with client(**options) as c:
                for number in range(20):
                    waiting = asyncio.create_task(c.publish(unique, str(number), qos=2))
                    await asyncio.to_thread(cut, unique)
                    await waiting
            numbers = [int((await other.next_message(timeout=WAIT_S)).payload) for _ in range(20)]
            assert numbers == list(range(20))

    run(scenario())


def test_without_reconnect_a_cut_client_fails_its_waiters(
    client: MakeClient, cut: Callable[[str], bool], unique: str
) -> None:
    async def scenario() -> None:
        async with client(client_id=unique) as c:
            waiting = asyncio.create_task(c.next_message())
            await asyncio.sleep(0)
            await asyncio.to_thread(cut, unique)
            with pytest.raises(Disconnected):
                await waiting
            assert not c.is_connected

    run(scenario())


def test_manual_acknowledgements_hold_the_server_back(client: MakeClient, unique: str) -> None:
    async def scenario() -> None:
        options = {"client_id": unique, "clean_start": False, "session_expiry": 60, "manual_acks": True}
        async with client(**options) as c:
            await c.subscribe(unique, qos=1)
            await c.publish(unique, "kept", qos=1)
            first = await c.next_message(timeout=WAIT_S)
        async with client(**options) as c:
            again = await c.next_message(timeout=WAIT_S)
            assert (again.payload, again.dup, first.dup) == (b"kept", True, False)
            c.acknowledge(again)
        async with client(**options) as c:
            await c.publish(unique, "next", qos=1)
            last = await c.next_message(timeout=WAIT_S)
            assert last.payload == b"next"
            # What stays open is dropped with the session, in the middle of another test.
            c.acknowledge(last)

    run(scenario())


@pytest.mark.broker(config={"mqtt": {"max_mqueue_len": 20_000}})
def test_more_messages_than_fit_all_arrive_in_order(client: MakeClient, unique: str) -> None:
    async def scenario() -> None:
        count = 12_000
        async with client(client_id=unique) as c, client(client_id=f"{unique}p") as publisher:
            await c.subscribe(unique, qos=1)
            await asyncio.gather(*[publisher.publish(unique, str(number), qos=1) for number in range(count)])
            assert await c.unsubscribe(unique) == [0], "answers pass messages that nobody takes"
            got = [int((await c.next_message(timeout=WAIT_S)).payload) for _ in range(count)]
            assert got == list(range(count))

    run(scenario())


@pytest.mark.broker(config={"mqtt": {"max_mqueue_len": 100_000, "max_mqueue_bytes": "256MB"}})
@pytest.mark.parametrize("qos", [0, 1])
def test_messages_that_nobody_takes_are_bounded_while_an_answer_is_awaited(
    client: MakeClient, unique: str, qos: int
) -> None:
    async def scenario() -> None:
        async with client(client_id=unique, receive_maximum=100) as c, client(client_id=f"{unique}p") as publisher:
            await c.subscribe(unique, qos=qos)
            for _ in range(30):
                await asyncio.gather(*[publisher.publish(unique, bytes(1000), qos=qos) for _ in range(1000)])
                assert await c.unsubscribe("nothing") == [0x11], "answers pass messages that nobody takes"
            waiting = 0
            while waiting + c.dropped_messages < 30_000:
                await c.next_message(timeout=WAIT_S)
                waiting += 1
            assert c.dropped_messages == 0 if qos else c.dropped_messages > 10_000

    run(scenario())


def test_messages_can_be_iterated_until_disconnect(client: MakeClient, unique: str) -> None:
    async def scenario() -> None:
        got: list[Message] = []
        async with client(client_id=unique) as c:
            await c.subscribe(unique)
            await c.publish(unique, "1")
            await c.publish(unique, "2")
            async for message in c:
                got.append(message)
                if len(got) == 2:
                    break
            rest = asyncio.create_task(anext(aiter(c.messages), None))
            await asyncio.sleep(0)
        assert await rest is None
        assert [message.text for message in got] == ["1", "2"]

    run(scenario())


@pytest.mark.broker(config={"auth": {"allow_anonymous": False, "password": {"ann": "secret"}}})
def test_a_wrong_password_is_refused_with_its_reason(client: MakeClient, broker: RunningBroker) -> None:
    async def scenario() -> None:
        for version in (4, 5):
            with pytest.raises(ConnectError) as caught:
                await client(username="ann", password="wrong", version=version).connect()
            assert caught.value.reason in (0x86, 0x87)
        async with client(username="ann", password="secret"):
            pass
        async with Client(broker.url.replace("//", "//ann:secret@")) as c:
            assert "secret" not in c.address

    run(scenario())


@pytest.mark.broker(config={"auth": {"allow_anonymous": False, "password": {"ann": "secret"}}})
def test_scram_proves_the_password_without_sending_it(client: MakeClient) -> None:
    async def scenario() -> None:
        async with client(username="ann", password="secret", scram=True) as c:
            assert c.is_connected
        with pytest.raises(ConnectError) as caught:
            await client(username="ann", password="wrong", scram=True).connect()
        assert caught.value.reason == 0x87

    run(scenario())


def test_automatic_aliases_change_nothing_that_is_seen(client: MakeClient, unique: str) -> None:
    async def scenario() -> None:
        async with client(client_id=unique, automatic_aliases=2, topic_alias_maximum=8) as c:
            await c.subscribe(f"{unique}/#")
            topics = [f"{unique}/{name}" for name in "abcabcabc"]
            for topic in topics:
                await c.publish(topic)
            assert [(await c.next_message(timeout=WAIT_S)).topic for _ in topics] == topics

    run(scenario())


def test_no_server_is_a_connect_error() -> None:
    async def scenario() -> None:
        with pytest.raises(ConnectError, match="refused"):
            await Client("mqtt://127.0.0.1:1", connect_timeout=5).connect()

    run(scenario())


@pytest.mark.parametrize("url", ["http://h", "127.0.0.1", "mqtt://", "mqtt://h:99999"])
def test_what_is_no_url_is_a_value_error(url: str) -> None:
    async def scenario() -> None:
        with pytest.raises(ValueError):
            await Client(url).connect()

    run(scenario())


def test_a_client_that_is_not_connected_says_so() -> None:
    async def scenario() -> None:
        with pytest.raises(NotRunning):
            await Client().publish("a")

    run(scenario())


def test_a_client_connects_again_after_disconnect(client: MakeClient, unique: str) -> None:
    async def scenario() -> None:
        c = client(client_id=unique)
        for _ in range(3):
            async with c:
                await c.subscribe(unique)
                await c.publish(unique, "x")
                assert (await c.next_message(timeout=WAIT_S)).text == "x"
            assert not c.is_connected

    run(scenario())
