"""One request to a registry: authorised, retried with growing pauses, redirected without credentials."""

from __future__ import annotations

import http.client
import json
import os
import random
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from urllib.parse import urljoin, urlsplit

from pycontain import __version__
from pycontain.client.authorizer import Authorizer
from pycontain.client.connection import BLOCK, Connection, Origin, Patience, Payload, Pool
from pycontain.client.credentials import HUB, Credential, DockerConfig
from pycontain.errors import RegistryError

_HUB_HOST = "registry-1.docker.io"
_AGENT = f"pycontain/{__version__}"
_MAX_REDIRECTS = 8
_MAX_ERROR = 64 << 10
_MAX_TOKEN = 1 << 20
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})


class Failed(RegistryError):
    """The connection failed, or broke off; another attempt may succeed."""


class Response:
    """A response whose body is still to be read: by read(), blocks() or close().

    headers have lower-case names. A body that ends before its Content-Length is a Failed.
    """

    def __init__(
        self, pool: Pool, connection: Connection, response: http.client.HTTPResponse, url: str
    ) -> None:
        self.status = response.status
        self.url = url
        self.headers = {name.lower(): value for name, value in reversed(response.getheaders())}
        challenges = response.headers.get_all("WWW-Authenticate")
        self.challenge = ", ".join(challenges) if challenges else ""
        self._pool = pool
        self._connection: Connection | None = connection
        self._response = response
        self.length: int | None = response.length

    def read(self, limit: int) -> bytes:
        """The whole body. RegistryError if it is longer than limit bytes."""
        data = bytearray()
        for block in self.blocks():
            data += block
            if len(data) > limit:
                self.close()
                raise RegistryError(
                    f"read {self.url}: the registry sends more than {limit} bytes", status=self.status
                )
        return bytes(data)

    def blocks(self) -> Iterator[bytes]:
        """The body in pieces. Raises Failed if the connection breaks off."""
        came = 0
        try:
            while block := self._response.read(BLOCK):
                came += len(block)
                yield block
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise Failed(f"read {self.url}: {_reason(error)} after {came} bytes")
        if self.length is not None and came < self.length:
            self.close()
            raise Failed(f"read {self.url}: the connection ended after {came} of {self.length} bytes")
        if self._connection is not None:
            connection, self._connection = self._connection, None
            if self._response.will_close:
                self._pool.drop(connection)
            else:
                self._pool.give(connection)

    def close(self) -> None:
        """Do without the rest of the body."""
        self._response.close()
        if self._connection is not None:
            connection, self._connection = self._connection, None
            self._pool.drop(connection)

    def finish(self) -> None:
        """Read a body that does not matter, if it is small, so that the connection can be used again."""
        if self.length is None or self.length > _MAX_ERROR:
            self.close()
            return
        for _ in self.blocks():
            pass


class Transport:
    """Requests to one registry. For many threads; use as a context manager.

    registry is the host of an image reference. Plain http is spoken to this machine, and to the hosts in
    $PYCONTAIN_INSECURE_REGISTRIES (comma-separated); to all others only TLS. credential: in place of
    what config has.
    """

    def __init__(
        self,
        registry: str,
        repository: str = "",
        *,
        config: DockerConfig | None = None,
        credential: Credential | None = None,
        patience: Patience | None = None,
        environment: Mapping[str, str] = os.environ,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.registry = registry
        self.patience = patience or Patience()
        self._sleep = sleep
        self._plain = is_plain(registry, environment)
        self._pool = Pool(self.patience, environment)
        self.config = config or DockerConfig(environment=environment)
        self._credential = credential or self.config.find(registry, repository)
        self._set_base("http" if self._plain else "https")
        self._plain_origin = self._origin if self._plain else None

    def _set_base(self, scheme: str) -> None:
        self.base = f"{scheme}://{_HUB_HOST if self.registry == HUB else self.registry}"
        self._origin = Origin.of(self.base)
        self._authorizer = Authorizer(self._origin, self._credential, self._fetch)

    def __enter__(self) -> Transport:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections; requests of other threads fail at once."""
        self._pool.close()

    def request(
        self,
        method: str,
        target: str,
        *,
        scope: str = "",
        headers: Mapping[str, str] | None = None,
        payload: Payload | None = None,
        retry: bool = True,
    ) -> Response:
        """Send a request to a path of the registry, or to a URL that it gave us.

        Returns every response that is not a redirect, a challenge we can answer, or (with retry) a
        passing failure; so its status may be an error. Raises RegistryError if there is no response.
        """
        attempt, silences = 1, 0
        while True:
            pause: float | None = None
            try:
                response = self._authorized(method, target, scope, headers or {}, payload)
                if response.status not in _TRANSIENT or not retry or attempt >= self.patience.attempts:
                    return response
                pause = _retry_after(response.headers.get("retry-after"))
                response.finish()
            except Failed as error:
                if not retry or attempt >= self.patience.attempts or self._pool.closed:
                    raise
                silences += isinstance(error, _Silence)
                if isinstance(error, _Hopeless) or silences >= self.patience.silences:
                    raise
            self._pause(attempt, pause)
            attempt += 1

    def _pause(self, attempt: int, wanted: float | None) -> None:
        """Wait before another attempt: as long as the registry says, else doubling, with jitter."""
        seconds = self.patience.backoff * 2 ** (attempt - 1) * random.uniform(0.5, 1.5)
        self._sleep(min(max(seconds, wanted or 0), self.patience.longest))

    def pause(self, attempt: int) -> None:
        """Wait before going on with something that broke off; attempt counts from 1."""
        self._pause(attempt, None)

    def _authorized(
        self, method: str, target: str, scope: str, headers: Mapping[str, str], payload: Payload | None
    ) -> Response:
        sent = self._authorizer.header(scope)
        response = self._followed(method, target, headers, payload, sent)
        if response.status == 401 and Origin.of(response.url) == self._origin:
            try:
                answer = self._authorizer.answer(response.challenge, scope, sent)
            except BaseException:
                response.close()
                raise
            if answer:
                response.finish()
                response = self._followed(method, target, headers, payload, answer)
        return response

    def _followed(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        payload: Payload | None,
        authorization: str | None,
    ) -> Response:
        """Follow redirects. Credentials go to the registry's own origin and nowhere else."""
        url = resolve(f"{self.base}/", target)
        for _ in range(_MAX_REDIRECTS):
            origin = Origin.of(url)
            if self._origin.scheme == "https" and origin.scheme != "https":
                raise RegistryError(f"{method} {self.registry}: it sends us to {origin} without TLS")
            complete = {"User-Agent": _AGENT, **headers}
            if authorization and origin == self._origin:
                complete["Authorization"] = authorization
            response = self._exchange(method, url, complete, payload)
            location = response.headers.get("location")
            if response.status not in _REDIRECTS or not location:
                return response
            if method not in ("GET", "HEAD") and response.status not in (307, 308):
                return response
            response.finish()
            # The base may have changed its scheme meanwhile (see _exchange).
            url = resolve(response.url, location)
        raise RegistryError(f"{method} {self.registry}: more than {_MAX_REDIRECTS} redirects")

    def _exchange(
        self, method: str, url: str, headers: Mapping[str, str], payload: Payload | None
    ) -> Response:
        """One request on one connection, on a new one if an idle one turns out to be dead."""
        origin = Origin.of(url)
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        fresh = False
        while True:
            connection = self._pool.take(origin, fresh)
            reused = connection.used
            try:
                response = Response(
                    self._pool, connection, connection.exchange(method, target, headers, payload), url
                )
                if not self._wants_tls(method, origin, response):
                    return response
            except (OSError, http.client.HTTPException) as error:
                self._pool.drop(connection)
                dead = isinstance(error, ConnectionError | http.client.RemoteDisconnected)
                if reused and not fresh and dead and method != "PATCH" and not self._pool.closed:
                    fresh = True
                    continue
                if not self._wants_tls(method, origin, error):
                    raise self._failure(origin, error)
            except BaseException:
                self._pool.drop(connection)
                raise
            if self._origin.scheme != "https":
                self._set_base("https")
            url = f"https{url.removeprefix('http')}"
            origin = Origin.of(url)

    def _wants_tls(self, method: str, origin: Origin, answer: Exception | Response) -> bool:
        """Whether this answer to plain http says that only TLS is spoken there.

        It is a TLS alert, which is no HTTP, or a 400 whose text names HTTPS (Go's, nginx's, ours). A
        connection that just ends says nothing: a registry that restarts does that too. An answer to HEAD
        has no text, so GET has to ask again.
        """
        if origin != self._plain_origin:
            return False
        if not isinstance(answer, Response):
            return isinstance(answer, http.client.BadStatusLine) and str(answer).startswith("\x15\x03")
        if answer.status != 400 or "json" in answer.headers.get("content-type", ""):
            return False
        if method != "HEAD":
            try:
                return b"https" in answer.read(_MAX_ERROR).lower()
            except RegistryError:
                return False
        answer.finish()
        self._exchange("GET", f"{self.base}/v2/", {"User-Agent": _AGENT}, None).close()
        return self._origin.scheme == "https"

    def _failure(self, origin: Origin, error: Exception) -> RegistryError:
        action = f"reach registry {origin}"
        if isinstance(error, ssl.SSLCertVerificationError):
            return _Hopeless(
                f"{action}: its certificate is not valid: {error.verify_message}",
                hint="SSL_CERT_FILE names a file of further roots",
            )
        if isinstance(error, ssl.SSLError) and error.reason in (
            "WRONG_VERSION_NUMBER",
            "RECORD_LAYER_FAILURE",
        ):
            return _Hopeless(
                f"{action}: it does not speak TLS",
                hint=f"PYCONTAIN_INSECURE_REGISTRIES={self.registry} allows plain http",
            )
        if isinstance(error, socket.gaierror) and error.errno != socket.EAI_AGAIN:
            return _Hopeless(f"{action}: there is no such host")
        if isinstance(error, ConnectionRefusedError) and self._plain:
            return _Hopeless(f"{action}: nothing listens there")
        kind = _Silence if isinstance(error, TimeoutError) else Failed
        return kind(f"{action}: {_reason(error)}")

    def _fetch(self, method: str, url: str, headers: dict[str, str], body: bytes | None) -> tuple[int, bytes]:
        """A request to a token server, for the authorizer. Redirects are not followed with a secret."""
        response = self._exchange(method, url, {"User-Agent": _AGENT, **headers}, body)
        return response.status, response.read(_MAX_TOKEN)

    def error(self, action: str, response: Response) -> RegistryError:
        """What a response that is an error says, as an exception; reads its body."""
        code, message = _parse_error(response)
        hint = None
        if response.status in (401, 403):
            code = code or ("UNAUTHORIZED" if response.status == 401 else "DENIED")
            hint = self._login_hint()
        if response.status == 429:
            hint = "the registry limits how much may be pulled; try later, or log in"
        reason = message or http.client.responses.get(response.status, f"HTTP {response.status}").lower()
        return RegistryError(
            f"{action}: {reason} at registry {self.registry}", code=code, status=response.status, hint=hint
        )

    def _login_hint(self) -> str:
        helper = self.config.helper(self.registry)
        if self._credential is None and helper:
            return (
                f"the credential helper docker-credential-{helper} is configured, but helpers are not "
                f"supported yet: pycontain login {self.registry}"
            )
        if self._credential is None:
            return f"it may need a login: pycontain login {self.registry}"
        return f"logged in as {self._credential.username or 'the bearer of a token'}, which is not enough"


class _Hopeless(Failed):
    """A failure that another attempt will not change."""


class _Silence(Failed):
    """No answer in time: waiting as long again and again would only hide it."""


def is_plain(registry: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether plain http is allowed: on this machine, and where $PYCONTAIN_INSECURE_REGISTRIES says so."""
    host = Origin.of(f"http://{registry}").host
    if host in ("localhost", "::1") or (host.startswith("127.") and host.replace(".", "").isdigit()):
        return True
    insecure = environment.get("PYCONTAIN_INSECURE_REGISTRIES", "").split(",")
    return any(name.strip() in (registry, host) for name in insecure if name.strip())


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "it does not answer in time" if str(error) in ("", "timed out") else str(error)
    if isinstance(error, http.client.RemoteDisconnected):
        return "it closed the connection without an answer"
    if isinstance(error, http.client.HTTPException):
        return "its answer is not HTTP"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return clean(str(error)) or type(error).__name__


def resolve(base: str, location: str) -> str:
    """An address from a Location header, which may be relative. RegistryError if it is none."""
    try:
        return urljoin(base, location)
    except ValueError:
        raise RegistryError(f"read address {clean(location)!r}: it is not valid")


def clean(text: str) -> str:
    """Text of a stranger for a terminal: one line, no control characters, not too long."""
    return "".join(c if c.isprintable() else " " for c in text[:500]).strip()


def _parse_error(response: Response) -> tuple[str | None, str | None]:
    """The specification's code and message, as far as the body has them."""
    try:
        value = json.loads(response.read(_MAX_ERROR))
        error = value["errors"][0]
        code, message = error.get("code"), error.get("message")
    except (RegistryError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None, None
    return (
        clean(code) if isinstance(code, str) else None,
        clean(message) if isinstance(message, str) else None,
    )


def _retry_after(header: str | None) -> float | None:
    """Seconds, from a number or a date (RFC 9110 section 10.2.3)."""
    if not header:
        return None
    if header.strip().isascii() and header.strip().isdigit():
        return float(header.strip()[:9])
    from email.utils import parsedate_to_datetime  # rare

    try:
        return max(parsedate_to_datetime(header).timestamp() - time.time(), 0.0)
    except (ValueError, TypeError, OverflowError):
        return None
