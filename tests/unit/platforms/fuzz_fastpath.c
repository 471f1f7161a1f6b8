/* Random calls on random knowledge: built with the sanitizers, which end the program at the first wrong access.

   The task is ourselves: its memory is /proc/self/mem, its descriptors are ours. What the calls answer goes nowhere
   (the listener is no listener); whether it is right is the matter of tests/syscalls. */

#define HOSTED
#include "fastpath.c"

int printf(const char *, ...);
int open(const char *, int, ...);
int atoi(const char *);
int mkdir(const char *, u32);
void *mmap(void *, u64, int, int, int, i64);

static u64 state;

static u32 dice(u32 sides)
{
    state = state * 6364136223846793005UL + 1442695040888963407UL;
    return (u32)(state >> 33) % sides;
}

static const char *const WORDS[] = {"a", "bb", "ccc", ".", "..", "", "/", "//", "d/", "/a", "../..", "x/./y"};

static u32 text(u8 *to, u32 most)
{
    u32 length = 0, parts = dice(6);
    if (!dice(20)) { /* one long name */
        length = dice(most);
        memset(to, 'n', length);
        return length;
    }
    while (parts--) {
        const char *word = WORDS[dice(sizeof WORDS / sizeof *WORDS)];
        for (; *word && length < most; word++)
            to[length++] = (u8)*word;
        if (dice(2) && length < most)
            to[length++] = '/';
    }
    return length;
}

static void learn(struct fastpath *f)
{
    u8 name[512];
    struct stat info = {0};
    u32 space = 1 + dice(2), ino = dice(66), length;
    switch (dice(9)) {
    case 0:
    case 1:
    case 2:
        length = text(name, 300);
        fastpath_learn_name(f, space, ino, name, dice(2) ? length : (length ? 1 : 0), dice(66));
        break;
    case 3:
    case 4:
        info.ino = ino;
        info.mode = (u32[]){IFDIR, IFDIR, IFREG, IFLNK, 0020000, 0}[dice(6)] | (dice(4) ? 0755 : dice(01000));
        info.uid = dice(2);
        length = (info.mode & IFMT) == IFLNK ? text(name, 255) : 0;
        fastpath_learn_node(f, space, ino, dice(66), dice(8), (u8 *)&info, name, length);
        break;
    case 5:
        length = text(name, 300);
        name[length] = 0;
        fastpath_learn_file(f, space, ino, name, length);
        break;
    case 6:
        length = dice(sizeof name);
        memset(name, 1, length);
        fastpath_learn_listing(f, space, ino, name, length, dice(20));
        break;
    case 7:
        if (dice(3))
            fastpath_complete(f, space, ino, fastpath_names_generation(f));
        else
            fastpath_forget_node(f, space, ino);
        break;
    case 8: {
        struct stat host;
        u8 number[12];
        i32 fd = (i32)dice(12);
        decimal(number, (u32)fd);
        if (!call4(SYS_newfstatat, f->tasks[1].descriptors, (i64)number, (i64)&host, 0))
            fastpath_learn_host(f, space, host.dev, host.ino, dice(66), (i32)dice(14) - 2, (u64)host.size,
                                (u64)host.ctime * 1000000000UL + (u64)host.ctime_ns);
    }
    }
}

int main(int count, char **arguments)
{
    static const i32 NUMBERS[] = {CALL_stat, CALL_fstat, CALL_lstat, CALL_access, CALL_open, CALL_readlink,
                                  CALL_getdents64, CALL_openat, CALL_newfstatat, CALL_readlinkat, CALL_faccessat,
                                  CALL_statx, CALL_faccessat2, CALL_ioctl, CALL_rmdir, CALL_unlink, CALL_unlinkat,
                                  CALL_getpid, CALL_getuid, 1000, -1};
    struct fastpath *f = fastpath_open(-1);
    u8 *pages = mmap(0, 3 * 4096, 3, 0x22, -1, 0);
    u8 changed[9] = {0};
    u32 answered = 0, rounds;
    if (count < 4 || !f)
        return 2;
    state = (u64)atoi(arguments[1]);
    rounds = (u32)atoi(arguments[2]);
    mmap(pages + 2 * 4096, 4096, 0, 0x32, -1, 0); /* a page that nobody may read */
    fastpath_task(f, 7, open("/proc/self/mem", 2), open("/proc/self/fd", 0), 0, 0, 2, 1, 1);
    *fastpath_tree(f, 0) = (struct tree){.space = 2, .image = 1, .image_next = 64, .files = open(arguments[3], 0),
                                         .place = open(arguments[3], 0), .number = 5, .changed = changed};
    for (u32 round = 0; round < rounds; round++) {
        struct out *out = f->out;
        u64 where = (u64)(pages + 4096 - 300 + dice(300) + (dice(2) ? 4096 : 0));
        u64 end = (u64)(pages + 2 * 4096);
        u32 length;
        u8 path[600];
        for (u32 n = dice(4); n; n--)
            learn(f);
        changed[dice(8)] = (u8)dice(256);
        f->identities[0].everywhere = dice(2);
        f->identities[0].count = dice(GROUPS + 1);
        f->trees[0].room = dice(3);
        if (f->made_count > MADE - 4 || !dice(50)) {
            while (f->made_count) { /* as Python does, and these descriptors are gone then */
                struct made *made = &f->made[--f->made_count];
                fastpath_forget_host(f, 2, made->dev, made->ino);
                if (made->fd >= 0)
                    call4(SYS_close, made->fd, 0, 0, 0);
            }
            fastpath_made_known(f);
        }
        length = text(path, 599);
        path[length] = 0;
        for (u32 i = 0; i <= length && where + i < end; i++)
            *(u8 *)(where + i) = path[i];
        memset(out, 0, sizeof *out);
        out->notif.pid = 7;
        out->notif.nr = NUMBERS[dice(sizeof NUMBERS / sizeof *NUMBERS)];
        for (u32 i = 0; i < 6; i++)
            out->notif.args[i] = (u64[]){0, where, dice(12), (u64)-100, dice(1 << 12), ~0UL, end, 0x1000}[dice(8)];
        if (out->notif.nr == CALL_openat || out->notif.nr == CALL_newfstatat || out->notif.nr == CALL_readlinkat) {
            out->notif.args[0] = dice(3) ? (u64)-100 : dice(12);
            out->notif.args[1] = where;
            out->notif.args[2] = out->notif.nr == CALL_openat ? dice(2) * O_DIRECTORY : (u64)pages;
            out->notif.args[3] = out->notif.nr == CALL_newfstatat ? dice(2) * AT_NOFOLLOW : dice(5000);
        }
        answered += serve(f, -1, out) == DONE;
        if (out->length > NAME || out->missing > MISSING_FILE)
            return 3;
        f->tasks[1].calls = 0;
    }
    printf("%u of %u\n", answered, rounds);
    return 0;
}
