"""Making a container out of its specification: tree, mounts, account, program. All before anything runs."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

from pycontain.errors import CannotRun, ContainerError, ProgramNotFound
from pycontain.kernel import accounts
from pycontain.kernel.abi import AT_FDCWD, S_IFDIR, S_IFMT, S_IFREG
from pycontain.kernel.calls.execute import open_program
from pycontain.kernel.container import Container
from pycontain.kernel.credentials import ALL_CAPABILITIES, CAP_NAMES, DEFAULT_CAPABILITIES, Credentials
from pycontain.kernel.ipc import remove_left_over
from pycontain.kernel.limits import Limits
from pycontain.kernel.loader import Script
from pycontain.kernel.task import Task
from pycontain.kernel.vfs import sysfs
from pycontain.kernel.vfs.cgroupfs import new_cgroupfs
from pycontain.kernel.vfs.devfs import new_devfs
from pycontain.kernel.vfs.filesystem import Filesystem
from pycontain.kernel.vfs.hostfs import HostFs
from pycontain.kernel.vfs.mount import Mount, Node
from pycontain.kernel.vfs.procfs import ProcFs
from pycontain.kernel.vfs.sizedtmpfs import SizedTmpfs
from pycontain.kernel.vfs.unionfs import UnionFs, new_tmpfs
from pycontain.kernel.vfs.walk import resolve

if TYPE_CHECKING:
    from pycontain.kernel.kernel import Kernel

DEFAULT_PATH = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SHM_SIZE = 64 << 20  # Docker's default of --shm-size
TMPFS_DEVICES = 64  # minor numbers of tmpfs and bind mounts start here


def build(kernel: Kernel, spec: dict[str, Any]) -> Container:
    """The container with its mounts, nothing running."""
    image = kernel.image(tuple(spec["layers"]))
    directory = spec["directory"]
    remove_left_over(os.path.join(directory, "ipc"))
    root_fs = UnionFs.load(image, directory, journal=bool(spec.get("journal", True)))
    assert isinstance(root_fs, UnionFs)
    kernel.made += 1
    container = Container(kernel, spec["id"], kernel.made, root_fs, directory)
    container.bounding = _capabilities(spec)
    container.limits = Limits(container, spec.get("limits") or {})
    if kernel.delegation is not None:
        container.limits.use(kernel.delegation.make(container.id))
    if spec.get("hostname"):
        container.hostname = spec["hostname"].encode()
    try:
        _system_mounts(container, directory, spec)
        for number, mount in enumerate(
            sorted(spec.get("mounts") or [], key=lambda m: m["target"].count("/"))
        ):
            _mount(container, mount, number)
    except BaseException:
        root_fs.close()
        raise
    container.root_mount.read_only = container.root_mount.locked = bool(spec.get("read_only"))
    return container


def _capabilities(spec: dict[str, Any]) -> int:
    """Docker's set with --cap-drop and --cap-add; ALL comes first whichever side names it."""
    if spec.get("privileged"):
        return ALL_CAPABILITIES
    added = [_capability(name) for name in spec.get("cap_add") or []]
    dropped = [_capability(name) for name in spec.get("cap_drop") or []]
    if ALL_CAPABILITIES in added:
        held, added = ALL_CAPABILITIES, []
    elif ALL_CAPABILITIES in dropped:
        held, dropped = 0, []
    else:
        held = DEFAULT_CAPABILITIES
    for bits in dropped:
        held &= ~bits
    for bits in added:
        held |= bits
    return held


def _capability(name: str) -> int:
    short = name.upper().removeprefix("CAP_")
    if short == "ALL":
        return ALL_CAPABILITIES
    if short not in CAP_NAMES:
        raise ContainerError(f"capability {name}: there is no such capability")
    return 1 << CAP_NAMES.index(short)


def _system_mounts(container: Container, directory: str, spec: dict[str, Any]) -> None:
    proc = ProcFs(container, os.makedev(0, 47))
    container.proc_mount = _mount_at(container, proc, b"/proc", source="proc")
    dev = new_devfs(os.path.join(directory, "dev"), os.makedev(0, 45))
    dev_mount = _mount_at(container, dev, b"/dev", source="tmpfs")
    make = container.kernel.platform.limited_directory
    size = int(spec.get("shm_size") or SHM_SIZE)
    shm = SizedTmpfs(os.path.join(directory, "shm"), os.makedev(0, 48), 0o1777, size, make)
    for fs, name, source in ((container.devpts, b"pts", "devpts"), (shm, b"shm", "shm")):
        point = dev.lookup(dev.root, name)
        assert point is not None
        container.mount(fs, Node(dev_mount, point), b"/dev/" + name, source=source)
    if spec.get("terminal"):
        dev.symlink(dev.root, b"console", b"/dev/tty", 0, 0)
    _sys_mounts(container, directory)


def _sys_mounts(container: Container, directory: str) -> None:
    fs = sysfs.new_sysfs(os.path.join(directory, "sys"), os.makedev(0, 49))
    mount = _mount_at(container, fs, b"/sys", source="sysfs", read_only=True)
    below: list[tuple[str, Filesystem]] = [("/sys/fs/cgroup", new_cgroupfs(container, os.makedev(0, 50)))]
    if os.path.isdir(sysfs.PROCESSORS):
        below.append((sysfs.PROCESSORS, sysfs.ProcessorFs(container, fs.dev)))
    if os.path.isdir(sysfs.NODES):
        below.append((sysfs.NODES, sysfs.HostSysFs(sysfs.NODES, fs.dev)))
    for target, inner in below:
        point = Node(mount, fs.walk(target[4:].encode()))
        source = "cgroup" if inner.type == "cgroup2" else "sysfs"
        container.mount(inner, point, target.encode(), source=source, read_only=True)


def _mount_at(
    container: Container,
    fs: Filesystem,
    target: bytes,
    *,
    source: str = "none",
    read_only: bool = False,
) -> Mount:
    is_dir = fs.root.mode & S_IFMT == S_IFDIR
    point = _mount_point(container, target, is_dir)
    if (point.inode.mode & S_IFMT == S_IFDIR) != is_dir:
        kind = "a directory" if is_dir else "a file"
        raise ContainerError(f"mount on {os.fsdecode(target)}: the source is {kind}, the target is not")
    return container.mount(fs, point, target, source=source, read_only=read_only)


def _mount_point(container: Container, target: bytes, is_dir: bool) -> Node:
    """The node to mount on, made where it is missing."""
    task = container.kernel.new_process(container, Credentials.login(0, 0, frozenset(), ALL_CAPABILITIES))
    parts = [p for p in target.split(b"/") if p]
    node = container.root
    for index, name in enumerate(parts):
        path = b"/" + b"/".join(parts[: index + 1])
        try:
            node = resolve(task, AT_FDCWD, path)
        except FileNotFoundError:
            fs = node.mount.fs
            if not isinstance(fs, UnionFs):
                raise ContainerError(f"mount on {os.fsdecode(target)}: no such file or directory") from None
            inode = fs.stub(fs.current(node.inode), name, is_dir or index < len(parts) - 1)
            node = Node(node.mount, inode)
        except OSError as error:
            raise ContainerError(f"mount on {os.fsdecode(target)}: {error.strerror}") from None
    return node


def _mount(container: Container, mount: dict[str, Any], number: int) -> None:
    target = os.fsencode(mount["target"])
    if not target.startswith(b"/"):
        raise ContainerError(f"mount on {mount['target']}: the target is not an absolute path")
    dev = os.makedev(0, TMPFS_DEVICES + number)
    read_only = bool(mount.get("read_only"))
    if mount["type"] == "tmpfs":
        mode = int(mount.get("mode") or 0o1777)
        directory = os.path.join(container.directory, f"tmpfs-{number}")
        size = int(mount.get("size") or 0)
        make = container.kernel.platform.limited_directory
        fs: Filesystem = (
            SizedTmpfs(directory, dev, mode, size, make) if size else new_tmpfs(directory, dev, mode)
        )
        _mount_at(container, fs, target, source="tmpfs", read_only=read_only)
    elif mount["type"] == "bind":
        try:
            fs = HostFs(mount["source"], dev)
        except OSError as error:
            raise ContainerError(
                f"mount {mount['source']} on {mount['target']}: {error.strerror}",
                hint="the path is the host's",
            ) from None
        _mount_at(container, fs, target, source="host", read_only=read_only)
    else:
        raise ContainerError(f"mount on {mount['target']}: unknown type {mount['type']!r}")


def login(container: Container, spec: dict[str, Any]) -> tuple[Task, bytes]:
    """A task as the account and in the directory that a specification asks for; and the account's home."""
    read = reader(container)
    account = accounts.resolve(spec.get("user") or "", list(spec.get("groups") or []), read)
    who = Credentials.login(account.uid, account.gid, account.groups, container.bounding)
    task = container.kernel.new_process(container, who)
    cwd = spec.get("cwd") or b"/"
    task.files.cwd = _working_directory(container, task, cwd)
    return task, account.home


def reader(container: Container) -> accounts.Reader:
    root = container.kernel.new_process(container, Credentials.login(0, 0, frozenset(), ALL_CAPABILITIES))

    def read(path: bytes) -> bytes:
        try:
            node = resolve(root, AT_FDCWD, path)
            if node.inode.mode & S_IFMT != S_IFREG:
                return b""
            with open(node.mount.fs.open(node.inode, os.O_RDONLY, root), "rb") as file:
                return file.read(4 << 20)
        except OSError:
            return b""

    return read


def _working_directory(container: Container, task: Task, cwd: bytes) -> Node:
    """Made where it is missing, owned by root, as Docker does."""
    if not cwd.startswith(b"/"):
        raise ContainerError(f"working directory {os.fsdecode(cwd)!r}: not an absolute path")
    root = container.kernel.new_process(container, Credentials.login(0, 0, frozenset(), ALL_CAPABILITIES))
    node = container.root
    parts = [p for p in cwd.split(b"/") if p]
    for index, name in enumerate(parts):
        path = b"/" + b"/".join(parts[: index + 1])
        try:
            node = resolve(root, AT_FDCWD, path)
        except FileNotFoundError:
            try:
                node = Node(
                    node.mount, node.mount.fs.mkdir(node.mount.fs.current(node.inode), name, 0o755, 0, 0)
                )
            except OSError as error:
                raise ContainerError(f"working directory {os.fsdecode(cwd)}: {error.strerror}") from None
        except OSError as error:
            raise ContainerError(f"working directory {os.fsdecode(cwd)}: {error.strerror}") from None
    if node.inode.mode & S_IFMT != S_IFDIR:
        raise ContainerError(f"working directory {os.fsdecode(cwd)}: not a directory")
    return node


def environment(spec: dict[str, Any], home: bytes, hostname: bytes) -> list[bytes]:
    """The specification's variables, with Docker's PATH, HOSTNAME, HOME and TERM where they are missing."""
    given = list(spec.get("env") or [])
    names = {entry.partition(b"=")[0] for entry in given}
    out = []
    if b"PATH" not in names:
        out.append(b"PATH=" + DEFAULT_PATH)
    if b"HOSTNAME" not in names:
        out.append(b"HOSTNAME=" + hostname)
    if spec.get("terminal") and b"TERM" not in names:
        out.append(b"TERM=xterm")
    out += given
    if b"HOME" not in names:
        out.append(b"HOME=" + home)
    return out


def find_program(task: Task, name: bytes, env: list[bytes]) -> bytes:
    """The path of a program as execvp would find it. Raises ProgramNotFound (127), CannotRun (126)."""
    shown = os.fsdecode(name)
    if not name:
        raise ProgramNotFound('run "": no command specified')
    if b"/" in name:
        _check(task, name, shown)
        return name
    path = next((e[5:] for e in env if e.startswith(b"PATH=")), DEFAULT_PATH)
    refused: CannotRun | None = None
    for directory in path.split(b":"):
        candidate = (directory or b".").rstrip(b"/") + b"/" + name
        try:
            _check(task, candidate, shown)
            return candidate
        except ProgramNotFound:
            continue
        except CannotRun as error:
            refused = refused or error
    if refused is not None:
        raise refused
    raise ProgramNotFound(
        f"run {shown}: executable file not found in $PATH", hint=f"PATH={os.fsdecode(path)}"
    )


def _check(task: Task, path: bytes, shown: str) -> None:
    try:
        node = resolve(task, AT_FDCWD, path)
    except (FileNotFoundError, NotADirectoryError):
        raise ProgramNotFound(f"run {shown}: no such file or directory in the image") from None
    except OSError as error:
        raise CannotRun(f"run {shown}: {error.strerror}") from None
    if node.inode.mode & S_IFMT == S_IFDIR:
        raise CannotRun(f"run {shown}: is a directory")
    try:
        fd = open_program(task, node)
    except OSError as error:
        raise CannotRun(f"run {shown}: {error.strerror}") from None
    try:
        binary = task.container.kernel.loader.read(fd)
        if binary.interpreter is not None:
            _interpreter(task, binary.interpreter, shown)
    except Script as script:
        _interpreter(task, script.interpreter, shown)
    except OSError as error:
        if error.errno == errno.ENOEXEC:
            raise CannotRun(f"run {shown}: exec format error", hint=_format_hint(fd)) from None
        raise CannotRun(f"run {shown}: {error.strerror}") from None
    finally:
        os.close(fd)


def _interpreter(task: Task, path: bytes, shown: str) -> None:
    try:
        resolve(task, AT_FDCWD, path)
    except OSError:
        raise ProgramNotFound(
            f"run {shown}: its interpreter {os.fsdecode(path)} is not in the image",
            hint="a dynamically linked program or script needs it",
        ) from None


def _format_hint(fd: int) -> str:
    head = os.pread(fd, 20, 0)
    if head[:4] != b"\x7fELF":
        return "neither an ELF file nor a script with a #! line"
    if head[4] == 1:
        return "a 32-bit program; this kernel runs 64-bit ones"
    return "a program for another processor"
