"""Clocks that name another process: the CPU time of a process or thread (clock_getcpuclockid(3)).

Only negative clock numbers come here. They are ~pid << 3 with the kind in the low bits: 2 is scheduler time, 4 a
thread's clock, 3 a descriptor's (include/linux/posix-timers_types.h). The host knows every process of the machine.
"""

from __future__ import annotations

import errno
import struct
import time
from typing import Any

from pycontain.kernel.abi import BILLION, TIMESPEC, signed
from pycontain.kernel.task import Task
from pycontain.kernel.vfs.filesystem import fail
from pycontain.kernel.vfs.proctext import host_file
from pycontain.platforms.base import NATIVE

KIND_MASK, THREAD, DESCRIPTOR = 7, 4, 3


def _clock(task: Task, number: int) -> tuple[int, int] | None:
    """(host pid or tid, kind) of a clock of the container; None for the caller's own. Raises EINVAL."""
    kind = number & KIND_MASK
    named = ~(number >> 3)
    if kind & 3 == DESCRIPTOR:
        fail(errno.EINVAL)
    if named == 0:
        return None
    container = task.process.container
    pid = container.outside(named)
    if kind & THREAD:
        if pid not in task.process.threads:
            fail(errno.EINVAL)
    elif pid not in container.processes:
        fail(errno.EINVAL)
    return pid, kind


def sys_clock_gettime(task: Task, a: tuple[int, ...]) -> Any:
    number = signed(a[0])
    found = _clock(task, number) if number < 0 else None
    if found is None:
        return NATIVE
    pid, kind = found
    if kind & THREAD:
        spent = host_file(task.process.pid, f"task/{pid}/schedstat").split()
        value = int(spent[0]) if spent else 0
    else:
        value = time.clock_gettime_ns((~pid << 3) | kind)
    task.write(a[1], TIMESPEC.pack(*divmod(value, BILLION)))
    return 0


def sys_clock_getres(task: Task, a: tuple[int, ...]) -> Any:
    number = signed(a[0])
    if number >= 0 or _clock(task, number) is None:
        return NATIVE
    if a[1]:
        task.write(a[1], struct.pack("<qq", 0, 1))
    return 0


def sys_clock_nanosleep(task: Task, a: tuple[int, ...]) -> Any:
    return _native(task, a[0])


def sys_timer_create(task: Task, a: tuple[int, ...]) -> Any:
    return _native(task, a[0])


def _native(task: Task, clock: int) -> Any:
    """The host does it with the number that the caller gave, where that is the host's too."""
    number = signed(clock)
    if number < 0:
        found = _clock(task, number)
        if found is not None and found[0] != ~(number >> 3):
            fail(errno.EINVAL)
    return NATIVE
