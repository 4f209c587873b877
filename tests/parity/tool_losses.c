#include <stdlib.h>

#include "modeling/builder.h"
#include "tool.h"

/* The losses of given features [N,D] and logits [N,C] with their gradients. A plan gives gradients
 * of parameters only, so both enter as weights of linear layers whose input is the N×N identity:
 * the weight is the transpose of the value. Output: "loss.*", "metric.*", "grad.features.weight"
 * [D,N], "grad.logits.weight" [C,N]. */
typedef struct losses {
    reid_graph *graph;
    reid_value images, labels;
    int64_t batch;
    reid_params *params;
    reid_plan *plan;
} losses;

static reid_status emit(tool *t, losses *l, reid_error *err)
{
    int64_t features[2], logits[2];
    REID_TRY(tool_input_shape(t, "features.weight", 2, features, err));
    REID_TRY(tool_input_shape(t, "logits.weight", 2, logits, err));
    l->batch = features[1];
    l->graph = reid_graph_new();
    l->images = reid_graph_images(l->graph, l->batch, l->batch, 1, 1);
    l->labels = reid_graph_labels(l->graph, l->batch);
    reid_value identity = reid_graph_global_avg_pool(l->graph, l->images);
    reid_builder b = {
        .config = t->config, .graph = l->graph, .training = true, .num_classes = (int)logits[0]};
    reid_head_output head = {.embedding = REID_VALUE_NONE};
    head.features = reid_graph_linear(l->graph, identity, "features", features[0], false, 1.0);
    head.logits = reid_graph_linear(l->graph, identity, "logits", logits[0], false, 1.0);
    REID_TRY(reid_losses_build(&b, &head, l->labels, err));
    reid_graph_metric(l->graph, reid_graph_accuracy(l->graph, head.logits, l->labels),
                      "cls_accuracy");
    return reid_graph_check(l->graph, err);
}

static reid_status run(tool *t, losses *l, reid_error *err)
{
    REID_TRY(emit(t, l, err));
    REID_TRY(reid_params_new(l->graph, t->backend, NULL, &l->params, err));
    REID_TRY(tool_input_params(t, NULL, l->params, l->params->value, err));
    REID_TRY(reid_plan_new(l->graph, t->backend, l->params, &(reid_plan_options){.training = true},
                           &l->plan, err));

    size_t n = (size_t)l->batch;
    REID_AUTOFREE float *identity = reid_xcalloc(n * n, sizeof *identity);
    for (size_t i = 0; i < n; i++)
        identity[i * n + i] = 1.0f;
    REID_AUTOFREE int32_t *labels = NULL;
    REID_TRY(tool_input_labels(t, "labels", &labels, err));
    REID_TRY(reid_plan_upload(l->plan, l->images, identity, n * n * sizeof *identity, err));
    REID_TRY(reid_plan_upload(l->plan, l->labels, labels, n * sizeof *labels, err));
    REID_TRY(reid_plan_forward(l->plan, err));
    REID_TRY(reid_plan_backward(l->plan, NULL, NULL, err));
    tool_output_scalars(t, l->plan);
    tool_output_params(t, "grad", l->params, l->params->grad);
    return REID_OK;
}

reid_status tool_losses(tool *t, int argc, char **argv, reid_error *err)
{
    losses l = {0};
    reid_status status = run(t, &l, err);
    reid_plan_free(l.plan);
    reid_params_free(l.params);
    reid_graph_free(l.graph);
    return status;
}
