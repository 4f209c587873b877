/* Dynamic loss scaling, for gradients that are computed in fp16 (Micikevicius et al., "Mixed
 * Precision Training", ICLR 2018, section 3.2; the rule is that of torch.cuda.amp.GradScaler).
 *
 * Small gradients would become zero in fp16, so the loss is multiplied by a scale before backward,
 * and the gradients are divided by it before the update. When one of them is not finite the step is
 * left out and the scale is halved; after `growth_interval` good steps in a row it is doubled. The
 * scale is a power of two times the first one, so that scaling itself rounds nothing.
 *
 * All ranks see the same gradients, those after the all-reduce, and come to the same verdict: the
 * state is the same on all of them. Life: values only.
 */
#ifndef REID_SOLVER_LOSS_SCALE_H
#define REID_SOLVER_LOSS_SCALE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "config/config.h"

/* It is not doubled beyond (apex's max_loss_scale), nor halved below. */
#define REID_LOSS_SCALE_MAX 16777216.0
#define REID_LOSS_SCALE_MIN 6.103515625e-05

typedef struct reid_loss_scale {
    double scale;       /* of the next step */
    int64_t good_steps; /* in a row, since the scale was last changed */
    int64_t growth_interval;
} reid_loss_scale;

/* SOLVER.AMP.LOSS_SCALE and GROWTH_INTERVAL. */
reid_loss_scale reid_loss_scale_read(const reid_config *config);

/* After a step; `finite`: its gradients were. REID_ERR_NONFINITE when the scale would fall below
 * the least one: it is not the scale that makes them infinite. */
reid_status reid_loss_scale_update(reid_loss_scale *scale, bool finite, reid_error *err);

#endif
