"""Real programs in a Debian root: in a container, and on the host in a chroot of the same root (or under podman).

Every figure is what the program, or a shell around it, measured inside: the container's start is not in it.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable

from tests.benchmarks.debian import OFFLINE, Debian
from tests.benchmarks.measuring import Row, milliseconds
from tests.benchmarks.subjects import BASE, Ours

MODULES = [
    "abc",
    "argparse",
    "array",
    "ast",
    "asyncio",
    "base64",
    "bisect",
    "calendar",
    "cmd",
    "codecs",
    "collections",
    "concurrent.futures",
    "configparser",
    "contextlib",
    "copy",
    "csv",
    "ctypes",
    "datetime",
    "decimal",
    "difflib",
    "dis",
    "email.message",
    "enum",
    "fractions",
    "ftplib",
    "functools",
    "getpass",
    "glob",
    "gzip",
    "hashlib",
    "heapq",
    "html.parser",
    "http.client",
    "http.server",
    "imaplib",
    "inspect",
    "io",
    "itertools",
    "json",
    "locale",
    "logging",
    "lzma",
    "math",
    "mimetypes",
    "multiprocessing",
    "numbers",
    "operator",
    "os",
    "pathlib",
    "pickle",
    "platform",
    "pprint",
    "queue",
    "random",
    "re",
    "secrets",
    "shelve",
    "shutil",
    "socket",
    "sqlite3",
    "ssl",
    "statistics",
]
TIMED = 'start=$EPOCHREALTIME; {{ {work}; }} >/dev/null 2>&1 || exit 9; echo "$start $EPOCHREALTIME"'
POSTGRES = """
export PATH=$PATH:$(echo /usr/lib/postgresql/*/bin) LC_ALL=C.UTF-8; cd /tmp
mkdir -p /tmp/pg && chown postgres /tmp/pg
as() { setpriv --reuid postgres --regid postgres --clear-groups "$@"; }
{ as initdb -D /tmp/pg/data && as pg_ctl -D /tmp/pg/data -o '-k /tmp/pg -h ""' -l /tmp/pg/log -w start &&
  as pgbench -h /tmp/pg -i -s 4 postgres; } >/dev/null 2>&1 || exit 9
as pgbench -h /tmp/pg -S -c 4 -T 5 postgres 2>/dev/null | sed -n 's/^tps = \\([0-9.]*\\).*/\\1/p'
as pg_ctl -D /tmp/pg/data -m fast stop >/dev/null; rm -rf /tmp/pg
"""
REDIS = """
redis-server --port 0 --unixsocket /tmp/redis.sock --save '' --daemonize yes >/dev/null
until redis-cli -s /tmp/redis.sock ping >/dev/null 2>&1; do sleep 0.05; done
redis-benchmark -s /tmp/redis.sock -q -n 100000 -c 20 -t get | tr '\\r' '\\n' | sed -n 's/.*GET: \\([0-9.]*\\) requests.*/\\1/p' | tail -1
redis-cli -s /tmp/redis.sock shutdown nosave
"""
BUSY = "end=$((SECONDS+5)); n=0; while [ $SECONDS -lt $end ]; do for i in 1 2 3 4 5 6 7 8 9; do :; done; n=$((n+1)); done; echo $n"


def seconds(output: str) -> float:
    start, end = output.split()[-2:]
    return float(end) - float(start)


def rows(debian: Debian, *, quick: bool = False) -> list[Row]:
    rounds = 1 if quick else 3
    imports = "; ".join(f"import {name}" for name in MODULES[:60])
    zlib = (
        "rm -rf /tmp/z && cp -r /usr/src/zlib /tmp/z && cd /tmp/z && ./configure && make -j2 && rm -rf /tmp/z"
    )
    found = [
        _slower(debian, "fork, exec and wait, 300 times", "for i in {1..300}; do /bin/true; done", 2.5, 2 * rounds + 1),
        _slower(debian, f"find over {_files(debian):,} files", "find / -xdev", 5, 2 * rounds + 1),
        _slower(debian, "gcc -O2 of sqlite's amalgamation", "gcc -O2 -c -o /tmp/x.o /usr/src/sqlite3.c", 1.1, rounds),
        _slower(debian, "configure and make of zlib", zlib, 1.5, rounds),
        _slower(debian, "python3, 60 modules imported", f"python3 -c '{imports}'", 1.6, 2 * rounds + 1),
        _faster(debian, "redis-benchmark, requests per second", REDIS, rounds),
        _faster(debian, "pgbench -S, transactions per second", POSTGRES, rounds),
    ]  # fmt: skip
    if debian.peer is not None:
        found.append(_install(debian, rounds))
    return [*found, _busy(debian), *_idle(debian.ours), _start(debian.ours)]


def _turns(rounds: int, *actions: Callable[[], float]) -> list[float]:
    """The median of what each gives, in turns, after one turn that does not count."""
    found: list[list[float]] = [[] for _ in actions]
    for number in range(rounds + 1):
        for action, values in zip(actions, found, strict=True):
            value = action()
            if number:
                values.append(value)
    return [statistics.median(values) for values in found]


def _files(debian: Debian) -> int:
    return int(debian.host("find / -xdev | wc -l"))


def _slower(debian: Debian, name: str, work: str, bar: float, rounds: int) -> Row:
    script = TIMED.format(work=work)
    mine, host = _turns(rounds, lambda: seconds(debian.inside(script)), lambda: seconds(debian.host(script)))
    ratio = mine / host
    return Row(
        name, milliseconds(mine), f"host {milliseconds(host)}", ratio, f"at most {bar} x host", ratio <= bar
    )


def _faster(debian: Debian, name: str, script: str, rounds: int) -> Row:
    mine, host = _turns(rounds, lambda: float(debian.inside(script)), lambda: float(debian.host(script)))
    ratio = mine / host
    return Row(name, f"{mine:,.0f}", f"host {host:,.0f}", ratio, "at least 95 % of the host", ratio >= 0.95)


def _install(debian: Debian, rounds: int) -> Row:
    script = TIMED.format(
        work=f"DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-download {' '.join(OFFLINE)}"
    )
    mine, other = _turns(
        rounds, lambda: seconds(debian.inside(script)), lambda: seconds(debian.podman(script))
    )
    ratio = mine / other
    return Row(
        f"apt-get install of {len(OFFLINE)} packages, downloaded before", milliseconds(mine),
        f"podman {milliseconds(other)}", ratio, "at most 1.5 x podman", ratio <= 1.5,
    )  # fmt: skip


def _busy(debian: Debian) -> Row:
    """Eight shells that only compute, in a container each, against eight in the chroot."""

    def total(words: list[list[str]], environment: dict[str, str]) -> float:
        running = [
            subprocess.Popen(w, stdout=subprocess.PIPE, env={**os.environ, **environment}) for w in words
        ]
        return float(sum(int(process.communicate()[0]) for process in running))

    ours = debian.ours
    inside = [[*ours.program, "run", "--rm", "debian:plain", "bash", "-c", BUSY]] * 8
    host = [["chroot", debian.root, "bash", "-c", BUSY]] * 8
    mine, other = _turns(2, lambda: total(inside, ours.environment), lambda: total(host, {}))
    ratio = mine / other
    return Row(
        "8 busy containers, rounds of a loop",
        f"{mine:,.0f}",
        f"host {other:,.0f}",
        ratio,
        "at least 85 %",
        ratio >= 0.85,
    )


def _idle(ours: Ours, count: int = 50, seconds: float = 20.0) -> list[Row]:
    """The kernel's CPU while containers sleep, and what each adds to its memory."""

    def status() -> dict[str, object]:
        found: dict[str, object] = json.loads(ours("kernel", "status", "--format", "json"))
        return found

    def memory() -> int:
        return int(status()["memory"]["RssAnon"])  # type: ignore[index]

    names = [f"idle{number}" for number in range(count)]
    ours("run", "-d", "--name", "idle", BASE, "sleep", "600")
    before = memory()
    for name in names:
        ours("run", "-d", "--name", name, BASE, "sleep", "600")
    each = (memory() - before) / count
    pid = status()["pid"]
    time.sleep(1)
    start = _ticks(pid)
    time.sleep(seconds)
    share = (_ticks(pid) - start) / os.sysconf("SC_CLK_TCK") / seconds * 100
    ours("rm", "-f", "idle", *names)
    return [
        Row(f"the kernel's CPU with {count} idle containers", f"{share:.2f} %", "-", None, "0.0 %", round(share, 1) == 0),
        Row("... memory for each", f"{each / 1e6:.2f} MB", "-", None, "at most 2 MB", each <= 2e6),
    ]  # fmt: skip


def _ticks(pid: object) -> int:
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def _start(ours: Ours) -> Row:
    """From the request on the control socket to the answer that the program runs."""
    from pycontain.engine import containers
    from pycontain.engine.engine import Engine
    from pycontain.engine.spec import kernel_spec

    engine = Engine(ours.root)
    taken = []
    for number in range(20):
        name = f"timed{number}"
        ours("create", "--name", name, BASE, "true")
        spec = kernel_spec(containers.find(engine, name))
        spec.update(attach=True, size=[0, 0])
        client = engine.kernel("")
        begin = time.perf_counter()
        session = client.start(spec)
        taken.append(time.perf_counter() - begin)
        session.run(lambda stream, data: None)
        ours("rm", name)
    found = statistics.median(taken)
    return Row(
        "start through the control socket",
        f"{found * 1000:.1f} ms",
        "-",
        None,
        "at most 10 ms",
        found <= 0.01,
    )
