"""User-Mode Linux: found, its modules, its command line and its initial ramdisk as plain data."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import NamedTuple

from pycontain.errors import MachineError
from pycontain.vm import initrd

PROGRAM = "linux.uml"
HINT = "on Debian: apt install user-mode-linux; or set PYCONTAIN_UML"
MODULES = "/usr/lib/uml/modules"
EARLY_MODULES = ("virtio_ring", "virtio", "virtio_console")
LATE_MODULES = ("libcrc32c", "erofs", "overlay", "fuse")
NEEDED = ("erofs", "overlay", "virtio_console")
DIRECTORY_FD, INITRD_FD, DISK_FD, LIBRARY_FD, PROGRAM_FD = 20, 21, 22, 23, 24
"""In the program: the machine's directory (for sockets), the ramdisk, the root file system, the library of preload.py,
the program itself. By number, since its options know no quoting (a path may have commas, colons or blanks), and since
it may not have the right to walk there."""
SOCKET = "console"
"""The name, in the machine's directory, of the socket that the guest's console device is behind."""

QUICK = ("lpj=10000000", "initcall_blacklist=raid6_select_algo", "pty.legacy_count=0")
"""Of 1.2 s of a boot, 0.2 go into measuring a delay loop, 0.85 into measuring which way of computing RAID 6 is the
quickest, and 0.1 into 512 terminals of a kind that nothing opens. A guest has no disks for RAID, and nothing in it
delays by a loop."""


class Program(NamedTuple):
    """path; release of its kernel, "6.1.176"; modules: their directory; source: how it was found, for people."""

    path: str
    release: str
    modules: str
    source: str

    def load_modules(self) -> dict[str, bytes]:
        """name -> the module, of those that a machine uses and that are not built in. MachineError."""
        found = {}
        for directory, _, files in os.walk(os.path.join(self.modules, "kernel")):
            for file in files:
                name = file.removesuffix(".ko").replace("-", "_")
                if file.endswith(".ko") and name in EARLY_MODULES + LATE_MODULES:
                    with open(os.path.join(directory, file), "rb") as module:
                        found[name] = module.read()
        missing = [name for name in NEEDED if name not in found and name not in self._built_in()]
        if missing:
            raise MachineError(
                f"start User-Mode Linux: {', '.join(missing)} not below {self.modules}",
                hint="set PYCONTAIN_UML_MODULES",
            )
        return found

    def _built_in(self) -> set[str]:
        try:
            with open(
                os.path.join(self.modules, "modules.builtin"), encoding="ascii", errors="replace"
            ) as file:
                return {os.path.basename(line.strip()).removesuffix(".ko").replace("-", "_") for line in file}
        except OSError:
            return set()


def find() -> Program:
    """A User-Mode Linux that really executes. MachineError where there is none."""
    chosen = os.environ.get("PYCONTAIN_UML")
    path = chosen or shutil.which(PROGRAM)
    if path is None:
        raise MachineError(f"find User-Mode Linux: there is no {PROGRAM}", hint=HINT)
    release = release_of(path)
    if release is None:
        raise MachineError(
            f"find User-Mode Linux: {path} cannot be executed, or is another program", hint=HINT
        )
    modules = os.environ.get("PYCONTAIN_UML_MODULES") or os.path.join(MODULES, release)
    return Program(os.path.abspath(path), release, modules, "PYCONTAIN_UML" if chosen else "PATH")


def release_of(path: str) -> str | None:
    """The kernel release that it prints; None where it does not run here."""
    try:
        done = subprocess.run([path, "--version"], capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    words = done.stdout.decode("ascii", "replace").split()
    return words[-1] if not done.returncode and len(words) == 1 and words[0][0].isdigit() else None


def ramdisk(modules: dict[str, bytes]) -> bytes:
    """The initial ramdisk: the agent, as in any machine, and these modules."""
    return initrd.build(modules, early=EARLY_MODULES)


def command_line(path: str, memory: int) -> list[str]:
    """Its arguments. memory: MiB. The console goes to standard output; no other line of its goes anywhere; the guest
    can mount no directory of the host (below /dev/null there is none)."""
    directory = f"/proc/self/fd/{DIRECTORY_FD}"
    return [
        path,
        f"mem={memory}M",
        f"initrd=/proc/self/fd/{INITRD_FD}",
        "rdinit=/init",
        f"ubd0r=/proc/self/fd/{DISK_FD}",
        f"virtio_uml.device={directory}/{SOCKET}:3",
        "hostfs=/dev/null",
        f"uml_dir={directory}/", "umid=uml",
        "con=null", "con0=null,fd:1", "ssl=null", "console=tty0",
        "quiet", "loglevel=4", "panic=-1", "noreboot", "random.trust_cpu=on",
        "rcupdate.rcu_expedited=1", "rcupdate.rcu_normal_after_boot=0",
        *QUICK,
    ]  # fmt: skip
