// Right and faulty kernels for the cases.
#include "emulation/cases/kernels.h"

#include "backend/cuda/launch.cuh"

__global__ void axpy(size_t n, float a, const float *x, float *y)
{
    size_t i = REID_FLAT_INDEX;
    if (i < n)
        y[i] += a * x[i];
}

template <int BLOCK> __global__ void block_sums(size_t n, const float *x, float *out)
{
    __shared__ float space[BLOCK / 32];
    float v = 0.0f;
    for (size_t i = blockIdx.x * (size_t)BLOCK + threadIdx.x; i < n; i += (size_t)gridDim.x * BLOCK)
        v += x[i];
    v = reid_block_sum<BLOCK>(v, space);
    if (threadIdx.x == 0)
        out[blockIdx.x] = v;
}

__global__ void tree_sum(size_t n, const float *x, float *out)
{
    REID_DYN_SHARED(float, space);
    float v = 0.0f;
    for (size_t i = threadIdx.x; i < n; i += blockDim.x)
        v += x[i];
    space[threadIdx.x] = v;
    __syncthreads();
    for (unsigned d = blockDim.x / 2; d; d /= 2) {
        if (threadIdx.x < d)
            space[threadIdx.x] += space[threadIdx.x + d];
        __syncthreads();
    }
    if (threadIdx.x == 0)
        *out = space[0];
}

__global__ void scale_list(case_list list, float factor)
{
    size_t k = blockIdx.y;
    for (size_t i = REID_FLAT_INDEX; i < list.count[k]; i += REID_FLAT_STEP)
        list.data[k][i] *= factor;
}

__global__ void histogram(size_t n, const int *x, int *counts)
{
    size_t i = REID_FLAT_INDEX;
    if (i < n)
        atomicAdd(&counts[x[i]], 1);
}

__global__ void to_bf16(size_t n, const float *x, __nv_bfloat16 *y)
{
    size_t i = REID_FLAT_INDEX;
    if (i < n)
        y[i] = __float2bfloat16_rn(x[i]);
}

__global__ void vectors(size_t n, const float *x, float *y)
{
    size_t i = REID_FLAT_INDEX * 4;
    float v[4];
    if (i >= n)
        return;
    reid_load<4>(x + i, v);
    v[0] += 1.0f;
    reid_store<4>(y + i, v);
}

__global__ void one_past(float *x)
{
    if (threadIdx.x <= 64)
        x[threadIdx.x] = 1.0f;
}

__global__ void before(float *x)
{
    x[(int)threadIdx.x - 1] = 1.0f;
}

__global__ void shared_race(float *x)
{
    __shared__ float s[64];
    s[threadIdx.x] = (float)threadIdx.x;
    x[threadIdx.x] = s[63 - threadIdx.x];
}

__global__ void shared_unwritten(float *x)
{
    __shared__ float s[128];
    s[threadIdx.x] = (float)threadIdx.x;
    __syncthreads();
    x[threadIdx.x] = s[threadIdx.x + 1];
}

__global__ void shared_past(float *x)
{
    REID_DYN_SHARED(float, s);
    s[threadIdx.x + 1] = 1.0f;
    __syncthreads();
    x[threadIdx.x] = s[threadIdx.x + 1];
}

__global__ void divergent_barrier(float *x)
{
    if (threadIdx.x < 32) {
        x[threadIdx.x] = 1.0f;
        __syncthreads();
    } else {
        __syncthreads();
        x[threadIdx.x] = 1.0f;
    }
}

__global__ void exited_barrier(float *x)
{
    if (threadIdx.x >= 40)
        return;
    __syncthreads();
    x[threadIdx.x] = 1.0f;
}

__global__ void grid_race(float *x)
{
    x[threadIdx.x] = (float)blockIdx.x;
}

__global__ void shuffle_mask(float *x)
{
    x[threadIdx.x] = __shfl_sync(0x0000ffffu, (float)threadIdx.x, 3);
}

__global__ void shuffle_exited(float *x)
{
    if (threadIdx.x == 5)
        return;
    x[threadIdx.x] = __shfl_down_sync(REID_FULL_WARP, (float)threadIdx.x, 1);
}

// Lanes of a warp do not run in step.
__global__ void warp_race(float *x)
{
    __shared__ float s[32];
    s[threadIdx.x] = 1.0f;
    __syncwarp();
    if (threadIdx.x < 16)
        s[threadIdx.x] += s[threadIdx.x + 8];
    x[threadIdx.x] = 0.0f;
}

__global__ void shift(float *x)
{
    int by = (int)threadIdx.x + 1;
    x[threadIdx.x] = (float)(1 << by);
}

__global__ void add_one(float *x)
{
    x[threadIdx.x] += 1.0f;
}

static unsigned blocks(size_t n)
{
    return (unsigned)((n + 255) / 256);
}

extern "C" {

cudaError_t case_axpy(cudaStream_t stream, size_t n, float a, const float *x, float *y)
{
    return REID_LAUNCH(axpy, blocks(n), 256, 0, stream, n, a, x, y);
}

cudaError_t case_sum(cudaStream_t stream, size_t n, const float *x, float *partial, float *sum)
{
    cudaError_t error = REID_LAUNCH((block_sums<256>), 8, 256, 0, stream, n, x, partial);
    if (error != cudaSuccess)
        return error;
    return REID_LAUNCH((block_sums<32>), 1, 32, 0, stream, (size_t)8, partial, sum);
}

cudaError_t case_sum_tree(cudaStream_t stream, size_t n, const float *x, float *sum)
{
    return REID_LAUNCH(tree_sum, 1, 128, 128 * sizeof(float), stream, n, x, sum);
}

cudaError_t case_scale_list(cudaStream_t stream, const case_list *list, float factor)
{
    return REID_LAUNCH(scale_list, dim3(2, 4), 64, 0, stream, *list, factor);
}

cudaError_t case_histogram(cudaStream_t stream, size_t n, const int *x, int *counts)
{
    return REID_LAUNCH(histogram, blocks(n), 256, 0, stream, n, x, counts);
}

cudaError_t case_to_bf16(cudaStream_t stream, size_t n, const float *x, void *y)
{
    return REID_LAUNCH(to_bf16, blocks(n), 256, 0, stream, n, x, (__nv_bfloat16 *)y);
}

cudaError_t case_vectors(cudaStream_t stream, size_t n, const float *x, float *y, size_t skew)
{
    return REID_LAUNCH(vectors, blocks(n), 256, 0, stream, n, x + skew, y);
}

cudaError_t case_faulty(cudaStream_t stream, case_fault fault, float *x)
{
    switch (fault) {
    case CASE_ONE_PAST:
        return REID_LAUNCH(one_past, 1, 96, 0, stream, x);
    case CASE_BEFORE:
        return REID_LAUNCH(before, 1, 64, 0, stream, x);
    case CASE_SHARED_RACE:
        return REID_LAUNCH(shared_race, 1, 64, 0, stream, x);
    case CASE_SHARED_UNWRITTEN:
        return REID_LAUNCH(shared_unwritten, 1, 64, 0, stream, x);
    case CASE_SHARED_PAST:
        return REID_LAUNCH(shared_past, 1, 64, 64 * sizeof(float), stream, x);
    case CASE_DIVERGENT_BARRIER:
        return REID_LAUNCH(divergent_barrier, 1, 64, 0, stream, x);
    case CASE_EXITED_BARRIER:
        return REID_LAUNCH(exited_barrier, 1, 64, 0, stream, x);
    case CASE_GRID_RACE:
        return REID_LAUNCH(grid_race, 4, 32, 0, stream, x);
    case CASE_SHUFFLE_MASK:
        return REID_LAUNCH(shuffle_mask, 1, 32, 0, stream, x);
    case CASE_SHUFFLE_EXITED:
        return REID_LAUNCH(shuffle_exited, 1, 32, 0, stream, x);
    case CASE_WARP_RACE:
        return REID_LAUNCH(warp_race, 1, 32, 0, stream, x);
    case CASE_SHIFT:
        return REID_LAUNCH(shift, 1, 64, 0, stream, x);
    default:
        return REID_LAUNCH(add_one, 1, 64, 0, stream, x);
    }
}

cudaError_t case_too_large(cudaStream_t stream, float *x)
{
    return REID_LAUNCH(add_one, 1, 2048, 0, stream, x);
}
}
