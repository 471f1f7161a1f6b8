"""The client's side of the control socket. Imported by every command that runs something: kept light."""

from __future__ import annotations

import os
import select
import sys
import time
from _socket import AF_UNIX, SOCK_STREAM, socket

from pycontain.errors import (
    CannotRun,
    ContainerError,
    KernelError,
    ProgramNotFound,
    PycontainError,
)
from pycontain.kernel import protocol

TYPE_CHECKING = False  # what typing itself costs at start-up is spared; type checkers know this name
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

START_TIMEOUT = 20.0  # seconds until a kernel that does not answer is reported


def _raise(answer: dict[str, Any]) -> None:
    kinds: dict[int, type[PycontainError]] = {126: CannotRun, 127: ProgramNotFound}
    kind = kinds.get(answer.get("code", 125), ContainerError)
    raise kind(answer["error"], hint=answer.get("hint"))


def _gone(sock: socket, log: str, what: str) -> KernelError:
    from pycontain.kernel import ending  # only when it has happened

    return ending.gone(sock, log, what)


class Session:
    """A process in a container, as the one who started or joined it sees it.

    pid: on the host. master: the terminal's master (write input to it, set its window size), None without one.
    """

    def __init__(
        self, sock: socket, pid: int, master: int | None, frames: protocol.Frames, log: str
    ) -> None:
        """log: the path of the kernel's."""
        self.pid = pid
        self._log = log
        self.master = master
        self._sock = sock
        self._frames = frames
        self._events: list[tuple[Any, ...]] = []

    def fileno(self) -> int:
        """Readable when read_event() may have something to say."""
        return self._sock.fileno()

    def read_event(self) -> tuple[Any, ...] | None:
        """("output", stream, bytes), ("exit", code), or None: nothing complete has come yet. Never blocks.

        Raises KernelError if the kernel has gone.
        """
        if not self._events:
            try:
                data, _ = protocol.receive(self._sock, wait=False)
            except BlockingIOError:
                return None
            except ConnectionError:
                data = b""
            if not data:
                raise _gone(self._sock, self._log, "the kernel process has gone, and its containers with it")
            self.add(self._frames.feed(data))
        return self._events.pop(0) if self._events else None

    def add(self, values: list[Any]) -> None:
        """Frames that have come; the answers to signals say nothing."""
        self._events += [tuple(value) for value in values if isinstance(value, list)]

    def run(self, on_output: Callable[[int, bytes], None]) -> int:
        """Until the end; returns the exit code (128+n for a signal), and closes the session."""
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN)
        while True:
            event = self.read_event()
            if event is None:
                poll.poll()
            elif event[0] == "exit":
                self.close()
                return int(event[1])
            else:
                on_output(event[1], event[2])

    def signal(self, signum: int) -> None:
        protocol.send(self._sock, {"op": "signal", "signal": signum})

    def close(self) -> None:
        """Leave; the process goes on."""
        self._sock.close()
        if self.master is not None:
            os.close(self.master)
            self.master = None


class Connection:
    """A socket that is closed at the end of a with statement (the C socket does not do that)."""

    def __init__(self, sock: socket) -> None:
        self.sock = sock

    def __enter__(self) -> socket:
        return self.sock

    def __exit__(self, *_: object) -> None:
        self.sock.close()


class KernelClient:
    """Requests to the kernel of a store; each opens a connection of its own."""

    LOG = "kernel.log"

    def __init__(self, store_root: str, directory: str) -> None:
        self.store_root = store_root
        self.directory = directory

    @property
    def log(self) -> str:
        """The path of the kernel's log."""
        return os.path.join(self.directory, self.LOG)

    @classmethod
    def connect(cls, store_root: str, start: bool = True) -> KernelClient | None:
        """start: start the kernel if it does not run; without it, None is returned in that case."""
        client = cls(store_root, protocol.runtime_directory(store_root))
        try:
            client._open().close()
        except OSError:
            if not start:
                return None
            client._start()
        return client

    @classmethod
    def ensure(cls, store_root: str) -> KernelClient:
        client = cls.connect(store_root)
        assert client is not None
        return client

    def _open(self) -> socket:
        sock = socket(AF_UNIX, SOCK_STREAM)
        try:
            sock.connect(os.path.join(self.directory, "kernel.sock"))
        except BaseException:
            sock.close()
            raise
        return sock

    def _start(self) -> None:
        log = self.log
        try:
            if os.path.getsize(log) > 1 << 20:
                os.replace(log, log + ".1")
        except FileNotFoundError:
            pass
        # the kernel must find this very package, however we found it
        environment = dict(os.environ)
        package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        environment["PYTHONPATH"] = package + os.pathsep + environment.get("PYTHONPATH", "")
        mode = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        pid = os.posix_spawn(
            sys.executable,
            [
                sys.executable,
                "-s",
                "-P",  # not what lies in the current directory
                "-m",
                "pycontain.kernel",
                "--root",
                self.store_root,
                "--directory",
                self.directory,
            ],
            environment,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, log, mode, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )
        deadline = time.monotonic() + START_TIMEOUT
        ended = False
        while time.monotonic() < deadline:
            try:
                self._open().close()
                return
            except OSError:
                if ended:
                    break
            if pid:
                found, status = os.waitpid(pid, os.WNOHANG)
                if found:
                    pid, ended = 0, status != 0  # status 0: another one was quicker, and answers soon
            time.sleep(0.003)
        raise KernelError("start the emulated kernel: it did not answer", hint=self._last_words(log))

    def _last_words(self, log: str) -> str:
        try:
            with open(log, "rb") as file:
                lines = file.read()[-4000:].decode("utf-8", "replace").strip().splitlines()
        except OSError:
            lines = []
        return lines[-1] if lines else f"nothing in {log}"

    def _ask(self, request: dict[str, Any], fds: list[int] | None = None) -> Any:
        with self._connection() as sock:
            protocol.send(sock, request, fds)
            return self._answer(sock)[0]

    def _connection(self) -> Connection:
        try:
            return Connection(self._open())
        except OSError as error:
            raise KernelError(f"ask the kernel: {error.strerror}", hint="it may have ended") from None

    def _answer(self, sock: socket) -> tuple[Any, list[int], list[Any], protocol.Frames]:
        frames = protocol.Frames()
        fds: list[int] = []
        while True:
            try:
                data, more = protocol.receive(sock)
            except ConnectionError:
                data, more = b"", []
            fds += more
            if not data:
                raise _gone(sock, self.log, "the kernel process has gone")
            values = frames.feed(data)
            if values:
                if "error" in values[0]:
                    _raise(values[0])
                return values[0]["ok"], fds, values[1:], frames

    def _session(self, request: dict[str, Any], stdin: int | None) -> Session:
        request["stdin"] = stdin is not None
        sock = self._connection().sock
        try:
            protocol.send(sock, request, None if stdin is None else [stdin])
            value, fds, rest, frames = self._answer(sock)
        except BaseException:
            sock.close()
            raise
        session = Session(sock, value["pid"], fds[0] if fds else None, frames, self.log)
        session.add(rest)
        return session

    def start(self, spec: dict[str, Any], stdin: int | None = None) -> Session:
        """A container's first process. stdin: a descriptor that becomes its standard input (stays the caller's)."""
        return self._session({"op": "start", "spec": spec}, stdin)

    def exec(self, identity: str, spec: dict[str, Any], stdin: int | None = None) -> Session:
        """One more process in a running container."""
        return self._session({"op": "exec", "id": identity, "spec": spec}, stdin)

    def attach(self, identity: str, stdin: int | None = None) -> Session:
        """Join the first process's output from now on, and its terminal if it has one.

        stdin: read by the kernel and written to the process's standard input, where that was kept open (-i).
        """
        return self._session({"op": "attach", "id": identity}, stdin)

    def wait(self, identity: str, timeout: float | None = None) -> int | None:
        """Until a running container ends; its exit code, or None after timeout seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._connection() as sock:
            protocol.send(sock, {"op": "wait", "id": identity})
            _, _, rest, frames = self._answer(sock)
            poll = select.poll()
            poll.register(sock.fileno(), select.POLLIN)
            while True:
                for value in rest:
                    if isinstance(value, list) and value[0] == "exit":
                        return int(value[1])
                left = None if deadline is None else max(deadline - time.monotonic(), 0) * 1000
                if not poll.poll(left):
                    return None
                data, _ = protocol.receive(sock)
                if not data:
                    raise _gone(sock, self.log, "the kernel process has gone")
                rest = frames.feed(data)

    def kill(self, identity: str, signum: int) -> None:
        self._ask({"op": "kill", "id": identity, "signal": signum})

    def pause(self, identity: str) -> None:
        self._ask({"op": "pause", "id": identity})

    def unpause(self, identity: str) -> None:
        self._ask({"op": "unpause", "id": identity})

    def update(self, identity: str, limits: dict[str, Any]) -> None:
        """Other limits (kernel/limits.py) for a running container, from now on."""
        self._ask({"op": "update", "id": identity, "limits": limits})

    def sync(self, identity: str) -> None:
        """After it, the journal on disk holds every change made so far."""
        self._ask({"op": "sync", "id": identity})

    def put_archive(self, identity: str, path: bytes, fd: int) -> None:
        """Extract an uncompressed tar into a directory of a running container."""
        self._ask({"op": "put_archive", "id": identity, "path": path}, [fd])

    def containers(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._ask({"op": "containers"})
        return found

    def stats(self, identities: list[str]) -> list[dict[str, Any]]:
        """What those of these containers use that run; the fields are in engine/stats.py."""
        found: list[dict[str, Any]] = self._ask({"op": "stats", "ids": identities})
        return found

    def processes(self, identity: str | None = None) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._ask({"op": "processes", "id": identity})
        return found

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self._ask({"op": "status"})
        return found

    def syscalls(self) -> list[list[str]]:
        found: list[list[str]] = self._ask({"op": "syscalls"})
        return found

    def shutdown(self) -> None:
        """Kill every container and end the kernel; returns when it has ended."""
        try:
            self._ask({"op": "shutdown"})
        except KernelError:
            return
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            try:
                self._open().close()
            except OSError:
                return
            time.sleep(0.005)
