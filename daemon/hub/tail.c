#include "daemon/hub/tail.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/vec.h"
#include "daemon/access/identity.h"
#include "daemon/exec/files.h"

#define BACK_LIMIT_BYTES (16 << 20) /* how far back the last lines are looked for */

typedef struct source {
    char *path;
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
};

static void add_source(reidd_tail *tail, char *own_path, int rank, bool from_stderr)
{
    const source added = {.path = own_path, .rank = rank, .from_stderr = from_stderr};
    reid_vec_push(&tail->sources, added);
}

static void add_rank(reidd_tail *tail, const char *folder, int rank)
{
    if (rank < 0) {
        add_source(tail, reidd_attempt_path(folder, "logs/launcher.log"), -1, false);
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
    for (size_t i = 0; i < tail->sources.count; i++)
        free(tail->sources.items[i].path);
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

bool reidd_tail_next(reidd_tail *tail, bool ended, reidd_tail_chunk *ret_chunk)
{
    REIDD_AS_OWNER(tail->folder);
    for (size_t i = 0; i < tail->sources.count; i++) {
        size_t index = (tail->current + i) % tail->sources.count;
        source *s = &tail->sources.items[index];
        size_t size = read_source(tail, s, ended, ret_chunk->buffer);
        if (size == 0)
            continue;
        tail->current = index;
        tail->taken = size;
        ret_chunk->rank = s->rank;
        ret_chunk->from_stderr = s->from_stderr;
        ret_chunk->data = ret_chunk->buffer;
        ret_chunk->size = size;
        ret_chunk->offset = s->offset;
        return true;
    }
    return false;
}

void reidd_tail_accept(reidd_tail *tail)
{
    source *s = &tail->sources.items[tail->current];
    s->offset += (int64_t)tail->taken;
    s->idle = 0;
    tail->taken = 0;
}
