#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/shim/cause.h"
#include "harness/harness.h"

/* As printed by Open MPI 4.1.4. */
static const char killed[] =
    "--------------------------------------------------------------------------\n"
    "Primary job  terminated normally, but 1 process returned\n"
    "a non-zero exit code. Per user-direction, the job has been aborted.\n"
    "--------------------------------------------------------------------------\n"
    "mpirun noticed that process rank 1 with PID 0 on node vm exited on signal 9 (Killed).\n";
static const char exited[] =
    "mpirun detected that one or more processes exited with non-zero status, thus causing\n"
    "the job to be terminated. The first process to do so was:\n\n"
    "  Process name: [[22342,1],12]\n"
    "  Exit code:    3\n"
    "--------------------------------------------------------------------------\n";

static void test_messages_of_mpirun(void **state)
{
    int rank = -1, code = -1, number = -1;
    assert_true(reidd_cause_from_launcher(killed, &rank, &code, &number));
    assert_int_equal(rank, 1);
    assert_int_equal(number, 9);
    assert_int_equal(code, 137);
    assert_true(reidd_cause_from_launcher(exited, &rank, &code, &number));
    assert_int_equal(rank, 12);
    assert_int_equal(number, 0);
    assert_int_equal(code, 3);
    assert_false(reidd_cause_from_launcher("", &rank, &code, &number));
    assert_false(reidd_cause_from_launcher("process rank x with", &rank, &code, &number));
    assert_false(reidd_cause_from_launcher("Process name: [[1,1],0]\n", &rank, &code, &number));
}

typedef struct fixture {
    char *folder;
    reidd_rank_fate ranks[2];
    reidd_cause_input input;
    reidd_exit_report report;
} fixture;

static int set_up(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    f->folder = reid_test_dir_new();
    f->input = (reidd_cause_input){.attempt_dir = f->folder,
                                   .ranks = f->ranks,
                                   .rank_count = 2,
                                   .launcher = {.is_mpirun = true, .started = true}};
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    reid_test_dir_free(f->folder);
    free(f);
    return 0;
}

static void put(fixture *f, const char *name, const char *text)
{
    free(reid_test_write_text(f->folder, name, text));
}

static void put_words(fixture *f, int rank, int64_t wall_ms, const char *sentence)
{
    char name[64], text[256];
    snprintf(name, sizeof name, "failures/rank-%d.json", rank);
    snprintf(text, sizeof text,
             "{\"rank\":%d,\"wall_ms\":%lld,\"phase\":\"training\",\"sentence\":\"%s\"}", rank,
             (long long)wall_ms, sentence);
    put(f, name, text);
}

static reidd_rank_fate fate(int exit_code, int number, int64_t wall_ms)
{
    return (reidd_rank_fate){.ended = true, .known = true, .end = {exit_code, number, wall_ms}};
}

static void check(fixture *f, int rank, int exit_code, int number, const char *sentence)
{
    reidd_cause_find(&f->input, &f->report);
    assert_string_equal(f->report.sentence, sentence);
    assert_int_equal(f->report.rank, rank);
    assert_int_equal(f->report.exit_code, exit_code);
    assert_int_equal(f->report.signal, number);
    assert_int_equal(f->report.stopped, f->input.stop_ms != 0);
}

static void test_all_is_well(void **state)
{
    fixture *f = *state;
    f->ranks[0] = fate(0, 0, 10);
    f->ranks[1] = fate(0, 0, 11);
    put_words(f, 0, 5, "old words of no weight");
    check(f, -1, 0, 0, "");
}

static void test_killed_rank_is_named(void **state)
{
    fixture *f = *state;
    f->ranks[1] = fate(137, 9, 1000);
    f->ranks[0] = fate(143, 15, 1500); /* mpirun ended it */
    f->input.launcher.end.exit_code = 137;
    check(f, 1, 137, 9, "rank 1 was killed by signal 9 (Killed)");
}

static void test_memory_ran_out(void **state)
{
    fixture *f = *state;
    f->ranks[1] = fate(137, 9, 1000);
    f->ranks[0] = fate(143, 15, 1500);
    f->ranks[1].memory = REIDD_OOM_SURE;
    check(f, 1, 137, 9,
          "rank 1 was killed by the kernel, because memory ran out (signal 9); use fewer ranks on "
          "this node, a smaller batch or MODEL.RECOMPUTE");
    f->ranks[1].memory = REIDD_OOM_LIKELY;
    check(f, 1, 137, 9,
          "rank 1 was killed by signal 9 (Killed), most likely by the kernel: memory has run "
          "out, and it has killed processes of this job for that");
    f->ranks[1].memory = REIDD_OOM_POSSIBLE;
    check(f, 1, 137, 9,
          "rank 1 was killed by signal 9 (Killed), possibly by the kernel: memory has run out "
          "meanwhile, and it has killed processes for that, of this job or others");
}

/* It did not end after its ranks and was killed: nothing of the training is missing. */
static void test_mpirun_hangs_at_the_end(void **state)
{
    fixture *f = *state;
    f->ranks[0] = fate(0, 0, 10);
    f->ranks[1] = fate(0, 0, 11);
    f->input.launcher.hung = true;
    f->input.launcher.end.exit_code = 137;
    f->input.launcher.end.signal = 9;
    f->input.kill_ms = 2000;
    check(f, -1, 0, 0, "");
    f->ranks[1] = fate(3, 0, 11);
    check(f, 1, 3, 0, "rank 1 ended with exit code 3");
}

static void test_words_before_death(void **state)
{
    fixture *f = *state;
    put_words(f, 1, 990, "loss_cls is NaN at iteration 7");
    put_words(f, 0, 1005, "rank 1 has gone");
    f->ranks[0] = fate(1, 0, 1006);
    f->ranks[1] = fate(5, 0, 1010);
    check(f, 1, 5, 0, "loss_cls is NaN at iteration 7");
}

static void test_death_before_the_words_of_others(void **state)
{
    fixture *f = *state;
    f->ranks[0] = fate(1, 0, 1200);
    put_words(f, 0, 1100, "rank 1 did not come to the all-reduce");
    f->ranks[1] = fate(139, 11, 1000);
    check(f, 1, 139, 11, "rank 1 was killed by signal 11 (Segmentation fault)");
    f->ranks[1].end.wall_ms = 1100; /* the same millisecond */
    check(f, 1, 139, 11, "rank 1 was killed by signal 11 (Segmentation fault)");
}

static void put_missing(fixture *f, int rank, int64_t wall_ms, const char *sentence)
{
    char name[64], text[256];
    snprintf(name, sizeof name, "failures/rank-%d.json", rank);
    snprintf(text, sizeof text, "{\"wall_ms\":%lld,\"sentence\":\"%s\",\"of_others\":true}",
             (long long)wall_ms, sentence);
    put(f, name, text);
}

/* Rank 1 is on a node whose clock is 60 s ahead. */
static void test_clocks_of_two_nodes(void **state)
{
    fixture *f = *state;
    static const char *const nodes[] = {"node1", "node2"};
    f->input.nodes = nodes;
    f->ranks[0] = fate(139, 11, 1020);
    f->ranks[1] = fate(139, 11, 1000); /* as this node would have had it */
    f->ranks[1].ahead_ms = 60000;
    f->ranks[1].doubt_ms = 3;
    check(f, 1, 139, 11, "rank 1 on node2 was killed by signal 11 (Segmentation fault)");
    put_words(f, 1, 61030, "later words");
    check(f, 1, 139, 11, "later words");
    f->ranks[1] = (reidd_rank_fate){.ahead_ms = 60000, .doubt_ms = 3};
    check(f, 0, 139, 11, "rank 0 on node1 was killed by signal 11 (Segmentation fault)");
    put_words(f, 1, 61010, "the loss is not finite");
    check(f, 1, 1, 0, "the loss is not finite");
    f->ranks[0] = fate(1, 0, 1020);
    put_words(f, 0, 1005, "no space is left");
    check(f, 0, 1, 0, "no space is left");
}

/* Nobody knows which was first: a rank that misses another is not the cause. */
static void test_clocks_that_say_nothing(void **state)
{
    fixture *f = *state;
    f->ranks[0] = fate(1, 0, 1005);
    put_missing(f, 0, 1000, "the connection to rank 1 was lost");
    f->ranks[1] = fate(137, 9, 9999);
    f->ranks[1].doubt_ms = 86400000;
    check(f, 1, 137, 9, "rank 1 was killed by signal 9 (Killed)");
    f->ranks[1] = fate(3, 0, 9999);
    f->ranks[1].doubt_ms = 86400000;
    check(f, 1, 3, 0, "rank 1 ended with exit code 3");
    f->ranks[1] = fate(143, 15, 1);
    f->ranks[1].doubt_ms = 86400000;
    check(f, 0, 1, 0, "the connection to rank 1 was lost");
}

/* On a busy machine it takes its time until somebody sees that a rank is gone. */
static void test_words_of_others_come_at_once(void **state)
{
    fixture *f = *state;
    f->ranks[0] = fate(1, 0, 1005);
    put_missing(f, 0, 1000, "the connection to rank 1 was lost");
    f->ranks[1] = fate(137, 9, 1100);
    check(f, 1, 137, 9, "rank 1 was killed by signal 9 (Killed)");
    f->ranks[1] = fate(137, 9, 2000); /* by mpirun, a second later */
    check(f, 0, 1, 0, "the connection to rank 1 was lost");
    put_words(f, 0, 1000, "no space is left");
    f->ranks[1] = fate(137, 9, 1100);
    f->ranks[1].end.late_ms = 50;
    check(f, 0, 1, 0, "no space is left");
    f->ranks[1].end.late_ms = 250;
    check(f, 1, 137, 9, "rank 1 was killed by signal 9 (Killed)");
}

/* Its wrapper was killed with it, and this was noticed when mpirun was gone, too. */
static void test_vanished_rank_that_others_miss(void **state)
{
    fixture *f = *state;
    f->ranks[0] = fate(1, 0, 1005);
    put_missing(f, 0, 1000, "the connection to rank 1 was lost");
    f->ranks[1] = (reidd_rank_fate){.ended = true, .end.wall_ms = 3000};
    f->input.launcher.end.exit_code = 137;
    check(f, 0, 1, 0, "the connection to rank 1 was lost");
    put(f, "logs/launcher.log", killed);
    check(f, 1, 137, 9, "rank 1 was killed by signal 9 (Killed)");
    put_words(f, 0, 1000, "no space is left");
    check(f, 0, 1, 0, "no space is left");
}

static void test_agent_that_has_gone(void **state)
{
    fixture *f = *state;
    f->ranks[0] = fate(143, 0, 2000);
    f->ranks[0].asked = true;
    f->ranks[1] = fate(137, 9, 2000); /* by mpirun, which waits a second */
    f->ranks[1].end.late_ms = 250;
    f->input.left_node = "node2";
    f->input.left_ms = 1000;
    f->input.launcher.end.exit_code = 1;
    check(f, -1, 1, 0, "mpirun's agent for node2 was killed");
    f->ranks[1] = fate(139, 11, 2000); /* by itself */
    check(f, 1, 139, 11, "rank 1 was killed by signal 11 (Segmentation fault)");
}

/* What a clock that is off by less than the doubt lets seem to be before the stop. */
static void test_stop_of_another_node(void **state)
{
    fixture *f = *state;
    f->input.stop_ms = 1000;
    f->ranks[0] = fate(143, 0, 1010);
    f->ranks[1] = fate(143, 0, 995);
    f->ranks[1].doubt_ms = 20;
    put_words(f, 1, 994, "stopped by SIGTERM");
    check(f, -1, 143, 0, "stopped on request");
}

static void test_last_line_of_a_silent_failure(void **state)
{
    fixture *f = *state;
    put(f, "logs/rank-0.err", "first\n  reid-train: no\ttables \x1b[0m\n\n \n");
    f->ranks[0] = fate(2, 0, 1000);
    check(f, 0, 2, 0, "rank 0 ended with exit code 2: reid-train: no tables  [0m");
    put(f, "logs/rank-0.err", "");
    check(f, 0, 2, 0, "rank 0 ended with exit code 2");
}

static void test_long_last_line_is_cut(void **state)
{
    fixture *f = *state;
    char line[6000];
    memset(line, 'x', sizeof line - 1);
    line[sizeof line - 1] = '\0';
    put(f, "logs/rank-0.err", line);
    f->ranks[0] = fate(2, 0, 1000);
    reidd_cause_find(&f->input, &f->report);
    assert_true(strlen(f->report.sentence) < 500);
}

static void test_stop(void **state)
{
    fixture *f = *state;
    f->input.stop_ms = 1000;
    f->ranks[0] = fate(143, 0, 1500);
    f->ranks[1] = fate(143, 0, 1501);
    put_words(f, 0, 1400, "stopped by SIGTERM");
    check(f, -1, 143, 0, "stopped on request");
    f->input.kill_ms = 3000;
    f->input.grace_over = true;
    f->ranks[1] = fate(137, 9, 3001);
    check(f, -1, 143, 0,
          "stopped on request: killed, because the ranks did not end within the grace period");
    f->ranks[1] = fate(139, 11, 900); /* it had failed before */
    check(f, 1, 139, 11, "rank 1 was killed by signal 11 (Segmentation fault)");
}

static void test_ended_well_although_asked_to_stop(void **state)
{
    fixture *f = *state;
    f->input.stop_ms = 1000;
    f->ranks[0] = fate(0, 0, 1500);
    f->ranks[1] = fate(0, 0, 1501);
    check(f, -1, 0, 0, "");
}

static void test_own_finding(void **state)
{
    fixture *f = *state;
    f->input.own = "mpirun has started only 1 of 2 ranks within 60 s";
    f->input.kill_ms = 1000;
    f->ranks[0] = fate(137, 9, 1001);
    check(f, -1, 1, 0, "mpirun has started only 1 of 2 ranks within 60 s");
}

static void test_mpirun_itself(void **state)
{
    fixture *f = *state;
    f->input.launcher.end = (reidd_rank_exit){137, 9, 1000};
    check(f, -1, 137, 9, "mpirun was killed by signal 9 (Killed)");
    f->input.launcher.end = (reidd_rank_exit){1, 0, 1000};
    put(f, "logs/launcher.log", "There are not enough slots available in the system.\n");
    check(f, -1, 1, 0,
          "mpirun ended with exit code 1: There are not enough slots available in the system.");
    put(f, "logs/launcher.log", killed);
    check(f, 1, 137, 9, "rank 1 was killed by signal 9 (Killed)");
}

static void test_deserter(void **state)
{
    fixture *f = *state;
    f->ranks[1] = fate(0, 0, 1000);
    f->ranks[0] = fate(143, 15, 1500);
    put(f, "logs/launcher.log",
        "mpirun has exited due to process rank 1 with PID 0 on\n"
        "node vm exiting improperly. There are three reasons this could occur:\n");
    check(f, 1, 1, 0, "rank 1 ended before the others, without finalizing MPI");
    put(f, "logs/launcher.log", "");
    check(f, 0, 143, 15, "rank 0 was killed by signal 15 (Terminated)");
}

static void test_vanished_processes(void **state)
{
    fixture *f = *state;
    f->ranks[0] = (reidd_rank_fate){.ended = true, .end.wall_ms = 2000};
    f->ranks[1] = (reidd_rank_fate){.ended = true, .end.wall_ms = 1000};
    f->input.launcher.end.exit_code = 1;
    check(f, 1, 1, 0, "the processes of rank 1 were killed");
    f->ranks[0].ended = f->ranks[1].ended = false;
    f->input.launcher.end.exit_code = 0;
    check(f, -1, 1, 0, "the ranks ended without saying how");
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages_of_mpirun),
        CASE(test_all_is_well),
        CASE(test_killed_rank_is_named),
        CASE(test_memory_ran_out),
        CASE(test_mpirun_hangs_at_the_end),
        CASE(test_words_before_death),
        CASE(test_death_before_the_words_of_others),
        CASE(test_clocks_of_two_nodes),
        CASE(test_clocks_that_say_nothing),
        CASE(test_words_of_others_come_at_once),
        CASE(test_vanished_rank_that_others_miss),
        CASE(test_agent_that_has_gone),
        CASE(test_stop_of_another_node),
        CASE(test_last_line_of_a_silent_failure),
        CASE(test_long_last_line_is_cut),
        CASE(test_stop),
        CASE(test_ended_well_although_asked_to_stop),
        CASE(test_own_finding),
        CASE(test_mpirun_itself),
        CASE(test_deserter),
        CASE(test_vanished_processes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
