#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "events/writer.h"
#include "harness/harness.h"

typedef struct fixture {
    char *folder;
    char *path;
    reid_event_storage *storage;
    reid_event_writer *writer;
} fixture;

static int set_up(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    f->folder = reid_test_dir_new();
    f->path = reid_path_join(f->folder, "metrics.json");
    f->storage = reid_event_storage_new(0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    reid_event_writer_free(f->writer);
    reid_event_storage_free(f->storage);
    reid_test_dir_free(f->folder);
    free(f->path);
    free(f);
    return 0;
}

static void open_writer(fixture *f)
{
    reid_error err = {0};
    reid_assert_ok(reid_json_writer_open(f->path, &f->writer, &err), &err);
    f->writer->strict = true;
}

static void put(fixture *f, const char *name, double value, bool hint)
{
    reid_error err = {0};
    reid_assert_ok(reid_event_storage_put_scalar(f->storage, name, value, hint, &err), &err);
}

static void write_now(fixture *f)
{
    reid_error err = {0};
    reid_assert_ok(reid_event_writer_write(f->writer, f->storage, &err), &err);
    reid_assert_ok(reid_event_writer_flush(f->writer, &err), &err);
}

static void assert_file(const fixture *f, const char *expected)
{
    char *text = reid_test_read_text(f->path);
    assert_string_equal(text, expected);
    free(text);
}

/* The text is json.dumps(…, sort_keys=True) of CPython on the same values. */
static void a_line_is_what_python_writes(void **state)
{
    fixture *f = *state;
    open_writer(f);
    reid_event_storage_set_iter(f->storage, 199);
    put(f, "total_loss", 0.1 + 0.2, true);
    put(f, "lr", 3.5e-05, false);
    put(f, "data_time", 0.0, true);
    put(f, "Rank-1", 94.41805225653206, false);
    put(f, "loss_cls", NAN, true);
    put(f, "cls_accuracy", 1.0, true);
    put(f, "mAP", 1e16, false);
    put(f, "é\"\\\xf0\x9f\x98\x80", 1.0, true);
    write_now(f);
    assert_file(f, "{\"Rank-1\": 94.41805225653206, \"cls_accuracy\": 1.0, \"data_time\": 0.0, "
                   "\"iteration\": 199, \"loss_cls\": NaN, \"lr\": 3.5e-05, \"mAP\": 1e+16, "
                   "\"total_loss\": 0.30000000000000004, "
                   "\"\\u00e9\\\"\\\\\\ud83d\\ude00\": 1.0}\n");
}

static void only_what_is_new_is_written(void **state)
{
    fixture *f = *state;
    open_writer(f);
    write_now(f); /* nothing yet */
    assert_file(f, "");
    put(f, "a", 1, false);
    put(f, "b", 2, false);
    write_now(f);
    write_now(f);
    reid_event_storage_set_iter(f->storage, 4);
    put(f, "b", 3, false);
    reid_event_storage_set_iter(f->storage, 6);
    put(f, "z", 5, false);
    put(f, "iteration", 77, false); /* gives way */
    write_now(f);
    /* after the last step of an epoch: the iteration has a line already */
    put(f, "mAP", 50, false);
    write_now(f);
    assert_file(f, "{\"a\": 1.0, \"b\": 2.0, \"iteration\": 0}\n"
                   "{\"b\": 3.0, \"iteration\": 4}\n"
                   "{\"iteration\": 6, \"z\": 5.0}\n"
                   "{\"iteration\": 6, \"mAP\": 50.0}\n");
}

static void hinted_scalars_are_medians_of_20(void **state)
{
    fixture *f = *state;
    open_writer(f);
    for (int i = 0; i < 30; i++) {
        reid_event_storage_set_iter(f->storage, i);
        put(f, "s", i, true);
        put(f, "u", i, false);
    }
    write_now(f);
    assert_file(f, "{\"iteration\": 29, \"s\": 19.5, \"u\": 29.0}\n");
}

static void an_existing_file_grows(void **state)
{
    fixture *f = *state;
    free(reid_test_write_text(f->folder, "metrics.json", "{\"iteration\": 1}\n{\"iter"));
    open_writer(f);
    put(f, "a", 1, false);
    write_now(f);
    reid_event_writer_close(f->writer, NULL);
    reid_event_writer_free(f->writer);
    open_writer(f);
    put(f, "a", 2, false);
    write_now(f);
    assert_file(f, "{\"iteration\": 1}\n{\"iter\n{\"a\": 1.0, \"iteration\": 0}\n"
                   "{\"a\": 2.0, \"iteration\": 0}\n");
}

static void closing_writes_what_is_queued(void **state)
{
    fixture *f = *state;
    open_writer(f);
    put(f, "a", 1, false);
    reid_error err = {0};
    reid_assert_ok(reid_event_writer_write(f->writer, f->storage, &err), &err);
    reid_assert_ok(reid_event_writer_close(f->writer, &err), &err);
    assert_file(f, "{\"a\": 1.0, \"iteration\": 0}\n");
    put(f, "a", 2, false);
    assert_int_equal(reid_event_writer_write(f->writer, f->storage, NULL), REID_OK);
    assert_int_equal(reid_event_writer_close(f->writer, NULL), REID_OK);
    assert_file(f, "{\"a\": 1.0, \"iteration\": 0}\n");
}

static void a_folder_that_is_not_there_is_named(void **state)
{
    reid_event_writer *writer = NULL;
    reid_error err = {0};
    assert_int_equal(reid_json_writer_open("/nonexistent/metrics.json", &writer, &err),
                     REID_ERR_NOT_FOUND);
    assert_string_equal(err.text, "cannot open '/nonexistent/metrics.json' for appending: No such "
                                  "file or directory");
    assert_null(writer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_line_is_what_python_writes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(only_what_is_new_is_written, set_up, tear_down),
        cmocka_unit_test_setup_teardown(hinted_scalars_are_medians_of_20, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_existing_file_grows, set_up, tear_down),
        cmocka_unit_test_setup_teardown(closing_writes_what_is_queued, set_up, tear_down),
        cmocka_unit_test(a_folder_that_is_not_there_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
