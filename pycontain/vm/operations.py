"""What the machines' server does for its clients: op_NAME serves the request {"op": NAME}."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

from pycontain.errors import ContainerError, MachineError
from pycontain.vm.connection import Connection
from pycontain.vm.feed import Feed, feed_terminal
from pycontain.vm.running import Running
from pycontain.vm.session import Session
from pycontain.vm.syncing import Changes

if TYPE_CHECKING:
    from pycontain.vm.server import Server


class Operations:
    """On the machines of one server."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def op_start(self, connection: Connection, request: dict[str, Any]) -> Any:
        spec = request["spec"]
        stdin = connection.take_fd() if request.get("stdin") else None
        identity = str(spec["id"])
        try:
            if identity in self._server.running:
                raise ContainerError(f"start container {identity[:12]}: it is running already")
            with self._server.counted():
                running = await self._server.start(identity, spec)
            if stdin is not None:
                Feed(running.machine, running.init, stdin)
                stdin = None
            if running.init.terminal:
                feed_terminal(running.machine, running.init)
        finally:
            if stdin is not None:
                os.close(stdin)
        connection.foreground = bool(spec.get("attach", True)) and not request.get("detached")
        if connection.foreground and connection.closed:  # killed while the machine came up
            await running.machine.stop()
        return _joined(connection, running, running.init, spec)

    # -- running containers

    async def op_exec(self, connection: Connection, request: dict[str, Any]) -> Any:
        stdin = connection.take_fd() if request.get("stdin") else None
        try:
            running = self._server.listening(request["id"])
            session = await running.machine.start(request["spec"], None, init=False)
            if stdin is not None:
                Feed(running.machine, session, stdin)
                stdin = None
        finally:
            if stdin is not None:
                os.close(stdin)
        if session.terminal:
            feed_terminal(running.machine, session)
        return _joined(connection, running, session, request["spec"])

    async def op_attach(self, connection: Connection, request: dict[str, Any]) -> Any:
        stdin = connection.take_fd() if request.get("stdin") else None
        try:
            running = self._server.find(request["id"])
        except BaseException:
            if stdin is not None:
                os.close(stdin)
            raise
        if stdin is not None:
            Feed(running.machine, running.init, stdin)
        return _joined(connection, running, running.init, {"attach": True})

    async def op_detach(self, connection: Connection, request: dict[str, Any]) -> Any:
        """The client leaves on purpose: the container runs on."""
        connection.foreground = False
        return NotImplemented

    async def op_signal(self, connection: Connection, request: dict[str, Any]) -> None:
        if connection.session is not None and connection.running is not None:
            await connection.running.machine.signal(connection.session, int(request["signal"]))

    async def op_kill(self, connection: Connection, request: dict[str, Any]) -> None:
        running = self._server.find(request["id"])
        if running.machine.paused:
            await self.op_unpause(connection, request)
        await running.machine.signal(running.init, int(request["signal"]))

    async def op_pause(self, connection: Connection, request: dict[str, Any]) -> None:
        machine = self._server.find(request["id"]).machine
        await asyncio.to_thread(machine.process.pause)
        machine.paused = True

    async def op_unpause(self, connection: Connection, request: dict[str, Any]) -> None:
        machine = self._server.find(request["id"]).machine
        await asyncio.to_thread(machine.process.unpause)
        machine.paused = False

    async def op_sync(self, connection: Connection, request: dict[str, Any]) -> None:
        running = self._server.listening(request["id"])
        if running.changes is None:
            running.changes = Changes(self._server.store, running.spec["layers"], running.spec["directory"])
        await running.changes.bring_home(running.machine)

    async def op_put_archive(self, connection: Connection, request: dict[str, Any]) -> None:
        from pycontain.vm.put import put_archive  # rarely used, and imports tarfile

        fd = connection.take_fd()
        if fd is None:
            raise MachineError("copy into a machine: no archive was sent")
        with open(fd, "rb") as file:
            await put_archive(self._server.listening(request["id"]).machine, request["path"], file)

    async def op_wait(self, connection: Connection, request: dict[str, Any]) -> Any:
        self._server.find(request["id"]).waiters.append(connection)
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
            for identity, running in self._server.running.items()
        ]

    async def op_processes(self, connection: Connection, request: dict[str, Any]) -> list[dict[str, Any]]:
        from pycontain.vm.processes import processes  # only for top

        wanted = request.get("id")
        found: list[dict[str, Any]] = []
        for identity, running in list(self._server.running.items()):
            if wanted == identity:
                self._server.listening(identity)
            if wanted in (None, identity) and not running.machine.paused:
                found += await processes(identity, running.machine)
        return found

    async def op_stats(self, connection: Connection, request: dict[str, Any]) -> list[dict[str, Any]]:
        """What containers use, of those whose ids are asked for; see engine/stats.py for the fields."""
        from pycontain.vm import usage  # only for stats

        wanted = request.get("ids")
        found = []
        for identity, running in list(self._server.running.items()):
            if not wanted or identity in wanted:
                try:
                    found.append(await usage.row(identity, running))
                except MachineError:
                    pass  # it has just ended
        return found

    async def op_status(self, connection: Connection, request: dict[str, Any]) -> dict[str, Any]:
        from pycontain import __version__

        return {
            "pid": os.getpid(),
            "version": __version__,
            "containers": len(self._server.running),
            "memory": {},
            "zygotes": self._server.cloner.zygotes(),
        }

    async def op_template(self, connection: Connection, request: dict[str, Any]) -> dict[str, Any]:
        """Make sure that there is a template; what it is."""
        return (await self._server.cloner.template(request.get("settings") or {}))._asdict()

    async def op_snapshot(self, connection: Connection, request: dict[str, Any]) -> dict[str, Any]:
        from pycontain.vm import snapshot

        running = self._server.listening(request["id"])
        return await snapshot.take(
            self._server.root, await self._server.cloner.qemu(), request["id"], running, request["tag"]
        )

    async def op_restore(self, connection: Connection, request: dict[str, Any]) -> dict[str, Any]:
        from pycontain.vm import snapshot

        identity = request["spec"]["id"]
        with self._server.counted():
            program = await self._server.cloner.qemu()
            # before what runs is ended for it
            reason = await asyncio.to_thread(
                snapshot.obstacle, self._server.root, program, request["tag"]
            )
            if reason is not None:
                raise MachineError(f"restore {request['tag']} here: {reason}")
            await self._server.clear(identity)
            running = await snapshot.restore(
                self._server, program, request["tag"], request["spec"], fresh=request["fresh"]
            )
        return {"pid": running.machine.process.pid}

    async def op_shutdown(self, connection: Connection, request: dict[str, Any]) -> None:
        await self._server.shut_down()


def _joined(connection: Connection, running: Running, session: Session, spec: dict[str, Any]) -> Any:
    if spec.get("attach", True):
        connection.join(running, session)
    value = {"pid": running.machine.process.pid, "terminal": session.terminal}
    return (value, [session.master]) if session.terminal and session.master >= 0 else value
