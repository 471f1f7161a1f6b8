"""The kernel's event loop: one thread, epoll, timers."""

from __future__ import annotations

import heapq
import os
import select
import signal
import time
from collections.abc import Callable

MAX_EVENTS = 64


class Loop:
    """handlers[fd](events) is called when a registered descriptor is ready."""

    def __init__(self) -> None:
        self.poll = select.epoll()
        self.handlers: dict[int, Callable[[int], None]] = {}
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._running = True
        self.after: list[Callable[[], None]] = []  # run after every batch of events

    def register(self, fd: int, handler: Callable[[int], None], events: int = select.EPOLLIN) -> None:
        self.handlers[fd] = handler
        self.poll.register(fd, events)

    def unregister(self, fd: int) -> None:
        if self.handlers.pop(fd, None) is not None:
            self.poll.unregister(fd)

    def later(self, seconds: float, function: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._timers, (time.monotonic() + seconds, self._count, function))

    def on_signals(self, handlers: dict[int, Callable[[], None]]) -> None:
        """Handle signals in the loop, between other events."""
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in handlers:
            signal.signal(number, lambda *_: None)

        def ready(events: int) -> None:
            for number in set(os.read(reader, 4096)):
                if number in handlers:
                    handlers[number]()

        self.register(reader, ready)

    def stop(self) -> None:
        self._running = False

    def run(self) -> None:
        poll, handlers = self.poll.poll, self.handlers
        while self._running:
            timeout = -1.0
            if self._timers:
                timeout = max(self._timers[0][0] - time.monotonic(), 0)
            for fd, events in poll(timeout, MAX_EVENTS):
                handler = handlers.get(fd)
                if handler is not None:  # an earlier event of the batch may have removed it
                    handler(events)
            while self._timers and self._timers[0][0] <= time.monotonic():
                heapq.heappop(self._timers)[2]()
            for function in self.after:
                function()
