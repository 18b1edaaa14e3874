"""`nanomq_cli bench` as scripts see it: counts, lines, exit codes. Small loads; speed is measured by `make bench`."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import Any

import pytest

from nanomq.testing import RunningBroker

WAIT_S = 30
SCHEMES = {
    "tcp": ("mqtt-tcp", "mqtt", "tcp"),
    "tls": ("tls+mqtt-tcp", "mqtts", "tls"),
    "ws": ("ws",),
    "wss": ("wss",),
    "unix": ("unix", "mqtt+unix"),
}
COMMAND = [sys.executable, "-c", "from nanomq.cli.tools import main; main()", "bench"]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """Runs the tool to its end."""
    return subprocess.run([*COMMAND, *words], capture_output=True, text=True, timeout=WAIT_S)


def report(broker: RunningBroker, mode: str, *words: str) -> dict[str, Any]:
    """Runs a load with `--json` that is to end well."""
    done = run(mode, "-h", "127.0.0.1", "-p", str(broker.port), "-i", "0", "--json", *words)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


# --- counts ---


@pytest.mark.parametrize("qos", ["0", "1", "2"])
@pytest.mark.parametrize("version", ["3", "4", "5"])
def test_a_pair_counts_every_message(broker: RunningBroker, unique: str, qos: str, version: str) -> None:
    found = report(broker, "pair", "-t", unique, "-L", "200", "-q", qos, "-V", version)
    assert (found["sent"], found["received"], found["repeated"], found["lost"]) == (200, 200, 0, 0)
    assert found["acked"] == (0 if qos == "0" else 200)


def test_a_fan_brings_every_message_to_every_subscriber(broker: RunningBroker, unique: str) -> None:
    options = ("-t", f"{unique}/%i", "-L", "200", "-q", "1", "--publishers", "3", "--subscribers", "5")
    found = report(broker, "fan", *options)
    assert (found["connected"], found["sent"], found["received"], found["lost"]) == (8, 200, 1000, 0)


def test_a_subscriber_that_reads_nothing_is_not_counted(broker: RunningBroker, unique: str) -> None:
    found = report(broker, "fan", "-t", unique, "-L", "200", "--subscribers", "2", "--stalled", "1")
    assert (found["subscribed"], found["received"], found["lost"]) == (3, 400, 0)


def test_limited_messages_on_their_way_all_arrive(broker: RunningBroker, unique: str) -> None:
    found = report(broker, "pair", "-t", f"{unique}/%i", "-c", "2", "-L", "500", "--outstanding", "3")
    assert (found["sent"], found["received"], found["lost"]) == (500, 500, 0)


def test_the_limit_holds_for_all_publishers_together(broker: RunningBroker, unique: str) -> None:
    found = report(broker, "pub", "-t", unique, "-c", "7", "-L", "200", "-q", "2", "-I", "0")
    assert (found["connected"], found["sent"], found["acked"], found["lost"]) == (7, 200, 200, 0)
    assert 0 < found["latency_p50_us"] <= found["latency_max_us"]


def test_payloads_longer_than_a_batch_arrive(broker: RunningBroker, unique: str) -> None:
    found = report(broker, "pair", "-t", unique, "-L", "5", "-s", "300000", "-q", "1")
    assert (found["received"], found["lost"]) == (5, 0)


def test_a_rate_is_kept(broker: RunningBroker, unique: str) -> None:
    found = report(broker, "pair", "-t", f"{unique}/%i", "-c", "4", "-L", "100", "--rate", "200")
    # Only the least time is sure: a busy machine may take longer.
    assert found["measured_s"] >= 0.45
    assert found["received"] == 100


# --- topics, ids ---


def test_topic_templates_are_filled_in(broker: RunningBroker, unique: str) -> None:
    options = ("-t", f"{unique}/%i/%u/%c/end", "-u", "ann", "--prefix", f"{unique}-", "-n", "5")
    report(broker, "pub", *options, "-c", "1", "-L", "1", "-I", "0", "-q", "1", "-r", "true")
    found = report(broker, "sub", "-t", f"{unique}/5/ann/{unique}-5/end", "-c", "1", "-q", "1", "-L", "1")
    assert found["received"] == 1


def test_each_client_may_have_many_filters(broker: RunningBroker, unique: str) -> None:
    options = ("-t", f"{unique}/%i", "-c", "2", "--filters", "600", "--duration", "1")
    assert report(broker, "sub", *options)["subscribed"] == 1200


# --- transports ---


@pytest.mark.parametrize("kind", ["tcp", "tls", "ws", "wss", "unix"])
def test_every_transport_carries_a_load(
    broker: RunningBroker, certificates: dict[str, str], endpoints: dict[str, Any], unique: str, kind: str
) -> None:
    url = next(url for url in broker.urls.values() if url.partition("://")[0] in SCHEMES[kind])
    found = report(
        broker, "pair", "--url", url, "--cafile", certificates["cafile"], "-t", unique, "-L", "200", "-q", "1"
    )
    assert (found["received"], found["lost"]) == (200, 0)


def test_connections_come_from_the_given_address(broker: RunningBroker, unique: str) -> None:
    assert report(broker, "pair", "-t", unique, "-L", "1", "--ifaddr", "127.0.0.1")["received"] == 1


# --- lines and exit codes ---


def test_lines_are_those_of_nanomq(broker: RunningBroker, unique: str) -> None:
    done = run(
        "pub", "-h", "127.0.0.1", "-p", str(broker.port), "-t", unique, "-c", "2", "-i", "0", "-I", "0", "-L", "9"
    )
    lines = done.stdout.splitlines()
    assert lines[:2] == ["connected: 1.", "connected: 2."]
    assert any(line.startswith("sent: total=9, rate=") and line.endswith("(msg/sec)") for line in lines)


def test_a_signal_ends_it_with_the_summary(broker: RunningBroker) -> None:
    command = [*COMMAND, "conn", "-h", "127.0.0.1", "-p", str(broker.port), "-c", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "connected: 1.\n"
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=WAIT_S)
        assert process.returncode == 0
    assert "summary: connected=1, failed=0" in rest


def test_help_ends_with_0_and_shows_the_letters() -> None:
    done = run("pub", "--help")
    assert done.returncode == 0
    assert all(option in done.stdout for option in ("-c, --count", "-I, --interval_of_msg", "-L, --limit", "-S, --ssl"))


@pytest.mark.parametrize(
    "words",
    [(), ("fly",), ("pub",), ("sub", "-t", "a", "-C", "maybe"), ("conn", "--wings"), ("pub", "-t", "a/#")],
    ids=["no mode", "unknown mode", "no topic", "neither true nor false", "unknown option", "wildcard"],
)
def test_faults_of_usage_end_with_1(words: tuple[str, ...]) -> None:
    done = run(*words)
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_server_that_is_not_there_is_a_failure() -> None:
    done = run("conn", "--url", "mqtt-tcp://127.0.0.1:1", "-c", "1", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["failed"] == 1
