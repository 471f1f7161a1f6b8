"""What the tests of virtual machines share: one store and one template for the whole run."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import tarfile
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pycontain.errors import PycontainError
from pycontain.vm import guest_kernel, qemu, zygote

BUSYBOX = "/bin/busybox"
TOOLS = [
    "sh",
    "cat",
    "ls",
    "uname",
    "true",
    "sleep",
    "echo",
    "mkdir",
    "rm",
    "ln",
    "stty",
    "tty",
    "kill",
    "dd",
    "head",
    "hostname",
    "id",
    "httpd",
    "reboot",
    "seq",
    "wc",
]


def missing() -> str | None:
    """Why virtual machines cannot be tested here."""
    try:
        qemu.find()
        guest_kernel.find("/nonexistent")
    except PycontainError as error:
        return str(error)
    if not os.path.exists(BUSYBOX):
        return "busybox-static is not installed"
    return None


class Pycontain:
    """The command line, with a store of its own."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "root"
        self.env = {
            **os.environ,
            "PYCONTAIN_ROOT": str(self.root),
            "PYCONTAIN_RUNTIME_DIR": str(directory / "run"),
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }
        (directory / "run").mkdir(parents=True)
        archive = directory / "image.tar"
        with tarfile.open(archive, "w") as tar:
            for name in ("bin", "etc", "tmp", "www"):
                info = tarfile.TarInfo(name)
                info.type, info.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
                tar.addfile(info)
            tar.add(BUSYBOX, "bin/busybox")
            for name in TOOLS:
                info = tarfile.TarInfo(f"bin/{name}")
                info.type, info.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(info)
        self("import", str(archive), "box", check=True)

    def __call__(
        self, *words: str, input: bytes | None = None, check: bool = False, timeout: float = 90
    ) -> subprocess.CompletedProcess[bytes]:
        argv = [sys.executable, "-m", "pycontain", *words]
        done = subprocess.run(
            argv, env=self.env, input=input, capture_output=True, timeout=timeout, check=False
        )
        if check:
            assert done.returncode == 0, done.stderr.decode()
        return done

    def vm(self, *words: str, **more: object) -> subprocess.CompletedProcess[bytes]:
        return self("run", "--runtime", "vm", *words, **more)  # type: ignore[arg-type]

    def machines(self) -> list[int]:
        """The process ids of the QEMUs of this store that are machines."""
        return [pid for pid in self.processes() if not is_zygote(pid)]

    def zygotes(self) -> list[int]:
        """Of those that machines are forked of."""
        return [pid for pid in self.processes() if is_zygote(pid)]

    def processes(self) -> list[int]:
        """Of all QEMUs of this store."""
        found = []
        for name in os.listdir("/proc"):
            if name.isdigit():
                try:
                    line = Path(f"/proc/{name}/cmdline").read_bytes()
                except OSError:
                    continue
                if (
                    line.startswith(b"/")
                    and b"qemu" in line.split(b"\0")[0]
                    and str(self.root).encode() in line
                ):
                    found.append(int(name))
        return found

    def server(self) -> int:
        """The machines' server's process id."""
        from pycontain.engine.engine import Engine

        os.environ["PYCONTAIN_RUNTIME_DIR"] = self.env["PYCONTAIN_RUNTIME_DIR"]
        try:
            return int(Engine(str(self.root)).kernel("vm").status()["pid"])
        finally:
            del os.environ["PYCONTAIN_RUNTIME_DIR"]

    def end(self) -> None:
        """Nothing of ours runs on."""
        from pycontain.kernel.control import KernelClient
        from pycontain.vm.client import MachineClient

        os.environ["PYCONTAIN_RUNTIME_DIR"] = self.env["PYCONTAIN_RUNTIME_DIR"]
        try:
            for kind in (MachineClient, KernelClient):
                client = kind.connect(str(self.root), start=False)
                if client is not None:
                    client.shutdown()
        finally:
            del os.environ["PYCONTAIN_RUNTIME_DIR"]


def is_zygote(pid: int) -> bool:
    """Whether machines are forked of it (vm/zygote.py)."""
    try:
        return Path(f"/proc/{pid}/comm").read_text() == f"{zygote.NAME}\n"
    except OSError:
        return False


def skip_without_machines() -> None:
    """For a module's fixtures."""
    reason = missing()
    if reason is not None:
        pytest.skip(reason)


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def terminal_follows_its_size(pc: Pycontain, runtime: str) -> None:
    """A shell in a terminal of a machine: the size it sees, before and after a change, and its exit code."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("<4H", 33, 77, 0, 0))
    argv = [sys.executable, "-m", "pycontain", "run", "--rm", "-it", "--runtime", runtime, "box", "sh"]
    process = subprocess.Popen(
        argv, env=pc.env, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
    )
    os.close(slave)
    seen = bytearray()
    os.set_blocking(master, False)

    def shows(words: bytes) -> bool:
        try:
            seen.extend(os.read(master, 65536))
        except (BlockingIOError, OSError):
            pass
        return words in seen

    until(lambda: shows(b"# "))
    os.write(master, b"stty size\n")
    until(lambda: shows(b"33 77"))
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("<4H", 20, 50, 0, 0))
    process.send_signal(signal.SIGWINCH)

    def resized() -> bool:
        os.write(master, b"stty size\n")
        time.sleep(0.1)
        return shows(b"20 50")

    until(resized)
    os.write(master, b"exit 9\n")
    until(lambda: (shows(b"never"), process.poll() is not None)[1])
    assert process.returncode == 9
    os.close(master)
