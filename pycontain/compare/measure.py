"""Run everything, interleaved and repeated, so that a noisy moment of the host hits all alike."""

from __future__ import annotations

import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial

from pycontain.compare import probe
from pycontain.compare.memory import Instances
from pycontain.compare.report import Report, Row
from pycontain.compare.subjects import (
    BOUNDARY,
    CONTAINER,
    HOST,
    MACHINE,
    UML,
    Subject,
    pycontain,
    run,
)
from pycontain.engine.engine import Engine
from pycontain.errors import PycontainError

INSTANCES = 10

Step = Callable[[str], object]
"""Told before each step what it is."""


def compare(
    image: str,
    command: list[str],
    found: Sequence[Subject],
    missing: Sequence[str],
    *,
    repeat: int = 3,
    instances: int = INSTANCES,
    step: Step,
) -> Report:
    """Measure what discovery.find() gave. A subject that fails at something has the reason instead of a number."""
    found, missing = list(found), list(missing)
    rows = {s: Row(s.name, s.kind, s.accel, BOUNDARY[s.kind], s.shown, {}, {}) for s in found}
    with tempfile.TemporaryDirectory(prefix="pycontain-compare-") as directory:
        _write_probes(directory)
        for subject in found:
            step(f"{subject.name}: cold start")
            _try(rows[subject], "cold", partial(_cold, subject, directory, command))
        for subject in [s for s in found if "cold" in rows[s].failures and s.kind not in (HOST, CONTAINER)]:
            missing.append(f"{subject.name}: {rows[subject].failures['cold']}")
            found.remove(subject)
        for number in range(repeat):
            for subject in found:
                step(f"{subject.name}: start {number + 1}/{repeat}")
                _start(rows[subject], subject, directory, command)
        for _ in range(max(repeat // 2, 1)):
            for subject in found:
                step(f"{subject.name}: speed")
                _speed(rows[subject], subject, directory)
        for subject in found:
            if subject.kind != HOST:
                step(f"{subject.name}: {instances} instances")
                _instances(rows[subject], subject, directory, instances)
        for subject in found:
            if subject.kind == MACHINE:
                step(f"{subject.name}: snapshot and clone")
                _snapshot(rows[subject], subject, directory)
    _relate([rows[s] for s in found])
    return Report(image, command, [rows[s] for s in found], missing, _host())


def steps(count: int, repeat: int) -> int:
    """About how many steps there will be for so many subjects."""
    return count * (repeat + max(repeat // 2, 1) + 2) + 1


def _write_probes(directory: str) -> None:
    os.chmod(directory, 0o755)
    inside = {
        "measure": probe.measuring(),
        "exit": probe.exiting(),
        "greet": probe.greeting(),
        "wait": probe.waiting(),
    }
    for name, data in inside.items():
        with open(os.path.join(directory, name), "wb") as file:
            file.write(data)
        os.chmod(os.path.join(directory, name), 0o755)
    local = probe.measuring(
        os.fsencode(os.path.join(directory, "exit")), os.fsencode(os.path.join(directory, "tmp"))
    )
    with open(os.path.join(directory, "measure-host"), "wb") as file:
        file.write(local)
    os.chmod(os.path.join(directory, "measure-host"), 0o755)


def _try(row: Row, key: str, function: Callable[[], float]) -> None:
    try:
        row.values.setdefault(key, []).append(function())
    except (PycontainError, OSError, subprocess.SubprocessError) as error:
        row.failures[key] = str(error)
        row.values.pop(key, None)


def _argv(subject: Subject, directory: str, command: list[str]) -> list[str]:
    if subject.kind == HOST or not command:
        return subject.argv(directory, program="greet")
    return subject.argv(directory, command=command)


def _cold(subject: Subject, directory: str, command: list[str]) -> float:
    """Without the processes that later starts share; a machine's template is thrown away."""
    engine = Engine()
    if subject.kind == CONTAINER:
        kernel = engine.running_kernel()
        if kernel is not None and not kernel.containers():
            kernel.shutdown()
    elif subject.kind == MACHINE:
        from shutil import rmtree

        from pycontain.vm.home import directory as home

        machines = engine.kernel("vm")
        if not machines.containers():
            machines.shutdown()
            rmtree(home(engine.root, "templates"), ignore_errors=True)
    elif subject.kind == UML:
        machines = engine.kernel("uml")
        if not machines.containers():
            machines.shutdown()
    return run(_argv(subject, directory, command)).first


def _start(row: Row, subject: Subject, directory: str, command: list[str]) -> None:
    if "cold" in row.failures:
        return
    try:
        done = run(_argv(subject, directory, command))
    except (PycontainError, OSError, subprocess.SubprocessError) as error:
        row.failures["first"] = str(error)
        return
    row.values.setdefault("first", []).append(done.first)
    row.values.setdefault("cycle", []).append(done.whole)


def _speed(row: Row, subject: Subject, directory: str) -> None:
    if "cold" in row.failures:
        return
    program = "measure-host" if subject.kind == HOST else "measure"
    try:
        times = probe.read_times(run(subject.argv(directory, program=program)).output)
    except (PycontainError, OSError, subprocess.SubprocessError) as error:
        row.failures["cpu"] = str(error)
        return
    for key, value in (
        ("loop", times.loop),
        ("call", times.call * 1e6),
        ("fork", times.fork * 1e3),
        ("bytes", times.file),
    ):
        row.values.setdefault(key, []).append(value)


def _instances(row: Row, subject: Subject, directory: str, count: int) -> None:
    if "cold" in row.failures:
        return
    try:
        with Instances(subject, directory) as running:
            running.start(1)
            time.sleep(0.3)
            first = running.memory()
            running.start(count - 1)
            time.sleep(0.3)
            more = (running.memory() - first) / (count - 1)
            if subject.kind != "podman":
                row.values["disk"] = [running.disk() / 1024]
    except (PycontainError, OSError, subprocess.SubprocessError) as error:
        row.failures["memory_first"] = str(error)
        return
    row.values["memory_first"] = [first / 1e6]
    row.values["memory_next"] = [more / 1e6]
    row.values["per_gb"] = [(1 << 30) / max(more, 1)]


def _snapshot(row: Row, subject: Subject, directory: str) -> None:
    tag = f"compare-{os.getpid()}"
    try:
        with Instances(subject, directory) as running:
            running.start(1)
            begun = time.perf_counter()
            run([*pycontain("vm", "snapshot", running.names[0], tag)])
            row.values["snapshot"] = [time.perf_counter() - begun]
            done = run([*pycontain("vm", "clone", tag)])
            row.values["clone"] = [done.whole]
            running.names.append(done.output.decode().split()[-1])
    except (PycontainError, OSError, subprocess.SubprocessError) as error:
        row.failures["snapshot"] = str(error)
    finally:
        subprocess.run([*pycontain("vm", "rm", tag)], capture_output=True, timeout=60, check=False)


def _relate(rows: list[Row]) -> None:
    """CPU and files in per cent of the host's."""
    host = next((row for row in rows if row.kind == HOST), None)
    loop, throughput = (host.value("loop"), host.value("bytes")) if host is not None else (None, None)
    for row in rows:
        own_loop, own_bytes = row.value("loop"), row.value("bytes")
        if loop and own_loop:
            row.values["cpu"] = [100 * loop / own_loop]
        if throughput and own_bytes:
            row.values["file"] = [100 * own_bytes / throughput]


def _host() -> dict[str, object]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "kernel": platform.release(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "memory": memory,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
