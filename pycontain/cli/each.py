"""Do one thing to several containers: print each name that it worked for, go on after a failure."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable

from pycontain.errors import PycontainError


def each(names: Iterable[str], action: Callable[[str], object], *, show: bool = True) -> int:
    """Call action(name) for each; 0, or the exit code of the first failure. show: print what succeeded."""
    code = 0
    for name in names:
        try:
            action(name)
        except PycontainError as error:
            sys.stdout.flush()
            print(f"pycontain: {error}", file=sys.stderr)
            code = code or error.exit_code
        else:
            if show:
                print(name)
    return code
