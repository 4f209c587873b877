#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "duration.h"
#include "harness/harness.h"

static void times(void **state)
{
    static const struct {
        const char *text;
        double seconds;
    } rows[] = {{"90", 90},          {"90s", 90},        {"30m", 1800},
                {"1.5h", 5400},      {"2d", 172800},     {"1h30m", 5400},
                {"1d2h3m4s", 93784}, {"8:00:00", 28800}, {"100:00:30", 360030}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        reid_error err = {0};
        double seconds = 0;
        reid_assert_ok(reidctl_duration_parse(rows[i].text, &seconds, &err), &err);
        assert_true(seconds == rows[i].seconds);
    }
}

static void no_times(void **state)
{
    static const char *const bad[] = {
        "",     "0",       "-5",     "h",  "5x",  "30m1h", "1h5", "1e9", "inf",
        "8:00", "8:60:00", "1:2:3:", " 5", "0x5", "1..5h", "nan", "5h ", "1h1h"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        reid_error err = {0};
        double seconds = 7;
        if (reidctl_duration_parse(bad[i], &seconds, &err) != REID_ERR_INVALID)
            fail_msg("'%s'", bad[i]);
        assert_true(seconds == 7);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(times), cmocka_unit_test(no_times)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
