/* The queue as a whole: reidd with scripted trainers. The policy itself: test_scenarios.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "harness/harness.h"
#include "support/rank.h"
#include "support/reidd.h"

#define STATE(name) REID__V1__JOB_STATE__JOB_STATE_##name
#define WAITS "link\nmark up\nwait go\nexit 0\n" /* until it is given the mark */

typedef Reid__V1__SubmitRequest wishes;

static reid_status ask(test_reidd *t, wishes request, const char *script, Reid__V1__Job **ret_job,
                       reid_error *err)
{
    char *folder = test_job_folder(t, ++t->jobs);
    free(reid_test_write_text(folder, "script", script));
    char *yaml = reid_xasprintf("OUTPUT_DIR: %s\n", folder);
    request.config_yaml = yaml;
    reid_status status = test_submit_raw(t, &request, ret_job, err);
    free(folder);
    free(yaml);
    return status;
}

/* The id; caller frees. */
static char *submit(test_reidd *t, wishes request, const char *script)
{
    Reid__V1__Job *job = NULL;
    reid_error err = {0};
    reid_assert_ok(ask(t, request, script, &job, &err), &err);
    char *id = reid_xstrdup(job->id);
    reid__v1__job__free_unpacked(job, NULL);
    return id;
}

static wishes plain(void)
{
    wishes request = REID__V1__SUBMIT_REQUEST__INIT;
    return request;
}

static wishes prior(int priority)
{
    wishes request = plain();
    request.priority = priority;
    return request;
}

static reid_status verb(test_reidd *t, const char *method, const char *id, reid_error *err)
{
    Reid__V1__JobRequest request = REID__V1__JOB_REQUEST__INIT;
    ProtobufCMessage *job = NULL;
    char *path = reid_xasprintf("/reid.v1.JobService/%s", method);
    request.id = (char *)id;
    request.reason = (char *)"a test";
    reid_status status = reid_rpc_client_unary(t->client, path, &request.base,
                                               &reid__v1__job__descriptor, 30000, &job, err);
    if (job)
        protobuf_c_message_free_unpacked(job, NULL);
    free(path);
    return status;
}

static void set_priority(test_reidd *t, const char *id, int priority)
{
    Reid__V1__PriorityRequest request = REID__V1__PRIORITY_REQUEST__INIT;
    Reid__V1__Job *job = NULL;
    reid_error err = {0};
    request.id = (char *)id;
    request.priority = priority;
    reid_assert_ok(reid_rpc_client_unary(t->client, "/reid.v1.JobService/SetPriority",
                                         &request.base, &reid__v1__job__descriptor, 30000,
                                         (ProtobufCMessage **)&job, &err),
                   &err);
    assert_int_equal(job->priority, priority);
    reid__v1__job__free_unpacked(job, NULL);
}

static void check_place(test_reidd *t, const char *id, int place, const char *detail, ...)
    __attribute__((format(printf, 4, 5)));
static void check_place(test_reidd *t, const char *id, int place, const char *detail, ...)
{
    Reid__V1__Job *job = test_get(t, id);
    char expected[400];
    va_list args;
    va_start(args, detail);
    vsnprintf(expected, sizeof expected, detail, args);
    va_end(args);
    assert_string_equal(job->detail, expected);
    assert_int_equal(job->queue_position, place);
    reid__v1__job__free_unpacked(job, NULL);
}

static void test_order(void **state)
{
    test_reidd *t = *state;
    reid_error err = {0};
    test_reidd_option(t, "--slots=1");
    test_reidd_start(t);
    wishes no_preempt = plain();
    no_preempt.no_preempt = true;
    char *a = submit(t, no_preempt, WAITS);
    test_wait_mark(t, 1, "up");
    char *b = submit(t, plain(), WAITS), *c = submit(t, prior(5), WAITS);
    wishes held = plain(), after = plain();
    held.hold = true;
    char *words[] = {a};
    after.n_after = 1;
    after.after = words;
    char *d = submit(t, held, WAITS), *e = submit(t, after, WAITS);
    check_place(t, c, 1, "waits for 1 slot: job %s runs (1 of 1 slots are used)", a);
    check_place(t, b, 2, "waits for its turn: job %s is before it in the queue", c);
    check_place(t, d, 0, "held; release it to let it start");
    check_place(t, e, 0, "waits for job %s to end", a);
    set_priority(t, b, 6);
    check_place(t, b, 1, "waits for 1 slot: job %s runs (1 of 1 slots are used)", a);
    reid_assert_ok(verb(t, "Release", d, &err), &err);
    check_place(t, d, 3, "waits for its turn: job %s is before it in the queue", c);
    assert_int_equal(verb(t, "Release", d, &err), REID_ERR_PRECONDITION);
    assert_int_equal(verb(t, "Hold", a, &err), REID_ERR_PRECONDITION);
    reid_assert_ok(verb(t, "Hold", c, &err), &err);
    check_place(t, d, 2, "waits for its turn: job %s is before it in the queue", b);

    test_reidd_kill(t); /* nothing of that is lost */
    test_reidd_start(t);
    check_place(t, b, 1, "waits for 1 slot: job %s runs (1 of 1 slots are used)", a);
    check_place(t, d, 2, "waits for its turn: job %s is before it in the queue", b);
    check_place(t, c, 0, "held; release it to let it start");
    check_place(t, e, 0, "waits for job %s to end", a);
    static const int order[] = {1, 2, 4, 5};
    for (size_t i = 0; i < 4; i++) { /* a, b, d, e */
        test_wait_mark(t, order[i], "up");
        test_give_mark(t, order[i], "go");
    }
    test_expect_state(t, e, STATE(SUCCEEDED));
    reid_assert_ok(verb(t, "Release", c, &err), &err);
    test_give_mark(t, 3, "go");
    test_expect_state(t, c, STATE(SUCCEEDED));
    char *ids[] = {a, b, c, d, e};
    for (int i = 0; i < 5; i++)
        free(ids[i]);
}

static void test_after_a_failure(void **state)
{
    test_reidd *t = *state;
    test_reidd_option(t, "--slots=2");
    reid_error err = {0};
    test_reidd_start(t);
    char *a = submit(t, plain(), "link\nwait go\nexit 1\n");
    char *ok[] = {reid_xasprintf("%s:ok", a)}, *any[] = {reid_xasprintf("%s:any", a)};
    wishes request = plain();
    request.n_after = 1;
    request.after = ok;
    char *b = submit(t, request, "exit 0\n");
    char *chained[] = {b};
    request.after = chained;
    char *c = submit(t, request, "exit 0\n");
    request.after = any;
    char *d = submit(t, request, "exit 0\n");
    test_give_mark(t, 1, "go");
    test_expect_state(t, d, STATE(SUCCEEDED));
    Reid__V1__Job *job = test_wait_state(t, b, STATE(FAILED));
    char *expected =
        reid_xasprintf("job %s, after which this one was to start, ended as FAILED", a);
    assert_string_equal(job->failure->sentence, expected);
    reid__v1__job__free_unpacked(job, NULL);
    test_expect_state(t, c, STATE(FAILED));
    request.after = ok;
    assert_int_equal(ask(t, request, "exit 0\n", &job, &err), REID_ERR_PRECONDITION);
    char *unknown[] = {(char *)"nobody"};
    request.after = unknown;
    assert_int_equal(ask(t, request, "exit 0\n", &job, &err), REID_ERR_NOT_FOUND);
    char *wrong[] = {(char *)"nobody:well"};
    request.after = wrong;
    assert_int_equal(ask(t, request, "exit 0\n", &job, &err), REID_ERR_INVALID);
    char *texts[] = {a, b, c, d, ok[0], any[0], expected};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        free(texts[i]);
}

static void test_requeue_of_a_failed_job(void **state)
{
    test_reidd *t = *state;
    reid_error err = {0};
    test_reidd_start(t);
    char *a = submit(t, plain(),
                     "link\nin-attempt 1\nmark last_checkpoint\nexit 3\nin-attempt 2\n"
                     "resumed\nexit 0\n");
    test_expect_state(t, a, STATE(FAILED));
    reid_assert_ok(verb(t, "Requeue", a, &err), &err);
    Reid__V1__Job *job = test_wait_state(t, a, STATE(SUCCEEDED));
    assert_int_equal(job->attempt, 2);
    assert_null(job->failure);
    reid__v1__job__free_unpacked(job, NULL);
    char *path = reid_xasprintf("%s/jobs/%s/attempt-2/logs/rank-0.out", t->state_dir, a);
    char *text = reid_test_read_text(path);
    assert_string_equal(text, "resumed\n");
    assert_int_equal(verb(t, "Requeue", a, &err), REID_ERR_PRECONDITION);
    assert_non_null(strstr(err.text, "has finished"));
    free(text);
    free(path);
    free(a);
}

/* ---- with the test as rank 0 ---- */

static void tell_progress(rank_link *l, int64_t iteration, int64_t max)
{
    Reid__V1__Progress progress = REID__V1__PROGRESS__INIT;
    Reid__V1__LinkUp up = REID__V1__LINK_UP__INIT;
    progress.iteration = iteration;
    progress.max_iteration = max;
    up.kind_case = REID__V1__LINK_UP__KIND_PROGRESS;
    up.progress = &progress;
    rank_send(l, &up);
    rank_push(l);
}

/* The rank has saved before this iteration, and ends well. */
static void end_saved(test_reidd *t, rank_link *l, int number, const char *id, const char *word,
                      const char *kind, const char *reason)
{
    char *folder = test_job_folder(t, number);
    char *attempt = reid_xasprintf("%s/jobs/%s/attempt-1", t->state_dir, id);
    rank_agree(l, folder, word, kind, "", "", "", 7, reason);
    rank_push(l);
    rank_close(l);
    if (strcmp(kind, "pause") == 0)
        free(reid_test_write_text(attempt, "outcome.json",
                                  "{\"outcome\":\"paused\",\"iteration\":7}"));
    test_give_mark(t, number, "end");
    free(attempt);
    free(folder);
}

#define TWICE "on-term 143\nin-attempt 1\nmark up\nwait end\nexit 0\nin-attempt 2\nresumed\n" WAITS

static void test_preemption(void **state)
{
    test_reidd *t = *state;
    char ticket[64];
    test_reidd_option(t, "--slots=1");
    test_reidd_start(t);
    char *low = submit(t, plain(), TWICE);
    rank_environment(t, 1, "REIDD_TICKET", ticket, sizeof ticket);
    rank_link l = rank_join(t, low, ticket, 0);
    tell_progress(&l, 7, 20);
    char *high = submit(t, prior(10), WAITS);
    check_place(t, low, 0, "pausing: job %s needs its slots", high);
    check_place(t, high, 1, "waits for 1 slot: job %s is being stopped or paused", low);
    Reid__V1__LinkDown *down = rank_expect_word(&l, "pause");
    reid__v1__link_down__free_unpacked(down, NULL);

    rank_close(&l);
    test_reidd_kill(t); /* before the ranks have agreed: it is asked for again */
    test_reidd_start(t);
    l = rank_join(t, low, ticket, 0);
    down = rank_expect_word(&l, "pause");
    end_saved(t, &l, 1, low, down->control->id, "pause", "");
    reid__v1__link_down__free_unpacked(down, NULL);

    test_wait_mark(t, 2, "up");
    check_place(t, low, 1, "waits for 1 slot: job %s runs (1 of 1 slots are used)", high);
    Reid__V1__Job *job = test_get(t, low);
    assert_int_equal(job->state, STATE(PENDING));
    assert_int_equal(job->preemptions, 1);
    assert_int_equal(job->progress->iteration, 7);
    reid__v1__job__free_unpacked(job, NULL);
    test_give_mark(t, 2, "go");
    test_give_mark(t, 1, "go");
    job = test_wait_state(t, low, STATE(SUCCEEDED));
    assert_int_equal(job->attempt, 2);
    reid__v1__job__free_unpacked(job, NULL);
    free(low);
    free(high);
}

static void test_requeue_of_a_running_job(void **state)
{
    test_reidd *t = *state;
    reid_error err = {0};
    char ticket[64];
    test_reidd_start(t);
    char *a = submit(t, plain(), TWICE);
    rank_environment(t, 1, "REIDD_TICKET", ticket, sizeof ticket);
    rank_link l = rank_join(t, a, ticket, 0);
    reid_assert_ok(verb(t, "Requeue", a, &err), &err);
    assert_int_equal(verb(t, "Requeue", a, &err), REID_ERR_PRECONDITION);
    Reid__V1__LinkDown *down = rank_expect_word(&l, "pause");
    end_saved(t, &l, 1, a, down->control->id, "pause", "");
    reid__v1__link_down__free_unpacked(down, NULL);
    test_give_mark(t, 1, "go");
    Reid__V1__Job *job = test_wait_state(t, a, STATE(SUCCEEDED));
    assert_int_equal(job->attempt, 2);
    assert_int_equal(job->preemptions, 0);
    reid__v1__job__free_unpacked(job, NULL);
    free(a);
}

static char *submit_evaluation(test_reidd *t, const char *script)
{
    wishes request = plain();
    request.eval_only = true;
    return submit(t, request, script);
}

/* It has nothing to save: it is ended, and begins anew. */
static void test_requeue_of_an_evaluation(void **state)
{
    test_reidd *t = *state;
    reid_error err = {0};
    test_reidd_start(t);
    char *a = submit_evaluation(
        t, "on-term 143\nlink\nphase 3\nin-attempt 1\nmark up\nwait never\nin-attempt 2\n");
    test_wait_mark(t, 1, "up");
    reid_assert_ok(verb(t, "Requeue", a, &err), &err);
    Reid__V1__Job *job = test_wait_state(t, a, STATE(SUCCEEDED));
    assert_int_equal(job->attempt, 2);
    assert_int_equal(job->restarts, 0);
    reid__v1__job__free_unpacked(job, NULL);
    free(a);
}

/* A job that neither pauses nor ends is ended, and comes back, though it has no restarts; so does
 * one that fails instead of pausing. */
static void check_no_pause(test_reidd *t, const char *how)
{
    test_reidd_option(t, "--slots=1");
    test_reidd_option(t, "--pause-timeout=0.5");
    test_reidd_start(t);
    char *script = reid_xasprintf("link\nphase 2\nprogress 7 20\nin-attempt 1\nmark "
                                  "last_checkpoint\nmark up\n%s\nin-attempt 2\nresumed\n",
                                  how);
    char *low = submit(t, plain(), script);
    test_wait_mark(t, 1, "up");
    char *high = submit(t, prior(10), "wait go\n");
    test_give_mark(t, 1, "go");
    test_give_mark(t, 2, "go");
    test_expect_state(t, high, STATE(SUCCEEDED));
    Reid__V1__Job *job = test_wait_state(t, low, STATE(SUCCEEDED));
    assert_int_equal(job->attempt, 2);
    assert_int_equal(job->restarts, 0);
    assert_int_equal(job->preemptions, 1);
    reid__v1__job__free_unpacked(job, NULL);
    char *log = reid_xasprintf("%s/jobs/%s/attempt-2/logs/rank-0.out", t->state_dir, low);
    char *text = reid_test_read_text(log);
    assert_string_equal(text, "resumed\n");
    free(text);
    free(log);
    free(script);
    free(low);
    free(high);
}

static void test_pause_that_never_comes(void **state)
{
    check_no_pause(*state, "on-term 143\nwait never");
}

static void test_pause_that_fails(void **state)
{
    check_no_pause(*state, "wait go\nwords cannot write a checkpoint: the disk is full\nexit 1");
}

static void test_time_limit(void **state)
{
    test_reidd *t = *state;
    char ticket[64];
    wishes limited = plain();
    limited.max_time_seconds = 1;
    test_reidd_start(t);
    char *a = submit(t, limited, "on-term 143\nmark up\nwait end\nexit 0\n");
    rank_environment(t, 1, "REIDD_TICKET", ticket, sizeof ticket);
    rank_link l = rank_join(t, a, ticket, 0);
    tell_progress(&l, 7, 20);
    Reid__V1__LinkDown *down = rank_expect_word(&l, "stop");
    check_place(t, a, 0, "saving and stopping: its time limit of 0:00:01 is over");
    end_saved(t, &l, 1, a, down->control->id, "stop", "its time limit of 0:00:01 is over");
    reid__v1__link_down__free_unpacked(down, NULL);
    Reid__V1__Job *job = test_wait_state(t, a, STATE(CANCELLED));
    assert_string_equal(job->detail,
                        "cancelled: its time limit of 0:00:01 is over; its state after "
                        "iteration 7 of 20 is saved");
    assert_int_equal(job->exit_code, 143);
    assert_true(job->ran_seconds >= 1);
    reid__v1__job__free_unpacked(job, NULL);
    free(a);
}

static void test_time_limit_of_a_deaf_job(void **state)
{
    test_reidd *t = *state;
    wishes limited = plain();
    limited.max_time_seconds = 0.5;
    limited.max_restarts = 5; /* nothing of that */
    test_reidd_option(t, "--limit-grace=0.2");
    test_reidd_option(t, "--grace=0.2");
    test_reidd_start(t);
    char *a = submit(t, limited, "link\non-term 0\nphase 2\nprogress 3 10\nwait never\n");
    Reid__V1__Job *job = test_wait_state(t, a, STATE(CANCELLED));
    assert_string_equal(job->detail, "cancelled: its time limit of 0:00:00 is over");
    assert_int_equal(job->attempt, 1);
    reid__v1__job__free_unpacked(job, NULL);
    free(a);
}

/* A job with a time limit goes first where the limits prove that it delays nobody. */
static void test_backfill(void **state)
{
    test_reidd *t = *state;
    wishes long_one = plain(), wide = plain(), quick = plain(), slow = plain();
    test_reidd_option(t, "--slots=2");
    test_reidd_start(t);
    long_one.max_time_seconds = 3600;
    wide.ranks = 2;
    quick.max_time_seconds = 600;
    slow.max_time_seconds = 7200;
    char *a = submit(t, long_one, WAITS);
    test_wait_mark(t, 1, "up");
    char *b = submit(t, wide, "exit 0\n"), *c = submit(t, slow, "exit 0\n");
    char *d = submit(t, quick, "exit 0\n");
    test_expect_state(t, d, STATE(SUCCEEDED));
    Reid__V1__Job *job = test_get(t, b);
    assert_int_equal(job->state, STATE(PENDING));
    assert_non_null(strstr(job->detail, "; at the latest in 0:"));
    assert_true(job->start_by_ms > 0);
    reid__v1__job__free_unpacked(job, NULL);
    job = test_get(t, c); /* it might delay b */
    assert_int_equal(job->state, STATE(PENDING));
    assert_int_equal(job->queue_position, 2);
    assert_non_null(strstr(job->detail, "the free slots are kept for those before it"));
    reid__v1__job__free_unpacked(job, NULL);
    test_give_mark(t, 1, "go");
    test_expect_state(t, c, STATE(SUCCEEDED));
    free(a);
    free(b);
    free(c);
    free(d);
}

static void test_impossible_wishes(void **state)
{
    test_reidd *t = *state;
    Reid__V1__Job *job = NULL;
    reid_error err = {0};
    test_reidd_option(t, "--slots=1");
    test_reidd_start(t);
    assert_int_equal(ask(t, prior(1001), "", &job, &err), REID_ERR_INVALID);
    wishes request = plain();
    request.max_time_seconds = -1;
    assert_int_equal(ask(t, request, "", &job, &err), REID_ERR_INVALID);
    request.max_time_seconds = 0;
    request.gpu_type = (char *)"H100";
    err = (reid_error){0};
    assert_int_equal(ask(t, request, "", &job, &err), REID_ERR_PRECONDITION);
    assert_string_equal(err.text, "no node has GPUs of type 'H100'");
    request.gpu_type = (char *)"";
    request.ranks = 2;
    err = (reid_error){0};
    assert_int_equal(ask(t, request, "", &job, &err), REID_ERR_PRECONDITION);
    assert_string_equal(err.text, "the job needs 2 slots, this node has 1");
}

/* One slot is gone when the daemon comes back, and the job has failed in the meantime. */
static void test_fewer_ranks(void **state)
{
    test_reidd *t = *state;
    wishes request = plain();
    Reid__V1__Job *job = NULL;
    reid_error err = {0};
    if (!test_has_mpirun())
        skip();
    test_reidd_option(t, "--slots=2");
    test_reidd_start(t);
    request.ranks = 2;
    request.min_ranks = 3;
    assert_int_equal(ask(t, request, "", &job, &err), REID_ERR_INVALID);
    request.min_ranks = 1;
    char *a = submit(t, request,
                     "resumed\nlink\nin-attempt 1\n0:mark last_checkpoint\nwait never\n"
                     "in-attempt 2\nmark up\nwait go\nexit 0\n");
    job = test_wait_state(t, a, STATE(RUNNING));
    assert_int_equal(job->wanted_ranks, 2);
    assert_int_equal(job->min_ranks, 1);
    reid__v1__job__free_unpacked(job, NULL);
    reid_assert_ok(test_cancel(t, a, 0.05, "", &err), &err);
    test_expect_state(t, a, STATE(CANCELLED));
    test_reidd_stop(t, 30);
    test_reidd_option(t, "--slots=1");
    test_reidd_start(t);
    reid_assert_ok(verb(t, "Requeue", a, &err), &err);
    test_wait_mark(t, t->jobs, "up");
    job = test_wait_state(t, a, STATE(RUNNING));
    assert_int_equal(job->ranks, 1);
    assert_non_null(strstr(job->detail, "; runs on 1 of 2 ranks"));
    reid__v1__job__free_unpacked(job, NULL);
    test_give_mark(t, t->jobs, "go");
    job = test_wait_state(t, a, STATE(SUCCEEDED));
    assert_int_equal(job->attempt, 2);
    assert_int_equal(job->wanted_ranks, 2);
    reid__v1__job__free_unpacked(job, NULL);
    free(a);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, test_reidd_set_up, test_reidd_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_order),
        CASE(test_after_a_failure),
        CASE(test_requeue_of_a_failed_job),
        CASE(test_preemption),
        CASE(test_requeue_of_an_evaluation),
        CASE(test_pause_that_never_comes),
        CASE(test_pause_that_fails),
        CASE(test_requeue_of_a_running_job),
        CASE(test_time_limit),
        CASE(test_time_limit_of_a_deaf_job),
        CASE(test_backfill),
        CASE(test_impossible_wishes),
        CASE(test_fewer_ranks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
