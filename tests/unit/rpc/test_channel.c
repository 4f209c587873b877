/* The async channel, with its server on the same loop: order of callbacks and life of the objects.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "echo.h"
#include "harness/harness.h"
#include "rpc/channel.h"

typedef Reid__Test__Ask ask;
typedef Reid__Test__Answer answer;

typedef struct fixture {
    uv_loop_t loop;
    uv_timer_t keeper; /* keeps run_until from waiting for ever */
    reid_rpc_server *server;
    echo_service echo;
    char *folder;
    char path[108], address[120];
    reid_rpc_channel *channel;
    int ready, lost, messages, closes, drains;
    int64_t last_number;
    reid_status end;
    char sentence[1024];
    bool in_function; /* to see that no callback comes from inside */
    bool cancel_in_message, close_in_message, close_in_close, open_in_close;
    reid_error err;
} fixture;

static void nothing(uv_timer_t *timer)
{
}

static int set_up(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    uv_loop_init(&f->loop);
    uv_timer_init(&f->loop, &f->keeper);
    uv_timer_start(&f->keeper, nothing, 5, 5);
    f->folder = reid_test_dir_new();
    snprintf(f->path, sizeof f->path, "%s/d.sock", f->folder);
    snprintf(f->address, sizeof f->address, "unix:%s", f->path);
    reid_rpc_limits limits = {.max_queue_bytes = 100000};
    reid_assert_ok(reid_rpc_server_new(&f->loop, &limits, &f->server, &f->err), &f->err);
    echo_service_add(&f->echo, f->server);
    reid_assert_ok(reid_rpc_server_listen_unix(f->server, f->path, 0600, &f->err), &f->err);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    reid_rpc_channel_close(f->channel);
    reid_rpc_server_free(f->server);
    assert_int_equal(f->echo.opened, f->echo.closed);
    uv_close((uv_handle_t *)&f->keeper, NULL);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    reid_test_dir_free(f->folder);
    free(f);
    return 0;
}

#define RUN_UNTIL(f, condition)                                                                    \
    do {                                                                                           \
        double limit = reid_clock_seconds() + 10;                                                  \
        while (!(condition) && reid_clock_seconds() < limit)                                       \
            uv_run(&(f)->loop, UV_RUN_ONCE);                                                       \
        assert_true(condition);                                                                    \
    } while (0)

static void on_ready(reid_rpc_channel *channel, void *user)
{
    fixture *f = user;
    assert_false(f->in_function);
    f->ready++;
}

static void on_lost(reid_rpc_channel *channel, const reid_error *why, void *user)
{
    fixture *f = user;
    assert_false(f->in_function);
    f->lost++;
    f->end = why->code;
    snprintf(f->sentence, sizeof f->sentence, "%s", why->text);
}

static void on_message(reid_rpc_stream *stream, const ProtobufCMessage *message, void *user)
{
    fixture *f = user;
    assert_false(f->in_function);
    f->messages++;
    f->last_number = ((const answer *)message)->number;
    if (f->cancel_in_message)
        reid_rpc_stream_cancel(stream);
    if (f->close_in_message) {
        reid_rpc_channel_close(f->channel);
        f->channel = NULL;
    }
}

static void on_drain(reid_rpc_stream *stream, void *user)
{
    fixture *f = user;
    assert_false(f->in_function);
    f->drains++;
}

static reid_rpc_stream *open_stream(fixture *f, const char *method,
                                    const reid_rpc_stream_options *options);

static void on_close(reid_rpc_stream *stream, const reid_error *end, void *user)
{
    fixture *f = user;
    assert_false(f->in_function);
    f->closes++;
    f->end = end->code;
    snprintf(f->sentence, sizeof f->sentence, "%s", end->text);
    reid_rpc_stream_cancel(stream); /* still valid, and without effect */
    if (f->open_in_close) {
        f->open_in_close = false;
        open_stream(f, "Greet", NULL);
    }
    if (f->close_in_close) {
        reid_rpc_channel_close(f->channel);
        f->channel = NULL;
    }
}

static void connect_channel(fixture *f)
{
    const reid_rpc_channel_events events = {.on_ready = on_ready, .on_lost = on_lost};
    f->in_function = true;
    reid_assert_ok(
        reid_rpc_channel_connect(&f->loop, f->address, 2000, &events, f, &f->channel, &f->err),
        &f->err);
    f->in_function = false;
}

static reid_rpc_stream *open_stream(fixture *f, const char *method,
                                    const reid_rpc_stream_options *options)
{
    const reid_rpc_stream_events events = {
        .on_message = on_message, .on_close = on_close, .on_drain = on_drain};
    char path[60];
    snprintf(path, sizeof path, ECHO_PATH "%s", method);
    reid_rpc_stream *stream;
    f->in_function = true;
    reid_assert_ok(reid_rpc_channel_open(f->channel, path, &reid__test__answer__descriptor, &events,
                                         f, options, &stream, &f->err),
                   &f->err);
    f->in_function = false;
    return stream;
}

static reid_status send_number(fixture *f, reid_rpc_stream *stream, int64_t number, size_t payload)
{
    ask request = REID__TEST__ASK__INIT;
    request.number = number;
    uint8_t *bytes = calloc(1, payload + 1);
    request.payload = (ProtobufCBinaryData){payload, bytes};
    f->in_function = true;
    reid_status status = reid_rpc_stream_send(stream, &request.base);
    f->in_function = false;
    free(bytes);
    return status;
}

static void streams_opened_before_the_connection_stands(void **state)
{
    fixture *f = *state;
    connect_channel(f);
    reid_rpc_stream *stream = open_stream(f, "Sum", NULL);
    assert_false(reid_rpc_channel_is_ready(f->channel));
    for (int i = 1; i <= 10; i++)
        assert_int_equal(send_number(f, stream, i, 10), REID_OK);
    reid_rpc_stream_half_close(stream);
    assert_int_equal(send_number(f, stream, 1, 0), REID_ERR_PRECONDITION);
    RUN_UNTIL(f, f->closes == 1);
    assert_int_equal(f->ready, 1);
    assert_int_equal(f->messages, 1);
    assert_int_equal(f->last_number, 10);
    assert_int_equal(f->end, REID_OK);
}

static void long_bidi_link(void **state)
{
    fixture *f = *state;
    connect_channel(f);
    reid_rpc_stream *stream = open_stream(f, "Chat", NULL);
    for (int i = 1; i <= 2000; i++) {
        assert_int_equal(send_number(f, stream, i, 100), REID_OK);
        if (i % 50 == 0)
            RUN_UNTIL(f, f->messages == i);
    }
    assert_int_equal(f->last_number, 2000);
    reid_rpc_stream_half_close(stream);
    RUN_UNTIL(f, f->closes == 1);
    assert_int_equal(f->end, REID_OK);
}

static void full_queue_refuses_and_drains(void **state)
{
    fixture *f = *state;
    connect_channel(f);
    RUN_UNTIL(f, f->ready == 1);
    reid_rpc_stream_options options = {.max_queue_bytes = 50000};
    reid_rpc_stream *stream = open_stream(f, "Sum", &options);
    int sent = 0;
    while (send_number(f, stream, 1, 1000) == REID_OK)
        sent++;
    assert_in_range(sent, 45, 50);
    assert_true(reid_rpc_stream_queued(stream) <= 50000);
    RUN_UNTIL(f, f->drains == 1);
    assert_int_equal(send_number(f, stream, 1, 1000), REID_OK);
    reid_rpc_stream_half_close(stream);
    RUN_UNTIL(f, f->closes == 1);
    assert_int_equal(f->last_number, sent + 1);
}

static void paused_stream_gets_its_messages_before_its_end(void **state)
{
    fixture *f = *state;
    connect_channel(f);
    reid_rpc_stream_options options = {.paused = true};
    reid_rpc_stream *stream = open_stream(f, "Tell", &options);
    ask request = REID__TEST__ASK__INIT;
    request.count = 100;
    request.failure = REID_ERR_NOT_FOUND;
    request.text = (char *)(uintptr_t) "no more";
    assert_int_equal(reid_rpc_stream_send(stream, &request.base), REID_OK);
    reid_rpc_stream_half_close(stream);
    RUN_UNTIL(f, f->echo.closed == 1);
    for (int i = 0; i < 5; i++)
        uv_run(&f->loop, UV_RUN_ONCE);
    assert_int_equal(f->messages, 0);
    assert_int_equal(f->closes, 0);
    reid_rpc_stream_pause(stream, false);
    RUN_UNTIL(f, f->closes == 1);
    assert_int_equal(f->messages, 100);
    assert_int_equal(f->end, REID_ERR_NOT_FOUND);
    assert_string_equal(f->sentence, "no more");
}

static void cancel_inside_on_message(void **state)
{
    fixture *f = *state;
    connect_channel(f);
    f->cancel_in_message = true;
    reid_rpc_stream *stream = open_stream(f, "Tell", NULL);
    ask request = REID__TEST__ASK__INIT;
    request.size = 10;
    assert_int_equal(reid_rpc_stream_send(stream, &request.base), REID_OK);
    reid_rpc_stream_half_close(stream);
    RUN_UNTIL(f, f->closes == 1 && f->echo.closed == 1);
    assert_int_equal(f->messages, 1);
    assert_int_equal(f->end, REID_ERR_CANCELLED);
    assert_int_equal(f->echo.cancelled, 1);
}

static void channel_closed_inside_on_message(void **state)
{
    fixture *f = *state;
    connect_channel(f);
    f->close_in_message = true;
    open_stream(f, "Chat", NULL);
    open_stream(f, "Greet", NULL);
    RUN_UNTIL(f, f->closes == 2);
    RUN_UNTIL(f, f->echo.closed == f->echo.opened);
    assert_int_equal(f->messages, 1);
    assert_int_equal(f->lost, 0);
}

static void channel_closed_inside_on_close(void **state)
{
    fixture *f = *state;
    connect_channel(f);
    f->close_in_close = true;
    open_stream(f, "Chat", NULL);
    reid_rpc_stream *stream = open_stream(f, "Chat", NULL);
    reid_rpc_stream_half_close(stream);
    RUN_UNTIL(f, f->closes == 2);
    assert_int_equal(f->lost, 0);
}

static void stream_opened_inside_on_close(void **state)
{
    fixture *f = *state;
    connect_channel(f);
    f->open_in_close = true;
    reid_rpc_stream_half_close(open_stream(f, "Chat", NULL));
    RUN_UNTIL(f, f->messages == 1);
    assert_int_equal(f->closes, 1);
}

static void server_goes_away(void **state)
{
    fixture *f = *state;
    connect_channel(f);
    open_stream(f, "Greet", NULL);
    RUN_UNTIL(f, f->messages == 1);
    reid_rpc_server_free(f->server);
    f->server = NULL;
    RUN_UNTIL(f, f->lost == 1);
    assert_int_equal(f->closes, 1);
    assert_int_equal(f->end, REID_ERR_UNAVAILABLE);
    char expected[400];
    snprintf(expected, sizeof expected,
             "the connection to reidd at %s was lost: the connection was closed by the peer",
             f->address);
    assert_string_equal(f->sentence, expected);
    assert_true(reid_rpc_channel_is_lost(f->channel));
    reid_rpc_stream *stream;
    assert_int_equal(reid_rpc_channel_open(f->channel, ECHO_PATH "Chat",
                                           &reid__test__answer__descriptor, NULL, NULL, NULL,
                                           &stream, &f->err),
                     REID_ERR_UNAVAILABLE);
}

static void goaway_ends_the_channel_after_its_streams(void **state)
{
    fixture *f = *state;
    connect_channel(f);
    reid_rpc_stream *stream = open_stream(f, "Chat", NULL);
    RUN_UNTIL(f, f->echo.opened == 1);
    reid_rpc_server_shutdown(f->server, 60000, NULL, NULL);
    reid_rpc_stream *other;
    RUN_UNTIL(f,
              reid_rpc_channel_open(f->channel, ECHO_PATH "Chat", &reid__test__answer__descriptor,
                                    NULL, NULL, NULL, &other, &f->err) == REID_ERR_UNAVAILABLE);
    assert_int_equal(send_number(f, stream, 1, 0), REID_OK);
    RUN_UNTIL(f, f->messages == 1);
    reid_rpc_stream_half_close(stream);
    RUN_UNTIL(f, f->lost == 1);
    assert_int_equal(f->closes, 1);
}

static void nobody_there(void **state)
{
    fixture *f = *state;
    reid_rpc_server_free(f->server);
    f->server = NULL;
    connect_channel(f);
    reid_rpc_stream *stream;
    assert_int_equal(reid_rpc_channel_open(f->channel, ECHO_PATH "Chat",
                                           &reid__test__answer__descriptor, NULL, NULL, NULL,
                                           &stream, &f->err),
                     REID_ERR_UNAVAILABLE);
    RUN_UNTIL(f, f->lost == 1);
    assert_int_equal(f->ready, 0);
    assert_int_equal(f->end, REID_ERR_UNAVAILABLE);
    assert_non_null(strstr(f->sentence, ": No such file or directory; is it running?"));
}

/* A socket that accepts into its backlog and says nothing; then one whose backlog is full. */
static void server_that_does_not_answer(void **state)
{
    fixture *f = *state;
    reid_rpc_server_free(f->server);
    f->server = NULL;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", f->path);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 0), 0);
    const reid_rpc_channel_events events = {.on_ready = on_ready, .on_lost = on_lost};
    reid_rpc_channel *channels[3];
    for (int i = 0; i < 3; i++)
        reid_assert_ok(
            reid_rpc_channel_connect(&f->loop, f->address, 50, &events, f, &channels[i], &f->err),
            &f->err);
    RUN_UNTIL(f, f->lost == 3);
    assert_int_equal(f->end, REID_ERR_TIMEOUT);
    assert_non_null(strstr(f->sentence, "has not answered within 50 ms"));
    for (int i = 0; i < 3; i++)
        reid_rpc_channel_close(channels[i]);
    close(fd);
}

static void peer_that_is_no_grpc_server(void **state)
{
    fixture *f = *state;
    reid_rpc_server_free(f->server);
    f->server = NULL;
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", f->path);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(listener, 5), 0);
    connect_channel(f);
    int fd = accept(listener, NULL, NULL);
    static const char text[] = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";
    assert_int_equal(write(fd, text, sizeof text - 1), sizeof text - 1);
    RUN_UNTIL(f, f->lost == 1);
    assert_int_equal(f->ready, 0);
    assert_int_equal(f->end, REID_ERR_UNAVAILABLE);
    close(fd);
    close(listener);
}

static void deadline_of_a_stream(void **state)
{
    fixture *f = *state;
    connect_channel(f);
    reid_rpc_stream_options options = {.timeout_ms = 30};
    open_stream(f, "Chat", &options);
    RUN_UNTIL(f, f->closes == 1);
    assert_int_equal(f->end, REID_ERR_TIMEOUT);
    RUN_UNTIL(f, f->echo.closed == 1);
}

/* More streams than the server allows at once: the rest waits its turn. */
static void more_streams_than_allowed(void **state)
{
    fixture *f = *state;
    connect_channel(f);
    for (int i = 0; i < 500; i++) {
        reid_rpc_stream *stream = open_stream(f, "Sum", NULL);
        assert_int_equal(send_number(f, stream, i, 10), REID_OK);
        reid_rpc_stream_half_close(stream);
    }
    RUN_UNTIL(f, f->closes == 500);
    assert_int_equal(f->messages, 500);
    assert_int_equal(f->end, REID_OK);
}

static void bad_addresses(void **state)
{
    fixture *f = *state;
    static const char *const bad[] = {"",
                                      "unix:",
                                      "unix://host/x",
                                      "unix:///",
                                      "tcp:localhost:1",
                                      "/run/x.sock",
                                      "localhost:50051"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        reid_error_clear(&f->err);
        reid_rpc_channel *channel = NULL;
        reid_status status =
            reid_rpc_channel_connect(&f->loop, bad[i], 0, NULL, NULL, &channel, &f->err);
        if (i == 3) { /* a path, though of a folder: it is tried */
            assert_int_equal(status, REID_OK);
            reid_rpc_channel_close(channel);
            continue;
        }
        assert_int_equal(status, REID_ERR_INVALID);
        assert_true(strlen(f->err.text) > 20);
    }
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(streams_opened_before_the_connection_stands),
        TEST(long_bidi_link),
        TEST(full_queue_refuses_and_drains),
        TEST(paused_stream_gets_its_messages_before_its_end),
        TEST(cancel_inside_on_message),
        TEST(channel_closed_inside_on_message),
        TEST(channel_closed_inside_on_close),
        TEST(stream_opened_inside_on_close),
        TEST(server_goes_away),
        TEST(goaway_ends_the_channel_after_its_streams),
        TEST(nobody_there),
        TEST(server_that_does_not_answer),
        TEST(peer_that_is_no_grpc_server),
        TEST(deadline_of_a_stream),
        TEST(more_streams_than_allowed),
        TEST(bad_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
