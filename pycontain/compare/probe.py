"""The programs that are run inside: static ELF files made of a table of system calls (see pycontain.vm.agent).

They need nothing of the image, so the very same bytes run on the host, in a container and in any guest.
The measuring one notes the time (CLOCK_MONOTONIC) before and after each part and prints the notes:

    loop      LOOPS rounds of a few instructions, no system call            -> CPU
    calls     the same rounds with one getppid(2) each                      -> a system call's cost
    forks     FORKS times fork, exec of itself as PROBE=1, exit, wait       -> fork+exec
    files     write and read back FILE_SIZE bytes in pieces of PIECE        -> file throughput
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from pycontain.errors import MachineError
from pycontain.vm import agent
from pycontain.vm.table import CALLS, Ref, Row, Table

LOOPS = 30_000
FORKS = 30
PIECE = 1 << 16
FILE_SIZE = 16 << 20
PATH = b"/.pycontain-probe"
EXIT_PATH = b"/.pycontain-exit"
INSIDE = {"measure": PATH, "exit": EXIT_PATH, "greet": b"/.pycontain-greet", "wait": b"/.pycontain-wait"}
"""Where each program is in an instance."""
CLOCK_GETTIME, GETPPID = 228, 110


class Times(NamedTuple):
    """Seconds per round (loop), per call, per fork+exec; bytes per second written and read."""

    loop: float
    call: float
    fork: float
    file: float


def exiting() -> bytes:
    """A program that ends at once with 0."""
    table = Table(agent.START)
    table.call("exit_group", 0)
    return agent.elf(table.layout())


def greeting() -> bytes:
    """A program that prints a line and ends."""
    table = Table(agent.START)
    table.call("write", 1, table.data(b"ready\n\0\0"), 6)
    table.call("exit_group", 0)
    return agent.elf(table.layout())


def waiting() -> bytes:
    """A program that prints a line and waits for a signal."""
    table = Table(agent.START)
    table.call("write", 1, table.data(b"ready\n\0\0"), 6)
    zero = table.constant(0)
    again = table.here()
    restore = table.operation(agent.COPY, 0, table.constant(CALLS["nanosleep"]))
    slept = table.call("nanosleep", table.words([1000, 0]), 0)
    restore.words[1] = slept.plus(0)
    table.operation(agent.IF_ZERO, zero, again)
    return agent.elf(table.layout())


def measuring(exit_path: bytes = EXIT_PATH, file_path: bytes = PATH + b".tmp") -> bytes:
    """The program described above. exit_path: where exiting() is, where it runs."""
    table = Table(agent.START)
    notes = table.data(bytes(16 * 5))
    one = table.constant(1)

    def note(number: int) -> None:
        row = table.call("read", 1, notes.plus(16 * number))
        row.words[0] = CLOCK_GETTIME

    def loop(count: int) -> tuple[Ref, Ref]:
        counter = table.constant(-count)
        return counter, table.here()

    def again(counter: Ref, start: Ref) -> None:
        table.operation(agent.ADD, counter, one)
        table.operation(agent.IF_NEGATIVE, counter, start)

    def repeated(row_of: str, number: int, *arguments: int | Ref) -> Row:
        restore = table.operation(agent.COPY, 0, table.constant(number))
        row = table.call(row_of, *arguments)
        row.words[0] = number
        restore.words[1] = row.plus(0)
        return row

    note(0)
    counter, start = loop(LOOPS)
    table.operation(agent.COPY, table.constant(0), one)
    table.operation(agent.COPY, table.constant(0), one)
    again(counter, start)
    note(1)
    counter, start = loop(LOOPS)
    table.operation(agent.COPY, table.constant(0), one)
    repeated("getpid", GETPPID)
    again(counter, start)
    note(2)
    counter, start = loop(FORKS)
    forked = repeated("fork", CALLS["fork"])
    parent = table.jump(agent.IF_ZERO, forked.plus(0))
    go_on = table.jump(agent.IF_ZERO, table.constant(0))
    table.land(parent)
    program = table.text(exit_path)
    table.call("execve", program, table.words([program, 0]), table.words([0]))
    table.call("exit_group", 1)
    table.land(go_on)
    repeated("wait4", CALLS["wait4"], -1, 0, 0, 0)
    again(counter, start)
    note(3)
    name = table.text(file_path)
    opened = table.call("open", name, 0o102, 0o600)
    fd = table.constant(0)
    table.operation(agent.COPY, fd, opened.plus(0))
    for call in ("write", "pread64"):
        counter, start = loop(FILE_SIZE // PIECE)
        restore = table.operation(agent.COPY, 0, table.constant(CALLS[call]))
        place = table.operation(agent.COPY, 0, fd)
        row = table.call(call, 0, agent.ARENA, PIECE, 0)
        restore.words[1], place.words[1] = row.plus(0), row.argument(0)
        again(counter, start)
    table.call("unlink", name)
    note(4)
    table.call("write", 1, notes, 16 * 5)
    table.call("exit_group", 0)
    return agent.elf(table.layout())


def read_times(output: bytes) -> Times:
    """What the measuring program printed. MachineError where that is not it."""
    if len(output) != 80:
        raise MachineError(f"measure: the program printed {len(output)} bytes instead of 80")
    words = struct.unpack("<10q", output)
    t = [words[2 * n] + words[2 * n + 1] / 1e9 for n in range(5)]
    loop = (t[1] - t[0]) / LOOPS
    call = max((t[2] - t[1]) / LOOPS - loop, 1e-9)
    return Times(loop, call, (t[3] - t[2]) / FORKS, 2 * FILE_SIZE / max(t[4] - t[3], 1e-9))
