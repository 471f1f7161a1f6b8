"""The head of a request: parsed strictly, because a doubt about where a request ends is an attack.

RFC 9112 sections 2 to 6. Refused: bare LF, folded headers, white space before a colon, control
characters, two lengths, a length next to a transfer coding, any coding but chunked.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote_to_bytes, urlsplit

from registry.problem import bad_request

MAX_HEAD = 64 << 10  # bytes; podman sends Range headers of up to 32 kB for zstd:chunked layers
MAX_HEADERS = 100

_END = b"\r\n\r\n"
_REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}) ([\x21-\x7e]+) HTTP/1\.([01])")
_HEADER = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\t\x20-\x7e\x80-\xff]*)")
_DIGITS = re.compile(r"[0-9]{1,19}")


@dataclass(frozen=True, slots=True)
class Request:
    """One request without its body.

    path is percent-decoded; headers have lower-case names, repeated ones joined with ", ". length is the
    body's, 0 if there is none, None if it comes in chunks.
    """

    method: str
    target: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    length: int | None
    keep_alive: bool
    expects_continue: bool

    def header(self, name: str) -> str | None:
        return self.headers.get(name)

    def argument(self, name: str) -> str | None:
        """The first value of a query parameter, None if it is not there."""
        values = self.query.get(name)
        return values[0] if values else None


def take_head(buffer: bytearray) -> bytes | None:
    """Remove one complete head from the front of buffer; None if it is not complete yet.

    Empty lines before it are skipped (RFC 9112 section 2.2). Raises Problem 431 if it is too long.
    """
    while buffer.startswith(b"\r\n"):
        del buffer[:2]
    end = buffer.find(_END, 0, MAX_HEAD + len(_END))
    if end < 0:
        if len(buffer) > MAX_HEAD:
            raise bad_request(f"a request's head is longer than {MAX_HEAD} bytes", status=431)
        return None
    head = bytes(buffer[:end])
    del buffer[: end + len(_END)]
    return head


def parse_head(head: bytes) -> Request:
    """Parse a head without its final empty line. Raises Problem (400, 431, 501, 505)."""
    first, *lines = head.split(b"\r\n")
    match = _REQUEST_LINE.fullmatch(first)
    if not match:
        if re.search(rb" HTTP/[2-9]", first):
            raise bad_request("only HTTP/1.1 is spoken here", status=505)
        raise bad_request("the request line is not valid")
    method, target, minor = match[1].decode(), match[2].decode(), match[3]
    headers = _parse_headers(lines)
    if minor == b"1" and "host" not in headers:
        raise bad_request("the Host header is missing")
    path, query = _parse_target(target)
    connection = {token.strip().lower() for token in headers.get("connection", "").split(",")}
    return Request(
        method=method,
        target=target,
        path=path,
        query=query,
        headers=headers,
        length=_body_length(headers, minor),
        keep_alive=minor == b"1" and "close" not in connection,
        expects_continue=minor == b"1" and headers.get("expect", "").lower() == "100-continue",
    )


def _parse_headers(lines: list[bytes]) -> dict[str, str]:
    if len(lines) > MAX_HEADERS:
        raise bad_request(f"a request has more than {MAX_HEADERS} headers", status=431)
    headers: dict[str, str] = {}
    for line in lines:
        match = _HEADER.fullmatch(line)
        if not match:
            raise bad_request("a header is not valid")
        name = match[1].decode().lower()
        value = match[2].decode("latin-1").strip(" \t")
        if name in headers:
            if name in ("content-length", "transfer-encoding", "host", "content-range", "authorization"):
                raise bad_request(f"the header {name} is there twice")
            value = f"{headers[name]}, {value}"
        headers[name] = value
    return headers


def _parse_target(target: str) -> tuple[str, dict[str, list[str]]]:
    if not target.startswith("/"):
        try:
            parts = urlsplit(target)
        except ValueError:
            raise bad_request("the request's target is not valid")
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise bad_request("the request's target is not a path")
        target = parts.path + (f"?{parts.query}" if parts.query else "") or "/"
    raw_path, _, raw_query = target.partition("?")
    if re.search(r"%(?![0-9A-Fa-f]{2})", target):
        raise bad_request("the request's target has a broken percent escape")
    try:
        path = unquote_to_bytes(raw_path).decode()
        query = parse_qs(raw_query, keep_blank_values=True, errors="strict", max_num_fields=200)
    except ValueError:
        raise bad_request("the request's target is not UTF-8, or has too many parameters")
    if "\0" in path:
        raise bad_request("the request's target has a NUL byte")
    return path, query


def _body_length(headers: dict[str, str], minor: bytes) -> int | None:
    coding = headers.get("transfer-encoding")
    length = headers.get("content-length")
    if coding is not None:
        if length is not None or minor == b"0":
            raise bad_request("a transfer coding next to a length, or in HTTP/1.0")
        if coding.lower() != "chunked":
            raise bad_request("the only transfer coding is chunked", status=501)
        return None
    if length is None:
        return 0
    if not _DIGITS.fullmatch(length):
        raise bad_request("the Content-Length is not a number")
    return int(length)
