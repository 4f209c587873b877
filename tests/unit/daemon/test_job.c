#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "daemon/job/job.h"

static const reidd_state all[] = {REIDD_PENDING, REIDD_STARTING,  REIDD_RUNNING, REIDD_SUCCEEDED,
                                  REIDD_FAILED,  REIDD_CANCELLED, REIDD_PAUSED};
#define ALL (sizeof all / sizeof all[0])

static reidd_job make(reidd_state state)
{
    reidd_job job = {.id = "00000001", .ranks = 2, .state = state, .failure = {.rank = -1}};
    job.name = reid_xstrdup("bot");
    job.attempt = state == REIDD_PENDING ? 0 : 1;
    return job;
}

/* The whole table, written out a second time from the picture in job.h. */
static void test_legal_transitions(void **state)
{
    static const bool expected[ALL][ALL] = {
        /*               PEND   START  RUN    SUCC   FAIL   CANC   PAUSE */
        /* PENDING */ {false, true, false, false, true, true, false},
        /* STARTING */ {true, false, true, true, true, true, true},
        /* RUNNING */ {true, false, false, true, true, true, true},
        /* SUCCEEDED */ {true, false, false, false, false, false},
        /* FAILED */ {true, false, false, false, false, false},
        /* CANCELLED */ {true, false, false, false, false, false},
        /* PAUSED */ {true, false, false, false, false, true, false},
    };
    for (size_t from = 0; from < ALL; from++)
        for (size_t to = 0; to < ALL; to++)
            if (reidd_transition_is_legal(all[from], all[to]) != expected[from][to])
                fail_msg("%s to %s", reidd_state_name(all[from]), reidd_state_name(all[to]));
    assert_false(reidd_transition_is_legal(0, REIDD_PENDING));
    assert_false(reidd_transition_is_legal(REIDD_PENDING, 8));
}

typedef reid_status operation(reidd_job *job, reid_error *err);

static reid_status op_start(reidd_job *job, reid_error *err)
{
    return reidd_job_start(job, 10, err);
}
static reid_status op_requeue(reidd_job *job, reid_error *err)
{
    return reidd_job_requeue(job, err);
}
static reid_status op_up(reidd_job *job, reid_error *err)
{
    return reidd_job_up(job, err);
}
static reid_status op_phase(reidd_job *job, reid_error *err)
{
    return reidd_job_set_phase(job, REIDD_TRAINING, err);
}
static reid_status op_progress(reidd_job *job, reid_error *err)
{
    const reidd_progress progress = {.iteration = 3, .max_iteration = 9};
    return reidd_job_set_progress(job, &progress, 11, err);
}
static reid_status op_refuse(reidd_job *job, reid_error *err)
{
    return reidd_job_refuse(job, "too large", 12, err);
}
static reid_status op_end(reidd_job *job, reid_error *err)
{
    const reidd_end end = {.rank = -1, .ended_ms = 13};
    return reidd_job_end(job, &end, err);
}
static reid_status op_cancel(reidd_job *job, reid_error *err)
{
    return reidd_job_cancel(job, "why not", 5000, 14, err);
}

static reid_status op_pause(reidd_job *job, reid_error *err)
{
    return reidd_job_pause(job, 5, err);
}
static reid_status op_resume(reidd_job *job, reid_error *err)
{
    return reidd_job_resume(job, err);
}

static reid_status op_restart(reidd_job *job, reid_error *err)
{
    const reidd_end end = {.exit_code = 1, .rank = -1};
    job->restart = (reidd_restart){.allowed = 1, .backoff_ms = 1};
    return reidd_job_restart(job, &end, true, 15, err);
}

/* Every operation in every state: what it becomes, 0 where it is refused and nothing changes. */
static void test_operations_in_all_states(void **state)
{
    static const struct {
        const char *name;
        operation *run;
        reidd_state becomes[ALL];
    } rows[] = {
        {"start", op_start, {REIDD_STARTING, 0, 0, 0, 0, 0}},
        {"requeue", op_requeue, {0, REIDD_PENDING, 0, 0, 0, 0}},
        {"up", op_up, {0, REIDD_RUNNING, REIDD_RUNNING, 0, 0, 0}},
        {"phase", op_phase, {0, REIDD_RUNNING, REIDD_RUNNING, 0, 0, 0}},
        {"progress", op_progress, {0, REIDD_RUNNING, REIDD_RUNNING, 0, 0, 0}},
        {"refuse", op_refuse, {REIDD_FAILED, 0, 0, 0, 0, 0}},
        {"end", op_end, {0, REIDD_SUCCEEDED, REIDD_SUCCEEDED, 0, 0, 0}},
        {"cancel",
         op_cancel,
         {REIDD_CANCELLED, REIDD_STARTING, REIDD_RUNNING, 0, 0, REIDD_CANCELLED, REIDD_CANCELLED}},
        {"pause", op_pause, {0, REIDD_PAUSED, REIDD_PAUSED, 0, 0, 0, 0}},
        {"resume", op_resume, {0, 0, 0, 0, 0, 0, REIDD_PENDING}},
        {"restart", op_restart, {0, REIDD_PENDING, REIDD_PENDING, 0, 0, 0, 0}},
    };
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        for (size_t s = 0; s < ALL; s++) {
            reidd_job job = make(all[s]);
            reid_error err = {0};
            reid_status status = rows[r].run(&job, &err);
            reidd_state expected = rows[r].becomes[s];
            if (expected && (status != REID_OK || job.state != expected))
                fail_msg("%s in %s gave %s (%s)", rows[r].name, reidd_state_name(all[s]),
                         reidd_state_name(job.state), err.text);
            if (!expected && (status != REID_ERR_PRECONDITION || job.state != all[s] ||
                              !strstr(err.text, "00000001")))
                fail_msg("%s in %s was not refused", rows[r].name, reidd_state_name(all[s]));
            reidd_job_fini(&job);
        }
    }
}

static void test_start_counts_attempts(void **state)
{
    reidd_job job = make(REIDD_PENDING);
    job.progress.iteration = 77;
    assert_int_equal(reidd_job_start(&job, 1000, NULL), REID_OK);
    assert_int_equal(job.attempt, 1);
    assert_int_equal(job.started_ms, 1000);
    assert_int_equal(job.progress.iteration, 0);
    assert_true(job.progress.eta_s < 0);
    assert_int_equal(reidd_job_requeue(&job, NULL), REID_OK);
    assert_int_equal(job.started_ms, 0);
    assert_int_equal(reidd_job_start(&job, 2000, NULL), REID_OK);
    assert_int_equal(job.attempt, 2);
    assert_int_equal(reidd_job_up(&job, NULL), REID_OK);
    assert_int_equal(job.phase, REIDD_LOADING);
    assert_int_equal(reidd_job_set_phase(&job, REIDD_PHASE_NONE, NULL), REID_ERR_INVALID);
    assert_int_equal(reidd_job_set_phase(&job, 9, NULL), REID_ERR_INVALID);
    reidd_job_fini(&job);
}

static void test_progress_does_not_go_back(void **state)
{
    reidd_job job = make(REIDD_RUNNING);
    reidd_progress progress = {.iteration = 50, .max_iteration = 100, .eta_s = 12.5};
    assert_int_equal(reidd_job_set_progress(&job, &progress, 5, NULL), REID_OK);
    progress.iteration = 40;
    progress.eta_s = 11;
    assert_int_equal(reidd_job_set_progress(&job, &progress, 6, NULL), REID_OK);
    assert_int_equal(job.progress.iteration, 50);
    assert_true(job.progress.eta_s == 11);
    assert_int_equal(job.last_progress_ms, 6);
    reidd_job_fini(&job);
}

static void test_cancel_decides_the_end(void **state)
{
    static const struct {
        int exit_code, signal;
        bool cancelled;
        reidd_state becomes;
        int returns;
    } rows[] = {
        {0, 0, false, REIDD_SUCCEEDED, 0},  {0, 0, true, REIDD_SUCCEEDED, 0},
        {3, 0, false, REIDD_FAILED, 3},     {143, 0, true, REIDD_CANCELLED, 143},
        {137, 9, false, REIDD_FAILED, 137}, {137, 9, true, REIDD_CANCELLED, 143},
        {143, 0, false, REIDD_FAILED, 143},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        reidd_job job = make(REIDD_RUNNING);
        if (rows[i].cancelled)
            assert_int_equal(reidd_job_cancel(&job, NULL, 100, 1, NULL), REID_OK);
        const reidd_end end = {.exit_code = rows[i].exit_code,
                               .signal = rows[i].signal,
                               .rank = 1,
                               .sentence = "rank 1 did it",
                               .ended_ms = 99};
        assert_int_equal(reidd_job_end(&job, &end, NULL), REID_OK);
        assert_int_equal(job.state, rows[i].becomes);
        assert_int_equal(job.exit_code, rows[i].returns);
        assert_int_equal(job.ended_ms, 99);
        if (job.state == REIDD_FAILED) {
            assert_string_equal(job.failure.sentence, "rank 1 did it");
            assert_int_equal(job.failure.rank, 1);
            assert_int_equal(job.failure.signal, rows[i].signal);
        } else {
            assert_null(job.failure.sentence);
        }
        reidd_job_fini(&job);
    }
}

static void test_shorter_grace_counts(void **state)
{
    reidd_job job = make(REIDD_RUNNING);
    assert_int_equal(reidd_job_cancel(&job, "first", 5000, 1, NULL), REID_OK);
    assert_int_equal(reidd_job_cancel(&job, "second", 100, 2, NULL), REID_OK);
    assert_int_equal(reidd_job_cancel(&job, "third", 9000, 3, NULL), REID_OK);
    assert_int_equal(job.cancel.grace_ms, 100);
    assert_string_equal(job.cancel.reason, "first");
    reidd_job_fini(&job);
}

static void test_first_cause_is_kept(void **state)
{
    reidd_job job = make(REIDD_RUNNING);
    reidd_job_note_failure(&job, 1, "the disk is full");
    reidd_job_note_failure(&job, 0, "rank 1 is gone");
    const reidd_end unknown = {.exit_code = 1, .rank = -1, .sentence = ""};
    assert_int_equal(reidd_job_end(&job, &unknown, NULL), REID_OK);
    assert_string_equal(job.failure.sentence, "the disk is full");
    assert_int_equal(job.failure.rank, 1);
    reidd_job_fini(&job);

    job = make(REIDD_RUNNING);
    const reidd_end silent = {.exit_code = 139, .signal = 11, .rank = 0};
    assert_int_equal(reidd_job_end(&job, &silent, NULL), REID_OK);
    assert_string_equal(job.failure.sentence, "the job was ended by signal 11");
    reidd_job_fini(&job);
}

/* 1.5 s, doubled each time, at most 60 s; the last failure is the end. */
static void test_restarts_back_off(void **state)
{
    static const int64_t waits_ms[] = {1500, 3000, 6000, 12000, 24000, 48000, 60000, 60000};
    enum { COUNT = sizeof waits_ms / sizeof waits_ms[0] };
    const reidd_end end = {.exit_code = 137, .signal = 9, .rank = 1, .sentence = "rank 1 died"};
    reidd_job job = make(REIDD_PENDING);
    job.restart = (reidd_restart){.allowed = COUNT, .backoff_ms = 1500};
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(reidd_job_start(&job, 10, NULL), REID_OK);
        assert_null(job.failure.sentence); /* that of the attempt before */
        assert_int_equal(job.restart.at_ms, 0);
        assert_true(reidd_job_may_restart(&job, &end));
        assert_int_equal(reidd_job_restart(&job, &end, i >= 2, 1000, NULL), REID_OK);
        assert_int_equal(job.restart.at_ms, 1000 + waits_ms[i]);
        assert_int_equal(job.restart.done, i + 1);
        assert_int_equal(job.resume, i >= 2);
        assert_int_equal(job.restart.origin, i < 2 ? i + 2 : 3);
        assert_string_equal(job.failure.sentence, "rank 1 died");
        assert_int_equal(job.exit_code, 0);
    }
    assert_int_equal(reidd_job_start(&job, 10, NULL), REID_OK);
    assert_false(reidd_job_may_restart(&job, &end));
    assert_int_equal(reidd_job_restart(&job, &end, true, 1000, NULL), REID_ERR_PRECONDITION);
    assert_int_equal(reidd_job_end(&job, &end, NULL), REID_OK);
    assert_int_equal(job.state, REIDD_FAILED);
    reidd_job_fini(&job);
}

static void test_what_a_restart_may_cure(void **state)
{
    static const struct {
        int exit_code, signal;
        bool cancelled, restarted;
    } rows[] = {{0, 0, false, false}, {1, 0, false, true},   {2, 0, false, false},
                {3, 0, false, true},  {143, 0, false, true}, {137, 9, false, true},
                {2, 2, false, true},  {1, 0, true, false},   {137, 9, true, false}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        reidd_job job = make(REIDD_RUNNING);
        const reidd_end end = {
            .exit_code = rows[i].exit_code, .signal = rows[i].signal, .rank = -1};
        job.cancel.wanted = rows[i].cancelled;
        assert_false(reidd_job_may_restart(&job, &end)); /* none is allowed */
        job.restart.allowed = 1;
        if (reidd_job_may_restart(&job, &end) != rows[i].restarted)
            fail_msg("row %zu", i);
        reidd_job_fini(&job);
    }
}

static void test_copy_is_deep(void **state)
{
    reidd_job job = make(REIDD_RUNNING), copy;
    reidd_job_note_failure(&job, 0, "words");
    reidd_job_copy(&copy, &job);
    reidd_job_fini(&job);
    assert_string_equal(copy.name, "bot");
    assert_string_equal(copy.failure.sentence, "words");
    reidd_job_fini(&copy);
    reidd_job_fini(&copy);
    reidd_job_fini(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_legal_transitions),
        cmocka_unit_test(test_operations_in_all_states),
        cmocka_unit_test(test_start_counts_attempts),
        cmocka_unit_test(test_progress_does_not_go_back),
        cmocka_unit_test(test_cancel_decides_the_end),
        cmocka_unit_test(test_shorter_grace_counts),
        cmocka_unit_test(test_first_cause_is_kept),
        cmocka_unit_test(test_restarts_back_off),
        cmocka_unit_test(test_what_a_restart_may_cure),
        cmocka_unit_test(test_copy_is_deep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
