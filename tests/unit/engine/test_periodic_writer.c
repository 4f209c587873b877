#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/str.h"
#include "engine/hooks/eval_hook.h"
#include "engine/hooks/periodic_writer.h"
#include "harness/harness.h"
#include "script_trainer.h"

/* Notes the iterations at which it is written, and "close". */
typedef struct noting_writer {
    reid_event_writer base;
    reid_str *notes;
    reid_status answer;
} noting_writer;

static reid_status note_write(reid_event_writer *writer, reid_event_storage *storage,
                              reid_error *err)
{
    noting_writer *noting = (noting_writer *)writer;
    reid_str_addf(noting->notes, "%lld ", (long long)reid_event_storage_iter(storage));
    writer->written = reid_event_storage_sequence(storage);
    return noting->answer ? reid_fail(err, noting->answer, "'/a/file' broke") : REID_OK;
}

static reid_status note_close(reid_event_writer *writer, reid_error *err)
{
    reid_str_add(((noting_writer *)writer)->notes, "close ");
    return REID_OK;
}

static void free_noting(reid_event_writer *writer)
{
    free(writer);
}

static const reid_event_writer_impl NOTING = {
    .name = "noting", .write = note_write, .close = note_close, .free = free_noting};

static reid_event_writer *noting_writer_new(reid_str *notes)
{
    noting_writer *writer = reid_xcalloc(1, sizeof *writer);
    *writer = (noting_writer){.base.impl = &NOTING, .notes = notes};
    return &writer->base;
}

static reid_status put_loss(reid_trainer *trainer, void *user, reid_error *err)
{
    if (user && trainer->iter == *(int64_t *)user)
        return reid_fail(err, REID_ERR_IO, "the step broke");
    test_put(trainer->storage, "total_loss", 1.0 / (double)(trainer->iter + 1), true);
    return REID_OK;
}

static void add_writers(script_trainer *trainer, int64_t period, reid_event_writer *first,
                        reid_event_writer *second)
{
    reid_event_writer *writers[] = {first, NULL, second};
    reid_trainer_add_hook(&trainer->base, reid_periodic_writer_new(period, writers, 3));
}

/* fast-reid's places: (iter + 1) % period == 0, the last iteration, every after_epoch; and
 * after_train here. */
static void writes_where_fast_reid_does(void **state)
{
    reid_str a = REID_STR_INIT, b = REID_STR_INIT;
    script_trainer trainer;
    script_trainer_init(&trainer, 2, 5);
    trainer.step = put_loss;
    add_writers(&trainer, 4, noting_writer_new(&a), noting_writer_new(&b));
    assert_int_equal(reid_trainer_train(&trainer.base, 0, NULL), REID_OK);
    assert_string_equal(reid_str_text(&a), "3 4 7 9 9 10 close ");
    assert_string_equal(reid_str_text(&a), reid_str_text(&b));
    reid_trainer_fini(&trainer.base);
    reid_str_fini(&a);
    reid_str_fini(&b);
}

static void a_failed_training_is_written_and_closed(void **state)
{
    reid_str notes = REID_STR_INIT;
    script_trainer trainer;
    script_trainer_init(&trainer, 2, 5);
    int64_t broken = 6;
    trainer.step = put_loss;
    trainer.user = &broken;
    add_writers(&trainer, 100, noting_writer_new(&notes), NULL);
    assert_int_equal(reid_trainer_train(&trainer.base, 0, NULL), REID_ERR_IO);
    assert_string_equal(reid_str_text(&notes), "4 6 close ");
    reid_trainer_fini(&trainer.base);
    reid_str_fini(&notes);
}

static void a_broken_writer_does_not_end_the_training(void **state)
{
    reid_str bad = REID_STR_INIT, good = REID_STR_INIT;
    script_trainer trainer;
    script_trainer_init(&trainer, 1, 3);
    trainer.step = put_loss;
    reid_event_writer *broken = noting_writer_new(&bad);
    ((noting_writer *)broken)->answer = REID_ERR_EXHAUSTED;
    add_writers(&trainer, 1, broken, noting_writer_new(&good));
    assert_int_equal(reid_trainer_train(&trainer.base, 0, NULL), REID_OK);
    assert_string_equal(reid_str_text(&bad), "0 ");
    assert_string_equal(reid_str_text(&good), "0 1 2 2 3 close ");
    reid_trainer_fini(&trainer.base);
    reid_str_fini(&bad);
    reid_str_fini(&good);
}

static void a_strict_writer_ends_it_and_the_others_are_closed(void **state)
{
    reid_str bad = REID_STR_INIT, good = REID_STR_INIT;
    script_trainer trainer;
    script_trainer_init(&trainer, 1, 3);
    trainer.step = put_loss;
    reid_event_writer *broken = noting_writer_new(&bad);
    broken->strict = true;
    ((noting_writer *)broken)->answer = REID_ERR_EXHAUSTED;
    add_writers(&trainer, 2, broken, noting_writer_new(&good));
    reid_error err = {0};
    assert_int_equal(reid_trainer_train(&trainer.base, 0, &err), REID_ERR_EXHAUSTED);
    assert_string_equal(err.text, "PeriodicWriter, after_step: '/a/file' broke");
    assert_string_equal(reid_str_text(&good), "1 close ");
    reid_trainer_fini(&trainer.base);
    reid_str_fini(&bad);
    reid_str_fini(&good);
}

/* ---- metrics.json over a stop and a resume ---- */

static reid_status put_map(void *user, reid_eval_results *results, reid_error *err)
{
    const reid_trainer *trainer = user;
    reid_eval_results_add(results, "Market1501", "mAP", (double)trainer->iter);
    return REID_OK;
}

static void add_job_hooks(script_trainer *trainer, const char *path)
{
    trainer->step = put_loss;
    reid_eval_hook_options options = {.period = 2, .evaluate = put_map, .user = &trainer->base};
    reid_trainer_add_hook(&trainer->base, reid_eval_hook_new(&options));
    reid_event_writer *writer;
    reid_error err = {0};
    reid_assert_ok(reid_json_writer_open(path, &writer, &err), &err);
    add_writers(trainer, 4, writer, NULL);
}

typedef struct stop_hook {
    reid_hook base;
    int64_t iter;
} stop_hook;

static reid_status stop_here(reid_hook *hook, reid_error *err)
{
    if (hook->trainer->iter == ((stop_hook *)hook)->iter)
        reid_trainer_request_stop(hook->trainer, "test");
    return REID_OK;
}

static const reid_hook_impl STOP = {.name = "Stop", .before_step = stop_here};

/* Runs to the stop, saves, and runs the rest in a new trainer. stop_iter -1: in one go. */
static char *run_job(const char *folder, const char *name, int64_t stop_iter)
{
    char *path = reid_path_join(folder, name);
    reid_error err = {0};
    script_trainer trainer;
    script_trainer_init(&trainer, 3, 5);
    add_job_hooks(&trainer, path);
    stop_hook *stop = reid_xcalloc(1, sizeof *stop);
    *stop = (stop_hook){.base.impl = &STOP, .iter = stop_iter};
    reid_trainer_add_hook(&trainer.base, &stop->base);
    reid_status status = reid_trainer_train(&trainer.base, 0, &err);
    assert_int_equal(status, stop_iter < 0 ? REID_OK : REID_ERR_CANCELLED);
    if (status == REID_ERR_CANCELLED) {
        reid_str events = REID_STR_INIT, saved = REID_STR_INIT;
        reid_event_storage_save(trainer.base.storage, &events);
        reid_trainer_save_state(&trainer.base, &saved);
        script_trainer resumed;
        script_trainer_init(&resumed, 3, 5);
        add_job_hooks(&resumed, path);
        int64_t iter = -1;
        reid_error_clear(&err);
        bool storage_first = stop_iter % 2 == 0; /* either order will do */
        for (int i = 0; i < 2; i++) {
            if ((i == 0) == storage_first)
                reid_assert_ok(
                    reid_event_storage_load(resumed.base.storage, events.data, events.length, &err),
                    &err);
            else
                reid_assert_ok(
                    reid_trainer_load_state(&resumed.base, saved.data, saved.length, &iter, &err),
                    &err);
        }
        reid_assert_ok(reid_trainer_train(&resumed.base, iter, &err), &err);
        reid_trainer_fini(&resumed.base);
        reid_str_fini(&events);
        reid_str_fini(&saved);
    }
    reid_trainer_fini(&trainer.base);
    char *text = reid_test_read_text(path);
    free(path);
    return text;
}

/* Evaluation in the last iteration's epoch and at the end are there; stopping anywhere changes no
 * byte. */
static void the_file_of_a_resumed_training_is_the_same(void **state)
{
    char *folder = reid_test_dir_new();
    char *whole = run_job(folder, "whole.json", -1);
    assert_string_equal(whole,
                        "{\"iteration\": 3, \"total_loss\": 0.41666666666666663}\n"
                        "{\"iteration\": 4, \"total_loss\": 0.3333333333333333}\n"
                        "{\"iteration\": 7, \"total_loss\": 0.225}\n"
                        "{\"iteration\": 9, \"mAP\": 10.0, \"total_loss\": 0.18333333333333335}\n"
                        "{\"iteration\": 11, \"total_loss\": 0.15476190476190477}\n"
                        "{\"iteration\": 14, \"total_loss\": 0.125}\n"
                        "{\"iteration\": 15, \"mAP\": 15.0}\n");
    for (int64_t stop = 0; stop < 15; stop++) {
        char name[32];
        snprintf(name, sizeof name, "stop%lld.json", (long long)stop);
        char *text = run_job(folder, name, stop);
        assert_string_equal(text, whole);
        free(text);
    }
    free(whole);
    reid_test_dir_free(folder);
}

static void marks_that_fit_nothing_do_no_harm(void **state)
{
    static const struct {
        const char *mark;
        reid_status status;
        uint64_t written;
    } cases[] = {
        {"{\"noting\":1}", REID_OK, 1},
        {"{\"noting\":99}", REID_OK, 2}, /* of a storage that was not restored */
        {"{}", REID_OK, 2},              /* a writer that is new: nothing of the past */
        {"{\"noting\":\"x\"}", REID_ERR_CORRUPT, 0},
        {"{\"noting\":-4}", REID_ERR_CORRUPT, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        reid_str notes = REID_STR_INIT;
        script_trainer trainer;
        script_trainer_init(&trainer, 1, 3);
        reid_event_writer *writer = noting_writer_new(&notes);
        add_writers(&trainer, 1, writer, NULL);
        test_put(trainer.base.storage, "a", 1, true);
        test_put(trainer.base.storage, "a", 2, true);
        char text[256];
        snprintf(text, sizeof text,
                 "{\"version\":1,\"iteration\":1,\"iters_per_epoch\":3,\"hooks\":[{\"name\":"
                 "\"PeriodicWriter\",\"state\":%s}]}",
                 cases[i].mark);
        int64_t iter;
        assert_int_equal(reid_trainer_load_state(&trainer.base, text, strlen(text), &iter, NULL),
                         cases[i].status);
        if (cases[i].status == REID_OK) {
            writer->disabled = true; /* only the mark is looked at */
            assert_int_equal(reid_trainer_train(&trainer.base, 3, NULL), REID_OK);
        }
        assert_true(writer->written == cases[i].written);
        reid_trainer_fini(&trainer.base);
        reid_str_fini(&notes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_where_fast_reid_does),
        cmocka_unit_test(a_failed_training_is_written_and_closed),
        cmocka_unit_test(a_broken_writer_does_not_end_the_training),
        cmocka_unit_test(a_strict_writer_ends_it_and_the_others_are_closed),
        cmocka_unit_test(the_file_of_a_resumed_training_is_the_same),
        cmocka_unit_test(marks_that_fit_nothing_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
