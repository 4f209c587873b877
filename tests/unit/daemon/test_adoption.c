/* Jobs outlive their daemon, and a new daemon knows them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "daemon/exec/files.h"
#include "daemon/exec/process.h"
#include "harness/harness.h"
#include "support/reidd.h"

#define STATE(name) REID__V1__JOB_STATE__JOB_STATE_##name

static void check_rows(test_reidd *t, const char *id, int64_t last)
{
    char *rows = test_metrics(t, id, 0, 0, NULL), *expected = test_rows_expected(1, 1, last);
    assert_string_equal(rows, expected);
    free(rows);
    free(expected);
}

static void test_running_job_is_adopted(void **state)
{
    test_reidd *t = *state;
    test_reidd_start(t);
    char *id = test_submit(t, "long", 1,
                           "link\nphase 2\nprogress 50 200\nrows 50\nlast-row\nmark half\nwait go\n"
                           "rows 50\nlast-row\nmark most\nwait end\nrows 20\n");
    pid_t rank = test_wait_mark(t, 1, "half");
    test_reidd_kill(t);
    test_give_mark(t, 1, "go"); /* rows are made while there is no daemon */
    assert_true(reidd_process_is_alive(rank, 0));
    test_reidd_start(t);
    Reid__V1__Job *job = test_get(t, id);
    assert_int_equal(job->state, STATE(RUNNING));
    assert_int_equal(job->phase, REID__V1__JOB_PHASE__JOB_PHASE_TRAINING);
    assert_int_equal(job->attempt, 1);
    assert_true(job->n_latest == 2);
    reid__v1__job__free_unpacked(job, NULL);
    assert_int_equal(test_wait_mark(t, 1, "most"), rank); /* it has found the new daemon */
    check_rows(t, id, 100);
    test_give_mark(t, 1, "end");
    test_expect_state(t, id, STATE(SUCCEEDED));
    check_rows(t, id, 120);
    free(id);
}

static bool has_report(void *path)
{
    return reid_path_exists(path);
}

static void wait_for_report(test_reidd *t, const char *id)
{
    char *path = reid_xasprintf("%s/jobs/%s/attempt-1/exit.json", t->state_dir, id);
    assert_true(reid_test_wait(has_report, path, 30));
    free(path);
}

/* The job ends while no daemon is there: end, rows and slots are known afterwards. */
static void test_end_without_a_daemon(void **state)
{
    test_reidd *t = *state;
    test_reidd_option(t, "--slots=1");
    test_reidd_start(t);
    char *good =
        test_submit(t, "good", 1, "link\nrows 10\nlast-row\nmark half\nwait go\nrows 700\n");
    char *queued = test_submit(t, "queued", 1, "exit 3\n");
    test_wait_mark(t, 1, "half");
    test_reidd_kill(t);
    test_give_mark(t, 1, "go");
    wait_for_report(t, good);
    test_reidd_start(t);
    test_expect_state(t, good, STATE(SUCCEEDED));
    check_rows(t, good, 710);
    test_expect_state(t, queued, STATE(FAILED)); /* and the queue goes on */
    free(good);
    free(queued);
}

/* While what a job has left is stored, slice after slice, reidd answers others. */
static void test_others_are_answered_meanwhile(void **state)
{
    test_reidd *t = *state;
    double last = 0;
    int changes = 0;
    bool ended = false;
    test_reidd_start(t);
    char *id = test_submit(t, "x", 1, "rows 100000\n");
    while (!ended) {
        Reid__V1__Job *job = test_get(t, id);
        ended = job->ended_ms != 0;
        if (!ended && job->n_latest > 0 && job->latest[0]->value != last) {
            last = job->latest[0]->value;
            changes++;
        }
        reid__v1__job__free_unpacked(job, NULL);
    }
    assert_true(changes >= 10); /* of 200 slices */
    test_expect_state(t, id, STATE(SUCCEEDED));
    free(id);
}

static void test_ends_are_final(void **state)
{
    test_reidd *t = *state;
    test_reidd_start(t);
    char *id = test_submit(t, "x", 1, "link\nrows 5\nlast-row\nwords it broke\nexit 4\n");
    test_expect_state(t, id, STATE(FAILED));
    for (int i = 0; i < 2; i++) {
        if (i == 0)
            assert_int_equal(test_reidd_stop(t, 2), 0);
        else
            test_reidd_kill(t);
        test_reidd_start(t);
        Reid__V1__Job *job = test_get(t, id);
        assert_int_equal(job->state, STATE(FAILED));
        assert_string_equal(job->failure->sentence, "it broke");
        assert_int_equal(job->exit_code, 4);
        reid__v1__job__free_unpacked(job, NULL);
        check_rows(t, id, 5);
    }
    char *next = test_submit(t, "x", 1, "exit 0\n");
    assert_true(strcmp(next, id) > 0);
    free(next);
    free(id);
}

/* TERM ends the daemon quickly, streams and all; what runs goes on. */
static void test_clean_end_with_streams(void **state)
{
    test_reidd *t = *state;
    reid_error err = {0};
    test_reidd_start(t);
    char *id = test_submit(t, "x", 1, "link\nrows 3\nlast-row\nmark up\nwait go\n");
    pid_t rank = test_wait_mark(t, 1, "up");
    Reid__V1__MetricsRequest request = REID__V1__METRICS_REQUEST__INIT;
    reid_rpc_client_stream *stream = NULL;
    ProtobufCMessage *chunk = NULL;
    request.id = id;
    request.follow = true;
    reid_assert_ok(reid_rpc_client_start(t->client, "/reid.v1.JobService/Metrics", &request.base,
                                         &reid__v1__metrics_chunk__descriptor, &stream, &err),
                   &err);
    reid_assert_ok(reid_rpc_client_next(stream, 10000, &chunk, &err), &err);
    protobuf_c_message_free_unpacked(chunk, NULL);
    assert_int_equal(kill(t->pid, SIGTERM), 0);
    assert_int_equal(reid_rpc_client_next(stream, 5000, &chunk, &err), REID_ERR_UNAVAILABLE);
    reid_rpc_client_stop(stream);
    assert_int_equal(test_reidd_stop(t, 2), 0);
    assert_true(reidd_process_is_alive(rank, 0));
    test_reidd_start(t);
    test_give_mark(t, 1, "go");
    test_expect_state(t, id, STATE(SUCCEEDED));
    free(id);
}

static pid_t shim_of(test_reidd *t, const char *id)
{
    char *folder = reid_xasprintf("%s/jobs/%s/attempt-1", t->state_dir, id);
    reidd_shim_info info;
    reid_error err = {0};
    reid_assert_ok(reidd_shim_info_read(folder, &info, &err), &err);
    free(folder);
    return info.pid;
}

static void check_lost(test_reidd *t, const char *id)
{
    Reid__V1__Job *job = test_wait_state(t, id, STATE(FAILED));
    assert_string_equal(job->failure->sentence, "the job's supervisor was killed");
    assert_int_equal(job->failure->rank, -1);
    reid__v1__job__free_unpacked(job, NULL);
    check_rows(t, id, 5);
}

/* The grandchild in its own session is the one that only the daemon can find. */
static const char family[] = "on-term 0\ngrandchild\nlink\nrows 5\nlast-row\nmark up\nwait never\n";

static void test_killed_shim(void **state)
{
    test_reidd *t = *state;
    test_reidd_start(t);
    char *id = test_submit(t, "x", 1, family);
    test_wait_mark(t, 1, "up");
    assert_int_equal(kill(shim_of(t, id), SIGKILL), 0);
    check_lost(t, id);
    assert_int_equal(test_reidd_stop(t, 2), 0);
    assert_true(test_nothing_runs(t));
    free(id);
}

static void test_everything_is_killed(void **state)
{
    test_reidd *t = *state;
    test_reidd_start(t);
    char *id = test_submit(t, "x", 1, family);
    test_wait_mark(t, 1, "up");
    pid_t shim = shim_of(t, id);
    test_reidd_kill(t);
    assert_int_equal(kill(shim, SIGKILL), 0);
    char *half = reid_xasprintf("jobs/%s/attempt-1/ranks/rank-0.pid.%d.tmp", id, INT_MAX);
    char *path = reid_test_write_text(t->state_dir, half, "{");
    test_reidd_start(t);
    check_lost(t, id);
    assert_false(reid_path_exists(path));
    free(path);
    free(half);
    assert_int_equal(test_reidd_stop(t, 2), 0);
    assert_true(test_nothing_runs(t));
    free(id);
}

/* A cancel is a promise that a restart does not break. */
static void test_cancel_survives(void **state)
{
    test_reidd *t = *state;
    reid_error err = {0};
    test_reidd_start(t);
    char *id = test_submit(t, "x", 1, "on-term 0\nlink\nmark up\nwait never\n");
    test_wait_mark(t, 1, "up");
    reid_assert_ok(test_cancel(t, id, 600, "enough", &err), &err);
    test_reidd_kill(t);
    test_reidd_start(t);
    Reid__V1__Job *job = test_get(t, id);
    assert_string_equal(job->detail, "stopping within 600 s: enough");
    reid__v1__job__free_unpacked(job, NULL);
    reid_assert_ok(test_cancel(t, id, 0.1, "", &err), &err);
    job = test_wait_state(t, id, STATE(CANCELLED));
    assert_string_equal(job->detail, "cancelled: enough");
    reid__v1__job__free_unpacked(job, NULL);
    free(id);
}

/* Stopped by somebody else than the daemon: that is no cancel. */
static void test_foreign_stop_is_a_failure(void **state)
{
    test_reidd *t = *state;
    test_reidd_start(t);
    char *id = test_submit(t, "x", 1, "on-term 143\nlink\nmark up\nwait never\n");
    test_wait_mark(t, 1, "up");
    assert_int_equal(kill(shim_of(t, id), SIGTERM), 0);
    Reid__V1__Job *job = test_wait_state(t, id, STATE(FAILED));
    assert_string_equal(job->failure->sentence, "stopped on request");
    assert_int_equal(job->exit_code, 143);
    reid__v1__job__free_unpacked(job, NULL);
    free(id);
}

static void test_fewer_slots_after_a_restart(void **state)
{
    test_reidd *t = *state;
    test_reidd_option(t, "--slots=2");
    test_reidd_start(t);
    char *running = test_submit(t, "running", 1, "mark up\nwait go\n");
    char *large = test_submit(t, "large", 2, "exit 0\n");
    char *small = test_submit(t, "small", 1, "exit 0\n");
    test_wait_mark(t, 1, "up");
    test_reidd_kill(t);
    free(t->options[0]);
    t->options[0] = reid_xstrdup("--slots=1");
    test_reidd_start(t);
    Reid__V1__Job *job = test_wait_state(t, large, STATE(FAILED));
    assert_string_equal(job->failure->sentence, "the job needs 2 slots, and this node now has 1");
    reid__v1__job__free_unpacked(job, NULL);
    test_give_mark(t, 1, "go");
    test_expect_state(t, running, STATE(SUCCEEDED));
    test_expect_state(t, small, STATE(SUCCEEDED));
    free(running);
    free(large);
    free(small);
}

/* A daemon that died between storing a start and starting anything. */
static void test_start_that_never_happened(void **state)
{
    test_reidd *t = *state;
    test_reidd_start(t);
    char *id = test_submit(t, "x", 1, "link\nmark up\nwait go\n");
    test_wait_mark(t, 1, "up");
    pid_t shim = shim_of(t, id);
    test_reidd_kill(t);
    assert_int_equal(kill(shim, SIGKILL), 0);
    /* as if the shim had never come to its first act: the state says RUNNING, so it is lost … */
    char *folder = reid_xasprintf("%s/jobs/%s/attempt-1", t->state_dir, id);
    char *info = reid_path_join(folder, "shim.json");
    assert_int_equal(remove(info), 0);
    test_reidd_start(t);
    Reid__V1__Job *job = test_wait_state(t, id, STATE(FAILED));
    assert_non_null(strstr(job->failure->sentence, "before it started the ranks"));
    reid__v1__job__free_unpacked(job, NULL);
    free(info);
    free(folder);
    free(id);
}

/* … and a STARTING one goes back into the queue and is started again. */
static void test_interrupted_start_is_repeated(void **state)
{
    test_reidd *t = *state;
    test_reidd_start(t);
    char *id = test_submit(t, "x", 1, "mark up\nwait go\nlink\n");
    test_wait_mark(t, 1, "up"); /* no hello yet: STARTING */
    pid_t shim = shim_of(t, id);
    test_reidd_kill(t);
    assert_int_equal(kill(shim, SIGKILL), 0);
    char *folder = reid_xasprintf("%s/jobs/%s/attempt-1", t->state_dir, id);
    char *info = reid_path_join(folder, "shim.json");
    assert_int_equal(remove(info), 0);
    test_give_mark(t, 1, "go");
    test_reidd_start(t);
    Reid__V1__Job *job = test_wait_state(t, id, STATE(SUCCEEDED));
    assert_int_equal(job->attempt, 2);
    reid__v1__job__free_unpacked(job, NULL);
    free(info);
    free(folder);
    free(id);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, test_reidd_set_up, test_reidd_tear_down)
    const struct CMUnitTest tests[] = {
        CASE(test_running_job_is_adopted),        CASE(test_end_without_a_daemon),
        CASE(test_others_are_answered_meanwhile), CASE(test_ends_are_final),
        CASE(test_clean_end_with_streams),        CASE(test_killed_shim),
        CASE(test_everything_is_killed),          CASE(test_cancel_survives),
        CASE(test_foreign_stop_is_a_failure),     CASE(test_fewer_slots_after_a_restart),
        CASE(test_start_that_never_happened),     CASE(test_interrupted_start_is_repeated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
