#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/compiler.h"
#include "harness/harness.h"
#include "solver/lr_schedule.h"

/* Configured by a NULL-terminated list of KEY, VALUE. */
static reid_config *config_of(const char *const *pairs)
{
    reid_config *config = reid_config_new();
    reid_error err = {0};
    for (; *pairs; pairs += 2)
        reid_assert_ok(reid_config_set(config, pairs[0], pairs[1], &err), &err);
    return config;
}

static reid_lr_schedule *schedule_of(const char *const *pairs, int64_t iters_per_epoch)
{
    reid_config *config = config_of(pairs);
    reid_error err = {0};
    reid_lr_schedule *schedule = NULL;
    reid_assert_ok(reid_lr_schedule_new(config, iters_per_epoch, NULL, &schedule, &err), &err);
    reid_config_free(config);
    return schedule;
}

/* Runs iterations [from, to) as a trainer does. */
static void advance(reid_lr_schedule *s, int64_t iters_per_epoch, int64_t from, int64_t to)
{
    for (int64_t i = from; i < to; i++) {
        reid_lr_schedule_after_step(s, i);
        if ((i + 1) % iters_per_epoch == 0)
            reid_lr_schedule_after_epoch(s, i / iters_per_epoch);
    }
}

static void warm_up_methods_follow_their_formulas(void **state)
{
    static const struct {
        const char *method;
        double at[6]; /* of a base rate of 1, WARMUP_ITERS 4, WARMUP_FACTOR 0.1 */
    } CASES[] = {
        {"constant", {0.1, 0.1, 0.1, 0.1, 1, 1}},
        {"linear", {0.1, 0.325, 0.55, 0.775, 1, 1}},
        {"exp", {0.1, 0.1778279410038923, 0.31622776601683794, 0.5623413251903491, 1, 1}},
    };
    for (size_t k = 0; k < REID_COUNT_OF(CASES); k++) {
        const char *pairs[] = {"SOLVER.WARMUP_ITERS", "4", "SOLVER.WARMUP_METHOD", CASES[k].method,
                               NULL};
        reid_lr_schedule *s = schedule_of(pairs, 100);
        for (int64_t i = 0; i < 6; i++) {
            reid_assert_close(reid_lr_schedule_lr(s, 1), CASES[k].at[i], 1e-14, 0);
            reid_lr_schedule_after_step(s, i);
        }
        reid_lr_schedule_free(s);
    }
}

/* Bag of Tricks on Market-1501: 202 iterations per epoch and a warm-up of 2000, so the first epoch
 * that counts ends after iteration 2020, and the steps [40, 90] come with 49 and 99 epochs done. */
static void milestones_count_epochs_behind_the_warm_up(void **state)
{
    static const char *const pairs[] = {"SOLVER.WARMUP_ITERS", "2000", "SOLVER.STEPS", "[40, 90]",
                                        NULL};
    reid_lr_schedule *s = schedule_of(pairs, 202);
    static const struct {
        int64_t epochs_done, epoch_steps;
        double lr;
    } AT[] = {{9, 0, 0.1 + 0.9 * 1818 / 2000},
              {10, 1, 1},
              {48, 39, 1},
              {49, 40, 0.1},
              {98, 89, 0.1},
              {99, 90, 0.01}};
    int64_t done = 0;
    for (size_t k = 0; k < REID_COUNT_OF(AT); k++) {
        advance(s, 202, done, AT[k].epochs_done * 202);
        done = AT[k].epochs_done * 202;
        assert_int_equal(reid_lr_schedule_state_get(s).epoch_steps, AT[k].epoch_steps);
        reid_assert_close(reid_lr_schedule_lr(s, 1), AT[k].lr, 1e-14, 0);
    }
    reid_lr_schedule_free(s);
}

static void a_warm_up_that_ends_with_an_epoch_counts_it(void **state)
{
    static const char *const pairs[] = {"SOLVER.WARMUP_ITERS", "10", "SOLVER.STEPS", "[1]", NULL};
    reid_lr_schedule *s = schedule_of(pairs, 5);
    advance(s, 5, 0, 9);
    reid_assert_close(reid_lr_schedule_lr(s, 1), 0.1 + 0.9 * 0.9, 1e-14, 0);
    advance(s, 5, 9, 10);
    reid_assert_close(reid_lr_schedule_lr(s, 1), 0.1, 1e-14, 0);
    reid_lr_schedule_free(s);
}

static void delay_epochs_hold_the_schedule(void **state)
{
    static const char *const pairs[] = {
        "SOLVER.WARMUP_ITERS", "0", "SOLVER.DELAY_EPOCHS", "3", "SOLVER.STEPS", "[1]", NULL};
    reid_lr_schedule *s = schedule_of(pairs, 2);
    advance(s, 2, 0, 6);
    assert_int_equal(reid_lr_schedule_state_get(s).epoch_steps, 0);
    reid_assert_close(reid_lr_schedule_lr(s, 1), 1, 0, 0);
    advance(s, 2, 6, 8);
    reid_assert_close(reid_lr_schedule_lr(s, 1), 0.1, 1e-14, 0);
    reid_lr_schedule_free(s);
}

static void a_milestone_named_twice_counts_twice(void **state)
{
    static const char *const pairs[] = {
        "SOLVER.WARMUP_ITERS", "0", "SOLVER.STEPS", "[2, 1, 2]", "SOLVER.GAMMA", "0.5", NULL};
    reid_lr_schedule *s = schedule_of(pairs, 1);
    static const double EXPECTED[] = {1, 0.5, 0.125, 0.125};
    for (int64_t i = 0; i < 4; i++) {
        reid_assert_close(reid_lr_schedule_lr(s, 1), EXPECTED[i], 0, 0);
        advance(s, 1, i, i + 1);
    }
    reid_lr_schedule_free(s);
}

/* T_max = 10 - max(ceil(7 / 4), 1) = 8. */
static void cosine_falls_to_its_end(void **state)
{
    static const char *const pairs[] = {"SOLVER.SCHED",
                                        "CosineAnnealingLR",
                                        "SOLVER.MAX_EPOCH",
                                        "10",
                                        "SOLVER.WARMUP_ITERS",
                                        "7",
                                        "SOLVER.DELAY_EPOCHS",
                                        "1",
                                        "SOLVER.ETA_MIN_LR",
                                        "0.1",
                                        NULL};
    reid_lr_schedule *s = schedule_of(pairs, 4);
    advance(s, 4, 0, 8); /* the warm-up ends inside epoch 1, whose end is the first step */
    assert_int_equal(reid_lr_schedule_state_get(s).epoch_steps, 1);
    reid_assert_close(reid_lr_schedule_lr(s, 1.1), 0.1 + 0.5 * (1 + 0.9238795325112867), 1e-14, 0);
    advance(s, 4, 8, 20);
    reid_assert_close(reid_lr_schedule_lr(s, 1.1), 0.6, 1e-14, 0);
    advance(s, 4, 20, 36);
    reid_assert_close(reid_lr_schedule_lr(s, 1.1), 0.1, 1e-13, 0);
    reid_lr_schedule_free(s);
}

static void cosine_without_an_epoch_left_stays_at_the_base_rate(void **state)
{
    static const char *const pairs[] = {"SOLVER.SCHED",
                                        "CosineAnnealingLR",
                                        "SOLVER.MAX_EPOCH",
                                        "2",
                                        "SOLVER.WARMUP_ITERS",
                                        "8",
                                        NULL};
    reid_lr_schedule *s = schedule_of(pairs, 4);
    advance(s, 4, 0, 8);
    reid_assert_close(reid_lr_schedule_lr(s, 0.5), 0.5, 0, 0);
    reid_lr_schedule_free(s);
}

/* A schedule that is saved and restored after any iteration goes on with the same bits. */
static void state_restores_the_curve(void **state)
{
    static const char *const schedules[] = {"MultiStepLR", "CosineAnnealingLR"};
    for (size_t k = 0; k < REID_COUNT_OF(schedules); k++) {
        const char *pairs[] = {"SOLVER.SCHED",
                               schedules[k],
                               "SOLVER.MAX_EPOCH",
                               "8",
                               "SOLVER.WARMUP_ITERS",
                               "7",
                               "SOLVER.STEPS",
                               "[2, 4]",
                               NULL};
        for (int64_t cut = 0; cut <= 24; cut++) {
            reid_lr_schedule *whole = schedule_of(pairs, 3), *resumed = schedule_of(pairs, 3);
            reid_error err = {0};
            advance(whole, 3, 0, cut);
            reid_assert_ok(
                reid_lr_schedule_state_set(resumed, reid_lr_schedule_state_get(whole), &err), &err);
            for (int64_t i = cut; i < 24; i++) {
                double a = reid_lr_schedule_lr(whole, 3.5e-4),
                       b = reid_lr_schedule_lr(resumed, 3.5e-4);
                assert_memory_equal(&a, &b, sizeof a);
                advance(whole, 3, i, i + 1);
                advance(resumed, 3, i, i + 1);
            }
            reid_lr_schedule_free(whole);
            reid_lr_schedule_free(resumed);
        }
    }
}

static void impossible_states_are_refused(void **state)
{
    static const char *const pairs[] = {"SOLVER.WARMUP_ITERS", "10", NULL};
    static const reid_lr_schedule_state BAD[] = {{-1, 0}, {0, -1}, {11, 0}, {5, 1}};
    reid_lr_schedule *s = schedule_of(pairs, 5);
    for (size_t i = 0; i < REID_COUNT_OF(BAD); i++) {
        reid_error err = {0};
        assert_int_equal(reid_lr_schedule_state_set(s, BAD[i], &err), REID_ERR_INVALID);
        assert_non_null(strstr(err.text, "WARMUP_ITERS"));
        assert_int_equal(reid_lr_schedule_state_get(s).warmup_steps, 0);
    }
    reid_lr_schedule_free(s);
}

static void bad_choices_are_named(void **state)
{
    static const struct {
        const char *key, *value;
        int64_t iters_per_epoch;
        reid_status status;
        const char *word;
    } CASES[] = {
        {"SOLVER.SCHED", "OneCycleLR", 10, REID_ERR_UNSUPPORTED, "OneCycleLR"},
        {"SOLVER.WARMUP_METHOD", "quadratic", 10, REID_ERR_INVALID, "quadratic"},
        {"SOLVER.SCHED", "MultiStepLR", 0, REID_ERR_INVALID, "IMS_PER_BATCH"},
    };
    for (size_t i = 0; i < REID_COUNT_OF(CASES); i++) {
        const char *pairs[] = {CASES[i].key, CASES[i].value, NULL};
        reid_config *config = config_of(pairs);
        reid_lr_schedule *schedule = NULL;
        reid_error err = {0};
        assert_int_equal(
            reid_lr_schedule_new(config, CASES[i].iters_per_epoch, NULL, &schedule, &err),
            CASES[i].status);
        assert_non_null(strstr(err.text, CASES[i].word));
        assert_null(schedule);
        reid_config_free(config);
    }
    reid_lr_schedule_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(warm_up_methods_follow_their_formulas),
        cmocka_unit_test(milestones_count_epochs_behind_the_warm_up),
        cmocka_unit_test(a_warm_up_that_ends_with_an_epoch_counts_it),
        cmocka_unit_test(delay_epochs_hold_the_schedule),
        cmocka_unit_test(a_milestone_named_twice_counts_twice),
        cmocka_unit_test(cosine_falls_to_its_end),
        cmocka_unit_test(cosine_without_an_epoch_left_stays_at_the_base_rate),
        cmocka_unit_test(state_restores_the_curve),
        cmocka_unit_test(impossible_states_are_refused),
        cmocka_unit_test(bad_choices_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
