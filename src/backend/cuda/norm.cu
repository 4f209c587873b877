/* Batch normalisation (Ioffe & Szegedy 2015) over rows of channels, in three kernels: partial sums
 * of chunks of rows, their combination per channel (Chan, Golub & LeVeque 1983), and the map.
 * Backward likewise.
 *
 * A block has `lanes` threads side by side, each with V channels, times `depth` rows. Chunks depend
 * on the shape alone.
 */
#include "backend/cuda/kernels.h"
#include "backend/cuda/launch.cuh"

#define BLOCK 256
#define MAX_LANES 32
#define MAX_CHUNKS 512
#define CHUNK_DEPTH 8 /* rows per thread at least, as far as there are rows */

struct norm_split {
    int64_t rows, chunk_rows;
    int channels, stride, chunks;
    int lanes, depth, tiles;
};

static bool is_wide(int stride, int width)
{
    return stride % width == 0;
}

static norm_split split_of(reid_dtype dtype, int64_t rows, int channels, int stride)
{
    int width = dtype == REID_F32 ? reid_wide<float> : reid_wide<__nv_bfloat16>;
    int packs = is_wide(stride, width) ? stride / width : stride;
    norm_split s = {rows, 0, channels, stride, 0, 1, 0, 0};
    while (s.lanes < MAX_LANES && s.lanes < packs)
        s.lanes *= 2;
    s.depth = BLOCK / s.lanes;
    s.tiles = (packs + s.lanes - 1) / s.lanes;
    int64_t most = MAX_CHUNKS / s.tiles < 32 ? 32 : MAX_CHUNKS / s.tiles;
    int64_t least_rows = (int64_t)s.depth * CHUNK_DEPTH, rows_each = (rows + most - 1) / most;
    s.chunk_rows = rows_each > least_rows ? rows_each : least_rows;
    s.chunks = (int)((rows + s.chunk_rows - 1) / s.chunk_rows);
    return s;
}

/* Two numbers per chunk and channel, then two per channel for backward. */
static size_t part_count(const norm_split *s)
{
    return 2 * (size_t)s->chunks * (size_t)s->stride;
}

extern "C" size_t reid_cuda_norm_scratch_bytes(reid_dtype dtype, int64_t rows, int stride)
{
    norm_split s = split_of(dtype, rows, stride, stride);
    return (part_count(&s) + 2 * (size_t)stride) * sizeof(float);
}

/* ---- what a thread works on ---- */

struct norm_place {
    int channel; /* the first of V; ≥ stride: nothing to do */
    int64_t from, to;
    int64_t step;
};

template <int V> __device__ __forceinline__ norm_place place_of(const norm_split &s)
{
    int64_t begin = (int64_t)blockIdx.y * s.chunk_rows, end = begin + s.chunk_rows;
    norm_place p;
    p.channel = (int)(blockIdx.x * blockDim.x + threadIdx.x) * V;
    p.from = begin + threadIdx.y;
    p.to = p.channel >= s.stride ? 0 : end < s.rows ? end : s.rows;
    p.step = blockDim.y;
    return p;
}

/* Numbers of channels; zero for padding. */
template <int V>
__device__ __forceinline__ void load_channels(const float *from, int channel, int channels,
                                              float (&ret_values)[V])
{
#pragma unroll
    for (int i = 0; i < V; i++)
        ret_values[i] = channel + i < channels ? from[channel + i] : 0.0f;
}

/* ---- statistics ---- */

/* Mean and sum of squared deviations of `count` numbers. */
struct moments {
    float count, mean, square;
};

__device__ __forceinline__ void merge_moments(moments &a, const moments &b)
{
    if (b.count == 0.0f)
        return;
    float count = a.count + b.count, delta = b.mean - a.mean, share = b.count / count;
    a.mean += delta * share;
    a.square += b.square + delta * delta * a.count * share;
    a.count = count;
}

/* part: [chunks, 2, stride] means, then sums of squares. */
template <class T, int V>
__global__ void reid_norm_moments_kernel(norm_split s, const T *x, float *part)
{
    __shared__ float means[V][BLOCK], squares[V][BLOCK];
    __shared__ float counts[BLOCK];
    norm_place p = place_of<V>(s);
    int self = threadIdx.y * blockDim.x + threadIdx.x;
    float mean[V] = {}, square[V] = {}, count = 0.0f;
    for (int64_t row = p.from; row < p.to; row += p.step) {
        float v[V];
        reid_load<V>(x + row * s.stride + p.channel, v);
        count += 1.0f;
        float share = 1.0f / count;
#pragma unroll
        for (int i = 0; i < V; i++) {
            float delta = v[i] - mean[i];
            mean[i] += delta * share;
            square[i] += delta * (v[i] - mean[i]);
        }
    }
    counts[self] = count;
    for (int i = 0; i < V; i++) {
        means[i][self] = mean[i];
        squares[i][self] = square[i];
    }
    for (int half = blockDim.y / 2; half; half /= 2) {
        __syncthreads();
        if (threadIdx.y >= half)
            continue;
        int other = self + half * blockDim.x;
        float after = counts[self];
        for (int i = 0; i < V; i++) {
            moments a = {counts[self], means[i][self], squares[i][self]};
            merge_moments(a, {counts[other], means[i][other], squares[i][other]});
            means[i][self] = a.mean;
            squares[i][self] = a.square;
            after = a.count;
        }
        counts[self] = after;
    }
    if (threadIdx.y == 0 && p.channel < s.stride)
        for (int i = 0; i < V; i++) {
            size_t at = (size_t)blockIdx.y * 2 * s.stride + p.channel + i;
            part[at] = means[i][self];
            part[at + s.stride] = squares[i][self];
        }
}

/* A block combines SLICES groups of chunks for 32 channels. */
#define SLICES 8

__device__ __forceinline__ double sum_slices(double (*space)[32], double value)
{
    space[threadIdx.y][threadIdx.x] = value;
    __syncthreads();
    double sum = 0.0;
    for (int i = 0; i < SLICES; i++)
        sum += space[i][threadIdx.x];
    __syncthreads();
    return sum;
}

struct norm_statistics {
    double eps, momentum;
    float *mean, *inverse, *running_mean, *running_variance, *tracked;
};

__global__ void reid_norm_combine_kernel(norm_split s, const float *part, norm_statistics out)
{
    __shared__ double space[SLICES][32];
    int c = blockIdx.x * 32 + threadIdx.x;
    bool real = c < s.channels;
    double count = (double)s.rows, sum = 0.0, square = 0.0;
    for (int k = threadIdx.y; real && k < s.chunks; k += SLICES) {
        int64_t rest = s.rows - k * s.chunk_rows;
        double size = (double)(rest < s.chunk_rows ? rest : s.chunk_rows);
        sum += size * part[(size_t)k * 2 * s.stride + c];
    }
    double mean = sum_slices(space, sum) / count;
    for (int k = threadIdx.y; real && k < s.chunks; k += SLICES) {
        int64_t rest = s.rows - k * s.chunk_rows;
        double size = (double)(rest < s.chunk_rows ? rest : s.chunk_rows);
        double t = part[(size_t)k * 2 * s.stride + c] - mean;
        square += part[(size_t)k * 2 * s.stride + s.stride + c] + size * t * t;
    }
    square = sum_slices(space, square);
    if (threadIdx.y != 0 || !real)
        return;
    out.mean[c] = (float)mean;
    out.inverse[c] = (float)(1.0 / sqrt(square / count + out.eps));
    /* The unbiased variance; of a single row it is NaN, as in PyTorch. */
    double unbiased = square / (count - 1.0), m = out.momentum;
    out.running_mean[c] = (float)((1.0 - m) * out.running_mean[c] + m * mean);
    out.running_variance[c] = (float)((1.0 - m) * out.running_variance[c] + m * unbiased);
    if (c == 0)
        *out.tracked += 1.0f;
}

/* ---- the map ---- */

template <class T> struct norm_map {
    const float *mean, *inverse; /* inverse NULL: from the variance */
    const float *variance;
    const float *gamma, *beta;
    const T *x, *residual;
    T *out;
    float eps;
    int relu;
};

template <class T, int V> __global__ void reid_norm_map_kernel(norm_split s, norm_map<T> m)
{
    norm_place p = place_of<V>(s);
    float mean[V], scale[V], bias[V], inverse[V];
    load_channels<V>(m.mean, p.channel, s.channels, mean);
    load_channels<V>(m.gamma, p.channel, s.channels, scale);
    load_channels<V>(m.beta, p.channel, s.channels, bias);
    load_channels<V>(m.inverse ? m.inverse : m.variance, p.channel, s.channels, inverse);
#pragma unroll
    for (int i = 0; i < V; i++)
        scale[i] *= m.inverse ? inverse[i] : 1.0f / sqrtf(inverse[i] + m.eps);
    for (int64_t row = p.from; row < p.to; row += p.step) {
        size_t at = (size_t)row * s.stride + p.channel;
        float v[V], r[V];
        reid_load<V>(m.x + at, v);
        if (m.residual)
            reid_load<V>(m.residual + at, r);
#pragma unroll
        for (int i = 0; i < V; i++) {
            v[i] = reid_norm_element(v[i], mean[i], scale[i], bias[i]);
            v[i] = m.residual ? v[i] + r[i] : v[i];
            v[i] = m.relu ? reid_relu_element(v[i]) : v[i];
        }
        reid_store<V>(m.out + at, v);
    }
}

/* ---- backward ---- */

template <class T> struct norm_grad {
    const float *mean, *inverse, *gamma, *beta;
    const float *mean_dy, *slope; /* the map only */
    const T *x, *y, *d0, *d1;
    T *dx, *dr;
    reid_cuda_mask mask;
    int zero;
};

/* Channel constants that the mask and the products need. */
template <int V> struct norm_lane {
    float mean[V], scale[V], bias[V];
};

template <class T, int V>
__device__ __forceinline__ norm_lane<V> lane_of(const norm_split &s, const norm_grad<T> &g,
                                                int channel)
{
    norm_lane<V> lane;
    float inverse[V];
    load_channels<V>(g.mean, channel, s.channels, lane.mean);
    load_channels<V>(g.gamma, channel, s.channels, lane.scale);
    load_channels<V>(g.inverse, channel, s.channels, inverse);
    load_channels<V>(g.beta, channel, s.channels, lane.bias);
#pragma unroll
    for (int i = 0; i < V; i++)
        lane.scale[i] *= inverse[i];
    return lane;
}

/* The gradient behind the ReLU, and x. */
template <class T, int V>
__device__ __forceinline__ void load_gradient(const norm_grad<T> &g, const norm_lane<V> &lane,
                                              size_t at, float (&ret_dy)[V], float (&ret_x)[V])
{
    float other[V];
    reid_load<V>(g.x + at, ret_x);
    reid_load<V>(g.d0 + at, ret_dy);
    if (g.d1) {
        reid_load<V>(g.d1 + at, other);
#pragma unroll
        for (int i = 0; i < V; i++)
            ret_dy[i] += other[i];
    }
    if (g.mask == REID_CUDA_MASK_NONE)
        return;
    if (g.mask == REID_CUDA_MASK_FROM_OUTPUT) {
        reid_load<V>(g.y + at, other);
    } else {
#pragma unroll
        for (int i = 0; i < V; i++)
            other[i] = reid_norm_element(ret_x[i], lane.mean[i], lane.scale[i], lane.bias[i]);
    }
#pragma unroll
    for (int i = 0; i < V; i++)
        ret_dy[i] = reid_relu_grad_element(ret_dy[i], other[i]);
}

/* part: [chunks, 2, stride] Σ dy, then Σ dy·(x - mean). */
template <class T, int V>
__global__ void reid_norm_sums_kernel(norm_split s, norm_grad<T> g, float *part)
{
    __shared__ float sums[V][BLOCK], dots[V][BLOCK];
    norm_place p = place_of<V>(s);
    int self = threadIdx.y * blockDim.x + threadIdx.x;
    norm_lane<V> lane = lane_of<T, V>(s, g, p.channel);
    float sum[V] = {}, dot[V] = {};
    for (int64_t row = p.from; row < p.to; row += p.step) {
        float dy[V], x[V];
        load_gradient<T, V>(g, lane, (size_t)row * s.stride + p.channel, dy, x);
#pragma unroll
        for (int i = 0; i < V; i++) {
            sum[i] += dy[i];
            dot[i] += dy[i] * (x[i] - lane.mean[i]);
        }
    }
    for (int i = 0; i < V; i++) {
        sums[i][self] = sum[i];
        dots[i][self] = dot[i];
    }
    for (int half = blockDim.y / 2; half; half /= 2) {
        __syncthreads();
        if (threadIdx.y >= half)
            continue;
        int other = self + half * blockDim.x;
        for (int i = 0; i < V; i++) {
            sums[i][self] += sums[i][other];
            dots[i][self] += dots[i][other];
        }
    }
    if (threadIdx.y == 0 && p.channel < s.stride)
        for (int i = 0; i < V; i++) {
            size_t at = (size_t)blockIdx.y * 2 * s.stride + p.channel + i;
            part[at] = sums[i][self];
            part[at + s.stride] = dots[i][self];
        }
}

/* Gradients of the parameters, and the two constants of the map. */
__global__ void reid_norm_combine_grad_kernel(norm_split s, const float *part, const float *inverse,
                                              float *gamma_grad, float *beta_grad, float *mean_dy,
                                              float *slope)
{
    __shared__ double space[SLICES][32];
    int c = blockIdx.x * 32 + threadIdx.x;
    bool real = c < s.channels;
    double sum = 0.0, dot = 0.0;
    for (int k = threadIdx.y; real && k < s.chunks; k += SLICES) {
        sum += part[(size_t)k * 2 * s.stride + c];
        dot += part[(size_t)k * 2 * s.stride + s.stride + c];
    }
    sum = sum_slices(space, sum);
    dot = sum_slices(space, dot);
    if (threadIdx.y != 0 || !real)
        return;
    double count = (double)s.rows, i = inverse[c];
    if (gamma_grad)
        gamma_grad[c] = (float)(dot * i);
    if (beta_grad)
        beta_grad[c] = (float)sum;
    mean_dy[c] = (float)(sum / count);
    slope[c] = (float)(dot * i * i / count);
}

template <class T, int V> __global__ void reid_norm_grad_kernel(norm_split s, norm_grad<T> g)
{
    norm_place p = place_of<V>(s);
    norm_lane<V> lane = lane_of<T, V>(s, g, p.channel);
    float mean_dy[V], slope[V];
    load_channels<V>(g.mean_dy, p.channel, s.channels, mean_dy);
    load_channels<V>(g.slope, p.channel, s.channels, slope);
    for (int64_t row = p.from; row < p.to; row += p.step) {
        size_t at = (size_t)row * s.stride + p.channel;
        float dy[V], x[V];
        load_gradient<T, V>(g, lane, at, dy, x);
        if (g.dr)
            reid_store<V>(g.dr + at, dy);
        if (!g.dx)
            continue;
#pragma unroll
        for (int i = 0; i < V; i++)
            dy[i] = reid_norm_grad_element(dy[i], x[i], lane.mean[i], lane.scale[i], mean_dy[i],
                                           slope[i]);
        reid_store<V>(g.dx + at, dy);
    }
}

/* ---- launchers ---- */

static dim3 grid_of(const norm_split &s)
{
    return dim3((unsigned)s.tiles, (unsigned)s.chunks);
}

static dim3 block_of(const norm_split &s)
{
    return dim3((unsigned)s.lanes, (unsigned)s.depth);
}

static unsigned combine_grid(const norm_split &s)
{
    return (unsigned)((s.channels + 31) / 32);
}

template <class T, int V>
static cudaError_t launch_map(cudaStream_t stream, const norm_split &s, const norm_map<T> &map)
{
    return REID_LAUNCH((reid_norm_map_kernel<T, V>), grid_of(s), block_of(s), 0, stream, s, map);
}

template <class T>
static cudaError_t run_map(cudaStream_t stream, const reid_cuda_norm *n, bool running)
{
    norm_split s = split_of(n->dtype, n->rows, n->channels, n->stride);
    norm_map<T> map = {};
    map.mean = running ? n->running_mean : n->mean;
    map.inverse = running ? nullptr : n->inverse;
    map.variance = n->running_variance;
    map.eps = (float)n->eps;
    map.gamma = n->gamma;
    map.beta = n->beta;
    map.x = static_cast<const T *>(n->x);
    map.residual = static_cast<const T *>(n->residual);
    map.out = static_cast<T *>(n->out);
    map.relu = n->relu;
    return is_wide(n->stride, reid_wide<T>) ? launch_map<T, reid_wide<T>>(stream, s, map)
                                            : launch_map<T, 1>(stream, s, map);
}

template <class T, int V>
static cudaError_t launch_moments(cudaStream_t stream, const norm_split &s, const void *x,
                                  float *part)
{
    return REID_LAUNCH((reid_norm_moments_kernel<T, V>), grid_of(s), block_of(s), 0, stream, s,
                       static_cast<const T *>(x), part);
}

template <class T> static cudaError_t run_train(cudaStream_t stream, const reid_cuda_norm *n)
{
    norm_split s = split_of(n->dtype, n->rows, n->channels, n->stride);
    float *part = static_cast<float *>(n->scratch);
    cudaError_t error = is_wide(n->stride, reid_wide<T>)
                            ? launch_moments<T, reid_wide<T>>(stream, s, n->x, part)
                            : launch_moments<T, 1>(stream, s, n->x, part);
    norm_statistics out = {n->eps,          n->momentum,         n->mean,   n->inverse,
                           n->running_mean, n->running_variance, n->tracked};
    if (error == cudaSuccess)
        error = REID_LAUNCH(reid_norm_combine_kernel, combine_grid(s), dim3(32, SLICES), 0, stream,
                            s, part, out);
    return error == cudaSuccess ? run_map<T>(stream, n, false) : error;
}

template <class T, int V>
static cudaError_t launch_backward(cudaStream_t stream, const norm_split &s,
                                   const reid_cuda_norm *n, norm_grad<T> g)
{
    float *part = static_cast<float *>(n->scratch), *mean_dy = part + part_count(&s),
          *slope = mean_dy + n->stride;
    cudaError_t error =
        REID_LAUNCH((reid_norm_sums_kernel<T, V>), grid_of(s), block_of(s), 0, stream, s, g, part);
    if (error == cudaSuccess)
        error =
            REID_LAUNCH(reid_norm_combine_grad_kernel, combine_grid(s), dim3(32, SLICES), 0, stream,
                        s, part, n->inverse, n->gamma_grad, n->beta_grad, mean_dy, slope);
    if (error != cudaSuccess || (!n->dx && !n->dr))
        return error;
    g.mean_dy = mean_dy;
    g.slope = slope;
    return REID_LAUNCH((reid_norm_grad_kernel<T, V>), grid_of(s), block_of(s), 0, stream, s, g);
}

template <class T> static cudaError_t run_backward(cudaStream_t stream, const reid_cuda_norm *n)
{
    norm_split s = split_of(n->dtype, n->rows, n->channels, n->stride);
    norm_grad<T> g = {};
    g.mean = n->mean;
    g.inverse = n->inverse;
    g.gamma = n->gamma;
    g.beta = n->beta;
    g.x = static_cast<const T *>(n->x);
    g.y = static_cast<const T *>(n->y);
    g.d0 = static_cast<const T *>(n->d0);
    g.d1 = static_cast<const T *>(n->d1);
    g.dx = static_cast<T *>(n->dx);
    g.dr = static_cast<T *>(n->dr);
    g.mask = n->mask;
    return is_wide(n->stride, reid_wide<T>) ? launch_backward<T, reid_wide<T>>(stream, s, n, g)
                                            : launch_backward<T, 1>(stream, s, n, g);
}

extern "C" cudaError_t reid_cuda_norm_train(cudaStream_t stream, const reid_cuda_norm *norm)
{
    return REID_BY_DTYPE(norm->dtype, run_train, stream, norm);
}

extern "C" cudaError_t reid_cuda_norm_eval(cudaStream_t stream, const reid_cuda_norm *norm)
{
    return REID_BY_DTYPE(norm->dtype, run_map, stream, norm, true);
}

extern "C" cudaError_t reid_cuda_norm_again(cudaStream_t stream, const reid_cuda_norm *norm)
{
    return REID_BY_DTYPE(norm->dtype, run_map, stream, norm, false);
}

extern "C" cudaError_t reid_cuda_norm_backward(cudaStream_t stream, const reid_cuda_norm *norm)
{
    return REID_BY_DTYPE(norm->dtype, run_backward, stream, norm);
}
