"""The operations of the distribution specification on one repository."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Generator
from typing import NamedTuple

from pycontain.client.transport import Failed, Response, Transport, clean
from pycontain.errors import DigestMismatch, RegistryError
from pycontain.image import media_types
from pycontain.image.descriptor import Descriptor
from pycontain.image.digest import Verifier, digest_bytes, is_digest

MAX_MANIFEST = 4 << 20
_MAX_TAGS = 16 << 20
_MAX_PAGES = 10_000
_PROGRESS = 1 << 20  # bytes that must come between two failures of a download to start counting anew
_CONTENT_RANGE = re.compile(r"bytes ([0-9]+)-([0-9]+)/([0-9]+|\*)")
_NEXT = re.compile(r'<([^>]*)>\s*;\s*rel="?next"?')


class Fetched(NamedTuple):
    """A manifest as it came: its very bytes, and the media type that the registry says."""

    data: bytes
    media_type: str
    digest: str


class Repository:
    """One repository at a registry. push tells whether writing is going to be asked for."""

    def __init__(self, transport: Transport, path: str, *, push: bool = False) -> None:
        self.transport = transport
        self.path = path
        self.scope = f"repository:{path}:{'pull,push' if push else 'pull'}"

    def request(self, method: str, target: str, **options: object) -> Response:
        """Transport.request with this repository's scope."""
        options.setdefault("scope", self.scope)
        return self.transport.request(method, target, **options)  # type: ignore[arg-type]

    def url(self, *parts: str) -> str:
        """The path of one of the repository's resources: url("blobs", digest)."""
        return "/".join((f"/v2/{self.path}", *parts))

    # --- manifests and tags

    def manifest(self, target: str) -> Fetched:
        """The manifest of a tag or digest, its digest checked.

        RegistryError (MANIFEST_UNKNOWN with the tags there are as a hint, if there is none);
        DigestMismatch if the registry does not send what it was asked for, or what it says it sends.
        """
        action = f"pull {self.path}:{target}" if ":" not in target else f"pull {self.path}@{target}"
        response = self.request(
            "GET", self.url("manifests", target), headers={"Accept": ", ".join(media_types.ACCEPT)}
        )
        if response.status != 200:
            error = self.transport.error(action, response)
            if response.status == 404:
                error.hint = self._tags_hint()
            raise error
        if response.length is not None and response.length > MAX_MANIFEST:
            response.close()
            raise RegistryError(
                f"{action}: a manifest of {response.length} bytes at registry {self.transport.registry}, "
                f"{MAX_MANIFEST} are allowed"
            )
        data = response.read(MAX_MANIFEST)
        said = response.headers.get("docker-content-digest")
        expected = target if is_digest(target) else said if said and is_digest(said) else None
        if expected:
            verifier = Verifier(expected)
            verifier.update(data)
            verifier.check(what="manifest")
        media_type = response.headers.get("content-type", "").partition(";")[0].strip()
        if media_type in ("application/json", "application/octet-stream", "text/plain"):
            media_type = ""  # a plain file server; the manifest has to say what it is
        return Fetched(data, media_type, expected or digest_bytes(data))

    def manifest_digest(self, target: str) -> str | None:
        """The digest that a tag stands for, by HEAD; None if there is none, or the registry does not say."""
        response = self.request(
            "HEAD", self.url("manifests", target), headers={"Accept": ", ".join(media_types.ACCEPT)}
        )
        if response.status not in (200, 404):
            raise self.transport.error(f"look for {self.path}:{target}", response)
        response.finish()
        digest = response.headers.get("docker-content-digest")
        return digest if response.status == 200 and digest and is_digest(digest) else None

    def put_manifest(self, target: str, data: bytes, media_type: str) -> None:
        """Store a manifest under a tag or its digest. DigestMismatch if the registry took it for another."""
        action = f"push {self.path}:{target}"
        response = self.request(
            "PUT", self.url("manifests", target), headers={"Content-Type": media_type}, payload=data
        )
        if response.status not in (201, 200, 202):
            raise self.transport.error(action, response)
        response.finish()
        said = response.headers.get("docker-content-digest")
        digest = digest_bytes(data)
        if said and said.startswith("sha256:") and said != digest:
            raise DigestMismatch(f"{action}: the registry has stored {clean(said)}, we sent {digest}")

    def tags(self) -> list[str]:
        """All tags, over all pages."""
        found: list[str] = []
        target = self.url("tags", "list")
        for _ in range(_MAX_PAGES):
            response = self.request("GET", target)
            if response.status != 200:
                raise self.transport.error(f"list tags of {self.path}", response)
            try:
                names = json.loads(response.read(_MAX_TAGS)).get("tags") or []
            except (ValueError, AttributeError, RecursionError):
                raise RegistryError(f"list tags of {self.path}: the answer is not a list of tags")
            found += [name for name in names if isinstance(name, str)]
            more = _NEXT.search(response.headers.get("link", ""))
            if not more or not names:
                return found
            target = more[1]
        raise RegistryError(f"list tags of {self.path}: the list does not end")

    def _tags_hint(self) -> str | None:
        try:
            tags = self.tags()
        except RegistryError:
            return "it does not exist, or needs a login"
        shown = ", ".join(clean(tag)[:40] for tag in tags[-8:])
        return f"tags: {shown}{', …' if len(tags) > 8 else ''}" if tags else None

    # --- blobs

    def blob(
        self, descriptor: Descriptor, retrying: Callable[[], None] = lambda: None
    ) -> Generator[bytes, None, None]:
        """The blob in pieces, taken up again where a connection broke off. The digest is not checked here.

        Never more than descriptor.size bytes. retrying is called before each further attempt.
        RegistryError if there is no such blob, or the registry offers another length.
        """
        offset, attempt, since = 0, 1, 0
        while True:
            response, skip = self._open_blob(descriptor, offset)
            try:
                for whole in response.blocks():
                    block = whole[skip:]
                    skip -= len(whole) - len(block)
                    if offset + len(block) > descriptor.size:
                        raise self._wrong_length(descriptor, "more")
                    offset += len(block)
                    if block:
                        yield block
                if offset == descriptor.size:
                    return
                raise self._wrong_length(descriptor, str(offset))
            except Failed:
                attempt = 1 if offset - since > _PROGRESS else attempt + 1
                since = offset
                if attempt > self.transport.patience.attempts:
                    raise
            finally:
                response.close()
            retrying()
            self.transport.pause(attempt - 1 or 1)

    def _open_blob(self, descriptor: Descriptor, offset: int) -> tuple[Response, int]:
        """A response with the blob from offset on, after a number of bytes that are to be skipped."""
        headers = {"Range": f"bytes={offset}-{descriptor.size - 1}"} if offset else {}
        response = self.request("GET", self.url("blobs", descriptor.digest), headers=headers)
        if offset and response.status == 206:
            match = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
            if not match or int(match[1]) != offset:
                response.close()
                raise RegistryError(f"pull blob {descriptor.digest}: the registry sends another range")
            return response, 0
        if response.status != 200:
            raise self.transport.error(f"pull blob {descriptor.digest}", response)
        if response.length is not None and response.length != descriptor.size:
            response.close()
            raise self._wrong_length(descriptor, str(response.length))
        return response, offset  # no ranges here: what we have already comes once more

    def _wrong_length(self, descriptor: Descriptor, came: str) -> RegistryError:
        return RegistryError(
            f"pull blob {descriptor.digest}: {came} bytes at registry {self.transport.registry}, "
            f"the manifest says {descriptor.size}",
            code="SIZE_INVALID",
        )

    def read_blob(self, descriptor: Descriptor, limit: int = MAX_MANIFEST) -> bytes:
        """A small blob, its digest and size checked."""
        if descriptor.size > limit:
            raise RegistryError(
                f"pull blob {descriptor.digest}: {descriptor.size} bytes, at most {limit} are allowed"
            )
        verifier = Verifier(descriptor.digest)
        data = bytearray()
        for block in self.blob(descriptor):
            verifier.update(block)
            data += block
        verifier.check(descriptor.size)
        return bytes(data)

    def has_blob(self, digest: str) -> bool:
        """Whether the repository has the blob, by HEAD."""
        response = self.request("HEAD", self.url("blobs", digest))
        if response.status not in (200, 404):
            raise self.transport.error(f"look for blob {digest}", response)
        response.finish()
        return response.status == 200
