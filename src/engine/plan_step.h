/* The real step: the next batch of a loader → a training plan's forward and backward, with the
 * reducer's all-reduce overlapping the latter → the optimizer, in fp16 with dynamic loss scaling.
 */
#ifndef REID_ENGINE_PLAN_STEP_H
#define REID_ENGINE_PLAN_STEP_H

#include "comm/reducer.h"
#include "data/loader.h"
#include "engine/step.h"
#include "nn/plan.h"
#include "solver/loss_scale.h"
#include "solver/optimizer.h"

/* Borrowed; all must outlive the step. */
typedef struct reid_plan_step_parts {
    reid_loader *loader; /* of training; its batches are those of the plan */
    reid_plan *plan;     /* a training plan */
    reid_value images;   /* inputs of its graph */
    reid_value labels;
    reid_backend *backend; /* of the plan; needed when the loader gives bytes */
    reid_reducer *reducer; /* over the gradients of the plan's parameters */
    reid_optimizer *optimizer;
    /* With it the loss is scaled, a step whose gradients are not finite is left out, and there is a
     * scalar more: loss_scale. NULL: nothing of it. */
    reid_loss_scale *loss_scale;
} reid_plan_step_parts;

reid_step *reid_plan_step_new(const reid_plan_step_parts *parts);

#endif
