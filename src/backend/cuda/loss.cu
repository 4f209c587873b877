/* Cross entropy and accuracy: one block per row, then one block over the rows, always in the same
 * order. Formulas: backend/ref/ref_loss.c. */
#include "backend/cuda/kernels.h"
#include "backend/cuda/launch.cuh"

#define BLOCK 256

/* Largest of a block's values; the smallest place among equals. Every thread gets both. */
struct place_value {
    float value;
    int at;
};

__device__ __forceinline__ place_value better(place_value a, place_value b)
{
    return b.value > a.value || (b.value == a.value && b.at < a.at) ? b : a;
}

__device__ __forceinline__ place_value block_max(place_value v, float *values, int *places)
{
    for (int d = 16; d; d >>= 1) {
        float value = __shfl_down_sync(REID_FULL_WARP, v.value, d);
        int at = __shfl_down_sync(REID_FULL_WARP, v.at, d);
        v = better(v, {value, at});
    }
    if (threadIdx.x % 32 == 0) {
        values[threadIdx.x / 32] = v.value;
        places[threadIdx.x / 32] = v.at;
    }
    __syncthreads();
    v = {values[0], places[0]};
    for (int i = 1; i < BLOCK / 32; i++)
        v = better(v, {values[i], places[i]});
    __syncthreads();
    return v;
}

/* ---- cross entropy ---- */

/* part: [2, rows] loss of the row, and 1 when it counts. A label outside the classes makes the loss
 * NaN. */
__global__ void reid_cross_entropy_kernel(const float *logits, const int32_t *labels, int classes,
                                          double epsilon, double alpha, float *delta, double *part)
{
    __shared__ float values[BLOCK / 32];
    __shared__ int places[BLOCK / 32];
    __shared__ double sums[BLOCK / 32];
    int row = blockIdx.x, label = labels[row];
    const float *x = logits + (size_t)row * classes;
    float *d = delta + (size_t)row * classes;
    bool known = label >= 0 && label < classes;
    place_value top = {-INFINITY, classes};
    for (int c = threadIdx.x; c < classes; c += BLOCK)
        top = better(top, {x[c], c});
    top = block_max(top, values, places);
    double z = 0.0, sum = 0.0;
    for (int c = threadIdx.x; c < classes; c += BLOCK) {
        z += expf(x[c] - top.value);
        sum += (double)x[c] - top.value;
    }
    z = reid_block_sum<BLOCK>(z, sums);
    sum = reid_block_sum<BLOCK>(sum, sums);
    double log_z = log(z), log_label = known ? (double)x[label] - top.value - log_z : NAN;
    double smooth = epsilon >= 0.0 ? epsilon : alpha * exp(log_label);
    double off = smooth / (double)(classes - 1), on = 1.0 - smooth;
    for (int c = threadIdx.x; c < classes; c += BLOCK)
        d[c] = (float)(expf(x[c] - top.value) / z - (c == label ? on : off));
    if (threadIdx.x != 0)
        return;
    double log_others = sum - (double)classes * log_z - log_label;
    double loss = -(off * log_others + on * log_label);
    part[row] = loss;
    part[gridDim.x + row] = (float)loss != 0.0f ? 1.0 : 0.0;
}

/* Sum of `count` numbers by one block; every thread gets it. */
__device__ __forceinline__ double total(const double *values, int count, double *space)
{
    double sum = 0.0;
    for (int i = threadIdx.x; i < count; i += BLOCK)
        sum += values[i];
    return reid_block_sum<BLOCK>(sum, space);
}

__global__ void reid_cross_entropy_total_kernel(const double *part, int rows, float *ret_counted,
                                                float *loss)
{
    __shared__ double space[BLOCK / 32];
    double sum = total(part, rows, space), counted = total(part + rows, rows, space);
    if (threadIdx.x != 0)
        return;
    counted = counted < 1.0 ? 1.0 : counted;
    *ret_counted = (float)counted;
    *loss = (float)(sum / counted);
}

/* delta[count] is the number of rows that count. */
__global__ void reid_cross_entropy_grad_kernel(const float *delta, size_t count, float loss_scale,
                                               float *dx)
{
    float factor = loss_scale / delta[count];
    for (size_t i = REID_FLAT_INDEX; i < count; i += REID_FLAT_STEP)
        dx[i] = delta[i] * factor;
}

extern "C" cudaError_t reid_cuda_cross_entropy(cudaStream_t stream, const float *logits,
                                               const int32_t *labels, int rows, int classes,
                                               double epsilon, double alpha, float *delta,
                                               double *part, float *loss)
{
    cudaError_t error = REID_LAUNCH(reid_cross_entropy_kernel, (unsigned)rows, BLOCK, 0, stream,
                                    logits, labels, classes, epsilon, alpha, delta, part);
    if (error != cudaSuccess)
        return error;
    return REID_LAUNCH(reid_cross_entropy_total_kernel, 1, BLOCK, 0, stream, part, rows,
                       delta + (size_t)rows * classes, loss);
}

extern "C" cudaError_t reid_cuda_cross_entropy_grad(cudaStream_t stream, const float *delta,
                                                    size_t count, float loss_scale, float *dx)
{
    return REID_LAUNCH(reid_cross_entropy_grad_kernel, reid_flat_grid(count), REID_FLAT_BLOCK, 0,
                       stream, delta, count, loss_scale, dx);
}

/* ---- accuracy ---- */

/* The first largest class. NaN loses everywhere but at place 0, where nothing is larger. */
__global__ void reid_accuracy_kernel(const float *logits, const int32_t *labels, int classes,
                                     double *part)
{
    __shared__ float values[BLOCK / 32];
    __shared__ int places[BLOCK / 32];
    int row = blockIdx.x;
    const float *x = logits + (size_t)row * classes;
    place_value best = {-INFINITY, classes};
    for (int c = threadIdx.x; c < classes; c += BLOCK) {
        float v = x[c];
        if (v == v || c == 0)
            best = better(best, {v == v ? v : INFINITY, c});
    }
    best = block_max(best, values, places);
    if (threadIdx.x == 0)
        part[row] = best.at == labels[row] ? 1.0 : 0.0;
}

__global__ void reid_mean_kernel(const double *part, int count, float *mean)
{
    __shared__ double space[BLOCK / 32];
    double sum = total(part, count, space);
    if (threadIdx.x == 0)
        *mean = (float)(sum / (double)count);
}

extern "C" cudaError_t reid_cuda_accuracy(cudaStream_t stream, const float *logits,
                                          const int32_t *labels, int rows, int classes,
                                          double *part, float *accuracy)
{
    cudaError_t error = REID_LAUNCH(reid_accuracy_kernel, (unsigned)rows, BLOCK, 0, stream, logits,
                                    labels, classes, part);
    if (error != cudaSuccess)
        return error;
    return REID_LAUNCH(reid_mean_kernel, 1, BLOCK, 0, stream, part, rows, accuracy);
}
