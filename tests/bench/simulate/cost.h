/* What each call of a plan computes and moves, counted from shapes and layouts, as JSON for
 * simulate.py.
 *
 * FLOPs are nominal: those of the direct convolution or product, whatever kernel does the work
 * (Winograd needs fewer). Bytes are the least that must pass between the operation and memory when
 * nothing stays in a cache between two passes over the same tensor: batch norm reads its input
 * twice, once for the statistics. Activations (rank 4, in the compute type) are kept apart from the
 * rest (parameters, rows, labels: always 4 bytes), so that another compute type can be derived.
 */
#ifndef BENCH_SIMULATE_COST_H
#define BENCH_SIMULATE_COST_H

#include "base/json.h"
#include "nn/plan_impl.h"

/* One pass over the data; a backward call is one or two, in the order of reid_op_impl. */
typedef struct cost_part {
    const char *name; /* "forward", "params", "inputs", "gradient" */
    double flops;
    double activation_read, activation_written, other_read, other_written; /* bytes */
} cost_part;

enum { COST_PARTS = 2 };

typedef struct cost_call {
    const char *name, *kind, *kernels;
    cost_part parts[COST_PARTS];
    size_t part_count;
    size_t ready_end; /* backward: gradients in [0, ready_end) floats are final after it */
} cost_call;

cost_call cost_of_forward(const reid_plan *plan, size_t node);
cost_call cost_of_backward(const reid_plan *plan, size_t step);

/* {"name": …, "kind": …, "parts": […], …}; seconds < 0 means not measured. */
void cost_write(reid_json_writer *w, const cost_call *call, bool backward, double seconds);

#endif
