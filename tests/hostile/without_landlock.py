"""Run a program on a host that seems to have no Landlock and no pidfd_getfd: python3 without_landlock.py PROGRAM ARGS…

A filter answers ENOSYS to Landlock's three calls, as kernels before 5.13 do, and those that have it switched off
EOPNOTSUPP; and EPERM to pidfd_getfd, as under Docker's default profile.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
REFUSED = {438: errno.EPERM, 444: errno.ENOSYS, 445: errno.ENOSYS, 446: errno.ENOSYS}
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, ERROR = 0x7FFF0000, 0x00050000


def main(words: list[str]) -> None:
    code = [(LOAD, 0, 0, 0)]
    for number, error in REFUSED.items():
        code += [(EQUAL, 0, 1, number), (RETURN, 0, 0, ERROR | error)]
    code.append((RETURN, 0, 0, ALLOW))
    text = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *row) for row in code))
    program = ctypes.create_string_buffer(struct.pack("<HxxxxxxQ", len(code), ctypes.addressof(text)))
    libc = ctypes.CDLL(None, use_errno=True)
    for call in (
        (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(program), 0, 0),
    ):
        if libc.prctl(*(ctypes.c_ulong(word) for word in call)) != 0:
            raise OSError(ctypes.get_errno(), "set a filter")
    os.execvp(words[0], words)


if __name__ == "__main__":
    main(sys.argv[1:])
