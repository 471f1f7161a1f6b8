"""The system call table: what happens to each call. Dispatch, the filter, the documentation and a test read it.

A call is one of
    native     the host kernel runs it without us: it only moves data, or acts on the caller alone
    emulated   a function of kernel/calls answers it (in part native: the platform's policy looks at arguments)
    refused    answers an errno, for the reason given
Calls that are not here are answered ENOSYS and counted (`pycontain kernel status`).
"""

from __future__ import annotations

import errno
from typing import NamedTuple

from pycontain.kernel.calls import (
    attributes,
    clocks,
    dirents,
    execute,
    files,
    identity,
    ipc,
    locks,
    machine,
    mounting,
    mqueue,
    names,
    process,
    reboot,
    receiving,
    sending,
    socket,
    sockopt,
    stat,
    system,
    watch,
)
from pycontain.platforms.base import SyscallFunction

SUPPORTED, PARTIAL, REFUSED = "supported", "partial", "refused"


class Row(NamedTuple):
    """function: None where the host runs it or error is set. note: what is missing, or why it is refused."""

    name: str
    status: str
    function: SyscallFunction | None = None
    error: int = 0
    note: str = ""


_NATIVE = [
    "read",
    "write",
    "close",
    "poll",
    "lseek",
    "mmap",
    "mprotect",
    "munmap",
    "brk",
    "rt_sigaction",
    "mq_timedsend",
    "mq_timedreceive",
    "mq_notify",
    "mq_getsetattr",
    "rt_sigprocmask",
    "rt_sigreturn",
    "pread64",
    "pwrite64",
    "readv",
    "writev",
    "pipe",
    "select",
    "sched_yield",
    "mremap",
    "msync",
    "mincore",
    "madvise",
    "dup",
    "dup2",
    "pause",
    "nanosleep",
    "getitimer",
    "alarm",
    "setitimer",
    "sendfile",
    "accept",
    "setsockopt",
    "exit",
    "wait4",
    "fsync",
    "fdatasync",
    "ftruncate",
    "gettimeofday",
    "getrlimit",
    "getrusage",
    "times",
    "setsid",
    "rt_sigpending",
    "rt_sigtimedwait",
    "rt_sigsuspend",
    "sigaltstack",
    "personality",
    "mlock",
    "munlock",
    "mlockall",
    "munlockall",
    "arch_prctl",
    "setrlimit",
    "sync",
    "time",
    "futex",
    "set_tid_address",
    "restart_syscall",
    "fadvise64",
    "timer_settime",
    "timer_gettime",
    "timer_getoverrun",
    "timer_delete",
    "exit_group",
    "epoll_wait",
    "epoll_ctl",
    "epoll_create",
    "epoll_create1",
    "epoll_pwait",
    "epoll_pwait2",
    "waitid",
    "pselect6",
    "ppoll",
    "set_robust_list",
    "splice",
    "tee",
    "sync_file_range",
    "vmsplice",
    "signalfd",
    "timerfd_create",
    "eventfd",
    "fallocate",
    "timerfd_settime",
    "timerfd_gettime",
    "accept4",
    "signalfd4",
    "eventfd2",
    "dup3",
    "pipe2",
    "preadv",
    "pwritev",
    "getcpu",
    "getrandom",
    "memfd_create",
    "membarrier",
    "mlock2",
    "copy_file_range",
    "preadv2",
    "pwritev2",
    "pkey_mprotect",
    "pkey_alloc",
    "pkey_free",
    "rseq",
    "close_range",
    "readahead",
    "syncfs",
    "futex_waitv",
    "shmdt",
    "futex_wake",
    "futex_wait",
    "futex_requeue",
    "sched_get_priority_max",
    "sched_get_priority_min",
    "get_mempolicy",
    "set_mempolicy",
    "mbind",
    "remap_file_pages",
    "io_destroy",
    "io_submit",
    "io_cancel",
    "io_getevents",
    "io_pgetevents",
]

_REFUSED = {
    "ptrace": (errno.EPERM, "the kernel itself traces every process, and a process has one tracer"),
    "clone3": (
        errno.ENOSYS,
        "its flags are in memory, where a filter cannot see them; libc falls back to clone",
    ),
    "seccomp": (errno.EINVAL, "a filter of a program could stop the kernel's own calls"),
    "setns": (errno.EPERM, "no namespaces inside a container, as under Docker's default profile"),
    "pivot_root": (errno.EPERM, "the container's root stays where it is"),
    "mount_setattr": (errno.ENOSYS, "not there; mount(8) up to util-linux 2.41 falls back to mount(2)"),
    "move_mount": (errno.ENOSYS, "not there; mount(8) up to util-linux 2.41 falls back to mount(2)"),
    "open_tree": (errno.ENOSYS, "not there; mount(8) up to util-linux 2.41 falls back to mount(2)"),
    "fsopen": (errno.ENOSYS, "not there; mount(8) up to util-linux 2.41 falls back to mount(2)"),
    "fsconfig": (errno.ENOSYS, "not there; mount(8) up to util-linux 2.41 falls back to mount(2)"),
    "fsmount": (errno.ENOSYS, "not there; mount(8) up to util-linux 2.41 falls back to mount(2)"),
    "fspick": (errno.ENOSYS, "not there; mount(8) up to util-linux 2.41 falls back to mount(2)"),
    "swapon": (errno.EPERM, "the host's"),
    "swapoff": (errno.EPERM, "the host's"),
    "syslog": (errno.EPERM, "the host's kernel log"),
    "acct": (errno.EPERM, "the host's"),
    "settimeofday": (errno.EPERM, "the host's clock"),
    "clock_settime": (errno.EPERM, "the host's clock"),
    "adjtimex": (errno.EPERM, "the host's clock"),
    "clock_adjtime": (errno.EPERM, "the host's clock"),
    "iopl": (errno.EPERM, "hardware"),
    "ioperm": (errno.EPERM, "hardware"),
    "init_module": (errno.EPERM, "the host's kernel"),
    "finit_module": (errno.EPERM, "the host's kernel"),
    "delete_module": (errno.EPERM, "the host's kernel"),
    "kexec_load": (errno.EPERM, "the host's kernel"),
    "kexec_file_load": (errno.EPERM, "the host's kernel"),
    "quotactl": (errno.EPERM, "the host's file systems"),
    "quotactl_fd": (errno.EPERM, "the host's file systems"),
    "vhangup": (errno.EPERM, "needs CAP_SYS_TTY_CONFIG"),
    "bpf": (errno.EPERM, "programs in the host's kernel"),
    "perf_event_open": (errno.EACCES, "measures the host"),
    "userfaultfd": (errno.EPERM, "can stop the kernel in the middle of reading a task's memory"),
    "fanotify_init": (errno.EPERM, "needs CAP_SYS_ADMIN"),
    "fanotify_mark": (errno.EPERM, "needs CAP_SYS_ADMIN"),
    "open_by_handle_at": (errno.EPERM, "reaches files without a name"),
    "name_to_handle_at": (errno.EOPNOTSUPP, "the union file system has no file handles"),
    "lookup_dcookie": (errno.EPERM, "the host's"),
    "add_key": (errno.ENOSYS, "keys are the host user's"),
    "request_key": (errno.ENOSYS, "keys are the host user's"),
    "keyctl": (errno.ENOSYS, "keys are the host user's"),
    "io_uring_setup": (errno.ENOSYS, "its requests would pass the filter unseen"),
    "io_uring_enter": (errno.ENOSYS, "its requests would pass the filter unseen"),
    "io_uring_register": (errno.ENOSYS, "its requests would pass the filter unseen"),
    "kcmp": (errno.EPERM, "compares other processes"),
    "process_vm_readv": (errno.EPERM, "other processes' memory"),
    "process_vm_writev": (errno.EPERM, "other processes' memory"),
    "process_madvise": (errno.EPERM, "other processes' memory"),
    "process_mrelease": (errno.EPERM, "other processes' memory"),
    "pidfd_getfd": (errno.EPERM, "other processes' descriptors"),
    "migrate_pages": (errno.EPERM, "other processes' memory"),
    "move_pages": (errno.EPERM, "other processes' memory"),
    "get_robust_list": (errno.EPERM, "other processes' memory"),
    "modify_ldt": (errno.ENOSYS, "16-bit segments"),
    "landlock_create_ruleset": (errno.ENOSYS, "the platform's own layer comes first"),
    "landlock_add_rule": (errno.ENOSYS, "the platform's own layer comes first"),
    "landlock_restrict_self": (errno.ENOSYS, "the platform's own layer comes first"),
    "memfd_secret": (errno.ENOSYS, "memory that the kernel could not read"),
    "uselib": (errno.ENOSYS, "obsolete"),
    "ustat": (errno.ENOSYS, "obsolete"),
    "sysfs": (errno.ENOSYS, "obsolete"),
    "_sysctl": (errno.ENOSYS, "obsolete"),
    "create_module": (errno.ENOSYS, "obsolete"),
    "nfsservctl": (errno.ENOSYS, "obsolete"),
}

_NAMELESS = "a client that has bound itself comes without its name, which getpeername tells"
_CREDENTIALS = "credentials (SCM_CREDENTIALS): of connected sockets the sender's real ones, and the host's where neither process nor a parent has set SO_PASSCRED"
_DUPLICATE = "of a unix datagram socket that dup(2) or SCM_RIGHTS has given another number"
_SENT = f"{_DUPLICATE} the address is not seen; {_CREDENTIALS}"
_RECEIVED = f"{_DUPLICATE} senders are not told; {_CREDENTIALS}"
_AWAITED = "the user in siginfo is the host's"
_PARTIAL = {
    "ioprio_get": "of a group or a user the answer is one process's",
    "ioprio_set": "of a group or a user one process is changed; no real-time class",
    "mount": "tmpfs, proc, sysfs, devpts, overlay, bind and move; no block devices; nothing propagates",
    "umount2": "MNT_EXPIRE answers EAGAIN",
    "renameat2": "RENAME_WHITEOUT answers EINVAL, as on overlayfs",
    "io_setup": "all containers together get half of the host's requests (fs.aio-max-nr)",
    "socket": "AF_UNIX, AF_INET, AF_INET6 and NETLINK_ROUTE; no raw sockets; a unix datagram socket has a number of 960 and above",
    "connect": "of a unix datagram socket what has not been read is lost where the host refuses pidfd_getfd",
    "setsockopt": "no SO_PASSPIDFD for unix datagram sockets",
    "accept": _NAMELESS,
    "accept4": _NAMELESS,
    "sendmsg": _SENT,
    "sendmmsg": _SENT,
    "recvfrom": f"{_DUPLICATE} senders are not told",
    "recvmsg": _RECEIVED,
    "recvmmsg": f"{_RECEIVED}; of such a socket it waits for the first message only",
    "waitid": _AWAITED,
    "rt_sigtimedwait": _AWAITED,
    "signalfd": _AWAITED,
    "signalfd4": _AWAITED,
    "socketpair": "a datagram pair is a SOCK_SEQPACKET pair",
    "inotify_add_watch": "no IN_ACCESS and IN_CLOSE_NOWRITE of files of an image",
    "statx": "no birth time",
    "prlimit64": "limits are the host's",
    "fcntl": "record locks are the host's, shared on devices, and F_GETLK gives process 1 its number there; F_SETOWN takes the caller and its group, of process 1 without effect; no leases, no F_NOTIFY",
    "ioctl": "requests outside the list of terminal, file and network interface requests answer ENOTTY",
    "prctl": "PR_SET_SECCOMP, PR_SET_MM and options of other architectures answer an error",
    "unshare": "CLONE_FS and CLONE_SYSVSEM; no namespaces, as under Docker's default profile, no CLONE_FILES",
    "kill": "in the siginfo of a signal that is awaited, not delivered: the user is the host's, one to a group looks like sigqueue's",
}

_MODULES = (
    files,
    ipc,
    locks,
    mounting,
    machine,
    mqueue,
    watch,
    stat,
    names,
    attributes,
    identity,
    process,
    reboot,
    clocks,
    dirents,
    system,
    socket,
    sending,
    receiving,
    sockopt,
    execute,
)
SCHEDULING = [
    "sched_setparam",
    "sched_getparam",
    "sched_setscheduler",
    "sched_getscheduler",
    "sched_rr_get_interval",
    "sched_setattr",
    "sched_getattr",
]


def build() -> dict[str, Row]:
    """All rows by name."""
    rows: dict[str, Row] = {}
    for name in _NATIVE:
        note = _PARTIAL.get(name, "")
        rows[name] = Row(name, PARTIAL if note else SUPPORTED, note=note)
    for module in _MODULES:
        for attribute, function in vars(module).items():
            if attribute.startswith("sys_") and attribute != "sys_scheduling":
                name = attribute[4:]
                note = _PARTIAL.get(name, "")
                rows[name] = Row(name, PARTIAL if note else SUPPORTED, function, note=note)
    for name in SCHEDULING:
        rows[name] = Row(name, SUPPORTED, process.sys_scheduling)
    for name, (code, reason) in _REFUSED.items():
        rows[name] = Row(name, REFUSED, error=code, note=reason)
    return rows
