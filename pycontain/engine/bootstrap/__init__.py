"""Images made out of the host's own programs and what they need: a base image without a network.

General layout:

    elf.py         what an ELF file says it needs
    libraries.py   where the dynamic loader would find a library
    collection.py  the files of the image to be: host paths with every symbolic link on the way
    programs.py    a program by name, and all that comes with it
    companions.py  what programs need beyond their libraries: a table
    python.py      a Python interpreter with its standard library
    base.py        host/base, and what every image gets
    writing.py     the collection as one layer and an image

A file keeps its host path, so that whatever refers to it (RUNPATH, #! lines, gcc's search paths) is right
in the image too. The same host gives the same image, to the byte.
"""

from __future__ import annotations

from pycontain.engine.bootstrap.base import bootstrap, make

__all__ = ["bootstrap", "make"]
