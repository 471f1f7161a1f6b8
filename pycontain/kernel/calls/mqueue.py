"""POSIX message queues: the host's objects, under names of the container's (mq_overview(7)).

Only opening and unlinking name a queue; all else is done natively on the descriptor. The host's name is one that
nobody inside learns; who may open a queue is decided here, since the host knows all programs as one user.
"""

from __future__ import annotations

import errno
import os
from typing import Any

from pycontain.kernel import libc
from pycontain.kernel.abi import O_ACCMODE, O_CREAT, O_EXCL, O_NONBLOCK, S_IFREG
from pycontain.kernel.task import Task
from pycontain.kernel.vfs.access import READ, WRITE, need
from pycontain.kernel.vfs.filesystem import fail
from pycontain.unionfs.inode import Inode

NAME_MAX = 255
LIMIT = 64  # queues of one container; the host has 256 for everybody (queues_max)
ATTRIBUTES = 64  # bytes of struct mq_attr
WANTED = {os.O_RDONLY: READ, os.O_WRONLY: WRITE, os.O_RDWR: READ | WRITE}


def sys_mq_open(task: Task, a: tuple[int, ...]) -> Any:
    """The descriptor is always close-on-exec, as the host's mq_open makes it."""
    name = _name(task, a[0])
    flags = a[1] & 0xFFFFFFFF
    container = task.process.container
    who = task.credentials
    queues = container.ipc.queues
    found = queues.get(name)
    if found is not None:
        if flags & O_CREAT and flags & O_EXCL:
            fail(errno.EEXIST)
        if flags & O_ACCMODE not in WANTED:
            fail(errno.EINVAL)
        need(found.owner, who, WANTED[flags & O_ACCMODE])
        fd = libc.mq_open(found.host_name, flags & (O_ACCMODE | O_NONBLOCK), None)
    else:
        if not flags & O_CREAT:
            fail(errno.ENOENT)
        if len(queues) >= LIMIT:
            fail(errno.ENOSPC)
        attributes = task.read(a[3], ATTRIBUTES) if a[3] else None
        if attributes is not None and len(attributes) < ATTRIBUTES:
            fail(errno.EFAULT)
        mode = S_IFREG | a[2] & 0o777 & ~task.files.umask
        made = container.ipc.new_queue(name, Inode(0, mode, who.fsuid, who.fsgid, 0))
        try:
            fd = libc.mq_open(made.host_name, flags & (O_ACCMODE | O_NONBLOCK | O_CREAT | O_EXCL), attributes)
        except OSError:
            container.ipc.drop_queue(name)
            raise
    return container.kernel.platform.send_fd(task, fd, True)


def sys_mq_unlink(task: Task, a: tuple[int, ...]) -> int:
    name = _name(task, a[0])
    ipc = task.process.container.ipc
    found = ipc.queues.get(name)
    if found is None:
        fail(errno.ENOENT)
    who = task.credentials
    if who.fsuid != found.owner.uid and who.fsuid != 0:  # the directory of queues is sticky
        fail(errno.EPERM)
    ipc.drop_queue(name)
    return 0


def _name(task: Task, address: int) -> bytes:
    """The C library has taken the leading slash off."""
    name = task.string(address)
    if not name:
        fail(errno.ENOENT)
    if b"/" in name or name in (b".", b".."):
        fail(errno.EACCES)
    if len(name) > NAME_MAX:
        fail(errno.ENAMETOOLONG)
    return name
