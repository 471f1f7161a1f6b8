"""Users of the host who run pycontain: root, and one who has nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

from command_line import CommandLine

NOBODY = 65534
DROPPED = [
    "--reuid",
    str(NOBODY),
    "--regid",
    str(NOBODY),
    "--clear-groups",
    "--no-new-privs",
    "--bounding-set=-all",
]
PROJECT = Path(__file__).parents[3]


class DebianUser(CommandLine):
    """The command line of one user, with the image "debian" in its store."""

    IMAGE = "debian:test"

    def __init__(self, root: Path, name: str) -> None:
        super().__init__(str(root))
        self.name = name
        self.words = [sys.executable, "-m", "pycontain"]
        if name == "nobody":
            self.words = _nobody_s_words(self.environment)
            self.environment["HOME"] = str(root)
            self.environment.pop("XDG_RUNTIME_DIR", None)

    @property
    def program(self) -> list[str]:
        return self.words

    def sh(
        self,
        script: str,
        *options: str,
        code: int = 0,
        stdin: str = "",
        timeout: float = 120,
        shell: str = "sh",
    ) -> str:
        """What a script prints, both streams, in a new container of Debian. options: of `pycontain run`."""
        done = subprocess.run(
            [*self.program, "run", "--rm", "-i", *options, self.IMAGE, shell, "-c", "exec 2>&1\n" + script],
            env=self.environment,
            input=stdin.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
        )
        out = done.stdout.decode("utf-8", "replace")
        assert done.returncode == code, f"exit code {done.returncode}:\n{out[-8000:]}"
        return out

    def failures(self) -> str:
        """What the kernel has counted: unknown calls and errors of its own."""
        lines = self("kernel", "status").stdout.splitlines()
        return "\n".join(line for line in lines if line.startswith(("unknown calls:", "failures:")))


def _nobody_s_words(environment: dict[str, str]) -> list[str]:
    """pycontain run by nobody: with a Python that nobody can reach. Raises LookupError."""
    environment["PYTHONPATH"] = f"{sysconfig.get_path('purelib')}:{PROJECT}"
    reason = b""
    for python in (sys.executable, "/usr/bin/python3"):
        words = ["setpriv", *DROPPED, "env", python]  # setpriv itself still may open what root may
        tried = subprocess.run(
            [*words, "-c", "import pycontain.cli, zstandard, msgpack"],
            env=environment,
            cwd="/",
            capture_output=True,
            check=False,
        )
        if tried.returncode == 0:
            return [*words, "-m", "pycontain"]
        reason = tried.stderr
    raise LookupError(f"no Python for nobody: {os.fsdecode(reason).strip()[-200:]}")
