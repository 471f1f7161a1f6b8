"""A module of the guest's kernel, as a file: read, and rid of what only costs time to load.

Linux, Documentation/admin-guide/module-signing.rst; include/linux/module_signature.h; elf(5).
"""

from __future__ import annotations

import struct

_SIGNED = b"~Module signature appended~\n"
_BTF = b"\0.BTF\0"


def read(path: str) -> bytes:
    """The module, uncompressed: .ko, .ko.gz, .ko.xz or .ko.zst."""
    with open(path, "rb") as file:
        data = file.read()
    if path.endswith(".xz"):
        import lzma  # each only where a distribution compresses so

        return lzma.decompress(data)
    if path.endswith(".zst"):
        import zstandard

        return bytes(zstandard.ZstdDecompressor().decompressobj().decompress(data))
    if path.endswith(".gz"):
        import gzip

        return gzip.decompress(data)
    return data


def lean(data: bytes) -> bytes:
    """Without its signature and its type information, both of which the kernel would check: under TCG that is a
    third of the time that it takes to load a module. (A kernel that insists on signatures needs the whole one.)"""
    return _without_btf(_without_signature(data))


def _without_signature(data: bytes) -> bytes:
    """struct module_signature, whose last word is the signature's length, lies between that and the marker."""
    if not data.endswith(_SIGNED):
        return data
    end = len(data) - len(_SIGNED)
    (length,) = struct.unpack_from(">I", data, end - 4)
    return data[: end - 12 - length]


def _without_btf(data: bytes) -> bytes:
    """The section .BTF gets a name by which nobody looks for it."""
    (headers,) = struct.unpack_from("<Q", data, 40)
    size, _, names = struct.unpack_from("<HHH", data, 58)
    offset, length = struct.unpack_from("<QQ", data, headers + names * size + 24)
    table = data[offset : offset + length]
    return data[:offset] + table.replace(_BTF, _BTF.lower()) + data[offset + length :]
