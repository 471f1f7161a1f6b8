"""Podman beside ours: how it has to be called on this host, and the image given to it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from typing import NamedTuple

from pycontain.compare import probe
from pycontain.compare.subjects import DEADLINE, PODMAN, Subject, pycontain, run
from pycontain.errors import MachineError


class Way(NamedTuple):
    """Options before `run`, and behind it."""

    before: tuple[str, ...]
    behind: tuple[str, ...]


WAYS = (
    Way((), ()),
    Way((), ("--network=host",)),
    # inside a container without privileges: no systemd, and limits that cannot be raised
    Way(
        ("--runtime", "runc", "--cgroup-manager", "cgroupfs"),
        ("--network=host", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096"),
    ),
)
"""The first that works is measured; which one that was is part of the report."""


def find(image: str) -> Subject:
    """The subject. MachineError where podman is not installed, or runs the image in none of these ways."""
    program = shutil.which("podman")
    if program is None:
        raise MachineError("not installed")
    name = _load(program, image)
    with tempfile.TemporaryDirectory(prefix="pycontain-compare-") as directory:
        os.chmod(directory, 0o755)
        path = os.path.join(directory, "exit")
        with open(path, "wb") as file:
            file.write(probe.exiting())
        os.chmod(path, 0o755)
        problem = ""
        for way in WAYS:
            command = (program, *way.before, "run", "--rm", *way.behind)
            subject = Subject("podman", PODMAN, "", command, name)
            try:
                run(subject.argv(directory, program="exit"))
            except MachineError as error:
                problem = problem or error.message  # the plainest way's is the one to tell
            else:
                return subject
    raise MachineError(problem)


def _load(program: str, image: str) -> str:
    """Give podman the image; its name there."""
    saved = subprocess.Popen([*pycontain("save", image)], stdout=subprocess.PIPE)
    try:
        loaded = subprocess.run(
            [program, "load", "-q"], stdin=saved.stdout, capture_output=True, timeout=DEADLINE, check=False
        )
    finally:
        if saved.stdout is not None:
            saved.stdout.close()
        saved.wait(DEADLINE)
    text = loaded.stdout.decode("utf-8", "replace").strip()
    if loaded.returncode or ":" not in text:
        lines = loaded.stderr.decode("utf-8", "replace").strip().splitlines()
        raise MachineError(f"load the image: {lines[-1] if lines else 'it says nothing'}")
    return text.rpartition("Loaded image: ")[2] or text.split(": ", 1)[1]
