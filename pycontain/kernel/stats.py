"""A container's row for `pycontain stats`; engine/stats.py has the meaning of the fields."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from pycontain.kernel.vfs.proctext import host_memory

if TYPE_CHECKING:
    from pycontain.kernel.container import Container


def memory_limit(container: Container) -> int:
    """Bytes that it can use: its limit, or what the host has if that is less."""
    total = host_memory()["MemTotal"]
    return min(container.limits.memory or total, total)


def row(container: Container) -> dict[str, Any]:
    """What it uses at this moment."""
    usage = container.usage
    spent = usage.spent()
    return {
        "id": container.id,
        "time": time.monotonic_ns(),
        "cpu": usage.cpu_seconds(),
        "memory": usage.memory().total,
        "memory_limit": memory_limit(container),
        "received": 0,  # sockets are the host's, as with docker's --network host
        "sent": 0,
        "read": spent.read,
        "written": spent.written,
        "pids": usage.tasks(),
    }
