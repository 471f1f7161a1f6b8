"""The engine's side: requests to the process that holds the machines, as a KernelClient."""

from __future__ import annotations

import os
import sys
import time

from pycontain.errors import KernelError, MachineError
from pycontain.kernel import protocol
from pycontain.kernel.control import START_TIMEOUT, KernelClient, Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class MachineSession(Session):
    """A program in a machine. Leaving on purpose is told: a client that just vanishes was killed."""

    def close(self) -> None:
        """Leave; the program goes on."""
        try:
            protocol.send(self._sock, {"op": "detach"})
        except OSError:
            pass  # the server has gone, and there is nothing to leave
        super().close()


class MachineClient(KernelClient):
    """Requests to the machines' server of a store."""

    LOG = "server.log"

    @classmethod
    def connect(cls, store_root: str, start: bool = True) -> MachineClient | None:
        """start: start the server if it does not run; without it, None is returned in that case."""
        client = cls(store_root, runtime_directory(store_root))
        try:
            client._open().close()
        except OSError:
            if not start:
                return None
            client._start()
        return client

    def _start(self) -> None:
        log = self.log
        environment = dict(os.environ)
        package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        environment["PYTHONPATH"] = package + os.pathsep + environment.get("PYTHONPATH", "")
        pid = os.posix_spawn(
            sys.executable,
            [
                sys.executable,
                "-s",
                "-P",  # not what lies in the current directory
                "-m",
                "pycontain.vm.server",
                "--root",
                self.store_root,
                "--directory",
                self.directory,
            ],
            environment,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            try:
                self._open().close()
                return
            except OSError:
                time.sleep(0.003)
            if pid:
                found, status = os.waitpid(pid, os.WNOHANG)
                if found:
                    if status:
                        break
                    pid = 0
        raise MachineError("start the machines' server: it did not answer", hint=self._last_words(log))

    def _session(self, request: dict[str, Any], stdin: int | None) -> Session:
        plain = super()._session(request, stdin)
        session = MachineSession(plain._sock, plain.pid, plain.master, plain._frames, plain._log)
        session._events = plain._events
        return session

    def ask(self, request: dict[str, Any]) -> Any:
        """A request that only machines know: template, snapshot, restore."""
        return self._ask(request)


class Everything(KernelClient):
    """The emulated kernel's containers and the machines' as one, for verbs that take either."""

    def __init__(self, kernel: KernelClient | None, machines: MachineClient) -> None:
        super().__init__(machines.store_root, (kernel or machines).directory)
        self._kernel = kernel
        self._machines = machines
        self._known: set[str] = set()

    def _connect_to(self, identity: str) -> KernelClient:
        if self._kernel is None:
            return self._machines
        if identity not in self._known:
            self._known = {str(row["id"]) for row in self._machines.containers()}
        return self._machines if identity in self._known else self._kernel

    def start(self, spec: dict[str, Any], stdin: int | None = None) -> Session:
        """By the specification's runtime."""
        chosen = self._machines if spec.get("runtime") or self._kernel is None else self._kernel
        return chosen.start(spec, stdin)

    def exec(self, identity: str, spec: dict[str, Any], stdin: int | None = None) -> Session:
        return self._connect_to(identity).exec(identity, spec, stdin)

    def attach(self, identity: str, stdin: int | None = None) -> Session:
        return self._connect_to(identity).attach(identity, stdin)

    def wait(self, identity: str, timeout: float | None = None) -> int | None:
        return self._connect_to(identity).wait(identity, timeout)

    def kill(self, identity: str, signum: int) -> None:
        self._connect_to(identity).kill(identity, signum)

    def pause(self, identity: str) -> None:
        self._connect_to(identity).pause(identity)

    def unpause(self, identity: str) -> None:
        self._connect_to(identity).unpause(identity)

    def update(self, identity: str, limits: dict[str, Any]) -> None:
        self._connect_to(identity).update(identity, limits)

    def sync(self, identity: str) -> None:
        self._connect_to(identity).sync(identity)

    def put_archive(self, identity: str, path: bytes, fd: int) -> None:
        self._connect_to(identity).put_archive(identity, path, fd)

    def containers(self) -> list[dict[str, Any]]:
        return (self._kernel.containers() if self._kernel is not None else []) + self._machines.containers()

    def stats(self, identities: list[str]) -> list[dict[str, Any]]:
        mine = self._kernel.stats(identities) if self._kernel is not None else []
        try:
            return mine + self._machines.stats(identities)
        except KernelError:
            return mine  # this server does not tell yet: its machines are shown without figures

    def processes(self, identity: str | None = None) -> list[dict[str, Any]]:
        if identity is not None:
            return self._connect_to(identity).processes(identity)
        return (self._kernel.processes() if self._kernel is not None else []) + self._machines.processes()

    def status(self) -> dict[str, Any]:
        if self._kernel is None:
            raise KernelError("ask the kernel: it does not run")
        return self._kernel.status()

    def shutdown(self) -> None:
        if self._kernel is not None:
            self._kernel.shutdown()
        self._machines.shutdown()


def runtime_directory(store_root: str) -> str:
    """Where the server has its socket."""
    path = os.path.join(protocol.runtime_directory(store_root), "vm")
    os.makedirs(path, mode=0o700, exist_ok=True)
    return path


def with_machines(kernel: KernelClient | None, store_root: str) -> KernelClient | None:
    """The kernel's client, or one for both where a server for machines runs."""
    machines = MachineClient.connect(store_root, start=False)
    return kernel if machines is None else Everything(kernel, machines)
