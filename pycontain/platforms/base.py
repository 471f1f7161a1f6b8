"""The contract between the emulated kernel and the way programs execute under it.

The platform owns host processes; the kernel owns what they see. A platform tells the kernel of
    call(task, name's function, args)    a task made a call that the kernel answers
    forked, execed, exited               the life-cycle
and the kernel uses the methods of Platform. A task waits in at most one call at a time; a function that
answers later returns DEFERRED, and the kernel then calls finish() or send_fd() when it knows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from resource import struct_rusage
from typing import Any, NamedTuple, Protocol

DEFERRED = object()  # the call is answered later, or has been answered
LATER = object()  # it is too early: call the function again in a moment, with the same arguments
NATIVE = object()  # the host kernel carries the call out itself; only where no pointer decides anything

BLOCKING = object()  # the same, and it may wait there: a signal ends that as the host has it



class Later(Exception):
    """The same as LATER, from within a call that has not done anything yet."""


class Again(Exception):
    """The task makes its call once more, unnoticed: then there is what was missing."""


SyscallFunction = Callable[[Any, tuple[int, ...]], Any]


class Segment(NamedTuple):
    """A PT_LOAD of an ELF file; protection as PROT_READ 1, PROT_WRITE 2, PROT_EXEC 4."""

    offset: int
    address: int
    file_size: int
    memory_size: int
    protection: int


class Binary(NamedTuple):
    """An ELF file ready to be mapped. fixed: ET_EXEC. phdr: virtual address of the program headers."""

    fixed: bool
    entry: int
    phdr: int
    phent: int
    phnum: int
    segments: Sequence[Segment]
    interpreter: bytes | None
    executable_stack: bool


class Program(NamedTuple):
    """What execve installs. The descriptors belong to the receiver, which closes them.

    argv: the new argument vector of a script (its last part are pointers into the task), None: as the caller gave it.
    identity: (uid, euid, gid, egid, secure) for the auxiliary vector.
    """

    binary: Binary
    fd: int
    interpreter: Binary | None
    interpreter_fd: int
    path: bytes  # AT_EXECFN
    name: bytes  # comm
    argv_address: int
    envp_address: int
    script: tuple[list[bytes], int] | None  # (strings that go first, how many caller arguments they replace)
    empty_string: int  # the address of a NUL byte in the task
    identity: tuple[int, int, int, int, int]


class Launch(NamedTuple):
    """The first process of a container, or one that joins it. The descriptors stay the caller's."""

    program: bytes
    argv: Sequence[bytes]
    environment: Sequence[bytes]
    stdin: int
    stdout: int
    stderr: int
    terminal: bool
    init: bool
    count_tasks: bool = False  # the calls that make tasks come to the kernel, too
    limits: tuple[tuple[int, int, int], ...] = ()  # (RLIMIT number, soft, hard); -1: unlimited


class Sender(NamedTuple):
    """What a signal tells of where it comes from (sigaction(2)): si_pid and si_uid as the container knows them."""

    pid: int
    uid: int
    code: int = 0  # si_code, not above 0
    value: int = 0  # si_value, of sigqueue(3)


Call = tuple[str, tuple[int | bytes, ...]]  # name and arguments; bytes stand for their address


class Listener(Protocol):
    """What the kernel offers to a platform."""

    def forked(self, parent: Any, tid: int, thread: bool) -> Any: ...
    def execed(self, task: Any, old_tid: int) -> None: ...
    def exited(self, tid: int, status: int, usage: struct_rusage | None = None) -> None: ...
    def failed(self, task: Any | None, name: str, error: BaseException) -> None: ...
    def unknown(self, name: str) -> None: ...
    def show(self, task: Any) -> Shown | None:
        """What the fast path may know of a task; None: nothing."""

    def teach(self, task: Any, missing: Missing | None) -> None:
        """A call of the task has been answered. Tell the fast path what it lacked to do that, and what has changed."""

    def message(self, task: Any, name: str, args: Sequence[int]) -> int | Callable[[int], int | None] | None:
        """A task that watch() was for is about to make one of sendmsg, sendmmsg, recvmsg and recvmmsg. What shall come
        of it instead; or what to do with the result before the task sees it; or None."""

    def sender(self, task: Any, pid: int) -> tuple[int, int]:
        """Number and real user of a process as a task's container knows them; (0, 0) for one that is not in it."""

    def later(self, seconds: float, function: Callable[[], None]) -> None: ...


MISSING_NAME, MISSING_NODE, MISSING_LISTING, MISSING_HOST, MISSING_FILE = range(1, 6)


class Missing(NamedTuple):
    """What a platform lacked to answer a call by itself: a name in a directory (ino), an inode, a directory's listing,
    what a host descriptor (device, host_ino) stands for, where a file's bytes are."""

    kind: int
    ino: int
    device: int
    host_ino: int
    name: bytes


class FastPath(Protocol):
    """A cache from which a platform answers calls by itself. The kernel tells what it holds, and what holds no more.

    A space is a number for a tree or an image. Inodes that a tree has not changed are in its image's space.
    """

    trees: int  # how many there may be
    identities: int
    groups: int  # that one identity may have
    most_text: int  # bytes of a symlink's target
    changed: set[Any]  # the kernel's: what it wants to tell after the call that it answers now

    def wait(self) -> list[tuple[int, int]]:
        """Ready descriptors of the kernel's loop and their events, as epoll.poll() gives them."""

    def new_space(self) -> int: ...
    def new_epoch(self) -> None:
        """Nothing that was told of tasks holds any more."""

    def set_tree(self, index: int, *values: int) -> None: ...
    def set_identity(self, index: int, *values: int) -> None: ...

    learn_name: Callable[[int, int, bytes, int, int], None]  # space, directory, name, its length, inode or 0
    forget_name: Callable[[int, int, bytes, int], None]
    complete: Callable[[int, int, int], None]  # space, directory: all its names have been told since ..
    names_generation: Callable[[], int]  # .. this was the same
    learn_node: Callable[[int, int, int, int, bytes, bytes, int], None]  # space, ino, parent, flags, stat, target
    forget_node: Callable[[int, int], None]
    learn_file: Callable[[int, int, bytes, int], None]  # space, ino, host path
    learn_listing: Callable[[int, int, bytes, int, int], None]  # space, ino, struct linux_dirent64s, how many
    learn_host: Callable[[int, int, int, int, int, int, int], None]  # space, dev, ino, node, fd, size, ctime
    forget_host: Callable[[int, int, int], None]
    set_room: Callable[[int, int], None]  # tree, how many more directories may be opened
    made: Callable[[list[tuple[int, int, int, int, int]]], None]
    """Is told of directories that it has opened, and of a tree's own files (fd -1): tree, ino, fd, device, host inode."""


class Shown(NamedTuple):
    """What a platform needs to know of a task to answer its calls. tree and identity: indices; cwd: inode or 0."""

    tree: int
    identity: int
    cwd: int
    pid: int
    descriptors: int  # ours of the host's /proc/TID/fd, or -1


class Platform(Protocol):
    """Every method may raise ProcessLookupError: the task has gone, its exit is reported later."""

    @property
    def restarts(self) -> int:
        """Calls that a signal took back before we received them, and that were made to run again."""

    @property
    def takes_fds(self) -> bool:
        """Does the host let us have descriptors of tasks?"""

    def fast_calls(self) -> int:
        """How many of them the platform has answered by itself."""

    @property
    def fast(self) -> FastPath | None:
        """Where the platform answers calls by itself."""

    def hide(self, task: Any) -> None:
        """What show() tells of a task has changed."""

    @property
    def watched(self) -> range:
        """Numbers of descriptors of which each message comes to the kernel, as sendto, sendmsg, recvfrom and so on."""

    def calls(self) -> dict[str, int]:
        """How often each call was received, by name."""

    def launch(self, launch: Launch, adopt: Callable[[int], Any]) -> Any:
        """Start a process; adopt(pid) makes the kernel's task for it before it runs. Returns the task."""

    def read(self, task: Any, address: int, size: int) -> bytes:
        """Up to size bytes; short where memory ends; EFAULT where there is none."""

    def write(self, task: Any, address: int, data: bytes) -> None: ...

    def finish(self, task: Any, value: int) -> None:
        """Answer a deferred call with a value or -errno."""

    def send_fd(self, task: Any, fd: int, cloexec: bool, keep: bool = False) -> Any:
        """Install a descriptor and answer the call with its number. Closes fd unless keep. Returns DEFERRED."""

    def put_fd(self, task: Any, fd: int, cloexec: bool, at: int | None = None) -> int:
        """Install a descriptor during a call, at a given number if wanted; the call still waits. Closes fd."""

    def afterwards(self, task: Any, calls: Sequence[Call]) -> None:
        """System calls that the task makes itself, unnoticed, as soon as the present one is answered. The host must
        carry them out, and none may wait."""

    def instead(self, task: Any, arguments: tuple[int, ...]) -> int:
        """The task makes its call again, unnoticed, with other arguments, and gets the result of that. It may come to
        the kernel once more. Returns what the function shall return."""

    def carry_out(self, task: Any, then: Callable[[int], int | None]) -> Any:
        """The host carries the call out; it must not wait there. `then` gets the result while the task stands where
        the call returns, and may give another. Returns DEFERRED; the call may have been deferred before."""

    def watch(self, task: Any) -> Any:
        """The host carries the call out, and from then on Listener.message is told of the messages of the task's process
        and of its children to come, where that can be done. Returns what the function shall return."""

    def fetch_fds(self, task: Any, numbers: Sequence[int], then: Callable[[list[int]], int]) -> Any:
        """Our own descriptors of what the task has there, by whatever way the host leaves: `then` gets them, which it
        closes, and gives the call's result. It cannot make the call wait. Returns what the function shall return."""

    def take_fd(self, task: Any, fd: int) -> int:
        """Our own descriptor of what the task has there now. Raises Again where the host does not let us have it, so
        that the task hands it over, and PermissionError where that did not help."""

    def execute(self, task: Any, program: Program) -> Any:
        """Answer an execve: the task becomes the program. Returns DEFERRED."""

    def hold(self, task: Any) -> None:
        """Keep a task from running until release(), without its noticing."""

    def release(self, task: Any) -> None: ...

    def limited_directory(self, size: int) -> int | None:
        """A descriptor of an empty directory that holds so many bytes, then ENOSPC; None where there can be none."""

    def kill(self, pid: int, tid: int | None, signal: int, sender: Sender | None = None) -> None:
        """sender: whom the signal names; None: somebody outside."""

    def processors(self, tid: int) -> frozenset[int]:
        """The processors that a task may run on: what place() chose, or all that the kernel may use."""

    def place(self, tid: int, processors: Collection[int]) -> None:
        """It runs on these from now on, and so do its children to come. Raises OSError."""

    def awaited(self, task: Any) -> int:
        """The signals that a task waits for in sigtimedwait(2), as the call has them: 1 << (number - 1); else 0."""

    def flooded(self, pid: int) -> bool:
        """Has it had so many signals without a call in between that it may not get to do anything else?"""
