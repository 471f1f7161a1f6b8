"""host/base: a shell, the usual small programs, python3; and what every image made here gets."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence

from pycontain.engine.bootstrap.collection import Collection
from pycontain.engine.bootstrap.programs import Programs, find_program
from pycontain.engine.bootstrap.python import is_python
from pycontain.engine.bootstrap.writing import write_image
from pycontain.errors import NotFound
from pycontain.image.reference import Reference
from pycontain.store import Store
from pycontain.store.images import Image

SHELLS = ("sh", "bash", "dash")
TOOLS = """
    [ arch b2sum base32 base64 basename cat chgrp chmod chown cksum comm cp csplit cut date dd df dir dirname
    du echo env expand expr factor false fmt fold groups head hostid hostname id install join link ln logname
    ls md5sum mkdir mkfifo mknod mktemp mv nice nl nohup nproc numfmt od paste pathchk pr printenv printf ptx
    pwd readlink realpath rm rmdir seq sha1sum sha224sum sha256sum sha384sum sha512sum shred shuf sleep sort
    split stat stdbuf stty sum sync tac tail tee test timeout touch tr true truncate tsort tty uname
    unexpand uniq unlink users vdir wc who whoami yes
    grep egrep fgrep sed awk mawk gawk tar gzip gunzip zcat find xargs diff cmp which getent ps kill pgrep
    pkill bzip2 xz getopt flock setsid
"""
"""coreutils, and the programs that scripts expect next to them. What the host lacks is left out."""

_TERMINALS = "dumb linux screen screen-256color tmux tmux-256color vt100 xterm xterm-256color"
_ETC = (
    "/etc/os-release",
    "/etc/debian_version",
    "/etc/services",
    "/etc/protocols",
    "/etc/ssl/certs/ca-certificates.crt",
    "/usr/lib/locale/C.utf8",
)
_DIRECTORIES = """
    /dev /etc /home /media /mnt /opt /proc /run /srv /sys /usr /usr/bin /usr/lib /usr/local /usr/local/bin
    /usr/local/lib /usr/local/sbin /usr/sbin /usr/share /var /var/cache /var/lib /var/log /var/spool
"""
_PASSWD = """root:x:0:0:root:/root:{shell}
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
bin:x:2:2:bin:/bin:/usr/sbin/nologin
sys:x:3:3:sys:/dev:/usr/sbin/nologin
mail:x:8:8:mail:/var/mail:/usr/sbin/nologin
www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
"""
_GROUP = """root:x:0:
daemon:x:1:
bin:x:2:
sys:x:3:
adm:x:4:
tty:x:5:
disk:x:6:
mail:x:8:
www-data:x:33:
utmp:x:43:
staff:x:50:
users:x:100:
nogroup:x:65534:
"""
_NSSWITCH = """passwd: files
group: files
shadow: files
hosts: files dns
networks: files
protocols: files
services: files
ethers: files
rpc: files
"""


def make(store: Store, reference: Reference) -> Image:
    """An image that is made on demand: host/base, or host/NAME for one program more. NotFound for others."""
    if reference.digest is not None:
        raise NotFound(f"make {reference.familiar}: it cannot be made to a given digest")
    name = reference.repository.removeprefix("host/")
    if reference.tag not in (None, "latest"):
        raise NotFound(f"make {reference.familiar}: it is made here, and only as latest")
    if name == "base":
        return bootstrap(store, reference, ())
    if find_program(name) is None and not is_python(name):
        raise NotFound(
            f"make {reference.familiar}: this host has no program {name}", hint="host/base is always there"
        )
    return bootstrap(store, reference, (name,))


def bootstrap(
    store: Store,
    reference: Reference,
    programs: Sequence[str],
    *,
    include: Iterable[str] = (),
    base: bool = True,
) -> Image:
    """Make an image of programs and their needs, with host/base's content unless base is false.

    Files that cannot be read are left out with a warning on standard error.
    NotFound where the host lacks a program or a path.
    """
    collection = Collection()
    found = Programs(collection)
    _skeleton(collection)
    if base:
        found.add_present(SHELLS)
        found.add_present(TOOLS.split())
        for name in _ETC:
            if os.path.exists(name):
                found.include(name)
        _terminals(found)
        if not any(is_python(name) for name in programs):
            found.add("python3")
    for name in programs:
        found.add(name)
    for path in include:
        found.include(path)
    _accounts(collection)
    for name in found.missing:
        print(f"pycontain: bootstrap: {name}: this host has none; left out", file=sys.stderr)
    for name in collection.skipped:
        print(f"pycontain: bootstrap: {name}: cannot be read; left out", file=sys.stderr)
    return write_image(store, reference, collection, programs)


def _skeleton(collection: Collection) -> None:
    for name in ("/bin", "/sbin", "/lib", "/lib64"):
        if os.path.lexists(name):
            collection.path(name)
    for name in _DIRECTORIES.split():
        if name not in collection:
            collection.directory(name)
    collection.directory("/tmp", 0o1777)
    collection.directory("/var/tmp", 0o1777)
    collection.symlink("/var/run", "/run")


def _terminals(programs: Programs) -> None:
    for root in ("/lib/terminfo", "/usr/lib/terminfo", "/usr/share/terminfo", "/etc/terminfo"):
        for name in _TERMINALS.split():
            path = f"{root}/{name[0]}/{name}"
            if os.path.exists(path):
                programs.file(path)


def _accounts(collection: Collection) -> None:
    if "/root" not in collection:
        collection.directory("/root", 0o700)
    shell = next((f"/bin/{name}" for name in ("bash", "sh") if f"/usr/bin/{name}" in collection), "/bin/sh")
    collection.text("/etc/passwd", _PASSWD.format(shell=shell))
    collection.text("/etc/group", _GROUP)
    collection.text("/etc/nsswitch.conf", _NSSWITCH)
    for name in ("hostname", "hosts", "resolv.conf"):  # each container has its own mounted there
        collection.text(f"/etc/{name}", "")
