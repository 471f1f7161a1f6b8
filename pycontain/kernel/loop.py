"""The kernel's event loop: one thread, epoll, timers.

Ready descriptors get one event each in turn. That is fair where all take the same time; but some calls take a
thousand times as long as others (a path through many links, the maps of a process with many), and who makes those
without end would have nearly all of the thread. So when several wanted a turn and it has taken long, it is looked for
a second who takes the time, and who takes more than others that want it, too, has to wait. See Turns.
"""

from __future__ import annotations

import heapq
import os
import select
import signal
import time
from collections.abc import Callable
from functools import partial

from pycontain.kernel import libc, log

MAX_EVENTS = 64
LONG = 0.0001  # seconds for each event of a turn after which it is looked at whose events take them
WATCH = 1.0  # seconds for which that is done
LEAST_PAUSE, LONGEST_PAUSE = 0.002, 10.0  # seconds
SIGNALFD_SIGINFO = 128  # bytes of struct signalfd_siginfo; it starts with the signal's number


class Turns:
    """Who takes the thread, among the platform's listeners: there is one for each tree of processes.

    Only what is taken while others are ready counts, and is paid back by as much time for them.
    """

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._debts: dict[int, float] = {}  # seconds that a listener has had more than others who wanted them
        self._watched_until = 0.0

    def take(self, ready: list[tuple[int, int]]) -> None:
        """Call the handlers of a turn in which several are ready."""
        start = time.monotonic()
        if start < self._watched_until:
            self._count(ready)
        else:
            for fd, events in ready:
                handler = self._loop.handlers.get(fd)
                if handler is not None:  # an earlier event of the turn may have removed it
                    try:
                        handler(events)
                    except Exception as error:
                        self._loop.failed(error)
        if time.monotonic() - start > LONG * len(ready):
            if start >= self._watched_until:
                self._debts.clear()
            self._watched_until = start + WATCH

    def _count(self, ready: list[tuple[int, int]]) -> None:
        handlers, own = self._loop.handlers, self._loop.own
        debts = self._debts
        waiting = [fd for fd, _ in ready if fd not in own]
        for fd, events in ready:
            handler = handlers.get(fd)
            if handler is None:
                continue
            spent = time.thread_time()  # not the clock: the host may have let somebody else run
            try:
                handler(events)
            except Exception as error:
                self._loop.failed(error)
            if len(waiting) < 2 or fd not in waiting:
                continue
            spent = time.thread_time() - spent
            for other in waiting:
                debts[other] = debts.get(other, 0.0) + (spent * (len(waiting) - 1) if other == fd else -spent)
            if debts[fd] > LEAST_PAUSE and handlers.get(fd) is handler:
                self._loop.poll.modify(fd, 0)
                self._loop.later(min(debts[fd], LONGEST_PAUSE), partial(self._go_on, fd, handler))
                debts[fd] = 0.0

    def _go_on(self, fd: int, handler: Callable[[int], None]) -> None:
        if self._loop.handlers.get(fd) is handler:  # the number may be somebody else's by now
            self._loop.poll.modify(fd, select.EPOLLIN)


class Loop:
    """handlers[fd](events) is called when a registered descriptor is ready. own: those that are registered here; the
    platform's listeners, which it registers itself, are the ones that may have to wait for each other.

    failed(error) is told of an exception that a handler let through; the loop goes on. Timers come by a descriptor, too:
    the calls of tasks pass here, and need not look at the clock.
    """

    def __init__(self, failed: Callable[[Exception], None]) -> None:
        self.failed = failed
        self.poll = select.epoll()
        self.handlers: dict[int, Callable[[int], None]] = {}
        self.own: set[int] = set()
        self._turns = Turns(self)
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._running = True
        self.wait: Callable[[], list[tuple[int, int]]] = partial(self.poll.poll, -1, MAX_EVENTS)
        self._alarm = libc.timerfd()
        self.register(self._alarm, self._due)

    def register(self, fd: int, handler: Callable[[int], None], events: int = select.EPOLLIN) -> None:
        self.handlers[fd] = handler
        self.own.add(fd)
        self.poll.register(fd, events)

    def unregister(self, fd: int) -> None:
        if self.handlers.pop(fd, None) is not None:
            self.own.discard(fd)
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
        due = time.monotonic()  # what is due after this comes after the next turn
        while self._timers and self._timers[0][0] <= due:
            function = heapq.heappop(self._timers)[2]
            try:
                function()
            except Exception as error:
                self.failed(error)
        if self._timers:
            libc.timerfd_settime(self._alarm, self._timers[0][0])

    def on_signals(self, handlers: dict[int, Callable[[], None]]) -> None:
        """Handle signals in the loop, between other events. Every other is blocked from here on, but faults of our own.

        A handler would not do: a signal that interrupts us while we put a descriptor into a task, or answer it, costs
        the call a second try (EINTR).
        """
        signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals() - log.FAULTS)
        for number in handlers:
            signal.signal(number, signal.SIG_DFL)  # who has started us may have ignored it
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
        wait, handlers = self.wait, self.handlers
        while self._running:
            ready = wait()
            if len(ready) > 1:
                self._turns.take(ready)
                continue
            for fd, events in ready:
                handler = handlers.get(fd)
                if handler is not None:
                    try:
                        handler(events)
                    except Exception as error:
                        self.failed(error)
