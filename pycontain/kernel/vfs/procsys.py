"""/proc/sys: a tree of fixed names. Most are the host's; what belongs to a container is its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pycontain.kernel.vfs import proctext

if TYPE_CHECKING:
    from pycontain.kernel.container import Container

HOST_TEXT = (
    "fs/aio-max-nr", "fs/aio-nr", "fs/file-max", "fs/file-nr", "fs/inode-nr", "fs/nr_open", "fs/pipe-max-size",
    "fs/protected_hardlinks", "fs/protected_symlinks", "fs/inotify/max_queued_events",
    "fs/inotify/max_user_instances", "fs/inotify/max_user_watches", "fs/mqueue/msg_max",
    "fs/mqueue/msgsize_max", "fs/mqueue/queues_max", "kernel/cap_last_cap", "kernel/msgmax", "kernel/msgmnb",
    "kernel/msgmni", "kernel/ngroups_max", "kernel/overflowgid", "kernel/overflowuid", "kernel/pid_max",
    "kernel/randomize_va_space", "kernel/random/entropy_avail", "kernel/random/poolsize", "kernel/sem",
    "kernel/shmall", "kernel/shmmax", "kernel/shmmni", "kernel/threads-max", "kernel/sched_rr_timeslice_ms",
    "kernel/seccomp/actions_avail", "net/core/somaxconn", "net/core/rmem_max", "net/core/wmem_max",
    "net/core/rmem_default", "net/core/wmem_default", "net/ipv4/ip_local_port_range", "net/ipv4/tcp_fin_timeout",
    "net/ipv4/tcp_keepalive_time", "net/ipv4/tcp_max_syn_backlog", "net/ipv4/tcp_syncookies",
    "net/ipv4/tcp_rmem", "net/ipv4/tcp_wmem", "net/ipv4/ip_forward", "net/ipv4/ip_unprivileged_port_start",
    "net/ipv6/conf/all/disable_ipv6", "net/unix/max_dgram_qlen", "vm/max_map_count", "vm/min_free_kbytes",
    "vm/nr_hugepages", "vm/overcommit_memory", "vm/overcommit_ratio", "vm/swappiness", "vm/mmap_min_addr",
)  # fmt: skip


def entries(container: Container) -> dict[str, Callable[[], bytes]]:
    """Path below /proc/sys -> its text."""
    table: dict[str, Callable[[], bytes]] = {
        "kernel/hostname": lambda: container.hostname + b"\n",
        "kernel/domainname": lambda: container.domainname + b"\n",
        "kernel/osrelease": lambda: container.release + b"\n",
        "kernel/ostype": lambda: b"Linux\n",
        "kernel/version": lambda: container.version + b"\n",
        "kernel/random/boot_id": lambda: container.boot_id + b"\n",
        "kernel/random/uuid": lambda: proctext.host_text("sys/kernel/random/uuid"),
        "kernel/yama/ptrace_scope": lambda: b"1\n",
        "crypto/fips_enabled": lambda: b"0\n",
    }
    for name in HOST_TEXT:
        table[name] = lambda name=name: proctext.host_text(f"sys/{name}")  # type: ignore[misc]
    return table
