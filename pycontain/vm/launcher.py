"""Start a program that the host's kernel ends when we end, however we end.

A generated program (as the guest's agent: a table of system calls) asks for SIGKILL at its parent's death
(prctl PR_SET_PDEATHSIG) and becomes the real program; posix_spawn cannot ask for that, and forking Python costs.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence

from pycontain.errors import MachineError
from pycontain.vm import agent
from pycontain.vm.table import Table

PR_SET_PDEATHSIG, PR_SET_THP_DISABLE = 1, 41


def spawn(
    argv: Sequence[str], descriptors: Mapping[int, int], environment: Mapping[str, str] | None = None
) -> int:
    """Start argv (argv[0]: a path) in a session of its own; returns its process id.

    descriptors: number in the program -> ours. It dies with the thread that called this. MachineError.
    """
    env = dict(os.environ if environment is None else environment)
    table = Table(agent.START)
    table.call("prctl", PR_SET_PDEATHSIG, int(signal.SIGKILL))
    # huge pages would round QEMU's buffers up by some ten megabytes for every machine
    table.call("prctl", PR_SET_THP_DISABLE, 1, 0, 0, 0)
    # who was our parent may be gone by now: the pipe's other end then is, too
    alive_read, alive_write = os.pipe()
    program = table.text(os.fsencode(argv[0]))
    arguments = table.strings([os.fsencode(a) for a in argv])
    variables = table.strings([os.fsencode(f"{k}={v}") for k, v in env.items()])
    go = table.call("read", alive_read_number(descriptors), table.space(8), 1)
    orphan = table.jump(agent.IF_ZERO, go.plus(0))
    table.call("close", alive_read_number(descriptors))
    table.call("execve", program, arguments, variables)
    table.land(orphan)
    table.call("exit_group", 127)
    image = os.memfd_create("launcher")
    try:
        os.write(image, agent.elf(table.layout().ljust(agent.PAGE * 16, b"\0")))
        # above everything that dup2 may overwrite
        lifted = {
            number: _lift(fd)
            for number, fd in {**descriptors, alive_read_number(descriptors): alive_read}.items()
        }
        actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in lifted.items()]
        try:
            pid = os.posix_spawn(
                f"/proc/self/fd/{image}", ["launcher"], {}, file_actions=actions, setsid=True, setsigmask=[]
            )
        except OSError as error:
            raise MachineError(f"start {argv[0]}: {error.strerror}") from None
        finally:
            for fd in lifted.values():
                os.close(fd)
        os.write(alive_write, b"x")
        return pid
    finally:
        os.close(image)
        os.close(alive_read)
        os.close(alive_write)


def alive_read_number(descriptors: Mapping[int, int]) -> int:
    """The number in the launcher of the pipe that tells it that its parent still lives."""
    return max(descriptors, default=2) + 1


def _lift(fd: int) -> int:
    import fcntl  # only here

    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 300)
