"""The process that holds a store's machines. Clients speak to it as to the emulated kernel (kernel/protocol.py),
so that the engine need not care which of the two runs a container.

    python -m pycontain.vm.server --root STORE --directory RUNTIME

Started on demand, it ends when it has had no machine for a while. Every QEMU dies with it.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import struct
import sys
import time
import traceback
from typing import Any

from pycontain.errors import ContainerError, MachineError, PycontainError
from pycontain.kernel import protocol
from pycontain.kernel.streams import Log
from pycontain.store import Store
from pycontain.vm import accel, qemu, rootfs
from pycontain.vm import template as templates
from pycontain.vm.home import directory
from pycontain.vm.machine import Machine, set_up
from pycontain.vm.process import Process
from pycontain.vm.session import Session
from pycontain.vm.syncing import Changes
from pycontain.vm.uml.boot import Booter

IDLE_SECONDS = 120.0
HIGH_WATER = 4 << 20
"""Bytes waiting for a client, above which its program's output is not read."""


class Running:
    """A container that runs in a machine."""

    def __init__(
        self, machine: Machine, spec: dict[str, Any], changes: Changes | None, log: Log | None
    ) -> None:
        self.machine = machine
        self.spec = spec
        self.changes = changes
        self.log = log
        self.waiters: list[Connection] = []

    @property
    def init(self) -> Session:
        assert self.machine.init is not None
        return self.machine.init


class Connection:
    """A client."""

    def __init__(self, server: Server, sock: socket.socket) -> None:
        self.server = server
        self.sock = sock
        self.session: Session | None = None
        self.running: Running | None = None
        self.foreground = False
        """It started the container and stays: when it is killed, the machine ends."""
        self._frames = protocol.Frames()
        self._fds: list[int] = []
        self._out = bytearray()
        self._loop = asyncio.get_running_loop()
        sock.setblocking(False)
        self._loop.add_reader(sock.fileno(), self._ready)

    def _ready(self) -> None:
        try:
            data, fds = protocol.receive(self.sock)
        except BlockingIOError:
            return
        except OSError:
            data, fds = b"", []
        self._fds += fds
        if not data:
            self.close()
            return
        try:
            requests = self._frames.feed(data)
        except ValueError:
            self.close()
            return
        for request in requests:
            self._loop.create_task(self._serve(request)).add_done_callback(_report)

    async def _serve(self, request: Any) -> None:
        try:
            answer = await self.server.serve(self, request)
        except PycontainError as error:
            self.send({"error": error.message, "hint": error.hint, "code": error.exit_code})
        except Exception as error:
            traceback.print_exception(error, file=sys.stderr)
            self.send({"error": f"machines: {type(error).__name__}: {error}", "hint": None, "code": 125})
        else:
            if isinstance(answer, tuple):
                self.send({"ok": answer[0]}, answer[1])
            elif answer is not NotImplemented:
                self.send({"ok": answer})

    def take_fd(self) -> int | None:
        """The next descriptor that came along."""
        return self._fds.pop(0) if self._fds else None

    def send(self, value: Any, fds: list[int] | None = None) -> None:
        """Queue a frame. Descriptors go at once."""
        if self.sock.fileno() < 0:
            return
        data = protocol.pack(value)
        if fds and not self._out:
            rights = struct.pack(f"{len(fds)}i", *fds)
            data = data[self.sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)]) :]
        self._out += data
        self._flush()

    def _flush(self) -> None:
        try:
            while self._out:
                del self._out[: self.sock.send(self._out)]
        except BlockingIOError:
            self._loop.add_writer(self.sock.fileno(), self._flush)
        except OSError:
            self.close()
            return
        else:
            self._loop.remove_writer(self.sock.fileno())
        if self.session is not None:
            paused = len(self._out) > HIGH_WATER
            if self.session.paused and not paused and self.running is not None:
                self.session.paused = False
                self.running.machine.poke()
            self.session.paused = paused

    def output(self, stream: int, data: bytes) -> None:
        """A program's output."""
        self.send(["output", stream, data])

    def ended(self, session: Session) -> None:
        """The program has ended."""
        self.session = None
        self.send(["exit", session.exit_code])

    def join(self, running: Running, session: Session) -> None:
        """From now on the program's output goes to this client."""
        self.running, self.session = running, session
        session.sinks.append(self.output)
        if session is running.init:
            running.waiters.append(self)  # told when the machine's changes are home, too
        else:
            session.done.append(self.ended)

    def close(self) -> None:
        """The client has gone."""
        if self.sock.fileno() < 0:
            return
        self._loop.remove_reader(self.sock.fileno())
        self._loop.remove_writer(self.sock.fileno())
        self.sock.close()
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()
        session, running = self.session, self.running
        if session is not None and running is not None:
            session.paused = False
            if self.output in session.sinks:
                session.sinks.remove(self.output)
            if self.ended in session.done:
                session.done.remove(self.ended)
            if self.foreground and session.exit_code is None:
                self._loop.create_task(running.machine.stop()).add_done_callback(_report)
        self.server.gone(self)


class Server:
    """The operations; op_NAME serves the request {"op": NAME}."""

    def __init__(self, root: str, listener: socket.socket) -> None:
        self.store = Store.open(root)
        self.root = self.store.root
        self.running: dict[str, Running] = {}
        self.starting = 0
        self._connections: set[Connection] = set()
        self._busy_at = time.monotonic()
        self._listener = listener
        self._templates: dict[tuple[Any, ...], asyncio.Task[templates.Template]] = {}
        self._qemu: qemu.Qemu | None = None
        self._uml = Booter(protocol.runtime_directory(self.root))
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
            if self.running or self.starting or self._connections:
                self._busy_at = time.monotonic()
            elif time.monotonic() - self._busy_at >= idle:
                self.over.set()

    async def serve(self, connection: Connection, request: Any) -> Any:
        """Carry out one request."""
        name = request.get("op") if isinstance(request, dict) else None
        operation = getattr(self, f"op_{name}", None) if isinstance(name, str) else None
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

    # -- starting

    async def template(self, settings: dict[str, Any]) -> templates.Template:
        """The template for these settings; many may wait for the same boot."""
        if self._qemu is None:
            self._qemu = await asyncio.to_thread(qemu.find)
        wanted = str(settings.get("accel") or "auto")
        chosen = await asyncio.to_thread(accel.choose, wanted, directory(self.root))
        memory = max(int(settings.get("memory") or 128), 96)
        key = (chosen, memory, int(settings.get("cpus") or 1))
        task = self._templates.get(key)
        if task is None or (
            task.done() and (task.exception() or not os.path.exists(task.result().directory))
        ):
            boot = templates.obtain(self.root, self._qemu, *key)
            task = self._templates[key] = asyncio.get_running_loop().create_task(boot)
        return await asyncio.shield(task)

    async def machine(
        self, settings: dict[str, Any], identity: str, disk: str
    ) -> tuple[Machine, templates.Template]:
        """A clone that runs, with nothing in it yet."""
        found = await self.template(settings)
        assert self._qemu is not None
        place = directory(self.root, "run", identity)
        forwards = tuple((f[0], int(f[1]), int(f[2]), f[3]) for f in settings.get("forwards") or [])
        described = found.machine(os.path.join(place, "console"), disk, forwards)
        process = Process(self._qemu.path, described, os.path.join(place, "qemu.log"))
        try:
            await asyncio.to_thread(process.load, os.path.join(found.directory, "state"))
        except BaseException:
            process.control.close()
            process.kill()
            raise
        return Machine(process, found.signals), found

    async def op_start(self, connection: Connection, request: dict[str, Any]) -> Any:
        spec = request["spec"]
        stdin = connection.take_fd() if request.get("stdin") else None
        identity = str(spec["id"])
        self.starting += 1
        try:
            if identity in self.running:
                raise ContainerError(f"start container {identity[:12]}: it is running already")
            running = await self._start(identity, spec)
            if stdin is not None:
                self._feed(running.machine, running.init, stdin)
                stdin = None
            if running.init.terminal:
                self.feed_terminal(running.machine, running.init)
        finally:
            self.starting -= 1
            if stdin is not None:
                os.close(stdin)
        connection.foreground = bool(spec.get("attach", True)) and not request.get("detached")
        return self._joined(connection, running, running.init, spec)

    async def _start(self, identity: str, spec: dict[str, Any]) -> Running:
        settings = spec.get("machine") or {}
        disk = await asyncio.to_thread(rootfs.of_container, self.store, spec["layers"], spec["directory"])
        if spec.get("runtime") == "uml":
            machine = await self._uml.boot(int(settings.get("memory") or 128), disk)
        else:
            machine, _ = await self.machine(settings, identity, disk)
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
        self._write_state(running, session)
        return running

    def _joined(
        self, connection: Connection, running: Running, session: Session, spec: dict[str, Any]
    ) -> Any:
        if spec.get("attach", True):
            connection.join(running, session)
        value = {"pid": running.machine.process.pid, "terminal": session.terminal}
        return (value, [session.master]) if session.terminal and session.master >= 0 else value

    def _feed(self, machine: Machine, session: Session, source: int) -> None:
        """What can be read from source goes to the program."""
        os.set_blocking(source, False)
        loop = asyncio.get_running_loop()

        over = False

        def stop() -> None:
            nonlocal over
            over = True
            loop.remove_reader(source)
            os.close(source)

        def ready() -> None:
            if over:
                return
            if session.exit_code is not None or session.input < 0:
                stop()
                return
            if not machine.wants_input(session):
                loop.remove_reader(source)
                loop.call_later(0.02, again)
                return
            try:
                data = os.read(source, 1 << 16)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            machine.feed(session, data)
            if not data:
                stop()

        def again() -> None:
            if not over:
                loop.add_reader(source, ready)

        loop.add_reader(source, ready)

        def ended(_: Session) -> None:
            loop.call_soon(ready)

        session.done.append(ended)

    def feed_terminal(self, machine: Machine, session: Session) -> None:
        """What the client writes to its terminal goes to the program's."""
        self._feed(machine, session, os.dup(session.slave))

    # -- running containers

    async def op_exec(self, connection: Connection, request: dict[str, Any]) -> Any:
        stdin = connection.take_fd() if request.get("stdin") else None
        try:
            running = self.find(request["id"])
            session = await running.machine.start(request["spec"], None, init=False)
            if stdin is not None:
                self._feed(running.machine, session, stdin)
                stdin = None
        finally:
            if stdin is not None:
                os.close(stdin)
        if session.terminal:
            self.feed_terminal(running.machine, session)
        return self._joined(connection, running, session, request["spec"])

    async def op_attach(self, connection: Connection, request: dict[str, Any]) -> Any:
        stdin = connection.take_fd() if request.get("stdin") else None
        try:
            running = self.find(request["id"])
        except BaseException:
            if stdin is not None:
                os.close(stdin)
            raise
        if stdin is not None:
            self._feed(running.machine, running.init, stdin)
        return self._joined(connection, running, running.init, {"attach": True})

    async def op_detach(self, connection: Connection, request: dict[str, Any]) -> Any:
        """The client leaves on purpose: the container runs on."""
        connection.foreground = False
        return NotImplemented

    async def op_signal(self, connection: Connection, request: dict[str, Any]) -> None:
        if connection.session is not None and connection.running is not None:
            await connection.running.machine.signal(connection.session, int(request["signal"]))

    async def op_kill(self, connection: Connection, request: dict[str, Any]) -> None:
        running = self.find(request["id"])
        if running.machine.paused:
            await self.op_unpause(connection, request)
        await running.machine.signal(running.init, int(request["signal"]))

    async def op_pause(self, connection: Connection, request: dict[str, Any]) -> None:
        machine = self.find(request["id"]).machine
        await asyncio.to_thread(machine.process.pause)
        machine.paused = True

    async def op_unpause(self, connection: Connection, request: dict[str, Any]) -> None:
        machine = self.find(request["id"]).machine
        await asyncio.to_thread(machine.process.unpause)
        machine.paused = False

    async def op_sync(self, connection: Connection, request: dict[str, Any]) -> None:
        running = self.find(request["id"])
        if running.changes is None:
            running.changes = Changes(self.store, running.spec["layers"], running.spec["directory"])
        await running.changes.bring_home(running.machine)

    async def op_put_archive(self, connection: Connection, request: dict[str, Any]) -> None:
        from pycontain.vm.put import put_archive  # rarely used, and imports tarfile

        fd = connection.take_fd()
        if fd is None:
            raise MachineError("copy into a machine: no archive was sent")
        with open(fd, "rb") as file:
            await put_archive(self.find(request["id"]).machine, request["path"], file)

    async def op_wait(self, connection: Connection, request: dict[str, Any]) -> Any:
        self.find(request["id"]).waiters.append(connection)
        return {"waiting": True}

    async def op_containers(self, connection: Connection, request: dict[str, Any]) -> list[dict[str, Any]]:
        return [
            {
                "id": identity,
                "pid": running.machine.process.pid,
                "processes": sum(s.exit_code is None for s in running.machine.sessions),
                "started": running.init.started,
                "paused": running.machine.paused,
                "runtime": running.spec.get("runtime") or "vm",
            }
            for identity, running in self.running.items()
        ]

    async def op_processes(self, connection: Connection, request: dict[str, Any]) -> list[dict[str, Any]]:
        from pycontain.vm.processes import processes  # only for top

        wanted = request.get("id")
        found: list[dict[str, Any]] = []
        for identity, running in list(self.running.items()):
            if wanted in (None, identity):
                found += await processes(identity, running.machine)
        return found

    async def op_status(self, connection: Connection, request: dict[str, Any]) -> dict[str, Any]:
        from pycontain import __version__

        return {"pid": os.getpid(), "version": __version__, "containers": len(self.running), "memory": {}}

    async def op_template(self, connection: Connection, request: dict[str, Any]) -> dict[str, Any]:
        """Make sure that there is a template; what it is."""
        return (await self.template(request.get("settings") or {}))._asdict()

    async def op_snapshot(self, connection: Connection, request: dict[str, Any]) -> dict[str, Any]:
        from pycontain.vm import snapshot

        return await snapshot.take(self.root, request["id"], self.find(request["id"]), request["tag"])

    async def op_restore(self, connection: Connection, request: dict[str, Any]) -> dict[str, Any]:
        from pycontain.vm import snapshot

        self.starting += 1
        try:
            if request["spec"]["id"] in self.running:
                raise ContainerError(f"restore {request['tag']}: the container is running")
            if self._qemu is None:
                self._qemu = await asyncio.to_thread(qemu.find)
            running = await snapshot.restore(
                self, self._qemu, request["tag"], request["spec"], fresh=request["fresh"]
            )
        finally:
            self.starting -= 1
        return {"pid": running.machine.process.pid}

    async def op_shutdown(self, connection: Connection, request: dict[str, Any]) -> None:
        for running in list(self.running.values()):
            await running.machine.stop()
        self.over.set()

    # -- ends

    def _finished(self, identity: str, running: Running, session: Session) -> None:
        asyncio.get_running_loop().create_task(self._bury(identity, running, session)).add_done_callback(
            _report
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
            self._write_state(running, session)
        for waiter in running.waiters:
            waiter.send(["exit", session.exit_code])
        self._busy_at = time.monotonic()

    def _clean(self, identity: str) -> None:
        shutil.rmtree(os.path.join(self.root, "vm", "run", identity), ignore_errors=True)

    def _write_state(self, running: Running, session: Session) -> None:
        ended = session.exit_code is not None
        state = {
            "status": "exited" if ended else "running",
            "pid": 0 if ended else running.machine.process.pid,
            "exit_code": session.exit_code if ended else 0,
            "started": session.started,
            "finished": time.time_ns() if ended else 0,
        }
        path = os.path.join(running.spec["directory"], "state.json")
        try:
            with open(path + "~", "w", encoding="ascii") as file:
                json.dump(state, file)
            os.rename(path + "~", path)
        except FileNotFoundError:
            pass  # removed with force


def _report(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and task.exception() is not None:
        traceback.print_exception(task.exception(), file=sys.stderr)


async def _main(root: str, runtime: str, listener: socket.socket) -> None:
    server = Server(root, listener)
    loop = asyncio.get_running_loop()

    def end() -> None:
        loop.create_task(server.op_shutdown(None, {})).add_done_callback(_report)  # type: ignore[arg-type]

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

    options = dict(zip(arguments[::2], arguments[1::2], strict=True))
    runtime = options["--directory"]
    lock = os.open(os.path.join(runtime, "kernel.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return 0  # another one was quicker
    os.chdir("/")
    os.umask(0o022)
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
