#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "base/rng.h"
#include "base/str.h"

static void a_string_grows_and_is_taken(void **state)
{
    reid_str s = REID_STR_INIT;
    assert_string_equal(reid_str_text(&s), "");
    for (int i = 0; i < 1000; i++)
        reid_str_addf(&s, "%d,", i % 10);
    assert_int_equal(s.length, 2000);
    assert_int_equal(strlen(s.data), 2000);
    reid_str_clear(&s);
    assert_string_equal(reid_str_text(&s), "");
    reid_str_add(&s, "a");
    reid_str_add_char(&s, 'b');
    reid_str_add_bytes(&s, "c\0d", 3);
    assert_int_equal(s.length, 5);
    assert_memory_equal(s.data, "abc\0d", 6);
    char *text = reid_str_take(&s);
    assert_string_equal(text, "abc");
    free(text);
    assert_null(s.data);
    text = reid_str_take(&s);
    assert_string_equal(text, "");
    free(text);
    reid_str_fini(&s);
    reid_str_fini(NULL);
}

static void a_long_formatted_text_is_whole(void **state)
{
    reid_str s = REID_STR_INIT;
    reid_str_add(&s, "x");
    reid_str_addf(&s, "%5000d!", 7);
    assert_int_equal(s.length, 5002);
    assert_string_equal(s.data + 4995, "     7!");
    reid_str_fini(&s);
}

static void starts_ends_trim(void **state)
{
    assert_true(reid_str_starts("MODEL.NAME", "MODEL."));
    assert_false(reid_str_starts("MOD", "MODEL"));
    assert_true(reid_str_starts("a", ""));
    assert_true(reid_str_ends("x.yml", ".yml"));
    assert_false(reid_str_ends("yml", ".yml"));
    assert_true(reid_str_ends("a", ""));
    char text[] = " \t a b\r\n";
    assert_string_equal(reid_str_trim(text), "a b");
    char blank[] = "  ";
    assert_string_equal(reid_str_trim(blank), "");
}

static void distance_counts_edits(void **state)
{
    static const struct {
        const char *a, *b;
        size_t expected;
    } CASES[] = {
        {"", "", 0},       {"abc", "", 3},           {"", "ab", 2},
        {"abc", "ABC", 0}, {"kitten", "sitting", 3}, {"SOVLER", "solver", 1},
        {"ab", "ba", 1},   {"ca", "abc", 3},         {"flaw", "lawn", 2},
    };
    for (size_t i = 0; i < REID_COUNT_OF(CASES); i++) {
        assert_int_equal(reid_str_distance(CASES[i].a, CASES[i].b), CASES[i].expected);
        assert_int_equal(reid_str_distance(CASES[i].b, CASES[i].a), CASES[i].expected);
    }
    char longer[400];
    memset(longer, 'x', 399);
    longer[399] = '\0';
    assert_int_equal(reid_str_distance(longer, "x"), 399);
    longer[256] = '\0';
    assert_int_equal(reid_str_distance(longer, "x"), 255);
}

static void integers_are_read_whole_or_not_at_all(void **state)
{
    int64_t value = 99;
    assert_int_equal(reid_parse_int64("-9223372036854775808", &value), REID_OK);
    assert_true(value == INT64_MIN);
    assert_int_equal(reid_parse_int64("9223372036854775807", &value), REID_OK);
    assert_true(value == INT64_MAX);
    assert_int_equal(reid_parse_int64("+012", &value), REID_OK);
    assert_int_equal(value, 12);
    static const char *const BAD[] = {"",
                                      " 1",
                                      "1 ",
                                      "1.0",
                                      "0x10",
                                      "9223372036854775808",
                                      "-",
                                      "+-1",
                                      "1e3",
                                      "a",
                                      "-9223372036854775809"};
    for (size_t i = 0; i < REID_COUNT_OF(BAD); i++) {
        assert_int_equal(reid_parse_int64(BAD[i], &value), REID_ERR_INVALID);
        assert_int_equal(value, 12);
    }
}

static void doubles_are_read_whole_or_not_at_all(void **state)
{
    double value = 0;
    assert_int_equal(reid_parse_double("3.5e-4", &value), REID_OK);
    assert_true(value == 3.5e-4);
    assert_int_equal(reid_parse_double("-.5", &value), REID_OK);
    assert_true(value == -0.5);
    assert_int_equal(reid_parse_double("5e-324", &value), REID_OK);
    assert_true(value == 5e-324);
    assert_int_equal(reid_parse_double("-inf", &value), REID_OK);
    assert_true(isinf(value) && value < 0);
    assert_int_equal(reid_parse_double("nan", &value), REID_OK);
    assert_true(isnan(value));
    value = 7;
    static const char *const BAD[] = {"",    " 1", "1 ", "1,5", "0x1p3",  "1e999", "-",
                                      "--1", "e",  ".",  "- 1", "nan(1)", "1.5f",  "-0x1"};
    for (size_t i = 0; i < REID_COUNT_OF(BAD); i++) {
        assert_int_equal(reid_parse_double(BAD[i], &value), REID_ERR_INVALID);
        assert_true(value == 7);
    }
}

/* Expected texts are Python's repr(), less ".0". */
static void doubles_are_written_shortest(void **state)
{
    static const struct {
        double value;
        const char *expected;
    } CASES[] = {
        {0.1, "0.1"},
        {1e-07, "1e-07"},
        {0.1 + 0.2, "0.30000000000000004"},
        {1.0 / 3, "0.3333333333333333"},
        {3, "3"},
        {-0.0, "-0"},
        {1e22, "1e+22"},
        {123456.789, "123456.789"},
        {0.00035, "0.00035"},
        {DBL_MAX, "1.7976931348623157e+308"},
        {NAN, "nan"},
        {-NAN, "nan"},
        {INFINITY, "inf"},
        {-INFINITY, "-inf"},
    };
    char buffer[32];
    for (size_t i = 0; i < REID_COUNT_OF(CASES); i++)
        assert_string_equal(reid_format_double(buffer, CASES[i].value), CASES[i].expected);
    reid_rng rng = reid_rng_stream(3, REID_RNG_TEST, 0, 0);
    for (int i = 0; i < 20000; i++) {
        uint64_t bits = reid_rng_u64(&rng);
        double value, back;
        memcpy(&value, &bits, sizeof value);
        if (!isfinite(value))
            continue;
        assert_int_equal(reid_parse_double(reid_format_double(buffer, value), &back), REID_OK);
        assert_memory_equal(&back, &value, sizeof value);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_string_grows_and_is_taken),
        cmocka_unit_test(a_long_formatted_text_is_whole),
        cmocka_unit_test(starts_ends_trim),
        cmocka_unit_test(distance_counts_edits),
        cmocka_unit_test(integers_are_read_whole_or_not_at_all),
        cmocka_unit_test(doubles_are_read_whole_or_not_at_all),
        cmocka_unit_test(doubles_are_written_shortest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
