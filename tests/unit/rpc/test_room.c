/* All unread answers together have a limit: those who read get theirs, those who do not give way.
 */
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

enum { SILENT = 100, READ = 200 };

/* Asks for a thousand messages of 10,000 bytes and lets none of them come. */
static raw_client *silent_new(echo_server *server)
{
    static const uint8_t closed[] = {0, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 0, 0, 0, 0};
    static const uint8_t request[] = {0x28, 0x90, 0x4e}; /* size: 10,000 */
    raw_client *raw = raw_connect(echo_server_path(server));
    raw_begin(raw);
    raw_send_frame(raw, NGHTTP2_SETTINGS, 0, 0, closed, sizeof closed);
    raw_request(raw, 1, ECHO_PATH "Tell");
    raw_message(raw, 1, NGHTTP2_FLAG_END_STREAM, 0, request, sizeof request);
    return raw;
}

static void say(reid_rpc_client *client)
{
    reid_error err = {0};
    ask request = REID__TEST__ASK__INIT;
    ProtobufCMessage *message;
    reid_assert_ok(reid_rpc_client_unary(client, ECHO_PATH "Say", &request.base,
                                         &reid__test__answer__descriptor, 20000, &message, &err),
                   &err);
    protobuf_c_message_free_unpacked(message, NULL);
}

static bool is_full(void *context)
{
    return ((echo_service *)context)->refused >= SILENT;
}

static int count_closed(raw_client *const *silent)
{
    int closed = 0;
    for (int i = 0; i < SILENT; i++) {
        uint8_t ping[8] = {0};
        raw_frame frame;
        raw_send_frame(silent[i], NGHTTP2_PING, 0, 0, ping, sizeof ping);
        bool answered = false;
        while (!answered && raw_read(silent[i], &frame))
            answered = frame.type == NGHTTP2_PING;
        closed += !answered;
    }
    return closed;
}

static void who_reads_is_served(void **state)
{
    const reid_rpc_limits limits = {
        .max_queue_bytes = 100000, .max_unread_bytes = 1 << 20, .unread_ms = 100};
    echo_server *server = echo_server_new(&limits);
    echo_service *echo = echo_server_service(server);
    raw_client *silent[SILENT];
    for (int i = 0; i < SILENT; i++)
        silent[i] = silent_new(
            server); /* 8 MB if each had what it may have, and 1 MB with a message each */
    assert_true(reid_test_wait(is_full, echo, 10));

    reid_error err = {0};
    reid_rpc_client *client;
    reid_rpc_client_stream *stream;
    reid_assert_ok(echo_server_connect(server, &client, &err), &err);
    say(client); /* of what streams may not have */
    ask request = REID__TEST__ASK__INIT;
    request.size = 10000;
    reid_assert_ok(reid_rpc_client_start(client, ECHO_PATH "Tell", &request.base,
                                         &reid__test__answer__descriptor, &stream, &err),
                   &err);
    for (int i = 1; i <= READ; i++) {
        ProtobufCMessage *message = NULL;
        reid_assert_ok(reid_rpc_client_next(stream, 20000, &message, &err), &err);
        assert_non_null(message);
        assert_int_equal(((answer *)message)->number, i);
        protobuf_c_message_free_unpacked(message, NULL);
    }
    assert_in_range(count_closed(silent), 1, SILENT);
    reid_rpc_client_stop(stream);
    reid_rpc_client_free(client);
    for (int i = 0; i < SILENT; i++)
        raw_free(silent[i]);
    echo_server_free(server);
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_reads_is_served),
    };
    return cmocka_run_group_tests_name("room", tests, NULL, NULL);
}
