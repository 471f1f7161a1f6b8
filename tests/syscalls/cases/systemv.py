"""System V shared memory, semaphores and message queues."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import struct
import sys
import time
from collections.abc import Callable

from probe import ALICE, BOB, Handled, as_user, case, child, get, name_of, outcome, spawn, tell, until, waited

libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p
PRIVATE, CREATE, EXCLUSIVE, NOWAIT = 0, 0o1000, 0o2000, 0o4000
RMID, SET, STAT, INFO = 0, 1, 2, 3
SHM_LOCK, SHM_UNLOCK, SHM_STAT, SHM_INFO, SHM_STAT_ANY = 11, 12, 13, 14, 15
GETPID, GETVAL, GETALL, GETNCNT, GETZCNT, SETVAL, SETALL, SEM_STAT, SEM_INFO, SEM_STAT_ANY = range(11, 21)
MSG_STAT, MSG_INFO, MSG_STAT_ANY = 11, 12, 13
SHM_RDONLY, SHM_EXEC = 0o10000, 0o100000
KEY = 0x1234


def check(result: int | None) -> int:
    if result in (-1, ctypes.c_size_t(-1).value):
        raise OSError(ctypes.get_errno(), "")
    return result or 0


def shmget(key: int, size: int, flags: int = 0) -> int:
    return check(libc.shmget(key, ctypes.c_size_t(size), flags))


def semget(key: int, count: int, flags: int = 0) -> int:
    return check(libc.semget(key, count, flags))


def msgget(key: int, flags: int = 0) -> int:
    return check(libc.msgget(key, flags))


def shmat(number: int, flags: int = 0) -> int:
    return check(libc.shmat(number, None, flags))


def shmdt(address: int) -> int:
    return check(libc.shmdt(ctypes.c_void_p(address)))


def shmctl(number: int, command: int, buffer: object = None) -> int:
    return check(libc.shmctl(number, command, buffer))


def semctl(number: int, index: int, command: int, argument: object = None) -> int:
    return check(libc.semctl(number, index, command, argument))


def msgctl(number: int, command: int, buffer: object = None) -> int:
    return check(libc.msgctl(number, command, buffer))


def semop(number: int, *operations: tuple[int, int, int]) -> int:
    text = b"".join(struct.pack("<Hhh", *operation) for operation in operations)
    return check(libc.semop(number, text, ctypes.c_size_t(len(operations))))


def send(number: int, data: bytes, kind: int = 1, flags: int = 0) -> int:
    return check(libc.msgsnd(number, struct.pack("<q", kind) + data, ctypes.c_size_t(len(data)), flags))


def receive(number: int, kind: int = 0, flags: int = 0) -> bytes:
    buffer = ctypes.create_string_buffer(264)
    size = check(libc.msgrcv(number, buffer, ctypes.c_size_t(256), ctypes.c_long(kind), flags))
    return buffer.raw[8 : 8 + size]


Control = Callable[[int, object], int]


def status(control: Control, command: int = STAT) -> bytes:
    buffer = ctypes.create_string_buffer(128)
    control(command, buffer)
    return buffer.raw


def owners(control: Control, command: int = STAT) -> str:
    key, uid, gid, cuid, cgid, mode = struct.unpack_from("<iIIIII", status(control, command))
    return f"key {key:#x} owner {uid}:{gid} creator {cuid}:{cgid} mode {mode:o}"


def change(control: Control, uid: int, gid: int, mode: int) -> None:
    buffer = ctypes.create_string_buffer(status(control, STAT), 128)
    struct.pack_into("<II", buffer, 4, uid & 0xFFFFFFFF, gid)
    struct.pack_into("<I", buffer, 20, mode)
    control(SET, buffer)


def objects() -> list[tuple[str, int, Control]]:
    """One of each kind, of mode 640."""
    shm, sem, msg = shmget(KEY, 5000, CREATE | 0o640), semget(KEY, 3, CREATE | 0o640), msgget(KEY, CREATE | 0o640)
    return [
        ("shm", shm, lambda command, buffer: shmctl(shm, command, buffer)),
        ("sem", sem, lambda command, buffer: semctl(sem, 0, command, buffer)),
        ("msg", msg, lambda command, buffer: msgctl(msg, command, buffer)),
    ]


def clean() -> None:
    """Of what earlier cases have left."""
    buffer = ctypes.create_string_buffer(128)
    for most, one, control in (
        (shmctl(0, SHM_INFO, buffer), SHM_STAT_ANY, shmctl),
        (semctl(0, 0, SEM_INFO, buffer), SEM_STAT_ANY, lambda number, *rest: semctl(number, 0, *rest)),
        (msgctl(0, MSG_INFO, buffer), MSG_STAT_ANY, msgctl),
    ):
        for index in range(most + 1):
            number = outcome(control, index, one, buffer)
            if isinstance(number, int):
                control(number, RMID, None)


def remove(made: list[tuple[str, int, Control]]) -> None:
    for kind, _, control in made:
        tell(f"remove {kind}", control, RMID, None)


@case
def keys() -> None:
    made = objects()
    for kind, number, again in (
        ("shm", made[0][1], lambda key, flags: shmget(key, 100, flags)),
        ("sem", made[1][1], lambda key, flags: semget(key, 1, flags)),
        ("msg", made[2][1], lambda key, flags: msgget(key, flags)),
    ):
        print(kind)
        tell("the same", lambda: again(KEY, 0) == number)  # noqa: B023
        tell("create", lambda: again(KEY, CREATE | 0o600) == number)  # noqa: B023
        tell("exclusive", again, KEY, CREATE | EXCLUSIVE | 0o600)
        tell("exclusive alone", lambda: again(KEY, EXCLUSIVE) == number)  # noqa: B023
        tell("another key", again, KEY + 1, 0)
        tell("more than was granted", lambda: again(KEY, 0o777) == number)  # noqa: B023
        tell("private ones differ", lambda: again(PRIVATE, 0o600) != again(PRIVATE, 0o600))  # noqa: B023
    tell("larger", shmget, KEY, 5001)
    tell("as large", lambda: shmget(KEY, 5000) == made[0][1])
    tell("more semaphores", semget, KEY, 4)
    tell("fewer than none", semget, KEY, -1)
    tell("no size", shmget, KEY + 1, 0, CREATE)
    tell("no semaphore", semget, KEY + 1, 0, CREATE)
    tell("none of an array that is there", lambda: semget(KEY, 0) == made[1][1])
    tell("too many semaphores", semget, KEY + 1, 1 << 20, CREATE)
    remove(made)
    tell("after removal", shmget, KEY, 100)


@case
def status_of_objects() -> None:
    made = objects()
    for kind, number, control in made:
        print(kind, owners(control))
        tell("no room", control, STAT, ctypes.c_void_p(8))
        tell("unknown command", control, 77, None)
        assert number >= 0
    shm = status(made[0][2])
    print(struct.unpack_from("<Q", shm, 48)[0], struct.unpack_from("<i", shm, 80)[0] == os.getpid(), shm[84:96])
    print(struct.unpack_from("<Q", status(made[1][2]), 80)[0])
    print(struct.unpack_from("<QQ", status(made[2][2]), 72))
    for label, control in (("-1", lambda c, b: shmctl(-1, c, b)), ("unknown", lambda c, b: msgctl(0x7FFFFFF, c, b))):
        for command in (STAT, RMID):
            tell(f"{label} {command}", control, command, ctypes.create_string_buffer(128))
    remove(made)


@case
def permissions() -> None:
    made = objects()
    (_, shm, _), (_, sem, _), (_, msg, _) = made
    send(msg, b"one")

    def other() -> None:
        tell("get", lambda: shmget(KEY, 1, 0) == shm)
        tell("get to read", lambda: shmget(KEY, 1, 0o444) == shm)
        tell("get to write", lambda: semget(KEY, 1, 0o222) == sem)
        tell("create", lambda: msgget(KEY, CREATE | 0o666) == msg)
        tell("attach", lambda: shmat(shm) > 0)
        tell("attach to read", lambda: shmat(shm, SHM_RDONLY) > 0)
        tell("attach to execute", lambda: shmat(shm, SHM_RDONLY | SHM_EXEC) > 0)
        tell("raise", semop, sem, (0, 1, 0))
        tell("wait for zero", semop, sem, (0, 0, NOWAIT))
        tell("value", semctl, sem, 0, GETVAL)
        tell("set", semctl, sem, 0, SETVAL, 1)
        tell("send", send, msg, b"two")
        tell("receive", receive, msg, 0, NOWAIT)
        tell("lock", shmctl, shm, SHM_LOCK)
        for kind, _, control in made:
            tell(f"status of {kind}", owners, control)
            tell(f"change {kind}", change, control, os.getuid(), os.getgid(), 0o777)
            tell(f"remove {kind}", control, RMID, None)

    print("nobody", flush=True)
    as_user(ALICE, other)
    print("of the group", flush=True)
    as_user(ALICE, other, groups=[0])
    print("root", flush=True)
    child(other)
    tell("after removal", shmat, shm)


@case
def given_away() -> None:
    made = objects()
    for _, _, control in made:
        change(control, ALICE, BOB, 0o1777)
        print(owners(control))
        tell("nobody", change, control, -1, 0, 0)
    (_, shm, _), (_, sem, _), (_, msg, _) = made

    def owner() -> None:
        tell("attach", lambda: shmat(shm) > 0)
        tell("raise", semop, sem, (0, 1, 0))
        tell("send", send, msg, b"two")
        for kind, _, control in made:
            tell(f"change {kind}", change, control, BOB, BOB, 0o400)

    as_user(ALICE, owner)

    def reader() -> None:
        tell("attach", lambda: shmat(shm) > 0)
        tell("attach to read", lambda: shmat(shm, SHM_RDONLY) > 0)
        tell("value", semctl, sem, 0, GETVAL)
        tell("receive", receive, msg, 0, NOWAIT)
        tell("send", send, msg, b"no")
        tell("lower", semop, sem, (0, -1, 0))

    as_user(BOB, reader)
    as_user(ALICE, reader)
    remove(made)


@case
def root_without_the_capability() -> None:
    """CAP_IPC_OWNER is none of a container's: root is stopped by the permissions of others' objects."""
    done = as_user(ALICE, lambda: (shmget(KEY, 100, CREATE | 0o600), msgget(KEY, CREATE | 0o600), 0)[2])
    print(done)
    tell("get", lambda: shmget(KEY, 100, 0o400) > 0)
    number = shmget(KEY, 100, 0)
    tell("attach", lambda: shmat(number) > 0)
    tell("status", shmctl, number, STAT, ctypes.create_string_buffer(128))
    tell("remove", shmctl, number, RMID)
    tell("send", send, msgget(KEY), b"x")
    as_user(ALICE, lambda: (tell("its own", shmctl, number, RMID), tell("its own", msgctl, msgget(KEY), RMID), 0)[2])


@case
def removed_but_attached() -> None:
    """As X clients do it: removed at once, used until the last process has detached it."""
    clean()
    number = shmget(KEY, 4096, CREATE | 0o600)
    address = shmat(number)
    ctypes.memmove(address, b"shared", 6)
    tell("remove", shmctl, number, RMID)
    print(owners(lambda command, buffer: shmctl(number, command, buffer)))
    tell("by its key", shmget, KEY, 4096)
    print(re.sub(r" +", " ", get("/proc/sysvipc/shm").decode().splitlines()[1]).split()[2:4])

    def later() -> None:
        again = shmat(number)
        print(ctypes.string_at(again, 6), status(lambda command, buffer: shmctl(number, command, buffer))[88])

    child(later)
    tell("twice", shmctl, number, RMID)
    shmdt(address)
    tell("gone", shmctl, number, STAT, ctypes.create_string_buffer(128))
    tell("attach", shmat, number)
    print(len(get("/proc/sysvipc/shm").splitlines()))


@case
def semaphores() -> None:
    number = semget(PRIVATE, 3, 0o600)
    values = ctypes.create_string_buffer(struct.pack("<3H", 5, 0, 7))
    tell("set all", semctl, number, 0, SETALL, values)
    tell("take", semop, number, (0, -2, 0), (2, -7, 0))
    print([semctl(number, index, GETVAL) for index in range(3)])
    tell("not now", semop, number, (1, -1, NOWAIT))
    tell("not zero", semop, number, (0, 0, NOWAIT))
    tell("zero", semop, number, (1, 0, NOWAIT))
    tell("no such", semop, number, (3, 1, 0))
    tell("set", semctl, number, 1, SETVAL, 40000)
    tell("no such", semctl, number, 9, GETVAL)
    print(semctl(number, 0, GETPID) == os.getpid())
    pid = spawn(lambda: (semop(number, (1, -1, 0)), semop(number, (0, 1, 0o10000)), 0)[2])  # SEM_UNDO
    print(until(lambda: semctl(number, 1, GETNCNT) == 1))
    semop(number, (1, 1, 0))
    print(waited(pid), semctl(number, 0, GETVAL), semctl(number, 1, GETPID) == pid)
    pid = spawn(lambda: name_of_failure(lambda: semop(number, (1, -1, 0))))
    print(until(lambda: semctl(number, 1, GETNCNT) == 1))
    semctl(number, 0, RMID)
    waited(pid)


def name_of_failure(function: Callable[[], object]) -> None:
    tell("meanwhile", function)


@case
def waiting_for_zero() -> None:
    """Who may only read semaphores may wait for them to be zero."""
    number = semget(KEY, 2, CREATE | EXCLUSIVE | 0o644)
    semctl(number, 0, SETVAL, 1)

    def reader() -> None:
        tell("not now", semop, number, (0, 0, NOWAIT))
        tell("zero", semop, number, (1, 0, 0))
        tell("raise", semop, number, (0, 1, 0))
        tell("none", lambda: check(libc.semop(number, b"", ctypes.c_size_t(0))))
        tell("no such", semop, number, (5, 0, 0))
        tell("nowhere", lambda: check(libc.semop(number, ctypes.c_void_p(8), ctypes.c_size_t(1))))
        seen = Handled(signal.SIGALRM)
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        tell("interrupted", lambda: interrupted(number))
        print(seen.count)
        tell("in the end", semop, number, (0, 0, 0))

    pid = spawn(as_user, ALICE, reader)
    time.sleep(0.4)
    semctl(number, 0, SETVAL, 0)
    print(waited(pid))
    semctl(number, 0, RMID)


def interrupted(number: int) -> str:
    result = libc.semop(number, struct.pack("<Hhh", 0, 0, 0), ctypes.c_size_t(1))
    return f"{result} {name_of(ctypes.get_errno())}"


@case
def messages() -> None:
    number = msgget(PRIVATE, 0o600)
    send(number, b"first", 3)
    send(number, b"second", 2)
    send(number, b"", 9)
    text = status(lambda command, buffer: msgctl(number, command, buffer))
    print(struct.unpack_from("<QQ", text, 72), struct.unpack_from("<i", text, 96)[0] == os.getpid(), text[100:104])
    print(receive(number, -5), receive(number, 9), receive(number))
    tell("empty", receive, number, 0, NOWAIT)
    tell("bad kind", send, number, b"x", 0)
    pid = spawn(lambda: (time.sleep(0.05), send(number, b"late"), 0)[2])
    print(receive(number), waited(pid))
    pid = spawn(lambda: (tell("removed", receive, number), 0)[1])
    until(lambda: get(f"/proc/{pid}/stat").split(b")")[1].split()[0] == b"S")
    time.sleep(0.05)
    msgctl(number, RMID)
    waited(pid)


@case
def queue_limits() -> None:
    number = msgget(PRIVATE, 0o600)

    def limit(value: int) -> None:
        buffer = ctypes.create_string_buffer(status(lambda c, b: msgctl(number, c, b)), 128)
        struct.pack_into("<Q", buffer, 88, value)
        msgctl(number, SET, buffer)

    tell("less", limit, 10)
    send(number, b"x" * 8)
    tell("full", send, number, b"yyy", 1, NOWAIT)
    tell("more than there may be", limit, 1 << 30)
    tell("remove", msgctl, number, RMID)


@case
def figures() -> None:
    """What ipcs(1) asks for."""
    clean()
    buffer = ctypes.create_string_buffer(128)
    made = objects()
    send(made[2][1], b"four")
    other = shmget(PRIVATE, 1, 0o600)
    ctypes.memset(shmat(made[0][1]), 1, 5000)
    most = shmctl(0, SHM_INFO, buffer), semctl(0, 0, SEM_INFO, buffer), msgctl(0, MSG_INFO, buffer)
    shmctl(0, SHM_INFO, buffer)
    print(struct.unpack_from("<i4xQQQ", buffer))
    semctl(0, 0, SEM_INFO, buffer)
    print(struct.unpack_from("<i4xi", buffer, 28))
    msgctl(0, MSG_INFO, buffer)
    print(struct.unpack_from("<ii16xi", buffer))
    for kind, figure, size in (
        ("shm", lambda: shmctl(0, INFO, buffer), "<5Q"),
        ("sem", lambda: semctl(0, 0, INFO, buffer), "<10i"),
        ("msg", lambda: msgctl(0, INFO, buffer), "<7iH"),
    ):
        print(kind, figure() in most, struct.unpack_from(size, buffer))
    tell("no such", shmctl, most[0] + 1, SHM_STAT, buffer)

    mine = {number for _, number, _ in made} | {other}

    def found(command: int, control: Callable[..., int], most: int) -> object:
        numbers = [outcome(control, index, command, buffer) for index in range(most + 1)]
        return [number if isinstance(number, str) else number in mine for number in numbers if number != "EINVAL"]

    def look() -> None:
        print(found(SHM_STAT, shmctl, most[0]), found(SHM_STAT_ANY, shmctl, most[0]))
        print(found(SEM_STAT, lambda number, *rest: semctl(number, 0, *rest), most[1]))
        print(found(SEM_STAT_ANY, lambda number, *rest: semctl(number, 0, *rest), most[1]))
        print(found(MSG_STAT, msgctl, most[2]), found(MSG_STAT_ANY, msgctl, most[2]))

    look()
    sys.stdout.flush()
    as_user(ALICE, look)
    shmctl(other, RMID)
    remove(made)


def masked(text: str) -> str:
    """Numbers, times and processes are not the same in two runs."""
    return re.sub(r"\b(17|18|19)\d{8}\b", "TIME", text)


@case
def lists_of_objects() -> None:
    clean()
    made = objects()
    numbers = {kind: str(number) for kind, number, _ in made}
    me = {str(os.getpid()): "ME"}
    for kind in ("shm", "sem", "msg"):
        for line in masked(get(f"/proc/sysvipc/{kind}").decode()).splitlines():
            at = [me.get(word, word) for word in line.split()]
            at[1] = "NUMBER" if at[1] == numbers[kind] else at[1]
            print(" ".join(at[:14] if kind == "shm" else at))
        print(oct(os.stat(f"/proc/sysvipc/{kind}").st_mode))
    print(sorted(os.listdir("/proc/sysvipc")), oct(os.stat("/proc/sysvipc").st_mode))
    sys.stdout.flush()
    remove(made)
