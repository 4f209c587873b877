#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "daemon/cluster/clock.h"

#define S INT64_C(1000000)
#define WALL (INT64_C(1790000000) * S)

/* The other's clock is `ahead` of this one's; the way there takes `there`, the way back `back`. */
static bool answer(reidd_clock *clock, int64_t now, int64_t ahead, int64_t there, int64_t held,
                   int64_t back)
{
    int64_t sent = now - there - held - back;
    return reidd_clock_take(clock, sent, held, WALL + now - back + ahead, now, WALL + now);
}

static void test_the_truth_is_within_the_doubt(void **state)
{
    (void)state;
    srand(7);
    for (int i = 0; i < 1000; i++) {
        int64_t ahead = (rand() % 20001 - 10000) * (S / 100);
        int64_t there = rand() % (S / 5), back = rand() % (S / 5), held = rand() % S;
        reidd_clock clock = {0};
        assert_true(answer(&clock, 100 * S, ahead, there, held, back));
        assert_true(clock.known);
        assert_true(llabs(clock.ahead_us - ahead) <= clock.doubt_us);
        assert_true(clock.doubt_us <= (there + back) / 2 + 1001);
    }
}

static void test_the_quickest_way_counts(void **state)
{
    (void)state;
    reidd_clock clock = {0};
    assert_true(answer(&clock, 10 * S, 5 * S, 90000, S, 10000));
    assert_int_equal(clock.ahead_us, 5 * S + 40000);
    assert_true(answer(&clock, 11 * S, 5 * S, 1000, S, 1000));
    assert_int_equal(clock.ahead_us, 5 * S);
    assert_false(answer(&clock, 12 * S, 5 * S, 90000, S, 10000));
    assert_int_equal(clock.ahead_us, 5 * S);
    /* … until it is so old that clocks may have drifted apart by more. */
    assert_true(answer(&clock, 200 * S, 5 * S, 50000, S, 50000));
    assert_int_equal(clock.at_us, 200 * S);
}

static void test_a_clock_that_was_set(void **state)
{
    (void)state;
    reidd_clock clock = {0};
    assert_true(answer(&clock, 10 * S, 0, 1000, S, 1000));
    assert_true(answer(&clock, 11 * S, -3600 * S, 90000, S, 10000));
    assert_int_equal(clock.ahead_us, -3600 * S + 40000);
    assert_int_equal(reidd_clock_doubt_us(&clock, 11 * S), 51000);
    assert_int_equal(reidd_clock_doubt_us(&clock, 21 * S), 56000);
}

static void test_what_is_no_answer(void **state)
{
    (void)state;
    reidd_clock clock = {0};
    assert_false(reidd_clock_take(&clock, 0, 0, WALL, 10 * S, WALL)); /* an older member */
    assert_false(reidd_clock_take(&clock, 11 * S, 0, WALL, 10 * S, WALL));
    assert_false(reidd_clock_take(&clock, 9 * S, 2 * S, WALL, 10 * S, WALL));
    assert_false(reidd_clock_take(&clock, 9 * S, -1, WALL, 10 * S, WALL));
    assert_false(reidd_clock_take(&clock, 9 * S, 0, 0, 10 * S, WALL));
    assert_false(reidd_clock_take(&clock, INT64_MIN, 0, WALL, 10 * S, WALL));
    assert_false(clock.known);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_truth_is_within_the_doubt),
        cmocka_unit_test(test_the_quickest_way_counts),
        cmocka_unit_test(test_a_clock_that_was_set),
        cmocka_unit_test(test_what_is_no_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
