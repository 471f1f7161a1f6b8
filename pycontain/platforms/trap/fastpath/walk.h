/* A call under way, and the walk along a path: path_resolution(7) over what is known. */

#include "tables.h"

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
    while (call4(SYS_ioctl, c->listener, NOTIF_SEND, (i64)&response, 0) == -EINTR)
        ; /* about to be stopped or frozen; ENOENT: the task has gone */
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
