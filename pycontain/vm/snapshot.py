"""Running machines saved, restored, cloned, and moved: vm/snapshots/TAG/

    state           QEMU's devices and the guest's memory
    disk            the root file system below; a hard link where that is possible
    base/           what the container had changed before the machine's start (journal, files/), if anything
    snapshot.json   the machine, the container's record, and what we know of the programs in the guest

A snapshot is complete in itself: `vm export` is a tar of it, and another host of the same kind can load that. What
has to be the same is kept in it (host.py), and compared before a machine is started.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import time
from typing import TYPE_CHECKING, Any

from pycontain.errors import Conflict, MachineError, NotFound
from pycontain.kernel.streams import Log
from pycontain.vm import guest, host, qemu
from pycontain.vm.feed import feed_terminal
from pycontain.vm.home import directory
from pycontain.vm.machine import Machine
from pycontain.vm.process import Process
from pycontain.vm.script import Script
from pycontain.vm.session import Session
from pycontain.vm.share import Share
from pycontain.vm.syncing import Changes

if TYPE_CHECKING:
    from pycontain.vm.running import Running
    from pycontain.vm.server import Server

FORMAT = 7
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")


def place(root: str, tag: str) -> str:
    """A snapshot's directory, whether it is there or not. MachineError for a tag that is none."""
    if not _TAG.fullmatch(tag):
        raise MachineError(f"name a snapshot {tag!r}: not a name of letters, digits, . _ and -")
    return os.path.join(directory(root, "snapshots"), tag)


def read(root: str, tag: str) -> dict[str, Any]:
    """snapshot.json. NotFound, and MachineError for one that another version of ours has written."""
    try:
        with open(os.path.join(place(root, tag), "snapshot.json"), encoding="utf-8") as file:
            value = json.load(file)
    except FileNotFoundError:
        raise NotFound(f"find snapshot {tag}: there is none", hint="pycontain vm ls lists them") from None
    except ValueError as error:
        raise MachineError(f"read snapshot {tag}: {error}", hint=f"pycontain vm rm {tag}") from None
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise MachineError(
            f"read snapshot {tag}: it is of another version of pycontain", hint=f"pycontain vm rm {tag}"
        )
    return value


def shared(kept: dict[str, Any]) -> list[str]:
    """What of the host's a snapshot's machine has mounted, or would mount when it is started again. kept: read()."""
    # what a clone gets new ones of
    own = {f"containers/{kept['record']['Id']}/{name}": f"/etc/{name}" for name in ("hosts", "hostname", "resolv.conf")}
    sources = [str(share["path"]) for _, share in kept["shares"]]
    for mount in kept["record"]["Spec"]["mounts"]:
        source = str(mount.get("source") or "")
        if source and own.get("/".join(source.split("/")[-3:])) != mount["target"]:
            sources.append(source)
    return sorted(set(sources))


def tags(root: str) -> list[str]:
    """All snapshots' names."""
    folder = directory(root, "snapshots")
    return sorted(
        name
        for name in os.listdir(folder)
        if _TAG.fullmatch(name) and os.path.exists(os.path.join(folder, name, "snapshot.json"))
    )


def remove(root: str, tag: str) -> None:
    """Of whatever version. NotFound where there is none."""
    if tag not in tags(root):
        raise NotFound(f"remove snapshot {tag}: there is none", hint="pycontain vm ls lists them")
    # gone at once, whatever happens to the rest
    aside = f"{place(root, tag)}~{os.getpid()}"
    os.rename(place(root, tag), aside)
    shutil.rmtree(aside)


async def take(root: str, program: qemu.Qemu, identity: str, running: Running, tag: str) -> dict[str, Any]:
    """Save a running machine; it goes on. Returns seconds (stopped, total) and bytes."""
    target = place(root, tag)
    if os.path.exists(target):
        raise Conflict(f"make snapshot {tag}: there is one of that name", hint=f"pycontain vm rm {tag}")
    scratch = f"{target}~{os.getpid()}"
    shutil.rmtree(scratch, ignore_errors=True)
    os.makedirs(scratch, mode=0o700)
    machine = running.machine
    if not isinstance(machine.process, Process):
        raise MachineError(f"make snapshot {tag}: User-Mode Linux cannot be saved", hint="--runtime vm can")
    begun = time.monotonic()
    try:
        accel = machine.process.machine.accel
        here = await asyncio.to_thread(host.describe, program, accel, directory(root))
        await machine.quiet()
        try:
            described = _describe(identity, running)
            stopped = await asyncio.to_thread(_save, machine.process, os.path.join(scratch, "state"))
        finally:
            machine.resume()
        _link(machine.process.machine.disk, os.path.join(scratch, "disk"))
        _keep_base(running, os.path.join(scratch, "base"))
        described.update(host=here, created=time.time_ns())
        with open(os.path.join(scratch, "snapshot.json"), "w", encoding="utf-8") as file:
            json.dump(described, file)
        os.rename(scratch, target)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    size = os.stat(os.path.join(target, "state")).st_size
    return {"stopped": stopped, "seconds": time.monotonic() - begun, "bytes": size}


def _save(process: Process, state: str) -> float:
    begun = time.monotonic()
    process.qmp.execute("stop")
    try:
        process.save(state)
    finally:
        process.qmp.execute("cont")
    return time.monotonic() - begun


def _describe(identity: str, running: Running) -> dict[str, Any]:
    machine = running.machine
    assert isinstance(machine.process, Process)
    made = machine.process.machine
    with open(os.path.join(running.spec["directory"], "config.json"), encoding="utf-8") as file:
        record = json.load(file)
    return {
        "format": FORMAT,
        "id": identity,
        "record": record,
        "board": made.board,
        "memory": made.memory,
        "cpus": made.cpus,
        "signals": machine.signals,
        "namespaces": machine.namespaces,
        "stubs": [os.fsdecode(path) for path in sorted(machine.stubs)],
        "hostname": os.fsdecode(machine.hostname),
        "passwd": os.fsdecode(machine.passwd),
        "group": os.fsdecode(machine.group),
        "own_machine_id": machine.own_machine_id,
        "shares": [[fd, share.state()] for fd, share in machine.serving.shares.items()],
        "sessions": [
            {
                "pid": s.pid,
                "outputs": [[fd, stream] for fd, stream in s.outputs.items()],
                "input": s.input,
                "terminal": s.terminal,
                "size": list(s.size),
            }
            for s in machine.sessions
            if s.exit_code is None
        ],
    }


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or not ours to link
        shutil.copyfile(source, target)


def _keep_base(running: Running, target: str) -> None:
    if running.changes is None or not running.changes.length:
        return
    os.makedirs(target)
    source = running.spec["directory"]
    with (
        open(os.path.join(source, "journal"), "rb") as file,
        open(os.path.join(target, "journal"), "wb") as out,
    ):
        out.write(file.read(running.changes.length))
    shutil.copytree(os.path.join(source, "files"), os.path.join(target, "files"))


def obstacle(root: str, program: qemu.Qemu, tag: str) -> str | None:
    """Why the snapshot's machine cannot go on on this host; None where it can."""
    kept = read(root, tag)
    return host.obstacle(host.parse(kept["host"]), kept["board"], program, directory(root))


async def restore(
    server: Server, program: qemu.Qemu, tag: str, spec: dict[str, Any], *, fresh: bool
) -> Running:
    """A machine in the snapshot's state runs the container `spec`. fresh: it is a new one, with a name of its own. There
    must be no obstacle()."""
    kept = read(server.root, tag)
    source = place(server.root, tag)
    container = spec["directory"]
    _put_base(source, container)
    run = directory(server.root, "run", spec["id"])
    forwards = tuple(
        (f[0], int(f[1]), int(f[2]), f[3]) for f in (spec.get("machine") or {}).get("forwards") or []
    )
    described = qemu.Machine(
        kept["board"], host.parse(kept["host"]).accel, kept["memory"], kept["cpus"], None, "", False, os.path.join(run, "console"),
        os.path.join(source, "disk"), () if fresh else forwards,
    )  # fmt: skip
    process = Process.spawn(program.path, described, os.path.join(run, "qemu.log"))
    try:
        await asyncio.to_thread(process.load, os.path.join(source, "state"))
    except BaseException:
        process.control.close()
        process.kill()
        raise
    machine = Machine(process, kept["signals"])
    log = Log(os.path.join(container, "log")) if spec.get("log") else None
    try:
        machine.namespaces = list(kept["namespaces"])
        machine.stubs = {os.fsencode(path) for path in kept["stubs"]}
        machine.passwd, machine.group = os.fsencode(kept["passwd"]), os.fsencode(kept["group"])
        machine.own_machine_id = bool(kept["own_machine_id"])
        machine.hostname = os.fsencode(spec["hostname"] if fresh else kept["hostname"])
        for fd, share in kept["shares"]:
            machine.serving.shares[int(fd)] = Share.restored(share)
        await _wake(machine, spec if fresh else None)
        if machine.serving.shares:
            machine.serving.begin()
        for row in kept["sessions"]:
            machine.sessions.append(_session(row, spec, log))
    except BaseException:
        await machine.stop()
        raise
    changes = None if spec.get("remove") else Changes(server.store, spec["layers"], container)
    running = server.adopt(spec["id"], machine, spec, changes, log, machine.sessions[0])
    for session in machine.sessions:
        if session.terminal:
            feed_terminal(machine, session)
    machine.begin()
    return running


async def _wake(machine: Machine, spec: dict[str, Any] | None) -> None:
    """The clock and randomness are of now. spec: of a new machine, which gets its own names and machine-id."""
    script = Script()
    guest.awake(script, None if spec is None else machine.hostname)
    if spec is not None:
        flags = guest.O_WRONLY | guest.O_CREAT | guest.O_TRUNC
        if machine.own_machine_id:
            script.write_file(
                b"/c/files/0", os.urandom(16).hex().encode() + b"\n", flags, what="write a machine-id"
            )
        for number, mount in enumerate(spec["mounts"], 1):
            if mount["target"] in ("/etc/hostname", "/etc/hosts") and os.path.isfile(mount["source"]):
                with open(mount["source"], "rb") as file:
                    data = file.read()
                script.write_file(b"/c/files/%d" % number, data, flags, what=f"write {mount['target']}")
    await machine.run(script)


def _session(row: dict[str, Any], spec: dict[str, Any], log: Log | None) -> Session:
    session = Session({**spec, "terminal": row["terminal"], "size": row["size"]}, log)
    session.pid = int(row["pid"])
    session.outputs = {int(fd): int(stream) for fd, stream in row["outputs"]}
    session.input = int(row["input"])
    return session


def _put_base(source: str, container: str) -> None:
    """The container's own changes are those before the snapshot's machine was started; the rest is in its memory.
    Whenever that is interrupted, the journal is whole or not there: without it nothing counts that lies in files/."""
    journal, files = os.path.join(container, "journal"), os.path.join(container, "files")
    if os.path.exists(journal):
        os.unlink(journal)
    shutil.rmtree(files, ignore_errors=True)
    base = os.path.join(source, "base")
    if os.path.isdir(base):
        shutil.copytree(os.path.join(base, "files"), files)
        shutil.copyfile(os.path.join(base, "journal"), f"{journal}~")
        os.rename(f"{journal}~", journal)
