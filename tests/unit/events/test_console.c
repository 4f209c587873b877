#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "events/writer.h"
#include "harness/harness.h"

static void put(reid_event_storage *storage, const char *name, double value, bool hint)
{
    reid_error err = {0};
    reid_assert_ok(reid_event_storage_put_scalar(storage, name, value, hint, &err), &err);
}

static void put_all(reid_event_storage *storage, const char *name, const double *values, int count)
{
    for (int i = 0; i < count; i++)
        put(storage, name, values[i], strcmp(name, "lr") != 0);
}

/* Expected lines come from the format string of fast-reid's CommonMetricPrinter, run in Python on
 * the same numbers. */
static void the_line_is_fast_reids(void **state)
{
    reid_event_storage *storage = reid_event_storage_new(199);
    reid_event_storage_set_epoch(storage, 3);
    put_all(storage, "cls_accuracy", (const double[]){0.5}, 1);
    put_all(storage, "data_time", (const double[]){0.001, 0.0025}, 2);
    put_all(storage, "total_loss", (const double[]){9.123456, 8.5, 7.25}, 3);
    put_all(storage, "loss_cls", (const double[]){6.5, 6.25, 100000.0}, 3);
    put_all(storage, "loss_triplet", (const double[]){1e-5, 2e-5, -NAN}, 3);
    put_all(storage, "time", (const double[]){0.25, 0.5, 0.375}, 3);
    put_all(storage, "lr", (const double[]){3.5e-5}, 1);
    reid_str line = REID_STR_INIT;
    reid_console_format(storage, &(reid_console_line){375.0, 1234.5}, &line);
    assert_string_equal(
        reid_str_text(&line),
        " eta: 0:06:15  epoch/iter: 3/199  total_loss: 8.5  loss_cls: 6.5  loss_triplet: nan  "
        "time: 0.3750  data_time: 0.0018  lr: 3.50e-05  max_mem: 1234M");
    reid_str_fini(&line);
    reid_event_storage_free(storage);
}

static void what_is_missing_is_left_out(void **state)
{
    reid_event_storage *storage = reid_event_storage_new(2);
    reid_str line = REID_STR_INIT;
    reid_console_format(storage, &(reid_console_line){-1, -1}, &line);
    assert_string_equal(reid_str_text(&line), " epoch/iter: 0/2    lr: N/A  ");
    put(storage, "total_loss", 9, true);
    put(storage, "data_time", 0.5, true);
    reid_str_clear(&line);
    reid_console_format(storage, &(reid_console_line){-1, -1}, &line);
    assert_string_equal(reid_str_text(&line),
                        " epoch/iter: 0/2  total_loss: 9  data_time: 0.5000  lr: N/A  ");
    reid_str_fini(&line);
    reid_event_storage_free(storage);
}

/* 200 samples of a loss count, 20 of data_time, all of time. */
static void windows_are_fast_reids(void **state)
{
    reid_event_storage *storage = reid_event_storage_new(0);
    for (int i = 0; i < 400; i++) {
        put(storage, "total_loss", i < 200 ? 0 : i, true);
        put(storage, "data_time", i < 380 ? 5 : 1, true);
        put(storage, "time", i < 200 ? 1 : 2, true);
    }
    reid_str line = REID_STR_INIT;
    reid_console_format(storage, &(reid_console_line){-1, -1}, &line);
    assert_string_equal(
        reid_str_text(&line),
        " epoch/iter: 0/0  total_loss: 299.5  time: 1.5000  data_time: 1.0000  lr: N/A  ");
    reid_str_fini(&line);
    reid_event_storage_free(storage);
}

typedef struct lines {
    int count;
    char last[512];
} lines;

static void keep_line(void *user, const char *line)
{
    lines *kept = user;
    kept->count++;
    snprintf(kept->last, sizeof kept->last, "%s", line);
}

static void eta_is_the_median_times_the_rest(void **state)
{
    lines kept = {0};
    reid_console_options options = {.max_iter = 1000000, .print = keep_line, .user = &kept};
    reid_event_writer *writer = reid_console_writer_new(&options);
    reid_event_storage *storage = reid_event_storage_new(199);
    put_all(storage, "time", (const double[]){0.25, 0.5, 0.375}, 3);
    assert_int_equal(reid_event_writer_write(writer, storage, NULL), REID_OK);
    assert_int_equal(kept.count, 1);
    assert_memory_equal(kept.last, " eta: 4 days, 8:08:45  epoch/iter: 0/199    time: 0.3750", 55);
    unsigned mb;
    assert_int_equal(sscanf(strstr(kept.last, "max_mem: "), "max_mem: %uM", &mb), 1);
    assert_in_range(mb, 1, 100000);
    reid_event_scalar eta;
    assert_true(reid_event_storage_find(storage, "eta_seconds", &eta));
    assert_true(eta.value == 0.375 * (1000000 - 199 - 1) && !eta.smoothing_hint);
    /* the same iteration again, at the end of the epoch: a line, but not another sample */
    assert_int_equal(reid_event_writer_write(writer, storage, NULL), REID_OK);
    assert_int_equal(kept.count, 2);
    assert_int_equal(reid_event_storage_history(storage, "eta_seconds")->count, 1);
    assert_true(writer->written == reid_event_storage_sequence(storage));
    reid_event_storage_free(storage);
    reid_event_writer_free(writer);
}

static void before_the_first_time_the_eta_is_estimated(void **state)
{
    lines kept = {0};
    reid_console_options options = {.max_iter = 100, .print = keep_line, .user = &kept};
    reid_event_writer *writer = reid_console_writer_new(&options);
    reid_event_storage *storage = reid_event_storage_new(0);
    reid_event_writer_write(writer, storage, NULL);
    assert_memory_equal(kept.last, " epoch/iter: 0/0 ", 17);
    reid_event_writer_write(writer, storage, NULL); /* no iteration since: nothing to reckon with */
    assert_memory_equal(kept.last, " epoch/iter: 0/0 ", 17);
    reid_event_storage_set_iter(storage, 1);
    reid_event_writer_write(writer, storage, NULL);
    assert_memory_equal(kept.last, " eta: 0:00:0", 12);
    assert_null(reid_event_storage_history(storage, "eta_seconds"));
    reid_event_storage_free(storage);
    reid_event_writer_free(writer);
}

static void silent_at_the_end(void **state)
{
    lines kept = {0};
    reid_console_options options = {.max_iter = 10, .print = keep_line, .user = &kept};
    reid_event_writer *writer = reid_console_writer_new(&options);
    reid_event_storage *storage = reid_event_storage_new(10);
    put(storage, "total_loss", 1, true);
    assert_int_equal(reid_event_writer_write(writer, storage, NULL), REID_OK);
    assert_int_equal(kept.count, 0);
    assert_int_equal(reid_event_writer_close(writer, NULL), REID_OK);
    reid_event_storage_set_iter(storage, 5);
    assert_int_equal(reid_event_writer_write(writer, storage, NULL), REID_OK); /* closed */
    assert_int_equal(kept.count, 0);
    reid_event_storage_free(storage);
    reid_event_writer_free(writer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_line_is_fast_reids),
        cmocka_unit_test(what_is_missing_is_left_out),
        cmocka_unit_test(windows_are_fast_reids),
        cmocka_unit_test(eta_is_the_median_times_the_rest),
        cmocka_unit_test(before_the_first_time_the_eta_is_estimated),
        cmocka_unit_test(silent_at_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
