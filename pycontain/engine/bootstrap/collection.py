"""The files of an image to be, by their paths in it, which are the host's."""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Callable, Iterator
from typing import NamedTuple

from pycontain.errors import ContainerError

_MAX_LINKS = 40


class Item(NamedTuple):
    """One entry. mode with type bits; mtime: ns; source: host path of a regular file's content, or data."""

    mode: int
    mtime: int = 0
    source: str = ""
    data: bytes = b""
    target: str = ""


class Collection:
    """Paths (absolute, normal) -> items. Whatever is added brings its directories and the links on the way.

    skipped: files that we may not read, or that are neither file, directory nor link.
    """

    def __init__(self) -> None:
        self.items: dict[str, Item] = {"/": Item(stat.S_IFDIR | 0o755)}
        self.skipped: list[str] = []

    def directory(self, path: str, mode: int = 0o755) -> None:
        """A directory, whether or not the host has it."""
        self._parents(path)
        self.items[path] = Item(stat.S_IFDIR | mode)

    def text(self, path: str, content: str, mode: int = 0o644) -> None:
        """A regular file with this content."""
        self._parents(path)
        self.items[path] = Item(stat.S_IFREG | mode, data=content.encode())

    def symlink(self, path: str, target: str) -> None:
        """A symbolic link, unless something of this name is there."""
        if path not in self.items:
            self._parents(path)
            self.items[path] = Item(stat.S_IFLNK | 0o777, target=target)

    def path(self, path: str) -> str:
        """A file of the host, or a directory without what is in it, and every link that leads there.

        Returns the path behind the links. FileNotFoundError where there is none.
        """
        todo = [part for part in os.path.abspath(path).split("/") if part]
        done, links = "/", 0
        while todo:
            part = todo.pop(0)
            if part == "..":
                done = posixpath.dirname(done)
                continue
            here = posixpath.join(done, part)
            info = os.lstat(here)
            if stat.S_ISLNK(info.st_mode):
                links += 1
                if links > _MAX_LINKS:
                    raise ContainerError(f"bootstrap: collect {path}: too many symbolic links")
                target = os.readlink(here)
                self.items.setdefault(here, Item(stat.S_IFLNK | 0o777, _seconds(info), target=target))
                todo[:0] = [p for p in target.split("/") if p and p != "."]
                if target.startswith("/"):
                    done = "/"
                continue
            self._add(here, info)
            done = here
        return done

    def tree(self, path: str, keep: Callable[[str], bool] = lambda path: True) -> Iterator[str]:
        """A directory with all in it that keep(path) agrees to; yields the regular files."""
        top = self.path(path)
        if not os.path.isdir(top):
            yield top
            return
        for folder, names, files in os.walk(top, onerror=self._unreadable):
            names[:] = sorted(name for name in names if keep(f"{folder}/{name}"))
            for name in names:
                here = f"{folder}/{name}"
                if os.path.islink(here):
                    self._link(here)
                else:
                    self._add(here, os.lstat(here))
            for name in sorted(files):
                here = f"{folder}/{name}"
                if not keep(here):
                    continue
                if os.path.islink(here):
                    self._link(here)
                elif self._add(here, os.lstat(here)):
                    yield here

    def __contains__(self, path: str) -> bool:
        return path in self.items

    @property
    def newest(self) -> int:
        """The latest time of a file, ns since the epoch: the image's own."""
        return max((item.mtime for item in self.items.values()), default=0)

    def sorted(self) -> list[tuple[str, Item]]:
        """All entries, parents before children. Directories get the time of the newest file in them."""
        times: dict[str, int] = {}
        for path, item in self.items.items():
            parent = posixpath.dirname(path)
            if not stat.S_ISDIR(item.mode):
                times[parent] = max(times.get(parent, 0), item.mtime)
        newest = self.newest
        return [
            (path, item if item.mtime else item._replace(mtime=times.get(path) or newest))
            for path, item in sorted(self.items.items(), key=lambda pair: pair[0].split("/"))
        ]

    def _parents(self, path: str) -> None:
        parent = posixpath.dirname(path)
        if parent not in self.items:
            try:
                self.path(parent)
            except FileNotFoundError:
                self._parents(parent)
                self.items[parent] = Item(stat.S_IFDIR | 0o755)

    def _link(self, path: str) -> None:
        """A link inside a tree; where it leads out of the tree, that comes along if it can."""
        try:
            self.path(path)
        except OSError:
            info = os.lstat(path)
            self.items.setdefault(path, Item(stat.S_IFLNK | 0o777, _seconds(info), target=os.readlink(path)))

    def _add(self, path: str, info: os.stat_result) -> bool:
        """Whether it is a regular file that is in the collection now."""
        if stat.S_ISDIR(info.st_mode):
            # anybody may look into it: what the image has of a private directory is there to be used
            self.items.setdefault(path, Item(stat.S_IFDIR | (info.st_mode & 0o7777 | 0o555)))
            return False
        if not stat.S_ISREG(info.st_mode) or not os.access(path, os.R_OK):
            if path not in self.skipped:
                self.skipped.append(path)
            return False
        mode = stat.S_IFREG | (info.st_mode & 0o7777 | 0o444)
        self.items.setdefault(path, Item(mode, _seconds(info), source=path))
        return True

    def _unreadable(self, error: OSError) -> None:
        self.skipped.append(str(error.filename))


def _seconds(info: os.stat_result) -> int:
    return int(info.st_mtime) * 10**9
