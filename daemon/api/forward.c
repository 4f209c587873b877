#include "daemon/api/forward.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "daemon/cluster/cluster.h"

#define QUEUE_BYTES (1u << 20) /* of one call on its way up */

typedef struct forward {
    reid_rpc_call *call;     /* of the client; NULL: it has gone */
    reid_rpc_stream *stream; /* to the head; NULL: it has ended */
    ProtobufCMessage *held;  /* came down, and had no room */
} forward;

static void free_if_over(forward *f)
{
    if (f->call || f->stream)
        return;
    if (f->held)
        protobuf_c_message_free_unpacked(f->held, NULL);
    free(f);
}

/* ---- down ---- */

static void on_answer(reid_rpc_stream *stream, const ProtobufCMessage *answer, void *user)
{
    forward *f = user;
    if (!f->call || reid_rpc_call_send(f->call, answer) != REID_ERR_EXHAUSTED)
        return;
    reid_rpc_stream_keep(stream);
    reid_rpc_stream_pause(stream, true);
    f->held = (ProtobufCMessage *)answer;
}

static void on_stream_close(reid_rpc_stream *stream, const reid_error *end, void *user)
{
    forward *f = user;
    (void)stream;
    f->stream = NULL;
    if (f->call)
        reid_rpc_call_finish(f->call, end->code, end->code == REID_OK ? NULL : end->text);
    free_if_over(f);
}

static void on_drain(reid_rpc_call *call)
{
    forward *f = reid_rpc_call_user(call);
    if (!f->held || reid_rpc_call_send(call, f->held) == REID_ERR_EXHAUSTED)
        return;
    protobuf_c_message_free_unpacked(f->held, NULL);
    f->held = NULL;
    if (f->stream)
        reid_rpc_stream_pause(f->stream, false);
}

/* ---- up ---- */

static void on_close(reid_rpc_call *call)
{
    forward *f = reid_rpc_call_user(call);
    f->call = NULL;
    if (f->stream)
        reid_rpc_stream_cancel(f->stream);
    free_if_over(f);
}

static reid_status open_stream(forward *f, reidd_api *api, reid_error *err)
{
    static const reid_rpc_stream_events events = {.on_message = on_answer,
                                                  .on_close = on_stream_close};
    const reid_rpc_method *method = reid_rpc_call_method(f->call);
    reid_rpc_channel *channel = reidd_cluster_channel(api->cluster);
    const reidd_cluster_node *head = reidd_cluster_head(api->cluster);
    if (!channel)
        return reid_fail(err, REID_ERR_UNAVAILABLE, "the head %s of the cluster is not there: %s",
                         head->name, reidd_cluster_note(api->cluster, head->name));
    reidd_caller caller;
    reidd_api_caller(api, f->call, &caller);
    reidd_role role = REID_MIN(caller.role, REIDD_FORWARD_ROLE);
    REID_AUTOFREE char *who = reid_xasprintf("%s %s", reidd_role_name(role), caller.name);
    const reid_rpc_stream_options options = {.max_queue_bytes = QUEUE_BYTES, .caller = who};
    return reid_rpc_channel_open(channel, method->path, method->output, &events, f, &options,
                                 &f->stream, err);
}

static void on_open(reid_rpc_call *call, void *service)
{
    reid_error err = {0};
    forward *f = reid_xcalloc(1, sizeof *f);
    f->call = call;
    if (open_stream(f, service, &err) != REID_OK) {
        free(f);
        reid_rpc_call_fail(call, &err);
        return;
    }
    reid_rpc_call_set_user(call, f);
    reid_rpc_call_on_close(call, on_close);
    reid_rpc_call_on_drain(call, on_drain);
}

static void on_message(reid_rpc_call *call, const ProtobufCMessage *request, void *service)
{
    forward *f = reid_rpc_call_user(call);
    reid_rpc_kind kind = reid_rpc_call_method(call)->kind;
    (void)service;
    if (!f || !f->stream)
        return;
    if (reid_rpc_stream_send(f->stream, request) == REID_ERR_EXHAUSTED)
        reid_rpc_call_finish(call, REID_ERR_UNAVAILABLE, "the head of the cluster takes nothing");
    else if (kind == REID_RPC_UNARY || kind == REID_RPC_SERVER_STREAM)
        reid_rpc_stream_half_close(f->stream); /* it was the only one */
}

static void on_half_close(reid_rpc_call *call, void *service)
{
    forward *f = reid_rpc_call_user(call);
    (void)service;
    if (f && f->stream)
        reid_rpc_stream_half_close(f->stream);
}

/* ---- rows ---- */

void reidd_api_add_rows(reidd_api *api, reid_rpc_server *server, const reid_rpc_method *methods,
                        size_t count)
{
    if (!reidd_cluster_is_member(api->cluster)) {
        reid_rpc_server_add_service(server, methods, count, api);
        return;
    }
    reid_rpc_method *rows = reid_xcalloc(count, sizeof *rows);
    for (size_t i = 0; i < count; i++) {
        rows[i] = methods[i];
        rows[i].on_open = on_open;
        rows[i].on_message = on_message;
        rows[i].on_half_close = on_half_close;
    }
    reid_vec_push(&api->rows, rows);
    reid_rpc_server_add_service(server, rows, count, api);
}
