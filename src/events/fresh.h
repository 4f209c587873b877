/* What a writer has still to write: scalars put after its mark, smoothed, grouped by iteration. */
#ifndef REID_EVENTS_FRESH_H
#define REID_EVENTS_FRESH_H

#include "base/vec.h"
#include "events/event_storage.h"

typedef struct reid_fresh_scalar {
    const char *name; /* the storage's */
    double value;
    int64_t iter;
} reid_fresh_scalar;

typedef REID_VEC(reid_fresh_scalar) reid_fresh_list;

/* Sorted by iteration, then by name (bytewise, which is also Python's order of strings). The list
 * is the caller's; what it held is replaced, its memory used again. */
void reid_event_storage_fresh(const reid_event_storage *storage, uint64_t written, size_t window,
                              reid_fresh_list *list);

#endif
