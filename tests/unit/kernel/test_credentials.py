"""Effects of changing ids and of execve on capabilities: capabilities(7)."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from pycontain.kernel.credentials import (
    CAP_CHOWN,
    CAP_MKNOD,
    CAP_NET_RAW,
    CAP_SETUID,
    CAP_SYS_ADMIN,
    DEFAULT_CAPABILITIES,
    FILE_CAPABILITIES,
    SECBIT_NO_SETUID_FIXUP,
    SECBIT_NOROOT,
    Credentials,
    file_capabilities,
)

ALICE = 1000
ROOT = Credentials.login(0, 0, frozenset({0}), DEFAULT_CAPABILITIES)
USER = Credentials.login(ALICE, ALICE, frozenset(), DEFAULT_CAPABILITIES)


def attribute(permitted: int, inheritable: int = 0, effective: bool = True) -> bytes:
    return struct.pack("<5I", 0x02000000 | effective, permitted, inheritable, 0, 0)


def test_login() -> None:
    assert ROOT.effective == ROOT.permitted == ROOT.bounding == DEFAULT_CAPABILITIES
    assert USER.effective == USER.permitted == 0
    assert not ROOT.has(CAP_SYS_ADMIN) and ROOT.has(CAP_SETUID) and not USER.has(CAP_SETUID)


def test_giving_up_root() -> None:
    assert ROOT.with_uids(ALICE, ALICE, ALICE).permitted == 0
    saved = ROOT.with_uids(ALICE, ALICE, 0)
    assert (saved.effective, saved.permitted) == (0, DEFAULT_CAPABILITIES)
    assert saved.with_uids(ALICE, 0, 0).effective == DEFAULT_CAPABILITIES
    kept = replace(ROOT, keep_capabilities=True).with_uids(ALICE, ALICE, ALICE)
    assert (kept.effective, kept.permitted) == (0, DEFAULT_CAPABILITIES)
    fixed = replace(ROOT, securebits=SECBIT_NO_SETUID_FIXUP).with_uids(ALICE, ALICE, ALICE)
    assert fixed.effective == DEFAULT_CAPABILITIES


def test_ambient_capabilities_end_with_root() -> None:
    ambient = replace(ROOT, inheritable=1, ambient=1, keep_capabilities=True)
    assert ambient.with_uids(ALICE, ALICE, ALICE).ambient == 0
    assert ambient.with_uids(0, ALICE, 0).ambient == 1


def test_file_system_ids_follow_and_carry_the_capabilities_of_files() -> None:
    assert ROOT.with_uids(0, ALICE, 0).fsuid == ALICE
    other = ROOT.with_fsuid(ALICE)
    assert other.effective == DEFAULT_CAPABILITIES & ~FILE_CAPABILITIES
    assert not other.has(CAP_CHOWN) and not other.has(CAP_MKNOD) and other.has(CAP_NET_RAW)
    assert other.with_fsuid(0).effective == DEFAULT_CAPABILITIES


def test_exec_of_an_ordinary_program() -> None:
    assert ROOT.after_exec(0o755, 0, 0) == (ROOT, False)
    new, secure = USER.after_exec(0o755, 0, 0)
    assert (new.euid, new.permitted, secure) == (ALICE, 0, False)
    restored, _ = ROOT.with_uids(ALICE, ALICE, 0).after_exec(0o755, 0, 0)
    assert (restored.suid, restored.permitted) == (ALICE, 0)


def test_exec_of_setuid_programs() -> None:
    new, secure = USER.after_exec(0o4755, 0, 0)
    assert (new.uid, new.euid, new.suid, new.fsuid, secure) == (ALICE, 0, 0, 0, True)
    assert new.effective == DEFAULT_CAPABILITIES
    new, secure = ROOT.after_exec(0o4755, ALICE, 0)
    assert (new.euid, new.effective, new.permitted, secure) == (ALICE, 0, DEFAULT_CAPABILITIES, True)
    new, secure = USER.after_exec(0o2755, 0, 50)
    assert (new.egid, new.sgid, new.fsgid, secure) == (50, 50, 50, True)
    assert USER.after_exec(0o2745, 0, 50)[0].egid == ALICE  # without group execution the bit is a lock's
    assert replace(USER, no_new_privs=True).after_exec(0o6755, 0, 0) == (
        replace(USER, no_new_privs=True),
        False,
    )


def test_exec_without_the_power_of_root() -> None:
    new, _ = replace(ROOT, securebits=SECBIT_NOROOT).after_exec(0o755, 0, 0)
    assert new.permitted == new.effective == 0


def test_exec_within_the_bounding_set() -> None:
    bounded = replace(ROOT, bounding=1 << CAP_CHOWN)
    assert bounded.after_exec(0o755, 0, 0)[0].permitted == 1 << CAP_CHOWN


def test_exec_keeps_ambient_capabilities() -> None:
    raw = 1 << CAP_NET_RAW
    ambient = replace(USER, permitted=raw, inheritable=raw, ambient=raw)
    new, secure = ambient.after_exec(0o755, 0, 0)
    assert (new.permitted, new.effective, new.ambient, secure) == (raw, raw, raw, False)
    assert ambient.after_exec(0o4755, 0, 0)[0].ambient == 0


def test_exec_of_files_with_capabilities() -> None:
    raw = 1 << CAP_NET_RAW
    new, secure = USER.after_exec(0o755, 0, 0, attribute(raw))
    assert (new.permitted, new.effective, secure) == (raw, raw, True)
    new, _ = USER.after_exec(0o755, 0, 0, attribute(raw, effective=False))
    assert (new.permitted, new.effective) == (raw, 0)
    with pytest.raises(PermissionError):
        USER.after_exec(0o755, 0, 0, attribute(1 << CAP_SYS_ADMIN))
    allowed = replace(USER, inheritable=raw)
    assert allowed.after_exec(0o755, 0, 0, attribute(0, raw))[0].permitted == raw
    assert replace(USER, no_new_privs=True).after_exec(0o755, 0, 0, attribute(raw))[0].permitted == 0


def test_file_capabilities() -> None:
    assert file_capabilities(None) is None
    assert file_capabilities(b"short") is None
    assert file_capabilities(struct.pack("<5I", 0x02000001, 1, 2, 4, 8)) == (1 | 4 << 32, 2 | 8 << 32, True)
    assert file_capabilities(struct.pack("<6I", 0x03000000, 1, 2, 0, 0, 1000)) == (1, 2, False)


def test_groups() -> None:
    who = Credentials.login(ALICE, 50, frozenset({7, 50}), 0)
    assert who.in_group(50) and who.in_group(7) and not who.in_group(8)
    assert who.with_gids(1, 2, 3).in_group(2)
