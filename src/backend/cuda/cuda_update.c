/* Update rules and reductions over flat ranges. */
#include <math.h>

#include "backend/cuda/cuda.h"
#include "backend/cuda/kernels.h"
#include "backend/update.h"

_Static_assert(CUDA_REDUCE_COUNT >= REID_CUDA_SUM_PARTS + 1, "room for partial sums");

void cuda_adam(reid_backend *base, const reid_adam *args, float *value, const float *grad, float *m,
               float *v, float *max_v, size_t count)
{
    cuda_backend *backend = (cuda_backend *)base;
    reid_adam_constants c = reid_adam_prepare(args);
    reid_range all = {0, count};
    cuda_note(backend, reid_cuda_adam(backend->stream, &c, &all, 1, value, grad, m, v, max_v),
              "an Adam step");
}

void cuda_sgd(reid_backend *base, const reid_sgd *args, float *value, const float *grad,
              float *momentum_buffer, size_t count)
{
    cuda_backend *backend = (cuda_backend *)base;
    reid_sgd_constants c = reid_sgd_prepare(args);
    reid_range all = {0, count};
    cuda_note(backend, reid_cuda_sgd(backend->stream, &c, &all, 1, value, grad, momentum_buffer),
              "an SGD step");
}

/* NaN when the GPU fails, which no caller takes for a norm. */
double cuda_sum_squares(reid_backend *base, const float *data, size_t count)
{
    cuda_backend *backend = (cuda_backend *)base;
    reid_range all = {0, count};
    cudaError_t result = reid_cuda_sum_squares(backend->stream, &all, 1, data, backend->reduce);
    if (result == cudaSuccess)
        result = cudaMemcpyAsync(backend->reduce_host, backend->reduce, sizeof(double),
                                 cudaMemcpyDeviceToHost, backend->stream);
    if (result == cudaSuccess)
        result = cudaStreamSynchronize(backend->stream);
    cuda_note(backend, result, "a sum of squares");
    return result == cudaSuccess ? *backend->reduce_host : NAN;
}

void cuda_scale(reid_backend *base, float *data, float factor, size_t count)
{
    cuda_backend *backend = (cuda_backend *)base;
    reid_range all = {0, count};
    cuda_note(backend, reid_cuda_scale(backend->stream, &all, 1, data, factor),
              "scaling of gradients");
}
