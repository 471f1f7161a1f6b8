"""A writable union tree: an image's merged tree and one container's changes on top.

A changed inode is a copy under the same number, kept in `changed`; every lookup asks there first. So the
image's inodes stay shared, a hard link of the image stays one file whichever name changed it, and what has
changed is known without a walk.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pycontain.unionfs import journal as journals
from pycontain.unionfs import records
from pycontain.unionfs.copying import copy_bytes
from pycontain.unionfs.image import MAX_LINKS, ImageTree
from pycontain.unionfs.inode import STUB_XATTR, HostFile, Inode, Stat

NAME_MAX, PATH_MAX = 255, 4096
RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT = 1, 2, 4
OPEN_FLAGS = (
    os.O_ACCMODE
    | os.O_APPEND
    | os.O_NONBLOCK
    | os.O_DIRECT
    | os.O_SYNC
    | os.O_DSYNC
    | os.O_TRUNC
    | os.O_NOATIME
    | os.O_NOFOLLOW  # harmless, and F_GETFL shows it
    | os.O_ASYNC
)


def failure(code: int) -> OSError:
    return OSError(code, os.strerror(code))


class Tree:
    """See the module. Every operation raises OSError with the errno that the system call would give;
    who may do it is the caller's business."""

    def __init__(self, image: ImageTree, directory: str | None = None, *, journal: bool = False) -> None:
        """directory holds the backing files (files/) and the journal; None for a tree that is only read."""
        self.image = image
        self.changed: dict[int, Inode] = {}
        self.by_host: dict[tuple[int, int], Inode] = {}
        self.directory = directory
        self.generation = 0  # grows with every change of a name or of a directory's permissions
        self._next_ino = image.next_ino
        self._journal: journals.Journal | None = None
        self.files = ""
        self._reached = (0, "")  # see reach()
        if directory is not None:
            self.files = os.path.join(directory, "files")
            os.makedirs(self.files, mode=0o700, exist_ok=True)
            if journal:
                self._journal = journals.Journal(os.path.join(directory, "journal"))

    @classmethod
    def load(cls, image: ImageTree, directory: str, *, journal: bool = False) -> Tree:
        """The tree that a directory's journal describes."""
        tree = cls(image, directory)
        replay = records.Replay(image, tree.changed)
        for record in journals.read(os.path.join(directory, "journal")):
            replay.apply(record)
        tree._next_ino = replay.next_ino
        if journal:
            tree._journal = journals.Journal(os.path.join(directory, "journal"))
        return tree

    # -- reading

    @property
    def root(self) -> Inode:
        return self.changed.get(self.image.root.ino, self.image.root)

    def current(self, inode: Inode) -> Inode:
        """The inode as this tree has it now."""
        return self.changed.get(inode.ino, inode)

    def lookup(self, directory: Inode, name: bytes) -> Inode | None:
        child = directory.children.get(name)  # type: ignore[union-attr]
        return None if child is None else self.changed.get(child.ino, child)

    def parent(self, inode: Inode) -> Inode:
        return self.current(inode.parent or self.root)

    def walk(self, path: bytes, *, follow: bool = True) -> Inode:
        """The inode at an absolute path inside the tree; never leaves it. Raises ENOENT, ENOTDIR, ELOOP."""
        todo = [p for p in path.split(b"/") if p and p != b"."]
        node, links = self.root, 0
        while todo:
            name = todo.pop(0)
            if node.children is None:
                raise failure(errno.ENOTDIR)
            if name == b"..":
                node = self.parent(node)
                continue
            child = self.lookup(node, name)
            if child is None:
                raise failure(errno.ENOENT)
            if child.is_symlink and (todo or follow):
                links += 1
                if links > MAX_LINKS:
                    raise failure(errno.ELOOP)
                target = child.target or b""
                todo[:0] = [p for p in target.split(b"/") if p and p != b"."]
                if target[:1] == b"/":
                    node = self.root
                continue
            node = child
        return node

    def path_of(self, inode: Inode) -> bytes:
        """An absolute path of the inode (the name it was last known by)."""
        parts: list[bytes] = []
        node = self.current(inode)
        while node.ino != self.image.root.ino:
            parts.append(node.name)
            node = self.parent(node)
        return b"/" + b"/".join(reversed(parts))

    def stat(self, inode: Inode) -> Stat:
        inode = self.current(inode)
        size, atime, mtime, ctime = inode.size, inode.atime, inode.mtime, inode.ctime
        blocks = (size + 511) >> 9
        if inode.content is None and inode.mode & 0o170000 == stat.S_IFREG:
            try:
                host = os.stat(self._own_path(inode))
            except FileNotFoundError:
                pass  # unlinked, and asked for by a stale reference
            else:
                size, blocks, atime, mtime = host.st_size, host.st_blocks, host.st_atime_ns, host.st_mtime_ns
                ctime = max(ctime, host.st_ctime_ns)
        return Stat(
            inode.ino,
            inode.mode,
            inode.nlink,
            inode.uid,
            inode.gid,
            inode.rdev,
            size,
            blocks,
            atime,
            mtime,
            ctime,
        )

    def open(self, inode: Inode, flags: int) -> int:
        """A host descriptor for a regular file's bytes, close-on-exec. Copies up before the first write."""
        inode = self.current(inode)
        write = flags & os.O_ACCMODE != os.O_RDONLY or flags & os.O_TRUNC
        flags = flags & OPEN_FLAGS | os.O_CLOEXEC | os.O_NOCTTY
        if inode.content is None:
            with self._pinned(inode) as path:
                fd = os.open(path, flags)
            host = os.fstat(fd)
            self.by_host[host.st_dev, host.st_ino] = inode
            return fd
        if write:
            self._copy_up(inode, keep=not flags & os.O_TRUNC)
            return self.open(inode, flags)
        fd = self._open_lower(inode, flags & ~os.O_NOATIME)
        host = os.fstat(fd)
        owner = self.image.inodes[inode.ino] if inode.ino < self.image.next_ino else inode
        key = host.st_dev, host.st_ino
        self.image.by_host[key] = owner or inode
        self.by_host.pop(key, None)  # of an own file that has gone, whose number the host has used again
        return fd

    def by_descriptor(self, dev: int, ino: int) -> Inode | None:
        """The inode whose backing file has this host identity."""
        found = self.by_host.get((dev, ino)) or self.image.by_host.get((dev, ino))
        return None if found is None else self.current(found)

    def read_bytes(self, inode: Inode) -> bytes:
        with open(self.open(inode, os.O_RDONLY), "rb") as file:
            return file.read()

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
        inode = self._own(inode)
        if inode.children is not None:
            raise failure(errno.EPERM)
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
        if target is not None:
            self._remove(new, new_name, target)
        moved_dir = inode.children is not None and old.ino != new.ino
        self._erase(old, old_name, moved_dir)
        self._place(new, new_name, inode)
        if moved_dir:
            directory = self._own(new)
            directory.nlink += 1
            self._record(directory)

    # -- changing inodes

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
        """Change permission bits, owners, times (ns); None leaves a value."""
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
        if inode.children is not None:
            self.generation += 1
        self._record(inode)
        return inode

    def set_xattr(self, inode: Inode, name: bytes, value: bytes | None) -> None:
        """Set an extended attribute, or remove it (None)."""
        inode = self._own(inode)
        if value is not None:
            inode.xattrs = {**(inode.xattrs or {}), name: value}
        elif inode.xattrs is None or inode.xattrs.pop(name, None) is None:
            raise failure(errno.ENODATA)
        inode.ctime = time.time_ns()
        self._record(inode)

    def truncate(self, inode: Inode, size: int) -> None:
        inode = self.current(inode)
        if inode.content is not None:
            self._copy_up(inode, keep=size > 0)
        with self._pinned(inode) as path:
            os.truncate(path, size)

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

    def reach(self, inode: Inode, path: str) -> None:
        """A file without a name is used next; path: the /proc/PID/fd/N of a host descriptor that has it open."""
        self._reached = inode.ino, path

    def _own_path(self, inode: Inode) -> str:
        """Where this tree's own bytes of a regular file are."""
        if inode.nlink == 0 and self._reached[0] == inode.ino:
            return self._reached[1]
        return f"{self.files}/{inode.ino}"

    @contextmanager
    def _pinned(self, inode: Inode) -> Iterator[str]:
        """The same for calls that change something: what a descriptor of others names may change meanwhile."""
        path = self._own_path(inode)
        if inode.nlink:
            yield path
            return
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            host = os.fstat(fd)
            found = self.by_host.get((host.st_dev, host.st_ino))
            if found is None or found.ino != inode.ino:
                raise failure(errno.ENOENT)
            yield f"/proc/self/fd/{fd}"
        finally:
            os.close(fd)

    def backing(self, inode: Inode) -> str:
        """The host path that stands for this tree's own inode (a regular file, FIFO or socket)."""
        return f"{self.files}/{inode.ino}"

    def on_change(self, wake: Callable[[], None]) -> None:
        """wake() is called when there is something to sync() again."""
        if self._journal is not None:
            self._journal.wake = wake

    def sync(self) -> None:
        if self._journal is not None:
            self._journal.sync()

    def close(self) -> None:
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    # -- inner

    def _new(self, mode: int, uid: int, gid: int) -> Inode:
        inode = Inode(self._next_ino, mode, uid, gid, time.time_ns())
        self._next_ino += 1
        return inode

    def _own(self, inode: Inode) -> Inode:
        """The inode in a form that may be changed."""
        mine = self.changed.get(inode.ino)
        if mine is None:
            if inode.ino >= self.image.next_ino:
                return inode  # an own inode that was unlinked, still open somewhere
            mine = self.changed[inode.ino] = inode.copy()
        return mine

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
            del directory.children[name]
        else:
            directory.children[name] = child
        directory.mtime = directory.ctime = now
        self.generation += 1
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
            self.changed.pop(inode.ino, None)
        if inode.content is None and inode.children is None:
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

    def _lower_path(self, inode: Inode) -> str:
        content = inode.content
        if isinstance(content, str):
            return content
        layer, number = content
        path: str = layer.materialise(number)
        if inode.ino < self.image.next_ino:
            lower = self.image.inodes[inode.ino]
            if lower is not None and lower.content == content:
                lower.content = path
        inode.content = path
        return path

    def _open_lower(self, inode: Inode, flags: int) -> int:
        try:
            return os.open(self._lower_path(inode), flags)
        except FileNotFoundError:
            if isinstance(inode.content, HostFile):
                raise
            # the layer was removed and came back (rmi, load) since its file was materialised
            directory, number = os.path.split(inode.content)
            for layer in self.image.layers:
                if os.path.dirname(directory) == layer.path:
                    return os.open(layer.materialise(int(number)), flags)
            raise

    def _copy_up(self, inode: Inode, keep: bool) -> None:
        """Give a regular file of the image its own bytes; keep: with what it holds now."""
        target = f"{self.files}/{inode.ino}"
        out = os.open(target + "~", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            if keep and inode.size:
                source = self._open_lower(inode, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    copy_bytes(source, out)
                finally:
                    os.close(source)
            os.utime(out, ns=(inode.atime, inode.mtime))
        finally:
            os.close(out)
        os.rename(target + "~", target)
        inode = self._own(inode)
        inode.content = None
        self._record(inode)

    def _record(self, inode: Inode) -> None:
        if self._journal is not None:
            self._journal.append(records.of_inode(inode))
