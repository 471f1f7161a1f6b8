"""Snapshots moved between hosts: a tar of the snapshot's files, and of the image that the container is made of."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from collections.abc import Callable
from typing import IO, TYPE_CHECKING

from pycontain.errors import Conflict, MachineError
from pycontain.vm.home import directory
from pycontain.vm.snapshot import FORMAT, place, read, shared

if TYPE_CHECKING:
    from pycontain.store import Store

MEMBERS = ("snapshot.json", "state", "disk")
IMAGE = "image.tar"


def export(store: Store, tag: str, out: IO[bytes]) -> None:
    """Write the snapshot as an uncompressed tar. Its image goes along, so that diff and commit work there, too."""
    from pycontain.store.archive import save

    kept = read(store.root, tag)
    source = place(store.root, tag)
    with store.tmp_dir("export") as scratch, tarfile.open(fileobj=out, mode="w|") as tar:
        for name in MEMBERS:
            tar.add(os.path.join(source, name), name, filter=_plain)
        if os.path.isdir(os.path.join(source, "base")):
            tar.add(os.path.join(source, "base"), "base", filter=_plain)
        path = os.path.join(scratch, IMAGE)
        with open(path, "wb") as file:
            write: Callable[[bytes], object] = file.write
            save(store, [kept["record"]["ImageName"]], write)
        tar.add(path, IMAGE, filter=_plain)


def take_in(store: Store, source: IO[bytes], tag: str | None = None, *, shares: bool = False) -> str:
    """Read such a tar; the name of the snapshot that is there now (tag, or the container's name).

    shares: the machine may have those of the host's directories that it had where it was saved. Who made the tar chose
    them."""
    from pycontain.store.archive import load

    with store.tmp_dir("import") as scratch:
        try:
            _extract(source, scratch)
        except tarfile.TarError as error:
            raise MachineError(f"import a snapshot: this is no complete tar ({error})") from None
        try:
            with open(os.path.join(scratch, "snapshot.json"), encoding="utf-8") as file:
                kept = json.load(file)
            sources = shared(kept) if kept["format"] == FORMAT else []
            name = tag or str(kept["record"]["Name"])
        except (FileNotFoundError, LookupError, TypeError, ValueError, AttributeError):
            raise MachineError("import a snapshot: this is none") from None
        if kept["format"] != FORMAT:
            raise MachineError("import a snapshot: it is of another version of pycontain")
        if sources and not shares:
            raise MachineError(
                f"import snapshot {name}: its machine would share {', '.join(sources)} of this host",
                hint="--shares allows that",
            )
        for member in MEMBERS:
            if not os.path.isfile(os.path.join(scratch, member)):
                raise MachineError(f"import a snapshot: {member} is missing")
        image = os.path.join(scratch, IMAGE)
        if os.path.exists(image):
            with open(image, "rb") as file:
                load(store, file)
            os.unlink(image)
        target = place(store.root, name)
        if os.path.exists(target):
            raise Conflict(
                f"import snapshot {name}: there is one of that name", hint="give it another one with --tag"
            )
        directory(store.root, "snapshots")
        moved = os.path.join(scratch, "..", f"snapshot-{os.getpid()}")
        os.rename(scratch, moved)
        os.makedirs(scratch)  # for tmp_dir to remove
        try:
            os.rename(moved, target)
        except OSError as error:
            shutil.rmtree(moved, ignore_errors=True)
            raise MachineError(f"import snapshot {name}: {error.strerror}") from None
    return name


def _extract(source: IO[bytes], scratch: str) -> None:
    with tarfile.open(fileobj=source, mode="r|*") as tar:
        for member in tar:
            parts = member.name.split("/")
            if (
                not (member.isreg() or member.isdir())
                or ".." in parts
                or parts[0] not in (*MEMBERS, IMAGE, "base")
            ):
                raise MachineError(f"import a snapshot: {member.name} does not belong into one")
            tar.extract(member, scratch, filter="data")


def _plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    return info
