"""Calls of the host that the kernel makes and Python's standard library lacks."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable

_libc = ctypes.CDLL(None, use_errno=True)
_libc.tee.restype = ctypes.c_ssize_t
SPLICE_F_NONBLOCK = 2
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


def signalfd(signals: Iterable[int]) -> int:
    """A descriptor that reports these signals, which must be blocked (signalfd(2))."""
    mask = sum(1 << (number - 1) for number in signals)
    buffer = ctypes.create_string_buffer(struct.pack("<Q", mask) + bytes(120))  # sizeof(sigset_t) is 128
    return _check(_libc.signalfd(-1, buffer, os.O_CLOEXEC | os.O_NONBLOCK))
