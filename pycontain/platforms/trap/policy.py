"""Which calls the filter sends to the kernel: the table's word, refined by arguments that a filter can see.

Only scalars decide here. What a pointer points to is never looked at by a filter.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping
from typing import Protocol

from pycontain.platforms.trap.bpf import (
    ALLOW,
    NOTIFY,
    RET_ALLOW,
    RET_ERRNO,
    RET_NOTIFY,
    Rule,
    Test,
    errno_rule,
)

CLONE_NEW = 0x7E020080  # CLONE_NEWNS, CGROUP, UTS, IPC, USER, PID, NET, TIME
CLONE_UNTRACED = 0x00800000  # the child would not be ours
CLONE_FS, CLONE_THREAD = 0x00000200, 0x00010000  # usually both, or none
CLONE_SYSVSEM = 0x00040000
ALLOWED_IOCTLS = (
    0x5401, 0x5402, 0x5403, 0x5404, 0x5405, 0x5406, 0x5407, 0x5408, 0x5409, 0x540A, 0x540B,  # TCGETS .. TCFLSH
    0x540C, 0x540D, 0x540E, 0x5411, 0x5413, 0x5414, 0x5415, 0x5416, 0x5417, 0x5418, 0x5419, 0x541A,  # TIOC*
    0x541B, 0x5421, 0x5422, 0x5424, 0x5425, 0x5427, 0x5428, 0x5450, 0x5451, 0x5452, 0x5460,
    0x80045430, 0x40045431, 0x80045432, 0x80045438, 0x80045439, 0x5441,  # pseudo terminals
    0x802C542A, 0x402C542B, 0x402C542C, 0x402C542D,  # TCGETS2 ..
    0x8905, 0x8906, 0x8907,  # sockets: SIOCATMARK, timestamps
    0x8910, 0x8912, 0x8913, 0x8915, 0x8917, 0x8919, 0x891B, 0x891D, 0x8921, 0x8927, 0x8933, 0x8942,  # SIOCGIF*
    0x8946,  # SIOCETHTOOL: asks only; changes need a capability
    0x40049409,  # FICLONE: both descriptors are the task's
    0x4020940D,
)  # fmt: skip
# fcntl commands that reach other processes, or that leave traces on files which containers share
TRAPPED_FCNTL = (8, 10, 15, 1024, 1026)  # F_SETOWN F_SETSIG F_SETOWN_EX F_SETLEASE F_NOTIFY
# prctl options that concern the caller alone; the others are emulated or refused (PR_SCHED_CORE names processes)
NATIVE_PRCTL = (
    1, 2,  # PR_SET_PDEATHSIG, PR_GET_PDEATHSIG
    13, 14, 15, 16, 25, 26, 29, 30, 31, 32, 33, 34,  # TIMING NAME TSC TIMERSLACK TASK_PERF_EVENTS MCE_KILL
    36, 37, 40, 41, 42, 52, 53, 57, 58,  # CHILD_SUBREAPER TID_ADDRESS THP_DISABLE SPECULATION_CTRL IO_FLUSHER
    65, 66, 67, 68,  # MDWE MEMORY_MERGE
    0x53564D41,  # PR_SET_VMA
)  # fmt: skip
IOPRIO_WHO_USER = 3
PRIO_USER = 2  # every process of the host's user
NEGATIVE = 0x80000000
# SO_PEERCRED SO_PEERGROUPS SO_PEERPIDFD: of a unix socket they name processes; SO_TYPE: a datagram one is none
PEER_OPTIONS = (17, 59, 77, 3)
# SO_SNDBUF SO_RCVBUF SO_PASSCRED SO_RCVLOWAT, and both numbers of SO_RCVTIMEO and SO_SNDTIMEO: kept for a unix socket;
# SO_PASSPIDFD: of a datagram it would be the kernel's
KEPT_OPTIONS = (7, 8, 16, 18, 20, 21, 66, 67, 76)
AF_INET, AF_INET6 = 2, 10
# numbers of descriptors of which the kernel sees what is sent and received: it gives them to unix datagram sockets.
# The last ones of which select(2) can tell, so that other descriptors seldom have them
WATCHED = range(960, 1024)


class _Row(Protocol):
    @property
    def function(self) -> object: ...
    @property
    def error(self) -> int: ...


def _self_only(argument: int = 0) -> Rule:
    """Native where the argument (a process number) is 0, the caller; else the kernel looks."""
    return Rule(RET_NOTIFY, (Test(argument, (0,), RET_ALLOW),))


def rules(
    table: Mapping[str, _Row], scheduling: Iterable[str], *, count_tasks: bool = False
) -> dict[str, Rule]:
    """A rule for every call of the table. count_tasks: the kernel is asked before a task is made."""
    out: dict[str, Rule] = {}
    for name, row in table.items():
        out[name] = errno_rule(row.error) if row.error else NOTIFY if row.function is not None else ALLOW
    out["seccomp"] = NOTIFY  # the platform's own, see watching.py; else it is refused
    refuse = RET_ERRNO | errno.EPERM
    births = RET_NOTIFY if count_tasks else RET_ALLOW
    out["fork"] = out["vfork"] = Rule(births)
    out["clone"] = Rule(
        births,
        (
            Test(0, (CLONE_NEW | CLONE_UNTRACED,), refuse, bits=True),
            Test(0, (CLONE_FS, CLONE_THREAD), RET_NOTIFY, mask=CLONE_FS | CLONE_THREAD),
        ),
    )
    out["unshare"] = Rule(refuse, (Test(0, (0, CLONE_FS, CLONE_SYSVSEM, CLONE_FS | CLONE_SYSVSEM), RET_NOTIFY),))
    out["ioctl"] = Rule(RET_NOTIFY, (Test(1, ALLOWED_IOCTLS, RET_ALLOW),))
    out["fcntl"] = Rule(RET_ALLOW, (Test(1, TRAPPED_FCNTL, RET_NOTIFY),))
    out["prctl"] = Rule(RET_NOTIFY, (Test(0, NATIVE_PRCTL, RET_ALLOW),))
    out["socket"] = Rule(RET_NOTIFY, (Test(0, (AF_INET, AF_INET6), RET_ALLOW),))
    out["getsockopt"] = Rule(RET_ALLOW, (Test(2, PEER_OPTIONS, RET_NOTIFY),))
    out["setsockopt"] = Rule(RET_ALLOW, (Test(2, KEPT_OPTIONS, RET_NOTIFY),))
    watched = Test(0, (WATCHED.start, WATCHED.stop), RET_NOTIFY, between=True)
    # by its address it may name a socket
    out["sendto"] = Rule(RET_NOTIFY, (watched, Test(4, (0,), RET_ALLOW, wide=True)))
    out["recvfrom"] = Rule(RET_ALLOW, (Test(4, (0,), RET_ALLOW, wide=True), watched))
    for name in ("sendmsg", "sendmmsg", "recvmsg", "recvmmsg", "shutdown"):
        out[name] = Rule(RET_ALLOW, (watched,))
    for name in (*scheduling, "prlimit64"):
        out[name] = _self_only()
    for name in ("getpriority", "setpriority"):
        out[name] = Rule(RET_NOTIFY, (Test(0, (PRIO_USER,), RET_NOTIFY), Test(1, (0,), RET_ALLOW)))
    for name in ("ioprio_get", "ioprio_set"):
        out[name] = Rule(RET_NOTIFY, (Test(0, (IOPRIO_WHO_USER,), RET_NOTIFY), Test(1, (0,), RET_ALLOW)))
    for name in ("clock_gettime", "clock_getres", "clock_nanosleep", "timer_create"):
        # a negative clock number names a process
        out[name] = Rule(RET_ALLOW, (Test(0, (NEGATIVE,), RET_NOTIFY, bits=True),))
    return out
