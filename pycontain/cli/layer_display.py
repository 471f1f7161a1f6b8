"""What pull and push show of their layers: a live line each on a terminal, else a line per change."""

from __future__ import annotations

import os
import sys
import threading
import time
from types import TracebackType
from typing import TextIO

from pycontain.cli.units import size

_REDRAW = 0.1  # seconds between two pictures
_MOVING = frozenset({"Downloading", "Extracting", "Pushing", "Retrying"})
_FINAL = ("Pull complete", "Already exists", "Pushed", "Layer already exists", "Mounted from", "Skipped")


class LayerDisplay:
    """A client's Progress for people. Use as a context manager; calls may come from any thread."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._live = self._out.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self._lock = threading.Lock()
        self._rows: dict[str, tuple[str, int, int]] = {}  # those that may still change, in order
        self._drawn = 0  # live lines above the cursor
        self._next = 0.0

    def __enter__(self) -> LayerDisplay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.settle()

    def settle(self) -> None:
        """Leave the lines as they are now; other output can follow, and other layers after it."""
        with self._lock:
            if self._live:
                self._draw(len(self._rows))
            self._rows.clear()
            self._drawn = 0

    def layer(self, digest: str, status: str, done: int, total: int) -> None:
        """See client.progress.Progress."""
        name = digest.partition(":")[2][:12]
        with self._lock:
            before = self._rows.get(name)
            self._rows[name] = (status, done, total)
            changed = before is None or before[0] != status
            if not self._live:
                if changed and status not in ("Downloading", "Extracting", "Pushing"):
                    self._out.write(f"{name}: {status}\n")
                    self._out.flush()
                return
            now = time.monotonic()
            if changed or now >= self._next:
                self._next = now + _REDRAW
                self._draw(os.get_terminal_size(self._out.fileno()).lines - 2)

    def _draw(self, room: int) -> None:
        """Replace the live lines. What is final at their top scrolls away for good."""
        width = os.get_terminal_size(self._out.fileno()).columns - 1
        text = f"\x1b[{self._drawn}A\r" if self._drawn else "\r"
        for name in list(self._rows):
            if not self._rows[name][0].startswith(_FINAL):
                break
            text += f"{_line(name, *self._rows.pop(name), width)}\x1b[K\n"
        shown = list(self._rows.items())[: max(room, 1)]
        for name, row in shown:
            text += f"{_line(name, *row, width)}\x1b[K\n"
        self._drawn = len(shown)
        self._out.write(text + "\x1b[J")
        self._out.flush()


def _line(name: str, status: str, done: int, total: int, width: int) -> str:
    """One live line, at most width characters; the bar gets what the words leave."""
    if status not in _MOVING or not total:
        return f"{name}: {status}"[:width]
    counts = f"{size(done)}/{size(total)}"
    room = min(width - 47, 50)
    if room < 5:
        return f"{name}: {status} {counts}"[:width]
    filled = min(done * room // total, room)
    bar = "=" * (filled - 1) + ">" if filled else ""
    return f"{name}: {status:<11} [{bar:<{room}}]  {counts}"
