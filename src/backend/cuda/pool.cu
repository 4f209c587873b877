/* Max pooling and global average pooling over rows of channels. A block has `lanes` threads side by
 * side, each with V channels, times `depth` places. */
#include "backend/cuda/kernels.h"
#include "backend/cuda/launch.cuh"

#define BLOCK 256
#define MAX_LANES 32

struct pool_grid {
    dim3 grid, block;
};

/* Lanes cover the channels (x tiles of them), depth covers `places`. */
static pool_grid grid_of(int64_t places, int64_t stride, int width, int depth_limit)
{
    int64_t packs = stride / width;
    unsigned lanes = 1, depth = 1;
    while (lanes < MAX_LANES && lanes < packs)
        lanes *= 2;
    while (depth * lanes < BLOCK && (int)depth < depth_limit)
        depth *= 2;
    int64_t rows = (places + depth - 1) / depth;
    return {dim3((unsigned)((packs + lanes - 1) / lanes),
                 (unsigned)(rows > REID_FLAT_GRID ? REID_FLAT_GRID : rows)),
            dim3(lanes, depth)};
}

/* ---- max ---- */

template <class T> struct pool_side {
    const T *x, *d0, *d1;
    T *out;
    uint8_t *index;
    int h, w, out_h, out_w, kernel, step, padding, stride;
    int64_t places;
};

template <int V> __device__ __forceinline__ void store_index(uint8_t *to, const int (&index)[V])
{
    reid_pack<uint8_t, V> pack;
#pragma unroll
    for (int i = 0; i < V; i++)
        pack.item[i] = (uint8_t)index[i];
    *reinterpret_cast<reid_pack<uint8_t, V> *>(to) = pack;
}

template <class T, int V> __global__ void reid_max_pool_kernel(pool_side<T> s)
{
    int64_t channel = (int64_t)(blockIdx.x * blockDim.x + threadIdx.x) * V;
    if (channel >= s.stride)
        return;
    for (int64_t place = (int64_t)blockIdx.y * blockDim.y + threadIdx.y; place < s.places;
         place += (int64_t)gridDim.y * blockDim.y) {
        int x = (int)(place % s.out_w), y = (int)(place / s.out_w % s.out_h);
        int64_t image = place / s.out_w / s.out_h * s.h * s.w;
        int top = y * s.step - s.padding, left = x * s.step - s.padding;
        float best[V];
        int index[V];
        bool first = true;
        for (int i = top < 0 ? -top : 0; i < s.kernel && top + i < s.h; i++)
            for (int j = left < 0 ? -left : 0; j < s.kernel && left + j < s.w; j++) {
                float v[V];
                int64_t row = image + (int64_t)(top + i) * s.w + left + j;
                reid_load<V>(s.x + row * s.stride + channel, v);
#pragma unroll
                for (int k = 0; k < V; k++)
                    if (first || v[k] > best[k] || v[k] != v[k]) {
                        best[k] = v[k];
                        index[k] = i * s.kernel + j;
                    }
                first = false;
            }
        reid_store<V>(s.out + place * s.stride + channel, best);
        if (s.index)
            store_index<V>(s.index + place * s.stride + channel, index);
    }
}

/* places: of the input. The windows that hold row y are those from first_window to y / step. */
__device__ __forceinline__ int first_window(int at, int kernel, int step)
{
    return at < kernel ? 0 : (at - kernel) / step + 1;
}

template <class T, int V> __global__ void reid_max_pool_grad_kernel(pool_side<T> s)
{
    int64_t channel = (int64_t)(blockIdx.x * blockDim.x + threadIdx.x) * V;
    if (channel >= s.stride)
        return;
    for (int64_t place = (int64_t)blockIdx.y * blockDim.y + threadIdx.y; place < s.places;
         place += (int64_t)gridDim.y * blockDim.y) {
        int x = (int)(place % s.w) + s.padding, y = (int)(place / s.w % s.h) + s.padding;
        int64_t image = place / s.w / s.h * s.out_h * s.out_w;
        float sum[V] = {};
        for (int i = first_window(y, s.kernel, s.step); i < s.out_h && i * s.step <= y; i++)
            for (int j = first_window(x, s.kernel, s.step); j < s.out_w && j * s.step <= x; j++) {
                int64_t at = (image + (int64_t)i * s.out_w + j) * s.stride + channel;
                int self = (y - i * s.step) * s.kernel + x - j * s.step;
                reid_pack<uint8_t, V> index =
                    *reinterpret_cast<const reid_pack<uint8_t, V> *>(s.index + at);
                float d[V], other[V];
                reid_load<V>(s.d0 + at, d);
                if (s.d1) {
                    reid_load<V>(s.d1 + at, other);
#pragma unroll
                    for (int k = 0; k < V; k++)
                        d[k] += other[k];
                }
#pragma unroll
                for (int k = 0; k < V; k++)
                    sum[k] += index.item[k] == self ? d[k] : 0.0f;
            }
        reid_store<V>(s.out + place * s.stride + channel, sum);
    }
}

template <class T, int V>
static cudaError_t launch_max(cudaStream_t stream, const pool_side<T> &side, bool grad)
{
    pool_grid g = grid_of(side.places, side.stride, V, BLOCK);
    if (grad)
        return REID_LAUNCH((reid_max_pool_grad_kernel<T, V>), g.grid, g.block, 0, stream, side);
    return REID_LAUNCH((reid_max_pool_kernel<T, V>), g.grid, g.block, 0, stream, side);
}

template <class T>
static cudaError_t run_max(cudaStream_t stream, const reid_cuda_pool *p, bool grad)
{
    pool_side<T> side = {};
    side.x = static_cast<const T *>(p->x);
    side.d0 = static_cast<const T *>(p->d0);
    side.d1 = static_cast<const T *>(p->d1);
    side.out = static_cast<T *>(grad ? p->dx : p->out);
    side.index = p->index;
    side.h = p->h;
    side.w = p->w;
    side.out_h = p->out_h;
    side.out_w = p->out_w;
    side.kernel = p->kernel;
    side.step = p->step;
    side.padding = p->padding;
    side.stride = p->stride;
    side.places = (int64_t)p->n * (grad ? (int64_t)p->h * p->w : (int64_t)p->out_h * p->out_w);
    return p->stride % reid_wide<T> == 0 ? launch_max<T, reid_wide<T>>(stream, side, grad)
                                         : launch_max<T, 1>(stream, side, grad);
}

extern "C" cudaError_t reid_cuda_max_pool(cudaStream_t stream, const reid_cuda_pool *pool)
{
    return REID_BY_DTYPE(pool->dtype, run_max, stream, pool, false);
}

extern "C" cudaError_t reid_cuda_max_pool_grad(cudaStream_t stream, const reid_cuda_pool *pool)
{
    return REID_BY_DTYPE(pool->dtype, run_max, stream, pool, true);
}

/* ---- average ---- */

struct average_shape {
    int64_t n, p, channels, stride;
};

/* Block: one image and a tile of channels; its depth shares the places. */
template <class T, int V> __global__ void reid_average_kernel(average_shape s, const T *x, float *y)
{
    __shared__ float sums[V][BLOCK];
    int64_t channel = (int64_t)(blockIdx.x * blockDim.x + threadIdx.x) * V;
    int self = threadIdx.y * blockDim.x + threadIdx.x;
    for (int64_t n = blockIdx.y; n < s.n; n += gridDim.y) {
        float sum[V] = {};
        for (int64_t i = threadIdx.y; channel < s.stride && i < s.p; i += blockDim.y) {
            float v[V];
            reid_load<V>(x + (n * s.p + i) * s.stride + channel, v);
#pragma unroll
            for (int k = 0; k < V; k++)
                sum[k] += v[k];
        }
        for (int k = 0; k < V; k++)
            sums[k][self] = sum[k];
        for (int half = blockDim.y / 2; half; half /= 2) {
            __syncthreads();
            for (int k = 0; threadIdx.y < half && k < V; k++)
                sums[k][self] += sums[k][self + half * blockDim.x];
        }
        for (int k = 0; threadIdx.y == 0 && k < V; k++)
            if (channel + k < s.channels)
                y[n * s.channels + channel + k] = sums[k][self] / (float)s.p;
        __syncthreads();
    }
}

template <class T, int V>
__global__ void reid_average_grad_kernel(average_shape s, const float *d0, const float *d1, T *dx)
{
    int64_t channel = (int64_t)(blockIdx.x * blockDim.x + threadIdx.x) * V;
    if (channel >= s.stride)
        return;
    for (int64_t n = blockIdx.y; n < s.n; n += gridDim.y) {
        float d[V];
#pragma unroll
        for (int k = 0; k < V; k++) {
            int64_t at = n * s.channels + channel + k;
            d[k] = channel + k < s.channels ? (d1 ? d0[at] + d1[at] : d0[at]) / (float)s.p : 0.0f;
        }
        for (int64_t i = threadIdx.y; i < s.p; i += blockDim.y)
            reid_store<V>(dx + (n * s.p + i) * s.stride + channel, d);
    }
}

static int depth_of(int64_t places)
{
    return places > BLOCK ? BLOCK : (int)places;
}

template <class T, int V>
static cudaError_t launch_average(cudaStream_t stream, const average_shape &s, const void *x,
                                  float *y)
{
    pool_grid g = grid_of(s.p, s.stride, V, depth_of(s.p));
    g.grid.y = (unsigned)(s.n > 65535 ? 65535 : s.n);
    return REID_LAUNCH((reid_average_kernel<T, V>), g.grid, g.block, 0, stream, s,
                       static_cast<const T *>(x), y);
}

template <class T>
static cudaError_t run_average(cudaStream_t stream, const average_shape &s, const void *x, float *y)
{
    return s.stride % reid_wide<T> == 0 ? launch_average<T, reid_wide<T>>(stream, s, x, y)
                                        : launch_average<T, 1>(stream, s, x, y);
}

extern "C" cudaError_t reid_cuda_average(cudaStream_t stream, reid_dtype dtype, const void *x,
                                         float *y, int64_t n, int64_t p, int64_t channels,
                                         int64_t stride)
{
    average_shape s = {n, p, channels, stride};
    return REID_BY_DTYPE(dtype, run_average, stream, s, x, y);
}

template <class T, int V>
static cudaError_t launch_average_grad(cudaStream_t stream, const average_shape &s, const float *d0,
                                       const float *d1, void *dx)
{
    pool_grid g = grid_of(s.p, s.stride, V, depth_of(s.p));
    g.grid.y = (unsigned)(s.n > 65535 ? 65535 : s.n);
    return REID_LAUNCH((reid_average_grad_kernel<T, V>), g.grid, g.block, 0, stream, s, d0, d1,
                       static_cast<T *>(dx));
}

template <class T>
static cudaError_t run_average_grad(cudaStream_t stream, const average_shape &s, const float *d0,
                                    const float *d1, void *dx)
{
    return s.stride % reid_wide<T> == 0
               ? launch_average_grad<T, reid_wide<T>>(stream, s, d0, d1, dx)
               : launch_average_grad<T, 1>(stream, s, d0, d1, dx);
}

extern "C" cudaError_t reid_cuda_average_grad(cudaStream_t stream, reid_dtype dtype,
                                              const float *d0, const float *d1, void *dx, int64_t n,
                                              int64_t p, int64_t channels, int64_t stride)
{
    average_shape s = {n, p, channels, stride};
    return REID_BY_DTYPE(dtype, run_average_grad, stream, s, d0, d1, dx);
}
