"""What a server that was killed has left: files of its machines, which died with it, and half a snapshot."""

from __future__ import annotations

import fcntl
import os
import shutil

from pycontain.vm.home import directory


def claim(root: str) -> int:
    """Remove such things, unless another server runs on this store (it has another runtime directory, then). The
    descriptor that is returned tells other servers that this one does, for as long as it is open."""
    place = directory(root)
    lock = os.open(os.path.join(place, "servers.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pass
    else:
        _remove(os.path.join(place, "run"), "")
        _remove(os.path.join(place, "snapshots"), "~")
    fcntl.flock(lock, fcntl.LOCK_SH)
    return lock


def _remove(folder: str, mark: str) -> None:
    """Everything in a directory whose name has that mark."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return
    for name in names:
        if mark in name:
            shutil.rmtree(os.path.join(folder, name), ignore_errors=True)
