/* The end of a server, with and without open calls; health and reflection on the way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "echo.h"
#include "grpc/health/v1/health.pb-c.h"
#include "grpc/reflection/v1/reflection.pb-c.h"
#include "harness/harness.h"
#include "raw.h"
#include "rpc/client.h"

typedef Reid__Test__Ask ask;
typedef Grpc__Health__V1__HealthCheckRequest health_request;
typedef Grpc__Health__V1__HealthCheckResponse health_response;
typedef Grpc__Reflection__V1__ServerReflectionRequest reflection_request;
typedef Grpc__Reflection__V1__ServerReflectionResponse reflection_response;
#define HEALTH(name) GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__##name
#define ASKED(name) GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_##name
#define ANSWERED(name) GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_##name

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

static bool is_down(void *server)
{
    return echo_server_is_down(server);
}

static void say(fixture *f, reid_status expected)
{
    ask request = REID__TEST__ASK__INIT;
    ProtobufCMessage *message;
    reid_error_clear(&f->err);
    assert_int_equal(reid_rpc_client_unary(f->client, ECHO_PATH "Say", &request.base,
                                           &reid__test__answer__descriptor, 20000, &message,
                                           &f->err),
                     expected);
    if (expected == REID_OK)
        protobuf_c_message_free_unpacked(message, NULL);
}

static reid_rpc_client_stream *start(fixture *f, const char *path, const ProtobufCMessage *request,
                                     const ProtobufCMessageDescriptor *output)
{
    reid_rpc_client_stream *stream;
    reid_assert_ok(reid_rpc_client_start(f->client, path, request, output, &stream, &f->err),
                   &f->err);
    return stream;
}

static reid_status next(fixture *f, reid_rpc_client_stream *stream, ProtobufCMessage **ret)
{
    *ret = NULL;
    reid_error_clear(&f->err);
    return reid_rpc_client_next(stream, 20000, ret, &f->err);
}

static void idle_connections_end_at_once(void **state)
{
    fixture *f = *state;
    say(f, REID_OK);
    echo_server_shutdown(f->server, 60000);
    assert_true(reid_test_wait(is_down, f->server, 10));
    assert_int_not_equal(access(echo_server_path(f->server), F_OK), 0);
    say(f, REID_ERR_UNAVAILABLE);
}

static bool one_open(void *context)
{
    return ((echo_service *)context)->opened == 1;
}

static void open_calls_may_finish_in_the_grace(void **state)
{
    fixture *f = *state;
    echo_service *echo = echo_server_service(f->server);
    reid_rpc_client_stream *stream;
    reid_assert_ok(reid_rpc_client_open(f->client, ECHO_PATH "Sum", &reid__test__answer__descriptor,
                                        &stream, &f->err),
                   &f->err);
    ask request = REID__TEST__ASK__INIT;
    request.number = 20;
    reid_assert_ok(reid_rpc_client_send(stream, &request.base, 0, &f->err), &f->err);
    ProtobufCMessage *message;
    assert_int_equal(reid_rpc_client_next(stream, 1, &message, NULL),
                     REID_ERR_TIMEOUT); /* turns the client's loop */
    assert_true(reid_test_wait(one_open, echo, 10));
    echo_server_shutdown(f->server, 60000);
    assert_int_equal(reid_rpc_client_next(stream, 20, &message, NULL),
                     REID_ERR_TIMEOUT); /* takes in the GOAWAY */
    say(f, REID_ERR_UNAVAILABLE);
    reid_assert_ok(reid_rpc_client_send(stream, &request.base, 0, &f->err), &f->err);
    reid_rpc_client_half_close(stream);
    reid_assert_ok(next(f, stream, &message), &f->err);
    assert_int_equal(((Reid__Test__Answer *)message)->sum, 40);
    protobuf_c_message_free_unpacked(message, NULL);
    reid_rpc_client_stop(stream);
    assert_true(reid_test_wait(is_down, f->server, 10));
}

static void calls_left_after_the_grace_are_ended(void **state)
{
    fixture *f = *state;
    ask request = REID__TEST__ASK__INIT;
    const ProtobufCMessageDescriptor *output = &reid__test__answer__descriptor;
    reid_rpc_client_stream *never = start(f, ECHO_PATH "Never", &request.base, output);
    request.size = 10000;
    reid_rpc_client_stream *endless = start(f, ECHO_PATH "Tell", &request.base, output);
    ProtobufCMessage *message;
    reid_assert_ok(next(f, endless, &message), &f->err);
    protobuf_c_message_free_unpacked(message, NULL);
    double before = reid_clock_seconds();
    echo_server_shutdown(f->server, 30);
    assert_int_equal(next(f, never, &message), REID_ERR_UNAVAILABLE);
    assert_string_equal(f->err.text, "the server is shutting down");
    reid_status status;
    while ((status = next(f, endless, &message)) == REID_OK && message)
        protobuf_c_message_free_unpacked(message, NULL);
    assert_int_equal(status, REID_ERR_UNAVAILABLE);
    reid_rpc_client_stop(never);
    reid_rpc_client_stop(endless);
    assert_true(reid_test_wait(is_down, f->server, 10));
    assert_true(reid_clock_seconds() - before < 9);
    echo_service *echo = echo_server_service(f->server);
    assert_int_equal(echo->closed, 2);
}

static bool is_full(void *context)
{
    return ((echo_service *)context)->refused > 0;
}

static void peer_that_does_not_read_cannot_hinder_the_end(void **state)
{
    fixture *f = *state;
    raw_client *raw = raw_connect(echo_server_path(f->server));
    raw_begin(raw);
    raw_request(raw, 1, ECHO_PATH "Tell");
    static const uint8_t request[] = {0x28, 0x90, 0x4e};
    raw_message(raw, 1, NGHTTP2_FLAG_END_STREAM, 0, request, sizeof request);
    assert_true(reid_test_wait(is_full, echo_server_service(f->server), 10));
    echo_server_shutdown(f->server, 10);
    assert_true(reid_test_wait(is_down, f->server, 10));
    raw_free(raw);
}

/* A peer that writes after the server's last word must not find the socket closed: it would lose
 * what it has not read yet. */
static void peer_that_still_writes_reads_the_last_frames(void **state)
{
    fixture *f = *state;
    static const uint8_t ping[8];
    raw_client *raw = raw_connect(echo_server_path(f->server));
    raw_begin(raw);
    assert_true(raw_request(raw, 1, ECHO_PATH "Say"));
    assert_true(raw_message(raw, 1, NGHTTP2_FLAG_END_STREAM, 0, NULL, 0));
    assert_int_equal(raw_wait(raw, 1).grpc_status, 0);
    echo_server_shutdown(f->server, 60000);
    assert_int_equal(raw_wait_closed(raw).goaway, NGHTTP2_NO_ERROR);
    assert_true(raw_send_frame(raw, NGHTTP2_PING, NGHTTP2_FLAG_NONE, 0, ping, sizeof ping));
    assert_false(is_down(f->server));
    raw_free(raw);
    assert_true(reid_test_wait(is_down, f->server, 10));
}

/* It may also stay connected for ever: then the server goes first. */
static void peer_that_stays_does_not_hinder_the_end(void **state)
{
    fixture *f = *state;
    raw_client *raw = raw_connect(echo_server_path(f->server));
    raw_begin(raw);
    echo_server_shutdown(f->server, 60000);
    assert_int_equal(raw_wait_closed(raw).goaway, NGHTTP2_NO_ERROR);
    assert_true(reid_test_wait(is_down, f->server, 10));
    raw_free(raw);
}

static void second_shutdown_shortens_the_grace(void **state)
{
    fixture *f = *state;
    ask request = REID__TEST__ASK__INIT;
    reid_rpc_client_stream *never =
        start(f, ECHO_PATH "Never", &request.base, &reid__test__answer__descriptor);
    assert_true(reid_test_wait(one_open, echo_server_service(f->server), 10));
    echo_server_shutdown(f->server, 600000);
    ProtobufCMessage *message;
    assert_int_equal(reid_rpc_client_next(never, 20, &message, NULL), REID_ERR_TIMEOUT);
    echo_server_shutdown(f->server, 10);
    assert_int_equal(next(f, never, &message), REID_ERR_UNAVAILABLE);
    reid_rpc_client_stop(never);
    assert_true(reid_test_wait(is_down, f->server, 10));
}

static void server_gone_with_open_stream(void **state)
{
    fixture *f = *state;
    ask request = REID__TEST__ASK__INIT;
    reid_rpc_client_stream *never =
        start(f, ECHO_PATH "Never", &request.base, &reid__test__answer__descriptor);
    assert_true(reid_test_wait(one_open, echo_server_service(f->server), 10));
    echo_server_free(f->server);
    f->server = NULL;
    ProtobufCMessage *message;
    assert_int_equal(next(f, never, &message), REID_ERR_UNAVAILABLE);
    reid_rpc_client_stop(never);
}

/* ---- health ---- */

static reid_status check(fixture *f, const char *service, int *ret_status)
{
    health_request request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
    request.service = (char *)(uintptr_t)service;
    ProtobufCMessage *message;
    reid_error_clear(&f->err);
    reid_status status = reid_rpc_client_unary(
        f->client, "/grpc.health.v1.Health/Check", &request.base,
        &grpc__health__v1__health_check_response__descriptor, 20000, &message, &f->err);
    if (status != REID_OK)
        return status;
    *ret_status = (int)((health_response *)message)->status;
    protobuf_c_message_free_unpacked(message, NULL);
    return status;
}

static int next_health(fixture *f, reid_rpc_client_stream *stream)
{
    ProtobufCMessage *message;
    reid_assert_ok(next(f, stream, &message), &f->err);
    int status = (int)((health_response *)message)->status;
    protobuf_c_message_free_unpacked(message, NULL);
    return status;
}

static void health_is_serving_until_the_shutdown(void **state)
{
    fixture *f = *state;
    int status = -1;
    reid_assert_ok(check(f, "", &status), &f->err);
    assert_int_equal(status, HEALTH(SERVING));
    reid_assert_ok(check(f, "reid.test.Echo", &status), &f->err);
    assert_int_equal(status, HEALTH(SERVING));
    assert_int_equal(check(f, "reid.test.Ech", &status), REID_ERR_NOT_FOUND);
    assert_string_equal(f->err.text, "there is no service 'reid.test.Ech' here");

    health_request request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
    const ProtobufCMessageDescriptor *output = &grpc__health__v1__health_check_response__descriptor;
    reid_rpc_client_stream *all = start(f, "/grpc.health.v1.Health/Watch", &request.base, output);
    request.service = (char *)(uintptr_t) "no.such.Service";
    reid_rpc_client_stream *none = start(f, "/grpc.health.v1.Health/Watch", &request.base, output);
    assert_int_equal(next_health(f, all), HEALTH(SERVING));
    assert_int_equal(next_health(f, none), HEALTH(SERVICE_UNKNOWN));
    echo_server_shutdown(f->server, 60000);
    assert_int_equal(next_health(f, all), HEALTH(NOT_SERVING));
    ProtobufCMessage *message;
    assert_int_equal(next(f, all, &message), REID_ERR_UNAVAILABLE);
    reid_rpc_client_stop(all);
    reid_rpc_client_stop(none);
    assert_true(reid_test_wait(is_down, f->server, 10));
}

/* ---- reflection ---- */

static reflection_response *reflect(fixture *f, reid_rpc_client_stream *stream, int what,
                                    const char *text)
{
    reflection_request request = GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__INIT;
    request.host = (char *)(uintptr_t) "here";
    request.message_request_case = what;
    request.list_services = (char *)(uintptr_t)text; /* all members are texts in one union */
    reid_assert_ok(reid_rpc_client_send(stream, &request.base, 0, &f->err), &f->err);
    ProtobufCMessage *message;
    reid_assert_ok(next(f, stream, &message), &f->err);
    assert_non_null(message);
    reflection_response *answer = (reflection_response *)message;
    assert_string_equal(answer->valid_host, "here");
    assert_int_equal(answer->original_request->message_request_case, what);
    return answer;
}

static void done(reflection_response *answer)
{
    protobuf_c_message_free_unpacked(&answer->base, NULL);
}

static bool holds(const ProtobufCBinaryData *bytes, const char *text)
{
    return memmem(bytes->data, bytes->len, text, strlen(text)) != NULL;
}

static void reflect_with(fixture *f, const char *path)
{
    reid_rpc_client_stream *stream;
    reid_assert_ok(
        reid_rpc_client_open(f->client, path,
                             &grpc__reflection__v1__server_reflection_response__descriptor, &stream,
                             &f->err),
        &f->err);
    reflection_response *answer = reflect(f, stream, ASKED(LIST_SERVICES), "");
    static const char *const services[] = {
        "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection", "reid.test.Echo"};
    assert_int_equal(answer->list_services_response->n_service, 4);
    for (int i = 0; i < 4; i++)
        assert_string_equal(answer->list_services_response->service[i]->name, services[i]);
    done(answer);

    static const char *const symbols[] = {"reid.v1.RankService", "reid.v1.RankService.Link",
                                          "reid.v1.LinkUp", "reid.v1.LinkUp.row",
                                          "reid.v1.LinkUp.kind"};
    for (int i = 0; i < 5; i++) { /* link.proto and what it imports */
        answer = reflect(f, stream, ASKED(FILE_CONTAINING_SYMBOL), symbols[i]);
        assert_int_equal(answer->message_response_case, ANSWERED(FILE_DESCRIPTOR_RESPONSE));
        assert_int_equal(answer->file_descriptor_response->n_file_descriptor_proto, 4);
        const ProtobufCBinaryData *files = answer->file_descriptor_response->file_descriptor_proto;
        assert_true(holds(&files[0], "reid/v1/link.proto"));
        static const char *const imported[] = {"ControlService", "HookService", "JobService"};
        for (int k = 0; k < 3; k++)
            assert_true(holds(&files[1], imported[k]) || holds(&files[2], imported[k]) ||
                        holds(&files[3], imported[k]));
        done(answer);
    }
    answer = reflect(f, stream, ASKED(FILE_CONTAINING_SYMBOL),
                     "reid.v1.JOB_STATE_PENDING"); /* beside its enum */
    assert_int_equal(answer->message_response_case, ANSWERED(FILE_DESCRIPTOR_RESPONSE));
    done(answer);
    answer = reflect(f, stream, ASKED(FILE_BY_FILENAME), "grpc/health/v1/health.proto");
    assert_int_equal(answer->file_descriptor_response->n_file_descriptor_proto, 1);
    assert_true(
        holds(&answer->file_descriptor_response->file_descriptor_proto[0], "HealthCheckRequest"));
    done(answer);
    answer = reflect(f, stream, ASKED(FILE_CONTAINING_SYMBOL), "reid.v1.Nothing");
    assert_int_equal(answer->message_response_case, ANSWERED(ERROR_RESPONSE));
    assert_int_equal(answer->error_response->error_code, 5);
    assert_string_equal(answer->error_response->error_message,
                        "there is no symbol 'reid.v1.Nothing' here");
    done(answer);
    answer = reflect(f, stream, ASKED(ALL_EXTENSION_NUMBERS_OF_TYPE), "reid.v1.Job");
    assert_int_equal(answer->all_extension_numbers_response->n_extension_number, 0);
    done(answer);
    reid_rpc_client_half_close(stream);
    ProtobufCMessage *message;
    reid_assert_ok(next(f, stream, &message), &f->err);
    assert_null(message);
    reid_rpc_client_stop(stream);
}

static void reflection_tells_services_and_files(void **state)
{
    reflect_with(*state, "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo");
    reflect_with(*state, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo");
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(idle_connections_end_at_once),
        TEST(open_calls_may_finish_in_the_grace),
        TEST(calls_left_after_the_grace_are_ended),
        TEST(peer_that_does_not_read_cannot_hinder_the_end),
        TEST(peer_that_still_writes_reads_the_last_frames),
        TEST(peer_that_stays_does_not_hinder_the_end),
        TEST(second_shutdown_shortens_the_grace),
        TEST(server_gone_with_open_stream),
        TEST(health_is_serving_until_the_shutdown),
        TEST(reflection_tells_services_and_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
