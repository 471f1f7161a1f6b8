"""Who a process is, as the container sees it: credentials(7), capabilities(7). Values are immutable."""

from __future__ import annotations

import errno
import os
import struct
from dataclasses import dataclass, replace

CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_FSETID, CAP_KILL, CAP_SETGID, CAP_SETUID = (
    range(8)
)
CAP_SETPCAP, CAP_NET_BIND_SERVICE, CAP_NET_RAW, CAP_SYS_CHROOT, CAP_MKNOD, CAP_AUDIT_WRITE, CAP_SETFCAP = (
    8,
    10,
    13,
    18,
    27,
    29,
    31,
)
CAP_LINUX_IMMUTABLE, CAP_IPC_LOCK, CAP_IPC_OWNER, CAP_SYS_ADMIN, CAP_SYS_BOOT = 9, 14, 15, 21, 22
CAP_SYS_RESOURCE, CAP_MAC_OVERRIDE = 24, 32
# what a file system user id of 0 brings (capability.h, CAP_FS_MASK)
FILE_CAPABILITIES = sum(
    1 << c
    for c in (
        CAP_CHOWN,
        CAP_DAC_OVERRIDE,
        CAP_DAC_READ_SEARCH,
        CAP_FOWNER,
        CAP_FSETID,
        CAP_LINUX_IMMUTABLE,
        CAP_MKNOD,
        CAP_MAC_OVERRIDE,
    )
)
SECBIT_NOROOT, SECBIT_NO_SETUID_FIXUP = 1, 4
SECUREBITS_LOCKS, SECUREBITS_ALL = 0xAAA, 0xFFF
OVERFLOW_ID = 65534  # of a user who has no number inside
CAP_LAST = 40
CAP_NAMES = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
]

# Docker's default set, moby profiles/capabilities
DEFAULT_CAPABILITIES = sum(
    1 << c
    for c in (
        CAP_CHOWN,
        CAP_DAC_OVERRIDE,
        CAP_FOWNER,
        CAP_FSETID,
        CAP_KILL,
        CAP_SETGID,
        CAP_SETUID,
        CAP_SETPCAP,
        CAP_NET_BIND_SERVICE,
        CAP_NET_RAW,
        CAP_SYS_CHROOT,
        CAP_MKNOD,
        CAP_AUDIT_WRITE,
        CAP_SETFCAP,
    )
)
ALL_CAPABILITIES = (1 << (CAP_LAST + 1)) - 1


def file_capabilities(value: bytes | None) -> tuple[int, int, bool] | None:
    """(permitted, inheritable, effective) of a security.capability attribute (struct vfs_cap_data, revision 2 or 3)."""
    if value is None or len(value) not in (20, 24):
        return None
    magic, low, low_inheritable, high, high_inheritable = struct.unpack_from("<5I", value)
    return low | high << 32, low_inheritable | high_inheritable << 32, bool(magic & 1)


@dataclass(frozen=True, slots=True)
class Credentials:
    uid: int = 0
    euid: int = 0
    suid: int = 0
    fsuid: int = 0
    gid: int = 0
    egid: int = 0
    sgid: int = 0
    fsgid: int = 0
    groups: frozenset[int] = frozenset()
    repeated: tuple[int, ...] = ()  # all of them in order, where setgroups(2) was given one twice
    permitted: int = 0
    effective: int = 0
    inheritable: int = 0
    bounding: int = 0
    ambient: int = 0
    securebits: int = 0
    no_new_privs: bool = False
    keep_capabilities: bool = False

    @classmethod
    def login(cls, uid: int, gid: int, groups: frozenset[int], bounding: int) -> Credentials:
        """The first process of a container run as this user: only root starts with capabilities."""
        held = bounding if uid == 0 else 0
        return cls(uid, uid, uid, uid, gid, gid, gid, gid, groups, (), held, held, 0, bounding)

    def has(self, capability: int) -> bool:
        return bool(self.effective >> capability & 1)

    def listed_groups(self) -> list[int]:
        return list(self.repeated or sorted(self.groups))

    def in_group(self, gid: int) -> bool:
        return gid == self.fsgid or gid in self.groups

    def with_uids(self, uid: int, euid: int, suid: int) -> Credentials:
        """New user ids with their effect on capabilities (capabilities(7), Effect of user ID changes)."""
        permitted, effective, ambient = self.permitted, self.effective, self.ambient
        if not self.securebits & SECBIT_NO_SETUID_FIXUP:
            if 0 in (self.uid, self.euid, self.suid) and 0 not in (uid, euid, suid):
                if not self.keep_capabilities:
                    permitted = effective = 0
                ambient = 0
            if self.euid == 0 and euid != 0:
                effective = 0
            elif self.euid != 0 and euid == 0:
                effective = permitted
        return replace(
            self,
            uid=uid,
            euid=euid,
            suid=suid,
            fsuid=euid,
            permitted=permitted,
            effective=effective,
            ambient=ambient,
        )

    def with_fsuid(self, uid: int) -> Credentials:
        """A new file system user id, with its effect on the capabilities that concern files."""
        effective = self.effective
        if not self.securebits & SECBIT_NO_SETUID_FIXUP:
            if self.fsuid == 0 and uid != 0:
                effective &= ~FILE_CAPABILITIES
            elif self.fsuid != 0 and uid == 0:
                effective |= self.permitted & FILE_CAPABILITIES
        return replace(self, fsuid=uid, effective=effective)

    def with_gids(self, gid: int, egid: int, sgid: int) -> Credentials:
        return replace(self, gid=gid, egid=egid, sgid=sgid, fsgid=egid)

    def after_exec(
        self, mode: int, owner: int, group: int, capabilities: bytes | None = None
    ) -> tuple[Credentials, bool]:
        """The credentials after execve of a file, and whether the dynamic linker must be careful (AT_SECURE).

        capabilities: the file's security.capability. Raises EPERM where it wants more than may be had.
        """
        euid, egid = self.euid, self.egid
        if not self.no_new_privs:
            if mode & 0o4000:
                euid = owner
            if mode & 0o2010 == 0o2010:
                egid = group
        ambient = 0 if (euid, egid) != (self.euid, self.egid) else self.ambient
        held = file_capabilities(capabilities) if not self.no_new_privs else None
        if held is not None and not (euid == 0 and self.uid != 0):
            ambient = 0
        gained = 0
        if held is not None:
            gained = held[0] & self.bounding | held[1] & self.inheritable
            if held[2] and held[0] & ~gained:
                raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        root = 0 in (self.uid, euid) and not self.securebits & SECBIT_NOROOT
        if root and (held is None or self.uid == 0):  # not a setuid file with a set of its own
            permitted = self.inheritable | self.bounding
            effective = permitted if euid == 0 else ambient
        else:
            permitted = gained | ambient
            effective = permitted if held is not None and held[2] else ambient
        secure = (euid, egid) != (self.uid, self.gid) or (self.uid != 0 and bool(permitted & ~ambient))
        return (
            replace(
                self,
                euid=euid,
                suid=euid,
                fsuid=euid,
                egid=egid,
                sgid=egid,
                fsgid=egid,
                permitted=permitted,
                effective=effective,
                ambient=ambient,
                keep_capabilities=False,
            ),
            secure,
        )
