/* What is known: names, inodes, host descriptors, tasks, trees, identities; and what is waited for. */

#include "linux.h"

enum {
    EVENTS = 64, NAME = 255, SHORT = 47, PATH = 256, MAX_LINKS = 40, ROOT_INO = 2,
    NAMES = 1 << 16, NODES = 1 << 15, HOSTS = 1 << 15, ARENA = 8 << 20, LONG_NAMES = 1 << 20,
    MADE = 256,
    TASKS = 4096, TREES = 1024, IDENTITIES = 64, GROUPS = 32, TIDS = 1 << 22, LISTENERS = 1 << 20, CALLS = 512,
};
#define UNKNOWN 0xFFFFFFFFu

/* What is missing, or a plain event of a descriptor: this is read by native.py. */
enum { NOTHING, MISSING_NAME, MISSING_NODE, MISSING_LISTING, MISSING_HOST, MISSING_FILE };
enum { SERVED = 1 << 19, RECEIVED = 1 << 20, INDEX_SHIFT = 21 }; /* SERVED: it had its turn, there is nothing to do */
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
   knows of an open description whose file it is. PLAIN: who writes to it takes nothing away (setuid, capabilities),
   and it is no program, which may run. */
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

/* What a host descriptor stands for, by its device and inode. fd: our descriptor of a directory, or one of these. */
enum { A_FILE = -1, PATH_ONLY = -2 };
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
