"""Where everything is in the store, and who may change it when.

oci-layout, index.json, blobs/sha256/   an OCI image layout, which other tools read in place
layers/<hex of diff id>/                what is derived from layer blobs (layers.py)
containers/<id>/                        containers, which the engine writes
cache/                                  the build cache
tmp/                                    work in progress; each directory is locked by whoever works in it
lock                                    held while index.json changes, or objects are removed
lease                                   held, shared, while objects are added that no tag refers to yet
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pycontain.errors import StoreError
from pycontain.store.blobs import Blobs
from pycontain.store.images import Image, Images
from pycontain.store.layers import Layers
from pycontain.store.newfile import NewFile
from pycontain.store.tags import Tags
from pycontain.unionfs.spread import spread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pycontain.errors import PycontainError
    from pycontain.image import Descriptor, ImageConfig, Platform, Reference

LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
INDEX = b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}'
HELD = ".held"
"""How names in tmp/ end whose owner holds a lock on them: without the lock, the owner is dead."""

_DIRECTORIES = ("blobs/sha256", "layers", "containers", "cache", "tmp")


def default_root() -> str:
    """$PYCONTAIN_ROOT, else pycontain/ in the user's data directory (XDG base directories)."""
    environment = os.environ
    return environment.get("PYCONTAIN_ROOT") or os.path.join(
        environment.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share"), "pycontain"
    )


class Store:
    """The local store: blobs, tags, layers and images below one directory. `Store.open` gives one.

    Any number of processes and threads may use a store at once.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self.tmp = os.path.join(root, "tmp")
        self.blobs = Blobs(os.path.join(root, "blobs"))
        self.tags = Tags(self)
        self.layers = Layers(self)
        self._images = Images(self)
        self._mutex = threading.RLock()
        self._depth = 0
        self._lock_fd = -1

    @classmethod
    def open(cls, root: str | None = None) -> Store:
        """The store at `root` (default: see default_root), made if there is none. StoreError if it cannot."""
        root = os.path.abspath(root or default_root())
        layout = os.path.join(root, "oci-layout")
        try:
            try:
                with open(layout, "rb") as file:
                    if b'"1.' not in file.read(4096):
                        raise StoreError(f"open store {root}: its oci-layout is not of version 1")
            except FileNotFoundError:
                _create(root, layout)
        except OSError as error:
            raise StoreError(
                f"open store {root}: {error.strerror}", hint="PYCONTAIN_ROOT names another"
            ) from error
        return cls(root)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the store's lock: nobody else changes tags or removes objects meanwhile. May be nested."""
        with self._mutex:
            if self._depth == 0:
                self._lock_fd = self._flock("lock", fcntl.LOCK_EX)
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
                if self._depth == 0:
                    os.close(self._lock_fd)

    @contextmanager
    def lease(self) -> Iterator[None]:
        """Hold a share of the lease: objects that no tag refers to yet are not collected meanwhile.

        For work that puts together an image from many objects: a pull, a build, a load.
        """
        fd = self._flock("lease", fcntl.LOCK_SH)
        try:
            yield
        finally:
            os.close(fd)

    @contextmanager
    def idle(self) -> Iterator[bool]:
        """Hold the whole lease if nobody has a share of it; gives whether that is so. Never waits."""
        try:
            fd = self._flock("lease", fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        try:
            yield True
        finally:
            os.close(fd)

    @contextmanager
    def tmp_dir(self, prefix: str = "work-") -> Iterator[str]:
        """A directory of one's own in tmp/, removed at the end. What killed processes left goes first."""
        import shutil  # slow to load; not needed to start a container

        self.sweep()
        while True:
            path = os.path.join(self.tmp, prefix + os.urandom(8).hex() + HELD)
            os.mkdir(path, 0o700)
            try:
                fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                fcntl.flock(fd, fcntl.LOCK_EX)
                if os.path.exists(path):  # else a sweep came between
                    break
                os.close(fd)
            except FileNotFoundError:
                pass
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)
            os.close(fd)

    def sweep(self) -> int:
        """Remove directories of tmp_dir that nobody holds any more; returns how many there were."""
        import shutil  # as above

        removed = 0
        for name in os.listdir(self.tmp):
            if not name.endswith(HELD):
                continue
            path = os.path.join(self.tmp, name)
            try:
                fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
            except (FileNotFoundError, PermissionError):
                continue
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
                removed += 1
            except BlockingIOError:
                pass
            finally:
                os.close(fd)
        return removed

    def image(self, name: str | Reference, platform: Platform | None = None) -> Image:
        """The image of this name, id, or beginning of an id. NotFound, ImageError."""
        return self._images.find(name, platform)

    def images(self, problems: list[PycontainError] | None = None) -> list[Image]:
        """All images, one for each tag, and those without a tag. What cannot be read raises, or is told
        in `problems` where that is given."""
        return self._images.all(problems)

    def add_image(
        self, config: ImageConfig, layers: Sequence[Descriptor], reference: Reference | None = None
    ) -> Image:
        """Make an image of a config and of layers that are in the store, and tag it."""
        return self._images.add(config, layers, reference)

    def remove(self, name: str | Reference, *, force: bool = False) -> list[tuple[str, str]]:
        """Take away a tag, and the image with its last tag, as `docker rmi`. NotFound, Conflict.

        Returns what was done: ("Untagged", name) and ("Deleted", id) in this order.
        """
        return self._images.remove(name, force=force)

    def _flock(self, name: str, how: int) -> int:
        fd = os.open(os.path.join(self.root, name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, how)
        except BaseException:
            os.close(fd)
            raise
        return fd


def _create(root: str, layout: str) -> None:
    """Make the directories; oci-layout comes last, so that a store that has one is complete."""
    os.makedirs(root, mode=0o700, exist_ok=True)
    for directory in _DIRECTORIES:
        os.makedirs(os.path.join(root, directory), exist_ok=True)
        spread(os.path.join(root, directory))
    for path, content in ((os.path.join(root, "index.json"), INDEX), (layout, LAYOUT)):
        new = NewFile(root)
        new.write(content)
        new.commit(path)
