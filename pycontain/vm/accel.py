"""Whether KVM really works here: measured, not guessed from /dev/kvm.

A virtual CPU runs a short loop in real mode, ring 0, from one page of memory, against a deadline. Nested or
restricted hosts have a /dev/kvm on which guests do not run, or run slower than under TCG. The verdict is kept
until the next boot. Linux, Documentation/virt/kvm/api.rst.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import time
from typing import NamedTuple

from pycontain.errors import MachineError
from pycontain.vm.measured import once_a_boot

GET_API_VERSION, CREATE_VM, GET_VCPU_MMAP_SIZE = 0xAE00, 0xAE01, 0xAE04
CREATE_VCPU, RUN = 0xAE41, 0xAE80
SET_USER_MEMORY_REGION, SET_REGS, GET_SREGS, SET_SREGS = 0x4020AE46, 0x4090AE82, 0x8138AE83, 0x4138AE84
EXIT_HLT = 5
ITERATIONS = 5_000_000
DEADLINE = 0.5
"""Seconds, five times what the slowest KVM that would be chosen takes. The rounds of two instructions each take some
3 ms on a CPU that runs guests directly."""
GOOD = 100e6
"""Instructions per second from which KVM is chosen."""


class Verdict(NamedTuple):
    """speed: instructions per second in the guest, 0 where nothing ran; reason: for people."""

    works: bool
    speed: float
    reason: str


def choose(wanted: str, home: str) -> str:
    """kvm or tcg for --vm-accel's kvm, tcg or auto. MachineError for kvm where it does not work."""
    if wanted not in ("auto", "kvm", "tcg"):
        raise MachineError(f"choose an accelerator: {wanted} is not one of auto, kvm, tcg")
    if wanted == "tcg":
        return "tcg"
    verdict = remembered(home)
    if wanted == "kvm" and not verdict.works:
        raise MachineError(f"use KVM: {verdict.reason}", hint="--vm-accel tcg works everywhere")
    return "kvm" if verdict.works else "tcg"


def remembered(home: str) -> Verdict:
    """This boot's verdict; measured now if there is none yet."""
    kept = once_a_boot(os.path.join(home, "accel.json"), lambda: measure()._asdict())
    return Verdict(bool(kept["works"]), float(kept["speed"]), str(kept["reason"]))


def measure(device: str = "/dev/kvm") -> Verdict:
    """Run the loop in a child process: a run that never returns must not take us along."""
    if not os.path.exists(device):
        return Verdict(False, 0, f"there is no {device}")
    if not os.access(device, os.R_OK | os.W_OK):
        return Verdict(False, 0, f"{device} is not ours to use (the group kvm may)")
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            text = _run_loop(device)
        except OSError as error:
            text = f"no {error.strerror}"
        os.write(write_end, text.encode())
        os._exit(0)
    os.close(write_end)
    try:
        told = _within(read_end, DEADLINE)
    finally:
        os.close(read_end)
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    if told is None:
        return Verdict(False, 0, f"a guest's loop did not end within {DEADLINE:g} s")
    word, _, rest = told.partition(" ")
    if word != "yes":
        return Verdict(False, 0, f"a guest's loop does not run: {rest}")
    speed = float(rest)
    if speed < GOOD:
        return Verdict(False, speed, f"a guest runs only {speed / 1e6:.0f} million instructions per second")
    return Verdict(True, speed, f"a guest runs {speed / 1e6:.0f} million instructions per second")


def _within(fd: int, seconds: float) -> str | None:
    import select  # only for a measurement

    if not select.select([fd], [], [], seconds)[0]:
        return None
    return os.read(fd, 200).decode() or "no it ended without a word"


def _run_loop(device: str) -> str:
    """ "yes SPEED" or "no REASON". mov ecx, ITERATIONS; again: dec ecx; jnz again; hlt"""
    code = b"\x66\xb9" + struct.pack("<I", ITERATIONS) + b"\x66\x49\x75\xfc\xf4"
    kvm = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    machine = fcntl.ioctl(kvm, CREATE_VM, 0)
    memory = mmap.mmap(-1, 4096)
    memory[: len(code)] = code
    import ctypes  # the address of the mapping; only for a measurement

    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    fcntl.ioctl(machine, SET_USER_MEMORY_REGION, struct.pack("<IIQQQ", 0, 0, 0x1000, 4096, address))
    cpu = fcntl.ioctl(machine, CREATE_VCPU, 0)
    run = mmap.mmap(cpu, fcntl.ioctl(kvm, GET_VCPU_MMAP_SIZE, 0))
    registers = bytearray(0x138)
    fcntl.ioctl(cpu, GET_SREGS, registers)
    struct.pack_into("<QIH", registers, 0, 0, 0xFFFF, 0)  # cs: base 0, selector 0
    fcntl.ioctl(cpu, SET_SREGS, bytes(registers))
    general = [0] * 18
    general[16], general[17] = 0x1000, 2  # rip, rflags
    fcntl.ioctl(cpu, SET_REGS, struct.pack("<18Q", *general))
    begun = time.perf_counter()
    fcntl.ioctl(cpu, RUN, 0)
    took = time.perf_counter() - begun
    (reason,) = struct.unpack_from("<I", run, 8)
    return (
        f"yes {2 * ITERATIONS / took:.0f}"
        if reason == EXIT_HLT
        else f"no the CPU stopped for reason {reason}"
    )
