"""The bytes of a tree's regular files: where they are, and how a container gets its own.

Those of the image are files that its layers share; the first write copies them to files/NUMBER in the
container's directory, where those that it makes are, too.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pycontain.errors import DISK_FULL
from pycontain.unionfs.copying import copy_bytes
from pycontain.unionfs.image import ImageTree
from pycontain.unionfs.inode import HostFile, Inode, Stat
from pycontain.unionfs.view import View, failure, weight

FIRST_TRIM = 4096  # files without a name that are remembered before it is asked which of them are open
MOST_IN_MEMORY = 64 << 20  # bytes of a file that a full disk keeps out
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


class Contents(View):
    """See the module."""

    def __init__(self, image: ImageTree, directory: str | None = None, *, journal: bool = False) -> None:
        """See View."""
        View.__init__(self, image, directory, journal=journal)
        self.by_host: dict[tuple[int, int], Inode] = {}  # by (st_dev, st_ino) of opened files of our own
        self._reached = (0, "")  # see reach()
        self.nameless = 0  # files of by_host that have lost their name, at most
        self._trim_at = FIRST_TRIM
        self.open_elsewhere: Callable[[], set[tuple[int, int]]] | None = (
            None  # (st_dev, st_ino) of what is open
        )
        self._copied: set[int] = set()  # files of the image whose bytes have been copied, see copy_aside()
        self._linkable: set[int] = set()  # files made without a name that may still get one

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
            if self.nameless >= self._trim_at:
                self._trim((host.st_dev, host.st_ino))
            return fd
        if write:
            self._copy_up(inode, keep=not flags & os.O_TRUNC)
            return self.open(inode, flags)
        try:
            fd = self._open_lower(inode, flags & ~os.O_NOATIME)
        except OSError as error:
            if error.errno not in DISK_FULL or inode.size > MOST_IN_MEMORY:
                raise
            fd = self._open_in_memory(inode)
        host = os.fstat(fd)
        owner = self.image.inodes[inode.ino] if inode.ino < self.image.next_ino else inode
        key = host.st_dev, host.st_ino
        self.image.by_host[key] = owner or inode
        self.by_host.pop(key, None)  # of an own file that has gone, whose number the host has used again
        return fd

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

    def _trim(self, newest: tuple[int, int]) -> None:
        """Forget files that have no name and that nobody has open. One in flight through a socket may be among them:
        it can still be read and written, only its owner and mode are the host's then."""
        if self.open_elsewhere is None:
            return
        alive = self.open_elsewhere()
        alive.add(newest)
        self.nameless = 0
        for key, inode in list(self.by_host.items()):
            if inode.nlink == 0:
                if key in alive:
                    self.nameless += 1
                else:
                    del self.by_host[key]
                    self._linkable.discard(inode.ino)
        self._trim_at = max(FIRST_TRIM, 2 * self.nameless)

    def by_descriptor(self, dev: int, ino: int) -> Inode | None:
        """The inode whose backing file has this host identity."""
        found = self.by_host.get((dev, ino)) or self.image.by_host.get((dev, ino))
        return None if found is None else self.current(found)

    def read_bytes(self, inode: Inode) -> bytes:
        with open(self.open(inode, os.O_RDONLY), "rb") as file:
            return file.read()

    def truncate(self, inode: Inode, size: int) -> None:
        inode = self.current(inode)
        if inode.content is not None:
            self._copy_up(inode, keep=size > 0)
        with self._pinned(inode) as path:
            os.truncate(path, size)

    def open_unnamed(self, mode: int, uid: int, gid: int, flags: int, linkable: bool) -> tuple[Inode, int]:
        """A new regular file without a name (O_TMPFILE in open(2)), and a host descriptor for it.

        linkable: link() may give it a name. Raises EOPNOTSUPP where the host's file system has no such files.
        """
        flags = flags & OPEN_FLAGS & ~os.O_TRUNC | os.O_CLOEXEC | os.O_TMPFILE
        try:
            fd = os.open(self.files, flags, 0o600)
        except (IsADirectoryError, FileNotFoundError):  # from before Linux 3.11, see open(2)
            raise failure(errno.EOPNOTSUPP) from None
        inode = self._new(stat.S_IFREG | mode & 0o7777, uid, gid)
        inode.nlink = 0
        host = os.fstat(fd)
        self.by_host[host.st_dev, host.st_ino] = inode
        self.nameless += 1
        if linkable:
            self._linkable.add(inode.ino)
        return inode, fd

    def linkable(self, inode: Inode) -> bool:
        return inode.ino in self._linkable

    def _name_contents(self, inode: Inode) -> None:
        """A file that was made without a name gets one: its bytes become one of our files. reach() went before."""
        self._linkable.discard(inode.ino)
        files = os.open(self.files, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with self._pinned(inode) as path:
                # with a dst_dir_fd, for without one Python calls link(2), which does not follow the last link
                os.link(path, str(inode.ino), dst_dir_fd=files, follow_symlinks=True)
        finally:
            os.close(files)
        self.weight += weight(inode)
        self.changed[inode.ino] = inode

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

    def _open_in_memory(self, inode: Inode) -> int:
        """On a full disk: who wants to make room must be able to open what does that."""
        content = inode.content
        if isinstance(content, str):
            raise failure(errno.ENOSPC)
        assert content is not None
        layer, number = content
        file = os.memfd_create("image", os.MFD_CLOEXEC)
        try:
            layer.copy(number, file)
            return os.open(f"/proc/self/fd/{file}", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            os.close(file)

    def copy_aside(self, inode: Inode) -> None:
        """Copy the bytes of a file of the image, for the _copy_up() that follows; another thread may do that."""
        self._write_copy(inode, f"{self.files}/{inode.ino}+", True)
        self._copied.add(inode.ino)

    def _write_copy(self, inode: Inode, path: str, keep: bool) -> None:
        out = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            if keep and inode.size:
                source = self._open_lower(inode, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    copy_bytes(source, out)
                finally:
                    os.close(source)
            os.utime(out, ns=(inode.atime, inode.mtime))
        except BaseException:
            os.unlink(path)
            raise
        finally:
            os.close(out)

    def _copy_up(self, inode: Inode, keep: bool) -> None:
        """Give a regular file of the image its own bytes; keep: with what it holds now."""
        self._need_room()
        target = f"{self.files}/{inode.ino}"
        if inode.ino in self._copied:
            self._copied.discard(inode.ino)
            os.rename(target + "+", target)
            os.utime(target, ns=(inode.atime, inode.mtime))
            if not keep:
                os.truncate(target, 0)
        else:
            self._write_copy(inode, target + "~", keep)
            os.rename(target + "~", target)
        inode = self._own(inode)
        inode.content = None
        self._record(inode)
