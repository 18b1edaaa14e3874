"""Usernames and passwords: the results in 3.x and 5."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from mqtt import V5, V31, V311, Connect, Publish, R
from peer import Peer, PeerFactory

from nanomq.testing import RunningBroker

USERS = {"auth": {"allow_anonymous": False, "password": {"ann": "secret", "böb": "pässwörd 漢", "empty": ""}}}
protected = pytest.mark.broker(config=USERS)
Connected = Callable[..., Peer]


@protected
@pytest.mark.parametrize("version", [V31, V311, V5])
@pytest.mark.parametrize(("username", "password"), [("ann", "secret"), ("böb", "pässwörd 漢")])
def test_right_password_is_accepted(peer: PeerFactory, unique: str, version: int, username: str, password: str) -> None:
    client = peer(version)
    assert client.connect(unique, username=username, password=password.encode()).reason == 0
    client.ping()


@protected
@pytest.mark.parametrize(
    ("username", "password"),
    [("ann", b"Secret"), ("ann", b"secret "), ("ANN", b"secret"), ("nobody", b"secret"), ("ann", b"\xff")],
)
@pytest.mark.parametrize(("version", "code"), [(V31, 5), (V311, 5), (V5, R.BAD_USER_NAME_OR_PASSWORD)])
def test_wrong_password_is_refused(
    peer: PeerFactory, unique: str, version: int, code: int, username: str, password: bytes
) -> None:
    client = peer(version)
    answer = client.connect(unique, username=username, password=password)
    assert answer.reason == code
    assert not answer.session_present
    client.expect_closed()


@protected
@pytest.mark.parametrize(("username", "password"), [(None, None), ("ann", None), ("ann", b""), ("", b"secret")])
@pytest.mark.parametrize(("version", "code"), [(V31, 4), (V311, 4), (V5, R.BAD_USER_NAME_OR_PASSWORD)])
def test_client_without_username_or_password_is_refused(
    peer: PeerFactory, unique: str, version: int, code: int, username: str | None, password: bytes | None
) -> None:
    """The codes of NanoMQ: 4 for missing credentials, 5 for wrong ones."""
    client = peer(version)
    assert client.connect(unique, username=username, password=password).reason == code
    client.expect_closed()


@pytest.mark.parametrize("version", [V31, V311, V5])
def test_anonymous_client_is_accepted_by_default(peer: PeerFactory, unique: str, version: int) -> None:
    assert peer(version).connect(unique).reason == 0


@pytest.mark.broker(config={"auth": {"allow_anonymous": True, "password": {"ann": "secret"}}})
def test_wrong_password_is_refused_though_anonymous_clients_are_not(peer: PeerFactory, unique: str) -> None:
    assert peer().connect(unique).reason == 0
    assert peer().connect(unique, username="ann", password=b"secret").reason == 0
    assert peer().connect(unique, username="ann", password=b"wrong").reason == R.BAD_USER_NAME_OR_PASSWORD


@protected
def test_password_without_username_is_refused_in_5(peer: PeerFactory, unique: str) -> None:
    assert peer().connect(unique, password=b"secret").reason in (R.BAD_USER_NAME_OR_PASSWORD, R.NOT_AUTHORIZED)


@protected
def test_nothing_of_a_refused_client_is_processed(peer: PeerFactory, unique: str) -> None:
    observer, client = peer(), peer()
    observer.connect(unique, username="ann", password=b"secret")
    observer.subscribe(unique)
    client.send(Connect("x", username="ann", password=b"wrong"), Publish(unique, b"m"))
    client.expect_refused(R.BAD_USER_NAME_OR_PASSWORD)
    observer.expect_nothing()


@protected
def test_refused_client_takes_no_session_over(peer: PeerFactory, unique: str) -> None:
    first = peer()
    first.connect(unique, username="ann", password=b"secret")
    assert peer().connect(unique, username="ann", password=b"wrong").reason == R.BAD_USER_NAME_OR_PASSWORD
    first.ping()


@protected
def test_username_is_listed_and_the_password_is_not(peer: PeerFactory, broker: RunningBroker, unique: str) -> None:
    peer().connect(unique, username="ann", password=b"secret")
    listed = str(broker.clients())
    assert "ann" in listed
    assert "secret" not in listed
