"""Uploads: at once, in chunks, as a stream, mounted."""

from __future__ import annotations

import random
import socket
from pathlib import Path

import pytest
from registry_caller import Caller, sha256

import registry
from registry.app import RegistryServer

DATA = random.Random(2).randbytes(200_000)
DIGEST = sha256(DATA)


def begin(call: Caller, name: str = "a/b") -> str:
    answer = call("POST", f"/v2/{name}/blobs/uploads/")
    assert answer.status == 202
    return answer.headers["Location"]


def test_post_then_put(call: Caller) -> None:
    answer = call("PUT", f"{begin(call)}?digest={DIGEST}", DATA)
    assert answer.status == 201 and answer.headers["Location"] == f"/v2/a/b/blobs/{DIGEST}"


def test_chunks_with_ranges(call: Caller) -> None:
    location = begin(call)
    for start in range(0, len(DATA), 60_000):
        chunk = DATA[start : start + 60_000]
        answer = call("PATCH", location, chunk, Content_Range=f"{start}-{start + len(chunk) - 1}")
        assert answer.status == 202 and answer.headers["Range"] == f"0-{start + len(chunk) - 1}"
        location = answer.headers["Location"]
    assert call("PUT", f"{location}?digest={DIGEST}").status == 201
    assert call("GET", f"/v2/a/b/blobs/{DIGEST}").body == DATA


def test_the_last_chunk_may_come_with_put(call: Caller) -> None:
    location = begin(call)
    call("PATCH", location, DATA[:1000], Content_Range="0-999")
    wrong = call("PUT", f"{location}?digest={DIGEST}", DATA[1000:], Content_Range="1001-199999")
    assert wrong.status == 416
    right = call("PUT", f"{location}?digest={DIGEST}", DATA[1000:], Content_Range="1000-199999")
    assert right.status == 201


def test_a_stream_without_length(call: Caller) -> None:
    location = begin(call)
    call.connection.request(
        "PATCH", location, (DATA[n : n + 7001] for n in range(0, len(DATA), 7001)), encode_chunked=True,
        headers={"Transfer-Encoding": "chunked"},
    )  # fmt: skip
    response = call.connection.getresponse()
    assert response.status == 202 and response.headers["Range"] == f"0-{len(DATA) - 1}"
    response.read()
    assert call("PUT", f"{location}?digest={DIGEST}").status == 201


def test_a_chunk_out_of_order_is_416_and_the_status_tells_where_to_go_on(call: Caller) -> None:
    location = begin(call)
    call("PATCH", location, DATA[:1000], Content_Range="0-999")
    answer = call("PATCH", location, DATA[2000:3000], Content_Range="2000-2999")
    assert answer.status == 416 and answer.headers["Range"] == "0-999"
    status = call("GET", location)
    assert status.status == 204 and status.headers["Range"] == "0-999"


def test_a_chunk_whose_length_is_not_its_range(call: Caller) -> None:
    answer = call("PATCH", begin(call), DATA[:1000], Content_Range="0-1000")
    assert answer.status == 400 and answer.code == "SIZE_INVALID"


def test_a_wrong_digest_is_refused_and_nothing_kept(call: Caller, tmp_path: Path) -> None:
    location = begin(call)
    wrong = sha256(b"something else")
    answer = call("PUT", f"{location}?digest={wrong}", DATA)
    assert answer.status == 400 and answer.code == "DIGEST_INVALID"
    assert call("GET", location).status == 404
    assert call("HEAD", f"/v2/a/b/blobs/{wrong}").status == 404


def test_put_needs_a_digest(call: Caller) -> None:
    assert call("PUT", begin(call), DATA).code == "DIGEST_INVALID"
    assert call("PUT", begin(call) + "?digest=md5:12", DATA).code == "DIGEST_INVALID"


def test_cancel(call: Caller) -> None:
    location = begin(call)
    assert call("DELETE", location).status == 204
    answer = call("PATCH", location, DATA)
    assert answer.status == 404 and answer.code == "BLOB_UPLOAD_UNKNOWN"


@pytest.mark.parametrize("name", ["..", "%2e%2e", "a.b", "_x", "x" * 65])
def test_upload_names_do_not_escape(call: Caller, name: str) -> None:
    assert call("GET", f"/v2/a/b/blobs/uploads/{name}").status == 404


def test_mount(call: Caller) -> None:
    call.push_blob("a/b", DATA)
    answer = call("POST", f"/v2/c/blobs/uploads/?mount={DIGEST}&from=a/b")
    assert answer.status == 201
    assert call("GET", f"/v2/c/blobs/{DIGEST}").body == DATA
    assert call("POST", f"/v2/d/blobs/uploads/?mount={DIGEST}").status == 201  # from anywhere


def test_a_mount_that_cannot_be_is_an_upload(call: Caller) -> None:
    answer = call("POST", f"/v2/c/blobs/uploads/?mount={DIGEST}&from=a/b")
    assert answer.status == 202
    assert call("PUT", f"{answer.headers['Location']}?digest={DIGEST}", DATA).status == 201


def test_a_stream_that_breaks_off_can_be_taken_up(server: RegistryServer, call: Caller) -> None:
    location = begin(call)
    with socket.create_connection(("127.0.0.1", server.port)) as raw:
        raw.sendall(
            f"PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(DATA)}\r\n\r\n".encode()
            + DATA[:5000]
        )
        raw.shutdown(socket.SHUT_WR)
        assert raw.recv(100) == b""  # the server has noticed
    status = call("GET", location)
    assert status.headers["Range"] == "0-4999"
    call("PATCH", location, DATA[5000:], Content_Range=f"5000-{len(DATA) - 1}")
    assert call("PUT", f"{location}?digest={DIGEST}").status == 201


def test_another_server_can_finish_an_upload(tmp_path: Path) -> None:
    root = str(tmp_path / "root")
    with registry.serve(root) as first:
        call = Caller(first)
        location = begin(call)
        call("PATCH", location, DATA[:100_000])
        call.connection.close()
    with registry.serve(root) as second:
        call = Caller(second)
        assert call("PUT", f"{location}?digest={DIGEST}", DATA[100_000:]).status == 201
        assert call("GET", f"/v2/a/b/blobs/{DIGEST}").body == DATA
        call.connection.close()


def test_two_writers_of_one_upload(server: RegistryServer, call: Caller) -> None:
    location = begin(call)
    with socket.create_connection(("127.0.0.1", server.port)) as raw:
        raw.sendall(f"PATCH {location} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n".encode())
        raw.sendall(b"Content-Length: 10\r\n\r\n")
        assert raw.recv(100).startswith(b"HTTP/1.1 100 ")  # it is being read now
        answer = call("PATCH", location, b"abc")
        assert answer.status == 429 and answer.headers["Retry-After"] == "1"


def test_one_copy_of_a_blob(server: RegistryServer, call: Caller, tmp_path: Path) -> None:
    for name in ("a", "b", "c/d"):
        call.push_blob(name, DATA)
    files = [p for p in (tmp_path / "registry").rglob("*") if p.is_file() and p.stat().st_size == len(DATA)]
    assert len(files) == 1
