"""The process that holds a store's machines. Clients speak to it as to the emulated kernel (kernel/protocol.py),
so that the engine need not care which of the two runs a container.

    python -m pycontain.vm.server --root STORE --directory RUNTIME

Started on demand, it ends when it has had no machine for a while. Every QEMU dies with it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pycontain.errors import ContainerError, MachineError
from pycontain.kernel import protocol
from pycontain.kernel.streams import Log
from pycontain.store import Store
from pycontain.vm import leftovers, rootfs
from pycontain.vm.cloner import Cloner
from pycontain.vm.connection import Connection, report
from pycontain.vm.machine import Machine
from pycontain.vm.mounting import set_up
from pycontain.vm.operations import Operations
from pycontain.vm.running import Running
from pycontain.vm.session import Session
from pycontain.vm.syncing import Changes
from pycontain.vm.uml.boot import Booter

IDLE_SECONDS = 120.0


class Server:
    """The store's machines, and who asks for what of them (operations.py)."""

    def __init__(self, root: str, listener: socket.socket) -> None:
        self.store = Store.open(root)
        self.root = self.store.root
        self.running: dict[str, Running] = {}
        self._starting: set[asyncio.Task[Any]] = set()
        self._closing = False
        self._connections: set[Connection] = set()
        self._busy_at = time.monotonic()
        self._listener = listener
        self._claim = leftovers.claim(self.root)
        self.cloner = Cloner(self.root)
        self._uml = Booter(protocol.runtime_directory(self.root))
        self._operations = Operations(self)
        self.over = asyncio.Event()
        listener.setblocking(False)
        asyncio.get_running_loop().add_reader(listener.fileno(), self._accept)

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return
        peer = struct.unpack("iII", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if peer[1] not in (0, os.geteuid()):
            sock.close()
            return
        self._connections.add(Connection(self, sock))

    def gone(self, connection: Connection) -> None:
        """A client has left."""
        self._connections.discard(connection)
        for running in self.running.values():
            if connection in running.waiters:
                running.waiters.remove(connection)
        self._busy_at = time.monotonic()

    async def watch_idle(self, idle: float) -> None:
        """End when nobody has needed us for that long."""
        while not self.over.is_set():
            await asyncio.sleep(min(idle, 5.0))
            if self.running or self._starting or self._connections:
                self._busy_at = time.monotonic()
            elif time.monotonic() - self._busy_at >= idle:
                self.over.set()

    async def serve(self, connection: Connection, request: Any) -> Any:
        """Carry out one request."""
        name = request.get("op") if isinstance(request, dict) else None
        operation = getattr(self._operations, f"op_{name}", None) if isinstance(name, str) else None
        if operation is None:
            raise MachineError(
                f"machines: unknown request {request!r:.80}", hint="does another version's server run?"
            )
        return await operation(connection, request)

    def find(self, identity: str) -> Running:
        """The running container. ContainerError where it does not run."""
        running = self.running.get(identity)
        if running is None:
            raise ContainerError(f"container {identity[:12]}: not running")
        return running

    def listening(self, identity: str) -> Running:
        """As find(), of a machine that can answer. A paused one would be given up for not doing so."""
        running = self.find(identity)
        if running.machine.paused:
            raise ContainerError(
                f"container {identity[:12]}: paused", hint=f"pycontain unpause {identity[:12]}"
            )
        return running

    # -- starting

    @contextmanager
    def counted(self) -> Iterator[None]:
        """What is done inside keeps the server from ending for idleness, and is cancelled by a shutdown."""
        task = asyncio.current_task()
        assert task is not None
        if self._closing:
            raise MachineError("start a machine: the server is ending")
        self._starting.add(task)
        try:
            yield
        finally:
            self._starting.discard(task)

    async def start(self, identity: str, spec: dict[str, Any]) -> Running:
        """A machine for a container, with its first program."""
        settings = spec.get("machine") or {}
        disk = await asyncio.to_thread(rootfs.of_container, self.store, spec["layers"], spec["directory"])
        if spec.get("runtime") == "uml":
            machine = await self._uml.boot(int(settings.get("memory") or 128), disk)
        else:
            machine = await self.cloner.clone(settings, identity, disk)
        log = Log(os.path.join(spec["directory"], "log")) if spec.get("log") else None
        try:
            await set_up(machine, spec)
            session = await machine.start(spec, log, init=True)
        except BaseException:
            await machine.stop()
            self._clean(identity)
            if log is not None:
                log.close()
            raise
        changes = None if spec.get("remove") else Changes(self.store, spec["layers"], spec["directory"])
        return self.adopt(identity, machine, spec, changes, log, session)

    def adopt(
        self, identity: str, machine: Machine, spec: dict[str, Any], changes: Changes | None, log: Log | None,
        session: Session,
    ) -> Running:  # fmt: skip
        """A machine that runs a container from now on."""
        running = Running(machine, spec, changes, log)
        self.running[identity] = running
        session.done.append(lambda done: self._finished(identity, running, done))
        if changes is not None:
            machine.on_end = changes.bring_home
        running.write_state()
        return running

    async def clear(self, identity: str) -> None:
        """End the container's machine, if one runs, and keep the container even where it was to be removed then."""
        running = self.running.get(identity)
        if running is None:
            return
        running.spec["remove"] = False
        await running.machine.stop()
        while self.running.get(identity) is running:
            await asyncio.sleep(0.001)

    async def shut_down(self) -> None:
        """End every machine, and then this process."""
        self._closing = True
        begun = [*self._starting, *self.cloner.boots()]
        for task in begun:
            task.cancel()
        if begun:
            await asyncio.wait(begun)
        for running in list(self.running.values()):
            await running.machine.stop()
        await self.cloner.end()
        self.over.set()

    # -- ends

    def _finished(self, identity: str, running: Running, session: Session) -> None:
        asyncio.get_running_loop().create_task(self._bury(identity, running, session)).add_done_callback(
            report
        )

    async def _bury(self, identity: str, running: Running, session: Session) -> None:
        await running.machine.ended.wait()
        if self.running.get(identity) is running:
            del self.running[identity]
        if running.log is not None:
            running.log.close()
            running.log = None
        self._clean(identity)
        if running.spec.get("remove"):
            shutil.rmtree(running.spec["directory"], ignore_errors=True)
        else:
            running.write_state()
        for waiter in running.waiters:
            waiter.send(["exit", session.exit_code])
        self._busy_at = time.monotonic()

    def _clean(self, identity: str) -> None:
        shutil.rmtree(os.path.join(self.root, "vm", "run", identity), ignore_errors=True)


async def _main(root: str, runtime: str, listener: socket.socket) -> None:
    server = Server(root, listener)
    loop = asyncio.get_running_loop()

    def end() -> None:
        loop.create_task(server.shut_down()).add_done_callback(report)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    idle = asyncio.create_task(server.watch_idle(float(os.environ.get("PYCONTAIN_VM_IDLE", IDLE_SECONDS))))
    await server.over.wait()
    os.unlink(os.path.join(runtime, "kernel.sock"))
    listener.close()
    await asyncio.sleep(0.05)  # the last answers leave
    idle.cancel()


def main(arguments: list[str]) -> int:
    """The server's process."""
    import fcntl
    import resource

    options = dict(zip(arguments[::2], arguments[1::2], strict=True))
    runtime = options["--directory"]
    lock = os.open(os.path.join(runtime, "kernel.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return 0  # another one was quicker
    os.chdir("/")
    os.umask(0o022)
    # every file of a share that a guest knows of is a descriptor of ours
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    path = os.path.join(runtime, "kernel.sock")
    if os.path.exists(path):
        os.unlink(path)  # of a server that was killed: we hold the lock
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(128)
    asyncio.run(_main(options["--root"], runtime, listener))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
