"""Copying a file's bytes between descriptors."""

from __future__ import annotations

import errno
import os

COPY_CHUNK = 1 << 30


def copy_bytes(source: int, target: int) -> None:
    """Copy a whole file between descriptors, sharing extents where the host can."""
    offset, size = 0, os.fstat(source).st_size
    while offset < size:
        try:
            done = os.copy_file_range(source, target, min(COPY_CHUNK, size - offset), offset)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM):
                raise
            done = os.sendfile(target, source, offset, min(COPY_CHUNK, size - offset))
        if done == 0:
            break
        offset += done
