#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/vec.h"
#include "feed.h"
#include "out/style.h"
#include "out/text.h"

#define SLICE_MS 200
#define LINE_BYTES ((size_t)64 << 10) /* a longer one is broken when it has a rank before it */

typedef struct log {
    int32_t rank;
    bool from_stderr;
    char *node;     /* of a launcher; "": the head's own */
    int64_t next;   /* offset of the byte that comes next */
    reid_str start; /* of a line whose end has not come; only when lines get prefixes */
} log;

typedef struct logs {
    reidctl *ctl;
    reidctl_feeds feeds;
    Reid__V1__LogsRequest request;
    REID_VEC(log) all;
    bool prefix; /* lines of several ranks */
} logs;

static log *get_log(logs *l, const Reid__V1__LogChunk *chunk)
{
    for (size_t i = 0; i < l->all.count; i++)
        if (l->all.items[i].rank == chunk->rank &&
            l->all.items[i].from_stderr == (chunk->from_stderr != 0) &&
            strcmp(l->all.items[i].node, chunk->node) == 0)
            return &l->all.items[i];
    log new = {.rank = chunk->rank,
               .from_stderr = chunk->from_stderr,
               .node = reid_xstrdup(chunk->node),
               .next = chunk->offset};
    reid_vec_push(&l->all, new);
    return &l->all.items[l->all.count - 1];
}

/* To a terminal only what is harmless; to a file or a pipe the bytes as they are. */
static void print_bytes(const logs *l, const char *data, size_t size)
{
    reid_str clean = REID_STR_INIT;
    if (!l->ctl->terminal) {
        fwrite(data, 1, size, stdout);
        return;
    }
    reidctl_add_clean_log(&clean, data, size);
    fwrite(reid_str_text(&clean), 1, clean.length, stdout);
    reid_str_fini(&clean);
}

static void print_launcher(const log *of, const char *dim, const char *plain)
{
    reid_str node = REID_STR_INIT;
    reidctl_add_clean(&node, of->node);
    printf("%s[launcher%s%s]%s ", dim, node.length > 0 ? " " : "", reid_str_text(&node), plain);
    reid_str_fini(&node);
}

static void print_start(const logs *l, log *of)
{
    if (of->start.length == 0)
        return;
    const char *dim = reidctl_dim(l->ctl->color), *plain = reidctl_plain(l->ctl->color);
    if (of->rank >= 0)
        printf("%s[%d]%s ", dim, of->rank, plain);
    else
        print_launcher(of, dim, plain);
    print_bytes(l, of->start.data, of->start.length);
    if (of->start.data[of->start.length - 1] != '\n')
        putchar('\n');
    reid_str_clear(&of->start);
}

static void print_lines(const logs *l, log *of, const char *data, size_t size)
{
    while (size > 0) {
        const char *end = memchr(data, '\n', size);
        size_t length = end != NULL ? (size_t)(end - data) + 1 : size;
        length = REID_MIN(length, LINE_BYTES - of->start.length);
        reid_str_add_bytes(&of->start, data, length);
        if (data[length - 1] == '\n' || of->start.length == LINE_BYTES)
            print_start(l, of);
        data += length;
        size -= length;
    }
}

static void take_chunk(logs *l, const Reid__V1__LogChunk *chunk)
{
    log *of = get_log(l, chunk);
    int64_t seen = of->next - chunk->offset; /* bytes that came before the connection was lost */
    if (seen < 0)
        seen = 0;
    if ((uint64_t)seen >= chunk->data.len)
        return;
    const char *data = (const char *)chunk->data.data + seen;
    size_t size = chunk->data.len - (size_t)seen;
    of->next = chunk->offset + (int64_t)chunk->data.len;
    if (l->prefix)
        print_lines(l, of, data, size);
    else
        print_bytes(l, data, size);
    fflush(stdout);
}

static int print_stream(logs *l)
{
    reid_error err = {0};
    for (;;) {
        ProtobufCMessage *message = NULL;
        reid_status status = reidctl_feeds_next(&l->feeds, 0, SLICE_MS, &message, &err);
        bool ended = status == REID_OK && message == NULL;
        if (message != NULL) {
            take_chunk(l, (const Reid__V1__LogChunk *)message);
            protobuf_c_message_free_unpacked(message, NULL);
            l->request.tail_lines = 0; /* after a loss the offsets tell what is new */
        }
        if (ended && l->request.follow)
            status = reidctl_feeds_check_end(&l->feeds, l->request.id, &ended, &err);
        if (status != REID_OK && status != REID_ERR_TIMEOUT)
            return reidctl_report(&err);
        if (ended)
            return REIDCTL_OK;
        if (reidctl_is_stopped())
            return REIDCTL_INTERRUPTED;
    }
}

static int show(logs *l, const Reid__V1__Job *job)
{
    reid_error err = {0};
    int32_t rank = (int32_t)l->ctl->args.rank;
    reid__v1__logs_request__init(&l->request);
    l->request.id = job->id;
    l->request.follow = l->ctl->args.follow;
    l->request.tail_lines = l->ctl->args.tail;
    /* The newest attempt as it is now, also when another one starts while reidd is away. */
    l->request.attempt = l->ctl->args.attempt > 0 ? (int32_t)l->ctl->args.attempt : job->attempt;
    if (rank != REIDCTL_ALL_RANKS) {
        l->request.ranks = &rank;
        l->request.n_ranks = 1;
    }
    /* Launchers are several when ranks are on several nodes. */
    l->prefix = (rank == REIDCTL_ALL_RANKS && job->ranks > 1) ||
                (rank == -1 && strchr(job->placement, ',') != NULL);
    reidctl_feed feed = {
        .method = "Logs", .request = &l->request.base, .output = &reid__v1__log_chunk__descriptor};
    int code = reidctl_feeds_init(&l->feeds, l->ctl, &feed, 1, &err) == REID_OK
                   ? print_stream(l)
                   : reidctl_report(&err);
    reidctl_feeds_fini(&l->feeds);
    for (size_t i = 0; i < l->all.count; i++) {
        print_start(l, &l->all.items[i]);
        free(l->all.items[i].node);
        reid_str_fini(&l->all.items[i].start);
    }
    reid_vec_fini(&l->all);
    return code;
}

int reidctl_cmd_logs(reidctl *ctl)
{
    reid_error err = {0};
    Reid__V1__Job *job = NULL;
    logs l = {.ctl = ctl};
    reidctl_catch_interrupt();
    if (reidctl_get_job(ctl, ctl->words[0], &job, &err) != REID_OK)
        return reidctl_report(&err);
    int code = show(&l, job);
    reid__v1__job__free_unpacked(job, NULL);
    return code;
}
