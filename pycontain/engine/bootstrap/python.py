"""A Python interpreter with its standard library: Debian's, one built from source, pyenv's, or a venv's base.

Its prefix is kept. What has no place in a container stays behind: tests, Tk, IDLE, pip's wheels, static
libraries, and installed packages.
"""

from __future__ import annotations

import os
import posixpath
import re
import sys
from typing import TYPE_CHECKING

from pycontain.errors import NotFound

if TYPE_CHECKING:
    from pycontain.engine.bootstrap.programs import Programs

_LEFT_OUT = re.compile(
    r"/(test|tests|idlelib|idle_test|tkinter|turtledemo|ensurepip|lib2to3|site-packages|dist-packages"
    r"|config-[^/]*|_tkinter[^/]*\.so|turtle\.py|pydoc_data|[^/]*\.a|__pycache__/[^/]*\.opt-\d\.pyc)$"
)
_FOREIGN_BYTECODE = re.compile(r"\.cpython-(\d+)\.pyc$")
_NAME = re.compile(r"python(3(\.\d+)?)?")


def is_python(name: str) -> bool:
    """Whether this names a Python 3 interpreter."""
    return _NAME.fullmatch(posixpath.basename(name)) is not None


class Interpreter:
    """binary: the program behind all links; version: (3, 11); prefix: where lib/python3.11 is."""

    def __init__(self, binary: str, version: tuple[int, int], prefix: str) -> None:
        self.binary = binary
        self.version = version
        self.prefix = prefix

    @property
    def name(self) -> str:
        """python3.11"""
        return "python{}.{}".format(*self.version)

    @property
    def library(self) -> str:
        """The directory of the standard library."""
        for lib in ("lib", "lib64"):
            path = f"{self.prefix}/{lib}/{self.name}"
            if os.path.isfile(f"{path}/os.py"):
                return path
        raise NotFound(f"bootstrap: find the standard library of {self.binary}: {self.prefix} has none")


def find_interpreter(name: str) -> Interpreter:
    """The interpreter that `name` means: a path, "python3.12", or any: the system's, else our own."""
    wanted = _NAME.fullmatch(posixpath.basename(name))
    version = wanted[1] if wanted and wanted[2] else None  # "3.12"
    candidates = [name] if "/" in name else [f"/usr/bin/{name}", f"/usr/local/bin/{name}"]
    for path in candidates:
        found = _at(path)
        if found is not None and _is_whole(found):
            return found
    ours = _running()
    if "/" not in name and version in (None, ours.name.removeprefix("python")):
        return ours
    raise NotFound(f"bootstrap: find {name}: this host has no such Python with its standard library")


def add_python(programs: Programs, name: str) -> None:
    """The interpreter, its standard library, and what its modules in C need."""
    found = find_interpreter(name)
    collection = programs.collection
    programs.file(found.binary)
    tag = "{}{}".format(*found.version)

    def keep(path: str) -> bool:
        bytecode = _FOREIGN_BYTECODE.search(path)
        if bytecode is not None and bytecode[1] != tag:
            return False
        return _LEFT_OUT.search(path) is None

    for file in collection.tree(found.library, keep):
        if file.endswith(".so"):
            programs.needs(file)
    zipped = f"{found.prefix}/lib/python{tag}.zip"
    if os.path.exists(zipped):
        programs.file(zipped)
    if "/" in name:
        programs.file(name)
    if "/usr/bin/python3" in collection or found.binary.startswith("/usr/bin/"):
        for link in ("/usr/bin/python3", f"/usr/bin/{found.name}"):
            if os.path.exists(link) and os.path.realpath(link) == found.binary:
                programs.file(link)
    for link in ("python3", found.name, "python"):  # its own directory is not in a container's PATH
        if f"/usr/bin/{link}" not in collection and f"/usr/local/bin/{link}" != found.binary:
            collection.symlink(f"/usr/local/bin/{link}", found.binary)


def _at(path: str) -> Interpreter | None:
    """The interpreter at a path, told by its own name: nothing is run."""
    real = os.path.realpath(path)
    match = re.search(r"python(3)\.(\d+)$", real)
    if match is None or not os.access(real, os.X_OK):
        return None
    prefix = posixpath.dirname(posixpath.dirname(real))
    return Interpreter(real, (int(match[1]), int(match[2])), prefix)


def _running() -> Interpreter:
    """Ours, without the venv that it may run in."""
    base = getattr(sys, "_base_executable", None) or sys.executable
    return Interpreter(os.path.realpath(base), sys.version_info[:2], os.path.realpath(sys.base_prefix))


def _is_whole(interpreter: Interpreter) -> bool:
    """Whether it is more than Debian's python3-minimal."""
    try:
        library = interpreter.library
    except NotFound:
        return False
    return all(
        os.path.exists(f"{library}/{part}") for part in ("json/__init__.py", "http/server.py", "sqlite3")
    )
