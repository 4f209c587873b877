/* Inside of the `cuda` backend: NVIDIA GPUs. Convolutions and linear layers by cuDNN's graph API,
 * everything else by our own kernels (kernels.h).
 *
 * One compute stream per backend, non-blocking; never the default stream. Every call is queued on
 * it; copies out and wait synchronise. The host never reads device memory. Layouts: 4-D
 * activations NHWC (f32, bf16 or f16), weights of convolutions KRSC f32, all else dense.
 * Parameters, gradients and the optimizers' state are f32; in 16 bits an operation casts its
 * weights. Everything is deterministic: no float atomics, no engine of cuDNN that says it is not.
 *
 * A planned device ("cuda:sm_90") has no stream and no handle: operations are set up by the same
 * code against a description of the GPU, nothing can be allocated or run. Set-up functions
 * therefore make no call of the CUDA runtime; bind, forward and backward may.
 */
#ifndef REID_BACKEND_CUDA_CUDA_H
#define REID_BACKEND_CUDA_CUDA_H

#include <cuda_runtime_api.h>
#include <cudnn.h>

#include "backend/op.h"

/* What the code paths and the roofline need to know of a GPU. */
typedef struct cuda_gpu {
    int sm; /* 80, 90, 100, 120 … */
    int multiprocessors;
    size_t shared_bytes; /* of one block, opted in */
    size_t memory_bytes;
    char name[256];
} cuda_gpu;

typedef enum cuda_kind { CUDA_DENSE, CUDA_NHWC, CUDA_KRSC } cuda_kind;

typedef struct cuda_layout {
    reid_layout base;
    cuda_kind kind;
    int64_t stride; /* NHWC, and rows: numbers from one row to the next */
} cuda_layout;

struct cuda_dnn_plan;

typedef struct cuda_staging {
    void *host;   /* pinned, staging_bytes */
    size_t bytes; /* of an upload's, which grows */
    cudaEvent_t done;
    bool busy;
} cuda_staging;

#define CUDA_STAGING_BYTES ((size_t)4 << 20) /* at the start */
/* Whole copies in: a step makes three (images, choices, labels), and none of them waits for one of
 * the step before, which the device may still be at. */
#define CUDA_UPLOADS 6
#define CUDA_UPLOAD_LIMIT ((size_t)32 << 20) /* a larger copy goes in parts */
#define CUDA_REDUCE_COUNT 2048
#define CUDA_REDUCE_HOST_BYTES 4096

typedef struct cuda_backend {
    reid_backend base;
    int device; /* -1: planned */
    cuda_gpu gpu;
    bool tf32;           /* f32 products may be rounded to tf32 (device "…+tf32") */
    bool eager;          /* no CUDA graphs (device "…+eager") */
    cudaStream_t stream; /* the compute stream */
    cudnnHandle_t dnn;
    cudnnBackendDescriptor_t properties; /* of a planned device */
    struct cuda_dnn_plan *plans;         /* list; cache of cuDNN's plans */
    cuda_staging in[2], out[2], upload[CUDA_UPLOADS];
    unsigned upload_turn;
    cuda_staging fetched; /* REID_FETCH_LIMIT floats, page-aligned */
    size_t fetch_count;
    size_t staging_bytes;
    float *convert; /* device, two parts of staging_bytes: plain on the way from or to a layout */
    double *reduce; /* device, CUDA_REDUCE_COUNT: partial sums; NULL when planned */
    double *reduce_host; /* pinned page that results come back to */
    reid_error failed;   /* first failure of a call that cannot report it */
    char version[384];
} cuda_backend;

static inline bool cuda_is_planned(const cuda_backend *backend)
{
    return backend->device < 0;
}

static inline cuda_backend *cuda_of(const reid_op *op)
{
    return (cuda_backend *)op->backend;
}

static inline cuda_kind cuda_kind_of(const reid_layout *layout)
{
    return ((const cuda_layout *)layout)->kind;
}

static inline int64_t cuda_stride_of(const reid_layout *layout)
{
    return ((const cuda_layout *)layout)->stride;
}

/* REID_OK, or a sentence: "what: what CUDA says". Lost devices are UNAVAILABLE, memory is
 * EXHAUSTED, the rest INTERNAL. `what` is a noun phrase: "forward of max_pool". */
reid_status cuda_check(reid_error *err, cudaError_t result, const char *what);
reid_status cuda_dnn_check(reid_error *err, cudnnStatus_t result, const char *what);
/* For calls without a status: keeps the first failure, which the next operation reports. */
void cuda_note(cuda_backend *backend, cudaError_t result, const char *what);
/* The failure noted, if any. */
reid_status cuda_noted(cuda_backend *backend, reid_error *err);

#define CUDA_TRY(call)                                                                             \
    do {                                                                                           \
        cudaError_t cuda_try_result = (call);                                                      \
        if (cuda_try_result != cudaSuccess)                                                        \
            return cuda_check(err, cuda_try_result, #call);                                        \
    } while (0)
#define DNN_TRY(call)                                                                              \
    do {                                                                                           \
        cudnnStatus_t dnn_try_result = (call);                                                     \
        if (dnn_try_result != CUDNN_STATUS_SUCCESS)                                                \
            return cuda_dnn_check(err, dnn_try_result, #call);                                     \
    } while (0)

/* cuda_backend.c: `open` of the module. */
reid_status cuda_backend_open(const char *device, int threads, reid_backend **ret_backend,
                              reid_error *err);

/* cuda_device.c: which GPU, real or planned, `device` names. */
reid_status cuda_device_choose(const char *device, int *ret_device, cuda_gpu *ret_gpu,
                               reid_error *err);
/* Description of a planned GPU for cuDNN; caller frees. */
char *cuda_device_json(const cuda_gpu *gpu);

/* cuda_memory.c: slots of the impl table. */
void *cuda_alloc(reid_backend *backend, size_t bytes);
void cuda_release(reid_backend *backend, void *memory, size_t bytes);
void cuda_copy_in(reid_backend *backend, void *device, const void *host, size_t bytes);
void cuda_copy_out(reid_backend *backend, void *host, const void *device, size_t bytes);
void cuda_fetch_start(reid_backend *backend, const float *const *device, size_t count);
void cuda_fetch_wait(reid_backend *backend, float *ret_values);
void cuda_zero(reid_backend *backend, void *device, size_t bytes);
void cuda_from_plain(reid_backend *backend, const reid_layout *layout, const float *plain,
                     void *device);
void cuda_to_plain(reid_backend *backend, const reid_layout *layout, const void *device,
                   float *ret_plain);
void cuda_wait(reid_backend *backend);
reid_status cuda_memory_init(cuda_backend *backend, reid_error *err);
void cuda_memory_fini(cuda_backend *backend);

/* cuda_record.c */
bool cuda_record_begin(reid_backend *backend);
void *cuda_record_end(reid_backend *backend);
reid_status cuda_record_run(reid_backend *backend, void *recording, reid_error *err);
void cuda_record_free(reid_backend *backend, void *recording);

/* cuda_layout.c */
const reid_layout *cuda_activation_layout(reid_backend *backend, reid_role role,
                                          const reid_shape *shape, reid_dtype dtype);
const reid_layout *cuda_layout_new(cuda_backend *backend, cuda_kind kind, const reid_shape *shape,
                                   reid_dtype dtype);

/* Operations of cuDNN allocate the op because theirs is larger. */
reid_status cuda_conv_new(cuda_backend *backend, const reid_op_desc *desc, reid_op **ret_op,
                          reid_error *err);
/* `folded` */
reid_status cuda_fold_new(cuda_backend *backend, const reid_op_desc *desc, reid_op **ret_op,
                          reid_error *err);
reid_status cuda_linear_new(cuda_backend *backend, const reid_op_desc *desc, reid_op **ret_op,
                            reid_error *err);
/* Set-up of operations of our own: fills op->impl and the answers. impl->free is
 * cuda_op_free where nothing else is owned. */
void cuda_op_free(reid_op *op);
void cuda_norm_setup(reid_op *op); /* 4-D and rows */
void cuda_relu_setup(reid_op *op);
void cuda_add_setup(reid_op *op);
void cuda_max_pool_setup(reid_op *op);
void cuda_avg_pool_setup(reid_op *op);
void cuda_cross_entropy_setup(reid_op *op);
void cuda_triplet_setup(reid_op *op);
void cuda_accuracy_setup(reid_op *op);

/* cuda_update.c: slots of the impl table. */
void cuda_accumulate(reid_backend *backend, const reid_layout *layout, void *sum,
                     const void *addend);
void cuda_adam(reid_backend *backend, const reid_adam *args, const reid_range *ranges,
               size_t range_count, float *value, const float *grad, float *m, float *v,
               float *max_v);
void cuda_sgd(reid_backend *backend, const reid_sgd *args, const reid_range *ranges,
              size_t range_count, float *value, const float *grad, float *momentum_buffer);
double cuda_sum_squares(reid_backend *backend, const reid_range *ranges, size_t range_count,
                        const float *data);
double cuda_power_sum(reid_backend *backend, const reid_range *ranges, size_t range_count,
                      const float *data, double order);
void cuda_clamp(reid_backend *backend, const reid_range *ranges, size_t range_count, float *data,
                float limit);
void cuda_scale(reid_backend *backend, const reid_range *ranges, size_t range_count, float *data,
                float factor);

/* cuda_input.c */
void cuda_images(reid_backend *backend, const reid_image_rule *rule, const reid_layout *layout,
                 const uint8_t *planes, const reid_image_choice *choices, void *images);

/* comm/nccl: module symbols by name, NULL when unknown. */
void *reid_nccl_symbol(const char *name);

#endif
