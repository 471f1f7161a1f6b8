"""A new file that appears in its place whole or not at all, and leaves nothing behind if we are killed."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from pycontain.errors import DISK_FULL, MAKE_ROOM, StoreError

HOLE = 64 << 10
"""Bytes. Zeros are left out (a hole) in blocks of this size."""

ABANDONED = 3600.0
"""Seconds after which a hidden file counts as left behind."""

_ZEROS = bytes(HOLE)
_NO_TMPFILE = (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL)


@contextmanager
def storing(action: str) -> Iterator[None]:
    """Turn an OSError of the host (no space, no permission) into a StoreError that names the action."""
    try:
        yield
    except OSError as error:
        hint = MAKE_ROOM if error.errno in DISK_FULL else None
        raise StoreError(f"{action}: {error.strerror or error}", hint=hint) from error


class NewFile:
    """A file without a name (O_TMPFILE), written to and then linked into its place.

    Where the file system has no such files it is a hidden one, ".new-<random>" in the same directory,
    which `sweep` removes. So it is with `hidden`: for many small files, since giving a name to a nameless
    file takes ext4 0.4 ms. `fd` may be written to directly. Raises OSError.
    """

    def __init__(self, directory: str, mode: int = 0o644, *, hidden: bool = False) -> None:
        self._directory = directory
        self._name: str | None = None
        self.size = 0
        """Bytes that `write` has taken."""
        flags = os.O_RDWR | os.O_CLOEXEC
        if not hidden:
            try:
                self.fd = os.open(directory, os.O_TMPFILE | flags, mode)
                return
            except OSError as error:
                if error.errno not in _NO_TMPFILE or not os.path.isdir(directory):
                    raise
        self._name = f"{directory}/.new-{os.urandom(8).hex()}"
        self.fd = os.open(self._name, os.O_CREAT | os.O_EXCL | flags, mode)

    def write(self, data: bytes) -> None:
        """Append. Longer runs of zeros become holes."""
        write_at(self.fd, data, self.size)
        self.size += len(data)

    def commit(self, path: str, *, sync: bool = True, replace: bool = False) -> bool:
        """Give the file its name. False if there is a file already, which stays unless `replace`.

        sync: the content is on the disk before the name is.
        """
        if os.fstat(self.fd).st_size < self.size:
            os.ftruncate(self.fd, self.size)  # it ended in a hole
        if sync:
            os.fdatasync(self.fd)
        try:
            if self._name is None and replace:
                name = f"{self._directory}/.new-{os.urandom(8).hex()}"
                self._link(name)
                self._name = name
            if self._name is None:
                self._link(path)
            elif replace:
                os.replace(self._name, path)
                self._name = None
            else:
                os.link(self._name, path)
            return True
        except FileExistsError:
            return False
        finally:
            self.close()

    def _link(self, path: str) -> None:
        # The descriptor argument is not used with an absolute path, but makes Python call linkat, and
        # only that follows the link in /proc.
        os.link(f"/proc/self/fd/{self.fd}", path, src_dir_fd=self.fd, follow_symlinks=True)

    def close(self) -> None:
        """Forget the file if it has not been committed. May be called again."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
            if self._name is not None:
                os.unlink(self._name)


def write_at(fd: int, data: bytes, position: int) -> None:
    """Write at a position of a fresh file, leaving out blocks of zeros.

    A hole at the end does not lengthen the file: its last writer has to.
    """
    end = position + len(data)
    at = 0  # start of what has not been written yet
    block = -position % HOLE
    while block + HOLE <= len(data):
        if data[block] == 0 and data[block : block + HOLE] == _ZEROS:
            _pwrite(fd, data[at:block], position + at)
            at = block + HOLE
        block += HOLE
    if at == 0:
        _pwrite(fd, data, position)
    elif position + at < end:
        _pwrite(fd, data[at:], position + at)


def _pwrite(fd: int, data: bytes, position: int) -> None:
    while data:
        written = os.pwrite(fd, data, position)
        position += written
        data = data[written:]


def sweep(directory: str) -> None:
    """Remove hidden files that a killed process left in a directory an hour ago or more (see NewFile)."""
    for name in os.listdir(directory):
        if name.startswith(".new-"):
            path = os.path.join(directory, name)
            try:
                if os.stat(path).st_mtime < time.time() - ABANDONED:
                    os.unlink(path)
            except FileNotFoundError:
                pass


def sync_directory(path: str) -> None:
    """Bring a directory's names onto the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
