/* The end of a training whose loss became infinite or NaN: what is said about it. */
#ifndef REID_ENGINE_NONFINITE_H
#define REID_ENGINE_NONFINITE_H

#include "base/str.h"
#include "comm/comm.h"
#include "engine/step.h"

typedef struct reid_nonfinite_report {
    reid_comm *comm;
    const reid_step *step;
    const reid_step_batch *batch; /* this rank's */
    int64_t iter;
    const double *losses; /* rank r's from losses + r·stride; the same on all ranks */
    size_t loss_count;
    size_t stride;
    double total; /* sum of the means over ranks */
} reid_nonfinite_report;

/* Collective. Appends "rank N: path" lines of all images of the ranks whose loss is not finite (of
 * all ranks when only the sum is not), the same text on all ranks unless one is lost meanwhile.
 * Sets the sentence and returns REID_ERR_NONFINITE. */
reid_status reid_nonfinite_fail(const reid_nonfinite_report *report, reid_str *images,
                                reid_error *err);

#endif
