"""The system's own identity and knobs: uname, host name, prctl, terminal ioctls."""

from __future__ import annotations

import errno
import os
import struct
from dataclasses import replace
from typing import Any

from pycontain.kernel.abi import signed
from pycontain.kernel.credentials import (
    CAP_LAST,
    CAP_SETPCAP,
    CAP_SYS_ADMIN,
    SECUREBITS_ALL,
    SECUREBITS_LOCKS,
)
from pycontain.kernel.task import Task
from pycontain.kernel.vfs.filesystem import fail
from pycontain.kernel.vfs.proctext import host_file
from pycontain.platforms.base import NATIVE

MACHINE = b"x86_64"
HOST_NAME_MAX = 64
TIOCGPGRP, TIOCSPGRP, TIOCGSID = 0x540F, 0x5410, 0x5429

PR_GET_DUMPABLE, PR_SET_DUMPABLE, PR_GET_KEEPCAPS, PR_SET_KEEPCAPS = 3, 4, 7, 8
PR_GET_SECCOMP, PR_SET_SECCOMP, PR_CAPBSET_READ, PR_CAPBSET_DROP = 21, 22, 23, 24
PR_GET_SECUREBITS, PR_SET_SECUREBITS, PR_SET_MM = 27, 28, 35
PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS, PR_CAP_AMBIENT, PR_SET_PTRACER = 38, 39, 47, 0x59616D61


def sys_uname(task: Task, a: tuple[int, ...]) -> int:
    container = task.process.container
    fields = (
        b"Linux",
        container.hostname,
        container.release,
        container.version,
        MACHINE,
        container.domainname,
    )
    task.write(a[0], b"".join(field[:64].ljust(65, b"\0") for field in fields))
    return 0


def _new_name(task: Task, a: tuple[int, ...]) -> bytes:
    if not task.credentials.has(CAP_SYS_ADMIN):
        fail(errno.EPERM)
    size = signed(a[1])
    if not 0 <= size <= HOST_NAME_MAX:
        fail(errno.EINVAL)
    return task.read(a[0], size) if size else b""


def sys_sethostname(task: Task, a: tuple[int, ...]) -> int:
    task.process.container.hostname = _new_name(task, a)
    return 0


def sys_setdomainname(task: Task, a: tuple[int, ...]) -> int:
    task.process.container.domainname = _new_name(task, a)
    return 0


def sys_prctl(task: Task, a: tuple[int, ...]) -> Any:
    """The options that say something about identity; the others are the host's."""
    option, value = signed(a[0]), a[1]
    process = task.process
    who = task.credentials
    if option == PR_GET_DUMPABLE:
        return process.dumpable
    if option == PR_SET_DUMPABLE:
        # remembered, never passed on: the kernel must be able to read the process
        if value not in (0, 1):
            fail(errno.EINVAL)
        process.dumpable = value
        return 0
    if option == PR_GET_KEEPCAPS:
        return int(who.keep_capabilities)
    if option == PR_SET_KEEPCAPS:
        if value > 1:
            fail(errno.EINVAL)
        task.become(replace(who, keep_capabilities=bool(value)))
        return 0
    if option == PR_CAPBSET_READ:
        if value > CAP_LAST:
            fail(errno.EINVAL)
        return who.bounding >> value & 1
    if option == PR_CAPBSET_DROP:
        if not who.has(CAP_SETPCAP):
            fail(errno.EPERM)
        if value > CAP_LAST:
            fail(errno.EINVAL)
        task.become(replace(who, bounding=who.bounding & ~(1 << value)))
        return 0
    if option == PR_GET_SECUREBITS:
        return who.securebits
    if option == PR_SET_SECUREBITS:
        if not who.has(CAP_SETPCAP):
            fail(errno.EPERM)
        locks = who.securebits & SECUREBITS_LOCKS
        if value & ~SECUREBITS_ALL or locks & ~value or locks >> 1 & (who.securebits ^ value):
            fail(errno.EPERM)
        task.become(replace(who, securebits=value))
        return 0
    if option == PR_GET_NO_NEW_PRIVS:
        return int(who.no_new_privs)
    if option == PR_SET_NO_NEW_PRIVS:
        if value != 1 or a[2] or a[3] or a[4]:
            fail(errno.EINVAL)
        task.become(replace(who, no_new_privs=True))
        return 0
    if option == PR_CAP_AMBIENT:
        return _ambient(task, value, a[2])
    if option == PR_GET_SECCOMP:
        return 0
    if option == PR_SET_PTRACER:
        fail(errno.EINVAL)  # as without Yama
    if option == PR_SET_MM:
        fail(errno.EPERM)
    fail(errno.EINVAL)


def _ambient(task: Task, operation: int, capability: int) -> int:
    who = task.credentials
    is_set, raise_it, lower, clear = 1, 2, 3, 4
    if operation == clear:
        task.become(replace(who, ambient=0))
        return 0
    if capability > CAP_LAST:
        fail(errno.EINVAL)
    bit = 1 << capability
    if operation == is_set:
        return int(bool(who.ambient & bit))
    if operation == lower:
        task.become(replace(who, ambient=who.ambient & ~bit))
        return 0
    if operation == raise_it:
        if not who.permitted & who.inheritable & bit:
            fail(errno.EPERM)
        task.become(replace(who, ambient=who.ambient | bit))
        return 0
    fail(errno.EINVAL)


def sys_ioctl(task: Task, a: tuple[int, ...]) -> Any:
    """Terminal ioctls whose argument is a process number; every other one that comes here is refused."""
    request = a[1] & 0xFFFFFFFF
    container = task.process.container
    info = task.host_stat(signed(a[0]))
    if request not in (TIOCGPGRP, TIOCSPGRP, TIOCGSID):
        fail(errno.ENOTTY)
    if request == TIOCSPGRP:
        number = struct.unpack("<i", task.read(a[2], 4))[0]
        if container.outside(number) != number:
            # the host reads the caller's copy of the number (tcsetpgrp has one of its own on its stack)
            task.write(a[2], struct.pack("<i", container.outside(number)))
        return NATIVE  # whatever number the host reads, it insists on a group of the caller's session
    text = host_file(task.process.pid, "stat")
    if not text:
        fail(errno.ESRCH)
    fields = text[text.rindex(b")") + 2 :].split()
    session, terminal, foreground = int(fields[3]), int(fields[4]), int(fields[5])
    if terminal <= 0 or (info.st_rdev != terminal and not _is_master(info.st_rdev)):
        fail(errno.ENOTTY)
    if _is_master(info.st_rdev):
        return NATIVE  # the master's owner asks about the slave's session; numbers are the host's
    value = session if request == TIOCGSID else foreground
    task.write(a[2], struct.pack("<i", container.inside_or_zero(value) if value > 0 else value))
    return 0


def _is_master(rdev: int) -> bool:
    return os.major(rdev) == 5 and os.minor(rdev) == 2
