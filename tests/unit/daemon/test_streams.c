/* Watch, Metrics and Logs of a running reidd. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/str.h"
#include "harness/harness.h"
#include "support/reidd.h"

#define STATE(name) REID__V1__JOB_STATE__JOB_STATE_##name

static reid_rpc_client_stream *start_metrics(test_reidd *t, const char *id, bool follow,
                                             int attempt, int64_t seq)
{
    Reid__V1__MetricsRequest request = REID__V1__METRICS_REQUEST__INIT;
    reid_rpc_client_stream *stream = NULL;
    reid_error err = {0};
    request.id = (char *)id;
    request.follow = follow;
    request.attempt = attempt;
    request.seq = seq;
    reid_assert_ok(reid_rpc_client_start(t->client, "/reid.v1.JobService/Metrics", &request.base,
                                         &reid__v1__metrics_chunk__descriptor, &stream, &err),
                   &err);
    return stream;
}

typedef struct follower {
    reid_rpc_client_stream *stream;
    int64_t seq; /* of the last row */
    int caught_up;
    bool ended;
} follower;

/* The next chunk; its rows must follow without gap or repetition. */
static void read_chunk(follower *f)
{
    Reid__V1__MetricsChunk *chunk = NULL;
    reid_error err = {0};
    reid_assert_ok(reid_rpc_client_next(f->stream, 30000, (ProtobufCMessage **)&chunk, &err), &err);
    f->ended = chunk == NULL;
    if (!chunk)
        return;
    assert_int_equal(chunk->missed, 0);
    f->caught_up += chunk->caught_up;
    for (size_t i = 0; i < chunk->n_rows; i++) {
        assert_int_equal(chunk->rows[i]->seq, f->seq + 1);
        f->seq++;
        assert_int_equal(chunk->rows[i]->n_scalars, 2);
        assert_true(chunk->rows[i]->scalars[0]->value == 1.0 / (double)f->seq);
    }
    reid__v1__metrics_chunk__free_unpacked(chunk, NULL);
}

static void test_metrics_live(void **state)
{
    test_reidd *t = *state;
    test_reidd_start(t);
    char *id = test_submit(t, "x", 1,
                           "mark up\nwait 0\nlink\nrows 1000\nlast-row\nmark a\nwait 1\nrows 1\n"
                           "last-row\nwait 2\nrows 2000\n");
    test_wait_mark(t, 1, "up");
    follower early = {.stream = start_metrics(t, id, true, 0, 0)};
    read_chunk(&early); /* nothing yet, and everything from here on is live */
    assert_int_equal(early.seq, 0);
    assert_int_equal(early.caught_up, 1);
    test_give_mark(t, 1, "0");
    while (early.seq < 1000)
        read_chunk(&early);
    test_wait_mark(t, 1, "a");
    follower late = {.stream = start_metrics(t, id, true, 1, 400), .seq = 400};
    while (!late.caught_up)
        read_chunk(&late);
    assert_int_equal(late.seq, 1000);
    test_give_mark(t, 1, "1");
    read_chunk(&late);
    read_chunk(&early);
    assert_int_equal(early.seq, 1001);
    assert_int_equal(late.seq, 1001);
    test_give_mark(t, 1, "2"); /* the rest comes partly by the link, partly from the spool */
    while (!early.ended)
        read_chunk(&early);
    while (!late.ended)
        read_chunk(&late);
    assert_int_equal(early.seq, 3001);
    assert_int_equal(late.seq, 3001);
    assert_int_equal(early.caught_up + late.caught_up, 2);
    reid_rpc_client_stop(early.stream);
    reid_rpc_client_stop(late.stream);
    free(id);
}

/* Somebody who does not read holds up nobody, and misses nothing when he does. */
static void test_slow_reader(void **state)
{
    test_reidd *t = *state;
    test_reidd_start(t);
    char *id = test_submit(t, "x", 1, "link\nmark up\nwait go\nrows 60000\n");
    test_wait_mark(t, 1, "up");
    follower slow = {.stream = start_metrics(t, id, true, 0, 0)};
    test_give_mark(t, 1, "go");
    test_expect_state(t, id, STATE(SUCCEEDED)); /* while nothing is read */
    while (!slow.ended)
        read_chunk(&slow);
    assert_int_equal(slow.seq, 60000);
    assert_int_equal(slow.caught_up, 1);
    reid_rpc_client_stop(slow.stream);
    free(id);
}

static void test_metrics_by_cursor_and_name(void **state)
{
    test_reidd *t = *state;
    test_reidd_start(t);
    char *id = test_submit(t, "x", 1, "link\nrows 12\n");
    test_expect_state(t, id, STATE(SUCCEEDED));
    char *rows = test_metrics(t, id, 1, 10, NULL);
    assert_string_equal(rows, "1.11:10 1.12:11 ");
    free(rows);
    rows = test_metrics(t, id, 1, 12, NULL);
    assert_string_equal(rows, "");
    free(rows);
    rows = test_metrics(t, id, 1, 11, "*loss*");
    assert_string_equal(rows, "1.12:11 ");
    free(rows);
    rows = test_metrics(t, id, 0, 0, "nothing*");
    assert_string_equal(rows, "");
    free(rows);
    Reid__V1__MetricsRequest request = REID__V1__METRICS_REQUEST__INIT;
    reid_rpc_client_stream *stream = NULL;
    Reid__V1__MetricsChunk *chunk = NULL;
    reid_error err = {0};
    char *names[] = {(char *)"l?"};
    request.id = id;
    request.n_names = 1;
    request.names = names;
    reid_assert_ok(reid_rpc_client_start(t->client, "/reid.v1.JobService/Metrics", &request.base,
                                         &reid__v1__metrics_chunk__descriptor, &stream, &err),
                   &err);
    reid_assert_ok(reid_rpc_client_next(stream, 10000, (ProtobufCMessage **)&chunk, &err), &err);
    assert_int_equal(chunk->n_rows, 12);
    assert_int_equal(chunk->rows[0]->n_scalars, 1);
    assert_string_equal(chunk->rows[0]->scalars[0]->name, "lr");
    reid__v1__metrics_chunk__free_unpacked(chunk, NULL);
    reid_rpc_client_stop(stream);
    stream = start_metrics(t, "nobody", false, 0, 0);
    assert_int_equal(reid_rpc_client_next(stream, 10000, (ProtobufCMessage **)&chunk, &err),
                     REID_ERR_NOT_FOUND);
    reid_rpc_client_stop(stream);
    stream = start_metrics(t, id, false, -1, 0);
    assert_int_equal(reid_rpc_client_next(stream, 10000, (ProtobufCMessage **)&chunk, NULL),
                     REID_ERR_INVALID);
    reid_rpc_client_stop(stream);
    free(id);
}

static void test_watch_tells_every_state(void **state)
{
    test_reidd *t = *state;
    test_reidd_option(t, "--slots=1");
    test_reidd_start(t);
    char *first = test_submit(t, "first", 1, "mark up\nwait go\n");
    char *id = test_submit(t, "x", 1, "mark up\nwait go\nlink\nphase 2\nmark on\nwait end\n");
    Reid__V1__WatchJobRequest request = REID__V1__WATCH_JOB_REQUEST__INIT;
    reid_rpc_client_stream *stream = NULL;
    reid_error err = {0};
    request.id = id;
    reid_assert_ok(reid_rpc_client_start(t->client, "/reid.v1.JobService/Watch", &request.base,
                                         &reid__v1__job__descriptor, &stream, &err),
                   &err);
    int seen = 0, last = 0;
    for (;;) {
        Reid__V1__Job *job = NULL;
        reid_assert_ok(reid_rpc_client_next(stream, 30000, (ProtobufCMessage **)&job, &err), &err);
        if (!job)
            break;
        assert_true((int)job->state >= last);
        last = (int)job->state;
        seen |= 1 << last;
        if (last == STATE(PENDING))
            test_give_mark(t, 1, "go");
        else if (last == STATE(STARTING))
            test_give_mark(t, 2, "go");
        else if (last == STATE(RUNNING))
            test_give_mark(t, 2, "end");
        reid__v1__job__free_unpacked(job, NULL);
    }
    assert_int_equal(last, STATE(SUCCEEDED));
    assert_int_equal(seen, 1 << STATE(PENDING) | 1 << STATE(STARTING) | 1 << STATE(RUNNING) |
                               1 << STATE(SUCCEEDED));
    reid_rpc_client_stop(stream);
    free(first);
    free(id);
}

/* ---- logs ---- */

static reid_rpc_client_stream *start_logs(test_reidd *t, const Reid__V1__LogsRequest *request)
{
    reid_rpc_client_stream *stream = NULL;
    reid_error err = {0};
    reid_assert_ok(reid_rpc_client_start(t->client, "/reid.v1.JobService/Logs", &request->base,
                                         &reid__v1__log_chunk__descriptor, &stream, &err),
                   &err);
    return stream;
}

/* Bytes of one rank, "out" and "err" apart, until the stream ends or `until` has been read. */
static void read_logs(reid_rpc_client_stream *stream, reid_str *out, reid_str *errors,
                      const char *until)
{
    reid_error err = {0};
    for (;;) {
        Reid__V1__LogChunk *chunk = NULL;
        if (until && out->data && strstr(out->data, until))
            return;
        reid_assert_ok(reid_rpc_client_next(stream, 30000, (ProtobufCMessage **)&chunk, &err),
                       &err);
        if (!chunk)
            return;
        if (chunk->rank >= 0) {
            reid_str *text = chunk->from_stderr ? errors : out;
            assert_int_equal(chunk->offset, text->length);
            reid_str_add_bytes(text, chunk->data.data, chunk->data.len);
        }
        reid__v1__log_chunk__free_unpacked(chunk, NULL);
    }
}

static void test_logs_live(void **state)
{
    test_reidd *t = *state;
    reid_str out = REID_STR_INIT, errors = REID_STR_INIT;
    test_reidd_option(t, "--slots=1");
    test_reidd_start(t);
    char *first = test_submit(t, "first", 1, "mark up\nwait go\n");
    char *id = test_submit(t, "x", 1, "out one\nerr uno\nmark up\nwait go\nout two\nout three\n");
    Reid__V1__LogsRequest request = REID__V1__LOGS_REQUEST__INIT;
    request.id = id;
    request.follow = true;
    reid_rpc_client_stream *stream = start_logs(t, &request); /* it has not even started */
    test_give_mark(t, 1, "go");
    read_logs(stream, &out, &errors, "one\n");
    test_give_mark(t, 2, "go");
    read_logs(stream, &out, &errors, NULL);
    assert_string_equal(out.data, "one\ntwo\nthree\n");
    assert_string_equal(errors.data, "uno\n");
    reid_rpc_client_stop(stream);
    reid_str_fini(&out);
    reid_str_fini(&errors);
    free(first);
    free(id);
}

static void check_log_refused(test_reidd *t, const Reid__V1__LogsRequest *request, reid_status code,
                              const char *said)
{
    ProtobufCMessage *chunk = NULL;
    reid_error err = {0};
    reid_rpc_client_stream *stream = start_logs(t, request);
    assert_int_equal(reid_rpc_client_next(stream, 10000, &chunk, &err), code);
    if (!strstr(err.text, said))
        fail_msg("%s", err.text);
    reid_rpc_client_stop(stream);
}

static void test_logs_of_an_ended_job(void **state)
{
    test_reidd *t = *state;
    reid_str out = REID_STR_INIT, errors = REID_STR_INIT;
    test_reidd_start(t);
    char *id = test_submit(t, "x", 1, "out one\nout two\nout three\nerr uno\nerr due\n");
    test_expect_state(t, id, STATE(SUCCEEDED));
    Reid__V1__LogsRequest request = REID__V1__LOGS_REQUEST__INIT;
    int32_t ranks[] = {0};
    request.id = id;
    request.follow = true; /* ends all the same */
    request.ranks = ranks;
    request.n_ranks = 1;
    reid_rpc_client_stream *stream = start_logs(t, &request);
    read_logs(stream, &out, &errors, NULL);
    reid_rpc_client_stop(stream);
    assert_string_equal(out.data, "one\ntwo\nthree\n");
    assert_string_equal(errors.data, "uno\ndue\n");
    request.tail_lines = 1;
    request.follow = false;
    stream = start_logs(t, &request);
    Reid__V1__LogChunk *chunk = NULL;
    reid_error err = {0};
    reid_assert_ok(reid_rpc_client_next(stream, 10000, (ProtobufCMessage **)&chunk, &err), &err);
    assert_int_equal(chunk->offset, 8);
    assert_int_equal(chunk->data.len, 6);
    assert_memory_equal(chunk->data.data, "three\n", 6);
    reid__v1__log_chunk__free_unpacked(chunk, NULL);
    reid_rpc_client_stop(stream);
    ranks[0] = 1;
    check_log_refused(t, &request, REID_ERR_INVALID, "no rank 1");
    ranks[0] = 0;
    request.attempt = 2;
    check_log_refused(t, &request, REID_ERR_NOT_FOUND, "no attempt 2");
    request.attempt = 0;
    request.tail_lines = -1;
    check_log_refused(t, &request, REID_ERR_INVALID, "negative");
    reid_str_fini(&out);
    reid_str_fini(&errors);
    free(id);
}

static void test_logs_of_a_queued_job(void **state)
{
    test_reidd *t = *state;
    reid_error err = {0};
    test_reidd_option(t, "--slots=1");
    test_reidd_start(t);
    char *first = test_submit(t, "first", 1, "mark up\nwait never\n");
    char *id = test_submit(t, "x", 1, "exit 0\n");
    Reid__V1__LogsRequest request = REID__V1__LOGS_REQUEST__INIT;
    request.id = id;
    check_log_refused(t, &request, REID_ERR_PRECONDITION, "has not started yet");
    request.follow = true;
    reid_rpc_client_stream *stream = start_logs(t, &request);
    reid_assert_ok(test_cancel(t, id, 0, "", &err), &err);
    ProtobufCMessage *chunk = NULL;
    reid_assert_ok(reid_rpc_client_next(stream, 10000, &chunk, &err), &err); /* its end */
    assert_null(chunk);
    reid_rpc_client_stop(stream);
    check_log_refused(t, &request, REID_ERR_NOT_FOUND, "before it was started");
    free(first);
    free(id);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, test_reidd_set_up, test_reidd_tear_down)
    const struct CMUnitTest tests[] = {
        CASE(test_metrics_live),
        CASE(test_slow_reader),
        CASE(test_metrics_by_cursor_and_name),
        CASE(test_watch_tells_every_state),
        CASE(test_logs_live),
        CASE(test_logs_of_an_ended_job),
        CASE(test_logs_of_a_queued_job),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
