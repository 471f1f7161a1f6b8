"""Start User-Mode Linux so that none of its processes outlives us, however we end.

It is many processes: the kernel, a helper that reads its disk, and one for each process of the guest. They end with
the kernel only if that ends in order, and a killed one leaves them behind. So two processes of ours, generated as the
guest's agent is (a table of system calls), stand above it:

    reaper   inherits every orphan (PR_SET_CHILD_SUBREAPER), waits until it has no child any more, and ends
               if the guard ended first, it does the guard's work
      guard   once the pipe from us is closed, or the kernel or the reaper has ended, kills the kernel's process group
        kernel    leads a session with all that it starts

We hold the other end of the pipe: when we end, the host's kernel closes it. The reaper's end is everyone's.
"""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Callable, Mapping, Sequence

from pycontain.errors import MachineError
from pycontain.vm import agent
from pycontain.vm.table import CALLS, Table

PR_SET_PDEATHSIG, PR_SET_NAME, PR_SET_CHILD_SUBREAPER, PR_SET_THP_DISABLE = 1, 15, 36, 41
ADDR_NO_RANDOMIZE = 0x40000
ALIVE, ENDED, REAPER = 10, 11, 12
"""Descriptors of the guard: the pipe from us, the kernel's process, and the reaper's."""
LIFTED = 300
"""From here on, our descriptors are not in the way of the numbers that they get in the program."""
KERNEL = 0x20000000
"""A page that the processes share: its first word is the kernel's process id, 0 before there is one."""
PROT_READ, PROT_WRITE, MAP_SHARED, MAP_FIXED, MAP_ANONYMOUS = 1, 2, 1, 16, 32
O_CLOEXEC = 0o2000000


def table(
    program: int, argv: Sequence[str], environment: Mapping[str, str], confine: Callable[[Table], None]
) -> bytes:
    """The reaper's program. program: the descriptor of what is executed in the end, the highest that it gets.
    confine: writes what is done in the kernel's process just before that."""
    t = Table(agent.START)
    zero = t.constant(0)
    t.call("prctl", PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    t.call("close_range", program + 1, 0xFFFFFFFF, 0)  # whatever of ours may be inherited by mistake
    t.call("mmap", KERNEL, agent.PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_ANONYMOUS, -1, 0)
    t.call("prctl", PR_SET_NAME, t.text(b"uml-warden"))
    guard = t.call("fork")
    in_guard = t.jump(agent.IF_ZERO, guard.plus(0))
    t.call("close", ALIVE)
    # for ever wait4(-1), until there is nobody left
    again = t.here()
    restore = t.operation(agent.COPY, 0, t.constant(CALLS["wait4"]))
    waited = t.call("wait4", -1, t.space(8), 0x40000000, 0)
    restore.words[1] = waited.plus(0)
    over = t.jump(agent.IF_NEGATIVE, waited.plus(0))
    # another one than the guard?
    difference = t.space(8)
    t.operation(agent.NEGATE, difference, guard)
    t.operation(agent.ADD, difference, waited)
    unguarded = t.jump(agent.IF_ZERO, difference)
    t.operation(agent.IF_ZERO, zero, again)
    t.land(unguarded)
    kernel = t.operation(agent.COPY, 0, KERNEL)
    none = t.operation(agent.IF_ZERO, KERNEL, 0)
    group = t.operation(agent.NEGATE, 0, KERNEL)
    kills = [t.call("kill", 0, int(signal.SIGKILL)) for _ in range(2)]
    for row, kill in zip((kernel, group), kills, strict=True):
        row.words[1] = kill.argument(0)
    t.land(none)
    t.operation(agent.IF_ZERO, zero, again)
    t.land(over)
    t.call("exit_group", 0)

    t.land(in_guard)
    above = t.call("pidfd_open", t.call("getppid"), 0)
    t.call("dup3", above, REAPER, O_CLOEXEC)
    kernel = t.call("fork")
    in_kernel = t.jump(agent.IF_ZERO, kernel.plus(0))
    opened = t.call("pidfd_open", kernel, 0)
    t.call("dup3", opened, ENDED, O_CLOEXEC)
    watched = t.data(b"".join(fd.to_bytes(4, "little") + b"\1\0\0\0" for fd in (ALIVE, ENDED, REAPER)))
    t.call("ppoll", watched, 3, 0, 0, 0)
    group = t.operation(agent.NEGATE, 0, kernel)
    killed = t.call("kill", 0, int(signal.SIGKILL))
    group.words[1] = killed.argument(0)
    # it may not have come so far as to lead a group
    t.call("kill", kernel, int(signal.SIGKILL))
    t.call("exit_group", 0)

    t.land(in_kernel)
    t.operation(agent.COPY, KERNEL, t.call("getpid"))
    t.call("setsid")
    t.call("prctl", PR_SET_THP_DISABLE, 1, 0, 0, 0)
    # spares it some megabytes; not allowed everywhere, and it does without
    t.call("personality", ADDR_NO_RANDOMIZE)
    t.call("close", ALIVE)
    confine(t)
    t.call("prctl", PR_SET_PDEATHSIG, int(signal.SIGKILL))  # another identity would have forgotten it
    arguments = t.strings([os.fsencode(a) for a in argv])
    variables = t.strings([os.fsencode(f"{k}={v}") for k, v in environment.items()])
    t.call("execve", t.text(b"/proc/self/fd/%d" % program), arguments, variables)
    t.call("exit_group", 127)
    return t.layout()


def spawn(
    program: int,
    argv: Sequence[str],
    descriptors: Mapping[int, int],
    environment: Mapping[str, str],
    confine: Callable[[Table], None],
) -> tuple[int, int]:
    """Start it; the reaper's process id, and our end of the pipe: closing it ends everything. MachineError.

    descriptors: number in the program -> ours; program: one of those numbers, what is executed; 10 to 12 are the guard's own.
    """
    alive_read, alive_write = os.pipe()
    made = os.memfd_create("warden")
    image = fcntl.fcntl(made, fcntl.F_DUPFD_CLOEXEC, LIFTED)
    os.close(made)
    lifted: dict[int, int] = {}
    try:
        os.write(image, agent.elf(table(program, argv, environment, confine).ljust(agent.PAGE * 16, b"\0")))
        for number, fd in {**descriptors, ALIVE: alive_read}.items():
            lifted[number] = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, LIFTED)
        actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in lifted.items()]
        pid = os.posix_spawn(
            f"/proc/self/fd/{image}", ["pycontain-uml"], {}, file_actions=actions, setsid=True, setsigmask=[]
        )
        return pid, alive_write
    except OSError as error:
        os.close(alive_write)
        raise MachineError(f"start {argv[0]}: {error.strerror}") from None
    finally:
        for fd in (*lifted.values(), alive_read, image):
            os.close(fd)
