#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "events/history.h"
#include "harness/harness.h"

static void add_all(reid_history *history, const double *values, size_t count)
{
    for (size_t i = 0; i < count; i++)
        assert_int_equal(reid_history_add(history, values[i], (int64_t)(10 + i), NULL), REID_OK);
}

/* Values of numpy.median, numpy.mean and fast-reid's running mean. */
static void windows_count_samples(void **state)
{
    const double values[] = {0.5, 2.0, 1.25, 8.0, 3.5};
    reid_history history = {0};
    add_all(&history, values, 5);
    assert_true(reid_history_median(&history, 5) == 2.0);
    assert_true(reid_history_median(&history, 1000) == 2.0);
    assert_true(reid_history_median(&history, 4) == 2.75);
    assert_true(reid_history_median(&history, 1) == 3.5);
    assert_true(reid_history_avg(&history, 3) == 4.25);
    reid_assert_close(reid_history_avg(&history, 20), 3.05, 1e-15, 0);
    reid_assert_close(reid_history_global_avg(&history), 3.05, 1e-15, 0);
    assert_true(reid_history_latest(&history) == 3.5);
    assert_int_equal(reid_history_at(&history, 0).iter, 10);
    assert_int_equal(reid_history_at(&history, 4).iter, 14);
    reid_history_fini(&history);
}

static void median_follows_numpy_for_odd_values(void **state)
{
    reid_history history = {0};
    add_all(&history, (const double[]){1.0, NAN, 2.0}, 3);
    assert_true(isnan(reid_history_median(&history, 3)));
    assert_true(reid_history_median(&history, 1) == 2.0);
    add_all(&history, (const double[]){INFINITY, -INFINITY, 5.0}, 3);
    assert_true(reid_history_median(&history, 3) == 5.0);
    assert_true(isnan(reid_history_global_avg(&history)));
    reid_history_fini(&history);
}

/* A window beyond the stack's buffer, unsorted input. */
static void median_of_a_long_window(void **state)
{
    reid_history history = {0};
    for (int i = 0; i < 1001; i++)
        reid_history_add(&history, (i * 7919) % 1001, i, NULL);
    assert_true(reid_history_median(&history, 1001) == 500.0);
    assert_true(reid_history_median(&history, 5000) == 500.0);
    reid_history_fini(&history);
}

/* The oldest go first; the running mean still counts them. */
static void keeps_the_last_million(void **state)
{
    reid_history history = {0};
    int64_t total = REID_HISTORY_MAX + 1500;
    for (int64_t i = 0; i < total; i++)
        assert_int_equal(reid_history_add(&history, (double)i, i, NULL), REID_OK);
    assert_int_equal(history.count, REID_HISTORY_MAX);
    assert_int_equal(history.total, total);
    assert_int_equal(reid_history_at(&history, 0).iter, 1500);
    assert_int_equal(reid_history_at(&history, REID_HISTORY_MAX - 1).iter, total - 1);
    assert_true(reid_history_median(&history, 3) == (double)(total - 2));
    reid_assert_close(reid_history_global_avg(&history), (double)(total - 1) / 2, 1e-9, 0);
    reid_history_fini(&history);
}

static void memory_grows_as_it_fills(void **state)
{
    reid_history history = {0};
    for (int i = 0; i < 100; i++)
        reid_history_add(&history, i, i, NULL);
    assert_true(history.capacity < 1000);
    reid_history_fini(&history);
    reid_history_fini(&history);
    reid_history_fini(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(windows_count_samples),
        cmocka_unit_test(median_follows_numpy_for_odd_values),
        cmocka_unit_test(median_of_a_long_window),
        cmocka_unit_test(keeps_the_last_million),
        cmocka_unit_test(memory_grows_as_it_fills),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
