"""MQTT 5.0, 4.2 to 4.4: flows of QoS 0, 1 and 2, and what is sent again."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from mqtt import P, PubAck, PubComp, Publish, PubRec, PubRel, R
from peer import Peer, PeerFactory

from nanomq.testing import Clock

statement = pytest.mark.statement
KEPT = {P.SESSION_EXPIRY_INTERVAL: 100}


@statement("MQTT-4.2.0-1")
def test_messages_pass_over_every_transport(connected: Callable[..., Peer], unique: str) -> None:
    client = connected()
    client.subscribe(unique, qos=2)
    for qos in (0, 1, 2):
        connected("p").publish(unique, bytes([qos]), qos=qos)
        assert client.receive().payload == bytes([qos])


@statement("MQTT-4.3.2-3", "MQTT-4.4.0-1", "MQTT-4.3.2-1")
def test_qos_1_is_sent_again_until_its_puback(
    connected: Callable[..., Peer], unique: str, cut: Callable[[str], bool]
) -> None:
    client = connected("s", props=KEPT)
    client.subscribe(unique, qos=1)
    connected("p").publish(unique, b"x")
    first = client.expect(Publish)
    for _ in range(3):
        assert cut(unique + "s")
        client = connected("s", clean=False, props=KEPT)
        again = client.expect(Publish)
        assert (again.packet_id, again.dup) == (first.packet_id, True)
    client.send(PubAck(first.packet_id))
    client.ping()
    assert cut(unique + "s")
    connected("s", clean=False).expect_nothing()


@statement("MQTT-4.3.2-5")
def test_qos_1_publish_with_a_used_packet_id_is_a_new_message(connected: Callable[..., Peer], unique: str) -> None:
    subscriber, publisher = connected("s"), connected("p")
    subscriber.subscribe(unique)
    for payload in (b"1", b"2"):
        publisher.send_publish(unique, payload, 1, packet_id=9, dup=payload == b"2")
        publisher.expect(PubAck)
    assert [subscriber.receive().payload for _ in range(2)] == [b"1", b"2"]


@statement("MQTT-4.3.3-3", "MQTT-4.4.0-1")
def test_qos_2_is_sent_again_until_its_pubrec(
    connected: Callable[..., Peer], unique: str, cut: Callable[[str], bool]
) -> None:
    client = connected("s", props=KEPT)
    client.subscribe(unique, qos=2)
    connected("p").publish(unique, b"x", qos=2)
    first = client.expect(Publish)
    assert cut(unique + "s")
    again = connected("s", clean=False, props=KEPT).expect(Publish)
    assert again == Publish(unique, b"x", 2, dup=True, packet_id=first.packet_id)


@statement("MQTT-4.3.3-4", "MQTT-4.3.3-5", "MQTT-4.3.3-6", "MQTT-4.4.0-1")
def test_after_pubrec_only_pubrel_is_sent_again(
    connected: Callable[..., Peer], unique: str, cut: Callable[[str], bool]
) -> None:
    client = connected("s", props=KEPT)
    client.subscribe(unique, qos=2)
    connected("p").publish(unique, b"x", qos=2)
    packet_id = client.expect(Publish).packet_id
    client.send(PubRec(packet_id))
    assert client.expect(PubRel) == PubRel(packet_id)
    for _ in range(2):
        assert cut(unique + "s")
        client = connected("s", clean=False, props=KEPT)
        assert client.expect(PubRel) == PubRel(packet_id)
        client.expect_nothing()
    client.send(PubComp(packet_id))
    client.ping()
    assert cut(unique + "s")
    connected("s", clean=False).expect_nothing()


@statement("MQTT-4.3.3-4")
def test_repeated_pubrec_is_answered_with_pubrel_again(connected: Callable[..., Peer], unique: str) -> None:
    client = connected("s")
    client.subscribe(unique, qos=2)
    connected("p").publish(unique, b"x", qos=2)
    packet_id = client.expect(Publish).packet_id
    for _ in range(2):
        client.send(PubRec(packet_id))
        assert client.expect(PubRel) == PubRel(packet_id)


@statement("MQTT-4.3.3-4", "MQTT-4.4.0-2")
def test_pubrec_with_an_error_ends_the_flow(
    connected: Callable[..., Peer], unique: str, cut: Callable[[str], bool]
) -> None:
    client = connected("s", props={**KEPT, P.RECEIVE_MAXIMUM: 1})
    client.subscribe(unique, qos=2)
    publisher = connected("p")
    publisher.publish(unique, b"refused", qos=2)
    publisher.publish(unique, b"next", qos=2)
    client.send(PubRec(client.expect(Publish).packet_id, R.UNSPECIFIED_ERROR))
    assert client.receive().payload == b"next"
    client.ping()
    assert cut(unique + "s")
    connected("s", clean=False).expect_nothing()


@statement("MQTT-4.4.0-2")
def test_puback_with_an_error_ends_the_flow(
    connected: Callable[..., Peer], unique: str, cut: Callable[[str], bool]
) -> None:
    client = connected("s", props=KEPT)
    client.subscribe(unique, qos=1)
    connected("p").publish(unique, b"refused")
    client.send(PubAck(client.expect(Publish).packet_id, R.QUOTA_EXCEEDED))
    client.ping()
    assert cut(unique + "s")
    connected("s", clean=False).expect_nothing()


@statement("MQTT-4.3.3-7")
@pytest.mark.parametrize("qos", [1, 2])
def test_message_that_was_sent_does_not_expire(
    connected: Callable[..., Peer], unique: str, clock: Clock, cut: Callable[[str], bool], qos: int
) -> None:
    client = connected("s", props=KEPT)
    client.subscribe(unique, qos=qos)
    connected("p").publish(unique, b"x", qos=qos, props={P.MESSAGE_EXPIRY_INTERVAL: 10})
    client.expect(Publish)
    assert cut(unique + "s")
    clock.advance(seconds=20)
    assert connected("s", clean=False).receive().payload == b"x"


@statement("MQTT-4.3.3-8", "MQTT-4.3.3-10")
def test_repeated_qos_2_publish_is_delivered_once(connected: Callable[..., Peer], unique: str) -> None:
    subscriber, publisher = connected("s"), connected("p")
    subscriber.subscribe(unique)
    for dup in (False, True, True):
        publisher.send_publish(unique, b"x", 2, packet_id=9, dup=dup)
        assert publisher.expect(PubRec) == PubRec(9)
    publisher.send(PubRel(9))
    assert publisher.expect(PubComp) == PubComp(9)
    assert subscriber.receive().payload == b"x"
    subscriber.expect_nothing()


@statement("MQTT-4.3.3-11")
def test_pubrel_that_is_sent_again_gets_pubcomp_without_an_error(
    connected: Callable[..., Peer], unique: str, cut: Callable[[str], bool]
) -> None:
    connected("p", props=KEPT).publish(unique, qos=2, packet_id=9)
    assert cut(unique + "p")
    again = connected("p", clean=False)
    again.send(PubRel(9))
    again.expect_bytes(b"\x70\x02\x00\x09")


@statement("MQTT-4.3.3-11")
def test_repeated_pubrel_is_answered_again(connected: Callable[..., Peer], unique: str) -> None:
    client = connected()
    client.publish(unique, qos=2, packet_id=9)
    client.send(PubRel(9))
    assert client.expect(PubComp).packet_id == 9


@statement("MQTT-4.3.3-12")
def test_qos_2_publish_after_pubcomp_is_a_new_message(connected: Callable[..., Peer], unique: str) -> None:
    subscriber, publisher = connected("s"), connected("p")
    subscriber.subscribe(unique)
    for payload in (b"1", b"2"):
        publisher.publish(unique, payload, qos=2, packet_id=9)
    assert [subscriber.receive().payload for _ in range(2)] == [b"1", b"2"]


@statement("MQTT-4.3.3-9")
@pytest.mark.broker(config={"mqtt": {"payload_format_check": True}})
def test_qos_2_publish_after_a_pubrec_with_an_error_is_a_new_message(
    connected: Callable[..., Peer], unique: str
) -> None:
    subscriber, publisher = connected("s"), connected("p")
    subscriber.subscribe(unique)
    publisher.send_publish(unique, b"\xff", 2, packet_id=9, props={P.PAYLOAD_FORMAT_INDICATOR: 1})
    assert publisher.expect(PubRec).reason == R.PAYLOAD_FORMAT_INVALID
    publisher.send_publish(unique, b"text", 2, packet_id=9, props={P.PAYLOAD_FORMAT_INDICATOR: 1})
    assert publisher.expect(PubRec).reason == R.SUCCESS
    assert subscriber.receive().payload == b"text"


@statement("MQTT-4.3.3-13")
def test_qos_2_flow_of_an_expired_message_is_completed(
    connected: Callable[..., Peer], unique: str, clock: Clock
) -> None:
    client = connected()
    client.send_publish(unique, b"x", 2, packet_id=9, props={P.MESSAGE_EXPIRY_INTERVAL: 1})
    client.expect(PubRec)
    clock.advance(seconds=10)
    client.send(PubRel(9))
    assert client.expect(PubComp) == PubComp(9)


@statement("MQTT-4.4.0-1")
@pytest.mark.parametrize("qos", [1, 2])
def test_nothing_is_sent_again_on_a_living_connection(
    connected: Callable[..., Peer], unique: str, clock: Clock, qos: int
) -> None:
    client = connected("s")
    client.subscribe(unique, qos=qos)
    connected("p").publish(unique, b"x", qos=qos)
    client.expect(Publish)
    clock.advance(hours=1)
    client.expect_nothing()


@statement("MQTT-4.4.0-1", "MQTT-4.6.0-5")
def test_messages_are_sent_again_in_their_order(
    connected: Callable[..., Peer], unique: str, cut: Callable[[str], bool]
) -> None:
    client = connected("s", props=KEPT)
    client.subscribe(unique, qos=2)
    publisher = connected("p")
    for number in range(20):
        publisher.publish(unique, bytes([number]), qos=1 + number % 2)
    found = [client.expect(Publish) for _ in range(20)]
    client.send(PubAck(found[4].packet_id), PubAck(found[0].packet_id))
    client.ping()
    assert cut(unique + "s")
    again = connected("s", clean=False)
    expected = [message for number, message in enumerate(found) if number not in (0, 4)]
    resent = [again.expect(Publish) for _ in range(18)]
    assert [(m.packet_id, m.payload, m.dup) for m in resent] == [(m.packet_id, m.payload, True) for m in expected]
    again.expect_nothing()


@statement("MQTT-4.4.0-1")
def test_clean_start_sends_nothing_again(connected: Callable[..., Peer], unique: str) -> None:
    client = connected("s", props=KEPT)
    client.subscribe(unique, qos=1)
    connected("p").publish(unique, b"x")
    client.expect(Publish)
    connected("s", clean=True).expect_nothing()


@statement("MQTT-4.4.0-1", "MQTT-4.9.0-2")
def test_messages_sent_again_respect_a_smaller_window(
    connected: Callable[..., Peer], unique: str, cut: Callable[[str], bool]
) -> None:
    client = connected("s", props=KEPT)
    client.subscribe(unique, qos=1)
    publisher = connected("p")
    for number in range(5):
        publisher.publish(unique, bytes([number]))
        client.expect(Publish)
    assert cut(unique + "s")
    again = connected("s", clean=False, props={P.RECEIVE_MAXIMUM: 2})
    first = [again.expect(Publish), again.expect(Publish)]
    again.expect_nothing()
    again.send(PubAck(first[0].packet_id))
    assert again.expect(Publish).payload == b"\x02"


@statement("MQTT-4.4.0-1", "MQTT-2.2.1-4")
def test_new_messages_after_a_reconnect_use_other_packet_ids(
    connected: Callable[..., Peer], unique: str, cut: Callable[[str], bool]
) -> None:
    client = connected("s", props=KEPT)
    client.subscribe(unique, qos=1)
    publisher = connected("p")
    publisher.publish(unique, b"open")
    open_id = client.expect(Publish).packet_id
    assert cut(unique + "s")
    publisher.publish(unique, b"new")
    again = connected("s", clean=False)
    assert (again.expect(Publish).packet_id, again.expect(Publish).packet_id != open_id) == (open_id, True)


@statement("MQTT-4.3.3-10", "MQTT-4.3.3-5")
def test_qos_2_is_exactly_once_over_many_cuts(
    connected: Callable[..., Peer], unique: str, cut: Callable[[str], bool]
) -> None:
    subscriber = connected("s", props=KEPT)
    subscriber.subscribe(unique, qos=2)
    publisher = connected("p", props=KEPT)
    for number in range(5):
        publisher.send_publish(unique, bytes([number]), 2, packet_id=number + 1)
        publisher.expect(PubRec)
        assert cut(unique + "p")
        publisher = connected("p", clean=False, props=KEPT)
        publisher.send_publish(unique, bytes([number]), 2, packet_id=number + 1, dup=True)
        publisher.expect(PubRec)
        publisher.send(PubRel(number + 1))
        publisher.expect(PubComp)
        message = subscriber.expect(Publish)
        subscriber.send(PubRec(message.packet_id))
        subscriber.expect(PubRel)
        assert cut(unique + "s")
        subscriber = connected("s", clean=False, props=KEPT)
        assert subscriber.expect(PubRel).packet_id == message.packet_id
        subscriber.send(PubComp(message.packet_id))
        assert message.payload == bytes([number])
    subscriber.expect_nothing()


@statement("MQTT-4.4.0-1")
def test_resumed_session_of_another_peer_is_sent_again_on_it(
    connected: Callable[..., Peer], peer: PeerFactory, unique: str
) -> None:
    first = connected("s", props=KEPT)
    first.subscribe(unique, qos=1)
    connected("p").publish(unique, b"x")
    first.expect(Publish)
    second = peer()
    assert second.connect(unique + "s", clean=False).session_present is True
    assert second.expect(Publish).dup is True


@statement("MQTT-4.3.3-3", "MQTT-4.3.2-3")
@pytest.mark.parametrize(("qos", "wrong"), [(1, PubComp), (2, PubAck), (2, PubComp)])
def test_wrong_acknowledgement_does_not_end_the_flow(
    connected: Callable[..., Peer], unique: str, cut: Callable[[str], bool], qos: int, wrong: type[PubAck | PubComp]
) -> None:
    client = connected("s", props=KEPT)
    client.subscribe(unique, qos=qos)
    connected("p").publish(unique, b"x", qos=qos)
    packet_id = client.expect(Publish).packet_id
    client.send(wrong(packet_id), b"\xc0\x00")
    client.recv_raw()
    cut(unique + "s")
    again = connected("s", clean=False).expect(Publish)
    assert (again.packet_id, again.dup) == (packet_id, True)


@statement("MQTT-4.4.0-1", "MQTT-4.6.0-5")
def test_pubrel_and_publish_are_sent_again_each_in_order(
    connected: Callable[..., Peer], unique: str, cut: Callable[[str], bool]
) -> None:
    client = connected("s", props=KEPT)
    client.subscribe(unique, qos=2)
    publisher = connected("p")
    for number in range(6):
        publisher.publish(unique, bytes([number]), qos=2)
    ids = [client.expect(Publish).packet_id for _ in range(6)]
    for packet_id in (ids[1], ids[4]):
        client.send(PubRec(packet_id))
        client.expect(PubRel)
    assert cut(unique + "s")
    again = connected("s", clean=False)
    found = [again.recv() for _ in range(6)]
    assert [packet.packet_id for packet in found if isinstance(packet, Publish)] == [ids[0], ids[2], ids[3], ids[5]]
    assert [packet.packet_id for packet in found if isinstance(packet, PubRel)] == [ids[1], ids[4]]
    again.expect_nothing()


@statement("MQTT-4.3.3-6", "MQTT-4.9.0-2")
def test_unfinished_pubrel_takes_a_place_in_the_new_window(
    connected: Callable[..., Peer], unique: str, cut: Callable[[str], bool]
) -> None:
    client = connected("s", props=KEPT)
    client.subscribe(unique, qos=2)
    publisher = connected("p")
    publisher.publish(unique, b"1", qos=2)
    packet_id = client.expect(Publish).packet_id
    client.send(PubRec(packet_id))
    client.expect(PubRel)
    publisher.publish(unique, b"2", qos=2)
    client.expect(Publish)
    assert cut(unique + "s")
    again = connected("s", clean=False, props={P.RECEIVE_MAXIMUM: 1})
    assert again.expect(PubRel).packet_id == packet_id
    again.send(PubComp(packet_id))
    message = again.expect(Publish)
    assert (message.payload, message.dup) == (b"2", True)
