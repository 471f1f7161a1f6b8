"""What one repository has: links to blobs, manifests, tags, referrers."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from pycontain.image.digest import is_digest
from registry.storage.content import Content, sync_directory, write_file

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_MAX_NAME = 255


def is_name(text: str) -> bool:
    """Whether text is a repository name (distribution-spec, "Pulling manifests")."""
    return len(text) <= _MAX_NAME and _NAME.fullmatch(text) is not None


def is_tag(text: str) -> bool:
    """Whether text is a tag (distribution-spec, "Pulling manifests")."""
    return _TAG.fullmatch(text) is not None


class ManifestLink(NamedTuple):
    """A manifest as a repository knows it; its bytes are in the content store."""

    digest: str
    media_type: str
    size: int


class Repository:
    """One repository's directory. name must be valid (is_name); nothing is created before it is needed."""

    def __init__(self, content: Content, name: str) -> None:
        self.name = name
        self.content = content
        self.directory = os.path.join(content.root, "repositories", name)

    def exists(self) -> bool:
        return os.path.isdir(os.path.join(self.directory, "_manifests"))

    def _path(self, kind: str, *names: str) -> str:
        return os.path.join(self.directory, kind, *names)

    def _names(self, *path: str) -> list[str]:
        try:
            return sorted(name for name in os.listdir(self._path(*path)) if not name.startswith("."))
        except FileNotFoundError:
            return []

    def _unlink(self, *path: str) -> bool:
        target = self._path(*path)
        try:
            os.unlink(target)
        except FileNotFoundError:
            return False
        if self.content.durable:
            sync_directory(os.path.dirname(target))
        return True

    # --- blobs

    def link_blob(self, digest: str) -> None:
        """The repository has this blob from now on."""
        write_file(self._path("_blobs", digest), b"", self.content.durable)

    def has_blob(self, digest: str) -> bool:
        return os.path.exists(self._path("_blobs", digest)) and self.content.has(digest)

    def unlink_blob(self, digest: str) -> bool:
        """Forget a blob; False if it was not there. Its content stays for garbage collection."""
        return self._unlink("_blobs", digest)

    def blobs(self) -> list[str]:
        return [name for name in self._names("_blobs") if is_digest(name)]

    def blob_age(self, digest: str, now: float) -> float:
        """Seconds since the blob was pushed or mounted."""
        return now - os.stat(self._path("_blobs", digest)).st_mtime

    # --- manifests

    def put_manifest(self, link: ManifestLink) -> None:
        data = json.dumps({"mediaType": link.media_type, "size": link.size}).encode()
        write_file(self._path("_manifests", link.digest), data, self.content.durable)

    def manifest(self, digest: str) -> ManifestLink | None:
        """The manifest of that digest; None if the repository does not have it."""
        try:
            with open(self._path("_manifests", digest), "rb") as file:
                value = json.load(file)
        except FileNotFoundError:
            return None
        return ManifestLink(digest, value["mediaType"], value["size"])

    def delete_manifest(self, digest: str) -> bool:
        """Forget a manifest and the tags that point to it; False if it was not there."""
        for tag in self.tags():
            if self.tag(tag) == digest:
                self.delete_tag(tag)
        return self._unlink("_manifests", digest)

    def manifests(self) -> list[str]:
        return [name for name in self._names("_manifests") if is_digest(name)]

    # --- tags

    def set_tag(self, tag: str, digest: str) -> None:
        write_file(self._path("_tags", tag), digest.encode(), self.content.durable)

    def tag(self, tag: str) -> str | None:
        """The digest that a tag points to; None if there is no such tag."""
        try:
            with open(self._path("_tags", tag), encoding="ascii") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def delete_tag(self, tag: str) -> bool:
        return self._unlink("_tags", tag)

    def tags(self) -> list[str]:
        """All tags in ASCII order."""
        return self._names("_tags")

    # --- referrers

    def add_referrer(self, subject: str, digest: str, descriptor: dict[str, Any]) -> None:
        """Note that the manifest `digest` has `subject`, which need not exist."""
        path = self._path("_referrers", subject, digest)
        write_file(path, json.dumps(descriptor).encode(), self.content.durable)

    def delete_referrer(self, subject: str, digest: str) -> bool:
        return self._unlink("_referrers", subject, digest)

    def referrers(self, subject: str) -> Iterator[dict[str, Any]]:
        """The descriptors of the manifests that have this subject, by digest."""
        for name in self._names("_referrers", subject):
            try:
                with open(self._path("_referrers", subject, name), "rb") as file:
                    yield json.load(file)
            except FileNotFoundError:
                pass  # deleted since we read the names

    def subjects(self) -> list[str]:
        return [name for name in self._names("_referrers") if is_digest(name)]


def repositories(content: Content) -> Iterator[Repository]:
    """All repositories, in no order."""
    top = os.path.join(content.root, "repositories")
    pending = [""]
    while pending:
        name = pending.pop()
        try:
            children = os.listdir(os.path.join(top, name))
        except (FileNotFoundError, NotADirectoryError):
            continue
        if any(child.startswith("_") for child in children):
            yield Repository(content, name)
        pending += [f"{name}/{child}" if name else child for child in children if child[0] not in "_."]
