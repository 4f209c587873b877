#include "rpc/channel.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "rpc/address.h"
#include "rpc/channel_impl.h"

enum { DEFAULT_TIMEOUT_MS = 5000, RETRY_MS = 10, QUIET_MS = 10000 };
enum { STREAM_WINDOW_BYTES = 1 << 20, CONNECTION_WINDOW_BYTES = 16 << 20 };

static void try_connect(reid_rpc_channel *channel);

reid_rpc_stream *reid_rpc_channel_find(reid_rpc_channel *channel, int32_t stream_id)
{
    for (reid_rpc_node *n = channel->streams.next; n != &channel->streams; n = n->next) {
        reid_rpc_stream *stream = REID_RPC_OWNER(n, reid_rpc_stream, node);
        if (stream->stream_id == stream_id && !stream->detached)
            return stream;
    }
    return NULL;
}

/* ---- nghttp2's callbacks ---- */

static int header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                  size_t name_length, const uint8_t *value, size_t value_length, uint8_t flags,
                  void *user)
{
    reid_rpc_stream *stream = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (stream)
        reid_rpc_stream_header(stream, (const char *)name, name_length, (const char *)value,
                               value_length);
    return 0;
}

static int frame_received(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    reid_rpc_channel *channel = user;
    if (frame->hd.type == NGHTTP2_SETTINGS && !channel->ready) {
        channel->ready = true;
        reid_rpc_alarm_cancel(&channel->pump, &channel->timeout);
        reid_rpc_task_post(&channel->pump, &channel->task);
    }
    if (frame->hd.type == NGHTTP2_HEADERS) {
        reid_rpc_stream *stream =
            nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
        if (stream)
            reid_rpc_stream_headers_end(stream, frame->hd.flags & NGHTTP2_FLAG_END_STREAM);
    }
    return 0;
}

static int data_chunk(nghttp2_session *session, uint8_t flags, int32_t stream_id,
                      const uint8_t *data, size_t size, void *user)
{
    nghttp2_session_consume_connection(session, size); /* a paused stream holds back only itself */
    reid_rpc_stream *stream = nghttp2_session_get_stream_user_data(session, stream_id);
    if (stream)
        reid_rpc_stream_receive(stream, data, size);
    return 0;
}

static int stream_closed(nghttp2_session *session, int32_t stream_id, uint32_t error_code,
                         void *user)
{
    reid_rpc_stream *stream = nghttp2_session_get_stream_user_data(session, stream_id);
    if (stream)
        reid_rpc_stream_closed(stream, error_code);
    return 0;
}

/* A request that was never sent has no stream in the session, and no stream_closed comes for it. */
static int frame_not_sent(nghttp2_session *session, const nghttp2_frame *frame, int library_error,
                          void *user)
{
    if (frame->hd.type != NGHTTP2_HEADERS)
        return 0;
    reid_rpc_stream *stream = reid_rpc_channel_find(user, frame->hd.stream_id);
    if (stream)
        reid_rpc_stream_closed(stream, NGHTTP2_REFUSED_STREAM);
    return 0;
}

static nghttp2_session *new_session(reid_rpc_channel *channel)
{
    nghttp2_session_callbacks *callbacks = NULL;
    nghttp2_option *option = NULL;
    nghttp2_session *session = NULL;
    if (nghttp2_session_callbacks_new(&callbacks) != 0 || nghttp2_option_new(&option) != 0)
        goto out;
    nghttp2_session_callbacks_set_on_header_callback(callbacks, header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, frame_received);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, data_chunk);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, stream_closed);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(callbacks, frame_not_sent);
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_option_set_no_closed_streams(option, 1);
    if (nghttp2_session_client_new2(&session, callbacks, channel, option) != 0) {
        session = NULL;
        goto out;
    }
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW_BYTES},
    };
    if (nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, settings, REID_COUNT_OF(settings)) !=
            0 ||
        nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, 0,
                                              CONNECTION_WINDOW_BYTES) != 0) {
        nghttp2_session_del(session);
        session = NULL;
    }
out:
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_option_del(option);
    return session;
}

/* ---- life ---- */

/* Ends everything but the channel object. The sentence is in channel->why. */
static void lose(reid_rpc_channel *channel)
{
    channel->lost = true;
    reid_rpc_alarm_cancel(&channel->pump, &channel->timeout);
    reid_rpc_alarm_cancel(&channel->pump, &channel->retry);
    reid_rpc_dial_cancel(channel->dial);
    channel->dial = NULL;
    for (reid_rpc_node *n = channel->streams.next; n != &channel->streams; n = n->next)
        reid_rpc_stream_lost(REID_RPC_OWNER(n, reid_rpc_stream, node), &channel->why);
    reid_rpc_task_post(&channel->pump, &channel->task);
    reid_rpc_wire_close(&channel->wire);
}

static void wire_broken(reid_rpc_wire *wire, const char *why)
{
    reid_rpc_channel *channel = REID_RPC_OWNER(wire, reid_rpc_channel, wire);
    if (wire->secure && wire->secure->refused && !channel->ready)
        reid_fail(&channel->why, REID_ERR_PERMISSION, "cannot connect to reidd at %s: %s",
                  channel->address, why);
    else
        reid_fail(&channel->why, REID_ERR_UNAVAILABLE, "the connection to reidd at %s was lost: %s",
                  channel->address, why);
    lose(channel);
}

static void timed_out(reid_rpc_alarm *alarm)
{
    reid_rpc_channel *channel = REID_RPC_OWNER(alarm, reid_rpc_channel, timeout);
    reid_fail(&channel->why, REID_ERR_TIMEOUT, "reidd at %s has not answered within %u ms",
              channel->address, channel->timeout_ms);
    lose(channel);
}

static void retry_connect(reid_rpc_alarm *alarm)
{
    try_connect(REID_RPC_OWNER(alarm, reid_rpc_channel, retry));
}

static void unreachable(reid_rpc_channel *channel, reid_status code, const char *why)
{
    const char *advice =
        code == REID_ERR_PERMISSION ? "are you allowed to use this socket?" : "is it running?";
    reid_fail(&channel->why, code, "cannot reach reidd at %s: %s; %s", channel->address, why,
              advice);
    lose(channel);
}

static void cannot_reach(reid_rpc_channel *channel, int errnum)
{
    bool forbidden = errnum == EACCES || errnum == EPERM;
    unreachable(channel, forbidden ? REID_ERR_PERMISSION : REID_ERR_UNAVAILABLE, strerror(errnum));
}

/* Connecting to a Unix socket succeeds or fails at once, or says EAGAIN while the server's backlog
 * is full. */
static void try_connect(reid_rpc_channel *channel)
{
    struct sockaddr_un address;
    if (reid_rpc_sockaddr(channel->target.path, &address, &channel->why) != REID_OK) {
        lose(channel);
        return;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        cannot_reach(channel, errno);
        return;
    }
    int result;
    do
        result = connect(fd, (const struct sockaddr *)&address, sizeof address);
    while (result != 0 && errno == EINTR);
    if (result != 0) {
        int errnum = errno;
        close(fd);
        if (errnum == EAGAIN)
            reid_rpc_alarm_set(&channel->pump, &channel->retry, RETRY_MS);
        else
            cannot_reach(channel, errnum);
        return;
    }
    reid_rpc_peer_read(&channel->peer, fd);
    int failure = reid_rpc_wire_attach(&channel->wire, fd);
    if (failure)
        cannot_reach(channel, -failure);
}

static void dialled(void *user, int own_fd, const char *why)
{
    reid_rpc_channel *channel = user;
    channel->dial = NULL;
    if (own_fd < 0) {
        unreachable(channel, REID_ERR_UNAVAILABLE, why);
        return;
    }
    reid_rpc_tcp_tune(own_fd, 2 * QUIET_MS);
    struct sockaddr_storage address = {0};
    socklen_t size = sizeof address;
    getpeername(own_fd, (struct sockaddr *)&address, &size);
    channel->peer = (reid_rpc_peer){.uid = (uid_t)-1, .gid = (gid_t)-1, .remote = true};
    reid_rpc_endpoint_format((const struct sockaddr *)&address, channel->peer.address,
                             sizeof channel->peer.address);
    reid_rpc_secure *secure = reid_rpc_secure_new(channel->tls, channel->target.host);
    if (!secure) {
        close(own_fd);
        cannot_reach(channel, ENOMEM);
        return;
    }
    int failure = reid_rpc_wire_attach_secure(&channel->wire, own_fd, secure);
    if (failure)
        cannot_reach(channel, -failure);
}

static void wire_secured(reid_rpc_wire *wire)
{
    reid_rpc_channel *channel = REID_RPC_OWNER(wire, reid_rpc_channel, wire);
    memcpy(channel->peer.name, wire->secure->peer.name, sizeof channel->peer.name);
    memcpy(channel->peer.role, wire->secure->peer.role, sizeof channel->peer.role);
    reid_rpc_wire_watch(wire, QUIET_MS);
}

static void tell(reid_rpc_task *task)
{
    reid_rpc_channel *channel = REID_RPC_OWNER(task, reid_rpc_channel, task);
    if (channel->ready && !channel->told_ready) {
        channel->told_ready = true;
        if (channel->events.on_ready)
            channel->events.on_ready(channel, channel->user);
    }
    if (channel->closing || !channel->lost || channel->told_lost ||
        !reid_rpc_list_empty(&channel->streams))
        return;
    channel->told_lost = true;
    if (channel->events.on_lost)
        channel->events.on_lost(channel, &channel->why, channel->user);
}

static void pump_closed(reid_rpc_pump *pump)
{
    reid_rpc_channel *channel = REID_RPC_OWNER(pump, reid_rpc_channel, pump);
    while (!reid_rpc_list_empty(&channel->streams))
        reid_rpc_stream_free(REID_RPC_OWNER(channel->streams.next, reid_rpc_stream, node));
    free(channel->address);
    reid_rpc_address_fini(&channel->target);
    reid_rpc_tls_free(channel->tls);
    free(channel);
}

static void wire_closed(reid_rpc_wire *wire)
{
    reid_rpc_channel *channel = REID_RPC_OWNER(wire, reid_rpc_channel, wire);
    channel->wire_gone = true;
    if (channel->closing)
        reid_rpc_pump_close(&channel->pump, pump_closed);
}

reid_status reid_rpc_channel_connect(uv_loop_t *loop, const char *address, uint32_t timeout_ms,
                                     const reid_rpc_channel_events *events, void *user,
                                     reid_rpc_channel **ret_channel, reid_error *err)
{
    return reid_rpc_channel_connect_tls(loop, address, NULL, timeout_ms, events, user, ret_channel,
                                        err);
}

static reid_status check_target(const char *address, const reid_rpc_tls *tls,
                                reid_rpc_address *ret_target, reid_error *err)
{
    REID_TRY(reid_rpc_address_init(ret_target, address, err));
    if (!ret_target->host)
        return REID_OK;
    reid_status status = REID_OK;
    if (!tls)
        status = reid_fail(err, REID_ERR_INVALID,
                           "cannot connect to %s: TCP needs a certificate (a TLS folder)", address);
    else if (ret_target->port == 0)
        status = reid_fail(err, REID_ERR_INVALID, "cannot connect to %s: port 0 is none", address);
    if (status != REID_OK)
        reid_rpc_address_fini(ret_target);
    return status;
}

reid_status reid_rpc_channel_connect_tls(uv_loop_t *loop, const char *address, reid_rpc_tls *tls,
                                         uint32_t timeout_ms, const reid_rpc_channel_events *events,
                                         void *user, reid_rpc_channel **ret_channel,
                                         reid_error *err)
{
    reid_rpc_address target;
    REID_TRY(check_target(address, tls, &target, err));
    reid_rpc_channel *channel = reid_xcalloc(1, sizeof *channel);
    nghttp2_session *session = new_session(channel);
    if (!session) {
        reid_rpc_address_fini(&target);
        free(channel);
        return reid_fail(err, REID_ERR_EXHAUSTED, "there is no memory for a connection");
    }
    channel->target = target;
    channel->tls = target.host ? reid_rpc_tls_ref(tls) : NULL;
    channel->address = reid_xstrdup(address);
    channel->events = events ? *events : (reid_rpc_channel_events){0};
    channel->user = user;
    channel->timeout_ms = timeout_ms ? timeout_ms : DEFAULT_TIMEOUT_MS;
    reid_rpc_list_init(&channel->streams);
    reid_rpc_alarm_init(&channel->timeout, timed_out);
    reid_rpc_alarm_init(&channel->retry, retry_connect);
    reid_rpc_task_init(&channel->task, tell);
    reid_rpc_pump_init(&channel->pump, loop);
    reid_rpc_wire_init(&channel->wire, &channel->pump, session, wire_broken, wire_closed);
    channel->wire.on_secured = wire_secured;
    reid_rpc_alarm_set(&channel->pump, &channel->timeout, channel->timeout_ms);
    if (target.path)
        try_connect(channel);
    else
        channel->dial = reid_rpc_dial_start(loop, target.host, target.port, channel->timeout_ms,
                                            dialled, channel);
    *ret_channel = channel;
    return REID_OK;
}

void reid_rpc_channel_close(reid_rpc_channel *channel)
{
    if (!channel || channel->closing)
        return;
    channel->closing = true;
    channel->lost = true;
    reid_rpc_task_cancel(&channel->task);
    reid_rpc_alarm_cancel(&channel->pump, &channel->timeout);
    reid_rpc_alarm_cancel(&channel->pump, &channel->retry);
    reid_rpc_dial_cancel(channel->dial);
    channel->dial = NULL;
    for (reid_rpc_node *n = channel->streams.next; n != &channel->streams; n = n->next) {
        reid_rpc_stream *stream = REID_RPC_OWNER(n, reid_rpc_stream, node);
        stream->detached = true;
        reid_rpc_alarm_cancel(&channel->pump, &stream->alarm);
        reid_rpc_stream_report(stream, REID_ERR_CANCELLED, "the channel was closed");
    }
    if (channel->wire_gone)
        reid_rpc_pump_close(&channel->pump, pump_closed);
    else
        reid_rpc_wire_close(&channel->wire);
}

const reid_rpc_peer *reid_rpc_channel_peer(const reid_rpc_channel *channel)
{
    return &channel->peer;
}

bool reid_rpc_channel_is_ready(const reid_rpc_channel *channel)
{
    return channel->ready && !channel->lost;
}

bool reid_rpc_channel_is_lost(const reid_rpc_channel *channel)
{
    return channel->lost;
}
