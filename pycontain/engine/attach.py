"""This process's input, output and signals, connected to a session of the kernel.

One loop over poll(2): the session's events, our standard input, the container's input where it can take
more, and signals. Input goes to the container's terminal if it has one, else into a pipe that we hold.
"""

from __future__ import annotations

import fcntl
import os
import select
import termios

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Iterable
    from types import FrameType, TracebackType

    from pycontain.kernel.control import Session
else:
    import _signal as signal  # the same without enums, which take longer to import than all else here

FORWARDED = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
"""Signals that are passed on to the container's program where it has no terminal."""

DETACH_KEYS = b"\x10\x11"
"""ctrl-p ctrl-q"""

_CHUNK = 65536


class Signals:
    """Collects signals instead of being ended by them, for as long as the context lasts.

    Enter it before the container starts: a Ctrl-C in between must not leave the container behind.
    """

    def __init__(self, numbers: Iterable[int]) -> None:
        self._numbers = tuple(numbers)
        self._old: list[tuple[int, object]] = []
        self._old_wakeup = -1
        self.fd = -1
        self._write_end = -1

    def __enter__(self) -> Signals:
        self.fd, self._write_end = os.pipe()
        os.set_blocking(self.fd, False)
        os.set_blocking(self._write_end, False)
        self._old = [(number, signal.signal(number, _noted)) for number in self._numbers]
        self._old_wakeup = signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.set_wakeup_fd(self._old_wakeup)
        for number, handler in self._old:
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)  # type: ignore[arg-type]
        os.close(self.fd)
        os.close(self._write_end)

    def arrived(self) -> bytes:
        """The numbers of the signals that have come, one byte each."""
        try:
            return os.read(self.fd, 512)
        except BlockingIOError:
            return b""


def _noted(number: int, frame: FrameType | None) -> None:
    """The wake-up descriptor already tells the loop."""


class Detached(Exception):
    """The user left with the detach keys; the container runs on."""


class Interrupted(Exception):
    """A signal told this process to end while it holds a terminal; the container runs on."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Attachment:
    """stdin: our input, None where the container gets none. pipe: the end of the container's input pipe
    that we write to, None with a terminal; it is closed at the end of the input. forward: pass signals on."""

    def __init__(
        self,
        session: Session,
        *,
        stdin: int | None = None,
        pipe: int | None = None,
        stdout: int = 1,
        stderr: int = 2,
        forward: bool = True,
        detach_keys: bytes = DETACH_KEYS,
        window: int | None = None,
    ) -> None:
        self._session = session
        self._stdin = stdin
        self._pipe = pipe
        self._out = {1: stdout, 2: stderr}
        self._forward = forward
        self._keys = detach_keys if session.master is not None else b""
        self._matched = 0
        self._window = window
        self._pending = b""
        if pipe is not None:
            os.set_blocking(pipe, False)

    def run(self, signals: Signals) -> int:
        """Until the program ends: its exit code. Raises Detached or Interrupted where we leave before."""
        try:
            code = self._read_events()  # some may have come with the session itself
            if code is not None:
                return code
            while True:
                code = self._round(signals)
                if code is not None:
                    return code
        finally:
            self._close_pipe()

    def _round(self, signals: Signals) -> int | None:
        poller = select.poll()
        poller.register(self._session.fileno(), select.POLLIN)
        poller.register(signals.fd, select.POLLIN)
        sink = self._sink()
        if self._pending and sink is not None:
            poller.register(sink, select.POLLOUT)
        elif self._pipe is not None:
            poller.register(self._pipe, 0)  # POLLERR tells that the container closed its input
        if self._stdin is not None and not self._pending:
            poller.register(self._stdin, select.POLLIN)
        ready = dict(poller.poll())
        if signals.fd in ready:
            self._handle(signals.arrived())
        if self._session.fileno() in ready:
            code = self._read_events()
            if code is not None:
                return code
        if sink is not None and sink in ready:
            if ready[sink] & select.POLLERR and sink == self._pipe:
                self._stop_input()
            else:
                self._flush()
        if self._stdin is not None and self._stdin in ready:
            self._read_input()
        return None

    # -- output

    def _read_events(self) -> int | None:
        while (event := self._session.read_event()) is not None:
            if event[0] == "exit":
                return int(event[1])
            self._write(event[1], event[2])
        return None

    def _write(self, stream: int, data: bytes) -> None:
        fd = self._out.get(stream)
        if fd is None:
            return
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(fd, view) :]
            except BlockingIOError:  # our output is somebody's non-blocking descriptor
                select.select([], [fd], [])
            except BrokenPipeError:
                del self._out[stream]  # the program learns of it as it would without us
                self._session.signal(signal.SIGPIPE)
                return

    # -- input

    def _sink(self) -> int | None:
        return self._session.master if self._session.master is not None else self._pipe

    def _read_input(self) -> None:
        assert self._stdin is not None
        try:
            data = os.read(self._stdin, _CHUNK)
        except BlockingIOError:
            return
        except OSError:  # a terminal that went away, or a descriptor that cannot be read
            data = b""
        if not data:
            self._stop_input()
            return
        self._pending += self._without_keys(data)
        self._flush()

    def _without_keys(self, data: bytes) -> bytes:
        """The input without the detach keys; a beginning of them is held back until it is certain."""
        if not self._keys:
            return data
        passed = bytearray()
        for byte in data:
            if byte == self._keys[self._matched]:
                self._matched += 1
                if self._matched == len(self._keys):
                    self._pending += bytes(passed)
                    self._flush()
                    raise Detached
                continue
            passed += self._keys[: self._matched]
            self._matched = 0
            if byte == self._keys[0]:
                self._matched = 1
                if len(self._keys) > 1:
                    continue
                raise Detached
            passed.append(byte)
        return bytes(passed)

    def _flush(self) -> None:
        sink = self._sink()
        while self._pending and sink is not None:
            try:
                self._pending = self._pending[os.write(sink, self._pending) :]
            except BlockingIOError:
                return
            except OSError:  # nobody reads it any more
                self._stop_input()

    def _stop_input(self) -> None:
        self._stdin = None
        self._pending = b""
        self._close_pipe()

    def _close_pipe(self) -> None:
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None

    # -- signals

    def _handle(self, numbers: bytes) -> None:
        for number in numbers:
            if number == signal.SIGWINCH:
                self.resize()
            elif self._forward:
                self._session.signal(number)
            else:
                raise Interrupted(number)

    def resize(self) -> None:
        """Give the container's terminal the size of ours."""
        master = self._session.master
        if master is None or self._window is None:
            return
        try:
            size = fcntl.ioctl(self._window, termios.TIOCGWINSZ, bytes(8))
            fcntl.ioctl(master, termios.TIOCSWINSZ, size)
        except OSError:
            pass  # the terminal is gone; so is whoever looks at it
