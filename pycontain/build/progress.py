"""What a build shows while it works: each step, its output and its time.

[2/4] COPY app /app
[2/4] DONE 0.1s
[3/4] RUN make
      | cc -o hello hello.c
[3/4] DONE 1.2s
[4/4] CACHED COPY x /y
"""

from __future__ import annotations

import os
import time
from typing import TextIO

WINDOW = 6  # lines of a running step's output on a terminal
TAIL = 20  # lines that an error repeats


class Progress:
    """Plain text, line by line: for logs and pipes. Also the base of the other kinds."""

    def __init__(self, out: TextIO) -> None:
        self.out = out
        self.label = ""
        self.title = ""
        self.started = 0.0
        self.tail: list[str] = []
        self._pending = b""

    def step(self, label: str, title: str) -> None:
        """A step begins; label is like "[2/5]"."""
        self.label, self.title = label, title
        self.started = time.monotonic()
        self.tail.clear()
        self._pending = b""
        self.line(f"{label} {short(title)}")

    def cached(self, label: str, title: str) -> None:
        """A step need not be carried out."""
        self.line(f"{label} CACHED {short(title)}")

    def output(self, stream: int, data: bytes) -> None:
        """Output of the running step; stream is 1 or 2."""
        lines = (self._pending + data).split(b"\n")
        self._pending = lines.pop()
        for line in lines:
            self._emit(line)

    def done(self, note: str = "") -> None:
        """The running step is through."""
        self._flush()
        self.line(f"{self.label} DONE {self.elapsed()}{' ' + note if note else ''}")

    def failed(self) -> None:
        """The running step failed."""
        self._flush()
        self.line(f"{self.label} ERROR {self.elapsed()}")

    def warn(self, text: str) -> None:
        self.line(f"warning: {text}")

    def result(self, image_id: str, names: list[str]) -> None:
        """The image is there."""
        self.line(" ".join([image_id, *names]))

    def layer(self, digest: str, status: str, done: int, total: int) -> None:
        """Progress of a pull of a base image; threads call this."""
        if done == total and status == "Pull complete":
            self.show(f"{digest.partition(':')[2][:12]} {status}")

    def elapsed(self) -> str:
        return f"{time.monotonic() - self.started:.1f}s"

    def line(self, text: str) -> None:
        self.out.write(text + "\n")
        self.out.flush()

    def show(self, text: str) -> None:
        """Show one line of output."""
        self.line(f"      | {text}")

    def _flush(self) -> None:
        if self._pending:
            self._emit(self._pending)
            self._pending = b""

    def _emit(self, line: bytes) -> None:
        # A carriage return starts a line again: what counts is its last state.
        text = line.rstrip(b"\r").rpartition(b"\r")[2].decode("utf-8", "replace")
        self.tail.append(text)
        del self.tail[:-TAIL]
        self.show(text)


class Quiet(Progress):
    """Nothing but warnings."""

    def line(self, text: str) -> None:
        if text.startswith("warning: "):
            super().line(text)


class Terminal(Progress):
    """For a terminal: a running step shows its last lines of output, which go when it is done."""

    def __init__(self, out: TextIO, width: int | None = None) -> None:
        super().__init__(out)
        self.width = width
        self._shown = 0  # lines below the running step's title
        self._window: list[str] = []

    def line(self, text: str) -> None:
        """One line of the screen: what is longer would make going back to it miscount."""
        width = self.width or os.get_terminal_size(self.out.fileno()).columns or 80
        plain = "".join(char if char.isprintable() else " " for char in text)
        super().line(plain[: max(20, width - 1)])

    def step(self, label: str, title: str) -> None:
        super().step(label, title)
        self._window.clear()

    def show(self, text: str) -> None:
        self._window.append(text)
        del self._window[:-WINDOW]
        self._erase()
        for line in self._window:
            super().show(line)
        self._shown = len(self._window)

    def warn(self, text: str) -> None:
        self._erase()
        super().warn(text)

    def result(self, image_id: str, names: list[str]) -> None:
        Progress.line(self, " ".join([image_id, *names]))  # whole, however long

    def done(self, note: str = "") -> None:
        self._flush()
        self._erase()
        # One line per step: it takes the place of the line that announced it.
        self.out.write("\x1b[A\x1b[2K")
        self.line(f"{self.label} {self.elapsed()} {short(self.title)}{' ' + note if note else ''}")

    def _erase(self) -> None:
        if self._shown:
            self.out.write(f"\x1b[{self._shown}A\x1b[J")
            self._shown = 0


def short(title: str) -> str:
    """A title that fits on a line or two."""
    return title if len(title) <= 150 else title[:147] + "..."


def progress_for(kind: str, out: TextIO, *, quiet: bool = False) -> Progress:
    """kind: "auto", "plain" or "tty"."""
    if quiet:
        return Quiet(out)
    if kind == "tty" or (kind == "auto" and out.isatty()):
        return Terminal(out)
    return Progress(out)
