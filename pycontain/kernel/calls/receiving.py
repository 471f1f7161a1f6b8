"""recvfrom, recvmsg and recvmmsg of unix datagram sockets: the host carries them out, and the kernel adds the sender.

A call that has to wait waits here, and goes to the host when there is a message. See kernel/datagrams.py.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable
from typing import Any

from pycontain.kernel.abi import O_NONBLOCK, signed
from pycontain.kernel.calls import msghdr
from pycontain.kernel.calls.datagram import Socket, find
from pycontain.kernel.calls.sending import MSG_DONTWAIT, MSG_OOB, SCM_CREDENTIALS
from pycontain.kernel.calls.unixsocket import flags_of, timeout
from pycontain.kernel.datagrams import BEGINNING, Queued, Relay
from pycontain.kernel.task import Task
from pycontain.kernel.vfs.filesystem import fail
from pycontain.platforms.base import BLOCKING, DEFERRED

MSG_PEEK, MSG_ERRQUEUE, MSG_WAITFORONE = 2, 0x2000, 0x10000
RECEIVING = (20, 66)  # SO_RCVTIMEO


def sys_recvfrom(task: Task, a: tuple[int, ...]) -> Any:
    found = find(task, signed(a[0]))
    if found is None or found.relay is None:
        return BLOCKING
    relay = found.relay
    room = _room(task, a[5])

    def then(result: int) -> None:
        queued = _taken(task, relay, a[3], result, a[1])
        if queued is not None:
            _tell_name(task, queued, a[4], room, a[5])

    return _receive(task, signed(a[0]), found, a[3], then)


def sys_recvmsg(task: Task, a: tuple[int, ...]) -> Any:
    found = find(task, signed(a[0]))
    if found is None or found.relay is None:
        return BLOCKING
    relay = found.relay
    head = msghdr.header(task, a[1])
    pieces = msghdr.parts(task, head)

    def then(result: int) -> None:
        finish(task, relay, a[2], result, a[1], head, pieces)

    return _receive(task, signed(a[0]), found, a[2], then)


def sys_recvmmsg(task: Task, a: tuple[int, ...]) -> Any:
    """One that would wait for the last of its messages does so for the first one only."""
    found = find(task, signed(a[0]))
    count = min(a[2] & 0xFFFFFFFF, msghdr.MOST_PARTS)
    if found is None or found.relay is None or not count:
        return BLOCKING
    relay, flags = found.relay, a[3]
    platform = task.process.container.kernel.platform
    if not flags & (MSG_DONTWAIT | MSG_WAITFORONE):
        return platform.instead(task, (a[0], a[1], a[2], flags | MSG_WAITFORONE, *a[4:]))  # and comes here again
    at = [a[1] + number * msghdr.MMSGHDR.size for number in range(count)]
    heads = [msghdr.header(task, address) for address in at]
    pieces = [msghdr.parts(task, head) for head in heads]

    def then(result: int) -> None:
        for number in range(result):
            size = msghdr.sent(task, at[number])
            finish(task, relay, flags, size, at[number], heads[number], pieces[number])

    return _receive(task, signed(a[0]), found, flags, then)


def finish(
    task: Task, relay: Relay, flags: int, result: int, address: int, head: msghdr.Header, pieces: list[tuple[int, int]]
) -> None:
    """Tell who has sent what a recvmsg has received."""
    queued = _taken(task, relay, flags, result, pieces[0][0] if pieces else 0)
    if queued is None:
        return
    if head.name:
        _tell_name(task, queued, head.name, head.name_size, address + msghdr.NAME_SIZE)
    now = msghdr.header(task, address)
    if head.control and now.control_size >= msghdr.CMSG.size + msghdr.UCRED.size:
        _tell_credentials(task, queued, head.control, min(now.control_size, head.control_size))


def _receive(task: Task, fd: int, found: Socket, flags: int, then: Callable[[int], None]) -> Any:
    kernel = task.process.container.kernel
    relay = found.relay
    assert relay is not None
    if flags & (MSG_OOB | MSG_ERRQUEUE):
        return BLOCKING

    def ended(result: int) -> int | None:
        try:
            then(result)
        finally:
            relay.ended(task)
        return None

    def go_on() -> Any:
        relay.begin(task)
        return kernel.platform.carry_out(task, ended)

    if relay.waiting:
        return go_on()
    if flags & MSG_DONTWAIT or flags_of(task, fd) & O_NONBLOCK:
        fail(errno.EAGAIN)
    if relay.deaf:
        return BLOCKING
    waiting = True

    def ready() -> None:
        nonlocal waiting
        if waiting:
            waiting = False
            kernel.waits.remove(task)
            go_on()

    def cancel() -> None:
        nonlocal waiting
        waiting = False
        if ready in relay.readers:
            relay.readers.remove(ready)

    def late() -> None:
        if waiting:
            cancel()
            kernel.waits.remove(task)
            kernel.platform.finish(task, -errno.EAGAIN)

    relay.readers.append(ready)
    kernel.waits.add(task, cancel)
    seconds = timeout(found.name, RECEIVING)
    if seconds:
        kernel.loop.later(seconds, late)
    return DEFERRED


def _taken(task: Task, relay: Relay, flags: int, result: int, buffer: int) -> Queued | None:
    """The message that a call has received; None if it has not."""
    if result < 0:
        return None
    if flags & MSG_PEEK:
        return relay.first()

    def looks(queued: Queued) -> bool:
        size = min(result, queued.size, BEGINNING)
        if queued.size < result:
            return False
        try:
            return not size or task.read(buffer, size) == queued.beginning[:size]
        except OSError:
            return True

    return relay.claim(looks)


def _room(task: Task, address: int) -> int:
    if not address:
        return 0
    room: int = struct.unpack("<i", task.read(address, 4))[0]
    return max(room, 0)


def _tell_name(task: Task, queued: Queued, address: int, room: int, length: int) -> None:
    if queued.sender is None:
        return
    data = msghdr.sockaddr(queued.sender)
    if room:
        task.write(address, data[:room])
    task.write(length, struct.pack("<I", len(data)))


def _tell_credentials(task: Task, queued: Queued, control: int, size: int) -> None:
    """In the place of the kernel's own."""
    data = task.read(control, size)
    for at, level, kind, content in msghdr.messages(data):
        if (level, kind, len(content)) == (socket.SOL_SOCKET, SCM_CREDENTIALS, msghdr.UCRED.size):
            who = queued.who
            inside = task.process.container.inside(who.pid)
            task.write(control + at, msghdr.UCRED.pack(inside, who.uid, who.gid))
