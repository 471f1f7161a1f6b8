"""What instances cost: memory as proportional set size, and disk."""

from __future__ import annotations

import os
import subprocess
from typing import Any

from pycontain.compare.subjects import CONTAINER, PODMAN, UML, Subject, pycontain
from pycontain.engine.engine import Engine
from pycontain.errors import MachineError
from pycontain.vm.uml.sharing import distinct
from pycontain.vm.usage import descendants, pss

DEADLINE = 60.0


def disk_use(path: str) -> int:
    """Bytes that a directory's files occupy."""
    total = 0
    for directory, _, files in os.walk(path):
        for name in files:
            try:
                total += os.lstat(os.path.join(directory, name)).st_blocks * 512
            except FileNotFoundError:
                pass
    return total


class Instances:
    """Instances of a subject that only wait. A context manager: none is left at the end."""

    def __init__(self, subject: Subject, directory: str) -> None:
        self._subject = subject
        self._directory = directory
        self._engine = Engine()
        self.names: list[str] = []

    def __enter__(self) -> Instances:
        return self

    def __exit__(self, *_: object) -> None:
        if self.names:
            remover = self._subject.command[0] if self._subject.kind == PODMAN else None
            argv = [remover, "rm", "-f", "-t", "0"] if remover else [*pycontain("rm", "-f")]
            subprocess.run([*argv, *self.names], capture_output=True, timeout=DEADLINE, check=False)

    def start(self, count: int) -> None:
        """That many more, side by side. MachineError."""
        argv = [word for word in self._subject.argv(self._directory, program="wait") if word != "--rm"]
        at = argv.index("run") + 1
        started = [
            subprocess.Popen([*argv[:at], "-d", *argv[at:]], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            for _ in range(count)
        ]
        problem = ""
        for process in started:
            out, errors = process.communicate(timeout=DEADLINE)
            if process.returncode:
                problem = errors.decode("utf-8", "replace").strip()
            else:
                self.names.append(out.decode().split()[-1])
        if problem:
            raise MachineError(problem)

    def memory(self) -> int:
        """Bytes of everything that runs for them."""
        pids = self._pids()
        return sum(map(pss, distinct(pids) if self._subject.kind == UML else pids))

    def disk(self) -> float:
        """Bytes on disk per instance."""
        total = 0
        for name in self.names:
            total += disk_use(os.path.join(self._engine.root, "containers", name))
            total += disk_use(os.path.join(self._engine.root, "vm", "run", name))
        return total / len(self.names)

    def _pids(self) -> list[int]:
        if self._subject.kind == PODMAN:
            return self._podman_pids()
        if self._subject.kind == CONTAINER:
            kernel: Any = Engine().kernel()
            pids = [int(kernel.status()["pid"])]
            return pids + [
                int(row["host_pid"]) for row in kernel.processes() if row["container"] in self.names
            ]
        machines: Any = self._engine.kernel(self._subject.kind)
        own = [int(row["pid"]) for row in machines.containers() if row["id"] in self.names]
        status = machines.status()
        shared = [] if self._subject.kind == UML else [int(pid) for pid in status.get("zygotes", ())]
        return [int(status["pid"]), *shared, *own, *descendants(own)]

    def _podman_pids(self) -> list[int]:
        argv = [
            self._subject.command[0],
            "inspect",
            "--format",
            "{{.State.Pid}} {{.State.ConmonPid}}",
            *self.names,
        ]
        done = subprocess.run(argv, capture_output=True, timeout=DEADLINE, check=True)
        return [int(word) for word in done.stdout.split()]
