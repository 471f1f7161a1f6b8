"""overlayfs as programs mount it inside a container: one directory that takes the changes, over others that do not.

The layers are directories of the container's tree, on whatever file systems. As in the host's
Documentation/filesystems/overlayfs.rst: a removed name is a character device 0/0 in the upper directory, a directory
that hides what lies below has the attribute trusted.overlay.opaque, a file is copied up before its first change, a
directory of a lower layer cannot be renamed (EXDEV), and hard links of lower layers come apart when copied up.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Any, Unpack

from pycontain.kernel.vfs.filesystem import Filesystem, fail
from pycontain.kernel.vfs.mount import Node
from pycontain.kernel.vfs.unionfs import UnionFs
from pycontain.unionfs.copying import copy_bytes
from pycontain.unionfs.inode import Attributes, Inode, Stat

if TYPE_CHECKING:
    from socket import socket

    from pycontain.kernel.task import Task

OVERLAYFS_MAGIC = 0x794C7630
OPAQUE = b"trusted.overlay.opaque"
PRIVATE = b"trusted.overlay."
RENAME_NOREPLACE = 1
MAX_FILES = 8192  # files that are known by their descriptors


class OverlayInode(Inode):
    """upper: in the upper directory, None: not yet; lowers: what lies below, more than one for directories only."""

    __slots__ = ("lowers", "upper")

    def __init__(self, ino: int) -> None:
        Inode.__init__(self, ino, 0, 0, 0, 0)
        self.upper: Node | None = None
        self.lowers: list[Node] = []


class OverlayFs(Filesystem):
    """An inode is made when it is looked up; what it says of the file is read again by current()."""

    type = "overlay"
    magic = OVERLAYFS_MAGIC

    def __init__(self, upper: Node | None, lowers: list[Node], dev: int) -> None:
        self.dev = dev
        self.writable = upper is not None
        self.depth = 1 + max(layer.mount.fs.depth for layer in (upper, *lowers) if layer is not None)
        self._opened: dict[tuple[int, int], OverlayInode] = {}  # by (st_dev, st_ino), the latest last
        self._known: dict[tuple[Filesystem, int], OverlayInode] = {}
        self._count = 1
        root = self._inode(upper, lowers)
        root.parent = root
        self.root = root

    # -- inodes

    def _inode(self, upper: Node | None, lowers: list[Node]) -> OverlayInode:
        """The inode of a file by what it is made of; the same object each time."""
        top = upper or lowers[0]
        found = self._known.get((top.mount.fs, top.inode.ino))
        if found is None:
            self._count += 1
            found = self._known[top.mount.fs, top.inode.ino] = OverlayInode(self._count)
        found.upper, found.lowers = upper, lowers
        return self._refresh(found)

    def _refresh(self, inode: OverlayInode) -> OverlayInode:
        real = self._real(inode).inode
        inode.mode, inode.uid, inode.gid, inode.rdev = real.mode, real.uid, real.gid, real.rdev
        inode.nlink, inode.size, inode.target, inode.xattrs = real.nlink, real.size, real.target, real.xattrs
        return inode

    def _real(self, inode: Inode) -> Node:
        assert isinstance(inode, OverlayInode)
        return _current(inode.upper or inode.lowers[0])

    def current(self, inode: Inode) -> Inode:
        assert isinstance(inode, OverlayInode)
        return self._refresh(inode)

    def lookup(self, directory: Inode, name: bytes) -> Inode | None:
        assert isinstance(directory, OverlayInode)
        if not stat.S_ISDIR(directory.mode):
            fail(errno.ENOTDIR)
        upper, lowers = self._parts(directory, name)
        if upper is None and not lowers:
            return None
        inode = self._inode(upper, lowers)
        inode.parent, inode.name = directory, name
        return inode

    def _parts(self, directory: OverlayInode, name: bytes) -> tuple[Node | None, list[Node]]:
        """What a name is in the upper directory and in those below, as far as it can be seen."""
        upper = None if directory.upper is None else _entry(directory.upper, name)
        if upper is not None and (_is_whiteout(upper) or not _lets_through(upper)):
            return (None if _is_whiteout(upper) else upper), []
        lowers: list[Node] = []
        for layer in directory.lowers:
            found = _entry(layer, name)
            if found is None:
                continue
            if _is_whiteout(found) or (not stat.S_ISDIR(found.inode.mode) and (upper or lowers)):
                break
            lowers.append(found)
            if not _lets_through(found):
                break
        return upper, lowers

    def names(self, directory: Inode) -> list[tuple[bytes, int, int]]:
        assert isinstance(directory, OverlayInode)
        seen: dict[bytes, None] = {}
        for layer in ([directory.upper] if directory.upper else []) + directory.lowers:
            node = _current(layer)
            for name, _, _ in node.mount.fs.names(node.inode):
                seen[name] = None
        found = []
        for name in seen:
            inode = self.lookup(directory, name)
            if inode is not None:
                found.append((name, inode.ino, inode.mode))
        return found

    # -- reading

    def stat(self, inode: Inode) -> Stat:
        real = self._real(inode)
        info = real.mount.fs.stat(real.inode)
        return info._replace(ino=inode.ino, nlink=1 if stat.S_ISDIR(info.mode) and info.nlink else info.nlink)

    def readlink(self, inode: Inode, task: Task) -> bytes:
        real = self._real(inode)
        return real.mount.fs.readlink(real.inode, task)

    def open(self, inode: Inode, flags: int, task: Task) -> int:
        if flags & os.O_ACCMODE != os.O_RDONLY or flags & os.O_TRUNC:
            self._copy_up(inode, task)
        real = self._real(inode)
        fd = real.mount.fs.open(real.inode, flags, task)
        assert isinstance(inode, OverlayInode)
        host = os.fstat(fd)
        self._opened.pop((host.st_dev, host.st_ino), None)
        self._opened[host.st_dev, host.st_ino] = inode
        if len(self._opened) > MAX_FILES:
            del self._opened[next(iter(self._opened))]
        return fd

    def by_descriptor(self, dev: int, ino: int) -> Inode | None:
        return self._opened.get((dev, ino))

    def xattrs(self, inode: Inode) -> dict[bytes, bytes]:
        real = self._real(inode)
        found = real.mount.fs.xattrs(real.inode)
        return {name: value for name, value in found.items() if not name.startswith(PRIVATE)}

    def statfs(self) -> tuple[int, int, int, int, int]:
        return self._real(self.root).mount.fs.statfs()

    def pin(self, inode: Inode) -> int:
        real = self._real(inode)
        return real.mount.fs.pin(real.inode)

    def bind(self, inode: Inode, new: socket) -> None:
        real = self._real(inode)
        real.mount.fs.bind(real.inode, new)

    def path_of(self, inode: Inode) -> bytes:
        parts: list[bytes] = []
        while inode is not self.root:
            parts.append(inode.name)
            inode = inode.parent or self.root
        return b"/" + b"/".join(reversed(parts))

    # -- copying up

    def _up(self, inode: Inode) -> Node:
        """The upper form of a directory, made where it is missing."""
        assert isinstance(inode, OverlayInode)
        if inode.upper is None:
            self._make_upper(inode, None)
        assert inode.upper is not None
        return _current(inode.upper)

    def _copy_up(self, inode: Inode, task: Any) -> Node:
        """The upper form of anything; task: who opens."""
        assert isinstance(inode, OverlayInode)
        if inode.upper is None:
            self._make_upper(inode, task)
        assert inode.upper is not None
        return _current(inode.upper)

    def _make_upper(self, inode: OverlayInode, task: Any) -> None:
        if inode is self.root:
            fail(errno.EROFS)
        place = self._up(inode.parent or self.root)
        fs, directory, name = place.mount.fs, place.inode, inode.name
        real = self._real(inode)
        old, info = real.inode, real.mount.fs.stat(real.inode)
        if stat.S_ISDIR(old.mode):
            new = fs.mkdir(directory, name, old.mode & 0o7777, old.uid, old.gid)
        elif stat.S_ISLNK(old.mode):
            new = fs.symlink(directory, name, real.mount.fs.readlink(old, task), old.uid, old.gid)
        elif stat.S_ISREG(old.mode):
            new = fs.create(directory, name, old.mode & 0o7777, old.uid, old.gid)
            try:
                self._copy_bytes(real, Node(place.mount, new), task)
            except BaseException:
                fs.unlink(directory, name)
                raise
        else:
            new = fs.mknod(directory, name, old.mode, old.rdev, old.uid, old.gid)
        for key, value in real.mount.fs.xattrs(old).items():
            fs.set_xattr(fs.current(new), key, value)
        if not stat.S_ISLNK(old.mode):
            new = fs.set_attr(fs.current(new), atime=info.atime, mtime=info.mtime)
        inode.upper = Node(place.mount, new)
        self._known[fs, new.ino] = inode
        if not stat.S_ISDIR(old.mode):
            inode.lowers = []

    def _copy_bytes(self, source: Node, target: Node, task: Any) -> None:
        out = target.mount.fs.open(target.inode, os.O_WRONLY, task)
        try:
            fs = source.mount.fs
            # a file has been made already, so this is no place to come again
            read = fs.open(source.inode, os.O_RDONLY) if isinstance(fs, UnionFs) else fs.open(source.inode, os.O_RDONLY, task)
            try:
                copy_bytes(read, out)
            finally:
                os.close(read)
        finally:
            os.close(out)

    # -- changing names

    def _uncover(self, directory: Inode, name: bytes) -> None:
        """Take a whiteout away so that something can be made there."""
        place = self._up(directory)
        old = _entry(place, name)
        if old is not None and _is_whiteout(old):
            place.mount.fs.unlink(place.inode, name)

    def _cover(self, directory: Inode, name: bytes) -> None:
        """Hide what lower layers have under the name."""
        assert isinstance(directory, OverlayInode)
        if self._parts(directory, name)[1]:
            place = self._up(directory)
            place.mount.fs.mknod(place.inode, name, stat.S_IFCHR, 0, 0, 0)

    def _entered(self, directory: Inode, name: bytes) -> Inode:
        inode = self.lookup(directory, name)
        assert inode is not None
        return inode

    def create(self, directory: Inode, name: bytes, mode: int, uid: int, gid: int) -> Inode:
        self._uncover(directory, name)
        place = self._up(directory)
        place.mount.fs.create(place.inode, name, mode, uid, gid)
        return self._entered(directory, name)

    def mkdir(self, directory: Inode, name: bytes, mode: int, uid: int, gid: int) -> Inode:
        assert isinstance(directory, OverlayInode)
        self._uncover(directory, name)
        place = self._up(directory)
        new = place.mount.fs.mkdir(place.inode, name, mode, uid, gid)
        if directory.lowers:
            place.mount.fs.set_xattr(new, OPAQUE, b"y")
        return self._entered(directory, name)

    def symlink(self, directory: Inode, name: bytes, target: bytes, uid: int, gid: int) -> Inode:
        self._uncover(directory, name)
        place = self._up(directory)
        place.mount.fs.symlink(place.inode, name, target, uid, gid)
        return self._entered(directory, name)

    def mknod(self, directory: Inode, name: bytes, mode: int, rdev: int, uid: int, gid: int) -> Inode:
        if stat.S_ISCHR(mode) and rdev == 0:
            fail(errno.EPERM)  # it would be a whiteout
        self._uncover(directory, name)
        place = self._up(directory)
        place.mount.fs.mknod(place.inode, name, mode, rdev, uid, gid)
        return self._entered(directory, name)

    def link(self, inode: Inode, directory: Inode, name: bytes) -> Inode:
        source = self._copy_up(inode, None)
        self._uncover(directory, name)
        place = self._up(directory)
        place.mount.fs.link(source.inode, place.inode, name)
        return self._entered(directory, name)

    def unlink(self, directory: Inode, name: bytes) -> None:
        inode = self.lookup(directory, name)
        if inode is None:
            fail(errno.ENOENT)
        if stat.S_ISDIR(inode.mode):
            fail(errno.EISDIR)
        self._drop(directory, name, inode)

    def rmdir(self, directory: Inode, name: bytes) -> None:
        inode = self.lookup(directory, name)
        if inode is None:
            fail(errno.ENOENT)
        if not stat.S_ISDIR(inode.mode):
            fail(errno.ENOTDIR)
        if self.names(inode):
            fail(errno.ENOTEMPTY)
        self._drop(directory, name, inode)

    def _drop(self, directory: Inode, name: bytes, inode: Inode) -> None:
        assert isinstance(inode, OverlayInode)
        place = self._up(directory)
        fs = place.mount.fs
        if inode.upper is not None:
            if stat.S_ISDIR(inode.mode):
                inside = _current(inode.upper)
                for left, _, _ in list(fs.names(inside.inode)):  # nothing but whiteouts
                    fs.unlink(_current(inode.upper).inode, left)
                fs.rmdir(self._up(directory).inode, name)
            else:
                fs.unlink(place.inode, name)
        self._cover(directory, name)

    def rename(self, old: Inode, old_name: bytes, new: Inode, new_name: bytes, flags: int = 0) -> None:
        if flags & ~RENAME_NOREPLACE:
            fail(errno.EINVAL)
        inode, target = self.lookup(old, old_name), self.lookup(new, new_name)
        if inode is None:
            fail(errno.ENOENT)
        assert isinstance(inode, OverlayInode)
        is_dir = stat.S_ISDIR(inode.mode)
        if is_dir and inode.lowers:
            fail(errno.EXDEV)
        if target is not None:
            if flags & RENAME_NOREPLACE:
                fail(errno.EEXIST)
            if target is inode:
                return
            if stat.S_ISDIR(target.mode) and not is_dir:
                fail(errno.EISDIR)
            if is_dir and not stat.S_ISDIR(target.mode):
                fail(errno.ENOTDIR)
            if is_dir and self.names(target):
                fail(errno.ENOTEMPTY)
            self._drop(new, new_name, target)
        self._copy_up(inode, None)
        self._uncover(new, new_name)
        source, place = self._up(old), self._up(new)
        source.mount.fs.rename(source.inode, old_name, place.inode, new_name)
        assert isinstance(new, OverlayInode)
        if is_dir and new.lowers:
            moved = self._copy_up(inode, None)
            moved.mount.fs.set_xattr(moved.inode, OPAQUE, b"y")
        self._cover(old, old_name)
        inode.parent, inode.name = new, new_name

    # -- changing inodes

    def set_attr(self, inode: Inode, **new: Unpack[Attributes]) -> Inode:
        real = self._copy_up(inode, None)
        real.mount.fs.set_attr(real.inode, **new)
        return self.current(inode)

    def set_xattr(self, inode: Inode, name: bytes, value: bytes | None) -> None:
        if name.startswith(PRIVATE):
            fail(errno.EOPNOTSUPP)
        real = self._copy_up(inode, None)
        real.mount.fs.set_xattr(real.inode, name, value)

    def truncate(self, inode: Inode, size: int) -> None:
        real = self._copy_up(inode, None)
        real.mount.fs.truncate(real.inode, size)


def _current(node: Node) -> Node:
    return Node(node.mount, node.mount.fs.current(node.inode))


def _entry(directory: Node, name: bytes) -> Node | None:
    """A name in a directory of a layer, not looking through mounts."""
    node = _current(directory)
    if not stat.S_ISDIR(node.inode.mode):
        return None
    found = node.mount.fs.lookup(node.inode, name)
    return None if found is None else Node(node.mount, found)


def _is_whiteout(node: Node) -> bool:
    return stat.S_ISCHR(node.inode.mode) and node.inode.rdev == 0


def _lets_through(node: Node) -> bool:
    """Can what lies below it be seen?"""
    if not stat.S_ISDIR(node.inode.mode):
        return False
    return node.mount.fs.xattrs(node.inode).get(OPAQUE) != b"y"
