/* What each call of a plan computes and moves, counted from shapes and layouts.
 *
 * FLOPs are nominal: those of the direct convolution or product, whatever kernel does the work
 * (Winograd needs fewer). Bytes are the least that must pass between the operation and memory when
 * nothing stays in a cache between two passes over the same tensor: batch norm reads its input
 * twice, once for the statistics. Activations (rank 4, in the compute type) are kept apart from the
 * rest (parameters, rows, labels: always 4 bytes), so that another compute type can be derived.
 */
#ifndef REID_NN_PLAN_COST_H
#define REID_NN_PLAN_COST_H

#include "nn/plan.h"

/* One pass over the data; a backward call is one or two, in the order of reid_op_impl. */
typedef struct reid_cost_part {
    const char *name; /* "forward", "params", "inputs", "gradient" */
    double flops;
    double activation_read, activation_written, other_read, other_written; /* bytes */
} reid_cost_part;

enum { REID_COST_PARTS = 2 };
#define REID_COST_NO_NODE ((size_t)-1)

typedef struct reid_cost_call {
    const char *name, *kind, *kernels;
    size_t node; /* the forward call of the same operation; REID_COST_NO_NODE: a sum of gradients */
    const reid_layout *input, *output; /* of that call; NULL for a sum */
    reid_cost_part parts[REID_COST_PARTS];
    size_t part_count;
    size_t ready_end; /* backward: gradients in [0, ready_end) floats are final after it */
} reid_cost_call;

/* Forward call `node` of stats.forward_calls, backward call `step` of stats.backward_calls, in the
 * order in which they run. */
reid_cost_call reid_plan_cost_forward(const reid_plan *plan, size_t node);
reid_cost_call reid_plan_cost_backward(const reid_plan *plan, size_t step);

#endif
