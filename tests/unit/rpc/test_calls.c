/* All four kinds of calls between our client and our server. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "echo.h"
#include "harness/harness.h"
#include "rpc/client.h"

typedef Reid__Test__Ask ask;
typedef Reid__Test__Answer answer;

typedef struct fixture {
    echo_server *server;
    reid_rpc_client *client;
    reid_error err;
} fixture;

static int set_up(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    f->server = echo_server_new(NULL);
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

static reid_status unary(fixture *f, const char *method, const ask *request, uint32_t timeout_ms,
                         answer **ret)
{
    ProtobufCMessage *message = NULL;
    reid_error_clear(&f->err);
    reid_status status =
        reid_rpc_client_unary(f->client, method, &request->base, &reid__test__answer__descriptor,
                              timeout_ms, &message, &f->err);
    *ret = (answer *)message;
    return status;
}

static reid_rpc_client_stream *start(fixture *f, const char *method, const ask *request)
{
    reid_rpc_client_stream *stream;
    reid_assert_ok(reid_rpc_client_start(f->client, method, &request->base,
                                         &reid__test__answer__descriptor, &stream, &f->err),
                   &f->err);
    return stream;
}

static reid_rpc_client_stream *open_stream(fixture *f, const char *method)
{
    reid_rpc_client_stream *stream;
    reid_assert_ok(
        reid_rpc_client_open(f->client, method, &reid__test__answer__descriptor, &stream, &f->err),
        &f->err);
    return stream;
}

static reid_status next(fixture *f, reid_rpc_client_stream *stream, answer **ret)
{
    ProtobufCMessage *message = NULL;
    reid_error_clear(&f->err);
    reid_status status = reid_rpc_client_next(stream, 20000, &message, &f->err);
    *ret = (answer *)message;
    return status;
}

static void release(answer *a)
{
    reid__test__answer__free_unpacked(a, NULL);
}

static void unary_echoes_text_payload_and_uid(void **state)
{
    fixture *f = *state;
    uint8_t payload[] = {0, 1, 2, 255};
    ask request = REID__TEST__ASK__INIT;
    request.text = (char *)(uintptr_t) "grüße";
    request.payload = (ProtobufCBinaryData){sizeof payload, payload};
    request.number = -7;
    answer *a;
    reid_assert_ok(unary(f, ECHO_PATH "Say", &request, 5000, &a), &f->err);
    assert_string_equal(a->text, "grüße");
    assert_int_equal(a->payload.len, sizeof payload);
    assert_memory_equal(a->payload.data, payload, sizeof payload);
    assert_int_equal(a->number, -7);
    assert_int_equal(a->uid, echo_server_uid(f->server));
    release(a);
}

static void thousands_of_unary_calls_on_one_connection(void **state)
{
    fixture *f = *state;
    ask request = REID__TEST__ASK__INIT;
    for (int i = 0; i < 5000; i++) {
        answer *a;
        request.number = i;
        reid_assert_ok(unary(f, ECHO_PATH "Say", &request, 0, &a), &f->err);
        assert_int_equal(a->number, i);
        release(a);
    }
}

static void messages_up_to_the_limit_pass_and_larger_ones_do_not(void **state)
{
    fixture *f = *state;
    size_t limit = 4 << 20;
    uint8_t *payload = malloc(limit);
    for (size_t i = 0; i < limit; i++)
        payload[i] = (uint8_t)(i * 2654435761u >> 13);
    ask request = REID__TEST__ASK__INIT;
    answer *a;
    size_t overhead = 5; /* tag and a length of four bytes */
    request.payload = (ProtobufCBinaryData){limit - overhead, payload};
    assert_int_equal(reid__test__ask__get_packed_size(&request), limit);
    /* number and uid make the answer a little longer than the request */
    request.payload.len -= 16;
    reid_assert_ok(unary(f, ECHO_PATH "Say", &request, 0, &a), &f->err);
    assert_int_equal(a->payload.len, request.payload.len);
    assert_memory_equal(a->payload.data, payload, a->payload.len);
    release(a);
    request.payload.len = limit - overhead + 1;
    assert_int_equal(unary(f, ECHO_PATH "Say", &request, 0, &a), REID_ERR_EXHAUSTED);
    assert_string_equal(f->err.text,
                        "a message of 4194305 bytes is longer than the 4194304 bytes allowed");
    request.payload.len = 0;
    request.size = (int32_t)limit;
    assert_int_equal(unary(f, ECHO_PATH "Say", &request, 0, &a), REID_ERR_EXHAUSTED);
    assert_string_equal(f->err.text,
                        "the answer is longer than the 4194304 bytes that a client accepts");
    request.size = 0;
    request.payload.len = 200;
    assert_int_equal(unary(f, ECHO_PATH "Small", &request, 0, &a), REID_ERR_EXHAUSTED);
    request.payload.len = 90;
    reid_assert_ok(unary(f, ECHO_PATH "Small", &request, 0, &a), &f->err);
    release(a);
    free(payload);
}

static void errors_come_with_their_status_and_sentence(void **state)
{
    fixture *f = *state;
    ask request = REID__TEST__ASK__INIT;
    answer *a;
    request.failure = REID_ERR_NOT_FOUND;
    request.text = (char *)(uintptr_t) "no job 'ä%20'\nsecond line";
    assert_int_equal(unary(f, ECHO_PATH "Say", &request, 0, &a), REID_ERR_NOT_FOUND);
    assert_string_equal(f->err.text, "no job 'ä%20' second line");
    request.failure = REID_ERR_CORRUPT;
    request.text = (char *)(uintptr_t) "";
    assert_int_equal(unary(f, ECHO_PATH "Say", &request, 0, &a), REID_ERR_CORRUPT);
    assert_string_equal(f->err.text, "corrupt");
    request.failure = 0;
    assert_int_equal(unary(f, "/reid.test.Echo/Shout", &request, 0, &a), REID_ERR_UNSUPPORTED);
    assert_string_equal(f->err.text, "there is no method '/reid.test.Echo/Shout' here");
    assert_int_equal(unary(f, ECHO_PATH "Secret", &request, 0, &a), REID_ERR_PERMISSION);
    assert_int_equal(unary(f, ECHO_PATH "Silent", &request, 0, &a), REID_ERR_INTERNAL);
    reid_assert_ok(unary(f, ECHO_PATH "Twice", &request, 0, &a), &f->err);
    assert_int_equal(echo_server_service(f->server)->second_send, REID_ERR_INVALID);
    release(a);
    /* the connection is as good as before */
    reid_assert_ok(unary(f, ECHO_PATH "Say", &request, 0, &a), &f->err);
    release(a);
}

static void text_that_is_not_utf8_is_refused(void **state)
{
    fixture *f = *state;
    ask request = REID__TEST__ASK__INIT;
    answer *a;
    request.text = (char *)(uintptr_t) "caf\xe9";
    assert_int_equal(unary(f, ECHO_PATH "Say", &request, 0, &a), REID_ERR_INVALID);
    assert_string_equal(f->err.text,
                        "the text in field 'text' of reid.test.Ask is not valid UTF-8");
}

static void server_stream_comes_in_order_and_ends(void **state)
{
    fixture *f = *state;
    ask request = REID__TEST__ASK__INIT;
    request.count = 20000;
    request.size = 100;
    reid_rpc_client_stream *stream = start(f, ECHO_PATH "Tell", &request);
    answer *a;
    for (int i = 1; i <= 20000; i++) {
        reid_assert_ok(next(f, stream, &a), &f->err);
        assert_non_null(a);
        assert_int_equal(a->number, i);
        release(a);
    }
    reid_assert_ok(next(f, stream, &a), &f->err);
    assert_null(a);
    reid_assert_ok(next(f, stream, &a), &f->err); /* and stays at its end */
    assert_null(a);
    reid_rpc_client_stop(stream);
}

static void large_messages_in_a_server_stream(void **state)
{
    fixture *f = *state;
    ask request = REID__TEST__ASK__INIT;
    request.count = 6;
    request.size = (4 << 20) - 100;
    request.failure = REID_ERR_PRECONDITION;
    request.text = (char *)(uintptr_t) "and then it failed";
    reid_rpc_client_stream *stream = start(f, ECHO_PATH "Tell", &request);
    answer *a;
    for (int i = 1; i <= 6; i++) {
        reid_assert_ok(next(f, stream, &a), &f->err);
        assert_int_equal(a->payload.len, request.size);
        release(a);
    }
    assert_int_equal(next(f, stream, &a), REID_ERR_PRECONDITION);
    assert_string_equal(f->err.text, "and then it failed");
    reid_rpc_client_stop(stream);
}

static void client_stream_is_summed(void **state)
{
    fixture *f = *state;
    reid_rpc_client_stream *stream = open_stream(f, ECHO_PATH "Sum");
    ask request = REID__TEST__ASK__INIT;
    uint8_t payload[1000] = {0};
    request.payload = (ProtobufCBinaryData){sizeof payload, payload};
    for (int i = 1; i <= 3000; i++) {
        request.number = i;
        reid_assert_ok(reid_rpc_client_send(stream, &request.base, 0, &f->err), &f->err);
    }
    reid_rpc_client_half_close(stream);
    answer *a;
    reid_assert_ok(next(f, stream, &a), &f->err);
    assert_int_equal(a->number, 3000);
    assert_int_equal(a->sum, 3000 * 3001 / 2);
    release(a);
    reid_assert_ok(next(f, stream, &a), &f->err);
    assert_null(a);
    reid_rpc_client_stop(stream);
}

static void client_stream_refused_in_the_middle(void **state)
{
    fixture *f = *state;
    reid_rpc_client_stream *stream = open_stream(f, ECHO_PATH "Sum");
    ask request = REID__TEST__ASK__INIT;
    request.failure = REID_ERR_INVALID;
    request.text = (char *)(uintptr_t) "that is no number";
    reid_assert_ok(reid_rpc_client_send(stream, &request.base, 0, &f->err), &f->err);
    answer *a;
    assert_int_equal(next(f, stream, &a), REID_ERR_INVALID);
    assert_string_equal(f->err.text, "that is no number");
    reid_error_clear(&f->err);
    assert_int_equal(reid_rpc_client_send(stream, &request.base, 0, &f->err), REID_ERR_INVALID);
    reid_rpc_client_stop(stream);
}

static void bidi_answers_each_request(void **state)
{
    fixture *f = *state;
    reid_rpc_client_stream *stream = open_stream(f, ECHO_PATH "Chat");
    ask request = REID__TEST__ASK__INIT;
    answer *a;
    for (int i = 1; i <= 500; i++) {
        char text[20];
        snprintf(text, sizeof text, "line %d", i);
        request.text = text;
        reid_assert_ok(reid_rpc_client_send(stream, &request.base, 0, &f->err), &f->err);
        reid_assert_ok(next(f, stream, &a), &f->err);
        assert_string_equal(a->text, text);
        assert_int_equal(a->number, i);
        release(a);
    }
    reid_rpc_client_half_close(stream);
    reid_assert_ok(next(f, stream, &a), &f->err);
    assert_null(a);
    reid_rpc_client_stop(stream);
}

static void server_may_speak_first(void **state)
{
    fixture *f = *state;
    reid_rpc_client_stream *stream = open_stream(f, ECHO_PATH "Greet");
    answer *a;
    reid_assert_ok(next(f, stream, &a), &f->err);
    assert_string_equal(a->text, "hello");
    release(a);
    reid_rpc_client_stop(stream);
}

static void several_streams_share_a_connection(void **state)
{
    fixture *f = *state;
    reid_rpc_client_stream *streams[20];
    ask request = REID__TEST__ASK__INIT;
    answer *a;
    request.size = 5000;
    for (int i = 0; i < 20; i++) {
        request.count = 300;
        streams[i] = start(f, ECHO_PATH "Tell", &request);
    }
    for (int k = 1; k <= 300; k++)
        for (int i = 0; i < 20; i++) {
            reid_assert_ok(next(f, streams[i], &a), &f->err);
            assert_int_equal(a->number, k);
            release(a);
        }
    for (int i = 0; i < 20; i++) {
        reid_assert_ok(next(f, streams[i], &a), &f->err);
        assert_null(a);
        reid_rpc_client_stop(streams[i]);
    }
}

static void deadline_of_the_client_ends_the_call_on_both_sides(void **state)
{
    fixture *f = *state;
    ask request = REID__TEST__ASK__INIT;
    answer *a;
    double before = reid_clock_seconds();
    assert_int_equal(unary(f, ECHO_PATH "Never", &request, 50, &a), REID_ERR_TIMEOUT);
    double took = reid_clock_seconds() - before;
    assert_true(took >= 0.045 && took < 5);
    reid_assert_ok(unary(f, ECHO_PATH "Say", &request, 0, &a), &f->err);
    release(a);
    assert_int_equal(echo_server_service(f->server)->closed, 1);
}

static void deadline_of_the_method_ends_the_call(void **state)
{
    fixture *f = *state;
    ask request = REID__TEST__ASK__INIT;
    reid_rpc_client_stream *stream = start(f, ECHO_PATH "Brief", &request);
    answer *a;
    reid_assert_ok(next(f, stream, &a), &f->err);
    release(a);
    assert_int_equal(next(f, stream, &a), REID_ERR_TIMEOUT);
    assert_string_equal(f->err.text, "the deadline of 50 ms has passed");
    reid_rpc_client_stop(stream);
    assert_int_equal(echo_server_service(f->server)->timed_out, 1);
}

static bool all_closed(void *context)
{
    echo_service *echo = context;
    return echo->closed == echo->opened;
}

static void stop_cancels_the_call_at_the_server(void **state)
{
    fixture *f = *state;
    echo_service *echo = echo_server_service(f->server);
    ask request = REID__TEST__ASK__INIT;
    request.size = 1000;
    for (int i = 0; i < 20; i++) {
        reid_rpc_client_stream *stream = start(f, ECHO_PATH "Tell", &request);
        answer *a;
        reid_assert_ok(next(f, stream, &a), &f->err);
        release(a);
        reid_rpc_client_stop(stream);
    }
    assert_true(reid_test_wait(all_closed, echo, 10));
    assert_int_equal(echo->cancelled, 20);
}

static void next_times_out_and_goes_on(void **state)
{
    fixture *f = *state;
    reid_rpc_client_stream *stream = open_stream(f, ECHO_PATH "Chat");
    ProtobufCMessage *message = NULL;
    assert_int_equal(reid_rpc_client_next(stream, 20, &message, &f->err), REID_ERR_TIMEOUT);
    assert_string_equal(f->err.text, "nothing came from the server within 20 ms");
    ask request = REID__TEST__ASK__INIT;
    answer *a;
    reid_assert_ok(reid_rpc_client_send(stream, &request.base, 0, &f->err), &f->err);
    reid_assert_ok(next(f, stream, &a), &f->err);
    release(a);
    reid_rpc_client_stop(stream);
}

static volatile sig_atomic_t signals;

static void on_signal(int number)
{
    signals++;
}

static void signal_interrupts_next_and_the_stream_goes_on(void **state)
{
    fixture *f = *state;
    reid_rpc_client_stream *stream = open_stream(f, ECHO_PATH "Chat");
    struct sigaction action = {.sa_handler = on_signal}, old;
    sigaction(SIGALRM, &action, &old);
    struct itimerval timer = {.it_value = {.tv_usec = 30000}, .it_interval = {.tv_usec = 30000}};
    setitimer(ITIMER_REAL, &timer, NULL);
    ProtobufCMessage *message = NULL;
    double before = reid_clock_seconds();
    assert_int_equal(reid_rpc_client_next(stream, 60000, &message, &f->err), REID_ERR_TIMEOUT);
    assert_string_equal(f->err.text, "interrupted by a signal");
    assert_true(reid_clock_seconds() - before < 30);
    ask request = REID__TEST__ASK__INIT;
    answer *a;
    assert_int_equal(unary(f, ECHO_PATH "Never", &request, 0, &a), REID_ERR_CANCELLED);
    timer = (struct itimerval){0};
    setitimer(ITIMER_REAL, &timer, NULL);
    sigaction(SIGALRM, &old, NULL);
    assert_true(signals >= 2);
    reid_error_clear(&f->err);
    reid_assert_ok(reid_rpc_client_send(stream, &request.base, 0, &f->err), &f->err);
    reid_assert_ok(next(f, stream, &a), &f->err);
    release(a);
    reid_rpc_client_stop(stream);
}

static void nobody_listens(void **state)
{
    char *folder = reid_test_dir_new();
    char address[300];
    reid_rpc_client *client = NULL;
    reid_error err = {0};
    snprintf(address, sizeof address, "unix:%s/no.sock", folder);
    assert_int_equal(reid_rpc_client_connect(address, 0, &client, &err), REID_ERR_UNAVAILABLE);
    char expected[400];
    snprintf(expected, sizeof expected,
             "cannot reach reidd at %s: No such file or directory; is it running?", address);
    assert_string_equal(err.text, expected);
    reid_error_clear(&err);
    assert_int_equal(reid_rpc_client_connect("localhost:7000", 0, &client, &err), REID_ERR_INVALID);
    assert_null(client);
    reid_test_dir_free(folder);
}

static void free_with_open_streams(void **state)
{
    fixture *f = *state;
    ask request = REID__TEST__ASK__INIT;
    start(f, ECHO_PATH "Tell", &request);
    start(f, ECHO_PATH "Never", &request);
    open_stream(f, ECHO_PATH "Chat");
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(unary_echoes_text_payload_and_uid),
        TEST(thousands_of_unary_calls_on_one_connection),
        TEST(messages_up_to_the_limit_pass_and_larger_ones_do_not),
        TEST(errors_come_with_their_status_and_sentence),
        TEST(text_that_is_not_utf8_is_refused),
        TEST(server_stream_comes_in_order_and_ends),
        TEST(large_messages_in_a_server_stream),
        TEST(client_stream_is_summed),
        TEST(client_stream_refused_in_the_middle),
        TEST(bidi_answers_each_request),
        TEST(server_may_speak_first),
        TEST(several_streams_share_a_connection),
        TEST(deadline_of_the_client_ends_the_call_on_both_sides),
        TEST(deadline_of_the_method_ends_the_call),
        TEST(stop_cancels_the_call_at_the_server),
        TEST(next_times_out_and_goes_on),
        TEST(signal_interrupts_next_and_the_stream_goes_on),
        TEST(free_with_open_streams),
        cmocka_unit_test(nobody_listens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
