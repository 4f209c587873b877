/* Flow control: a subscriber that does not read delays nobody and uses bounded memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "echo.h"
#include "harness/harness.h"
#include "raw.h"
#include "rpc/client.h"

typedef Reid__Test__Ask ask;
typedef Reid__Test__Answer answer;

enum { QUEUE_BYTES = 200000 };

typedef struct fixture {
    echo_server *server;
    echo_service *echo;
    reid_rpc_client *client;
    reid_error err;
    int looks;
} fixture;

static int set_up(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    reid_rpc_limits limits = {.max_queue_bytes = QUEUE_BYTES};
    f->server = echo_server_new(&limits);
    f->echo = echo_server_service(f->server);
    if (echo_server_connect(f->server, &f->client, &f->err) != REID_OK)
        return -1;
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    reid_rpc_client_free(f->client);
    echo_server_free(f->server);
    free(f);
    return 0;
}

static reid_rpc_client_stream *tell(fixture *f, int size)
{
    reid_rpc_client_stream *stream;
    ask request = REID__TEST__ASK__INIT;
    request.size = size;
    reid_assert_ok(reid_rpc_client_start(f->client, ECHO_PATH "Tell", &request.base,
                                         &reid__test__answer__descriptor, &stream, &f->err),
                   &f->err);
    return stream;
}

static int64_t read_number(fixture *f, reid_rpc_client_stream *stream)
{
    ProtobufCMessage *message = NULL;
    reid_assert_ok(reid_rpc_client_next(stream, 20000, &message, &f->err), &f->err);
    assert_non_null(message);
    int64_t number = ((answer *)message)->number;
    protobuf_c_message_free_unpacked(message, NULL);
    return number;
}

static void say(fixture *f)
{
    ask request = REID__TEST__ASK__INIT;
    ProtobufCMessage *message;
    reid_assert_ok(reid_rpc_client_unary(f->client, ECHO_PATH "Say", &request.base,
                                         &reid__test__answer__descriptor, 20000, &message, &f->err),
                   &f->err);
    protobuf_c_message_free_unpacked(message, NULL);
}

static bool is_full(void *context)
{
    return ((echo_service *)context)->refused > 0;
}

static void unread_stream_is_held_back_and_others_are_served(void **state)
{
    fixture *f = *state;
    reid_rpc_client_stream *slow = tell(f, 10000);
    for (int i = 0; i < 200; i++)
        say(f); /* on the same connection; also lets the window of the slow stream fill */
    assert_true(reid_test_wait(is_full, f->echo, 10));
    int refused = f->echo->refused;
    for (int i = 0; i < 50; i++)
        say(f);
    assert_int_equal(f->echo->refused, refused); /* nothing moves while nobody reads */
    assert_in_range(f->echo->most_queued, QUEUE_BYTES / 2, QUEUE_BYTES);
    for (int i = 1; i <= 1000; i++)
        assert_int_equal(read_number(f, slow), i); /* nothing was lost */
    assert_true(f->echo->drains > 2);
    assert_in_range(f->echo->most_queued, QUEUE_BYTES / 2, QUEUE_BYTES);
    reid_rpc_client_stop(slow);
    say(f);
}

static void one_message_larger_than_the_queue_passes(void **state)
{
    fixture *f = *state;
    reid_rpc_client_stream *stream = tell(f, 3 << 20);
    for (int i = 1; i <= 5; i++)
        assert_int_equal(read_number(f, stream), i);
    assert_in_range(f->echo->most_queued, 3 << 20, (3 << 20) + 100); /* one at a time */
    reid_rpc_client_stop(stream);
}

static void peer_that_does_not_read_its_socket(void **state)
{
    fixture *f = *state;
    raw_client *raw = raw_connect(echo_server_path(f->server));
    raw_begin(raw);
    static const uint8_t wide[] = {0, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 0x7f, 0xff, 0xff, 0xff};
    static const uint8_t more[] = {0x7f, 0xff, 0, 0};
    raw_send_frame(raw, NGHTTP2_SETTINGS, 0, 0, wide, sizeof wide); /* only the socket holds back */
    raw_send_frame(raw, NGHTTP2_WINDOW_UPDATE, 0, 0, more, sizeof more);
    raw_request(raw, 1, ECHO_PATH "Tell");
    static const uint8_t request[] = {0x28, 0x90, 0x4e}; /* size: 10,000 */
    raw_message(raw, 1, NGHTTP2_FLAG_END_STREAM, 0, request, sizeof request);
    assert_true(reid_test_wait(is_full, f->echo, 10));
    for (int i = 0; i < 100; i++)
        say(f);
    assert_true(f->echo->most_queued <= QUEUE_BYTES);
    raw_frame frame;
    size_t bytes = 0;
    while (bytes < 3000000 && raw_read(raw, &frame))
        bytes += frame.type == NGHTTP2_DATA ? frame.size : 0;
    assert_true(bytes >= 3000000);
    raw_free(raw);
}

static void requests_are_held_back_too(void **state)
{
    fixture *f = *state;
    reid_rpc_client_stream *stream;
    reid_assert_ok(reid_rpc_client_open(f->client, ECHO_PATH "Sum", &reid__test__answer__descriptor,
                                        &stream, &f->err),
                   &f->err);
    uint8_t *payload = calloc(1, 100000);
    ask request = REID__TEST__ASK__INIT;
    request.payload = (ProtobufCBinaryData){100000, payload};
    request.number = 1;
    for (int i = 0; i < 300; i++) /* 30 MB through a queue of 1 MiB */
        reid_assert_ok(reid_rpc_client_send(stream, &request.base, 20000, &f->err), &f->err);
    reid_rpc_client_half_close(stream);
    ProtobufCMessage *message;
    reid_assert_ok(reid_rpc_client_next(stream, 20000, &message, &f->err), &f->err);
    assert_int_equal(((answer *)message)->sum, 300);
    protobuf_c_message_free_unpacked(message, NULL);
    reid_rpc_client_stop(stream);
    free(payload);
}

/* Sends without reading the answers: Chat ends the call when its queue is full. */
static void bidi_peer_that_does_not_listen_is_told(void **state)
{
    fixture *f = *state;
    reid_rpc_client_stream *stream;
    reid_assert_ok(reid_rpc_client_open(f->client, ECHO_PATH "Chat",
                                        &reid__test__answer__descriptor, &stream, &f->err),
                   &f->err);
    uint8_t *payload = calloc(1, 50000);
    ask request = REID__TEST__ASK__INIT;
    request.payload = (ProtobufCBinaryData){50000, payload};
    reid_status status = REID_OK;
    for (int i = 0; i < 2000 && status == REID_OK; i++)
        status = reid_rpc_client_send(stream, &request.base, 20000, &f->err);
    ProtobufCMessage *message = NULL;
    reid_error_clear(&f->err);
    while ((status = reid_rpc_client_next(stream, 20000, &message, &f->err)) == REID_OK && message)
        protobuf_c_message_free_unpacked(message, NULL);
    assert_int_equal(status, REID_ERR_EXHAUSTED);
    assert_string_equal(f->err.text, "you do not listen");
    reid_rpc_client_stop(stream);
    free(payload);
}

static bool one_closed(void *context)
{
    return ((echo_service *)context)->closed == 1;
}

static bool no_calls(void *context)
{
    fixture *f = context;
    if (f->looks++ % 4 == 0)
        say(f); /* the client reads its socket, though not this stream */
    return echo_server_calls(f->server) == 0;
}

/* One message of 3 MiB, of which the client takes its window of 1 MiB. */
static void last_bytes_that_nobody_reads_are_given_up(void **state)
{
    fixture f = {0};
    reid_rpc_limits limits = {.linger_ms = 30};
    f.server = echo_server_new(&limits);
    reid_assert_ok(echo_server_connect(f.server, &f.client, &f.err), &f.err);
    ask request = REID__TEST__ASK__INIT;
    request.size = 3 << 20;
    request.count = 1;
    reid_rpc_client_stream *stream;
    reid_assert_ok(reid_rpc_client_start(f.client, ECHO_PATH "Tell", &request.base,
                                         &reid__test__answer__descriptor, &stream, &f.err),
                   &f.err);
    assert_true(
        reid_test_wait(one_closed, echo_server_service(f.server), 10)); /* for its handler */
    assert_true(reid_test_wait(no_calls, &f, 10));
    ProtobufCMessage *message;
    assert_int_equal(reid_rpc_client_next(stream, 20000, &message, &f.err), REID_ERR_CANCELLED);
    reid_rpc_client_stop(stream);
    say(&f);
    reid_rpc_client_free(f.client);
    echo_server_free(f.server);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(unread_stream_is_held_back_and_others_are_served),
        TEST(one_message_larger_than_the_queue_passes),
        TEST(peer_that_does_not_read_its_socket),
        TEST(requests_are_held_back_too),
        TEST(bidi_peer_that_does_not_listen_is_told),
        cmocka_unit_test(last_bytes_that_nobody_reads_are_given_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
