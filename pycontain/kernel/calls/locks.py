"""flock(2). How it is done: kernel/filelocks.py; record locks (fcntl) are the host's, on whatever file."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from typing import Any

from pycontain.kernel.abi import signed
from pycontain.kernel.filelocks import Request
from pycontain.kernel.task import Task
from pycontain.kernel.vfs.devfs import HOST_DEVICES
from pycontain.kernel.vfs.filesystem import fail
from pycontain.platforms.base import BLOCKING, NATIVE


def sys_flock(task: Task, a: tuple[int, ...]) -> Any:
    """Native for the container's own files, pipes, sockets and what of the host was given to it."""
    fd, operation = signed(a[0]), signed(a[1])
    native = BLOCKING if operation in (fcntl.LOCK_SH, fcntl.LOCK_EX) else NATIVE
    container = task.process.container
    info = task.host_stat(fd)
    identity = info.st_dev, info.st_ino
    handle = container.handles.find(*identity)
    root = container.root_fs
    own = None
    if handle is not None:
        if handle.path_only:
            fail(errno.EBADF)
        key = handle.node.mount.fs.dev, handle.node.inode.ino
    elif stat.S_ISCHR(info.st_mode):
        if info.st_rdev not in HOST_DEVICES:
            return native
        key = 0, info.st_rdev
    else:
        inode = root.by_descriptor(*identity) if stat.S_ISREG(info.st_mode) else None
        if inode is None:
            return native
        key = root.dev, inode.ino

        def open_own() -> int:
            return root.open(inode, os.O_RDONLY)

        if inode.content is None:
            own = open_own
            if identity in root.by_host:
                container.locks.reflect(key, own)
                return native
    kind = operation & ~fcntl.LOCK_NB
    if kind not in (fcntl.LOCK_SH, fcntl.LOCK_EX, fcntl.LOCK_UN):
        fail(errno.EINVAL)
    taken = -1
    if handle is None:
        try:
            taken = container.kernel.platform.take_fd(task, fd)
        except PermissionError:
            fail(errno.ENOLCK)  # the task has not handed over what identifies the owner
        found = os.fstat(taken)
        if (found.st_dev, found.st_ino) != identity:
            os.close(taken)
            fail(errno.EBADF)  # another thread has put something else there
    place = task.process.pid, fd

    def known() -> bool:
        return container.handles.find(*identity) is handle

    request = Request(key, kind == fcntl.LOCK_EX, identity, place, known, taken, own)
    if kind == fcntl.LOCK_UN:
        return container.locks.unlock(request)
    return container.locks.lock(task, request, not operation & fcntl.LOCK_NB)
