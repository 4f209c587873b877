/* PeriodicCheckpointer: asks for checkpoints after epochs, as fast-reid's (utils/checkpoint.py):
 *
 *     every `period` epochs but for the last: model_best if the metric beats all earlier ones, then
 * model_NNNN (epoch) after the last epoch:                   model_best likewise, then model_final
 *
 * The metric is the scalar of the given name, (mAP + Rank-1) / 2 as the evaluation puts it; without
 * one there is no model_best.
 *
 * State: the best metric so far. Pending scalars are handed to the row
 * listeners before each save.
 */
#ifndef REID_ENGINE_HOOKS_PERIODIC_CHECKPOINTER_H
#define REID_ENGINE_HOOKS_PERIODIC_CHECKPOINTER_H

#include "engine/hook.h"

typedef struct reid_checkpoint_request {
    const char *name; /* "model_best", "model_0009", "model_final" */
    int64_t epoch;    /* that just ended */
    int64_t iter;     /* iterations done */
    double metric;    /* -1 when there is none */
    bool best;        /* model_best: not the checkpoint to resume from */
} reid_checkpoint_request;

typedef reid_status reid_checkpoint_fn(void *user, const reid_checkpoint_request *request,
                                       reid_error *err);

typedef struct reid_periodic_checkpointer_options {
    int64_t period; /* epochs; 0: only model_best and model_final at the end */
    const char
        *metric; /* copied; "metric", or "<first test set>/metric" with several; NULL: "metric" */
    reid_checkpoint_fn *save;
    void *user;
} reid_periodic_checkpointer_options;

reid_hook *reid_periodic_checkpointer_new(const reid_periodic_checkpointer_options *options);

/* For control words. */
int64_t reid_periodic_checkpointer_period(const reid_hook *checkpointer);
void reid_periodic_checkpointer_set_period(reid_hook *checkpointer, int64_t period);

#endif
