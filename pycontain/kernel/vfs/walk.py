"""Path resolution: path_resolution(7) over mounts and union trees. No host path is ever made of a name.

A resolved path is remembered, for those who may search what the caller may, as long as no name has changed
on the container's root file system and no mount was made; its directory is remembered for longer, until
a directory or a link changes its name or its mode: who unpacks thousands of files does not walk for each.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from pycontain.kernel.abi import AT_FDCWD, S_IFDIR, S_IFLNK, S_IFMT, signed
from pycontain.kernel.credentials import CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, Credentials
from pycontain.kernel.vfs.access import EXECUTE, need
from pycontain.kernel.vfs.filesystem import Filesystem, fail
from pycontain.kernel.vfs.mount import Mount, Node
from pycontain.unionfs.inode import Inode

if TYPE_CHECKING:
    from pycontain.kernel.task import Task

MAX_LINKS = 40
NAME_MAX = 255
CACHE_LIMIT = 10000  # paths
CACHES = 4  # for different identities
REMEMBERED = 512  # bytes of a path: longer ones would take more memory than they save time

RESOLVE_NO_XDEV, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_BENEATH, RESOLVE_IN_ROOT = 1, 2, 4, 8, 16


class NameCache:
    """(base inode, path, follow) -> node or errno, valid for one generation of names; (base inode, path) -> directory,
    valid for one shape of the tree."""

    __slots__ = ("directories", "entries", "generation", "mounts", "shape")

    def __init__(self) -> None:
        self.entries: dict[tuple[int, bytes, bool], Node | int] = {}
        self.directories: dict[tuple[int, bytes], Node] = {}
        self.generation = self.shape = self.mounts = -1

    def validate(self, fs: Filesystem, mounts: int) -> None:
        """Forget what is not valid any more."""
        self.entries.clear()
        if self.shape != fs.shape or self.mounts != mounts:
            self.directories.clear()
        self.generation, self.shape, self.mounts = fs.generation, fs.shape, mounts


class NameCaches:
    """A container's, one for all who may search everywhere and one for each other set of identities."""

    __slots__ = ("everywhere", "others")

    def __init__(self) -> None:
        self.everywhere = NameCache()
        self.others: dict[object, NameCache] = {}

    def of(self, who: Credentials) -> NameCache:
        if who.effective >> CAP_DAC_OVERRIDE & 1:
            return self.everywhere
        key = who.fsuid, who.fsgid, who.groups, who.effective >> CAP_DAC_READ_SEARCH & 1
        found = self.others.get(key)
        if found is None:
            if len(self.others) >= CACHES:
                del self.others[next(iter(self.others))]
            found = self.others[key] = NameCache()
        return found


def base_of(task: Task, dirfd: int) -> Node:
    """The node a relative path starts at."""
    dirfd = signed(dirfd)
    if dirfd == AT_FDCWD:
        return task.files.cwd
    node = task.process.container.identify(task.host_stat(dirfd))
    if node is None or node.inode.mode & S_IFMT != S_IFDIR:
        fail(errno.ENOTDIR)
    return node


def resolve(task: Task, dirfd: int, path: bytes, follow: bool = True) -> Node:
    """The node at a path. Raises ENOENT, ENOTDIR, EACCES, ELOOP, ENAMETOOLONG, EBADF."""
    if not path:
        fail(errno.ENOENT)
    files = task.files
    if path[0] == 47:
        base = files.root
    elif signed(dirfd) == AT_FDCWD:
        base = files.cwd
    else:
        base = base_of(task, dirfd)
    container = task.process.container
    who = task.credentials
    mount = base.mount
    if mount is not container.root_mount or files.root.inode.ino != 2 or len(path) > REMEMBERED:
        return walk(task, base, path, follow)
    cache = container.names.of(who)
    fs = mount.fs
    if cache.generation != fs.generation or cache.mounts != container.mount_generation:
        cache.validate(fs, container.mount_generation)
    key = (base.inode.ino, path, follow)
    found = cache.entries.get(key)
    if found is not None:
        if found.__class__ is int:
            raise OSError(found, "")
        inode = found.inode  # type: ignore[union-attr]
        if inode.ino not in fs.changed:  # type: ignore[attr-defined]
            return found  # type: ignore[return-value]
        return Node(mount, fs.current(inode))
    container.left_root = False
    try:
        node = _last_step(task, cache, base, path, follow) or walk(task, base, path, follow)
    except FileNotFoundError:
        if not container.left_root and len(cache.entries) < CACHE_LIMIT:
            cache.entries[key] = errno.ENOENT
        raise
    if node.mount is mount and not container.left_root and len(cache.entries) < CACHE_LIMIT:
        cache.entries[key] = node
    return node


def _last_step(task: Task, cache: NameCache, base: Node, path: bytes, follow: bool) -> Node | None:
    """What a remembered directory has under the last name of a path. None where there is more to it: a link to
    follow, a mount, dots. Raises as walk()."""
    head, _, name = path.rpartition(b"/")
    if not name or name in (b".", b".."):
        return None
    mount, inode = base
    fs = mount.fs
    if head:
        key = inode.ino, head
        directory = cache.directories.get(key)
        if directory is None:
            directory = walk(task, base, head, True)
            if directory.mount is not mount or task.process.container.left_root:
                return None
            if directory.inode.mode & S_IFMT != S_IFDIR:
                fail(errno.ENOTDIR)
            if len(cache.directories) < CACHE_LIMIT:
                cache.directories[key] = directory
        inode = directory.inode
    inode = fs.current(inode)
    if cache is not task.process.container.names.everywhere:
        need(inode, task.credentials, EXECUTE)
    child = fs.lookup(inode, name)
    if child is None:
        fail(errno.ENAMETOOLONG if len(name) > NAME_MAX else errno.ENOENT)
    if (follow and child.mode & S_IFMT == S_IFLNK) or child.ino in mount.covered:
        return None
    return Node(mount, child)


def resolve_parent(task: Task, dirfd: int, path: bytes) -> tuple[Node, bytes, bool]:
    """(directory, last name, had a trailing slash) for a call that makes or removes a name.

    The last name may be b".", b".." or b"" (for "/"); the caller says what that means.
    """
    if not path:
        fail(errno.ENOENT)
    stripped = path.rstrip(b"/")
    slash = len(stripped) != len(path)
    head, sep, name = stripped.rpartition(b"/")
    if sep and not head:
        head = b"/"
    if not stripped:
        return resolve(task, dirfd, b"/"), b"", True
    base = resolve(task, dirfd, head) if head else base_of(task, dirfd)
    inode = base.mount.fs.current(base.inode)
    if inode.mode & S_IFMT != S_IFDIR:
        fail(errno.ENOTDIR)
    if len(name) > NAME_MAX:
        fail(errno.ENAMETOOLONG)
    return Node(base.mount, inode), name, slash


def child_of(task: Task, directory: Node, name: bytes) -> Inode | None:
    """The entry of a directory, not looking through mounts. Raises EACCES."""
    need(directory.inode, task.credentials, EXECUTE)
    return directory.mount.fs.lookup(directory.inode, name)


def walk(task: Task, base: Node, path: bytes, follow: bool, restrict: int = 0) -> Node:
    """restrict: RESOLVE_* flags of openat2(2)."""
    container = task.process.container
    who = task.credentials
    root = base if restrict & RESOLVE_IN_ROOT else task.files.root
    everywhere = who.effective >> CAP_DAC_OVERRIDE & 1
    if path[:1] == b"/":
        if restrict & RESOLVE_BENEATH:
            fail(errno.EXDEV)
        mount, inode = root
    else:
        mount, inode = base
    fs = mount.fs
    inode = fs.current(inode)
    todo = path.split(b"/")
    must_be_dir = todo[-1] in (b"", b".", b"..")
    todo.reverse()
    links = 0
    if not fs.cacheable:
        container.left_root = True
    while todo:
        name = todo.pop()
        if not name or name == b".":
            if inode.mode & S_IFMT != S_IFDIR:
                fail(errno.ENOTDIR)
            if name and not everywhere:
                need(inode, who, EXECUTE)
            continue
        if inode.mode & S_IFMT != S_IFDIR:
            fail(errno.ENOTDIR)
        if not everywhere:
            need(inode, who, EXECUTE)
        if name == b"..":
            if inode.ino == root.inode.ino and mount is root.mount:
                continue
            if restrict & RESOLVE_BENEATH and inode.ino == base.inode.ino and mount is base.mount:
                fail(errno.EXDEV)
            while inode.ino == mount.root.ino and mount.parent is not None:
                mount, inode = mount.parent, mount.below
                fs = mount.fs
                inode = fs.current(inode)
            inode = fs.current(fs.parent(inode))
            continue
        child = fs.lookup(inode, name)
        if child is None:
            fail(errno.ENAMETOOLONG if len(name) > NAME_MAX else errno.ENOENT)
        if child.mode & S_IFMT == S_IFLNK and (follow or todo):
            if restrict & RESOLVE_NO_SYMLINKS:
                fail(errno.ELOOP)
            links += 1
            if links > MAX_LINKS:
                fail(errno.ELOOP)
            jump = fs.follow(child, task)
            if jump is not None:
                if restrict & (RESOLVE_NO_MAGICLINKS | RESOLVE_BENEATH | RESOLVE_IN_ROOT):
                    fail(errno.ELOOP)
                mount, inode = jump
                fs = mount.fs
                container.left_root = True
                continue
            target = fs.readlink(child, task)
            if not target:
                fail(errno.ENOENT)
            parts = target.split(b"/")
            if not todo and parts[-1] in (b"", b".", b".."):
                must_be_dir = True
            parts.reverse()
            todo += parts
            if target[0] == 47:
                if restrict & RESOLVE_BENEATH or (restrict & RESOLVE_NO_XDEV and path[:1] != b"/"):
                    fail(
                        errno.EXDEV
                    )  # also on one file system: openat2(2), RESOLVE_NO_XDEV, as Linux does it
                mount, inode = root
                fs = mount.fs
                inode = fs.current(inode)
            continue
        inode = child
        while mount.covered:
            above: Mount | None = mount.covered.get(inode.ino)
            if above is None:
                break
            if restrict & RESOLVE_NO_XDEV:
                fail(errno.EXDEV)
            mount = above
            fs = mount.fs
            inode = fs.current(mount.root)
            if not fs.cacheable:
                container.left_root = True
    if must_be_dir and inode.mode & S_IFMT != S_IFDIR:
        fail(errno.ENOTDIR)
    return Node(mount, inode)


def path_of(task_root: Node, node: Node) -> bytes:
    """The absolute path of a node as seen from a root; b"(unreachable)…" is not produced: / is the end."""
    mount, inode = node
    tail = b""
    while True:
        below = mount.fs.path_of(inode)
        at_root = mount is task_root.mount
        if at_root and task_root.inode.ino != mount.fs.root.ino:
            prefix = mount.fs.path_of(task_root.inode)
            if below == prefix:
                below = b"/"
            elif below.startswith(prefix + b"/"):
                below = below[len(prefix) :]
        elif mount.root.ino != mount.fs.root.ino:
            prefix = mount.fs.path_of(mount.root)
            below = below[len(prefix) :] or b"/"
        tail = (below if below != b"/" else b"") + tail
        if at_root or mount.parent is None:
            return tail or b"/"
        mount, inode = mount.parent, mount.below
