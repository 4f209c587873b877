/* Evaluation of a convolution and the batch norm behind it [, residual][, ReLU] in one: the norm's
 * scale goes into the weights, its shift is a bias. Where cuDNN recommends a plan for all of it,
 * the result is written once; else the convolution's is, and one kernel does the rest.
 *
 * The weights are folded before each call, for they may have been trained since: a small part of
 * the traffic of the activations that it saves. Scratch: [weights][bias][workspace of cuDNN].
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/dnn.h"
#include "backend/cuda/kernels.h"
#include "base/alloc.h"

typedef struct cuda_fold {
    reid_op op; /* first */
    cuda_dnn_conv shape;
    cuda_dnn_call call;
    size_t weight_bytes, bias_bytes;
} cuda_fold;

static bool is_fused(const cuda_fold *fold)
{
    return fold->call.plan->conv.fused;
}

static void *bias_of(const cuda_fold *fold)
{
    return (unsigned char *)fold->op.buffers.scratch + fold->weight_bytes;
}

static const void *residual_of(const cuda_fold *fold)
{
    return fold->op.desc.input_count > 1 ? fold->op.buffers.input[1] : NULL;
}

static size_t rounded(size_t bytes)
{
    return (bytes + 255) / 256 * 256;
}

/* All in one, or the convolution alone. */
static reid_status choose(cuda_fold *fold, reid_error *err)
{
    const reid_op_desc *desc = &fold->op.desc;
    cuda_backend *backend = cuda_of(&fold->op);
    const char *layer = desc->name ? desc->name : "layer";
    cuda_dnn_conv *key = &fold->shape;
    cuda_dnn_conv_describe(desc, key);
    key->pass = REID_PASS_FORWARD;
    key->dtype = desc->input[0]->dtype;
    key->fused = true;
    key->residual = desc->input_count > 1;
    key->relu = desc->relu;
    if (cuda_dnn_plan_get(backend, key, layer, &fold->call.plan, NULL) == REID_OK)
        return REID_OK;
    key->fused = key->residual = key->relu = false;
    return cuda_dnn_plan_get(backend, key, layer, &fold->call.plan, err);
}

static void tell(cuda_fold *fold)
{
    char text[48];
    snprintf(fold->op.kernels, sizeof fold->op.kernels, "%s, folded%s",
             cuda_dnn_call_text(&fold->call, text), is_fused(fold) ? " and fused" : "");
}

static reid_status fold_bind(reid_op *op, reid_error *err)
{
    cuda_fold *fold = (cuda_fold *)op;
    const reid_op_buffers *b = &op->buffers;
    const cuda_dnn_places places = {
        .x = b->input[0],
        .weight = b->scratch,
        .y = b->output,
        .residual = residual_of(fold),
        .bias = bias_of(fold),
        .workspace = (unsigned char *)b->scratch + fold->weight_bytes + fold->bias_bytes,
    };
    return cuda_dnn_call_bind(&fold->call, &places, err);
}

static reid_status fold_forward(reid_op *op, reid_error *err)
{
    const cuda_fold *fold = (const cuda_fold *)op;
    const reid_op_buffers *b = &op->buffers;
    cuda_backend *backend = cuda_of(op);
    const reid_cuda_fold weights = {
        .dtype = fold->shape.dtype,
        .channels = (int)fold->shape.k,
        .per_channel = fold->shape.c * fold->shape.kernel * fold->shape.kernel,
        .eps = op->desc.fold.eps,
        .weight = b->param[0],
        .gamma = b->param[1],
        .beta = b->param[2],
        .mean = b->state[0],
        .variance = b->state[1],
        .folded = b->scratch,
        .bias = bias_of(fold),
    };
    REID_TRY(cuda_noted(backend, err));
    CUDA_TRY(reid_cuda_fold_weights(backend->stream, &weights));
    REID_TRY(cuda_dnn_call_run(backend, &fold->call, err));
    if (!is_fused(fold))
        CUDA_TRY(reid_cuda_fold_finish(
            backend->stream, fold->shape.dtype, b->output, bias_of(fold), residual_of(fold),
            fold->shape.n * fold->shape.p * fold->shape.q, (int)fold->shape.k, op->desc.relu));
    return REID_OK;
}

static void fold_free(reid_op *op)
{
    cuda_fold *fold = (cuda_fold *)op;
    cuda_dnn_call_fini(&fold->call);
    free(fold);
}

reid_status cuda_fold_new(cuda_backend *backend, const reid_op_desc *desc, reid_op **ret_op,
                          reid_error *err)
{
    static const reid_op_impl impl = {
        .free = fold_free, .bind = fold_bind, .forward = fold_forward};
    cuda_fold *fold = reid_xcalloc(1, sizeof *fold);
    reid_op *op = &fold->op;
    op->impl = &impl;
    op->backend = &backend->base;
    op->desc = *desc;
    op->grad_parts = 1;
    reid_status status = choose(fold, err);
    if (status != REID_OK) {
        fold_free(op);
        return status;
    }
    size_t number = reid_dtype_size(fold->shape.dtype);
    fold->weight_bytes = rounded(reid_shape_count(&desc->param[0]->shape) * number);
    fold->bias_bytes = rounded((size_t)fold->shape.k * number);
    op->scratch_bytes = fold->weight_bytes + fold->bias_bytes + fold->call.plan->workspace_bytes;
    tell(fold);
    *ret_op = op;
    return REID_OK;
}
