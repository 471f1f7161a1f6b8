/* Races: one thread makes a call again and again, another changes what the call is about while it is in flight.
 *
 *     race KIND TRIES HOST_SECRET HOST_SOCKET HOST_ABSTRACT HOST_DIRECTORY
 *
 * Prints ESCAPED where a call has done what it must not do. The caller looks at the host, too. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile int stop;
static long tries, hits, errors[200];
static char *secret, *host_socket, *host_abstract, *host_directory;

static void count(int error) { errors[error < 200 ? error : 0]++; }

static void start(pthread_t *thread, void *(*run)(void *)) {
    if (pthread_create(thread, 0, run, 0)) exit(3);
}

static void report(const char *what) {
    printf("%s: %ld tries, %ld went through;", what, tries, hits);
    for (int i = 0; i < 200; i++)
        if (errors[i]) printf(" %s %ld", i ? strerrorname_np(i) : "OK", errors[i]);
    printf("\n");
}

static socklen_t address(struct sockaddr_un *to, const char *path, int abstract) {
    memset(to, 0, sizeof *to);
    to->sun_family = AF_UNIX;
    strcpy(to->sun_path + abstract, path);
    return offsetof(struct sockaddr_un, sun_path) + abstract + strlen(path) + !abstract;
}

/* -- a descriptor that is now an internet socket, now a unix one */

static int shared_fd, inet_socket, unix_sockets[6];
static volatile unsigned swaps;

static void *swap_sockets(void *unused) {
    for (unsigned i = 0; !stop; swaps = ++i) {
        dup2(unix_sockets[i % 6], shared_fd);
        dup2(inet_socket, shared_fd);
    }
    return 0;
}

static void sockets(const char *kind, int number) {
    struct sockaddr_un path, name, new_path, new_name, own;
    char text[200];
    socklen_t path_size = address(&path, host_socket, 0), name_size = address(&name, host_abstract, 1);
    snprintf(text, sizeof text, "%s/planted", host_directory);
    socklen_t new_path_size = address(&new_path, text, 0);
    snprintf(text, sizeof text, "%s-planted", host_abstract);
    socklen_t new_name_size = address(&new_name, text, 1);
    int pair[2];
    inet_socket = socket(AF_INET, SOCK_STREAM, 0);
    unix_sockets[0] = socket(AF_UNIX, SOCK_STREAM, 0);
    unix_sockets[1] = socket(AF_UNIX, SOCK_SEQPACKET, 0);
    unix_sockets[2] = socket(AF_UNIX, SOCK_STREAM, 0);
    socklen_t own_size = address(&own, "inside", 1);
    if (bind(unix_sockets[2], (void *)&own, own_size)) perror("bind");
    socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    unix_sockets[3] = pair[0];
    socketpair(AF_UNIX, SOCK_DGRAM, 0, pair);
    unix_sockets[4] = pair[1];
    unix_sockets[5] = socket(AF_UNIX, SOCK_DGRAM, 0);
    shared_fd = number ? dup2(inet_socket, number) : dup(inet_socket);
    pthread_t thread;
    start(&thread, swap_sockets);
    struct iovec part = {"hello", 5};
    for (long i = 0; i < tries; i++) {
        struct sockaddr *to = i & 1 ? (void *)&path : (void *)&name;
        socklen_t size = i & 1 ? path_size : name_size;
        struct msghdr message = {to, size, &part, 1};
        struct mmsghdr messages[2] = {{message, 0}, {message, 0}};
        int result;
        if (i % 16 == 0) /* on a busy machine the other thread may not get to run */
            for (unsigned before = swaps; swaps == before;) sched_yield();
        switch (i >> 1 & 7) {
        case 0: result = syscall(SYS_sendto, shared_fd, "hello", 5, MSG_NOSIGNAL | MSG_DONTWAIT, to, size); break;
        case 1: result = sendmsg(shared_fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT); break;
        case 2: result = sendmmsg(shared_fd, messages, 2, MSG_NOSIGNAL | MSG_DONTWAIT); break;
        case 3:
            result = i & 1 ? bind(shared_fd, (void *)&new_path, new_path_size)
                           : bind(shared_fd, (void *)&new_name, new_name_size);
            if (!result) close(shared_fd), dup2(inet_socket, shared_fd), result = -1, errno = 0;
            break;
        default: result = connect(shared_fd, to, size);
        }
        count(result < 0 ? errno : 0);
        if (result == 0 && (i >> 1 & 7) > 3) hits++, printf("connect: ESCAPED to %s\n", i & 1 ? host_socket : host_abstract);
    }
    stop = 1;
    pthread_join(thread, 0);
    report(kind);
}

/* -- an address that changes in memory */

static struct sockaddr_un changing;
static socklen_t changing_size;

static void *swap_address(void *unused) {
    char one[108] = "/tmp/inside.sock", other[108];
    memset(other, 0, sizeof other);
    strcpy(other, host_socket);
    while (!stop) {
        memcpy(changing.sun_path, other, sizeof other);
        changing.sun_family = AF_INET;
        changing.sun_family = AF_UNIX;
        memcpy(changing.sun_path, one, sizeof one);
    }
    return 0;
}

static void addresses(void) {
    struct sockaddr_un own;
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    socklen_t size = address(&own, "/tmp/inside.sock", 0);
    unlink("/tmp/inside.sock");
    if (bind(listener, (void *)&own, size) || listen(listener, 100)) perror("listen");
    changing.sun_family = AF_UNIX;
    pthread_t thread;
    start(&thread, swap_address);
    for (long i = 0; i < tries; i++) {
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        if (connect(fd, (void *)&changing, sizeof changing) == 0) {
            hits++;
            close(accept(listener, 0, 0)); /* hangs if it was another listener that took it */
        } else
            count(errno);
        close(fd);
    }
    stop = 1;
    pthread_join(thread, 0);
    report("addresses");
}

/* -- a path that changes in memory */

static char path[4096];

static void *swap_path(void *unused) {
    char one[200] = "/tmp/own", other[200];
    memset(other, 0, sizeof other);
    strcpy(other, secret);
    while (!stop) {
        memcpy(path, other, sizeof other);
        memcpy(path, one, sizeof one);
        memcpy(path, "/tmp/link", 10);
    }
    return 0;
}

static void paths(void) {
    char buffer[100];
    int own = open("/tmp/own", O_CREAT | O_RDWR | O_TRUNC, 0666);
    write(own, "own", 3);
    symlink(secret, "/tmp/link");
    strcpy(path, "/tmp/own");
    pthread_t thread;
    start(&thread, swap_path);
    for (long i = 0; i < tries; i++) {
        int fd = i & 1 ? open(path, O_RDONLY) : open(path, O_RDWR);
        if (fd < 0) {
            count(errno);
            continue;
        }
        hits++;
        int size = read(fd, buffer, sizeof buffer);
        if (size != 3 || memcmp(buffer, "own", 3)) printf("paths: ESCAPED %.*s\n", size, buffer);
        close(fd);
    }
    stop = 1;
    pthread_join(thread, 0);
    report("paths");
}

/* -- /proc/self/fd/N, where N changes between one's own memory and a file one may only read */

static int memory, readable[2];

static void *swap_files(void *unused) {
    for (unsigned i = 0; !stop; i++) {
        dup2(readable[i & 1], shared_fd);
        dup2(memory, shared_fd);
    }
    return 0;
}

static void reopened(void) {
    char name[40], buffer[100];
    memory = memfd_create("own", 0);
    write(memory, "own", 3);
    readable[0] = open("/etc/passwd", O_RDONLY);          /* of an image's layer */
    readable[1] = open("/attack/attempts.py", O_RDONLY); /* of a read-only mount */
    if (readable[0] < 0 || readable[1] < 0) perror("open"), exit(3);
    if (setresgid(1000, 1000, 1000) || setresuid(1000, 1000, 1000)) exit(3);
    shared_fd = dup(memory);
    sprintf(name, "/proc/self/fd/%d", shared_fd);
    pthread_t thread;
    start(&thread, swap_files);
    for (long i = 0; i < tries; i++) {
        int fd = open(name, O_RDWR);
        if (fd < 0) {
            count(errno);
            continue;
        }
        hits++;
        int size = pread(fd, buffer, sizeof buffer, 0);
        if (size != 3 || memcmp(buffer, "own", 3)) printf("reopened: ESCAPED %.20s\n", buffer);
        close(fd);
    }
    stop = 1;
    pthread_join(thread, 0);
    report("reopened");
}

/* -- execve: the program's name, its arguments and every descriptor change while it is under way */

static char *arguments[3] = {"true", path, 0};

static void *swap_program(void *unused) {
    char other[200];
    strcpy(other, secret);
    int own = open("/attack/race", O_RDONLY), sh = open("/bin/sh", O_RDONLY);
    while (!stop) {
        memcpy(path, "/bin/true\0", 10);
        for (int fd = 3; fd < 20; fd++)
            if (fd != own && fd != sh) dup2(fd & 1 ? own : sh, fd);
        memcpy(path, "/bin/sh\0\0", 10);
        strcpy(path, "");
        strcpy(path + 1, "/bin/sh");
        path[0] = '/';
    }
    return 0;
}

static void executions(void) {
    long failed = 0;
    for (long i = 0; i < tries; i++) {
        pid_t child = fork();
        if (child == 0) {
            pthread_t thread;
            strcpy(path, "/bin/true");
            int null = open("/dev/null", O_RDWR);
            dup2(null, 0), dup2(null, 1), dup2(null, 2);
            start(&thread, swap_program);
            char *environment[] = {0};
            for (int j = 0; j < 20; j++) execve(path, arguments, environment);
            _exit(9);
        }
        int status;
        waitpid(child, &status, 0);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0) hits++;
        else failed++;
    }
    printf("executions: %ld tries, %ld ran, %ld ended otherwise\n", tries, hits, failed);
}

/* -- execve: the end of the program's name, which the kernel uses for an empty string, becomes a path of the host.
 * What comes of it must not tell whether there is such a file. */

static char *planted;

static void *swap_end(void *unused) {
    size_t end = strlen("/bin/true"), size = strlen(planted) + 1;
    while (!stop) {
        memcpy(path + end, planted, size);
        for (volatile int i = 0; i < 20000; i++);
        memset(path + end, 0, size);
        for (volatile int i = 0; i < 20000; i++);
    }
    return 0;
}

static void existence(void) {
    char names[3][300], *what[3] = {"a file", "a program", "nothing"}, *true_arguments[] = {"true", 0};
    strcpy(names[0], secret);
    snprintf(names[1], sizeof names[1], "%.*s/attack/race", (int)(strrchr(secret, '/') - secret), secret);
    snprintf(names[2], sizeof names[2], "%s-that-is-missing", secret);
    for (int kind = 0; kind < 6; kind++) {
        char **with = kind % 2 ? (char **)8 : true_arguments; /* a bad address fails after the file was opened */
        planted = names[kind / 2];
        long ran = 0, killed = 0;
        memset(errors, 0, sizeof errors);
        for (long i = 0; i < tries; i++) {
            pid_t child = fork();
            if (child == 0) {
                pthread_t thread;
                strcpy(path, "/bin/true");
                int null = open("/dev/null", O_RDWR);
                dup2(null, 0), dup2(null, 1), dup2(null, 2);
                start(&thread, swap_end);
                do
                    execve(path, with, 0);
                while (errno == ENOTDIR); /* it was still there when the name was read */
                _exit(errno);
            }
            int status;
            waitpid(child, &status, 0);
            if (WIFSIGNALED(status)) killed++;
            else if (WEXITSTATUS(status) == 0) ran++;
            else count(WEXITSTATUS(status));
        }
        printf("existence, %s arguments, %s:", kind % 2 ? "bad" : "good", what[kind / 2]);
        if (ran) printf(" ran %ld", ran);
        if (killed) printf(" killed %ld", killed);
        for (int i = 0; i < 200; i++)
            if (errors[i]) printf(" %s %ld", strerrorname_np(i), errors[i]);
        printf("\n");
    }
}

int main(int argc, char **argv) {
    if (argc < 7) return 2;
    tries = atol(argv[2]);
    secret = argv[3], host_socket = argv[4], host_abstract = argv[5], host_directory = argv[6];
    setvbuf(stdout, 0, _IOLBF, 0);
    alarm(2400);
    if (!strcmp(argv[1], "sockets")) sockets("sockets", 0);
    if (!strcmp(argv[1], "watched")) sockets("watched", 970); /* of its messages the kernel is told */
    if (!strcmp(argv[1], "addresses")) addresses();
    if (!strcmp(argv[1], "paths")) paths();
    if (!strcmp(argv[1], "reopened")) reopened();
    if (!strcmp(argv[1], "executions")) executions();
    if (!strcmp(argv[1], "existence")) existence();
    return 0;
}
