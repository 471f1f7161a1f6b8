"""`pycontain run` and its options, as a user types them."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import CommandLine

BASE = "host/base"


def test_output_and_exit_code(pycontain: CommandLine) -> None:
    done = pycontain("run", "--rm", BASE, "sh", "-c", "echo out; echo err >&2; exit 7", code=7)
    assert (done.stdout, done.stderr) == ("out\n", "err\n")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["nosuch"], 127, "nosuch"),
        (["/nosuch"], 127, "/nosuch"),
        (["/etc"], 126, "/etc"),
        (["/etc/passwd"], 126, "/etc/passwd"),
        (["sh", "-c", "kill -9 $$"], 137, ""),
        (["sh", "-c", "kill -TERM $$"], 143, ""),
    ],
)
def test_failures_end_as_docker_s(pycontain: CommandLine, words: list[str], code: int, message: str) -> None:
    if code > 128:
        words = ["sh", "-c", f"({words[2].replace('$$', '$BASHPID')}); exit $?"]
        words = ["bash", *words[1:]]
    done = pycontain("run", "--rm", BASE, *words, code=code)
    assert message in done.stderr
    assert len(done.stderr.splitlines()) <= 1


def test_stdin_from_a_pipe(pycontain: CommandLine) -> None:
    data = os.urandom(3 << 20)
    done = subprocess.run(
        [*pycontain.program, "run", "--rm", "-i", BASE, "cat"],
        input=data,
        env=pycontain.environment,
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == data


def test_no_stdin_without_i(pycontain: CommandLine) -> None:
    assert pycontain("run", "--rm", BASE, "cat", stdin="unseen").stdout == ""


def test_program_that_leaves_its_input_unread(pycontain: CommandLine) -> None:
    assert pycontain("run", "--rm", "-i", BASE, "true", stdin=b"x" * (1 << 20)).stdout == ""


def test_environment(pycontain: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("# comment\nFROM_FILE=a b\nBOTH=file\nHOST_ONE\n")
    out = pycontain(
        *("run", "--rm", "--env-file", file, "-e", "BOTH=option", "-e", "HOST_TWO", "-e", "NONE"),
        *("--hostname", "box", BASE, "env"),
        env={"HOST_ONE": "1", "HOST_TWO": "2"},
    ).stdout
    values = dict(line.split("=", 1) for line in out.splitlines())
    assert values["FROM_FILE"] == "a b"
    assert values["BOTH"] == "option"
    assert (values["HOST_ONE"], values["HOST_TWO"], values["HOSTNAME"]) == ("1", "2", "box")
    assert values["HOME"] == "/root"
    assert "NONE" not in values


def test_user_workdir_entrypoint(pycontain: CommandLine) -> None:
    out = pycontain(
        *("run", "--rm", "-u", "nobody", "-w", "/new/dir", "--entrypoint", "sh", BASE),
        *("-c", 'id -u; id -g; pwd; echo "$HOME"'),
    ).stdout
    assert out.split() == ["65534", "65534", "/new/dir", "/nonexistent"]
    out = pycontain("run", "--rm", "-u", "12:34", "--group-add", "56", BASE, "id").stdout
    assert out.startswith("uid=12 gid=34 groups=34,56")


def test_unknown_user_is_an_error(pycontain: CommandLine) -> None:
    done = pycontain("run", "--rm", "-u", "nosuch", BASE, "true", code=125)
    assert "nosuch" in done.stderr


def test_hosts_hostname_resolv(pycontain: CommandLine) -> None:
    out = pycontain(
        *("run", "--rm", "--hostname", "box", "--add-host", "db:10.1.2.3", "--dns", "9.9.9.9", BASE),
        *("sh", "-c", "cat /etc/hosts; cat /etc/hostname; uname -n; cat /etc/resolv.conf"),
    ).stdout
    assert "10.1.2.3\tdb\n" in out
    assert "box\nbox\nnameserver 9.9.9.9\n" in out


def test_bind_mounts(pycontain: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("here\n")
    out = pycontain(
        *("run", "--rm", "-v", f"{tmp_path}:/data", BASE, "sh", "-c", "cat /data/in; echo made > /data/out")
    ).stdout
    assert out == "here\n"
    assert (tmp_path / "out").read_text() == "made\n"
    refused = "touch /data/x || echo refused"
    assert (
        "refused" in pycontain("run", "--rm", "-v", f"{tmp_path}:/data:ro", BASE, "sh", "-c", refused).stdout
    )
    mount = f"type=bind,src={tmp_path},dst=/data,readonly"
    assert "refused" in pycontain("run", "--rm", "--mount", mount, BASE, "sh", "-c", refused).stdout
    assert not (tmp_path / "x").exists()


def test_read_only_and_tmpfs(pycontain: CommandLine) -> None:
    script = "touch /x || echo refused; touch /t/y && ls /t; stat -c %a /t"
    out = pycontain("run", "--rm", "--read-only", "--tmpfs", "/t:mode=700", BASE, "sh", "-c", script).stdout
    assert out.split() == ["refused", "y", "700"]


def test_labels_cidfile_name(pycontain: CommandLine, tmp_path: Path) -> None:
    cid = tmp_path / "cid"
    pycontain("run", "--name", "labelled", "-l", "a=b", "--cidfile", cid, BASE, "true")
    try:
        found = pycontain(
            "inspect", "-f", "{{.Id}} {{.Config.Labels.a}} {{.State.ExitCode}}", "labelled"
        ).stdout
        assert found == f"{cid.read_text()} b 0\n"
        done = pycontain("run", "--rm", "--name", "labelled", BASE, "true", code=125)
        assert "labelled" in done.stderr
        done = pycontain("run", "--rm", "--cidfile", cid, BASE, "true", code=125)
        assert "it is there already" in done.stderr
    finally:
        pycontain("rm", "labelled")


def test_rm_leaves_nothing(pycontain: CommandLine) -> None:
    root = Path(pycontain.environment["PYCONTAIN_ROOT"])
    before = sorted(os.listdir(root / "containers"))
    pycontain("run", "--rm", "--name", "fleeting", BASE, "true")
    pycontain("run", "--rm", "--name", "fleeting", BASE, "nosuch", code=127)
    assert sorted(os.listdir(root / "containers")) == before
    pycontain("run", "--rm", "--name", "fleeting", BASE, "true")  # the name is free again


def test_option_that_is_not_there_yet(pycontain: CommandLine) -> None:
    done = pycontain("run", "--rm", "--gpus", "all", BASE, "true", code=125)
    assert "--gpus is not there yet" in done.stderr
    done = pycontain("run", "--rm", "--network", "bridge", BASE, "true", code=125)
    assert "--network bridge is not there yet" in done.stderr
    assert pycontain("run", "--rm", "--network", "host", BASE, "echo", "hi").stdout == "hi\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_signals_are_passed_on(pycontain: CommandLine, number: signal.Signals) -> None:
    name = number.name.removeprefix("SIG")
    script = f"trap 'echo got {name}; exit 3' {name}; echo ready; while :; do sleep 0.1; done"
    process = pycontain.spawn(
        "run", "--rm", BASE, "bash", "-c", script, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        assert process.stdout.read() == f"got {name}\n".encode()
    assert process.wait(30) == 3


def test_reader_that_goes_away(pycontain: CommandLine) -> None:
    process = pycontain.spawn("run", "--rm", BASE, "yes", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    with process.stderr:
        assert process.wait(30) == 128 + signal.SIGPIPE
        assert process.stderr.read() == b""


def test_several_containers_on_one_kernel(pycontain: CommandLine, container: Callable[..., str]) -> None:
    ids = [container("--name", f"many{n}", BASE, "sleep", "60") for n in range(3)]
    lines = pycontain("kernel", "ps").stdout
    for identity in ids:
        assert identity[:12] in lines
    seen = pycontain("exec", "many1", "sh", "-c", "ls /proc | grep -c '^[0-9]'; readlink /proc/1/exe").stdout
    assert re.match(r"[1-4]\n", seen)  # sleep, sh, ls, grep: its own only
    assert pycontain("exec", "many1", "sh", "-c", "cat /proc/1/comm").stdout == "sleep\n"


def test_datagrams_to_a_socket_of_the_host(pycontain: CommandLine, tmp_path: Path) -> None:
    """What `-v /dev/log:/dev/log` is for."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(str(tmp_path / "log"))
        log.settimeout(10)
        os.chmod(tmp_path / "log", 0o777)
        program = (
            "import logging.handlers as h, logging, socket;"
            "logging.getLogger().addHandler(h.SysLogHandler('/dev/log'));"
            "logging.warning('by connect');"
            "socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'by sendto', '/dev/log')"
        )
        pycontain("run", "--rm", "-v", f"{tmp_path}/log:/dev/log", BASE, "python3", "-c", program)
        assert {log.recv(100).strip(b"\0") for _ in range(2)} == {b"<12>by connect", b"by sendto"}


def test_a_runtime_directory_that_cannot_be_made(pycontain: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = pycontain(
        "run", "--rm", BASE, "true", code=125, env={"PYCONTAIN_RUNTIME_DIR": str(tmp_path / "file" / "x")}
    )
    assert len(done.stderr.splitlines()) == 1
    assert "PYCONTAIN_RUNTIME_DIR" in done.stderr and "Not a directory" in done.stderr
