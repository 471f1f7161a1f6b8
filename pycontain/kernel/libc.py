"""Calls of the host that the kernel makes and Python's standard library lacks."""

from __future__ import annotations

import ctypes
import os
import struct
import time
from collections.abc import Iterable

_libc = ctypes.CDLL(None, use_errno=True)
_libc.tee.restype = ctypes.c_ssize_t
SPLICE_F_NONBLOCK = 2
SYS_IOPRIO_SET, SYS_IOPRIO_GET, IOPRIO_WHO_PROCESS = 251, 252, 1  # x86-64
PR_SET_CHILD_SUBREAPER, PR_SET_NAME = 36, 15


def _check(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def tee(source: int, target: int) -> int:
    """Duplicate one byte between pipes without consuming it (tee(2)); BlockingIOError where there is none yet."""
    return _check(_libc.tee(source, target, ctypes.c_size_t(1), SPLICE_F_NONBLOCK))


def prctl(option: int, value: int) -> None:
    _check(_libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0))


def ioprio_get(pid: int) -> int:
    """A process's I/O class and priority (ioprio_set(2))."""
    return _check(_libc.syscall(ctypes.c_long(SYS_IOPRIO_GET), IOPRIO_WHO_PROCESS, pid))


def ioprio_set(pid: int, value: int) -> None:
    _check(_libc.syscall(ctypes.c_long(SYS_IOPRIO_SET), IOPRIO_WHO_PROCESS, pid, value))


def signalfd(signals: Iterable[int]) -> int:
    """A descriptor that reports these signals, which must be blocked (signalfd(2))."""
    mask = sum(1 << (number - 1) for number in signals)
    buffer = ctypes.create_string_buffer(struct.pack("<Q", mask) + bytes(120))  # sizeof(sigset_t) is 128
    return _check(_libc.signalfd(-1, buffer, os.O_CLOEXEC | os.O_NONBLOCK))


TFD_NONBLOCK, TFD_CLOEXEC, TFD_TIMER_ABSTIME = os.O_NONBLOCK, os.O_CLOEXEC, 1


def timerfd() -> int:
    """A timer as a descriptor, by the clock of time.monotonic()."""
    return _check(_libc.timerfd_create(time.CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC))


def timerfd_settime(fd: int, when: float) -> None:
    """It becomes readable at that time, or at once if that has passed; what it was set to before is forgotten."""
    seconds, fraction = divmod(max(when, 0), 1)
    value = struct.pack("<qqqq", 0, 0, int(seconds), max(int(fraction * 1e9), 1))  # struct itimerspec
    _check(_libc.timerfd_settime(fd, TFD_TIMER_ABSTIME, value, None))


IPC_RMID, IPC_SET, IPC_STAT = 0, 1, 2
IPC_PERM_UID = 4  # offset of uid in struct ipc_perm, with which shmid_ds, semid_ds and msqid_ds begin
IPC_DS = 128  # bytes that hold any of them
SEM_GETPID, SEM_NOWAIT = 11, 0o4000


def ipc_create(kind: str, size: int, mode: int, uid: int | None) -> int:
    """A new private System V object: kind shm (size in bytes), sem (size semaphores), msg. uid: its owner."""
    if kind == "shm":
        number = _check(_libc.shmget(0, ctypes.c_size_t(size), mode | 0o1000))
    elif kind == "sem":
        number = _check(_libc.semget(0, ctypes.c_int(size), mode | 0o1000))
    else:
        number = _check(_libc.msgget(0, mode | 0o1000))
    if uid is not None:
        found = ipc_stat(kind, number)
        struct.pack_into("<II", found, IPC_PERM_UID, uid, uid)
        ipc_set(kind, number, found)
    return number


def ipc_remove(kind: str, number: int) -> None:
    """Remove a System V object; one that has gone already is no error."""
    _ipc_control(kind, number, IPC_RMID, None)


def ipc_stat(kind: str, number: int) -> bytearray:
    """Its struct shmid_ds, semid_ds or msqid_ds."""
    buffer = ctypes.create_string_buffer(IPC_DS)
    _check(_ipc_control(kind, number, IPC_STAT, buffer))
    return bytearray(buffer.raw[: {"shm": 112, "sem": 104, "msg": 120}[kind]])


def ipc_set(kind: str, number: int, settings: bytes | bytearray) -> None:
    _check(_ipc_control(kind, number, IPC_SET, ctypes.create_string_buffer(bytes(settings), IPC_DS)))


def ipc_info(kind: str, command: int, size: int) -> bytearray:
    """What a command tells of all objects of a kind (IPC_INFO and the like), so many bytes of it."""
    buffer = ctypes.create_string_buffer(IPC_DS)
    _check(_ipc_control(kind, 0, command, buffer))
    return bytearray(buffer.raw[:size])


def semaphore_user(number: int, index: int) -> int:
    """The process that used a semaphore last."""
    return _check(_libc.semctl(number, index, SEM_GETPID))


def semaphores_are_zero(number: int, operations: bytes) -> bool:
    """Are all these zero? operations: an array of struct sembuf, each of which waits for that."""
    buffer = ctypes.create_string_buffer(operations, len(operations))
    for at in range(0, len(operations), 6):
        index, operation, flags = struct.unpack_from("<Hhh", operations, at)
        struct.pack_into("<Hhh", buffer, at, index, operation, flags | SEM_NOWAIT)
    try:
        _check(_libc.semop(number, buffer, ctypes.c_size_t(len(operations) // 6)))
    except BlockingIOError:
        return False
    return True


def _ipc_control(kind: str, number: int, command: int, buffer: ctypes.Array[ctypes.c_char] | None) -> int:
    pointer = ctypes.c_void_p(0 if buffer is None else ctypes.addressof(buffer))
    if kind == "shm":
        return int(_libc.shmctl(number, command, pointer))
    if kind == "sem":
        return int(_libc.semctl(number, 0, command, pointer))
    return int(_libc.msgctl(number, command, pointer))


# before glibc 2.34 these were in a library of their own
_librt = _libc if hasattr(_libc, "mq_open") else ctypes.CDLL("librt.so.1", use_errno=True)


def mq_open(name: str, flags: int, attributes: bytes | None) -> int:
    """A descriptor of a POSIX message queue (mq_open(3)); name without a slash, attributes: struct mq_attr."""
    mode = ctypes.c_uint(0o600)
    return _check(_librt.mq_open(b"/" + name.encode(), flags, mode, attributes))


def mq_unlink(name: str) -> None:
    """Remove a queue's name; one that has gone already is no error."""
    _librt.mq_unlink(b"/" + name.encode())


F_SETPIPE_SZ, FIONREAD = 1031, 0x541B


def inotify_init() -> int:
    return _check(_libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK))


def inotify_add_watch(fd: int, path: str, mask: int) -> int:
    return _check(_libc.inotify_add_watch(fd, os.fsencode(path), ctypes.c_uint32(mask)))


def set_pipe_size(fd: int, size: int) -> None:
    """Make a pipe larger; where the host's limit is lower it stays as it is."""
    _libc.fcntl(fd, F_SETPIPE_SZ, ctypes.c_int(size))


def readable_bytes(fd: int) -> int:
    """How many bytes a pipe holds, asked at either end."""
    value = ctypes.c_int()
    _check(_libc.ioctl(fd, ctypes.c_ulong(FIONREAD), ctypes.byref(value)))
    return value.value


def bind(fd: int, address: bytes) -> None:
    """bind(2) with a struct sockaddr as it is."""
    _check(_libc.bind(fd, address, len(address)))
