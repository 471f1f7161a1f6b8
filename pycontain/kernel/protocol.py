"""The control socket's frames: a 4-byte little-endian length, then a msgpack value.

A client sends {"op": name, ...}; descriptors ride on the first byte of a frame (SCM_RIGHTS). The kernel answers
{"ok": value} or {"error": message, "code": exit code, "hint": hint or None}. A connection that started or joined a
process then receives ["output", stream, bytes] and at the end ["exit", code].
"""

from __future__ import annotations

import os
import struct
from _socket import CMSG_SPACE, MSG_CMSG_CLOEXEC, MSG_DONTWAIT, SCM_RIGHTS, SOL_SOCKET, socket

import msgpack

from pycontain.errors import KernelError

# _socket and the name below: the socket and typing modules would cost every command several milliseconds
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LENGTH = struct.Struct("<I")
MAX_FRAME = 64 << 20
MAX_FDS = 8


def pack(value: Any) -> bytes:
    data: bytes = msgpack.packb(value, use_bin_type=True)
    return LENGTH.pack(len(data)) + data


def unpack(data: bytes) -> Any:
    return msgpack.unpackb(data, raw=False, strict_map_key=False)


class Frames:
    """Splits a stream into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Any]:
        """Raises ValueError for a frame that is too large."""
        self._buffer += data
        found = []
        while len(self._buffer) >= 4:
            (size,) = LENGTH.unpack_from(self._buffer)
            if size > MAX_FRAME:
                raise ValueError("frame too large")
            if len(self._buffer) < 4 + size:
                break
            found.append(unpack(bytes(self._buffer[4 : 4 + size])))
            del self._buffer[: 4 + size]
        return found


def send(sock: socket, value: Any, fds: list[int] | None = None) -> None:
    """Send a frame on a blocking socket."""
    data = pack(value)
    if fds:
        rights = struct.pack(f"{len(fds)}i", *fds)
        data = data[sock.sendmsg([data], [(SOL_SOCKET, SCM_RIGHTS, rights)]) :]
    if data:
        sock.sendall(data)


def receive(sock: socket, size: int = 1 << 18, *, wait: bool = True) -> tuple[bytes, list[int]]:
    """Bytes and descriptors; b"" at the end. wait=False: BlockingIOError where there is nothing yet."""
    flags = MSG_CMSG_CLOEXEC if wait else MSG_CMSG_CLOEXEC | MSG_DONTWAIT
    data, control, _, _ = sock.recvmsg(size, CMSG_SPACE(4 * MAX_FDS), flags)
    fds: list[int] = []
    for level, kind, payload in control:
        if level == SOL_SOCKET and kind == SCM_RIGHTS:
            fds += struct.unpack(f"{len(payload) // 4}i", payload[: len(payload) // 4 * 4])
    return data, fds


_HINT = "PYCONTAIN_RUNTIME_DIR or XDG_RUNTIME_DIR names another place"


def runtime_directory(store_root: str) -> str:
    """Where the kernel of a store has its socket: private to the user, short enough for a socket's name.

    $PYCONTAIN_RUNTIME_DIR, else $XDG_RUNTIME_DIR/pycontain, else /tmp/pycontain-UID, and below that a digest of the
    store's path. Raises KernelError if it cannot be made, or if somebody else owns it.
    """
    from _blake2 import blake2b  # hashlib would load OpenSSL

    base = os.environ.get("PYCONTAIN_RUNTIME_DIR")
    if not base:
        xdg = os.environ.get("XDG_RUNTIME_DIR")
        writable = bool(xdg) and os.access(xdg or "", os.W_OK)
        base = os.path.join(xdg or "", "pycontain") if writable else f"/tmp/pycontain-{os.getuid()}"
    path = os.path.join(base, blake2b(os.fsencode(os.path.realpath(store_root)), digest_size=6).hexdigest())
    for directory in (base, path):
        try:
            os.makedirs(directory, mode=0o700, exist_ok=True)
            info = os.stat(directory, follow_symlinks=False)
        except OSError as error:
            raise KernelError(f"make runtime directory {directory}: {error.strerror}", hint=_HINT) from None
        if info.st_uid != os.getuid():
            raise KernelError(f"use runtime directory {directory}: it belongs to another user", hint=_HINT)
    if info.st_mode & 0o077:
        os.chmod(path, 0o700)
    return path
