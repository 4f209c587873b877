/* bench_rpc [seconds [TLS_FOLDER]]: calls a second over a Unix socket, or over TCP with mutual TLS,
 * one client after the other way of calling. Server and client are threads of this program;
 * `taskset -c 0 bench_rpc` gives the figure for one core. Not a test. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "echo.h"
#include "rpc/channel.h"
#include "rpc/client.h"

typedef Reid__Test__Ask ask;

static reid_rpc_tls *tls; /* NULL: a Unix socket */

static void check(reid_status status, const reid_error *err)
{
    if (status == REID_OK)
        return;
    fprintf(stderr, "bench_rpc: %s\n", err->text);
    exit(1);
}

static void blocking_unary(const char *address, double seconds)
{
    reid_error err = {0};
    reid_rpc_client *client;
    check(reid_rpc_client_connect_tls(address, tls, 0, &client, &err), &err);
    ask request = REID__TEST__ASK__INIT;
    request.text = (char *)(uintptr_t) "0123456789abcdef";
    double start = reid_clock_seconds(), now = start;
    long calls = 0;
    for (; now - start < seconds; now = reid_clock_seconds(), calls++) {
        ProtobufCMessage *answer;
        check(reid_rpc_client_unary(client, ECHO_PATH "Say", &request.base,
                                    &reid__test__answer__descriptor, 5000, &answer, &err),
              &err);
        protobuf_c_message_free_unpacked(answer, NULL);
    }
    printf("unary, one after the other:     %9.0f calls/s\n", (double)calls / (now - start));
    reid_rpc_client_free(client);
}

/* ---- many calls at once on one channel ---- */

typedef struct load {
    uv_loop_t loop;
    reid_rpc_channel *channel;
    double start, seconds;
    long calls;
    int open;
} load;

static void next_call(load *l);

static void closed(reid_rpc_stream *stream, const reid_error *end, void *user)
{
    load *l = user;
    check(end->code, end);
    l->calls++;
    l->open--;
    if (reid_clock_seconds() - l->start < l->seconds)
        next_call(l);
    else if (l->open == 0)
        reid_rpc_channel_close(l->channel);
}

static void next_call(load *l)
{
    const reid_rpc_stream_events events = {.on_close = closed};
    ask request = REID__TEST__ASK__INIT;
    request.text = (char *)(uintptr_t) "0123456789abcdef";
    reid_error err = {0};
    reid_rpc_stream *stream;
    check(reid_rpc_channel_open(l->channel, ECHO_PATH "Say", &reid__test__answer__descriptor,
                                &events, l, NULL, &stream, &err),
          &err);
    check(reid_rpc_stream_send(stream, &request.base), &err);
    reid_rpc_stream_half_close(stream);
    l->open++;
}

static void parallel_unary(const char *address, double seconds, int at_once)
{
    load l = {.seconds = seconds, .start = reid_clock_seconds()};
    reid_error err = {0};
    uv_loop_init(&l.loop);
    check(reid_rpc_channel_connect_tls(&l.loop, address, tls, 0, NULL, NULL, &l.channel, &err),
          &err);
    for (int i = 0; i < at_once; i++)
        next_call(&l);
    uv_run(&l.loop, UV_RUN_DEFAULT);
    printf("unary, %3d at once:             %9.0f calls/s\n", at_once,
           (double)l.calls / (reid_clock_seconds() - l.start));
    uv_loop_close(&l.loop);
}

static void server_stream(const char *address, double seconds, int size)
{
    reid_error err = {0};
    reid_rpc_client *client;
    reid_rpc_client_stream *stream;
    check(reid_rpc_client_connect_tls(address, tls, 0, &client, &err), &err);
    ask request = REID__TEST__ASK__INIT;
    request.size = size;
    check(reid_rpc_client_start(client, ECHO_PATH "Tell", &request.base,
                                &reid__test__answer__descriptor, &stream, &err),
          &err);
    double start = reid_clock_seconds(), now = start;
    long messages = 0;
    for (; now - start < seconds; now = reid_clock_seconds(), messages++) {
        ProtobufCMessage *answer;
        check(reid_rpc_client_next(stream, 5000, &answer, &err), &err);
        protobuf_c_message_free_unpacked(answer, NULL);
    }
    printf("server stream of %7d bytes: %9.0f messages/s, %.0f MB/s\n", size,
           (double)messages / (now - start), (double)messages * size / (now - start) / 1e6);
    reid_rpc_client_free(client);
}

static void connections(const char *address, double seconds)
{
    double start = reid_clock_seconds(), now = start;
    long count = 0;
    for (; now - start < seconds; now = reid_clock_seconds(), count++) {
        reid_error err = {0};
        reid_rpc_client *client;
        check(reid_rpc_client_connect_tls(address, tls, 0, &client, &err), &err);
        reid_rpc_client_free(client);
    }
    printf("connections, one by one:        %9.0f a second\n", (double)count / (now - start));
}

int main(int argc, char **argv)
{
    double seconds = argc > 1 ? strtod(argv[1], NULL) : 2;
    reid_error err = {0};
    if (argc > 2)
        check(reid_rpc_tls_new(argv[2], &tls, &err), &err);
    echo_server *server = echo_server_new_tls(NULL, tls);
    const char *address = echo_server_address(server);
    blocking_unary(address, seconds);
    parallel_unary(address, seconds, 1);
    parallel_unary(address, seconds, 64);
    server_stream(address, seconds, 100);
    server_stream(address, seconds, 64 << 10);
    server_stream(address, seconds, 4000000);
    connections(address, seconds);
    echo_server_free(server);
    reid_rpc_tls_free(tls);
    return 0;
}
