"""What is done once so that it need not be done in every clone: a container, started and ended.

In a template it leaves what a kernel makes only the first time. In a zygote it also leaves QEMU's translation of what
the guest's kernel runs for a program; so its program does there what programs do: it maps files and writes to them,
asks for memory, makes children, reads directories.
"""

from __future__ import annotations

import os
import shutil
import struct

from pycontain.errors import MachineError
from pycontain.unionfs.image import ImageTree
from pycontain.unionfs.tree import Tree
from pycontain.vm import agent, guest
from pycontain.vm.channel import Channel
from pycontain.vm.erofs import write_image
from pycontain.vm.script import Script
from pycontain.vm.start import Start
from pycontain.vm.table import BUFFER, Table

BRIEF, THOROUGH = b"/brief", b"/thorough"
"""Programs: one that ends at once, and one that does something first."""
DATA = b"/data"
DATA_SIZE = 256 << 10
ROUNDS = 2
"""As often THOROUGH is run: QEMU links what it has translated when it gets there again."""
PAGE = 4096
PLACES = (0x20000000, 0x21000000, 0x22000000)
"""Where THOROUGH maps memory."""
POLLIN = 1


def write_disk(path: str, scratch: str, size: int) -> None:
    """A root file system with these programs; as a disk it is of that size, with a hole behind. scratch: a directory
    that is not there."""
    tree = Tree(ImageTree.merge([]), scratch)
    for name in (b"dev", b"proc", b"sys", b"etc"):
        tree.mkdir(tree.root, name, 0o755, 0, 0)
    tree.write_bytes(tree.root, DATA.strip(b"/"), bytes(range(1, 256)) * (DATA_SIZE // 255 + 1))
    for name, table in ((BRIEF, _brief()), (THOROUGH, _thorough())):
        program = tree.write_bytes(tree.root, name.strip(b"/"), agent.elf(table.layout()))
        tree.set_attr(program, mode=0o755)
    write_image(tree, path)
    os.truncate(path, size)
    shutil.rmtree(scratch)


def _brief() -> Table:
    table = Table(agent.START)
    table.call("exit_group", 0)
    return table


def _thorough() -> Table:
    """What a shell and a C library do around anything else. No call of it needs to succeed."""
    t = Table(agent.START)
    space = t.space(65536)
    for name in ("getpid", "getppid", "getuid", "geteuid", "getgid", "getegid", "getpgid"):
        t.call(name)
    t.call("uname", space)
    t.call("set_tid_address", space)
    t.call("set_robust_list", space, 24)
    t.call("prlimit64", 0, 3, 0, space)
    t.call("getrandom", space, 16, 0)
    t.call("readlink", t.text(b"/proc/self/exe"), space, PAGE)
    t.call("getcwd", space, PAGE)
    t.call("ioctl", 1, 0x5401, space)  # TCGETS
    t.call("rt_sigaction", 17, 0, space, 8)
    t.call("rt_sigprocmask", 0, 0, space, 8)
    t.call("clock_gettime", 0, space)
    for path in (b"/", b"/data", b"/nothing", b"/dev/null"):
        t.call("stat", t.text(path), space)
        t.call("newfstatat", -100, t.text(path), space, 0)
        t.call("access", t.text(path), 4)
    # memory: more of it, a file's, and protection that changes
    end = t.call("brk", 0)
    more = t.operation(agent.COPY, 0, end)
    grow = t.operation(agent.ADD, 0, t.constant(4 * PAGE))
    grown = t.call("brk", 0)
    more.words[1] = grow.words[1] = grown.argument(0)
    opened = t.call("openat", -100, t.text(DATA), os.O_RDONLY | os.O_CLOEXEC)
    t.call("fstat", opened, space)
    t.call("pread64", opened, end, 2 * PAGE, 0)
    anonymous, shared, private = PLACES
    t.call("mmap", anonymous, 64 * PAGE, 3, 0x32, -1, 0)
    t.call("mmap", shared, DATA_SIZE, 1, 0x11, opened, 0)
    t.call("mmap", private, DATA_SIZE, 3, 0x12, opened, 0)
    for number in range(0, DATA_SIZE // PAGE - 1, 3):
        t.operation(agent.COPY, anonymous + number * PAGE, private + number * PAGE)
        t.operation(agent.COPY, anonymous + number * PAGE + 8, shared + number * PAGE)
        t.operation(agent.COPY, private + number * PAGE, shared)
        t.operation(agent.COPY, private + (number + 1) * PAGE, shared)
    t.call("mprotect", private + 16 * PAGE, 4 * PAGE, 1)
    t.call("mprotect", private, 2 * PAGE, 1)
    t.call("munmap", private + 32 * PAGE, 8 * PAGE)
    t.call("read", opened, space, 65536)
    t.call("lseek", opened, 0, 0)
    t.call("close", opened)
    directory = t.call("openat", -100, t.text(b"/"), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    t.call("getdents64", directory, space, 32768)
    t.call("close", directory)
    # files that change
    made = t.call("openat", -100, t.text(b"/made"), os.O_RDWR | os.O_CREAT, 0o644)
    t.call("write", made, space, 3 * PAGE)
    t.call("close", made)
    t.call("unlink", t.text(b"/made"))
    changed = t.call("openat", -100, t.text(DATA), os.O_RDWR)
    t.call("close", changed)
    # children: one that has a copy of our memory and ends, one that becomes another program
    for calls in (("exit_group",), ("execve", "exit_group")):
        pair = t.space(8)
        t.call("pipe2", pair, 0)
        child = t.call("fork")
        in_child = t.jump(agent.IF_ZERO, child.plus(0))
        wait = t.jump(agent.IF_ZERO, t.constant(0))
        t.land(in_child)
        t.operation(agent.COPY, anonymous, shared)
        for name in calls:
            if name == "execve":
                t.call(name, t.text(BRIEF), t.strings([BRIEF]), t.strings([]))
            else:
                t.call(name, 0)
        t.land(wait)
        t.call("wait4", -1, space, 0, 0)
    t.call("write", 1, t.data(b"warm\n"), 5)
    t.call("write", 2, t.data(b"warm\n"), 5)
    t.call("exit_group", 0)
    return t


async def warm_up(channel: Channel, signals: int, program: bytes) -> None:
    """Start a container with that program, listen to it, and take away what it was in. signals: the agent's
    descriptor for SIGCHLD."""
    script = Script()
    guest.mount_root(script, b"/dev/vda")
    if program == THOROUGH:  # as mounting.py does
        script.collect("pread64", guest.open_inside(script, b"etc/machine-id", 0), BUFFER, 64, 0, most=64)
        guest.read_accounts(script)
    script.check(await channel.exchange(script.table))
    for _ in range(ROUNDS if program == THOROUGH else 1):
        await _run(channel, signals, program)
    script = Script()
    for path in (b"/dev", b"/sys"):
        script.mount("move a mount back", guest.ROOT + path, guest.SYSTEM + path, b"none", guest.MS_MOVE)
    script.must("unmount what warmed up", "umount2", script.table.text(guest.ROOT), 0)
    script.must("unmount the disk that warmed up", "umount2", script.table.text(b"/c/lower"), 0)
    # the writable layer is empty for the containers that come, and says nothing of the one that was
    upper = script.table.text(guest.UPPER)
    script.table.call("unlink", script.table.text(guest.UPPER + DATA))
    script.must("remove what warmed up", "rmdir", upper)
    script.must("make the writable layer anew", "mkdir", upper, 0o755)
    script.check(await channel.exchange(script.table))


async def _run(channel: Channel, signals: int, program: bytes) -> None:
    start = Start(
        args=[program],
        env=[],
        cwd=b"/",
        uid=0,
        gid=0,
        groups=[],
        terminal=False,
        size=(0, 0),
        stdin=False,
        init=True,
    )
    reply = await channel.exchange(start.script.table)
    start.script.check(reply)
    outputs = [start.number(reply, name) for name in ("stdout", "stderr")]
    script = Script()
    table = script.table
    watched = [agent.CONTROL, signals, *outputs]
    table.call(
        "ppoll", table.data(b"".join(struct.pack("<ihh", fd, POLLIN, 0) for fd in watched)), len(watched), 0, 0, 0
    )  # fmt: skip
    for fd in outputs:
        script.collect("read", fd, BUFFER, 4096, most=4096)
    status = table.fixed(8)
    script.must("wait for a program to warm up", "wait4", start.number(reply, "pid"), status, 0x40000000, 0)
    table.call("wait4", -1, table.space(8), 0x40000001, 0)
    for fd in outputs:
        table.call("close", fd)
    table.call("read", signals, table.space(1024), 1024)
    reply = await channel.exchange(table)
    script.check(reply)
    (ended,) = struct.unpack_from("<i", reply.fixed[0])
    if ended:
        raise MachineError(f"warm up: {os.fsdecode(program)} ended with status {ended:#x}")
