"""How fast the host's time stamp counter counts.

QEMU's TCG hands the host's counter to the guest as it is, and offers nothing that the guest's kernel could measure it
against: it has to be told, or its clock goes wrong by as much as the guess does.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import time

from pycontain.errors import MachineError
from pycontain.vm.measured import once_a_boot

SPAN = 0.1
"""Seconds of the measurement. Its ends are known to a microsecond: 0.001 %."""
ROUNDED = 100
"""kHz. Two measurements of one host are to give the same, since a template is bound to it; 0.1 MHz of 2 GHz is four
seconds a day at most, usually none, as counters go at round frequencies."""
TOLERANCE = 0.002
"""By how much a saved machine's clock may go wrong where it is restored: three minutes a day."""
_CODE = bytes.fromhex("0f31 48c1e220 4809d0 c3")
"""rdtsc; shl rdx, 32; or rax, rdx; ret"""


def kilohertz(home: str) -> int:
    """The host's counter, in kHz; measured once a boot. home: the machines' directory. MachineError."""
    values = once_a_boot(os.path.join(home, "tsc.json"), lambda: {"khz": measure()})
    return int(values["khz"])


def measure() -> int:
    """Count for a tenth of a second."""
    try:
        page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    except OSError as error:  # QEMU could not translate here, either
        raise MachineError(f"measure the time stamp counter: {error.strerror}") from None
    page[: len(_CODE)] = _CODE
    holder = ctypes.c_char.from_buffer(page)
    counter = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(holder))
    begun, first = _instant(counter)
    time.sleep(SPAN)
    ended, last = _instant(counter)
    del counter, holder
    page.close()
    khz = (last - first) * 1_000_000 / (ended - begun)
    return round(khz / ROUNDED) * ROUNDED


def _instant(counter: ctypes._CFunctionType) -> tuple[float, int]:
    """Nanoseconds and the counter at the same instant: of some tries, the one that took the least time."""
    found = []
    for _ in range(10):
        before = time.monotonic_ns()
        count = int(counter())
        after = time.monotonic_ns()
        found.append((after - before, (before + after) / 2, count))
    _, moment, count = min(found)
    return moment, count
