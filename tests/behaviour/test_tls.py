"""TLS: client certificates, several server names, revocation, versions, certificates changed while connections live."""

from __future__ import annotations

import datetime
import socket
import ssl
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from peer import Endpoint, Peer, tls_context

from nanomq.errors import NanomqError
from nanomq.testing import RunningBroker, running


@dataclass(frozen=True)
class Files:
    """PEM files of one test."""

    place: Path
    authority: trustme.CA
    clients: trustme.CA

    @classmethod
    def make(cls, place: Path) -> Files:
        """A server `localhost`, and an authority of its own for clients."""
        files = cls(place, trustme.CA(), trustme.CA())
        files.server("server", "localhost", "127.0.0.1")
        files.authority.cert_pem.write_to_path(place / "ca.pem")
        files.clients.cert_pem.write_to_path(place / "client-ca.pem")
        return files

    def path(self, name: str) -> str:
        """The path of a file."""
        return str(self.place / f"{name}.pem")

    def server(self, name: str, *hosts: str, authority: trustme.CA | None = None) -> None:
        """Writes a server's certificate and key."""
        self._write(name, (authority or self.authority).issue_cert(*hosts))

    def client(self, name: str, authority: trustme.CA | None = None) -> trustme.LeafCert:
        """Writes a client's certificate and key."""
        issued = (authority or self.clients).issue_cert(f"{name}@example.org", common_name=name)
        self._write(name, issued)
        return issued

    def _write(self, name: str, issued: trustme.LeafCert) -> None:
        issued.private_key_pem.write_to_path(self.path(f"{name}-key"))
        Path(self.path(name)).write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))

    def revoke(self, *revoked: trustme.LeafCert) -> None:
        """Writes a revocation list of the clients' authority."""
        now = datetime.datetime.now(datetime.UTC)
        key = serialization.load_pem_private_key(self.clients.private_key_pem.bytes(), None)
        issuer = x509.load_pem_x509_certificate(self.clients.cert_pem.bytes()).subject
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(issuer)
            .last_update(now)
            .next_update(now + datetime.timedelta(days=1))
        )
        builder = builder.add_extension(x509.CRLNumber(1), critical=False)
        for leaf in revoked:
            serial = x509.load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes()).serial_number
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build()
            )
        signed = builder.sign(key, hashes.SHA256())  # type: ignore[arg-type]
        Path(self.path("crl")).write_bytes(signed.public_bytes(serialization.Encoding.PEM))


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Fresh certificates."""
    return Files.make(tmp_path)


@pytest.fixture(params=["ssl", "wss"])
def secure(request: pytest.FixtureRequest) -> str:
    """Both listeners that speak TLS."""
    return str(request.param)


def config(files: Files, kind: str, **keys: Any) -> dict[str, Any]:
    """One TLS listener."""
    return {
        "listeners": {
            kind: {"bind": "127.0.0.1:0", "certfile": files.path("server"), "keyfile": files.path("server-key"), **keys}
        }
    }


def endpoint(broker: RunningBroker, files: Files, client: str = "", server_name: str = "localhost") -> Endpoint:
    """Where the broker listens, as a client with this certificate sees it."""
    found = Endpoint.of(next(iter(broker.urls.values())), files.path("ca"))
    found = replace(found, server_name=server_name)
    return replace(found, certfile=files.path(client), keyfile=files.path(f"{client}-key")) if client else found


def is_served(where: Endpoint, context: ssl.SSLContext | None = None) -> bool:
    """Whether a client can connect."""
    try:
        client = Peer(where, context=context)
        client.connect("c")
        client.close()
    except (OSError, AssertionError):
        return False
    return True


# --- server certificates ---


def test_client_that_trusts_the_authority_is_served(files: Files, secure: str) -> None:
    with running(config(files, secure)) as broker:
        assert is_served(endpoint(broker, files))


def test_chain_with_an_intermediate_authority_is_sent(files: Files, secure: str) -> None:
    files.server("server", "localhost", authority=files.authority.create_child_ca())
    with running(config(files, secure)) as broker:
        assert is_served(endpoint(broker, files))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_versions_are_offered(files: Files, secure: str, version: ssl.TLSVersion) -> None:
    with running(config(files, secure)) as broker:
        where = endpoint(broker, files)
        context = tls_context(where)
        context.minimum_version = context.maximum_version = version
        assert is_served(where, context)


def test_versions_can_be_limited(files: Files, secure: str) -> None:
    with running(config(files, secure, versions=["1.3"])) as broker:
        where = endpoint(broker, files)
        context = tls_context(where)
        assert is_served(where, context)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        assert not is_served(where, context)


def test_server_name_chooses_the_certificate(files: Files, secure: str) -> None:
    files.server("other", "other.example.org")
    files.server("wild", "*.example.net")
    sni = [{"certfile": files.path(name), "keyfile": files.path(f"{name}-key")} for name in ("other", "wild")]
    with running(config(files, secure, sni=sni)) as broker:
        for name in ("localhost", "other.example.org", "a.example.net"):
            assert is_served(endpoint(broker, files, server_name=name)), name
        assert not is_served(endpoint(broker, files, server_name="unknown.example.org"))


def test_key_with_a_password(files: Files, secure: str) -> None:
    path = Path(files.path("server-key"))
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"open sesame"),
        )
    )
    with running(config(files, secure, key_password="open sesame")) as broker:
        assert is_served(endpoint(broker, files))
    with pytest.raises(NanomqError), running(config(files, secure, key_password="wrong")):
        pass


@pytest.mark.parametrize(
    "content", [b"", b"nonsense", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_broken_certificate_is_an_error_that_names_the_file(files: Files, secure: str, content: bytes) -> None:
    Path(files.path("server")).write_bytes(content)
    with pytest.raises(NanomqError, match=r"server\.pem"), running(config(files, secure)):
        pass


def test_key_of_another_certificate_is_an_error(files: Files, secure: str) -> None:
    files.server("other", "localhost")
    with pytest.raises(NanomqError), running(config(files, secure, keyfile=files.path("other-key"))):
        pass


# --- client certificates ---


def test_required_certificate(files: Files, secure: str) -> None:
    files.client("ann")
    files.client("stranger", trustme.CA())
    required = config(files, secure, cacertfile=files.path("client-ca"), verify_peer=True, fail_if_no_peer_cert=True)
    with running(required) as broker:
        assert is_served(endpoint(broker, files, "ann"))
        assert not is_served(endpoint(broker, files, "stranger"))
        assert not is_served(endpoint(broker, files))


def test_optional_certificate(files: Files, secure: str) -> None:
    files.client("ann")
    files.client("stranger", trustme.CA())
    with running(config(files, secure, cacertfile=files.path("client-ca"), verify_peer=True)) as broker:
        assert is_served(endpoint(broker, files, "ann"))
        assert not is_served(endpoint(broker, files, "stranger"))
        assert is_served(endpoint(broker, files))


def test_certificate_is_not_asked_for_by_default(files: Files, secure: str) -> None:
    files.client("stranger", trustme.CA())
    with running(config(files, secure)) as broker:
        assert is_served(endpoint(broker, files, "stranger"))


def test_revoked_certificate_is_refused(files: Files, secure: str) -> None:
    files.client("ann")
    files.revoke(files.client("bob"))
    required = config(
        files,
        secure,
        cacertfile=files.path("client-ca"),
        crlfile=files.path("crl"),
        verify_peer=True,
        fail_if_no_peer_cert=True,
    )
    with running(required) as broker:
        assert is_served(endpoint(broker, files, "ann"))
        assert not is_served(endpoint(broker, files, "bob"))


# --- reload ---


def test_certificates_change_without_dropping_connections(files: Files, secure: str) -> None:
    settings = config(files, secure)
    with running(settings) as broker:
        where = endpoint(broker, files)
        old = Peer(where)
        old.connect("old")
        old.subscribe("t", qos=1)
        authority = trustme.CA()
        files.server("server", "localhost", authority=authority)
        authority.cert_pem.write_to_path(files.path("new-ca"))
        broker.reload(settings)
        assert not is_served(where)
        new = Peer(replace(where, cafile=files.path("new-ca")))
        new.connect("new")
        new.publish("t", b"across", qos=1)
        assert old.receive().payload == b"across"
        old.close()
        new.close()


def test_broken_certificate_at_reload_changes_nothing(files: Files, secure: str) -> None:
    settings = config(files, secure)
    with running(settings) as broker:
        where = endpoint(broker, files)
        Path(files.path("server")).write_bytes(b"nonsense")
        try:
            answer = broker.reload(settings)
        except NanomqError:
            pass
        else:
            assert answer.rejected
        assert is_served(where)


def test_revocation_list_changes_by_reload(files: Files, secure: str) -> None:
    bob = files.client("bob")
    files.revoke()
    settings = config(
        files,
        secure,
        cacertfile=files.path("client-ca"),
        crlfile=files.path("crl"),
        verify_peer=True,
        fail_if_no_peer_cert=True,
    )
    with running(settings) as broker:
        where = endpoint(broker, files, "bob")
        assert is_served(where)
        files.revoke(bob)
        broker.reload(settings)
        assert not is_served(where)


# --- the stream ---


def test_session_ticket_resumes(files: Files) -> None:
    with running(config(files, "ssl")) as broker:
        where = endpoint(broker, files)
        context = tls_context(where)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        first = Peer(where, context=context)
        first.connect("c")
        assert isinstance(first.socket, ssl.SSLSocket)
        ticket = first.socket.session
        first.close()
        host, _, port = where.address.rpartition(":")
        with (
            socket.create_connection((host, int(port))) as plain,
            context.wrap_socket(plain, server_hostname="localhost", session=ticket) as again,
        ):
            assert again.session_reused


def test_large_messages_pass_through_records(files: Files, secure: str) -> None:
    with running(config(files, secure)) as broker:
        where = endpoint(broker, files)
        publisher, subscriber = Peer(where), Peer(where)
        publisher.connect("p")
        subscriber.connect("s")
        subscriber.subscribe("t")
        payload = bytes(range(256)) * 8000
        publisher.send_publish("t", payload)
        assert subscriber.receive().payload == payload
        publisher.close()
        subscriber.close()


def test_plain_bytes_on_a_tls_port_are_turned_away(files: Files, secure: str) -> None:
    with running(config(files, secure)) as broker:
        where = endpoint(broker, files)
        host, _, port = where.address.rpartition(":")
        with socket.create_connection((host, int(port)), 20) as plain:
            plain.sendall(b"\x10\x0d\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x00" + bytes(50))
            answer = b""
            try:
                while more := plain.recv(100):
                    answer += more
            except ConnectionResetError:
                pass
            assert not answer.startswith(b"\x20")
        assert is_served(where)


def test_close_is_announced_in_tls(files: Files) -> None:
    with running(config(files, "ssl")) as broker:
        client = Peer(endpoint(broker, files))
        client.connect("c")
        assert isinstance(client.socket, ssl.SSLSocket)
        client.socket.suppress_ragged_eofs = False  # type: ignore[attr-defined]
        client.disconnect()
