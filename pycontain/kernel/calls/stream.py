"""Unix sockets with connections: SOCK_STREAM and SOCK_SEQPACKET. See unixsocket.py."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

from pycontain.kernel.abi import AT_FDCWD, O_NONBLOCK, S_IFMT, S_IFSOCK
from pycontain.kernel.calls.unixsocket import (
    SUN_PATH,
    flags_of,
    hidden,
    place_of,
    replace,
    wait,
    who,
)
from pycontain.kernel.task import Task
from pycontain.kernel.unix import STRANGER, Key, Name
from pycontain.kernel.vfs.access import WRITE, need
from pycontain.kernel.vfs.filesystem import fail
from pycontain.kernel.vfs.hostfs import HostFs
from pycontain.kernel.vfs.walk import resolve
from pycontain.platforms.base import NATIVE


def bind(task: Task, fd: int, name: Name, path: bytes) -> int:
    if name.peer is not None:
        fail(errno.EINVAL)
    made = socket.socket(socket.AF_UNIX, name.kind)
    try:
        if not path or path[:1] == b"\0":
            bound = path or b"\0" + os.urandom(3).hex()[:5].encode()
            made.bind(hidden(task, bound))
            key: Key = (bound, 0, 0)
        else:
            bound = path
            key = _bind_path(task, made, path)
        made.listen(0)  # closed off; nobody gets through before the program listens
        return replace(task, fd, made, name, name._replace(bound=bound, key=key, who=who(task)))
    except BaseException:
        made.close()
        raise


def _bind_path(task: Task, made: socket.socket, path: bytes) -> Key:
    fs, directory, name, mode = place_of(task, path)
    owner = task.credentials
    if isinstance(fs, HostFs):  # a bind mount: the socket is a real one, others of the host may use it
        address = b"/proc/self/fd/%d/%s" % (fs.directory_fd(directory), name)
        if len(address) >= SUN_PATH:
            fail(errno.ENAMETOOLONG)
        made.bind(address)
        inode = fs.lookup(directory, name)
        if inode is None:
            fail(errno.ENOENT)
        inode = fs.set_attr(inode, mode=mode)
    else:
        inode = fs.mknod(directory, name, S_IFSOCK | mode, 0, owner.fsuid, owner.fsgid)
        try:
            fs.bind(inode, made)
        except BaseException:
            fs.unlink(directory, name)
            raise
    pin = fs.pin(inode)
    try:
        return key_of(pin)
    finally:
        os.close(pin)


def key_of(pin: int) -> Key:
    info = os.fstat(pin)
    if info.st_mode & S_IFMT != S_IFSOCK:
        fail(errno.ECONNREFUSED)
    return b"", info.st_dev, info.st_ino


def listen(task: Task, fd: int, name: Name) -> Any:
    container = task.process.container
    if name.kind == socket.SOCK_DGRAM:
        fail(errno.EOPNOTSUPP)
    if name.key is None:
        fail(errno.EINVAL)
    ino = task.host_stat(fd).st_ino
    if container.sockets.find(ino) is name:
        container.sockets.add(ino, name._replace(listening=True, who=who(task)))
    return NATIVE


def connect(task: Task, fd: int, name: Name, path: bytes) -> Any:
    if name.listening:
        fail(errno.EINVAL)
    if name.peer is not None:
        fail(errno.EISCONN)
    container = task.process.container
    pin = -1
    try:
        if path[:1] == b"\0":
            key: Key = (path, 0, 0)
            address: bytes = hidden(task, path)
        else:
            node = resolve(task, AT_FDCWD, path)
            if node.inode.mode & S_IFMT != S_IFSOCK:
                fail(errno.ECONNREFUSED)
            need(node.inode, task.credentials, WRITE)
            try:
                pin = node.mount.fs.pin(node.inode)
            except FileNotFoundError:
                fail(errno.ECONNREFUSED)  # the inode of an image: nobody listens
            key = key_of(pin)
            address = b"/proc/self/fd/%d" % pin
        if not container.sockets.listens(key):
            fail(errno.ECONNREFUSED)
        made = socket.socket(socket.AF_UNIX, name.kind)
        made.setblocking(False)  # a listener with a full backlog must not stop the kernel
    except BaseException:
        if pin >= 0:
            os.close(pin)
        raise
    listener = container.sockets.listener(key)
    done = name._replace(
        peer=path if listener is None else listener.bound,
        key=None,
        who=who(task),
        other=STRANGER if listener is None else listener.who,
    )

    def attempt() -> bool:
        """True when it is over."""
        try:
            made.connect(address)
            replace(task, fd, made, name, done)
        except BlockingIOError:
            return False
        except BaseException:
            close()
            raise
        close()
        return True

    def close() -> None:
        made.close()
        if pin >= 0:
            os.close(pin)

    if attempt():
        return 0
    if flags_of(task, fd) & O_NONBLOCK:
        close()
        fail(errno.EAGAIN)
    return wait(task, attempt, close)
