/* Max pooling and global average pooling. */
#include <stdio.h>

#include "backend/cuda/cuda.h"
#include "backend/cuda/kernels.h"

/* ---- max ---- */

static reid_cuda_pool describe(const reid_op *op)
{
    const int64_t *in = op->desc.input[0]->shape.dim, *out = op->desc.output->shape.dim;
    const reid_max_pool *a = &op->desc.attr.pool;
    return (reid_cuda_pool){
        .dtype = op->desc.output->dtype,
        .n = (int)in[0],
        .h = (int)in[2],
        .w = (int)in[3],
        .out_h = (int)out[2],
        .out_w = (int)out[3],
        .channels = (int)in[1],
        .stride = (int)cuda_stride_of(op->desc.input[0]),
        .kernel = a->kernel,
        .step = a->stride,
        .padding = a->padding,
        .index = op->buffers.workspace,
    };
}

static reid_status max_pool_forward(reid_op *op, reid_error *err)
{
    reid_cuda_pool p = describe(op);
    p.x = op->buffers.input[0];
    p.out = op->buffers.output;
    return cuda_check(err, reid_cuda_max_pool(cuda_of(op)->stream, &p), "forward of max_pool");
}

static reid_status max_pool_backward(reid_op *op, reid_error *err)
{
    reid_cuda_pool p = describe(op);
    p.d0 = op->buffers.output_grad[0];
    p.d1 = op->buffers.output_grad[1];
    p.dx = op->buffers.input_grad[0];
    return cuda_check(err, reid_cuda_max_pool_grad(cuda_of(op)->stream, &p),
                      "backward of max_pool");
}

void cuda_max_pool_setup(reid_op *op)
{
    static const reid_op_impl impl = {
        .free = cuda_op_free, .forward = max_pool_forward, .backward_inputs = max_pool_backward};
    op->impl = &impl;
    op->grad_parts = 2;
    op->workspace_bytes =
        op->desc.training ? op->desc.output->bytes / reid_dtype_size(op->desc.output->dtype) : 0;
    snprintf(op->kernels, sizeof op->kernels, "gather");
}

/* ---- average ---- */

static int64_t pixels_of(const reid_layout *layout)
{
    return layout->shape.dim[2] * layout->shape.dim[3];
}

static reid_status avg_pool_forward(reid_op *op, reid_error *err)
{
    const reid_layout *l = op->desc.input[0];
    return cuda_check(err,
                      reid_cuda_average(cuda_of(op)->stream, l->dtype, op->buffers.input[0],
                                        op->buffers.output, l->shape.dim[0], pixels_of(l),
                                        l->shape.dim[1], cuda_stride_of(l)),
                      "forward of global_avg_pool");
}

static reid_status avg_pool_backward(reid_op *op, reid_error *err)
{
    const reid_layout *l = op->desc.input[0];
    const reid_op_buffers *b = &op->buffers;
    return cuda_check(err,
                      reid_cuda_average_grad(cuda_of(op)->stream, l->dtype, b->output_grad[0],
                                             b->output_grad[1], b->input_grad[0], l->shape.dim[0],
                                             pixels_of(l), l->shape.dim[1], cuda_stride_of(l)),
                      "backward of global_avg_pool");
}

void cuda_avg_pool_setup(reid_op *op)
{
    static const reid_op_impl impl = {
        .free = cuda_op_free, .forward = avg_pool_forward, .backward_inputs = avg_pool_backward};
    op->impl = &impl;
    op->grad_parts = 2;
    snprintf(op->kernels, sizeof op->kernels, "columns");
}
