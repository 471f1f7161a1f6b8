"""What is plain data: command lines, accounts, packages, published ports."""

from __future__ import annotations

import io
import tarfile
from itertools import pairwise
from pathlib import Path

import pytest

from pycontain.cli.machine_options import parse_publish
from pycontain.cli.options import UsageError
from pycontain.errors import ContainerError, MachineError
from pycontain.vm import deb, parameters, qemu
from pycontain.vm.accounts import resolve
from pycontain.vm.process import takes_files

PASSWD = b"root:x:0:0:root:/root:/bin/sh\nweb:x:33:44::/srv:/bin/false\n"
GROUP = b"root:x:0:\nstaff:x:50:web\nvideo:x:60:\n"


def test_qemus_command_line() -> None:
    machine = qemu.Machine(
        "microvm", "tcg", 128, 1, qemu.Boot("/k", "/i", "quiet x=1"), "/ram,1", True, "/con", "/disk"
    )
    line = qemu.command_line("/q", machine)
    assert line[:2] == ["/q", "-nodefaults"]
    assert "memory-backend-file,mem-path=/ram,,1,share=on,id=ram,size=128M" in line
    assert "memory-backend-ram,id=ram,size=128M" in qemu.command_line("/q", machine._replace(ram=""))
    assert line[line.index("-kernel") + 1] == "/k" and "-incoming" not in line
    assert line[line.index("-append") + 1] == "quiet x=1"
    clone = machine._replace(boot=None, shared_ram=False, forwards=(("127.0.0.1", 8080, 80, "tcp"),))
    other = qemu.command_line("/q", clone)
    assert "-kernel" not in other and other[-2:] == ["-incoming", "defer"]
    assert "user,id=net,hostfwd=tcp:127.0.0.1:8080-:80" in other
    devices = [word for flag, word in pairwise(line) if flag == "-device"]
    assert devices == [word for flag, word in pairwise(other) if flag == "-device"]
    assert "kvm" in qemu.command_line("/q", machine._replace(accel="kvm"))


def test_the_guests_command_line() -> None:
    """Under KVM the guest has a clock of the host's, and nothing is left out of its boot."""
    tcg, kvm = (parameters.command_line(accel, 2_300_000).split() for accel in ("tcg", "kvm"))
    assert {"tsc_early_khz=2300000", "tsc=reliable", "rdinit=/init"} <= set(tcg)
    assert not any(
        word.startswith(("tsc", "no_timer_check", "initcall_blacklist", "noreplace")) for word in kvm
    )
    assert set(kvm) < set(tcg)


def test_states_are_files_where_qemu_knows_them() -> None:
    told = {
        version: takes_files(version) for version in ("7.2.22", "8.1.5", "8.2.0", "9.1.3", "10.0.2", "?.?.?")
    }
    assert [version for version, yes in told.items() if yes] == ["8.2.0", "9.1.3", "10.0.2"]


def test_a_q35_has_the_same_devices_on_pci() -> None:
    machine = qemu.Machine("q35", "tcg", 128, 1, None, "/ram", False, "/con", "/disk")
    line = qemu.command_line("/q", machine)
    assert (
        line[line.index("-M") + 1].startswith("q35,") and "memory-backend=ram" in line[line.index("-M") + 1]
    )
    devices = [word for flag, word in pairwise(line) if flag == "-device" and word.startswith("virtio-")]
    assert [word.split(",")[0] for word in devices] == [
        "virtio-serial-pci",
        "virtio-blk-pci",
        "virtio-net-pci",
    ]
    assert devices[2].endswith("romfile=")  # a wheel of QEMU has none


def test_the_board_is_what_there_is_firmware_for(tmp_path: Path) -> None:
    assert qemu.choose_board(frozenset({"bios-microvm.bin", "bios-256k.bin"})) == ("microvm", True)
    assert qemu.choose_board(frozenset({"bios-256k.bin", "pvh.bin"})) == ("q35", True)
    assert qemu.choose_board(frozenset({"bios-256k.bin"})) == ("q35", False)
    with pytest.raises(MachineError, match="bios-256k"):
        qemu.choose_board(frozenset())
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "pvh.bin").touch()
    program = tmp_path / "qemu"
    program.write_text(f'#!/bin/sh\n[ "$*" = "-L help" ] && echo {tmp_path}/data && echo /nonexistent\n')
    program.chmod(0o755)
    assert qemu.data_files(str(program)) == {"pvh.bin"}
    assert qemu.data_files("/nonexistent") == frozenset()


def test_users() -> None:
    assert resolve("", [], PASSWD, GROUP) == (0, 0, [0], b"/root")
    assert resolve("web", [], PASSWD, GROUP) == (33, 44, [44, 50], b"/srv")
    assert resolve("33", ["video"], PASSWD, GROUP) == (33, 44, [44, 50, 60], b"/srv")
    assert resolve("1000:staff", [], PASSWD, GROUP) == (1000, 50, [50], b"/")
    assert resolve("5:6", [], b"", b"") == (5, 6, [6], b"/")
    for wrong in ("nobody", "root:nobody"):
        with pytest.raises(ContainerError, match="nobody"):
            resolve(wrong, [], PASSWD, GROUP)


def test_ports() -> None:
    assert parse_publish("run", "80") == ["", 80, 80, "tcp"]
    assert parse_publish("run", "8080:80/udp") == ["", 8080, 80, "udp"]
    assert parse_publish("run", "127.0.0.1:8080:80") == ["127.0.0.1", 8080, 80, "tcp"]
    for wrong in ("x", "80:99999", "80/icmp"):
        with pytest.raises(UsageError):
            parse_publish("run", wrong)


def test_a_debian_package_is_unpacked(tmp_path: Path) -> None:
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w:xz") as tar:
        for name in ("./boot/vmlinuz-9.9-test", "./usr/share/doc/x"):
            info = tarfile.TarInfo(name)
            info.size = 4
            tar.addfile(info, io.BytesIO(b"data"))
    package = b"!<arch>\n"
    for name, data in (
        ("debian-binary", b"2.0\n"),
        ("control.tar.xz", b"odd"),
        ("data.tar.xz", inner.getvalue()),
    ):
        package += (
            f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode()
            + data
            + b"\n" * (len(data) % 2)
        )
    path = tmp_path / "p.deb"
    path.write_bytes(package)
    written = deb.unpack(str(path), lambda name: str(tmp_path / "k") if name.startswith("boot/") else None)
    assert written == [str(tmp_path / "k")] and (tmp_path / "k").read_bytes() == b"data"
    path.write_bytes(package[:200])
    with pytest.raises(MachineError, match="package"):
        deb.unpack(str(path), lambda name: None)
