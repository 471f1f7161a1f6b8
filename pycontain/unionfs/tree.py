"""A writable union tree: a view of an image and a container's changes, with the operations that change it."""

from __future__ import annotations

import errno
import os
import stat
import time
from typing import Unpack

from pycontain.unionfs.contents import Contents
from pycontain.unionfs.inode import STUB_XATTR, Attributes, HostFile, Inode
from pycontain.unionfs.view import NAME_WEIGHT, failure, weight

NAME_MAX, PATH_MAX = 255, 4096
RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT = 1, 2, 4


class Tree(Contents):
    """See the module."""

    # -- changing names

    def create(self, directory: Inode, name: bytes, mode: int, uid: int, gid: int) -> Inode:
        """A new empty regular file; mode: permission bits."""
        inode = self._new(stat.S_IFREG | mode & 0o7777, uid, gid)
        fd = os.open(f"{self.files}/{inode.ino}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        os.close(fd)
        return self._enter(directory, name, inode)

    def mkdir(self, directory: Inode, name: bytes, mode: int, uid: int, gid: int) -> Inode:
        return self._enter(directory, name, self._new(stat.S_IFDIR | mode & 0o7777, uid, gid))

    def symlink(self, directory: Inode, name: bytes, target: bytes, uid: int, gid: int) -> Inode:
        inode = self._new(stat.S_IFLNK | 0o777, uid, gid)
        inode.target, inode.size = target, len(target)
        return self._enter(directory, name, inode)

    def mknod(self, directory: Inode, name: bytes, mode: int, rdev: int, uid: int, gid: int) -> Inode:
        """A device, FIFO or socket; mode with the type's bits."""
        inode = self._new(mode, uid, gid)
        inode.rdev = rdev
        if stat.S_ISREG(mode):
            os.close(os.open(f"{self.files}/{inode.ino}", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        return self._enter(directory, name, inode)

    def adopt(
        self, directory: Inode, name: bytes, path: str, mode: int, uid: int, gid: int, mtime: int
    ) -> Inode:
        """A regular file that shows a host file's bytes without copying them."""
        inode = self._new(stat.S_IFREG | mode & 0o7777, uid, gid)
        inode.content = HostFile(path)
        inode.size = os.stat(path).st_size
        inode.mtime = inode.atime = inode.ctime = mtime
        return self._enter(directory, name, inode)

    def stub(self, directory: Inode, name: bytes, is_dir: bool) -> Inode:
        """A mount point that the image lacks; the directory looks as if nothing had been made in it."""
        mtime = self.current(directory).mtime
        inode = (self.mkdir if is_dir else self.create)(directory, name, 0o755, 0, 0)
        self.set_xattr(inode, STUB_XATTR, b"")
        self.set_attr(directory, mtime=mtime)
        return inode

    def link(self, inode: Inode, directory: Inode, name: bytes) -> Inode:
        self._check_new(directory, name)
        self._need_room()
        if self.weight > self.most:
            raise failure(errno.ENOSPC)
        inode = self._own(inode)
        if inode.children is not None:
            raise failure(errno.EPERM)
        if inode.nlink == 0:
            if not self.linkable(inode):
                raise failure(errno.ENOENT)
            self._name_contents(inode)
        inode.nlink += 1
        inode.ctime = time.time_ns()
        self._record(inode)
        self._enter(directory, name, inode, linked=True)
        return inode

    def unlink(self, directory: Inode, name: bytes) -> None:
        inode = self.lookup(directory, name)
        if inode is None:
            raise failure(errno.ENOENT)
        if inode.children is not None:
            raise failure(errno.EISDIR)
        self._remove(directory, name, inode)

    def rmdir(self, directory: Inode, name: bytes) -> None:
        inode = self.lookup(directory, name)
        if inode is None:
            raise failure(errno.ENOENT)
        if inode.children is None:
            raise failure(errno.ENOTDIR)
        if inode.children:
            raise failure(errno.ENOTEMPTY)
        self._remove(directory, name, inode)

    def rename(self, old: Inode, old_name: bytes, new: Inode, new_name: bytes, flags: int = 0) -> None:
        """rename(2) and renameat2(2); directories may be the same."""
        old, new = self.current(old), self.current(new)
        inode = self.lookup(old, old_name)
        target = self.lookup(new, new_name)
        if inode is None:
            raise failure(errno.ENOENT)
        if flags & RENAME_EXCHANGE:
            if target is None:
                raise failure(errno.ENOENT)
            self._not_below(inode, new)
            self._not_below(target, old)
            self._place(old, old_name, target)
            self._place(new, new_name, inode)
            if (inode.children is None) != (target.children is None) and old.ino != new.ino:
                step = 1 if target.children is not None else -1
                self._own(old).nlink += step
                self._own(new).nlink -= step
                self._record(self.current(old))
                self._record(self.current(new))
            return
        if target is not None:
            if flags & RENAME_NOREPLACE:
                raise failure(errno.EEXIST)
            if target.ino == inode.ino:
                return
            if inode.children is not None:
                self._not_below(inode, new)
            if inode.children is not None:
                if target.children is None:
                    raise failure(errno.ENOTDIR)
                if target.children:
                    raise failure(errno.ENOTEMPTY)
            elif target.children is not None:
                raise failure(errno.EISDIR)
        self._check_name(new_name)
        if inode.children is not None:
            self._not_below(inode, new)
        if target is None:
            self._need_room()
        else:
            self._remove(new, new_name, target)
        moved_dir = inode.children is not None and old.ino != new.ino
        self._erase(old, old_name, moved_dir)
        self._place(new, new_name, inode)
        if moved_dir:
            directory = self._own(new)
            directory.nlink += 1
            self._record(directory)

    # -- changing inodes

    def set_attr(self, inode: Inode, **new: Unpack[Attributes]) -> Inode:
        """Change permission bits, owners, times; see Attributes."""
        mode, uid, gid = new.get("mode"), new.get("uid"), new.get("gid")
        atime, mtime = new.get("atime"), new.get("mtime")
        self._need_room()
        inode = self._own(inode)
        if mode is not None:
            inode.mode = inode.mode & 0o170000 | mode & 0o7777
        if uid is not None:
            inode.uid = uid
        if gid is not None:
            inode.gid = gid
        if atime is not None or mtime is not None:
            now = self.stat(inode)
            inode.atime = now.atime if atime is None else atime
            inode.mtime = now.mtime if mtime is None else mtime
            if inode.content is None and inode.is_regular:
                with self._pinned(inode) as path:
                    os.utime(path, ns=(inode.atime, inode.mtime))
        inode.ctime = time.time_ns()
        if inode.children is not None and (mode is not None or uid is not None or gid is not None):
            self.generation += 1
            self.shape += 1
        self._record(inode)
        return inode

    def set_xattr(self, inode: Inode, name: bytes, value: bytes | None) -> None:
        """Set an extended attribute, or remove it (None)."""
        inode = self._own(inode)
        had = weight(inode)
        if value is not None:
            self._need_room()
            if self.weight + len(name) + len(value) > self.most:
                raise failure(errno.ENOSPC)
            inode.xattrs = {**(inode.xattrs or {}), name: value}
        elif inode.xattrs is None or inode.xattrs.pop(name, None) is None:
            raise failure(errno.ENODATA)
        if inode.nlink:
            self.weight += weight(inode) - had
        inode.ctime = time.time_ns()
        self._record(inode)

    def write_bytes(
        self, directory: Inode, name: bytes, data: bytes, *, mode: int = 0o644, uid: int = 0, gid: int = 0
    ) -> Inode:
        """Create or replace a regular file with these bytes."""
        old = self.lookup(directory, name)
        if old is not None:
            self._remove(directory, name, old)
        inode = self.create(directory, name, mode, uid, gid)
        with open(f"{self.files}/{inode.ino}", "wb") as file:
            file.write(data)
        return inode

    # -- inner

    def _check_name(self, name: bytes) -> None:
        if len(name) > NAME_MAX:
            raise failure(errno.ENAMETOOLONG)

    def _check_new(self, directory: Inode, name: bytes) -> None:
        self._check_name(name)
        if directory.children is None:
            raise failure(errno.ENOTDIR)
        if name in self.current(directory).children:  # type: ignore[operator]
            raise failure(errno.EEXIST)

    def _enter(self, directory: Inode, name: bytes, inode: Inode, linked: bool = False) -> Inode:
        self._check_new(directory, name)
        if not linked:
            self.weight += weight(inode)
            self.changed[inode.ino] = inode
            if inode.children is not None:
                owner = self._own(directory)
                owner.nlink += 1
                self._record(owner)
        inode.parent, inode.name = directory, name
        self._record(inode)
        self._entry(directory, name, inode)
        return inode

    def _entry(self, directory: Inode, name: bytes, child: Inode | None) -> None:
        directory = self._own(directory)
        now = time.time_ns()
        assert directory.children is not None
        if child is None:
            old: Inode | None = directory.children.pop(name)
            self.weight -= NAME_WEIGHT + len(name)
        else:
            old = directory.children.get(name)
            if old is None:
                self.weight += NAME_WEIGHT + len(name)
            directory.children[name] = child
        if (child is not None and not child.is_leaf) or (old is not None and not old.is_leaf):
            self.shape += 1
        directory.mtime = directory.ctime = now
        self.generation += 1
        if self.changes is not None:
            self.changes.renamed(directory.ino, name)
        if self._journal is not None:
            self._journal.append((directory.ino, name, child.ino if child else 0, now))

    def _place(self, directory: Inode, name: bytes, inode: Inode) -> None:
        inode = self._own(inode)
        inode.parent, inode.name = directory, name
        inode.ctime = time.time_ns()
        self._record(inode)
        self._entry(directory, name, inode)

    def _erase(self, directory: Inode, name: bytes, is_dir: bool) -> None:
        if is_dir:
            owner = self._own(directory)
            owner.nlink -= 1
            self._record(owner)
        self._entry(directory, name, None)

    def _remove(self, directory: Inode, name: bytes, inode: Inode) -> None:
        self._erase(directory, name, inode.children is not None)
        inode = self._own(inode)
        inode.nlink -= 2 if inode.children is not None else 1
        inode.ctime = time.time_ns()
        if inode.nlink > 0:
            self._record(inode)
            return
        if inode.ino >= self.image.next_ino:
            self.weight -= weight(inode)
            self.changed.pop(inode.ino, None)
        if inode.content is None and inode.children is None:
            self.nameless += 1
            try:
                os.unlink(f"{self.files}/{inode.ino}")
            except FileNotFoundError:
                pass  # a FIFO, socket or device that never had a backing file

    def _not_below(self, inode: Inode, directory: Inode) -> None:
        """Refuse to move a directory into itself."""
        node = self.current(directory)
        while True:
            if node.ino == inode.ino:
                raise failure(errno.EINVAL)
            if node.ino == self.image.root.ino:
                return
            node = self.parent(node)
