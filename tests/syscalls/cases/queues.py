"""POSIX message queues."""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import struct
import time
from typing import Any

from probe import ALICE, Handled, as_user, case, child, raw, spawn, tell, until, waited

libc = ctypes.CDLL(None, use_errno=True)
CREATE = os.O_CREAT | os.O_RDWR


def attributes(messages: int, size: int) -> bytes:
    return struct.pack("<8q", 0, messages, size, 0, 0, 0, 0, 0)


def opened(name: bytes, flags: int = os.O_RDWR, mode: int = 0o600, attr: bytes | None = None) -> int:
    return raw("mq_open", name, flags, mode, attr)


def check(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return result


def send(fd: int, data: bytes, priority: int = 0) -> int:
    return check(libc.mq_send(fd, data, ctypes.c_size_t(len(data)), ctypes.c_uint(priority)))


def receive(fd: int, size: int = 8192) -> tuple[bytes, int]:
    buffer, priority = ctypes.create_string_buffer(size), ctypes.c_uint()
    count = check(libc.mq_receive(fd, buffer, ctypes.c_size_t(size), ctypes.byref(priority)))
    return buffer.raw[:count], priority.value


def figures(fd: int) -> Any:
    buffer = ctypes.create_string_buffer(64)
    check(libc.mq_getattr(fd, buffer))
    return struct.unpack("<8q", buffer.raw)[:4]


@case
def queue_life() -> None:
    tell("not there", opened, b"q")
    fd = opened(b"q", CREATE, 0o600, attributes(4, 32))
    print(figures(fd), fcntl.fcntl(fd, fcntl.F_GETFD))
    send(fd, b"low", 1)
    send(fd, b"high", 9)
    send(fd, b"", 5)
    print(figures(fd))
    again = opened(b"q", os.O_RDONLY)
    print(receive(again, 32), receive(fd, 32), receive(fd, 32))
    tell("write to a reading end", send, again, b"x")
    tell("too long", send, fd, b"x" * 33)
    tell("room too small", receive, fd, 8)
    tell("exclusive", opened, b"q", CREATE | os.O_EXCL)
    tell("unlink", raw, "mq_unlink", b"q")
    tell("again", raw, "mq_unlink", b"q")
    send(fd, b"still there")
    print(receive(again, 32))
    tell("gone", opened, b"q")


@case
def queue_names() -> None:
    tell("empty", opened, b"", CREATE)
    tell("slash", opened, b"a/b", CREATE)
    tell("long", opened, b"n" * 256, CREATE)
    tell("bad size", opened, b"q", CREATE, 0o600, attributes(0, 10))
    tell("bad address", lambda: raw("mq_open", b"q", CREATE, 0o600, ctypes.c_void_p(8)))
    tell("none was made", opened, b"q")
    tell("unlink nothing", raw, "mq_unlink", b"q")


@case
def queue_without_waiting() -> None:
    fd = opened(b"q", CREATE | os.O_NONBLOCK, 0o600, attributes(1, 8))
    tell("empty", receive, fd)
    send(fd, b"x")
    tell("full", send, fd, b"y")
    print(figures(fd))
    raw("mq_unlink", b"q")


@case
def queue_between_processes() -> None:
    fd = opened(b"q", CREATE, 0o600, attributes(2, 8))

    def sender() -> None:
        mine = opened(b"q", os.O_WRONLY)
        time.sleep(0.1)
        for number in range(5):
            send(mine, b"%d" % number)

    pid = spawn(sender)
    print([receive(fd)[0] for _ in range(5)], waited(pid))
    raw("mq_unlink", b"q")


@case
def queue_permissions() -> None:
    opened(b"mine", CREATE, 0o600)
    opened(b"ours", CREATE, 0o444)

    def alice() -> None:
        tell("closed", opened, b"mine", os.O_RDONLY)
        tell("read", lambda: opened(b"ours", os.O_RDONLY) >= 0)
        tell("write", opened, b"ours", os.O_RDWR)
        tell("remove", raw, "mq_unlink", b"ours")
        tell("own", lambda: opened(b"alices", CREATE, 0o600) >= 0)

    as_user(ALICE, alice)
    tell("root", lambda: opened(b"alices") >= 0)
    for name in (b"mine", b"ours", b"alices"):
        tell("unlink", raw, "mq_unlink", name)


@case
def queue_tells() -> None:
    fd = opened(b"q", CREATE, 0o600, attributes(2, 8))
    seen = Handled(signal.SIGUSR1)
    event = struct.pack("<qii48x", 0, signal.SIGUSR1, 0)  # struct sigevent, SIGEV_SIGNAL
    print(check(libc.mq_notify(fd, event)))
    child(lambda: send(opened(b"q", os.O_WRONLY), b"x"))
    print(until(lambda: seen.count == 1))
    raw("mq_unlink", b"q")
