"""A machine booted for a container, ready for its root file system."""

from __future__ import annotations

import asyncio
import os
import shutil

from pycontain.errors import MachineError
from pycontain.vm import guest
from pycontain.vm.machine import Machine
from pycontain.vm.script import Script
from pycontain.vm.table import Table
from pycontain.vm.uml import program
from pycontain.vm.uml.process import PREFIX, UmlProcess, new_directory
from pycontain.vm.uml.sealed import sealed

BOOT_DEADLINE = 30.0
"""Seconds; a boot that hangs is tried once more."""
DISK = b"/dev/ubda"


class Booter:
    """Boots machines; finds the program and makes the ramdisk once. runtime: the server's own directory."""

    def __init__(self, runtime: str) -> None:
        self._runtime = runtime
        self._program: program.Program | None = None
        self._ramdisk = -1
        self._late: list[str] = []
        self._looking = asyncio.Lock()
        for name in os.listdir(runtime):
            if name.startswith(PREFIX):  # of a server that was killed; its machines died with it
                shutil.rmtree(os.path.join(runtime, name), ignore_errors=True)

    async def boot(self, memory: int, disk: str) -> Machine:
        """A machine whose agents listen. memory: MiB; disk: the root file system's EROFS image. MachineError."""
        async with self._looking:
            if self._program is None:
                found = await asyncio.to_thread(program.find)
                modules = await asyncio.to_thread(found.load_modules)
                self._ramdisk = sealed("ramdisk", program.ramdisk(modules))
                self._late = [name for name in program.LATE_MODULES if name in modules]
                self._program = found
        found = self._program
        try:
            return await self._boot(found, memory, disk)
        except MachineError as first:
            try:
                return await self._boot(found, memory, disk)
            except MachineError as error:
                again = (
                    "so did the first try" if first.message == error.message else f"first: {first.message}"
                )
                raise MachineError(f"{error.message}; {again}", hint=error.hint) from None

    async def _boot(self, found: program.Program, memory: int, disk: str) -> Machine:
        process = UmlProcess(found, self._ramdisk, disk, memory, new_directory(self._runtime))
        try:
            await process.connected()
        except BaseException:
            process.kill()
            raise
        machine = Machine(process, -1, DISK, confined=True)
        try:
            await self._prepare(machine, process)
        except MachineError as error:
            words = process.last_words()
            await machine.stop()
            raise MachineError(
                f"start User-Mode Linux: the guest did not come up: {process.failure or error.message}",
                hint=words,
            ) from None
        except BaseException:
            await machine.stop()
            raise
        return machine

    async def _prepare(self, machine: Machine, process: UmlProcess) -> None:
        await machine.exchange(Table(), BOOT_DEADLINE)
        script, signals = guest.prepare(self._late)
        reply = await machine.run(script)
        machine.signals = reply.results[signals]
        script = Script()
        # the guest's kernel is code that runs on the host: it takes in no more of it
        script.write_file(b"/proc/sys/kernel/modules_disabled", b"1", what="allow no more modules")
        await machine.run(script)
        await machine.serving.channel.exchange(Table())
