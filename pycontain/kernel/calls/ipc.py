"""System V shared memory, semaphores and message queues: the host's objects, under names of the container's.

A key is the container's, and so is who may do what (kernel/ipc.py). An object's number goes to the program as it is,
and a call on a number is let through only if the object is the container's and the caller may use it: the number is
a scalar, so nothing can change between that look and the call.
"""

from __future__ import annotations

import errno
import struct
from typing import Any

from pycontain.kernel import libc
from pycontain.kernel.abi import signed
from pycontain.kernel.credentials import CAP_IPC_LOCK, CAP_SYS_ADMIN, CAP_SYS_RESOURCE
from pycontain.kernel.ipc import (
    IPC_PRIVATE,
    MSG,
    PERMISSIONS,
    PROCESSES_AT,
    READ,
    SEM,
    SHM,
    SIZE,
    WRITE,
    SystemObject,
)
from pycontain.kernel.task import Task
from pycontain.kernel.vfs.filesystem import fail
from pycontain.kernel.vfs.ipctext import MSG_STATUS, SHM_STATUS, resident
from pycontain.platforms.base import DEFERRED, NATIVE

IPC_CREAT, IPC_EXCL, IPC_NOWAIT = 0o1000, 0o2000, 0o4000
IPC_RMID, IPC_SET, IPC_STAT, IPC_INFO = 0, 1, 2, 3
SHM_LOCK, SHM_UNLOCK = 11, 12
GETPID, GETVAL, GETALL, GETNCNT, GETZCNT, SETVAL, SETALL = 11, 12, 13, 14, 15, 16, 17
# *_STAT by index, *_INFO, *_STAT_ANY, which asks for no permission
BY_INDEX, INFO, ANY = {SHM: 13, SEM: 18, MSG: 11}, {SHM: 14, SEM: 19, MSG: 12}, {SHM: 15, SEM: 20, MSG: 13}
SHM_RDONLY, SHM_EXEC, SHM_HUGETLB = 0o10000, 0o100000, 0o4000
LIMIT = 512  # objects of one container; the host has 4096 shared memories for everybody (shmmni)
HOST_MODE = 0o700  # the host asks for the right to execute where a program wants SHM_EXEC
INFO_SIZE = {SHM: 72, SEM: 40, MSG: 32}  # struct shminfo64, seminfo, msginfo
SHM_INFO = struct.Struct("<i4xQQQQQ")
QUEUE_BYTES_AT = 88  # msg_qbytes in struct msqid64_ds
OPERATION = struct.Struct("<Hhh")  # struct sembuf: number, operation, flags
SEMOPM = 500
INTERVAL = 0.02  # seconds between looks whether a semaphore has become zero


def _get(task: Task, kind: str, key: int, size: int, flags: int) -> int:
    """ipcget() of the host's ipc/util.c."""
    container = task.process.container
    register = container.ipc
    who = task.credentials
    key = signed(key)
    found = register.by_key.get((kind, key)) if key != IPC_PRIVATE else None
    if found is not None and register.status(found) is not None:
        if flags & IPC_CREAT and flags & IPC_EXCL:
            fail(errno.EEXIST)
        if size > found.size and kind != MSG:
            fail(errno.EINVAL)
        if not found.permits(who, flags & 0o777):
            fail(errno.EACCES)
        return found.number
    if key != IPC_PRIVATE and not flags & IPC_CREAT:
        fail(errno.ENOENT)
    if len(register.objects) >= LIMIT:
        fail(errno.ENOSPC)
    number = libc.ipc_create(kind, size, HOST_MODE, container.kernel.host_uid)
    for other in container.kernel.containers.values():
        stale = other.ipc.objects.get((kind, number))
        if stale is not None:
            other.ipc.forget(stale)  # the host removed it and has given its number away
    creator = container.inside(task.process.pid)
    register.add(SystemObject(kind, number, key, size, flags & 0o777, who, creator))
    return number


def sys_shmget(task: Task, a: tuple[int, ...]) -> int:
    if a[2] & SHM_HUGETLB:
        fail(errno.EPERM)
    return _get(task, SHM, a[0], a[1], a[2])


def sys_semget(task: Task, a: tuple[int, ...]) -> int:
    if signed(a[1]) < 0:
        fail(errno.EINVAL)
    return _get(task, SEM, a[0], signed(a[1]), a[2])


def sys_msgget(task: Task, a: tuple[int, ...]) -> int:
    return _get(task, MSG, a[0], 0, a[1])


def _find(task: Task, kind: str, number: int) -> SystemObject:
    found = task.process.container.ipc.find(kind, signed(number))
    if found is None:
        fail(errno.EINVAL)
    return found


def _need(task: Task, one: SystemObject, wanted: int) -> None:
    if not one.permits(task.credentials, wanted):
        fail(errno.EACCES)


def sys_shmat(task: Task, a: tuple[int, ...]) -> Any:
    wanted = READ if a[2] & SHM_RDONLY else READ | WRITE
    _need(task, _find(task, SHM, a[0]), wanted | (0o111 if a[2] & SHM_EXEC else 0))
    return NATIVE


def sys_semop(task: Task, a: tuple[int, ...]) -> Any:
    one = _find(task, SEM, a[0])
    if one.permits(task.credentials, WRITE):
        return NATIVE
    return _wait_for_zero(task, one, a)


sys_semtimedop = sys_semop


def _wait_for_zero(task: Task, one: SystemObject, a: tuple[int, ...]) -> Any:
    """Who may not change the semaphores may wait for them to be zero. What is in memory can change, so it is not the
    task's own call that does it."""
    count = a[2] & 0xFFFFFFFF
    if not 0 < count <= SEMOPM:
        fail(errno.EINVAL if not count else errno.E2BIG)
    operations = task.read(a[1], count * OPERATION.size)
    if max(index for index, _, _ in OPERATION.iter_unpack(operations)) >= one.size:
        fail(errno.EFBIG)
    if any(operation for _, operation, _ in OPERATION.iter_unpack(operations)):
        fail(errno.EACCES)
    _need(task, one, READ)
    if libc.semaphores_are_zero(one.number, operations):
        return 0
    if any(flags & IPC_NOWAIT for _, _, flags in OPERATION.iter_unpack(operations)):
        fail(errno.EAGAIN)
    kernel = task.process.container.kernel
    waiting = [True]

    def look() -> None:
        if not waiting:
            return
        try:
            done = libc.semaphores_are_zero(one.number, operations)
            result = 0
        except OSError as error:
            done, result = True, -(error.errno or errno.EIO)
        if done:
            kernel.waits.remove(task)
            kernel.platform.finish(task, result)
        else:
            kernel.loop.later(INTERVAL, look)

    kernel.waits.add(task, waiting.clear)
    kernel.loop.later(INTERVAL, look)
    return DEFERRED


def sys_msgsnd(task: Task, a: tuple[int, ...]) -> Any:
    _need(task, _find(task, MSG, a[0]), WRITE)
    return NATIVE


def sys_msgrcv(task: Task, a: tuple[int, ...]) -> Any:
    _need(task, _find(task, MSG, a[0]), READ)
    return NATIVE


def sys_shmctl(task: Task, a: tuple[int, ...]) -> Any:
    command = signed(a[1])
    if command not in (SHM_LOCK, SHM_UNLOCK):
        return _control(task, SHM, a[0], command, a[2])
    one, who = _find(task, SHM, a[0]), task.credentials
    if who.euid not in (one.uid, one.cuid) and not who.has(CAP_IPC_LOCK):
        fail(errno.EPERM)
    return NATIVE


def sys_semctl(task: Task, a: tuple[int, ...]) -> Any:
    command = signed(a[2])
    if command not in (GETPID, GETVAL, GETALL, GETNCNT, GETZCNT, SETVAL, SETALL):
        return _control(task, SEM, a[0], command, a[3])
    one = _find(task, SEM, a[0])
    _need(task, one, WRITE if command in (SETVAL, SETALL) else READ)
    if command != GETPID:
        return NATIVE
    return task.process.container.inside(libc.semaphore_user(one.number, signed(a[1])))


def sys_msgctl(task: Task, a: tuple[int, ...]) -> Any:
    return _control(task, MSG, a[0], signed(a[1]), a[2])


def _control(task: Task, kind: str, number: int, command: int, address: int) -> int:
    if signed(number) < 0:
        fail(errno.EINVAL)
    if command in (IPC_INFO, INFO[kind]):
        return _tell_figures(task, kind, command, address)
    if command in (IPC_STAT, BY_INDEX[kind], ANY[kind]):
        return _tell_status(task, kind, number, command, address)
    if command == IPC_SET:
        return _change(task, kind, number, task.read(address, SIZE[kind]))
    if command != IPC_RMID:
        fail(errno.EINVAL)
    task.process.container.ipc.remove(_of_owner(task, kind, number))
    return 0


def _of_owner(task: Task, kind: str, number: int) -> SystemObject:
    one, who = _find(task, kind, number), task.credentials
    if who.euid not in (one.uid, one.cuid) and not who.has(CAP_SYS_ADMIN):
        fail(errno.EPERM)
    return one


def _change(task: Task, kind: str, number: int, wanted: bytes) -> int:
    """IPC_SET: owner and permissions, and how much a queue may hold. The host's owner stays; its times change."""
    one = _of_owner(task, kind, number)
    _, uid, gid, _, _, mode = PERMISSIONS.unpack_from(wanted)
    if 0xFFFFFFFF in (uid, gid):
        fail(errno.EINVAL)
    settings = libc.ipc_stat(kind, one.number)
    if kind == MSG:
        nbytes = wanted[QUEUE_BYTES_AT : QUEUE_BYTES_AT + 8]
        (most,) = struct.unpack_from("<12xi", libc.ipc_info(MSG, IPC_INFO, INFO_SIZE[MSG]))  # msgmnb
        if int.from_bytes(nbytes, "little") > most and not task.credentials.has(CAP_SYS_RESOURCE):
            fail(errno.EPERM)
        settings[QUEUE_BYTES_AT : QUEUE_BYTES_AT + 8] = nbytes
    libc.ipc_set(kind, one.number, settings)
    one.uid, one.gid, one.mode = uid, gid, mode & 0o777
    return 0


def _tell_status(task: Task, kind: str, number: int, command: int, address: int) -> int:
    container = task.process.container
    if command == IPC_STAT:
        one = _find(task, kind, number)
    else:
        found = next((o for o in container.ipc.of_kind(kind) if o.index == signed(number)), None)
        if found is None:
            fail(errno.EINVAL)
        one = found
    if command != ANY[kind]:
        _need(task, one, READ)
    status = container.ipc.status(one)
    if status is None:
        fail(errno.EINVAL)
    for place in PROCESSES_AT[kind]:
        (pid,) = struct.unpack_from("<i", status, place)
        struct.pack_into("<i", status, place, container.inside(pid))
    if kind == SHM:
        struct.pack_into("<i", status, PROCESSES_AT[SHM][0], one.creator)
    task.write(address, bytes(status))
    return 0 if command == IPC_STAT else one.number


def _tell_figures(task: Task, kind: str, command: int, address: int) -> int:
    """Limits are the host's, what there is of objects is the container's. Returns the highest index."""
    container = task.process.container
    every = [(one, status) for one in container.ipc.of_kind(kind) if (status := container.ipc.status(one))]
    if kind == SHM and command == INFO[SHM]:
        pages = sum(SHM_STATUS.unpack_from(status)[0] + 4095 >> 12 for _, status in every)
        sizes = resident(container).values()
        rss, swap = (sum(part) >> 12 for part in zip(*sizes, strict=True)) if sizes else (0, 0)
        text = bytearray(SHM_INFO.size)
        SHM_INFO.pack_into(text, 0, len(every), pages, rss, swap, 0, 0)
    else:
        text = libc.ipc_info(kind, command, INFO_SIZE[kind])
        if kind == SEM and command == INFO[SEM]:
            struct.pack_into("<28xi4xi", text, 0, len(every), sum(one.size for one, _ in every))
        elif kind == MSG and command == INFO[MSG]:
            queues = [MSG_STATUS.unpack_from(status) for _, status in every]
            struct.pack_into("<ii", text, 0, len(queues), sum(queue[4] for queue in queues))
            struct.pack_into("<i", text, 24, sum(queue[3] for queue in queues))
    task.write(address, bytes(text))
    return max((one.index for one, _ in every), default=0)
