"""The kernel's log: its standard error, which whoever starts it has connected with kernel.log.

Whatever ends a kernel leaves a line there: a request and a signal are noted, an exception and a crash tell where they
happened. Nobody can note its own SIGKILL: clients do that, as far as they learn of it (ending.py), and so does the next
kernel, which finds a socket that was not removed (server.py).
"""

from __future__ import annotations

import faulthandler
import signal
import sys
import time

FAULTS = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL})
"""Signals that an instruction of our own raises. The host ends a process that has blocked them without a word."""


def write(text: str) -> None:
    """One entry. Where the disk is full it is lost, and nothing else."""
    try:
        print(time.strftime("%Y-%m-%d %H:%M:%S"), text, file=sys.stderr, flush=True)
    except OSError:
        pass


def tell_of_faults() -> None:
    """A fault ends the kernel as before, but tells where it was."""
    faulthandler.enable()
