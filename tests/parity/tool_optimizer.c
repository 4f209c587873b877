#include <stdio.h>
#include <stdlib.h>

#include "base/str.h"
#include "solver/lr_schedule.h"
#include "solver/optimizer.h"
#include "tool.h"

/* STEPS updates of a small network's parameters by the gradients "grad.K.NAME", with the configured
 * schedule running as in training. Output: "param.K.NAME" and "STATE.K.NAME" after each step,
 * "lr.K" as it is logged. */
typedef struct solver {
    reid_graph *graph;
    reid_params *params;
    reid_optimizer *optimizer;
    reid_lr_schedule *schedule;
} solver;

/* Every kind of parameter that the rules tell apart: convolution, norm, bias, head, frozen bias. */
static reid_graph *small_network(void)
{
    reid_graph *g = reid_graph_new();
    reid_value x = reid_graph_images(g, 4, 3, 6, 6);
    reid_value labels = reid_graph_labels(g, 4);
    x = reid_graph_conv2d(g, x, "backbone.conv1",
                          (reid_conv2d){.out_channels = 5, .kernel = 3, .bias = true});
    x = reid_graph_batch_norm(g, x, "backbone.bn1", (reid_batch_norm){.eps = 1e-5});
    x = reid_graph_global_avg_pool(g, reid_graph_relu(g, x));
    x = reid_graph_batch_norm(g, x, "heads.bottleneck.0", (reid_batch_norm){.bias_frozen = true});
    x = reid_graph_linear(g, x, "heads", 7, false, 1.0);
    reid_graph_loss(g, reid_graph_cross_entropy(g, x, labels, 0.0), "loss_cls", 1.0);
    return g;
}

static reid_status steps(tool *t, solver *s, int64_t count, int64_t iters_per_epoch,
                         reid_error *err)
{
    for (int64_t i = 0; i < count; i++) {
        char prefix[64];
        snprintf(prefix, sizeof prefix, "grad.%lld", (long long)i);
        REID_TRY(tool_input_params(t, prefix, s->params, s->params->grad, err));
        reid_optimizer_step(s->optimizer);
        snprintf(prefix, sizeof prefix, "%lld", (long long)i);
        tool_output_scalar(t, "lr", prefix, reid_optimizer_lr(s->optimizer));
        reid_lr_schedule_after_step(s->schedule, i);
        if ((i + 1) % iters_per_epoch == 0)
            reid_lr_schedule_after_epoch(s->schedule, i / iters_per_epoch);
        snprintf(prefix, sizeof prefix, "param.%lld", (long long)i);
        tool_output_params(t, prefix, s->params, s->params->value);
        for (size_t k = 0; k < reid_optimizer_state_count(s->optimizer); k++) {
            reid_optimizer_state state = reid_optimizer_state_at(s->optimizer, k);
            snprintf(prefix, sizeof prefix, "%s.%lld", state.name, (long long)i);
            tool_output_params(t, prefix, s->params, state.flat);
        }
    }
    return REID_OK;
}

static reid_status run(tool *t, solver *s, int64_t count, int64_t iters_per_epoch, reid_error *err)
{
    s->graph = small_network();
    REID_TRY(reid_params_new(s->graph, t->backend, NULL, &s->params, err));
    REID_TRY(tool_input_params(t, NULL, s->params, s->params->value, err));
    REID_TRY(reid_optimizer_new(t->config, s->params, t->backend, &s->optimizer, err));
    REID_TRY(reid_lr_schedule_new(t->config, iters_per_epoch, s->optimizer, &s->schedule, err));
    return steps(t, s, count, iters_per_epoch, err);
}

reid_status tool_optimizer(tool *t, int argc, char **argv, reid_error *err)
{
    int64_t count, iters_per_epoch;
    if (argc != 2 || reid_parse_int64(argv[0], &count) != REID_OK ||
        reid_parse_int64(argv[1], &iters_per_epoch) != REID_OK)
        return reid_fail(err, REID_ERR_INVALID, "optimizer needs STEPS ITERS_PER_EPOCH");
    solver s = {0};
    reid_status status = run(t, &s, count, iters_per_epoch, err);
    reid_lr_schedule_free(s.schedule);
    reid_optimizer_free(s.optimizer);
    reid_params_free(s.params);
    reid_graph_free(s.graph);
    return status;
}

/* The rate in force at each iteration of SOLVER.MAX_EPOCH epochs, and the one after the last. */
reid_status tool_lr(tool *t, int argc, char **argv, reid_error *err)
{
    int64_t iters_per_epoch;
    double base_lr;
    if (argc != 2 || reid_parse_int64(argv[0], &iters_per_epoch) != REID_OK ||
        reid_parse_double(argv[1], &base_lr) != REID_OK)
        return reid_fail(err, REID_ERR_INVALID, "lr needs ITERS_PER_EPOCH BASE_LR");
    reid_lr_schedule *schedule;
    REID_TRY(reid_lr_schedule_new(t->config, iters_per_epoch, NULL, &schedule, err));
    int64_t max_iter = reid_config_int(t->config, "SOLVER.MAX_EPOCH") * iters_per_epoch;
    for (int64_t i = 0; i < max_iter; i++) {
        printf("%.17g\n", reid_lr_schedule_lr(schedule, base_lr));
        reid_lr_schedule_after_step(schedule, i);
        if ((i + 1) % iters_per_epoch == 0)
            reid_lr_schedule_after_epoch(schedule, i / iters_per_epoch);
    }
    printf("%.17g\n", reid_lr_schedule_lr(schedule, base_lr));
    reid_lr_schedule_free(schedule);
    return REID_OK;
}
