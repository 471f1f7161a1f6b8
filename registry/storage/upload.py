"""Uploads in progress. The file is the state: its size is the offset, so a crash loses nothing."""

from __future__ import annotations

import fcntl
import os
import secrets
import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING

from pycontain.image.digest import hasher
from registry.http.body import Body
from registry.problem import Problem
from registry.storage.repository import Repository

if TYPE_CHECKING:
    from hashlib import _Hash

_BLOCK = 1 << 20
_REMEMBERED = 1024  # running hashes kept between the requests of uploads


def _unknown(upload: str) -> Problem:
    return Problem(404, "BLOB_UPLOAD_UNKNOWN", f"there is no upload {upload[:64]!r}")


class Upload:
    """One upload, held by one request. Use as a context manager.

    size is the number of bytes that have come and are acknowledged with it.
    """

    def __init__(self, uploads: Uploads, repository: Repository, identity: str, fd: int) -> None:
        self.id = identity
        self.repository = repository
        self._uploads = uploads
        self._fd = fd
        self.size = os.fstat(fd).st_size
        self._hash: _Hash | None = uploads.recall(identity, self.size)
        self._gone = False

    def __enter__(self) -> Upload:
        return self

    def __exit__(self, *exc: object) -> None:
        if not self._gone and self._hash is not None:
            self._uploads.remember(self.id, self.size, self._hash)
        os.close(self._fd)

    @property
    def _path(self) -> str:
        return self._uploads.path(self.repository, self.id)

    def expect(self, algorithm: str) -> None:
        """Say early which digest the blob will have, so that it is hashed as it comes."""
        if self._hash is not None and self._hash.name != algorithm and self.size == 0:
            self._hash = hasher(algorithm)

    def append(self, body: Body) -> int:
        """Add a request's body; returns its length. What came of one that breaks off is kept."""
        block = memoryview(bytearray(_BLOCK))
        start = self.size
        while count := body.read_into(block):
            data = block[:count]
            while data:
                written = os.pwrite(self._fd, data, self.size)
                if self._hash is not None:
                    self._hash.update(data[:written])
                self.size += written
                data = data[written:]
        return self.size - start

    def finish(self, digest: str) -> None:
        """The blob is complete: check it, move it in, link it to the repository. The upload is over.

        Raises Problem DIGEST_INVALID if the content is not what digest says; it is thrown away then.
        """
        algorithm = digest.partition(":")[0]
        if self._hash is None or self._hash.name != algorithm:
            self._hash = self._hash_again(algorithm)
        actual = f"{algorithm}:{self._hash.hexdigest()}"
        if actual != digest:
            size = self.size
            self.cancel()
            raise Problem(
                400, "DIGEST_INVALID", f"the {size} bytes uploaded have the digest {actual}, not {digest}"
            )
        content = self.repository.content
        if content.has(digest):
            os.unlink(self._path)
        else:
            os.fchmod(self._fd, 0o444)
            if content.durable:
                os.fsync(self._fd)
            content.adopt(self._path, digest)
        self._gone = True
        self.repository.link_blob(digest)

    def cancel(self) -> None:
        """Throw the upload away."""
        self._gone = True
        os.unlink(self._path)

    def _hash_again(self, algorithm: str) -> _Hash:
        """Read everything once more: after a restart, or for another algorithm than we hoped for."""
        state = hasher(algorithm)
        block = memoryview(bytearray(_BLOCK))
        offset = 0
        while count := os.preadv(self._fd, [block], offset):
            state.update(block[:count])
            offset += count
        return state


class Uploads:
    """The uploads of all repositories, and the running hashes of those that are in progress."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._hashes: OrderedDict[str, tuple[int, _Hash]] = OrderedDict()

    def path(self, repository: Repository, identity: str) -> str:
        return os.path.join(repository.directory, "_uploads", identity)

    def begin(self, repository: Repository) -> Upload:
        """A new, empty upload."""
        identity = secrets.token_hex(16)
        path = self.path(repository, identity)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        fcntl.flock(fd, fcntl.LOCK_EX)
        return Upload(self, repository, identity, fd)

    def resume(self, repository: Repository, identity: str) -> Upload:
        """An upload begun earlier, perhaps by a server that has crashed since.

        Raises Problem: 404 if there is none, 429 if another request is writing to it.
        """
        if not identity.isalnum() or not identity.isascii() or len(identity) > 64:
            raise _unknown(identity)
        path = self.path(repository, identity)
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            raise _unknown(identity)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.stat(path)  # it may have been finished between open and lock
        except BlockingIOError:
            os.close(fd)
            raise Problem(
                429,
                "TOOMANYREQUESTS",
                f"another request is writing to the upload {identity}",
                headers=[("Retry-After", "1")],
            )
        except FileNotFoundError:
            os.close(fd)
            raise _unknown(identity)
        return Upload(self, repository, identity, fd)

    def recall(self, identity: str, size: int) -> _Hash | None:
        """The running hash of an upload; None if it has to be computed again."""
        with self._lock:
            known = self._hashes.pop(identity, None)
        if known and known[0] == size:
            return known[1]
        return hasher() if size == 0 else None

    def remember(self, identity: str, size: int, state: _Hash) -> None:
        with self._lock:
            self._hashes[identity] = (size, state)
            if len(self._hashes) > _REMEMBERED:
                self._hashes.popitem(last=False)


def abandoned(repository: Repository, age: float) -> list[str]:
    """Paths of uploads that nobody has written to for age seconds."""
    directory = os.path.join(repository.directory, "_uploads")
    try:
        entries = list(os.scandir(directory))
    except FileNotFoundError:
        return []
    limit = time.time() - age
    return [entry.path for entry in entries if entry.stat().st_mtime < limit]
