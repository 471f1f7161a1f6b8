"""Docker's client configuration: who we are at which registry.

The file is config.json in $DOCKER_CONFIG or ~/.docker:

    {"auths": {"registry.example:5000": {"auth": "<base64 of user:password>", "identitytoken": "…"}},
     "credsStore": "…", "credHelpers": {"registry.example": "…"}}

Credential helpers are not asked; helper() tells where one would have had to be.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pycontain.errors import RegistryError

HUB = "docker.io"
_HUB_KEY = "https://index.docker.io/v1/"  # under which docker itself has always kept Docker Hub's login
_HUB_NAMES = frozenset({"index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"})


class Credential(NamedTuple):
    """A user and password; or a token that a token server takes in their place (refresh token)."""

    username: str
    password: str
    identity_token: str | None = None
    registry_token: str | None = None  # a bearer token, to be sent as it is


class DockerConfig:
    """The configuration file. Reading is tolerant of everything but a file that is not JSON."""

    def __init__(self, path: str | None = None, environment: Mapping[str, str] = os.environ) -> None:
        directory = environment.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker")
        self.path = path or os.path.join(directory, "config.json")
        self._value = self._read()

    def find(self, registry: str, repository: str = "") -> Credential | None:
        """The credential for a registry, most specific first: an entry may be for a path of it."""
        entries = self._table("auths")
        by_name = {_normal(key): entry for key, entry in entries.items() if isinstance(entry, dict)}
        for name in _names(registry, repository):
            entry = by_name.get(name)
            credential = self._credential(name, entry) if entry else None
            if credential:
                return credential
        return None

    def helper(self, registry: str) -> str | None:
        """The credential helper that is configured for a registry, for example "pass"; None if none is."""
        for key, name in self._table("credHelpers").items():
            if _normal(key) == registry and isinstance(name, str):
                return name
        store = self._value.get("credsStore")
        return store if isinstance(store, str) and store else None

    def store(self, registry: str, credential: Credential) -> None:
        """Keep a credential; everything else in the file stays. The file is for the user alone (0600)."""
        pair = f"{credential.username}:{credential.password}".encode()
        entry = {"auth": base64.b64encode(pair).decode()}
        if credential.identity_token:
            entry["identitytoken"] = credential.identity_token
        auths = {key: value for key, value in self._table("auths").items() if _normal(key) != registry}
        auths[_HUB_KEY if registry == HUB else registry] = entry
        self._write({**self._value, "auths": auths})

    def erase(self, registry: str) -> bool:
        """Forget a registry's credential; False if there was none."""
        auths = self._table("auths")
        kept = {key: value for key, value in auths.items() if _normal(key) != registry}
        if len(kept) == len(auths):
            return False
        self._write({**self._value, "auths": kept})
        return True

    def _table(self, name: str) -> dict[str, Any]:
        value = self._value.get(name)
        return value if isinstance(value, dict) else {}

    def _credential(self, name: str, entry: dict[str, Any]) -> Credential | None:
        username, password = entry.get("username"), entry.get("password")
        if isinstance(entry.get("auth"), str) and entry["auth"]:
            try:
                pair = base64.b64decode(entry["auth"], validate=True).decode()
            except (binascii.Error, UnicodeDecodeError):
                raise RegistryError(
                    f"read {self.path}: the auth of {name} is not base64", hint=f"pycontain login {name}"
                )
            username, _, password = pair.partition(":")
            password = password.rstrip("\0")
        identity, bearer = entry.get("identitytoken"), entry.get("registrytoken")
        if not (username or identity or bearer):
            return None  # docker leaves an empty entry where a helper has the secret
        return Credential(str(username or ""), str(password or ""), identity or None, bearer or None)

    def _read(self) -> dict[str, Any]:
        try:
            with open(self.path, encoding="utf-8") as file:
                value = json.load(file)
        except FileNotFoundError:
            return {}
        except PermissionError:
            return {}  # as in a container that runs as somebody else: no credentials, like docker
        except (OSError, ValueError) as error:
            raise RegistryError(f"read {self.path}: {error}", hint="repair the file or move it away")
        return value if isinstance(value, dict) else {}

    def _write(self, value: dict[str, Any]) -> None:
        directory = os.path.dirname(self.path)
        try:
            os.makedirs(directory, mode=0o700, exist_ok=True)
            fd, temporary = tempfile.mkstemp(prefix=".config", dir=directory)
            try:
                with os.fdopen(fd, "w", encoding="utf-8") as file:
                    json.dump(value, file, indent="\t")
                os.rename(temporary, os.path.realpath(self.path))
            except BaseException:
                os.unlink(temporary)
                raise
        except OSError as error:
            raise RegistryError(f"write {self.path}: {error.strerror}")
        self._value = value


def _normal(key: str) -> str:
    """An entry's key as host[:port][/path]; keys may be URLs, as docker once wrote them."""
    name = key.removeprefix("https://").removeprefix("http://").rstrip("/")
    for version in ("/v1", "/v2"):
        name = name.removesuffix(version)
    host, slash, path = name.partition("/")
    return (HUB if host in _HUB_NAMES else host) + slash + path


def _names(registry: str, repository: str) -> Iterator[str]:
    path = repository
    while path:
        yield f"{registry}/{path}"
        path = path.rpartition("/")[0]
    yield registry
