"""`nanomq_cli pub | sub | conn` as scripts see them: options, output lines, exit codes."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from nanomq.testing import RunningBroker

WAIT_S = 20
COMMAND = [sys.executable, "-c", "from nanomq.cli.tools import main; main()"]


class Tools:
    """Runs `nanomq_cli` and ends what is left at the end of the test."""

    def __init__(self) -> None:
        self.started: list[subprocess.Popen[str]] = []

    def run(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run([*COMMAND, *words], input=stdin, capture_output=True, text=True, timeout=WAIT_S)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Starts a tool and returns when it is connected."""
        process = subprocess.Popen([*COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.started.append(process)
        assert "connect result: 0" in self.line(process)
        return process

    def line(self, process: subprocess.Popen[str]) -> str:
        stdout: IO[str] | None = process.stdout
        assert stdout is not None
        return stdout.readline().rstrip("\n")

    def stop(self, process: subprocess.Popen[str], number: int = signal.SIGINT) -> int:
        process.send_signal(number)
        return process.wait(WAIT_S)


@pytest.fixture
def tools() -> Iterator[Tools]:
    made = Tools()
    yield made
    for process in made.started:
        process.kill()
        process.communicate()


@pytest.fixture
def subscribed(tools: Tools, broker: RunningBroker, unique: str) -> Callable[..., subprocess.Popen[str]]:
    """Starts `sub` and returns when its subscription holds."""

    def start(topic: str, *words: str) -> subprocess.Popen[str]:
        broker.publish(f"{unique}/ready", b"yes", retain=True)
        process = tools.start("sub", "--url", broker.url, "-t", topic, "-t", f"{unique}/ready", *words)
        while "ready: yes" not in tools.line(process):
            pass
        if "-v" in words:
            tools.line(process)
        return process

    return start


def test_without_a_tool_the_tools_are_listed(tools: Tools) -> None:
    for words in ([], ["--help"]):
        done = tools.run(*words)
        assert done.returncode == 0
        for name in ("pub", "sub", "conn"):
            assert f"\n  {name} " in done.stdout


def test_an_unknown_tool_exits_2(tools: Tools) -> None:
    done = tools.run("nonsense")
    assert done.returncode == 2
    assert done.stderr == "there is no tool `nonsense`\n"
    assert "pub" in done.stdout


def test_a_tool_that_is_not_built_in_says_so(tools: Tools) -> None:
    done = tools.run("nngproxy")
    assert (done.returncode, done.stderr) == (2, "the tool `nngproxy` is not built in\n")


@pytest.mark.parametrize(
    "words",
    [
        ["pub", "-m", "x"],
        ["pub", "-t", "a"],
        ["pub", "-t", "a", "-m", "x", "-l"],
        ["pub", "-t", "a", "-m", "x", "-q", "3"],
        ["pub", "-t", "a", "-m", "x", "-p", "secret"],
        ["pub", "-t", "a", "-m", "x", "--w", "y"],
        ["pub", "-t", "a", "-m", "x", "--user_property", "no pair"],
        ["sub"],
        ["sub", "-t"],
        ["conn", "--bogus"],
        ["conn", "--url", "mqtt://127.0.0.1:1", "-p", "2"],
        ["conn", "--url", "http://127.0.0.1"],
        ["conn", "--quic"],
    ],
)
def test_a_fault_of_usage_is_one_line_and_exit_2(tools: Tools, words: list[str]) -> None:
    done = tools.run(*words)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


def test_help_of_a_tool_exits_0_and_h_is_the_host(tools: Tools) -> None:
    done = tools.run("pub", "--help")
    assert done.returncode == 0
    assert "-h, --host" in done.stdout


def test_pub_prints_its_connection_and_exits_0(tools: Tools, broker: RunningBroker, unique: str) -> None:
    done = tools.run("pub", "-h", "127.0.0.1", "-p", str(broker.port), "-t", unique, "-m", "x", "-q2")
    assert done.stdout == f"connect_cb: mqtt-tcp://127.0.0.1:{broker.port} connect result: 0 \n"
    assert (done.returncode, done.stderr) == (0, "")


def test_pub_without_a_server_exits_1(tools: Tools) -> None:
    done = tools.run("pub", "-p", "1", "-t", "a", "-m", "x")
    assert done.returncode == 1
    assert "refused" in done.stderr


@pytest.mark.broker(config={"auth": {"allow_anonymous": False, "password": {"ann": "secret"}}})
@pytest.mark.parametrize(("version", "code"), [("4", "4"), ("5", "134")])
def test_a_refused_connection_tells_the_code_of_its_version(
    tools: Tools, broker: RunningBroker, version: str, code: str
) -> None:
    words = ["pub", "-p", str(broker.port), "-t", "a", "-m", "x", "-V", version]
    done = tools.run(*words)
    assert done.returncode == 1
    assert f"connect result: {code} " in done.stdout
    assert tools.run(*words, "-u", "ann", "-P", "secret").returncode == 0


@pytest.mark.parametrize("version", ["3", "4", "5"])
def test_sub_prints_what_pub_sends(
    tools: Tools, broker: RunningBroker, unique: str, version: str, subscribed: Callable[..., subprocess.Popen[str]]
) -> None:
    process = subscribed(f"{unique}/a/#", "-V", version)
    tools.run("pub", "--url", broker.url, "-t", f"{unique}/a", "-m", "hello", "-V", version, "-q1")
    assert tools.line(process) == f"{unique}/a: hello"
    assert tools.stop(process) == 0


def test_verbose_adds_the_payload_in_hexadecimal(
    tools: Tools, broker: RunningBroker, unique: str, subscribed: Callable[..., subprocess.Popen[str]]
) -> None:
    process = subscribed(f"{unique}/a", "-v")
    tools.run("pub", "--url", broker.url, "-t", f"{unique}/a", "-m", "hi")
    assert [tools.line(process), tools.line(process)] == [f"{unique}/a: hi", "HEX : 6869"]
    assert tools.stop(process, signal.SIGTERM) == 0


def test_every_line_of_the_input_is_a_message(
    tools: Tools, broker: RunningBroker, unique: str, subscribed: Callable[..., subprocess.Popen[str]]
) -> None:
    process = subscribed(f"{unique}/a")
    done = tools.run("pub", "--url", broker.url, "-t", f"{unique}/a", "-q", "1", "-l", stdin="1\n\n2")
    assert done.returncode == 0
    assert [tools.line(process) for _ in range(3)] == [f"{unique}/a: {text}" for text in ("1", "", "2")]


def test_a_file_or_the_whole_input_is_one_message(
    tools: Tools, broker: RunningBroker, unique: str, tmp_path: Path, subscribed: Callable[..., subprocess.Popen[str]]
) -> None:
    process = subscribed(f"{unique}/a")
    (tmp_path / "payload").write_text("from file", encoding="utf-8")
    to = ["pub", "--url", broker.url, "-t", f"{unique}/a", "-q", "1"]
    tools.run(*to, "-f", str(tmp_path / "payload"))
    tools.run(*to, "--file=-", stdin="from input")
    assert [tools.line(process), tools.line(process)] == [f"{unique}/a: from file", f"{unique}/a: from input"]
    assert tools.run(*to, "-f", str(tmp_path / "none")).returncode == 1


def test_limit_and_count_multiply(
    tools: Tools, broker: RunningBroker, unique: str, subscribed: Callable[..., subprocess.Popen[str]]
) -> None:
    process = subscribed(f"{unique}/a")
    words = ["-L", "3", "-C", "2", "-n", "2", "--inter", "1", "-q", "1", "-m", "x"]
    done = tools.run("pub", "--url", broker.url, "-t", f"{unique}/a", *words)
    assert done.returncode == 0
    assert done.stdout.count("connect result: 0") == 2
    tools.run("pub", "--url", broker.url, "-t", f"{unique}/a", "-m", "last")
    assert [tools.line(process) for _ in range(7)] == [f"{unique}/a: x"] * 6 + [f"{unique}/a: last"]


def test_the_will_is_retained_if_asked(tools: Tools, broker: RunningBroker, unique: str) -> None:
    words = ["-i", unique, "--will-topic", f"{unique}/w", "--will-msg", "gone", "--will-retain"]
    process = tools.start("conn", "--url", broker.url, *words)
    process.kill()
    process.wait(WAIT_S)
    watcher = tools.start("sub", "--url", broker.url, "-t", f"{unique}/w")
    assert tools.line(watcher) == f"{unique}/w: gone"


def test_mqtt_5_options_reach_the_message(
    tools: Tools, broker: RunningBroker, unique: str, client: Callable[..., object]
) -> None:
    import asyncio

    from nanomq.client import Client

    async def scenario() -> None:
        async with Client(broker.url, client_id=unique) as c:
            await c.subscribe(unique)
            words = ["--content_type", "text", "--user_property", "a=1", "--user_prop", "b=2=3", "--message_exp=60"]
            words += ["--response_topic", "answers", "--correlation_data", "x", "--payload_format_indicator", "1"]
            words += ["--topic_alias", "3", "-V", "5", "-m", "hi", "-t", unique]
            done = await asyncio.to_thread(tools.run, "pub", "--url", broker.url, *words)
            assert (done.returncode, done.stderr) == (0, "")
            message = await c.next_message(timeout=WAIT_S)
            assert (message.text, message.content_type, message.response_topic) == ("hi", "text", "answers")
            assert message.user_properties == [("a", "1"), ("b", "2=3")]
            assert (message.correlation_data, message.payload_format) == (b"x", 1)

    asyncio.run(scenario())


def test_a_cut_connection_is_told_and_made_again(
    tools: Tools,
    broker: RunningBroker,
    unique: str,
    cut: Callable[[str], bool],
    subscribed: Callable[..., subprocess.Popen[str]],
) -> None:
    process = subscribed(f"{unique}/a", "-i", unique, "-V", "5")
    assert cut(unique)
    assert tools.line(process) == "disconnected reason : 0"
    assert "connect result: 0" in tools.line(process)
    while "ready: yes" not in tools.line(process):
        pass
    tools.run("pub", "--url", broker.url, "-t", f"{unique}/a", "-m", "again")
    assert tools.line(process) == f"{unique}/a: again"


def test_tls_needs_an_authority_or_the_word_insecure(
    tools: Tools, broker: RunningBroker, certificates: dict[str, str], unique: str
) -> None:
    port = next(url for url in broker.urls.values() if url.startswith(("mqtts", "tls"))).rpartition(":")[2]
    words = ["pub", "-s", "-p", port, "-t", unique, "-m", "x", "-q", "1"]
    assert tools.run(*words).returncode == 1
    assert tools.run(*words, "--cacert", certificates["cafile"]).returncode == 0
    assert tools.run(*words[:1], "--ssl", *words[2:], "--insecure").returncode == 0
