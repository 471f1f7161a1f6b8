"""mount(2) and umount2(2), for who has CAP_SYS_ADMIN in the container: `--cap-add SYS_ADMIN`, `--privileged`.

All of it happens in the container's own tree of mounts; the host's is never touched. What was mounted read-only when
the container was made stays so: `-v …:ro` is a promise to the one who gave it.
"""

from __future__ import annotations

import errno
import os
import re

from pycontain.kernel.abi import AT_FDCWD, S_IFDIR, S_IFMT
from pycontain.kernel.container import Container
from pycontain.kernel.credentials import CAP_SYS_ADMIN
from pycontain.kernel.task import Task
from pycontain.kernel.vfs.filesystem import Filesystem, fail
from pycontain.kernel.vfs.mount import Mount, Node
from pycontain.kernel.vfs.overlayfs import OverlayFs
from pycontain.kernel.vfs.tmpfs import FIRST_DEVICE, mount_options, new_mounted
from pycontain.kernel.vfs.walk import path_of, resolve

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_BIND, MS_MOVE, MS_REC = 4096, 8192, 16384
MS_PROPAGATION = 1 << 17 | 1 << 18 | 1 << 19 | 1 << 20  # UNBINDABLE, PRIVATE, SLAVE, SHARED
MNT_FORCE, MNT_DETACH, MNT_EXPIRE, UMOUNT_NOFOLLOW = 1, 2, 4, 8
RESTRICTIONS = MS_NOSUID | MS_NODEV | MS_NOEXEC
# options of overlayfs that say what is done anyway
OVERLAY_DEFAULTS = (b"index=off", b"redirect_dir=off", b"redirect_dir=nofollow", b"metacopy=off", b"xino=off", b"xino=auto",
                    b"nfs_export=off", b"volatile")  # fmt: skip
LIMIT = 1000  # mounts of one container
# what a look-up costs is the number of layers to the power of the depth: FILESYSTEM_MAX_STACK_DEPTH and OVL_MAX_STACK
MOST_DEPTH, MOST_LAYERS = 2, 500


def sys_mount(task: Task, a: tuple[int, ...]) -> int:
    flags = a[3] & 0xFFFFFFFF
    if flags & 0xFFFF0000 == 0xC0ED0000:  # the magic number of old libraries
        flags &= 0xFFFF
    container = task.process.container
    if not task.credentials.has(CAP_SYS_ADMIN):
        fail(errno.EPERM)
    source = task.string(a[0]) if a[0] else b""
    point = resolve(task, AT_FDCWD, task.string(a[1]))
    if flags & MS_REMOUNT:
        _remount(container, _root_of(point), flags)
        return 0
    if flags & MS_PROPAGATION:
        _root_of(point)  # there is one tree of mounts, so nothing propagates from or to it
        return 0
    if len(container.mounts) >= LIMIT:
        fail(errno.ENOSPC)
    if flags & MS_BIND:
        _bind(container, resolve(task, AT_FDCWD, source), point, bool(flags & MS_REC))
    elif flags & MS_MOVE:
        _move(container, _root_of(resolve(task, AT_FDCWD, source)), point)
    else:
        kind = task.string(a[2]) if a[2] else b""
        data = task.string(a[4]) if a[4] else b""
        _new(task, os.fsdecode(source), point, kind, data, flags)
    return 0


def sys_umount2(task: Task, a: tuple[int, ...]) -> int:
    flags = a[1]
    if flags & ~15:
        fail(errno.EINVAL)
    if not task.credentials.has(CAP_SYS_ADMIN):
        fail(errno.EPERM)
    container = task.process.container
    mount = _root_of(resolve(task, AT_FDCWD, task.string(a[0]), not flags & UMOUNT_NOFOLLOW))
    if mount.parent is None:
        fail(errno.EBUSY)  # everybody's root
    if flags & MNT_EXPIRE:
        fail(errno.EAGAIN)  # it has not been marked before, and never is
    busy = _busy(container, mount)
    if busy and not flags & MNT_DETACH:
        fail(errno.EBUSY)
    for inner in [m for m in container.mounts if _lies_in(m, mount)]:
        container.unmount(inner)
    if not busy and not any(m.fs is mount.fs for m in container.mounts):
        container.discard(mount.fs)
    return 0


def _root_of(node: Node) -> Mount:
    """The mount whose root the node is. Raises EINVAL if it is not one."""
    if node.inode.ino != node.mount.root.ino:
        fail(errno.EINVAL)
    return node.mount


def _lies_in(mount: Mount | None, outer: Mount) -> bool:
    while mount is not None:
        if mount is outer:
            return True
        mount = mount.parent
    return False


def _busy(container: Container, mount: Mount) -> bool:
    """Is something of it used, by another mount or by a process?"""
    if any(m.parent is mount for m in container.mounts):
        return True
    alone = sum(m.fs is mount.fs for m in container.mounts) == 1
    for process in container.processes.values():
        places = [task.files for task in process.threads.values()]
        if any(mount in (place.cwd.mount, place.root.mount) for place in places):
            return True
        try:
            numbers = os.listdir(f"/proc/{process.pid}/fd")
        except OSError:
            continue
        for number in numbers:
            try:
                node = container.node_of_descriptor(process.pid, int(number))
            except OSError:
                continue
            if node is not None and (node.mount is mount or (alone and node.mount.fs is mount.fs)):
                return True
    return False


def _remount(container: Container, mount: Mount, flags: int) -> None:
    if mount.locked and not flags & MS_RDONLY:
        fail(errno.EPERM)
    mount.read_only = bool(flags & MS_RDONLY)
    mount.restrictions = flags & RESTRICTIONS
    container.mount_generation += 1


def _check_kinds(root_mode: int, point: Node) -> None:
    if (root_mode & S_IFMT == S_IFDIR) != (point.inode.mode & S_IFMT == S_IFDIR):
        fail(errno.ENOTDIR)


def _add(container: Container, new: Mount, point: Node) -> None:
    container.attach(new, point, path_of(container.root, point))


def _bind(container: Container, source: Node, point: Node, recursive: bool) -> None:
    _check_kinds(source.inode.mode, point)
    inner = [m for m in container.mounts if m.parent is source.mount and _below(m, source)]
    new = _copy(source.mount, source)
    _add(container, new, point)
    if recursive:
        for mount in inner:
            _bind_inner(container, mount, new)


def _bind_inner(container: Container, mount: Mount, parent: Mount) -> None:
    inner = [m for m in container.mounts if m.parent is mount]
    new = _copy(mount, Node(mount, mount.root))
    _add(container, new, Node(parent, mount.below))
    for one in inner:
        _bind_inner(container, one, new)


def _copy(mount: Mount, root: Node) -> Mount:
    new = Mount(mount.fs, root.inode, source=mount.source, read_only=mount.read_only)
    new.locked, new.restrictions = mount.locked, mount.restrictions
    return new


def _below(mount: Mount, node: Node) -> bool:
    """Does a mount lie on something in the tree below the node?"""
    fs = node.mount.fs
    top, point = fs.path_of(node.inode).rstrip(b"/"), fs.path_of(mount.below)
    return point == top or point.startswith(top + b"/")


def _move(container: Container, mount: Mount, point: Node) -> None:
    if mount.parent is None:
        fail(errno.EINVAL)
    if _lies_in(point.mount, mount):
        fail(errno.ELOOP)
    _check_kinds(mount.root.mode, point)
    container.detach(mount)
    _add(container, mount, point)
    for inner in container.mounts:
        if inner is not mount and _lies_in(inner, mount):
            assert inner.parent is not None
            inner.target = path_of(container.root, Node(inner.parent, inner.below))


def _new(task: Task, source: str, point: Node, kind: bytes, data: bytes, flags: int) -> None:
    container = task.process.container
    if point.inode.mode & S_IFMT != S_IFDIR:
        fail(errno.ENOTDIR)
    fs: Filesystem
    locked = False
    if kind in (b"tmpfs", b"ramfs"):
        fs = new_mounted(container, mount_options(data))
    elif kind == b"overlay":
        fs = _overlay(task, data)
        if not fs.writable:
            flags |= MS_RDONLY
    elif kind == b"proc" and container.proc_mount is not None:
        fs = container.proc_mount.fs
    elif kind == b"devpts":
        fs = container.devpts
    elif kind == b"sysfs":
        found = next((m for m in container.mounts if m.fs.type == "sysfs"), None)
        if found is None:
            fail(errno.EPERM)
        fs, locked = found.fs, True
    else:
        fail(errno.ENODEV)
    new = Mount(fs, fs.root, source=source or "none", read_only=bool(flags & MS_RDONLY) or locked)
    new.restrictions, new.locked = flags & RESTRICTIONS, locked
    _add(container, new, point)


def _overlay(task: Task, data: bytes) -> OverlayFs:
    """overlayfs's options: layers by their paths, the topmost first. Raises EINVAL for what it cannot do."""
    found: dict[bytes, bytes] = {}
    for word in filter(None, re.split(rb"(?<!\\),", data)):
        name, _, value = word.partition(b"=")
        if name in (b"lowerdir", b"upperdir", b"workdir"):
            found[name] = value
        elif word not in OVERLAY_DEFAULTS:
            fail(errno.EINVAL)
    lowers = [_layer(task, path) for path in re.split(rb"(?<!\\):", found.get(b"lowerdir", b""))]
    if len(lowers) > MOST_LAYERS:
        fail(errno.EINVAL)
    if len({(layer.mount.fs, layer.inode.ino) for layer in lowers}) < len(lowers):
        fail(errno.ELOOP)
    upper = None
    if b"upperdir" in found:
        if b"workdir" not in found:
            fail(errno.EINVAL)
        upper, work = _layer(task, found[b"upperdir"]), _layer(task, found[b"workdir"])
        if upper.mount is not work.mount or upper.inode.ino == work.inode.ino:
            fail(errno.EINVAL)
        if upper.mount.read_only:
            fail(errno.EROFS)
    elif len(lowers) < 2:
        fail(errno.EINVAL)
    task.process.container.mounted += 1
    made = OverlayFs(upper, lowers, os.makedev(0, FIRST_DEVICE + task.process.container.mounted))
    if made.depth > MOST_DEPTH:
        fail(errno.EINVAL)
    return made


def _layer(task: Task, path: bytes) -> Node:
    if not path:
        fail(errno.EINVAL)
    node = resolve(task, AT_FDCWD, re.sub(rb"\\(.)", rb"\1", path))
    if node.inode.mode & S_IFMT != S_IFDIR:
        fail(errno.ENOTDIR)
    return node
