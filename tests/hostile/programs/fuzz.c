/* Random system calls:  fuzz SEED ROUNDS [alone] NUMBER...
 *
 * alone: every round has one of the calls only, and there are so many rounds for each of them.
 * Run as the first process of a container, which kill(-1) and the like do not reach. Every round is a child that
 * makes some hundred calls with arguments that are descriptors, sizes, flags, and pointers to good and bad memory. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static uint64_t state;
static char *memory, *edge; /* edge: a page of which the next is not there */
static const char *paths[] = {
    "/", ".", "..", "", "/tmp", "/tmp/x", "/etc/passwd", "/proc/self/fd/3", "/proc/self", "/dev/null", "/dev/tty", "/dev/ptmx",
    "/shared", "/shared/x", "/attack/fuzz", "/proc/1/root", "/proc/self/cwd/..", "/bin/sh", "/tmp/../../..", "a/b/c", "x",
    "/proc/self/mem", "/proc/sys/kernel/hostname", "/dev/pts/0", "/tmp/fifo", "/tmp/link", "//", "/tmp/", "/dev/shm/x",
    "user.x", "security.capability", "trusted.x", "system.posix_acl_access", "\xff\xfe\x80", "/proc/self/task", "/sys",
};
static const long interesting[] = {
    0, 1, 2, 3, 4, 5, 6, 7, 8, 15, 16, 17, 64, 100, 255, 256, 4095, 4096, 65535, 65536, -1, -2, -100, -4096, 0x7FFFFFFF, 0x80000000,
    0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, (long)0x8000000000000000, 0x100000000, 0x1000, 0x800, 0x200, 0x100, 040000, 0100, 01000,
    02000000, 010000000, 020200000, 0x541B, 0x5410, 0x540F, 0x5429, 1 << 20, 1 << 30, 0x10000, 0xFFFFFFFFFFFFF000,
};

static uint64_t next(void) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return state;
}

static long pointer(void) {
    char *at = memory + next() % 60000;
    switch (next() % 12) {
    case 0: return 0;
    case 1: return (long)edge + 4096 - next() % 16;
    case 2: return interesting[next() % (sizeof interesting / sizeof *interesting)];
    case 3: return (long)paths;
    case 4: /* a unix address */
        *(short *)at = 1;
        strcpy(at + 2 + next() % 2, paths[next() % (sizeof paths / sizeof *paths)]);
        return (long)at;
    case 5: /* numbers */
        for (int i = 0; i < 16; i++) ((long *)at)[i] = interesting[next() % (sizeof interesting / sizeof *interesting)];
        return (long)at;
    case 6: /* a path that does not end */
        memset(at, 'a' + next() % 3, 5000);
        return (long)at;
    case 7: /* a deep one */
        for (int i = 0; i < 4000; i += 2) memcpy(at + i, next() & 1 ? "./" : "a/", 2);
        at[4000] = 0;
        return (long)at;
    default: strcpy(at, paths[next() % (sizeof paths / sizeof *paths)]); return (long)at;
    }
}

static long argument(void) {
    switch (next() % 4) {
    case 0: return next() % 12; /* a descriptor, a small number */
    case 1: return interesting[next() % (sizeof interesting / sizeof *interesting)];
    case 2: return next() % 3 ? (long)(next() & 0xFFFF) : (long)next();
    default: return pointer();
    }
}

static void child(int count, long *numbers) {
    int pair[2];
    alarm(1);
    chdir("/tmp");
    open("/etc/passwd", O_RDONLY), open("/tmp", O_RDONLY), open("/tmp/x", O_RDWR | O_CREAT, 0600), open("/proc/self", O_RDONLY);
    open("/shared", O_RDONLY), socket(AF_UNIX, SOCK_STREAM, 0), socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    open("/etc/passwd", O_PATH), memfd_create("x", 0), open("/dev/ptmx", O_RDWR | O_NOCTTY);
    for (int i = 0; i < 300; i++) {
        long number = numbers[next() % count];
        long a = argument(), b = argument(), c = argument(), d = argument(), e = argument(), f = argument();
        if (next() % 3) { /* in most calls the first argument is a path, or a descriptor and then a path */
            if (next() & 1) a = pointer();
            else b = pointer();
        }
        syscall(number, a, b, c, d, e, f);
    }
    _exit(0);
}

int main(int argc, char **argv) {
    long numbers[600];
    int count = 0, status, rounds = atoi(argv[2]), alone = argc > 3 && !strcmp(argv[3], "alone");
    for (int i = 3 + alone; i < argc && count < 600; i++) numbers[count++] = atol(argv[i]);
    memory = mmap(0, 1 << 17, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    edge = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(edge + 4096, 4096);
    int null = open("/dev/null", O_RDWR), told = dup(1);
    fcntl(told, F_SETFD, FD_CLOEXEC);
    dup2(null, 0), dup2(null, 1), dup2(null, 2);
    close(null);
    for (int round = 0; round < (alone ? rounds * count : rounds); round++) {
        pid_t pid = fork();
        if (pid == 0) {
            state = (atol(argv[1]) + round) * 0x9E3779B97F4A7C15 | 1;
            setpgid(0, 0);
            close(told);
            if (alone) child(1, numbers + round / rounds);
            child(count, numbers);
        }
        if (pid < 0) continue;
        for (int waited = 0; waited < 200 && waitpid(pid, &status, WNOHANG) == 0; waited++) usleep(10000);
        kill(pid, SIGKILL);
        while (waitpid(-1, &status, WNOHANG) > 0);
    }
    dprintf(told, "end\n");
    return 0;
}
