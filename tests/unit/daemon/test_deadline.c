/* Jobs that do not get on are ended, and it is said who is to blame. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/str.h"
#include "daemon/exec/files.h"
#include "daemon/exec/process.h"
#include "harness/harness.h"
#include "support/reidd.h"

#define STATE(name) REID__V1__JOB_STATE__JOB_STATE_##name

static void option(test_reidd *t, const char *name, const char *value)
{
    test_reidd_option(t, name);
    test_reidd_option(t, value);
}

static char *submit(test_reidd *t, int ranks, int restarts, const char *script)
{
    char *folder = test_job_folder(t, ++t->jobs), *id = NULL;
    char *yaml = reid_xasprintf("OUTPUT_DIR: %s\n", folder);
    Reid__V1__SubmitRequest request = REID__V1__SUBMIT_REQUEST__INIT;
    Reid__V1__Job *job = NULL;
    reid_error err = {0};
    free(reid_test_write_text(folder, "script", script));
    request.config_yaml = yaml;
    request.ranks = ranks;
    request.max_restarts = restarts;
    request.restart_backoff_seconds = restarts > 0 ? 0.02 : 0;
    reid_assert_ok(test_submit_raw(t, &request, &job, &err), &err);
    id = reid_xstrdup(job->id);
    reid__v1__job__free_unpacked(job, NULL);
    free(folder);
    free(yaml);
    return id;
}

static void expect_failure(test_reidd *t, const char *id, int rank, const char *sentence)
{
    Reid__V1__Job *job = test_wait_state(t, id, STATE(FAILED));
    assert_string_equal(job->failure->sentence, sentence);
    assert_int_equal(job->failure->rank, rank);
    reid__v1__job__free_unpacked(job, NULL);
}

/* Each phase has its own limit, and its own words. */
static void check_phase(test_reidd *t, const char *name, const char *script, const char *words)
{
    option(t, name, "0.5");
    test_reidd_start(t);
    char *id = submit(t, 1, 0, script);
    char *sentence = reid_xasprintf("%s 0.5 s (%s): rank 0 runs, but does not get on", words, name);
    expect_failure(t, id, 0, sentence);
    free(sentence);
    free(id);
}

static void test_loading(void **state)
{
    check_phase(*state, "--loading-timeout", "link\nphase 1\nrows 1\nlast-row\nwait never\n",
                "loading has taken");
}

static void test_step(void **state)
{
    check_phase(*state, "--step-timeout",
                "link\nphase 2\nprogress 3 9\nrows 1\nlast-row\nwait never\n",
                "no iteration has ended for");
}

static void test_evaluation(void **state)
{
    check_phase(*state, "--evaluation-timeout", "link\nphase 3\nrows 1\nlast-row\nwait never\n",
                "the evaluation has taken");
}

static void test_saving(void **state)
{
    check_phase(*state, "--saving-timeout", "link\nphase 4\nrows 1\nlast-row\nwait never\n",
                "saving has taken");
}

static bool is_stopped(void *user)
{
    reidd_process process = {0};
    return reidd_process_read(*(pid_t *)user, &process) && process.state == 'T';
}

static void test_stopped_rank(void **state)
{
    test_reidd *t = *state;
    option(t, "--step-timeout", "2");
    test_reidd_start(t);
    char *id =
        submit(t, 1, 0, "link\nphase 2\nprogress 1 9\nrows 1\nlast-row\nmark up\nwait never\n");
    pid_t pid = test_wait_mark(t, 1, "up");
    assert_int_equal(kill(pid, SIGSTOP), 0);
    assert_true(reid_test_wait(is_stopped, &pid, 30));
    char *sentence = reid_xasprintf(
        "no iteration has ended for 2 s (--step-timeout): process %d of rank 0 is stopped",
        (int)pid);
    expect_failure(t, id, 0, sentence);
    free(sentence);
    free(id);
}

/* It goes on by its policy, from its checkpoint. */
static void test_restart(void **state)
{
    test_reidd *t = *state;
    option(t, "--step-timeout", "3"); /* the second attempt must not be late */
    test_reidd_start(t);
    char *id = submit(t, 1, 1,
                      "link\nphase 2\nrows 2\nlast-row\n"
                      "in-attempt 1\nmark last_checkpoint\nwait never\n");
    Reid__V1__Job *job = test_wait_state(t, id, STATE(SUCCEEDED));
    assert_int_equal(job->attempt, 2);
    reid__v1__job__free_unpacked(job, NULL);
    char *rows = test_metrics(t, id, 0, 0, NULL);
    assert_string_equal(rows, "1.1:0 1.2:1 2.1:0 2.2:1 ");
    free(rows);
    free(id);
}

typedef struct shim_wait {
    const char *folder;
    reidd_shim_info info;
} shim_wait;

static bool has_launcher(void *user)
{
    shim_wait *wait = user;
    return reidd_shim_info_read(wait->folder, &wait->info, NULL) == REID_OK &&
           wait->info.launcher_pid > 0;
}

static reidd_shim_info wait_for_shim(test_reidd *t, const char *id)
{
    char *folder = reid_xasprintf("%s/jobs/%s/attempt-1", t->state_dir, id);
    shim_wait wait = {.folder = folder};
    assert_true(reid_test_wait(has_launcher, &wait, 30));
    free(folder);
    return wait.info;
}

static void test_stopped_mpirun(void **state)
{
    test_reidd *t = *state;
    if (!test_has_mpirun())
        skip();
    option(t, "--start-timeout", "8"); /* mpirun takes its time on a busy machine */
    option(t, "--slots", "2");
    test_reidd_start(t);
    char *id = submit(t, 2, 0, "1:mark up\n1:wait never\n0:link\n0:wait never\n");
    pid_t mpirun = wait_for_shim(t, id).launcher_pid;
    test_wait_mark(t, 1, "up");
    assert_int_equal(kill(mpirun, SIGSTOP), 0);
    assert_true(reid_test_wait(is_stopped, &mpirun, 30));
    char *sentence = reid_xasprintf("rank 1 has not reported within 8 s of the start "
                                    "(--start-timeout; 1 of 2 have): process %d of mpirun is "
                                    "stopped",
                                    (int)mpirun);
    expect_failure(t, id, 1, sentence);
    free(sentence);
    free(id);
}

/* Who has stopped the supervisor cannot keep the job from being cancelled. */
static void test_stopped_supervisor(void **state)
{
    test_reidd *t = *state;
    test_reidd_start(t);
    char *id = submit(t, 1, 0, "link\nphase 2\nmark up\nwait never\n");
    pid_t rank = test_wait_mark(t, 1, "up");
    reid_error err = {0};
    assert_int_equal(kill(wait_for_shim(t, id).pid, SIGSTOP), 0);
    reid_assert_ok(test_cancel(t, id, 0.1, "", &err), &err);
    Reid__V1__Job *job = test_wait_state(t, id, STATE(CANCELLED));
    reid__v1__job__free_unpacked(job, NULL);
    assert_false(reidd_process_is_alive(rank, 0));
    free(id);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, test_reidd_set_up, test_reidd_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_loading),        TEST(test_step),
        TEST(test_evaluation),     TEST(test_saving),
        TEST(test_stopped_rank),   TEST(test_restart),
        TEST(test_stopped_mpirun), TEST(test_stopped_supervisor),
    };
    return cmocka_run_group_tests_name("deadline", tests, NULL, NULL);
}
