"""/proc/PID: a process, its threads, its descriptors and where its links lead.

A process may end while a program still holds its directory, and the host may give its number to a process of its
own. So every use looks whether the process is still there; nothing can end while a call is answered (see _alive).
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pycontain.kernel.abi import O_ACCMODE, S_IFDIR, S_IFLNK, S_IFREG
from pycontain.kernel.vfs import proctext
from pycontain.kernel.vfs.devfs import PTMX
from pycontain.kernel.vfs.filesystem import fail
from pycontain.kernel.vfs.mount import Node
from pycontain.kernel.vfs.procinode import ProcBase, ProcInode
from pycontain.kernel.vfs.walk import path_of
from pycontain.unionfs.inode import Inode

if TYPE_CHECKING:
    from pycontain.kernel.container import Container
    from pycontain.kernel.task import Process, Task

PID_BASE = 1 << 20  # inode numbers: PID_BASE + host pid * 4096 + what
Text = Callable[["Container", "Process"], bytes]
PID_FILES: dict[bytes, tuple[int, Text]] = {
    b"cgroup": (0o444, lambda c, p: b"0::/\n"),
    b"cmdline": (0o444, proctext.cmdline),
    b"comm": (0o644, proctext.comm),
    b"coredump_filter": (0o644, lambda c, p: proctext.host_file(p.pid, "coredump_filter")),
    b"cpuset": (0o444, lambda c, p: b"/\n"),
    b"environ": (0o400, proctext.environ),
    b"auxv": (0o400, lambda c, p: proctext.host_file(p.pid, "auxv")),
    b"gid_map": (0o644, lambda c, p: b"         0          0 4294967295\n"),
    b"uid_map": (0o644, lambda c, p: b"         0          0 4294967295\n"),
    b"sched": (0o444, proctext.sched),
    b"schedstat": (0o444, lambda c, p: proctext.host_file(p.pid, "schedstat")),
    b"setgroups": (0o644, lambda c, p: b"allow\n"),
    b"io": (0o400, lambda c, p: proctext.host_file(p.pid, "io")),
    b"limits": (0o444, lambda c, p: proctext.host_file(p.pid, "limits")),
    b"loginuid": (0o644, lambda c, p: b"4294967295"),
    b"sessionid": (0o444, lambda c, p: b"4294967295"),
    b"maps": (0o444, proctext.maps),
    b"mountinfo": (0o444, proctext.mountinfo),
    b"mounts": (0o444, proctext.mounts),
    b"mountstats": (0o400, proctext.mountstats),
    b"oom_adj": (0o644, lambda c, p: proctext.host_file(p.pid, "oom_adj")),
    b"oom_score": (0o444, lambda c, p: proctext.host_file(p.pid, "oom_score")),
    b"oom_score_adj": (0o644, lambda c, p: proctext.host_file(p.pid, "oom_score_adj")),
    b"personality": (0o400, lambda c, p: b"00000000\n"),
    b"smaps": (0o444, proctext.smaps),
    b"smaps_rollup": (0o444, lambda c, p: proctext.host_file(p.pid, "smaps_rollup")),
    b"stat": (0o444, proctext.stat_line),
    b"statm": (0o444, lambda c, p: proctext.host_file(p.pid, "statm")),
    b"status": (0o444, proctext.status),
    b"wchan": (0o444, lambda c, p: b"0"),
}
TRACED = (b"maps", b"smaps", b"smaps_rollup")  # readable by mode, but only by who may trace the process
THREAD_FILES: dict[bytes, Callable[[Container, Process, int], bytes]] = {
    b"comm": proctext.comm,
    b"sched": proctext.sched,
    b"stat": proctext.stat_line,
    b"status": proctext.status,
}
PID_LINKS = (b"cwd", b"exe", b"root")
PID_DIRS = (b"fd", b"fdinfo", b"net", b"ns", b"task", b"attr")
WRITABLE = (b"oom_score_adj", b"oom_adj", b"comm", b"coredump_filter")
NET_TEXT = ("dev", "tcp", "tcp6", "udp", "udp6", "unix", "route", "if_inet6", "ipv6_route", "snmp", "snmp6", "netstat",
            "protocols", "sockstat", "sockstat6", "arp", "raw", "raw6", "igmp", "packet", "psched")  # fmt: skip


class ProcessEntries(ProcBase):
    """_lookup_KIND and _names_KIND are those of a directory of that kind."""

    def _lookup_pid(self, directory: ProcInode, name: bytes) -> Inode | None:
        process = directory.process
        assert process is not None
        container = self.container
        entry = PID_FILES.get(name)
        thread = directory.thread
        number = PID_BASE + process.pid * 4096 + 1
        if entry is not None:
            mode, text = entry
            ino = number + 100 + list(PID_FILES).index(name)
            inode = self._make(directory, name, S_IFREG | mode, "file", ino, process)
            inode.text = lambda: text(container, process)
            if thread is not None and name in THREAD_FILES:
                inode.text = lambda: THREAD_FILES[name](container, process, thread)
            if name in WRITABLE:
                inside = f"{process.pid}" if thread is None else f"{process.pid}/task/{thread}"
                inode.host = f"/proc/{inside}/{name.decode()}"
            return inode
        if name == b"children" and thread is not None:
            return self._file(directory, name, 0o444, lambda: proctext.children(container, process, thread))
        if name in PID_LINKS:
            return self._make(
                directory, name, S_IFLNK | 0o777, name.decode(), number + PID_LINKS.index(name), process
            )
        if name in PID_DIRS:
            kind = {
                b"fd": "fd",
                b"fdinfo": "fdinfo",
                b"net": "net",
                b"ns": "ns",
                b"task": "task",
                b"attr": "attr",
            }
            mode = S_IFDIR | (0o500 if name in (b"fd", b"fdinfo") else 0o511 if name == b"ns" else 0o555)
            found = self._make(directory, name, mode, kind[name], number + 10 + PID_DIRS.index(name), process)
            if name == b"task":
                found.nlink = 2 + len(process.threads)
            return found
        return None

    def _names_pid(self, directory: ProcInode) -> list[bytes]:
        return [*PID_FILES, *PID_LINKS, *PID_DIRS, *([b"children"] if directory.thread is not None else ())]

    def _lookup_task(self, directory: ProcInode, name: bytes) -> Inode | None:
        process = directory.process
        assert process is not None
        if not name.isdigit() or self.container.outside(int(name)) not in process.threads:
            return None
        tid = self.container.outside(int(name))
        inode = self._make(directory, name, S_IFDIR | 0o555, "pid", PID_BASE + tid * 4096 + 3000, process)
        inode.thread = tid
        return inode

    def _names_task(self, directory: ProcInode) -> list[bytes]:
        assert directory.process is not None
        return [str(self.container.inside(tid)).encode() for tid in sorted(directory.process.threads)]

    def _lookup_special(self, directory: ProcInode, name: bytes) -> Inode | None:
        """A directory of which only the host knows, come through a socket: there is nothing in it."""
        return None

    def _names_special(self, directory: ProcInode) -> list[bytes]:
        return []

    def _names_fd(self, directory: ProcInode) -> list[bytes]:
        assert directory.process is not None
        try:
            found = os.listdir(f"/proc/{directory.process.pid}/fd")
        except OSError:
            return []
        return [name.encode() for name in sorted(found, key=int)]

    def _lookup_fd(self, directory: ProcInode, name: bytes) -> Inode | None:
        process = directory.process
        assert process is not None
        if not name.isdigit() or (name[:1] == b"0" and name != b"0"):
            return None
        try:
            mode = os.lstat(f"/proc/{process.pid}/fd/{int(name)}").st_mode
        except OSError:
            return None
        ino = PID_BASE + process.pid * 4096 + 200 + int(name) % 2048
        return self._make(directory, name, S_IFLNK | mode & 0o700, "descriptor", ino, process)

    _names_fdinfo = _names_fd

    def _lookup_fdinfo(self, directory: ProcInode, name: bytes) -> Inode | None:
        process = directory.process
        assert process is not None
        path = f"/proc/{process.pid}/fdinfo/{name.decode('ascii', 'replace')}"
        if not name.isdigit() or not os.path.exists(path):
            return None
        inode = self._file(directory, name, 0o400, lambda: proctext.read_host(path))
        return inode

    def _names_ns(self, directory: ProcInode) -> list[bytes]:
        return [b"cgroup", b"ipc", b"mnt", b"net", b"pid", b"user", b"uts"]

    def _lookup_ns(self, directory: ProcInode, name: bytes) -> Inode | None:
        names = self._names_ns(directory)
        if name not in names:
            return None
        number = 4026531835 + self.container.number * 16 + names.index(name)
        return self._link(directory, name, b"%s:[%d]" % (name, number))

    def _names_attr(self, directory: ProcInode) -> list[bytes]:
        return [b"current"]

    def _lookup_attr(self, directory: ProcInode, name: bytes) -> Inode | None:
        return self._file(directory, name, 0o444, lambda: b"unconfined\n") if name == b"current" else None

    def _names_net(self, directory: ProcInode) -> list[bytes]:
        return [name.encode() for name in NET_TEXT]

    def _lookup_net(self, directory: ProcInode, name: bytes) -> Inode | None:
        text = os.fsdecode(name)
        if text not in NET_TEXT:
            return None
        if name == b"unix":
            return self._file(directory, name, 0o444, lambda: proctext.net_unix(self.container))
        return self._file(directory, name, 0o444, lambda: proctext.host_text(f"net/{text}"))

    def _owner(self, inode: ProcInode, task: Task) -> Process:
        """Whose link it is, if the task may look into that process (ptrace(2), access mode checking)."""
        process = inode.process
        if process is None or self._ended(process):
            fail(errno.ENOENT)
        who, other = task.credentials, process.credentials
        if (
            process is not task.process
            and who.euid != 0
            and not (
                {other.uid, other.euid, other.suid} == {who.fsuid}
                and other.egid == other.gid == who.fsgid
                and process.dumpable == 1
            )
        ):
            fail(errno.EACCES)
        return process

    def readlink(self, inode: Inode, task: Task) -> bytes:
        assert isinstance(inode, ProcInode)
        container = self.container
        if inode.kind == "link":
            if inode.name == b"self":
                return b"%d" % container.inside(task.process.pid)
            if inode.name == b"thread-self":
                return b"%d/task/%d" % (container.inside(task.process.pid), container.inside(task.tid))
            return inode.target or b""
        process = self._owner(inode, task)
        root = task.files.root
        place = _place(inode, process)
        if place is not None:
            gone = inode.kind != "root" and place.inode.nlink == 0
            return path_of(root, place) + (b" (deleted)" if gone else b"")
        if inode.kind == "exe":
            return b"/memfd: (deleted)"
        return container.describe_fd(process.pid, int(inode.name), root)

    def follow(self, inode: Inode, task: Task) -> Any:
        assert isinstance(inode, ProcInode)
        if inode.kind == "link" or inode.process is None:
            return None
        process = self._owner(inode, task)
        place = _place(inode, process)
        if place is not None or inode.kind == "exe":
            return place
        number = int(inode.name)
        node = self.container.node_of_descriptor(process.pid, number)
        if node is not None:
            return node
        host = f"/proc/{process.pid}/fd/{number}"
        try:
            info = os.stat(host)
        except OSError:
            fail(errno.ENOENT)
        special = self._make(self.root, inode.name, info.st_mode, "special", info.st_ino, process)
        special.host = host
        special.device, special.rdev, special.size = info.st_dev, info.st_rdev, info.st_size
        mount = self.container.proc_mount
        assert mount is not None
        return Node(mount, special)

    def pin(self, inode: Inode) -> int:
        """An O_PATH descriptor of what a task's descriptor names, if it still names what was looked up."""
        if not isinstance(inode, ProcInode) or inode.kind != "special" or not self._alive(inode.process):
            fail(errno.ENXIO)
        pin = os.open(inode.host, os.O_PATH | os.O_CLOEXEC)
        info = os.fstat(pin)
        if (info.st_dev, info.st_ino) != (inode.device, inode.ino):
            os.close(pin)
            fail(errno.ENOENT)
        return pin

    def _reopen(self, inode: ProcInode, flags: int) -> int:
        """What is not the container's (standard input may be a file of the host) is never opened with more rights.

        The rights of the very descriptor cannot be asked for: by then another one may have taken its number. So such
        a file is only ever read.
        """
        pin = self.pin(inode)
        try:
            path = f"/proc/self/fd/{pin}"
            if stat.S_ISCHR(inode.mode):
                if inode.rdev == PTMX:
                    return self.container.devpts.open_master(flags)
                slave = self.container.devpts.by_rdev(inode.rdev)
                if slave is not None:
                    return self.container.devpts.open(slave, flags, None)
            elif not stat.S_ISREG(inode.mode):
                fail(errno.ENXIO)
            elif os.readlink(path).startswith("/memfd:") and inode.device == _memory_device():
                if self.container.live.owns(inode.ino) and flags & (O_ACCMODE | os.O_TRUNC):
                    fail(errno.EACCES)
                return os.open(path, flags)
            elif flags & (O_ACCMODE | os.O_TRUNC):
                fail(errno.EACCES)
            held = os.lstat(inode.host).st_mode
            access = flags & O_ACCMODE
            if not (access == os.O_WRONLY or held & 0o400) or not (access == os.O_RDONLY or held & 0o200):
                fail(errno.EACCES)
            return (
                os.open(path, flags | os.O_NONBLOCK) if flags & os.O_NONBLOCK else _open_blocking(path, flags)
            )
        finally:
            os.close(pin)


def _place(link: ProcInode, process: Process) -> Node | None:
    """Where a link of /proc/PID leads that is a place in the tree, as it is now."""
    thread = link.parent.thread if isinstance(link.parent, ProcInode) else None
    files = process.threads[thread].files if thread in process.threads else process.files
    node = {"exe": process.executable, "cwd": files.cwd, "root": files.root}.get(link.kind)
    return None if node is None else Node(node.mount, node.mount.fs.current(node.inode))


def _open_blocking(path: str, flags: int) -> int:
    """A descriptor that blocks, from an open that does not."""
    fd = os.open(path, flags | os.O_NONBLOCK)
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) & ~os.O_NONBLOCK)
    return fd


def _memory_device() -> int:
    """The device number of memory files, which no file with a name has."""
    fd = os.memfd_create("probe", os.MFD_CLOEXEC)
    try:
        return os.fstat(fd).st_dev
    finally:
        os.close(fd)
