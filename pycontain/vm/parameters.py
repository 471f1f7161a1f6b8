"""The guest kernel's command line, and why each word of it is there."""

from __future__ import annotations

COMMON = (
    "console=ttyS0", "quiet", "loglevel=4", "panic=-1", "reboot=t", "rdinit=/init",
    "random.trust_cpu=on", "cryptomgr.notests", "mitigations=off",
    "rcupdate.rcu_expedited=1", "rcupdate.rcu_normal_after_boot=0",
    "lsm=landlock,yama",
    # every page that is cleared is one that clones do not share
    "init_on_alloc=0",
    # what clones would do in the background, again and again: statistics of who waits, fairness between sessions
    "psi=0", "noautogroup",
)  # fmt: skip
TRANSLATED = (
    # under TCG there is nothing to measure the counter by: a boot that tries hangs now and then
    "tsc=reliable", "no_timer_check",
    # every patched instruction makes QEMU translate anew
    "noreplace-smp",
    # nobody sees the guest's memory groups, but every page would be counted
    "cgroup_disable=memory",
)  # fmt: skip
"""Where QEMU translates what the guest runs: code that runs once costs twenty times what it costs a CPU."""
SKIPPED = (
    "trace_eval_init", "tracer_init_tracefs",
    "ftrace_check_for_weak_functions", "crypto_kdf108_init", "init_tsc_clocksource",
)  # fmt: skip
"""Initialisations left out there. The first two make names for tracing, and its file system (9 MB of memory); the
third looks 38,000 functions up to see which could be traced; the fourth tests an algorithm. The last one measures the
time stamp counter for a second, by nothing, and then goes over from a clock called tsc-early to one that is the same:
every clone would do so."""


def command_line(accel: str, tsc: int) -> str:
    """accel: kvm or tcg; tsc: what the host's time stamp counter counts, in kHz. A guest under KVM has a clock of the
    host's, and needs to be told nothing."""
    words = list(COMMON)
    if accel == "tcg":
        words += [f"tsc_early_khz={tsc}", *TRANSLATED, "initcall_blacklist=" + ",".join(SKIPPED)]
    return " ".join(words)
