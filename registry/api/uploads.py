"""Uploads of blobs: at once, in chunks, as a stream, or mounted (end-4 to end-6, 11, 13, 14)."""

from __future__ import annotations

import re

from registry.api.call import Call, checked_digest
from registry.http.response import Response
from registry.problem import Header, Problem
from registry.storage.repository import Repository, is_name, repositories
from registry.storage.upload import Upload

_CONTENT_RANGE = re.compile(r"(?:bytes[ =])?([0-9]{1,19})-([0-9]{1,19})(?:/(?:[0-9]{1,19}|\*))?")


def post_upload(call: Call) -> Response:
    """Begin an upload; or make the whole of it (?digest=), or take a blob over (?mount=)."""
    request = call.request
    mount = request.argument("mount")
    if mount is not None and _mount(call, checked_digest(mount)):
        return _created(call, mount)
    digest = request.argument("digest")
    if digest is not None and mount is None:
        checked_digest(digest)
    algorithm = request.argument("digest-algorithm") or (digest or "sha256:").partition(":")[0]
    if algorithm not in ("sha256", "sha512"):
        raise Problem(400, "DIGEST_INVALID", f"the digest algorithm {algorithm[:40]!r} is not known")
    with call.registry.uploads.begin(call.repository) as upload:
        upload.expect(algorithm)
        if digest is not None and mount is None and request.length != 0:
            try:
                upload.append(call.body)
            except BaseException:
                upload.cancel()  # the client does not know its name
                raise
            upload.finish(digest)
            return _created(call, digest)
        return Response(202, _progress(upload))


def patch_upload(call: Call) -> Response:
    """Add a chunk (with Content-Range, which must fit) or a stream (without)."""
    with _resume(call) as upload:
        _check_range(call, upload)
        upload.append(call.body)
        return Response(202, _progress(upload))


def put_upload(call: Call) -> Response:
    """Add the last bytes, if any, and finish."""
    digest = call.request.argument("digest")
    if digest is None:
        raise Problem(400, "DIGEST_INVALID", "the upload cannot be finished: the digest parameter is missing")
    checked_digest(digest)
    with _resume(call) as upload:
        _check_range(call, upload)
        upload.expect(digest.partition(":")[0])
        upload.append(call.body)
        upload.finish(digest)
    return _created(call, digest)


def get_upload(call: Call) -> Response:
    """How far the upload is."""
    with _resume(call) as upload:
        return Response(204, _progress(upload))


def delete_upload(call: Call) -> Response:
    """Throw the upload away."""
    with _resume(call) as upload:
        upload.cancel()
    return Response(204)


def _resume(call: Call) -> Upload:
    return call.registry.uploads.resume(call.repository, call.parts["upload"])


def _mount(call: Call, digest: str) -> bool:
    """Link a blob of another repository; without `from`, of any."""
    origin = call.request.argument("from")
    content = call.registry.content
    if origin is None:
        found = any(repository.has_blob(digest) for repository in repositories(content))
    else:
        found = is_name(origin) and Repository(content, origin).has_blob(digest)
    if found:
        call.repository.link_blob(digest)
    return found


def _check_range(call: Call, upload: Upload) -> None:
    header = call.request.header("content-range")
    if header is None:
        return
    match = _CONTENT_RANGE.fullmatch(header.strip())
    if not match:
        raise Problem(400, "BLOB_UPLOAD_INVALID", f"the Content-Range {header[:80]!r} is not start-end")
    start, end = int(match[1]), int(match[2])
    if start != upload.size:
        raise Problem(
            416,
            "BLOB_UPLOAD_INVALID",
            f"the chunk begins at {start}, but the upload has {upload.size} bytes",
            headers=_progress(upload),
        )
    length = call.body.length
    if length is not None and length != end - start + 1:
        raise Problem(
            400, "SIZE_INVALID", f"the chunk has {length} bytes, but its Content-Range says {header[:80]}"
        )


def _progress(upload: Upload) -> list[Header]:
    return [
        ("Location", f"/v2/{upload.repository.name}/blobs/uploads/{upload.id}"),
        ("Range", f"0-{max(upload.size - 1, 0)}"),
        ("Docker-Upload-UUID", upload.id),
    ]


def _created(call: Call, digest: str) -> Response:
    return Response(
        201,
        [
            ("Location", f"/v2/{call.repository.name}/blobs/{digest}"),
            ("Docker-Content-Digest", digest),
        ],
    )
