"""Makes the host look like a container, and runs a program there: the host kernel's word is the expected one.

    python3 oracle.py ROOT HOSTNAME PROGRAM ARGS…

Needs root: mount, pid, UTS and IPC namespaces of its own, a chroot, Docker's default set of capabilities.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
import sys

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWPID = 0x00020000, 0x04000000, 0x08000000, 0x20000000
MS_NOSUID, MS_BIND, MS_REC, MS_PRIVATE = 2, 4096, 16384, 1 << 18
PR_CAPBSET_DROP, PR_SET_PDEATHSIG = 24, 1
CAPABILITY_VERSION_3 = 0x20080522
DEFAULT_CAPABILITIES = 0xA80425FB
DEVICES = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0))
LINKS = (
    ("fd", "/proc/self/fd"),
    ("stdin", "fd/0"),
    ("stdout", "fd/1"),
    ("stderr", "fd/2"),
    ("ptmx", "pts/ptmx"),
)

libc = ctypes.CDLL(None, use_errno=True)


def check(result: int, what: str) -> None:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def mount(source: str, target: str, kind: str, flags: int = 0, options: str = "") -> None:
    os.makedirs(target, exist_ok=True)
    result = libc.mount(
        source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode()
    )
    check(result, f"mount {kind} on {target}")


def enter(root: str, hostname: str) -> None:
    mount("none", "/", "", MS_REC | MS_PRIVATE)
    mount(root, root, "", MS_BIND)
    mount("proc", f"{root}/proc", "proc")
    mount("tmpfs", f"{root}/dev", "tmpfs", 0, "mode=755")
    for name, major, minor in DEVICES:
        os.mknod(f"{root}/dev/{name}", stat.S_IFCHR | 0o666, os.makedev(major, minor))
        os.chmod(f"{root}/dev/{name}", 0o666)
    for name, target in LINKS:
        os.symlink(target, f"{root}/dev/{name}")
    mount("devpts", f"{root}/dev/pts", "devpts", 0, "newinstance,ptmxmode=0666,mode=0620,gid=5")
    mount("tmpfs", f"{root}/dev/shm", "tmpfs", 0, "mode=1777")
    check(libc.sethostname(hostname.encode(), len(hostname)), "sethostname")
    os.chroot(root)
    os.chdir("/")


def drop_capabilities() -> None:
    for capability in range(41):
        if not DEFAULT_CAPABILITIES >> capability & 1:
            check(libc.prctl(PR_CAPBSET_DROP, ctypes.c_ulong(capability), 0, 0, 0), "drop a capability")
    header = ctypes.create_string_buffer(struct.pack("<Ii", CAPABILITY_VERSION_3, 0))
    low, high = DEFAULT_CAPABILITIES & 0xFFFFFFFF, DEFAULT_CAPABILITIES >> 32
    data = ctypes.create_string_buffer(struct.pack("<6I", low, low, 0, high, high, 0))
    check(libc.capset(header, data), "capset")


def main() -> None:
    root, hostname, *argv = sys.argv[1:]
    check(libc.unshare(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC), "unshare")
    pid = os.fork()
    if pid:
        _, status = os.waitpid(pid, 0)
        sys.exit(os.waitstatus_to_exitcode(status) & 0xFF)
    os.setsid()  # the first process of a container leads a session
    libc.prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(9), 0, 0, 0)
    enter(root, hostname)
    drop_capabilities()
    os.setgroups([0])  # as Docker starts root
    os.execve(
        argv[0],
        argv,
        {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "PYTHONDONTWRITEBYTECODE": "1"},
    )


if __name__ == "__main__":
    main()
