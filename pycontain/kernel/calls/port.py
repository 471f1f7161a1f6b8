"""bind(2) of sockets that are not unix ones."""

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

INTERNET = (socket.AF_INET, socket.AF_INET6)
PRIVILEGED_PORTS = 1024
MOST = 128  # bytes of an address


def bind_port(task: Task, fd: int, address: int, size: int) -> Any:
    """bind(2) of a socket that is not a unix one. Carried out here, on a descriptor that has been looked at: so no unix
    socket can get a name of the host, whatever another thread puts in its place.

    Programs have no privilege on the host: ports below 1024 the kernel lends, where it may bind them, to those who
    have the right in the container.
    """
    if not 0 <= size <= MOST:
        fail(errno.EINVAL)
    platform = task.process.container.kernel.platform
    data = task.read(address, size) if size else b""
    low = len(data) >= 4 and struct.unpack_from("<H", data)[0] in INTERNET
    low = low and 0 < struct.unpack_from(">H", data, 2)[0] < PRIVILEGED_PORTS and host_binds_ports()
    if low and not task.credentials.has(CAP_NET_BIND_SERVICE):
        fail(errno.EACCES)

    def bind(fds: list[int]) -> int:
        with socket.socket(fileno=fds[0]) as taken:
            if taken.family == socket.AF_UNIX:
                fail(errno.EINVAL)  # another thread was quicker
            libc.bind(taken.fileno(), data)
        return 0

    return platform.fetch_fds(task, [fd], bind)


@functools.cache
def host_binds_ports() -> bool:
    """May the kernel itself bind the host's ports below 1024?"""
    for line in host_text("self/status").splitlines():
        if line.startswith(b"CapEff:"):
            return bool(int(line.split()[1], 16) >> CAP_NET_BIND_SERVICE & 1)
    return False
