"""/proc of a container: its own processes, numbered as it sees them, and the host's figures where they are harmless.

A file's content is a function, called when the file is opened; the descriptor that a program gets is a memory file
with that text.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

from pycontain.kernel.abi import O_ACCMODE, S_IFDIR
from pycontain.kernel.vfs import ipctext, procsys, proctext, systemtext
from pycontain.kernel.vfs.filesystem import fail
from pycontain.kernel.vfs.procinode import ProcInode
from pycontain.kernel.vfs.procpid import PID_BASE, TRACED, ProcessEntries
from pycontain.kernel.vfs.textfs import memory_file
from pycontain.unionfs.inode import Inode

if TYPE_CHECKING:
    from pycontain.kernel.container import Container
    from pycontain.kernel.task import Task

# about the machine, as the container's limits and age make them
OWN_TEXT: dict[str, Callable[[Container], bytes]] = {
    "cgroups": systemtext.cgroups,
    "cpuinfo": systemtext.cpuinfo,
    "loadavg": systemtext.loadavg,
    "meminfo": systemtext.meminfo,
    "stat": systemtext.stat,
    "uptime": systemtext.uptime,
}
HOST_TEXT = ("vmstat", "filesystems", "swaps", "diskstats", "partitions", "devices", "interrupts", "softirqs",
             "buddyinfo", "zoneinfo", "crypto", "consoles", "misc", "schedstat")  # fmt: skip
PRESSURE = (b"cpu", b"io", b"memory")
# kept open and read again and again (top): their text must stay new
LIVE = ("uptime", "loadavg", "stat", "meminfo")
HOST_LIVE = ("vmstat", "diskstats", "interrupts", "softirqs")  # programs get the host's own file


class ProcFs(ProcessEntries):
    """procfs(5) as far as Debian's tools read it."""

    def lookup(self, directory: Inode, name: bytes) -> Inode | None:
        assert isinstance(directory, ProcInode)
        if not self._alive(directory.process):
            fail(errno.ESRCH)
        found: Inode | None = getattr(self, f"_lookup_{directory.kind}")(directory, name)
        return found

    def names(self, directory: Inode) -> list[tuple[bytes, int, int]]:
        assert isinstance(directory, ProcInode)
        if not self._alive(directory.process):
            return []
        listed: list[bytes] = getattr(self, f"_names_{directory.kind}")(directory)
        found = []
        for name in listed:
            inode = self.lookup(directory, name)
            if inode is not None:
                found.append((name, inode.ino, inode.mode))
        return found

    def _names_root(self, directory: ProcInode) -> list[bytes]:
        fixed = [b"self", b"thread-self", b"mounts", b"net", b"sys", b"sysvipc", b"version", b"cmdline"]
        fixed += [name.encode() for name in (*OWN_TEXT, *HOST_TEXT)]
        fixed += [b"pressure"] * os.path.isdir("/proc/pressure")
        there = {*self.container.processes, *(process.pid for process in self.container.zombies())}
        pids = [str(self.container.inside(pid)).encode() for pid in sorted(there)]
        return fixed + pids

    def _lookup_root(self, directory: ProcInode, name: bytes) -> Inode | None:
        container = self.container
        if name.isdigit():
            pid = container.outside(int(name))
            process = container.processes.get(pid) or container.zombie(pid)
            if process is None:
                owner = container.thread_owner(container.outside(int(name)))
                if owner is None:
                    return None
                inode = self._make(
                    directory, name, S_IFDIR | 0o555, "pid", PID_BASE + int(name) * 4096 + 3000, owner
                )
                inode.thread = int(name)
                return inode
            return self._make(directory, name, S_IFDIR | 0o555, "pid", PID_BASE + process.pid * 4096, process)
        if name in (b"self", b"thread-self"):
            return self._link(directory, name, b"")
        if name == b"mounts":
            return self._link(directory, name, b"self/mounts")
        if name == b"net":
            return self._link(directory, name, b"self/net")
        if name == b"sys":
            return self._make(directory, name, S_IFDIR | 0o555, "sys", self._number(directory, name))
        if name == b"sysvipc":
            return self._make(directory, name, S_IFDIR | 0o555, "sysvipc", self._number(directory, name))
        if name == b"pressure" and os.path.isdir("/proc/pressure"):
            return self._make(directory, name, S_IFDIR | 0o555, "pressure", self._number(directory, name))
        if name == b"version":
            return self._file(directory, name, 0o444, container.version_line)
        if name == b"cmdline":
            return self._file(directory, name, 0o444, lambda: b"\n")
        text = os.fsdecode(name)
        if text in OWN_TEXT:
            inode = self._file(directory, name, 0o444, lambda: OWN_TEXT[text](container))
            if text in LIVE:
                inode.kind = "live"
            return inode
        if text in HOST_TEXT:
            inode = self._file(directory, name, 0o444, lambda: proctext.host_text(text))
            if text in HOST_LIVE:
                inode.kind, inode.host = "live", f"/proc/{text}"
            return inode
        return None

    def _names_pressure(self, directory: ProcInode) -> list[bytes]:
        return [name for name in PRESSURE if os.path.exists(f"/proc/pressure/{name.decode()}")]

    def _lookup_pressure(self, directory: ProcInode, name: bytes) -> Inode | None:
        """The host's: what waits for its processors, memory and disks."""
        if name not in self._names_pressure(directory):
            return None
        path = f"pressure/{name.decode()}"
        return self._file(directory, name, 0o444, lambda: proctext.host_text(path))

    def _names_sysvipc(self, directory: ProcInode) -> list[bytes]:
        return [b"msg", b"sem", b"shm"]

    def _lookup_sysvipc(self, directory: ProcInode, name: bytes) -> Inode | None:
        if name not in self._names_sysvipc(directory):
            return None
        return self._file(directory, name, 0o444, lambda: ipctext.text(self.container, name.decode()))

    @cached_property
    def _sys_entries(self) -> dict[str, Callable[[], bytes]]:
        return procsys.entries(self.container)

    def _sys_path(self, directory: Inode) -> str:
        parts: list[str] = []
        node = directory
        while isinstance(node, ProcInode) and node.kind == "sys" and node.name != b"sys":
            parts.append(node.name.decode())
            node = node.parent or self.root
        return "".join(part + "/" for part in reversed(parts))

    def _names_sys(self, directory: ProcInode) -> list[bytes]:
        prefix = self._sys_path(directory)
        names = {n[len(prefix) :].split("/")[0] for n in self._sys_entries if n.startswith(prefix)}
        return [name.encode() for name in sorted(names)]

    def _lookup_sys(self, directory: ProcInode, name: bytes) -> Inode | None:
        path = self._sys_path(directory) + os.fsdecode(name)
        table = self._sys_entries
        if path in table:
            return self._file(directory, name, 0o444, table[path])
        if any(known.startswith(path + "/") for known in table):
            return self._make(directory, name, S_IFDIR | 0o555, "sys", self._number(directory, name))
        return None

    def open(self, inode: Inode, flags: int, task: Task) -> int:
        assert isinstance(inode, ProcInode)
        if not self._alive(inode.process):
            fail(errno.ESRCH)
        if inode.kind == "special":
            return self._reopen(inode, flags & ~(os.O_CREAT | os.O_EXCL) | os.O_CLOEXEC | os.O_NOCTTY)
        if inode.kind == "live" and not flags & (O_ACCMODE | os.O_TRUNC):
            if not inode.host and inode.text is not None:
                return self.container.live.open(inode.name.decode(), inode.text)
            return os.open(inode.host, os.O_RDONLY | os.O_CLOEXEC)
        if flags & O_ACCMODE:
            if inode.kind == "live" or not inode.host or flags & O_ACCMODE != os.O_WRONLY:
                fail(errno.EACCES)
            # the task's own file of the host, where a write means the same
            return os.open(inode.host, os.O_WRONLY | os.O_CLOEXEC)
        if inode.text is None:
            fail(errno.EACCES)
        if inode.name in TRACED:
            self._owner(inode, task)
        text = inode.text()
        if inode.process is task.process and inode.name in (b"stat", b"status"):
            text = proctext.running(text)
        return memory_file(text)
