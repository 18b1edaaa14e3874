"""What the standard asks of clients, checked on the product's own client with a server by hand."""

from __future__ import annotations

import asyncio

import pytest
from guest import Host, converse
from mqtt import (
    V311,
    ConnAck,
    Disconnect,
    PingReq,
    PingResp,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
    UnsubAck,
    Unsubscribe,
    packet,
)
from peer import Endpoint

from nanomq.client import TLS, Client, Will


@pytest.mark.statement("MQTT-2.3.1-2", version=4)
def test_client_gives_each_packet_in_flight_its_own_packet_id() -> None:
    async def client(url: str) -> None:
        async with Client(url, version=V311, client_id="c") as c:
            await asyncio.gather(
                *[c.publish("t", b"m", qos=1 + number % 2) for number in range(20)],
                c.subscribe("a"),
                c.unsubscribe("a"),
            )

    def server(host: Host) -> list[int]:
        guest, _ = host.welcome()
        found = [guest.recv() for _ in range(22)]
        packet_ids = [item.packet_id for item in found if isinstance(item, Publish | Subscribe | Unsubscribe)]
        for item in found:
            if isinstance(item, Publish):
                guest.send(PubAck(item.packet_id) if item.qos == 1 else PubRec(item.packet_id))
            elif isinstance(item, Subscribe):
                guest.send(SubAck(item.packet_id, (0,)))
            elif isinstance(item, Unsubscribe):
                guest.send(UnsubAck(item.packet_id))
        for _ in range(10):
            guest.send(PubComp(guest.expect(PubRel).packet_id))
        guest.expect(Disconnect)
        guest.close()
        return packet_ids

    packet_ids = converse(client, server, V311)
    assert len(set(packet_ids)) == 22
    assert 0 not in packet_ids


@pytest.mark.statement("MQTT-2.3.1-3", "MQTT-3.3.1-1", "MQTT-4.4.0-1", version=4)
def test_client_sends_again_with_the_same_packet_ids_in_order() -> None:
    async def client(url: str) -> None:
        async with Client(url, version=V311, client_id="c", clean_start=False, reconnect=(0.01, 0.01)) as c:
            await asyncio.gather(*[c.publish("t", b"%d" % number, qos=1 + number % 2) for number in range(6)])

    def server(host: Host) -> None:
        guest, _ = host.welcome()
        first = [guest.expect(Publish) for _ in range(6)]
        guest.send(PubRec(first[1].packet_id))
        assert guest.expect(PubRel).packet_id == first[1].packet_id
        guest.abort()
        guest, _ = host.welcome(ConnAck(session_present=True))
        again = [guest.recv() for _ in range(6)]
        assert [item.packet_id for item in again if isinstance(item, PubRel)] == [first[1].packet_id]
        published = [item for item in again if isinstance(item, Publish)]
        assert [(m.packet_id, m.payload, m.dup) for m in published] == [
            (m.packet_id, m.payload, True) for m in first if m is not first[1]
        ]
        guest.send(PubComp(first[1].packet_id))
        for message in published:
            if message.qos == 1:
                guest.send(PubAck(message.packet_id))
            else:
                guest.send(PubRec(message.packet_id))
                guest.expect(PubRel)
                guest.send(PubComp(message.packet_id))
        guest.expect(Disconnect)
        guest.close()

    converse(client, server, V311)


@pytest.mark.statement("MQTT-3.1.2-23", version=4)
def test_silent_client_sends_pingreq_within_its_keepalive() -> None:
    async def client(url: str) -> None:
        async with Client(url, version=V311, client_id="c", keepalive=1) as c:
            await c.next_message()

    def server(host: Host) -> None:
        guest, connect = host.welcome()
        assert connect.keepalive_s == 1
        for _ in range(2):
            guest.expect(PingReq)
            guest.send(PingResp())
        guest.send(Publish("t", b"enough"))
        guest.expect(Disconnect)
        guest.close()

    converse(client, server, V311)


@pytest.mark.statement("MQTT-3.14.4-1", "MQTT-3.14.4-2", version=4)
def test_client_sends_nothing_after_disconnect_and_closes() -> None:
    async def client(url: str) -> None:
        async with Client(url, version=V311, client_id="c") as c:
            await c.publish("t", b"last")

    def server(host: Host) -> None:
        guest, _ = host.welcome()
        guest.expect(Publish)
        guest.expect_bytes(b"\xe0\x00")
        guest.expect_closed()

    converse(client, server, V311)


@pytest.mark.statement("MQTT-4.5.0-2", version=4)
def test_client_acknowledges_messages_it_did_not_subscribe_to() -> None:
    async def client(url: str) -> None:
        async with Client(url, version=V311, client_id="c") as c:
            for _ in range(3):
                await c.next_message()

    def server(host: Host) -> None:
        guest, _ = host.welcome()
        guest.send(Publish("a", b"m", 1, packet_id=7), Publish("b", b"m", 2, packet_id=8))
        guest.expect_bytes(b"\x40\x02\x00\x07")
        guest.expect_bytes(b"\x50\x02\x00\x08")
        guest.send(PubRel(8))
        guest.expect_bytes(b"\x70\x02\x00\x08")
        guest.send(Publish("c", b"m"))
        guest.expect(Disconnect)
        guest.close()

    converse(client, server, V311)


@pytest.mark.statement("MQTT-3.1.0-1", "MQTT-3.1.3-1", "MQTT-7.0.0-1", version=4)
def test_client_begins_with_a_connect_as_the_standard_writes_it() -> None:
    async def client(url: str) -> None:
        will = Will("w", b"gone", qos=2, retain=True)
        async with Client(
            url, version=V311, client_id="id", keepalive=10, username="ann", password="secret", will=will
        ):
            pass

    def server(host: Host) -> None:
        guest = host.next_guest()
        guest.expect_bytes(
            packet(0x10, b"\x00\x04MQTT\x04\xf6\x00\x0a\x00\x02id\x00\x01w\x00\x04gone\x00\x03ann\x00\x06secret")
        )
        guest.send(ConnAck())
        guest.expect(Disconnect)
        guest.close()

    converse(client, server, V311)


@pytest.mark.statement("MQTT-7.0.0-1", "MQTT-7.1.2-1", version=4)
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_client_and_broker_of_this_product_speak_over_every_transport(
    endpoint: Endpoint, unique: str, qos: int
) -> None:
    scheme = {"tcp": "mqtt", "tls": "mqtts"}.get(endpoint.kind, endpoint.kind)
    url = f"{scheme}://{endpoint.address}" + (endpoint.path if endpoint.kind in ("ws", "wss") else "")

    async def scenario() -> None:
        async with Client(url, version=V311, client_id=unique, tls=TLS(cafile=endpoint.cafile)) as c:
            await c.subscribe(unique, qos=qos)
            await c.publish(unique, b"m", qos=qos)
            message = await c.next_message(timeout=20)
            assert (message.topic, message.payload, message.qos) == (unique, b"m", qos)

    asyncio.run(scenario())
