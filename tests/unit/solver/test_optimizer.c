#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "harness/harness.h"
#include "solver/lr_schedule.h"
#include "solver/optimizer.h"

/* A network's parameters without a network: each takes 16 floats, in the reverse order of use,
 * frozen ones last. */
typedef struct fixture {
    reid_backend *backend;
    reid_params params;
    reid_param items[8];
} fixture;

static void add(fixture *f, const char *name, reid_param_kind kind, bool trainable, size_t offset)
{
    f->items[f->params.count++] = (reid_param){.name = (char *)name,
                                               .rank = 1,
                                               .shape = {16, 1, 1, 1},
                                               .kind = kind,
                                               .trainable = trainable,
                                               .offset = offset,
                                               .size = 16};
}

static int setup(void **state)
{
    fixture *f = reid_xcalloc(1, sizeof *f);
    reid_error err = {0};
    reid_assert_ok(reid_backend_open("ref", 1, &f->backend, &err), &err);
    f->params.items = f->items;
    f->params.backend = f->backend;
    add(f, "backbone.conv1.weight", REID_PARAM_WEIGHT, true, 80);
    add(f, "backbone.conv1.bias", REID_PARAM_BIAS, true, 64);
    add(f, "backbone.bn1.weight", REID_PARAM_NORM_WEIGHT, true, 48);
    add(f, "backbone.bn1.bias", REID_PARAM_NORM_BIAS, true, 32);
    add(f, "heads.weight", REID_PARAM_WEIGHT, true, 0);
    add(f, "heads.bottleneck.0.weight", REID_PARAM_NORM_WEIGHT, true, 16);
    add(f, "heads.bottleneck.0.bias", REID_PARAM_NORM_BIAS, false, 96);
    f->params.trainable = 96;
    f->params.total = 112;
    f->params.value = reid_backend_alloc(f->backend, 112 * sizeof(float));
    f->params.grad = reid_backend_alloc(f->backend, 112 * sizeof(float));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;
    reid_backend_release(f->backend, f->params.value, 112 * sizeof(float));
    reid_backend_release(f->backend, f->params.grad, 112 * sizeof(float));
    reid_backend_free(f->backend);
    free(f);
    return 0;
}

static reid_status make(fixture *f, const char *const *pairs, reid_optimizer **ret_optimizer,
                        reid_error *err)
{
    reid_config *config = reid_config_new();
    for (; *pairs; pairs += 2)
        reid_assert_ok(reid_config_set(config, pairs[0], pairs[1], err), err);
    reid_status status = reid_optimizer_new(config, &f->params, f->backend, ret_optimizer, err);
    reid_config_free(config);
    return status;
}

static reid_optimizer *make_ok(fixture *f, const char *const *pairs)
{
    reid_optimizer *optimizer = NULL;
    reid_error err = {0};
    reid_assert_ok(make(f, pairs, &optimizer, &err), &err);
    return optimizer;
}

static void defaults_give_one_group(void **state)
{
    static const char *const pairs[] = {NULL};
    reid_optimizer *o = make_ok(*state, pairs);
    assert_string_equal(reid_optimizer_name(o), "Adam");
    assert_int_equal(reid_optimizer_group_count(o), 1);
    assert_int_equal(reid_optimizer_group_range_count(o, 0), 1);
    reid_optimizer_range range = reid_optimizer_group_range(o, 0, 0);
    assert_int_equal(range.offset, 0);
    assert_int_equal(range.size, 96); /* without the frozen bias */
    reid_assert_close(reid_optimizer_group_lr(o, 0), 3e-4, 0, 0);
    reid_assert_close(reid_optimizer_group_weight_decay(o, 0), 5e-4, 0, 0);
    reid_optimizer_free(o);
}

/* Norm first, then the name "bias" (norm biases too), then the head. */
static void rules_apply_in_order(void **state)
{
    static const char *const pairs[] = {"SOLVER.BASE_LR",
                                        "0.1",
                                        "SOLVER.WEIGHT_DECAY",
                                        "0.01",
                                        "SOLVER.WEIGHT_DECAY_NORM",
                                        "0.02",
                                        "SOLVER.WEIGHT_DECAY_BIAS",
                                        "0.03",
                                        "SOLVER.BIAS_LR_FACTOR",
                                        "2.0",
                                        "SOLVER.HEADS_LR_FACTOR",
                                        "10.0",
                                        NULL};
    static const struct {
        double lr, decay;
        size_t ranges, offset, size;
    } EXPECTED[] = {
        {0.1, 0.01, 1, 80, 16}, /* conv1.weight */
        {0.2, 0.03, 2, 32, 16}, /* conv1.bias and bn1.bias, which do not touch */
        {0.1, 0.02, 1, 48, 16}, /* bn1.weight */
        {1.0, 0.01, 1, 0, 16},  /* heads.weight */
        {1.0, 0.02, 1, 16, 16}, /* heads.bottleneck.0.weight */
    };
    reid_optimizer *o = make_ok(*state, pairs);
    assert_int_equal(reid_optimizer_group_count(o), REID_COUNT_OF(EXPECTED));
    for (size_t i = 0; i < REID_COUNT_OF(EXPECTED); i++) {
        reid_assert_close(reid_optimizer_group_base_lr(o, i), EXPECTED[i].lr, 1e-15, 0);
        reid_assert_close(reid_optimizer_group_weight_decay(o, i), EXPECTED[i].decay, 0, 0);
        assert_int_equal(reid_optimizer_group_range_count(o, i), EXPECTED[i].ranges);
        assert_int_equal(reid_optimizer_group_range(o, i, 0).offset, EXPECTED[i].offset);
        assert_int_equal(reid_optimizer_group_range(o, i, 0).size, EXPECTED[i].size);
    }
    assert_int_equal(reid_optimizer_group_range(o, 1, 1).offset, 64);
    reid_optimizer_free(o);
}

/* As fast-reid's hook; two groups have 0.1 and two have 1, so the earlier pair wins. */
static void the_logged_rate_is_the_commonest(void **state)
{
    static const char *const pairs[] = {
        "SOLVER.BASE_LR", "0.1", "SOLVER.WEIGHT_DECAY_NORM", "0.02", "SOLVER.HEADS_LR_FACTOR",
        "10.0",           NULL};
    reid_optimizer *o = make_ok(*state, pairs);
    /* groups: conv (0.1, 5e-4) with both biases, bn (0.1, 0.02), heads (1, 5e-4), bottleneck (1,
     * 0.02) */
    assert_int_equal(reid_optimizer_group_count(o), 4);
    reid_assert_close(reid_optimizer_lr(o), 0.1, 0, 0);
    reid_optimizer_group_set_lr(o, 0, 0.05);
    reid_assert_close(reid_optimizer_lr(o), 0.05, 0, 0);
    reid_assert_close(reid_optimizer_group_base_lr(o, 0), 0.1, 0, 0);
    reid_optimizer_free(o);
}

/* torch.optim.Adam by hand: with equal gradients m̂ = g and v̂ = g², each step moves by lr·sign(g)
 * but for ε. */
static void adam_moves_by_the_rate(void **state)
{
    fixture *f = *state;
    static const char *const pairs[] = {"SOLVER.BASE_LR",
                                        "0.01",
                                        "SOLVER.WEIGHT_DECAY",
                                        "0.0",
                                        "SOLVER.WEIGHT_DECAY_NORM",
                                        "0.0",
                                        "SOLVER.WEIGHT_DECAY_BIAS",
                                        "0.0",
                                        NULL};
    reid_optimizer *o = make_ok(f, pairs);
    assert_int_equal(reid_optimizer_state_count(o), 2);
    assert_string_equal(reid_optimizer_state_at(o, 0).name, "exp_avg");
    assert_string_equal(reid_optimizer_state_at(o, 1).name, "exp_avg_sq");
    for (int step = 1; step <= 3; step++) {
        for (size_t i = 0; i < 96; i++)
            f->params.grad[i] = i % 2 ? -0.5f : 2.0f;
        reid_optimizer_step(o);
        assert_int_equal(reid_optimizer_step_count(o), step);
        for (size_t i = 0; i < 96; i++)
            reid_assert_close(f->params.value[i], (i % 2 ? 0.01 : -0.01) * step, 1e-5, 0);
    }
    reid_assert_close(reid_optimizer_state_at(o, 0).flat[0], 2 * (1 - 0.729), 1e-6, 0);
    reid_assert_close(reid_optimizer_state_at(o, 1).flat[1], 0.25 * (1 - 0.997002999), 1e-4, 0);
    for (size_t i = 96; i < 112; i++)
        reid_assert_close(f->params.value[i], 0, 0, 0);
    reid_optimizer_free(o);
}

/* lr 0.1, momentum 0.9, decay 0.5, gradient 1, value 1:
 * g = 1.5, b = 1.5, value 0.85; g = 1.425, b = 2.775, value 0.5725. Nesterov: 1 - 0.1·(1.5 +
 * 0.9·1.5) = 0.715. */
static void sgd_matches_hand_computed_steps(void **state)
{
    fixture *f = *state;
    static const struct {
        const char *momentum, *nesterov;
        double expected[2];
        size_t states;
    } CASES[] = {
        {"0.9", "False", {0.85, 0.5725}, 1},
        {"0.9", "True", {0.715, 0.715 - 0.1 * (1.3575 + 0.9 * (0.9 * 1.5 + 1.3575))}, 1},
        {"0.0", "False", {0.85, 0.85 - 0.1 * 1.425}, 0},
    };
    for (size_t k = 0; k < REID_COUNT_OF(CASES); k++) {
        const char *pairs[] = {"SOLVER.OPT",
                               "SGD",
                               "SOLVER.BASE_LR",
                               "0.1",
                               "SOLVER.MOMENTUM",
                               CASES[k].momentum,
                               "SOLVER.NESTEROV",
                               CASES[k].nesterov,
                               "SOLVER.WEIGHT_DECAY",
                               "0.5",
                               "SOLVER.WEIGHT_DECAY_NORM",
                               "0.5",
                               "SOLVER.WEIGHT_DECAY_BIAS",
                               "0.5",
                               NULL};
        reid_optimizer *o = make_ok(f, pairs);
        assert_int_equal(reid_optimizer_state_count(o), CASES[k].states);
        for (size_t i = 0; i < 96; i++)
            f->params.value[i] = f->params.grad[i] = 1.0f;
        for (int step = 0; step < 2; step++) {
            reid_optimizer_step(o);
            reid_assert_close(f->params.value[5], CASES[k].expected[step], 1e-6, 0);
            reid_assert_close(f->params.value[95], CASES[k].expected[step], 1e-6, 0);
        }
        reid_optimizer_free(o);
    }
}

/* Rate 1 without momentum, from zero: the value is minus the gradient that was used. */
#define PLAIN_SGD                                                                                  \
    "SOLVER.OPT", "SGD", "SOLVER.BASE_LR", "1.0", "SOLVER.MOMENTUM", "0.0",                        \
        "SOLVER.CLIP_GRADIENTS.ENABLED", "True"

static void clipping_bounds_the_gradient(void **state)
{
    fixture *f = *state;
    /* 96 gradients of 3: 2-norm 29.39, largest 3, 1-norm 288 */
    static const struct {
        const char *type, *value, *norm;
        double expected;
    } CASES[] = {
        {"norm", "5.0", "2.0", 3 * 5.0 / (29.393876913398138 + 1e-6)},
        {"norm", "50.0", "2.0", 3},
        {"norm", "0.0", "2.0", 0},
        {"norm", "1.5", ".inf", 3 * 1.5 / (3 + 1e-6)},
        {"norm", "28.8", "1.0", 0.3},
        {"value", "0.25", "2.0", 0.25},
        {"value", "4.0", "2.0", 3},
    };
    for (size_t k = 0; k < REID_COUNT_OF(CASES); k++)
        for (int scaled = 0; scaled < 2; scaled++) {
            const char *pairs[] = {PLAIN_SGD,      "SOLVER.CLIP_GRADIENTS.CLIP_TYPE",
                                   CASES[k].type,  "SOLVER.CLIP_GRADIENTS.CLIP_VALUE",
                                   CASES[k].value, "SOLVER.CLIP_GRADIENTS.NORM_TYPE",
                                   CASES[k].norm,  NULL};
            reid_optimizer *o = make_ok(f, pairs);
            double loss_scale = scaled ? 1024 : 1;
            memset(f->params.value, 0, 112 * sizeof(float));
            for (size_t i = 0; i < 96; i++)
                f->params.grad[i] = (float)((i % 3 ? 3 : -3) * loss_scale);
            if (scaled)
                assert_true(reid_optimizer_step_scaled(o, loss_scale));
            else
                reid_optimizer_step(o);
            reid_assert_close(f->params.value[0], CASES[k].expected, 1e-6, 0);
            reid_assert_close(f->params.value[95], -CASES[k].expected, 1e-6, 0);
            reid_optimizer_free(o);
        }
}

/* A gradient that overflowed costs the step, and nothing else. */
static void nonfinite_gradients_change_nothing(void **state)
{
    fixture *f = *state;
    static const char *const pairs[] = {NULL};
    static const float bad[] = {INFINITY, -INFINITY, NAN};
    reid_optimizer *o = make_ok(f, pairs);
    for (size_t k = 0; k < REID_COUNT_OF(bad); k++) {
        for (size_t i = 0; i < 96; i++)
            f->params.grad[i] = f->params.value[i] = 1;
        f->params.grad[70] = bad[k];
        assert_false(reid_optimizer_step_scaled(o, 65536));
        for (size_t i = 0; i < 96; i++)
            reid_assert_close(f->params.value[i], 1, 0, 0);
        assert_int_equal(reid_optimizer_step_count(o), 0);
    }
    f->params.grad[70] = 1;
    assert_true(reid_optimizer_step_scaled(o, 65536));
    assert_int_equal(reid_optimizer_step_count(o), 1);
    reid_optimizer_free(o);
}

/* The norm is taken group by group, each over all its ranges. */
static void clipping_is_per_group(void **state)
{
    fixture *f = *state;
    static const char *const pairs[] = {PLAIN_SGD, "SOLVER.WEIGHT_DECAY_BIAS",
                                        "0.0",     "SOLVER.CLIP_GRADIENTS.CLIP_VALUE",
                                        "10.0",    NULL};
    reid_optimizer *o = make_ok(f, pairs);
    assert_int_equal(reid_optimizer_group_count(o), 2);
    memset(f->params.value, 0, 112 * sizeof(float));
    for (size_t i = 0; i < 96; i++)
        f->params.grad[i] =
            (i >= 32 && i < 48) || (i >= 64 && i < 80) ? 5.0f : 0.5f; /* the biases' */
    reid_optimizer_step(o);
    reid_assert_close(f->params.value[40], -5 * 10 / (28.284271247461902 + 1e-6), 1e-6, 0);
    reid_assert_close(f->params.value[70], -5 * 10 / (28.284271247461902 + 1e-6), 1e-6, 0);
    reid_assert_close(f->params.value[0], -0.5, 0, 0); /* its norm is 4 */
    reid_optimizer_free(o);
}

static void run_steps(fixture *f, reid_optimizer *o, int from, int to)
{
    for (int step = from; step < to; step++) {
        for (size_t i = 0; i < 96; i++)
            f->params.grad[i] = (float)((int)(i * 7 + (size_t)step * 13) % 11 - 5) * 0.1f;
        reid_optimizer_step(o);
    }
}

/* Values, states and step count carried over give the bits of an uninterrupted run. */
static void restored_states_continue_exactly(void **state)
{
    fixture *f = *state;
    static const char *const optimizers[] = {"Adam", "SGD"};
    for (size_t k = 0; k < REID_COUNT_OF(optimizers); k++) {
        const char *pairs[] = {"SOLVER.OPT", optimizers[k], "SOLVER.BASE_LR", "0.01", NULL};
        float whole[112], saved[112];
        memset(f->params.value, 0, sizeof whole);
        reid_optimizer *o = make_ok(f, pairs);
        run_steps(f, o, 0, 6);
        memcpy(whole, f->params.value, sizeof whole);
        reid_optimizer_free(o);

        memset(f->params.value, 0, sizeof whole);
        reid_optimizer *first = make_ok(f, pairs), *second = make_ok(f, pairs);
        run_steps(f, first, 0, 3);
        for (size_t i = 0; i < reid_optimizer_state_count(first); i++) {
            memcpy(saved, reid_optimizer_state_at(first, i).flat, sizeof saved);
            memcpy(reid_optimizer_state_at(second, i).flat, saved, sizeof saved);
        }
        reid_optimizer_set_step_count(second, reid_optimizer_step_count(first));
        reid_optimizer_free(first);
        run_steps(f, second, 3, 6);
        assert_memory_equal(f->params.value, whole, sizeof whole);
        reid_optimizer_free(second);
    }
}

static void a_schedule_sets_every_group(void **state)
{
    fixture *f = *state;
    static const char *const pairs[] = {"SOLVER.BASE_LR", "0.1", "SOLVER.HEADS_LR_FACTOR", "10.0",
                                        NULL};
    reid_optimizer *o = make_ok(f, pairs);
    reid_config *config = reid_config_new();
    reid_error err = {0};
    reid_assert_ok(reid_config_set(config, "SOLVER.WARMUP_ITERS", "2", &err), &err);
    reid_lr_schedule *s = NULL;
    reid_assert_ok(reid_lr_schedule_new(config, 100, o, &s, &err), &err);
    static const double FACTORS[] = {0.1, 0.55, 1, 1};
    for (int64_t i = 0; i < 4; i++) {
        reid_assert_close(reid_optimizer_group_lr(o, 0), 0.1 * FACTORS[i], 1e-14, 0);
        reid_assert_close(reid_optimizer_group_lr(o, 1), 1.0 * FACTORS[i], 1e-14, 0);
        reid_lr_schedule_after_step(s, i);
    }
    reid_lr_schedule_free(s);
    reid_config_free(config);
    reid_optimizer_free(o);
}

static void bad_choices_are_named(void **state)
{
    static const struct {
        const char *pairs[5];
        reid_status status;
        const char *word;
    } CASES[] = {
        {{"SOLVER.OPT", "Lamb"}, REID_ERR_UNSUPPORTED, "Lamb"},
        {{"SOLVER.OPT", "SGD", "SOLVER.MOMENTUM", "-0.5"}, REID_ERR_INVALID, "MOMENTUM"},
        {{"SOLVER.CLIP_GRADIENTS.ENABLED", "True", "SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "full"},
         REID_ERR_INVALID,
         "full"},
        {{"SOLVER.CLIP_GRADIENTS.ENABLED", "True", "SOLVER.CLIP_GRADIENTS.NORM_TYPE", "0.0"},
         REID_ERR_INVALID,
         "NORM_TYPE"},
        {{"SOLVER.CLIP_GRADIENTS.ENABLED", "True", "SOLVER.CLIP_GRADIENTS.CLIP_VALUE", "-1.0"},
         REID_ERR_INVALID,
         "CLIP_VALUE"},
    };
    for (size_t i = 0; i < REID_COUNT_OF(CASES); i++) {
        reid_optimizer *o = NULL;
        reid_error err = {0};
        assert_int_equal(make(*state, CASES[i].pairs, &o, &err), CASES[i].status);
        assert_non_null(strstr(err.text, CASES[i].word));
        assert_null(o);
    }
    static const char *const nesterov[] = {
        "SOLVER.OPT", "SGD", "SOLVER.MOMENTUM", "0.0", "SOLVER.NESTEROV", "True", NULL};
    reid_optimizer *o = NULL;
    reid_error err = {0};
    assert_int_equal(make(*state, nesterov, &o, &err), REID_ERR_INVALID);
    reid_optimizer_free(NULL);
}

/* Control words: the scale multiplies what the schedule sets, the decay that of the groups that had
 * the main one. */
static void knobs_change_rates_and_decays(void **state)
{
    static const char *const pairs[] = {
        "SOLVER.BASE_LR", "0.1", "SOLVER.WEIGHT_DECAY_NORM", "0.02", "SOLVER.HEADS_LR_FACTOR",
        "10.0",           NULL};
    reid_optimizer *o = make_ok(*state, pairs);
    reid_optimizer_set_lr_scale(o, (reid_optimizer_lr_scale){0.5, 1});
    reid_assert_close(reid_optimizer_lr(o), 0.05, 0, 0);
    reid_assert_close(reid_optimizer_group_lr(o, 2), 0.5, 0, 0);
    reid_optimizer_group_set_lr(o, 0, 0.01); /* the schedule goes on */
    reid_assert_close(reid_optimizer_lr(o), 0.005, 0, 0);
    reid_assert_close(reid_optimizer_scheduled_lr(o), 0.01, 0, 0);
    reid_assert_close(reid_optimizer_group_base_lr(o, 0), 0.1, 0, 0);
    for (int i = 1; i < 200; i++) { /* the wanted rate to the last bit, and a tenth of it later */
        double wanted = 1e-5 * i, scheduled = 3.5e-4 / 3 * i;
        reid_optimizer_group_set_lr(o, 0, scheduled);
        reid_optimizer_set_lr_scale(o, (reid_optimizer_lr_scale){wanted, scheduled});
        assert_true(reid_optimizer_lr(o) == wanted);
        reid_optimizer_group_set_lr(o, 0, scheduled * 0.1);
        reid_assert_close(reid_optimizer_lr(o), wanted * 0.1, 1e-14, 0);
    }
    reid_optimizer_set_weight_decay(o, 0.25);
    reid_assert_close(reid_optimizer_weight_decay(o), 0.25, 0, 0);
    reid_assert_close(reid_optimizer_group_weight_decay(o, 0), 0.25, 0, 0);
    reid_assert_close(reid_optimizer_group_weight_decay(o, 1), 0.02, 0, 0);
    reid_assert_close(reid_optimizer_group_weight_decay(o, 2), 0.25, 0, 0);
    reid_assert_close(reid_optimizer_group_weight_decay(o, 3), 0.02, 0, 0);
    assert_false(reid_optimizer_clips(o));
    reid_optimizer_free(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(defaults_give_one_group, setup, teardown),
        cmocka_unit_test_setup_teardown(rules_apply_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(the_logged_rate_is_the_commonest, setup, teardown),
        cmocka_unit_test_setup_teardown(adam_moves_by_the_rate, setup, teardown),
        cmocka_unit_test_setup_teardown(sgd_matches_hand_computed_steps, setup, teardown),
        cmocka_unit_test_setup_teardown(clipping_bounds_the_gradient, setup, teardown),
        cmocka_unit_test_setup_teardown(clipping_is_per_group, setup, teardown),
        cmocka_unit_test_setup_teardown(nonfinite_gradients_change_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(restored_states_continue_exactly, setup, teardown),
        cmocka_unit_test_setup_teardown(a_schedule_sets_every_group, setup, teardown),
        cmocka_unit_test_setup_teardown(knobs_change_rates_and_decays, setup, teardown),
        cmocka_unit_test_setup_teardown(bad_choices_are_named, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
