"""What is said to a guest: its first preparation, and a container's root, as tables.

Everything here only writes tables; machine.py sends them. A program's start is in start.py.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Sequence

from pycontain.vm import agent
from pycontain.vm.script import Script
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
SIGCHLD = 17
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
RESOLVE_IN_ROOT = 0x10
SHARE_FD = 700
"""The agent's descriptor of the first share's /dev/fuse; the others follow."""


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
    # a program that takes all memory is to be killed itself, not who serves its files
    script.write_file(b"/proc/self/oom_score_adj", b"-1000")
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


def mount_root(script: Script, disk: bytes) -> list[tuple[int, bytes]]:
    """The image (erofs on the device `disk`) below a writable layer in memory. Returns what was made for mounts that
    the image lacks: indices of results, and paths."""
    script.mount("mount the image", disk, b"/c/lower", b"erofs", MS_RDONLY)
    options = (
        b"lowerdir=/c/lower,upperdir="
        + UPPER
        + b",workdir=/c/rw/work,index=off,metacopy=off,redirect_dir=off"
    )
    script.mount("mount the root", b"overlay", ROOT, b"overlay", 0, options)
    return move_system_mounts(script)


def seal_root(script: Script) -> None:
    """The container's root is read-only from now on; what is mounted in it stays as it is."""
    root = script.table.text(ROOT)
    script.must("make the root read-only", "mount", 0, root, 0, MS_REMOUNT | MS_BIND | MS_RDONLY, 0)


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
