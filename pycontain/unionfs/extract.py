"""A tar's content put into a container's tree (cp into a stopped container).

Every name is resolved inside the tree, so a hostile one can reach nothing else.
"""

from __future__ import annotations

import os
import posixpath
import stat
import tarfile
from typing import IO

from pycontain.errors import ContainerError
from pycontain.unionfs.inode import Inode
from pycontain.unionfs.tree import Tree

_CHUNK = 1 << 20


def extract(tree: Tree, directory: bytes, file: IO[bytes]) -> None:
    """Put the tar (any compression that tarfile knows) into the directory; ContainerError where it fails."""
    times: list[tuple[bytes, int]] = []
    try:
        with tarfile.open(fileobj=file, mode="r|*") as tar:
            for member in tar:
                _one(tree, directory, tar, member, times)
    except tarfile.TarError as error:
        raise ContainerError(f"extract into {os.fsdecode(directory)}: {error}") from None
    except OSError as error:
        raise ContainerError(f"extract into {os.fsdecode(directory)}: {error.strerror}") from None
    for path, mtime in reversed(times):  # directories last: what is put into them changes their time
        tree.set_attr(tree.walk(path), mtime=mtime)


def _one(
    tree: Tree,
    directory: bytes,
    tar: tarfile.TarFile,
    member: tarfile.TarInfo,
    times: list[tuple[bytes, int]],
) -> None:
    path = posixpath.normpath(b"/" + os.fsencode(member.name))
    parent_path, name = posixpath.split(path)
    mtime = int(member.mtime * 10**9)
    if not name:
        return  # "." describes the directory that is there already
    parent = _directory(tree, directory + b"/" + parent_path, member)
    old = tree.lookup(parent, name)
    if member.isdir():
        node = _merge_directory(tree, parent, name, old, member)
        times.append((tree.path_of(node), mtime))
        return
    if old is not None:
        if old.children is not None:
            raise ContainerError(f"extract {member.name}: there is a directory of this name")
        tree.unlink(parent, name)
        parent = tree.current(parent)
    if member.islnk():
        target = tree.walk(directory + posixpath.normpath(b"/" + os.fsencode(member.linkname)), follow=False)
        tree.link(target, parent, name)
        return
    if member.issym():
        node = tree.symlink(parent, name, os.fsencode(member.linkname), member.uid, member.gid)
    elif member.isreg():
        node = tree.create(parent, name, member.mode & 0o7777, member.uid, member.gid)
        _fill(tree, node, tar, member)
    elif member.ischr() or member.isblk() or member.isfifo():
        kind = stat.S_IFCHR if member.ischr() else stat.S_IFBLK if member.isblk() else stat.S_IFIFO
        rdev = os.makedev(member.devmajor, member.devminor) if not member.isfifo() else 0
        node = tree.mknod(parent, name, kind | member.mode & 0o7777, rdev, member.uid, member.gid)
    else:
        raise ContainerError(f"extract {member.name}: a tar entry of type {member.type!r} is not there yet")
    tree.set_attr(node, mtime=mtime, atime=mtime)


def _directory(tree: Tree, path: bytes, member: tarfile.TarInfo) -> Inode:
    node = tree.root
    walked = b""
    for part in (p for p in path.split(b"/") if p):
        walked += b"/" + part
        try:
            following = tree.walk(walked)
        except FileNotFoundError:
            following = tree.mkdir(node, part, 0o755, 0, 0)
        if following.children is None:
            raise ContainerError(f"extract {member.name}: {os.fsdecode(walked)} is not a directory")
        node = following
    return tree.current(node)


def _merge_directory(
    tree: Tree, parent: Inode, name: bytes, old: Inode | None, member: tarfile.TarInfo
) -> Inode:
    if old is not None and old.children is None:
        raise ContainerError(f"extract {member.name}: there is a file of this name")
    if old is None:
        return tree.mkdir(parent, name, member.mode & 0o7777, member.uid, member.gid)
    return tree.set_attr(old, mode=member.mode, uid=member.uid, gid=member.gid)


def _fill(tree: Tree, node: Inode, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
    source = tar.extractfile(member)
    if source is None:
        return
    with open(tree.open(node, os.O_WRONLY), "wb") as target:
        while chunk := source.read(_CHUNK):
            target.write(chunk)
