"""tmpfs that programs mount: tmpfs(5)'s options."""

from __future__ import annotations

import errno
import os
import re
from typing import TYPE_CHECKING, NamedTuple

from pycontain.kernel.vfs.filesystem import fail
from pycontain.kernel.vfs.sizedtmpfs import SizedTmpfs
from pycontain.kernel.vfs.unionfs import UnionFs, new_tmpfs

if TYPE_CHECKING:
    from pycontain.kernel.container import Container

FIRST_DEVICE = 512  # minor numbers of what is mounted inside start here
UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50, "e": 1 << 60}
NUMBER = re.compile(r"0[xX][0-9a-fA-F]{1,16}|[0-9]{1,20}")  # as the host's kstrtoull reads it
LARGEST = 1 << 62  # bytes
IGNORED = (
    "huge",
    "mpol",
    "inode32",
    "inode64",
    "noswap",
)  # where memory comes from, and widths: nothing to do here


class Options(NamedTuple):
    size: int | None = None  # bytes
    mode: int = 0o1777
    uid: int = 0
    gid: int = 0


def mount_options(data: bytes) -> Options:
    """The text of mount(2)'s last argument. Raises EINVAL for what tmpfs(5) does not know."""
    options = Options()
    for word in filter(None, os.fsdecode(data).split(",")):
        name, _, value = word.partition("=")
        try:
            if name == "size":
                options = options._replace(size=_size(value))
            elif name == "nr_blocks":
                options = options._replace(size=_size(value) * 4096)
            elif name == "mode":
                options = options._replace(mode=_id("0" + value) & 0o7777)
            elif name == "uid":
                options = options._replace(uid=_id(value))
            elif name == "gid":
                options = options._replace(gid=_id(value))
            elif name != "nr_inodes" and name not in IGNORED:
                fail(errno.EINVAL)
        except ValueError:
            fail(errno.EINVAL)
    return options


def _number(text: str) -> int:
    """Decimal, hexadecimal or octal. Raises ValueError."""
    if not NUMBER.fullmatch(text):
        raise ValueError(text)
    octal = text[0] == "0" and text[1:2] not in ("x", "X")
    return int(text, 8 if octal else 0)


def _id(text: str) -> int:
    value = _number(text)
    if value >= 0xFFFFFFFF:
        raise ValueError(text)
    return value


def _size(text: str) -> int:
    if text.endswith("%"):
        return min(os.sysconf("SC_PHYS_PAGES") * 4096 * _number(text[:-1]) // 100, LARGEST)
    unit = UNITS.get(text[-1:].lower(), 1)
    return min(_number(text if unit == 1 else text[:-1]) * unit, LARGEST)


def new_mounted(container: Container, options: Options) -> UnionFs:
    container.mounted += 1
    directory = os.path.join(container.directory, f"tmpfs-inside-{container.mounted}")
    dev = os.makedev(0, FIRST_DEVICE + container.mounted)
    if options.size:
        make = container.kernel.platform.limited_directory
        fs: UnionFs = SizedTmpfs(directory, dev, options.mode, options.size, make)
    else:
        fs = new_tmpfs(directory, dev, options.mode)
    fs.image.root.uid, fs.image.root.gid = options.uid, options.gid
    return fs
