/* What two programs of different age agree on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/protocol.h"

static void test_the_smaller_number_counts(void **state)
{
    static const struct {
        int its, oldest, newest, agreed;
    } cases[] = {{0, 1, 2, 1}, {1, 1, 2, 1}, {2, 1, 2, 2},
                 {3, 1, 2, 2}, {9, 4, 7, 7}, {4, 4, 7, 4}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        reid_error err = {0};
        int agreed = -1;
        assert_int_equal(reid_protocol_agree_within("x", cases[i].its, cases[i].oldest,
                                                    cases[i].newest, &agreed, &err),
                         REID_OK);
        assert_int_equal(agreed, cases[i].agreed);
    }
}

static void test_too_old_is_refused(void **state)
{
    reid_error err = {0};
    int agreed = -1;
    assert_int_equal(reid_protocol_agree_within("rank 1 of job 0abc", 0, 2, 3, &agreed, &err),
                     REID_ERR_UNSUPPORTED);
    assert_string_equal(err.text, "rank 1 of job 0abc is too old: it speaks protocol 1, and this "
                                  "program 2 to 3; upgrade the older side");
    assert_int_equal(agreed, -1);
    reid_error_clear(&err);
    assert_int_equal(reid_protocol_agree("x", -5, &agreed, &err), REID_ERR_INVALID);
}

static void test_own_numbers_fit(void **state)
{
    int agreed = 0;
    assert_true(REID_PROTOCOL_OLDEST <= REID_PROTOCOL);
    assert_int_equal(reid_protocol_agree("x", REID_PROTOCOL, &agreed, NULL), REID_OK);
    assert_int_equal(agreed, REID_PROTOCOL);
    assert_int_equal(reid_protocol_agree("x", 0, &agreed, NULL), REID_OK); /* without a number */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_smaller_number_counts),
        cmocka_unit_test(test_too_old_is_refused),
        cmocka_unit_test(test_own_numbers_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
