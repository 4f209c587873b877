/* Update rules and reductions over flat ranges. */
#include <math.h>

#include "backend/cuda/cuda.h"
#include "backend/cuda/kernels.h"
#include "backend/update.h"

_Static_assert(CUDA_REDUCE_COUNT >= REID_CUDA_SUM_PARTS + 1, "room for partial sums");

void cuda_adam(reid_backend *base, const reid_adam *args, const reid_range *ranges,
               size_t range_count, float *value, const float *grad, float *m, float *v,
               float *max_v)
{
    cuda_backend *backend = (cuda_backend *)base;
    reid_adam_constants c = reid_adam_prepare(args);
    cuda_note(backend,
              reid_cuda_adam(backend->stream, &c, ranges, range_count, value, grad, m, v, max_v),
              "an Adam step");
}

void cuda_sgd(reid_backend *base, const reid_sgd *args, const reid_range *ranges,
              size_t range_count, float *value, const float *grad, float *momentum_buffer)
{
    cuda_backend *backend = (cuda_backend *)base;
    reid_sgd_constants c = reid_sgd_prepare(args);
    cuda_note(backend,
              reid_cuda_sgd(backend->stream, &c, ranges, range_count, value, grad, momentum_buffer),
              "an SGD step");
}

static cudaError_t power_sum(cuda_backend *backend, const reid_range *ranges, size_t range_count,
                             const float *data, double order)
{
    cudaError_t result =
        reid_cuda_power_sum(backend->stream, ranges, range_count, data, order, backend->reduce);
    if (result == cudaSuccess)
        result = cudaMemcpyAsync(backend->reduce_host, backend->reduce, sizeof(double),
                                 cudaMemcpyDeviceToHost, backend->stream);
    return result == cudaSuccess ? cudaStreamSynchronize(backend->stream) : result;
}

/* NaN when the GPU fails, which no caller takes for a norm. */
double cuda_power_sum(reid_backend *base, const reid_range *ranges, size_t range_count,
                      const float *data, double order)
{
    cuda_backend *backend = (cuda_backend *)base;
    const size_t most = REID_CUDA_SUM_PARTS / 2;
    double sum = 0.0;
    for (size_t i = 0; i < range_count; i += most) {
        size_t count = range_count - i < most ? range_count - i : most;
        cudaError_t result = power_sum(backend, ranges + i, count, data, order);
        cuda_note(backend, result, "a norm");
        double part = result == cudaSuccess ? *backend->reduce_host : NAN;
        if (!isinf(order))
            sum += part;
        else if (part > sum || isnan(part))
            sum = part;
    }
    return sum;
}

double cuda_sum_squares(reid_backend *base, const reid_range *ranges, size_t range_count,
                        const float *data)
{
    return cuda_power_sum(base, ranges, range_count, data, 2);
}

void cuda_clamp(reid_backend *base, const reid_range *ranges, size_t range_count, float *data,
                float limit)
{
    cuda_backend *backend = (cuda_backend *)base;
    cuda_note(backend, reid_cuda_clamp(backend->stream, ranges, range_count, data, limit),
              "clipping of gradients");
}

void cuda_scale(reid_backend *base, const reid_range *ranges, size_t range_count, float *data,
                float factor)
{
    cuda_backend *backend = (cuda_backend *)base;
    cuda_note(backend, reid_cuda_scale(backend->stream, ranges, range_count, data, factor),
              "scaling of gradients");
}

void cuda_accumulate(reid_backend *base, const reid_layout *layout, void *sum, const void *addend)
{
    cuda_backend *backend = (cuda_backend *)base;
    cuda_note(backend,
              reid_cuda_add(backend->stream, layout->dtype, sum, addend, sum,
                            layout->bytes / reid_dtype_size(layout->dtype), false),
              "sum of two gradients");
}
