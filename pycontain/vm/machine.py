"""A running machine: QEMU, the agent in it, and the programs that it runs for us.

One task per machine (pump) keeps a table with ppoll(2) waiting in the guest. Whatever else is to be done is
sent behind it: the port then has something to read, so that the poll ends and the next table is carried out.
"""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from pycontain.errors import MachineError
from pycontain.vm import accounts, guest
from pycontain.vm.channel import Channel
from pycontain.vm.polling import CHUNK, poll, seen
from pycontain.vm.process import MachineProcess
from pycontain.vm.script import Script
from pycontain.vm.serving import Serving
from pycontain.vm.session import INPUT_LIMIT, Session
from pycontain.vm.start import DEFAULT_PATH, Start
from pycontain.vm.table import Reply, Table

if TYPE_CHECKING:
    from pycontain.kernel.streams import Log

RESIZE_INTERVAL = 0.1
"""Seconds between two looks at the size of a client's terminal."""


class Machine:
    """process: a QEMU, or a User-Mode Linux, whose guest's agent is listening. signals: the agent's descriptor for SIGCHLD."""

    def __init__(
        self, process: MachineProcess, signals: int, disk: bytes = b"/dev/vda", *, confined: bool = False
    ) -> None:
        self.process = process
        self.disk = disk
        """The device of the image, in the guest."""
        self.confined = confined
        """Programs do not get all that the guest's root may do."""
        self.channel = Channel(process.control)
        self.signals = signals
        self.sessions: list[Session] = []
        self.namespaces: list[int] = []
        self.stubs: set[bytes] = set()
        """Paths in the container that were made only to mount something there."""
        self.passwd = self.group = b""
        self.hostname = b""
        self.own_machine_id = False
        """/etc/machine-id is a file of ours, /c/files/0 in the guest."""
        self.paused = False
        self.ended = asyncio.Event()
        self.on_end: Callable[[Machine], Coroutine[Any, Any, None]] | None = None
        self.serving = Serving(process.shares, self.channel.fail)
        self.closing: list[int] = []
        """The agent's descriptors that the next poll closes."""
        self.early: dict[int, int] = {}
        """Wait statuses of programs that ended before their start was told."""
        self._pump: asyncio.Task[None] | None = None
        self._resize: asyncio.Task[None] | None = None
        self._hold = 0
        self._go_on = asyncio.Event()
        self._go_on.set()
        loop = asyncio.get_running_loop()
        loop.add_reader(process.pidfd, self._host_process_ended)

    @property
    def init(self) -> Session | None:
        """The container's first program."""
        return self.sessions[0] if self.sessions else None

    # -- the guest

    async def exchange(self, table: Table, timeout: float = 15.0) -> Reply:
        """Have a table carried out; the poll gives way to it."""
        return await self.channel.exchange(table, timeout)

    async def run(self, script: Script) -> Reply:
        """As exchange, and every call that must succeed has."""
        reply = await self.exchange(script.table)
        script.check(reply)
        return reply

    async def quiet(self) -> None:
        """Hold the pump, so that the agent waits for us and for nothing else (before a snapshot)."""
        self._hold += 1
        self._go_on.clear()
        await self.exchange(Table())
        await self.serving.hold()  # after the first agent, which may have waited for a file of a share

    def resume(self) -> None:
        """The opposite of quiet()."""
        self._hold -= 1
        if not self._hold:
            self._go_on.set()
            self.serving.resume()

    # -- programs

    async def start(self, spec: dict[str, Any], log: Log | None, *, init: bool) -> Session:
        """Start a program. Raises ProgramNotFound, CannotRun, ContainerError, MachineError."""
        account = accounts.resolve(spec.get("user") or "", spec.get("groups") or [], self.passwd, self.group)
        session = Session(spec, log)
        start = Start(
            args=[os.fsencode(a) for a in spec["args"]],
            env=_environment(spec, account.home, self.hostname),
            cwd=os.fsencode(spec.get("cwd") or "/"),
            uid=account.uid,
            gid=account.gid,
            groups=account.groups,
            terminal=session.terminal,
            size=session.size,
            stdin=bool(spec.get("stdin")),
            init=init,
            namespaces=[] if init else await self._namespaces(),
            confined=self.confined,
        )
        reply = await self.run(start.script)
        session.pid = start.number(reply, "pid")
        failure = start.failure(reply.pieces[-1])
        if failure is not None:
            for name in ("master", "stdin", "stdout", "stderr"):
                if (fd := start.number(reply, name)) >= 0:
                    self.closing.append(fd)
            raise failure
        if session.terminal:
            master = start.number(reply, "master")
            session.outputs[master] = 1
            session.input = master
        else:
            session.outputs = {start.number(reply, "stdout"): 1, start.number(reply, "stderr"): 2}
            session.input = start.number(reply, "stdin")
        session.status = self.early.pop(session.pid, None)
        self.sessions.append(session)
        self.begin()
        return session

    def begin(self) -> None:
        """Start to listen to the programs."""
        if self._pump is None:
            self._pump = asyncio.get_running_loop().create_task(self._keep_polling())
        else:
            self.poke()
        if self._resize is None and any(s.terminal for s in self.sessions):
            self._resize = asyncio.get_running_loop().create_task(self._watch_sizes())

    def poke(self) -> None:
        """What is polled for has changed: end the poll that is waiting."""
        if self.channel.busy <= 1:
            self.channel.send(Table()).add_done_callback(seen)

    async def _namespaces(self) -> list[int]:
        """Descriptors, in the agent, of the first program's namespaces: pid first, the mounts last."""
        if not self.namespaces:
            assert self.init is not None
            script = Script()
            for name in (b"pid", b"mnt"):
                path = b"/proc/%d/ns/%s" % (self.init.pid, name)
                script.must("open a namespace", "open", script.table.text(path), guest.O_CLOEXEC)
            self.namespaces = (await self.run(script)).results
        return self.namespaces

    async def signal(self, session: Session, number: int) -> None:
        """Send a signal to a program; nothing happens where it has ended."""
        if session.status is None:
            table = Table()
            table.call("kill", session.pid, number)
            await self.exchange(table)

    def feed(self, session: Session, data: bytes) -> None:
        """Input for a program; b"" is its end."""
        if not data:
            session.input_ended = True
        session.pending += data
        asyncio.get_running_loop().create_task(self.push(session)).add_done_callback(seen)

    def wants_input(self, session: Session) -> bool:
        """Whether feed() may be given more now."""
        return len(session.pending) < INPUT_LIMIT

    async def push(self, session: Session) -> None:
        """Give the program what it takes; one piece at a time."""
        if session.pushing or session.blocked or session.input < 0:
            return
        session.pushing = True
        try:
            while session.pending and session.input >= 0:
                piece = bytes(session.pending[:CHUNK])
                table = Table()
                table.keep(table.call("write", session.input, table.data(piece), len(piece)))
                result = (await self.exchange(table)).results[0]
                if result == -11:  # EAGAIN: the poll tells when there is room
                    session.blocked = True
                    self.poke()
                    return
                if result < 0:
                    session.pending.clear()
                    self._end_input(session)
                    break
                del session.pending[:result]
        finally:
            session.pushing = False
        if session.input_ended and not session.pending:
            self._end_input(session)

    def _end_input(self, session: Session) -> None:
        if session.input >= 0 and not session.terminal:
            self.closing.append(session.input)
            session.input = -1
            self.poke()

    # -- the poll

    async def _keep_polling(self) -> None:
        try:
            while self.channel.failure is None:
                await self._go_on.wait()
                if self.init is not None and self.init.exit_code is not None:
                    break
                await poll(self)
        except MachineError:
            pass  # the machine has gone; told below
        except Exception as error:  # a mistake of ours must not leave a machine without anyone who listens
            self.channel.fail(f"listen to the guest: {type(error).__name__}: {error}")
            raise
        finally:
            await self._finish()

    async def _watch_sizes(self) -> None:
        while self.channel.failure is None:
            await asyncio.sleep(RESIZE_INTERVAL)
            for session in self.sessions:
                if session.slave >= 0 and session.input >= 0 and (size := session.new_size()) is not None:
                    table = Table()
                    table.call("ioctl", session.input, 0x5414, table.data(struct.pack("<4H", *size, 0, 0)))
                    self.channel.send(table).add_done_callback(seen)

    # -- the end

    def _host_process_ended(self) -> None:
        self.channel.fail("talk to the guest: the machine has ended")

    async def _finish(self) -> None:
        """The first program has ended, or the machine has gone."""
        gone = self.channel.failure is not None
        if gone and self.init is not None and self.init.exit_code is None:
            reason = f"the machine ended: {self.channel.failure.message if self.channel.failure else ''}"
            said = self.process.last_words()
            self.init.output(2, f"pycontain: {reason} (its console: {said})\n".encode())
        elif not gone and self.on_end is not None:
            try:
                await self.on_end(self)
            except MachineError as error:
                if self.init is not None:
                    self.init.output(2, f"pycontain: keep the machine's changes: {error}\n".encode())
        await self.stop()

    async def stop(self) -> None:
        """End the machine now."""
        if self.ended.is_set():
            return
        self.ended.set()
        asyncio.get_running_loop().remove_reader(self.process.pidfd)
        self.channel.fail("talk to the guest: the machine has ended")
        if self._resize is not None:
            self._resize.cancel()
        self.serving.close()
        self.process.kill()
        for session in self.sessions:
            session.finish(137 if session.status is None else None)


def _environment(spec: dict[str, Any], home: bytes, hostname: bytes) -> list[bytes]:
    given = [os.fsencode(item) for item in spec.get("env") or []]
    names = {item.partition(b"=")[0] for item in given}
    out = [] if b"PATH" in names else [b"PATH=" + DEFAULT_PATH]
    if b"HOSTNAME" not in names:
        out.append(b"HOSTNAME=" + hostname)
    if spec.get("terminal") and b"TERM" not in names:
        out.append(b"TERM=xterm")
    out += given
    if b"HOME" not in names:
        out.append(b"HOME=" + home)
    return out
