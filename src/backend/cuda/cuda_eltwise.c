/* ReLU and addition. */
#include <stdio.h>

#include "backend/cuda/cuda.h"
#include "backend/cuda/kernels.h"

/* Numbers in a tensor with its padding. */
static size_t count_of(const reid_layout *layout)
{
    return layout->bytes / reid_dtype_size(layout->dtype);
}

static reid_status run_relu(reid_op *op, const void *x, void *y, reid_error *err)
{
    const reid_layout *l = op->desc.output;
    return cuda_check(err, reid_cuda_relu(cuda_of(op)->stream, l->dtype, x, y, count_of(l)),
                      "forward of relu");
}

static reid_status relu_forward(reid_op *op, reid_error *err)
{
    return run_relu(op, op->buffers.input[0], op->buffers.output, err);
}

static reid_status relu_recompute(reid_op *op, reid_error *err)
{
    return run_relu(op, op->buffers.saved_input[0], op->buffers.saved_output, err);
}

/* Also of ADD with a fused ReLU: the gradient is the same for both inputs. */
static reid_status masked_backward(reid_op *op, reid_error *err)
{
    const reid_layout *l = op->desc.output;
    const reid_op_buffers *b = &op->buffers;
    return cuda_check(err,
                      reid_cuda_relu_grad(cuda_of(op)->stream, l->dtype, b->output_grad[0],
                                          b->output_grad[1], b->saved_output, b->input_grad[0],
                                          count_of(l)),
                      "backward of relu");
}

static void elementwise(reid_op *op)
{
    op->grad_parts = 2;
    op->grad_over_grad[0] = true;
    op->output_over_input[0] = true;
    snprintf(op->kernels, sizeof op->kernels, "flat");
}

void cuda_relu_setup(reid_op *op)
{
    static const reid_op_impl impl = {.free = cuda_op_free,
                                      .forward = relu_forward,
                                      .backward_inputs = masked_backward,
                                      .recompute = relu_recompute};
    op->impl = &impl;
    elementwise(op);
    op->needs_output = true;
}

static reid_status run_add(reid_op *op, const void *const input[REID_OP_INPUTS], void *y,
                           reid_error *err)
{
    const reid_layout *l = op->desc.output;
    return cuda_check(err,
                      reid_cuda_add(cuda_of(op)->stream, l->dtype, input[0], input[1], y,
                                    count_of(l), op->desc.relu),
                      "forward of add");
}

static reid_status add_forward(reid_op *op, reid_error *err)
{
    return run_add(op, op->buffers.input, op->buffers.output, err);
}

static reid_status add_recompute(reid_op *op, reid_error *err)
{
    return run_add(op, op->buffers.saved_input, op->buffers.saved_output, err);
}

void cuda_add_setup(reid_op *op)
{
    static const reid_op_impl plain = {
        .free = cuda_op_free, .forward = add_forward, .recompute = add_recompute};
    static const reid_op_impl with_relu = {.free = cuda_op_free,
                                           .forward = add_forward,
                                           .backward_inputs = masked_backward,
                                           .recompute = add_recompute};
    op->impl = op->desc.relu ? &with_relu : &plain;
    elementwise(op);
    op->output_over_input[1] = true;
    op->equal_grads = true;
    op->needs_output = op->desc.relu;
}
