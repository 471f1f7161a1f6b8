"""What a machine costs the host: a row for `pycontain stats` (the fields are in engine/stats.py).

Memory is the proportional set size of all of the machine's processes on the host, so that what machines share is
counted once; the limit is what the guest has been given. A machine that is paused cannot be asked anything.
"""

from __future__ import annotations

import os
import time
from typing import Any

from pycontain.vm.processes import processes
from pycontain.vm.running import Running
from pycontain.vm.table import BUFFER, Table
from pycontain.vm.uml.sharing import distinct

NOTHING = dict.fromkeys(("pids", "received", "sent", "read", "written"), 0)
_TICKS = os.sysconf("SC_CLK_TCK")


def pss(pid: int) -> int:
    """Bytes; 0 for a process that has ended, or that is not ours to look at."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            for line in file:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def cpu_seconds(pid: int) -> float:
    """Processor time of a process and of those children of its that have ended; 0 where it has itself."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            stat = file.read()
    except OSError:
        return 0.0
    fields = stat[stat.rindex(b")") + 2 :].split()
    return sum(map(int, fields[11:15])) / _TICKS


def descendants(pids: list[int]) -> list[int]:
    """The children of these processes, and theirs. (A User-Mode Linux has one for each process of its guest.)"""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    data = file.read()
            except OSError:
                continue
            children.setdefault(int(data[data.rindex(b")") + 4 :].split()[0]), []).append(int(name))
    found: list[int] = []
    todo = list(pids)
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


async def row(identity: str, running: Running) -> dict[str, Any]:
    """What it uses at this moment."""
    machine = running.machine
    pids = [machine.process.pid, *descendants([machine.process.pid])]
    values: dict[str, Any] = {
        "id": identity,
        "time": time.monotonic_ns(),
        "cpu": sum(map(cpu_seconds, pids)),
        "memory": sum(map(pss, distinct(pids))),
        "memory_limit": machine.process.memory << 20,
    }
    if not machine.paused:
        running.last_usage = {
            "pids": sum(process["threads"] for process in await processes(identity, machine)),
            **await _traffic(running),
        }
    return {**NOTHING, **running.last_usage, **values}


async def _traffic(running: Running) -> dict[str, int]:
    """Bytes of the guest's network, and of its root file system's disk, by the guest's own counters."""
    table = Table()
    for path in (
        b"/sys/class/net/eth0/statistics/rx_bytes",
        b"/sys/class/net/eth0/statistics/tx_bytes",
        b"/sys/class/block/" + os.path.basename(running.machine.disk) + b"/stat",
    ):
        opened = table.call("open", table.text(path), 0)
        table.collect("read", opened, BUFFER, 256, most=256)
        table.call("close", opened)
    received, sent, block = (await running.machine.exchange(table)).pieces
    sectors = [int(word) for word in block.split()] or [0] * 11
    return {
        "received": int(received or 0),
        "sent": int(sent or 0),
        "read": sectors[2] * 512,
        "written": sectors[6] * 512,
    }
