/* Element by element over flat ranges, in packs of 16 bytes and a rest. Pointers may be the same:
 * each thread reads its numbers before it writes them. */
#include "backend/cuda/kernels.h"
#include "backend/cuda/launch.cuh"

/* Calls map(at, width): with packs of V numbers for the whole ones, with single numbers for the
 * rest. */
template <int V, class Map> __device__ __forceinline__ void for_packs(size_t count, Map map)
{
    size_t packs = count / V;
    for (size_t i = REID_FLAT_INDEX; i < packs; i += REID_FLAT_STEP)
        map.template run<V>(i * V);
    size_t rest = packs * V + REID_FLAT_INDEX;
    if (rest < count)
        map.template run<1>(rest);
}

template <class T> struct relu_map {
    const T *x;
    T *y;

    template <int V> __device__ __forceinline__ void run(size_t at) const
    {
        float v[V];
        reid_load<V>(x + at, v);
#pragma unroll
        for (int i = 0; i < V; i++)
            v[i] = reid_relu_element(v[i]);
        reid_store<V>(y + at, v);
    }
};

template <class T> struct add_map {
    const T *a, *b;
    T *y;
    int64_t relu;

    template <int V> __device__ __forceinline__ void run(size_t at) const
    {
        float v[V], w[V];
        reid_load<V>(a + at, v);
        reid_load<V>(b + at, w);
#pragma unroll
        for (int i = 0; i < V; i++) {
            v[i] += w[i];
            v[i] = relu ? reid_relu_element(v[i]) : v[i];
        }
        reid_store<V>(y + at, v);
    }
};

template <class T> struct relu_grad_map {
    const T *d0, *d1, *y;
    T *dx;

    template <int V> __device__ __forceinline__ void run(size_t at) const
    {
        float v[V], w[V];
        reid_load<V>(d0 + at, v);
        if (d1) {
            reid_load<V>(d1 + at, w);
#pragma unroll
            for (int i = 0; i < V; i++)
                v[i] += w[i];
        }
        reid_load<V>(y + at, w);
#pragma unroll
        for (int i = 0; i < V; i++)
            v[i] = reid_relu_grad_element(v[i], w[i]);
        reid_store<V>(dx + at, v);
    }
};

/* The smaller of two element types gives the width: a pack of eight floats would be two loads. */
template <class From, class To> struct cast_map {
    const From *x;
    To *y;

    template <int V> __device__ __forceinline__ void run(size_t at) const
    {
        float v[V];
        reid_load<V>(x + at, v);
        reid_store<V>(y + at, v);
    }
};

template <int V, class Map> __global__ void reid_map_kernel(size_t count, Map map)
{
    for_packs<V>(count, map);
}

template <int V, class Map> static cudaError_t run_map(cudaStream_t stream, size_t count, Map map)
{
    if (count == 0)
        return cudaSuccess;
    return REID_LAUNCH((reid_map_kernel<V, Map>), reid_flat_grid((count + V - 1) / V),
                       REID_FLAT_BLOCK, 0, stream, count, map);
}

template <class T>
static cudaError_t relu(cudaStream_t stream, const void *x, void *y, size_t count)
{
    relu_map<T> map = {static_cast<const T *>(x), static_cast<T *>(y)};
    return run_map<reid_wide<T>>(stream, count, map);
}

extern "C" cudaError_t reid_cuda_relu(cudaStream_t stream, reid_dtype dtype, const void *x, void *y,
                                      size_t count)
{
    return REID_BY_DTYPE(dtype, relu, stream, x, y, count);
}

template <class T>
static cudaError_t add(cudaStream_t stream, const void *a, const void *b, void *y, size_t count,
                       bool relu)
{
    add_map<T> map = {static_cast<const T *>(a), static_cast<const T *>(b), static_cast<T *>(y),
                      relu};
    return run_map<reid_wide<T>>(stream, count, map);
}

extern "C" cudaError_t reid_cuda_add(cudaStream_t stream, reid_dtype dtype, const void *a,
                                     const void *b, void *y, size_t count, bool relu)
{
    return REID_BY_DTYPE(dtype, add, stream, a, b, y, count, relu);
}

template <class T>
static cudaError_t relu_grad(cudaStream_t stream, const void *d0, const void *d1, const void *y,
                             void *dx, size_t count)
{
    relu_grad_map<T> map = {static_cast<const T *>(d0), static_cast<const T *>(d1),
                            static_cast<const T *>(y), static_cast<T *>(dx)};
    return run_map<reid_wide<T>>(stream, count, map);
}

extern "C" cudaError_t reid_cuda_relu_grad(cudaStream_t stream, reid_dtype dtype, const void *d0,
                                           const void *d1, const void *y, void *dx, size_t count)
{
    return REID_BY_DTYPE(dtype, relu_grad, stream, d0, d1, y, dx, count);
}

template <class T>
static cudaError_t cast(cudaStream_t stream, const float *x, void *y, size_t count)
{
    cast_map<float, T> map = {x, static_cast<T *>(y)};
    return run_map<reid_wide<float>>(stream, count, map);
}

extern "C" cudaError_t reid_cuda_cast(cudaStream_t stream, reid_dtype dtype, const float *x,
                                      void *y, size_t count)
{
    return REID_BY_DTYPE(dtype, cast, stream, x, y, count);
}

template <class T>
static cudaError_t uncast(cudaStream_t stream, const void *x, float *y, size_t count)
{
    cast_map<T, float> map = {static_cast<const T *>(x), y};
    return run_map<reid_wide<float>>(stream, count, map);
}

extern "C" cudaError_t reid_cuda_uncast(cudaStream_t stream, reid_dtype dtype, const void *x,
                                        float *y, size_t count)
{
    return REID_BY_DTYPE(dtype, uncast, stream, x, y, count);
}

extern "C" cudaError_t reid_cuda_cast_down(cudaStream_t stream, const float *x, void *y, bool fp16,
                                           size_t count)
{
    return fp16 ? cast<__half>(stream, x, y, count) : cast<__nv_bfloat16>(stream, x, y, count);
}

extern "C" cudaError_t reid_cuda_cast_up(cudaStream_t stream, const void *x, float *y, bool fp16,
                                         size_t count)
{
    return fp16 ? uncast<__half>(stream, x, y, count) : uncast<__nv_bfloat16>(stream, x, y, count);
}
