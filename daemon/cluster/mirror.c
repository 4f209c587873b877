#include "daemon/cluster/mirror.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/file.h"
#include "base/flight.h"
#include "base/log.h"
#include "base/str.h"
#include "base/vec.h"
#include "daemon/access/identity.h"

#define PATH_BYTES 64 /* of the longest name in the set */

/* ---- the set of names ---- */

typedef enum moment { GROWS, AT_ONCE, AT_END, WHEN_ASKED } moment;

static const struct rank_file {
    const char *format; /* of the rank's number */
    moment when;
} rank_files[] = {
    {"logs/rank-%d.out", GROWS},
    {"logs/rank-%d.err", GROWS},
    {"failures/rank-%d.json", AT_ONCE},
    {"ranks/rank-%d.pid", AT_ONCE},
    {"ranks/rank-%d.exit", AT_END},
    {REID_FLIGHT_DIR "/rank-%d.mpi", WHEN_ASKED},
    {REID_FLIGHT_DIR "/rank-%d.nccl", WHEN_ASKED},
};

static const struct other_file {
    const char *path;
    moment when;
    bool rank0; /* only with rank 0 */
} other_files[] = {
    {"logs/launcher.log", GROWS, false},
    {"rank0.spool", GROWS, true},
    {"outcome.json", AT_END, true},
};

typedef void each_name(const char *path, moment when, void *user);

static void for_each(reidd_mirror_ranks ranks, each_name *each, void *user)
{
    char path[PATH_BYTES];
    for (size_t i = 0; i < REID_COUNT_OF(other_files); i++)
        if (!other_files[i].rank0 || ranks.first == 0)
            each(other_files[i].path, other_files[i].when, user);
    for (int rank = ranks.first; rank < ranks.first + ranks.count; rank++)
        for (size_t i = 0; i < REID_COUNT_OF(rank_files); i++) {
            snprintf(path, sizeof path, rank_files[i].format, rank);
            each(path, rank_files[i].when, user);
        }
}

/* ---- member ---- */

typedef struct mirrored {
    char *path;
    moment when;
    int64_t have; /* at the head; of a whole file: 1 when it is there */
    bool asked;   /* WHEN_ASKED: not sent since */
    bool on_way;  /* a piece that is not answered */
    bool due;     /* AT_END: it was there at the beginning of this look */
    bool stuck;   /* the head could not write: not before the next step */
} mirrored;

struct reidd_mirror {
    char *folder;
    reidd_mirror_send *send;
    void *user;
    REID_VEC(mirrored) files;
    char *buffer;
};

static void add_file(const char *path, moment when, void *user)
{
    reidd_mirror *mirror = user;
    const mirrored file = {.path = reid_xstrdup(path), .when = when};
    reid_vec_push(&mirror->files, file);
}

reidd_mirror *reidd_mirror_new(const char *folder, reidd_mirror_ranks ranks,
                               reidd_mirror_send *send, void *user)
{
    reidd_mirror *mirror = reid_xcalloc(1, sizeof *mirror);
    mirror->folder = reid_xstrdup(folder);
    mirror->send = send;
    mirror->user = user;
    mirror->buffer = reid_xmalloc(REIDD_MIRROR_PIECE);
    for_each(ranks, add_file, mirror);
    return mirror;
}

void reidd_mirror_free(reidd_mirror *mirror)
{
    if (!mirror)
        return;
    for (size_t i = 0; i < mirror->files.count; i++)
        free(mirror->files.items[i].path);
    reid_vec_fini(&mirror->files);
    free(mirror->folder);
    free(mirror->buffer);
    free(mirror);
}

void reidd_mirror_restart(reidd_mirror *mirror)
{
    for (size_t i = 0; i < mirror->files.count; i++) {
        mirrored *file = &mirror->files.items[i];
        if (file->when == GROWS)
            file->have = 0;
        file->asked = file->asked || (file->when == WHEN_ASKED && file->on_way);
        file->on_way = file->stuck = false;
    }
}

/* -1: not there. */
static int64_t size_of(const reidd_mirror *mirror, const mirrored *file)
{
    REID_AUTOFREE char *path = reid_path_join(mirror->folder, file->path);
    struct stat info;
    REIDD_AS_OWNER(mirror->folder);
    return lstat(path, &info) == 0 && S_ISREG(info.st_mode) ? (int64_t)info.st_size : -1;
}

static bool is_there(const reidd_mirror *mirror, const mirrored *file)
{
    int64_t size = size_of(mirror, file);
    if (file->when == WHEN_ASKED)
        return size < 0 || !(file->asked || file->on_way);
    return file->when == GROWS ? size <= file->have : size < 0 || file->have > 0;
}

static int open_file(const reidd_mirror *mirror, const mirrored *file)
{
    REID_AUTOFREE char *path = reid_path_join(mirror->folder, file->path);
    REIDD_AS_OWNER(mirror->folder);
    return open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
}

static void send_flight(reidd_mirror *mirror, mirrored *file)
{
    REID_AUTOFREE char *path = reid_path_join(mirror->folder, file->path);
    REID_AUTOFREE char *data = NULL;
    size_t size = 0;
    if (file->on_way || !file->asked)
        return;
    REIDD_AS_OWNER(mirror->folder);
    if (reid_flight_copy(path, &data, &size, NULL) != REID_OK || size > REIDD_MIRROR_WHOLE) {
        file->asked = false;
        return;
    }
    const reidd_mirror_piece piece = {
        .path = file->path, .data = data, .size = size, .whole = true};
    file->on_way = mirror->send(&piece, mirror->user) == REID_OK;
    file->asked = !file->on_way;
}

/* The next piece of the file, if there is one. */
static void send_piece(reidd_mirror *mirror, mirrored *file)
{
    bool whole = file->when != GROWS;
    if (file->on_way || file->stuck || is_there(mirror, file))
        return;
    int fd = open_file(mirror, file);
    if (fd < 0)
        return;
    int64_t offset = whole ? 0 : file->have;
    ssize_t size =
        pread(fd, mirror->buffer, whole ? REIDD_MIRROR_WHOLE : REIDD_MIRROR_PIECE, (off_t)offset);
    close(fd);
    if (size <= 0)
        return;
    const reidd_mirror_piece piece = {.path = file->path,
                                      .offset = offset,
                                      .data = mirror->buffer,
                                      .size = (size_t)size,
                                      .whole = whole};
    file->on_way = mirror->send(&piece, mirror->user) == REID_OK;
}

static void look(reidd_mirror *mirror)
{
    bool level = true; /* all growing files are sent as far as they were */
    for (size_t i = 0; i < mirror->files.count; i++) {
        mirrored *file = &mirror->files.items[i];
        if (file->when == AT_END)
            file->due = size_of(mirror, file) >= 0;
    }
    for (size_t i = 0; i < mirror->files.count; i++) {
        mirrored *file = &mirror->files.items[i];
        if (file->when == AT_END)
            continue;
        if (file->when == WHEN_ASKED)
            send_flight(mirror, file);
        else
            send_piece(mirror, file);
        level = level && (file->when != GROWS || is_there(mirror, file));
    }
    for (size_t i = 0; level && i < mirror->files.count; i++)
        if (mirror->files.items[i].due)
            send_piece(mirror, &mirror->files.items[i]);
}

void reidd_mirror_ask_flight(reidd_mirror *mirror)
{
    for (size_t i = 0; i < mirror->files.count; i++)
        mirror->files.items[i].asked = mirror->files.items[i].when == WHEN_ASKED;
}

void reidd_mirror_step(reidd_mirror *mirror)
{
    for (size_t i = 0; i < mirror->files.count; i++)
        mirror->files.items[i].stuck = false;
    look(mirror);
}

void reidd_mirror_ack(reidd_mirror *mirror, const char *path, int64_t size)
{
    for (size_t i = 0; i < mirror->files.count; i++) {
        mirrored *file = &mirror->files.items[i];
        if (strcmp(file->path, path) != 0)
            continue;
        bool was_on_way = file->on_way;
        int64_t before = file->have;
        file->on_way = false;
        file->have = file->when == GROWS ? REID_MAX(size, 0) : size > 0;
        file->stuck = was_on_way && file->have <= before;
        if (was_on_way)
            look(mirror);
        return;
    }
}

bool reidd_mirror_is_complete(reidd_mirror *mirror)
{
    for (size_t i = 0; i < mirror->files.count; i++)
        if (!is_there(mirror, &mirror->files.items[i]))
            return false;
    return true;
}

/* ---- head ---- */

typedef struct name_search {
    const char *path;
    bool found;
    moment when;
} name_search;

static void compare_name(const char *path, moment when, void *user)
{
    name_search *search = user;
    if (strcmp(path, search->path) != 0)
        return;
    search->found = true;
    search->when = when;
}

/* The name at the head, "logs/launcher-node2.log" for "logs/launcher.log". Caller frees. */
static char *name_at_head(const char *path, const char *node)
{
    if (strcmp(path, "logs/launcher.log") == 0)
        return reid_xasprintf("logs/launcher-%s.log", node);
    if (reid_str_ends(path, ".pid"))
        return reid_xasprintf("%.*s.away", (int)(strlen(path) - 4), path);
    return reid_xstrdup(path);
}

/* The folder may be its user's: no link in it is followed. */
static int open_folder(const char *folder, const char *name)
{
    int root = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const char *slash = strchr(name, '/');
    if (root < 0 || !slash)
        return root;
    REID_AUTOFREE char *part = reid_xstrndup(name, (size_t)(slash - name));
    int fd = openat(root, part, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 && errno == ENOENT && mkdirat(root, part, 0700) == 0)
        fd = openat(root, part, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    close(root);
    return fd;
}

static bool write_at(int fd, const char *data, size_t size, int64_t offset)
{
    while (size > 0) {
        ssize_t n = pwrite(fd, data, size, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        data += n;
        size -= (size_t)n;
        offset += n;
    }
    return true;
}

/* Returns the size that is there then. */
static int64_t append(int folder_fd, const char *base, const reidd_mirror_piece *piece,
                      bool *ret_gap)
{
    struct stat info;
    int64_t size = -1;
    int fd =
        openat(folder_fd, base, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (fd < 0)
        return -1;
    if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode)) {
        *ret_gap = piece->offset > info.st_size;
        int64_t known = REID_MIN(info.st_size - piece->offset, (int64_t)piece->size);
        if (!*ret_gap)
            write_at(fd, (const char *)piece->data + known, piece->size - (size_t)known,
                     piece->offset + known);
        if (fstat(fd, &info) == 0)
            size = info.st_size;
    }
    close(fd);
    return size;
}

static int64_t replace(int folder_fd, const char *base, const reidd_mirror_piece *piece)
{
    REID_AUTOFREE char *temp = reid_xasprintf("%s.mirror", base);
    int fd = openat(folder_fd, temp,
                    O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (fd < 0)
        return -1;
    bool good = write_at(fd, piece->data, piece->size, 0);
    good = close(fd) == 0 && good;
    if (good && renameat(folder_fd, temp, folder_fd, base) == 0)
        return (int64_t)piece->size;
    int number = errno;
    unlinkat(folder_fd, temp, 0);
    errno = number;
    return -1;
}

reid_status reidd_mirror_take(const char *folder, const char *node, reidd_mirror_ranks ranks,
                              const reidd_mirror_piece *piece, int64_t *ret_size, reid_error *err)
{
    name_search search = {.path = piece->path};
    for_each(ranks, compare_name, &search);
    size_t most = piece->whole ? REIDD_MIRROR_WHOLE : REIDD_MIRROR_PIECE;
    if (!search.found || piece->whole != (search.when != GROWS))
        return reid_fail(err, REID_ERR_INVALID, "%s may not write '%.100s'", node, piece->path);
    if (piece->size == 0 || piece->size > most || piece->offset < 0)
        return reid_fail(err, REID_ERR_INVALID, "%s has sent a piece of '%s' of %zu bytes", node,
                         piece->path, piece->size);
    REID_AUTOFREE char *name = name_at_head(piece->path, node);
    bool gap = false;
    REIDD_AS_OWNER(folder); /* as its ranks here would have made it */
    int fd = open_folder(folder, name);
    int64_t size = fd < 0         ? -1
                   : piece->whole ? replace(fd, reid_path_base(name), piece)
                                  : append(fd, reid_path_base(name), piece, &gap);
    if (fd >= 0)
        close(fd);
    if (gap)
        return reid_fail(err, REID_ERR_INVALID, "%s has left a gap in '%s'", node, piece->path);
    if (size < 0)
        reid_log_warn("cluster a file of %s cannot be written path=%s/%s: %s", node, folder, name,
                      strerror(errno));
    *ret_size = size;
    return REID_OK;
}

typedef struct size_look {
    const char *folder, *node;
    void (*each)(const char *path, int64_t size, void *user);
    void *user;
} size_look;

static void look_at_size(const char *path, moment when, void *user)
{
    const size_look *look_for = user;
    if (when != GROWS)
        return;
    REID_AUTOFREE char *name = name_at_head(path, look_for->node);
    REID_AUTOFREE char *full = reid_path_join(look_for->folder, name);
    struct stat info;
    REIDD_AS_OWNER(look_for->folder);
    if (lstat(full, &info) == 0 && S_ISREG(info.st_mode))
        look_for->each(path, (int64_t)info.st_size, look_for->user);
}

void reidd_mirror_each(const char *folder, const char *node, reidd_mirror_ranks ranks,
                       void (*each)(const char *path, int64_t size, void *user), void *user)
{
    size_look look_for = {.folder = folder, .node = node, .each = each, .user = user};
    for_each(ranks, look_at_size, &look_for);
}
