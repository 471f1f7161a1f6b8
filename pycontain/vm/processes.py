"""The programs in a machine, as its guest kernel's /proc tells of them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from pycontain.vm.script import Script
from pycontain.vm.table import BUFFER, Table
from pycontain.vm.upper import dirents

if TYPE_CHECKING:
    from pycontain.vm.machine import Machine

TICKS = 100


async def processes(identity: str, machine: Machine) -> list[dict[str, Any]]:
    """Rows as the emulated kernel gives them (op_processes)."""
    script = Script()
    opened = script.must("list /proc", "open", script.table.text(b"/proc"), 0o200000)
    script.collect("getdents64", opened, BUFFER, 1 << 18, most=1 << 18)
    script.table.call("close", opened)
    opened = script.must("read /proc/uptime", "open", script.table.text(b"/proc/uptime"), 0)
    script.collect("read", opened, BUFFER, 64, most=64)
    script.table.call("close", opened)
    reply = await machine.run(script)
    uptime = float(reply.pieces[1].split()[0])
    pids = [name for name in dirents(reply.pieces[0]) if name.isdigit()][:500]
    table = Table()
    for pid in pids:
        for name in (b"stat", b"cmdline", b"status"):
            opened = table.call("open", table.text(b"/proc/" + pid + b"/" + name), 0)
            table.collect("read", opened, BUFFER, 2048, most=2048)
            table.call("close", opened)
    reply = await machine.exchange(table)
    users = {
        fields[2]: fields[0].decode("utf-8", "replace")
        for fields in (line.split(b":") for line in machine.passwd.splitlines())
        if len(fields) > 2
    }
    now = time.time_ns()
    found = []
    numbers = {
        int(pid): inside
        for pid, status in zip(pids, reply.pieces[2::3], strict=True)
        if (inside := _inside(status))
    }
    for number, pid in enumerate(pids):
        stat, command, status = reply.pieces[3 * number : 3 * number + 3]
        if int(pid) not in numbers or not stat:
            continue  # the guest's own, or just ended
        fields = stat[stat.rindex(b")") + 2 :].split()
        uid = next((line.split()[2] for line in status.splitlines() if line.startswith(b"Uid:")), b"0")
        name = stat[stat.index(b"(") + 1 : stat.rindex(b")")]
        found.append(
            {
                "container": identity,
                "pid": numbers[int(pid)],
                "host_pid": int(pid),
                "ppid": numbers.get(int(fields[1]), 0),
                "uid": int(uid),
                "state": fields[0].decode(),
                "threads": int(fields[17]),
                "user": users.get(uid, uid.decode()),
                "cpu": (int(fields[11]) + int(fields[12])) / TICKS,
                "rss": int(fields[21]) * 4096,
                "started": now - int((uptime - _started(stat)) * 1e9),
                "tty": int(fields[4]),
                "command": (command.rstrip(b"\0").replace(b"\0", b" ") or b"[" + name + b"]").decode(
                    "utf-8", "replace"
                ),
            }
        )
    return found


def _inside(status: bytes) -> int:
    """The number in the container's own namespace; 0 of a process of the guest itself."""
    for line in status.splitlines():
        if line.startswith(b"NSpid:"):
            numbers = line.split()[1:]
            return int(numbers[-1]) if len(numbers) > 1 else 0
    return 0


def _started(stat: bytes) -> float:
    """Seconds after the boot."""
    try:
        return int(stat[stat.rindex(b")") + 2 :].split()[19]) / TICKS
    except (ValueError, IndexError):
        return 0.0
