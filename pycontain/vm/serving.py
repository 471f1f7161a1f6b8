"""The shares of a machine: its second agent keeps a table waiting for requests, and each is answered by its share."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable

from pycontain.errors import MachineError
from pycontain.vm import agent
from pycontain.vm.channel import Channel
from pycontain.vm.share import REQUEST_SIZE, Share
from pycontain.vm.table import BUFFER, Table

REQUESTS = 3
"""Requests to a share that are taken at a time."""
POLLIN = 1


class Serving:
    """sock: our end of the second agent's port; failed: told of what ends the serving, if that is not the machine's end."""

    def __init__(self, sock: socket.socket, failed: Callable[[str], None]) -> None:
        self.channel = Channel(sock)
        self.shares: dict[int, Share] = {}
        """The agent's descriptor of /dev/fuse -> what serves it."""
        self._failed = failed
        self._task: asyncio.Task[None] | None = None
        self._on = asyncio.Event()
        self._on.set()
        self._parked = asyncio.Event()
        """Held, and every request that was taken is answered."""

    def begin(self) -> None:
        """From now on the guest's requests to the shares are answered."""
        self._task = asyncio.get_running_loop().create_task(self._keep_serving())
        self._task.add_done_callback(self._ended)

    async def hold(self) -> None:
        """Until resume() nothing is taken; the agent waits for us and for nothing else."""
        if self._task is not None:
            self._on.clear()
            await self.channel.exchange(Table())  # ends its poll
            await self._parked.wait()

    def resume(self) -> None:
        """The opposite of hold()."""
        self._on.set()

    def close(self) -> None:
        """The machine has ended."""
        self.channel.fail("serve the guest: the machine has ended")  # before its socket is closed
        for share in self.shares.values():
            share.close()

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, MachineError):
            self._failed(f"serve a share: {type(error).__name__}: {error}")

    async def _keep_serving(self) -> None:
        answers: list[tuple[int, bytes]] = []
        while self.channel.failure is None:
            table = Table()
            for fd, answer in answers:
                table.call("write", fd, table.data(answer), len(answer))
            if not self._on.is_set():
                answers = []
                await self.channel.send(table)
                self._parked.set()
                await self._on.wait()
                self._parked.clear()
                continue
            watched = [(agent.CONTROL, POLLIN), *((fd, POLLIN) for fd in self.shares)]
            polled = table.data(b"".join(struct.pack("<ihh", fd, events, 0) for fd, events in watched))
            table.call("ppoll", polled, len(watched), 0, 0, 0)
            asked = [fd for fd in self.shares for _ in range(REQUESTS)]
            for fd in asked:
                table.collect("read", fd, BUFFER, REQUEST_SIZE, most=REQUEST_SIZE)
            reply = await self.channel.send(table)
            answers = []
            for fd, request in zip(asked, reply.pieces, strict=True):
                given = self.shares[fd].answer(request) if request else None
                if given is not None:
                    answers.append((fd, given))
