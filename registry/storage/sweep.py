"""Garbage collection: content that no repository needs. Offline, for it wants the root alone."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from registry.storage.content import Content
from registry.storage.repository import Repository, repositories
from registry.storage.upload import abandoned


@dataclass(slots=True)
class Swept:
    """What garbage collection removed, or would remove."""

    manifests: int = 0
    links: int = 0
    uploads: int = 0
    blobs: int = 0
    size: int = 0  # bytes of the blobs


def sweep(content: Content, *, grace: float = 3600, untagged: bool = False, dry_run: bool = False) -> Swept:
    """Remove what nothing refers to.

    A blob stays while a manifest of a repository names it, or while its link there is younger than
    grace seconds, because a push brings blobs before their manifest. untagged also removes manifests that no
    tag, index or referrer leads to. Raises RegistryError if a registry serves the root.
    """
    lock = content.lock(exclusive=True)
    try:
        swept = Swept()
        needed: set[str] = set()
        now = time.time()
        for repository in repositories(content):
            needed |= _sweep_repository(repository, now, grace, untagged, dry_run, swept)
        for digest, size in list(content.digests()):
            if digest not in needed:
                swept.blobs += 1
                swept.size += size
                if not dry_run:
                    content.remove(digest)
        return swept
    finally:
        os.close(lock)


def _sweep_repository(
    repository: Repository, now: float, grace: float, untagged: bool, dry_run: bool, swept: Swept
) -> set[str]:
    """Sweep one repository; returns the digests that it needs."""
    documents = {digest: _read(repository.content, digest) for digest in repository.manifests()}
    if untagged:
        kept = _reachable(repository, documents)
        for digest in sorted(documents.keys() - kept):
            swept.manifests += 1
            if not dry_run:
                subject = _digest(documents[digest].get("subject"))
                if subject:
                    repository.delete_referrer(subject, digest)
                repository.delete_manifest(digest)
        documents = {digest: documents[digest] for digest in documents.keys() & kept}
    needed = set(documents)
    for document in documents.values():
        needed.update(_blobs(document))
    for digest in repository.blobs():
        if digest not in needed:
            if repository.blob_age(digest, now) < grace:
                needed.add(digest)
                continue
            swept.links += 1
            if not dry_run:
                repository.unlink_blob(digest)
    for path in abandoned(repository, grace):
        swept.uploads += 1
        if not dry_run:
            os.unlink(path)
    return needed


def _reachable(repository: Repository, documents: dict[str, dict[str, Any]]) -> set[str]:
    """The manifests that a tag leads to, through indexes and from subjects to their referrers."""
    referrers: dict[str, list[str]] = {}
    for digest, document in documents.items():
        subject = _digest(document.get("subject"))
        if subject:
            referrers.setdefault(subject, []).append(digest)
    pending = [tagged for tag in repository.tags() if (tagged := repository.tag(tag))]
    kept: set[str] = set()
    while pending:
        digest = pending.pop()
        if digest in kept or digest not in documents:
            continue
        kept.add(digest)
        pending += [d for m in documents[digest].get("manifests") or () if (d := _digest(m))]
        pending += referrers.get(digest, ())
    return kept


def _blobs(document: dict[str, Any]) -> Iterator[str]:
    for descriptor in (document.get("config"), *(document.get("layers") or ())):
        digest = _digest(descriptor)
        if digest:
            yield digest


def _digest(descriptor: object) -> str | None:
    value = descriptor.get("digest") if isinstance(descriptor, dict) else None
    return value if isinstance(value, str) else None


def _read(content: Content, digest: str) -> dict[str, Any]:
    try:
        document = json.loads(content.read(digest))
    except FileNotFoundError:
        return {}  # the link is all there is; it goes when it is not reachable
    return document if isinstance(document, dict) else {}
