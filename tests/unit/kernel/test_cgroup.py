"""Delegated cgroups, against a directory that plays the host's cgroup file system."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from kernel_world import KernelWorld

from pycontain.errors import ContainerError
from pycontain.kernel import cgroup
from pycontain.kernel.cgroup import Delegation, Undelegated
from pycontain.kernel.limits import Limits

MOUNTINFO = "30 24 0:27 {root} {point} rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
FILES = (
    "cgroup.procs memory.max memory.swap.max memory.events memory.stat memory.current cpu.max cpu.stat pids.max "
    "cpuset.cpus memory.swap.current"
)
Find = Callable[..., Delegation]


class Host:
    """A cgroup file system as a directory, and the two files of /proc that tell of it."""

    def __init__(self, path: Path) -> None:
        self.point = path / "fs"
        self.ours = self.point / "user.slice" / "ours"
        self.ours.mkdir(parents=True)
        self.controllers("cpuset cpu io memory pids")
        for name in ("cgroup.procs", "cgroup.subtree_control"):
            (self.ours / name).write_text("")
        self.mountinfo = path / "mountinfo"
        self.membership = path / "cgroup"
        self.tell()

    def controllers(self, names: str) -> None:
        (self.ours / "cgroup.controllers").write_text(names + "\n")

    def tell(self, root: str = "/", own: str = "/user.slice/ours", point: Path | None = None) -> None:
        line = MOUNTINFO.format(root=root, point=point or self.point)
        self.mountinfo.write_text("24 1 0:5 / / rw - ext4 /dev/root rw\n" + line)
        self.membership.write_text(f"4:memory:/elsewhere\n0::{own}\n")

    def find(self) -> Delegation:
        return cgroup.find(str(self.mountinfo), str(self.membership), str(self.point / "systemd"))

    def reason(self) -> str:
        with pytest.raises(Undelegated) as caught:
            self.find()
        return str(caught.value)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def make(host: Host, identity: str = "a" * 64) -> cgroup.Cgroup:
    """A container's cgroup, with the files that the host's kernel puts there."""
    made = host.find().make(identity)
    for name in FILES.split():
        (Path(made.path) / name).write_text("")
    return made


def text(made: cgroup.Cgroup, name: str) -> str:
    return (Path(made.path) / name).read_text()


def test_where_it_is(host: Host) -> None:
    assert host.find() == Delegation(str(host.ours), ("cpu", "memory", "pids", "cpuset"))


def test_in_a_mount_of_a_part_of_the_tree(host: Host) -> None:
    """A container's: the mount shows only what lies below its own cgroup."""
    host.tell(root="/docker/1", own="/docker/1", point=host.ours)
    assert host.find().path == str(host.ours)
    host.tell(root="/docker/1", own="/docker/1/user.slice/ours")
    assert host.find().path == str(host.ours)


def test_from_where_an_earlier_kernel_has_put_us(host: Host) -> None:
    host.tell(own=f"/user.slice/ours/{cgroup.KERNEL}")
    assert host.find().path == str(host.ours)


def test_why_there_is_none(host: Host) -> None:
    host.controllers("cpu memory")
    assert host.reason() == f"{host.ours} does not have the controllers pids"
    host.tell(root="/docker/1", own="/docker/2")
    assert host.reason() == "our own cgroup is not below the one that is mounted"
    host.mountinfo.write_text("24 1 0:5 / / rw - ext4 /dev/root rw\n")
    assert host.reason() == "no cgroup file system of version 2 is mounted"
    host.mountinfo.unlink()
    assert host.reason() == "no cgroup file system of version 2 is mounted"


def test_not_writable(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: not path.endswith("subtree_control"))
    assert host.reason() == f"{host.ours}/cgroup.subtree_control is not writable"


def test_on_this_machine_it_is_found_or_there_is_a_reason() -> None:
    try:
        found = cgroup.find()
    except Undelegated as reason:
        assert str(reason)
    else:
        assert os.path.isdir(found.path)


class Rules:
    """What the host's kernel does with writes: a process is in one cgroup, and children get controllers only where
    there is no process. stuck: processes that may not be moved."""

    def __init__(self, host: Host, stuck: set[str]) -> None:
        self.host = host
        self.stuck = stuck

    def write(self, directory: str, name: str, text: str) -> None:
        ours = self.host.ours / "cgroup.procs"
        leaf = self.host.ours / cgroup.KERNEL / "cgroup.procs"
        if name == "cgroup.procs":
            if text in self.stuck:
                raise PermissionError(13, "Permission denied")
            source, target = (ours, leaf) if directory.endswith(cgroup.KERNEL) else (leaf, ours)
            source.write_text("".join(f"{pid}\n" for pid in source.read_text().split() if pid != text))
            with open(target, "a") as file:
                file.write(text + "\n")
        elif name == "cgroup.subtree_control" and ours.read_text().split():
            raise OSError(16, "Device or resource busy")
        else:
            (Path(directory) / name).write_text(text)


def test_the_kernel_and_its_neighbours_move_into_a_child(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    (host.ours / "cgroup.procs").write_text(f"12\n{os.getpid()}\n13\n")
    (host.ours / cgroup.KERNEL).mkdir()
    (host.ours / cgroup.KERNEL / "cgroup.procs").write_text("")
    monkeypatch.setattr(cgroup, "_write", Rules(host, set()).write)
    cgroup.take(host.find())
    assert (host.ours / cgroup.KERNEL / "cgroup.procs").read_text().split() == ["12", str(os.getpid()), "13"]
    assert (host.ours / "cgroup.subtree_control").read_text() == "+cpu +memory +pids +cpuset"


def test_where_somebody_cannot_be_moved_all_is_as_before(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    (host.ours / "cgroup.procs").write_text("12\n13\n")
    leaf = host.ours / cgroup.KERNEL
    leaf.mkdir()
    (leaf / "cgroup.procs").write_text("")
    removed: list[str] = []
    monkeypatch.setattr(cgroup, "_write", Rules(host, {"13"}).write)
    monkeypatch.setattr(os, "rmdir", removed.append)
    with pytest.raises(Undelegated, match="give controllers to children: Device or resource busy"):
        cgroup.take(host.find())
    assert (host.ours / "cgroup.procs").read_text().split() == ["13", "12"]
    assert (host.ours / "cgroup.subtree_control").read_text() == ""
    assert removed == [str(leaf)]


def test_an_empty_one_needs_no_child(host: Host) -> None:
    cgroup.take(host.find())
    assert (host.ours / "cgroup.subtree_control").read_text() == "+cpu +memory +pids +cpuset"
    assert not (host.ours / cgroup.KERNEL).exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="others may write only what was delegated to them")
def test_root_takes_only_what_systemd_has_delegated(host: Host) -> None:
    (host.point / "systemd").mkdir()
    assert "belongs to systemd, which has not delegated it" in host.reason()
    try:
        os.setxattr(host.ours, "user.delegate", b"1")
    except OSError as error:
        pytest.skip(f"no extended attributes here: {error.strerror}")
    assert host.find().path == str(host.ours)


def test_nothing_is_done_where_children_have_their_controllers(host: Host) -> None:
    (host.ours / "cgroup.subtree_control").write_text("cpuset cpu io memory pids\n")
    cgroup.take(host.find())
    assert not (host.ours / cgroup.KERNEL).exists()


def test_limits_are_written(host: Host) -> None:
    made = make(host)
    assert made.path == str(host.ours / ("pycontain-" + "a" * 16))
    made.set(64 << 20, 1.5, 20, "0-1")
    assert [text(made, name) for name in ("memory.max", "memory.swap.max", "cpu.max", "pids.max", "cpuset.cpus")] == [
        str(64 << 20), "0", "150000 100000", "20", "0-1",
    ]  # fmt: skip
    other = make(host, "b" * 64)
    other.set(0, 0, 0, "")
    assert [text(other, name) for name in ("memory.max", "memory.swap.max", "cpu.max", "pids.max", "cpuset.cpus")] == [
        "max", "max", "max 100000", "max", "\n",
    ]  # fmt: skip
    made.add(4711)
    assert text(made, "cgroup.procs") == "4711"


def test_no_swap_accounting(host: Host) -> None:
    made = make(host)
    (Path(made.path) / "memory.swap.max").unlink()
    made.set(64 << 20, 0, 0, "")
    assert text(made, "memory.max") == str(64 << 20)


def test_what_the_host_refuses(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make(host)

    def refuse(directory: str, name: str, value: str) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(cgroup, "_write", refuse)
    with pytest.raises(ContainerError, match=r"set memory\.max to 67108864: Invalid argument"):
        made.set(64 << 20, 0, 0, "")
    with pytest.raises(ContainerError, match="put a process into the cgroup"):
        made.add(1)


def test_figures(host: Host) -> None:
    made = make(host)
    (Path(made.path) / "memory.stat").write_text("anon 4096\nfile 8192\nshmem 12288\n")
    (Path(made.path) / "memory.current").write_text("24576\n")
    assert made.value("memory.stat", "shmem") == 12288
    assert made.value("memory.stat", "nothing") == 0
    assert made.value("memory.current") == 24576
    assert made.value("not.there") == 0


def test_left_over_and_removed(host: Host) -> None:
    made = make(host)
    assert make(host).path == made.path  # of a kernel that was killed: used again
    assert not made.remove()  # a directory with files, as a cgroup with processes
    for name in os.listdir(made.path):
        os.unlink(os.path.join(made.path, name))
    assert made.remove()
    assert made.remove()


def test_a_container_in_one(world: KernelWorld, host: Host) -> None:
    """Limits are the host's to keep, figures are the host's, and files inside are the host's."""
    made = make(host)
    container = world.container
    container.limits = Limits(container, {"memory": 64 << 20, "pids": 9, "nano_cpus": 250_000_000})
    assert container.limits.counts_tasks
    container.limits.use(made)
    assert not container.limits.counts_tasks
    assert text(made, "memory.max") == str(64 << 20)
    container.limits.watch()
    assert not world.kernel.loop._timers
    (Path(made.path) / "memory.events").write_text("low 0\noom 2\noom_kill 2\n")
    (Path(made.path) / "cpu.stat").write_text("usage_usec 2500000\nuser_usec 2000000\n")
    (Path(made.path) / "memory.stat").write_text("anon 1048576\nshmem 4096\nfile_mapped 0\n")
    assert container.limits.killed == 2
    assert container.usage.cpu_seconds() == 2.5
    assert container.usage.measure_memory().total == 1048576 + 4096
    world.call("openat", -100, b"/sys/fs/cgroup/cpu.stat", os.O_RDONLY)
    with open(world.platform.sent.pop()) as file:
        assert file.read() == "usage_usec 2500000\nuser_usec 2000000\n"
    container.limits.update({"memory": 32 << 20, "pids": 3})
    assert text(made, "memory.max") == str(32 << 20)
    container.limits.start(world.task.process)
    assert text(made, "cgroup.procs") == str(os.getpid())
