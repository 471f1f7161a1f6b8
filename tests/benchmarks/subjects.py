"""What is compared: pycontain on a store of its own, and podman on a storage of its own where there is one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from tests.benchmarks.measuring import command

BASE = "host/base"


class Ours:
    """The installed `pycontain` program (next to this Python), on a store below `directory`."""

    def __init__(self, directory: str) -> None:
        self.root = os.path.join(directory, "store")
        program = os.path.join(os.path.dirname(sys.executable), "pycontain")
        self.program = [program] if os.path.exists(program) else [sys.executable, "-m", "pycontain"]
        self.environment = {"PYCONTAIN_ROOT": self.root}
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # a user has compiled modules, after the first run

    def __call__(self, *words: str) -> str:
        """Run it, and give its output."""
        return command([*self.program, *words], self.environment)()

    def close(self) -> None:
        subprocess.run(
            [*self.program, "kernel", "stop"], env={**os.environ, **self.environment}, capture_output=True
        )


class Podman:
    """Debian's podman, called so that it works inside an unprivileged container too."""

    RUN = (
        *("run", "--rm", "--network=host", "--ulimit", "nofile=1024:1024"),
        *("--ulimit", "nproc=4096:4096"),
    )

    def __init__(self, directory: str) -> None:
        self.program = [
            *(
                "podman",
                "--root",
                os.path.join(directory, "podman"),
                "--runroot",
                os.path.join(directory, "run"),
            ),
            *("--runtime", "runc", "--cgroup-manager", "cgroupfs"),
        ]

    def __call__(self, *words: str) -> str:
        """Run it, and give its output."""
        return command([*self.program, *words])()

    def close(self) -> None:
        subprocess.run([*self.program, "system", "reset", "-f"], capture_output=True)


def podman(directory: str, archive: str) -> Podman | None:
    """Podman with the image of the archive in it, if it is here and works."""
    if shutil.which("podman") is None:
        return None
    peer = Podman(directory)
    try:
        peer("load", "-i", archive)
        peer(*Podman.RUN, f"docker.io/{BASE}", "true")
    except RuntimeError as error:
        print(f"podman is here, but does not work: {error}", file=sys.stderr)
        return None
    return peer
