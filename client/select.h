/* Many jobs at once: --all, --user, --state, --older-than, and the words of the command line. What
 * is given together holds together: `cancel --user ada --state PENDING 0c4` is 0c…, if it is ada's
 * and waits.
 */
#ifndef REIDCTL_SELECT_H
#define REIDCTL_SELECT_H

#include "connect.h"

typedef struct reidctl_verb {
    /* Does it and prints a line. */
    reid_status (*act)(reidctl *ctl, const char *id, reid_error *err);
    const char *done; /* "cancelled": of the count at the end */
    unsigned states;  /* bits (1 << state) of the jobs that it can act on */
    bool held, free;  /* of those that wait: the held ones, the others */
    bool oldest_first;
} reidctl_verb;

#define REIDCTL_LIVE_STATES                                                                        \
    (1u << REID__V1__JOB_STATE__JOB_STATE_PENDING |                                                \
     1u << REID__V1__JOB_STATE__JOB_STATE_STARTING |                                               \
     1u << REID__V1__JOB_STATE__JOB_STATE_RUNNING | 1u << REID__V1__JOB_STATE__JOB_STATE_PAUSED)
#define REIDCTL_ENDED_STATES                                                                       \
    (1u << REID__V1__JOB_STATE__JOB_STATE_SUCCEEDED |                                              \
     1u << REID__V1__JOB_STATE__JOB_STATE_FAILED | 1u << REID__V1__JOB_STATE__JOB_STATE_CANCELLED)

/* Words alone: each of them, whatever it is. A selection: those of the jobs that the verb can act
 * on, without --user the caller's own ones unless he is an admin; those that wait come first, so
 * that none of them starts where another one ends. All are tried; returns the exit status of the
 * first failure. */
int reidctl_act_on_jobs(reidctl *ctl, const reidctl_verb *verb);

#endif
