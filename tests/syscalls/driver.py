"""Runs cases one after another, each in a process and a directory of its own, and prints a JSON line for each.

The same file runs in the container and, under oracle.py, on the host; in both it is process 1.

    python3 driver.py CASES_DIRECTORY SCRATCH NAME…
"""

from __future__ import annotations

import importlib
import json
import os
import select
import shutil
import signal
import sys
import time

import probe

READ = 65536


def run(case: probe.Case, scratch: str) -> dict[str, object]:
    started = time.monotonic()
    directory = f"{scratch}/{case.name.replace('/', '-')}"
    os.makedirs(directory, 0o755)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        _child(case, directory, reader, writer)
    os.close(writer)
    output, late = _collect(reader, case.timeout)
    os.close(reader)
    if late:
        output += b"\n(timeout)\n"
    try:  # whatever it left behind; we are process 1
        os.kill(-1, signal.SIGKILL)
    except ProcessLookupError:
        pass
    status = None
    while True:
        try:
            gone, code = os.waitpid(-1, 0)
        except ChildProcessError:
            break
        if gone == pid:
            status = os.waitstatus_to_exitcode(code)
    shutil.rmtree(directory, ignore_errors=True)
    text = output.decode("utf-8", "backslashreplace")
    return {
        "case": case.name,
        "status": status,
        "output": text,
        "seconds": round(time.monotonic() - started, 3),
    }


def _child(case: probe.Case, directory: str, reader: int, writer: int) -> None:
    code = 70
    try:
        os.setpgid(0, 0)
        os.close(reader)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(writer, 1)
        os.dup2(writer, 2)
        for fd in (null, writer):
            if fd > 2:
                os.close(fd)
        os.umask(0o022)
        os.chdir(directory)
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
        try:
            case.function()
            code = 0
        except Exception as error:  # what a case did not foresee is part of what it saw
            print(f"{type(error).__name__}: {error}")
            code = 71
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        sys.stdout.flush()
        os._exit(code)


def _collect(reader: int, timeout: float) -> tuple[bytes, bool]:
    """Until every process of the case has closed its output."""
    output = b""
    deadline = time.monotonic() + timeout
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([reader], [], [], left)[0]:
            return output, True
        data = os.read(reader, READ)
        if not data:
            return output, False
        output += data


def main() -> None:
    directory, scratch, *names = sys.argv[1:]
    sys.path.insert(0, directory)
    for module in sorted({name.split("/")[0] for name in names}):
        importlib.import_module(module)
    os.makedirs(scratch, exist_ok=True)
    for name in names:
        sys.stdout.write(json.dumps(run(probe.registry[name], scratch)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
