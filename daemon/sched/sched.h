/* Who runs next, where, and who must make room. Pure: no clock, no files; times are milliseconds
 * from now.
 *
 * The queue comes in its order (order.h). A job gets all of its slots or none. The first job that
 * cannot start holds back those behind it, except:
 *  - backfill: when the time limits of what runs say at the latest when it can start, and where,
 *    these slots are kept for it from then on, and a job behind it starts where that delays nobody
 *    before it: it has a time limit and is over by then, or lies on other slots;
 *  - nodes that no job before it could ever use (of another type of GPU) are no matter of theirs.
 * While the end of what runs is not known, everything that such a job could use is kept for it.
 * Slots to come are kept for so many jobs on the same nodes (`lookahead`); for one more, all that
 * it could use is kept from now on, so that nobody behind it starts there.
 *
 * Preemption: when a job cannot start, those that run with a lower priority and allow it are paused
 * for it, if that makes enough room: the lowest priority first, of those the ones that started
 * last, and no more than needed. They come back by themselves, at their old place in the queue; one
 * that does not pause in time is ended and comes back from its last checkpoint (deadline.h).
 *
 * Placement: on one node where possible (the one with the least room left), otherwise on as few as
 * possible, all of one type of GPU, else all with GPUs, or all without. Nodes in `avoid` are used
 * only when the others would not suffice were they empty. A job that may have fewer ranks has fewer
 * when its nodes, without those that are down, drained or in `avoid`, would not suffice even if
 * they were empty: as many as start now, else it waits for as many as would ever fit there.
 */
#ifndef REIDD_SCHED_SCHED_H
#define REIDD_SCHED_SCHED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/sched/nodes.h"

#define REIDD_SCHED_LOOKAHEAD 32 /* jobs on the same nodes, see below */
#define REIDD_SCHED_SOON_MS                                                                        \
    1000 /* until a job that is being paused or stopped is gone: a guess                           \
          */

/* A job in the queue or on the slots. Texts are borrowed. */
typedef struct reidd_sched_job {
    const char *id;
    const char *user;
    const char *gpu_type; /* queue: part of the name of the GPUs that it wants; NULL: any */
    const char *avoid;    /* queue: nodes, with commas; NULL: none */
    const char *fewer;    /* queue: "4,3": it starts with so many where more have no place at all */
    const char *placement;   /* running: where; NULL: on row 0 */
    int64_t time_ms;         /* how long it may run from now on; 0: no limit */
    int64_t submitted_order; /* rising with the submissions (order.h) */
    int ranks;
    int priority;
    bool no_preempt; /* running: it is not paused for others */
    bool leaving;    /* running: its slots come soon, it is being paused or stopped */
} reidd_sched_job;

typedef enum reidd_sched_verdict_kind {
    REIDD_SCHED_START,       /* now, on `placement` */
    REIDD_SCHED_REFUSE,      /* it needs more than there ever is */
    REIDD_SCHED_WAIT_SLOTS,  /* until slots are free */
    REIDD_SCHED_WAIT_NODES,  /* too few of the nodes that it could use are up and not drained */
    REIDD_SCHED_WAIT_PAUSED, /* until those that are being paused or stopped are gone */
    REIDD_SCHED_WAIT_TURN,   /* for those before it */
    REIDD_SCHED_WAIT_KEPT,   /* slots are free, but kept for those before it */
} reidd_sched_verdict_kind;

typedef struct reidd_sched_verdict {
    reidd_sched_verdict_kind kind;
    char *placement;     /* START: nodes.h; NULL: on row 0. The caller's */
    int ranks;           /* START: all, or one of `fewer` */
    int64_t start_in_ms; /* when it starts at the latest, if nobody comes before; -1: not known */
} reidd_sched_verdict;

#define REIDD_SCHED_NOBODY ((size_t)-1)

typedef struct reidd_sched_plan {
    const reidd_nodes *nodes;
    const reidd_sched_job *running; /* in order of start */
    size_t running_count;
    const reidd_sched_job *queue; /* in its order */
    size_t queue_count;
    reidd_sched_verdict *verdicts; /* [queue_count] */
    size_t *preempted_for; /* [running_count] for whom to pause it now: an index of the queue, or
                              NOBODY */
    bool over;             /* told: nobody at the end of the queue can start, whatever it needs */
    int lookahead;         /* 0: REIDD_SCHED_LOOKAHEAD */
    int unused;            /* told: slots that stay free, kept for those that wait */
} reidd_sched_plan;

/* Fills verdicts and preempted_for, which the caller has allocated. */
void reidd_sched_run(reidd_sched_plan *plan);

/* Why queue[index] waits, as a sentence for people: "waits for 2 slots: job 0c4xk2m1 runs (4 of 4
 * slots are used)". Caller frees. */
char *reidd_sched_reason(const reidd_sched_plan *plan, size_t index);

/* The same for WAIT_TURN and WAIT_KEPT, behind the job `before`. Caller frees. */
char *reidd_sched_turn(reidd_sched_verdict_kind kind, const char *before);

/* The least number of ranks that the job may start with. */
int reidd_sched_least_ranks(const reidd_sched_job *job);

/* The most ranks that a job wanting such GPUs (NULL: any) could ever have. Nodes that have never
 * been heard of (no slots known) may have any number: INT_MAX. */
int reidd_sched_capacity(const reidd_nodes *nodes, const char *gpu_type);

#endif
