#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "daemon/exec/files.h"
#include "harness/harness.h"

static char *folder;

static int set_up(void **state)
{
    folder = reid_test_dir_new();
    return 0;
}

static int tear_down(void **state)
{
    reid_test_dir_free(folder);
    return 0;
}

/* With the room set aside and without it; every character that JSON has to escape. */
static void test_exit_report(void **state)
{
    reidd_exit_report report = {
        .exit_code = 137, .signal = 9, .rank = 1, .stopped = true, .ended_ms = 1700000000123};
    snprintf(report.sentence, sizeof report.sentence, "it said \"no\"\n\x01 \xc3\xa9");
    for (int reserved = 0; reserved < 2; reserved++) {
        reidd_exit_report back;
        reid_error err = {0};
        if (reserved)
            reid_assert_ok(reidd_exit_report_reserve(folder, &err), &err);
        reid_assert_ok(reidd_exit_report_write(folder, &report, &err), &err);
        reid_assert_ok(reidd_exit_report_read(folder, &back, &err), &err);
        assert_int_equal(back.exit_code, 137);
        assert_int_equal(back.signal, 9);
        assert_int_equal(back.rank, 1);
        assert_true(back.stopped);
        assert_int_equal(back.ended_ms, 1700000000123);
        assert_string_equal(back.sentence, report.sentence);
        char *pending = reid_path_join(folder, "exit.pending");
        assert_false(reid_path_exists(pending));
        free(pending);
    }
    memset(report.sentence, 1, sizeof report.sentence - 1); /* the longest that can be */
    reid_error err = {0};
    reidd_exit_report back;
    reid_assert_ok(reidd_exit_report_reserve(folder, &err), &err);
    reid_assert_ok(reidd_exit_report_write(folder, &report, &err), &err);
    reid_assert_ok(reidd_exit_report_read(folder, &back, &err), &err);
    assert_int_equal(strlen(back.sentence), sizeof report.sentence - 1);
}

static void test_lock(void **state)
{
    int fd = -1, second = -1;
    reid_error err = {0};
    assert_false(reidd_attempt_is_locked(folder));
    reid_assert_ok(reidd_attempt_lock(folder, &fd, &err), &err);
    assert_true(reidd_attempt_is_locked(folder));
    assert_int_equal(reidd_attempt_lock(folder, &second, &err), REID_ERR_UNAVAILABLE);
    int copy = dup(fd); /* as a child has it: the lock stays until the last one is closed */
    close(fd);
    assert_true(reidd_attempt_is_locked(folder));
    close(copy);
    assert_false(reidd_attempt_is_locked(folder));
}

static void test_small_files(void **state)
{
    reidd_shim_info info = {.pid = 12,
                            .start_time = 3456789012,
                            .protocol = 2,
                            .launcher_pid = 13,
                            .shm_dir = "/dev/shm/x"},
                    info_back = {0};
    reid_error err = {0};
    reid_assert_ok(reidd_shim_info_write(folder, &info, &err), &err);
    reid_assert_ok(reidd_shim_info_read(folder, &info_back, &err), &err);
    assert_int_equal(info_back.pid, 12);
    assert_int_equal(info_back.start_time, 3456789012);
    assert_int_equal(info_back.protocol, 2);
    assert_int_equal(info_back.launcher_pid, 13);
    assert_string_equal(info_back.shm_dir, "/dev/shm/x");
    free(reid_test_write_text(folder, "shim.json", "{\"pid\":7}")); /* of an older release */
    reid_assert_ok(reidd_shim_info_read(folder, &info_back, &err), &err);
    assert_int_equal(info_back.protocol, 0);
    assert_int_equal(reidd_grace_read(folder, 77), 77);
    reid_assert_ok(reidd_grace_write(folder, 1500, &err), &err);
    assert_int_equal(reidd_grace_read(folder, 77), 1500);
    free(reid_test_write_text(folder, "grace", "-5"));
    assert_int_equal(reidd_grace_read(folder, 77), 77);
    free(reid_test_write_text(folder, "grace", "soon"));
    assert_int_equal(reidd_grace_read(folder, 77), 77);
}

static void test_damaged_files(void **state)
{
    static const char *const texts[] = {"", "{", "[1]", "7", "{\"exit_code\": 3}"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        reidd_exit_report report;
        reid_error err = {0};
        free(reid_test_write_text(folder, "exit.json", texts[i]));
        reid_status status = reidd_exit_report_read(folder, &report, &err);
        if (i < 4) {
            assert_int_not_equal(status, REID_OK);
            assert_non_null(strstr(err.text, "exit.json"));
        } else {
            assert_int_equal(status, REID_OK);
            assert_int_equal(report.exit_code, 3);
            assert_int_equal(report.rank, -1);
            assert_string_equal(report.sentence, "");
        }
    }
    reidd_last_words words;
    assert_int_equal(reidd_last_words_read(folder, 0, &words, NULL), REID_ERR_NOT_FOUND);
}

/* A process that is there no more. */
static pid_t dead_pid(void)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    return pid;
}

static bool sweep_leaves(const char *name, pid_t writer)
{
    char *full = reid_xasprintf("%s.%d.tmp", name, (int)writer);
    char *path = reid_test_write_text(folder, full, "x");
    reidd_attempt_sweep(folder);
    bool left = reid_path_exists(path);
    free(path);
    free(full);
    return left;
}

static void test_what_killed_writers_have_left(void **state)
{
    pid_t dead = dead_pid();
    assert_false(sweep_leaves("shim.json", dead));
    assert_false(sweep_leaves("ranks/rank-1.exit", dead));
    assert_false(sweep_leaves("failures/rank-0.json", dead));
    assert_true(sweep_leaves("ranks/rank-1.exit", getpid()));
    assert_true(sweep_leaves("ranks/rank-1.exit", 1)); /* somebody else's */
    assert_true(sweep_leaves("logs/rank-1.out", dead));
    /* Names that carry no pid, and a folder that is a link. */
    static const char *const kept[] = {"gpus.0000000000012345.tmp",
                                       "gpus.00000000000004d2.tmp",
                                       "exit.99999999999.tmp",
                                       "exit.-5.tmp",
                                       "exit.0.tmp",
                                       "exit.tmp",
                                       ".tmp"};
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++) {
        char *path = reid_test_write_text(folder, kept[i], "x");
        reidd_attempt_sweep(folder);
        assert_true(reid_path_exists(path));
        free(path);
    }
    char *nodes = reid_path_join(folder, "nodes"), *logs = reid_path_join(folder, "logs");
    assert_int_equal(symlink(logs, nodes), 0);
    assert_true(sweep_leaves("logs/rank-2.out", dead));
    free(nodes);
    free(logs);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(test_exit_report),
        CASE(test_lock),
        CASE(test_small_files),
        CASE(test_damaged_files),
        CASE(test_what_killed_writers_have_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
