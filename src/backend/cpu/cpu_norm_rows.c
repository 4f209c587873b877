/* Batch norm over rows [N,C], in groups of channels; each channel is summed in the order of the
 * rows. */
#include <math.h>
#include <stdio.h>

#include "backend/cpu/cpu.h"
#include "backend/element.h"

#define GROUP 64

typedef struct row_group {
    int64_t rows, channels; /* of the whole tensor */
    int64_t from;
    int count;
} row_group;

static row_group group_of(const reid_op *op, int64_t index)
{
    const int64_t *d = op->desc.input[0]->shape.dim;
    row_group g = {d[0], d[1], index * GROUP, GROUP};
    if (g.from + g.count > g.channels)
        g.count = (int)(g.channels - g.from);
    return g;
}

REID_CLONES static void column_moments(const float *x, row_group g, double *ret_mean,
                                       double *ret_square)
{
    for (int i = 0; i < g.count; i++)
        ret_mean[i] = ret_square[i] = 0.0;
    for (int64_t n = 0; n < g.rows; n++)
        for (int i = 0; i < g.count; i++)
            ret_mean[i] += x[n * g.channels + g.from + i];
    for (int i = 0; i < g.count; i++)
        ret_mean[i] /= (double)g.rows;
    for (int64_t n = 0; n < g.rows; n++)
        for (int i = 0; i < g.count; i++) {
            double t = x[n * g.channels + g.from + i] - ret_mean[i];
            ret_square[i] += t * t;
        }
}

static void group_statistics(reid_op *op, row_group g, float *mean, float *inverse)
{
    const reid_batch_norm *a = &op->desc.attr.norm;
    double average[GROUP], square[GROUP], count = (double)g.rows;
    column_moments(op->buffers.input[0], g, average, square);
    for (int i = 0; i < g.count; i++) {
        int64_t c = g.from + i;
        float *running_mean = op->buffers.state[0], *running_var = op->buffers.state[1];
        mean[i] = (float)average[i];
        inverse[i] = (float)(1.0 / sqrt(square[i] / count + a->eps));
        running_mean[c] = (float)((1.0 - a->momentum) * running_mean[c] + a->momentum * average[i]);
        running_var[c] =
            (float)((1.0 - a->momentum) * running_var[c] + a->momentum * square[i] / (count - 1.0));
    }
}

REID_CLONES static void apply_rows(const float *x, const float *residual, float *y, row_group g,
                                   const float *mean, const float *scale, const float *bias,
                                   bool relu)
{
    for (int64_t n = 0; n < g.rows; n++)
        for (int i = 0; i < g.count; i++) {
            int64_t k = n * g.channels + g.from + i;
            float v = reid_norm_element(x[k], mean[i], scale[i], bias[i]);
            v = residual ? v + residual[k] : v;
            y[k] = relu ? reid_relu_element(v) : v;
        }
}

/* The group's part of the output. */
static void apply_group(const reid_op *op, row_group g, const void *const input[REID_OP_INPUTS],
                        void *output, const float *mean, const float *inverse)
{
    float scale[GROUP];
    for (int i = 0; i < g.count; i++)
        scale[i] = op->buffers.param[0][g.from + i] * inverse[i];
    apply_rows(input[0], op->desc.input_count > 1 ? input[1] : NULL, output, g, mean, scale,
               op->buffers.param[1] + g.from, op->desc.relu);
}

static reid_status rows_forward(reid_op *op, reid_error *err)
{
    int64_t channels = op->desc.input[0]->shape.dim[1], groups = (channels + GROUP - 1) / GROUP;
    float *space = op->buffers.workspace;
#pragma omp parallel for schedule(static)
    for (int64_t k = 0; k < groups; k++) {
        row_group g = group_of(op, k);
        float *mean = space + g.from, *inverse = space + channels + g.from;
        if (op->desc.training) {
            group_statistics(op, g, mean, inverse);
        } else {
            for (int i = 0; i < g.count; i++) {
                mean[i] = op->buffers.state[0][g.from + i];
                inverse[i] = (float)(1.0 / sqrt((double)op->buffers.state[1][g.from + i] +
                                                op->desc.attr.norm.eps));
            }
        }
        apply_group(op, g, op->buffers.input, op->buffers.output, mean, inverse);
    }
    if (op->desc.training)
        op->buffers.state[2][0] += 1.0f;
    return REID_OK;
}

static reid_status rows_recompute(reid_op *op, reid_error *err)
{
    int64_t channels = op->desc.input[0]->shape.dim[1], groups = (channels + GROUP - 1) / GROUP;
    const float *space = op->buffers.workspace;
#pragma omp parallel for schedule(static)
    for (int64_t k = 0; k < groups; k++) {
        row_group g = group_of(op, k);
        apply_group(op, g, op->buffers.saved_input, op->buffers.saved_output, space + g.from,
                    space + channels + g.from);
    }
    return REID_OK;
}

static float masked(const reid_op *op, int64_t k)
{
    float dy = reid_grad_sum(op->buffers.output_grad[0], op->buffers.output_grad[1], (size_t)k);
    return op->desc.relu ? reid_relu_grad_element(dy, ((const float *)op->buffers.saved_output)[k])
                         : dy;
}

static void group_backward(reid_op *op, row_group g, const float *mean, const float *inverse)
{
    const float *x = op->buffers.saved_input[0];
    float *dx = op->buffers.input_grad[0], *dr = op->buffers.input_grad[1];
    double sum[GROUP] = {0.0}, dot[GROUP] = {0.0}, count = (double)g.rows;
    float scale[GROUP], mean_dy[GROUP], slope[GROUP];
    for (int64_t n = 0; n < g.rows; n++)
        for (int i = 0; i < g.count; i++) {
            int64_t k = n * g.channels + g.from + i;
            float dy = masked(op, k);
            sum[i] += dy;
            dot[i] += (double)dy * (x[k] - mean[i]);
        }
    for (int i = 0; i < g.count; i++) {
        if (op->buffers.param_grad[0])
            op->buffers.param_grad[0][g.from + i] = (float)(dot[i] * inverse[i]);
        if (op->buffers.param_grad[1])
            op->buffers.param_grad[1][g.from + i] = (float)sum[i];
        scale[i] = op->buffers.param[0][g.from + i] * inverse[i];
        mean_dy[i] = (float)(sum[i] / count);
        slope[i] = (float)(dot[i] * inverse[i] * inverse[i] / count);
    }
    for (int64_t n = 0; n < g.rows; n++)
        for (int i = 0; i < g.count; i++) {
            int64_t k = n * g.channels + g.from + i;
            float dy = masked(op, k);
            if (dr)
                dr[k] = dy;
            if (dx)
                dx[k] = reid_norm_grad_element(dy, x[k], mean[i], scale[i], mean_dy[i], slope[i]);
        }
}

static reid_status rows_backward(reid_op *op, reid_error *err)
{
    int64_t channels = op->desc.input[0]->shape.dim[1], groups = (channels + GROUP - 1) / GROUP;
    const float *space = op->buffers.workspace;
#pragma omp parallel for schedule(static)
    for (int64_t k = 0; k < groups; k++) {
        row_group g = group_of(op, k);
        group_backward(op, g, space + g.from, space + channels + g.from);
    }
    return REID_OK;
}

void cpu_norm_rows_setup(reid_op *op)
{
    static const reid_op_impl impl = {.free = reid_ref_op_free,
                                      .forward = rows_forward,
                                      .backward_inputs = rows_backward,
                                      .recompute = rows_recompute};
    op->impl = &impl;
    op->needs_input[0] = true;
    op->needs_output = op->desc.relu;
    op->grad_parts = 2;
    op->workspace_bytes = 2 * sizeof(float) * (size_t)op->desc.input[0]->shape.dim[1];
    snprintf(op->kernels, sizeof op->kernels, "rows");
}
