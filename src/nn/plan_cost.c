#include "nn/plan_cost.h"

#include "nn/plan_impl.h"

static double count_of(const reid_layout *layout)
{
    return (double)reid_shape_count(&layout->shape);
}

static bool is_activation(const reid_plan *plan, const reid_layout *layout)
{
    return layout->shape.rank == 4 && layout->dtype == plan->options.compute;
}

static void reads(const reid_plan *plan, reid_cost_part *part, const reid_layout *layout,
                  double times)
{
    double *bytes = is_activation(plan, layout) ? &part->activation_read : &part->other_read;
    *bytes += times * (double)layout->bytes;
}

static void writes(const reid_plan *plan, reid_cost_part *part, const reid_layout *layout)
{
    double *bytes = is_activation(plan, layout) ? &part->activation_written : &part->other_written;
    *bytes += (double)layout->bytes;
}

static void reads_param(reid_cost_part *part, const reid_op_desc *d, int k)
{
    part->other_read += (double)d->param[k]->bytes;
}

/* FLOPs of one product: a forward, a gradient of the weights or a gradient of the input. */
static double product_flops(const reid_op_desc *d)
{
    const int64_t *w = d->param[0]->shape.dim;
    if (d->kind == REID_OP_LINEAR)
        return 2.0 * (double)d->output->shape.dim[0] * (double)w[0] * (double)w[1];
    return 2.0 * count_of(d->output) * (double)(w[1] * w[2] * w[3]);
}

static bool has_product(const reid_op_desc *d)
{
    return d->kind == REID_OP_CONV2D || d->kind == REID_OP_LINEAR;
}

/* Operations on each element, for what is bound by memory anyway: a count by hand from the
 * formulas (batch norm: sum, square, sum; subtract, multiply-add; its backward: two sums of
 * products, three terms). */
static double forward_flops(const reid_op_desc *d)
{
    double in = count_of(d->input[0]), out = count_of(d->output);
    switch (d->kind) {
    case REID_OP_CONV2D:
    case REID_OP_LINEAR:
        return product_flops(d);
    case REID_OP_BATCH_NORM:
        return in * (6.0 + d->relu + (d->input_count > 1));
    case REID_OP_ADD:
        return in * (1.0 + d->relu);
    case REID_OP_MAX_POOL:
        return out * d->attr.pool.kernel * d->attr.pool.kernel;
    case REID_OP_CROSS_ENTROPY:
        return in * 5.0;
    case REID_OP_TRIPLET:
        return in * 2.0 * (double)d->input[0]->shape.dim[0];
    default:
        return in;
    }
}

reid_cost_call reid_plan_cost_forward(const reid_plan *plan, size_t index)
{
    const reid_plan_node *node = &plan->nodes.items[index];
    const reid_op_desc *d = &node->desc;
    reid_cost_call call = {.name = node->name,
                           .kind = reid_op_kind_name(d->kind),
                           .kernels = node->op->kernels,
                           .node = index,
                           .input = d->input[0],
                           .output = d->output,
                           .part_count = 1};
    reid_cost_part *part = &call.parts[0];
    part->name = "forward";
    part->flops = forward_flops(d);
    for (int k = 0; k < d->input_count; k++)
        reads(plan, part, d->input[k], d->kind == REID_OP_BATCH_NORM && k == 0 ? 2 : 1);
    for (int k = 0; k < d->param_count; k++)
        reads_param(part, d, k);
    writes(plan, part, d->output);
    part->other_written += (double)node->op->workspace_bytes;
    return call;
}

static void reads_output_grad(const reid_plan *plan, const reid_plan_node *node,
                              reid_cost_part *part, double times)
{
    for (int p = 0; p < REID_OP_GRAD_PARTS; p++)
        if (node->output_grad[p] != REID_BUFFER_NONE)
            reads(plan, part, node->desc.output, times);
}

static void writes_input_grads(const reid_plan *plan, const reid_plan_node *node,
                               reid_cost_part *part)
{
    for (int k = 0; k < node->desc.input_count; k++)
        if (node->input_grad[k] != REID_BUFFER_NONE &&
            (k == 0 || node->input_grad[k] != node->input_grad[0]))
            writes(plan, part, node->desc.input[k]);
}

static void writes_param_grads(const reid_op_desc *d, reid_cost_part *part)
{
    for (int k = 0; k < d->param_count; k++)
        if (d->param_grad[k])
            part->other_written += (double)d->param[k]->bytes;
}

/* Convolutions and products: gradient of the weights from input and output gradient, then gradient
 * of the input from weights and output gradient. */
static void product_backward(const reid_plan *plan, const reid_plan_node *node,
                             reid_cost_call *call)
{
    const reid_op_desc *d = &node->desc;
    if (d->param_grad[0]) {
        reid_cost_part *part = &call->parts[call->part_count++];
        part->name = "params";
        part->flops = product_flops(d);
        reads(plan, part, d->input[0], 1);
        reads_output_grad(plan, node, part, 1);
        writes_param_grads(d, part);
    }
    if (d->input_grad[0]) {
        reid_cost_part *part = &call->parts[call->part_count++];
        part->name = "inputs";
        part->flops = product_flops(d);
        reads_output_grad(plan, node, part, 1);
        reads_param(part, d, 0);
        writes_input_grads(plan, node, part);
    }
}

/* All others: one pass, but batch norm reads twice, once for its two sums. */
static void pass_backward(const reid_plan *plan, const reid_plan_node *node, reid_cost_call *call)
{
    const reid_op_desc *d = &node->desc;
    bool norm = d->kind == REID_OP_BATCH_NORM;
    reid_cost_part *part = &call->parts[call->part_count++];
    part->name = "gradient";
    part->flops = norm ? count_of(d->input[0]) * (10.0 + d->relu) : forward_flops(d);
    for (int k = 0; k < d->input_count; k++)
        if (node->op->needs_input[k])
            reads(plan, part, d->input[k], norm ? 2 : 1);
    if (node->op->needs_output)
        reads(plan, part, d->output, norm ? 2 : 1);
    reads_output_grad(plan, node, part, norm ? 2 : 1);
    part->other_read += (double)node->op->workspace_bytes;
    for (int k = 0; k < d->param_count; k++)
        reads_param(part, d, k);
    writes_input_grads(plan, node, part);
    writes_param_grads(d, part);
}

/* As plan.c's add_up: a copy clears the sum first. */
static void sum_backward(const reid_plan *plan, const reid_backward_step *step,
                         reid_cost_call *call)
{
    bool copy = step->kind == REID_STEP_COPY;
    call->name = copy ? "copy gradient" : "add gradient";
    call->kind = "accumulate";
    call->kernels = "";
    reid_cost_part *part = &call->parts[call->part_count++];
    part->name = "gradient";
    part->flops = count_of(step->layout);
    reads(plan, part, step->layout, 2);
    writes(plan, part, step->layout);
    if (copy)
        writes(plan, part, step->layout);
}

/* The output of forward once more, without its statistics: subtract, multiply-add. */
static void recompute(const reid_plan *plan, const reid_plan_node *node, reid_cost_call *call)
{
    const reid_op_desc *d = &node->desc;
    reid_cost_part *part = &call->parts[call->part_count++];
    call->name = node->name;
    call->kind = "recompute";
    call->kernels = node->op->kernels;
    part->name = "recompute";
    part->flops = count_of(d->output) *
                  ((d->kind == REID_OP_BATCH_NORM ? 3.0 : 0.0) + d->relu + (d->input_count > 1));
    for (int k = 0; k < d->input_count; k++)
        reads(plan, part, d->input[k], 1);
    for (int k = 0; k < d->param_count; k++)
        reads_param(part, d, k);
    writes(plan, part, d->output);
}

reid_cost_call reid_plan_cost_backward(const reid_plan *plan, size_t index)
{
    const reid_backward_step *step = &plan->steps.items[index];
    reid_cost_call call = {.ready_end = step->ready_end, .node = REID_COST_NO_NODE};
    if (step->node < 0) {
        sum_backward(plan, step, &call);
        return call;
    }
    const reid_plan_node *node = &plan->nodes.items[step->node];
    call.node = (size_t)step->node;
    call.input = node->desc.input[0];
    call.output = node->desc.output;
    if (step->kind == REID_STEP_RECOMPUTE) {
        recompute(plan, node, &call);
        return call;
    }
    call.name = node->name;
    call.kind = reid_op_kind_name(node->desc.kind);
    call.kernels = node->op->kernels;
    if (has_product(&node->desc))
        product_backward(plan, node, &call);
    else
        pass_backward(plan, node, &call);
    return call;
}
