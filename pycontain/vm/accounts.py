"""Users and groups by the guest's own /etc/passwd and /etc/group, as Docker resolves -u."""

from __future__ import annotations

from typing import NamedTuple

from pycontain.errors import ContainerError


class Account(NamedTuple):
    """home is b"/" where passwd does not know the user; groups are the supplementary ones."""

    uid: int
    gid: int
    groups: list[int]
    home: bytes


def resolve(user: str, more: list[str], passwd: bytes, group: bytes) -> Account:
    """ "", NAME, UID, NAME:GROUP and UID:GID; more: --group-add. ContainerError for a name that is not there."""
    name, colon, group_name = user.partition(":")
    users = [line.split(b":") for line in passwd.splitlines() if line.count(b":") >= 5]
    groups = [line.split(b":") for line in group.splitlines() if line.count(b":") >= 3]
    wanted = name or "0"
    row = next((r for r in users if r[0] == wanted.encode()), None)
    if row is None and _is_number(wanted):
        row = next((r for r in users if r[2] == wanted.encode()), None)
        uid = int(wanted)
    elif row is None:
        raise ContainerError(f"run as {name}: no such user in the image's /etc/passwd")
    else:
        uid = _number(row[2])
    gid = _number(row[3]) if row is not None else 0
    extra: list[int] = []
    if colon and group_name:
        gid = _group(group_name, groups)
    elif row is not None:
        extra = [_number(g[2]) for g in groups if row[0] in g[3].split(b",")]
    extra += [_group(item, groups) for item in more]
    home = row[5] if row is not None and row[5] else b"/root" if uid == 0 and row is None else b"/"
    return Account(uid, gid, sorted({gid, *extra}), home)


def _group(name: str, groups: list[list[bytes]]) -> int:
    found = next((g for g in groups if g[0] == name.encode()), None)
    if found is not None:
        return _number(found[2])
    if _is_number(name):
        return int(name)
    raise ContainerError(f"run with group {name}: no such group in the image's /etc/group")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and int(text) < 1 << 32


def _number(text: bytes) -> int:
    return int(text) if text.isdigit() else 0
