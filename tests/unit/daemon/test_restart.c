/* Jobs that are started again after a failure. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/str.h"
#include "daemon/exec/files.h"
#include "harness/harness.h"
#include "support/rank.h"
#include "support/reidd.h"

#define STATE(name) REID__V1__JOB_STATE__JOB_STATE_##name

static reid_status submit(test_reidd *t, int restarts, double backoff_s, const char *script,
                          char **ret_id, reid_error *err)
{
    char *folder = test_job_folder(t, ++t->jobs);
    free(reid_test_write_text(folder, "script", script));
    char *yaml = reid_xasprintf("OUTPUT_DIR: %s\n", folder);
    Reid__V1__SubmitRequest request = REID__V1__SUBMIT_REQUEST__INIT;
    Reid__V1__Job *job = NULL;
    request.config_yaml = yaml;
    request.max_restarts = restarts;
    request.restart_backoff_seconds = backoff_s;
    reid_status status = test_submit_raw(t, &request, &job, err);
    if (status == REID_OK) {
        assert_int_equal(job->max_restarts, restarts);
        assert_int_equal(job->restarts, 0);
        *ret_id = reid_xstrdup(job->id);
        reid__v1__job__free_unpacked(job, NULL);
    }
    free(folder);
    free(yaml);
    return status;
}

static char *start(test_reidd *t, int restarts, double backoff_s, const char *script)
{
    char *id = NULL;
    reid_error err = {0};
    reid_assert_ok(submit(t, restarts, backoff_s, script, &id, &err), &err);
    return id;
}

static void check_log(test_reidd *t, const char *id, int attempt, const char *expected)
{
    char *path = reid_xasprintf("%s/jobs/%s/attempt-%d/logs/rank-0.out", t->state_dir, id, attempt);
    char *text = reid_test_read_text(path);
    assert_string_equal(text, expected);
    free(text);
    free(path);
}

/* The details of all events of a kind, a line each. */
static char *events(test_reidd *t, const char *id, const char *kind)
{
    Reid__V1__EventsRequest request = REID__V1__EVENTS_REQUEST__INIT;
    reid_rpc_client_stream *stream = NULL;
    Reid__V1__EventsChunk *chunk = NULL;
    reid_error err = {0};
    reid_str text = REID_STR_INIT;
    request.id = (char *)id;
    reid_assert_ok(reid_rpc_client_start(t->client, "/reid.v1.JobService/Events", &request.base,
                                         &reid__v1__events_chunk__descriptor, &stream, &err),
                   &err);
    for (;;) {
        reid_assert_ok(reid_rpc_client_next(stream, 30000, (ProtobufCMessage **)&chunk, &err),
                       &err);
        if (!chunk)
            break;
        for (size_t i = 0; i < chunk->n_events; i++)
            if (strcmp(chunk->events[i]->kind, kind) == 0)
                reid_str_addf(&text, "%d %s\n", chunk->events[i]->attempt,
                              chunk->events[i]->detail);
        reid__v1__events_chunk__free_unpacked(chunk, NULL);
    }
    reid_rpc_client_stop(stream);
    return reid_str_take(&text);
}

typedef struct backoff {
    test_reidd *t;
    const char *id;
} backoff;

static bool is_in_backoff(void *user)
{
    backoff *b = user;
    Reid__V1__Job *job = test_get(b->t, b->id);
    bool is = job->state == STATE(PENDING) && job->restarts == 1;
    reid__v1__job__free_unpacked(job, NULL);
    return is;
}

static void wait_for_backoff(test_reidd *t, const char *id)
{
    backoff b = {t, id};
    assert_true(reid_test_wait(is_in_backoff, &b, 30));
}

static void test_killed_rank(void **state)
{
    test_reidd *t = *state;
    test_reidd_start(t);
    char *id = start(t, 2, 0.05,
                     "resumed\nlink\nrows 3\nlast-row\n"
                     "in-attempt 1\nmark last_checkpoint\nkill 9\n");
    Reid__V1__Job *job = test_wait_state(t, id, STATE(SUCCEEDED));
    assert_int_equal(job->attempt, 2);
    assert_int_equal(job->restarts, 1);
    assert_int_equal(job->max_restarts, 2);
    assert_true(job->restart_backoff_seconds == 0.05);
    assert_null(job->failure);
    assert_int_equal(job->exit_code, 0);
    reid__v1__job__free_unpacked(job, NULL);
    check_log(t, id, 1, "anew\n");
    check_log(t, id, 2, "resumed\n");
    char *rows = test_metrics(t, id, 0, 0, NULL), *told = events(t, id, "restart");
    assert_string_equal(rows, "1.1:0 1.2:1 1.3:2 2.1:0 2.2:1 2.3:2 ");
    assert_string_equal(told, "1 in 0.05 s (1 of 2) from the last checkpoint: rank 0 was killed by "
                              "signal 9 (Killed)\n");
    free(rows);
    free(told);
    free(id);
}

/* Twice as long each time; the last cause is that of the job. A checkpoint of a former run in the
 * same folder is none of this one. */
static void test_out_of_restarts(void **state)
{
    test_reidd *t = *state;
    test_give_mark(t, 1, "last_checkpoint");
    test_reidd_start(t);
    char *id = start(t, 2, 0.02,
                     "resumed\nin-attempt 1\nwords one\nexit 3\nin-attempt 2\nwords two\nexit 1\n"
                     "in-attempt 3\nwords three\nexit 4\n");
    Reid__V1__Job *job = test_wait_state(t, id, STATE(FAILED));
    assert_int_equal(job->attempt, 3);
    assert_int_equal(job->restarts, 2);
    assert_string_equal(job->failure->sentence, "three");
    assert_int_equal(job->exit_code, 4);
    reid__v1__job__free_unpacked(job, NULL);
    char *told = events(t, id, "restart");
    assert_string_equal(told, "1 in 0.02 s (1 of 2) from the beginning: one\n"
                              "2 in 0.04 s (2 of 2) from the beginning: two\n");
    for (int attempt = 1; attempt <= 3; attempt++)
        check_log(t, id, attempt, "anew\n");
    free(told);
    free(id);
}

static void test_wrong_usage_is_no_cause(void **state)
{
    test_reidd *t = *state;
    test_reidd_start(t);
    char *id = start(t, 5, 0.01, "words no such key\nexit 2\n");
    Reid__V1__Job *job = test_wait_state(t, id, STATE(FAILED));
    assert_int_equal(job->attempt, 1);
    assert_int_equal(job->restarts, 0);
    assert_string_equal(job->failure->sentence, "no such key");
    assert_int_equal(job->exit_code, 2);
    reid__v1__job__free_unpacked(job, NULL);
    free(id);
}

static void check_backoff(test_reidd *t, const char *id, int within_s)
{
    static const char cause[] = " s (1 of 1): rank 0 was killed by signal 9 (Killed)";
    Reid__V1__Job *job = test_get(t, id);
    assert_int_equal(job->state, STATE(PENDING));
    assert_int_equal(job->attempt, 1);
    assert_int_equal(job->queue_position, 0);
    assert_true(reid_str_starts(job->detail, "restarts in "));
    char *end = NULL;
    long seconds = strtol(job->detail + strlen("restarts in "), &end, 10);
    assert_in_range(seconds, 1, within_s);
    assert_string_equal(end, cause);
    reid__v1__job__free_unpacked(job, NULL);
}

static void test_daemon_restarts_in_the_backoff(void **state)
{
    test_reidd *t = *state;
    test_reidd_start(t);
    char *id = start(t, 1, 2,
                     "resumed\nlink\nrows 3\nlast-row\n"
                     "in-attempt 1\nmark last_checkpoint\nkill 9\n");
    wait_for_backoff(t, id);
    check_backoff(t, id, 2);
    test_reidd_kill(t);
    test_reidd_start(t);
    check_backoff(t, id, 2);
    Reid__V1__Job *job = test_get(t, id);
    assert_int_equal(job->n_latest, 2);
    reid__v1__job__free_unpacked(job, NULL);
    job = test_wait_state(t, id, STATE(SUCCEEDED));
    assert_int_equal(job->attempt, 2);
    assert_int_equal(job->restarts, 1);
    reid__v1__job__free_unpacked(job, NULL);
    check_log(t, id, 2, "resumed\n");
    free(id);
}

/* Its slots are for others meanwhile, and a cancel ends it at once. */
static void test_cancel_in_the_backoff(void **state)
{
    test_reidd *t = *state;
    reid_error err = {0};
    test_reidd_option(t, "--slots=1");
    test_reidd_start(t);
    char *id = start(t, 1, 60, "kill 9\n");
    wait_for_backoff(t, id);
    check_backoff(t, id, 60);
    char *other = start(t, 0, 0, "exit 0\n");
    test_expect_state(t, other, STATE(SUCCEEDED));
    check_backoff(t, id, 60);
    reid_assert_ok(test_cancel(t, id, 0, "enough", &err), &err);
    for (int i = 0; i < 2; i++) {
        Reid__V1__Job *job = test_get(t, id);
        assert_int_equal(job->state, STATE(CANCELLED));
        assert_string_equal(job->detail, "cancelled: enough");
        assert_int_equal(job->exit_code, 143);
        reid__v1__job__free_unpacked(job, NULL);
        test_reidd_kill(t);
        test_reidd_start(t);
    }
    free(other);
    free(id);
}

static void test_cancelled_attempt_is_not_restarted(void **state)
{
    test_reidd *t = *state;
    reid_error err = {0};
    test_reidd_start(t);
    char *id = start(t, 3, 0.01, "on-term 1\nlink\nmark up\nwait never\n");
    test_wait_mark(t, 1, "up");
    reid_assert_ok(test_cancel(t, id, 10, "", &err), &err);
    Reid__V1__Job *job = test_wait_state(t, id, STATE(CANCELLED));
    assert_int_equal(job->attempt, 1);
    reid__v1__job__free_unpacked(job, NULL);
    free(id);
}

typedef struct awaited_detail {
    test_reidd *t;
    const char *id, *text;
} awaited_detail;

static bool has_detail(void *user)
{
    awaited_detail *w = user;
    Reid__V1__Job *job = test_get(w->t, w->id);
    bool has = strcmp(job->detail, w->text) == 0;
    reid__v1__job__free_unpacked(job, NULL);
    return has;
}

/* What the ranks have agreed on, and a restart would forget. */
static void test_stopping_job_is_not_restarted(void **state)
{
    static const struct {
        const char *kind, *detail;
    } rows[] = {{"stop", "stopping before iteration 7"}, {"pause", "pausing before iteration 7"}};
    test_reidd *t = *state;
    test_reidd_start(t);
    for (int i = 0; i < 2; i++) {
        char ticket[64];
        char *id = start(t, 3, 0.01, "mark up\nwait die\nkill 9\n");
        char *folder = test_job_folder(t, i + 1);
        rank_environment(t, i + 1, "REIDD_TICKET", ticket, sizeof ticket);
        rank_link l = rank_join(t, id, ticket, 0);
        rank_agree(&l, folder, "w", rows[i].kind, "", "", "", 7, "");
        rank_push(&l);
        awaited_detail w = {t, id, rows[i].detail};
        assert_true(reid_test_wait(has_detail, &w, 30));
        rank_close(&l);
        test_give_mark(t, i + 1, "die");
        Reid__V1__Job *job = test_wait_state(t, id, STATE(FAILED));
        assert_int_equal(job->attempt, 1);
        assert_int_equal(job->failure->signal, 9);
        reid__v1__job__free_unpacked(job, NULL);
        free(folder);
        free(id);
    }
}

static void test_start_deadline(void **state)
{
    test_reidd *t = *state;
    test_reidd_option(t, "--start-timeout=1");
    test_reidd_start(t);
    char *id = start(t, 1, 0.01, "in-attempt 1\nwait never\nin-attempt 0\nlink\n");
    Reid__V1__Job *job = test_wait_state(t, id, STATE(SUCCEEDED));
    assert_int_equal(job->attempt, 2);
    reid__v1__job__free_unpacked(job, NULL);
    char *told = events(t, id, "restart");
    assert_non_null(strstr(told, "rank 0 has not reported"));
    free(told);
    free(id);
}

/* Daemon and supervisor are gone, as after a loss of power. */
static void test_everything_is_killed(void **state)
{
    test_reidd *t = *state;
    reid_error err = {0};
    reidd_shim_info info;
    test_reidd_start(t);
    char *id = start(t, 1, 0.01, "link\nmark up\nin-attempt 1\nwait never\n");
    test_wait_mark(t, 1, "up");
    char *folder = reid_xasprintf("%s/jobs/%s/attempt-1", t->state_dir, id);
    reid_assert_ok(reidd_shim_info_read(folder, &info, &err), &err);
    test_reidd_kill(t);
    assert_int_equal(kill(info.pid, SIGKILL), 0);
    test_reidd_start(t);
    test_expect_state(t, id, STATE(SUCCEEDED));
    char *told = events(t, id, "restart");
    assert_string_equal(
        told, "1 in 0.01 s (1 of 1) from the beginning: the job's supervisor was killed\n");
    free(told);
    free(folder);
    free(id);
}

static void test_bad_requests(void **state)
{
    static const struct {
        int restarts;
        double backoff_s;
        const char *word;
    } rows[] = {{-1, 0, "-1"},     {1001, 0, "1000"}, {1, -1, "-1 s"},
                {1, 60.5, "60.5"}, {1, NAN, "nan"},   {0, 1, "no restart is allowed"}};
    test_reidd *t = *state;
    test_reidd_start(t);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        reid_error err = {0};
        char *id = NULL;
        assert_int_equal(submit(t, rows[i].restarts, rows[i].backoff_s, "exit 0\n", &id, &err),
                         REID_ERR_INVALID);
        assert_non_null(strstr(err.text, rows[i].word));
    }
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, test_reidd_set_up, test_reidd_tear_down)
    const struct CMUnitTest tests[] = {
        CASE(test_killed_rank),
        CASE(test_out_of_restarts),
        CASE(test_wrong_usage_is_no_cause),
        CASE(test_daemon_restarts_in_the_backoff),
        CASE(test_cancel_in_the_backoff),
        CASE(test_cancelled_attempt_is_not_restarted),
        CASE(test_stopping_job_is_not_restarted),
        CASE(test_start_deadline),
        CASE(test_everything_is_killed),
        CASE(test_bad_requests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
