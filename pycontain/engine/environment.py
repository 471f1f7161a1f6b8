"""Environment variables: Docker's defaults, the image's, --env-file and -e."""

from __future__ import annotations

import os

from pycontain.errors import ContainerError

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def read_env_file(path: str) -> list[str]:
    """The variables of an --env-file: NAME=VALUE or NAME (taken from our own environment) per line.

    As Docker's: leading blanks go, `#` begins a comment line, quotes have no meaning, and a line of a
    name alone that we do not have is left out. ContainerError where a name is empty or has a blank.
    """
    try:
        with open(path, encoding="utf-8-sig", errors="surrogateescape") as file:
            lines = file.read().split("\n")
    except OSError as error:
        raise ContainerError(f"read env file {path}: {error.strerror}") from None
    found: list[str] = []
    for number, line in enumerate(lines, 1):
        line = line.lstrip(" \t\r\v\f").rstrip("\r")
        if not line or line.startswith("#"):
            continue
        name, equals, _value = line.partition("=")
        if not name or name != name.strip() or any(c in name for c in " \t"):
            raise ContainerError(f"read env file {path}:{number}: {name!r} is not a variable's name")
        if equals:
            found.append(line)
        elif name in os.environ:
            found.append(f"{name}={os.environ[name]}")
    return found


def environment(
    image: list[str], files: list[str], given: list[str], *, hostname: str, terminal: bool
) -> list[str]:
    """NAME=VALUE texts for the program. image: the image's Env; files: env files; given: -e options.

    `-e NAME` takes our own value, or takes the variable away where we have none.
    """
    values = {"PATH": DEFAULT_PATH, "HOSTNAME": hostname}
    if terminal:
        values["TERM"] = "xterm"
    for item in image:
        name, _, value = item.partition("=")
        values[name] = value
    return merge(values, files, given)


def merge(values: dict[str, str], files: list[str], given: list[str]) -> list[str]:
    """The variables with those of the files and options on top, as NAME=VALUE texts."""
    for path in files:
        for item in read_env_file(path):
            name, _, value = item.partition("=")
            values[name] = value
    for item in given:
        name, equals, value = item.partition("=")
        if not name:
            raise ContainerError(f"set variable {item!r}: it has no name")
        if equals:
            values[name] = value
        elif name in os.environ:
            values[name] = os.environ[name]
        else:
            values.pop(name, None)
    return [f"{name}={value}" for name, value in values.items()]
