"""Zygotes: a clone of a template that has run once and stands still; further clones are forked of it.

Most of what a clone of a template costs is QEMU's start, and its translation of what the guest's kernel runs until
the container's first program is there. A zygote has done both. Its children share what they do not change of its
memory: the guest's, and the translated code, too.

Forked is QEMU's process, as it stands (forking.py). What a child must have for itself is sent to it through a socket
(DELIVERY_FD), and takes the places of the zygote's: the ports, the machine protocol, console and disk, and what wakes
its threads up (eventfd(2)).

A zygote is no machine of a container's, and needs its memory while it waits. So it is made once a second machine is
asked for, and ended when nobody has needed it for a while. Under KVM there are none: a machine there belongs to the
process that made it.
"""

from __future__ import annotations

import array
import asyncio
import os
import shutil
import socket
import struct
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from pycontain.errors import MachineError
from pycontain.vm import guest, qemu, warming
from pycontain.vm.channel import Channel
from pycontain.vm.forking import Child, Frozen
from pycontain.vm.process import Process
from pycontain.vm.script import Script

if TYPE_CHECKING:
    from pycontain.vm.template import Template

NAME, CHILDS_NAME = "vm-zygote", b"qemu-system-x86"
PR_SET_PDEATHSIG, SIGKILL = 1, 9
O_CLOEXEC = 0o2000000
AT_REST = ("poll", "ppoll", "futex")
"""Where QEMU's threads wait while nothing happens. One that sleeps is about to do something."""
SHARED_KINDS = ("anon_inode:[signalfd]",)
"""Of descriptors that are no files: what tells each process of its own."""


class Zygote:
    """Made by make(). fork() and end() take turns in a thread of its own, the only one that may trace it."""

    def __init__(self, template: Template, process: Process, delivery: socket.socket, place: str) -> None:
        self._template = template
        self._process = process
        self._delivery = delivery
        self._place = place
        self._thread = ThreadPoolExecutor(1, "zygote")
        self._frozen: Frozen | None = None
        self._events: list[int] = []
        self._console = self._disk = -1
        self._version = ""

    @property
    def pid(self) -> int:
        return self._process.pid

    @classmethod
    async def make(cls, program: qemu.Qemu, template: Template, place: str) -> Zygote:
        """place: a directory for it alone. MachineError where QEMU cannot be forked."""
        shutil.rmtree(place, ignore_errors=True)
        os.makedirs(place, mode=0o700)
        disk = os.path.join(template.directory, "disk")
        machine = template.machine(os.path.join(place, "console"), disk)
        machine = machine._replace(code=qemu.ZYGOTE_CODE, name=NAME)
        delivery, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            more = {qemu.DELIVERY_FD: theirs.fileno()}
            process = Process.spawn(program.path, machine, os.path.join(place, "qemu.log"), more)
        except BaseException:
            delivery.close()
            shutil.rmtree(place, ignore_errors=True)
            raise
        finally:
            theirs.close()
        zygote = cls(template, process, delivery, place)
        try:
            await asyncio.to_thread(process.load, os.path.join(template.directory, "state"))
            channel = Channel(process.control)
            try:
                await _run_once(channel, template.signals)
                await asyncio.to_thread(process.pause)
                await asyncio.get_running_loop().run_in_executor(zygote._thread, zygote._freeze)
            finally:
                channel.close()
        except BaseException:
            await zygote.end()
            raise
        return zygote

    def _freeze(self) -> None:
        machine, pid = self._process.machine, self._process.pid
        self._version = self._process.qmp.version
        self._frozen = Frozen(pid, AT_REST)
        for name in os.listdir(f"/proc/{pid}/fd"):
            what = os.readlink(f"/proc/{pid}/fd/{name}")
            if what == "anon_inode:[eventfd]":
                self._events.append(int(name))
            elif what == machine.console:
                self._console = int(name)
            elif what == machine.disk:
                self._disk = int(name)
            elif what.startswith("anon_inode:") and what not in SHARED_KINDS:
                raise MachineError(f"fork QEMU: it has a descriptor that cannot be made anew ({what})")
        if self._console < 0 or self._disk < 0:
            raise MachineError("fork QEMU: its console or its disk is not among its descriptors")

    async def fork(self, machine: qemu.Machine, log: str) -> Process:
        """A process that runs this machine. MachineError: then the zygote is of no more use."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._fork, machine, log)

    def _fork(self, machine: qemu.Machine, log: str) -> Process:
        frozen = self._frozen
        if frozen is None:
            raise MachineError("fork QEMU: it has ended")

        def start(ends: dict[int, int]) -> int:
            opened: list[int] = []
            try:
                flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
                opened.append(os.open(machine.console, flags, 0o600))
                opened.append(os.open(machine.disk, os.O_RDONLY | os.O_CLOEXEC))
                more = {self._console: opened[0], self._disk: opened[1]}
                for number in self._events:
                    opened.append(os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK))
                    more[number] = opened[-1]
                places = {**ends, **more}
                rights = array.array("i", places.values())
                self._delivery.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
                return frozen.fork(lambda child: _take_over(child, list(places)))
            except OSError as error:
                raise MachineError(f"fork QEMU: {error.strerror}") from None
            finally:
                for fd in opened:
                    os.close(fd)

        process = Process(machine, log, start, forked=self._version)
        try:
            for address, port, inside, protocol in machine.forwards:
                said = process.qmp.monitor(f"hostfwd_add net {protocol}:{address}:{port}-:{inside}").strip()
                if said:
                    raise MachineError(said)
            process.qmp.execute("cont")
        except BaseException:
            process.control.close()
            process.kill()
            raise
        return process

    async def end(self) -> None:
        """It goes; those that were forked of it stay."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._end)
        self._thread.shutdown(wait=False)

    def _end(self) -> None:
        if self._frozen is not None:
            self._frozen.end()
            self._frozen = None
        self._process.control.close()
        self._process.kill()
        self._delivery.close()
        shutil.rmtree(self._place, ignore_errors=True)


async def _run_once(channel: Channel, signals: int) -> None:
    """What a machine does until its first program has ended."""
    script = Script()
    guest.awake(script, b"zygote")
    script.check(await channel.exchange(script.table))
    await warming.warm_up(channel, signals, warming.THOROUGH)


def _take_over(child: Child, places: list[int]) -> None:
    """In a child, before it runs: what was sent to it goes to these places. Ends with us, as who was started does."""
    child.call("prctl", PR_SET_PDEATHSIG, SIGKILL)
    child.name(CHILDS_NAME)
    # struct msghdr, struct iovec, room for the byte; behind them the control message
    length = 16 + 4 * len(places)
    room = child.room
    child.write(room, struct.pack("<QIIQQQQii", 0, 0, 0, room + 64, 1, room + 128, length + 8, 0, 0))
    child.write(room + 64, struct.pack("<QQ", room + 96, 1))
    child.call("recvmsg", qemu.DELIVERY_FD, room, 0)
    size, level, kind = struct.unpack("<Qii", child.read(room + 128, 16))
    if (size, level, kind) != (length, socket.SOL_SOCKET, socket.SCM_RIGHTS):
        raise MachineError("fork QEMU: the child did not get its descriptors")
    received = struct.unpack(f"<{len(places)}i", child.read(room + 144, length - 16))
    for fd, place in zip(received, places, strict=True):
        child.call("dup3", fd, place, O_CLOEXEC)
    for fd in (*received, qemu.DELIVERY_FD):
        child.call("close", fd)
