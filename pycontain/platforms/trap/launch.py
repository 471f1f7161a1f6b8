"""Starting a process under the trap platform: a program that is a table of system calls.

The kernel never forks itself. posix_spawn(3) starts the stub, whose table confines the process (order matters:
each step may need what a later one takes away) and ends in an execve that the new filter already sends to us:

    sendto          tell that the exec of the stub is over: seized in the middle of it, we would stop there
    recvfrom        wait until the tracer has seized us
    close_range     nothing of the kernel's is left open but 0-3
    prlimit64       ulimits
    setres[ug]id    an unprivileged identity, where the kernel runs as root
    prctl           no_new_privs; orphans of the container come to its first process
    landlock        no file of the host by name, should a call slip through
    ioctl           the terminal becomes the controlling one
    seccomp         the filter; returns the listener as descriptor 4
    sendmsg         the listener goes to the kernel
    execve          trapped: from here on the emulated kernel decides
"""

from __future__ import annotations

import array
import os
import signal
import socket
import struct
from collections.abc import Callable

from pycontain.errors import PlatformError
from pycontain.platforms.base import Launch
from pycontain.platforms.trap import host, stub

SOCKET, LISTENER = 3, 4
TIOCSCTTY = 0x540E
SECCOMP_SET_MODE_FILTER = 1
START_TIMEOUT = 10.0  # seconds until a process that says nothing is given up
LANDLOCK_FILES = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET = 1


class Confinement:
    """What every process of this kernel starts under. uid: the host identity, None to keep our own."""

    def __init__(self, filter_program: bytes, flags: int, uid: int | None) -> None:
        self.filter_program = filter_program
        self.flags = flags
        self.uid = uid
        self.landlock = host.landlock_abi()


def spawn(confinement: Confinement, launch: Launch, seize: Callable[[int], None]) -> tuple[int, int]:
    """Start the process; returns (pid, listener descriptor). seize(pid) is called before it runs a step."""
    ours, theirs = socket.socketpair()
    try:
        fd = stub.memfd(_table(confinement, launch).image(), "launch")
        try:
            pid = os.posix_spawn(
                f"/proc/self/fd/{fd}",
                list(launch.argv[:1]) or [b""],
                {},
                file_actions=_descriptors(launch, theirs.fileno()),
                setsid=True,
                setsigmask=[],
                setsigdef=[s for s in range(1, 32) if s not in (signal.SIGKILL, signal.SIGSTOP)],
            )
        finally:
            os.close(fd)
            theirs.close()
        ours.settimeout(START_TIMEOUT)
        try:
            ours.recv(1)
            seize(pid)
            ours.send(b"x")
            _, control, _, _ = ours.recvmsg(1, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)
        except (TimeoutError, BrokenPipeError):
            control = []
        if not control:
            os.kill(pid, signal.SIGKILL)
            raise PlatformError(
                "start a process: the host did not let it set up its filter",
                hint="see `pycontain kernel check`",
            )
        return pid, array.array("i", control[0][2])[0]
    finally:
        ours.close()


def _descriptors(launch: Launch, channel: int) -> list[tuple[int, int, int]]:
    """posix_spawn file actions that put the four descriptors at 0-3 without one overwriting another's source."""
    wanted = [launch.stdin, launch.stdout, launch.stderr, channel]
    return [(os.POSIX_SPAWN_DUP2, source, target) for target, source in enumerate(wanted)]


def _table(confinement: Confinement, launch: Launch) -> stub.Table:
    table = stub.Table()
    byte = table.put(b"\0")
    table.call("sendto", SOCKET, byte, 1, 0, 0, 0)
    table.call("recvfrom", SOCKET, byte, 1, 0, 0, 0)
    table.call("close_range", LISTENER, 0xFFFFFFFF, 0)
    for number, soft, hard in launch.limits:
        table.call("prlimit64", 0, number, table.put(struct.pack("<qq", soft, hard)), 0)
    if confinement.uid is not None:
        uid = confinement.uid
        table.call("setgroups", 0, 0)
        table.call("setresgid", uid, uid, uid)
        table.call("setresuid", uid, uid, uid)
        table.call("prctl", host.PR_SET_DUMPABLE, 1, 0, 0, 0)  # else only root could trace it
    elif os.geteuid() == 0:
        _drop_capabilities(table)
    table.call("prctl", host.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    table.call("prctl", host.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    if confinement.landlock:
        abi = confinement.landlock
        attributes = struct.pack("<Q", LANDLOCK_FILES[min(abi, 5)])
        if abi >= 6:  # {handled_access_fs, handled_access_net, scoped}
            attributes += struct.pack("<QQ", 0, LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET)
        table.call("landlock_create_ruleset", table.put(attributes), len(attributes), 0)
        table.call("landlock_restrict_self", LISTENER, 0)
        table.call("close", LISTENER)
    if launch.terminal:
        table.call("ioctl", 0, TIOCSCTTY, 0)
    text = confinement.filter_program
    program = table.put(struct.pack("<HxxxxxxQ", len(text) // 8, table.put(text)))
    table.call("seccomp", SECCOMP_SET_MODE_FILTER, confinement.flags, program)
    rights = table.put(struct.pack("<QiiiI", 20, socket.SOL_SOCKET, socket.SCM_RIGHTS, LISTENER, 0))
    vector = table.put(struct.pack("<QQ", byte, 1))
    message = table.put(struct.pack("<QIIQQQQi4x", 0, 0, 0, vector, 1, rights, 24, 0))
    table.call("sendmsg", SOCKET, message, 0)
    table.call("close", LISTENER)
    table.call("close", SOCKET)
    table.call(
        "execve",
        table.put(launch.program + b"\0", 1),
        table.strings(launch.argv),
        table.strings(launch.environment),
    )
    table.call("exit_group", 127)
    return table


def _drop_capabilities(table: stub.Table) -> None:
    """Where the kernel is root without the right to trace other users, the process keeps uid 0 and loses all else."""
    header = table.put(struct.pack("<Ii", 0x20080522, 0))  # _LINUX_CAPABILITY_VERSION_3
    table.call("capset", header, table.put(bytes(24)))
