"""Where save and export write, and load and import read."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import IO, TextIO

from pycontain.cli.options import UsageError
from pycontain.errors import StoreError


@contextlib.contextmanager
def output_file(verb: str, path: str | None, stdout: TextIO) -> Iterator[IO[bytes]]:
    """A file that takes the place of `path` once all is written, or standard output, which is no terminal."""
    if path is None or path == "-":
        if stdout.isatty():
            raise UsageError(f"{verb}: will not write a tar to a terminal", hint="use -o FILE or a pipe")
        yield stdout.buffer
        stdout.buffer.flush()
        return
    if os.path.exists(path) and not os.path.isfile(path):  # /dev/null, a fifo
        with open(path, "wb") as device:
            yield device
        return
    temporary = f"{path}.{os.getpid()}~"
    try:
        with open(temporary, "xb") as file:
            yield file
        os.replace(temporary, path)
    except OSError as error:
        raise StoreError(f"{verb}: write {path}: {error.strerror}") from None
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


@contextlib.contextmanager
def input_file(verb: str, path: str | None) -> Iterator[IO[bytes]]:
    """The file, or standard input, which is no terminal."""
    if path is None or path == "-":
        if sys.stdin.isatty():
            raise UsageError(f"{verb}: will not read a tar from a terminal", hint="name a file or use a pipe")
        yield sys.stdin.buffer
        return
    try:
        file = open(path, "rb")  # noqa: SIM115 (closed below; what happens in between is not our error)
    except OSError as error:
        raise StoreError(f"{verb}: read {path}: {error.strerror}") from None
    with file:
        yield file
