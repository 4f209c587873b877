#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/str.h"

#define TEMPORARY_NAME_TRIES 16

/* ---- whole files ---- */

static reid_status read_to_end(int fd, const char *path, size_t limit, char **ret_data,
                               size_t *ret_size, reid_error *err)
{
    struct stat info;
    if (fstat(fd, &info) != 0)
        return reid_fail_errno(err, errno, "cannot read '%s'", path);
    size_t expected = info.st_size > 0 ? (size_t)info.st_size : 4096;
    if (S_ISREG(info.st_mode) && info.st_size > 0 && expected > limit)
        return reid_fail(err, REID_ERR_EXHAUSTED, "'%s' has %zu bytes, over the limit of %zu", path,
                         expected, limit);
    size_t size = 0;
    size_t capacity = expected + 1; /* a last byte stays free for the NUL */
    char *data = reid_alloc_grow(NULL, capacity + 1, 1);
    reid_status status = REID_OK;
    while (data) {
        ssize_t got = read(fd, data + size, capacity - size);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            status = reid_fail_errno(err, errno, "cannot read '%s'", path);
        if (got <= 0)
            break;
        size += (size_t)got;
        if (size > limit) {
            status = reid_fail(err, REID_ERR_EXHAUSTED, "'%s' is over the limit of %zu bytes", path,
                               limit);
            break;
        }
        if (size == capacity) {
            capacity *= 2;
            char *grown = reid_alloc_grow(data, capacity + 1, 1);
            if (!grown)
                free(data);
            data = grown;
        }
    }
    if (!data)
        return reid_fail(err, REID_ERR_EXHAUSTED, "out of memory while reading '%s'", path);
    if (status != REID_OK) {
        free(data);
        return status;
    }
    data[size] = '\0';
    *ret_data = data;
    *ret_size = size;
    return REID_OK;
}

reid_status reid_file_read(const char *path, size_t limit_bytes, char **ret_data, size_t *ret_size,
                           reid_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return reid_fail_errno(err, errno, "cannot open '%s'", path);
    reid_status status = read_to_end(fd, path, limit_bytes, ret_data, ret_size, err);
    close(fd);
    return status;
}

reid_status reid_file_read_foreign(const char *path, size_t limit_bytes, char **ret_data,
                                   size_t *ret_size, reid_error *err)
{
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return reid_fail_errno(err, errno, "cannot open '%s'", path);
    reid_status status = REID_OK;
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode))
        status = reid_fail(err, REID_ERR_CORRUPT, "'%s' is no file", path);
    if (status == REID_OK)
        status = read_to_end(fd, path, limit_bytes, ret_data, ret_size, err);
    close(fd);
    return status;
}

reid_status reid_write_all(int fd, const void *data, size_t size, const char *name, reid_error *err)
{
    const char *rest = data;
    while (size > 0) {
        ssize_t written = write(fd, rest, size);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return reid_fail_errno(err, written < 0 ? errno : EIO, "cannot write '%s'", name);
        rest += written;
        size -= (size_t)written;
    }
    return REID_OK;
}

/* Opened with 0666, so that the umask decides as for any new file. */
static int open_temporary(const char *path, char **ret_name)
{
    for (int i = 0; i < TEMPORARY_NAME_TRIES; i++) {
        uint64_t number;
        if (getrandom(&number, sizeof number, 0) != (ssize_t)sizeof number)
            return -1;
        char *name = reid_xasprintf("%s.%016llx.tmp", path, (unsigned long long)number);
        int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd >= 0) {
            *ret_name = name;
            return fd;
        }
        free(name);
        if (errno != EEXIST)
            return -1;
    }
    return -1;
}

static reid_status fill_temporary(int fd, const char *path, const void *data, size_t size,
                                  reid_error *err)
{
    struct stat old;
    if (stat(path, &old) == 0 && S_ISREG(old.st_mode) && fchmod(fd, old.st_mode & 07777) != 0)
        return reid_fail_errno(err, errno, "cannot keep the mode of '%s'", path);
    REID_TRY(reid_write_all(fd, data, size, path, err));
    if (fsync(fd) != 0)
        return reid_fail_errno(err, errno, "cannot write '%s' to disk", path);
    return REID_OK;
}

reid_status reid_file_write_atomic(const char *path, const void *data, size_t size, reid_error *err)
{
    REID_AUTOFREE char *temporary = NULL;
    int fd = open_temporary(path, &temporary);
    if (fd < 0)
        return reid_fail_errno(err, errno, "cannot make a temporary file beside '%s'", path);
    reid_status status = fill_temporary(fd, path, data, size, err);
    if (close(fd) != 0 && status == REID_OK)
        status = reid_fail_errno(err, errno, "cannot write '%s'", path);
    if (status == REID_OK && rename(temporary, path) != 0)
        status = reid_fail_errno(err, errno, "cannot replace '%s'", path);
    if (status != REID_OK) {
        unlink(temporary);
        return status;
    }
    REID_AUTOFREE char *folder = reid_path_dir(path);
    return reid_fsync_dir(folder, err);
}

reid_status reid_fsync_dir(const char *path, reid_error *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return reid_fail_errno(err, errno, "cannot open the folder '%s'", path);
    int failed = fsync(fd) != 0 ? errno : 0;
    close(fd);
    /* Some file systems (FUSE, some network ones) have no fsync for folders. */
    if (failed != 0 && failed != EINVAL && failed != ENOTSUP)
        return reid_fail_errno(err, failed, "cannot write the folder '%s' to disk", path);
    return REID_OK;
}

/* ---- folders ---- */

static reid_status make_dir(const char *path, unsigned mode, reid_error *err)
{
    if (mkdir(path, (mode_t)mode) == 0)
        return REID_OK;
    int failed = errno;
    if (reid_path_is_dir(path))
        return REID_OK;
    if (failed == EEXIST)
        return reid_fail(err, REID_ERR_EXISTS,
                         "cannot make the folder '%s': a file of that name is in the way", path);
    return reid_fail_errno(err, failed, "cannot make the folder '%s'", path);
}

reid_status reid_make_dirs(const char *path, unsigned mode, reid_error *err)
{
    if (*path == '\0')
        return reid_fail(err, REID_ERR_INVALID, "cannot make a folder without a name");
    REID_AUTOFREE char *part = reid_xstrdup(path);
    for (char *p = part + 1; *p; p++) {
        if (*p != '/' || p[-1] == '/')
            continue;
        *p = '\0';
        REID_TRY(make_dir(part, mode, err));
        *p = '/';
    }
    return make_dir(part, mode, err);
}

static int remove_at(int folder_fd, const char *name);

/* Returns 0 or the errno of the first failure. */
static int remove_children(int fd)
{
    DIR *stream = fdopendir(fd);
    if (!stream) {
        int failed = errno;
        close(fd);
        return failed;
    }
    int failed = 0;
    struct dirent *entry;
    while (!failed && (errno = 0, entry = readdir(stream)) != NULL) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            failed = remove_at(dirfd(stream), entry->d_name);
    }
    if (!failed)
        failed = errno;
    closedir(stream);
    return failed;
}

static int remove_at(int folder_fd, const char *name)
{
    if (unlinkat(folder_fd, name, 0) == 0 || errno == ENOENT)
        return 0;
    int failed = errno;
    int fd = openat(folder_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOTDIR || errno == ELOOP ? failed : errno;
    failed = remove_children(fd);
    if (!failed && unlinkat(folder_fd, name, AT_REMOVEDIR) != 0 && errno != ENOENT)
        failed = errno;
    return failed;
}

reid_status reid_remove_tree(const char *path, reid_error *err)
{
    if (path[strspn(path, "/")] == '\0')
        return reid_fail(err, REID_ERR_INVALID, "'%s' cannot be removed", path);
    /* A slash at the end would follow a link. */
    REID_AUTOFREE char *name = reid_xstrdup(path);
    for (size_t length = strlen(name); name[length - 1] == '/'; length--)
        name[length - 1] = '\0';
    int failed = remove_at(AT_FDCWD, name);
    if (failed)
        return reid_fail_errno(err, failed, "cannot remove '%s'", path);
    return REID_OK;
}

static bool entry_is_dir(DIR *stream, const struct dirent *entry)
{
    struct stat info;
    if (entry->d_type != DT_UNKNOWN && entry->d_type != DT_LNK)
        return entry->d_type == DT_DIR;
    return fstatat(dirfd(stream), entry->d_name, &info, 0) == 0 && S_ISDIR(info.st_mode);
}

static int compare_entries(const void *a, const void *b)
{
    return strcmp(((const reid_dir_entry *)a)->name, ((const reid_dir_entry *)b)->name);
}

typedef struct dir_entries {
    reid_dir_entry *items;
    size_t count;
    size_t capacity;
} dir_entries;

static bool add_entry(dir_entries *list, DIR *stream, const struct dirent *entry)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? list->capacity * 2 : 64;
        reid_dir_entry *grown = reid_alloc_grow(list->items, capacity, sizeof *grown);
        if (!grown)
            return false;
        list->items = grown;
        list->capacity = capacity;
    }
    char *name = strdup(entry->d_name);
    if (!name)
        return false;
    list->items[list->count++] =
        (reid_dir_entry){.name = name, .is_dir = entry_is_dir(stream, entry)};
    return true;
}

reid_status reid_dir_list(const char *path, reid_dir_entry **ret_entries, size_t *ret_count,
                          reid_error *err)
{
    DIR *stream = opendir(path);
    if (!stream)
        return reid_fail_errno(err, errno, "cannot open the folder '%s'", path);
    dir_entries list = {0};
    reid_status status = REID_OK;
    while (status == REID_OK) {
        errno = 0;
        struct dirent *entry = readdir(stream);
        if (!entry) {
            if (errno != 0)
                status = reid_fail_errno(err, errno, "cannot read the folder '%s'", path);
            break;
        }
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (!add_entry(&list, stream, entry))
            status = reid_fail(err, REID_ERR_EXHAUSTED,
                               "out of memory while reading the folder '%s'", path);
    }
    closedir(stream);
    if (status != REID_OK) {
        reid_dir_free(list.items, list.count);
        return status;
    }
    if (list.count > 0)
        qsort(list.items, list.count, sizeof *list.items, compare_entries);
    *ret_entries = list.items;
    *ret_count = list.count;
    return REID_OK;
}

void reid_dir_free(reid_dir_entry *entries, size_t count)
{
    if (!entries)
        return;
    for (size_t i = 0; i < count; i++)
        free(entries[i].name);
    free(entries);
}

/* ---- paths ---- */

bool reid_path_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0;
}

bool reid_path_is_dir(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

bool reid_path_is_file(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

char *reid_path_join(const char *folder, const char *name)
{
    if (name[0] == '/' || folder[0] == '\0')
        return reid_xstrdup(name);
    if (name[0] == '\0')
        return reid_xstrdup(folder);
    return reid_xasprintf("%s%s%s", folder, reid_str_ends(folder, "/") ? "" : "/", name);
}

/* The home of `user`, or of this process for "". NULL when there is none. Caller frees. */
static char *home_of(const char *user)
{
    const char *home = getenv("HOME");
    if (*user == '\0' && home && home[0] == '/')
        return reid_xstrdup(home);
    char buffer[4096];
    struct passwd record;
    struct passwd *found = NULL;
    if (*user == '\0')
        getpwuid_r(getuid(), &record, buffer, sizeof buffer, &found);
    else
        getpwnam_r(user, &record, buffer, sizeof buffer, &found);
    return found ? reid_xstrdup(found->pw_dir) : NULL;
}

static char *expand_home(const char *path)
{
    if (path[0] != '~')
        return reid_xstrdup(path);
    size_t length = strcspn(path, "/");
    REID_AUTOFREE char *user = reid_xstrndup(path + 1, length - 1);
    REID_AUTOFREE char *home = home_of(user);
    if (!home)
        return reid_xstrdup(path);
    return reid_xasprintf("%s%s", home, path + length);
}

/* Drops "." parts and repeated slashes of an absolute path in place; ".." stays, for it may follow
 * a link. */
static void tidy(char *path)
{
    char *to = path;
    const char *from = path;
    while (*from) {
        from += strspn(from, "/");
        size_t length = strcspn(from, "/");
        if (length > 0 && !(length == 1 && from[0] == '.')) {
            *to++ = '/';
            memmove(to, from, length);
            to += length;
        }
        from += length;
    }
    if (to == path)
        *to++ = '/';
    *to = '\0';
}

char *reid_path_absolute(const char *path)
{
    REID_AUTOFREE char *expanded = expand_home(path);
    REID_AUTOFREE char *here = expanded[0] == '/' ? NULL : getcwd(NULL, 0);
    char *absolute = reid_path_join(here ? here : "/", expanded);
    tidy(absolute);
    return absolute;
}

const char *reid_path_base(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

char *reid_path_dir(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        return reid_xstrdup(".");
    size_t length = (size_t)(slash - path);
    while (length > 0 && path[length - 1] == '/')
        length--;
    return length == 0 ? reid_xstrdup("/") : reid_xstrndup(path, length);
}
