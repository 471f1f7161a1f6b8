"""A Debian package, unpacked without dpkg: an ar archive with a compressed tar in it (deb(5))."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from typing import IO

from pycontain.errors import MachineError

_MAGIC = b"!<arch>\n"


def data_tar(package: IO[bytes]) -> tuple[str, bytes]:
    """The name and bytes of the package's data.tar.*. MachineError where it is no package."""
    if package.read(len(_MAGIC)) != _MAGIC:
        raise MachineError("unpack a package: it is no ar archive")
    while len(header := package.read(60)) == 60:
        name = header[:16].rstrip().rstrip(b"/").decode("ascii", "replace")
        size = int(header[48:58])
        if header[58:60] != b"`\n":
            break
        if name.startswith("data.tar"):
            data = package.read(size)
            if len(data) != size:
                break
            return name, data
        package.seek(size + size % 2, os.SEEK_CUR)
    raise MachineError("unpack a package: it has no data.tar, or is cut off")


def unpack(path: str, wanted: Callable[[str], str | None]) -> list[str]:
    """Write the files for whose name (without a leading ./) `wanted` gives a path; the paths."""
    with open(path, "rb") as file:
        name, data = data_tar(file)
    if name.endswith(".zst"):
        import zstandard  # as Ubuntu compresses

        data = zstandard.ZstdDecompressor().decompressobj().decompress(data)
    written = []
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:*") as tar:
        for member in tar:
            target = wanted(member.name.removeprefix("./")) if member.isreg() else None
            if target is None:
                continue
            source = tar.extractfile(member)
            assert source is not None
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(target, "wb") as out:
                out.write(source.read())
            written.append(target)
    return written
