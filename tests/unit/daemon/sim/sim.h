/* A table of jobs, the nodes, and a clock that is moved by hand: what a story says (the lines of
 * tests/scenarios) happens to them, and after each line daemon/sched says who starts, where, and
 * who waits why, as in the daemon. */
#ifndef REIDD_TEST_SIM_H
#define REIDD_TEST_SIM_H

#include "base/str.h"
#include "base/vec.h"
#include "daemon/job/job.h"
#include "daemon/sched/order.h"
#include "daemon/sched/sched.h"

typedef struct sim_job {
    char id[16];
    char *user, *gpu_type, *avoid, *after, *fewer, *placement, *reason;
    char *wish; /* `after` as it was submitted */
    int ranks, wanted, attempts, priority;
    int64_t limit_ms, started_ms, start_order, ran_ms; /* in attempts that have ended */
    bool held, no_preempt, pausing, refused;
    bool has_ended, has_succeeded; /* ever */
    reidd_state state;
} sim_job;

typedef struct sim {
    const char *name; /* of the story */
    int line;
    int64_t now_ms, starts;
    reidd_nodes nodes;
    reidd_shares shares;
    REID_VEC(sim_job) jobs;
    int lookahead;  /* of the scheduler; 0: as usual */
    char *queue;    /* ids in order */
    reid_str *told; /* all lines so far, for whoever has to look into a failure; NULL: not kept */
    /* Looks at each plan before it is carried out; NULL: nobody does. */
    void (*look)(struct sim *s, const reidd_sched_plan *plan, void *user);
    void *user;
} sim;

/* One line, which is changed. A line that is wrong or expects what is not fails the test. */
void sim_obey(sim *s, char *line);
sim_job *sim_find(sim *s, const char *id); /* fails the test when there is none */
bool sim_runs(const sim_job *job);
void sim_fini(sim *s);

/* Fails the test, with the lines so far. */
#define SIM_BAD(s, ...) sim_bad(s, __VA_ARGS__)
_Noreturn void sim_bad(const sim *s, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
