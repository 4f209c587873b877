/* Bytes from a peer, to the server, to the client, and to the parsers below them. The first byte of
 * the input chooses: 0 server, from the first byte of the connection; 1 server, after a good
 * preface; 2 server, as the body of a call whose method the second byte chooses; 3 client, after
 * the server's SETTINGS; 4 the parsers. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "echo.h"
#include "grpc/reflection/v1/reflection.pb-c.h"
#include "harness/harness.h"
#include "raw.h"
#include "rpc/channel.h"
#include "rpc/descriptors.h"
#include "rpc/server_impl.h"
#include "rpc/text.h"
#include "rpc/unpack.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MOST_BYTES = 60000 }; /* fits the socket's buffer */

/* One server for all inputs; a crash that needs several inputs is still found by running the
 * folder. */
static struct {
    uv_loop_t loop;
    reid_rpc_server *server;
    echo_service echo;
    char *folder, path[100], address[110];
    int listener; /* for the client */
} world;

static void set_up(void)
{
    if (world.server)
        return;
    reid_log_setup(&(reid_log_options){.level = REID_LOG_OFF, .program = "fuzz", .rank = -1});
    reid_error err = {0};
    reid_rpc_limits limits = {
        .max_message_bytes = 20000, .max_queue_bytes = 20000, .max_streams = 20};
    world.folder = reid_test_dir_new();
    snprintf(world.path, sizeof world.path, "%s/s", world.folder);
    uv_loop_init(&world.loop);
    REID_ASSERT(reid_rpc_server_new(&world.loop, &limits, &world.server, &err) == REID_OK);
    echo_service_add(&world.echo, world.server);
    reid_rpc_server_add_health(world.server);
    REID_ASSERT(reid_rpc_server_listen_unix(world.server, world.path, 0600, &err) == REID_OK);
    snprintf(world.address, sizeof world.address, "unix:%s/c", world.folder);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s/c", world.folder);
    world.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    REID_ASSERT(bind(world.listener, (struct sockaddr *)&address, sizeof address) == 0);
    REID_ASSERT(listen(world.listener, 5) == 0);
}

static void put(int fd, const void *bytes, size_t size)
{
    if (size > 0 && send(fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        return; /* the peer has hung up */
}

static void take_all(int fd)
{
    uint8_t buffer[65536];
    while (recv(fd, buffer, sizeof buffer, MSG_DONTWAIT) > 0)
        ;
}

static void turn(int fd)
{
    uv_run(&world.loop, UV_RUN_NOWAIT);
    take_all(fd);
}

/* ---- server ---- */

static void put_preface(int fd)
{
    uint8_t settings[9];
    put(fd, NGHTTP2_CLIENT_MAGIC, NGHTTP2_CLIENT_MAGIC_LEN);
    put(fd, settings, raw_make_frame(settings, NGHTTP2_SETTINGS, 0, 0, NULL, 0));
}

static void put_request(int fd, unsigned which)
{
    static const char *const methods[] = {"Say", "Tell", "Sum", "Chat", "Small", "Brief", "Greet"};
    char path[60];
    snprintf(path, sizeof path, ECHO_PATH "%s", methods[which % 7]);
    const char *const pairs[] = {
        ":method", "POST",         ":scheme",          "http", ":path", path, ":authority",
        "x",       "content-type", "application/grpc", NULL};
    uint8_t block[400], frame[500];
    size_t size = raw_make_headers(block, pairs);
    put(fd, frame,
        raw_make_frame(frame, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, 1, block, size));
}

static void put_body(int fd, const uint8_t *data, size_t size)
{
    uint8_t frame[16384 + 9];
    do {
        size_t take = size < 1000 ? size : 1000;
        uint8_t flags = take == size ? NGHTTP2_FLAG_END_STREAM : 0;
        put(fd, frame, raw_make_frame(frame, NGHTTP2_DATA, flags, 1, data, take));
        data += take;
        size -= take;
    } while (size > 0);
}

static void fuzz_server(unsigned way, const uint8_t *data, size_t size)
{
    int fds[2];
    REID_ASSERT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) == 0);
    reid_rpc_listener *listener =
        REID_RPC_OWNER(world.server->listeners.next, reid_rpc_listener, node);
    const reid_rpc_peer peer = {.uid = getuid(), .gid = getgid(), .pid = getpid()};
    reid_rpc_conn_new(listener, fds[1], &peer);
    if (way > 0)
        put_preface(fds[0]);
    if (way == 2 && size > 0) {
        put_request(fds[0], data[0]);
        put_body(fds[0], data + 1, size - 1);
    } else {
        put(fds[0], data, size);
    }
    for (int i = 0; i < 3; i++)
        turn(fds[0]);
    close(fds[0]);
    for (int i = 0; i < 10000 && reid_rpc_server_connections(world.server) > 0; i++)
        uv_run(&world.loop, UV_RUN_NOWAIT);
    uv_run(&world.loop, UV_RUN_NOWAIT);
    uv_run(&world.loop, UV_RUN_NOWAIT);
    REID_ASSERT(reid_rpc_server_connections(world.server) == 0);
    REID_ASSERT(reid_rpc_server_calls(world.server) == 0);
    REID_ASSERT(world.server->receive.used == 0);
    REID_ASSERT(world.echo.opened == world.echo.closed);
}

/* ---- client ---- */

typedef struct ends {
    int opened, closed;
} ends;

static void closed(reid_rpc_stream *stream, const reid_error *end, void *user)
{
    ((ends *)user)->closed++;
}

static void open_stream(reid_rpc_channel *channel, bool half_close, bool paused, ends *e)
{
    const reid_rpc_stream_events events = {.on_close = closed};
    reid_rpc_stream_options options = {.paused = paused};
    reid_rpc_stream *stream;
    if (reid_rpc_channel_open(channel, ECHO_PATH "Chat", &reid__test__answer__descriptor, &events,
                              e, &options, &stream, NULL) != REID_OK)
        return;
    e->opened++;
    Reid__Test__Ask request = REID__TEST__ASK__INIT;
    reid_rpc_stream_send(stream, &request.base);
    if (half_close)
        reid_rpc_stream_half_close(stream);
}

static void fuzz_client(const uint8_t *data, size_t size)
{
    reid_rpc_channel *channel;
    ends e = {0};
    REID_ASSERT(reid_rpc_channel_connect(&world.loop, world.address, 0, NULL, NULL, &channel,
                                         NULL) == REID_OK);
    int fd = accept4(world.listener, NULL, NULL, SOCK_CLOEXEC);
    REID_ASSERT(fd >= 0);
    open_stream(channel, true, false, &e);  /* stream 1 */
    open_stream(channel, false, false, &e); /* 3 */
    open_stream(channel, true, true, &e);   /* 5 */
    uint8_t settings[9];
    put(fd, settings, raw_make_frame(settings, NGHTTP2_SETTINGS, 0, 0, NULL, 0));
    turn(fd);
    put(fd, data, size);
    for (int i = 0; i < 3; i++)
        turn(fd);
    close(fd);
    for (int i = 0; i < 3; i++)
        uv_run(&world.loop, UV_RUN_NOWAIT);
    reid_rpc_channel_close(channel);
    for (int i = 0; i < 3; i++)
        uv_run(&world.loop, UV_RUN_NOWAIT);
    REID_ASSERT(e.opened == e.closed);
}

/* ---- parsers ---- */

static void fuzz_parsers(const uint8_t *data, size_t size)
{
    static const ProtobufCMessageDescriptor *const types[] = {
        &reid__test__ask__descriptor,
        &grpc__reflection__v1__server_reflection_response__descriptor};
    for (int i = 0; i < 2; i++) {
        ProtobufCMessage *message;
        if (reid_rpc_unpack(types[i], data, size, 1 << 20, &message, NULL) == REID_OK)
            protobuf_c_message_free_unpacked(message, NULL);
    }
    reid_rpc_descriptors *descriptors;
    if (reid_rpc_descriptors_new(data, size, &descriptors, NULL) == REID_OK)
        reid_rpc_descriptors_free(descriptors);
    char *text = reid_xstrndup((const char *)data, size);
    char *encoded = reid_rpc_percent_encode(text), decoded[2000];
    reid_rpc_percent_decode(encoded, strlen(encoded), decoded, sizeof decoded);
    REID_ASSERT(strncmp(text, decoded, strlen(decoded)) == 0);
    reid_rpc_percent_decode(text, strlen(text), decoded, sizeof decoded);
    uint64_t timeout_ms;
    (void)!reid_rpc_timeout_parse(text, strlen(text), &timeout_ms);
    free(encoded);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > MOST_BYTES)
        return 0;
    set_up();
    unsigned way = data[0] % 5;
    if (way <= 2)
        fuzz_server(way, data + 1, size - 1);
    else if (way == 3)
        fuzz_client(data + 1, size - 1);
    else
        fuzz_parsers(data + 1, size - 1);
    return 0;
}
