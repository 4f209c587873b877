/* Convolution and linear layers: three calls of cuDNN, the bias by our own kernels.
 *
 * A linear layer is a convolution of one pixel whose result is multiplied by its scale. With
 * activations of 16 bits the f32 weights are cast into the scratch before each pass that reads them
 * (a hundredth of a step's traffic), and the gradient of the weights comes from there: cuDNN sums
 * in f32, but has no engine ahead of time that writes f32 from 16 bits.
 *
 * Scratch: [weights, or their gradient, in 16 bits][workspace of cuDNN], or that of the bias's
 * gradient.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/dnn.h"
#include "backend/cuda/kernels.h"
#include "base/alloc.h"
#include "base/compiler.h"

typedef struct cuda_conv {
    reid_op op; /* first */
    cuda_dnn_conv shape;
    cuda_dnn_call call[REID_OP_PASSES];
    size_t cast_bytes; /* of the weights in 16 bits; 0: used as they are */
} cuda_conv;

static bool has_bias(const reid_op *op)
{
    return op->desc.param_count > 1;
}

static int64_t output_rows(const cuda_conv *conv)
{
    return conv->shape.n * conv->shape.p * conv->shape.q;
}

static size_t weight_count(const cuda_conv *conv)
{
    return reid_shape_count(&conv->op.desc.param[0]->shape);
}

void cuda_dnn_conv_describe(const reid_op_desc *desc, cuda_dnn_conv *ret)
{
    const int64_t *in = desc->input[0]->shape.dim, *out = desc->output->shape.dim;
    const reid_conv2d *a = &desc->attr.conv;
    ret->kernel = a->kernel;
    ret->stride = a->stride;
    ret->padding = a->padding;
    ret->n = in[0], ret->c = in[1], ret->h = in[2], ret->w = in[3];
    ret->k = out[1], ret->p = out[2], ret->q = out[3];
    ret->direct = desc->direct;
    ret->alpha = 1.0;
}

static void describe_linear(const reid_op_desc *desc, cuda_dnn_conv *ret)
{
    ret->kernel = ret->stride = 1;
    ret->n = desc->input[0]->shape.dim[0], ret->c = desc->input[0]->shape.dim[1];
    ret->k = desc->output->shape.dim[1];
    ret->h = ret->w = ret->p = ret->q = 1;
    ret->alpha = desc->attr.linear.scale;
}

static bool wanted(const reid_op_desc *desc, reid_op_pass pass)
{
    return pass == REID_PASS_FORWARD  ? true
           : pass == REID_PASS_INPUTS ? desc->input_grad[0]
                                      : desc->param_grad[0];
}

/* Plans of the passes wanted; the type of all three tensors is the activations'. */
static reid_status choose(cuda_conv *conv, reid_error *err)
{
    const reid_op_desc *desc = &conv->op.desc;
    size_t workspace = 0;
    for (int pass = 0; pass < REID_OP_PASSES; pass++) {
        if (!wanted(desc, pass))
            continue;
        cuda_dnn_conv *key = &conv->shape;
        key->pass = pass;
        key->dtype = desc->input[0]->dtype;
        REID_TRY(cuda_dnn_plan_get(cuda_of(&conv->op), key, desc->name ? desc->name : "layer",
                                   &conv->call[pass].plan, err));
        workspace = REID_MAX(workspace, conv->call[pass].plan->workspace_bytes);
    }
    if (desc->input[0]->dtype != REID_F32)
        conv->cast_bytes = (weight_count(conv) * sizeof(uint16_t) + 255) / 256 * 256;
    size_t bias = has_bias(&conv->op)
                      ? reid_cuda_bias_grad_scratch_bytes(output_rows(conv), conv->shape.k)
                      : 0;
    conv->op.scratch_bytes = REID_MAX(conv->cast_bytes + workspace, bias);
    return REID_OK;
}

/* What the weights are read from. */
static const void *weights(const cuda_conv *conv)
{
    return conv->cast_bytes ? conv->op.buffers.scratch : (const void *)conv->op.buffers.param[0];
}

static reid_status conv_bind(reid_op *op, reid_error *err)
{
    cuda_conv *conv = (cuda_conv *)op;
    const reid_op_buffers *b = &op->buffers;
    cuda_dnn_call *call = conv->call;
    cuda_dnn_places places = {.weight = weights(conv),
                              .workspace = (unsigned char *)b->scratch + conv->cast_bytes};
    places.x = b->input[0];
    places.y = b->output;
    REID_TRY(cuda_dnn_call_bind(&call[REID_PASS_FORWARD], &places, err));
    places.y = b->output_grad[0];
    if (call[REID_PASS_INPUTS].plan) {
        places.x = b->input_grad[0];
        REID_TRY(cuda_dnn_call_bind(&call[REID_PASS_INPUTS], &places, err));
    }
    if (call[REID_PASS_PARAMS].plan) {
        places.x = b->saved_input[0];
        places.weight = conv->cast_bytes ? b->scratch : b->param_grad[0];
        REID_TRY(cuda_dnn_call_bind(&call[REID_PASS_PARAMS], &places, err));
    }
    return REID_OK;
}

static reid_status cast_weights(const cuda_conv *conv, reid_error *err)
{
    const reid_op_buffers *b = &conv->op.buffers;
    if (conv->cast_bytes)
        CUDA_TRY(reid_cuda_cast(cuda_of(&conv->op)->stream, conv->shape.dtype, b->param[0],
                                b->scratch, weight_count(conv)));
    return REID_OK;
}

static reid_status conv_forward(reid_op *op, reid_error *err)
{
    const cuda_conv *conv = (const cuda_conv *)op;
    cuda_backend *backend = cuda_of(op);
    REID_TRY(cuda_noted(backend, err));
    REID_TRY(cast_weights(conv, err));
    REID_TRY(cuda_dnn_call_run(backend, &conv->call[REID_PASS_FORWARD], err));
    if (has_bias(op))
        CUDA_TRY(reid_cuda_bias(backend->stream, op->desc.output->dtype, op->buffers.output,
                                op->buffers.param[1], output_rows(conv), conv->shape.k,
                                conv->shape.k));
    return REID_OK;
}

static reid_status conv_backward_params(reid_op *op, reid_error *err)
{
    const cuda_conv *conv = (const cuda_conv *)op;
    const reid_op_buffers *b = &op->buffers;
    cuda_backend *backend = cuda_of(op);
    if (has_bias(op) && b->param_grad[1])
        CUDA_TRY(reid_cuda_bias_grad(backend->stream, op->desc.output->dtype, b->output_grad[0],
                                     b->param_grad[1], output_rows(conv), conv->shape.k,
                                     conv->shape.k, b->scratch));
    if (!conv->call[REID_PASS_PARAMS].plan)
        return REID_OK;
    REID_TRY(cuda_dnn_call_run(backend, &conv->call[REID_PASS_PARAMS], err));
    if (conv->cast_bytes)
        CUDA_TRY(reid_cuda_uncast(backend->stream, conv->shape.dtype, b->scratch, b->param_grad[0],
                                  weight_count(conv)));
    return REID_OK;
}

static reid_status conv_backward_inputs(reid_op *op, reid_error *err)
{
    const cuda_conv *conv = (const cuda_conv *)op;
    if (!conv->call[REID_PASS_INPUTS].plan)
        return REID_OK;
    REID_TRY(cast_weights(conv, err));
    return cuda_dnn_call_run(cuda_of(op), &conv->call[REID_PASS_INPUTS], err);
}

static void conv_free(reid_op *op)
{
    cuda_conv *conv = (cuda_conv *)op;
    for (int pass = 0; pass < REID_OP_PASSES; pass++)
        cuda_dnn_call_fini(&conv->call[pass]);
    free(conv);
}

/* Engines and workspaces of the passes, and the arithmetic of one of them. */
static void tell(cuda_conv *conv)
{
    const cuda_dnn_conv *s = &conv->shape;
    char text[REID_OP_PASSES][48];
    for (int pass = 0; pass < REID_OP_PASSES; pass++)
        cuda_dnn_call_text(&conv->call[pass], text[pass]);
    double flops = 2.0 * (double)output_rows(conv) * (double)weight_count(conv);
    double bytes = (double)conv->op.desc.input[0]->bytes + (double)conv->op.desc.output->bytes +
                   (double)weight_count(conv) * (double)reid_dtype_size(s->dtype);
    snprintf(conv->op.kernels, sizeof conv->op.kernels, "%s, %s, %s; %.3g GFLOP %.3g MB",
             text[REID_PASS_FORWARD], text[REID_PASS_INPUTS], text[REID_PASS_PARAMS], flops * 1e-9,
             bytes * 1e-6);
}

static reid_status conv_new(cuda_backend *backend, const reid_op_desc *desc,
                            void (*describe)(const reid_op_desc *desc, cuda_dnn_conv *ret),
                            reid_op **ret_op, reid_error *err)
{
    static const reid_op_impl impl = {conv_free, conv_bind, conv_forward, conv_backward_params,
                                      conv_backward_inputs};
    cuda_conv *conv = reid_xcalloc(1, sizeof *conv);
    reid_op *op = &conv->op;
    op->impl = &impl;
    op->backend = &backend->base;
    op->desc = *desc;
    op->grad_parts = 1;
    op->needs_input[0] = true;
    describe(desc, &conv->shape);
    reid_status status = choose(conv, err);
    if (status != REID_OK) {
        conv_free(op);
        return status;
    }
    tell(conv);
    *ret_op = op;
    return REID_OK;
}

reid_status cuda_conv_new(cuda_backend *backend, const reid_op_desc *desc, reid_op **ret_op,
                          reid_error *err)
{
    return conv_new(backend, desc, cuda_dnn_conv_describe, ret_op, err);
}

reid_status cuda_linear_new(cuda_backend *backend, const reid_op_desc *desc, reid_op **ret_op,
                            reid_error *err)
{
    return conv_new(backend, desc, describe_linear, ret_op, err);
}
