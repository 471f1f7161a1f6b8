"""Opening FIFOs: the one kind of open that waits for another process (fifo(7)).

Both ends are opened without blocking. An end that finds no partner keeps its call waiting until the partner's
open comes, which is through us too.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from typing import TYPE_CHECKING, Any, NamedTuple

from pycontain.kernel.libc import tee
from pycontain.kernel.vfs.filesystem import fail
from pycontain.platforms.base import DEFERRED

if TYPE_CHECKING:
    from pycontain.kernel.kernel import Kernel
    from pycontain.kernel.task import Task

Key = tuple[int, int]


class Waiting(NamedTuple):
    """An open that waits. fd: its end, -1 where that cannot be opened yet; pin: an O_PATH descriptor of the FIFO."""

    task: Task
    flags: int
    fd: int
    pin: int

    def close(self) -> None:
        os.close(self.pin)
        if self.fd >= 0:
            os.close(self.fd)


class FifoOpens:
    """Opens that wait, by the host's device and inode number of the FIFO."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._waiting: dict[Key, list[Waiting]] = {}

    def open(self, task: Task, pin: int, flags: int) -> Any:
        """Answer an open. pin: an O_PATH descriptor of the FIFO (a name might lead elsewhere by now); closed here."""
        kept = False
        try:
            info = os.fstat(pin)
            if not stat.S_ISFIFO(info.st_mode):
                fail(errno.ENXIO)
            key = info.st_dev, info.st_ino
            access = flags & os.O_ACCMODE
            if access == os.O_ACCMODE:
                fail(errno.EINVAL)
            waits = not (flags & os.O_NONBLOCK or access == os.O_RDWR or _is_pipe(pin))
            try:
                fd = _open(pin, access | flags & os.O_APPEND)
            except OSError as error:
                if error.errno != errno.ENXIO or not waits:
                    raise
                fd = -1  # nobody reads yet
            if fd < 0 or (
                access == os.O_RDONLY and waits and not _has_writer(fd) and not self._wake(key, os.O_WRONLY)
            ):
                kept = True
                self._waiting.setdefault(key, []).append(Waiting(task, flags, fd, pin))
                self._kernel.waits.add(task, lambda: self._forget(key, task))
                return DEFERRED
            if access != os.O_RDONLY:
                self._wake(key, os.O_RDONLY)
            if access == os.O_RDWR:
                self._wake(key, os.O_WRONLY)
            return self._give(task, fd, flags)
        finally:
            if not kept:
                os.close(pin)

    def _wake(self, key: Key, access: int) -> bool:
        """Complete the opens of the other end; True if there was one."""
        waiting = self._waiting.pop(key, [])
        rest = [w for w in waiting if w.flags & os.O_ACCMODE != access]
        if rest:
            self._waiting[key] = rest
        woken = [w for w in waiting if w.flags & os.O_ACCMODE == access]
        for one in woken:
            self._kernel.waits.remove(one.task)
            try:
                fd = one.fd if one.fd >= 0 else _open(one.pin, access | one.flags & os.O_APPEND)
            except OSError as error:
                self._kernel.platform.finish(one.task, -(error.errno or errno.EIO))
            else:
                self._give(one.task, fd, one.flags)
            finally:
                os.close(one.pin)
        return bool(woken)

    def _give(self, task: Task, fd: int, flags: int) -> Any:
        if not flags & os.O_NONBLOCK:
            fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) & ~os.O_NONBLOCK)
        # our own copy is closed before the task goes on: an end that it closes at once must be closed then
        try:
            result = self._kernel.platform.put_fd(task, fd, bool(flags & os.O_CLOEXEC))
        except OSError as error:
            result = -(error.errno or errno.EIO)
        self._kernel.platform.finish(task, result)
        return DEFERRED

    def _forget(self, key: Key, task: Task) -> None:
        waiting = self._waiting.pop(key, [])
        rest = [w for w in waiting if w.task is not task]
        if rest:
            self._waiting[key] = rest
        for one in waiting:
            if one.task is task:
                one.close()


def _open(pin: int, access: int) -> int:
    return os.open(f"/proc/self/fd/{pin}", access | os.O_NONBLOCK | os.O_CLOEXEC)


def _is_pipe(pin: int) -> bool:
    """A pipe without a name, reopened through /proc/PID/fd: such an open never waits."""
    return os.readlink(f"/proc/self/fd/{pin}").startswith("pipe:")


def _has_writer(fd: int) -> bool:
    """tee(2) tells without consuming: 0 where no writer has the FIFO open, EAGAIN where one has."""
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return bool(tee(fd, writer))
    except BlockingIOError:
        return True
    finally:
        os.close(reader)
        os.close(writer)
