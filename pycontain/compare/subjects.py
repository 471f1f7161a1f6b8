"""The ways to run an image that are compared, as command lines that a user would type."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import NamedTuple

from pycontain.compare import probe
from pycontain.errors import MachineError

DEADLINE = 120.0
CONTAINER, MACHINE, UML, PODMAN, HOST = "container", "machine", "uml", "podman", "host"
KINDS = (HOST, CONTAINER, MACHINE, UML, PODMAN)
BOUNDARY = {
    HOST: "none: the program is a process of the host",
    CONTAINER: "pycontain's kernel in Python, in front of the host's system calls (seccomp)",
    MACHINE: "a virtual CPU and devices: QEMU, with a Linux kernel of the guest's own",
    UML: "a Linux kernel as a process of the host, which follows the guest by ptrace",
    PODMAN: "the host's kernel: namespaces, cgroups, seccomp",
}


class Subject(NamedTuple):
    """name: for people; kind: one of the constants above; accel: of machines; command: what comes before
    options of ours, the image and the program."""

    name: str
    kind: str
    accel: str
    command: tuple[str, ...]
    image: str

    @property
    def shown(self) -> str:
        """What a person would type."""
        words = [*self.command, self.image]
        if words[:3] == list(pycontain()):
            words[:3] = ["pycontain"]
        elif self.command:
            words[0] = os.path.basename(words[0])
        return " ".join(words).strip()

    def argv(
        self, directory: str, *, program: str | None = None, command: list[str] | None = None
    ) -> list[str]:
        """program: a probe's file in `directory`, run instead of the image's own program."""
        if self.kind == HOST:
            return [os.path.join(directory, program)] if program else list(command or [])
        argv = list(self.command)
        for name, path in probe.INSIDE.items():
            if program is not None and (name == program or (program == "measure" and name == "exit")):
                argv += ["-v", f"{os.path.join(directory, name)}:{os.fsdecode(path)}:ro"]
        if program is not None:
            return [*argv, "--entrypoint", os.fsdecode(probe.INSIDE[program]), self.image]
        return [*argv, self.image, *(command or [])]


def pycontain(*words: str) -> tuple[str, ...]:
    """A command line of this very pycontain."""
    return (sys.executable, "-m", "pycontain", *words)


class Run(NamedTuple):
    """Seconds until the first byte of output (of the whole run where there is none), and until the end."""

    first: float
    whole: float
    output: bytes


def run(argv: list[str], *, check: bool = True) -> Run:
    """Run to the end. MachineError where it fails or takes too long."""
    begun = time.perf_counter()
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    with process.stdout, process.stderr:
        first_bytes = os.read(process.stdout.fileno(), 65536)
        first = time.perf_counter() - begun
        try:
            rest, errors = process.communicate(timeout=DEADLINE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise MachineError(f"run {' '.join(argv[:8])}: not over after {DEADLINE:g} s") from None
    whole = time.perf_counter() - begun
    if check and process.returncode:
        lines = errors.decode("utf-8", "replace").strip().splitlines()
        raise MachineError(lines[-1] if lines else f"exit code {process.returncode}")
    return Run(first if first_bytes else whole, whole, first_bytes + rest)
