"""A program's start in a guest, as a table: its streams, its namespaces, what it may do, its execution."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Sequence

from pycontain.errors import CannotRun, ContainerError, ProgramNotFound, PycontainError
from pycontain.vm import agent
from pycontain.vm.guest import (
    MS_BIND,
    MS_MOVE,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_RDONLY,
    MS_REMOUNT,
    O_CLOEXEC,
    O_NONBLOCK,
    O_RDWR,
    ROOT,
    SIGCHLD,
)  # fmt: skip
from pycontain.vm.script import Script
from pycontain.vm.table import BUFFER, Ref, Reply, Row

DEFAULT_PATH = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CLONE_VM, CLONE_VFORK, CLONE_NEWNS, CLONE_NEWPID = 0x100, 0x4000, 0x20000, 0x20000000
READ_ONLY_PATHS = (b"/proc/bus", b"/proc/fs", b"/proc/irq", b"/proc/sys", b"/proc/sysrq-trigger")
CAPABILITIES = frozenset((0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31))
"""Docker's: chown, dac_override, fowner, fsetid, kill, setgid, setuid, setpcap, net_bind_service, net_raw, sys_chroot,
mknod, audit_write, setfcap."""


class Start:
    """A program's start. After the reply: pid, and the agent's descriptors of its streams."""

    def __init__(
        self,
        *,
        args: Sequence[bytes],
        env: Sequence[bytes],
        cwd: bytes,
        uid: int,
        gid: int,
        groups: Sequence[int],
        terminal: bool,
        size: tuple[int, int],
        stdin: bool,
        init: bool,
        namespaces: Sequence[int] = (),
        confined: bool = False,
    ) -> None:
        """init: the container's first program, in namespaces of its own; else namespaces: the agent's
        descriptors of the namespaces to join (pid first). confined: with Docker's capabilities only, and what /proc
        offers for tuning the kernel is read-only."""
        self.script = Script()
        self._args, self._env, self._cwd = args, env, cwd
        self.terminal = terminal
        self._confined = confined
        s, t = self.script, self.script.table
        self._candidates = _paths(args[0], env, cwd)
        argv, envp = t.strings(args), t.strings(env)
        programs = [t.text(path) for path in self._candidates]
        self._indices: dict[str, int] = {}
        if terminal:
            master = s.must(
                "open a terminal",
                "open",
                t.text(ROOT + b"/dev/pts/ptmx"),
                O_RDWR | O_NONBLOCK | O_CLOEXEC | 0o400,
            )
            s.must("unlock the terminal", "ioctl", master, 0x40045431, t.words([0]))
            peer = s.must(
                "open the terminal's other end", "ioctl", master, 0x5441, O_RDWR | O_CLOEXEC | 0o400
            )
            t.call("ioctl", master, 0x5414, t.data(struct.pack("<4H", *size, 0, 0)))
            self._indices["master"] = s.want(master)
            inside: list[Row] = [peer, peer, peer]
            ours = [peer]
        else:
            ends = [self._pipe(name) for name in ("stdin", "stdout", "stderr")]
            inside = [ends[0][0], ends[1][1], ends[2][1]]
            ours = list(inside)
            for name, (read, write) in zip(("stdin", "stdout", "stderr"), ends, strict=True):
                end = write if name == "stdin" else read
                t.call("fcntl", end, 4, O_NONBLOCK)
                if name == "stdin" and not stdin:
                    ours.append(end)  # nobody will write: end of file at once
                else:
                    self._indices[name] = s.want(end)
        status_read, status_write = self._pipe("status")
        if namespaces:
            s.must("join the pid namespace", "setns", namespaces[0], CLONE_NEWPID)
        # the machine has no other programs that a host name or a semaphore would have to be kept from. The child has
        # our memory, and we wait, until it has become the program: nothing is copied (vfork)
        flags = SIGCHLD | CLONE_VM | CLONE_VFORK | (CLONE_NEWNS | CLONE_NEWPID if init else 0)
        child = s.must("start a process", "clone", flags, 0, 0, 0, 0)
        in_child = t.jump(agent.IF_ZERO, child.plus(0))
        in_parent = t.jump(agent.IF_ZERO, t.constant(0))
        t.land(in_child)
        self._child(inside, status_write, argv, envp, programs, cwd, uid, gid, groups, init, namespaces)
        t.land(in_parent)
        for end in (*ours, status_write):
            t.call("close", end)
        s.collect("read", status_read, BUFFER, 512, most=512)
        t.call("close", status_read)
        self._indices["pid"] = s.want(child)

    def _pipe(self, name: str) -> tuple[Row, Row]:
        s, t = self.script, self.script.table
        pair = t.space(8)
        s.must(f"make a pipe ({name})", "pipe2", pair, O_CLOEXEC)
        ends = []
        for offset in (0, 4):
            row = t.operation(-99, 0, 0)  # a row that does nothing; its word 0 becomes the number
            t.operation(agent.COPY32, row, pair.plus(offset))
            ends.append(row)
        return ends[0], ends[1]

    def _child(
        self, inside: list[Row], status: Row, argv: Ref, envp: Ref, programs: list[Ref], cwd: bytes,
        uid: int, gid: int, groups: Sequence[int], init: bool, namespaces: Sequence[int],
    ) -> None:  # fmt: skip
        t = self.script.table
        t.call("setsid")
        for number, row in enumerate(inside):
            t.call("dup2", row, number)
        if self.terminal:
            t.call("ioctl", 0, 0x540E, 0)  # TIOCSCTTY
        if init:
            flags = MS_NOSUID | MS_NODEV | MS_NOEXEC
            t.call("mount", t.text(b"proc"), t.text(ROOT + b"/proc"), t.text(b"proc"), flags, 0)
            for path in READ_ONLY_PATHS if self._confined else ():
                place = t.text(ROOT + path)
                t.call("mount", place, place, 0, MS_BIND, 0)
                t.call("mount", 0, place, 0, MS_BIND | MS_REMOUNT | MS_RDONLY | flags, 0)
            t.call("chdir", t.text(ROOT))
            t.call("mount", t.text(b"."), t.text(b"/"), 0, MS_MOVE, 0)
            t.call("chroot", t.text(b"."))
        else:
            for namespace in namespaces[1:]:
                t.call("setns", namespace, 0)
        t.call("chdir", t.text(b"/"))
        t.call("umask", 0o022)
        at = b""
        for part in cwd.strip(b"/").split(b"/"):
            at += b"/" + part
            t.call("mkdir", t.text(at), 0o755)
        failures = t.space(8 * (len(programs) + 1))
        entered = t.call("chdir", t.text(cwd))
        t.operation(agent.COPY, failures, entered.plus(0))
        bad = t.jump(agent.IF_NEGATIVE, entered.plus(0))
        t.call("rt_sigprocmask", 1, t.words([(1 << 64) - 1 - (1 << 64)]), 0, 8)  # unblock everything
        for capability in range(41) if self._confined else ():
            if capability not in CAPABILITIES:
                t.call("prctl", 24, capability, 0, 0, 0)  # PR_CAPBSET_DROP
        t.call("setgroups", len(groups), t.data(struct.pack(f"<{len(groups)}I", *groups)))
        t.call("setgid", gid)
        t.call("setuid", uid)
        t.call("setrlimit", 7, t.words([1024, 1 << 20]))
        for number, program in enumerate(programs, 1):
            tried = t.call("execve", program, argv, envp)
            t.operation(agent.COPY, failures.plus(8 * number), tried.plus(0))
        t.land(bad)
        t.call("write", status, failures, 8 * (len(programs) + 1))
        t.call("exit_group", 127)

    def number(self, reply: Reply, name: str) -> int:
        """pid, master, stdin, stdout or stderr; -1 where there is none."""
        index = self._indices.get(name)
        return -1 if index is None else reply.results[index]

    def failure(self, data: bytes) -> PycontainError | None:
        """Why the program could not be executed, if it could not. data: from the descriptor "status"."""
        if not data:
            return None
        results = struct.unpack(f"<{len(data) // 8}q", data[: len(data) // 8 * 8])
        program = os.fsdecode(self._args[0])
        if results[0] < 0:
            return ContainerError(f"working directory {os.fsdecode(self._cwd)}: {_reason(-results[0])}")
        codes = [-result for result in results[1:] if result < 0]
        worst = next((code for code in codes if code not in (errno.ENOENT, errno.ENOTDIR)), None)
        if worst is not None:
            return CannotRun(f"run {program}: {_reason(worst)}")
        if b"/" in self._args[0]:
            return ProgramNotFound(f"run {program}: no such file or directory in the image")
        path = os.fsdecode(_search_path(self._env))
        return ProgramNotFound(f"run {program}: executable file not found in $PATH", hint=f"PATH={path}")


def _reason(code: int) -> str:
    text = os.strerror(code)
    return text[0].lower() + text[1:]


def _search_path(env: Sequence[bytes]) -> bytes:
    return next((item[5:] for item in reversed(env) if item.startswith(b"PATH=")), DEFAULT_PATH)


def _paths(program: bytes, env: Sequence[bytes], cwd: bytes) -> list[bytes]:
    """What execve is asked to try, as execvp would."""
    if b"/" in program:
        return [program]
    path = _search_path(env)
    return [(part or b".") + b"/" + program for part in path.split(b":")][:60] or [program]
