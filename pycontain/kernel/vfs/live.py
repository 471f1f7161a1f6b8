"""Files of /proc that programs keep open and read again and again (top, vmstat), with texts of the kernel's own.

Reading is native: a descriptor of a memory file shows what was written into it. So while somebody has one open, all
who open that file share a memory file, and the kernel writes the text of the moment into it: at first often, later
twice a second. Whether somebody has, a lease tells: the host grants F_WRLCK only on a file that nobody else has open (fcntl(2)).
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable

from pycontain.kernel.loop import Loop

FIRST, LAST = (
    0.01,
    0.5,
)  # seconds that a text may be old: soon after an open, and later; each doubles the one before


class _Live:
    """fd: for writing; probe: the only other descriptor of ours, for the lease."""

    __slots__ = ("fd", "probe", "text")

    def __init__(self, text: Callable[[], bytes]) -> None:
        self.text = text
        self.fd = os.memfd_create("proc", os.MFD_CLOEXEC)
        self.probe = os.open(f"/proc/self/fd/{self.fd}", os.O_RDONLY | os.O_CLOEXEC)

    def write(self) -> None:
        text = self.text()
        os.pwrite(self.fd, text, 0)
        os.ftruncate(self.fd, len(text))

    def in_use(self) -> bool:
        try:
            fcntl.fcntl(self.probe, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        except OSError as error:
            if error.errno != errno.EAGAIN:
                raise
            return True
        fcntl.fcntl(self.probe, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        return False

    def close(self) -> None:
        os.close(self.fd)
        os.close(self.probe)


class LiveFiles:
    """Of one container."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._files: dict[str, _Live] = {}
        self._looking = False
        self._interval = FIRST

    def open(self, name: str, text: Callable[[], bytes]) -> int:
        """A read-only descriptor whose text stays fresh. Names stand for texts."""
        live = self._files.get(name)
        if live is None:
            live = self._files[name] = _Live(text)
        live.write()
        self._interval = FIRST
        if not self._looking:
            self._looking = True
            self._loop.later(self._interval, self._look)
        return os.open(f"/proc/self/fd/{live.fd}", os.O_RDONLY | os.O_CLOEXEC)

    def owns(self, ino: int) -> bool:
        """Is this the inode number of one of these memory files?"""
        return any(os.fstat(live.fd).st_ino == ino for live in self._files.values())

    def _look(self) -> None:
        for name, live in list(self._files.items()):
            if live.in_use():
                live.write()
            else:
                live.close()
                del self._files[name]
        self._looking = bool(self._files)
        if self._looking:
            self._interval = min(2 * self._interval, LAST)
            self._loop.later(self._interval, self._look)

    def close(self) -> None:
        for live in self._files.values():
            live.close()
        self._files.clear()
