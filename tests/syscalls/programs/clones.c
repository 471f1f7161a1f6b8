/* clone(2) by hand: what is shared and what is not, and which signal tells the end. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static char stack[6][65536] __attribute__((aligned(16)));
static int memory = 1, told;

static int change(void *unused) {
    memory = 2;
    if (chdir("/image")) return 1;
    umask(0);
    close(0);
    return 7;
}
static int nothing(void *unused) { return 3; }
static void heard(int number) { told = number; }

static void try(const char *name, int flags, int which) {
    int status = -1;
    memory = 1;
    open("/dev/null", O_RDONLY);
    int pid = clone(change, stack[which] + 65536, flags, NULL);
    int done = waitpid(pid, &status, flags & 0xff ? 0 : __WALL);
    char where[4096];
    mode_t mask = umask(022);
    printf("%s: waited %d status %d memory %d cwd %s umask %o fd0 %s\n", name, done == pid, WEXITSTATUS(status), memory,
           strcmp(getcwd(where, sizeof where), "/image") ? "old" : "new", mask, fcntl(0, F_GETFD) < 0 ? "closed" : "open");
    chdir("/");
    umask(022);
    open("/dev/null", O_RDONLY);
}

/* A thread that does not share its working directory: every flag of pthread_create but CLONE_FS. */
static volatile int moved;
static int move(void *unused) {
    char where[4096];
    chdir("/image");
    umask(0);
    moved = strcmp(getcwd(where, sizeof where), "/image") ? 2 : 1;
    syscall(SYS_exit, 0);
    return 0;
}
static void thread_of_its_own(void) {
    char where[4096];
    int flags = CLONE_VM | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
    clone(move, stack[5] + 65536, flags, NULL);
    for (int i = 0; i < 1000 && !moved; i++) usleep(1000);
    printf("thread moved %d, the other one is in %s, umask %o\n", moved, getcwd(where, sizeof where), umask(022));
}

int main(void) {
    setvbuf(stdout, NULL, _IONBF, 0);
    chdir("/");
    try("nothing shared", SIGCHLD, 0);
    try("memory", CLONE_VM | SIGCHLD, 1);
    try("fs", CLONE_FS | SIGCHLD, 2);
    try("fs and memory", CLONE_FS | CLONE_VM | SIGCHLD, 2);
    try("nothing again", SIGCHLD, 2);
    try("files", CLONE_FILES | SIGCHLD, 3);
    try("vfork", CLONE_VM | CLONE_VFORK | SIGCHLD, 4);
    try("no signal", 0, 5);
    thread_of_its_own();
    signal(SIGUSR1, heard);
    int pid = clone(nothing, stack[0] + 65536, SIGUSR1, NULL);
    int status = 0;
    printf("wait without __WALL %d %s\n", waitpid(pid, &status, 0), errno == ECHILD ? "ECHILD" : "");
    printf("wait with __WCLONE %d", waitpid(pid, &status, __WCLONE) == pid);
    for (int i = 0; i < 1000 && !told; i++) usleep(1000);
    printf(" status %d told %d\n", WEXITSTATUS(status), told == SIGUSR1);
    pid_t parent = 0, child = 0;
    pid = clone(nothing, stack[1] + 65536, CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID | CLONE_VM | SIGCHLD, NULL, &parent, NULL, &child);
    waitpid(pid, &status, 0);
    printf("tid written %d\n", parent == pid);
    pid = clone(nothing, stack[1] + 65536, CLONE_PARENT | SIGCHLD, NULL);
    printf("sibling: wait %d\n", waitpid(pid, &status, 0) == pid);
    errno = 0;
    printf("bad flags %d", clone(nothing, stack[1] + 65536, CLONE_THREAD | SIGCHLD, NULL));
    printf(" %d\n", errno == EINVAL);
    errno = 0;
    printf("sighand without vm %d", clone(nothing, stack[1] + 65536, CLONE_SIGHAND | SIGCHLD, NULL));
    printf(" %d\n", errno == EINVAL);
    return 0;
}
