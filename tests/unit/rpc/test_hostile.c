/* Peers that break the rules, by accident or on purpose. After each of them the server serves the
 * others as before. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/rng.h"
#include "echo.h"
#include "harness/harness.h"
#include "raw.h"
#include "rpc/client.h"

typedef struct fixture {
    echo_server *server;
    raw_client *raw;
} fixture;

static const reid_rpc_limits limits = {
    .max_connections = 500,
    .max_streams = 10,
    .max_message_bytes = 100000,
    .max_header_bytes = 4096,
    .max_resets_per_second = 20,
    .max_control_per_second = 20,
    .preface_timeout_ms = 10000,
    .max_receive_bytes = 250000,
};

static int set_up(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    f->server = echo_server_new(&limits);
    f->raw = raw_connect(echo_server_path(f->server));
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    raw_free(f->raw);
    echo_server_free(f->server);
    free(f);
    return 0;
}

static bool one_connection(void *server)
{
    return echo_server_connections(server) == 1;
}

typedef struct attempt {
    const char *address;
    reid_rpc_client *client;
} attempt;

static bool can_connect(void *context)
{
    attempt *a = context;
    return reid_rpc_client_connect(a->address, 0, &a->client, NULL) == REID_OK;
}

/* Another client is served, once the server has noticed that the last ones are gone. */
static void assert_serving(fixture *f)
{
    reid_error err = {0};
    attempt a = {.address = echo_server_address(f->server)};
    assert_true(reid_test_wait(can_connect, &a, 10));
    reid_rpc_client *client = a.client;
    Reid__Test__Ask request = REID__TEST__ASK__INIT;
    request.number = 42;
    ProtobufCMessage *answer;
    reid_assert_ok(reid_rpc_client_unary(client, ECHO_PATH "Say", &request.base,
                                         &reid__test__answer__descriptor, 5000, &answer, &err),
                   &err);
    assert_int_equal(((Reid__Test__Answer *)answer)->number, 42);
    protobuf_c_message_free_unpacked(answer, NULL);
    reid_rpc_client_free(client);
}

static bool no_calls(void *server)
{
    return echo_server_calls(server) == 0;
}

static bool no_connections(void *server)
{
    return echo_server_connections(server) == 0;
}

static void assert_empty(fixture *f)
{
    raw_free(f->raw);
    f->raw = NULL;
    assert_serving(f); /* turns the loop, too, so that the counts are new */
    assert_true(reid_test_wait(no_calls, f->server, 10));
    assert_true(reid_test_wait(no_connections, f->server, 10));
}

static void garbage_bytes(void **state)
{
    fixture *f = *state;
    for (uint32_t round = 0; round < 40; round++) {
        raw_client *raw = raw_connect(echo_server_path(f->server));
        if (round % 2)
            raw_begin(raw);
        reid_rng rng = reid_rng_stream(7, REID_RNG_TEST, round, 0);
        uint8_t bytes[3000];
        for (size_t i = 0; i < sizeof bytes; i++)
            bytes[i] = (uint8_t)reid_rng_u32(&rng);
        raw_send(raw, bytes, sizeof bytes);
        if (round % 4 < 2)
            assert_true(raw_wait_closed(raw).closed || round % 2);
        raw_free(raw);
    }
    assert_empty(f);
}

static void http1_is_hung_up_on(void **state)
{
    fixture *f = *state;
    static const char text[] = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
    raw_send(f->raw, text, sizeof text - 1);
    assert_true(raw_wait_closed(f->raw).closed);
    assert_empty(f);
}

static void connection_cut_anywhere(void **state)
{
    fixture *f = *state;
    uint8_t whole[500];
    memcpy(whole, NGHTTP2_CLIENT_MAGIC, NGHTTP2_CLIENT_MAGIC_LEN);
    size_t size = NGHTTP2_CLIENT_MAGIC_LEN;
    size += raw_make_frame(whole + size, NGHTTP2_SETTINGS, 0, 0, NULL, 0);
    static const char *const pairs[] = {
        ":method",       "POST",         ":scheme",          "http", ":authority", "x", ":path",
        ECHO_PATH "Say", "content-type", "application/grpc", NULL};
    uint8_t block[300];
    size_t block_size = raw_make_headers(block, pairs);
    size += raw_make_frame(whole + size, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, 1, block,
                           block_size);
    static const uint8_t message[] = {0, 0, 0, 0, 5, 0x0a, 3, 'a', 'b', 'c'};
    size += raw_make_frame(whole + size, NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, 1, message,
                           sizeof message);
    for (size_t cut = 0; cut <= size; cut++) {
        raw_client *raw = raw_connect(echo_server_path(f->server));
        raw_send(raw, whole, cut);
        if (cut == size) {
            raw_answer answer = raw_wait(raw, 1);
            assert_int_equal(answer.grpc_status, 0);
            assert_true(answer.data_bytes >= 5 + 5); /* head, text; and the uid when it is not 0 */
        }
        raw_free(raw);
    }
    assert_empty(f);
}

static void message_in_single_bytes(void **state)
{
    fixture *f = *state;
    raw_begin(f->raw);
    raw_request(f->raw, 1, ECHO_PATH "Say");
    static const uint8_t message[] = {0, 0, 0, 0, 5, 0x0a, 3, 'a', 'b', 'c'};
    for (size_t i = 0; i < sizeof message; i++)
        raw_send_frame(f->raw, NGHTTP2_DATA, 0, 1, message + i, 1);
    raw_send_frame(f->raw, NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, 1, NULL, 0);
    assert_int_equal(raw_wait(f->raw, 1).grpc_status, 0);
    assert_empty(f);
}

/* One request on a new stream: the given DATA payload, then what came back. */
static raw_answer ask_raw(fixture *f, uint32_t stream, const char *path, const void *data,
                          size_t size)
{
    raw_request(f->raw, stream, path);
    raw_send_frame(f->raw, NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, stream, data, size);
    return raw_wait(f->raw, stream);
}

static void bad_framing_gets_a_status(void **state)
{
    fixture *f = *state;
    static const struct {
        const char *method;
        uint8_t data[20];
        size_t size;
        int status;
        const char *message;
    } rows[] = {
        {"Say",
         {1, 0, 0, 0, 0},
         5,
         12,
         "compressed messages are not supported; send them with grpc-encoding identity"},
        {"Say", {7, 0, 0, 0, 0}, 5, 3, "a message begins with flag 7, which is neither 0 nor 1"},
        {"Say",
         {0, 0, 1, 0x86, 0xa1},
         5,
         8,
         "a message of 100001 bytes is longer than the 100000 bytes allowed"},
        {"Say",
         {0, 255, 255, 255, 255},
         5,
         8,
         "a message of 4294967295 bytes is longer than the 100000 bytes allowed"},
        {"Say", {0}, 0, 3, ECHO_PATH "Say needs a request message, but none came"},
        {"Say", {0, 0, 0}, 3, 3, "the request ended in the middle of a message"},
        {"Say", {0, 0, 0, 0, 9, 1, 2}, 7, 3, "the request ended in the middle of a message"},
        {"Say",
         {0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
         10,
         3,
         ECHO_PATH "Say takes one request message, but more came"},
        {"Say", {0, 0, 0, 0, 2, 0xff, 0xff}, 7, 3, "the bytes sent are not a valid reid.test.Ask"},
        {"Say", {0, 0, 0, 0, 2, 0x0a, 0x70}, 7, 3, "the bytes sent are not a valid reid.test.Ask"},
        {"Say", {0, 0, 0, 0, 0}, 5, 0, ""},
        {"Sum", {0}, 0, 0, ""},
        {"Sum", {0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 10, 0, ""},
        {"Sum", {0, 0, 0, 0, 0, 1}, 6, 3, "the request ended in the middle of a message"},
        {"Chat", {0, 0, 0, 0, 1, 0xff}, 6, 3, "the bytes sent are not a valid reid.test.Ask"},
    };
    raw_begin(f->raw);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char path[60];
        snprintf(path, sizeof path, ECHO_PATH "%s", rows[i].method);
        raw_answer answer = ask_raw(f, (uint32_t)(2 * i + 1), path, rows[i].data, rows[i].size);
        assert_int_equal(answer.grpc_status, rows[i].status);
        assert_int_equal(answer.http_status, 200);
        assert_string_equal(answer.message, rows[i].message);
    }
    assert_empty(f);
}

static void early_answer_stops_the_upload(void **state)
{
    fixture *f = *state;
    raw_begin(f->raw);
    raw_request(f->raw, 1, "/no.such/Method");
    raw_answer answer = raw_wait(f->raw, 1);
    assert_int_equal(answer.grpc_status, 12);
    answer =
        raw_wait(f->raw, 1); /* RST_STREAM(NO_ERROR) follows, because we have not half-closed */
    assert_int_equal(answer.reset, NGHTTP2_NO_ERROR);
    assert_empty(f);
}

static raw_answer ask_with(fixture *f, uint32_t stream, const char *method, const char *type,
                           const char *name, const char *value)
{
    const char *const pairs[] = {
        ":method",       method,         ":scheme", "http", ":authority", "x", ":path",
        ECHO_PATH "Say", "content-type", type,      name,   value,        NULL};
    raw_send_headers(f->raw, stream, NGHTTP2_FLAG_END_HEADERS, pairs);
    raw_message(f->raw, stream, NGHTTP2_FLAG_END_STREAM, 0, NULL, 0);
    return raw_wait(f->raw, stream);
}

static void bad_headers_get_a_status(void **state)
{
    fixture *f = *state;
    raw_begin(f->raw);
    uint32_t stream = 1;
#define ASK(...) ask_with(f, (stream += 2), __VA_ARGS__)
    raw_answer answer = ASK("POST", "application/json", NULL, NULL);
    assert_int_equal(answer.http_status, 415);
    assert_int_equal(answer.grpc_status, 3);
    assert_string_equal(answer.message, "content-type 'application/json' is not application/grpc");
    assert_int_equal(ASK("POST", "application/grpcx", NULL, NULL).http_status, 415);
    assert_int_equal(ASK("GET", "application/grpc", NULL, NULL).http_status, 405);
    answer = ASK("POST", "application/grpc+json", NULL, NULL);
    assert_int_equal(answer.http_status, 200);
    assert_int_equal(answer.grpc_status, 12);
    assert_int_equal(ASK("POST", "application/grpc+proto", NULL, NULL).grpc_status, 0);
    assert_int_equal(ASK("POST", "application/grpc;charset=utf-8", NULL, NULL).grpc_status, 0);
    assert_int_equal(ASK("POST", "application/grpc", "grpc-timeout", "soon").grpc_status, 3);
    assert_int_equal(ASK("POST", "application/grpc", "grpc-timeout", "10S").grpc_status, 0);
    assert_int_equal(ASK("POST", "application/grpc", "trace-bin", "AAEC").grpc_status, 0);
#undef ASK
    assert_empty(f);
}

static void header_list_is_bounded(void **state)
{
    fixture *f = *state;
    raw_begin(f->raw);
    char big[5000];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    raw_answer answer = ask_with(f, 1, "POST", "application/grpc", "x-big", big);
    assert_int_equal(answer.grpc_status, 8);
    assert_int_equal(ask_with(f, 3, "POST", "application/grpc", NULL, NULL).grpc_status, 0);
    /* sixteen times the limit: the connection ends */
    static const char *pairs[2 * 14 + 11] = {
        ":method", "POST",  ":scheme",       "http",         ":authority",
        "x",       ":path", ECHO_PATH "Say", "content-type", "application/grpc"};
    for (int i = 0; i < 14; i++) {
        pairs[10 + 2 * i] = "x-big";
        pairs[11 + 2 * i] = big;
    }
    uint8_t *block = malloc(100000);
    size_t size = raw_make_headers(block, pairs), at = 0;
    for (uint8_t type = NGHTTP2_HEADERS; at < size; type = NGHTTP2_CONTINUATION) {
        size_t take = size - at < 16000 ? size - at : 16000;
        uint8_t flags = at + take == size ? NGHTTP2_FLAG_END_HEADERS : 0;
        raw_send_frame(f->raw, type, flags, 5, block + at, take);
        at += take;
    }
    free(block);
    assert_int_equal(raw_wait_closed(f->raw).goaway, NGHTTP2_ENHANCE_YOUR_CALM);
    assert_empty(f);
}

static void rapid_reset_is_thrown_out(void **state)
{
    fixture *f = *state;
    raw_begin(f->raw);
    static const uint8_t cancel[] = {0, 0, 0, NGHTTP2_CANCEL};
    for (uint32_t i = 0; i < 2000; i++) {
        raw_request(f->raw, 2 * i + 1, ECHO_PATH "Chat");
        if (!raw_send_frame(f->raw, NGHTTP2_RST_STREAM, 0, 2 * i + 1, cancel, sizeof cancel))
            break;
    }
    assert_int_equal(raw_wait_closed(f->raw).goaway, NGHTTP2_ENHANCE_YOUR_CALM);
    echo_service *echo = echo_server_service(f->server);
    assert_in_range(echo->opened, 1, 300); /* 200 in a burst, 20 a second */
    assert_empty(f);
    assert_int_equal(echo->opened, echo->closed);
}

/* The gRPC core library does that when a call is cancelled before it was written. */
static void reset_of_what_was_never_begun_ends_nothing_else(void **state)
{
    fixture *f = *state;
    raw_begin(f->raw);
    static const uint8_t cancel[] = {0, 0, 0, NGHTTP2_CANCEL};
    static const uint8_t message[] = {0, 0, 0, 0, 5, 0x0a, 3, 'a', 'b', 'c'};
    raw_request(f->raw, 1, ECHO_PATH "Say");
    raw_send_frame(f->raw, NGHTTP2_RST_STREAM, 0, 3, cancel, sizeof cancel);
    raw_send_frame(f->raw, NGHTTP2_RST_STREAM, 0, 7, cancel, sizeof cancel);
    raw_send_frame(f->raw, NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, 1, message, sizeof message);
    assert_int_equal(raw_wait(f->raw, 1).grpc_status, 0);
    assert_int_equal(ask_raw(f, 5, ECHO_PATH "Say", message, sizeof message).grpc_status, 0);
    /* as many as of others */
    for (uint32_t i = 0; i < 2000; i++)
        if (!raw_send_frame(f->raw, NGHTTP2_RST_STREAM, 0, 101 + 2 * i, cancel, sizeof cancel))
            break;
    assert_int_equal(raw_wait_closed(f->raw).goaway, NGHTTP2_ENHANCE_YOUR_CALM);
    assert_empty(f);
}

/* Each bad WINDOW_UPDATE makes the server reset a stream of its own accord. */
static void resets_provoked_from_the_server_count_too(void **state)
{
    fixture *f = *state;
    raw_begin(f->raw);
    static const uint8_t zero[4] = {0};
    for (uint32_t i = 0; i < 2000; i++) {
        raw_request(f->raw, 2 * i + 1, ECHO_PATH "Chat");
        if (!raw_send_frame(f->raw, NGHTTP2_WINDOW_UPDATE, 0, 2 * i + 1, zero, sizeof zero))
            break;
    }
    assert_true(raw_wait_closed(f->raw).goaway > 0);
    assert_in_range(echo_server_service(f->server)->opened, 1, 300);
    assert_empty(f);
}

static void control_floods_are_thrown_out(void **state)
{
    fixture *f = *state;
    static const uint8_t payload[8] = {0};
    static const struct {
        uint8_t type;
        uint32_t stream;
        size_t size;
    } rows[] = {{NGHTTP2_PING, 0, 8},
                {NGHTTP2_SETTINGS, 0, 0},
                {NGHTTP2_PRIORITY, 3, 5},
                {NGHTTP2_DATA, 1, 0}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        raw_client *raw = raw_connect(echo_server_path(f->server));
        raw_begin(raw);
        raw_request(raw, 1, ECHO_PATH "Chat");
        for (int k = 0; k < 1000; k++)
            raw_send_frame(raw, rows[i].type, 0, rows[i].stream, payload, rows[i].size);
        assert_true(raw_wait_closed(raw).goaway > 0);
        raw_free(raw);
        assert_serving(f);
    }
    assert_empty(f);
}

static void streams_per_connection_are_bounded(void **state)
{
    fixture *f = *state;
    raw_begin(f->raw);
    for (uint32_t i = 0; i < 10; i++)
        raw_request(f->raw, 2 * i + 1, ECHO_PATH "Chat");
    raw_request(f->raw, 21, ECHO_PATH "Chat");
    raw_answer answer = raw_wait(f->raw, 21);
    assert_true(answer.reset == NGHTTP2_REFUSED_STREAM || answer.goaway >= 0);
    assert_int_equal(echo_server_service(f->server)->opened, 10);
    assert_empty(f);
}

enum { CONNECTIONS = 4 };

static bool all_have_calls(void *server)
{
    return echo_server_service(server)->opened == CONNECTIONS;
}

static bool is_served(raw_client *raw)
{
    raw_begin(raw);
    raw_request(raw, 1, ECHO_PATH "Sum");
    raw_send_frame(raw, NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, 1, NULL, 0);
    return raw_wait(raw, 1).grpc_status == 0;
}

static echo_server *connect_all(raw_client *raw[CONNECTIONS], size_t busy)
{
    reid_rpc_limits few = limits;
    few.max_connections = CONNECTIONS;
    echo_server *server = echo_server_new(&few);
    for (size_t i = 0; i < CONNECTIONS; i++) {
        raw[i] = raw_connect(echo_server_path(server));
        raw_begin(raw[i]);
        if (i < busy)
            raw_request(raw[i], 1, ECHO_PATH "Chat");
    }
    return server;
}

static void free_all(raw_client *raw[CONNECTIONS], echo_server *server)
{
    for (size_t i = 0; i < CONNECTIONS; i++)
        raw_free(raw[i]);
    assert_empty(&(fixture){.server = server});
    echo_server_free(server);
}

static void connections_are_bounded(void **state)
{
    raw_client *raw[CONNECTIONS];
    echo_server *server = connect_all(raw, CONNECTIONS);
    assert_true(reid_test_wait(all_have_calls, server, 60));
    raw_client *more = raw_connect(echo_server_path(server));
    raw_begin(more);
    assert_true(raw_wait_closed(more).closed);
    raw_free(more);
    for (size_t i = 0; i < CONNECTIONS; i++) {
        raw_send_frame(raw[i], NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, 1, NULL, 0);
        assert_int_equal(raw_wait(raw[i], 1).grpc_status, 0);
    }
    free_all(raw, server);
}

static void connections_without_calls_make_way(void **state)
{
    raw_client *raw[CONNECTIONS];
    echo_server *server = connect_all(raw, 0);
    raw_client *more = raw_connect(echo_server_path(server));
    assert_true(is_served(more));
    assert_true(raw_wait_closed(raw[0]).closed);
    for (size_t i = 1; i < CONNECTIONS; i++) {
        raw_request(raw[i], 1, ECHO_PATH "Sum");
        raw_send_frame(raw[i], NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, 1, NULL, 0);
        assert_int_equal(raw_wait(raw[i], 1).grpc_status, 0);
    }
    raw_free(more);
    free_all(raw, server);
}

/* Not the oldest, but the one that has been without a call for longest. */
static void who_called_lately_stays(void **state)
{
    raw_client *raw[CONNECTIONS];
    echo_server *server = connect_all(raw, 0);
    raw_request(raw[0], 1, ECHO_PATH "Sum");
    raw_send_frame(raw[0], NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, 1, NULL, 0);
    assert_int_equal(raw_wait(raw[0], 1).grpc_status, 0);
    raw_client *more = raw_connect(echo_server_path(server));
    assert_true(is_served(more));
    assert_true(raw_wait_closed(raw[1]).closed);
    raw_request(raw[0], 3, ECHO_PATH "Sum");
    raw_send_frame(raw[0], NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, 3, NULL, 0);
    assert_int_equal(raw_wait(raw[0], 3).grpc_status, 0);
    raw_free(more);
    free_all(raw, server);
}

/* One who has taken them all gives one up for another program. */
static void another_process_comes_in(void **state)
{
    raw_client *raw[CONNECTIONS];
    echo_server *server = connect_all(raw, CONNECTIONS);
    assert_true(reid_test_wait(all_have_calls, server, 60));
    pid_t child = fork();
    if (child == 0)
        _exit(is_served(raw_connect(echo_server_path(server))) ? 0 : 1);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_true(raw_wait_closed(raw[0]).closed);
    free_all(raw, server);
}

/* Half-sent messages of many calls may not take more than the server allows for all together. */
static void unfinished_messages_are_bounded_together(void **state)
{
    fixture *f = *state;
    raw_begin(f->raw);
    uint8_t *data = calloc(1, 80005);
    data[2] = 0x01; /* 65,536 + 0x5f90 */
    data[3] = 0x5f;
    data[4] = 0x90;
    for (uint32_t i = 0; i < 6; i++) {
        raw_request(f->raw, 2 * i + 1, ECHO_PATH "Say");
        for (size_t at = 0; at < 80005; at += 16001)
            raw_send_frame(f->raw, NGHTTP2_DATA, 0, 2 * i + 1, data + at, 16001);
    }
    free(data);
    raw_answer answer = raw_wait(f->raw, 11); /* the last one cannot have room */
    assert_int_equal(answer.grpc_status, 8);
    assert_string_equal(answer.message,
                        "too many unfinished messages are being received at the moment; try again");
    assert_empty(f);
}

static void client_without_preface_is_dropped(void **state)
{
    reid_rpc_limits quick = limits;
    quick.preface_timeout_ms = 40;
    echo_server *server = echo_server_new(&quick);
    raw_client *raw = raw_connect(echo_server_path(server));
    raw_send(raw, "PRI * HTTP/2.0\r\n", 16);
    assert_true(raw_wait_closed(raw).closed);
    raw_free(raw);
    echo_server_free(server);
}

static void client_dies_in_the_middle(void **state)
{
    fixture *f = *state;
    raw_begin(f->raw);
    raw_request(f->raw, 1, ECHO_PATH "Chat");
    raw_message(f->raw, 1, 0, 0, NULL, 0);
    raw_send(f->raw, "\0\0\x10\0\0", 5); /* within the next frame's head */
    raw_frame frame;
    while (raw_read(f->raw, &frame) && frame.type != NGHTTP2_DATA)
        ;
    assert_empty(f);
    assert_int_equal(echo_server_service(f->server)->cancelled, 1);
}

/* A peer that only sends: at some point the server stops reading from it, instead of keeping
 * answers without end. */
static void peer_that_never_reads_is_not_read_from(void **state)
{
    reid_rpc_limits patient = limits;
    patient.max_resets_per_second = UINT32_MAX;
    fixture f = {.server = echo_server_new(&patient)};
    f.raw = raw_connect(echo_server_path(f.server));
    raw_begin(f.raw);
    static const char *const pairs[] = {":method", "POST",  ":scheme", "http", ":authority",
                                        "x",       ":path", "/none",   NULL};
    uint8_t buffer[600], block[200];
    size_t block_size = raw_make_headers(block, pairs), sent = 0;
    int stalls = 0;
    for (uint32_t i = 0; i < 500000 && stalls < 100; i++) {
        size_t size = raw_make_frame(buffer, NGHTTP2_HEADERS,
                                     NGHTTP2_FLAG_END_HEADERS | NGHTTP2_FLAG_END_STREAM, 2 * i + 1,
                                     block, block_size);
        for (size_t at = 0; at < size && stalls < 100;) {
            size_t n = raw_try_send(f.raw, buffer + at, size - at);
            at += n;
            sent += n;
            stalls = n > 0 ? 0 : stalls + 1;
            if (n == 0)
                assert_serving(&f); /* the loop turns, and others are served */
        }
    }
    assert_int_equal(stalls, 100);
    assert_true(sent < 8 << 20);
    assert_true(reid_test_wait(one_connection, f.server, 10)); /* held back, not dropped */
    assert_empty(&f);
    echo_server_free(f.server);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(garbage_bytes),
        TEST(http1_is_hung_up_on),
        TEST(connection_cut_anywhere),
        TEST(message_in_single_bytes),
        TEST(bad_framing_gets_a_status),
        TEST(early_answer_stops_the_upload),
        TEST(bad_headers_get_a_status),
        TEST(header_list_is_bounded),
        TEST(rapid_reset_is_thrown_out),
        TEST(reset_of_what_was_never_begun_ends_nothing_else),
        TEST(resets_provoked_from_the_server_count_too),
        TEST(control_floods_are_thrown_out),
        TEST(streams_per_connection_are_bounded),
        cmocka_unit_test(connections_are_bounded),
        cmocka_unit_test(connections_without_calls_make_way),
        cmocka_unit_test(who_called_lately_stays),
        cmocka_unit_test(another_process_comes_in),
        TEST(unfinished_messages_are_bounded_together),
        cmocka_unit_test(client_without_preface_is_dropped),
        TEST(client_dies_in_the_middle),
        cmocka_unit_test(peer_that_never_reads_is_not_read_from),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
