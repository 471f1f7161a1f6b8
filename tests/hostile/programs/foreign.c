/* Calls by other doors than the 64-bit system call instruction's ordinary numbers; and children born in odd ways. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static char *low;

static long old_door(long number, long a, long b, long c) {
    long result;
    asm volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c) : "memory", "r8", "r9", "r10", "r11");
    return (int)result;
}

static void say(const char *what, long result) {
    printf("%s: %s%ld\n", what, result >= 0 ? "ESCAPED " : "", result);
}

static int probe(void *secret) {
    /* a child born in an odd way is confined like any other */
    int fd = open(secret, O_RDONLY);
    if (fd >= 0) printf("child: ESCAPED\n");
    if (kill(1, 0) && errno != EPERM) printf("child: does not see pid 1: %s\n", strerror(errno));
    if (syscall(SYS_ptrace, 16, getppid(), 0, 0) == 0) printf("ptrace: ESCAPED\n");
    fflush(stdout);
    return 7;
}

static void born(const char *what, int flags, char *secret) {
    char *stack = mmap(0, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int pid = clone(probe, stack + 65536, flags, secret), status = 0;
    if (pid < 0) {
        printf("%s: %s\n", what, strerror(errno));
        return;
    }
    if (flags & CLONE_THREAD) usleep(100000);
    else waitpid(pid, &status, __WALL);
    printf("%s: status %d\n", what, WEXITSTATUS(status));
}

int main(int argc, char **argv) {
    setvbuf(stdout, 0, _IOLBF, 0);
    char *secret = argv[1];
    low = mmap((void *)0x10000, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    if (low != (void *)0x10000) return 3;
    strcpy(low, secret);
    strcpy(low + 4096, "/bin/sh");
    say("int 0x80 open", old_door(5, (long)low, 0, 0));
    say("int 0x80 getpid", old_door(20, 0, 0, 0));
    say("int 0x80 execve", old_door(11, (long)low + 4096, 0, 0));
    say("int 0x80 ptrace", old_door(26, 16, 1, 0));
    say("int 0x80 kill", old_door(37, atoi(argv[2]), 9, 0));
    say("int 0x80 fork", old_door(2, 0, 0, 0));
    say("int 0x80 clone", old_door(120, 0x10000000 | 17, 0, 0));
    say("int 0x80 socketcall", old_door(102, 1, (long)low, 0));
    born("fork", SIGCHLD, secret);
    born("vfork", CLONE_VFORK | CLONE_VM | SIGCHLD, secret);
    born("shared memory", CLONE_VM | SIGCHLD, secret);
    born("shared descriptors", CLONE_FILES | SIGCHLD, secret);
    born("shared everything", CLONE_VM | CLONE_FILES | CLONE_FS | CLONE_SIGHAND | SIGCHLD, secret);
    born("no exit signal", 0, secret);
    born("another exit signal", SIGUSR1 & 0, secret);
    born("our parent's child", CLONE_PARENT | SIGCHLD, secret);
    born("a thread without shared descriptors", CLONE_VM | CLONE_SIGHAND | CLONE_THREAD, secret);
    born("untraced", CLONE_UNTRACED | SIGCHLD, secret);
    born("pidfd", CLONE_PIDFD | SIGCHLD, secret);
    return 0;
}
