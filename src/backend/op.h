/* Operations: the interface between plans (src/nn) and backends. Only plans, backends and tests of
 * operations include it.
 *
 * Life of an operation: the plan fills a reid_op_desc (shapes, layouts, what is wanted) →
 * impl->op_new lets the backend choose kernels and say what it needs (workspace, scratch, which
 * inputs must live until backward) → the plan places everything in its arena → impl->bind gives the
 * addresses, once → forward and backward are called every step.
 *
 * What backward reads of forward may have been dropped after forward and computed anew, by
 * impl->recompute of the operation that had made it, in another place: backward finds it through
 * saved_input and saved_output, never through input and output.
 */
#ifndef REID_BACKEND_OP_H
#define REID_BACKEND_OP_H

#include "backend/backend.h"
#include "backend/op_attr.h"

typedef enum reid_op_kind {
    REID_OP_CONV2D,     /* x → y; params weight OIHW[, bias]; `folded`: see there */
    REID_OP_BATCH_NORM, /* x[, residual] → [relu](norm(x) + residual); params γ, β; states mean,
                           var, count */
    REID_OP_RELU,       /* x → y */
    REID_OP_ADD,        /* a, b → [relu](a + b) */
    REID_OP_MAX_POOL,   /* x → y */
    REID_OP_GLOBAL_AVG_POOL, /* [N,C,H,W] → [N,C] */
    REID_OP_LINEAR,          /* [N,D] → [N,out]; params weight [out,D][, bias] */
    REID_OP_CROSS_ENTROPY,   /* logits [N,C], labels [N] → scalar */
    REID_OP_TRIPLET,         /* features [N,D], labels [N] → scalar */
    REID_OP_ACCURACY,        /* logits, labels → scalar; no backward */
    REID_OP_KINDS
} reid_op_kind;

const char *reid_op_kind_name(reid_op_kind kind); /* "conv2d" … */

#define REID_OP_INPUTS 2
#define REID_OP_PARAMS 3
#define REID_OP_STATES 3
#define REID_OP_GRAD_PARTS 2

/* Parts of an operation that may be computed in different ways. */
typedef enum reid_op_pass {
    REID_PASS_FORWARD,
    REID_PASS_PARAMS, /* gradients of parameters */
    REID_PASS_INPUTS, /* gradients of inputs */
    REID_OP_PASSES
} reid_op_pass;

typedef enum reid_algorithm {
    REID_ALGORITHM_RULE, /* the backend decides by the shapes */
    REID_ALGORITHM_DIRECT,
    REID_ALGORITHM_WINOGRAD, /* direct where there is none */
    REID_ALGORITHMS
} reid_algorithm;

typedef struct reid_op_desc {
    reid_op_kind kind;
    const char *name; /* of the layer, for sentences; borrowed until op_new returns */
    bool training; /* batch norm: batch statistics; also: backward will be called when a gradient is
                      wanted */
    bool direct;   /* convolution: no Winograd, whatever `algorithm` says */
    reid_algorithm algorithm[REID_OP_PASSES]; /* convolution */
    bool relu;                                /* BATCH_NORM, ADD, folded: ReLU on the result */
    /* CONV2D without bias, in evaluation, where the backend folds_norm: x[, residual] →
     * [relu](norm(conv(x)) + residual) with params weight, γ, β and BATCH_NORM's states. */
    bool folded;
    reid_batch_norm fold;
    reid_dtype compute;
    int input_count, param_count;
    const reid_layout *input[REID_OP_INPUTS];
    const reid_layout *output;
    const reid_layout *param[REID_OP_PARAMS]; /* as the backend's param_layout chose them */
    bool input_grad[REID_OP_INPUTS];          /* wanted from backward */
    bool param_grad[REID_OP_PARAMS];
    float loss_scale; /* CROSS_ENTROPY, TRIPLET: gradient of the total loss by this scalar */
    union {
        reid_conv2d conv;
        reid_batch_norm norm;
        reid_max_pool pool;
        reid_linear linear;
        reid_cross_entropy cross_entropy;
        reid_triplet triplet;
    } attr;
} reid_op_desc;

/* Addresses in device memory; those that do not apply are NULL. */
typedef struct reid_op_buffers {
    const void *input[REID_OP_INPUTS]; /* forward only */
    void *output;                      /* forward only */
    /* For backward and recompute: where the inputs and the output are then; the same places as in
     * forward when they were kept. */
    const void *saved_input[REID_OP_INPUTS];
    void *saved_output;
    const void *output_grad[REID_OP_GRAD_PARTS]; /* the gradient is the sum of those not NULL; [0]
                                                    is never NULL in backward */
    void *input_grad[REID_OP_INPUTS];            /* overwritten */
    const float *param[REID_OP_PARAMS];
    float *param_grad[REID_OP_PARAMS]; /* overwritten */
    float *state[REID_OP_STATES]; /* BATCH_NORM, folded: running mean, running variance, batches
                                     tracked; updated when training */
    void *workspace;              /* written by forward, read by backward */
    void *scratch;                /* shared by all operations: content is lost between calls */
} reid_op_buffers;

typedef struct reid_op reid_op;

/* All slots must exist unless said otherwise. A call may queue work on the backend's stream. */
typedef struct reid_op_impl {
    void (*free)(reid_op *op); /* also of half-built ones */
    /* NULL: nothing to prepare. op->buffers is set before. */
    reid_status (*bind)(reid_op *op, reid_error *err);
    reid_status (*forward)(reid_op *op, reid_error *err);
    /* Gradients of parameters; runs before backward_inputs. NULL: no parameters, or backward_inputs
     * writes them too. */
    reid_status (*backward_params)(reid_op *op, reid_error *err);
    /* Gradients of inputs. NULL: none (ADD without ReLU passes its gradient through; the plan does
     * that itself). */
    reid_status (*backward_inputs)(reid_op *op, reid_error *err);
    /* Forward's output once more, the same bits, from all of saved_input to saved_output: between
     * forward and backward, with what forward left in the workspace, which stays as it is; no state
     * changes. Only where that is much cheaper than the rest of the network. NULL: cannot, the plan
     * keeps the output where backward needs it. */
    reid_status (*recompute)(reid_op *op, reid_error *err);
} reid_op_impl;

struct reid_op {
    const reid_op_impl *impl;
    reid_backend *backend;
    reid_op_desc desc;
    reid_op_buffers buffers;
    /* Answers of op_new. */
    size_t workspace_bytes, scratch_bytes;
    bool needs_input[REID_OP_INPUTS];       /* backward reads it */
    bool needs_output;                      /* backward reads it */
    bool output_over_input[REID_OP_INPUTS]; /* forward may write its output on this input, if nobody
                                               reads that later */
    bool grad_over_grad[REID_OP_INPUTS];    /* backward may write input_grad[i] on a part of
                                               output_grad */
    bool equal_grads; /* all inputs get the same gradient: only input_grad[0] is written, and the
                         plan uses it for all */
    int grad_parts;   /* how many addends of output_grad backward takes: 1 or 2 */
    int weight_reorders;
    char kernels[192]; /* names of what was chosen, for summaries and the hash */
};

/* What an activation is for. */
typedef enum reid_role {
    REID_ROLE_INNER,  /* between operations */
    REID_ROLE_IMAGES, /* a graph input that only convolutions read */
} reid_role;

#define REID_BACKEND_ABI 7u
#define REID_FETCH_LIMIT 64

typedef struct reid_backend_impl {
    uint32_t abi; /* REID_BACKEND_ABI; a module of another ABI is refused */
    const char *name;
    bool host_memory; /* device pointers may be read by the host */
    bool folds_norm;  /* op_new knows `folded` */
    void (*free)(reid_backend *backend);
    bool (*supports)(const reid_backend *backend, reid_dtype compute);
    const char *(*version)(
        const reid_backend *backend); /* libraries and instruction set, part of the plan's hash */
    void *(*alloc)(reid_backend *backend, size_t bytes);
    void (*release)(reid_backend *backend, void *memory, size_t bytes);
    void (*copy_in)(reid_backend *backend, void *device, const void *host, size_t bytes);
    void (*copy_out)(reid_backend *backend, void *host, const void *device,
                     size_t bytes); /* waits */
    /* A few numbers that the host wants without waiting for what is queued behind them: fetch_start
     * queues their copies (at most REID_FETCH_LIMIT), fetch_wait waits for these alone. One fetch
     * at a time; a second start drops the first. Both NULL: copy_out is as good. */
    void (*fetch_start)(reid_backend *backend, const float *const *device, size_t count);
    void (*fetch_wait)(reid_backend *backend, float *ret_values);
    void (*zero)(reid_backend *backend, void *device, size_t bytes);
    void (*wait)(reid_backend *backend); /* NULL: nothing is ever queued */
    /* The first failure of a call without a status (memory, copies, updates, queued work); it
     * stays. A failed alloc is told once, with sizes. NULL: none of them can fail but alloc. */
    reid_status (*status)(reid_backend *backend, reid_error *err);
    void (*begin)(reid_backend *backend); /* before calls from this thread (thread count, current
                                             device); cheap; may be NULL */
    /* Calls that only queue work (forward, backward, recompute of operations, zero, accumulate)
     * between begin and end are kept instead of done; run queues all of it at once, any number of
     * times. begin: false when it cannot; end: NULL when something in between could not be kept.
     * All NULL: the backend has nothing like it. */
    bool (*record_begin)(reid_backend *backend);
    void *(*record_end)(reid_backend *backend);
    reid_status (*record_run)(reid_backend *backend, void *recording, reid_error *err);
    void (*record_free)(reid_backend *backend, void *recording);
    const reid_layout *(*activation_layout)(reid_backend *backend, reid_role role,
                                            const reid_shape *shape, reid_dtype dtype);
    /* desc has kind, attributes, input and output layouts, training, direct, compute; f32 layouts.
     */
    reid_status (*param_layout)(reid_backend *backend, const reid_op_desc *desc, int index,
                                const reid_shape *shape, const reid_layout **ret_layout,
                                reid_error *err);
    void (*from_plain)(reid_backend *backend, const reid_layout *layout, const float *plain,
                       void *device);
    void (*to_plain)(reid_backend *backend, const reid_layout *layout, const void *device,
                     float *ret_plain);
    reid_status (*op_new)(reid_backend *backend, const reid_op_desc *desc, reid_op **ret_op,
                          reid_error *err);
    /* Measures the passes of a convolution that can be computed in several ways, where no rule of
     * shapes makes it plain which is faster; RULE for all others, and where the rule is right.
     * Takes milliseconds. desc as for op_new, its `algorithm` is not looked at. NULL: there is
     * never anything to choose. */
    reid_status (*tune)(reid_backend *backend, const reid_op_desc *desc,
                        reid_algorithm ret_algorithm[REID_OP_PASSES], reid_error *err);
    void (*accumulate)(reid_backend *backend, const reid_layout *layout, void *sum,
                       const void *addend);
    /* Ranges: as the functions of backend.h; never empty lists. */
    void (*adam)(reid_backend *backend, const reid_adam *args, const reid_range *ranges,
                 size_t range_count, float *value, const float *grad, float *m, float *v,
                 float *max_v);
    void (*sgd)(reid_backend *backend, const reid_sgd *args, const reid_range *ranges,
                size_t range_count, float *value, const float *grad, float *momentum_buffer);
    double (*sum_squares)(reid_backend *backend, const reid_range *ranges, size_t range_count,
                          const float *data);
    /* Σ|x|^order, or the largest |x| for INFINITY, NaN when one is. */
    double (*power_sum)(reid_backend *backend, const reid_range *ranges, size_t range_count,
                        const float *data, double order);
    void (*clamp)(reid_backend *backend, const reid_range *ranges, size_t range_count, float *data,
                  float limit);
    void (*scale)(reid_backend *backend, const reid_range *ranges, size_t range_count, float *data,
                  float factor);
    /* NULL: images come as floats. */
    void (*images)(reid_backend *backend, const reid_image_rule *rule, const reid_layout *layout,
                   const uint8_t *planes, const reid_image_choice *choices, void *images);
} reid_backend_impl;

/* Base of every backend's own struct. */
struct reid_backend {
    const reid_backend_impl *impl;
    int threads;
    reid_layout **layouts; /* interned */
    size_t layout_count;
};

/* One backend of the build: opens it with threads ≥ 1. */
typedef reid_status reid_backend_open_fn(int threads, reid_backend **ret_backend, reid_error *err);
reid_backend_open_fn reid_ref_backend_open;
reid_backend_open_fn reid_cpu_backend_open;

/* Returns the one stored layout equal to `proto` (size bytes, compared whole: zero it first). */
const reid_layout *reid_layout_intern(reid_backend *backend, const reid_layout *proto, size_t size);
void reid_backend_fini(reid_backend *backend); /* frees the base's parts */

/* Output gradient of element i as the sum of its parts. */
static inline float reid_grad_sum(const float *a, const float *b, size_t i)
{
    return b ? a[i] + b[i] : a[i];
}

#endif
