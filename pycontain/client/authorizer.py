"""From a registry's challenge to an Authorization header (distribution's token specification)."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

from pycontain.client.challenge import Challenge, parse_challenges
from pycontain.client.connection import Origin
from pycontain.client.credentials import Credential
from pycontain.errors import RegistryError

_DEFAULT_LIFE = 60.0  # seconds of a token that does not say (token specification, "expires_in")
_MARGIN = 10.0  # seconds before its end that a token is not used any more

Fetch = Callable[[str, str, dict[str, str], bytes | None], tuple[int, bytes]]
"""(method, url, headers, body) -> (status, body), without any authorization of its own."""


class _Token(NamedTuple):
    header: str
    expires: float  # by time.monotonic


class Authorizer:
    """The authorization of one registry's origin, for many threads.

    scope is space-separated, as the token server takes it: "repository:a/b:pull,push".
    """

    def __init__(self, origin: Origin, credential: Credential | None, fetch: Fetch) -> None:
        self.origin = origin
        self.credential = credential
        self._fetch = fetch
        self._lock = threading.Lock()
        self._tokens: dict[str, _Token] = {}
        self._basic: str | None = None
        if credential and credential.registry_token:
            self._tokens[""] = _Token(f"Bearer {credential.registry_token}", float("inf"))

    def header(self, scope: str) -> str | None:
        """The header to send with a request, as far as we know what is wanted."""
        if self._basic:
            return self._basic
        token = self._tokens.get(scope) or self._tokens.get("")
        if token and token.expires > time.monotonic():
            return token.header
        return None

    def answer(self, challenge_header: str, scope: str, refused: str | None) -> str | None:
        """A header that answers a 401; None if we have nothing (else) to offer.

        refused is the header that was sent with the refused request. RegistryError if the token server
        fails or its address is not safe.
        """
        with self._lock:  # one token request, however many threads were refused
            known = self.header(scope)
            if known and known != refused:
                return known
            for challenge in parse_challenges(challenge_header):
                header: str | None
                if challenge.scheme == "bearer" and "realm" in challenge.parameters:
                    header = self._bearer(challenge, scope)
                elif challenge.scheme == "basic":
                    header = self._basic_header()
                    self._basic = header
                else:
                    continue
                if header and header != refused:
                    return header
        return None

    def _basic_header(self) -> str | None:
        credential = self.credential
        if not credential or not credential.username:
            return None
        pair = f"{credential.username}:{credential.password}".encode()
        return f"Basic {base64.b64encode(pair).decode()}"

    def _bearer(self, challenge: Challenge, scope: str) -> str:
        realm = challenge.parameters["realm"]
        self._check_realm(realm)
        wanted = [("scope", part) for part in _merge(scope, challenge.parameters.get("scope", ""))]
        service = challenge.parameters.get("service")
        query = ([("service", service)] if service else []) + wanted
        headers = {"Accept": "application/json"}
        credential = self.credential
        if credential and credential.identity_token:
            form = [
                ("grant_type", "refresh_token"),
                ("client_id", "pycontain"),
                ("refresh_token", credential.identity_token),
                ("service", service or ""),
                ("scope", " ".join(part for _, part in wanted)),
            ]
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            status, data = self._fetch("POST", realm, headers, urlencode(form).encode())
        else:
            basic = self._basic_header()
            if basic:
                headers["Authorization"] = basic
            url = realm + ("&" if urlsplit(realm).query else "?") + urlencode(query)
            status, data = self._fetch("GET", url, headers, None)
        return self._keep(scope, status, data, realm)

    def _check_realm(self, realm: str) -> None:
        """Passwords go to the token server, so it must not be less protected than the registry."""
        target = Origin.of(realm)
        if self.origin.scheme == "https" and target.scheme != "https":
            raise RegistryError(
                f"authenticate at {self.origin}: its token server {target} has no TLS",
                code="UNAUTHORIZED",
                hint="the registry may be set up wrongly, or somebody is in between",
            )

    def _keep(self, scope: str, status: int, data: bytes, realm: str) -> str:
        host = Origin.of(realm)
        if status != 200:
            reason = "the credentials are wrong" if status in (401, 403) else f"HTTP {status}"
            raise RegistryError(
                f"authenticate at {self.origin}: the token server {host} refused: {reason}",
                code="UNAUTHORIZED",
                status=status,
                hint=f"pycontain login {self.origin}",
            )
        try:
            value: Any = json.loads(data)
        except (ValueError, RecursionError):
            value = None
        token = (value.get("token") or value.get("access_token")) if isinstance(value, dict) else None
        # A token becomes part of a header, so it must be what a header can hold.
        if not isinstance(token, str) or not token or not (token.isascii() and token.isprintable()):
            raise RegistryError(f"authenticate at {self.origin}: the token server {host} sent no token")
        life = value.get("expires_in")
        seconds = float(life) if isinstance(life, int | float) and life > 0 else _DEFAULT_LIFE
        header = f"Bearer {token}"
        self._tokens[scope] = _Token(header, time.monotonic() + max(seconds - _MARGIN, 1.0))
        return header


def _merge(ours: str, theirs: str) -> list[str]:
    """The scopes to ask for: ours, and those of the challenge that are for something else."""
    wanted = ours.split()
    resources = {part.rpartition(":")[0] for part in wanted}
    return wanted + [part for part in theirs.split() if part.rpartition(":")[0] not in resources]
