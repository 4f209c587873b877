/* ReLU, addition and pooling as plain loops. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "backend/element.h"
#include "backend/ref/ref.h"

static size_t count_of(const reid_op *op)
{
    return reid_shape_count(&op->desc.output->shape);
}

static reid_status relu(const reid_op *op, const float *x, float *y)
{
    for (size_t i = 0; i < count_of(op); i++)
        y[i] = reid_relu_element(x[i]);
    return REID_OK;
}

static reid_status relu_forward(reid_op *op, reid_error *err)
{
    return relu(op, op->buffers.input[0], op->buffers.output);
}

static reid_status relu_recompute(reid_op *op, reid_error *err)
{
    return relu(op, op->buffers.saved_input[0], op->buffers.saved_output);
}

/* Also of ADD with a fused ReLU: the gradient is the same for both inputs. */
static reid_status masked_backward(reid_op *op, reid_error *err)
{
    const float *y = op->buffers.saved_output;
    float *dx = op->buffers.input_grad[0];
    for (size_t i = 0; i < count_of(op); i++)
        dx[i] = reid_relu_grad_element(
            reid_grad_sum(op->buffers.output_grad[0], op->buffers.output_grad[1], i), y[i]);
    return REID_OK;
}

static void elementwise(reid_op *op)
{
    op->grad_parts = 2;
    op->grad_over_grad[0] = true;
    op->output_over_input[0] = true;
    op->needs_output = true;
    snprintf(op->kernels, sizeof op->kernels, "loops");
}

void reid_ref_relu_setup(reid_op *op)
{
    static const reid_op_impl impl = {.free = reid_ref_op_free,
                                      .forward = relu_forward,
                                      .backward_inputs = masked_backward,
                                      .recompute = relu_recompute};
    op->impl = &impl;
    elementwise(op);
}

static reid_status add(const reid_op *op, const float *a, const float *b, float *y)
{
    for (size_t i = 0; i < count_of(op); i++) {
        float v = a[i] + b[i];
        y[i] = op->desc.relu ? reid_relu_element(v) : v;
    }
    return REID_OK;
}

static reid_status add_forward(reid_op *op, reid_error *err)
{
    return add(op, op->buffers.input[0], op->buffers.input[1], op->buffers.output);
}

static reid_status add_recompute(reid_op *op, reid_error *err)
{
    return add(op, op->buffers.saved_input[0], op->buffers.saved_input[1],
               op->buffers.saved_output);
}

void reid_ref_add_setup(reid_op *op)
{
    static const reid_op_impl plain = {
        .free = reid_ref_op_free, .forward = add_forward, .recompute = add_recompute};
    static const reid_op_impl with_relu = {.free = reid_ref_op_free,
                                           .forward = add_forward,
                                           .backward_inputs = masked_backward,
                                           .recompute = add_recompute};
    op->impl = op->desc.relu ? &with_relu : &plain;
    elementwise(op);
    op->output_over_input[1] = true;
    op->equal_grads = true;
    op->needs_output = op->desc.relu;
}

/* Index in the plane of the first largest element of a window (NaN wins, as in PyTorch). */
static int64_t window_max(const reid_op *op, const float *plane, reid_dims in, int64_t y, int64_t x)
{
    const reid_max_pool *a = &op->desc.attr.pool;
    int64_t top = y * a->stride - a->padding, left = x * a->stride - a->padding, best = -1;
    for (int64_t i = top < 0 ? 0 : top; i < top + a->kernel && i < in.h; i++)
        for (int64_t j = left < 0 ? 0 : left; j < left + a->kernel && j < in.w; j++) {
            float v = plane[i * in.w + j];
            if (best < 0 || v > plane[best] || isnan(v))
                best = i * in.w + j;
        }
    return best;
}

/* Workspace: i32 index in the input plane of each output element. */
static reid_status max_pool_forward(reid_op *op, reid_error *err)
{
    reid_dims in = reid_layout_dims(op->desc.input[0]), out = reid_layout_dims(op->desc.output);
    const float *x = op->buffers.input[0];
    float *y = op->buffers.output;
    int32_t *index = op->buffers.workspace;
    size_t k = 0;
    for (int64_t p = 0; p < in.n * in.c; p++)
        for (int64_t i = 0; i < out.h; i++)
            for (int64_t j = 0; j < out.w; j++, k++) {
                int64_t best = window_max(op, x + p * in.h * in.w, in, i, j);
                y[k] = x[p * in.h * in.w + best];
                if (index)
                    index[k] = (int32_t)best;
            }
    return REID_OK;
}

static reid_status max_pool_backward(reid_op *op, reid_error *err)
{
    reid_dims in = reid_layout_dims(op->desc.input[0]), out = reid_layout_dims(op->desc.output);
    const int32_t *index = op->buffers.workspace;
    float *dx = op->buffers.input_grad[0];
    size_t k = 0;
    memset(dx, 0, op->desc.input[0]->bytes);
    for (int64_t p = 0; p < in.n * in.c; p++)
        for (int64_t i = 0; i < out.h * out.w; i++, k++)
            dx[p * in.h * in.w + index[k]] +=
                reid_grad_sum(op->buffers.output_grad[0], op->buffers.output_grad[1], k);
    return REID_OK;
}

void reid_ref_max_pool_setup(reid_op *op)
{
    static const reid_op_impl impl = {.free = reid_ref_op_free,
                                      .forward = max_pool_forward,
                                      .backward_inputs = max_pool_backward};
    op->impl = &impl;
    op->grad_parts = 2;
    op->workspace_bytes = op->desc.training ? count_of(op) * sizeof(int32_t) : 0;
    snprintf(op->kernels, sizeof op->kernels, "loops");
}

static reid_status avg_pool_forward(reid_op *op, reid_error *err)
{
    reid_dims in = reid_layout_dims(op->desc.input[0]);
    const float *x = op->buffers.input[0];
    float *y = op->buffers.output;
    for (int64_t p = 0; p < in.n * in.c; p++) {
        double sum = 0.0;
        for (int64_t i = 0; i < in.h * in.w; i++)
            sum += *x++;
        y[p] = (float)(sum / (double)(in.h * in.w));
    }
    return REID_OK;
}

static reid_status avg_pool_backward(reid_op *op, reid_error *err)
{
    reid_dims in = reid_layout_dims(op->desc.input[0]);
    float *dx = op->buffers.input_grad[0];
    for (int64_t p = 0; p < in.n * in.c; p++) {
        float dy = reid_grad_sum(op->buffers.output_grad[0], op->buffers.output_grad[1], (size_t)p);
        for (int64_t i = 0; i < in.h * in.w; i++)
            *dx++ = dy / (float)(in.h * in.w);
    }
    return REID_OK;
}

void reid_ref_avg_pool_setup(reid_op *op)
{
    static const reid_op_impl impl = {.free = reid_ref_op_free,
                                      .forward = avg_pool_forward,
                                      .backward_inputs = avg_pool_backward};
    op->impl = &impl;
    op->grad_parts = 2;
    snprintf(op->kernels, sizeof op->kernels, "loops");
}
