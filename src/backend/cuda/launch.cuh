/* What every .cu file needs: the one way to launch a kernel, the one way to get dynamic shared
 * memory, element types, wide loads and stores, reductions in a fixed order.
 *
 * The same sources are compiled by nvcc into the module and by g++ as host twins for the tests
 * (REID_EMULATED_TWIN; the twin's own header is included first and defines the two macros). Hence:
 * kernels have external linkage, no __device__ globals, no inline PTX, no cooperative groups, no
 * atomics on floats. Arithmetic is float (double where few numbers are summed); bf16 and fp16 are
 * for load and store only. Structs that travel by value have no padding: the tests look through
 * their words for addresses. Results never depend on the order in which threads run.
 */
#ifndef REID_BACKEND_CUDA_LAUNCH_CUH
#define REID_BACKEND_CUDA_LAUNCH_CUH

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime_api.h>
#include <stdint.h>

#include "tensor/dtype.h"

#ifndef REID_EMULATED_TWIN
/* The value is a cudaError_t. A template with a comma goes in parentheses:
 * REID_LAUNCH((kernel<float, 4>), …). */
#define REID_LAUNCH(kernel, grid, block, shared, stream, ...)                                      \
    (kernel<<<(grid), (block), (shared), (stream)>>>(__VA_ARGS__), cudaGetLastError())
#define REID_DYN_SHARED(type, name)                                                                \
    extern __shared__ __align__(16) unsigned char reid_dyn_[];                                     \
    type *name = reinterpret_cast<type *>(reid_dyn_)
#endif

/* ---- element types ---- */

__device__ __forceinline__ float reid_to_float(float x)
{
    return x;
}

__device__ __forceinline__ float reid_to_float(__nv_bfloat16 x)
{
    return __bfloat162float(x);
}

__device__ __forceinline__ float reid_to_float(__half x)
{
    return __half2float(x);
}

template <class T> __device__ __forceinline__ T reid_from_float(float x);

template <> __device__ __forceinline__ float reid_from_float<float>(float x)
{
    return x;
}

template <> __device__ __forceinline__ __nv_bfloat16 reid_from_float<__nv_bfloat16>(float x)
{
    return __float2bfloat16_rn(x);
}

template <> __device__ __forceinline__ __half reid_from_float<__half>(float x)
{
    return __float2half_rn(x);
}

/* Numbers of T in 16 bytes: the widest load. */
template <class T> constexpr int reid_wide = 16 / (int)sizeof(T);

template <class T, int V> struct alignas(sizeof(T) * V) reid_pack {
    T item[V];
};

/* V numbers that follow each other, at most 16 bytes; p is a multiple of their size. */
template <int V, class T>
__device__ __forceinline__ void reid_load(const T *p, float (&ret_values)[V])
{
    reid_pack<T, V> pack = *reinterpret_cast<const reid_pack<T, V> *>(p);
#pragma unroll
    for (int i = 0; i < V; i++)
        ret_values[i] = reid_to_float(pack.item[i]);
}

template <int V, class T> __device__ __forceinline__ void reid_store(T *p, const float (&values)[V])
{
    reid_pack<T, V> pack;
#pragma unroll
    for (int i = 0; i < V; i++)
        pack.item[i] = reid_from_float<T>(values[i]);
    *reinterpret_cast<reid_pack<T, V> *>(p) = pack;
}

/* ---- reductions ---- */

#define REID_FULL_WARP 0xffffffffu

/* Lane 0 has the sum of the warp. */
template <class S> __device__ __forceinline__ S reid_warp_sum(S value)
{
    for (int d = 16; d; d >>= 1)
        value += __shfl_down_sync(REID_FULL_WARP, value, d);
    return value;
}

/* Every thread of a block of BLOCK threads (a multiple of 32) gets the sum. `space`: shared,
 * BLOCK / 32 numbers; free again on return. */
template <int BLOCK, class S> __device__ __forceinline__ S reid_block_sum(S value, S *space)
{
    value = reid_warp_sum(value);
    if (threadIdx.x % 32 == 0)
        space[threadIdx.x / 32] = value;
    __syncthreads();
    S sum = space[0];
    for (int i = 1; i < BLOCK / 32; i++)
        sum += space[i];
    __syncthreads();
    return sum;
}

/* ---- launch shapes ---- */

#define REID_FLAT_BLOCK 256
/* Enough blocks to fill today's largest GPU a few times over; kernels stride over the grid. */
#define REID_FLAT_GRID 4096

static inline unsigned reid_flat_grid(size_t threads)
{
    size_t blocks = (threads + REID_FLAT_BLOCK - 1) / REID_FLAT_BLOCK;
    return (unsigned)(blocks < 1 ? 1 : blocks > REID_FLAT_GRID ? REID_FLAT_GRID : blocks);
}

#define REID_FLAT_INDEX ((size_t)blockIdx.x * blockDim.x + threadIdx.x)
#define REID_FLAT_STEP ((size_t)gridDim.x * blockDim.x)

/* function<T>(…) for the element type; the value is a cudaError_t. */
#define REID_BY_DTYPE(dtype, function, ...)                                                        \
    ((dtype) == REID_F32    ? function<float>(__VA_ARGS__)                                         \
     : (dtype) == REID_BF16 ? function<__nv_bfloat16>(__VA_ARGS__)                                 \
     : (dtype) == REID_F16  ? function<__half>(__VA_ARGS__)                                        \
                            : cudaErrorInvalidValue)

#endif
