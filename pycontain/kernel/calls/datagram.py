"""Unix datagram sockets: bind, connect and sendto; kernel/datagrams.py passes their messages on."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

from pycontain.kernel.abi import AT_FDCWD, O_NONBLOCK, S_IFMT, S_IFSOCK
from pycontain.kernel.calls.unixsocket import address_of, close_off, flags_of, place_of, replace, wait
from pycontain.kernel.datagrams import LARGEST, Relay
from pycontain.kernel.task import Task
from pycontain.kernel.unix import Key, Name
from pycontain.kernel.vfs.access import WRITE, need
from pycontain.kernel.vfs.filesystem import fail
from pycontain.kernel.vfs.hostfs import HostFs
from pycontain.kernel.vfs.walk import resolve

ABSTRACT = -1  # in the place of a device: keys of datagram sockets are never those of others
MSG_DONTWAIT = 0x40
FAMILY_ONLY = 2  # bytes of an address that has no path: autobind; with AF_UNSPEC: disconnect


def bind(task: Task, fd: int, name: Name, path: bytes) -> int:
    datagrams = task.process.container.datagrams
    relay = _relay(task, fd, name)
    if not path or path[:1] == b"\0":
        path = path or b"\0" + os.urandom(3).hex()[:5].encode()
        datagrams.bind(relay, (path, ABSTRACT, 0))
    else:
        fs, directory, last, mode = place_of(task, path)
        if isinstance(fs, HostFs):
            fail(errno.EOPNOTSUPP)  # what the host sends there would have to reach the program
        owner = task.credentials
        inode = fs.mknod(directory, last, S_IFSOCK | mode, 0, owner.fsuid, owner.fsgid)
        datagrams.bind(relay, (b"", -fs.dev, inode.ino))
    if relay.peer is None:
        datagrams.mute(relay)
    _rename(task, relay, name._replace(bound=path))
    return 0


def connect(task: Task, fd: int, name: Name, address: int, size: int) -> int:
    datagrams = task.process.container.datagrams
    path = address_of(task, address, size)
    if path is None and task.read(address, FAMILY_ONLY) == b"\0\0":  # AF_UNSPEC
        relay = _relay(task, fd, name)
        datagrams.connect(relay, None)
        _rename(task, relay, name._replace(peer=None))
        return 0
    if not path:
        fail(errno.EINVAL)
    peer = _target(task, path)
    relay = _relay(task, fd, name)
    if relay.mute:
        if peer is relay:
            peer = relay = _renew(task, fd, name, relay)
        else:
            relay = _renew(task, fd, name, relay)
    datagrams.connect(relay, peer)
    found = task.process.container.sockets.find(peer.ino) if isinstance(peer, Relay) else None
    _rename(task, relay, name._replace(peer=(found and found.bound) or path))
    return 0


def send_to(task: Task, fd: int, a: tuple[int, ...]) -> Any:
    path = address_of(task, a[4], a[5])
    if not path:
        fail(errno.EINVAL)
    size = a[2]
    if size > LARGEST:
        fail(errno.EMSGSIZE)
    data = task.read(a[1], size) if size else b""
    if len(data) < size:
        fail(errno.EFAULT)
    peer = _target(task, path)
    container = task.process.container
    own = container.datagrams.find(task.host_stat(fd).st_ino)

    def attempt() -> bool:
        try:
            if own is not None and not container.datagrams.passed_on(own):
                return False  # what it sent to its peer before comes first
            if isinstance(peer, Relay):
                peer.take(data, [])
            else:
                peer.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return False
        except BaseException:
            close()
            raise
        close()
        return True

    def close() -> None:
        if not isinstance(peer, Relay):
            peer.close()

    if attempt():
        return size
    if a[3] & MSG_DONTWAIT or flags_of(task, fd) & O_NONBLOCK:
        close()
        fail(errno.EAGAIN)
    return wait(task, attempt, close, size)


def _relay(task: Task, fd: int, name: Name) -> Relay:
    """The kernel's end of the socket. One that is neither bound nor connected has none, and what it sends fails;
    neither has one whose peer has gone."""
    container = task.process.container
    relay = container.datagrams.find(task.host_stat(fd).st_ino)
    return _new_relay(task, fd, name) if relay is None else relay


def _renew(task: Task, fd: int, name: Name, mute: Relay) -> Relay:
    """For a socket that could only receive: it has no peer but gets one. What it has not read yet is lost."""
    relay = _new_relay(task, fd, name)
    task.process.container.datagrams.succeed(mute, relay)
    return relay


def _new_relay(task: Task, fd: int, name: Name) -> Relay:
    container = task.process.container
    made, kept = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        close_off(task, made)
        relay = container.datagrams.add(kept, os.fstat(made.fileno()).st_ino)
    except BaseException:
        made.close()
        kept.close()
        raise
    replace(task, fd, made, name, name)
    return relay


def _rename(task: Task, relay: Relay, name: Name) -> None:
    task.process.container.sockets.add(relay.ino, name)


def _target(task: Task, path: bytes) -> Relay | socket.socket:
    """Where a message to this address goes; a socket of the host, connected, where the path is of a bind mount."""
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
