/* Faults of a disk, as the C library tells a program of them. Preloaded into a process under test.
 *
 * The variable ORDERD_FAULTS names a folder. While a file stands there, calls fail on all files whose path contains what it says:
 *   fsync     fsync and fdatasync with EIO
 *   fsync-db  the same, on the ledger itself and not on its log
 *   full      writes, and asking for room, with ENOSPC
 *   readonly  opening to write with EROFS
 * Everything else goes to the kernel. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

/* Whether this fault is on for the file at this path. */
static int is_on(const char *fault, const char *of) {
    const char *folder = getenv("ORDERD_FAULTS");
    char path[4096], part[256];
    ssize_t length;
    int fd;
    if (!folder || snprintf(path, sizeof path, "%s/%s", folder, fault) >= (int)sizeof path) return 0;
    fd = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) return 0;
    length = syscall(SYS_read, fd, part, sizeof part - 1);
    syscall(SYS_close, fd);
    if (length <= 0) return 0;
    part[length] = 0;
    return strstr(of, part) != NULL;
}

static int strikes(const char *fault, int fd) {
    char link[64], path[4096];
    ssize_t length;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    if (strcmp(fault, "fsync") == 0 && strcmp(strrchr(path, '/'), "/orders.db") == 0 && is_on("fsync-db", path)) return 1;
    return is_on(fault, path);
}

int fsync(int fd) {
    if (strikes("fsync", fd)) { errno = EIO; return -1; }
    return syscall(SYS_fsync, fd);
}

int fdatasync(int fd) {
    if (strikes("fsync", fd)) { errno = EIO; return -1; }
    return syscall(SYS_fdatasync, fd);
}

ssize_t write(int fd, const void *from, size_t count) {
    if (strikes("full", fd)) { errno = ENOSPC; return -1; }
    return syscall(SYS_write, fd, from, count);
}

ssize_t pwrite64(int fd, const void *from, size_t count, off64_t at) {
    if (strikes("full", fd)) { errno = ENOSPC; return -1; }
    return syscall(SYS_pwrite64, fd, from, count, at);
}

ssize_t pwrite(int fd, const void *from, size_t count, off_t at) { return pwrite64(fd, from, count, at); }

ssize_t pwritev(int fd, const struct iovec *from, int count, off_t at) {
    if (strikes("full", fd)) { errno = ENOSPC; return -1; }
    return syscall(SYS_pwritev, fd, from, count, at, 0);
}

int posix_fallocate(int fd, off_t from, off_t length) {
    if (strikes("full", fd)) return ENOSPC;
    return syscall(SYS_fallocate, fd, 0, from, length) == 0 ? 0 : errno;
}

static int open_at(const char *path, int flags, va_list rest) {
    mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;
    if ((flags & O_ACCMODE) != O_RDONLY && is_on("readonly", path)) { errno = EROFS; return -1; }
    return syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

int open(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    int fd = open_at(path, flags, rest);
    va_end(rest);
    return fd;
}

int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    int fd = open_at(path, flags | O_LARGEFILE, rest);
    va_end(rest);
    return fd;
}
