"""User-Mode Linux as a user uses it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, os.path.dirname(__file__))
from machines import terminal_follows_its_size, until
from uml_machines import UmlPycontain, skip_without_uml

pytestmark = pytest.mark.vm


@pytest.fixture(scope="module")
def pc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UmlPycontain]:
    skip_without_uml()
    pycontain = UmlPycontain(tmp_path_factory.mktemp("uml"))
    yield pycontain
    pycontain.end()
    assert pycontain.machines() == []


def test_it_is_another_kernel_with_its_own_output_and_exit_code(pc: UmlPycontain) -> None:
    done = pc.uml("--rm", "box", "sh", "-c", "uname -r; echo problem >&2; exit 42")
    assert (done.returncode, done.stderr) == (42, b"problem\n")
    assert done.stdout.decode().strip() not in ("", os.uname().release)


@pytest.mark.parametrize(("words", "code"), [(["nothing"], 127), (["/etc"], 126), (["false"], 1)])
def test_exit_codes(pc: UmlPycontain, words: list[str], code: int) -> None:
    assert pc.uml("--rm", "box", *(["sh", "-c", "exit 1"] if code == 1 else words)).returncode == code


def test_environment_user_directory_and_name(pc: UmlPycontain) -> None:
    script = "echo $A $HOME; pwd; id -u; id -g; hostname; cat /etc/hostname; echo $$"
    options = ["--rm", "-e", "A=b", "-w", "/new/place", "-u", "1000:50", "--hostname", "guest"]
    done = pc.uml(*options, "--entrypoint", "sh", "box", "-c", script)
    assert done.stdout.decode().split() == ["b", "/", "/new/place", "1000", "50", "guest", "guest", "1"]


def test_input_of_any_size(pc: UmlPycontain) -> None:
    data = os.urandom(5_000_000)
    assert pc.uml("-i", "--rm", "box", "cat", input=data).stdout == data
    assert pc.uml("--rm", "box", "cat").stdout == b""


def test_memory(pc: UmlPycontain) -> None:
    done = pc.uml("--rm", "-m", "256m", "box", "head", "-n", "1", "/proc/meminfo")
    assert 200_000 < int(done.stdout.split()[1]) < 262_144


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["-p", "80:80"], b"no network"),
        (["--cpus", "2"], b"one CPU"),
        (["-m", "8m"], b"at least 32m"),
        (["--vm-accel", "kvm"], b"the host's CPU as it is"),
        (["--cap-add", "NET_ADMIN"], b"not there for machines"),
    ],
)
def test_what_it_cannot_do_is_refused(pc: UmlPycontain, words: list[str], reason: bytes) -> None:
    done = pc.uml("--rm", *words, "box", "true")
    assert done.returncode == 125
    assert reason in done.stderr and done.stderr.count(b"\n") == 1


def test_a_terminal_that_follows_its_size(pc: UmlPycontain) -> None:
    terminal_follows_its_size(pc, "uml")


def test_a_signal_is_passed_on(pc: UmlPycontain) -> None:
    script = 'trap "echo interrupted; exit 3" INT; echo ready; while :; do sleep 0.1; done'
    argv = [sys.executable, "-m", "pycontain", "run", "--rm", "--runtime", "uml", "box", "sh", "-c", script]
    process = subprocess.Popen(argv, env=pc.env, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert (process.returncode, out) == (3, b"interrupted\n")


def test_the_life_of_a_machine(pc: UmlPycontain, tmp_path: Path) -> None:
    script = 'trap "echo bye; exit 5" TERM; echo started; echo x > /new; while :; do sleep 0.1; done'
    pc.uml("-d", "--name", "one", "box", "sh", "-c", script, check=True)
    until(lambda: b"started" in pc("logs", "one").stdout)
    assert b"one" in pc("ps").stdout
    assert b'"Runtime": "uml"' in pc("inspect", "one").stdout
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
    for verb in (("pause", "one"), ("vm", "snapshot", "one", "tag"), ("vm", "restore", "one", "tag")):
        refused = pc(*verb)
        assert refused.returncode == 125 and b"User-Mode Linux" in refused.stderr, refused
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


def test_the_output_of_many_short_programs_is_whole(pc: UmlPycontain) -> None:
    pc.uml("-d", "--name", "many", "box", "sleep", "1000", check=True)
    said = [pc("exec", "many", "echo", str(number)).stdout.decode().strip() for number in range(20)]
    assert said == [str(number) for number in range(20)]
    pc("rm", "-f", "many", check=True)


def test_owners_come_from_the_image_and_its_changes_make_a_containers_layer(pc: UmlPycontain) -> None:
    script = "mkdir -p /d/e; echo hi > /d/e/f; ln -s e /d/l; ln /d/e/f /d/h; rm /bin/wc; echo y >> /etc/motd"
    changes = []
    for runtime in (["--runtime", "uml"], []):
        pc("run", *runtime, "--name", "made", "box", "sh", "-c", script, check=True)
        changes.append(sorted(pc("diff", "made").stdout.splitlines()))
        pc("commit", "made", "made", check=True)
        pc("rm", "made", check=True)
        done = pc.uml("--rm", "made", "sh", "-c", "cat /d/h /etc/motd; busybox stat -c %u:%g /bin /d /tmp")
        assert done.stdout == b"hi\ny\n0:0\n0:0\n0:0\n"
    assert changes[0] == changes[1]
    assert b"D /bin/wc" in changes[0]


def test_a_live_directory_of_the_host(pc: UmlPycontain, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "big").write_bytes(os.urandom(1_000_000))
    script = "pwd; ls; cat ../share/big > copy; mkdir new; echo hi > new/f; rm -r sub"
    done = pc.uml("--rm", "-v", f"{tmp_path}:/share", "-w", "/share", "box", "sh", "-c", script)
    assert done.stdout.split() == [b"/share", b"big", b"sub"], done.stderr
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "big").read_bytes()
    assert (tmp_path / "new/f").read_text() == "hi\n" and not (tmp_path / "sub").exists()
    done = pc.uml("--rm", "-v", f"{tmp_path}:/share:ro", "box", "sh", "-c", "echo no > /share/x")
    assert b"Read-only" in done.stderr and not (tmp_path / "x").exists()


def test_the_clock_is_right_and_randomness_is_not_the_same(pc: UmlPycontain) -> None:
    script = "echo > /tmp/f; busybox stat -c %Y /tmp/f; cat /proc/sys/kernel/random/uuid"
    first, second = (pc.uml("--rm", "box", "sh", "-c", script).stdout.split() for _ in range(2))
    assert abs(int(first[0]) - time.time()) < 10
    assert first[1] != second[1]


def test_several_at_a_time(pc: UmlPycontain) -> None:
    argv = [sys.executable, "-m", "pycontain", "run", "--rm", "--runtime", "uml", "box", "sh", "-c"]
    running = [
        subprocess.Popen([*argv, f"echo {number}; exit {number}"], env=pc.env, stdout=subprocess.PIPE)
        for number in range(4)
    ]
    for number, process in enumerate(running):
        out, _ = process.communicate(timeout=60)
        assert (process.returncode, out) == (number, b"%d\n" % number)


def test_an_idle_machine_sleeps(pc: UmlPycontain) -> None:
    pc.uml("-d", "--name", "idle", "box", "sleep", "1000", check=True)
    pids = [pc.server(), *pc.machines()]

    def used() -> int:
        fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
        return sum(int(field[11]) + int(field[12]) for field in fields)

    time.sleep(0.5)
    before = used()
    time.sleep(2)
    assert used() - before < 20  # of 200 hundredths of a second
    pc("rm", "-f", "idle", check=True)


@pytest.mark.parametrize("runtime", [[], ["--runtime", "uml"]])
def test_what_lies_where_the_user_stands_is_not_imported(
    pc: UmlPycontain, tmp_path: Path, runtime: list[str]
) -> None:
    for name in ("json.py", "asyncio.py", "pycontain.py", "msgpack.py"):
        (tmp_path / name).write_text("raise SystemExit('imported from the wrong place')")
    (tmp_path / "run").mkdir()
    env = {**pc.env, "PYCONTAIN_RUNTIME_DIR": str(tmp_path / "run"), "PYCONTAIN_VM_IDLE": "1"}
    argv = [sys.executable, "-P", "-m", "pycontain", "run", "--rm", *runtime, "box", "echo", "fine"]
    done = subprocess.run(argv, env=env, cwd=tmp_path, capture_output=True, timeout=60, check=False)
    assert done.stdout == b"fine\n", done.stderr
    subprocess.run(
        [*argv[:4], "kernel", "stop"], env=env, cwd=tmp_path, capture_output=True, timeout=60, check=False
    )


def test_check_tells_of_it(pc: UmlPycontain) -> None:
    assert b"User-Mode Linux" in pc("vm", "check").stdout


@pytest.mark.parametrize("program", ["/nonexistent", "/bin/true"])
def test_without_it_the_explanation_is_all(pc: UmlPycontain, tmp_path: Path, program: str) -> None:
    env = {
        **pc.env,
        "PYCONTAIN_UML": program,
        "PYCONTAIN_RUNTIME_DIR": str(tmp_path),
        "PYCONTAIN_VM_IDLE": "1",
    }
    argv = [sys.executable, "-m", "pycontain", "run", "--rm", "--runtime", "uml", "box", "true"]
    done = subprocess.run(argv, env=env, capture_output=True, timeout=60, check=False)
    assert done.returncode == 125
    assert b"User-Mode Linux" in done.stderr and b"user-mode-linux" in done.stderr
    assert done.stderr.count(b"\n") == 1
