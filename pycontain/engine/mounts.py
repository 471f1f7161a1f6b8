"""-v, --mount and --tmpfs become mounts as the kernel takes them.

A mount is a dict: type "bind" or "tmpfs", target (absolute), read_only; bind: source (absolute host path);
tmpfs: size in bytes (0: no limit), mode.
"""

from __future__ import annotations

import os

from pycontain.errors import ContainerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_UNITS = {"b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_LABELS = frozenset(("z", "Z", "cached", "delegated", "consistent"))
"""Options that ask for what is so anyway: no label stands in our way, and host files are read directly."""


def parse_size(text: str) -> int:
    """Bytes of "64m", "1g", "512", "10kb" (powers of 1024). ContainerError where it is no size."""
    plain = text.strip().lower()
    number = plain.removesuffix("ib").removesuffix("b") or plain
    factor = 1
    if number and number[-1] in _UNITS:
        factor = _UNITS[number[-1]]
        number = number[:-1]
    try:
        return int(float(number) * factor)
    except (ValueError, OverflowError):
        raise ContainerError(f"read size {text!r}: not a size", hint="for example 64m or 1g") from None


def parse_volume(text: str) -> dict[str, Any]:
    """-v SOURCE:TARGET[:OPTIONS]. A source directory that is not there is made, as Docker does."""
    parts = text.split(":")
    if len(parts) == 1:
        raise ContainerError(f"mount {text}: anonymous volumes are not there yet", hint="use SOURCE:TARGET")
    if len(parts) > 3 or not parts[0] or not parts[1]:
        raise ContainerError(f"mount {text}: not SOURCE:TARGET[:ro]")
    source, target = parts[0], parts[1]
    read_only = False
    for option in parts[2].split(",") if len(parts) == 3 else ():
        if option in ("ro", "rw"):
            read_only = option == "ro"
        elif option not in _LABELS:
            raise ContainerError(f"mount {text}: option {option!r} is not there yet", hint="only ro and rw")
    if not source.startswith(("/", "./", "../")) and source not in (".", ".."):
        raise ContainerError(
            f"mount {text}: named volumes are not there yet", hint="give a directory: ./NAME or /PATH"
        )
    source = os.path.abspath(source)
    if not os.path.lexists(source):
        try:
            os.makedirs(source)
        except OSError as error:
            raise ContainerError(f"mount {text}: make {source}: {error.strerror}") from None
    return {"type": "bind", "source": source, "target": _target(text, target), "read_only": read_only}


def parse_mount(text: str) -> dict[str, Any]:
    """--mount type=bind,source=…,target=…[,readonly] or type=tmpfs,target=…[,tmpfs-size=…][,tmpfs-mode=…]."""
    fields: dict[str, str] = {}
    for item in _split(text):
        key, equals, value = item.partition("=")
        key = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly"}.get(key, key)
        fields[key] = value if equals else "true"
    kind = fields.pop("type", "volume")
    if kind not in ("bind", "tmpfs"):
        raise ContainerError(f"mount {text}: type {kind} is not there yet", hint="there are bind and tmpfs")
    if "target" not in fields:
        raise ContainerError(f"mount {text}: the target is missing")
    mount: dict[str, Any] = {"type": kind, "target": _target(text, fields.pop("target"))}
    mount["read_only"] = fields.pop("readonly", "false") in ("true", "1")
    if kind == "bind":
        source = fields.pop("source", "")
        if not source:
            raise ContainerError(f"mount {text}: the source is missing")
        mount["source"] = os.path.abspath(source)
        if not os.path.lexists(mount["source"]):
            raise ContainerError(f"mount {text}: there is no {mount['source']} on the host")
        fields.pop("consistency", None)
    else:
        mount["size"] = parse_size(fields.pop("tmpfs-size", "0"))
        mount["mode"] = _mode(text, fields.pop("tmpfs-mode", "1777"))
    if fields:
        raise ContainerError(f"mount {text}: option {next(iter(fields))!r} is not there yet")
    return mount


def parse_tmpfs(text: str) -> dict[str, Any]:
    """--tmpfs TARGET[:OPTIONS], options as of mount(8): size=64m, mode=1777, ro."""
    target, _, options = text.partition(":")
    mount: dict[str, Any] = {"type": "tmpfs", "target": _target(text, target), "read_only": False}
    mount.update(size=0, mode=0o1777)
    for option in filter(None, options.split(",")):
        key, _, value = option.partition("=")
        if key == "size":
            mount["size"] = parse_size(value)
        elif key == "mode":
            mount["mode"] = _mode(text, value)
        elif key in ("ro", "rw"):
            mount["read_only"] = key == "ro"
        elif key not in ("noexec", "nosuid", "nodev", "exec"):  # neither devices nor setuid work on ours
            raise ContainerError(f"mount tmpfs {text}: option {option!r} is not there yet")
    return mount


def _split(text: str) -> list[str]:
    """The fields of a CSV line, where a field may be quoted for the commas in it."""
    fields, field, quoted = [], "", False
    for letter in text:
        if letter == '"':
            quoted = not quoted
        elif letter == "," and not quoted:
            fields.append(field)
            field = ""
        else:
            field += letter
    return [*fields, field]


def _target(text: str, target: str) -> str:
    if not target.startswith("/"):
        raise ContainerError(f"mount {text}: the target {target!r} is not an absolute path")
    clean = os.path.normpath(target).replace("//", "/")
    if clean == "/":
        raise ContainerError(f"mount {text}: the target cannot be /")
    return clean


def _mode(text: str, value: str) -> int:
    try:
        return int(value, 8) & 0o7777
    except ValueError:
        raise ContainerError(f"mount {text}: mode {value!r} is not an octal number") from None
