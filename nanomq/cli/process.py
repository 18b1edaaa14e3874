"""The broker as a process: pid file, background, signals, and the control socket that `nanomq reload` talks to."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import stat
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from nanomq.broker import Broker, Reloaded
from nanomq.config import Effective
from nanomq.errors import ConfigError, NanomqError, StartError
from nanomq.logs import configure, log

Load = Callable[[str | None, bool], Effective]
"""Loads the configuration again: from the given file, which may be one of key=value lines, or, for None, from where the
broker was started with."""


class PidFile:
    """The file that names the running broker, and the control socket beside it."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.path = Path(env.get("NANOMQ_PID_FILE") or "/tmp/nanomq/nanomq.pid")
        self.socket = self.path.with_suffix(".sock")

    def running(self) -> int | None:
        """The process id of a living broker of ours, or None."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW)
        except OSError:
            return None
        with open(descriptor, "rb") as file:
            if os.fstat(file.fileno()).st_uid not in (os.geteuid(), 0) and os.geteuid() != 0:
                return None
            digits = file.read(20)
        text = digits.split(b"\0")[0].strip()  # NanoMQ pads the number with NUL
        if not text.isdigit():
            return None
        pid = int(text)
        return pid if pid > 0 and pid != os.getpid() and _is_broker(pid) else None

    def claim(self) -> None:
        """Write our process id. Raises `StartError` when a broker runs, or when others could change the file."""
        self._check_directory()
        own = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        try:
            with suppress(FileNotFoundError):
                own.unlink()
            descriptor = os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
            with open(descriptor, "w", encoding="ascii") as file:
                file.write(f"{os.getpid()}\n")
            for _ in range(5):
                try:
                    os.link(own, self.path)  # fails when the file exists, whoever made it
                    return
                except FileExistsError:
                    if (pid := self.running()) is not None:
                        raise StartError(*running_already(pid)) from None
                    with suppress(FileNotFoundError):
                        self.path.unlink()
            raise StartError(f"the pid file `{self.path}` cannot be taken", hint="is another broker starting")
        except OSError as error:
            raise StartError(
                f"the pid file `{self.path}` cannot be written: {error.strerror}", hint="set NANOMQ_PID_FILE"
            ) from None
        finally:
            with suppress(OSError):
                own.unlink()

    def release(self) -> None:
        """Remove the file if it is still ours, and the socket."""
        with suppress(OSError, ValueError):
            if int(self.path.read_text(encoding="ascii")) == os.getpid():
                self.path.unlink()
                self.socket.unlink()

    def _check_directory(self) -> None:
        directory = self.path.parent
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = directory.lstat()
        except OSError as error:
            raise StartError(
                f"the directory `{directory}` of the pid file cannot be made: {error.strerror}",
                hint="set NANOMQ_PID_FILE",
            ) from None
        # in a directory of somebody else, a file or a link could be put in place of ours
        foreign = found.st_uid not in (os.geteuid(), 0)
        open_to_all = bool(found.st_mode & stat.S_IWOTH) and not found.st_mode & stat.S_ISVTX
        if foreign or open_to_all or (stat.S_ISLNK(found.st_mode) and found.st_uid != 0):
            raise StartError(
                f"the directory `{directory}` of the pid file can be changed by others",
                hint="remove it, or set NANOMQ_PID_FILE to a file in a directory of your own",
            )


def running_already(pid: int) -> tuple[str]:
    """What a second start says."""
    return (f"One NanoMQ instance is still running (pid {pid}), a new instance won't be started until it is stopped.",)


def end(pid: int, *, patience_s: float, kill: bool) -> bool:
    """Ask a broker to end and wait; with `kill`, make it end. Returns whether it is gone. Raises `PermissionError`."""
    for number, wait_s in ((signal.SIGTERM, patience_s), (signal.SIGKILL, 2.0 if kill else 0.0)):
        if not wait_s:
            break
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        limit = time.monotonic() + wait_s
        while time.monotonic() < limit:
            if not _is_broker(pid):
                return True
            time.sleep(0.01)
    return not _is_broker(pid)


def ask(pid_file: PidFile, request: Mapping[str, object], timeout_s: float = 30.0) -> dict[str, object]:
    """Send one request to the running broker and return its answer. Raises `OSError` or `ValueError`."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout_s)
        connection.connect(str(pid_file.socket))
        connection.sendall(json.dumps(request).encode() + b"\n")
        with connection.makefile("rb") as stream:
            answer = json.loads(stream.readline(MAX_LINE_BYTES))
    if not isinstance(answer, dict):
        raise ValueError("the broker's answer is not understood")
    return answer


def into_background() -> Callable[[], None]:
    """Continue in a background process. The process that was started waits, and exits 0 once the returned function is
    called, 1 if the background process ends before."""
    sys.stdout.flush()
    sys.stderr.flush()
    reader, writer = os.pipe()
    if os.fork():
        os.close(writer)
        os._exit(0 if os.read(reader, 1) else 1)
    os.close(reader)
    os.setsid()
    if os.fork():
        os._exit(0)

    def ready() -> None:
        sys.stdout.flush()
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nothing, descriptor)
        os.close(nothing)
        os.write(writer, b"1")
        os.close(writer)

    return ready


class Server:
    """Runs a broker until a signal ends it, and answers the control socket."""

    def __init__(self, effective: Effective, load: Load, pid_file: PidFile) -> None:
        self.broker = Broker(effective)
        self.load = load
        self.pid_file = pid_file
        self._ended = asyncio.Event()
        self._reloading = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, ready: Callable[[Broker], None]) -> None:
        """Start, call `ready`, and serve until SIGTERM or SIGINT; SIGHUP reloads. Raises `StartError`."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._ended.set)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        await self.broker.start()
        control = None
        try:
            if self.broker.config["system.enable_ipc_internal"]:
                control = await self._open_control()
            ready(self.broker)
            await self._ended.wait()
        finally:
            if control is not None:
                control.close()
            for task in self._tasks:
                task.cancel()
            await self.broker.stop(timeout=4.5)  # the promise is 5 s in all

    async def reload(self, file: str | None, is_old: bool = False) -> dict[str, object]:
        """Load and apply a configuration; the answer says what happened. A fault changes nothing."""
        async with self._reloading:
            try:
                effective = await asyncio.get_running_loop().run_in_executor(None, self.load, file, is_old)
                old = self.broker.config
                configure(effective)
                try:
                    done = await self.broker.reload(effective)
                except BaseException:
                    configure(old)
                    raise
            except ConfigError as error:
                problems = [str(problem) for problem in error.problems]
                log("error", "reload_failed", problems=len(problems), first=problems[0] if problems else "")
                return {"ok": False, "reason": "the configuration cannot be used", "problems": problems}
            except (NanomqError, OSError, RuntimeError, ValueError) as error:
                log("error", "reload_failed", reason=error)
                return {"ok": False, "reason": str(error)}
            log("info", "reloaded", **{word: ",".join(items) for word, items in _lists(done).items()})
            return {
                "ok": not done.rejected,
                "reason": "a part was rejected" if done.rejected else "",
                "warnings": [str(warning) for warning in effective.warnings],
                **_lists(done),
            }

    def _hang_up(self) -> None:
        async def reload() -> None:
            await self.reload(None)

        task = asyncio.get_running_loop().create_task(reload())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _open_control(self) -> asyncio.AbstractServer | None:
        path = self.pid_file.socket
        before = os.umask(0o177)  # only this user may talk to it, from the first moment on
        try:
            with suppress(FileNotFoundError):
                path.unlink()
            return await asyncio.start_unix_server(self._answer, path, limit=MAX_LINE_BYTES)
        except OSError as error:
            log("warn", "control_socket_closed", path=path, reason=error.strerror or error)
            return None
        finally:
            os.umask(before)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = await asyncio.wait_for(reader.readline(), timeout=5)
            request = json.loads(line)
            if isinstance(request, dict) and request.get("cmd") == "reload":
                file = request.get("conf_file")
                answer = await self.reload(file if isinstance(file, str) else None, bool(request.get("is_old")))
            else:
                answer = {"ok": False, "reason": "invalid command"}
            writer.write(json.dumps(answer).encode() + b"\n")
            await asyncio.wait_for(writer.drain(), timeout=5)
        except (OSError, ValueError):
            pass  # a peer that says nothing, or nonsense, gets nothing
        finally:
            writer.close()


def _lists(done: Reloaded) -> dict[str, list[str]]:
    return {"applied": done.applied, "needs_restart": done.needs_restart, "rejected": done.rejected}


def _is_broker(pid: int) -> bool:
    """Whether a process lives and is a `nanomq start`; a pid is used again by others."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = [os.fsdecode(word) for word in file.read().split(b"\0")]
    except FileNotFoundError:
        if Path("/proc/self").exists():
            return False
        try:
            os.kill(pid, 0)  # a system without /proc
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True
    except OSError:
        return False
    ours = any(Path(word).name == "nanomq" or word.endswith("nanomq/__main__.py") for word in words[:6])
    return ours and any(word in ("start", "restart") for word in words)


MAX_LINE_BYTES = 1 << 20
