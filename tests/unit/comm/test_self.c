/* A world of one rank, and the arithmetic of the all-reduce. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "comm/comm.h"
#include "comm/comm_impl.h"
#include "comm/sum.h"
#include "harness/harness.h"

static void test_every_call_on_one_rank(void **state)
{
    reid_error err = {0};
    reid_comm *comm = reid_comm_self_new();
    assert_int_equal(comm->rank, 0);
    assert_int_equal(comm->size, 1);
    assert_int_equal(comm->local_rank, 0);
    assert_int_equal(comm->local_size, 1);
    assert_string_equal(reid_comm_library(comm), "none");
    reid_comm_set_phase(comm, "training", 1);
    float data[3] = {1, 2, 3};
    reid_assert_ok(reid_comm_barrier(comm, &err), &err);
    reid_assert_ok(reid_comm_broadcast(comm, data, sizeof data, 0, &err), &err);
    reid_assert_ok(reid_comm_allreduce_sum(comm, data, 3, &err), &err);
    assert_true(data[0] == 1 && data[1] == 2 && data[2] == 3);
    float all[3] = {0};
    reid_assert_ok(reid_comm_allgather(comm, data, sizeof data, all, &err), &err);
    assert_memory_equal(all, data, sizeof data);
    char *gathered = NULL;
    size_t offsets[2] = {9, 9};
    reid_assert_ok(reid_comm_gather_varied(comm, "abc", 3, 0, (void **)&gathered, offsets, &err),
                   &err);
    assert_memory_equal(gathered, "abc", 3);
    assert_int_equal(offsets[0], 0);
    assert_int_equal(offsets[1], 3);
    free(gathered);
    reid_assert_ok(reid_comm_gather_varied(comm, NULL, 0, 0, (void **)&gathered, offsets, &err),
                   &err);
    assert_int_equal(offsets[1], 0);
    free(gathered);
    reid_assert_ok(reid_comm_check_same(comm, "the plan", 1, &err), &err);
    reid_comm_part part = {data, sizeof data};
    reid_assert_ok(reid_comm_broadcast_parts(comm, &part, 1, 0, &err), &err);
    reid_comm_work work = {0};
    reid_comm_allreduce_start(comm, data, 3, 2.0f, &work);
    reid_assert_ok(reid_comm_work_wait(comm, &work, &err), &err);
    assert_true(data[0] == 0.5f && data[1] == 1.0f && data[2] == 1.5f);
    reid_comm_free(comm);
    reid_comm_free(NULL);
}

static void test_abort_ends_the_process(void **state)
{
    int status;
    pid_t pid = fork();
    if (pid == 0)
        reid_comm_abort(reid_comm_self_new(), 42);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 42);
}

/* Against the definition, over sizes around the block of the loop. */
static void test_sum_has_the_order_of_the_ranks(void **state)
{
    enum { RANKS = 5, MOST = 5000 };
    static const size_t counts[] = {0, 1, 1023, 1024, 1025, MOST};
    static const float divisors[] = {1.0f, 2.0f, 3.0f, 5.0f, 8.0f};
    static float x[RANKS][MOST];
    const float *inputs[RANKS];
    for (int r = 0; r < RANKS; r++) {
        inputs[r] = x[r];
        for (size_t i = 0; i < MOST; i++)
            x[r][i] = ldexpf((float)((i * 7919 + (size_t)r * 104729) % 65521) - 30000.0f,
                             (int)((i + (size_t)r) % 40) - 20);
    }
    for (size_t k = 0; k < sizeof counts / sizeof *counts; k++) {
        for (size_t d = 0; d < sizeof divisors / sizeof *divisors; d++) {
            static float sum[MOST];
            int ranks = (int)(d % RANKS) + 1;
            reid_comm_sum_ranks(inputs, ranks, counts[k], divisors[d], sum);
            for (size_t i = 0; i < counts[k]; i++) {
                volatile float expected = x[0][i];
                for (int r = 1; r < ranks; r++)
                    expected = expected + x[r][i];
                expected = expected / divisors[d];
                assert_true(expected == sum[i]);
            }
        }
    }
}

static void test_sum_in_place(void **state)
{
    float a[3] = {1, 2, 3}, b[3] = {10, 20, 30};
    const float *inputs[] = {a, b};
    reid_comm_sum_ranks(inputs, 2, 3, 1.0f, b);
    assert_true(b[0] == 11 && b[1] == 22 && b[2] == 33);
}

static void test_list_of_ranks(void **state)
{
    char text[128];
    bool named[40] = {false};
    named[3] = true;
    reid_comm_list_ranks(text, sizeof text, named, 40);
    assert_string_equal(text, "rank 3");
    named[1] = true;
    reid_comm_list_ranks(text, sizeof text, named, 40);
    assert_string_equal(text, "ranks 1 and 3");
    named[39] = true;
    reid_comm_list_ranks(text, sizeof text, named, 40);
    assert_string_equal(text, "ranks 1, 3 and 39");
    memset(named, true, sizeof named);
    reid_comm_list_ranks(text, sizeof text, named, 40);
    assert_string_equal(text,
                        "ranks 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 and 24 more");
    char small[8];
    reid_comm_list_ranks(small, sizeof small, named, 40);
    assert_string_equal(small, "ranks 0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_call_on_one_rank),
        cmocka_unit_test(test_abort_ends_the_process),
        cmocka_unit_test(test_sum_has_the_order_of_the_ranks),
        cmocka_unit_test(test_sum_in_place),
        cmocka_unit_test(test_list_of_ranks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
