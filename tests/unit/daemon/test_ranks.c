/* Who is slow, from what the ranks tell. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "daemon/ranks.h"
#include "harness/harness.h"

typedef struct split {
    double data_s, compute_s, wait_s; /* of an iteration */
} split;

typedef struct fixture {
    reidd_ranks ranks;
    reidd_rank_sums sums[4];
    int64_t now_ms;
} fixture;

/* Ten iterations of every rank; whether something has changed. */
static bool pass(fixture *f, const split *splits, int64_t ms)
{
    bool changed = false;
    f->now_ms += ms;
    for (int i = f->ranks.count - 1; i >= 0; i--) { /* rank 0 is the last: then it is judged */
        f->sums[i].steps += 10;
        f->sums[i].data_s += 10 * splits[i].data_s;
        f->sums[i].compute_s += 10 * splits[i].compute_s;
        f->sums[i].wait_s += 10 * splits[i].wait_s;
        changed =
            reidd_ranks_take(&f->ranks, i, f->sums[i].steps, &f->sums[i], f->now_ms) || changed;
    }
    return changed;
}

static const split even[] = {{.01, .08, .01}, {.01, .08, .01}, {.01, .07, .02}, {.01, .08, .01}};
static const split computes[] = {
    {.01, .05, .05}, {.01, .05, .05}, {.01, .095, .005}, {.02, .05, .04}};
static const split reads[] = {{.01, .05, .05}, {.10, .005, .005}};

static void test_computing(void **state)
{
    fixture f = {.now_ms = 1};
    reidd_ranks_init(&f.ranks, 4);
    reidd_ranks_hello(&f.ranks, 2, 77, "node2");
    assert_int_equal(f.ranks.items[2].pid, 77);
    assert_false(pass(&f, even, 1)); /* the sums may begin anywhere */
    assert_false(pass(&f, even, 2500));
    assert_float_equal(f.ranks.items[2].compute_s, .07, 1e-9);
    assert_float_equal(f.ranks.items[2].wait_s, .02, 1e-9);
    assert_false(pass(&f, even, 2500));
    assert_null(f.ranks.slow);
    assert_false(pass(&f, computes, 2500)); /* once or twice may be chance */
    assert_false(pass(&f, computes, 2500));
    assert_null(f.ranks.slow);
    assert_true(pass(&f, computes, 2500));
    assert_string_equal(f.ranks.slow,
                        "rank 2 on node2 is slow: in each iteration it computes for 95 "
                        "ms, the others for 50 ms, and they wait for it 45 ms longer "
                        "than it does");
    assert_false(pass(&f, computes, 2500));
    assert_false(pass(&f, even, 2500));
    assert_false(pass(&f, even, 2500));
    assert_non_null(f.ranks.slow);
    assert_true(pass(&f, even, 2500));
    assert_null(f.ranks.slow);
    reidd_ranks_fini(&f.ranks);
    (void)state;
}

static void test_data(void **state)
{
    fixture f = {.now_ms = 1};
    reidd_ranks_init(&f.ranks, 2);
    pass(&f, reads, 1);
    pass(&f, reads, 2500);
    pass(&f, reads, 2500);
    assert_true(pass(&f, reads, 2500));
    assert_string_equal(f.ranks.slow, "rank 1 is slow: in each iteration it waits for its data for "
                                      "100 ms, the other one for 10 ms, and that one waits for it "
                                      "45 ms longer than it does");
    reidd_ranks_init(&f.ranks, 2); /* the next attempt */
    assert_null(f.ranks.slow);
    assert_int_equal(f.ranks.items[1].pid, 0);
    reidd_ranks_fini(&f.ranks);
    (void)state;
}

/* As recorded on two busy cores where each rank was stopped for three quarters of the time, in
 * turns of 3 s, and then one of them alone. */
static void test_turns(void **state)
{
    static const split slow0[] = {{.001, .098, .01}, {.001, .068, .107}};
    static const split slow1[] = {{.001, .160, .300}, {.001, .470, .013}};
    fixture f = {.now_ms = 1};
    reidd_ranks_init(&f.ranks, 2);
    pass(&f, slow0, 1);
    for (int turn = 0; turn < 4; turn++) {
        assert_false(pass(&f, slow0, 2100));
        assert_false(pass(&f, slow0, 2100)); /* some turns have two looks */
        assert_false(pass(&f, slow1, 2100));
    }
    assert_null(f.ranks.slow);
    assert_false(pass(&f, slow1, 2100));
    assert_true(pass(&f, slow1, 2100));
    assert_non_null(
        strstr(f.ranks.slow, "rank 1 is slow: in each iteration it computes for 470 ms"));
    reidd_ranks_fini(&f.ranks);
    (void)state;
}

/* A process that begins anew has sums that begin anew; a short look says nothing. */
static void test_windows(void **state)
{
    fixture f = {.now_ms = 1};
    reidd_ranks_init(&f.ranks, 2);
    pass(&f, reads, 1);
    pass(&f, reads, 500);
    assert_true(f.ranks.items[1].data_s == 0);
    memset(f.sums, 0, sizeof f.sums);
    pass(&f, reads, 2500);
    assert_true(f.ranks.items[1].data_s == 0);
    pass(&f, reads, 2500);
    assert_float_equal(f.ranks.items[1].data_s, .1, 1e-9);
    reidd_ranks_fini(&f.ranks);
    reidd_ranks_fini(&f.ranks);
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_computing),
        cmocka_unit_test(test_data),
        cmocka_unit_test(test_turns),
        cmocka_unit_test(test_windows),
    };
    return cmocka_run_group_tests_name("ranks", tests, NULL, NULL);
}
