"""`python -m pycontain`: the same as the program `pycontain`."""

from __future__ import annotations

from pycontain.cli import main

main()
