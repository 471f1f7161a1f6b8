"""A kernel client that runs programs on the host, unconfined: the engine's test double.

It honours of a spec what the engine's own tests look at: args, env, cwd, terminal, size, stdin, log, remove.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import shutil
import signal
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Callable
from typing import Any

from pycontain.engine.containers import Container
from pycontain.errors import ContainerError, ProgramNotFound

MakeContainer = Callable[..., Container]

_RECORD = struct.Struct("<QBI")


class HostSession:
    """A program and its streams; an epoll descriptor over all of them tells of events."""

    def __init__(
        self, spec: dict[str, Any], stdin: int | None, on_output: Callable[[int, bytes], None]
    ) -> None:
        self.master: int | None = None
        self.exit_code: int | None = None
        self.stopped = threading.Event()
        self._on_output = on_output
        self._poll = select.epoll()
        self._streams: dict[int, int] = {}
        self._events: list[tuple[Any, ...]] = []
        slave = None
        if spec["terminal"]:
            self.master, slave = pty.openpty()
            fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", *(spec.get("size") or [0, 0]), 0, 0))
            streams: dict[str, Any] = {"stdin": slave, "stdout": slave, "stderr": slave}
        else:
            streams = {
                "stdin": subprocess.DEVNULL if stdin is None else stdin,
                "stdout": subprocess.PIPE,
                "stderr": subprocess.PIPE,
            }
        try:
            self.process = subprocess.Popen(
                spec["args"],
                env=dict(item.split(b"=", 1) for item in spec["env"]),
                cwd=spec["cwd"],
                start_new_session=True,
                **streams,
            )
        except FileNotFoundError:
            raise ProgramNotFound(f"run {os.fsdecode(spec['args'][0])}: not found") from None
        finally:
            if slave is not None:
                os.close(slave)
        self.pid = self.process.pid
        if self.master is not None:
            self._watch(os.dup(self.master), 1)
        else:
            assert self.process.stdout is not None and self.process.stderr is not None
            for stream, pipe in ((1, self.process.stdout), (2, self.process.stderr)):
                self._watch(os.dup(pipe.fileno()), stream)
                pipe.close()
        self._pidfd = os.pidfd_open(self.pid)
        self._poll.register(self._pidfd, select.EPOLLIN)

    def _watch(self, fd: int, stream: int) -> None:
        self._streams[fd] = stream
        self._poll.register(fd, select.EPOLLIN)

    def fileno(self) -> int:
        return self._poll.fileno()

    def read_event(self) -> tuple[Any, ...] | None:
        if not self._events:
            for fd, _ in sorted(self._poll.poll(0), key=lambda ready: ready[0] == self._pidfd):
                if fd != self._pidfd:
                    self._read(fd)
                elif not self._streams:
                    self._end()
        return self._events.pop(0) if self._events else None

    def _read(self, fd: int) -> None:
        try:
            data = os.read(fd, 65536)
        except OSError:  # the terminal's last user has gone
            data = b""
        if not data:
            self._poll.unregister(fd)
            os.close(fd)
            del self._streams[fd]
            return
        self._on_output(self._stream_of(fd), data)
        self._events.append(("output", self._stream_of(fd), data))

    def _stream_of(self, fd: int) -> int:
        return self._streams[fd]

    def _end(self) -> None:
        code = self.process.wait()
        self.exit_code = code if code >= 0 else 128 - code
        self._poll.unregister(self._pidfd)
        self._events.append(("exit", self.exit_code))
        self.stopped.set()

    def run(self, on_output: Callable[[int, bytes], None]) -> int:
        while True:
            select.select([self], [], [])
            while (event := self.read_event()) is not None:
                if event[0] == "exit":
                    return int(event[1])
                on_output(event[1], event[2])

    def signal(self, number: int) -> None:
        if self.process.poll() is None:
            os.killpg(self.pid, number)

    def close(self) -> None:
        if self.master is not None:
            os.close(self.master)
            self.master = None


class HostKernel:
    """The client of a kernel that is the host's. close() ends what still runs."""

    def __init__(self) -> None:
        self.running: dict[str, HostSession] = {}
        self.specs: list[dict[str, Any]] = []
        self.paused: set[str] = set()
        self.synced: list[str] = []
        self.updates: list[tuple[str, dict[str, Any]]] = []
        self.figures: dict[str, dict[str, Any]] = {}  # what stats() answers
        self._threads: list[threading.Thread] = []
        self._attached: set[str] = set()

    def connect(self, root: str, start: bool) -> Any:
        """For Engine(connect=…)."""
        return self

    def start(self, spec: dict[str, Any], stdin: int | None = None) -> HostSession:
        self.specs.append(spec)
        directory, started = spec["directory"], time.time_ns()

        def write_log(stream: int, data: bytes) -> None:
            with open(os.path.join(directory, "log"), "ab") as log:
                log.write(_RECORD.pack(time.time_ns(), stream, len(data)) + data)

        session = HostSession(spec, stdin, write_log)
        self.running[spec["id"]] = session
        if spec["attach"]:
            self._attached.add(spec["id"])
        self._state(directory, "running", session.pid, 0, started)

        def finish() -> None:
            session.stopped.wait()
            assert session.exit_code is not None
            del self.running[spec["id"]]
            if spec["remove"]:
                shutil.rmtree(directory)
            else:
                self._state(directory, "exited", 0, session.exit_code, started)
            session.finished.set()  # type: ignore[attr-defined]

        session.finished = threading.Event()  # type: ignore[attr-defined]
        targets = [finish] if spec["attach"] else [finish, lambda: session.run(lambda stream, data: None)]
        for target in targets:
            thread = threading.Thread(target=target, daemon=True)
            thread.start()
            self._threads.append(thread)
        return session

    def _state(self, directory: str, status: str, pid: int, code: int, started: int) -> None:
        value = {"status": status, "pid": pid, "exit_code": code, "started": started}
        value["finished"] = time.time_ns() if status == "exited" else 0
        with open(os.path.join(directory, "state.json~"), "w") as file:
            json.dump(value, file)
        os.replace(os.path.join(directory, "state.json~"), os.path.join(directory, "state.json"))

    def exec(self, identity: str, spec: dict[str, Any], stdin: int | None = None) -> HostSession:
        self._session(identity)
        return HostSession(spec, stdin, lambda stream, data: None)

    def _session(self, identity: str) -> HostSession:
        if identity not in self.running:
            raise ContainerError(f"container {identity[:12]}: not running")
        return self.running[identity]

    def containers(self) -> list[dict[str, Any]]:
        return [{"id": identity, "paused": identity in self.paused} for identity in self.running]

    def stats(self, identities: list[str]) -> list[dict[str, Any]]:
        return [self.figures[identity] for identity in identities if identity in self.figures]

    def update(self, identity: str, limits: dict[str, Any]) -> None:
        if limits.get("pids") == 13:
            raise ContainerError("update: this number is refused")
        self.updates.append((identity, limits))

    def kill(self, identity: str, number: int) -> None:
        self._session(identity).signal(number)

    def wait(self, identity: str, timeout: float | None = None) -> int | None:
        session = self._session(identity)
        if not session.finished.wait(timeout):  # type: ignore[attr-defined]
            return None
        return session.exit_code

    def sync(self, identity: str) -> None:
        self.synced.append(identity)

    def close(self) -> None:
        for identity, session in list(self.running.items()):
            session.signal(signal.SIGKILL)
            if identity in self._attached and session.exit_code is None:  # whoever followed it has left
                session.run(lambda stream, data: None)
        for thread in self._threads:
            thread.join(10)
