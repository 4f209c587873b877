/* Convolution by oneDNN: a primitive for each pass, and reorders where it wants another blocking of
 * the weights, or another type of the activations, than the network keeps. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cpu/cpu_call.h"
#include "base/alloc.h"

enum { SOURCE, WEIGHTS, TARGET, OPERANDS };

typedef struct conv_pass {
    cpu_call main;             /* no pd: there is no such pass */
    cpu_call change[OPERANDS]; /* between what the network keeps and what main takes */
} conv_pass;

typedef struct cpu_conv {
    reid_op op; /* first */
    conv_pass pass[REID_OP_PASSES];
} cpu_conv;

static const int written[REID_OP_PASSES] = {
    [REID_PASS_FORWARD] = TARGET, [REID_PASS_PARAMS] = WEIGHTS, [REID_PASS_INPUTS] = SOURCE};

/* How oneDNN calls the operands. */
static const struct {
    dnnl_query_t query;
    int arg;
} names[REID_OP_PASSES][OPERANDS] = {
    [REID_PASS_FORWARD] = {{dnnl_query_src_md, DNNL_ARG_SRC},
                           {dnnl_query_weights_md, DNNL_ARG_WEIGHTS},
                           {dnnl_query_dst_md, DNNL_ARG_DST}},
    [REID_PASS_PARAMS] = {{dnnl_query_src_md, DNNL_ARG_SRC},
                          {dnnl_query_diff_weights_md, DNNL_ARG_DIFF_WEIGHTS},
                          {dnnl_query_diff_dst_md, DNNL_ARG_DIFF_DST}},
    [REID_PASS_INPUTS] = {{dnnl_query_diff_src_md, DNNL_ARG_DIFF_SRC},
                          {dnnl_query_weights_md, DNNL_ARG_WEIGHTS},
                          {dnnl_query_diff_dst_md, DNNL_ARG_DIFF_DST}},
};

/* Memory descriptions of one convolution; channels are rounded up to the block unless the source is
 * plain. */
typedef struct conv_mds {
    dnnl_memory_desc_t source, target, weights_any, grad_any, weights, bias;
    dnnl_dims_t strides, padding;
} conv_mds;

static int64_t round_up(int64_t value, int64_t unit)
{
    return (value + unit - 1) / unit * unit;
}

static dnnl_data_type_t type_of(reid_dtype dtype)
{
    return dtype == REID_BF16 ? dnnl_bf16 : dnnl_f32;
}

static reid_status activation_md(const cpu_backend *backend, const reid_layout *layout,
                                 reid_dtype dtype, dnnl_memory_desc_t *ret_md, reid_error *err)
{
    const int64_t *d = layout->shape.dim;
    bool blocked = cpu_layout_of(layout)->kind == CPU_BLOCKED;
    dnnl_dims_t dims = {d[0], blocked ? round_up(d[1], backend->block) : d[1], d[2], d[3]};
    dnnl_format_tag_t tag = !blocked               ? dnnl_nchw
                            : backend->block == 16 ? dnnl_nChw16c
                                                   : dnnl_nChw8c;
    DNNL_TRY(dnnl_memory_desc_init_by_tag(ret_md, 4, dims, type_of(dtype), tag));
    return REID_OK;
}

/* `dtype` of the activations and of the weights that are read. */
static reid_status describe(const cpu_backend *backend, const reid_op_desc *desc, reid_dtype dtype,
                            conv_mds *ret, reid_error *err)
{
    const reid_conv2d *a = &desc->attr.conv;
    memset(ret, 0, sizeof *ret);
    REID_TRY(activation_md(backend, desc->input[0], dtype, &ret->source, err));
    REID_TRY(activation_md(backend, desc->output, dtype, &ret->target, err));
    dnnl_dims_t dims = {ret->target.dims[1], ret->source.dims[1], a->kernel, a->kernel};
    DNNL_TRY(dnnl_memory_desc_init_by_tag(&ret->weights_any, 4, dims, type_of(dtype),
                                          dnnl_format_tag_any));
    DNNL_TRY(dnnl_memory_desc_init_by_tag(&ret->grad_any, 4, dims, dnnl_f32, dnnl_format_tag_any));
    DNNL_TRY(dnnl_memory_desc_init_by_tag(&ret->bias, 1, dims, dnnl_f32, dnnl_a));
    for (int i = 0; i < 2; i++) {
        ret->strides[i] = a->stride;
        ret->padding[i] = a->padding;
    }
    if (desc->param[0]) {
        ret->weights = cpu_layout_of(desc->param[0])->md;
        memcpy(ret->weights.dims, ret->weights.padded_dims, sizeof ret->weights.dims);
    }
    return REID_OK;
}

static dnnl_status_t create_pd(const cpu_backend *backend, const reid_op_desc *desc,
                               const conv_mds *m, reid_op_pass pass, dnnl_alg_kind_t algorithm,
                               const dnnl_memory_desc_t *weights, const_dnnl_primitive_desc_t hint,
                               dnnl_primitive_desc_t *ret_pd)
{
    const dnnl_memory_desc_t *bias = desc->attr.conv.bias ? &m->bias : NULL;
    dnnl_convolution_desc_t d;
    dnnl_status_t status;
    if (pass == REID_PASS_FORWARD)
        status = dnnl_convolution_forward_desc_init(&d, dnnl_forward_training, algorithm,
                                                    &m->source, weights, bias, &m->target,
                                                    m->strides, m->padding, m->padding);
    else if (pass == REID_PASS_INPUTS)
        status = dnnl_convolution_backward_data_desc_init(
            &d, algorithm, &m->source, weights, &m->target, m->strides, m->padding, m->padding);
    else
        status = dnnl_convolution_backward_weights_desc_init(&d, algorithm, &m->source, weights,
                                                             bias, &m->target, m->strides,
                                                             m->padding, m->padding);
    if (status != dnnl_success)
        return status;
    return dnnl_primitive_desc_create(ret_pd, &d, backend->attr, backend->engine, hint);
}

/* Winograd pays on 3×3 with stride 1 where both sides have a full block of channels, and where
 * there are enough 4×4 tiles of output to share the transformed weights: with 16 tiles of 512
 * channels it takes three times as long as direct convolution, with 64 about the same, with 256
 * half. oneDNN's own `auto` rule then looks at the sizes too. A rule of shapes alone: every rank
 * decides alike. cpu_conv_tune measures where it is in doubt.
 *
 * oneDNN has Winograd in float32 only. In a bfloat16 network it is taken where it was measured to
 * be faster, casts included: processors differ widely in how fast their bfloat16 products are. */
#define WINOGRAD_TILES_MIN 64

bool cpu_conv_suits_winograd(const cpu_backend *backend, const reid_op_desc *desc,
                             int64_t *ret_tiles)
{
    const reid_conv2d *a = &desc->attr.conv;
    const int64_t *in = desc->input[0]->shape.dim;
    int64_t height = in[2] + 2 * a->padding - 2,
            width = in[3] + 2 * a->padding - 2; /* of the output */
    *ret_tiles = in[0] * ((height + 3) / 4) * ((width + 3) / 4);
    return !desc->direct && a->kernel == 3 && a->stride == 1 && in[1] >= backend->block &&
           a->out_channels >= backend->block;
}

/* oneDNN's words for it: direct, auto or winograd. */
static dnnl_alg_kind_t first_choice(const cpu_backend *backend, const reid_op_desc *desc,
                                    reid_op_pass pass)
{
    int64_t tiles = 0;
    reid_algorithm wanted = desc->algorithm[pass];
    if (!cpu_conv_suits_winograd(backend, desc, &tiles) || wanted == REID_ALGORITHM_DIRECT)
        return dnnl_convolution_direct;
    if (wanted == REID_ALGORITHM_WINOGRAD)
        return dnnl_convolution_winograd;
    return tiles >= WINOGRAD_TILES_MIN && desc->compute == REID_F32 ? dnnl_convolution_auto
                                                                    : dnnl_convolution_direct;
}

static reid_status choose(const cpu_backend *backend, const reid_op_desc *desc, reid_op_pass pass,
                          const_dnnl_primitive_desc_t hint, dnnl_primitive_desc_t *ret_pd,
                          reid_error *err)
{
    const dnnl_alg_kind_t order[] = {first_choice(backend, desc, pass), dnnl_convolution_direct};
    dnnl_status_t status = dnnl_unimplemented;
    for (int i = 0; i < 2 && status != dnnl_success; i++) {
        reid_dtype dtype = order[i] == dnnl_convolution_direct ? desc->compute : REID_F32;
        conv_mds m;
        REID_TRY(describe(backend, desc, dtype, &m, err));
        /* Forward and weight gradients keep the parameter's layout where they can: no reorder. */
        if (pass == REID_PASS_PARAMS || (pass == REID_PASS_FORWARD && dtype == REID_F32))
            status = create_pd(backend, desc, &m, pass, order[i], &m.weights, hint, ret_pd);
        if (status != dnnl_success)
            status =
                create_pd(backend, desc, &m, pass, order[i],
                          pass == REID_PASS_PARAMS ? &m.grad_any : &m.weights_any, hint, ret_pd);
    }
    return status == dnnl_success ? REID_OK : cpu_dnnl_fail(status, "this convolution", err);
}

/* "ABcd16b16a": outer dims by stride, blocked ones in capitals, then the inner blocks. */
static void layout_text(const dnnl_memory_desc_t *md, char *text, size_t size)
{
    const dnnl_blocking_desc_t *b = &md->format_desc.blocking;
    int order[4] = {0, 1, 2, 3};
    for (int i = 0; i < 4; i++)
        for (int j = i + 1; j < 4; j++)
            if (b->strides[order[j]] > b->strides[order[i]]) {
                int t = order[i];
                order[i] = order[j];
                order[j] = t;
            }
    size_t used = 0;
    for (int i = 0; i < 4 && used + 1 < size; i++) {
        bool inner = false;
        for (int k = 0; k < b->inner_nblks; k++)
            inner = inner || b->inner_idxs[k] == order[i];
        text[used++] = (char)((inner ? 'A' : 'a') + order[i]);
    }
    text[used] = '\0';
    for (int k = 0; k < b->inner_nblks && used + 8 < size; k++)
        used += (size_t)snprintf(text + used, size - used, "%d%c", (int)b->inner_blks[k],
                                 (char)('a' + (int)b->inner_idxs[k]));
}

/* Gives the md the true channel counts; false when its blocks do not round them up to the padded
 * ones. */
static bool set_true_channels(dnnl_memory_desc_t *md, const reid_shape *shape)
{
    if (md->format_kind != dnnl_blocked)
        return false;
    int64_t block[4] = {1, 1, 1, 1};
    const dnnl_blocking_desc_t *b = &md->format_desc.blocking;
    for (int k = 0; k < b->inner_nblks; k++)
        block[b->inner_idxs[k]] *= b->inner_blks[k];
    for (int i = 0; i < 2; i++) {
        if (round_up(shape->dim[i], block[i]) != md->padded_dims[i])
            return false;
        md->dims[i] = shape->dim[i];
    }
    return true;
}

reid_status cpu_conv_weight_layout(cpu_backend *backend, const reid_op_desc *desc,
                                   const reid_layout **ret_layout, reid_error *err)
{
    reid_op_desc plain = *desc; /* f32 whatever the compute type: these are the master weights */
    plain.compute = REID_F32;
    plain.param[0] = NULL;
    plain.input[0] =
        cpu_activation_layout(&backend->base, REID_ROLE_INNER, &desc->input[0]->shape, REID_F32);
    if (cpu_layout_of(desc->input[0])->kind == CPU_PLAIN)
        plain.input[0] = cpu_plain_layout(backend, &desc->input[0]->shape, REID_F32);
    plain.output =
        cpu_activation_layout(&backend->base, REID_ROLE_INNER, &desc->output->shape, REID_F32);
    conv_mds m;
    REID_TRY(describe(backend, &plain, REID_F32, &m, err));
    dnnl_primitive_desc_t pd = NULL;
    dnnl_status_t status = create_pd(backend, &plain, &m, REID_PASS_FORWARD,
                                     dnnl_convolution_direct, &m.weights_any, NULL, &pd);
    if (status != dnnl_success)
        return cpu_dnnl_fail(status, "this convolution", err);
    cpu_layout proto;
    memset(&proto, 0, sizeof proto);
    proto.md = *dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0);
    dnnl_primitive_desc_destroy(pd);
    const reid_conv2d *a = &desc->attr.conv;
    proto.base.shape =
        reid_shape_4d(a->out_channels, desc->input[0]->shape.dim[1], a->kernel, a->kernel);
    if (!set_true_channels(&proto.md, &proto.base.shape))
        return reid_fail(err, REID_ERR_UNSUPPORTED,
                         "convolution '%s': oneDNN chose a weight layout that is not known here",
                         desc->name);
    proto.kind = CPU_WEIGHT;
    proto.base.dtype = REID_F32;
    proto.base.bytes = dnnl_memory_desc_get_size(&proto.md);
    layout_text(&proto.md, proto.base.text, sizeof proto.base.text);
    *ret_layout = reid_layout_intern(&backend->base, &proto.base, sizeof proto);
    return REID_OK;
}

static size_t aligned(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

/* What the primitive takes as this operand. */
static const dnnl_memory_desc_t *inside_md(const conv_pass *p, reid_op_pass pass, int operand)
{
    return cpu_call_md(&p->main, names[pass][operand].query);
}

static const dnnl_memory_desc_t *outside_md(const conv_mds *m, int operand)
{
    return operand == SOURCE ? &m->source : operand == TARGET ? &m->target : &m->weights;
}

/* Scratch of a pass: first the changed operands, then the scratchpad that all its calls use in
 * turn. */
static size_t pass_scratch(const conv_pass *p, reid_op_pass pass)
{
    size_t copies = 0, pad = cpu_call_scratch_bytes(&p->main);
    for (int i = 0; i < OPERANDS; i++) {
        size_t own = cpu_call_scratch_bytes(&p->change[i]);
        pad = own > pad ? own : pad;
        if (p->change[i].pd)
            copies += aligned(dnnl_memory_desc_get_size(inside_md(p, pass, i)));
    }
    return copies + pad;
}

static reid_status choose_pass(cpu_backend *backend, cpu_conv *conv, reid_op_pass pass,
                               reid_error *err)
{
    conv_pass *p = &conv->pass[pass];
    const reid_op_desc *desc = &conv->op.desc;
    conv_mds m;
    REID_TRY(choose(backend, desc, pass, conv->pass[REID_PASS_FORWARD].main.pd, &p->main.pd, err));
    REID_TRY(describe(backend, desc, desc->compute, &m, err));
    for (int i = 0; i < OPERANDS; i++) {
        const dnnl_memory_desc_t *in = inside_md(p, pass, i), *out = outside_md(&m, i);
        if (dnnl_memory_desc_equal(in, out))
            continue;
        bool writes = i == written[pass];
        DNNL_TRY(dnnl_reorder_primitive_desc_create(&p->change[i].pd, writes ? in : out,
                                                    backend->engine, writes ? out : in,
                                                    backend->engine, backend->attr));
    }
    size_t bytes = pass_scratch(p, pass);
    conv->op.scratch_bytes = bytes > conv->op.scratch_bytes ? bytes : conv->op.scratch_bytes;
    conv->op.weight_reorders += p->change[WEIGHTS].pd != NULL;
    return REID_OK;
}

static reid_status choose_all(cpu_backend *backend, cpu_conv *conv, reid_error *err)
{
    reid_op *op = &conv->op;
    const conv_pass *p = conv->pass;
    REID_TRY(choose_pass(backend, conv, REID_PASS_FORWARD, err));
    if (op->desc.input_grad[0])
        REID_TRY(choose_pass(backend, conv, REID_PASS_INPUTS, err));
    if (op->desc.param_grad[0])
        REID_TRY(choose_pass(backend, conv, REID_PASS_PARAMS, err));
    snprintf(op->kernels, sizeof op->kernels, "%s, %s, %s%s%s%s",
             cpu_call_kernel(&p[REID_PASS_FORWARD].main),
             cpu_call_kernel(&p[REID_PASS_INPUTS].main), cpu_call_kernel(&p[REID_PASS_PARAMS].main),
             p[REID_PASS_FORWARD].change[WEIGHTS].pd ? ", rf" : "",
             p[REID_PASS_INPUTS].change[WEIGHTS].pd ? ", rd" : "",
             p[REID_PASS_PARAMS].change[WEIGHTS].pd ? ", rw" : "");
    return REID_OK;
}

static void *outside_memory(const reid_op *op, reid_op_pass pass, int operand)
{
    const reid_op_buffers *b = &op->buffers;
    if (operand == SOURCE)
        return pass == REID_PASS_INPUTS   ? b->input_grad[0]
               : pass == REID_PASS_PARAMS ? (void *)b->saved_input[0]
                                          : (void *)b->input[0];
    if (operand == TARGET)
        return pass == REID_PASS_FORWARD ? b->output : (void *)b->output_grad[0];
    return pass == REID_PASS_PARAMS ? b->param_grad[0] : (void *)b->param[0];
}

/* The reorder of one operand from or to `inside`. */
static reid_status bind_change(cpu_backend *backend, cpu_call *change, void *from, void *to,
                               void *scratchpad, reid_error *err)
{
    REID_TRY(cpu_call_prepare(change, err));
    REID_TRY(cpu_call_arg(backend, change, DNNL_ARG_FROM, cpu_call_md(change, dnnl_query_src_md),
                          from, err));
    REID_TRY(cpu_call_arg(backend, change, DNNL_ARG_TO, cpu_call_md(change, dnnl_query_dst_md), to,
                          err));
    return cpu_call_arg(backend, change, DNNL_ARG_SCRATCHPAD,
                        cpu_call_md(change, dnnl_query_scratchpad_md), scratchpad, err);
}

static reid_status bind_pass(cpu_backend *backend, cpu_conv *conv, reid_op_pass pass,
                             reid_error *err)
{
    conv_pass *p = &conv->pass[pass];
    void *inside[OPERANDS];
    unsigned char *scratch = conv->op.buffers.scratch;
    for (int i = 0; i < OPERANDS; i++) {
        inside[i] = outside_memory(&conv->op, pass, i);
        if (!p->change[i].pd)
            continue;
        inside[i] = scratch;
        scratch += aligned(dnnl_memory_desc_get_size(inside_md(p, pass, i)));
    }
    REID_TRY(cpu_call_prepare(&p->main, err));
    for (int i = 0; i < OPERANDS; i++) {
        void *outside = outside_memory(&conv->op, pass, i);
        bool writes = i == written[pass];
        REID_TRY(cpu_call_arg(backend, &p->main, names[pass][i].arg, inside_md(p, pass, i),
                              inside[i], err));
        if (p->change[i].pd)
            REID_TRY(bind_change(backend, &p->change[i], writes ? inside[i] : outside,
                                 writes ? outside : inside[i], scratch, err));
    }
    return cpu_call_arg(backend, &p->main, DNNL_ARG_SCRATCHPAD,
                        cpu_call_md(&p->main, dnnl_query_scratchpad_md), scratch, err);
}

static reid_status bind_bias(cpu_backend *backend, cpu_conv *conv, reid_op_pass pass, int arg,
                             void *memory, reid_error *err)
{
    conv_mds m;
    REID_TRY(describe(backend, &conv->op.desc, conv->op.desc.compute, &m, err));
    return cpu_call_arg(backend, &conv->pass[pass].main, arg, &m.bias, memory, err);
}

static reid_status conv_bind(reid_op *op, reid_error *err)
{
    cpu_conv *conv = (cpu_conv *)op;
    cpu_backend *backend = cpu_of(op);
    const reid_op_buffers *b = &op->buffers;
    for (reid_op_pass pass = 0; pass < REID_OP_PASSES; pass++)
        if (conv->pass[pass].main.pd)
            REID_TRY(bind_pass(backend, conv, pass, err));
    if (op->desc.param_count < 2)
        return REID_OK;
    REID_TRY(bind_bias(backend, conv, REID_PASS_FORWARD, DNNL_ARG_BIAS, (void *)b->param[1], err));
    if (conv->pass[REID_PASS_PARAMS].main.pd)
        REID_TRY(
            bind_bias(backend, conv, REID_PASS_PARAMS, DNNL_ARG_DIFF_BIAS, b->param_grad[1], err));
    return REID_OK;
}

static reid_status run_pass(reid_op *op, reid_op_pass pass, reid_error *err)
{
    const conv_pass *p = &((const cpu_conv *)op)->pass[pass];
    for (int i = 0; i < OPERANDS; i++)
        if (p->change[i].pd && i != written[pass])
            REID_TRY(cpu_call_run(cpu_of(op), &p->change[i], err));
    if (p->main.pd)
        REID_TRY(cpu_call_run(cpu_of(op), &p->main, err));
    const cpu_call *last = &p->change[written[pass]];
    return last->pd ? cpu_call_run(cpu_of(op), last, err) : REID_OK;
}

static reid_status conv_forward(reid_op *op, reid_error *err)
{
    return run_pass(op, REID_PASS_FORWARD, err);
}

static reid_status conv_backward_params(reid_op *op, reid_error *err)
{
    return run_pass(op, REID_PASS_PARAMS, err);
}

static reid_status conv_backward_inputs(reid_op *op, reid_error *err)
{
    return run_pass(op, REID_PASS_INPUTS, err);
}

static void conv_free(reid_op *op)
{
    cpu_conv *conv = (cpu_conv *)op;
    for (int pass = 0; pass < REID_OP_PASSES; pass++) {
        cpu_call_fini(&conv->pass[pass].main);
        for (int i = 0; i < OPERANDS; i++)
            cpu_call_fini(&conv->pass[pass].change[i]);
    }
    free(conv);
}

bool cpu_conv_is_winograd(const reid_op *op, reid_op_pass pass)
{
    const cpu_conv *conv = (const cpu_conv *)op;
    const cpu_call *call = &conv->pass[pass].main;
    const dnnl_convolution_desc_t *desc = NULL;
    return call->pd &&
           dnnl_primitive_desc_query(call->pd, dnnl_query_convolution_d, 0, (void *)&desc) ==
               dnnl_success &&
           desc->alg_kind == dnnl_convolution_winograd;
}

reid_status cpu_conv_new(cpu_backend *backend, const reid_op_desc *desc, reid_op **ret_op,
                         reid_error *err)
{
    static const reid_op_impl impl = {.free = conv_free,
                                      .bind = conv_bind,
                                      .forward = conv_forward,
                                      .backward_params = conv_backward_params,
                                      .backward_inputs = conv_backward_inputs};
    cpu_conv *conv = reid_xcalloc(1, sizeof *conv);
    conv->op.impl = &impl;
    conv->op.backend = &backend->base;
    conv->op.desc = *desc;
    conv->op.grad_parts = 1;
    conv->op.needs_input[0] = true;
    reid_status status = choose_all(backend, conv, err);
    if (status != REID_OK) {
        conv_free(&conv->op);
        return status;
    }
    *ret_op = &conv->op;
    return REID_OK;
}
