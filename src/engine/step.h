/* What a training step is made of, as the SimpleTrainer sees it. The real one (reid_plan_step_new)
 * stands on a loader, an execution plan, the DDP reducer and an optimizer; tests give their own.
 */
#ifndef REID_ENGINE_STEP_H
#define REID_ENGINE_STEP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct reid_step reid_step;

/* The batch of this step. Valid until the next one. */
typedef struct reid_step_batch {
    int count;
    const char *const *paths; /* [count] */
} reid_step_batch;

typedef struct reid_step_impl {
    /* Blocks until a batch is there. */
    reid_status (*next)(reid_step *step, reid_step_batch *ret_batch, reid_error *err);
    reid_status (*forward)(reid_step *step, reid_error *err);
    /* On return the gradients are those of the mean loss over all ranks. Collective. */
    reid_status (*backward)(reid_step *step, reid_error *err);
    reid_status (*update)(reid_step *step, reid_error *err);
    /* Scalars of the last forward. Names and their number are the same on all ranks and in all
     * steps. */
    size_t (*scalar_count)(const reid_step *step);
    const char *(*scalar_name)(const reid_step *step, size_t index);
    bool (*scalar_is_loss)(const reid_step *step,
                           size_t index); /* part of the total, with its weight applied */
    double (*scalar)(const reid_step *step, size_t index);
    /* Seconds for which the last backward stood still for the communication between ranks. NULL:
     * it never does. */
    double (*waited_s)(const reid_step *step);
    void (*free)(reid_step *step); /* required */
} reid_step_impl;

/* First member of every step. */
struct reid_step {
    const reid_step_impl *impl;
};

void reid_step_free(reid_step *step); /* NULL is fine */

#endif
