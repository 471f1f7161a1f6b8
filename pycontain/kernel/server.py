"""The control socket: what clients ask of the kernel. See protocol.py for the frames."""

from __future__ import annotations

import gc
import json
import os
import resource
import shutil
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from pycontain.errors import DISK_FULL, ContainerError, KernelError
from pycontain.kernel import log as kernel_log
from pycontain.kernel import setup, stats
from pycontain.kernel.cgroup import Cgroup
from pycontain.kernel.connection import Connection
from pycontain.kernel.container import Container
from pycontain.kernel.kernel import Kernel
from pycontain.kernel.session import Session
from pycontain.kernel.streams import Log
from pycontain.kernel.task import Process
from pycontain.kernel.vfs.proctext import host_file

LOOK_IDLE = 5.0  # seconds after which it is looked at whether anybody needs the kernel
SYNC_INTERVAL = 0.05  # seconds that changes of metadata may wait for the journal


STATE_SIZE = 512  # bytes of state.json
ENDED_UNCOLLECTED = (
    32  # containers that have ended and may be kept in memory while others run, at some 200 KB each
)


class Running:
    """A container that runs, with what the server keeps about it."""

    def __init__(self, container: Container, spec: dict[str, Any], log: Log | None) -> None:
        self.container = container
        self.spec = spec
        self.log = log
        self.sessions: list[Session] = []
        self.waiters: list[Connection] = []


class Server:
    """Listens, dispatches, and ends the kernel when nobody has needed it for a while."""

    def __init__(self, kernel: Kernel, path: str, idle: float) -> None:
        self.kernel = kernel
        self.loop = kernel.loop
        self.running: dict[str, Running] = {}
        self._connections: set[Connection] = set()
        self._idle = idle
        self._busy_at = time.monotonic()
        self._ended = 0  # containers, since the last collection
        self._quiet = 0  # how often in a row nobody needed the kernel when that was looked at
        self._path = path
        if os.path.exists(path):  # we hold the lock
            started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(os.stat(path).st_mtime))
            kernel_log.write(f"the kernel that was started at {started} was killed, and its containers with it")
        self._listener = self._listen()
        kernel.on_exit = self._exited
        self._look_every = min(idle, LOOK_IDLE)
        kernel.loop.later(self._look_every, self._look_idle)
        self._operations: dict[str, Callable[[Connection, dict[str, Any]], Any]] = {
            name[3:]: getattr(self, name) for name in dir(self) if name.startswith("op_")
        }

    # -- connections

    def _listen(self) -> socket.socket:
        with suppress(FileNotFoundError):
            os.unlink(self._path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(self._path)
        listener.listen(128)
        listener.setblocking(False)
        self.loop.register(listener.fileno(), self._accept)
        return listener

    def _accept(self, events: int = 0) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return
        self._serve_client(sock)

    def _serve_client(self, sock: socket.socket) -> None:
        peer = struct.unpack("iII", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if peer[1] not in (0, os.geteuid()):
            sock.close()
            return
        self._connections.add(Connection(self, sock))

    def closed(self, connection: Connection) -> None:
        self._connections.discard(connection)
        for running in self.running.values():
            if connection in running.waiters:
                running.waiters.remove(connection)
        self._busy_at = time.monotonic()

    def _look_idle(self) -> None:
        busy = bool(self.running or self._connections)
        if busy:
            self._busy_at = time.monotonic()
            self._quiet = 0
        else:
            self._quiet += 1  # counted, for the clock goes on while we do not: the machine may have slept
            enough = self._quiet * self._look_every >= self._idle
            if enough and time.monotonic() - self._busy_at >= self._idle and self._deserted():
                self.kernel.loop.stop()
                return
        if not busy or self._ended >= ENDED_UNCOLLECTED:
            gc.collect()  # automatic collection is off: it would stop a task in the middle of a call
            self._ended = 0
        self.kernel.loop.later(self._look_every, self._look_idle)

    def _deserted(self) -> bool:
        """Nobody has come since the last turn; and from now on who comes finds no kernel, and starts another one."""
        self._listener.shutdown(socket.SHUT_RDWR)
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return True
        self.loop.unregister(self._listener.fileno())
        came, self._listener = self._listener, self._listen()
        with came:
            self._serve_client(sock)
            with suppress(OSError):
                while True:
                    self._serve_client(came.accept()[0])
        return False

    def close(self) -> None:
        try:
            os.unlink(self._path)
        except FileNotFoundError:
            pass
        self._listener.close()

    # -- requests

    def serve(self, connection: Connection, request: Any) -> tuple[Any, list[int] | None] | None:
        operation = self._operations.get(str(request.get("op"))) if isinstance(request, dict) else None
        if operation is None:
            raise KernelError(
                f"kernel: unknown request {request!r:.80}", hint="is another version's kernel running?"
            )
        answer = operation(connection, request)
        if isinstance(answer, tuple):
            return {"ok": answer[0]}, answer[1]
        return {"ok": answer}, None

    def _find(self, request: dict[str, Any]) -> Running:
        running = self.running.get(request["id"])
        if running is None:
            raise ContainerError(f"container {request['id'][:12]}: not running")
        return running

    def op_start(self, connection: Connection, request: dict[str, Any]) -> Any:
        spec = request["spec"]
        stdin = connection.take_fd() if request.get("stdin") else None
        identity = spec["id"]
        try:
            if identity in self.running:
                raise ContainerError(f"start container {identity[:12]}: it is running already")
            container = setup.build(self.kernel, spec)
            fs, loop = container.root_fs, self.kernel.loop
            fs.on_change(lambda: loop.later(SYNC_INTERVAL, fs.sync))
            log = Log(os.path.join(spec["directory"], "log")) if spec.get("log") else None
            running = Running(container, spec, log)
            self.running[identity] = running
            self.kernel.containers[identity] = container
            try:
                session = Session(self.kernel, container, spec, stdin, log, init=True)
            except BaseException:
                self._remove(running)
                raise
        finally:
            if stdin is not None:
                os.close(stdin)
        running.sessions.append(session)
        session.done.append(lambda done: self._finished(running, done))
        self._write_state(running, session)
        return self._joined(connection, request, session)

    def op_exec(self, connection: Connection, request: dict[str, Any]) -> Any:
        stdin = connection.take_fd() if request.get("stdin") else None
        try:
            running = self._find(request)
            session = Session(self.kernel, running.container, request["spec"], stdin, None, init=False)
        finally:
            if stdin is not None:
                os.close(stdin)
        running.sessions.append(session)
        session.done.append(running.sessions.remove)
        return self._joined(connection, request, session)

    def op_attach(self, connection: Connection, request: dict[str, Any]) -> Any:
        stdin = connection.take_fd() if request.get("stdin") else None
        try:
            session = self._find(request).sessions[0]
        except BaseException:
            if stdin is not None:
                os.close(stdin)
            raise
        if stdin is not None:
            session.feed(stdin)
        return self._joined(connection, {"spec": {"attach": True}}, session)

    def _joined(self, connection: Connection, request: dict[str, Any], session: Session) -> Any:
        if request["spec"].get("attach", True):
            connection.attach(session)
        value = {"pid": session.pid, "terminal": session.terminal}
        return (value, [session.master]) if session.terminal else value

    def op_signal(self, connection: Connection, request: dict[str, Any]) -> None:
        """To the process of this connection."""
        if connection.session is not None:
            connection.session.signal(int(request["signal"]))

    def op_kill(self, connection: Connection, request: dict[str, Any]) -> None:
        running = self._find(request)
        try:
            running.sessions[0].signal(int(request["signal"]))
        except ProcessLookupError:
            pass

    def op_pause(self, connection: Connection, request: dict[str, Any]) -> None:
        container = self._find(request).container
        container.paused = True
        container.freeze()

    def op_unpause(self, connection: Connection, request: dict[str, Any]) -> None:
        container = self._find(request).container
        container.paused = False
        container.thaw()

    def op_update(self, connection: Connection, request: dict[str, Any]) -> None:
        self._find(request).container.limits.update(request["limits"])

    def op_sync(self, connection: Connection, request: dict[str, Any]) -> None:
        self._find(request).container.root_fs.sync()

    def op_wait(self, connection: Connection, request: dict[str, Any]) -> Any:
        running = self._find(request)
        running.waiters.append(connection)
        return {"waiting": True}

    def op_put_archive(self, connection: Connection, request: dict[str, Any]) -> None:
        from pycontain.unionfs.extract import extract  # rarely used, and imports tarfile

        fd = connection.take_fd()
        if fd is None:
            raise KernelError("copy into a container: no archive was sent")
        with open(fd, "rb") as file:
            extract(self._find(request).container.root_fs, request["path"], file)

    def op_containers(self, connection: Connection, request: dict[str, Any]) -> list[dict[str, Any]]:
        return [
            {
                "id": r.container.id,
                "pid": r.container.init.pid if r.container.init else 0,
                "processes": len(r.container.processes),
                "started": r.container.started_at,
                "paused": r.container.paused,
            }
            for r in self.running.values()
        ]

    def op_stats(self, connection: Connection, request: dict[str, Any]) -> list[dict[str, Any]]:
        """What containers use, of those whose ids are asked for; see engine/stats.py for the fields."""
        wanted = request.get("ids")
        return [stats.row(r.container) for key, r in self.running.items() if not wanted or key in wanted]

    def op_processes(self, connection: Connection, request: dict[str, Any]) -> list[dict[str, Any]]:
        wanted = request.get("id")
        found = []
        for running in self.running.values():
            container = running.container
            if wanted in (None, container.id):
                found += [self._process(container, p) for p in container.processes.values()]
        return found

    def _process(self, container: Container, process: Process) -> dict[str, Any]:
        text = host_file(process.pid, "stat")
        fields = text[text.rindex(b")") + 2 :].split() if text else [b"?"] + [b"0"] * 40
        name = text[text.index(b"(") + 1 : text.rindex(b")")] if text else process.name
        command = host_file(process.pid, "cmdline").rstrip(b"\0").replace(b"\0", b" ")
        parent = int(fields[1])
        tick = os.sysconf("SC_CLK_TCK")
        return {
            "container": container.id,
            "pid": container.inside(process.pid),
            "host_pid": process.pid,
            "ppid": container.inside(parent) if parent in container.processes else 0,
            "pgid": container.inside_or_zero(int(fields[2])),
            "sid": container.inside_or_zero(int(fields[3])),
            "foreground": container.inside_or_zero(int(fields[5])) if int(fields[5]) > 0 else 0,
            "uid": process.credentials.euid,
            "gid": process.credentials.egid,
            "state": fields[0].decode(),
            "threads": len(process.threads),
            "user": self._user_name(container, process.credentials.euid),
            "cpu": (int(fields[11]) + int(fields[12])) / tick,
            "nice": int(fields[16]),
            "vsz": int(fields[20]),
            "rss": int(fields[21]) * resource.getpagesize(),
            "memory_total": stats.memory_limit(container),
            "started": time.time_ns() - time.monotonic_ns() + process.started,
            "tty": int(fields[4]),
            "name": name.decode("utf-8", "replace"),
            "command": (command or b"[" + name + b"]").decode("utf-8", "replace"),
        }

    @staticmethod
    def _user_name(container: Container, uid: int) -> str:
        """The name in the container's /etc/passwd, else the number."""
        for line in setup.reader(container)(b"/etc/passwd").splitlines():
            fields = line.split(b":")
            if len(fields) > 2 and fields[2] == b"%d" % uid:
                return fields[0].decode("utf-8", "replace")
        return str(uid)

    def op_status(self, connection: Connection, request: dict[str, Any]) -> dict[str, Any]:
        memory = {}
        for line in host_file(os.getpid(), "status").splitlines():
            if line.startswith((b"VmRSS:", b"VmHWM:", b"RssAnon:")):
                memory[line.split(b":")[0].decode()] = int(line.split()[1]) * 1024
        return {
            "pid": os.getpid(),
            "version": version(),
            "uptime": (time.time_ns() - self.kernel.started) / 1e9,
            "memory": memory,
            "containers": len(self.running),
            "processes": len(self.kernel.tasks),
            "calls": self.kernel.platform.calls(),
            "fast": self.kernel.platform.fast_calls(),
            "limits": self._limits(),
            "restarts": self.kernel.platform.restarts,
            "unknown_calls": dict(self.kernel.unknown_calls),
            "failures": dict(self.kernel.failures),
        }

    def _limits(self) -> str:
        """Who keeps the limits of containers."""
        delegation = self.kernel.delegation
        if delegation is not None:
            return f"by the host's cgroups in {delegation.path} ({', '.join(delegation.controllers)})"
        return f"by this kernel ({self.kernel.undelegated})"

    def op_syscalls(self, connection: Connection, request: dict[str, Any]) -> list[list[str]]:
        return [[row.name, row.status, row.note] for row in self.kernel.rows.values()]

    def op_shutdown(self, connection: Connection, request: dict[str, Any]) -> None:
        if self.running:
            kernel_log.write(f"a client wants the kernel to end, and {len(self.running)} containers with it")
        self.shut_down()

    def shut_down(self) -> None:
        """Kill every container, and end when their ends have been recorded."""
        for running in self.running.values():
            self.kernel.kill_all(running.container)
        if not self.running:
            self.kernel.loop.stop()
        else:
            self.kernel.loop.later(0.02, self.shut_down)

    # -- ends

    def _exited(self, process: Process, status: int) -> None:
        running = self.running.get(process.container.id)
        if running is None:
            return
        for session in list(running.sessions):
            if session.process is process:
                session.ended(status)
        init = running.sessions[0] if running.sessions else None
        if init is not None and init.init and init.status is not None and not running.container.processes:
            init.finish()

    def _finished(self, running: Running, session: Session) -> None:
        """The first process and all others have gone."""
        for other in [s for s in running.sessions if s is not session]:
            other.finish()
        self._write_state(running, session)
        self._remove(running)
        for waiter in running.waiters:
            waiter.send(["exit", session.exit_code])
        self._busy_at = time.monotonic()

    def _remove(self, running: Running) -> None:
        container = running.container
        self._ended += 1
        self.running.pop(container.id, None)
        self.kernel.containers.pop(container.id, None)
        container.close()
        if running.log is not None:
            running.log.close()
        if container.limits.cgroup is not None:
            self._remove_cgroup(container.limits.cgroup)
        directory = container.directory
        for name in os.listdir(directory):
            if name in ("dev", "shm", "sys") or name.startswith("tmpfs-"):
                shutil.rmtree(os.path.join(directory, name), ignore_errors=True)
        if running.spec.get("remove") and container.init is not None:
            shutil.rmtree(directory, ignore_errors=True)

    def _remove_cgroup(self, cgroup: Cgroup, attempts: int = 10) -> None:
        """The host may take a moment until the last process has left it."""
        if not cgroup.remove() and attempts:
            self.loop.later(0.2, lambda: self._remove_cgroup(cgroup, attempts - 1))

    def _write_state(self, running: Running, session: Session) -> None:
        if running.spec.get("remove") and session.exit_code is not None:
            return
        ended = session.exit_code is not None
        state = {
            "status": "exited" if ended else "running",
            "pid": 0 if ended else session.pid,
            "exit_code": session.exit_code if ended else 0,
            "oom_killed": running.container.limits.killed > 0,
            "started": session.started,
            "finished": time.time_ns() if ended else 0,
        }
        try:
            write_state(os.path.join(running.container.directory, "state.json"), state)
        except OSError as error:
            self.kernel.failed(None, f"state of {running.container.id[:12]}", error)


def write_state(path: str, state: dict[str, Any]) -> None:
    """Replace the file. On a full disk it is written over instead, for which it always has the same size."""
    data = json.dumps(state).ljust(STATE_SIZE).encode()
    try:
        with open(path + "~", "wb") as file:
            file.write(data)
        os.rename(path + "~", path)
    except OSError as error:
        if error.errno not in DISK_FULL or not os.path.exists(path):
            raise
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.pwrite(fd, data, 0)
        finally:
            os.close(fd)
        with suppress(FileNotFoundError):
            os.unlink(path + "~")


def version() -> str:
    from pycontain import __version__

    return __version__
