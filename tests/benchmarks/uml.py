"""The bars of User-Mode Linux: `python tests/benchmarks/uml.py` measures and says which hold.

Wall-clock seconds on an otherwise idle host with two cores; the figures of pycontain/vm/README.md come from here and
from `pycontain compare`.
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

from uml_machines import UmlPycontain, missing

from pycontain.compare.memory import pss
from pycontain.vm.uml.sharing import distinct


def timed(function: Callable[[], object]) -> float:
    begun = time.perf_counter()
    function()
    return time.perf_counter() - begun


def parallel(pc: UmlPycontain, count: int) -> None:
    argv = [sys.executable, "-m", "pycontain", "run", "--rm", "--runtime", "uml", "box", "true"]
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
        os.chmod(directory, 0o755)
        pc = UmlPycontain(Path(directory) / "store")

        def run() -> None:
            pc.uml("--rm", "box", "true", check=True)

        try:
            tell("the first run, which starts the server", 1.2, timed(run))
            tell("run --runtime uml IMAGE true", 0.4, median(timed(run) for _ in range(9)))
            tell("10 in parallel", 2.5, min(timed(lambda: parallel(pc, 10)) for _ in range(3)))
            data = os.urandom(10_000_000)
            passed = timed(lambda: pc.uml("--rm", "-i", "box", "cat", input=data, check=True))
            tell("10 MB through cat", 2, passed)
            names = [f"n{number}" for number in range(10)]
            for name in names:
                pc.uml("-d", "--name", name, "box", "sleep", "1000", check=True)
            tell("memory of each of 10", 25, sum(map(pss, distinct(pc.machines()))) / 10e6, "MB")
            pc("rm", "-f", *names, check=True)
            took = [timed(run) for _ in range(50)]
            tell("the slowest of 50 starts in a row", 5, max(took))
        finally:
            pc.end()
        assert pc.machines() == []
    return 1 if failed and os.environ.get("PYCONTAIN_BARS") else 0


if __name__ == "__main__":
    sys.exit(main())
