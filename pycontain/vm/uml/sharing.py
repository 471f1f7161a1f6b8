"""Processes that share their memory: those of User-Mode Linux' kernel, each of which would be told all of it."""

from __future__ import annotations

import ctypes

KCMP, KCMP_VM = 312, 1


def distinct(pids: list[int]) -> list[int]:
    """One process of each that have one address space (kcmp(2)). Where asking is not allowed, all are."""
    libc = ctypes.CDLL(None)
    found: list[int] = []
    for pid in pids:
        if not any(libc.syscall(KCMP, pid, other, KCMP_VM, 0, 0) == 0 for other in found):
            found.append(pid)
    return found
