"""cp: files between a container's tree and the host, or a tar stream.

Out of a container the tree itself is read, so that no name in it is ever resolved by the host. Into a
container goes a tar: a running one's kernel extracts it, a stopped one's tree takes it here.
"""

from __future__ import annotations

import os
import posixpath
import stat
import tarfile
from collections.abc import Callable
from typing import IO

from pycontain.engine.containers import Container
from pycontain.engine.engine import Engine
from pycontain.engine.files import container_tree, is_running
from pycontain.errors import ContainerError
from pycontain.unionfs.extract import extract
from pycontain.unionfs.inode import Inode
from pycontain.unionfs.tarwriter import TarWriter
from pycontain.unionfs.tree import Tree

_CHUNK = 1 << 20


def write_archive(
    engine: Engine, container: Container, path: str, write: Callable[[bytes], object], *, follow: bool = False
) -> None:
    """The file or directory at `path` as a tar, named by the last part of its path (cp CONTAINER:PATH -)."""
    tree = container_tree(engine, container)
    node = _node(tree, container, path, follow=follow)
    tar = TarWriter(write)
    name = os.fsencode(posixpath.basename(posixpath.normpath("/" + path))) or b"."
    _add(tar, tree, name, node)
    tar.close()


def copy_out(
    engine: Engine,
    container: Container,
    path: str,
    destination: str,
    *,
    follow: bool = False,
    archive: bool = False,
) -> list[str]:
    """Copy to the host, by Docker's rules for what `destination` means; returns what could not be copied.

    archive: owners are kept where we may (root). A file on the host is replaced, never written through.
    """
    tree = container_tree(engine, container)
    node = _node(tree, container, path, follow=follow or path.endswith("/"))
    content_only = path.endswith("/.") or path == "."
    name = posixpath.basename(posixpath.normpath("/" + path))
    if os.path.isdir(destination):
        if not (content_only and node.children is not None):
            destination = os.path.join(destination, name)
    elif destination.endswith("/") and node.children is None:
        raise ContainerError(f"copy {container.name}:{path}: there is no directory {destination}")
    elif not os.path.isdir(os.path.dirname(os.path.abspath(destination))):
        raise ContainerError(f"copy {container.name}:{path}: there is no directory for {destination}")
    skipped: list[str] = []
    try:
        _write_out(tree, node, destination, skipped, archive)
    except OSError as error:
        raise ContainerError(f"copy {container.name}:{path} to {destination}: {error.strerror}") from None
    return skipped


def copy_in(
    engine: Engine,
    container: Container,
    source: str,
    path: str,
    *,
    follow: bool = False,
    archive: bool = False,
) -> None:
    """Copy a file or directory of the host into the container, by Docker's rules for what `path` means."""
    tree = container_tree(engine, container)
    real = os.path.realpath(source) if follow or source.endswith("/") else source
    try:
        is_directory = stat.S_ISDIR(os.lstat(real).st_mode)
    except OSError as error:
        raise ContainerError(f"copy {source}: {error.strerror}") from None
    content_only = source.endswith("/.") or source == "."
    name = os.path.basename(os.path.normpath(os.path.abspath(source)))
    target: Inode | None
    try:
        target = tree.walk(os.fsencode(path))
    except OSError:
        target = None
    if target is not None and target.children is not None:
        directory = path
        if content_only and is_directory:
            name = "."
    else:
        if target is not None and is_directory:
            raise ContainerError(f"copy {source} to {container.name}:{path}: that is a file")
        if target is None and path.endswith("/") and not is_directory:
            raise ContainerError(f"copy {source} to {container.name}:{path}: there is no such directory")
        directory, name = posixpath.split(posixpath.normpath("/" + path))
        _node(tree, container, directory, follow=True)
    with engine.store.tmp_dir("cp") as scratch, open(os.path.join(scratch, "tar"), "w+b") as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
            try:
                tar.add(real, name, filter=None if archive else _root_owned)
            except OSError as error:
                raise ContainerError(f"copy {source}: {error.filename}: {error.strerror}") from None
        file.flush()
        file.seek(0)
        put_archive(engine, container, directory, file)


def put_archive(engine: Engine, container: Container, path: str, file: IO[bytes]) -> None:
    """Extract a tar (uncompressed; file has a descriptor) into a directory of the container."""
    kernel = engine.running_kernel()
    if kernel is not None and is_running(engine, container):
        kernel.put_archive(container.id, os.fsencode(path), file.fileno())
        return
    tree = container_tree(engine, container, writable=True)
    try:
        node = _node(tree, container, path, follow=True)
        if node.children is None:
            raise ContainerError(f"copy to {container.name}:{path}: that is not a directory")
        extract(tree, os.fsencode(path), file)
        tree.sync()
    finally:
        tree.close()


def _root_owned(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    return info


def _node(tree: Tree, container: Container, path: str, *, follow: bool) -> Inode:
    try:
        return tree.walk(os.fsencode("/" + path), follow=follow)
    except OSError as error:
        raise ContainerError(f"copy {container.name}:{path}: {error.strerror}") from None


def _add(tar: TarWriter, tree: Tree, path: bytes, node: Inode) -> None:
    if stat.S_ISSOCK(node.mode):
        return  # a tar has no way to hold one
    info = tree.stat(node)
    content = tree.open(node, os.O_RDONLY) if node.is_regular else None
    try:
        tar.add(
            path,
            mode=node.mode,
            uid=node.uid,
            gid=node.gid,
            mtime_ns=info.mtime,
            size=info.size if content is not None else 0,
            rdev=node.rdev,
            link=node.target,
            hardlink=False,
            xattrs=node.xattrs,
            content=content,
        )
    finally:
        if content is not None:
            os.close(content)
    for name in sorted(node.children or {}):
        child = tree.lookup(node, name)
        if child is not None:
            _add(tar, tree, path + b"/" + name, child)


def _write_out(tree: Tree, node: Inode, path: str, skipped: list[str], archive: bool) -> None:
    """Recreate one node at a host path. What is there gives way, a directory to a directory apart."""
    info = tree.stat(node)
    times = (info.atime, info.mtime)
    if node.children is not None:
        if os.path.islink(path) or not os.path.isdir(path):
            os.mkdir(path)
        for name in sorted(node.children):
            child = tree.lookup(node, name)
            if child is not None:
                _write_out(tree, child, os.path.join(path, os.fsdecode(name)), skipped, archive)
        _describe(path, node, times, archive)
        return
    if not (node.is_regular or node.is_symlink or stat.S_ISFIFO(node.mode)):
        skipped.append(os.fsdecode(tree.path_of(node)))
        return
    if os.path.lexists(path):
        os.unlink(path)
    if node.is_symlink:
        os.symlink(node.target or b"", os.fsencode(path))
        return
    if node.is_regular:
        _write_file(tree, node, path)
    else:
        os.mkfifo(path)
    _describe(path, node, times, archive)


def _write_file(tree: Tree, node: Inode, path: str) -> None:
    source = tree.open(node, os.O_RDONLY)
    try:
        target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            while chunk := os.read(source, _CHUNK):
                view = memoryview(chunk)
                while view:
                    view = view[os.write(target, view) :]
        finally:
            os.close(target)
    finally:
        os.close(source)


def _describe(path: str, node: Inode, times: tuple[int, int], archive: bool) -> None:
    if archive and os.geteuid() == 0:
        os.chown(path, node.uid, node.gid)
    os.chmod(path, node.mode & 0o7777)
    os.utime(path, ns=times)
