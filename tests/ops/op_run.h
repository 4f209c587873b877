/* One operation on one backend, with memory of its own and plain values in and out. */
#ifndef REID_TESTS_OPS_OP_RUN_H
#define REID_TESTS_OPS_OP_RUN_H

#include "base/vec.h"
#include "ops/op_cases.h"

typedef struct op_plain {
    size_t count;
    float *data; /* plain layout */
} op_plain;

typedef struct op_run {
    reid_backend *backend;
    const op_case *row;
    reid_op *op;
    reid_shape param_shape[REID_OP_PARAMS];
    /* plain copies: filled by op_run_new with random numbers (inputs), or by op_run_fetch (results)
     */
    op_plain input[REID_OP_INPUTS], param[REID_OP_PARAMS], state[REID_OP_STATES],
        output_grad[REID_OP_GRAD_PARTS];
    op_plain output, input_grad[REID_OP_INPUTS], param_grad[REID_OP_PARAMS];
    bool backward;
    REID_VEC(struct {
        void *memory;
        size_t bytes;
    })
    owned;
} op_run;

/* Numbers depend on the row alone. Fails as op_new does. */
reid_status op_run_new(reid_backend *backend, const op_case *row, op_run **ret_run,
                       reid_error *err);
void op_run_free(op_run *run);
void op_run_store(op_run *run); /* plain inputs → device */
reid_status op_run_forward(op_run *run, reid_error *err);
reid_status op_run_backward(op_run *run, reid_error *err);
void op_run_fetch(op_run *run); /* device → plain results */
/* After forward: the output once more in another place, where it is dropped from its old one. */
bool op_run_can_recompute(const op_run *run);
reid_status op_run_recompute(op_run *run, reid_error *err);

#endif
