#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/log.h"
#include "rpc/server_impl.h"

enum { STREAM_WINDOW_BYTES = 1 << 20, CONNECTION_WINDOW_BYTES = 4 << 20 };
enum { MANY_CALLS = 32768, FEW_CALLS = 8 };
enum { HELLO_BYTES = 64 }; /* TLS has said less: no more than an alert, which was no work */
enum { LINGER_MS = 250 };  /* a living peer closes within milliseconds */

/* ---- floods ---- */

bool reid_rpc_bucket_take(reid_rpc_bucket *bucket, uint64_t now_ms, double rate)
{
    double limit = rate * 10;
    bucket->level =
        REID_MIN(limit, bucket->level + (double)(now_ms - bucket->updated_ms) * rate / 1000);
    bucket->updated_ms = now_ms;
    if (bucket->level < 1)
        return false;
    bucket->level -= 1;
    return true;
}

const char *reid_rpc_conn_describe(const reid_rpc_conn *conn, char buffer[REID_RPC_WHO_BYTES])
{
    const reid_rpc_peer *peer = &conn->peer;
    if (peer->remote)
        snprintf(buffer, REID_RPC_WHO_BYTES, "from=%s name=%s", peer->address,
                 peer->name[0] ? peer->name : "-");
    else
        snprintf(buffer, REID_RPC_WHO_BYTES, "pid=%d uid=%u", (int)peer->pid, (unsigned)peer->uid);
    return buffer;
}

/* Anybody can cause that, so not all are told. */
static void warn_of(reid_rpc_conn *conn, const char *what, const char *why)
{
    char who[REID_RPC_WHO_BYTES], more[REID_RPC_MORE_BYTES];
    if (reid_rpc_listener_may_warn(conn->listener, more))
        reid_log_warn("rpc connection %s reason=\"%s\" %s%s", what, why,
                      reid_rpc_conn_describe(conn, who), more);
}

static void throw_out(reid_rpc_conn *conn, const char *reason)
{
    if (conn->flooding)
        return;
    conn->flooding = true;
    reid_rpc_crowd_look(conn);
    warn_of(conn, "dropped", reason);
    nghttp2_session_terminate_session(conn->wire.session, NGHTTP2_ENHANCE_YOUR_CALM);
    reid_rpc_alarm_set(&conn->server->pump, &conn->alarm,
                       REID_MIN(conn->server->limits.linger_ms, 1000));
}

static void count_frame(reid_rpc_conn *conn, const nghttp2_frame *frame)
{
    const reid_rpc_limits *limits = &conn->server->limits;
    uint64_t now = uv_now(conn->server->pump.loop);
    switch (frame->hd.type) {
    case NGHTTP2_RST_STREAM:
        if (!reid_rpc_bucket_take(&conn->resets, now, limits->max_resets_per_second))
            throw_out(conn, "resets");
        return;
    case NGHTTP2_DATA:
        if (frame->hd.length > 0 || (frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
            return;
        break;
    case NGHTTP2_HEADERS:
    case NGHTTP2_CONTINUATION:
    case NGHTTP2_WINDOW_UPDATE:
        return;
    default:
        break;
    }
    if (!reid_rpc_bucket_take(&conn->controls, now, limits->max_control_per_second))
        throw_out(conn, "control frames");
}

/* They cost as much as other resets. */
static void count_left_out(reid_rpc_wire *wire)
{
    reid_rpc_conn *conn = REID_RPC_OWNER(wire, reid_rpc_conn, wire);
    uint64_t now = uv_now(conn->server->pump.loop);
    for (; conn->sieve.left_out > 0; conn->sieve.left_out--)
        if (!reid_rpc_bucket_take(&conn->resets, now, conn->server->limits.max_resets_per_second))
            throw_out(conn, "resets");
}

/* ---- nghttp2's callbacks ---- */

/* With very many open calls each connection has only a few, so that there are always some for
 * others. */
static bool has_enough_calls(const reid_rpc_conn *conn)
{
    unsigned count = 0;
    if (conn->server->call_count < MANY_CALLS)
        return false;
    for (reid_rpc_node *n = conn->calls.next; n != &conn->calls && count < FEW_CALLS; n = n->next)
        count++;
    return count == FEW_CALLS;
}

static int begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    reid_rpc_conn *conn = user;
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    if (conn->server->draining || conn->flooding || has_enough_calls(conn)) {
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
                                  NGHTTP2_REFUSED_STREAM);
        return 0;
    }
    reid_rpc_call *call = reid_rpc_call_new(conn, frame->hd.stream_id);
    nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, call);
    return 0;
}

static reid_rpc_call *find_call(nghttp2_session *session, int32_t stream_id)
{
    return nghttp2_session_get_stream_user_data(session, stream_id);
}

static int header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                  size_t name_length, const uint8_t *value, size_t value_length, uint8_t flags,
                  void *user)
{
    reid_rpc_conn *conn = user;
    reid_rpc_call *call = find_call(session, frame->hd.stream_id);
    if (!call || call->begun ||
        call->ended) /* refused, or trailers, which mean nothing in a request */
        return 0;
    call->header_bytes += name_length + value_length + 32;
    if (call->header_bytes > 16 * (size_t)conn->server->limits.max_header_bytes)
        throw_out(conn, "headers");
    if (call->header_bytes <= conn->server->limits.max_header_bytes)
        reid_rpc_call_header(call, (const char *)name, name_length, (const char *)value,
                             value_length);
    return 0;
}

static int frame_received(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    reid_rpc_conn *conn = user;
    count_frame(conn, frame);
    if (frame->hd.type == NGHTTP2_SETTINGS && !conn->began) {
        conn->began = true;
        conn->listener->handshakes--;
        if (!conn->server->draining)
            reid_rpc_alarm_cancel(&conn->server->pump, &conn->alarm);
        return 0;
    }
    if (frame->hd.type != NGHTTP2_DATA && frame->hd.type != NGHTTP2_HEADERS)
        return 0;
    reid_rpc_call *call = find_call(session, frame->hd.stream_id);
    if (!call)
        return 0;
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        reid_rpc_call_begin(call);
    if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
        reid_rpc_call_half_closed(call);
    return 0;
}

static int data_chunk(nghttp2_session *session, uint8_t flags, int32_t stream_id,
                      const uint8_t *data, size_t size, void *user)
{
    reid_rpc_call *call = find_call(session, stream_id);
    if (call)
        reid_rpc_call_receive(call, data, size, flags & NGHTTP2_FLAG_END_STREAM);
    return 0;
}

/* An answer that ends before its request does: tell the client to stop sending. Resets that a peer
 * makes us send by breaking the rules count as its own. */
static int frame_sent(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    reid_rpc_conn *conn = user;
    if (frame->hd.type == NGHTTP2_RST_STREAM && frame->rst_stream.error_code != NGHTTP2_NO_ERROR &&
        !reid_rpc_bucket_take(&conn->resets, uv_now(conn->server->pump.loop),
                              conn->server->limits.max_resets_per_second))
        throw_out(conn, "resets");
    if (frame->hd.type != NGHTTP2_HEADERS || !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
        return 0;
    reid_rpc_call *call = find_call(session, frame->hd.stream_id);
    if (call && !call->half_closed)
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
                                  NGHTTP2_NO_ERROR);
    return 0;
}

static int stream_closed(nghttp2_session *session, int32_t stream_id, uint32_t error_code,
                         void *user)
{
    reid_rpc_call *call = find_call(session, stream_id);
    if (call) {
        nghttp2_session_set_stream_user_data(session, stream_id, NULL);
        reid_rpc_call_detach(call, false);
    }
    return 0;
}

nghttp2_session_callbacks *reid_rpc_conn_callbacks(void)
{
    nghttp2_session_callbacks *callbacks;
    if (nghttp2_session_callbacks_new(&callbacks) != 0)
        return NULL;
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, frame_received);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, data_chunk);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, frame_sent);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, stream_closed);
    return callbacks;
}

/* ---- life ---- */

static void lose_calls(reid_rpc_conn *conn)
{
    while (!reid_rpc_list_empty(&conn->calls))
        reid_rpc_call_detach(REID_RPC_OWNER(conn->calls.next, reid_rpc_call, node), true);
}

void reid_rpc_conn_abandon(reid_rpc_conn *conn)
{
    if (conn->wire.closing)
        return;
    reid_rpc_alarm_cancel(&conn->server->pump, &conn->alarm);
    if (conn->wire.bytes_out < HELLO_BYTES)
        conn->listener->accepts.level += 1;
    reid_rpc_crowd_leave(conn);
    lose_calls(conn);
    reid_rpc_wire_close(&conn->wire);
}

static void conn_broken(reid_rpc_wire *wire, const char *why)
{
    reid_rpc_conn *conn = REID_RPC_OWNER(wire, reid_rpc_conn, wire);
    char who[REID_RPC_WHO_BYTES];
    if (wire->secure && wire->secure->refused)
        warn_of(conn, "refused", why);
    else
        reid_log_debug("rpc connection ended %s reason=\"%s\"", reid_rpc_conn_describe(conn, who),
                       why);
    reid_rpc_conn_abandon(conn);
}

static void conn_secured(reid_rpc_wire *wire)
{
    reid_rpc_conn *conn = REID_RPC_OWNER(wire, reid_rpc_conn, wire);
    reid_rpc_peer *peer = &conn->peer;
    memcpy(peer->name, wire->secure->peer.name, sizeof peer->name);
    memcpy(peer->role, wire->secure->peer.role, sizeof peer->role);
    peer->until_s = wire->secure->peer.until_s;
    unsigned limit;
    const char *excess = NULL;
    if (strcmp(peer->role, "node") == 0)
        reid_rpc_wire_watch(wire, conn->server->limits.quiet_ms);
    else
        excess = reid_rpc_crowd_excess(conn->listener, peer, &limit);
    reid_rpc_crowd_join(conn);
    if (excess)
        throw_out(conn, excess);
}

static void conn_closed(reid_rpc_wire *wire)
{
    reid_rpc_conn *conn = REID_RPC_OWNER(wire, reid_rpc_conn, wire);
    reid_rpc_server *server = conn->server;
    reid_rpc_list_remove(&conn->node);
    conn->listener->conn_count--;
    if (!conn->began)
        conn->listener->handshakes--;
    free(conn);
    reid_rpc_server_conn_closed(server);
}

static void too_slow(reid_rpc_alarm *alarm)
{
    reid_rpc_conn *conn = REID_RPC_OWNER(alarm, reid_rpc_conn, alarm);
    if (!conn->began)
        warn_of(conn, "refused",
                conn->peer.remote && !conn->peer.name[0] ? "no TLS handshake"
                                                         : "no HTTP/2 preface");
    reid_rpc_conn_abandon(conn);
}

static nghttp2_session *new_session(reid_rpc_conn *conn)
{
    const reid_rpc_limits *limits = &conn->server->limits;
    nghttp2_session *session;
    if (nghttp2_session_server_new2(&session, conn->server->callbacks, conn,
                                    conn->server->option) != 0)
        return NULL;
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, limits->max_streams},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW_BYTES},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, limits->max_header_bytes},
    };
    if (nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, settings, REID_COUNT_OF(settings)) !=
            0 ||
        nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, 0,
                                              CONNECTION_WINDOW_BYTES) != 0) {
        nghttp2_session_del(session);
        return NULL;
    }
    return session;
}

void reid_rpc_conn_new(reid_rpc_listener *listener, int own_fd, const reid_rpc_peer *peer)
{
    reid_rpc_server *server = listener->server;
    reid_rpc_conn *conn = reid_xcalloc(1, sizeof *conn);
    conn->server = server;
    conn->listener = listener;
    conn->peer = *peer;
    conn->seen_bytes_out = UINT64_MAX; /* not looked at yet */
    nghttp2_session *session = new_session(conn);
    reid_rpc_secure *secure = listener->tls ? reid_rpc_secure_new(listener->tls, NULL) : NULL;
    if (!session || (listener->tls && !secure)) {
        reid_log_error("rpc connection refused reason=\"no memory\"");
        nghttp2_session_del(session);
        reid_rpc_secure_free(secure);
        close(own_fd);
        free(conn);
        return;
    }
    reid_rpc_wire_init(&conn->wire, &server->pump, session, conn_broken, conn_closed);
    conn->wire.on_secured = conn_secured;
    reid_rpc_sieve_init(&conn->sieve);
    conn->wire.sieve = &conn->sieve;
    conn->wire.on_left_out = count_left_out;
    conn->wire.quota = &server->room.quota;
    conn->wire.linger_ms = REID_MIN(server->limits.linger_ms, LINGER_MS);
    conn->wire.max_waiting_frames = 2 * (size_t)server->limits.max_streams + 256;
    reid_rpc_list_init(&conn->calls);
    if (!peer->remote)
        reid_rpc_crowd_join(conn);
    reid_rpc_list_append(&server->conns, &conn->node);
    server->conn_count++;
    listener->conn_count++;
    listener->handshakes++;
    server->open_handles++;
    reid_rpc_alarm_init(&conn->alarm, too_slow);
    uint64_t now = uv_now(server->pump.loop);
    conn->resets = (reid_rpc_bucket){10.0 * server->limits.max_resets_per_second, now};
    conn->controls = (reid_rpc_bucket){10.0 * server->limits.max_control_per_second, now};
    if (reid_rpc_wire_attach_secure(&conn->wire, own_fd, secure) != 0) {
        reid_rpc_conn_abandon(conn);
        return;
    }
    reid_rpc_alarm_set(&server->pump, &conn->alarm, server->limits.preface_timeout_ms);
}

void reid_rpc_conn_drain(reid_rpc_conn *conn)
{
    if (conn->wire.closing || conn->wire.broken)
        return;
    int32_t last = nghttp2_session_get_last_proc_stream_id(conn->wire.session);
    nghttp2_submit_goaway(conn->wire.session, NGHTTP2_FLAG_NONE, last, NGHTTP2_NO_ERROR, NULL, 0);
    reid_rpc_wire_touch(&conn->wire);
}
