/* Batch norm over blocked activations in three sweeps: statistics of each plane, their combination
 * (Chan, Golub & LeVeque 1983), and the map with residual addition and ReLU. Backward likewise. */
#include <math.h>
#include <omp.h>
#include <stdio.h>

#include "backend/cpu/cpu.h"
#include "backend/cpu/cpu_kernels.h"

/* Workspace: mean and 1/σ per padded channel. Scratch: two numbers per plane and lane, then three
 * per channel. */
typedef struct norm_space {
    cpu_grid g;
    const cpu_kernels *k;
    float *mean, *inverse;          /* [C] */
    float *part0, *part1;           /* [planes·lanes] */
    float *scale, *mean_dy, *slope; /* [C] */
} norm_space;

static norm_space space_of(const reid_op *op)
{
    norm_space s = {.g = cpu_grid_of(cpu_of(op), op->desc.input[0])};
    size_t channels = (size_t)(s.g.blocks * s.g.lanes), parts = (size_t)(s.g.planes * s.g.lanes);
    s.k = cpu_kernels_for(cpu_of(op), op->desc.input[0]);
    s.mean = op->buffers.workspace;
    s.inverse = s.mean + channels;
    s.part0 = op->buffers.scratch;
    s.part1 = s.part0 + parts;
    s.scale = s.part1 + parts;
    s.mean_dy = s.scale + channels;
    s.slope = s.mean_dy + channels;
    return s;
}

static const void *at(const reid_op *op, const void *base, int64_t number)
{
    return base ? (const char *)base + number * (int64_t)reid_dtype_size(op->desc.input[0]->dtype)
                : NULL;
}

/* The plane of image n, block b; input: forward's or the saved ones. */
static cpu_norm_plane plane_of(const reid_op *op, const norm_space *s,
                               const void *const input[REID_OP_INPUTS], int64_t plane)
{
    int64_t channel = plane % s->g.blocks * s->g.lanes, number = plane * s->g.plane;
    cpu_norm_plane p = {.pixels = s->g.pixels, .relu = op->desc.relu};
    p.x = at(op, input[0], number);
    p.residual = op->desc.input_count > 1 ? at(op, input[1], number) : NULL;
    p.lanes =
        (cpu_norm_lanes){s->mean + channel, s->scale + channel, op->buffers.param[1] + channel,
                         s->mean_dy + channel, s->slope + channel};
    return p;
}

/* Planes of the calling thread. The second sweep goes backwards over the same ones: what the first
 * read last is still in the core's cache. */
typedef struct share {
    int64_t from, to;
} share;

static share my_share(int64_t planes)
{
    int64_t me = omp_get_thread_num(), all = omp_get_num_threads();
    return (share){planes * me / all, planes * (me + 1) / all};
}

/* Mean and 1/σ of one channel block from its planes; updates the running statistics. */
static void combine_statistics(reid_op *op, const norm_space *s, int64_t block)
{
    const reid_batch_norm *a = &op->desc.attr.norm;
    double count = (double)(s->g.n * s->g.pixels);
    for (int lane = 0; lane < s->g.lanes; lane++) {
        int64_t c = block * s->g.lanes + lane;
        double sum = 0.0, square = 0.0;
        for (int64_t n = 0; n < s->g.n; n++)
            sum += s->part0[(n * s->g.blocks + block) * s->g.lanes + lane];
        double mean = sum / (double)s->g.n;
        for (int64_t n = 0; n < s->g.n; n++) {
            int64_t i = (n * s->g.blocks + block) * s->g.lanes + lane;
            double t = s->part0[i] - mean;
            square += s->part1[i] + (double)s->g.pixels * t * t;
        }
        s->mean[c] = (float)mean;
        s->inverse[c] = (float)(1.0 / sqrt(square / count + a->eps));
        s->scale[c] = op->buffers.param[0][c] * s->inverse[c];
        float *running_mean = op->buffers.state[0], *running_var = op->buffers.state[1];
        running_mean[c] = (float)((1.0 - a->momentum) * running_mean[c] + a->momentum * mean);
        running_var[c] =
            (float)((1.0 - a->momentum) * running_var[c] + a->momentum * square / (count - 1.0));
    }
}

static void fixed_statistics(reid_op *op, const norm_space *s)
{
    for (int64_t c = 0; c < s->g.blocks * s->g.lanes; c++) {
        s->mean[c] = op->buffers.state[0][c];
        s->inverse[c] =
            (float)(1.0 / sqrt((double)op->buffers.state[1][c] + op->desc.attr.norm.eps));
        s->scale[c] = op->buffers.param[0][c] * s->inverse[c];
    }
}

/* The last sweep of forward; it goes backwards. */
static void apply_planes(const reid_op *op, const norm_space *s,
                         const void *const input[REID_OP_INPUTS], void *output)
{
#pragma omp parallel
    {
        share part = my_share(s->g.planes);
        for (int64_t i = part.to - 1; i >= part.from; i--) {
            cpu_norm_plane p = plane_of(op, s, input, i);
            p.out = (void *)at(op, output, i * s->g.plane);
            s->k->norm_apply(&p);
        }
    }
}

static reid_status norm_forward(reid_op *op, reid_error *err)
{
    norm_space s = space_of(op);
    if (op->desc.training) {
#pragma omp parallel
        {
            share part = my_share(s.g.planes);
            for (int64_t i = part.from; i < part.to; i++)
                s.k->norm_statistics(at(op, op->buffers.input[0], i * s.g.plane), s.g.pixels,
                                     s.part0 + i * s.g.lanes, s.part1 + i * s.g.lanes);
        }
        for (int64_t b = 0; b < s.g.blocks; b++)
            combine_statistics(op, &s, b);
        op->buffers.state[2][0] += 1.0f;
    } else {
        fixed_statistics(op, &s);
    }
    apply_planes(op, &s, op->buffers.input, op->buffers.output);
    return REID_OK;
}

static void restore_scale(const reid_op *op, const norm_space *s)
{
    for (int64_t c = 0; c < s->g.blocks * s->g.lanes; c++)
        s->scale[c] = op->buffers.param[0][c] * s->inverse[c];
}

static reid_status norm_recompute(reid_op *op, reid_error *err)
{
    norm_space s = space_of(op);
    restore_scale(op, &s);
    apply_planes(op, &s, op->buffers.saved_input, op->buffers.saved_output);
    return REID_OK;
}

static cpu_norm_plane gradient_plane(const reid_op *op, const norm_space *s, int64_t plane)
{
    cpu_norm_plane p = plane_of(op, s, op->buffers.saved_input, plane);
    int64_t number = plane * s->g.plane;
    p.d0 = at(op, op->buffers.output_grad[0], number);
    p.d1 = at(op, op->buffers.output_grad[1], number);
    p.y = at(op, op->buffers.saved_output, number);
    p.out = (void *)at(op, op->buffers.input_grad[0], number);
    p.out_residual = (void *)at(op, op->buffers.input_grad[1], number);
    if (op->desc.relu)
        p.mask = op->desc.input_count > 1 ? CPU_MASK_FROM_OUTPUT : CPU_MASK_FROM_INPUT;
    return p;
}

static void combine_gradients(reid_op *op, const norm_space *s, int64_t block)
{
    double count = (double)(s->g.n * s->g.pixels);
    for (int lane = 0; lane < s->g.lanes; lane++) {
        int64_t c = block * s->g.lanes + lane;
        double sum = 0.0, dot = 0.0;
        for (int64_t n = 0; n < s->g.n; n++) {
            int64_t i = (n * s->g.blocks + block) * s->g.lanes + lane;
            sum += s->part0[i];
            dot += s->part1[i];
        }
        double inverse = s->inverse[c];
        if (op->buffers.param_grad[0])
            op->buffers.param_grad[0][c] = (float)(dot * inverse);
        if (op->buffers.param_grad[1])
            op->buffers.param_grad[1][c] = (float)sum;
        s->mean_dy[c] = (float)(sum / count);
        s->slope[c] = (float)(dot * inverse * inverse / count);
    }
}

static reid_status norm_backward(reid_op *op, reid_error *err)
{
    norm_space s = space_of(op);
    restore_scale(op, &s);
#pragma omp parallel
    {
        share part = my_share(s.g.planes);
        for (int64_t i = part.from; i < part.to; i++) {
            cpu_norm_plane p = gradient_plane(op, &s, i);
            s.k->norm_sums(&p, s.part0 + i * s.g.lanes, s.part1 + i * s.g.lanes);
        }
    }
    for (int64_t b = 0; b < s.g.blocks; b++)
        combine_gradients(op, &s, b);
    if (!op->buffers.input_grad[0])
        return REID_OK;
#pragma omp parallel
    {
        share part = my_share(s.g.planes);
        for (int64_t i = part.to - 1; i >= part.from; i--) {
            cpu_norm_plane p = gradient_plane(op, &s, i);
            s.k->norm_gradient(&p);
        }
    }
    return REID_OK;
}

void cpu_norm_setup(reid_op *op)
{
    static const reid_op_impl impl = {.free = reid_ref_op_free,
                                      .forward = norm_forward,
                                      .backward_inputs = norm_backward,
                                      .recompute = norm_recompute};
    cpu_grid g = cpu_grid_of(cpu_of(op), op->desc.input[0]);
    size_t channels = (size_t)(g.blocks * g.lanes), parts = (size_t)(g.planes * g.lanes);
    op->impl = &impl;
    op->needs_input[0] = true;
    op->needs_output = op->desc.relu && op->desc.input_count > 1;
    op->grad_parts = 2;
    op->output_over_input[0] = !op->desc.training;
    op->output_over_input[1] = true;
    op->grad_over_grad[0] = op->grad_over_grad[1] = true;
    op->workspace_bytes = 2 * channels * sizeof(float);
    op->scratch_bytes = (2 * parts + 3 * channels) * sizeof(float);
    snprintf(op->kernels, sizeof op->kernels, "planes");
}
