"""The server: keeping connections, limits, shutdown, options."""

from __future__ import annotations

import base64
import hashlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from registry_caller import Caller, sha256

import registry
from pycontain.errors import RegistryError
from registry.app import RegistryServer
from registry.htpasswd import PasswordFile, hash_password
from registry.http.server import Limits
from registry.problem import Problem

LAST = b"Host: x\r\nConnection: close\r\n\r\n"


def exchange(port: int, data: bytes) -> bytes:
    """Send bytes, read until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as raw:
        raw.sendall(data)
        received = b""
        while block := raw.recv(65536):
            received += block
        return received


def test_the_version_endpoint(call: Caller) -> None:
    answer = call("GET", "/v2/")
    assert answer.status == 200
    assert answer.headers["Docker-Distribution-API-Version"] == "registry/2.0"


def test_pipelined_requests_are_answered_in_order(server: RegistryServer) -> None:
    one = b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n"
    two = b"GET /v2/_catalog HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    received = exchange(server.port, one + one + two)
    assert received.count(b"HTTP/1.1 200 OK") == 3 and received.endswith(b'{"repositories": []}')


def test_the_connection_survives_an_error_with_a_small_body(server: RegistryServer) -> None:
    request = b"PATCH /v2/a/blobs/uploads/none HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
    end = b"GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    received = exchange(server.port, request + end)
    assert received.startswith(b"HTTP/1.1 404") and b"HTTP/1.1 200 OK" in received


def test_a_large_refused_body_gets_its_answer(call: Caller) -> None:
    answer = call("PATCH", "/v2/a/blobs/uploads/none", bytes(3 << 20))
    assert answer.status == 404 and answer.headers["Connection"] == "close"


def test_http_1_0(server: RegistryServer) -> None:
    assert exchange(server.port, b"GET /v2/ HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200 OK")


def test_a_tls_hello_is_answered_at_once(server: RegistryServer) -> None:
    context = ssl.create_default_context()
    with (
        socket.create_connection(("127.0.0.1", server.port), timeout=5) as raw,
        pytest.raises(ssl.SSLError),
    ):
        context.wrap_socket(raw, server_hostname="localhost")


def test_methods(call: Caller) -> None:
    answer = call("PUT", "/v2/")
    assert answer.status == 405 and answer.headers["Allow"] == "GET, HEAD"
    assert call("BREW", f"/v2/a/blobs/{sha256(b'')}").status == 405
    assert call("GET", "/v1/").status == 404


def test_an_idle_connection_is_cut(tmp_path: Path) -> None:
    with registry.serve(str(tmp_path), limits=Limits(idle=0.1, head=0.1)) as server:
        start = time.monotonic()
        assert exchange(server.port, b"GET /v2/ HTTP/1.1\r\nHos") == b""
        assert time.monotonic() - start < 5


def test_idle_connections_make_room(tmp_path: Path) -> None:
    with registry.serve(str(tmp_path), limits=Limits(connections=4)) as server:
        held = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(12)]
        try:
            call = Caller(server)
            assert call("GET", "/v2/").status == 200
            call.connection.close()
        finally:
            for raw in held:
                raw.close()


def test_slow_clients_do_not_take_the_workers(tmp_path: Path) -> None:
    with registry.serve(str(tmp_path), limits=Limits(workers=2)) as server:
        held = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(20)]
        try:
            for raw in held:
                raw.sendall(b"GET /v2/ HTTP/1.1\r\n")
            call = Caller(server)
            assert call("GET", "/v2/").status == 200
            call.connection.close()
        finally:
            for raw in held:
                raw.close()


def test_a_stalled_body_is_cut(tmp_path: Path) -> None:
    with registry.serve(str(tmp_path), limits=Limits(stall=0.2)) as server:
        request = b"POST /v2/a/blobs/uploads/?digest=" + sha256(b"").encode()
        assert exchange(server.port, request + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx") == b""


def test_many_clients_at_once(server: RegistryServer) -> None:
    shared = os.urandom(100_000)

    def work(number: int) -> None:
        call = Caller(server)
        own = os.urandom(50_000)
        for data in (shared, own):
            digest = call.push_blob(f"r{number % 3}", data)
            assert call("GET", f"/v2/r{number % 3}/blobs/{digest}").body == data
        call.push_image(f"r{number % 3}", f"t{number}", own)
        call.push_image(f"r{number % 3}", "same", own)
        call.connection.close()

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, range(32)))
    call = Caller(server)
    for number in range(3):
        assert call("GET", f"/v2/r{number}/manifests/same").status == 200
    call.connection.close()


def test_close_lets_a_running_request_end(tmp_path: Path) -> None:
    data = os.urandom(1000)
    server = registry.serve(str(tmp_path))
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as raw:
        raw.sendall(
            f"POST /v2/a/blobs/uploads/?digest={sha256(data)} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
            f"Content-Length: {len(data)}\r\n\r\n".encode()
        )
        assert raw.recv(100).startswith(b"HTTP/1.1 100")
        closer = threading.Thread(target=server.close)
        closer.start()
        raw.sendall(data)
        assert raw.recv(1000).startswith(b"HTTP/1.1 201")
        closer.join()


def test_close_cuts_what_does_not_end(tmp_path: Path) -> None:
    server = registry.serve(str(tmp_path))
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as raw:
        raw.sendall(
            b"POST /v2/a/blobs/uploads/?digest=" + sha256(b"").encode() + b" HTTP/1.1\r\nHost: x\r\n"
            b"Expect: 100-continue\r\nContent-Length: 9\r\n\r\n"
        )
        raw.recv(100)
        server.close(timeout=0.05)
        assert raw.recv(100) == b""


def test_read_only(tmp_path: Path) -> None:
    with registry.serve(str(tmp_path)) as server:
        call = Caller(server)
        call.push_image("a", "v1")
        call.connection.close()
    with registry.serve(str(tmp_path), read_only=True) as server:
        call = Caller(server)
        assert call("GET", "/v2/a/manifests/v1").status == 200
        assert call("POST", "/v2/a/blobs/uploads/").status == 405
        assert call("DELETE", "/v2/a/manifests/v1").status == 405
        call.connection.close()


def test_a_taken_port_is_a_clear_error(server: RegistryServer, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match=f"listen on 127.0.0.1:{server.port}: "):
        registry.serve(str(tmp_path / "other"), port=server.port)


def test_passwords(tmp_path: Path) -> None:
    passwords = tmp_path / "htpasswd"
    sha = base64.b64encode(hashlib.sha1(b"old").digest()).decode()
    passwords.write_text(f"# users\n\nann:{hash_password('secret')}\nbob:{{SHA}}{sha}\n")
    with registry.serve(str(tmp_path / "root"), htpasswd=str(passwords)) as server:
        call = Caller(server)

        def status(pair: str | None) -> int:
            encoded = base64.b64encode(pair.encode()).decode() if pair else ""
            return call("GET", "/v2/", Authorization=f"Basic {encoded}").status

        refused = call("GET", "/v2/")
        assert refused.status == 401 and refused.code == "UNAUTHORIZED"
        assert refused.headers["WWW-Authenticate"].startswith("Basic realm=")
        assert [status(p) for p in ("ann:secret", "ann:secret", "bob:old")] == [200, 200, 200]
        assert [status(p) for p in ("ann:x", "bob:", "eve:secret", None)] == [401] * 4
        passwords.write_text(f"ann:{hash_password('changed')}\n")
        assert [status(p) for p in ("ann:secret", "ann:changed", "bob:old")] == [401, 200, 401]
        call.connection.close()


def test_bcrypt_where_libcrypt_knows_it(tmp_path: Path) -> None:
    passwords = tmp_path / "htpasswd"
    # "secret" at cost 4, and SHA-512-crypt of "secret"
    line = "$2y$04$abcdefghijklmnopqrstuuH2zHkPQ0R1LLZ7Ow2kTQDDDfhGmTGLC"
    passwords.write_text(f"ann:{line}\n")
    try:
        file = PasswordFile(str(passwords))
    except RegistryError as error:
        assert "libcrypt" in str(error)
        return
    made = file._crypt(b"secret", line.encode()) if file._crypt else None
    assert made and made.startswith(b"$2y$04$abcdefghijklmnopqrstuu")
    passwords.write_text(f"ann:{made.decode()}\n")
    file = PasswordFile(str(passwords))
    file.admit("Basic " + base64.b64encode(b"ann:secret").decode())
    with pytest.raises(Problem):
        file.admit("Basic " + base64.b64encode(b"ann:wrong").decode())


@pytest.mark.parametrize("line", ["ann", "ann:$apr1$x$y", "ann:plain", ":x"])
def test_a_password_file_that_is_not_understood(tmp_path: Path, line: str) -> None:
    (tmp_path / "p").write_text(line)
    with pytest.raises(RegistryError, match="line 1"):
        PasswordFile(str(tmp_path / "p"))


def test_tls(tmp_path: Path, certificate: tuple[str, str]) -> None:
    certificate_file, key = certificate
    data = os.urandom(3_000_000)
    with registry.serve(str(tmp_path), tls_cert=certificate_file, tls_key=key) as server:
        context = ssl.create_default_context(cafile=certificate_file)
        with (
            socket.create_connection(("127.0.0.1", server.port), timeout=20) as raw,
            context.wrap_socket(raw, server_hostname="localhost") as tls,
        ):
            head = f"POST /v2/a/blobs/uploads/?digest={sha256(data)} HTTP/1.1\r\nHost: x\r\n"
            tls.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
            assert tls.recv(4000).startswith(b"HTTP/1.1 201")
            tls.sendall(f"GET /v2/a/blobs/{sha256(data)} HTTP/1.1\r\n".encode() + LAST)
            received = b""
            while block := tls.recv(65536):
                received += block
        assert received.endswith(data)
        assert b"use https" in exchange(server.port, b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")


def start_process(root: Path) -> tuple[subprocess.Popen[str], int]:
    process = subprocess.Popen(
        [sys.executable, "-m", "registry", "--address", "127.0.0.1:0", "--root", str(root)],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr
    line = process.stderr.readline()
    assert line.startswith("serving "), line
    return process, int(line.rpartition(":")[2])


def test_sigterm_ends_it_gracefully(tmp_path: Path) -> None:
    process, port = start_process(tmp_path / "root")
    with process:
        assert exchange(port, b"GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").startswith(
            b"HTTP/1.1 200"
        )
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert process.stderr and '"GET /v2/" 200 2 ' in process.stderr.read()


def test_sigkill_in_an_upload_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    data = os.urandom(1_000_000)
    process, port = start_process(tmp_path / "root")
    with process:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as raw:
            done = os.urandom(5000)
            raw.sendall(
                f"POST /v2/a/blobs/uploads/?digest={sha256(done)} HTTP/1.1\r\nHost: x\r\n"
                f"Content-Length: {len(done)}\r\n\r\n".encode()
                + done
            )
            assert raw.recv(4000).startswith(b"HTTP/1.1 201")
            raw.sendall(b"POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = raw.recv(4000).decode()
            location = answer.partition("Location: ")[2].partition("\r\n")[0]
            raw.sendall(
                f"PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: 600000\r\n\r\n".encode()
                + data[:600_000]
            )
            assert raw.recv(4000).startswith(b"HTTP/1.1 202")
            raw.sendall(
                f"PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: 400000\r\n\r\n".encode()
                + data[600_000:700_000]
            )
            process.kill()
            process.wait(20)
        assert process.stderr
    with registry.serve(str(tmp_path / "root")) as server:
        call = Caller(server)
        assert call("GET", f"/v2/a/blobs/{sha256(done)}").body == done
        status = call("GET", location)
        offset = int(status.headers["Range"].partition("-")[2]) + 1
        assert 600_000 <= offset <= 700_000
        call("PATCH", location, data[offset:], Content_Range=f"{offset}-{len(data) - 1}")
        assert call("PUT", f"{location}?digest={sha256(data)}").status == 201
        assert call("GET", f"/v2/a/blobs/{sha256(data)}").body == data
        call.connection.close()


def test_slow_handshakes_do_not_take_the_workers(tmp_path: Path, certificate: tuple[str, str]) -> None:
    limits = Limits(workers=2)
    with registry.serve(
        str(tmp_path), tls_cert=certificate[0], tls_key=certificate[1], limits=limits
    ) as server:
        held = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(10)]
        try:
            for raw in held:
                raw.sendall(b"\x16\x03\x01")
            context = ssl.create_default_context(cafile=certificate[0])
            with (
                socket.create_connection(("127.0.0.1", server.port), timeout=20) as raw,
                context.wrap_socket(raw, server_hostname="localhost") as tls,
            ):
                tls.sendall(b"GET /v2/ HTTP/1.1\r\n" + LAST)
                assert tls.recv(4000).startswith(b"HTTP/1.1 200 OK")
        finally:
            for raw in held:
                raw.close()


def test_the_package_needs_nothing_but_images_and_errors() -> None:
    program = (
        "import sys, registry, registry.commands, registry.htpasswd\n"
        "print(*sorted(m for m in sys.modules if m.startswith('pycontain.') and m.count('.') == 1))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= {"pycontain.errors", "pycontain.image"}
