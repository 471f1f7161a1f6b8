"""Compile fastpath.c: `python -m pycontain.platforms.trap.fastpath.build [FILE]`, with gcc on x86-64.

Nobody needs a compiler to install or to use pycontain, so the result lies beside its source and is part of every
package. A test compiles it again and compares: with the compiler of Debian 12 to the byte, with any other by what
the two do.
"""

from __future__ import annotations

import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
LIBRARY = "x86_64.so"
FLAGS = (
    *("-O2", "-std=c11", "-Wall", "-Wextra", "-Werror", "-march=x86-64"),
    *("-ffreestanding", "-fno-builtin", "-nostdlib", "-fvisibility=hidden"),  # whatever libc Python has
    *("-fPIC", "-shared", "-fno-asynchronous-unwind-tables", "-fno-stack-protector", "-fcf-protection=none"),
    *("-Wl,--build-id=none", "-Wl,--hash-style=gnu", "-Wl,-z,noseparate-code", "-Wl,-z,noexecstack", "-s"),
)


def compile_to(path: str, compiler: str = "gcc") -> None:
    """Raises CalledProcessError, FileNotFoundError where there is no compiler."""
    subprocess.run([compiler, *FLAGS, "-o", path, "fastpath.c"], cwd=HERE, check=True)


if __name__ == "__main__":
    compile_to(os.path.abspath(sys.argv[1]) if len(sys.argv) > 1 else os.path.join(HERE, LIBRARY))
