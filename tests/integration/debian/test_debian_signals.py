"""No call is ever lost to a signal."""

from __future__ import annotations

import pytest
from debian_user import DebianUser

pytestmark = pytest.mark.debian

STORM = r"""
import os, signal, subprocess, sys
count, seconds = int(sys.argv[1]), int(sys.argv[2])
script = "i=0; while [ $i -lt %d ]; do x=$(echo $i | cat | cat) || echo failed; [ \"$x\" = $i ] || echo \"lost $i: $x\"; i=$((i+1)); done; echo end"
shell = subprocess.Popen(["dash", "-c", "trap : CHLD ALRM WINCH; : > /ready; " + script % count], start_new_session=True)
stopper = os.fork()
while not os.path.exists("/ready"):  # before its trap is set, SIGALRM would end the shell
    signal.sigtimedwait([], 0.001)
if not stopper:  # the storm: a signal to every process of the pipelines, again and again
    while True:
        for number in (signal.SIGCHLD, signal.SIGWINCH):
            try:
                os.killpg(shell.pid, number)
            except ProcessLookupError:
                os._exit(0)
        try:
            os.kill(shell.pid, signal.SIGALRM)
        except ProcessLookupError:
            os._exit(0)
        signal.sigtimedwait([], 0.0005)
code = shell.wait(seconds)
os.kill(stopper, signal.SIGKILL)
os.waitpid(stopper, 0)
sys.exit(code)
"""

HANDLER = r"""
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
static volatile long caught;
static void handler(int number) { (void)number; caught++; }
int main(void) {
    struct sigaction action = {.sa_handler = handler}; /* no SA_RESTART */
    struct itimerval timer = {{0, 200}, {0, 200}};
    long failed = 0;
    sigaction(SIGALRM, &action, 0); setitimer(ITIMER_REAL, &timer, 0);
    for (int i = 0; i < 5000; i++) {
        struct stat info; int fd;
        if (stat("/etc/passwd", &info)) failed++;
        if ((fd = open("/etc/passwd", O_RDONLY)) < 0) failed++; else close(fd);
        if (access("/nosuch", F_OK) == 0 || errno != ENOENT) failed++;
        if (getpid() != 1) failed++;
        if (i % 100 == 0) {
            int status = -1; pid_t child = fork();
            if (!child) _exit(7);
            while (waitpid(child, &status, 0) < 0 && errno == EINTR) ;
            if (child < 0 || WEXITSTATUS(status) != 7) failed++;
            if (rename("/one", "/two") && rename("/two", "/one")) failed++;
        }
    }
    printf("%ld failed, %s\n", failed, caught > 50 ? "many signals" : "few signals");
    return failed != 0;
}
"""


def _storm(user: DebianUser, count: int, seconds: int) -> None:
    out = user.sh(f"cat > /storm.py; python3 /storm.py {count} {seconds}", stdin=STORM, timeout=seconds + 30)
    assert out == "end\n"
    assert user.failures().split() == ["unknown", "calls:", "none", "failures:", "none"]


def test_a_thousand_pipelines_in_a_storm_of_signals(either: DebianUser) -> None:
    _storm(either, 1000, 150)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ten_thousand_pipelines_in_a_storm_of_signals(either: DebianUser) -> None:
    _storm(either, 10000, 800)


def test_no_call_fails_under_an_interval_timer(either: DebianUser) -> None:
    """A handler without SA_RESTART may interrupt calls that wait, no others."""
    out = either.sh("cd /tmp; touch /one; cat > a.c; gcc -O a.c -o a && exec ./a", stdin=HANDLER)
    assert out == "0 failed, many signals\n"


def test_make_with_many_jobs(either: DebianUser) -> None:
    out = either.sh(
        """
        mkdir /m; cd /m; for i in $(seq 48); do echo "int f$i(void){return $i;}" > f$i.c; done
        { echo 'int main(void){return 0'; for i in $(seq 48); do echo "+f$i()"; done; echo '-1176;}'; } > main.c
        printf 'CFLAGS=-w\\nall: main\\n\\t./main\\nmain: $(patsubst %%.c,%%.o,$(wildcard *.c))\\n\\tgcc -o main $^\\n' > Makefile
        make -j8 >/log || cat /log; make -q main && echo up to date; ls *.o | wc -l
        """
    )
    assert out == "up to date\n49\n"
