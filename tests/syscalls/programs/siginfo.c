/* Who sent a signal, as siginfo tells it to a handler: number (own, parent, child, none), user, code. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
static volatile siginfo_t last;
static volatile sig_atomic_t count;
static pid_t parent, child;
static void handler(int number, siginfo_t *info, void *context) {
    (void)number; (void)context;
    last = *info;
    count++;
}
static void tell(const char *what) {
    for (int i = 0; i < 2000 && !count; i++) usleep(1000);
    pid_t pid = last.si_pid;
    const char *who = pid == getpid() ? "self" : pid == parent ? "parent" : pid == child ? "child" : pid == 0 ? "none" : "?";
    printf("%s: %d time(s) signal %d from %s, user %d, code %d, value %d\n", what, (int)count, last.si_signo, who,
           (int)last.si_uid, last.si_code, last.si_code == SI_QUEUE ? last.si_value.sival_int : 0);
    fflush(stdout);
    count = 0;
    memset((void *)&last, 0, sizeof last);
}
static void come_in(int number) {
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_RESTART};
    sigaction(number, &action, 0);
}
int main(int argc, char **argv) {
    uid_t other = argc > 1 ? atoi(argv[1]) : 0;
    setpgid(0, 0);
    come_in(SIGUSR1); come_in(SIGUSR2); come_in(SIGCHLD); come_in(SIGALRM); come_in(SIGXFSZ); come_in(40);
    kill(getpid(), SIGUSR1); tell("kill");
    kill(0, SIGUSR1); tell("kill of the group");
    raise(SIGUSR1); tell("raise");
    sigqueue(getpid(), 40, (union sigval){.sival_int = 7}); tell("sigqueue");
    ualarm(10000, 0); tell("alarm");
    parent = getpid();
    child = fork();
    if (!child) {
        if (other && setresuid(other, 0, 0)) return 9;
        kill(parent, SIGUSR1); usleep(20000);
        kill(0, SIGUSR2); usleep(20000);
        sigqueue(parent, 40, (union sigval){.sival_int = 9}); usleep(20000);
        return 3;
    }
    tell("kill of a child"); tell("kill of the group by a child"); tell("sigqueue of a child"); tell("its end");
    waitpid(child, 0, 0);
    sigset_t set, old;
    sigemptyset(&set); sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, &old);
    child = fork();
    if (!child) { kill(parent, SIGUSR1); _exit(0); }
    waitpid(child, 0, 0); tell("end of another"); /* and the other signal waits */
    sigprocmask(SIG_SETMASK, &old, 0);
    tell("of one that is no more");
    siginfo_t info = {.si_signo = SIGUSR1, .si_code = SI_USER};
    child = fork();
    if (!child) { pause(); _exit(0); }
    long result = syscall(SYS_rt_sigqueueinfo, child, SIGUSR1, &info);
    printf("false: %ld %d\n", result, errno == EPERM);
    kill(child, SIGKILL);
    waitpid(child, 0, 0); tell("killed");
    return 0;
}
