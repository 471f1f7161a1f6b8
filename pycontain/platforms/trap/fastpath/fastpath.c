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

#include "calls.h"

#define EXPORT __attribute__((visibility("default")))

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
        i32 left = 0, served = 0;
        u32 listeners[EVENTS];
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
                if (serve(f, (i32)fd, out) == DONE) {
                    listeners[served++] = (u32)fd;
                    continue;
                }
                out->events |= RECEIVED | (u32)left << INDEX_SHIFT;
            }
            left++;
        }
        for (i32 i = 0; left && i < served; i++) /* who takes a turn now shall know who else wanted one */
            f->out[left++] = (struct out){.fd = listeners[i], .events = SERVED};
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

EXPORT void fastpath_forget_node(struct fastpath *f, u32 space, u32 ino)
{
    struct node *node = find_node(f, space, ino, 0);
    if (node)
        node->stat.ino = 0;
}

/* The host path of a file's bytes, NUL-terminated: of one that is not LIVE. */
EXPORT void fastpath_learn_file(struct fastpath *f, u32 space, u32 ino, const u8 *path, u32 length)
{
    struct node *node;
    if (!room(f, length + 1) || !(node = find_node(f, space, ino, 0)) || !node->stat.ino)
        return;
    if (length && !(node->flags & LIVE)) {
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
