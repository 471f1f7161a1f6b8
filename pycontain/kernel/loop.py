"""The kernel's event loop: one thread, epoll, timers."""

from __future__ import annotations

import heapq
import os
import select
import signal
import time
from collections.abc import Callable

from pycontain.kernel import libc

MAX_EVENTS = 64
SIGNALFD_SIGINFO = 128  # bytes of struct signalfd_siginfo; it starts with the signal's number


class Loop:
    """handlers[fd](events) is called when a registered descriptor is ready.

    failed(error) is told of an exception that a handler let through; the loop goes on. Timers come by a descriptor, too:
    the calls of tasks pass here, and need not look at the clock.
    """

    def __init__(self, failed: Callable[[Exception], None]) -> None:
        self._failed = failed
        self.poll = select.epoll()
        self.handlers: dict[int, Callable[[int], None]] = {}
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._running = True
        self._alarm = libc.timerfd()
        self.register(self._alarm, self._due)

    def register(self, fd: int, handler: Callable[[int], None], events: int = select.EPOLLIN) -> None:
        self.handlers[fd] = handler
        self.poll.register(fd, events)

    def unregister(self, fd: int) -> None:
        if self.handlers.pop(fd, None) is not None:
            self.poll.unregister(fd)

    def later(self, seconds: float, function: Callable[[], None]) -> None:
        self._count += 1
        entry = (time.monotonic() + seconds, self._count, function)
        heapq.heappush(self._timers, entry)
        if self._timers[0] is entry:
            libc.timerfd_settime(self._alarm, entry[0])

    def _due(self, events: int) -> None:
        try:
            os.read(self._alarm, 8)
        except BlockingIOError:
            pass  # set to a later time meanwhile
        while self._timers and self._timers[0][0] <= time.monotonic():
            function = heapq.heappop(self._timers)[2]
            try:
                function()
            except Exception as error:
                self._failed(error)
        if self._timers:
            libc.timerfd_settime(self._alarm, self._timers[0][0])

    def on_signals(self, handlers: dict[int, Callable[[], None]]) -> None:
        """Handle signals in the loop, between other events. Every signal is blocked from here on.

        A handler would not do: a signal that interrupts SECCOMP_IOCTL_NOTIF_ADDFD with FLAG_SEND takes the
        descriptor back, but the task has its answer already, and that is 0 (seccomp_notify_addfd in the host's
        kernel/seccomp.c).
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        fd = libc.signalfd(handlers)

        def ready(events: int) -> None:
            data = os.read(fd, SIGNALFD_SIGINFO * 16)
            for number in {data[at] for at in range(0, len(data), SIGNALFD_SIGINFO)}:
                handlers[number]()

        self.register(fd, ready)

    def close(self) -> None:
        """After the last run()."""
        self.poll.close()
        os.close(self._alarm)

    def stop(self) -> None:
        self._running = False

    def run(self) -> None:
        poll, handlers = self.poll.poll, self.handlers
        while self._running:
            for fd, events in poll(-1, MAX_EVENTS):
                handler = handlers.get(fd)
                if handler is not None:  # an earlier event of the batch may have removed it
                    try:
                        handler(events)
                    except Exception as error:
                        self._failed(error)
