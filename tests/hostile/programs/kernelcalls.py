"""Calls that a container must not have at all."""

import ctypes
import os

from attempts import attempt, syscall

buffer = ctypes.create_string_buffer(4096)
CALLS = {
    "io_uring_setup": (425, 8, buffer), "io_uring_enter": (426, 0, 1, 0, 0, 0), "io_uring_register": (427, 0, 0, 0, 0),
    "userfaultfd": (323, 0), "userfaultfd user mode": (323, 1), "bpf": (321, 0, buffer, 72), "bpf load": (321, 5, buffer, 72),
    "keyctl": (250, 0, -3, 1), "add_key": (248, b"user", b"x", b"y", 1, -3), "request_key": (249, b"user", b"x", 0, -3),
    "perf_event_open": (298, buffer, 0, -1, -1, 0), "seccomp strict": (317, 0, 0, 0), "seccomp filter": (317, 1, 8, buffer),
    "prctl seccomp": (157, 22, 2, buffer, 0, 0), "prctl mm": (157, 35, 1, 0x400000, 0, 0),
    "prctl mm exe": (157, 35, 13, 0, 0, 0), "prctl dumpable 2": (157, 4, 2, 0, 0, 0),
    "ptrace me": (101, 0, 0, 0, 0), "setns": (308, 0, 0), "unshare user": (272, 0x10000000), "unshare files": (272, 0x400),
    "clone3": (435, buffer, 88), "mount": (165, b"none", b"/tmp", b"proc", 0, 0), "umount": (166, b"/proc", 0),
    "pivot_root": (155, b"/tmp", b"/tmp"), "open_tree": (428, -100, b"/", 0), "open_tree clone": (428, -100, b"/", 1),
    "move_mount": (429, -100, b"/", -100, b"/tmp", 0), "fsopen": (430, b"proc", 0), "fspick": (433, -100, b"/", 0),
    "mount_setattr": (442, -100, b"/", 0, buffer, 32), "statmount": (457, buffer, buffer, 100, 0),
    "listmount": (458, buffer, buffer, 10, 0), "open_by_handle_at": (304, -100, buffer, 0),
    "name_to_handle_at": (303, -100, b"/", buffer, buffer, 0), "fanotify_init": (300, 0, 0), "fanotify_mark": (301, 0, 1, 1, -100, b"/"),
    "swapon": (167, b"/tmp/x", 0), "reboot": (169, 0xFEE1DEAD, 672274793, 0, 0), "syslog": (103, 3, buffer, 4096),
    "syslog size": (103, 10, 0, 0), "init_module": (175, buffer, 100, b""), "finit_module": (313, 0, b"", 0),
    "delete_module": (176, b"x", 0), "kexec_load": (246, 0, 0, buffer, 0), "iopl": (172, 3), "ioperm": (173, 0, 1, 1),
    "settimeofday": (164, buffer, 0), "clock_settime": (227, 0, buffer), "acct": (163, b"/tmp/x"),
    "quotactl": (179, 0x800002, b"/", 0, buffer), "lookup_dcookie": (212, 0, buffer, 100), "modify_ldt": (154, 1, buffer, 16),
    "memfd_secret": (447, 0), "landlock_create_ruleset": (444, 0, 0, 1), "pidfd_getfd": (438, 0, 0, 0),
    "process_madvise": (440, 0, buffer, 1, 0, 0), "process_mrelease": (448, 0, 0), "vhangup": (153,), "uselib": (134, b"/bin/sh"),
    "nfsservctl": (180, 0, 0, 0), "map_shadow_stack": (453, 0, 4096, 0),
    "lsm_list_modules": (461, buffer, buffer, 0), "lsm_set_self_attr": (460, 100, buffer, 8, 0),
    "a number above all": (511, 0), "a large number": (0x3FFFFFFF, 0), "a negative number": (-1,),
    "x32 read": (0x40000000, 0, buffer, 1), "x32 getpid": (0x40000027,), "x32 ptrace": (0x40000209, 16, 1, 0, 0),
    "x32 execve": (0x40000208, b"/bin/sh", 0, 0), "x32 openat": (0x40000101, -100, b"/etc/passwd", 0),
}  # fmt: skip
for name, words in CALLS.items():
    attempt(name, lambda: syscall(*words))

NAMESPACES = {"ns": 0x20000, "cgroup": 0x2000000, "uts": 0x4000000, "ipc": 0x8000000, "user": 0x10000000,
              "pid": 0x20000000, "net": 0x40000000}  # fmt: skip


def clone(flags):
    """In a process of its own; a child that came to be says so."""
    child = syscall(56, flags | 17, 0, 0, 0, 0)
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0x40000000)
    return child


for name, flag in NAMESPACES.items():
    attempt(f"clone into a new {name} namespace", lambda: clone(flag))
attempt("clone untraced", lambda: clone(0x00800000))
attempt("clone untraced and traced", lambda: clone(0x00802000))
attempt("clone with high bits", lambda: clone(0x10000000 | 1 << 33))
for name, flags in (("files", 0x400), ("fs", 0x200), ("parent", 0x8000), ("ptrace", 0x2000)):
    attempt(f"clone {name} stays in", lambda: clone(flags), lambda r: r > 1)
