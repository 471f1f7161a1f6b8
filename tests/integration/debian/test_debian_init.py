"""Programs that start others: launchers, and supervisors that insist on being process 1."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from debian_user import DebianUser

pytestmark = pytest.mark.debian


@pytest.mark.parametrize(
    "words", [["tini", "--"], ["tini", "-g", "--"], ["gosu", "root"], ["setpriv", "--no-new-privs"]]
)
def test_launchers_pass_the_exit_code_on(either: DebianUser, words: list[str]) -> None:
    either("run", "--rm", either.IMAGE, *words, "sh", "-c", "exit 9", code=9)


def test_tini_reaps_and_forwards(either: DebianUser, started: Callable[..., str]) -> None:
    name = started(
        either.IMAGE,
        "tini",
        "--",
        "sh",
        "-c",
        "(sleep 0.1 & ) ; trap 'echo got; exit 4' TERM; while :; do sleep 0.1; done",
    )
    seen = ""
    for _ in range(50):
        seen = either("exec", name, "ps", "-eo", "pid,stat,comm").stdout
        if "sleep" in seen:
            break
    assert " Z" not in seen
    assert seen.splitlines()[1].split()[::2] == ["1", "tini"]
    either("stop", name)
    assert either("wait", name).stdout == "4\n"
    assert either("logs", name).stdout == "got\n"


def test_s6_supervises_as_the_first_process(either: DebianUser) -> None:
    out = either.sh(
        """
        mkdir -p /s/web /s/.s6-svscan; printf '#!/bin/sh\\necho started >> /log; exec sleep 1000' > /s/web/run
        printf '#!/bin/sh\\nexec /bin/sh -c "wc -l < /log; exit 0"' > /s/.s6-svscan/finish
        chmod +x /s/web/run /s/.s6-svscan/finish
        lines() { until [ "$(cat /log | wc -l)" = $1 ]; do sleep 0.02; done; }
        (lines 1 2>/dev/null; s6-svc -wr -r /s/web; lines 2; s6-svstat -o up /s/web; s6-svscanctl -t /s) &
        exec s6-svscan /s
        """,
        timeout=60,
    )
    assert "true" in out
    assert out.splitlines()[-1] == "2"


INITTAB = """
::sysinit:/bin/echo sysinit
::respawn:/bin/sh -c 'echo started >> /log; [ $(wc -l < /log) -gt 2 ] && exec sleep 1000; exit 0'
::once:/bin/sh -c 'touch /log; until [ $(wc -l < /log) = 3 ]; do sleep 0.02; done; ps -eo pid,ppid,comm; kill -USR2 1'
::shutdown:/bin/echo going down
"""


def test_busybox_init_as_the_first_process(either: DebianUser) -> None:
    """It runs as no other process, restarts what ends, takes signals by sigtimedwait(2) and halts the machine."""
    script = "cat > /etc/inittab; busybox init; echo = $?; exec busybox init"
    out = either.sh(script, "--cap-add", "SYS_BOOT", stdin=INITTAB, code=130)
    assert "must be run as PID 1\n= 1\n" in out
    lines = [line.split() for line in out.splitlines()]
    assert ["1", "0", "busybox"] in lines
    assert any(line[1:] == ["1", "sleep"] for line in lines)
    assert out.index("going down") < out.index("Sent SIGTERM") < out.index("Requesting system poweroff")


REBOOT = "import ctypes, sys; l = ctypes.CDLL(None, use_errno=True); print(l.reboot(int(sys.argv[1], 16)), ctypes.get_errno())"


@pytest.mark.parametrize(("command", "code"), [("1234567", 129), ("cdef0123", 130), ("4321fedc", 130)])
def test_reboot_ends_the_container(either: DebianUser, command: str, code: int) -> None:
    """As in a pid namespace: the status of process 1 says what was wanted (reboot(2))."""
    script = f"python3 -c '{REBOOT}' {command}; echo still here"
    assert either.sh(script, "--cap-add", "SYS_BOOT", code=code) == ""
    assert either.sh(script) == "-1 1\nstill here\n"  # EPERM: not among Docker's capabilities
    assert either.sh(f"python3 -c '{REBOOT}' 7", "--cap-add", "SYS_BOOT") == "-1 22\n"


def test_the_first_process_takes_a_signal_that_it_waits_for(either: DebianUser) -> None:
    """Without a handler and from inside: pid_namespaces(7) drops only what it neither handles, blocks nor awaits."""
    script = """
import os, signal
numbers = [signal.SIGUSR1, signal.SIGTERM]
if os.fork() == 0:
    for number in numbers:
        while open("/proc/1/wchan").read() and open("/proc/1/stat").read().split()[2] != "S": pass
        os.kill(1, signal.SIGUSR2)  # nobody waits for it
        os.kill(1, number)
    os._exit(0)
signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
print([signal.sigwait(numbers).name for _ in numbers])
"""
    assert either("run", "--rm", either.IMAGE, "python3", "-c", script).stdout in (
        "['SIGUSR1', 'SIGTERM']\n",
        "['SIGTERM', 'SIGUSR1']\n",
    )
