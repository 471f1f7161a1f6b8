"""GET, HEAD and DELETE of blobs (end-2, end-10)."""

from __future__ import annotations

import os

from registry.api.call import Call
from registry.http.response import Response, file_response
from registry.problem import Header, Problem

_TYPE = "application/octet-stream"


def get_blob(call: Call) -> Response:
    """The blob, or the ranges of it that are asked for."""
    digest = call.digest()
    fd, size = _open(call, digest)
    headers: list[Header] = [("Docker-Content-Digest", digest), ("ETag", f'"{digest}"')]
    headers.append(("Cache-Control", "max-age=31536000, immutable"))
    request = call.request
    if request.method == "HEAD":
        os.close(fd)
        return Response(200, [("Content-Type", _TYPE), *headers, ("Accept-Ranges", "bytes")], length=size)
    if f'"{digest}"' in (request.header("if-none-match") or ""):
        os.close(fd)
        return Response(304, headers)
    wanted = request.header("range")
    if request.header("if-range") not in (None, f'"{digest}"'):
        wanted = None
    return file_response(fd, size, _TYPE, headers, wanted)


def delete_blob(call: Call) -> Response:
    """Forget the blob in this repository; garbage collection removes the content."""
    digest = call.digest()
    if not call.repository.unlink_blob(digest):
        raise _unknown(call, digest)
    return Response(202)


def _open(call: Call, digest: str) -> tuple[int, int]:
    if not call.repository.has_blob(digest):
        raise _unknown(call, digest)
    try:
        return call.registry.content.open(digest)
    except FileNotFoundError:
        raise _unknown(call, digest)


def _unknown(call: Call, digest: str) -> Problem:
    return Problem(404, "BLOB_UNKNOWN", f"the repository {call.repository.name} has no blob {digest}")
