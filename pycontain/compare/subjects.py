"""The ways to run an image that are compared, as command lines that a user would type."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from typing import NamedTuple

from pycontain.compare import probe
from pycontain.errors import MachineError, PycontainError

DEADLINE = 120.0
CONTAINER, MACHINE, UML, PODMAN, HOST = "container", "machine", "uml", "podman", "host"
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

    def argv(
        self, directory: str, *, program: str | None = None, command: list[str] | None = None
    ) -> list[str]:
        """program: a probe's file in `directory`, run instead of the image's own program."""
        if self.kind == HOST:
            return [os.path.join(directory, program)] if program else list(command or [])
        argv = list(self.command)
        for name, path in (("measure", probe.PATH), ("exit", probe.EXIT_PATH), ("wait", b"/.pycontain-wait")):
            if program is not None and (name == program or (program == "measure" and name == "exit")):
                argv += ["-v", f"{os.path.join(directory, name)}:{os.fsdecode(path)}:ro"]
        if program is not None:
            inside = {"measure": probe.PATH, "exit": probe.EXIT_PATH, "wait": b"/.pycontain-wait"}[program]
            return [*argv, "--entrypoint", os.fsdecode(inside), self.image]
        return [*argv, self.image, *(command or [])]


def pycontain(*words: str) -> tuple[str, ...]:
    """A command line of this very pycontain."""
    return (sys.executable, "-m", "pycontain", *words)


def subjects(image: str, *, machines: bool = True) -> tuple[list[Subject], list[str]]:
    """All that work here, and for the others one line each why not."""
    found = [
        Subject("host", HOST, "", (), ""),
        Subject("container", CONTAINER, "", pycontain("run", "--rm"), image),
    ]
    missing: list[str] = []
    if machines:
        _add_machines(image, found, missing)
        _add_uml(image, found, missing)
    podman = shutil.which("podman")
    if podman is None:
        missing.append("podman: not installed")
    else:
        try:
            found.append(
                Subject(
                    "podman",
                    PODMAN,
                    "",
                    (podman, "run", "--rm", "--network=host"),
                    _into_podman(podman, image),
                )
            )
        except (PycontainError, OSError, subprocess.SubprocessError) as error:
            missing.append(f"podman: {error}")
    return found, missing


def _add_machines(image: str, found: list[Subject], missing: list[str]) -> None:
    from pycontain.engine.engine import Engine
    from pycontain.vm import accel, guest_kernel, qemu
    from pycontain.vm.home import directory

    home = directory(Engine().root)
    try:
        qemu.find()
        guest_kernel.find(home)
    except PycontainError as error:
        missing.append(f"virtual machine: {error}")
    else:
        verdict = accel.remembered(home)
        kinds = ["kvm", "tcg"] if verdict.works else ["tcg"]
        if not verdict.works:
            missing.append(f"virtual machine with KVM: {verdict.reason}")
        for kind in kinds:
            command = pycontain("run", "--rm", "--runtime", "vm", "--vm-accel", kind)
            found.append(Subject(f"machine ({kind.upper()})", MACHINE, kind, command, image))


def _add_uml(image: str, found: list[Subject], missing: list[str]) -> None:
    from pycontain.vm.uml import program  # as the machines' above: only for a comparison

    try:
        program.find().load_modules()
    except PycontainError as error:
        missing.append(f"User-Mode Linux: {error}")
    else:
        found.append(Subject("User-Mode Linux", UML, "", pycontain("run", "--rm", "--runtime", "uml"), image))


def _into_podman(podman: str, image: str) -> str:
    """Give podman the image; its name there."""
    saved = subprocess.Popen([*pycontain("save", image)], stdout=subprocess.PIPE)
    try:
        loaded = subprocess.run(
            [podman, "load", "-q"], stdin=saved.stdout, capture_output=True, timeout=DEADLINE, check=False
        )
    finally:
        if saved.stdout is not None:
            saved.stdout.close()
        saved.wait(DEADLINE)
    text = loaded.stdout.decode("utf-8", "replace").strip()
    if loaded.returncode or ":" not in text:
        raise MachineError(
            f"load the image: {loaded.stderr.decode('utf-8', 'replace').strip().splitlines()[-1:]}"
        )
    name = text.rpartition("Loaded image: ")[2] or text.split(": ", 1)[1]
    return name


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
