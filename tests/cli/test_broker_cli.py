"""`nanomq start | stop | restart | reload | check` as scripts see them: texts, exit codes, files, signals."""

from __future__ import annotations

import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import click
import pytest

from nanomq.cli.broker import nanomq

WAIT_S = 20


class Commands:
    """Runs `nanomq` with a pid file of this test."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.pid_file = place / "run" / "nanomq.pid"
        self.env = {name: value for name, value in os.environ.items() if not name.startswith("NANOMQ_")}
        self.env |= {"NANOMQ_PID_FILE": str(self.pid_file), "PYTHONUNBUFFERED": "1"}
        self.started: list[subprocess.Popen[str]] = []

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "nanomq", *words]
        return subprocess.run(command, env=self.env, cwd=self.place, capture_output=True, text=True, timeout=WAIT_S)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a broker and return when it says that it has started; its lines are in `self.lines`."""
        command = [sys.executable, "-m", "nanomq", "start", *words]
        process = subprocess.Popen(
            command, env=self.env, cwd=self.place, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.started.append(process)
        self.lines: list[str] = []
        assert process.stdout is not None
        for line in process.stdout:
            self.lines.append(line.rstrip("\n"))
            if "started successfully" in line:
                return process
        raise AssertionError("\n".join(self.lines))

    @property
    def port(self) -> int:
        """The port of the first listener, from what `start` says."""
        found = re.search(r"listening: \S+ \S+:(\d+)", "\n".join(self.lines))
        assert found is not None
        return int(found[1])

    @property
    def pid(self) -> int:
        return int(self.pid_file.read_text(encoding="ascii"))

    def conf(self, text: str, name: str = "my.conf") -> str:
        (self.place / name).write_text(text, encoding="utf-8")
        return str(self.place / name)


@pytest.fixture
def commands(tmp_path: Path) -> Iterator[Commands]:
    commands = Commands(tmp_path)
    yield commands
    if commands.pid_file.exists():
        commands.run("stop")
    for process in commands.started:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


FREE = 'listeners.tcp.bind = "127.0.0.1:0"\n'


def connects(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            return True
    except OSError:
        return False


# --- help ---


def test_without_a_command_usage_and_version_and_1(commands: Commands) -> None:
    done = commands.run()
    assert done.returncode == 1
    assert "Usage:" in done.stdout
    assert re.search(r"nanomq \d+\.\d+", done.stdout)


def test_unknown_command_shows_usage_and_1(commands: Commands) -> None:
    done = commands.run("sart")
    assert (done.returncode, "Usage:" in done.stdout) == (1, True)


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["start", "--help"], ["start", "-h"], ["reload", "--help"]])
def test_help_is_0(commands: Commands, words: list[str]) -> None:
    done = commands.run(*words)
    assert (done.returncode, done.stdout.startswith("Usage:")) == (0, True)


def test_version(commands: Commands) -> None:
    done = commands.run("--version")
    assert re.fullmatch(r"nanomq \d+\.\d+\S*\n", done.stdout)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["start", "--log", "x"], "option --log is ambiguous: --log_file, --log_level, --log_stdout, --log_syslog"),
        (["start", "--nonsense"], "No such option"),
        (["start", "--conf"], "requires an argument"),
        (["stop", "now"], "unexpected extra argument"),
    ],
)
def test_fault_of_usage_is_one_line_and_1(commands: Commands, words: list[str], line: str) -> None:
    done = commands.run(*words)
    assert done.returncode == 1
    assert line in done.stderr
    assert done.stderr.count("\n") == 1


def test_every_option_has_a_help_text() -> None:
    commands = list(nanomq.commands.values())
    for command in commands:
        commands += command.commands.values() if isinstance(command, click.Group) else []
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{command.name} {parameter.name}"
            else:
                assert re.search(rf"\b{parameter.metavar}\b", command.help or ""), (
                    "an argument is explained in the text"
                )


# --- start ---


def test_start_says_what_runs_and_where(commands: Commands) -> None:
    conf = commands.conf(FREE)
    commands.start("--conf", conf)
    text = "\n".join(commands.lines)
    assert re.search(r"^nanomq \d\S+, /", text, re.MULTILINE)
    assert f"configuration: {conf}" in text
    assert f"listening: tcp 127.0.0.1:{commands.port} (MQTT over TCP)" in text
    assert f"nanomq_cli sub -p {commands.port} -t 'hello/#'" in text
    assert f"nanomq_cli pub -p {commands.port} -t hello/world -m 'Hello'" in text
    assert commands.lines[-1] == "NanoMQ Broker is started successfully!"
    assert connects(commands.port)


def test_anonymous_access_on_the_network_is_said_loudly(commands: Commands) -> None:
    commands.start("--conf", commands.conf('listeners.tcp.bind = "0.0.0.0:0"'))
    assert any(line.startswith("WARNING: ANONYMOUS ACCESS: whoever reaches tcp ") for line in commands.lines)


def test_anonymous_access_on_loopback_is_not(commands: Commands) -> None:
    commands.start("--conf", commands.conf(FREE))
    assert not any("ANONYMOUS" in line for line in commands.lines)


def test_long_options_may_be_cut_and_take_equals(commands: Commands) -> None:
    commands.start("--url=nmq-tcp://127.0.0.1:0", "--log_l=info", "--msq", "7")
    assert connects(commands.port)


def test_fault_in_the_file_is_told_with_its_place(commands: Commands) -> None:
    done = commands.run("start", "--conf", commands.conf("mqtt.max_qos = 3\nlog.level = loud"))
    assert done.returncode == 1
    assert "mqtt.max_qos (" in done.stderr
    assert "my.conf:1:16): value is `3`" in done.stderr
    assert "NanoMQ cannot start: 2 faults in the configuration" in done.stderr


def test_missing_file_is_1(commands: Commands) -> None:
    done = commands.run("start", "--conf", "nowhere.conf")
    assert done.returncode == 1
    assert "nowhere.conf" in done.stderr


def test_address_in_use_is_1_and_leaves_no_pid_file(commands: Commands) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = commands.run("start", "--url", f"nmq-tcp://127.0.0.1:{taken.getsockname()[1]}")
    assert done.returncode == 1
    assert "cannot start" in done.stderr
    assert not commands.pid_file.exists()


def test_second_start_is_refused(commands: Commands) -> None:
    commands.start("--conf", commands.conf(FREE))
    done = commands.run("start", "--conf", commands.conf(FREE))
    assert done.returncode == 1
    assert "still running" in done.stderr
    assert connects(commands.port)


@pytest.mark.parametrize("content", ["999999999\n", "1\n", "\0\0\0", "nonsense", ""])
def test_stale_pid_file_does_not_hinder(commands: Commands, content: str) -> None:
    commands.pid_file.parent.mkdir(mode=0o700)
    commands.pid_file.write_text(content, encoding="ascii")
    process = commands.start("--conf", commands.conf(FREE))
    assert commands.pid == process.pid


def test_directory_of_the_pid_file_is_closed_to_others(commands: Commands) -> None:
    commands.start("--conf", commands.conf(FREE))
    assert stat.S_IMODE(commands.pid_file.parent.stat().st_mode) == 0o700


def test_directory_that_others_may_change_is_refused(commands: Commands) -> None:
    commands.pid_file.parent.mkdir()
    commands.pid_file.parent.chmod(0o777)
    done = commands.run("start", "--conf", commands.conf(FREE))
    assert done.returncode == 1
    assert "can be changed by others" in done.stderr


def test_link_in_place_of_the_pid_file_is_not_followed(commands: Commands) -> None:
    victim = commands.place / "victim"
    victim.write_text("keep me", encoding="ascii")
    commands.pid_file.parent.mkdir(mode=0o700)
    commands.pid_file.symlink_to(victim)
    commands.start("--conf", commands.conf(FREE))
    assert victim.read_text(encoding="ascii") == "keep me"
    assert not commands.pid_file.is_symlink()


def test_daemon_returns_when_it_listens_and_runs_on(commands: Commands) -> None:
    done = commands.run("start", "-d", "--conf", commands.conf(FREE))
    assert done.returncode == 0
    commands.lines = done.stdout.splitlines()
    assert commands.lines[-1] == "NanoMQ Broker is started successfully!"
    assert connects(commands.port)
    assert os.getsid(commands.pid) != os.getsid(0)


def test_daemon_that_cannot_start_is_1(commands: Commands) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = commands.run("start", "--daemon", "--url", f"nmq-tcp://127.0.0.1:{taken.getsockname()[1]}")
    assert done.returncode == 1
    assert "cannot start" in done.stderr


# --- the end ---


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_cleanly_within_five_seconds(commands: Commands, number: signal.Signals) -> None:
    process = commands.start("--conf", commands.conf(FREE))
    process.send_signal(number)
    assert process.wait(timeout=5) == 0
    assert list(commands.pid_file.parent.iterdir()) == []


def test_stop_ends_the_broker(commands: Commands) -> None:
    process = commands.start("--conf", commands.conf(FREE))
    done = commands.run("stop")
    assert (done.returncode, done.stderr) == (0, "NanoMQ stopped.\n")
    assert process.wait(timeout=5) == 0


@pytest.mark.parametrize("command", ["stop", "reload"])
def test_without_a_broker_is_1(commands: Commands, command: str) -> None:
    done = commands.run(command)
    assert (done.returncode, done.stderr) == (1, "There is no running NanoMQ instance.\n")


def test_stop_does_not_end_a_stranger(commands: Commands) -> None:
    with subprocess.Popen(["sleep", "30"]) as stranger:
        commands.pid_file.parent.mkdir(mode=0o700)
        commands.pid_file.write_text(f"{stranger.pid}\n", encoding="ascii")
        assert commands.run("stop").returncode == 1
        assert stranger.poll() is None
        stranger.kill()


def test_restart_replaces_the_broker(commands: Commands) -> None:
    first = commands.start("--conf", commands.conf(FREE))
    done = commands.run("restart", "-d", "--conf", commands.conf(FREE))
    assert done.returncode == 0
    assert first.wait(timeout=5) == 0
    assert commands.pid != first.pid


def test_restart_without_a_broker_starts(commands: Commands) -> None:
    assert commands.run("restart", "-d", "--conf", commands.conf(FREE)).returncode == 0
    assert commands.pid > 0


# --- reload ---


def test_reload_uses_the_file_of_start(commands: Commands) -> None:
    commands.start("--conf", commands.conf(FREE))
    commands.conf(FREE + "mqtt.max_qos = 1\nsystem.num_taskq_thread = 3")
    done = commands.run("reload")
    assert done.returncode == 0
    assert "needs restart: system.num_taskq_thread" in done.stdout
    assert done.stdout.endswith("reload succeed!\n")
    assert connects(commands.port)


def test_reload_of_a_broken_file_changes_nothing(commands: Commands) -> None:
    commands.start("--conf", commands.conf(FREE))
    commands.conf("mqtt.max_qos = 9")
    done = commands.run("reload")
    assert done.returncode == 1
    assert "error: mqtt.max_qos (" in done.stdout
    assert done.stdout.endswith("reload failed, the configuration cannot be used!\n")
    assert connects(commands.port)


def test_reload_of_another_file(commands: Commands) -> None:
    commands.start("--conf", commands.conf(FREE))
    commands.conf(FREE + "mqtt.max_qosx = 1", "other.conf")
    done = commands.run("reload", "--conf", "other.conf")
    assert done.returncode == 0
    assert "warning: mqtt.max_qosx (" in done.stdout


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--conf", "nowhere.conf"], "conf_file does not exist"),
        (["--old_conf", "nowhere.conf"], "conf_file does not exist"),
        (
            ["--conf", "a", "--old_conf", "b"],
            "--conf and --old_conf both name the configuration file; give one of them",
        ),
    ],
)
def test_reload_that_cannot_work_is_1(commands: Commands, words: list[str], reason: str) -> None:
    commands.start("--conf", commands.conf(FREE))
    done = commands.run("reload", *words)
    assert (done.returncode, done.stdout) == (1, f"reload failed, {reason}!\n")


def test_file_of_key_value_lines_is_used_by_start_and_reload(commands: Commands) -> None:
    old = commands.conf("url=nmq-tcp://127.0.0.1:0\nlog.to=console\nlog.level=warn\n")
    commands.start("--old_conf", old)
    assert connects(commands.port)
    commands.conf("url=nmq-tcp://127.0.0.1:0\nlog.to=console\nlog.level=info\nmsq_len=5\n")
    for words in ([], ["--old_conf", old]):
        done = commands.run("reload", *words)
        assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "reload succeed!")


def test_two_files_are_one_too_many(commands: Commands) -> None:
    done = commands.run("start", "--conf", "a", "--old_conf", "b")
    assert (done.returncode, "give one of them" in done.stderr) == (1, True)


def test_flags_of_start_stay_above_the_file_on_reload(commands: Commands) -> None:
    log = commands.place / "x.log"
    commands.start("--conf", commands.conf(FREE), "--log_level", "info", "--log_file", str(log))
    commands.conf(FREE + "log.level = error")
    assert commands.run("reload").returncode == 0
    assert "INFO reloaded" in log.read_text(encoding="utf-8")


def test_hang_up_reloads(commands: Commands) -> None:
    log = commands.place / "x.log"
    process = commands.start("--conf", commands.conf(FREE), "--log_level", "info", "--log_file", str(log))
    process.send_signal(signal.SIGHUP)
    waited(lambda: "INFO reloaded" in log.read_text(encoding="utf-8"))
    assert connects(commands.port)


def test_control_socket_is_closed_to_others(commands: Commands) -> None:
    commands.start("--conf", commands.conf(FREE))
    control = commands.pid_file.with_suffix(".sock")
    assert stat.S_IMODE(control.stat().st_mode) == 0o600


@pytest.mark.parametrize("line", [b"\n", b"[]\n", b'{"cmd": "format"}\n', b"\xff\xfe\n", b"", b"x" * 2_000_000])
def test_nonsense_on_the_control_socket_does_no_harm(commands: Commands, line: bytes) -> None:
    commands.start("--conf", commands.conf(FREE))
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(str(commands.pid_file.with_suffix(".sock")))
        with suppress(OSError):
            peer.sendall(line)
    assert commands.run("reload").returncode == 0


def test_control_socket_can_be_left_out(commands: Commands) -> None:
    commands.start("--conf", commands.conf(FREE + "system.enable_ipc_internal = false"))
    done = commands.run("reload")
    assert done.returncode == 1
    assert "does not answer" in done.stdout


# --- check ---


def test_check_of_a_good_file_is_0(commands: Commands) -> None:
    conf = commands.conf(FREE + "mqtt.max_qosx = 1")
    done = commands.run("check", "--conf", conf)
    assert (done.returncode, done.stdout) == (0, f"{conf}: can be used, 1 warning\n")
    assert "did you mean `mqtt.max_qos`" in done.stderr


def test_check_of_a_broken_file_is_1(commands: Commands) -> None:
    done = commands.run("check", "--conf", commands.conf("mqtt {"))
    assert done.returncode == 1
    assert "my.conf:1:7: the text ends where" in done.stderr
    assert "1 fault, cannot be used" in done.stderr


def waited(is_true: Callable[[], bool]) -> None:
    """Another process gives no other sign than its file; the limit only bounds a failure."""
    limit = time.monotonic() + WAIT_S
    while not is_true():
        assert time.monotonic() < limit
        time.sleep(0.01)
