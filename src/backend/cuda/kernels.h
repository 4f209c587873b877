/* Launchers of our own kernels: what C calls, what the .cu files define.
 *
 * All queue work on `stream` and return the launch's result; nothing is read or written by the
 * host. Every pointer is device memory. Activations are `rows` (images × height × width) of
 * `stride` numbers of `dtype` (f32, bf16 or f16), channels first, padding channels behind them:
 * zero on the way in, zero on the way out. Rows [N,D], parameters, states, losses are dense f32;
 * labels are i32. Buffers start at multiples of 16 bytes unless said otherwise. Results do not
 * depend on the GPU's size or on timing: every sum has one order, given by the shapes.
 */
#ifndef REID_BACKEND_CUDA_KERNELS_H
#define REID_BACKEND_CUDA_KERNELS_H

#include <cuda_runtime_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend/element.h"
#include "backend/image.h"
#include "tensor/dtype.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- eltwise.cu: flat ranges of `count` numbers ---- */

cudaError_t reid_cuda_relu(cudaStream_t stream, reid_dtype dtype, const void *x, void *y,
                           size_t count);
/* y = [relu](a + b); y may be a or b */
cudaError_t reid_cuda_add(cudaStream_t stream, reid_dtype dtype, const void *a, const void *b,
                          void *y, size_t count, bool relu);
/* dx = y > 0 ? d0 + d1 : 0; d1 may be NULL; dx may be d0 or d1 */
cudaError_t reid_cuda_relu_grad(cudaStream_t stream, reid_dtype dtype, const void *d0,
                                const void *d1, const void *y, void *dx, size_t count);
cudaError_t reid_cuda_cast(cudaStream_t stream, reid_dtype dtype, const float *x, void *y,
                           size_t count);
cudaError_t reid_cuda_uncast(cudaStream_t stream, reid_dtype dtype, const void *x, float *y,
                             size_t count);

/* For messages between GPUs: bf16, or fp16. */
cudaError_t reid_cuda_cast_down(cudaStream_t stream, const float *x, void *y, bool fp16,
                                size_t count);
cudaError_t reid_cuda_cast_up(cudaStream_t stream, const void *x, float *y, bool fp16,
                              size_t count);

/* ---- layout.cu ---- */

/* Plain [N,C,P] f32 → [N,P,stride] of dtype, padding zero. Activations: P = H·W; weights OIHW →
 * KRSC: N = O, C = I, P = H·W; [N,D]: P = 1, stride = D. */
cudaError_t reid_cuda_from_plain(cudaStream_t stream, reid_dtype dtype, const float *plain,
                                 void *out, int64_t n, int64_t c, int64_t p, int64_t stride);
cudaError_t reid_cuda_to_plain(cudaStream_t stream, reid_dtype dtype, const void *in, float *plain,
                               int64_t n, int64_t c, int64_t p, int64_t stride);

/* ---- norm.cu: batch normalisation ---- */

typedef enum reid_cuda_mask { /* of a fused ReLU, in backward */
                              REID_CUDA_MASK_NONE,
                              REID_CUDA_MASK_FROM_OUTPUT, /* y > 0 */
                              REID_CUDA_MASK_FROM_INPUT   /* recomputed from x; only without a
                                                             residual */
} reid_cuda_mask;

typedef struct reid_cuda_norm {
    reid_dtype dtype;
    int64_t rows;
    int channels, stride;
    bool relu;
    reid_cuda_mask mask;
    double eps, momentum;
    const void *x, *residual; /* residual or NULL */
    void *out;                /* forward; may be x in evaluation, and the residual */
    const float *gamma, *beta;
    float *running_mean, *running_variance, *tracked;
    float *mean, *inverse; /* [channels], kept for backward; inverse is 1/σ */
    void *scratch;         /* reid_cuda_norm_scratch_bytes */
    /* backward: parts of the output's gradient, the output for its mask; dx and dr (gradient of the
     * residual) or NULL, either may be d0 or d1 */
    const void *d0, *d1, *y;
    void *dx, *dr;
    float *gamma_grad, *beta_grad; /* or NULL */
} reid_cuda_norm;

size_t reid_cuda_norm_scratch_bytes(reid_dtype dtype, int64_t rows, int stride);
/* Batch statistics, running statistics, then the map. */
cudaError_t reid_cuda_norm_train(cudaStream_t stream, const reid_cuda_norm *norm);
/* The map with the running statistics. */
cudaError_t reid_cuda_norm_eval(cudaStream_t stream, const reid_cuda_norm *norm);
/* The map with the kept statistics again: what reid_cuda_norm_train wrote, bit for bit. */
cudaError_t reid_cuda_norm_again(cudaStream_t stream, const reid_cuda_norm *norm);
cudaError_t reid_cuda_norm_backward(cudaStream_t stream, const reid_cuda_norm *norm);

/* ---- bias.cu ---- */

/* y += bias */
cudaError_t reid_cuda_bias(cudaStream_t stream, reid_dtype dtype, void *y, const float *bias,
                           int64_t rows, int64_t channels, int64_t stride);
size_t reid_cuda_bias_grad_scratch_bytes(int64_t rows, int64_t channels);
/* Sums over the rows. */
cudaError_t reid_cuda_bias_grad(cudaStream_t stream, reid_dtype dtype, const void *dy,
                                float *bias_grad, int64_t rows, int64_t channels, int64_t stride,
                                void *scratch);

/* ---- fold.cu: batch norm with running statistics, in the convolution before it ---- */

typedef struct reid_cuda_fold {
    reid_dtype dtype; /* of the results */
    int channels;
    int64_t per_channel; /* weights */
    double eps;
    const float *weight, *gamma, *beta, *mean, *variance;
    void *folded; /* [channels, per_channel] weight · γ/σ */
    void *bias;   /* [channels] β - mean · γ/σ */
} reid_cuda_fold;

cudaError_t reid_cuda_fold_weights(cudaStream_t stream, const reid_cuda_fold *fold);
/* y = [relu](y + [residual] + bias), bias of dtype */
cudaError_t reid_cuda_fold_finish(cudaStream_t stream, reid_dtype dtype, void *y, const void *bias,
                                  const void *residual, int64_t rows, int channels, bool relu);

/* ---- pool.cu ---- */

typedef struct reid_cuda_pool {
    reid_dtype dtype;
    int n, h, w, out_h, out_w, channels, stride; /* stride: numbers in a row */
    int kernel, step, padding;                   /* kernel ≤ REID_CUDA_POOL_KERNEL */
    const void *x;
    void *out;
    uint8_t *index; /* [n, out_h, out_w, stride] place in the window, or NULL */
    const void *d0, *d1;
    void *dx;
} reid_cuda_pool;

#define REID_CUDA_POOL_KERNEL 16

/* The first largest number of a window; NaN is larger than all. */
cudaError_t reid_cuda_max_pool(cudaStream_t stream, const reid_cuda_pool *pool);
/* Every input gathers from the windows that chose it. */
cudaError_t reid_cuda_max_pool_grad(cudaStream_t stream, const reid_cuda_pool *pool);
/* [N,P,stride] → [N,channels] f32 */
cudaError_t reid_cuda_average(cudaStream_t stream, reid_dtype dtype, const void *x, float *y,
                              int64_t n, int64_t p, int64_t channels, int64_t stride);
cudaError_t reid_cuda_average_grad(cudaStream_t stream, reid_dtype dtype, const float *d0,
                                   const float *d1, void *dx, int64_t n, int64_t p,
                                   int64_t channels, int64_t stride);

/* ---- loss.cu ---- */

/* delta [rows, classes], then the number of rows that count. part: 2·rows doubles of scratch. */
cudaError_t reid_cuda_cross_entropy(cudaStream_t stream, const float *logits, const int32_t *labels,
                                    int rows, int classes, double epsilon, double alpha,
                                    float *delta, double *part, float *loss);
cudaError_t reid_cuda_cross_entropy_grad(cudaStream_t stream, const float *delta, size_t count,
                                         float loss_scale, float *dx);
/* part: `rows` doubles of scratch */
cudaError_t reid_cuda_accuracy(cudaStream_t stream, const float *logits, const int32_t *labels,
                               int rows, int classes, double *part, float *accuracy);

/* ---- triplet.cu ---- */

typedef struct reid_cuda_triplet {
    int rows, width;
    double margin;
    bool norm_feat, hard_mining;
    const float *x;
    const int32_t *labels;
    float *distance; /* [rows, rows] */
    float *weight;   /* [rows, rows]: gradient of the loss by the distance */
    float *length;   /* [rows]: of each row, norm_feat only */
    double *gap;     /* [2·rows] scratch of forward */
    float *loss;
    float loss_scale; /* backward */
    float *dx;
} reid_cuda_triplet;

cudaError_t reid_cuda_triplet_forward(cudaStream_t stream, const reid_cuda_triplet *triplet);
cudaError_t reid_cuda_triplet_backward(cudaStream_t stream, const reid_cuda_triplet *triplet);

/* ---- input.cu ---- */

/* planes [count,3,H,W], choices [count] → rows of `stride` ≥ 3 numbers */
cudaError_t reid_cuda_images(cudaStream_t stream, reid_dtype dtype, const reid_image_rule *rule,
                             const uint8_t *planes, const reid_image_choice *choices, void *out,
                             int count, int stride);

/* ---- update.cu: parts of flat f32 buffers, all parts in one launch. `ranges` is host memory. The
 * buffers need no alignment, but are faster with it. ---- */

cudaError_t reid_cuda_adam(cudaStream_t stream, const reid_adam_constants *constants,
                           const reid_range *ranges, size_t range_count, float *value,
                           const float *grad, float *m, float *v, float *max_v);
cudaError_t reid_cuda_sgd(cudaStream_t stream, const reid_sgd_constants *constants,
                          const reid_range *ranges, size_t range_count, float *value,
                          const float *grad, float *momentum_buffer);
cudaError_t reid_cuda_scale(cudaStream_t stream, const reid_range *ranges, size_t range_count,
                            float *data, float factor);
cudaError_t reid_cuda_clamp(cudaStream_t stream, const reid_range *ranges, size_t range_count,
                            float *data, float limit);
/* part: REID_CUDA_SUM_PARTS + 1 doubles; part[0] becomes Σ|x|^order, or the largest |x| for
 * infinity, NaN when one is. At most REID_CUDA_SUM_PARTS / 2 ranges. */
#define REID_CUDA_SUM_PARTS 2047
cudaError_t reid_cuda_power_sum(cudaStream_t stream, const reid_range *ranges, size_t range_count,
                                const float *data, double order, double *part);

#ifdef __cplusplus
}
#endif

#endif
