"""Credentials in messages that the host passes on by itself (SCM_CREDENTIALS, unix(7)): of connected unix sockets.

The host names processes as it knows them: by its own numbers, under the user who runs the kernel. Who asks for
credentials (SO_PASSCRED) is watched from then on (Platform.watch), and its children: in what they receive, the container's
names are put in the place of the host's; in what they send, the other way round, since the host checks it.

The receiver is told the real user of the process, as it is when the message is received. So a program cannot send
another one of its users than that.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Sequence
from typing import Any

from pycontain.kernel.abi import signed
from pycontain.kernel.calls import msghdr
from pycontain.kernel.calls.datagram import find
from pycontain.kernel.calls.receiving import finish
from pycontain.kernel.calls.sending import SCM_CREDENTIALS, allowed, sender
from pycontain.kernel.calls.unixsocket import unix_socket
from pycontain.kernel.task import Task
from pycontain.kernel.vfs.filesystem import fail
from pycontain.kernel.vfs.proctext import host_file
from pycontain.platforms.base import NATIVE


def asked(task: Task, fd: int) -> Any:
    """SO_PASSCRED is set on a unix socket."""
    platform = task.process.container.kernel.platform
    return NATIVE if fd in platform.watched and find(task, fd) else platform.watch(task)


def message(task: Task, name: str, a: Sequence[int]) -> int | Callable[[int], int | None] | None:
    """See platforms.base.Listener."""
    fd = signed(a[0])
    if unix_socket(task, fd) is None:
        return None
    several = name in ("sendmmsg", "recvmmsg")
    count = min(a[2] & 0xFFFFFFFF, msghdr.MOST_PARTS) if several else 1
    at = [a[1] + number * msghdr.MMSGHDR.size for number in range(count)]
    if name in ("sendmsg", "sendmmsg"):
        return _sent(task, at)
    return _received(task, fd, a[3] if several else a[2], at, several)


def _received(task: Task, fd: int, flags: int, at: list[int], several: bool) -> Callable[[int], None] | None:
    heads = [msghdr.header(task, address) for address in at]
    found = find(task, fd)
    relay = found.relay if found is not None else None  # of a datagram socket under another number
    if relay is None and not any(head.control and head.control_size for head in heads):
        return None
    pieces = [msghdr.parts(task, head) for head in heads] if relay is not None else []
    if relay is not None:
        relay.begin(task)

    def then(result: int) -> None:
        if relay is not None:
            try:
                for number in range(result if several else min(result + 1, 1)):
                    size = msghdr.sent(task, at[number]) if several else result
                    finish(task, relay, flags, size, at[number], heads[number], pieces[number])
            finally:
                relay.ended(task)
            return
        for number in range(result if several else min(result + 1, 1)):
            size = min(msghdr.header(task, at[number]).control_size, heads[number].control_size)
            if heads[number].control and size > msghdr.CMSG.size:
                _translate(task, heads[number].control, size)

    return then


def _translate(task: Task, control: int, size: int) -> None:
    container = task.process.container
    for at, level, kind, content in msghdr.messages(task.read(control, size)):
        if (level, kind, len(content)) == (socket.SOL_SOCKET, SCM_CREDENTIALS, msghdr.UCRED.size):
            pid = msghdr.UCRED.unpack(content)[0]
            if pid:  # else the host knows of none: what was sent before, or the end of a stream
                task.write(control + at, msghdr.UCRED.pack(*container.owner(pid)))


def _sent(task: Task, at: list[int]) -> Callable[[int], None] | None:
    changed: list[tuple[int, bytes]] = []
    for address in at:
        head = msghdr.header(task, address)
        for offset, level, kind, content in msghdr.messages(msghdr.control(task, head)):
            if (level, kind, len(content)) == (socket.SOL_SOCKET, SCM_CREDENTIALS, msghdr.UCRED.size):
                if allowed(task, *msghdr.UCRED.unpack(content)) != sender(task):
                    fail(errno.EPERM)
                changed.append((head.control + offset, content))
    if not changed:
        return None
    outside = _outside(task)
    for place, _ in changed:
        task.write(place, outside)

    def then(result: int) -> None:
        for place, content in changed:
            task.write(place, content)

    return then


def _outside(task: Task) -> bytes:
    """The sender as the host knows it."""
    ids = {}
    for line in host_file(task.tid, "status").splitlines():
        key, _, value = line.partition(b":\t")
        if key in (b"Uid", b"Gid"):
            ids[key] = int(value.split()[0])
    return msghdr.UCRED.pack(task.process.pid, ids[b"Uid"], ids[b"Gid"])
