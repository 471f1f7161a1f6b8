"""How a pull or push shows itself: a line per layer, redrawn on a terminal."""

from __future__ import annotations

import threading
from typing import TextIO

from pycontain.cli.units import size


class PullProgress:
    """A Progress of pycontain.client: a terminal's lines are redrawn, elsewhere each change is a line."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._live = out.isatty()
        self._lines: dict[str, str] = {}
        self._lock = threading.Lock()

    def layer(self, digest: str, status: str, done: int, total: int) -> None:
        """Show where a layer is; called by several threads, and often."""
        name = digest.removeprefix("sha256:")[:12]
        text = f"{name}: {status}"
        with self._lock:
            if not self._live:
                if self._lines.get(name) != text:
                    self._lines[name] = text
                    print(text, file=self._out, flush=True)
                return
            if total and done < total:
                text += f" {size(done)}/{size(total)}"
            known = list(self._lines)
            up = len(known) - known.index(name) if name in self._lines else 0
            self._lines[name] = text
            move = f"\x1b[{up}A\r\x1b[K{text}\x1b[{up}B\r" if up else f"{text}\n"
            self._out.write(move)
            self._out.flush()
