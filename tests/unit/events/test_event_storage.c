#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "events/event_storage.h"
#include "harness/harness.h"

static void put(reid_event_storage *storage, const char *name, double value, bool hint)
{
    reid_error err = {0};
    reid_assert_ok(reid_event_storage_put_scalar(storage, name, value, hint, &err), &err);
}

static void latest_carries_value_and_iteration(void **state)
{
    reid_event_storage *storage = reid_event_storage_new(7);
    assert_int_equal(reid_event_storage_iter(storage), 7);
    put(storage, "total_loss", 2.5, true);
    reid_event_storage_set_iter(storage, 8);
    put(storage, "lr", 1e-4, false);
    put(storage, "total_loss", 1.5, true);
    assert_int_equal(reid_event_storage_count(storage), 2);
    reid_event_scalar first = reid_event_storage_at(storage, 0);
    assert_string_equal(first.name, "total_loss");
    assert_true(first.value == 1.5 && first.iter == 8 && first.smoothing_hint);
    reid_event_scalar lr;
    assert_true(reid_event_storage_find(storage, "lr", &lr));
    assert_true(lr.value == 1e-4 && lr.iter == 8 && !lr.smoothing_hint);
    assert_true(first.sequence == 3 && lr.sequence == 2);
    assert_true(reid_event_storage_sequence(storage) == 3);
    assert_false(reid_event_storage_find(storage, "loss", &lr));
    assert_null(reid_event_storage_history(storage, "loss"));
    assert_int_equal(reid_event_storage_history(storage, "total_loss")->count, 2);
    reid_event_storage_free(storage);
    reid_event_storage_free(NULL);
}

/* fast-reid's latest_with_smoothing_hint: a median of 20 samples, or the latest value. */
static void hints_decide_about_smoothing(void **state)
{
    reid_event_storage *storage = reid_event_storage_new(0);
    for (int i = 0; i < 30; i++) {
        reid_event_storage_set_iter(storage, i);
        put(storage, "smooth", i, true);
        put(storage, "plain", i, false);
    }
    reid_event_scalar smooth = reid_event_storage_at(storage, 0);
    reid_event_scalar plain = reid_event_storage_at(storage, 1);
    assert_true(reid_event_scalar_smoothed(&smooth, REID_EVENT_WINDOW) == 19.5);
    assert_true(reid_event_scalar_smoothed(&plain, REID_EVENT_WINDOW) == 29.0);
    reid_event_storage_free(storage);
}

static void a_hint_stays_as_it_was(void **state)
{
    reid_event_storage *storage = reid_event_storage_new(0);
    put(storage, "x", 1, true);
    reid_error err = {0};
    assert_int_equal(reid_event_storage_put_scalar(storage, "x", 2, false, &err), REID_ERR_INVALID);
    assert_non_null(strstr(err.text, "'x'"));
    assert_int_equal(reid_event_storage_history(storage, "x")->count, 1);
    reid_event_storage_free(storage);
}

static void bad_names_are_refused(void **state)
{
    char longest[REID_EVENT_NAME_BYTES_MAX + 2];
    memset(longest, 'n', sizeof longest);
    longest[REID_EVENT_NAME_BYTES_MAX + 1] = '\0';
    reid_event_storage *storage = reid_event_storage_new(0);
    const char *const bad[] = {"", "a\nb", "\x7f", "\xff", "\xc0\x80", "\xed\xa0\x80", longest};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        reid_error err = {0};
        assert_int_equal(reid_event_storage_put_scalar(storage, bad[i], 1, true, &err),
                         REID_ERR_INVALID);
        assert_true(err.text[0] != '\0');
    }
    assert_int_equal(reid_event_storage_count(storage), 0);
    longest[REID_EVENT_NAME_BYTES_MAX] = '\0';
    put(storage, longest, 1, true);
    put(storage, "Größe", 1, true);
    reid_event_storage_push_scope(storage, "s");
    assert_int_equal(reid_event_storage_put_scalar(storage, longest, 1, true, NULL),
                     REID_ERR_INVALID);
    reid_event_storage_free(storage);
}

static void many_names_are_found_and_bounded(void **state)
{
    reid_event_storage *storage = reid_event_storage_new(0);
    char name[32];
    for (int i = 0; i < REID_EVENT_NAMES_MAX; i++) {
        snprintf(name, sizeof name, "metric/%d", i);
        put(storage, name, i, false);
    }
    reid_error err = {0};
    assert_int_equal(reid_event_storage_put_scalar(storage, "one more", 1, true, &err),
                     REID_ERR_EXHAUSTED);
    for (int i = 0; i < REID_EVENT_NAMES_MAX; i++) {
        snprintf(name, sizeof name, "metric/%d", i);
        reid_event_scalar scalar;
        assert_true(reid_event_storage_find(storage, name, &scalar) && scalar.value == i);
    }
    reid_event_storage_free(storage);
}

/* As in fast-reid an inner scope replaces the outer one. */
static void scopes_prefix_names(void **state)
{
    reid_event_storage *storage = reid_event_storage_new(0);
    reid_event_storage_push_scope(storage, "eval//");
    put(storage, "loss", 1, true);
    reid_event_storage_push_scope(storage, "inner");
    put(storage, "loss", 2, true);
    reid_event_storage_pop_scope(storage);
    put(storage, "loss", 3, true);
    reid_event_storage_pop_scope(storage);
    put(storage, "loss", 4, false);
    assert_string_equal(reid_event_storage_at(storage, 0).name, "eval/loss");
    assert_int_equal(reid_event_storage_history(storage, "eval/loss")->count, 2);
    assert_true(reid_history_latest(reid_event_storage_history(storage, "inner/loss")) == 2);
    assert_true(reid_history_latest(reid_event_storage_history(storage, "loss")) == 4);
    reid_event_storage_push_scope(storage, "left open");
    reid_event_storage_free(storage);
}

static void log_row(void *user, const reid_event_row *row)
{
    reid_str *log = user;
    reid_str_addf(log, "%lld/%lld", (long long)row->epoch, (long long)row->iter);
    for (size_t i = 0; i < row->count; i++)
        reid_str_addf(log, " %s=%g", row->scalars[i].name, row->scalars[i].value);
    reid_str_add_char(log, '\n');
}

static void rows_hold_every_scalar(void **state)
{
    reid_str log = REID_STR_INIT;
    reid_event_storage *storage = reid_event_storage_new(0);
    put(storage, "before", 1, true); /* nobody listens yet */
    reid_event_storage_on_row(storage, log_row, &log);
    reid_event_storage_set_iter(storage, 3);
    reid_event_storage_set_iter(storage, 4);
    put(storage, "b", 1, true);
    put(storage, "a", 2, true);
    put(storage, "b", 3, true);
    reid_event_storage_set_iter(storage, 4); /* no change */
    reid_event_storage_set_iter(storage, 5);
    put(storage, "a", 4, true);
    reid_event_storage_flush_row(storage);
    put(storage, "mAP", 5, false);
    reid_event_storage_flush_row(storage);
    reid_event_storage_flush_row(storage);
    reid_event_storage_set_epoch(storage, 1);
    put(storage, "a", 6, true);
    reid_event_storage_set_epoch(storage, 2);
    assert_string_equal(reid_str_text(&log), "0/4 b=3 a=2\n0/5 a=4\n0/5 mAP=5\n1/5 a=6\n");
    reid_event_storage_free(storage);
    reid_str_fini(&log);
}

static void all_listeners_are_called_in_order(void **state)
{
    reid_str first = REID_STR_INIT, second = REID_STR_INIT;
    reid_event_storage *storage = reid_event_storage_new(0);
    reid_event_storage_on_row(storage, log_row, &first);
    reid_event_storage_on_row(storage, log_row, &second);
    put(storage, "a", 1, true);
    reid_event_storage_flush_row(storage);
    assert_string_equal(reid_str_text(&first), "0/0 a=1\n");
    assert_string_equal(reid_str_text(&second), "0/0 a=1\n");
    reid_event_storage_free(storage);
    reid_str_fini(&first);
    reid_str_fini(&second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(latest_carries_value_and_iteration),
        cmocka_unit_test(hints_decide_about_smoothing),
        cmocka_unit_test(a_hint_stays_as_it_was),
        cmocka_unit_test(bad_names_are_refused),
        cmocka_unit_test(many_names_are_found_and_bounded),
        cmocka_unit_test(scopes_prefix_names),
        cmocka_unit_test(rows_hold_every_scalar),
        cmocka_unit_test(all_listeners_are_called_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
