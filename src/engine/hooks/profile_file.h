/* Inside of the profiler: recorded spans, and their text. */
#ifndef REID_ENGINE_HOOKS_PROFILE_FILE_H
#define REID_ENGINE_HOOKS_PROFILE_FILE_H

#include <stdint.h>

#include "base/status.h"
#include "base/str.h"
#include "base/vec.h"

typedef enum reid_profile_kind {
    REID_PROFILE_ITERATION, /* number */
    REID_PROFILE_STEP,      /* and its parts */
    REID_PROFILE_FORWARD,   /* an operation: text = its kind, detail = its kernels */
    REID_PROFILE_BACKWARD,
    REID_PROFILE_HOOK,       /* text = the point */
    REID_PROFILE_ALL_REDUCE, /* number = the bucket */
} reid_profile_kind;

typedef struct reid_profile_span {
    reid_profile_kind kind;
    const char *name; /* texts are not owned */
    const char *text, *detail;
    double start_s, end_s; /* reid_clock_seconds */
    int64_t number;
    size_t bytes;              /* of a bucket */
    double queued_s, waited_s; /* of a bucket: before its start; for the other ranks */
} reid_profile_span;

typedef struct reid_profile {
    int rank;
    int64_t first_iteration, steps; /* those that were done */
    int64_t wall_ms;                /* at start_s */
    double start_s;
    REID_VEC(reid_profile_span) spans;
    size_t limit, dropped;
} reid_profile;

/* Counts what is beyond the limit. */
void reid_profile_add(reid_profile *profile, const reid_profile_span *span);
/* The whole trace as JSON. */
void reid_profile_render(const reid_profile *profile, reid_str *out);
void reid_profile_free(reid_profile *profile); /* NULL is fine */

#endif
