"""What this host offers to the trap platform, tried rather than asked by version."""

from __future__ import annotations

import os
from typing import NamedTuple

CAP_SETUID, CAP_SETGID, CAP_SYS_PTRACE = 7, 6, 19
NOBODY = 65534


class Finding(NamedTuple):
    """required: without it nothing runs."""

    name: str
    good: bool
    required: bool
    detail: str


def effective_capabilities() -> int:
    with open("/proc/self/status", "rb") as file:
        for line in file:
            if line.startswith(b"CapEff:"):
                return int(line.split()[1], 16)
    return 0


def unprivileged_identity() -> int | None:
    """The host uid that programs run under when root runs the kernel; None: as ourselves.

    Another uid can be traced only with CAP_SYS_PTRACE. Root without it (a container's root) keeps its uid, and
    programs lose every capability.
    """
    if os.geteuid() != 0:
        return None
    held = effective_capabilities()
    if all(held >> c & 1 for c in (CAP_SETUID, CAP_SETGID, CAP_SYS_PTRACE)):
        return NOBODY
    return None
