/* Linear layers by oneDNN's inner product on plain rows; scale and bias by our own loops. */
#include <stdio.h>
#include <stdlib.h>

#include "backend/cpu/cpu_call.h"
#include "base/alloc.h"

typedef struct cpu_linear {
    reid_op op; /* first */
    cpu_call forward, data, weights;
} cpu_linear;

typedef struct linear_mds {
    dnnl_memory_desc_t source, weights, target;
} linear_mds;

static int64_t rows_of(const reid_op *op)
{
    return op->desc.output->shape.dim[0];
}

static int64_t outputs_of(const reid_op *op)
{
    return op->desc.output->shape.dim[1];
}

static reid_status describe(const reid_op_desc *desc, linear_mds *ret, reid_error *err)
{
    const int64_t n = desc->input[0]->shape.dim[0], d = desc->input[0]->shape.dim[1],
                  o = desc->output->shape.dim[1];
    dnnl_dims_t source = {n, d}, weights = {o, d}, target = {n, o};
    DNNL_TRY(dnnl_memory_desc_init_by_tag(&ret->source, 2, source, dnnl_f32, dnnl_ab));
    DNNL_TRY(dnnl_memory_desc_init_by_tag(&ret->weights, 2, weights, dnnl_f32, dnnl_ab));
    DNNL_TRY(dnnl_memory_desc_init_by_tag(&ret->target, 2, target, dnnl_f32, dnnl_ab));
    return REID_OK;
}

static reid_status choose(cpu_backend *backend, cpu_linear *linear, reid_error *err)
{
    linear_mds m;
    dnnl_inner_product_desc_t d;
    REID_TRY(describe(&linear->op.desc, &m, err));
    DNNL_TRY(dnnl_inner_product_forward_desc_init(&d, dnnl_forward_training, &m.source, &m.weights,
                                                  NULL, &m.target));
    DNNL_TRY(
        dnnl_primitive_desc_create(&linear->forward.pd, &d, backend->attr, backend->engine, NULL));
    if (linear->op.desc.input_grad[0]) {
        DNNL_TRY(dnnl_inner_product_backward_data_desc_init(&d, &m.source, &m.weights, &m.target));
        DNNL_TRY(dnnl_primitive_desc_create(&linear->data.pd, &d, backend->attr, backend->engine,
                                            linear->forward.pd));
    }
    if (linear->op.desc.param_grad[0]) {
        DNNL_TRY(dnnl_inner_product_backward_weights_desc_init(&d, &m.source, &m.weights, NULL,
                                                               &m.target));
        DNNL_TRY(dnnl_primitive_desc_create(&linear->weights.pd, &d, backend->attr, backend->engine,
                                            linear->forward.pd));
    }
    return REID_OK;
}

/* Scratch: with a scale other than one, the scaled output gradient; then oneDNN's scratchpad. */
static size_t scaled_bytes(const reid_op *op)
{
    size_t bytes = (op->desc.output->bytes + 63) / 64 * 64;
    return op->desc.attr.linear.scale == 1.0 ? 0 : bytes;
}

static reid_status bind_call(reid_op *op, cpu_call *call, reid_error *err)
{
    unsigned char *scratch = op->buffers.scratch;
    REID_TRY(cpu_call_prepare(call, err));
    return cpu_call_arg(cpu_of(op), call, DNNL_ARG_SCRATCHPAD,
                        cpu_call_md(call, dnnl_query_scratchpad_md), scratch + scaled_bytes(op),
                        err);
}

static reid_status linear_bind(reid_op *op, reid_error *err)
{
    cpu_linear *linear = (cpu_linear *)op;
    cpu_backend *backend = cpu_of(op);
    reid_op_buffers *b = &op->buffers;
    void *dy = scaled_bytes(op) ? b->scratch : (void *)b->output_grad[0];
    linear_mds m;
    REID_TRY(describe(&op->desc, &m, err));
    REID_TRY(bind_call(op, &linear->forward, err));
    REID_TRY(
        cpu_call_arg(backend, &linear->forward, DNNL_ARG_SRC, &m.source, (void *)b->input[0], err));
    REID_TRY(cpu_call_arg(backend, &linear->forward, DNNL_ARG_WEIGHTS, &m.weights,
                          (void *)b->param[0], err));
    REID_TRY(cpu_call_arg(backend, &linear->forward, DNNL_ARG_DST, &m.target, b->output, err));
    if (linear->data.pd) {
        REID_TRY(bind_call(op, &linear->data, err));
        REID_TRY(cpu_call_arg(backend, &linear->data, DNNL_ARG_DIFF_SRC, &m.source,
                              b->input_grad[0], err));
        REID_TRY(cpu_call_arg(backend, &linear->data, DNNL_ARG_WEIGHTS, &m.weights,
                              (void *)b->param[0], err));
        REID_TRY(cpu_call_arg(backend, &linear->data, DNNL_ARG_DIFF_DST, &m.target, dy, err));
    }
    if (linear->weights.pd) {
        REID_TRY(bind_call(op, &linear->weights, err));
        REID_TRY(cpu_call_arg(backend, &linear->weights, DNNL_ARG_SRC, &m.source,
                              (void *)b->saved_input[0], err));
        REID_TRY(cpu_call_arg(backend, &linear->weights, DNNL_ARG_DIFF_WEIGHTS, &m.weights,
                              b->param_grad[0], err));
        REID_TRY(cpu_call_arg(backend, &linear->weights, DNNL_ARG_DIFF_DST, &m.target, dy, err));
    }
    return REID_OK;
}

static reid_status linear_forward(reid_op *op, reid_error *err)
{
    const cpu_linear *linear = (const cpu_linear *)op;
    REID_TRY(cpu_call_run(cpu_of(op), &linear->forward, err));
    const float *bias = op->desc.param_count > 1 ? op->buffers.param[1] : NULL;
    float *y = op->buffers.output, scale = (float)op->desc.attr.linear.scale;
    if (!bias && scale == 1.0f)
        return REID_OK;
    for (int64_t n = 0; n < rows_of(op); n++)
        for (int64_t o = 0; o < outputs_of(op); o++, y++)
            *y = scale * *y + (bias ? bias[o] : 0.0f);
    return REID_OK;
}

/* The gradient both passes read; they run one after the other, but other operations may have used
 * the scratch between. */
static void scale_gradient(const reid_op *op)
{
    const float *dy = op->buffers.output_grad[0];
    float *scaled = op->buffers.scratch, scale = (float)op->desc.attr.linear.scale;
    for (int64_t i = 0; scaled_bytes(op) && i < rows_of(op) * outputs_of(op); i++)
        scaled[i] = scale * dy[i];
}

static reid_status linear_backward_params(reid_op *op, reid_error *err)
{
    const cpu_linear *linear = (const cpu_linear *)op;
    const float *dy = op->buffers.output_grad[0];
    float *bias = op->desc.param_count > 1 ? op->buffers.param_grad[1] : NULL;
    for (int64_t o = 0; bias && o < outputs_of(op); o++) {
        double sum = 0.0;
        for (int64_t n = 0; n < rows_of(op); n++)
            sum += dy[n * outputs_of(op) + o];
        bias[o] = (float)sum;
    }
    if (!linear->weights.pd)
        return REID_OK;
    scale_gradient(op);
    return cpu_call_run(cpu_of(op), &linear->weights, err);
}

static reid_status linear_backward_inputs(reid_op *op, reid_error *err)
{
    const cpu_linear *linear = (const cpu_linear *)op;
    if (!linear->data.pd)
        return REID_OK;
    scale_gradient(op);
    return cpu_call_run(cpu_of(op), &linear->data, err);
}

static void linear_free(reid_op *op)
{
    cpu_linear *linear = (cpu_linear *)op;
    cpu_call_fini(&linear->forward);
    cpu_call_fini(&linear->data);
    cpu_call_fini(&linear->weights);
    free(linear);
}

reid_status cpu_linear_new(cpu_backend *backend, const reid_op_desc *desc, reid_op **ret_op,
                           reid_error *err)
{
    static const reid_op_impl impl = {.free = linear_free,
                                      .bind = linear_bind,
                                      .forward = linear_forward,
                                      .backward_params = linear_backward_params,
                                      .backward_inputs = linear_backward_inputs};
    cpu_linear *linear = reid_xcalloc(1, sizeof *linear);
    reid_op *op = &linear->op;
    op->impl = &impl;
    op->backend = &backend->base;
    op->desc = *desc;
    op->grad_parts = 1;
    op->needs_input[0] = true;
    reid_status status = choose(backend, linear, err);
    if (status != REID_OK) {
        linear_free(op);
        return status;
    }
    size_t scratch =
        REID_MAX(cpu_call_scratch_bytes(&linear->forward), cpu_call_scratch_bytes(&linear->data));
    op->scratch_bytes =
        scaled_bytes(op) + REID_MAX(scratch, cpu_call_scratch_bytes(&linear->weights));
    snprintf(op->kernels, sizeof op->kernels, "%s, %s, %s", cpu_call_kernel(&linear->forward),
             cpu_call_kernel(&linear->data), cpu_call_kernel(&linear->weights));
    *ret_op = op;
    return REID_OK;
}
