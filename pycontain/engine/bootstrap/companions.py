"""What programs need beyond their libraries: a table of patterns, and of other programs.

A pattern that finds nothing on this host is no mistake: distributions differ.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple


class Companions(NamedTuple):
    """paths: glob patterns of files and directories; programs: names."""

    paths: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()


_TRIPLE = f"{os.uname().machine}-linux-gnu"
_LIBC = tuple(
    f"/usr/lib{where}/{pattern}"
    for where in (f"/{_TRIPLE}", "64", "")
    for pattern in (
        "*crt[1in].o",
        "libc.so",
        "libc.a",
        "libc_nonshared.a",
        "lib[m]*.so",
        "lib[m].a",
        "libm-*.a",
        "libmvec*",
        "lib[gc].a",
        "lib[dr][lt]*.so",
        "lib[dr][lt].a",
        "libpthread*",
        "libutil.*",
        "libresolv.*",
        "libanl.*",
        "libcrypt.*",
        "libgcc_s*",
    )
)
_HEADER_NAMES = (
    "*.h arpa asm asm-generic bits gnu linux misc mtd net netash netatalk netax25 neteconet netinet"
    " netipx netiucv netpacket netrom netrose nfs protocols rdma rpc rpcsvc scsi sound sys video"
)
_DRIVER_NAMES = (
    "cc1 collect2 lto-wrapper liblto_plugin.so include include-fixed *crt*.o libgcc*.a libgcc_s.so"
    " libgcov.a libatomic.* libgomp.* libgomp.spec libquadmath.* libssp*"
)
_HEADERS = tuple(
    f"/usr/include{where}/{name}" for where in ("", f"/{_TRIPLE}") for name in _HEADER_NAMES.split()
)
"""Those of libc and the kernel; /usr/include as a whole would bring the headers of every library here."""
_DRIVER = tuple(
    f"/usr/{place}/gcc/*/*/{name}" for place in ("lib", "libexec") for name in _DRIVER_NAMES.split()
)
_COMPILER = (*_DRIVER, *_HEADERS, *_LIBC)
_PLUS = (
    "/usr/lib/gcc/*/*/cc1plus",
    "/usr/libexec/gcc/*/*/cc1plus",
    "/usr/lib/gcc/*/*/lib*c++*",
    "/usr/include/c++",
    f"/usr/include/{_TRIPLE}/c++",
    f"/usr/lib/{_TRIPLE}/libstdc++*",
)

TABLE: tuple[tuple[str, Companions], ...] = (
    (r"(.*-)?(gcc|cc|cpp)(-\d+)?", Companions(_COMPILER, ("as", "ld", "ar", "ranlib", "nm", "strip"))),
    (
        r"(.*-)?(g\+\+|c\+\+)(-\d+)?",
        Companions((*_COMPILER, *_PLUS), ("as", "ld", "ar")),
    ),
    (r"(.*-)?ld(\.bfd)?", Companions((f"/usr/lib/{_TRIPLE}/ldscripts", "/usr/lib/ldscripts"))),
    (
        r"perl(5.*)?",
        Companions(
            (
                "/usr/share/perl5",
                "/usr/share/perl",
                f"/usr/lib/{_TRIPLE}/perl-base",
                f"/usr/lib/{_TRIPLE}/perl",
                "/usr/lib64/perl5",
                "/usr/lib/perl5",
            )
        ),
    ),
    (r"git", Companions(("/usr/lib/git-core", "/usr/libexec/git-core", "/usr/share/git-core"))),
    (r"(curl|wget|openssl)", Companions(("/etc/ssl/openssl.cnf", "/etc/ssl/certs/ca-certificates.crt"))),
    (r"gawk", Companions((f"/usr/lib/{_TRIPLE}/gawk", "/usr/share/awk"))),
    (r"file", Companions(("/usr/lib/file", "/usr/share/misc/magic*", "/etc/magic"))),
    (r"(vim.*|vi)", Companions(("/usr/share/vim", "/etc/vim"))),
    (r"nano", Companions(("/usr/share/nano", "/etc/nanorc"))),
    (r"(bash|less|tmux|screen|top|clear|tput|nano|vim.*)", Companions(("/lib/terminfo", "/etc/terminfo"))),
    (r"ruby.*", Companions(("/usr/lib/ruby", f"/usr/lib/{_TRIPLE}/ruby"))),
    (r"(getent|ping|ssh)", Companions((f"/lib/{_TRIPLE}/libnss_*.so.2", "/lib64/libnss_*.so.2"))),
)
"""Pattern of a program's name -> what comes with it; all that match count."""


def of(name: str) -> Companions:
    """What comes with the program."""
    paths: list[str] = []
    programs: list[str] = []
    for pattern, companions in TABLE:
        if re.fullmatch(pattern, name):
            paths += companions.paths
            programs += companions.programs
    return Companions(tuple(paths), tuple(programs))
