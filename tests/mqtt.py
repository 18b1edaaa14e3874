"""MQTT 3.1, 3.1.1 and 5.0 packets in plain Python, for tests: encoder, strict decoder, building blocks for wrong bytes.

It shares nothing with the product's codec, so that one checks the other. The decoder refuses whatever the standard
forbids a server or client to send (flags, order of fields, properties of other packets, reason codes of other
packets), so every test that receives a packet checks these rules too. `peer.py` talks to a broker with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Protocol

from mqtt_tables import FLAGS, KIND, PLACES, RANGE, REASONS, P, PacketType, R

__all__ = [
    "V5",
    "V31",
    "V311",
    "Auth",
    "ConnAck",
    "Connect",
    "Disconnect",
    "Malformed",
    "Options",
    "P",
    "Packet",
    "PacketType",
    "Pairs",
    "PingReq",
    "PingResp",
    "Properties",
    "PubAck",
    "PubComp",
    "PubRec",
    "PubRel",
    "Publish",
    "R",
    "SubAck",
    "Subscribe",
    "UnsubAck",
    "Unsubscribe",
    "Value",
    "Will",
    "decode",
    "encode_property",
    "packet",
    "properties",
    "split",
    "string",
    "u16",
    "varint",
]  # fmt: skip

V31, V311, V5 = 3, 4, 5


class Malformed(Exception):
    """The bytes are not a packet that the standard allows."""


Value = int | str | bytes | tuple[str, str]
Pairs = Mapping[P, Any] | Iterable[tuple[P, Any]]


class Properties(list[tuple[P, Value]]):
    """Properties in the order of the packet."""

    def value(self, name: P, default: Value | None = None) -> Value | None:
        """The first value of `name`, or `default`."""
        return next((value for key, value in self if key == name), default)

    def values(self, name: P) -> list[Value]:
        """All values of `name`, in order."""
        return [value for key, value in self if key == name]

    def encode(self) -> bytes:
        """The properties with their length in front."""
        body = b"".join(encode_property(name, value) for name, value in self)
        return varint(len(body)) + body


def properties(pairs: Pairs | None) -> Properties:
    """Properties from a mapping or from pairs."""
    if pairs is None:
        return Properties()
    return Properties(pairs.items() if isinstance(pairs, Mapping) else pairs)


# --- building blocks, also for packets that are wrong on purpose ---


def varint(number: int) -> bytes:
    """A Variable Byte Integer in its shortest form."""
    out = bytearray()
    while True:
        number, digit = divmod(number, 128)
        out.append(digit | (0x80 if number else 0))
        if not number:
            return bytes(out)


def u16(number: int) -> bytes:
    """A Two Byte Integer."""
    return number.to_bytes(2, "big")


def string(text: str | bytes) -> bytes:
    """A UTF-8 string, or any bytes, with their length in front."""
    raw = text.encode() if isinstance(text, str) else text
    return u16(len(raw)) + raw


def packet(first: int, body: bytes = b"") -> bytes:
    """A packet with this first byte around any body."""
    return bytes([first]) + varint(len(body)) + body


def encode_property(name: P, value: Value) -> bytes:
    """One property with its number in front."""
    kind = KIND[name]
    if kind == "pair":
        assert isinstance(value, tuple)
        raw = string(value[0]) + string(value[1])
    elif kind in ("string", "binary"):
        assert isinstance(value, str | bytes)
        raw = string(value)
    else:
        assert isinstance(value, int)
        raw = varint(value) if kind == "varint" else value.to_bytes(int(kind), "big")
    return bytes([name]) + raw


# --- packets ---


@dataclass(frozen=True, slots=True)
class Will:
    """The will part of a CONNECT."""

    topic: str
    payload: bytes = b""
    qos: int = 0
    retain: bool = False
    properties: Properties = field(default_factory=Properties)


@dataclass(frozen=True, slots=True)
class Connect:
    """CONNECT. `version` is 3 (MQTT 3.1), 4 (3.1.1) or 5."""

    type: ClassVar[PacketType] = PacketType.CONNECT
    client_id: str = ""
    version: int = V5
    clean: bool = True
    keepalive_s: int = 60
    will: Will | None = None
    username: str | None = None
    password: bytes | None = None
    properties: Properties = field(default_factory=Properties)
    raw: bytes = field(default=b"", compare=False, repr=False)

    def encode(self, version: int | None = None) -> bytes:
        flags = 0x02 if self.clean else 0
        payload = string(self.client_id)
        if self.will is not None:
            flags |= 0x04 | self.will.qos << 3 | self.will.retain << 5
            if self.version == V5:
                payload += self.will.properties.encode()
            payload += string(self.will.topic) + string(self.will.payload)
        if self.username is not None:
            flags |= 0x80
            payload += string(self.username)
        if self.password is not None:
            flags |= 0x40
            payload += string(self.password)
        head = (
            string("MQIsdp" if self.version == V31 else "MQTT") + bytes([self.version, flags]) + u16(self.keepalive_s)
        )
        if self.version == V5:
            head += self.properties.encode()
        return packet(0x10, head + payload)


@dataclass(frozen=True, slots=True)
class ConnAck:
    """CONNACK. `reason` is the return code in 3.x."""

    type: ClassVar[PacketType] = PacketType.CONNACK
    session_present: bool = False
    reason: int = 0
    properties: Properties = field(default_factory=Properties)
    raw: bytes = field(default=b"", compare=False, repr=False)

    def encode(self, version: int = V5) -> bytes:
        body = bytes([self.session_present, self.reason])
        return packet(0x20, body + (self.properties.encode() if version == V5 else b""))


@dataclass(frozen=True, slots=True)
class Publish:
    """PUBLISH."""

    type: ClassVar[PacketType] = PacketType.PUBLISH
    topic: str
    payload: bytes = b""
    qos: int = 0
    retain: bool = False
    dup: bool = False
    packet_id: int = 0
    properties: Properties = field(default_factory=Properties)
    raw: bytes = field(default=b"", compare=False, repr=False)

    def encode(self, version: int = V5) -> bytes:
        first = 0x30 | self.dup << 3 | self.qos << 1 | self.retain
        body = string(self.topic) + (u16(self.packet_id) if self.qos else b"")
        if version == V5:
            body += self.properties.encode()
        return packet(first, body + self.payload)


@dataclass(frozen=True, slots=True)
class _Ack:
    """PUBACK, PUBREC, PUBREL and PUBCOMP differ by their type only."""

    type: ClassVar[PacketType]
    packet_id: int
    reason: int = 0
    properties: Properties = field(default_factory=Properties)
    raw: bytes = field(default=b"", compare=False, repr=False)

    def encode(self, version: int = V5) -> bytes:
        body = u16(self.packet_id)
        if version == V5 and (self.reason or self.properties):
            body += bytes([self.reason])
            if self.properties:
                body += self.properties.encode()
        return packet(self.type << 4 | FLAGS.get(self.type, 0), body)


class PubAck(_Ack):
    """PUBACK."""

    __slots__ = ()
    type = PacketType.PUBACK


class PubRec(_Ack):
    """PUBREC."""

    __slots__ = ()
    type = PacketType.PUBREC


class PubRel(_Ack):
    """PUBREL."""

    __slots__ = ()
    type = PacketType.PUBREL


class PubComp(_Ack):
    """PUBCOMP."""

    __slots__ = ()
    type = PacketType.PUBCOMP


@dataclass(frozen=True, slots=True)
class Options:
    """Subscription options: one byte behind each topic filter; in 3.x only the QoS."""

    qos: int = 0
    no_local: bool = False
    retain_as_published: bool = False
    retain_handling: int = 0

    def byte(self) -> int:
        """The options as they stand in the packet."""
        return self.qos | self.no_local << 2 | self.retain_as_published << 3 | self.retain_handling << 4


Filters = tuple[tuple[str, Options], ...]


@dataclass(frozen=True, slots=True)
class Subscribe:
    """SUBSCRIBE."""

    type: ClassVar[PacketType] = PacketType.SUBSCRIBE
    packet_id: int
    filters: Filters
    properties: Properties = field(default_factory=Properties)
    raw: bytes = field(default=b"", compare=False, repr=False)

    def encode(self, version: int = V5) -> bytes:
        body = u16(self.packet_id) + (self.properties.encode() if version == V5 else b"")
        body += b"".join(string(text) + bytes([options.byte()]) for text, options in self.filters)
        return packet(0x82, body)


@dataclass(frozen=True, slots=True)
class SubAck:
    """SUBACK; `reasons` are the return codes in 3.x."""

    type: ClassVar[PacketType] = PacketType.SUBACK
    packet_id: int
    reasons: tuple[int, ...]
    properties: Properties = field(default_factory=Properties)
    raw: bytes = field(default=b"", compare=False, repr=False)

    def encode(self, version: int = V5) -> bytes:
        body = u16(self.packet_id) + (self.properties.encode() if version == V5 else b"")
        return packet(0x90, body + bytes(self.reasons))


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """UNSUBSCRIBE."""

    type: ClassVar[PacketType] = PacketType.UNSUBSCRIBE
    packet_id: int
    filters: tuple[str, ...]
    properties: Properties = field(default_factory=Properties)
    raw: bytes = field(default=b"", compare=False, repr=False)

    def encode(self, version: int = V5) -> bytes:
        body = u16(self.packet_id) + (self.properties.encode() if version == V5 else b"")
        return packet(0xA2, body + b"".join(string(text) for text in self.filters))


@dataclass(frozen=True, slots=True)
class UnsubAck:
    """UNSUBACK; no reasons in 3.x."""

    type: ClassVar[PacketType] = PacketType.UNSUBACK
    packet_id: int
    reasons: tuple[int, ...] = ()
    properties: Properties = field(default_factory=Properties)
    raw: bytes = field(default=b"", compare=False, repr=False)

    def encode(self, version: int = V5) -> bytes:
        body = u16(self.packet_id)
        if version == V5:
            body += self.properties.encode() + bytes(self.reasons)
        return packet(0xB0, body)


@dataclass(frozen=True, slots=True)
class PingReq:
    """PINGREQ."""

    type: ClassVar[PacketType] = PacketType.PINGREQ
    raw: bytes = field(default=b"", compare=False, repr=False)

    def encode(self, version: int = V5) -> bytes:
        return packet(0xC0)


@dataclass(frozen=True, slots=True)
class PingResp:
    """PINGRESP."""

    type: ClassVar[PacketType] = PacketType.PINGRESP
    raw: bytes = field(default=b"", compare=False, repr=False)

    def encode(self, version: int = V5) -> bytes:
        return packet(0xD0)


@dataclass(frozen=True, slots=True)
class Disconnect:
    """DISCONNECT."""

    type: ClassVar[PacketType] = PacketType.DISCONNECT
    reason: int = 0
    properties: Properties = field(default_factory=Properties)
    raw: bytes = field(default=b"", compare=False, repr=False)

    def encode(self, version: int = V5) -> bytes:
        if version != V5 or not (self.reason or self.properties):
            return packet(0xE0)
        return packet(0xE0, bytes([self.reason]) + (self.properties.encode() if self.properties else b""))


@dataclass(frozen=True, slots=True)
class Auth:
    """AUTH, MQTT 5.0 only."""

    type: ClassVar[PacketType] = PacketType.AUTH
    reason: int = 0
    properties: Properties = field(default_factory=Properties)
    raw: bytes = field(default=b"", compare=False, repr=False)

    def encode(self, version: int = V5) -> bytes:
        if not (self.reason or self.properties):
            return packet(0xF0)
        return packet(0xF0, bytes([self.reason]) + self.properties.encode())


Packet = (
    Connect
    | ConnAck
    | Publish
    | PubAck
    | PubRec
    | PubRel
    | PubComp
    | Subscribe
    | SubAck
    | Unsubscribe
    | UnsubAck
    | PingReq
    | PingResp
    | Disconnect
    | Auth
)

# --- decoding ---


def split(data: bytes) -> tuple[int, bytes, int] | None:
    """The first packet in `data` as (first byte, body, whole length), or None when bytes are missing."""
    number = shift = 0
    for at in range(1, 5):
        if at >= len(data):
            return None
        number |= (data[at] & 0x7F) << shift
        shift += 7
        if data[at] < 0x80:
            if at > 1 and data[at] == 0:
                raise Malformed("the remaining length is not in its shortest form")
            end = at + 1 + number
            return None if len(data) < end else (data[0], data[at + 1 : end], end)
    raise Malformed("the remaining length has more than four bytes")


def decode(data: bytes, version: int) -> Packet:
    """The one packet that `data` holds."""
    parts = split(data)
    if parts is None or parts[2] != len(data):
        raise Malformed("not exactly one packet")
    first, body, _ = parts
    try:
        kind = PacketType(first >> 4)
    except ValueError as error:
        raise Malformed("packet type 0") from error
    flags = first & 0x0F
    if kind != PacketType.PUBLISH and flags != FLAGS.get(kind, 0):
        raise Malformed(f"{kind.name} with flags {flags:04b}")
    reader = _Reader(body)
    result = _DECODERS[kind](reader, version, flags, data)
    reader.end()
    return result


class _Reader:
    """Takes fields off the front of a body."""

    def __init__(self, body: bytes) -> None:
        self.body = body

    def take(self, count: int) -> bytes:
        if len(self.body) < count:
            raise Malformed(f"{count} bytes wanted, {len(self.body)} left")
        taken, self.body = self.body[:count], self.body[count:]
        return taken

    def rest(self) -> bytes:
        return self.take(len(self.body))

    def end(self) -> None:
        if self.body:
            raise Malformed(f"{len(self.body)} bytes too many")

    def number(self, count: int) -> int:
        return int.from_bytes(self.take(count), "big")

    def packet_id(self) -> int:
        packet_id = self.number(2)
        if packet_id == 0:
            raise Malformed("packet id 0")
        return packet_id

    def binary(self) -> bytes:
        return self.take(self.number(2))

    def string(self) -> str:
        try:
            text = self.binary().decode()
        except UnicodeDecodeError as error:
            raise Malformed("not UTF-8") from error
        if "\0" in text:
            raise Malformed("U+0000 in a string")
        return text

    def varint(self) -> int:
        number = 0
        for place in range(4):
            byte = self.number(1)
            number |= (byte & 0x7F) << 7 * place
            if byte < 0x80:
                if place and byte == 0:
                    raise Malformed("a variable byte integer is not in its shortest form")
                return number
        raise Malformed("a variable byte integer has more than four bytes")

    def properties(self, place: str, version: int) -> Properties:
        if version != V5:
            return Properties()
        inner = _Reader(self.take(self.varint()))
        found = Properties()
        while inner.body:
            number = inner.varint()
            if number not in KIND or place not in PLACES[P(number)]:
                raise Malformed(f"property {number:#04x} in {place}")
            name = P(number)
            if found.values(name) and not (
                name == P.USER_PROPERTY or (name == P.SUBSCRIPTION_IDENTIFIER and place == "PUBLISH")
            ):
                raise Malformed(f"{name.name} twice")
            value = inner.property_value(KIND[name])
            low, high = RANGE.get(name, (None, None))
            if isinstance(value, int) and ((low is not None and value < low) or (high is not None and value > high)):
                raise Malformed(f"{name.name} {value}")
            found.append((name, value))
        return found

    def property_value(self, kind: str) -> Value:
        match kind:
            case "string":
                return self.string()
            case "binary":
                return self.binary()
            case "pair":
                return (self.string(), self.string())
            case "varint":
                return self.varint()
        return self.number(int(kind))

    def reason(self, kind: PacketType) -> int:
        reason = self.number(1)
        if reason not in REASONS[kind]:
            raise Malformed(f"reason code {reason:#04x} in {kind.name}")
        return reason

    def reasons(self, kind: PacketType, version: int) -> tuple[int, ...]:
        allowed = REASONS[kind] if version == V5 else {0, 1, 2, 0x80}
        if version == V31:
            allowed = {0, 1, 2}
        reasons = tuple(self.rest())
        if not reasons or not set(reasons) <= set(allowed):
            raise Malformed(f"reason codes {reasons} in {kind.name}")
        return reasons


def _connect(reader: _Reader, _version: int, _flags: int, raw: bytes) -> Packet:
    name = reader.string()
    version, flags, keepalive_s = reader.number(1), reader.number(1), reader.number(2)
    if (name, version) not in (("MQIsdp", V31), ("MQTT", V311), ("MQTT", V5)):
        raise Malformed(f"protocol {name} {version}")
    if (
        flags & 1
        or (flags >> 3 & 3) == 3
        or (not flags & 4 and flags & 0x38)
        or (version != V5 and flags & 0xC0 == 0x40)
    ):
        raise Malformed(f"connect flags {flags:08b}")
    found = reader.properties("CONNECT", version)
    client_id = reader.string()
    will = None
    if flags & 4:
        will_properties = reader.properties("WILL", version)
        will = Will(reader.string(), reader.binary(), flags >> 3 & 3, bool(flags & 0x20), will_properties)
    username = reader.string() if flags & 0x80 else None
    password = reader.binary() if flags & 0x40 else None
    return Connect(client_id, version, bool(flags & 2), keepalive_s, will, username, password, found, raw)


def _connack(reader: _Reader, version: int, _flags: int, raw: bytes) -> Packet:
    flags = reader.number(1)
    if flags > 1:
        raise Malformed(f"connect acknowledge flags {flags:08b}")
    reason = reader.reason(PacketType.CONNACK) if version == V5 else reader.number(1)
    if version != V5 and reason > 5:
        raise Malformed(f"return code {reason}")
    if flags and reason:
        raise Malformed("session present in a refusal")
    return ConnAck(bool(flags), reason, reader.properties("CONNACK", version), raw)


def _publish(reader: _Reader, version: int, flags: int, raw: bytes) -> Packet:
    qos, dup = flags >> 1 & 3, bool(flags & 8)
    if qos == 3 or (dup and not qos):
        raise Malformed(f"PUBLISH with flags {flags:04b}")
    topic = reader.string()
    packet_id = reader.packet_id() if qos else 0
    found = reader.properties("PUBLISH", version)
    if "+" in topic or "#" in topic or (not topic and found.value(P.TOPIC_ALIAS) is None):
        raise Malformed(f"topic name {topic!r}")
    return Publish(topic, reader.rest(), qos, bool(flags & 1), dup, packet_id, found, raw)


def _ack(build: type[PubAck | PubRec | PubRel | PubComp]) -> _Decoder:
    def decoder(reader: _Reader, version: int, _flags: int, raw: bytes) -> Packet:
        packet_id, reason, found = reader.packet_id(), 0, Properties()
        if version == V5 and reader.body:
            reason = reader.reason(build.type)
            if reader.body:
                found = reader.properties(build.type.name, version)
        return build(packet_id, reason, found, raw)

    return decoder


def _subscribe(reader: _Reader, version: int, _flags: int, raw: bytes) -> Packet:
    packet_id, found = reader.packet_id(), reader.properties("SUBSCRIBE", version)
    filters: list[tuple[str, Options]] = []
    while reader.body or not filters:
        text, byte = reader.string(), reader.number(1)
        if byte & 3 == 3 or byte >> 4 == 3 or byte > (0x2F if version == V5 else 2):
            raise Malformed(f"subscription options {byte:08b}")
        filters.append((text, Options(byte & 3, bool(byte & 4), bool(byte & 8), byte >> 4)))
    return Subscribe(packet_id, tuple(filters), found, raw)


def _suback(reader: _Reader, version: int, _flags: int, raw: bytes) -> Packet:
    packet_id, found = reader.packet_id(), reader.properties("SUBACK", version)
    return SubAck(packet_id, reader.reasons(PacketType.SUBACK, version), found, raw)


def _unsubscribe(reader: _Reader, version: int, _flags: int, raw: bytes) -> Packet:
    packet_id, found = reader.packet_id(), reader.properties("UNSUBSCRIBE", version)
    filters: list[str] = []
    while reader.body or not filters:
        filters.append(reader.string())
    return Unsubscribe(packet_id, tuple(filters), found, raw)


def _unsuback(reader: _Reader, version: int, _flags: int, raw: bytes) -> Packet:
    packet_id, found = reader.packet_id(), reader.properties("UNSUBACK", version)
    return UnsubAck(packet_id, reader.reasons(PacketType.UNSUBACK, version) if version == V5 else (), found, raw)


def _disconnect(reader: _Reader, version: int, _flags: int, raw: bytes) -> Packet:
    if version != V5 or not reader.body:
        return Disconnect(raw=raw)
    reason = reader.reason(PacketType.DISCONNECT)
    return Disconnect(reason, reader.properties("DISCONNECT", version) if reader.body else Properties(), raw)


def _auth(reader: _Reader, version: int, _flags: int, raw: bytes) -> Packet:
    if version != V5:
        raise Malformed("AUTH in 3.x")
    if not reader.body:
        return Auth(raw=raw)
    return Auth(reader.reason(PacketType.AUTH), reader.properties("AUTH", version), raw)


class _Decoder(Protocol):
    def __call__(self, reader: _Reader, version: int, flags: int, raw: bytes, /) -> Packet: ...


_DECODERS: Final[dict[PacketType, _Decoder]] = {
    PacketType.CONNECT: _connect,
    PacketType.CONNACK: _connack,
    PacketType.PUBLISH: _publish,
    PacketType.PUBACK: _ack(PubAck),
    PacketType.PUBREC: _ack(PubRec),
    PacketType.PUBREL: _ack(PubRel),
    PacketType.PUBCOMP: _ack(PubComp),
    PacketType.SUBSCRIBE: _subscribe,
    PacketType.SUBACK: _suback,
    PacketType.UNSUBSCRIBE: _unsubscribe,
    PacketType.UNSUBACK: _unsuback,
    PacketType.PINGREQ: lambda _reader, _version, _flags, raw: PingReq(raw),
    PacketType.PINGRESP: lambda _reader, _version, _flags, raw: PingResp(raw),
    PacketType.DISCONNECT: _disconnect,
    PacketType.AUTH: _auth,
}
