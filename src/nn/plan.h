/* The execution plan: a graph bound to a backend and to parameters, ready to step.
 *
 * Building a plan fuses operations (batch norm + add + ReLU), creates every primitive once, and
 * places activations, gradients and workspaces in one arena by lifetime. A step is then two flat
 * lists of calls: no allocation, no locks.
 *
 * Life: reid_plan_new → {upload → forward → scalars/download → backward}* → reid_plan_free (before
 * params and backend). The graph may be freed after reid_plan_new. Threads: one at a time; the
 * stepping thread should stay the same. Determinism: the same inputs, parameters, options and
 * thread count give the same bits.
 */
#ifndef REID_NN_PLAN_H
#define REID_NN_PLAN_H

#include "nn/graph.h"
#include "nn/params.h"
#include "nn/tuning.h"

typedef struct reid_plan reid_plan;

/* What of forward is computed a second time in backward instead of being kept: speed for memory.
 * Cheap operations only; the bits of a training are the same at every level. */
typedef enum reid_recompute {
    REID_RECOMPUTE_NONE,
    REID_RECOMPUTE_NORM,  /* batch norms [with ReLU] */
    REID_RECOMPUTE_BLOCK, /* … and every second end of a residual block */
    REID_RECOMPUTE_STAGE  /* … and every end, those of one stage when its backward begins */
} reid_recompute;
/* MODEL.RECOMPUTE's words: none, norm, block, stage; NONE for any other. */
reid_recompute reid_recompute_of_name(const char *name);

typedef struct reid_plan_options {
    bool training; /* batch statistics, gradients; otherwise running statistics and forward only */
    reid_dtype compute; /* of activations; parameters, gradients and rows [N,D] are always f32 */
    reid_convolution convolution; /* AUTO: Winograd where it pays */
    const reid_tuning *tuning;    /* what was measured, for AUTO; NULL: by the backend's rule.
                                     Training plans only, until reid_plan_new returns */
    reid_recompute recompute;
    bool profile;   /* reid_plan_summary also lists the time of each call */
    bool no_fusion; /* one call per graph operation; for tests */
    bool plan_only; /* takes no device memory: the plan can be looked at, not run. Params as well */
} reid_plan_options;

/* Fails with INVALID (the graph, or parameters that do not fit it), UNSUPPORTED (compute type) or
 * EXHAUSTED (memory). */
reid_status reid_plan_new(const reid_graph *g, reid_backend *backend, reid_params *params,
                          const reid_plan_options *options, reid_plan **ret_plan, reid_error *err);
void reid_plan_free(reid_plan *plan);

/* The running calls below are a PRECONDITION failure for a plan of plan_only.
 * Fills an input: f32 [N,C,H,W] for images, i32 [N] for labels, plain layout. `bytes` must be
 * exact; a label out of range is INVALID. */
reid_status reid_plan_upload(reid_plan *plan, reid_value input, const void *host, size_t bytes,
                             reid_error *err);
/* Reads a value declared by reid_graph_output, as f32 in plain layout, after forward and before the
 * next one. */
reid_status reid_plan_download(reid_plan *plan, reid_value output, void *host, size_t bytes,
                               reid_error *err);

reid_status reid_plan_forward(reid_plan *plan, reid_error *err);

/* This range (floats) of params->grad is final. Called on the stepping thread, in order of offset;
 * the ranges of a step cover [0, params->trainable) exactly. Must not block for long. */
typedef void reid_grad_ready(void *user, size_t offset, size_t size);

/* After a forward of a training plan; overwrites params->grad. `ready` may be NULL. */
reid_status reid_plan_backward(reid_plan *plan, reid_grad_ready *ready, void *user,
                               reid_error *err);

/* Losses (weight applied) and metrics in order of declaration; values of the last forward. */
size_t reid_plan_scalar_count(const reid_plan *plan);
const char *reid_plan_scalar_name(const reid_plan *plan, size_t i);
bool reid_plan_scalar_is_loss(const reid_plan *plan, size_t i);
double reid_plan_scalar(reid_plan *plan, size_t i);
/* Waits for the scalars of the last forward, not for what was queued after it, and tells what went
 * wrong on the device so far. reid_plan_scalar waits by itself. */
reid_status reid_plan_read_scalars(reid_plan *plan, reid_error *err);

/* Between two steps, the same on all ranks. Scalar `i` must be a loss. */
double reid_plan_loss_weight(const reid_plan *plan, size_t i);
void reid_plan_set_loss_weight(reid_plan *plan, size_t i, double weight);
/* What backward multiplies all gradients by, for activations of few bits (solver/loss_scale.h); 1
 * at first. The scalars are as without it. */
void reid_plan_set_loss_scale(reid_plan *plan, double scale);
/* Margin of the triplet losses; negative when there is none, 0 for the soft margin. Only a margin
 * above 0 can be set, in place of one above 0. */
double reid_plan_margin(const reid_plan *plan);
void reid_plan_set_margin(reid_plan *plan, double margin);

/* One call of a pass. Texts live as long as the plan. */
typedef struct reid_plan_call {
    const char *name;    /* of the operation */
    const char *kind;    /* "conv2d" … */
    const char *kernels; /* what was chosen for it */
    bool backward;
    double start_s, end_s; /* reid_clock_seconds */
} reid_plan_call;

typedef void reid_plan_probe(void *user, const reid_plan_call *call);
/* From the next pass on `probe` is told of each call after it, on the stepping thread; calls then
 * wait for the device. NULL: none, which costs a branch per call. */
void reid_plan_set_probe(reid_plan *plan, reid_plan_probe *probe, void *user);

/* Of everything ranks must agree on: names, shapes, layouts, chosen kernels, order of parameters,
 * types, library versions. Not the batch content, addresses or thread count. */
uint64_t reid_plan_hash(const reid_plan *plan);

/* Facts for tests and people. */
typedef struct reid_plan_stats {
    size_t arena_bytes;         /* activations, gradients, workspaces, scratch */
    size_t live_peak_bytes;     /* lower bound of arena_bytes: most bytes alive in one call */
    size_t forward_calls;       /* backend operations run by forward */
    size_t backward_calls;      /* … by backward */
    size_t recomputed;          /* … of these, computing a value of forward anew */
    size_t activation_reorders; /* layout changes of activations inside the network */
    size_t weight_reorders;     /* layout changes of weights in a step */
} reid_plan_stats;
reid_plan_stats reid_plan_get_stats(const reid_plan *plan);

/* What fills the arena at the moment when most of it is alive, in bytes by what it is for. */
typedef struct reid_plan_memory {
    size_t inputs;      /* images and labels */
    size_t activations; /* results of operations that are still to be read */
    size_t gradients;   /* of activations */
    size_t workspace;   /* kept by operations from forward to backward */
    size_t scratch;     /* of one operation at a time */
    size_t total;       /* of these: live_peak_bytes */
    const char *where;  /* the operation that runs then; backward if `backward` */
    bool backward;
} reid_plan_memory;
reid_plan_memory reid_plan_get_memory(const reid_plan *plan);
char *reid_plan_summary(const reid_plan *plan); /* several lines; caller frees */

#endif
