#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "engine/hooks/eval_hook.h"
#include "engine/hooks/periodic_checkpointer.h"
#include "harness/harness.h"
#include "script_trainer.h"

typedef struct scene {
    reid_trainer *trainer;
    reid_str log;
    reid_str state_at_best; /* the trainer's state as model_best would hold it */
    const double *metrics;  /* by epoch */
    const char *fail_name;
} scene;

static reid_status save(void *user, const reid_checkpoint_request *request, reid_error *err)
{
    scene *s = user;
    reid_str_addf(&s->log, "%s %lld %lld %g%s\n", request->name, (long long)request->epoch,
                  (long long)request->iter, request->metric, request->best ? " best" : "");
    if (request->best) {
        reid_str_clear(&s->state_at_best);
        reid_trainer_save_state(s->trainer, &s->state_at_best);
    }
    if (s->fail_name && strcmp(s->fail_name, request->name) == 0)
        return reid_fail(err, REID_ERR_EXHAUSTED, "the disk is full");
    return REID_OK;
}

static reid_status evaluate(void *user, reid_eval_results *results, reid_error *err)
{
    scene *s = user;
    reid_eval_results_add(results, "A", "metric", s->metrics[s->trainer->epoch]);
    reid_eval_results_add(results, "A", "mAP", 1);
    return REID_OK;
}

static void prepare(scene *s, script_trainer *trainer, int64_t max_epoch, int64_t eval_period,
                    int64_t period)
{
    script_trainer_init(trainer, max_epoch, 3);
    s->trainer = &trainer->base;
    reid_eval_hook_options eval = {.period = eval_period, .evaluate = evaluate, .user = s};
    reid_trainer_add_hook(&trainer->base, reid_eval_hook_new(&eval));
    reid_periodic_checkpointer_options options = {.period = period, .save = save, .user = s};
    reid_trainer_add_hook(&trainer->base, reid_periodic_checkpointer_new(&options));
}

static void finish(scene *s, script_trainer *trainer)
{
    reid_trainer_fini(&trainer->base);
    reid_str_fini(&s->log);
    reid_str_fini(&s->state_at_best);
}

/* fast-reid's PeriodicCheckpointer.step, by hand for these metrics. */
static void names_and_order_are_fast_reids(void **state)
{
    const double metrics[] = {10, 30, 20, 20, 40};
    scene s = {.metrics = metrics};
    script_trainer trainer;
    prepare(&s, &trainer, 5, 1, 2);
    assert_int_equal(reid_trainer_train(&trainer.base, 0, NULL), REID_OK);
    assert_string_equal(reid_str_text(&s.log), "model_best 1 6 30 best\nmodel_0001 1 6 30\n"
                                               "model_0003 3 12 20\n"
                                               "model_best 4 15 40 best\nmodel_final 4 15 40\n");
    finish(&s, &trainer);
}

/* A metric that was not measured again does not beat itself; without one there is no best. */
static void without_a_metric_there_is_no_best(void **state)
{
    const double metrics[] = {0, 0, 25, NAN, 0};
    scene s = {.metrics = metrics};
    script_trainer trainer;
    prepare(&s, &trainer, 4, 3, 1);
    assert_int_equal(reid_trainer_train(&trainer.base, 0, NULL), REID_OK);
    assert_string_equal(reid_str_text(&s.log),
                        "model_0000 0 3 -1\nmodel_0001 1 6 -1\nmodel_best 2 9 25 best\n"
                        "model_0002 2 9 25\nmodel_final 3 12 25\n");
    finish(&s, &trainer);
}

static void a_nan_is_never_best(void **state)
{
    const double metrics[] = {NAN, 3, NAN};
    scene s = {.metrics = metrics};
    script_trainer trainer;
    prepare(&s, &trainer, 3, 1, 1);
    assert_int_equal(reid_trainer_train(&trainer.base, 0, NULL), REID_OK);
    assert_string_equal(reid_str_text(&s.log),
                        "model_0000 0 3 nan\nmodel_best 1 6 3 best\nmodel_0001 1 6 3\n"
                        "model_final 2 9 nan\n");
    finish(&s, &trainer);
}

static void period_0_saves_at_the_end(void **state)
{
    const double metrics[] = {1, 2, 3};
    scene s = {.metrics = metrics};
    script_trainer trainer;
    prepare(&s, &trainer, 3, 0, 0);
    assert_int_equal(reid_trainer_train(&trainer.base, 0, NULL), REID_OK);
    assert_string_equal(reid_str_text(&s.log), "model_final 2 9 -1\n");
    finish(&s, &trainer);
}

static void a_failed_save_ends_the_training(void **state)
{
    const double metrics[] = {1, 2, 3};
    scene s = {.metrics = metrics, .fail_name = "model_0000"};
    script_trainer trainer;
    prepare(&s, &trainer, 3, 0, 1);
    reid_error err = {0};
    assert_int_equal(reid_trainer_train(&trainer.base, 0, &err), REID_ERR_EXHAUSTED);
    assert_string_equal(err.text, "PeriodicCheckpointer, after_epoch: the disk is full");
    finish(&s, &trainer);
}

/* From the state in the checkpoint itself: the best so far is known, and the epoch is done. */
static void the_best_is_remembered(void **state)
{
    const double metrics[] = {30, 20, 31};
    scene first = {.metrics = metrics};
    script_trainer trainer;
    prepare(&first, &trainer, 3, 1, 1);
    assert_int_equal(reid_trainer_train(&trainer.base, 0, NULL), REID_OK);
    reid_str saved = REID_STR_INIT; /* of model_best at epoch 0 */
    reid_str_add(&saved, "{\"version\":1,\"iteration\":3,\"iters_per_epoch\":3,\"epoch_open\":"
                         "false,\"hooks\":[{\"name\":\"PeriodicCheckpointer\",\"state\":{"
                         "\"best_metric\":30.0}}]}");
    scene second = {.metrics = metrics};
    script_trainer resumed;
    prepare(&second, &resumed, 3, 1, 1);
    int64_t iter;
    reid_error err = {0};
    reid_assert_ok(reid_trainer_load_state(&resumed.base, saved.data, saved.length, &iter, &err),
                   &err);
    reid_assert_ok(reid_trainer_train(&resumed.base, iter, &err), &err);
    assert_string_equal(reid_str_text(&second.log),
                        "model_0001 1 6 20\nmodel_best 2 9 31 best\nmodel_final 2 9 31\n");
    assert_non_null(strstr(reid_str_text(&second.state_at_best), "\"best_metric\":31"));
    assert_non_null(strstr(reid_str_text(&second.state_at_best), "\"epoch_open\":false"));
    reid_str_fini(&saved);
    finish(&first, &trainer);
    finish(&second, &resumed);
}

static void a_bad_state_is_refused(void **state)
{
    const char *const bad[] = {"{}", "{\"best_metric\":\"x\"}", "3"};
    for (size_t i = 0; i < 3; i++) {
        const double metrics[] = {0};
        scene s = {.metrics = metrics};
        script_trainer trainer;
        prepare(&s, &trainer, 3, 1, 1);
        char text[256];
        snprintf(text, sizeof text,
                 "{\"version\":1,\"iteration\":3,\"iters_per_epoch\":3,\"hooks\":[{\"name\":"
                 "\"PeriodicCheckpointer\",\"state\":%s}]}",
                 bad[i]);
        int64_t iter;
        assert_int_equal(reid_trainer_load_state(&trainer.base, text, strlen(text), &iter, NULL),
                         REID_ERR_CORRUPT);
        finish(&s, &trainer);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_order_are_fast_reids),
        cmocka_unit_test(without_a_metric_there_is_no_best),
        cmocka_unit_test(a_nan_is_never_best),
        cmocka_unit_test(period_0_saves_at_the_end),
        cmocka_unit_test(a_failed_save_ends_the_training),
        cmocka_unit_test(the_best_is_remembered),
        cmocka_unit_test(a_bad_state_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
