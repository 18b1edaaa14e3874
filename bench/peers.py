"""The servers that are measured, each as a process of its own: start, stop, processor time, memory."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
START_S = 15.0

COMMAND = [sys.executable, "-c", "from nanomq.cli.tools import main; main()"]
BROKER = [sys.executable, "-c", "from nanomq.cli.broker import main; main()"]

NANOMQ = """listeners {{ tcp {{ bind = "127.0.0.1:{port}", max_connections = 0 }} }}
mqtt {{ max_mqueue_len = 1000000, max_mqueue_bytes = 1GB, max_inflight_window = 2048 }}
system {{ num_taskq_thread = {threads} }}
log {{ to = [console], level = error }}
"""

MOSQUITTO = """listener {port} 127.0.0.1
allow_anonymous true
persistence false
set_tcp_nodelay true
max_queued_messages 1000000
max_queued_bytes 0
max_inflight_messages 100
log_type error
"""

FLASHMQ = """thread_count {threads}
allow_anonymous true
listen {{
  protocol mqtt
  port {port}
  inet4_bind_address 127.0.0.1
}}
max_qos_msg_pending_per_client 65535
max_qos_bytes_pending_per_client 1000000000
client_max_write_buffer_size 1000000000
storage_dir {place}
log_level error
"""


class Peer:
    """A server that listens on a free port until it is stopped."""

    def __init__(self, name: str, command: list[str], port: int, log: Path, env: dict[str, str] | None = None) -> None:
        self.name = name
        self.port = port
        self.url = f"mqtt-tcp://127.0.0.1:{port}"
        self._log = log.open("w")
        self._process = subprocess.Popen(
            command, stdout=self._log, stderr=subprocess.STDOUT, env={**os.environ, **(env or {})}
        )
        limit = time.monotonic() + START_S
        while not self._listens():
            if self._process.poll() is not None or time.monotonic() > limit:
                self.stop()
                raise SystemExit(f"{name} does not start: {log.read_text().strip()}")
            time.sleep(0.02)

    def _listens(self) -> bool:
        with socket.socket() as trial:
            return trial.connect_ex(("127.0.0.1", self.port)) == 0

    def cpu_s(self) -> float:
        """Processor time of all threads until now, user and system."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_S

    def cpu_exact_s(self) -> float:
        """The same in nanoseconds' steps, where the kernel tells it by thread; a thread that ended does not count."""
        total = 0
        for task in Path(f"/proc/{self._process.pid}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
        return total / 1e9

    def resident_bytes(self) -> int:
        """Resident memory."""
        return int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]) * PAGE_BYTES

    def stop(self) -> None:
        """Ends it."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            self._process.send_signal(number)
            try:
                self._process.wait(5)
                break
            except subprocess.TimeoutExpired:
                continue
        self._log.close()


def free_port() -> int:
    """A port that nobody has now."""
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        port: int = trial.getsockname()[1]
        return port


def makers(place: Path, *, threads: int, flashmq: str | None) -> dict[str, Callable[[], Peer]]:
    """Name → what starts it, for the servers that are installed. nanomq is the first."""

    def configured(name: str, text: str, command: Callable[[Path], list[str]]) -> Peer:
        port = free_port()
        file = place / f"{name}.conf"
        file.write_text(text.format(port=port, threads=threads, place=place))
        env = {"NANOMQ_PID_FILE": str(place / f"{name}-{port}.pid")}
        return Peer(name, command(file), port, place / f"{name}.log", env)

    made = {"nanomq": lambda: configured("nanomq", NANOMQ, lambda file: [*BROKER, "start", "--conf", str(file)])}
    mosquitto = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if mosquitto is None:
        print("mosquitto is missing, nothing is compared with it: apt-get install mosquitto")
    else:
        made["mosquitto"] = lambda: configured("mosquitto", MOSQUITTO, lambda file: [mosquitto, "-c", str(file)])
    if flashmq is not None:
        made["flashmq"] = lambda: configured("flashmq", FLASHMQ, lambda file: [flashmq, "--config-file", str(file)])
    return made


def floor(place: Path, *, is_pair: bool) -> Peer:
    """The relay that reads no message."""
    port = free_port()
    return Peer(
        "floor", [*COMMAND, "bench", "relay", "-p", str(port), *["--pair"][: int(is_pair)]], port, place / "floor.log"
    )


def versions(flashmq: str | None) -> dict[str, str]:
    """What was measured."""
    found = {}
    for name, command in {"mosquitto": ["mosquitto", "-h"], "flashmq": [flashmq or "flashmq", "--version"]}.items():
        path = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
        if (binary := shutil.which(command[0], path=path)) is not None:
            output = subprocess.run([binary, command[1]], capture_output=True, text=True, timeout=10)
            match = re.search(r"\d+\.\d+\.\d+", output.stdout + output.stderr)
            found[name] = match[0] if match else "unknown"
    return found
