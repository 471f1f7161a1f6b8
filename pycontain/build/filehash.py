"""Digests of host files that are remembered while the file's identity, size and times stay the same.

One msgpack file per directory tree: {"device:inode": [size, mtime ns, ctime ns, digest]}. A file that changed
within the clock's granularity of being read is not remembered: it could change again and look the same.
"""

from __future__ import annotations

import hashlib
import os
import time

import msgpack

from pycontain.store.newfile import NewFile

RACY = 50_000_000  # ns; the kernel's coarse clock ticks every 4 to 10 ms
RACY_WHOLE_SECONDS = 2_000_000_000  # file systems that keep whole seconds only
SPARE = 10_000  # entries of files that were not asked for are kept up to this many

Entry = tuple[int, int, int, bytes]


def file_digest(path: str) -> bytes:
    """SHA-256 of a file's bytes."""
    with open(path, "rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").digest()


class FileHashes:
    """path: where the entries are kept between builds; None keeps them for this object's life only."""

    def __init__(self, path: str | None) -> None:
        self.path = path
        self.hashed = 0  # files whose bytes were read
        self._known: dict[str, Entry] | None = None
        self._used: dict[str, Entry] = {}
        self._changed = False

    def digest(self, path: str, info: os.stat_result) -> bytes:
        """The digest of a regular file; info is what its lstat said, at most a build ago. Raises OSError."""
        key = f"{info.st_dev}:{info.st_ino}"
        known = self._load().get(key)
        now = (info.st_size, info.st_mtime_ns, info.st_ctime_ns)
        if known is not None and tuple(known[:3]) == now:
            self._used[key] = known
            return known[3]
        self.hashed += 1
        started = time.time_ns()
        digest = file_digest(path)
        newest = max(info.st_mtime_ns, info.st_ctime_ns)
        margin = RACY_WHOLE_SECONDS if newest % 1_000_000_000 == 0 else RACY
        if newest + margin < started:
            self._used[key] = (*now, digest)
            self._changed = True
        return digest

    def save(self) -> None:
        """Write what is known, atomically; a file system that refuses only costs the next build time."""
        if self.path is None or not self._changed:
            return
        entries = {**self._load(), **self._used}
        if len(entries) > len(self._used) + SPARE:
            entries = self._used
        directory = os.path.dirname(self.path)
        try:
            os.makedirs(directory, exist_ok=True)
            new = NewFile(directory)
            try:
                new.write(msgpack.packb(entries))
                new.commit(self.path, sync=False, replace=True)
            finally:
                new.close()
        except OSError:
            return
        self._changed = False

    def _load(self) -> dict[str, Entry]:
        if self._known is None:
            self._known = {}
            if self.path is not None:
                try:
                    with open(self.path, "rb") as file:
                        loaded = msgpack.unpackb(file.read())
                    self._known = {key: entry for key, entry in loaded.items() if len(entry) == 4}
                except (OSError, ValueError, AttributeError, TypeError, msgpack.UnpackException):
                    self._known = {}  # absent or damaged: the files are read again
        return self._known
