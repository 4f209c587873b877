/* Constants of the update rules, from their arguments. Shared by the host backends and CUDA's
 * launcher. */
#ifndef REID_BACKEND_UPDATE_H
#define REID_BACKEND_UPDATE_H

#include "backend/backend.h"
#include "backend/element.h"

static inline float reid_grad_factor(double factor)
{
    return factor == 0.0 ? 1.0f : (float)factor;
}

static inline reid_adam_constants reid_adam_prepare(const reid_adam *a)
{
    double correction1 = 1.0 - pow(a->beta1, (double)a->step),
           correction2 = 1.0 - pow(a->beta2, (double)a->step);
    return (reid_adam_constants){
        .beta1 = (float)a->beta1,
        .one_minus_beta1 = (float)(1.0 - a->beta1),
        .beta2 = (float)a->beta2,
        .one_minus_beta2 = (float)(1.0 - a->beta2),
        .minus_step_size = (float)-(a->lr / correction1),
        .sqrt_bias_correction2 = (float)sqrt(correction2),
        .eps = (float)a->eps,
        .weight_decay = a->decoupled ? 0.0f : (float)a->weight_decay,
        .keep = a->decoupled ? (float)(1.0 - a->lr * a->weight_decay) : 1.0f,
        .grad_factor = reid_grad_factor(a->grad_factor),
    };
}

static inline reid_sgd_constants reid_sgd_prepare(const reid_sgd *a)
{
    return (reid_sgd_constants){
        .lr = (float)a->lr,
        .momentum = (float)a->momentum,
        .one_minus_dampening = (float)(1.0 - a->dampening),
        .weight_decay = (float)a->weight_decay,
        .grad_factor = reid_grad_factor(a->grad_factor),
        .nesterov = a->nesterov,
        .first = a->first,
    };
}

#endif
