#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/flight.h"
#include "base/str.h"
#include "harness/harness.h"

static char *folder;

static int setup(void **state)
{
    folder = reid_test_dir_new();
    return 0;
}

static int teardown(void **state)
{
    reid_test_dir_free(folder);
    return 0;
}

static reid_flight *open_rank(const char *channel, int rank, int size)
{
    reid_flight *flight = NULL;
    reid_error err = {0};
    assert_int_equal(reid_flight_open(folder, channel, rank, size, &flight, &err), REID_OK);
    return flight;
}

static void finish(reid_flight *flight, const char *what)
{
    uint64_t call = reid_flight_queue(flight, what, "training", -1, 0);
    reid_flight_start(flight, call);
    reid_flight_end(flight, call);
}

static void assert_begins(const char *text, const char *start)
{
    assert_non_null(text);
    if (strncmp(text, start, strlen(start)) != 0)
        fail_msg("'%s' does not begin with '%s'", text, start);
}

static void assert_holds(const char *text, const char *part)
{
    assert_non_null(text);
    if (!strstr(text, part))
        fail_msg("'%s' does not hold '%s'", text, part);
}

static void test_numbers_and_times(void **state)
{
    reid_flight *flight = open_rank("mpi", 1, 4);
    finish(flight, "barrier");
    uint64_t call = reid_flight_queue(flight, "all-reduce", "training", 3, 26214400);
    reid_flight_start(flight, call);
    REID_AUTOFREE char *path = reid_path_join(folder, "rank-1.mpi");
    reid_flight_state seen;
    reid_flight_call one;
    assert_int_equal(reid_flight_read(path, &seen, NULL), REID_OK);
    assert_int_equal(seen.rank, 1);
    assert_int_equal(seen.size, 4);
    assert_int_equal(seen.pid, getpid());
    assert_string_equal(seen.channel, "mpi");
    assert_true(seen.process != 'X');
    assert_int_equal(seen.queued, 2);
    assert_int_equal(seen.started, 2);
    assert_int_equal(seen.ended, 1);
    assert_int_equal(reid_flight_read_call(path, 2, &one, NULL), REID_OK);
    assert_string_equal(one.what, "all-reduce");
    assert_string_equal(one.phase, "training");
    assert_int_equal(one.bucket, 3);
    assert_int_equal(one.bytes, 26214400);
    assert_true(one.queued_ns > 0 && one.started_ns >= one.queued_ns);
    assert_int_equal(one.ended_ns, 0);
    assert_int_equal(reid_flight_read_call(path, 3, &one, NULL), REID_ERR_NOT_FOUND);
    reid_flight_close(flight, true);
    assert_false(reid_path_exists(path));
}

static void test_ring_forgets_the_oldest(void **state)
{
    reid_flight *flight = open_rank("mpi", 0, 1);
    for (int i = 0; i < 1000; i++)
        finish(flight, "all-gather");
    REID_AUTOFREE char *path = reid_path_join(folder, "rank-0.mpi");
    reid_flight_call one;
    assert_int_equal(reid_flight_read_call(path, 1000, &one, NULL), REID_OK);
    assert_int_equal(reid_flight_read_call(path, 800, &one, NULL), REID_OK);
    assert_int_equal(reid_flight_read_call(path, 1, &one, NULL), REID_ERR_NOT_FOUND);
    reid_flight_close(flight, false);
    assert_true(reid_path_exists(path));
}

static void test_no_recorder_is_fine(void **state)
{
    assert_int_equal(reid_flight_queue(NULL, "barrier", "start", -1, 0), 0);
    reid_flight_start(NULL, 1);
    reid_flight_end(NULL, 1);
    reid_flight_close(NULL, true);
    assert_null(reid_flight_explain("/nonexistent", 0, NULL));
}

static void test_other_files_are_refused(void **state)
{
    REID_AUTOFREE char *path = reid_path_join(folder, "rank-0.mpi");
    reid_flight_state seen;
    assert_int_equal(reid_flight_read(path, &seen, NULL), REID_ERR_NOT_FOUND);
    assert_int_equal(reid_file_write_atomic(path, "reidflt1", 8, NULL), REID_OK);
    assert_int_equal(reid_flight_read(path, &seen, NULL), REID_ERR_CORRUPT);
    assert_null(reid_flight_explain(folder, 0, NULL));
}

static void test_nobody_waits(void **state)
{
    reid_flight *a = open_rank("mpi", 0, 2), *b = open_rank("mpi", 1, 2);
    finish(a, "barrier");
    finish(b, "barrier");
    assert_null(reid_flight_explain(folder, 0, NULL));
    reid_flight_queue(a, "barrier", "training", -1, 0);
    assert_null(reid_flight_explain(folder, 30, NULL)); /* not for long */
    reid_flight_close(a, false);
    reid_flight_close(b, false);
}

static void test_who_has_not_come(void **state)
{
    reid_flight *flight[4];
    for (int r = 0; r < 4; r++) {
        flight[r] = open_rank("nccl", r, 4);
        finish(flight[r], "broadcast");
    }
    for (int r = 0; r < 4; r++)
        if (r != 2)
            reid_flight_queue(flight[r], "all-reduce", "training", 3, 25 << 20);
    int rank = -2;
    REID_AUTOFREE char *text = reid_flight_explain(folder, 0, &rank);
    assert_begins(text, "rank 2 has not come to all-reduce 2 (bucket 3, 25.0 MiB, training), for "
                        "which ranks 0, 1 and 3 waited 0 s; its last call was broadcast 1, which "
                        "ended 0 s ago");
    assert_int_equal(rank, 2);
    for (int r = 0; r < 4; r++)
        reid_flight_close(flight[r], false);
}

static void test_who_has_not_begun_or_finished(void **state)
{
    reid_flight *flight[3];
    for (int r = 0; r < 3; r++) {
        flight[r] = open_rank("nccl", r, 3);
        reid_flight_queue(flight[r], "all-reduce", "training", 0, 1000);
    }
    int rank = -2;
    char *text = reid_flight_explain(folder, 0, &rank);
    assert_begins(text, "all ranks are in all-reduce 1 (bucket 0, 1000 bytes, training) for 0 s");
    assert_int_equal(rank, -1);
    free(text);
    reid_flight_start(flight[0], 1);
    reid_flight_start(flight[2], 1);
    text = reid_flight_explain(folder, 0, &rank);
    assert_begins(text, "rank 1 has come to, but not begun, all-reduce 1");
    assert_int_equal(rank, 1);
    free(text);
    reid_flight_start(flight[1], 1);
    reid_flight_end(flight[1], 1);
    text = reid_flight_explain(folder, 0, &rank);
    assert_begins(text, "ranks 0 and 2 have not finished all-reduce 1");
    free(text);
    for (int r = 0; r < 3; r++)
        reid_flight_close(flight[r], false);
}

/* The file outlives its process, and tells that it is gone; ranks without a file are counted. */
static void test_dead_rank(void **state)
{
    reid_flight *a = open_rank("mpi", 0, 4);
    pid_t child = fork();
    if (child == 0) {
        open_rank("mpi", 1, 4);
        _exit(0);
    }
    assert_int_equal(waitpid(child, NULL, 0), child);
    reid_flight_queue(a, "all-gather", "training", -1, 24);
    REID_AUTOFREE char *text = reid_flight_explain(folder, 0, NULL);
    REID_AUTOFREE char *gone = reid_xasprintf("process %ld of rank 1 is gone", (long)child);
    assert_begins(text, "rank 1 has not come to all-gather 1 (24 bytes, training), for which rank "
                        "0 waited 0 s; rank 1 has made no call so far");
    assert_holds(text, gone);
    assert_holds(text, "of 2 other ranks nothing is known here");
    reid_flight_close(a, false);
}

static void test_stopped_rank(void **state)
{
    reid_flight *a = open_rank("mpi", 0, 2);
    pid_t child = fork();
    if (child == 0) {
        open_rank("mpi", 1, 2);
        raise(SIGSTOP);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, WUNTRACED), child);
    reid_flight_queue(a, "all-gather", "training", -1, 24);
    REID_AUTOFREE char *text = reid_flight_explain(folder, 0, NULL);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    REID_AUTOFREE char *stopped = reid_xasprintf("process %ld of rank 1 is stopped", (long)child);
    assert_holds(text, stopped);
    reid_flight_close(a, false);
}

/* All have come, and one of them was stopped then. */
static void test_stopped_within_a_call(void **state)
{
    reid_flight *a = open_rank("nccl", 0, 2);
    pid_t child = fork();
    if (child == 0) {
        reid_flight_queue(open_rank("nccl", 1, 2), "all-reduce", "training", 0, 1000);
        raise(SIGSTOP);
        _exit(0);
    }
    int status = 0, rank = -1;
    assert_int_equal(waitpid(child, &status, WUNTRACED), child);
    reid_flight_queue(a, "all-reduce", "training", 0, 1000);
    REID_AUTOFREE char *text = reid_flight_explain(folder, 0, &rank);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    REID_AUTOFREE char *stopped = reid_xasprintf("process %ld of rank 1 is stopped", (long)child);
    assert_begins(text, "all ranks are in all-reduce 1");
    assert_holds(text, stopped);
    assert_int_equal(rank, 1);
    reid_flight_close(a, false);
}

/* A rank that hangs outside is missing on both channels; the clearer finding is told. */
static void test_clearer_channel(void **state)
{
    reid_flight *host[2], *device[2];
    for (int r = 0; r < 2; r++) {
        host[r] = open_rank("mpi", r, 2);
        device[r] = open_rank("nccl", r, 2);
        reid_flight_queue(device[r], "all-reduce", "training", 0, 1000);
    }
    reid_flight_queue(host[0], "all-gather", "training", -1, 24);
    int rank = -1;
    REID_AUTOFREE char *text = reid_flight_explain(folder, 0, &rank);
    assert_begins(text, "rank 1 has not come to all-gather 1");
    assert_int_equal(rank, 1);
    for (int r = 0; r < 2; r++) {
        reid_flight_close(host[r], false);
        reid_flight_close(device[r], false);
    }
}

/* What came from another machine: its time began long ago, and its process numbers mean nothing. */
static void test_copies(void **state)
{
    reid_flight *a = open_rank("mpi", 0, 2), *b = open_rank("mpi", 1, 2);
    finish(a, "all-gather");
    finish(b, "all-gather");
    reid_flight_queue(a, "all-reduce", "training", 0, 1000);
    REID_AUTOFREE char *path = reid_xasprintf("%s/rank-1.mpi", folder);
    char *data = NULL, *again = NULL;
    size_t size = 0, same = 0;
    reid_error err = {0};
    assert_int_equal(reid_flight_copy(path, &data, &size, &err), REID_OK);
    reid_flight_close(b, false);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(reid_file_write_atomic(path, data, size, &err), REID_OK);
    int rank = -1;
    REID_AUTOFREE char *text = reid_flight_explain(folder, 0, &rank);
    assert_begins(text, "rank 1 has not come to all-reduce 2");
    assert_holds(text, "its last call was all-gather 1, which ended 0 s ago");
    assert_null(strstr(text, "is gone"));
    assert_int_equal(rank, 1);
    reid_flight_state known;
    assert_int_equal(reid_flight_read(path, &known, &err), REID_OK);
    assert_int_not_equal(known.process, 'X');
    assert_int_equal(reid_flight_copy(path, &again, &same, &err), REID_OK); /* of a copy */
    assert_int_equal(same, size);
    memset(data + size - 8, 0xff, 8); /* nobody knows what another machine sends */
    assert_int_equal(reid_file_write_atomic(path, data, size, &err), REID_OK);
    assert_int_equal(reid_flight_read(path, &known, &err), REID_OK);
    assert_int_equal(known.process, 'X');
    assert_int_equal(reid_file_write_atomic(path, data, size - 1, &err), REID_OK);
    assert_int_equal(reid_flight_read(path, &known, &err), REID_ERR_CORRUPT);
    free(data);
    free(again);
    reid_flight_close(a, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_copies, setup, teardown),
        cmocka_unit_test_setup_teardown(test_numbers_and_times, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ring_forgets_the_oldest, setup, teardown),
        cmocka_unit_test(test_no_recorder_is_fine),
        cmocka_unit_test_setup_teardown(test_other_files_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nobody_waits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_who_has_not_come, setup, teardown),
        cmocka_unit_test_setup_teardown(test_who_has_not_begun_or_finished, setup, teardown),
        cmocka_unit_test_setup_teardown(test_dead_rank, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stopped_rank, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stopped_within_a_call, setup, teardown),
        cmocka_unit_test_setup_teardown(test_clearer_channel, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
