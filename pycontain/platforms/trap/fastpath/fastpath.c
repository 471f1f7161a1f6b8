/* The fast path: calls that ask for what does not change are answered here, before Python sees them.

   This is a cache and nothing else. It holds names, inodes, listings and descriptors that the kernel has told us
   (learn_*), answers a call from these alone, and hands every other call, and every call with anything unusual about
   it, to Python: with what it lacked, so that it can be told. What the kernel changes it has us forget. Without this
   code everything works the same, slower.

   It runs in the kernel's process on what a hostile container sends: nothing of a task is read but by a copy of
   bounded size, no pointer of a task is followed, every index that decides where we read or write is our own.

   No libc: it is loaded into whatever Python there is. Sources: seccomp_unotify(2), path_resolution(7),
   getdents64(2), struct stat of arch/x86/include/uapi/asm/stat.h, struct statx of include/uapi/linux/stat.h. */

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;
typedef int i32;
typedef long i64;

#define EXPORT __attribute__((visibility("default")))

enum { ENOENT = 2, EINTR = 4, ENOTDIR = 20, EINVAL = 22, ENOTTY = 25 };
enum {
    SYS_close = 3, SYS_lseek = 8, SYS_mmap = 9, SYS_ioctl = 16, SYS_pread64 = 17, SYS_pwrite64 = 18,
    SYS_epoll_wait = 232, SYS_openat = 257, SYS_mkdirat = 258, SYS_newfstatat = 262, SYS_unlinkat = 263,
};
/* calls that we may answer */
enum {
    CALL_stat = 4, CALL_fstat = 5, CALL_lstat = 6, CALL_access = 21, CALL_getpid = 39, CALL_open = 2,
    CALL_readlink = 89, CALL_getuid = 102, CALL_getgid = 104, CALL_geteuid = 107, CALL_getegid = 108,
    CALL_getdents64 = 217, CALL_openat = 257, CALL_newfstatat = 262, CALL_readlinkat = 267, CALL_faccessat = 269,
    CALL_statx = 332, CALL_faccessat2 = 439, CALL_ioctl = 16, CALL_rmdir = 84, CALL_unlink = 87, CALL_unlinkat = 263,
};
#define NOTIF_RECV 0xC0502100UL
#define NOTIF_SEND 0xC0182101UL
#define NOTIF_ADDFD 0x40182103UL
enum { ADDFD_SEND = 2, EPOLLIN = 1 };
enum {
    AT_FDCWD = -100, AT_NOFOLLOW = 0x100, AT_EACCESS = 0x200, AT_NO_AUTOMOUNT = 0x800, AT_EMPTY_PATH = 0x1000,
    AT_STATX_SYNC = 0x6000, AT_REMOVEDIR = 0x200,
};
enum {
    O_ACCMODE = 3, O_APPEND = 02000, O_NOCTTY = 0400, O_NONBLOCK = 04000, O_LARGEFILE = 0100000, O_DIRECTORY = 0200000, O_NOFOLLOW = 0400000,
    O_CLOEXEC = 02000000,
};
enum { TIOCGPGRP = 0x540F, TIOCSPGRP = 0x5410, TIOCGSID = 0x5429 };
enum { STICKY = 01000, IFMT = 0170000, IFDIR = 0040000, IFLNK = 0120000, IFREG = 0100000 };
enum { EXECUTE = 1, WRITE = 2, READ = 4 };

enum {
    EVENTS = 64, NAME = 255, SHORT = 47, PATH = 256, MAX_LINKS = 40, ROOT_INO = 2,
    NAMES = 1 << 16, NODES = 1 << 15, HOSTS = 1 << 15, ARENA = 8 << 20, LONG_NAMES = 1 << 20,
    MADE = 256,
    TASKS = 4096, TREES = 1024, IDENTITIES = 64, GROUPS = 32, TIDS = 1 << 22, LISTENERS = 1 << 20, CALLS = 512,
};
#define UNKNOWN 0xFFFFFFFFu

struct notif {
    u64 id;
    u32 pid, flags;
    i32 nr;
    u32 arch;
    u64 ip, args[6];
};

struct stat {
    u64 dev, ino, nlink;
    u32 mode, uid, gid, pad;
    u64 rdev;
    i64 size, blksize, blocks;
    i64 atime, atime_ns, mtime, mtime_ns, ctime, ctime_ns, unused[3];
};

struct statx_time {
    i64 sec;
    u32 nsec, pad;
};

struct statx {
    u32 mask, blksize;
    u64 attributes;
    u32 nlink, uid, gid;
    u16 mode, pad;
    u64 ino, size, blocks, attributes_mask;
    struct statx_time atime, btime, ctime, mtime;
    u32 rdev_major, rdev_minor, dev_major, dev_minor;
    u64 mnt_id;
    u64 spare[13];
};

struct epoll_event {
    u32 events;
    u64 data;
} __attribute__((packed));

/* What is missing, or a plain event of a descriptor: this is read by native.py. */
enum { NOTHING, MISSING_NAME, MISSING_NODE, MISSING_LISTING, MISSING_HOST, MISSING_FILE };
enum { RECEIVED = 1 << 20, INDEX_SHIFT = 21 };
struct out {
    u32 fd, events;
    u32 missing, ino;
    u64 host_dev, host_ino;
    u32 length;
    u8 name[NAME + 1];
    struct notif notif;
};

/* A name in a directory. Spaces number the trees and images: what a container has not changed is its image's. */
struct name {
    u32 generation, space, directory, child; /* child 0: there is none */
    u8 length, text[SHORT];                  /* a longer one is in the arena of names, at the place in text */
};

/* LIVE: size and times are those of the host file, which is in the tree's directory of its own files. OPENED: Python
   knows of an open description whose file it is. PLAIN: who writes to it takes nothing away (setuid, capabilities). */
enum { LIVE = 1, OPENED = 2, PLAIN = 4 };
struct node {
    u32 generation, space, ino, parent;
    u32 flags, target, target_length;
    u32 path;
    u32 listing, listing_length, listing_count;
    u32 known; /* all but stat holds, even if that has been forgotten */
    u32 complete; /* the generation of names in which all of the directory's have been told */
    struct stat stat;
};

/* What a host descriptor stands for, by its device and inode. fd: our descriptor of a directory, -1: a file. */
struct host {
    u64 dev, ino, size, changed;
    u32 generation, space, node;
    i32 fd;
};

struct tree {
    u32 space, image, image_next;
    u32 mount; /* its number in mountinfo */
    i32 files; /* the directory of its own files */
    u32 watched, read_only;
    i32 place; /* where directories are made that stand for open ones, see kernel/vfs/handles.py */
    u32 number, room; /* their name; how many more there may be */
    const u8 *changed;  /* a bit for each inode of the image */
    u64 covered[64];    /* inodes that something may be mounted on, by their low 12 bits */
};

/* A directory, or (fd -1) a file of the tree's own, that has been opened here: Python does not know yet. */
struct made {
    u32 tree, node;
    i32 fd;
    u32 pad;
    u64 dev, ino;
};

struct identity {
    u32 everywhere; /* CAP_DAC_OVERRIDE */
    u32 fsuid, fsgid, uid, euid, gid, egid, same, count;
    u32 groups[GROUPS];
};

enum { SLOW, APART, SHARING }; /* APART: it does not share the kernel's processor, see placement.py */
#define LOOK 8 /* calls of such a task after which it is looked whether it should */
struct task {
    i32 tid, memory, descriptors;
    u32 epoch, tree, identity, cwd, pid, calls, mode;
};

struct fastpath {
    i32 epoll;
    u32 epoch, names_generation, nodes_generation, hosts_generation, names_used, nodes_used, hosts_used, arena_used;
    u32 long_names_used, tasks_free, tasks_reached, made_count;
    u64 calls[CALLS];
    u8 listeners[LISTENERS / 8];
    struct epoll_event ready[EVENTS];
    struct out out[EVENTS];
    struct made made[MADE];
    struct tree trees[TREES];
    struct identity identities[IDENTITIES];
    struct task tasks[TASKS];
    u16 by_tid[TIDS];
    struct name names[NAMES];
    struct node nodes[NODES];
    struct host hosts[HOSTS];
    u8 arena[ARENA];
    u8 long_names[LONG_NAMES];
};

static inline i64 call6(i64 nr, i64 a, i64 b, i64 c, i64 d, i64 e, i64 f)
{
    i64 result;
    register i64 r10 __asm__("r10") = d;
    register i64 r8 __asm__("r8") = e;
    register i64 r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "0"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

static inline i64 call4(i64 nr, i64 a, i64 b, i64 c, i64 d)
{
    i64 result;
    register i64 r10 __asm__("r10") = d;
    __asm__ volatile("syscall" : "=a"(result) : "0"(nr), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
    return result;
}

/* the compiler may call these for structures */
void *memcpy(void *to, const void *from, u64 size)
{
    void *start = to;
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
    return start;
}

void *memset(void *to, int value, u64 size)
{
    void *start = to;
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(size) : "a"(value) : "memory");
    return start;
}

static int equal(const u8 *a, const u8 *b, u32 size)
{
    for (u32 i = 0; i < size; i++)
        if (a[i] != b[i])
            return 0;
    return 1;
}

static u32 mix(u64 value)
{
    value *= 0x9E3779B97F4A7C15UL;
    return (u32)(value >> 32);
}

static u32 mix_name(u32 space, u32 directory, const u8 *text, u32 length)
{
    u64 sum = (u64)space << 32 | directory;
    for (u32 i = 0; i < length; i++)
        sum = (sum ^ text[i]) * 0x100000001B3UL;
    return mix(sum);
}

/* -- the tables. A slot of another generation is free; what is forgotten keeps its slot until all is. */

static void clear_names(struct fastpath *f)
{
    f->names_generation++;
    f->names_used = f->long_names_used = 0;
}

static void clear_nodes(struct fastpath *f)
{
    f->nodes_generation++;
    f->nodes_used = f->arena_used = 0;
}

static void clear_hosts(struct fastpath *f)
{
    f->hosts_generation++;
    f->hosts_used = 0;
}

static const u8 *name_text(const struct fastpath *f, const struct name *name)
{
    u32 at;
    if (name->length <= SHORT)
        return name->text;
    memcpy(&at, name->text, sizeof at);
    return f->long_names + at;
}

static struct name *find_name(struct fastpath *f, u32 space, u32 directory, const u8 *text, u32 length, int make)
{
    u32 at = mix_name(space, directory, text, length);
    for (;; at++) {
        struct name *slot = &f->names[at & (NAMES - 1)];
        if (slot->generation != f->names_generation) {
            if (!make)
                return 0;
            slot->generation = f->names_generation;
            slot->space = space;
            slot->directory = directory;
            slot->length = (u8)length;
            if (length <= SHORT)
                memcpy(slot->text, text, length);
            else {
                memcpy(slot->text, &f->long_names_used, sizeof(u32));
                memcpy(f->long_names + f->long_names_used, text, length);
                f->long_names_used += length;
            }
            f->names_used++;
            return slot;
        }
        if (slot->directory == directory && slot->space == space && slot->length == length &&
            equal(name_text(f, slot), text, length))
            return slot;
    }
}

static struct node *find_node(struct fastpath *f, u32 space, u32 ino, int make)
{
    u32 at = mix((u64)space << 32 | ino);
    for (;; at++) {
        struct node *slot = &f->nodes[at & (NODES - 1)];
        if (slot->generation != f->nodes_generation) {
            if (!make)
                return 0;
            slot->generation = f->nodes_generation;
            slot->space = space;
            slot->ino = ino;
            slot->stat.ino = slot->known = slot->complete = 0;
            f->nodes_used++;
            return slot;
        }
        if (slot->ino == ino && slot->space == space)
            return slot;
    }
}

static struct host *find_host(struct fastpath *f, u32 space, u64 dev, u64 ino, int make)
{
    u32 at = mix((dev << 40) ^ ((u64)space << 20) ^ ino);
    for (;; at++) {
        struct host *slot = &f->hosts[at & (HOSTS - 1)];
        if (slot->generation != f->hosts_generation) {
            if (!make)
                return 0;
            slot->generation = f->hosts_generation;
            slot->space = space;
            slot->dev = dev;
            slot->ino = ino;
            slot->node = 0;
            f->hosts_used++;
            return slot;
        }
        if (slot->ino == ino && slot->dev == dev && slot->space == space)
            return slot;
    }
}

static void learn_host(struct fastpath *f, u32 space, u64 dev, u64 ino, u32 node, i32 fd, u64 size, u64 changed)
{
    struct host *host;
    if (f->hosts_used > HOSTS / 4 * 3)
        clear_hosts(f);
    host = find_host(f, space, dev, ino, 1);
    host->node = node;
    host->fd = fd;
    host->size = size;
    host->changed = changed;
}

/* A place in the arena; 0 is none. */
static u32 keep(struct fastpath *f, const u8 *data, u32 size)
{
    u32 at = f->arena_used + 1;
    memcpy(f->arena + at, data, size);
    f->arena_used += size + 1;
    return at;
}

/* Room for a node, and for so much text of one. */
static int room(struct fastpath *f, u32 size)
{
    if (f->nodes_used > NODES / 4 * 3 || f->arena_used + size + 16 > ARENA)
        clear_nodes(f);
    return size < ARENA / 4;
}

static u32 space_of(const struct tree *tree, u32 ino)
{
    if (ino >= tree->image_next || tree->changed[ino >> 3] >> (ino & 7) & 1)
        return tree->space;
    return tree->image;
}

static int covered(const struct tree *tree, u32 ino)
{
    return tree->covered[ino >> 6 & 63] >> (ino & 63) & 1;
}

/* -- what one call needs */

struct call {
    struct fastpath *f;
    struct task *task;
    struct tree *tree;
    struct identity *who;
    struct out *out;
    struct notif *n;
    i32 listener;
    struct node *parent; /* of what the last walk has found by a name */
};

enum { DONE, HAND_OVER };

static int missing(struct call *c, u32 kind, u32 ino)
{
    c->out->missing = kind;
    c->out->ino = ino;
    return 0;
}

static int answer(struct call *c, i64 value)
{
    struct { u64 id; i64 value; i32 error; u32 flags; } response = {c->n->id, value, 0, 0};
    if (value < 0) {
        response.value = 0;
        response.error = (i32)value;
    }
    call4(SYS_ioctl, c->listener, NOTIF_SEND, (i64)&response, 0); /* ENOENT: the task has gone */
    return DONE;
}

static int put(struct call *c, u64 address, const void *data, u64 size)
{
    return call4(SYS_pwrite64, c->task->memory, (i64)data, (i64)size, (i64)address) == (i64)size;
}

/* May the caller do this? Only what may() in kernel/vfs/access.py grants without a look at capabilities. */
static int may(const struct identity *who, const struct stat *info, u32 wanted)
{
    u32 granted = info->mode;
    if (who->everywhere)
        return !(wanted & EXECUTE) || info->mode & 0111 || (info->mode & IFMT) == IFDIR;
    if (info->uid == who->fsuid)
        granted >>= 6;
    else if (info->gid == who->fsgid)
        granted >>= 3;
    else
        for (u32 i = 0; i < who->count; i++)
            if (who->groups[i] == info->gid) {
                granted >>= 3;
                break;
            }
    return !(wanted & ~granted & 7);
}

static struct node *node_of(struct call *c, u32 ino)
{
    struct node *node = find_node(c->f, space_of(c->tree, ino), ino, 0);
    if (node && node->stat.ino)
        return node;
    missing(c, MISSING_NODE, ino);
    return 0;
}

static int host_stat(struct call *c, i32 fd, struct stat *info)
{
    u8 text[12];
    u32 at = sizeof text - 1;
    if (fd < 0 || c->task->descriptors < 0)
        return 0;
    text[at] = 0;
    do
        text[--at] = (u8)('0' + fd % 10);
    while (fd /= 10);
    return call4(SYS_newfstatat, c->task->descriptors, (i64)(text + at), (i64)info, 0) == 0;
}

/* What a descriptor of the task stands for. */
static struct host *host_of(struct call *c, i32 fd, struct stat *info)
{
    struct host *host;
    if (!host_stat(c, fd, info))
        return 0;
    host = find_host(c->f, c->tree->space, info->dev, info->ino, 0);
    if (host && host->node)
        return host;
    host = find_host(c->f, c->tree->image, info->dev, info->ino, 0);
    if (host && host->node && space_of(c->tree, host->node) == c->tree->image && host->size == (u64)info->size &&
        host->changed == (u64)info->ctime * 1000000000UL + (u64)info->ctime_ns)
        return host;
    c->out->host_dev = info->dev;
    c->out->host_ino = info->ino;
    missing(c, MISSING_HOST, 0);
    return 0;
}

/* The size and times of a file of the container's own are the host file's. */
static void merge(struct stat *info, const struct stat *host)
{
    info->size = host->size;
    info->blocks = host->blocks;
    info->atime = host->atime;
    info->atime_ns = host->atime_ns;
    info->mtime = host->mtime;
    info->mtime_ns = host->mtime_ns;
    if (host->ctime > info->ctime || (host->ctime == info->ctime && host->ctime_ns > info->ctime_ns)) {
        info->ctime = host->ctime;
        info->ctime_ns = host->ctime_ns;
    }
}

static u32 decimal(u8 *text, u32 value)
{
    u8 digits[12];
    u32 count = 0;
    do
        digits[count++] = (u8)('0' + value % 10);
    while (value /= 10);
    for (u32 i = 0; i < count; i++)
        text[i] = digits[count - 1 - i];
    text[count] = 0;
    return count;
}

static int full_stat(struct call *c, const struct node *node, struct stat *info)
{
    *info = node->stat;
    if (node->flags & LIVE) {
        u8 name[12];
        struct stat host;
        decimal(name, node->ino);
        if (call4(SYS_newfstatat, c->tree->files, (i64)name, (i64)&host, AT_NOFOLLOW) != 0)
            return 0;
        merge(info, &host);
    }
    return 1;
}

/* -- paths */

static i64 read_path(struct call *c, u64 address, u8 *path)
{
    /* not across a page: what lies behind may not be there */
    u64 size = 4096 - (address & 4095);
    i64 got;
    if (size > PATH)
        size = PATH;
    got = call4(SYS_pread64, c->task->memory, (i64)path, (i64)size, (i64)address);
    for (i64 i = 0; i < got; i++)
        if (!path[i])
            return i;
    if (got == (i64)size && size < PATH) {
        i64 more = call4(SYS_pread64, c->task->memory, (i64)(path + size), (i64)(PATH - size), (i64)(address + size));
        for (i64 i = 0; i < more; i++)
            if (!path[size + (u64)i])
                return (i64)size + i;
    }
    return -1;
}

enum { ABSENT = -1, UNSURE = 0, FOUND = 1 };

static int walk(struct call *c, i32 dirfd, const u8 *path, u32 length, int follow, struct node **found)
{
    u8 text[2][PATH];
    u32 side = 0, links = 0, at = 0, ino;
    struct node *node;
    c->parent = 0;
    if (!length)
        return UNSURE;
    if (path[0] == '/')
        ino = ROOT_INO;
    else if (dirfd == AT_FDCWD)
        ino = c->task->cwd;
    else {
        struct stat info;
        struct host *host = host_of(c, dirfd, &info);
        if (!host || host->fd < 0)
            return UNSURE;
        ino = host->node;
    }
    if (!ino)
        return UNSURE;
    if (!(node = node_of(c, ino)))
        return UNSURE;
    for (;;) {
        u32 start, size, child, space;
        const struct name *name;
        while (at < length && path[at] == '/')
            at++;
        if (at == length)
            break;
        start = at;
        while (at < length && path[at] != '/')
            at++;
        size = at - start;
        if ((node->stat.mode & IFMT) != IFDIR || !may(c->who, &node->stat, EXECUTE))
            return UNSURE;
        if (size == 1 && path[start] == '.')
            continue;
        if (size == 2 && path[start] == '.' && path[start + 1] == '.') {
            if (ino != ROOT_INO)
                ino = node->parent;
            if (!(node = node_of(c, ino)))
                return UNSURE;
            continue;
        }
        if (size > NAME)
            return UNSURE;
        space = space_of(c->tree, ino);
        name = find_name(c->f, space, ino, path + start, size, 0);
        child = name ? name->child : node->complete == c->f->names_generation ? 0 : UNKNOWN;
        if (child == UNKNOWN) {
            c->out->length = size;
            memcpy(c->out->name, path + start, size);
            missing(c, MISSING_NAME, ino);
            return UNSURE;
        }
        if (!child)
            return ABSENT;
        if (covered(c->tree, child))
            return UNSURE;
        c->parent = node;
        {
            struct node *next = node_of(c, child);
            if (!next)
                return UNSURE;
            if ((next->stat.mode & IFMT) == IFLNK && (follow || at < length)) {
                const u8 *target = c->f->arena + next->target;
                u32 rest = length - at, total = next->target_length + rest;
                u8 *to = text[side];
                if (!next->target || !next->target_length || total >= PATH || ++links > MAX_LINKS)
                    return UNSURE;
                memcpy(to, target, next->target_length);
                memcpy(to + next->target_length, path + at, rest);
                path = to;
                length = total;
                at = 0;
                side ^= 1;
                if (path[0] == '/') {
                    ino = ROOT_INO;
                    if (!(node = node_of(c, ino)))
                        return UNSURE;
                }
                continue;
            }
            ino = child;
            node = next;
        }
    }
    if (path[length - 1] == '/' && (node->stat.mode & IFMT) != IFDIR)
        return UNSURE;
    *found = node;
    return FOUND;
}

/* -- calls */

static int do_stat_node(struct call *c, struct node *node, u64 address)
{
    struct stat info;
    if (!full_stat(c, node, &info) || !put(c, address, &info, sizeof info))
        return HAND_OVER;
    return answer(c, 0);
}

static int do_fstat_to(struct call *c, i32 fd, struct stat *info)
{
    struct stat host_info;
    struct host *host = host_of(c, fd, &host_info);
    struct node *node;
    if (!host)
        return 0;
    if (!(node = node_of(c, host->node))) {
        c->out->host_dev = host_info.dev; /* it may be another one's by now */
        c->out->host_ino = host_info.ino;
        missing(c, MISSING_HOST, 0);
        return 0;
    }
    *info = node->stat;
    if (node->flags & LIVE)
        merge(info, &host_info);
    return 1;
}

static int do_stat(struct call *c, i32 dirfd, u64 path_address, u64 to, int follow, int empty)
{
    u8 path[PATH];
    struct node *node;
    struct stat info;
    i64 length = read_path(c, path_address, path);
    if (length < 0)
        return HAND_OVER;
    if (!length) {
        if (!empty || dirfd == AT_FDCWD || !do_fstat_to(c, dirfd, &info) || !put(c, to, &info, sizeof info))
            return HAND_OVER;
        return answer(c, 0);
    }
    switch (walk(c, dirfd, path, (u32)length, follow, &node)) {
    case ABSENT:
        return answer(c, -ENOENT);
    case FOUND:
        return do_stat_node(c, node, to);
    }
    return HAND_OVER;
}

static int do_statx(struct call *c, const u64 *a)
{
    u8 path[PATH];
    struct node *node;
    struct stat s;
    struct statx x;
    i32 dirfd = (i32)a[0];
    u32 flags = (u32)a[2];
    i64 length = 0;
    if (flags & ~(u32)(AT_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC) ||
        (flags & AT_STATX_SYNC) == AT_STATX_SYNC || a[3] & 0x80000000UL || !a[1])
        return HAND_OVER;
    if ((length = read_path(c, a[1], path)) < 0)
        return HAND_OVER;
    if (!length) {
        if (!(flags & AT_EMPTY_PATH) || dirfd == AT_FDCWD || !do_fstat_to(c, dirfd, &s))
            return HAND_OVER;
    } else
        switch (walk(c, dirfd, path, (u32)length, !(flags & AT_NOFOLLOW), &node)) {
        case ABSENT:
            return answer(c, -ENOENT);
        case FOUND:
            if (full_stat(c, node, &s))
                break;
            /* fall through */
        default:
            return HAND_OVER;
        }
    memset(&x, 0, sizeof x);
    x.mask = 0x7FF | 0x1000;
    x.blksize = 4096;
    x.nlink = (u32)s.nlink;
    x.uid = s.uid;
    x.gid = s.gid;
    x.mode = (u16)s.mode;
    x.ino = s.ino;
    x.size = (u64)s.size;
    x.blocks = (u64)s.blocks;
    x.atime.sec = s.atime;
    x.atime.nsec = (u32)s.atime_ns;
    x.ctime.sec = s.ctime;
    x.ctime.nsec = (u32)s.ctime_ns;
    x.mtime.sec = s.mtime;
    x.mtime.nsec = (u32)s.mtime_ns;
    x.rdev_major = (u32)((s.rdev >> 8 & 0xFFF) | (s.rdev >> 32 & ~0xFFFUL));
    x.rdev_minor = (u32)((s.rdev & 0xFF) | (s.rdev >> 12 & ~0xFFUL));
    x.dev_major = (u32)((s.dev >> 8 & 0xFFF) | (s.dev >> 32 & ~0xFFFUL));
    x.dev_minor = (u32)((s.dev & 0xFF) | (s.dev >> 12 & ~0xFFUL));
    x.mnt_id = c->tree->mount;
    return put(c, a[4], &x, sizeof x) ? answer(c, 0) : HAND_OVER;
}

static int do_access(struct call *c, i32 dirfd, u64 path_address, u32 mode, u32 flags)
{
    u8 path[PATH];
    struct node *node;
    i64 length;
    if (mode & ~7u || (flags & ~(u32)AT_EACCESS) || (mode & WRITE && c->tree->read_only) ||
        (!c->who->same && !flags))
        return HAND_OVER;
    if ((length = read_path(c, path_address, path)) <= 0)
        return HAND_OVER;
    switch (walk(c, dirfd, path, (u32)length, 1, &node)) {
    case ABSENT:
        return answer(c, -ENOENT);
    case FOUND:
        if (may(c->who, &node->stat, mode))
            return answer(c, 0);
    }
    return HAND_OVER;
}

static int do_readlink(struct call *c, i32 dirfd, u64 path_address, u64 to, i32 size)
{
    u8 path[PATH];
    struct node *node;
    u32 length;
    i64 got;
    if (size <= 0 || (got = read_path(c, path_address, path)) <= 0)
        return HAND_OVER;
    switch (walk(c, dirfd, path, (u32)got, 0, &node)) {
    case ABSENT:
        return answer(c, -ENOENT);
    case FOUND:
        break;
    default:
        return HAND_OVER;
    }
    if ((node->stat.mode & IFMT) != IFLNK)
        return answer(c, -EINVAL);
    if (!node->target)
        return HAND_OVER;
    length = node->target_length < (u32)size ? node->target_length : (u32)size;
    return put(c, to, c->f->arena + node->target, length) ? answer(c, length) : HAND_OVER;
}

/* The descriptor goes to the task; it stays ours, too. 0 if the task can have none. */
static int give(struct call *c, i64 fd)
{
    struct { u64 id; u32 flags, source, new, new_flags; } request = {
        c->n->id, ADDFD_SEND, (u32)fd, 0, (u32)c->n->args[c->n->nr == CALL_openat ? 2 : 1] & O_CLOEXEC};
    i64 result = call4(SYS_ioctl, c->listener, NOTIF_ADDFD, (i64)&request, 0);
    return result >= 0 || result == -ENOENT; /* ENOENT: it has gone */
}

/* An open directory is an empty one of ours, see kernel/vfs/handles.py. */
static int do_open_directory(struct call *c, struct node *node)
{
    struct fastpath *f = c->f;
    struct tree *tree = c->tree;
    struct made *made = &f->made[f->made_count];
    struct stat info;
    u8 name[12];
    i64 fd;
    if (!tree->room || f->made_count >= MADE || !may(c->who, &node->stat, READ))
        return HAND_OVER;
    decimal(name, tree->number);
    call4(SYS_mkdirat, tree->place, (i64)name, 0500, 0);
    fd = call4(SYS_openat, tree->place, (i64)name, O_DIRECTORY | O_CLOEXEC, 0);
    call4(SYS_unlinkat, tree->place, (i64)name, AT_REMOVEDIR, 0);
    if (fd < 0)
        return HAND_OVER;
    if (call4(SYS_newfstatat, fd, (i64) "", (i64)&info, AT_EMPTY_PATH) || !give(c, fd)) {
        call4(SYS_close, fd, 0, 0, 0);
        return HAND_OVER;
    }
    tree->room--;
    made->tree = c->task->tree;
    made->node = node->ino;
    made->fd = (i32)fd;
    made->dev = info.dev;
    made->ino = info.ino;
    f->made_count++;
    learn_host(f, tree->space, info.dev, info.ino, node->ino, (i32)fd, 0, 0);
    return DONE;
}

/* Only for reading, what is there and has been opened before. */
static int do_open(struct call *c, i32 dirfd, u64 path_address, u32 flags)
{
    u8 path[PATH], name[12];
    struct node *node;
    i64 length, fd;
    u32 access = flags & O_ACCMODE, wanted = access == 0 ? READ : access == 1 ? WRITE : READ | WRITE;
    if (access == O_ACCMODE || flags & ~(u32)(O_ACCMODE | O_APPEND | O_NOCTTY | O_NONBLOCK | O_LARGEFILE | O_DIRECTORY |
                                              O_NOFOLLOW | O_CLOEXEC))
        return HAND_OVER;
    if ((length = read_path(c, path_address, path)) <= 0)
        return HAND_OVER;
    switch (walk(c, dirfd, path, (u32)length, !(flags & O_NOFOLLOW), &node)) {
    case ABSENT:
        return answer(c, -ENOENT);
    case FOUND:
        break;
    default:
        return HAND_OVER;
    }
    if (c->tree->watched)
        return HAND_OVER;
    if ((node->stat.mode & IFMT) == IFDIR)
        return wanted == READ ? do_open_directory(c, node) : HAND_OVER;
    if ((node->stat.mode & IFMT) != IFREG || flags & O_DIRECTORY || !may(c->who, &node->stat, wanted))
        return HAND_OVER;
    if (wanted != READ && ((node->flags & (LIVE | PLAIN)) != (LIVE | PLAIN) || c->tree->read_only))
        return HAND_OVER;
    if (!(node->flags & (OPENED | LIVE))) {
        missing(c, MISSING_FILE, node->ino);
        return HAND_OVER;
    }
    if (c->f->made_count >= MADE)
        return HAND_OVER;
    flags &= O_ACCMODE | O_APPEND | O_NONBLOCK | O_NOFOLLOW;
    flags |= O_CLOEXEC | O_NOCTTY;
    if (node->flags & LIVE) {
        decimal(name, node->ino);
        fd = call4(SYS_openat, c->tree->files, (i64)name, flags | O_NOFOLLOW, 0);
    } else
        fd = call4(SYS_openat, AT_FDCWD, (i64)(c->f->arena + node->path), flags, 0);
    if (fd < 0)
        return HAND_OVER;
    if (!(node->flags & OPENED)) {
        struct made *made = &c->f->made[c->f->made_count];
        struct stat info;
        if (call4(SYS_newfstatat, fd, (i64) "", (i64)&info, AT_EMPTY_PATH)) {
            call4(SYS_close, fd, 0, 0, 0);
            return HAND_OVER;
        }
        made->tree = c->task->tree;
        made->node = node->ino;
        made->fd = -1;
        made->dev = info.dev;
        made->ino = info.ino;
        c->f->made_count++;
        learn_host(c->f, c->tree->space, info.dev, info.ino, node->ino, -1, 0, 0);
        node->flags |= OPENED;
    }
    {
        int given = give(c, fd);
        call4(SYS_close, fd, 0, 0, 0);
        return given ? DONE : HAND_OVER; /* the kernel says what is wrong */
    }
}

static int do_getdents(struct call *c, i32 fd, u64 to, u64 size)
{
    struct stat info;
    struct host *host = host_of(c, fd, &info);
    struct node *node;
    i64 position;
    if (!host || host->fd < 0 || space_of(c->tree, host->node) != c->tree->image)
        return HAND_OVER;
    if (!(node = node_of(c, host->node)))
        return HAND_OVER;
    if (!node->listing) {
        missing(c, MISSING_LISTING, host->node);
        return HAND_OVER;
    }
    position = call4(SYS_lseek, host->fd, 0, 1, 0);
    if (position == (i64)node->listing_count)
        return answer(c, 0);
    if (position != 0 || (u32)size < node->listing_length)
        return HAND_OVER;
    if (!put(c, to, c->f->arena + node->listing, node->listing_length))
        return HAND_OVER;
    call4(SYS_lseek, host->fd, node->listing_count, 0, 0);
    return answer(c, node->listing_length);
}

/* A name that is not there cannot be removed, nor can a file as a directory. */
static int do_remove(struct call *c, i32 dirfd, u64 path_address, int directory)
{
    u8 path[PATH];
    struct node *node;
    i64 length = read_path(c, path_address, path);
    if (length <= 0 || path[length - 1] == '/' || path[length - 1] == '.')
        return HAND_OVER;
    switch (walk(c, dirfd, path, (u32)length, 0, &node)) {
    case ABSENT:
        return answer(c, -ENOENT);
    case FOUND:
        if (directory && (node->stat.mode & IFMT) != IFDIR && c->who->everywhere && !c->tree->read_only && c->parent &&
            !(c->parent->stat.mode & STICKY))
            return answer(c, -ENOTDIR);
    }
    return HAND_OVER;
}

/* What the filter sends here is no request that a file or a socket knows, but for three of terminals. */
static int do_ioctl(struct call *c, i32 fd, u32 request)
{
    struct stat info;
    if (request == TIOCGPGRP || request == TIOCSPGRP || request == TIOCGSID || !host_stat(c, fd, &info))
        return HAND_OVER;
    return answer(c, -ENOTTY);
}

static int dispatch(struct call *c)
{
    const u64 *a = c->n->args;
    switch (c->n->nr) {
    case CALL_stat:
        return do_stat(c, AT_FDCWD, a[0], a[1], 1, 0);
    case CALL_lstat:
        return do_stat(c, AT_FDCWD, a[0], a[1], 0, 0);
    case CALL_fstat: {
        struct stat info;
        if (!do_fstat_to(c, (i32)a[0], &info) || !put(c, a[1], &info, sizeof info))
            return HAND_OVER;
        return answer(c, 0);
    }
    case CALL_newfstatat:
        if (a[3] & ~(u64)(AT_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH))
            return HAND_OVER;
        return do_stat(c, (i32)a[0], a[1], a[2], !(a[3] & AT_NOFOLLOW), (a[3] & AT_EMPTY_PATH) != 0);
    case CALL_statx:
        return do_statx(c, a);
    case CALL_access:
        return do_access(c, AT_FDCWD, a[0], (u32)a[1], 0);
    case CALL_faccessat:
        return do_access(c, (i32)a[0], a[1], (u32)a[2], 0);
    case CALL_faccessat2:
        return a[3] >> 32 ? HAND_OVER : do_access(c, (i32)a[0], a[1], (u32)a[2], (u32)a[3]);
    case CALL_readlink:
        return do_readlink(c, AT_FDCWD, a[0], a[1], (i32)a[2]);
    case CALL_readlinkat:
        return do_readlink(c, (i32)a[0], a[1], a[2], (i32)a[3]);
    case CALL_open:
        return do_open(c, AT_FDCWD, a[0], (u32)a[1]);
    case CALL_openat:
        return do_open(c, (i32)a[0], a[1], (u32)a[2]);
    case CALL_getdents64:
        return do_getdents(c, (i32)a[0], a[1], a[2]);
    case CALL_rmdir:
        return do_remove(c, AT_FDCWD, a[0], 1);
    case CALL_unlink:
        return do_remove(c, AT_FDCWD, a[0], 0);
    case CALL_unlinkat:
        return a[2] & ~(u64)AT_REMOVEDIR ? HAND_OVER : do_remove(c, (i32)a[0], a[1], (a[2] & AT_REMOVEDIR) != 0);
    case CALL_ioctl:
        return do_ioctl(c, (i32)a[0], (u32)a[1]);
    case CALL_getpid:
        return answer(c, c->task->pid);
    case CALL_getuid:
        return answer(c, c->who->uid);
    case CALL_geteuid:
        return answer(c, c->who->euid);
    case CALL_getgid:
        return answer(c, c->who->gid);
    case CALL_getegid:
        return answer(c, c->who->egid);
    }
    return HAND_OVER;
}

static struct task *task_of(struct fastpath *f, u32 tid)
{
    struct task *task;
    if (tid >= TIDS || !f->by_tid[tid])
        return 0;
    task = &f->tasks[f->by_tid[tid]];
    return task->tid == (i32)tid ? task : 0;
}

static int serve(struct fastpath *f, i32 listener, struct out *out)
{
    struct call c = {f, 0, 0, 0, out, &out->notif, listener, 0};
    out->missing = NOTHING;
    c.task = task_of(f, out->notif.pid);
    if (!c.task || c.task->mode == SLOW || c.task->epoch != f->epoch)
        return HAND_OVER;
    c.tree = &f->trees[c.task->tree];
    c.who = &f->identities[c.task->identity];
    if (c.task->mode == APART && c.task->calls >= LOOK)
        return HAND_OVER;
    if (dispatch(&c) != DONE)
        return HAND_OVER;
    c.task->calls++;
    f->calls[out->notif.nr]++;
    return DONE;
}

/* -- what Python calls */

EXPORT struct fastpath *fastpath_open(i32 epoll)
{
    i64 memory = call6(SYS_mmap, 0, sizeof(struct fastpath), 3, 0x4022, -1, 0); /* PRIVATE ANONYMOUS NORESERVE */
    struct fastpath *f = (struct fastpath *)memory;
    if (memory < 0 && memory > -4096)
        return 0;
    f->epoll = epoll;
    f->names_generation = f->nodes_generation = f->hosts_generation = f->epoch = 1; /* 0: of a slot never used */
    f->tasks_reached = 1; /* 0: none */
    return f;
}

/* Wait for events and answer what can be; how many of them are left for Python, in out, and above bit 16 how many
   directories have been made. */
EXPORT i32 fastpath_wait(struct fastpath *f, i32 timeout)
{
    for (;;) {
        i64 count = call4(SYS_epoll_wait, f->epoll, (i64)f->ready, EVENTS, timeout);
        i32 left = 0;
        if (count == -EINTR)
            return 0;
        if (count < 0)
            return (i32)count;
        for (i64 i = 0; i < count; i++) {
            u64 fd = f->ready[i].data & 0xFFFFFFFF;
            struct out *out = &f->out[left];
            out->fd = (u32)fd;
            out->events = f->ready[i].events;
            if (fd < LISTENERS && f->listeners[fd >> 3] >> (fd & 7) & 1 && out->events == EPOLLIN) {
                memset(&out->notif, 0, sizeof out->notif);
                if (call4(SYS_ioctl, (i64)fd, NOTIF_RECV, (i64)&out->notif, 0) < 0)
                    continue; /* the task is gone, or a signal took the call back */
                if (serve(f, (i32)fd, out) == DONE)
                    continue;
                out->events |= RECEIVED | (u32)left << INDEX_SHIFT;
            }
            left++;
        }
        if (left || timeout >= 0)
            return left | (i32)f->made_count << 16;
    }
}

EXPORT struct out *fastpath_out(struct fastpath *f)
{
    return f->out;
}

EXPORT struct made *fastpath_made(struct fastpath *f)
{
    return f->made;
}

/* Python knows of them now. */
EXPORT void fastpath_made_known(struct fastpath *f)
{
    f->made_count = 0;
}

/* How many more directories may be opened in a tree. */
EXPORT void fastpath_set_room(struct fastpath *f, u32 index, u32 room)
{
    if (index < TREES)
        f->trees[index].room = room;
}

EXPORT u64 *fastpath_calls(struct fastpath *f)
{
    return f->calls;
}

EXPORT void fastpath_listen(struct fastpath *f, u32 fd, u32 on)
{
    if (fd >= LISTENERS)
        return;
    if (on)
        f->listeners[fd >> 3] |= (u8)(1 << (fd & 7));
    else
        f->listeners[fd >> 3] &= (u8)~(1 << (fd & 7));
}

/* Nothing that is known about tasks holds any more. */
EXPORT void fastpath_new_epoch(struct fastpath *f)
{
    f->epoch++;
}

EXPORT void fastpath_clear(struct fastpath *f)
{
    clear_names(f);
    clear_nodes(f);
    clear_hosts(f);
}

/* The task's calls may be answered until the epoch ends, or it is hidden. */
EXPORT void fastpath_task(struct fastpath *f, u32 tid, i32 memory, i32 descriptors, u32 tree, u32 identity, u32 cwd,
                          u32 pid, u32 sharing)
{
    struct task *task = task_of(f, tid);
    if (!task) {
        u32 index = f->tasks_free;
        if (tid >= TIDS)
            return;
        if (index)
            f->tasks_free = f->tasks[index].tree;
        else if (f->tasks_reached < TASKS)
            index = f->tasks_reached++;
        else
            return;
        f->by_tid[tid] = (u16)index;
        task = &f->tasks[index];
        task->tid = (i32)tid;
        task->calls = 0;
    }
    task->memory = memory;
    task->descriptors = descriptors;
    task->tree = tree < TREES ? tree : 0;
    task->identity = identity < IDENTITIES ? identity : 0;
    task->cwd = cwd;
    task->pid = pid;
    task->epoch = f->epoch;
    task->mode = tree >= TREES || identity >= IDENTITIES ? SLOW : sharing ? SHARING : APART;
}

EXPORT void fastpath_hide(struct fastpath *f, u32 tid)
{
    struct task *task = task_of(f, tid);
    if (task)
        task->mode = SLOW;
}

EXPORT void fastpath_gone(struct fastpath *f, u32 tid)
{
    struct task *task = task_of(f, tid);
    if (task) {
        u32 index = f->by_tid[tid];
        f->by_tid[tid] = 0;
        task->tid = 0;
        task->mode = SLOW;
        task->tree = f->tasks_free;
        f->tasks_free = index;
    }
}

/* How many calls of a task have been answered since this was last asked. */
EXPORT u32 fastpath_take_calls(struct fastpath *f, u32 tid)
{
    struct task *task = task_of(f, tid);
    u32 calls = task ? task->calls : 0;
    if (task)
        task->calls = 0;
    return calls;
}

EXPORT struct tree *fastpath_tree(struct fastpath *f, u32 index)
{
    return index < TREES ? &f->trees[index] : 0;
}

EXPORT struct identity *fastpath_identity(struct fastpath *f, u32 index)
{
    return index < IDENTITIES ? &f->identities[index] : 0;
}

EXPORT void fastpath_learn_name(struct fastpath *f, u32 space, u32 directory, const u8 *text, u32 length, u32 child)
{
    if (!length || length > NAME)
        return;
    if (f->names_used > NAMES / 4 * 3 || f->long_names_used + NAME > LONG_NAMES)
        clear_names(f);
    find_name(f, space, directory, text, length, 1)->child = child;
}

EXPORT void fastpath_forget_name(struct fastpath *f, u32 space, u32 directory, const u8 *text, u32 length)
{
    fastpath_learn_name(f, space, directory, text, length, UNKNOWN); /* not nothing: the others may be complete */
}

/* All names of a directory have been told since clear_names(), which generation tells. */
EXPORT void fastpath_complete(struct fastpath *f, u32 space, u32 ino, u32 generation)
{
    struct node *node = find_node(f, space, ino, 0);
    if (node && node->known && generation == f->names_generation)
        node->complete = generation;
}

EXPORT u32 fastpath_names_generation(struct fastpath *f)
{
    return f->names_generation;
}

/* stat: struct stat. target: of a symlink. */
EXPORT void fastpath_learn_node(struct fastpath *f, u32 space, u32 ino, u32 parent, u32 flags, const u8 *stat,
                                const u8 *target, u32 length)
{
    struct node *node;
    if (!room(f, length))
        return;
    node = find_node(f, space, ino, 1);
    if (node->known && (node->flags & LIVE) == (flags & LIVE))
        flags |= node->flags & OPENED; /* it is only its attributes that have changed */
    else
        node->path = 0;
    node->known = 1;
    node->parent = parent;
    node->flags = flags;
    node->target = node->target_length = node->listing = 0;
    memcpy(&node->stat, stat, sizeof node->stat);
    if (length) {
        node->target = keep(f, target, length);
        node->target_length = length;
    }
}

/* Was it known? */
EXPORT u32 fastpath_forget_node(struct fastpath *f, u32 space, u32 ino)
{
    struct node *node = find_node(f, space, ino, 0);
    if (!node || !node->stat.ino)
        return 0;
    node->stat.ino = 0;
    return 1;
}

/* The host path of a file's bytes, NUL-terminated; without one it is in the tree's own directory. */
EXPORT void fastpath_learn_file(struct fastpath *f, u32 space, u32 ino, const u8 *path, u32 length)
{
    struct node *node;
    if (!room(f, length + 1) || !(node = find_node(f, space, ino, 0)) || !node->stat.ino)
        return;
    if (node->flags & LIVE)
        node->flags |= OPENED;
    else if (length) {
        node->path = keep(f, path, length + 1);
        node->flags |= OPENED;
    }
}

EXPORT void fastpath_learn_listing(struct fastpath *f, u32 space, u32 ino, const u8 *records, u32 length, u32 count)
{
    struct node *node;
    if (!length || !room(f, length) || !(node = find_node(f, space, ino, 0)) || !node->stat.ino)
        return;
    node->listing = keep(f, records, length);
    node->listing_length = length;
    node->listing_count = count;
}

/* size and changed (its ctime in ns) tell a file of an image from a later one of the same number. */
EXPORT void fastpath_learn_host(struct fastpath *f, u32 space, u64 dev, u64 ino, u32 node, i32 fd, u64 size,
                                u64 changed)
{
    learn_host(f, space, dev, ino, node, fd, size, changed);
}

EXPORT void fastpath_forget_host(struct fastpath *f, u32 space, u64 dev, u64 ino)
{
    struct host *host = find_host(f, space, dev, ino, 0);
    if (host)
        host->node = 0;
}
