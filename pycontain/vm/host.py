"""What of the host a saved machine depends on: where that differs, it does not go on, or goes wrong."""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

from pycontain.vm import accel, qemu, tsc


class Host(NamedTuple):
    """qemu: its version; accel: kvm or tcg; processor: model and features under KVM, else "" (TCG's is QEMU's own);
    tsc: what the time stamp counter counts, in kHz, under TCG, else 0 (KVM gives the guest a clock)."""

    qemu: str
    accel: str
    processor: str
    tsc: int

    def differs(self, here: Host) -> str | None:
        """Why a machine that was saved on self cannot go on here."""
        if self.qemu != here.qemu:
            return f"it was saved by QEMU {self.qemu}, and here is {here.qemu}"
        if self.processor != here.processor:
            return f"it was saved on another processor ({self.processor}), and here is {here.processor}"
        if abs(self.tsc - here.tsc) > tsc.TOLERANCE * self.tsc:
            return (
                f"its clock would go wrong: the time stamp counter counted {self.tsc / 1e6:.2f} GHz where it was saved, "
                f"and counts {here.tsc / 1e6:.2f} here"
            )
        return None


def obstacle(saved: Host, board: str, program: qemu.Qemu, home: str) -> str | None:
    """Why a machine that was saved on that host, on that board, cannot go on on this one; None where it can."""
    if board == "microvm" and program.board != board:
        return "this QEMU has no firmware for the board microvm"
    if saved.accel == "kvm" and not (verdict := accel.remembered(home)).works:
        return f"it ran under KVM, and here is none: {verdict.reason}"
    return saved.differs(describe(program, saved.accel, home))


def describe(program: qemu.Qemu, accelerator: str, home: str) -> Host:
    """This host, for machines under that accelerator. home: the machines' directory. MachineError."""
    if accelerator == "kvm":
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            return Host(program.version, accelerator, processor(file.read()), 0)
    return Host(program.version, accelerator, "", tsc.kilohertz(home))


def processor(cpuinfo: str) -> str:
    """The first one in /proc/cpuinfo: its model, and a digest of what it can do."""
    values: dict[str, str] = {}
    for line in cpuinfo.split("\n\n")[0].splitlines():
        name, _, value = line.partition(":")
        values[name.strip()] = value.strip()
    told = [values.get(name, "") for name in ("vendor_id", "cpu family", "model", "stepping", "flags")]
    digest = hashlib.sha256("|".join(told).encode()).hexdigest()[:8]
    return f"{values.get('model name', 'unknown')}, features {digest}"


def parse(value: Any) -> Host:
    """Out of JSON. TypeError, ValueError."""
    version, accelerator, model, khz = value
    return Host(str(version), str(accelerator), str(model), int(khz))
