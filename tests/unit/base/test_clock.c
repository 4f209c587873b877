#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <time.h>

#include "base/clock.h"
#include "base/compiler.h"

/* Expected texts are Python's str(datetime.timedelta(seconds=int(s))). */
static void durations_look_like_python(void **state)
{
    static const struct {
        double seconds;
        const char *expected;
    } CASES[] = {
        {0, "0:00:00"},
        {59.999, "0:00:59"},
        {3661, "1:01:01"},
        {86399, "23:59:59"},
        {86400, "1 day, 0:00:00"},
        {2 * 86400 + 5, "2 days, 0:00:05"},
        {-0.5, "0:00:00"},
        {-1, "-1 day, 23:59:59"},
        {-86401, "-2 days, 23:59:59"},
        {NAN, "unknown"},
        {1e300, "999999999 days, 0:00:00"},
        {-INFINITY, "-999999999 days, 0:00:00"},
    };
    for (size_t i = 0; i < REID_COUNT_OF(CASES); i++) {
        char buffer[32];
        reid_format_duration(buffer, CASES[i].seconds);
        assert_string_equal(buffer, CASES[i].expected);
    }
}

static void times_are_utc(void **state)
{
    char buffer[32];
    reid_format_time(buffer, 0);
    assert_string_equal(buffer, "1970-01-01T00:00:00Z");
    reid_format_time(buffer, 1234567890999); /* date -u -d @1234567890 */
    assert_string_equal(buffer, "2009-02-13T23:31:30Z");
    reid_format_time(buffer, -1);
    assert_string_equal(buffer, "1969-12-31T23:59:59Z");
    reid_format_time(buffer, INT64_MAX);
    assert_true(buffer[0] != '\0');
}

static void clocks_advance(void **state)
{
    int64_t before = reid_clock_mono_ns();
    int64_t wall = reid_clock_wall_ms();
    double seconds = reid_clock_seconds();
    int64_t after = reid_clock_mono_ns();
    assert_true(before <= after);
    assert_true(seconds >= (double)before * 1e-9 - 1e-6 && seconds <= (double)after * 1e-9 + 1e-6);
    int64_t off_ms = wall - (int64_t)time(NULL) * 1000;
    assert_true(off_ms > -60000 && off_ms < 60000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(durations_look_like_python),
        cmocka_unit_test(times_are_utc),
        cmocka_unit_test(clocks_advance),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
