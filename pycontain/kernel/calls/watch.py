"""inotify_init, inotify_add_watch, inotify_rm_watch. inotify(7); how it is done: kernel/inotify.py."""

from __future__ import annotations

import errno
import os
from typing import Any

from pycontain.kernel.abi import AT_FDCWD, S_IFDIR, S_IFMT, signed
from pycontain.kernel.inotify import (
    IN_ALL_EVENTS,
    IN_DONT_FOLLOW,
    IN_MASK_ADD,
    IN_MASK_CREATE,
    IN_ONESHOT,
    IN_ONLYDIR,
)
from pycontain.kernel.task import Task
from pycontain.kernel.vfs.access import READ, need
from pycontain.kernel.vfs.filesystem import fail
from pycontain.kernel.vfs.walk import resolve


def sys_inotify_init(task: Task, a: tuple[int, ...]) -> Any:
    return sys_inotify_init1(task, (0,))


def sys_inotify_init1(task: Task, a: tuple[int, ...]) -> Any:
    flags = a[0] & 0xFFFFFFFF
    if flags & ~(os.O_CLOEXEC | os.O_NONBLOCK):
        fail(errno.EINVAL)
    container = task.process.container
    fd = container.watches.create(bool(flags & os.O_NONBLOCK))
    return container.kernel.platform.send_fd(task, fd, bool(flags & os.O_CLOEXEC))


def sys_inotify_add_watch(task: Task, a: tuple[int, ...]) -> int:
    mask = a[2] & 0xFFFFFFFF
    if not mask & (IN_ALL_EVENTS | IN_ONESHOT) or (mask & IN_MASK_ADD and mask & IN_MASK_CREATE):
        fail(errno.EINVAL)
    container = task.process.container
    instance = container.watches.find(task.host_stat(signed(a[0])))
    node = resolve(task, AT_FDCWD, task.string(a[1]), not mask & IN_DONT_FOLLOW)
    if mask & IN_ONLYDIR and node.inode.mode & S_IFMT != S_IFDIR:
        fail(errno.ENOTDIR)
    need(node.inode, task.credentials, READ)
    return container.watches.add(instance, node, mask)


def sys_inotify_rm_watch(task: Task, a: tuple[int, ...]) -> int:
    container = task.process.container
    instance = container.watches.find(task.host_stat(signed(a[0])))
    container.watches.remove(instance, signed(a[1]))
    return 0
