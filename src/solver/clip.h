/* Gradient clipping of one parameter group (see optimizer.h). Private to this folder. */
#ifndef REID_SOLVER_CLIP_H
#define REID_SOLVER_CLIP_H

#include "solver/groups.h"

typedef enum reid_clip_type { REID_CLIP_NONE, REID_CLIP_VALUE, REID_CLIP_NORM } reid_clip_type;

typedef struct reid_clip {
    reid_clip_type type;
    double limit;      /* SOLVER.CLIP_GRADIENTS.CLIP_VALUE */
    double norm_order; /* NORM_TYPE: 2, another p > 0, or infinity */
} reid_clip;

/* INVALID for an unknown CLIP_TYPE or a norm order ≤ 0. */
reid_status reid_clip_read(const reid_config *config, reid_clip *ret_clip, reid_error *err);
/* What the group's gradients, which are `loss_scale` times too large, have to be multiplied by.
 * With REID_CLIP_VALUE they are clamped in place first. */
double reid_clip_group(const reid_clip *clip, reid_backend *backend, const reid_solver_group *group,
                       float *grad, double loss_scale);

#endif
