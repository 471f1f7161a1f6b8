"""sendto, sendmsg and sendmmsg of unix datagram sockets, which the kernel carries out: see kernel/datagrams.py.

What a message consists of is read once. Other sockets under the watched numbers are the host's business.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from array import array
from collections.abc import Callable
from typing import Any, NamedTuple

from pycontain.kernel.abi import O_NONBLOCK, signed
from pycontain.kernel.calls import msghdr
from pycontain.kernel.calls.datagram import Socket, disconnected, find, named, target
from pycontain.kernel.calls.unixsocket import address_of, flags_of, timeout, unix_socket, wait
from pycontain.kernel.credentials import CAP_SETGID, CAP_SETUID, CAP_SYS_ADMIN
from pycontain.kernel.datagrams import LARGEST, MOST_DESCRIPTORS, Message, Relay
from pycontain.kernel.task import Task
from pycontain.kernel.unix import Credentials
from pycontain.kernel.vfs.filesystem import fail
from pycontain.platforms.base import BLOCKING

MSG_OOB, MSG_DONTWAIT = 1, 0x40
SENDING = (21, 67)  # SO_SNDTIMEO
SCM_RIGHTS, SCM_CREDENTIALS = 1, 2
ERESTARTNOINTR = 513


class Letter(NamedTuple):
    """A message and whom it is for; path None: the peer. numbers: of the task's descriptors that go with it."""

    data: bytes
    numbers: list[int]
    who: Credentials
    path: bytes | None


def sys_sendto(task: Task, a: tuple[int, ...]) -> Any:
    """With an address, of whatever family, it comes here from every descriptor: a filter cannot tell."""
    container = task.process.container
    if not container.sockets.datagrams:
        return BLOCKING  # no unix socket of a container takes an address from here to the host
    fd = signed(a[0])
    found = find(task, fd)
    if found is None:
        if not a[4]:
            return BLOCKING
        name = unix_socket(task, fd)
        if name is None:
            return BLOCKING
        fail(errno.EISCONN if name.peer is not None else errno.EOPNOTSUPP)
    if found.relay is None and not a[4]:
        return BLOCKING
    path = _path(task, a[4], a[5]) if a[4] and a[5] else None
    data = msghdr.gather(task, [(a[1], a[2])], LARGEST)
    letter = Letter(data, [], sender(task), path)
    return _send(task, fd, found, [letter], a[3], lambda done: len(data))


def sys_sendmsg(task: Task, a: tuple[int, ...]) -> Any:
    fd = signed(a[0])
    found = find(task, fd)
    if found is None:
        return BLOCKING
    letter = _letter(task, found, msghdr.header(task, a[1]))
    if letter is None:
        return BLOCKING
    return _send(task, fd, found, [letter], a[2], lambda done: len(letter.data))


def sys_sendmmsg(task: Task, a: tuple[int, ...]) -> Any:
    fd = signed(a[0])
    found = find(task, fd)
    if found is None:
        return BLOCKING
    letters: list[Letter] = []
    for number in range(min(a[2] & 0xFFFFFFFF, msghdr.MOST_PARTS)):
        try:
            letter = _letter(task, found, msghdr.header(task, a[1] + number * msghdr.MMSGHDR.size))
        except OSError:
            if not letters:
                raise
            break  # the next call tells
        if letter is None:
            return BLOCKING
        if letter.numbers and letters:
            break
        letters.append(letter)
        if letter.numbers or sum(len(each.data) for each in letters) > LARGEST:
            break  # as much as is sent at once; the caller goes on from there
    if not letters:
        return 0

    def told(done: int) -> int:
        for number in range(done):
            length = struct.pack("<I", len(letters[number].data))
            task.write(a[1] + number * msghdr.MMSGHDR.size + msghdr.MSGHDR.size, length)
        return done

    return _send(task, fd, found, letters, a[3], told)


def sender(task: Task) -> Credentials:
    who = task.credentials
    return Credentials(task.process.pid, who.uid, who.gid)


def _path(task: Task, address: int, size: int) -> bytes:
    path = address_of(task, address, size)
    if not path:
        fail(errno.EINVAL)
    return path


def _letter(task: Task, found: Socket, head: msghdr.Header) -> Letter | None:
    """None: the host can send it as it is, to the other end of a pair."""
    path = _path(task, head.name, head.name_size) if head.name and head.name_size else None
    if found.relay is None and path is None:
        return None
    numbers: list[int] = []
    who = sender(task)
    for _, level, kind, content in msghdr.messages(msghdr.control(task, head)):
        if level != socket.SOL_SOCKET:
            continue
        if kind == SCM_RIGHTS:
            rights = array("i")
            rights.frombytes(content[: len(content) // 4 * 4])
            numbers += rights
        elif kind == SCM_CREDENTIALS and len(content) == msghdr.UCRED.size:
            who = allowed(task, *msghdr.UCRED.unpack(content))
        else:
            fail(errno.EINVAL)
    if len(numbers) > MOST_DESCRIPTORS:
        fail(errno.EINVAL)
    return Letter(msghdr.gather(task, msghdr.parts(task, head), LARGEST), numbers, who, path)


def allowed(task: Task, pid: int, uid: int, gid: int) -> Credentials:
    """Credentials that a program gives itself. Raises EPERM if they are another's (unix(7))."""
    own = task.credentials
    container = task.process.container
    outside = container.outside(pid)
    if outside != task.process.pid and not own.has(CAP_SYS_ADMIN):
        fail(errno.EPERM)
    if uid not in (own.uid, own.euid, own.suid) and not own.has(CAP_SETUID):
        fail(errno.EPERM)
    if gid not in (own.gid, own.egid, own.sgid) and not own.has(CAP_SETGID):
        fail(errno.EPERM)
    if outside not in container.processes:
        fail(errno.ESRCH)
    return Credentials(outside, uid, gid)


def _send(
    task: Task, fd: int, found: Socket, letters: list[Letter], flags: int, told: Callable[[int], int]
) -> Any:
    """told: makes the call's result from the number of messages that were sent."""
    datagrams = task.process.container.datagrams
    done = 0
    goal: Relay | socket.socket | None = None
    own = False  # the goal is a socket that we opened for this message

    def aim(letter: Letter) -> Relay | socket.socket:
        nonlocal own
        if letter.path is not None:
            own = True
            return target(task, letter.path)
        relay = found.relay
        if relay is not None and relay.peer is not None:
            return relay.peer
        if relay is not None and relay.refused:
            disconnected(task, found)
            fail(errno.ECONNREFUSED)
        fail(errno.ENOTCONN)

    def nowait() -> bool:
        return bool(flags & MSG_DONTWAIT or flags_of(task, fd) & O_NONBLOCK)

    def ready(letter: Letter) -> None:
        """Find out where it goes. Raises BlockingIOError."""
        nonlocal goal
        if found.relay is not None and not datagrams.passed_on(found.relay):
            raise BlockingIOError  # what it wrote to its peer before comes first
        if goal is None:
            goal = aim(letter)
        if found.relay is not None and (found.relay.stopped or found.relay.shut):
            fail(errno.EPIPE)

    def deliver(letter: Letter, descriptors: list[int]) -> None:
        assert goal is not None
        address = found.relay.address if found.relay is not None else found.name.bound
        try:
            datagrams.deliver(found.relay, goal, Message(letter.data, descriptors, address, letter.who))
        except ConnectionRefusedError:
            if found.relay is not None and goal is found.relay.peer:
                datagrams.refuse(found.relay)
                disconnected(task, found)
            raise
        drop()

    def drop() -> None:
        nonlocal goal, own
        if own and isinstance(goal, socket.socket):
            goal.close()
        goal, own = None, False

    def attempt() -> bool:
        nonlocal done
        try:
            while done < len(letters):
                ready(letters[done])
                deliver(letters[done], [])
                done += 1
        except BlockingIOError:
            if not done:
                return False
        except OSError:
            if not done:
                drop()
                raise
        drop()
        return True

    # with descriptors: they are fetched when there is room

    def room() -> bool:
        try:
            ready(letters[0])
        except BlockingIOError:
            return False
        except OSError:
            drop()
            raise
        return not isinstance(goal, Relay) or goal.room

    def hand_over(descriptors: list[int]) -> int:
        try:
            ready(letters[0])
            deliver(letters[0], descriptors)
        except BlockingIOError:
            return -errno.EAGAIN if nowait() else -ERESTARTNOINTR  # somebody else was quicker
        finally:
            drop()
            for descriptor in descriptors:
                os.close(descriptor)
        return told(1)

    def fetch() -> Any:
        return task.process.container.kernel.platform.fetch_fds(task, letters[0].numbers, hand_over)

    first, then = (room, fetch) if letters[0].numbers else (attempt, lambda: told(done))
    if flags & MSG_OOB:
        fail(errno.EOPNOTSUPP)
    found = named(task, found)
    if first():
        return then()
    if nowait():
        drop()
        fail(errno.EAGAIN)
    return wait(task, first, drop, then, timeout(found.name, SENDING))
