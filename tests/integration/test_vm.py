"""Virtual machines as a user uses them. One template for the whole module."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

sys.path.insert(0, os.path.dirname(__file__))
from machines import Pycontain, skip_without_machines, terminal_follows_its_size, until

from pycontain.vm import qemu

pytestmark = pytest.mark.vm


@pytest.fixture(scope="module")
def pc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pycontain]:
    skip_without_machines()
    pycontain = Pycontain(tmp_path_factory.mktemp("vm"))
    yield pycontain
    pycontain.end()
    assert pycontain.processes() == []


def test_it_is_another_kernel_with_its_own_output_and_exit_code(pc: Pycontain) -> None:
    done = pc.vm("--rm", "box", "sh", "-c", "uname -r; echo problem >&2; exit 42")
    assert done.returncode == 42
    assert done.stderr == b"problem\n"
    assert done.stdout.decode().strip() not in ("", os.uname().release)


@pytest.mark.parametrize(
    ("words", "code"), [(["nothing"], 127), (["/etc"], 126), (["sh", "-c", "kill -9 $$"], None)]
)
def test_exit_codes(pc: Pycontain, words: list[str], code: int | None) -> None:
    done = pc.vm("--rm", "box", *words)
    assert done.returncode == (0 if code is None else code)  # pid 1 cannot kill itself, in docker neither


def test_environment_user_directory_and_name(pc: Pycontain) -> None:
    script = "echo $A $HOME; pwd; id -u; id -g; hostname; cat /etc/hostname; echo $$"
    done = pc.vm(
        "--rm",
        "-e",
        "A=b",
        "-w",
        "/new/place",
        "-u",
        "1000:50",
        "--hostname",
        "guest",
        "box",
        "sh",
        "-c",
        script,
    )
    assert done.stdout.decode().split() == ["b", "/", "/new/place", "1000", "50", "guest", "guest", "1"]


def test_failures_are_told_as_a_containers_are(pc: Pycontain) -> None:
    """The same line and the same code."""
    for words in (
        ["box", "nosuch"],
        ["box", "/nosuch"],
        ["-e", "PATH=/bin:/else", "box", "nosuch"],
        ["-w", "/bin/sh", "box", "true"],
        ["-u", "ghost", "box", "true"],
        ["-u", "0:ghost", "box", "true"],
        ["--read-only", "box", "sh", "-c", "echo > /file"],
        ["-v", "name:/s", "box", "true"],
    ):
        here, there = pc("run", "--rm", *words), pc.vm("--rm", *words)
        assert here.returncode != 0
        assert (there.returncode, there.stdout, there.stderr) == (here.returncode, here.stdout, here.stderr)


def test_input_of_any_size(pc: Pycontain) -> None:
    data = os.urandom(3_000_000)
    assert pc.vm("-i", "--rm", "box", "cat", input=data).stdout == data
    assert pc.vm("--rm", "box", "cat").stdout == b""


def test_memory_and_cpus(pc: Pycontain) -> None:
    done = pc.vm(
        "--rm",
        "-m",
        "256m",
        "--cpus",
        "2",
        "box",
        "sh",
        "-c",
        "head -n 1 /proc/meminfo; ls /sys/devices/system/cpu",
    )
    assert 180_000 < int(done.stdout.split()[1]) < 262_144
    assert b"cpu1" in done.stdout


def test_two_processors_through_snapshot_and_clone(pc: Pycontain) -> None:
    """Both of them run programs, also after a restore."""
    busy = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"
    pc.vm("-d", "--name", "two", "--cpus", "2", "box", "sleep", "1000", check=True)
    pc("vm", "snapshot", "two", "both", check=True)
    pc("vm", "clone", "both", "--name", "other", check=True)
    for name in ("two", "other"):
        done = pc(
            "exec", name, "sh", "-c", f"({busy}) & ({busy}); wait; busybox nproc; cat /proc/stat", check=True
        )
        assert done.stdout.startswith(b"2\n")
        ticks = [int(line.split()[1]) for line in done.stdout.splitlines() if line[:4] in (b"cpu0", b"cpu1")]
        assert len(ticks) == 2 and min(ticks) > 0, done.stdout
    pc("vm", "restore", "two", "both", check=True)
    assert pc("exec", "two", "busybox", "nproc", check=True).stdout == b"2\n"
    pc("rm", "-f", "two", "other", check=True)
    pc("vm", "rm", "both", check=True)
    done = pc("run", "--rm", "--runtime", "vm", "--cpus", "1.5", "box", "true")
    assert done.returncode == 125 and b"whole" in done.stderr


def test_a_terminal_that_follows_its_size(pc: Pycontain) -> None:
    terminal_follows_its_size(pc, "vm")


def test_the_life_of_a_machine(pc: Pycontain, tmp_path: Path) -> None:
    script = 'trap "echo bye; exit 5" TERM; echo started; echo x > /new; while :; do sleep 0.1; done'
    pc.vm("-d", "--name", "one", "box", "sh", "-c", script, check=True)
    until(lambda: b"started" in pc("logs", "one").stdout)
    assert b"one" in pc("ps").stdout
    done = pc("exec", "-e", "Q=7", "one", "sh", "-c", "cat /new; exit $Q")
    assert (done.returncode, done.stdout) == (7, b"x\n")
    assert pc("exec", "one", "nothing").returncode == 127
    assert b"sh -c" in pc("top", "one").stdout
    (tmp_path / "in").write_text("from outside")
    pc("cp", str(tmp_path / "in"), "one:/tmp/in", check=True)
    assert pc("exec", "one", "cat", "/tmp/in").stdout == b"from outside"
    pc("cp", "one:/new", str(tmp_path / "out"), check=True)
    assert (tmp_path / "out").read_text() == "x\n"
    assert b"A /new" in pc("diff", "one").stdout
    pc("commit", "one", "of-a-running-one", check=True)
    assert pc.vm("--rm", "of-a-running-one", "cat", "/new", "/tmp/in").stdout == b"x\nfrom outside"
    pc("pause", "one", check=True)
    assert b"(Paused)" in pc("ps").stdout
    pc("unpause", "one", check=True)
    pc("stop", "one", check=True)
    assert pc("logs", "one").stdout == b"started\nbye\n"
    assert b"Exited (5)" in pc("ps", "-a").stdout
    assert set(pc("diff", "one").stdout.split(b"\n")) >= {b"A /new", b"A /tmp/in"}
    pc("start", "one", check=True)
    assert pc("exec", "one", "cat", "/tmp/in").stdout == b"from outside"
    pc("kill", "one", check=True)
    until(lambda: not pc.machines())
    assert b"Exited (137)" in pc("ps", "-a").stdout
    pc("rm", "one", check=True)


def top_layer(pc: Pycontain, image: str) -> list[tuple[object, ...]]:
    """Every member of an image's last layer, but for the times."""
    with tarfile.open(fileobj=io.BytesIO(pc("save", image, check=True).stdout)) as archive:

        def read(name: str) -> bytes:
            file = archive.extractfile(name)
            assert file is not None
            return file.read()

        last = json.loads(read("manifest.json"))[0]["Layers"][-1]
        data = read(last)
        if data.startswith(b"\x28\xb5\x2f\xfd"):
            data = zstandard.ZstdDecompressor().decompressobj().decompress(data)
        with tarfile.open(fileobj=io.BytesIO(data)) as layer:
            return [
                (
                    m.name,
                    m.type,
                    m.mode,
                    m.uid,
                    m.gid,
                    m.linkname,
                    m.size,
                    m.isreg() and layer.extractfile(m).read(),
                )  # type: ignore[union-attr]
                for m in layer
            ]


def test_a_machines_changes_make_the_same_layer_as_a_containers(pc: Pycontain) -> None:
    script = "mkdir -p /d/e; echo hi > /d/e/f; ln -s e /d/l; ln /d/e/f /d/h; rm /bin/wc; echo y >> /etc/motd"
    changes = []
    layers = []
    for runtime in (["--runtime", "vm"], []):
        pc("run", *runtime, "--name", "made", "box", "sh", "-c", script, check=True)
        changes.append(sorted(pc("diff", "made").stdout.splitlines()))
        pc("commit", "made", "made", check=True)
        pc("rm", "made", check=True)
        layers.append(top_layer(pc, "made"))
        assert pc.vm("--rm", "made", "cat", "/d/h", "/etc/motd").stdout == b"hi\ny\n"
    assert changes[0] == changes[1]
    assert layers[0] == layers[1]
    assert b"D /bin/wc" in changes[0]


def test_a_published_port(pc: Pycontain) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    script = "echo page > /www/index.html; exec httpd -f -h /www"
    pc.vm("-d", "--name", "web", "-p", f"127.0.0.1:{port}:80", "box", "sh", "-c", script, check=True)

    def answers() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
                return bool(answer.read() == b"page\n")
        except OSError:
            return False

    until(answers)
    assert pc("port", "web").stdout == f"80/tcp -> 127.0.0.1:{port}\n".encode()
    assert pc("port", "web", "80").stdout == f"127.0.0.1:{port}\n".encode()
    assert pc("port", "web", "81").returncode != 0
    assert pc("ps", "--format", "{{.Ports}}").stdout == f"127.0.0.1:{port}->80/tcp\n".encode()
    shown = json.loads(pc("inspect", "web").stdout)[0]["NetworkSettings"]["Ports"]
    assert shown == {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(port)}]}
    done = pc.vm("--rm", "-p", f"127.0.0.1:{port}:80", "box", "true")
    assert done.returncode == 125 and done.stderr.startswith(
        f"pycontain: publish 127.0.0.1:{port}/tcp:".encode()
    )
    pc("rm", "-f", "web", check=True)


def test_snapshots_clones_and_a_move(pc: Pycontain, tmp_path: Path) -> None:
    script = "read n < /proc/sys/kernel/random/uuid; echo nonce $n; while :; do read l < /tmp/ask && echo $n; sleep 0.1; done"
    pc.vm("-d", "--name", "old", "box", "sh", "-c", script, check=True)
    until(lambda: b"nonce" in pc("logs", "old").stdout)
    nonce = pc("logs", "old").stdout.split()[1]
    pc("exec", "old", "sh", "-c", "echo kept > /tmp/kept; hostname > /tmp/name", check=True)
    pc("vm", "snapshot", "old", "first", check=True)
    assert b"first" in pc("vm", "ls").stdout
    pc("vm", "clone", "first", "--name", "twin", check=True)
    pc("exec", "twin", "sh", "-c", "echo > /tmp/ask", check=True)
    until(lambda: nonce in pc("logs", "twin").stdout)  # what was in memory is there
    names = [pc("exec", name, "hostname").stdout for name in ("old", "twin")]
    assert names[0] != names[1]
    numbers = [pc("exec", name, "head", "-c", "16", "/dev/urandom").stdout for name in ("old", "twin")]
    assert numbers[0] != numbers[1]
    pc("exec", "old", "rm", "/tmp/kept", check=True)
    pc("vm", "restore", "old", "first", check=True)
    assert pc("exec", "old", "cat", "/tmp/kept").stdout == b"kept\n"
    pc("exec", "old", "sh", "-c", "echo > /tmp/ask", check=True)
    until(lambda: pc("logs", "old").stdout.count(nonce) >= 2)
    pc("restart", "-t", "0", "old", check=True)
    until(lambda: pc("logs", "old").stdout.count(b"nonce") == 2)
    assert pc("logs", "old").stdout.split()[-1] != nonce  # gone after a reboot
    pc("vm", "export", "first", "-o", str(tmp_path / "snapshot.tar"), check=True)
    other = Pycontain(tmp_path / "other")
    try:
        assert other("vm", "import", str(tmp_path / "snapshot.tar")).stdout == b"old\n"
        other("vm", "clone", "old", "--name", "moved", check=True)
        assert other("exec", "moved", "cat", "/tmp/kept").stdout == b"kept\n"
        # from a host with another QEMU: kept, with a warning, but not started
        path = other.root / "vm" / "snapshots" / "old" / "snapshot.json"
        kept = json.loads(path.read_text())
        path.write_text(json.dumps({**kept, "host": ["1.2.3", *kept["host"][1:]]}))
        other("vm", "export", "old", "-o", str(tmp_path / "foreign.tar"), check=True)
        done = other("vm", "import", "--tag", "foreign", str(tmp_path / "foreign.tar"))
        assert done.stdout == b"foreign\n" and b"saved by QEMU 1.2.3" in done.stderr
        done = other("vm", "clone", "foreign")
        assert done.returncode == 125 and b"saved by QEMU 1.2.3" in done.stderr
    finally:
        other.end()
    assert other.processes() == []
    pc("vm", "rm", "first", check=True)
    pc("rm", "-f", "old", "twin", check=True)


def test_a_clone_s_own_files_outlive_the_original(pc: Pycontain) -> None:
    words = ("--hostname", "special", "--add-host", "foo:1.2.3.4", "box", "sleep", "1000")
    pc.vm("-d", "--name", "orig", *words, check=True)
    pc("vm", "snapshot", "orig", "names", check=True)
    identity = pc("vm", "clone", "names", "--name", "twin", check=True).stdout.decode().strip()

    def names() -> list[str]:
        said = pc("exec", "twin", "sh", "-c", "hostname; cat /etc/hostname /etc/hosts", check=True).stdout
        lines = said.decode().splitlines()
        return [*lines[:2], lines[-1].split()[1], *(line for line in lines if "foo" in line)]

    wanted = [identity[:12]] * 3 + ["1.2.3.4\tfoo"]
    assert names() == wanted
    pc("rm", "-f", "orig", check=True)
    pc("restart", "-t", "0", "twin", check=True)
    assert names() == wanted
    pc("vm", "rm", "names", check=True)
    pc("rm", "-f", "twin", check=True)


def test_a_machine_that_is_removed_at_its_end_can_be_restored(pc: Pycontain) -> None:
    pc.vm("-d", "--rm", "--name", "brief", "box", "sleep", "1000", check=True)
    pc("vm", "snapshot", "brief", "brief", check=True)
    pc("exec", "brief", "sh", "-c", "echo > /later", check=True)
    pc("vm", "restore", "brief", "brief", check=True)
    assert pc("exec", "brief", "ls", "/later").returncode == 1
    pc("stop", "-t", "0", "brief", check=True)
    assert b"brief" not in pc("ps", "-a").stdout
    pc("vm", "rm", "brief", check=True)


def test_a_restored_machine_has_its_changes_of_before(pc: Pycontain) -> None:
    """Those of its earlier runs, which are files on the host, and those that are in its memory."""
    pc.vm("-d", "--name", "again", "box", "sleep", "1000", check=True)
    pc("exec", "again", "sh", "-c", "echo first > /first", check=True)
    pc("restart", "-t", "0", "again", check=True)
    pc("exec", "again", "sh", "-c", "echo second > /second", check=True)
    pc("vm", "snapshot", "again", "both", check=True)
    pc("exec", "again", "sh", "-c", "rm /first; echo third > /third", check=True)
    pc("stop", "-t", "0", "again", check=True)
    pc("vm", "restore", "again", "both", check=True)
    assert pc("exec", "again", "sh", "-c", "cat /first /second").stdout == b"first\nsecond\n"
    pc("stop", "-t", "0", "again", check=True)
    assert pc("diff", "again").stdout.splitlines() == [b"A /first", b"A /second"]
    pc("vm", "rm", "both", check=True)
    pc("rm", "-f", "again", check=True)


def test_a_snapshot_that_shares_directories_is_not_imported_unasked(pc: Pycontain, tmp_path: Path) -> None:
    """Who made the tar chose which ones."""
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "file").write_text("x\n")
    (tmp_path / "single").write_text("y\n")
    for name, source in (("dir", shared), ("single", tmp_path / "single")):
        pc.vm("-d", "--name", name, "-v", f"{source}:/s", "box", "sleep", "1000", check=True)
        pc("vm", "snapshot", name, name, check=True)
        pc("vm", "export", name, "-o", str(tmp_path / "snapshot.tar"), check=True)
        pc("vm", "rm", name, check=True)
        done = pc("vm", "import", str(tmp_path / "snapshot.tar"))
        assert done.returncode == 125 and f"would share {source} of this host".encode() in done.stderr
        assert pc("vm", "ls").stdout.count(b"\n") == 1
        pc("vm", "import", "--shares", str(tmp_path / "snapshot.tar"), check=True)
        pc("rm", "-f", name, check=True)
        pc("vm", "clone", name, "--name", name, check=True)
        assert pc("exec", name, "ls", "/s").returncode == 0
        pc("rm", "-f", name, check=True)
        pc("vm", "rm", name, check=True)


def test_what_is_no_snapshot(pc: Pycontain, tmp_path: Path) -> None:
    for content, reason in ((b"x" * 2000, b"no complete tar"), (b"", b"no complete tar"), (bytes(10240), b"this is none")):
        (tmp_path / "tar").write_bytes(content)
        done = pc("vm", "import", str(tmp_path / "tar"))
        assert done.returncode == 125 and reason in done.stderr, done.stderr
    done = pc("vm", "import", str(tmp_path / "nothing"))
    assert done.returncode == 125 and b"read " in done.stderr and b"Errno" not in done.stderr
    (tmp_path / "kept.tar").write_bytes(b"kept")
    done = pc("vm", "export", "nothing", "-o", str(tmp_path / "kept.tar"))
    assert done.returncode == 125 and (tmp_path / "kept.tar").read_bytes() == b"kept"


def test_a_snapshot_of_another_version_can_be_seen_and_removed(pc: Pycontain) -> None:
    place = pc.root / "vm" / "snapshots" / "ancient"
    place.mkdir(parents=True)
    (place / "snapshot.json").write_text('{"format": 1}')
    (place / "state").write_bytes(b"x")
    assert b"ancient   (of another version)" in pc("vm", "ls", check=True).stdout
    done = pc("vm", "clone", "ancient")
    assert done.returncode == 125 and b"another version of pycontain (pycontain vm rm ancient)" in done.stderr
    pc("vm", "rm", "ancient", check=True)
    assert not place.exists()


def test_inspect_tells_what_a_machine_has(pc: Pycontain) -> None:
    pc("create", "--runtime", "vm", "-m", "200m", "--cpus", "2", "--name", "shown", "box", "true", check=True)
    shown = json.loads(pc("inspect", "shown", check=True).stdout)[0]["HostConfig"]
    assert (shown["Memory"], shown["NanoCpus"], shown["NetworkMode"]) == (200 << 20, 2 * 10**9, "default")
    pc("rm", "shown", check=True)


def test_the_clock_is_right(pc: Pycontain) -> None:
    done = pc.vm("--rm", "box", "sh", "-c", "echo > /tmp/f; busybox stat -c %Y /tmp/f")
    assert abs(int(done.stdout) - time.time()) < 5


def test_what_warmed_a_machine_up_left_no_complaint(pc: Pycontain) -> None:
    warm(pc)
    said = pc.vm("--rm", "box", "busybox", "dmesg", check=True).stdout
    assert b"initcall" in said and b"segfault" not in said and b"WARNING" not in said
    # nor anything in what would be the container's changes
    assert pc.vm("--name", "clean", "box", "ls", "/data").returncode == 1
    assert pc("diff", "clean", check=True).stdout == b""
    pc("rm", "clean", check=True)


def test_the_clock_s_source_stays_what_it_is(pc: Pycontain) -> None:
    """A kernel that changes to another one a second after it has booted does so in every clone."""
    path = "/sys/devices/system/clocksource/clocksource0/current_clocksource"
    before, after = pc.vm("--rm", "box", "sh", "-c", f"cat {path}; sleep 3; cat {path}").stdout.split()
    assert before == after and before.startswith((b"tsc", b"kvm"))


def test_the_clock_goes_as_fast_as_the_hosts(pc: Pycontain) -> None:
    """Whatever the frequency of this processor is."""
    pc.vm("-d", "--name", "clock", "box", "sleep", "100", check=True)

    def look() -> tuple[float, float, float]:
        before = time.monotonic()
        shown = pc("exec", "clock", "cat", "/proc/uptime", check=True).stdout
        return before, float(shown.split()[0]), time.monotonic()

    first = look()
    time.sleep(4)
    second = look()
    passed = second[1] - first[1]
    assert second[0] - first[2] - 0.03 < passed < second[2] - first[0] + 0.03
    pc("rm", "-f", "clock", check=True)


def test_check_and_setup_say_what_there_is(pc: Pycontain) -> None:
    done = pc("vm", "check")
    assert done.returncode == 0 and b"guest kernel" in done.stdout and b"ready" in done.stdout
    assert b"template" in pc("vm", "setup", check=True).stdout


def test_without_qemu_the_explanation_is_all(pc: Pycontain, tmp_path: Path) -> None:
    env = {**pc.env, "PYCONTAIN_QEMU": "/nonexistent", "PYCONTAIN_RUNTIME_DIR": str(tmp_path)}
    argv = [sys.executable, "-m", "pycontain", "run", "--rm", "--runtime", "vm", "box", "true"]
    done = subprocess.run(argv, env=env, capture_output=True, timeout=60, check=False)
    assert done.returncode == 125
    assert b"QEMU" in done.stderr and b"vm check" in done.stderr and done.stderr.count(b"\n") == 1
    argv = [sys.executable, "-m", "pycontain", "vm", "check"]
    done = subprocess.run(argv, env=env, capture_output=True, timeout=60, check=False)
    assert done.returncode == 1 and b"NO  QEMU" in done.stdout


def test_a_live_directory_of_the_host(pc: Pycontain, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "big").write_bytes(os.urandom(1_000_000))
    script = "pwd; ls; cat ../share/big > copy; mkdir new; echo hi > new/f; ln -s f new/l; rm -r sub; mv new other; cat other/l"
    done = pc.vm("--rm", "-v", f"{tmp_path}:/share", "-w", "/share", "box", "sh", "-c", script)
    assert done.stdout.split() == [b"/share", b"big", b"sub", b"hi"], done.stderr
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "big").read_bytes()
    assert (tmp_path / "other/f").read_text() == "hi\n" and not (tmp_path / "sub").exists()
    (tmp_path / "link").symlink_to("/etc/passwd")
    done = pc.vm(
        "--rm",
        "-v",
        f"{tmp_path}:/share:ro",
        "box",
        "sh",
        "-c",
        "cat /share/link; echo no > /share/x; cat /share/other/f",
    )
    assert done.stdout == b"hi\n" and b"Read-only" in done.stderr and b"root:x" not in done.stdout


def test_a_machine_that_waits_costs_no_cpu(pc: Pycontain, tmp_path: Path) -> None:
    """Also with a share and a program's open input: nothing is polled for that is always there."""

    def ticks(pid: int) -> int:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    pc.vm("-d", "-i", "--name", "idle", "-v", f"{tmp_path}:/share", "box", "sleep", "100", check=True)
    (pid,) = pc.machines()
    time.sleep(1)
    before = ticks(pid)
    time.sleep(2)
    assert ticks(pid) - before < 0.2 * os.sysconf("SC_CLK_TCK")
    pc("rm", "-f", "idle", check=True)


def test_stats_are_those_of_a_container(pc: Pycontain) -> None:
    pc.vm("-d", "--name", "counted", "box", "sh", "-c", "sleep 100 & sleep 100", check=True)
    form = "{{.Name}} {{.PIDs}} {{.MemUsage}} {{.CPUPerc}}"
    name, pids, used, _, limit, cpu = pc("stats", "--no-stream", "--format", form).stdout.decode().split()
    assert (name, pids, limit) == ("counted", "2", "128MiB")
    assert 10 < float(used.removesuffix("MiB")) < 128 and cpu.endswith("%")
    pc("exec", "-d", "counted", "sh", "-c", "while :; do :; done", check=True)

    def busy() -> bool:
        done = pc("stats", "--no-stream", "--format", "{{.CPUPerc}}")
        return float(done.stdout.decode().strip().removesuffix("%")) > 8  # of a busy host

    until(busy)
    pc("rm", "-f", "counted", check=True)


def test_a_paused_machine_is_not_asked(pc: Pycontain) -> None:
    """It would be given up for not answering."""
    pc.vm("-d", "--name", "still", "box", "sleep", "100", check=True)
    pc("pause", "still", check=True)
    for words in (
        ["exec", "still", "true"],
        ["top", "still"],
        ["diff", "still"],
        ["vm", "snapshot", "still", "x"],
    ):
        done = pc(*words)
        assert done.returncode == 125 and b"paused" in done.stderr and b"unpause" in done.stderr, words
    assert pc("stats", "--no-stream", "--format", "{{.Name}}").stdout == b"still\n"
    pc("unpause", "still", check=True)
    assert pc("exec", "still", "echo", "here").stdout == b"here\n"
    pc("rm", "-f", "still", check=True)


@pytest.mark.parametrize("firmware", [["bios-256k.bin", "pvh.bin"], ["bios-256k.bin"]])
def test_another_board_where_there_is_no_firmware_for_the_small_one(
    firmware: list[str], tmp_path: Path
) -> None:
    """As in wheels of QEMU; without pvh.bin the guest unpacks its kernel itself."""
    skip_without_machines()
    program = tmp_path / "qemu"
    for name in firmware:
        (tmp_path / name).touch()
    program.write_text(
        f'#!/bin/sh\n[ "$*" = "-L help" ] && exec echo {tmp_path}\nexec {shutil.which(qemu.PROGRAM)} "$@"\n'
    )
    program.chmod(0o755)
    other = Pycontain(tmp_path / "other")
    other.env["PYCONTAIN_QEMU"] = str(program)
    try:
        assert b"0000:00:1f.0" in other.vm("--rm", "box", "ls", "/sys/bus/pci/devices", check=True).stdout
        other.vm("-d", "--name", "pci", "box", "sleep", "100", check=True)
        other("vm", "snapshot", "pci", "s", check=True)
        other("vm", "clone", "s", "--name", "twin", check=True)
        assert other("exec", "twin", "echo", "here").stdout == b"here\n"
    finally:
        other.end()
    assert other.processes() == []


def test_a_snapshot_of_a_machine_that_shares_a_directory(pc: Pycontain, tmp_path: Path) -> None:
    """Open files go on where they were; what has gone from the host meanwhile is stale."""
    (tmp_path / "lines").write_text("one\ntwo\nthree\n")
    (tmp_path / "kept").write_text("")
    (tmp_path / "gone").write_text("gone\n")
    script = (
        "exec 3<lines 4>kept 5<gone; read l <&3; echo first $l;"
        " while :; do if read n < /tmp/ask; then read l <&3; echo next $l; echo $n $l >&4;"
        " read g <&5 || echo stale; rm /tmp/ask; fi 2>/dev/null; sleep 0.1; done"
    )
    pc.vm(
        "-d",
        "--name",
        "sharing",
        "-v",
        f"{tmp_path}:/share",
        "-w",
        "/share",
        "box",
        "sh",
        "-c",
        script,
        check=True,
    )
    until(lambda: b"first one" in pc("logs", "sharing").stdout)
    pc("vm", "snapshot", "sharing", "shared", check=True)
    (tmp_path / "gone").unlink()
    pc("vm", "clone", "shared", "--name", "twin", check=True)
    for name in ("sharing", "twin"):
        pc("exec", name, "sh", "-c", f"echo {name} > /tmp/ask", check=True)
        until(lambda name=name: b"next two" in pc("logs", name).stdout)  # type: ignore[misc]
    until(lambda: b"stale" in pc("logs", "twin").stdout)
    assert pc("exec", "twin", "cat", "/share/lines").stdout == b"one\ntwo\nthree\n"
    assert b"twin two" in (tmp_path / "kept").read_bytes()
    pc("rm", "-f", "sharing", "twin", check=True)
    os.rename(tmp_path, tmp_path.with_name("elsewhere"))
    done = pc("vm", "clone", "shared")
    assert done.returncode == 125 and b"No such file" in done.stderr
    pc("vm", "rm", "shared", check=True)


# -- zygotes (vm/zygote.py)


def warm(pc: Pycontain) -> int:
    """Ask for machines until there is a zygote; its process id."""
    for _ in range(3):
        if not pc.zygotes():
            assert pc.vm("--rm", "box", "echo", "here", check=True).stdout == b"here\n"
    (pid,) = pc.zygotes()
    return pid


def test_machines_of_a_zygote_have_nothing_in_common(pc: Pycontain) -> None:
    zygote = warm(pc)
    script = "cat /proc/sys/kernel/random/uuid /proc/sys/kernel/random/boot_id /etc/hostname; head -c 16 /dev/urandom | wc -c"
    said = [pc.vm("--rm", "box", "sh", "-c", script, check=True).stdout.splitlines() for _ in range(4)]
    for number in range(3):
        assert len({lines[number] for lines in said}) == 4, said
    # the processor's own random numbers would be the same ones
    assert b"rdrand" not in pc.vm("--rm", "box", "cat", "/proc/cpuinfo", check=True).stdout
    assert pc.zygotes() == [zygote]
    assert Path(f"/proc/{zygote}/stat").read_text().rpartition(")")[2].split()[0] == "t"  # it stands still


def test_a_machine_of_a_zygote_shares_no_descriptor_with_another(pc: Pycontain) -> None:
    zygote = warm(pc)
    pc.vm("-d", "--name", "aa", "box", "sleep", "1000", check=True)
    pc.vm("-d", "--name", "bb", "box", "sleep", "1000", check=True)
    pids = [zygote, *(int(json.loads(pc("inspect", n).stdout)[0]["State"]["Pid"]) for n in ("aa", "bb"))]
    seen: dict[str, int] = {}
    for pid in pids:
        for name in os.listdir(f"/proc/{pid}/fd"):
            what = os.readlink(f"/proc/{pid}/fd/{name}")
            if what.startswith("anon_inode:[eventfd]"):
                line = Path(f"/proc/{pid}/fdinfo/{name}").read_text()
                what = next((x for x in line.splitlines() if x.startswith("eventfd-id")), f"{pid} {name}")
            if what.startswith(("socket:", "eventfd-id")) or what.endswith(("console", ".log")):
                assert seen.setdefault(what, pid) == pid, what
    assert len([what for what in seen if what.startswith("socket:")]) == 4 + 3 + 3
    pc("rm", "-f", "aa", "bb", check=True)


def test_a_port_of_a_machine_of_a_zygote(pc: Pycontain) -> None:
    zygote = warm(pc)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        taken.listen()
        done = pc.vm("--rm", "-p", f"127.0.0.1:{port}:80", "box", "true")
        assert done.returncode == 125
        assert b"publish 127.0.0.1:%d/tcp: the port cannot be had" % port in done.stderr
    words = ("-d", "--name", "web", "-p", f"127.0.0.1:{port}:80", "box", "httpd", "-f", "-h", "/etc")
    pc.vm(*words, check=True)

    def answers() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/hostname", timeout=10) as answer:
                return bool(answer.read())
        except OSError:
            return False

    until(answers)
    pc("rm", "-f", "web", check=True)
    assert pc.zygotes() == [zygote]


def test_a_zygote_that_was_killed_is_not_missed(pc: Pycontain) -> None:
    os.kill(warm(pc), signal.SIGKILL)
    for _ in range(3):
        assert pc.vm("--rm", "box", "echo", "here", check=True).stdout == b"here\n"
    assert len(pc.zygotes()) == 1
    (log,) = Path(pc.env["PYCONTAIN_RUNTIME_DIR"]).rglob("server.log")
    assert "cloned without a zygote" in log.read_text()
