"""Where machines' files are: vm/ in the store's root.

kernels/RELEASE/        unpacked by `pycontain vm setup`
unpacked/DIGEST.vmlinux kernels out of bzImages, by the digest of those
templates/KEY/          a template: ram, state, template.json
rootfs/KEY.erofs        root file systems by their layers
snapshots/TAG/          see snapshot.py
run/ID/                 a running machine: console
servers.lock            held by the servers of this store (leftovers.py)
accel.json              whether KVM works, and in which boot that was measured
"""

from __future__ import annotations

import os


def directory(root: str, *parts: str) -> str:
    """A directory below vm/, made where it is not there."""
    path = os.path.join(root, "vm", *parts)
    os.makedirs(path, mode=0o700, exist_ok=True)
    return path
