"""A container as the kernel has it: a root, mounts, a host name, processes. Each sees only itself."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import time
import uuid
from typing import TYPE_CHECKING

from pycontain.kernel.abi import host_stat
from pycontain.kernel.datagrams import Datagrams
from pycontain.kernel.filelocks import FileLocks
from pycontain.kernel.inotify import Watches
from pycontain.kernel.ipc import IpcRegister
from pycontain.kernel.limits import Limits
from pycontain.kernel.load import LoadAverage
from pycontain.kernel.task import Process, Task
from pycontain.kernel.unix import STRANGER, UnixSockets
from pycontain.kernel.usage import Usage
from pycontain.kernel.vfs.devfs import PTY_SLAVE_MAJOR, DevPts
from pycontain.kernel.vfs.filesystem import Filesystem, fail
from pycontain.kernel.vfs.handles import HandlePool, descriptors, open_files
from pycontain.kernel.vfs.hostfs import HostFs
from pycontain.kernel.vfs.live import LiveFiles
from pycontain.kernel.vfs.mount import Mount, Node
from pycontain.kernel.vfs.overlayfs import OverlayFs
from pycontain.kernel.vfs.proctext import host_file
from pycontain.kernel.vfs.sizedtmpfs import SizedTmpfs
from pycontain.kernel.vfs.unionfs import UnionFs
from pycontain.kernel.vfs.walk import NameCaches, path_of
from pycontain.unionfs.inode import Stat

if TYPE_CHECKING:
    from pycontain.kernel.kernel import Kernel

MOST_BURIED = 1024  # processes that have ended whose users are known
FIRST_MOUNT = 20  # its number in /proc/PID/mountinfo
RELEASE = b"6.1.0-pycontain"
VERSION = b"#1 SMP pycontain emulated kernel"


class Container:
    """See the module. number: counts the kernel's containers, for values that must differ between them."""

    def __init__(self, kernel: Kernel, identity: str, number: int, root_fs: UnionFs, directory: str) -> None:
        self.kernel = kernel
        self.id = identity
        self.number = number
        self.directory = directory
        self.root_fs = root_fs
        self.root_mount = Mount(root_fs, root_fs.root, source="overlay")
        self.root_mount.number = FIRST_MOUNT
        self._watch_names(root_fs)
        self.root = Node(self.root_mount, root_fs.root)
        self.mounts: list[Mount] = [self.root_mount]
        self._overlays: list[Mount] = []
        self.mount_generation = 0
        self._mount_number = self.root_mount.number
        self.mounted = 0  # how many tmpfs were mounted inside
        self.proc_mount: Mount | None = None
        self.devpts = DevPts(os.makedev(0, 46))
        self.names = NameCaches()
        self.left_root = False  # set by a walk that entered another file system
        self.processes: dict[int, Process] = {}
        self.init: Process | None = None
        self.hostname = identity[:12].encode()
        self.domainname = b"(none)"
        self.release = RELEASE
        self.version = VERSION
        self.boot_id = str(uuid.uuid4()).encode()
        self.started_at = time.time_ns()
        self.started_after = time.clock_gettime(time.CLOCK_BOOTTIME)  # of the host
        self.bounding = 0
        self.sockets = UnixSockets()
        self.datagrams = Datagrams(kernel.loop)
        self.paused = False
        self.rebooted = 0  # the signal that reboot(2) ends it with
        self._zombies: dict[int, tuple[Process, bytes]] = {}
        self._buried: dict[int, tuple[int, int]] = {}
        self.limits = Limits(self, {})
        self.usage = Usage(self)
        self.load = LoadAverage(self)
        self.live = LiveFiles(kernel.loop)
        self.watches = Watches(kernel.loop)
        self.handles = HandlePool(kernel.handle_directory, number)
        self.locks = FileLocks(kernel, self.processes)
        self.ipc = IpcRegister(os.path.join(directory, "ipc"))

    def close(self) -> None:
        """Nothing of it runs any more: give back what it has of the host."""
        if self.kernel.teacher is not None:
            self.kernel.teacher.forget(self)
        for part in (
            self.root_fs, self.ipc, self.watches, self.datagrams, self.locks, self.handles, self.devpts, self.live,
        ):  # fmt: skip
            part.close()
        for mount in self.mounts:
            if isinstance(mount.fs, SizedTmpfs | HostFs):
                mount.fs.close()

    # -- holding everything still

    def freeze(self) -> None:
        """No task runs until thaw(). Nobody inside can tell, unlike with SIGSTOP."""
        for process in self.processes.values():
            for task in process.threads.values():
                self.kernel.platform.hold(task)

    def thaw(self) -> None:
        for process in self.processes.values():
            for task in process.threads.values():
                self.kernel.platform.release(task)

    # -- numbers of processes

    def sender(self, pid: int) -> tuple[int, int]:
        """See platforms.base.Listener. A signal may come when who sent it has ended and has been waited for."""
        process = self.processes.get(pid)
        if process is not None:
            return self.inside(pid), process.credentials.uid
        buried = self._buried.get(pid)
        return (0, 0) if buried is None else (self.inside(pid), buried[0])

    def owner(self, pid: int) -> tuple[int, int, int]:
        """Number, real user and group of a process, as SCM_CREDENTIALS tells them; nobody's for one that is not here."""
        process = self.processes.get(pid)
        if process is not None:
            return self.inside(pid), process.credentials.uid, process.credentials.gid
        buried = self._buried.get(pid)
        return STRANGER if buried is None else (self.inside(pid), *buried)

    def inside(self, pid: int) -> int:
        """A host process or thread number as the container knows it."""
        return 1 if self.init is not None and pid == self.init.pid else pid

    def outside(self, number: int) -> int:
        return self.init.pid if number == 1 and self.init is not None else number

    def inside_or_zero(self, pid: int) -> int:
        """For groups and sessions, which may belong to a process that is not the container's."""
        if self.init is not None and pid == self.init.pid:
            return 1
        return pid if pid in self.processes or self._group_known(pid) else 0

    def _group_known(self, group: int) -> bool:
        for pid in self.processes:
            try:
                if os.getpgid(pid) == group or os.getsid(pid) == group:
                    return True
            except ProcessLookupError:
                continue
        return False

    def bury(self, process: Process) -> None:
        """A process has ended. It is still there for its parent to wait for: until then it can be named."""
        self.processes.pop(process.pid, None)
        self._buried[process.pid] = process.credentials.uid, process.credentials.gid
        if len(self._buried) > MOST_BURIED:
            del self._buried[next(iter(self._buried))]
        if len(self._zombies) > 256:
            self._zombies = {pid: z for pid, z in self._zombies.items() if self.zombie(pid) is not None}
        birth = birth_of(process.pid)
        if birth:
            self._zombies[process.pid] = (process, birth)

    def zombie(self, pid: int) -> Process | None:
        """The process of this number that has ended and that nobody has waited for yet."""
        found = self._zombies.get(pid)
        if found is None or birth_of(pid) != found[1]:
            return None
        return found[0]

    def zombies(self) -> list[Process]:
        return [process for pid, (process, _) in self._zombies.items() if self.zombie(pid) is not None]

    def thread_owner(self, tid: int) -> Process | None:
        for process in self.processes.values():
            if tid in process.threads:
                return process
        return None

    def runs(self, file: Node) -> bool:
        """Does a process run this file's program? Nobody may write to it then."""
        fs, ino = file.mount.fs, file.inode.ino
        programs = (process.executable for process in self.processes.values())
        return any(p is not None and p.inode.ino == ino and p.mount.fs is fs for p in programs)

    # -- mounts

    @property
    def overlaid(self) -> bool:
        """Is an overlay mounted inside? Its files are those of its layers, too."""
        return bool(self._overlays)

    def mount(
        self,
        fs: Filesystem,
        point: Node,
        target: bytes,
        *,
        source: str = "none",
        read_only: bool = False,
    ) -> Mount:
        new = Mount(fs, fs.root, source=source, read_only=read_only)
        new.locked = read_only
        self.attach(new, point, target)
        return new

    def attach(self, mount: Mount, point: Node, target: bytes) -> None:
        """Put a mount on a node; target: the node's path inside."""
        mount.parent, mount.below, mount.target = point.mount, point.inode, target
        self._watch_names(mount.fs)
        if not mount.number:
            self._mount_number += 1
            mount.number = self._mount_number
        point.mount.covered[point.inode.ino] = mount
        if mount not in self.mounts:
            self.mounts.append(mount)
            if isinstance(mount.fs, OverlayFs):
                self._overlays.append(mount)
        self.mount_generation += 1

    def _watch_names(self, fs: Filesystem) -> None:
        if isinstance(fs, UnionFs):
            fs.open_elsewhere = lambda: open_files(self.processes)
            fs.preparations.processors = self.kernel.processors

    def detach(self, mount: Mount) -> None:
        """Take a mount from its node; what it covered can be seen again."""
        assert mount.parent is not None
        del mount.parent.covered[mount.below.ino]
        self.mount_generation += 1

    def unmount(self, mount: Mount) -> None:
        self.detach(mount)
        self.mounts.remove(mount)
        if mount in self._overlays:
            self._overlays.remove(mount)

    def discard(self, fs: Filesystem) -> None:
        """A file system that was mounted inside is not mounted any more, and nobody uses it."""
        if isinstance(fs, UnionFs) and fs.directory is not None and fs is not self.root_fs:
            fs.close()
            shutil.rmtree(fs.directory, ignore_errors=True)
        elif isinstance(fs, HostFs):
            fs.close()

    # -- descriptors

    def open_handle(self, node: Node, path_only: bool = False) -> int:
        """A descriptor that stands for a directory, or for anything opened with O_PATH. The handle owns it."""
        return self.handles.open(node, self.processes, path_only)

    def node_of_fd(self, task: Task, fd: int) -> Node | None:
        """What a descriptor of a task names; None for pipes, sockets, terminals. Raises EBADF."""
        return self._reached(self.identify(task.host_stat(fd)), task.tid, fd)

    def node_of_descriptor(self, pid: int, fd: int) -> Node | None:
        """The same, of another process."""
        return self._reached(self.identify(self.host_stat_of_fd(pid, fd)), pid, fd)

    def _reached(self, node: Node | None, pid: int, fd: int) -> Node | None:
        if node is not None and node.inode.nlink == 0:
            path = f"/proc/{pid}/fd/{fd}"
            info = os.stat(path)
            if self.handles.find(info.st_dev, info.st_ino) is None:
                node.mount.fs.reach(node.inode, path)
            else:
                self._reach(node)
        return node

    def _reach(self, node: Node) -> None:
        """Find the bytes of a file without a name, of which a descriptor is known that only stands for it (O_PATH)."""
        fs, inode = node.mount.fs, node.inode
        for pid, number, info in descriptors(self.processes):
            found = fs.by_descriptor(info.st_dev, info.st_ino)
            if found is not None and found.ino == inode.ino:
                fs.reach(inode, f"/proc/{pid}/fd/{number}")
                return

    def host_stat_of_fd(self, pid: int, fd: int) -> os.stat_result:
        if fd < 0:
            fail(errno.EBADF)
        try:
            return os.stat(f"/proc/{pid}/fd/{fd}")
        except FileNotFoundError:
            fail(errno.EBADF)

    def identify(self, info: os.stat_result) -> Node | None:
        """What it is that the host describes so; None for what is not in a file system of the container."""
        dev, ino = info.st_dev, info.st_ino
        handle = self.handles.find(dev, ino)
        if handle is not None:
            return handle.current()
        if not stat.S_ISREG(info.st_mode) and not stat.S_ISFIFO(info.st_mode):
            return None
        for mount in (*self._overlays, *self.mounts):  # a file of an overlay is one of its layers', too
            inode = mount.fs.by_descriptor(dev, ino)
            if inode is not None:
                gone = inode.nlink == 0 and inode.content is None and info.st_nlink
                if gone and (dev, ino) in getattr(mount.fs, "by_host", ()):
                    continue  # the host gave its number to another file
                return Node(mount, inode)
        return None

    def unchanged(self, key: tuple[int, int]) -> bytes | None:
        """struct stat of a file of the image that is as the image has it, by (st_dev, st_ino) of its backing file."""
        if self._overlays:
            return None  # it may be a file of theirs
        fs = self.root_fs
        inode = fs.image.by_host.get(key)
        if inode is None or inode.ino in fs.changed or key in fs.by_host:
            return None
        return fs.packed_stat(inode)

    def node_of_mapping(self, major: int, minor: int, ino: int) -> Node | None:
        """The file behind a line of /proc/PID/maps."""
        dev = os.makedev(major, minor)
        for mount in self.mounts:
            inode = mount.fs.by_descriptor(dev, ino)
            if inode is not None:
                return Node(mount, inode)
        return None

    def stat_fd(self, task: Task, fd: int) -> tuple[int, Stat]:
        """(device, stat) of a descriptor."""
        return self.stat_host(task, task.host_stat(fd))

    def stat_host(self, task: Task, info: os.stat_result) -> tuple[int, Stat]:
        """The same, of one that the host describes so."""
        node = self.identify(info)
        if node is not None:
            fs, inode = node.mount.fs, node.inode
            key = info.st_dev, info.st_ino
            if (
                inode.content is None
                and stat.S_ISREG(inode.mode)
                and stat.S_ISREG(info.st_mode)
                and self.handles.find(*key) is None
                and key in getattr(fs, "by_host", (key,))  # else it is the image's, which is not this file any more
            ):
                # the bytes are in the file behind the descriptor, which may have lost its name meanwhile
                return fs.dev, Stat(
                    inode.ino, inode.mode, inode.nlink, inode.uid, inode.gid, inode.rdev, info.st_size,
                    info.st_blocks, info.st_atime_ns, info.st_mtime_ns, max(inode.ctime, info.st_ctime_ns),
                )  # fmt: skip
            if inode.nlink == 0 and self.handles.find(*key) is not None:
                self._reach(node)
            return fs.dev, fs.stat(inode)
        who = task.credentials
        if stat.S_ISCHR(info.st_mode):
            if os.major(info.st_rdev) == PTY_SLAVE_MAJOR:
                slave = self.devpts.by_rdev(info.st_rdev)
                if slave is not None:
                    return self.devpts.dev, self.devpts.stat(slave)
            return os.makedev(0, 45), host_stat(info, 0, 0)
        return info.st_dev, host_stat(info, who.euid, who.egid)

    def describe_fd(self, pid: int, fd: int, root: Node) -> bytes:
        """The text of /proc/PID/fd/N."""
        info = self.host_stat_of_fd(pid, fd)
        node = self.identify(info)
        if node is not None:
            path = path_of(root, node)
            return path if node.inode.nlink else path + b" (deleted)"
        try:
            target = os.fsencode(os.readlink(f"/proc/{pid}/fd/{fd}"))
        except FileNotFoundError:
            fail(errno.EBADF)
        if target.startswith((b"pipe:", b"socket:", b"anon_inode:", b"/memfd:", b"/dev/")):
            return target
        return b"/(unknown)"

    def version_line(self) -> bytes:
        return b"Linux version %s (pycontain) (python) %s\n" % (self.release, self.version)


def birth_of(pid: int) -> bytes:
    """When a host process that is a zombie started, in ticks since boot; empty if there is no such zombie."""
    text = host_file(pid, "stat")
    if not text:
        return b""
    fields = text[text.rindex(b")") + 2 :].split()
    return fields[19] if fields[0] == b"Z" else b""
