"""No call is ever lost to a signal."""

from __future__ import annotations

import pytest
from debian_storm import in_a_storm
from debian_user import DebianUser

pytestmark = pytest.mark.debian

PIPELINES = r"""
trap : CHLD ALRM WINCH; : > /ready; i=0
while [ $i -lt $COUNT ]; do
    x=$(echo $i | cat | cat) || echo failed; [ "$x" = $i ] || echo "lost $i: $x"; i=$((i+1))
done; echo end
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


def _pipelines(user: DebianUser, count: int, seconds: int) -> None:
    out = in_a_storm(user, "SIGALRM", PIPELINES, "-e", f"COUNT={count}", seconds=seconds)
    assert out == "end\n"


def test_a_thousand_pipelines_in_a_storm_of_signals(either: DebianUser) -> None:
    _pipelines(either, 1000, 180)


@pytest.mark.slow
@pytest.mark.timeout(1900)
def test_ten_thousand_pipelines_in_a_storm_of_signals(either: DebianUser) -> None:
    _pipelines(either, 10_000, 1800)


def test_no_call_fails_under_an_interval_timer(either: DebianUser) -> None:
    """A handler without SA_RESTART may interrupt calls that wait, no others."""
    out = either.sh("cd /tmp; touch /one; cat > a.c; gcc -O a.c -o a && exec ./a", stdin=HANDLER)
    assert out == "0 failed, many signals\n"


MAKE = r"""
mkdir /m; cd /m; for i in $(seq 48); do echo "int f$i(void){return $i;}" > f$i.c; done
{ echo 'int main(void){return 0'; for i in $(seq 48); do echo "+f$i()"; done; echo '-1176;}'; } > main.c
printf 'CFLAGS=-w\nall: main\n\t./main\nmain: $(patsubst %%.c,%%.o,$(wildcard *.c))\n\tgcc -o main $^\n' > Makefile
: > /ready; make -j8 >/log 2>&1 || cat /log; make -q main && echo up to date; ls *.o | wc -l
"""


def test_make_with_many_jobs(either: DebianUser) -> None:
    assert either.sh(MAKE) == "up to date\n49\n"


@pytest.mark.hours
def test_make_with_many_jobs_in_a_storm_of_signals(either: DebianUser) -> None:
    assert in_a_storm(either, "SIGURG", MAKE) == "up to date\n49\n"
