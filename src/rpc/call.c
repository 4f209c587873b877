#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/str.h"
#include "rpc/code.h"
#include "rpc/server_impl.h"
#include "rpc/text.h"
#include "rpc/unpack.h"

static void settle(reid_rpc_task *task);
static void deadline_over(reid_rpc_alarm *alarm);
static void linger_over(reid_rpc_alarm *alarm);

static bool one_request(const reid_rpc_call *call)
{
    reid_rpc_kind kind = call->row->method->kind;
    return kind == REID_RPC_UNARY || kind == REID_RPC_SERVER_STREAM;
}

static bool one_answer(const reid_rpc_call *call)
{
    reid_rpc_kind kind = call->row->method->kind;
    return kind == REID_RPC_UNARY || kind == REID_RPC_CLIENT_STREAM;
}

/* ---- request headers ---- */

reid_rpc_call *reid_rpc_call_new(reid_rpc_conn *conn, int32_t stream_id)
{
    reid_rpc_call *call = reid_xcalloc(1, sizeof *call);
    call->server = conn->server;
    call->conn = conn;
    call->listener = conn->listener;
    call->peer = conn->peer;
    call->stream_id = stream_id;
    call->timeout_ms = UINT64_MAX;
    call->http_status = 200;
    call->inbox.quota = &conn->server->receive;
    call->outbox.max_bytes = conn->server->limits.max_queue_bytes;
    reid_rpc_list_init(&call->in_line);
    reid_rpc_task_init(&call->task, settle);
    reid_rpc_alarm_init(&call->alarm, deadline_over);
    reid_rpc_list_append(&conn->calls, &call->node);
    reid_rpc_crowd_look(conn);
    conn->server->call_count++;
    return call;
}

static bool is(const char *name, size_t length, const char *wanted)
{
    return length == strlen(wanted) && memcmp(name, wanted, length) == 0;
}

/* "operator ada" */
static bool read_caller(reid_rpc_call *call, const char *value, size_t length)
{
    const char *space = memchr(value, ' ', length);
    size_t role = space ? (size_t)(space - value) : 0;
    if (role == 0 || role >= REID_RPC_ROLE_BYTES || length - role - 1 == 0 ||
        length - role - 1 >= REID_RPC_NAME_BYTES || call->peer.for_role[0])
        return false;
    for (size_t i = 0; i < length; i++)
        if (value[i] < ' ' || value[i] > '~')
            return false;
    memcpy(call->peer.for_role, value, role);
    memcpy(call->peer.for_name, space + 1, length - role - 1);
    return true;
}

void reid_rpc_call_header(reid_rpc_call *call, const char *name, size_t name_length,
                          const char *value, size_t value_length)
{
    if (is(name, name_length, ":path") && !call->path) {
        call->row = reid_rpc_server_find(call->server, value, value_length);
        call->path = reid_xstrndup(value, REID_MIN(value_length, (size_t)200));
    } else if (is(name, name_length, ":method")) {
        call->is_post = is(value, value_length, "POST");
    } else if (is(name, name_length, "content-type") && !call->content_type) {
        call->content_type = reid_xstrndup(value, REID_MIN(value_length, (size_t)100));
    } else if (is(name, name_length, "grpc-timeout")) {
        call->bad_timeout =
            reid_rpc_timeout_parse(value, value_length, &call->timeout_ms) != REID_OK;
    } else if (is(name, name_length, "reid-caller")) {
        call->bad_caller = !read_caller(call, value, value_length);
    }
}

/* Ends with a sentence made on the spot. */
static void refuse(reid_rpc_call *call, reid_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void refuse(reid_rpc_call *call, reid_status status, const char *format, ...)
{
    char sentence[REID_RPC_SENTENCE_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    reid_rpc_call_end(call, status, sentence, true);
}

/* False when the request is refused. */
static bool check_http(reid_rpc_call *call)
{
    const char *type = call->content_type ? call->content_type : "";
    if (call->header_bytes > call->server->limits.max_header_bytes) {
        refuse(call, REID_ERR_EXHAUSTED, "the request's headers have %zu bytes, %u are allowed",
               call->header_bytes, call->server->limits.max_header_bytes);
    } else if (!call->is_post) {
        call->http_status = 405;
        refuse(call, REID_ERR_INVALID, "gRPC requests are made with POST");
    } else if (!reid_str_starts(type, "application/grpc") ||
               (type[16] && !strchr("+;", type[16]))) {
        call->http_status = 415;
        refuse(call, REID_ERR_INVALID, "content-type '%s' is not application/grpc", type);
    } else if (type[16] == '+' &&
               (!reid_str_starts(type + 16, "+proto") || (type[22] && type[22] != ';'))) {
        refuse(call, REID_ERR_UNSUPPORTED,
               "content-type '%s' is not supported; use application/grpc+proto", type);
    }
    return !call->ended;
}

static bool check_method(reid_rpc_call *call)
{
    if (!call->row) {
        refuse(call, REID_ERR_UNSUPPORTED, "there is no method '%s' here",
               call->path ? call->path : "");
    } else if (call->bad_timeout) {
        refuse(call, REID_ERR_INVALID, "the grpc-timeout header is malformed");
    } else if (call->bad_caller) {
        refuse(call, REID_ERR_INVALID, "the reid-caller header is malformed");
    } else if (call->server->guard) {
        reid_error err = {0};
        reid_status status =
            call->server->guard(call->row->method, &call->peer, call->server->guard_user, &err);
        if (status != REID_OK)
            refuse(call, status, "%s", err.text[0] ? err.text : "this is not allowed to you");
    }
    return !call->ended;
}

void reid_rpc_call_begin(reid_rpc_call *call)
{
    if (!check_http(call) || !check_method(call))
        return;
    const reid_rpc_method *method = call->row->method;
    uint32_t largest = call->server->limits.max_message_bytes;
    call->inbox.max_bytes = method->max_request_bytes ? method->max_request_bytes : largest;
    if (method->deadline_ms)
        call->timeout_ms = REID_MIN(call->timeout_ms, method->deadline_ms);
    if (call->timeout_ms != UINT64_MAX)
        reid_rpc_alarm_set(&call->server->pump, &call->alarm, call->timeout_ms);
    if (method->max_queue_bytes)
        call->outbox.max_bytes = method->max_queue_bytes;
    reid_rpc_room_open(call);
    call->begun = true;
    if (method->on_open)
        method->on_open(call, call->row->service);
}

static void deadline_over(reid_rpc_alarm *alarm)
{
    reid_rpc_call *call = REID_RPC_OWNER(alarm, reid_rpc_call, alarm);
    refuse(call, REID_ERR_TIMEOUT, "the deadline of %" PRIu64 " ms has passed", call->timeout_ms);
}

/* ---- request messages ---- */

static void deliver(reid_rpc_call *call, const uint8_t *bytes, size_t size)
{
    const reid_rpc_method *method = call->row->method;
    ProtobufCMessage *request;
    reid_error err = {0};
    reid_status status = reid_rpc_unpack(method->input, bytes, size,
                                         call->server->limits.max_unpacked_bytes, &request, &err);
    if (status != REID_OK) {
        reid_rpc_call_end(call, status, err.text, true);
        return;
    }
    method->on_message(call, request, call->row->service);
    protobuf_c_message_free_unpacked(request, NULL);
}

static void drop_held(reid_rpc_call *call)
{
    if (call->held)
        call->server->receive.used -= call->held_bytes;
    free(call->held);
    call->held = NULL;
}

/* The request of a one-request call waits for the client's half-close. */
static void hold(reid_rpc_call *call, const uint8_t *bytes, size_t size)
{
    reid_rpc_quota *quota = &call->server->receive;
    if (size > quota->limit - REID_MIN(quota->used, quota->limit)) {
        refuse(call, REID_ERR_EXHAUSTED,
               "too many unfinished messages are being received at the moment; try again");
        return;
    }
    call->held = reid_alloc(REID_MAX(size, (size_t)1), 1);
    if (!call->held) {
        refuse(call, REID_ERR_EXHAUSTED, "there is no memory for a message of %zu bytes", size);
        return;
    }
    memcpy(call->held, bytes, size);
    call->held_bytes = size;
    quota->used += size;
}

static void message_received(reid_rpc_call *call, const uint8_t *bytes, size_t size, bool last)
{
    if (!one_request(call)) {
        deliver(call, bytes, size);
    } else if (call->got_request) {
        refuse(call, REID_ERR_INVALID, "%s takes one request message, but more came",
               call->row->method->path);
    } else {
        call->got_request = true;
        if (last)
            deliver(call, bytes, size);
        else
            hold(call, bytes, size);
    }
}

void reid_rpc_call_receive(reid_rpc_call *call, const uint8_t *bytes, size_t size, bool last)
{
    while (!call->ended) {
        const uint8_t *message;
        size_t message_size = 0;
        reid_error err = {0};
        reid_status status =
            reid_rpc_inbox_feed(&call->inbox, &bytes, &size, &message, &message_size, &err);
        if (status != REID_OK)
            reid_rpc_call_end(call, status, err.text, true);
        if (status != REID_OK || !message)
            return;
        message_received(call, message, message_size, last && size == 0);
    }
}

void reid_rpc_call_half_closed(reid_rpc_call *call)
{
    call->half_closed = true;
    if (call->ended)
        return;
    const reid_rpc_method *method = call->row->method;
    if (reid_rpc_inbox_partial(&call->inbox)) {
        refuse(call, REID_ERR_INVALID, "the request ended in the middle of a message");
    } else if (one_request(call)) {
        if (call->held)
            deliver(call, call->held, call->held_bytes);
        else if (!call->got_request)
            refuse(call, REID_ERR_INVALID, "%s needs a request message, but none came",
                   method->path);
    } else if (method->on_half_close) {
        method->on_half_close(call, call->row->service);
    } else {
        reid_rpc_call_finish(call, REID_OK, NULL);
    }
    drop_held(call);
}

/* ---- answers ---- */

static nghttp2_nv pair(const char *name, const char *value, uint8_t flags)
{
    return (nghttp2_nv){(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name),
                        strlen(value), flags};
}

enum { CONSTANT = NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE };

/* Appends grpc-status and grpc-message; returns their number. The values are copied by nghttp2. */
static size_t status_pairs(const reid_rpc_call *call, char code[4], nghttp2_nv *pairs)
{
    snprintf(code, 4, "%d", call->code);
    pairs[0] = pair("grpc-status", code, NGHTTP2_NV_FLAG_NO_COPY_NAME);
    if (!call->sentence)
        return 1;
    pairs[1] = pair("grpc-message", call->sentence, NGHTTP2_NV_FLAG_NO_COPY_NAME);
    return 2;
}

static ssize_t read_answer(nghttp2_session *session, int32_t stream_id, uint8_t *buffer,
                           size_t size, uint32_t *data_flags, nghttp2_data_source *source,
                           void *user)
{
    reid_rpc_call *call = source->ptr;
    size_t n = reid_rpc_outbox_read(&call->outbox, buffer, size);
    if (call->outbox.crossed || call->outbox.refused)
        reid_rpc_task_post(&call->server->pump, &call->task);
    if (call->outbox.bytes > 0)
        return (ssize_t)n;
    if (call->ended) {
        char code[4];
        nghttp2_nv pairs[2];
        size_t count = status_pairs(call, code, pairs);
        *data_flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
        if (nghttp2_submit_trailer(session, stream_id, pairs, count) != 0)
            return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
        return (ssize_t)n;
    }
    if (n > 0)
        return (ssize_t)n;
    call->deferred = true;
    return NGHTTP2_ERR_DEFERRED;
}

static void send_headers(reid_rpc_call *call)
{
    const nghttp2_nv pairs[] = {
        pair(":status", "200", CONSTANT),
        pair("content-type", "application/grpc", CONSTANT),
        pair("grpc-accept-encoding", "identity", CONSTANT),
    };
    nghttp2_data_provider provider = {.source.ptr = call, .read_callback = read_answer};
    call->headers_sent = true;
    if (nghttp2_submit_response(call->conn->wire.session, call->stream_id, pairs,
                                REID_COUNT_OF(pairs), &provider) != 0)
        nghttp2_submit_rst_stream(call->conn->wire.session, NGHTTP2_FLAG_NONE, call->stream_id,
                                  NGHTTP2_INTERNAL_ERROR);
}

static void send_trailers_only(reid_rpc_call *call)
{
    char http_status[12], code[4];
    snprintf(http_status, sizeof http_status, "%d", call->http_status);
    nghttp2_nv pairs[5] = {
        pair(":status", http_status, NGHTTP2_NV_FLAG_NO_COPY_NAME),
        pair("content-type", "application/grpc", CONSTANT),
        pair("grpc-accept-encoding", "identity", CONSTANT),
    };
    size_t count = 3 + status_pairs(call, code, pairs + 3);
    call->headers_sent = true;
    if (nghttp2_submit_response(call->conn->wire.session, call->stream_id, pairs, count, NULL) != 0)
        nghttp2_submit_rst_stream(call->conn->wire.session, NGHTTP2_FLAG_NONE, call->stream_id,
                                  NGHTTP2_INTERNAL_ERROR);
}

/* There is something to send: data, or the end. */
static void wake(reid_rpc_call *call)
{
    if (call->deferred) {
        call->deferred = false;
        nghttp2_session_resume_data(call->conn->wire.session, call->stream_id);
    }
    reid_rpc_wire_touch(&call->conn->wire);
}

static reid_status may_answer(const reid_rpc_call *call)
{
    if (call->ended)
        return REID_ERR_CANCELLED;
    return one_answer(call) && call->answers > 0 ? REID_ERR_INVALID : REID_OK;
}

/* An answer was queued, or refused. */
static reid_status answered(reid_rpc_call *call, reid_status status)
{
    if (status != REID_OK) {
        reid_rpc_room_refused(call);
        return status;
    }
    call->answers++;
    if (!call->headers_sent)
        send_headers(call);
    wake(call);
    return REID_OK;
}

reid_status reid_rpc_call_send(reid_rpc_call *call, const ProtobufCMessage *answer)
{
    REID_TRY(may_answer(call));
    REID_ASSERT(answer->descriptor == call->row->method->output);
    return answered(
        call, reid_rpc_outbox_push(&call->outbox, answer, call->server->limits.max_message_bytes));
}

reid_status reid_rpc_call_send_packed(reid_rpc_call *call, const void *bytes, size_t size)
{
    REID_TRY(may_answer(call));
    return answered(call, reid_rpc_outbox_push_packed(&call->outbox, bytes, size,
                                                      call->server->limits.max_message_bytes));
}

size_t reid_rpc_call_queued(const reid_rpc_call *call)
{
    return call->outbox.bytes;
}

void reid_rpc_call_end(reid_rpc_call *call, reid_status status, const char *sentence, bool drop)
{
    if (call->ended)
        return;
    call->ended = true;
    reid_rpc_list_remove(&call->in_line);
    call->status = status;
    call->code = reid_rpc_code_from_status(status);
    if (!sentence && status != REID_OK)
        sentence = reid_status_name(status);
    if (sentence && sentence[0])
        call->sentence = reid_rpc_percent_encode(sentence);
    if (drop)
        reid_rpc_outbox_drop(&call->outbox);
    reid_rpc_task_post(&call->server->pump, &call->task);
    reid_rpc_alarm_cancel(&call->server->pump, &call->alarm);
    if (call->detached)
        return;
    if (!call->headers_sent)
        send_trailers_only(call);
    wake(call);
    reid_rpc_alarm_init(&call->alarm, linger_over);
    call->lingering_bytes = call->outbox.bytes;
    reid_rpc_alarm_set(&call->server->pump, &call->alarm, call->server->limits.linger_ms);
}

static void linger_over(reid_rpc_alarm *alarm)
{
    reid_rpc_call *call = REID_RPC_OWNER(alarm, reid_rpc_call, alarm);
    if (call->outbox.bytes < call->lingering_bytes) { /* the client reads, if slowly */
        call->lingering_bytes = call->outbox.bytes;
        reid_rpc_alarm_set(&call->server->pump, alarm, call->server->limits.linger_ms);
        return;
    }
    reid_rpc_call_reset(call, NULL);
}

void reid_rpc_call_reset(reid_rpc_call *call, const char *sentence)
{
    reid_rpc_call_end(call, REID_ERR_EXHAUSTED, sentence, true);
    reid_rpc_outbox_fini(&call->outbox);
    nghttp2_submit_rst_stream(call->conn->wire.session, NGHTTP2_FLAG_NONE, call->stream_id,
                              NGHTTP2_CANCEL);
    reid_rpc_wire_touch(&call->conn->wire);
}

void reid_rpc_call_finish(reid_rpc_call *call, reid_status status, const char *sentence)
{
    if (!call->ended && status == REID_OK && one_answer(call) && call->answers == 0) {
        status = REID_ERR_INTERNAL;
        sentence = "the handler finished without an answer";
    }
    reid_rpc_call_end(call, status, sentence, false);
}

void reid_rpc_call_reply(reid_rpc_call *call, const ProtobufCMessage *answer)
{
    reid_status status = reid_rpc_call_send(call, answer);
    if (status == REID_ERR_INVALID)
        refuse(call, REID_ERR_EXHAUSTED,
               "the answer is longer than the %u bytes that a client accepts",
               call->server->limits.max_message_bytes);
    else
        reid_rpc_call_finish(call, status,
                             status == REID_OK
                                 ? NULL
                                 : "there is no room for the answer: too many are not "
                                   "being read at the moment; try again");
}

void reid_rpc_call_fail(reid_rpc_call *call, const reid_error *err)
{
    reid_rpc_call_finish(call, err->code == REID_OK ? REID_ERR_INTERNAL : err->code, err->text);
}

/* ---- end ---- */

static void free_call(reid_rpc_call *call)
{
    reid_rpc_server *server = call->server;
    reid_rpc_list_remove(&call->node);
    reid_rpc_task_cancel(&call->task);
    reid_rpc_alarm_cancel(&server->pump, &call->alarm);
    drop_held(call);
    reid_rpc_inbox_fini(&call->inbox);
    reid_rpc_outbox_fini(&call->outbox);
    free(call->path);
    free(call->content_type);
    free(call->sentence);
    free(call);
    server->call_count--;
}

static void report(reid_rpc_call *call)
{
    if (call->reported)
        return;
    call->reported = true;
    if (call->begun && call->on_close)
        call->on_close(call);
}

/* The call's task: everything that is told to the handler from the loop, and the only place where a
 * call is freed (but for the end of the server). */
static void settle(reid_rpc_task *task)
{
    reid_rpc_call *call = REID_RPC_OWNER(task, reid_rpc_call, task);
    if (reid_rpc_outbox_take_drain(&call->outbox) && !call->ended && call->on_drain)
        call->on_drain(call);
    if (!call->ended)
        return;
    drop_held(call);
    reid_rpc_inbox_fini(&call->inbox);
    report(call);
    if (!call->detached)
        return;
    reid_rpc_server *server = call->server;
    free_call(call);
    reid_rpc_server_check_done(server);
}

void reid_rpc_call_report_now(reid_rpc_call *call)
{
    report(call);
    free_call(call);
}

void reid_rpc_call_detach(reid_rpc_call *call, bool lost)
{
    reid_rpc_conn *conn = call->conn;
    call->detached = true;
    call->conn = NULL;
    reid_rpc_list_remove(&call->node);
    reid_rpc_crowd_look(conn);
    reid_rpc_list_append(&call->server->lost_calls, &call->node);
    reid_rpc_alarm_cancel(&call->server->pump, &call->alarm);
    reid_rpc_outbox_fini(&call->outbox);
    reid_rpc_call_end(call, REID_ERR_CANCELLED,
                      lost ? "the client is gone" : "the client cancelled the call", true);
    reid_rpc_task_post(&call->server->pump, &call->task);
}

void reid_rpc_call_set_user(reid_rpc_call *call, void *user)
{
    call->user = user;
}

void *reid_rpc_call_user(const reid_rpc_call *call)
{
    return call->user;
}

void reid_rpc_call_on_close(reid_rpc_call *call, void (*on_close)(reid_rpc_call *call))
{
    call->on_close = on_close;
}

void reid_rpc_call_on_drain(reid_rpc_call *call, void (*on_drain)(reid_rpc_call *call))
{
    call->on_drain = on_drain;
}

bool reid_rpc_call_ended(const reid_rpc_call *call)
{
    return call->ended;
}

reid_status reid_rpc_call_status(const reid_rpc_call *call)
{
    return call->status;
}

const reid_rpc_peer *reid_rpc_call_peer(const reid_rpc_call *call)
{
    return &call->peer;
}

const reid_rpc_method *reid_rpc_call_method(const reid_rpc_call *call)
{
    return call->row->method;
}
