/* The trainer on the real parts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "harness/harness.h"
#include "real_job.h"
#include "support.h"

/* All that a checkpoint holds, from one process to the next. */
static void hand_over(const job *from, job *to)
{
    reid_error err = {0};
    size_t bytes = from->params->total * sizeof(float);
    memcpy(to->params->value, from->params->value, bytes);
    memcpy(to->params->buffer_memory, from->params->buffer_memory, from->params->buffer_bytes);
    for (size_t i = 0; i < reid_optimizer_state_count(from->optimizer); i++)
        memcpy(reid_optimizer_state_at(to->optimizer, i).flat,
               reid_optimizer_state_at(from->optimizer, i).flat, bytes);
    reid_optimizer_set_step_count(to->optimizer, reid_optimizer_step_count(from->optimizer));
    reid_str events = REID_STR_INIT, saved = REID_STR_INIT;
    reid_event_storage_save(from->trainer.base.storage, &events);
    reid_assert_ok(
        reid_event_storage_load(to->trainer.base.storage, events.data, events.length, &err), &err);
    reid_trainer_save_state(&from->trainer.base, &saved);
    int64_t iter;
    reid_assert_ok(
        reid_trainer_load_state(&to->trainer.base, saved.data, saved.length, &iter, &err), &err);
    assert_int_equal(iter, from->trainer.base.iter);
    reid_str_fini(&events);
    reid_str_fini(&saved);
}

typedef struct stop_hook {
    reid_hook base;
    int64_t after;
} stop_hook;

static reid_status stop_after(reid_hook *hook, reid_error *err)
{
    if (hook->trainer->iter == ((stop_hook *)hook)->after)
        reid_trainer_request_stop(hook->trainer, "test");
    return REID_OK;
}

static const reid_hook_impl STOP = {.name = "Stop", .after_step = stop_after};

static void assert_same_history(const job *a, const job *b, const char *name)
{
    const reid_history *x = reid_event_storage_history(a->trainer.base.storage, name);
    const reid_history *y = reid_event_storage_history(b->trainer.base.storage, name);
    assert_non_null(x);
    assert_non_null(y);
    assert_int_equal(x->count, EPOCHS * STEPS);
    assert_int_equal(y->count, EPOCHS * STEPS);
    for (size_t i = 0; i < x->count; i++) {
        reid_history_sample p = reid_history_at(x, i), q = reid_history_at(y, i);
        assert_memory_equal(&p, &q, sizeof p);
    }
}

static void stop_and_resume(const char *folder, const job *whole, int64_t after)
{
    job first, second;
    reid_error err = {0};
    job_open(&first, folder, 0);
    stop_hook *stop = reid_xcalloc(1, sizeof *stop);
    *stop = (stop_hook){.base.impl = &STOP, .after = after};
    reid_trainer_add_hook(&first.trainer.base, &stop->base);
    assert_int_equal(reid_trainer_train(&first.trainer.base, 0, &err), REID_ERR_CANCELLED);
    int64_t done = first.trainer.base.iter;
    assert_int_equal(done, after + 1);
    job_open(&second, folder, done);
    hand_over(&first, &second);
    reid_error_clear(&err);
    reid_assert_ok(reid_trainer_train(&second.trainer.base, done, &err), &err);
    assert_memory_equal(whole->params->value, second.params->value,
                        whole->params->total * sizeof(float));
    assert_memory_equal(whole->params->buffer_memory, second.params->buffer_memory,
                        whole->params->buffer_bytes);
    static const char *const names[] = {"total_loss", "loss_cls", "loss_triplet", "cls_accuracy",
                                        "lr"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_same_history(whole, &second, names[i]);
    job_close(&first);
    job_close(&second);
}

/* Stopped in the middle of an epoch, at its end, in the warm-up and after it. */
static void a_resumed_training_has_the_same_bits(void **state)
{
    char *folder = reid_test_dir_new();
    test_write_market(folder, PIDS, IMAGES);
    job whole;
    reid_error err = {0};
    job_open(&whole, folder, 0);
    reid_assert_ok(reid_trainer_train(&whole.trainer.base, 0, &err), &err);
    static const int64_t stops[] = {0, 3, 5, 7, 10};
    for (size_t i = 0; i < sizeof stops / sizeof *stops; i++)
        stop_and_resume(folder, &whole, stops[i]);
    job_close(&whole);
    reid_test_dir_free(folder);
}

/* Images that the backend augments give the bits of those that the loader augments. */
static void bytes_give_the_same_bits(void **state)
{
    char *folder = reid_test_dir_new();
    test_write_market(folder, PIDS, IMAGES);
    job floats, bytes;
    reid_error err = {0};
    job_open(&floats, folder, 0);
    job_open(&bytes, folder, 0);
    assert_true(reid_backend_takes_bytes(bytes.backend));
    reid_assert_ok(reid_loader_give_bytes(bytes.loader, &err), &err);
    reid_assert_ok(reid_trainer_train(&floats.trainer.base, 0, &err), &err);
    reid_assert_ok(reid_trainer_train(&bytes.trainer.base, 0, &err), &err);
    assert_memory_equal(floats.params->value, bytes.params->value,
                        floats.params->total * sizeof(float));
    assert_same_history(&floats, &bytes, "total_loss");
    job_close(&floats);
    job_close(&bytes);
    reid_test_dir_free(folder);
}

/* Warm-up over 5 iterations from 0.1 of the rate, then steps of 0.1 counted in epochs that end
 * after it: the reference's formulas, worked out by hand. */
static void the_rate_logged_is_the_one_used(void **state)
{
    char *folder = reid_test_dir_new();
    test_write_market(folder, PIDS, IMAGES);
    job j;
    reid_error err = {0};
    job_open(&j, folder, 0);
    reid_assert_ok(reid_trainer_train(&j.trainer.base, 0, &err), &err);
    static const double expected[EPOCHS * STEPS] = {0.1, 0.28, 0.46, 0.64, 0.82, 1,
                                                    1,   1,    0.1,  0.1,  0.1,  0.1};
    reid_event_scalar lr;
    assert_true(reid_event_storage_find(j.trainer.base.storage, "lr", &lr));
    assert_false(lr.smoothing_hint);
    for (size_t i = 0; i < EPOCHS * STEPS; i++)
        reid_assert_close(reid_history_at(lr.history, i).value, 0.01 * expected[i], 1e-12, 0);
    const reid_history *loss = reid_event_storage_history(j.trainer.base.storage, "loss_cls");
    assert_true(reid_history_at(loss, 0).value > 1 && reid_history_at(loss, 0).value < 4);
    assert_true(reid_history_median(loss, 4) < reid_history_at(loss, 0).value);
    job_close(&j);
    reid_test_dir_free(folder);
}

/* Through the real parts: the images are those that the loader gave, and nothing was updated. */
static void a_diverged_network_names_its_images(void **state)
{
    char *folder = reid_test_dir_new();
    test_write_market(folder, PIDS, IMAGES);
    job j;
    job_open(&j, folder, 0);
    for (size_t i = 0; i < j.params->total; i++)
        j.params->value[i] = NAN;
    reid_error err = {0};
    assert_int_equal(reid_trainer_train(&j.trainer.base, 0, &err), REID_ERR_NONFINITE);
    const char *images = reid_simple_trainer_bad_images(&j.trainer);
    int lines = 0;
    for (const char *p = images; (p = strchr(p, '\n')); p++)
        lines++;
    assert_int_equal(lines, BATCH);
    assert_non_null(strstr(images, "/bounding_box_train/"));
    assert_non_null(strstr(err.text, folder));
    assert_int_equal(reid_optimizer_step_count(j.optimizer), 0);
    job_close(&j);
    reid_test_dir_free(folder);
}

/* Powers of two round nothing in float32, and the losses are told without the scale. */
static void scaling_the_loss_changes_no_bit(void **state)
{
    char *folder = reid_test_dir_new();
    test_write_market(folder, PIDS, IMAGES);
    job plain, scaled;
    reid_error err = {0};
    job_open(&plain, folder, 0);
    job_open_scaled(&scaled, folder, 0, 1024, 5);
    reid_assert_ok(reid_trainer_train(&plain.trainer.base, 0, &err), &err);
    reid_assert_ok(reid_trainer_train(&scaled.trainer.base, 0, &err), &err);
    assert_memory_equal(plain.params->value, scaled.params->value,
                        plain.params->total * sizeof(float));
    assert_same_history(&plain, &scaled, "total_loss");
    const reid_history *scale =
        reid_event_storage_history(scaled.trainer.base.storage, "loss_scale");
    for (size_t i = 0; i < EPOCHS * STEPS; i++)
        reid_assert_close(reid_history_at(scale, i).value, 1024 << i / 5, 0, 0);
    assert_int_equal(scaled.loss_scale.good_steps, EPOCHS * STEPS % 5);
    job_close(&plain);
    job_close(&scaled);
    reid_test_dir_free(folder);
}

#define FAR_TOO_LARGE 0x1p130

/* The first steps overflow: they change nothing but the scale. Resumed in the midst of them. */
static void steps_that_overflow_are_left_out(void **state)
{
    char *folder = reid_test_dir_new();
    test_write_market(folder, PIDS, IMAGES);
    job whole, first, second;
    reid_error err = {0};
    job_open_scaled(&whole, folder, 0, FAR_TOO_LARGE, 100);
    reid_assert_ok(reid_trainer_train(&whole.trainer.base, 0, &err), &err);
    const reid_history *scale =
        reid_event_storage_history(whole.trainer.base.storage, "loss_scale");
    int64_t skipped = EPOCHS * STEPS - reid_optimizer_step_count(whole.optimizer);
    assert_in_range(skipped, 2, EPOCHS * STEPS - 2);
    for (int64_t i = 0; i < EPOCHS * STEPS; i++)
        reid_assert_close(reid_history_at(scale, (size_t)i).value,
                          ldexp(FAR_TOO_LARGE, -(int)(i < skipped ? i : skipped)), 0, 0);
    assert_int_equal(whole.loss_scale.good_steps, EPOCHS * STEPS - skipped);

    job_open_scaled(&first, folder, 0, FAR_TOO_LARGE, 100);
    stop_hook *stop = reid_xcalloc(1, sizeof *stop);
    *stop = (stop_hook){.base.impl = &STOP, .after = 1};
    reid_trainer_add_hook(&first.trainer.base, &stop->base);
    float *start = reid_xcalloc(first.params->total, sizeof *start);
    memcpy(start, first.params->value, first.params->total * sizeof *start);
    assert_int_equal(reid_trainer_train(&first.trainer.base, 0, &err), REID_ERR_CANCELLED);
    assert_memory_equal(start, first.params->value, first.params->total * sizeof *start);
    free(start);
    job_open_scaled(&second, folder, 2, first.loss_scale.scale, 100);
    hand_over(&first, &second);
    reid_error_clear(&err);
    reid_assert_ok(reid_trainer_train(&second.trainer.base, 2, &err), &err);
    assert_memory_equal(whole.params->value, second.params->value,
                        whole.params->total * sizeof(float));
    job_close(&whole);
    job_close(&first);
    job_close(&second);
    reid_test_dir_free(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_resumed_training_has_the_same_bits),
        cmocka_unit_test(bytes_give_the_same_bits),
        cmocka_unit_test(the_rate_logged_is_the_one_used),
        cmocka_unit_test(a_diverged_network_names_its_images),
        cmocka_unit_test(scaling_the_loss_changes_no_bit),
        cmocka_unit_test(steps_that_overflow_are_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
