"""The bars of the virtual machines: `python tests/benchmarks/vm.py` measures and says which hold.

Numbers are wall-clock seconds on an otherwise idle host; the first is the bar.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

from machines import Pycontain, missing

from pycontain.compare.memory import pss


def timed(function: Callable[[], object]) -> float:
    begun = time.perf_counter()
    function()
    return time.perf_counter() - begun


def parallel(pc: Pycontain, count: int) -> None:
    argv = [sys.executable, "-m", "pycontain", "run", "--rm", "--runtime", "vm", "box", "true"]
    started = [subprocess.Popen(argv, env=pc.env) for _ in range(count)]
    assert all(process.wait(60) == 0 for process in started)


def main() -> int:
    reason = missing()
    if reason is not None:
        print(reason)
        return 0
    failed = 0

    def tell(what: str, bar: float, value: float, unit: str = "s") -> None:
        nonlocal failed
        failed += value > bar
        print(f"{'ok  ' if value <= bar else 'OVER'} {what:55} {value:8.2f} {unit}, bar {bar:g}", flush=True)

    with tempfile.TemporaryDirectory() as directory:
        pc = Pycontain(Path(directory) / "store")
        try:
            pc.server()
            tell("template boot", 1.5, timed(lambda: pc("vm", "setup", check=True)))
            run = lambda: pc.vm("--rm", "box", "true", check=True)  # noqa: E731
            tell("run --runtime vm IMAGE true", 0.45, median(timed(run) for _ in range(7)))
            tell("10 clones in parallel", 1.5, min(timed(lambda: parallel(pc, 10)) for _ in range(3)))
            names = [f"n{number}" for number in range(10)]
            for name in names:
                pc.vm("-d", "--name", name, "box", "sleep", "1000", check=True)
            tell("memory of each of 10", 35, sum(map(pss, pc.machines())) / 10e6, "MB")
            tell(
                "snapshot of a running 128 MB machine",
                0.4,
                timed(lambda: pc("vm", "snapshot", "n0", "s", check=True)),
            )

            def restore() -> None:
                pc("vm", "clone", "s", "--name", "again", check=True)

            tell("restore", 0.5, timed(restore))
            pc("rm", "-f", "again", *names, check=True)
            took = [timed(run) for _ in range(50)]
            tell("the slowest of 50 starts in a row", 5, max(took))
        finally:
            pc.end()
        assert pc.machines() == []
    return 1 if failed and os.environ.get("PYCONTAIN_BARS") else 0


if __name__ == "__main__":
    sys.exit(main())
