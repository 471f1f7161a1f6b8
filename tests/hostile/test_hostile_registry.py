"""The client against registries that hang, lie and wander: one clear error, and an unharmed store."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pycontain.client import Silent, pull
from pycontain.client.connection import Patience
from pycontain.client.credentials import DockerConfig
from pycontain.client.transport import Transport
from pycontain.errors import DigestMismatch, PycontainError, RegistryError
from pycontain.image.reference import Reference
from pycontain.store import Store

QUICK = Patience(connect=2, read=0.3, head=0.5, store=0.5, attempts=2, backoff=0.001, longest=0.01)
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
Script = Callable[[socket.socket, str], None]


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def answer(
    sock: socket.socket, body: bytes, *headers: str, status: str = "200 OK", length: int | None = None
) -> None:
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers]
    sock.sendall("\r\n".join(head).encode() + b"\r\n\r\n" + body)


class Liar:
    """A server on raw sockets: for each request the script gets the socket and the request's head."""

    def __init__(self) -> None:
        self.script: Script = lambda sock, head: answer(sock, b"")
        self.heads: list[str] = []
        self.done = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads: list[threading.Thread] = []
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            sock, _ = self._listener.accept()
            if self.done.is_set():
                sock.close()
                return
            thread = threading.Thread(target=self._serve, args=(sock,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        with sock:
            sock.settimeout(20)
            try:
                while True:
                    head = b""
                    while not head.endswith(b"\r\n\r\n"):
                        byte = sock.recv(1)
                        if not byte:
                            return
                        head += byte
                    self.heads.append(head.decode())
                    self.script(sock, head.decode())
            except OSError:
                pass  # the client had enough

    def close(self) -> None:
        self.done.set()
        socket.create_connection(self._listener.getsockname()).close()
        self._thread.join()
        for thread in self._threads:
            thread.join(20)
        self._listener.close()


@pytest.fixture
def liar() -> Iterator[Liar]:
    liar = Liar()
    yield liar
    liar.close()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


def attempt(liar: Liar, store: Store, patience: Patience = QUICK, name: str = "app:1") -> None:
    config = DockerConfig("/nonexistent/config.json")
    with Transport(liar.address, config=config, patience=patience, environment={}) as transport:
        pull(store, Reference.parse(f"{liar.address}/{name}"), None, Silent(), transport=transport)


def assert_unharmed(store: Store) -> None:
    assert store.tags.items() == [] and os.listdir(store.tmp) == []


class Image:
    """A small image as bytes, with a script that serves it, and places to lie in."""

    def __init__(self) -> None:
        self.tar = bytes(10240)
        self.layer = gzip.compress(self.tar, mtime=0)
        self.diff_ids = [sha256(self.tar)]
        self.layer_size: int | None = None
        self.served_layer: bytes | None = None
        self.served_config: bytes | None = None
        self.layer_type = "application/vnd.oci.image.layer.v1.tar+gzip"

    def build(self) -> bytes:
        self.config = json.dumps(
            {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": self.diff_ids}}
        ).encode()
        size = len(self.layer) if self.layer_size is None else self.layer_size
        return json.dumps({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json",
                       "digest": sha256(self.config), "size": len(self.config)},
            "layers": [{"mediaType": self.layer_type, "digest": sha256(self.layer), "size": size}],
        }).encode()  # fmt: skip

    def script(self, sock: socket.socket, head: str) -> None:
        manifest = self.build()
        if "/manifests/" in head:
            answer(sock, manifest, f"Content-Type: {MANIFEST}")
        elif sha256(self.config) in head:
            answer(sock, self.config if self.served_config is None else self.served_config)
        else:
            answer(sock, self.layer if self.served_layer is None else self.served_layer)


def test_the_image_is_good_without_a_lie(liar: Liar, store: Store) -> None:
    liar.script = Image().script
    attempt(liar, store)
    assert len(store.tags.items()) == 1


# --- silence and slowness


def silent(sock: socket.socket, head: str) -> None:
    sock.recv(1)  # until the client hangs up


def endless_head(sock: socket.socket, head: str) -> None:
    sock.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        sock.sendall(b"x")
        time.sleep(0.01)


def endless_continue(sock: socket.socket, head: str) -> None:
    while True:
        sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        time.sleep(0.001)


def endless_headers(sock: socket.socket, head: str) -> None:
    sock.sendall(b"HTTP/1.1 200 OK\r\n")
    for number in range(100_000):
        sock.sendall(b"X-%d: y\r\n" % number)


def garbage(sock: socket.socket, head: str) -> None:
    sock.sendall(b"\x00\x01\x02" * 100)
    sock.shutdown(socket.SHUT_RDWR)


def hang_up(sock: socket.socket, head: str) -> None:
    sock.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    "script", [silent, endless_head, endless_continue, endless_headers, garbage, hang_up]
)
def test_a_registry_that_never_comes_to_the_point(liar: Liar, store: Store, script: Script) -> None:
    liar.script = script
    start = time.monotonic()
    with pytest.raises(RegistryError, match=liar.address):
        attempt(liar, store)
    assert time.monotonic() - start < 10
    assert_unharmed(store)


def test_a_layer_that_hangs(liar: Liar, store: Store) -> None:
    image = Image()

    def script(sock: socket.socket, head: str) -> None:
        if "/blobs/" in head and sha256(image.layer) in head:
            answer(sock, image.layer[:20], length=len(image.layer))
            sock.recv(1)
        else:
            image.script(sock, head)

    liar.script = script
    with pytest.raises(RegistryError, match="does not answer in time"):
        attempt(liar, store)
    assert_unharmed(store)


# --- manifests


def test_an_endless_manifest(liar: Liar, store: Store) -> None:
    def script(sock: socket.socket, head: str) -> None:
        sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            sock.sendall(b"10000\r\n" + b" " * 65536 + b"\r\n")

    liar.script = script
    with pytest.raises(RegistryError, match="more than 4194304 bytes"):
        attempt(liar, store)


def test_a_manifest_over_4_MiB_is_not_even_loaded(liar: Liar, store: Store) -> None:
    liar.script = lambda sock, head: answer(sock, b"{", length=(4 << 20) + 1)
    with pytest.raises(RegistryError, match="a manifest of 4194305 bytes"):
        attempt(liar, store)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'"x"', b"\xff\xfe", b'{"schemaVersion": 1}', b'{"schemaVersion": 2}',
     b'{"schemaVersion":2,"layers":' + b"[" * 100_000, b'{"schemaVersion":2,"config":{},"layers":[{}]}',
     b'{"schemaVersion":2,"config":null,"layers":null}'],
)  # fmt: skip
def test_what_is_no_manifest(liar: Liar, store: Store, body: bytes) -> None:
    liar.script = lambda sock, head: answer(sock, body, f"Content-Type: {MANIFEST}")
    with pytest.raises(PycontainError):
        attempt(liar, store)
    assert_unharmed(store)


def test_indexes_that_go_on_for_ever(liar: Liar, store: Store) -> None:
    kind = "application/vnd.oci.image.index.v1+json"
    bodies = [b'{"schemaVersion":2,"manifests":[]}']
    for _ in range(20):
        child = {"mediaType": kind, "digest": sha256(bodies[-1]), "size": len(bodies[-1]),
                 "platform": {"os": "linux", "architecture": "amd64"}}  # fmt: skip
        bodies.append(json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": [child]}).encode())
    by_digest = {sha256(body): body for body in bodies}

    def script(sock: socket.socket, head: str) -> None:
        target = head.split(" ")[1].rpartition("/")[2]
        answer(sock, by_digest.get(target, bodies[-1]), f"Content-Type: {kind}")

    liar.script = script
    with pytest.raises(PycontainError, match="indexes inside each other"):
        attempt(liar, store)


def test_another_manifest_than_the_one_asked_for(liar: Liar, store: Store) -> None:
    image = Image()
    liar.script = image.script
    with pytest.raises(DigestMismatch):
        attempt(liar, store, name="app@" + sha256(b"another"))


def test_a_digest_header_that_lies(liar: Liar, store: Store) -> None:
    manifest = Image().build()
    header = f"Docker-Content-Digest: {sha256(b'x')}"
    liar.script = lambda sock, head: answer(sock, manifest, f"Content-Type: {MANIFEST}", header)
    with pytest.raises(DigestMismatch):
        attempt(liar, store)


# --- blobs


def flip(data: bytes) -> bytes:
    return data[:-5] + bytes([data[-5] ^ 1]) + data[-4:]


@pytest.mark.parametrize(
    "lie", ["config", "layer", "longer", "shorter", "size", "diff_id", "count", "type", "huge"]
)
def test_lies_about_blobs(liar: Liar, store: Store, lie: str) -> None:
    image = Image()
    image.build()
    match lie:
        case "config":
            image.served_config = flip(image.config)
        case "layer":
            image.served_layer = flip(image.layer)
        case "longer":
            image.served_layer = image.layer + b"x"
        case "shorter":
            image.served_layer = image.layer[:-1]
        case "size":
            image.layer_size = len(image.layer) - 1
        case "diff_id":
            image.diff_ids = [sha256(b"another")]
        case "count":
            image.diff_ids = [sha256(image.tar)] * 2
        case "type":
            image.layer_type = "application/vnd.oci.image.layer.v1.tar+encrypted"
        case _:
            image.layer_size = 1 << 62
    liar.script = image.script
    with pytest.raises(PycontainError):
        attempt(liar, store)
    assert_unharmed(store)


def test_a_body_that_does_not_end_at_its_size(liar: Liar, store: Store) -> None:
    image = Image()

    def script(sock: socket.socket, head: str) -> None:
        if "/blobs/" not in head or sha256(image.layer) not in head:
            image.script(sock, head)
            return
        sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        sock.sendall(b"%x\r\n" % len(image.layer) + image.layer + b"\r\n")
        while True:
            sock.sendall(b"10000\r\n" + bytes(65536) + b"\r\n")

    liar.script = script
    with pytest.raises(RegistryError, match=r"more bytes .* the manifest says"):
        attempt(liar, store)
    assert_unharmed(store)


def test_a_resumed_download_that_is_another_range(liar: Liar, store: Store) -> None:
    image = Image()
    image.layer = gzip.compress(image.tar, 0, mtime=0)
    size = len(image.layer)

    def script(sock: socket.socket, head: str) -> None:
        if sha256(image.layer) not in head:
            image.script(sock, head)
        elif "Range:" in head:
            answer(sock, image.layer[5:], f"Content-Range: bytes 5-{size - 1}/{size}", status="206 Partial")
        else:
            answer(sock, image.layer[:100], length=size)
            sock.shutdown(socket.SHUT_RDWR)

    liar.script = script
    with pytest.raises(RegistryError, match="another range"):
        attempt(liar, store)


# --- credentials


def logged_in(tmp_path: Path, address: str) -> DockerConfig:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"auths": {address: {"auth": "YW5uOnNlY3JldA=="}}}))
    return DockerConfig(str(path))


def test_a_redirect_takes_no_credentials_along(liar: Liar, store: Store, tmp_path: Path) -> None:
    thief = Liar()
    try:

        def script(sock: socket.socket, head: str) -> None:
            if "Authorization: Basic YW5uOnNlY3JldA==" in head:
                answer(sock, b"", f"Location: http://{thief.address}/x", status="307 Temporary Redirect")
            else:
                answer(sock, b"", 'WWW-Authenticate: Basic realm="x"', status="401 Unauthorized")

        liar.script = script
        thief.script = lambda sock, head: answer(
            sock, b"", 'WWW-Authenticate: Basic realm="x"', status="401 Unauthorized"
        )
        config = logged_in(tmp_path, liar.address)
        with (
            Transport(liar.address, config=config, patience=QUICK, environment={}) as transport,
            pytest.raises(RegistryError),
        ):
            pull(store, Reference.parse(f"{liar.address}/app:1"), None, Silent(), transport=transport)
        assert thief.heads and not any("authorization" in head.lower() for head in thief.heads)
    finally:
        thief.close()


@pytest.mark.parametrize(
    "realm", ["file:///etc/passwd", "", "gopher://x/", "http://[::", "http://127.0.0.1:1/token"]
)
def test_a_token_server_that_is_none(liar: Liar, store: Store, realm: str) -> None:
    challenge = f'WWW-Authenticate: Bearer realm="{realm}"'
    liar.script = lambda sock, head: answer(sock, b"", challenge, status="401 Unauthorized")
    with pytest.raises(RegistryError):
        attempt(liar, store)


def test_an_endless_token(liar: Liar, store: Store) -> None:
    def script(sock: socket.socket, head: str) -> None:
        if "/token" in head:
            answer(sock, bytes(2 << 20))
        else:
            challenge = f'WWW-Authenticate: Bearer realm="http://{liar.address}/token"'
            answer(sock, b"", challenge, status="401 Unauthorized")

    liar.script = script
    with pytest.raises(RegistryError, match="more than 1048576 bytes"):
        attempt(liar, store)


# --- as a user sees it


def test_one_line_and_exit_code_125(liar: Liar, tmp_path: Path) -> None:
    body = json.dumps({"errors": [{"code": "X", "message": "two\nlines\x1b[31m"}]}).encode()
    liar.script = lambda sock, head: answer(
        sock, body, "Content-Type: application/json", status="404 Not Found"
    )
    program = "from pycontain.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "pull", "-q", f"{liar.address}/app:1"],
        capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYCONTAIN_ROOT": str(tmp_path / "root"), "DOCKER_CONFIG": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 125 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("pycontain: pull app:1: ")
    assert "\x1b" not in done.stderr
