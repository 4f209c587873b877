/* Batch normalisation (Ioffe & Szegedy 2015), optionally with a residual addition and a ReLU. */
#include <math.h>
#include <stdio.h>

#include "backend/element.h"
#include "backend/ref/ref.h"

/* Workspace: mean [C], then 1/σ [C], in float. */
static float *mean_of(reid_op *op)
{
    return op->buffers.workspace;
}

static float *inverse_of(reid_op *op)
{
    return (float *)op->buffers.workspace + op->desc.input[0]->shape.dim[1];
}

/* Batch statistics of channel c; running statistics take the unbiased variance (PyTorch). */
static void channel_statistics(reid_op *op, reid_dims d, int64_t c)
{
    const float *x = op->buffers.input[0];
    const reid_batch_norm *a = &op->desc.attr.norm;
    int64_t plane = d.h * d.w;
    double count = (double)(d.n * plane), sum = 0.0, square = 0.0;
    for (int64_t n = 0; n < d.n; n++)
        for (int64_t i = 0; i < plane; i++)
            sum += x[(n * d.c + c) * plane + i];
    double mean = sum / count;
    for (int64_t n = 0; n < d.n; n++)
        for (int64_t i = 0; i < plane; i++) {
            double t = x[(n * d.c + c) * plane + i] - mean;
            square += t * t;
        }
    mean_of(op)[c] = (float)mean;
    inverse_of(op)[c] = (float)(1.0 / sqrt(square / count + a->eps));
    double unbiased = count > 1.0 ? square / (count - 1.0) : NAN;
    float *running_mean = op->buffers.state[0], *running_var = op->buffers.state[1];
    running_mean[c] = (float)((1.0 - a->momentum) * running_mean[c] + a->momentum * mean);
    running_var[c] = (float)((1.0 - a->momentum) * running_var[c] + a->momentum * unbiased);
}

/* y = [relu](norm(x) [+ residual]) of channel c. */
static void channel_apply(const reid_op *op, const void *const input[REID_OP_INPUTS], float *y,
                          int64_t c, float mean, float inverse)
{
    reid_dims d = reid_layout_dims(op->desc.input[0]);
    const float *x = input[0], *residual = op->desc.input_count > 1 ? input[1] : NULL;
    float scale = op->buffers.param[0][c] * inverse;
    int64_t plane = d.h * d.w;
    for (int64_t n = 0; n < d.n; n++)
        for (int64_t i = 0; i < plane; i++) {
            size_t k = (size_t)((n * d.c + c) * plane + i);
            float v = reid_norm_element(x[k], mean, scale, op->buffers.param[1][c]);
            v = residual ? v + residual[k] : v;
            y[k] = op->desc.relu ? reid_relu_element(v) : v;
        }
}

static reid_status norm_forward(reid_op *op, reid_error *err)
{
    reid_dims d = reid_layout_dims(op->desc.input[0]);
    for (int64_t c = 0; c < d.c; c++) {
        float mean, inverse;
        if (op->desc.training) {
            channel_statistics(op, d, c);
            mean = mean_of(op)[c];
            inverse = inverse_of(op)[c];
        } else {
            mean = op->buffers.state[0][c];
            inverse = (float)(1.0 / sqrt((double)op->buffers.state[1][c] + op->desc.attr.norm.eps));
        }
        channel_apply(op, op->buffers.input, op->buffers.output, c, mean, inverse);
    }
    if (op->desc.training)
        op->buffers.state[2][0] += 1.0f;
    return REID_OK;
}

static reid_status norm_recompute(reid_op *op, reid_error *err)
{
    for (int64_t c = 0; c < op->desc.input[0]->shape.dim[1]; c++)
        channel_apply(op, op->buffers.saved_input, op->buffers.saved_output, c, mean_of(op)[c],
                      inverse_of(op)[c]);
    return REID_OK;
}

static float masked_grad(const reid_op *op, size_t k)
{
    float dy = reid_grad_sum(op->buffers.output_grad[0], op->buffers.output_grad[1], k);
    return op->desc.relu ? reid_relu_grad_element(dy, ((const float *)op->buffers.saved_output)[k])
                         : dy;
}

static void channel_backward(reid_op *op, reid_dims d, int64_t c)
{
    const float *x = op->buffers.saved_input[0];
    float *dx = op->buffers.input_grad[0], *dr = op->buffers.input_grad[1];
    int64_t plane = d.h * d.w;
    float mean = mean_of(op)[c], inverse = inverse_of(op)[c];
    double sum = 0.0, dot = 0.0, count = (double)(d.n * plane);
    for (int64_t n = 0; n < d.n; n++)
        for (int64_t i = 0; i < plane; i++) {
            size_t k = (size_t)((n * d.c + c) * plane + i);
            float dy = masked_grad(op, k);
            sum += dy;
            dot += (double)dy * (x[k] - mean);
        }
    if (op->buffers.param_grad[0])
        op->buffers.param_grad[0][c] = (float)(dot * inverse);
    if (op->buffers.param_grad[1])
        op->buffers.param_grad[1][c] = (float)sum;
    float scale = op->buffers.param[0][c] * inverse, mean_dy = (float)(sum / count);
    float slope = (float)(dot * inverse * inverse / count);
    for (int64_t n = 0; n < d.n; n++)
        for (int64_t i = 0; i < plane; i++) {
            size_t k = (size_t)((n * d.c + c) * plane + i);
            float dy = masked_grad(op, k);
            if (dr)
                dr[k] = dy;
            if (dx)
                dx[k] = reid_norm_grad_element(dy, x[k], mean, scale, mean_dy, slope);
        }
}

static reid_status norm_backward(reid_op *op, reid_error *err)
{
    reid_dims d = reid_layout_dims(op->desc.input[0]);
    for (int64_t c = 0; c < d.c; c++)
        channel_backward(op, d, c);
    return REID_OK;
}

void reid_ref_norm_setup(reid_op *op)
{
    static const reid_op_impl impl = {.free = reid_ref_op_free,
                                      .forward = norm_forward,
                                      .backward_inputs = norm_backward,
                                      .recompute = norm_recompute};
    op->impl = &impl;
    op->needs_input[0] = true;
    op->needs_output = op->desc.relu;
    op->grad_parts = 2;
    op->output_over_input[1] = true;
    op->workspace_bytes = 2 * sizeof(float) * (size_t)op->desc.input[0]->shape.dim[1];
    snprintf(op->kernels, sizeof op->kernels, "loops");
}
