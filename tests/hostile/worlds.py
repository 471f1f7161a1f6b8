"""Where attacks take place: a store with a kernel of its own, run by root or by an ordinary user.

A world has a directory on the host with
    secret      a file with a token; nothing that runs in a container may ever print it
    shared/     given to containers as /shared, for them to write to
    attack/     the programs of tests/hostile/programs, given to containers as /attack, compiled where they are C
"""

from __future__ import annotations

import os
import resource
import secrets
import shutil
import subprocess
import sys
from pathlib import Path

from command_line import CommandLine

USER = 61234  # an ordinary user, who owns nothing else
PROGRAMS_UID = 65534  # who the programs of a kernel run by root are
TASKS = 1000  # that the attacks may have at most, whatever becomes of the kernel under test: see bound()
PROGRAMS = Path(__file__).parent / "programs"


class BoundedCommandLine(CommandLine):
    """`pycontain` under a bound of processes: for it, the kernel that it starts, and all that runs there."""

    tasks = 0

    @property
    def program(self) -> list[str]:
        return ["prlimit", f"--nproc={self.tasks}:{self.tasks}", *self.unbounded]

    @property
    def unbounded(self) -> list[str]:
        return super().program


class UserCommandLine(BoundedCommandLine):
    """`pycontain` as another user calls it."""

    def __init__(self, root: str, python: str, wrapper: str = "") -> None:
        """wrapper: a program in Python that runs its arguments."""
        super().__init__(root)
        self._python = python
        self._wrapper = [python, wrapper] if wrapper else []

    @property
    def unbounded(self) -> list[str]:
        who = as_user() if os.geteuid() == 0 else []
        return [*who, *self._wrapper, self._python, "-m", "pycontain"]


def bound(uid: int) -> int:
    """How many processes a user may have who may have TASKS more than now.

    The bound is the host's (RLIMIT_NPROC) and inherited. It does not rest on anything that is tested here: an attack
    that goes wrong must not take the machine along.
    """
    present = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.stat(f"/proc/{pid}").st_uid == uid:
                present += len(os.listdir(f"/proc/{pid}/task"))
        except OSError:
            continue  # it has ended meanwhile
    hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    return present + TASKS if hard == resource.RLIM_INFINITY else min(present + TASKS, hard)


def as_user() -> list[str]:
    """The words that give up root for the rest of the command."""
    words = ["setpriv", "--reuid", str(USER), "--regid", str(USER), "--clear-groups", "--no-new-privs"]
    return [*words, "--bounding-set=-all", "env"]


def python_for_user() -> str | None:
    """An interpreter of our version that an ordinary user may run, with our packages; None if there is none."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": python_path()}
    for candidate in (os.path.realpath(sys.executable), f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        # twice: setpriv's own exec still has root's way through closed directories
        probe = [
            *as_user(),
            "sh",
            "-c",
            'exec "$0" -c "import pycontain, click, msgpack, zstandard"',
            candidate,
        ]
        try:
            if subprocess.run(probe, env=environment, capture_output=True, timeout=60).returncode == 0:
                return candidate
        except OSError:
            return None
    return None


def python_path() -> str:
    """Where this process has its packages, the repository first."""
    root = str(Path(__file__).parent.parent.parent)
    return os.pathsep.join([root, *(entry for entry in sys.path if entry.endswith("-packages"))])


class World:
    """See the module. name: "root", "user", or "bare": a user of a host without Landlock."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.directory = directory
        self.secret = secrets.token_hex(16)
        (directory / "secret").write_text(self.secret)
        for part in ("shared", "attack", "outside"):
            (directory / part).mkdir()
        self.shared = directory / "shared"
        self.outside = directory / "outside"  # not given to any container
        shutil.copytree(
            PROGRAMS, directory / "attack", dirs_exist_ok=True, ignore=shutil.ignore_patterns("__*")
        )
        root = str(directory / "store")
        wrapper = (
            shutil.copy(Path(__file__).parent / "without_landlock.py", directory) if name == "bare" else ""
        )
        if name != "root" and os.geteuid() == 0:
            python = python_for_user()
            assert python is not None
            self.cli: BoundedCommandLine = UserCommandLine(root, python, str(wrapper))
            self.cli.environment["PYTHONPATH"] = python_path()
            subprocess.run(["chown", "-R", f"{USER}:{USER}", str(directory)], check=True)
            self.uid = USER
        elif wrapper:
            self.cli = UserCommandLine(root, sys.executable, str(wrapper))
            self.uid = os.geteuid()
        else:
            self.cli = BoundedCommandLine(root)
            self.uid = os.geteuid()
        self.cli.environment["PYCONTAIN_RUNTIME_DIR"] = str(directory / "run")
        self.cli.environment["HOME"] = str(directory)
        self.cli.tasks = bound(PROGRAMS_UID if self.uid == 0 else self.uid)
        limits = self.cli("run", "--rm", "host/base", "cat", "/proc/self/limits").stdout
        found = next(line for line in limits.splitlines() if line.startswith("Max processes")).split()[2:4]
        assert found == [str(self.cli.tasks)] * 2, f"attacks are not bounded: {found}"

    def compiled(self, name: str) -> str:
        """The path inside of a program in C. Raises FileNotFoundError without a compiler."""
        source, target = self.directory / "attack" / f"{name}.c", self.directory / "attack" / name
        if not target.exists():
            subprocess.run(
                ["gcc", "-O1", "-static", "-pthread", "-w", "-o", str(target), str(source)],
                check=True,
                timeout=60,
            )
        return f"/attack/{name}"

    def run(
        self,
        *command: str,
        options: tuple[str, ...] = (),
        code: int | None = 0,
        stdin: bytes = b"",
        timeout: int = 240,
    ) -> str:
        """What a program in a fresh container printed. It must not know the secret, and the kernel must be well."""
        before = self.kernel_pid()
        words = [
            *(*self.cli.program, "run", "--rm", "-i"),
            *("-v", f"{self.shared}:/shared", "-v", f"{self.directory}/attack:/attack:ro"),
            *(*options, "host/base", *command),
        ]
        done = subprocess.run(
            words, env=self.cli.environment, input=stdin, capture_output=True, timeout=timeout, check=False
        )
        text = done.stdout.decode("utf-8", "replace") + done.stderr.decode("utf-8", "replace")
        escapes = [line for line in text.splitlines() if "ESCAPED" in line or self.secret in line]
        assert not escapes, "\n".join(escapes)
        assert code is None or done.returncode == code, f"{done.returncode}\n{text}"
        assert self.kernel_pid() == before, f"the kernel has gone\n{self.log()}"
        assert (self.directory / "secret").read_text() == self.secret
        assert list(self.outside.iterdir()) == []
        return text

    def attack(self, program: str, *words: str, options: tuple[str, ...] = (), timeout: int = 240) -> str:
        """Run a program in Python from tests/hostile/programs; each attempt in it prints a line."""
        return self.run("python3", f"/attack/{program}.py", *words, options=options, timeout=timeout)

    def kernel_pid(self) -> int:
        """The kernel's process, started if there is none."""
        for line in self.cli("kernel", "status").stdout.splitlines():
            if line.startswith("pid:"):
                return int(line.split()[1])
        self.cli("run", "--rm", "host/base", "true")
        return self.kernel_pid()

    def failures(self) -> str:
        """The kernel's count of calls that ended in an exception of ours."""
        lines = self.cli("kernel", "status").stdout.splitlines()
        return next(line.split(None, 1)[1] for line in lines if line.startswith("failures:"))

    def log(self) -> str:
        """The end of the kernel's log."""
        return "".join(path.read_text()[-20000:] for path in (self.directory / "run").glob("*/kernel.log"))

    def close(self) -> None:
        """End the kernel; it takes every container along."""
        self.cli("kernel", "stop")
        shutil.rmtree(self.directory, ignore_errors=True)
