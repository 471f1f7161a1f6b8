"""Requests: retries, redirects, authorisation."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from client_world import QUICK, World

from pycontain.client.credentials import DockerConfig
from pycontain.client.transport import Transport, is_plain
from pycontain.errors import RegistryError
from registry.http.body import Body
from registry.http.request import Request
from registry.http.response import Response
from registry.http.server import Server


def docker_config(tmp_path: Path, **value: object) -> DockerConfig:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(value))
    return DockerConfig(str(path))


def login(tmp_path: Path, registry: str, **more: str) -> DockerConfig:
    entry = {"auth": base64.b64encode(b"ann:secret").decode(), **more}
    return docker_config(tmp_path, auths={registry: entry})


def status(transport: Transport, method: str, target: str, scope: str = "") -> int:
    response = transport.request(method, target, scope=scope)
    response.finish()
    return response.status


def test_passing_failures_are_tried_again(world: World) -> None:
    answers = iter([Response(503), Response(429, [("Retry-After", "7")]), None])
    world.intercept = lambda request, body: next(answers)
    with world.transport(patience=QUICK._replace(longest=30, attempts=5)) as transport:
        assert status(transport, "GET", "/v2/") == 200
    assert len(world.pauses) == 2 and world.pauses[0] < 1 and world.pauses[1] == 7


def test_pauses_grow(world: World) -> None:
    world.intercept = lambda request, body: Response(500)
    patience = QUICK._replace(attempts=6, backoff=1.0, longest=1000)
    with world.transport(patience=patience) as transport:
        assert status(transport, "GET", "/v2/") == 500
    assert len(world.pauses) == 5
    for number, pause in enumerate(world.pauses):
        assert 0.5 * 2**number <= pause <= 1.5 * 2**number


def test_a_refusal_is_not_tried_again(world: World) -> None:
    world.intercept = lambda request, body: Response(403)
    with world.transport() as transport:
        response = transport.request("GET", "/v2/")
        error = transport.error("pull x", response)
    assert len(world.requests) == 1 and error.code == "DENIED"
    assert "pycontain login" in str(error)


def test_connections_are_kept(world: World) -> None:
    with world.transport() as transport:
        for _ in range(5):
            transport.request("GET", "/v2/").finish()
        assert len(transport._pool._idle[transport._origin]) == 1


def test_nobody_listens(tmp_path: Path) -> None:
    server = Server(lambda request, body: Response(200), "127.0.0.1", 0)
    server.close()
    with (
        Transport(server.address, patience=QUICK) as transport,
        pytest.raises(RegistryError, match=f"{server.address}: nothing listens there"),
    ):
        transport.request("GET", "/v2/")


def test_redirects_lose_credentials_at_another_host(world: World, tmp_path: Path) -> None:
    seen: list[str | None] = []

    def elsewhere(request: Request, body: Body) -> Response:
        seen.append(request.header("authorization"))
        return Response(200, [], b"content")

    with Server(elsewhere, "127.0.0.1", 0) as other:
        challenge = ("WWW-Authenticate", 'Basic realm="x"')

        def redirect(request: Request, body: Body) -> Response:
            if not request.header("authorization"):
                return Response(401, [challenge])
            if request.path == "/here":
                return Response(200, [], b"here")
            target = "/here" if request.path == "/inside" else f"{other.url}/blob?signature=1"
            return Response(307, [("Location", target)])

        world.intercept = redirect
        with world.transport(login(tmp_path, world.address)) as transport:
            assert transport.request("GET", "/inside").read(100) == b"here"
            assert transport.request("GET", "/outside").read(100) == b"content"
    assert seen == [None]


def test_redirects_end(world: World) -> None:
    world.intercept = lambda request, body: Response(302, [("Location", request.path + "x")])
    with world.transport() as transport, pytest.raises(RegistryError, match="more than 8 redirects"):
        transport.request("GET", "/v2/")


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "ftp://127.0.0.1/", "http://", "http://[::1", "//:99999/"]
)
def test_redirects_to_what_is_not_http(world: World, target: str) -> None:
    world.intercept = lambda request, body: Response(302, [("Location", target)])
    with world.transport() as transport, pytest.raises(RegistryError):
        transport.request("GET", "/v2/")


class TokenServer:
    """Gives tokens, and notes how it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, list[str]], str | None, bytes]] = []
        self.answer = Response(200, [], b'{"token": "T1", "expires_in": 300}')
        self.server = Server(self.handle, "127.0.0.1", 0)

    def handle(self, request: Request, body: Body) -> Response:
        data = body.read(10_000, AssertionError())  # type: ignore[arg-type]
        self.asked.append((request.method, request.query, request.header("authorization"), data))
        return self.answer

    def protect(self, world: World, scope: str = "repository:a/b:pull") -> None:
        """Let the world's registry want a token of this server."""
        challenge = f'Bearer realm="{self.server.url}/token",service="reg",scope="{scope}"'

        def check(request: Request, body: Body) -> Response | None:
            if request.header("authorization") == "Bearer T1":
                return None
            return Response(401, [("WWW-Authenticate", challenge)])

        world.intercept = check


def test_a_token_is_fetched_once_and_used(world: World, tmp_path: Path) -> None:
    tokens = TokenServer()
    with tokens.server, world.transport(login(tmp_path, world.address)) as transport:
        tokens.protect(world)
        for _ in range(3):
            assert status(transport, "GET", "/v2/", scope="repository:a/b:pull,push") == 200
    basic = "Basic " + base64.b64encode(b"ann:secret").decode()
    assert tokens.asked == [("GET", {"service": ["reg"], "scope": ["repository:a/b:pull,push"]}, basic, b"")]
    assert len(world.requests) == 4  # one refused


def test_without_a_login_the_token_is_anonymous(world: World) -> None:
    tokens = TokenServer()
    with tokens.server, world.transport() as transport:
        tokens.protect(world)
        assert status(transport, "GET", "/v2/") == 200
    assert tokens.asked == [("GET", {"service": ["reg"], "scope": ["repository:a/b:pull"]}, None, b"")]


def test_an_identity_token_is_a_refresh_token(world: World, tmp_path: Path) -> None:
    tokens = TokenServer()
    tokens.answer = Response(200, [], b'{"access_token": "T1"}')
    config = login(tmp_path, world.address, identitytoken="long lived")
    with tokens.server, world.transport(config) as transport:
        tokens.protect(world)
        assert status(transport, "GET", "/v2/") == 200
    [(method, _, authorization, data)] = tokens.asked
    assert method == "POST" and authorization is None
    assert b"grant_type=refresh_token" in data and b"refresh_token=long+lived" in data


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Response(401), "the credentials are wrong"),
        (Response(500), "HTTP 500"),
        (Response(200, [], b"{}"), "sent no token"),
        (Response(200, [], b"["), "sent no token"),
        (Response(200, [], b'{"token": "a\\r\\nX: y"}'), "sent no token"),
        (Response(200, [], b'{"token": 1}'), "sent no token"),
    ],
)
def test_a_token_server_that_fails(world: World, answer: Response, message: str) -> None:
    tokens = TokenServer()
    tokens.answer = answer
    with tokens.server, world.transport() as transport:
        tokens.protect(world)
        with pytest.raises(RegistryError, match=message):
            transport.request("GET", "/v2/")


def test_a_wrong_password(world: World, tmp_path: Path) -> None:
    world.intercept = lambda request, body: Response(401, [("WWW-Authenticate", "Basic realm=x")])
    with world.transport(login(tmp_path, world.address)) as transport:
        response = transport.request("GET", "/v2/")
        assert "logged in as ann" in str(transport.error("pull", response))
    assert response.status == 401 and len(world.requests) == 2


def test_a_credential_helper_that_is_not_asked_is_named(world: World, tmp_path: Path) -> None:
    world.intercept = lambda request, body: Response(401, [("WWW-Authenticate", "Basic realm=x")])
    config = docker_config(tmp_path, credsStore="pass", auths={world.address: {}})
    with world.transport(config) as transport:
        error = transport.error("pull x", transport.request("GET", "/v2/"))
    assert "docker-credential-pass" in str(error) and f"pycontain login {world.address}" in str(error)


def test_messages_of_registries_cannot_move_the_cursor(world: World) -> None:
    body = json.dumps({"errors": [{"code": "X\x1b[2J", "message": "a\x1b]0;title\x07b\nc"}]}).encode()
    world.intercept = lambda request, _: Response(400, [("Content-Type", "application/json")], body)
    with world.transport() as transport:
        error = transport.error("pull", transport.request("GET", "/v2/"))
    assert str(error).isprintable()


def test_where_plain_http_is_spoken() -> None:
    assert is_plain("localhost:5000", {}) and is_plain("127.0.0.1", {}) and is_plain("[::1]:5000", {})
    assert not is_plain("registry.example", {}) and not is_plain("127.0.0.1.example", {})
    assert not is_plain("localhost.example:5000", {})
    insecure = {"PYCONTAIN_INSECURE_REGISTRIES": "a.example, b.example:5000"}
    assert is_plain("a.example:1", insecure) and is_plain("b.example:5000", insecure)
    assert not is_plain("b.example", insecure)


def test_a_local_registry_with_tls_is_noticed(tmp_path: Path) -> None:
    import shutil
    import ssl
    import subprocess

    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    files = [str(tmp_path / "key.pem"), str(tmp_path / "cert.pem")]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-subj", "/CN=localhost", "-days", "36500", "-keyout", files[0], "-out", files[1]],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files[1], files[0])
    with (
        Server(lambda request, body: Response(200), "127.0.0.1", 0, tls=context) as server,
        Transport(server.address, patience=QUICK, environment={}) as transport,
        pytest.raises(RegistryError, match="certificate is not valid"),
    ):
        transport.request("GET", "/v2/")
