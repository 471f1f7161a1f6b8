"""The command line: one file per verb.

General layout:

    __init__.py      main(): which module carries out a verb; errors become one line and an exit code
    options.py       the hot verbs' options as plain data, and their parser (click costs half of a `run`)
    group.py         the click group; it imports a verb's module when the verb is used
    table_command.py a hot verb's options as a click command, for --help and completion
    template.py      the part of Go's templates that `--format` needs
    output.py        tables, JSON lines and templates: how every listing is printed
    layer_display.py what pull and push show of their layers
    units.py         sizes and ages as Docker words them
    ps_columns.py    what `top CONTAINER [ps OPTIONS]` shows
    terminal.py      raw mode and window sizes
    <verb>.py        parse, call the engine, print

Nothing is imported for a verb that is not used.
"""

from __future__ import annotations

import os
import sys

from pycontain.errors import DISK_FULL, MAKE_ROOM, PycontainError

DIRECT = {"run": "pycontain.cli.run", "create": "pycontain.cli.create", "exec": "pycontain.cli.exec"}
"""Verbs on which start-up time counts most: their modules have main(arguments) -> exit code."""


def main(arguments: list[str] | None = None) -> None:
    """The `pycontain` program. Never returns: ends with the command's exit code."""
    code = invoke(sys.argv[1:] if arguments is None else arguments)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _silence_stdout()
    sys.exit(code)


def invoke(arguments: list[str]) -> int:
    """Carry out one command line; every failure becomes one line on standard error and an exit code."""
    try:
        return _dispatch(arguments)
    except PycontainError as error:
        print(f"pycontain: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        _silence_stdout()
        return 141
    except Exception as error:
        if os.environ.get("PYCONTAIN_DEBUG"):
            raise
        reason = str(error) or type(error).__name__
        hint = "PYCONTAIN_DEBUG=1 shows where"
        if not isinstance(error, OSError):
            reason = f"{type(error).__name__}: {reason}"
        elif error.errno in DISK_FULL:
            reason = f"write {error.filename or 'to the store'}: {error.strerror}"
            hint = MAKE_ROOM
        verb = next((word for word in arguments if not word.startswith("-")), "")
        where = f"{verb}: " if verb else ""
        print(f"pycontain: {where}{reason} ({hint})", file=sys.stderr)
        return 125


def _dispatch(arguments: list[str]) -> int:
    if len(arguments) >= 2 and arguments[0] == "--root":
        os.environ["PYCONTAIN_ROOT"] = os.path.abspath(arguments[1])
        arguments = arguments[2:]
    words = arguments[1:] if arguments[:1] == ["container"] else arguments
    name = DIRECT.get(words[0]) if words else None
    if name is not None and words[1:2] not in (["--help"], ["-h"]):
        module = __import__(name, fromlist=["main"])  # importlib is one import more
        code: int = module.main(words[1:])
        return code
    from pycontain.cli.group import run_group  # click: only for verbs that are not hot

    return run_group(arguments)


def _silence_stdout() -> None:
    """The reader went away: what is still buffered goes nowhere, and Python must not complain at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
