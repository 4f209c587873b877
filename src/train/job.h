/* What reidd tells a rank through its environment, and the files a rank leaves in its attempt's
 * folder.
 *
 * Without REIDD_ATTEMPT_DIR the rank runs by itself: reid_job_env.managed is false and the calls
 * below do nothing.
 */
#ifndef REID_TRAIN_JOB_H
#define REID_TRAIN_JOB_H

#include <stdbool.h>

#include "base/status.h"

typedef struct reid_job_env {
    bool managed;
    const char *job_id;
    int attempt;
    const char *attempt_dir;
    const char *link_address; /* unix:/path; NULL when there is no link */
    const char *ticket;       /* secret; never logged */
    const char *hook_dir;     /* of native hooks, REIDD_HOOK_DIR; NULL: none */
} reid_job_env;

/* Reads the environment; pointers stay valid while it is not changed. INVALID when it is
 * incomplete. */
reid_status reid_job_env_read(reid_job_env *ret_env, reid_error *err);

/* The last words of a dying rank: failures/rank-N.json, written atomically; the first that any rank
 * writes are the job's first cause, unless they are of others: a peer was lost or did not answer in
 * time. `phase` is a word such as "training". Failing to write is only logged. */
void reid_job_write_failure(const reid_job_env *env, int rank, const char *phase,
                            const reid_error *why);

/* How a training ended before its last iteration, though well: outcome.json of the attempt, written
 * atomically by rank 0. `outcome` is "paused" or "stopped". */
reid_status reid_job_write_outcome(const reid_job_env *env, const char *outcome,
                                   long long iteration, reid_error *err);

#endif
