"""Make a host ready for machines, and explain what is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from typing import NamedTuple

from pycontain.errors import MachineError, PycontainError
from pycontain.vm import accel, deb, guest_kernel, qemu
from pycontain.vm.home import directory
from pycontain.vm.initrd import MODULES

PACKAGE = "linux-image-cloud-amd64"


class Finding(NamedTuple):
    """One line of `vm check`. good: True, False, or None for something that one can do without."""

    good: bool | None
    what: str
    text: str


def check(root: str) -> list[Finding]:
    """What there is and what is missing."""
    home = directory(root)
    found = []
    try:
        program = qemu.find()
        found.append(Finding(True, "QEMU", f"{program.version}, {program.path} ({program.source})"))
    except PycontainError as error:
        found.append(Finding(False, "QEMU", f"{error.message.removeprefix('find QEMU: ')} ({qemu.REMEDY})"))
    try:
        kernel = guest_kernel.find(home)
        found.append(Finding(True, "guest kernel", f"{kernel.release}, {kernel.image} ({kernel.source})"))
        modules = kernel.load_modules()
        missing = [
            name for name in ("erofs", "overlay", "virtio_blk", "virtio_console") if name not in modules
        ]
        if missing:
            found.append(
                Finding(
                    None, "modules", f"not below {kernel.modules}: {', '.join(missing)}; built in, or missing"
                )
            )
        else:
            found.append(Finding(True, "modules", f"{len(modules)} below {kernel.modules}"))
    except PycontainError as error:
        found.append(Finding(False, "guest kernel", str(error)))
    verdict = accel.remembered(home)
    text = (
        verdict.reason
        if verdict.works
        else f"no ({verdict.reason}): guests run under TCG, 5 to 15 times slower"
    )
    found.append(Finding(True if verdict.works else None, "KVM", text))
    found.append(_user_mode_linux())
    return found


def _user_mode_linux() -> Finding:
    """Of its own: nothing else needs it, and it needs nothing else."""
    from pycontain.vm.uml import program  # only here

    try:
        uml = program.find()
        uml.load_modules()
    except PycontainError as error:
        return Finding(None, "User-Mode Linux", str(error))
    return Finding(True, "User-Mode Linux", f"{uml.release}, {uml.path}: pycontain run --runtime uml IMAGE")


def set_up(root: str, say: Callable[[str], object]) -> None:
    """Find QEMU, find or fetch a kernel. MachineError that says what a person has to do."""
    home = directory(root)
    program = qemu.find()
    say(f"QEMU {program.version}: {program.path}")
    try:
        kernel = guest_kernel.find(home)
        say(f"guest kernel {kernel.release}: {kernel.image} ({kernel.source})")
    except MachineError:
        say("no guest kernel here: asking apt for Debian's cloud kernel")
        release = fetch_kernel(home, say)
        say(f"guest kernel {release}: unpacked below {home}/kernels")
    verdict = accel.remembered(home)
    say(f"KVM: {verdict.reason}" + ("" if verdict.works else "; machines use TCG"))


def fetch_kernel(home: str, say: Callable[[str], object]) -> str:
    """Download Debian's kernel package with the host's own apt and unpack what machines need; its release."""
    apt, cache = shutil.which("apt-get"), shutil.which("apt-cache")
    if apt is None or cache is None:
        raise MachineError(
            "fetch a guest kernel: there is no apt here", hint="set PYCONTAIN_KERNEL to a vmlinuz"
        )
    name = _real_package(cache)
    with tempfile.TemporaryDirectory(dir=home) as scratch:
        say(f"apt-get download {name}")
        done = subprocess.run(
            [apt, "download", name], cwd=scratch, capture_output=True, timeout=600, check=False
        )
        packages = [f for f in os.listdir(scratch) if f.endswith(".deb")]
        if done.returncode or not packages:
            lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
            raise MachineError(
                f"fetch {name}: {lines[-1] if lines else 'apt gave nothing'}", hint="try apt-get update"
            )
        return unpack_kernel(home, os.path.join(scratch, packages[0]))


def unpack_kernel(home: str, package: str) -> str:
    """Unpack a kernel package's kernel and the modules that machines use; its release."""
    releases = []
    with tempfile.TemporaryDirectory(dir=home) as scratch:

        def wanted(path: str) -> str | None:
            if path.startswith("boot/vmlinuz-"):
                releases.append(path.removeprefix("boot/vmlinuz-"))
                return os.path.join(scratch, "kernel", "vmlinuz")
            folder, _, name = path.rpartition("/")
            if (
                "/modules/" in folder + "/"
                and name.split(".ko")[0].replace("-", "_") in MODULES
                and ".ko" in name
            ):
                return os.path.join(scratch, "kernel", "modules", "kernel", name)
            return None

        deb.unpack(package, wanted)
        if not releases:
            raise MachineError(f"unpack {os.path.basename(package)}: there is no kernel in it")
        target = os.path.join(home, "kernels", releases[0])
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.rmtree(target, ignore_errors=True)
        os.rename(os.path.join(scratch, "kernel"), target)
    return releases[0]


def _real_package(cache: str) -> str:
    """The package with the kernel that the meta package depends on."""
    done = subprocess.run([cache, "depends", PACKAGE], capture_output=True, timeout=60, check=False)
    for line in done.stdout.decode("utf-8", "replace").splitlines():
        kind, _, name = line.strip().partition(": ")
        if kind == "Depends" and name.startswith("linux-image-"):
            return name
    raise MachineError(f"fetch a guest kernel: apt does not know {PACKAGE}", hint="try apt-get update")
