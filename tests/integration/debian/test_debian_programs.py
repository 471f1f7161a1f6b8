"""Programs that people use every day, in a container of Debian."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from debian_user import DebianUser

pytestmark = pytest.mark.debian


def test_processes_are_shown(either: DebianUser) -> None:
    out = either.sh(
        "sleep 60 & ps -eo pid,ppid,user,comm; echo ==; top -b -n1 -w 100; echo ==; pgrep -x sleep | wc -l; pstree;"
        "free -m; uptime; vmstat; lscpu; lsof -p 1; kill $!"
    )
    shown, top, rest = out.split("==\n")
    assert [line.split()[3] for line in shown.splitlines()[1:]] == ["sh", "sleep", "ps"]
    assert shown.splitlines()[1].split() == ["1", "0", "root", "sh"]
    assert re.search(r"Tasks: +3 total", top)
    assert rest.startswith("1\nsh-+-pstree\n"), rest
    for word in ("Mem:", "load average", "procs", "x86_64", "/usr/bin/dash"):
        assert word in rest


def test_tar_find_and_rsync_keep_everything(either: DebianUser) -> None:
    out = either.sh(
        """
        mkdir -p /a/d && cd /a && echo one > one && ln one two && ln -s one link && mkfifo fifo && mknod null c 1 3
        chmod 4755 one; chown 12:34 d; chmod 1777 d; touch -d '2001-02-03 04:05:06.789' d/old
        dd if=/dev/zero of=sparse bs=1 count=1 seek=1M status=none
        list() { (cd $1 && find . -printf '%p %y %m %U:%G %n %s %l %T@\\n' | sort); }
        find . -exec touch -h -d @1234567890 {} +  # rsync sends fractions of seconds for regular files only
        touch -d '2001-02-03 04:05:06.789' one; mkdir /b /c && tar -C /a --format=posix -cf - . | tar -C /b -xpf - --numeric-owner
        rsync -aHSD --numeric-ids /a/ /c/
        cp -a /a /d; list /a > /1; list /b > /2; list /c > /3; list /d > /4
        diff /1 /2 && diff /1 /3 && diff /1 /4 && wc -l < /1 && rsync -anHi --delete /a/ /c/ && rm -r /a && ls -d /a
        """,
        code=2,
    )
    assert out.splitlines()[0] == "9"
    assert "No such file" in out.splitlines()[1]


def test_find_sees_what_was_installed(either: DebianUser) -> None:
    """Every file that dpkg has put there is there, and is what it was."""
    out = either.sh("dpkg --verify coreutils dash libc6 perl-base git; find / -xdev -type f | wc -l")
    assert out.isdecimal() or len(out.splitlines()) == 1
    assert int(out) > 10000


def test_perl(either: DebianUser) -> None:
    out = either.sh(
        """perl -e 'use POSIX; use Socket; socketpair(A,B,AF_UNIX,SOCK_STREAM,0) or die; my $p=fork();
        if (!$p) { syswrite(B,"x"x5); POSIX::_exit(7) } sysread(A,my $s,9); waitpid($p,0); print $s, $?>>8, "\\n";
        $SIG{ALRM}=sub{print "alarm\\n"}; alarm 1; sleep 5; print join(",",(getpwuid(0))[0,7]),"\\n"; exec "true"'"""
    )
    assert out == "xxxxx7\nalarm\nroot,/root\n"


def test_node(either: DebianUser) -> None:
    script = """
    const fs = require('fs'), http = require('http'), cp = require('child_process');
    const { Worker } = require('worker_threads');
    const server = http.createServer((q, a) => a.end('hi ' + q.url)).listen(0, '127.0.0.1', () => {
      http.get({ host: '127.0.0.1', port: server.address().port, path: '/x' }, answer => answer.on('data', d => {
        console.log('' + d); server.close();
        fs.writeFileSync('/tmp/f', 'text'); console.log(fs.readdirSync('/tmp').join(), cp.execSync('echo sub') + '');
        new Worker('console.log("worker", process.pid)', { eval: true });
      }));
    });
    """
    out = either.sh("cat > /main.js; node /main.js", stdin=script)
    assert out == "hi /x\nf sub\n\nworker 1\n" or re.fullmatch(r"hi /x\nf sub\n\nworker \d+\n", out)


def test_java(either: DebianUser) -> None:
    out = either.sh("java -XshowSettings:system -version", timeout=60)
    assert "17." in out
    assert "OpenJDK 64-Bit Server VM" in out


def test_java_compiles_and_runs(either: DebianUser) -> None:
    """Eclipse's compiler, itself in Java, and a program with threads, processes, sockets, mappings and a hook."""
    out = either.sh(
        "mkdir /j; cd /j; cat > Main.java; ecj -proc:none -17 -nowarn Main.java &&"
        "java -Xmx64m -XX:+UseParallelGC Main; echo = $?; java -Xint Main | tail -1",
        stdin=JAVA,
        timeout=200,
    )
    assert (
        out
        == "499999500000\nsub 3\nanswer /x\nmapped\ninterrupted\n1 [Main.class, Main.java, f]\nhook\n= 5\nhook\n"
    )


JAVA = """
import java.net.*; import java.nio.*; import java.nio.channels.*; import java.nio.file.*; import java.util.*;
import java.util.concurrent.*; import java.util.stream.*;
public class Main {
  public static void main(String[] words) throws Exception {
    System.out.println(LongStream.range(0, 1000000).parallel().sum());
    Process sub = new ProcessBuilder("sh", "-c", "printf sub; exit 3").start();
    System.out.println(new String(sub.getInputStream().readAllBytes()) + " " + sub.waitFor());
    ExecutorService pool = Executors.newFixedThreadPool(4);
    try (ServerSocket server = new ServerSocket(0, 9, InetAddress.getLoopbackAddress())) {
      Future<String> asked = pool.submit(() -> {
        try (Socket s = server.accept()) { return new Scanner(s.getInputStream()).next(); } });
      try (Socket s = new Socket(server.getInetAddress(), server.getLocalPort())) {
        s.getOutputStream().write("/x\\n".getBytes()); System.out.println("answer " + asked.get()); }
    }
    Path path = Path.of("f"); Files.writeString(path, "......");
    try (FileChannel file = FileChannel.open(path, StandardOpenOption.READ, StandardOpenOption.WRITE)) {
      file.map(FileChannel.MapMode.READ_WRITE, 0, 6).put("mapped".getBytes()); }
    System.out.println(Files.readString(path));
    Thread sleeper = new Thread(() -> { try { Thread.sleep(99999); } catch (InterruptedException e) {
      System.out.println("interrupted"); } });
    sleeper.start(); sleeper.interrupt(); sleeper.join();
    try (Stream<Path> names = Files.list(Path.of("."))) {
      System.out.println(ProcessHandle.current().parent().get().pid() + " "
        + names.map(p -> p.getFileName().toString()).sorted().toList()); }
    Runtime.getRuntime().addShutdownHook(new Thread(() -> System.out.println("hook")));
    pool.shutdown(); System.exit(5);
  }
}
"""


def test_git_over_file_and_http(either: DebianUser) -> None:
    out = either.sh(
        """
        set -e; export HOME=/root; git config --global user.email a@b.c; git config --global user.name n
        git config --global init.defaultBranch main; git init -q /r; cd /r
        for i in $(seq 50); do echo $i > f$i; done; git add .; git commit -qm first; git tag v1
        for i in $(seq 20); do echo more >> f$i; git commit -qam c$i; done
        git clone -q file:///r /by-file; git clone -q /r /by-path; git clone -q --bare /r /srv/r.git
        git -C /srv/r.git update-server-info; git -C /srv/r.git gc -q; git -C /srv/r.git update-server-info
        cd /srv; python3 -m http.server -b 127.0.0.1 $PORT >/dev/null 2>&1 & server=$!
        for i in $(seq 100); do curl -sf http://127.0.0.1:$PORT/ >/dev/null && break; sleep 0.05; done
        git clone -q http://127.0.0.1:$PORT/r.git /by-http; kill $server
        for d in by-file by-path by-http; do git -C /$d log --oneline | wc -l; git -C /$d fsck
            git -C /$d status -s; done
        cd /by-http; git checkout -qb topic v1; echo t > t; git add t; git commit -qm topic; git merge -q main -m merge
        git log --oneline --graph | wc -l; git stash list; git rebase -q main; git log --oneline | head -1 | cut -c9-
        """,
        "-e",
        f"PORT={18100 if either.name == 'self' else 18101}",
    )
    lines = [line for line in out.splitlines() if not line.startswith(("Checking", "notice"))]
    assert lines[:3] == ["21", "21", "21"]
    assert lines[-1] == "topic"


def test_flock(either: DebianUser) -> None:
    out = either.sh(
        "flock /l sh -c 'flock -n /l echo bad || echo busy'; flock -n /l echo free;"
        "(flock 9; sleep 0.2; echo first) 9>/l & sleep 0.1; flock /l echo second; wait;"
        "flock -w 0.1 /l true && flock /l sh -c 'flock -w 0.1 /l true || echo late'"
    )
    assert out == "busy\nfree\nfirst\nsecond\nlate\n"


def test_inotifywait(either: DebianUser) -> None:
    out = either.sh(
        """
        mkdir /w; echo old > /w/old; inotifywait -m -r --format '%e %f' /w > /log 2> /told & watcher=$!
        for i in $(seq 1000); do grep -q established /told && break; sleep 0.02; done
        echo x > /w/new; mv /w/new /w/moved; rm /w/moved; echo more >> /w/old; chmod 600 /w/old; mkdir /w/sub
        for i in $(seq 1000); do grep -q sub /log && break; sleep 0.02; done; kill $watcher; cat /log
        """
    )
    for line in (
        "CREATE new",
        "MODIFY new",
        "MOVED_FROM new",
        "MOVED_TO moved",
        "DELETE moved",
        "MODIFY old",
    ):
        assert line in out.splitlines(), out
    assert "CREATE,ISDIR sub" in out


def test_strace_says_why_not(either: DebianUser) -> None:
    """A process has one tracer on Linux, and that is the kernel of the container."""
    assert "PTRACE_TRACEME" in either.sh("strace true", code=1)
    reason = next(
        line for line in either("kernel", "syscalls").stdout.splitlines() if line.startswith("ptrace ")
    )
    assert "one tracer" in reason


def test_musl_and_static_programs(either: DebianUser) -> None:
    out = either.sh(
        """
        cd /tmp; cat > a.c
        for cc in gcc musl-gcc "gcc -static" "gcc -static-pie" "musl-gcc -static" "gcc -no-pie"; do
            $cc a.c -o a && ./a; echo $?; done
        musl-gcc a.c -o a && /lib/ld-musl-x86_64.so.1 ./a; echo $?
        busybox sh -c 'busybox ls -d /usr | busybox cat; busybox ps | busybox head -1'
        """,
        stdin=C_PROGRAM,
    )
    assert out == "1 1\nspawned\n3\n" * 7 + "/usr\nPID   USER     COMMAND\n"


C_PROGRAM = """
#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
extern char **environ;
static void *thread(void *unused) { return (void *)(long)getpid(); }
int main(void) {
    pthread_t t; void *seen; pid_t child; int status;
    char *words[] = {"echo", "spawned", 0};
    pthread_create(&t, 0, thread, 0); pthread_join(t, &seen);
    printf("%d %d\\n", (long)seen == getpid(), getppid() == 1); fflush(stdout);
    posix_spawnp(&child, "echo", 0, 0, words, environ); waitpid(child, &status, 0);
    return system("exit 3") >> 8;
}
"""


def test_scripts_with_odd_interpreters(either: DebianUser) -> None:
    out = either.sh(
        r"""
        cd /tmp; try() { cat > s; chmod +x s; ./s one "t w o"; echo "= $?"; }
        printf '#!/bin/sh -e\necho $0 $# "$2"' | try
        printf '#! /usr/bin/env   python3\nimport sys; print(sys.argv)' | try
        printf '#!/usr/bin/env -S perl -w -l\nprint "@ARGV"' | try
        printf '#!/usr/bin/awk -f\nBEGIN { print ARGC, ARGV[2] }' | try
        printf '#!/bin/busybox sh\necho busy' | try
        printf '#!/bin/sed -n s/x/y/p\nx' | try
        printf '#!/nosuch\n' | try
        printf '#!/tmp\n' | try
        printf 'echo no interpreter $#' | try
        printf '#!/tmp/inner -x\n' > s2; printf '#!/bin/echo inner\n' > inner; chmod +x inner s2; ./s2 y
        printf '#!' > e; chmod +x e; ./e; echo "= $?"
        printf '#!/tmp/loop\n' > loop; chmod +x loop; perl -e 'exec "/tmp/loop" or print int($!), "\n"'
        """,
        shell="bash",
    )
    lines = out.splitlines()
    assert lines[:6] == ["./s 2 t w o", "= 0", "['./s', 'one', 't w o']", "= 0", "one t w o", "= 0"]
    assert lines[6:10] == ["3 t w o", "= 0", "busy", "= 0"]
    assert "./s: cannot execute: required file not found\n= 127\n" in out
    assert "/tmp: bad interpreter: Permission denied\n= 126\n" in out
    assert "no interpreter 2" in out
    assert "inner /tmp/inner -x ./s2 y" in out
    assert lines[-1] == "40"  # ELOOP


def test_programs_for_i386_are_refused(either: DebianUser, shared_directory: Path) -> None:
    """One word says what it is, to a shell as ENOEXEC, to the user as a sentence."""
    program = shared_directory / "program"
    program.write_bytes(b"\x7fELF\1\1\1".ljust(16, b"\0") + b"\2\0\3\0\1\0\0\0" + bytes(100))
    program.chmod(0o755)
    mounted = ("-v", f"{program}:/program:ro")
    assert "Exec format error" in either.sh("/program", *mounted, code=126)
    done = either("run", "--rm", *mounted, either.IMAGE, "/program", code=126)
    assert "32-bit" in done.stderr


def test_users_change(either: DebianUser) -> None:
    out = either.sh(
        """
        useradd -m -s /bin/bash bob; groupadd -g 4321 team; usermod -aG team bob; echo bob:secret | chpasswd
        echo 'bob ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/bob; chmod 440 /etc/sudoers.d/bob
        su - bob -c 'id; pwd'
        su bob -c 'sudo -n id -un; sudo -n -u www-data id -un; sudo -n -l | grep -c NOPASSWD; cat /etc/shadow'
        su nobody -s /bin/sh -c 'echo secret | su bob -c "echo i am \\$(id -un)"'
        su nobody -s /bin/sh -c 'echo wrong | su bob -c id'
        gosu bob:team id; gosu 1234:99 id
        setpriv --reuid bob --regid team --clear-groups sh -c 'id; touch /x; kill 1'
        setpriv --reuid bob --regid bob --init-groups --inh-caps=-all --bounding-set=-all sudo -n true
        userdel -r bob; id bob; ls /home
        """,
        code=0,
    )
    for text in (
        "uid=1000(bob) gid=1000(bob) groups=1000(bob),4321(team)\n/home/bob\nroot\nwww-data\n1\n",
        "cat: /etc/shadow: Permission denied",
        "i am bob",
        "su: Authentication failure",
        "uid=1000(bob) gid=4321(team) groups=4321(team)\nuid=1234 gid=99 groups=99\n",
        "uid=1000(bob) gid=4321(team) groups=4321(team)\n",
        "touch: cannot touch '/x': Permission denied",
        "id: 'bob': no such user",
    ):
        assert text in out, (text, out)


def test_the_kernel_has_had_no_error(either: DebianUser) -> None:
    """After all of the above."""
    assert either.failures().split() == ["unknown", "calls:", "none", "failures:", "none"]
