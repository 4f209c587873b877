/* Parameters, their gradients and the running statistics of one model, shared by its plans.
 *
 * All parameters lie in one flat buffer of floats, in the layout the backend computes with
 * (blocked, padded); gradients and optimizer states are flat buffers of the same size and order.
 * The order is the reverse of first use, so that backward fills the gradients front to back and
 * ranges of them are the all-reduce buckets. Parameters that are not trained come last, behind
 * `trainable`. Padding is zero and stays zero under every update rule.
 *
 * Life: reid_params_new (from the training graph, which decides the layouts) → plans →
 * reid_params_free after the plans. Values start as zero (norm weights and running variances: one).
 * Threads: one at a time.
 */
#ifndef REID_NN_PARAMS_H
#define REID_NN_PARAMS_H

#include "backend/backend.h"
#include "nn/graph.h"

typedef enum reid_param_kind {
    REID_PARAM_WEIGHT,      /* convolution or linear weight */
    REID_PARAM_BIAS,        /* convolution or linear bias */
    REID_PARAM_NORM_WEIGHT, /* batch norm γ */
    REID_PARAM_NORM_BIAS,   /* batch norm β */
} reid_param_kind;

typedef struct reid_param {
    char *name;
    int rank;
    int64_t shape[REID_MAX_RANK]; /* plain (PyTorch) shape, OIHW */
    reid_param_kind kind;
    bool trainable;
    size_t offset,
        size; /* floats in the flat buffers; size includes the layout's padding, a multiple of 16 */
    const reid_layout *layout; /* owned by the backend */
} reid_param;

typedef struct reid_param_buffer {
    char *name; /* "….running_mean", "….running_var", "….num_batches_tracked" */
    int rank;   /* 1, or 0 for num_batches_tracked */
    int64_t shape[REID_MAX_RANK];
    float *data;  /* plain order; device memory: see reid_params_buffer_get */
    bool integer; /* PyTorch stores it as int64 */
} reid_param_buffer;

typedef struct reid_params {
    size_t count;
    reid_param *items; /* order of PyTorch's named_parameters */
    size_t total;      /* floats in value and in grad */
    size_t trainable;  /* gradients exist in [0, trainable); the rest of grad is zero */
    float *value, *grad;
    size_t buffer_count;
    reid_param_buffer *buffers;
    reid_backend *backend; /* borrowed */
    float *buffer_memory;  /* of all buffers' data */
    size_t buffer_bytes;
} reid_params;

/* What decides weight layouts; the plans of these params take the same choice. Zero is the default.
 */
typedef enum reid_convolution { REID_CONVOLUTION_AUTO, REID_CONVOLUTION_DIRECT } reid_convolution;
typedef struct reid_params_options {
    reid_dtype compute;           /* REID_F32 (or REID_BF16 where the backend has it) */
    reid_convolution convolution; /* AUTO: Winograd where it pays, by a fixed rule of shapes or, in
                                     plans, as measured; DIRECT: never */
    bool plan_only; /* offsets and sizes only: value, grad and the buffers' data stay NULL */
} reid_params_options;

/* `backend` must outlive the result. options may be NULL. */
reid_status reid_params_new(const reid_graph *training_graph, reid_backend *backend,
                            const reid_params_options *options, reid_params **ret_params,
                            reid_error *err);
void reid_params_free(reid_params *params);

#define REID_PARAM_NONE ((size_t)-1)
size_t reid_params_find(const reid_params *params,
                        const char *name); /* index, or REID_PARAM_NONE */
size_t reid_params_find_buffer(const reid_params *params,
                               const char *name);                    /* index, or REID_PARAM_NONE */
size_t reid_params_plain_count(const reid_params *params, size_t i); /* elements without padding */

/* Between a flat buffer (value, grad or an optimizer state: its start, not the parameter's) and
 * plain OIHW floats of reid_params_plain_count elements on the host. */
void reid_params_to_plain(const reid_params *params, size_t i, const float *flat, float *ret_plain);
void reid_params_from_plain(const reid_params *params, size_t i, const float *plain, float *flat);

/* Running statistics by value, whatever memory they live in. */
void reid_params_buffer_get(const reid_params *params, size_t i, float *ret_plain);
void reid_params_buffer_set(reid_params *params, size_t i, const float *plain);

#endif
