"""Who may do what to an inode: the checks of path_resolution(7), chmod(2), unlink(2)."""

from __future__ import annotations

import errno

from pycontain.kernel.abi import S_IFDIR, S_IFMT
from pycontain.kernel.credentials import (
    CAP_CHOWN,
    CAP_DAC_OVERRIDE,
    CAP_DAC_READ_SEARCH,
    CAP_FOWNER,
    CAP_FSETID,
    Credentials,
)
from pycontain.kernel.vfs.filesystem import fail
from pycontain.kernel.vfs.mount import Node
from pycontain.unionfs.inode import Inode

EXECUTE, WRITE, READ = 1, 2, 4
STICKY = 0o1000


def may(inode: Inode, who: Credentials, wanted: int, uid: int | None = None, gid: int | None = None) -> bool:
    """Does the inode grant READ, WRITE, EXECUTE? uid and gid replace the fs ids for access(2)."""
    mode = inode.mode
    if who.effective >> CAP_DAC_OVERRIDE & 1:
        return bool(not wanted & EXECUTE or mode & 0o111 or mode & S_IFMT == S_IFDIR)
    if inode.uid == (who.fsuid if uid is None else uid):
        granted = mode >> 6
    elif inode.gid == (who.fsgid if gid is None else gid) or inode.gid in who.groups:
        granted = mode >> 3
    else:
        granted = mode
    if not wanted & ~granted & 7:
        return True
    if who.effective >> CAP_DAC_READ_SEARCH & 1:
        return wanted == READ or (mode & S_IFMT == S_IFDIR and not wanted & WRITE)
    return False


def need(inode: Inode, who: Credentials, wanted: int) -> None:
    if not may(inode, who, wanted):
        fail(errno.EACCES)


def is_owner(inode: Inode, who: Credentials) -> bool:
    return who.fsuid == inode.uid or who.has(CAP_FOWNER)


def need_removable(directory: Inode, victim: Inode, who: Credentials) -> None:
    """Write permission on the directory, and ownership where it is sticky."""
    need(directory, who, WRITE | EXECUTE)
    if directory.mode & STICKY and not (who.fsuid in (victim.uid, directory.uid) or who.has(CAP_FOWNER)):
        fail(errno.EPERM)


def new_mode(directory: Inode, who: Credentials, mode: int) -> int:
    """Permission bits of a new file: the setgid bit of a group that is not the maker's is not given away."""
    if (
        directory.mode & 0o2000
        and mode & 0o2010 == 0o2010
        and not (who.in_group(directory.gid) or who.has(CAP_FSETID))
    ):
        return mode & ~0o2000
    return mode


def drop_privileges(node: Node, who: Credentials) -> None:
    """Somebody writes to a file: its setuid and setgid bits go (unless the writer has CAP_FSETID), and its
    capabilities in any case. Done when it is opened for writing, since the writes themselves are not seen."""
    inode = node.inode
    mode = inode.mode
    if mode & 0o6000 and not who.has(CAP_FSETID):
        mode &= ~0o4000
        if mode & 0o2000 and (mode & 0o010 or not who.in_group(inode.gid)):
            mode &= ~0o2000
        if mode != inode.mode:
            node.mount.fs.set_attr(inode, mode=mode)
    if inode.xattrs and b"security.capability" in inode.xattrs:
        node.mount.fs.set_xattr(inode, b"security.capability", None)


def changed_owner(inode: Inode, who: Credentials, uid: int | None, gid: int | None) -> int:
    """Check a chown; returns the mode afterwards (setuid and setgid bits of files are cleared)."""
    if not who.has(CAP_CHOWN):
        if uid is not None and uid != inode.uid:
            fail(errno.EPERM)
        if gid is not None and (who.fsuid != inode.uid or (gid != inode.gid and not who.in_group(gid))):
            fail(errno.EPERM)
        if uid is not None and who.fsuid != inode.uid:
            fail(errno.EPERM)
    mode = inode.mode
    if mode & S_IFMT != S_IFDIR:
        mode &= ~0o4000
        if mode & 0o010:
            mode &= ~0o2000
    return mode
