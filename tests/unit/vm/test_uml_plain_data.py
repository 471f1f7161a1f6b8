"""User-Mode Linux's command line, its library, its ramdisk, and what is made of its absence."""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from pycontain.errors import MachineError
from pycontain.vm.uml import confinement, preload, program
from pycontain.vm.uml.sealed import sealed


def test_the_command_line() -> None:
    assert program.command_line("/usr/bin/linux.uml", 128) == [
        "/usr/bin/linux.uml",
        "mem=128M",
        "initrd=/proc/self/fd/21",
        "rdinit=/init",
        "ubd0r=/proc/self/fd/22",
        "virtio_uml.device=/proc/self/fd/20/console:3",
        "hostfs=/dev/null",
        "uml_dir=/proc/self/fd/20/",
        "umid=uml",
        "con=null",
        "con0=null,fd:1",
        "ssl=null",
        "console=tty0",
        "quiet",
        "loglevel=4",
        "panic=-1",
        "noreboot",
        "random.trust_cpu=on",
        "rcupdate.rcu_expedited=1",
        "rcupdate.rcu_normal_after_boot=0",
        "lpj=10000000",
        "initcall_blacklist=raid6_select_algo",
        "pty.legacy_count=0",
    ]


def test_it_gets_nothing_of_our_environment() -> None:
    assert confinement.environment("/dev/shm") == {"LD_PRELOAD": "/proc/self/fd/23", "TMPDIR": "/dev/shm"}


def test_memory_that_does_not_fit_goes_to_the_machine_s_directory() -> None:
    assert confinement.memory_place(1 << 30) == "/proc/self/fd/20"


def test_the_library_is_one_that_a_program_can_load() -> None:
    """Its ptrace() answers as libc's: PEEKDATA returns the word; a failure is -1 with errno."""
    fd = preload.open_library()
    script = """
import ctypes, errno, os, signal, sys
libc = ctypes.CDLL(None, use_errno=True)
ptrace = libc.ptrace
ptrace.restype, ptrace.argtypes = ctypes.c_long, [ctypes.c_long] * 4
own = ctypes.CDLL(sys.argv[1])
assert ctypes.cast(ptrace, ctypes.c_void_p).value == ctypes.cast(own.ptrace, ctypes.c_void_p).value
assert ptrace(12, os.getpid(), 0, 0) == -1 and ctypes.get_errno() == errno.ESRCH
word = ctypes.c_long(0x1122334455667788)
child = os.fork()
if not child:
    ptrace(0, 0, 0, 0)
    os.kill(os.getpid(), signal.SIGSTOP)
    os._exit(3)
os.waitpid(child, 0)
print(hex(ptrace(2, child, ctypes.addressof(word), 0)))
state = ctypes.create_string_buffer(2696)
vector = (ctypes.c_ulong * 2)(ctypes.addressof(state), 2696)
print(ptrace(0x4204, child, 0x202, ctypes.addressof(vector)), vector[1])
state[160:164] = b"abcd"  # xmm0
state[512:513] = bytes([state[512][0] | 2])  # the SSE state is in use
print(ptrace(0x4205, child, 0x202, ctypes.addressof(vector)))
again = ctypes.create_string_buffer(2696)
vector = (ctypes.c_ulong * 2)(ctypes.addressof(again), 2696)
ptrace(0x4204, child, 0x202, ctypes.addressof(vector))
print(again[160:164])
ptrace(7, child, 0, 0)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    path = f"/proc/self/fd/{fd}"
    done = subprocess.run(
        [sys.executable, "-c", script, path],
        env={**os.environ, "LD_PRELOAD": path},
        pass_fds=[fd],
        capture_output=True,
        timeout=30,
        check=False,
    )
    os.close(fd)
    length = min(2696, _state_size())
    expected = ["0x1122334455667788", f"0 {length}", "0", "b'abcd'", "3"]
    assert done.stdout.decode().splitlines() == expected, done.stderr.decode()


def _state_size() -> int:
    """Bytes of this CPU's whole register state, as the host's kernel gives it."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long] * 4
    child = os.fork()
    if not child:
        libc.ptrace(0, 0, 0, 0)
        os.kill(os.getpid(), 19)
        os._exit(0)
    os.waitpid(child, 0)
    state = ctypes.create_string_buffer(1 << 16)
    vector = (ctypes.c_ulong * 2)(ctypes.addressof(state), 1 << 16)
    assert libc.ptrace(0x4204, child, 0x202, ctypes.addressof(vector)) == 0
    os.kill(child, 9)
    os.waitpid(child, 0)
    return int(vector[1])


def test_what_machines_share_cannot_be_changed() -> None:
    data = os.urandom(3_000_000)
    fd = sealed("shared", data)
    try:
        assert os.pread(fd, len(data) + 1, 0) == data
        for change in (
            lambda: os.pwrite(fd, b"x", 0),
            lambda: os.truncate(fd, 0),
            lambda: os.truncate(fd, 1 << 24),
        ):
            with pytest.raises(PermissionError):
                change()
        with pytest.raises(OSError, match="not permitted"):
            mmap.mmap(fd, 4096)
        assert not os.get_inheritable(fd)
    finally:
        os.close(fd)


def test_the_library_is_small_and_its_segments_do_not_write_code() -> None:
    data = preload.library()
    assert len(data) == 3 * preload.PAGE
    count = struct.unpack_from("<H", data, 56)[0]
    flags = [struct.unpack_from("<II", data, 64 + 56 * number) for number in range(count)]
    assert [flag for kind, flag in flags if kind == 1] == [4, 5, 6]


@pytest.mark.parametrize("content", [None, "#!/bin/sh\nexit 1\n", "#!/bin/sh\necho some other program\n"])
def test_what_is_no_user_mode_linux_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    path = tmp_path / "linux.uml"
    if content is not None:
        path.write_text(content)
        path.chmod(0o755)
    monkeypatch.setenv("PYCONTAIN_UML", str(path))
    with pytest.raises(MachineError, match="cannot be executed, or is another program") as caught:
        program.find()
    assert "user-mode-linux" in str(caught.value.hint)


def test_modules_that_are_missing_are_named(tmp_path: Path) -> None:
    (tmp_path / "kernel/fs").mkdir(parents=True)
    (tmp_path / "kernel/fs/erofs.ko").write_bytes(b"module")
    (tmp_path / "modules.builtin").write_text("kernel/fs/overlayfs/overlay.ko\n")
    found = program.Program("/usr/bin/linux.uml", "6.1.0", str(tmp_path), "PATH")
    with pytest.raises(MachineError, match="virtio_console not below"):
        found.load_modules()
    (tmp_path / "kernel/fs/virtio_console.ko").write_bytes(b"other")
    assert found.load_modules() == {"erofs": b"module", "virtio_console": b"other"}
