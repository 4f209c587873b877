#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "harness/harness.h"
#include "modeling/builder.h"

/* The series against the C library in double, on the words of the documented stream. */
static void deviates_are_those_of_box_and_muller(void **state)
{
    enum { COUNT = 20000 };
    float *values = reid_xcalloc(COUNT, sizeof *values);
    reid_init_normal(12345, 7, 1.0, values, COUNT);
    reid_rng rng = reid_rng_stream(12345, REID_RNG_INIT, 7, 0);
    for (size_t i = 0; i < COUNT; i += 2) {
        double u = ((double)(reid_rng_u32(&rng) >> 1) + 1) / 2147483648.0;
        double v = (double)(reid_rng_u32(&rng) >> 8) / 16777216.0;
        double radius = sqrt(-2 * log(u)), angle = 2 * 3.14159265358979323846 * v;
        reid_assert_close(values[i], radius * cos(angle), 2e-6, 4e-6);
        reid_assert_close(values[i + 1], radius * sin(angle), 2e-6, 4e-6);
    }
    free(values);
}

static void deviates_are_normal(void **state)
{
    enum { COUNT = 1000000 };
    float *values = reid_xcalloc(COUNT, sizeof *values);
    reid_init_normal(1, 0, 0.5, values, COUNT);
    double sum = 0, squares = 0, fourth = 0, neighbours = 0;
    size_t within_one = 0, within_two = 0;
    for (size_t i = 0; i < COUNT; i++) {
        double x = values[i] / 0.5;
        sum += x;
        squares += x * x;
        fourth += x * x * x * x;
        neighbours += i ? x * values[i - 1] / 0.5 : 0;
        within_one += fabs(x) < 1;
        within_two += fabs(x) < 2;
    }
    /* Bounds are five standard errors. */
    reid_assert_close(sum / COUNT, 0, 0, 5e-3);
    reid_assert_close(squares / COUNT, 1, 0, 7e-3);
    reid_assert_close(fourth / COUNT, 3, 0, 5e-2);
    reid_assert_close(neighbours / COUNT, 0, 0, 5e-3);
    reid_assert_close((double)within_one / COUNT, 0.6826895, 0, 2.4e-3);
    reid_assert_close((double)within_two / COUNT, 0.9544997, 0, 1.1e-3);
    free(values);
}

static void a_shorter_request_is_a_prefix(void **state)
{
    float few[100], many[3000];
    reid_init_normal(3, 5, 0.01, few, 100);
    reid_init_normal(3, 5, 0.01, many, 3000);
    assert_memory_equal(few, many, sizeof few);
}

static void streams_differ_by_seed_and_parameter(void **state)
{
    float a[64], b[64], c[64];
    reid_init_normal(3, 5, 1, a, 64);
    reid_init_normal(4, 5, 1, b, 64);
    reid_init_normal(3, 6, 1, c, 64);
    for (size_t i = 0; i < 64; i++) {
        assert_true(a[i] != b[i]);
        assert_true(a[i] != c[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(deviates_are_those_of_box_and_muller),
        cmocka_unit_test(deviates_are_normal),
        cmocka_unit_test(a_shorter_request_is_a_prefix),
        cmocka_unit_test(streams_differ_by_seed_and_parameter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
