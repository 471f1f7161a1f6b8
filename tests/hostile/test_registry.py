"""The registry server against bytes that no decent client sends."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator

import pytest

import registry
from pycontain.errors import PycontainError
from registry.app import RegistryServer
from registry.http.body import Body
from registry.http.channel import Channel, Disconnected
from registry.http.ranges import Unsatisfiable, parse_ranges
from registry.http.request import MAX_HEAD, parse_head
from registry.problem import Problem


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    root = tmp_path_factory.mktemp("registry")
    with registry.serve(str(root), durable=False) as running:
        yield running


def exchange(server: RegistryServer, data: bytes) -> bytes:
    """Send bytes and end the stream; everything that comes back."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as raw:
        received = b""
        try:
            raw.sendall(data)
            raw.shutdown(socket.SHUT_WR)
            while block := raw.recv(65536):
                received += block
        except ConnectionError:
            pass  # cut off while still sending: an answer too
        return received


def alive(server: RegistryServer) -> bool:
    return exchange(server, b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n").startswith(b"HTTP/1.1 200 OK\r\n")


POST = b"POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: x\r\n"
BAD_HEADS = {
    "two lengths": POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "length and coding": POST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    "odd coding": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
    "negative length": POST + b"Content-Length: -1\r\n\r\n",
    "signed length": POST + b"Content-Length: +1\r\n\r\n",
    "folded header": b"GET /v2/ HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n",
    "space before colon": b"GET /v2/ HTTP/1.1\r\nHost : x\r\n\r\n",
    "bare LF": b"GET /v2/ HTTP/1.1\nHost: x\n\r\n\r\n",
    "no host": b"GET /v2/ HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /v2/ HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    "NUL in a header": b"GET /v2/ HTTP/1.1\r\nHost: x\r\nA: \0\r\n\r\n",
    "NUL in the path": b"GET /v2/a%00/tags/list HTTP/1.1\r\nHost: x\r\n\r\n",
    "broken escape": b"GET /v2/%zz HTTP/1.1\r\nHost: x\r\n\r\n",
    "not UTF-8": b"GET /v2/%ff%fe HTTP/1.1\r\nHost: x\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "two spaces": b"GET  /v2/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "another scheme": b"GET ftp://x/v2/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "many headers": b"GET /v2/ HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 200 + b"\r\n",
    "a long head": b"GET /v2/ HTTP/1.1\r\nHost: " + b"x" * (MAX_HEAD + 1),
    "no HTTP at all": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}


@pytest.mark.parametrize("data", BAD_HEADS.values(), ids=BAD_HEADS.keys())
def test_a_bad_head_gets_one_error_and_the_end(server: RegistryServer, data: bytes) -> None:
    smuggled = b"GET /v2/_catalog HTTP/1.1\r\nHost: x\r\n\r\n"
    received = exchange(server, data + smuggled)
    assert received[:10] in (b"HTTP/1.1 4", b"HTTP/1.1 5")
    assert received.count(b"\r\nDate: ") == 1
    assert alive(server)


@pytest.mark.parametrize(
    "body",
    [b"zz\r\n", b"-1\r\n", b"0x5\r\nhello\r\n", b"5\r\nhelloworld\r\n0\r\n\r\n", b"5" * 30 + b"\r\n",
     b"5;" + b"x" * 9000 + b"\r\nhello\r\n", b"0\r\n" + b"A: b\r\n" * 99 + b"\r\n", b"5\nhello\n0\n\n"],
)  # fmt: skip
def test_a_bad_chunk_gets_one_error_and_the_end(server: RegistryServer, body: bytes) -> None:
    location = exchange(server, b"POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: x\r\n\r\n")
    path = location.partition(b"Location: ")[2].partition(b"\r\n")[0]
    head = b"PATCH " + path + b" HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    received = exchange(server, head + body)
    assert received == b"" or received.startswith(b"HTTP/1.1 400 ")
    assert alive(server)


def test_random_bytes(server: RegistryServer) -> None:
    random_ = random.Random(3)
    for _ in range(150):
        received = exchange(server, random_.randbytes(random_.randrange(1, 300)) + b"\r\n\r\n")
        assert received == b"" or received.startswith(b"HTTP/1.1 4") or received.startswith(b"HTTP/1.1 5")
    assert alive(server)


def mutate(data: bytes, random_: random.Random) -> bytes:
    """A few bytes changed, dropped, doubled or cut off."""
    mutated = bytearray(data)
    for _ in range(random_.randrange(1, 6)):
        position = random_.randrange(len(mutated) + 1)
        match random_.randrange(5):
            case 0:
                mutated[position : position + 1] = bytes([random_.randrange(256)])
            case 1:
                del mutated[position : position + random_.randrange(1, 8)]
            case 2:
                mutated[position:position] = mutated[position : position + random_.randrange(1, 30)]
            case 3:
                mutated[position:position] = random_.choice(
                    [b"\r\n", b"\n", b"\0", b": ", b"..", b"%2f", b"\xff"]
                )
            case _ if len(mutated) > 20:
                del mutated[random_.randrange(10, len(mutated)) :]
    return bytes(mutated)


HEAD = (
    b"PUT /v2/a/b/blobs/uploads/1234?digest=sha256%3A" + b"0" * 64 + b"&tag=x HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Length: 12\r\nContent-Range: 0-11\r\nRange: bytes=0-1,5-9\r\nAuthorization: Basic eDp5\r\n"
    b"Expect: 100-continue\r\nConnection: keep-alive, TE"
)


def test_mutated_heads_never_raise_anything_else() -> None:
    random_ = random.Random(4)
    understood = 0
    for _ in range(20_000):
        try:
            request = parse_head(mutate(HEAD, random_))
        except Problem as problem:
            assert 400 <= problem.status < 600
        else:
            understood += 1
            assert request.length is None or request.length >= 0
            assert not any(c in value for value in request.headers.values() for c in "\r\n\0")
    assert understood > 1000


def test_mutated_chunked_bodies_never_raise_anything_else() -> None:
    random_ = random.Random(5)
    good = b"5\r\nhello\r\n1a;x=y\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\nTrailer: x\r\n\r\n"
    view = memoryview(bytearray(16))
    for _ in range(3000):
        ours, theirs = socket.socketpair()
        with ours:
            data = mutate(good, random_)
            cut = random_.randrange(len(data) + 1)
            theirs.sendall(data[cut:])
            theirs.close()
            body = Body(Channel(ours, 5), bytearray(data[:cut]), None, False)
            try:
                while body.read_into(view):
                    pass
            except (Problem, Disconnected):
                pass


def test_mutated_ranges_stay_inside_the_file() -> None:
    random_ = random.Random(6)
    for _ in range(20_000):
        header = mutate(b"bytes=0-99,200-,-7,1000-1001", random_).decode("latin-1")
        try:
            ranges = parse_ranges(header, 1000)
        except Unsatisfiable:
            continue
        for offset, length in ranges or ():
            assert 0 <= offset < 1000 and 0 < length <= 1000 - offset


def test_names_never_leave_the_root(server: RegistryServer) -> None:
    names = [
        "..",
        "../x",
        "a/../../x",
        "/etc",
        "a//b",
        "a/_tags",
        "_tags",
        "a/.hidden",
        "a/b/",
        "A",
        "ä",
        "a" * 256,
    ]
    for name in names:
        for path in (f"/v2/{name}/manifests/x", f"/v2/{name}/tags/list", f"/v2/{name}/blobs/uploads/x"):
            request = f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
            received = exchange(server, request)
            assert received.startswith((b"HTTP/1.1 400", b"HTTP/1.1 404")), (path, received)


def test_deeply_nested_json_is_an_invalid_manifest(server: RegistryServer) -> None:
    body = b'{"schemaVersion":2,"x":' + b"[" * 500_000 + b"]" * 500_000 + b"}"
    head = b"PUT /v2/a/manifests/x HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    assert exchange(server, head + body).startswith(b"HTTP/1.1 400 ")
    assert alive(server)


def test_problems_are_errors_of_pycontain() -> None:
    assert issubclass(Problem, PycontainError)
