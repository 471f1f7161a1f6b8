"""The kernel's log never does harm, and faults are not blocked: the host would end the kernel for one without a word."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from pycontain.kernel import log

BLOCKED = """
import ctypes, os, signal, sys
from pycontain.kernel import log
from pycontain.kernel.loop import Loop
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
log.tell_of_faults()
loop = Loop(print)
loop.on_signals({signal.SIGCHLD: lambda: None})
print(signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL, signal.SIGHUP in signal.pthread_sigmask(signal.SIG_BLOCK, []))
sys.stdout.flush()
ctypes.string_at(0)
"""


def test_a_full_disk_costs_entries_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stderr", full)
        log.write("an entry")
        log.write("another one")
        monkeypatch.undo()
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())  # what is in its buffer can go


def test_a_fault_tells_where_it_was() -> None:
    done = subprocess.run([sys.executable, "-c", BLOCKED], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "True True\n"
    assert done.returncode == -signal.SIGSEGV
    assert "Segmentation fault" in done.stderr and "string_at" in done.stderr
