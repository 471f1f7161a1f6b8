"""What the fast path is told: the kernel's side of it (see platforms.base.FastPath).

It learns what a call asked for and it did not know, one thing for each such call, and forgets what changes: a tree
says of every name that it changes and of every inode that it is about to.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from pycontain.kernel.abi import pack_stat
from pycontain.kernel.credentials import CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, Credentials
from pycontain.kernel.vfs.filesystem import Filesystem
from pycontain.kernel.vfs.mount import Node
from pycontain.platforms.base import (
    MISSING_FILE,
    MISSING_HOST,
    MISSING_LISTING,
    MISSING_NAME,
    FastPath,
    Missing,
    Shown,
)

if TYPE_CHECKING:
    from pycontain.kernel.container import Container
    from pycontain.kernel.task import Task
    from pycontain.kernel.vfs.handles import Handle
    from pycontain.unionfs.inode import Inode

LIVE, PLAIN = 1, 4  # flags, see tables.h beside fastpath.c
MISSES = 4  # names of a directory that are learnt one by one before all are
MOST_NAMES = 2000  # of a directory whose names are learnt at once
MOST_AT_ONCE = 64  # changes between two calls that are learnt; of more, each is when it is asked for
PATH_ONLY, A_FILE = -2, -1  # instead of the descriptor of a directory
ROOT_INO = 2


class Names:
    """What the fast path knows of a container's root file system. Listens to its changes (unionfs.view.Changes)."""

    def __init__(self, fast: FastPath, container: Container, index: int) -> None:
        self.fast = fast
        self.index = index
        self._container = container
        self._fs = fs = container.root_fs
        image = fs.image
        if not image.space:
            image.space = fast.new_space()
        self._image = image.space
        self._space = fast.new_space()
        self._next = image.next_ino
        self._changed = (ctypes.c_ubyte * ((self._next >> 3) + 1))()  # a bit for each inode of the image
        for ino in fs.changed:
            if ino < self._next:
                self._changed[ino >> 3] |= 1 << (ino & 7)
        self._files = os.open(fs.files, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._directories: set[int] = set()  # that are changing
        self._misses: dict[int, int] = {}  # of names, by directory
        self._renamed: set[tuple[int, bytes]] = set()
        self._told: tuple[int, bool, bool] | None = None
        fs.changes = self
        container.handles.changes = self

    def refresh(self) -> None:
        """After a mount, or the first watch."""
        container = self._container
        now = container.mount_generation, bool(container.watches), container.root_mount.read_only
        if now == self._told:
            return
        self._told = now
        mount = container.root_mount
        covered = [0] * 64
        for ino in mount.covered:
            covered[ino >> 6 & 63] |= 1 << (ino & 63)
        self.fast.set_tree(
            self.index, self._space, self._image, self._next, mount.number, self._files, bool(container.watches),
            mount.read_only, container.handles.place, container.handles.number, container.handles.room,
            ctypes.addressof(self._changed), *covered,
        )  # fmt: skip

    def close(self) -> None:
        self.fast.set_tree(self.index, *[0] * 4, -1, 0, 0, -1, *[0] * 67)
        self._fs.changes = self._container.handles.changes = None
        os.close(self._files)

    # -- what changes

    def changing(self, inode: Inode) -> None:
        """An inode is about to change."""
        ino = inode.ino
        if ino < self._next:
            self._changed[ino >> 3] |= 1 << (ino & 7)
        self.fast.forget_node(self._space, ino)
        if inode.children is not None and len(self._directories) < MOST_AT_ONCE:
            self._directories.add(ino)  # whose names will be walked through; of a file more may change first
            self.fast.changed.add(self)

    def renamed(self, directory: int, name: bytes) -> None:
        """A name of a directory has come, gone, or leads elsewhere."""
        self.fast.changed.add(self)
        self.fast.forget_name(self._space, directory, name, len(name))
        if len(self._renamed) < MOST_AT_ONCE:
            self._renamed.add((directory, name))

    def settle(self) -> None:
        """What has changed is as it will be, for now."""
        for directory, name in self._renamed:
            self._learn_name(directory, name)
        self._renamed.clear()
        for ino in self._directories:
            inode = self._inode(ino)
            if inode is not None:
                self._learn_node(inode)
        self._directories.clear()

    def opened(self, device: int, ino: int, handle: Handle) -> None:
        """A descriptor stands for a directory, or an O_PATH open."""
        node = handle.node
        if node.mount is self._container.root_mount:
            fd = PATH_ONLY if handle.path_only else handle.fd
            self.fast.learn_host(self._space, device, ino, node.inode.ino, fd, 0, 0)
        self.fast.set_room(self.index, self._container.handles.room)

    def made(self, ino: int, fd: int, device: int, host_ino: int) -> None:
        """The fast path has opened a directory, or a file of the tree's own."""
        inode = self._inode(ino)
        if inode is None:
            raise LookupError(f"inode {ino}")
        if fd < 0:
            self._fs.by_host[device, host_ino] = inode
            return
        handles = self._container.handles
        handles.adopt(Node(self._container.root_mount, inode), fd, device, host_ino)
        self.fast.set_room(self.index, handles.room)

    def closed(self, device: int, ino: int) -> None:
        self.fast.forget_host(self._space, device, ino)

    # -- what is learnt

    def learn(self, missing: Missing) -> None:
        kind, ino, device, host_ino, name = missing
        if kind == MISSING_HOST:
            self._learn_host(device, host_ino)
            return
        if kind == MISSING_NAME:
            self._learn_name(ino, name)
            misses = self._misses[ino] = self._misses.get(ino, 0) + 1
            if misses == MISSES:
                self._learn_names(ino)
            return
        inode = self._inode(ino)
        if inode is None or not inode.nlink:
            return
        if kind == MISSING_LISTING:
            listing = self._fs.image.listings.get(ino)
            if listing is not None and self._of(ino) == self._image:
                self.fast.learn_listing(self._image, ino, listing.records, len(listing.records), len(listing.ends))
        elif kind == MISSING_FILE:
            self._learn_file(inode)
        else:
            self._learn_node(inode)

    def _inode(self, ino: int) -> Inode | None:
        found = self._fs.changed.get(ino)
        return self._fs.image.inodes[ino] if found is None and ino < self._next else found

    def _of(self, ino: int) -> int:
        """The space that an inode is known in."""
        if ino >= self._next or self._changed[ino >> 3] >> (ino & 7) & 1:
            return self._space
        return self._image

    def _learn_name(self, directory: int, name: bytes) -> None:
        inode = self._inode(directory)
        if inode is None or inode.children is None or not inode.nlink:
            return
        child = inode.children.get(name)
        self.fast.learn_name(self._of(directory), directory, name, len(name), 0 if child is None else child.ino)
        if child is not None:
            self._learn_node(self._fs.current(child))

    def _learn_names(self, directory: int) -> None:
        """All of a directory: of what is not among them it is known that it is not there."""
        inode = self._inode(directory)
        del self._misses[directory]
        if inode is None or inode.children is None or len(inode.children) > MOST_NAMES:
            return
        space, learn = self._of(directory), self.fast.learn_name
        generation = self.fast.names_generation()
        for name, child in inode.children.items():
            learn(space, directory, name, len(name), child.ino)
        self.fast.complete(space, directory, generation)

    def _learn_node(self, inode: Inode) -> None:
        if not inode.nlink:
            return
        ino, fs = inode.ino, self._fs
        target = inode.target or b""
        if len(target) >= self.fast.most_text:
            return
        parent = ROOT_INO if inode.parent is None else inode.parent.ino
        flags = 0 if inode.mode & 0o6111 or inode.xattrs else PLAIN
        if inode.content is None and inode.is_regular:
            flags |= LIVE
            packed = pack_stat(fs.dev, Filesystem.stat(fs, inode))  # the rest is the host's whenever it is asked for
        else:
            packed = fs.packed_stat(inode)
        self.fast.learn_node(self._of(ino), ino, parent, flags, packed, target, len(target))

    def _learn_file(self, inode: Inode) -> None:
        """Where its bytes are in its layer, once they have been opened: from then on it is known whose they are."""
        if type(inode.content) is not str:
            return
        host = os.stat(inode.content)
        if (host.st_dev, host.st_ino) not in self._fs.image.by_host:
            return
        path = os.fsencode(inode.content)
        self.fast.learn_file(self._of(inode.ino), inode.ino, path, len(path))

    def _learn_host(self, device: int, ino: int) -> None:
        fs, container, key = self._fs, self._container, (device, ino)
        handle = container.handles.find(device, ino)
        own = fs.by_host.get(key)
        if handle is not None:
            self.opened(device, ino, handle)
            if handle.node.mount is container.root_mount:
                self._learn_node(fs.current(handle.node.inode))
            return
        self.closed(device, ino)  # the host may have given the number of a file that is gone to another one
        if own is not None:
            if own.nlink and own.content is None and fs.changed.get(own.ino) is own:
                self.fast.learn_host(self._space, device, ino, own.ino, A_FILE, 0, 0)
                self._learn_node(own)
            return
        inode = fs.image.by_host.get(key)
        if inode is None or inode.ino in fs.changed or type(inode.content) is not str:
            return
        host = os.stat(inode.content)
        if (host.st_dev, host.st_ino) == key:
            self.fast.learn_host(
                self._image, device, ino, inode.ino, A_FILE, host.st_size, host.st_ctime_ns
            )
            self._learn_node(inode)


class Teacher:
    """Tells the fast path of tasks and of what they ask for."""

    def __init__(self, fast: FastPath, failed: Callable[[Exception], None]) -> None:
        """failed is told of what must not happen."""
        self._fast = fast
        self._failed = failed
        fast.made = self._made
        self._names: dict[Container, Names] = {}
        self._by_index: dict[int, Names] = {}
        self._free: list[int] = list(range(fast.trees))
        self._identities: dict[Credentials, int] = {}
        self._recent: tuple[Credentials | None, int] = None, 0

    def show(self, task: Task) -> Shown | None:
        """See platforms.base.Listener."""
        process = task.process
        container, files = process.container, task.files
        root = files.root
        if root.mount is not container.root_mount or root.inode.ino != ROOT_INO or container.overlaid:
            return None
        names = self._names.get(container)
        if names is None:
            if not self._free:
                return None
            names = self._names[container] = Names(self._fast, container, self._free.pop())
            self._by_index[names.index] = names
        names.refresh()
        identity = self._identity(task.credentials)
        if identity is None:
            return None
        cwd = files.cwd
        at = cwd.inode.ino if cwd.mount is root.mount else 0
        return Shown(names.index, identity, at, container.inside(process.pid), task.descriptors)

    def _identity(self, who: Credentials) -> int | None:
        recent, index = self._recent
        if recent is who:
            return index
        found = self._identities.get(who)
        if found is None:
            everywhere = who.effective >> CAP_DAC_OVERRIDE & 1
            if len(who.groups) > self._fast.groups or (not everywhere and who.effective >> CAP_DAC_READ_SEARCH & 1):
                return None
            if len(self._identities) >= self._fast.identities:
                self._identities.clear()
                self._fast.new_epoch()
            found = self._identities[who] = len(self._identities)
            groups = sorted(who.groups)
            self._fast.set_identity(
                found, everywhere, who.fsuid, who.fsgid, who.uid, who.euid, who.gid, who.egid,
                who.uid == who.fsuid and who.gid == who.fsgid, len(groups),
                *groups, *[0] * (self._fast.groups - len(groups)),
            )  # fmt: skip
        self._recent = who, found
        return found

    def _made(self, made: list[tuple[int, int, int, int, int]]) -> None:
        for index, ino, fd, device, host_ino in made:
            try:
                self._by_index[index].made(ino, fd, device, host_ino)
            except LookupError as error:  # cannot be: nothing has happened since. The descriptor is no good then
                self._failed(error)
                if fd >= 0:
                    os.close(fd)

    def teach(self, task: Task, missing: Missing | None) -> None:
        """See platforms.base.Listener."""
        changed = self._fast.changed
        while changed:
            changed.pop().settle()
        if missing is not None:
            names = self._names.get(task.process.container)
            if names is not None:
                names.learn(missing)

    def forget(self, container: Container) -> None:
        """It has ended."""
        names = self._names.pop(container, None)
        if names is not None:
            names.close()
            self._fast.changed.discard(names)
            del self._by_index[names.index]
            self._free.append(names.index)
