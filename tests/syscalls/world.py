"""The image that the cases see, and the two ways to run them: in a container, and on the host.

The image is host/base and one layer on top: the cases under /cases, C programs under /programs, and under /image
files for what only a file of an image can show (copy-up, its hard links, its setuid bits).
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from typing import Any

from pycontain.engine.bootstrap import make
from pycontain.image.config import History
from pycontain.image.reference import Reference
from pycontain.store import Store
from pycontain.unionfs.tarwriter import TarWriter

HERE = os.path.dirname(os.path.abspath(__file__))
REFERENCE = "syscalls/world"
HOSTNAME = "testhost"
PYTHON = "/usr/bin/python3"
SCRATCH = "/work"
USER = 65534  # who runs the second kernel
NOON = 1_000_000_000  # 2001-09-09, the time of everything under /image, in seconds
SCRIPT = b"#!/programs/showargs fixed argument\n"


class Member:
    """A file of the layer under /image. kind as in stat; other names share content by hard links."""

    def __init__(
        self, path: str, mode: int = 0o644, data: bytes = b"", uid: int = 0, gid: int = 0, *,
        kind: int = stat.S_IFREG, link: str = "", hardlink: bool = False, rdev: int = 0,
        xattrs: dict[bytes, bytes] | None = None, mtime_ns: int = NOON * 10**9,
    ) -> None:  # fmt: skip
        self.path, self.mode, self.data, self.uid, self.gid = path, mode, data, uid, gid
        self.kind, self.link, self.hardlink, self.rdev = kind, link, hardlink, rdev
        self.xattrs, self.mtime_ns = xattrs, mtime_ns


def directory(path: str, mode: int = 0o755, uid: int = 0, gid: int = 0) -> Member:
    return Member(path, mode, uid=uid, gid=gid, kind=stat.S_IFDIR)


def members() -> list[Member]:
    return [
        directory("image"),
        Member("image/plain", 0o644, b"plain text\n"),
        Member("image/large", 0o644, b"0123456789abcdef" * 20000),
        Member("image/empty"),
        Member("image/readonly", 0o444, b"readonly\n"),
        Member("image/secret", 0o600, b"secret\n"),
        Member("image/alices", 0o640, b"of alice\n", 1000, 1000),
        Member("image/nanoseconds", 0o644, b"x", mtime_ns=NOON * 10**9 + 123456789),
        Member("image/attributed", 0o644, b"x", xattrs={b"user.colour": b"blue", b"user.empty": b""}),
        Member("image/one", 0o644, b"shared by three\n"),
        Member("image/two", 0o644, link="image/one", hardlink=True),
        directory("image/links"),
        Member("image/links/three", 0o644, link="image/one", hardlink=True),
        Member("image/symlink", 0o777, kind=stat.S_IFLNK, link="plain"),
        Member("image/absolute", 0o777, kind=stat.S_IFLNK, link="/image/directory/inner"),
        Member("image/dangling", 0o777, kind=stat.S_IFLNK, link="nowhere"),
        Member("image/fifo", 0o644, kind=stat.S_IFIFO),
        Member("image/null", 0o666, kind=stat.S_IFCHR, rdev=os.makedev(1, 3)),
        directory("image/directory"),
        Member("image/directory/inner", 0o644, b"inner\n"),
        directory("image/directory/deeper"),
        Member("image/directory/deeper/bottom", 0o644, b"bottom\n"),
        directory("image/sticky", 0o1777),
        Member("image/sticky/roots", 0o666, b"r"),
        Member("image/sticky/alices", 0o666, b"a", 1000, 1000),
        directory("image/setgid", 0o2775, 0, 2000),
        directory("image/hollow"),
        directory("image/private", 0o700),
        Member("image/private/file", 0o644, b"behind a door\n"),
        directory("image/home", 0o755, 1000, 1000),
        Member("image/caf\u00e9 \U0001f600", 0o644, b"unicode\n"),
        Member("image/setuid", 0o4755, b"#!/bin/sh\nid -u\n", 1000, 1000),
        Member("image/script", 0o755, b'#!/bin/sh\necho script "$0" "$@"\n'),
        # for cases that change something: each takes names of its own
        directory("image/changed"),
        *(Member(f"image/changed/file{n}", 0o644, b"%d " % n + b"0123456789abcdef" * 4) for n in range(20)),
        *(
            member
            for n in range(10)
            for member in (
                Member(f"image/changed/pair{n}a", 0o644, b"pair %d\n" % n),
                Member(f"image/changed/pair{n}b", 0o644, link=f"image/changed/pair{n}a", hardlink=True),
                directory(f"image/changed/directory{n}"),
                Member(f"image/changed/directory{n}/f", 0o644, b"f"),
                directory(f"image/changed/directory{n}/sub"),
                Member(f"image/changed/directory{n}/sub/g", 0o644, b"g"),
            )
        ),
        # for sequences of calls: each takes a tree of its own
        directory("image/sequences"),
        *(member for n in range(24) for member in sequence_tree(f"image/sequences/{n}")),
    ]


def sequence_tree(top: str) -> list[Member]:
    return [
        directory(top, 0o777),
        Member(f"{top}/one", 0o644, b"one " * 300),
        Member(f"{top}/two", 0o666, b"two", 1000, 1000),
        Member(f"{top}/three", 0o644, link=f"{top}/one", hardlink=True),
        Member(f"{top}/link", 0o777, kind=stat.S_IFLNK, link="dir"),
        directory(f"{top}/dir", 0o755, 1000, 1000),
        Member(f"{top}/dir/a", 0o755, b"a", 1000, 1000),
        Member(f"{top}/dir/b", 0o777, kind=stat.S_IFLNK, link="../one"),
        directory(f"{top}/dir/deep", 0o1777),
        Member(f"{top}/dir/deep/one", 0o600, b"deep", xattrs={b"user.one": b"1"}),
        Member(f"{top}/dir/deep/c", 0o644, kind=stat.S_IFIFO),
        directory(f"{top}/d", 0o2775, 0, 1000),
        Member(f"{top}/d/e", 0o755, b"bobs", 1001, 1001),
    ]


def programs(build: str) -> dict[str, str]:
    """Compile programs/*.c statically; {} where there is no compiler."""
    out: dict[str, str] = {}
    os.makedirs(build, exist_ok=True)
    for name in sorted(os.listdir(f"{HERE}/programs")):
        if not name.endswith(".c"):
            continue
        target = f"{build}/{name[:-2]}"
        try:
            subprocess.run(
                ["gcc", "-O1", "-static", "-w", "-pthread", "-o", target, f"{HERE}/programs/{name}"],
                check=True, capture_output=True,
            )  # fmt: skip
        except (OSError, subprocess.CalledProcessError) as error:
            if isinstance(error, subprocess.CalledProcessError):
                raise RuntimeError(f"compile {name}: {error.stderr.decode()}") from None
            return {}
        out[name[:-2]] = target
    return out


def build_image(store: Store, build: str) -> list[str]:
    """Make the image; returns the names of the C programs in it."""
    base = Reference.parse("host/base")
    image = store.image("host/base") if store.tags.get(base) else make(store, base)
    compiled = programs(build)
    with store.layers.sink() as sink:
        tar = TarWriter(sink.write)
        for member in members():
            tar.add(
                member.path.encode(), mode=member.kind | member.mode, uid=member.uid, gid=member.gid,
                mtime_ns=member.mtime_ns, size=len(member.data), rdev=member.rdev,
                link=member.link.encode() or None, hardlink=member.hardlink, xattrs=member.xattrs,
                content=[member.data] if member.kind == stat.S_IFREG and not member.hardlink else None,
            )  # fmt: skip
        files = {f"cases/{name}": f"{HERE}/cases/{name}" for name in case_files()}
        files |= {f"cases/{name}": f"{HERE}/{name}" for name in ("driver.py", "probe.py")}
        files |= {f"programs/{name}": path for name, path in compiled.items()}
        for name in ("cases", "programs", "work"):
            tar.add(name.encode(), mode=stat.S_IFDIR | 0o755)
        for target, source in sorted(files.items()):
            fd = os.open(source, os.O_RDONLY)
            try:
                mode = stat.S_IFREG | (0o755 if target.startswith("programs/") else 0o644)
                tar.add(target.encode(), mode=mode, size=os.fstat(fd).st_size, content=fd)
            finally:
                os.close(fd)
        tar.close()
        descriptor, layer = sink.finish()
    config = image.config.with_layer(layer.diff_id, History(None, "syscall cases"))
    store.add_image(config, [*image.manifest.layers, descriptor], Reference.parse(REFERENCE))
    return sorted(compiled)


def case_files() -> list[str]:
    return sorted(name for name in os.listdir(f"{HERE}/cases") if name.endswith(".py"))


def unpack(store: Store, root: str) -> None:
    """The image as a directory of the host. Needs root."""
    os.makedirs(root, exist_ok=True)
    directories: list[tuple[str, float]] = []
    for layer in store.image(REFERENCE).layers:
        with tarfile.open(f"{layer.path}/tar") as tar:
            for member in tar:
                if member.isdir():
                    directories.append((os.path.join(root, member.name), member.mtime))
                tar.extract(member, root, numeric_owner=True, filter="fully_trusted")
                path = os.path.join(root, member.name)
                for key, value in member.pax_headers.items():
                    if key.startswith("SCHILY.xattr."):
                        os.setxattr(path, key[13:], value.encode())
                if member.isfile() and "mtime" in member.pax_headers:
                    seconds, _, fraction = member.pax_headers["mtime"].partition(".")
                    ns = int(seconds) * 10**9 + int(fraction.ljust(9, "0") or 0)
                    os.utime(path, ns=(ns, ns))
    for path, moment in directories:
        os.utime(path, (moment, moment))


def driver(names: Sequence[str]) -> list[str]:
    return [PYTHON, "/cases/driver.py", "/cases", SCRATCH, *names]


def run_on_host(root: str, names: Sequence[str]) -> dict[str, Any]:
    argv = [sys.executable, f"{HERE}/oracle.py", root, HOSTNAME, *driver(names)]
    return results(argv, dict(os.environ))


def run_in_container(
    store_root: str, names: Sequence[str], python: Sequence[str] = (sys.executable,), *, slowly: bool = False
) -> dict[str, Any]:
    """python: the interpreter that has the package, and before it what makes us another user.

    slowly: without the fast path.
    """
    environment = {**os.environ, "PYCONTAIN_ROOT": store_root}
    if slowly:
        environment["PYCONTAIN_FASTPATH"] = "0"
    argv = [*python, "-c", "import pycontain.cli, sys; sys.exit(pycontain.cli.main())"]
    argv += [
        "run",
        "--rm",
        "--hostname",
        HOSTNAME,
        "-e",
        "PYTHONDONTWRITEBYTECODE=1",
        REFERENCE,
        *driver(names),
    ]
    try:
        return results(argv, environment)
    finally:
        stop = "from pycontain.kernel.control import KernelClient as K; k = K.connect(%r, start=False); k and k.shutdown()"
        subprocess.run([*python, "-c", stop % store_root], env=environment, stdin=subprocess.DEVNULL)


def as_user(store_root: str, copy: str) -> list[str]:
    """A copy of the store that belongs to an ordinary user; what runs Python as that user. [] if that cannot be."""
    import shutil

    identity = [
        "--reuid",
        str(USER),
        "--regid",
        str(USER),
        "--clear-groups",
        "--no-new-privs",
        "--bounding-set=-all",
    ]
    path = os.pathsep.join(p for p in [os.path.dirname(os.path.dirname(HERE)), *sys.path] if p)
    for python in (sys.executable, PYTHON):
        argv = ["setpriv", *identity, "env", f"PYTHONPATH={path}", python, "-s"]
        try:
            done = subprocess.run([*argv, "-c", "import pycontain, msgpack"], capture_output=True, cwd="/")
        except OSError:
            return []
        if done.returncode == 0:
            break
    else:
        return []
    shutil.copytree(store_root, copy, symlinks=True)
    for where, directories, files in os.walk(copy):
        for name in (*directories, *files, "."):
            os.chown(os.path.join(where, name), USER, USER, follow_symlinks=False)
    return argv


def results(argv: Sequence[str], environment: dict[str, str]) -> dict[str, Any]:
    """What the driver printed, by case. A driver that ended early leaves cases out."""
    done = subprocess.run(argv, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=600)
    found: dict[str, Any] = {}
    for line in done.stdout.splitlines():
        value = json.loads(line)
        found[value["case"]] = value
    if done.returncode or done.stderr:
        found[""] = {"status": done.returncode, "output": done.stderr.decode("utf-8", "replace")}
    return found
