/* Slots over time: what holds them, and where a job fits. For sched.c. */
#ifndef REIDD_SCHED_PROFILE_H
#define REIDD_SCHED_PROFILE_H

#include "daemon/sched/sched.h"

#define REIDD_SCHED_NEVER INT64_MAX

/* Slots of a node that are not free from `from` until before `to`. */
typedef struct reidd_hold {
    int slots;
    int owner; /* index of the running job, or -1: kept for one that waits */
    int64_t from, to;
} reidd_hold;

typedef struct reidd_timeline {
    int slots;           /* 0: nothing can be started there */
    int64_t closed_from; /* nothing may go on there from then on; NEVER: open */
    int waiting;         /* jobs for which something is kept that could be here */
    int pool;            /* nodes of one pool have the same GPUs */
    bool gpus;
    struct {
        reidd_hold *items;
        size_t count, capacity;
    } holds;
} reidd_timeline;

/* Which nodes may be used together: those of one type of GPU, and all with GPUs. */
typedef struct reidd_profile {
    const reidd_nodes *nodes;
    reidd_timeline *lines; /* [nodes] */
    int pools;
    bool hopeful; /* what has no limit ends at once, and nothing is closed */
    int *shares;  /* [nodes] of the last placement that was found */
    int *room;    /* [nodes] */
    bool *usable; /* [nodes] by the job that is being placed */
} reidd_profile;

void reidd_profile_init(reidd_profile *profile, const reidd_nodes *nodes,
                        const reidd_sched_job *running, size_t running_count);
void reidd_profile_fini(reidd_profile *profile);

/* What `job` may use: fills `usable`. False when it could not start even if all of that were free
 * and open. */
bool reidd_profile_choose(reidd_profile *profile, const reidd_sched_job *job);
/* The same without the nodes that it avoids. */
bool reidd_profile_choose_well(reidd_profile *profile, const reidd_sched_job *job);
/* Whether the job, whose nodes were chosen, fits from `at` on for its whole time; then `shares` has
 * its ranks on each node. */
bool reidd_profile_fits(reidd_profile *profile, const reidd_sched_job *job, int64_t at);
/* The first time at which it fits; NEVER when that is not known. `shares` as above. */
int64_t reidd_profile_earliest(reidd_profile *profile, const reidd_sched_job *job);
/* Keeps `shares` for a job from `at` on. */
void reidd_profile_keep(reidd_profile *profile, const reidd_sched_job *job, int64_t at);
/* For a job whose start is not known: all that it may use is kept for it from when it could start
 * if everything without a time limit ended at once. */
void reidd_profile_close(reidd_profile *profile, const reidd_sched_job *job);
/* The most jobs that wait for one of its nodes; one more does from now on. */
int reidd_profile_count_waiting(reidd_profile *profile);
/* All that it may use is kept for it from now on. */
void reidd_profile_close_now(reidd_profile *profile);
/* When the running job of this index is gone. */
void reidd_profile_end(reidd_profile *profile, int owner, int64_t at);
/* Slots that are free now on nodes that are not closed. */
int reidd_profile_free_now(const reidd_profile *profile);
/* [nodes] Where the job, or as few ranks of it as it may start with, could lie if nothing else ran:
 * as the nodes are, or with `all` if each were up and not drained. Only nodes that suffice
 * together; if none do, all that it may use. Caller frees. */
bool *reidd_profile_nodes_for(const reidd_nodes *nodes, const reidd_sched_job *job, bool all);
/* `shares` as a text; NULL when all is on row 0. */
char *reidd_profile_placement(const reidd_profile *profile);

#endif
