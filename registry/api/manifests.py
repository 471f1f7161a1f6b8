"""GET, HEAD, PUT and DELETE of manifests and tags (end-3, end-7, end-9)."""

from __future__ import annotations

import json
from typing import Any

from pycontain.errors import ImageError
from pycontain.image.digest import digest_bytes, is_digest
from pycontain.image.manifest import Index, Manifest, parse_manifest
from registry.api.call import Call, checked_digest
from registry.http.response import Response
from registry.problem import Header, Problem
from registry.storage.repository import ManifestLink, is_tag

MAX_MANIFEST = 4 << 20
_MAX_TAGS = 100  # that one PUT may set


def get_manifest(call: Call) -> Response:
    """The manifest, in the very bytes that were pushed."""
    link = _find(call)
    headers: list[Header] = [
        ("Content-Type", link.media_type),
        ("Docker-Content-Digest", link.digest),
        ("ETag", f'"{link.digest}"'),
    ]
    if call.request.method == "HEAD":
        return Response(200, headers, length=link.size)
    if f'"{link.digest}"' in (call.request.header("if-none-match") or ""):
        return Response(304, headers)
    try:
        return Response(200, headers, call.registry.content.read(link.digest))
    except FileNotFoundError:
        raise _unknown(call)


def put_manifest(call: Call) -> Response:
    """Store a manifest under its digest, and under the tag of the path or the tags of the query."""
    reference = call.parts["reference"]
    too_large = Problem(413, "MANIFEST_INVALID", f"the manifest is larger than {MAX_MANIFEST} bytes")
    data = call.body.read(MAX_MANIFEST, too_large)
    by_digest = ":" in reference
    if by_digest:
        algorithm = checked_digest(reference).partition(":")[0]
        tags = call.request.query.get("tag", [])
    else:
        algorithm, tags = "sha256", [reference]
    if len(tags) > _MAX_TAGS:
        raise Problem(414, "MANIFEST_INVALID", f"{len(tags)} tags in one request, {_MAX_TAGS} are allowed")
    for tag in tags:
        if not is_tag(tag):
            raise Problem(400, "TAG_INVALID", f"{tag[:160]!r} is neither a tag nor a digest")
    digest = digest_bytes(data, algorithm)
    if by_digest and digest != reference:
        raise Problem(400, "DIGEST_INVALID", f"the manifest's digest is {digest}, not {reference}")

    manifest = _parse(call, data)
    if isinstance(manifest, Manifest):
        _check_blobs(call, manifest)
    repository = call.repository
    with call.registry.changing(repository.name):
        call.registry.content.write(digest, data)
        repository.put_manifest(ManifestLink(digest, manifest.media_type, len(data)))
        if manifest.subject:
            repository.add_referrer(manifest.subject.digest, digest, _referrer(manifest, digest, len(data)))
        for tag in tags:
            repository.set_tag(tag, digest)
    headers: list[Header] = [
        ("Location", f"/v2/{repository.name}/manifests/{digest}"),
        ("Docker-Content-Digest", digest),
    ]
    if by_digest:
        headers += [("OCI-Tag", tag) for tag in tags]
    if manifest.subject:
        headers.append(("OCI-Subject", manifest.subject.digest))
    return Response(201, headers)


def delete_manifest(call: Call) -> Response:
    """By tag: only the tag goes. By digest: the manifest, its tags and its entry as a referrer."""
    reference = call.parts["reference"]
    repository = call.repository
    with call.registry.changing(repository.name):
        if not is_digest(reference):
            if not repository.delete_tag(reference):
                raise _unknown(call)
            return Response(202)
        link = repository.manifest(reference)
        if link is None:
            raise _unknown(call)
        subject = _subject(call, link)
        if subject:
            repository.delete_referrer(subject, reference)
        repository.delete_manifest(reference)
    return Response(202)


def _find(call: Call) -> ManifestLink:
    reference = call.parts["reference"]
    digest: str | None
    if is_digest(reference):
        digest = reference
    elif is_tag(reference):
        digest = call.repository.tag(reference)
    else:
        digest = None
    link = call.repository.manifest(digest) if digest else None
    if link is None:
        raise _unknown(call)
    return link


def _unknown(call: Call) -> Problem:
    name, reference = call.repository.name, call.parts["reference"]
    if not call.repository.exists():
        return Problem(404, "NAME_UNKNOWN", f"there is no repository {name}")
    return Problem(404, "MANIFEST_UNKNOWN", f"the repository {name} has no manifest {reference[:160]}")


def _parse(call: Call, data: bytes) -> Manifest | Index:
    media_type = (call.request.header("content-type") or "").partition(";")[0].strip()
    if media_type in ("application/json", "application/octet-stream"):
        media_type = ""  # no answer; the manifest may know itself
    try:
        return parse_manifest(data, media_type or None)
    except ImageError as error:
        raise Problem(400, "MANIFEST_INVALID", error.message)


def _check_blobs(call: Call, manifest: Manifest) -> None:
    """Every blob must be here; only what lies elsewhere by intent (urls) may be missing.

    An index may name manifests that are not here: that is how one platform of many is mirrored.
    """
    for descriptor in (manifest.config, *manifest.layers):
        if not descriptor.urls and not call.repository.has_blob(descriptor.digest):
            raise Problem(
                404,
                "MANIFEST_BLOB_UNKNOWN",
                f"the manifest names a blob that {call.repository.name} does not have: {descriptor.digest}",
            )


def _referrer(manifest: Manifest | Index, digest: str, size: int) -> dict[str, Any]:
    """The descriptor that the referrers API gives for a manifest (distribution-spec, "Listing Referrers")."""
    value: dict[str, Any] = {"mediaType": manifest.media_type, "digest": digest, "size": size}
    kind = manifest.artifact_type
    if not kind and isinstance(manifest, Manifest):
        kind = manifest.config.media_type
    if kind:
        value["artifactType"] = kind
    if manifest.annotations:
        value["annotations"] = dict(manifest.annotations)
    return value


def _subject(call: Call, link: ManifestLink) -> str | None:
    """The subject of a manifest that we have."""
    try:
        value = json.loads(call.registry.content.read(link.digest))
    except FileNotFoundError:
        return None
    subject = value.get("subject")
    return str(subject["digest"]) if subject else None
