/* Who wants to know when a job changes, and how often they are told. Loop thread only.
 *
 * Pace. What a follower is told costs the processors that ranks train on: ours to send it, and on a
 * machine where clients run, theirs to take it, some 100 us together (a stock client in Python).
 * All followers together are to take at most one percent of this machine's processors: 100 news a
 * second for each processor. So the news of a job that goes on (rows, progress) are told at once
 * when the last round of news is reidd_hub_pace_ms ago, else gathered until then. With 20 followers
 * on two processors that is never longer than rows wait for the disk, with 1,000 it is 5 s.
 * A new state or phase, and the end, go to all at once.
 *
 * A listener is embedded in its owner: zero it, reidd_hub_add, and reidd_hub_remove before its
 * memory goes (removing twice is harmless). `wake` may remove any listener, also its own, and may
 * not publish.
 */
#ifndef REIDD_HUB_HUB_H
#define REIDD_HUB_HUB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uv.h>

#include "base/vec.h"

#define REIDD_NEWS_PER_SECOND 100 /* to all followers, for each processor */
#define REIDD_PACE_LIMIT_MS 5000

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
    bool follows; /* people's: it has time (see above); else rows are told at once, too */
    char job_id[16];
    reidd_hub_count *count; /* outlives the listener; NULL: nobody counts it */
    reidd_hub *hub;         /* NULL: not added */
    reidd_listener *before, *after;
};

typedef struct reidd_news {
    char job_id[16];
    unsigned changes;
} reidd_news;

struct reidd_hub {
    reidd_listener *first;
    reidd_listener *next; /* to be woken next, while publishing */
    size_t listeners, followers;
    uint64_t round; /* of news so far: what a listener makes of a job is good for the others of the
                       same round */
    unsigned processors;
    uv_timer_t *timer;         /* NULL: all is told at once */
    uint64_t told_ms;          /* the last gathered round */
    REID_VEC(reidd_news) news; /* for followers, gathered */
};

/* Without it, a hub that is zeroed has no pace. */
void reidd_hub_init(reidd_hub *hub, uv_loop_t *loop);
void reidd_hub_close(reidd_hub *hub); /* the loop runs once more after it */

/* How far apart rounds of news are now: what followers read for themselves is looked at as often.
 */
uint64_t reidd_hub_pace_ms(const reidd_hub *hub);

void reidd_hub_add(reidd_hub *hub, reidd_listener *listener, const char *job_id);
void reidd_hub_remove(reidd_listener *listener);
/* Wakes the listeners of this job; `changes` are bits of reidd_change. */
void reidd_hub_publish(reidd_hub *hub, const char *job_id, unsigned changes);
/* The same, but followers are woken at the hub's pace. */
void reidd_hub_tell(reidd_hub *hub, const char *job_id, unsigned changes);

#endif
