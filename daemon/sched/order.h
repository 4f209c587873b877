/* The order of the queue: priority, then the users' fair share, then submission.
 *
 * Fair share: a user's usage is the sum of slot-seconds, each halved for every half-life that has
 * passed since it was used. Of jobs of the same priority, that of the user with the least usage is
 * next; a user's own jobs keep their order. So that somebody's many jobs do not come in one block,
 * each job that is ordered counts as REIDD_SHARE_GUESS_S more on each of its slots. With a
 * half-life of 0 there is no fair share: first in, first out.
 *
 * Pure. Times are milliseconds of any clock that the caller keeps to.
 */
#ifndef REIDD_SCHED_ORDER_H
#define REIDD_SCHED_ORDER_H

#include "daemon/sched/sched.h"

#define REIDD_SHARE_GUESS_S 60

typedef struct reidd_share_user {
    char *name;
    double slot_s; /* as of at_ms */
    int64_t at_ms;
    double ordered; /* for reidd_shares_order alone */
} reidd_share_user;

typedef struct reidd_shares {
    int64_t half_life_ms; /* 0: no fair share */
    reidd_share_user *items;
    size_t count, capacity;
} reidd_shares;

/* `slots` were used for `ran_ms` until `end_ms`. */
void reidd_shares_add(reidd_shares *shares, const char *user, int slots, int64_t ran_ms,
                      int64_t end_ms);
/* Slot-seconds of the user as they count at `now_ms`. */
double reidd_shares_usage(const reidd_shares *shares, const char *user, int64_t now_ms);
void reidd_shares_fini(reidd_shares *shares);

/* Sorts the queue. What runs counts for its user with what it has used so far: running[i].ranks ×
 * ran_ms[i]. */
void reidd_sched_order(reidd_shares *shares, const reidd_sched_job *running, const int64_t *ran_ms,
                       size_t running_count, int64_t now_ms, reidd_sched_job *queue,
                       size_t queue_count);

#endif
