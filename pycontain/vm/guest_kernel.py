"""The guest's kernel: where one is found, and what of it a machine needs.

Looked for in this order: $PYCONTAIN_KERNEL (its modules: $PYCONTAIN_KERNEL_MODULES, else /lib/modules/RELEASE);
what `pycontain vm setup` has unpacked (kernels/RELEASE/ in the machines' directory); /boot with /lib/modules.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from typing import NamedTuple

from pycontain.errors import MachineError
from pycontain.vm import module
from pycontain.vm.initrd import MODULES

HINT = "`pycontain vm setup` fetches one; or set PYCONTAIN_KERNEL to a vmlinuz"
_VERSION = re.compile(rb"(\d+\.\d+\.\d+[^\s\0]*) \(")


class GuestKernel(NamedTuple):
    """image: path of the bzImage; modules: directory of its modules; source: where it was found, for people."""

    image: str
    release: str
    modules: str
    source: str

    def load_modules(self, *, whole: bool = False) -> dict[str, bytes]:
        """name -> the module, of those that a machine uses and that are not built in. whole: see module.lean."""
        found = {}
        for directory, folders, files in os.walk(os.path.join(self.modules, "kernel")):
            folders.sort()
            for file in files:
                name = file.split(".ko")[0].replace("-", "_")
                if ".ko" in file and name in MODULES:
                    data = module.read(os.path.join(directory, file))
                    found[name] = data if whole else module.lean(data)
        return found

    def identity(self) -> str:
        """Changes when the kernel does."""
        info = os.stat(self.image)
        return hashlib.sha256(
            f"{self.image} {self.release} {info.st_size} {info.st_mtime_ns}".encode()
        ).hexdigest()


def find(directory: str) -> GuestKernel:
    """The kernel for new machines; directory: the machines' own. MachineError where there is none."""
    for kernel in candidates(directory):
        return kernel
    raise MachineError("find a guest kernel: there is none", hint=HINT)


def candidates(directory: str) -> Iterator[GuestKernel]:
    """All that can be used, the best first."""
    chosen = os.environ.get("PYCONTAIN_KERNEL")
    if chosen:
        release = release_of(chosen)
        modules = os.environ.get("PYCONTAIN_KERNEL_MODULES") or f"/lib/modules/{release}"
        yield GuestKernel(os.path.abspath(chosen), release, modules, "PYCONTAIN_KERNEL")
        return
    unpacked = os.path.join(directory, "kernels")
    for release in sorted(_names(unpacked), key=_order, reverse=True):
        image = os.path.join(unpacked, release, "vmlinuz")
        if os.access(image, os.R_OK):
            yield GuestKernel(
                image, release, os.path.join(unpacked, release, "modules"), "pycontain vm setup"
            )
    found = [n.removeprefix("vmlinuz-") for n in _names("/boot") if n.startswith("vmlinuz-")]
    # a cloud kernel is smaller and boots sooner
    for release in sorted(found, key=lambda r: ("cloud" in r or "virt" in r, _order(r)), reverse=True):
        image, modules = f"/boot/vmlinuz-{release}", f"/lib/modules/{release}"
        if os.access(image, os.R_OK) and os.path.isdir(modules):
            yield GuestKernel(image, release, modules, "/boot")


def release_of(image: str) -> str:
    """The release in a bzImage's header (Linux, Documentation/x86/boot.rst: kernel_version). MachineError."""
    try:
        with open(image, "rb") as file:
            head = file.read(1 << 16)
    except OSError as error:
        raise MachineError(f"read guest kernel {image}: {error.strerror}") from None
    if head[0x202:0x206] == b"HdrS":
        start = int.from_bytes(head[0x20E:0x210], "little") + 0x200
        return head[start : start + 200].split(b"\0")[0].split(b" ")[0].decode("ascii", "replace")
    match = _VERSION.search(head)
    if match is None:
        raise MachineError(f"read guest kernel {image}: it is no x86 bzImage")
    return match[1].decode("ascii", "replace")


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def _order(release: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", release)]
