"""/dev: the nodes that Docker gives a container, and the terminals that the container made."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from typing import TYPE_CHECKING, Unpack

from pycontain.kernel.abi import O_ACCMODE, S_IFCHR, S_IFDIR
from pycontain.kernel.vfs.filesystem import Filesystem, fail
from pycontain.kernel.vfs.unionfs import UnionFs, new_tmpfs
from pycontain.unionfs.inode import Attributes, Inode

if TYPE_CHECKING:
    from pycontain.kernel.container import Container
    from pycontain.kernel.task import Task

DEVPTS_MAGIC = 0x1CD1
PTY_SLAVE_MAJOR = 136
MAX_TERMINALS = 256  # of one container; the host has some thousand for everybody
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
    flags = flags & ~(os.O_CREAT | os.O_EXCL | os.O_TRUNC | os.O_NOATIME) | os.O_CLOEXEC | os.O_NOCTTY
    host = HOST_DEVICES.get(inode.rdev)
    if host is not None:
        return os.open(host, flags)
    if inode.rdev == PTMX:
        return container.devpts.open_master(flags, task.credentials.fsuid)
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
    if os.major(number) != PTY_SLAVE_MAJOR:
        fail(errno.ENXIO)
    return container.devpts.open_slave(os.minor(number), flags)


class DevPts(Filesystem):
    """The pseudo terminals that this container opened; numbers are the host's.

    The host gives a number again once its master is closed, perhaps to somebody's login. So an O_PATH descriptor
    holds the very node: it names nothing (and has no link) after that.
    """

    type = "devpts"
    magic = DEVPTS_MAGIC

    def __init__(self, dev: int) -> None:
        self.dev = dev
        self._nodes: dict[int, int] = {}  # number -> O_PATH descriptor of its node
        self.root = Inode(1, S_IFDIR | 0o755, 0, 0, 0)
        self.root.parent = self.root
        self._modes: dict[int, tuple[int, int, int]] = {}

    def open_master(self, flags: int, owner: int = 0) -> int:
        """A new terminal, whose slave belongs to the one who opens it. Raises ENOSPC if the container has too many."""
        if len(self._nodes) >= MAX_TERMINALS:
            for number in list(self._nodes):
                self.alive(number)
            if len(self._nodes) >= MAX_TERMINALS:
                fail(errno.ENOSPC)
        fd = os.open("/dev/ptmx", flags & (O_ACCMODE | os.O_NONBLOCK) | os.O_CLOEXEC | os.O_NOCTTY)
        try:
            (number,) = struct.unpack("i", fcntl.ioctl(fd, TIOCGPTN, bytes(4)))
            self.adopt(number, owner)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def adopt(self, number: int, owner: int = 0) -> None:
        """A terminal that was just made for the container, and whose master is open."""
        self._forget(number)
        self._nodes[number] = os.open(f"/dev/pts/{number}", os.O_PATH | os.O_CLOEXEC)
        self._modes[number] = (0o620, owner, 5)

    def alive(self, number: int) -> bool:
        """Is there a terminal of the container with this number?"""
        node = self._nodes.get(number)
        if node is None:
            return False
        if os.fstat(node).st_nlink == 0:
            self._forget(number)
            return False
        return True

    def _forget(self, number: int) -> None:
        node = self._nodes.pop(number, None)
        if node is not None:
            os.close(node)

    def close(self) -> None:
        for number in list(self._nodes):
            self._forget(number)

    def lookup(self, directory: Inode, name: bytes) -> Inode | None:
        if name == b"ptmx":
            inode = Inode(2, S_IFCHR | 0o666, 0, 0, 0)
            inode.rdev = PTMX
        elif name.isdigit() and self.alive(int(name)):
            number = int(name)
            mode, uid, gid = self._modes[number]
            inode = Inode(3 + number, S_IFCHR | mode, uid, gid, 0)
            inode.rdev = os.makedev(PTY_SLAVE_MAJOR, number)
            info = os.fstat(self._nodes[number])
            inode.atime, inode.mtime, inode.ctime = info.st_atime_ns, info.st_mtime_ns, info.st_ctime_ns
        else:
            return None
        inode.parent, inode.name = self.root, name
        return inode

    def names(self, directory: Inode) -> list[tuple[bytes, int, int]]:
        found = [(b"ptmx", 2, S_IFCHR)]
        found += [(b"%d" % n, 3 + n, S_IFCHR) for n in list(self._nodes) if self.alive(n)]
        return found

    def set_attr(self, inode: Inode, **new: Unpack[Attributes]) -> Inode:
        mode, uid, gid = new.get("mode"), new.get("uid"), new.get("gid")
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

    def open(self, inode: Inode, flags: int, task: Task | None) -> int:
        return self.open_slave(inode.ino - 3, flags)

    def open_slave(self, number: int, flags: int) -> int:
        """A descriptor of the terminal's slave. Raises ENXIO."""
        if not self.alive(number):
            fail(errno.ENXIO)
        flags = flags & (O_ACCMODE | os.O_NONBLOCK) | os.O_CLOEXEC | os.O_NOCTTY
        return os.open(f"/proc/self/fd/{self._nodes[number]}", flags)

    def by_rdev(self, rdev: int) -> Inode | None:
        """The inode of an open slave."""
        return self.lookup(self.root, b"%d" % os.minor(rdev)) if os.major(rdev) == PTY_SLAVE_MAJOR else None
