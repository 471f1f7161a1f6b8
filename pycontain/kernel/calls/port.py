"""bind(2) to internet ports below 1024, where the kernel itself may do that on the host."""

from __future__ import annotations

import errno
import functools
import socket
import struct
from typing import Any

from pycontain.kernel import libc
from pycontain.kernel.credentials import CAP_NET_BIND_SERVICE
from pycontain.kernel.task import Task
from pycontain.kernel.vfs.filesystem import fail
from pycontain.kernel.vfs.proctext import host_text
from pycontain.platforms.base import NATIVE

INTERNET = (socket.AF_INET, socket.AF_INET6)
PRIVILEGED_PORTS = 1024


def bind_port(task: Task, fd: int, address: int, size: int) -> Any:
    """An internet port. Programs have no privilege on the host: where the kernel has it, it lends it to those who
    have it in the container, on a socket that it has looked at itself."""
    if not 4 <= size <= 128 or not host_binds_ports():
        return NATIVE
    data = task.read(address, size)
    family, port = struct.unpack_from("<H", data)[0], struct.unpack_from(">H", data, 2)[0]
    if family not in INTERNET or not 0 < port < PRIVILEGED_PORTS:
        return NATIVE
    if not task.process.credentials.has(CAP_NET_BIND_SERVICE):
        fail(errno.EACCES)
    try:
        own = task.process.container.kernel.platform.take_fd(task, fd)
    except PermissionError:
        return NATIVE
    with socket.socket(fileno=own) as taken:
        if taken.family not in INTERNET:
            fail(errno.EINVAL)  # another thread was quicker
        libc.bind(own, data)
    return 0


@functools.cache
def host_binds_ports() -> bool:
    """May the kernel itself bind the host's ports below 1024?"""
    for line in host_text("self/status").splitlines():
        if line.startswith(b"CapEff:"):
            return bool(int(line.split()[1], 16) >> CAP_NET_BIND_SERVICE & 1)
    return False
