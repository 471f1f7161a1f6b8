"""A directory (or one file) of the host inside a container: bind mounts.

Every step opens one name below an O_PATH descriptor with O_NOFOLLOW, so that no symlink and no `..` of the host
is ever followed by the host: a symlink's text is resolved by our own walk, inside the container.
A name may by now belong to something else than the inode that was looked up. So whatever is opened, changed or
connected to is first held by an O_PATH descriptor (pin), and its device and inode numbers are compared.
Owners: files of the user who runs the kernel appear as root's, as with a rootless runtime.
"""

from __future__ import annotations

import errno
import fcntl
import os
from typing import TYPE_CHECKING, Unpack

from pycontain.kernel.abi import S_IFDIR, S_IFIFO, S_IFMT, S_IFREG, host_stat
from pycontain.kernel.vfs.filesystem import Filesystem, fail
from pycontain.unionfs.inode import Attributes, Inode, Stat

if TYPE_CHECKING:
    from pycontain.kernel.task import Task

EXT4_MAGIC = 0xEF53
MAX_DIRECTORIES = 256  # descriptors of directories that are kept open
MAX_FILES = 8192  # files that are known by their descriptors
OVERFLOW_ID = 65534


class HostInode(Inode):
    """An inode read from the host; fd: an O_PATH descriptor of a directory, opened when it is first entered."""

    __slots__ = ("fd", "host")

    def __init__(self, host: os.stat_result, uid: int, gid: int) -> None:
        Inode.__init__(self, host.st_ino, host.st_mode, uid, gid, host.st_mtime_ns)
        self.host = host
        self.fd = -1
        self.nlink, self.rdev, self.size = host.st_nlink, host.st_rdev, host.st_size

    def __del__(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)


class HostFs(Filesystem):
    """Inodes hold their parent, so a path below the bind's root is a chain of names."""

    def __init__(self, path: str, dev: int) -> None:
        self.dev = dev
        self.type = "ext4"
        self.magic = EXT4_MAGIC
        self.path = path
        info = os.stat(path)
        self._own_uid, self._own_gid = os.geteuid(), os.getegid()
        self._by_host: dict[tuple[int, int], HostInode] = {}
        self._entered: dict[HostInode, None] = {}  # directories with a descriptor, longest unused first
        self.root = self._inode(info)
        flags = os.O_PATH | os.O_CLOEXEC | (os.O_DIRECTORY if self.root.mode & S_IFMT == S_IFDIR else 0)
        self._root_fd = os.open(path, flags)
        self.root.parent = self.root

    def close(self) -> None:
        """Give every descriptor back; the file system is used no more."""
        for directory in self._entered:
            os.close(directory.fd)
            directory.fd = -1
        self._entered.clear()
        if self._root_fd >= 0:
            os.close(self._root_fd)
            self._root_fd = -1

    def _inode(self, info: os.stat_result) -> HostInode:
        if self._own_uid == 0:
            uid, gid = info.st_uid, info.st_gid
        else:
            uid = 0 if info.st_uid == self._own_uid else OVERFLOW_ID
            gid = 0 if info.st_gid == self._own_gid else OVERFLOW_ID
        return HostInode(info, uid, gid)

    def _directory(self, inode: Inode) -> int:
        """An O_PATH descriptor of a directory, reached name by name."""
        chain: list[HostInode] = []
        while inode is not self.root:
            assert isinstance(inode, HostInode)
            if inode.fd >= 0:
                break
            chain.append(inode)
            inode = inode.parent or self.root
        fd = self._root_fd if inode is self.root else inode.fd  # type: ignore[attr-defined]
        if inode is not self.root and not chain:
            self._entered[inode] = self._entered.pop(inode)  # type: ignore[index, call-overload]
        for directory in reversed(chain):
            flags = os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC
            directory.fd = fd = self._same(directory, os.open(directory.name, flags, dir_fd=fd))
            self._entered[directory] = None
            if len(self._entered) > MAX_DIRECTORIES:
                oldest = next(iter(self._entered))
                del self._entered[oldest]
                os.close(oldest.fd)
                oldest.fd = -1
        return fd

    def _same(self, inode: Inode, fd: int) -> int:
        """The descriptor, if it is the inode's; closed otherwise, and ENOENT."""
        assert isinstance(inode, HostInode)
        info = os.fstat(fd)
        if (info.st_dev, info.st_ino) != (inode.host.st_dev, inode.host.st_ino):
            os.close(fd)
            fail(errno.ENOENT)
        return fd

    def pin(self, inode: Inode) -> int:
        """An O_PATH descriptor of the inode itself; the caller closes it."""
        if inode is self.root:
            return os.dup(self._root_fd)
        parent = self._directory(inode.parent or self.root)
        fd = self._same(inode, os.open(inode.name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent))
        if inode.mode & S_IFMT == S_IFIFO:
            self._remember(inode)  # it is about to be opened
        return fd

    def directory_fd(self, inode: Inode) -> int:
        """An O_PATH descriptor of a directory, for the next call; it stays ours."""
        return self._directory(inode)

    def _refresh(self, inode: Inode) -> os.stat_result:
        if inode is self.root:
            return os.fstat(self._root_fd)
        return os.stat(inode.name, dir_fd=self._directory(inode.parent or self.root), follow_symlinks=False)

    def lookup(self, directory: Inode, name: bytes) -> Inode | None:
        if name in (b".", b"..") or b"/" in name:
            fail(errno.EINVAL)
        try:
            info = os.stat(name, dir_fd=self._directory(directory), follow_symlinks=False)
        except FileNotFoundError:
            return None
        inode = self._inode(info)
        inode.parent, inode.name = directory, name
        return inode

    def names(self, directory: Inode) -> list[tuple[bytes, int, int]]:
        fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._directory(directory))
        try:
            found = []
            with os.scandir(fd) as entries:
                for entry in entries:
                    mode = entry.stat(follow_symlinks=False).st_mode
                    found.append((os.fsencode(entry.name), entry.inode(), mode))
            return found
        finally:
            os.close(fd)

    def readlink(self, inode: Inode, task: Task) -> bytes:
        fd = self.pin(inode)
        try:
            return os.readlink(b"", dir_fd=fd)
        finally:
            os.close(fd)

    def stat(self, inode: Inode) -> Stat:
        try:
            info = self._refresh(inode)
        except OSError:
            info = inode.host  # type: ignore[attr-defined]
        fresh = self._inode(info)
        return host_stat(info, fresh.uid, fresh.gid)

    def path_of(self, inode: Inode) -> bytes:
        parts: list[bytes] = []
        while inode is not self.root:
            parts.append(inode.name)
            inode = inode.parent or self.root
        return b"/" + b"/".join(reversed(parts))

    def open(self, inode: Inode, flags: int, task: Task) -> int:
        if inode.mode & S_IFMT != S_IFREG:
            fail(errno.ENXIO)  # anything else could make the kernel wait
        pin = self.pin(inode)
        try:
            wanted = flags & ~(os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW) | os.O_CLOEXEC | os.O_NOCTTY
            fd = os.open(
                f"/proc/self/fd/{pin}", wanted | os.O_NONBLOCK
            )  # a lease must not make it wait either
        finally:
            os.close(pin)
        if not flags & os.O_NONBLOCK:
            fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) & ~os.O_NONBLOCK)
        self._remember(inode)
        return fd

    def _remember(self, inode: Inode) -> None:
        """So that a descriptor of it is known."""
        assert isinstance(inode, HostInode)
        key = inode.host.st_dev, inode.host.st_ino
        self._by_host.pop(key, None)
        self._by_host[key] = inode
        if len(self._by_host) > MAX_FILES:
            del self._by_host[next(iter(self._by_host))]

    def by_descriptor(self, dev: int, ino: int) -> Inode | None:
        return self._by_host.get((dev, ino))

    def statfs(self) -> tuple[int, int, int, int, int]:
        host = os.statvfs(self._root_fd)
        scale = max(host.f_frsize // 4096, 1)
        return host.f_blocks * scale, host.f_bfree * scale, host.f_bavail * scale, host.f_files, host.f_ffree

    # -- changes

    def _found(self, directory: Inode, name: bytes) -> Inode:
        inode = self.lookup(directory, name)
        if inode is None:
            fail(errno.ENOENT)
        return inode

    def create(self, directory: Inode, name: bytes, mode: int, uid: int, gid: int) -> Inode:
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        os.close(os.open(name, flags, mode & 0o7777, dir_fd=self._directory(directory)))
        return self._owned(self._found(directory, name), uid, gid)

    def _owned(self, inode: Inode, uid: int, gid: int) -> Inode:
        """Give a new object its owner where the host lets us (a kernel run by root)."""
        if self._own_uid == 0 and (uid or gid):
            parent = self._directory(inode.parent or self.root)
            os.chown(inode.name, uid, gid, dir_fd=parent, follow_symlinks=False)
            return self._found(inode.parent or self.root, inode.name)
        return inode

    def mkdir(self, directory: Inode, name: bytes, mode: int, uid: int, gid: int) -> Inode:
        os.mkdir(name, mode & 0o7777, dir_fd=self._directory(directory))
        return self._owned(self._found(directory, name), uid, gid)

    def symlink(self, directory: Inode, name: bytes, target: bytes, uid: int, gid: int) -> Inode:
        os.symlink(target, name, dir_fd=self._directory(directory))
        return self._owned(self._found(directory, name), uid, gid)

    def mknod(self, directory: Inode, name: bytes, mode: int, rdev: int, uid: int, gid: int) -> Inode:
        if mode & S_IFMT in (0o020000, 0o060000):
            fail(errno.EPERM)  # no devices on host directories
        os.mknod(name, mode, rdev, dir_fd=self._directory(directory))
        return self._owned(self._found(directory, name), uid, gid)

    def link(self, inode: Inode, directory: Inode, name: bytes) -> Inode:
        fd = self.pin(inode)
        try:
            os.link(f"/proc/self/fd/{fd}", name, dst_dir_fd=self._directory(directory), follow_symlinks=True)
        finally:
            os.close(fd)
        return self._found(directory, name)

    def unlink(self, directory: Inode, name: bytes) -> None:
        os.unlink(name, dir_fd=self._directory(directory))

    def rmdir(self, directory: Inode, name: bytes) -> None:
        os.rmdir(name, dir_fd=self._directory(directory))

    def rename(self, old: Inode, old_name: bytes, new: Inode, new_name: bytes, flags: int = 0) -> None:
        if flags & ~1:
            fail(errno.EINVAL)
        if flags & 1 and self.lookup(new, new_name) is not None:
            fail(errno.EEXIST)
        os.rename(old_name, new_name, src_dir_fd=self._directory(old), dst_dir_fd=self._directory(new))

    def set_attr(self, inode: Inode, **new: Unpack[Attributes]) -> Inode:
        mode, uid, gid = new.get("mode"), new.get("uid"), new.get("gid")
        atime, mtime = new.get("atime"), new.get("mtime")
        fd = self.pin(inode)  # /proc/self/fd of our own makes chmod possible on it
        try:
            link = f"/proc/self/fd/{fd}"
            if uid is not None or gid is not None:
                self._chown(link, inode, uid, gid)
            if mode is not None and inode.mode & S_IFMT != 0o120000:
                os.chmod(link, mode & 0o7777)
            if atime is not None or mtime is not None:
                info = os.fstat(fd)
                os.utime(
                    link,
                    ns=(
                        info.st_atime_ns if atime is None else atime,
                        info.st_mtime_ns if mtime is None else mtime,
                    ),
                )
        finally:
            os.close(fd)
        return inode if inode is self.root else self._found(inode.parent or self.root, inode.name)

    def _chown(self, link: str, inode: Inode, uid: int | None, gid: int | None) -> None:
        if self._own_uid == 0:
            os.chown(link, -1 if uid is None else uid, -1 if gid is None else gid)
        elif (uid is not None and uid != inode.uid) or (gid is not None and gid != inode.gid):
            fail(errno.EPERM)  # the host would not let this user give files away

    def truncate(self, inode: Inode, size: int) -> None:
        fd = self.open(inode, os.O_WRONLY, None)  # type: ignore[arg-type]
        try:
            os.ftruncate(fd, size)
        finally:
            os.close(fd)
