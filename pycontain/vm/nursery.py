"""When there are zygotes: made once machines of a kind are asked for again, ended when nobody needs them any more."""

from __future__ import annotations

import asyncio
import sys

from pycontain.errors import MachineError
from pycontain.vm import qemu
from pycontain.vm.home import directory
from pycontain.vm.process import Process
from pycontain.vm.template import Template
from pycontain.vm.zygote import Zygote

AGAIN = 60.0
"""Seconds: who asks for a second machine within this time is taken to want more."""
UNUSED = 30.0
"""Seconds after which a zygote that nothing was forked of ends: it holds some 60 MB."""


DEADLINE = 20.0
"""Seconds for one to be made."""


class Nursery:
    """The zygotes of a store's templates. root: the store's."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._zygotes: dict[str, asyncio.Task[Zygote]] = {}
        self._asked: dict[str, float] = {}
        """When a machine of that template was asked for last."""
        self._ends: dict[str, asyncio.TimerHandle] = {}
        self._impossible: set[str] = set()
        """Templates whose QEMU could not be forked: not tried again."""

    async def fork(
        self, program: qemu.Qemu, template: Template, machine: qemu.Machine, log: str
    ) -> Process | None:
        """A process that runs this machine; None where there is no zygote. MachineError for what would go wrong with
        any machine: a port that is taken."""
        key, loop = template.key, asyncio.get_running_loop()
        if template.accel == "kvm" or key in self._impossible:
            return None
        last, self._asked[key] = self._asked.get(key), loop.time()
        task = self._zygotes.get(key)
        if task is None:
            if last is None or loop.time() - last > AGAIN:
                return None
            place = directory(self._root, "run", f"zygote-{key}")
            task = self._zygotes[key] = loop.create_task(Zygote.make(program, template, place))
        try:
            zygote = await asyncio.wait_for(asyncio.shield(task), DEADLINE)
        except (MachineError, TimeoutError) as error:
            self._give_up(key, error)
            self._impossible.add(key)
            return None
        self._wait(key)
        try:
            return await zygote.fork(machine, log)
        except MachineError as error:
            if machine.forwards and "forward" in f"{error.message} {error.hint}":
                raise
            self._give_up(key, error)
            return None

    def pids(self) -> list[int]:
        """Of those that are there."""
        return [task.result().pid for task in self._zygotes.values() if _made(task)]

    def _give_up(self, key: str, error: Exception) -> None:
        """Machines are made without zygotes, then; who looks for the reason finds it in the server's log."""
        if key in self._zygotes:
            reason = str(error) or f"there was none within {DEADLINE:g} s"
            print(f"a machine is cloned without a zygote: {reason}", file=sys.stderr, flush=True)
        self._drop(key)

    def _wait(self, key: str) -> None:
        """From now on, until it is unused."""
        handle = self._ends.pop(key, None)
        if handle is not None:
            handle.cancel()
        self._ends[key] = asyncio.get_running_loop().call_later(UNUSED, self._drop, key)

    def _drop(self, key: str) -> None:
        task = self._zygotes.pop(key, None)
        handle = self._ends.pop(key, None)
        if handle is not None:
            handle.cancel()
        if task is not None and not task.done():
            task.cancel()
        elif task is not None and _made(task):
            asyncio.get_running_loop().create_task(task.result().end())

    async def end(self) -> None:
        """All of them, also one that is being made."""
        for handle in self._ends.values():
            handle.cancel()
        self._ends.clear()
        tasks = list(self._zygotes.values())
        self._zygotes.clear()
        for task in tasks:
            task.cancel()
        for task in tasks:
            try:
                await (await task).end()
            except (MachineError, asyncio.CancelledError):
                continue


def _made(task: asyncio.Task[Zygote]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None
