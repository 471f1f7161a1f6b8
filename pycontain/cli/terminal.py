"""The user's terminal: its size, and raw mode that always ends."""

from __future__ import annotations

import fcntl
import os
import struct
import termios
import tty

from pycontain.cli.options import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType


def window_size(fd: int) -> tuple[int, int]:
    """Rows and columns; zeros where it is no terminal."""
    try:
        rows, columns, _, _ = struct.unpack("4H", fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(8)))
    except OSError:
        return 0, 0
    return rows, columns


class RawMode:
    """While the context lasts, keys go to the container as they are typed. fd None: nothing is done."""

    def __init__(self, fd: int | None) -> None:
        self._fd = fd
        self._saved: list[int | list[bytes | int]] | None = None

    def __enter__(self) -> RawMode:
        if self._fd is not None:
            self._saved = termios.tcgetattr(self._fd)
            tty.setraw(self._fd, termios.TCSADRAIN)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._fd is not None and self._saved is not None:
            try:
                termios.tcsetattr(self._fd, termios.TCSADRAIN, self._saved)
            except OSError:
                pass  # the terminal was closed under us


def input_terminal(verb: str) -> int:
    """Our standard input as the terminal that -it needs. UsageError where it is none."""
    if not os.isatty(0):
        raise UsageError(f"{verb}: -t with -i needs a terminal as input", hint="leave -t out for a pipe")
    return 0


def parse_detach_keys(text: str) -> bytes:
    """Docker's notation, "ctrl-p,ctrl-q": letters, or ctrl- with a letter or one of @[\\]^_."""
    keys = bytearray()
    for word in text.split(",") if text else ():
        name = word.removeprefix("ctrl-")
        if len(name) != 1 or not name.isascii():
            raise UsageError(f"--detach-keys {text}: {word!r} is no key", hint="for example ctrl-p,ctrl-q")
        code = ord(name)
        if word != name:
            code = ord(name.upper()) ^ 0x40
            if not 0 <= code < 32:
                raise UsageError(f"--detach-keys {text}: there is no {word}")
        keys.append(code)
    return bytes(keys)
