"""Blobs by digest, each once for all repositories."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator

from pycontain.errors import RegistryError
from pycontain.image.digest import is_digest


def sync_directory(path: str) -> None:
    """Make names created, renamed or removed in a directory survive a power cut."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_file(path: str, data: bytes, durable: bool) -> None:
    """Write a small file so that readers see the old one or the new one, never a part."""
    directory = os.path.dirname(path)
    try:
        fd, temporary = tempfile.mkstemp(prefix=".", dir=directory)
    except FileNotFoundError:
        os.makedirs(directory, exist_ok=True)
        fd, temporary = tempfile.mkstemp(prefix=".", dir=directory)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(fd)
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    if durable:
        sync_directory(directory)


class Content:
    """The blobs below ROOT/blobs. durable: a change is on the disk itself before it is acknowledged."""

    def __init__(self, root: str, durable: bool = True) -> None:
        self.root = os.path.abspath(root)
        self.durable = durable
        self.directory = os.path.join(self.root, "blobs")
        os.makedirs(self.directory, exist_ok=True)
        marker = os.path.join(self.root, "oci-layout")
        if not os.path.exists(marker):
            write_file(marker, b'{"imageLayoutVersion":"1.0.0"}', durable)

    def lock(self, exclusive: bool) -> int:
        """Take the root's lock; returns a descriptor that holds it until it is closed.

        Raises RegistryError if others hold it in a way that does not go together with ours.
        """
        fd = os.open(os.path.join(self.root, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(fd, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            what = "a registry serves it" if exclusive else "garbage collection is running"
            raise RegistryError(f"lock {self.root}: {what}", hint="stop it, or wait, and try again")
        return fd

    def path(self, digest: str) -> str:
        """Where a valid digest's content is, or would be."""
        algorithm, _, encoded = digest.partition(":")
        return os.path.join(self.directory, algorithm, encoded)

    def has(self, digest: str) -> bool:
        return os.path.exists(self.path(digest))

    def open(self, digest: str) -> tuple[int, int]:
        """(descriptor, size) of the content; FileNotFoundError if it is not there."""
        fd = os.open(self.path(digest), os.O_RDONLY | os.O_CLOEXEC)
        return fd, os.fstat(fd).st_size

    def read(self, digest: str) -> bytes:
        """The whole content; for manifests."""
        with open(self.path(digest), "rb") as file:
            return file.read()

    def write(self, digest: str, data: bytes) -> None:
        """Store small content whose digest the caller has checked."""
        if not self.has(digest):
            write_file(self.path(digest), data, self.durable)

    def adopt(self, path: str, digest: str) -> None:
        """Move a complete file, whose digest the caller has checked and which is synced, in."""
        target = self.path(digest)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.rename(path, target)
        if self.durable:
            sync_directory(os.path.dirname(target))

    def remove(self, digest: str) -> None:
        os.unlink(self.path(digest))

    def digests(self) -> Iterator[tuple[str, int]]:
        """(digest, size) of everything there is."""
        for algorithm in sorted(os.listdir(self.directory)):
            with os.scandir(os.path.join(self.directory, algorithm)) as entries:
                for entry in entries:
                    digest = f"{algorithm}:{entry.name}"
                    if is_digest(digest):
                        yield digest, entry.stat().st_size
