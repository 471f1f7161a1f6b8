"""Templates: a machine booted once, of which every later one is a copy-on-write clone.

The template's memory is a file (ram) that the booting machine shares; at the end its devices' state is saved
beside it (state). A clone maps ram privately: pages are shared until they are written to. The devices are bound to
their drivers already; a clone finds another disk in the place of the template's.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import os
import shutil
import time
from typing import Any, NamedTuple

from pycontain.errors import MachineError
from pycontain.vm import (
    agent,
    assembler,
    guest,
    guest_kernel,
    host,
    initrd,
    module,
    parameters,
    qemu,
    script,
    start,
    table,
    vmlinux,
    warming,
)  # fmt: skip
from pycontain.vm.channel import Channel
from pycontain.vm.home import directory
from pycontain.vm.process import Process
from pycontain.vm.table import Table

BOOT_DEADLINE = 30.0
"""Seconds; a boot that hangs is tried once more."""
UNUSED = 30 * 86400
"""Seconds after which a template that no machine was made of is removed."""
FORMAT = 9
DISK_SIZE = 1 << 40
"""Bytes of the template's disk, almost all of it a hole. Its driver keeps that size; a clone's disk is shorter, and
its file system never looks behind its own end. Binding the driver in every clone instead would cost 0.1 s."""


class Template(NamedTuple):
    """directory holds ram and state; signals: the agent's descriptor for SIGCHLD; net, disk: virtioN."""

    key: str
    directory: str
    kernel: str
    release: str
    board: str
    accel: str
    memory: int
    cpus: int
    signals: int
    net: str
    disk: str
    boot_seconds: float

    def machine(self, console: str, disk: str, forwards: tuple[Any, ...] = ()) -> qemu.Machine:
        """A clone's machine."""
        return qemu.Machine(
            self.board, self.accel, self.memory, self.cpus, None, os.path.join(self.directory, "ram"), False, console, disk,
            forwards,
        )  # fmt: skip


async def obtain(root: str, program: qemu.Qemu, accel: str, memory: int, cpus: int) -> Template:
    """The template for such machines; booted now where there is none. MachineError."""
    home = directory(root)
    kernel = await asyncio.to_thread(guest_kernel.find, home)
    here = await asyncio.to_thread(host.describe, program, accel, home)
    words = parameters.command_line(accel, here.tsc)
    parts = [FORMAT, here, program.path, program.board, memory, cpus, kernel.identity(), words, _code()]
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]
    path = os.path.join(directory(root, "templates"), key)
    found = _load(path)
    if found is not None:
        os.utime(path)
        return found
    await asyncio.to_thread(_clean, os.path.dirname(path))
    image = kernel.image
    if program.pvh:
        image = await asyncio.to_thread(vmlinux.ensure, image, os.path.join(home, "unpacked"))
    boot = qemu.Boot(image, "", words)
    try:
        return await _boot(path, key, program, kernel, boot, accel, memory, cpus)
    except MachineError as first:
        # a boot under TCG may hang; or the kernel wants to see the signatures of modules
        try:
            return await _boot(path, key, program, kernel, boot, accel, memory, cpus, whole_modules=True)
        except MachineError as error:
            hint = error.hint
            if accel == "kvm":
                hint = f"{hint}; --vm-accel tcg does without KVM"
            raise MachineError(
                f"boot a template: {error.message}; so did the first try: {first.message}", hint=hint
            ) from None


def _clean(templates: str) -> None:
    """Remove what a server left that was killed during a boot, and templates that nobody has used for long: those of
    another kernel, QEMU or version of ours. Machines that run from one keep what they need."""
    for name in os.listdir(templates):
        path = os.path.join(templates, name)
        try:
            unused = time.time() - os.stat(path).st_mtime
        except FileNotFoundError:
            continue
        if unused > (BOOT_DEADLINE * 10 if name.endswith("~") else UNUSED):
            shutil.rmtree(path, ignore_errors=True)


def _code() -> str:
    """A digest of the code that a template depends on."""
    digest = hashlib.sha256()
    for code in (agent, assembler, guest, initrd, module, script, start, table, warming):
        with open(str(code.__file__), "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()


def _load(path: str) -> Template | None:
    try:
        with open(os.path.join(path, "template.json"), encoding="utf-8") as file:
            values = json.load(file)
        return Template(**{**values, "directory": path})
    except (OSError, ValueError, TypeError):
        return None


async def _boot(
    path: str,
    key: str,
    program: qemu.Qemu,
    kernel: guest_kernel.GuestKernel,
    boot: qemu.Boot,
    accel: str,
    memory: int,
    cpus: int,
    *,
    whole_modules: bool = False,
) -> Template:
    scratch = f"{path}.{os.getpid()}~"
    shutil.rmtree(scratch, ignore_errors=True)
    os.makedirs(scratch)
    begun = time.monotonic()
    modules = await asyncio.to_thread(kernel.load_modules, whole=whole_modules)
    boot = boot._replace(initrd=os.path.join(scratch, "initrd"))
    with open(boot.initrd, "wb") as file:
        early = initrd.EARLY_MODULES[qemu.BOARDS[program.board].bus]
        needed = {name: data for name, data in modules.items() if name in early + initrd.LATE_MODULES}
        file.write(initrd.build(needed, early))
    disk = os.path.join(scratch, "disk")
    warming.write_disk(disk, os.path.join(scratch, "tree"), DISK_SIZE)
    console = os.path.join(scratch, "console")
    machine = qemu.Machine(
        program.board, accel, memory, cpus, boot, f"/dev/fd/{qemu.RAM_FD}", True, console, disk,
    )  # fmt: skip
    # a boot writes to a file on a disk a third slower than to memory
    ram = os.memfd_create("template")
    os.truncate(ram, memory << 20)
    try:
        process = Process.spawn(program.path, machine, os.path.join(scratch, "qemu.log"), {qemu.RAM_FD: ram})
    except BaseException:
        os.close(ram)
        raise
    channel, shares = Channel(process.control), Channel(process.shares)
    try:
        try:
            await channel.exchange(Table(), BOOT_DEADLINE)
        except MachineError as error:
            raise MachineError(
                f"the guest did not come up: {error.message}", hint=process.last_words()
            ) from None
        script, index = guest.prepare([name for name in initrd.LATE_MODULES if name in modules])
        reply = await channel.exchange(script.table)
        script.check(reply)
        signals = reply.results[index]
        script = guest.devices()
        guest.settle(script)
        devices = guest.parse_devices(await channel.exchange(script.table))
        if not {"net", "disk"} <= set(devices):
            raise MachineError(
                "boot a template: the guest does not see its devices", hint=process.last_words()
            )
        await shares.exchange(Table())  # the second agent listens, too
        await warming.warm_up(channel, signals, warming.BRIEF)
        await asyncio.to_thread(_save, process, os.path.join(scratch, "state"))
        await asyncio.to_thread(_keep_memory, ram, os.path.join(scratch, "ram"))
    finally:
        os.close(ram)
        channel.close()
        shares.close()
        process.kill()
    os.unlink(boot.initrd)
    template = Template(
        key, path, kernel.image, kernel.release, program.board, accel, memory, cpus, signals,
        devices["net"], devices["disk"], time.monotonic() - begun,
    )  # fmt: skip
    with open(os.path.join(scratch, "template.json"), "w", encoding="utf-8") as file:
        json.dump(template._asdict(), file)
    try:
        os.rename(scratch, path)
    except OSError:  # somebody else was quicker
        found = _load(path)
        if found is None:
            raise
        shutil.rmtree(scratch, ignore_errors=True)
        return found
    return template


def _keep_memory(source: int, path: str) -> None:
    """Copy the memory into a file; what was never written to is a hole in both."""
    size = os.fstat(source).st_size
    with open(path, "wb") as file:
        file.truncate(size)
        at = 0
        while True:
            try:
                at = os.lseek(source, at, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:  # no data behind
                    return
                raise
            end = os.lseek(source, at, os.SEEK_HOLE)
            os.lseek(file.fileno(), at, os.SEEK_SET)
            while at < end:
                at += os.sendfile(file.fileno(), source, at, end - at)


def _save(process: Process, state: str) -> None:
    process.qmp.execute("stop")
    process.save(state)
