"""A container's directory, containers/<id>/: create it, find it, list all, remove it.

config.json is ours and is written once (rename and commit apart): Id, Name, Created (RFC 3339), Image
(config digest), ImageName (as the user gave it), Path, Args, Config, HostConfig (Docker's names) and
Spec, what the kernel is asked to run (engine.spec). state.json, log, journal and files/ are the kernel's.
"""

from __future__ import annotations

import os
import time

from pycontain.engine import clock, jsontext, names
from pycontain.errors import Conflict, ContainerError, NotFound, StoreError
from pycontain.unionfs.spread import spread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pycontain.engine.engine import Engine

_HEX = frozenset("0123456789abcdef")


class Container:
    """One container. record: config.json's object."""

    __slots__ = ("directory", "id", "record")

    def __init__(self, container_id: str, directory: str, record: dict[str, Any]) -> None:
        self.id = container_id
        self.directory = directory
        self.record = record

    @property
    def name(self) -> str:
        """Without a slash."""
        return str(self.record["Name"])

    @property
    def spec(self) -> dict[str, Any]:
        """What the kernel is asked to run, texts instead of bytes."""
        spec: dict[str, Any] = self.record["Spec"]
        return spec

    def save(self) -> None:
        """Write config.json, atomically."""
        temporary = os.path.join(self.directory, "config.json~")
        with open(temporary, "w", encoding="ascii") as file:
            file.write(jsontext.dumps(self.record))
        os.replace(temporary, os.path.join(self.directory, "config.json"))


def new_directory(engine: Engine) -> tuple[str, str]:
    """A new ID and its directory."""
    container_id = os.urandom(32).hex()
    parent = os.path.join(engine.root, "containers")
    directory = os.path.join(parent, container_id)
    try:
        os.makedirs(parent, mode=0o700, exist_ok=True)
        spread(parent)
        os.mkdir(directory, mode=0o700)
    except OSError as error:
        raise StoreError(f"make container directory {directory}: {error.strerror}") from None
    return container_id, directory


def created_now() -> str:
    """The time for a record's Created."""
    return clock.rfc3339(time.time_ns())


def find(engine: Engine, name: str) -> Container:
    """The container of this name, ID, or beginning of an ID that is the only one. NotFound, or Conflict."""
    container_id = names.lookup(engine.root, name)
    if container_id is None and name and _HEX.issuperset(name) and len(name) <= 64:
        folder = os.path.join(engine.root, "containers")
        matches = [entry for entry in _ids(folder) if entry.startswith(name)]
        if len(matches) > 1:
            raise Conflict(f"find container {name}: {len(matches)} begin so", hint="give more digits")
        container_id = matches[0] if matches else None
    if container_id is not None:
        container = _load(engine.root, container_id)
        if container is not None:
            return container
    raise NotFound(f"find container {name}: there is none", hint="pycontain ps -a lists them")


def all_containers(engine: Engine) -> list[Container]:
    """All containers, the newest first."""
    found = [_load(engine.root, entry) for entry in _ids(os.path.join(engine.root, "containers"))]
    return sorted((c for c in found if c is not None), key=lambda c: str(c.record["Created"]), reverse=True)


def discard(engine: Engine, container: Container) -> None:
    """Delete the container's directory and give its name back. It must not be running."""
    from shutil import rmtree  # imports the compression modules; not needed by run, whose kernel does this

    objects = os.path.join(container.directory, "ipc")
    if os.path.exists(objects):  # of a kernel that was killed
        from pycontain.kernel.ipc import remove_left_over

        remove_left_over(objects)
    names.release(engine.root, container.name, container.id)
    trash = os.path.join(engine.root, "tmp", f"container-{container.id[:16]}-{os.getpid()}")
    os.makedirs(os.path.dirname(trash), exist_ok=True)
    try:
        os.rename(container.directory, trash)  # gone at once, whatever happens to the rest
    except FileNotFoundError:
        return
    rmtree(trash, ignore_errors=True)


def rename(engine: Engine, container: Container, name: str) -> None:
    """Give the container another name. Conflict where it is taken."""
    old = container.name
    container.record["Name"] = names.take(engine.root, container.id, name)
    container.save()
    names.release(engine.root, old, container.id)


def _ids(folder: str) -> list[str]:
    try:
        return [entry for entry in os.listdir(folder) if len(entry) == 64 and _HEX.issuperset(entry)]
    except FileNotFoundError:
        return []


def _load(root: str, container_id: str) -> Container | None:
    import json  # run writes records, and reads none

    directory = os.path.join(root, "containers", container_id)
    try:
        with open(os.path.join(directory, "config.json"), "rb") as file:
            record = json.loads(file.read())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ContainerError(f"read container {container_id[:12]}: config.json: {error}") from None
    return Container(container_id, directory, record)
