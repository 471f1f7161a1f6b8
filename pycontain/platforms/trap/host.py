"""System calls of the host that Python's standard library lacks. Linux UAPI headers are the source."""

from __future__ import annotations

import ctypes
import errno
import os
import struct

# <linux/seccomp.h>; sizes of the structures are part of the numbers
NOTIF_RECV = 0xC0502100
NOTIF_SEND = 0xC0182101
NOTIF_ADDFD = 0x40182103
NOTIF_SET_FLAGS = 0x40082104
SYNC_WAKE_UP = 1
USER_NOTIF_FLAG_CONTINUE = 1
ADDFD_FLAG_SETFD = 1
FILTER_FLAG_NEW_LISTENER = 8
FILTER_FLAG_WAIT_KILLABLE_RECV = 32
NOTIF = struct.Struct("<QI4xi12x")  # id, pid, (flags,) nr, (arch, instruction pointer)
NOTIF_ARGUMENTS = struct.Struct("<6Q")  # behind it
NOTIF_RESP = struct.Struct("<QqiI")  # id, val, error, flags
NOTIF_ADD = struct.Struct("<QIIII")  # id, flags, srcfd, newfd, newfd_flags

# <sys/ptrace.h>
PTRACE_CONT = 7
PTRACE_SINGLESTEP = 9
PTRACE_GETREGS = 12
PTRACE_SETREGS = 13
PTRACE_SYSCALL = 24
PTRACE_GETEVENTMSG = 0x4201
PTRACE_GETSIGINFO = 0x4202
PTRACE_SETSIGINFO = 0x4203
PTRACE_SEIZE = 0x4206
PTRACE_INTERRUPT = 0x4207
PTRACE_LISTEN = 0x4208
# TRACESYSGOOD TRACEFORK TRACEVFORK TRACECLONE TRACEEXEC TRACESECCOMP EXITKILL
PTRACE_OPTIONS = 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x80 | 0x100000
EVENT_FORK, EVENT_VFORK, EVENT_CLONE, EVENT_EXEC, EVENT_SECCOMP, EVENT_STOP = 1, 2, 3, 4, 7, 128
SYSCALL_STOP = 5 | 0x80  # the signal of a stop that PTRACE_SYSCALL asks for
WALL = 0x40000000

# <linux/prctl.h>
PR_SET_DUMPABLE = 4
PR_SET_NAME = 15
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38

SYS_PIDFD_GETFD = 438  # the same number on every architecture
SYS_LANDLOCK_CREATE_RULESET = 444
SYS_TGKILL, SYS_RT_SIGQUEUEINFO, SYS_RT_TGSIGQUEUEINFO = 234, 129, 297  # x86-64
LANDLOCK_CREATE_RULESET_VERSION = 1

_libc = ctypes.CDLL(None, use_errno=True)
_ptrace = _libc.ptrace
_ptrace.restype = ctypes.c_long
_ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long


def _failed() -> OSError:
    code = ctypes.get_errno()
    return OSError(code, os.strerror(code))


def ptrace(request: int, pid: int, address: int = 0, data: int = 0) -> int:
    result: int = _ptrace(request, pid, address, data)
    if result < 0:
        raise _failed()
    return result


def current_processor() -> int:
    """The number of the processor that we run on."""
    number: int = _libc.sched_getcpu()
    return number


def event_message(pid: int) -> int:
    value = ctypes.c_ulong()
    ptrace(PTRACE_GETEVENTMSG, pid, 0, ctypes.addressof(value))
    return value.value


_registers = ctypes.create_string_buffer(27 * 8)  # scratch: every use fills it first
_registers_address = ctypes.addressof(_registers)


def get_registers(pid: int) -> bytes:
    """struct user_regs_struct."""
    ptrace(PTRACE_GETREGS, pid, 0, _registers_address)
    return _registers.raw


def set_registers(pid: int, registers: bytes) -> None:
    _registers.raw = registers
    ptrace(PTRACE_SETREGS, pid, 0, _registers_address)


_information = ctypes.create_string_buffer(128)  # siginfo_t, scratch
_information_address = ctypes.addressof(_information)


def get_signal_information(pid: int) -> bytes:
    """The siginfo_t of the signal in whose delivery stop the task stands."""
    ptrace(PTRACE_GETSIGINFO, pid, 0, _information_address)
    return _information.raw


def set_signal_information(pid: int, information: bytes) -> None:
    _information.raw = information
    ptrace(PTRACE_SETSIGINFO, pid, 0, _information_address)


def pidfd_getfd(pidfd: int, fd: int) -> int:
    result: int = _syscall(SYS_PIDFD_GETFD, pidfd, fd, 0)
    if result < 0:
        raise _failed()
    return result


def has_pidfd_getfd() -> bool:
    """False before Linux 5.6, and where a container's runtime forbids it."""
    pidfd = os.pidfd_open(os.getpid())
    try:
        os.close(pidfd_getfd(pidfd, pidfd))
    except OSError:
        return False
    finally:
        os.close(pidfd)
    return True


def tgkill(pid: int, tid: int, signum: int) -> None:
    if _syscall(SYS_TGKILL, pid, tid, signum) < 0:
        raise _failed()


def queue_signal(pid: int, tid: int | None, signum: int, information: bytes) -> None:
    """Send a signal with a siginfo_t of one's own, si_code below zero. Raises EAGAIN if too many are queued."""
    if tid is None:
        result = _syscall(SYS_RT_SIGQUEUEINFO, pid, signum, information)
    else:
        result = _syscall(SYS_RT_TGSIGQUEUEINFO, pid, tid, signum, information)
    if result < 0:
        raise _failed()


def landlock_abi() -> int:
    """The Landlock ABI that the host speaks, 0 where there is none."""
    result: int = _syscall(SYS_LANDLOCK_CREATE_RULESET, None, 0, LANDLOCK_CREATE_RULESET_VERSION)
    return max(result, 0)


def prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) < 0:
        raise _failed()


class _IoVec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("len", ctypes.c_size_t)]


def process_vm_write(pid: int, address: int, data: bytes) -> None:
    """For hosts that forbid writing to /proc/PID/mem."""
    buffer = ctypes.create_string_buffer(data, len(data))
    local, remote = _IoVec(ctypes.addressof(buffer), len(data)), _IoVec(address, len(data))
    done = _libc.process_vm_writev(pid, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0)
    if done != len(data):
        raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
