"""Basic authentication against a file of htpasswd lines, `user:hash`.

Hashes understood: bcrypt ($2y$, $2b$, $2a$), SHA-256-crypt, SHA-512-crypt and yescrypt ($5$, $6$, $y$) where
the system's libcrypt is there, {SHA} (a bare SHA-1, weak), and {PBKDF2-SHA256} of our own, which needs
nothing. A line with any other hash is an error at start, not a user who can never come in.
"""

from __future__ import annotations

import base64
import binascii
import ctypes
import hashlib
import hmac
import os
import secrets
import threading

from pycontain.errors import RegistryError
from registry.problem import Problem

_REALM = 'Basic realm="registry", charset="UTF-8"'
_ROUNDS = 300_000
_CACHED = 256
_PBKDF2 = "{PBKDF2-SHA256}"
_LIBCRYPT = ("$2a$", "$2b$", "$2y$", "$5$", "$6$", "$y$")


def hash_password(password: str) -> str:
    """A hash for an htpasswd line: {PBKDF2-SHA256}rounds$salt$key, salt and key in base64."""
    salt = secrets.token_bytes(16)
    key = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _ROUNDS)
    return f"{_PBKDF2}{_ROUNDS}${base64.b64encode(salt).decode()}${base64.b64encode(key).decode()}"


class PasswordFile:
    """The users who may enter. The file is read again when it changes.

    Raises RegistryError if the file cannot be read or a line not be understood.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._crypt = _load_libcrypt()
        self._lock = threading.Lock()
        # Hashes are slow by intent, requests are many: a password that was right is remembered as a MAC
        # under a key that only this process has.
        self._key = secrets.token_bytes(32)
        self._known: set[bytes] = set()
        self._stamp = (0, 0)
        self._users: dict[str, str] = {}
        self._read()

    def admit(self, authorization: str | None) -> None:
        """Raise Problem 401 unless the Authorization header names a user and the right password."""
        user, password = _decode(authorization)
        if user is None or password is None:
            raise _unauthorized("authentication is required")
        self._read_if_changed()
        stored = self._users.get(user)
        token = hmac.digest(self._key, f"{user}\0{stored}\0{password}".encode(), "sha256")
        if stored is not None and token in self._known:
            return
        # An unknown user costs as much time as a known one, so that time does not tell them apart.
        right = self._matches(password, stored or next(iter(self._users.values()), "{SHA}"))
        if stored is None or not right:
            raise _unauthorized("the user or the password is wrong")
        with self._lock:
            if len(self._known) >= _CACHED:
                self._known.clear()
            self._known.add(token)

    def _read_if_changed(self) -> None:
        with self._lock:
            try:
                status = os.stat(self._path)
            except OSError:
                return  # it is being replaced; what we know stays true until it is back
            if (status.st_mtime_ns, status.st_size) != self._stamp:
                self._known.clear()
                self._read()

    def _read(self) -> None:
        users: dict[str, str] = {}
        try:
            with open(self._path, encoding="utf-8") as file:
                status = os.fstat(file.fileno())
                lines = file.read().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise RegistryError(f"read password file {self._path}: {reason}")
        for number, line in enumerate(lines, 1):
            line = line.strip()
            if not line or line.startswith("#"):
                continue
            user, colon, stored = line.partition(":")
            if not colon or not user:
                raise RegistryError(f"read password file {self._path}: line {number} is not user:hash")
            self._check_kind(stored, number)
            users[user] = stored
        self._users = users
        self._stamp = (status.st_mtime_ns, status.st_size)

    def _check_kind(self, stored: str, number: int) -> None:
        if stored.startswith(("{SHA}", _PBKDF2)) or (stored.startswith(_LIBCRYPT) and self._crypt):
            return
        reason = (
            "this host has no libcrypt for its hash"
            if stored.startswith(_LIBCRYPT)
            else "its hash is of a kind that is not supported"
        )
        raise RegistryError(
            f"read password file {self._path}: line {number}: {reason}",
            hint="make the line with `python -m registry htpasswd USER`",
        )

    def _matches(self, password: str, stored: str) -> bool:
        if stored.startswith("{SHA}"):
            digest = hashlib.sha1(password.encode(), usedforsecurity=False).digest()
            return hmac.compare_digest(base64.b64encode(digest), stored[5:].encode())
        if stored.startswith(_PBKDF2):
            try:
                rounds, salt, key = stored[len(_PBKDF2) :].split("$")
                expected = base64.b64decode(key, validate=True)
                made = hashlib.pbkdf2_hmac(
                    "sha256", password.encode(), base64.b64decode(salt, validate=True), int(rounds)
                )
            except (ValueError, binascii.Error):
                return False
            return hmac.compare_digest(made, expected)
        if self._crypt is None or "\0" in password:
            return False
        result = self._crypt(password.encode(), stored.encode())
        return result is not None and hmac.compare_digest(result, stored.encode())


class _Crypt:
    """crypt(3) with its result copied out; crypt_rn of libxcrypt, which threads may call at once."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._function = library.crypt_rn
        self._function.restype = ctypes.c_char_p
        self._function.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int]

    def __call__(self, password: bytes, setting: bytes) -> bytes | None:
        size = 32768  # sizeof(struct crypt_data) in libxcrypt
        result = self._function(password, setting, ctypes.create_string_buffer(size), size)
        return result if isinstance(result, bytes) else None


def _load_libcrypt() -> _Crypt | None:
    for name in ("libcrypt.so.1", "libcrypt.so.2"):
        try:
            return _Crypt(ctypes.CDLL(name))
        except (OSError, AttributeError):
            continue  # not there, or another libcrypt (musl's has no crypt_rn)
    return None


def _decode(authorization: str | None) -> tuple[str | None, str | None]:
    scheme, _, encoded = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return None, None
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except ValueError:
        return None, None
    return (user, password) if colon else (None, None)


def _unauthorized(message: str) -> Problem:
    return Problem(401, "UNAUTHORIZED", message, headers=[("WWW-Authenticate", _REALM)])
