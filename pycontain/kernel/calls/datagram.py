"""Unix datagram sockets: making them, bind and connect, and whom an address names. See kernel/datagrams.py."""

from __future__ import annotations

import errno
import os
import socket
from typing import NamedTuple

from pycontain.kernel.abi import AT_FDCWD, S_IFMT, S_IFSOCK
from pycontain.kernel.calls.unixsocket import address_of, option, place_of, replace, who
from pycontain.kernel.datagrams import LARGEST, Message, Relay, may_send
from pycontain.kernel.task import Task
from pycontain.kernel.unix import Key, Name
from pycontain.kernel.vfs.access import WRITE, need
from pycontain.kernel.vfs.filesystem import fail
from pycontain.kernel.vfs.hostfs import HostFs
from pycontain.kernel.vfs.walk import resolve

ABSTRACT = -1  # in the place of a device: keys of datagram sockets are never those of others
FAMILY_ONLY = 2  # bytes of an address that has no path: autobind; with AF_UNSPEC: disconnect
CROWDED = 32  # so far below the watched numbers a process has many descriptors, and may reach them


class Socket(NamedTuple):
    """A datagram socket of a task. relay: None for an end of a pair, which is the host's."""

    name: Name
    relay: Relay | None


def new(task: Task, kind: int, blocking: bool, cloexec: bool) -> int:
    """Make one, under one of the watched numbers if one is free. Returns its number."""
    platform = task.process.container.kernel.platform
    made, relay = _pair(task)
    task.process.container.datagrams.mute(relay)
    made.setblocking(blocking)
    task.process.container.sockets.add(relay.ino, Name(kind, who(task)))
    number = _free_number(task)
    if number is None:
        return platform.put_fd(task, made.detach(), cloexec)
    try:
        return platform.put_fd(task, os.dup(made.fileno()), cloexec, at=number)
    except OSError:  # a limit below that number
        return platform.put_fd(task, made.detach(), cloexec)
    finally:
        made.close()


def _free_number(task: Task) -> int | None:
    numbers = task.process.container.kernel.platform.watched
    if _open(task, numbers.start - CROWDED):
        return None  # the next descriptor might get our number before we do
    return next((number for number in numbers if not _open(task, number)), None)


def _open(task: Task, number: int) -> bool:
    try:
        task.host_stat(number)
    except OSError:
        return False
    return True


def find(task: Task, fd: int) -> Socket | None:
    """None if it is another kind of socket, or none."""
    container = task.process.container
    try:
        ino = task.host_stat(fd).st_ino
    except OSError:
        return None
    name = container.sockets.find(ino)
    if name is None or name.kind != socket.SOCK_DGRAM:
        return None
    return Socket(name, container.datagrams.find(ino))


def bind(task: Task, fd: int, name: Name, path: bytes) -> int:
    datagrams = task.process.container.datagrams
    relay = _relay(task, fd, name)
    if not path:
        autobind(task, relay, name)
        return 0
    if path[:1] == b"\0":
        datagrams.bind(relay, (path, ABSTRACT, 0), path)
    else:
        fs, directory, last, mode = place_of(task, path)
        if isinstance(fs, HostFs):
            fail(errno.EOPNOTSUPP)  # what the host sends there would have to reach the program
        owner = task.credentials
        inode = fs.mknod(directory, last, S_IFSOCK | mode, 0, owner.fsuid, owner.fsgid)
        datagrams.bind(relay, (b"", -fs.dev, inode.ino), path)
    if relay.peer is None:
        datagrams.mute(relay)
    _rename(task, relay, name._replace(bound=path))
    return 0


def autobind(task: Task, relay: Relay, name: Name) -> Name:
    """Five digits that are free (unix(7))."""
    datagrams = task.process.container.datagrams
    while True:
        path = b"\0" + os.urandom(3).hex()[:5].encode()
        if datagrams.bound((path, ABSTRACT, 0)) is None:
            break
    datagrams.bind(relay, (path, ABSTRACT, 0), path)
    name = name._replace(bound=path)
    _rename(task, relay, name)
    return name


def named(task: Task, found: Socket) -> Socket:
    """One that receives credentials gets an address with the first message or peer."""
    name, relay = found
    if name.bound is None and relay is not None and option(name, socket.SO_PASSCRED):
        return Socket(autobind(task, relay, name), relay)
    return found


def connect(task: Task, fd: int, name: Name, address: int, size: int) -> int:
    datagrams = task.process.container.datagrams
    path = address_of(task, address, size)
    if path is None and task.read(address, FAMILY_ONLY) == b"\0\0":  # AF_UNSPEC
        relay = _relay(task, fd, name)
        datagrams.connect(relay, None)
        datagrams.mute(relay)
        _rename(task, relay, name._replace(peer=None))
        return 0
    if not path:
        fail(errno.EINVAL)
    peer = target(task, path)
    relay = _relay(task, fd, name)
    if isinstance(peer, Relay) and peer is not relay and not may_send(relay, peer):
        fail(errno.EPERM)
    name, _ = named(task, Socket(name, relay))
    if relay.mute:
        if peer is relay:
            peer = relay = _renew(task, fd, name, relay)
        else:
            relay = _renew(task, fd, name, relay)
    datagrams.connect(relay, peer)
    found = task.process.container.sockets.find(peer.ino) if isinstance(peer, Relay) else None
    _rename(task, relay, name._replace(peer=(found and found.bound) or path))
    return 0


def disconnected(task: Task, found: Socket) -> None:
    """The program has been told that its peer has gone."""
    if found.relay is not None:
        found.relay.refused = False
        _rename(task, found.relay, found.name._replace(peer=None))


def _relay(task: Task, fd: int, name: Name) -> Relay:
    """The kernel's end of the socket. An end of a pair has none yet, and gets another peer."""
    container = task.process.container
    relay = container.datagrams.find(task.host_stat(fd).st_ino)
    if relay is None:
        made, relay = _pair(task)
        replace(task, fd, made, name, name)
    return relay


def _renew(task: Task, fd: int, name: Name, mute: Relay) -> Relay:
    """For a socket that could only receive: it has no peer but gets one."""
    made, relay = _pair(task)
    task.process.container.datagrams.succeed(mute, relay)
    _move_unread(task, fd, mute, relay)
    replace(task, fd, made, name, name)
    return relay


def _move_unread(task: Task, fd: int, old: Relay, new: Relay) -> None:
    """What the program has not read yet. Lost where the host does not let us have its descriptors."""
    platform = task.process.container.kernel.platform
    unread = old.unread()
    if not unread or not platform.takes_fds:
        return
    with socket.socket(fileno=platform.take_fd(task, fd)) as taken:
        for each in unread:
            try:
                data, fds, _, _ = socket.recv_fds(taken, LARGEST, 253, socket.MSG_DONTWAIT)
                try:
                    new.take(Message(data, fds, each.sender, each.who))
                finally:
                    for received in fds:
                        os.close(received)
            except OSError:
                return  # another thread has read it


def _pair(task: Task) -> tuple[socket.socket, Relay]:
    made, kept = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        ino = os.fstat(made.fileno()).st_ino
        relay = task.process.container.datagrams.add(kept, ino, who(task))
    except BaseException:
        made.close()
        kept.close()
        raise
    return made, relay


def _rename(task: Task, relay: Relay, name: Name) -> None:
    task.process.container.sockets.add(relay.ino, name)


def target(task: Task, path: bytes) -> Relay | socket.socket:
    """Where a message to this address goes; a socket of the host, connected, where the path is of a bind mount.
    Raises EPROTOTYPE if what is there is another kind of socket."""
    container = task.process.container
    if path[:1] == b"\0":
        key: Key = (path, ABSTRACT, 0)
    else:
        node = resolve(task, AT_FDCWD, path)
        if node.inode.mode & S_IFMT != S_IFSOCK:
            fail(errno.ECONNREFUSED)
        need(node.inode, task.credentials, WRITE)
        if isinstance(node.mount.fs, HostFs):
            return _of_host(node.mount.fs.pin(node.inode))
        key = (b"", -node.mount.fs.dev, node.inode.ino)
    relay = container.datagrams.bound(key)
    if relay is None:
        if path[:1] != b"\0":
            try:
                pin = node.mount.fs.pin(node.inode)
            except OSError:
                fail(errno.ECONNREFUSED)
            _of_host(pin).close()  # what else is bound there, the host knows
        fail(errno.ECONNREFUSED)
    return relay


def _of_host(pin: int) -> socket.socket:
    """Raises EPROTOTYPE if it is not a datagram socket."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        made.setblocking(False)
        made.connect(f"/proc/self/fd/{pin}")
    except BaseException:
        made.close()
        raise
    finally:
        os.close(pin)
    return made
