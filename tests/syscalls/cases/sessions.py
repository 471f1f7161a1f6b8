"""Process groups, sessions, terminals, job control."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time
import tty

from probe import case, child, get, outcome, spawn, state_of, tell, until, waited


@case
def into_the_group_of_the_first_process() -> None:
    print(os.getpgid(1), os.getsid(1) == os.getsid(0), os.getpgrp() == os.getpid())
    tell("join", os.setpgid, 0, 1)
    print(os.getpgrp())
    pid = spawn(time.sleep, 5)
    tell("child leaves", os.setpgid, pid, pid)
    tell("child comes back", os.setpgid, pid, 1)
    print(os.getpgid(pid))
    os.kill(pid, 9)
    print(waited(pid))
    tell("nobody", os.setpgid, 99999999, 1)

    def elsewhere() -> None:
        os.setsid()
        tell("from another session", os.setpgid, 0, 1)

    child(elsewhere)
    tell("leave again", os.setpgid, 0, 0)


@case
def scheduling_of_the_first_process() -> None:
    print(os.sched_getscheduler(1), os.sched_getparam(1).sched_priority)
    print(os.sched_getaffinity(1) == os.sched_getaffinity(0))
    tell("the same policy", os.sched_setscheduler, 1, os.SCHED_OTHER, os.sched_param(0))


@case
def groups() -> None:
    print(os.getpgrp() == os.getpid(), os.getpgid(0) == os.getpgrp())
    pid = spawn(time.sleep, 5)
    print(os.getpgid(pid) == os.getpgrp())
    tell("lead", os.setpgid, pid, pid)
    print(os.getpgid(pid) == pid)
    tell("back", os.setpgid, pid, os.getpgrp())
    tell("no such group", os.setpgid, pid, 99999999)
    tell("negative", os.setpgid, pid, -1)
    tell("nobody", os.setpgid, 99999999, 0)
    tell("process 1", os.setpgid, 1, 0)
    os.kill(pid, 9)
    waited(pid)
    pid = os.fork()
    if pid == 0:
        os.execv("/bin/sleep", ["sleep", "5"])
    until(lambda: b"sleep" in get(f"/proc/{pid}/comm"))
    tell("after exec", os.setpgid, pid, pid)
    os.kill(pid, 9)
    waited(pid)


@case
def sessions() -> None:
    print(os.getsid(0) == os.getsid(1), outcome(os.setsid))

    def body() -> None:
        os.setsid()
        print(os.getsid(0) == os.getpid(), os.getpgrp() == os.getpid(), outcome(os.setsid))
        tell("leader leaves", os.setpgid, 0, os.getppid())
        inner = spawn(time.sleep, 5)
        print(os.getsid(inner) == os.getpid(), os.getpgid(inner) == os.getpid())
        os.kill(inner, 9)
        waited(inner)

    print(child(body))
    pid = spawn(lambda: (os.setsid(), time.sleep(5)))
    until(lambda: os.getsid(pid) == pid)
    tell("move another session's", os.setpgid, pid, 0)
    tell("join another session's group", os.setpgid, 0, pid)
    print(os.getsid(pid) == pid)
    os.kill(pid, 9)
    waited(pid)


@case
def numbers_in_proc() -> None:
    def body() -> None:
        os.setsid()
        fields = get("/proc/self/stat").rpartition(b") ")[2].split()
        print(int(fields[2]) == os.getpid(), int(fields[3]) == os.getpid(), fields[4], fields[5])

    child(body)
    fields = get("/proc/self/stat").rpartition(b") ")[2].split()
    print(int(fields[1]) == os.getppid(), int(fields[2]) == os.getpgrp(), int(fields[3]) == os.getsid(0))


@case
def no_terminal() -> None:
    tell("open /dev/tty", os.open, "/dev/tty", os.O_RDWR)
    tell("tcgetpgrp of null", os.tcgetpgrp, os.open("/dev/null", os.O_RDWR))
    tell("ttyname", os.ttyname, 0)
    tell("tcgetattr", termios.tcgetattr, 0) if False else None
    print(os.isatty(0), os.isatty(1))
    from probe import run

    run("tty")


@case
def pseudo_terminals() -> None:
    master, slave = pty.openpty()
    name = os.ttyname(slave)
    print(name.startswith("/dev/pts/"), os.isatty(master), os.isatty(slave))
    info = os.fstat(slave)
    print(
        oct(info.st_mode),
        info.st_uid,
        os.major(info.st_rdev),
        os.stat(name).st_rdev == info.st_rdev,
        os.stat(name).st_ino == info.st_ino,
    )
    print(os.path.basename(name) in os.listdir("/dev/pts"), os.readlink(f"/proc/self/fd/{slave}") == name)
    print(os.readlink(f"/proc/self/fd/{master}") in ("/dev/ptmx", "/dev/pts/ptmx"))
    os.write(slave, b"to the master\n")
    print(os.read(master, 100))
    os.write(master, b"to the slave\n")
    print(os.read(slave, 100), os.read(master, 100))
    again = os.open(name, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(slave)
    os.write(master, b"raw\r\x03")
    print(os.read(again, 100))
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("4H", 40, 100, 0, 0))
    print(struct.unpack("4H", fcntl.ioctl(slave, termios.TIOCGWINSZ, bytes(8))), os.get_terminal_size(slave))
    os.close(slave)
    os.close(again)
    print(outcome(os.read, master, 10))
    os.close(master)
    until(lambda: not os.path.exists(name))
    print(os.path.exists(name))


@case
def terminal_settings() -> None:
    master, slave = pty.openpty()
    attributes = termios.tcgetattr(slave)
    print([hex(a) for a in attributes[:4]], attributes[6][termios.VINTR], attributes[6][termios.VEOF])
    attributes[3] &= ~(termios.ECHO | termios.ICANON)
    attributes[6][termios.VMIN], attributes[6][termios.VTIME] = 0, 0
    termios.tcsetattr(slave, termios.TCSANOW, attributes)
    print(os.read(slave, 5), termios.tcgetattr(master)[3] == attributes[3])
    os.write(master, b"xyz")
    until(lambda: select.select([slave], [], [], 0)[0])
    value = fcntl.ioctl(slave, termios.FIONREAD, bytes(4))
    print(struct.unpack("i", value))
    termios.tcflush(slave, termios.TCIFLUSH)
    print(os.read(slave, 5))
    termios.tcdrain(slave)
    termios.tcflow(slave, termios.TCOOFF)
    termios.tcflow(slave, termios.TCOON)
    termios.tcsendbreak(slave, 0)
    print(hex(struct.unpack("i", fcntl.ioctl(master, 0x80045430, bytes(4)))[0] * 0))
    tell("packet mode", fcntl.ioctl, master, termios.TIOCPKT, struct.pack("i", 1)) if False else None


@case
def pseudo_terminal_owners() -> None:
    from probe import ALICE, as_user

    master, slave = pty.openpty()
    name = os.ttyname(slave)
    info = os.stat(name)
    print(oct(info.st_mode), info.st_uid, info.st_gid)
    tell("chown", os.chown, name, ALICE, 5)
    tell("chmod", os.chmod, name, 0o600)
    info = os.stat(name)
    print(oct(info.st_mode), info.st_uid, info.st_gid)
    as_user(ALICE, lambda: print(outcome(lambda: os.close(os.open(name, os.O_RDWR | os.O_NOCTTY)))))
    tell("unlink", os.unlink, name)

    def own() -> None:
        m, s = pty.openpty()
        info = os.stat(os.ttyname(s))
        print(oct(info.st_mode), info.st_uid, info.st_gid)

    as_user(ALICE, own)


TIOCGSID = 0x5429


def in_terminal(function) -> str:  # type: ignore[no-untyped-def]
    """Run as a session leader on a new terminal; what it prints to it."""
    sys.stdout.flush()
    pid, master = pty.fork()
    if pid == 0:
        code = 0
        try:
            sys.stdout = open(1, "w", closefd=False)
            function()
        except BaseException as error:
            print(type(error).__name__, error)
            code = 1
        sys.stdout.flush()
        os._exit(code)
    output = b""
    while True:
        try:
            data = os.read(master, 1000)
        except OSError:
            break
        if not data:
            break
        output += data
    print("status", waited(pid))
    return output.decode().replace("\r\n", "\n")


@case
def controlling_terminal() -> None:
    def body() -> None:
        print(os.tcgetpgrp(0) == os.getpid(), os.getsid(0) == os.getpid())
        fd = os.open("/dev/tty", os.O_RDWR)
        print(os.isatty(fd), os.ttyname(0) == os.readlink("/proc/self/fd/0"))
        print(struct.unpack("i", fcntl.ioctl(0, TIOCGSID, bytes(4)))[0] == os.getpid())
        fields = get("/proc/self/stat").rpartition(b") ")[2].split()
        print(int(fields[4]) == os.fstat(0).st_rdev, int(fields[5]) == os.getpid())
        inner = spawn(time.sleep, 5)
        os.setpgid(inner, inner)
        os.tcsetpgrp(0, inner)
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        print(os.tcgetpgrp(0) == inner)
        os.tcsetpgrp(0, os.getpgrp())
        os.kill(inner, 9)
        waited(inner)
        print(outcome(os.tcsetpgrp, 0, 99999999), outcome(os.tcsetpgrp, 0, 1))
        fcntl.ioctl(0, termios.TIOCNOTTY)
        print(outcome(os.open, "/dev/tty", os.O_RDWR))

    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    print(
        in_terminal(
            lambda: (
                signal.signal(signal.SIGTTOU, signal.SIG_IGN),
                signal.signal(signal.SIGHUP, signal.SIG_IGN),
                signal.signal(signal.SIGCONT, signal.SIG_IGN),
                body(),
            )
        )
    )


@case
def terminal_by_its_general_name() -> None:
    """/dev/tty is a device of its own, whatever terminal it leads to."""
    print(in_terminal(lambda: print(os.fstat(os.open("/dev/tty", os.O_RDWR)).st_rdev == os.makedev(5, 0))))


@case
def background_reads_and_writes() -> None:
    def body() -> None:
        def background() -> None:
            os.setpgid(0, 0)
            os.read(0, 10)

        pid = spawn(background)
        _, status = os.waitpid(pid, os.WUNTRACED)
        print("stopped by", os.WSTOPSIG(status) == signal.SIGTTIN)
        os.kill(pid, 9)
        waited(pid)

        def writer() -> None:
            os.setpgid(0, 0)
            attributes = termios.tcgetattr(0)
            termios.tcsetattr(0, termios.TCSANOW, attributes)

        pid = spawn(writer)
        _, status = os.waitpid(pid, os.WUNTRACED)
        print("stopped by", os.WSTOPSIG(status) == signal.SIGTTOU)
        os.kill(pid, 9)
        waited(pid)

    print(in_terminal(body))


@case
def keys_become_signals() -> None:
    sys.stdout.flush()
    pid, master = pty.fork()
    if pid == 0:
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGWINCH):
            signal.signal(number, lambda n, f: os.write(1, b"<%d>" % n))
        os.write(1, b"ready")
        while True:
            time.sleep(0.01)
    output = b""

    def expect(text: bytes) -> bool:
        nonlocal output
        end = time.monotonic() + 3
        while text not in output and time.monotonic() < end:
            if select.select([master], [], [], 0.1)[0]:
                output += os.read(master, 100)
        return text in output

    print(expect(b"ready"))
    os.write(master, b"\x03")
    print(expect(b"<2>"))
    os.write(master, b"\x1c")
    print(expect(b"<3>"))
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("4H", 50, 60, 0, 0))
    print(expect(b"<28>"))
    os.close(master)
    print(waited(pid))


@case
def stop_key() -> None:
    """It stops a group that is not orphaned: the leader's child."""
    r, w = os.pipe()
    sys.stdout.flush()
    pid, master = pty.fork()
    if pid == 0:
        inner = spawn(time.sleep, 5)
        os.setpgid(inner, inner)
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        os.tcsetpgrp(0, inner)
        os.write(w, b"ready")
        status = os.waitpid(inner, os.WUNTRACED)[1]
        os.write(w, b"%d" % os.WSTOPSIG(status))
        os.kill(inner, signal.SIGKILL)
        os._exit(waited(inner) == -9)
    print(os.read(r, 5))
    os.write(master, b"\x1a")
    print(os.read(r, 5), waited(pid))


@case
def hangup() -> None:
    """The end of a session leader tells the foreground group."""
    r, w = os.pipe()
    pid, master = pty.fork()
    if pid == 0:

        def inner() -> None:
            signal.signal(signal.SIGHUP, lambda *_: os.write(w, b"hup"))
            os.write(w, b"ready")
            time.sleep(3)

        spawn(inner)
        until(lambda: False, 0.2)
        os._exit(0)
    print(os.read(r, 5), waited(pid), os.read(r, 5))


@case
def shell_with_job_control() -> None:
    script = (
        b"set -m; sleep 5 & jobs; kill %1; wait; echo $?; (sleep 0.01; echo done) & fg >/dev/null; exit 3\n"
    )

    def body() -> None:
        os.execv("/bin/bash", ["bash", "--norc", "-c", script.decode()])

    text = in_terminal(body)
    print("Running" in text, "143" in text, "done" in text)


@case
def orphaned_groups() -> None:
    """A stopped group whose last tie to the session ends gets SIGHUP and SIGCONT."""
    r, w = os.pipe()

    def middle() -> None:
        os.setsid()

        def leader() -> None:
            def inner() -> None:
                signal.signal(signal.SIGHUP, lambda *_: os.write(w, b"hup"))
                os.setpgid(0, 0)
                os.write(w, b"ready")
                os.kill(os.getpid(), signal.SIGSTOP)
                time.sleep(1)

            pid = spawn(inner)
            os.read(r, 5)
            until(lambda: state_of(pid) == "T")

        waited(spawn(leader))
        until(lambda: False, 0.2)

    waited(spawn(middle))
    print(select.select([r], [], [], 1)[0] and os.read(r, 5))
