"""Removal of what nothing refers to.

Roots are the descriptors in index.json, and every digest that a container's config.json or a small file
of the build cache mentions. The store's lock is held throughout, so no tag can be set meanwhile, and
setting a tag checks that everything is there; whoever is still putting an image together holds a lease
or has young objects, and both are left alone.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Container, Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from pycontain.errors import PycontainError
from pycontain.image.config import ImageConfig
from pycontain.image.manifest import Index, parse_manifest
from pycontain.store.newfile import sweep

if TYPE_CHECKING:
    from pycontain.store.store import Store

GRACE = 600.0
"""Seconds for which an unreferenced object stays."""
BUSY_GRACE = 86400.0
"""The same while somebody holds a lease."""
_MENTION_LIMIT = 4 << 20
_DIGEST = re.compile(rb"sha(?:256:[0-9a-f]{64}|512:[0-9a-f]{128})")


class Collected(NamedTuple):
    """What a collection removed. bytes: of disk space, as far as it is known."""

    blobs: list[str]
    layers: list[str]
    bytes: int


def collect(store: Store, *, grace: float = GRACE, cache: bool = True) -> Collected:
    """Remove every blob and layer that nothing refers to and that is older than `grace` seconds.

    cache: what the build cache mentions is kept. StoreError if a manifest that is referred to cannot be
    read: then it is not known what it refers to, and nothing is removed.
    """
    with store.lock(), store.idle() as idle:
        if not idle:
            grace = max(grace, BUSY_GRACE)
        keep = _reachable(store, _roots(store, cache=cache), strict=_named(store))
        removed = _remove(store, set(store.blobs.list()) - keep, set(store.layers.list()) - keep, grace)
        store.sweep()
        _sweep_files(store)
        return removed


def remove_manifest(store: Store, digest: str) -> Collected:
    """Remove a manifest that has lost its last name, and what only it referred to. The lock is held.

    While somebody holds a lease nothing is removed; the next collection does it.
    """
    with store.idle() as idle:
        if not idle:
            return Collected([], [], 0)
        gone = _reachable(store, {digest}, strict=frozenset())
        gone -= _reachable(store, _roots(store, cache=True), strict=frozenset())
        return _remove(store, gone & set(store.blobs.list()), gone & set(store.layers.list()), 0.0)


def containers(store: Store) -> Iterator[tuple[str, str]]:
    """Ids of all containers, with the paths of their config.json."""
    root = os.path.join(store.root, "containers")
    for name in sorted(os.listdir(root)):
        path = os.path.join(root, name, "config.json")
        if os.path.exists(path):
            yield name, path


def mentioned(path: str) -> set[str]:
    """Every digest in a file, whatever its format."""
    try:
        with open(path, "rb") as file:
            return {match.decode() for match in _DIGEST.findall(file.read(_MENTION_LIMIT))}
    except FileNotFoundError:
        return set()


def _named(store: Store) -> set[str]:
    """The manifests in index.json."""
    found = {descriptor.digest for _, descriptor in store.tags.items()}
    return found | {descriptor.digest for descriptor in store.tags.nameless()}


def _roots(store: Store, *, cache: bool) -> set[str]:
    found = _named(store)
    for _, path in containers(store):
        found |= mentioned(path)
    if cache:
        for directory, _, names in os.walk(os.path.join(store.root, "cache")):
            for name in names:
                path = os.path.join(directory, name)
                if os.path.isfile(path) and os.path.getsize(path) <= _MENTION_LIMIT:
                    found |= mentioned(path)
    return found


def _reachable(store: Store, roots: Iterable[str], *, strict: Container[str]) -> set[str]:
    """Digests of blobs and diff ids of layers that these manifests lead to, themselves included.

    A manifest in `strict` must be readable; of others only what can be read counts.
    """
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        digest = waiting.pop()
        if digest in found:
            continue
        found.add(digest)
        try:
            waiting += _children(store, digest, digest in strict)
        except PycontainError:
            if digest in strict:
                raise
    return found


def _children(store: Store, digest: str, is_manifest: bool) -> list[str]:
    """What a manifest, index or config refers to; nothing for any other blob, or one that is not here."""
    if not is_manifest:
        try:
            with open(store.blobs.path(digest), "rb") as file:
                if file.read(1) != b"{" or os.fstat(file.fileno()).st_size > _MENTION_LIMIT:
                    return []
        except FileNotFoundError:
            return []
    data = store.blobs.read(digest)
    if b'"diff_ids"' in data:
        return list(ImageConfig.from_bytes(data).diff_ids)
    manifest = parse_manifest(data)
    if isinstance(manifest, Index):
        return [child.digest for child in manifest.manifests]
    return [manifest.config.digest, *(layer.digest for layer in manifest.layers)]


def _remove(store: Store, blobs: set[str], layers: set[str], grace: float) -> Collected:
    deadline = time.time() - grace
    done = Collected([], [], 0)
    size = 0
    for digest in sorted(blobs):
        path = store.blobs.path(digest)
        try:
            status = os.stat(path)
            if status.st_mtime <= deadline:
                os.unlink(path)
                done.blobs.append(digest)
                size += status.st_blocks * 512
        except FileNotFoundError:
            continue
    if layers:
        with store.tmp_dir("removed-") as aside:
            for diff_id in sorted(layers):
                path = store.layers.path(diff_id)
                if os.stat(path).st_mtime > deadline:
                    continue
                size += _disk_usage(path)
                os.rename(path, os.path.join(aside, diff_id.partition(":")[2]))  # whole or not at all
                done.layers.append(diff_id)
            shutil.rmtree(aside, ignore_errors=True)
            os.mkdir(aside)
    return done._replace(bytes=size)


def _disk_usage(path: str) -> int:
    return sum(
        os.lstat(os.path.join(directory, name)).st_blocks * 512
        for directory, _, names in os.walk(path)
        for name in names
    )


def _sweep_files(store: Store) -> None:
    """Hidden files that a killed process left, where the file system has no nameless ones. See NewFile."""
    sweep(store.root)
    for directory in ("blobs/sha256", "blobs/sha512"):
        path = os.path.join(store.root, directory)
        if os.path.isdir(path):
            sweep(path)
    for diff_id in store.layers.list():
        sweep(os.path.join(store.layers.path(diff_id), "files"))
