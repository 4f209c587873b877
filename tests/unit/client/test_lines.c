#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "harness/harness.h"
#include "hook/lines.h"
#include "out/entry.h"

static void what_a_program_reads(void **state)
{
    Reid__V1__HookAttached attached = REID__V1__HOOK_ATTACHED__INIT;
    Reid__V1__HookEvent event = REID__V1__HOOK_EVENT__INIT;
    char job[] = "aaa11111", loss[] = "total_loss", odd[] = "a \"b\"\n";
    Reid__V1__Scalar scalars[2] = {REID__V1__SCALAR__INIT, REID__V1__SCALAR__INIT};
    Reid__V1__Scalar *pointers[] = {&scalars[0], &scalars[1]};
    reid_str out = REID_STR_INIT;
    attached.job = job;
    attached.hook = 3;
    attached.iteration = 12;
    reidctl_add_attached_line(&out, &attached);
    assert_string_equal(
        out.data, "{\"type\":\"attached\",\"job\":\"aaa11111\",\"hook\":3,\"iteration\":12}\n");
    reid_str_clear(&out);
    event.number = 5;
    event.point = REID__V1__HOOK_POINT__HOOK_POINT_AFTER_STEP;
    event.epoch = 1;
    event.iteration = 14;
    event.max_iteration = 100;
    event.max_epoch = 10;
    event.lr = 0.00035;
    event.scalars = pointers;
    event.n_scalars = 2;
    scalars[0].name = loss;
    scalars[0].value = NAN;
    scalars[1].name = odd;
    scalars[1].value = 0.1;
    reidctl_add_event_line(&out, &event);
    assert_string_equal(out.data,
                        "{\"type\":\"event\",\"number\":5,\"point\":\"after_step\",\"epoch\":1,"
                        "\"iter\":14,\"max_iter\":100,\"max_epoch\":10,\"lr\":0.00035,"
                        "\"scalars\":{\"total_loss\":NaN,\"a \\\"b\\\"\\n\":0.1}}\n");
    reid_str_fini(&out);
}

static void points(void **state)
{
    Reid__V1__HookPoint point = REID__V1__HOOK_POINT__HOOK_POINT_UNSPECIFIED;
    reid_error err = {0};
    for (int i = 1; i <= 6; i++) {
        reid_assert_ok(reidctl_point_find(reidctl_point_name((Reid__V1__HookPoint)i), &point, &err),
                       &err);
        assert_int_equal(point, i);
    }
    assert_string_equal(reidctl_point_name((Reid__V1__HookPoint)99), "");
    assert_int_equal(reidctl_point_find("", &point, NULL), REID_ERR_INVALID);
    assert_int_equal(reidctl_point_find("step", &point, &err), REID_ERR_INVALID);
    assert_non_null(strstr(err.text, "there is no point 'step'; there are before_train"));
}

static void assert_words(void (*add)(reid_str *, const char *), const char *text,
                         const char *expected)
{
    reid_str out = REID_STR_INIT;
    add(&out, text);
    assert_string_equal(reid_str_text(&out), expected);
    reid_str_fini(&out);
}

static void the_journal_in_words(void **state)
{
    assert_words(reidctl_add_hook_words,
                 "{\"kind\":\"lua\",\"name\":\"decay\",\"points\":[\"after_step\"],\"every\":10,"
                 "\"when\":\"total_loss > 5\",\"source\":\"x = 1\",\"options\":[\"a=1\",\"b=2\"]}",
                 "lua (5 bytes), a=1 b=2, after_step, every 10, when total_loss > 5");
    assert_words(reidctl_add_hook_words, "{\"kind\":\"native\",\"source\":\"a.so\",\"every\":1}",
                 "native a.so");
    assert_words(reidctl_add_hook_words, "{\"kind\":\"remote\",\"asynchronous\":true}",
                 "remote, async");
    assert_words(reidctl_add_hook_words, "not a hook", "not a hook");
    assert_words(reidctl_add_hook_words, "[1]", "[1]");
    assert_words(reidctl_add_journal_line,
                 "{\"seq\":1,\"who\":\"ada\",\"iteration\":30,\"kind\":\"set\",\"name\":\"lr\","
                 "\"old\":\"0.1\",\"new\":\"0.2\",\"reason\":\"too\\nfast\"}",
                 "set lr 0.1 -> 0.2 before iteration 30, by ada: too fast");
    assert_words(reidctl_add_journal_line,
                 "{\"who\":\"ada\",\"iteration\":4,\"kind\":\"checkpoint\",\"name\":\"\","
                 "\"old\":\"\",\"new\":\"\",\"reason\":\"\"}",
                 "checkpoint before iteration 4, by ada");
    assert_words(reidctl_add_journal_line,
                 "{\"who\":\"ada\",\"iteration\":4,\"kind\":\"hook_add\",\"name\":\"decay\","
                 "\"new\":\"{\\\"kind\\\":\\\"lua\\\",\\\"source\\\":\\\"x\\\"}\"}",
                 "hook_add decay: lua (1 bytes) before iteration 4, by ada");
    assert_words(reidctl_add_journal_line,
                 "{\"who\":\"ada\",\"iteration\":4,\"kind\":\"hook_remove\",\"name\":\"decay\","
                 "\"old\":\"3\"}",
                 "hook_remove decay (3) before iteration 4, by ada");
    assert_words(reidctl_add_journal_line, "\033[2J", "?[2J");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_program_reads),
        cmocka_unit_test(points),
        cmocka_unit_test(the_journal_in_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
