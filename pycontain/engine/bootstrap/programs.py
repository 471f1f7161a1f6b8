"""A program by name, with all that it needs: libraries, interpreters, companions."""

from __future__ import annotations

import glob
import os
import posixpath
import shutil
import stat
from collections.abc import Iterable

from pycontain.engine.bootstrap import companions
from pycontain.engine.bootstrap.collection import Collection
from pycontain.engine.bootstrap.elf import MAGIC, Elf
from pycontain.engine.bootstrap.libraries import Libraries, standard_directories
from pycontain.engine.bootstrap.python import add_python, is_python
from pycontain.errors import NotFound

STANDARD_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Programs:
    """Adds programs to a collection, each file's needs once."""

    def __init__(self, collection: Collection) -> None:
        self.collection = collection
        self.libraries = Libraries()
        self.missing: list[str] = []
        self._done: set[str] = set()

    def add(self, name: str) -> None:
        """A program by its name or path, and its companions. NotFound where the host has none."""
        if is_python(name):
            add_python(self, name)
            return
        path = find_program(name)
        if path is None:
            raise NotFound(f"bootstrap: find program {name}: this host has none", hint="give its path")
        self.file(path)
        self.companions(posixpath.basename(path), posixpath.basename(os.path.realpath(path)))

    def add_present(self, names: Iterable[str]) -> None:
        """Those of the programs that the host has."""
        for name in names:
            if find_program(name) is not None:
                self.add(name)

    def include(self, path: str) -> None:
        """A file or a directory of the host with all that is in it, and what the programs in it need."""
        try:
            for file in self.collection.tree(path):
                self.needs(file)
        except FileNotFoundError:
            raise NotFound(f"bootstrap: include {path}: there is none on this host") from None

    def file(self, path: str) -> None:
        """A program, script or library by its path."""
        real = self.collection.path(path)
        self.needs(real)

    def needs(self, path: str, inherited: tuple[str, ...] = ()) -> None:
        """What a file of the collection needs to run."""
        if path in self._done:
            return
        self._done.add(path)
        item = self.collection.items.get(path)
        if item is None or not stat.S_ISREG(item.mode) or not item.source:
            return
        with open(path, "rb") as file:
            head = file.read(256)
        if head[:4] == MAGIC:
            elf = self.libraries.elf(path)
            if elf is not None:
                self._shared(path, elf, inherited)
        elif head[:2] == b"#!" and item.mode & 0o111:
            self._script(head)

    def companions(self, *names: str) -> None:
        """What the table says about programs of these names."""
        for name in names:
            found = companions.of(name)
            for pattern in found.paths:
                for path in sorted(glob.glob(pattern)):
                    self.include(path)
            for program in found.programs:
                if find_program(program) is not None and f"program {program}" not in self._done:
                    self._done.add(f"program {program}")
                    self.add(program)

    def _shared(self, path: str, elf: Elf, inherited: tuple[str, ...]) -> None:
        if elf.interpreter:
            self.file(elf.interpreter)
        inherited = (*elf.rpath, *inherited)
        searched = {os.path.realpath(d) for d in standard_directories(elf.machine)}
        for name in elf.needed:
            found = self.libraries.find(name, path, elf, inherited)
            if found is None:
                self.missing.append(f"{name} (needed by {path})")
                continue
            real = self.collection.path(found)
            if os.path.realpath(os.path.dirname(found)) not in searched and not (elf.runpath or inherited):
                # ld.so.cache knew the way; the image has none, so the library also gets a standard name
                directory = os.path.realpath(standard_directories(elf.machine)[0])
                self.collection.symlink(f"{directory}/{name}", real)
            self.needs(real, inherited)

    def _script(self, head: bytes) -> None:
        line = head.split(b"\n", 1)[0][2:].strip().split(None, 1)
        if not line:
            return
        interpreter = os.fsdecode(line[0])
        if not os.path.exists(interpreter):
            self.missing.append(interpreter)
            return
        self.file(interpreter)
        if posixpath.basename(interpreter) == "env" and len(line) > 1:
            words = [
                word for word in os.fsdecode(line[1]).split() if not word.startswith("-") and "=" not in word
            ]
            if words and find_program(words[0]) is not None:
                self.add(words[0])
        elif is_python(posixpath.basename(interpreter)):
            add_python(self, interpreter)
        else:
            self.companions(posixpath.basename(interpreter))


def find_program(name: str) -> str | None:
    """The path of a program: as given, or from the standard directories, or from PATH."""
    if "/" in name:
        path = os.path.abspath(name)
        return path if os.access(path, os.X_OK) and not os.path.isdir(path) else None
    return shutil.which(name, path=STANDARD_PATH) or shutil.which(name)
