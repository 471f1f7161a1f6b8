"""--chown and the owner of WORKDIR: names of users and groups as the image's own files know them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pycontain.unionfs.tree import Tree

MAX_ID = (1 << 32) - 2
MAX_FILE = 16 << 20  # bytes of a passwd or group file


class Owner(NamedTuple):
    uid: int
    gid: int


def parse_owner(text: str, tree: Tree) -> Owner:
    """`user[:group]`, each a name or a number. Raises ValueError for a name that the image does not know.

    Without a group, a named user's own group counts, and for a number the same number (Dockerfile reference,
    "COPY --chown").
    """
    user, colon, group = text.partition(":")
    if not user and not group:
        raise ValueError(f"invalid owner {text!r}: must be user[:group]")
    uid = gid = 0
    if user.isdecimal():
        uid = gid = number(user)
    elif user:
        row = find(tree, b"etc/passwd", user, 4)
        if row is None:
            raise ValueError(f"unable to find user {user}: no matching entries in the image's /etc/passwd")
        uid, gid = number(row[2]), number(row[3])
    if colon and group.isdecimal():
        gid = number(group)
    elif colon and group:
        row = find(tree, b"etc/group", group, 3)
        if row is None:
            raise ValueError(f"unable to find group {group}: no matching entries in the image's /etc/group")
        gid = number(row[2])
    return Owner(uid, gid)


def number(text: str) -> int:
    if not text.isdecimal() or len(text) > 10 or int(text) > MAX_ID:
        raise ValueError(f"{text[:20]!r} is not a valid user or group id")
    return int(text)


def find(tree: Tree, path: bytes, name: str, fields: int) -> list[str] | None:
    """The row of a passwd-like file whose first field is the name."""
    try:
        inode = tree.walk(path)
    except OSError:
        return None
    if not inode.is_regular or tree.stat(inode).size > MAX_FILE:
        return None
    for line in tree.read_bytes(inode).decode("utf-8", "replace").splitlines():
        row = line.split(":")
        if row[0] == name and len(row) >= fields:
            return row
    return None
