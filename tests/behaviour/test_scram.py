"""Enhanced authentication with SCRAM-SHA-256 (RFC 5802, RFC 7677), and re-authentication."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable

import pytest
from mqtt import Auth, ConnAck, Connect, Disconnect, P, Publish, R, properties
from peer import Peer, PeerFactory

from nanomq.testing import Clock

METHOD = "SCRAM-SHA-256"
pytestmark = pytest.mark.broker(
    config={"auth": {"allow_anonymous": False, "password": {"ann": "secret", "b,o=b": "pässwörd"}}}
)


class Scram:
    """The client's side of one exchange."""

    def __init__(self, username: str, password: str, nonce: str = "client-nonce") -> None:
        self.username = username.replace("=", "=3D").replace(",", "=2C")
        self.password = password
        self.nonce = nonce
        self.signature = b""

    @property
    def first(self) -> bytes:
        """The first message."""
        return f"n,,n={self.username},r={self.nonce}".encode()

    def final(self, server_first: bytes) -> bytes:
        """The answer to the server's first message."""
        fields = dict(part.split("=", 1) for part in server_first.decode().split(","))
        assert fields["r"].startswith(self.nonce)
        assert len(fields["r"]) > len(self.nonce) + 15
        assert int(fields["i"]) >= 4096
        salted = hashlib.pbkdf2_hmac("sha256", self.password.encode(), base64.b64decode(fields["s"]), int(fields["i"]))
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        without_proof = f"c=biws,r={fields['r']}"
        text = f"n={self.username},r={self.nonce},{server_first.decode()},{without_proof}".encode()
        proof = bytes(
            a ^ b
            for a, b in zip(client_key, hmac.digest(hashlib.sha256(client_key).digest(), text, "sha256"), strict=True)
        )
        self.signature = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), text, "sha256")
        return f"{without_proof},p={base64.b64encode(proof).decode()}".encode()

    def check(self, server_final: object) -> None:
        """The server proves that it knows the password too."""
        assert server_final == b"v=" + base64.b64encode(self.signature)


def auth(reason: int, data: bytes | None, method: str | None = METHOD) -> Auth:
    """An AUTH packet."""
    found = {P.AUTHENTICATION_METHOD: method, P.AUTHENTICATION_DATA: data}
    return Auth(reason, properties({name: value for name, value in found.items() if value is not None}))


def connect(client_id: str, data: bytes | None, method: str = METHOD, **options: object) -> Connect:
    """A CONNECT that asks for enhanced authentication."""
    found = properties({P.AUTHENTICATION_METHOD: method} | ({} if data is None else {P.AUTHENTICATION_DATA: data}))
    return Connect(client_id, properties=found, **options)  # type: ignore[arg-type]


def challenge(client: Peer) -> bytes:
    """The server's first message."""
    found = client.expect(Auth)
    assert (found.reason, found.properties.value(P.AUTHENTICATION_METHOD)) == (R.CONTINUE_AUTHENTICATION, METHOD)
    data = found.properties.value(P.AUTHENTICATION_DATA)
    assert isinstance(data, bytes)
    return data


@pytest.fixture
def login(peer: PeerFactory, unique: str) -> Callable[..., Peer]:
    """Connects with SCRAM."""

    def login(username: str = "ann", password: str = "secret") -> Peer:
        client, scram = peer(), Scram(username, password)
        client.send(connect(unique, scram.first))
        client.send(auth(R.CONTINUE_AUTHENTICATION, scram.final(challenge(client))))
        answer = client.expect(ConnAck)
        assert answer.reason == 0
        assert answer.properties.value(P.AUTHENTICATION_METHOD) == METHOD
        scram.check(answer.properties.value(P.AUTHENTICATION_DATA))
        return client

    return login


Login = Callable[..., Peer]


@pytest.mark.parametrize(("username", "password"), [("ann", "secret"), ("b,o=b", "pässwörd")])
def test_right_password_is_accepted_and_the_server_proves_itself(login: Login, username: str, password: str) -> None:
    login(username, password).ping()


@pytest.mark.parametrize(("username", "password"), [("ann", "wrong"), ("nobody", "secret")])
def test_wrong_password_and_unknown_user_fail_alike(
    peer: PeerFactory, unique: str, username: str, password: str
) -> None:
    client, scram = peer(), Scram(username, password)
    client.send(connect(unique, scram.first))
    client.send(auth(R.CONTINUE_AUTHENTICATION, scram.final(challenge(client))))
    assert client.expect_refused(R.NOT_AUTHORIZED).properties.value(P.AUTHENTICATION_DATA) is None


def test_each_exchange_has_another_nonce(peer: PeerFactory, unique: str) -> None:
    challenges = set()
    for number in range(5):
        client = peer()
        client.send(connect(f"{unique}{number}", Scram("ann", "secret").first))
        challenges.add(challenge(client))
    assert len(challenges) == 5


def test_unknown_user_has_the_same_salt_each_time(peer: PeerFactory, unique: str) -> None:
    salts = set()
    for number in range(3):
        client = peer()
        client.send(connect(f"{unique}{number}", Scram("nobody", "x").first))
        salts.add(challenge(client).split(b",")[1])
    assert len(salts) == 1


def test_replayed_final_message_fails(peer: PeerFactory, unique: str) -> None:
    first, scram = peer(), Scram("ann", "secret")
    first.send(connect(unique, scram.first))
    final = scram.final(challenge(first))
    second = peer()
    second.send(connect(f"{unique}b", scram.first))
    challenge(second)
    second.send(auth(R.CONTINUE_AUTHENTICATION, final))
    second.expect_refused(R.NOT_AUTHORIZED)


@pytest.mark.parametrize(
    "data", [None, b"", b"nonsense", b"n,,n=ann", b"n,,r=x,n=ann", b"p=tls-unique,,n=ann,r=x", b"\xff\xfe"]
)
def test_first_message_that_is_none_is_refused(peer: PeerFactory, unique: str, data: bytes | None) -> None:
    client = peer()
    client.send(connect(unique, data))
    answer = client.recv()
    assert isinstance(answer, ConnAck)
    assert answer.reason >= 0x80


@pytest.mark.parametrize("data", [None, b"", b"c=biws", b"c=biws,r=x,p=AAAA", b"\xff"])
def test_final_message_that_is_none_is_refused(peer: PeerFactory, unique: str, data: bytes | None) -> None:
    client = peer()
    client.send(connect(unique, Scram("ann", "secret").first))
    challenge(client)
    client.send(auth(R.CONTINUE_AUTHENTICATION, data))
    answer = client.recv()
    assert isinstance(answer, ConnAck)
    assert answer.reason >= 0x80


def test_unknown_method_is_refused(peer: PeerFactory, unique: str) -> None:
    client = peer()
    client.send(connect(unique, b"data", "KERBEROS"))
    client.expect_refused(R.BAD_AUTHENTICATION_METHOD)


def test_other_packets_during_the_exchange_close_the_connection(peer: PeerFactory, unique: str) -> None:
    client = peer()
    client.send(connect(unique, Scram("ann", "secret").first))
    challenge(client)
    client.send(Publish(unique, b"m"))
    answer = client.recv_raw()
    assert answer is None or answer[0] in (0x20, 0xE0)


def test_exchange_that_never_ends_is_closed_in_time(peer: PeerFactory, unique: str, clock: Clock) -> None:
    client = peer()
    client.send(connect(unique, Scram("ann", "secret").first))
    challenge(client)
    clock.advance(seconds=11)
    answer = client.recv_raw()
    assert answer is None or answer[0] in (0x20, 0xE0)


def test_refused_exchange_takes_no_session_over(login: Login, peer: PeerFactory, unique: str) -> None:
    first = login()
    second, scram = peer(), Scram("ann", "wrong")
    second.send(connect(unique, scram.first))
    second.send(auth(R.CONTINUE_AUTHENTICATION, scram.final(challenge(second))))
    second.expect_refused(R.NOT_AUTHORIZED)
    first.ping()


def test_password_in_connect_works_beside_it(peer: PeerFactory, unique: str) -> None:
    assert peer().connect(unique, username="ann", password=b"secret").reason == 0


# --- re-authentication ---


def test_re_authentication_succeeds_on_the_same_connection(login: Login, unique: str) -> None:
    client = login()
    for number in range(2):
        scram = Scram("ann", "secret", f"again-{number}")
        client.send(auth(R.RE_AUTHENTICATE, scram.first))
        client.send(auth(R.CONTINUE_AUTHENTICATION, scram.final(challenge(client))))
        answer = client.expect(Auth)
        assert (answer.reason, answer.properties.value(P.AUTHENTICATION_METHOD)) == (R.SUCCESS, METHOD)
        scram.check(answer.properties.value(P.AUTHENTICATION_DATA))
    client.publish(unique, b"m", qos=1)


def test_messages_flow_during_re_authentication(login: Login, unique: str) -> None:
    client, scram = login(), Scram("ann", "secret", "again")
    client.subscribe(unique)
    client.send(auth(R.RE_AUTHENTICATE, scram.first))
    server_first = challenge(client)
    client.send_publish(unique, b"between")
    assert client.receive().payload == b"between"
    client.send(auth(R.CONTINUE_AUTHENTICATION, scram.final(server_first)))
    assert client.expect(Auth).reason == R.SUCCESS


def test_failed_re_authentication_closes_the_connection(login: Login) -> None:
    client, scram = login(), Scram("ann", "wrong", "again")
    client.send(auth(R.RE_AUTHENTICATE, scram.first))
    client.send(auth(R.CONTINUE_AUTHENTICATION, scram.final(challenge(client))))
    client.expect_disconnect(R.NOT_AUTHORIZED)


def test_re_authentication_as_another_user_is_refused(login: Login) -> None:
    client, scram = login(), Scram("b,o=b", "pässwörd", "again")
    client.send(auth(R.RE_AUTHENTICATE, scram.first))
    found = client.recv()
    if isinstance(found, Auth):
        data = found.properties.value(P.AUTHENTICATION_DATA)
        assert isinstance(data, bytes)
        client.send(auth(R.CONTINUE_AUTHENTICATION, scram.final(data)))
        found = client.recv()
    assert isinstance(found, Disconnect)
    assert found.reason == R.NOT_AUTHORIZED


def test_re_authentication_with_another_method_closes_the_connection(login: Login) -> None:
    client = login()
    client.send(auth(R.RE_AUTHENTICATE, b"x", "KERBEROS"))
    found = client.expect(Disconnect)
    assert found.reason in (R.PROTOCOL_ERROR, R.BAD_AUTHENTICATION_METHOD)


def test_re_authentication_without_enhanced_authentication_closes_the_connection(
    peer: PeerFactory, unique: str
) -> None:
    client = peer()
    client.connect(unique, username="ann", password=b"secret")
    client.send(auth(R.RE_AUTHENTICATE, Scram("ann", "secret").first))
    client.expect_disconnect(R.PROTOCOL_ERROR)


def test_continue_without_an_exchange_closes_the_connection(login: Login) -> None:
    client = login()
    client.send(auth(R.CONTINUE_AUTHENTICATION, b"x"))
    client.expect_disconnect(R.PROTOCOL_ERROR)
