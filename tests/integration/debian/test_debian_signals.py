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


ONCE = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
static volatile long caught;
static long wrong, rounds;
static void handler(int number) { (void)number; caught++; }
static void tell(const char *what, long got) {
    if (wrong++ < 5) { printf("round %ld: %s gave %ld, %s\n", rounds, what, got, strerror(errno)); fflush(stdout); }
}
#define WORKS(call) do { errno = 0; long got = (call); if (got < 0) tell(#call, got); } while (0)
#define FAILS(call, error) do { errno = 0; long got = (call); if (got >= 0 || errno != (error)) tell(#call, got); } while (0)
#define IS(value, wanted) do { long got = (value); if (got != (wanted)) tell(#value, got); } while (0)
static int opened(const char *path, int flags) {
    errno = 0; int fd = open(path, flags, 0644); if (fd != 3) tell(path, fd); return fd;
}
static void writes(const char *path, int flags, const char *text) {
    int fd = opened(path, flags); ssize_t done;
    do done = write(fd, text, strlen(text)); while (done < 0 && errno == EINTR);
    IS(done, (long)strlen(text)); if (fd > 2) close(fd);
}
static void holds(const char *path, const char *text) {
    char buffer[64]; int fd = opened(path, O_RDONLY); ssize_t done;
    do done = read(fd, buffer, sizeof buffer - 1); while (done < 0 && errno == EINTR);
    buffer[done < 0 ? 0 : done] = 0; IS(strcmp(buffer, text), 0); if (fd > 2) close(fd);
}
int main(int argc, char **argv) {
    (void)argc;
    struct sigaction action = {.sa_handler = handler};
    char directory[32], text[32]; struct stat info; int fd, status;
    sigaction(SIGUSR1, &action, 0); sigaction(SIGTERM, &action, 0);
    action.sa_flags = SA_RESTART; sigaction(SIGUSR2, &action, 0); sigaction(SIGURG, &action, 0); sigaction(SIGCHLD, &action, 0);
    sprintf(directory, "/once-%d", getpid()); WORKS(mkdir(directory, 0755)); WORKS(chdir(directory));
    pid_t me = getpid(), sender = fork();
    if (!sender) {
        for (int i = 0; getppid() == me; i++) {
            struct timespec pause = {0, rand() % 2000 * 1000};
            kill(me, i & 1 ? SIGUSR1 : SIGUSR2);
            if (i % 64 == 0) { kill(me, SIGSTOP); kill(me, SIGCONT); }
            nanosleep(&pause, 0);
        }
        _exit(0);
    }
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGURG};
    struct itimerspec often = {{0, 1000000}, {0, 1000000}};
    timer_t timer; event._sigev_un._tid = syscall(SYS_gettid);
    WORKS(timer_create(CLOCK_MONOTONIC, &event, &timer)); WORKS(timer_settime(timer, 0, &often, 0));
    for (time_t end = time(0) + atoi(argv[1]); time(0) < end; rounds++) {
        sprintf(text, "round %ld", rounds);
        writes("f", O_CREAT | O_EXCL | O_WRONLY, text); FAILS(open("f", O_CREAT | O_EXCL | O_WRONLY, 0644), EEXIST);
        holds("f", text); writes("f", O_CREAT | O_TRUNC | O_RDWR, "other"); holds("f", "other");
        WORKS(rename("f", "g")); FAILS(stat("f", &info), ENOENT); WORKS(stat("g", &info)); IS(info.st_size, 5);
        WORKS(link("g", "h")); WORKS(stat("h", &info)); IS(info.st_nlink, 2); WORKS(unlink("g")); FAILS(unlink("g"), ENOENT);
        WORKS(symlink("h", "s")); FAILS(symlink("h", "s"), EEXIST); holds("s", "other");
        WORKS(chmod("h", 0600)); WORKS(stat("s", &info)); IS(info.st_mode & 07777, 0600);
        fd = opened("h", O_RDWR); WORKS(ftruncate(fd, 2)); WORKS(fchmod(fd, 0640)); WORKS(fstat(fd, &info));
        IS(info.st_size, 2); IS(info.st_mode & 07777, 0640); if (fd > 2) close(fd);
        WORKS(truncate("h", 0)); holds("h", ""); WORKS(mkdir("d", 0755)); FAILS(mkdir("d", 0755), EEXIST);
        WORKS(rename("h", "d/h")); fd = opened("d", O_RDONLY | O_DIRECTORY); WORKS(fstatat(fd, "h", &info, 0));
        WORKS(unlinkat(fd, "h", 0)); if (fd > 2) close(fd); WORKS(rmdir("d")); WORKS(unlink("s"));
        if (rounds % 8 == 0) {
            pid_t child = fork();
            if (!child) { execl("/bin/true", "true", (char *)0); _exit(9); }
            while (waitpid(child, &status, 0) < 0) if (errno != EINTR) { tell("waitpid", child); break; }
            IS(status, 0);
        }
    }
    kill(sender, SIGKILL);
    printf("%s, %s, %ld wrong\n", rounds > 3 ? "many rounds" : "few rounds", caught > 200 ? "many signals" : "few signals", wrong);
    return 0;
}
"""


@pytest.mark.parametrize("options", [(), ("--cpus", "0.8")], ids=["free", "held"])
def test_what_is_done_is_done_once(either: DebianUser, options: tuple[str, ...]) -> None:
    """Calls that change something, checked each time, under signals of a timer and of others, and stops."""
    script = "cat > a.c; gcc -O -w a.c -o a || exit 1; for i in 1 2 3; do ./a 5 & done; wait"
    assert either.sh(script, *options, stdin=ONCE) == "many rounds, many signals, 0 wrong\n" * 3


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
