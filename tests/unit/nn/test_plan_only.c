/* Plans that are looked at, not run: no memory, the same facts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "nets.h"
#include "nn/plan_cost.h"
#include "nn/plan_impl.h"

typedef struct made {
    net t;
    reid_backend *backend;
    reid_params *params;
    reid_plan *plan;
} made;

static made make(const char *backend, bool training, bool plan_only)
{
    made m = {.t = net_new(4, 32, 16, 3, training)};
    reid_error err = {0};
    const reid_params_options layout = {.plan_only = plan_only};
    const reid_plan_options options = {.training = training, .plan_only = plan_only};
    if (reid_backend_open(backend, 1, &m.backend, &err) != REID_OK ||
        reid_params_new(m.t.g, m.backend, &layout, &m.params, &err) != REID_OK ||
        reid_plan_new(m.t.g, m.backend, m.params, &options, &m.plan, &err) != REID_OK)
        fail_msg("%s", err.text);
    return m;
}

static void drop(made *m)
{
    reid_plan_free(m->plan);
    reid_params_free(m->params);
    reid_backend_free(m->backend);
    reid_graph_free(m->t.g);
}

static void it_has_no_memory_and_the_same_facts(void **state)
{
    static const char *const backends[] = {"ref", "cpu"};
    for (size_t i = 0; i < 2; i++) {
        made looked = make(backends[i], true, true), real = make(backends[i], true, false);
        assert_null(looked.plan->arena);
        assert_null(looked.params->value);
        assert_null(looked.params->grad);
        assert_null(looked.params->buffer_memory);
        assert_int_equal(looked.params->total, real.params->total);
        assert_int_equal(looked.params->buffer_bytes, real.params->buffer_bytes);
        assert_true(reid_plan_hash(looked.plan) == reid_plan_hash(real.plan));
        reid_plan_stats a = reid_plan_get_stats(looked.plan), b = reid_plan_get_stats(real.plan);
        assert_memory_equal(&a, &b, sizeof a);
        assert_true(a.arena_bytes > 0);
        drop(&looked);
        drop(&real);
    }
}

static void it_does_not_run(void **state)
{
    made m = make("ref", true, true);
    int32_t labels[4] = {0, 0, 1, 1};
    reid_error err = {0};
    assert_int_equal(reid_plan_upload(m.plan, m.t.labels, labels, sizeof labels, &err),
                     REID_ERR_PRECONDITION);
    assert_int_equal(reid_plan_forward(m.plan, &err), REID_ERR_PRECONDITION);
    assert_int_equal(reid_plan_backward(m.plan, NULL, NULL, &err), REID_ERR_PRECONDITION);
    drop(&m);
}

/* A memory-less plan of params that have memory, and the other way round, makes no sense. */
static void params_without_memory_are_refused_by_a_plan_that_runs(void **state)
{
    made m = make("ref", true, true);
    reid_error err = {0};
    reid_plan *plan = NULL;
    const reid_plan_options options = {.training = true};
    assert_int_equal(reid_plan_new(m.t.g, m.backend, m.params, &options, &plan, &err),
                     REID_ERR_INVALID);
    assert_null(plan);
    drop(&m);
}

static void the_parts_of_the_memory_sum_up(void **state)
{
    made m = make("cpu", true, true), eval = make("cpu", false, true);
    reid_plan_memory memory = reid_plan_get_memory(m.plan);
    assert_int_equal(memory.total, reid_plan_get_stats(m.plan).live_peak_bytes);
    assert_int_equal(memory.total, memory.inputs + memory.activations + memory.gradients +
                                       memory.workspace + memory.scratch);
    assert_true(memory.inputs >= 4 * (3 * 32 * 16 + 1) * sizeof(float));
    assert_true(memory.activations > 0);
    assert_non_null(memory.where);
    memory = reid_plan_get_memory(eval.plan);
    assert_int_equal(memory.total, reid_plan_get_stats(eval.plan).live_peak_bytes);
    assert_int_equal(memory.gradients, 0);
    assert_false(memory.backward);
    drop(&m);
    drop(&eval);
}

static void costs_are_those_of_the_formulas(void **state)
{
    made m = make("ref", true, true);
    reid_cost_call conv = reid_plan_cost_forward(m.plan, 0);
    assert_string_equal(conv.name, "backbone.conv1");
    /* 7×7×3 → 16 channels, output 4 × 16 × 8: a multiply and an add each */
    assert_true(conv.parts[0].flops == 2.0 * 4 * 16 * 16 * 8 * 7 * 7 * 3);
    assert_true(conv.parts[0].activation_read == 4.0 * 4 * 3 * 32 * 16);
    assert_true(conv.parts[0].activation_written == 4.0 * 4 * 16 * 16 * 8);
    reid_plan_stats stats = reid_plan_get_stats(m.plan);
    size_t ready = 0;
    for (size_t i = 0; i < stats.backward_calls; i++) {
        reid_cost_call call = reid_plan_cost_backward(m.plan, i);
        assert_true(call.ready_end >= ready && call.part_count >= 1);
        ready = call.ready_end;
    }
    assert_int_equal(ready, m.params->trainable);
    drop(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_has_no_memory_and_the_same_facts),
        cmocka_unit_test(it_does_not_run),
        cmocka_unit_test(params_without_memory_are_refused_by_a_plan_that_runs),
        cmocka_unit_test(the_parts_of_the_memory_sum_up),
        cmocka_unit_test(costs_are_those_of_the_formulas),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
