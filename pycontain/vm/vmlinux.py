"""The uncompressed kernel in a bzImage. QEMU starts it directly by PVH, which spares the guest the unpacking:
under TCG that is the longest part of a boot.

Linux, Documentation/x86/boot.rst: the setup header's payload_offset and payload_length, protocol 2.08 and later.
The payload ends with the size of what it gives. QEMU, docs/pvh.txt: the ELF note XEN_ELFNOTE_PHYS32_ENTRY.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Callable

from pycontain.errors import MachineError

PHYS32_ENTRY = 18
"""The type of the ELF note (of the owner "Xen") that tells where a PVH boot begins."""
LIMIT = 1 << 30
"""Bytes; no kernel is larger."""


def ensure(image: str, directory: str) -> str:
    """The path of the kernel to boot: the one in the bzImage `image`, kept below `directory` by the digest of the
    image; the image itself where it holds none that QEMU could start directly. MachineError where it is damaged."""
    with open(image, "rb") as file:
        data = file.read()
    if data[:4] == b"\x7fELF":
        return image
    path = os.path.join(directory, hashlib.sha256(data).hexdigest() + ".vmlinux")
    if _is_whole(path, data):
        return path
    kernel = extract(data)
    if kernel is None or not has_pvh_entry(kernel):
        return image
    os.makedirs(directory, mode=0o700, exist_ok=True)
    temporary = f"{path}.{os.getpid()}~"
    try:
        with open(temporary, "wb") as file:
            file.write(kernel)
        os.replace(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)
    return path


def extract(image: bytes) -> bytes | None:
    """The ELF file in a bzImage; None where it is none, or compressed in a way that we do not know. MachineError."""
    payload = _payload(image)
    if payload is None:
        return None
    size = _size(payload)
    decompress = next((function for magic, function in _FORMATS if payload.startswith(magic)), None)
    if decompress is None or not 0 < size <= LIMIT:
        return None
    try:
        kernel = decompress(payload)
    except MachineError:
        raise
    except Exception as error:  # each library has its own
        raise MachineError(f"unpack the guest kernel: {error}") from None
    if len(kernel) != size or kernel[:4] != b"\x7fELF":
        raise MachineError(f"unpack the guest kernel: {len(kernel)} bytes instead of an ELF file of {size}")
    return kernel


def has_pvh_entry(kernel: bytes) -> bool:
    """Whether a 64-bit ELF file has the note that QEMU looks for."""
    if kernel[:6] != b"\x7fELF\x02\x01":
        return False
    (headers,) = struct.unpack_from("<Q", kernel, 32)
    size, count = struct.unpack_from("<HH", kernel, 54)
    for number in range(count):
        at = headers + number * size
        if at + 56 > len(kernel):
            return False
        kind, _, offset, _, _, length = struct.unpack_from("<IIQQQQ", kernel, at)
        if kind == 4 and any(note == (b"Xen\0", PHYS32_ENTRY) for note in _notes(kernel, offset, length)):
            return True
    return False


def _notes(kernel: bytes, at: int, length: int) -> list[tuple[bytes, int]]:
    """Owner and type of each note of a PT_NOTE segment."""
    end = min(at + length, len(kernel))
    found = []
    while at + 12 <= end:
        name, description, kind = struct.unpack_from("<III", kernel, at)
        found.append((kernel[at + 12 : at + 12 + name], kind))
        at += 12 + (name + 3) // 4 * 4 + (description + 3) // 4 * 4
    return found


def _payload(image: bytes) -> bytes | None:
    """The compressed kernel, with its size behind it."""
    if image[0x202:0x206] != b"HdrS" or len(image) < 0x250:
        return None
    (version,) = struct.unpack_from("<H", image, 0x206)
    if version < 0x208:
        return None
    start = ((image[0x1F1] or 4) + 1) * 512
    offset, length = struct.unpack_from("<II", image, 0x248)
    payload = image[start + offset : start + offset + length]
    return payload if len(payload) == length >= 8 else None


def _size(payload: bytes) -> int:
    return int.from_bytes(payload[-4:], "little")


def _is_whole(path: str, image: bytes) -> bool:
    """Whether the file that is kept is as large as the image says."""
    payload = _payload(image)
    try:
        return payload is not None and os.path.getsize(path) == _size(payload)
    except OSError:
        return False


# each is imported only for the kernel that needs it


def _gzip(data: bytes) -> bytes:
    import zlib

    return zlib.decompressobj(31).decompress(data, LIMIT)


def _xz(data: bytes) -> bytes:
    import lzma

    return lzma.LZMADecompressor(lzma.FORMAT_AUTO).decompress(data, LIMIT)


def _bzip2(data: bytes) -> bytes:
    import bz2

    return bz2.BZ2Decompressor().decompress(data, LIMIT)


def _zstd(data: bytes) -> bytes:
    import zstandard

    return bytes(zstandard.ZstdDecompressor(max_window_size=LIMIT).decompressobj().decompress(data))


def _lz4(data: bytes) -> bytes:
    from pycontain.vm import lz4

    return lz4.decompress(data[:-4])


_FORMATS: tuple[tuple[bytes, Callable[[bytes], bytes]], ...] = (
    (b"\x1f\x8b", _gzip),
    (b"\xfd7zXZ\0", _xz),
    (b"\x5d\0\0", _xz),
    (b"BZh", _bzip2),
    (b"\x28\xb5\x2f\xfd", _zstd),
    (b"\x02\x21\x4c\x18", _lz4),
)
