"""inotify in a container tells the same events as on the host."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from command_line import CommandLine

PROGRAM = r'''
import ctypes, os, select, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
os.makedirs(sys.argv[1], exist_ok=True)
os.chdir(sys.argv[1])
fd = libc.inotify_init1(os.O_NONBLOCK)
libc.inotify_add_watch(fd, b".", 0xFEE)  # but IN_ACCESS and IN_CLOSE_NOWRITE
def tell(last):
    """Print events up to and with the one that has this mask."""
    seen = False
    while not seen:
        select.select([fd], [], [], 10)
        data, at = os.read(fd, 65536), 0
        while at < len(data):
            watch, mask, cookie, size = struct.unpack_from("iIII", data, at)
            name = data[at + 16 : at + 16 + size].rstrip(b"\0").decode()
            print(watch, hex(mask), bool(cookie), name)
            at += 16 + size
            seen = seen or mask == last
file = open("a", "w"); file.write("x"); file.flush(); tell(0x2)
file.write("y"); file.close(); tell(0x8)
os.rename("a", "b"); tell(0x80)
os.chmod("b", 0o600); tell(0x4)
os.mkdir("d"); tell(0x40000100)
os.rmdir("d"); tell(0x40000200)
second = libc.inotify_add_watch(fd, b"b", 0xFEE)
with open("b", "a") as file: file.write("z")
tell(0x8)
os.unlink("b"); tell(0x200)
libc.inotify_rm_watch(fd, 1); tell(0x8000)
'''


def test_same_events_as_on_the_host(pycontain: CommandLine, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    host = subprocess.run(
        [sys.executable, str(program), str(tmp_path / "watched")], capture_output=True, text=True, timeout=60
    )
    assert host.returncode == 0, host.stderr
    out = pycontain(
        "run", "--rm", "-v", f"{program}:/p.py:ro", "host/base", "python3", "/p.py", "/tmp/watched"
    )
    assert out.stdout == host.stdout
