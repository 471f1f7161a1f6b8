"""Real cgroups of version 2, where the host has delegated a part of its tree to us (cgroups(7), "Delegation").

    .../ours                     the cgroup that the kernel was started in, if we may write there
    .../ours/pycontain-kernel    the kernel, and what else was in ours: see take()
    .../ours/pycontain-<id>      a container: memory.max, cpu.max, pids.max, cpuset.cpus, and its processes

systemd delegates with `systemd-run --user --scope -p Delegate=yes`, container runtimes with a private cgroup namespace
that is mounted writable. root may write everywhere: there systemd's mark decides (systemd.resource-control(5), Delegate=;
it marks the directory with the attribute trusted.delegate or user.delegate). Where there is none, the kernel counts and enforces limits itself (limits.py).
"""

from __future__ import annotations

import errno
import os
from typing import NamedTuple

from pycontain.errors import ContainerError

NEEDED = ("cpu", "memory", "pids")
WANTED = (*NEEDED, "cpuset")
KERNEL = "pycontain-kernel"
PERIOD_USEC = 100_000


class Undelegated(Exception):
    """Why there is no cgroup for us: a reason, in a few words."""


class Delegation(NamedTuple):
    """A directory of the host's cgroup tree whose children are ours to make. controllers: those they have."""

    path: str
    controllers: tuple[str, ...]

    def make(self, identity: str) -> Cgroup:
        """A container's cgroup. Raises OSError."""
        path = os.path.join(self.path, f"pycontain-{identity[:16]}")
        try:
            os.mkdir(path)
        except FileExistsError:
            pass  # of a container that ended with its kernel
        return Cgroup(path, self.controllers)


def find(
    mountinfo: str = "/proc/self/mountinfo",
    membership: str = "/proc/self/cgroup",
    systemd: str = "/run/systemd/system",
) -> Delegation:
    """The cgroup that we are in, if everything that is needed is there. Changes nothing. Raises Undelegated."""
    mount = _mount(mountinfo)
    if mount is None:
        raise Undelegated("no cgroup file system of version 2 is mounted")
    root, point = mount
    own = _membership(membership)
    if own is None or (root != "/" and own != root and not own.startswith(root + "/")):
        raise Undelegated("our own cgroup is not below the one that is mounted")
    path = os.path.normpath(point + "/" + (own if root == "/" else own[len(root) :]))
    if os.path.basename(path) == KERNEL:
        path = os.path.dirname(path)  # where an earlier kernel has put us
    there = _read(path, "cgroup.controllers").split()
    missing = [name for name in NEEDED if name not in there]
    if missing:
        raise Undelegated(f"{path} does not have the controllers {', '.join(missing)}")
    for name in ("", "cgroup.procs", "cgroup.subtree_control"):
        if not os.access(os.path.join(path, name), os.W_OK):
            raise Undelegated(f"{os.path.join(path, name)} is not writable")
    if os.geteuid() == 0 and os.path.isdir(systemd) and not _marked(path):
        raise Undelegated(f"{path} belongs to systemd, which has not delegated it (Delegate=yes does)")
    return Delegation(path, tuple(name for name in WANTED if name in there))


def take(delegation: Delegation) -> Delegation:
    """Give its children their controllers. Raises Undelegated.

    A cgroup whose children have controllers holds no process (only the root of the whole tree may). So all that are in
    ours, whoever started us among them, move into a child, as `docker` in a container does it at its start.
    """
    path = delegation.path
    wanted = " ".join(f"+{name}" for name in delegation.controllers)
    if set(delegation.controllers) <= set(_read(path, "cgroup.subtree_control").split()):
        return delegation
    leaf = os.path.join(path, KERNEL)
    try:
        try:
            _write(path, "cgroup.subtree_control", wanted)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            os.makedirs(leaf, exist_ok=True)
            _move(path, leaf)
            try:
                _write(path, "cgroup.subtree_control", wanted)
            except OSError:
                _move(leaf, path)
                os.rmdir(leaf)
                raise
    except OSError as error:
        raise Undelegated(f"{path}: give controllers to children: {error.strerror}") from None
    return delegation


def _move(source: str, target: str) -> None:
    """Every process. New ones may be born meanwhile, so it takes some rounds."""
    for _ in range(10):
        pids = _read(source, "cgroup.procs").split()
        if not pids:
            return
        for pid in pids:
            try:
                _write(target, "cgroup.procs", pid)
            except OSError:
                continue  # it has ended, or it is not ours to move; the next step tells


class Cgroup:
    """One container's."""

    def __init__(self, path: str, controllers: tuple[str, ...]) -> None:
        self.path = path
        self.controllers = controllers

    def set(self, memory: int, cpus: float, pids: int, cpuset: str) -> None:
        """Limits as kernel/limits.py has them; 0 and "" are none. Raises ContainerError."""
        values = {
            "memory.max": str(memory or "max"),
            # as in our own accounting: what is swapped out counts
            "memory.swap.max": "0" if memory else "max",
            "cpu.max": f"{int(cpus * PERIOD_USEC) if cpus else 'max'} {PERIOD_USEC}",
            "pids.max": str(pids or "max"),
        }
        if "cpuset" in self.controllers:
            values["cpuset.cpus"] = cpuset or "\n"
        for name, value in values.items():
            try:
                _write(self.path, name, value)
            except FileNotFoundError:
                if name != "memory.swap.max":  # a host without swap accounting
                    raise
            except OSError as error:
                raise ContainerError(
                    f"set {name} to {value.strip()}: {error.strerror}", hint=f"in the cgroup {self.path}"
                ) from None

    def add(self, pid: int) -> None:
        """A process, and all that it starts from now on. Raises ContainerError."""
        try:
            _write(self.path, "cgroup.procs", str(pid))
        except ProcessLookupError:
            pass  # its end is reported next
        except OSError as error:
            raise ContainerError(f"put a process into the cgroup {self.path}: {error.strerror}") from None

    def read(self, name: str) -> str:
        """A file's text; empty where the host has no such file."""
        return _read(self.path, name)

    def value(self, name: str, key: str = "") -> int:
        """A file's number, or that of a line "KEY NUMBER"; 0 where there is none."""
        for line in self.read(name).splitlines():
            words = line.split()
            if len(words) == (2 if key else 1) and (not key or words[0] == key) and words[-1].isdigit():
                return int(words[-1])
        return 0

    def remove(self) -> bool:
        """False while there are still processes in it."""
        try:
            os.rmdir(self.path)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True


def _marked(path: str) -> bool:
    for name in ("trusted.delegate", "user.delegate"):
        try:
            if os.getxattr(path, name) == b"1":
                return True
        except OSError:
            continue
    return False


def _mount(mountinfo: str) -> tuple[str, str] | None:
    """The root within its tree, and the mount point."""
    for line in _lines(mountinfo):
        fields, _, rest = line.partition(" - ")
        if rest.split()[:1] == ["cgroup2"]:
            _, _, _, root, point, *_ = fields.split()
            return root, point
    return None


def _membership(path: str) -> str | None:
    return next((line[3:] for line in _lines(path) if line.startswith("0::")), None)


def _lines(path: str) -> list[str]:
    try:
        with open(path) as file:
            return file.read().splitlines()
    except OSError:
        return []


def _read(directory: str, name: str) -> str:
    try:
        with open(os.path.join(directory, name)) as file:
            return file.read()
    except OSError:
        return ""


def _write(directory: str, name: str, text: str) -> None:
    fd = os.open(os.path.join(directory, name), os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
