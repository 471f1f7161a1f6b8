"""What this host offers to the trap platform, tried rather than asked by version."""

from __future__ import annotations

import os
from typing import NamedTuple

CAP_SETUID, CAP_SETGID, CAP_SYS_PTRACE = 7, 6, 19
NOBODY = 65534


class Finding(NamedTuple):
    """required: without it nothing runs."""

    name: str
    good: bool
    required: bool
    detail: str


def effective_capabilities() -> int:
    with open("/proc/self/status", "rb") as file:
        for line in file:
            if line.startswith(b"CapEff:"):
                return int(line.split()[1], 16)
    return 0


def unprivileged_identity() -> int | None:
    """The host uid that programs run under when root runs the kernel; None: as ourselves.

    Another uid can be traced only with CAP_SYS_PTRACE. Root without it (a container's root) keeps its uid, and
    programs lose every capability.
    """
    if os.geteuid() != 0:
        return None
    held = effective_capabilities()
    if all(held >> c & 1 for c in (CAP_SETUID, CAP_SETGID, CAP_SYS_PTRACE)):
        return NOBODY
    return None


def findings() -> list[Finding]:
    """Everything the platform needs or profits from, each tried."""
    return [
        _machine(),
        _memfd(),
        _launch(),
        _landlock(),
        _tmpfs(),
        _nested(),
        _identity(),
    ]


def _machine() -> Finding:
    name = os.uname()
    good = name.sysname == "Linux" and name.machine == "x86_64"
    return Finding("Linux on x86-64", good, True, f"{name.sysname} {name.release} {name.machine}")


def _memfd() -> Finding:
    try:
        os.close(os.memfd_create("probe", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING))
    except OSError as error:
        return Finding("memory files (memfd_create)", False, True, str(error.strerror))
    return Finding("memory files (memfd_create)", True, True, "")


def _launch() -> Finding:
    """A process under a filter that sends every call to us: seccomp notification, ptrace, descriptor injection."""
    import fcntl
    import select

    from pycontain.platforms.base import Launch
    from pycontain.platforms.trap import host
    from pycontain.platforms.trap import x86_64 as arch
    from pycontain.platforms.trap.bpf import ALLOW, NOTIFY, compile_filter
    from pycontain.platforms.trap.launch import Confinement, spawn

    title = "seccomp notification and ptrace"
    rules = {arch.NUMBERS["execve"]: NOTIFY}
    program = compile_filter(rules, ALLOW, arch.AUDIT_ARCH, arch.X32_BIT)
    flags = host.FILTER_FLAG_NEW_LISTENER | host.FILTER_FLAG_WAIT_KILLABLE_RECV
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    pids: list[int] = []

    def seize(pid: int) -> None:
        pids.append(pid)
        host.ptrace(host.PTRACE_SEIZE, pid, 0, host.PTRACE_OPTIONS)

    try:
        confinement = Confinement(program, flags, unprivileged_identity())
        _, listener = spawn(
            confinement, Launch(b"probe", [b"probe"], [], null, null, null, False, False), seize
        )
        try:
            poll = select.poll()
            poll.register(listener, select.POLLIN)
            if not poll.poll(5000):
                return Finding(title, False, True, "no call was reported within five seconds")
            buffer = bytearray(80)
            fcntl.ioctl(listener, host.NOTIF_RECV, buffer)
            call, *_ = host.NOTIF.unpack_from(buffer)
            fcntl.ioctl(listener, host.NOTIF_ADDFD, host.NOTIF_ADD.pack(call, 0, null, 0, 0))
            try:
                fcntl.ioctl(listener, host.NOTIF_SET_FLAGS, host.SYNC_WAKE_UP)
                detail = "with synchronous wake-up"
            except OSError:
                detail = "without synchronous wake-up (Linux 6.6): calls cost about three times as much"
        finally:
            os.close(listener)
        return Finding(title, True, True, detail)
    except Exception as error:
        return Finding(
            title,
            False,
            True,
            f"{error}; it needs Linux 5.19 and a host profile that allows seccomp and ptrace",
        )
    finally:
        os.close(null)
        for pid in pids:
            try:
                os.kill(pid, 9)
                os.waitpid(pid, host.WALL)
            except OSError:
                pass


def _landlock() -> Finding:
    from pycontain.platforms.trap.host import landlock_abi

    abi = landlock_abi()
    return Finding(
        "Landlock (a second wall)", abi > 0, False, f"ABI {abi}" if abi else "not offered by this host"
    )


def _tmpfs() -> Finding:
    from pycontain.platforms.trap.tmpfs import make

    fd = make(1 << 20)
    if fd is None:
        detail = "no mounts and no user namespaces here: /dev/shm's size is looked at when files are opened"
        return Finding("tmpfs of limited size", False, False, detail)
    os.close(fd)
    return Finding("tmpfs of limited size", True, False, "the host refuses what is too much")


def _nested() -> Finding:
    """A process has one listener: inside a container of ours there can be no second kernel of this kind."""
    with open("/proc/version", "rb") as file:
        inside = b"pycontain" in file.read()
    return Finding("not inside a pycontain container", not inside, True, "")


def _identity() -> Finding:
    uid = unprivileged_identity()
    if os.geteuid() != 0:
        return Finding("programs run unprivileged", True, False, f"as uid {os.geteuid()}, the user's own")
    if uid is None:
        return Finding(
            "programs run unprivileged", True, False, "as uid 0 without capabilities (no CAP_SYS_PTRACE here)"
        )
    return Finding("programs run unprivileged", True, False, f"as uid {uid}")
