"""The texts of /proc files: the host's own figures of a process with every name and number made the container's."""

from __future__ import annotations

import errno
import math
import os
import re
from typing import TYPE_CHECKING

from pycontain.kernel.vfs.walk import path_of

if TYPE_CHECKING:
    from pycontain.kernel.container import Container
    from pycontain.kernel.task import Process, Task

CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
STUB_AREA = range(0x5555_0000_0000, 0x5555_0001_0000)  # where the platform's stub lies in every process
# of a line of maps and smaps: where it starts, what is not changed, "device number path"
FILE_MAPPING = re.compile(rb"(?m)^([0-9a-f]+)-([0-9a-f]+ .{4} [0-9a-f]+ )([0-9a-f]+:[0-9a-f]+ [0-9]+ +/.*)$")
HIDDEN = b"\0"
HIDDEN_MAPPING = re.compile(rb"(?m)^\0\n(?:[A-Z].*\n)*")

READ = 16384  # bytes; most files of /proc come whole


def read_host(path: str) -> bytes:
    """A file of the host's /proc; empty where the host has none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # open() makes three times as many calls
    except ProcessLookupError:
        raise OSError(errno.ESRCH, path) from None
    except OSError:
        return b""
    try:
        parts = []
        while part := os.read(fd, READ):
            parts.append(part)
        return b"".join(parts)
    except ProcessLookupError:
        raise OSError(errno.ESRCH, path) from None
    except OSError:
        return b""
    finally:
        os.close(fd)


def host_text(name: str) -> bytes:
    return read_host(f"/proc/{name}")


def host_file(pid: int, name: str) -> bytes:
    return read_host(f"/proc/{pid}/{name}")


def host_memory() -> dict[str, int]:
    """/proc/meminfo of the host: name -> bytes."""
    values = {}
    for line in host_text("meminfo").splitlines():
        name, _, rest = line.partition(b":")
        number, *unit = rest.split()
        values[name.decode()] = int(number) * (1024 if unit == [b"kB"] else 1)
    return values


def net_unix(container: Container) -> bytes:
    """The container's own unix sockets, by its names."""
    names = container.sockets.inside()
    head, *lines = host_text("net/unix").splitlines() or [b""]
    out = [head]
    for line in lines:
        fields = line.split()
        if int(fields[6]) in names:
            name = (names[int(fields[6])] or b"").replace(b"\0", b"@")
            out.append(b" ".join(fields[:6]) + b" " + fields[6].rjust(5) + (b" " + name if name else b""))
    return b"\n".join(out) + b"\n"


def cmdline(container: Container, process: Process) -> bytes:
    return host_file(process.pid, "cmdline")


def environ(container: Container, process: Process) -> bytes:
    return host_file(process.pid, "environ")


def comm(container: Container, process: Process, tid: int | None = None) -> bytes:
    return host_file(process.pid, "comm" if tid is None else f"task/{tid}/comm")


def parent_pid(container: Container, pid: int) -> int:
    """The parent's number inside, 0 for the first process and for those that `exec` brought in."""
    text = host_file(pid, "stat")
    if not text:
        return 0
    parent = int(text[text.rindex(b")") + 2 :].split()[1])
    return container.inside(parent) if parent in container.processes else 0


STOPPED = {b"t": b"T"}  # who is traced (and all are) stops in a state of its own


def _state(container: Container, process: Process, state: bytes) -> bytes:
    if state == b"D" and container.kernel.waits.waiting(process):
        return b"S"  # the host does not see that the call may be interrupted
    return STOPPED.get(state, state)


def running(text: bytes) -> bytes:
    """stat or status as the process itself reads it: while it does, it runs."""
    if text.startswith(b"Name:"):
        return text.replace(b"\nState:\tS (sleeping)\n", b"\nState:\tR (running)\n", 1)
    at = text.rindex(b")") + 2
    return text[:at] + b"R" + text[at + 1 :]


def stat_line(container: Container, process: Process, tid: int | None = None) -> bytes:
    """/proc/PID/stat, or that of one thread."""
    text = host_file(process.pid, "stat" if tid is None else f"task/{tid}/stat")
    if not text:
        return b""
    name = text[text.index(b"(") : text.rindex(b")") + 1]
    fields = text[text.rindex(b")") + 2 :].split()
    fields[1] = b"%d" % parent_pid(container, process.pid)
    for index in (2, 3, 5):  # process group, session, foreground group
        number = int(fields[index])
        if number > 0:
            fields[index] = b"%d" % container.inside_or_zero(number)
    fields[0] = _state(container, process, fields[0])
    # the clock of /proc/uptime starts with the container
    fields[19] = b"%d" % max(int(fields[19]) - math.ceil(container.started_after * CLOCK_TICKS), 0)
    return b"%d %s %s\n" % (container.inside(tid or process.pid), name, b" ".join(fields))


def _status_values(container: Container, process: Process, one: Process | Task) -> dict[bytes, bytes]:
    who = one.credentials
    return {
        b"Tgid": b"%d" % container.inside(process.pid),
        b"Ngid": b"0",
        b"Pid": b"%d" % container.inside(process.pid),
        b"PPid": b"%d" % parent_pid(container, process.pid),
        b"TracerPid": b"0",
        b"Uid": b"%d\t%d\t%d\t%d" % (who.uid, who.euid, who.suid, who.fsuid),
        b"Gid": b"%d\t%d\t%d\t%d" % (who.gid, who.egid, who.sgid, who.fsgid),
        b"Groups": b" ".join(b"%d" % g for g in who.listed_groups()) + b" ",
        b"Umask": b"%04o" % one.files.umask,
        b"CapInh": b"%016x" % who.inheritable,
        b"CapPrm": b"%016x" % who.permitted,
        b"CapEff": b"%016x" % who.effective,
        b"CapBnd": b"%016x" % who.bounding,
        b"CapAmb": b"%016x" % who.ambient,
        b"NoNewPrivs": b"%d" % who.no_new_privs,
        b"Seccomp": b"0",
        b"Seccomp_filters": b"0",
        b"NSpid": b"%d" % container.inside(process.pid),
        b"NStgid": b"%d" % container.inside(process.pid),
    }


def status(container: Container, process: Process, tid: int | None = None) -> bytes:
    """/proc/PID/status, or that of one thread."""
    thread = process.threads.get(tid) if tid is not None else None
    values = _status_values(container, process, thread or process)
    if tid is not None:
        values[b"Pid"] = values[b"NSpid"] = b"%d" % container.inside(tid)
    lines = []
    for line in host_file(process.pid, "status" if tid is None else f"task/{tid}/status").splitlines():
        key = line.partition(b":")[0]
        if key == b"State":
            state = _state(container, process, line.split()[1])
            line = b"State:\t" + {b"T": b"T (stopped)", b"S": b"S (sleeping)"}.get(state, line[7:])
        if key in (b"NSpgid", b"NSsid"):
            number = int(line.split()[-1])
            lines.append(key + b":\t%d" % container.inside_or_zero(number))
        elif key in values:
            lines.append(key + b":\t" + values[key])
        else:
            lines.append(line)
    return b"\n".join(lines) + b"\n" if lines else b""


def maps(container: Container, process: Process) -> bytes:
    return _mappings(container, host_file(process.pid, "maps"))


def smaps(container: Container, process: Process) -> bytes:
    return _mappings(container, host_file(process.pid, "smaps"))


def _mappings(container: Container, text: bytes) -> bytes:
    """Name the mappings' files by their paths inside, with the device and inode number that stat(2) would tell.

    A process may have 65,000 mappings, and what it asks for takes everybody's time: so only lines that name a file are
    looked at, and each file once.
    """
    known: dict[bytes, tuple[bytes, bytes]] = {}

    def line(match: re.Match[bytes]) -> bytes:
        start, middle, file = match.groups()
        if int(start, 16) in STUB_AREA:
            return HIDDEN
        found = known.get(file)
        if found is None:
            found = known[file] = _mapped_file(container, file)
        place, name = found
        head = b"%s-%s%s" % (start, middle, place)
        return head.ljust(72) + b" " + name  # as the host aligns it

    return HIDDEN_MAPPING.sub(b"", FILE_MAPPING.sub(line, text))


def _mapped_file(container: Container, file: bytes) -> tuple[bytes, bytes]:
    """(device and inode number, path) of what a mapping's line says about its file."""
    device, number, path = file.split(None, 2)
    major, _, minor = device.partition(b":")
    node = container.node_of_mapping(int(major, 16), int(minor, 16), int(number))
    if node is None:
        hidden = not path.startswith((b"/memfd:", b"/dev/zero", b"/[aio]"))
        return b"%s %s" % (device, number), b"/(unknown)" if hidden else path
    name = path_of(container.root, node) + (b"" if node.inode.nlink else b" (deleted)")
    return b"00:2c %d" % node.inode.ino, name


def sched(container: Container, process: Process, tid: int | None = None) -> bytes:
    """Its first line begins with "NAME (NUMBER,"."""
    text = host_file(process.pid, "sched" if tid is None else f"task/{tid}/sched")
    name, parenthesis, rest = text.partition(b" (")
    number = rest.partition(b",")[0]
    if not number.isdigit():
        return text
    return b"%s%s%d%s" % (name, parenthesis, container.inside(int(number)), rest[len(number) :])


def children(container: Container, process: Process, tid: int) -> bytes:
    """/proc/PID/task/TID/children: those of them that the container knows."""
    found = [int(number) for number in host_file(process.pid, f"task/{tid}/children").split()]
    return b"".join(b"%d " % container.inside(pid) for pid in found if pid in container.processes)


def mountstats(container: Container, process: Process) -> bytes:
    return b"".join(
        b"device %s mounted on %s with fstype %s\n" % (m.source.encode(), m.target, m.fs.type.encode())
        for m in container.mounts
    )


def mounts(container: Container, process: Process) -> bytes:
    return b"".join(
        b"%s %s %s %s 0 0\n"
        % (
            m.source.encode(),
            m.target,
            m.fs.type.encode(),
            b",".join(filter(None, (m.options(), m.fs.options))),
        )
        for m in container.mounts
    )


def mountinfo(container: Container, process: Process) -> bytes:
    lines = []
    for mount in container.mounts:
        parent = mount.parent.number if mount.parent is not None else 1
        lines.append(
            b"%d %d 0:%d %s %s %s - %s %s %s\n"
            % (
                mount.number,
                parent,
                mount.fs.dev & 0xFF,
                mount.fs.path_of(mount.root),
                mount.target,
                mount.options(),
                mount.fs.type.encode(),
                mount.source.encode(),
                b",".join(filter(None, (b"ro" if mount.read_only else b"rw", mount.fs.options))),
            )
        )
    return b"".join(lines)
