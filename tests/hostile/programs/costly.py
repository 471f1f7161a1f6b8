"""Calls that take the kernel long, without end, by some processes at once.

    calls KIND PROCESSES    say so in /shared/begun when all have begun
    rate SECONDS            how many short calls a neighbour can make in a second
"""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import sys
import time
from collections.abc import Callable

libc = ctypes.CDLL(None, use_errno=True)
GETDENTS64 = 217


def stats() -> Callable[[], object]:
    """Short ones, to compare with."""
    return lambda: os.stat("/etc/passwd")


def links() -> Callable[[], object]:
    """A path through 39 links of 4000 bytes each; a new name each time, so that no result can be remembered."""
    os.mkdir("a")
    for number in range(39):
        os.symlink("a/../" * 818 + (f"l{number - 1}" if number else "a"), f"l{number}")

    def once() -> None:
        os.mkdir("new")
        os.rmdir("new")
        os.stat("l38")

    return once


def directories() -> Callable[[], object]:
    for number in range(5000):
        os.symlink("x", str(number))
    buffer = ctypes.create_string_buffer(4 << 20)

    def once() -> None:
        fd = os.open(".", os.O_RDONLY)
        libc.syscall(GETDENTS64, fd, buffer, len(buffer))
        os.close(fd)

    return once


def mappings() -> Callable[[], object]:
    kept = mmap.mmap(-1, 4096 * 20000)
    start = ctypes.addressof(ctypes.c_char.from_buffer(kept))
    for page in range(0, 20000, 2):
        libc.mprotect(ctypes.c_void_p(start + page * 4096), ctypes.c_size_t(4096), mmap.PROT_READ)
    return lambda: os.close(os.open("/proc/self/smaps", os.O_RDONLY))


def groups() -> Callable[[], object]:
    os.setgroups(range(65536))
    return lambda: os.close(os.open("/proc/self/status", os.O_RDONLY))


def signals() -> Callable[[], object]:
    """No calls at all: a timer that the host has sends them as fast as they are taken."""
    signal.signal(signal.SIGALRM, lambda number, frame: None)
    return lambda: signal.setitimer(signal.ITIMER_REAL, 1e-5, 1e-5)


KINDS = {f.__name__: f for f in (stats, links, directories, mappings, groups, signals)}


def main() -> None:
    if sys.argv[1] == "rate":
        start, calls = time.monotonic(), 0
        while time.monotonic() - start < float(sys.argv[2]):
            os.stat("/etc/passwd")
            calls += 1
        print(f"rate: {calls / (time.monotonic() - start):.0f}")
        return
    ready, go = os.pipe(), os.pipe()
    for number in range(int(sys.argv[3])):
        if os.fork() == 0:
            os.mkdir(f"/tmp/{number}")
            os.chdir(f"/tmp/{number}")
            call = KINDS[sys.argv[2]]()
            os.write(ready[1], b"x")
            os.close(go[1])
            os.read(go[0], 1)
            while True:
                call()
    for _ in range(int(sys.argv[3])):
        os.read(ready[0], 1)
    with open("/shared/begun", "w") as file:
        file.write("begun")
    os.close(go[1])
    time.sleep(300)


main()
