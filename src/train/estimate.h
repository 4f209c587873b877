/* How long a step takes at least, and about, on GPUs that are described by a data sheet: a roofline
 * for each call of a plan, and the all-reduce of N ranks beside backward. Nothing is measured.
 *
 * A pass takes max(FLOPs / peak, bytes / bandwidth) (Williams, Waterman, Patterson, "Roofline",
 * CACM 2009), plus a cost per call. Buckets go out in order, one at a time, each after the call
 * that completes its last gradient. An all-reduce costs what a ring (Patarasuk, Yuan, JPDC 2009) or
 * a double binary tree over the nodes (Sanders, Speck, Träff, Parallel Computing 2009) costs,
 * whichever is faster. tests/bench/simulate has the same model as a script, with sweeps, and holds
 * it against measurements.
 */
#ifndef REID_TRAIN_ESTIMATE_H
#define REID_TRAIN_ESTIMATE_H

#include "comm/reducer.h"
#include "gpu/spec.h"
#include "nn/plan_cost.h"

typedef struct reid_estimate_machine {
    const reid_gpu_spec *gpu;
    reid_dtype compute; /* of convolutions */
    bool bound;         /* every peak is reached and calls cost nothing: no step can be faster */
    bool tf32;          /* f32 convolutions use TF32 */
    int nodes, ranks_per_node;
    double node_bytes_per_s; /* network of one node, one direction, before protocol */
} reid_estimate_machine;

typedef struct reid_estimate {
    double forward_s, backward_s, update_s; /* of one rank alone */
    double alone_s;                         /* their sum */
    double step_s;                          /* with the all-reduce of all ranks */
    double allreduce_s;                     /* sum over the buckets */
    double exposed_s;                       /* the update waits this long for the last bucket */
} reid_estimate;

/* Operations and bytes of one step of one rank. */
typedef struct reid_estimate_work {
    double forward_flops, backward_flops, product_flops; /* products: convolutions, linear layers */
    double bytes;
    double update_flops, update_bytes; /* of the optimizer, not in the others */
} reid_estimate_work;

/* `states`: flat states of the optimizer (reid_optimizer_states_of). */
reid_estimate_work reid_estimate_count(const reid_plan *plan, size_t trainable, size_t states);

/* Seconds of one call. */
double reid_estimate_call(const reid_cost_call *call, const reid_estimate_machine *machine);

/* `plan` is a training plan; `reducer` has the cut into buckets. */
reid_estimate reid_estimate_step(const reid_plan *plan, const reid_reducer *reducer,
                                 const reid_estimate_work *work,
                                 const reid_estimate_machine *machine);

#endif
