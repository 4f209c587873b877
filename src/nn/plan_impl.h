/* Inside of a plan. Building runs in stages, one file each:
 *   plan_fuse.c      graph nodes → plan nodes (fusion, dead code)
 *   plan_gradients.c which values need gradients; creation of the operations
 *   plan_recompute.c which values backward computes anew
 *   plan_schedule.c  buffers and their lifetimes, forward then backward; ranges of finished
 * gradients arena.c          offsets of the buffers plan.c           binding and running
 */
#ifndef REID_NN_PLAN_IMPL_H
#define REID_NN_PLAN_IMPL_H

#include "nn/arena.h"
#include "nn/graph_impl.h"
#include "nn/plan.h"
#include "nn/plan_record.h"

#define REID_BUFFER_NONE (-1)

typedef struct reid_plan_node {
    char *name;
    reid_op_desc desc;
    reid_value input[REID_OP_INPUTS];
    reid_value output;
    size_t param[REID_OP_PARAMS]; /* in params->items */
    size_t state[REID_OP_STATES]; /* in params->buffers, or REID_PARAM_NONE */
    reid_op *op;
    bool backward;          /* has a place in the backward list */
    int workspace, scratch; /* buffers, or REID_BUFFER_NONE */
    int output_grad[REID_OP_GRAD_PARTS];
    int input_grad[REID_OP_INPUTS];
    double forward_seconds, backward_seconds, recompute_seconds; /* profile */
} reid_plan_node;

typedef struct reid_plan_value {
    const reid_layout *layout;
    reid_input_kind input;
    bool used, kept; /* kept: readable after forward */
    bool needs_grad;
    int producer; /* plan node, or -1 */
    int buffer;
    bool dropped;        /* not kept for backward: restored there when it is wanted */
    int restored;        /* while scheduling: time of that, or -1 */
    int saved;           /* buffer with what backward reads; the same as `buffer` when kept */
    int64_t label_bound; /* labels: smallest number of classes they index */
    REID_VEC(int) grads; /* while scheduling: buffers that hold addends of its gradient */
} reid_plan_value;

typedef enum reid_step_kind {
    REID_STEP_NODE,
    REID_STEP_RECOMPUTE, /* the node's output once more */
    REID_STEP_ACCUMULATE,
    REID_STEP_COPY
} reid_step_kind;

/* One entry of the backward list. */
typedef struct reid_backward_step {
    reid_step_kind kind;
    int node;
    const reid_layout *layout; /* ACCUMULATE: to += from; COPY: to = from */
    int from, to;
    size_t ready_end; /* gradients in [0, ready_end) are final after it */
} reid_backward_step;

typedef struct reid_plan_scalar_row {
    char *name;
    double weight;
    bool is_loss;
    reid_value value;
    float last;
} reid_plan_scalar_row;

struct reid_plan {
    reid_backend *backend;
    reid_params *params;
    reid_plan_options options;
    REID_VEC(reid_plan_node) nodes;
    size_t value_count;
    reid_plan_value *values; /* by reid_value */
    REID_VEC(reid_plan_scalar_row) scalars;
    REID_VEC(reid_backward_step) steps;
    REID_VEC(reid_plan_section) sections; /* of steps */
    reid_plan_recording forward_recording;
    REID_VEC(reid_arena_buffer) buffers;
    unsigned char *arena;
    size_t arena_bytes, live_peak_bytes;
    uint64_t hash;
    double loss_scale; /* of all gradients */
    bool forward_done;
    bool fetching; /* the scalars are on their way */
    uint64_t runs; /* forwards, for the profile */
    reid_plan_probe *probe;
    void *probe_user;
};

reid_status reid_plan_fuse(reid_plan *plan, const reid_graph *g, reid_error *err);
reid_status reid_plan_create_ops(reid_plan *plan, reid_error *err);
/* Gradient of the total loss by this value. */
float reid_plan_value_weight(const reid_plan *plan, reid_value value);
/* plan_recompute.c: marks the values that options.recompute drops, before they are scheduled. */
void reid_plan_drop_values(reid_plan *plan);
/* plan_memory.c: the sentence when the arena could not be allocated: sizes, the largest buffers, a
 * batch that fits. */
reid_status reid_plan_no_room(reid_plan *plan, reid_error *err);
reid_status reid_plan_schedule(reid_plan *plan, reid_error *err);
/* tuning.c: fills desc->algorithm when the table has the shape. */
void reid_tuning_apply(const reid_tuning *tuning, reid_op_desc *desc);
char *reid_plan_text(const reid_plan *plan,
                     bool hashed_part_only); /* plan_summary.c; caller frees */

#endif
