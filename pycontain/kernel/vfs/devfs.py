"""/dev: the nodes that Docker gives a container, and the terminals that the container made."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from typing import TYPE_CHECKING

from pycontain.kernel.abi import S_IFCHR, S_IFDIR
from pycontain.kernel.vfs.filesystem import Filesystem, fail
from pycontain.kernel.vfs.unionfs import UnionFs, new_tmpfs
from pycontain.unionfs.inode import Inode

if TYPE_CHECKING:
    from pycontain.kernel.container import Container
    from pycontain.kernel.task import Task

DEVPTS_MAGIC = 0x1CD1
PTY_SLAVE_MAJOR = 136
TIOCGPTN = 0x80045430
TTY, PTMX = os.makedev(5, 0), os.makedev(5, 2)
# the only devices a container can open, whatever node it has or makes: rdev -> the host's node
HOST_DEVICES = {
    os.makedev(1, 3): "/dev/null",
    os.makedev(1, 5): "/dev/zero",
    os.makedev(1, 7): "/dev/full",
    os.makedev(1, 8): "/dev/random",
    os.makedev(1, 9): "/dev/urandom",
}
NODES = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0))
LINKS = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
    ("core", "/proc/kcore"),
)


def new_devfs(directory: str, dev: int) -> UnionFs:
    """A tmpfs with the standard nodes."""
    fs = new_tmpfs(directory, dev, 0o755)
    for name, major, minor in NODES:
        fs.mknod(fs.root, name.encode(), S_IFCHR | 0o666, os.makedev(major, minor), 0, 0)
    for name, target in LINKS:
        fs.symlink(fs.root, name.encode(), target.encode(), 0, 0)
    for name in ("pts", "shm", "mqueue"):
        fs.mkdir(fs.root, name.encode(), 0o755, 0, 0)
    return fs


def open_device(container: Container, inode: Inode, flags: int, task: Task) -> int:
    """A host descriptor for a character device node. Raises ENXIO for devices that a container does not have."""
    flags = flags & ~(os.O_CREAT | os.O_EXCL | os.O_TRUNC) | os.O_CLOEXEC | os.O_NOCTTY
    host = HOST_DEVICES.get(inode.rdev)
    if host is not None:
        return os.open(host, flags)
    if inode.rdev == PTMX:
        return container.devpts.open_master(flags)
    if inode.rdev == TTY:
        return _controlling_terminal(container, flags, task)
    fail(errno.ENXIO)


def _controlling_terminal(container: Container, flags: int, task: Task) -> int:
    """The task's terminal by its number: /dev/tty opened by us would be ours."""
    try:
        with open(f"/proc/{task.process.pid}/stat", "rb") as file:
            text = file.read()
    except OSError:
        fail(errno.ENXIO)
    number = int(text[text.rindex(b")") + 2 :].split()[4])
    if os.major(number) != PTY_SLAVE_MAJOR or os.minor(number) not in container.devpts.numbers:
        fail(errno.ENXIO)
    return os.open(f"/dev/pts/{os.minor(number)}", flags)


class DevPts(Filesystem):
    """The pseudo terminals that this container opened; numbers are the host's."""

    type = "devpts"
    magic = DEVPTS_MAGIC

    def __init__(self, dev: int) -> None:
        self.dev = dev
        self.numbers: dict[int, tuple[int, int]] = {}  # number -> owner
        self.root = Inode(1, S_IFDIR | 0o755, 0, 0, 0)
        self.root.parent = self.root
        self._modes: dict[int, tuple[int, int, int]] = {}

    def open_master(self, flags: int) -> int:
        fd = os.open("/dev/ptmx", flags)
        (number,) = struct.unpack("i", fcntl.ioctl(fd, TIOCGPTN, bytes(4)))
        self.numbers[number] = (0, 0)
        self._modes[number] = (0o620, 0, 5)
        return fd

    def adopt(self, number: int) -> None:
        """A terminal that the kernel made for the container."""
        self.numbers[number] = (0, 0)
        self._modes[number] = (0o620, 0, 5)

    def lookup(self, directory: Inode, name: bytes) -> Inode | None:
        if name == b"ptmx":
            inode = Inode(2, S_IFCHR | 0o666, 0, 0, 0)
            inode.rdev = PTMX
        elif name.isdigit() and int(name) in self.numbers and os.path.exists(f"/dev/pts/{int(name)}"):
            number = int(name)
            mode, uid, gid = self._modes[number]
            inode = Inode(3 + number, S_IFCHR | mode, uid, gid, 0)
            inode.rdev = os.makedev(PTY_SLAVE_MAJOR, number)
            info = os.stat(f"/dev/pts/{number}")
            inode.atime, inode.mtime, inode.ctime = info.st_atime_ns, info.st_mtime_ns, info.st_ctime_ns
        else:
            return None
        inode.parent, inode.name = self.root, name
        return inode

    def names(self, directory: Inode) -> list[tuple[bytes, int, int]]:
        found = [(b"ptmx", 2, S_IFCHR)]
        found += [(b"%d" % n, 3 + n, S_IFCHR) for n in self.numbers if os.path.exists(f"/dev/pts/{n}")]
        return found

    def set_attr(
        self,
        inode: Inode,
        *,
        mode: int | None = None,
        uid: int | None = None,
        gid: int | None = None,
        atime: int | None = None,
        mtime: int | None = None,
    ) -> Inode:
        number = inode.ino - 3
        if number not in self._modes:
            fail(errno.EPERM)
        old = self._modes[number]
        self._modes[number] = (
            old[0] if mode is None else mode & 0o777,
            old[1] if uid is None else uid,
            old[2] if gid is None else gid,
        )
        return inode

    def open(self, inode: Inode, flags: int, task: Task) -> int:
        number = inode.ino - 3
        if number not in self.numbers:
            fail(errno.ENXIO)
        flags = flags & ~(os.O_CREAT | os.O_EXCL | os.O_TRUNC) | os.O_CLOEXEC | os.O_NOCTTY
        return os.open(f"/dev/pts/{number}", flags)

    def by_rdev(self, rdev: int) -> Inode | None:
        """The inode of an open slave."""
        return self.lookup(self.root, b"%d" % os.minor(rdev)) if os.major(rdev) == PTY_SLAVE_MAJOR else None
