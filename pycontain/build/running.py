"""RUN: one program on the emulated kernel, on top of the layers so far; what it changed becomes a layer."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from pycontain.build.steps import RunStep
from pycontain.errors import BuildError

HOSTNAME = "buildsandbox"
HOST_FILES = ("hosts", "resolv.conf")


class Session(Protocol):
    """A program that the kernel runs (pycontain.kernel.control.Session)."""

    def run(self, on_output: Callable[[int, bytes], None]) -> int: ...

    def signal(self, signum: int) -> None: ...


class Kernel(Protocol):
    """The part of the kernel's client that RUN needs (pycontain.kernel.control.KernelClient)."""

    def start(self, spec: dict[str, Any], stdin: int | None = None) -> Session: ...


class StepFailed(BuildError):
    """A RUN ended with something else than 0. `docker build` ends with 1 then, whatever the code."""

    exit_code = 1


def run(
    kernel: Kernel,
    step: RunStep,
    layers: Sequence[str],
    directory: str,
    on_output: Callable[[int, bytes], None],
    *,
    shm_size: int = 0,
) -> int:
    """Run a step to its end; returns its exit code, 128+n after a signal.

    layers: diff_ids, bottom first. directory: an empty one of the host; the kernel leaves the journal and the
    files of the new layer there. shm_size: bytes of /dev/shm, 0 for the default. Ctrl-C ends the program, then raises KeyboardInterrupt.
    """
    mounts = host_files(directory)
    if step.script is not None:
        mounts.append(script(directory, step.arguments[0], step.script))
    spec: dict[str, Any] = {
        "id": os.urandom(32).hex(),
        "layers": list(layers),
        "directory": directory,
        "args": [os.fsencode(word) for word in step.arguments],
        "env": [os.fsencode(item) for item in step.environment],
        "cwd": os.fsencode(step.directory),
        "user": step.user,
        "groups": [],
        "hostname": HOSTNAME,
        "terminal": False,
        "stdin": False,
        "read_only": False,
        "mounts": mounts,
        "shm_size": shm_size,
        "remove": False,
        "journal": True,
        "log": False,
        "attach": True,
    }
    session = kernel.start(spec)
    try:
        return session.run(on_output)
    except KeyboardInterrupt:
        session.signal(9)
        session.run(lambda stream, data: None)
        raise


def host_files(directory: str) -> list[dict[str, Any]]:
    """Mounts of copies of the host's name service files: a RUN uses the host's network."""
    mounts = []
    for name in HOST_FILES:
        try:
            with open(f"/etc/{name}", "rb") as file:
                text = file.read()
        except OSError:
            continue  # a host without one: the image's own counts
        path = os.path.join(directory, name)
        with open(path, "wb") as file:
            file.write(text)
        mounts.append({"type": "bind", "source": path, "target": f"/etc/{name}", "read_only": False})
    return mounts


def script(directory: str, target: str, text: str) -> dict[str, Any]:
    """The mount of a heredoc that begins with #!."""
    path = os.path.join(directory, "script")
    with open(path, "w", encoding="utf-8", newline="") as file:
        file.write(text)
    os.chmod(path, 0o755)
    return {"type": "bind", "source": path, "target": target, "read_only": True}
