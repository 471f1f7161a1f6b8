"""execve: arguments, environment, scripts, interpreters, errors, descriptors, identity, threads."""

from __future__ import annotations

import ctypes
import mmap
import os
import select
import shutil
import signal
import socket
import struct
import sys
import threading

from probe import (
    ALICE,
    AT_EMPTY_PATH,
    AT_FDCWD,
    as_user,
    case,
    child,
    get,
    name_of,
    outcome,
    put,
    raw,
    run,
    spawn,
    tell,
    until,
    waited,
)

SHOW = "/programs/showargs"


def execute(path: str, *argv: str, **environment: str) -> None:
    """Print what a program prints, or why it cannot be executed."""

    def body() -> int:
        os.execve(path, list(argv), {"PATH": "/usr/bin:/bin", **environment})
        return 0

    body.__name__ = f"execve {path}"
    print("->", child(body))


@case(program="showargs")
def arguments() -> None:
    run(SHOW, "a", "", "two words", "é", "x" * 10)
    execute(SHOW, "another name", "b")
    run("/bin/echo", "-n", "hello")


@case
def environment() -> None:
    print(
        outcome(lambda: child(lambda: os.execve("/usr/bin/env", ["env"], {"A": "1", "EMPTY": "", "é": "ü"})))
    )


@case(program="showargs")
def no_arguments() -> None:
    """An empty vector becomes one empty string (since Linux 5.18)."""

    def body() -> None:
        raw_execve(SHOW.encode(), [], [])

    print(child(body))


def raw_execve(path: bytes, argv: list[bytes] | None, envp: list[bytes] | None) -> None:
    def vector(strings: list[bytes] | None) -> object:
        if strings is None:
            return None
        return (ctypes.c_char_p * (len(strings) + 1))(*strings, None)

    ctypes.set_errno(0)
    ctypes.CDLL(None, use_errno=True).execve(path, vector(argv), vector(envp))
    raise OSError(ctypes.get_errno(), "execve")


@case(program="showargs")
def null_vectors() -> None:
    print(child(lambda: raw_execve(SHOW.encode(), None, None)))


@case(program="showargs")
def scripts() -> None:
    def script(name: str, first: bytes, rest: bytes = b"\n") -> None:
        put(name, first + rest, 0o755)
        print(repr(first[:40]), end=" ")
        execute(f"./{name}", name, "one", "two")

    script("a", b"#!/programs/showargs")
    script("b", b"#!/programs/showargs with two args")
    script("c", b"#! /programs/showargs   spaces   ")
    script("d", b"#!\t/programs/showargs\ttab")
    script("e", b"#!")
    script("e2", b"#!", b"")
    script("f", b"#! ")
    script("f2", b"#! ", b"")
    script("g", b"#!/no/such/interpreter")
    script("h", b"#!programs/showargs")
    script("i", b"#!/image/directory")
    script("j", b"#!/image/plain")
    script("k", b"#!/programs/showargs\0hidden")
    script("l", b"#!/programs/showargs", b"")
    script("m", b"#!/programs/showargs " + b"x" * 300)
    script("n", b"#!/" + b"x" * 300)
    script("o", b"#!" + b" " * 300 + b"/programs/showargs")
    script("p", b"#!/programs/showargs " + b"y" * 234)
    script("q", b"#!/programs/showargs " + b"y" * 233, b"")
    script("r", b"#!/programs/showargs \r")
    script("s", b"plain text")
    script("t", b"")


@case(program="showargs")
def nested_scripts() -> None:
    put("s0", b"#!/programs/showargs zero\n", 0o755)
    top = os.getcwd()
    for i in range(1, 8):
        put(f"s{i}", f"#!{top}/s{i - 1} {i}\n".encode(), 0o755)
    for i in (1, 2, 3, 4, 5, 6, 7):
        print(i, end=" ")
        execute(f"./s{i}", f"s{i}", "arg")
    put("loop", f"#!{top}/loop\n".encode(), 0o755)
    execute("./loop", "loop")


@case
def shell_scripts() -> None:
    put("a", b'#!/bin/sh\necho "$0" "$@"\n', 0o755)
    execute("./a", "ignored", "x", "y z")
    execute("/image/script", "s", "1")
    run("sh", "-c", "./a from a shell; echo $?")
    put("plain", b"echo no hash bang\n", 0o755)
    run("sh", "-c", "./plain")
    put("python", b"#!/usr/bin/python3\nimport sys; print(sys.argv)\n", 0o755)
    execute("./python", "p", "q")


@case
def errors() -> None:
    put("text", b"just text\n", 0o755)
    put("empty", b"", 0o755)
    put("notexecutable", b"#!/bin/sh\n", 0o644)
    put("elf", b"\x7fELF" + bytes(100), 0o755)
    put("short", b"\x7fELF", 0o755)
    other = bytearray(get("/usr/bin/true"))
    other[18:20] = struct.pack("<H", 183)
    put("aarch64", bytes(other), 0o755)
    core = bytearray(get("/usr/bin/true"))
    core[16:18] = struct.pack("<H", 4)
    put("core", bytes(core), 0o755)
    relocatable = bytearray(get("/usr/bin/true"))
    relocatable[16:18] = struct.pack("<H", 1)
    put("relocatable", bytes(relocatable), 0o755)
    os.symlink("self", "self")
    os.symlink("nowhere", "dangling")
    for path in ("missing", "text", "empty", "notexecutable", "elf", "short", "aarch64", "core", "relocatable",
                 ".", "/", "/dev/null", "self", "dangling", "text/x", "", "n" * 256):  # fmt: skip
        code = as_child(path)
        print(path[:20], name_of(code) if code > 0 else code)


@case
def missing_interpreter() -> None:
    data = get("/usr/bin/true")
    at = data.index(b"/lib64/ld-linux")
    put("a", data[:at] + b"/lib99" + data[at + 6 :], 0o755)
    tell("no such loader", os.execv, "./a", ["a"])
    put("b", data[:at] + b"/image/plain\0" + data[at + 13 :], 0o755)
    tell("loader is text", os.execv, "./b", ["b"])
    put("c", data[:at] + b"/image\0" + data[at + 7 :], 0o755)
    tell("loader is a directory", os.execv, "./c", ["c"])


@case
def permissions() -> None:
    for mode in (0o755, 0o711, 0o644, 0o001, 0o100, 0o010, 0o700):
        put("f", b"#!/bin/sh\nexit 0\n", 0o755)
        os.chmod("f", mode)
        print(oct(mode), outcome(lambda: child(lambda: os.execv("./f", ["f"]))), end=" ")
        as_user(ALICE, lambda: print(as_child("./f")))
        os.unlink("f")
    shutil.copy("/usr/bin/true", "t")
    os.chmod("t", 0o711)
    as_user(ALICE, lambda: print("unreadable program", as_child("./t")))


def as_child(path: str) -> object:
    pid = os.fork()
    if pid == 0:
        try:
            os.execv(path, ["x"])
        except OSError as error:
            os._exit(error.errno)
    return waited(pid)


@case
def too_big() -> None:
    def attempt(label: str, argv: list[str], environment: dict[str, str]) -> None:
        pid = os.fork()
        if pid == 0:
            try:
                os.execve("/usr/bin/true", argv, environment)
            except OSError as error:
                os._exit(error.errno)
        print(label, waited(pid))

    attempt("one string of 128 KiB less one", ["true", "x" * (131072 - 1)], {})
    attempt("one string of 128 KiB", ["true", "x" * 131072], {})
    attempt("environment string of 128 KiB", ["true"], {"A": "x" * 131072})
    attempt("1.5 MB of arguments", ["true", *["x" * 100000] * 15], {})
    attempt("3 MB of arguments", ["true", *["x" * 100000] * 30], {})
    attempt("100000 arguments", ["true", *["x"] * 100000], {})
    attempt("a million arguments", ["true", *["x"] * 1000000], {})


@case
def what_fails_leaves_no_trace() -> None:
    """Arguments that the host refuses: the caller goes on with its own descriptors and signals."""
    put("script", b"#!/bin/true\n", 0o755)
    heard: list[int] = []
    signal.signal(signal.SIGUSR1, lambda number, frame: heard.append(number))
    size = 4 * os.sysconf("SC_PAGE_SIZE")
    memory = mmap.mmap(-1, size)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.munmap(ctypes.c_void_p(start + size // 2), ctypes.c_size_t(size // 2))
    edge = start + size // 2  # nothing behind it
    ctypes.memset(start, 0x41, size // 2)
    vectors = {
        "nowhere": 8,
        "the end of memory": edge - 4,
        "all of a page": edge - 4096,
        "odd": edge - 4099,
    }
    for path in (b"/bin/true", b"./script"):
        for what, vector in vectors.items():
            for name, argv, envp in (("argv", vector, 0), ("envp", 0, vector)):

                def body(path: bytes = path, argv: int = argv, envp: int = envp) -> str:
                    before = os.listdir("/proc/self/fd")
                    for _ in range(3):
                        libc.execve(path, ctypes.c_void_p(argv), ctypes.c_void_p(envp))
                    code = name_of(ctypes.get_errno())
                    os.kill(os.getpid(), signal.SIGUSR1)
                    return f"{code} {os.listdir('/proc/self/fd') == before} {heard}"

                print(path.decode(), what, name, child(lambda body=body: print(body(), flush=True)))  # type: ignore[misc]


@case(program="showargs")
def long_arguments_arrive() -> None:
    import hashlib
    import subprocess

    arguments = [chr(97 + i % 26) * 1000 * i for i in range(1, 60)]
    output = subprocess.run([SHOW, *arguments], capture_output=True).stdout
    expected = "".join(f"[{a}]\n" for a in [SHOW, *arguments]).encode()
    print(len(output), hashlib.sha256(output).digest() == hashlib.sha256(expected).digest())


@case
def descriptors() -> None:
    kept, closed = os.open("/image/plain", os.O_RDONLY), os.open("/image/plain", os.O_RDONLY)
    os.set_inheritable(kept, True)
    os.set_inheritable(1, True)
    os.lseek(kept, 6, 0)
    sys.stdout.flush()

    def body() -> None:
        os.dup2(kept, 20)
        os.dup2(kept, 21)
        os.set_inheritable(21, False)
        os.execv(
            "/bin/sh",
            [
                "sh",
                "-c",
                "cat <&20; for n in /proc/self/fd/*; do echo ${n##*/}; done | sort -n | tr '\\n' ' '",
            ],
        )

    print(child(body), closed > kept)


@case
def descriptors_of_the_kernel_do_not_leak() -> None:
    """What a program finds open: nothing but what it was given."""

    def body() -> None:
        os.closerange(3, 100)
        os.execv(
            "/usr/bin/python3",
            [
                "python3",
                "-SEsc",
                "import os; print(sorted(map(int, os.listdir('/proc/self/fd')))[:3], len(os.listdir('/proc/self/fd')))",
            ],
        )

    print(child(body))


@case
def signals_after_exec() -> None:
    signal.signal(signal.SIGUSR1, lambda *_: None)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    sys.stdout.flush()
    if (pid := os.fork()) == 0:
        for number in (32, 33):  # glibc's own, which posix_spawn leaves ignored in whatever it starts
            ctypes.CDLL(None).syscall(13, number, ctypes.byref(ctypes.create_string_buffer(32)), None, 8)
        os.execv("/bin/grep", ["grep", "-E", "Sig(Blk|Ign|Cgt)", "/proc/self/status"])
    print(waited(pid))


@case
def pending_signals_survive_exec() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])

    def body() -> None:
        os.kill(os.getpid(), signal.SIGUSR1)
        os.execv("/bin/grep", ["grep", "ShdPnd", "/proc/self/status"])

    print(child(body))


@case
def working_directory_and_umask_survive_exec() -> None:
    os.mkdir("d")

    def body() -> None:
        os.chdir("d")
        os.umask(0o031)
        os.execv("/bin/sh", ["sh", "-c", "umask; basename $(pwd)"])

    print(child(body))


@case
def from_a_thread() -> None:
    """The thread that executes becomes the process; the others vanish."""

    def body() -> None:
        for _ in range(3):
            threading.Thread(target=lambda: threading.Event().wait(), daemon=True).start()
        ready = threading.Event()

        def runner() -> None:
            ready.set()
            os.execv(
                "/bin/sh",
                ["sh", "-c", f"test $$ = {os.getpid()} && echo same number; ls /proc/$$/task | wc -l"],
            )

        threading.Thread(target=runner).start()
        threading.Event().wait()

    print(child(body))


@case
def repeatedly() -> None:
    """A process that executes itself again and again."""
    put("s", b"#!/bin/sh\nif [ $1 = 0 ]; then echo done $$; else exec ./s $(($1 - 1)); fi\n", 0o755)
    sys.stdout.flush()
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(w, 1)
        os.execv("./s", ["s", "30"])
    os.close(w)
    print(os.read(r, 100) == b"done %d\n" % pid, waited(pid))


@case(program="showargs")
def by_descriptor() -> None:
    fd = os.open(SHOW, os.O_RDONLY)
    print(child(lambda: os.execve(fd, ["fexecve", "x"], {})))
    path = os.open(SHOW, os.O_PATH)
    print(child(lambda: execveat(path, b"", [b"path descriptor"], AT_EMPTY_PATH)))
    directory = os.open("/programs", os.O_RDONLY)
    print(child(lambda: execveat(directory, b"showargs", [b"below"], 0)))
    os.symlink(SHOW, "link")
    print(child(lambda: execveat(AT_FDCWD, b"link", [b"through a link"], 0)))
    print(child(lambda: execveat(AT_FDCWD, b"link", [b"link itself"], 0x100)))
    print(child(lambda: execveat(AT_FDCWD, b"", [b"nothing"], 0)))
    print(child(lambda: execveat(99, b"", [b"closed"], AT_EMPTY_PATH)))
    print(child(lambda: execveat(directory, b"", [b"directory"], AT_EMPTY_PATH)))
    print(child(lambda: execveat(AT_FDCWD, SHOW.encode(), [b"bad flag"], 1)))


def execveat(fd: int, path: bytes, argv: list[bytes], flags: int) -> int:
    vector = (ctypes.c_char_p * (len(argv) + 1))(*argv, None)
    empty = (ctypes.c_char_p * 1)(None)
    return raw("execveat", fd, path, vector, empty, flags)


@case
def script_by_descriptor() -> None:
    put("s", b'#!/bin/sh\necho "$0" "$1"\n', 0o755)
    fd = os.open("s", os.O_RDONLY)
    os.set_inheritable(fd, True)
    os.dup2(fd, 30)
    print(child(lambda: execveat(30, b"", [b"x", b"kept open"], AT_EMPTY_PATH)))
    cloexec = os.open("s", os.O_RDONLY | os.O_CLOEXEC)
    print(child(lambda: execveat(cloexec, b"", [b"x", b"closed"], AT_EMPTY_PATH)))


@case(program="showargs")
def memory_file() -> None:
    fd = os.memfd_create("program", 0)
    os.write(fd, get(SHOW))
    print(child(lambda: os.execve(fd, ["from memory"], {})))


@case
def deleted_program() -> None:
    shutil.copy("/usr/bin/sleep", "s")
    pid = os.fork()
    if pid == 0:
        os.execv("./s", ["s", "5"])
    until(lambda: os.readlink(f"/proc/{pid}/exe").endswith("/s"))
    os.unlink("s")
    print(os.readlink(f"/proc/{pid}/exe").rpartition("/")[2])
    os.kill(pid, 9)
    waited(pid)


@case
def proc_files_of_a_program() -> None:
    pid = os.fork()
    if pid == 0:
        os.execve("/usr/bin/sleep", ["my name", "5"], {"A": "1", "B": "2"})
    until(lambda: b"sleep" in get(f"/proc/{pid}/comm"))
    print(
        os.readlink(f"/proc/{pid}/exe"),
        get(f"/proc/{pid}/cmdline"),
        get(f"/proc/{pid}/environ"),
        get(f"/proc/{pid}/comm"),
    )
    os.kill(pid, 9)
    waited(pid)
    put("script", b"#!/bin/sh\nread x\n", 0o755)
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(r, 0)
        os.execv("./script", ["zero", "one"])
    until(lambda: b"script" in get(f"/proc/{pid}/comm"))
    print(
        os.path.basename(os.readlink(f"/proc/{pid}/exe")),
        get(f"/proc/{pid}/cmdline"),
        get(f"/proc/{pid}/comm"),
    )
    os.kill(pid, 9)
    waited(pid)


@case
def running_by_a_symlink() -> None:
    os.symlink("/usr/bin/sleep", "link")
    pid = os.fork()
    if pid == 0:
        os.execv("./link", ["link", "5"])
    until(lambda: b"link" in get(f"/proc/{pid}/comm"))
    print(os.readlink(f"/proc/{pid}/exe"), get(f"/proc/{pid}/comm"))
    os.kill(pid, 9)
    waited(pid)


@case
def self_through_proc() -> None:
    sys.stdout.flush()
    if (pid := os.fork()) == 0:
        os.execv("/proc/self/exe", ["python3", "-SEsc", "import os; print(os.readlink('/proc/self/exe'))"])
    print(waited(pid))


@case(program="auxv")
def auxiliary_vector() -> None:
    run("/programs/auxv")
    os.symlink("/programs/auxv", "link")
    run("./link")


@case(program="layout")
def memory_layout() -> None:
    """brk, stack, mappings of a static program: see programs/layout.c."""
    run("/programs/layout")


@case(program="showids")
def setuid_programs() -> None:
    for mode, uid, gid in (
        (0o4755, 0, 0),
        (0o2755, 0, 0),
        (0o6755, 1001, 1002),
        (0o2745, 0, 5),
        (0o4755, 1001, 0),
    ):
        shutil.copy("/programs/showids", "p")
        os.chown("p", uid, gid)
        os.chmod("p", mode)
        print(oct(mode), uid, gid)
        for who in (0, ALICE):
            sys.stdout.flush()
            as_user(who, lambda: os.execv("./p", ["p"]))
        os.unlink("p")


@case(program="showids")
def setuid_program_without_new_privileges() -> None:
    shutil.copy("/programs/showids", "p")
    os.chmod("p", 0o6755)
    sys.stdout.flush()

    def body() -> None:
        ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)
        os.execv("./p", ["p"])

    as_user(ALICE, body)


@case
def setuid_scripts_are_not() -> None:
    put("s", b"#!/bin/sh\nid -u\n", 0o755)
    os.chmod("s", 0o4755)
    as_user(ALICE, lambda: os.execv("./s", ["s"]))


@case(program="showids")
def file_capabilities() -> None:
    shutil.copy("/programs/showids", "p")
    for low, flag in ((1 << 10, 1), (1 << 10, 0), (1 << 13 | 1 << 21, 1)):
        outcome(os.setxattr, "p", "security.capability", struct.pack("<5I", 0x02000000 | flag, low, 0, 0, 0))
        sys.stdout.flush()
        print(as_user(ALICE, lambda: os.execv("./p", ["p"])))


@case
def environment_of_a_big_program() -> None:
    """A dynamic program with libraries: python itself, isolated."""
    run("/usr/bin/python3", "-IScimport sys; print(sys.flags.isolated, sys.argv, len(sys.path) > 0)")
    run("/usr/bin/python3", "-c", "import os; print(sorted(os.environ))", A="1")


@case
def path_search() -> None:
    run("sh", "-c", "command -v true; no-such-program; echo $?")
    os.mkdir("bin")
    put("bin/mine", b"#!/bin/sh\necho mine\n", 0o755)
    run("/bin/sh", "-c", "mine", PATH=os.getcwd() + "/bin:/usr/bin")
    tell("execvp", os.execvpe, "no-such-program", ["x"], {"PATH": "/usr/bin:/bin"})


@case
def spawned_shell_pipelines() -> None:
    run(
        "sh",
        "-c",
        "seq 1000 | grep 7 | sort -rn | head -3 | tr '\\n' ' '; echo; (exit 3); echo $?; false || echo or; true && echo and",
    )
    run("sh", "-c", "(for i in 1 2 3; do (echo $i) & done; wait) | sort; echo waited")
    run("sh", "-c", "x=$(echo sub $(echo nested)); echo $x; cat <<E\nhere $x\nE\necho $((6*7)); kill -9 $$")


@case
def close_on_exec_of_many() -> None:
    fds = [os.open("/dev/null", os.O_RDONLY) for _ in range(200)]
    for fd in fds[::2]:
        os.set_inheritable(fd, True)
    spawned = spawn(lambda: os.execv("/bin/sh", ["sh", "-c", "ls /proc/self/fd | wc -l"]))
    print(waited(spawned))


def _trap_state() -> list[str]:
    lines = get("/proc/self/status").decode().splitlines()
    return [line for line in lines if line.startswith(("SigBlk:", "SigIgn:", "SigCgt:"))]


@case
def failing_leaves_traps_alone() -> None:
    """An execve that fails late, and a connect of a socket that an epoll watches: neither changes what SIGTRAP does."""
    got: list[int] = []
    server = socket.socket(socket.AF_UNIX)
    server.bind("server")
    server.listen(10)

    def body(action: object, block: bool) -> int:
        signal.signal(signal.SIGTRAP, action)  # type: ignore[arg-type]
        signal.pthread_sigmask(signal.SIG_BLOCK if block else signal.SIG_UNBLOCK, [signal.SIGTRAP])
        before, descriptors = _trap_state(), os.listdir("/proc/self/fd")
        for _ in range(2):
            print(outcome(os.execv, "/bin/true", ["true", "x" * 200000]))
        with select.epoll() as poll, socket.socket(socket.AF_UNIX) as end:
            poll.register(end.fileno(), select.EPOLLOUT)
            end.connect("server")
            print(poll.poll(5) == [(end.fileno(), select.EPOLLOUT)])
        print(before == _trap_state(), descriptors == os.listdir("/proc/self/fd"))
        if action != signal.SIG_DFL:
            os.kill(os.getpid(), signal.SIGTRAP)
        print(len(got), signal.sigpending())
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTRAP])
        print(len(got))
        return 0

    for action in (lambda *_: got.append(1), signal.SIG_IGN, signal.SIG_DFL):
        for block in (False, True):
            print("->", child(body, action, block))
