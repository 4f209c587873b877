/* bench_hook_client ADDRESS JOB sync|async: a hook on after_step that answers at once and does
 * nothing, as a program in C would be one. Prints its id and the first iteration that it sees,
 * leaves at the end of its standard input, and prints the events it got. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reid/v1/hook.pb-c.h"
#include "rpc/channel.h"

typedef struct client {
    uv_loop_t loop;
    uv_pipe_t input;
    reid_rpc_channel *channel;
    reid_rpc_stream *stream;
    int64_t events;
    int code;
} client;

static void fail(const reid_error *err)
{
    fprintf(stderr, "bench_hook_client: %s\n", err->text);
    exit(1);
}

static void on_message(reid_rpc_stream *stream, const ProtobufCMessage *message, void *user)
{
    client *c = user;
    const Reid__V1__HookDown *down = (const Reid__V1__HookDown *)message;
    if (down->kind_case == REID__V1__HOOK_DOWN__KIND_ATTACHED) {
        printf("%" PRId64 " %" PRId64 "\n", down->attached->hook, down->attached->iteration);
        fflush(stdout);
    }
    if (down->kind_case != REID__V1__HOOK_DOWN__KIND_EVENT)
        return;
    Reid__V1__HookVerdict verdict = REID__V1__HOOK_VERDICT__INIT;
    Reid__V1__HookUp up = REID__V1__HOOK_UP__INIT;
    verdict.event = down->event->number;
    up.kind_case = REID__V1__HOOK_UP__KIND_VERDICT;
    up.verdict = &verdict;
    reid_rpc_stream_send(stream, &up.base);
    c->events++;
}

static void on_close(reid_rpc_stream *stream, const reid_error *end, void *user)
{
    client *c = user;
    if (end->code != REID_OK)
        fail(end);
    printf("%" PRId64 "\n", c->events);
    uv_stop(&c->loop);
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
    client *c = input->data;
    if (count >= 0)
        return;
    uv_read_stop(input);
    reid_rpc_stream_half_close(c->stream);
}

static void register_hook(client *c, char *job, bool asynchronous)
{
    Reid__V1__HookPoint point = REID__V1__HOOK_POINT__HOOK_POINT_AFTER_STEP;
    Reid__V1__RegisterHook hook = REID__V1__REGISTER_HOOK__INIT;
    Reid__V1__HookUp up = REID__V1__HOOK_UP__INIT;
    hook.job = job;
    hook.name = (char *)"bench";
    hook.n_points = 1;
    hook.points = &point;
    hook.asynchronous = asynchronous;
    hook.deadline_seconds = 10;
    up.kind_case = REID__V1__HOOK_UP__KIND_REGISTER;
    up.register_ = &hook;
    reid_rpc_stream_send(c->stream, &up.base);
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "bench_hook_client ADDRESS JOB sync|async\n");
        return 2;
    }
    client c = {0};
    reid_error err = {0};
    const reid_rpc_channel_events channel = {.on_lost = on_lost};
    const reid_rpc_stream_events stream = {.on_message = on_message, .on_close = on_close};
    uv_loop_init(&c.loop);
    if (reid_rpc_channel_connect(&c.loop, argv[1], 0, &channel, &c, &c.channel, &err) != REID_OK ||
        reid_rpc_channel_open(c.channel, "/reid.v1.HookService/Attach",
                              &reid__v1__hook_down__descriptor, &stream, &c, NULL, &c.stream,
                              &err) != REID_OK)
        fail(&err);
    register_hook(&c, argv[2], strcmp(argv[3], "async") == 0);
    uv_pipe_init(&c.loop, &c.input, 0);
    uv_pipe_open(&c.input, 0);
    c.input.data = &c;
    uv_read_start((uv_stream_t *)&c.input, on_buffer, on_input);
    uv_run(&c.loop, UV_RUN_DEFAULT);
    return 0;
}
