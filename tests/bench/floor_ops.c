#include "floor_ops.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"

const char *const floor_part_names[FLOOR_PARTS] = {
    "conv_forward", "conv_data",    "conv_weights", "norm_forward", "norm_backward",
    "add_forward",  "add_backward", "max_pool",     "reorder",      "adam",
};

static void check(dnnl_status_t status, const char *what)
{
    if (status == dnnl_success)
        return;
    fprintf(stderr, "bench_floor: oneDNN status %d from %s\n", (int)status, what);
    exit(1);
}
#define CHECK(call) check((call), #call)

/* ---- memory ---- */

#define HUGE_PAGE ((size_t)2 << 20)

void *floor_alloc(size_t bytes)
{
    size_t rounded = (bytes + HUGE_PAGE) / HUGE_PAGE * HUGE_PAGE;
    void *memory = mmap(NULL, rounded, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        fprintf(stderr, "bench_floor: no memory for %zu MiB more\n", rounded >> 20);
        exit(1);
    }
    madvise(memory, rounded, MADV_HUGEPAGE);
    memset(memory, 0, rounded);
    return memory;
}

static uint16_t to_bf16(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

static float from_bf16(uint16_t value)
{
    uint32_t bits = (uint32_t)value << 16;
    float result;
    memcpy(&result, &bits, sizeof result);
    return result;
}

/* Evenly from ±range/2. */
void floor_fill(const floor_machine *f, void *data, size_t count, float range)
{
#pragma omp parallel for
    for (size_t i = 0; i < count; i++) {
        uint32_t mixed = (uint32_t)i * 2654435761u;
        mixed = (mixed ^ mixed >> 15) * 2246822519u;
        float value = ((float)(mixed >> 8) / 16777216.0f - 0.5f) * range;
        if (f->type == dnnl_f32)
            ((float *)data)[i] = value;
        else
            ((uint16_t *)data)[i] = to_bf16(value);
    }
}

floor_activation floor_activation_new(floor_machine *f, int64_t channels, int64_t height,
                                      int64_t width, dnnl_format_tag_t tag)
{
    floor_activation a = {.channels = channels, .height = height, .width = width};
    dnnl_dims_t dims = {f->batch, channels, height, width};
    CHECK(dnnl_memory_desc_init_by_tag(&a.md, 4, dims, f->type, tag));
    a.count = (size_t)(f->batch * channels * height * width);
    a.bytes = dnnl_memory_desc_get_size(&a.md);
    a.data = floor_alloc(a.bytes);
    return a;
}

/* ---- calls ---- */

static const dnnl_memory_desc_t *md_of(const_dnnl_primitive_desc_t pd, dnnl_query_t what, int index)
{
    return dnnl_primitive_desc_query_md(pd, what, index);
}

static void need_scratch(floor_machine *f, const_dnnl_primitive_desc_t pd)
{
    size_t bytes = dnnl_memory_desc_get_size(md_of(pd, dnnl_query_scratchpad_md, 0));
    if (bytes > f->scratch_bytes)
        f->scratch_bytes = bytes;
}

static void add_arg(floor_machine *f, floor_call *call, int arg, const dnnl_memory_desc_t *md,
                    void *data)
{
    dnnl_exec_arg_t *slot = &call->args[call->arg_count++];
    slot->arg = arg;
    CHECK(dnnl_memory_create(&slot->memory, md, f->engine, data));
}

static floor_call begin(floor_machine *f, floor_part part, const_dnnl_primitive_desc_t pd)
{
    floor_call call = {.part = part};
    CHECK(dnnl_primitive_create(&call.primitive, pd));
    add_arg(f, &call, DNNL_ARG_SCRATCHPAD, md_of(pd, dnnl_query_scratchpad_md, 0), f->scratch);
    return call;
}

static void sum_f32(const floor_call *c)
{
    float *to = c->to;
    const float *a = c->a, *b = c->b;
#pragma omp parallel for simd
    for (size_t i = 0; i < c->count; i++) {
        float value = a[i] + b[i];
        to[i] = value > 0.0f ? value : 0.0f;
    }
}

static void sum_bf16(const floor_call *c)
{
    uint16_t *to = c->to;
    const uint16_t *a = c->a, *b = c->b;
#pragma omp parallel for simd
    for (size_t i = 0; i < c->count; i++) {
        float value = from_bf16(a[i]) + from_bf16(b[i]);
        to[i] = to_bf16(value > 0.0f ? value : 0.0f);
    }
}

static void masked_f32(const floor_call *c)
{
    float *to = c->to;
    const float *a = c->a, *b = c->b, *mask = c->mask;
    if (b) {
#pragma omp parallel for simd
        for (size_t i = 0; i < c->count; i++)
            to[i] = mask[i] > 0.0f ? a[i] + b[i] : 0.0f;
    } else {
#pragma omp parallel for simd
        for (size_t i = 0; i < c->count; i++)
            to[i] = mask[i] > 0.0f ? a[i] : 0.0f;
    }
}

static void masked_bf16(const floor_call *c)
{
    uint16_t *to = c->to;
    const uint16_t *a = c->a, *b = c->b, *mask = c->mask;
    if (b) {
#pragma omp parallel for simd
        for (size_t i = 0; i < c->count; i++) {
            uint16_t sum = to_bf16(from_bf16(a[i]) + from_bf16(b[i]));
            to[i] = from_bf16(mask[i]) > 0.0f ? sum : 0;
        }
    } else {
#pragma omp parallel for simd
        for (size_t i = 0; i < c->count; i++)
            to[i] = from_bf16(mask[i]) > 0.0f ? a[i] : 0;
    }
}

/* Adam with L2; in bfloat16 also the copy of the parameters that the convolutions read. */
static void adam(const floor_machine *f)
{
    float *value = f->value, *m = f->m, *v = f->v;
    const float *grad = f->grad;
    uint16_t *copy = f->value_bf16;
#pragma omp parallel for simd
    for (size_t i = 0; i < f->parameters; i++) {
        float g = grad[i] + 5e-4f * value[i];
        m[i] = 0.9f * m[i] + 0.1f * g;
        v[i] = 0.999f * v[i] + 0.001f * g * g;
        value[i] -= 1e-6f * (m[i] / (sqrtf(v[i]) + 1e-8f));
    }
    if (!copy)
        return;
#pragma omp parallel for simd
    for (size_t i = 0; i < f->parameters; i++)
        copy[i] = to_bf16(value[i]);
}

static void run_call(const floor_machine *f, const floor_call *call)
{
    bool f32 = f->type == dnnl_f32;
    if (call->primitive)
        CHECK(dnnl_primitive_execute(call->primitive, f->stream, call->arg_count, call->args));
    else if (call->part == FLOOR_ADAM)
        adam(f);
    else if (call->mask)
        (f32 ? masked_f32 : masked_bf16)(call);
    else
        (f32 ? sum_f32 : sum_bf16)(call);
}

void floor_run(floor_machine *f, const floor_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        double start_s = reid_clock_seconds();
        run_call(f, &list->items[i]);
        f->seconds[list->items[i].part] += reid_clock_seconds() - start_s;
    }
}

/* ---- life ---- */

void floor_open(floor_machine *f, int threads)
{
    if (threads > 0)
        omp_set_num_threads(threads);
    CHECK(dnnl_engine_create(&f->engine, dnnl_cpu, 0));
    CHECK(dnnl_stream_create(&f->stream, f->engine, dnnl_stream_default_flags));
    CHECK(dnnl_primitive_attr_create(&f->attr));
    CHECK(dnnl_primitive_attr_set_scratchpad_mode(f->attr, dnnl_scratchpad_mode_user));
}

void floor_prepare(floor_machine *f)
{
    const floor_machine as_f32 = {.type = dnnl_f32};
    f->scratch = floor_alloc(f->scratch_bytes);
    for (int i = 0; i < 2 && f->wide_bytes > 0; i++)
        f->wide[i] = floor_alloc(f->wide_bytes);
    f->value = floor_alloc(f->parameters * sizeof(float));
    f->m = floor_alloc(f->parameters * sizeof(float));
    f->v = floor_alloc(f->parameters * sizeof(float));
    f->grad = floor_alloc(f->parameters * sizeof(float));
    if (f->type != dnnl_f32)
        f->value_bf16 = floor_alloc(f->parameters * sizeof(uint16_t));
    floor_fill(&as_f32, f->value, f->parameters, 0.1f);
    floor_fill(&as_f32, f->grad, f->parameters, 0.01f);
}

/* ---- convolution ---- */

/* Direct in the network's type, or Winograd, which oneDNN has in float32 only: in a bfloat16
 * network with casts around it. Measured per shape and direction. */
enum { DIRECT, WINOGRAD, WAYS };

/* One way to compute one direction: the convolution and its casts. */
typedef struct way {
    floor_call calls[4]; /* reorder of the weights, cast, convolution, cast */
    int count;
} way;

typedef struct conv_mds {
    dnnl_memory_desc_t weights[WAYS], grad;
    dnnl_dims_t strides, padding;
} conv_mds;

static dnnl_primitive_desc_t conv_pd(const floor_machine *f, const floor_conv *c, const conv_mds *m,
                                     floor_part part, int how)
{
    dnnl_alg_kind_t algorithm =
        how == WINOGRAD ? dnnl_convolution_winograd : dnnl_convolution_direct;
    const dnnl_memory_desc_t *source = how == WINOGRAD ? &c->wide_source : &c->source.md,
                             *target = how == WINOGRAD ? &c->wide_target : &c->target.md;
    dnnl_convolution_desc_t d;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_status_t status;
    if (part == FLOOR_CONV_FORWARD)
        status = dnnl_convolution_forward_desc_init(&d, dnnl_forward_training, algorithm, source,
                                                    &m->weights[how], NULL, target, m->strides,
                                                    m->padding, m->padding);
    else if (part == FLOOR_CONV_DATA)
        status = dnnl_convolution_backward_data_desc_init(
            &d, algorithm, source, &m->weights[how], target, m->strides, m->padding, m->padding);
    else
        status = dnnl_convolution_backward_weights_desc_init(
            &d, algorithm, source, &m->grad, NULL, target, m->strides, m->padding, m->padding);
    if (status == dnnl_success)
        status = dnnl_primitive_desc_create(&pd, &d, f->attr, f->engine,
                                            part == FLOOR_CONV_FORWARD ? NULL : c->forward[DIRECT]);
    if (how == DIRECT)
        CHECK(status);
    return status == dnnl_success ? pd : NULL;
}

static void conv_candidates(floor_machine *f, const floor_conv *c, const conv_mds *m,
                            floor_part part, dnnl_primitive_desc_t ret_pd[WAYS])
{
    bool winograd = !f->direct && c->kernel == 3 && c->stride == 1;
    ret_pd[DIRECT] = conv_pd(f, c, m, part, DIRECT);
    ret_pd[WINOGRAD] = winograd ? conv_pd(f, c, m, part, WINOGRAD) : NULL;
    for (int i = 0; i < WAYS; i++)
        if (ret_pd[i])
            need_scratch(f, ret_pd[i]);
}

static size_t larger(dnnl_primitive_desc_t const pd[WAYS], dnnl_query_t what)
{
    size_t bytes = dnnl_memory_desc_get_size(md_of(pd[DIRECT], what, 0));
    size_t other = pd[WINOGRAD] ? dnnl_memory_desc_get_size(md_of(pd[WINOGRAD], what, 0)) : 0;
    return bytes > other ? bytes : other;
}

/* The same tensor in float32. */
static dnnl_memory_desc_t widen(floor_machine *f, const floor_activation *a, bool used)
{
    dnnl_memory_desc_t md;
    dnnl_dims_t dims = {f->batch, a->channels, a->height, a->width};
    CHECK(dnnl_memory_desc_init_by_tag(&md, 4, dims, dnnl_f32, dnnl_nChw16c));
    size_t bytes = dnnl_memory_desc_get_size(&md);
    if (used && f->type != dnnl_f32 && bytes > f->wide_bytes)
        f->wide_bytes = bytes;
    return md;
}

static void make_weights(floor_machine *f, floor_conv *c, int64_t channels)
{
    const floor_machine as_f32 = {.type = dnnl_f32};
    size_t count = (size_t)(channels * c->source.channels * c->kernel * c->kernel);
    float range = sqrtf(24.0f / (float)(channels * c->kernel * c->kernel));
    c->weight[DIRECT] = floor_alloc(larger(c->forward, dnnl_query_weights_md));
    c->weight[WINOGRAD] = c->weight[DIRECT];
    floor_fill(f, c->weight[DIRECT], count, range);
    if (c->forward[WINOGRAD] && f->type != dnnl_f32) {
        c->weight[WINOGRAD] = floor_alloc(larger(c->forward, dnnl_query_weights_md));
        floor_fill(&as_f32, c->weight[WINOGRAD], count, range);
    }
    c->weight_grad = floor_alloc(larger(c->weights, dnnl_query_diff_weights_md));
    f->parameters += count;
}

floor_conv floor_conv_new(floor_machine *f, floor_activation source, int64_t channels,
                          int64_t kernel, int64_t stride, int64_t padding, bool first)
{
    floor_conv c = {.source = source, .kernel = kernel, .stride = stride, .padding = padding};
    c.target =
        floor_activation_new(f, channels, (source.height + 2 * padding - kernel) / stride + 1,
                             (source.width + 2 * padding - kernel) / stride + 1, dnnl_nChw16c);
    bool winograd = !f->direct && kernel == 3 && stride == 1;
    c.wide_source = widen(f, &c.source, winograd);
    c.wide_target = widen(f, &c.target, winograd);
    conv_mds m = {.strides = {stride, stride}, .padding = {padding, padding}};
    dnnl_dims_t dims = {channels, source.channels, kernel, kernel};
    CHECK(dnnl_memory_desc_init_by_tag(&m.weights[DIRECT], 4, dims, f->type, dnnl_format_tag_any));
    CHECK(
        dnnl_memory_desc_init_by_tag(&m.weights[WINOGRAD], 4, dims, dnnl_f32, dnnl_format_tag_any));
    CHECK(dnnl_memory_desc_init_by_tag(&m.grad, 4, dims, dnnl_f32, dnnl_format_tag_any));
    conv_candidates(f, &c, &m, FLOOR_CONV_FORWARD, c.forward);
    if (!first)
        conv_candidates(f, &c, &m, FLOOR_CONV_DATA, c.data);
    conv_candidates(f, &c, &m, FLOOR_CONV_WEIGHTS, c.weights);
    make_weights(f, &c, channels);
    return c;
}

static floor_call reorder_call(floor_machine *f, const dnnl_memory_desc_t *have, void *from,
                               const dnnl_memory_desc_t *want, void *to)
{
    dnnl_primitive_desc_t pd;
    CHECK(dnnl_reorder_primitive_desc_create(&pd, have, f->engine, want, f->engine, f->attr));
    size_t before = f->scratch_bytes;
    need_scratch(f, pd);
    check(f->scratch_bytes == before ? dnnl_success : dnnl_out_of_memory, "a reorder's scratch");
    floor_call call = begin(f, FLOOR_REORDER, pd);
    add_arg(f, &call, DNNL_ARG_FROM, have, from);
    add_arg(f, &call, DNNL_ARG_TO, want, to);
    dnnl_primitive_desc_destroy(pd);
    return call;
}

typedef struct operand {
    int arg;
    const dnnl_memory_desc_t *md, *wide;
    void *data;
    bool written;
} operand;

static way make_way(floor_machine *f, floor_part part, const_dnnl_primitive_desc_t pd, int how,
                    int weight_arg, const dnnl_memory_desc_t *weight_md, void *weight,
                    const operand operands[2])
{
    way w = {0};
    if (!pd)
        return w;
    bool cast = how == WINOGRAD && f->type != dnnl_f32;
    floor_call main = begin(f, part, pd);
    add_arg(f, &main, weight_arg, weight_md, weight);
    for (int i = 0; i < 2; i++) {
        const operand *o = &operands[i];
        add_arg(f, &main, o->arg, cast ? o->wide : o->md, cast ? f->wide[i] : o->data);
        if (cast && !o->written)
            w.calls[w.count++] = reorder_call(f, o->md, o->data, o->wide, f->wide[i]);
    }
    w.calls[w.count++] = main;
    for (int i = 0; i < 2; i++)
        if (cast && operands[i].written)
            w.calls[w.count++] =
                reorder_call(f, operands[i].wide, f->wide[i], operands[i].md, operands[i].data);
    return w;
}

static double best_of(floor_machine *f, const way *w)
{
    double best = INFINITY;
    for (int i = 0; i < 4; i++) {
        double start_s = reid_clock_seconds();
        for (int k = 0; k < w->count; k++)
            run_call(f, &w->calls[k]);
        double seconds = reid_clock_seconds() - start_s;
        if (i > 0 && seconds < best)
            best = seconds;
    }
    return best;
}

/* The faster way; measured once per shape. */
static int choose(floor_machine *f, const floor_conv *c, floor_part part, const way ways[WAYS])
{
    floor_choice wanted = {.key = {part, c->source.channels, c->target.channels, c->source.height,
                                   c->source.width, c->kernel, c->stride}};
    f->calls++;
    if (ways[WINOGRAD].count == 0)
        return DIRECT;
    size_t i = 0;
    while (i < f->choices.count &&
           memcmp(f->choices.items[i].key, wanted.key, sizeof wanted.key) != 0)
        i++;
    if (i == f->choices.count) {
        wanted.winograd = best_of(f, &ways[WINOGRAD]) < best_of(f, &ways[DIRECT]);
        reid_vec_push(&f->choices, wanted);
    }
    f->winograd_calls += f->choices.items[i].winograd;
    return f->choices.items[i].winograd ? WINOGRAD : DIRECT;
}

static void push_way(floor_list *list, const way *w)
{
    for (int i = 0; i < w->count; i++)
        reid_vec_push(list, w->calls[i]);
}

void floor_add_conv(floor_machine *f, floor_conv *c)
{
    const operand operands[2] = {
        {DNNL_ARG_SRC, &c->source.md, &c->wide_source, c->source.data, false},
        {DNNL_ARG_DST, &c->target.md, &c->wide_target, c->target.data, true}};
    way ways[WAYS] = {0};
    for (int i = 0; i < WAYS && c->forward[i]; i++)
        ways[i] = make_way(f, FLOOR_CONV_FORWARD, c->forward[i], i, DNNL_ARG_WEIGHTS,
                           md_of(c->forward[i], dnnl_query_weights_md, 0), c->weight[i], operands);
    c->forward_chosen = choose(f, c, FLOOR_CONV_FORWARD, ways);
    push_way(&f->forward, &ways[c->forward_chosen]);
}

static void add_data(floor_machine *f, const floor_conv *c, void *source_grad, void *target_grad)
{
    const operand operands[2] = {
        {DNNL_ARG_DIFF_SRC, &c->source.md, &c->wide_source, source_grad, true},
        {DNNL_ARG_DIFF_DST, &c->target.md, &c->wide_target, target_grad, false}};
    way ways[WAYS] = {0};
    for (int i = 0; i < WAYS && c->data[i]; i++) {
        /* Weights as forward has them, in the type of this way, reordered where they must be. */
        int base = f->type == dnnl_f32 ? c->forward_chosen : i;
        const dnnl_memory_desc_t *have = md_of(c->forward[base], dnnl_query_weights_md, 0);
        const dnnl_memory_desc_t *want = md_of(c->data[i], dnnl_query_weights_md, 0);
        void *weight = c->weight[base];
        bool same = dnnl_memory_desc_equal(have, want);
        if (!same)
            weight = floor_alloc(dnnl_memory_desc_get_size(want));
        ways[i] =
            make_way(f, FLOOR_CONV_DATA, c->data[i], i, DNNL_ARG_WEIGHTS, want, weight, operands);
        if (!same) {
            memmove(&ways[i].calls[1], &ways[i].calls[0],
                    (size_t)ways[i].count * sizeof ways[i].calls[0]);
            ways[i].calls[0] = reorder_call(f, have, c->weight[base], want, weight);
            ways[i].count++;
        }
    }
    push_way(&f->backward, &ways[choose(f, c, FLOOR_CONV_DATA, ways)]);
}

void floor_add_conv_backward(floor_machine *f, const floor_conv *c, void *source_grad,
                             void *target_grad)
{
    const operand operands[2] = {
        {DNNL_ARG_SRC, &c->source.md, &c->wide_source, c->source.data, false},
        {DNNL_ARG_DIFF_DST, &c->target.md, &c->wide_target, target_grad, false}};
    way ways[WAYS] = {0};
    for (int i = 0; i < WAYS && c->weights[i]; i++)
        ways[i] =
            make_way(f, FLOOR_CONV_WEIGHTS, c->weights[i], i, DNNL_ARG_DIFF_WEIGHTS,
                     md_of(c->weights[i], dnnl_query_diff_weights_md, 0), c->weight_grad, operands);
    push_way(&f->backward, &ways[choose(f, c, FLOOR_CONV_WEIGHTS, ways)]);
    if (source_grad)
        add_data(f, c, source_grad, target_grad);
}

/* ---- batch norm ---- */

floor_norm floor_norm_new(floor_machine *f, floor_activation source, bool relu)
{
    floor_norm n = {.source = source, .relu = relu};
    n.target = floor_activation_new(f, source.channels, source.height, source.width, dnnl_nChw16c);
    unsigned flags = dnnl_use_scaleshift | (relu ? dnnl_fuse_norm_relu : 0);
    dnnl_batch_normalization_desc_t d;
    CHECK(dnnl_batch_normalization_forward_desc_init(&d, dnnl_forward_training, &source.md, 1e-5f,
                                                     flags));
    CHECK(dnnl_primitive_desc_create(&n.forward, &d, f->attr, f->engine, NULL));
    CHECK(dnnl_batch_normalization_backward_desc_init(&d, dnnl_backward, &source.md, &source.md,
                                                      1e-5f, flags));
    CHECK(dnnl_primitive_desc_create(&n.backward, &d, f->attr, f->engine, n.forward));
    need_scratch(f, n.forward);
    need_scratch(f, n.backward);
    size_t channels = (size_t)source.channels;
    n.scale_shift = floor_alloc(2 * channels * sizeof(float));
    n.scale_shift_grad = floor_alloc(2 * channels * sizeof(float));
    n.mean = floor_alloc(channels * sizeof(float));
    n.variance = floor_alloc(channels * sizeof(float));
    for (size_t i = 0; i < channels; i++)
        n.scale_shift[i] = 1.0f;
    if (relu)
        n.workspace =
            floor_alloc(dnnl_memory_desc_get_size(md_of(n.forward, dnnl_query_workspace_md, 0)));
    f->parameters += 2 * channels;
    return n;
}

static floor_call norm_call(floor_machine *f, const floor_norm *n, floor_part part,
                            const_dnnl_primitive_desc_t pd)
{
    floor_call call = begin(f, part, pd);
    add_arg(f, &call, DNNL_ARG_SRC, &n->source.md, n->source.data);
    add_arg(f, &call, DNNL_ARG_SCALE_SHIFT, md_of(n->forward, dnnl_query_weights_md, 0),
            n->scale_shift);
    add_arg(f, &call, DNNL_ARG_MEAN, md_of(n->forward, dnnl_query_dst_md, 1), n->mean);
    add_arg(f, &call, DNNL_ARG_VARIANCE, md_of(n->forward, dnnl_query_dst_md, 2), n->variance);
    if (n->workspace)
        add_arg(f, &call, DNNL_ARG_WORKSPACE, md_of(n->forward, dnnl_query_workspace_md, 0),
                n->workspace);
    return call;
}

void floor_add_norm(floor_machine *f, const floor_norm *n)
{
    floor_call call = norm_call(f, n, FLOOR_NORM_FORWARD, n->forward);
    add_arg(f, &call, DNNL_ARG_DST, &n->target.md, n->target.data);
    reid_vec_push(&f->forward, call);
}

void floor_add_norm_backward(floor_machine *f, const floor_norm *n, void *source_grad,
                             void *target_grad)
{
    floor_call call = norm_call(f, n, FLOOR_NORM_BACKWARD, n->backward);
    add_arg(f, &call, DNNL_ARG_DIFF_DST, &n->target.md, target_grad);
    add_arg(f, &call, DNNL_ARG_DIFF_SRC, &n->source.md, source_grad);
    add_arg(f, &call, DNNL_ARG_DIFF_SCALE_SHIFT, md_of(n->backward, dnnl_query_diff_weights_md, 0),
            n->scale_shift_grad);
    reid_vec_push(&f->backward, call);
}

/* ---- 3×3 max pooling, stride 2, padding 1 ---- */

floor_pool floor_pool_new(floor_machine *f, floor_activation source)
{
    floor_pool p = {.source = source};
    int64_t height = (source.height - 1) / 2 + 1, width = (source.width - 1) / 2 + 1;
    p.target = floor_activation_new(f, source.channels, height, width, dnnl_nChw16c);
    dnnl_dims_t kernel = {3, 3}, strides = {2, 2}, before = {1, 1};
    dnnl_dims_t after = {2 * height - source.height, 2 * width - source.width};
    dnnl_pooling_desc_t d;
    CHECK(dnnl_pooling_forward_desc_init(&d, dnnl_forward_training, dnnl_pooling_max, &source.md,
                                         &p.target.md, strides, kernel, before, after));
    CHECK(dnnl_primitive_desc_create(&p.forward, &d, f->attr, f->engine, NULL));
    CHECK(dnnl_pooling_backward_desc_init(&d, dnnl_pooling_max, &source.md, &p.target.md, strides,
                                          kernel, before, after));
    CHECK(dnnl_primitive_desc_create(&p.backward, &d, f->attr, f->engine, p.forward));
    need_scratch(f, p.forward);
    need_scratch(f, p.backward);
    p.workspace =
        floor_alloc(dnnl_memory_desc_get_size(md_of(p.forward, dnnl_query_workspace_md, 0)));
    return p;
}

void floor_add_pool(floor_machine *f, const floor_pool *p)
{
    floor_call call = begin(f, FLOOR_POOL, p->forward);
    add_arg(f, &call, DNNL_ARG_SRC, &p->source.md, p->source.data);
    add_arg(f, &call, DNNL_ARG_DST, &p->target.md, p->target.data);
    add_arg(f, &call, DNNL_ARG_WORKSPACE, md_of(p->forward, dnnl_query_workspace_md, 0),
            p->workspace);
    reid_vec_push(&f->forward, call);
}

void floor_add_pool_backward(floor_machine *f, const floor_pool *p, void *source_grad,
                             void *target_grad)
{
    floor_call call = begin(f, FLOOR_POOL, p->backward);
    add_arg(f, &call, DNNL_ARG_DIFF_DST, &p->target.md, target_grad);
    add_arg(f, &call, DNNL_ARG_DIFF_SRC, &p->source.md, source_grad);
    add_arg(f, &call, DNNL_ARG_WORKSPACE, md_of(p->forward, dnnl_query_workspace_md, 0),
            p->workspace);
    reid_vec_push(&f->backward, call);
}

/* ---- loops ---- */

void floor_add_sum(floor_machine *f, const floor_activation *to, const void *a, const void *b)
{
    const floor_call call = {
        .part = FLOOR_ADD_FORWARD, .to = to->data, .a = a, .b = b, .count = to->count};
    reid_vec_push(&f->forward, call);
}

void floor_add_masked(floor_machine *f, void *to, const void *a, const void *b,
                      const floor_activation *mask)
{
    const floor_call call = {.part = FLOOR_ADD_BACKWARD,
                             .to = to,
                             .a = a,
                             .b = b,
                             .mask = mask->data,
                             .count = mask->count};
    reid_vec_push(&f->backward, call);
}

void floor_add_adam(floor_machine *f)
{
    const floor_call call = {.part = FLOOR_ADAM};
    reid_vec_push(&f->backward, call);
}
