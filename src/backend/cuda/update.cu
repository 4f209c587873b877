/* Update rules and reductions over parts of flat f32 buffers: one launch for up to SPAN_RANGES
 * parts. A block works on one piece of one part. */
#include "backend/cuda/kernels.h"
#include "backend/cuda/launch.cuh"

#define BLOCK 256
#define SPAN_RANGES 64
#define PIECE 4096 /* numbers: four packs of four per thread */

/* Travels by value with the launch. */
struct range_span {
    int count;
    int wide; /* the buffers start at multiples of 16 bytes */
    unsigned first_block[SPAN_RANGES + 2];
    size_t offset[SPAN_RANGES], size[SPAN_RANGES];
    size_t piece;
};

/* The numbers [from, to) of the block; single ones up to `packs_from` and from `packs_to` on. */
struct range_piece {
    size_t from, to, packs_from, packs_to;
};

__device__ __forceinline__ range_piece piece_of(const range_span &span)
{
    int low = 0, high = span.count;
    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (blockIdx.x >= span.first_block[middle])
            low = middle;
        else
            high = middle;
    }
    size_t at = (blockIdx.x - span.first_block[low]) * span.piece, end = at + span.piece;
    range_piece p;
    p.from = span.offset[low] + at;
    p.to = span.offset[low] + (end < span.size[low] ? end : span.size[low]);
    p.packs_from = (p.from + 3) / 4 * 4;
    p.packs_to = p.to / 4 * 4;
    if (!span.wide || p.packs_from >= p.packs_to)
        p.packs_from = p.packs_to = p.to;
    return p;
}

/* map.run<V>(at) for every number of the block's piece. */
template <class Map> __device__ __forceinline__ void for_piece(const range_span &span, Map &map)
{
    range_piece p = piece_of(span);
    for (size_t i = p.from + threadIdx.x; i < p.packs_from; i += BLOCK)
        map.template run<1>(i);
    for (size_t i = p.packs_from + 4 * threadIdx.x; i < p.packs_to; i += 4 * BLOCK)
        map.template run<4>(i);
    for (size_t i = p.packs_to + threadIdx.x; i < p.to; i += BLOCK)
        map.template run<1>(i);
}

struct adam_map {
    float *value;
    const float *grad;
    float *m, *v, *max_v;
    reid_adam_constants c;

    template <int V> __device__ __forceinline__ void run(size_t at) const
    {
        float w[V], g[V], a[V], b[V], top[V];
        reid_load<V>(value + at, w);
        reid_load<V>(grad + at, g);
        reid_load<V>(m + at, a);
        reid_load<V>(v + at, b);
        if (max_v)
            reid_load<V>(max_v + at, top);
#pragma unroll
        for (int i = 0; i < V; i++)
            w[i] = reid_adam_element(&c, w[i], g[i], &a[i], &b[i], max_v ? &top[i] : nullptr);
        reid_store<V>(value + at, w);
        reid_store<V>(m + at, a);
        reid_store<V>(v + at, b);
        if (max_v)
            reid_store<V>(max_v + at, top);
    }
};

struct sgd_map {
    float *value;
    const float *grad;
    float *buffer;
    reid_sgd_constants c;

    template <int V> __device__ __forceinline__ void run(size_t at) const
    {
        float w[V], g[V], b[V];
        reid_load<V>(value + at, w);
        reid_load<V>(grad + at, g);
        /* The first step only writes the buffer. */
        if (buffer && !c.first)
            reid_load<V>(buffer + at, b);
#pragma unroll
        for (int i = 0; i < V; i++)
            w[i] = reid_sgd_element(&c, w[i], g[i], buffer ? &b[i] : nullptr);
        reid_store<V>(value + at, w);
        if (buffer)
            reid_store<V>(buffer + at, b);
    }
};

struct scale_map {
    float *data;
    float factor;
    int zero;

    template <int V> __device__ __forceinline__ void run(size_t at) const
    {
        float v[V];
        reid_load<V>(data + at, v);
#pragma unroll
        for (int i = 0; i < V; i++)
            v[i] *= factor;
        reid_store<V>(data + at, v);
    }
};

struct clamp_map {
    float *data;
    float limit;
    int zero;

    template <int V> __device__ __forceinline__ void run(size_t at) const
    {
        float v[V];
        reid_load<V>(data + at, v);
#pragma unroll
        for (int i = 0; i < V; i++)
            v[i] = reid_clamp_element(v[i], limit);
        reid_store<V>(data + at, v);
    }
};

/* How |x| of many numbers become one. */
struct square_rule {
    double order;

    __device__ __forceinline__ double of(float x) const
    {
        return (double)x * x;
    }

    __device__ __forceinline__ double add(double a, double b) const
    {
        return a + b;
    }
};

struct power_rule {
    double order;

    __device__ __forceinline__ double of(float x) const
    {
        return pow(fabs((double)x), order);
    }

    __device__ __forceinline__ double add(double a, double b) const
    {
        return a + b;
    }
};

struct largest_rule {
    double order;

    __device__ __forceinline__ double of(float x) const
    {
        return fabs((double)x);
    }

    /* NaN is larger than all. */
    __device__ __forceinline__ double add(double a, double b) const
    {
        return b > a || b != b ? b : a;
    }
};

template <class Rule> struct norm_map {
    const float *data;
    Rule rule;
    double sum;

    template <int V> __device__ __forceinline__ void run(size_t at)
    {
        float v[V];
        reid_load<V>(data + at, v);
#pragma unroll
        for (int i = 0; i < V; i++)
            sum = rule.add(sum, rule.of(v[i]));
    }
};

/* Thread 0 gets all of the block's. `space`: shared, BLOCK / 32 numbers. */
template <class Rule>
__device__ __forceinline__ double block_norm(const Rule &rule, double sum, double *space)
{
    for (int d = 16; d; d >>= 1)
        sum = rule.add(sum, __shfl_down_sync(REID_FULL_WARP, sum, d));
    if (threadIdx.x % 32 == 0)
        space[threadIdx.x / 32] = sum;
    __syncthreads();
    sum = space[0];
    for (int i = 1; i < BLOCK / 32; i++)
        sum = rule.add(sum, space[i]);
    return sum;
}

template <class Map> __global__ void reid_update_kernel(range_span span, Map map)
{
    for_piece(span, map);
}

template <class Rule>
__global__ void reid_norm_kernel(range_span span, const float *data, Rule rule, double *part)
{
    __shared__ double space[BLOCK / 32];
    norm_map<Rule> map = {data, rule, 0.0};
    for_piece(span, map);
    double sum = block_norm(rule, map.sum, space);
    if (threadIdx.x == 0)
        part[blockIdx.x] = sum;
}

template <class Rule>
__global__ void reid_norm_total_kernel(const double *part, int count, Rule rule, double *ret_sum)
{
    __shared__ double space[BLOCK / 32];
    double sum = 0.0;
    for (int i = threadIdx.x; i < count; i += BLOCK)
        sum = rule.add(sum, part[i]);
    sum = block_norm(rule, sum, space);
    if (threadIdx.x == 0)
        *ret_sum = sum;
}

/* ---- launchers ---- */

static bool aligned(const void *p)
{
    return (uintptr_t)p % 16 == 0;
}

/* Takes ranges from `*at` on, as many as fit; the value is the number of blocks, 0 at the end. */
static unsigned next_span(const reid_range *ranges, size_t count, size_t piece, size_t *at,
                          range_span *ret_span)
{
    unsigned blocks = 0;
    ret_span->count = 0;
    ret_span->piece = piece;
    for (; *at < count && ret_span->count < SPAN_RANGES; ++*at) {
        int i = ret_span->count;
        if (ranges[*at].size == 0)
            continue;
        ret_span->first_block[i] = blocks;
        ret_span->offset[i] = ranges[*at].offset;
        ret_span->size[i] = ranges[*at].size;
        ret_span->count++;
        blocks += (unsigned)((ranges[*at].size + piece - 1) / piece);
    }
    ret_span->first_block[ret_span->count] = blocks;
    return blocks;
}

template <class Map>
static cudaError_t run_update(cudaStream_t stream, const reid_range *ranges, size_t count,
                              bool wide, const Map &map)
{
    range_span span = {};
    cudaError_t error = cudaSuccess;
    size_t at = 0;
    unsigned blocks;
    span.wide = wide;
    while (error == cudaSuccess && (blocks = next_span(ranges, count, PIECE, &at, &span)) > 0)
        error = REID_LAUNCH(reid_update_kernel<Map>, blocks, BLOCK, 0, stream, span, map);
    return error;
}

extern "C" cudaError_t reid_cuda_adam(cudaStream_t stream, const reid_adam_constants *constants,
                                      const reid_range *ranges, size_t range_count, float *value,
                                      const float *grad, float *m, float *v, float *max_v)
{
    bool wide = aligned(value) && aligned(grad) && aligned(m) && aligned(v) && aligned(max_v);
    adam_map map = {value, grad, m, v, max_v, *constants};
    return run_update(stream, ranges, range_count, wide, map);
}

extern "C" cudaError_t reid_cuda_sgd(cudaStream_t stream, const reid_sgd_constants *constants,
                                     const reid_range *ranges, size_t range_count, float *value,
                                     const float *grad, float *momentum_buffer)
{
    bool wide = aligned(value) && aligned(grad) && aligned(momentum_buffer);
    sgd_map map = {value, grad, momentum_buffer, *constants};
    return run_update(stream, ranges, range_count, wide, map);
}

extern "C" cudaError_t reid_cuda_scale(cudaStream_t stream, const reid_range *ranges,
                                       size_t range_count, float *data, float factor)
{
    scale_map map = {data, factor, 0};
    return run_update(stream, ranges, range_count, aligned(data), map);
}

extern "C" cudaError_t reid_cuda_clamp(cudaStream_t stream, const reid_range *ranges,
                                       size_t range_count, float *data, float limit)
{
    clamp_map map = {data, limit, 0};
    return run_update(stream, ranges, range_count, aligned(data), map);
}

template <class Rule>
static cudaError_t run_norm(cudaStream_t stream, const reid_range *ranges, size_t range_count,
                            const float *data, Rule rule, double *part)
{
    size_t total = 0, at = 0, parts = 0;
    for (size_t i = 0; i < range_count; i++)
        total += ranges[i].size;
    size_t piece = (total / (REID_CUDA_SUM_PARTS / 2) + PIECE) / PIECE * PIECE;
    if (range_count > REID_CUDA_SUM_PARTS / 2)
        return cudaErrorInvalidValue;
    range_span span = {};
    cudaError_t error = cudaSuccess;
    unsigned blocks;
    span.wide = aligned(data);
    while (error == cudaSuccess &&
           (blocks = next_span(ranges, range_count, piece, &at, &span)) > 0) {
        error = REID_LAUNCH(reid_norm_kernel<Rule>, blocks, BLOCK, 0, stream, span, data, rule,
                            part + 1 + parts);
        parts += blocks;
    }
    return error == cudaSuccess ? REID_LAUNCH(reid_norm_total_kernel<Rule>, 1, BLOCK, 0, stream,
                                              part + 1, (int)parts, rule, part)
                                : error;
}

extern "C" cudaError_t reid_cuda_power_sum(cudaStream_t stream, const reid_range *ranges,
                                           size_t range_count, const float *data, double order,
                                           double *part)
{
    if (order == 2)
        return run_norm(stream, ranges, range_count, data, square_rule{order}, part);
    return isinf(order) ? run_norm(stream, ranges, range_count, data, largest_rule{order}, part)
                        : run_norm(stream, ranges, range_count, data, power_rule{order}, part);
}
