"""A QEMU process of ours: started to die with us, watched, ended."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from pycontain.errors import MachineError
from pycontain.vm import launcher, qemu
from pycontain.vm.qmp import Qmp


class MachineProcess(Protocol):
    """What runs a machine on the host: a QEMU (below), or a User-Mode Linux (uml/process.py)."""

    control: socket.socket
    shares: socket.socket
    pid: int
    pidfd: int

    @property
    def memory(self) -> int:
        """What the guest has been given, in MiB."""

    def pause(self) -> None:
        """The machine stands still until unpause(). Blocks. MachineError."""

    def unpause(self) -> None:
        """The opposite."""

    def last_words(self) -> str:
        """The end of what it and the guest's console said."""

    def kill(self) -> None:
        """End it now."""


class Process:
    """control and shares are our ends of the agents' ports, monitor that of QMP."""

    def __init__(
        self,
        machine: qemu.Machine,
        log: str,
        start: Callable[[dict[int, int]], int],
        *,
        forked: str = "",
    ) -> None:
        """log: a file for what QEMU itself has to say; start: makes the process, with these descriptors (number in it
        -> ours), and returns its id; forked: the version of a QEMU that has greeted before it was forked."""
        self.machine = machine
        self.log = log
        self.control, control = socket.socketpair()
        self.monitor, monitor = socket.socketpair()
        self.shares, shares = socket.socketpair()
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            self.pid = start(
                {
                    1: output,
                    2: output,
                    qemu.CONTROL_FD: control.fileno(),
                    qemu.QMP_FD: monitor.fileno(),
                    qemu.SHARES_FD: shares.fileno(),
                }
            )
        except BaseException:
            self.control.close()
            self.monitor.close()
            self.shares.close()
            raise
        finally:
            control.close()
            monitor.close()
            shares.close()
            os.close(output)
        self.started = time.time_ns()
        self.pidfd = os.pidfd_open(self.pid)
        self._qmp = Qmp(self.monitor, version=forked) if forked else None
        self._ended = False

    @classmethod
    def spawn(
        cls, program: str, machine: qemu.Machine, log: str, more: Mapping[int, int] | None = None
    ) -> Process:
        """Start QEMU. more: other descriptors that it gets (number in it -> ours). MachineError."""

        def start(ends: dict[int, int]) -> int:
            null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            try:
                return launcher.spawn(
                    qemu.command_line(program, machine), {0: null, **ends, **(more or {})}
                )
            finally:
                os.close(null)

        return cls(machine, log, start)

    @property
    def memory(self) -> int:
        """What the guest has been given, in MiB."""
        return self.machine.memory

    @property
    def qmp(self) -> Qmp:
        """Blocks until QEMU greets. MachineError, with QEMU's own words, where it never does."""
        if self._qmp is None:
            try:
                self._qmp = Qmp(self.monitor, timeout=20)
            except MachineError as error:
                raise MachineError(f"start QEMU: {error.message}", hint=self.last_words()) from None
        return self._qmp

    def pause(self) -> None:
        """The machine stands still. Blocks."""
        self.qmp.execute("stop")

    def unpause(self) -> None:
        """It goes on. Blocks."""
        self.qmp.execute("cont")

    def load(self, state: str, *, timeout: float = 20) -> None:
        """Load a saved state into a QEMU that was started for it, and let it run. Blocks."""
        qmp = self.qmp
        try:
            self._ignore_shared()
            # nobody has to learn where this network card is now, and the guest would be busy with telling it
            qmp.execute("migrate-set-parameters", announce_rounds=0)
            qmp.execute("migrate-incoming", uri=self._uri(state, os.O_RDONLY))
            qmp.wait_migrated(timeout)
            qmp.execute("cont")
        except MachineError as error:
            raise MachineError(f"load {state}: {error.message}", hint=self.last_words()) from None

    def save(self, state: str, *, timeout: float = 60) -> None:
        """Save the state of a stopped machine; its memory is in it, unless that is a shared file. Blocks."""
        self._ignore_shared()
        self.qmp.execute("migrate-set-parameters", max_bandwidth=1 << 40)
        self.qmp.execute("migrate", uri=self._uri(state, os.O_WRONLY | os.O_CREAT | os.O_TRUNC))
        self.qmp.wait_migrated(timeout)

    def _uri(self, path: str, flags: int) -> str:
        """What QEMU calls a file for a state. A descriptor where it knows no files yet; newer ones want to be given
        descriptors of sockets only (QEMU, docs/about/deprecated.rst, 9.1)."""
        if takes_files(self.qmp.version):
            return f"file:{path}"
        try:
            fd = os.open(path, flags | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise MachineError(f"open {path}: {error.strerror}") from None
        try:
            self.qmp.give("state", fd)
        finally:
            os.close(fd)
        return "fd:state"

    def _ignore_shared(self) -> None:
        """Memory that lies in a shared file is not part of the state. Both sides must say so."""
        capability = {"capability": "x-ignore-shared", "state": True}
        self.qmp.execute("migrate-set-capabilities", capabilities=[capability])

    def last_words(self) -> str:
        """The end of QEMU's log and of the guest's console."""
        found = []
        for path in (self.log, self.machine.console):
            try:
                with open(path, "rb") as file:
                    lines = (
                        file.read()[-4000:].decode("utf-8", "replace").replace("\r", "").strip().splitlines()
                    )
            except OSError:
                continue
            found += lines[-3:]
        return " / ".join(found) or "neither QEMU nor the guest's console said anything"

    def kill(self) -> None:
        """End it now and reap it. Nothing of a machine that matters is in QEMU."""
        if self._ended:
            return
        self._ended = True
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        try:
            os.waitpid(self.pid, 0)
        except ChildProcessError:  # a zygote's tracer has done so
            pass
        os.close(self.pidfd)
        self.monitor.close()
        self.shares.close()


def takes_files(version: str) -> bool:
    """Whether a QEMU of this version ("7.2.22") can load and save states by the names of files."""
    major, minor = (int(part) if part.isdigit() else 0 for part in version.split(".")[:2])
    return (major, minor) >= (8, 2)
