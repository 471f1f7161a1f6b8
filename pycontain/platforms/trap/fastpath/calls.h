/* The calls that can be answered. A function returns DONE, or HAND_OVER where Python shall do it, which is always right:
   nothing that a task could see has been done then. */

#include "walk.h"

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
    if (host->fd != A_FILE) /* a directory, or an O_PATH open, which is an empty file of ours */
        return full_stat(c, node, info);
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

/* The descriptor goes to the task; it stays ours, too. 0 if the task can have none. Not in one step with the answer:
   see send_fd() in answering.py. */
static int give(struct call *c, i64 fd)
{
    struct { u64 id; u32 flags, source, new, new_flags; } request = {
        c->n->id, 0, (u32)fd, 0, (u32)c->n->args[c->n->nr == CALL_openat ? 2 : 1] & O_CLOEXEC};
    i64 number;
    do
        number = call4(SYS_ioctl, c->listener, NOTIF_ADDFD, (i64)&request, 0);
    while (number == -EINTR);
    if (number >= 0)
        answer(c, number);
    return number >= 0 || number == -ENOENT; /* ENOENT: it has gone */
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
        fd = call4(SYS_openat, c->tree->files, (i64)name, flags, 0);
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
        made->fd = A_FILE;
        made->dev = info.dev;
        made->ino = info.ino;
        c->f->made_count++;
        learn_host(c->f, c->tree->space, info.dev, info.ino, node->ino, A_FILE, 0, 0);
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
