#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/str.h"
#include "rpc/channel_impl.h"
#include "rpc/code.h"
#include "rpc/text.h"
#include "rpc/unpack.h"

enum { MAX_ANSWER_BYTES = 64 << 20, MAX_UNPACKED_BYTES = 512 << 20, DEFAULT_QUEUE_BYTES = 1 << 20 };

/* ---- end ---- */

static void post(reid_rpc_stream *stream)
{
    if (!stream->channel->closing)
        reid_rpc_task_post(&stream->channel->pump, &stream->task);
}

static void decide(reid_rpc_stream *stream, reid_status status, const char *sentence)
{
    if (stream->ended)
        return;
    stream->ended = true;
    stream->half_closed = true;
    if (status != REID_OK)
        reid_fail(&stream->end, status, "%s", sentence);
    reid_rpc_alarm_cancel(&stream->channel->pump, &stream->alarm);
    reid_rpc_outbox_fini(&stream->outbox);
    post(stream);
}

/* Ends the stream from our side. */
static void abort_stream(reid_rpc_stream *stream, reid_status status, const char *sentence)
{
    stream->muted = true;
    if (stream->ended) {
        post(stream);
        return;
    }
    decide(stream, status, sentence);
    if (stream->detached)
        return;
    nghttp2_submit_rst_stream(stream->channel->wire.session, NGHTTP2_FLAG_NONE, stream->stream_id,
                              NGHTTP2_CANCEL);
    reid_rpc_wire_touch(&stream->channel->wire);
}

void reid_rpc_stream_report(reid_rpc_stream *stream, reid_status status, const char *sentence)
{
    if (stream->reported)
        return;
    decide(stream, status, sentence);
    stream->muted = true;
    stream->reported = true;
    if (stream->events.on_close)
        stream->events.on_close(stream, &stream->end, stream->user);
}

void reid_rpc_stream_free(reid_rpc_stream *stream)
{
    reid_rpc_list_remove(&stream->node);
    reid_rpc_task_cancel(&stream->task);
    reid_rpc_inbox_fini(&stream->inbox);
    reid_rpc_outbox_fini(&stream->outbox);
    free(stream->raw);
    free(stream);
}

/* ---- answers ---- */

static void deliver(reid_rpc_stream *stream, const uint8_t *bytes, size_t size)
{
    ProtobufCMessage *answer;
    reid_error err = {0};
    reid_status status =
        reid_rpc_unpack(stream->output, bytes, size, MAX_UNPACKED_BYTES, &answer, &err);
    if (status != REID_OK) {
        abort_stream(stream, REID_ERR_INTERNAL, err.text);
        return;
    }
    stream->keep = false;
    if (stream->events.on_message)
        stream->events.on_message(stream, answer, stream->user);
    if (!stream->keep)
        protobuf_c_message_free_unpacked(answer, NULL);
}

/* Delivers whole messages while the user wants them; *bytes, *size are what is left. */
static void feed(reid_rpc_stream *stream, const uint8_t **bytes, size_t *size)
{
    while (!stream->muted && !stream->paused) {
        const uint8_t *message;
        size_t message_size = 0;
        reid_error err = {0};
        reid_status status =
            reid_rpc_inbox_feed(&stream->inbox, bytes, size, &message, &message_size, &err);
        if (status != REID_OK) {
            abort_stream(stream, status == REID_ERR_INVALID ? REID_ERR_INTERNAL : status, err.text);
            return;
        }
        if (!message)
            return;
        deliver(stream, message, message_size);
    }
}

/* The server may send as much again. */
static void consume(reid_rpc_stream *stream, size_t size)
{
    if (size == 0 || stream->detached)
        return;
    nghttp2_session_consume_stream(stream->channel->wire.session, stream->stream_id, size);
    reid_rpc_wire_touch(&stream->channel->wire);
}

/* Bounded by the window that the server was given. */
static void keep_raw(reid_rpc_stream *stream, const uint8_t *bytes, size_t size)
{
    if (size > stream->raw_capacity - stream->raw_have) {
        size_t wanted = stream->raw_have + size;
        stream->raw_capacity = REID_MAX(wanted, stream->raw_capacity * 2);
        stream->raw = reid_xrealloc(stream->raw, stream->raw_capacity);
    }
    memcpy(stream->raw + stream->raw_have, bytes, size);
    stream->raw_have += size;
}

void reid_rpc_stream_receive(reid_rpc_stream *stream, const uint8_t *bytes, size_t size)
{
    size_t all = size;
    if (stream->raw_have == 0)
        feed(stream, &bytes, &size);
    if (stream->muted)
        size = 0;
    if (size > 0)
        keep_raw(stream, bytes, size);
    if (!stream->channel->closing)
        consume(stream, all - size);
}

static void feed_raw(reid_rpc_stream *stream)
{
    if (stream->raw_have == 0 || (stream->paused && !stream->muted))
        return;
    const uint8_t *bytes = stream->raw + stream->raw_taken;
    size_t left = stream->raw_have - stream->raw_taken, before = left;
    feed(stream, &bytes, &left);
    if (stream->channel->closing)
        return;
    if (stream->muted)
        left = 0;
    stream->raw_taken = stream->raw_have - left;
    consume(stream, before - left);
    if (left > 0)
        return;
    free(stream->raw);
    stream->raw = NULL;
    stream->raw_taken = stream->raw_have = stream->raw_capacity = 0;
}

/* The stream's task: everything that is told to the user from the loop but messages that come
 * unpaused. */
static void settle(reid_rpc_task *task)
{
    reid_rpc_stream *stream = REID_RPC_OWNER(task, reid_rpc_stream, task);
    reid_rpc_channel *channel = stream->channel;
    feed_raw(stream);
    if (channel->closing)
        return;
    if (!stream->ended && reid_rpc_outbox_take_drain(&stream->outbox) && stream->events.on_drain)
        stream->events.on_drain(stream, stream->user);
    if (channel->closing || !stream->ended || stream->raw_have > 0)
        return;
    if (stream->end.code == REID_OK && reid_rpc_inbox_partial(&stream->inbox))
        reid_fail(&stream->end, REID_ERR_INTERNAL,
                  "the server's answer ended in the middle of a message");
    reid_rpc_stream_report(stream, stream->end.code, stream->end.text);
    if (channel->closing || !stream->detached)
        return;
    reid_rpc_stream_free(stream);
    if (channel->lost)
        reid_rpc_task_post(&channel->pump, &channel->task);
}

/* ---- what the session tells ---- */

static bool is(const char *name, size_t length, const char *wanted)
{
    return length == strlen(wanted) && memcmp(name, wanted, length) == 0;
}

static int small_number(const char *text, size_t length)
{
    int value = 0;
    if (length == 0 || length > 3)
        return -1;
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9')
            return -1;
        value = value * 10 + text[i] - '0';
    }
    return value;
}

void reid_rpc_stream_header(reid_rpc_stream *stream, const char *name, size_t name_length,
                            const char *value, size_t value_length)
{
    if (is(name, name_length, ":status")) {
        stream->http_status = small_number(value, value_length);
    } else if (is(name, name_length, "content-type")) {
        stream->is_grpc = value_length >= 16 && memcmp(value, "application/grpc", 16) == 0;
    } else if (is(name, name_length, "grpc-status")) {
        int code = small_number(value, value_length);
        stream->grpc_code = code < 0 ? 2 : code;
    } else if (is(name, name_length, "grpc-message")) {
        reid_rpc_percent_decode(value, value_length, stream->sentence, sizeof stream->sentence);
    }
}

static void decide_by_status(reid_rpc_stream *stream)
{
    reid_status status = reid_rpc_status_from_code(stream->grpc_code);
    const char *sentence =
        stream->sentence[0] ? stream->sentence : reid_rpc_code_name(stream->grpc_code);
    decide(stream, status, sentence);
}

void reid_rpc_stream_headers_end(reid_rpc_stream *stream, bool end_of_stream)
{
    if (stream->ended)
        return;
    if (!end_of_stream) {
        if (!stream->is_grpc || stream->http_status != 200)
            abort_stream(stream, REID_ERR_INTERNAL, "the peer is not a gRPC server");
        return;
    }
    if (stream->grpc_code >= 0)
        decide_by_status(stream);
    else
        decide(stream, REID_ERR_INTERNAL, "the server ended the call without a status");
    if (stream->deferred) { /* our side of the stream ends too */
        stream->deferred = false;
        nghttp2_session_resume_data(stream->channel->wire.session, stream->stream_id);
    }
    reid_rpc_wire_touch(&stream->channel->wire);
}

static void decide_by_reset(reid_rpc_stream *stream, uint32_t error_code)
{
    char sentence[160];
    switch (error_code) {
    case NGHTTP2_NO_ERROR:
        decide(stream, REID_ERR_INTERNAL, "the server ended the call without a status");
        return;
    case NGHTTP2_REFUSED_STREAM:
        decide(stream, REID_ERR_UNAVAILABLE, "the server takes no new calls at the moment");
        return;
    case NGHTTP2_CANCEL:
        decide(stream, REID_ERR_CANCELLED, "the server cancelled the call");
        return;
    case NGHTTP2_ENHANCE_YOUR_CALM:
        decide(stream, REID_ERR_EXHAUSTED, "the server was asked too much");
        return;
    default:
        snprintf(sentence, sizeof sentence, "the server reset the call (%s)",
                 nghttp2_http2_strerror(error_code));
        decide(stream, REID_ERR_INTERNAL, sentence);
    }
}

void reid_rpc_stream_closed(reid_rpc_stream *stream, uint32_t error_code)
{
    stream->detached = true;
    decide_by_reset(stream, error_code);
    post(stream);
}

void reid_rpc_stream_lost(reid_rpc_stream *stream, const reid_error *why)
{
    stream->detached = true;
    decide(stream, why->code, why->text);
    post(stream);
}

/* ---- requests ---- */

static ssize_t read_request(nghttp2_session *session, int32_t stream_id, uint8_t *buffer,
                            size_t size, uint32_t *data_flags, nghttp2_data_source *source,
                            void *user)
{
    reid_rpc_stream *stream = source->ptr;
    size_t n = reid_rpc_outbox_read(&stream->outbox, buffer, size);
    if (stream->outbox.crossed || stream->outbox.refused)
        post(stream);
    if (stream->outbox.bytes == 0 && stream->half_closed)
        *data_flags |= NGHTTP2_DATA_FLAG_EOF;
    else if (n == 0) {
        stream->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    return (ssize_t)n;
}

static nghttp2_nv pair(const char *name, const char *value, uint8_t more_flags)
{
    return (nghttp2_nv){(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name),
                        strlen(value), (uint8_t)(NGHTTP2_NV_FLAG_NO_COPY_NAME | more_flags)};
}

static void timed_out(reid_rpc_alarm *alarm)
{
    reid_rpc_stream *stream = REID_RPC_OWNER(alarm, reid_rpc_stream, alarm);
    char sentence[REID_RPC_SENTENCE_BYTES];
    snprintf(sentence, sizeof sentence, "reidd at %s has not answered within %u ms",
             stream->channel->address, stream->timeout_ms);
    abort_stream(stream, REID_ERR_TIMEOUT, sentence);
}

static int32_t submit(reid_rpc_stream *stream, const char *path, const char *caller)
{
    enum { FIXED = NGHTTP2_NV_FLAG_NO_COPY_VALUE };
    char timeout[16];
    nghttp2_nv pairs[9] = {
        pair(":method", "POST", FIXED),
        pair(":scheme", stream->channel->tls ? "https" : "http", FIXED),
        pair(":path", path, 0),
        pair(":authority", "localhost", FIXED),
        pair("te", "trailers", FIXED),
        pair("content-type", "application/grpc", FIXED),
        pair("user-agent", "reidd-rpc/1", FIXED),
    };
    size_t count = 7;
    if (stream->timeout_ms) {
        reid_rpc_timeout_format(timeout, stream->timeout_ms);
        pairs[count++] = pair("grpc-timeout", timeout, 0);
    }
    if (caller)
        pairs[count++] = pair("reid-caller", caller, 0);
    nghttp2_data_provider provider = {.source.ptr = stream, .read_callback = read_request};
    return nghttp2_submit_request(stream->channel->wire.session, NULL, pairs, count, &provider,
                                  stream);
}

reid_status reid_rpc_channel_open(reid_rpc_channel *channel, const char *path,
                                  const ProtobufCMessageDescriptor *output,
                                  const reid_rpc_stream_events *events, void *user,
                                  const reid_rpc_stream_options *options,
                                  reid_rpc_stream **ret_stream, reid_error *err)
{
    if (channel->lost && channel->why.code != REID_OK)
        return reid_fail(err, channel->why.code, "%s", channel->why.text);
    if (channel->lost)
        return reid_fail(err, REID_ERR_UNAVAILABLE, "the channel is closed");
    if (!nghttp2_session_check_request_allowed(channel->wire.session))
        return reid_fail(err, REID_ERR_UNAVAILABLE,
                         "reidd at %s is going away and takes no new calls", channel->address);
    reid_rpc_stream_options o = options ? *options : (reid_rpc_stream_options){0};
    reid_rpc_stream *stream = reid_xcalloc(1, sizeof *stream);
    stream->channel = channel;
    stream->output = output;
    stream->events = events ? *events : (reid_rpc_stream_events){0};
    stream->user = user;
    stream->timeout_ms = o.timeout_ms;
    stream->paused = o.paused;
    stream->http_status = stream->grpc_code = -1;
    stream->inbox.max_bytes = MAX_ANSWER_BYTES;
    stream->outbox.max_bytes = o.max_queue_bytes ? o.max_queue_bytes : DEFAULT_QUEUE_BYTES;
    reid_rpc_task_init(&stream->task, settle);
    reid_rpc_alarm_init(&stream->alarm, timed_out);
    stream->stream_id = submit(stream, path, o.caller);
    if (stream->stream_id < 0) {
        free(stream);
        return reid_fail(err, REID_ERR_UNAVAILABLE,
                         "this connection to reidd at %s takes no more calls", channel->address);
    }
    reid_rpc_list_append(&channel->streams, &stream->node);
    if (o.timeout_ms)
        reid_rpc_alarm_set(&channel->pump, &stream->alarm, o.timeout_ms);
    reid_rpc_wire_touch(&channel->wire);
    *ret_stream = stream;
    return REID_OK;
}

static void wake(reid_rpc_stream *stream)
{
    if (stream->deferred) {
        stream->deferred = false;
        nghttp2_session_resume_data(stream->channel->wire.session, stream->stream_id);
    }
    reid_rpc_wire_touch(&stream->channel->wire);
}

reid_status reid_rpc_stream_send(reid_rpc_stream *stream, const ProtobufCMessage *request)
{
    if (stream->ended || stream->detached)
        return REID_ERR_CANCELLED;
    if (stream->half_closed)
        return REID_ERR_PRECONDITION;
    REID_TRY(reid_rpc_outbox_push(&stream->outbox, request, 0));
    wake(stream);
    return REID_OK;
}

void reid_rpc_stream_half_close(reid_rpc_stream *stream)
{
    if (stream->half_closed || stream->detached)
        return;
    stream->half_closed = true;
    wake(stream);
}

void reid_rpc_stream_cancel(reid_rpc_stream *stream)
{
    if (!stream->reported)
        abort_stream(stream, REID_ERR_CANCELLED, "the call was cancelled");
}

void reid_rpc_stream_pause(reid_rpc_stream *stream, bool paused)
{
    stream->paused = paused;
    if (!paused)
        post(stream);
}

void reid_rpc_stream_keep(reid_rpc_stream *stream)
{
    stream->keep = true;
}

size_t reid_rpc_stream_queued(const reid_rpc_stream *stream)
{
    return stream->outbox.bytes;
}
