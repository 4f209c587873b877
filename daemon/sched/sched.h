/* Who runs next. Pure: a strict first-in-first-out queue over the slots of this node. The head of
 * the queue holds back everyone behind it, so that no job waits for ever.
 */
#ifndef REIDD_SCHED_SCHED_H
#define REIDD_SCHED_SCHED_H

#include <stddef.h>

/* A job in the queue or on the slots. */
typedef struct reidd_sched_job {
    const char *id;
    int ranks;
} reidd_sched_job;

typedef enum reidd_sched_verdict {
    REIDD_SCHED_WAIT,
    REIDD_SCHED_START,  /* start it now */
    REIDD_SCHED_REFUSE, /* it needs more slots than there are */
} reidd_sched_verdict;

/* `queue` in order of submission, `running` in order of start. Fills ret_verdicts[queue_count]:
 * jobs that are refused do not hold back the others. */
void reidd_sched_plan(int slots, const reidd_sched_job *running, size_t running_count,
                      const reidd_sched_job *queue, size_t queue_count,
                      reidd_sched_verdict *ret_verdicts);

/* Why queue[index] waits, as a sentence for people: "waits for 2 slots: job 0c4xk2m1 runs". Caller
 * frees. */
char *reidd_sched_reason(int slots, const reidd_sched_job *running, size_t running_count,
                         const reidd_sched_job *queue, size_t index);

#endif
