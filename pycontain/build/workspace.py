"""What a build starts from: its Dockerfile, its context, its .dockerignore.

DIRECTORY            the context; the Dockerfile is -f's file, or Dockerfile in it
DIRECTORY -f -       the Dockerfile comes on standard input
-                    standard input is a tar, compressed or not, of a context; or a Dockerfile alone
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from typing import IO, TYPE_CHECKING

from pycontain.build.context import DirectorySource
from pycontain.build.filehash import FileHashes
from pycontain.build.ignore import parse_ignore
from pycontain.build.lines import MAX_FILE
from pycontain.build.source import Filtered, Source, resolve
from pycontain.errors import BuildError

if TYPE_CHECKING:
    from pycontain.store import Store

DEFAULT_NAME = "Dockerfile"
REMOTE = ("http://", "https://", "git://", "git@", "ssh://")


class Workspace:
    """name is the Dockerfile's for messages. source opens the context when a step needs it."""

    def __init__(
        self, name: str, dockerfile: bytes, source: Callable[[], Source], hashes: FileHashes
    ) -> None:
        self.name = name
        self.dockerfile = dockerfile
        self.source = source
        self.hashes = hashes


def open_workspace(
    store: Store,
    context: str,
    file: str,
    stdin: IO[bytes],
    scratch: Callable[[], str],
    warn: Callable[[str], None],
) -> Workspace:
    """Find the parts of a build. file: -f, "" where it is not given; scratch: makes an empty directory. warn: is
    told of files that are left out.

    Raises BuildError.
    """
    if context == "-":
        if file == "-":
            raise BuildError("the Dockerfile and the context can not both come from standard input")
        return from_stdin(stdin, file, scratch())
    if context.startswith(REMOTE):
        raise BuildError(
            f"not supported yet: the context {context}", hint="clone or unpack it, then build that"
        )
    if not os.path.isdir(context):
        reason = "not a directory" if os.path.exists(context) else "no such directory"
        raise BuildError(f"context {context}: {reason}")
    root = os.path.abspath(context)
    name = hashlib.sha256(os.fsencode(os.path.realpath(root))).hexdigest()[:32]
    hashes = FileHashes(os.path.join(store.root, "cache", "files", name))
    beside = ""
    if file == "-":
        shown, dockerfile = "-", read_limited(stdin, "Dockerfile on standard input")
    else:
        shown, path = find_dockerfile(root, file)
        dockerfile = read_host_file(path, shown)
        beside = path + ".dockerignore"

    def source() -> Source:
        files = DirectorySource(root, hashes, warn)
        for path in (beside, os.path.join(root, ".dockerignore")):
            if path and os.path.isfile(path):
                ignore = parse_ignore(read_host_file(path, path), os.path.basename(path))
                return Filtered(files, ignore) if ignore else files
        return files

    return Workspace(shown, dockerfile, source, hashes)


def find_dockerfile(root: str, file: str) -> tuple[str, str]:
    """The Dockerfile's name for messages, and its path."""
    if file:
        return file, os.path.abspath(file)
    for name in (DEFAULT_NAME, DEFAULT_NAME.lower()):
        path = os.path.join(root, name)
        if os.path.lexists(path):
            return name, path
    raise BuildError(f"no Dockerfile in {root}", hint="name it with -f")


def read_host_file(path: str, shown: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return read_limited(file, shown)
    except OSError as error:
        raise BuildError(f"read {shown}: {error.strerror}") from None


def read_limited(file: IO[bytes], shown: str) -> bytes:
    data = file.read(MAX_FILE + 1)
    if len(data) > MAX_FILE:
        raise BuildError(f"read {shown}: over {MAX_FILE >> 20} MiB")
    return data


def from_stdin(stdin: IO[bytes], file: str, scratch: str) -> Workspace:
    """A build whose context, or whose Dockerfile alone, comes on standard input."""
    from pycontain.store.compression import sniff  # imports zlib and more

    head = stdin.read(512)
    hashes = FileHashes(None)
    if sniff(head) == "none" and head[257:262] != b"ustar":
        dockerfile = head + read_limited(stdin, "Dockerfile on standard input")
        empty = os.path.join(scratch, "empty")
        os.mkdir(empty)
        return Workspace("-", dockerfile, lambda: DirectorySource(empty, hashes), hashes)
    return from_archive(head, stdin, file, scratch, hashes)


def from_archive(head: bytes, stdin: IO[bytes], file: str, scratch: str, hashes: FileHashes) -> Workspace:
    """A context that is a tar. It is unpacked into a tree, so that no name in it reaches the host."""
    from pycontain.build.archive import extract  # with tarfile it is slow to import, and rarely needed
    from pycontain.build.treesource import TreeSource
    from pycontain.unionfs.image import ImageTree
    from pycontain.unionfs.tree import Tree

    spool = os.path.join(scratch, "context.tar")
    with open(spool, "xb") as out:
        out.write(head)
        while chunk := stdin.read(1 << 20):
            out.write(chunk)
    tree = Tree(ImageTree.merge([]), os.path.join(scratch, "context"))
    try:
        extract(spool, tree, b"/")
    except ValueError as error:
        raise BuildError(f"read the context on standard input: {error}") from None
    os.unlink(spool)
    files = TreeSource(tree, "the build context", own_ids=False)

    def read(path: str) -> bytes | None:
        node = resolve(files, os.fsencode(path))
        if node is None or not node.is_regular:
            return None
        return read_host_file(files.host_path(node), path)

    names = [file] if file else [DEFAULT_NAME, DEFAULT_NAME.lower()]
    for name in names:
        dockerfile = read(name)
        if dockerfile is None:
            continue

        def source(name: str = name) -> Source:
            for path in (name + ".dockerignore", ".dockerignore"):
                data = read(path)
                if data is not None:
                    return Filtered(files, parse_ignore(data, path))
            return files

        return Workspace(name, dockerfile, source, hashes)
    raise BuildError(f"no {names[0]} in the context on standard input")
