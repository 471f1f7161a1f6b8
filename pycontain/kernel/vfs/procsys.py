"""/proc/sys: a tree of fixed names. Most are the host's; what belongs to a container is its own."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from pycontain.kernel.vfs import proctext

if TYPE_CHECKING:
    from pycontain.kernel.container import Container

HOST_TEXT = (
    "fs/aio-max-nr", "fs/aio-nr", "fs/dentry-state", "fs/epoll/max_user_watches", "fs/file-max", "fs/file-nr",
    "fs/inode-nr", "fs/inotify/max_queued_events", "fs/inotify/max_user_instances", "fs/inotify/max_user_watches",
    "fs/lease-break-time", "fs/leases-enable", "fs/mqueue/msg_max", "fs/mqueue/msgsize_max",
    "fs/mqueue/queues_max", "fs/nr_open", "fs/overflowgid", "fs/overflowuid", "fs/pipe-max-size",
    "fs/pipe-user-pages-hard", "fs/pipe-user-pages-soft", "fs/protected_fifos", "fs/protected_hardlinks",
    "fs/protected_regular", "fs/protected_symlinks", "fs/suid_dumpable", "kernel/cap_last_cap",
    "kernel/core_pattern", "kernel/core_uses_pid", "kernel/dmesg_restrict", "kernel/keys/maxbytes",
    "kernel/keys/maxkeys", "kernel/kptr_restrict", "kernel/msgmax", "kernel/msgmnb", "kernel/msgmni",
    "kernel/ngroups_max", "kernel/numa_balancing", "kernel/overflowgid", "kernel/overflowuid", "kernel/panic",
    "kernel/perf_event_paranoid", "kernel/pid_max", "kernel/printk", "kernel/random/entropy_avail",
    "kernel/random/poolsize", "kernel/randomize_va_space", "kernel/sched_child_runs_first",
    "kernel/sched_rr_timeslice_ms", "kernel/sched_rt_period_us", "kernel/sched_rt_runtime_us",
    "kernel/seccomp/actions_avail", "kernel/sem", "kernel/shmall", "kernel/shmmax", "kernel/shmmni",
    "kernel/tainted", "kernel/threads-max", "kernel/unprivileged_bpf_disabled", "net/core/busy_poll",
    "net/core/busy_read", "net/core/default_qdisc", "net/core/netdev_max_backlog", "net/core/optmem_max",
    "net/core/rmem_default", "net/core/rmem_max", "net/core/somaxconn", "net/core/wmem_default",
    "net/core/wmem_max", "net/ipv4/ip_default_ttl", "net/ipv4/ip_forward", "net/ipv4/ip_local_port_range",
    "net/ipv4/ip_local_reserved_ports", "net/ipv4/ip_nonlocal_bind", "net/ipv4/ip_unprivileged_port_start",
    "net/ipv4/ping_group_range", "net/ipv4/tcp_abort_on_overflow", "net/ipv4/tcp_available_congestion_control",
    "net/ipv4/tcp_congestion_control", "net/ipv4/tcp_fastopen", "net/ipv4/tcp_fin_timeout",
    "net/ipv4/tcp_keepalive_intvl", "net/ipv4/tcp_keepalive_probes", "net/ipv4/tcp_keepalive_time",
    "net/ipv4/tcp_max_syn_backlog", "net/ipv4/tcp_max_tw_buckets", "net/ipv4/tcp_mem",
    "net/ipv4/tcp_moderate_rcvbuf", "net/ipv4/tcp_mtu_probing", "net/ipv4/tcp_no_metrics_save",
    "net/ipv4/tcp_notsent_lowat", "net/ipv4/tcp_retries1", "net/ipv4/tcp_retries2", "net/ipv4/tcp_rfc1337",
    "net/ipv4/tcp_rmem", "net/ipv4/tcp_sack", "net/ipv4/tcp_slow_start_after_idle", "net/ipv4/tcp_syn_retries",
    "net/ipv4/tcp_synack_retries", "net/ipv4/tcp_syncookies", "net/ipv4/tcp_timestamps", "net/ipv4/tcp_tw_reuse",
    "net/ipv4/tcp_window_scaling", "net/ipv4/tcp_wmem", "net/ipv4/udp_mem", "net/ipv6/bindv6only",
    "net/ipv6/conf/all/disable_ipv6", "net/ipv6/conf/all/forwarding", "net/ipv6/conf/default/disable_ipv6",
    "net/ipv6/conf/lo/disable_ipv6", "net/unix/max_dgram_qlen", "user/max_inotify_instances",
    "user/max_inotify_watches", "user/max_user_namespaces", "vm/admin_reserve_kbytes",
    "vm/dirty_background_bytes", "vm/dirty_background_ratio", "vm/dirty_bytes", "vm/dirty_expire_centisecs",
    "vm/dirty_ratio", "vm/dirty_writeback_centisecs", "vm/hugetlb_shm_group", "vm/legacy_va_layout",
    "vm/max_map_count", "vm/min_free_kbytes", "vm/mmap_min_addr", "vm/nr_hugepages", "vm/nr_overcommit_hugepages",
    "vm/oom_kill_allocating_task", "vm/overcommit_kbytes", "vm/overcommit_memory", "vm/overcommit_ratio",
    "vm/page-cluster", "vm/panic_on_oom", "vm/swappiness", "vm/user_reserve_kbytes", "vm/vfs_cache_pressure",
    "vm/zone_reclaim_mode",
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
        if not os.access(f"/proc/sys/{name}", os.R_OK):
            continue  # another host kernel's
        table[name] = lambda name=name: proctext.host_text(f"sys/{name}")  # type: ignore[misc]
    return table
