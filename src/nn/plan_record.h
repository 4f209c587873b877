/* Recordings of a plan's passes: where the backend can, a stretch of calls is recorded the second
 * time it runs and from then on queued as a whole. */
#ifndef REID_NN_PLAN_RECORD_H
#define REID_NN_PLAN_RECORD_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

struct reid_plan;

typedef struct reid_plan_recording {
    void *recorded; /* the backend's */
    bool ran;       /* once, call by call */
    bool refused;   /* it cannot be recorded */
} reid_plan_recording;

/* Entries [first, end) of the backward list, after which gradients in [0, ready_end) are final. */
typedef struct reid_plan_section {
    size_t first, end, ready_end;
    reid_plan_recording recording;
} reid_plan_section;

typedef reid_status reid_plan_calls(struct reid_plan *plan, size_t first, size_t end,
                                    reid_error *err);

/* Cuts the backward list where gradients are told to be final: at each such entry, or, where calls
 * are recorded, once REID_SECTION_FLOATS are. */
#define REID_SECTION_FLOATS ((size_t)1 << 18)
void reid_plan_make_sections(struct reid_plan *plan);
/* Runs calls(plan, first, end), or what was recorded of it. The first run is never recorded:
 * libraries prepare themselves in it. */
reid_status reid_plan_run_recorded(struct reid_plan *plan, reid_plan_recording *recording,
                                   reid_plan_calls *calls, size_t first, size_t end,
                                   reid_error *err);
/* Forgets what was recorded of this node's backward: its arguments have changed. */
void reid_plan_drop_backward(struct reid_plan *plan, int node);
/* Forgets all recordings: arguments of an operation have changed, or the plan ends. */
void reid_plan_drop_recordings(struct reid_plan *plan);

#endif
