"""Blobs: reading, ranges, deleting."""

from __future__ import annotations

import email
import hashlib
import random

import pytest
from registry_caller import Caller, sha256

DATA = random.Random(1).randbytes(300_000)


def test_head_tells_length_and_digest_without_a_body(call: Caller) -> None:
    digest = call.push_blob("a/b", DATA)
    answer = call("HEAD", f"/v2/a/b/blobs/{digest}")
    assert answer.status == 200 and answer.body == b""
    assert answer.headers["Content-Length"] == str(len(DATA))
    assert answer.headers["Docker-Content-Digest"] == digest


def test_get_gives_the_bytes(call: Caller) -> None:
    digest = call.push_blob("a/b", DATA)
    assert call("GET", f"/v2/a/b/blobs/{digest}").body == DATA


@pytest.mark.parametrize(
    ("header", "start", "end"),
    [("bytes=0-0", 0, 1), ("bytes=100-199", 100, 200), ("bytes=299990-", 299_990, 300_000),
     ("bytes=-7", 299_993, 300_000), ("bytes=299999-999999", 299_999, 300_000)],
)  # fmt: skip
def test_single_range(call: Caller, header: str, start: int, end: int) -> None:
    digest = call.push_blob("a/b", DATA)
    answer = call("GET", f"/v2/a/b/blobs/{digest}", Range=header)
    assert answer.status == 206 and answer.body == DATA[start:end]
    assert answer.headers["Content-Range"] == f"bytes {start}-{end - 1}/{len(DATA)}"


def test_several_ranges_come_as_multipart(call: Caller) -> None:
    digest = call.push_blob("a/b", DATA)
    answer = call("GET", f"/v2/a/b/blobs/{digest}", Range="bytes=5-9, 1000-1999, -3")
    assert answer.status == 206
    message = email.message_from_bytes(
        f"Content-Type: {answer.headers['Content-Type']}\r\n\r\n".encode() + answer.body
    )
    parts = message.get_payload()
    assert isinstance(parts, list) and len(parts) == 3
    assert answer.body.count(DATA[1000:2000]) == 1 and DATA[5:10] in answer.body
    assert [part["Content-Range"] for part in parts][2] == f"bytes 299997-299999/{len(DATA)}"


def test_a_range_header_of_30_kB_is_taken(call: Caller) -> None:
    digest = call.push_blob("a/b", DATA)
    ranges = ",".join(f"{n}-{n + 1}" for n in range(100_000, 102_000, 2))
    answer = call("GET", f"/v2/a/b/blobs/{digest}", Range="bytes=" + ranges.replace(",", ",             "))
    assert answer.status == 206 and answer.body.count(b"Content-Range") == 1000


def test_no_fitting_range_is_416(call: Caller) -> None:
    digest = call.push_blob("a/b", DATA)
    answer = call("GET", f"/v2/a/b/blobs/{digest}", Range="bytes=300000-300001")
    assert answer.status == 416 and answer.headers["Content-Range"] == f"bytes */{len(DATA)}"


def test_overlapping_ranges_do_not_multiply_the_work(call: Caller) -> None:
    digest = call.push_blob("a/b", DATA)
    answer = call("GET", f"/v2/a/b/blobs/{digest}", Range="bytes=" + ",".join(["0-"] * 100))
    assert answer.status == 200 and answer.body == DATA


def test_if_none_match_and_if_range(call: Caller) -> None:
    digest = call.push_blob("a/b", DATA)
    assert call("GET", f"/v2/a/b/blobs/{digest}", If_None_Match=f'"{digest}"').status == 304
    assert call("GET", f"/v2/a/b/blobs/{digest}", Range="bytes=0-1", If_Range='"other"').status == 200
    assert call("GET", f"/v2/a/b/blobs/{digest}", Range="bytes=0-1", If_Range=f'"{digest}"').status == 206


def test_a_blob_is_in_its_repository_only(call: Caller) -> None:
    digest = call.push_blob("a/b", DATA)
    answer = call("GET", f"/v2/a/c/blobs/{digest}")
    assert answer.status == 404 and answer.code == "BLOB_UNKNOWN"


def test_delete(call: Caller) -> None:
    digest = call.push_blob("a/b", DATA)
    assert call("DELETE", f"/v2/a/b/blobs/{digest}").status == 202
    assert call("HEAD", f"/v2/a/b/blobs/{digest}").status == 404
    assert call("DELETE", f"/v2/a/b/blobs/{digest}").status == 404


def test_not_a_digest(call: Caller) -> None:
    answer = call("GET", "/v2/a/b/blobs/sha256:12")
    assert answer.status == 400 and answer.code == "DIGEST_INVALID"


def test_the_empty_blob(call: Caller) -> None:
    digest = sha256(b"")
    location = call("POST", "/v2/a/b/blobs/uploads/").headers["Location"]
    assert call("PUT", f"{location}?digest={digest}").status == 201
    answer = call("GET", f"/v2/a/b/blobs/{digest}")
    assert answer.status == 200 and answer.body == b""


def test_sha512(call: Caller) -> None:
    digest = "sha512:" + hashlib.sha512(DATA).hexdigest()
    assert call("POST", f"/v2/a/b/blobs/uploads/?digest={digest}", DATA).status == 201
    begun = call("POST", "/v2/a/c/blobs/uploads/?digest-algorithm=sha512")
    location = begun.headers["Location"]
    assert call("PATCH", location, DATA).status == 202
    assert call("PUT", f"{location}?digest={digest}").status == 201
    assert call("GET", f"/v2/a/c/blobs/{digest}").body == DATA
