"""inotify(7), made of two sources.

What changes names and attributes comes through the kernel and is told at once. What only moves bytes does not: for
that the kernel watches the backing file of a file that is open for writing, with an inotify descriptor of its own
on the host; on a bind mount it watches the host's file or directory itself, so that changes from outside are seen.

A program's inotify descriptor is the read end of a pipe in packet mode, one event for each packet. When the program
closes it, our next write fails, and the instance is forgotten.

Missing: IN_ACCESS and IN_CLOSE_NOWRITE of files of an image (their backing files are shared by containers).
"""

from __future__ import annotations

import errno
import os
import select
import struct
from typing import TYPE_CHECKING, NamedTuple

from pycontain.kernel import libc
from pycontain.kernel.abi import S_IFDIR, S_IFMT, S_IFREG
from pycontain.kernel.vfs.filesystem import fail
from pycontain.kernel.vfs.hostfs import HostFs
from pycontain.kernel.vfs.mount import Mount, Node
from pycontain.kernel.vfs.unionfs import UnionFs
from pycontain.unionfs.inode import Inode

if TYPE_CHECKING:
    from pycontain.kernel.loop import Loop

IN_ACCESS, IN_MODIFY, IN_ATTRIB, IN_CLOSE_WRITE, IN_CLOSE_NOWRITE, IN_OPEN = 1, 2, 4, 8, 0x10, 0x20
IN_MOVED_FROM, IN_MOVED_TO, IN_CREATE, IN_DELETE, IN_DELETE_SELF, IN_MOVE_SELF = (
    0x40,
    0x80,
    0x100,
    0x200,
    0x400,
    0x800,
)
IN_ALL_EVENTS, IN_UNMOUNT, IN_Q_OVERFLOW, IN_IGNORED = 0xFFF, 0x2000, 0x4000, 0x8000
IN_ONLYDIR, IN_DONT_FOLLOW, IN_EXCL_UNLINK, IN_MASK_CREATE = 0x01000000, 0x02000000, 0x04000000, 0x10000000
IN_MASK_ADD, IN_ISDIR, IN_ONESHOT = 0x20000000, 0x40000000, 0x80000000
EVENT = struct.Struct("<iIII")
HOST_DATA = IN_MODIFY | IN_CLOSE_WRITE
QUEUE_BYTES = 1 << 20
MAX_WATCHES = 65536
MAX_INSTANCES = 512  # each is a descriptor of the kernel's
FIRST_SWEEP = 16  # instances that are made before it is looked which of them nobody has open any more
O_DIRECT = 0o40000

Key = tuple[int, int]  # mount number, inode number


class Watch(NamedTuple):
    instance: Instance
    descriptor: int
    mask: int


class Instance:
    """An inotify descriptor of a program; fd: the write end."""

    __slots__ = ("by_key", "fd", "identity", "keys", "last", "next")

    def __init__(self, fd: int, identity: tuple[int, int]) -> None:
        self.fd = fd
        self.identity = identity
        self.keys: dict[int, Key] = {}  # watch descriptor -> what it watches
        self.by_key: dict[Key, int] = {}
        self.next = 1
        self.last = b""

    def put(self, descriptor: int, mask: int, cookie: int, name: bytes) -> bool:
        """False if nobody reads any more. An event equal to the last unread one is dropped, as inotify does."""
        padded = name.ljust((len(name) // 16 + 1) * 16, b"\0") if name else b""
        event = EVENT.pack(descriptor, mask, cookie, len(padded)) + padded
        if event == self.last and libc.readable_bytes(self.fd):
            return True
        try:
            os.write(self.fd, event)
        except BlockingIOError:
            return True  # full: events are lost, as after IN_Q_OVERFLOW
        except OSError:
            return False
        self.last = event
        return True


class Watches:
    """Every watch of a container. False while there is none, so that calls can pass by quickly."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._instances: dict[tuple[int, int], Instance] = {}
        self._watches: dict[Key, list[Watch]] = {}
        self._host = -1
        self._host_targets: dict[
            int, tuple[Mount, Inode]
        ] = {}  # the host's watch descriptor -> whose events they are
        self._cookie = 0
        self._sweep_at = FIRST_SWEEP

    def __bool__(self) -> bool:
        return bool(self._watches)

    # -- instances

    def create(self, nonblock: bool) -> int:
        """A new instance; returns the read end for the program. Raises EMFILE."""
        if len(self._instances) >= self._sweep_at:
            self._sweep()
            if len(self._instances) >= MAX_INSTANCES:
                fail(errno.EMFILE)
        reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK | O_DIRECT)
        os.set_blocking(reader, not nonblock)
        libc.set_pipe_size(writer, QUEUE_BYTES)
        info = os.fstat(reader)
        self._instances[info.st_dev, info.st_ino] = Instance(writer, (info.st_dev, info.st_ino))
        return reader

    def _sweep(self) -> None:
        """Forget the instances that programs have closed."""
        ends = select.poll()
        by_fd = {instance.fd: instance for instance in self._instances.values()}
        for fd in by_fd:
            ends.register(fd, 0)
        for fd, _ in ends.poll(0):  # an error: there is no reader
            self._forget(by_fd[fd])
        self._sweep_at = min(max(FIRST_SWEEP, 2 * len(self._instances)), MAX_INSTANCES)

    def find(self, info: os.stat_result) -> Instance:
        found = self._instances.get((info.st_dev, info.st_ino))
        if found is None:
            fail(errno.EINVAL)
        return found

    def add(self, instance: Instance, node: Node, mask: int) -> int:
        mount, inode = node
        key = mount.number, inode.ino
        old = instance.by_key.get(key)
        if old is not None:
            if mask & IN_MASK_CREATE:
                fail(errno.EEXIST)
            watches = self._watches[key]
            for index, watch in enumerate(watches):
                if watch.instance is instance:
                    merged = watch.mask | mask if mask & IN_MASK_ADD else mask
                    watches[index] = watch._replace(mask=merged & ~IN_MASK_ADD)
            return old
        if len(self._watches) >= MAX_WATCHES:
            fail(errno.ENOSPC)
        descriptor, instance.next = instance.next, instance.next + 1
        instance.keys[descriptor] = key
        instance.by_key[key] = descriptor
        self._watches.setdefault(key, []).append(Watch(instance, descriptor, mask))
        self._watch_host(mount, inode)
        return descriptor

    def remove(self, instance: Instance, descriptor: int) -> None:
        key = instance.keys.get(descriptor)
        if key is None:
            fail(errno.EINVAL)
        self._drop(key, instance)
        instance.put(descriptor, IN_IGNORED, 0, b"")

    def _drop(self, key: Key, instance: Instance) -> None:
        descriptor = instance.by_key.pop(key, None)
        if descriptor is not None:
            instance.keys.pop(descriptor, None)
        rest = [w for w in self._watches.get(key, []) if w.instance is not instance]
        if rest:
            self._watches[key] = rest
        else:
            self._watches.pop(key, None)

    def _forget(self, instance: Instance) -> None:
        for key in list(instance.by_key):
            self._drop(key, instance)
        os.close(instance.fd)
        self._instances.pop(instance.identity, None)

    def close(self) -> None:
        for instance in list(self._instances.values()):
            self._forget(instance)
        if self._host >= 0:
            self._loop.unregister(self._host)
            os.close(self._host)
            self._host = -1

    # -- telling

    def _tell(self, key: Key, mask: int, name: bytes = b"", cookie: int = 0) -> None:
        for watch in list(self._watches.get(key, ())):
            if not watch.mask & mask & IN_ALL_EVENTS and not mask & (IN_IGNORED | IN_UNMOUNT):
                continue
            if not watch.instance.put(watch.descriptor, mask, cookie, name):
                self._forget(watch.instance)
            elif watch.mask & IN_ONESHOT:
                self.remove(watch.instance, watch.descriptor)

    def entry(self, directory: Node, name: bytes, mask: int, inode: Inode, cookie: int = 0) -> None:
        """An event of a directory's entry. On a host directory the host tells by itself."""
        if isinstance(directory.mount.fs, HostFs):
            return
        self._drain()
        if inode.mode & S_IFMT == S_IFDIR:
            mask |= IN_ISDIR
        self._tell((directory.mount.number, directory.inode.ino), mask, name, cookie)

    def itself(self, mount: Mount, inode: Inode, mask: int) -> None:
        """An event of a file, told to its own watches and to those of its directory."""
        if isinstance(mount.fs, HostFs):
            return
        self._drain()
        self._both(mount, inode, mask)

    def _both(self, mount: Mount, inode: Inode, mask: int) -> None:
        kind = IN_ISDIR if inode.mode & S_IFMT == S_IFDIR else 0
        if inode.parent is not None:
            self._tell((mount.number, inode.parent.ino), mask | kind, inode.name)
        self._tell((mount.number, inode.ino), mask | kind)

    def created(self, directory: Node, name: bytes, inode: Inode) -> None:
        self.entry(directory, name, IN_CREATE, inode)

    def removed(self, directory: Node, name: bytes, inode: Inode) -> None:
        """After the name has gone; inode.nlink tells whether the file has gone too."""
        self._drain()
        key = directory.mount.number, inode.ino
        if inode.children is None:
            self._tell(key, IN_ATTRIB)  # its number of links has changed
        if inode.nlink == 0:
            self._tell(key, IN_DELETE_SELF)
            for watch in list(self._watches.get(key, ())):
                self.remove(watch.instance, watch.descriptor)
        self.entry(directory, name, IN_DELETE, inode)

    def moved(self, old: Node, old_name: bytes, new: Node, new_name: bytes, inode: Inode) -> None:
        self._cookie += 1
        self.entry(old, old_name, IN_MOVED_FROM, inode, self._cookie)
        self.entry(new, new_name, IN_MOVED_TO, inode, self._cookie)
        if not isinstance(new.mount.fs, HostFs):
            self._tell((new.mount.number, inode.ino), IN_MOVE_SELF)

    def opened(self, mount: Mount, inode: Inode, write: bool, truncated: bool) -> None:
        """Before the program has the descriptor."""
        if isinstance(mount.fs, HostFs):
            return
        if truncated:
            self.itself(mount, inode, IN_MODIFY)
        self.itself(mount, inode, IN_OPEN)
        if write:
            key = mount.number, inode.ino
            above = inode.parent is not None and (mount.number, inode.parent.ino) in self._watches
            if above or key in self._watches:
                self._watch_host(mount, inode)

    # -- the host's side

    def _watch_host(self, mount: Mount, inode: Inode) -> None:
        fs = mount.fs
        current = fs.current(inode)
        if isinstance(fs, HostFs):
            mask = IN_ALL_EVENTS
        elif isinstance(fs, UnionFs) and current.content is None and current.mode & S_IFMT == S_IFREG:
            mask = HOST_DATA
        else:
            return
        if self._host < 0:
            self._host = libc.inotify_init()
            self._loop.register(self._host, self._ready)
        try:
            pinned = fs.pin(current)
        except OSError:
            return  # it has lost its name: no event can come
        try:
            descriptor = libc.inotify_add_watch(self._host, f"/proc/self/fd/{pinned}", mask)
        except PermissionError:
            return  # the host lets us look at its attributes only
        finally:
            os.close(pinned)
        self._host_targets[descriptor] = (mount, current)

    def _drain(self) -> None:
        """What the host has to tell happened before what we are about to tell."""
        if self._host >= 0:
            self._ready(0)

    def _ready(self, events: int) -> None:
        try:
            data = os.read(self._host, 1 << 16)
        except BlockingIOError:
            return
        at = 0
        while at < len(data):
            descriptor, mask, cookie, size = EVENT.unpack_from(data, at)
            name = data[at + EVENT.size : at + EVENT.size + size].rstrip(b"\0")
            at += EVENT.size + size
            target = self._host_targets.get(descriptor)
            if target is None:
                continue
            if mask & IN_IGNORED:
                del self._host_targets[descriptor]
                continue
            mount, inode = target
            if isinstance(mount.fs, HostFs):
                self._tell((mount.number, inode.ino), mask & (IN_ALL_EVENTS | IN_ISDIR), name, cookie)
            else:
                self._both(mount, mount.fs.current(inode), mask & HOST_DATA)
