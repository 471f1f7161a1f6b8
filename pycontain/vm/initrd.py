"""The initial ramdisk: the agent as /init, and the modules that it loads before it can hear the host."""

from __future__ import annotations

import stat
from collections.abc import Sequence

from pycontain.vm import agent
from pycontain.vm.cpio import Member, archive
from pycontain.vm.table import CALLS, Table

EARLY_MODULES = {
    "device": ("virtio_ring", "virtio", "virtio_mmio", "virtio_console"),
    "pci": (
        "virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "virtio_console",
    ),
}  # fmt: skip
"""By the board's bus (qemu.Board), in this order: each needs those before. They are how the host is heard."""
LATE_MODULES = (
    "libcrc32c", "erofs", "overlay", "virtio_blk", "failover", "net_failover", "virtio_net", "fuse",
)  # fmt: skip
"""Loaded by the host once the agent listens. A kernel may have them built in; fuse may be missing."""
MODULES = frozenset(LATE_MODULES).union(*EARLY_MODULES.values())
"""All that may be needed."""
PORT = b"/dev/vport0p1"
O_RDWR = 2


def build(modules: dict[str, bytes], early: Sequence[str], port: bytes = PORT) -> bytes:
    """The ramdisk's bytes. modules: name -> uncompressed .ko; early: those to load first, in order; port: where the
    host is heard."""
    table = _first_table([name for name in early if name in modules], port)
    members = [
        Member(name, stat.S_IFDIR | 0o755) for name in (b"dev", b"proc", b"sys", b"modules", b"c", b"run")
    ]
    members.append(Member(b"init", stat.S_IFREG | 0o755, agent.elf(table)))
    members += [
        Member(f"modules/{name}.ko".encode(), stat.S_IFREG | 0o644, data) for name, data in modules.items()
    ]
    return archive(members)


def load_module(table: Table, name: str) -> None:
    """Rows that load one of the ramdisk's modules."""
    opened = table.call("open", table.text(f"/modules/{name}.ko".encode()), 0)
    table.call("finit_module", opened, table.text(b""), 0)
    table.call("close", opened)


def _first_table(early: Sequence[str], port: bytes) -> bytes:
    """Mount what is needed, load the early modules, open the port, and listen."""
    table = Table(agent.START)
    for kind, place in ((b"devtmpfs", b"/dev"), (b"proc", b"/proc"), (b"sysfs", b"/sys")):
        table.call("mount", table.text(kind), table.text(place), table.text(kind), 0, 0)
    for name in early:
        load_module(table, name)
    # the port is there a moment before it can be opened
    pause = table.words([0, 2_000_000])
    zero = table.constant(0)
    again = table.here()
    restore = table.operation(agent.COPY, 0, table.constant(CALLS["open"]))
    opened = table.call("open", table.text(port), O_RDWR)
    restore.words[1] = opened.plus(0)
    failed = table.jump(agent.IF_NEGATIVE, opened.plus(0))
    done = table.jump(agent.IF_ZERO, zero)
    table.land(failed)
    restore = table.operation(agent.COPY, 0, table.constant(CALLS["nanosleep"]))
    slept = table.call("nanosleep", pause, 0)
    restore.words[1] = slept.plus(0)
    table.operation(agent.IF_ZERO, zero, again)
    table.land(done)
    table.call("dup3", opened, agent.CONTROL, 0o2000000)
    table.call("close", opened)
    table.operation(agent.END, 0, 0)
    return table.layout()
