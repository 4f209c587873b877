#include "echo.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "descriptors.h"
#include "harness/harness.h"
#include "rpc/ca.h"

typedef Reid__Test__Ask ask;
typedef Reid__Test__Answer answer;

/* What a call with a life of its own remembers. */
typedef struct state {
    echo_service *echo;
    int64_t number, sum, left;
    bool endless;
    size_t size;
    reid_status failure;
    char *text;
} state;

static void closed(reid_rpc_call *call)
{
    state *s = reid_rpc_call_user(call);
    s->echo->closed++;
    if (reid_rpc_call_status(call) == REID_ERR_CANCELLED)
        s->echo->cancelled++;
    if (reid_rpc_call_status(call) == REID_ERR_TIMEOUT)
        s->echo->timed_out++;
    free(s->text);
    free(s);
}

static state *keep_state(reid_rpc_call *call, echo_service *echo)
{
    state *s = reid_rpc_call_user(call);
    if (s)
        return s;
    s = reid_xcalloc(1, sizeof *s);
    s->echo = echo;
    echo->opened++;
    reid_rpc_call_set_user(call, s);
    reid_rpc_call_on_close(call, closed);
    return s;
}

static void open_state(reid_rpc_call *call, void *service)
{
    keep_state(call, service);
}

/* ---- one answer ---- */

static void say(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    const ask *request = (const ask *)message;
    if (request->failure) {
        reid_rpc_call_finish(call, (reid_status)request->failure,
                             request->text[0] ? request->text : NULL);
        return;
    }
    answer reply = REID__TEST__ANSWER__INIT;
    reply.text = request->text;
    reply.payload = request->payload;
    reply.number = request->number;
    reply.uid = reid_rpc_call_peer(call)->uid;
    uint8_t *made = NULL;
    if (request->size > 0) {
        made = reid_xcalloc(1, (size_t)request->size);
        reply.payload = (ProtobufCBinaryData){(size_t)request->size, made};
    }
    reid_rpc_call_reply(call, &reply.base);
    free(made);
}

static void never(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    keep_state(call, service);
}

static void silent(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    reid_rpc_call_finish(call, REID_OK, NULL);
}

static void twice(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    answer reply = REID__TEST__ANSWER__INIT;
    reid_rpc_call_send(call, &reply.base);
    ((echo_service *)service)->second_send = (int)reid_rpc_call_send(call, &reply.base);
    reid_rpc_call_finish(call, REID_OK, NULL);
    reid_rpc_call_finish(call, REID_ERR_INTERNAL, "ignored");
}

/* ---- streams ---- */

static void tell_more(reid_rpc_call *call)
{
    state *s = reid_rpc_call_user(call);
    uint8_t *payload = reid_xcalloc(1, s->size ? s->size : 1);
    while (s->endless || s->left > 0) {
        answer reply = REID__TEST__ANSWER__INIT;
        reply.number = s->number + 1;
        reply.payload = (ProtobufCBinaryData){s->size, payload};
        reid_status status = reid_rpc_call_send(call, &reply.base);
        if (reid_rpc_call_queued(call) > s->echo->most_queued)
            s->echo->most_queued = reid_rpc_call_queued(call);
        if (status != REID_OK) {
            if (status == REID_ERR_EXHAUSTED)
                s->echo->refused++;
            break;
        }
        s->number++;
        s->left--;
    }
    free(payload);
    if (!s->endless && s->left == 0)
        reid_rpc_call_finish(call, s->failure, s->text);
}

static void drained(reid_rpc_call *call)
{
    state *s = reid_rpc_call_user(call);
    s->echo->drains++;
    tell_more(call);
}

static void tell(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    const ask *request = (const ask *)message;
    state *s = keep_state(call, service);
    s->left = request->count;
    s->endless = request->count == 0;
    s->size = (size_t)request->size;
    s->failure = (reid_status)request->failure;
    s->text = reid_xstrdup(request->text);
    reid_rpc_call_on_drain(call, drained);
    tell_more(call);
}

static void add(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    const ask *request = (const ask *)message;
    state *s = keep_state(call, service);
    s->number++;
    s->sum += request->number;
    if (request->failure)
        reid_rpc_call_finish(call, (reid_status)request->failure, request->text);
}

static void add_end(reid_rpc_call *call, void *service)
{
    state *s = keep_state(call, service);
    answer reply = REID__TEST__ANSWER__INIT;
    reply.number = s->number;
    reply.sum = s->sum;
    reid_rpc_call_reply(call, &reply.base);
}

static void chat(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    const ask *request = (const ask *)message;
    state *s = keep_state(call, service);
    answer reply = REID__TEST__ANSWER__INIT;
    reply.text = request->text;
    reply.payload = request->payload;
    reply.number = ++s->number;
    if (reid_rpc_call_send(call, &reply.base) == REID_ERR_EXHAUSTED)
        reid_rpc_call_finish(call, REID_ERR_EXHAUSTED, "you do not listen");
    if (request->failure)
        reid_rpc_call_finish(call, (reid_status)request->failure, request->text);
}

static void brief(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    keep_state(call, service);
    answer reply = REID__TEST__ANSWER__INIT;
    reid_rpc_call_send(call, &reply.base);
}

static void greet(reid_rpc_call *call, void *service)
{
    keep_state(call, service);
    answer reply = REID__TEST__ANSWER__INIT;
    reply.text = (char *)(uintptr_t) "hello";
    reid_rpc_call_send(call, &reply.base);
}

#define ROW(name, kind_, message_, ...)                                                            \
    {                                                                                              \
        .path = ECHO_PATH name, .input = &reid__test__ask__descriptor,                             \
        .output = &reid__test__answer__descriptor, .kind = kind_, .on_message = message_,          \
        __VA_ARGS__                                                                                \
    }

static const reid_rpc_method methods[] = {
    ROW("Say", REID_RPC_UNARY, say, ),
    ROW("Tell", REID_RPC_SERVER_STREAM, tell, ),
    ROW("Sum", REID_RPC_CLIENT_STREAM, add, .on_half_close = add_end),
    ROW("Chat", REID_RPC_BIDI, chat, .on_open = open_state),
    ROW("Never", REID_RPC_UNARY, never, ),
    ROW("Small", REID_RPC_UNARY, say, .max_request_bytes = 100),
    ROW("Brief", REID_RPC_SERVER_STREAM, brief, .deadline_ms = 50),
    ROW("Secret", REID_RPC_UNARY, say, .role = 1),
    ROW("Silent", REID_RPC_UNARY, silent, ),
    ROW("Twice", REID_RPC_UNARY, twice, ),
    ROW("Greet", REID_RPC_BIDI, chat, .on_open = greet),
};

static reid_status guard(const reid_rpc_method *method, const reid_rpc_peer *peer, void *user,
                         reid_error *err)
{
    if (!method->role)
        return REID_OK;
    if (peer->remote)
        return reid_fail(err, REID_ERR_PERMISSION, "%s %s may not do this", peer->role, peer->name);
    return reid_fail(err, REID_ERR_PERMISSION, "uid %u may not do this", (unsigned)peer->uid);
}

void echo_service_add(echo_service *echo, reid_rpc_server *server)
{
    reid_rpc_server_add_service(server, methods, REID_COUNT_OF(methods), echo);
    reid_rpc_server_set_guard(server, guard, NULL);
}

/* ---- a server in a thread ---- */

struct echo_server {
    echo_service service;
    reid_rpc_limits limits;
    char *folder, *path, *address;
    reid_rpc_tls *tls, *user;
    pthread_t thread;
    uv_loop_t loop;
    uv_async_t wake;
    uv_prepare_t look;
    reid_rpc_server *server;
    atomic_bool running, down, want_shutdown, want_end;
    atomic_uint grace_ms;
    atomic_size_t connections, calls;
    bool failed;
};

static void shutdown_done(void *user)
{
    echo_server *s = user;
    s->down = true;
    if (!s->want_end)
        return;
    reid_rpc_server_free(s->server);
    s->server = NULL;
    uv_close((uv_handle_t *)&s->wake, NULL);
    uv_close((uv_handle_t *)&s->look, NULL);
}

static void woken(uv_async_t *wake)
{
    echo_server *s = wake->data;
    if (s->down && s->want_end)
        shutdown_done(s);
    else if (s->want_shutdown)
        reid_rpc_server_shutdown(s->server, s->grace_ms, shutdown_done, s);
}

static void look(uv_prepare_t *handle)
{
    echo_server *s = handle->data;
    if (!s->server)
        return;
    s->connections = reid_rpc_server_connections(s->server);
    s->calls = reid_rpc_server_calls(s->server);
}

static reid_status set_up(echo_server *s, reid_error *err)
{
    size_t size = (size_t)(reid_proto_descriptors_end - reid_proto_descriptors);
    REID_TRY(reid_rpc_server_new(&s->loop, &s->limits, &s->server, err));
    echo_service_add(&s->service, s->server);
    reid_rpc_server_add_health(s->server);
    REID_TRY(reid_rpc_server_add_reflection(s->server, reid_proto_descriptors, size, err));
    REID_TRY(reid_rpc_server_listen_unix(s->server, s->path, 0600, err));
    if (!s->tls)
        return REID_OK;
    return reid_rpc_server_listen(s->server, "tcp://127.0.0.1:0", s->tls, 0, &s->address, err);
}

static void *serve(void *user)
{
    echo_server *s = user;
    reid_error err = {0};
    if (set_up(s, &err) != REID_OK) {
        fprintf(stderr, "echo server: %s\n", err.text);
        abort();
    }
    uv_prepare_start(&s->look, look);
    s->running = true;
    uv_run(&s->loop, UV_RUN_DEFAULT);
    return NULL;
}

static bool is_running(void *server)
{
    return ((echo_server *)server)->running;
}

/* Of an authority in `folder`, which is made when there is none. */
static reid_rpc_tls *make_identity(const char *folder, const char *name, const char *role)
{
    static const char *const hosts[] = {"127.0.0.1"};
    bool node = strcmp(role, "node") == 0;
    const reid_rpc_ca_request request = {
        .name = name, .role = role, .hosts = hosts, .host_count = node, .days = 1};
    reid_error err = {0};
    char *out = reid_xasprintf("%s/%s", folder, name);
    reid_rpc_tls *tls = NULL;
    bool good = (!node || reid_rpc_ca_init(folder, "tests", 1, &err) == REID_OK) &&
                reid_rpc_ca_issue(folder, &request, out, &err) == REID_OK &&
                reid_rpc_tls_new(out, &tls, &err) == REID_OK;
    if (!good)
        fprintf(stderr, "echo server: %s\n", err.text);
    REID_ASSERT(good);
    free(out);
    return tls;
}

reid_status echo_server_connect(const echo_server *server, reid_rpc_client **ret_client,
                                reid_error *err)
{
    return reid_rpc_client_connect_tls(server->address, server->user, 0, ret_client, err);
}

int64_t echo_server_uid(const echo_server *server)
{
    return server->tls ? (int64_t)(uid_t)-1 : (int64_t)getuid();
}

echo_server *echo_server_new(const reid_rpc_limits *limits)
{
    if (!getenv("ECHO_TLS"))
        return echo_server_new_tls(limits, NULL);
    char *folder = reid_test_dir_new();
    reid_rpc_tls *node = make_identity(folder, "node1", "node");
    echo_server *s = echo_server_new_tls(limits, node);
    s->user = make_identity(folder, "alice", "operator");
    reid_rpc_tls_free(node);
    reid_test_dir_free(folder);
    return s;
}

echo_server *echo_server_new_tls(const reid_rpc_limits *limits, reid_rpc_tls *tls)
{
    echo_server *s = reid_xcalloc(1, sizeof *s);
    s->limits = limits ? *limits : (reid_rpc_limits){0};
    s->folder = reid_test_dir_new();
    s->path = reid_xasprintf("%s/echo.sock", s->folder);
    s->tls = reid_rpc_tls_ref(tls);
    s->address = tls ? NULL : reid_xasprintf("unix:%s", s->path);
    REID_ASSERT(uv_loop_init(&s->loop) == 0);
    REID_ASSERT(uv_async_init(&s->loop, &s->wake, woken) == 0);
    REID_ASSERT(uv_prepare_init(&s->loop, &s->look) == 0);
    s->wake.data = s->look.data = s;
    REID_ASSERT(pthread_create(&s->thread, NULL, serve, s) == 0);
    REID_ASSERT(reid_test_wait(is_running, s, 10));
    return s;
}

const char *echo_server_path(const echo_server *server)
{
    return server->path;
}

const char *echo_server_address(const echo_server *server)
{
    return server->address;
}

echo_service *echo_server_service(echo_server *server)
{
    return &server->service;
}

void echo_server_shutdown(echo_server *server, uint32_t grace_ms)
{
    server->grace_ms = grace_ms;
    server->want_shutdown = true;
    uv_async_send(&server->wake);
}

bool echo_server_is_down(const echo_server *server)
{
    return server->down;
}

size_t echo_server_connections(echo_server *server)
{
    uv_async_send(&server->wake); /* the next look is new */
    return server->connections;
}

size_t echo_server_calls(echo_server *server)
{
    uv_async_send(&server->wake);
    return server->calls;
}

void echo_server_free(echo_server *server)
{
    if (!server)
        return;
    server->want_end = true;
    echo_server_shutdown(server, 0);
    pthread_join(server->thread, NULL);
    REID_ASSERT(uv_loop_close(&server->loop) == 0);
    REID_ASSERT(server->service.opened == server->service.closed); /* every call was reported */
    reid_test_dir_free(server->folder);
    free(server->path);
    free(server->address);
    reid_rpc_tls_free(server->tls);
    reid_rpc_tls_free(server->user);
    free(server);
}
