"""System V objects. make: one of each kind, for everybody; find: look for those of others, by number and by index."""

import ctypes
import os
import sys
import time

libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p
KEY, NOWAIT = 0x51, 0o4000
NOWHERE = ctypes.c_size_t(-1).value

if sys.argv[1] == "make":
    numbers = [libc.shmget(KEY, ctypes.c_size_t(4096), 0o1666), libc.semget(KEY, 1, 0o1666), libc.msgget(KEY, 0o1666)]
    ctypes.memmove(libc.shmat(numbers[0], None, 0), sys.argv[2].encode(), len(sys.argv[2]))
    print("made", *numbers, flush=True)
    time.sleep(100)
shm, sem, msg = map(int, sys.argv[2:])
buffer = ctypes.create_string_buffer(256)
NUMBERS = ctypes.c_void_p(ctypes.addressof(buffer))


def reached(label: str, result: int | None) -> None:
    worked = result is not None and result not in (-1, NOWHERE)
    print("ESCAPED" if worked else "no object", label, os.strerror(ctypes.get_errno()), flush=True)


for label, result in (
    ("key", libc.shmget(KEY, ctypes.c_size_t(1), 0)), ("key", libc.semget(KEY, 1, 0)), ("key", libc.msgget(KEY, 0)),
    ("attach", libc.shmat(shm, None, 0)), ("read", libc.shmat(shm, None, 0o10000)),
    ("operate", libc.semop(sem, b"\0\0\1\0\0\0", ctypes.c_size_t(1))), ("value", libc.semctl(sem, 0, 12)),
    ("set", libc.semctl(sem, 0, 16, 1)), ("all", libc.semctl(sem, 0, 13, NUMBERS)), ("who", libc.semctl(sem, 0, 11)),
    ("send", libc.msgsnd(msg, b"\1\0\0\0\0\0\0\0x", ctypes.c_size_t(1), NOWAIT)),
    ("receive", libc.msgrcv(msg, NUMBERS, ctypes.c_size_t(200), ctypes.c_long(0), NOWAIT)),
    ("lock", libc.shmctl(shm, 11, None)),
):  # fmt: skip
    reached(label, result)
for command in (*range(4, 30), 0x102, 0x103, 2, 1, 0):  # the removal comes last
    for number in {shm, sem, msg, *range(70)}:
        for label, result in (
            ("shm", libc.shmctl(number, command, NUMBERS)),
            ("sem", libc.semctl(number, 0, command, NUMBERS)),
            ("msg", libc.msgctl(number, command, NUMBERS)),
        ):
            if result != -1 and command not in (14, 19, 12):  # *_INFO, of which the figures matter
                reached(f"{label} {command} {number}", result)
for name in ("shm", "sem", "msg"):
    with open(f"/proc/sysvipc/{name}") as file:
        print(name, len(file.readlines()) - 1, "listed")
print("end")
