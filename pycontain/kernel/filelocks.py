"""flock(2) on what the host shares between containers, or holds apart within one.

A file of an image's layer is one file of the host for all who use it, and so is a device: a lock of the host's would
be everybody's. Of directories every open is an object of its own to the host. Locks on these are kept here; on files
of the container's own they are the host's.

A lock belongs to an open file description and ends with its last descriptor, which is closed without us. So a lock is
looked at again when somebody wants another: an open directory is known by its identity, and it is looked whether a
process still has it. A file's description holds one more lock, a record lock of its own (F_OFD_SETLK) on a byte far
behind the end, that means nothing: while it is there, so is the description.

Record locks (fcntl(2)) are the host's on whatever file. One of a file of an image can only be for reading, since who
opens it for writing gets a file of the container's own, and locks for reading do not exclude each other. A database
makes four such calls for each query: they would cost it more than the query does.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from pycontain.kernel.vfs.filesystem import fail
from pycontain.platforms.base import DEFERRED

if TYPE_CHECKING:
    from pycontain.kernel.kernel import Kernel
    from pycontain.kernel.task import Task

Key = tuple[int, int]  # device and inode number, as the container sees them
Identity = tuple[int, int]  # st_dev and st_ino of the host
FLOCK = struct.Struct("hhqqi4x")  # type, whence, start, length, pid
F_OFD_GETLK, F_OFD_SETLK = 36, 37
FIRST_TOKEN = 1 << 62  # no file is so long
MOST = 512  # locks of a container: each costs the kernel a descriptor
INTERVAL = 0.05  # seconds between looks whether a lock that somebody waits for has gone


class DirectoryLock:
    """A lock of an open directory. pids: where that may be open."""

    def __init__(self, request: Request, pids: Iterable[int]) -> None:
        self.exclusive = request.exclusive
        self.mirror = -1
        self._identity = request.identity
        self._known = request.known
        self._seen = request.place
        self._pids = pids

    def belongs_to(self, request: Request) -> bool:
        return request.identity == self._identity

    def alive(self) -> bool:
        if not self._known():
            return False
        if _is(*self._seen, self._identity):
            return True
        for pid in self._pids:
            try:
                names = os.listdir(f"/proc/{pid}/fd")
            except OSError:
                continue
            for name in names:
                if _is(pid, int(name), self._identity):
                    self._seen = pid, int(name)
                    return True
        return False

    def close(self) -> None:
        pass


class FileLock:
    """A lock of a description that has a token. mirror: where the container has got the file's bytes for itself
    meanwhile, a description of that file with the same lock, for those who use that; else -1."""

    def __init__(self, exclusive: bool, fd: int, token: int) -> None:
        """fd: a descriptor of the description; not kept."""
        self.exclusive = exclusive
        self.mirror = -1
        self._token = token
        self._probe = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            kind = fcntl.F_RDLCK if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE != os.O_WRONLY else fcntl.F_WRLCK
            fcntl.fcntl(fd, F_OFD_SETLK, FLOCK.pack(kind, os.SEEK_SET, token, 1, 0))
        except BaseException:
            os.close(self._probe)
            raise

    def _seen_by(self, fd: int) -> bool:
        answer = fcntl.fcntl(fd, F_OFD_GETLK, FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, self._token, 1, 0))
        return bool(FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)

    def belongs_to(self, request: Request) -> bool:
        """Only the owner does not see the token in its way."""
        return request.fd >= 0 and self._seen_by(self._probe) and not self._seen_by(request.fd)

    def alive(self) -> bool:
        return self._seen_by(self._probe)

    def give_up(self, fd: int) -> None:
        fcntl.fcntl(fd, F_OFD_SETLK, FLOCK.pack(fcntl.F_UNLCK, os.SEEK_SET, self._token, 1, 0))

    def close(self) -> None:
        os.close(self._probe)
        if self.mirror >= 0:
            os.close(self.mirror)


Lock = DirectoryLock | FileLock


class Request(NamedTuple):
    """Who wants a lock: an open directory, by its identity and a process with its descriptor, or a file's
    description, by a descriptor of ours. known: is the identity still this directory's?
    own: opens the file that the container has got for itself in the place of this one."""

    key: Key
    exclusive: bool
    identity: Identity
    place: tuple[int, int]
    known: Callable[[], bool]
    fd: int = -1
    own: Callable[[], int] | None = None


class FileLocks:
    """The locks of a container. pids: its processes."""

    def __init__(self, kernel: Kernel, pids: Iterable[int]) -> None:
        self._kernel = kernel
        self._pids = pids
        self._held: dict[Key, list[Lock]] = {}
        self._waiting: dict[Key, list[tuple[Task, Request]]] = {}
        self._tokens = FIRST_TOKEN
        self._looking = False

    def lock(self, task: Task, request: Request, wait: bool) -> Any:
        """Answer a flock; request.fd is closed when it is no longer needed. Raises EWOULDBLOCK, ENOLCK."""
        kept = False
        try:
            if self._try(request):
                return 0
            if not wait:
                fail(errno.EWOULDBLOCK)
            kept = True
        finally:
            if not kept and request.fd >= 0:
                os.close(request.fd)
        self._waiting.setdefault(request.key, []).append((task, request))
        self._kernel.waits.add(task, lambda: self._forget(task, request))
        self._look_later()
        return DEFERRED

    def unlock(self, request: Request) -> int:
        try:
            self._drop_own(request)
        finally:
            if request.fd >= 0:
                os.close(request.fd)
        self._wake(request.key)
        return 0

    def reflect(self, key: Key, own: Callable[[], int]) -> None:
        """Somebody is about to lock a file that the container has got for itself: those who have the image's open
        still have their locks."""
        for lock in self._alive(key):
            if lock.mirror < 0:
                self._mirror(lock, own)

    def close(self) -> None:
        for locks in self._held.values():
            for lock in locks:
                lock.close()
        self._held.clear()

    def _alive(self, key: Key) -> list[Lock]:
        found = self._held.get(key, [])
        for lock in [lock for lock in found if not lock.alive()]:
            self._drop(key, lock)
        return list(self._held.get(key, ()))

    def _drop(self, key: Key, lock: Lock) -> None:
        lock.close()
        self._held[key].remove(lock)
        if not self._held[key]:
            del self._held[key]

    def _drop_own(self, request: Request) -> None:
        for lock in list(self._held.get(request.key, ())):
            if lock.belongs_to(request):
                if isinstance(lock, FileLock):
                    lock.give_up(request.fd)
                self._drop(request.key, lock)

    def _try(self, request: Request) -> bool:
        """flock_lock_inode in the host's fs/locks.c: a lock of the other kind is lost first, whatever comes then."""
        key = request.key
        for lock in self._held.get(key, ()):
            if lock.exclusive == request.exclusive and lock.belongs_to(request):
                return True
        self._drop_own(request)
        for lock in list(self._held.get(key, ())):
            if lock.exclusive or request.exclusive:
                if lock.alive():
                    return False
                self._drop(key, lock)
        self._make_room()
        if request.fd < 0:
            new: Lock = DirectoryLock(request, self._pids)
        else:
            self._tokens += 1
            new = FileLock(request.exclusive, request.fd, self._tokens)
            if request.own is not None and not self._mirror(new, request.own):
                new.give_up(request.fd)
                new.close()
                return False
        self._held.setdefault(key, []).append(new)
        return True

    def _mirror(self, lock: Lock, own: Callable[[], int]) -> bool:
        """Hold the same lock on the container's own file; False where that is locked otherwise."""
        try:
            fd = own()
        except OSError:
            return True  # it has gone: nobody opens it any more
        try:
            fcntl.flock(fd, (fcntl.LOCK_EX if lock.exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            return False
        lock.mirror = fd
        self._look_later()
        return True

    def _make_room(self) -> None:
        if sum(map(len, self._held.values())) >= MOST:
            for key in list(self._held):
                self._alive(key)
            if sum(map(len, self._held.values())) >= MOST:
                fail(errno.ENOLCK)

    def _wake(self, key: Key) -> None:
        """Give what can be had to those who wait, in their order."""
        for task, request in list(self._waiting.get(key, ())):
            try:
                result = 0
                if not self._try(request):
                    continue
            except OSError as error:
                result = -(error.errno or errno.EIO)
            self._forget(task, request)
            self._kernel.waits.remove(task)
            self._kernel.platform.finish(task, result)

    def _forget(self, task: Task, request: Request) -> None:
        waiting = self._waiting[request.key]
        waiting.remove((task, request))
        if not waiting:
            del self._waiting[request.key]
        if request.fd >= 0:
            os.close(request.fd)

    def _look_later(self) -> None:
        if not self._looking:
            self._looking = True
            self._kernel.loop.later(INTERVAL, self._look)

    def _look(self) -> None:
        """For those who wait here, and for those who wait for a mirror, which the host does not tell us."""
        self._looking = False
        for key in [key for key, locks in self._held.items() if any(lock.mirror >= 0 for lock in locks)]:
            self._alive(key)
        for key in list(self._waiting):
            self._wake(key)
        if self._waiting or any(lock.mirror >= 0 for locks in self._held.values() for lock in locks):
            self._look_later()


def _is(pid: int, fd: int, identity: Identity) -> bool:
    try:
        info = os.stat(f"/proc/{pid}/fd/{fd}")
    except OSError:
        return False
    return (info.st_dev, info.st_ino) == identity
