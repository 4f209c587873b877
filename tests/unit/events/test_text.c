#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "base/compiler.h"
#include "base/utf8.h"
#include "events/text.h"

/* Expected texts are json.dumps of CPython 3.11. */
static void doubles_are_written_as_python_does(void **state)
{
    static const struct {
        double value;
        const char *text;
    } cases[] = {
        {0.1, "0.1"},
        {1e-05, "1e-05"},
        {1.5, "1.5"},
        {100.0, "100.0"},
        {1e16, "1e+16"},
        {1e15, "1000000000000000.0"},
        {123456789012345.6, "123456789012345.6"},
        {0x1p-44, "5.684341886080802e-14"},
        {0x1p60, "1.152921504606847e+18"},
        {5e-324, "5e-324"},
        {1.7976931348623157e308, "1.7976931348623157e+308"},
        {0.0001, "0.0001"},
        {0.00012345, "0.00012345"},
        {0.0, "0.0"},
        {-0.0, "-0.0"},
        {NAN, "NaN"},
        {-NAN, "NaN"},
        {INFINITY, "Infinity"},
        {-INFINITY, "-Infinity"},
        {1.0 / 3, "0.3333333333333333"},
        {0.1 + 0.2, "0.30000000000000004"},
        {9007199254740992.0, "9007199254740992.0"},
        {1e22, "1e+22"},
        {1e23, "1e+23"},
        {4.35, "4.35"},
        {-2.5e-07, "-2.5e-07"},
    };
    reid_str out = REID_STR_INIT;
    for (size_t i = 0; i < REID_COUNT_OF(cases); i++) {
        reid_str_clear(&out);
        reid_event_text_add_double(&out, cases[i].value);
        assert_string_equal(reid_str_text(&out), cases[i].text);
    }
    reid_str_fini(&out);
}

static void strings_are_written_as_python_does(void **state)
{
    static const struct {
        const char *value;
        const char *text;
    } cases[] = {
        {"", "\"\""},
        {"Rank-1", "\"Rank-1\""},
        {"a\"b\\c/d", "\"a\\\"b\\\\c/d\""},
        {"\b\t\n\f\r\x01\x7f", "\"\\b\\t\\n\\f\\r\\u0001\\u007f\""},
        {"é中", "\"\\u00e9\\u4e2d\""},
        {"\xf0\x9f\x98\x80", "\"\\ud83d\\ude00\""},
    };
    reid_str out = REID_STR_INIT;
    for (size_t i = 0; i < REID_COUNT_OF(cases); i++) {
        reid_str_clear(&out);
        reid_event_text_add_string(&out, cases[i].value);
        assert_string_equal(reid_str_text(&out), cases[i].text);
    }
    reid_str_fini(&out);
}

static void utf8_is_checked(void **state)
{
    assert_true(reid_utf8_is_valid(""));
    assert_true(reid_utf8_is_valid("é中\xf4\x8f\xbf\xbf"));
    static const char *const bad[] = {
        "\x80",         "\xc3",         "\xc0\xaf",         "\xe0\x80\xaf",
        "\xed\xa0\x80", "\xf5\x80\x80", "\xf4\x90\x80\x80", "\xf8"};
    for (size_t i = 0; i < REID_COUNT_OF(bad); i++)
        assert_false(reid_utf8_is_valid(bad[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(doubles_are_written_as_python_does),
        cmocka_unit_test(strings_are_written_as_python_does),
        cmocka_unit_test(utf8_is_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
