"""MQTT 5.0: what binds clients, tested on our own client against a server that a test plays by hand, on TCP."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from mqtt import (
    Auth,
    ConnAck,
    Connect,
    Disconnect,
    P,
    PingReq,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    R,
    SubAck,
    Subscribe,
    properties,
)
from peer import TIMEOUT_S, Peer

from nanomq import Client
from nanomq.errors import ClientError

statement = pytest.mark.statement
Accept = Callable[..., Peer]


def play(server: Callable[[Accept], None], client: Callable[[str], Awaitable[Any]]) -> None:
    """Runs both sides; `server` gets a function that accepts a connection and answers its CONNECT."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as threads:
        listener.settimeout(TIMEOUT_S)
        accepted: list[Peer] = []

        def accept(answer: ConnAck | None = ConnAck()) -> Peer:  # noqa: B008 (a frozen value)
            connection, _ = listener.accept()
            connection.settimeout(TIMEOUT_S)
            peer = Peer.accepted(connection)
            accepted.append(peer)
            if answer is not None:
                peer.expect(Connect)
                peer.send(answer)
            return peer

        async def both() -> None:
            playing = asyncio.get_running_loop().run_in_executor(threads, server, accept)
            await asyncio.wait_for(client(f"mqtt://127.0.0.1:{listener.getsockname()[1]}"), TIMEOUT_S)
            await asyncio.wait_for(playing, TIMEOUT_S)

        try:
            asyncio.run(both())
        finally:
            for peer in accepted:
                peer.close()


def goodbye(peer: Peer) -> None:
    """The client leaves."""
    peer.expect(Disconnect)
    peer.close()


@statement("MQTT-3.1.0-1")
def test_client_sends_connect_first() -> None:
    def server(accept: Accept) -> None:
        peer = accept(None)
        assert peer.expect(Connect).client_id == "a"
        peer.send(ConnAck())
        goodbye(peer)

    async def client(url: str) -> None:
        async with Client(url, client_id="a"):
            pass

    play(server, client)


@statement("MQTT-3.1.2-20")
def test_idle_client_sends_pingreq_within_its_keepalive() -> None:
    pinged = threading.Event()

    def server(accept: Accept) -> None:
        peer = accept()
        peer.expect(PingReq)
        peer.send(b"\xd0\x00")
        pinged.set()
        goodbye(peer)

    async def client(url: str) -> None:
        async with Client(url, client_id="a", keepalive=1):
            await asyncio.to_thread(pinged.wait, TIMEOUT_S)

    play(server, client)


@statement("MQTT-3.1.2-21", "MQTT-3.2.2-21")
def test_client_uses_the_server_keep_alive() -> None:
    pinged = threading.Event()

    def server(accept: Accept) -> None:
        peer = accept(ConnAck(properties=properties({P.SERVER_KEEP_ALIVE: 1})))
        peer.expect(PingReq)
        peer.send(b"\xd0\x00")
        pinged.set()
        goodbye(peer)

    async def client(url: str) -> None:
        async with Client(url, client_id="a", keepalive=1000):
            await asyncio.to_thread(pinged.wait, TIMEOUT_S)

    play(server, client)


@statement("MQTT-3.2.2-4")
def test_client_without_session_closes_when_told_of_one() -> None:
    def server(accept: Accept) -> None:
        peer = accept(ConnAck(session_present=True))
        raw = peer.recv_raw()
        assert raw in (None, b"\xe0\x01\x82") or (raw is not None and raw[0] == 0xE0 and raw[2] == R.PROTOCOL_ERROR)

    async def client(url: str) -> None:
        with pytest.raises(ClientError):
            async with Client(url, client_id="a", clean_start=True, session_expiry=100) as one:
                await one.next_message(TIMEOUT_S)

    play(server, client)


@statement("MQTT-3.2.2-5")
def test_client_whose_session_is_gone_sends_messages_as_new() -> None:
    def server(accept: Accept) -> None:
        first = accept()
        first.expect(Publish)
        first.close()
        second = accept(ConnAck(session_present=False))
        again = second.expect(Publish)
        assert again.dup is False
        second.send(PubAck(again.packet_id))
        goodbye(second)

    async def client(url: str) -> None:
        async with Client(url, client_id="a", session_expiry=100, reconnect=(0.01, 0.01)) as one:
            await one.publish("t", b"x", qos=1)

    play(server, client)


@statement("MQTT-3.2.2-11")
def test_client_does_not_publish_above_maximum_qos() -> None:
    def server(accept: Accept) -> None:
        goodbye(accept(ConnAck(properties=properties({P.MAXIMUM_QOS: 1}))))

    async def client(url: str) -> None:
        async with Client(url, client_id="a") as one:
            with pytest.raises(ClientError):
                await one.publish("t", b"x", qos=2)

    play(server, client)


@statement("MQTT-3.2.2-14")
def test_client_does_not_publish_retained_when_not_available() -> None:
    def server(accept: Accept) -> None:
        goodbye(accept(ConnAck(properties=properties({P.RETAIN_AVAILABLE: 0}))))

    async def client(url: str) -> None:
        async with Client(url, client_id="a") as one:
            with pytest.raises(ClientError):
                await one.publish("t", b"x", retain=True)

    play(server, client)


@statement("MQTT-3.2.2-15")
def test_client_does_not_send_packets_above_maximum_packet_size() -> None:
    def server(accept: Accept) -> None:
        goodbye(accept(ConnAck(properties=properties({P.MAXIMUM_PACKET_SIZE: 100}))))

    async def client(url: str) -> None:
        async with Client(url, client_id="a") as one:
            with pytest.raises(ClientError):
                await one.publish("t", bytes(200))

    play(server, client)


@statement("MQTT-3.2.2-17", "MQTT-3.3.2-9")
def test_client_stays_within_the_topic_alias_maximum() -> None:
    topics = [f"a/long/topic/{number % 5}" for number in range(20)]

    def server(accept: Accept) -> None:
        peer = accept(ConnAck(properties=properties({P.TOPIC_ALIAS_MAXIMUM: 2})))
        known: dict[object, str] = {}
        for topic in topics:
            message = peer.expect(Publish)
            alias = message.properties.value(P.TOPIC_ALIAS)
            assert alias in (None, 1, 2)
            if message.topic and alias:
                known[alias] = message.topic
            assert (message.topic or known[alias]) == topic
        goodbye(peer)

    async def client(url: str) -> None:
        async with Client(url, client_id="a", automatic_aliases=10) as one:
            for topic in topics:
                await one.publish(topic)

    play(server, client)


@statement("MQTT-3.2.2-18")
def test_client_uses_no_alias_unless_offered() -> None:
    def server(accept: Accept) -> None:
        peer = accept()
        for _ in range(3):
            message = peer.expect(Publish)
            assert (message.topic, message.properties.value(P.TOPIC_ALIAS)) == ("a/long/topic", None)
        goodbye(peer)

    async def client(url: str) -> None:
        async with Client(url, client_id="a", automatic_aliases=10) as one:
            for _ in range(3):
                await one.publish("a/long/topic")

    play(server, client)


@statement("MQTT-3.3.2-10")
def test_client_accepts_aliases_up_to_its_maximum() -> None:
    def server(accept: Accept) -> None:
        peer = accept()
        for alias in (1, 10):
            peer.send_publish(f"t/{alias}", props={P.TOPIC_ALIAS: alias})
            peer.send_publish("", props={P.TOPIC_ALIAS: alias})
        goodbye(peer)

    async def client(url: str) -> None:
        async with Client(url, client_id="a", topic_alias_maximum=10) as one:
            assert [(await one.next_message(TIMEOUT_S)).topic for _ in range(4)] == ["t/1", "t/1", "t/10", "t/10"]

    play(server, client)


@statement("MQTT-3.3.4-7", "MQTT-3.3.4-8")
def test_client_respects_receive_maximum_and_sends_other_packets() -> None:
    def server(accept: Accept) -> None:
        peer = accept(ConnAck(properties=properties({P.RECEIVE_MAXIMUM: 1})))
        first = peer.expect(Publish)
        subscribe = peer.expect(Subscribe)
        peer.send(SubAck(subscribe.packet_id, (0,)), PubAck(first.packet_id))
        second = peer.expect(Publish)
        assert (first.payload, second.payload) == (b"1", b"2")
        peer.send(PubAck(second.packet_id))
        goodbye(peer)

    async def client(url: str) -> None:
        async with Client(url, client_id="a") as one:
            publishing = [asyncio.create_task(one.publish("t", payload, qos=1)) for payload in (b"1", b"2")]
            await asyncio.sleep(0)
            await one.subscribe("s")
            await asyncio.gather(*publishing)

    play(server, client)


@statement("MQTT-4.5.0-2", "MQTT-4.6.0-2", "MQTT-4.6.0-3", "MQTT-4.6.0-4")
def test_client_acknowledges_every_message_in_order() -> None:
    answered = threading.Event()

    def server(accept: Accept) -> None:
        peer = accept()
        peer.send(*[Publish("t", b"", 1, packet_id=packet_id) for packet_id in (5, 3, 9)])
        assert [peer.expect(PubAck).packet_id for _ in range(3)] == [5, 3, 9]
        peer.send(*[Publish("t", b"", 2, packet_id=packet_id) for packet_id in (6, 2, 8)])
        assert [peer.expect(PubRec).packet_id for _ in range(3)] == [6, 2, 8]
        peer.send(*[PubRel(packet_id) for packet_id in (8, 6, 2)])
        assert [peer.expect(PubComp).packet_id for _ in range(3)] == [8, 6, 2]
        answered.set()
        goodbye(peer)

    async def client(url: str) -> None:
        async with Client(url, client_id="a") as one:
            for _ in range(6):
                await one.next_message(TIMEOUT_S)
            await asyncio.to_thread(answered.wait, TIMEOUT_S)

    play(server, client)


@statement("MQTT-4.6.0-4", "MQTT-2.2.1-3")
def test_client_sends_pubrel_in_the_order_of_pubrec() -> None:
    def server(accept: Accept) -> None:
        peer = accept()
        ids = [peer.expect(Publish).packet_id for _ in range(3)]
        assert len(set(ids)) == 3 and 0 not in ids
        peer.send(*[PubRec(packet_id) for packet_id in reversed(ids)])
        assert [peer.expect(PubRel).packet_id for _ in range(3)] == ids[::-1]
        peer.send(*[PubComp(packet_id) for packet_id in ids])
        goodbye(peer)

    async def client(url: str) -> None:
        async with Client(url, client_id="a") as one:
            await asyncio.gather(*[one.publish("t", b"", qos=2) for _ in range(3)])

    play(server, client)


@statement("MQTT-4.6.0-1", "MQTT-4.4.0-1")
def test_client_sends_messages_again_in_their_order() -> None:
    def server(accept: Accept) -> None:
        first = accept()
        sent = [first.expect(Publish) for _ in range(5)]
        first.close()
        second = accept(ConnAck(session_present=True))
        again = [second.expect(Publish) for _ in range(5)]
        assert [(m.packet_id, m.payload, m.dup) for m in again] == [(m.packet_id, m.payload, True) for m in sent]
        second.send(*[PubAck(message.packet_id) for message in again])
        goodbye(second)

    async def client(url: str) -> None:
        async with Client(url, client_id="a", session_expiry=100, reconnect=(0.01, 0.01)) as one:
            await asyncio.gather(*[one.publish("t", bytes([number]), qos=1) for number in range(5)])

    play(server, client)


@statement("MQTT-3.1.2-30", "MQTT-4.12.0-3", "MQTT-4.12.0-5")
def test_client_answers_a_challenge_with_auth_0x18() -> None:
    def server(accept: Accept) -> None:
        peer = accept(None)
        data = peer.expect(Connect).properties.value(P.AUTHENTICATION_DATA)
        assert isinstance(data, bytes)
        challenge = b"r=" + data.rpartition(b"r=")[2] + b"more,s=c2FsdA==,i=4096"
        method = {P.AUTHENTICATION_METHOD: "SCRAM-SHA-256"}
        peer.send(Auth(R.CONTINUE_AUTHENTICATION, properties({**method, P.AUTHENTICATION_DATA: challenge})))
        answer = peer.expect(Auth)
        assert (answer.reason, answer.properties.value(P.AUTHENTICATION_METHOD)) == (
            R.CONTINUE_AUTHENTICATION,
            "SCRAM-SHA-256",
        )
        peer.send(ConnAck(reason=R.NOT_AUTHORIZED))
        peer.close()

    async def client(url: str) -> None:
        with pytest.raises(ClientError):
            async with Client(url, client_id="a", username="user", password="pencil", scram=True):
                pass

    play(server, client)
