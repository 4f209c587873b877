/* reidd-shim as a program, around a trainer that follows a script. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/str.h"
#include "daemon/exec/files.h"
#include "daemon/exec/process.h"
#include "harness/harness.h"

typedef struct fixture {
    char *folder, *attempt, *out;
    char entry[512]; /* of the environment of everything the attempt starts */
    pid_t shim;
    bool reaped;
    reidd_exit_report report;
} fixture;

static int set_up(void **state)
{
    fixture *f = reid_xcalloc(1, sizeof *f);
    f->folder = reid_test_dir_new();
    f->attempt = reid_path_join(f->folder, "attempt-1");
    f->out = reid_path_join(f->folder, "out");
    reid_error err = {0};
    reid_assert_ok(reid_make_dirs(f->attempt, 0700, &err), &err);
    reid_assert_ok(reid_make_dirs(f->out, 0700, &err), &err);
    snprintf(f->entry, sizeof f->entry, "REIDD_ATTEMPT_DIR=%s", f->attempt);
    *state = f;
    return 0;
}

static bool nothing_left(void *context)
{
    fixture *f = context;
    return reidd_process_signal_by_environment(f->entry, SIGKILL) == 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    if (f->shim && !f->reaped) {
        kill(f->shim, SIGKILL);
        waitpid(f->shim, NULL, 0);
    }
    reid_test_wait(nothing_left, f, 10);
    reid_test_dir_free(f->folder);
    free(f->attempt);
    free(f->out);
    free(f);
    return 0;
}

static void start(fixture *f, int ranks, const char *grace_ms, const char *script)
{
    char count[16], *config_text = reid_xasprintf("OUTPUT_DIR: %s\n", f->out);
    char *config = reid_test_write_text(f->folder, "config.yaml", config_text);
    free(reid_test_write_text(f->out, "script", script));
    snprintf(count, sizeof count, "%d", ranks);
    f->shim = fork();
    if (f->shim == 0) {
        setenv("REIDD_JOB", "testjob", 1);
        setenv("REIDD_ATTEMPT", "1", 1);
        setenv("REIDD_ATTEMPT_DIR", f->attempt, 1);
        setsid();
        execl(REIDD_SHIM, REIDD_SHIM, "--attempt-dir", f->attempt, "--ranks", count, "--grace-ms",
              grace_ms, "--", FAKE_TRAINER, "--config-file", config, NULL);
        _exit(127);
    }
    free(config_text);
    free(config);
}

static bool has_ended(void *context)
{
    fixture *f = context;
    f->reaped = f->reaped || waitpid(f->shim, NULL, WNOHANG) == f->shim;
    return f->reaped;
}

/* The report, once the shim is gone; and nothing may be left of the attempt. */
static void finish(fixture *f, double within_s)
{
    reid_error err = {0};
    if (!reid_test_wait(has_ended, f, within_s))
        fail_msg("the shim did not end within %g s", within_s);
    assert_int_equal(reidd_process_signal_by_environment(f->entry, 0), 0);
    reid_assert_ok(reidd_exit_report_read(f->attempt, &f->report, &err), &err);
    assert_true(f->report.ended_ms > 0);
    assert_false(reidd_attempt_is_locked(f->attempt));
    static const char *const gone[] = {"tmp", "exit.pending"};
    for (size_t i = 0; i < 2; i++) {
        char *path = reid_path_join(f->attempt, gone[i]);
        assert_false(reid_path_exists(path));
        free(path);
    }
    reidd_shim_info info;
    reid_assert_ok(reidd_shim_info_read(f->attempt, &info, &err), &err);
    assert_int_equal(info.pid, f->shim);
    if (info.shm_dir[0])
        assert_false(reid_path_exists(info.shm_dir));
}

static void expect(fixture *f, int exit_code, int number, int rank, const char *sentence)
{
    assert_string_equal(f->report.sentence, sentence);
    assert_int_equal(f->report.exit_code, exit_code);
    assert_int_equal(f->report.signal, number);
    assert_int_equal(f->report.rank, rank);
}

static bool path_is_there(void *path)
{
    return reid_path_exists(path);
}

static pid_t wait_for_mark(fixture *f, const char *name)
{
    char *path = reid_path_join(f->out, name);
    if (!reid_test_wait(path_is_there, path, 30))
        fail_msg("%s was not reached", name);
    char *text = reid_test_read_text(path);
    pid_t pid = (pid_t)strtol(text, NULL, 10);
    free(text);
    free(path);
    return pid;
}

static void check_log(fixture *f, const char *name, const char *expected)
{
    char *path = reid_xasprintf("%s/logs/%s", f->attempt, name);
    char *text = reid_test_read_text(path);
    assert_string_equal(text, expected);
    free(text);
    free(path);
}

static void test_success(void **state)
{
    fixture *f = *state;
    start(f, 1, "1000", "out to the world\nerr and its shadow\nexit 0\n");
    finish(f, 20);
    expect(f, 0, 0, -1, "");
    assert_false(f->report.stopped);
    check_log(f, "rank-0.out", "to the world\n");
    check_log(f, "rank-0.err", "and its shadow\n");
}

static void test_exit_code_and_last_line(void **state)
{
    fixture *f = *state;
    start(f, 1, "1000", "err no such folder\nexit 3\n");
    finish(f, 20);
    expect(f, 3, 0, 0, "rank 0 ended with exit code 3: no such folder");
}

static void test_last_words(void **state)
{
    fixture *f = *state;
    start(f, 1, "1000", "words loss_cls is NaN at iteration 7\nerr something else\nexit 1\n");
    finish(f, 20);
    expect(f, 1, 0, 0, "loss_cls is NaN at iteration 7");
}

static void test_killed(void **state)
{
    fixture *f = *state;
    start(f, 1, "1000", "kill 9\n");
    finish(f, 20);
    expect(f, 137, 9, 0, "rank 0 was killed by signal 9 (Killed)");
}

static void test_no_trainer(void **state)
{
    fixture *f = *state;
    char *path = reid_path_join(f->folder, "no-trainer");
    f->shim = fork();
    if (f->shim == 0) {
        setenv("REIDD_ATTEMPT_DIR", f->attempt, 1);
        execl(REIDD_SHIM, REIDD_SHIM, "--attempt-dir", f->attempt, "--ranks", "1", "--", path,
              NULL);
        _exit(127);
    }
    finish(f, 20);
    assert_int_equal(f->report.exit_code, 127);
    assert_non_null(strstr(f->report.sentence, "cannot start"));
    assert_non_null(strstr(f->report.sentence, path));
    free(path);
}

static void test_graceful_stop(void **state)
{
    fixture *f = *state;
    start(f, 1, "30000", "on-term 143\nmark ready\nwait never\n");
    wait_for_mark(f, "ready");
    assert_true(reidd_attempt_is_locked(f->attempt));
    assert_int_equal(kill(f->shim, SIGTERM), 0);
    finish(f, 20);
    expect(f, 143, 0, -1, "stopped on request");
    assert_true(f->report.stopped);
}

static void test_stop_of_a_stubborn_family(void **state)
{
    fixture *f = *state;
    start(f, 1, "200", "on-term 0\ngrandchild\nmark ready\nwait never\n");
    wait_for_mark(f, "ready");
    assert_int_equal(reidd_process_signal_by_environment(f->entry, 0),
                     3); /* shim, rank, grandchild */
    assert_int_equal(kill(f->shim, SIGTERM), 0);
    finish(f, 20);
    assert_true(f->report.stopped);
    assert_int_equal(f->report.exit_code, 143);
    assert_non_null(strstr(f->report.sentence, "grace period"));
}

/* The file counts more than the argument, and a second TERM with less shortens the wait. */
static void test_grace_by_file(void **state)
{
    fixture *f = *state;
    reid_error err = {0};
    start(f, 1, "600000", "on-term 0\nmark ready\nwait never\n");
    wait_for_mark(f, "ready");
    reid_assert_ok(reidd_grace_write(f->attempt, 500000, &err), &err);
    assert_int_equal(kill(f->shim, SIGTERM), 0);
    reid_assert_ok(reidd_grace_write(f->attempt, 100, &err), &err);
    assert_int_equal(kill(f->shim, SIGTERM), 0);
    finish(f, 20);
    assert_true(f->report.stopped);
}

/* What a rank leaves behind does not outlive it. */
static void test_grandchild_of_a_finished_rank(void **state)
{
    fixture *f = *state;
    start(f, 1, "1000", "grandchild\nexit 0\n");
    finish(f, 20);
    expect(f, 0, 0, -1, "");
}

static void test_ranks_die_with_a_killed_shim(void **state)
{
    fixture *f = *state;
    start(f, 1, "1000", "mark ready\nwait never\n");
    pid_t rank = wait_for_mark(f, "ready");
    assert_true(reidd_process_is_alive(rank, 0));
    assert_int_equal(kill(f->shim, SIGKILL), 0);
    assert_true(reid_test_wait(has_ended, f, 10));
    assert_true(reid_test_wait(nothing_left, f, 10));
    char *report = reid_path_join(f->attempt, "exit.json");
    assert_false(reid_path_exists(report));
    assert_false(reidd_attempt_is_locked(f->attempt));
    free(report);
}

static void test_second_shim_is_refused(void **state)
{
    fixture *f = *state;
    start(f, 1, "1000", "mark ready\nwait go\nexit 0\n");
    wait_for_mark(f, "ready");
    pid_t second = fork();
    if (second == 0) {
        close(STDERR_FILENO);
        execl(REIDD_SHIM, REIDD_SHIM, "--attempt-dir", f->attempt, "--ranks", "1", "--", "true",
              NULL);
        _exit(127);
    }
    int status = 0;
    assert_int_equal(waitpid(second, &status, 0), second);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    free(reid_test_write_text(f->out, "go", ""));
    finish(f, 20);
    expect(f, 0, 0, -1, "");
}

/* ---- under mpirun ---- */

static bool has_mpirun(void)
{
    const char *path = getenv("PATH");
    while (path && *path) {
        size_t length = strcspn(path, ":");
        char *program = reid_xasprintf("%.*s/mpirun", (int)length, path);
        bool found = access(program, X_OK) == 0;
        free(program);
        if (found)
            return true;
        path += length + (path[length] == ':');
    }
    return false;
}

static void test_two_ranks(void **state)
{
    fixture *f = *state;
    if (!has_mpirun())
        skip();
    start(f, 2, "1000", "0: out I am the first\n1: out I am the second\nexit 0\n");
    finish(f, 60);
    expect(f, 0, 0, -1, "");
    check_log(f, "rank-0.out", "I am the first\n");
    check_log(f, "rank-1.out", "I am the second\n");
}

static void test_killed_rank_takes_the_others_along(void **state)
{
    fixture *f = *state;
    if (!has_mpirun())
        skip();
    start(f, 2, "1000", "on-term 0\ngrandchild\n0: mark zero\n1: mark one\nwait never\n");
    wait_for_mark(f, "zero");
    pid_t victim = wait_for_mark(f, "one");
    double begin = reid_clock_seconds();
    assert_int_equal(kill(victim, SIGKILL), 0);
    finish(f, 10);
    expect(f, 137, 9, 1, "rank 1 was killed by signal 9 (Killed)");
    assert_true(reid_clock_seconds() - begin < 10);
}

/* The process around a rank is killed, and the rank with it; the other one misses it at once. */
static void test_killed_wrapper(void **state)
{
    fixture *f = *state;
    reidd_rank_pids pids;
    reid_error err = {0};
    if (!has_mpirun())
        skip();
    start(f, 2, "1000",
          "on-term 0\n0: mark zero\n1: mark one\n1: wait never\n0: wait go\n"
          "0: misses the connection to rank 1 was lost\n0: exit 1\n");
    wait_for_mark(f, "zero");
    wait_for_mark(f, "one");
    reid_assert_ok(reidd_rank_pids_read(f->attempt, 1, &pids, &err), &err);
    assert_int_equal(kill(f->shim, SIGSTOP), 0); /* it is the last to notice */
    assert_int_equal(kill(pids.wrapper, SIGKILL), 0);
    free(reid_test_write_text(f->out, "go", ""));
    char *words = reidd_rank_path(f->attempt, "failures", 0, "json");
    for (int i = 0; i < 400 && access(words, F_OK) != 0; i++) /* mpirun ends it soon */
        poll(NULL, 0, 5);
    free(words);
    assert_int_equal(kill(f->shim, SIGCONT), 0);
    finish(f, 10);
    expect(f, 137, 9, 1, "rank 1 was killed by signal 9 (Killed)");
}

/* mpirun is killed, and its ranks with it, but on a busy machine it takes some time until it can be
 * waited for: here because who traces it is the first to be told. */
static void test_mpirun_that_is_slow_to_go(void **state)
{
    fixture *f = *state;
    reidd_shim_info info;
    reid_error err = {0};
    if (!has_mpirun())
        skip();
    start(f, 2, "1000", "on-term 0\n0: mark zero\n1: mark one\nwait never\n");
    wait_for_mark(f, "zero");
    pid_t rank = wait_for_mark(f, "one");
    reid_assert_ok(reidd_shim_info_read(f->attempt, &info, &err), &err);
    if (ptrace(PTRACE_SEIZE, info.launcher_pid, NULL, NULL) != 0) {
        kill(f->shim, SIGTERM);
        skip();
    }
    kill(rank, SIGKILL);
    assert_int_equal(kill(info.launcher_pid, SIGKILL), 0);
    poll(NULL, 0, 500);
    assert_int_equal(waitpid(info.launcher_pid, NULL, 0), info.launcher_pid);
    finish(f, 10);
    expect(f, 137, 9, -1, "mpirun was killed by signal 9 (Killed)");
}

/* What the shim has concluded from a wrapper's absence yields to what the wrapper has written. */
static void test_record_that_comes_late(void **state)
{
    fixture *f = *state;
    reidd_shim_info info;
    reidd_rank_pids pids;
    reid_error err = {0};
    const reidd_rank_exit own = {.exit_code = 3, .wall_ms = reid_clock_wall_ms()};
    if (!has_mpirun())
        skip();
    start(f, 2, "1000", "on-term 0\n0: mark zero\n1: mark one\nwait never\n");
    wait_for_mark(f, "zero");
    wait_for_mark(f, "one");
    reid_assert_ok(reidd_shim_info_read(f->attempt, &info, &err), &err);
    reid_assert_ok(reidd_rank_pids_read(f->attempt, 1, &pids, &err), &err);
    assert_int_equal(kill(info.launcher_pid, SIGSTOP), 0); /* the end takes a while */
    assert_int_equal(kill(pids.wrapper, SIGKILL), 0);
    char *concluded = reidd_rank_path(f->attempt, "ranks", 1, "exit");
    assert_true(reid_test_wait(path_is_there, concluded, 10));
    free(concluded);
    reid_assert_ok(reidd_rank_exit_write(f->attempt, 1, &own, &err), &err);
    finish(f, 10);
    expect(f, 3, 0, 1, "rank 1 ended with exit code 3");
}

/* mpirun does not notice anything any more: the shim does. */
static void test_stopped_mpirun(void **state)
{
    fixture *f = *state;
    reidd_shim_info info;
    reid_error err = {0};
    if (!has_mpirun())
        skip();
    start(f, 2, "1000",
          "0: mark zero\n1: mark one\n0: wait never\n1: wait go\n1: err so long\n1: exit 3\n");
    wait_for_mark(f, "zero");
    wait_for_mark(f, "one");
    reid_assert_ok(reidd_shim_info_read(f->attempt, &info, &err), &err);
    assert_int_equal(kill(info.launcher_pid, SIGSTOP), 0);
    free(reid_test_write_text(f->out, "go", ""));
    finish(f, 10);
    expect(f, 3, 0, 1, "rank 1 ended with exit code 3: so long");
}

/* One rank has saved its state and gone; the other may take its time. */
static void test_graceful_stop_of_two(void **state)
{
    fixture *f = *state;
    if (!has_mpirun())
        skip();
    start(f, 2, "20000", "on-term 143\n0: mark zero\n1: mark one\nwait never\n");
    wait_for_mark(f, "zero");
    wait_for_mark(f, "one");
    assert_int_equal(kill(f->shim, SIGTERM), 0);
    finish(f, 20);
    expect(f, 143, 0, -1, "stopped on request");
    reidd_rank_exit end;
    for (int rank = 0; rank < 2; rank++) {
        assert_int_equal(reidd_rank_exit_read(f->attempt, rank, &end, NULL), REID_OK);
        assert_int_equal(end.exit_code, 143);
        assert_int_equal(end.signal, 0);
    }
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(test_success),
        CASE(test_exit_code_and_last_line),
        CASE(test_last_words),
        CASE(test_killed),
        CASE(test_no_trainer),
        CASE(test_graceful_stop),
        CASE(test_stop_of_a_stubborn_family),
        CASE(test_grace_by_file),
        CASE(test_grandchild_of_a_finished_rank),
        CASE(test_ranks_die_with_a_killed_shim),
        CASE(test_second_shim_is_refused),
        CASE(test_two_ranks),
        CASE(test_killed_rank_takes_the_others_along),
        CASE(test_killed_wrapper),
        CASE(test_mpirun_that_is_slow_to_go),
        CASE(test_record_that_comes_late),
        CASE(test_stopped_mpirun),
        CASE(test_graceful_stop_of_two),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
