"""What is said to a guest: its first preparation, a container's root, a program's start, as tables.

Everything here only writes tables; machine.py sends them. A Script remembers what each result means, so that
a failure can be told as one sentence.
"""

from __future__ import annotations

import errno
import os
import struct
import time
from collections.abc import Sequence

from pycontain.errors import MachineError
from pycontain.vm import agent
from pycontain.vm.table import BUFFER, Ref, Reply, Row, Table

ROOT = b"/c/root"
UPPER = b"/c/rw/upper"
SYSTEM = b"/c/system"
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_MOVE = 1, 2, 4, 8, 32, 4096, 8192
O_RDONLY, O_WRONLY, O_RDWR, O_CREAT, O_TRUNC, O_NONBLOCK, O_CLOEXEC = (
    0,
    1,
    2,
    0o100,
    0o1000,
    0o4000,
    0o2000000,
)
RNDADDENTROPY, RNDRESEEDCRNG = 0x40085203, 0x5207
CLONE_VM, CLONE_VFORK, CLONE_NEWNS, CLONE_NEWPID, SIGCHLD = 0x100, 0x4000, 0x20000, 0x20000000, 17
DEVICES = (
    (b"null", 1, 3),
    (b"zero", 1, 5),
    (b"full", 1, 7),
    (b"random", 1, 8),
    (b"urandom", 1, 9),
    (b"tty", 5, 0),
)
DEVICE_LINKS = (
    (b"/proc/self/fd", b"fd"), (b"/proc/self/fd/0", b"stdin"), (b"/proc/self/fd/1", b"stdout"),
    (b"/proc/self/fd/2", b"stderr"), (b"pts/ptmx", b"ptmx"), (b"/proc/kcore", b"core"),
)  # fmt: skip
READ_ONLY_PATHS = (b"/proc/bus", b"/proc/fs", b"/proc/irq", b"/proc/sys", b"/proc/sysrq-trigger")
CAPABILITIES = frozenset((0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31))
"""Docker's: chown, dac_override, fowner, fsetid, kill, setgid, setuid, setpcap, net_bind_service, net_raw, sys_chroot,
mknod, audit_write, setfcap."""
RESOLVE_IN_ROOT = 0x10
SHARE_FD = 700
"""The agent's descriptor of the first share's /dev/fuse; the others follow."""


class Script:
    """A table whose checked calls have names."""

    def __init__(self) -> None:
        self.table = Table()
        self._checks: list[tuple[int, str]] = []
        self._results = 0
        self.shares = 0

    def want(self, row: Row | Ref) -> int:
        """The index of its result in the reply."""
        self.table.keep(row)
        self._results += 1
        return self._results - 1

    def must(self, what: str, name: str, *arguments: int | Ref) -> Row:
        """A call that has to succeed; what: as in "mount the root file system"."""
        row = self.table.call(name, *arguments)
        self._checks.append((self.want(row), what))
        return row

    def collect(self, name: str, *arguments: int | Ref, most: int) -> int:
        """As Table.collect; the index of the result."""
        self.table.collect(name, *arguments, most=most)
        self._results += 1
        return self._results - 1

    def check(self, reply: Reply) -> None:
        """MachineError for the first call that failed."""
        for index, what in self._checks:
            result = reply.results[index]
            if result < 0:
                raise MachineError(f"{what} in the guest: {os.strerror(-result)}")

    def write_file(self, path: bytes, data: bytes, flags: int = O_WRONLY, what: str = "") -> None:
        """Open, write, close; checked where `what` says what it is."""
        call = (lambda *a: self.must(what, *a)) if what else self.table.call
        opened = call("open", self.table.text(path), flags, 0o644)
        call("write", opened, self.table.data(data), len(data))
        self.table.call("close", opened)

    def mkdir(self, path: bytes, mode: int = 0o755) -> None:
        """Whether or not it is there already."""
        self.table.call("mkdir", self.table.text(path), mode)

    def mount(
        self, what: str, source: bytes, target: bytes, kind: bytes, flags: int = 0, options: bytes = b""
    ) -> None:
        """A checked mount."""
        t = self.table
        data = t.text(options) if options else 0
        self.must(what, "mount", t.text(source), t.text(target), t.text(kind), flags, data)


def prepare(modules: Sequence[str]) -> tuple[Script, int]:
    """In a template: the other modules, and what lies under a container's root. The second value is the index of the
    result that is the agent's descriptor for SIGCHLD."""
    from pycontain.vm.initrd import load_module

    script = Script()
    table = script.table
    for name in modules:
        load_module(table, name)
    script.mount("mount the writable layer", b"tmpfs", b"/c", b"tmpfs", 0, b"mode=0755,size=50%")
    for path in (b"/c/lower", b"/c/rw", UPPER, b"/c/rw/work", ROOT, b"/c/files"):
        script.mkdir(path)
    system_mounts(script)
    # SIGCHLD arrives as something to read; descriptor numbers are the same in every clone
    mask = table.words([1 << (SIGCHLD - 1)])
    script.must("block SIGCHLD", "rt_sigprocmask", 0, mask, 0, 8)
    signals = script.must("make a signal descriptor", "signalfd4", -1, mask, 8, O_NONBLOCK | O_CLOEXEC)
    _network(table)
    _share_agent(script)
    limit = table.words([1 << 20, 1 << 20])
    table.call("setrlimit", 7, limit)
    return script, script.want(signals)


def _share_agent(script: Script) -> None:
    """A second agent, a child of the first one, with a port of its own. It does nothing but serve shares: the first
    one may wait for a file of a share (a pipe whose data still comes from there), and must not wait for itself."""
    table = script.table
    opened = script.must("open the second port", "open", table.text(b"/dev/vport0p2"), O_RDWR)
    forked = script.must("start the second agent", "fork")
    in_child = table.jump(agent.IF_ZERO, forked.plus(0))
    in_parent = table.jump(agent.IF_ZERO, table.constant(0))
    table.land(in_child)
    table.call("dup3", opened, agent.CONTROL, O_CLOEXEC)
    table.call("close", opened)
    table.operation(agent.END, 0, 0)
    table.land(in_parent)
    table.call("close", opened)


def _network(table: Table) -> None:
    """lo, and eth0 with the address that QEMU's user network gives its only guest (netdevice(7), rt_addr). No IPv6
    there, as in Docker's default network: every clone would ask its neighbours whether its address is free."""

    def address(text: str) -> bytes:
        return struct.pack("<HH4s8x", 2, 0, bytes(map(int, text.split("."))))

    def request(name: bytes, value: bytes) -> Ref:
        return table.data(name.ljust(16, b"\0") + value.ljust(24, b"\0"))

    opened = table.call("open", table.text(b"/proc/sys/net/ipv6/conf/eth0/disable_ipv6"), O_WRONLY)
    table.call("write", opened, table.data(b"1"), 1)
    table.call("close", opened)
    sock = table.call("socket", 2, 2, 0)
    up = struct.pack("<H", 0x41)  # IFF_UP | IFF_RUNNING
    table.call("ioctl", sock, 0x8914, request(b"lo", up))
    table.call("ioctl", sock, 0x8916, request(b"eth0", address("10.0.2.15")))
    table.call("ioctl", sock, 0x891C, request(b"eth0", address("255.255.255.0")))
    table.call("ioctl", sock, 0x8914, request(b"eth0", up))
    route = bytes(8) + address("0.0.0.0") + address("10.0.2.2") + address("0.0.0.0") + struct.pack("<H", 3)
    table.call("ioctl", sock, 0x890B, table.data(route.ljust(120, b"\0")))
    table.call("close", sock)


def settle(script: Script) -> None:
    """In a template: spare its clones what would only make work. A disk whose requests QEMU orders needs no scheduler,
    and nobody looks at the memory's statistics every second. A kernel without these goes without."""
    script.write_file(b"/sys/block/vda/queue/scheduler", b"none")
    script.write_file(b"/proc/sys/vm/stat_interval", b"60")


def devices() -> Script:
    """Which virtio device is which: reads virtioN/device for N in 0..3; see parse_devices."""
    script = Script()
    for number in range(4):
        opened = script.table.call(
            "open", script.table.text(b"/sys/bus/virtio/devices/virtio%d/device" % number), 0
        )
        script.collect("read", opened, BUFFER, 16, most=16)
        script.table.call("close", opened)
    return script


def parse_devices(reply: Reply) -> dict[str, str]:
    """ "net" and "disk" -> virtioN (virtio specification, 5: device types 1 and 2)."""
    names = {1: "net", 2: "disk"}
    found = {}
    for number, piece in enumerate(reply.pieces):
        try:
            kind = int(piece.strip() or b"0", 16)
        except ValueError:
            continue
        if kind in names:
            found[names[kind]] = f"virtio{number}"
    return found


def awake(script: Script, hostname: bytes | None) -> None:
    """After a clone: the wall clock, fresh randomness, and the host name, unless the one that it has is to stay."""
    table = script.table
    seconds, nanoseconds = divmod(time.time_ns(), 10**9)
    script.must("set the clock", "clock_settime", 0, table.words([seconds, nanoseconds]))
    seed = os.urandom(64)
    opened = script.must("open the random device", "open", table.text(b"/dev/urandom"), O_RDWR | O_CLOEXEC)
    entropy = table.data(struct.pack("<ii", len(seed) * 8, len(seed)) + seed)
    script.must("add randomness", "ioctl", opened, RNDADDENTROPY, entropy)
    script.must("reseed the random device", "ioctl", opened, RNDRESEEDCRNG, 0)
    table.call("close", opened)
    if hostname is not None:
        script.must("set the host name", "sethostname", table.data(hostname), len(hostname))


def mount_root(script: Script, read_only: bool, disk: bytes) -> list[tuple[int, bytes]]:
    """The image (erofs on the device `disk`) below a writable layer in memory. Returns what was made for mounts that
    the image lacks: indices of results, and paths."""
    script.mount("mount the image", disk, b"/c/lower", b"erofs", MS_RDONLY)
    options = (
        b"lowerdir=/c/lower,upperdir="
        + UPPER
        + b",workdir=/c/rw/work,index=off,metacopy=off,redirect_dir=off"
    )
    script.mount("mount the root", b"overlay", ROOT, b"overlay", 0, options)
    made = move_system_mounts(script)
    if read_only:
        script.must(
            "make the root read-only",
            "mount",
            0,
            script.table.text(ROOT),
            0,
            MS_REMOUNT | MS_BIND | MS_RDONLY,
            0,
        )
    return made


def move_system_mounts(script: Script) -> list[tuple[int, bytes]]:
    """What system_mounts() made goes below ROOT; returns as mount_root()."""
    table = script.table
    made = []
    for path in (b"/dev", b"/proc", b"/sys"):
        made.append((script.want(table.call("mkdir", table.text(ROOT + path), 0o755)), path))
    for path in (b"/dev", b"/sys"):
        script.mount(f"move {path.decode()}", SYSTEM + path, ROOT + path, b"none", MS_MOVE)
    return made


def system_mounts(script: Script) -> None:
    """In a template, where nothing of it need be done in haste: /dev, /dev/pts, /dev/shm, /sys, all below SYSTEM.
    /proc is mounted by the container's first program itself, in its own pid namespace."""
    table = script.table
    for path in (b"", b"/dev", b"/sys"):
        script.mkdir(SYSTEM + path)
    script.mount("mount /dev", b"tmpfs", SYSTEM + b"/dev", b"tmpfs", MS_NOSUID, b"mode=0755,size=64k")
    for name, major, minor in DEVICES:
        place = table.text(SYSTEM + b"/dev/" + name)
        table.call("mknod", place, 0o020666, os.makedev(major, minor))
        table.call("chmod", place, 0o666)
    for target, name in DEVICE_LINKS:
        table.call("symlink", table.text(target), table.text(SYSTEM + b"/dev/" + name))
    for name in (b"pts", b"shm", b"mqueue"):
        script.mkdir(SYSTEM + b"/dev/" + name)
    options = b"newinstance,ptmxmode=0666,mode=0620,gid=5"
    script.mount("mount /dev/pts", b"devpts", SYSTEM + b"/dev/pts", b"devpts", MS_NOSUID | MS_NOEXEC, options)
    script.mount(
        "mount /dev/shm", b"tmpfs", SYSTEM + b"/dev/shm", b"tmpfs", MS_NOSUID | MS_NODEV, b"mode=1777"
    )
    script.mount(
        "mount /sys", b"sysfs", SYSTEM + b"/sys", b"sysfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC
    )


def open_inside(script: Script, path: bytes, flags: int) -> Row:
    """A file below the container's root, links resolved inside it (openat2)."""
    table = script.table
    root = table.call("open", table.text(ROOT), 0o10200000)  # O_PATH|O_DIRECTORY
    how = table.words([flags | O_CLOEXEC, 0, RESOLVE_IN_ROOT])
    opened = table.call("openat2", root, table.text(path.lstrip(b"/")), how, 24)
    table.call("close", root)
    return opened


def mount_share(script: Script, target: bytes, read_only: bool) -> int:
    """A FUSE file system; the index of the result that is its descriptor."""
    table = script.table
    opened = script.must(
        "open the share's device", "open", table.text(b"/dev/fuse"), O_RDWR | O_NONBLOCK | O_CLOEXEC
    )
    # the number of the descriptor goes into the options as text: it is given a number that we know
    number = SHARE_FD + script.shares
    script.shares += 1
    script.must("place the share's device", "dup3", opened, number, O_CLOEXEC)
    table.call("close", opened)
    options = b"fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions" % number
    flags = MS_NOSUID | MS_NODEV | (MS_RDONLY if read_only else 0)
    script.mount(f"mount {os.fsdecode(target)}", b"share", ROOT + target, b"fuse", flags, options)
    return number


def read_accounts(script: Script) -> tuple[int, int]:
    """/etc/passwd and /etc/group, up to 256 KiB each; the indices of their pieces' results."""
    indices = []
    for path in (b"etc/passwd", b"etc/group"):
        opened = open_inside(script, path, O_RDONLY)
        indices.append(script.collect("pread64", opened, BUFFER, 1 << 18, 0, most=1 << 18))
        script.table.call("close", opened)
    return indices[0], indices[1]


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
        self._args = args
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

    def failure(self, data: bytes) -> tuple[int, str] | None:
        """126 or 127, and why, where the program could not be executed. data: from the descriptor "status"."""
        if not data:
            return None
        results = struct.unpack(f"<{len(data) // 8}q", data[: len(data) // 8 * 8])
        program = os.fsdecode(self._args[0])
        if results[0] < 0:
            return 126, f"enter the working directory: {os.strerror(-results[0])}"
        codes = [-result for result in results[1:] if result < 0]
        worst = next((code for code in codes if code not in (errno.ENOENT, errno.ENOTDIR)), None)
        if worst is None:
            return 127, f"exec {program}: it is not there" + ("" if b"/" in self._args[0] else " in $PATH")
        return 126, f"exec {program}: {os.strerror(worst)}"


def _paths(program: bytes, env: Sequence[bytes], cwd: bytes) -> list[bytes]:
    """What execve is asked to try, as execvp would."""
    if b"/" in program:
        return [program]
    path = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    for item in env:
        if item.startswith(b"PATH="):
            path = item[5:]
    return [(part or b".") + b"/" + program for part in path.split(b":")][:60] or [program]
