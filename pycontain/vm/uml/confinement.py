"""What User-Mode Linux gets of the host, and what it may not do there."""

from __future__ import annotations

import os

from pycontain.vm.table import Table
from pycontain.vm.uml.program import DIRECTORY_FD, LIBRARY_FD

SHARED_MEMORY = "/dev/shm"
PR_SET_NO_NEW_PRIVS = 38


def environment(memory: int) -> dict[str, str]:
    """Its variables. Its memory is a file: in /dev/shm where that has room (a container often has 64 MB only, or one
    that nothing may be executed from), else in the machine's own directory. memory: MiB."""
    found = {"LD_PRELOAD": f"/proc/self/fd/{LIBRARY_FD}"}
    try:
        info = os.statvfs(SHARED_MEMORY)
        fits = info.f_bavail * info.f_frsize > (memory + 16) << 20 and not info.f_flag & os.ST_NOEXEC
        fits = fits and os.access(SHARED_MEMORY, os.W_OK)
    except OSError:
        fits = False
    found["TMPDIR"] = SHARED_MEMORY if fits else f"/proc/self/fd/{DIRECTORY_FD}"
    return found


def confine(table: Table) -> None:
    """Rows for the process that becomes User-Mode Linux."""
    table.call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
