/* ReLU, addition and pooling. */
#include <stdio.h>

#include "backend/cpu/cpu.h"
#include "backend/cpu/cpu_kernels.h"

/* Numbers in a tensor with its padding. */
static int64_t count_of(const reid_layout *layout)
{
    return (int64_t)(layout->bytes / reid_dtype_size(layout->dtype));
}

static const cpu_kernels *kernels_of(const reid_op *op, const reid_layout *layout)
{
    return cpu_kernels_for(cpu_of(op), layout);
}

static const void *at(const reid_layout *layout, const void *base, int64_t number)
{
    return base ? (const char *)base + number * (int64_t)reid_dtype_size(layout->dtype) : NULL;
}

static void *to(const reid_layout *layout, void *base, int64_t number)
{
    return (char *)base + number * (int64_t)reid_dtype_size(layout->dtype);
}

static reid_status relu(const reid_op *op, const void *x, void *y)
{
    const reid_layout *l = op->desc.output;
    int64_t count = count_of(l);
    const cpu_kernels *k = kernels_of(op, l);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; i += CPU_PIECE)
        k->relu(at(l, x, i), to(l, y, i), REID_MIN(CPU_PIECE, count - i));
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

static reid_status masked_backward(reid_op *op, reid_error *err)
{
    const reid_layout *l = op->desc.output;
    int64_t count = count_of(l);
    const cpu_kernels *k = kernels_of(op, l);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; i += CPU_PIECE)
        k->masked_sum(at(l, op->buffers.output_grad[0], i), at(l, op->buffers.output_grad[1], i),
                      at(l, op->buffers.saved_output, i), to(l, op->buffers.input_grad[0], i),
                      REID_MIN(CPU_PIECE, count - i));
    return REID_OK;
}

void cpu_relu_setup(reid_op *op)
{
    static const reid_op_impl impl = {.free = reid_ref_op_free,
                                      .forward = relu_forward,
                                      .backward_inputs = masked_backward,
                                      .recompute = relu_recompute};
    op->impl = &impl;
    op->grad_parts = 2;
    op->grad_over_grad[0] = true;
    op->output_over_input[0] = true;
    op->needs_output = true;
    snprintf(op->kernels, sizeof op->kernels, "flat");
}

static reid_status add(const reid_op *op, const void *a, const void *b, void *y)
{
    const reid_layout *l = op->desc.output;
    int64_t count = count_of(l);
    const cpu_kernels *k = kernels_of(op, l);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; i += CPU_PIECE)
        k->add(at(l, a, i), at(l, b, i), to(l, y, i), REID_MIN(CPU_PIECE, count - i),
               op->desc.relu);
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

void cpu_add_setup(reid_op *op)
{
    static const reid_op_impl plain = {
        .free = reid_ref_op_free, .forward = add_forward, .recompute = add_recompute};
    static const reid_op_impl with_relu = {.free = reid_ref_op_free,
                                           .forward = add_forward,
                                           .backward_inputs = masked_backward,
                                           .recompute = add_recompute};
    op->impl = op->desc.relu ? &with_relu : &plain;
    op->grad_parts = 2;
    op->grad_over_grad[0] = true;
    op->output_over_input[0] = op->output_over_input[1] = true;
    op->equal_grads = true;
    op->needs_output = op->desc.relu;
    snprintf(op->kernels, sizeof op->kernels, "flat");
}

void cpu_accumulate(reid_backend *backend, const reid_layout *layout, void *sum, const void *addend)
{
    const cpu_kernels *k = cpu_kernels_for((cpu_backend *)backend, layout);
    int64_t count = count_of(layout);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; i += CPU_PIECE)
        k->accumulate(to(layout, sum, i), at(layout, addend, i), REID_MIN(CPU_PIECE, count - i));
}

static cpu_pool_plane pool_plane(const reid_op *op, cpu_grid in, cpu_grid out, int64_t plane)
{
    const reid_max_pool *a = &op->desc.attr.pool;
    uint8_t *index = op->buffers.workspace;
    return (cpu_pool_plane){.index = index ? index + plane * out.plane : NULL,
                            .h = in.h,
                            .w = in.w,
                            .out_h = out.h,
                            .out_w = out.w,
                            .kernel = a->kernel,
                            .stride = a->stride,
                            .padding = a->padding};
}

static reid_status max_pool_forward(reid_op *op, reid_error *err)
{
    const reid_layout *li = op->desc.input[0], *lo = op->desc.output;
    cpu_grid in = cpu_grid_of(cpu_of(op), li), out = cpu_grid_of(cpu_of(op), lo);
    const cpu_kernels *k = kernels_of(op, li);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < in.planes; i++) {
        cpu_pool_plane p = pool_plane(op, in, out, i);
        p.x = at(li, op->buffers.input[0], i * in.plane);
        p.out = to(lo, op->buffers.output, i * out.plane);
        k->max_pool(&p);
    }
    return REID_OK;
}

static reid_status max_pool_backward(reid_op *op, reid_error *err)
{
    const reid_layout *li = op->desc.input[0], *lo = op->desc.output;
    cpu_grid in = cpu_grid_of(cpu_of(op), li), out = cpu_grid_of(cpu_of(op), lo);
    const cpu_kernels *k = kernels_of(op, li);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < in.planes; i++) {
        cpu_pool_plane p = pool_plane(op, in, out, i);
        p.d0 = at(lo, op->buffers.output_grad[0], i * out.plane);
        p.d1 = at(lo, op->buffers.output_grad[1], i * out.plane);
        p.out = to(li, op->buffers.input_grad[0], i * in.plane);
        k->max_pool_gradient(&p);
    }
    return REID_OK;
}

void cpu_max_pool_setup(reid_op *op)
{
    static const reid_op_impl impl = {.free = reid_ref_op_free,
                                      .forward = max_pool_forward,
                                      .backward_inputs = max_pool_backward};
    op->impl = &impl;
    op->grad_parts = 2;
    op->workspace_bytes = op->desc.training ? (size_t)count_of(op->desc.output) : 0;
    snprintf(op->kernels, sizeof op->kernels, "planes");
}

static reid_status avg_pool_forward(reid_op *op, reid_error *err)
{
    const reid_layout *li = op->desc.input[0];
    cpu_grid g = cpu_grid_of(cpu_of(op), li);
    const cpu_kernels *k = kernels_of(op, li);
    float *y = op->buffers.output;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < g.planes; i++) {
        float mean[16];
        int64_t from = i % g.blocks * g.lanes;
        k->average(at(li, op->buffers.input[0], i * g.plane), g.pixels, mean);
        for (int lane = 0; lane < g.lanes && from + lane < g.c; lane++)
            y[i / g.blocks * g.c + from + lane] = mean[lane];
    }
    return REID_OK;
}

static reid_status avg_pool_backward(reid_op *op, reid_error *err)
{
    const reid_layout *li = op->desc.input[0];
    cpu_grid g = cpu_grid_of(cpu_of(op), li);
    const cpu_kernels *k = kernels_of(op, li);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < g.planes; i++) {
        float dy[16] = {0.0f};
        int64_t from = i % g.blocks * g.lanes, row = i / g.blocks * g.c;
        for (int lane = 0; lane < g.lanes && from + lane < g.c; lane++)
            dy[lane] = reid_grad_sum(op->buffers.output_grad[0], op->buffers.output_grad[1],
                                     (size_t)(row + from + lane));
        k->spread(dy, g.pixels, to(li, op->buffers.input_grad[0], i * g.plane));
    }
    return REID_OK;
}

void cpu_avg_pool_setup(reid_op *op)
{
    static const reid_op_impl impl = {.free = reid_ref_op_free,
                                      .forward = avg_pool_forward,
                                      .backward_inputs = avg_pool_backward};
    op->impl = &impl;
    op->grad_parts = 2;
    snprintf(op->kernels, sizeof op->kernels, "planes");
}
