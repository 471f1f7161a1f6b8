"""A User-Mode Linux of ours: started, listened to, ended; what a QEMU process is to other machines."""

from __future__ import annotations

import asyncio
import os
import select
import shutil
import signal
import socket
import tempfile
import time
from contextlib import ExitStack

from pycontain.errors import MachineError
from pycontain.vm.uml import confinement, preload, program, vhost_user, warden
from pycontain.vm.uml.console import Console

LISTENING_DEADLINE = 20.0
"""Seconds for the guest's kernel to come as far as its devices."""
END_DEADLINE = 10.0
PREFIX = "uml-"
"""Of machines' directories."""
CONSOLE_KEPT = 4000
"""Bytes of the guest's console that are kept, whatever it writes."""


class UmlProcess:
    """Started by the constructor; control and shares are our ends of the agents' ports.

    directory: a new one of ours, with a short path; removed at the end. disk: the root file system; memory: MiB.
    """

    def __init__(self, found: program.Program, ramdisk: int, disk: str, memory: int, directory: str) -> None:
        """ramdisk: a descriptor, not taken over."""
        self.control, control = socket.socketpair()
        self.shares, shares = socket.socketpair()
        self.memory = memory
        self._ports = (control, shares)
        self._directory = directory
        self._said = bytearray()
        self._console: Console | None = None
        self._ended = False
        self._loop = asyncio.get_running_loop()
        self._connected: asyncio.Future[None] = self._loop.create_future()
        self.failure = ""
        """Why the machine was given up, where its device is the reason."""
        self._listener: socket.socket | None = None
        self._output, output = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._output, False)
        try:
            self.pid, self._alive = self._spawn(found, ramdisk, disk, output)
        except BaseException:
            os.close(self._output)
            self._close_sockets()
            shutil.rmtree(directory, ignore_errors=True)
            raise
        finally:
            os.close(output)
        assert self._listener is not None
        self.started = time.time_ns()
        self.pidfd: int = os.pidfd_open(self.pid)
        self._loop.add_reader(self._output, self._listen)
        self._loop.add_reader(self._listener.fileno(), self._accept)

    def _spawn(self, found: program.Program, ramdisk: int, disk: str, output: int) -> tuple[int, int]:
        memory_place, uid = confinement.memory_place(self.memory), confinement.identity()
        with ExitStack() as stack:

            def opened(fd: int) -> int:
                stack.callback(os.close, fd)
                return fd

            place = opened(os.open(self._directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
            # by descriptor: the path of a socket may have 107 bytes only
            self._listener = vhost_user.listen(f"/proc/self/fd/{place}/{program.SOCKET}")
            if uid is not None:
                for path in (self._directory, os.path.join(self._directory, program.SOCKET)):
                    os.chown(path, uid, uid)
            return warden.spawn(
                program.PROGRAM_FD,
                program.command_line(found.path, self.memory),
                {
                    0: opened(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)),
                    1: output,
                    2: output,
                    program.DIRECTORY_FD: place,
                    program.INITRD_FD: ramdisk,
                    program.DISK_FD: opened(os.open(disk, os.O_RDONLY | os.O_CLOEXEC)),
                    program.PROGRAM_FD: opened(os.open(found.path, os.O_RDONLY | os.O_CLOEXEC)),
                    program.LIBRARY_FD: opened(preload.open_library()),
                },
                confinement.environment(memory_place),
                lambda table: confinement.confine(table, memory_place, uid),
            )

    async def connected(self) -> None:
        """Wait until the guest's kernel has found its device. MachineError where it does not."""
        try:
            await asyncio.wait_for(asyncio.shield(self._connected), LISTENING_DEADLINE)
        except TimeoutError:
            raise MachineError(
                f"start User-Mode Linux: its kernel does not come up within {LISTENING_DEADLINE:g} s",
                hint=self.last_words(),
            ) from None

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return
        self._loop.remove_reader(self._listener.fileno())
        self._listener.close()
        self._console = Console(sock, self._ports, self._given_up)
        if not self._connected.done():
            self._connected.set_result(None)

    def _given_up(self, error: MachineError) -> None:
        """The device's other side has gone, or lies. The agents' ports end, and those who listen there learn it."""
        self.failure = error.message
        if self._console is not None:
            self._console.close()

    def _listen(self) -> None:
        """The guest's console: only its end is kept."""
        try:
            data = os.read(self._output, 1 << 16)
        except BlockingIOError:
            return
        if not data:
            self._loop.remove_reader(self._output)
            if not self._connected.done():
                self._connected.set_exception(
                    MachineError("start User-Mode Linux: it ended at once", hint=self.last_words())
                )
                self._connected.exception()
            return
        self._said += data
        del self._said[:-CONSOLE_KEPT]

    def last_words(self) -> str:
        """The end of what the guest's console said; without the stack of a panic."""
        lines = bytes(self._said).decode("utf-8", "replace").replace("\r", "").splitlines()
        told = [
            line.strip()
            for line in lines
            if line.strip() and not line.startswith((" [<", " 0", "Call Trace"))
        ]
        panic = [line for line in told if "panic" in line]
        return " / ".join((panic or told)[-3:]) or "the guest's console said nothing"

    def pause(self) -> None:
        """Not possible: a guest process that computes is a process of the host of its own."""
        raise MachineError("pause: User-Mode Linux cannot stand still", hint="--runtime vm can")

    unpause = pause

    def kill(self) -> None:
        """End it now, and wait until all of its processes have gone."""
        if self._ended:
            return
        self._ended = True
        os.close(self._alive)
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        if poll.poll(END_DEADLINE * 1000):
            os.waitpid(self.pid, 0)
        else:
            os.kill(self.pid, signal.SIGKILL)  # something of it hangs in the host's kernel
        os.close(self.pidfd)
        self._loop.remove_reader(self._output)
        os.close(self._output)
        if not self._connected.done():
            self._connected.cancel()
        self._close_sockets()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _close_sockets(self) -> None:
        if self._listener is not None and self._listener.fileno() >= 0:
            self._loop.remove_reader(self._listener.fileno())
            self._listener.close()
        if self._console is not None:
            self._console.close()
        for sock in (*self._ports, self.control, self.shares):
            sock.close()


def new_directory(parent: str) -> str:
    """For a machine; parent: the server's own directory."""
    return tempfile.mkdtemp(prefix=PREFIX, dir=parent)
