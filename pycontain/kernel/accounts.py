"""Users and groups of an image: passwd(5) and group(5) inside its tree, as `--user` and USER name them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from pycontain.errors import ContainerError

Reader = Callable[[bytes], bytes]  # the content of a file of the image; b"" where there is none
MAX_ID = 2**32 - 2


class Account(NamedTuple):
    uid: int
    gid: int
    groups: frozenset[int]
    home: bytes


def resolve(user: str, extra_groups: list[str], read: Reader) -> Account:
    """The account of "user[:group]" by name or number; unknown numbers are allowed, unknown names are not."""
    name, colon, group = user.partition(":")
    passwd = [line.split(b":") for line in read(b"/etc/passwd").splitlines()]
    groups = [line.split(b":") for line in read(b"/etc/group").splitlines()]
    uid, gid, home, login = _user(name or "0", passwd)
    members: set[int] = set()
    if colon and group:
        gid = _group(group, groups)
    elif login:
        for fields in groups:
            if len(fields) >= 4 and login in fields[3].split(b",") and fields[2].isdigit():
                members.add(int(fields[2]))
    for extra in extra_groups:
        members.add(_group(extra, groups))
    return Account(uid, gid, frozenset(members | {gid}), home)


def _user(name: str, passwd: list[list[bytes]]) -> tuple[int, int, bytes, bytes]:
    wanted = name.encode()
    for fields in passwd:
        if len(fields) >= 6 and fields[2].isdigit() and fields[3].isdigit() and fields[0] == wanted:
            return int(fields[2]), int(fields[3]), fields[5], fields[0]
    if name.isdigit() and int(name) <= MAX_ID:
        for fields in passwd:
            if len(fields) >= 6 and fields[3].isdigit() and fields[2] == wanted:
                return int(name), int(fields[3]), fields[5], fields[0]
        return int(name), 0, b"/root" if int(name) == 0 else b"/", b""
    raise ContainerError(f"run as {name}: no such user in the image's /etc/passwd")


def _group(name: str, groups: list[list[bytes]]) -> int:
    wanted = name.encode()
    for fields in groups:
        if len(fields) >= 3 and fields[2].isdigit() and fields[0] == wanted:
            return int(fields[2])
    if name.isdigit() and int(name) <= MAX_ID:
        return int(name)
    raise ContainerError(f"run with group {name}: no such group in the image's /etc/group")
