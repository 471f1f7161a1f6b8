"""Clones of templates: what QEMU and which accelerator there is, and a template for each kind of machine."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from typing import Any

from pycontain.errors import MachineError
from pycontain.vm import accel, qemu
from pycontain.vm import template as templates
from pycontain.vm.home import directory
from pycontain.vm.machine import Machine
from pycontain.vm.nursery import Nursery
from pycontain.vm.process import Process

_REFUSED = re.compile(r"host forwarding rule '(tcp|udp):([^:]*):(\d+)-")
SMALLEST = 96
"""MiB with which the kernel boots."""


class Cloner:
    """root: the store's."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._qemu: qemu.Qemu | None = None
        self._nursery = Nursery(root)
        self._templates: dict[tuple[Any, ...], asyncio.Task[templates.Template]] = {}

    async def qemu(self) -> qemu.Qemu:
        """Found once. MachineError where there is none."""
        if self._qemu is None:
            self._qemu = await asyncio.to_thread(qemu.find)
        return self._qemu

    async def template(self, settings: dict[str, Any]) -> templates.Template:
        """The template for these settings (accel, memory in MiB, cpus); many may wait for the same boot."""
        program = await self.qemu()
        wanted = str(settings.get("accel") or "auto")
        chosen = await asyncio.to_thread(accel.choose, wanted, directory(self._root))
        memory = max(int(settings.get("memory") or 128), SMALLEST)
        key = (chosen, memory, int(settings.get("cpus") or 1))
        task = self._templates.get(key)
        if task is None or (
            task.done()
            and (task.cancelled() or task.exception() or not os.path.exists(task.result().directory))
        ):
            boot = templates.obtain(self._root, program, *key)
            task = self._templates[key] = asyncio.get_running_loop().create_task(boot)
        return await asyncio.shield(task)

    def boots(self) -> list[asyncio.Task[templates.Template]]:
        """Templates that are being booted."""
        return [task for task in self._templates.values() if not task.done()]

    async def clone(self, settings: dict[str, Any], identity: str, disk: str) -> Machine:
        """A machine that runs, with nothing in it yet. MachineError."""
        found = await self.template(settings)
        program = await self.qemu()
        place = directory(self._root, "run", identity)
        forwards = tuple((f[0], int(f[1]), int(f[2]), f[3]) for f in settings.get("forwards") or [])
        described = found.machine(os.path.join(place, "console"), disk, forwards)
        try:
            process = await self._nursery.fork(program, found, described, os.path.join(place, "qemu.log"))
            if process is None:
                process = await _load(program, found, described, os.path.join(place, "qemu.log"))
        except BaseException as error:
            shutil.rmtree(place, ignore_errors=True)
            if isinstance(error, MachineError):
                _explain(error)
            raise
        return Machine(process, found.signals)

    def zygotes(self) -> list[int]:
        """The process ids of what later clones are forked of."""
        return self._nursery.pids()

    async def end(self) -> None:
        """Nothing is kept for later clones."""
        await self._nursery.end()


async def _load(
    program: qemu.Qemu, template: templates.Template, described: qemu.Machine, log: str
) -> Process:
    """A QEMU of its own, in the template's state."""
    process = Process.spawn(program.path, described, log)
    try:
        await asyncio.to_thread(process.load, os.path.join(template.directory, "state"))
    except BaseException:
        process.control.close()
        process.kill()
        raise
    return process


def _explain(error: MachineError) -> None:
    """MachineError for what QEMU says that is not about it. The host's ports are taken by QEMU itself."""
    refused = _REFUSED.search(f"{error.message} {error.hint}")
    if refused:
        protocol, address, port = refused.groups()
        raise MachineError(
            f"publish {address or '0.0.0.0'}:{port}/{protocol}: the port cannot be had",
            hint="somebody has it already (ss -lnp), or it is below 1024 and not ours to take",
        ) from None
