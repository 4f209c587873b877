/* Deadlines of the phases of an attempt. A job that is silent for longer is ended with one sentence
 * that names the phase, its option and who is to blame, and goes on by its restart policy.
 *
 *     starting    --start-timeout       until every rank has reported
 *     loading     --loading-timeout     until the first iteration begins
 *     training    --step-timeout        between two ends of iterations
 *     evaluating  --evaluation-timeout  one evaluation
 *     saving      --saving-timeout      one checkpoint
 *     (any)       --pause-timeout       from when its slots are needed until it has paused; then it
 *                                       goes back into the queue, whatever its policy says
 *
 * All are counted on the monotonic clock, from the last sign of progress that this daemon has had:
 * neither a clock that is set nor a daemon that was away makes a job late. While the store cannot
 * be written nobody is late either, for then what the ranks say is refused. To blame are, in this
 * order: the rank that the others wait for (base/flight.h), then processes of this node that are
 * stopped or gone.
 */
#ifndef REIDD_DEADLINE_H
#define REIDD_DEADLINE_H

#include "daemon/manager_private.h"

/* The daemon itself ends the attempt, which is said in its diary under `kind`. `rank` is to blame,
 * or -1. */
void reidd_active_end(reidd_active *active, const char *kind, const char *sentence, int rank);

/* Progress: a rank has come, the phase has changed, an iteration has ended. */
void reidd_active_heard(reidd_active *active);
int64_t reidd_active_silent_ms(const reidd_active *active);

/* Of a running job. True: it is late, and is being ended. */
bool reidd_active_is_late(reidd_active *active);
/* Of a job that has not paused in time, or only evaluates and has nothing that it could save. */
void reidd_active_end_pause(reidd_active *active);
/* Of a running job that is cancelled with the usual grace. That is for saving: ranks that neither
 * save nor evaluate nor end an iteration for REIDD_QUIET_MS, or two iterations, are killed. */
#define REIDD_QUIET_MS 3000
void reidd_active_hurry(reidd_active *active);
/* Of a job whose ranks have not all reported in time. */
void reidd_active_end_start(reidd_active *active);

#endif
