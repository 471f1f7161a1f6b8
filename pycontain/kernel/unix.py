"""What a container's unix sockets are called. The host knows them by other names; see calls/socket.py."""

from __future__ import annotations

import errno
import socket
from typing import NamedTuple

from pycontain.kernel.credentials import OVERFLOW_ID
from pycontain.kernel.vfs.filesystem import fail
from pycontain.kernel.vfs.proctext import host_text

FIRST_COLLECTION = 1024
MOST = 1 << 20  # sockets of one container

Key = tuple[bytes, int, int]  # an abstract name, or (b"", device, inode) of the host's socket file


class Credentials(NamedTuple):
    """Who connected or listens, as SO_PEERCRED tells it: host pid, uid and gid inside."""

    pid: int
    uid: int
    gid: int


STRANGER = Credentials(0, OVERFLOW_ID, OVERFLOW_ID)  # outside the container, or gone


class Name(NamedTuple):
    """A socket. bound, peer: sun_path as the program gave it, b"" for a peer without a name; None: not bound, not
    connected. key: where others find it, if it is bound. options: what was set at level SOL_SOCKET."""

    kind: int
    who: Credentials
    bound: bytes | None = None
    peer: bytes | None = None
    key: Key | None = None
    other: Credentials | None = None  # of the one who listened, or who made the pair
    listening: bool = False
    options: tuple[tuple[int, bytes], ...] = ()


class UnixSockets:
    """All unix sockets that the kernel made for a container, by the host's inode number of the socket.

    None is forgotten while it lives: the host lists every unix socket of its network, also those in flight.
    """

    def __init__(self) -> None:
        self._names: dict[int, Name] = {}
        self._bound: dict[Key, int] = {}
        self._limit = FIRST_COLLECTION
        self.datagrams = False  # has there been one?

    def find(self, ino: int) -> Name | None:
        return self._names.get(ino)

    def add(self, ino: int, name: Name) -> None:
        """Raises ENFILE if the container has too many."""
        if len(self._names) >= self._limit:
            self._collect()
        self._names[ino] = name
        self.datagrams = self.datagrams or name.kind == socket.SOCK_DGRAM
        if name.key is not None:
            self._bound[name.key] = ino

    def listens(self, key: Key) -> bool:
        """False for a socket of the container that is bound here and does not listen."""
        name = self._names.get(self._bound.get(key, 0))
        return name is None or name.key != key or name.listening

    def listener(self, key: Key) -> Name | None:
        """Who listens there; None if it is not the container's socket."""
        return self._names.get(self._bound.get(key, 0))

    def name_of(self, key: Key | None) -> bytes | None:
        """What the container calls the socket that is bound there."""
        name = None if key is None else self.listener(key)
        return None if name is None else name.bound

    def inside(self) -> dict[int, bytes | None]:
        """The addresses of all, by inode number, for /proc/net/unix."""
        return {ino: name.bound for ino, name in self._names.items()}

    def _collect(self) -> None:
        alive = {
            int(fields[6])
            for line in host_text("net/unix").splitlines()[1:]
            if len(fields := line.split()) > 6
        }
        if alive:  # else the host does not tell
            self._names = {ino: name for ino, name in self._names.items() if ino in alive}
            self._bound = {key: ino for key, ino in self._bound.items() if ino in self._names}
        if len(self._names) >= MOST:
            fail(errno.ENFILE)
        self._limit = max(FIRST_COLLECTION, 2 * len(self._names))
