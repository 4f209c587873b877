/* bench_fanout_client ADDRESS JOB SUBSCRIBERS SILENT [watch|own]: many subscribers to a job's
 * metrics in one program, or watchers of the job; those, and with "own" subscribers, have a
 * connection each. The last SILENT of them never read, and have connections of their own. Prints
 * "ready" when the readers have caught up; when
 * their streams have ended, or standard input has, a JSON line: rows and points received, the
 * fewest and most rows of a reader, seconds from the first row after "ready" to the last, CPU
 * seconds. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "reid/v1/job.pb-c.h"
#include "rpc/channel.h"

enum { STREAMS_PER_CONNECTION = 100 };

struct client;

typedef struct subscriber {
    struct client *client;
    int64_t rows;
    bool silent, caught_up;
} subscriber;

typedef struct client {
    uv_loop_t loop;
    uv_pipe_t input;
    char *address, *job;
    int count, silent, waiting, open;
    bool watch, own;
    subscriber *subscribers;
    int64_t points;
    double first_s, last_s;
} client;

static void fail(const reid_error *err)
{
    fprintf(stderr, "bench_fanout_client: %s\n", err->text);
    exit(1);
}

static void report(const client *c)
{
    struct timespec cpu;
    int64_t rows = 0, fewest = INT64_MAX, most = 0;
    for (int i = 0; i < c->count - c->silent; i++) {
        rows += c->subscribers[i].rows;
        fewest = REID_MIN(fewest, c->subscribers[i].rows);
        most = REID_MAX(most, c->subscribers[i].rows);
    }
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    printf("{\"rows\": %" PRId64 ", \"points\": %" PRId64 ", \"fewest\": %" PRId64
           ", \"most\": %" PRId64 ", \"seconds\": %.4f, \"cpu_seconds\": %.4f}\n",
           rows, c->points, fewest, most, c->last_s - c->first_s,
           (double)cpu.tv_sec + (double)cpu.tv_nsec * 1e-9);
}

static void note_ready(subscriber *s)
{
    s->caught_up = true;
    if (--s->client->waiting == 0) {
        printf("ready\n");
        fflush(stdout);
    }
}

/* A watcher's points are the jobs that it was sent. */
static void on_job(reid_rpc_stream *stream, const ProtobufCMessage *message, void *user)
{
    subscriber *s = user;
    s->rows++;
    s->client->points++;
    if (!s->caught_up)
        note_ready(s);
}

static void on_message(reid_rpc_stream *stream, const ProtobufCMessage *message, void *user)
{
    subscriber *s = user;
    client *c = s->client;
    const Reid__V1__MetricsChunk *chunk = (const Reid__V1__MetricsChunk *)message;
    if (c->waiting == 0) {
        c->last_s = reid_clock_seconds();
        if (c->first_s == 0)
            c->first_s = c->last_s;
        s->rows += (int64_t)chunk->n_rows;
        for (size_t i = 0; i < chunk->n_rows; i++)
            c->points += (int64_t)chunk->rows[i]->n_scalars;
    }
    if (chunk->caught_up && !s->caught_up)
        note_ready(s);
}

static void on_close(reid_rpc_stream *stream, const reid_error *end, void *user)
{
    subscriber *s = user;
    if (end->code != REID_OK && !s->silent)
        fail(end);
    if (!s->silent && --s->client->open == 0)
        uv_stop(&s->client->loop);
}

static void on_lost(reid_rpc_channel *channel, const reid_error *why, void *user)
{
    fail(why);
}

static void on_buffer(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    static char bytes[64];
    *buffer = uv_buf_init(bytes, sizeof bytes);
}

static void on_input(uv_stream_t *input, ssize_t count, const uv_buf_t *buffer)
{
    if (count < 0)
        uv_stop(input->loop);
}

static void watch(client *c, reid_rpc_channel *channel, subscriber *s)
{
    const reid_rpc_stream_events events = {.on_message = on_job, .on_close = on_close};
    const reid_rpc_stream_options options = {.paused = s->silent};
    Reid__V1__WatchJobRequest request = REID__V1__WATCH_JOB_REQUEST__INIT;
    reid_rpc_stream *stream;
    reid_error err = {0};
    if (reid_rpc_channel_open(channel, "/reid.v1.JobService/Watch", &reid__v1__job__descriptor,
                              &events, s, &options, &stream, &err) != REID_OK)
        fail(&err);
    request.id = c->job;
    reid_rpc_stream_send(stream, &request.base);
    reid_rpc_stream_half_close(stream);
}

static void subscribe(client *c, reid_rpc_channel *channel, subscriber *s)
{
    const reid_rpc_stream_events events = {.on_message = on_message, .on_close = on_close};
    const reid_rpc_stream_options options = {.paused = s->silent};
    reid_rpc_stream *stream;
    reid_error err = {0};
    if (reid_rpc_channel_open(channel, "/reid.v1.JobService/Metrics",
                              &reid__v1__metrics_chunk__descriptor, &events, s, &options, &stream,
                              &err) != REID_OK)
        fail(&err);
    Reid__V1__MetricsRequest request = REID__V1__METRICS_REQUEST__INIT;
    request.id = c->job;
    request.follow = true;
    reid_rpc_stream_send(stream, &request.base);
    reid_rpc_stream_half_close(stream);
}

static void connect_all(client *c)
{
    const reid_rpc_channel_events events = {.on_lost = on_lost};
    reid_rpc_channel *channel = NULL;
    reid_error err = {0};
    for (int i = 0; i < c->count; i++) {
        subscriber *s = &c->subscribers[i];
        *s = (subscriber){.client = c, .silent = i >= c->count - c->silent};
        if ((c->own || s->silent || i % STREAMS_PER_CONNECTION == 0) &&
            reid_rpc_channel_connect(&c->loop, c->address, 0, &events, c, &channel, &err) !=
                REID_OK)
            fail(&err);
        (c->watch ? watch : subscribe)(c, channel, s);
    }
}

int main(int argc, char **argv)
{
    bool watch = argc == 6 && strcmp(argv[5], "watch") == 0;
    if (argc != 5 && !watch && (argc != 6 || strcmp(argv[5], "own") != 0)) {
        fprintf(stderr, "bench_fanout_client ADDRESS JOB SUBSCRIBERS SILENT [watch|own]\n");
        return 2;
    }
    client c = {.address = argv[1],
                .job = argv[2],
                .count = (int)strtol(argv[3], NULL, 10),
                .silent = (int)strtol(argv[4], NULL, 10),
                .watch = watch,
                .own = argc == 6};
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) { /* a connection each */
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    c.waiting = c.open = c.count - c.silent;
    c.subscribers = reid_xcalloc((size_t)c.count, sizeof *c.subscribers);
    uv_loop_init(&c.loop);
    connect_all(&c);
    uv_pipe_init(&c.loop, &c.input, 0);
    uv_pipe_open(&c.input, 0);
    uv_read_start((uv_stream_t *)&c.input, on_buffer, on_input);
    uv_run(&c.loop, UV_RUN_DEFAULT);
    report(&c);
    return 0;
}
