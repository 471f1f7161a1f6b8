"""A host directory served to a guest: the host's end of a FUSE file system.

The guest's kernel asks through /dev/fuse; the agent carries the requests to us and our answers back, so that a
share needs neither a device of the machine's nor a daemon, and lives through snapshots of the template.
Linux, include/uapi/linux/fuse.h, protocol 7.31.

The guest is hostile: it names files by numbers that we gave it, and by single names below those; no name is ever
followed (O_NOFOLLOW, O_PATH), so nothing outside of the directory can be reached, and only regular files are opened.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from pycontain.errors import MachineError
from pycontain.vm.share_nodes import Nodes

HEADER = struct.Struct("<IIQQIIII")
REQUEST_SIZE = (1 << 17) + 4096
"""Bytes that one request may have: a write of MAX_WRITE and its header."""
MAX_WRITE = 1 << 17
_ATTRIBUTES = struct.Struct("<QQQQQQIIIIIIIIII")
_ENTRY = struct.Struct("<QQQQII")
_VALID = 1
"""Seconds for which the guest may believe names and attributes."""
_OPEN_FLAGS = os.O_ACCMODE | os.O_APPEND | os.O_TRUNC


class _File(NamedTuple):
    """An open file; flags: those to open it with again."""

    fd: int
    node: int
    flags: int


class Share:
    """path: the directory. answer() takes a request and gives the reply, None where there is to be none."""

    def __init__(self, path: str, *, read_only: bool) -> None:
        self._nodes = Nodes(path)
        self._files: dict[int, _File] = {}
        self._next_file = 1
        self._path = path
        self._lists: dict[int, list[bytes]] = {}
        self._read_only = read_only
        self._uid, self._gid = os.geteuid(), os.getegid()
        self._operations: dict[int, Callable[[int, bytes], bytes]] = {
            1: self._lookup, 3: self._getattr, 4: self._setattr, 5: self._readlink, 6: self._symlink, 8: self._mknod,
            9: self._mkdir, 10: self._unlink, 11: self._rmdir, 12: self._rename, 13: self._link, 14: self._open,
            15: self._read, 16: self._write, 17: self._statfs, 18: self._release, 20: self._fsync, 25: self._nothing,
            26: self._init, 27: self._opendir, 28: self._readdir, 29: self._releasedir, 35: self._create,
            45: self._rename2,
        }  # fmt: skip

    def close(self) -> None:
        """Let go of everything."""
        self._nodes.close()
        for file in self._files.values():
            os.close(file.fd)
        self._files.clear()

    # -- snapshots

    def state(self) -> dict[str, Any]:
        """What the guest's kernel has been told, as plain data, for restored()."""
        return {
            "path": self._path,
            "read_only": self._read_only,
            "nodes": self._nodes.state(),
            "files": [[handle, file.node, file.flags] for handle, file in self._files.items()],
            "lists": [[handle, [os.fsdecode(n) for n in names]] for handle, names in self._lists.items()],
            "next": self._next_file,
        }

    @classmethod
    def restored(cls, state: dict[str, Any]) -> Share:
        """A share whose guest goes on where it was. What is not there any more, or is another file by now, is stale.
        MachineError where the directory itself is not there."""
        try:
            share = cls(state["path"], read_only=state["read_only"])
        except OSError as error:
            raise MachineError(f"share {state['path']} again: {error.strerror}") from None
        share._nodes.restore(state["nodes"])
        for handle, number, flags in state["files"]:
            try:
                fd = os.open(share._nodes.path(number), flags | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
            except OSError:
                continue
            share._files[handle] = _File(fd, number, flags)
        share._lists = {handle: [os.fsencode(n) for n in names] for handle, names in state["lists"]}
        share._next_file = int(state["next"])
        return share

    def answer(self, request: bytes) -> bytes | None:
        """The reply's bytes. What the guest gets wrong is answered with an error number."""
        if len(request) < HEADER.size:
            return None
        _, operation, unique, node, _, _, _, _ = HEADER.unpack_from(request)
        body = request[HEADER.size :]
        if operation in (2, 42, 36):  # forget, batch forget, interrupt: no reply
            self._forgotten(operation, node, body)
            return None
        try:
            function = self._operations.get(operation)
            if function is None:
                raise OSError(errno.ENOSYS, "")
            if self._read_only and operation in (4, 6, 8, 9, 10, 11, 12, 13, 16, 35, 45):
                raise OSError(errno.EROFS, "")
            data = function(node, body)
        except OSError as error:
            return struct.pack("<IiQ", 16, -(error.errno or errno.EIO), unique)
        except (struct.error, ValueError, KeyError, OverflowError):
            return struct.pack("<IiQ", 16, -errno.EINVAL, unique)
        return struct.pack("<IiQ", 16 + len(data), 0, unique) + data

    # -- nodes

    @staticmethod
    def _name(data: bytes) -> bytes:
        name = data.split(b"\0")[0]
        if not name or b"/" in name or name in (b".", b".."):
            raise OSError(errno.EINVAL, "")
        return name

    def _entry(self, directory: int, name: bytes) -> bytes:
        number, info = self._nodes.look_up(directory, name)
        return _ENTRY.pack(number, 0, _VALID, _VALID, 0, 0) + self._attributes(info)

    def _attributes(self, info: os.stat_result) -> bytes:
        uid = 0 if info.st_uid == self._uid else info.st_uid  # who started the machine is root in it
        gid = 0 if info.st_gid == self._gid else info.st_gid
        seconds = [divmod(t, 10**9) for t in (info.st_atime_ns, info.st_mtime_ns, info.st_ctime_ns)]
        return _ATTRIBUTES.pack(
            info.st_ino, info.st_size, info.st_blocks, *(max(s[0], 0) for s in seconds), *(s[1] for s in seconds),
            info.st_mode, info.st_nlink, uid, gid, 0, 4096, 0,
        )  # fmt: skip

    def _forgotten(self, operation: int, node: int, body: bytes) -> None:
        if operation == 2 and len(body) >= 8:
            self._nodes.forget(node, int.from_bytes(body[:8], "little"))
        elif operation == 42 and len(body) >= 8:
            for at in range(8, len(body) - 15, 16):
                self._nodes.forget(*struct.unpack_from("<QQ", body, at))

    # -- operations: each takes the node and the request's body, and returns the reply's

    def _init(self, node: int, body: bytes) -> bytes:
        _, _, readahead, flags = struct.unpack_from("<IIII", body)
        wanted = flags & (1 << 3 | 1 << 5 | 1 << 22)  # atomic O_TRUNC, big writes, many pages
        return struct.pack(
            "<IIIIHHIIHHI28x", 7, 31, readahead, wanted, 12, 9, MAX_WRITE, 1, MAX_WRITE >> 12, 0, 0
        )

    def _nothing(self, node: int, body: bytes) -> bytes:
        return b""

    def _lookup(self, node: int, body: bytes) -> bytes:
        return self._entry(node, self._name(body))

    def _getattr(self, node: int, body: bytes) -> bytes:
        return struct.pack("<QII", _VALID, 0, 0) + self._attributes(os.fstat(self._nodes.fd(node)))

    def _setattr(self, node: int, body: bytes) -> bytes:
        (valid, _, _, size, _, atime, mtime, _, atime_ns, mtime_ns, _, mode, _, uid, gid, _) = (
            struct.unpack_from("<IIQQQQQQIIIIIIII", body)
        )
        path = self._nodes.path(node)
        info = os.fstat(self._nodes.fd(node))
        if valid & 8:
            if not stat.S_ISREG(info.st_mode):
                raise OSError(errno.EINVAL, "")
            os.truncate(path, size)
        if valid & 1:
            os.chmod(path, mode & 0o7777)
        if valid & 6 and self._uid == 0:
            os.chown(path, uid if valid & 2 else -1, gid if valid & 4 else -1)
        if valid & (16 | 32):
            now = os.fstat(self._nodes.fd(node))
            times = [now.st_atime_ns, now.st_mtime_ns]
            if valid & 16:
                times[0] = atime * 10**9 + atime_ns
            if valid & 32:
                times[1] = mtime * 10**9 + mtime_ns
            if valid & (128 | 256):
                os.utime(path)
            else:
                os.utime(path, ns=(times[0], times[1]))
        return self._getattr(node, b"")

    def _readlink(self, node: int, body: bytes) -> bytes:
        return os.fsencode(os.readlink("", dir_fd=self._nodes.fd(node)))

    def _symlink(self, node: int, body: bytes) -> bytes:
        name, target = body.split(b"\0")[:2]
        os.symlink(target, self._name(name), dir_fd=self._nodes.fd(node))
        return self._entry(node, name)

    def _mknod(self, node: int, body: bytes) -> bytes:
        mode, _, umask, _ = struct.unpack_from("<IIII", body)
        if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
            raise OSError(errno.EPERM, "")
        name = self._name(body[16:])
        os.mknod(name, mode & ~umask, dir_fd=self._nodes.fd(node))
        return self._entry(node, name)

    def _mkdir(self, node: int, body: bytes) -> bytes:
        mode, umask = struct.unpack_from("<II", body)
        name = self._name(body[8:])
        os.mkdir(name, mode & ~umask & 0o7777, dir_fd=self._nodes.fd(node))
        return self._entry(node, name)

    def _unlink(self, node: int, body: bytes) -> bytes:
        os.unlink(self._name(body), dir_fd=self._nodes.fd(node))
        return b""

    def _rmdir(self, node: int, body: bytes) -> bytes:
        os.rmdir(self._name(body), dir_fd=self._nodes.fd(node))
        return b""

    def _rename(self, node: int, body: bytes) -> bytes:
        (target,) = struct.unpack_from("<Q", body)
        return self._move(node, target, body[8:])

    def _rename2(self, node: int, body: bytes) -> bytes:
        target, flags = struct.unpack_from("<QI", body)
        _, new = body[16:].split(b"\0")[:2]
        if flags & ~1:
            raise OSError(errno.EINVAL, "")
        if flags & 1:
            try:
                os.stat(self._name(new), dir_fd=self._nodes.fd(target), follow_symlinks=False)
            except FileNotFoundError:
                pass
            else:
                raise OSError(errno.EEXIST, "")
        return self._move(node, target, body[16:])

    def _move(self, node: int, target: int, names: bytes) -> bytes:
        old, new = names.split(b"\0")[:2]
        os.rename(
            self._name(old),
            self._name(new),
            src_dir_fd=self._nodes.fd(node),
            dst_dir_fd=self._nodes.fd(target),
        )
        return b""

    def _link(self, node: int, body: bytes) -> bytes:
        (old,) = struct.unpack_from("<Q", body)
        name = self._name(body[8:])
        os.link(self._nodes.path(old), name, dst_dir_fd=self._nodes.fd(node), follow_symlinks=True)
        return self._entry(node, name)

    def _opened(self, fd: int, node: int, flags: int) -> bytes:
        if len(self._files) >= self._nodes.limit:
            os.close(fd)
            raise OSError(errno.ENFILE, "")
        handle = self._next_file
        self._next_file += 1
        self._files[handle] = _File(fd, node, flags & ~(os.O_CREAT | os.O_EXCL | os.O_TRUNC))
        return struct.pack("<QII", handle, 0, 0)

    def _open(self, node: int, body: bytes) -> bytes:
        (flags,) = struct.unpack_from("<I", body)
        if not stat.S_ISREG(os.fstat(self._nodes.fd(node)).st_mode):
            raise OSError(errno.EPERM, "")
        if self._read_only and (flags & os.O_ACCMODE or flags & os.O_TRUNC):
            raise OSError(errno.EROFS, "")
        flags &= _OPEN_FLAGS & ~os.O_APPEND  # the guest's kernel says where to write
        return self._opened(
            os.open(self._nodes.path(node), flags | os.O_CLOEXEC | os.O_NONBLOCK), node, flags
        )

    def _create(self, node: int, body: bytes) -> bytes:
        flags, mode, umask, _ = struct.unpack_from("<IIII", body)
        name = self._name(body[16:])
        flags = (
            flags & (os.O_ACCMODE | os.O_EXCL | os.O_TRUNC)
            | os.O_CREAT
            | os.O_NOFOLLOW
            | os.O_CLOEXEC
            | os.O_NONBLOCK
        )
        fd = os.open(name, flags, mode & ~umask & 0o7777, dir_fd=self._nodes.fd(node))
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(errno.EPERM, "")
        try:
            entry = self._entry(node, name)
        except BaseException:
            os.close(fd)
            raise
        (number,) = struct.unpack_from("<Q", entry)
        return entry + self._opened(fd, number, flags)

    def _read(self, node: int, body: bytes) -> bytes:
        handle, offset, size = struct.unpack_from("<QQI", body)
        return os.pread(self._files[handle].fd, min(size, MAX_WRITE), offset)

    def _write(self, node: int, body: bytes) -> bytes:
        handle, offset, size = struct.unpack_from("<QQI", body)
        written = os.pwrite(self._files[handle].fd, body[40 : 40 + size], offset)
        return struct.pack("<II", written, 0)

    def _release(self, node: int, body: bytes) -> bytes:
        (handle,) = struct.unpack_from("<Q", body)
        os.close(self._files.pop(handle).fd)
        return b""

    def _fsync(self, node: int, body: bytes) -> bytes:
        (handle,) = struct.unpack_from("<Q", body)
        os.fsync(self._files[handle].fd)
        return b""

    def _statfs(self, node: int, body: bytes) -> bytes:
        info = os.statvfs(self._nodes.path(1))
        return struct.pack(
            "<QQQQQIIII24x", info.f_blocks, info.f_bfree, info.f_bavail, info.f_files, info.f_ffree,
            info.f_bsize, info.f_namemax, info.f_frsize, 0,
        )  # fmt: skip

    def _opendir(self, node: int, body: bytes) -> bytes:
        names = [b".", b"..", *sorted(os.fsencode(name) for name in os.listdir(self._nodes.path(node)))]
        handle = max(self._lists, default=0) + 1
        if len(self._lists) >= self._nodes.limit:
            raise OSError(errno.ENFILE, "")
        self._lists[handle] = names
        return struct.pack("<QII", handle, 0, 0)

    def _readdir(self, node: int, body: bytes) -> bytes:
        handle, offset, size = struct.unpack_from("<QQI", body)
        names = self._lists[handle]
        out = bytearray()
        for number in range(offset, len(names)):
            name = names[number]
            entry = struct.pack("<QQII", number + 1, number + 1, len(name), 0) + name
            entry += bytes(-len(entry) % 8)
            if len(out) + len(entry) > min(size, MAX_WRITE):
                break
            out += entry
        return bytes(out)

    def _releasedir(self, node: int, body: bytes) -> bytes:
        (handle,) = struct.unpack_from("<Q", body)
        self._lists.pop(handle, None)
        return b""
