/* Which gradients exist, and the operations that compute them. */
#include <stdlib.h>

#include "base/alloc.h"
#include "nn/plan_impl.h"

/* Trained parameters or inputs with gradients upstream. */
static bool wants_gradient(const reid_plan *plan, const reid_plan_node *node)
{
    for (int k = 0; k < node->desc.param_count; k++)
        if (plan->params->items[node->param[k]].trainable)
            return true;
    for (int k = 0; k < node->desc.input_count; k++)
        if (plan->values[node->input[k]].needs_grad)
            return true;
    return false;
}

float reid_plan_value_weight(const reid_plan *plan, reid_value value)
{
    double sum = 0.0;
    for (size_t i = 0; i < plan->scalars.count; i++)
        if (plan->scalars.items[i].is_loss && plan->scalars.items[i].value == value)
            sum += plan->scalars.items[i].weight;
    return (float)(sum * plan->loss_scale);
}

/* A value needs a gradient when something trained lies before it and a loss behind it. */
static void find_gradients(reid_plan *plan)
{
    for (size_t i = 0; i < plan->nodes.count; i++) {
        reid_plan_node *node = &plan->nodes.items[i];
        plan->values[node->output].needs_grad = wants_gradient(plan, node);
    }
    bool *reaches = reid_xcalloc(plan->value_count + 1, sizeof *reaches);
    for (size_t i = 0; i < plan->scalars.count; i++)
        if (plan->scalars.items[i].is_loss)
            reaches[plan->scalars.items[i].value] = true;
    for (size_t i = plan->nodes.count; i-- > 0;) {
        reid_plan_node *node = &plan->nodes.items[i];
        if (!reaches[node->output])
            continue;
        for (int k = 0; k < node->desc.input_count; k++)
            reaches[node->input[k]] = true;
    }
    for (size_t i = 0; i < plan->value_count; i++)
        plan->values[i].needs_grad = plan->values[i].needs_grad && reaches[i];
    free(reaches);
    for (size_t i = 0; i < plan->nodes.count; i++) {
        reid_plan_node *node = &plan->nodes.items[i];
        node->backward = plan->values[node->output].needs_grad;
        for (int k = 0; k < node->desc.input_count; k++)
            node->desc.input_grad[k] = node->backward && plan->values[node->input[k]].needs_grad;
        for (int k = 0; k < node->desc.param_count; k++)
            node->desc.param_grad[k] =
                node->backward && plan->params->items[node->param[k]].trainable;
        node->desc.loss_scale = reid_plan_value_weight(plan, node->output);
    }
}

reid_status reid_plan_create_ops(reid_plan *plan, reid_error *err)
{
    if (plan->options.training)
        find_gradients(plan);
    for (size_t i = 0; i < plan->nodes.count; i++) {
        reid_plan_node *node = &plan->nodes.items[i];
        if (plan->options.training && plan->options.tuning)
            reid_tuning_apply(plan->options.tuning, &node->desc);
        reid_status status =
            plan->backend->impl->op_new(plan->backend, &node->desc, &node->op, err);
        if (status != REID_OK) {
            char in[96], out[96];
            return reid_error_prefix(err, "%s '%s' on %s to %s", reid_op_kind_name(node->desc.kind),
                                     node->name, reid_shape_text(in, &node->desc.input[0]->shape),
                                     reid_shape_text(out, &node->desc.output->shape));
        }
        REID_ASSERT(node->op->grad_parts >= 1 && node->op->grad_parts <= REID_OP_GRAD_PARTS);
    }
    return REID_OK;
}
