"""Names of containers: symbolic links names/<name> -> <id>, so that a name is taken atomically."""

from __future__ import annotations

import os

from pycontain.errors import Conflict, ContainerError

_FIRST_WORDS = (
    "amber brisk calm clever cosy dapper eager early fair fond gentle glad happy humble jolly keen kind "
    "lively lucky mellow merry neat nimble noble plucky polite proud quick quiet ready sharp shy silent "
    "smart snug steady sunny swift tidy tiny upbeat vivid warm wise witty young zesty"
)
_SECOND_WORDS = (
    "acorn badger beaver birch canyon cedar comet cricket dolphin ember falcon fern finch fjord fox garnet "
    "glacier harbor hazel heron island jackdaw juniper kestrel lagoon lark linnet lynx magpie maple meadow "
    "meteor moss otter owl pebble pine plover puffin quartz raven reef robin salmon sparrow summit thistle "
    "thrush tulip walnut willow wren"
)
_ALLOWED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")


def check(name: str) -> str:
    """The name, if Docker would take it: [a-zA-Z0-9][a-zA-Z0-9_.-]+; ContainerError otherwise."""
    plain = name.removeprefix("/")
    if len(plain) < 2 or len(plain) > 200 or plain[0] in "_.-" or not _ALLOWED.issuperset(plain):
        raise ContainerError(
            f"name container {name!r}: not a name", hint="letters, digits, _ . and -, at least two of them"
        )
    return plain


def take(root: str, container_id: str, name: str | None) -> str:
    """Reserve the name, or a free one where it is None. Conflict where another container has it."""
    directory = os.path.join(root, "names")
    os.makedirs(directory, mode=0o700, exist_ok=True)
    if name is not None:
        name = check(name)
        if not _link(root, directory, name, container_id):
            owner = os.readlink(os.path.join(directory, name))
            raise Conflict(
                f"name container {name!r}: the name is used by container {owner[:12]}",
                hint="remove or rename that one, or choose another name",
            )
        return name
    while True:
        firsts, seconds = _FIRST_WORDS.split(), _SECOND_WORDS.split()
        pick = int.from_bytes(os.urandom(4), "little")
        first, second = firsts[pick % len(firsts)], seconds[(pick >> 8) % len(seconds)]
        name = f"{first}_{second}"
        if _link(root, directory, name, container_id):
            return name
        name += str(pick >> 24)
        if _link(root, directory, name, container_id):
            return name


def release(root: str, name: str, container_id: str) -> None:
    """Give the name back, if it is this container's."""
    if not name:
        return  # it had none yet
    path = os.path.join(root, "names", name)
    try:
        if os.readlink(path) == container_id:
            os.unlink(path)
    except FileNotFoundError:
        pass


def lookup(root: str, name: str) -> str | None:
    """The ID of the container of this name."""
    if not name or "/" in name.removeprefix("/"):
        return None
    try:
        container_id = os.readlink(os.path.join(root, "names", name.removeprefix("/")))
    except OSError:
        return None
    return container_id if os.path.isdir(os.path.join(root, "containers", container_id)) else None


def _link(root: str, directory: str, name: str, container_id: str) -> bool:
    path = os.path.join(directory, name)
    for _ in range(2):
        try:
            os.symlink(container_id, path)
            return True
        except FileExistsError:
            if lookup(root, name) is not None:
                return False
            try:
                os.unlink(path)  # its container is gone: --rm ended it, and the kernel knows no names
            except FileNotFoundError:
                pass
    return False
