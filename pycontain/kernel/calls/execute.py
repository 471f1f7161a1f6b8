"""execve and execveat: find the program, follow its `#!` line, change identity for setuid files."""

from __future__ import annotations

import errno
import fcntl
import os
from typing import Any

from pycontain.kernel.abi import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_SYMLINK_NOFOLLOW,
    S_IFLNK,
    S_IFMT,
    S_IFREG,
    signed,
)
from pycontain.kernel.loader import Script
from pycontain.kernel.task import Task
from pycontain.kernel.vfs.access import EXECUTE, need
from pycontain.kernel.vfs.filesystem import fail
from pycontain.kernel.vfs.mount import NOEXEC, NOSUID, Node
from pycontain.kernel.vfs.proctext import host_file
from pycontain.kernel.vfs.walk import resolve
from pycontain.platforms.base import Binary, Program

MAX_SCRIPTS = 5


def sys_execve(task: Task, a: tuple[int, ...]) -> Any:
    path = task.string(a[0])
    return execute(task, resolve(task, AT_FDCWD, path), path, a[0] + len(path), a[1], a[2])


def sys_execveat(task: Task, a: tuple[int, ...]) -> Any:
    path, flags = task.string(a[1]), a[4]
    if flags & ~(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW):
        fail(errno.EINVAL)
    if path:
        node = resolve(task, a[0], path, not flags & AT_SYMLINK_NOFOLLOW)
        if node.inode.mode & S_IFMT == S_IFLNK:
            fail(errno.ELOOP)
        shown = (
            path if path[:1] == b"/" or signed(a[0]) == AT_FDCWD else b"/dev/fd/%d/%s" % (signed(a[0]), path)
        )
    elif flags & AT_EMPTY_PATH:
        found = task.process.container.node_of_fd(task, signed(a[0]))
        if found is None:
            return _execute_memory(task, signed(a[0]), a)
        node, shown = found, b"/dev/fd/%d" % signed(a[0])
    else:
        fail(errno.ENOENT)
    inaccessible = shown is not path and _closes_on_exec(task, signed(a[0]))
    return execute(task, node, shown, a[1] + len(path), a[2], a[3], inaccessible)


def _closes_on_exec(task: Task, fd: int) -> bool:
    for line in host_file(task.tid, f"fdinfo/{fd}").splitlines():
        if line.startswith(b"flags:"):
            return bool(int(line.split()[1], 8) & os.O_CLOEXEC)
    return False


def _execute_memory(task: Task, fd: int, a: tuple[int, ...]) -> Any:
    """fexecve of a memfd: its bytes are the task's own, so nothing is gained or lost by trusting them."""
    info = task.host_stat(fd)
    if info.st_mode & S_IFMT != S_IFREG:
        fail(errno.EACCES)
    # by now the number may be a FIFO's, whose open would wait
    host = os.open(f"/proc/{task.tid}/fd/{fd}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return _start(task, host, b"/dev/fd/%d" % fd, None, a[1], a[2], a[3], 0o755, 0, 0)
    except Script:
        os.close(host)
        fail(errno.ENOENT)  # the interpreter could not open a close-on-exec descriptor


def open_program(task: Task, node: Node) -> int:
    """A host descriptor of a file that the task may execute. Raises EACCES, ETXTBSY."""
    inode = node.inode
    if inode.mode & S_IFMT != S_IFREG:
        fail(errno.EACCES)
    need(inode, task.credentials, EXECUTE)
    if node.mount.restrictions & NOEXEC:
        fail(errno.EACCES)
    fd = node.mount.fs.open(inode, os.O_RDONLY, task)
    if inode.content is None:  # else it is the image's, to which nobody ever writes
        try:
            _need_unwritten(fd)
        except BaseException:
            os.close(fd)
            raise
    return fd


def _need_unwritten(fd: int) -> None:
    """The host grants a lease for reading on a file only if nobody has it open for writing (fcntl(2)). On what is
    not ours it grants none at all: then it is not known."""
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        fail(errno.ETXTBSY)
    except OSError:
        return
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)


def execute(
    task: Task, node: Node, path: bytes, empty: int, argv: int, envp: int, inaccessible: bool = False
) -> Any:
    """inaccessible: path goes through a descriptor that is closed before an interpreter could open it."""
    strings: list[bytes] = []
    replaced = 0
    shown = path
    for _ in range(MAX_SCRIPTS + 1):
        inode = node.inode
        nosuid = node.mount.restrictions & NOSUID
        fd = open_program(task, node)
        try:
            return _start(
                task, fd, path, node, empty, argv, envp, inode.mode & ~(0o6000 if nosuid else 0), inode.uid, inode.gid,
                (strings, replaced) if strings else None, None if nosuid else inode.xattrs,
            )  # fmt: skip
        except Script as script:
            os.close(fd)
            if inaccessible:
                fail(errno.ENOENT)  # the interpreter could not open a close-on-exec descriptor
            head = [script.interpreter, script.argument] if script.argument else [script.interpreter]
            if strings:
                strings = [*head, shown, *strings[1:]]
            else:
                strings, replaced = [*head, shown], 1
            shown = script.interpreter
            if not shown:
                fail(errno.EACCES)  # Linux looks an empty name up as the working directory
            node = resolve(task, AT_FDCWD, script.interpreter)
    fail(errno.ELOOP)


def _interpreter(task: Task, binary: Binary) -> tuple[Binary | None, int]:
    """A program's ELF interpreter and a descriptor of it; (None, -1) for a static program."""
    if binary.interpreter is None:
        return None, -1
    fd = open_program(task, resolve(task, AT_FDCWD, binary.interpreter))
    try:
        return task.process.container.kernel.loader.read(fd), fd
    except (OSError, Script):
        os.close(fd)
        fail(errno.ELIBBAD)


def _start(
    task: Task,
    fd: int,
    path: bytes,
    node: Node | None,
    empty: int,
    argv: int,
    envp: int,
    mode: int,
    owner: int,
    group: int,
    script: tuple[list[bytes], int] | None = None,
    xattrs: dict[bytes, bytes] | None = None,
) -> Any:
    """Hand the program over; node: None for one without a place in a file system. Closes fd, whatever comes of it,
    but for a Script."""
    kernel = task.process.container.kernel
    try:
        binary = kernel.loader.read(fd)
        interpreter, interpreter_fd = _interpreter(task, binary)
    except Script:
        raise
    except BaseException:
        os.close(fd)
        raise
    capabilities = xattrs.get(b"security.capability") if xattrs else None
    try:
        who, secure = task.credentials.after_exec(mode, owner, group, capabilities)
    except BaseException:
        for opened in (fd, interpreter_fd):
            if opened >= 0:
                os.close(opened)
        raise
    program = Program(
        binary,
        fd,
        interpreter,
        interpreter_fd,
        path,
        os.path.basename(path),
        argv,
        envp,
        script,
        empty,
        (who.uid, who.euid, who.gid, who.egid, int(secure)),
    )
    kernel.executing[task.tid] = (who, node, program.name)
    try:
        return kernel.platform.execute(task, program)
    except BaseException:
        kernel.executing.pop(task.tid, None)
        raise
