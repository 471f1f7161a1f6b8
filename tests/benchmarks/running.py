"""Start time, trapped calls, and work that the kernel does not see."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

from pycontain.engine.bootstrap.python import find_interpreter
from tests.benchmarks.measuring import Row, command, interleaved, milliseconds
from tests.benchmarks.subjects import BASE, Ours, Podman

STAT = """
import os, statistics, time
now, stat, found = time.perf_counter_ns, os.stat, []
for _ in range(20000):
    start = now(); stat("/etc/passwd"); found.append(now() - start)
print(statistics.median(found) / 1000)
"""
WORK = """
import hashlib, json, mmap, os, sys, tempfile, time
def compute():
    total = 0
    for number in range(1_500_000): total += number * number % 7
    hashlib.sha256(bytes(60_000_000)).digest()
def stream(file):
    data = bytes(1 << 16)
    for _ in range(3000): file.write(data)
    file.seek(0)
    while file.read(1 << 16): pass
def mapped(file):
    with mmap.mmap(file.fileno(), 0) as view:
        for _ in range(4): hashlib.sha1(view).digest()
with tempfile.TemporaryFile(buffering=0) as file:
    found = {}
    for name, work in (("compute", compute), ("read and write", lambda: stream(file)), ("mmap", lambda: mapped(file))):
        times = []
        for _ in range(8):
            start = time.perf_counter(); work(); times.append(time.perf_counter() - start)
            file.seek(0)
        found[name] = min(times)
print(json.dumps(found))
"""


def start_time(ours: Ours, peer: Podman | None, rounds: int) -> list[Row]:
    """`run --rm IMAGE true` with a warm kernel; Python's own start for comparison."""
    python = command([sys.executable, "-c", "pass"])
    mine, empty = interleaved(rounds, lambda: ours("run", "--rm", BASE, "true"), python)
    rows = [Row("python -c pass, on the host", milliseconds(empty), "-", None, "-", None)]
    name = "run --rm IMAGE true, kernel warm"
    if peer is None:
        return [Row(name, milliseconds(mine), "no podman", None, "60 ms aimed for", None), *rows]
    theirs, mine = interleaved(
        rounds,
        lambda: peer(*Podman.RUN, f"docker.io/{BASE}", "true"),
        lambda: ours("run", "--rm", BASE, "true"),
    )
    row = Row(
        name, milliseconds(mine), milliseconds(theirs), mine / theirs, "no slower than podman", mine <= theirs
    )
    return [row, *rows]


def trapped_stat(ours: Ours) -> Row:
    """The median of one os.stat, in microseconds."""
    python = find_interpreter("python3").binary
    mine, host = [], []
    for _ in range(3):
        mine.append(float(ours("run", "--rm", BASE, python, "-c", STAT)))
        host.append(float(command([python, "-c", STAT])()))
    found, native = statistics.median(mine), statistics.median(host)
    return Row(
        "trapped stat, median",
        f"{found:.1f} µs",
        f"host {native:.1f} µs",
        found / native,
        "at most 15 µs",
        found <= 15,
    )


def untrapped_work(ours: Ours, rounds: int) -> list[Row]:
    """Programs that compute, read, write or map: what they measure themselves, in turns with the host.

    The shortest times are compared: what makes one longer is the machine's other work.
    """
    python = find_interpreter("python3").binary
    inside = [*ours.program, "run", "--rm", "-i", BASE, python, "-c", WORK]
    found: dict[str, tuple[list[float], list[float]]] = {}
    for number in range(rounds + 1):
        mine = json.loads(ours(*inside[len(ours.program) :]))
        host = json.loads(subprocess.run([python, "-c", WORK], capture_output=True, check=True).stdout)
        if number:
            for name in host:
                found.setdefault(name, ([], []))[0].append(mine[name])
                found[name][1].append(host[name])
    rows = []
    for name, (mine_times, host_times) in found.items():
        one, other = min(mine_times), min(host_times)
        rows.append(
            Row(
                f"a program that does {name}",
                milliseconds(one),
                f"host {milliseconds(other)}",
                one / other,
                "within 3 % of the host",
                one / other <= 1.03,
            )
        )
    return rows
