/* What of Linux is needed without a libc: types, numbers, structures, and the system call itself. */

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;
typedef int i32;
typedef long i64;

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
enum { EPOLLIN = 1 };
enum {
    AT_FDCWD = -100, AT_NOFOLLOW = 0x100, AT_EACCESS = 0x200, AT_NO_AUTOMOUNT = 0x800, AT_EMPTY_PATH = 0x1000,
    AT_STATX_SYNC = 0x6000, AT_REMOVEDIR = 0x200,
};
enum {
    O_ACCMODE = 3, O_NOCTTY = 0400, O_APPEND = 02000, O_NONBLOCK = 04000, O_LARGEFILE = 0100000,
    O_DIRECTORY = 0200000, O_NOFOLLOW = 0400000, O_CLOEXEC = 02000000,
};
enum { TIOCGPGRP = 0x540F, TIOCSPGRP = 0x5410, TIOCGSID = 0x5429 };
enum { STICKY = 01000, IFMT = 0170000, IFDIR = 0040000, IFLNK = 0120000, IFREG = 0100000 };
enum { EXECUTE = 1, WRITE = 2, READ = 4 };

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

#ifdef HOSTED /* by the fuzz test, which has a libc */
void *memcpy(void *, const void *, u64);
void *memset(void *, int, u64);
#else
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
#endif
