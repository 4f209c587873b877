/* Inside of EventStorage, for event_storage.c and storage_state.c alone. */
#ifndef REID_EVENTS_STORAGE_IMPL_H
#define REID_EVENTS_STORAGE_IMPL_H

#include "base/vec.h"
#include "events/event_storage.h"

#define REID_EVENT_SCOPES_MAX 8

/* Its address stays the same for the life of the storage: rows and readers point into it. */
typedef struct reid_event_entry {
    char *name;
    bool smoothing_hint;
    double value;
    int64_t iter;
    uint64_t sequence;
    reid_history history;
} reid_event_entry;

typedef struct reid_event_listener {
    reid_event_row_fn *fn;
    void *user;
} reid_event_listener;

struct reid_event_storage {
    int64_t iter;
    int64_t epoch;
    uint64_t sequence;
    REID_VEC(reid_event_entry *) entries; /* in order of first put */
    uint32_t *index;                      /* hash table: place in entries + 1, 0 = free */
    size_t index_size;                    /* a power of two */
    char *scopes[REID_EVENT_SCOPES_MAX];  /* each with its '/' */
    size_t scope_count;
    REID_VEC(reid_event_row_scalar) row; /* pending */
    REID_VEC(reid_event_listener) listeners;
};

reid_status reid_event_name_check(const char *name, reid_error *err);
/* The name must be new and valid. Its history is empty. */
reid_event_entry *reid_event_storage_add_entry(reid_event_storage *storage, const char *name,
                                               bool smoothing_hint);
/* Exchanges everything but scopes, listeners and pending rows. */
void reid_event_storage_swap_content(reid_event_storage *a, reid_event_storage *b);

#endif
