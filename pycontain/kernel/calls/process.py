"""Process numbers, groups, signals, priorities: what names another process. Only the container's own exist."""

from __future__ import annotations

import errno
import os
import resource
import signal
import struct
from typing import Any

from pycontain.kernel.abi import signed
from pycontain.kernel.credentials import CAP_KILL
from pycontain.kernel.task import Process, Task
from pycontain.kernel.vfs.filesystem import fail
from pycontain.kernel.vfs.procinode import ProcInode
from pycontain.kernel.vfs.proctext import host_file, parent_pid
from pycontain.platforms.base import LATER, NATIVE, Sender

PRIO_PROCESS, PRIO_PGRP, PRIO_USER = 0, 1, 2
CAP_SYS_NICE = 23
SI_USER, SI_TKILL = 0, -6
SIGINFO = struct.Struct("<iiixxxxiIQ")  # the start of siginfo_t: si_signo si_errno si_code si_pid si_uid si_value


def sys_getpid(task: Task, a: tuple[int, ...]) -> int:
    return task.process.container.inside(task.process.pid)


def sys_gettid(task: Task, a: tuple[int, ...]) -> int:
    return task.process.container.inside(task.tid)


def sys_getppid(task: Task, a: tuple[int, ...]) -> int:
    return parent_pid(task.process.container, task.process.pid)


def find(task: Task, number: int) -> Process:
    """The container's process with this number (0: the caller's). Raises ESRCH."""
    if number == 0:
        return task.process
    container = task.process.container
    pid = container.outside(number)
    process = container.processes.get(pid) or container.thread_owner(pid) or container.zombie(pid)
    if process is None:
        fail(errno.ESRCH)
    return process


def sys_getpgid(task: Task, a: tuple[int, ...]) -> int:
    process = find(task, signed(a[0]))
    return task.process.container.inside_or_zero(os.getpgid(process.pid))


def sys_getpgrp(task: Task, a: tuple[int, ...]) -> int:
    return task.process.container.inside_or_zero(os.getpgid(task.process.pid))


def sys_getsid(task: Task, a: tuple[int, ...]) -> int:
    process = find(task, signed(a[0]))
    return task.process.container.inside_or_zero(os.getsid(process.pid))


def sys_setpgid(task: Task, a: tuple[int, ...]) -> Any:
    """The host does it: it knows about sessions and about children that have executed (setpgid(2))."""
    pid, group = signed(a[0]), signed(a[1])
    if group < 0:
        fail(errno.EINVAL)
    container = task.process.container
    process = find(task, pid)
    if pid != 1 and group != 1:
        return NATIVE  # scalars: nothing can change between this look and the call
    init = container.init
    if init is not None and process is task.process is not init and os.getpgid(process.pid) == init.pid:
        return 0  # it is in the first process's group already
    if pid == 1 and init is not task.process:
        fail(errno.ESRCH)  # not the caller's child
    if init is None:
        fail(errno.EPERM)
    if process is not init:
        return container.kernel.platform.instead(task, (pid, init.pid))  # the number that the host knows
    # the first process leads its session: it can only stay where it is
    if os.getsid(init.pid) == init.pid:
        fail(errno.EPERM)
    return 0


CLONE_FS, CLONE_FILES, CLONE_THREAD, CLONE_SYSVSEM = 0x200, 0x400, 0x10000, 0x40000


def sys_clone(task: Task, a: tuple[int, ...]) -> Any:
    """Comes here only where a thread does not share its directories, or a process does, and in a container with a
    limit of tasks (EAGAIN as the pids controller answers)."""
    task.uncommon = a[0] & (CLONE_THREAD | CLONE_FS) in (CLONE_THREAD, CLONE_FS)
    return sys_fork(task, a)


def sys_fork(task: Task, a: tuple[int, ...]) -> Any:
    if not task.process.container.limits.may_fork():
        fail(errno.EAGAIN)
    return NATIVE


sys_vfork = sys_fork


def sys_unshare(task: Task, a: tuple[int, ...]) -> Any:
    """A thread parts from the others; no namespaces, as under Docker's default profile."""
    if a[0] & ~(CLONE_FS | CLONE_SYSVSEM):
        fail(errno.EPERM)
    if a[0] & CLONE_FS:
        task.part()
    return NATIVE


# -- signals


def _allowed(task: Task, target: Process, signum: int) -> bool:
    who, other = task.credentials, target.credentials
    if who.has(CAP_KILL) or {who.uid, who.euid} & {other.uid, other.suid}:
        return True
    return signum == signal.SIGCONT and os.getsid(task.process.pid) == os.getsid(target.pid)


def _heeded(target: Process, signum: int) -> bool:
    """Does the first process of a container take this signal from inside? Only with a handler (pid_namespaces(7))."""
    if target is not target.container.init or signum == 0:
        return True
    if signum in (signal.SIGKILL, signal.SIGSTOP):
        return False
    for line in host_file(target.pid, "status").splitlines():
        if line.startswith((b"SigCgt:", b"SigBlk:")) and int(line.split()[1], 16) >> (signum - 1) & 1:
            return True
    # the host does not show what sigtimedwait(2) waits for as blocked
    task = target.threads.get(target.pid)
    return task is not None and bool(target.container.kernel.platform.awaited(task) >> (signum - 1) & 1)


def _flooded(task: Task, target: Process) -> bool:
    """Every signal costs its receiver a stop, and us more time than the sender: without a pause for the sender the
    receiver would do nothing else."""
    return target is not task.process and target.container.kernel.platform.flooded(target.pid)


def _send(
    task: Task, target: Process, signum: int, tid: int | None = None, sender: Sender | None = None
) -> None:
    if not _allowed(task, target, signum):
        fail(errno.EPERM)
    if target.pid not in target.container.processes or not _heeded(target, signum):
        return  # a zombie takes every signal, and nothing comes of it
    kernel = target.container.kernel
    kernel.platform.kill(target.pid, tid, signum, sender or _sender(task, SI_USER if tid is None else SI_TKILL))
    if signum:
        kernel.waits.signalled(target)


def _sender(task: Task, code: int) -> Sender:
    return Sender(task.process.container.inside(task.process.pid), task.credentials.uid, code)


def _send_to(task: Task, target: Process, signum: int) -> Any:
    if _flooded(task, target):
        return LATER
    _send(task, target, signum)
    return 0


def _send_one(task: Task, number: int, target: Process, signum: int, sender: Sender | None = None) -> Any:
    """By the host's own call where it has the same numbers: then the signal tells who sent it, even where it is never
    delivered. The number cannot become another process's meanwhile, since the host gives it out again only when we
    have reaped the target."""
    container = target.container
    if container.outside(number) != number or (sender is None and task.process is container.init):
        _send(task, target, signum, sender=sender)
        return 0
    if not _allowed(task, target, signum):
        fail(errno.EPERM)
    if target.pid not in container.processes or not _heeded(target, signum):
        return 0
    kernel = container.kernel
    kernel.loop.later(0, lambda: kernel.waits.signalled(target))
    return NATIVE


def sys_rt_sigqueueinfo(task: Task, a: tuple[int, ...]) -> Any:
    number, signum = signed(a[0]), signed(a[1])
    if not 0 <= signum <= 64:
        fail(errno.EINVAL)
    if number <= 0:
        fail(errno.ESRCH)
    sender = _queued(task, number, a[2])
    target = find(task, number)
    return LATER if _flooded(task, target) else _send_one(task, number, target, signum, sender)


def _queued(task: Task, number: int, address: int) -> Sender:
    """What a program says of itself in sigqueue(3); number: to whom."""
    _, _, code, pid, uid, value = task.unpack(SIGINFO, address)
    if (code >= 0 or code == SI_TKILL) and number != task.process.container.inside(task.process.pid):
        fail(errno.EPERM)
    return Sender(pid, uid, min(code, 0), value)


def sys_rt_tgsigqueueinfo(task: Task, a: tuple[int, ...]) -> Any:
    group, tid, signum = signed(a[0]), signed(a[1]), signed(a[2])
    if group <= 0 or tid <= 0 or not 0 <= signum <= 64:
        fail(errno.EINVAL)
    sender = _queued(task, group, a[3])
    target = find(task, tid)
    if target is not find(task, group):
        fail(errno.ESRCH)
    if _flooded(task, target):
        return LATER
    if target is target.container.init:
        _send(task, target, signum, target.container.outside(tid), sender)
        return 0
    return _send_one(task, tid, target, signum, sender)


def sys_kill(task: Task, a: tuple[int, ...]) -> Any:
    number, signum = signed(a[0]), signed(a[1])
    if not 0 <= signum <= 64:
        fail(errno.EINVAL)
    container = task.process.container
    if number > 0:
        target = find(task, number)
        return LATER if _flooded(task, target) else _send_one(task, number, target, signum)
    if number == -1:
        targets = [
            p for p in container.processes.values() if p is not container.init and p is not task.process
        ]
    else:
        group = os.getpgid(task.process.pid) if number == 0 else container.outside(-number)
        targets = [p for p in container.processes.values() if _group(p) == group]
        targets += [p for p in container.zombies() if _group(p) == group]
    if not targets:
        fail(errno.ESRCH)
    if any(_flooded(task, target) for target in targets):
        return LATER
    sent = 0
    for target in targets:
        try:
            _send(task, target, signum)
            sent += 1
        except ProcessLookupError:
            sent += 1
        except PermissionError:
            continue
    if not sent:
        fail(errno.EPERM)
    return 0


def _group(process: Process) -> int:
    try:
        return os.getpgid(process.pid)
    except ProcessLookupError:
        return -1


def sys_tkill(task: Task, a: tuple[int, ...]) -> Any:
    return _thread_kill(task, None, a[0], a[1])


def sys_tgkill(task: Task, a: tuple[int, ...]) -> Any:
    return _thread_kill(task, signed(a[0]), a[1], a[2])


def _thread_kill(task: Task, group: int | None, thread: int, signum: int) -> Any:
    tid, signum = signed(thread), signed(signum)
    if tid <= 0 or not 0 <= signum <= 64 or (group is not None and group <= 0):
        fail(errno.EINVAL)
    container = task.process.container
    tid = container.outside(tid)
    owner = task.process if tid in task.process.threads else container.thread_owner(tid)
    if owner is None or (group is not None and container.outside(group) != owner.pid):
        fail(errno.ESRCH)
    if owner is task.process and owner is not container.init:
        return NATIVE  # to itself: the host's own numbers, and siginfo is right
    if owner is task.process:
        container.kernel.platform.kill(owner.pid, tid, signum, _sender(task, SI_TKILL))
        return 0
    if _flooded(task, owner):
        return LATER
    _send(task, owner, signum, tid)
    return 0


def sys_pidfd_open(task: Task, a: tuple[int, ...]) -> Any:
    number, flags = signed(a[0]), a[1]
    if number <= 0 or flags & ~os.O_NONBLOCK:
        fail(errno.EINVAL)
    process = find(task, number)
    fd = os.pidfd_open(process.pid, flags)
    return task.process.container.kernel.platform.send_fd(task, fd, True)


def sys_pidfd_send_signal(task: Task, a: tuple[int, ...]) -> Any:
    fd, signum = signed(a[0]), signed(a[1])
    container = task.process.container
    node = container.node_of_fd(task, fd)
    if node is not None and isinstance(node.inode, ProcInode) and node.inode.kind == "pid":
        # a directory of /proc does as well (pidfd_send_signal(2))
        process = node.inode.process
        if process is None or container.processes.get(process.pid) is not process:
            fail(errno.ESRCH)
        return _send_to(task, process, signum)
    for line in host_file(task.tid, f"fdinfo/{fd}").splitlines():
        if line.startswith(b"Pid:"):
            pid = int(line.split()[1])
            if pid <= 0 or pid not in container.processes:
                fail(errno.ESRCH)
            return _send_to(task, container.processes[pid], signum)
    fail(errno.EBADF)


F_SETOWN, F_SETSIG, F_SETOWN_EX, F_SETLEASE, F_NOTIFY = 8, 10, 15, 1024, 1026
DN_MULTISHOT = 0x80000000


def sys_fcntl(task: Task, a: tuple[int, ...]) -> Any:
    """The commands that name processes, and those that leave traces on files; all others are native (fcntl(2))."""
    command, value = a[1] & 0xFFFFFFFF, a[2]
    container = task.process.container
    task.host_stat(signed(a[0]))
    if command == F_SETSIG:
        return NATIVE  # goes to the owner, and that is the caller
    if command == F_NOTIFY and not value & 0xFFFFFFFF & ~DN_MULTISHOT:
        return 0  # ends a watch, and there is none
    if command == F_NOTIFY:
        fail(errno.EINVAL)
    if command != F_SETOWN:
        fail(errno.EPERM)
    owner = signed(value)
    if owner == 0:
        return NATIVE
    number = container.outside(abs(owner))
    if number != (task.process.pid if owner > 0 else os.getpgid(task.process.pid)):
        fail(errno.EPERM)
    # numbers that are the host's too can be taken natively. Process 1 is another one there: it gets no SIGIO
    return NATIVE if number == abs(owner) else 0


# -- scheduling of others


def sys_getpriority(task: Task, a: tuple[int, ...]) -> int:
    which, number = signed(a[0]), signed(a[1])
    if which not in (PRIO_PROCESS, PRIO_PGRP, PRIO_USER):
        fail(errno.EINVAL)
    pid = find(task, number).pid if which == PRIO_PROCESS else task.process.pid
    return 20 - os.getpriority(os.PRIO_PROCESS, pid)


def sys_setpriority(task: Task, a: tuple[int, ...]) -> Any:
    which, number, value = signed(a[0]), signed(a[1]), signed(a[2])
    if which not in (PRIO_PROCESS, PRIO_PGRP, PRIO_USER):
        fail(errno.EINVAL)
    target = find(task, number) if which == PRIO_PROCESS else task.process
    who, pid = task.credentials, target.pid
    if who.euid not in (target.credentials.uid, target.credentials.euid) and not who.has(CAP_SYS_NICE):
        fail(errno.EPERM)
    if value < os.getpriority(os.PRIO_PROCESS, pid):
        fail(errno.EACCES)
    os.setpriority(os.PRIO_PROCESS, pid, min(value, 19))
    return 0


def sys_scheduling(task: Task, a: tuple[int, ...]) -> Any:
    """sched_* calls on a process number: the host's answer, if the process is the container's."""
    process = find(task, signed(a[0]))
    container = task.process.container
    if signed(a[0]) == 1 and process is container.init:  # the number is ours, the host would take its own pid 1
        return container.kernel.platform.instead(task, (process.pid, *a[1:]))
    return NATIVE


def sys_prlimit64(task: Task, a: tuple[int, ...]) -> Any:
    """Another process's limits. The caller's own are the host's business and never come here."""
    process = find(task, signed(a[0]))
    if process is not task.process and task.credentials.uid not in (0, process.credentials.uid):
        fail(errno.EPERM)
    if process is not process.container.init:
        return (
            NATIVE  # its number is the host's, and it cannot pass to another process before we have reaped it
        )
    limits = None
    if a[2]:
        limits = struct.unpack("<QQ", task.read(a[2], 16))
    which = a[1] & 0xFFFFFFFF
    if which > 15:
        fail(errno.EINVAL)
    if limits is None:
        old = resource.prlimit(process.pid, which)
    else:
        if limits[0] > limits[1]:
            fail(errno.EINVAL)
        soft, hard = (value - (1 << 64) if value >> 63 else value for value in limits)
        old = resource.prlimit(process.pid, which, (soft, hard))
    if a[3]:
        task.write(a[3], struct.pack("<QQ", *(v & 0xFFFFFFFFFFFFFFFF for v in old)))
    return 0
