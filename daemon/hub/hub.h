/* Who wants to know when a job changes. Loop thread only.
 *
 * A listener is embedded in its owner: zero it, reidd_hub_add, and reidd_hub_remove before its
 * memory goes (removing twice is harmless). `wake` may remove any listener, also its own, and may
 * not publish.
 */
#ifndef REIDD_HUB_HUB_H
#define REIDD_HUB_HUB_H

#include <stddef.h>
#include <stdint.h>

typedef enum reidd_change {
    REIDD_CHANGED_JOB = 1,    /* state, phase, progress or detail */
    REIDD_CHANGED_ROWS = 2,   /* new metric rows are stored */
    REIDD_CHANGED_END = 4,    /* the job has ended, and everything of it is stored */
    REIDD_CHANGED_WORDS = 8,  /* control words wait for rank 0 */
    REIDD_CHANGED_HOOKS = 16, /* the list of hooks was told anew */
} reidd_change;

typedef struct reidd_hub reidd_hub;
typedef struct reidd_listener reidd_listener;

/* How many listeners of a kind are added. */
typedef struct reidd_hub_count {
    int64_t value;
    struct reidd_hub_count *whole; /* that it is a part of; or NULL */
} reidd_hub_count;

struct reidd_listener {
    void (*wake)(reidd_listener *listener, unsigned changes);
    char job_id[16];
    reidd_hub_count *count; /* outlives the listener; NULL: nobody counts it */
    reidd_hub *hub;         /* NULL: not added */
    reidd_listener *before, *after;
};

struct reidd_hub {
    reidd_listener *first;
    reidd_listener *next; /* to be woken next, while publishing */
    size_t listeners;
    uint64_t round; /* calls of publish so far: what a listener makes of a job is good for the
                       others of the same round */
};

void reidd_hub_add(reidd_hub *hub, reidd_listener *listener, const char *job_id);
void reidd_hub_remove(reidd_listener *listener);
/* Wakes the listeners of this job; `changes` are bits of reidd_change. */
void reidd_hub_publish(reidd_hub *hub, const char *job_id, unsigned changes);

#endif
