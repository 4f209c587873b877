#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "engine/hooks/eval_hook.h"
#include "harness/harness.h"
#include "script_trainer.h"
#include "thread_ranks.h"

typedef struct scene {
    reid_trainer *trainer;
    reid_str log;
    int datasets;
    int64_t fail_at_epoch; /* -1: never */
} scene;

static reid_status evaluate(void *user, reid_eval_results *results, reid_error *err)
{
    static const char *const names[] = {"Market1501", "DukeMTMC"};
    scene *s = user;
    reid_str_addf(&s->log, "%lld/%lld ", (long long)s->trainer->iter, (long long)s->trainer->epoch);
    if (s->trainer->epoch == s->fail_at_epoch)
        return reid_fail(err, REID_ERR_IO, "cannot read 'query/0001.jpg'");
    for (int i = 0; i < s->datasets; i++) {
        char name[16];
        snprintf(name, sizeof name, "%s", names[i]); /* texts are copied */
        reid_eval_results_add(results, name, "Rank-1", 90 + i);
        reid_eval_results_add(results, name, "mAP", 80 + i);
        memset(name, 'x', sizeof name - 1);
    }
    return REID_OK;
}

static void prepare(scene *s, script_trainer *trainer, int64_t period)
{
    script_trainer_init(trainer, 5, 2);
    s->trainer = &trainer->base;
    reid_eval_hook_options options = {.period = period, .evaluate = evaluate, .user = s};
    reid_trainer_add_hook(&trainer->base, reid_eval_hook_new(&options));
}

static void expect_evaluations(int64_t period, const char *expected)
{
    scene s = {.datasets = 1, .fail_at_epoch = -1};
    script_trainer trainer;
    prepare(&s, &trainer, period);
    assert_int_equal(reid_trainer_train(&trainer.base, 0, NULL), REID_OK);
    assert_string_equal(reid_str_text(&s.log), expected);
    reid_trainer_fini(&trainer.base);
    reid_str_fini(&s.log);
}

/* 5 epochs of 2 iterations: every period-th epoch, and the end when that was not one of them. */
static void evaluates_every_period_and_at_the_end(void **state)
{
    expect_evaluations(1, "2/0 4/1 6/2 8/3 10/4 ");
    expect_evaluations(2, "4/1 8/3 10/4 ");
    expect_evaluations(5, "10/4 ");
    expect_evaluations(7, "10/4 ");
    expect_evaluations(0, "");
}

static void check_scalar(const reid_trainer *trainer, const char *name, double value, int64_t iter)
{
    reid_event_scalar scalar;
    assert_true(reid_event_storage_find(trainer->storage, name, &scalar));
    assert_true(scalar.value == value && scalar.iter == iter && !scalar.smoothing_hint);
}

static void results_are_put_flat(void **state)
{
    for (int datasets = 1; datasets <= 2; datasets++) {
        scene s = {.datasets = datasets, .fail_at_epoch = -1};
        script_trainer trainer;
        prepare(&s, &trainer, 5);
        assert_int_equal(reid_trainer_train(&trainer.base, 0, NULL), REID_OK);
        assert_int_equal(reid_event_storage_count(trainer.base.storage), 2 * datasets);
        if (datasets == 1) {
            check_scalar(&trainer.base, "Rank-1", 90, 9);
            check_scalar(&trainer.base, "mAP", 80, 9);
        } else {
            check_scalar(&trainer.base, "Market1501/mAP", 80, 9);
            check_scalar(&trainer.base, "DukeMTMC/Rank-1", 91, 9);
        }
        reid_trainer_fini(&trainer.base);
        reid_str_fini(&s.log);
    }
}

static void a_failed_evaluation_ends_the_training(void **state)
{
    scene s = {.datasets = 1, .fail_at_epoch = 1};
    script_trainer trainer;
    prepare(&s, &trainer, 1);
    reid_error err = {0};
    assert_int_equal(reid_trainer_train(&trainer.base, 0, &err), REID_ERR_IO);
    assert_string_equal(err.text, "EvalHook, after_epoch: cannot read 'query/0001.jpg'");
    assert_string_equal(reid_str_text(&s.log), "2/0 4/1 ");
    reid_trainer_fini(&trainer.base);
    reid_str_fini(&s.log);
}

static reid_status break_in_the_last_step(reid_trainer *trainer, void *user, reid_error *err)
{
    return trainer->iter == 9 ? reid_fail(err, REID_ERR_NONFINITE, "nan") : REID_OK;
}

static reid_status stop_in_the_last_step(reid_trainer *trainer, void *user, reid_error *err)
{
    if (trainer->iter == 9)
        reid_trainer_request_stop(trainer, "test");
    return REID_OK;
}

/* fast-reid would evaluate here, on the ranks that are left: a hang that hides the cause. */
static void a_training_that_did_not_finish_is_not_evaluated(void **state)
{
    scene s = {.datasets = 1, .fail_at_epoch = -1};
    script_trainer trainer;
    prepare(&s, &trainer, 7);
    trainer.step = break_in_the_last_step;
    assert_int_equal(reid_trainer_train(&trainer.base, 0, NULL), REID_ERR_NONFINITE);
    reid_trainer_fini(&trainer.base);
    prepare(&s, &trainer, 7);
    trainer.step = stop_in_the_last_step;
    assert_int_equal(reid_trainer_train(&trainer.base, 0, NULL), REID_ERR_CANCELLED);
    assert_string_equal(reid_str_text(&s.log), "");
    reid_trainer_fini(&trainer.base);
    reid_str_fini(&s.log);
}

/* ---- all ranks wait for the slowest ---- */

static atomic_int evaluated;

static reid_status count_evaluation(void *user, reid_eval_results *results, reid_error *err)
{
    atomic_fetch_add(&evaluated, 1);
    return REID_OK;
}

static reid_status expect_all(reid_trainer *trainer, void *user, reid_error *err)
{
    int wanted = 3 * (int)(trainer->iter / 2);
    return atomic_load(&evaluated) < wanted ? reid_fail(err, REID_ERR_INTERNAL, "too early")
                                            : REID_OK;
}

static void evaluate_on_rank(reid_comm *comm, void *user)
{
    script_trainer trainer;
    script_trainer_init(&trainer, 5, 2);
    trainer.step = expect_all;
    reid_eval_hook_options options = {.period = 1, .evaluate = count_evaluation, .comm = comm};
    reid_trainer_add_hook(&trainer.base, reid_eval_hook_new(&options));
    ((reid_status *)user)[comm->rank] = reid_trainer_train(&trainer.base, 0, NULL);
    reid_trainer_fini(&trainer.base);
}

static void a_barrier_follows(void **state)
{
    reid_status statuses[3];
    test_run_ranks(3, evaluate_on_rank, statuses);
    for (int r = 0; r < 3; r++)
        assert_int_equal(statuses[r], REID_OK);
    assert_int_equal(atomic_load(&evaluated), 15);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(evaluates_every_period_and_at_the_end),
        cmocka_unit_test(results_are_put_flat),
        cmocka_unit_test(a_failed_evaluation_ends_the_training),
        cmocka_unit_test(a_training_that_did_not_finish_is_not_evaluated),
        cmocka_unit_test(a_barrier_follows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
