#include "daemon/hub/tail.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/file.h"
#include "base/str.h"
#include "base/vec.h"
#include "daemon/access/identity.h"
#include "daemon/exec/files.h"

#define BACK_LIMIT_BYTES (16 << 20) /* how far back the last lines are looked for */

typedef struct source {
    char *path;
    char *node; /* NULL: this one */
    int rank;
    bool from_stderr;
    bool begun; /* the offset is set */
    int64_t offset;
    int64_t seen_size; /* at the last look */
    int idle;          /* looks that found an unfinished line and nothing new */
} source;

struct reidd_tail {
    char *folder; /* of the attempt */
    REID_VEC(source) sources;
    size_t current; /* of the last piece */
    size_t taken;   /* its size */
    int64_t tail_lines;
    bool launchers;          /* are wanted */
    struct timespec settled; /* when logs/ had changed last, at a look for launchers of others */
};

#define LAUNCHER "launcher" /* launcher.log, launcher-NODE.log */

static void add_source(reidd_tail *tail, char *own_path, int rank, bool from_stderr)
{
    const source added = {.path = own_path, .rank = rank, .from_stderr = from_stderr};
    reid_vec_push(&tail->sources, added);
}

/* The name between "launcher-" and ".log"; caller frees. NULL: it is another file. */
static char *node_of(const char *name)
{
    static const char before[] = LAUNCHER "-", after[] = ".log";
    size_t length = strlen(name), around = sizeof before - 1 + sizeof after - 1;
    if (length <= around || !reid_str_starts(name, before) || !reid_str_ends(name, after))
        return NULL;
    return reid_xstrndup(name + sizeof before - 1, length - around);
}

static void add_launcher(reidd_tail *tail, const char *name)
{
    char *node = node_of(name);
    for (size_t i = 0; node && i < tail->sources.count; i++) {
        const char *known = tail->sources.items[i].node;
        if (known && strcmp(known, node) == 0) {
            free(node);
            return;
        }
    }
    if (!node)
        return;
    REID_AUTOFREE char *within = reid_xasprintf("logs/%s", name);
    add_source(tail, reidd_attempt_path(tail->folder, within), -1, false);
    tail->sources.items[tail->sources.count - 1].node = node;
}

/* Those of other nodes come when there is something in them. True: one has come. */
static bool find_launchers(reidd_tail *tail)
{
    struct stat info;
    reid_dir_entry *entries = NULL;
    size_t count = 0, before = tail->sources.count;
    REID_AUTOFREE char *logs = reidd_attempt_path(tail->folder, "logs");
    if (!tail->launchers || stat(logs, &info) != 0 ||
        (info.st_mtim.tv_sec == tail->settled.tv_sec &&
         info.st_mtim.tv_nsec == tail->settled.tv_nsec) ||
        reid_dir_list(logs, &entries, &count, NULL) != REID_OK)
        return false;
    if (llabs(time(NULL) - info.st_mtim.tv_sec) > 1) /* another may come in the same tick */
        tail->settled = info.st_mtim;
    for (size_t i = 0; i < count; i++)
        add_launcher(tail, entries[i].name);
    reid_dir_free(entries, count);
    return tail->sources.count > before;
}

static void add_rank(reidd_tail *tail, const char *folder, int rank)
{
    if (rank < 0) {
        tail->launchers = true;
        add_source(tail, reidd_attempt_path(folder, "logs/" LAUNCHER ".log"), -1, false);
        return;
    }
    add_source(tail, reidd_rank_path(folder, "logs", rank, "out"), rank, false);
    add_source(tail, reidd_rank_path(folder, "logs", rank, "err"), rank, true);
}

reidd_tail *reidd_tail_new(const char *attempt_folder, const int32_t *ranks, size_t count,
                           int world, int64_t tail_lines)
{
    reidd_tail *tail = reid_xcalloc(1, sizeof *tail);
    tail->folder = reid_xstrdup(attempt_folder);
    tail->tail_lines = tail_lines;
    for (size_t i = 0; i < count; i++)
        add_rank(tail, attempt_folder, ranks[i]);
    for (int rank = -1; count == 0 && rank < world; rank++)
        add_rank(tail, attempt_folder, rank);
    return tail;
}

void reidd_tail_free(reidd_tail *tail)
{
    if (!tail)
        return;
    for (size_t i = 0; i < tail->sources.count; i++) {
        free(tail->sources.items[i].path);
        free(tail->sources.items[i].node);
    }
    reid_vec_fini(&tail->sources);
    free(tail->folder);
    free(tail);
}

/* Where the last `lines` lines begin. A last line without its end counts as one. */
static int64_t find_tail(int fd, int64_t size, int64_t lines)
{
    char block[4096];
    int64_t position = size, lowest = REID_MAX(size - BACK_LIMIT_BYTES, 0);
    while (position > lowest) {
        int64_t from = REID_MAX(position - (int64_t)sizeof block, lowest);
        ssize_t n = pread(fd, block, (size_t)(position - from), from);
        if (n <= 0)
            break;
        for (ssize_t i = n - 1; i >= 0; i--)
            if (block[i] == '\n' && from + i != size - 1 && --lines == 0)
                return from + i + 1;
        position = from;
    }
    return position;
}

/* How much of the bytes is handed out now. */
static size_t cut(source *s, const char *data, size_t size, int64_t file_size, bool ended)
{
    const char *newline = memrchr(data, '\n', size);
    if (ended && size < REIDD_TAIL_CHUNK_BYTES)
        return size;
    if (size == REIDD_TAIL_CHUNK_BYTES) /* at a line's end if there is one */
        return newline ? (size_t)(newline - data) + 1 : size;
    if (newline) {
        s->idle = 0;
        return (size_t)(newline - data) + 1;
    }
    s->idle = file_size == s->seen_size ? s->idle + 1 : 0;
    s->seen_size = file_size;
    return s->idle >= REIDD_TAIL_PATIENCE ? size : 0;
}

static size_t read_source(reidd_tail *tail, source *s, bool ended,
                          char buffer[REIDD_TAIL_CHUNK_BYTES])
{
    struct stat info;
    if (stat(s->path, &info) != 0 || (s->begun && info.st_size == s->offset))
        return 0;
    int fd = open(s->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return 0;
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        close(fd);
        return 0;
    }
    if (!s->begun && tail->tail_lines > 0)
        s->offset = find_tail(fd, info.st_size, tail->tail_lines);
    s->begun = true;
    if (info.st_size < s->offset) /* somebody has cut it */
        s->offset = info.st_size;
    ssize_t n = pread(fd, buffer, REIDD_TAIL_CHUNK_BYTES, s->offset);
    close(fd);
    return n > 0 ? cut(s, buffer, (size_t)n, info.st_size, ended) : 0;
}

static bool next_piece(reidd_tail *tail, bool ended, reidd_tail_chunk *ret_chunk)
{
    for (size_t i = 0; i < tail->sources.count; i++) {
        size_t index = (tail->current + i) % tail->sources.count;
        source *s = &tail->sources.items[index];
        size_t size = read_source(tail, s, ended, ret_chunk->buffer);
        if (size == 0)
            continue;
        tail->current = index;
        tail->taken = size;
        ret_chunk->rank = s->rank;
        ret_chunk->node = s->node ? s->node : "";
        ret_chunk->from_stderr = s->from_stderr;
        ret_chunk->data = ret_chunk->buffer;
        ret_chunk->size = size;
        ret_chunk->offset = s->offset;
        return true;
    }
    return false;
}

bool reidd_tail_next(reidd_tail *tail, bool ended, reidd_tail_chunk *ret_chunk)
{
    REIDD_AS_OWNER(tail->folder);
    return next_piece(tail, ended, ret_chunk) ||
           (find_launchers(tail) && next_piece(tail, ended, ret_chunk));
}

void reidd_tail_accept(reidd_tail *tail)
{
    source *s = &tail->sources.items[tail->current];
    s->offset += (int64_t)tail->taken;
    s->idle = 0;
    tail->taken = 0;
}
