"""Who a process is: user and group ids, capabilities. credentials(7); errors as in setuid(2) and the like."""

from __future__ import annotations

import errno
import struct
from dataclasses import replace

from pycontain.kernel.abi import signed
from pycontain.kernel.credentials import ALL_CAPABILITIES, CAP_SETGID, CAP_SETPCAP, CAP_SETUID, Credentials
from pycontain.kernel.task import Task
from pycontain.kernel.vfs.filesystem import fail

CAPABILITY_VERSION_1, CAPABILITY_VERSION_2, CAPABILITY_VERSION_3 = 0x19980330, 0x20071026, 0x20080522
NGROUPS_MAX = 65536


def sys_getuid(task: Task, a: tuple[int, ...]) -> int:
    return task.credentials.uid


def sys_geteuid(task: Task, a: tuple[int, ...]) -> int:
    return task.credentials.euid


def sys_getgid(task: Task, a: tuple[int, ...]) -> int:
    return task.credentials.gid


def sys_getegid(task: Task, a: tuple[int, ...]) -> int:
    return task.credentials.egid


def sys_getresuid(task: Task, a: tuple[int, ...]) -> int:
    who = task.credentials
    for address, value in zip(a, (who.uid, who.euid, who.suid), strict=False):
        task.write(address, struct.pack("<I", value))
    return 0


def sys_getresgid(task: Task, a: tuple[int, ...]) -> int:
    who = task.credentials
    for address, value in zip(a, (who.gid, who.egid, who.sgid), strict=False):
        task.write(address, struct.pack("<I", value))
    return 0


def _become(task: Task, new: Credentials) -> None:
    """A process that changes who it is does not show itself to others any more (prctl(2), PR_SET_DUMPABLE)."""
    process = task.process
    old = task.credentials
    if (old.euid, old.egid, old.fsuid, old.fsgid) != (new.euid, new.egid, new.fsuid, new.fsgid):
        process.dumpable = 0
    task.become(new)


def _id(value: int) -> int:
    return value & 0xFFFFFFFF


def sys_setuid(task: Task, a: tuple[int, ...]) -> int:
    who, uid = task.credentials, _id(a[0])
    if uid == 0xFFFFFFFF:
        fail(errno.EINVAL)
    if who.has(CAP_SETUID):
        _become(task, who.with_uids(uid, uid, uid))
    elif uid in (who.uid, who.suid):
        _become(task, who.with_uids(who.uid, uid, who.suid))
    else:
        fail(errno.EPERM)
    return 0


def sys_setgid(task: Task, a: tuple[int, ...]) -> int:
    who, gid = task.credentials, _id(a[0])
    if gid == 0xFFFFFFFF:
        fail(errno.EINVAL)
    if who.has(CAP_SETGID):
        _become(task, who.with_gids(gid, gid, gid))
    elif gid in (who.gid, who.sgid):
        _become(task, who.with_gids(who.gid, gid, who.sgid))
    else:
        fail(errno.EPERM)
    return 0


def sys_setresuid(task: Task, a: tuple[int, ...]) -> int:
    who = task.credentials
    old = (who.uid, who.euid, who.suid)
    new = [value if signed(x) == -1 else _id(x) for x, value in zip(a, old, strict=False)]
    if not who.has(CAP_SETUID) and any(x not in old for x in new):
        fail(errno.EPERM)
    _become(task, who.with_uids(new[0], new[1], new[2]))
    return 0


def sys_setresgid(task: Task, a: tuple[int, ...]) -> int:
    who = task.credentials
    old = (who.gid, who.egid, who.sgid)
    new = [value if signed(x) == -1 else _id(x) for x, value in zip(a, old, strict=False)]
    if not who.has(CAP_SETGID) and any(x not in old for x in new):
        fail(errno.EPERM)
    _become(task, who.with_gids(new[0], new[1], new[2]))
    return 0


def sys_setreuid(task: Task, a: tuple[int, ...]) -> int:
    who = task.credentials
    real = who.uid if signed(a[0]) == -1 else _id(a[0])
    effective = who.euid if signed(a[1]) == -1 else _id(a[1])
    allowed = real in (who.uid, who.euid) and effective in (who.uid, who.euid, who.suid)
    if not allowed and not who.has(CAP_SETUID):
        fail(errno.EPERM)
    saved = effective if signed(a[0]) != -1 or (signed(a[1]) != -1 and effective != who.uid) else who.suid
    _become(task, who.with_uids(real, effective, saved))
    return 0


def sys_setregid(task: Task, a: tuple[int, ...]) -> int:
    who = task.credentials
    real = who.gid if signed(a[0]) == -1 else _id(a[0])
    effective = who.egid if signed(a[1]) == -1 else _id(a[1])
    allowed = real in (who.gid, who.egid) and effective in (who.gid, who.egid, who.sgid)
    if not allowed and not who.has(CAP_SETGID):
        fail(errno.EPERM)
    saved = effective if signed(a[0]) != -1 or (signed(a[1]) != -1 and effective != who.gid) else who.sgid
    _become(task, who.with_gids(real, effective, saved))
    return 0


def sys_setfsuid(task: Task, a: tuple[int, ...]) -> int:
    who, uid = task.credentials, _id(a[0])
    if uid in (who.uid, who.euid, who.suid, who.fsuid) or (who.has(CAP_SETUID) and uid != 0xFFFFFFFF):
        _become(task, who.with_fsuid(uid))
    return who.fsuid


def sys_setfsgid(task: Task, a: tuple[int, ...]) -> int:
    who, gid = task.credentials, _id(a[0])
    if gid in (who.gid, who.egid, who.sgid, who.fsgid) or (who.has(CAP_SETGID) and gid != 0xFFFFFFFF):
        _become(task, replace(who, fsgid=gid))
    return who.fsgid


def sys_getgroups(task: Task, a: tuple[int, ...]) -> int:
    groups = task.credentials.listed_groups()
    size = signed(a[0])
    if size < 0 or 0 < size < len(groups):
        fail(errno.EINVAL)
    if size:
        task.write(a[1], struct.pack(f"<{len(groups)}I", *groups))
    return len(groups)


def sys_setgroups(task: Task, a: tuple[int, ...]) -> int:
    who = task.credentials
    if not who.has(CAP_SETGID):
        fail(errno.EPERM)
    size = a[0] & 0xFFFFFFFF
    if size > NGROUPS_MAX:
        fail(errno.EINVAL)
    groups = struct.unpack(f"<{size}I", task.read(a[1], 4 * size)) if size else ()
    distinct = frozenset(groups)
    repeated = tuple(sorted(groups)) if len(distinct) < len(groups) else ()
    task.become(replace(who, groups=distinct, repeated=repeated))
    return 0


def sys_capget(task: Task, a: tuple[int, ...]) -> int:
    version, pid = struct.unpack("<Ii", task.read(a[0], 8))
    if version not in (CAPABILITY_VERSION_1, CAPABILITY_VERSION_2, CAPABILITY_VERSION_3):
        task.write(a[0], struct.pack("<I", CAPABILITY_VERSION_3))
        if a[1]:
            fail(errno.EINVAL)
        return 0
    container = task.process.container
    found = container.kernel.tasks.get(container.outside(pid)) if pid else task
    if found is None or found.process.container is not container:
        fail(errno.ESRCH)
    if not a[1]:
        return 0
    who = found.credentials
    words = (who.effective, who.permitted, who.inheritable)
    data = struct.pack("<3I", *(w & 0xFFFFFFFF for w in words))
    if version != CAPABILITY_VERSION_1:
        data += struct.pack("<3I", *(w >> 32 for w in words))
    task.write(a[1], data)
    return 0


def sys_capset(task: Task, a: tuple[int, ...]) -> int:
    version, pid = struct.unpack("<Ii", task.read(a[0], 8))
    if version not in (CAPABILITY_VERSION_1, CAPABILITY_VERSION_2, CAPABILITY_VERSION_3):
        task.write(a[0], struct.pack("<I", CAPABILITY_VERSION_3))
        fail(errno.EINVAL)
    if pid and task.process.container.outside(pid) not in (task.process.pid, task.tid):
        fail(errno.EPERM)
    words = list(struct.unpack("<3I", task.read(a[1], 12)))
    if version != CAPABILITY_VERSION_1:
        words = [
            low | high << 32
            for low, high in zip(words, struct.unpack("<3I", task.read(a[1] + 12, 12)), strict=True)
        ]
    effective, permitted, inheritable = (w & ALL_CAPABILITIES for w in words)
    who = task.credentials
    if permitted & ~who.permitted or effective & ~permitted:
        fail(errno.EPERM)
    limit = who.inheritable | who.bounding if who.has(CAP_SETPCAP) else who.inheritable | who.permitted
    if inheritable & ~limit:
        fail(errno.EPERM)
    new = replace(who, effective=effective, permitted=permitted, inheritable=inheritable)
    task.become(replace(new, ambient=who.ambient & permitted & inheritable))
    return 0
