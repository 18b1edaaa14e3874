"""What every test may ask for: brokers on all five transports, raw peers, unique names, conformance marks.

Tests that need no configuration share one broker per worker process; tests of one worker run one after another, so
the shared clock may be turned by any of them. `@pytest.mark.broker(config={...})` gives a test its own broker.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme
from mqtt import V5
from peer import Endpoint, Peer, PeerFactory

from nanomq.testing import RunningBroker, running

TRANSPORTS = ("tcp", "tls", "ws", "wss", "unix")
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Paths of PEM files made for this run: `cafile`, `certfile`, `keyfile` of the server, for localhost and 127.0.0.1."""
    place = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    server = authority.issue_cert("localhost", "127.0.0.1")
    paths = {name: place / f"{name}.pem" for name in ("cafile", "certfile", "keyfile")}
    authority.cert_pem.write_to_path(paths["cafile"])
    server.private_key_pem.write_to_path(paths["keyfile"])
    for pem in server.cert_chain_pems:
        pem.write_to_path(paths["certfile"], append=True)
    return {name: str(path) for name, path in paths.items()}


@pytest.fixture(scope="session")
def configuration(
    certificates: dict[str, str], tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Callable[..., dict[str, Any]]:
    """Makes a configuration with listeners of all five kinds on free ports; blocks given are merged into it."""
    tls = {name: certificates[name] for name in ("certfile", "keyfile")}
    place = tmp_path_factory.mktemp("sockets")

    def make(blocks: dict[str, Any] | None = None) -> dict[str, Any]:
        listeners: dict[str, Any] = {
            "tcp": {"bind": "127.0.0.1:0"},
            "ssl": {"bind": "127.0.0.1:0", **tls},
            "ws": {"bind": "127.0.0.1:0/mqtt"},
            "wss": {"bind": "127.0.0.1:0/mqtt", **tls},
            "unix": {"bind": str(place / f"{next(_numbers)}.sock")},
        }
        base = {"listeners": listeners, "system": {"num_taskq_thread": int(request.config.getoption("--shards"))}}
        return _merged(base, blocks or {})

    return make


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    out = dict(base)
    for key, value in over.items():
        out[key] = _merged(out[key], value) if isinstance(value, dict) and isinstance(out.get(key), dict) else value
    return out


@pytest.fixture(scope="session")
def shared_broker(configuration: Callable[..., dict[str, Any]]) -> Iterator[RunningBroker]:
    """The broker of this worker process."""
    with running(configuration()) as broker:
        yield broker


@pytest.fixture
def broker(request: pytest.FixtureRequest, configuration: Callable[..., dict[str, Any]]) -> Iterator[RunningBroker]:
    """The shared broker, or the test's own one if it is marked with a configuration."""
    marker = request.node.get_closest_marker("broker")
    if marker is None:
        yield request.getfixturevalue("shared_broker")
        return
    with running(configuration(marker.kwargs.get("config"))) as own:
        yield own


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    """Every test that asks for it, or for `peer`, runs once on each transport."""
    return str(request.param)


@pytest.fixture
def endpoints(broker: RunningBroker, certificates: dict[str, str]) -> dict[str, Endpoint]:
    """Transport → where the test's broker listens."""
    found = (Endpoint.of(url, certificates["cafile"]) for url in broker.urls.values())
    return {endpoint.kind: endpoint for endpoint in found}


@pytest.fixture
def endpoint(endpoints: dict[str, Endpoint], transport: str) -> Endpoint:
    """Where the test's broker listens on this transport."""
    return endpoints[transport]


@pytest.fixture
def settle(broker: RunningBroker, request: pytest.FixtureRequest) -> Callable[[], None]:
    """`settle()` returns when what the broker has answered is also done: its shards have taken in what others had for
    them. With one shard it is done when it is answered."""
    if request.config.getoption("--shards") == "1":
        return lambda: None
    return lambda: broker.clock.advance()


@pytest.fixture
def peer(endpoint: Endpoint, settle: Callable[[], None]) -> Iterator[PeerFactory]:
    """`peer(version=5)` makes a raw peer on this transport."""
    factory = PeerFactory(endpoint, settle)
    yield factory
    factory.close()


@pytest.fixture
def tcp_peer(endpoints: dict[str, Endpoint], settle: Callable[[], None]) -> Iterator[PeerFactory]:
    """`tcp_peer(version=5)` makes a raw peer on TCP, for tests that are about no transport."""
    factory = PeerFactory(endpoints["tcp"], settle)
    yield factory
    factory.close()


@pytest.fixture
def unique() -> str:
    """Letters and digits that no other test uses: the start of client ids and topics."""
    return f"{os.environ.get('PYTEST_XDIST_WORKER', 'm')}x{next(_numbers)}"


@pytest.fixture
def connected(peer: PeerFactory, unique: str) -> Callable[..., Peer]:
    """`connected(name="a", version=5, clean=True, ...)` makes a peer that is connected as `<unique><name>`."""

    def make(name: str = "a", version: int = V5, **options: Any) -> Peer:
        made = peer(version)
        answer = made.connect(unique + name, **options)
        assert answer.reason == 0, answer
        return made

    return make


@pytest.fixture
def with_client_certificate(certificates: dict[str, str]) -> Callable[[Endpoint, str, str], Endpoint]:
    """Gives an endpoint a client certificate: `(endpoint, certfile, keyfile)`."""
    return lambda endpoint, certfile, keyfile: replace(endpoint, certfile=certfile, keyfile=keyfile)


# --- statements of the standards ---


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of this project's tests."""
    parser.addoption("--conformance-report", metavar="FILE", help="write which test of which statement passed, as JSON")
    parser.addoption(
        "--shards", default="1", help="engine threads of the test brokers; with 1, order across clients is fixed"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declares the marker and, in the process that sees all results, the report."""
    config.addinivalue_line("markers", "statement(*numbers, version=5): normative statements that the test checks")
    target = config.getoption("--conformance-report")
    if target and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Report(Path(target)))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Statement numbers travel with the result, also from worker processes."""
    for item in items:
        for marker in item.iter_markers("statement"):
            version = {3: 4, 311: 4}.get(marker.kwargs.get("version", V5), marker.kwargs.get("version", V5))
            item.user_properties.extend(("statement", f"{version} {number}") for number in marker.args)


class _Report:
    """Collects results by statement and writes them at the end."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.results: dict[str, dict[str, bool]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" and report.passed:
            return
        for name, value in report.user_properties:
            if name == "statement":
                tests = self.results.setdefault(str(value), {})
                test = report.nodeid.partition("[")[0]
                tests[test] = tests.get(test, True) and report.passed

    def pytest_sessionfinish(self) -> None:
        self.target.write_text(json.dumps(self.results, indent=1, sort_keys=True) + "\n")
