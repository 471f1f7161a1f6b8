"""What of the host's System V and POSIX message objects belongs to a container, and who inside may use it.

An object is a private one of the host (IPC_PRIVATE), made by the kernel for the identity that programs run under, so
the host lets every program have it. Key, owner and permissions are the container's and are looked at here.
What is left when a container ends is removed; what a killed kernel left, by the next one (see IpcRegister).
"""

from __future__ import annotations

import os
import struct
import uuid
from typing import NamedTuple

from pycontain.kernel import libc
from pycontain.kernel.credentials import CAP_IPC_OWNER, Credentials
from pycontain.unionfs.inode import Inode

IPC_PRIVATE = 0
SHM, SEM, MSG = "shm", "sem", "msg"
MQ = "mq"  # POSIX message queues, see calls/mqueue.py; they have a name of ours instead of a number
MQ_PREFIX = "pycontain-"
READ, WRITE = 0o444, 0o222  # as the host's ipcperms() is asked
SHM_DEST = 0o1000  # removed, there until the last process detaches it
PERMISSIONS = struct.Struct("<iIIIII")  # struct ipc64_perm: key, uid, gid, cuid, cgid, mode
SHM_SIZE_AT, SHM_CREATOR_AT, SHM_ATTACHED_AT = 48, 80, 88  # in struct shmid64_ds
# of processes, in the structures of x86-64's include/uapi/asm
PROCESSES_AT = {SHM: (80, 84), SEM: (), MSG: (96, 100)}
SIZE = {SHM: 112, SEM: 104, MSG: 120}


class Queue(NamedTuple):
    """A POSIX message queue. owner: an inode of no file system, which says who may open it."""

    host_name: str
    owner: Inode


class SystemObject:
    """index: its place among the container's of this kind. size: in bytes, or semaphores. creator: a process number
    as the container has it. removed: a shared memory that is there for those who have it attached."""

    __slots__ = ("cgid", "creator", "cuid", "gid", "index", "key", "kind", "mode", "number", "removed", "size", "uid")

    def __init__(
        self, kind: str, number: int, key: int, size: int, mode: int, who: Credentials, creator: int
    ) -> None:
        self.kind, self.number, self.key, self.size, self.mode = kind, number, key, size, mode
        self.uid, self.gid = self.cuid, self.cgid = who.euid, who.egid
        self.creator = creator
        self.index = 0
        self.removed = False

    def permits(self, who: Credentials, wanted: int) -> bool:
        """ipcperms() of the host's ipc/util.c; wanted as in the low bits of shmget's flags."""
        requested = wanted >> 6 | wanted >> 3 | wanted
        granted = self.mode
        if who.euid in (self.cuid, self.uid):
            granted >>= 6
        elif who.in_group(self.cgid) or who.in_group(self.gid):
            granted >>= 3
        return not requested & ~granted & 7 or who.has(CAP_IPC_OWNER)


class IpcRegister:
    """The container's objects, by kind and number. The file names them for the kernel that comes after.

    queues: the POSIX ones, by the name that programs know.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self.by_key: dict[tuple[str, int], SystemObject] = {}
        self.objects: dict[tuple[str, int], SystemObject] = {}
        self.queues: dict[bytes, Queue] = {}

    def add(self, made: SystemObject) -> None:
        taken = {one.index for one in self.of_kind(made.kind)}
        made.index = next(index for index in range(len(taken) + 1) if index not in taken)
        self.objects[made.kind, made.number] = made
        if made.key != IPC_PRIVATE:
            self.by_key[made.kind, made.key] = made
        self._note(made.kind, str(made.number))

    def of_kind(self, kind: str) -> list[SystemObject]:
        return [one for one in self.objects.values() if one.kind == kind]

    def find(self, kind: str, number: int) -> SystemObject | None:
        """The object of this number, if the container has it."""
        found = self.objects.get((kind, number))
        if found is None or not found.removed:
            return found
        return found if self.status(found) is not None else None

    def status(self, one: SystemObject) -> bytearray | None:
        """The host's shmid_ds, semid_ds or msqid_ds, with owner and processes as the container has them.
        None if the object has gone without us: a removed shared memory with its last user, say."""
        try:
            found = libc.ipc_stat(one.kind, one.number)
        except OSError:
            self.forget(one)
            return None
        if one.removed and (
            int.from_bytes(found[SHM_CREATOR_AT : SHM_CREATOR_AT + 4], "little") != os.getpid()
            or not int.from_bytes(found[SHM_ATTACHED_AT : SHM_ATTACHED_AT + 8], "little")
        ):
            self.forget(one)  # the number may be somebody else's already
            return None
        mode = PERMISSIONS.unpack_from(found)[5] & ~0o777 | one.mode
        PERMISSIONS.pack_into(found, 0, one.key, one.uid, one.gid, one.cuid, one.cgid, mode)
        return found

    def remove(self, one: SystemObject) -> None:
        """A shared memory that somebody has attached stays, without a key, until nobody has (shmctl(2))."""
        libc.ipc_remove(one.kind, one.number)
        if one.kind != SHM:
            self.forget(one)
            return
        self._drop_key(one)
        one.removed = True
        self.status(one)

    def forget(self, one: SystemObject) -> None:
        self._drop_key(one)
        self.objects.pop((one.kind, one.number), None)

    def _drop_key(self, one: SystemObject) -> None:
        if self.by_key.get((one.kind, one.key)) is one:
            del self.by_key[one.kind, one.key]
        one.key = IPC_PRIVATE

    def _note(self, kind: str, name: str) -> None:
        with open(self._path, "a") as file:
            file.write(f"{kind} {name} {_boot()}\n")

    def new_queue(self, name: bytes, owner: Inode) -> Queue:
        """The host's name is noted first, so that no queue outlives us whatever happens."""
        queue = self.queues[name] = Queue(MQ_PREFIX + uuid.uuid4().hex, owner)
        self._note(MQ, queue.host_name)
        return queue

    def drop_queue(self, name: bytes) -> None:
        libc.mq_unlink(self.queues.pop(name).host_name)

    def close(self) -> None:
        """Remove everything."""
        for one in self.objects.values():
            if not one.removed:
                libc.ipc_remove(one.kind, one.number)
        for name in list(self.queues):
            self.drop_queue(name)
        self.objects.clear()
        self.by_key.clear()
        if os.path.exists(self._path):
            os.unlink(self._path)


def _boot() -> str:
    """Which start of the host this is."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def remove_left_over(path: str) -> None:
    """Remove what a container of a killed kernel left. The numbers were its own: the host does not reuse one soon,
    but it counts anew when it starts, so those of an earlier start may be anybody's."""
    if not os.path.exists(path):
        return
    with open(path) as file:
        for line in file:
            kind, number, boot = [*line.split(), "", "", ""][:3]
            if kind in (SHM, SEM, MSG) and number.isdigit() and boot == _boot():
                libc.ipc_remove(kind, int(number))
            elif kind == MQ and number.startswith(MQ_PREFIX):
                libc.mq_unlink(number)
    os.unlink(path)
