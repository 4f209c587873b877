/* What backward computes anew has the bits that forward had, at every level, whatever lies around
 * it; and it is worth it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "nets.h"
#include "nn/plan_impl.h"

#define LEVELS 4

typedef struct run {
    net t;
    reid_backend *backend;
    reid_params *params;
    reid_plan *plan;
} run;

/* Frozen: parameters whose names begin so; NULL: none. */
static run run_of(net t, const char *backend, reid_plan_options options, const char *frozen)
{
    run r = {.t = t};
    reid_error err = {0};
    const reid_params_options layout = {.compute = options.compute};
    options.training = true;
    if (reid_backend_open(backend, 1, &r.backend, &err) != REID_OK ||
        reid_params_new(t.g, r.backend, &layout, &r.params, &err) != REID_OK)
        fail_msg("%s", err.text);
    for (size_t i = 0; frozen && i < r.params->count; i++)
        if (strncmp(r.params->items[i].name, frozen, strlen(frozen)) == 0)
            r.params->items[i].trainable = false;
    if (reid_plan_new(t.g, r.backend, r.params, &options, &r.plan, &err) != REID_OK)
        fail_msg("%s", err.text);
    randomize(r.params);
    return r;
}

static void run_fini(run *r)
{
    reid_plan_free(r->plan);
    reid_params_free(r->params);
    reid_backend_free(r->backend);
    reid_graph_free(r->t.g);
}

/* A step from memory full of NaN, so that whatever is read before it is written shows. */
static void step(run *r)
{
    memset(r->plan->arena, 0xff, r->plan->arena_bytes);
    for (size_t i = 0; i < r->params->total; i++)
        r->params->grad[i] = 0.0f;
    upload(&r->t, r->plan);
    assert_int_equal(reid_plan_forward(r->plan, NULL), REID_OK);
    assert_int_equal(reid_plan_backward(r->plan, NULL, NULL, NULL), REID_OK);
}

/* Plain gradient descent: differences grow from step to step, if there are any. */
static void descend(run *r)
{
    for (size_t i = 0; i < r->params->total; i++)
        r->params->value[i] -= 0.01f * r->params->grad[i];
}

static void assert_same_bits(const run *a, const run *b)
{
    size_t bytes = a->params->total * sizeof(float);
    for (size_t i = 0; i < a->params->trainable; i++)
        assert_true(isfinite(a->params->grad[i]));
    assert_memory_equal(a->params->grad, b->params->grad, bytes);
    assert_memory_equal(a->params->value, b->params->value, bytes);
    assert_memory_equal(a->params->buffer_memory, b->params->buffer_memory,
                        a->params->buffer_bytes);
    for (size_t i = 0; i < reid_plan_scalar_count(a->plan); i++)
        assert_true(reid_plan_scalar(a->plan, i) == reid_plan_scalar(b->plan, i));
}

typedef net make_net(void);

static net residual_net(void)
{
    return net_new(4, 32, 32, 4, true);
}

/* Three equal blocks and one that shrinks: a chain of shortcuts without a break; its values are
 * read by additions and rectifiers of their own, too. */
static net chained_net(void)
{
    net t = {.g = reid_graph_new(), .n = 4, .c = 3, .h = 16, .w = 16, .classes = 5};
    reid_graph *g = t.g;
    t.images = reid_graph_images(g, t.n, t.c, t.h, t.w);
    reid_value x = reid_graph_conv2d(g, t.images, "stem", (reid_conv2d){20, 3, 1, 1, true});
    x = reid_graph_relu(g, reid_graph_batch_norm(g, x, "stem_norm", (reid_batch_norm){0}));
    x = basic_block(g, x, "a", 20, 1);
    reid_value first = x;
    x = basic_block(g, x, "b", 20, 1);
    x = basic_block(g, x, "c", 20, 1);
    x = reid_graph_relu(g, reid_graph_add(g, x, first));
    reid_value y = reid_graph_conv2d(g, x, "d", (reid_conv2d){20, 1, 1, 0, false});
    x = reid_graph_add(g, reid_graph_relu(g, y), x);
    x = basic_block(g, reid_graph_add(g, x, x), "e", 36, 2);
    reid_value f = reid_graph_global_avg_pool(g, x);
    t.labels = reid_graph_labels(g, t.n);
    t.logits = reid_graph_linear(g, f, "heads", 5, true, 1.0);
    reid_graph_loss(g, reid_graph_cross_entropy(g, t.logits, t.labels, 0.1), "loss_cls", 1.0);
    reid_graph_output(g, x, "map");
    return t;
}

static void compare_levels(make_net *make, const char *backend, reid_plan_options options,
                           const char *frozen)
{
    run kept = run_of(make(), backend, options, frozen);
    size_t values = kept.params->total;
    float *first = reid_xmalloc(values * sizeof *first);
    memcpy(first, kept.params->value, values * sizeof *first);
    for (int level = 1; level < LEVELS; level++) {
        options.recompute = (reid_recompute)level;
        run anew = run_of(make(), backend, options, frozen);
        memcpy(kept.params->value, first, values * sizeof *first);
        memcpy(kept.params->buffer_memory, anew.params->buffer_memory, kept.params->buffer_bytes);
        for (int i = 0; i < 2; i++) {
            step(&kept);
            step(&anew);
            assert_same_bits(&kept, &anew);
            descend(&kept);
            descend(&anew);
        }
        assert_true(reid_plan_hash(kept.plan) == reid_plan_hash(anew.plan));
        run_fini(&anew);
    }
    free(first);
    run_fini(&kept);
}

static void the_bits_are_the_same_at_every_level(void **state)
{
    for (int no_fusion = 0; no_fusion < 2; no_fusion++) {
        const reid_plan_options options = {.no_fusion = no_fusion};
        compare_levels(residual_net, "cpu", options, NULL);
        compare_levels(chained_net, "cpu", options, NULL);
        compare_levels(chained_net, "ref", options, NULL);
    }
}

static void the_bits_are_the_same_with_frozen_layers(void **state)
{
    compare_levels(residual_net, "cpu", (reid_plan_options){0}, "backbone.conv1");
    compare_levels(residual_net, "cpu", (reid_plan_options){0}, "backbone.");
    compare_levels(chained_net, "cpu", (reid_plan_options){0}, "a.");
    compare_levels(chained_net, "cpu", (reid_plan_options){0}, "b.");
}

static void the_bits_are_the_same_in_bf16(void **state)
{
    reid_backend *backend = NULL;
    assert_int_equal(reid_backend_open("cpu", 1, &backend, NULL), REID_OK);
    bool has = reid_backend_supports(backend, REID_BF16);
    reid_backend_free(backend);
    if (!has)
        skip();
    compare_levels(residual_net, "cpu", (reid_plan_options){.compute = REID_BF16}, NULL);
    compare_levels(chained_net, "cpu", (reid_plan_options){.compute = REID_BF16}, NULL);
}

/* By the reference: what oneDNN wants as workspace differs between processors, and hides it. */
static void each_level_takes_less_memory_than_the_one_before(void **state)
{
    size_t arena[LEVELS], calls[LEVELS];
    for (int level = 0; level < LEVELS; level++) {
        run r = run_of(net_new(16, 128, 64, 6, true), "ref",
                       (reid_plan_options){.recompute = (reid_recompute)level}, NULL);
        reid_plan_stats stats = reid_plan_get_stats(r.plan);
        arena[level] = stats.arena_bytes;
        calls[level] = stats.recomputed;
        run_fini(&r);
    }
    assert_int_equal(calls[0], 0);
    for (int level = 1; level < LEVELS; level++) {
        assert_true(arena[level] < arena[level - 1]);
        assert_true(calls[level] > calls[level - 1]);
    }
}

/* The node whose output this step computes anew, or -1. */
static int restored_by(const reid_plan *plan, size_t step)
{
    const reid_backward_step *s = &plan->steps.items[step];
    return s->kind == REID_STEP_RECOMPUTE ? s->node : -1;
}

/* A value is restored once, before its first reader, and only where that lowers the peak. */
static void nothing_is_computed_anew_for_nothing(void **state)
{
    run r =
        run_of(residual_net(), "cpu", (reid_plan_options){.recompute = REID_RECOMPUTE_STAGE}, NULL);
    const reid_plan *plan = r.plan;
    for (size_t k = 0; k < plan->steps.count; k++) {
        int node = restored_by(plan, k);
        if (node < 0)
            continue;
        const reid_plan_value *value = &plan->values[plan->nodes.items[node].output];
        int now = (int)(plan->nodes.count + k);
        assert_true(value->dropped && value->saved != value->buffer);
        assert_int_equal(plan->buffers.items[value->saved].first, now);
        assert_true(plan->buffers.items[value->saved].last > now);
        for (size_t i = 0; i < k; i++)
            assert_int_not_equal(restored_by(plan, i), node);
    }
    /* What the last operations made is wanted at once: to drop it would gain nothing. */
    for (size_t i = plan->nodes.count - 8; i < plan->nodes.count; i++)
        assert_true(plan->values[plan->nodes.items[i].output].restored < 0);
    run_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_bits_are_the_same_at_every_level),
        cmocka_unit_test(the_bits_are_the_same_with_frozen_layers),
        cmocka_unit_test(the_bits_are_the_same_in_bf16),
        cmocka_unit_test(each_level_takes_less_memory_than_the_one_before),
        cmocka_unit_test(nothing_is_computed_anew_for_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
