"""What User-Mode Linux gets of the host, and what it may not do there.

Its kernel is an ordinary process that makes system calls of the host: whoever breaks out of the guest into it is on
the host. So it is given as little as a process can do with: an unprivileged identity where we are root, no new
privileges, and (Landlock, where the host has it) only the files that it needs. In the guest, a container's root has
Docker's capabilities and not all: with more it could load code into that kernel (guest.py, `confined`).
"""

from __future__ import annotations

import os
import struct

from pycontain.vm.table import Table
from pycontain.vm.uml.program import DIRECTORY_FD, DISK_FD, LIBRARY_FD, PROGRAM_FD

SHARED_MEMORY = "/dev/shm"
PR_SET_NO_NEW_PRIVS = 38
NOBODY = 65534
_NEEDED = (0, 5, 6, 7)
"""CAP_CHOWN, CAP_KILL, CAP_SETGID, CAP_SETUID: what we need to give it an identity of its own, and to end it then."""
_RULESET, _PLACE = 41, 40
"""Descriptors, for a moment."""
_EXECUTE, _WRITE, _READ, _LIST = 1, 2, 4, 8
_EVERYTHING = (1 << 13) - 1
"""Landlock's rights on files, as of its first version (Linux, Documentation/userspace-api/landlock.rst)."""
_READABLE = (
    ("/usr", _EXECUTE | _READ | _LIST), ("/lib", _EXECUTE | _READ | _LIST), ("/lib64", _EXECUTE | _READ | _LIST),
    ("/etc/ld.so.cache", _READ), ("/proc", _READ | _LIST), ("/dev/null", _READ | _WRITE), ("/dev/zero", _READ),
    ("/dev/random", _READ), ("/dev/urandom", _READ), ("/dev/ptmx", _READ | _WRITE), ("/dev/pts", _READ | _WRITE),
)  # fmt: skip


def memory_place(memory: int) -> str:
    """Where the file that is its memory lies: in /dev/shm where that has room (a container often has 64 MB only, or one
    that nothing may be executed from), else in the machine's own directory. memory: MiB."""
    try:
        info = os.statvfs(SHARED_MEMORY)
    except OSError:
        return f"/proc/self/fd/{DIRECTORY_FD}"
    fits = info.f_bavail * info.f_frsize > (memory + 16) << 20 and not info.f_flag & os.ST_NOEXEC
    return SHARED_MEMORY if fits and os.access(SHARED_MEMORY, os.W_OK) else f"/proc/self/fd/{DIRECTORY_FD}"


def environment(place: str) -> dict[str, str]:
    """Its variables: nothing of ours. place: memory_place()."""
    return {"LD_PRELOAD": f"/proc/self/fd/{LIBRARY_FD}", "TMPDIR": place}


def identity() -> int | None:
    """The user and group that it runs as; None for our own."""
    if os.geteuid() != 0:
        return None
    with open("/proc/self/status", "rb") as file:
        effective = next((int(line.split()[1], 16) for line in file if line.startswith(b"CapEff:")), 0)
    return NOBODY if all(effective >> bit & 1 for bit in _NEEDED) else None


def confine(table: Table, place: str, uid: int | None) -> None:
    """Rows for the process that becomes User-Mode Linux. What the host does not offer is left out."""
    if uid is not None:
        table.call("setgroups", 0, 0)
        table.call("setresgid", uid, uid, uid)
        table.call("setresuid", uid, uid, uid)
    table.call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    handled = table.words([_EVERYTHING])
    table.call("dup3", table.call("landlock_create_ruleset", handled, 8, 0), _RULESET, 0o2000000)
    paths = list(_READABLE)
    if not place.startswith("/proc/"):
        paths.append((place, _EVERYTHING))
    for path, rights in paths:
        table.call("close", _PLACE)  # a path that is not there leaves it closed
        opened = table.call("open", table.text(os.fsencode(path)), 0o12000000)  # O_PATH|O_CLOEXEC
        table.call("dup3", opened, _PLACE, 0o2000000)
        table.call("close", opened)
        _allow(table, _PLACE, rights)
    _allow(table, DIRECTORY_FD, _EVERYTHING)
    _allow(table, DISK_FD, _READ)
    _allow(table, PROGRAM_FD, _EXECUTE | _READ)
    table.call("landlock_restrict_self", _RULESET, 0)


def _allow(table: Table, fd: int, rights: int) -> None:
    table.call("landlock_add_rule", _RULESET, 1, table.data(struct.pack("<Qi", rights, fd)), 0)
