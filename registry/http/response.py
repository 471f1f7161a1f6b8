"""A response as a value, and how it goes out: heads and small bodies copied, files by sendfile."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus

from registry.http.channel import Channel
from registry.http.ranges import Unsatisfiable, parse_ranges
from registry.problem import Header, Problem


@dataclass(slots=True)
class FileBody:
    """Pieces of an open file, with text between them (the part heads of multipart/byteranges).

    Owns the descriptor: whoever sends or drops the response calls close().
    """

    fd: int
    pieces: Sequence[bytes | tuple[int, int]]  # text, or (offset, length)

    def __len__(self) -> int:
        return sum(len(piece) if isinstance(piece, bytes) else piece[1] for piece in self.pieces)

    def close(self) -> None:
        os.close(self.fd)


@dataclass(slots=True)
class Response:
    """status, headers and a body. Content-Length, Date and Connection are added when it is sent.

    length overrides Content-Length where there is no body to measure (the answer to HEAD).
    """

    status: int
    headers: list[Header] = field(default_factory=list)
    body: bytes | FileBody = b""
    length: int | None = None

    def close(self) -> None:
        if isinstance(self.body, FileBody):
            self.body.close()


def problem_response(problem: Problem) -> Response:
    """The specification's JSON error document."""
    return Response(problem.status, [("Content-Type", "application/json"), *problem.headers], problem.body())


def file_response(
    fd: int, size: int, content_type: str, headers: list[Header], range_header: str | None
) -> Response:
    """Answer a GET for a file, whole or in the ranges asked for. Takes over fd.

    Raises Problem 416 if no range fits; fd is closed then.
    """
    headers = [*headers, ("Accept-Ranges", "bytes")]
    try:
        ranges = parse_ranges(range_header, size) if range_header else None
    except Unsatisfiable:
        os.close(fd)
        raise Problem(
            416,
            "UNSUPPORTED",
            f"no range of {range_header[:80] if range_header else ''!r} lies in {size} bytes",
            headers=[("Content-Range", f"bytes */{size}")],
        )
    if ranges is None:
        return Response(200, [("Content-Type", content_type), *headers], FileBody(fd, [(0, size)]))
    if len(ranges) == 1:
        (offset, length) = ranges[0]
        where = ("Content-Range", f"bytes {offset}-{offset + length - 1}/{size}")
        return Response(206, [("Content-Type", content_type), where, *headers], FileBody(fd, ranges))
    boundary = secrets.token_hex(16)
    pieces: list[bytes | tuple[int, int]] = []
    for offset, length in ranges:
        pieces.append(
            f"\r\n--{boundary}\r\nContent-Type: {content_type}\r\n"
            f"Content-Range: bytes {offset}-{offset + length - 1}/{size}\r\n\r\n".encode()
        )
        pieces.append((offset, length))
    pieces.append(f"\r\n--{boundary}--\r\n".encode())
    # Unquoted: podman's reader takes the boundary from this header by a plain pattern.
    kind = ("Content-Type", f"multipart/byteranges; boundary={boundary}")
    return Response(206, [kind, *headers], FileBody(fd, pieces))


def send_response(channel: Channel, response: Response, *, head_only: bool, close: bool) -> int:
    """Send a response; returns the number of body bytes sent. The caller closes the response."""
    body = response.body
    lines = [f"HTTP/1.1 {response.status} {_reason(response.status)}"]
    lines += [f"{name}: {value}" for name, value in response.headers]
    if response.status not in (204, 304):
        lines.append(f"Content-Length: {len(body) if response.length is None else response.length}")
    lines.append(f"Date: {formatdate(usegmt=True)}")
    if close:
        lines.append("Connection: close")
    head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
    if head_only or not len(body):
        channel.send(head)
        return 0
    if isinstance(body, bytes):
        channel.send(head + body)
        return len(body)
    channel.send(head, more=True)
    last = body.pieces[-1]
    for piece in body.pieces:
        if isinstance(piece, bytes):
            channel.send(piece, more=piece is not last)
        else:
            channel.send_file(body.fd, *piece)
    return len(body)


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Status"
