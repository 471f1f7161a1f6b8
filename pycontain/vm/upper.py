"""What a guest has changed, brought home: the overlay's upper directory becomes changes of the container's tree.

Linux, Documentation/filesystems/overlayfs.rst: a character device 0/0 is a whiteout; a directory with
trusted.overlay.opaque=y hides what is below. Afterwards diff, commit, export and cp work as for any container.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Awaitable, Callable, Iterator
from typing import NamedTuple

from pycontain.errors import MachineError
from pycontain.unionfs.inode import Inode
from pycontain.unionfs.tree import Tree
from pycontain.vm.guest import UPPER
from pycontain.vm.script import Script
from pycontain.vm.table import BUFFER, Reply, Table

CHUNK = 1 << 20
BATCH = 24
LIMIT = 1_000_000
"""Names. A guest that tells of more is not believed."""
_OVERLAY = b"trusted.overlay."

Exchange = Callable[[Table], Awaitable[Reply]]


class _Node(NamedTuple):
    path: bytes  # below UPPER, with a slash in front; b"" is the directory itself
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    rdev: int
    ino: int
    links: int
    target: bytes
    xattrs: dict[bytes, bytes]


async def bring_home(exchange: Exchange, tree: Tree, skip: frozenset[bytes]) -> None:
    """Apply everything in the guest's upper directory to the tree. skip: paths that only mounts needed."""
    seen: dict[int, Inode] = {}
    todo = [b""]
    count = 0
    times: dict[bytes, int] = {}
    changed: list[bytes] = []
    """Directories with a name that has changed, as they were listed: only their times are of interest."""
    while todo:
        directory = todo.pop()
        names = await _names(exchange, UPPER + directory)
        count += len(names)
        if count > LIMIT:
            raise MachineError(f"read the guest's changes: more than {LIMIT} names")
        for start in range(0, len(names), BATCH):
            paths = [directory + b"/" + name for name in names[start : start + BATCH]]
            for node in await _nodes(exchange, [path for path in paths if path not in skip]):
                if stat.S_ISDIR(node.mode):
                    todo.append(node.path)
                    times[node.path] = node.mtime
                if await _apply(exchange, tree, node, seen) and directory not in changed[-1:]:
                    changed.append(directory)
    for path in reversed(changed):  # entering names has changed them
        if path in times:
            tree.set_attr(tree.walk(path, follow=False), mtime=times[path])


async def _names(exchange: Exchange, path: bytes) -> list[bytes]:
    script = Script()
    table = script.table
    opened = script.must(f"list {os.fsdecode(path)}", "open", table.text(path), 0o200000)
    script.collect("getdents64", opened, BUFFER, 1 << 19, most=1 << 19)
    pieces = script.collect("getdents64", opened, BUFFER, 1 << 19, most=1 << 19)
    more = script.collect("getdents64", opened, BUFFER, 64, most=64)
    table.call("close", opened)
    reply = await exchange(table)
    script.check(reply)
    if reply.results[more] != 0:
        raise MachineError(f"read the guest's changes: {os.fsdecode(path)} has too many names")
    del pieces
    return sorted(name for piece in reply.pieces for name in dirents(piece) if name not in (b".", b".."))


def dirents(data: bytes) -> Iterator[bytes]:
    at = 0
    while at + 19 <= len(data):
        (length,) = struct.unpack_from("<H", data, at + 16)
        if length < 20 or at + length > len(data):
            raise MachineError("read the guest's changes: a directory's entries are malformed")
        name = data[at + 19 : at + length].split(b"\0")[0]
        if not name or b"/" in name:
            raise MachineError("read the guest's changes: a name is malformed")
        yield name
        at += length


async def _nodes(exchange: Exchange, paths: list[bytes]) -> list[_Node]:
    if not paths:
        return []
    table = Table()
    for path in paths:
        name = table.text(UPPER + path)
        stats = table.fixed(144)
        table.keep(table.call("lstat", name, stats))
        table.collect("readlink", name, BUFFER, 4096, most=4096)
        table.collect("llistxattr", name, BUFFER, 8192, most=8192)
    reply = await exchange(table)
    nodes = []
    for number, path in enumerate(paths):
        if reply.results[3 * number] < 0:
            continue  # removed meanwhile
        dev_ino = struct.unpack_from("<QQQIIIIQqqqqqqqqq", reply.fixed[number])
        _, ino, links, mode, uid, gid, _, rdev, size, _, _, _, _, mtime, mtime_ns, _, _ = dev_ino
        names = [item for item in reply.pieces[2 * number + 1].split(b"\0") if item]
        xattrs = await _xattrs(exchange, path, names) if names else {}
        target = reply.pieces[2 * number]
        nodes.append(
            _Node(path, mode, uid, gid, size, mtime * 10**9 + mtime_ns, rdev, ino, links, target, xattrs)
        )
    return nodes


async def _xattrs(exchange: Exchange, path: bytes, names: list[bytes]) -> dict[bytes, bytes]:
    found = {}
    for name in names[:64]:
        table = Table()
        table.collect("lgetxattr", table.text(UPPER + path), table.text(name), BUFFER, 65536, most=65536)
        reply = await exchange(table)
        if reply.results[0] >= 0:
            found[name] = reply.pieces[0]
    return found


async def _apply(exchange: Exchange, tree: Tree, node: _Node, seen: dict[int, Inode]) -> bool:
    """Whether a name of the parent has changed."""
    head, _, name = node.path.rpartition(b"/")
    parent = tree.walk(head, follow=False) if head else tree.root
    if parent.children is None:
        raise MachineError(f"read the guest's changes: {os.fsdecode(head)} is no directory")
    parent = tree.current(parent)
    old = tree.lookup(parent, name)
    kind = stat.S_IFMT(node.mode)
    if kind == stat.S_IFCHR and node.rdev == 0:
        if old is not None:
            remove(tree, parent, name)
        return True
    if kind == stat.S_IFDIR:
        if old is not None and (old.children is None or node.xattrs.get(_OVERLAY + b"opaque") == b"y"):
            remove(tree, parent, name)
            old = None
        inode = old if old is not None else tree.mkdir(parent, name, node.mode, node.uid, node.gid)
    else:
        if old is not None:
            remove(tree, parent, name)
        if node.links > 1 and node.ino in seen:
            tree.link(seen[node.ino], parent, name)
            return True
        if kind == stat.S_IFLNK:
            inode = tree.symlink(parent, name, node.target, node.uid, node.gid)
        elif kind == stat.S_IFREG:
            inode = tree.create(parent, name, node.mode, node.uid, node.gid)
            await _read_file(exchange, node, tree.backing(inode))
        else:
            rdev = os.makedev(node.rdev >> 8 & 0xFFF, node.rdev & 0xFF | node.rdev >> 12 & 0xFFF00)
            inode = tree.mknod(parent, name, node.mode, rdev, node.uid, node.gid)
        seen[node.ino] = inode
    _describe(tree, inode, node)
    return old is None or kind != stat.S_IFDIR


def _describe(tree: Tree, inode: Inode, node: _Node) -> None:
    changed = inode.mode & 0o7777 != node.mode & 0o7777 or (inode.uid, inode.gid) != (node.uid, node.gid)
    if changed and not inode.is_symlink:
        tree.set_attr(inode, mode=node.mode & 0o7777, uid=node.uid, gid=node.gid)
    if not inode.is_dir and tree.current(inode).mtime != node.mtime:
        tree.set_attr(inode, mtime=node.mtime)
    for key, value in node.xattrs.items():
        if not key.startswith(_OVERLAY) and (inode.xattrs or {}).get(key) != value:
            tree.set_xattr(inode, key, value)


async def _read_file(exchange: Exchange, node: _Node, target: str) -> None:
    if not node.size:
        return
    with open(target, "r+b") as file:
        at = 0
        while at < node.size:
            table = Table()
            opened = table.call(
                "open", table.text(UPPER + node.path), 0o100000 | 0o400000
            )  # O_LARGEFILE|O_NOFOLLOW
            pieces = min(4, (node.size - at + CHUNK - 1) // CHUNK)
            for number in range(pieces):
                table.collect("pread64", opened, BUFFER, CHUNK, at + number * CHUNK, most=CHUNK)
            table.call("close", opened)
            reply = await exchange(table)
            if min(reply.results) < 0:
                raise MachineError(
                    f"read {os.fsdecode(node.path)} of the guest: {os.strerror(-min(reply.results))}"
                )
            data = b"".join(reply.pieces)
            if not data:
                break
            file.seek(at)
            file.write(data)
            at += len(data)


def remove(tree: Tree, parent: Inode, name: bytes) -> None:
    """Remove whatever is there, with all that is in it."""
    node = tree.lookup(parent, name)
    if node is None:
        return
    if node.children is None:
        tree.unlink(parent, name)
        return
    for child in list(node.children):
        remove(tree, tree.current(node), child)
    tree.rmdir(tree.current(parent), name)
