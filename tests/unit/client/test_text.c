#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "out/text.h"

static void assert_clean(const char *text, const char *expected)
{
    reid_str out = REID_STR_INIT;
    reidctl_add_clean(&out, text);
    assert_string_equal(reid_str_text(&out), expected);
    reid_str_fini(&out);
}

static void text_becomes_harmless(void **state)
{
    assert_clean("", "");
    assert_clean("plain äöü 名 🙂", "plain äöü 名 🙂");
    assert_clean("a\nb\tc\rd", "a b c d");
    assert_clean("\033[2J\033]0;x\a\177", "?[2J?]0;x??");
    assert_clean("\xc2\x9b"
                 "31m",
                 "?31m");                      /* CSI as one character of C1 */
    assert_clean("\xe2\x80\xae abc", "? abc"); /* right-to-left override */
    assert_clean("\xff\xc3", "??");            /* not UTF-8, cut off */
    assert_clean("\xc0\xaf", "??");            /* overlong '/' */
    assert_clean("\xe0\x9f\xbf", "???");       /* overlong */
    assert_clean("\xed\xa0\x80", "???");       /* surrogate */
    assert_clean("\xf4\x90\x80\x80", "????");  /* beyond U+10FFFF */
    assert_clean("\xe5\x90 x", "?? x");
}

static void logs_keep_lines_and_colors(void **state)
{
    static const char text[] = "a\n\tb\033[1;31mc\033[0m\033[2Jd\033[m\033[31\b\0e";
    reid_str out = REID_STR_INIT;
    reidctl_add_clean_log(&out, text, sizeof text - 1);
    assert_string_equal(reid_str_text(&out), "a\n\tb\033[1;31mc\033[0m?[2Jd\033[m?[31??e");
    reid_str_fini(&out);
}

static void widths_are_cells(void **state)
{
    assert_int_equal(reidctl_text_width(""), 0);
    assert_int_equal(reidctl_text_width("abc"), 3);
    assert_int_equal(reidctl_text_width("▕█▏…"), 4);
    assert_int_equal(reidctl_text_width("名前"), 4);
    assert_int_equal(reidctl_text_width("e\xcc\x81"), 1); /* e and a combining accent */
    assert_int_equal(reidctl_text_width("🙂"), 2);
    assert_int_equal(reidctl_text_width("\033[31mred\033[0m"), 3);
}

static void assert_cut(const char *text, size_t width, const char *expected)
{
    reid_str out = REID_STR_INIT;
    reidctl_add_cut(&out, text, width);
    assert_string_equal(reid_str_text(&out), expected);
    assert_true(reidctl_text_width(reid_str_text(&out)) <= width);
    reid_str_fini(&out);
}

static void text_is_cut_to_cells(void **state)
{
    assert_cut("abcdef", 6, "abcdef");
    assert_cut("abcdef", 5, "abcd…");
    assert_cut("abcdef", 1, "…");
    assert_cut("abcdef", 0, "");
    assert_cut("名前x", 5, "名前x");
    assert_cut("名前x", 4, "名…"); /* the second needs two cells */
    assert_cut("名前x", 3, "名…");
    assert_cut("名前x", 2, "…");
    assert_cut("ae\xcc\x81z", 3, "ae\xcc\x81z");
    assert_cut("ae\xcc\x81zz", 3, "ae\xcc\x81…");
    assert_cut("\033[1mabcdef\033[0m", 4, "\033[1mabc\033[0m…");
}

static void pads(void **state)
{
    reid_str out = REID_STR_INIT;
    reidctl_add_pad(&out, 2, 5);
    reidctl_add_pad(&out, 7, 5);
    assert_string_equal(reid_str_text(&out), "   ");
    reid_str_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_becomes_harmless),
        cmocka_unit_test(logs_keep_lines_and_colors),
        cmocka_unit_test(widths_are_cells),
        cmocka_unit_test(text_is_cut_to_cells),
        cmocka_unit_test(pads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
