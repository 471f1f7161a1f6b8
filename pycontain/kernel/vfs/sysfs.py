"""/sys of a container: processors and memory nodes of the host as far as it may use them, its cgroup, little else."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pycontain.kernel.abi import O_ACCMODE
from pycontain.kernel.limits import list_text
from pycontain.kernel.vfs.hostfs import HostFs
from pycontain.kernel.vfs.textfs import memory_file
from pycontain.kernel.vfs.unionfs import UnionFs, new_tmpfs
from pycontain.unionfs.inode import Inode

if TYPE_CHECKING:
    from pycontain.kernel.container import Container
    from pycontain.kernel.task import Task

SYSFS_MAGIC = 0x62656572
PROCESSORS = "/sys/devices/system/cpu"
NODES = "/sys/devices/system/node"
HUGE_PAGES = "kernel/mm/transparent_hugepage"
CLOCK = "devices/system/clocksource/clocksource0"
COPIED = {
    HUGE_PAGES: ("enabled", "hpage_pmd_size", "shmem_enabled", "defrag"),
    CLOCK: ("current_clocksource", "available_clocksource"),  # redis warns of a slow one
}
DIRECTORIES = (
    "fs/cgroup",
    PROCESSORS[5:],
    NODES[5:],
    HUGE_PAGES,
    CLOCK,
    "class/net",
    "class/block",
    "dev/block",
    "dev/char",
    "block",
)


def new_sysfs(directory: str, dev: int) -> UnionFs:
    """The tree that the other file systems are mounted on."""
    fs = new_tmpfs(directory, dev, 0o755)
    fs.type, fs.magic = "sysfs", SYSFS_MAGIC
    for path in DIRECTORIES:
        node = fs.root
        for name in path.encode().split(b"/"):
            node = fs.lookup(node, name) or fs.mkdir(node, name, 0o755, 0, 0)
    for path, names in COPIED.items():
        for text in names:
            try:
                with open(f"/sys/{path}/{text}", "rb") as file:
                    fs.write_bytes(fs.walk(path.encode()), text.encode(), file.read(), mode=0o444)
            except OSError:
                continue  # a host without it
    return fs


class HostSysFs(HostFs):
    """A directory of the host's /sys, to be mounted read-only."""

    def __init__(self, path: str, dev: int) -> None:
        super().__init__(path, dev)
        self.type, self.magic = "sysfs", SYSFS_MAGIC


class ProcessorFs(HostSysFs):
    """/sys/devices/system/cpu, where only the processors of the container's set are online."""

    def __init__(self, container: Container, dev: int) -> None:
        super().__init__(PROCESSORS, dev)
        self._container = container

    def open(self, inode: Inode, flags: int, task: Task) -> int:
        if inode.parent is self.root and inode.name in (b"online", b"offline") and not flags & O_ACCMODE:
            chosen = self._container.limits.processors()
            if inode.name == b"offline":
                chosen = sorted(_present() - set(chosen))
            return memory_file(list_text(chosen).encode() + b"\n")
        return super().open(inode, flags, task)


def _present() -> set[int]:
    """The processors that the host has, usable or not."""
    with open(os.path.join(PROCESSORS, "present")) as file:
        return numbers(file.read().strip())


def numbers(text: str) -> set[int]:
    """cpuset(7)'s list format: 0-2,4 -> {0, 1, 2, 4}. ValueError where it is none."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found
