"""Which ways to run an image there are on this host."""

from __future__ import annotations

import subprocess
from collections.abc import Collection

from pycontain.compare import podman
from pycontain.compare.subjects import CONTAINER, HOST, KINDS, MACHINE, PODMAN, UML, Subject, pycontain
from pycontain.engine.engine import Engine
from pycontain.errors import PycontainError
from pycontain.vm import accel, guest_kernel, qemu
from pycontain.vm.home import directory
from pycontain.vm.uml import program


def find(image: str, kinds: Collection[str] = KINDS) -> tuple[list[Subject], list[str]]:
    """All of these kinds that work here, and for the others one line each why not."""
    found: list[Subject] = []
    missing: list[str] = []
    if HOST in kinds:
        found.append(Subject("host", HOST, "", (), ""))
    if CONTAINER in kinds:
        found.append(Subject("container", CONTAINER, "", pycontain("run", "--rm"), image))
    if MACHINE in kinds:
        _add_machines(image, found, missing)
    if UML in kinds:
        _add_uml(image, found, missing)
    if PODMAN in kinds:
        _add_podman(image, found, missing)
    return found, missing


def _add_machines(image: str, found: list[Subject], missing: list[str]) -> None:
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
    try:
        program.find().load_modules()
    except PycontainError as error:
        missing.append(f"User-Mode Linux: {error}")
    else:
        found.append(Subject("User-Mode Linux", UML, "", pycontain("run", "--rm", "--runtime", "uml"), image))


def _add_podman(image: str, found: list[Subject], missing: list[str]) -> None:
    try:
        found.append(podman.find(image))
    except (PycontainError, OSError, subprocess.SubprocessError) as error:
        missing.append(f"podman: {error}")
