"""`pycontain` as a user calls it, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


class CommandLine:
    """`pycontain` as a user calls it, on one store."""

    def __init__(self, root: str) -> None:
        self.environment = {**os.environ, "PYCONTAIN_ROOT": root}

    @property
    def program(self) -> list[str]:
        """The words before the verb."""
        return [sys.executable, "-m", "pycontain"]

    def __call__(
        self,
        *words: str | Path,
        code: int = 0,
        stdin: str | bytes = b"",
        env: dict[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run it to its end, and check its exit code."""
        data = stdin.encode() if isinstance(stdin, str) else stdin
        done = subprocess.run(
            [*self.program, *map(str, words)],
            env={**self.environment, **(env or {})},
            input=data,
            capture_output=True,
            timeout=120,
        )
        out, err = done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")
        assert done.returncode == code, f"{words}: {done.returncode}\n{out}{err}"
        return subprocess.CompletedProcess(done.args, done.returncode, out, err)

    def spawn(self, *words: str, **options: object) -> subprocess.Popen[bytes]:
        """Start it."""
        return subprocess.Popen([*self.program, *words], env=self.environment, **options)  # type: ignore[call-overload,no-any-return]
