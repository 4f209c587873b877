/* Fault points: loaded before the C library into one kind of program, it counts the calls that
 * change something outside of the process, and at the Nth kills the process or lets the call fail.
 *
 *     REID_FAULT_PROGRAM  name of the program that is meant; its children are not
 *     REID_FAULT_COUNT    a file of 8 bytes: calls so far, of all such processes together
 *     REID_FAULT_AT       N, from 1; 0: counts only
 *     REID_FAULT_DO       "before" or "after": SIGKILL before or after the call; otherwise the
 *                         number of an error, with which the call fails: then only calls that
 *                         concern files count
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static _Atomic int64_t *count; /* NULL: another program */
static int64_t at;
static int error_number; /* 0: kill */
static bool after;

__attribute__((constructor)) static void open_count(void)
{
    const char *program = getenv("REID_FAULT_PROGRAM"), *path = getenv("REID_FAULT_COUNT");
    const char *where = getenv("REID_FAULT_AT"), *what = getenv("REID_FAULT_DO");
    if (!program || !path || !where || !what || strcmp(program, program_invocation_short_name) != 0)
        return;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return;
    void *map = mmap(NULL, sizeof *count, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (map == MAP_FAILED)
        return;
    at = atoll(where);
    after = strcmp(what, "after") == 0;
    error_number = atoi(what);
    count = map;
}

static bool is_file(int fd)
{
    struct stat info;
    return fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
}

/* Whether this call is the one; does not come back when the process is to die before it. */
static bool reached(bool file)
{
    if (!count || (error_number && !file) || atomic_fetch_add(count, 1) + 1 != at)
        return false;
    if (!error_number && !after)
        kill(getpid(), SIGKILL);
    return true;
}

/* The call NAME(ARGUMENTS) that changes something; `file`: it concerns a file. */
#define POINT(TYPE, FILE, NAME, ...)                                                               \
    do {                                                                                           \
        static __typeof__(NAME) *real;                                                             \
        if (!real)                                                                                 \
            *(void **)&real = dlsym(RTLD_NEXT, #NAME);                                             \
        bool hit = reached(FILE);                                                                  \
        if (hit && error_number) {                                                                 \
            errno = error_number;                                                                  \
            return -1;                                                                             \
        }                                                                                          \
        TYPE rc = real(__VA_ARGS__);                                                               \
        if (hit)                                                                                   \
            kill(getpid(), SIGKILL);                                                               \
        return rc;                                                                                 \
    } while (0)

ssize_t write(int fd, const void *data, size_t size)
{
    POINT(ssize_t, is_file(fd), write, fd, data, size);
}

ssize_t writev(int fd, const struct iovec *parts, int number)
{
    POINT(ssize_t, is_file(fd), writev, fd, parts, number);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
{
    POINT(ssize_t, true, pwrite, fd, data, size, offset);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset)
{
    POINT(ssize_t, true, pwrite64, fd, data, size, offset);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    POINT(ssize_t, false, sendmsg, fd, message, flags);
}

ssize_t send(int fd, const void *data, size_t size, int flags)
{
    POINT(ssize_t, false, send, fd, data, size, flags);
}

ssize_t sendto(int fd, const void *data, size_t size, int flags, const struct sockaddr *to,
               socklen_t to_size)
{
    POINT(ssize_t, false, sendto, fd, data, size, flags, to, to_size);
}

int fsync(int fd)
{
    POINT(int, true, fsync, fd);
}

int fdatasync(int fd)
{
    POINT(int, true, fdatasync, fd);
}

int ftruncate(int fd, off_t size)
{
    POINT(int, true, ftruncate, fd, size);
}

int ftruncate64(int fd, off64_t size)
{
    POINT(int, true, ftruncate64, fd, size);
}

int rename(const char *from, const char *to)
{
    POINT(int, true, rename, from, to);
}

int renameat(int from_folder, const char *from, int to_folder, const char *to)
{
    POINT(int, true, renameat, from_folder, from, to_folder, to);
}

int unlinkat(int folder, const char *path, int flags)
{
    POINT(int, false, unlinkat, folder, path, flags);
}

int unlink(const char *path)
{
    POINT(int, false, unlink, path);
}

int mkdir(const char *path, mode_t mode)
{
    POINT(int, true, mkdir, path, mode);
}

int mkdirat(int folder, const char *path, mode_t mode)
{
    POINT(int, true, mkdirat, folder, path, mode);
}

static mode_t mode_of(int flags, va_list more)
{
    return flags & O_CREAT ? (mode_t)va_arg(more, unsigned) : 0;
}

/* Those that may make a file. */
#define OPEN_POINT(NAME, ...)                                                                      \
    do {                                                                                           \
        static __typeof__(NAME) *plain;                                                            \
        va_list more;                                                                              \
        va_start(more, flags);                                                                     \
        mode_t mode = mode_of(flags, more);                                                        \
        va_end(more);                                                                              \
        if (flags & O_CREAT)                                                                       \
            POINT(int, true, NAME, __VA_ARGS__, flags, mode);                                      \
        if (!plain)                                                                                \
            *(void **)&plain = dlsym(RTLD_NEXT, #NAME);                                            \
        return plain(__VA_ARGS__, flags);                                                          \
    } while (0)

int open(const char *path, int flags, ...)
{
    OPEN_POINT(open, path);
}

int open64(const char *path, int flags, ...)
{
    OPEN_POINT(open64, path);
}

int openat(int folder, const char *path, int flags, ...)
{
    OPEN_POINT(openat, folder, path);
}

int openat64(int folder, const char *path, int flags, ...)
{
    OPEN_POINT(openat64, folder, path);
}

pid_t fork(void)
{
    POINT(pid_t, false, fork);
}
