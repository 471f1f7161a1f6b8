"""mount(2) and umount2(2) inside a container, compared with the host's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import CommandLine

BASE = "host/base"
HERE = Path(__file__).parent


@pytest.mark.parametrize("steps", ["mount_steps.py", "overlay_steps.py"])
def test_as_on_the_host(pycontain: CommandLine, tmp_path: Path, steps: str) -> None:
    program = HERE / steps
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("needs root and unshare, to mount on the host in a namespace of its own")
    (tmp_path / "work").mkdir()
    words = ["unshare", "--mount", "--propagation", "private", "sh", "-c"]
    # on a tmpfs: the file system of the test's directory may be anything
    script = 'mount -t tmpfs tmpfs "$1" && exec "$2" "$3" "$1"'
    host = subprocess.run(
        [*words, script, "sh", str(tmp_path / "work"), sys.executable, str(program)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    if "permission denied" in host.stderr.lower() or "not permitted" in host.stderr.lower():
        pytest.skip(f"cannot mount on this host: {host.stderr.strip()}")
    assert host.returncode == 0, host.stderr
    inside = pycontain(
        *("run", "--rm", "--cap-add", "SYS_ADMIN", "--tmpfs", "/work", "-v", f"{program}:/steps.py:ro"),
        *(BASE, "python3", "/steps.py", "/work"),
    )
    assert inside.stdout.splitlines() == host.stdout.replace(f"{tmp_path}/work", "/work").splitlines()


def test_only_with_the_capability(pycontain: CommandLine) -> None:
    program = (
        "import ctypes, os; libc = ctypes.CDLL(None, use_errno=True);"
        "print(libc.mount(b'x', b'/tmp', b'tmpfs', 0, None), ctypes.get_errno(), libc.umount2(b'/proc', 2), ctypes.get_errno())"
    )
    assert pycontain("run", "--rm", BASE, "python3", "-c", program).stdout.split() == ["-1", "1", "-1", "1"]
    done = pycontain("run", "--rm", "--cap-add", "SYS_ADMIN", "-u", "1000", BASE, "python3", "-c", program)
    assert done.stdout.split() == ["-1", "1", "-1", "1"]


def test_what_was_given_read_only_stays_so(pycontain: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("as it was")
    os.chmod(tmp_path, 0o777)
    program = (
        "import ctypes, os; libc = ctypes.CDLL(None, use_errno=True); m = lambda *a: libc.mount(*a)\n"
        "os.mkdir('/tmp/b')\n"
        "print(m(None, b'/given', None, 32, None), ctypes.get_errno())\n"
        "print(m(None, b'/given', None, 32 | 4096, None), ctypes.get_errno())\n"
        "print(m(b'/given', b'/tmp/b', None, 4096, None))\n"
        "print(m(None, b'/tmp/b', None, 32 | 4096, None), ctypes.get_errno())\n"
        "for path in ('/given/file', '/tmp/b/file', '/sys/planted'):\n"
        "    try: open(path, 'w'); print('written')\n"
        "    except OSError as error: print(error.errno)\n"
    )
    done = pycontain(
        "run", "--rm", "--privileged", "-v", f"{tmp_path}:/given:ro", BASE, "python3", "-c", program
    )
    assert done.stdout.splitlines() == ["-1 1", "-1 1", "0", "-1 1", "30", "30", "30"]
    assert (tmp_path / "file").read_text() == "as it was"


def test_nothing_is_left(pycontain: CommandLine) -> None:
    """What was mounted inside is not in the image that commit makes, nor there after a new start."""
    program = (
        "import ctypes, os; os.mkdir('/m');"
        "print(ctypes.CDLL(None).mount(b'x', b'/m', b'tmpfs', 0, None));"
        "open('/m/f', 'w').write('secret'); print(os.listdir('/m'))"
    )
    words = ("--name", "mounts-left", "--cap-add", "SYS_ADMIN", BASE, "python3", "-c", program)
    assert pycontain("run", *words).stdout == "0\n['f']\n"
    diff = pycontain("diff", "mounts-left").stdout.splitlines()
    assert "A /m" in diff and "A /m/f" not in diff
    root = Path(pycontain.environment["PYCONTAIN_ROOT"])
    assert list(root.glob("containers/*/tmpfs-inside-*")) == []
    pycontain("rm", "mounts-left")


def test_what_has_ended_leaves_no_descriptor(pycontain: CommandLine, tmp_path: Path) -> None:
    """While another container runs: the kernel is not idle in between."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    other = pycontain("run", "-d", BASE, "sleep", "inf").stdout.strip()
    status = pycontain("kernel", "status").stdout.splitlines()
    kernel = next(line.split()[1] for line in status if line.startswith("pid:"))

    def descriptors() -> int:
        looks = "find /given /sys/devices/system/cpu /sys/devices/system/node >/dev/null; cat /etc/hosts"
        pycontain("run", "--rm", "-v", f"{tmp_path}:/given", BASE, "sh", "-c", looks)
        return len(os.listdir(f"/proc/{kernel}/fd"))

    before = descriptors()
    after = [descriptors() for _ in range(3)]
    pycontain("rm", "-f", other)
    assert after == [before] * 3
