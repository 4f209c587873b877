/* A bias per channel, and its gradient: sums over rows in two levels. */
#include "backend/cuda/kernels.h"
#include "backend/cuda/launch.cuh"

#define LANES 32
#define DEPTH 8
#define CHUNK_ROWS 256
#define MAX_CHUNKS 128

template <class T>
__global__ void reid_bias_kernel(T *y, const float *bias, int64_t rows, int channels, int stride)
{
    int c = blockIdx.x * LANES + threadIdx.x;
    if (c >= channels)
        return;
    float b = bias[c];
    for (int64_t row = (int64_t)blockIdx.y * DEPTH + threadIdx.y; row < rows;
         row += (int64_t)gridDim.y * DEPTH) {
        T *at = y + row * stride + c;
        *at = reid_from_float<T>(reid_to_float(*at) + b);
    }
}

/* Block: one chunk of rows, LANES channels. part: [chunks, channels]. */
template <class T>
__global__ void reid_bias_sums_kernel(const T *dy, int64_t rows, int64_t chunk_rows, int channels,
                                      int stride, float *part)
{
    __shared__ float sums[DEPTH][LANES];
    int c = blockIdx.x * LANES + threadIdx.x;
    int64_t from = blockIdx.y * chunk_rows,
            to = from + chunk_rows < rows ? from + chunk_rows : rows;
    float sum = 0.0f;
    for (int64_t row = from + threadIdx.y; c < channels && row < to; row += DEPTH)
        sum += reid_to_float(dy[row * stride + c]);
    sums[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y != 0 || c >= channels)
        return;
    for (int i = 1; i < DEPTH; i++)
        sum += sums[i][threadIdx.x];
    part[(size_t)blockIdx.y * channels + c] = sum;
}

__global__ void reid_bias_total_kernel(const float *part, int chunks, int channels, float *grad)
{
    int c = blockIdx.x * blockDim.x + threadIdx.x;
    if (c >= channels)
        return;
    double sum = 0.0;
    for (int i = 0; i < chunks; i++)
        sum += part[(size_t)i * channels + c];
    grad[c] = (float)sum;
}

static int64_t chunk_rows_of(int64_t rows)
{
    int64_t each = (rows + MAX_CHUNKS - 1) / MAX_CHUNKS;
    return each > CHUNK_ROWS ? each : CHUNK_ROWS;
}

static unsigned chunks_of(int64_t rows)
{
    return (unsigned)((rows + chunk_rows_of(rows) - 1) / chunk_rows_of(rows));
}

static unsigned tiles_of(int64_t channels)
{
    return (unsigned)((channels + LANES - 1) / LANES);
}

template <class T>
static cudaError_t add_bias(cudaStream_t stream, void *y, const float *bias, int64_t rows,
                            int channels, int stride)
{
    int64_t blocks = (rows + DEPTH - 1) / DEPTH;
    dim3 grid(tiles_of(channels), (unsigned)(blocks > 1024 ? 1024 : blocks));
    return REID_LAUNCH(reid_bias_kernel<T>, grid, dim3(LANES, DEPTH), 0, stream,
                       static_cast<T *>(y), bias, rows, channels, stride);
}

extern "C" cudaError_t reid_cuda_bias(cudaStream_t stream, reid_dtype dtype, void *y,
                                      const float *bias, int64_t rows, int64_t channels,
                                      int64_t stride)
{
    return REID_BY_DTYPE(dtype, add_bias, stream, y, bias, rows, (int)channels, (int)stride);
}

extern "C" size_t reid_cuda_bias_grad_scratch_bytes(int64_t rows, int64_t channels)
{
    return (size_t)chunks_of(rows) * (size_t)channels * sizeof(float);
}

template <class T>
static cudaError_t sum_rows(cudaStream_t stream, const void *dy, float *part, int64_t rows,
                            int channels, int stride)
{
    return REID_LAUNCH(reid_bias_sums_kernel<T>, dim3(tiles_of(channels), chunks_of(rows)),
                       dim3(LANES, DEPTH), 0, stream, static_cast<const T *>(dy), rows,
                       chunk_rows_of(rows), channels, stride, part);
}

extern "C" cudaError_t reid_cuda_bias_grad(cudaStream_t stream, reid_dtype dtype, const void *dy,
                                           float *bias_grad, int64_t rows, int64_t channels,
                                           int64_t stride, void *scratch)
{
    float *part = static_cast<float *>(scratch);
    cudaError_t error =
        REID_BY_DTYPE(dtype, sum_rows, stream, dy, part, rows, (int)channels, (int)stride);
    if (error != cudaSuccess)
        return error;
    return REID_LAUNCH(reid_bias_total_kernel, (unsigned)((channels + 127) / 128), 128, 0, stream,
                       part, (int)chunks_of(rows), (int)channels, bias_grad);
}
