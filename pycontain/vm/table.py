"""Tables of system calls, written on the host and carried out by the guest's agent (agent.py).

    table = Table()
    opened = table.call("open", table.text(b"/etc/passwd"), os.O_RDONLY)
    table.keep(opened)
    got = table.collect("read", opened, BUFFER, 65536, most=65536)
    frame = table.finish(tag=7)             # to the guest
    reply = table.parse(answer)             # reply.results == [3, 1823], reply.pieces == [b"root:x:0…"]

A row's result may be an argument of a later one. Addresses are known when the table is laid out; until then
places are kept as Ref. The reply is one region behind everything else:

    u64 tag, u64 length, the words kept, the fixed places asked for, then what was collected, without gaps
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from pycontain.errors import MachineError
from pycontain.vm import agent

CALLS: dict[str, int] = {
    "read": 0, "write": 1, "open": 2, "close": 3, "stat": 4, "fstat": 5, "lstat": 6, "poll": 7, "lseek": 8,
    "mmap": 9, "mprotect": 10, "munmap": 11, "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14, "ioctl": 16, "pread64": 17, "pwrite64": 18, "access": 21, "dup2": 33,
    "nanosleep": 35, "getpid": 39, "socket": 41, "clone": 56, "fork": 57, "execve": 59, "exit": 60, "wait4": 61,
    "kill": 62, "fcntl": 72, "fsync": 74, "ftruncate": 77, "getdents64": 217, "uname": 63, "getcwd": 79, "chdir": 80, "rename": 82, "mkdir": 83,
    "rmdir": 84, "link": 86, "unlink": 87, "symlink": 88, "readlink": 89, "chmod": 90, "chown": 92,
    "lchown": 94, "umask": 95, "getuid": 102, "getgid": 104, "setuid": 105, "setgid": 106, "geteuid": 107, "getegid": 108, "getppid": 110, "getpgid": 121, "setsid": 112, "setgroups": 116, "setresuid": 117,
    "setresgid": 119, "statfs": 137,
    "mknod": 133, "personality": 135, "pivot_root": 155, "prctl": 157, "setrlimit": 160, "chroot": 161, "sync": 162, "mount": 165,
    "umount2": 166, "reboot": 169, "sethostname": 170, "setxattr": 188, "lsetxattr": 189, "lgetxattr": 192,
    "llistxattr": 195, "exit_group": 231, "set_tid_address": 218, "clock_settime": 227, "clock_gettime": 228, "unshare": 272,
    "openat": 257, "mknodat": 259, "newfstatat": 262, "set_robust_list": 273, "prlimit64": 302, "getrandom": 318, "fchmodat": 268, "utimensat": 280, "ppoll": 271, "signalfd4": 289,
    "dup3": 292, "pipe2": 293, "finit_module": 313, "init_module": 175, "setns": 308, "statx": 332, "pidfd_open": 434,
    "close_range": 436, "splice": 275, "openat2": 437,
    "landlock_create_ruleset": 444, "landlock_add_rule": 445, "landlock_restrict_self": 446,
}  # fmt: skip


BUFFER = -(1 << 62)
"""As an argument of collect(): where the reply has room."""


class Ref:
    """A place in the table, its data or its reply; an address once the table is laid out."""

    __slots__ = ("kind", "offset")

    def __init__(self, kind: str, offset: int) -> None:
        self.kind = kind
        self.offset = offset

    def plus(self, offset: int) -> Ref:
        """A place some bytes further."""
        return Ref(self.kind, self.offset + offset)


class Row(Ref):
    """A row. As an argument of a call it stands for its result, elsewhere for its place."""

    __slots__ = ("words",)

    def __init__(self, number: int, words: list[int | Ref]) -> None:
        super().__init__("row", number * agent.ROW.size)
        self.words = words

    def argument(self, number: int) -> Ref:
        """The place of an argument (from 0)."""
        return self.plus(8 * (number + 1))


class Reply(NamedTuple):
    """results: what keep() and collect() asked for, in order (negative: -errno); pieces: what was collected
    (empty where the call failed); fixed: what lies in the places of fixed()."""

    results: list[int]
    pieces: list[bytes]
    fixed: list[bytes]


class Table:
    """See the module. base: where it will lie in the guest."""

    def __init__(self, base: int = agent.ARENA) -> None:
        self._base = base
        self._rows: list[Row] = []
        self._data = bytearray()
        self._relocations: list[tuple[int, Ref]] = []
        self._space = 0
        self._kept: list[Ref] = []
        self._collected: list[tuple[int, Row, int]] = []  # index in _kept, row, argument that is the address
        self._fixed: list[tuple[Ref, int]] = []
        self._room = 0
        self._fixed_size = 0

    # -- data

    def data(self, data: bytes) -> Ref:
        """Bytes that go along; aligned to eight."""
        place = len(self._data)
        self._data += data
        self._data += bytes(-len(data) % 8)
        return Ref("data", place)

    def text(self, text: bytes) -> Ref:
        """A string that ends with NUL. MachineError where it has one inside."""
        if b"\0" in text:
            raise MachineError(f"send {text[:40]!r} to the guest: it has a NUL inside")
        return self.data(text + b"\0")

    def strings(self, strings: Sequence[bytes]) -> Ref:
        """A vector of strings that ends with NULL, as execve takes it."""
        places = [self.text(item) for item in strings]
        return self.words([*places, 0])

    def words(self, values: Sequence[int | Ref]) -> Ref:
        """Words of eight bytes; a Ref becomes its address."""
        vector = self.data(struct.pack(f"<{len(values)}q", *(0 if isinstance(v, Ref) else v for v in values)))
        for number, value in enumerate(values):
            if isinstance(value, Ref):
                self._relocations.append((vector.offset + 8 * number, value))
        return vector

    def constant(self, value: int) -> Ref:
        """A place that holds this word."""
        return self.words([value])

    def space(self, size: int) -> Ref:
        """Room that is not sent to the guest; its content is undefined."""
        place = self._space
        self._space += size + (-size % 8)
        return Ref("space", place)

    # -- rows

    def call(self, name: str, *arguments: int | Ref) -> Row:
        """A system call. An argument that is a Row is that row's result."""
        words: list[int | Ref] = [CALLS[name]]
        late: list[tuple[Row, int, Row]] = []
        for number, argument in enumerate(arguments, 1):
            if isinstance(argument, Row):
                late.append((self.operation(agent.COPY, 0, argument), number, argument))
                words.append(0)
            else:
                words.append(argument)
        row = self._append(words)
        for copy, number, _ in late:
            copy.words[1] = row.plus(8 * number)
        return row

    def operation(self, operation: int, first: int | Ref, second: int | Ref) -> Row:
        """One of the agent's own: agent.COPY and so on; a Row as an argument is its place."""
        return self._append([operation, *(v.plus(0) if isinstance(v, Row) else v for v in (first, second))])

    def _append(self, words: list[int | Ref]) -> Row:
        row = Row(len(self._rows), words)
        self._rows.append(row)
        return row

    def here(self) -> Ref:
        """The place of the row that comes next."""
        return Ref("row", len(self._rows) * agent.ROW.size)

    def jump(self, operation: int, condition: Ref) -> Row:
        """A jump (agent.IF_NEGATIVE, agent.IF_ZERO) whose target land() sets."""
        return self.operation(operation, condition, 0)

    def land(self, *jumps: Row) -> None:
        """The jumps go to the row that comes next."""
        for jump in jumps:
            jump.words[2] = self.here()

    # -- the reply

    def keep(self, place: Ref) -> None:
        """The word there at the end of the table is wanted (a Row: its result)."""
        self._kept.append(place.plus(0))

    def fixed(self, size: int) -> Ref:
        """A place of this size whose bytes are wanted."""
        place = Ref("space", self._space)
        self._space += size + (-size % 8)
        self._fixed.append((place, size + (-size % 8)))
        return place

    def collect(self, name: str, *arguments: int | Ref, most: int) -> Row:
        """A call that writes at most `most` bytes at BUFFER and returns how many: they are wanted, and its result."""
        at = arguments.index(BUFFER)
        # the room begins where what was collected before ends
        adds = [self.operation(agent.ADD, 0, earlier) for _, earlier, _ in self._collected]
        row = self.call(
            name, *(Ref("tail", 0) if n == at else argument for n, argument in enumerate(arguments))
        )
        for add in adds:
            add.words[1] = row.argument(at)
        self._collected.append((len(self._kept), row, at))
        self.keep(row)
        self._room += most
        return row

    def finish(self, tag: int) -> bytes:
        """The whole frame for the guest: length, rows, data; its last row sends the reply."""
        fixed_size = 16 + 8 * len(self._kept) + sum(size for _, size in self._fixed)
        start = self.words([tag, fixed_size])
        reply = Ref("reply", 0)
        length = reply.plus(8)
        self.operation(agent.COPY, reply, start)
        self.operation(agent.COPY, length, start.plus(8))
        at = 16
        for place in self._kept:
            self.operation(agent.COPY, reply.plus(at), place)
            at += 8
        for place, size in self._fixed:
            for word in range(0, size, 8):
                self.operation(agent.COPY, reply.plus(at + word), place.plus(word))
            at += size
        for _, row, _ in self._collected:
            self.operation(agent.ADD, length, row)
        end = self.operation(agent.COPY, 0, length)
        last = self._append([agent.END, reply, 0])
        end.words[1] = last.argument(1)
        self._fixed_size = fixed_size
        body = self.layout()
        return struct.pack("<Q", len(body)) + body

    def parse(self, answer: bytes) -> Reply:
        """The reply's parts. MachineError where the guest did not keep to what was asked."""
        if len(answer) < self._fixed_size:
            raise MachineError(f"read the guest's answer: {len(answer)} bytes instead of {self._fixed_size}")
        results = list(struct.unpack_from(f"<{len(self._kept)}q", answer, 16))
        at = 16 + 8 * len(self._kept)
        fixed = []
        for _, size in self._fixed:
            fixed.append(answer[at : at + size])
            at += size
        pieces = []
        for index, _, _ in self._collected:
            size = max(results[index], 0)
            pieces.append(answer[at : at + size])
            at += size
        if at != len(answer):
            raise MachineError(f"read the guest's answer: {len(answer)} bytes instead of {at}")
        return Reply(results, pieces, fixed)

    # -- laying out

    def layout(self) -> bytes:
        """Rows, then data; spaces and the reply come behind. MachineError where it is too much for the guest."""
        rows = len(self._rows) * agent.ROW.size
        space = self._base + rows + len(self._data)
        reply = space + self._space
        tail = reply + self._fixed_size
        if tail + self._room > self._base + agent.ARENA_SIZE:
            raise MachineError("write a table for the guest: it is too long")
        starts = {"row": self._base, "data": self._base + rows, "space": space, "reply": reply, "tail": tail}

        def word(value: int | Ref) -> int:
            return starts[value.kind] + value.offset if isinstance(value, Ref) else value

        out = bytearray()
        for row in self._rows:
            out += agent.ROW.pack(*map(word, row.words), *([0] * (7 - len(row.words))))
        data = bytearray(self._data)
        for place, target in self._relocations:
            struct.pack_into("<q", data, place, word(target))
        return bytes(out + data)
