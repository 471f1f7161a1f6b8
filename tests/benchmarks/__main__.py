"""`python -m tests.benchmarks [--quick] [--check] [software]`: one table of what the README promises, with the
peers here; with `software`, only real programs in a Debian root (needs root and mmdebstrap, and takes long).

Run it with the Python of an environment that pycontain is installed in (not editable: its import hooks take
longer than a container's start). --quick leaves out the large image; --check ends with 1 if a bar is missed.
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile

from tests.benchmarks import images, running, software, vm
from tests.benchmarks.debian import Debian
from tests.benchmarks.measuring import Row, table
from tests.benchmarks.subjects import BASE, Ours, Podman, podman


def _everything_else(directory: str, ours: Ours, peer: Podman | None, quick: bool) -> list[Row]:
    rounds = 5 if quick else 15
    rows = [
        *running.start_time(ours, peer, rounds),
        running.trapped_stat(ours),
        *running.untrapped_work(ours, 3 if quick else 7),
        images.cached_build(directory, ours, peer, rounds),
        images.unchanged_push(directory, ours),
    ]
    if not quick:
        rows += images.import_and_pull(directory, peer, 3)
        rows += images.memory(directory)
    if vm.missing() is None:
        rows += vm.rows(directory, quick=quick)
    return rows


def main(arguments: list[str]) -> int:
    quick, check = "--quick" in arguments, "--check" in arguments
    with tempfile.TemporaryDirectory(prefix="pycontain-benchmarks-") as directory:
        ours = Ours(directory)
        archive = os.path.join(directory, "base.tar")
        ours("run", "--rm", BASE, "true")
        ours("save", "-o", archive, BASE)
        peer = podman(directory, archive)
        try:
            if "software" in arguments:
                rows = software.rows(Debian(directory, ours, peer), quick=quick)
            else:
                rows = _everything_else(directory, ours, peer, quick)
        finally:
            ours.close()
            if peer is not None:
                peer.close()
    host = platform.uname()
    print(f"{os.cpu_count()} CPUs, Linux {host.release} {host.machine}, Python {platform.python_version()}\n")
    print(table(rows))
    return 1 if check and any(row.holds is False for row in rows) else 0


sys.exit(main(sys.argv[1:]))
