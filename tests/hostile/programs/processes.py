"""Processes of the host: a victim with our own host uid, the kernel, and pid 1. Also what names processes elsewhere."""

import ctypes
import fcntl
import os
import resource
import signal
import struct
import sys

from attempts import attempt, libc, syscall

victim, kernel, group = (int(word) for word in sys.argv[1:4])
libc.ptrace.restype = ctypes.c_long
buffer = ctypes.create_string_buffer(4096)


class Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


vector = Vector(ctypes.addressof(buffer), 64)
address = ctypes.addressof(buffer)
pair = ctypes.byref(vector)
timespec = (ctypes.c_long * 2)()


def libc_capget(pid):
    header = struct.pack("<Ii", 0x20080522, pid)
    return syscall(125, ctypes.create_string_buffer(header), buffer)


# pid 1 inside is our own first process; the others must not exist
for name, pid in (("victim", victim), ("kernel", kernel)):
    for number in (0, signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT):
        attempt(f"kill {name} {number}", lambda: os.kill(pid, number))
        attempt(f"kill group of {name} {number}", lambda: os.kill(-pid, number))
        attempt(f"tkill {name} {number}", lambda: syscall(200, pid, number))
        attempt(f"tgkill {name} {number}", lambda: syscall(234, pid, pid, number))
        attempt(f"tgkill by our group {name} {number}", lambda: syscall(234, os.getpid(), pid, number))
    attempt(f"rt_sigqueueinfo {name}", lambda: syscall(129, pid, 9, buffer))
    attempt(f"rt_tgsigqueueinfo {name}", lambda: syscall(297, pid, pid, 9, buffer))
    attempt(f"pidfd_open {name}", lambda: os.pidfd_open(pid))
    attempt(f"getpgid {name}", lambda: os.getpgid(pid))
    attempt(f"getsid {name}", lambda: os.getsid(pid))
    attempt(f"setpgid {name}", lambda: os.setpgid(pid, 0))
    attempt(f"joining the group of {name}", lambda: os.setpgid(0, pid))
    attempt(f"prlimit {name}", lambda: resource.prlimit(pid, resource.RLIMIT_NOFILE))
    attempt(f"prlimit sets {name}", lambda: resource.prlimit(pid, resource.RLIMIT_NOFILE, (1, 1)))
    attempt(f"getpriority {name}", lambda: os.getpriority(os.PRIO_PROCESS, pid))
    attempt(f"setpriority {name}", lambda: os.setpriority(os.PRIO_PROCESS, pid, 19))
    attempt(f"sched_getaffinity {name}", lambda: os.sched_getaffinity(pid))
    attempt(f"sched_setaffinity {name}", lambda: os.sched_setaffinity(pid, {0}))
    attempt(f"sched_getscheduler {name}", lambda: os.sched_getscheduler(pid))
    attempt(
        f"sched_setscheduler {name}", lambda: os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))
    )
    attempt(f"sched_getparam {name}", lambda: os.sched_getparam(pid))
    attempt(f"sched_setparam {name}", lambda: os.sched_setparam(pid, os.sched_param(0)))
    attempt(f"sched_rr_get_interval {name}", lambda: os.sched_rr_get_interval(pid))
    attempt(f"sched_getattr {name}", lambda: syscall(315, pid, buffer, 56, 0))
    attempt(f"sched_setattr {name}", lambda: syscall(314, pid, buffer, 0))
    attempt(f"ioprio_get {name}", lambda: syscall(252, 1, pid))
    attempt(f"ioprio_set {name}", lambda: syscall(251, 1, pid, 3 << 13))
    attempt(f"PTRACE_ATTACH {name}", lambda: syscall(101, 16, pid, 0, 0))
    attempt(f"PTRACE_SEIZE {name}", lambda: syscall(101, 0x4206, pid, 0, 0))
    attempt(f"process_vm_readv {name}", lambda: syscall(310, pid, pair, 1, pair, 1, 0))
    attempt(f"process_vm_writev {name}", lambda: syscall(311, pid, pair, 1, pair, 1, 0))
    attempt(f"kcmp {name}", lambda: syscall(312, pid, os.getpid(), 0, 0, 0))
    attempt(f"get_robust_list {name}", lambda: syscall(274, pid, buffer, buffer))
    attempt(f"move_pages {name}", lambda: syscall(279, pid, 0, buffer, 0, buffer, 0))
    attempt(f"migrate_pages {name}", lambda: syscall(256, pid, 1, buffer, buffer))
    attempt(f"capget {name}", lambda: libc_capget(pid))
    attempt(f"core scheduling {name}", lambda: syscall(157, 62, 0, pid, 0, address))
    attempt(f"core scheduling from {name}", lambda: syscall(157, 62, 3, pid, 0, 0))
    attempt(f"PR_SET_PTRACER {name}", lambda: syscall(157, 0x59616D61, pid, 0, 0, 0))
    for kind in (0, 1, 2, 4, 5, 6):
        clock = ctypes.c_int((~pid << 3) | kind)
        attempt(f"clock_gettime {name} {kind}", lambda: syscall(228, clock, timespec))
        attempt(f"clock_getres {name} {kind}", lambda: syscall(229, clock, timespec))
        attempt(f"timer_create {name} {kind}", lambda: syscall(222, clock, 0, buffer))
        attempt(
            f"clock_nanosleep {name} {kind}", lambda: syscall(230, clock, 0, (ctypes.c_long * 2)(0, 1), 0)
        )
    attempt(f"waiting for {name}", lambda: os.waitpid(pid, os.WNOHANG))
    attempt(f"/proc of {name}", lambda: os.listdir(f"/proc/{pid}"))
    attempt(f"memory of {name}", lambda: open(f"/proc/{pid}/mem", "rb"))
    attempt(f"descriptors of {name}", lambda: os.listdir(f"/proc/{pid}/fd"))
    attempt(f"file system of {name}", lambda: os.listdir(f"/proc/{pid}/root/"))


attempt("capabilities of the victim", lambda: libc_capget(victim))
attempt("kill the victim's group", lambda: os.kill(-group, signal.SIGKILL))
attempt("joining the victim's group", lambda: os.setpgid(0, group))


def alone():
    """A process that everybody in the container may be signalled by, but nobody outside."""
    child = os.fork()
    if child == 0:
        signal.pause()
    os.kill(-1, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


attempt("kill -1", alone, lambda r: r == -9)
attempt(
    "setpriority of all of the user's processes", lambda: os.setpriority(os.PRIO_USER, 0, 15), lambda r: True
)
attempt("setpriority of the group", lambda: os.setpriority(os.PRIO_PGRP, 0, 15), lambda r: True)
attempt("setpriority of the victim's group", lambda: os.setpriority(os.PRIO_PGRP, group, 15), lambda r: True)
attempt("setpriority of a user", lambda: os.setpriority(os.PRIO_USER, 65534, 15), lambda r: True)

# signals by way of descriptors
reader, writer = os.pipe()
for command, name in (
    (fcntl.F_SETOWN, "F_SETOWN"),
    (fcntl.F_SETSIG, "F_SETSIG"),
    (15, "F_SETOWN_EX"),
    (1024, "F_SETLEASE"),
):
    attempt(name, lambda: fcntl.fcntl(reader, command, victim))
attempt("F_SETOWN of a group", lambda: fcntl.fcntl(reader, fcntl.F_SETOWN, -group))
attempt("F_NOTIFY", lambda: fcntl.fcntl(os.open("/", os.O_RDONLY), 1026, 1))
import socket

end = socket.socket()
for request, name in ((0x8901, "FIOSETOWN"), (0x8902, "SIOCSPGRP")):
    attempt(name, lambda: fcntl.ioctl(end, request, struct.pack("i", victim)))
master, slave = os.openpty()
for request, name, value in (
    (0x5412, "TIOCSTI", b"x"),
    (0x5423, "TIOCSETD", struct.pack("i", 0)),
    (0x541C, "TIOCLINUX", b"\x02"),
    (0x541D, "TIOCCONS", b"\0\0\0\0"),
    (0x5410, "TIOCSPGRP", struct.pack("i", group)),
    (0x4B4D, "KDSETKEYCODE", b"\0" * 8),
):
    attempt(name, lambda: fcntl.ioctl(slave, request, value))


def signal_by_timer():
    """struct sigevent: SIGEV_THREAD_ID names a thread."""
    event = struct.pack("<QiiiI", 0, signal.SIGKILL, 4, victim, 0).ljust(64, b"\0")
    return syscall(222, 1, ctypes.create_string_buffer(event), buffer)


attempt("a timer that signals the victim", signal_by_timer)
print("priority of ours:", os.getpriority(os.PRIO_PROCESS, 0))
