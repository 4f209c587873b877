#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "out/screen.h"

static void assert_draws(reidctl_screen *screen, const char *picture, size_t columns,
                         const char *expected)
{
    reid_str out = REID_STR_INIT;
    reidctl_screen_draw(screen, picture, columns, &out);
    assert_string_equal(reid_str_text(&out), expected);
    reid_str_fini(&out);
}

static void moves_up_what_was_drawn(void **state)
{
    reidctl_screen screen = {0};
    assert_draws(&screen, "one\ntwo\n", 80, "\r\033[?7lone\033[K\ntwo\033[K\n\033[J\033[?7h");
    assert_draws(&screen, "1\n2\n3\n", 80,
                 "\r\033[2A\033[?7l1\033[K\n2\033[K\n3\033[K\n\033[J\033[?7h");
    assert_draws(&screen, "a\n", 80, "\r\033[3A\033[?7la\033[K\n\033[J\033[?7h");
    assert_draws(&screen, "", 80, "\r\033[1A\033[?7l\033[J\033[?7h");
    assert_draws(&screen, "b\n", 80, "\r\033[?7lb\033[K\n\033[J\033[?7h");
    reidctl_screen_leave(&screen);
    assert_draws(&screen, "c\n", 80, "\r\033[?7lc\033[K\n\033[J\033[?7h");
    reidctl_screen_fini(&screen);
}

static void knows_lines_that_a_narrower_terminal_has_broken(void **state)
{
    reidctl_screen screen = {0};
    assert_draws(&screen, "1234567890\n\033[1m12345\033[0m\n", 10,
                 "\r\033[?7l1234567890\033[K\n\033[1m12345\033[0m\033[K\n\033[J\033[?7h");
    assert_draws(&screen, "1234\n1234\n", 4, /* 3 and 2 lines */
                 "\r\033[5A\033[?7l1234\033[K\n1234\033[K\n\033[J\033[?7h");
    assert_draws(&screen, "1\n2\n", 10, "\r\033[2A\033[?7l1\033[K\n2\033[K\n\033[J\033[?7h");
    reidctl_screen_fini(&screen);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(moves_up_what_was_drawn),
        cmocka_unit_test(knows_lines_that_a_narrower_terminal_has_broken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
