"""An image by the name that a user gives: from the store, made by bootstrap, or pulled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from pycontain.errors import NotFound
from pycontain.image.platform import Platform
from pycontain.image.reference import Reference
from pycontain.store import Store
from pycontain.store.images import Image

MADE_HERE = "host/"
"""Repositories of this prefix are made of the host's own programs, and never asked of a registry."""


class Progress(Protocol):
    """Who is told how a pull goes on. status: a word; done and total in bytes (total 0: not known)."""

    def layer(self, digest: str, status: str, done: int, total: int) -> None: ...


def obtain(
    store: Store,
    name: str,
    *,
    platform: str | None = None,
    pull: str = "missing",
    progress: Callable[[Reference], Progress] | None = None,
) -> Image:
    """The image called `name` (a reference or an ID) for `platform`, with its layers indexed.

    pull: "always", "missing" or "never". progress(reference) is called once where a pull begins.
    NotFound where it is not there and may not be pulled; RegistryError from a pull.
    """
    wanted = Platform.parse(platform) if platform else None
    image = None
    if pull != "always" or is_made_here(name):
        try:
            image = store.image(name, platform=wanted)
        except NotFound:
            if is_made_here(name):
                from pycontain.engine.bootstrap import make  # only where an image is to be made

                image = make(store, Reference.parse(name))
            elif pull == "never" or _is_id(name):
                raise
    if image is None:
        from pycontain.client import pull as pull_image  # imports http and ssl

        reference = Reference.parse(name)
        image = pull_image(store, reference, wanted, progress(reference) if progress else Silent())
    for descriptor, diff_id in zip(image.manifest.layers, image.config.diff_ids, strict=True):
        store.layers.ensure(descriptor, diff_id)
    return image


def is_made_here(name: str) -> bool:
    """Whether the name is one of those that bootstrap makes on demand: host/base and the like."""
    return name.removeprefix("docker.io/").startswith(MADE_HERE)


class Silent:
    """A Progress that says nothing."""

    def layer(self, digest: str, status: str, done: int, total: int) -> None:
        """Nobody is told."""


def _is_id(name: str) -> bool:
    return name.startswith("sha256:") or (len(name) == 64 and all(c in "0123456789abcdef" for c in name))
