"""A served directory, asked as a guest's kernel asks (include/uapi/linux/fuse.h), and as a hostile one does."""

from __future__ import annotations

import errno
import json
import os
import resource
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pycontain.vm.share import HEADER, Share
from pycontain.vm.share_nodes import PART

LOOKUP, GETATTR, SETATTR, READLINK, SYMLINK, MKNOD, MKDIR, UNLINK, RMDIR, RENAME = (
    1,
    3,
    4,
    5,
    6,
    8,
    9,
    10,
    11,
    12,
)
OPEN, READ, WRITE, RELEASE, OPENDIR, READDIR, CREATE, FORGET = 14, 15, 16, 18, 27, 28, 35, 2


class Guest:
    def __init__(self, share: Share) -> None:
        self.share = share
        self.unique = 0

    def ask(self, operation: int, node: int, body: bytes = b"") -> bytes:
        """The reply's body; OSError where the reply is an error."""
        self.unique += 1
        request = HEADER.pack(HEADER.size + len(body), operation, self.unique, node, 0, 0, 1, 0) + body
        reply = self.share.answer(request)
        assert reply is not None
        length, error, unique = struct.unpack_from("<IiQ", reply)
        assert (length, unique) == (len(reply), self.unique)
        if error:
            raise OSError(-error, os.strerror(-error))
        return reply[16:]

    def lookup(self, name: bytes, node: int = 1) -> int:
        return int(struct.unpack_from("<Q", self.ask(LOOKUP, node, name + b"\0"))[0])

    def open(self, node: int, flags: int = os.O_RDONLY) -> int:
        return int(struct.unpack_from("<Q", self.ask(OPEN, node, struct.pack("<II", flags, 0)))[0])

    def read(self, node: int, handle: int, offset: int = 0, size: int = 4096) -> bytes:
        return self.ask(READ, node, struct.pack("<QQI20x", handle, offset, size))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "shared").mkdir()
    (tmp_path / "secret").write_text("outside")
    (tmp_path / "shared/file").write_text("inside")
    (tmp_path / "shared/link").symlink_to("../secret")
    (tmp_path / "shared/dir").mkdir()
    return tmp_path


@pytest.fixture
def guest(place: Path) -> Iterator[Guest]:
    share = Share(str(place / "shared"), read_only=False)
    yield Guest(share)
    share.close()


@contextmanager
def refused(code: int) -> Iterator[None]:
    with pytest.raises(OSError) as caught:
        yield
    assert caught.value.errno == code


def test_files_are_read_written_and_listed(guest: Guest, place: Path) -> None:
    node = guest.lookup(b"file")
    handle = guest.open(node, os.O_RDWR)
    assert guest.read(node, handle, 2) == b"side"
    guest.ask(WRITE, node, struct.pack("<QQI20x", handle, 2, 4) + b"....")
    guest.ask(RELEASE, node, struct.pack("<Q16x", handle))
    assert (place / "shared/file").read_text() == "in...."
    listing = guest.ask(OPENDIR, 1, bytes(8))
    entries = guest.ask(READDIR, 1, struct.pack("<QQI20x", struct.unpack_from("<Q", listing)[0], 0, 4096))
    for name in (b"file", b"link", b"dir", b".."):
        assert name in entries
    made = guest.ask(CREATE, 1, struct.pack("<IIII", os.O_WRONLY, 0o640, 0o022, 0) + b"new\0")
    assert struct.unpack_from("<Q", made)[0] > 1 and (place / "shared/new").stat().st_mode & 0o777 == 0o640
    guest.ask(RENAME, 1, struct.pack("<Q", guest.lookup(b"dir")) + b"new\0moved\0")
    guest.ask(UNLINK, guest.lookup(b"dir"), b"moved\0")
    guest.ask(RMDIR, 1, b"dir\0")
    assert sorted(os.listdir(place / "shared")) == ["file", "link"]


def test_nothing_outside_can_be_reached(guest: Guest) -> None:
    link = guest.lookup(b"link")
    assert guest.ask(READLINK, link) == b"../secret"  # the guest follows it, in its own tree
    with refused(errno.EPERM):
        guest.open(link)
    for name in (b"..", b".", b"", b"../secret", b"dir/../../secret"):
        with refused(errno.EINVAL):
            guest.lookup(name)
        with refused(errno.EINVAL):
            guest.ask(MKDIR, 1, struct.pack("<II", 0o755, 0) + name + b"\0")
    with refused(errno.EINVAL):  # truncate(2) would follow it
        guest.ask(SETATTR, link, struct.pack("<IIQQQQQQIIIIIIII", 8, 0, 0, 0, *[0] * 12))


def test_devices_are_not_made(guest: Guest) -> None:
    with refused(errno.EPERM):
        guest.ask(MKNOD, 1, struct.pack("<IIII", 0o020666, os.makedev(1, 3), 0, 0) + b"null\0")


def test_a_pipe_does_not_hold_us_up(guest: Guest, place: Path) -> None:
    os.mkfifo(place / "shared/pipe")
    with refused(errno.EPERM):
        guest.open(guest.lookup(b"pipe"))


def test_made_up_numbers_and_short_requests_are_errors(guest: Guest) -> None:
    with refused(errno.ESTALE):
        guest.ask(GETATTR, 99)
    with refused(errno.EINVAL):
        guest.read(1, 4711)  # no handle of ours
    with refused(errno.EINVAL):
        guest.ask(OPEN, guest.lookup(b"file"), b"x")
    with refused(errno.ENOSYS):
        guest.ask(4000, 1)
    assert guest.share.answer(b"short") is None


def test_what_is_forgotten_is_gone(guest: Guest) -> None:
    node = guest.lookup(b"file")
    assert guest.lookup(b"file") == node
    for count in (1, 1):
        guest.ask(GETATTR, node)
        forget = HEADER.pack(HEADER.size + 8, FORGET, 1, node, 0, 0, 1, 0) + struct.pack("<Q", count)
        assert guest.share.answer(forget) is None
    with refused(errno.ESTALE):
        guest.ask(GETATTR, node)


def test_a_read_only_share(place: Path) -> None:
    share = Share(str(place / "shared"), read_only=True)
    guest = Guest(share)
    node = guest.lookup(b"file")
    assert guest.read(node, guest.open(node)) == b"inside"
    for operation, body in (
        (MKDIR, struct.pack("<II", 0o755, 0) + b"x\0"),
        (UNLINK, b"file\0"),
        (SYMLINK, b"x\0y\0"),
        (CREATE, struct.pack("<IIII", 1, 0o644, 0, 0) + b"x\0"),
    ):
        with refused(errno.EROFS):
            guest.ask(operation, 1, body)
    with refused(errno.EROFS):
        guest.open(node, os.O_RDWR)
    with refused(errno.EROFS):
        guest.open(node, os.O_TRUNC)
    share.close()


def test_a_share_goes_on_after_a_snapshot(guest: Guest, place: Path) -> None:
    shared = place / "shared"
    (shared / "dir/deep").write_text("deep")
    (shared / "other").write_text("other")
    deep = guest.lookup(b"deep", guest.lookup(b"dir"))
    handle = guest.open(deep, os.O_RDWR | os.O_TRUNC)
    guest.ask(WRITE, deep, struct.pack("<QQI20x", handle, 0, 4) + b"kept")
    node, other = guest.lookup(b"file"), guest.lookup(b"other")
    state = json.loads(json.dumps(guest.share.state()))
    (shared / "other").unlink()
    (shared / "file").rename(shared / "old")
    (shared / "file").symlink_to("../secret")  # another file of the same name
    share = Share.restored(state)
    again = Guest(share)
    assert again.read(deep, handle) == b"kept"  # not emptied a second time
    for gone in (node, other):
        with refused(errno.ESTALE):
            again.ask(GETATTR, gone)
    assert again.lookup(b"old") not in (1, node, other, deep)
    (shared / "dir").rename(shared / "moved")
    (shared / "dir").symlink_to(place)
    share.close()
    share = Share.restored(state)
    with refused(errno.ESTALE):  # no link is followed on the way
        Guest(share).ask(GETATTR, deep)
    share.close()


def test_a_guest_that_wants_more_descriptors_than_its_part(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are the server's, which other machines need as well."""
    for number in range(40):
        (place / f"shared/n{number}").write_text(str(number))
    monkeypatch.setattr(resource, "getrlimit", lambda which: (20 * PART, 1000))
    share = Share(str(place / "shared"), read_only=False)
    guest = Guest(share)
    nodes = [guest.lookup(b"n%d" % number) for number in range(19)]
    with pytest.raises(OSError) as caught:
        guest.lookup(b"n20")
    assert caught.value.errno == errno.ENFILE
    handles = [guest.open(nodes[0]) for _ in range(20)]
    with pytest.raises(OSError) as caught:
        guest.open(nodes[0])
    assert caught.value.errno == errno.ENFILE
    lists = [guest.ask(OPENDIR, 1, bytes(8)) for _ in range(20)]
    with pytest.raises(OSError) as caught:
        guest.ask(OPENDIR, 1, bytes(8))
    assert caught.value.errno == errno.ENFILE and len(set(lists)) == 20
    # what it lets go of it may have again
    assert (
        share.answer(HEADER.pack(HEADER.size + 8, FORGET, 99, nodes[0], 0, 0, 1, 0) + struct.pack("<Q", 1))
        is None
    )
    guest.ask(RELEASE, nodes[0], struct.pack("<Q16x", handles[0]))
    assert guest.read(guest.lookup(b"n20"), guest.open(nodes[1])) == b"1"
    share.close()
