/* reidd as a program: submitting, queueing, running, cancelling, ending. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "harness/harness.h"
#include "support/reidd.h"

#define STATE(name) REID__V1__JOB_STATE__JOB_STATE_##name

static size_t list_count(test_reidd *t)
{
    Reid__V1__ListJobsRequest request = REID__V1__LIST_JOBS_REQUEST__INIT;
    Reid__V1__ListJobsResponse *answer = NULL;
    reid_error err = {0};
    reid_assert_ok(reid_rpc_client_unary(t->client, "/reid.v1.JobService/List", &request.base,
                                         &reid__v1__list_jobs_response__descriptor, 10000,
                                         (ProtobufCMessage **)&answer, &err),
                   &err);
    size_t count = answer->n_jobs;
    reid__v1__list_jobs_response__free_unpacked(answer, NULL);
    return count;
}

static size_t folder_count(const char *path)
{
    reid_dir_entry *entries = NULL;
    size_t count = 0;
    reid_error err = {0};
    reid_assert_ok(reid_dir_list(path, &entries, &count, &err), &err);
    reid_dir_free(entries, count);
    return count;
}

static void check_refused(test_reidd *t, const char *name, int ranks, const char *yaml,
                          reid_status code, const char *said)
{
    Reid__V1__SubmitRequest request = REID__V1__SUBMIT_REQUEST__INIT;
    Reid__V1__Job *job = NULL;
    reid_error err = {0};
    request.name = (char *)name;
    request.ranks = ranks;
    request.config_yaml = (char *)yaml;
    reid_status status = test_submit_raw(t, &request, &job, &err);
    if (status != code || !strstr(err.text, said))
        fail_msg("'%s' for %d ranks: %s: %s", yaml, ranks, reid_status_name(status), err.text);
}

static void test_bad_requests_are_refused(void **state)
{
    test_reidd *t = *state;
    test_reidd_option(t, "--slots");
    test_reidd_option(t, "2");
    test_reidd_start(t);
    check_refused(t, "", 1, "", REID_ERR_INVALID, "empty");
    check_refused(t, "a b", 1, "OUTPUT_DIR: /x\n", REID_ERR_INVALID, "name");
    check_refused(t, "", -1, "OUTPUT_DIR: /x\n", REID_ERR_INVALID, "ranks");
    check_refused(t, "", 3, "OUTPUT_DIR: /x\n", REID_ERR_PRECONDITION,
                  "the job needs 3 slots, this node has 2");
    check_refused(t, "", 1, "OUTPUT_DIR: logs\n", REID_ERR_INVALID, "absolute");
    check_refused(t, "", 1, "SOLVER:\n  BASE_LRR: 0.1\n", REID_ERR_INVALID, "SOLVER.BASE_LR");
    check_refused(t, "", 1, "MODEL: [", REID_ERR_INVALID, "configuration");
    check_refused(t, "", 1, "SOLVER:\n  OPT: LAMB\n", REID_ERR_INVALID, "SOLVER.OPT");
    check_refused(t, "", 1, "_BASE_: x.yml\n", REID_ERR_INVALID, "_BASE_");
    assert_int_equal(list_count(t), 0);
}

static void check_verdict(test_reidd *t, const char *verdict, reid_status code, const char *said)
{
    char *folder = test_job_folder(t, ++t->jobs);
    char *yaml = reid_xasprintf("OUTPUT_DIR: %s\n", folder);
    free(reid_test_write_text(folder, "check", verdict));
    check_refused(t, "", 1, yaml, code, said);
    free(folder);
    free(yaml);
}

static void test_trainer_refuses(void **state)
{
    test_reidd *t = *state;
    test_reidd_option(t, "--check-timeout");
    test_reidd_option(t, "0.5");
    test_reidd_start(t);
    check_verdict(t, "2\nloading\nreid-train: there is no folder '/data'\n", REID_ERR_PRECONDITION,
                  "there is no folder '/data'");
    check_verdict(t, "1\nsomething broke\n", REID_ERR_INTERNAL, "exit code 1: something broke");
    check_verdict(t, "crash", REID_ERR_INTERNAL, "signal 6");
    check_verdict(t, "hang", REID_ERR_TIMEOUT, "within 0.5 s");
    assert_int_equal(list_count(t), 0);
    char *jobs = reid_path_join(t->state_dir, "jobs");
    assert_int_equal(folder_count(jobs), 0);
    free(jobs);
}

static void test_job_from_begin_to_end(void **state)
{
    test_reidd *t = *state;
    test_reidd_start(t);
    int64_t before_ms = reid_clock_wall_ms();
    char *id = test_submit(t, "", 0,
                           "link\nphase 1\nmark linked\nwait go\nphase 2\nprogress 3 10\nrows 3\n"
                           "last-row\nmark trained\nwait end\nprogress 10 10\nrows 7\nlast-row\n");
    test_wait_mark(t, 1, "linked");
    Reid__V1__Job *job = test_wait_state(t, id, STATE(RUNNING));
    assert_int_equal(job->phase, REID__V1__JOB_PHASE__JOB_PHASE_LOADING);
    assert_int_equal(job->ranks, 1);
    assert_int_equal(job->attempt, 1);
    assert_string_equal(job->name, "out-1");
    struct passwd *me = getpwuid(geteuid());
    if (me)
        assert_string_equal(job->user, me->pw_name);
    assert_true(job->submitted_ms >= before_ms && job->started_ms >= job->submitted_ms);
    assert_int_equal(job->ended_ms, 0);
    reid__v1__job__free_unpacked(job, NULL);
    test_give_mark(t, 1, "go");
    test_wait_mark(t, 1, "trained");
    job = test_get(t, id);
    assert_int_equal(job->state, STATE(RUNNING));
    assert_int_equal(job->phase, REID__V1__JOB_PHASE__JOB_PHASE_TRAINING);
    assert_string_equal(job->detail, "training");
    assert_int_equal(job->progress->iteration, 3);
    assert_int_equal(job->progress->max_iteration, 10);
    assert_true(job->progress->images_per_second == 64);
    assert_int_equal(job->n_latest, 2);
    assert_string_equal(job->latest[0]->name, "total_loss");
    assert_true(job->latest[0]->value == 1.0 / 3);
    assert_non_null(strstr(job->config_yaml, "out-1"));
    assert_true(job->last_progress_ms >= before_ms);
    reid__v1__job__free_unpacked(job, NULL);
    test_give_mark(t, 1, "end");
    job = test_wait_state(t, id, STATE(SUCCEEDED));
    assert_int_equal(job->exit_code, 0);
    assert_int_equal(job->progress->iteration, 10);
    assert_null(job->failure);
    assert_true(job->ended_ms >= job->started_ms);
    assert_non_null(strstr(job->detail, "finished"));
    assert_int_equal(job->n_latest, 2);
    reid__v1__job__free_unpacked(job, NULL);
    char *rows = test_metrics(t, id, 0, 0, NULL), *expected = test_rows_expected(1, 1, 10);
    assert_string_equal(rows, expected);
    free(rows);
    free(expected);
    /* by prefix and by name as well */
    id[7] = '\0';
    reid__v1__job__free_unpacked(test_get(t, id), NULL);
    reid__v1__job__free_unpacked(test_get(t, "out-1"), NULL);
    assert_true(!test_nothing_runs(t)); /* the daemon itself has the mark */
    free(id);
}

static void test_failure_is_told(void **state)
{
    test_reidd *t = *state;
    test_reidd_start(t);
    char *id =
        test_submit(t, "bad", 1, "link\nphase 2\nwords loss_cls is NaN at iteration 7\nexit 1\n");
    Reid__V1__Job *job = test_wait_state(t, id, STATE(FAILED));
    assert_string_equal(job->failure->sentence, "loss_cls is NaN at iteration 7");
    assert_int_equal(job->failure->rank, 0);
    assert_int_equal(job->failure->exit_code, 1);
    assert_int_equal(job->exit_code, 1);
    assert_string_equal(job->detail, "loss_cls is NaN at iteration 7");
    reid__v1__job__free_unpacked(job, NULL);
    free(id);
    id = test_submit(t, "killed", 1, "kill 9\n");
    job = test_wait_state(t, id, STATE(FAILED));
    assert_string_equal(job->failure->sentence, "rank 0 was killed by signal 9 (Killed)");
    assert_int_equal(job->failure->signal, 9);
    assert_int_equal(job->exit_code, 137);
    reid__v1__job__free_unpacked(job, NULL);
    free(id);
}

static void test_queue(void **state)
{
    test_reidd *t = *state;
    reid_error err = {0};
    test_reidd_option(t, "--slots=1");
    test_reidd_start(t);
    char *first = test_submit(t, "same", 1, "mark up\nwait go\n");
    char *second = test_submit(t, "same", 1, "exit 0\n");
    char *third = test_submit(t, "third", 1, "exit 0\n");
    assert_true(strcmp(first, second) < 0 && strcmp(second, third) < 0);
    test_wait_mark(t, 1, "up");
    Reid__V1__Job *job = test_get(t, "same"); /* the newest */
    char *expected = reid_xasprintf("waits for 1 slot: job %s runs (1 of 1 slots are used)", first);
    assert_string_equal(job->id, second);
    assert_int_equal(job->state, STATE(PENDING));
    assert_int_equal(job->queue_position, 1);
    assert_string_equal(job->detail, expected);
    free(expected);
    reid__v1__job__free_unpacked(job, NULL);
    job = test_get(t, third);
    assert_int_equal(job->queue_position, 2);
    assert_non_null(strstr(job->detail, second));
    reid__v1__job__free_unpacked(job, NULL);
    reid_assert_ok(test_cancel(t, second, 0, "not needed", &err), &err);
    job = test_get(t, second);
    assert_int_equal(job->state, STATE(CANCELLED));
    assert_int_equal(job->attempt, 0);
    assert_int_equal(job->exit_code, 143);
    assert_string_equal(job->detail, "cancelled: not needed");
    reid__v1__job__free_unpacked(job, NULL);
    job = test_get(t, third);
    assert_int_equal(job->queue_position, 1);
    reid__v1__job__free_unpacked(job, NULL);
    test_give_mark(t, 1, "go");
    test_expect_state(t, third, STATE(SUCCEEDED));
    test_expect_state(t, first, STATE(SUCCEEDED));
    assert_int_equal(list_count(t), 3);
    free(first);
    free(second);
    free(third);
}

static void test_cancel_of_running_jobs(void **state)
{
    test_reidd *t = *state;
    reid_error err = {0};
    test_reidd_start(t);
    char *gentle = test_submit(t, "gentle", 1, "on-term 143\nlink\nmark up\nwait never\n");
    test_wait_mark(t, 1, "up");
    reid_assert_ok(test_cancel(t, gentle, 0, "enough", &err), &err);
    Reid__V1__Job *job = test_wait_state(t, gentle, STATE(CANCELLED));
    assert_int_equal(job->exit_code, 143);
    assert_string_equal(job->detail, "cancelled: enough");
    assert_null(job->failure);
    reid__v1__job__free_unpacked(job, NULL);
    reid_assert_ok(test_cancel(t, gentle, 0, "", &err), &err); /* again: nothing happens */
    char *stubborn = test_submit(t, "stubborn", 1, "on-term 0\ngrandchild\nmark up\nwait never\n");
    test_wait_mark(t, 2, "up");
    reid_assert_ok(test_cancel(t, stubborn, 600, "slowly", &err), &err);
    job = test_get(t, stubborn);
    assert_string_equal(job->detail, "stopping within 600 s: slowly");
    reid__v1__job__free_unpacked(job, NULL);
    reid_assert_ok(test_cancel(t, stubborn, 0.1, "now", &err), &err);
    test_expect_state(t, stubborn, STATE(CANCELLED));
    /* With the usual grace ranks are waited for as long as they get on. */
    char *stuck = test_submit(t, "stuck", 1, "on-term 0\nlink\nphase 2\nmark up\nwait never\n");
    test_wait_mark(t, 3, "up");
    int64_t begin_ns = reid_clock_mono_ns();
    reid_assert_ok(test_cancel(t, stuck, 0, "", &err), &err);
    test_expect_state(t, stuck, STATE(CANCELLED));
    assert_true(reid_clock_mono_ns() - begin_ns < 15 * INT64_C(1000000000));
    free(stuck);
    char *done = test_submit(t, "done", 1, "exit 0\n");
    test_expect_state(t, done, STATE(SUCCEEDED));
    assert_int_equal(test_cancel(t, done, 0, "", &err), REID_ERR_PRECONDITION);
    assert_non_null(strstr(err.text, "already ended: SUCCEEDED"));
    reid_error_clear(&err);
    assert_int_equal(test_cancel(t, "nobody", 0, "", &err), REID_ERR_NOT_FOUND);
    reid_error_clear(&err);
    assert_int_equal(test_cancel(t, done, -1, "", &err), REID_ERR_INVALID);
    free(gentle);
    free(stubborn);
    free(done);
}

/* The shim is told to stop as soon as it can be told. */
static void test_cancel_right_after_submit(void **state)
{
    test_reidd *t = *state;
    reid_error err = {0};
    test_reidd_start(t);
    for (int i = 0; i < 5; i++) {
        char *id = test_submit(t, "brief", 1, "wait never\n");
        reid_assert_ok(test_cancel(t, id, 5, "", &err), &err);
        test_expect_state(t, id, STATE(CANCELLED));
        free(id);
    }
}

static void test_ranks_that_never_report(void **state)
{
    test_reidd *t = *state;
    test_reidd_option(t, "--start-timeout");
    test_reidd_option(t, "1");
    test_reidd_start(t);
    char *id = test_submit(t, "mute", 1, "wait never\n");
    Reid__V1__Job *job = test_wait_state(t, id, STATE(FAILED));
    assert_string_equal(job->failure->sentence,
                        "rank 0 has not reported within 1 s of the start (--start-timeout; 0 of 1 "
                        "have)");
    assert_int_equal(job->failure->rank, 0);
    reid__v1__job__free_unpacked(job, NULL);
    free(id);
}

static size_t count_fds(pid_t pid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    return folder_count(path);
}

typedef struct fd_context {
    pid_t pid;
    size_t wanted;
} fd_context;

static bool fds_are_back(void *context)
{
    fd_context *c = context;
    return count_fds(c->pid) <= c->wanted;
}

static void test_many_jobs_leave_nothing_open(void **state)
{
    test_reidd *t = *state;
    reid_error err = {0};
    test_reidd_option(t, "--slots=1");
    test_reidd_start(t);
    char *holder = test_submit(t, "holder", 1, "mark up\nwait never\n");
    test_wait_mark(t, 1, "up");
    char *first = test_submit(t, "first", 1, "exit 0\n");
    reid_assert_ok(test_cancel(t, first, 0, "", &err), &err);
    free(first);
    fd_context context = {.pid = t->pid, .wanted = count_fds(t->pid)};
    for (int i = 0; i < 30; i++) {
        char *id = test_submit(t, "one-of-many", 1, "exit 0\n");
        reid_assert_ok(test_cancel(t, id, 0, "", &err), &err);
        free(id);
    }
    assert_true(reid_test_wait(fds_are_back, &context, 10));
    reid_assert_ok(test_cancel(t, holder, 0.1, "", &err), &err);
    test_expect_state(t, holder, STATE(CANCELLED));
    free(holder);
}

/* Another reidd says `words`, and does not start. */
static void expect_refused(const test_reidd *t, const char *state_dir, const char *socket_name,
                           const char *slots, const char *words)
{
    char *log = reid_path_join(t->folder, "second.log");
    char *socket = reid_path_join(t->folder, socket_name);
    pid_t second = fork();
    if (second == 0) {
        if (!freopen(log, "w", stderr))
            _exit(1);
        execl(REIDD, REIDD, "--state-dir", state_dir, "--socket", socket, "--trainer", FAKE_TRAINER,
              "--slots", slots, NULL);
        _exit(127);
    }
    int status = 0;
    assert_int_equal(waitpid(second, &status, 0), second);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    char *text = reid_test_read_text(log);
    if (!strstr(text, words))
        fail_msg("'%s' is not in '%s'", words, text);
    free(text);
    free(socket);
    free(log);
}

static void test_node_without_slots(void **state)
{
    test_reidd *t = *state;
    expect_refused(t, t->state_dir, "o.sock", "0", "with --slots 0 no job could ever start");
}

static void test_one_daemon_per_state_folder(void **state)
{
    test_reidd *t = *state;
    test_reidd_start(t);
    expect_refused(t, t->state_dir, "o.sock", "1", "another reidd");
    assert_int_equal(list_count(t), 0); /* the first one serves on */
    assert_int_equal(test_reidd_stop(t, 2), 0);
    assert_false(reid_path_exists(t->socket));
}

static void test_info(void **state)
{
    test_reidd *t = *state;
    test_reidd_option(t, "--slots=3");
    test_reidd_start(t);
    char *id = test_submit(t, "x", 1, "mark up\nwait never\n");
    test_wait_mark(t, 1, "up");
    Reid__V1__InfoRequest request = REID__V1__INFO_REQUEST__INIT;
    Reid__V1__InfoResponse *info = NULL;
    reid_error err = {0};
    reid_assert_ok(reid_rpc_client_unary(t->client, "/reid.v1.SystemService/Info", &request.base,
                                         &reid__v1__info_response__descriptor, 10000,
                                         (ProtobufCMessage **)&info, &err),
                   &err);
    assert_int_equal(info->pid, t->pid);
    assert_int_equal(info->slots, 3);
    assert_int_equal(info->slots_used, 1);
    assert_string_equal(info->state_dir, t->state_dir);
    assert_true(strlen(info->version) > 0 && strlen(info->node) > 0);
    reid__v1__info_response__free_unpacked(info, NULL);
    free(id);
}

/* Another user of the socket's group may look, and nothing else. */
static void test_other_users(void **state)
{
    test_reidd *t = *state;
    struct group *group = getgrnam("nogroup");
    struct passwd *nobody = getpwnam("nobody");
    if (geteuid() != 0 || !group || !nobody)
        skip();
    uid_t uid = nobody->pw_uid;
    gid_t gid = group->gr_gid;
    test_reidd_option(t, "--group");
    test_reidd_option(t, "nogroup");
    test_reidd_start(t);
    struct stat info;
    assert_int_equal(stat(t->socket, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0660);
    assert_int_equal(info.st_gid, gid);
    assert_int_equal(chmod(t->folder, 0755), 0);
    pid_t child = fork();
    if (child == 0) {
        test_reidd other = *t;
        Reid__V1__SubmitRequest submit = REID__V1__SUBMIT_REQUEST__INIT;
        Reid__V1__ListJobsRequest list = REID__V1__LIST_JOBS_REQUEST__INIT;
        Reid__V1__Job *job = NULL;
        ProtobufCMessage *answer = NULL;
        submit.config_yaml = (char *)"OUTPUT_DIR: /x\n";
        if (setgroups(0, NULL) != 0 || setgid(gid) != 0 || setuid(uid) != 0 ||
            reid_rpc_client_connect(t->address, 5000, &other.client, NULL) != REID_OK)
            _exit(1);
        if (reid_rpc_client_unary(other.client, "/reid.v1.JobService/List", &list.base,
                                  &reid__v1__list_jobs_response__descriptor, 5000, &answer,
                                  NULL) != REID_OK)
            _exit(2);
        if (test_submit_raw(&other, &submit, &job, NULL) != REID_ERR_PERMISSION)
            _exit(3);
        if (test_cancel(&other, "x", 0, "", NULL) != REID_ERR_PERMISSION)
            _exit(4);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_killed_rank_of_two(void **state)
{
    test_reidd *t = *state;
    if (!test_has_mpirun())
        skip();
    test_reidd_option(t, "--slots=2");
    test_reidd_start(t);
    char *id =
        test_submit(t, "pair", 2, "on-term 0\nlink\n0: mark zero\n1: mark one\nwait never\n");
    test_wait_mark(t, 1, "zero");
    pid_t victim = test_wait_mark(t, 1, "one");
    test_expect_state(t, id, STATE(RUNNING));
    double begin = reid_clock_seconds();
    assert_int_equal(kill(victim, SIGKILL), 0);
    Reid__V1__Job *job = test_wait_state(t, id, STATE(FAILED));
    assert_true(reid_clock_seconds() - begin < 10);
    assert_string_equal(job->failure->sentence, "rank 1 was killed by signal 9 (Killed)");
    assert_int_equal(job->failure->rank, 1);
    assert_int_equal(job->failure->signal, 9);
    reid__v1__job__free_unpacked(job, NULL);
    assert_int_equal(test_reidd_stop(t, 2), 0);
    assert_true(test_nothing_runs(t));
    free(id);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, test_reidd_set_up, test_reidd_tear_down)
    const struct CMUnitTest tests[] = {
        CASE(test_bad_requests_are_refused),
        CASE(test_trainer_refuses),
        CASE(test_job_from_begin_to_end),
        CASE(test_failure_is_told),
        CASE(test_queue),
        CASE(test_cancel_of_running_jobs),
        CASE(test_cancel_right_after_submit),
        CASE(test_ranks_that_never_report),
        CASE(test_many_jobs_leave_nothing_open),
        CASE(test_one_daemon_per_state_folder),
        CASE(test_node_without_slots),
        CASE(test_info),
        CASE(test_other_users),
        CASE(test_killed_rank_of_two),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
