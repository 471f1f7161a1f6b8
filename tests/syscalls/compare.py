"""Run cases on the host and in a container, and show where they differ. For work on the kernel:

python tests/syscalls/compare.py [-v] [-k keep-directory] [PATTERN…]     (as root)
"""

from __future__ import annotations

import argparse
import difflib
import fnmatch
import importlib
import json
import os
import shutil
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

import probe  # noqa: E402
import world  # noqa: E402
from differences import DIFFERENCES, OF_USERS  # noqa: E402

from pycontain.store import Store  # noqa: E402


def load() -> list[str]:
    for name in world.case_files():
        importlib.import_module(f"cases.{name[:-3]}")
    return list(probe.registry)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("-v", "--verbose", action="store_true", help="print what the host said, too")
    parser.add_argument("-k", "--keep", help="a directory for the store and the root, kept")
    parser.add_argument(
        "--record", action="store_true", help="write expected.json from what the host said (all cases)"
    )
    parser.add_argument("-u", "--user", action="store_true", help="the kernel of an ordinary user")
    parser.add_argument("-a", "--all", action="store_true", help="show known differences, too")
    parser.add_argument("--sequences", help="instead: FIRST-LAST seeds of sequences of calls, at most 24 at once")
    parser.add_argument("--length", type=int, default=2000, help="calls of each")
    parser.add_argument("patterns", nargs="*")
    options = parser.parse_args()
    names = [
        name for name in load()
        if not options.patterns or any(p in name or fnmatch.fnmatch(name, p) for p in options.patterns)
    ]  # fmt: skip
    if options.sequences:
        first, _, last = options.sequences.partition("-")
        sequences = importlib.import_module("cases.sequences")
        names = [f"sequences/seed_{seed}_{options.length}" for seed in range(int(first), int(last or first) + 1)]
        for name in names:
            sequences.register(name, *map(int, name.split("_")[1:]))
    keep = options.keep or tempfile.mkdtemp(prefix="syscalls-")
    try:
        store = Store.open(f"{keep}/store")
        compiled = world.build_image(store, f"{keep}/programs")
        names = [n for n in names if probe.registry[n].program in (None, *compiled)]
        shutil.rmtree(f"{keep}/root", ignore_errors=True)
        world.unpack(store, f"{keep}/root")
        expected = world.run_on_host(f"{keep}/root", names)
        if options.user:
            os.chmod(keep, 0o755)
            shutil.rmtree(f"{keep}/user", ignore_errors=True)
            python = world.as_user(f"{keep}/store", f"{keep}/user")
            found = world.run_in_container(f"{keep}/user", names, python)
        else:
            found = world.run_in_container(f"{keep}/store", names)
    finally:
        if not options.keep:
            shutil.rmtree(keep, ignore_errors=True)
    if options.record:
        record(expected)
    return report(names, expected, found, options.verbose, options.all)


def record(expected: dict) -> None:
    """What tests expect where they do not run as root."""
    with open(f"{HERE}/expected.json", "w") as file:
        kept = {
            name: {"output": r["output"], "status": r["status"]}
            for name, r in sorted(expected.items())
            if name
        }
        json.dump(kept, file, indent=0, ensure_ascii=False)
        file.write("\n")


def report(names: list[str], expected: dict, found: dict, verbose: bool, everything: bool) -> int:
    different = known = 0
    for where, results in (("host", expected), ("container", found)):
        if "" in results:
            print(f"--- the {where}'s driver: status {results['']['status']}\n{results['']['output']}")
    for name in names:
        want, have = (r.get(name, {"output": "(not run)\n", "status": None}) for r in (expected, found))
        if verbose:
            print(f"=== {name}: {want['status']}\n{want['output']}", end="")
        if (want["output"], want["status"]) == (have["output"], have["status"]):
            continue
        different += 1
        if (name in DIFFERENCES or name in OF_USERS) and not everything:
            known += 1
            continue
        print(f"=== {name}: host {want['status']}, container {have['status']}")
        lines = difflib.unified_diff(
            want["output"].splitlines(), have["output"].splitlines(), "host", "container", n=1, lineterm=""
        )
        print("\n".join(list(lines)[2:60]))
    for where, results in (("host", expected), ("container", found)):
        slow = sorted((r["seconds"], n) for n, r in results.items() if n)
        print(f"{where}: {sum(s for s, _ in slow):.1f} s;", ", ".join(f"{n} {s:.1f}" for s, n in slow[-6:]))
    print(f"{len(names)} cases, {different} differ, {known} of them known to")
    return 1 if different > known else 0


if __name__ == "__main__":
    sys.exit(main())
