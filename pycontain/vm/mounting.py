"""A container's root in a machine that has just been cloned or booted: image, files, directories, names."""

from __future__ import annotations

import os
from typing import Any

from pycontain.errors import ContainerError
from pycontain.vm import guest
from pycontain.vm.machine import Machine
from pycontain.vm.script import Script
from pycontain.vm.share import Share
from pycontain.vm.table import BUFFER, Reply

NAME_SERVER = b"nameserver 10.0.2.3\n"
"""QEMU's user network passes questions on to the host's name servers."""


async def set_up(machine: Machine, spec: dict[str, Any]) -> None:
    """After a clone: the clock, randomness, names, the disk, the container's root and its mounts."""
    machine.hostname = os.fsencode(spec.get("hostname") or "")
    script = Script()
    guest.awake(script, machine.hostname)
    made = guest.mount_root(script, machine.disk)
    script.collect("pread64", guest.open_inside(script, b"etc/machine-id", 0), BUFFER, 64, 0, most=64)
    guest.read_accounts(script)
    reply = await machine.run(script)
    _remember(machine, reply, made)
    machine_id, machine.passwd, machine.group = reply.pieces
    machine.own_machine_id = len(machine_id.strip()) == 32
    if machine.own_machine_id:  # the image has one: every machine gets its own
        await _mount_file(machine, b"/etc/machine-id", os.urandom(16).hex().encode() + b"\n", 0, True)
    mounts = list(enumerate(spec.get("mounts") or [], 1))
    for number, mount in mounts:
        if mount["type"] == "tmpfs" or not os.path.isdir(mount["source"]):
            await _mount(machine, mount, number)
    # last: a path inside a share is only there while somebody serves it
    await _mount_shares(
        machine, [m for _, m in mounts if m["type"] != "tmpfs" and os.path.isdir(m["source"])]
    )
    if spec.get("read_only"):  # only now: what mounts needed has been made
        script = Script()
        guest.seal_root(script)
        await machine.run(script)


async def _mount_shares(machine: Machine, mounts: list[dict[str, Any]]) -> None:
    """Live host directories."""
    if not mounts:
        return
    script = Script()
    made = []
    for mount in mounts:
        made += _mount_point(script, os.fsencode(mount["target"]), directory=True)
    _remember(machine, await machine.run(script), made)
    script = Script()
    for mount in sorted(mounts, key=lambda m: -str(m["target"]).count("/")):
        read_only = bool(mount.get("read_only"))
        fd = guest.mount_share(script, os.fsencode(mount["target"]), read_only)
        machine.serving.shares[fd] = Share(mount["source"], read_only=read_only)
    script.check(await machine.serving.channel.exchange(script.table))
    machine.serving.begin()


async def _mount(machine: Machine, mount: dict[str, Any], number: int) -> None:
    target = os.fsencode(mount["target"])
    read_only = bool(mount.get("read_only"))
    if mount["type"] == "tmpfs":
        script = Script()
        made = _mount_point(script, target, directory=True)
        options = b"mode=%o" % mount.get("mode", 0o1777) + (
            b",size=%d" % mount["size"] if mount.get("size") else b""
        )
        script.mount(
            f"mount {mount['target']}", b"tmpfs", guest.ROOT + target, b"tmpfs", int(read_only), options
        )
        _remember(machine, await machine.run(script), made)
        return
    source = mount["source"]
    with open(source, "rb") as file:
        data = file.read((4 << 20) + 1)
    if len(data) > 4 << 20:
        raise ContainerError(f"mount {source}: a single file of more than 4 MiB cannot be given to a machine")
    if target == b"/etc/resolv.conf" and b"nameserver 127." in data:
        data = NAME_SERVER  # the host's own loopback is out of the guest's reach
    await _mount_file(machine, target, data, number, read_only, os.stat(source).st_mode & 0o777)


async def _mount_file(
    machine: Machine, target: bytes, data: bytes, number: int, read_only: bool, mode: int = 0o644
) -> None:
    script = Script()
    made = _mount_point(script, target, directory=False)
    path = b"/c/files/%d" % number
    what = f"mount {os.fsdecode(target)}"
    script.write_file(path, data, guest.O_WRONLY | guest.O_CREAT | guest.O_TRUNC, what=what)
    script.table.call("chmod", script.table.text(path), mode)
    source, place = script.table.text(path), script.table.text(guest.ROOT + target)
    script.must(what, "mount", source, place, 0, guest.MS_BIND, 0)
    if read_only:
        script.must(what, "mount", 0, place, 0, guest.MS_BIND | guest.MS_REMOUNT | guest.MS_RDONLY, 0)
    _remember(machine, await machine.run(script), made)


def _mount_point(script: Script, target: bytes, *, directory: bool) -> list[tuple[int, bytes]]:
    """Make the path where it is not there; the indices of the calls' results, and the paths."""
    parts = target.strip(b"/").split(b"/")
    made = []
    for depth in range(1, len(parts) + (1 if directory else 0)):
        path = b"/" + b"/".join(parts[:depth])
        row = script.table.call("mkdir", script.table.text(guest.ROOT + path), 0o755)
        made.append((script.want(row), path))
    if not directory:
        flags = guest.O_WRONLY | guest.O_CREAT | 0o200  # O_EXCL
        row = script.table.call("open", script.table.text(guest.ROOT + target), flags, 0o644)
        made.append((script.want(row), target))
        script.table.call("close", row)
    return made


def _remember(machine: Machine, reply: Reply, made: list[tuple[int, bytes]]) -> None:
    machine.stubs |= {path for index, path in made if reply.results[index] >= 0}
