"""A thread that takes pieces of data in order, so that hashing and compressing run beside the caller."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

DEPTH = 8
"""Pieces that may wait."""


class Relay:
    """Hands each piece to `consume` in a thread of its own.

    What consume raises comes out of the next `put` or `close`. A single piece takes no thread.
    """

    def __init__(self, consume: Callable[[bytes], object]) -> None:
        self._consume = consume
        self._queue: queue.Queue[bytes | None] = queue.Queue(DEPTH)
        self._thread: threading.Thread | None = None
        self._first: bytes | None = None
        self._error: BaseException | None = None

    def put(self, data: bytes) -> None:
        """Pass a piece on; waits while too many are under way."""
        if self._error is not None:
            raise self._error
        if self._first is None and self._thread is None:
            self._first = data
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="pycontain-relay", daemon=True)
            self._thread.start()
            self._queue.put(self._first)
            self._first = None
        self._queue.put(data)

    def close(self) -> None:
        """Wait until all pieces have been taken."""
        self.stop()
        if self._first is not None:
            first, self._first = self._first, None
            self._consume(first)
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """End the thread without raising; for a way out after a failure."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while (data := self._queue.get()) is not None:
            if self._error is None:
                try:
                    self._consume(data)
                except BaseException as error:  # handed to the thread that puts
                    self._error = error
