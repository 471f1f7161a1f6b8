"""What /proc is made of: inodes that are made when they are looked up, with a function for their text."""

from __future__ import annotations

from binascii import crc32
from collections.abc import Callable
from typing import TYPE_CHECKING

from pycontain.kernel.abi import S_IFDIR, S_IFLNK, S_IFREG
from pycontain.kernel.vfs.filesystem import Filesystem
from pycontain.unionfs.inode import Inode

if TYPE_CHECKING:
    from pycontain.kernel.container import Container
    from pycontain.kernel.task import Process

PROC_MAGIC = 0x9FA0


class ProcInode(Inode):
    """kind: what it is; process: whose, if any; text: makes a file's content; host: a host descriptor's path.

    The kind "special" is what a descriptor names that is no file of the container: a pipe, a terminal, a memfd.
    """

    __slots__ = ("device", "host", "kind", "process", "text", "thread")

    def __init__(self, ino: int, mode: int, kind: str, process: Process | None = None) -> None:
        uid = gid = 0
        # a process may use its own descriptors whether it can be dumped or not; others are stopped by ProcessEntries._owner
        own = kind in ("fd", "fdinfo", "special")
        if process is not None and (process.dumpable == 1 or mode == S_IFDIR | 0o555 or own):
            uid, gid = process.credentials.euid, process.credentials.egid
        Inode.__init__(self, ino, mode, uid, gid, 0)
        self.kind = kind
        self.process = process
        self.text: Callable[[], bytes] | None = None
        self.host = ""
        self.thread: int | None = None  # a directory of task/: whose
        self.device = 0  # of a special file: the host's device number


class ProcBase(Filesystem):
    """A file system of such inodes; what it holds is up to who derives from it."""

    type = "proc"
    magic = PROC_MAGIC
    fixed = True

    def __init__(self, container: Container, dev: int) -> None:
        self.container = container
        self.dev = dev
        self.root = ProcInode(1, S_IFDIR | 0o555, "root")
        self.root.parent = self.root
        self._numbers: dict[str, int] = {}

    def _alive(self, process: Process | None) -> bool:
        """Does the process number still belong to it? It does until its parent has waited for it."""
        if process is None or self.container.processes.get(process.pid) is process:
            return True
        return self.container.zombie(process.pid) is process

    def _ended(self, process: Process) -> bool:
        """Is it a zombie? It has no program and no directories any more."""
        return self.container.processes.get(process.pid) is not process

    def _number(self, directory: Inode, name: bytes) -> int:
        """An inode number for a fixed name; those below a process are not remembered, there is no end of them."""
        if isinstance(directory, ProcInode) and directory.process is not None:
            return directory.ino << 16 | crc32(name) & 0xFFFF
        return self._numbers.setdefault(f"{directory.ino}/{name!r}", 2 + len(self._numbers))

    def _make(
        self, directory: Inode, name: bytes, mode: int, kind: str, ino: int, process: Process | None = None
    ) -> ProcInode:
        inode = ProcInode(ino, mode, kind, process)
        inode.parent, inode.name = directory, name
        inode.mtime = inode.ctime = inode.atime = self.container.started_at
        return inode

    def _file(self, directory: Inode, name: bytes, mode: int, text: Callable[[], bytes]) -> ProcInode:
        inode = self._make(directory, name, S_IFREG | mode, "file", self._number(directory, name))
        if isinstance(directory, ProcInode):
            inode.process = directory.process
        inode.text = text
        return inode

    def _link(self, directory: Inode, name: bytes, target: bytes) -> ProcInode:
        inode = self._make(directory, name, S_IFLNK | 0o777, "link", self._number(directory, name))
        inode.target = target
        inode.size = 0
        return inode

    def parent(self, inode: Inode) -> Inode:
        return inode.parent or self.root
