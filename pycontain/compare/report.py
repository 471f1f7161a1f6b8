"""What was measured, as values and as JSON."""

from __future__ import annotations

from statistics import median
from typing import Any, NamedTuple


class Metric(NamedTuple):
    """A quantity. better: "less" or "more"; text: what it means, in plain words."""

    key: str
    title: str
    unit: str
    better: str
    text: str


METRICS = (
    Metric("cold", "cold start to first output", "s", "less",
           "Nothing of ours runs yet: the shared kernel's process, or a virtual machine's template, is started first."),
    Metric("first", "start to first output", "s", "less",
           "From the command to the program's first byte, once everything that is shared is there."),
    Metric("cycle", "whole run", "s", "less", "From the command to its end: start, program, clean-up."),
    Metric("memory_first", "memory of the first", "MB", "less",
           "Proportional set size: pages shared with others count only in part. With everything it needs around it."),
    Metric("memory_next", "memory of each further", "MB", "less",
           "What one more instance costs. A guest kernel of its own is what makes a machine the heavier one."),
    Metric("per_gb", "instances per GB", "", "more", "How many fit in a gigabyte of memory."),
    Metric("call", "system call", "µs", "less",
           "getppid(2). In a machine the guest's own kernel answers, without leaving the guest."),
    Metric("fork", "fork+exec", "ms", "less", "A program starts another one and waits for it."),
    Metric("cpu", "CPU, relative to the host", "%", "more",
           "Plain computing. TCG translates every instruction; KVM and containers run on the CPU directly."),
    Metric("file", "files, relative to the host", "%", "more", "16 MB written and read back in pieces of 64 KB."),
    Metric("disk", "disk of each instance", "KB", "less", "What an instance adds on the host's disk before it writes."),
    Metric("snapshot", "snapshot of a running one", "s", "less",
           "Memory and devices, as a file that another host can load. Only machines can do that."),
    Metric("clone", "clone from a snapshot", "s", "less", "A new running machine with all that was in memory."),
)  # fmt: skip


class Row(NamedTuple):
    """One way to run the image. shown: the command line before the program; values: metric key -> every measured value; failures: metric key -> reason."""

    name: str
    kind: str
    accel: str
    boundary: str
    shown: str
    values: dict[str, list[float]]
    failures: dict[str, str]

    def value(self, key: str) -> float | None:
        """The median, None where there is none."""
        found = self.values.get(key)
        return median(found) if found else None


class Report(NamedTuple):
    """missing: ways that are not possible here, and why; host: what it was measured on."""

    image: str
    command: list[str]
    rows: list[Row]
    missing: list[str]
    host: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "image": self.image,
            "command": self.command,
            "host": self.host,
            "missing": self.missing,
            "metrics": [metric._asdict() for metric in METRICS],
            "rows": [
                {
                    "name": row.name,
                    "kind": row.kind,
                    "accel": row.accel,
                    "boundary": row.boundary,
                    "command": row.shown,
                    "median": {m.key: row.value(m.key) for m in METRICS},
                    "values": row.values,
                    "failures": row.failures,
                }
                for row in self.rows
            ],
        }
