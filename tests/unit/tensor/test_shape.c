#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tensor/shape.h"

static void counts_and_text(void **state)
{
    char text[96];
    reid_shape s = reid_shape_4d(32, 64, 128, 64), scalar = reid_shape_scalar();
    assert_int_equal(reid_shape_count(&s), 32 * 64 * 128 * 64);
    assert_int_equal(reid_shape_count(&scalar), 1);
    assert_string_equal(reid_shape_text(text, &s), "[32,64,128,64]");
    assert_string_equal(reid_shape_text(text, &scalar), "[]");
    s = reid_shape_4d(INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX); /* longest text still fits */
    assert_int_equal(reid_shape_text(text, &s)[0], '[');
}

static void equality_needs_the_same_rank(void **state)
{
    reid_shape a = reid_shape_2d(4, 1), b = reid_shape_1d(4), c = reid_shape_2d(4, 1);
    assert_false(reid_shape_equal(&a, &b));
    assert_true(reid_shape_equal(&a, &c));
}

static void empty_negative_and_huge_shapes_are_not_valid(void **state)
{
    reid_shape s = reid_shape_4d(1, 0, 2, 2);
    assert_false(reid_shape_valid(&s));
    s = reid_shape_2d(-1, 4);
    assert_false(reid_shape_valid(&s));
    s = reid_shape_4d(1 << 20, 1 << 20, 1 << 20, 1 << 20); /* the product would overflow */
    assert_false(reid_shape_valid(&s));
    s = reid_shape_2d(1 << 20, 1 << 20);
    assert_true(reid_shape_valid(&s));
    s = reid_shape_2d(1 << 20, (1 << 20) + 1);
    assert_false(reid_shape_valid(&s));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_and_text),
        cmocka_unit_test(equality_needs_the_same_rank),
        cmocka_unit_test(empty_negative_and_huge_shapes_are_not_valid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
