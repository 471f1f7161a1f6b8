"""The registry as one object: storage, options, and the way from a request to its endpoint."""

from __future__ import annotations

import os
import ssl
import sys
import threading
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from pycontain.errors import RegistryError
from registry.api.call import Call
from registry.api.routes import ROUTES
from registry.api.tags import list_repositories
from registry.http.body import Body
from registry.http.request import Request
from registry.http.response import Response
from registry.http.server import AccessLog, Limits, Server
from registry.problem import Problem
from registry.storage.content import Content
from registry.storage.repository import Repository, is_name
from registry.storage.upload import Uploads

if TYPE_CHECKING:
    from registry.htpasswd import PasswordFile

_STRIPES = 64


class Registry:
    """A registry on a directory, ready to handle requests of many threads.

    read_only refuses every change; passwords, if given, must let a client in; durable syncs every change
    to the disk before it is acknowledged. Raises RegistryError while garbage collection runs there.
    """

    def __init__(
        self,
        root: str,
        *,
        read_only: bool = False,
        passwords: PasswordFile | None = None,
        durable: bool = True,
    ) -> None:
        self.content = Content(root, durable)
        self.uploads = Uploads()
        self._read_only = read_only
        self._passwords = passwords
        self._stripes = [threading.Lock() for _ in range(_STRIPES)]
        self._root_lock = self.content.lock(exclusive=False)

    def close(self) -> None:
        """Let go of the directory."""
        os.close(self._root_lock)

    def changing(self, name: str) -> AbstractContextManager[bool]:
        """Held while the manifests and tags of the repository of this name change."""
        return self._stripes[hash(name) % _STRIPES]

    def handle(self, request: Request, body: Body) -> Response:
        """Answer a request. Raises Problem."""
        if self._passwords is not None:
            self._passwords.admit(request.header("authorization"))
        response = self._route(request, body)
        response.headers.append(("Docker-Distribution-API-Version", "registry/2.0"))
        response.headers.append(("X-Content-Type-Options", "nosniff"))
        return response

    def _route(self, request: Request, body: Body) -> Response:
        path = request.path
        if path in ("/v2", "/v2/"):
            _allow(request, ("GET", "HEAD"))
            return Response(200, [("Content-Type", "application/json")], b"{}")
        if path == "/v2/_catalog":
            _allow(request, ("GET",))
            return list_repositories(self.content, request)
        found = ((match, endpoints) for pattern, endpoints in ROUTES if (match := pattern.fullmatch(path)))
        match, endpoints = next(found, (None, {}))
        if match is None:
            raise Problem(404, "UNSUPPORTED", f"there is nothing at {path[:160]}")
        _allow(request, tuple(endpoints))
        if self._read_only and request.method not in ("GET", "HEAD"):
            raise Problem(405, "UNSUPPORTED", "the registry is read-only", headers=[("Allow", "GET, HEAD")])
        parts = match.groupdict()
        if not is_name(parts["name"]):
            raise Problem(400, "NAME_INVALID", f"{parts['name'][:160]!r} is not a repository name")
        repository = Repository(self.content, parts["name"])
        return endpoints[request.method](Call(self, request, body, repository, parts))


def _allow(request: Request, methods: tuple[str, ...]) -> None:
    if request.method not in methods:
        allowed = ", ".join(methods)
        raise Problem(
            405,
            "UNSUPPORTED",
            f"{request.method} is not possible here, only {allowed}",
            headers=[("Allow", allowed)],
        )


class RegistryServer(Server):
    """A server that owns its registry: close() ends both."""

    def __init__(
        self,
        registry: Registry,
        host: str,
        port: int,
        *,
        limits: Limits | None,
        tls: ssl.SSLContext | None,
        log: AccessLog | None,
    ) -> None:
        super().__init__(registry.handle, host, port, limits=limits, tls=tls, log=log)
        self.registry = registry

    def close(self, timeout: float = 10.0) -> None:
        super().close(timeout)
        self.registry.close()


def serve(
    root: str,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    read_only: bool = False,
    htpasswd: str | None = None,
    tls_cert: str | None = None,
    tls_key: str | None = None,
    durable: bool = True,
    limits: Limits | None = None,
    log: AccessLog | None = None,
) -> RegistryServer:
    """Serve the directory root in threads of this process; returns at once. port 0 takes a free one.

    htpasswd, tls_cert and tls_key are paths. Raises RegistryError if one of them is not usable, the
    address is taken, or the directory is locked.
    """
    passwords = None
    if htpasswd:
        from registry.htpasswd import PasswordFile  # loads a C library; only where it is wanted

        passwords = PasswordFile(htpasswd)
    tls = _tls_context(tls_cert, tls_key) if tls_cert else None
    try:
        registry = Registry(root, read_only=read_only, passwords=passwords, durable=durable)
    except OSError as error:
        raise RegistryError(f"open registry {root}: {error.strerror}")
    try:
        return RegistryServer(registry, host, port, limits=limits, tls=tls, log=log)
    except (OSError, OverflowError) as error:
        registry.close()
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise RegistryError(f"listen on {host}:{port}: {reason}", hint="choose another --address")


def _tls_context(certificate: str, key: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:  # ssl.SSLError is one
        raise RegistryError(f"load TLS certificate {certificate}: {error.strerror or error}")
    return context


def log_to_stderr(peer: str, line: str, status: int, sent: int, seconds: float, agent: str) -> None:
    """One line per request, in one write. agent is the client's word, so it is kept to plain ASCII."""
    agent = agent[:200].encode("ascii", "backslashreplace").decode()
    sys.stderr.write(f'{peer} "{line}" {status} {sent} {seconds * 1000:.1f}ms "{agent}"\n')
    sys.stderr.flush()
