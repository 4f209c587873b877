/* Batch norm over channels-last activations and over rows. */
#include <stdio.h>

#include "backend/cuda/cuda.h"
#include "backend/cuda/kernels.h"

static int64_t rows_of(const reid_layout *layout)
{
    const int64_t *d = layout->shape.dim;
    return layout->shape.rank == 4 ? d[0] * d[2] * d[3] : d[0];
}

/* Workspace: mean [C], then 1/σ [C]. */
static reid_cuda_norm describe(const reid_op *op)
{
    const reid_layout *layout = op->desc.input[0];
    const reid_op_buffers *b = &op->buffers;
    reid_cuda_norm n = {
        .dtype = layout->dtype,
        .rows = rows_of(layout),
        .channels = (int)layout->shape.dim[1],
        .stride = (int)cuda_stride_of(layout),
        .relu = op->desc.relu,
        .eps = op->desc.attr.norm.eps,
        .momentum = op->desc.attr.norm.momentum,
        .gamma = b->param[0],
        .beta = b->param[1],
        .running_mean = b->state[0],
        .running_variance = b->state[1],
        .tracked = b->state[2],
        .mean = b->workspace,
        .scratch = b->scratch,
    };
    n.inverse = n.mean ? n.mean + n.channels : NULL;
    return n;
}

static reid_status norm_forward(reid_op *op, reid_error *err)
{
    reid_cuda_norm n = describe(op);
    n.x = op->buffers.input[0];
    n.residual = op->desc.input_count > 1 ? op->buffers.input[1] : NULL;
    n.out = op->buffers.output;
    cudaStream_t stream = cuda_of(op)->stream;
    return cuda_check(
        err, op->desc.training ? reid_cuda_norm_train(stream, &n) : reid_cuda_norm_eval(stream, &n),
        "forward of batch_norm");
}

static reid_status norm_recompute(reid_op *op, reid_error *err)
{
    reid_cuda_norm n = describe(op);
    n.x = op->buffers.saved_input[0];
    n.residual = op->desc.input_count > 1 ? op->buffers.saved_input[1] : NULL;
    n.out = op->buffers.saved_output;
    return cuda_check(err, reid_cuda_norm_again(cuda_of(op)->stream, &n),
                      "recomputation of batch_norm");
}

static reid_status norm_backward(reid_op *op, reid_error *err)
{
    const reid_op_buffers *b = &op->buffers;
    reid_cuda_norm n = describe(op);
    n.x = b->saved_input[0];
    n.y = b->saved_output;
    n.d0 = b->output_grad[0];
    n.d1 = b->output_grad[1];
    n.dx = b->input_grad[0];
    n.dr = b->input_grad[1];
    n.gamma_grad = b->param_grad[0];
    n.beta_grad = b->param_grad[1];
    n.mask = !op->desc.relu     ? REID_CUDA_MASK_NONE
             : op->needs_output ? REID_CUDA_MASK_FROM_OUTPUT
                                : REID_CUDA_MASK_FROM_INPUT;
    return cuda_check(err, reid_cuda_norm_backward(cuda_of(op)->stream, &n),
                      "backward of batch_norm");
}

void cuda_norm_setup(reid_op *op)
{
    static const reid_op_impl impl = {.free = cuda_op_free,
                                      .forward = norm_forward,
                                      .backward_inputs = norm_backward,
                                      .recompute = norm_recompute};
    const reid_layout *layout = op->desc.input[0];
    op->impl = &impl;
    op->needs_input[0] = true;
    op->needs_output = op->desc.relu && op->desc.input_count > 1;
    op->grad_parts = 2;
    op->output_over_input[0] = !op->desc.training;
    op->output_over_input[1] = true;
    op->grad_over_grad[0] = op->grad_over_grad[1] = true;
    if (op->desc.training) {
        op->workspace_bytes = 2 * sizeof(float) * (size_t)layout->shape.dim[1];
        op->scratch_bytes = reid_cuda_norm_scratch_bytes(layout->dtype, rows_of(layout),
                                                         (int)cuda_stride_of(layout));
    }
    snprintf(op->kernels, sizeof op->kernels, "chunks");
}
