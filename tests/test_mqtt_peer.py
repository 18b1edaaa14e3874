"""The tests' own packets: known bytes, round trips, refusals."""

from __future__ import annotations

import mqtt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mqtt import (
    V5,
    V31,
    V311,
    Connect,
    Malformed,
    Options,
    P,
    Publish,
    SubAck,
    Subscribe,
    Will,
    decode,
    properties,
    varint,
)

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
topics = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0+#"), min_size=1, max_size=20)
ids = st.integers(1, 65_535)
reason_strings = st.builds(lambda text: properties({P.REASON_STRING: text}), texts)
message_properties = st.builds(
    lambda expiry, data, pairs: properties(
        [(P.MESSAGE_EXPIRY_INTERVAL, expiry), (P.CORRELATION_DATA, data), *((P.USER_PROPERTY, pair) for pair in pairs)]
    ),
    st.integers(0, 0xFFFF_FFFF),
    st.binary(max_size=20),
    st.lists(st.tuples(texts, texts), max_size=3),
)
wills = st.builds(Will, topics, st.binary(max_size=20), st.integers(0, 2), st.booleans(), message_properties)
packets = st.one_of(
    st.builds(
        Connect,
        texts,
        st.just(V5),
        st.booleans(),
        st.integers(0, 65_535),
        wills | st.none(),
        texts | st.none(),
        st.binary(max_size=9) | st.none(),
    ),
    st.builds(
        lambda topic, payload, props: Publish(topic, payload, properties=props),
        topics,
        st.binary(max_size=300),
        message_properties,
    ),
    st.builds(
        lambda topic, qos, dup, i: Publish(topic, b"x", qos, dup=dup, packet_id=i),
        topics,
        st.integers(1, 2),
        st.booleans(),
        ids,
    ),
    st.builds(mqtt.PubAck, ids, st.sampled_from([0, 0x10, 0x87]), reason_strings),
    st.builds(mqtt.PubRel, ids, st.sampled_from([0, 0x92])),
    st.builds(
        lambda i, filters: Subscribe(i, tuple(filters)),
        ids,
        st.lists(
            st.tuples(topics, st.builds(Options, st.integers(0, 2), st.booleans(), st.booleans(), st.integers(0, 2))),
            min_size=1,
            max_size=4,
        ),
    ),
    st.builds(
        lambda i, reasons: SubAck(i, tuple(reasons)),
        ids,
        st.lists(st.sampled_from([0, 1, 2, 0x80, 0x8F]), min_size=1, max_size=4),
    ),
    st.builds(mqtt.Disconnect, st.sampled_from([0, 4, 0x81]), reason_strings),
    st.just(mqtt.PingReq()),
)


@given(packets)
def test_decode_undoes_encode(packet: mqtt.Packet) -> None:
    assert decode(packet.encode(V5), V5) == packet


@given(st.integers(0, 268_435_455))
def test_variable_byte_integers_have_the_length_of_the_table(number: int) -> None:
    assert len(varint(number)) == 1 + (number > 127) + (number > 16_383) + (number > 2_097_151)


@pytest.mark.parametrize(
    ("packet", "version", "expected"),
    [
        (Connect("a", V5), V5, "10 0e 00 04 4d 51 54 54 05 02 00 3c 00 00 01 61"),
        (Connect("a", V311), V311, "10 0d 00 04 4d 51 54 54 04 02 00 3c 00 01 61"),
        (Connect("a", V31), V31, "10 0f 00 06 4d 51 49 73 64 70 03 02 00 3c 00 01 61"),
        (Publish("a", b"b", 1, retain=True, packet_id=10), V5, "33 07 00 01 61 00 0a 00 62"),
        (Subscribe(10, (("a", Options(2)),)), V311, "82 06 00 0a 00 01 61 02"),
        (mqtt.PubAck(1), V5, "40 02 00 01"),
        (mqtt.PubAck(1, 0x10), V5, "40 03 00 01 10"),
        (mqtt.Disconnect(), V5, "e0 00"),
    ],
)
def test_known_bytes(packet: mqtt.Packet, version: int, expected: str) -> None:
    assert packet.encode(version).hex(" ") == expected
    assert decode(packet.encode(version), version) == packet


@pytest.mark.parametrize(
    "raw",
    [
        "c0 01 00",
        "c1 00",
        "00 00",
        "30 80 00",
        "36 05 00 01 61 00 01",
        "38 04 00 01 61 00",
        "32 06 00 01 61 00 00 00",
        "20 03 02 00 00",
        "20 03 01 80 00",
        "40 03 00 01 11",
        "90 03 00 01 00",
        "90 04 00 01 00 03",
        "20 06 00 00 03 21 00 00",
        "30 06 00 01 61 02 11 00",
        "30 05 00 02 61 00 00",
        "30 04 00 01 2b 00",
    ],
)
def test_what_the_standard_forbids_is_refused(raw: str) -> None:
    with pytest.raises(Malformed):
        decode(bytes.fromhex(raw), V5)
