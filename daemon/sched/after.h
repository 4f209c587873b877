/* Jobs that are not to start before others have ended. Pure.
 *
 * As a text (reidd_job.wishes.after): "ID:ok,ID:any". `ok`: once that job has SUCCEEDED (if it ends
 * otherwise, never); `any`: once it has ended, however.
 */
#ifndef REIDD_SCHED_AFTER_H
#define REIDD_SCHED_AFTER_H

#include "daemon/job/job.h"

#define REIDD_AFTER_MOST 64 /* jobs that one can wait for */

/* "JOB", "JOB:ok" or "JOB:any": the job's key is copied to *ret_key (caller frees). INVALID. */
reid_status reidd_after_parse(const char *word, char **ret_key, bool *ret_any, reid_error *err);

/* Whether the text (NULL: none) names this job. */
bool reidd_after_names(const char *text, const char *id);

typedef enum reidd_after_verdict {
    REIDD_AFTER_READY,
    REIDD_AFTER_WAIT,  /* for `ret_id` */
    REIDD_AFTER_NEVER, /* `ret_id` has ended, but not well */
} reidd_after_verdict;

/* What the text asks for, given the states of the jobs (0 for one that is not known any more: it
 * is as if it had ended well). Ids whose wish is fulfilled are taken out of the text (NULL: nothing
 * is left), which is the caller's; so each end is asked for once. */
reidd_after_verdict reidd_after_check(char **text,
                                      reidd_state (*state_of)(const char *id, void *user),
                                      void *user, char ret_id[16], reidd_state *ret_state);

#endif
