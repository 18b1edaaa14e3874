"""MQTT 5.0, 3.15 and 4.12: AUTH and enhanced authentication, with SCRAM-SHA-256 (RFC 7677) as the method."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from collections.abc import Callable

import pytest
from mqtt import Auth, ConnAck, Connect, P, Properties, Publish, R, packet, properties, string
from peer import Peer, PeerFactory

statement = pytest.mark.statement
METHOD = "SCRAM-SHA-256"
with_users = pytest.mark.broker(
    config={"auth": {"allow_anonymous": False, "password": {"user": "pencil", "other": "secret"}}}
)


class Scram:
    """The client's part of SCRAM-SHA-256."""

    def __init__(self, username: str = "user", password: str = "pencil") -> None:
        self.password = password.encode()
        self.nonce = base64.b64encode(os.urandom(18)).decode()
        self.bare = f"n={username},r={self.nonce}"
        self.signature = b""

    def first(self) -> bytes:
        """The client's first message."""
        return f"n,,{self.bare}".encode()

    def final(self, challenge: bytes) -> bytes:
        """The client's final message, with its proof."""
        fields = dict(part.split("=", 1) for part in challenge.decode().split(","))
        assert fields["r"].startswith(self.nonce) and len(fields["r"]) > len(self.nonce)
        assert int(fields["i"]) >= 4096
        salted = hashlib.pbkdf2_hmac("sha256", self.password, base64.b64decode(fields["s"]), int(fields["i"]))
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        without_proof = f"c=biws,r={fields['r']}"
        auth_message = f"{self.bare},{challenge.decode()},{without_proof}".encode()
        mask = hmac.digest(hashlib.sha256(client_key).digest(), auth_message, "sha256")
        proof = bytes(a ^ b for a, b in zip(client_key, mask, strict=True))
        self.signature = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), auth_message, "sha256")
        return f"{without_proof},p={base64.b64encode(proof).decode()}".encode()

    def proves(self, final: object) -> bool:
        """Whether the server's final message shows that it knows the password."""
        return final == b"v=" + base64.b64encode(self.signature)


def auth_properties(data: bytes, method: str = METHOD) -> Properties:
    """Method and data."""
    return properties({P.AUTHENTICATION_METHOD: method, P.AUTHENTICATION_DATA: data})


def begin(client: Peer, client_id: str, scram: Scram) -> Auth:
    """CONNECT with the first message; returns the challenge."""
    client.send(Connect(client_id, properties=auth_properties(scram.first())))
    return client.expect(Auth)


def challenge_data(challenge: Auth) -> bytes:
    """The data of a challenge."""
    data = challenge.properties.value(P.AUTHENTICATION_DATA)
    assert isinstance(data, bytes)
    return data


def authenticated(client: Peer, client_id: str, **options: str) -> ConnAck:
    """A whole exchange; returns the CONNACK."""
    scram = Scram(**options)
    challenge = begin(client, client_id, scram)
    client.send(Auth(R.CONTINUE_AUTHENTICATION, auth_properties(scram.final(challenge_data(challenge)))))
    answer = client.expect(ConnAck)
    assert scram.proves(answer.properties.value(P.AUTHENTICATION_DATA))
    return answer


@statement("MQTT-4.12.0-2", "MQTT-4.12.0-5", "MQTT-3.15.2-1")
@with_users
def test_right_proof_is_accepted(peer: PeerFactory) -> None:
    client = peer()
    answer = authenticated(client, "a")
    assert (answer.reason, answer.properties.value(P.AUTHENTICATION_METHOD)) == (R.SUCCESS, METHOD)
    client.subscribe("a")
    client.send_publish("a", b"x")
    assert client.receive().payload == b"x"


@statement("MQTT-4.12.0-2", "MQTT-4.12.0-5", "MQTT-3.2.0-1")
@with_users
def test_challenge_carries_0x18_and_the_method(peer: PeerFactory) -> None:
    challenge = begin(peer(), "a", Scram())
    assert (challenge.reason, challenge.properties.value(P.AUTHENTICATION_METHOD)) == (
        R.CONTINUE_AUTHENTICATION,
        METHOD,
    )


@statement("MQTT-4.12.0-4", "MQTT-3.2.2-7")
@with_users
@pytest.mark.parametrize(("username", "password"), [("user", "wrong"), ("nobody", "pencil")])
def test_wrong_proof_is_refused(peer: PeerFactory, username: str, password: str) -> None:
    client = peer()
    scram = Scram(username, password)
    challenge = begin(client, "a", scram)
    client.send(Auth(R.CONTINUE_AUTHENTICATION, auth_properties(scram.final(challenge_data(challenge)))))
    client.expect_refused(R.NOT_AUTHORIZED)


@statement("MQTT-4.12.0-4")
@with_users
@pytest.mark.parametrize("data", [b"", b"n,,", b"\xff", b"p=tls-unique,,n=user,r=abc", b"n,,n=user"])
def test_first_message_that_is_no_scram_is_refused(peer: PeerFactory, data: bytes) -> None:
    client = peer()
    client.send(Connect("a", properties=auth_properties(data)))
    client.expect_refused(R.NOT_AUTHORIZED)


@statement("MQTT-4.12.0-1")
@pytest.mark.parametrize("method", ["", "PLAIN", "scram-sha-256", "SCRAM-SHA-256-PLUS"])
def test_unknown_method_is_refused(peer: PeerFactory, method: str) -> None:
    client = peer()
    client.send(Connect("a", properties=auth_properties(b"", method)))
    client.expect_refused(R.BAD_AUTHENTICATION_METHOD)


@statement("MQTT-3.1.2-30", "MQTT-4.13.1-1", "MQTT-3.14.0-1")
@with_users
@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(packet(0x30, string("a") + b"\x00"), id="PUBLISH"),
        pytest.param(b"\xc0\x00", id="PINGREQ"),
        pytest.param(packet(0x82, b"\x00\x01\x00" + string("a") + b"\x00"), id="SUBSCRIBE"),
    ],
)
def test_other_packets_during_authentication_are_a_protocol_error(peer: PeerFactory, raw: bytes) -> None:
    client = peer()
    begin(client, "a", Scram())
    client.send(raw)
    client.expect_refused(R.PROTOCOL_ERROR)


@statement("MQTT-3.1.2-30")
@with_users
def test_disconnect_during_authentication_closes(peer: PeerFactory) -> None:
    client = peer()
    begin(client, "a", Scram())
    client.send(b"\xe0\x00")
    client.expect_closed()


@statement("MQTT-4.12.0-3", "MQTT-4.12.0-5")
@with_users
@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(Auth(R.CONTINUE_AUTHENTICATION, auth_properties(b"x", "OTHER")), id="another method"),
        pytest.param(Auth(R.RE_AUTHENTICATE, auth_properties(b"x")), id="re-authenticate"),
        pytest.param(Auth(R.CONTINUE_AUTHENTICATION, properties({P.AUTHENTICATION_DATA: b"x"})), id="no method"),
        pytest.param(Auth(), id="success"),
    ],
)
def test_answer_that_breaks_the_exchange_is_refused(peer: PeerFactory, wrong: Auth) -> None:
    client = peer()
    begin(client, "a", Scram())
    client.send(wrong)
    client.expect_refused(R.PROTOCOL_ERROR)


@statement("MQTT-4.12.0-6")
def test_without_method_connack_has_none(peer: PeerFactory, unique: str) -> None:
    answer = peer().connect(unique)
    assert answer.properties.value(P.AUTHENTICATION_METHOD) is None
    assert answer.properties.value(P.AUTHENTICATION_DATA) is None


@statement("MQTT-4.12.0-7", "MQTT-4.13.1-1")
@pytest.mark.parametrize("reason", [R.CONTINUE_AUTHENTICATION, R.RE_AUTHENTICATE])
def test_auth_without_method_in_connect_is_a_protocol_error(connected: Callable[..., Peer], reason: R) -> None:
    client = connected()
    client.send(Auth(reason, auth_properties(b"x")))
    client.expect_disconnect(R.PROTOCOL_ERROR)


@statement("MQTT-4.12.1-1", "MQTT-3.15.2-1", "MQTT-4.12.0-5")
@with_users
def test_re_authentication_is_answered_with_success(peer: PeerFactory) -> None:
    client = peer()
    authenticated(client, "a")
    scram = Scram()
    client.send(Auth(R.RE_AUTHENTICATE, auth_properties(scram.first())))
    challenge = client.expect(Auth)
    assert challenge.reason == R.CONTINUE_AUTHENTICATION
    client.send(Auth(R.CONTINUE_AUTHENTICATION, auth_properties(scram.final(challenge_data(challenge)))))
    done = client.expect(Auth)
    assert (done.reason, done.properties.value(P.AUTHENTICATION_METHOD)) == (R.SUCCESS, METHOD)
    client.ping()


@statement("MQTT-4.12.1-1")
@with_users
def test_other_packets_go_on_during_re_authentication(peer: PeerFactory) -> None:
    client = peer()
    authenticated(client, "a")
    client.subscribe("a")
    client.send(Auth(R.RE_AUTHENTICATE, auth_properties(Scram().first())))
    client.expect(Auth)
    client.send_publish("a", b"x")
    assert client.expect(Publish).payload == b"x"


@statement("MQTT-4.12.1-1", "MQTT-4.13.1-1")
@with_users
def test_re_authentication_with_another_method_closes(peer: PeerFactory) -> None:
    client = peer()
    authenticated(client, "a")
    client.send(Auth(R.RE_AUTHENTICATE, auth_properties(b"x", "OTHER")))
    client.expect_disconnect(R.PROTOCOL_ERROR)


@statement("MQTT-4.12.1-2")
@with_users
@pytest.mark.parametrize(
    ("username", "password"), [("user", "wrong"), ("other", "secret")], ids=["wrong password", "another user"]
)
def test_failed_re_authentication_closes(peer: PeerFactory, username: str, password: str) -> None:
    client = peer()
    authenticated(client, "a")
    scram = Scram(username, password)
    client.send(Auth(R.RE_AUTHENTICATE, auth_properties(scram.first())))
    challenge = client.expect(Auth)
    client.send(Auth(R.CONTINUE_AUTHENTICATION, auth_properties(scram.final(challenge_data(challenge)))))
    client.expect_disconnect(R.NOT_AUTHORIZED)


@statement("MQTT-3.15.1-1")
@with_users
@pytest.mark.parametrize("flags", [0x1, 0x2, 0x8])
def test_auth_with_flags_is_malformed(peer: PeerFactory, flags: int) -> None:
    client = peer()
    authenticated(client, "a")
    body = bytes([R.RE_AUTHENTICATE]) + auth_properties(b"x").encode()
    client.send(packet(0xF0 | flags, body))
    client.expect_disconnect(R.MALFORMED_PACKET)


@statement("MQTT-3.15.2-1")
@with_users
@pytest.mark.parametrize("reason", [0x01, 0x80, 0x87])
def test_auth_with_the_reason_code_of_another_packet_closes(peer: PeerFactory, reason: int) -> None:
    client = peer()
    authenticated(client, "a")
    client.send(packet(0xF0, bytes([reason]) + auth_properties(b"x").encode()))
    client.expect_disconnect(R.PROTOCOL_ERROR)


@statement("MQTT-3.15.2-2", "MQTT-3.15.2-3")
@with_users
def test_auth_of_the_broker_has_method_and_data_only(peer: PeerFactory) -> None:
    challenge = begin(peer(), "a", Scram())
    assert {name for name, _ in challenge.properties} == {P.AUTHENTICATION_METHOD, P.AUTHENTICATION_DATA}


@statement("MQTT-3.1.4-6", "MQTT-3.1.4-3")
@with_users
def test_session_is_not_touched_before_the_proof(peer: PeerFactory) -> None:
    owner, intruder = peer(), peer()
    authenticated(owner, "a")
    begin(intruder, "a", Scram())
    owner.ping()
