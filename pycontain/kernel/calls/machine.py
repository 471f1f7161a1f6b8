"""What a task asks about the machine, or wants of its processors and disks: sysinfo, affinity, I/O priority, and
asynchronous reads and writes (io_submit), which name descriptors only and are the host's."""

from __future__ import annotations

import errno
import os
from typing import Any

from pycontain.kernel import libc
from pycontain.kernel.abi import signed
from pycontain.kernel.calls.process import CAP_SYS_NICE, find
from pycontain.kernel.task import Task
from pycontain.kernel.vfs import proctext, systemtext
from pycontain.kernel.vfs.filesystem import fail
from pycontain.platforms.base import NATIVE

IOPRIO_WHO_PROCESS, IOPRIO_WHO_PGRP, IOPRIO_WHO_USER = 1, 2, 3
IOPRIO_CLASS_SHIFT, IOPRIO_CLASS_RT = 13, 1
MASK_MOST = 8192  # bytes of a mask that are looked at


def sys_sysinfo(task: Task, a: tuple[int, ...]) -> int:
    task.write(a[0], systemtext.sysinfo(task.process.container))
    return 0


def sys_io_setup(task: Task, a: tuple[int, ...]) -> Any:
    """The host keeps one count for everybody: half of it stays there for its own programs."""
    most = int(proctext.host_text("sys/fs/aio-max-nr") or 0)
    taken = int(proctext.host_text("sys/fs/aio-nr") or 0)
    if taken + (a[0] & 0xFFFFFFFF) > most // 2:
        fail(errno.EAGAIN)
    return NATIVE


def sys_sched_setaffinity(task: Task, a: tuple[int, ...]) -> int:
    """Within the container's set of processors; EINVAL where nothing of the wish is in it, as with a cpuset."""
    size = min(a[1] & 0xFFFFFFFF, MASK_MOST)
    mask = int.from_bytes(task.read(a[2], size), "little")
    tid, target = _target(task, signed(a[0]))
    who = task.credentials
    if who.euid not in (target.uid, target.euid) and not who.has(CAP_SYS_NICE):
        fail(errno.EPERM)
    chosen = [number for number in task.process.container.limits.processors() if mask >> number & 1]
    if not chosen:
        fail(errno.EINVAL)
    task.process.container.kernel.platform.place(tid, chosen)
    return 0


def sys_sched_getaffinity(task: Task, a: tuple[int, ...]) -> int:
    """Returns the bytes written: those of the host's mask (sched_setaffinity(2), "C library/kernel differences")."""
    kernel = task.process.container.kernel
    most = max(os.cpu_count() or 1, max(kernel.processors) + 1)
    whole = (most + 63) // 64 * 8
    size = a[1] & 0xFFFFFFFF
    if size % 8 or size * 8 < most:
        fail(errno.EINVAL)
    tid, _ = _target(task, signed(a[0]))
    mask = sum(1 << number for number in kernel.platform.processors(tid))
    task.write(a[2], mask.to_bytes(whole, "little")[:size])
    return min(size, whole)


def sys_ioprio_get(task: Task, a: tuple[int, ...]) -> int:
    return libc.ioprio_get(_io_target(task, signed(a[0]), signed(a[1]))[0])


def sys_ioprio_set(task: Task, a: tuple[int, ...]) -> int:
    """Comes here for other processes; a class that needs privileges the host refuses, for it gives us none."""
    tid, target = _io_target(task, signed(a[0]), signed(a[1]))
    who = task.credentials
    if who.euid not in (target.uid, target.euid) and not who.has(CAP_SYS_NICE):
        fail(errno.EPERM)
    value = a[2] & 0xFFFF
    if value >> IOPRIO_CLASS_SHIFT == IOPRIO_CLASS_RT:
        fail(errno.EPERM)  # where root runs the kernel, the host would let it
    libc.ioprio_set(tid, value)
    return 0


def _io_target(task: Task, which: int, number: int) -> tuple[int, Any]:
    """One process stands for a group or a user: the caller, or the group's leader."""
    if which not in (IOPRIO_WHO_PROCESS, IOPRIO_WHO_PGRP, IOPRIO_WHO_USER):
        fail(errno.EINVAL)
    return _target(task, 0 if which == IOPRIO_WHO_USER else number)


def _target(task: Task, number: int) -> tuple[int, Any]:
    """The host's number of a thread, and its credentials. Raises ESRCH."""
    process = find(task, number)
    return (task.process.container.outside(number) if number else task.tid), process.credentials
