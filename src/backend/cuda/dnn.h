/* Plans of cuDNN's graph API for one pass of one convolution, and calls of them.
 *
 * A plan depends on the shapes, the types and the device only; cuda_dnn_plan_get keeps those it
 * made until the backend is freed, so that equal layers share one. A call is a plan with its
 * addresses: bound once, run every step, without allocation. Linear layers are 1×1 convolutions of
 * one pixel.
 */
#ifndef REID_BACKEND_CUDA_DNN_H
#define REID_BACKEND_CUDA_DNN_H

#include "backend/cuda/cuda.h"

/* x [n,c,h,w] and y [n,k,p,q] channels last, weights [k,c,kernel,kernel] as KRSC. Whole struct is
 * compared: zero it first. */
typedef struct cuda_dnn_conv {
    reid_op_pass pass;
    reid_dtype dtype; /* of x, weights and y: f32, bf16 or f16; sums are f32 */
    bool direct;      /* no Winograd, no FFT */
    /* forward: y = [relu](conv + [residual] + bias); residual as y, bias [k] of dtype */
    bool fused, residual, relu;
    int kernel, stride, padding;
    int64_t n, c, h, w, k, p, q;
    double alpha; /* the result is multiplied by it */
} cuda_dnn_conv;

typedef struct cuda_dnn_plan {
    cuda_dnn_conv conv;
    cudnnBackendDescriptor_t plan;
    size_t workspace_bytes;
    char engine[28]; /* "eng45 tc" */
    struct cuda_dnn_plan *next;
} cuda_dnn_plan;

/* Shapes of a convolution. */
void cuda_dnn_conv_describe(const reid_op_desc *desc, cuda_dnn_conv *ret_conv);

/* Of all engines that cuDNN's heuristics offer, in their order: the first that is deterministic,
 * keeps the precision asked for and supports the shapes. `layer` is for the sentence of a failure.
 * Fused: only what the heuristics recommend, and on tensor cores where those may be used; the
 * others are slower than two calls. */
reid_status cuda_dnn_plan_get(cuda_backend *backend, const cuda_dnn_conv *conv, const char *layer,
                              const cuda_dnn_plan **ret_plan, reid_error *err);
void cuda_dnn_plans_free(cuda_backend *backend);

typedef struct cuda_dnn_call {
    const cuda_dnn_plan *plan; /* NULL: this pass is not wanted */
    cudnnBackendDescriptor_t pack;
} cuda_dnn_call;

/* Addresses start at multiples of 16 bytes; workspace has plan->workspace_bytes. */
typedef struct cuda_dnn_places {
    const void *x, *weight, *y;
    const void *residual, *bias; /* fused */
    void *workspace;
} cuda_dnn_places;
reid_status cuda_dnn_call_bind(cuda_dnn_call *call, const cuda_dnn_places *places, reid_error *err);
reid_status cuda_dnn_call_run(cuda_backend *backend, const cuda_dnn_call *call, reid_error *err);
void cuda_dnn_call_fini(cuda_dnn_call *call);

/* "none" or "eng45 tc 16.0 MiB". */
const char *cuda_dnn_call_text(const cuda_dnn_call *call, char buffer[48]);

#endif
