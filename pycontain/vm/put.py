"""A tar extracted into a running machine (cp into it)."""

from __future__ import annotations

import os
import posixpath
import tarfile
from typing import IO, TYPE_CHECKING

from pycontain.errors import MachineError
from pycontain.vm import guest
from pycontain.vm.script import Script
from pycontain.vm.table import Table

if TYPE_CHECKING:
    from pycontain.vm.machine import Machine

CHUNK = 4 << 20


async def put_archive(machine: Machine, path: bytes, file: IO[bytes]) -> None:
    """Extract an uncompressed tar below a directory of the container. MachineError."""
    with tarfile.open(fileobj=file, mode="r:") as tar:
        for member in tar:
            name = posixpath.normpath("/" + member.name)
            await _put(
                machine,
                (os.fsencode(posixpath.normpath(os.fsdecode(path))) + os.fsencode(name)).rstrip(b"/"),
                tar,
                member,
            )


async def _put(machine: Machine, path: bytes, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
    target = guest.ROOT + path
    script = Script()
    table = script.table
    place = table.text(target)
    what = f"write {os.fsdecode(path)}"
    if member.isdir():
        table.call("mkdir", place, member.mode & 0o7777)
    elif member.issym():
        table.call("unlink", place)
        script.must(what, "symlink", table.text(os.fsencode(member.linkname)), place)
    elif member.islnk():
        table.call("unlink", place)
        old = guest.ROOT + posixpath.dirname(path) + b"/" + os.fsencode(posixpath.basename(member.linkname))
        script.must(what, "link", table.text(old), place)
        await machine.run(script)
        return
    elif member.isreg():
        await _write(machine, target, tar, member, what)
    else:
        raise MachineError(f"{what}: neither a file, a directory nor a link")
    script.must(what, "lchown", place, member.uid, member.gid)
    if not member.issym():
        script.must(what, "chmod", place, member.mode & 0o7777)
        seconds, nanoseconds = divmod(int(member.mtime * 10**9), 10**9)
        times = table.words([seconds, nanoseconds, seconds, nanoseconds])
        table.call("utimensat", -100, place, times, 0)
    await machine.run(script)


async def _write(
    machine: Machine, target: bytes, tar: tarfile.TarFile, member: tarfile.TarInfo, what: str
) -> None:
    source = tar.extractfile(member)
    assert source is not None
    table = Table()
    table.call("unlink", table.text(target))
    await machine.exchange(table)
    at = 0
    while True:
        data = source.read(CHUNK)
        if not data and at:
            return
        script = Script()
        flags = guest.O_WRONLY | guest.O_CREAT | 0o400000  # O_NOFOLLOW
        opened = script.must(what, "open", script.table.text(target), flags, 0o600)
        written = script.want(script.must(what, "pwrite64", opened, script.table.data(data), len(data), at))
        script.table.call("close", opened)
        reply = await machine.run(script)
        if reply.results[written] != len(data):
            raise MachineError(f"{what}: no space is left in the machine", hint="give it more with --memory")
        at += len(data)
        if not data:
            return
