/* A batch norm of evaluation folded into the weights of the convolution before it. */
#include "backend/cuda/kernels.h"
#include "backend/cuda/launch.cuh"

#define BLOCK 256
#define LANES 32
#define DEPTH 8
#define MAX_BLOCKS 1024

/* Block: one channel. */
template <class T>
__global__ void reid_fold_kernel(const float *weight, const float *gamma, const float *beta,
                                 const float *mean, const float *variance, double eps,
                                 int64_t per_channel, T *folded, T *bias)
{
    int k = blockIdx.x;
    float scale = gamma[k] * (float)(1.0 / sqrt((double)variance[k] + eps));
    for (int64_t i = threadIdx.x; i < per_channel; i += BLOCK)
        folded[k * per_channel + i] = reid_from_float<T>(weight[k * per_channel + i] * scale);
    if (threadIdx.x == 0)
        bias[k] = reid_from_float<T>(beta[k] - mean[k] * scale);
}

template <class T>
__global__ void reid_fold_finish_kernel(T *y, const T *bias, const T *residual, int64_t rows,
                                        int channels, int relu)
{
    int c = blockIdx.x * LANES + threadIdx.x;
    if (c >= channels)
        return;
    float b = reid_to_float(bias[c]);
    for (int64_t row = (int64_t)blockIdx.y * DEPTH + threadIdx.y; row < rows;
         row += (int64_t)gridDim.y * DEPTH) {
        size_t at = (size_t)row * channels + c;
        float v = reid_to_float(y[at]) + (residual ? reid_to_float(residual[at]) : 0.0f) + b;
        y[at] = reid_from_float<T>(relu ? reid_relu_element(v) : v);
    }
}

template <class T> static cudaError_t fold(cudaStream_t stream, const reid_cuda_fold *f)
{
    return REID_LAUNCH(reid_fold_kernel<T>, (unsigned)f->channels, BLOCK, 0, stream, f->weight,
                       f->gamma, f->beta, f->mean, f->variance, f->eps, f->per_channel,
                       static_cast<T *>(f->folded), static_cast<T *>(f->bias));
}

extern "C" cudaError_t reid_cuda_fold_weights(cudaStream_t stream, const reid_cuda_fold *f)
{
    return REID_BY_DTYPE(f->dtype, fold, stream, f);
}

template <class T>
static cudaError_t finish(cudaStream_t stream, void *y, const void *bias, const void *residual,
                          int64_t rows, int channels, bool relu)
{
    int64_t blocks = (rows + DEPTH - 1) / DEPTH;
    dim3 grid((unsigned)((channels + LANES - 1) / LANES),
              (unsigned)(blocks > MAX_BLOCKS ? MAX_BLOCKS : blocks));
    return REID_LAUNCH(reid_fold_finish_kernel<T>, grid, dim3(LANES, DEPTH), 0, stream,
                       static_cast<T *>(y), static_cast<const T *>(bias),
                       static_cast<const T *>(residual), rows, channels, (int)relu);
}

extern "C" cudaError_t reid_cuda_fold_finish(cudaStream_t stream, reid_dtype dtype, void *y,
                                             const void *bias, const void *residual, int64_t rows,
                                             int channels, bool relu)
{
    return REID_BY_DTYPE(dtype, finish, stream, y, bias, residual, rows, channels, relu);
}
