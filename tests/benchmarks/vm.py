"""The bars of the virtual machines: `python -m tests.benchmarks.vm [--quick] [--check]`; also part of the whole table.

Medians of runs in turns. The bars are for TCG on two otherwise idle cores; --check ends with 1 if one is missed.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

from machines import Pycontain, missing

from pycontain.engine.engine import Engine
from pycontain.vm.usage import pss
from tests.benchmarks.measuring import Row, milliseconds, table, timed

CLONES = 10
STARTS = 50


def rows(directory: str, *, quick: bool = False) -> list[Row]:
    """Everything; directory: for a store of its own. RuntimeError or AssertionError where something fails."""
    pc = Pycontain(Path(directory) / "machines")
    try:
        return _rows(pc, 3 if quick else 7, 10 if quick else STARTS)
    finally:
        pc.end()


def _rows(pc: Pycontain, rounds: int, starts: int) -> list[Row]:
    def seconds(work: str, value: float, bar: float) -> Row:
        return Row(work, milliseconds(value), "-", None, f"at most {bar:g} s", value <= bar)

    pc.vm("--rm", "box", "true", check=True)
    found = [seconds("template boot", median(_boot(pc) for _ in range(rounds)), 1.5)]
    two = ("--rm", "--cpus", "2", "box", "true")
    pc.vm(*two, check=True)
    times: dict[str, list[float]] = {"run": [], "two": [], "parallel": [], "snapshot": [], "restore": []}
    for number in range(rounds):
        times["run"].append(timed(lambda: pc.vm("--rm", "box", "true", check=True)))
        times["two"].append(timed(lambda: pc.vm(*two, check=True)))
        times["parallel"].append(timed(lambda: _parallel(pc)))
        pc.vm("-d", "--name", "kept", "box", "sleep", "1000", check=True)
        tag = f"s{number}"
        times["snapshot"].append(timed(lambda tag=tag: pc("vm", "snapshot", "kept", tag, check=True)))  # type: ignore[misc]
        times["restore"].append(timed(lambda tag=tag: _restore(pc, tag)))  # type: ignore[misc]
        pc("rm", "-f", "kept", "again", check=True)
        pc("vm", "rm", tag, check=True)
    found += [
        seconds("run --runtime vm IMAGE true", median(times["run"]), 0.45),
        seconds("the same with --cpus 2", median(times["two"]), 0.6),
        seconds(f"{CLONES} clones in parallel, one command each", median(times["parallel"]), 1.5),
        seconds("snapshot of a running 128 MB machine", median(times["snapshot"]), 0.4),
        seconds("clone of that snapshot to a command's output", median(times["restore"]), 0.5),
    ]
    for number in range(CLONES):
        pc.vm("-d", "--name", f"n{number}", "box", "sleep", "1000", check=True)
    each = sum(map(pss, pc.processes())) / CLONES / 1e6
    pc("rm", "-f", *(f"n{number}" for number in range(CLONES)), check=True)
    found.append(
        Row(f"memory of each of {CLONES} (PSS)", f"{each:.0f} MB", "-", None, "at most 25 MB", each <= 25)
    )
    slowest = max(timed(lambda: pc.vm("--rm", "box", "true", check=True)) for _ in range(starts))
    return [*found, seconds(f"the slowest of {starts} starts in a row", slowest, 5)]


def _boot(pc: Pycontain) -> float:
    """Seconds of a template's boot, its saving included, with the kernel unpacked already."""
    os.environ["PYCONTAIN_RUNTIME_DIR"] = pc.env["PYCONTAIN_RUNTIME_DIR"]
    shutil.rmtree(pc.root / "vm" / "templates")
    machines = Engine(str(pc.root)).kernel("vm")
    return timed(lambda: machines.ask({"op": "template", "settings": {}}))  # type: ignore[attr-defined]


def _parallel(pc: Pycontain) -> None:
    argv = [sys.executable, "-m", "pycontain", "run", "--rm", "--runtime", "vm", "box", "true"]
    started = [subprocess.Popen(argv, env=pc.env) for _ in range(CLONES)]
    assert [process.wait(60) for process in started] == [0] * CLONES


def _restore(pc: Pycontain, tag: str) -> None:
    pc("vm", "clone", tag, "--name", "again", check=True)
    assert pc("exec", "again", "echo", "here", check=True).stdout == b"here\n"


def main(arguments: list[str]) -> int:
    reason = missing()
    if reason is not None:
        print(reason)
        return 0
    with tempfile.TemporaryDirectory(prefix="pycontain-benchmarks-") as directory:
        found = rows(directory, quick="--quick" in arguments)
    host = platform.uname()
    print(f"{os.cpu_count()} CPUs, Linux {host.release} {host.machine}, Python {platform.python_version()}\n")
    print(table(found))
    return 1 if "--check" in arguments and any(row.holds is False for row in found) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
