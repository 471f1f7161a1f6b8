"""/proc/sysvipc: the container's System V objects, as ipcs(1) and lsipc(1) read them. proc(5)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from pycontain.kernel.ipc import MSG, SEM, SHM, SystemObject
from pycontain.kernel.vfs.proctext import host_text

if TYPE_CHECKING:
    from pycontain.kernel.container import Container

# what follows struct ipc64_perm (48 bytes) in shmid64_ds, semid64_ds, msqid64_ds
SHM_STATUS = struct.Struct("<48xQqqqiiQ")  # size, atime, dtime, ctime, creator, last, attached
SEM_STATUS = struct.Struct("<48xq8xq8xQ")  # otime, ctime, semaphores
MSG_STATUS = struct.Struct("<48xqqqQQQii")  # stime, rtime, ctime, bytes, messages, limit, sender, receiver
MODE = struct.Struct("<20xI")
SHM_HEAD = (
    b"       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid"
    b"      atime      dtime      ctime                   rss                  swap\n"
)
SEM_HEAD = b"       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n"
MSG_HEAD = (
    b"       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid"
    b"      stime      rtime      ctime\n"
)


def resident(container: Container) -> dict[int, tuple[int, int]]:
    """Bytes of each shared memory that are in memory and in swap; the host tells them in this file only."""
    found: dict[int, tuple[int, int]] = {}
    for line in host_text("sysvipc/shm").splitlines()[1:]:
        words = line.split()
        if (SHM, int(words[1])) in container.ipc.objects:
            found[int(words[1])] = int(words[14]), int(words[15])
    return found


def text(container: Container, kind: str) -> bytes:
    """The file of this kind."""
    register = container.ipc
    lines = [{SHM: SHM_HEAD, SEM: SEM_HEAD, MSG: MSG_HEAD}[kind]]
    sizes = resident(container) if kind == SHM else {}
    for one in sorted(register.of_kind(kind), key=lambda one: one.index):
        status = register.status(one)
        if status is not None:
            lines.append(_line(container, one, status, sizes.get(one.number, (0, 0))))
    return b"".join(lines)


def _line(container: Container, one: SystemObject, status: bytearray, size: tuple[int, int]) -> bytes:
    head = one.key, one.number, MODE.unpack_from(status)[0]
    owner = one.uid, one.gid, one.cuid, one.cgid
    if one.kind == SHM:
        nbytes, atime, dtime, ctime, _, last, attached = SHM_STATUS.unpack_from(status)
        return b"%10d %10d  %4o %21d %5d %5d  %5d %5d %5d %5d %5d %10d %10d %10d %21d %21d\n" % (
            *head, nbytes, one.creator, container.inside(last), attached, *owner, atime, dtime, ctime, *size,
        )  # fmt: skip
    if one.kind == SEM:
        otime, ctime, count = SEM_STATUS.unpack_from(status)
        return b"%10d %10d  %4o %10d %5d %5d %5d %5d %10d %10d\n" % (*head, count, *owner, otime, ctime)
    stime, rtime, ctime, nbytes, count, _, sender, receiver = MSG_STATUS.unpack_from(status)
    return b"%10d %10d  %4o  %10d %10d %5d %5d %5d %5d %5d %5d %10d %10d %10d\n" % (
        *head, nbytes, count, container.inside(sender), container.inside(receiver), *owner, stime, rtime, ctime,
    )  # fmt: skip
