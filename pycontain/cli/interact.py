"""Attach this terminal, or these pipes, to a program that is being started: run, start -a, exec, attach."""

from __future__ import annotations

import os
import sys

from pycontain.cli.terminal import RawMode, input_terminal, window_size
from pycontain.engine.attach import DETACH_KEYS, FORWARDED, Attachment, Detached, Interrupted, Signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable

    from pycontain.kernel.control import Session
else:
    import _signal as signal  # as in engine.attach


def interact(
    verb: str,
    begin: Callable[[int | None, tuple[int, int]], Session],
    *,
    interactive: bool,
    terminal: bool,
    proxy: bool = True,
    detach_keys: bytes = DETACH_KEYS,
) -> int:
    """Call begin(stdin, (rows, columns)) for the session and stay with it; the exit code to end with.

    stdin is the end of a pipe for the program's input, None for a terminal or no input.
    """
    raw = input_terminal(verb) if interactive and terminal else None
    window = next((fd for fd in (0, 1, 2) if os.isatty(fd)), None) if terminal else None
    size = window_size(window) if window is not None else (0, 0)
    read_end = write_end = None
    if interactive and not terminal:
        read_end, write_end = os.pipe()
    forward = proxy and raw is None
    numbers = [*FORWARDED, signal.SIGWINCH] if terminal else list(FORWARDED)
    if not proxy and raw is None:
        numbers = [signal.SIGWINCH] if terminal else []
    with Signals(numbers) as signals:
        try:
            session = begin(read_end, size)
        except BaseException:
            if write_end is not None:
                os.close(write_end)
            raise
        finally:
            if read_end is not None:
                os.close(read_end)
        attachment = Attachment(
            session,
            stdin=0 if interactive else None,
            pipe=write_end,
            forward=forward,
            detach_keys=detach_keys if raw is not None else b"",
            window=window,
        )
        try:
            with RawMode(raw):
                return attachment.run(signals)
        except Detached:
            print("\r\nread escape sequence", file=sys.stderr)
            return 0
        except Interrupted as end:
            return 128 + end.number
        finally:
            session.close()
