"""System V shared memory, semaphores and message queues: the host's objects, under names of the container's.

A key is the container's; the object is a private one of the host (IPC_PRIVATE), made by the kernel for the identity
that programs run under. Its number goes to the program as it is, and a call on a number is let through only if the
object is the container's: the number is a scalar, so nothing can change between that look and the call.
What is left when a container ends is removed; what a killed kernel left, by the next one (see IpcRegister).
"""

from __future__ import annotations

import errno
import os
import uuid
from typing import TYPE_CHECKING, Any, NamedTuple

from pycontain.kernel import libc
from pycontain.kernel.abi import signed
from pycontain.kernel.task import Task
from pycontain.kernel.vfs.filesystem import fail
from pycontain.platforms.base import NATIVE
from pycontain.unionfs.inode import Inode

if TYPE_CHECKING:
    from pycontain.kernel.container import Container

IPC_PRIVATE, IPC_CREAT, IPC_EXCL, IPC_RMID, IPC_SET = 0, 0o1000, 0o2000, 0, 1
IPC_INFO_COMMANDS = (
    3,
    13,
    14,
    15,
    11,
    12,
    18,
    19,
    20,
)  # *_INFO, *_STAT by index: they look at all of the host's
SHM, SEM, MSG = "shm", "sem", "msg"
MQ = "mq"  # POSIX message queues, see mqueue.py; they have a name of ours instead of a number
MQ_PREFIX = "pycontain-"
SHM_HUGETLB = 0o4000
LIMIT = 512  # objects of one container; the host has 4096 shared memories for everybody (shmmni)


class Queue(NamedTuple):
    """A POSIX message queue. owner: an inode of no file system, which says who may open it."""

    host_name: str
    owner: Inode


class IpcRegister:
    """The container's objects: (kind, key) and (kind, number). The file names them for the kernel that comes after.

    queues: the POSIX ones, by the name that programs know.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self.by_key: dict[tuple[str, int], int] = {}
        self.owned: set[tuple[str, int]] = set()
        self.queues: dict[bytes, Queue] = {}

    def add(self, kind: str, key: int, number: int) -> None:
        self.owned.add((kind, number))
        if key != IPC_PRIVATE:
            self.by_key[kind, key] = number
        self._note(kind, str(number))

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

    def remove(self, kind: str, number: int) -> None:
        self.owned.discard((kind, number))
        for name in [name for name, value in self.by_key.items() if name[0] == kind and value == number]:
            del self.by_key[name]

    def close(self) -> None:
        """Remove everything."""
        for kind, number in self.owned:
            libc.ipc_remove(kind, number)
        for name in list(self.queues):
            self.drop_queue(name)
        self.owned.clear()
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


def _get(task: Task, kind: str, key: int, size: int, flags: int) -> int:
    container = task.process.container
    register = container.ipc
    key &= 0xFFFFFFFF
    number = register.by_key.get((kind, key)) if key != IPC_PRIVATE else None
    if number is not None:
        if flags & IPC_CREAT and flags & IPC_EXCL:
            fail(errno.EEXIST)
        return number
    if key != IPC_PRIVATE and not flags & IPC_CREAT:
        fail(errno.ENOENT)
    if len(register.owned) >= LIMIT:
        fail(errno.ENOSPC)
    number = libc.ipc_create(kind, size, 0o600 | flags & 0o777, container.kernel.host_uid)
    register.add(kind, key, number)
    return number


def sys_shmget(task: Task, a: tuple[int, ...]) -> int:
    if a[2] & SHM_HUGETLB:
        fail(errno.EPERM)
    return _get(task, SHM, a[0], a[1], a[2])


def sys_semget(task: Task, a: tuple[int, ...]) -> int:
    return _get(task, SEM, a[0], a[1], a[2])


def sys_msgget(task: Task, a: tuple[int, ...]) -> int:
    return _get(task, MSG, a[0], 0, a[1])


def _owned(container: Container, kind: str, number: int) -> None:
    if (kind, signed(number)) not in container.ipc.owned:
        fail(errno.EINVAL)


def sys_shmat(task: Task, a: tuple[int, ...]) -> Any:
    _owned(task.process.container, SHM, a[0])
    return NATIVE


def sys_semop(task: Task, a: tuple[int, ...]) -> Any:
    _owned(task.process.container, SEM, a[0])
    return NATIVE


sys_semtimedop = sys_semop


def sys_msgsnd(task: Task, a: tuple[int, ...]) -> Any:
    _owned(task.process.container, MSG, a[0])
    return NATIVE


sys_msgrcv = sys_msgsnd


def _control(task: Task, kind: str, number: int, command: int) -> Any:
    command = signed(command) & 0xFF
    if command in IPC_INFO_COMMANDS and not (kind == SEM and command in (11, 12, 13, 14, 15)):
        fail(errno.EINVAL)
    _owned(task.process.container, kind, number)
    if command == IPC_RMID:
        libc.ipc_remove(kind, signed(number))
        task.process.container.ipc.remove(kind, signed(number))
        return 0
    if command == IPC_SET:
        return 0  # owner and mode inside a container: every process of it may use the object
    return NATIVE


def sys_shmctl(task: Task, a: tuple[int, ...]) -> Any:
    return _control(task, SHM, a[0], a[1])


def sys_semctl(task: Task, a: tuple[int, ...]) -> Any:
    return _control(task, SEM, a[0], a[2])


def sys_msgctl(task: Task, a: tuple[int, ...]) -> Any:
    return _control(task, MSG, a[0], a[1])
