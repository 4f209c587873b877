#include "rpc/client.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "rpc/channel.h"
#include "rpc/list.h"

struct reid_rpc_client {
    uv_loop_t loop;
    reid_rpc_channel *channel;
    reid_rpc_node streams;
    bool ready, lost;
    reid_error why;
};

struct reid_rpc_client_stream {
    reid_rpc_node node;
    reid_rpc_client *client;
    reid_rpc_stream *stream;   /* NULL once closed */
    ProtobufCMessage *message; /* received, not yet asked for */
    bool closed, told_end;
    reid_error end;
};

/* ---- waiting ---- */

/* Runs the loop until `done` says so. timeout_ms 0: no limit. OK, TIMEOUT, or CANCELLED after a
 * signal. libuv itself hides signals, so the waiting is done outside of it, on its descriptor. */
static reid_status wait_until(reid_rpc_client *client, bool (*done)(const void *what),
                              const void *what, uint32_t timeout_ms)
{
    int64_t end_ns = reid_clock_mono_ns() + (int64_t)timeout_ms * 1000000;
    for (;;) {
        uv_run(&client->loop, UV_RUN_NOWAIT);
        if (done(what))
            return REID_OK;
        int wait_ms = uv_backend_timeout(&client->loop);
        if (wait_ms == 0)
            continue;
        if (timeout_ms > 0) {
            int64_t left_ms = (end_ns - reid_clock_mono_ns() + 999999) / 1000000;
            if (left_ms <= 0)
                return REID_ERR_TIMEOUT;
            wait_ms =
                wait_ms < 0 ? (int)REID_MIN(left_ms, 1000000) : (int)REID_MIN(left_ms, wait_ms);
        }
        struct pollfd fd = {.fd = uv_backend_fd(&client->loop), .events = POLLIN};
        if (poll(&fd, 1, wait_ms) < 0 && errno == EINTR)
            return REID_ERR_CANCELLED;
    }
}

/* ---- life ---- */

static void on_ready(reid_rpc_channel *channel, void *user)
{
    reid_rpc_client *client = user;
    client->ready = true;
}

static void on_lost(reid_rpc_channel *channel, const reid_error *why, void *user)
{
    reid_rpc_client *client = user;
    client->lost = true;
    client->why = *why;
}

static bool is_connected(const void *what)
{
    const reid_rpc_client *client = what;
    return client->ready || client->lost;
}

reid_status reid_rpc_client_connect(const char *address, uint32_t timeout_ms,
                                    reid_rpc_client **ret_client, reid_error *err)
{
    return reid_rpc_client_connect_tls(address, NULL, timeout_ms, ret_client, err);
}

reid_status reid_rpc_client_connect_tls(const char *address, reid_rpc_tls *tls, uint32_t timeout_ms,
                                        reid_rpc_client **ret_client, reid_error *err)
{
    reid_rpc_client *client = reid_xcalloc(1, sizeof *client);
    reid_rpc_list_init(&client->streams);
    int failure = uv_loop_init(&client->loop);
    if (failure) {
        free(client);
        return reid_fail(err, REID_ERR_EXHAUSTED, "cannot make an event loop: %s",
                         uv_strerror(failure));
    }
    const reid_rpc_channel_events events = {.on_ready = on_ready, .on_lost = on_lost};
    reid_status status = reid_rpc_channel_connect_tls(&client->loop, address, tls, timeout_ms,
                                                      &events, client, &client->channel, err);
    if (status == REID_OK)
        status = wait_until(client, is_connected, client, 0);
    if (status == REID_ERR_CANCELLED)
        reid_fail(err, status, "interrupted by a signal while connecting to reidd at %s", address);
    if (status == REID_OK && client->lost)
        status = reid_fail(err, client->why.code, "%s", client->why.text);
    if (status != REID_OK) {
        reid_rpc_client_free(client);
        return status;
    }
    *ret_client = client;
    return REID_OK;
}

const reid_rpc_peer *reid_rpc_client_peer(const reid_rpc_client *client)
{
    return reid_rpc_channel_peer(client->channel);
}

void reid_rpc_client_free(reid_rpc_client *client)
{
    if (!client)
        return;
    while (!reid_rpc_list_empty(&client->streams))
        reid_rpc_client_stop(REID_RPC_OWNER(client->streams.next, reid_rpc_client_stream, node));
    reid_rpc_channel_close(client->channel);
    uv_run(&client->loop, UV_RUN_DEFAULT);
    REID_ASSERT(uv_loop_close(&client->loop) == 0);
    free(client);
}

/* ---- streams ---- */

static void on_message(reid_rpc_stream *stream, const ProtobufCMessage *answer, void *user)
{
    reid_rpc_client_stream *s = user;
    s->message = (ProtobufCMessage *)(uintptr_t)answer;
    reid_rpc_stream_keep(stream);
    reid_rpc_stream_pause(stream, true);
}

static void on_close(reid_rpc_stream *stream, const reid_error *end, void *user)
{
    reid_rpc_client_stream *s = user;
    s->stream = NULL;
    s->closed = true;
    s->end = *end;
}

static reid_status open_stream(reid_rpc_client *client, const char *path,
                               const ProtobufCMessageDescriptor *output, uint32_t timeout_ms,
                               reid_rpc_client_stream **ret_stream, reid_error *err)
{
    const reid_rpc_stream_events events = {.on_message = on_message, .on_close = on_close};
    const reid_rpc_stream_options options = {.timeout_ms = timeout_ms, .paused = true};
    reid_rpc_client_stream *s = reid_xcalloc(1, sizeof *s);
    s->client = client;
    reid_status status =
        reid_rpc_channel_open(client->channel, path, output, &events, s, &options, &s->stream, err);
    if (status != REID_OK) {
        free(s);
        return status;
    }
    reid_rpc_list_append(&client->streams, &s->node);
    *ret_stream = s;
    return REID_OK;
}

static bool is_closed(const void *what)
{
    return ((const reid_rpc_client_stream *)what)->closed;
}

void reid_rpc_client_stop(reid_rpc_client_stream *s)
{
    if (!s)
        return;
    if (s->stream)
        reid_rpc_stream_cancel(s->stream);
    while (!s->closed) /* the channel must have forgotten it; a signal does not hinder that */
        wait_until(s->client, is_closed, s, 0);
    reid_rpc_list_remove(&s->node);
    if (s->message)
        protobuf_c_message_free_unpacked(s->message, NULL);
    free(s);
}

reid_status reid_rpc_client_open(reid_rpc_client *client, const char *path,
                                 const ProtobufCMessageDescriptor *output,
                                 reid_rpc_client_stream **ret_stream, reid_error *err)
{
    return open_stream(client, path, output, 0, ret_stream, err);
}

static bool has_sent_some(const void *what)
{
    const reid_rpc_client_stream *s = what;
    return s->closed || reid_rpc_stream_queued(s->stream) == 0;
}

reid_status reid_rpc_client_send(reid_rpc_client_stream *s, const ProtobufCMessage *request,
                                 uint32_t timeout_ms, reid_error *err)
{
    for (;;) {
        reid_status status =
            s->closed ? REID_ERR_CANCELLED : reid_rpc_stream_send(s->stream, request);
        if (status == REID_ERR_CANCELLED && s->closed && s->end.code != REID_OK)
            return reid_fail(err, s->end.code, "%s", s->end.text);
        if (status == REID_ERR_CANCELLED)
            return reid_fail(err, status, "the server has ended the call");
        if (status != REID_ERR_EXHAUSTED)
            return status == REID_OK
                       ? status
                       : reid_fail(err, status, "the request cannot be sent any more");
        status = wait_until(s->client, has_sent_some, s, timeout_ms);
        if (status != REID_OK)
            return reid_fail(err, REID_ERR_TIMEOUT, "%s",
                             status == REID_ERR_TIMEOUT
                                 ? "the server does not take the request in time"
                                 : "interrupted by a signal");
    }
}

void reid_rpc_client_half_close(reid_rpc_client_stream *s)
{
    if (!s->stream)
        return;
    reid_rpc_stream_half_close(s->stream);
    uv_run(&s->client->loop, UV_RUN_NOWAIT);
}

reid_status reid_rpc_client_start(reid_rpc_client *client, const char *path,
                                  const ProtobufCMessage *request,
                                  const ProtobufCMessageDescriptor *output,
                                  reid_rpc_client_stream **ret_stream, reid_error *err)
{
    reid_rpc_client_stream *s;
    REID_TRY(reid_rpc_client_open(client, path, output, &s, err));
    reid_status status = reid_rpc_client_send(s, request, 0, err);
    if (status != REID_OK) {
        reid_rpc_client_stop(s);
        return status;
    }
    reid_rpc_client_half_close(s);
    *ret_stream = s;
    return REID_OK;
}

static bool has_news(const void *what)
{
    const reid_rpc_client_stream *s = what;
    return s->message || s->closed;
}

reid_status reid_rpc_client_next(reid_rpc_client_stream *s, uint32_t timeout_ms,
                                 ProtobufCMessage **ret_message, reid_error *err)
{
    if (s->stream && !s->message)
        reid_rpc_stream_pause(s->stream, false);
    reid_status status = wait_until(s->client, has_news, s, timeout_ms);
    if (s->stream)
        reid_rpc_stream_pause(s->stream, true);
    if (status == REID_ERR_CANCELLED)
        return reid_fail(err, REID_ERR_TIMEOUT, "interrupted by a signal");
    if (status == REID_ERR_TIMEOUT)
        return reid_fail(err, REID_ERR_TIMEOUT, "nothing came from the server within %u ms",
                         timeout_ms);
    if (!s->message && s->end.code != REID_OK)
        return reid_fail(err, s->end.code, "%s", s->end.text);
    *ret_message = s->message;
    s->message = NULL;
    return REID_OK;
}

/* ---- unary ---- */

/* The one answer; a second one is looked for, so as to wait for the end of the call. */
static reid_status one_answer(reid_rpc_client_stream *s, ProtobufCMessage **ret_answer,
                              reid_error *err)
{
    reid_status status = REID_OK;
    ProtobufCMessage *answer = NULL;
    for (int i = 0; i < 2 && status == REID_OK && !s->closed; i++) {
        reid_rpc_stream_pause(s->stream, false);
        status = wait_until(s->client, has_news, s, 0);
        if (answer || !s->message)
            continue;
        answer = s->message;
        s->message = NULL;
    }
    if (status != REID_OK)
        reid_fail(err, status, "interrupted by a signal");
    else if (s->closed && s->end.code != REID_OK)
        status = reid_fail(err, s->end.code, "%s", s->end.text);
    else if (!answer || s->message)
        status = reid_fail(err, REID_ERR_INTERNAL, "the server sent %s",
                           answer ? "several answers" : "no answer");
    if (status == REID_OK)
        *ret_answer = answer;
    else if (answer)
        protobuf_c_message_free_unpacked(answer, NULL);
    return status;
}

reid_status reid_rpc_client_unary(reid_rpc_client *client, const char *path,
                                  const ProtobufCMessage *request,
                                  const ProtobufCMessageDescriptor *output, uint32_t timeout_ms,
                                  ProtobufCMessage **ret_answer, reid_error *err)
{
    reid_rpc_client_stream *s;
    REID_TRY(open_stream(client, path, output, timeout_ms, &s, err));
    reid_status status = reid_rpc_stream_send(s->stream, request);
    if (status != REID_OK) {
        reid_fail(err, status, "there is no memory for the request");
    } else {
        reid_rpc_stream_half_close(s->stream);
        status = one_answer(s, ret_answer, err);
    }
    reid_rpc_client_stop(s);
    return status;
}
