"""The seccomp filter, run by a small interpreter of classic BPF: every call of the table goes where the table says."""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence

import pytest

from pycontain.kernel import table
from pycontain.platforms.trap import bpf, policy
from pycontain.platforms.trap import x86_64 as arch
from pycontain.platforms.trap.bpf import RET_ALLOW, RET_ERRNO, RET_NOTIFY, Rule

AUDIT_ARCH_I386 = 0x40000003


def run(program: bytes, number: int, arguments: Sequence[int] = (), machine: int = arch.AUDIT_ARCH) -> int:
    """What a filter answers; it must end, by jumps that only go forwards."""
    words = [a & 0xFFFFFFFFFFFFFFFF for a in (*arguments, *[0] * (6 - len(arguments)))]
    data = struct.pack(
        "<iIQ6Q", number if number < 1 << 31 else number - (1 << 32), machine, 0x7F0000001234, *words
    )
    code = list(struct.iter_unpack("<HBBI", program))
    accumulator, at = 0, 0
    while True:
        operation, yes, no, k = code[at]
        at += 1
        if operation == bpf.LD:
            assert k % 4 == 0 and k + 4 <= len(data)
            (accumulator,) = struct.unpack_from("<I", data, k)
        elif operation == bpf.JEQ:
            at += yes if accumulator == k else no
        elif operation == bpf.JGE:
            at += yes if accumulator >= k else no
        elif operation == bpf.JSET:
            at += yes if accumulator & k else no
        elif operation == bpf.AND:
            accumulator &= k
        elif operation == bpf.JA:
            at += k
        elif operation == bpf.RET:
            return k
        else:
            raise AssertionError(f"instruction {operation:#x}")


ROWS = table.build()
RULES = policy.rules(ROWS, table.SCHEDULING)
PROGRAM = bpf.compile_filter(
    {arch.NUMBERS[name]: rule for name, rule in RULES.items() if name in arch.NUMBERS},
    bpf.NOTIFY, arch.AUDIT_ARCH, arch.X32_BIT,
)  # fmt: skip


def answer(name: str, *arguments: int) -> str:
    value = run(PROGRAM, arch.NUMBERS[name], arguments)
    if value == RET_ALLOW:
        return "allow"
    return "notify" if value == RET_NOTIFY else errno.errorcode[value & 0xFFFF]


def by_rule(rule: Rule, arguments: Sequence[int]) -> int:
    for test in rule.tests:
        word = arguments[test.argument]
        low = word & 0xFFFFFFFF
        if test.wide:
            hit = word == 0
        elif test.bits:
            hit = any(low & value for value in test.values)
        elif test.between:
            hit = low in range(*test.values)
        else:
            hit = low in [value & 0xFFFFFFFF for value in test.values]
        if hit:
            return test.action
    return rule.default


def test_every_call_of_the_table() -> None:
    words = [
        0,
        1,
        2,
        3,
        15,
        17,
        10,
        0x5401,
        0x5413,
        0x20000000,
        0x80000000,
        0xFFFFFFFF,
        0xFFFFFFFFFFFFFFFF,
        1 << 32,
    ]
    for name, rule in RULES.items():
        if name not in arch.NUMBERS:
            continue
        for value in words:
            for position in range(3):
                arguments = [7] * 6
                arguments[position] = value
                assert run(PROGRAM, arch.NUMBERS[name], arguments) == by_rule(rule, arguments), (
                    name,
                    arguments,
                )


def test_unknown_numbers_come_to_the_kernel() -> None:
    known = {arch.NUMBERS[name] for name in RULES if name in arch.NUMBERS}
    for number in (n for n in range(600) if n not in known):
        assert run(PROGRAM, number) == RET_NOTIFY


@pytest.mark.parametrize("number", [0, 1, 2, 59, 322, 511, 512, 547])
def test_other_calling_conventions_are_refused(number: int) -> None:
    refused = RET_ERRNO | errno.ENOSYS
    assert run(PROGRAM, number | arch.X32_BIT) == refused
    assert run(PROGRAM, number, machine=AUDIT_ARCH_I386) == refused
    assert run(PROGRAM, 0xFFFFFFFF) == refused


def test_what_moves_data_is_native() -> None:
    for name in (
        "read",
        "write",
        "mmap",
        "brk",
        "futex",
        "poll",
        "close",
        "dup2",
        "exit_group",
        "wait4",
        "sendmsg",
    ):
        assert answer(name) == "allow", name


def test_what_names_things_comes_to_the_kernel() -> None:
    for name in ("open", "openat", "openat2", "stat", "newfstatat", "statx", "execve", "execveat", "chdir", "unlink",
                 "rename", "kill", "getpid", "setuid", "bind", "connect", "readlink", "getcwd", "mknod", "truncate"):  # fmt: skip
        assert answer(name) == "notify", name


def test_what_would_escape_is_refused() -> None:
    for name in ("ptrace", "pivot_root", "setns", "bpf", "io_uring_setup", "userfaultfd", "process_vm_readv",
                 "open_by_handle_at", "kexec_load", "init_module", "clone3", "perf_event_open", "keyctl"):  # fmt: skip
        assert answer(name) not in ("allow", "notify"), name


def test_arguments_decide() -> None:
    assert answer("clone", 0x11) == "allow"
    assert (
        answer("clone", 0x10000000 | 0x11) == answer("clone", 0x00800011) == "EPERM"
    )  # CLONE_NEWUSER, UNTRACED
    threads, files, system_v = 0x10000, 0x200, 0x40000
    assert answer("clone", 0x3D0F00) == "allow"  # pthread_create
    assert answer("clone", 0x3D0F00 & ~files) == answer("clone", 0x3D0F00 & ~threads) == "notify"
    assert answer("unshare", files) == answer("unshare", files | system_v) == answer("unshare", 0) == "notify"
    assert answer("unshare", files | 0x10000000) == answer("unshare", 0x20000) == "EPERM"
    assert answer("socket", 2) == answer("socket", 10) == "allow"
    assert answer("socket", 1) == answer("socket", 16) == answer("socket", 40) == "notify"
    assert answer("ioctl", 0, 0x5401) == "allow"
    assert answer("ioctl", 0, 0x5412) == "notify"  # TIOCSTI
    assert answer("fcntl", 0, 1) == "allow"
    assert answer("fcntl", 0, 8) == "notify"  # F_SETOWN
    assert answer("prctl", 15) == "allow"
    assert answer("prctl", 22) == answer("prctl", 38) == "notify"
    assert answer("sched_setaffinity", 0) == "notify"  # a set of processors may bound it
    assert answer("sched_getaffinity", 0) == "notify"  # the kernel may have narrowed it
    assert answer("sched_getparam", 0) == "allow"
    assert answer("sched_getparam", 77) == "notify"
    assert answer("sched_getparam", 1 << 32) == "allow"  # an int: the high half means nothing


@pytest.mark.parametrize("count", [1, 2, 3, 40, 300])
def test_searches_of_any_size(count: int) -> None:
    """Jumps over more than 255 instructions need another form."""
    rules = {n * 3: Rule(RET_ERRNO | n + 1, (bpf.Test(0, range(n % 5), RET_NOTIFY),)) for n in range(count)}
    program = bpf.compile_filter(rules, bpf.ALLOW, arch.AUDIT_ARCH, arch.X32_BIT)
    for number in range(count * 3 + 5):
        for value in (0, 3, 4):
            rule = rules.get(number, bpf.ALLOW)
            assert run(program, number, [value]) == by_rule(rule, [value, 0, 0, 0, 0, 0])


def test_the_filter_fits() -> None:
    assert len(PROGRAM) // 8 <= bpf.MAX_INSTRUCTIONS
    for at, (operation, yes, no, k) in enumerate(struct.iter_unpack("<HBBI", PROGRAM)):
        if operation in (bpf.JEQ, bpf.JGE, bpf.JSET):
            assert at + 1 + max(yes, no) < len(PROGRAM) // 8
        elif operation == bpf.JA:
            assert at + 1 + k < len(PROGRAM) // 8


@pytest.mark.parametrize(
    "name", [name for name, rule in RULES.items() if rule.tests and name in arch.NUMBERS]
)
def test_a_rule_says_what_the_filter_does(name: str) -> None:
    rule = RULES[name]
    values = {v + d for test in rule.tests for v in test.values for d in (-1, 0, 1, 1 << 32)} | {
        5000,
        1 << 63,
    }
    for argument in {test.argument for test in rule.tests}:
        for value in values:
            arguments = [0] * 6
            arguments[argument] = value & (1 << 64) - 1
            assert rule.action(arguments) == run(PROGRAM, arch.NUMBERS[name], arguments), (argument, value)
