/* Losses and accuracy over rows. */
#include <stdio.h>

#include "backend/cuda/cuda.h"
#include "backend/cuda/kernels.h"

static int rows_of(const reid_op *op)
{
    return (int)op->desc.input[0]->shape.dim[0];
}

static int width_of(const reid_op *op)
{
    return (int)op->desc.input[0]->shape.dim[1];
}

/* ---- cross entropy ---- */

static reid_status cross_entropy_forward(reid_op *op, reid_error *err)
{
    const reid_op_buffers *b = &op->buffers;
    const reid_cross_entropy *a = &op->desc.attr.cross_entropy;
    return cuda_check(err,
                      reid_cuda_cross_entropy(cuda_of(op)->stream, b->input[0], b->input[1],
                                              rows_of(op), width_of(op), a->epsilon, a->alpha,
                                              b->workspace, b->scratch, b->output),
                      "forward of cross_entropy");
}

static reid_status cross_entropy_backward(reid_op *op, reid_error *err)
{
    size_t count = (size_t)rows_of(op) * (size_t)width_of(op);
    return cuda_check(err,
                      reid_cuda_cross_entropy_grad(cuda_of(op)->stream, op->buffers.workspace,
                                                   count, op->desc.loss_scale,
                                                   op->buffers.input_grad[0]),
                      "backward of cross_entropy");
}

/* Workspace [N,C]: gradient of the loss by the logits, before division by the rows that count; then
 * that number. */
void cuda_cross_entropy_setup(reid_op *op)
{
    static const reid_op_impl impl = {.free = cuda_op_free,
                                      .forward = cross_entropy_forward,
                                      .backward_inputs = cross_entropy_backward};
    size_t rows = (size_t)rows_of(op);
    op->impl = &impl;
    op->workspace_bytes = (rows * (size_t)width_of(op) + 1) * sizeof(float);
    op->scratch_bytes = 2 * rows * sizeof(double);
    snprintf(op->kernels, sizeof op->kernels, "rows");
}

/* ---- triplet ---- */

/* Workspace: distances [N,N], their gradients [N,N], lengths [N]. */
static reid_cuda_triplet describe(const reid_op *op)
{
    const reid_triplet *a = &op->desc.attr.triplet;
    size_t rows = (size_t)rows_of(op);
    float *space = op->buffers.workspace;
    return (reid_cuda_triplet){
        .rows = rows_of(op),
        .width = width_of(op),
        .margin = a->margin,
        .norm_feat = a->norm_feat,
        .hard_mining = a->hard_mining,
        .distance = space,
        .weight = space + rows * rows,
        .length = space + 2 * rows * rows,
        .gap = op->buffers.scratch,
        .loss_scale = op->desc.loss_scale,
    };
}

static reid_status triplet_forward(reid_op *op, reid_error *err)
{
    reid_cuda_triplet t = describe(op);
    t.x = op->buffers.input[0];
    t.labels = op->buffers.input[1];
    t.loss = op->buffers.output;
    return cuda_check(err, reid_cuda_triplet_forward(cuda_of(op)->stream, &t),
                      "forward of triplet");
}

static reid_status triplet_backward(reid_op *op, reid_error *err)
{
    reid_cuda_triplet t = describe(op);
    t.x = op->buffers.saved_input[0];
    t.dx = op->buffers.input_grad[0];
    return cuda_check(err, reid_cuda_triplet_backward(cuda_of(op)->stream, &t),
                      "backward of triplet");
}

void cuda_triplet_setup(reid_op *op)
{
    static const reid_op_impl impl = {
        .free = cuda_op_free, .forward = triplet_forward, .backward_inputs = triplet_backward};
    size_t rows = (size_t)rows_of(op);
    op->impl = &impl;
    op->needs_input[0] = true;
    op->workspace_bytes = (2 * rows * rows + rows) * sizeof(float);
    op->scratch_bytes = 2 * rows * sizeof(double);
    snprintf(op->kernels, sizeof op->kernels, "pairs");
}

/* ---- accuracy ---- */

static reid_status accuracy_forward(reid_op *op, reid_error *err)
{
    const reid_op_buffers *b = &op->buffers;
    return cuda_check(err,
                      reid_cuda_accuracy(cuda_of(op)->stream, b->input[0], b->input[1], rows_of(op),
                                         width_of(op), b->scratch, b->output),
                      "forward of accuracy");
}

void cuda_accuracy_setup(reid_op *op)
{
    static const reid_op_impl impl = {.free = cuda_op_free, .forward = accuracy_forward};
    op->impl = &impl;
    op->scratch_bytes = (size_t)rows_of(op) * sizeof(double);
    snprintf(op->kernels, sizeof op->kernels, "rows");
}
