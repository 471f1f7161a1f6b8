"""Images of the host's own programs do what the programs do on the host."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import CommandLine


def test_host_base(pycontain: CommandLine) -> None:
    script = (
        "set -e; id -un; ls -d /tmp; echo abc | sed s/b/x/ | grep -o x; seq 3 | awk '{s+=$1} END {print s}'"
    )
    out = pycontain("run", "--rm", "host/base", "sh", "-c", script).stdout
    assert out.split() == ["root", "/tmp", "x", "6"]


def test_python(pycontain: CommandLine) -> None:
    code = "import ctypes, hashlib, json, sqlite3, ssl, zlib; print(json.dumps(zlib.crc32(b'x')))"
    assert pycontain("run", "--rm", "host/base", "python3", "-c", code).stdout == "2363233923\n"


def test_our_own_python(pycontain: CommandLine) -> None:
    """Wherever it is: a venv, a version manager's directory, /usr."""
    pycontain("bootstrap", "own-python", sys.executable)
    try:
        code = "import json, sys; print(*sys.version_info[:3])"
        out = pycontain("run", "--rm", "own-python", sys.executable, "-c", code).stdout
        assert tuple(map(int, out.split())) == sys.version_info[:3]
    finally:
        pycontain("rmi", "own-python")


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc here")
def test_compiler(pycontain: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text('#include <stdio.h>\nint main(void) { puts("compiled"); return 0; }\n')
    (tmp_path / "Makefile").write_text("a: a.c\n\tgcc -static -O2 -o a a.c\n")
    programs = ["gcc"] + (["make"] if shutil.which("make") else [])
    pycontain("bootstrap", "compiler", *programs)
    try:
        command = ["make", "-s"] if len(programs) > 1 else ["gcc", "-static", "-o", "a", "a.c"]
        pycontain("run", "--rm", "-v", f"{tmp_path}:/work", "-w", "/work", "compiler", *command)
    finally:
        pycontain("rmi", "compiler")
    assert subprocess.run([tmp_path / "a"], capture_output=True, check=True).stdout == b"compiled\n"


def test_on_demand_for_one_program(pycontain: CommandLine) -> None:
    out = pycontain("run", "--rm", "host/env", "env", "echo", "made").stdout
    assert out == "made\n"
    pycontain("rmi", "host/env")


def test_unknown_program(pycontain: CommandLine) -> None:
    assert "no-such-program" in pycontain("run", "--rm", "host/no-such-program", code=125).stderr
    assert "no-such-program" in pycontain("bootstrap", "x", "no-such-program", code=125).stderr
