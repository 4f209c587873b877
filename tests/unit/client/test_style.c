#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "out/style.h"
#include "out/text.h"

static void assert_age(double seconds, const char *expected)
{
    reid_str out = REID_STR_INIT;
    reidctl_add_age(&out, seconds);
    assert_string_equal(reid_str_text(&out), expected);
    reid_str_fini(&out);
}

static void ages_are_one_word(void **state)
{
    assert_age(0, "0s");
    assert_age(59.99, "59s");
    assert_age(60, "1m00s");
    assert_age(3599, "59m59s");
    assert_age(3600, "1h00m");
    assert_age(86399, "23h59m");
    assert_age(86400, "1d00h");
    assert_age(1e300, "11574d01h"); /* bounded */
    assert_age(-1, "-");
    assert_age(NAN, "-");
}

static void assert_sparkline(const double *values, size_t count, size_t width, const char *expected)
{
    reid_str out = REID_STR_INIT;
    reidctl_add_sparkline(&out, values, count, width);
    assert_string_equal(reid_str_text(&out), expected);
    reid_str_fini(&out);
}

static void sparklines(void **state)
{
    const double rising[] = {0, 1, 2, 3, 4, 5, 6, 7};
    assert_sparkline(rising, 8, 8, "▁▂▃▄▅▆▇█");
    assert_sparkline(rising, 8, 100, "▁▂▃▄▅▆▇█");
    assert_sparkline(rising, 8, 4, "▁▃▆█"); /* means 0.5 2.5 4.5 6.5 */
    assert_sparkline(rising, 8, 3, "▁▄█");  /* means of 2, 3 and 3 values: 0.5 3 6 */
    assert_sparkline(rising, 8, 1, "▁");
    assert_sparkline(rising, 0, 8, "");
    assert_sparkline(rising, 8, 0, "");
    const double flat[] = {3, 3, 3};
    assert_sparkline(flat, 3, 3, "▁▁▁");
    const double broken[] = {1, NAN, 2, INFINITY, -INFINITY};
    assert_sparkline(broken, 5, 5, "▁?█??");
    const double lost[] = {NAN};
    assert_sparkline(lost, 1, 5, "?");
}

static void assert_bar(double fraction, size_t width, const char *expected)
{
    reid_str out = REID_STR_INIT;
    reidctl_add_bar(&out, fraction, width);
    assert_string_equal(reid_str_text(&out), expected);
    assert_int_equal(reidctl_text_width(reid_str_text(&out)), width + 2);
    reid_str_fini(&out);
}

static void bars(void **state)
{
    assert_bar(0, 4, "▕    ▏");
    assert_bar(0.5, 4, "▕██  ▏");
    assert_bar(0.625, 4, "▕██▌ ▏");
    assert_bar(1, 4, "▕████▏");
    assert_bar(7, 4, "▕████▏");
    assert_bar(-1, 4, "▕    ▏");
    assert_bar(NAN, 4, "▕    ▏");
    assert_bar(1.0 / 8 / 4, 4, "▕▏   ▏");
    assert_bar(0.5, 0, "▕▏");
}

static void states(void **state)
{
    assert_string_equal(reidctl_state_name(REID__V1__JOB_STATE__JOB_STATE_CANCELLED), "CANCELLED");
    assert_string_equal(reidctl_state_name((Reid__V1__JobState)99), "UNKNOWN");
    assert_string_equal(reidctl_state_name((Reid__V1__JobState)-1), "UNKNOWN");
    assert_string_equal(reidctl_phase_name(REID__V1__JOB_PHASE__JOB_PHASE_SAVING), "saving");
    assert_string_equal(reidctl_phase_name((Reid__V1__JobPhase)99), "");
    assert_false(reidctl_state_is_final(REID__V1__JOB_STATE__JOB_STATE_RUNNING));
    assert_true(reidctl_state_is_final(REID__V1__JOB_STATE__JOB_STATE_FAILED));
    assert_false(reidctl_state_is_final((Reid__V1__JobState)99));
    assert_string_equal(reidctl_state_color(REID__V1__JOB_STATE__JOB_STATE_FAILED, false), "");
    assert_int_equal(
        reidctl_text_width(reidctl_state_color(REID__V1__JOB_STATE__JOB_STATE_FAILED, true)), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ages_are_one_word),
        cmocka_unit_test(sparklines),
        cmocka_unit_test(bars),
        cmocka_unit_test(states),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
