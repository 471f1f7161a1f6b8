"""What a machine waits for: one table with ppoll(2) in the guest, that also reads what there is and learns who ended."""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING, Any

from pycontain.vm import agent
from pycontain.vm.script import Script
from pycontain.vm.session import Session
from pycontain.vm.table import BUFFER

if TYPE_CHECKING:
    from pycontain.vm.machine import Machine

CHUNK = 1 << 16
"""Bytes of output that are read at a time."""
WAITS = 4
"""Ended programs that one poll can tell of."""
POLLIN, POLLOUT = 1, 4


def seen(done: asyncio.Future[Any]) -> None:
    """A failure is told by the pump; nobody waits for this one."""
    if not done.cancelled():
        done.exception()


async def poll(machine: Machine) -> None:
    """One table, until something has happened. MachineError where the machine has gone."""
    script = Script()
    table = script.table
    for fd in machine.closing:
        table.call("close", fd)
    machine.closing.clear()
    watched = [(agent.CONTROL, POLLIN), (machine.signals, POLLIN)]
    reading: list[tuple[Session, int]] = []
    blocked: list[Session] = []
    ending: list[Session] = []
    """Ended before this poll was asked for: what it reads is all that they have said."""
    for session in machine.sessions:
        if session.exit_code is not None:
            continue
        if session.status is not None:
            ending.append(session)
        if not session.paused or session.status is not None:
            reading += [(session, fd) for fd in session.outputs]
            watched += [(fd, POLLIN) for fd in session.outputs]
        if session.blocked and session.input >= 0:
            blocked.append(session)
            watched.append((session.input, POLLOUT))
    polled = table.data(b"".join(struct.pack("<ihh", fd, events, 0) for fd, events in watched))
    timeout = table.words([0, 0]) if ending else 0
    table.call("ppoll", polled, len(watched), timeout, 0, 0)
    table.call("read", machine.signals, table.space(1024), 1024)
    reads = [script.collect("read", fd, BUFFER, CHUNK, most=CHUNK) for _, fd in reading[:40]]
    waits: list[tuple[int, int]] = []
    for _ in range(WAITS):
        status = table.fixed(8)
        waits.append((script.want(table.call("wait4", -1, status, 0x40000001, 0)), len(waits)))
    reply = await machine.channel.send(table)
    drained = set()
    for index, piece, (session, fd) in zip(reads, reply.pieces, reading, strict=False):
        result = reply.results[index]
        if piece:
            session.output(session.outputs[fd], piece)
        elif result == 0 or result not in (-11, -4):
            del session.outputs[fd]
            machine.closing.append(fd)
        if len(piece) == CHUNK:
            drained.add(id(session))  # there may be more
    for session in ending:
        if session.exit_code is None and id(session) not in drained:
            machine.closing += list(session.outputs)
            if session.input >= 0 and session.input not in session.outputs:
                machine.closing.append(session.input)
            session.outputs.clear()
            session.input = -1
            session.finish()
    for index, number in waits:
        pid = reply.results[index]
        if pid <= 0:
            continue
        (status,) = struct.unpack_from("<i", reply.fixed[number])
        owner = next((s for s in machine.sessions if s.pid == pid and s.status is None), None)
        if owner is not None:
            owner.status = status
        else:
            machine.early[pid] = status
    for session in blocked:
        session.blocked = False
        asyncio.get_running_loop().create_task(machine.push(session)).add_done_callback(seen)
